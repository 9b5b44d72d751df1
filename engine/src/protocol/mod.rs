//! Every message that crosses between components, in one place.
//!
//! Inside a process a message goes to the component's mailbox as it is; between processes it is postcard behind the
//! component's fixed actor number. The frequent ones (tasks, replies, actor calls) are batches. What the pure cores say to each
//! other (lease requests, counts of refs, rows of the GCS) is theirs, and stands in these as it is.

pub(crate) mod calls;
#[cfg(test)]
pub(crate) mod damage;
pub(crate) mod refs;
pub(crate) mod workers;

use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{ActorNo, Grant, NodeId, PeerAddr, ProcessId, Token};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::actor::credit::Window;
use crate::api::error::Error;
use crate::events::{TaskEvents, TaskKey, TaskRow};
use crate::gcs::core::bytes_field;
pub(crate) use crate::gcs::core::{ActorInfo, ActorRun, ActorSpec, ActorTraits, JobRow, NodeRow, NodeView};
use crate::ids::{ActorId, JobId, ObjectId, OwnerId, WorkerId};
use crate::object_manager::budget;
use crate::owner::Ran;
pub(crate) use crate::owner::refs::RefMessage;
use crate::raylet::RayletState;
pub(crate) use crate::raylet::core::{LeaseId, LeaseRequest, RequestId};
use crate::resources::ResourceSet;
use crate::start::program_file::{Offer, ProgramInfo};

/// The revision of every message that crosses between processes; two processes speak only if theirs are equal. A test
/// compares the samples of all with a hash of what they were at this revision.
pub(crate) const REVISION: u32 = 11;

/// The owners of a process.
pub(crate) const OWNER: ActorNo = ActorNo(1);
/// The raylet of a node.
pub(crate) const RAYLET: ActorNo = ActorNo(2);
/// The GCS of a cluster.
pub(crate) const GCS: ActorNo = ActorNo(3);
/// The workers of a process.
pub(crate) const WORKER: ActorNo = ActorNo(4);
/// The object manager of a node.
pub(crate) const OBJECTS: ActorNo = ActorNo(5);

/// The answers to `GetObject`: an [`ObjectAnswer`] each.
pub(crate) const OBJECT: ActorNo = ActorNo(19);

/// What an owner says of an object that was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ObjectAnswer<'a> {
    pub(crate) object: ObjectId,
    #[serde(borrow)]
    pub(crate) outcome: calls::WireOutcome<'a>,
}

/// A worker, and how to reach its process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkerAddr {
    pub(crate) worker: WorkerId,
    pub(crate) peer: PeerAddr,
}

/// To a process's owners.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ToOwner {
    /// To one of them.
    To { owner: u32, message: OwnerMessage },
    /// What became of actors that this process watches.
    Actors(Vec<ActorNews>),
    /// A node is dead.
    NodeDead { node: NodeId, text: String },
    /// What people should hear of: the GCS saw it, and its process may be a daemon.
    Warning { text: String },
    /// A process is dead.
    ProcessDead { process: ProcessId },
    /// An owner is dead, whose process may live.
    OwnerGone { owner: OwnerId },
    /// From this node's raylet: another process of the node found no room in the object store; copies are to go, or what
    /// is kept for lineage's sake too.
    StoreFull { lineage: bool },
    /// What the nodes have, and what of it is free: to drivers, which have no raylet of their own.
    Resources { nodes: Vec<NodeResources> },
    /// Tasks that were lent and had not begun.
    GivenBack { lease: LeaseId, tasks: Vec<(u32, u64)> },
    /// A borrower asks for an object, perhaps because it is not where it was said to lie; the answer goes to [`OBJECT`].
    GetObject { object: ObjectId, lost: Vec<ProcessId> },
    /// From an actor's process, on the urgent lane: what this process may have in flight to that incarnation.
    Credit { actor: ActorId, incarnation: u32, window: Window },
}

/// A node, all that it has, and what is free.
pub(crate) type NodeResources = (NodeId, ResourceSet, ResourceSet);

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refused {
    /// The request, which no node can fulfil.
    Request,
    /// The node, which can start no worker for it.
    Node,
    /// The job, which has ended.
    Job,
}

/// To one owner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum OwnerMessage {
    /// From raylets.
    Grant {
        request: RequestId,
        lease: LeaseId,
        worker: WorkerAddr,
        open: u32,
    },
    Spill {
        request: RequestId,
        node: NodeId,
        raylet: PeerAddr,
        count: u32,
        /// How often the request that is to be made there has been sent on.
        spilled: u8,
        open: u32,
    },
    Refuse {
        request: RequestId,
        error: Error,
        of: Refused,
    },
    Recall {
        lease: LeaseId,
        yield_now: bool,
    },
    LeaseLost {
        lease: LeaseId,
        worker: WorkerId,
        /// Its process, which is gone with all that it owned, if it had one of its own.
        process: Option<ProcessId>,
        ran: Ran,
    },
    /// Nothing in the cluster can fulfil the request; it stays. The first of its kind is warned of.
    Infeasible {
        request: RequestId,
        text: String,
        first: bool,
    },
    /// Another process fetched a copy of an object, and keeps it until it is freed.
    Copied {
        seq: u64,
        index: u32,
        at: PeerAddr,
    },
    /// An async task waits without holding its worker.
    Parked {
        lease: LeaseId,
        seq: u64,
    },
    /// Reference counting.
    Count {
        from: OwnerId,
        message: RefMessage,
    },
    /// Cancels a task for somebody who borrows its ref. It goes by the urgent lane. By force it is asked: the answer is the
    /// owner's refusal, if it refuses.
    Cancel {
        seq: u64,
        force: bool,
        recursive: bool,
    },
}

/// What a caller hears of an actor, under the id that it asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ActorNews {
    pub(crate) info: ActorInfo,
    /// How to reach its process, while it is alive.
    pub(crate) peer: Option<PeerAddr>,
}

/// How an actor's incarnation went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Gone {
    /// As it was asked to.
    Ended,
    /// By itself, on purpose.
    Exited,
    /// What it runs in panicked, outside of any call.
    Broken,
    /// With its process.
    Lost,
}

/// To a node's raylet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ToRaylet {
    Request(LeaseRequest),
    Backlog {
        from: OwnerId,
        id: RequestId,
        backlog: u32,
        heard: u32,
    },
    Return {
        lease: LeaseId,
        reusable: bool,
    },
    Blocked {
        lease: LeaseId,
    },
    Unblocked {
        lease: LeaseId,
    },
    /// A process introduces itself to the raylet that it belongs to.
    Hello {
        peer: PeerAddr,
        worker: Option<WorkerId>,
        pid: u32,
        /// The identity of its program.
        program: String,
    },
    /// A driver begins or ends on this node.
    JobStarted {
        row: Box<JobRow>,
    },
    JobEnded {
        job: JobId,
    },
    /// From the GCS: a job's program is wanted here, in case that others need it.
    KeepProgram {
        job: JobId,
    },
    /// From the GCS: nobody needs a job's program any more.
    ForgetProgram {
        job: JobId,
    },
    OwnerDied {
        owner: OwnerId,
    },
    /// From the GCS.
    PlaceActor {
        run: ActorRun,
        spec: Arc<ActorSpec>,
    },
    /// From the GCS; a kill goes by the urgent lane, so it may overtake its `PlaceActor`.
    EndActor {
        run: ActorRun,
        kill: bool,
    },
    /// From the GCS: another node has room for an actor that may wait for some here. If it does it is given back, by
    /// `ActorNotStarted` for want of room; else `ActorPlaced` is the answer.
    RecallActor {
        run: ActorRun,
    },
    Nodes(Vec<NodeRow>),
    Views(Vec<NodeView>),
    Dead {
        process: ProcessId,
    },
    /// An owner is dead, whose process may live.
    OwnerGone {
        owner: OwnerId,
    },
    /// A process of this node found no room in the object store: the others are to do without copies, or without what is
    /// kept for lineage's sake too.
    StoreFull {
        lineage: bool,
    },
    /// The tokens that admit drivers.
    Tokens(Vec<Token>),
    /// From an actor's host.
    ActorUp {
        run: ActorRun,
    },
    ActorFailed {
        run: ActorRun,
        text: String,
        error: Error,
    },
    ActorGone {
        run: ActorRun,
        how: Gone,
        text: String,
        /// Who owned what it made, if it made anything: dead with it.
        owner: Option<OwnerId>,
    },
}

impl ToRaylet {
    /// Whether the GCS says it, and nobody else.
    pub(crate) fn is_of_gcs(&self) -> bool {
        matches!(
            self,
            ToRaylet::KeepProgram { .. }
                | ToRaylet::ForgetProgram { .. }
                | ToRaylet::PlaceActor { .. }
                | ToRaylet::EndActor { .. }
                | ToRaylet::RecallActor { .. }
                | ToRaylet::Nodes(_)
                | ToRaylet::Views(_)
                | ToRaylet::Dead { .. }
                | ToRaylet::OwnerGone { .. }
                | ToRaylet::Tokens(_)
        )
    }
}

/// Questions to a raylet (or, for a program, to a driver), which are answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum AskRaylet {
    /// A driver attaches itself.
    Attach { peer: PeerAddr, offer: Option<Offer> },
    /// What another node needs to know before it fetches a job's program.
    Program { job: JobId },
    /// Where the GCS is.
    Gcs,
    /// Where a process is that may be on the raylet's node.
    Where { process: ProcessId },
    /// A process of the raylet's node, which is whoever asks, needs a further certificate, for this key.
    Renew { public_key: [u8; 32] },
    /// For `state`.
    State,
}

/// Its answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum RayletAnswer {
    Attached { gcs: PeerAddr, nodes: Vec<NodeResources>, budget: Option<budget::Place> },
    Program(ProgramInfo),
    Gcs(PeerAddr),
    Where(Option<PeerAddr>),
    Renewed(Grant),
    State(RayletState),
}

/// To the GCS. A heartbeat goes by the urgent lane, so it may overtake its node's registration and cross its leaving;
/// all else is in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ToGcs {
    RegisterNode {
        row: Box<NodeRow>,
        peer: PeerAddr,
    },
    Heartbeat {
        node: NodeId,
    },
    View(NodeView),
    NodeLeft {
        node: NodeId,
    },
    JobStarted {
        row: Box<JobRow>,
        driver: PeerAddr,
    },
    JobEnded {
        job: JobId,
    },
    ProcessDied {
        process: ProcessId,
    },
    OwnerDied {
        owner: OwnerId,
    },
    CreateActor {
        spec: Arc<ActorSpec>,
        from: PeerAddr,
    },
    /// The constructor's arguments of an actor that was asked for are ready, or never will be.
    ActorArguments {
        actor: ActorId,
        #[serde(with = "bytes_field")]
        creation: Bytes,
    },
    ActorNotMade {
        actor: ActorId,
        text: String,
        error: Error,
    },
    ActorPlaced {
        run: ActorRun,
        node: NodeId,
    },
    ActorReady {
        run: ActorRun,
        node: NodeId,
        process: PeerAddr,
        worker: WorkerId,
        pid: u32,
    },
    ActorNotStarted {
        run: ActorRun,
        node: NodeId,
        text: String,
        error: Option<Error>,
        no_room: bool,
    },
    ActorDied {
        run: ActorRun,
        node: NodeId,
        how: Gone,
        text: String,
        owner: Option<OwnerId>,
    },
    StopActor {
        actor: ActorId,
    },
    HandlesGone {
        actor: ActorId,
    },
    Subscribe {
        actor: ActorId,
        owner: Option<OwnerId>,
        to: PeerAddr,
    },
    /// What happened to tasks; it may be lost.
    TaskEvents(Box<TaskEvents>),
}

/// Questions to the GCS, which are answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum AskGcs {
    GetActor {
        name: String,
        namespace: String,
    },
    ListNamed {
        namespace: Option<String>,
    },
    /// It goes by the urgent lane, unless the GCS has not answered its sender's `CreateActor`.
    Kill {
        actor: ActorId,
        no_restart: bool,
    },
    Nodes,
    /// The actors behind the one with this number, as many as one answer has.
    Actors {
        after: Option<u64>,
    },
    /// What actors without a node wait for.
    Demands,
    Jobs,
    /// A job, and who may have its program.
    Job {
        job: JobId,
    },
    Tokens(TokenWish),
    /// For `state`: attempts at tasks, those behind `after`, as many as one answer has.
    Tasks {
        after: Option<TaskKey>,
    },
}

/// What is wanted of the tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TokenWish {
    Show,
    Create,
    Revoke(Token),
}

/// Its answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum GcsAnswer {
    Actor(Option<(ActorNews, Arc<ActorSpec>)>),
    Names(Vec<(String, String, ActorId)>),
    /// With the owner of what the incarnation made, which is dead.
    Killed {
        owner: Option<OwnerId>,
    },
    /// With how long ago each was heard from, in the order of the rows.
    Nodes(Vec<NodeRow>, Vec<NodeView>, Vec<Duration>),
    /// Without their constructors' arguments; no rows if there are no more.
    Actors(Vec<crate::gcs::core::ActorRow>),
    /// Each with how many need it.
    Demands(Vec<(ResourceSet, u32)>),
    Jobs(Vec<JobRow>),
    Job(Option<(JobRow, Vec<PeerAddr>)>),
    /// The tokens that admit, or why the wish was not granted.
    Tokens(Result<Vec<Token>, Error>),
    /// No rows if there are no more; and of how many nothing is known.
    Tasks {
        rows: Vec<TaskRow>,
        dropped: u64,
    },
}
