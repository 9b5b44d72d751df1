//! Is anybody there? One datagram, and what comes of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::sim::Heard;
use crate::{Net, Probe};

/// A QUIC packet of a version that nobody speaks; every QUIC server must answer it with the versions that it does.
fn question() -> [u8; 1200] {
    let mut packet = [0; 1200];
    packet[0] = 0xc0;
    packet[1..5].copy_from_slice(&0x5a5a_5a5a_u32.to_be_bytes());
    packet[5] = 8; // destination connection id
    packet[6..14].copy_from_slice(b"actinic?");
    packet[14] = 8; // source connection id
    packet[15..23].copy_from_slice(b"?cinitca");
    packet
}

/// Asks `addr` up to three times within `wait`. `near` is the local address to ask from (its port is not used).
pub(crate) async fn probe(net: &Net, near: Option<IpAddr>, addr: SocketAddr, wait: Duration) -> Probe {
    let end = Instant::now() + wait;
    let pause = wait / 3;
    for attempt in 1..=3 {
        let until = if attempt == 3 { end } else { Instant::now() + pause };
        let found = match net {
            Net::Udp => once_udp(addr, until).await,
            Net::Sim(sim) => {
                let near = near.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                match sim.probe_socket(near) {
                    Ok(socket) => {
                        socket.send(addr, &question());
                        match timeout_at(until, socket.hear(addr)).await {
                            Ok(Heard::Answer) => Probe::Answered,
                            Ok(Heard::Unreachable) => Probe::Unreachable,
                            Err(_) => Probe::Silent,
                        }
                    }
                    Err(_) => Probe::Silent,
                }
            }
        };
        if found != Probe::Silent {
            return found;
        }
    }
    Probe::Silent
}

/// Only a connected socket is told that the port is unreachable.
#[allow(clippy::disallowed_methods)] // a real probe of a real network
async fn once_udp(addr: SocketAddr, until: Instant) -> Probe {
    let any: IpAddr = if addr.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let ask = async {
        let socket = tokio::net::UdpSocket::bind((any, 0)).await?;
        socket.connect(addr).await?;
        socket.send(&question()).await?;
        socket.recv(&mut [0; 1500]).await
    };
    match timeout_at(until, ask).await {
        Ok(Ok(_)) => Probe::Answered,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Probe::Unreachable,
        Ok(Err(_)) => {
            tokio::time::sleep_until(until).await;
            Probe::Silent
        }
        Err(_) => Probe::Silent,
    }
}
