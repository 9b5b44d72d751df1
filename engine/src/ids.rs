//! Ids of tasks, objects, actors, jobs and workers.
//!
//! An object's id names its owner, so a value, a location or a failure is asked of the owner and never of a
//! central table. An owner's own table is indexed by the sequence number, not by uuid.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::RangeInclusive;

use actinic_transport::{ClusterId, NodeId, ProcessId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The owner of what was submitted: a process, and one of the submitters in it.
///
/// A worker process has one owner; an embedded cluster has one for the driver and one for each thread worker and
/// actor that ever submitted, so that their deaths fail exactly what they owned, in every mode.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OwnerId {
    /// The process.
    pub process: ProcessId,
    /// The owner's number in that process; never used twice.
    pub number: u32,
}

impl OwnerId {
    /// Every owner that a process can have.
    pub(crate) fn of(process: ProcessId) -> RangeInclusive<OwnerId> {
        OwnerId { process, number: 0 }..=OwnerId { process, number: u32::MAX }
    }

    /// Every owner that the processes of a node can have.
    pub(crate) fn at(cluster: ClusterId, node: NodeId) -> RangeInclusive<OwnerId> {
        let process = |incarnation| ProcessId { cluster, node, incarnation };
        *OwnerId::of(process(Uuid::nil())).start()..=*OwnerId::of(process(Uuid::max())).end()
    }

    /// Every owner of a cluster.
    pub(crate) fn all(cluster: ClusterId) -> RangeInclusive<OwnerId> {
        let node = |node| OwnerId::at(cluster, NodeId(node));
        *node(Uuid::nil()).start()..=*node(Uuid::max()).end()
    }
}

/// A submitted task (or a `put`): its owner and the owner's sequence number. Re-execution keeps it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskId {
    /// Who submitted it.
    pub owner: OwnerId,
    /// Its number there.
    pub seq: u64,
}

impl Hash for TaskId {
    /// Of what differs between tasks, and not of all that names their cluster and node.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (_, incarnation) = self.owner.process.incarnation.as_u64_pair();
        state.write_u64(incarnation ^ u64::from(self.owner.number).rotate_left(32));
        state.write_u64(self.seq);
    }
}

/// An object: the task that returns it, and which of the returns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    /// The task (or the `put`) that makes it.
    pub task: TaskId,
    /// Which of the task's returns.
    pub index: u32,
}

/// An actor, for as long as its handles live, through all its restarts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActorId(pub Uuid);

/// A job: one driver's work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(pub Uuid);

/// A worker: one execution slot of a node, or one actor's host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerId(pub Uuid);

impl ObjectId {
    /// Every object that owners can have.
    pub(crate) fn of(owners: &RangeInclusive<OwnerId>) -> RangeInclusive<ObjectId> {
        let object = |owner: &OwnerId, seq, index| ObjectId { task: TaskId { owner: *owner, seq }, index };
        object(owners.start(), 0, 0)..=object(owners.end(), u64::MAX, u32::MAX)
    }
}

impl OwnerId {
    /// The node that the owner lives on.
    pub fn node(&self) -> NodeId {
        self.process.node
    }
}

impl TaskId {
    /// A short mark of the id, never 0, for finding what a task submitted. Two tasks may share one, though hardly ever.
    pub(crate) fn mark(&self) -> u64 {
        let (high, low) = self.owner.process.incarnation.as_u64_pair();
        let mixed = high.rotate_left(17) ^ low ^ (u64::from(self.owner.number) << 40) ^ self.seq;
        mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:08x}", self.process, self.number)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:016x}", self.owner, self.seq)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:08x}", self.task, self.index)
    }
}

macro_rules! uuid_display {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.simple())
            }
        }
    )*};
}
uuid_display!(ActorId, JobId, WorkerId);

macro_rules! named_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}
named_debug!(OwnerId, TaskId, ObjectId, ActorId, JobId, WorkerId);
