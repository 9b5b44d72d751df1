//! Actors with async methods: each stays on one thread ([`super::threads`]), where its futures need not be `Send`.
//!
//! Its calls have their turns in order; `&mut self` methods have the actor to themselves, async `&self` methods overlap up to
//! `max_concurrency`, and a sync `&self` method overlaps those that wait; where the attribute's `max_concurrency` is above 1,
//! sync ones overlap too ([`super::beside`]).

use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;

use crate::actor::begin::{CatchState, Constructed};
use crate::actor::beside::Beside;
use crate::actor::host::ActorHost;
use crate::actor::threads::SyncCalls;
use crate::actor::turn::{ANSWERS_MAX, TURN, TURN_CALLS};
use crate::api::error::{Error, Result};
use crate::call::{OwnedTaskArgs, TaskArgs};
use crate::ids::TaskId;
use crate::program::{ActorCell, ActorState, Constructor, LocalBoxFuture, MethodCall, Outcome};
use crate::worker::host::{Current, Entered, Host, Running, Runs, enter};
use crate::worker::job::{Ended, Guarded, Job, discard, guarded, nanoseconds, owned_args};
use crate::worker::lending::Turn;

#[derive(Default)]
pub(super) struct Shared {
    pub(super) wake: Notify,
    /// Sync calls that have begun and not ended, on other threads.
    pub(super) away: AtomicUsize,
    running: Mutex<BTreeMap<TaskId, Arc<Running>>>,
}

/// The handle of an actor on its thread.
#[derive(Clone)]
pub(crate) struct LocalActor {
    shared: Arc<Shared>,
}

impl LocalActor {
    /// One that is on no thread yet.
    pub(crate) fn new() -> LocalActor {
        LocalActor { shared: Arc::new(Shared::default()) }
    }

    /// Moves a constructed actor to a thread, if there is one.
    pub(crate) fn start(
        &self,
        host: Arc<ActorHost>,
        state: Box<dyn Any + Send>,
        into_cell: fn(Box<dyn Any + Send>) -> ActorCell,
    ) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let process = Arc::clone(&host.host.process);
        let own = host.entry.is_mixed();
        process.local.spawn(own, move |calls| Box::pin(run(host, into_cell(state), shared, calls)))
    }

    /// Constructs an `actix::Actor`, or what has an async constructor; it stays on this thread if its calls are run on one.
    pub(crate) fn construct(&self, host: Arc<ActorHost>) {
        let shared = Arc::clone(&self.shared);
        let (process, actor) = (Arc::clone(&host.host.process), Arc::clone(&host));
        let own = !host.entry.actix && host.entry.is_mixed();
        let started = if host.entry.actix {
            process.local.spawn(own, move |_| Box::pin(super::actix::run(Loop::new(host, shared))))
        } else {
            process.local.spawn(own, move |calls| Box::pin(construct(host, shared, calls)))
        };
        if let Err(error) = started {
            actor.constructed(Constructed::Failed(error));
        }
    }

    /// There is a call, or the actor shall end.
    pub(crate) fn wake(&self) {
        self.shared.wake.notify_one();
    }

    /// The actor has ended: what runs is dropped at its next await, and the state with it.
    pub(crate) fn end(&self) {
        self.shared.cancel_all();
        self.wake();
    }
}

/// What the calls of one actor share on its thread.
pub(crate) struct Loop {
    pub(super) host: Arc<ActorHost>,
    pub(super) shared: Arc<Shared>,
    /// Calls that have begun and not ended, on this thread.
    active: Cell<usize>,
    /// What the clock said last.
    looked: Cell<Duration>,
    pub(super) ended: Notify,
}

/// Runs an async constructor, and what follows it.
async fn construct(host: Arc<ActorHost>, shared: Arc<Shared>, calls: SyncCalls) {
    let (Constructor::Async(call), Some((input, dependencies))) = (host.entry.constructor, host.take_creation()) else {
        return;
    };
    let _runtime = calls.note_runtime(&host.host);
    let current = host.current_for_constructor();
    let future = enter(&current, || call(OwnedTaskArgs::new(input, dependencies)));
    let mut making = Entered::new(current.clone(), CatchState::new(future));
    let made = loop {
        tokio::select! {
            biased;
            () = shared.wake.notified() => {}
            made = &mut making => break made,
        }
        if host.dead.load(Ordering::Acquire) {
            // It was killed: what it waits for is not waited for.
            return;
        }
    };
    match made {
        Constructed::State(state) if host.dead.load(Ordering::Acquire) => {
            enter(&current, || discard("an actor's state", state));
        }
        Constructed::State(ActorState::Single { state, into_cell }) if host.entry.has_async => {
            host.started();
            run(host, into_cell(state), shared, calls).await;
        }
        made => {
            if host.constructed(made) {
                host.go_on();
            }
        }
    }
}

async fn run(host: Arc<ActorHost>, cell: ActorCell, shared: Arc<Shared>, calls: SyncCalls) {
    let this = Loop::new(host, shared);
    let _runtime = calls.note_runtime(&this.host.host);
    let width = this.width();
    let beside = Beside::new(&this, &cell);
    let mut row = Row::default();
    loop {
        if row.is_over(&this) {
            tokio::task::yield_now().await;
            this.now();
        }
        if this.host.dead.load(Ordering::Acquire) {
            break;
        }
        let Some(job) = this.host.next_local() else {
            if this.active() == 0 {
                this.host.idle_local();
            }
            tokio::select! {
                biased;
                () = this.shared.wake.notified() => {}
                () = this.ended.notified() => {}
            }
            row = Row::default();
            continue;
        };
        let Some(method) = job.method() else {
            this.answer_unknown(job);
            continue;
        };
        let alone = matches!(method.call, MethodCall::AsyncMut(_) | MethodCall::SyncMut(_));
        match this.room(if alone { 1 } else { width }, &job).await {
            Room::There => {}
            Room::NotWanted => {
                let error = Error::task_cancelled("the call was cancelled before it began");
                this.answer(job, Some(Ended::Answered(Err(error))), this.now());
                continue;
            }
            Room::Over => break,
        }
        match (method.call, &beside) {
            (MethodCall::AsyncRef(call), _) => {
                let (active, mut future) = (Active::new(&this), this.begin(&cell, call, job));
                // It begins in its turn: before what comes behind it, which may need no future. However many do, none is
                // told that it used up its thread's time before it has begun.
                let begins = poll_fn(|task| Poll::Ready(future.as_mut().poll(task)));
                if tokio::task::unconstrained(begins).await.is_pending() {
                    this.now();
                    tokio::task::spawn_local(async move {
                        future.await;
                        drop(active);
                    });
                }
            }
            (MethodCall::AsyncMut(call), _) => this.begin(&cell, call, job).await,
            (MethodCall::SyncRef(call), Some(beside)) => beside.begin(&this, call, job),
            (MethodCall::SyncRef(_) | MethodCall::SyncMut(_), _) => {
                let began = this.looked.get();
                let (on, cell, of) = (Rc::clone(&this), cell.clone(), job.clone());
                let ended = calls.run(move || on.call_sync(&cell, method.call, &of)).await;
                this.answer(job, ended, began);
            }
            // Only the class of an `actix::Actor` has them, which is run elsewhere.
            (MethodCall::Actix(_), _) => this.answer_unknown(job),
        }
    }
    this.flush();
    this.shared.cancel_all();
    // A thread of the actor's own ends with this: what was cancelled is dropped first, where its runtime is. What runs on
    // other threads is left there.
    while this.active.get() > 0 {
        this.ended.notified().await;
    }
}

/// Calls in a row: then the futures of others, which they keep from being polled, have their turn.
#[derive(Default)]
struct Row {
    began: Duration,
    calls: usize,
}

impl Row {
    fn is_over(&mut self, this: &Loop) -> bool {
        // In a row the end of the one before is the beginning of the next.
        let now = if self.calls == 0 { this.now() } else { this.looked.get() };
        let over = self.calls >= TURN_CALLS || (self.calls > 0 && now.saturating_sub(self.began) >= TURN);
        if over || self.calls == 0 {
            *self = Row { began: now, calls: 0 };
        }
        self.calls += 1;
        over
    }
}

/// Whether a call finds room beside those that have begun.
enum Room {
    There,
    /// It was cancelled first.
    NotWanted,
    /// The actor has ended.
    Over,
}

/// Counts an async call that has begun and not ended.
pub(super) struct Active(Rc<Loop>);

impl Active {
    pub(super) fn new(this: &Rc<Loop>) -> Active {
        this.active.set(this.active.get() + 1);
        Active(Rc::clone(this))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
        self.0.ended.notify_one();
    }
}

/// A call whose future lives, where a cancellation finds it.
pub(super) struct Tracked {
    this: Rc<Loop>,
    id: TaskId,
    pub(super) running: Arc<Running>,
    /// When it began, by the environment's clock.
    pub(super) began: Duration,
    is_listed: Cell<bool>,
}

impl Tracked {
    /// Lets a cancellation find it: to be called when it goes on beyond its first poll, of which most calls that wait for
    /// nothing have no other.
    fn list(&self, job: &Job) {
        if self.is_listed.replace(true) {
            return;
        }
        self.this.shared.running().insert(self.id, Arc::clone(&self.running));
        self.this.host.host.process.async_began(self.id, &self.running);
        if self.this.host.dead.load(Ordering::Acquire) || job.is_cancelled() {
            // It was, in the moment between.
            self.running.cancel();
        }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        if self.is_listed.get() {
            self.this.shared.running().remove(&self.id);
            self.this.host.host.process.async_ended(self.id, &self.running);
        }
    }
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, BTreeMap<TaskId, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what runs at its next wake-up, which is now.
    pub(super) fn cancel_all(&self) {
        for running in self.running().values() {
            running.cancel();
        }
    }
}

impl Loop {
    pub(super) fn new(host: Arc<ActorHost>, shared: Arc<Shared>) -> Rc<Loop> {
        Rc::new(Loop { host, shared, active: Cell::new(0), looked: Cell::default(), ended: Notify::new() })
    }

    pub(super) fn now(&self) -> Duration {
        let now = self.host.host.process.env.now();
        self.looked.set(now);
        now
    }

    /// How many calls may overlap.
    pub(super) fn width(&self) -> usize {
        self.host.spec.max_concurrency.max(1) as usize
    }

    /// How many calls have begun and not ended.
    pub(super) fn active(&self) -> usize {
        self.active.get() + self.shared.away.load(Ordering::Acquire)
    }

    pub(super) fn track(self: &Rc<Self>, job: &Job) -> Tracked {
        self.now();
        let tracked = self.unlisted(job);
        tracked.list(job);
        tracked
    }

    /// One that began when the clock was looked at last, and is not polled yet.
    fn unlisted(self: &Rc<Self>, job: &Job) -> Tracked {
        Tracked {
            this: Rc::clone(self),
            id: job.id(),
            running: Arc::default(),
            began: self.looked.get(),
            is_listed: Cell::new(false),
        }
    }

    /// Waits until fewer than `width` calls overlap.
    async fn room(&self, width: usize, job: &Job) -> Room {
        while self.active() >= width {
            tokio::select! {
                biased;
                () = self.ended.notified() => {}
                () = self.shared.wake.notified() => {}
            }
            if self.host.dead.load(Ordering::Acquire) {
                return Room::Over;
            }
            if job.is_cancelled() {
                return Room::NotWanted;
            }
            self.now();
        }
        Room::There
    }

    fn begin(
        self: &Rc<Self>,
        cell: &ActorCell,
        call: fn(ActorCell, OwnedTaskArgs) -> LocalBoxFuture<Outcome>,
        job: Job,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        let tracked = self.unlisted(&job);
        let running = Arc::clone(&tracked.running);
        let current =
            Current { host: Arc::clone(&self.host.host), job: job.clone(), runs: Runs::Async(Arc::clone(&running)) };
        let this = Rc::clone(self);
        let cell = cell.clone();
        Box::pin(async move {
            let ended = if job.is_cancelled() {
                Ended::Answered(Err(Error::task_cancelled("the call was cancelled before it began")))
            } else {
                match owned_args(&job) {
                    Ok(args) => {
                        let future = enter(&current, || call(cell, args));
                        let mut future = Entered::new(current, Guarded::new(future, running));
                        poll_fn(|task| {
                            let polled = Pin::new(&mut future).poll(task);
                            if polled.is_pending() {
                                tracked.list(&job);
                            }
                            polled
                        })
                        .await
                    }
                    Err(error) => Ended::Answered(Err(error)),
                }
            };
            let began = tracked.began;
            drop(tracked);
            this.answer(job, Some(ended), began);
        })
    }

    /// Runs a sync method; `None` if the state is in use.
    fn call_sync(&self, cell: &ActorCell, method: MethodCall, job: &Job) -> Option<Ended> {
        let mut ended = None;
        match method {
            MethodCall::SyncRef(call) => {
                cell.read_now(&mut |state| ended = Some(self.call_now(job, |args| call(state, args))));
            }
            MethodCall::SyncMut(call) => {
                cell.write_now(&mut |state| ended = Some(self.call_now(job, |args| call(state, args))));
            }
            MethodCall::AsyncRef(_) | MethodCall::AsyncMut(_) | MethodCall::Actix(_) => {}
        }
        ended
    }

    /// Runs what needs no future, on this thread.
    pub(super) fn call_now(&self, job: &Job, call: impl FnOnce(&mut TaskArgs<'_>) -> Outcome) -> Ended {
        call_now(&self.host.host, job, Runs::Alone, call)
    }

    pub(super) fn flush(&self) {
        self.host.send_answers();
    }

    /// Answers a call that this program cannot run.
    pub(super) fn answer_unknown(self: &Rc<Self>, job: Job) {
        let unknown = if let Job::Remote(job) = &job { job.unknown().cloned() } else { None };
        let error = unknown.unwrap_or_else(|| Error::task("a task reached an actor"));
        self.answer(job, Some(Ended::Answered(Err(error))), self.now());
    }

    /// Answers a call that began then.
    pub(super) fn answer(self: &Rc<Self>, job: Job, ended: Option<Ended>, began: Duration) {
        let ended = ended.unwrap_or_else(|| Ended::Answered(Err(Error::task("the actor's state was in use"))));
        let now = self.now();
        let unsent = self.host.answered(job, ended, (now, nanoseconds(now.saturating_sub(began))));
        if unsent.is_none_or(|unsent| unsent >= ANSWERS_MAX) || self.host.dead.load(Ordering::Acquire) {
            self.flush();
        } else if unsent == Some(1) {
            // Those that end in the same turn of the thread go with it.
            let this = Rc::clone(self);
            tokio::task::spawn_local(async move {
                tokio::task::yield_now().await;
                this.flush();
            });
        }
        if self.host.dead.load(Ordering::Acquire) {
            self.shared.wake.notify_one();
        }
    }
}

/// Runs what needs no future, beside the futures of its actor that have begun.
pub(super) fn call_now(
    host: &Arc<Host>,
    job: &Job,
    runs: Runs,
    call: impl FnOnce(&mut TaskArgs<'_>) -> Outcome,
) -> Ended {
    if job.is_cancelled() {
        return Ended::Answered(Err(Error::task_cancelled("the call was cancelled before it began")));
    }
    let current = Current { host: Arc::clone(host), job: job.clone(), runs };
    // What runs lends nothing, whatever the async calls beside it wait for.
    let _turn = Turn::begin(host);
    match job.input() {
        Ok((input, dependencies)) => enter(&current, || guarded(|| call(&mut TaskArgs::new(&input, &dependencies)))),
        Err(error) => Ended::Answered(Err(error)),
    }
}
