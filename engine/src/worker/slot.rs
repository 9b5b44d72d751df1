//! A worker that runs tasks, one at a time: a strand with an inbox.
//!
//! Whoever leases the worker puts tasks into the inbox itself; only a sleeping thread costs a wake-up. What finished
//! is reported in batches: when the inbox is empty, when 64 have finished, or when the alarm finds a report waiting
//! behind a long task. A result's waiters are told at once; only the lease's bookkeeping waits.
//!
//! The inbox is locked by submitters for each task. So the worker takes all that is in it when it has run what it took
//! before, and has what it took behind a lock of its own, which others enter only to take tasks back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::api::error::Error;
use crate::events::Run;
use crate::ids::TaskId;
use crate::owner::Owner;
use crate::owner::dispatch::{Done, LeaseIx, run_time};
use crate::program::Call;
use crate::protocol::LeaseId;
use crate::worker::host::{Current, Entered, Host, OfTask, Running, Runs, enter};
use crate::worker::job::{Ended, Guarded, Job, call_sync, nanoseconds, owned_args};
use crate::worker::lending::{OfLeases, Waits};
use crate::worker::pool::{Pool, Strand, linger};
use crate::worker::remote;

/// A strand is drained for this long before others have their turn.
const TURN: Duration = Duration::from_millis(1);
const REPORT_AT: usize = 64;
/// A task that runs for this long sends back what was lent behind it.
pub(crate) const LONG: Duration = Duration::from_millis(5);

/// What submitters put in.
#[derive(Default)]
struct Inbox {
    jobs: VecDeque<Job>,
    /// A thread drains, or will; or an async job holds the slot.
    scheduled: bool,
    closed: bool,
}

/// What the worker took. Locked before the inbox, if both are.
#[derive(Default)]
struct Stage {
    /// They were put in before what is in the inbox now, and have not begun.
    jobs: VecDeque<Job>,
    /// When the job that runs began, by the pool's clock.
    since: Option<Duration>,
    /// The job that runs, if another process must be able to cancel it.
    running: Option<Job>,
    /// What waits under its lease.
    leases: OfLeases,
}

/// What finished and was not yet told.
#[derive(Default)]
struct Report {
    local: Option<(Arc<Owner>, LeaseIx)>,
    done: Vec<Done>,
    remote: Vec<remote::Reply>,
}

/// An execution slot.
pub(crate) struct TaskSlot {
    pub(crate) host: Arc<Host>,
    pool: Arc<Pool>,
    submitters: Apart<Submitters>,
    stage: Apart<Mutex<Stage>>,
    report: Mutex<Report>,
}

/// What submitters write.
#[derive(Default)]
struct Submitters {
    /// A job may be in the inbox: looked at without its lock by a thread that lingers.
    waiting: AtomicBool,
    inbox: Mutex<Inbox>,
}

/// On cache lines of its own (two, since they are fetched in pairs): what one thread writes does not cost the other.
#[derive(Default)]
#[repr(align(128))]
struct Apart<T>(T);

impl TaskSlot {
    pub(crate) fn new(host: Arc<Host>, pool: Arc<Pool>) -> Arc<TaskSlot> {
        let slot = Arc::new(TaskSlot {
            host,
            pool,
            submitters: Apart::default(),
            stage: Apart::default(),
            report: Mutex::default(),
        });
        slot.host.set_slot(&slot);
        slot
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        // No user code runs under the lock.
        self.submitters.0.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts jobs into the inbox; gives them back if the worker is dead.
    pub(crate) fn push(self: &Arc<Self>, jobs: impl IntoIterator<Item = Job>) -> Result<(), Vec<Job>> {
        let mut inbox = self.lock();
        if inbox.closed {
            return Err(jobs.into_iter().collect());
        }
        let behind = inbox.scheduled;
        inbox.jobs.extend(jobs);
        if inbox.jobs.is_empty() {
            return Ok(());
        }
        self.submitters.0.waiting.store(true, Ordering::Release);
        let wake = !std::mem::replace(&mut inbox.scheduled, true);
        let lent = behind || inbox.jobs.len() > 1;
        drop(inbox);
        if wake {
            self.pool.schedule(Arc::clone(self) as Arc<dyn Strand>);
        }
        if lent {
            self.host.process.want_slot_alarm();
        }
        Ok(())
    }

    /// Takes out everything that has not begun.
    pub(crate) fn take_back(&self) -> Vec<Job> {
        self.take_out(|_| true)
    }

    /// Takes out what has not begun of a lease that an owner in this process has; its numbers.
    pub(crate) fn take_back_lent(&self, owner: &Arc<Owner>, lease: LeaseIx) -> Vec<u64> {
        let lent = |job: &Job| matches!(job, Job::Local { task, lease: of, .. } if *of == lease && Arc::ptr_eq(&task.owner, owner));
        self.take_out(lent).iter().map(|job| job.id().seq).collect()
    }

    /// Takes out what has not begun and `is` so, in its order.
    fn take_out(&self, is: impl Fn(&Job) -> bool) -> Vec<Job> {
        let from = |jobs: &mut VecDeque<Job>| {
            let (out, kept) = std::mem::take(jobs).into_iter().partition::<VecDeque<Job>, _>(&is);
            *jobs = kept;
            out
        };
        let mut stage = self.stage();
        let mut out = from(&mut stage.jobs);
        out.append(&mut from(&mut self.lock().jobs));
        out.into()
    }

    /// Takes one job out, if it has not begun.
    pub(crate) fn take(&self, id: TaskId) -> Option<Job> {
        let mut stage = self.stage();
        if let Some(at) = stage.jobs.iter().position(|job| job.id() == id) {
            return stage.jobs.remove(at);
        }
        let mut inbox = self.lock();
        let at = inbox.jobs.iter().position(|job| job.id() == id)?;
        inbox.jobs.remove(at)
    }

    /// Gives lent jobs back to their owners: the running one takes long, or waits.
    pub(crate) fn give_back(&self) {
        let jobs = self.take_back();
        give_back(&self.host, jobs);
        self.flush();
    }

    /// A job whose arguments came from elsewhere, or did not.
    pub(crate) fn push_fetched(self: &Arc<Self>, job: Arc<remote::RemoteJob>, fetched: crate::api::error::Result<()>) {
        match fetched {
            Ok(()) => drop(self.push([Job::Remote(job)])),
            Err(error) => remote::send_replies(&self.host, vec![remote::Reply { job, outcome: Err(error), ns: 0 }]),
        }
    }

    /// Gives back what was lent under one lease and has not begun.
    pub(crate) fn give_back_lease(&self, lease: LeaseId) {
        let back = self.take_out(|job| matches!(job, Job::Remote(job) if job.lease == Some(lease)));
        give_back(&self.host, back);
        self.flush();
    }

    /// Cancels a job; `true` if it had not begun and never will.
    pub(crate) fn cancel(&self, id: TaskId) -> bool {
        match self.take(id) {
            Some(Job::Remote(job)) => {
                let error = Error::task_cancelled("the task was cancelled before it began");
                remote::send_replies(&self.host, vec![remote::Reply { job, outcome: Err(error), ns: 0 }]);
                true
            }
            Some(_) => true,
            None => {
                if let Some(Job::Remote(job)) = self.running().filter(|job| job.id() == id) {
                    job.cancel();
                    self.host.wake(id);
                }
                false
            }
        }
    }

    fn running(&self) -> Option<Job> {
        self.stage().running.clone()
    }

    fn of_task(&self, job: &Job) -> OfTask {
        OfTask { job: self.host.job(), outlives_job: job.outlives_job() }
    }

    /// The task of another process's that runs here now.
    pub(crate) fn runs_task(&self) -> Option<(TaskId, OfTask)> {
        self.running().map(|job| (job.id(), self.of_task(&job)))
    }

    /// Whether a job runs here now.
    pub(crate) fn runs(&self, id: TaskId) -> bool {
        self.running().is_some_and(|job| job.id() == id)
    }

    /// Whether no other job runs here now.
    pub(crate) fn runs_nothing_but(&self, id: TaskId) -> bool {
        self.running().is_none_or(|job| job.id() == id)
    }

    /// Whether a job of sync code runs here now.
    pub(crate) fn runs_sync(&self, id: TaskId) -> bool {
        let function = self.running().filter(|job| job.id() == id).and_then(|job| job.function());
        function.is_some_and(|function| matches!(function.call, Call::Sync(_)))
    }

    /// Whether a job is here and has not begun.
    pub(crate) fn has_waiting(&self, id: TaskId) -> bool {
        let stage = self.stage();
        stage.jobs.iter().any(|job| job.id() == id) || self.lock().jobs.iter().any(|job| job.id() == id)
    }

    /// The alarm's look: `true` if it wants another.
    pub(crate) fn look(&self, now: Duration) -> bool {
        let since = self.stage().since;
        if since.is_some_and(|since| now.saturating_sub(since) >= LONG) {
            self.give_back();
            return !self.lock().jobs.is_empty();
        }
        let inbox = self.lock();
        inbox.scheduled && !inbox.closed
    }

    /// The worker is gone: nothing runs any more. What had not begun is given out.
    pub(crate) fn close(&self) -> Vec<Job> {
        self.lock().closed = true;
        self.take_back()
    }

    /// The next job, which begins now.
    fn next(&self, now: Duration) -> Option<Job> {
        let mut stage = self.stage();
        if stage.jobs.is_empty() {
            let mut inbox = self.lock();
            std::mem::swap(&mut stage.jobs, &mut inbox.jobs);
            self.submitters.0.waiting.store(false, Ordering::Relaxed);
        }
        let job = stage.jobs.pop_front();
        stage.since = job.is_some().then_some(now);
        stage.running = job.as_ref().filter(|job| matches!(job, Job::Remote(_))).cloned();
        if !stage.leases.is_empty() {
            self.lend(&mut stage);
        }
        job
    }

    /// Something under a lease of this worker waits for what may need the lease's CPU, or does so no longer.
    pub(crate) fn waits(&self, lease: LeaseId, what: Waits, waits: bool) {
        let mut stage = self.stage();
        stage.leases.note(lease, what, waits);
        self.lend(&mut stage);
    }

    /// Tells the raylet what is lent: under the lock, for what is told last must be what is so.
    fn lend(&self, stage: &mut Stage) {
        let (runs, process) = (stage.since.is_some(), &self.host.process);
        stage.leases.look(runs, |message| process.tell_raylet(process.id.node, message));
    }

    /// Runs one job; `false` if an async job now holds the slot or the worker died.
    fn run(self: &Arc<Self>, job: Job, began: &mut Duration) -> bool {
        if job.is_cancelled() {
            let error = Error::task_cancelled("the task was cancelled before it began");
            self.done(job, Ended::Answered(Err(error)), *began, 0);
            return true;
        }
        let Some(entry) = job.function() else {
            let unknown = if let Job::Remote(job) = &job { job.unknown().cloned() } else { None };
            let error = unknown.unwrap_or_else(|| Error::task("an actor's call reached a task worker"));
            self.done(job, Ended::Answered(Err(error)), *began, 0);
            return true;
        };
        match entry.call {
            Call::Sync(call) => {
                let current = Current { host: Arc::clone(&self.host), job, runs: Runs::Alone };
                let ended = enter(&current, || call_sync(call, &current.job));
                let job = current.job;
                let now = self.host.process.env.now();
                let ns = run_time_of(now.saturating_sub(*began));
                *began = now;
                self.done(job, ended, now, ns)
            }
            Call::Async(call) => self.start_async(call, job, *began),
        }
    }

    /// `true` if the slot goes on at once: nothing was started.
    fn start_async(
        self: &Arc<Self>,
        call: fn(crate::call::OwnedTaskArgs) -> crate::program::BoxFuture<crate::program::Outcome>,
        job: Job,
        began: Duration,
    ) -> bool {
        let runtime = match self.host.process.runs_async() {
            Ok(runtime) => runtime,
            Err(error) => return self.done(job, Ended::Answered(Err(error)), began, 0),
        };
        let slot = Arc::clone(self);
        let running = Arc::new(Running::of_task(self.of_task(&job)));
        let current =
            Current { host: Arc::clone(&self.host), job: job.clone(), runs: Runs::Async(Arc::clone(&running)) };
        let process = Arc::clone(&self.host.process);
        process.async_began(job.id(), &running);
        if job.is_cancelled() {
            // Whoever cancelled it between the look and this did not find it.
            running.cancel();
        }
        let args = owned_args(&job);
        runtime.spawn(async move {
            let ended = match args {
                Ok(args) => {
                    let future = enter(&current, || call(args));
                    Entered::new(current, Guarded::new(future, Arc::clone(&running))).await
                }
                Err(error) => Ended::Answered(Err(error)),
            };
            let process = &slot.host.process;
            let (id, now) = (job.id(), process.env.now());
            let ns = run_time_of(now.saturating_sub(began));
            running.take_back(&slot.host);
            let left = running.left.load(Ordering::Acquire);
            let alive = slot.done(job, ended, now, ns);
            slot.flush();
            // Not before: as long as it runs its process is needed, and from then on for its answer.
            slot.host.process.async_ended(id, &running);
            if alive && !left {
                slot.resume();
            }
        });
        false
    }

    /// An async job no longer holds the slot.
    pub(crate) fn resume(self: &Arc<Self>) {
        self.stage().since = None;
        self.pool.schedule(Arc::clone(self) as Arc<dyn Strand>);
    }

    /// Tells the result of a run that ended then, after so many nanoseconds (0: it did not run); `false` if the worker died of
    /// it.
    fn done(self: &Arc<Self>, job: Job, ended: Ended, at: Duration, ns: u64) -> bool {
        let outcome = match ended {
            Ended::Answered(outcome) => outcome,
            Ended::Exited => Err(Error::invalid_argument("exit_actor() was called outside an actor")
                .remedy("call it in a method of the actor that shall end")),
            Ended::Crashed => {
                self.flush();
                self.host.process.worker_crashed(&self.host);
                return false;
            }
        };
        // What was cancelled while it ran did not run for as long as it takes.
        let ran = if job.is_cancelled() { 0 } else { ns };
        match job {
            Job::Local { task, attempt, lease } => {
                let seq = task.seq;
                // The owner's count is every submitter's to change: it is left alone where it can be.
                let owner = &task.owner;
                let run = Run { place: self.host.place(), ended: at, ns };
                let again = owner.answered(&task, attempt, outcome, &run);
                let (before, full) = {
                    let mut report = self.report();
                    let before = report.add(owner, lease, (seq, run_time(ran)));
                    (before, (again || report.done.len() >= REPORT_AT).then(|| std::mem::take(&mut *report)))
                };
                for report in before.into_iter().chain(full) {
                    report.tell(&self.host);
                }
                if again {
                    task.owner.ready(&task);
                }
            }
            Job::Remote(job) => {
                let reply = remote::Reply { job, outcome, ns: ran };
                let mut report = self.report();
                report.remote.push(reply);
                let full = (report.remote.len() >= REPORT_AT).then(|| std::mem::take(&mut *report));
                drop(report);
                if let Some(full) = full {
                    full.tell(&self.host);
                }
            }
            Job::Constructor(_) => {}
        }
        true
    }

    /// Tells what finished.
    pub(crate) fn flush(&self) {
        let report = std::mem::take(&mut *self.report());
        report.tell(&self.host);
    }
}

impl Report {
    /// Notes a task that ended under a lease of an owner here. What was noted of another lease is given out, to be told:
    /// in the same step, for async tasks that left the worker end on threads of their own, under leases that are over,
    /// while its thread reports what it ran.
    fn add(&mut self, owner: &Arc<Owner>, lease: LeaseIx, done: Done) -> Option<Report> {
        let same = self.local.as_ref().is_some_and(|(known, ix)| *ix == lease && Arc::ptr_eq(known, owner));
        let before = (!same && !self.done.is_empty()).then(|| std::mem::take(self));
        if !same {
            self.local = Some((Arc::clone(owner), lease));
        }
        self.done.push(done);
        before
    }

    fn tell(self, host: &Arc<Host>) {
        if let Some((owner, lease)) = self.local {
            owner.completed(lease, self.done);
        }
        if !self.remote.is_empty() {
            remote::send_replies(host, self.remote);
        }
    }
}

/// How long something ran, at least a nanosecond: in virtual time it may have been none.
fn run_time_of(time: Duration) -> u64 {
    nanoseconds(time).max(1)
}

/// Sends jobs that have not begun back to their owners.
pub(crate) fn give_back(host: &Arc<Host>, jobs: Vec<Job>) {
    let mut remote = Vec::new();
    let mut local: Vec<(Arc<Owner>, LeaseIx, Vec<u64>)> = Vec::new();
    for job in jobs {
        match job {
            Job::Local { task, lease, .. } => match local.last_mut() {
                Some((owner, ix, seqs)) if *ix == lease && Arc::ptr_eq(owner, &task.owner) => seqs.push(task.seq),
                _ => local.push((Arc::clone(&task.owner), lease, vec![task.seq])),
            },
            Job::Remote(job) => remote.push(job),
            Job::Constructor(_) => {}
        }
    }
    for (owner, lease, seqs) in local {
        owner.given_back(lease, &seqs);
    }
    if !remote.is_empty() {
        remote::send_back(host, &remote);
    }
}

impl Strand for TaskSlot {
    fn drain(self: Arc<Self>) -> bool {
        let start = self.host.process.env.now();
        let mut began = start;
        loop {
            let Some(job) = self.next(began) else {
                // The report may bring the next tasks: they are taken without another wake-up. So is what a submitter
                // that is at work puts in within the next moment.
                self.flush();
                linger(&self.submitters.0.waiting);
                let mut inbox = self.lock();
                if inbox.jobs.is_empty() || inbox.closed {
                    inbox.scheduled = false;
                    return false;
                }
                drop(inbox);
                began = self.host.process.env.now();
                continue;
            };
            if self.host.dead.load(Ordering::Acquire) || !self.run(job, &mut began) {
                return false;
            }
            if began.saturating_sub(start) >= TURN {
                return true;
            }
        }
    }

    fn is_urgent(&self) -> bool {
        true
    }
}
