//! Who is served: those that wait, in their turn, until nobody can be.

#[cfg(test)]
mod plain;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::ops::Bound;
use std::time::Duration;

use actinic_transport::NodeId;

use super::RayletCore;
use super::groups::{Group, GroupId, Place};
use super::messages::{Action, RequestKey};
use super::place::SPREAD_PATIENCE;
use super::policy::{HOPS_MAX, NEAR_PATIENCE, SPILL_AGAIN_AFTER, SPILLS_MAX};
use super::queue::{Queue, Rank, Request, Reserver, Verdict, Waits};
use super::recall::WANTING_MAX;
use crate::resources::ResourceSet;

/// A request that others can pass reserves when it was not served for so long.
pub(super) const RESERVE_AFTER: Duration = Duration::from_millis(250);

/// What one pass over the requests remembers.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// What is asked elsewhere: said together at the end.
    pub(super) spills: BTreeMap<(RequestKey, NodeId), u32>,
    /// Shapes that no other node has room for: not looked for again.
    pub(super) nowhere: BTreeSet<ResourceSet>,
    /// Of groups whose requests are looked at one by one: the last that was put off.
    put_off: BTreeMap<GroupId, (Place, RequestKey)>,
    /// Who waits for this node's resources, and was looked at by itself.
    waiting: Vec<RequestKey>,
}

/// Who is next: the first of a group, or the reserver, though its group must wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    First(GroupId),
    Reserver(RequestKey),
}

impl RayletCore {
    /// Serve whoever can be served. Returns the first who wait for this node's resources, in order.
    pub(super) fn serve(&mut self, out: &mut Vec<Action>) -> Vec<RequestKey> {
        self.sort();
        if self.queue.is_empty() {
            self.reserver = None;
            return Vec::new();
        }
        self.reserver = self.find_reserver();
        self.queue.begin_pass();
        let mut pass = Pass::default();
        #[cfg(test)]
        if self.plain {
            return self.serve_plainly(pass, out);
        }
        let heads = self
            .queue
            .groups
            .waiting()
            .filter_map(|(id, group)| Some(Reverse((self.head(id, group, &pass)?.0, Next::First(id)))));
        let mut heap: BinaryHeap<Reverse<(Rank, Next)>> = heads.collect();
        while let Some(Reverse((rank, next))) = heap.pop() {
            self.sort();
            let Some((now, key)) = self.next(next, &pass) else { continue };
            // Ranks grow as leases are granted: one that grew since it was put here waits for its turn again.
            if now > rank {
                heap.push(Reverse((now, next)));
                continue;
            }
            if let Some(group) = self.try_one(&key, &mut pass, out) {
                let reserves = self.reserver.as_ref().map(|reserver| reserver.key);
                let reserves = reserves.filter(|key| self.queue.get(key).is_some_and(|request| request.group == group));
                let reserves = reserves.map(Next::Reserver);
                heap.extend(reserves.and_then(|next| Some(Reverse((self.next(next, &pass)?.0, next)))));
            } else {
                heap.push(Reverse((now, next)));
            }
        }
        self.end_pass(pass, out)
    }

    /// Puts those that wait in their order.
    fn sort(&mut self) {
        let changed = self.ledger.changed();
        self.queue.shares_changed(changed);
        self.queue.sort(self.ledger.accounts(), self.ledger.total());
    }

    /// The first of a group that was not put off.
    fn head(&self, id: GroupId, group: &Group, pass: &Pass) -> Option<(Rank, RequestKey)> {
        let after = pass.put_off.get(&id).map_or(Bound::Unbounded, |last| Bound::Excluded(*last));
        let unseen = |(_, key): &&(Place, RequestKey)| {
            self.queue.get(key).is_some_and(|request| !self.queue.was_judged(request))
        };
        let (place, key) = group.order.range((after, Bound::Unbounded)).find(unseen)?;
        Some((Queue::rank_at(&group.alike, *place, self.ledger.accounts(), self.ledger.total()), *key))
    }

    fn next(&self, next: Next, pass: &Pass) -> Option<(Rank, RequestKey)> {
        match next {
            Next::First(id) => {
                let group = self.queue.groups.get(id).filter(|group| self.queue.all_wait(group).is_none())?;
                self.head(id, group, pass)
            }
            Next::Reserver(key) => {
                let request = self.queue.get(&key)?;
                (request.waiting > 0 && !self.queue.was_judged(request)).then(|| (self.rank(request), key))
            }
        }
    }

    /// Looks at one request's next lease; its group, if all of that must wait.
    fn try_one(&mut self, key: &RequestKey, pass: &mut Pass, out: &mut Vec<Action>) -> Option<GroupId> {
        match self.judge(key, pass) {
            Verdict::Here => self.place_here(key, out),
            Verdict::There(node, count) => self.place_there(key, node, count, pass),
            Verdict::Refuse(why) => self.refuse(key, why, out),
            Verdict::Wait(why) => {
                let now = self.now;
                self.queue.put_off(key, why, now);
                let request = self.queue.get(key)?;
                let (group, place) = (request.group, request.place);
                if self.speaks_for_all(request, why) {
                    self.queue.put_off_all(group, why);
                    return Some(group);
                }
                pass.put_off.extend(place.map(|place| (group, (place, *key))));
                if why == Waits::Resources {
                    pass.waiting.push(*key);
                }
            }
        }
        None
    }

    /// Whether all that are alike must wait as this one does. The reserver may have what others may not.
    fn speaks_for_all(&self, request: &Request, why: Waits) -> bool {
        #[cfg(test)]
        if self.plain {
            return false;
        }
        let is_here = matches!(why, Waits::Resources | Waits::Workers | Waits::HeldBack { .. });
        let reserves = self.reserver.as_ref().is_some_and(|reserver| reserver.key == request.ask.key());
        self.queue.groups.get(request.group).is_some_and(|group| {
            let alike = &group.alike;
            // One that was sent on as often as it may be goes on when it has waited: each when it has.
            alike.is_plain && is_here && !reserves && (self.cluster.peers.is_empty() || alike.spilled < SPILLS_MAX)
        })
    }

    /// Says what was sent on. Who waits for this node's resources, in order: no more than are recalled for.
    fn end_pass(&mut self, mut pass: Pass, out: &mut Vec<Action>) -> Vec<RequestKey> {
        self.tell_spills(std::mem::take(&mut pass.spills), out);
        self.sort();
        let (accounts, total) = (self.ledger.accounts(), self.ledger.total());
        let mut waiting: Vec<(Rank, RequestKey)> = Vec::new();
        for (_, group) in self.queue.groups.waiting() {
            if self.queue.all_wait(group) == Some(Waits::Resources) {
                let itself =
                    |key: &RequestKey| self.queue.get(key).and_then(|request| self.queue.waits_by_itself(request));
                let waiting_alike =
                    group.order.iter().filter(|(_, key)| itself(key).is_none_or(|why| why == Waits::Resources));
                let first = waiting_alike.take(WANTING_MAX);
                waiting.extend(first.map(|(place, key)| (Queue::rank_at(&group.alike, *place, accounts, total), *key)));
            }
        }
        let by_itself = |key: RequestKey| {
            let request = self.queue.get(&key).filter(|request| request.waiting > 0)?;
            let of_all = self.queue.groups.get(request.group).and_then(|group| self.queue.all_wait(group));
            (of_all != Some(Waits::Resources)).then(|| (self.rank(request), key))
        };
        waiting.extend(pass.waiting.into_iter().filter_map(by_itself));
        waiting.sort_unstable();
        waiting.truncate(WANTING_MAX);
        waiting.into_iter().map(|(_, key)| key).collect()
    }

    fn rank(&self, request: &Request) -> Rank {
        Queue::rank(request, self.ledger.accounts(), self.ledger.total())
    }

    /// Who reserves now, and whoever did so for long enough does not (ORDER-3).
    fn find_reserver(&mut self) -> Option<Reserver> {
        let mut found = self.who_reserves()?;
        let until = self.reserver.as_ref().filter(|before| before.key == found.key).map(|before| before.until);
        match until {
            Some(until) if until <= self.now => {
                self.leases.awaited_in_vain();
                if let Some(request) = self.queue.get_mut(&found.key) {
                    request.lapses += 1;
                }
                self.who_reserves()
            }
            until => {
                found.until = until.unwrap_or(found.until);
                Some(found)
            }
        }
    }

    fn who_reserves(&self) -> Option<Reserver> {
        #[cfg(test)]
        if self.plain {
            return self.who_reserves_plainly();
        }
        let mut returning = self.ledger.available().clone();
        returning.add(self.leases.returning().sum());
        self.queue.reserver(RESERVE_AFTER, self.now, &returning, self.leases.returning().holds())
    }

    fn tell_spills(&mut self, spills: BTreeMap<(RequestKey, NodeId), u32>, out: &mut Vec<Action>) {
        for ((key, node), count) in spills {
            let Some(request) = self.queue.get_mut(&key) else {
                continue;
            };
            request.spilling -= count;
            let (open, spilled) = (request.open(), request.ask.spilled.saturating_add(1).min(HOPS_MAX));
            out.push(Action::Spill { request: key.1, to: key.0, node, count, spilled, open });
            if open == 0 {
                self.close_request(&key);
            }
        }
    }

    /// When a request may be judged otherwise though nothing happened.
    pub(super) fn next_look(&self) -> Option<Duration> {
        let until = |why| match why {
            Some(Waits::HeldBack { until } | Waits::Node { until, .. }) => Some(until),
            Some(Waits::New | Waits::Resources | Waits::Workers | Waits::Infeasible) | None => None,
        };
        let look = |request: &Request| {
            let waits = until(self.queue.waits_by_itself(request));
            let later = [NEAR_PATIENCE, SPREAD_PATIENCE, RESERVE_AFTER, SPILL_AGAIN_AFTER];
            let later = later.map(|after| request.progress + after);
            waits.into_iter().chain(later).filter(|due| *due > self.now).min()
        };
        let together = self.queue.groups.waiting().filter_map(|(_, group)| until(self.queue.all_wait(group)));
        let together = together.filter(|due| *due > self.now);
        let lapses = self.reserver.as_ref().map(|reserver| reserver.until);
        let waiting = self.queue.iter().filter(|(_, request)| request.waiting > 0);
        waiting.filter_map(|(_, request)| look(request)).chain(together).chain(lapses).min()
    }
}
