//! Who may speak: the cluster's authority, the nodes below it, the processes below those, and tokens.
//!
//! ```text
//! Authority  "<cluster>.actinic"                     self-signed Ed25519, on the head only, 10 years
//!   NodeAuthority  "<node>.<cluster>.actinic"        constrained to names below itself, 10 years
//!     Identity  "<incarnation>.<node>.<cluster>.actinic"      one process incarnation, 7 days
//! ```
//!
//! Both sides of every session show such a chain. A name is three ids of 32 hexadecimal digits, so all
//! certificates of a kind have one length and a simulation's datagrams have the same sizes in every run
//! (for the same reason: Ed25519, whose signatures have one length, and serial numbers of 16 bytes).
//!
//! A leaf is renewed at two thirds of its life: whoever holds a `NodeAuthority` signs its own, others send a new public
//! key to whoever does ([`Renewal`], [`Grant`]). A connection is judged when it is made and never again, so what stands
//! is not disturbed.
//!
//! Certificates are valid by the wall clock; nothing else in this crate reads it. Where tokio's clock is paused, the
//! wall clock moves with it, so that a simulation sees certificates end.

mod authority;
mod files;
mod names;
mod renewal;
mod tls;
mod token;

pub use authority::{Authority, Identity, NodeAuthority};
pub use renewal::{Grant, Renewal};
pub use token::Token;

pub(crate) use authority::fresh_key;
pub(crate) use tls::{JOIN_ALPN, ServerCert, Verdict, client_config, join_config, peer_id, server_config};
pub(crate) use token::{FINGERPRINT, fingerprint};

/// A node or a process whose certificate is no longer accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revoked {
    /// Every process of a node.
    Node(crate::NodeId),
    /// One process.
    Process(crate::ProcessId),
}

impl From<crate::NodeId> for Revoked {
    fn from(node: crate::NodeId) -> Self {
        Revoked::Node(node)
    }
}

impl From<crate::ProcessId> for Revoked {
    fn from(process: crate::ProcessId) -> Self {
        Revoked::Process(process)
    }
}

/// What certificates are valid by. In real time tokio's clock is the system's, and this is the wall clock; a paused one
/// is ahead of it, or behind, and so is this.
#[allow(clippy::disallowed_methods)] // the one door to the wall clock
pub(crate) fn wall_clock() -> std::time::SystemTime {
    let (tokio, real) = (tokio::time::Instant::now().into_std(), std::time::Instant::now());
    let wall = std::time::SystemTime::now();
    match tokio.checked_duration_since(real) {
        Some(ahead) => wall + ahead,
        None => wall - (real - tokio),
    }
}
