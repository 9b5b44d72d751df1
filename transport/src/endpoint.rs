//! One process incarnation's end of everything: its socket, its actors, its sessions.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use quinn::Connection;
use ring::{hkdf, hmac};

use crate::bulk::BulkHandler;
use crate::join::JoinServer;
use crate::opaque::Opaque;
use crate::peers::{Admission, Peers, Slot};
use crate::receiver::Registry;
use crate::seldom::Strangers;
use crate::session::{Dial, Live, Session, Unattached};
use crate::wire::Close;
use crate::{
    ActorNo, BindError, Config, DialError, DownReason, Identity, Lane, Limits, Net, Peer, PeerAddr, PeerEvent, Probe,
    ProcessId, Receiver, Revoked, SecurityError, accept, dial, keeper, lanes, net, peer, relay, security, tuning,
};

/// How long `close` waits for what was said last to arrive, and then for the farewell to leave.
const FLUSH: Duration = Duration::from_millis(80);
const FAREWELL: Duration = Duration::from_millis(10);
/// The way to a process by a relay is known for so long after the end of its session.
const LAST_WORDS: Duration = Duration::from_secs(1);

type OnEvent = Arc<dyn Fn(PeerEvent) + Send + Sync>;

/// A process's endpoint. Clones are the same one; when the last is dropped, it closes without waiting.
///
/// Its tasks run on the runtime it was bound on, which must be a `current_thread` one (order within a lane rests
/// on it). All methods may be called from any thread; the async ones, from any executor.
#[derive(Clone)]
pub struct Endpoint {
    handle: Arc<Handle>,
}

struct Handle(Arc<Inner>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.end_all();
        self.0.quinn.close(Close::Goodbye.code(), b"goodbye");
    }
}

/// What sessions and tasks share.
pub(crate) struct Inner {
    pub(crate) id: ProcessId,
    pub(crate) limits: Limits,
    pub(crate) revision: u32,
    pub(crate) net: Net,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) registry: Arc<Registry>,
    pub(crate) quinn: Opaque<quinn::Endpoint>,
    pub(crate) relayed: Arc<net::RelayPaths>,
    /// For diallers on this machine, and elsewhere.
    pub(crate) servers: [Arc<quinn::ServerConfig>; 2],
    pub(crate) strangers: Strangers,
    local: SocketAddr,
    shown: Arc<security::ServerCert>,
    identity: RwLock<Arc<Identity>>,
    advertised: RwLock<Vec<SocketAddr>>,
    peers: Mutex<Peers>,
    on_event: RwLock<Option<OnEvent>>,
    bulk: RwLock<Option<Arc<dyn BulkHandler>>>,
    joins: RwLock<Option<Arc<JoinServer>>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inner({:?})", self.id)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({:?} at {})", self.id(), self.local_addr())
    }
}

fn lock<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

fn get<T: Clone>(lock: &RwLock<T>) -> T {
    lock.read().unwrap_or_else(PoisonError::into_inner).clone()
}

fn set<T>(lock: &RwLock<T>, value: T) {
    *lock.write().unwrap_or_else(PoisonError::into_inner) = value;
}

impl Endpoint {
    /// Opens the socket and begins to listen. Must be called within the `current_thread` runtime that the endpoint
    /// is to live on.
    pub fn bind(config: Config) -> Result<Endpoint, BindError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| BindError::NoRuntime)?;
        if config.identity.id != config.id {
            let (for_, id) = (config.identity.id, config.id);
            return Err(BindError::Identity(format!("it is for {for_:?}, and the process is {id:?}")));
        }
        let seed = seed(&config);
        let (shown, servers) = servers(&config, &seed).map_err(|error| BindError::Identity(error.to_string()))?;
        let addr = config.listen;
        let relayed = Arc::new(net::RelayPaths::default());
        let below = net::open(&config.net, addr).map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => BindError::InUse(addr),
            _ => BindError::Io { addr, source },
        })?;
        let socket = Arc::new(net::MuxSocket::new(below, relayed.clone()));
        let io = |source| BindError::Io { addr, source };
        let quinn = quinn::Endpoint::new_with_abstract_socket(
            endpoint_config(&seed, config.seed),
            Some((*servers[1]).clone()),
            socket,
            net::runtime(&config.net),
        )
        .map_err(io)?;
        let local = quinn.local_addr().map_err(io)?;
        let inner = Arc::new(Inner {
            id: config.id,
            limits: config.limits,
            revision: config.revision,
            net: config.net,
            runtime,
            registry: Arc::default(),
            quinn: Opaque::new(quinn),
            relayed,
            servers,
            strangers: Strangers::default(),
            local,
            shown,
            identity: RwLock::new(Arc::new(config.identity)),
            advertised: RwLock::new(vec![local]),
            peers: Mutex::default(),
            on_event: RwLock::default(),
            bulk: RwLock::default(),
            joins: RwLock::default(),
        });
        relay::install(&inner);
        inner.runtime.spawn(accept::run(Arc::downgrade(&inner), (*inner.quinn).clone()));
        Ok(Endpoint { handle: Arc::new(Handle(inner)) })
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.handle.0
    }

    /// The process incarnation it speaks for.
    pub fn id(&self) -> ProcessId {
        self.inner().id
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner().local
    }

    /// What other processes are told to dial; the default is `local_addr` (of which an unspecified address is
    /// replaced, there, by the one this process is seen at). Empty says that this process cannot be dialled.
    pub fn advertise(&self, addrs: Vec<SocketAddr>) {
        set(&self.inner().advertised, addrs);
    }

    /// Hosts an actor under a number; a second one under the same number takes the first one's place. The highest
    /// number is the relay's own.
    pub fn register(&self, actor: ActorNo, receiver: Arc<dyn Receiver>) {
        self.inner().registry.register(actor, receiver);
    }

    /// The number is free again; messages for it are refused.
    pub fn unregister(&self, actor: ActorNo) {
        self.inner().registry.unregister(actor);
    }

    /// The session with that process; begun, and dialled in the background, if there is none. With a process that
    /// is declared dead or revoked, the session is over from the start. The own id gives a way to send to oneself.
    pub fn peer(&self, at: &PeerAddr) -> Peer {
        self.inner().peer(at)
    }

    /// The session with that process, if one was begun from either side.
    pub fn known(&self, id: ProcessId) -> Option<Peer> {
        self.inner().known(id)
    }

    /// Bytes that wait to be sent to other processes, or to be acknowledged by them.
    pub fn backlog(&self) -> usize {
        let there = |peer: &&Peer| !peer.0.is_local() && peer.ended().is_none();
        self.inner().all().iter().filter(there).map(Peer::backlog).sum()
    }

    /// The session with whoever listens at an address, connected; for processes that know each other only by it.
    pub async fn contact(&self, addr: SocketAddr, deadline: Duration) -> Result<Peer, DialError> {
        let inner = self.inner().clone();
        let runtime = inner.runtime.clone();
        let contacted = runtime.spawn(async move { dial::contact(&inner, addr, deadline).await });
        contacted.await.unwrap_or(Err(DialError::Ended { addr, reason: DownReason::Closed }))
    }

    /// Who is told of sessions that begin and end; called on the endpoint's thread, and must not block.
    pub fn on_peer_event(&self, f: Arc<dyn Fn(PeerEvent) + Send + Sync>) {
        set(&self.inner().on_event, Some(f));
    }

    /// That incarnation is dead: its session ends, and there will be no other with it.
    pub fn declare_dead(&self, id: ProcessId) {
        self.inner().never(id, DownReason::Declared);
    }

    /// Closes the connections of a process, or of a node's processes, and admits none of them again.
    pub fn revoke(&self, what: impl Into<Revoked>) {
        self.inner().revoke(what.into());
    }

    /// Takes a renewed certificate for connections from now on, in both directions; those that stand are not disturbed.
    pub fn renew(&self, identity: Identity) -> Result<(), BindError> {
        let inner = self.inner();
        if identity.id != inner.id {
            let (for_, id) = (identity.id, inner.id);
            return Err(BindError::Identity(format!("it is for {for_:?}, and the process is {id:?}")));
        }
        if identity.authority() != inner.identity().authority() {
            return Err(BindError::Identity("it is under another authority".into()));
        }
        inner.shown.renew(&identity).map_err(|error| BindError::Identity(error.to_string()))?;
        set(&inner.identity, Arc::new(identity));
        Ok(())
    }

    /// Asks whether anybody listens at an address, by a datagram that every QUIC endpoint answers.
    pub async fn probe(&self, addr: SocketAddr, wait: Duration) -> Probe {
        let inner = self.inner().clone();
        let runtime = inner.runtime.clone();
        runtime.spawn(async move { inner.probe(addr, wait).await }).await.unwrap_or(Probe::Silent)
    }

    /// Answers joins from now on.
    pub fn serve_joins(&self, server: JoinServer) {
        set(&self.inner().joins, Some(Arc::new(server)));
    }

    /// Who serves bulk requests.
    pub fn set_bulk(&self, handler: Arc<dyn BulkHandler>) {
        set(&self.inner().bulk, Some(handler));
    }

    /// Ends all sessions in good order: what was sent before arrives where a connection stands (for up to 80 ms),
    /// and the others are told.
    pub async fn close(&self) {
        let inner = self.inner().clone();
        let runtime = inner.runtime.clone();
        let _ = runtime.spawn(async move { inner.close().await }).await;
    }
}

/// What is shown to diallers, and the settings for those on this machine and for those elsewhere.
type Servers = (Arc<security::ServerCert>, [Arc<quinn::ServerConfig>; 2]);

fn servers(config: &Config, seed: &[u8; 32]) -> Result<Servers, SecurityError> {
    let shown = security::ServerCert::new(&config.identity)?;
    let tls = security::server_config(&config.identity, shown.clone())?;
    let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls)
        .map_err(|error| SecurityError::Certificate(error.to_string()))?;
    let tls = Arc::new(tls);
    let servers = [true, false].map(|near| {
        let key = hkdf::Salt::new(hkdf::HKDF_SHA256, seed).extract(b"address validation");
        let mut server = quinn::ServerConfig::new(tls.clone(), Arc::new(key));
        server.transport_config(tuning::listening(near, &config.limits));
        Arc::new(server)
    });
    Ok((shown, servers))
}

/// Key material of the endpoint that is not TLS's: from the seed, or from the system.
#[allow(clippy::disallowed_methods, reason = "the system's chance, only where no seed is given")]
fn seed(config: &Config) -> [u8; 32] {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut seed = config.seed.unwrap_or_default();
    if config.seed.is_none() {
        // Without the system's generator the identity's key, which is secret too, serves.
        if SystemRandom::new().fill(&mut seed).is_err() {
            seed = security::fingerprint(&config.identity.key);
        }
    }
    seed
}

/// All chance in quinn that shows in sizes or times comes from here (connection ids have one length).
pub(crate) fn endpoint_config(seed: &[u8; 32], fixed: Option<[u8; 32]>) -> quinn::EndpointConfig {
    let mut config = quinn::EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, seed)));
    config.rng_seed(fixed);
    // What has it clear is no packet, and is named (`net/strays.rs`).
    config.grease_quic_bit(false);
    // Within bounds: the error cannot come.
    let _ = config.max_udp_payload_size(tuning::MAX_DATAGRAM);
    config
}

/// What was sent to them leaves, where a connection stands.
async fn flush(peers: &[Peer]) {
    let connected: Vec<&Peer> = peers.iter().filter(|peer| peer.0.flush()).collect();
    let flushed = async {
        for peer in connected {
            peer.0.until_flushed().await;
        }
    };
    let _ = tokio::time::timeout(FLUSH, flushed).await;
}

impl Inner {
    pub(crate) fn is_simulated(&self) -> bool {
        matches!(self.net, Net::Sim(_))
    }

    /// Whether it is on the machine of this endpoint, a simulated one too, as far as its own address tells.
    pub(crate) fn is_beside(&self, addr: SocketAddr) -> bool {
        !net::is_relayed(addr) && addr.ip().to_canonical() == self.local.ip().to_canonical()
    }

    pub(crate) fn identity(&self) -> Arc<Identity> {
        get(&self.identity)
    }

    pub(crate) fn advertised(&self) -> Vec<SocketAddr> {
        get(&self.advertised)
    }

    pub(crate) fn bulk(&self) -> Option<Arc<dyn BulkHandler>> {
        get(&self.bulk)
    }

    pub(crate) fn joins(&self) -> Option<Arc<JoinServer>> {
        get(&self.joins)
    }

    pub(crate) async fn probe(&self, addr: SocketAddr, wait: Duration) -> Probe {
        net::probe(&self.net, Some(self.local.ip()), addr, wait).await
    }

    fn tell(&self, event: PeerEvent) {
        if let Some(told) = get(&self.on_event) {
            told(event);
        }
    }

    pub(crate) fn known(&self, id: ProcessId) -> Option<Peer> {
        if id == self.id {
            return lock(&self.peers).slots.get(&id)?.peer.clone();
        }
        lock(&self.peers).slots.get(&id)?.peer.clone().filter(|peer| peer.ended().is_none())
    }

    pub(crate) fn peer(self: &Arc<Self>, at: &PeerAddr) -> Peer {
        self.session(at, Duration::ZERO)
    }

    /// The session with a process that was reached by address; a connection is at hand.
    pub(crate) fn contacted(self: &Arc<Self>, id: ProcessId, addr: SocketAddr) -> Peer {
        self.session(&PeerAddr::new(id, addr), self.limits.stall)
    }

    fn session(self: &Arc<Self>, at: &PeerAddr, patience: Duration) -> Peer {
        let mut peers = lock(&self.peers);
        let barred = peers.barred(at.id);
        let slot = peers.slot(at.id);
        if let Some(peer) = slot.peer.as_ref().filter(|peer| peer.ended().is_none()) {
            peer.0.learn(&at.addrs, at.relay);
            return peer.clone();
        }
        let number = slot.next;
        if let Some(reason) = barred {
            let peer = Peer(Arc::new(Session::new(self, at.clone(), number)));
            peer.0.claims_down();
            peer.0.end(reason);
            return peer;
        }
        self.begin(slot, at.clone(), number, patience)
    }

    fn begin(self: &Arc<Self>, slot: &mut Slot, at: PeerAddr, number: u64, patience: Duration) -> Peer {
        let session = Arc::new(Session::new(self, at, number));
        slot.next = number.saturating_add(1);
        slot.peer = Some(Peer(session.clone()));
        self.runtime.spawn(peer::watch_deadlines(session.clone()));
        if session.is_local() {
            for lane in [Lane::Urgent, Lane::Ordered] {
                self.runtime.spawn(lanes::run_local(session.clone(), lane));
            }
        } else {
            self.runtime.spawn(keeper::keep(session.clone(), patience));
        }
        Peer(session)
    }

    /// What a greeting from that process meets here.
    pub(crate) fn admit(self: &Arc<Self>, id: ProcessId, theirs: u64, addrs: Vec<SocketAddr>) -> Admission {
        let (peer, replaced) = {
            let mut peers = lock(&self.peers);
            if let Some(reason) = peers.barred(id) {
                return Admission::Never(reason);
            }
            let slot = peers.slot(id);
            let standing = slot.peer.clone().filter(|peer| peer.ended().is_none());
            let (number, replaced) = match standing {
                Some(peer) if peer.0.number == theirs => {
                    peer.0.hear(addrs);
                    return Admission::Session(peer);
                }
                Some(peer) if peer.0.number > theirs => return Admission::Over(peer.0.number),
                Some(peer) => (theirs, Some(peer)),
                None if slot.next > theirs => return Admission::Over(slot.next),
                None => (theirs, None),
            };
            let at = PeerAddr { id, addrs, relay: None };
            (self.begin(slot, at, number, Duration::ZERO), replaced)
        };
        if let Some(old) = replaced {
            old.0.end(DownReason::EndedByPeer);
            self.tell_down(&old.0);
        }
        Admission::Session(peer)
    }

    /// The other side has moved on to that session.
    pub(crate) fn next_session(&self, id: ProcessId, number: u64) {
        let mut peers = lock(&self.peers);
        let slot = peers.slot(id);
        slot.next = slot.next.max(number);
    }

    /// Gives a connection to its session, and tells of the session's first.
    pub(crate) fn attach(
        &self,
        session: &Arc<Session>,
        connection: &Connection,
        dial: Dial,
        lost: u64,
        received: [u64; 2],
    ) -> Result<Live, Unattached> {
        let (live, first) = session.attach(connection.clone(), dial, lost, received)?;
        if net::is_relayed(connection.remote_address()) {
            self.relayed.keep(connection.remote_address());
        }
        if first {
            self.tell(PeerEvent::Up(session.id, session.addr()));
        }
        Ok(live)
    }

    fn tell_down(&self, session: &Session) {
        if session.claims_down() {
            let reason = session.ended().unwrap_or(DownReason::Closed);
            self.tell(PeerEvent::Down(session.id, reason));
        }
    }

    /// The session's keeper is done.
    pub(crate) fn over(self: &Arc<Self>, session: &Arc<Session>) {
        lock(&self.peers).over(session);
        self.tell_down(session);
        if !self.relayed.knows(session.id) {
            return;
        }
        // Its last words are on their way, and a session that began meanwhile may go the same way.
        let (inner, id) = (Arc::downgrade(self), session.id);
        self.runtime.spawn(async move {
            tokio::time::sleep(LAST_WORDS).await;
            if let Some(inner) = inner.upgrade().filter(|inner| inner.known(id).is_none()) {
                inner.relayed.forget(id);
            }
        });
    }

    /// A process of another wire revision dialled.
    pub(crate) fn refused_revision(&self, id: ProcessId, theirs: u32) {
        let reason = DownReason::Version { ours: self.revision, theirs };
        match self.known(id) {
            Some(peer) => peer.0.end(reason),
            None => self.tell(PeerEvent::Down(id, reason)),
        }
    }

    fn never(&self, id: ProcessId, reason: DownReason) {
        let peer = {
            let mut peers = lock(&self.peers);
            let slot = peers.slot(id);
            let first = slot.never.replace(reason.clone()).is_none();
            let peer = slot.peer.clone();
            if first {
                peers.remember_dead(id);
            }
            peer
        };
        if let Some(peer) = peer {
            peer.0.end(reason);
        }
    }

    fn revoke(&self, what: Revoked) {
        let hit: Vec<Peer> = {
            let mut peers = lock(&self.peers);
            peers.revoked.insert(what);
            let hit =
                peers.slots.iter().filter(|(id, _)| Revoked::Process(**id) == what || Revoked::Node(id.node) == what);
            hit.filter_map(|(_, slot)| slot.peer.clone()).collect()
        };
        for peer in hit {
            peer.0.end(DownReason::Revoked);
        }
    }

    fn all(&self) -> Vec<Peer> {
        lock(&self.peers).slots.values().filter_map(|slot| slot.peer.clone()).collect()
    }

    fn end_all(&self) {
        lock(&self.peers).closed = true;
        for peer in self.all() {
            peer.0.end(DownReason::Closed);
        }
    }

    async fn close(&self) {
        // Those that a relay carries are told before the session with the relay, which carries that, is closed.
        let (relayed, direct): (Vec<Peer>, Vec<Peer>) = self.all().into_iter().partition(|peer| peer.0.is_relayed());
        if !relayed.is_empty() {
            flush(&relayed).await;
            relayed.iter().for_each(|peer| peer.0.end(DownReason::Closed));
            tokio::time::sleep(FAREWELL).await;
        }
        flush(&direct).await;
        self.end_all();
        self.registry.clear();
        self.quinn.close(Close::Goodbye.code(), b"goodbye");
        let _ = tokio::time::timeout(FAREWELL, self.quinn.wait_idle()).await;
        net::release(&self.net, self.local);
        // They are their owner's, who holds the endpoint: let go, or neither ends.
        set(&self.on_event, None);
        set(&self.bulk, None);
        set(&self.joins, None);
    }
}
