//! The leases of a node, and which of them give their resources back by themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::ledger::Holder;
use super::messages::{RequestId, RequestKey, WorkerKind};
use super::returning::Returning;
use crate::alike::Alike;
use crate::ids::{ActorId, WorkerId};
use crate::resources::ResourceSet;

/// A lease that was told to yield is expected for so long: after that its task must be a long one, and nobody knows when it
/// comes.
pub(super) const OVERDUE_AFTER: Duration = Duration::from_secs(1);

/// A lease, from the moment its resources are taken.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) request: RequestId,
    /// Shared with the leases before it that are alike: a node may have a hundred thousand.
    pub(super) holder: Arc<Holder>,
    pub(super) depth: u32,
    pub(super) kind: WorkerKind,
    pub(super) actor: Option<ActorId>,
    pub(super) outlives_job: bool,
    /// What it takes when it is not blocked.
    pub(super) hold: ResourceSet,
    pub(super) blocked: bool,
    /// None while one starts.
    pub(super) worker: Option<WorkerId>,
    /// When it was placed, then when it was granted.
    pub(super) since: Duration,
    pub(super) recalled: Recalled,
    /// Since when it is to yield after the task that runs.
    pub(super) yields_since: Option<Duration>,
    /// Something was reserved against its return for a while, and it did not come.
    pub(super) awaited: bool,
}

/// How its owner was asked to return a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Recalled {
    No,
    WhenIdle,
    Now,
}

impl Lease {
    /// The request that it is of.
    pub(super) fn request(&self) -> RequestKey {
        (self.holder.owner, self.request)
    }

    /// What would be free if it were returned.
    pub(super) fn gives(&self) -> ResourceSet {
        let mut gives = self.hold.clone();
        gives.sub(&self.lends());
        gives
    }

    /// What it lends: its CPU, while it is blocked.
    pub(super) fn lends(&self) -> ResourceSet {
        if self.blocked { self.hold.cpu_part() } else { ResourceSet::new() }
    }

    #[cfg(test)]
    pub(super) fn is_overdue(&self, now: Duration) -> bool {
        self.yields_since.is_some_and(|since| since + OVERDUE_AFTER <= now)
    }

    /// It runs a task, and will give everything back when that ends.
    pub(super) fn returns(&self) -> bool {
        self.worker.is_some() && self.actor.is_none() && !self.blocked
    }
}

/// By number, in the order in which they were placed.
#[derive(Clone, Debug, Default)]
pub(super) struct Leases {
    /// Boxed: numbers ascend, so half of the places in the tree are never filled.
    all: BTreeMap<u64, Box<Lease>>,
    /// Those that [`Lease::returns`] is true of: a node may have a hundred thousand actors beside them.
    returning: Returning,
    /// What actors hold, for as long as they live.
    pub(super) by_actors: ResourceSet,
    pub(super) holders: Alike<Holder>,
}

impl Leases {
    pub(super) fn get(&self, number: u64) -> Option<&Lease> {
        self.all.get(&number).map(|lease| &**lease)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Lease)> {
        self.all.iter().map(|(number, lease)| (*number, &**lease))
    }

    /// Those that run a task which is not blocked.
    pub(super) fn returning(&self) -> &Returning {
        &self.returning
    }

    pub(super) fn insert(&mut self, number: u64, lease: Lease) {
        if lease.returns() {
            self.returning.insert(number, &lease);
        }
        if lease.actor.is_some() {
            self.by_actors.add(&lease.hold);
        }
        self.all.insert(number, Box::new(lease));
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Lease> {
        let lease = self.all.remove(&number).map(|lease| *lease)?;
        if lease.returns() {
            self.returning.remove(number, &lease);
        }
        if lease.actor.is_some() {
            self.by_actors.sub(&lease.hold);
        }
        Some(lease)
    }

    /// Whatever runs a task now did not come back while something was reserved against that.
    pub(super) fn awaited_in_vain(&mut self) {
        for number in self.returning.awaited_in_vain() {
            if let Some(lease) = self.all.get_mut(&number) {
                lease.awaited = true;
            }
        }
    }

    /// Those that were left alone for `alone` may be told to yield, and those that should have come are not expected.
    pub(super) fn age(&mut self, alone: Duration, now: Duration) {
        while let Some(number) = self.returning.next_ripe(|since| since + alone <= now) {
            if let Some(lease) = self.all.get(&number) {
                self.returning.ripen(number, lease);
            }
        }
        while let Some(number) = self.returning.next_overdue(|since| since + OVERDUE_AFTER <= now) {
            if let Some(lease) = self.all.get(&number) {
                self.returning.not_expected(number, lease);
            }
        }
    }

    /// Changes a lease; none if there is none of that number.
    pub(super) fn change<R>(&mut self, number: u64, change: impl FnOnce(&mut Lease) -> R) -> Option<R> {
        let lease = self.all.get_mut(&number)?;
        if lease.returns() {
            self.returning.remove(number, lease);
        }
        let changed = change(lease);
        if lease.returns() {
            self.returning.insert(number, lease);
        }
        Some(changed)
    }
}

#[cfg(test)]
impl Leases {
    /// That what is kept of those that return is what can be counted from the leases alone.
    pub(super) fn assert_sound(&self) {
        let mut anew = Returning::default();
        for (number, lease) in self.iter().filter(|(_, lease)| lease.returns()) {
            anew.insert(number, lease);
        }
        assert!(self.returning.same_but_for_age(&anew), "{:?} is not {anew:?}", self.returning);
    }
}
