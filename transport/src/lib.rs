//! Actors addressed over QUIC: identity, endpoints, sessions, relays, bulk streams, joining a cluster,
//! and a simulated network under the real protocol.
//!
//! This crate knows nothing of tasks or objects. A process binds one [`Endpoint`], registers the
//! actors it hosts by number, and speaks with other processes through [`Peer`]s.

mod api;
mod config;
mod error;
mod identity;

pub use api::*;
pub use config::{Config, Lane, Limits, Net, PeerAddr, PeerEvent, Probe};
pub use error::{
    AskError, BindError, BulkError, DialError, DownReason, JoinError, SecurityError, SendError,
};
pub use identity::{ActorNo, Address, ClusterId, NodeId, ProcessId};
