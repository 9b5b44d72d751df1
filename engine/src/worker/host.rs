//! What user code runs in: its worker, and the call that is being run on this thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use crate::env::Parker;
use crate::events::Place;
use crate::ids::{ActorId, JobId, TaskId, WorkerId};
use crate::owner::Owner;
use crate::process::{Answering, Process};
use crate::protocol::{ActorRun, ActorSpec, LeaseId, ToRaylet};
use crate::rarely::Rarely;
use crate::worker::job::Job;
use crate::worker::lending::{Lending, Turn, Waits};
use crate::worker::progress::Progress;
use crate::worker::slot::TaskSlot;

/// A worker: an execution slot or an actor, in a thread or a process of its own.
pub(crate) struct Host {
    pub(crate) process: Arc<Process>,
    pub(crate) worker: WorkerId,
    of: Of,
    /// Blocked calls of an actor whose calls do not overlap: the raylet hears of the first and the last.
    blocked: AtomicU32,
    /// What the calls of an actor wait for, if they overlap.
    pub(crate) lending: Lending,
    /// The threads of those calls: a cancellation wakes them.
    sleepers: Mutex<Rarely<Sleepers>>,
    pub(crate) dead: AtomicBool,
    /// Its answers that have not been sent: they go by the node's store, or carry refs of which an owner must hear first.
    unsent: AtomicU32,
    owner: OnceLock<Arc<Owner>>,
}

type Sleepers = Vec<(TaskId, Parker)>;

/// Answers that have not been sent, as long as this is kept.
pub(crate) struct Unsent(Arc<Host>, #[allow(dead_code, reason = "its end is what counts")] Answering);

impl Drop for Unsent {
    fn drop(&mut self) {
        if self.0.unsent.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.process.answers_sent.notify_waiters();
        }
    }
}

/// What a worker runs.
enum Of {
    Tasks(Box<OfTasks>),
    /// One run of an actor, under a lease of this node with this number, for life.
    Actor {
        spec: Arc<ActorSpec>,
        incarnation: u32,
        attempt: u32,
        lease: u64,
    },
}

/// Tasks of a job.
struct OfTasks {
    job: JobId,
    namespace: Arc<str>,
    slot: OnceLock<Weak<TaskSlot>>,
}

impl Host {
    /// A worker that will run tasks.
    pub(crate) fn of_tasks(process: Arc<Process>, worker: WorkerId, job: JobId, namespace: Arc<str>) -> Arc<Host> {
        Host::new(process, worker, Of::Tasks(Box::new(OfTasks { job, namespace, slot: OnceLock::new() })))
    }

    /// A worker for a run of an actor, under a lease of this process's node.
    pub(crate) fn of_actor(
        process: Arc<Process>,
        worker: WorkerId,
        run: ActorRun,
        spec: Arc<ActorSpec>,
        lease: LeaseId,
    ) -> Arc<Host> {
        let ActorRun { incarnation, attempt, .. } = run;
        Host::new(process, worker, Of::Actor { spec, incarnation, attempt, lease: lease.number })
    }

    fn new(process: Arc<Process>, worker: WorkerId, of: Of) -> Arc<Host> {
        Arc::new(Host {
            process,
            worker,
            of,
            blocked: AtomicU32::new(0),
            lending: Lending::default(),
            sleepers: Mutex::default(),
            dead: AtomicBool::new(false),
            unsent: AtomicU32::new(0),
            owner: OnceLock::new(),
        })
    }

    /// The owner of what this worker submits, made at its first submission.
    pub(crate) fn owner(&self) -> &Arc<Owner> {
        self.owner.get_or_init(|| self.process.new_owner(self.job(), Arc::clone(self.namespace())))
    }

    pub(crate) fn job(&self) -> JobId {
        match &self.of {
            Of::Tasks(of) => of.job,
            Of::Actor { spec, .. } => spec.job,
        }
    }

    /// Where names of actors live unless its code says otherwise.
    pub(crate) fn namespace(&self) -> &Arc<str> {
        match &self.of {
            Of::Tasks(of) => &of.namespace,
            Of::Actor { spec, .. } => &spec.job_namespace,
        }
    }

    /// The run, if it is an actor.
    pub(crate) fn run(&self) -> Option<ActorRun> {
        match &self.of {
            Of::Tasks(_) => None,
            Of::Actor { spec, incarnation, attempt, .. } => {
                Some(ActorRun { actor: spec.id, incarnation: *incarnation, attempt: *attempt })
            }
        }
    }

    pub(crate) fn actor(&self) -> Option<ActorId> {
        self.run().map(|run| run.actor)
    }

    /// The lease that an actor lives under.
    pub(crate) fn lease(&self) -> Option<LeaseId> {
        match &self.of {
            Of::Tasks(_) => None,
            Of::Actor { lease, .. } => Some(LeaseId { node: self.process.id.node, number: *lease }),
        }
    }

    /// Where its tasks wait, if it runs tasks.
    pub(crate) fn slot(&self) -> Option<Arc<TaskSlot>> {
        match &self.of {
            Of::Tasks(of) => of.slot.get()?.upgrade(),
            Of::Actor { .. } => None,
        }
    }

    pub(super) fn set_slot(&self, slot: &Arc<TaskSlot>) {
        if let Of::Tasks(of) = &self.of {
            // A host has one slot at most, and this is where it gets it.
            let _ = of.slot.set(Arc::downgrade(slot));
        }
    }

    /// Answers begin to be sent.
    pub(crate) fn begin_answer(self: &Arc<Self>) -> Unsent {
        self.unsent.fetch_add(1, Ordering::AcqRel);
        Unsent(Arc::clone(self), self.process.begin_answer())
    }

    /// Whether one has not been sent.
    pub(crate) fn has_unsent(&self) -> bool {
        self.unsent.load(Ordering::Acquire) > 0
    }

    /// Waits until those have been sent, but no longer than `within`.
    pub(crate) async fn answers_sent(&self, within: Duration) {
        let all = async {
            loop {
                let sent = self.process.answers_sent.notified();
                // Counted from here on, before the look.
                if !self.has_unsent() {
                    return;
                }
                sent.await;
            }
        };
        let _ = tokio::time::timeout(within, all).await;
    }

    /// Where its code runs.
    pub(crate) fn place(&self) -> Place {
        Place { node: self.process.id.node, worker: Some(self.worker) }
    }

    fn sleepers(&self) -> MutexGuard<'_, Rarely<Sleepers>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call was cancelled: if it waits on its thread, it looks again.
    pub(crate) fn wake(&self, id: TaskId) {
        for (_, parker) in self.sleepers().get().into_iter().flatten().filter(|(sleeper, _)| *sleeper == id) {
            parker.unpark();
        }
    }

    /// The worker has ended: whoever waits on a thread of it looks again.
    pub(crate) fn wake_all(&self) {
        for (_, parker) in self.sleepers().get().into_iter().flatten() {
            parker.unpark();
        }
    }

    pub(crate) fn owner_if_any(&self) -> Option<&Arc<Owner>> {
        self.owner.get()
    }

    /// What runs begins to wait for a ref on its thread, or goes on.
    fn blocks(&self, lease: Option<LeaseId>, waits: bool) {
        let Some(lease) = lease else { return };
        if let Some(slot) = self.slot() {
            return slot.waits(lease, Waits::Running, waits);
        }
        if waits && self.blocked.fetch_add(1, Ordering::AcqRel) == 0 {
            self.process.tell_raylet(lease.node, ToRaylet::Blocked { lease });
        } else if !waits && self.blocked.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.process.tell_raylet(lease.node, ToRaylet::Unblocked { lease });
        }
    }
}

/// Whose a task is.
#[derive(Clone, Copy)]
pub(crate) struct OfTask {
    pub(crate) job: JobId,
    pub(crate) outlives_job: bool,
}

/// An async call that has begun and not ended.
#[derive(Default)]
pub(crate) struct Running {
    /// None of an actor's call, which goes on when its caller is dead.
    pub(crate) task: Option<OfTask>,
    pub(crate) stop: AtomicBool,
    /// It has waited for a ref.
    parked: AtomicBool,
    /// It gave its slot away when it first waited: it holds nothing but CPU.
    pub(crate) left: AtomicBool,
    /// The lease that it keeps, with its CPU lent, since it holds more.
    lends: OnceLock<LeaseId>,
    waker: Mutex<Option<Waker>>,
}

impl Running {
    pub(crate) fn of_task(task: OfTask) -> Running {
        Running { task: Some(task), ..Running::default() }
    }

    /// Notes how the future is woken.
    pub(crate) fn polled(&self, waker: &Waker) {
        let mut known = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// It has ended: its lease has its CPU again, for the next.
    pub(crate) fn take_back(&self, host: &Host) {
        if let Some((lease, slot)) = self.lends.get().copied().zip(host.slot()) {
            slot.waits(lease, Waits::Running, false);
        }
    }

    /// Drops the future at its next wake-up, which is now.
    pub(crate) fn cancel(&self) {
        self.stop.store(true, Ordering::Release);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The call that this thread runs.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) host: Arc<Host>,
    pub(crate) job: Job,
    pub(crate) runs: Runs,
}

/// How a call runs.
#[derive(Clone)]
pub(crate) enum Runs {
    /// From beginning to end on its thread; or as a constructor.
    Alone,
    /// The same, but beside other calls of its actor: it lends its CPU together with them.
    Beside,
    /// As a future.
    Async(Arc<Running>),
}

scoped_tls::scoped_thread_local!(static CURRENT: Current);

/// The call that this thread runs, if it runs one.
pub(crate) fn current() -> Option<Current> {
    with_current(|current| current.cloned())
}

/// Looks at the call that this thread runs without cloning it.
pub(crate) fn with_current<R>(look: impl FnOnce(Option<&Current>) -> R) -> R {
    if CURRENT.is_set() { CURRENT.with(|current| look(Some(current))) } else { look(None) }
}

/// Whatever is polled here waits for a ref: if it is an async call, that holds no worker meanwhile.
pub(crate) fn park() {
    with_current(|current| {
        if let Some(current) = current {
            current.park();
        }
    });
}

/// Runs `body` as part of a call.
pub(crate) fn enter<R>(current: &Current, body: impl FnOnce() -> R) -> R {
    struct Ends<'a>(&'a Progress);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.end();
        }
    }
    crate::api::scope::note(current);
    // A future is not at its end when it has been polled.
    let _ends = current.note().filter(|_| !matches!(current.runs, Runs::Async(_))).map(Ends);
    CURRENT.set(current, body)
}

/// A future whose every poll is part of a call, as is its end.
pub(crate) struct Entered<F> {
    current: Current,
    /// Of a call of an actor that holds CPU.
    turn: Option<Turn>,
    future: Option<F>,
}

impl<F> Entered<F> {
    pub(crate) fn new(current: Current, future: F) -> Self {
        Entered { turn: Turn::begin(&current.host), current, future: Some(future) }
    }
}

impl<F: Future + Unpin> Future for Entered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        if let Some(turn) = &mut this.turn {
            turn.resume();
        }
        let polled = enter(&this.current, || {
            let Some(future) = &mut this.future else { return Poll::Pending };
            let polled = Pin::new(future).poll(cx);
            if polled.is_ready() {
                this.future = None;
            }
            polled
        });
        if polled.is_ready() {
            this.current.note_end();
        }
        match &mut this.turn {
            Some(turn) if polled.is_pending() => turn.pause(),
            _ => this.turn = None,
        }
        polled
    }
}

impl<F> Drop for Entered<F> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            enter(&self.current, || drop(future));
            self.current.note_end();
        }
    }
}

/// What a call waits for on its thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// A ref: its CPU is lent meanwhile, for what it waits for may need it. A cancellation ends the wait.
    Ref,
    /// Time, or the end of an actor: it keeps its CPU. A cancellation ends the wait.
    Event,
    /// A word of the cluster, which comes soon: it keeps its CPU, and who is cancelled may still ask, to clean up.
    Word,
}

/// What a call lends that waits on its thread.
#[derive(Clone, Copy)]
enum Lends {
    Nothing,
    Cpu,
    /// The CPU, once all of its actor that have begun wait for refs.
    WithOthers,
}

/// While it lives, the call waits on this thread.
pub(crate) struct Blocked {
    host: Arc<Host>,
    lends: Lends,
    lease: Option<LeaseId>,
    id: TaskId,
}

impl Drop for Blocked {
    fn drop(&mut self) {
        {
            let mut sleepers = self.host.sleepers();
            let sleepers = sleepers.make();
            if let Some(at) = sleepers.iter().rposition(|(id, parker)| *id == self.id && parker.is_current()) {
                sleepers.swap_remove(at);
            }
        }
        match self.lends {
            Lends::Nothing => {}
            Lends::WithOthers => self.host.waits_beside(false),
            Lends::Cpu => self.host.blocks(self.lease, false),
        }
        self.host.process.pool.unblocked();
    }
}

impl Current {
    /// Where its raylet looks for what a dead process ran, and what is noted there of this call. Not of one that waits without
    /// its worker: what runs in its place is noted, and its owner knows of it.
    fn noted(&self) -> Option<(&Progress, LeaseId, u64)> {
        let Job::Remote(job) = &self.job else { return None };
        let (lease, progress) = (job.lease?, self.host.process.progress.get()?);
        match &self.runs {
            Runs::Async(running) if running.left.load(Ordering::Acquire) => None,
            _ => Some((progress, lease, job.id.seq)),
        }
    }

    /// Notes that the call runs; its end is noted too.
    fn note(&self) -> Option<&Progress> {
        let (progress, lease, seq) = self.noted()?;
        progress.begin(lease.number, seq);
        Some(progress)
    }

    /// A future has ended, or goes on without its worker.
    fn note_end(&self) {
        if let Some((progress, ..)) = self.noted() {
            progress.end();
        }
    }

    /// Whether the call is to wait for nothing any more: it was cancelled, or its actor has ended.
    pub(crate) fn is_given_up(&self) -> bool {
        self.job.is_cancelled() || self.host.dead.load(Ordering::Acquire)
    }

    fn lease(&self) -> Option<LeaseId> {
        self.host.lease().or_else(|| self.job.lease())
    }

    /// The call is about to wait on this thread: what was lent to its worker goes to others, and its CPU if it waits for
    /// a ref.
    pub(crate) fn block(&self, waits_for: WaitsFor) -> Blocked {
        let host = Arc::clone(&self.host);
        let lease = self.lease();
        let lends = match (waits_for, &self.runs) {
            (WaitsFor::Event | WaitsFor::Word, _) => Lends::Nothing,
            (WaitsFor::Ref, Runs::Beside) => Lends::WithOthers,
            (WaitsFor::Ref, Runs::Alone | Runs::Async(_)) => Lends::Cpu,
        };
        match lends {
            Lends::Nothing => {}
            Lends::WithOthers => host.waits_beside(true),
            Lends::Cpu => host.blocks(lease, true),
        }
        if let Some(slot) = host.slot() {
            slot.give_back();
        }
        host.process.pool.blocked();
        let id = self.job.id();
        host.sleepers().make().push((id, Parker::current()));
        Blocked { host, lends, lease, id }
    }

    /// An async call waits for a ref, and will say so again if it still does when it is polled next. The first time, a task
    /// gives its CPU away for good; and its slot, unless it holds what only its end gives back.
    pub(crate) fn park(&self) {
        // What waits on its thread says so there.
        if matches!(self.runs, Runs::Beside) || self.host.lending.wait() {
            return;
        }
        let Runs::Async(running) = &self.runs else { return };
        if running.parked.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(slot) = self.host.slot() else { return };
        match self.job.lease().filter(|_| self.job.keeps_lease()) {
            Some(lease) => {
                if running.lends.set(lease).is_ok() {
                    slot.waits(lease, Waits::Running, true);
                }
                slot.give_back();
            }
            None => {
                self.note_end();
                running.left.store(true, Ordering::Release);
                self.job.tell_parked(&self.host);
                slot.resume();
            }
        }
    }

    /// Whether what it submits shall go on when the job's driver ends.
    pub(crate) fn outlives_job(&self) -> bool {
        match &self.host.of {
            Of::Actor { spec, .. } => spec.detached || spec.outlives_job,
            Of::Tasks(_) => self.job.outlives_job(),
        }
    }

    pub(crate) fn task_id(&self) -> TaskId {
        self.job.id()
    }
}
