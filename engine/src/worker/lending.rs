//! When an actor with async methods lends its CPU: while each of its calls that have begun waits for a ref.
//!
//! What waits for something else (time, a socket) may go on by itself; what waits for a ref may wait for work that needs
//! the CPU. A call waits for a ref if it said so in its last poll. Calls of one actor are polled on one thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::protocol::ToRaylet;
use crate::worker::host::Host;

/// What is known of an actor's calls.
#[derive(Default)]
pub(crate) struct Lending {
    /// Whether the actor holds CPU, and has something to lend.
    holds: AtomicBool,
    begun: AtomicU32,
    waiting: AtomicU32,
    lent: AtomicBool,
    /// The call that is polled now waits for a ref.
    waits: AtomicBool,
}

impl Lending {
    /// The actor holds CPU for life.
    pub(crate) fn holds_cpu(&self) {
        self.holds.store(true, Ordering::Relaxed);
    }

    /// The call that is polled now waits for a ref; `false` if it has nothing to lend.
    pub(super) fn wait(&self) -> bool {
        let holds = self.holds.load(Ordering::Relaxed);
        if holds {
            self.waits.store(true, Ordering::Relaxed);
        }
        holds
    }
}

/// A call of an actor that holds CPU, from its beginning to its end.
pub(crate) struct Turn {
    host: Arc<Host>,
    waits: bool,
}

impl Turn {
    /// None if the actor has nothing to lend.
    pub(crate) fn begin(host: &Arc<Host>) -> Option<Turn> {
        if !host.lending.holds.load(Ordering::Relaxed) {
            return None;
        }
        host.lending.begun.fetch_add(1, Ordering::Relaxed);
        let turn = Turn { host: Arc::clone(host), waits: false };
        turn.tell();
        Some(turn)
    }

    /// It is about to be polled.
    pub(super) fn resume(&mut self) {
        self.host.lending.waits.store(false, Ordering::Relaxed);
        self.set(false);
    }

    /// It was polled, and has not ended.
    pub(super) fn pause(&mut self) {
        self.set(self.host.lending.waits.load(Ordering::Relaxed));
    }

    fn set(&mut self, waits: bool) {
        if std::mem::replace(&mut self.waits, waits) == waits {
            return;
        }
        let waiting = &self.host.lending.waiting;
        if waits {
            waiting.fetch_add(1, Ordering::Relaxed)
        } else {
            waiting.fetch_sub(1, Ordering::Relaxed)
        };
        self.tell();
    }

    /// Tells the raylet, if that changes what is lent.
    fn tell(&self) {
        let Lending { begun, waiting, lent, .. } = &self.host.lending;
        let begun = begun.load(Ordering::Relaxed);
        let lends = begun > 0 && waiting.load(Ordering::Relaxed) == begun;
        if lent.swap(lends, Ordering::Relaxed) == lends {
            return;
        }
        if let Some(lease) = self.host.lease.get().copied() {
            let message = if lends { ToRaylet::Blocked { lease } } else { ToRaylet::Unblocked { lease } };
            self.host.process.tell_raylet(lease.node, message);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.host.lending.begun.fetch_sub(1, Ordering::Relaxed);
        if self.waits {
            self.host.lending.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        self.tell();
    }
}
