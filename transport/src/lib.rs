//! Actors addressed over QUIC: identity, endpoints, sessions, relays, bulk streams, joining a cluster, and a
//! simulated network under the real protocol.
//!
//! This crate knows nothing of tasks or objects. A process binds one [`Endpoint`], registers the actors it hosts
//! by number ([`Receiver`]), and speaks with other processes through [`Peer`]s. What lies where:
//!
//! | module | idea |
//! | --- | --- |
//! | `identity`, `config`, `error` | the words of this crate |
//! | `endpoint`, `peers` | one process's socket, actors and sessions |
//! | `session`, `outbox`, `asks` | what two processes have between them, whatever connections come and go |
//! | `keeper`, `dial`, `accept`, `greeting` | getting a connection, and getting another |
//! | `lanes`, `parts`, `stall`, `wire` | messages to bytes and back; the wire format is drawn in `wire` |
//! | `peer`, `receiver` | the two ends that the layer above holds |
//! | `bulk`, `relay`, `join` | large answers; processes that cannot be dialled; processes without a certificate |
//! | `security` | authority, certificates, token |
//! | `net`, `tuning` | datagrams, real and simulated; the QUIC settings |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

mod accept;
mod asks;
mod bulk;
mod config;
mod dial;
mod endpoint;
mod error;
mod greeting;
mod identity;
mod join;
mod keeper;
mod lanes;
mod net;
mod opaque;
mod outbox;
mod parts;
mod peer;
mod peers;
mod places;
mod receiver;
mod relay;
mod security;
mod seldom;
mod session;
mod stall;
mod tuning;
mod wire;

pub use bulk::{BulkAnswer, BulkHandler, BulkReader, BulkWriter};
pub use config::{Config, Lane, Limits, Net, PeerAddr, PeerEvent, Probe};
pub use endpoint::Endpoint;
pub use error::{AskError, BindError, Breach, BulkError, DialError, DownReason, JoinError, SecurityError, SendError};
pub use identity::{ActorNo, Address, ClusterId, NodeId, ProcessId};
pub use join::{JoinKind, JoinRequest, JoinServer, Joined, join};
pub use net::{LinkFaults, SimNet};
pub use peer::{Answer, Peer};
pub use receiver::{Message, Messages, Receiver, ReplyTo};
pub use security::{Authority, Grant, Identity, NodeAuthority, Renewal, Revoked, Token};
