//! What the core is told, and what it asks for.

use std::fmt;
use std::sync::Arc;

use actinic_transport::{NodeId, ProcessId};
use bytes::Bytes;

use super::death::{DeathCause, NodeDeath, Refusal};
use super::rows::{ActorInfo, ActorRun, ActorSpec, JobRow, NodeRow, NodeView, Seat};
use crate::ids::{ActorId, JobId, OwnerId};

/// Names a request, so that the shell can answer it: drawn by the shell, never interpreted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ReplyId(pub(crate) u64);

/// What the core is told.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Time has passed; see `GcsCore::next_wake`.
    Tick,

    /// A raylet registers. `state`, `death`, `started` and `ended` are the core's to fill in.
    RegisterNode { row: Box<NodeRow> },
    /// A raylet says that it lives.
    Heartbeat { node: NodeId },
    /// A raylet says what is free. `version` grows with each report.
    ReportView { view: NodeView },
    /// Somebody cannot reach a node; the shell probes it.
    NodeSuspected { node: NodeId },
    /// The shell's probe found that a node is dead.
    NodeDead { node: NodeId, cause: NodeDeath },
    /// A node leaves on purpose.
    NodeLeft { node: NodeId },

    /// A driver begins. `started` and `ended` are the core's to fill in.
    JobStarted { row: Box<JobRow> },
    /// A driver has shut down or died.
    JobEnded { job: JobId },
    /// A process (a driver, a worker, an actor's host) has ended, and all the owners in it.
    ProcessDied { process: ProcessId },
    /// One owner of a process has ended, and the process goes on.
    OwnerDied { owner: OwnerId },

    /// An owner asks for an actor. It has its name at once, and is placed when its constructor's arguments are ready.
    CreateActor { spec: Arc<ActorSpec>, reply: ReplyId },
    /// They are: the encoded constructor call.
    ActorArguments { actor: ActorId, creation: Bytes },
    /// They never will be: the text of an argument's error, and the encoded error.
    ActorNotMade { actor: ActorId, text: String, error: Bytes },
    /// A raylet has admitted a run: what it holds is counted there from its next report on.
    ActorPlaced { run: ActorRun, node: NodeId },
    /// A run's constructor has finished.
    ActorReady { run: ActorRun, node: NodeId, seat: Seat },
    /// A run did not come to life.
    ActorFailed { run: ActorRun, node: NodeId, cause: StartFailure },
    /// A run has ended, whether it came to life or not.
    ActorDied { run: ActorRun, node: NodeId, cause: ActorEnd },

    /// Somebody kills an actor. With `no_restart` false it may come back.
    KillActor { actor: ActorId, no_restart: bool, reply: Option<ReplyId> },
    /// Somebody stops an actor after the calls already made.
    StopActor { actor: ActorId },
    /// The owner says that no handle is left.
    HandlesGone { actor: ActorId },

    /// Somebody looks an actor up.
    GetActorByName { name: String, namespace: String, reply: ReplyId },
    /// Somebody looks an actor up by its id.
    GetActor { actor: ActorId, reply: ReplyId },
    /// Somebody lists the names; all namespaces' if none is given.
    ListNamed { namespace: Option<String>, reply: ReplyId },
    /// A process wants to know of every change of an actor, beginning with where it is now. `owner` is the one that
    /// the handle names: the actor may not have been asked for yet.
    Subscribe { actor: ActorId, owner: Option<OwnerId>, to: ProcessId },
}

/// Why a run did not come to life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StartFailure {
    /// The constructor returned an error or panicked: its text, and the encoded error.
    ConstructorError { text: String, error: Bytes },
    /// The process ended in the constructor, or could not be started: how.
    WorkerDied { detail: String },
    /// The node has no room after all, or could not be asked; another is tried.
    NoRoom,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ActorEnd {
    /// Its process ended by itself: how.
    WorkerDied { detail: String },
    /// Its process was ended to save memory.
    OutOfMemory { detail: String },
    /// What it runs in panicked, outside of any call: where and why.
    Broken { detail: String },
    /// It ended itself on purpose: how.
    Exited { detail: String },
    /// It ended as `EndActor` had asked.
    Ended,
}

/// How a run is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndHow {
    /// At once.
    Kill,
    /// After the calls already made.
    AfterCalls,
}

/// What the core asks the shell to do, in this order.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Answer a request.
    Reply { to: ReplyId, reply: Reply },
    /// Ask a raylet to start a run.
    PlaceActor { node: NodeId, run: ActorRun, spec: Arc<ActorSpec> },
    /// Ask a raylet to end a run. One that it does not have (any more, or yet) it must never start.
    EndActor { node: NodeId, run: ActorRun, how: EndHow },
    /// Ask a raylet to give a run back ([`StartFailure::NoRoom`]) that waits for room: another node has some. If it has
    /// admitted it, it says so again.
    RecallActor { node: NodeId, run: ActorRun },
    /// Tell the raylets that nodes came or went: whole rows.
    SpreadNodes { to: Vec<NodeId>, rows: Vec<NodeRow> },
    /// Tell the raylets what is free elsewhere. A raylet ignores the view of itself.
    SpreadViews { to: Vec<NodeId>, views: Vec<NodeView> },
    /// Ask a node for a sign of life, and tell `NodeDead` if its machine says that it is gone.
    ProbeNode { node: NodeId },
    /// Tell a raylet that it was declared dead: it must end its workers and come back as another node.
    TellDead { node: NodeId, process: ProcessId },
    /// Ask a raylet that is not known to register.
    AskRegister { node: NodeId },
    /// Tell the raylets that a job has ended: its leases, queues and workers go.
    TellJobEnded { to: Vec<NodeId>, job: JobId },
    /// Tell the head's raylet to have a job's program as a file, until `ForgetProgram`.
    KeepProgram { node: NodeId, job: JobId },
    /// Tell the raylets that neither a job nor an actor of it will start anything any more.
    ForgetProgram { to: Vec<NodeId>, job: JobId },
    /// Tell a process what became of actors that it watches.
    Publish { to: ProcessId, rows: Vec<ActorInfo> },
    /// Tell people.
    Warn(Warning),
    /// Tell the people whose processes have made it so.
    WarnOwners { to: Vec<ProcessId>, warning: Warning },
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// The actor will be made; what becomes of it is published to its owner's process.
    Created(ActorInfo),
    /// `get_if_exists`: another actor has the name, which the request holds from now on.
    Existing(ActorInfo),
    /// It will not be made.
    Refused(DeathCause),
    /// The actor that was looked up.
    Found { info: ActorInfo, spec: Arc<ActorSpec> },
    /// No such actor, or it is dead and has no name any more.
    NotFound,
    /// The names: namespace, name, actor.
    Names(Vec<(String, String, ActorId)>),
    /// The actor is dead, and its incarnation, if one lived, has been told to end.
    Killed { actor: ActorId, ending: Option<ActorRun> },
    /// The actor to kill is not known: if it is asked for later, it will not be made.
    KilledUnknown,
}

/// What people should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    /// A node died.
    NodeDied { node: NodeId, hostname: String, cause: NodeDeath, actors: usize },
    /// Actors have waited for a node for a while: `job` and `actor` name the first.
    ActorsPending { job: JobId, actor: ActorId, class: String, count: usize, text: String },
    /// An actor died, and nobody meant it.
    ActorDied { job: JobId, cause: Box<DeathCause> },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::NodeDied { node, hostname, cause, actors } => {
                write!(f, "node {node} ({hostname}) is dead: {cause}; it had {actors} actors")
            }
            Warning::ActorsPending { job, actor, class, count, text } => {
                write!(f, "{count} actors like {class} ({actor}) of job {job} wait for a node: {text}")
            }
            Warning::ActorDied { job, cause } => write!(f, "of job {job}, {cause}"),
        }
    }
}

impl From<Refusal> for super::death::DeathReason {
    fn from(why: Refusal) -> Self {
        super::death::DeathReason::Refused { why }
    }
}
