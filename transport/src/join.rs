//! How a process without a certificate gets one.
//!
//! The joiner dials with ALPN `actinic-join/1`, knows the cluster by the authority's fingerprint in its token, and
//! opens one stream:
//!
//! ```text
//! joiner     | "ACTJ" | revision (4) | proof (32) | length (4) | postcard: Ask |           at most 4 KiB
//! cluster    | status (1) | revision (4) | proof (32) | length (4) | postcard: Granted, or text |
//!            status 0 granted, 1 wrong token, 2 other revision, 3 refused; the proof is zero unless granted
//! ```
//!
//! A proof is HMAC-SHA256, keyed by the token's secret, over a label for its direction and the TLS exporter of this
//! connection, so it serves on no other. The cluster reads nothing but the fixed header before it has checked it.
//! Keys are made where they are used: only public keys travel.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream};
use rcgen::PublicKeyData;
use ring::hmac;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::endpoint::{Inner, endpoint_config};
use crate::seldom::shown;
use crate::stall::{self, Halt};
use crate::wire::Close;
use crate::{
    Authority, DialError, Identity, JoinError, Net, NodeAuthority, NodeId, PeerAddr, Probe, ProcessId, SecurityError,
    Token, dial, net, security, tuning,
};

const MAGIC: [u8; 4] = *b"ACTJ";
const MAX: usize = 4096;
const GRANTED: u8 = 0;
const WRONG_TOKEN: u8 = 1;
const OTHER_REVISION: u8 = 2;
const REFUSED: u8 = 3;
/// "Nobody listens there" is known within this.
const PATIENCE: Duration = Duration::from_millis(250);

/// As what a process joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinKind {
    /// A node of its own.
    Node,
    /// A program that submits work; attached to the node that answers.
    Driver,
    /// A command that looks and manages; attached to the node that answers.
    Tool,
}

/// What a joiner says of itself.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    /// As what it joins.
    pub kind: JoinKind,
    /// Its wire revision.
    pub revision: u32,
    /// The local address to speak from; `None` for any. Simulated joiners name theirs.
    pub from: Option<SocketAddr>,
    /// Fixes the protocol's randomness, for simulation.
    pub seed: Option<[u8; 32]>,
}

/// What a joiner gets.
#[derive(Debug, Clone)]
pub struct Joined {
    /// For [`JoinKind::Node`]: the right to sign its own workers.
    pub authority: Option<NodeAuthority>,
    /// Its own certificate, and so its id.
    pub identity: Identity,
    /// The process that answered, to be dialled next.
    pub host: PeerAddr,
}

/// What an endpoint needs to answer joins. Without `authority` it answers drivers and tools only.
#[derive(Clone)]
pub struct JoinServer {
    /// Whoever holds one of these is admitted.
    pub tokens: Vec<Token>,
    /// Signs nodes; on the head only.
    pub authority: Option<Authority>,
    /// Signs drivers and tools.
    pub node: NodeAuthority,
    /// The wire revision admitted.
    pub revision: u32,
    /// Draws node ids and incarnations.
    pub draw: Arc<dyn Fn() -> Uuid + Send + Sync>,
}

impl fmt::Debug for JoinServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinServer({:?})", self.node)
    }
}

#[derive(Serialize, Deserialize)]
struct Ask {
    kind: JoinKind,
    public_key: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct Granted {
    host: ProcessId,
    /// The joiner's node (its own, or the host's).
    node: NodeId,
    incarnation: Uuid,
    /// For a node, its certificate and the authority's; otherwise leaf, node, authority.
    chain: Vec<Vec<u8>>,
    /// How long the leaf lives; for a node, those that it will sign.
    life: Duration,
}

fn proof(connection: &Connection, token: &Token, label: &[u8]) -> Option<(hmac::Key, Vec<u8>)> {
    let mut exported = [0; 32];
    connection.export_keying_material(&mut exported, b"EXPORTER-actinic-join", b"").ok()?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &token.secret);
    Some((key, [label, &exported[..]].concat()))
}

fn sign(connection: &Connection, token: &Token, label: &[u8]) -> [u8; 32] {
    let mut tag = [0; 32];
    if let Some((key, message)) = proof(connection, token, label) {
        tag.copy_from_slice(hmac::sign(&key, &message).as_ref());
    }
    tag
}

fn proves(connection: &Connection, token: &Token, label: &[u8], tag: &[u8]) -> bool {
    proof(connection, token, label).is_some_and(|(key, message)| hmac::verify(&key, &message, tag).is_ok())
}

const JOINER: &[u8] = b"joiner";
const CLUSTER: &[u8] = b"cluster";

fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |word| u32::from_le_bytes(*word))
}

/// Answers one joiner, whose request is whole by `until`; the caller bounds the time.
pub(crate) async fn serve(inner: &Arc<Inner>, connection: Connection, until: Instant) {
    let Some(server) = inner.joins() else {
        connection.close(Close::Refused.code(), b"joins are not answered here");
        return;
    };
    let Ok((mut send, mut receive)) = connection.accept_bi().await else {
        return;
    };
    let (status, tag, body) = match decide(inner, &server, &connection, &mut receive, until).await {
        Ok((token, granted)) => (GRANTED, sign(&connection, token, CLUSTER), granted),
        Err(Unread::Stalled(stalled)) => return stalled.close_stranger(&connection, &inner.strangers),
        Err(Unread::Refused(status, text)) => {
            if let Some(times) = inner.strangers.joins.note(Instant::now()) {
                tracing::warn!(at = %connection.remote_address(), text = %shown(&text), times, "a join is refused");
            }
            (status, [0; 32], text.into_bytes())
        }
    };
    let mut answer = vec![status];
    answer.extend_from_slice(&server.revision.to_le_bytes());
    answer.extend_from_slice(&tag);
    answer.extend_from_slice(&(body.len() as u32).to_le_bytes());
    answer.extend_from_slice(&body);
    if send.write_all(&answer).await.is_ok() && send.finish().is_ok() {
        // The joiner closes when it has read this.
        let _ = timeout(Duration::from_secs(1), connection.closed()).await;
    }
}

/// Why a joiner is granted nothing.
enum Unread {
    Refused(u8, String),
    Stalled(stall::Stalled),
}

/// The token that admits the joiner, and what it is granted.
async fn decide<'a>(
    inner: &Inner,
    server: &'a JoinServer,
    connection: &Connection,
    receive: &mut RecvStream,
    until: Instant,
) -> Result<(&'a Token, Vec<u8>), Unread> {
    let refuse = |text: &str| Unread::Refused(REFUSED, text.to_string());
    let cut = |halt: Halt| match halt {
        Halt::Ended(_) => refuse("the request was cut short"),
        Halt::Stalled(stalled) => Unread::Stalled(stalled),
    };
    let mut header = [0; 44];
    stall::read_exact(receive, &mut header, "a join request's header", 0, Some(until)).await.map_err(cut)?;
    if header[..4] != MAGIC {
        return Err(refuse("not a join"));
    }
    let known = server.tokens.iter().find(|token| proves(connection, token, JOINER, &header[8..40]));
    let Some(token) = known else {
        return Err(Unread::Refused(WRONG_TOKEN, "wrong token".into()));
    };
    let (theirs, length) = (word(&header[4..]), word(&header[40..]) as usize);
    if theirs != server.revision {
        let text = format!("wire revision {theirs} there and {} here", server.revision);
        return Err(Unread::Refused(OTHER_REVISION, text));
    }
    if length > MAX {
        return Err(refuse("the request is too long"));
    }
    let mut body = vec![0; length];
    stall::read_exact(receive, &mut body, "a join request", header.len(), Some(until)).await.map_err(cut)?;
    let ask: Ask = postcard::from_bytes(&body).map_err(|_| refuse("the request cannot be read"))?;
    let granted = grant(inner.id, server, &ask).map_err(|text| refuse(&text))?;
    let granted = postcard::to_allocvec(&granted).map_err(|error| refuse(&error.to_string()))?;
    Ok((token, granted))
}

fn grant(host: ProcessId, server: &JoinServer, ask: &Ask) -> Result<Granted, String> {
    let incarnation = (server.draw)();
    let failed = |error: SecurityError| error.to_string();
    let (node, chain, life) = match (ask.kind, &server.authority) {
        (JoinKind::Node, Some(authority)) => {
            let node = NodeId((server.draw)());
            (node, authority.sign_node(node, &ask.public_key).map_err(failed)?.to_vec(), authority.leaf_life())
        }
        (JoinKind::Node, None) => {
            return Err("only the head admits nodes: give the head's address".into());
        }
        _ => {
            let chain = server.node.sign_leaf(incarnation, &ask.public_key).map_err(failed)?.to_vec();
            (server.node.node(), chain, server.node.leaf_life())
        }
    };
    Ok(Granted { host, node, incarnation, chain, life })
}

/// Joins the cluster that made `token`, by any process of it that listens at `addr` (a node joins by the head).
/// Must be called within a tokio runtime. That nobody listens is known within a second on a network that says so;
/// silence takes the whole `deadline`.
pub async fn join(
    net: &Net,
    addr: SocketAddr,
    token: &Token,
    request: JoinRequest,
    deadline: Duration,
) -> Result<Joined, JoinError> {
    let joined = async {
        let local = |text: String| JoinError::Local { addr, text };
        let any = SocketAddr::new(if addr.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() }, 0);
        let socket = net::open(net, request.from.unwrap_or(any)).map_err(|error| local(error.to_string()))?;
        let near = socket.local_addr().map_err(|error| local(error.to_string()))?;
        let _port = Port { net, near };
        let seed = request.seed.unwrap_or(security::fingerprint(&token.secret));
        let config = endpoint_config(&seed, request.seed);
        let endpoint = quinn::Endpoint::new_with_abstract_socket(config, None, socket, net::runtime(net))
            .map_err(|error| local(error.to_string()))?;
        let simulated = matches!(net, Net::Sim(_));
        let connecting = connect(&endpoint, addr, token, simulated, deadline);
        let nobody = async {
            sleep(PATIENCE).await;
            if net::probe(net, Some(near.ip()), addr, deadline).await != Probe::Unreachable {
                std::future::pending::<()>().await;
            }
        };
        let connection = tokio::select! {
            biased;
            connection = connecting => connection?,
            () = nobody => return Err(JoinError::Nobody(addr)),
        };
        let joined = exchange(&connection, addr, token, &request, deadline).await;
        connection.close(Close::Goodbye.code(), b"done");
        let _ = timeout(Duration::from_millis(10), endpoint.wait_idle()).await;
        joined
    };
    timeout(deadline, joined).await.unwrap_or(Err(JoinError::Timeout { addr, within: deadline }))
}

/// The joiner's port, which is free again when the join is over.
struct Port<'a> {
    net: &'a Net,
    near: SocketAddr,
}

impl Drop for Port<'_> {
    fn drop(&mut self) {
        net::release(self.net, self.near);
    }
}

async fn connect(
    endpoint: &quinn::Endpoint,
    addr: SocketAddr,
    token: &Token,
    simulated: bool,
    within: Duration,
) -> Result<Connection, JoinError> {
    let local = |text: String| JoinError::Local { addr, text };
    let (tls, verifier) = security::join_config(token.authority).map_err(|error| local(error.to_string()))?;
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).map_err(|error| local(error.to_string()))?;
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    let limits = crate::Limits::default();
    config.transport_config(tuning::dialling(tuning::same_machine(addr, simulated), &limits));
    let connecting = endpoint.connect_with(config, addr, "actinic").map_err(|error| local(error.to_string()))?;
    connecting.await.map_err(|error| match verifier.verdict() {
        Some(security::Verdict::WrongAuthority) => JoinError::WrongAuthority(addr),
        Some(security::Verdict::Refused(text)) => JoinError::NotActinic { addr, text },
        Some(_) => JoinError::WrongAuthority(addr),
        None => broken(addr, &error, within),
    })
}

fn broken(addr: SocketAddr, error: &quinn::ConnectionError, within: Duration) -> JoinError {
    match dial::broken(addr, error, within) {
        DialError::Timeout { addr, within } => JoinError::Timeout { addr, within },
        DialError::NotActinic { addr, text } => JoinError::NotActinic { addr, text },
        error => JoinError::Refused { addr, text: error.to_string() },
    }
}

async fn exchange(
    connection: &Connection,
    addr: SocketAddr,
    token: &Token,
    request: &JoinRequest,
    within: Duration,
) -> Result<Joined, JoinError> {
    let refused = |text: String| JoinError::Refused { addr, text };
    let cut = || match connection.close_reason() {
        Some(error) => broken(addr, &error, within),
        None => refused("the answer was cut short".into()),
    };
    let halted = |halt: Halt| match halt {
        Halt::Ended(_) => cut(),
        Halt::Stalled(stalled) => {
            stalled.close(connection, &addr);
            let (got, of) = (stalled.got, stalled.of);
            JoinError::Stalled { addr, got, of, within: stalled.within }
        }
    };
    let key = security::fresh_key().map_err(|error| refused(error.to_string()))?;
    let public_key = key.der_bytes().try_into().map_err(|_| refused("an Ed25519 key has 32 bytes".into()))?;
    let (mut send, mut receive) = connection.open_bi().await.map_err(|_| cut())?;
    let ask = Ask { kind: request.kind, public_key };
    write_ask(&mut send, connection, token, request.revision, &ask).await.ok_or_else(cut)?;
    let mut header = [0; 41];
    stall::read_exact(&mut receive, &mut header, "the answer's header", 0, None).await.map_err(halted)?;
    let (theirs, length) = (word(&header[1..]), word(&header[37..]) as usize);
    if length > MAX {
        return Err(JoinError::NotActinic { addr, text: "its answer is too long".into() });
    }
    let mut body = vec![0; length];
    stall::read_exact(&mut receive, &mut body, "the answer to a join", header.len(), None).await.map_err(halted)?;
    match header[0] {
        GRANTED if !proves(connection, token, CLUSTER, &header[5..37]) => Err(JoinError::WrongToken(addr)),
        GRANTED => {
            let granted: Granted =
                postcard::from_bytes(&body).map_err(|error| JoinError::NotActinic { addr, text: error.to_string() })?;
            assemble(addr, request.kind, granted, &key).map_err(|error| refused(error.to_string()))
        }
        WRONG_TOKEN => Err(JoinError::WrongToken(addr)),
        OTHER_REVISION => Err(JoinError::Version { addr, ours: request.revision, theirs }),
        _ => Err(refused(String::from_utf8_lossy(&body).into_owned())),
    }
}

async fn write_ask(
    send: &mut SendStream,
    connection: &Connection,
    token: &Token,
    revision: u32,
    ask: &Ask,
) -> Option<()> {
    let body = postcard::to_allocvec(ask).ok()?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&revision.to_le_bytes());
    bytes.extend_from_slice(&sign(connection, token, JOINER));
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&body);
    send.write_all(&bytes).await.ok()?;
    send.finish().ok()
}

fn assemble(addr: SocketAddr, kind: JoinKind, granted: Granted, key: &rcgen::KeyPair) -> Result<Joined, SecurityError> {
    let cluster = granted.host.cluster;
    let shape = |_| SecurityError::Certificate("the certificates granted are not of the right number".into());
    let host = PeerAddr::new(granted.host, addr);
    if kind == JoinKind::Node {
        let chain = granted.chain.try_into().map_err(shape)?;
        let authority = NodeAuthority::from_parts((cluster, granted.node), chain, key, granted.life);
        let identity = authority.issue(granted.incarnation)?;
        return Ok(Joined { authority: Some(authority), identity, host });
    }
    let id = ProcessId { cluster, node: granted.node, incarnation: granted.incarnation };
    let identity = Identity::from_parts(id, granted.chain.try_into().map_err(shape)?, key, granted.life);
    Ok(Joined { authority: None, identity, host })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClusterId;

    /// What a joiner sends is read, and granted or refused; what it gets is read, and put together or refused.
    #[test]
    fn every_damaged_join_is_refused_without_a_panic() {
        let authority = Authority::generate(ClusterId(Uuid::from_u128(1))).unwrap();
        let node = authority.node(NodeId(Uuid::from_u128(2))).unwrap();
        let draw: Arc<dyn Fn() -> Uuid + Send + Sync> = Arc::new(|| Uuid::from_u128(99));
        let server = JoinServer { tokens: Vec::new(), authority: Some(authority), node, revision: 1, draw };
        let incarnation = Uuid::from_u128(3);
        let host = ProcessId { cluster: server.node.cluster(), node: server.node.node(), incarnation };
        let addr = SocketAddr::from(([10, 0, 0, 1], 7000));
        let key = security::fresh_key().unwrap();
        let mut random = 1u64;
        let mut below = |bound: usize| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) as usize % bound
        };
        for kind in [JoinKind::Node, JoinKind::Driver] {
            let ask = Ask { kind, public_key: key.der_bytes().try_into().unwrap() };
            let granted = grant(host, &server, &ask).unwrap();
            let (asks, grants) = (postcard::to_allocvec(&ask).unwrap(), postcard::to_allocvec(&granted).unwrap());
            assert!(assemble(addr, kind, granted, &key).is_ok());
            for sample in [&asks, &grants] {
                for round in 0..400 + sample.len() {
                    let mut damaged = sample.clone();
                    match round.checked_sub(400) {
                        Some(cut) => damaged.truncate(cut),
                        // The largest number, where a length may be.
                        None if round % 2 == 0 => {
                            let at = below(damaged.len());
                            damaged.splice(at..=at, [255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
                        }
                        None => {
                            let at = below(damaged.len());
                            damaged[at] = below(256) as u8;
                        }
                    }
                    if let Ok(ask) = postcard::from_bytes::<Ask>(&damaged) {
                        let _ = grant(host, &server, &ask);
                    }
                    if let Ok(granted) = postcard::from_bytes::<Granted>(&damaged) {
                        let _ = assemble(addr, kind, granted, &key);
                    }
                }
            }
        }
    }
}
