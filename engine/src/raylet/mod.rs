//! The raylet of a node: its resources, its workers, its leases, as an Actix actor around [`core::RayletCore`].

#[allow(dead_code, unused_imports, reason = "the core knows draining and explains itself, for what is to come")]
pub(crate) mod core;
mod runs;
pub(crate) mod spawn;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{Lane, NodeId, Peer, PeerAddr, ProcessId, ReplyTo};
use actix::{Actor, AsyncContext, Context, Handler, Message, SpawnHandle};

use crate::api::error::Error;
use crate::ids::{JobId, OwnerId, WorkerId};
use crate::owner::Ran;
use crate::process::Process;
use crate::protocol::{
    ActorRun, ActorSpec, AskGcs, GcsAnswer, Gone, JobRow, LeaseId, LeaseRequest, NodeRow, NodeView, OwnerMessage,
    RAYLET, RayletAnswer, RequestId, ToGcs, ToOwner, ToRaylet, WORKER, WorkerAddr,
};
use crate::raylet::core::{Action, Event, Purpose, RayletCore, RefuseReason, Scheduling, View, WorkerKind};
use crate::raylet::spawn::Spawner;
use crate::resources::ResourceSet;
use crate::start::program_file::{JobProgram, Offer};
use crate::worker::host::Host;
use crate::worker::remote::ToWorker;
use crate::worker::slot::TaskSlot;

/// What a task needs and where it may go: what leases are shared by.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    inner: Arc<ShapeInner>,
    hash: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct ShapeInner {
    resources: ResourceSet,
    scheduling: Scheduling,
    /// Whether what can run nowhere fails, instead of waiting for a node that can run it.
    fails: bool,
}

impl Shape {
    pub(crate) fn new(resources: ResourceSet, scheduling: Scheduling, fails: bool) -> Shape {
        let text = format!("{resources}{scheduling:?}{fails}");
        let hash = crate::program::stable_hash(&[text.as_bytes()]);
        Shape { inner: Arc::new(ShapeInner { resources, scheduling, fails }), hash }
    }

    /// For what never runs.
    pub(crate) fn none() -> Shape {
        Shape::new(ResourceSet::new(), Scheduling::Default, false)
    }

    pub(crate) fn resources(&self) -> &ResourceSet {
        &self.inner.resources
    }

    pub(crate) fn scheduling(&self) -> Scheduling {
        self.inner.scheduling
    }

    pub(crate) fn fails(&self) -> bool {
        self.inner.fails
    }

    /// Whether every task wants a lease of its own, so that the next can go elsewhere.
    pub(crate) fn one_by_one(&self) -> bool {
        self.inner.scheduling == Scheduling::Spread
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner) || self.inner == other.inner
    }
}

impl Eq for Shape {}

impl Hash for Shape {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// How a process reaches the raylet of its node.
#[derive(Clone)]
pub(crate) enum RayletLink {
    Local(actix::Addr<Raylet>),
    Remote(Peer),
}

impl RayletLink {
    pub(crate) fn tell(&self, message: ToRaylet) {
        match self {
            RayletLink::Local(raylet) => raylet.do_send(Heard(message)),
            RayletLink::Remote(peer) => {
                if let Err(error) = peer.tell(Lane::Ordered, RAYLET, &message) {
                    tracing::debug!(%error, "a message to the raylet was not sent");
                }
            }
        }
    }
}

/// A message, from this process or another.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Heard(pub(crate) ToRaylet);

/// A worker thread crashed.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WorkerCrashed {
    pub(crate) worker: WorkerId,
}

/// A process is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ProcessGone(pub(crate) ProcessId, pub(crate) String);

/// A worker's process has ended, as its parent saw.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ChildEnded(pub(crate) WorkerId, pub(crate) String);

/// The program that workers of jobs without one of their own are started from: the embedded cluster's own.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct DefaultProgram(pub(crate) std::path::PathBuf);

/// A driver attaches itself.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Attach {
    pub(crate) peer: PeerAddr,
    pub(crate) offer: Option<Offer>,
    pub(crate) reply: ReplyTo,
}

/// A job's program is here, or cannot be had.
#[derive(Message)]
#[rtype(result = "()")]
struct ProgramHere {
    job: JobId,
    program: Result<JobProgram, Error>,
}

/// The node ends: its workers with it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Shutdown {
    /// At once, and nobody is told.
    pub(crate) killed: bool,
}

/// Ends a worker's process by force; whether the node has such a worker.
#[derive(Message)]
#[rtype(result = "bool")]
pub(crate) struct EndWorker(pub(crate) WorkerId);

/// How many worker processes have not ended.
#[derive(Message)]
#[rtype(result = "usize")]
pub(crate) struct ChildrenLeft;

/// Where is this process?
#[derive(Message)]
#[rtype(result = "Found")]
pub(crate) struct FindProcess(pub(crate) ProcessId);

/// Where a process is, as far as a raylet knows.
#[derive(actix::MessageResponse)]
pub(crate) enum Found {
    /// On this node; none if it is there no more.
    Here(Option<PeerAddr>),
    /// On the node of this raylet.
    Node(PeerAddr),
    /// On a node that the raylet has not heard of.
    Unknown,
}

/// What the raylet is asked for `state`.
#[derive(Message)]
#[rtype(result = "RayletState")]
pub(crate) struct AskState;

/// A snapshot of a raylet.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct RayletState {
    pub(crate) total: ResourceSet,
    pub(crate) available: ResourceSet,
    pub(crate) leases: usize,
    pub(crate) queued: usize,
    /// Bytes in the object store of the node's own process.
    pub(crate) stored: u64,
    /// Worker, pid, whether it is alive.
    pub(crate) workers: Vec<(WorkerId, u32, bool)>,
}

impl<A, M> actix::dev::MessageResponse<A, M> for RayletState
where
    A: Actor,
    M: Message<Result = RayletState>,
{
    fn handle(self, _ctx: &mut A::Context, reply: Option<actix::dev::OneshotSender<RayletState>>) {
        if let Some(reply) = reply {
            // Whoever asked may have gone.
            let _ = reply.send(self);
        }
    }
}

enum Worker {
    Thread { slot: Arc<TaskSlot> },
    Process { peer: Option<PeerAddr>, pid: u32 },
}

/// The Actix actor.
pub(crate) struct Raylet {
    process: Arc<Process>,
    core: RayletCore,
    spawner: Option<Spawner>,
    workers: BTreeMap<WorkerId, (JobId, Worker)>,
    /// Worker processes that were asked to end and have not.
    stopping: BTreeMap<WorkerId, ProcessId>,
    namespaces: BTreeMap<JobId, Arc<str>>,
    nodes: BTreeMap<NodeId, NodeRow>,
    placing: BTreeMap<RequestId, (ActorRun, Arc<ActorSpec>)>,
    running: runs::Runs,
    /// Runs that ended before they were started.
    cancelled: std::collections::BTreeSet<ActorRun>,
    next_request: u64,
    tick: Option<SpawnHandle>,
    views: u64,
    total: ResourceSet,
    available: ResourceSet,
    /// Drivers in processes of their own, and what they say of their programs.
    drivers: BTreeMap<ProcessId, (PeerAddr, Option<Offer>)>,
    /// Whether they will be told of resources soon.
    telling: bool,
    /// Workers that cannot start before their job's program is here.
    fetching: BTreeMap<JobId, Vec<(WorkerId, WorkerKind)>>,
    /// What is behind the reason that the core was last told.
    start_error: Option<Error>,
    /// Of the worker whose death the core is told of.
    died: Died,
}

/// What is known of a worker that died.
#[derive(Clone, Copy, Default)]
struct Died {
    /// Its process, if it had one of its own.
    process: Option<ProcessId>,
    /// What it ran: lease and task; the outer is none if nobody can tell.
    running: Option<Option<(u64, u64)>>,
}

impl Raylet {
    pub(crate) fn new(process: Arc<Process>, total: ResourceSet, spawner: Option<Spawner>) -> Raylet {
        Raylet {
            core: RayletCore::new(process.id.node, total.clone()),
            process,
            spawner,
            workers: BTreeMap::new(),
            stopping: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            nodes: BTreeMap::new(),
            placing: BTreeMap::new(),
            running: runs::Runs::default(),
            cancelled: std::collections::BTreeSet::new(),
            next_request: 0,
            tick: None,
            views: 0,
            available: total.clone(),
            total,
            drivers: BTreeMap::new(),
            telling: false,
            fetching: BTreeMap::new(),
            start_error: None,
            died: Died::default(),
        }
    }

    /// The owner that stands for the raylet when it asks itself for an actor's lease.
    fn me(&self) -> OwnerId {
        OwnerId { process: self.process.id, number: u32::MAX }
    }

    fn event(&mut self, event: Event, ctx: &mut Context<Self>) {
        let mut out = Vec::new();
        self.core.handle(self.process.env.now(), event, &mut out);
        for action in out {
            self.act(action, ctx);
        }
    }

    fn act(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::Grant { request, to, lease, worker, .. } if to == self.me() => self.place(request, lease, worker),
            Action::Grant { request, to, lease, worker, open } => {
                let Some(worker) = self.worker_addr(worker) else { return };
                self.tell(to, OwnerMessage::Grant { request, lease, worker, open });
            }
            Action::Spill { request, to, node, count, .. } if to == self.me() => {
                tracing::debug!(?request, %node, count, "the GCS has chosen this node for an actor that would go elsewhere");
                self.no_room(request);
            }
            Action::Spill { request, to, node, count, open } => {
                let Some(row) = self.nodes.get(&node) else { return };
                let raylet = PeerAddr { id: row.process, addrs: row.addrs.clone(), relay: None };
                self.tell(to, OwnerMessage::Spill { request, node, raylet, count, open });
            }
            Action::Refuse { request, to, why: RefuseReason::WorkerStart { reason } } => {
                let error = self.start_error.clone();
                let error = error.unwrap_or_else(|| {
                    Error::runtime_env_setup(format!("no worker could be started: {reason}"))
                        .remedy("the node's log says what the worker printed")
                });
                let error = error.at_node(self.process.id.node);
                if to == self.me() {
                    self.not_started(request, error);
                } else {
                    self.tell(to, OwnerMessage::Refuse { request, error });
                }
            }
            Action::Refuse { request, to, why } if to == self.me() => {
                tracing::debug!(%why, "an actor was refused");
                self.no_room(request);
            }
            Action::Refuse { request, to, why } => {
                let error = Error::infeasible(why.to_string())
                    .at_node(self.process.id.node)
                    .remedy("name another node, use soft affinity, or start a node that has what it needs");
                self.tell(to, OwnerMessage::Refuse { request, error });
            }
            Action::StartWorker { worker, job, kind } => self.start_worker(worker, job, kind, ctx),
            Action::AskWorker { worker } => self.ask_worker(worker, ctx),
            Action::StopWorker { worker } => self.stop_worker(worker),
            Action::Recall { lease, to, yield_now } if to != self.me() => {
                self.tell(to, OwnerMessage::Recall { lease, yield_now });
            }
            Action::LeaseLost { lease, to, worker } if to != self.me() => {
                let ran = match self.died.running {
                    None => Ran::First,
                    Some(running) => Ran::Task(running.filter(|(of, _)| *of == lease.number).map(|(_, seq)| seq)),
                };
                self.tell(to, OwnerMessage::LeaseLost { lease, worker, process: self.died.process, ran });
            }
            Action::Infeasible { request, to, shape, first } => {
                let text = format!(
                    "no node of the cluster has {shape}, which a task asks for; this node has {}. It stays pending until one joins",
                    self.total
                );
                self.tell(to, OwnerMessage::Infeasible { request, text, first });
            }
            Action::Recall { .. } | Action::LeaseLost { .. } => {}
            Action::ReportView(view) => self.report(view, ctx),
            Action::NextTick(at) => {
                if let Some(before) = self.tick.take() {
                    ctx.cancel_future(before);
                }
                let wait = at.saturating_sub(self.process.env.now());
                self.tick = Some(ctx.run_later(wait, |raylet, ctx| {
                    raylet.tick = None;
                    raylet.event(Event::Tick, ctx);
                }));
            }
        }
    }

    fn tell(&self, to: OwnerId, message: OwnerMessage) {
        self.process.tell_owner(to.process, ToOwner::To { owner: to.number, message });
    }

    fn report(&mut self, view: View, ctx: &mut Context<Self>) {
        self.available = view.available.clone();
        self.process.set_resources(self.process.id.node, Some((self.total.clone(), view.available.clone())));
        self.views += 1;
        let view = NodeView {
            node: self.process.id.node,
            version: self.views,
            available: view.available,
            queued: view.queued,
        };
        self.process.tell_gcs(ToGcs::View(view));
        self.resources_changed(ctx);
    }

    /// Drivers hear of what the nodes have, a little later and together.
    fn resources_changed(&mut self, ctx: &mut Context<Self>) {
        if self.telling || self.drivers.is_empty() {
            return;
        }
        self.telling = true;
        ctx.run_later(Duration::from_millis(10), |raylet, _| {
            raylet.telling = false;
            let nodes = raylet.process.node_resources();
            for driver in raylet.drivers.keys() {
                raylet.process.tell_owner(*driver, ToOwner::Resources { nodes: nodes.clone() });
            }
        });
    }

    /// Tells the drivers and workers of this node, and the owners in this process.
    fn tell_all(&self, message: &ToOwner) {
        let workers = self.workers.values().filter_map(|(_, worker)| match worker {
            Worker::Process { peer, .. } => peer.as_ref().map(|peer| peer.id),
            Worker::Thread { .. } => None,
        });
        for process in workers.chain(self.drivers.keys().copied()).chain([self.process.id]) {
            self.process.tell_owner(process, message.clone());
        }
    }

    fn attach(&mut self, peer: &PeerAddr, offer: Option<Offer>) -> RayletAnswer {
        self.drivers.insert(peer.id, (peer.clone(), offer));
        self.process.watch(peer);
        let gcs = self.process.gcs_at.get().cloned().unwrap_or_else(|| self.process.address());
        RayletAnswer::Attached { gcs, nodes: self.process.node_resources() }
    }

    fn find(&self, id: ProcessId) -> Found {
        if id == self.process.id {
            return Found::Here(Some(self.process.address()));
        }
        if id.node != self.process.id.node {
            let node = self.nodes.get(&id.node);
            return node.map_or(Found::Unknown, |row| {
                Found::Node(PeerAddr { id: row.process, addrs: row.addrs.clone(), relay: None })
            });
        }
        let workers = self.workers.values().filter_map(|(_, worker)| match worker {
            Worker::Process { peer, .. } => peer.as_ref(),
            Worker::Thread { .. } => None,
        });
        let drivers = self.drivers.values().map(|(peer, _)| peer);
        Found::Here(workers.chain(drivers).find(|peer| peer.id == id).cloned())
    }

    fn worker_addr(&self, worker: WorkerId) -> Option<WorkerAddr> {
        let peer = match &self.workers.get(&worker)?.1 {
            Worker::Thread { .. } => self.process.address(),
            Worker::Process { peer, .. } => peer.clone()?,
        };
        Some(WorkerAddr { worker, peer })
    }

    // ---- workers

    /// A job of a driver elsewhere: the GCS knows its program and its namespace.
    fn learn_job(&self, worker: WorkerId, job: JobId, kind: WorkerKind, ctx: &mut Context<Self>) {
        let Some(gcs) = self.process.gcs.get().cloned() else { return };
        let raylet = ctx.address();
        self.process.spawn(async move {
            let row = match gcs.ask(AskGcs::Jobs, Duration::from_secs(5)).await {
                Ok(GcsAnswer::Jobs(rows)) => rows.into_iter().find(|row| row.id == job),
                _ => None,
            };
            raylet.do_send(Learned { worker, job, kind, row });
        });
    }

    fn start_worker(&mut self, worker: WorkerId, job: JobId, kind: WorkerKind, ctx: &mut Context<Self>) {
        // In one program (an embedded cluster's, a test's) nothing is fetched, but the job's namespace must be known.
        let here = self
            .spawner
            .as_ref()
            .map_or(self.namespaces.contains_key(&job), |spawner| spawner.knows(job) || !spawner.has_default());
        if !here {
            self.learn_job(worker, job, kind, ctx);
            return;
        }
        if let Some(spawner) = &mut self.spawner {
            if !spawner.knows(job) {
                self.workers.insert(worker, (job, Worker::Process { peer: None, pid: 0 }));
                self.fetch_program(job, (worker, kind), ctx);
                return;
            }
            match spawner.start(worker, job, kind) {
                Ok(pid) => {
                    self.workers.insert(worker, (job, Worker::Process { peer: None, pid }));
                }
                Err(error) => ctx.notify(Failed { worker, error }),
            }
            return;
        }
        let namespace = self.namespaces.get(&job).cloned().unwrap_or_else(|| Arc::from(""));
        let host = Host::new(Arc::clone(&self.process), worker, job, namespace, None);
        let slot = TaskSlot::new(host, Arc::clone(&self.process.pool));
        self.process.add_slot(&slot);
        self.workers.insert(worker, (job, Worker::Thread { slot }));
        ctx.notify(Started { worker });
    }

    /// The first worker of a job that this node knows nothing of: its program is fetched.
    fn fetch_program(&mut self, job: JobId, worker: (WorkerId, WorkerKind), ctx: &mut Context<Self>) {
        let waiting = self.fetching.entry(job).or_default();
        waiting.push(worker);
        if waiting.len() == 1 {
            let (process, raylet) = (Arc::clone(&self.process), ctx.address());
            self.process.spawn(async move {
                let program = process.fetch_program(job).await;
                raylet.do_send(ProgramHere { job, program });
            });
        }
    }

    /// Asks an idle worker whether it owns what somebody may ask for.
    fn ask_worker(&self, worker: WorkerId, ctx: &mut Context<Self>) {
        let raylet = ctx.address();
        match self.workers.get(&worker) {
            Some((_, Worker::Process { peer: Some(peer), .. })) => {
                let Ok(endpoint) = self.process.endpoint() else { return };
                let answer = endpoint.peer(peer).ask(WORKER, &ToWorker::IsNeeded, Duration::from_secs(5));
                self.process.spawn(async move {
                    // One that does not answer is busy, or about to be found dead.
                    let needed = answer.await.unwrap_or(true);
                    raylet.do_send(Needed { worker, needed });
                });
            }
            // What a thread's worker owns outlives it in its process.
            _ => raylet.do_send(Needed { worker, needed: false }),
        }
    }

    fn stop_worker(&mut self, worker: WorkerId) {
        match self.workers.remove(&worker) {
            Some((_, Worker::Thread { slot })) => {
                self.end_actors_of(worker);
                drop(slot.close());
                if let Some(owner) = slot.host.owner_if_any() {
                    let owner = Arc::clone(owner);
                    retire(&self.process, owner);
                }
            }
            Some((_, Worker::Process { peer, .. })) => {
                if let Some(peer) = peer {
                    self.stopping.insert(worker, peer.id);
                }
                if let Some(spawner) = &mut self.spawner {
                    spawner.stop(worker);
                }
            }
            None => {}
        }
    }

    /// Ends the actors of a worker that stops, as the end of a process would: what it keeps is let go.
    fn end_actors_of(&mut self, worker: WorkerId) {
        for run in self.running.at(worker) {
            match self.process.actor(crate::actor::host::number(run.actor)) {
                Some(actor) if actor.run == run => actor.ask_end(true),
                _ => self.process.cancel_start(run),
            }
        }
    }

    fn worker_gone(&mut self, worker: WorkerId, text: &str, ctx: &mut Context<Self>) {
        for run in self.running.at(worker) {
            self.running.remove(&run);
            self.process.tell_gcs(ToGcs::ActorDied {
                run,
                node: self.process.id.node,
                how: Gone::Lost,
                text: text.to_owned(),
            });
        }
        let gone = self.workers.remove(&worker);
        // Those who leased it learn what it died of before they learn that its process is gone.
        let process = match &gone {
            Some((_, Worker::Process { peer: Some(peer), .. })) => Some(peer.id),
            _ => None,
        };
        self.died = Died { process, running: self.spawner.as_ref().and_then(|spawner| spawner.ran(worker)) };
        self.event(Event::WorkerDied { worker }, ctx);
        self.died = Died::default();
        if let Some(process) = process {
            self.process_gone(process, ctx);
        }
    }

    /// A worker's process has ended: nothing is sent to it any more, and what it owned is gone.
    fn process_gone(&mut self, process: ProcessId, ctx: &mut Context<Self>) {
        self.process.tell_gcs(ToGcs::ProcessDied { process });
        if let Ok(endpoint) = self.process.endpoint() {
            endpoint.declare_dead(process);
        }
        self.event(Event::ProcessDied { process }, ctx);
    }

    // ---- actors

    fn want_actor(&mut self, run: ActorRun, spec: Arc<ActorSpec>, ctx: &mut Context<Self>) {
        if self.cancelled.remove(&run) {
            return;
        }
        self.next_request += 1;
        let id = RequestId(self.next_request);
        let host = match spec.isolation {
            crate::gcs::core::Isolation::Process => core::Host::Dedicated,
            crate::gcs::core::Isolation::Shared => core::Host::Shared,
        };
        let request = LeaseRequest {
            id,
            from: self.me(),
            job: spec.job,
            shape: spec.shape.clone(),
            backlog: 1,
            depth: 1,
            outlives_job: spec.detached || spec.outlives_job,
            scheduling: Scheduling::NodeAffinity { node: self.process.id.node, soft: false },
            fails: true,
            locality: Vec::new(),
            spilled: 0,
            purpose: Purpose::Actor { actor: spec.id, hold: spec.hold.clone(), host },
        };
        self.namespaces.entry(spec.job).or_insert_with(|| Arc::from(spec.namespace.as_str()));
        self.placing.insert(id, (run, spec));
        self.event(Event::RequestLease(request), ctx);
    }

    fn place(&mut self, request: RequestId, lease: LeaseId, worker: WorkerId) {
        let Some((run, spec)) = self.placing.remove(&request) else {
            self.process.return_lease(lease, true);
            return;
        };
        let node = self.process.id.node;
        self.running.insert(run, lease, worker);
        self.process.tell_gcs(ToGcs::ActorPlaced { run, node });
        match &self.workers.get(&worker) {
            Some((_, Worker::Thread { .. })) => {
                crate::actor::begin::begin(&self.process, run, spec, lease, worker);
            }
            Some((_, Worker::Process { peer: Some(peer), .. })) => {
                let message = ToWorker::StartActor { run, spec, lease };
                if let Ok(endpoint) = self.process.endpoint() {
                    let _ = endpoint.peer(peer).tell(Lane::Ordered, WORKER, &message);
                }
            }
            _ => {}
        }
    }

    fn not_started(&mut self, request: RequestId, error: Error) {
        if let Some((run, _)) = self.placing.remove(&request) {
            let (node, text, error) = (self.process.id.node, error.to_string(), Some(error));
            self.process.tell_gcs(ToGcs::ActorNotStarted { run, node, text, error, no_room: false });
        }
    }

    fn no_room(&mut self, request: RequestId) {
        if let Some((run, _)) = self.placing.remove(&request) {
            let node = self.process.id.node;
            let text = "the node has no room".to_owned();
            self.process.tell_gcs(ToGcs::ActorNotStarted { run, node, text, error: None, no_room: true });
        }
    }

    fn end_actor(&mut self, run: ActorRun, kill: bool, ctx: &mut Context<Self>) {
        let waiting = self.placing.iter().find(|(_, (other, _))| *other == run).map(|(id, _)| *id);
        if let Some(id) = waiting {
            self.placing.remove(&id);
            self.event(Event::UpdateBacklog { from: self.me(), id, backlog: 0 }, ctx);
            self.actor_gone(run, Gone::Ended, "it had not begun", ctx);
            return;
        }
        let Some(worker) = self.running.worker(&run) else {
            self.cancelled.insert(run);
            self.actor_gone(run, Gone::Ended, "it had not begun", ctx);
            return;
        };
        match self.workers.get(&worker) {
            Some((_, Worker::Thread { .. })) => match self.process.actor(crate::actor::host::number(run.actor)) {
                Some(actor) if actor.run == run => actor.ask_end(kill),
                _ => {
                    self.process.end_start(run);
                    self.actor_gone(run, Gone::Ended, "it had ended", ctx);
                }
            },
            Some((_, Worker::Process { peer: Some(peer), .. })) => {
                if let Ok(endpoint) = self.process.endpoint() {
                    let _ = endpoint.peer(peer).tell(Lane::Urgent, WORKER, &ToWorker::EndActor { run, kill });
                }
            }
            _ => {}
        }
    }

    fn actor_gone(&mut self, run: ActorRun, how: Gone, text: &str, ctx: &mut Context<Self>) {
        let node = self.process.id.node;
        self.process.tell_gcs(ToGcs::ActorDied { run, node, how, text: text.to_owned() });
        if let Some((lease, _)) = self.running.remove(&run) {
            self.event(Event::ReturnLease { lease, reusable: false }, ctx);
        }
    }

    fn actor_up(&mut self, run: ActorRun) {
        let Some(worker) = self.running.worker(&run) else { return };
        let Some(addr) = self.worker_addr(worker) else { return };
        let pid = match self.workers.get(&worker) {
            Some((_, Worker::Process { pid, .. })) => *pid,
            _ => self.process.env.pid(),
        };
        let node = self.process.id.node;
        self.process.tell_gcs(ToGcs::ActorReady { run, node, process: addr.peer, worker, pid });
    }

    fn hear(&mut self, message: ToRaylet, ctx: &mut Context<Self>) {
        match message {
            ToRaylet::Request(request) => self.event(Event::RequestLease(request), ctx),
            ToRaylet::Backlog { from, id, backlog } => self.event(Event::UpdateBacklog { from, id, backlog }, ctx),
            ToRaylet::Return { lease, reusable } => self.event(Event::ReturnLease { lease, reusable }, ctx),
            ToRaylet::Blocked { lease } => self.event(Event::Blocked { lease }, ctx),
            ToRaylet::Unblocked { lease } => self.event(Event::Unblocked { lease }, ctx),
            ToRaylet::Hello { peer, worker, pid: _, program } => {
                let Some(worker) = worker else { return };
                let Some((job, Worker::Process { peer: known, .. })) = self.workers.get_mut(&worker) else { return };
                let expected = self.spawner.as_ref().map(|spawner| spawner.identity(*job)).unwrap_or_default();
                if !expected.is_empty() && expected != program {
                    let error = Error::version_mismatch(format!(
                        "the worker's program is {program}, and the driver's is {expected}: the file that it was started from was replaced"
                    ))
                    .remedy("run the driver again");
                    if let Some(spawner) = &mut self.spawner {
                        spawner.discard_program(*job);
                        spawner.stop(worker);
                    }
                    ctx.notify(Failed { worker, error });
                    return;
                }
                *known = Some(peer);
                self.event(Event::WorkerStarted { worker }, ctx);
            }
            ToRaylet::JobStarted { row } => {
                let offer = self.drivers.get(&row.driver.process).and_then(|(_, offer)| offer.clone());
                if let Some(spawner) = &mut self.spawner {
                    let file = offer.and_then(|offer| offer.open(self.process.env.files()));
                    spawner.learn_job(&row, file);
                }
                self.namespaces.insert(row.id, Arc::from(row.namespace.as_str()));
                self.event(Event::Prestart { job: row.id, count: 1 }, ctx);
            }
            ToRaylet::JobEnded { job } => {
                self.namespaces.remove(&job);
                self.fetching.remove(&job);
                self.event(Event::JobEnded { job }, ctx);
                if let Some(spawner) = &mut self.spawner {
                    spawner.forget_job(job);
                }
            }
            ToRaylet::OwnerDied { owner } => self.event(Event::OwnerDied { owner }, ctx),
            ToRaylet::PlaceActor { run, spec } => self.want_actor(run, spec, ctx),
            ToRaylet::EndActor { run, kill } => self.end_actor(run, kill, ctx),
            ToRaylet::Nodes(rows) => self.nodes_changed(rows, ctx),
            ToRaylet::Views(views) => self.views_changed(views, ctx),
            ToRaylet::Dead { process } => {
                if process == self.process.id {
                    if self.process.is_closing() {
                        // It has left, and what it still said crossed the word of it.
                        return;
                    }
                    tracing::error!(target: "actinic", "this node was declared dead by the GCS; it ends its workers");
                    self.process.home_lost("the GCS declared this node dead");
                    return;
                }
                self.tell_all(&ToOwner::ProcessDead { process });
                self.event(Event::ProcessDied { process }, ctx);
            }
            ToRaylet::OwnerGone { owner } => self.tell_all(&ToOwner::OwnerGone { owner }),
            ToRaylet::Tokens(tokens) => {
                if let Some(admission) = self.process.admission.get() {
                    admission.replace(tokens);
                }
            }
            ToRaylet::ActorUp { run } => self.actor_up(run),
            ToRaylet::ActorFailed { run, text, error } => {
                let node = self.process.id.node;
                let error = Some(error);
                self.process.tell_gcs(ToGcs::ActorNotStarted { run, node, text, error, no_room: false });
                if let Some((lease, _)) = self.running.remove(&run) {
                    self.event(Event::ReturnLease { lease, reusable: false }, ctx);
                }
            }
            ToRaylet::ActorGone { run, how, text } => self.actor_gone(run, how, &text, ctx),
            ToRaylet::KillWorker { worker } => {
                if let Some(spawner) = &mut self.spawner {
                    spawner.kill(worker);
                }
            }
            ToRaylet::Stop => {
                if let Some(spawner) = &mut self.spawner {
                    spawner.stop_all();
                }
            }
        }
    }

    fn nodes_changed(&mut self, rows: Vec<NodeRow>, ctx: &mut Context<Self>) {
        for row in rows {
            let node = row.id;
            if row.state.is_up() {
                let raylet = PeerAddr { id: row.process, addrs: row.addrs.clone(), relay: None };
                self.process.learn_raylet(node, raylet);
                let total = row.total.clone();
                if self.nodes.insert(node, row).is_none() && node != self.process.id.node {
                    // Until its first view comes, all that it has counts as free.
                    self.process.set_resources(node, Some((total.clone(), total.clone())));
                    let view = View { available: total.clone(), total, queued: 0, draining: false };
                    self.event(Event::NodeView { node, view }, ctx);
                }
                continue;
            }
            let process = row.process;
            self.nodes.remove(&node);
            self.process.set_resources(node, None);
            if node == self.process.id.node {
                continue;
            }
            self.event(Event::NodeLost { node }, ctx);
            if let Ok(endpoint) = self.process.endpoint() {
                endpoint.declare_dead(process);
            }
            let text = row.death.map_or_else(|| "it left the cluster".to_owned(), |death| death.to_string());
            self.tell_all(&ToOwner::NodeDead { node, text });
        }
        self.resources_changed(ctx);
    }

    fn views_changed(&mut self, views: Vec<NodeView>, ctx: &mut Context<Self>) {
        for view in views {
            let node = view.node;
            let Some(row) = self.nodes.get(&node) else { continue };
            if node == self.process.id.node {
                continue;
            }
            self.process.set_resources(node, Some((row.total.clone(), view.available.clone())));
            let view =
                View { total: row.total.clone(), available: view.available, queued: view.queued, draining: false };
            self.event(Event::NodeView { node, view }, ctx);
        }
        self.resources_changed(ctx);
    }
}

/// A worker that is not needed any more ends when nothing that it owns is.
fn retire(process: &Arc<Process>, owner: Arc<crate::owner::Owner>) {
    let (known, _, _) = owner.load();
    if known == 0 {
        process.tell_gcs(ToGcs::OwnerDied { owner: owner.id });
    }
}

/// A started worker's own notice, so that the core is never entered twice.
#[derive(Message)]
#[rtype(result = "()")]
struct Started {
    worker: WorkerId,
}

/// A worker's word whether anything needs it.
#[derive(Message)]
#[rtype(result = "()")]
struct Needed {
    worker: WorkerId,
    needed: bool,
}

/// What the GCS says of a job that a worker is to be started for.
#[derive(Message)]
#[rtype(result = "()")]
struct Learned {
    worker: WorkerId,
    job: JobId,
    kind: WorkerKind,
    row: Option<JobRow>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Failed {
    worker: WorkerId,
    error: Error,
}

impl Actor for Raylet {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Nothing is dropped for want of room: what waits here is bounded by what owners may ask.
        ctx.set_mailbox_capacity(1 << 20);
        let node = self.process.id.node;
        ctx.run_interval(Duration::from_secs(1), move |raylet, _| raylet.process.tell_gcs(ToGcs::Heartbeat { node }));
    }
}

impl Handler<Heard> for Raylet {
    type Result = ();

    fn handle(&mut self, message: Heard, ctx: &mut Context<Self>) {
        self.hear(message.0, ctx);
    }
}

impl Handler<Started> for Raylet {
    type Result = ();

    fn handle(&mut self, message: Started, ctx: &mut Context<Self>) {
        self.event(Event::WorkerStarted { worker: message.worker }, ctx);
    }
}

impl Handler<Needed> for Raylet {
    type Result = ();

    fn handle(&mut self, message: Needed, ctx: &mut Context<Self>) {
        let Needed { worker, needed } = message;
        self.event(Event::WorkerNeeded { worker, needed }, ctx);
    }
}

impl Handler<Learned> for Raylet {
    type Result = ();

    fn handle(&mut self, message: Learned, ctx: &mut Context<Self>) {
        let Learned { worker, job, kind, row } = message;
        let Some(row) = row else {
            let error = Error::runtime_env_setup(format!("the GCS does not know job {job}"));
            ctx.notify(Failed { worker, error });
            return;
        };
        if let Some(spawner) = &mut self.spawner {
            spawner.learn_job(&row, None);
        }
        self.namespaces.insert(row.id, Arc::from(row.namespace.as_str()));
        self.start_worker(worker, job, kind, ctx);
    }
}

impl Handler<Failed> for Raylet {
    type Result = ();

    fn handle(&mut self, message: Failed, ctx: &mut Context<Self>) {
        self.failed(message.worker, message.error, ctx);
    }
}

impl Raylet {
    /// A worker will never start, and nor would another.
    fn failed(&mut self, worker: WorkerId, error: Error, ctx: &mut Context<Self>) {
        self.workers.remove(&worker);
        let reason = error.to_string();
        tracing::warn!(target: "actinic", %worker, reason, "a worker could not be started");
        self.start_error = Some(error);
        self.event(Event::WorkerFailedToStart { worker, reason, permanent: true }, ctx);
        self.start_error = None;
    }
}

impl Handler<Attach> for Raylet {
    type Result = ();

    fn handle(&mut self, message: Attach, _ctx: &mut Context<Self>) {
        let answer = self.attach(&message.peer, message.offer);
        // A driver that gave up says goodbye.
        let _ = message.reply.answer(&answer);
    }
}

impl Handler<ProgramHere> for Raylet {
    type Result = ();

    fn handle(&mut self, message: ProgramHere, ctx: &mut Context<Self>) {
        let ProgramHere { job, program } = message;
        let Some(waiting) = self.fetching.remove(&job) else { return };
        let error = match program {
            Ok(program) => {
                self.namespaces.insert(job, Arc::from(program.namespace.as_str()));
                if let Some(spawner) = &mut self.spawner {
                    spawner.learn_program(job, program);
                }
                None
            }
            Err(error) => Some(error),
        };
        for (worker, kind) in waiting {
            // One that is needed no more was forgotten meanwhile.
            if self.workers.remove(&worker).is_none() {
                continue;
            }
            match &error {
                None => self.start_worker(worker, job, kind, ctx),
                Some(error) => self.failed(worker, error.clone(), ctx),
            }
        }
    }
}

impl Handler<WorkerCrashed> for Raylet {
    type Result = ();

    fn handle(&mut self, message: WorkerCrashed, ctx: &mut Context<Self>) {
        self.worker_gone(message.worker, "it crashed", ctx);
    }
}

impl Handler<ChildEnded> for Raylet {
    type Result = ();

    fn handle(&mut self, message: ChildEnded, ctx: &mut Context<Self>) {
        let ChildEnded(worker, text) = message;
        let never_came = matches!(self.workers.get(&worker), Some((_, Worker::Process { peer: None, .. })));
        if never_came {
            self.workers.remove(&worker);
            let reason = format!("its process ended before it reported: {text}");
            self.event(Event::WorkerFailedToStart { worker, reason, permanent: false }, ctx);
        } else if self.workers.contains_key(&worker) {
            self.worker_gone(worker, &text, ctx);
        } else if let Some(process) = self.stopping.remove(&worker) {
            self.process_gone(process, ctx);
        }
    }
}

impl Handler<ProcessGone> for Raylet {
    type Result = ();

    fn handle(&mut self, message: ProcessGone, ctx: &mut Context<Self>) {
        let ProcessGone(process, text) = message;
        let worker = self.workers.iter().find_map(|(id, (_, worker))| match worker {
            Worker::Process { peer: Some(peer), .. } if peer.id == process => Some(*id),
            _ => None,
        });
        match worker {
            Some(worker) => self.worker_gone(worker, &text, ctx),
            None => {
                self.drivers.remove(&process);
                // Of other nodes' processes their own raylets tell, and of raylets the GCS.
                if process.node == self.process.id.node && process != self.process.id {
                    self.process.tell_gcs(ToGcs::ProcessDied { process });
                }
                self.event(Event::ProcessDied { process }, ctx);
            }
        }
    }
}

impl Handler<DefaultProgram> for Raylet {
    type Result = ();

    fn handle(&mut self, message: DefaultProgram, _ctx: &mut Context<Self>) {
        if let Some(spawner) = &mut self.spawner {
            spawner.default_program(&message.0);
        }
    }
}

impl Handler<Shutdown> for Raylet {
    type Result = ();

    fn handle(&mut self, message: Shutdown, _ctx: &mut Context<Self>) {
        if !message.killed {
            self.process.tell_gcs(ToGcs::NodeLeft { node: self.process.id.node });
        }
        if let Some(spawner) = &mut self.spawner {
            if message.killed {
                spawner.kill_all();
            }
            spawner.stop_all();
        }
    }
}

impl Handler<EndWorker> for Raylet {
    type Result = bool;

    fn handle(&mut self, message: EndWorker, _ctx: &mut Context<Self>) -> bool {
        match (self.workers.get(&message.0), &mut self.spawner) {
            (Some((_, Worker::Process { .. })), Some(spawner)) => {
                spawner.kill(message.0);
                true
            }
            _ => false,
        }
    }
}

impl Handler<FindProcess> for Raylet {
    type Result = Found;

    fn handle(&mut self, message: FindProcess, _ctx: &mut Context<Self>) -> Found {
        self.find(message.0)
    }
}

impl Handler<ChildrenLeft> for Raylet {
    type Result = usize;

    fn handle(&mut self, _message: ChildrenLeft, _ctx: &mut Context<Self>) -> usize {
        self.spawner.as_ref().map_or(0, Spawner::left)
    }
}

impl Handler<AskState> for Raylet {
    type Result = RayletState;

    fn handle(&mut self, _message: AskState, _ctx: &mut Context<Self>) -> RayletState {
        let snapshot = self.core.snapshot();
        let pid = |worker: &Worker| match worker {
            Worker::Thread { .. } => self.process.env.pid(),
            Worker::Process { pid, .. } => *pid,
        };
        RayletState {
            total: self.total.clone(),
            available: snapshot.view.available,
            leases: snapshot.leases.len(),
            queued: snapshot.queue.len(),
            stored: self.process.store.used(),
            workers: self.workers.iter().map(|(id, (_, worker))| (*id, pid(worker), true)).collect(),
        }
    }
}
