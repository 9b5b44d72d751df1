//! What the core decides by sums and groups, decided lease by lease: it must come to the same.

use std::cmp::Reverse;
use std::time::Duration;

use super::{Wanting, YIELD_AFTER};
use crate::raylet::core::RayletCore;
use crate::raylet::core::leases::{Lease, OVERDUE_AFTER, Recalled};
use crate::raylet::core::ledger::Accounts;
use crate::raylet::core::messages::Action;
use crate::raylet::core::queue::{Request, Reserver};
use crate::raylet::core::serve::RESERVE_AFTER;
use crate::resources::ResourceSet;

fn helped(wanting: &Wanting, lease: &Lease, lacks: &ResourceSet) -> bool {
    let own = *lease.holder == wanting.holder;
    lease.returns() && !own && lease.gives().iter().any(|(name, _)| lacks.get(name).steps() > 0)
}

fn outranks(wanting: &Wanting, lease: &Lease) -> bool {
    lease.holder.job != wanting.holder.job || lease.depth <= wanting.depth
}

impl RayletCore {
    fn returning_plainly(&self) -> impl Iterator<Item = (u64, &Lease)> {
        self.leases.iter().filter(|(_, lease)| lease.returns())
    }

    pub(in crate::raylet::core) fn who_reserves_plainly(&self) -> Option<Reserver> {
        let mut returning = self.ledger.available().clone();
        for (_, lease) in self.returning_plainly().filter(|(_, lease)| !lease.awaited) {
            returning.add(&lease.gives());
        }
        let held = self.returning_plainly().map(|(_, lease)| &lease.hold);
        self.queue.reserver(RESERVE_AFTER, self.now, &returning, held)
    }

    pub(super) fn others_hold_plainly(&self, request: &Request) -> bool {
        let holder = request.holder();
        let (need, free) = (&request.need, self.ledger.available());
        let helps = |lease: &Lease| lease.gives().iter().any(|(name, _)| need.get(name) > free.get(name));
        self.returning_plainly().any(|(_, lease)| *lease.holder != holder && helps(lease))
    }

    pub(super) fn recall_plainly(&mut self, wanting: &[Wanting], out: &mut Vec<Action>) -> Option<Duration> {
        for wanting in wanting {
            let lacks = wanting.lacks(self.ledger.available());
            let untold = |(_, lease): &(u64, &Lease)| lease.recalled == Recalled::No && helped(wanting, lease, &lacks);
            let tell: Vec<u64> = self.returning_plainly().filter(untold).map(|(number, _)| number).collect();
            tell.into_iter().for_each(|number| self.tell(number, Recalled::WhenIdle, out));
        }
        let late: Vec<&Wanting> = wanting.iter().filter(|wanting| wanting.late_at <= self.now).collect();
        self.recall_now_plainly(&late, out);
        let due = wanting.iter().flat_map(|wanting| [wanting.late_at, wanting.starved_at]);
        let left_alone = self.returning_plainly().filter(|(_, lease)| lease.recalled < Recalled::Now);
        let left_alone = left_alone.map(|(_, lease)| lease.since + YIELD_AFTER);
        let overdue = self.returning_plainly().filter_map(|(_, lease)| lease.yields_since);
        let overdue = overdue.map(|since| since + OVERDUE_AFTER);
        due.chain(left_alone).chain(overdue).filter(|due| *due > self.now).min()
    }

    fn recall_now_plainly(&mut self, late: &[&Wanting], out: &mut Vec<Action>) {
        let mut coming = self.ledger.available().clone();
        let mut accounts = self.ledger.accounts().clone();
        let recalled = self.returning_plainly().filter(|(_, lease)| lease.recalled == Recalled::Now);
        for (_, lease) in recalled.filter(|(_, lease)| !lease.is_overdue(self.now)) {
            coming.add(&lease.gives());
            accounts.give(&lease.holder, &lease.gives());
        }
        for wanting in late {
            for _ in 0..wanting.count {
                let Some(victims) = self.victims_plainly(wanting, &mut coming, &mut accounts) else { break };
                if let Some(request) = self.queue.get_mut(&wanting.key).filter(|_| !victims.is_empty()) {
                    request.helped = Some(self.now);
                }
                victims.into_iter().for_each(|number| self.tell(number, Recalled::Now, out));
                coming.sub(&wanting.need);
                accounts.take(&wanting.holder, &wanting.need);
                if wanting.need.is_empty() {
                    break;
                }
            }
        }
    }

    fn victims_plainly(
        &self,
        wanting: &Wanting,
        coming: &mut ResourceSet,
        accounts: &mut Accounts,
    ) -> Option<Vec<u64>> {
        let total = self.ledger.total();
        let mut victims: Vec<u64> = Vec::new();
        while !wanting.need.fits(coming) {
            let lacks = wanting.lacks(coming);
            let may = |(number, lease): &(u64, &Lease)| {
                lease.recalled < Recalled::Now
                    && lease.since + YIELD_AFTER <= self.now
                    && !victims.contains(number)
                    && outranks(wanting, lease)
                    && helped(wanting, lease, &lacks)
                    && (wanting.starved || accounts.holds_more(&lease.holder, &wanting.holder, total))
            };
            let size = |(number, lease): &(u64, &Lease)| (Reverse(accounts.size(&lease.holder, total)), *number);
            let Some((number, lease)) = self.returning_plainly().filter(may).min_by_key(size) else {
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
}
