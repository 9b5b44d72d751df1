//! What arrives at the GCS: from processes, from its probes, from sessions that end.

use actinic_transport::{NodeId, PeerAddr, ProcessId};
use actix::{Context, Handler};

use crate::api::error::Error;
use crate::gcs::core::{ActorEnd, Event, NodeDeath, Seat, StartFailure};
use crate::gcs::messages::Dead;
use crate::gcs::{Answer, Gcs, Heard, LocalRaylet, Pending};
use crate::post::Look;
use crate::protocol::{AskGcs, GcsAnswer, Gone, ToGcs, ToRaylet, TokenWish};

/// How many attempts at tasks are listed in one answer.
const TASKS_PAGE: usize = 2_000;
/// How many actors are.
const ACTORS_PAGE: usize = 2_000;
/// And so many bytes of them at most, but for one: a message takes more than that.
const ACTORS_PAGE_BYTES: usize = 1 << 20;

impl Gcs {
    fn told(&mut self, message: ToGcs, ctx: &mut Context<Self>) {
        match message {
            ToGcs::RegisterNode { row, peer } => {
                self.raylets.insert(row.id, peer.id);
                if peer.id != self.process.id {
                    self.process.watch(&peer);
                }
                self.peers.insert(peer.id, peer);
                if let Some(tokens) =
                    self.process.admission.get().and_then(|admission| admission.wish(TokenWish::Show).ok())
                    && row.id != self.process.id.node
                {
                    // Whoever has one may be admitted there too; it came with one of them.
                    self.tell_raylet(row.id, ToRaylet::Tokens(tokens));
                }
                self.event(Event::RegisterNode { row }, ctx);
            }
            ToGcs::Heartbeat { node } => self.event(Event::Heartbeat { node }, ctx),
            ToGcs::View(view) => self.event(Event::ReportView { view }, ctx),
            ToGcs::NodeLeft { node } => self.event(Event::NodeLeft { node }, ctx),
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
                self.peers.remove(&process);
                self.drivers.remove(&process);
                self.tasks.process_ended(process, self.wall());
                self.event(Event::ProcessDied { process }, ctx);
            }
            ToGcs::OwnerDied { owner } => {
                self.tasks.owner_ended(owner, self.wall());
                for node in self.raylets.keys().filter(|node| self.core.is_up(**node)) {
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
                let seat = Seat { process: process.id, worker, pid };
                self.peers.insert(process.id, process);
                self.event(Event::ActorReady { run, node, seat }, ctx);
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
                let heard = self.core.heard(self.process.env.now()).collect();
                answer.give(&GcsAnswer::Nodes(rows, self.core.views().cloned().collect(), heard));
            }
            AskGcs::Actors { after } => {
                answer.give(&GcsAnswer::Actors(self.core.actors_page(after, ACTORS_PAGE, ACTORS_PAGE_BYTES)));
            }
            AskGcs::Demands => answer.give(&GcsAnswer::Demands(self.core.demands().into_iter().collect())),
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

    /// A job whose program is needed, and who may have it: nodes, and last the driver, which may be far away.
    fn job(&self, job: crate::ids::JobId) -> Option<(crate::protocol::JobRow, Vec<PeerAddr>)> {
        let row = self.core.job(job).filter(|_| self.core.needs_program(job))?.clone();
        let raylets = self.core.program_holders(job).into_iter().filter_map(|node| self.raylets.get(&node));
        let driver = row.ended.is_none().then_some(&row.driver.process);
        let sources = raylets.chain(driver).filter_map(|process| self.peers.get(process)).cloned().collect();
        Some((row, sources))
    }

    /// Nanoseconds since 1970.
    pub(super) fn wall(&self) -> u64 {
        u64::try_from(self.process.env.since_1970().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Handler<Look> for Gcs {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Context<Self>) {
        for heard in self.mail.take(ctx) {
            match heard {
                Heard::Told(message) => self.told(message, ctx),
                Heard::Asked(question, answer) => self.asked(question, answer, ctx),
                Heard::SessionLost(process, certain) => self.session_lost(process, certain, ctx),
            }
        }
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

impl Gcs {
    /// A session with a process ended.
    fn session_lost(&mut self, process: ProcessId, certain: bool, ctx: &mut Context<Self>) {
        let node = self.raylets.iter().find(|(_, raylet)| **raylet == process).map(|(node, _)| *node);
        match node {
            // It said goodbye or is gone: it does not come back under this name.
            Some(node) if certain => {
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
