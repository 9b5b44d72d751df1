//! What an endpoint is told at its start: who it is, on what network, and within which bounds.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{DownReason, Identity, ProcessId, SimNet};

/// Everything that [`Endpoint::bind`](crate::Endpoint::bind) needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The process incarnation that this endpoint speaks for; must be the one in `identity`.
    pub id: ProcessId,
    /// Its certificate chain and key.
    pub identity: Identity,
    /// Real datagrams, or the simulated network.
    pub net: Net,
    /// Where to listen; port 0 lets the network choose.
    pub listen: SocketAddr,
    /// Bounds on memory and time.
    pub limits: Limits,
    /// The wire revision of the protocol above; two endpoints speak only if theirs are equal.
    pub revision: u32,
    /// Fixes the randomness of the protocol (never of the keys), so that a simulation can be replayed.
    pub seed: Option<[u8; 32]>,
}

/// The network below an endpoint.
#[derive(Debug, Clone)]
pub enum Net {
    /// The operating system's UDP.
    Udp,
    /// Datagrams in memory, with faults on request.
    Sim(SimNet),
}

/// Bounds of an endpoint; the defaults suit a cluster on one machine or in one building.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest frame. Both sides must agree.
    pub max_frame: usize,
    /// Largest message: one that does not fit into a frame goes in parts. Well below `max_backlog`. Both sides must agree.
    pub max_message: usize,
    /// Bytes that each lane of a session may hold, waiting to be sent or not yet acknowledged; one more ends the
    /// session.
    pub max_backlog: usize,
    /// Largest request of a bulk stream.
    pub max_bulk_request: usize,
    /// How long a handshake, a greeting, a join or the answer to a bulk request may take before the peer counts as stalled.
    /// What began and does not go on has a time of its own besides (10 s without a byte).
    pub stall: Duration,
    /// A connection without a sign of life for so long is given up (and dialled again).
    pub idle: Duration,
    /// A quiet connection is touched this often.
    pub keep_alive: Duration,
    /// A session without any connection for so long ends.
    pub give_up: Duration,
    /// The longest pause between two dials of one peer.
    pub max_backoff: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_frame: 1 << 20,
            max_message: 16 << 20,
            max_backlog: 64 << 20,
            max_bulk_request: 64 << 10,
            stall: Duration::from_secs(5),
            idle: Duration::from_secs(10),
            keep_alive: Duration::from_secs(3),
            give_up: Duration::from_secs(60),
            max_backoff: Duration::from_secs(1),
        }
    }
}

/// A process, and the ways to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAddr {
    /// Which incarnation is meant; another one answering there is an error.
    pub id: ProcessId,
    /// Where it listens, best first; empty if it cannot be dialled.
    pub addrs: Vec<SocketAddr>,
    /// A process that holds a connection with it and forwards, for when it cannot be dialled.
    pub relay: Option<(ProcessId, SocketAddr)>,
}

impl PeerAddr {
    /// A process that listens at one address.
    pub fn new(id: ProcessId, addr: SocketAddr) -> Self {
        PeerAddr { id, addrs: vec![addr], relay: None }
    }
}

/// Which of a session's two streams of messages one goes by. Order holds within a lane only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// For all that has an order.
    Ordered,
    /// Passes everything that waits in the ordered lane: cancel, kill, credit, heartbeat.
    Urgent,
}

/// What a probe of an address found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Its machine says that nothing listens on the port: whoever did is gone.
    Unreachable,
    /// Nothing came back within the time given.
    Silent,
    /// A QUIC endpoint answered.
    Answered,
}

/// A session began or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerEvent {
    /// The first connection of a session with this process stands.
    Up(ProcessId, PeerAddr),
    /// The session is over, and what it had not delivered is lost.
    Down(ProcessId, DownReason),
}
