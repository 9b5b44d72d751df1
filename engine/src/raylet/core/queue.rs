//! Requests that are open, and in which order they are served.
//!
//! Order (ORDER-1): the job that holds least first, so that greedy jobs share; within a job the deepest first,
//! because something is blocked on it; then the owner that holds least, and of its classes the one that does; among equals whoever was served longest ago;
//! then first come, first served. Who does not fit is passed over. A request that others could pass over for ever
//! reserves (ORDER-2): see [`Queue::reserver`]. It reserves for a while only, and not again against what did not come
//! back in that while (ORDER-3): one long task beside one large request would stop the node for everybody.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actinic_transport::NodeId;

use super::groups::{Alike, Group, GroupId, Groups, Place};
use super::ledger::{Accounts, Changed, Holder};
use super::messages::{LeaseRequest, Purpose, RefuseReason, RequestId, RequestKey};
use crate::ids::JobId;
use crate::resources::ResourceSet;

/// How long a request reserves at first, and how often that is doubled at most.
const RESERVE_FOR: Duration = Duration::from_secs(1);
const LAPSES_MAX: u32 = 3;

/// Why a request is not granted now. Kept on it, to be told to whoever asks, and to know what would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// Nobody looked yet.
    New,
    /// For what others hold on this node.
    Resources,
    /// So many of its class are blocked already that one more must wait until then.
    HeldBack { until: Duration },
    /// For workers that start.
    Workers,
    /// For a node that has what it asks.
    Infeasible,
    /// For word of the node it asks for, until then.
    Node { node: NodeId, until: Duration },
}

/// An open request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) ask: LeaseRequest,
    /// What must be free for one lease.
    pub(super) need: ResourceSet,
    arrival: u64,
    /// Leases not placed yet.
    pub(super) waiting: u32,
    /// Leases placed here whose worker is not ready.
    pub(super) starting: u32,
    /// Leases that were granted.
    pub(super) granted: u32,
    /// Leases to be asked elsewhere, of which the owner is told at the end of this pass.
    pub(super) spilling: u32,
    /// Of a `Spread` request: how many of the waiting were dealt to this node.
    pub(super) dealt_here: u32,
    /// How many were sent to where their arguments lie though that node looked full.
    pub(super) crowding: u32,
    /// Since when leases of it have waited without a break.
    pub(super) since: Duration,
    /// When it was last served, or came.
    pub(super) progress: Duration,
    /// When leases were last made to yield for it.
    pub(super) helped: Option<Duration>,
    /// How often it has reserved in vain.
    pub(super) lapses: u32,
    /// What it waits for, as it was in the pass in which it was last looked at by itself.
    waits: Waits,
    judged: u64,
    /// Which are alike to it, and where it stands among them if something of it waits.
    pub(super) group: GroupId,
    pub(super) place: Option<Place>,
    pub(super) infeasible_since: Option<Duration>,
    /// Its owner knows that no node has what it asks.
    pub(super) told_infeasible: bool,
}

impl Request {
    pub(super) fn holder(&self) -> Holder {
        Holder { job: self.ask.job, owner: self.ask.from, shape: self.ask.shape.clone(), key: self.ask.key }
    }

    /// What the owner still expects of it.
    pub(super) fn open(&self) -> u32 {
        self.waiting.saturating_add(self.starting).saturating_add(self.spilling)
    }

    /// Leases that its owner, who has heard of so many, does not know of yet.
    pub(super) fn on_their_way(&self, heard: u32) -> u32 {
        self.granted.saturating_sub(heard)
    }

    pub(super) fn is_tasks(&self) -> bool {
        self.ask.purpose == Purpose::Tasks
    }
}

/// A request's place in the order; the least is served first.
pub(super) type Rank = (u64, u64, JobId, Reverse<u32>, Place);

/// A request that reserves: the others leave it what it needs (ORDER-2).
#[derive(Clone, Debug)]
pub(super) struct Reserver {
    pub(super) key: RequestKey,
    job: JobId,
    depth: u32,
    pub(super) need: ResourceSet,
    /// Until when (ORDER-3).
    pub(super) until: Duration,
}

impl Reserver {
    /// How long a request reserves that has done so in vain before: longer each time, so that in the end it is served
    /// beside tasks of any length up to the longest of these.
    fn lasts(lapses: u32) -> Duration {
        RESERVE_FOR * 2_u32.pow(lapses.min(LAPSES_MAX))
    }

    /// What a task of the same job waits for may pass: else one that holds what the reserver needs might never end.
    fn lets_pass(&self, ask: &LeaseRequest) -> bool {
        self.key == ask.key() || (self.job == ask.job && self.depth < ask.depth)
    }

    /// Whether `need` may be taken from `available` now.
    pub(super) fn admits(this: Option<&Self>, ask: &LeaseRequest, need: &ResourceSet, available: &ResourceSet) -> bool {
        match this {
            Some(reserver) if !reserver.lets_pass(ask) => need.fits_beside(available, &reserver.need),
            _ => need.fits(available),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// Boxed: the tree has one place for eleven, and comes and goes with nearly each of an actor.
    requests: BTreeMap<RequestKey, Box<Request>>,
    arrivals: u64,
    pub(super) groups: Groups,
    /// Those that may stand elsewhere now.
    moved: Vec<RequestKey>,
    /// How often those that wait were looked at.
    passes: u64,
}

impl Queue {
    /// A request came that is not open yet.
    pub(super) fn insert(&mut self, ask: LeaseRequest, now: Duration) {
        let key = ask.key();
        self.arrivals += 1;
        self.moved.push(key);
        let request = Request {
            group: self.groups.join(&ask),
            place: None,
            need: ask.need(),
            arrival: self.arrivals,
            waiting: ask.backlog,
            starting: 0,
            granted: 0,
            spilling: 0,
            dealt_here: 0,
            crowding: 0,
            since: now,
            progress: now,
            helped: None,
            lapses: 0,
            waits: Waits::New,
            judged: 0,
            infeasible_since: None,
            told_infeasible: false,
            ask,
        };
        self.requests.insert(key, Box::new(request));
    }

    /// From now on `backlog` are wanted, says the owner, who has heard of so many leases. What it has not heard of, and what
    /// starts, counts first; the caller takes back what starts in excess.
    pub(super) fn set_backlog(&mut self, key: &RequestKey, (backlog, heard): (u32, u32), now: Duration) {
        let Some(request) = self.get_mut(key) else {
            return;
        };
        if request.waiting == 0 {
            request.since = now;
            request.progress = now;
        }
        request.waiting = backlog.saturating_sub(request.starting.saturating_add(request.on_their_way(heard)));
        request.dealt_here = request.dealt_here.min(request.waiting);
    }

    pub(super) fn get(&self, key: &RequestKey) -> Option<&Request> {
        self.requests.get(key).map(|request| &**request)
    }

    pub(super) fn get_mut(&mut self, key: &RequestKey) -> Option<&mut Request> {
        let request = self.requests.get_mut(key)?;
        self.moved.push(*key);
        Some(request)
    }

    pub(super) fn remove(&mut self, key: &RequestKey) -> Option<Request> {
        let request = *self.requests.remove(key)?;
        self.groups.leave(request.group, request.place, *key);
        Some(request)
    }

    // ---- their order

    /// What these owners hold has changed, or what all do.
    pub(super) fn shares_changed(&mut self, whose: Changed) {
        match whose {
            Changed::All => self.moved.extend(self.requests.keys()),
            Changed::Of(owners) => {
                for owner in owners {
                    let all = (owner, RequestId(0))..=(owner, RequestId(u64::MAX));
                    self.moved.extend(self.requests.range(all).map(|(key, _)| *key));
                }
            }
        }
    }

    /// Puts whoever may stand elsewhere where it stands now.
    pub(super) fn sort(&mut self, accounts: &Accounts, total: &ResourceSet) {
        let mut moved = std::mem::take(&mut self.moved);
        moved.sort_unstable();
        moved.dedup();
        for key in moved.drain(..) {
            let Some(request) = self.requests.get_mut(&key) else { continue };
            let to = (request.waiting > 0).then(|| Queue::place(request, accounts, total));
            let from = std::mem::replace(&mut request.place, to);
            self.groups.put(request.group, key, from, to);
        }
        self.moved = moved;
    }

    // ---- what they wait for

    pub(super) fn begin_pass(&mut self) {
        self.passes += 1;
    }

    /// It was looked at in this pass, and waits.
    pub(super) fn put_off(&mut self, key: &RequestKey, why: Waits, now: Duration) {
        let pass = self.passes;
        let Some(request) = self.requests.get_mut(key) else { return };
        // One that was not looked at by itself in between could have run.
        let was_infeasible = request.waits == Waits::Infeasible && request.judged + 1 >= pass;
        if !was_infeasible {
            (request.infeasible_since, request.told_infeasible) = (None, false);
        }
        if why == Waits::Infeasible {
            request.infeasible_since.get_or_insert(now);
        } else {
            (request.infeasible_since, request.told_infeasible) = (None, false);
        }
        (request.waits, request.judged) = (why, pass);
    }

    /// All that are alike wait for the same.
    pub(super) fn put_off_all(&mut self, group: GroupId, why: Waits) {
        self.groups.wait(group, self.passes, why);
    }

    /// What all of a group wait for, if one has spoken for them.
    pub(super) fn all_wait(&self, group: &Group) -> Option<Waits> {
        group.waits.filter(|(pass, _)| *pass == self.passes).map(|(_, why)| why)
    }

    /// Whether it was looked at by itself in this pass.
    pub(super) fn was_judged(&self, request: &Request) -> bool {
        request.judged == self.passes
    }

    /// What a request waits for.
    pub(super) fn waits(&self, request: &Request) -> Waits {
        let alike = || self.groups.get(request.group).and_then(|group| self.all_wait(group));
        if self.was_judged(request) { request.waits } else { alike().unwrap_or(request.waits) }
    }

    /// The same, of what nobody else speaks for.
    pub(super) fn waits_by_itself(&self, request: &Request) -> Option<Waits> {
        self.was_judged(request).then_some(request.waits)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&RequestKey, &Request)> {
        self.requests.iter().map(|(key, request)| (key, &**request))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Leases that wait here for what this node has.
    pub(super) fn waiting(&self) -> u32 {
        let elsewhere = |why| matches!(why, Some(Waits::Infeasible | Waits::Node { .. }));
        let here = |request: &&Request| !elsewhere(self.waits_by_itself(request));
        self.iter().map(|(_, request)| request).filter(here).fold(0, |sum, request| sum.saturating_add(request.waiting))
    }

    /// Where it stands now. A rank only grows while leases are granted, never falls.
    pub(super) fn rank(request: &Request, accounts: &Accounts, total: &ResourceSet) -> Rank {
        let place = Self::place(request, accounts, total);
        Self::rank_at(&Alike::of(&request.ask), place, accounts, total)
    }

    /// The same, of one that stands there in its group.
    pub(super) fn rank_at(alike: &Alike, place: Place, accounts: &Accounts, total: &ResourceSet) -> Rank {
        let job = accounts.job(alike.job);
        let share = job.map_or(0, |account| account.held.dominant_share(total));
        (share, job.map_or(0, |account| account.turn), alike.job, alike.depth, place)
    }

    fn place(request: &Request, accounts: &Accounts, total: &ResourceSet) -> Place {
        let owner = accounts.owner(request.ask.from);
        // As leases are recalled: what a class gave up for another would be its own again.
        let class = accounts.class(request.ask.from, request.ask.key, &request.ask.shape);
        (
            owner.map_or(0, |account| account.held.dominant_share(total)),
            owner.map_or(0, |account| account.turn),
            class.map_or(0, |account| account.held.dominant_share(total)),
            class.map_or(0, |account| account.turn),
            request.arrival,
        )
    }

    /// Who reserves now: of those unserved for `after`, whoever was served longest ago.
    ///
    /// Only a request that smaller ones could pass over for ever reserves: leases of one shape are shared by rank
    /// alone. And only against what running tasks give back (`returning`, with what is free): what blocked tasks
    /// and actors hold may never come, and waiting for it would starve the others, or deadlock.
    pub(super) fn reserver<'a>(
        &'a self,
        after: Duration,
        now: Duration,
        returning: &ResourceSet,
        leased: impl Iterator<Item = &'a ResourceSet>,
    ) -> Option<Reserver> {
        let mut shapes: BTreeSet<&ResourceSet> = leased.collect();
        shapes.extend(self.groups.waiting().map(|(_, group)| &group.need));
        let can_be_passed = |need: &ResourceSet| shapes.iter().any(|shape| passes(shape, need));
        let groups = self.groups.waiting().map(|(_, group)| group);
        let groups = groups.filter(|group| group.need.fits(returning) && can_be_passed(&group.need));
        let waiting = groups.flat_map(|group| &group.order).filter_map(|(_, key)| self.get(key));
        let unserved = |request: &&Request| request.progress + after <= now && self.waits(request) == Waits::Resources;
        let request = waiting.filter(unserved).min_by_key(|request| (request.progress, request.arrival))?;
        Some(Reserver {
            key: request.ask.key(),
            job: request.ask.job,
            depth: request.ask.depth,
            need: request.need.clone(),
            until: now + Reserver::lasts(request.lapses),
        })
    }
}

/// Whether `other` may fit where `need` does not, and takes of the same.
fn passes(other: &ResourceSet, need: &ResourceSet) -> bool {
    !need.fits(other) && other.iter().any(|(name, _)| need.get(name).steps() > 0)
}

/// What becomes of one lease of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Here, now.
    Here,
    /// So many of them there.
    There(NodeId, u32),
    Wait(Waits),
    Refuse(RefuseReason),
}
