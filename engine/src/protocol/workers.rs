//! What is said to workers, and by them to their node's store.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::ObjectId;
use crate::protocol::{ActorRun, ActorSpec, LeaseId};

/// To the workers of a process, on the urgent lane. What cancels is asked: the answer says that it is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// Send back what was lent under a lease and has not begun.
    TakeBack {
        lease: LeaseId,
    },
    /// Cancel a task, or a call of an actor.
    Cancel {
        owner: u32,
        seq: u64,
        force: bool,
    },
    CancelCall {
        owner: u32,
        seq: u64,
        actor: u64,
    },
    /// Would force end a task?
    ForceEnds {
        owner: u32,
        seq: u64,
    },
    /// Cancel what a task of the sender submitted here.
    CancelChildren {
        owner: u32,
        seq: u64,
    },
    /// The sender has no handle of the actor any more. It goes behind the calls, on the ordered lane.
    CallerLeft {
        actor: u64,
        incarnation: u32,
    },
    /// End an actor of this process.
    EndActor {
        run: ActorRun,
        kill: bool,
    },
    /// Become an actor.
    StartActor {
        run: ActorRun,
        spec: Arc<ActorSpec>,
        lease: LeaseId,
    },
    /// Does this process own what somebody may still ask for?
    IsNeeded,
}

/// A question to the node's object manager: will it keep this object, whose bytes the asking process offers?
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Keep {
    pub(crate) object: ObjectId,
    pub(crate) size: u64,
}
