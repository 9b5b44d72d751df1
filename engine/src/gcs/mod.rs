//! The GCS of a cluster: its tables, as an Actix actor around [`core::GcsCore`].

#[allow(dead_code, reason = "the core has rows and events for what the state API and draining will ask")]
pub(crate) mod core;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{ActorNo, Address, Lane, NodeId, Peer, PeerAddr, Probe, ProcessId, ReplyTo};
use actix::{Actor, AsyncContext, Context, Handler, Message};
use tokio::sync::oneshot;

use crate::alarm::{self, Alarm, Alarmed};
use crate::api::error::{Error, Result};
use crate::events::TaskTable;
use crate::gcs::core::{
    Action, ActorEnd, ActorFilter, ActorRun, Config, DeathCause, EndHow, Event, GcsCore, NodeDeath, Reply, ReplyId,
    StartFailure,
};
use crate::ids::{ActorId, OwnerId};
use crate::process::Process;
use crate::protocol::{ActorInfo, ActorNews, AskGcs, GCS, GcsAnswer, Gone, OWNER, ToGcs, ToOwner, ToRaylet};
use crate::raylet::{Raylet, RayletLink};

/// See [`GcsLink::is_congested`]; bytes.
const CONGESTED: usize = 4 << 20;
/// How many attempts at tasks are listed.
const TASKS_MAX: usize = 100_000;
/// How many are listed in one answer.
const TASKS_PAGE: usize = 2_000;

/// How a process reaches the GCS of its cluster.
#[derive(Clone)]
pub(crate) enum GcsLink {
    Local(actix::Addr<Gcs>),
    Remote(Peer),
}

impl GcsLink {
    pub(crate) fn tell(&self, message: ToGcs) {
        match self {
            GcsLink::Local(gcs) => gcs.do_send(Told(message)),
            GcsLink::Remote(peer) => {
                // A node that has much to say is alive all the same.
                let lane = match message {
                    ToGcs::Heartbeat { .. } => Lane::Urgent,
                    _ => Lane::Ordered,
                };
                if let Err(error) = peer.tell(lane, GCS, &message) {
                    tracing::debug!(%error, "a message to the GCS was not sent");
                }
            }
        }
    }

    /// Whether so much is on its way to it that what may be lost is better not sent.
    pub(crate) fn is_congested(&self) -> bool {
        match self {
            GcsLink::Local(_) => false,
            GcsLink::Remote(peer) => peer.backlog() > CONGESTED,
        }
    }

    /// Asks something; the answer comes within the deadline, or an error that says why not.
    pub(crate) async fn ask(&self, question: AskGcs, deadline: Duration) -> Result<GcsAnswer> {
        self.ask_on(Lane::Ordered, question, deadline).await
    }

    /// As [`ask`](Self::ask), on a lane: an urgent question passes what this process told the GCS before.
    pub(crate) async fn ask_on(&self, lane: Lane, question: AskGcs, deadline: Duration) -> Result<GcsAnswer> {
        match self {
            GcsLink::Local(gcs) => {
                let (tell, hear) = oneshot::channel();
                gcs.do_send(Asked(question, Answer::Here(tell)));
                hear.await.map_err(|_| Error::connection("the GCS of this process has ended"))
            }
            GcsLink::Remote(peer) => peer.ask_on(lane, GCS, &question, deadline).await.map_err(|error| {
                Error::connection(format!("the GCS did not answer: {error}"))
                    .remedy("check that the head node runs and can be reached")
            }),
        }
    }
}

/// A message, from this process or another.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Told(pub(crate) ToGcs);

/// A question, and where its answer goes.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Asked(pub(crate) AskGcs, pub(crate) Answer);

/// Where an answer goes.
pub(crate) enum Answer {
    Here(oneshot::Sender<GcsAnswer>),
    There(ReplyTo),
}

impl Answer {
    fn give(self, answer: &GcsAnswer) {
        match self {
            // Whoever asked may have gone.
            Answer::Here(tell) => drop(tell.send(answer.clone())),
            Answer::There(reply) => drop(reply.answer(answer)),
        }
    }
}

enum Pending {
    Create(OwnerId, crate::ids::ActorId),
    Ask(Answer),
}

/// The Actix actor.
pub(crate) struct Gcs {
    process: Arc<Process>,
    core: GcsCore,
    tasks: TaskTable,
    raylet: Option<actix::Addr<Raylet>>,
    /// How to reach processes: raylets, drivers, actors' hosts.
    peers: HashMap<ProcessId, PeerAddr>,
    raylets: BTreeMap<NodeId, ProcessId>,
    pending: BTreeMap<u64, Pending>,
    next_reply: u64,
    tick: Alarm,
    /// Events of the messages that were handled in one go.
    gathered: Vec<Event>,
    /// The drivers of jobs, whose sessions are their lives.
    drivers: BTreeSet<ProcessId>,
    /// Who killed incarnations that have not ended.
    killing: BTreeMap<ActorRun, Vec<Answer>>,
}

impl Alarmed for Gcs {
    fn alarm(&mut self) -> &mut Alarm {
        &mut self.tick
    }

    fn now(&self) -> Duration {
        self.process.env.now()
    }

    fn rung(&mut self, ctx: &mut Context<Self>) {
        self.event(Event::Tick, ctx);
    }
}

impl Gcs {
    pub(crate) fn new(process: Arc<Process>) -> Gcs {
        Gcs {
            process,
            core: GcsCore::new(Config::default()),
            tasks: TaskTable::new(TASKS_MAX),
            raylet: None,
            peers: HashMap::new(),
            raylets: BTreeMap::new(),
            pending: BTreeMap::new(),
            next_reply: 0,
            tick: Alarm::default(),
            gathered: Vec::new(),
            drivers: BTreeSet::new(),
            killing: BTreeMap::new(),
        }
    }

    fn reply_id(&mut self, pending: Pending) -> ReplyId {
        self.next_reply += 1;
        self.pending.insert(self.next_reply, pending);
        ReplyId(self.next_reply)
    }

    /// An event: it is taken in together with those of the messages that wait behind this one.
    fn event(&mut self, event: Event, ctx: &mut Context<Self>) {
        if self.gathered.is_empty() {
            ctx.notify(Settle);
        }
        self.gathered.push(event);
        if self.gathered.len() >= GATHERED_MAX {
            self.settle(ctx);
        }
    }

    fn settle(&mut self, ctx: &mut Context<Self>) {
        if self.gathered.is_empty() {
            return;
        }
        let mut out = Vec::new();
        let now = self.process.env.now();
        self.core.handle_all(now, std::mem::take(&mut self.gathered), &mut out);
        for action in out {
            self.act(action, ctx);
        }
        let next = self.core.next_wake().map(|at| at.max(now + Duration::from_millis(1)));
        alarm::ring_at(self, next, ctx);
    }

    fn act(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::Reply { to, reply } => self.reply(to, reply, ctx),
            Action::PlaceActor { node, run, spec } => {
                self.tell_raylet(node, ToRaylet::PlaceActor { run, spec });
            }
            Action::EndActor { node, run, how } => {
                self.tell_raylet(node, ToRaylet::EndActor { run, kill: how == EndHow::Kill });
            }
            Action::SpreadNodes { to, rows } => {
                for row in rows.iter().filter(|row| !row.state.is_up()) {
                    self.tasks.node_ended(row.id, self.wall());
                }
                for node in to {
                    self.tell_raylet(node, ToRaylet::Nodes(rows.clone()));
                }
            }
            Action::SpreadViews { to, views } => {
                for node in to {
                    self.tell_raylet(node, ToRaylet::Views(views.clone()));
                }
            }
            Action::ProbeNode { node } => self.probe(node, ctx),
            Action::TellDead { node, process } => self.tell_raylet(node, ToRaylet::Dead { process }),
            Action::AskRegister { node } => tracing::debug!(%node, "an unknown node speaks; it will register"),
            Action::TellJobEnded { to, job } => {
                for node in to {
                    self.tell_raylet(node, ToRaylet::JobEnded { job });
                }
            }
            Action::KeepProgram { node, job } => self.tell_raylet(node, ToRaylet::KeepProgram { job }),
            Action::ForgetProgram { to, job } => {
                for node in to {
                    self.tell_raylet(node, ToRaylet::ForgetProgram { job });
                }
            }
            Action::TellWaits { to, actor, text } => self.tell_process(to, ToOwner::ActorWaits { actor, text }),
            Action::Publish { to, rows } => {
                let news = rows.into_iter().map(|info| self.news(info)).collect();
                self.tell_process(to, ToOwner::Actors(news));
            }
            Action::Warn(warning) => tracing::warn!(target: "actinic", "{warning}"),
        }
    }

    fn news(&self, info: ActorInfo) -> ActorNews {
        let peer = info.address.and_then(|address| self.peers.get(&address.process).cloned());
        ActorNews { info, peer }
    }

    /// A kill is answered when the incarnation has ended, by its raylet's word: what it owned is lost by then, and whoever
    /// killed it shall know.
    fn killed(&mut self, actor: ActorId, ending: Option<ActorRun>, answer: Answer, ctx: &mut Context<Self>) {
        let before = self.killing.keys().find(|run| run.actor == actor).copied();
        let Some(run) = ending.or(before) else { return answer.give(&GcsAnswer::Killed { owner: None }) };
        self.killing.entry(run).or_default().push(answer);
        if before != Some(run) {
            // One whose process is stuck, or whose node is gone, does not hold up its killer.
            ctx.run_later(KILL_WITHIN, move |gcs, _| gcs.killing_ended(run, None));
        }
    }

    fn killing_ended(&mut self, run: ActorRun, owner: Option<OwnerId>) {
        for answer in self.killing.remove(&run).unwrap_or_default() {
            answer.give(&GcsAnswer::Killed { owner });
        }
    }

    fn reply(&mut self, to: ReplyId, reply: Reply, ctx: &mut Context<Self>) {
        let Some(pending) = self.pending.remove(&to.0) else { return };
        match (pending, reply) {
            (Pending::Create(owner, _), Reply::Created(info) | Reply::Existing(info)) => {
                self.tell_process(owner.process, ToOwner::Actors(vec![self.news(info)]));
            }
            (Pending::Create(owner, asked), Reply::Refused(cause)) => {
                let news = self.news(dead_info(asked, cause));
                self.tell_process(owner.process, ToOwner::Actors(vec![news]));
            }
            (Pending::Ask(answer), Reply::Found { info, spec }) => {
                let news = self.news(info);
                answer.give(&GcsAnswer::Actor(Some((news, spec))));
            }
            (Pending::Ask(answer), Reply::NotFound) => answer.give(&GcsAnswer::Actor(None)),
            (Pending::Ask(answer), Reply::Names(names)) => answer.give(&GcsAnswer::Names(names)),
            (Pending::Ask(answer), Reply::Killed { actor, ending }) => self.killed(actor, ending, answer, ctx),
            (Pending::Ask(answer), Reply::KilledUnknown) => answer.give(&GcsAnswer::Killed { owner: None }),
            (_, reply) => tracing::error!(?reply, "the GCS answered what was not asked"),
        }
    }

    fn tell_raylet(&self, node: NodeId, message: ToRaylet) {
        if node == self.process.id.node
            && let Some(raylet) = &self.raylet
        {
            RayletLink::Local(raylet.clone()).tell(message);
            return;
        }
        let peer = self.raylets.get(&node).and_then(|process| self.peers.get(process));
        if let (Some(peer), Ok(endpoint)) = (peer, self.process.endpoint()) {
            RayletLink::Remote(endpoint.peer(peer)).tell(message);
        }
    }

    fn tell_process(&self, process: ProcessId, message: ToOwner) {
        if process == self.process.id {
            let process = Arc::clone(&self.process);
            process.clone().defer(move || process.deliver(message));
            return;
        }
        if let (Some(peer), Ok(endpoint)) = (self.peers.get(&process), self.process.endpoint()) {
            let _ = endpoint.peer(peer).tell(Lane::Ordered, OWNER, &message);
        }
    }

    /// Asks a node for a sign of life.
    fn probe(&self, node: NodeId, ctx: &mut Context<Self>) {
        let peer = self.raylets.get(&node).and_then(|process| self.peers.get(process));
        let (Some(addr), Ok(endpoint)) = (peer.and_then(|peer| peer.addrs.first().copied()), self.process.endpoint())
        else {
            return;
        };
        let endpoint = endpoint.clone();
        let gcs = ctx.address();
        self.process.spawn(async move {
            if endpoint.probe(addr, Duration::from_millis(500)).await == Probe::Unreachable {
                gcs.do_send(Dead(node, "port unreachable".to_owned()));
            }
        });
    }

    fn told(&mut self, message: ToGcs, ctx: &mut Context<Self>) {
        match message {
            ToGcs::RegisterNode { row, peer } => {
                self.raylets.insert(row.id, peer.id);
                if peer.id != self.process.id {
                    self.process.watch(&peer);
                }
                self.peers.insert(peer.id, peer);
                self.event(Event::RegisterNode { row }, ctx);
            }
            ToGcs::Heartbeat { node } => self.event(Event::Heartbeat { node }, ctx),
            ToGcs::View(view) => self.event(Event::ReportView { view }, ctx),
            ToGcs::NodeLeft { node } => self.event(Event::NodeLeft { node }, ctx),
            ToGcs::NodeSuspected { node } => self.event(Event::NodeSuspected { node }, ctx),
            ToGcs::JobStarted { row, driver } => {
                self.drivers.insert(driver.id);
                self.peers.insert(driver.id, driver);
                self.event(Event::JobStarted { row }, ctx);
            }
            ToGcs::JobEnded { job } => {
                if let Some(row) = self.core.job(job) {
                    self.tasks.owner_ended(row.driver, self.wall());
                }
                self.event(Event::JobEnded { job }, ctx);
            }
            ToGcs::ProcessDied { process } => {
                self.spread_death(process);
                self.tasks.process_ended(process, self.wall());
                self.event(Event::ProcessDied { process }, ctx);
            }
            ToGcs::OwnerDied { owner } => {
                self.tasks.owner_ended(owner, self.wall());
                for node in self.raylets.keys() {
                    self.tell_raylet(*node, ToRaylet::OwnerGone { owner });
                }
                self.event(Event::OwnerDied { owner }, ctx);
            }
            ToGcs::CreateActor { spec, from } => {
                self.peers.insert(from.id, from);
                let reply = self.reply_id(Pending::Create(spec.owner, spec.id));
                self.event(Event::CreateActor { spec, reply }, ctx);
            }
            ToGcs::ActorArguments { actor, creation } => self.event(Event::ActorArguments { actor, creation }, ctx),
            ToGcs::ActorNotMade { actor, text, error } => {
                let error = postcard::to_stdvec(&error).unwrap_or_default().into();
                self.event(Event::ActorNotMade { actor, text, error }, ctx);
            }
            ToGcs::ActorPlaced { run, node } => self.event(Event::ActorPlaced { run, node }, ctx),
            ToGcs::ActorReady { run, node, process, worker, pid } => {
                let actor = ActorNo(crate::actor::host::number(run.actor));
                let address = Address { process: process.id, actor };
                self.peers.insert(process.id, process);
                self.event(Event::ActorReady { run, node, address, worker, pid }, ctx);
            }
            ToGcs::ActorNotStarted { run, node, text, error, no_room } => {
                let cause = match error {
                    _ if no_room => StartFailure::NoRoom,
                    Some(error) => StartFailure::ConstructorError {
                        text,
                        error: postcard::to_stdvec(&error).unwrap_or_default().into(),
                    },
                    None => StartFailure::WorkerDied { detail: text },
                };
                self.event(Event::ActorFailed { run, node, cause }, ctx);
            }
            ToGcs::ActorDied { run, node, how, text, owner } => {
                self.killing_ended(run, owner);
                let cause = match how {
                    Gone::Exited => ActorEnd::Exited { detail: text },
                    Gone::Ended => ActorEnd::Ended,
                    Gone::Broken => ActorEnd::Broken { detail: text },
                    Gone::Lost => ActorEnd::WorkerDied { detail: text },
                };
                self.event(Event::ActorDied { run, node, cause }, ctx);
            }
            ToGcs::StopActor { actor } => self.event(Event::StopActor { actor }, ctx),
            ToGcs::HandlesGone { actor } => self.event(Event::HandlesGone { actor }, ctx),
            ToGcs::Subscribe { actor, owner, to } => {
                let process = to.id;
                self.peers.insert(to.id, to);
                self.event(Event::Subscribe { actor, owner, to: process }, ctx);
            }
            ToGcs::TaskEvents(told) => {
                let owner = told.owner;
                self.tasks.take(*told);
                // Whoever saw its process end may have been quicker.
                self.settle(ctx);
                if self.core.is_owner_dead(owner) {
                    self.tasks.owner_ended(owner, self.wall());
                }
            }
        }
    }

    fn asked(&mut self, question: AskGcs, answer: Answer, ctx: &mut Context<Self>) {
        match question {
            AskGcs::GetActor { name, namespace } => {
                let reply = self.reply_id(Pending::Ask(answer));
                self.event(Event::GetActorByName { name, namespace, reply }, ctx);
            }
            AskGcs::ListNamed { namespace } => {
                let reply = self.reply_id(Pending::Ask(answer));
                self.event(Event::ListNamed { namespace, reply }, ctx);
            }
            AskGcs::Kill { actor, no_restart } => {
                let reply = Some(self.reply_id(Pending::Ask(answer)));
                self.event(Event::KillActor { actor, no_restart, reply }, ctx);
            }
            other => {
                // What was said before it counts.
                self.settle(ctx);
                self.list(other, answer);
            }
        }
    }

    fn list(&self, question: AskGcs, answer: Answer) {
        match question {
            AskGcs::GetActor { .. } | AskGcs::ListNamed { .. } | AskGcs::Kill { .. } => {}
            AskGcs::Nodes => {
                let rows = self.core.nodes(None).cloned().collect();
                answer.give(&GcsAnswer::Nodes(rows, self.core.views().cloned().collect()));
            }
            AskGcs::Actors => {
                answer.give(&GcsAnswer::Actors(self.core.actors(&ActorFilter::default()).cloned().collect()));
            }
            AskGcs::Jobs => answer.give(&GcsAnswer::Jobs(self.core.jobs(None).cloned().collect())),
            AskGcs::Job { job } => answer.give(&GcsAnswer::Job(self.job(job))),
            AskGcs::Tasks { after } => {
                let rows = self.tasks.page(after, TASKS_PAGE);
                answer.give(&GcsAnswer::Tasks { rows, dropped: self.tasks.dropped() });
            }
            AskGcs::Tokens(wish) => {
                let tokens = match self.process.admission.get() {
                    Some(admission) => admission.wish(wish),
                    None => Err(Error::connection("this head admits nobody")),
                };
                if let Ok(tokens) = &tokens {
                    let nodes: Vec<NodeId> = self.raylets.keys().copied().collect();
                    for node in nodes.into_iter().filter(|node| *node != self.process.id.node) {
                        self.tell_raylet(node, ToRaylet::Tokens(tokens.clone()));
                    }
                }
                answer.give(&GcsAnswer::Tokens(tokens));
            }
        }
    }
}

impl Gcs {
    /// A job whose program is needed, and who may have it: nodes, and last the driver, which may be far away.
    fn job(&self, job: crate::ids::JobId) -> Option<(crate::protocol::JobRow, Vec<PeerAddr>)> {
        let row = self.core.job(job).filter(|_| self.core.needs_program(job))?.clone();
        let raylets = self.core.program_holders(job).into_iter().filter_map(|node| self.raylets.get(&node));
        let driver = row.ended.is_none().then_some(&row.driver.process);
        let sources = raylets.chain(driver).filter_map(|process| self.peers.get(process)).cloned().collect();
        Some((row, sources))
    }

    /// Nanoseconds since 1970.
    fn wall(&self) -> u64 {
        u64::try_from(self.process.env.since_1970().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A process is dead: whoever waits for it anywhere is told.
    fn spread_death(&self, process: ProcessId) {
        for node in self.raylets.keys() {
            self.tell_raylet(*node, ToRaylet::Dead { process });
        }
    }
}

fn dead_info(id: crate::ids::ActorId, cause: DeathCause) -> ActorInfo {
    ActorInfo {
        id,
        state: core::ActorState::Dead,
        incarnation: 0,
        restarts: 0,
        node: cause.node,
        address: None,
        death: Some(Box::new(cause)),
        found: None,
    }
}

/// How long a kill waits for the word that the incarnation has ended.
const KILL_WITHIN: Duration = Duration::from_secs(1);

/// So many events are taken in together at most.
const GATHERED_MAX: usize = 1024;

/// The messages that waited are handled: their events are taken in.
#[derive(Message)]
#[rtype(result = "()")]
struct Settle;

impl Handler<Settle> for Gcs {
    type Result = ();

    fn handle(&mut self, _message: Settle, ctx: &mut Context<Self>) {
        self.settle(ctx);
    }
}

/// A probe found a node dead.
#[derive(Message)]
#[rtype(result = "()")]
struct Dead(NodeId, String);

/// The raylet of the GCS's own process.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct LocalRaylet(pub(crate) actix::Addr<Raylet>);

/// A session with a process ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SessionLost(pub(crate) ProcessId, pub(crate) bool);

impl Actor for Gcs {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(1 << 20);
    }
}

impl Handler<Told> for Gcs {
    type Result = ();

    fn handle(&mut self, message: Told, ctx: &mut Context<Self>) {
        self.told(message.0, ctx);
    }
}

impl Handler<Asked> for Gcs {
    type Result = ();

    fn handle(&mut self, message: Asked, ctx: &mut Context<Self>) {
        self.asked(message.0, message.1, ctx);
    }
}

impl Handler<Dead> for Gcs {
    type Result = ();

    fn handle(&mut self, message: Dead, ctx: &mut Context<Self>) {
        self.event(Event::NodeDead { node: message.0, cause: NodeDeath::Unreachable { detail: message.1 } }, ctx);
    }
}

impl Handler<LocalRaylet> for Gcs {
    type Result = ();

    fn handle(&mut self, message: LocalRaylet, _ctx: &mut Context<Self>) {
        self.raylet = Some(message.0);
    }
}

impl Handler<SessionLost> for Gcs {
    type Result = ();

    fn handle(&mut self, message: SessionLost, ctx: &mut Context<Self>) {
        let process = message.0;
        let node = self.raylets.iter().find(|(_, raylet)| **raylet == process).map(|(node, _)| *node);
        match node {
            // It said goodbye or is gone: it does not come back under this name.
            Some(node) if message.1 => {
                let detail = "its raylet's process is gone".to_owned();
                self.event(Event::NodeDead { node, cause: NodeDeath::Unreachable { detail } }, ctx);
            }
            Some(node) => self.event(Event::NodeSuspected { node }, ctx),
            None if self.drivers.remove(&process) => {
                self.tasks.process_ended(process, self.wall());
                self.event(Event::ProcessDied { process }, ctx);
            }
            // A worker's: its raylet sees the process itself, and says when it ends.
            None => tracing::debug!(%process, "a worker's session with the GCS ended"),
        }
    }
}
