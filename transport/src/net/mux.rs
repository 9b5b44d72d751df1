//! One socket for two ways: datagrams of the network below, and datagrams that a relay carries.
//!
//! A process that cannot be dialled gets a made-up address: port 1 in 240.0.0.0/4, which hardly any network routes (some
//! do inside, GKE to its pods, but nobody listens on port 1). Datagrams to such an address are handed to the relay's
//! session, and come out of the other end's socket as if they had been received. So the connection above, with its
//! handshake, its certificates and its bulk streams, is an ordinary one from end to end; the relay sees ciphertext only.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::Instant;

use super::strays::{Strays, is_stray};
use crate::ProcessId;

/// Datagrams that may wait to be read; more are dropped, as a full socket drops them.
const INBOX: usize = 1024;
/// Addresses that are made up for whoever sends something through a relay, before a session goes that way: the oldest is
/// forgotten for the next.
const MAX_STRANGERS: usize = 1024;
/// Tells made-up addresses from those of networks that do use the range.
const MADE_UP_PORT: u16 = 1;

/// A process, and the relay to reach it through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) target: ProcessId,
    pub(crate) via: ProcessId,
}

type Forward = Box<dyn Fn(Route, &[u8]) + Send + Sync>;

/// The made-up addresses of an endpoint, and what has come for them.
#[derive(Default)]
pub(crate) struct RelayPaths {
    table: Mutex<Table>,
    forward: OnceLock<Forward>,
}

#[derive(Default)]
struct Table {
    by_addr: BTreeMap<SocketAddr, Route>,
    by_route: BTreeMap<Route, SocketAddr>,
    strangers: VecDeque<SocketAddr>,
    /// The number of the address to be tried next, of 28 bits.
    made_up: u32,
    inbox: VecDeque<(SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
}

impl Table {
    /// The made-up address of that process by that relay.
    fn addr(&mut self, route: Route) -> SocketAddr {
        if let Some(addr) = self.by_route.get(&route) {
            return *addr;
        }
        let addr = self.unused();
        self.by_route.insert(route, addr);
        self.by_addr.insert(addr, route);
        addr
    }

    /// After 2^28 the numbers begin anew; who still has an address of the last time keeps it.
    fn unused(&mut self) -> SocketAddr {
        loop {
            let ip = Ipv4Addr::from_bits(0xf000_0000 | self.made_up);
            self.made_up = self.made_up.wrapping_add(1) & 0x0fff_ffff;
            let addr = SocketAddr::from((ip, MADE_UP_PORT));
            if is_relayed(addr) && !self.by_addr.contains_key(&addr) {
                return addr;
            }
        }
    }

    /// As [`addr`](Self::addr), of whom nothing is known but that a relay names him: relays may name anybody.
    fn stranger(&mut self, route: Route) -> SocketAddr {
        if let Some(addr) = self.by_route.get(&route) {
            return *addr;
        }
        if self.strangers.len() >= MAX_STRANGERS
            && let Some(oldest) = self.strangers.pop_front()
            && let Some(route) = self.by_addr.remove(&oldest)
        {
            self.by_route.remove(&route);
        }
        let addr = self.addr(route);
        self.strangers.push_back(addr);
        addr
    }
}

impl fmt::Debug for RelayPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelayPaths")
    }
}

impl RelayPaths {
    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how datagrams leave; once.
    pub(crate) fn set_forward(&self, forward: Forward) {
        let _ = self.forward.set(forward);
    }

    /// The made-up address of that process by that relay.
    pub(crate) fn addr(&self, route: Route) -> SocketAddr {
        let mut table = self.table();
        let addr = table.addr(route);
        table.strangers.retain(|stranger| *stranger != addr);
        addr
    }

    /// A session goes by that address.
    pub(crate) fn keep(&self, addr: SocketAddr) {
        let addr = plain(addr);
        self.table().strangers.retain(|stranger| *stranger != addr);
    }

    /// Whether it was reached through a relay.
    pub(crate) fn knows(&self, target: ProcessId) -> bool {
        self.table().by_route.keys().any(|route| route.target == target)
    }

    /// That process's session is over.
    pub(crate) fn forget(&self, target: ProcessId) {
        let mut table = self.table();
        let Table { by_addr, by_route, strangers, .. } = &mut *table;
        by_addr.retain(|_, route| route.target != target);
        by_route.retain(|route, _| route.target != target);
        strangers.retain(|stranger| by_addr.contains_key(stranger));
    }

    /// A datagram came through a relay.
    pub(crate) fn arrived(&self, route: Route, datagram: &[u8]) {
        let waker = {
            let mut table = self.table();
            if table.inbox.len() >= INBOX {
                return;
            }
            let addr = table.stranger(route);
            table.inbox.push_back((addr, datagram.to_vec()));
            table.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Whether an address was made up here.
pub(crate) fn is_relayed(addr: SocketAddr) -> bool {
    match addr {
        SocketAddr::V4(addr) => {
            addr.port() == MADE_UP_PORT && addr.ip().octets()[0] & 0xf0 == 0xf0 && !addr.ip().is_broadcast()
        }
        SocketAddr::V6(addr) => {
            addr.ip().to_ipv4_mapped().is_some_and(|ip| is_relayed(SocketAddr::from((ip, addr.port()))))
        }
    }
}

fn plain(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) => v6.ip().to_ipv4_mapped().map_or(addr, |ip| SocketAddr::from((ip, v6.port()))),
        v4 => v4,
    }
}

/// The socket that quinn is given.
#[derive(Debug)]
pub(crate) struct MuxSocket {
    below: Arc<dyn AsyncUdpSocket>,
    relayed: Arc<RelayPaths>,
    strays: Strays,
    v6: bool,
}

impl MuxSocket {
    pub(crate) fn new(below: Arc<dyn AsyncUdpSocket>, relayed: Arc<RelayPaths>) -> MuxSocket {
        let v6 = below.local_addr().is_ok_and(|addr| addr.is_ipv6());
        MuxSocket { below, relayed, strays: Strays::default(), v6 }
    }

    /// An IPv6 socket knows IPv4 addresses as mapped ones only.
    fn as_quinn_sees(&self, addr: SocketAddr) -> SocketAddr {
        match addr {
            SocketAddr::V4(v4) if self.v6 => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
            addr => addr,
        }
    }

    /// Says whose datagrams quinn is about to drop.
    fn look_at(&self, bufs: &[IoSliceMut<'_>], meta: &[RecvMeta]) {
        for (datagram, meta) in bufs.iter().zip(meta) {
            if is_stray(&datagram[..meta.len])
                && let Some(report) = self.strays.note(plain(meta.addr), Instant::now())
            {
                tracing::warn!("{report}");
            }
        }
    }

    fn poll_relayed(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
        register: bool,
    ) -> usize {
        let mut table = self.relayed.table();
        let mut count = 0;
        while count < bufs.len().min(meta.len()) {
            let Some((from, datagram)) = table.inbox.pop_front() else {
                break;
            };
            if datagram.len() > bufs[count].len() {
                continue;
            }
            bufs[count][..datagram.len()].copy_from_slice(&datagram);
            meta[count] = RecvMeta {
                addr: self.as_quinn_sees(from),
                len: datagram.len(),
                stride: datagram.len(),
                ecn: None,
                dst_ip: None,
            };
            count += 1;
        }
        if count == 0 && register && table.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            table.waker = Some(cx.waker().clone());
        }
        count
    }
}

impl AsyncUdpSocket for MuxSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.below.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if !is_relayed(transmit.destination) {
            return self.below.try_send(transmit);
        }
        let route = self.relayed.table().by_addr.get(&plain(transmit.destination)).copied();
        if let (Some(route), Some(forward)) = (route, self.relayed.forward.get()) {
            let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
            for datagram in transmit.contents.chunks(size) {
                forward(route, datagram);
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        match self.poll_relayed(cx, bufs, meta, true) {
            0 => {
                let received = self.below.poll_recv(cx, bufs, meta);
                if let Poll::Ready(Ok(count)) = received {
                    self.look_at(&bufs[..count], &meta[..count]);
                }
                received
            }
            count => Poll::Ready(Ok(count)),
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.below.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.below.max_transmit_segments()
    }

    /// quinn sizes its buffers as this times the largest datagram (134 MB at 64 × 65,507 × 32). What the kernel
    /// joins on receipt never passes 64 KiB in all, and that is what one datagram may have here.
    fn max_receive_segments(&self) -> usize {
        1
    }

    fn may_fragment(&self) -> bool {
        self.below.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{ClusterId, NodeId};

    fn id(number: usize) -> ProcessId {
        let uuid = Uuid::from_u128(number as u128);
        ProcessId { cluster: ClusterId(uuid), node: NodeId(uuid), incarnation: uuid }
    }

    fn route(number: usize) -> Route {
        Route { target: id(number), via: id(0) }
    }

    /// GKE gives its pods addresses of that range: whoever lives there is dialled by the network, and no relay.
    #[test]
    fn a_real_address_of_class_e_is_not_made_up() {
        let real = |addr: &str| !is_relayed(addr.parse().unwrap());
        assert!(real("240.1.2.3:6379") && real("[::ffff:240.1.2.3]:6379") && real("255.255.255.255:1"));
        assert!(real("10.0.0.1:1"));
        assert!(!real("240.0.0.0:1") && !real("[::ffff:240.1.2.3]:1"));
        assert!(is_relayed(RelayPaths::default().addr(route(1))));
    }

    /// A relay that names 2^28 strangers takes nobody's address away.
    #[test]
    fn no_address_is_given_twice() {
        let paths = RelayPaths::default();
        let first = paths.addr(route(1));
        paths.table().made_up = (1 << 28) - 2;
        let more: Vec<SocketAddr> = (2..6).map(|number| paths.addr(route(number))).collect();
        for (number, addr) in (2..).zip(&more) {
            assert!(is_relayed(*addr) && *addr != first, "{addr}");
            assert_eq!(paths.table().by_addr.get(addr), Some(&route(number)), "{addr} leads where it was made for");
        }
        assert_eq!((paths.addr(route(1)), paths.table().by_addr.len()), (first, 5));
    }

    /// A relay may name as many sources as it likes.
    #[test]
    fn strangers_are_forgotten_and_sessions_are_not() {
        let paths = RelayPaths::default();
        let dialled = paths.addr(route(1));
        paths.arrived(route(1), b"back");
        paths.arrived(route(2), b"accepted");
        let accepted = paths.table().by_route[&route(2)];
        paths.keep(accepted);
        for number in 3..10 * MAX_STRANGERS {
            paths.table().inbox.clear();
            paths.arrived(route(number), b"never heard of");
        }
        assert_eq!(paths.table().by_addr.len(), MAX_STRANGERS + 2);
        assert_eq!(paths.table().by_route.len(), MAX_STRANGERS + 2);
        assert_eq!((paths.addr(route(1)), paths.addr(route(2))), (dialled, accepted));
        paths.forget(id(2));
        paths.forget(id(10 * MAX_STRANGERS - 1));
        assert!(!paths.knows(id(2)));
        let table = paths.table();
        assert_eq!((table.by_addr.len(), table.strangers.len()), (MAX_STRANGERS, MAX_STRANGERS - 1));
    }
}
