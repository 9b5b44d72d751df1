//! Who is who: the ids that travel, and the addresses made of them.
//!
//! These types know nothing of tasks or objects; everything above is named through them.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A cluster: made by its head at first start, carried by every id below it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub Uuid);

/// A node: one raylet with its resources, for as long as that raylet lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub Uuid);

/// One incarnation of one process (an endpoint, not a pid): a restarted process has another id, so a
/// message for the old one can never reach the new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// The node it runs on (for a driver: the node it is attached to).
    pub node: NodeId,
    /// The incarnation, unique in the cluster.
    pub incarnation: Uuid,
}

/// An actor's number inside its process. Components have fixed numbers; others are drawn at creation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActorNo(pub u64);

/// An actor anywhere: its process, and its number there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// The process that hosts the actor.
    pub process: ProcessId,
    /// The actor's number in that process.
    pub actor: ActorNo,
}

fn short(f: &mut fmt::Formatter<'_>, id: Uuid) -> fmt::Result {
    write!(f, "{}", id.simple())
}

macro_rules! hex_id {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                short(f, self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.simple())
            }
        }
        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map($name)
            }
        }
    )*};
}
hex_id!(ClusterId, NodeId);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        short(f, self.incarnation)
    }
}

impl fmt::Debug for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessId({} on {})", self.incarnation.simple(), self.node)
    }
}

impl fmt::Debug for ActorNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActorNo({:x})", self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}@{}", self.actor.0, self.process)
    }
}
