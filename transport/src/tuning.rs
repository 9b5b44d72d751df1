//! The QUIC settings, in one place: some combinations hang or halve silently.
//!
//! TUNE-1: the congestion window starts at 10 datagrams of the largest size or more; below one, quinn never sends
//! its first packet. TUNE-2: with segmentation offload, ten datagrams fit in 65,535 bytes; otherwise every batch
//! fails with EMSGSIZE, is taken for loss, and the path falls to 1,200 bytes. TUNE-3: IPv4 carries at most
//! 65,507 bytes. TUNE-4: one stream can never fill the connection's send window, so that an urgent message never
//! waits for an ordered one. TUNE-5: between ends on one machine the largest datagram is used from the start. To
//! discover it, quinn sends some fifteen probes each way and reads every byte of their padding as a frame: 7 ms of
//! processor time a connection, two thirds of what the start of a worker process took. Where it does not pass after
//! all, quinn's detection of black holes falls back, and discovery finds what does. TUNE-6: who dials has one stream and
//! [`UNPROVED_WINDOW`] until his greeting is accepted: anybody may come as far, and with a session's 18 further streams of
//! 4 MiB each, he could make us hold 76 MiB a connection. [`welcome`] lifts that before the welcome is written; quinn
//! puts such news first into a packet, so nobody waits for it.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::congestion::CubicConfig;
use quinn::{Connection, MtuDiscoveryConfig, TransportConfig, VarInt};

use crate::Limits;

/// The largest datagram that IPv4 carries.
pub(crate) const MAX_DATAGRAM: u16 = 65_507;
const STREAM_WINDOW: u32 = 4 << 20;
/// So many bulk streams of one side run at once on a connection.
pub(crate) const BULK_STREAMS: u32 = 16;
const BIDI_STREAMS: u32 = BULK_STREAMS + 1;
const LANES: u32 = 2;
/// A greeting and a join have at most 4 KiB.
const UNPROVED_WINDOW: u32 = 64 << 10;
const SEND_WINDOW: u64 = (BULK_STREAMS as u64 + 8) * STREAM_WINDOW as u64;

/// What depends on where the other end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Path {
    initial_mtu: u16,
    max_mtu: u16,
    segmentation: bool,
    initial_window: u64,
}

impl Path {
    /// Both ends on one machine: datagrams as large as they go.
    const SAME_MACHINE: Path =
        Path { initial_mtu: MAX_DATAGRAM, max_mtu: MAX_DATAGRAM, segmentation: false, initial_window: 2 << 20 };
    /// quinn's own values.
    const ELSEWHERE: Path = Path { initial_mtu: 1200, max_mtu: 1452, segmentation: true, initial_window: 14_720 };

    const fn holds(self) -> bool {
        self.initial_window >= 10 * self.max_mtu as u64
            && (!self.segmentation || 10 * (self.max_mtu as u32) < 65_535)
            && self.initial_mtu <= self.max_mtu
            && self.max_mtu <= MAX_DATAGRAM
    }
}

const _: () = assert!(Path::SAME_MACHINE.holds() && Path::ELSEWHERE.holds());
// TUNE-4
const _: () = assert!(SEND_WINDOW > STREAM_WINDOW as u64 * (BULK_STREAMS as u64 + 2));

/// Settings for a connection that is dialled, to an end on this machine, or elsewhere.
pub(crate) fn dialling(same_machine: bool, limits: &Limits) -> Arc<TransportConfig> {
    Arc::new(settings(same_machine, limits))
}

/// Settings for a connection that others dial, until [`welcome`].
pub(crate) fn listening(same_machine: bool, limits: &Limits) -> Arc<TransportConfig> {
    let mut config = settings(same_machine, limits);
    config
        .receive_window(UNPROVED_WINDOW.into())
        .max_concurrent_bidi_streams(1u32.into())
        .max_concurrent_uni_streams(0u32.into());
    Arc::new(config)
}

/// The other end has proved who it is, and has a session.
pub(crate) fn welcome(connection: &Connection) {
    connection.set_receive_window(VarInt::MAX);
    connection.set_max_concurrent_bi_streams(BIDI_STREAMS.into());
    connection.set_max_concurrent_uni_streams(LANES.into());
}

fn settings(same_machine: bool, limits: &Limits) -> TransportConfig {
    let path = if same_machine { Path::SAME_MACHINE } else { Path::ELSEWHERE };
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(path.max_mtu);
    let mut congestion = CubicConfig::default();
    congestion.initial_window(path.initial_window);
    let mut config = TransportConfig::default();
    config
        .initial_mtu(path.initial_mtu)
        .mtu_discovery_config(Some(discovery))
        .enable_segmentation_offload(path.segmentation)
        .congestion_controller_factory(Arc::new(congestion))
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(VarInt::MAX)
        .send_window(SEND_WINDOW)
        .max_concurrent_bidi_streams(BIDI_STREAMS.into())
        .max_concurrent_uni_streams(LANES.into())
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(limits.keep_alive))
        .max_idle_timeout(limits.idle.try_into().ok());
    config
}

/// Whether packets to that address stay on this machine: a loopback address, or one of its own.
pub(crate) fn same_machine(addr: SocketAddr, simulated: bool) -> bool {
    let ip = match addr.ip() {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4),
        ip => ip,
    };
    ip.is_loopback() || (!simulated && is_own(ip))
}

/// Only an address of this machine can be bound.
#[allow(clippy::disallowed_methods)] // a question to the operating system, not a socket to speak through
fn is_own(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_failures_are_excluded() {
        assert!(Path::SAME_MACHINE.holds());
        assert!(Path::ELSEWHERE.holds());
        assert!(!Path { initial_window: 14_720, ..Path::SAME_MACHINE }.holds(), "TUNE-1");
        assert!(!Path { segmentation: true, ..Path::SAME_MACHINE }.holds(), "TUNE-2");
        assert!(!Path { initial_mtu: 1200, max_mtu: 65_527, ..Path::SAME_MACHINE }.holds(), "TUNE-3");
    }

    #[test]
    fn this_machine_knows_itself() {
        assert!(same_machine("127.0.0.1:1".parse().unwrap(), true));
        assert!(same_machine("[::ffff:127.0.0.1]:1".parse().unwrap(), true));
        assert!(!same_machine("192.0.2.1:1".parse().unwrap(), false));
    }
}
