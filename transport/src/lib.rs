//! Under construction.
mod identity;
pub use identity::{ActorNo, Address, ClusterId, NodeId, ProcessId};
