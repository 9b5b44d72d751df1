//! What runs quinn where time stands still while code runs.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};

/// So often the clock is read at one instant before it creeps: what transfers on many connections at a time need.
const PATIENCE: u64 = 20_000;
/// Tokio's paused clock goes on by whole milliseconds.
const CREEP_MAX: u64 = 999_999;

/// Tokio's runtime, whose clock creeps by a nanosecond a look where it is looked at again and again.
///
/// On links without a delay quinn's estimate of the round trip shrinks to a few nanoseconds, and its pacer then waits until
/// now for its bucket to be refilled, by the time that passes: which was for ever.
#[derive(Debug, Default)]
pub(crate) struct SimRuntime {
    /// The last instant at which the clock was read, and how often.
    looks: Mutex<Option<(Instant, u64)>>,
}

impl Runtime for SimRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        TokioRuntime.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> std::io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        let now = TokioRuntime.now();
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let times = looks.filter(|(at, _)| *at == now).map_or(0, |(_, times)| times + 1);
        *looks = Some((now, times));
        now + Duration::from_nanos(times.saturating_sub(PATIENCE).min(CREEP_MAX))
    }
}
