//! When a worker lends its CPU.
//!
//! A worker that runs tasks does so while what runs waits for a ref, or while nothing runs and a task of the lease waits
//! for its arguments ([`OfLeases`]). An actor whose calls overlap, as async ones and those on threads of its own do: while each
//! of its calls that have begun waits for a ref ([`Lending`]).
//!
//! What waits for something else (time, a socket) may go on by itself; what waits for a ref may wait for work that needs
//! the CPU. An async call waits for a ref if it said so in its last poll; those of one actor are polled on one thread. A sync
//! call on a thread beside them says when it begins to wait there, and when it has ended to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::protocol::{LeaseId, ToRaylet};
use crate::worker::host::Host;

/// What of a lease waits for something that may need its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// A task that has not begun: for an argument.
    ToBegin,
    /// What runs: for a ref.
    Running,
}

/// What waits under the lease of a worker that runs tasks, and whether its raylet was told so. There is more than one
/// only while what is left of a lease that is over waits still: of that the raylet hears no more.
#[derive(Debug, Default)]
pub(super) struct OfLeases(Vec<OfLease>);

#[derive(Debug)]
struct OfLease {
    lease: LeaseId,
    to_begin: u32,
    running: u32,
    lent: bool,
}

impl OfLeases {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One begins to wait, or waits no longer. What has to be told is not before the next look.
    pub(super) fn note(&mut self, lease: LeaseId, what: Waits, waits: bool) {
        let at = self.0.iter().position(|one| one.lease == lease);
        let at = match at {
            Some(at) => at,
            None if waits => {
                self.0.push(OfLease { lease, to_begin: 0, running: 0, lent: false });
                self.0.len() - 1
            }
            None => return,
        };
        let count = match what {
            Waits::ToBegin => &mut self.0[at].to_begin,
            Waits::Running => &mut self.0[at].running,
        };
        *count = if waits { *count + 1 } else { count.saturating_sub(1) };
    }

    /// Tells what is lent or taken back, now that the worker runs something or nothing.
    pub(super) fn look(&mut self, runs: bool, mut tell: impl FnMut(ToRaylet)) {
        for one in &mut self.0 {
            let OfLease { lease, to_begin, running, lent } = one;
            let lends = *running > 0 || (*to_begin > 0 && !runs);
            if std::mem::replace(lent, lends) != lends {
                let lease = *lease;
                tell(if lends { ToRaylet::Blocked { lease } } else { ToRaylet::Unblocked { lease } });
            }
        }
        self.0.retain(|one| one.to_begin + one.running > 0);
    }
}

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

#[cfg(test)]
mod tests {
    use actinic_transport::NodeId;

    use super::*;

    fn lease(number: u64) -> LeaseId {
        LeaseId { node: NodeId(uuid::Uuid::from_u128(1)), number }
    }

    fn told(leases: &mut OfLeases, runs: bool) -> Vec<(u64, bool)> {
        let mut told = Vec::new();
        leases.look(runs, |message| match message {
            ToRaylet::Blocked { lease } => told.push((lease.number, true)),
            ToRaylet::Unblocked { lease } => told.push((lease.number, false)),
            other => panic!("{other:?}"),
        });
        told
    }

    /// Two tasks of a lease wait for arguments: one that comes and runs takes the CPU back, and leaves it to the other.
    #[test]
    fn what_waits_to_begin_lends_while_nothing_runs() {
        let mut leases = OfLeases::default();
        leases.note(lease(1), Waits::ToBegin, true);
        assert_eq!(told(&mut leases, false), [(1, true)]);
        leases.note(lease(1), Waits::ToBegin, true);
        assert_eq!(told(&mut leases, false), []);
        leases.note(lease(1), Waits::ToBegin, false);
        assert_eq!(told(&mut leases, false), []);
        assert_eq!(told(&mut leases, true), [(1, false)], "it runs");
        assert_eq!(told(&mut leases, false), [(1, true)], "it has ended");
        leases.note(lease(1), Waits::ToBegin, false);
        assert_eq!(told(&mut leases, false), [(1, false)]);
        assert!(leases.is_empty());
    }

    /// What runs computes: its CPU is its own, whoever waits beside it, until it waits itself.
    #[test]
    fn what_runs_keeps_its_cpu_until_it_waits() {
        let mut leases = OfLeases::default();
        leases.note(lease(1), Waits::ToBegin, true);
        assert_eq!(told(&mut leases, true), []);
        leases.note(lease(1), Waits::Running, true);
        assert_eq!(told(&mut leases, true), [(1, true)]);
        leases.note(lease(1), Waits::ToBegin, false);
        assert_eq!(told(&mut leases, true), [], "what runs still waits");
        leases.note(lease(1), Waits::ToBegin, true);
        leases.note(lease(1), Waits::Running, false);
        assert_eq!(told(&mut leases, true), [(1, false)]);
        leases.note(lease(1), Waits::ToBegin, false);
        assert_eq!((told(&mut leases, true), leases.is_empty()), (vec![], true));
    }

    /// What is left of a lease that is over says nothing of the next.
    #[test]
    fn leases_are_told_apart() {
        let mut leases = OfLeases::default();
        leases.note(lease(1), Waits::ToBegin, true);
        assert_eq!(told(&mut leases, false), [(1, true)]);
        leases.note(lease(2), Waits::Running, true);
        assert_eq!(told(&mut leases, true), [(1, false), (2, true)]);
        leases.note(lease(1), Waits::ToBegin, false);
        leases.note(lease(3), Waits::Running, false);
        assert_eq!(told(&mut leases, true), []);
        leases.note(lease(2), Waits::Running, false);
        assert_eq!((told(&mut leases, false), leases.is_empty()), (vec![(2, false)], true));
    }
}
