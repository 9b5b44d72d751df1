//! What comes back by itself: the leases that run a task which is not blocked.
//!
//! There may be as many as there are workers, and after nearly every event somebody who waits is to know what of it will be
//! free, and whom to ask for it. So what they hold is kept as a sum, and they are kept in groups of those that are alike to
//! whoever waits: nothing here is looked for lease by lease.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::leases::{Lease, Recalled};
use super::ledger::Holder;
use crate::resources::ResourceSet;

/// What leases have in common that are alike to whoever waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) holder: Arc<Holder>,
    /// All of which each gives back.
    pub(super) hold: ResourceSet,
    pub(super) depth: u32,
}

impl Kind {
    fn of(lease: &Lease) -> Self {
        Self { holder: Arc::clone(&lease.holder), hold: lease.hold.clone(), depth: lease.depth }
    }
}

/// Leases by kind, those of each by number: the one that was placed first at the front. No kind is here without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Groups(BTreeMap<Kind, BTreeSet<u64>>);

impl Groups {
    fn insert(&mut self, kind: Kind, number: u64) {
        self.0.entry(kind).or_default().insert(number);
    }

    fn remove(&mut self, kind: &Kind, number: u64) {
        if let Some(group) = self.0.get_mut(kind) {
            group.remove(&number);
            if group.is_empty() {
                self.0.remove(kind);
            }
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Returning {
    all: Groups,
    /// Those that were not recalled.
    untold: Groups,
    /// Those that were not told to yield, and may be: they were left alone for long enough.
    ripe: Groups,
    /// What they give back together, but for those that something was reserved against in vain.
    sum: ResourceSet,
    /// What each of them holds, and how many hold that.
    holds: BTreeMap<ResourceSet, usize>,
    /// Those that were not told to yield, until they may be, by when they were granted.
    young: BTreeSet<(Duration, u64)>,
    /// Those that were told to yield and are expected, and by when they were told.
    expected: Groups,
    yielding: BTreeSet<(Duration, u64)>,
}

impl Returning {
    pub(super) fn insert(&mut self, number: u64, lease: &Lease) {
        let kind = Kind::of(lease);
        if lease.recalled == Recalled::No {
            self.untold.insert(kind.clone(), number);
        }
        if let Some(since) = lease.yields_since {
            self.expected.insert(kind.clone(), number);
            self.yielding.insert((since, number));
        }
        self.all.insert(kind, number);
        if lease.recalled < Recalled::Now {
            self.young.insert((lease.since, number));
        }
        if !lease.awaited {
            self.sum.add(&lease.hold);
        }
        *self.holds.entry(lease.hold.clone()).or_default() += 1;
    }

    /// The lease is as it was when it was inserted.
    pub(super) fn remove(&mut self, number: u64, lease: &Lease) {
        let kind = Kind::of(lease);
        for groups in [&mut self.all, &mut self.untold, &mut self.ripe, &mut self.expected] {
            groups.remove(&kind, number);
        }
        self.young.remove(&(lease.since, number));
        if let Some(since) = lease.yields_since {
            self.yielding.remove(&(since, number));
        }
        if !lease.awaited {
            self.sum.sub(&lease.hold);
        }
        if let Some(count) = self.holds.get_mut(&lease.hold) {
            *count -= 1;
            if *count == 0 {
                self.holds.remove(&lease.hold);
            }
        }
    }

    /// Something was reserved in vain against all of them.
    pub(super) fn awaited_in_vain(&mut self) -> impl Iterator<Item = u64> {
        self.sum = ResourceSet::new();
        self.all.0.values().flatten().copied()
    }

    /// One of the young that is not young any more: the caller [`ripen`](Self::ripen)s it.
    pub(super) fn next_ripe(&mut self, is_ripe: impl Fn(Duration) -> bool) -> Option<u64> {
        pop_if(&mut self.young, is_ripe)
    }

    pub(super) fn ripen(&mut self, number: u64, lease: &Lease) {
        self.ripe.insert(Kind::of(lease), number);
    }

    /// One of those that are expected which should have come: the caller says [`not_expected`](Self::not_expected).
    pub(super) fn next_overdue(&mut self, is_overdue: impl Fn(Duration) -> bool) -> Option<u64> {
        pop_if(&mut self.yielding, is_overdue)
    }

    pub(super) fn not_expected(&mut self, number: u64, lease: &Lease) {
        self.expected.remove(&Kind::of(lease), number);
    }

    /// Since when the first of the young is.
    pub(super) fn first_young(&self) -> Option<Duration> {
        self.young.first().map(|(since, _)| *since)
    }

    /// When the first of those that are expected was told to yield.
    pub(super) fn first_yielding(&self) -> Option<Duration> {
        self.yielding.first().map(|(since, _)| *since)
    }

    /// What they give back together, but for those that something was reserved against in vain.
    pub(super) fn sum(&self) -> &ResourceSet {
        &self.sum
    }

    /// What each of them holds, without repetition.
    pub(super) fn holds(&self) -> impl Iterator<Item = &ResourceSet> {
        self.holds.keys()
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.all.0.keys()
    }

    /// Those of some kinds that were not recalled, in the order in which they were placed.
    pub(super) fn untold(&self, which: impl Fn(&Kind) -> bool) -> Vec<u64> {
        let groups = self.untold.0.iter().filter(|(kind, _)| which(kind));
        let mut numbers: Vec<u64> = groups.flat_map(|(_, group)| group).copied().collect();
        numbers.sort_unstable();
        numbers
    }

    /// Those that may be told to yield.
    pub(super) fn ripe(&self) -> impl Iterator<Item = (&Kind, &BTreeSet<u64>)> {
        self.ripe.0.iter()
    }

    /// Of each kind, how many were told to yield and are expected.
    pub(super) fn expected(&self) -> impl Iterator<Item = (&Kind, u32)> {
        self.expected.0.iter().map(|(kind, group)| (kind, u32::try_from(group.len()).unwrap_or(u32::MAX)))
    }
}

fn pop_if(times: &mut BTreeSet<(Duration, u64)>, is_due: impl Fn(Duration) -> bool) -> Option<u64> {
    let (since, number) = *times.first()?;
    is_due(since).then(|| {
        times.pop_first();
        number
    })
}

#[cfg(test)]
impl Returning {
    /// Whether all is the same, and each that may yield either may now or is young.
    pub(super) fn same_but_for_age(&self, anew: &Self) -> bool {
        let len = |groups: &Groups| groups.0.values().map(BTreeSet::len).sum::<usize>();
        let ageless = |of: &Self| Self {
            ripe: Groups::default(),
            expected: Groups::default(),
            young: BTreeSet::new(),
            yielding: BTreeSet::new(),
            ..of.clone()
        };
        ageless(self) == ageless(anew)
            && len(&self.ripe) + self.young.len() == len(&anew.ripe) + anew.young.len()
            && len(&self.expected) == self.yielding.len()
            && self.yielding.is_subset(&anew.yielding)
    }
}
