//! A session: what two process incarnations have between them, whatever connections come and go.
//!
//! - SES-1: at most one connection carries it; of two, both sides keep the same one ([`prefer`]).
//! - SES-2: the end of a connection is not the end of the session; [`keep`](crate::keeper) dials again.
//! - SES-3: an ended session delivers and takes nothing more, and every question of it has failed.
//! - SES-4: the end is told once, by `PeerEvent::Down`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use crate::asks::Asks;
use crate::endpoint::Inner;
use crate::opaque::{Opaque, OpaqueWeak};
use crate::outbox::Outbox;
use crate::receiver::Registry;
use crate::wire::Close;
use crate::{DownReason, Lane, Limits, PeerAddr, ProcessId, net, tuning};

/// A connection that carries a session.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) connection: Opaque<quinn::Connection>,
    /// Counts the connections that were attached to this session here.
    pub(crate) number: u64,
    pub(crate) dial: Dial,
}

/// Which dial made a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dial {
    /// Whether this side dialled.
    pub(crate) ours: bool,
    /// Its number among the dialler's.
    pub(crate) number: u64,
}

/// Whether a new connection takes the place of the one that stands. Both sides decide alike: of simultaneous dials
/// the lower process id's survives; a later dial of the same side replaces an earlier one; and a dial of the higher
/// id replaces one of the lower that it has seen end (`lost` is the last such).
pub(crate) fn prefer(standing: Dial, new: Dial, ours_is_lower: bool, lost: u64) -> bool {
    if standing.ours == new.ours {
        return new.number > standing.number;
    }
    new.ours == ours_is_lower || standing.number <= lost
}

#[derive(Debug)]
struct State {
    at: PeerAddr,
    live: Option<Live>,
    attached: u64,
    dials: u64,
    lost: u64,
    ended: Option<DownReason>,
    was_up: bool,
    flushed: u32,
}

/// The shared state of a session; [`Peer`](crate::Peer) is its handle.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: ProcessId,
    pub(crate) own: ProcessId,
    pub(crate) number: u64,
    pub(crate) limits: Limits,
    pub(crate) registry: Arc<Registry>,
    pub(crate) endpoint: OpaqueWeak<Inner>,
    pub(crate) runtime: tokio::runtime::Handle,
    lanes: [Mutex<Outbox>; 2],
    pub(crate) asks: Mutex<Asks>,
    pub(crate) asks_changed: Notify,
    state: Mutex<State>,
    /// A connection came, or the session ended.
    pub(crate) changed: Notify,
    /// Something was acknowledged.
    pub(crate) room: Notify,
    /// Places for bulk requests of this side.
    pub(crate) bulk_places: Arc<Semaphore>,
    /// For those that wait for a connection.
    pub(crate) connected: watch::Sender<bool>,
    down_told: AtomicBool,
    start: Instant,
    heard_ms: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Session {
    pub(crate) fn new(inner: &Arc<Inner>, at: PeerAddr, number: u64) -> Session {
        let limits = inner.limits.clone();
        let lane = || Mutex::new(Outbox::new(limits.max_frame, limits.max_message, limits.max_backlog));
        Session {
            id: at.id,
            own: inner.id,
            number,
            registry: inner.registry.clone(),
            endpoint: OpaqueWeak::of(inner),
            runtime: inner.runtime.clone(),
            lanes: [lane(), lane()],
            asks: Mutex::default(),
            asks_changed: Notify::new(),
            state: Mutex::new(State {
                at,
                live: None,
                attached: 0,
                dials: 0,
                lost: 0,
                ended: None,
                was_up: false,
                flushed: 0,
            }),
            changed: Notify::new(),
            room: Notify::new(),
            bulk_places: Arc::new(Semaphore::new(tuning::BULK_STREAMS as usize)),
            connected: watch::Sender::new(false),
            down_told: AtomicBool::new(false),
            start: Instant::now(),
            heard_ms: AtomicU64::new(0),
            limits,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn lane(&self, lane: Lane) -> MutexGuard<'_, Outbox> {
        lock(&self.lanes[lane as usize])
    }

    pub(crate) fn asks(&self) -> MutexGuard<'_, Asks> {
        lock(&self.asks)
    }

    pub(crate) fn is_local(&self) -> bool {
        self.id == self.own
    }

    pub(crate) fn own_is_lower(&self) -> bool {
        self.own < self.id
    }

    pub(crate) fn live(&self) -> Option<Live> {
        self.state().live.clone()
    }

    pub(crate) fn ended(&self) -> Option<DownReason> {
        self.state().ended.clone()
    }

    pub(crate) fn addr(&self) -> PeerAddr {
        self.state().at.clone()
    }

    /// Takes over what is newly known here of how to reach it.
    pub(crate) fn learn(&self, addrs: &[SocketAddr], relay: Option<(ProcessId, SocketAddr)>) {
        self.update(|at| {
            if !addrs.is_empty() {
                at.addrs = addrs.to_vec();
            }
            at.relay = relay.or(at.relay);
        });
    }

    /// Takes over what it says itself, if nothing better is known.
    pub(crate) fn hear(&self, addrs: Vec<SocketAddr>) {
        self.update(|at| {
            if at.addrs.is_empty() {
                at.addrs = addrs;
            }
        });
    }

    fn update(&self, change: impl FnOnce(&mut PeerAddr)) {
        let news = {
            let mut state = self.state();
            let before = state.at.clone();
            change(&mut state.at);
            state.at != before
        };
        if news {
            self.changed.notify_one();
        }
    }

    /// The number of the next dial, and the last of the other side's that ended.
    pub(crate) fn next_dial(&self) -> (u64, u64) {
        let mut state = self.state();
        state.dials += 1;
        (state.dials, state.lost)
    }

    pub(crate) fn received(&self) -> [u64; 2] {
        [self.lane(Lane::Ordered).received(), self.lane(Lane::Urgent).received()]
    }

    /// Gives a connection to the session, if it is the one to keep; says whether it is the session's first.
    pub(crate) fn attach(
        &self,
        connection: quinn::Connection,
        dial: Dial,
        lost: u64,
        received: [u64; 2],
    ) -> Result<(Live, bool), Unattached> {
        let mut state = self.state();
        if let Some(reason) = &state.ended {
            return Err(Unattached::Ended(reason.clone()));
        }
        if let Some(standing) = &state.live {
            if standing.connection.close_reason().is_none() && !prefer(standing.dial, dial, self.own_is_lower(), lost) {
                return Err(Unattached::Yield);
            }
            standing.connection.close(Close::Superseded.code(), b"superseded");
        }
        state.attached += 1;
        let live = Live { connection: Opaque::new(connection), number: state.attached, dial };
        for lane in [Lane::Ordered, Lane::Urgent] {
            let attached = self.lane(lane).attach(live.number, received[lane as usize]);
            wake(attached.map_err(|fault| Unattached::Protocol(fault.into()))?);
        }
        state.live = Some(live.clone());
        let first = !std::mem::replace(&mut state.was_up, true);
        drop(state);
        self.touch();
        self.connected.send_replace(true);
        self.changed.notify_one();
        Ok((live, first))
    }

    /// That connection is gone.
    pub(crate) fn detach(&self, live: &Live) {
        let mut state = self.state();
        if !live.dial.ours {
            state.lost = state.lost.max(live.dial.number);
        }
        if state.live.as_ref().is_some_and(|standing| standing.number == live.number) {
            state.live = None;
            self.connected.send_replace(false);
            for lane in [Lane::Ordered, Lane::Urgent] {
                wake(self.lane(lane).detach());
            }
        }
    }

    /// Ends the session, from any thread; the keeper does the rest.
    pub(crate) fn end(&self, reason: DownReason) {
        {
            let mut state = self.state();
            if state.ended.is_some() {
                return;
            }
            state.ended = Some(reason.clone());
        }
        for lane in [Lane::Ordered, Lane::Urgent] {
            let writer = self.lane(lane).end(reason.clone());
            wake(writer);
        }
        self.asks().end(&reason);
        self.asks_changed.notify_one();
        self.connected.send_replace(false);
        self.room.notify_waiters();
        self.changed.notify_one();
    }

    /// Whether a relay carries it now.
    pub(crate) fn is_relayed(&self) -> bool {
        self.live().is_some_and(|live| net::is_relayed(live.connection.remote_address()))
    }

    /// Lets the writers send what waits and then stop, before the endpoint closes. False if there is nothing to
    /// wait for.
    pub(crate) fn flush(&self) -> bool {
        let connected = self.live().is_some();
        for lane in [Lane::Ordered, Lane::Urgent] {
            let writer = self.lane(lane).finish();
            wake(writer);
        }
        connected
    }

    /// A writer has stopped.
    pub(crate) fn flushed(&self, connection: u64) {
        let mut state = self.state();
        if state.live.as_ref().is_some_and(|live| live.number == connection) {
            state.flushed += 1;
        }
        drop(state);
        self.room.notify_waiters();
    }

    /// Waits until both writers have stopped, or there is no connection any more.
    pub(crate) async fn until_flushed(&self) {
        loop {
            let stopped = self.room.notified();
            {
                let state = self.state();
                if state.flushed >= 2 || state.live.is_none() {
                    return;
                }
            }
            stopped.await;
        }
    }

    /// SES-4: true for the first caller after the end.
    pub(crate) fn claims_down(&self) -> bool {
        !self.down_told.swap(true, Ordering::Relaxed)
    }

    /// Something came from the other side.
    pub(crate) fn touch(&self) {
        let ms = self.start.elapsed().as_millis() as u64;
        self.heard_ms.store(ms, Ordering::Relaxed);
    }

    pub(crate) fn silent_for(&self) -> Duration {
        let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(heard)
    }
}

/// Why a connection was not given to the session.
#[derive(Debug)]
pub(crate) enum Unattached {
    Yield,
    Ended(DownReason),
    Protocol(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SES-1
    #[test]
    fn both_sides_keep_the_same_connection() {
        // The lower id's dial `l` and the higher id's dial `h`, in either order of arrival, seen from both sides.
        for l in 1..4 {
            for h in 1..4 {
                for (lower, low_dial, high_dial) in [
                    (true, Dial { ours: true, number: l }, Dial { ours: false, number: h }),
                    (false, Dial { ours: false, number: l }, Dial { ours: true, number: h }),
                ] {
                    assert!(prefer(high_dial, low_dial, lower, 0), "the lower's replaces the higher's");
                    assert!(!prefer(low_dial, high_dial, lower, l - 1), "and not the other way round");
                    assert!(prefer(low_dial, high_dial, lower, l), "unless the higher saw it end");
                }
            }
        }
        let dial = |number| Dial { ours: true, number };
        assert!(prefer(dial(1), dial(2), true, 0));
        assert!(!prefer(dial(2), dial(1), true, 0));
    }
}
