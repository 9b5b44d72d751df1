//! Asking holders for what others wait for.
//!
//! An owner keeps a lease warm while it may need it again. So at once, whoever holds what a waiting request lacks is
//! asked to return it when idle (idle leases count as available, the raylet just cannot see which they are). After
//! [`YIELD_AFTER`] leases are asked to yield after the task that runs: as many as it takes, from whoever holds more
//! than the waiting one does, the largest holder first. Shares only ever get more equal that way, so two greedy
//! drivers end at half each; where that is not whole, one lease changes hands once in [`YIELD_AFTER`].

#[cfg(test)]
mod plain;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use super::leases::OVERDUE_AFTER;
use super::ledger::{Holder, Imagined};
use super::messages::{Action, LeaseId, RequestKey};
use super::queue::Request;
use super::returning::Kind;
use super::{RayletCore, Recalled};
use crate::resources::ResourceSet;

/// How long a request waits before leases yield to it, and how long a lease is left alone at least.
const YIELD_AFTER: Duration = Duration::from_millis(100);
/// After so long, what reserves may take from whoever holds less, too: else it could wait for ever.
const STARVED_AFTER: Duration = Duration::from_secs(1);

/// For so many requests leases are recalled at a time, the first in the order: more would find little left to recall.
pub(super) const WANTING_MAX: usize = 64;

/// A request that lacks something.
#[derive(Debug)]
struct Wanting {
    key: RequestKey,
    holder: Holder,
    depth: u32,
    need: ResourceSet,
    count: u32,
    /// From when on leases yield to it: again so long after they last did, so that shares that cannot be equal
    /// change hands slowly.
    late_at: Duration,
    starved_at: Duration,
    starved: bool,
}

/// Leases that are to yield.
#[derive(Debug, Default)]
struct Victims {
    in_order: Vec<u64>,
    all: BTreeSet<u64>,
}

impl Wanting {
    /// What it needs and `free` has not.
    fn lacks(&self, free: &ResourceSet) -> ResourceSet {
        let lacks = |(name, amount): (&_, crate::resources::Quantity)| {
            (amount > free.get(name)).then(|| (name.clone(), amount))
        };
        self.need.iter().filter_map(lacks).collect()
    }

    /// For how many of those that it wants there is enough of everything.
    fn met_by(&self, free: &ResourceSet) -> u32 {
        let times = self.need.iter().map(|(name, amount)| free.get(name).steps().max(0) / amount.steps());
        times.min().map_or(0, |times| u32::try_from(times).unwrap_or(u32::MAX).min(self.count))
    }

    /// Whether leases of this kind hold something of what is lacking. What it has in leases of this key its owner uses
    /// anyway.
    fn helped_by(&self, kind: &Kind, lacks: &ResourceSet) -> bool {
        let own = *kind.holder == self.holder;
        !own && kind.hold.iter().any(|(name, _)| lacks.get(name).steps() > 0)
    }

    /// What a task of the job waits for does not yield to its parent's peers: it would be served first again.
    fn outranks(&self, kind: &Kind) -> bool {
        kind.holder.job != self.holder.job || kind.depth <= self.depth
    }
}

impl RayletCore {
    /// Recall for those who wait, in their order. Returns when there may be more to recall.
    pub(super) fn recall(&mut self, waiting: &[RequestKey], out: &mut Vec<Action>) -> Option<Duration> {
        if waiting.is_empty() {
            return None;
        }
        let first = waiting.iter().take(WANTING_MAX);
        let wanting: Vec<Wanting> = first.filter_map(|key| self.wanting(key)).collect();
        #[cfg(test)]
        if self.plain {
            return self.recall_plainly(&wanting, out);
        }
        self.recall_idle(&wanting, out);
        self.leases.age(YIELD_AFTER, self.now);
        let late: Vec<&Wanting> = wanting.iter().filter(|wanting| wanting.late_at <= self.now).collect();
        self.recall_now(&late, out);
        let due = wanting.iter().flat_map(|wanting| [wanting.late_at, wanting.starved_at]);
        let left_alone = self.leases.returning().first_young().map(|since| since + YIELD_AFTER);
        let overdue = self.leases.returning().first_yielding().map(|since| since + OVERDUE_AFTER);
        due.chain(left_alone).chain(overdue).filter(|due| *due > self.now).min()
    }

    /// Whether leases of others hold something of what a request lacks, and may be idle.
    pub(super) fn others_hold(&self, request: &Request) -> bool {
        #[cfg(test)]
        if self.plain {
            return self.others_hold_plainly(request);
        }
        let holder = request.holder();
        let (need, free) = (&request.need, self.ledger.available());
        let helps = |kind: &Kind| kind.hold.iter().any(|(name, _)| need.get(name) > free.get(name));
        self.leases.returning().kinds().any(|kind| *kind.holder != holder && helps(kind))
    }

    fn wanting(&self, key: &RequestKey) -> Option<Wanting> {
        let request = self.queue.get(key)?;
        let reserves = self.reserver.as_ref().is_some_and(|reserver| reserver.key == *key);
        let starved_at = request.progress + STARVED_AFTER;
        Some(Wanting {
            key: *key,
            holder: request.holder(),
            depth: request.ask.depth,
            need: request.need.clone(),
            count: request.waiting,
            late_at: request.since.max(request.helped.unwrap_or_default()) + YIELD_AFTER,
            starved_at,
            starved: reserves && starved_at <= self.now,
        })
    }

    fn recall_idle(&mut self, wanting: &[Wanting], out: &mut Vec<Action>) {
        for wanting in wanting {
            let lacks = wanting.lacks(self.ledger.available());
            for number in self.leases.returning().untold(|kind| wanting.helped_by(kind, &lacks)) {
                self.tell(number, Recalled::WhenIdle, out);
            }
        }
    }

    fn recall_now(&mut self, late: &[&Wanting], out: &mut Vec<Action>) {
        let (told, helped) = self.who_yields(late);
        for number in told {
            self.tell(number, Recalled::Now, out);
        }
        for key in helped {
            if let Some(request) = self.queue.get_mut(&key) {
                request.helped = Some(self.now);
            }
        }
    }

    /// The leases that are to yield, in order, and for whom they do.
    fn who_yields(&self, late: &[&Wanting]) -> (Vec<u64>, Vec<RequestKey>) {
        let (mut told, mut helped) = (Victims::default(), Vec::new());
        if late.is_empty() {
            return (told.in_order, helped);
        }
        // How things will be when what was recalled already is back. What runs a long task is not waited for: others yield.
        let mut coming = self.ledger.available().clone();
        let mut accounts = Imagined::of(self.ledger.accounts());
        for (kind, count) in self.leases.returning().expected() {
            let gives = kind.hold.times(count);
            coming.add(&gives);
            accounts.give(&kind.holder, &gives);
        }
        for wanting in late {
            // For what comes nobody must yield.
            let met = wanting.met_by(&coming);
            let takes = wanting.need.times(met);
            coming.sub(&takes);
            accounts.take(&wanting.holder, &takes);
            for _ in met..wanting.count {
                let before = told.in_order.len();
                if !self.make_room(wanting, &mut told, &mut coming, &mut accounts) {
                    break;
                }
                if told.in_order.len() > before {
                    helped.push(wanting.key);
                }
                coming.sub(&wanting.need);
                accounts.take(&wanting.holder, &wanting.need);
                if wanting.need.is_empty() {
                    break;
                }
            }
        }
        (told.in_order, helped)
    }

    /// Adds the leases whose return makes room for one lease of `wanting`; none, and `false`, if what may be asked is not
    /// enough. `coming` and `accounts` are then as if they were back.
    fn make_room(
        &self,
        wanting: &Wanting,
        told: &mut Victims,
        coming: &mut ResourceSet,
        accounts: &mut Imagined<'_>,
    ) -> bool {
        let before = told.in_order.len();
        while !wanting.need.fits(coming) {
            let Some((number, kind)) = self.victim(wanting, told, coming, accounts) else {
                for number in told.in_order.drain(before..) {
                    told.all.remove(&number);
                    let Some(lease) = self.leases.get(number) else { continue };
                    coming.sub(&lease.gives());
                    accounts.take(&lease.holder, &lease.gives());
                }
                return false;
            };
            coming.add(&kind.hold);
            accounts.give(&kind.holder, &kind.hold);
            told.in_order.push(number);
            told.all.insert(number);
        }
        true
    }

    /// The next: the largest holder's; of those, the one that was leased first.
    fn victim(
        &self,
        wanting: &Wanting,
        told: &Victims,
        coming: &ResourceSet,
        accounts: &Imagined<'_>,
    ) -> Option<(u64, &Kind)> {
        let total = self.ledger.total();
        let lacks = wanting.lacks(coming);
        let may = |kind: &Kind| {
            wanting.outranks(kind)
                && wanting.helped_by(kind, &lacks)
                && (wanting.starved || accounts.holds_more(&kind.holder, &wanting.holder, total))
        };
        let first = |(kind, group): (_, &BTreeSet<u64>)| {
            let number = group.iter().find(|number| !told.all.contains(number))?;
            Some((*number, kind))
        };
        let size = |(number, kind): &(u64, &Kind)| (Reverse(accounts.size(&kind.holder, total)), *number);
        let kinds = self.leases.returning().ripe().filter(|(kind, _)| may(kind));
        kinds.filter_map(first).min_by_key(size)
    }

    fn tell(&mut self, number: u64, how: Recalled, out: &mut Vec<Action>) {
        let now = self.now;
        let told = self.leases.change(number, |lease| {
            lease.recalled = how;
            lease.yields_since = (how == Recalled::Now).then_some(now);
            lease.holder.owner
        });
        if let Some(to) = told {
            let id = LeaseId { node: self.node, number };
            out.push(Action::Recall { lease: id, to, yield_now: how == Recalled::Now });
        }
    }
}
