//! When an actor whose calls overlap, as async ones and those on threads of its own do, lends its CPU: while each of its calls
//! that have begun waits for a ref.
//!
//! What waits for something else (time, a socket) may go on by itself; what waits for a ref may wait for work that needs
//! the CPU. An async call waits for a ref if it said so in its last poll; those of one actor are polled on one thread. A sync
//! call on a thread beside them says when it begins to wait there, and when it has ended to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::protocol::ToRaylet;
use crate::worker::host::Host;

/// What is known of an actor's calls.
#[derive(Default)]
pub(crate) struct Lending {
    /// Whether the actor holds CPU, and has something to lend.
    holds: AtomicBool,
    calls: Mutex<Calls>,
    /// The call that is polled now waits for a ref.
    waits: AtomicBool,
}

#[derive(Default)]
struct Calls {
    begun: u32,
    waiting: u32,
    lent: bool,
}

impl Lending {
    /// The actor holds CPU for life.
    pub(crate) fn holds_cpu(&self) {
        self.holds.store(true, Ordering::Relaxed);
    }

    fn holds(&self) -> bool {
        self.holds.load(Ordering::Relaxed)
    }

    /// The call that is polled now waits for a ref; `false` if it has nothing to lend.
    pub(super) fn wait(&self) -> bool {
        let holds = self.holds();
        if holds {
            self.waits.store(true, Ordering::Relaxed);
        }
        holds
    }
}

impl Host {
    /// A call of the actor began, ended, waits or goes on: tells the raylet, if that changes what is lent.
    fn note_calls(&self, change: impl FnOnce(&mut Calls)) {
        let mut calls = self.lending.calls.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut calls);
        let lends = calls.begun > 0 && calls.waiting == calls.begun;
        if std::mem::replace(&mut calls.lent, lends) == lends {
            return;
        }
        if let Some(lease) = self.lease() {
            let message = if lends { ToRaylet::Blocked { lease } } else { ToRaylet::Unblocked { lease } };
            // Under the lock, for what is told last must be what is so.
            self.process.tell_raylet(lease.node, message);
        }
    }

    /// A sync call that runs beside the actor's async ones begins to wait for a ref on its thread, or goes on.
    pub(super) fn waits_beside(&self, waits: bool) {
        if self.lending.holds() {
            self.note_calls(|calls| if waits { calls.waiting += 1 } else { calls.waiting -= 1 });
        }
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
        if !host.lending.holds() {
            return None;
        }
        host.note_calls(|calls| calls.begun += 1);
        Some(Turn { host: Arc::clone(host), waits: false })
    }

    /// It is about to be polled.
    pub(crate) fn resume(&mut self) {
        self.host.lending.waits.store(false, Ordering::Relaxed);
        self.set(false);
    }

    /// It is about to be polled, whoever was woken: it waits until it has said otherwise.
    pub(crate) fn look(&mut self) {
        self.host.lending.waits.store(false, Ordering::Relaxed);
    }

    /// It was polled, and has not ended.
    pub(crate) fn pause(&mut self) {
        self.set(self.host.lending.waits.load(Ordering::Relaxed));
    }

    fn set(&mut self, waits: bool) {
        if std::mem::replace(&mut self.waits, waits) != waits {
            self.host.note_calls(|calls| if waits { calls.waiting += 1 } else { calls.waiting -= 1 });
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.host.note_calls(|calls| {
            calls.begun -= 1;
            calls.waiting -= u32::from(self.waits);
        });
    }
}
