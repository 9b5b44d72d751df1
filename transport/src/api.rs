//! The public signatures, to be moved into their modules as these are filled in.
#![allow(missing_docs, clippy::unimplemented, unused_variables)]
use crate::*;
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

#[derive(Debug, Clone)]
pub struct Endpoint {}

impl Endpoint {
    /// Must be called within the current_thread tokio runtime that the endpoint will live on.
    pub fn bind(config: Config) -> Result<Endpoint, BindError> { unimplemented!() }
    pub fn id(&self) -> ProcessId { unimplemented!() }
    pub fn local_addr(&self) -> SocketAddr { unimplemented!() }
    /// What other processes are told to dial; default `[local_addr]`. Empty: "cannot be dialled".
    pub fn advertise(&self, addrs: Vec<SocketAddr>) { unimplemented!() }
    pub fn register(&self, actor: ActorNo, receiver: Arc<dyn Receiver>) { unimplemented!() }
    pub fn unregister(&self, actor: ActorNo) { unimplemented!() }
    pub fn peer(&self, at: &PeerAddr) -> Peer { unimplemented!() }
    pub fn known(&self, id: ProcessId) -> Option<Peer> { unimplemented!() }
    pub async fn contact(&self, addr: SocketAddr, deadline: Duration) -> Result<Peer, DialError> { unimplemented!() }
    pub fn on_peer_event(&self, f: Arc<dyn Fn(PeerEvent) + Send + Sync>) { unimplemented!() }
    pub fn declare_dead(&self, id: ProcessId) { unimplemented!() }
    pub fn revoke(&self, what: impl Into<Revoked>) { unimplemented!() }
    pub fn renew(&self, identity: Identity) -> Result<(), BindError> { unimplemented!() }
    pub async fn probe(&self, addr: SocketAddr, wait: Duration) -> Probe { unimplemented!() }
    pub fn serve_joins(&self, server: JoinServer) { unimplemented!() }
    pub fn set_bulk(&self, handler: Arc<dyn BulkHandler>) { unimplemented!() }
    pub async fn close(&self) { unimplemented!() }
}

/// A node or a process whose certificate is no longer accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revoked { Node(NodeId), Process(ProcessId) }
impl From<NodeId> for Revoked { fn from(n: NodeId) -> Self { Revoked::Node(n) } }
impl From<ProcessId> for Revoked { fn from(p: ProcessId) -> Self { Revoked::Process(p) } }

#[derive(Debug, Clone)]
pub struct Peer {}

impl Peer {
    pub fn id(&self) -> ProcessId { unimplemented!() }
    pub fn tell_with(&self, lane: Lane, to: ActorNo, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), SendError> { unimplemented!() }
    pub fn tell<M: Serialize + ?Sized>(&self, lane: Lane, to: ActorNo, message: &M) -> Result<(), SendError> { unimplemented!() }
    pub fn ask<M: Serialize + ?Sized, R: DeserializeOwned + Send + 'static>(&self, to: ActorNo, message: &M, deadline: Duration) -> impl Future<Output = Result<R, AskError>> + Send + use<M, R> { async { unimplemented!() } }
    pub async fn bulk(&self, request: Bytes) -> Result<BulkReader, BulkError> { unimplemented!() }
    /// Time since anything was received from it (since the session began, if nothing was).
    pub fn silent_for(&self) -> Duration { unimplemented!() }
    /// Bytes waiting to be sent or not yet acknowledged; `Limits::max_backlog` ends the session.
    pub fn backlog(&self) -> usize { unimplemented!() }
    /// Whether a connection stands now.
    pub fn is_connected(&self) -> bool { unimplemented!() }
    /// Why the session is over, if it is.
    pub fn ended(&self) -> Option<DownReason> { unimplemented!() }
}

/// An actor (or a whole component) as the transport sees it.
pub trait Receiver: Send + Sync {
    /// Called on the endpoint's thread with all consecutive messages for this actor in one arriving burst. Must not block.
    fn receive(&self, from: &Peer, messages: &mut Messages<'_>);
}

#[derive(Debug)]
pub struct Messages<'a> { marker: std::marker::PhantomData<&'a ()> }
impl<'a> Iterator for Messages<'a> { type Item = Message<'a>; fn next(&mut self) -> Option<Message<'a>> { unimplemented!() } }

#[derive(Debug)]
pub struct Message<'a> {
    pub body: &'a [u8],
    /// Present if the sender waits for an answer.
    pub reply: Option<ReplyTo>,
}

/// Dropped without an answer, it refuses.
#[derive(Debug)]
pub struct ReplyTo {}
impl ReplyTo {
    pub fn answer<R: Serialize + ?Sized>(self, answer: &R) -> Result<(), SendError> { unimplemented!() }
    pub fn answer_with(self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), SendError> { unimplemented!() }
    pub fn refuse(self, why: impl Into<String>) { unimplemented!() }
    pub fn peer(&self) -> &Peer { unimplemented!() }
}

/// Serves bulk requests. Called on the endpoint's thread: must not block; spawn, and answer from there.
pub trait BulkHandler: Send + Sync {
    fn serve(&self, from: &Peer, request: Bytes, answer: BulkAnswer);
}
#[derive(Debug)]
pub struct BulkAnswer {}
impl BulkAnswer {
    pub async fn accept(self, length: u64) -> Result<BulkWriter, BulkError> { unimplemented!() }
    /// Sends these bytes and finishes, on the endpoint's runtime.
    pub fn send(self, chunks: Vec<Bytes>) { unimplemented!() }
    pub fn refuse(self, why: impl Into<String>) { unimplemented!() }
}
#[derive(Debug)]
pub struct BulkWriter {}
impl BulkWriter {
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), BulkError> { unimplemented!() }
    pub async fn finish(self) -> Result<(), BulkError> { unimplemented!() }
}
#[derive(Debug)]
pub struct BulkReader {}
impl BulkReader {
    pub fn length(&self) -> u64 { unimplemented!() }
    /// `None` once all `length` bytes came.
    pub async fn next_chunk(&mut self) -> Option<Result<Bytes, BulkError>> { unimplemented!() }
}

/// The cluster's root of trust; lives on the head.
#[derive(Debug, Clone)]
pub struct Authority {}
impl Authority {
    pub fn generate(cluster: ClusterId) -> Result<Authority, SecurityError> { unimplemented!() }
    pub fn cluster(&self) -> ClusterId { unimplemented!() }
    /// `authority.pem` in `dir`, mode 0600.
    pub fn save(&self, dir: &Path) -> Result<(), SecurityError> { unimplemented!() }
    pub fn load(dir: &Path) -> Result<Authority, SecurityError> { unimplemented!() }
    pub fn fingerprint(&self) -> [u8; 32] { unimplemented!() }
    pub fn node(&self, node: NodeId) -> Result<NodeAuthority, SecurityError> { unimplemented!() }
}

/// A token: the authority's fingerprint and a secret; `Display` and `FromStr` give and take its one string.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {}
impl Token {
    pub fn generate(authority: &Authority) -> Result<Token, SecurityError> { unimplemented!() }
}
impl std::fmt::Display for Token { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { unimplemented!() } }
impl std::fmt::Debug for Token { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { unimplemented!() } }
impl std::str::FromStr for Token { type Err = SecurityError; fn from_str(s: &str) -> Result<Self, SecurityError> { unimplemented!() } }

/// A node's right to sign its own workers and drivers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeAuthority {}
impl NodeAuthority {
    pub fn node(&self) -> NodeId { unimplemented!() }
    pub fn cluster(&self) -> ClusterId { unimplemented!() }
    /// A fresh key and a leaf for that incarnation on this node (7 days).
    pub fn issue(&self, incarnation: Uuid) -> Result<Identity, SecurityError> { unimplemented!() }
}

/// A process's certificate chain and key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Identity {}
impl Identity {
    pub fn id(&self) -> ProcessId { unimplemented!() }
    /// Two thirds of its life: renew then.
    pub fn renew_in(&self) -> Duration { unimplemented!() }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinKind { Node, Driver, Tool }

#[derive(Debug, Clone)]
pub struct JoinRequest {
    pub kind: JoinKind,
    pub revision: u32,
    /// Local address to speak from; `None`: any. (Simulated joiners name theirs.)
    pub from: Option<SocketAddr>,
    pub seed: Option<[u8; 32]>,
}

#[derive(Debug, Clone)]
pub struct Joined {
    /// For `JoinKind::Node` only.
    pub authority: Option<NodeAuthority>,
    pub identity: Identity,
    /// The answering process (head or raylet), to be dialled next.
    pub host: PeerAddr,
}

pub async fn join(net: &Net, addr: SocketAddr, token: &Token, request: JoinRequest, deadline: Duration) -> Result<Joined, JoinError> { unimplemented!() }

/// What an endpoint needs to answer joins. Without `authority` it answers drivers and tools only.
#[derive(Clone)]
pub struct JoinServer {
    pub token: Token,
    pub authority: Option<Authority>,
    pub node: NodeAuthority,
    pub revision: u32,
    /// Draws node ids and incarnations (the environment's generator).
    pub draw: Arc<dyn Fn() -> Uuid + Send + Sync>,
}

/// Datagrams in memory, with faults on request.
#[derive(Debug, Clone)]
pub struct SimNet {}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkFaults {
    pub loss: f64, pub delay: Duration, pub jitter: Duration, pub reorder: f64, pub duplicate: f64,
}

impl SimNet {
    /// For a paused clock; everything random about it comes from the seed.
    pub fn new(seed: u64) -> SimNet { unimplemented!() }
    /// In real time, usable from several runtimes.
    pub fn live() -> SimNet { unimplemented!() }
    pub fn faults(&self, all_links: LinkFaults) { unimplemented!() }
    pub fn link(&self, from: std::net::IpAddr, to: std::net::IpAddr, faults: LinkFaults) { unimplemented!() }
    pub fn partition(&self, a: &[std::net::IpAddr], b: &[std::net::IpAddr]) { unimplemented!() }
    pub fn heal(&self) { unimplemented!() }
    /// Datagrams from and to it wait until `resume`.
    pub fn pause(&self, addr: SocketAddr) { unimplemented!() }
    pub fn resume(&self, addr: SocketAddr) { unimplemented!() }
    /// The process is gone: later datagrams are answered "port unreachable".
    pub fn crash(&self, addr: SocketAddr) { unimplemented!() }
    /// The machine is gone: silence.
    pub fn crash_machine(&self, ip: std::net::IpAddr) { unimplemented!() }
    pub fn trace_hash(&self) -> u64 { unimplemented!() }
    pub fn datagrams(&self) -> u64 { unimplemented!() }
}
