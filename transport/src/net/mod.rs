//! Datagrams: the operating system's, simulated ones, and those that a relay forwards.

mod mux;
mod probe;
mod sim;
mod strays;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};

pub use sim::{LinkFaults, SimNet};

pub(crate) use mux::{MuxSocket, RelayPaths, Route, is_relayed};
pub(crate) use probe::probe;

use crate::Net;

/// Receive and send buffers of a real socket; the kernel may give less.
const SOCKET_BUFFER: usize = 4 << 20;

/// Frees a simulated port at once; a real one is freed when quinn has forgotten the last connection (some 100 ms).
pub(crate) fn release(net: &Net, addr: SocketAddr) {
    if let Net::Sim(sim) = net {
        sim.crash(addr);
    }
}

/// What runs quinn on that network.
pub(crate) fn runtime(net: &Net) -> Arc<dyn Runtime> {
    match net {
        Net::Sim(sim) if !sim.is_live() => Arc::new(sim::SimRuntime::default()),
        Net::Sim(_) | Net::Udp => Arc::new(TokioRuntime),
    }
}

/// Opens a socket of that network. The error says why not.
pub(crate) fn open(net: &Net, listen: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    match net {
        Net::Sim(sim) => sim.bind(listen),
        Net::Udp => TokioRuntime.wrap_udp_socket(udp(listen)?),
    }
}

#[allow(clippy::disallowed_methods)] // the one place where real sockets are opened
fn udp(listen: SocketAddr) -> io::Result<std::net::UdpSocket> {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, None)?;
    // Best effort: a smaller buffer only costs retransmissions.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    if listen.is_ipv6() {
        let _ = socket.set_only_v6(false);
    }
    socket.bind(&listen.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
