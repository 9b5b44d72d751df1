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

use super::ledger::{Accounts, Holder};
use super::messages::{LeaseRequest, Purpose, RefuseReason, RequestKey};
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
    pub(super) waits: Waits,
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
pub(super) type Rank = (u64, u64, JobId, Reverse<u32>, u64, u64, u64, u64, u64);

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
}

impl Queue {
    /// A request came that is not open yet.
    pub(super) fn insert(&mut self, ask: LeaseRequest, now: Duration) {
        let key = ask.key();
        self.arrivals += 1;
        let request = Request {
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
            infeasible_since: None,
            told_infeasible: false,
            ask,
        };
        self.requests.insert(key, Box::new(request));
    }

    /// From now on `backlog` are wanted, says the owner, who has heard of so many leases. What it has not heard of, and what
    /// starts, counts first; the caller takes back what starts in excess.
    pub(super) fn set_backlog(&mut self, key: &RequestKey, (backlog, heard): (u32, u32), now: Duration) {
        let Some(request) = self.requests.get_mut(key) else {
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
        self.requests.get_mut(key).map(|request| &mut **request)
    }

    pub(super) fn remove(&mut self, key: &RequestKey) -> Option<Request> {
        self.requests.remove(key).map(|request| *request)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&RequestKey, &Request)> {
        self.requests.iter().map(|(key, request)| (key, &**request))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Leases that wait here for what this node has.
    pub(super) fn waiting(&self) -> u32 {
        let here = |request: &&Request| !matches!(request.waits, Waits::Infeasible | Waits::Node { .. });
        self.iter().map(|(_, request)| request).filter(here).fold(0, |sum, request| sum.saturating_add(request.waiting))
    }

    /// Where it stands now. A rank only grows while leases are granted, never falls.
    pub(super) fn rank(request: &Request, accounts: &Accounts, total: &ResourceSet) -> Rank {
        let (job, owner) = (accounts.job(request.ask.job), accounts.owner(request.ask.from));
        // As leases are recalled: what a class gave up for another would be its own again.
        let class = accounts.class(request.ask.from, request.ask.key, &request.ask.shape);
        (
            job.map_or(0, |account| account.held.dominant_share(total)),
            job.map_or(0, |account| account.turn),
            request.ask.job,
            Reverse(request.ask.depth),
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
        let unserved = |request: &&Request| {
            request.waiting > 0
                && request.waits == Waits::Resources
                && request.progress + after <= now
                && request.need.fits(returning)
        };
        let unserved: Vec<&Request> = self.iter().map(|(_, request)| request).filter(unserved).collect();
        if unserved.is_empty() {
            return None;
        }
        let mut shapes: BTreeSet<&ResourceSet> = leased.collect();
        shapes.extend(self.requests.values().filter(|other| other.waiting > 0).map(|other| &other.need));
        let can_be_passed = |request: &&Request| shapes.iter().any(|shape| passes(shape, &request.need));
        let request =
            unserved.into_iter().filter(can_be_passed).min_by_key(|request| (request.progress, request.arrival))?;
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
