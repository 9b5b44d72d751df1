//! The side that runs an actor: one incarnation, with its inbox and its state.
//!
//! A sync actor is a strand: executor threads drain its inbox, one at a time, or up to `max_concurrency` at once if its
//! type is `Sync`. An actor with async methods lives on one thread of the process's local executors ([`super::local`]),
//! where its calls start in order and overlap as its lock allows. An `actix::Actor` lives on such a thread too, in its
//! context ([`super::actix`]).

use std::any::Any;
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::actor::begin::Constructed;
use crate::actor::credit::Credit;
use crate::actor::local::LocalActor;
use crate::actor::turn::CallerKey;
use crate::api::error::Result;
use crate::ids::TaskId;
use crate::object::Resolved;
use crate::program::{ActorEntry, ActorState, Constructor, Kept, SharedState};
use crate::protocol::calls::REPLIES;
use crate::protocol::{ActorRun, ActorSpec, Gone, ToRaylet};
use crate::rarely::Rarely;
use crate::resources::Quantity;
use crate::task::{Task, What};
use crate::value::Value;
use crate::worker::host::{Current, Host, Runs};
use crate::worker::job::Job;
use crate::worker::pool::{Crew, Pool, Strand};
use crate::worker::remote;

/// How long the word of an actor's end waits for its answers.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// How an incarnation is going to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    No,
    /// After the calls already here.
    AfterCalls,
    Now,
}

/// What calls of an inbox wait for.
#[derive(Default)]
pub(super) struct Unready {
    /// Of an actor that keeps order: the callers that wait for an argument, and how many calls from the front on are theirs.
    pub(super) held: BTreeSet<Option<CallerKey>>,
    pub(super) held_calls: usize,
    /// Calls from this process whose arguments lie elsewhere and are on their way.
    pub(super) fetching: BTreeSet<TaskId>,
}

pub(super) struct Inbox {
    pub(super) calls: VecDeque<Job>,
    pub(super) unready: Rarely<Unready>,
    /// The constructor's arguments, until it runs.
    creation: Option<Box<Creation>>,
    /// Threads that drain, or will.
    pub(super) active: u32,
    /// The constructor has not finished.
    pub(super) new: bool,
    pub(super) ending: Ending,
    pub(super) ended: bool,
}

impl Inbox {
    /// Where a call waits.
    fn find(&self, id: TaskId) -> Option<usize> {
        // One caller's mostly stand in the order of their numbers.
        let likely = self.calls.binary_search_by_key(&id.seq, |call| call.id().seq).ok();
        let likely = likely.filter(|at| self.calls.get(*at).is_some_and(|call| call.id() == id));
        likely.or_else(|| self.calls.iter().position(|call| call.id() == id))
    }
}

/// The state of a sync actor whose calls do not overlap.
pub(super) type SingleState = Kept<Box<dyn Any + Send>>;

/// What a constructor is given, as a call is.
type Creation = (Value, Vec<Value>);

/// Where the state is.
pub(super) enum Mode {
    /// Not constructed.
    None,
    /// Beside, behind a lock of its own.
    Single,
    /// Calls overlap, on threads of the actor's own.
    Shared(Arc<dyn SharedState>, Crew),
    Local(LocalActor),
}

/// One incarnation of an actor. In this order: what callers write for each call lies apart from what is written for each
/// answer.
#[repr(C)]
pub(crate) struct ActorHost {
    pub(crate) host: Arc<Host>,
    pub(crate) entry: &'static ActorEntry,
    pub(crate) spec: Arc<ActorSpec>,
    inbox: Mutex<Inbox>,
    /// What callers in other processes may have in flight.
    pub(super) credit: Mutex<Rarely<Credit>>,
    /// Calls that were taken out to run and are not answered, in order. Not the inbox's: callers lock that for each call,
    /// and this is locked for each answer. A call moves here under both locks, the inbox's first.
    running: Mutex<VecDeque<Job>>,
    pub(super) mode: Mutex<Mode>,
    /// Locked while calls run.
    pub(super) single: Mutex<Option<SingleState>>,
    /// Answers to other processes that are to be sent together.
    pub(super) unsent: Mutex<Rarely<Vec<remote::Reply>>>,
    pub(crate) dead: AtomicBool,
    /// Somebody will look soon whether any answers wait to be sent.
    pub(super) alarmed: AtomicBool,
}

impl ActorHost {
    pub(crate) fn new(
        host: Arc<Host>,
        entry: &'static ActorEntry,
        spec: Arc<ActorSpec>,
        creation: Creation,
    ) -> Arc<ActorHost> {
        if spec.hold.cpu() > Quantity::ZERO {
            host.lending.holds_cpu();
        }
        Arc::new(ActorHost {
            host,
            entry,
            spec,
            inbox: Mutex::new(Inbox {
                calls: VecDeque::new(),
                unready: Rarely::new(),
                creation: Some(Box::new(creation)),
                active: 0,
                new: true,
                ending: Ending::No,
                ended: false,
            }),
            running: Mutex::default(),
            mode: Mutex::new(Mode::None),
            single: Mutex::new(None),
            unsent: Mutex::default(),
            dead: AtomicBool::new(false),
            alarmed: AtomicBool::new(false),
            credit: Mutex::default(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inbox> {
        // No user code runs under the lock.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn running(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn mode(&self) -> MutexGuard<'_, Mode> {
        self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The actor's number in its process.
    pub(crate) fn number(&self) -> u64 {
        number(self.spec.id)
    }

    pub(crate) fn run(&self) -> ActorRun {
        let Some(run) = self.host.run() else {
            unreachable!("its host was made of a run, where it was itself (`begin::go`)")
        };
        run
    }

    fn pool(&self) -> &Arc<Pool> {
        &self.host.process.pool
    }

    /// Tells the raylet that its lease is of.
    fn tell_raylet(&self, message: ToRaylet) {
        if let Some(lease) = self.host.lease() {
            self.host.process.tell_raylet(lease.node, message);
        }
    }

    pub(crate) fn describe(&self) -> String {
        format!("actor {} ({})", self.entry.name(), self.spec.id)
    }

    /// How many calls may overlap on threads.
    fn width(&self) -> u32 {
        match &*self.mode() {
            Mode::Shared(..) => self.spec.max_concurrency.max(1),
            _ => 1,
        }
    }

    /// Begins with the constructor.
    pub(crate) fn start(self: &Arc<Self>) {
        self.lock().active = 1;
        if !self.entry.actix && matches!(self.entry.constructor, Constructor::Sync(_)) {
            return self.pool().schedule(Arc::clone(self) as Arc<dyn Strand>);
        }
        let local = LocalActor::new();
        *self.mode() = Mode::Local(local.clone());
        local.construct(Arc::clone(self));
    }

    pub(crate) fn take_creation(&self) -> Option<Creation> {
        self.lock().creation.take().map(|creation| *creation)
    }

    pub(crate) fn current_for_constructor(self: &Arc<Self>) -> Current {
        Current { host: Arc::clone(&self.host), job: Job::Constructor(Arc::clone(self)), runs: Runs::Alone }
    }

    /// The constructor ran; `true` if calls may follow.
    pub(crate) fn constructed(self: &Arc<Self>, made: Constructed) -> bool {
        let process = &self.host.process;
        match made {
            Constructed::State(state) => {
                let mode = match self.mode_of(state) {
                    Ok(mode) => mode,
                    Err(error) => return self.constructed(Constructed::Failed(error)),
                };
                *self.mode() = mode;
                if self.pool().is_closed() {
                    // Its process has ended meanwhile, when there was nothing to cut.
                    self.cut();
                }
                self.lock().new = false;
                if self.dead.load(Ordering::Acquire) {
                    // It was killed meanwhile, when there was no state to drop.
                    if let Mode::Local(local) = &*self.mode() {
                        local.end();
                    }
                    self.drop_state();
                }
                self.tell_raylet(ToRaylet::ActorUp { run: self.run() });
                true
            }
            Constructed::Failed(error) => {
                let error = error.subject(format!("constructor of {}", self.describe()));
                let text = error.to_string();
                self.end();
                self.tell_raylet(ToRaylet::ActorFailed { run: self.run(), text, error });
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

    /// It was constructed where it stays, and has started; its calls may follow.
    pub(crate) fn started(&self) {
        {
            let mut inbox = self.lock();
            inbox.new = false;
            inbox.active = 0;
        }
        self.tell_raylet(ToRaylet::ActorUp { run: self.run() });
    }

    fn mode_of(self: &Arc<Self>, state: ActorState) -> Result<Mode> {
        Ok(match state {
            ActorState::Single { state, into_cell } if self.entry.has_async => {
                let local = LocalActor::new();
                local.start(Arc::clone(self), state, into_cell)?;
                Mode::Local(local)
            }
            ActorState::Single { state, .. } => {
                *self.single.lock().unwrap_or_else(PoisonError::into_inner) = Some(Kept::new(state));
                Mode::Single
            }
            ActorState::Shared(state) => {
                let width = self.spec.max_concurrency.max(1) as usize;
                Mode::Shared(state, Crew::new(&self.host.process, width))
            }
            // It is where its constructor ran.
            ActorState::Actix(_) => Mode::None,
        })
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
                inbox.unready.make().fetching.insert(task.id());
                drop(inbox);
                self.fetch(task);
            }
        }
        Ok(())
    }

    /// The task of a call from this process, if arguments of it lie elsewhere.
    fn to_be_fetched(&self, call: &Job) -> Option<Arc<Task>> {
        match call {
            Job::Local { task, .. } if task.depends() && !self.host.process.keep_dependencies(task) => {
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
            if let Err(error) = process.fetch_dependencies(&task, None).await {
                Task::finish_all(&task, Resolved::Error(error.subject(task.describe())));
            }
            actor.lock().unready.make().fetching.remove(&task.id());
            actor.poke();
        });
    }

    /// A call's arguments have come: its turn may have too.
    pub(crate) fn poke(self: &Arc<Self>) {
        let mut inbox = self.lock();
        inbox.look_anew();
        self.wake(inbox);
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
            let strand = Arc::clone(self) as Arc<dyn Strand>;
            let mode = (width > 1).then(|| self.mode());
            match mode.as_deref() {
                Some(Mode::Shared(_, crew)) => crew.schedule(strand),
                _ => self.pool().schedule(strand),
            }
        }
    }

    /// Its process has ended, and its pool is closed: no call begins any more.
    pub(crate) fn cut(&self) {
        if let Mode::Shared(_, crew) = &*self.mode() {
            crew.close();
        }
    }

    /// The constructor's turn is over: the calls that came meanwhile run.
    pub(super) fn go_on(self: &Arc<Self>) {
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

    /// The next call for the local executor: from now on it runs.
    pub(crate) fn next_local(self: &Arc<Self>) -> Option<Job> {
        // The messages of an `actix::Actor` are never out of order.
        let in_order = self.spec.max_concurrency <= 1 || self.entry.actix;
        let mut inbox = self.lock();
        let job = inbox.next_ready(in_order)?;
        self.running().push_back(job.clone());
        Some(job)
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

    pub(super) fn end_if_asked(self: &Arc<Self>) {
        if self.shall_end() {
            self.gone(Gone::Ended, "it ended after its last call, as asked");
        }
    }

    /// Whether it was asked to end and has nothing left to do.
    pub(crate) fn shall_end(&self) -> bool {
        let inbox = self.lock();
        inbox.ending == Ending::AfterCalls && inbox.calls.is_empty() && self.running().is_empty() && !inbox.ended
    }

    /// The incarnation ends now, whatever runs: the raylet hears how and why.
    pub(crate) fn gone(self: &Arc<Self>, how: Gone, text: &str) {
        let calls = self.end();
        // Those that it has answered have their answers before they hear of its end.
        self.send_answers();
        let owner = self.host.owner_if_any().map(|owner| owner.id);
        let gone = ToRaylet::ActorGone { run: self.run(), how, text: text.to_owned(), owner };
        if self.lock().ending == Ending::Now {
            self.tell_raylet(gone);
        } else if self.host.has_unsent() {
            let host = Arc::clone(self);
            self.host.process.spawn(async move {
                host.host.answers_sent(ANSWERED_WITHIN).await;
                host.tell_after_answers(gone);
            });
        } else {
            self.tell_after_answers(gone);
        }
        self.lose(calls, text);
    }

    /// Tells the raylet behind what was answered before.
    fn tell_after_answers(self: &Arc<Self>, gone: ToRaylet) {
        let host = Arc::clone(self);
        self.host.process.room.after(REPLIES, move || host.tell_raylet(gone));
    }

    /// The incarnation's worker crashed (its thread, in thread mode): as `gone`, but the raylet knows.
    pub(crate) fn crashed(self: &Arc<Self>) {
        let calls = self.end();
        self.lose(calls, "its worker crashed");
    }

    /// Takes no more calls; gives out those that run, and those that have not begun.
    fn end(self: &Arc<Self>) -> Vec<Job> {
        let calls = {
            let mut inbox = self.lock();
            inbox.ended = true;
            // Given up before anything can end them: nobody is told that they were cancelled.
            let running = std::mem::take(&mut *self.running());
            self.dead.store(true, Ordering::Release);
            self.host.dead.store(true, Ordering::Release);
            running.into_iter().chain(std::mem::take(&mut inbox.calls)).collect()
        };
        self.host.wake_all();
        self.host.process.actor_ended(self);
        if let Mode::Local(local) = &*self.mode() {
            local.end();
        }
        self.drop_state();
        calls
    }

    /// Drops the state of an actor that has ended, where no call runs on it; else the thread that runs the call does.
    pub(super) fn drop_state(&self) {
        let shared = {
            let mut mode = self.mode();
            match &*mode {
                // It ends itself.
                Mode::Local(_) => None,
                _ => Some(std::mem::replace(&mut *mode, Mode::None)),
            }
        };
        let single = self.single.try_lock().ok().and_then(|mut single| single.take());
        if single.is_none() && !matches!(shared, Some(Mode::Shared(..))) {
            return;
        }
        // Destructors are user code, and this may be the thread that answers the network.
        self.pool().schedule(Arc::new(Garbage(Mutex::new(Some((single, shared))))));
    }

    /// Calls that this incarnation will not answer. Local ones wait at their clients for the word of the GCS;
    /// callers elsewhere hear of it from the GCS.
    fn lose(&self, calls: Vec<Job>, why: &str) {
        let mut tasks: Vec<Arc<Task>> = Vec::new();
        for call in calls {
            // What it needs may never come.
            self.host.process.store.cancel_fetches(call.id());
            if let Job::Local { task, .. } = call {
                tasks.push(task);
            }
        }
        let client = tasks.iter().find_map(|task| match &task.what {
            What::Method(call) => Some(Arc::clone(call.client.real())),
            _ => None,
        });
        if let Some(client) = client {
            client.lost_here(self.run().incarnation, tasks, why);
        }
    }

    /// Cancels a call: one that waits is never run, an async one is dropped at its next await. `false` if it is not
    /// here.
    pub(crate) fn cancel(self: &Arc<Self>, id: TaskId) -> bool {
        let (waited, runs) = {
            let mut inbox = self.lock();
            let waited = inbox.find(id).and_then(|at| inbox.calls.remove(at));
            inbox.look_anew();
            let running = self.running();
            let runs = running.iter().find(|job| job.id() == id);
            if let Some(Job::Remote(job)) = runs {
                job.cancel();
            }
            (waited, runs.is_some())
        };
        self.host.wake(id);
        // It may wait for room beside others.
        if let Mode::Local(local) = &*self.mode() {
            local.wake();
        }
        let was_waiting = waited.is_some();
        drop(waited);
        self.host.process.store.cancel_fetches(id);
        if was_waiting && !self.entry.is_local() {
            // What it held up may begin; if nothing is left, nobody else looks whether the actor is to end.
            self.wake(self.lock());
            self.end_if_asked();
        }
        self.host.process.cancel_async(id) || was_waiting || runs
    }
}

/// What is left of an actor that has ended: the state of a strand's, and how others were run.
type Remains = (Option<SingleState>, Option<Mode>);

/// The state of an actor that has ended, to be dropped where user code may run.
struct Garbage(Mutex<Option<Remains>>);

impl Strand for Garbage {
    fn drain(self: Arc<Self>) -> bool {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        false
    }

    fn is_urgent(&self) -> bool {
        false
    }
}

/// The number that an actor answers at in its process.
pub(crate) fn number(actor: crate::ids::ActorId) -> u64 {
    actor.0.as_u64_pair().1
}
