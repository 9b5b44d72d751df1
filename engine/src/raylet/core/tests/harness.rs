//! One core, its events and what it answered.

use std::time::Duration;

use actinic_transport::{ClusterId, NodeId, ProcessId};
use uuid::Uuid;

use super::super::*;
use crate::ids::OwnerId;
use crate::resources::{Quantity, ResourceName};

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn node(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(number << 64))
}

pub(super) fn job(number: u128) -> JobId {
    JobId(Uuid::from_u128(number))
}

pub(super) fn process(on: u128, number: u128) -> ProcessId {
    ProcessId { cluster: ClusterId(Uuid::nil()), node: node(on), incarnation: Uuid::from_u128(number) }
}

pub(super) fn owner_on(on: u128, number: u128) -> OwnerId {
    OwnerId { process: process(on, number), number: 0 }
}

pub(super) fn owner(number: u128) -> OwnerId {
    owner_on(1, number)
}

pub(super) fn cpus(amount: u32) -> ResourceSet {
    ResourceSet::cpus(Quantity::whole(amount))
}

pub(super) fn set(amounts: &[(&str, f64)]) -> ResourceSet {
    let name = |name: &str| ResourceName::try_from(name).expect("a name");
    amounts.iter().map(|(n, amount)| (name(n), Quantity::parse(&name(n), *amount).expect("an amount"))).collect()
}

/// A request of one owner for leases of one CPU, to be changed.
pub(super) fn ask(from: OwnerId, id: u64, backlog: u32) -> LeaseRequest {
    LeaseRequest {
        id: RequestId(id),
        from,
        job: job(1),
        key: 0,
        shape: cpus(1),
        backlog,
        depth: 0,
        outlives_job: false,
        scheduling: Scheduling::Default,
        fails: false,
        locality: Vec::new(),
        avoids: Vec::new(),
        spilled: 0,
        purpose: Purpose::Tasks,
    }
}

pub(super) fn actor(number: u128, hold: ResourceSet, host: Host) -> Purpose {
    Purpose::Actor { actor: ActorId(Uuid::from_u128(number)), hold, host }
}

/// One core whose workers start at once, unless it is told otherwise.
pub(super) struct Bench {
    pub(super) core: RayletCore,
    pub(super) now: Duration,
    pub(super) starts: bool,
    /// Workers that own something.
    pub(super) needed: BTreeSet<WorkerId>,
    /// Everything since it was last looked at.
    pub(super) out: Vec<Action>,
}

impl Bench {
    pub(super) fn new(total: ResourceSet) -> Self {
        let mut bench = Self {
            core: RayletCore::new(node(1), total),
            now: ms(0),
            starts: true,
            needed: BTreeSet::new(),
            out: Vec::new(),
        };
        bench.tell(Event::Tick);
        bench.out.clear();
        bench
    }

    pub(super) fn tell(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let mut out = Vec::new();
            let mut answers = Vec::new();
            self.core.handle(self.now, event, &mut out);
            for action in &out {
                match action {
                    Action::StartWorker { worker, .. } if self.starts => {
                        events.push(Event::WorkerStarted { worker: *worker });
                    }
                    Action::AskWorker { worker } => answers.push((*worker, self.needed.contains(worker))),
                    _ => {}
                }
            }
            if !answers.is_empty() {
                events.push(Event::WorkersAnswered { answers });
            }
            self.out.append(&mut out);
        }
        assert_sound(&self.core);
    }

    pub(super) fn ask(&mut self, ask: LeaseRequest) -> Vec<LeaseId> {
        self.out.clear();
        self.tell(Event::RequestLease(ask));
        self.granted()
    }

    /// Leases granted since last looked, in order.
    pub(super) fn granted(&mut self) -> Vec<LeaseId> {
        self.grants().into_iter().map(|(lease, ..)| lease).collect()
    }

    pub(super) fn grants(&mut self) -> Vec<(LeaseId, OwnerId, WorkerId)> {
        let grant = |action: &Action| match action {
            Action::Grant { lease, to, worker, .. } => Some((*lease, *to, *worker)),
            _ => None,
        };
        let grants = self.out.iter().filter_map(grant).collect();
        self.out.retain(|action| grant(action).is_none());
        grants
    }

    pub(super) fn give_back(&mut self, lease: LeaseId) {
        self.tell(Event::ReturnLease { lease, reusable: true });
    }

    /// Let time pass, in steps no longer than asked for.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.core.wish.filter(|due| *due <= until) {
            self.now = due;
            self.tell(Event::Tick);
        }
        self.now = until;
        self.tell(Event::Tick);
    }

    pub(super) fn available(&self) -> ResourceSet {
        self.core.view().available
    }

    /// (node, count) of what was sent on since last looked.
    pub(super) fn spills(&mut self) -> Vec<(NodeId, u32)> {
        let spill = |action: &Action| match action {
            Action::Spill { node, count, .. } => Some((*node, *count)),
            _ => None,
        };
        let spills = self.out.iter().filter_map(spill).collect();
        self.out.retain(|action| spill(action).is_none());
        spills
    }

    /// (lease, yield now) of what was recalled since last looked.
    pub(super) fn recalls(&mut self) -> Vec<(LeaseId, bool)> {
        let recall = |action: &Action| match action {
            Action::Recall { lease, yield_now, .. } => Some((*lease, *yield_now)),
            _ => None,
        };
        let recalls = self.out.iter().filter_map(recall).collect();
        self.out.retain(|action| recall(action).is_none());
        recalls
    }

    pub(super) fn refused(&self) -> Vec<&RefuseReason> {
        self.out.iter().filter_map(refusal).collect()
    }

    pub(super) fn count(&self, which: impl Fn(&Action) -> bool) -> usize {
        self.out.iter().filter(|action| which(action)).count()
    }

    /// Another node, all of it free.
    pub(super) fn peer(&mut self, number: u128, total: ResourceSet) {
        self.peer_with(number, total.clone(), total);
    }

    pub(super) fn peer_with(&mut self, number: u128, total: ResourceSet, available: ResourceSet) {
        let view = View { total, available, queued: 0, draining: false };
        self.tell(Event::NodeViews { views: vec![(node(number), view)] });
    }
}

/// The same event to a core and to one that is `plain`: it must come to the same.
pub(super) fn handle_both(
    core: &mut RayletCore,
    plain: &mut RayletCore,
    now: Duration,
    event: Event,
    out: &mut Vec<Action>,
) {
    let mut plainly = Vec::new();
    plain.handle(now, event.clone(), &mut plainly);
    core.handle(now, event, out);
    assert_eq!(*out, plainly, "groups and sums say what each lease by itself says");
    assert_eq!(core.wish, plain.wish);
    core.leases.assert_sound();
}

fn refusal(action: &Action) -> Option<&RefuseReason> {
    match action {
        Action::Refuse { why, .. } => Some(why),
        _ => None,
    }
}

/// LEASE-2, and what the tables must agree on after every event.
pub(super) fn assert_sound(core: &RayletCore) {
    core.pool.assert_sound(core.cpus() as usize, |job| core.ended_jobs.contains(&job));
    core.cluster.assert_sound();
    let snapshot = core.snapshot();
    let mut accounted = snapshot.view.available.clone();
    for lease in &snapshot.leases {
        accounted.add(&lease.holds);
        accounted.sub(&lease.lends);
    }
    assert_eq!(accounted, snapshot.view.total, "LEASE-2: total = available + held - lent");
    let starting = snapshot.leases.iter().filter(|lease| lease.worker.is_none()).count();
    let promised: u32 = snapshot.queue.iter().map(|request| request.starting).sum();
    assert_eq!(starting, promised as usize, "every placed lease belongs to an open request");
    assert_eq!(starting, core.pool.waiting(), "every placed lease waits for a worker");
    for request in &snapshot.queue {
        let granted = core.queue.get(&(request.owner, request.request)).map_or(0, |request| request.granted);
        let expects = request.waiting + request.starting > 0;
        assert!(expects || granted > 0, "LEASE-3: an open request expects something, or its owner will hear of it");
        assert!(!expects || request.reason.is_some(), "LEASE-3: what waits has a reason: {request:?}");
    }
    for worker in &snapshot.workers {
        let on_it = snapshot.leases.iter().filter(|lease| lease.worker == Some(worker.worker)).count();
        let leases = if let WorkerState::Leased { leases } = worker.state { leases as usize } else { 0 };
        assert_eq!(on_it, leases, "a worker knows its leases");
        if let (WorkerKind::Slot, 1) = (worker.kind, leases) {
            let lease = core.leases.get(core.pool.workers[&worker.worker].lease);
            assert_eq!(lease.and_then(|lease| lease.worker), Some(worker.worker), "and which it is");
        }
        assert!(worker.kind == WorkerKind::SharedHost || on_it <= 1, "one lease a worker");
    }
}
