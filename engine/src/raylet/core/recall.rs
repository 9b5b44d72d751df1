//! Asking holders for what others wait for.
//!
//! An owner keeps a lease warm while it may need it again. So at once, whoever holds what a waiting request lacks is
//! asked to return it when idle (idle leases count as available, the raylet just cannot see which they are). After
//! [`YIELD_AFTER`] leases are asked to yield after the task that runs: as many as it takes, from whoever holds more
//! than the waiting one does, the largest holder first. Shares only ever get more equal that way, so two greedy
//! drivers end at half each; where that is not whole, one lease changes hands once in [`YIELD_AFTER`].

use std::cmp::Reverse;
use std::time::Duration;

use super::leases::OVERDUE_AFTER;
use super::ledger::{Accounts, Holder};
use super::messages::{Action, LeaseId, RequestKey};
use super::queue::Request;
use super::{Lease, RayletCore, Recalled};
use crate::resources::ResourceSet;

/// How long a request waits before leases yield to it, and how long a lease is left alone at least.
const YIELD_AFTER: Duration = Duration::from_millis(100);
/// After so long, what reserves may take from whoever holds less, too: else it could wait for ever.
const STARVED_AFTER: Duration = Duration::from_secs(1);

/// For so many requests leases are recalled at a time, the first in the order: more would find little left to recall.
const WANTING_MAX: usize = 64;

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

impl Wanting {
    /// What it needs and `free` has not.
    fn lacks(&self, free: &ResourceSet) -> ResourceSet {
        let lacks = |(name, amount): (&_, crate::resources::Quantity)| {
            (amount > free.get(name)).then(|| (name.clone(), amount))
        };
        self.need.iter().filter_map(lacks).collect()
    }

    /// Whether `lease` holds something of what is lacking. What it has in leases of this key its owner uses anyway.
    fn helped_by(&self, lease: &Lease, lacks: &ResourceSet) -> bool {
        let own = *lease.holder == self.holder;
        lease.returns() && !own && lease.gives().iter().any(|(name, _)| lacks.get(name).steps() > 0)
    }

    /// What a task of the job waits for does not yield to its parent's peers: it would be served first again.
    fn outranks(&self, lease: &Lease) -> bool {
        lease.holder.job != self.holder.job || lease.depth <= self.depth
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
        self.recall_idle(&wanting, out);
        let late: Vec<&Wanting> = wanting.iter().filter(|wanting| wanting.late_at <= self.now).collect();
        self.recall_now(&late, out);
        let due = wanting.iter().flat_map(|wanting| [wanting.late_at, wanting.starved_at]);
        let left_alone = self.leases.returning().filter(|(_, lease)| lease.recalled < Recalled::Now);
        let left_alone = left_alone.map(|(_, lease)| lease.since + YIELD_AFTER);
        let overdue = self.leases.returning().filter_map(|(_, lease)| lease.yields_since);
        let overdue = overdue.map(|since| since + OVERDUE_AFTER);
        due.chain(left_alone).chain(overdue).filter(|due| *due > self.now).min()
    }

    /// Whether leases of others hold something of what a request lacks, and may be idle.
    pub(super) fn others_hold(&self, request: &Request) -> bool {
        let holder = request.holder();
        let (need, free) = (&request.need, self.ledger.available());
        let helps = |lease: &Lease| lease.gives().iter().any(|(name, _)| need.get(name) > free.get(name));
        self.leases.returning().any(|(_, lease)| *lease.holder != holder && helps(lease))
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
        let mut untold: Vec<u64> = self
            .leases
            .returning()
            .filter(|(_, lease)| lease.recalled == Recalled::No)
            .map(|(number, _)| number)
            .collect();
        for wanting in wanting {
            if untold.is_empty() {
                return;
            }
            let lacks = wanting.lacks(self.ledger.available());
            let helps = |number: &u64| self.leases.get(*number).is_some_and(|lease| wanting.helped_by(lease, &lacks));
            let (tell, rest) = untold.into_iter().partition(helps);
            untold = rest;
            for number in tell {
                self.tell(number, Recalled::WhenIdle, out);
            }
        }
    }

    fn recall_now(&mut self, late: &[&Wanting], out: &mut Vec<Action>) {
        if late.is_empty() {
            return;
        }
        // How things will be when what was recalled already is back. What runs a long task is not waited for: others yield.
        let mut coming = self.ledger.available().clone();
        let mut accounts = self.ledger.accounts().clone();
        let recalled = self.leases.returning().filter(|(_, lease)| lease.recalled == Recalled::Now);
        for (_, lease) in recalled.filter(|(_, lease)| !lease.is_overdue(self.now)) {
            coming.add(&lease.gives());
            accounts.give(&lease.holder, &lease.gives());
        }
        for wanting in late {
            for _ in 0..wanting.count {
                let Some(victims) = self.victims(wanting, &mut coming, &mut accounts) else {
                    break;
                };
                if let Some(request) = self.queue.get_mut(&wanting.key).filter(|_| !victims.is_empty()) {
                    request.helped = Some(self.now);
                }
                for number in victims {
                    self.tell(number, Recalled::Now, out);
                }
                coming.sub(&wanting.need);
                accounts.take(&wanting.holder, &wanting.need);
                if wanting.need.is_empty() {
                    break;
                }
            }
        }
    }

    /// Leases whose return makes room for one lease of `wanting`; none if what may be asked is not enough. `coming`
    /// and `accounts` are then as if they were back.
    fn victims(&self, wanting: &Wanting, coming: &mut ResourceSet, accounts: &mut Accounts) -> Option<Vec<u64>> {
        let mut victims: Vec<u64> = Vec::new();
        while !wanting.need.fits(coming) {
            let Some((number, lease)) = self.victim(wanting, &victims, coming, accounts) else {
                for lease in victims.iter().filter_map(|number| self.leases.get(*number)) {
                    coming.sub(&lease.gives());
                    accounts.take(&lease.holder, &lease.gives());
                }
                return None;
            };
            coming.add(&lease.gives());
            accounts.give(&lease.holder, &lease.gives());
            victims.push(number);
        }
        Some(victims)
    }

    /// The next: the largest holder's; of those, the one that was leased first.
    fn victim(
        &self,
        wanting: &Wanting,
        victims: &[u64],
        coming: &ResourceSet,
        accounts: &Accounts,
    ) -> Option<(u64, &Lease)> {
        let total = self.ledger.total();
        let lacks = wanting.lacks(coming);
        let may = |(number, lease): &(u64, &Lease)| {
            lease.recalled < Recalled::Now
                && lease.since + YIELD_AFTER <= self.now
                && !victims.contains(number)
                && wanting.outranks(lease)
                && wanting.helped_by(lease, &lacks)
                && (wanting.starved || accounts.holds_more(&lease.holder, &wanting.holder, total))
        };
        let size = |(number, lease): &(u64, &Lease)| (Reverse(accounts.size(&lease.holder, total)), *number);
        self.leases.returning().filter(may).min_by_key(size)
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
