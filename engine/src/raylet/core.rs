//! The raylet's decisions: who gets this node's resources and workers, and who is sent elsewhere.
//!
//! Plain data and one function, [`RayletCore::handle`]: no clock, no chance, no I/O. The same events at the same
//! times give the same actions. After every event the core settles: workers that became ready go to the leases that
//! wait for them, open requests are served in order ([`serve`], [`queue`]) where the policy wants them ([`policy`]), and of those
//! that must wait, the holders are asked for what they can spare ([`recall`]).
//!
//! Invariants, which the tests cite:
//!
//! - **LEASE-1** Nothing is granted beyond what is free. Only `Unblocked` takes without asking: it takes back what the
//!   task had lent, into debt if need be, and the debt is never forgotten.
//! - **LEASE-2** total = available + held − lent, exactly, always.
//! - **LEASE-3** Every lease of a request ends granted, spilled, refused or cancelled, or waits for a reason that
//!   [`RayletCore::explain`] names. What is told to the owner adds up: `open` counts down to 0, once. A request that
//!   has granted all that its owner wants, which has not heard of it all, stays until that one closes it.
//! - **LEASE-4** A lease ends once: by return, by its worker's death, by its owner's, by its job's end. Whatever is said
//!   of it later is ignored.
//! - **LEASE-5** A lease is recalled at most once when idle, and at most once now.
//! - **LEASE-6** What can run does run: when nothing happens any more, no request waits that fits.
//! - **ORDER-1** to **ORDER-3**: [`queue`]. **PLACE-1** to **PLACE-6**: [`policy`]. **POOL-1** to **POOL-5**: [`pool`].

mod faults;
mod groups;
mod idle;
mod leases;
mod ledger;
mod messages;
mod place;
mod policy;
mod pool;
mod queue;
mod recall;
mod report;
mod returning;
mod serve;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use actinic_transport::NodeId;

use self::leases::{Lease, Leases, Recalled};
use self::ledger::Ledger;
use self::policy::Cluster;
use self::pool::Pool;
use self::queue::{Queue, Reserver};
use crate::ids::{ActorId, JobId, OwnerId, WorkerId};
use crate::resources::ResourceSet;

pub(crate) use self::messages::{
    Action, Event, Host, LeaseId, LeaseRequest, Purpose, RefuseReason, RequestId, RequestKey, Scheduling, View,
    WorkerKind,
};
pub(crate) use self::pool::WorkerState;
pub(crate) use self::report::{LeaseRow, PendingReason, QueueRow, Snapshot, WorkerRow};

/// How many ended jobs are remembered, so that what they still had under way starts nothing.
const ENDED_JOBS_MAX: usize = 1024;

/// What becomes of a lease's worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WorkerFate {
    Reuse,
    Stop,
    Gone,
}

/// Task leases of one job, depth and shape. While so many of them are blocked that their CPUs would be leased again,
/// each further one starts later than the one before (RES-07, RES-09): what they wait for is likelier to be
/// something else than one more of them.
type Class = (JobId, u32, ResourceSet);

#[derive(Clone, Copy, Debug, Default)]
struct ClassState {
    live: u32,
    /// When one more may start, above the node's capacity.
    allowed_at: Option<Duration>,
}

/// The state of one node's raylet.
#[derive(Clone, Debug)]
pub(crate) struct RayletCore {
    node: NodeId,
    now: Duration,
    draining: bool,
    ledger: Ledger,
    pool: Pool,
    queue: Queue,
    cluster: Cluster,
    leases: Leases,
    granted: u64,
    classes: BTreeMap<Class, ClassState>,
    ended_jobs: VecDeque<JobId>,
    warned: BTreeSet<(JobId, ResourceSet)>,
    reserver: Option<Reserver>,
    reported: Option<(Duration, View)>,
    wish: Option<Duration>,
    /// It looks at each lease and request by itself: tests compare what it decides with what another decides by sums and groups.
    #[cfg(test)]
    plain: bool,
}

impl RayletCore {
    /// A node with these resources, no workers yet and no word of other nodes.
    pub(crate) fn new(node: NodeId, total: ResourceSet) -> Self {
        Self {
            node,
            now: Duration::ZERO,
            draining: false,
            ledger: Ledger::new(total),
            pool: Pool::new(node),
            queue: Queue::default(),
            cluster: Cluster::new(node),
            leases: Leases::default(),
            granted: 0,
            classes: BTreeMap::new(),
            ended_jobs: VecDeque::new(),
            warned: BTreeSet::new(),
            reserver: None,
            reported: None,
            wish: None,
            #[cfg(test)]
            plain: false,
        }
    }

    /// One event, at `now` since the raylet's start. What it asks for is appended to `out`, to be done in order.
    pub(crate) fn handle(&mut self, now: Duration, event: Event, out: &mut Vec<Action>) {
        self.now = self.now.max(now);
        self.apply(event, out);
        self.settle(out);
    }

    fn apply(&mut self, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::RequestLease(ask) => self.request(ask, out),
            Event::UpdateBacklog { from, id, backlog, heard } => self.set_backlog((from, id), backlog, heard, out),
            Event::ReturnLease { lease, reusable } => {
                let fate = if reusable { WorkerFate::Reuse } else { WorkerFate::Stop };
                if let Some(number) = self.known(lease) {
                    self.end_lease(number, fate, out);
                }
            }
            Event::Prestart { job, count } => {
                let count = count.min(self.cpus());
                self.pool.prestart(job, count, self.starting_max(), self.now, out);
            }
            Event::WorkerStarted { worker } => {
                if !self.pool.ready_now(worker, self.now) {
                    out.push(Action::StopWorker { worker });
                }
            }
            Event::WorkerFailedToStart { worker, reason, permanent } => {
                self.worker_failed(worker, reason, permanent, out);
            }
            Event::WorkerDied { worker } => self.worker_died(worker, out),
            Event::WorkersAnswered { answers } => {
                for (worker, needed) in answers {
                    self.pool.needed(worker, needed, self.now, out);
                }
            }
            Event::Blocked { lease } => self.block(lease),
            Event::Unblocked { lease } => self.unblock(lease),
            Event::OwnerDied { owner } => self.owners_died(owner..=owner, out),
            Event::ProcessDied { process } => self.owners_died(OwnerId::of(process), out),
            Event::JobEnded { job } => self.job_ended(job, out),
            Event::NodeViews { views } => {
                for (node, view) in views {
                    self.cluster.update(node, view, self.now);
                }
            }
            Event::NodeLost { node } => {
                self.cluster.lost(node);
                self.owners_lost(node, out);
            }
            Event::TotalChanged { total } => self.ledger.set_total(total),
            Event::Drain => self.draining = true,
            // The wish is spent, even if this came early.
            Event::Tick => self.wish = None,
        }
    }

    /// Do all that can be done now.
    fn settle(&mut self, out: &mut Vec<Action>) {
        self.pool.trim(self.cpus() as usize, self.now, out);
        let expiry = self.cluster.expire(self.now);
        self.pair(out);
        let waiting = self.serve(out);
        self.pool.start_missing(self.starting_max(), self.now, out);
        let recall = self.recall(&waiting, out);
        let warn = self.warn(out);
        let report = self.report(out);
        let due = [expiry, recall, warn, report, self.pool.next_due(self.now), self.next_look()];
        self.wish(due.into_iter().flatten().min(), out);
    }

    fn wish(&mut self, due: Option<Duration>, out: &mut Vec<Action>) {
        let due = due.filter(|due| *due > self.now);
        if due != self.wish {
            self.wish = due;
            out.extend(due.map(Action::NextTick));
        }
    }

    fn request(&mut self, ask: LeaseRequest, out: &mut Vec<Action>) {
        let (request, to) = (ask.id, ask.from);
        let refuse = |why| Action::Refuse { request, to, why };
        if ask.backlog == 0 {
            self.set_backlog(ask.key(), 0, 0, out);
        } else if !ask.shape.is_demand() || !ask.hold().is_demand() {
            out.push(refuse(RefuseReason::NotADemand { shape: ask.shape }));
        } else if self.ended_jobs.contains(&ask.job) && !ask.outlives_job {
            out.push(refuse(RefuseReason::JobEnded));
        } else if self.queue.get(&ask.key()).is_some() {
            self.set_backlog(ask.key(), ask.backlog, u32::MAX, out);
        } else {
            let key = ask.key();
            self.queue.insert(ask, self.now);
            if let Some(request) = self.queue.get(&key) {
                self.ledger.join(&request.holder());
            }
        }
    }

    /// The one place where a request ends. True if it was open.
    fn close_request(&mut self, key: &RequestKey) -> bool {
        let closed = self.queue.remove(key);
        if let Some(request) = &closed {
            self.ledger.leave(&request.holder());
        }
        closed.is_some()
    }

    /// The owner wants `backlog` from now on: what starts in excess of it is taken back, latest first.
    fn set_backlog(&mut self, key: RequestKey, backlog: u32, heard: u32, out: &mut Vec<Action>) {
        self.queue.set_backlog(&key, (backlog, heard), self.now);
        let of = |request: &queue::Request| (request.starting, backlog.saturating_sub(request.on_their_way(heard)));
        let (starting, wanted) = self.queue.get(&key).map_or((0, 0), of);
        self.cancel_starting(&key, starting.saturating_sub(wanted), out);
        if backlog == 0 {
            self.close_request(&key);
        }
    }

    /// Give up `count` leases of the request that wait for a worker.
    fn cancel_starting(&mut self, key: &RequestKey, count: u32, out: &mut Vec<Action>) {
        if count > 0 {
            let starting =
                |(number, lease): (u64, &Lease)| (lease.request() == *key && lease.worker.is_none()).then_some(number);
            let latest: Vec<u64> = self.leases.iter().rev().filter_map(starting).take(count as usize).collect();
            for number in latest {
                self.end_lease(number, WorkerFate::Reuse, out);
            }
        }
    }

    /// Whether leases of a request have what they need here, and wait for their workers.
    pub(crate) fn is_starting(&self, from: OwnerId, id: RequestId) -> bool {
        self.queue.get(&(from, id)).is_some_and(|request| request.starting > 0)
    }

    /// A lease that was granted and has not ended.
    fn known(&self, id: LeaseId) -> Option<u64> {
        let lease = self.leases.get(id.number).filter(|_| id.node == self.node)?;
        lease.worker.map(|_| id.number)
    }

    /// The one place where a lease ends (LEASE-4).
    fn end_lease(&mut self, number: u64, fate: WorkerFate, out: &mut Vec<Action>) {
        let Some(lease) = self.leases.remove(number) else {
            return;
        };
        self.ledger.close(&lease.holder, &lease.gives());
        self.leave_class(&lease);
        let Some(worker) = lease.worker else {
            self.pool.forget(lease.holder.job, lease.kind, number);
            if let Some(request) = self.queue.get_mut(&lease.request()) {
                request.starting = request.starting.saturating_sub(1);
            }
            return;
        };
        let dedicated = lease.actor.is_some() && lease.kind == WorkerKind::Slot;
        match fate {
            WorkerFate::Gone => {}
            // Others live on a shared host: it is stopped when it has been empty for a while.
            _ if lease.kind == WorkerKind::SharedHost => self.pool.release(worker, self.now),
            WorkerFate::Reuse if !dedicated => self.pool.release(worker, self.now),
            WorkerFate::Reuse | WorkerFate::Stop => self.pool.stop(worker, out),
        }
    }

    fn block(&mut self, lease: LeaseId) {
        let Some(number) = self.known(lease) else { return };
        let ledger = &mut self.ledger;
        self.leases.change(number, |lease| {
            if !lease.blocked {
                lease.blocked = true;
                ledger.give(&lease.holder, &lease.lends());
            }
        });
    }

    fn unblock(&mut self, lease: LeaseId) {
        let Some(number) = self.known(lease) else { return };
        let ledger = &mut self.ledger;
        self.leases.change(number, |lease| {
            if lease.blocked {
                ledger.take(&lease.holder, &lease.lends());
                lease.blocked = false;
            }
        });
    }

    /// Whole CPUs of this node, at least one.
    fn cpus(&self) -> u32 {
        u32::try_from(self.ledger.total().cpu().floor()).unwrap_or(u32::MAX).max(1)
    }

    /// How many workers may start at a time: a start costs a CPU some milliseconds, and more at a time are not faster.
    fn starting_max(&self) -> u32 {
        self.cpus().saturating_mul(2).max(4)
    }
}
