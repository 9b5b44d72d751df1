//! The simulated network: datagrams in memory under the real protocol, with faults on request.
//!
//! SIM-1: with one seed, one program and a paused clock, every run sends the same datagrams at the same virtual
//! times; [`SimNet::trace_hash`] tells whether two runs did. SIM-2: a link keeps its order unless reordering is
//! asked for. SIM-3: a datagram for a port that nobody holds is answered "port unreachable", as by a live machine
//! whose process is gone; a machine that is gone says nothing.
//!
//! Time is tokio's: paused in a simulation, real in a network made by [`SimNet::live`]. A socket waits for its own
//! next datagram in the runtime that reads it, so endpoints of one network may live on several runtimes (in real
//! time only: paused clocks are each runtime's own).

mod runtime;
mod socket;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use quinn::AsyncUdpSocket;
use tokio::time::Instant;

pub(super) use runtime::SimRuntime;
pub(super) use socket::Heard;
use socket::{ProbeSocket, SimSocket};

/// Bytes that may wait at one port; more are dropped, as a full socket buffer drops them.
const PORT_BYTES: usize = 8 << 20;

/// What a link does to datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LinkFaults {
    /// Share of datagrams that vanish, 0 to 1.
    pub loss: f64,
    /// How long each is under way.
    pub delay: Duration,
    /// Up to so much longer, at random; order is kept all the same.
    pub jitter: Duration,
    /// Share of datagrams that arrive late by up to four delays (or 4 ms), out of order.
    pub reorder: f64,
    /// Share of datagrams that arrive twice.
    pub duplicate: f64,
}

/// A network in memory. Clones are the same network.
#[derive(Clone)]
pub struct SimNet {
    world: Arc<Mutex<World>>,
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimNet")
    }
}

struct World {
    /// Whether time goes on while code runs.
    live: bool,
    random: u64,
    faults: LinkFaults,
    links: BTreeMap<(IpAddr, IpAddr), LinkFaults>,
    cut: BTreeSet<(IpAddr, IpAddr)>,
    gone: BTreeSet<IpAddr>,
    /// Machines that hear only from whom they spoke to.
    translated: BTreeSet<IpAddr>,
    /// Machines that refuse whom they did not speak to first.
    refusing: BTreeSet<IpAddr>,
    paused: BTreeSet<SocketAddr>,
    /// How many datagrams with data are to be lost on a way.
    losing: BTreeMap<(SocketAddr, SocketAddr), u32>,
    held: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
    ports: BTreeMap<SocketAddr, Port>,
    last: BTreeMap<(SocketAddr, SocketAddr), Instant>,
    next_number: u64,
    next_ip: u32,
    start: Option<Instant>,
    trace: u64,
    datagrams: u64,
}

struct Port {
    number: u64,
    inbox: BTreeMap<(Instant, u64), Arrival>,
    bytes: usize,
    waker: Option<Waker>,
}

enum Arrival {
    Datagram(SocketAddr, Vec<u8>),
    Unreachable(SocketAddr),
}

impl SimNet {
    /// A network whose chances all come from `seed`.
    pub fn new(seed: u64) -> SimNet {
        let world = World {
            live: false,
            random: seed,
            faults: LinkFaults::default(),
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            gone: BTreeSet::new(),
            translated: BTreeSet::new(),
            refusing: BTreeSet::new(),
            paused: BTreeSet::new(),
            losing: BTreeMap::new(),
            held: VecDeque::new(),
            ports: BTreeMap::new(),
            last: BTreeMap::new(),
            next_number: 1,
            next_ip: 0,
            start: None,
            trace: 0xcbf2_9ce4_8422_2325,
            datagrams: 0,
        };
        SimNet { world: Arc::new(Mutex::new(world)) }
    }

    /// A network for real time, for endpoints on several threads of one process.
    pub fn live() -> SimNet {
        let net = SimNet::new(0);
        net.world().live = true;
        net
    }

    pub(super) fn is_live(&self) -> bool {
        self.world().live
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What every link does that has no faults of its own.
    pub fn faults(&self, faults: LinkFaults) {
        self.world().faults = faults;
    }

    /// What the link from one machine to another does, in this direction.
    pub fn link(&self, from: IpAddr, to: IpAddr, faults: LinkFaults) {
        self.world().links.insert((from, to), faults);
    }

    /// Nothing passes between a machine of `a` and one of `b`, until [`heal`](Self::heal).
    pub fn partition(&self, a: &[IpAddr], b: &[IpAddr]) {
        let mut world = self.world();
        for (x, y) in a.iter().flat_map(|x| b.iter().map(move |y| (*x, *y))) {
            world.cut.extend([(x, y), (y, x)]);
        }
    }

    /// Ends all partitions.
    pub fn heal(&self) {
        self.world().cut.clear();
    }

    /// The machine is behind a translator of addresses: a port of it hears only from whom it spoke to first, so that nobody
    /// can dial it.
    pub fn translate(&self, ip: IpAddr) {
        self.world().translated.insert(ip);
    }

    /// The machine has a firewall that refuses: who sends a port of it something that did not speak to him first is told that
    /// nobody has the port.
    pub fn refuse(&self, ip: IpAddr) {
        self.world().refusing.insert(ip);
    }

    /// The firewall is gone.
    pub fn admit(&self, ip: IpAddr) {
        self.world().refusing.remove(&ip);
    }

    /// Datagrams from and to that address wait until [`resume`](Self::resume).
    pub fn pause(&self, addr: SocketAddr) {
        self.world().paused.insert(addr);
    }

    /// Lets an address go on; what waited is sent now.
    pub fn resume(&self, addr: SocketAddr) {
        let mut wake = Vec::new();
        {
            let mut world = self.world();
            world.paused.remove(&addr);
            for (from, to, datagram) in std::mem::take(&mut world.held) {
                world.route(from, to, datagram, &mut wake);
            }
        }
        wake.into_iter().for_each(Waker::wake);
    }

    /// Whether nothing passes from one address to another, because one of them pauses or they are parted.
    pub fn is_cut(&self, from: SocketAddr, to: SocketAddr) -> bool {
        let world = self.world();
        let waits = world.paused.contains(&from) || world.paused.contains(&to);
        waits || world.cut.contains(&(from.ip(), to.ip()))
    }

    /// Loses the next datagram from one address to another that may carry a message.
    pub fn lose(&self, from: SocketAddr, to: SocketAddr) {
        *self.world().losing.entry((from, to)).or_default() += 1;
    }

    /// The process there is gone: its socket hears and says nothing more, and its port is free and unreachable.
    pub fn crash(&self, addr: SocketAddr) {
        self.world().ports.remove(&addr);
    }

    /// The machine is gone: silence, for good.
    pub fn crash_machine(&self, ip: IpAddr) {
        self.world().gone.insert(ip);
    }

    /// A hash over (virtual time, source, destination, size, dropped) of every datagram so far.
    pub fn trace_hash(&self) -> u64 {
        self.world().trace
    }

    /// Datagrams sent so far, dropped ones included.
    pub fn datagrams(&self) -> u64 {
        self.world().datagrams
    }

    /// A port of this network as a socket, for a QUIC endpoint that speaks by hand.
    pub fn bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(self.bind_port(addr)?))
    }

    fn bind_port(&self, mut addr: SocketAddr) -> io::Result<SimSocket> {
        let mut world = self.world();
        if addr.ip().is_unspecified() {
            world.next_ip += 1;
            addr.set_ip(Ipv4Addr::from_bits(0x0afe_0000 | world.next_ip).into());
        }
        if addr.port() == 0 {
            let free = (40_000..=u16::MAX).find(|port| {
                let taken = SocketAddr::new(addr.ip(), *port);
                !world.ports.contains_key(&taken)
            });
            addr.set_port(free.ok_or(io::ErrorKind::AddrNotAvailable)?);
        }
        if world.ports.contains_key(&addr) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let number = world.next_number;
        world.next_number += 1;
        world.ports.insert(addr, Port { number, inbox: BTreeMap::new(), bytes: 0, waker: None });
        Ok(SimSocket::new(self.clone(), addr, number))
    }

    pub(super) fn probe_socket(&self, near: IpAddr) -> io::Result<ProbeSocket> {
        self.bind_port(SocketAddr::new(near, 0)).map(ProbeSocket::new)
    }

    fn send(&self, from: SocketAddr, number: u64, to: SocketAddr, datagram: &[u8]) {
        let mut wake = Vec::new();
        {
            let mut world = self.world();
            if world.ports.get(&from).is_none_or(|port| port.number != number) {
                return;
            }
            world.route(from, to, datagram.to_vec(), &mut wake);
        }
        wake.into_iter().for_each(Waker::wake);
    }
}

impl World {
    /// SplitMix64: small, and the same everywhere.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && ((self.draw() >> 11) as f64) < share * (1u64 << 53) as f64
    }

    /// Whether this is a datagram that a test wants lost; one so short only acknowledges.
    fn loses(&mut self, from: SocketAddr, to: SocketAddr, size: usize) -> bool {
        const SHORT: usize = 48;
        match self.losing.get_mut(&(from, to)) {
            Some(left) if size > SHORT && *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        let nanos = most.as_nanos() as u64;
        if nanos == 0 { Duration::ZERO } else { Duration::from_nanos(self.draw() % nanos) }
    }

    fn note(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, size: usize, dropped: bool) {
        let start = *self.start.get_or_insert(now);
        let mut mix = |value: u128| {
            for byte in value.to_le_bytes() {
                self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        mix(now.duration_since(start).as_nanos());
        for addr in [from, to] {
            match addr.ip() {
                IpAddr::V4(ip) => mix(u128::from(ip.to_bits())),
                IpAddr::V6(ip) => mix(ip.to_bits()),
            }
            mix(u128::from(addr.port()));
        }
        mix((size as u128) << 1 | u128::from(dropped));
        self.datagrams += 1;
    }

    fn route(&mut self, from: SocketAddr, to: SocketAddr, datagram: Vec<u8>, wake: &mut Vec<Waker>) {
        if self.paused.contains(&from) || self.paused.contains(&to) {
            self.held.push_back((from, to, datagram));
            return;
        }
        let now = Instant::now();
        let ends = (from.ip(), to.ip());
        let faults = self.links.get(&ends).copied().unwrap_or(self.faults);
        let lost = self.chance(faults.loss) | self.loses(from, to, datagram.len());
        let unasked = !self.last.contains_key(&(to, from));
        let refused = unasked && self.refusing.contains(&ends.1);
        let unasked = unasked && self.translated.contains(&ends.1);
        let gone = self.gone.contains(&ends.0) || self.gone.contains(&ends.1);
        let dropped = lost || unasked || gone || self.cut.contains(&ends);
        self.note(now, from, to, datagram.len(), dropped);
        if dropped {
            return;
        }
        let copies = if self.chance(faults.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let at = self.arrival(now, from, to, faults);
            if self.ports.contains_key(&to) && !refused {
                self.deliver(to, at, Arrival::Datagram(from, datagram.clone()), wake);
            } else {
                self.deliver(from, at + faults.delay, Arrival::Unreachable(to), wake);
            }
        }
    }

    fn arrival(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, faults: LinkFaults) -> Instant {
        let at = now + faults.delay + self.up_to(faults.jitter);
        if self.chance(faults.reorder) {
            return at + self.up_to(faults.delay.max(Duration::from_millis(1)) * 4);
        }
        let last = self.last.entry((from, to)).or_insert(at);
        *last = at.max(*last);
        *last
    }

    fn deliver(&mut self, to: SocketAddr, at: Instant, arrival: Arrival, wake: &mut Vec<Waker>) {
        self.next_number += 1;
        let key = (at, self.next_number);
        let Some(port) = self.ports.get_mut(&to) else {
            return;
        };
        if let Arrival::Datagram(_, datagram) = &arrival {
            if port.bytes + datagram.len() > PORT_BYTES {
                return;
            }
            port.bytes += datagram.len();
        }
        port.inbox.insert(key, arrival);
        wake.extend(port.waker.take());
    }
}
