//! What the raylet's core is told, and what it asks to be done.

use std::time::Duration;

use actinic_transport::{NodeId, ProcessId};
use serde::{Deserialize, Serialize};

use crate::ids::{ActorId, JobId, OwnerId, WorkerId};
use crate::resources::ResourceSet;

/// A request for leases, as its owner numbers it: never used twice by one owner, whichever raylet it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct RequestId(pub(crate) u64);

/// A lease: the right to run tasks of one shape on one worker of this node, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct LeaseId {
    pub(crate) node: NodeId,
    pub(crate) number: u64,
}

/// A request of one owner. What everything that waits is sorted and found by.
pub(crate) type RequestKey = (OwnerId, RequestId);

/// A wish for up to `backlog` leases, all of one shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LeaseRequest {
    pub(crate) id: RequestId,
    pub(crate) from: OwnerId,
    pub(crate) job: JobId,
    /// What the owner shares its leases by, as it numbers that: those of one key do not serve the tasks of another, though
    /// they may be alike in all that a raylet knows.
    pub(crate) key: u32,
    /// What must be free for one lease to be placed; tasks hold it all.
    pub(crate) shape: ResourceSet,
    /// How many leases the owner could use now.
    pub(crate) backlog: u32,
    /// How deep the submitting task is nested; 0 is a driver. Deeper goes first: something is blocked on it.
    pub(crate) depth: u32,
    /// A detached actor, or what one has submitted: the end of the job does not end it.
    pub(crate) outlives_job: bool,
    pub(crate) scheduling: Scheduling,
    /// Whether it is refused if no node has what it asks, instead of waiting for one.
    pub(crate) fails: bool,
    /// Where the arguments lie, in bytes.
    pub(crate) locality: Vec<(NodeId, u64)>,
    /// Nodes that live, for all that is known, where the owner cannot reach them: a lease there is of no use to it.
    pub(crate) avoids: Vec<NodeId>,
    /// How many raylets have sent it on.
    pub(crate) spilled: u8,
    pub(crate) purpose: Purpose,
}

/// Where the user wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Scheduling {
    /// Near its arguments, else packed to half, else spread.
    Default,
    /// Round robin; the owner runs one task on each such lease.
    Spread,
    /// On this node; if soft, elsewhere rather than nowhere.
    NodeAffinity { node: NodeId, soft: bool },
}

/// What a lease is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    Tasks,
    Actor {
        actor: ActorId,
        /// What it holds for life. Default actors need one CPU to be placed and hold none.
        hold: ResourceSet,
        host: Host,
    },
}

/// Where an actor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Host {
    /// A worker of its own, never reused.
    Dedicated,
    /// The job's shared host on this node, whose fate it shares.
    Shared,
}

/// What kind of process a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum WorkerKind {
    /// Runs one task at a time, or becomes one actor's home.
    Slot,
    /// Hosts any number of light actors of its job.
    SharedHost,
}

/// What another node last said of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct View {
    pub(crate) total: ResourceSet,
    /// Negative where unblocked tasks took back what was lent on.
    pub(crate) available: ResourceSet,
    /// Leases that wait there for resources.
    pub(crate) queued: u32,
    /// It takes no new work.
    pub(crate) draining: bool,
}

/// What the core is told.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// An owner wants leases. The same request again sets its backlog.
    RequestLease(LeaseRequest),
    /// What remains wanted, from now on; 0 cancels. Ignored if the request has ended.
    UpdateBacklog {
        from: OwnerId,
        id: RequestId,
        backlog: u32,
        /// How many leases of it the owner has heard of: those on their way count as what it will have.
        heard: u32,
    },
    /// The owner is done with it. A worker that is not reusable is stopped.
    ReturnLease {
        lease: LeaseId,
        reusable: bool,
    },
    /// Have this many workers of the job ready ahead of need.
    Prestart {
        job: JobId,
        count: u32,
    },
    WorkerStarted {
        worker: WorkerId,
    },
    /// A permanent reason (the program cannot be had, say) fails those who wait at once; others are tried again.
    WorkerFailedToStart {
        worker: WorkerId,
        reason: String,
        permanent: bool,
    },
    WorkerDied {
        worker: WorkerId,
    },
    /// What workers answered that were asked whether anything needs them. Many are asked at a time: what is answered at a
    /// time is looked at once.
    WorkersAnswered {
        answers: Vec<(WorkerId, bool)>,
    },
    /// Its task waits for a ref: lend its CPU. Telling it twice is harmless.
    Blocked {
        lease: LeaseId,
    },
    /// It goes on, and takes its CPU back at once.
    Unblocked {
        lease: LeaseId,
    },
    OwnerDied {
        owner: OwnerId,
    },
    /// Every owner in it died.
    ProcessDied {
        process: ProcessId,
    },
    /// Detached actors stay.
    JobEnded {
        job: JobId,
    },
    /// The state of other nodes: they are told of together.
    NodeViews {
        views: Vec<(NodeId, View)>,
    },
    /// The node is dead, and every owner on it.
    NodeLost {
        node: NodeId,
    },
    /// This node's own resources are now these.
    TotalChanged {
        total: ResourceSet,
    },
    /// This node takes no new work from now on; what runs goes on.
    Drain,
    /// Time passed.
    Tick,
}

/// What the core asks of the shell, to be done in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// One lease. `open` leases are still to come of this request; at 0 it has ended.
    Grant {
        request: RequestId,
        to: OwnerId,
        lease: LeaseId,
        worker: WorkerId,
        open: u32,
    },
    /// Ask `node` for `count` of them, by a request of its own that is `spilled` so often. `open` as in `Grant`.
    Spill {
        request: RequestId,
        to: OwnerId,
        node: NodeId,
        count: u32,
        spilled: u8,
        open: u32,
    },
    /// The request ends, unmet.
    Refuse {
        request: RequestId,
        to: OwnerId,
        why: RefuseReason,
    },
    StartWorker {
        worker: WorkerId,
        job: JobId,
        kind: WorkerKind,
    },
    /// Ask it whether it owns anything that somebody may still ask for: it is idle, and will be stopped if not.
    AskWorker {
        worker: WorkerId,
    },
    /// Kill it; the core has forgotten it already.
    StopWorker {
        worker: WorkerId,
    },
    /// Someone needs what the lease holds. Not `yield_now`: return it now if idle, else as soon as it is, instead
    /// of keeping it warm. `yield_now`: after the task that runs, whatever else there is to do.
    Recall {
        lease: LeaseId,
        to: OwnerId,
        yield_now: bool,
    },
    /// The lease ended without its owner's doing: the worker died.
    LeaseLost {
        lease: LeaseId,
        to: OwnerId,
        worker: WorkerId,
    },
    /// No node has what it asks: said once of a request, which stays. The first of its job and shape is to be warned of.
    Infeasible {
        request: RequestId,
        to: OwnerId,
        shape: ResourceSet,
        first: bool,
        /// Nodes that the owner cannot reach were not looked at.
        avoids: bool,
    },
    /// This node's state, for the others.
    ReportView(View),
    /// `Tick` at this time, instead of any earlier wish.
    NextTick(Duration),
}

/// Why a request ended without leases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum RefuseReason {
    #[error("node {node}, which was asked for, is not in the cluster")]
    NodeGone { node: NodeId },
    #[error("node {node}, which was asked for, cannot be reached from the process that submitted it")]
    NodeOutOfReach { node: NodeId },
    #[error("node {node}, which was asked for, takes no new work: it is being drained")]
    NodeDraining { node: NodeId },
    #[error("node {node}, which was asked for, has {has} and can never give {needs}")]
    NodeTooSmall { node: NodeId, needs: ResourceSet, has: ResourceSet },
    #[error("no node of the cluster has {needs}; node {node} comes nearest, with {has}")]
    Infeasible { needs: ResourceSet, node: NodeId, has: ResourceSet },
    #[error("no worker could be started: {reason}")]
    WorkerStart {
        reason: String,
        /// Nor will one ever be, on this node.
        permanent: bool,
    },
    #[error("its job has ended")]
    JobEnded,
    #[error("it asks for less than nothing: {shape}")]
    NotADemand { shape: ResourceSet },
}

impl LeaseRequest {
    pub(crate) fn key(&self) -> RequestKey {
        (self.from, self.id)
    }

    /// What must be free.
    pub(super) fn need(&self) -> ResourceSet {
        self.shape.union(self.hold())
    }

    /// What it keeps while the lease lasts.
    pub(super) fn hold(&self) -> &ResourceSet {
        match &self.purpose {
            Purpose::Tasks => &self.shape,
            Purpose::Actor { hold, .. } => hold,
        }
    }

    pub(super) fn kind(&self) -> WorkerKind {
        match &self.purpose {
            Purpose::Actor { host: Host::Shared, .. } => WorkerKind::SharedHost,
            Purpose::Actor { .. } | Purpose::Tasks => WorkerKind::Slot,
        }
    }
}
