//! The two ends of a simulated network: quinn's sockets, and a probe's.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::{Instant, Sleep};

use super::{Arrival, SimNet};

/// One port of the network.
pub(super) struct SimSocket {
    net: SimNet,
    addr: SocketAddr,
    number: u64,
    timer: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimSocket({})", self.addr)
    }
}

impl SimSocket {
    pub(super) fn new(net: SimNet, addr: SocketAddr, number: u64) -> SimSocket {
        SimSocket { net, addr, number, timer: Mutex::new(None) }
    }

    /// The next arrival that is due; otherwise waits for it, or for one to be sent.
    fn poll_arrival(&self, cx: &mut Context<'_>, mut take: impl FnMut(Arrival) -> bool) -> Poll<()> {
        loop {
            let due = {
                let mut world = self.net.world();
                let Some(port) = world.ports.get_mut(&self.addr).filter(|port| port.number == self.number) else {
                    return Poll::Pending; // crashed: it hears nothing any more
                };
                let now = Instant::now();
                let mut any = false;
                while let Some(entry) = port.inbox.first_entry().filter(|entry| entry.key().0 <= now) {
                    let arrival = entry.remove();
                    if let Arrival::Datagram(_, datagram) = &arrival {
                        port.bytes -= datagram.len();
                    }
                    any = true;
                    if !take(arrival) {
                        break;
                    }
                }
                if any {
                    return Poll::Ready(());
                }
                port.waker = Some(cx.waker().clone());
                port.inbox.first_key_value().map(|(key, _)| key.0)
            };
            let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(due) = due else {
                *timer = None;
                return Poll::Pending;
            };
            let sleep = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if sleep.deadline() != due {
                sleep.as_mut().reset(due);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            *timer = None;
        }
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let mut world = self.net.world();
        if world.ports.get(&self.addr).is_some_and(|port| port.number == self.number) {
            world.ports.remove(&self.addr);
        }
    }
}

impl AsyncUdpSocket for SimSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for datagram in transmit.contents.chunks(size) {
            self.net.send(self.addr, self.number, transmit.destination, datagram);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut count = 0;
            let room = bufs.len().min(meta.len());
            let polled = self.poll_arrival(cx, |arrival| {
                if let Arrival::Datagram(from, datagram) = arrival {
                    let length = datagram.len().min(bufs[count].len());
                    bufs[count][..length].copy_from_slice(&datagram[..length]);
                    meta[count] = RecvMeta { addr: from, len: length, stride: length.max(1), ecn: None, dst_ip: None };
                    count += 1;
                }
                count < room
            });
            match polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) if count > 0 => return Poll::Ready(Ok(count)),
                Poll::Ready(()) => {} // only "port unreachable", which an unconnected socket is not told
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What a probe heard of an address.
pub(in crate::net) enum Heard {
    Answer,
    Unreachable,
}

/// A connected socket: it is told that a port is unreachable.
pub(in crate::net) struct ProbeSocket(SimSocket);

impl ProbeSocket {
    pub(super) fn new(socket: SimSocket) -> ProbeSocket {
        ProbeSocket(socket)
    }

    pub(in crate::net) fn send(&self, to: SocketAddr, datagram: &[u8]) {
        self.0.net.send(self.0.addr, self.0.number, to, datagram);
    }

    pub(in crate::net) async fn hear(&self, of: SocketAddr) -> Heard {
        std::future::poll_fn(|cx| {
            loop {
                let mut heard = None;
                let polled = self.0.poll_arrival(cx, |arrival| {
                    heard = match arrival {
                        Arrival::Datagram(from, _) if from == of => Some(Heard::Answer),
                        Arrival::Unreachable(to) if to == of => Some(Heard::Unreachable),
                        _ => None,
                    };
                    heard.is_none()
                });
                match (polled, heard) {
                    (_, Some(heard)) => return Poll::Ready(heard),
                    (Poll::Pending, None) => return Poll::Pending,
                    (Poll::Ready(()), None) => {}
                }
            }
        })
        .await
    }
}
