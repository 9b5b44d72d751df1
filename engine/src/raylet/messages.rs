//! What a raylet is told and asked from outside, and how a process reaches the raylet of its node.

use std::sync::Arc;

use actinic_transport::{Lane, Peer, PeerAddr, ProcessId, ReplyTo};
use actix::{Actor, Message};

use crate::ids::WorkerId;
use crate::post::Post;
use crate::protocol::{RAYLET, ToRaylet};
use crate::raylet::Raylet;
use crate::resources::ResourceSet;
use crate::room::Room;
use crate::start::program_file::Offer;

/// How this process reaches its raylet, if it has one.
pub(crate) type RayletPost = Post<Raylet, ToRaylet>;

/// How a process reaches the raylet of its node.
#[derive(Clone)]
pub(crate) enum RayletLink {
    Local(RayletPost),
    Remote(Peer, Arc<Room>),
}

impl RayletLink {
    pub(crate) fn tell(&self, message: ToRaylet) {
        match self {
            RayletLink::Local(raylet) => raylet.tell(message),
            // A kill may overtake the actor that it is about: the raylet remembers it.
            RayletLink::Remote(peer, _) if matches!(message, ToRaylet::EndActor { kill: true, .. }) => {
                if let Err(error) = peer.tell(Lane::Urgent, RAYLET, &message) {
                    tracing::debug!(%error, "a kill was not sent to the raylet");
                }
            }
            RayletLink::Remote(peer, room) => room.tell(peer, RAYLET, message),
        }
    }
}

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

/// A worker's process was told to end, and should have by now.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct EndDeaf(pub(crate) WorkerId);

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
    /// What those requests ask for, and how many workers each shape still wants.
    pub(crate) demands: Vec<(ResourceSet, u32)>,
    /// Bytes in use of the object store, by all processes of the node that count together.
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
