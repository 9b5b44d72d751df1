//! The node's workers, pooled by job.
//!
//! A worker is starting, idle or leased. Leases that were placed and have no worker yet wait here, first come first
//! served; whichever worker of the job is ready first, started or returned, is theirs (POOL-1). No more workers
//! start than leases wait for one, or were asked for ahead of need (POOL-2); of the idle, the one used last is used
//! next, and the others age until they are asked whether they own what somebody may ask for, and are stopped if not
//! (POOL-3); those of an ended job are stopped at once, but for those that ran what outlives it, which are asked however few
//! they are (POOL-5). A worker that becomes an actor's home ends with the actor, and so has never run a task, of which it might
//! own what somebody refers to (POOL-4).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use actinic_transport::NodeId;
use uuid::Uuid;

use super::idle::{Age, Idle, Mark, Pen};
use super::messages::{Action, WorkerKind};
use crate::ids::{JobId, WorkerId};

/// How long an idle worker above the soft limit stays.
const IDLE_KEPT: Duration = Duration::from_secs(1);
/// When one that owns something is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// The pause after a failed start; doubled for each further round.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// So many rounds of starts that fail in a row fail those who wait, unless other workers of theirs show that it can be done.
const ROUNDS_MAX: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerState {
    Starting,
    Idle {
        since: Duration,
    },
    /// With how many leases: more than one only on a shared host.
    Leased {
        leases: u32,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Worker {
    pub(super) job: JobId,
    pub(super) kind: WorkerKind,
    pub(super) state: WorkerState,
    /// It may have run tasks.
    used: bool,
    /// Some of them outlive the job: what they made may be asked for when the job is over.
    outlives_job: bool,
    /// When its start was asked for.
    begun: Duration,
    /// Where it is among the idle of its pen, while it is.
    place: u64,
    /// The lease that it went to last; of all but a shared host the only one that it can have.
    pub(super) lease: u64,
}

impl Worker {
    fn pen(&self) -> Pen {
        (self.job, self.kind)
    }
}

/// Starts that failed. Those begun together fail together, for want of memory, say: they are one round.
#[derive(Clone, Copy, Debug)]
struct Faults {
    rounds: u32,
    /// When the last round's first failed.
    at: Duration,
    retry_at: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Pool {
    node: NodeId,
    started: u128,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    idle: Idle,
    hosts: BTreeMap<JobId, WorkerId>,
    /// Each lease with whether its worker ends with it.
    waiting: BTreeMap<Pen, VecDeque<(u64, bool)>>,
    starting: BTreeMap<Pen, u32>,
    faults: BTreeMap<Pen, Faults>,
    /// Workers that were asked while they were idle whether anything needs them.
    asked: BTreeSet<WorkerId>,
    /// Jobs that ended, as long as they are remembered.
    ended: BTreeSet<JobId>,
}

impl Pool {
    pub(super) fn new(node: NodeId) -> Self {
        Self {
            node,
            started: 0,
            workers: BTreeMap::new(),
            idle: Idle::default(),
            hosts: BTreeMap::new(),
            waiting: BTreeMap::new(),
            starting: BTreeMap::new(),
            faults: BTreeMap::new(),
            asked: BTreeSet::new(),
            ended: BTreeSet::new(),
        }
    }

    /// A worker for this lease now, or the promise of one: it then waits here. `ends` says that the worker ends with the
    /// lease.
    pub(super) fn take(&mut self, job: JobId, kind: WorkerKind, lease: u64, ends: bool) -> Option<WorkerId> {
        let ready = self.ready(job, kind, ends);
        match ready {
            Some(worker) => self.employ(worker, lease, ends),
            None => self.waiting.entry((job, kind)).or_default().push_back((lease, ends)),
        }
        ready
    }

    fn ready(&self, job: JobId, kind: WorkerKind, ends: bool) -> Option<WorkerId> {
        let idle = self.idle.next((job, kind), ends);
        idle.or_else(|| {
            let host = self.hosts.get(&job).filter(|_| kind == WorkerKind::SharedHost)?;
            self.workers.get(host).filter(|host| host.state != WorkerState::Starting).map(|_| *host)
        })
    }

    fn employ(&mut self, id: WorkerId, lease: u64, ends: bool) {
        if let Some(worker) = self.workers.get_mut(&id) {
            let leases = match worker.state {
                WorkerState::Leased { leases } => leases + 1,
                WorkerState::Starting => 1,
                WorkerState::Idle { since } => {
                    self.idle.remove(worker.pen(), worker.place, (since, id));
                    1
                }
            };
            worker.used |= !ends;
            worker.state = WorkerState::Leased { leases };
            worker.lease = lease;
        }
    }

    /// It runs tasks that outlive its job.
    pub(super) fn outlives_job(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.outlives_job = true;
        }
    }

    /// A lease gave the worker up. It is idle once no lease is left on it.
    pub(super) fn release(&mut self, id: WorkerId, now: Duration) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        match worker.state {
            WorkerState::Leased { leases } if leases > 1 => worker.state = WorkerState::Leased { leases: leases - 1 },
            WorkerState::Leased { .. } => self.rest(id, now),
            WorkerState::Starting | WorkerState::Idle { .. } => {}
        }
    }

    fn rest(&mut self, id: WorkerId, now: Duration) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.state = WorkerState::Idle { since: now };
            let mark = Mark { asked: self.asked.contains(&id), over: self.ended.contains(&worker.job) };
            worker.place = self.idle.add(worker.pen(), (now, id), mark, worker.used);
            if mark.over && !worker.outlives_job {
                self.idle.leave(worker.pen(), worker.place, id);
            }
        }
    }

    /// It is ready: true, unless it was stopped while it started.
    pub(super) fn ready_now(&mut self, id: WorkerId, now: Duration) -> bool {
        let Some(worker) = self.workers.get(&id).copied() else {
            return false;
        };
        if worker.state == WorkerState::Starting {
            self.started_one((worker.job, worker.kind));
            self.faults.remove(&(worker.job, worker.kind));
            self.rest(id, now);
        }
        true
    }

    fn started_one(&mut self, pen: Pen) {
        if let Some(count) = self.starting.get_mut(&pen) {
            *count -= 1;
            if *count == 0 {
                self.starting.remove(&pen);
            }
        }
    }

    /// Leases that waited and the workers that are theirs now.
    pub(super) fn pair(&mut self) -> Vec<(u64, WorkerId)> {
        let mut pairs = Vec::new();
        let pens: Vec<Pen> = self.waiting.keys().copied().collect();
        for (job, kind) in pens {
            while let Some((at, lease, ends)) = self.next_waiting((job, kind)) {
                let Some(worker) = self.ready(job, kind, ends) else { break };
                self.employ(worker, lease, ends);
                self.forget_at((job, kind), at);
                pairs.push((lease, worker));
            }
        }
        pairs
    }

    /// The first lease that waits and can have one of the idle workers; else the first.
    fn next_waiting(&self, pen: Pen) -> Option<(usize, u64, bool)> {
        let waiting = self.waiting.get(&pen)?;
        if let Some((lease, false)) = waiting.front() {
            return Some((0, *lease, false));
        }
        let only_used = self.idle.only_used(pen);
        let at = waiting.iter().position(|(_, ends)| !(only_used && *ends)).unwrap_or(0);
        waiting.get(at).map(|(lease, ends)| (at, *lease, *ends))
    }

    fn forget_at(&mut self, pen: Pen, at: usize) {
        if let Some(waiting) = self.waiting.get_mut(&pen) {
            waiting.remove(at);
            if waiting.is_empty() {
                self.waiting.remove(&pen);
            }
        }
    }

    /// The lease waits for a worker no longer.
    pub(super) fn forget(&mut self, job: JobId, kind: WorkerKind, lease: u64) {
        if let Some(waiting) = self.waiting.get_mut(&(job, kind)) {
            waiting.retain(|(other, _)| *other != lease);
            if waiting.is_empty() {
                self.waiting.remove(&(job, kind));
            }
        }
    }

    /// How many leases wait for a worker.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    /// Start what is missing, at most `limit` at a time.
    pub(super) fn start_missing(&mut self, limit: u32, now: Duration, out: &mut Vec<Action>) {
        let pens: Vec<(Pen, usize)> = self.waiting.iter().map(|(pen, waiting)| (*pen, waiting.len())).collect();
        for (pen, waiting) in pens {
            let wanted = match pen.1 {
                WorkerKind::Slot => u32::try_from(waiting).unwrap_or(u32::MAX),
                WorkerKind::SharedHost => 1,
            };
            if self.faults.get(&pen).is_none_or(|faults| faults.retry_at <= now) {
                self.start_up_to(pen, wanted, limit, now, out);
            }
        }
    }

    /// Have `count` workers idle or starting, at most `limit` starting at a time.
    pub(super) fn prestart(&mut self, job: JobId, count: u32, limit: u32, now: Duration, out: &mut Vec<Action>) {
        let pen = (job, WorkerKind::Slot);
        let idle = u32::try_from(self.idle.len(pen)).unwrap_or(u32::MAX);
        self.start_up_to(pen, count.saturating_sub(idle), limit, now, out);
    }

    fn start_up_to(&mut self, pen: Pen, wanted: u32, limit: u32, now: Duration, out: &mut Vec<Action>) {
        let elsewhere = self.starting.iter().filter(|(other, _)| **other != pen).map(|(_, count)| count).sum::<u32>();
        let wanted = wanted.min(limit.saturating_sub(elsewhere));
        while self.starting.get(&pen).copied().unwrap_or(0) < wanted {
            self.started += 1;
            // Unique in the cluster because the node's id is; no chance is needed, and a replay gives the same.
            let worker = WorkerId(Uuid::from_u128(self.node.0.as_u128() ^ self.started));
            *self.starting.entry(pen).or_default() += 1;
            if pen.1 == WorkerKind::SharedHost {
                self.hosts.insert(pen.0, worker);
            }
            let (job, kind, state) = (pen.0, pen.1, WorkerState::Starting);
            let worker_of =
                Worker { job, kind, state, used: false, outlives_job: false, begun: now, place: 0, lease: 0 };
            self.workers.insert(worker, worker_of);
            out.push(Action::StartWorker { worker, job: pen.0, kind: pen.1 });
        }
    }

    /// It is gone. What it was, if it was known.
    pub(super) fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        let worker = self.workers.remove(&id)?;
        self.asked.remove(&id);
        let pen = (worker.job, worker.kind);
        match worker.state {
            WorkerState::Starting => self.started_one(pen),
            WorkerState::Idle { since } => self.idle.remove(pen, worker.place, (since, id)),
            WorkerState::Leased { .. } => {}
        }
        if self.hosts.get(&worker.job) == Some(&id) {
            self.hosts.remove(&worker.job);
        }
        Some(worker)
    }

    pub(super) fn stop(&mut self, id: WorkerId, out: &mut Vec<Action>) {
        if self.remove(id).is_some() {
            out.push(Action::StopWorker { worker: id });
        }
    }

    /// A start failed. The leases that it fails, if it was one too many.
    pub(super) fn failed(&mut self, id: WorkerId, permanent: bool, now: Duration) -> Vec<u64> {
        let Some(worker) = self.remove(id) else {
            return Vec::new();
        };
        let pen = (worker.job, worker.kind);
        let faults = self.faults.entry(pen).or_insert(Faults { rounds: 0, at: now, retry_at: now });
        if faults.rounds == 0 || worker.begun > faults.at {
            let pause = RETRY_AFTER * 2_u32.pow(faults.rounds.min(ROUNDS_MAX - 1));
            *faults = Faults { rounds: faults.rounds.saturating_add(1), at: now, retry_at: now + pause };
        }
        let rounds = faults.rounds;
        let started = |worker: &Worker| (worker.job, worker.kind) == pen && worker.state != WorkerState::Starting;
        if !permanent && (rounds < ROUNDS_MAX || self.workers.values().any(started)) {
            return Vec::new();
        }
        self.faults.remove(&pen);
        self.waiting.get(&pen).map(|waiting| waiting.iter().map(|(lease, _)| *lease).collect()).unwrap_or_default()
    }

    /// A worker's answer. One that was leased meanwhile stays.
    pub(super) fn needed(&mut self, id: WorkerId, needed: bool, now: Duration, out: &mut Vec<Action>) {
        if !self.asked.remove(&id) {
            return;
        }
        let Some(Worker { state: WorkerState::Idle { since }, .. }) = self.workers.get_mut(&id) else { return };
        if needed {
            let before = std::mem::replace(since, now + ASK_AGAIN - IDLE_KEPT);
            self.idle.ask_again((before, id), *since);
        } else {
            self.stop(id, out);
        }
    }

    /// Ask what was idle for long above the limit whether it may go, and stop what an ended job left.
    pub(super) fn trim(&mut self, limit: usize, now: Duration, out: &mut Vec<Action>) {
        let left = self.idle.left().filter(|(pen, _)| !self.waiting.contains_key(pen));
        for (_, worker) in left.collect::<Vec<_>>() {
            self.stop(worker, out);
        }
        self.idle.set_limit(limit);
        while let Some(age) = self.idle.to_ask().filter(|(since, _)| *since + IDLE_KEPT <= now) {
            self.asked.insert(age.1);
            self.idle.mark(age, |mark| mark.asked = true);
            out.push(Action::AskWorker { worker: age.1 });
        }
    }

    /// When the next idle worker is due to be stopped, or the next failed start is tried again.
    pub(super) fn next_due(&self, now: Duration) -> Option<Duration> {
        let trim = self.idle.to_ask().map(|(since, _)| since + IDLE_KEPT);
        let retries =
            self.faults.iter().filter(|(pen, faults)| self.waiting.contains_key(pen) && faults.retry_at > now);
        retries.map(|(_, faults)| faults.retry_at).chain(trim).min()
    }

    /// The job ended: only leased workers stay, as many starting ones as leases still wait for, and what ran tasks that
    /// outlive it.
    pub(super) fn end_job(&mut self, job: JobId, out: &mut Vec<Action>) {
        let unleased = |(id, worker): (&WorkerId, &Worker)| {
            (worker.job == job && !matches!(worker.state, WorkerState::Leased { .. })).then_some((*id, *worker))
        };
        let unleased: Vec<_> = self.workers.iter().filter_map(unleased).collect();
        self.ended.insert(job);
        for (id, worker) in unleased {
            let wanted = self.waiting.get(&worker.pen()).map_or(0, VecDeque::len);
            let needed = self.starting.get(&worker.pen()).is_some_and(|starting| *starting as usize <= wanted);
            if !worker.outlives_job && (worker.state != WorkerState::Starting || !needed) {
                self.stop(id, out);
            } else if let WorkerState::Idle { since } = worker.state {
                self.idle.mark((since, id), |mark| mark.over = true);
            }
        }
        self.faults.retain(|pen, _| pen.0 != job);
    }

    /// So many jobs ended since that this one is not known to have ended any more.
    pub(super) fn forget_job(&mut self, job: JobId) {
        self.ended.remove(&job);
        for kind in [WorkerKind::Slot, WorkerKind::SharedHost] {
            for id in self.idle.of((job, kind)).collect::<Vec<_>>() {
                let Some(worker) = self.workers.get(&id) else { continue };
                if let WorkerState::Idle { since } = worker.state {
                    self.idle.mark((since, id), |mark| mark.over = false);
                    self.idle.stay(worker.pen(), worker.place, id);
                }
            }
        }
    }
}

#[cfg(test)]
impl Pool {
    /// That what is kept of the idle is what can be counted from the workers alone.
    pub(super) fn assert_sound(&self, limit: usize, ended: impl Fn(JobId) -> bool) {
        let idle_since = |(id, worker): (&WorkerId, &Worker)| match worker.state {
            WorkerState::Idle { since } => Some((since, *id)),
            WorkerState::Starting | WorkerState::Leased { .. } => None,
        };
        let mut idle: Vec<Age> = self.workers.iter().filter_map(idle_since).collect();
        idle.sort_unstable();
        let of_pen = self.idle.pens().map(|pen| self.idle.len(pen)).sum::<usize>();
        assert_eq!(of_pen, idle.len(), "the idle are in their pens, and nobody else");
        let above = idle.len().saturating_sub(limit);
        let over = |(at, age): (usize, &Age)| at < above || ended(self.workers[&age.1].job);
        let ageing = idle.iter().enumerate().filter(|(at, age)| over((*at, age))).map(|(_, age)| *age);
        let first = ageing.into_iter().find(|(_, id)| !self.asked.contains(id));
        assert_eq!(self.idle.to_ask(), first, "POOL-3, POOL-5: who is asked next");
        let mut left = Vec::new();
        for pen in self.idle.pens() {
            let unused = self.idle.of(pen).filter(|id| !self.workers[id].used).last();
            assert_eq!(self.idle.next(pen, true), unused, "POOL-4: an actor's worker has run no task");
            assert_eq!(self.idle.next(pen, false), self.idle.of(pen).last(), "POOL-3: used last, used next");
            assert!(self.idle.of(pen).all(|id| self.workers[&id].pen() == pen));
            left.extend(self.idle.of(pen).filter(|id| ended(pen.0) && !self.workers[id].outlives_job));
        }
        assert!(self.idle.left().map(|(_, id)| id).eq(left), "POOL-5: what an ended job left");
    }
}
