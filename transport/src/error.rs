//! One error per operation; each names what it is about, and the remedy where there is one.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use crate::{ActorNo, ClusterId, ProcessId};

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DownReason {
    /// The engine confirmed that the process is dead.
    #[error("it was declared dead")]
    Declared,
    /// More bytes waited for it than a session may hold.
    #[error(
        "more than {limit} bytes waited for it (Limits::max_backlog): see whether it hangs, or send it less at a time"
    )]
    Overflow {
        /// The bound that was passed.
        limit: usize,
    },
    /// Another incarnation answers at its address.
    #[error("another incarnation, {0}, answers at its address")]
    Replaced(ProcessId),
    /// No connection could be made for `Limits::give_up`.
    #[error(
        "no connection with it for {0:?} (Limits::give_up): see whether it runs, and whether the network lets UDP through"
    )]
    Unreachable(Duration),
    /// It, or its node, was revoked here.
    #[error("its certificate was revoked")]
    Revoked,
    /// The other side ended the session.
    #[error("the other side ended the session")]
    EndedByPeer,
    /// What it sent does not follow the protocol.
    #[error("{0}")]
    Protocol(Box<Breach>),
    /// It closed its endpoint in good order.
    #[error("it closed its endpoint")]
    Goodbye,
    /// This endpoint was closed.
    #[error("this endpoint was closed")]
    Closed,
    /// It speaks another wire revision.
    #[error("wire revision {theirs} there and {ours} here: run the same version of actinic on both")]
    Version {
        /// The revision of this endpoint.
        ours: u32,
        /// The revision of the other.
        theirs: u32,
    },
    /// It belongs to another cluster.
    #[error("it belongs to cluster {theirs}, and this process to {ours}: let both join the same cluster by its token")]
    WrongCluster {
        /// The cluster of this endpoint.
        ours: ClusterId,
        /// The cluster of the other.
        theirs: ClusterId,
    },
}

/// What a peer sent that does not follow the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{peer} broke the protocol: {fault}; run the same version of actinic there, with the same limits, and start that \
     process anew"
)]
pub struct Breach {
    /// Who sent it.
    pub peer: ProcessId,
    /// What is wrong with it.
    pub fault: String,
}

impl DownReason {
    pub(crate) fn protocol(peer: ProcessId, fault: impl Into<String>) -> DownReason {
        DownReason::Protocol(Box::new(Breach { peer, fault: fault.into() }))
    }
}

/// Why an endpoint could not be bound.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another process holds the port.
    #[error("{0} is in use: stop the process that listens there, or choose another port (0 for any)")]
    InUse(SocketAddr),
    /// The address is not one of this machine, or may not be used.
    #[error("cannot listen on {addr}: {source}; choose an address of this machine")]
    Io {
        /// The address asked for.
        addr: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The certificate is not for the id, or cannot be read.
    #[error("the identity does not serve: {0}")]
    Identity(String),
    /// Not called from within a tokio runtime.
    #[error("an endpoint must be bound within a tokio runtime")]
    NoRuntime,
}

/// Why a message was not taken. Nothing of it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The message is larger than allowed.
    #[error("a message of {size} bytes for {to} is over the limit of {limit} (Limits::max_message): send it in parts")]
    TooLarge {
        /// Whom it was for.
        to: ProcessId,
        /// Its size.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// It did not fit behind what already waits; the session has ended.
    #[error(
        "the session with {to} ended: more than {limit} bytes waited for it (Limits::max_backlog): see whether it hangs, or send it less at a time"
    )]
    Overflow {
        /// Whom it was for.
        to: ProcessId,
        /// The bound.
        limit: usize,
    },
    /// The session is over.
    #[error("the session with {to} is over: {reason}")]
    Ended {
        /// Whom it was for.
        to: ProcessId,
        /// Why it ended.
        reason: DownReason,
    },
    /// The value could not be encoded.
    #[error("a message for {to} cannot be serialized: {text}; its `Serialize` must succeed for every value")]
    Encode {
        /// Whom it was for.
        to: ProcessId,
        /// What its `Serialize` said.
        text: String,
    },
}

/// Why an ask has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AskError {
    /// The question was not taken.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Nothing came within the time given. The question may still have been delivered.
    #[error(
        "no answer from {to} within {deadline:?}: see whether that process hangs or has too much to do, and ask again; it \
         may have done what was asked"
    )]
    Deadline {
        /// Who was asked.
        to: ProcessId,
        /// The time given.
        deadline: Duration,
    },
    /// The session ended before the answer came.
    #[error("{to} did not answer: {reason}")]
    Ended {
        /// Who was asked.
        to: ProcessId,
        /// Why the session ended.
        reason: DownReason,
    },
    /// No actor of that number lives there.
    #[error("no actor {actor:?} in process {to}")]
    NoActor {
        /// Which process was asked.
        to: ProcessId,
        /// The number that is not registered there.
        actor: ActorNo,
    },
    /// The actor refused, with its reason.
    #[error("{0}")]
    Refused(String),
    /// The answer is not what was expected.
    #[error("the answer of {to} cannot be decoded: {text}")]
    Decode {
        /// Who answered.
        to: ProcessId,
        /// What is wrong with the bytes.
        text: String,
    },
}

/// Why an address could not be contacted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DialError {
    /// The port is closed.
    #[error("nobody listens at {0}: start a node there, or correct the address")]
    Nobody(SocketAddr),
    /// No way to reach it is known.
    #[error("no address of {0} is known, and no relay")]
    NoAddress(ProcessId),
    /// Whoever is there does not speak this protocol.
    #[error("{addr} is not an Actinic endpoint: {text}; correct the address, or start a node there")]
    NotActinic {
        /// The address.
        addr: SocketAddr,
        /// What was seen of it.
        text: String,
    },
    /// The certificate there is not from this cluster.
    #[error(
        "{addr} belongs to cluster {theirs}, and this process to {ours}: correct the address, or join that cluster"
    )]
    WrongCluster {
        /// The address.
        addr: SocketAddr,
        /// The cluster of this endpoint.
        ours: ClusterId,
        /// The cluster found.
        theirs: ClusterId,
    },
    /// Another process than the one meant is there.
    #[error(
        "process {found} answers at {addr}, and not {expected}, which has ended or moved: ask its node where it is now"
    )]
    OtherProcess {
        /// The address.
        addr: SocketAddr,
        /// The process meant.
        expected: ProcessId,
        /// The process found.
        found: ProcessId,
    },
    /// The certificate did not pass.
    #[error(
        "the certificates of this process and of {addr} do not agree: {text}; let both join the same cluster by its token, \
         and see that their clocks are right"
    )]
    Certificate {
        /// The address.
        addr: SocketAddr,
        /// Why not.
        text: String,
    },
    /// The two wire revisions differ.
    #[error("{addr} speaks wire revision {theirs}, and this process {ours}: run the same version of actinic on both")]
    Version {
        /// The address.
        addr: SocketAddr,
        /// The revision of this endpoint.
        ours: u32,
        /// The revision found.
        theirs: u32,
    },
    /// The session with that process cannot go on.
    #[error("the session with the process at {addr} is over: {reason}")]
    Ended {
        /// The address.
        addr: SocketAddr,
        /// Why it is over.
        reason: DownReason,
    },
    /// It refused, or broke the connection.
    #[error("{addr} refused: {text}")]
    Refused {
        /// The address.
        addr: SocketAddr,
        /// What it said.
        text: String,
    },
    /// Both sides dialled at once, and the other side's connection is kept.
    #[error("{0} keeps the connection that it dialled itself")]
    Yielded(SocketAddr),
    /// It did not answer in time.
    #[error("no answer from {addr} within {within:?}: check the address, the network between, and that the node runs")]
    Timeout {
        /// The address.
        addr: SocketAddr,
        /// The time given.
        within: Duration,
    },
}

/// Why a bulk request failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BulkError {
    /// The request is larger than allowed.
    #[error("a bulk request of {size} bytes is over the limit of {limit} (Limits::max_bulk_request)")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// The session with that process is over.
    #[error("the session with {to} is over: {reason}")]
    Ended {
        /// Who was asked.
        to: ProcessId,
        /// Why it ended.
        reason: DownReason,
    },
    /// The other side refused, with its reason.
    #[error("{0}")]
    Refused(String),
    /// The connection broke before all bytes had come; ask again.
    #[error(
        "the bulk stream with {to} broke after {got} of {length} bytes: {text}; if that process lives, ask it again"
    )]
    Broken {
        /// Who is at the other end.
        to: ProcessId,
        /// Bytes that came.
        got: u64,
        /// Bytes announced.
        length: u64,
        /// What was seen.
        text: String,
    },
    /// No connection, or no answer, within `Limits::stall`.
    #[error(
        "{to} did not answer a bulk request within {within:?} (Limits::stall): see whether that process hangs or has too \
         much to do, and ask again"
    )]
    Timeout {
        /// Who was asked.
        to: ProcessId,
        /// The time given.
        within: Duration,
    },
}

/// Why a join failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The port is closed.
    #[error("nobody listens at {0}: start a node there, or correct the address")]
    Nobody(SocketAddr),
    /// Whoever is there does not speak this protocol.
    #[error("{addr} is not an Actinic endpoint: {text}; correct the address, or start a node there")]
    NotActinic {
        /// The address.
        addr: SocketAddr,
        /// What was seen of it.
        text: String,
    },
    /// The cluster there is not the one that made the token.
    #[error("the cluster at {0} did not make this token: take the token from that cluster, or correct the address")]
    WrongAuthority(SocketAddr),
    /// The token's secret is not the cluster's.
    #[error("{0} refused the token: take a fresh one from the cluster")]
    WrongToken(SocketAddr),
    /// The two wire revisions differ.
    #[error("{addr} speaks wire revision {theirs}, and this process {ours}: run the same version of actinic on both")]
    Version {
        /// The address.
        addr: SocketAddr,
        /// The revision of this process.
        ours: u32,
        /// The revision found.
        theirs: u32,
    },
    /// The cluster refused, with its reason.
    #[error("{addr} refused: {text}")]
    Refused {
        /// The address.
        addr: SocketAddr,
        /// What it said.
        text: String,
    },
    /// It did not answer in time.
    #[error("no answer from {addr} within {within:?}: check the address, the network between, and that the node runs")]
    Timeout {
        /// The address.
        addr: SocketAddr,
        /// The time given.
        within: Duration,
    },
    /// Its answer began, and did not go on.
    #[error(
        "{addr} stalled: {got} of {of} bytes of its answer came, and no further one within {within:?}; see whether \
         the process there hangs, then join again"
    )]
    Stalled {
        /// The address.
        addr: SocketAddr,
        /// Bytes that came.
        got: usize,
        /// Bytes that it has in all.
        of: usize,
        /// How long none came.
        within: Duration,
    },
    /// No socket could be had on this side.
    #[error("cannot open a socket towards {addr}: {text}")]
    Local {
        /// The address.
        addr: SocketAddr,
        /// What the operating system said.
        text: String,
    },
}

/// Why a key, a certificate or a token could not be made, read or kept.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SecurityError {
    /// The text is not a token.
    #[error("not a token: {0}; a token looks like actinic1-… and is printed by the cluster")]
    Token(String),
    /// A file could not be read or written.
    #[error("{path}: {text}")]
    File {
        /// Its path.
        path: String,
        /// What the operating system said, or what is wrong with its content.
        text: String,
    },
    /// A certificate or key could not be made or read.
    #[error("{0}")]
    Certificate(String),
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::NodeId;

    /// Each says what happened, to whom, and what to do.
    #[test]
    fn errors_name_whom_they_are_about_and_what_to_do() {
        let [ours, theirs] = [1, 2].map(|number| ClusterId(Uuid::from_u128(number)));
        let to = ProcessId { cluster: ours, node: NodeId(Uuid::from_u128(3)), incarnation: Uuid::from_u128(4) };
        let within = Duration::from_millis(700);
        let (who, clusters) = (to.to_string(), [ours.to_string(), theirs.to_string()]);
        for (text, parts) in [
            (AskError::Deadline { to, deadline: within }.to_string(), [&*who, "700ms", "hangs", "ask again"]),
            (BulkError::Timeout { to, within }.to_string(), [&*who, "700ms", "hangs", "ask again"]),
            (
                BulkError::Broken { to, got: 4, length: 9, text: "reset".to_owned() }.to_string(),
                [&*who, "4 of 9 bytes", "reset", "ask it again"],
            ),
            (
                DownReason::WrongCluster { ours, theirs }.to_string(),
                [&*clusters[0], &*clusters[1], "join the same cluster", "token"],
            ),
        ] {
            for part in parts {
                assert!(text.contains(part), "{part:?} is not in: {text}");
            }
        }
    }
}
