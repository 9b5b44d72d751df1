//! The side that runs an actor: one incarnation, with its inbox and its state.
//!
//! A sync actor is a strand: executor threads drain its inbox, one at a time, or up to `max_concurrency` at once if its
//! type is `Sync`. An actor with async methods lives on one thread of the process's local executors ([`super::local`]),
//! where its calls start in order and overlap as its lock allows. An `actix::Actor` lives on such a thread too, in its
//! context ([`super::actix`]).

use std::any::Any;
use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::actor::local::LocalActor;
use crate::api::error::{Error, Result};
use crate::call::TaskArgs;
use crate::ids::{ObjectId, TaskId, WorkerId};
use crate::object::Resolved;
use crate::process::Process;
use crate::program::{ActorEntry, ActorState, Constructor, MethodCall, MethodEntry, SharedState};
use crate::protocol::calls::{WireCreation, WirePart};
use crate::protocol::{ActorRun, ActorSpec, Gone, LeaseId, ToRaylet};
use crate::task::{Task, What};
use crate::value::Value;
use crate::worker::host::{Current, Host, enter};
use crate::worker::job::{Ended, Job, guarded};
use crate::worker::pool::{Pool, Strand};
use crate::worker::remote;

/// A strand is drained for this long, or for this many calls, before others have their turn.
const TURN: Duration = Duration::from_millis(1);
const TURN_CALLS: usize = 256;

/// How an incarnation is going to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    No,
    /// After the calls already here.
    AfterCalls,
    Now,
}

struct Inbox {
    calls: VecDeque<Job>,
    /// Calls from this process whose arguments lie elsewhere and are on their way.
    fetching: BTreeSet<TaskId>,
    /// Threads that drain, or will.
    active: usize,
    /// The constructor has not finished.
    new: bool,
    ending: Ending,
    ended: bool,
    running: Vec<Job>,
}

/// Where the state is.
enum Mode {
    /// Not constructed.
    None,
    /// Beside, behind a lock of its own.
    Single,
    Shared(Arc<dyn SharedState>),
    Local(LocalActor),
}

/// One incarnation of an actor.
pub(crate) struct ActorHost {
    pub(crate) host: Arc<Host>,
    pub(crate) entry: &'static ActorEntry,
    pub(crate) run: ActorRun,
    pub(crate) spec: ActorSpec,
    pub(crate) lease: LeaseId,
    pool: Arc<Pool>,
    creation: Mutex<Option<(Value, Vec<Value>)>>,
    inbox: Mutex<Inbox>,
    mode: Mutex<Mode>,
    /// The state of a sync actor whose calls do not overlap: locked while one runs.
    single: Mutex<Option<Box<dyn Any + Send>>>,
    pub(crate) dead: AtomicBool,
}

impl ActorHost {
    pub(crate) fn new(
        host: Arc<Host>,
        entry: &'static ActorEntry,
        run: ActorRun,
        spec: ActorSpec,
        lease: LeaseId,
        creation: (Value, Vec<Value>),
    ) -> Arc<ActorHost> {
        let pool = Arc::clone(&host.process.pool);
        // The host is this actor's alone.
        let _ = host.lease.set(lease);
        Arc::new(ActorHost {
            host,
            entry,
            run,
            spec,
            lease,
            pool,
            creation: Mutex::new(Some(creation)),
            inbox: Mutex::new(Inbox {
                calls: VecDeque::new(),
                fetching: BTreeSet::new(),
                active: 0,
                new: true,
                ending: Ending::No,
                ended: false,
                running: Vec::new(),
            }),
            mode: Mutex::new(Mode::None),
            single: Mutex::new(None),
            dead: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        // No user code runs under the lock.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mode(&self) -> MutexGuard<'_, Mode> {
        self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The actor's number in its process.
    pub(crate) fn number(&self) -> u64 {
        number(self.run.actor)
    }

    pub(crate) fn describe(&self) -> String {
        format!("actor {} ({})", self.entry.name(), self.run.actor)
    }

    /// How many calls may overlap on threads.
    fn width(&self) -> usize {
        match &*self.mode() {
            Mode::Shared(_) => self.spec.max_concurrency.max(1) as usize,
            _ => 1,
        }
    }

    /// Begins with the constructor.
    pub(crate) fn start(self: &Arc<Self>) {
        self.lock().active = 1;
        if self.entry.actix {
            let local = LocalActor::new();
            *self.mode() = Mode::Local(local.clone());
            return local.construct(Arc::clone(self));
        }
        match self.entry.constructor {
            Constructor::Sync(_) => self.pool.schedule(Arc::clone(self) as Arc<dyn Strand>),
            Constructor::Async(construct) => {
                let actor = Arc::clone(self);
                let Some((input, dependencies)) = self.take_creation() else { return };
                let current = self.current_for_constructor();
                let process = Arc::clone(&self.host.process);
                process.spawn_user(async move {
                    let args = crate::call::OwnedTaskArgs::new(input, dependencies);
                    let future = enter(current.clone(), || construct(args));
                    let made = crate::worker::host::Entered::new(current, CatchState { future }).await;
                    if actor.constructed(made) {
                        actor.go_on();
                    }
                });
            }
        }
    }

    pub(crate) fn take_creation(&self) -> Option<(Value, Vec<Value>)> {
        self.creation.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn current_for_constructor(self: &Arc<Self>) -> Current {
        Current { host: Arc::clone(&self.host), job: Job::Constructor(Arc::clone(self)), running: None }
    }

    /// The constructor ran; `true` if calls may follow.
    pub(crate) fn constructed(self: &Arc<Self>, made: Constructed) -> bool {
        let process = &self.host.process;
        match made {
            Constructed::State(state) => {
                let mode = self.mode_of(state);
                *self.mode() = mode;
                self.lock().new = false;
                process.tell_raylet(self.lease.node, ToRaylet::ActorUp { run: self.run });
                true
            }
            Constructed::Failed(error) => {
                let error = error.subject(format!("constructor of {}", self.describe()));
                let text = error.to_string();
                self.end();
                process.tell_raylet(self.lease.node, ToRaylet::ActorFailed { run: self.run, text, error });
                false
            }
            Constructed::Crashed => {
                process.worker_crashed(&self.host);
                false
            }
            Constructed::Exited => {
                self.gone(Gone::Exited, "exit_actor() was called in its constructor");
                false
            }
        }
    }

    /// An `actix::Actor` has started, where it was constructed; its calls may follow.
    pub(crate) fn started(&self) {
        {
            let mut inbox = self.lock();
            inbox.new = false;
            inbox.active = 0;
        }
        self.host.process.tell_raylet(self.lease.node, ToRaylet::ActorUp { run: self.run });
    }

    fn mode_of(self: &Arc<Self>, state: ActorState) -> Mode {
        match state {
            ActorState::Single { state, into_cell } if self.entry.has_async => {
                let local = LocalActor::new();
                local.start(Arc::clone(self), state, into_cell);
                Mode::Local(local)
            }
            ActorState::Single { state, .. } => {
                *self.single.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
                Mode::Single
            }
            ActorState::Shared(state) => Mode::Shared(state),
            // It is where its constructor ran.
            ActorState::Actix(_) => Mode::None,
        }
    }

    /// Puts a call into the inbox, in order; gives it back if the incarnation has ended.
    pub(crate) fn push(self: &Arc<Self>, call: Job) -> Result<(), Job> {
        let fetch = self.to_be_fetched(&call);
        let mut inbox = self.lock();
        if inbox.ended {
            return Err(call);
        }
        inbox.calls.push_back(call);
        match fetch {
            None => self.wake(inbox),
            Some(task) => {
                inbox.fetching.insert(task.id());
                drop(inbox);
                self.fetch(task);
            }
        }
        Ok(())
    }

    /// The task of a call from this process, if arguments of it lie elsewhere.
    fn to_be_fetched(&self, call: &Job) -> Option<Arc<Task>> {
        match call {
            Job::Local { task, .. } if task.depends() && !self.host.process.has_dependencies(task) => {
                Some(Arc::clone(task))
            }
            _ => None,
        }
    }

    /// Fetches what a call needs, which keeps its place meanwhile.
    fn fetch(self: &Arc<Self>, task: Arc<Task>) {
        let actor = Arc::clone(self);
        let process = Arc::clone(&self.host.process);
        self.host.process.spawn(async move {
            if let Err(error) = process.fetch_dependencies(&task).await {
                Task::finish_all(&task, Resolved::Error(error.subject(task.describe())));
            }
            actor.lock().fetching.remove(&task.id());
            actor.poke();
        });
    }

    /// A call's arguments have come: its turn may have too.
    pub(crate) fn poke(self: &Arc<Self>) {
        self.wake(self.lock());
    }

    /// Makes another thread drain, if one may.
    fn wake(self: &Arc<Self>, mut inbox: MutexGuard<'_, Inbox>) {
        if inbox.new || inbox.calls.is_empty() {
            return;
        }
        if self.entry.is_local() {
            drop(inbox);
            if let Mode::Local(local) = &*self.mode() {
                local.wake();
            }
            return;
        }
        let width = if self.spec.max_concurrency <= 1 { 1 } else { self.width() };
        if inbox.active < width {
            inbox.active += 1;
            drop(inbox);
            self.pool.schedule(Arc::clone(self) as Arc<dyn Strand>);
        }
    }

    /// The constructor's turn is over: the calls that came meanwhile run.
    fn go_on(self: &Arc<Self>) {
        let mut inbox = self.lock();
        inbox.active = 0;
        if inbox.calls.is_empty() {
            drop(inbox);
            self.end_if_asked();
            return;
        }
        let more = inbox.calls.len();
        self.wake(inbox);
        for _ in 1..more.min(self.spec.max_concurrency.max(1) as usize) {
            self.wake(self.lock());
        }
    }

    /// The next call for the local executor.
    pub(crate) fn next_local(self: &Arc<Self>) -> Option<Job> {
        // The messages of an `actix::Actor` are never out of order.
        self.lock().next_ready(self.spec.max_concurrency <= 1 || self.entry.actix)
    }

    /// Whether the local executor shall end the actor now that nothing is left to do.
    pub(crate) fn idle_local(self: &Arc<Self>) {
        self.end_if_asked();
    }

    /// Asks the incarnation to end.
    pub(crate) fn ask_end(self: &Arc<Self>, kill: bool) {
        let idle = {
            let mut inbox = self.lock();
            inbox.ending = inbox.ending.max(if kill { Ending::Now } else { Ending::AfterCalls });
            inbox.active == 0 && !inbox.new
        };
        if kill {
            self.gone(Gone::Ended, "it was killed");
        } else if idle {
            if self.entry.is_local() {
                if let Mode::Local(local) = &*self.mode() {
                    local.wake();
                }
            } else {
                self.end_if_asked();
            }
        }
    }

    fn end_if_asked(self: &Arc<Self>) {
        if self.shall_end() {
            self.gone(Gone::Ended, "it ended after its last call, as asked");
        }
    }

    /// Whether it was asked to end and has nothing left to do.
    pub(crate) fn shall_end(&self) -> bool {
        let inbox = self.lock();
        inbox.ending == Ending::AfterCalls && inbox.calls.is_empty() && inbox.running.is_empty() && !inbox.ended
    }

    /// The incarnation ends now, whatever runs: the raylet hears how and why.
    pub(crate) fn gone(self: &Arc<Self>, how: Gone, text: &str) {
        let mut calls = self.end();
        calls.splice(0..0, std::mem::take(&mut self.lock().running));
        let gone = ToRaylet::ActorGone { run: self.run, how, text: text.to_owned() };
        self.host.process.tell_raylet(self.lease.node, gone);
        self.lose(calls, text);
    }

    /// The incarnation's worker crashed (its thread, in thread mode): as `gone`, but the raylet knows.
    pub(crate) fn crashed(self: &Arc<Self>) {
        let mut calls = self.end();
        calls.splice(0..0, std::mem::take(&mut self.lock().running));
        self.lose(calls, "its worker crashed");
    }

    /// Takes no more calls; gives out those that have not begun.
    fn end(self: &Arc<Self>) -> Vec<Job> {
        self.dead.store(true, Ordering::Release);
        self.host.dead.store(true, Ordering::Release);
        let calls = {
            let mut inbox = self.lock();
            inbox.ended = true;
            std::mem::take(&mut inbox.calls).into_iter().collect()
        };
        self.host.process.actor_ended(self);
        if let Mode::Local(local) = &*self.mode() {
            local.wake();
        }
        let state = {
            let mut mode = self.mode();
            match &*mode {
                // It ends itself.
                Mode::Local(_) => None,
                _ => Some(std::mem::replace(&mut *mode, Mode::None)),
            }
        };
        self.drop_state(state);
        calls
    }

    /// Drops the state of an actor that has ended, where no call runs on it; else the thread that runs the call does.
    fn drop_state(&self, shared: Option<Mode>) {
        let single = self.single.try_lock().ok().and_then(|mut single| single.take());
        if single.is_none() && !matches!(shared, Some(Mode::Shared(_))) {
            return;
        }
        // Destructors are user code, and this may be the thread that answers the network.
        self.pool.schedule(Arc::new(Garbage(Mutex::new(Some((single, shared))))));
    }

    /// Calls that this incarnation will not answer. Local ones wait at their clients for the word of the GCS;
    /// callers elsewhere hear of it from the GCS.
    fn lose(&self, calls: Vec<Job>, why: &str) {
        let mut tasks: Vec<Arc<Task>> = Vec::new();
        for call in calls {
            if let Job::Local { task, .. } = call {
                tasks.push(task);
            }
        }
        let client = tasks.iter().find_map(|task| match &task.what {
            What::Method(call) => Some(Arc::clone(&call.client)),
            _ => None,
        });
        if let Some(client) = client {
            client.lost_here(self.run.incarnation, tasks, why);
        }
    }

    /// Cancels a call: one that waits is never run, an async one is dropped at its next await. `false` if it is not
    /// here.
    pub(crate) fn cancel(&self, id: TaskId) -> bool {
        let (waited, runs) = {
            let mut inbox = self.lock();
            let waited = inbox.calls.iter().position(|call| call.id() == id);
            let waited = waited.and_then(|at| inbox.calls.remove(at));
            let runs = inbox.running.iter().find(|job| job.id() == id);
            if let Some(Job::Remote(job)) = runs {
                job.cancel();
            }
            (waited.is_some(), runs.is_some())
        };
        self.host.wake(id);
        self.host.process.cancel_async(id) || waited || runs
    }

    pub(crate) fn began(&self, job: &Job) {
        self.lock().running.push(job.clone());
    }

    /// A call has ended: its caller gets the outcome. `false` if the incarnation ends with it.
    pub(crate) fn answered(
        self: &Arc<Self>,
        job: Job,
        ended: Ended,
        ns: u32,
        replies: &mut Vec<remote::Reply>,
    ) -> bool {
        {
            let mut inbox = self.lock();
            let id = job.id();
            if let Some(at) = inbox.running.iter().position(|other| other.id() == id) {
                inbox.running.swap_remove(at);
            } else if inbox.ended {
                // It was given up when the actor was killed.
                return false;
            }
        }
        let outcome = match ended {
            Ended::Answered(outcome) => outcome,
            Ended::Crashed => {
                self.lock().running.push(job);
                self.host.process.worker_crashed(&self.host);
                return false;
            }
            Ended::Exited => {
                self.lock().running.push(job);
                self.gone(Gone::Exited, "it called exit_actor()");
                return false;
            }
        };
        match job {
            Job::Local { task, attempt, .. } => {
                if task.owner.answered(&task, attempt, outcome, self.host.process.id.node)
                    && let What::Method(call) = &task.what
                {
                    call.client.retry(&task);
                }
            }
            Job::Remote(job) => replies.push(remote::Reply { job, outcome, ns }),
            Job::Constructor(_) => {}
        }
        true
    }

    fn call(self: &Arc<Self>, job: &Job) -> Ended {
        let Some(method) = job.method() else {
            let unknown = if let Job::Remote(job) = job { job.unknown().cloned() } else { None };
            return Ended::Answered(Err(unknown.unwrap_or_else(|| Error::task("a task reached an actor"))));
        };
        if job.is_cancelled() {
            return Ended::Answered(Err(Error::task_cancelled("the call was cancelled before it began")));
        }
        let current = Current { host: Arc::clone(&self.host), job: job.clone(), running: None };
        enter(current, || self.call_method(method, job))
    }

    fn call_method(self: &Arc<Self>, method: &'static MethodEntry, job: &Job) -> Ended {
        let shared = match &*self.mode() {
            Mode::Shared(state) => Some(Arc::clone(state)),
            _ => None,
        };
        if let Some(state) = shared {
            return call_shared(&*state, method, job);
        }
        // One thread at a time runs a strand: the lock is never waited for, and a panic inside is caught inside.
        let mut single = self.single.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = match (single.as_deref_mut(), method.call) {
            (Some(state), MethodCall::SyncMut(call)) => with_input(job, |args| call(state, args)),
            (Some(state), MethodCall::SyncRef(call)) => with_input(job, |args| call(&*state, args)),
            _ => Ended::Answered(Err(Error::actor_died("the actor has ended"))),
        };
        if self.dead.load(Ordering::Acquire) {
            // It ended while the call ran.
            drop(single.take());
        }
        ended
    }
}

/// What is left of an actor that has ended: the state of a strand's, and how others were run.
type Remains = (Option<Box<dyn Any + Send>>, Option<Mode>);

/// The state of an actor that has ended, to be dropped where user code may run.
struct Garbage(Mutex<Option<Remains>>);

impl Strand for Garbage {
    fn drain(self: Arc<Self>) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if catch_unwind(AssertUnwindSafe(|| drop(state))).is_err() {
            tracing::warn!("the destructor of an actor's state panicked");
        }
        false
    }

    fn is_urgent(&self) -> bool {
        false
    }
}

impl Inbox {
    /// The next call whose arguments are here: the first, or where calls may overlap the first that is ready.
    fn next_ready(&mut self, in_order: bool) -> Option<Job> {
        let fetching = &self.fetching;
        let ready = |job: &Job| match job {
            Job::Remote(job) => job.may_begin(),
            Job::Local { task, .. } => fetching.is_empty() || !fetching.contains(&task.id()),
            Job::Constructor(_) => true,
        };
        match self.calls.front() {
            Some(first) if ready(first) => self.calls.pop_front(),
            Some(_) if !in_order => {
                let at = self.calls.iter().position(ready)?;
                self.calls.remove(at)
            }
            _ => None,
        }
    }
}

fn with_input(job: &Job, call: impl FnOnce(&mut TaskArgs<'_>) -> crate::program::Outcome) -> Ended {
    match job.input() {
        Ok((input, dependencies)) => guarded(|| call(&mut TaskArgs::new(&input, &dependencies))),
        Err(error) => Ended::Answered(Err(error)),
    }
}

fn call_shared(state: &dyn SharedState, method: &'static MethodEntry, job: &Job) -> Ended {
    let mut ended = None;
    match method.call {
        MethodCall::SyncMut(call) => {
            state.write(&mut |state| ended = Some(with_input(job, |args| call(state, args))));
        }
        MethodCall::SyncRef(call) => {
            state.read(&mut |state| ended = Some(with_input(job, |args| call(state, args))));
        }
        MethodCall::AsyncMut(_) | MethodCall::AsyncRef(_) | MethodCall::Actix(_) => {}
    }
    ended.unwrap_or_else(|| Ended::Answered(Err(Error::task("an async method of a sync actor"))))
}

/// Begins a run in this process: its arguments are fetched, its constructor runs.
pub(crate) fn begin(process: &Arc<Process>, run: ActorRun, spec: ActorSpec, lease: LeaseId, worker: WorkerId) {
    let creation = spec.creation.clone();
    let (entry, input, dependencies) = match read_creation(&creation) {
        Ok(read) => read,
        Err(error) => return fail(process, run, error),
    };
    if let (Part::Here(input), Some(dependencies)) = (&input, all_here(&dependencies)) {
        return go(process, entry, run, spec, lease, worker, (input.clone(), dependencies));
    }
    process.begin_start(run);
    let process = Arc::clone(process);
    process.clone().spawn(async move {
        let fetched = fetch(&process, input, dependencies).await;
        if !process.end_start(run) {
            return;
        }
        match fetched {
            Ok(args) => go(&process, entry, run, spec, lease, worker, args),
            Err(error) => fail(&process, run, error),
        }
    });
}

fn go(
    process: &Arc<Process>,
    entry: &'static ActorEntry,
    run: ActorRun,
    spec: ActorSpec,
    lease: LeaseId,
    worker: WorkerId,
    args: (Value, Vec<Value>),
) {
    let namespace = Arc::from(spec.namespace.as_str());
    let host = Host::new(Arc::clone(process), worker, spec.job, namespace, Some((run.actor, run.incarnation)));
    let actor = ActorHost::new(host, entry, run, spec, lease, args);
    process.add_actor(&actor);
    actor.start();
}

fn fail(process: &Arc<Process>, run: ActorRun, error: Error) {
    let text = error.to_string();
    process.tell_raylet(process.id.node, ToRaylet::ActorFailed { run, text, error });
}

/// A part of a constructor's arguments.
enum Part {
    Here(Value),
    Elsewhere(ObjectId),
}

fn read_creation(creation: &[u8]) -> Result<(&'static ActorEntry, Part, Vec<Part>)> {
    let creation: WireCreation<'_> = postcard::from_bytes(creation)
        .map_err(|error| Error::serialization(format!("the actor's arguments cannot be decoded: {error}")))?;
    let entry = crate::program::program().actor(creation.class)?;
    let read = |part: &WirePart<'_>| match part {
        // Values with refs in them are always asked for.
        WirePart::Value(value) if !value.refs.0.is_empty() => {
            Err(Error::serialization("the actor's arguments have refs that nobody gave"))
        }
        WirePart::Value(value) => Ok(Part::Here(value.read(|_| unreachable!("there are no refs, as was checked")))),
        WirePart::Object(id) => Ok(Part::Elsewhere(*id)),
    };
    let dependencies: Result<Vec<Part>> = creation.dependencies.iter().map(read).collect();
    Ok((entry, read(&creation.input)?, dependencies?))
}

fn all_here(parts: &[Part]) -> Option<Vec<Value>> {
    let here = parts.iter().map(|part| match part {
        Part::Here(value) => Some(value.clone()),
        Part::Elsewhere(_) => None,
    });
    here.collect()
}

async fn fetch(process: &Arc<Process>, input: Part, dependencies: Vec<Part>) -> Result<(Value, Vec<Value>)> {
    let mut values = Vec::with_capacity(dependencies.len() + 1);
    for part in std::iter::once(input).chain(dependencies) {
        values.push(match part {
            Part::Here(value) => value,
            Part::Elsewhere(id) => process.obtain(id).await?,
        });
    }
    let input = values.remove(0);
    Ok((input, values))
}

/// The number that an actor answers at in its process.
pub(crate) fn number(actor: crate::ids::ActorId) -> u64 {
    actor.0.as_u64_pair().1
}

/// How a constructor ended.
pub(crate) enum Constructed {
    State(ActorState),
    Failed(Error),
    Crashed,
    Exited,
}

pub(crate) fn construct(call: impl FnOnce() -> Result<ActorState>) -> Constructed {
    let mut made = None;
    let ended = guarded(|| {
        made = Some(call());
        Ok(crate::call::Returns::Many(Vec::new()))
    });
    match (made, ended) {
        (Some(Ok(state)), _) => Constructed::State(state),
        (Some(Err(error)), _) => Constructed::Failed(error),
        (None, Ended::Answered(Err(error))) => Constructed::Failed(error),
        (None, Ended::Exited) => Constructed::Exited,
        (None, _) => Constructed::Crashed,
    }
}

/// An async constructor, whose panic is how it ended.
pub(crate) struct CatchState {
    pub(crate) future: crate::program::BoxFuture<Result<ActorState, Error>>,
}

impl std::future::Future for CatchState {
    type Output = Constructed;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Constructed> {
        use std::task::Poll;
        let mut polled = None;
        let ended = guarded(|| {
            polled = Some(self.future.as_mut().poll(cx));
            Ok(crate::call::Returns::Many(Vec::new()))
        });
        match (polled, ended) {
            (Some(Poll::Pending), _) => Poll::Pending,
            (Some(Poll::Ready(Ok(state))), _) => Poll::Ready(Constructed::State(state)),
            (Some(Poll::Ready(Err(error))), _) | (None, Ended::Answered(Err(error))) => {
                Poll::Ready(Constructed::Failed(error))
            }
            (None, Ended::Exited) => Poll::Ready(Constructed::Exited),
            (None, _) => Poll::Ready(Constructed::Crashed),
        }
    }
}

impl Strand for ActorHost {
    fn drain(self: Arc<Self>) -> bool {
        if self.lock().new {
            if let (Constructor::Sync(call), Some((input, dependencies))) =
                (self.entry.constructor, self.take_creation())
            {
                let current = self.current_for_constructor();
                let made = enter(current, || construct(|| call(&mut TaskArgs::new(&input, &dependencies))));
                if self.constructed(made) {
                    self.go_on();
                }
            }
            return false;
        }
        let start = self.host.process.env.now();
        let mut began = start;
        let mut replies = Vec::new();
        let mut calls = 0;
        let more = loop {
            let job = {
                let mut inbox = self.lock();
                match inbox.next_ready(self.spec.max_concurrency <= 1) {
                    Some(job) if !inbox.ended => {
                        inbox.running.push(job.clone());
                        job
                    }
                    _ => {
                        inbox.active = inbox.active.saturating_sub(1);
                        break false;
                    }
                }
            };
            let ended = self.call(&job);
            let now = self.host.process.env.now();
            let ns = now.saturating_sub(began).as_nanos().min(u128::from(u32::MAX)) as u32;
            began = now;
            if !self.answered(job, ended, ns, &mut replies) {
                // A crash of the worker has counted this thread out already.
                let mut inbox = self.lock();
                inbox.active = inbox.active.saturating_sub(1);
                break false;
            }
            calls += 1;
            // An answer does not wait behind a long call.
            if replies.len() >= 64 || (ns > 100_000 && !replies.is_empty()) {
                remote::send_replies(&self.host, std::mem::take(&mut replies));
            }
            if calls >= TURN_CALLS || now.saturating_sub(start) >= TURN {
                break true;
            }
        };
        if !replies.is_empty() {
            remote::send_replies(&self.host, replies);
        }
        if !more {
            self.end_if_asked();
        }
        more
    }

    fn is_urgent(&self) -> bool {
        false
    }
}
