//! A process's view of one actor: where it is, and the calls on their way to it.
//!
//! Calls keep their order per caller (a task, an actor, a driver). A call whose argument is not ready holds up later
//! ones of its caller only if the actor runs one call at a time. What the actor cannot take yet waits here, not
//! there: until it is alive, and beyond [`WINDOW`] unanswered calls to another process.
//!
//! Invariants:
//! - CLIENT-1: a call is in one place: waiting here, in flight, in the actor's inbox, or ended.
//! - CLIENT-2: calls of one caller are sent in the order in which they were made, with the exception above.
//! - CLIENT-3: a call that was sent to an incarnation which died is never sent again unless its retries allow it; one
//!   that was not sent goes to the next incarnation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actinic_transport::{Lane, Peer};

use crate::actor::host::ActorHost;
use crate::actor::queues::{Queue, Queues};
use crate::api::error::{Error, Result};
use crate::gcs::core::ActorState;
use crate::ids::{ActorId, OwnerId, TaskId};
use crate::object::{RawRef, Resolved, Target};
use crate::owner::remote::{CANCEL_WITHIN, Cancelling, carried_refs, wire_dependencies};
use crate::process::Process;
use crate::program::{ActorEntry, MethodEntry};
use crate::protocol::calls::{CALLS, WireCall, WireCalls, WireValue};
use crate::protocol::{ActorNews, WORKER};
use crate::task::{Meta, Task, What};
use crate::testing::Message as Lost;
use crate::wait::Waiter;
use crate::worker::job::Job;
use crate::worker::remote::ToWorker;

/// How many unanswered calls are in flight to an actor of another process.
const WINDOW: usize = 8192;
/// How many bytes may wait for the network before calls wait here instead: far below what ends a session.
const WINDOW_BYTES: usize = 16 << 20;
/// One handle, in a client's count of what keeps its actor alive.
const HANDLE: u64 = 1 << 32;

/// Who calls: the order of calls is kept for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    /// A driver, or an actor.
    Owner(OwnerId),
    Task(TaskId),
}

/// What a task that is an actor call adds to a task.
pub(crate) struct ActorCall {
    pub(crate) client: Arc<Client>,
    pub(crate) method: &'static MethodEntry,
    /// The method's id: name and argument shape.
    pub(crate) method_id: u64,
    pub(crate) caller: Caller,
    pub(crate) given_name: Option<String>,
    /// Its arguments are ready.
    pub(crate) ready: AtomicBool,
    /// It had a place in its caller's queue before its arguments were ready.
    pub(crate) queued: AtomicBool,
    /// It counts among the client's unfinished calls.
    pub(crate) admitted: AtomicBool,
}

impl ActorCall {
    /// The call has ended, whichever way.
    pub(crate) fn ended(&self) {
        if self.admitted.swap(false, Ordering::AcqRel) {
            self.client.ended();
        }
    }

    pub(crate) fn name(&self) -> String {
        self.given_name.clone().unwrap_or_else(|| format!("{}.{}", self.client.class, self.method.name))
    }
}

enum At {
    /// Not alive yet, or not any more and not yet again.
    Nowhere,
    Here(Arc<ActorHost>),
    There {
        peer: Peer,
        incarnation: u32,
        actor: u64,
    },
    Dead(Error),
}

struct State {
    at: At,
    incarnation: u32,
    waiting: Queues,
    flying: BTreeMap<(u32, u64), Arc<Task>>,
    /// A call was sent that has not left: an owner elsewhere must hear of a ref in it first. It holds up the others.
    held: Option<u64>,
    /// What the actor waits for, as the GCS says, while it is not alive.
    waits: Option<String>,
    holds: u64,
    state: ActorState,
}

/// Hears why an actor is dead for good.
type OnClosed = Box<dyn FnOnce(Error) + Send>;

/// One actor, as this process knows it.
pub(crate) struct Client {
    pub(crate) id: ActorId,
    pub(crate) class: &'static str,
    pub(crate) entry: &'static ActorEntry,
    pub(crate) process: Arc<Process>,
    /// Whether one call at a time runs, and an unready one holds up those behind it.
    in_order: bool,
    pub(crate) limits: ClientLimits,
    /// The options of a call that says nothing of its own.
    pub(crate) plain_meta: Arc<Meta>,
    /// Handles in this process (the upper half) and unfinished calls (the lower): while there are any, the actor lives.
    alive: AtomicU64,
    /// After the calls already made nothing more is called.
    stopping: AtomicBool,
    state: Mutex<State>,
    /// The object whose last ref ends the actor, while there are handles or unfinished calls here. None for a detached
    /// one.
    lifeline: Mutex<Option<RawRef>>,
    /// Resolves when the actor was made, or not; whoever asks later gets one that is resolved.
    ready: Mutex<Option<RawRef>>,
    closed: Mutex<Vec<OnClosed>>,
}

/// What a handle must know of its actor, wherever it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientLimits {
    pub(crate) max_concurrency: u32,
    pub(crate) max_pending: i64,
    pub(crate) max_task_retries: i64,
}

impl Client {
    pub(crate) fn new(
        id: ActorId,
        entry: &'static ActorEntry,
        process: Arc<Process>,
        limits: ClientLimits,
    ) -> Arc<Client> {
        Arc::new(Client {
            id,
            class: entry.name(),
            entry,
            process,
            in_order: limits.max_concurrency <= 1,
            limits,
            plain_meta: crate::api::calling::plain_meta(limits.max_task_retries),
            alive: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            state: Mutex::new(State {
                at: At::Nowhere,
                incarnation: 0,
                waiting: Queues::default(),
                flying: BTreeMap::new(),
                held: None,
                waits: None,
                holds: 0,
                state: ActorState::PendingCreation,
            }),
            lifeline: Mutex::new(None),
            ready: Mutex::new(None),
            closed: Mutex::new(Vec::new()),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Plain data, and inboxes that lock nothing but themselves, under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn describe(&self) -> String {
        format!("actor {} ({})", self.class, self.id)
    }

    pub(crate) fn state(&self) -> ActorState {
        self.lock().state
    }

    /// The GCS says what the actor waits for.
    pub(crate) fn waits_for(&self, text: String) {
        self.lock().waits = Some(text);
    }

    /// Why a call has no answer yet, in words.
    pub(crate) fn explain(&self) -> String {
        let state = self.lock();
        match &state.waits {
            Some(text) => format!("its actor is {}: {text}", state.state),
            None => format!("its actor is {}", state.state),
        }
    }

    // ---- what keeps the actor alive

    /// One more handle in this process.
    pub(crate) fn hold(&self) {
        self.alive.fetch_add(HANDLE, Ordering::AcqRel);
    }

    /// One handle less.
    pub(crate) fn let_go(&self) {
        if self.alive.fetch_sub(HANDLE, Ordering::AcqRel) == HANDLE {
            self.unheld();
        }
    }

    /// What the handles here keep alive; only while there is one.
    pub(crate) fn set_lifeline(&self, lifeline: RawRef) {
        let _surplus = {
            let mut known = self.lifeline.lock().unwrap_or_else(PoisonError::into_inner);
            if known.is_none() { known.replace(lifeline) } else { Some(lifeline) }
        };
    }

    pub(crate) fn lifeline(&self) -> Option<RawRef> {
        self.lifeline.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn unheld(&self) {
        let _last = {
            let mut lifeline = self.lifeline.lock().unwrap_or_else(PoisonError::into_inner);
            // A handle may have arrived meanwhile.
            if self.alive.load(Ordering::Acquire) == 0 { lifeline.take() } else { None }
        };
    }

    /// Whether one more call is allowed now.
    pub(crate) fn admit(&self) -> Result<()> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(Error::actor_died(format!("{} was stopped (intended exit)", self.describe())));
        }
        let before = (self.alive.fetch_add(1, Ordering::AcqRel) & (HANDLE - 1)) as i64;
        if self.limits.max_pending >= 0 && before >= self.limits.max_pending {
            self.ended();
            return Err(Error::actor_pending_calls_limit(format!(
                "{} has {before} unfinished calls, and max_pending_calls is {}",
                self.describe(),
                self.limits.max_pending
            ))
            .remedy("wait for earlier calls, or raise `max_pending_calls`"));
        }
        Ok(())
    }

    fn ended(&self) {
        let before = self.alive.fetch_sub(1, Ordering::AcqRel);
        if before == 1 {
            self.unheld();
        }
        if before & (HANDLE - 1) == 1 && self.stopping.load(Ordering::Acquire) {
            self.tell_stop();
        }
    }

    /// Ends the actor after the calls already made here; later ones fail.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        if self.alive.load(Ordering::Acquire) & (HANDLE - 1) == 0 {
            self.tell_stop();
        }
    }

    fn tell_stop(&self) {
        self.process.tell_gcs(crate::protocol::ToGcs::StopActor { actor: self.id });
    }

    /// The actor was told to end: calls made from now on wait for what the GCS says of it.
    pub(crate) fn expect_end(&self) {
        let mut state = self.lock();
        if !matches!(state.at, At::Dead(_)) {
            state.at = At::Nowhere;
        }
    }

    fn call(task: &Task) -> &ActorCall {
        match &task.what {
            What::Method(call) => call,
            _ => unreachable!("only calls of methods are given to an actor's client"),
        }
    }

    /// A call was made, in this order; its arguments may not be ready. Those without dependencies are ready at once
    /// and enter at [`Client::ready`].
    pub(crate) fn submitted(self: &Arc<Self>, task: &Arc<Task>) {
        if task.with_input(|input| input.dependencies.is_empty()) {
            return;
        }
        let call = Client::call(task);
        call.queued.store(true, Ordering::Release);
        self.lock().waiting.push_back(call.caller, Arc::clone(task));
    }

    /// A call's arguments are ready.
    pub(crate) fn ready(self: &Arc<Self>, task: &Arc<Task>) {
        let call = Client::call(task);
        call.ready.store(true, Ordering::Release);
        let mut state = self.lock();
        if let At::Dead(error) = &state.at {
            let error = error.clone().subject(task.describe());
            state.waiting.drop_call(call.caller, task);
            drop(state);
            Task::finish_all(task, Resolved::Error(error));
            return;
        }
        if !call.queued.load(Ordering::Acquire) {
            let nothing_before = !state.waiting.has(call.caller);
            if (nothing_before || !self.in_order) && self.send(&mut state, task) {
                return;
            }
            call.queued.store(true, Ordering::Release);
            state.waiting.push_back(call.caller, Arc::clone(task));
            return;
        }
        self.pump(&mut state, call.caller);
    }

    /// A call shall run again: before the calls of its caller that were not sent.
    pub(crate) fn retry(self: &Arc<Self>, task: &Arc<Task>) {
        let call = Client::call(task);
        {
            let mut state = self.lock();
            if !matches!(state.at, At::Dead(_)) {
                call.queued.store(true, Ordering::Release);
                state.waiting.push_front(call.caller, Arc::clone(task));
                self.pump(&mut state, call.caller);
                return;
            }
        }
        // It fails as every call of a dead actor does.
        self.ready(task);
    }

    /// Sends what may be sent of a caller's queue.
    fn pump(self: &Arc<Self>, state: &mut State, caller: Caller) {
        let Some(mut queue) = state.waiting.take(caller) else { return };
        let mut passed = Vec::new();
        while let Some(task) = queue.pop_front() {
            if task.is_done() {
                continue;
            }
            if !Client::call(&task).ready.load(Ordering::Acquire) && !self.in_order {
                passed.push(task);
                continue;
            }
            if !Client::call(&task).ready.load(Ordering::Acquire) || !self.send(state, &task) {
                queue.push_front(task);
                break;
            }
        }
        for task in passed.into_iter().rev() {
            queue.push_front(task);
        }
        state.waiting.put_before(caller, queue);
    }

    fn pump_all(self: &Arc<Self>, state: &mut State) {
        for caller in state.waiting.callers() {
            self.pump(state, caller);
        }
    }

    /// Sends one call; `false` if the actor cannot take it now.
    fn send(self: &Arc<Self>, state: &mut State, task: &Arc<Task>) -> bool {
        match &state.at {
            At::Nowhere | At::Dead(_) => false,
            At::Here(host) => {
                let job = Job::Local { task: Arc::clone(task), attempt: task.attempt(), lease: u32::MAX };
                host.push(job).is_ok()
            }
            At::There { peer, incarnation, actor } => {
                if state.held.is_some() {
                    return false;
                }
                if !state.flying.is_empty() && (state.flying.len() >= WINDOW || peer.backlog() >= WINDOW_BYTES) {
                    return false;
                }
                let (peer, incarnation, actor) = (peer.clone(), *incarnation, *actor);
                state.holds += 1;
                if !self.send_call(&peer, incarnation, actor, task, state.holds) {
                    state.held = Some(state.holds);
                }
                state.flying.insert((task.owner.id.number, task.seq), Arc::clone(task));
                true
            }
        }
    }

    /// `false` if the call has not left yet: [`Client::left`] is called with `hold` when it has.
    fn send_call(self: &Arc<Self>, peer: &Peer, incarnation: u32, actor: u64, task: &Arc<Task>, hold: u64) -> bool {
        let call = Client::call(task);
        let input = task.input();
        let resolved: Vec<Resolved> = input
            .dependencies
            .iter()
            .map(|dependency| {
                dependency
                    .slot()
                    .get()
                    .unwrap_or_else(|| Resolved::Error(Error::object_lost("an argument is not ready")))
            })
            .collect();
        let name = call.name();
        let wire = WireCall {
            seq: task.seq,
            attempt: task.attempt(),
            method: call.method_id,
            name: &name,
            depth: task.depth,
            input: WireValue::of(&input.inline),
            dependencies: wire_dependencies(&input.dependencies, &resolved),
        };
        let message = WireCalls { owner: task.owner.id.number, actor, incarnation, calls: vec![wire] };
        let refs = carried_refs(&input, &resolved);
        let client = Arc::clone(self);
        let sent = self.process.send_with_refs(peer, (CALLS, Some(Lost::ActorCall)), &message, refs, move || {
            // Outside of the locks of whoever brought the word.
            client.process.clone().defer(move || client.left(hold));
        });
        sent.unwrap_or_else(|error| {
            let (client, task) = (Arc::clone(self), Arc::clone(task));
            self.process.defer(move || {
                Task::finish_all(&task, Resolved::Error(error.subject(task.describe())));
                client.answered(&task);
            });
            true
        })
    }

    /// A call that was held has left: those behind it follow.
    fn left(self: &Arc<Self>, hold: u64) {
        let mut state = self.lock();
        if state.held == Some(hold) {
            state.held = None;
            self.pump_all(&mut state);
        }
    }

    /// A call to another process was answered: there is room for the next.
    pub(crate) fn answered(self: &Arc<Self>, task: &Task) {
        let mut state = self.lock();
        state.flying.remove(&(task.owner.id.number, task.seq));
        if !state.waiting.is_empty() {
            self.pump_all(&mut state);
        }
    }

    /// The process that calls go to, if it is another.
    pub(crate) fn peer(&self) -> Option<Peer> {
        match &self.lock().at {
            At::There { peer, .. } => Some(peer.clone()),
            _ => None,
        }
    }

    /// A call failed before it was ready: it holds nobody up.
    pub(crate) fn skipped(self: &Arc<Self>, task: &Arc<Task>) {
        let caller = Client::call(task).caller;
        let mut state = self.lock();
        state.waiting.drop_call(caller, task);
        self.pump(&mut state, caller);
    }

    /// Cancels a call, wherever it is: nothing waits for its answer any more.
    pub(crate) fn cancel(self: &Arc<Self>, task: &Arc<Task>) -> Option<Cancelling> {
        let caller = Client::call(task).caller;
        let mut state = self.lock();
        state.waiting.drop_call(caller, task);
        let flew = state.flying.remove(&(task.owner.id.number, task.seq)).is_some();
        let mut cancelling = None;
        match &state.at {
            At::Here(host) => {
                let host = Arc::clone(host);
                drop(state);
                host.cancel(task.id());
                return None;
            }
            At::There { peer, actor, .. } if flew => {
                let message = ToWorker::CancelCall { owner: task.owner.id.number, seq: task.seq, actor: *actor };
                cancelling = Some(peer.ask_on(Lane::Urgent, WORKER, &message, CANCEL_WITHIN));
            }
            _ => {}
        }
        self.pump_all(&mut state);
        cancelling
    }

    /// What the GCS says of the actor.
    pub(crate) fn news(self: &Arc<Self>, news: &ActorNews) {
        let info = &news.info;
        if let Some(real) = news.lifeline.and_then(|id| self.process.ask_lifeline(id)) {
            // It is another's actor, which the handles here keep alive from now on.
            let before = {
                let mut lifeline = self.lifeline.lock().unwrap_or_else(PoisonError::into_inner);
                if self.alive.load(Ordering::Acquire) == 0 { Some(real) } else { lifeline.replace(real) }
            };
            drop(before);
        }
        let mut state = self.lock();
        if matches!(state.at, At::Dead(_)) || is_stale((state.incarnation, state.state), (info.incarnation, info.state))
        {
            return;
        }
        let same = info.incarnation == state.incarnation && !matches!(state.at, At::Nowhere);
        state.incarnation = info.incarnation;
        state.state = info.state;
        state.waits = None;
        match info.state {
            ActorState::Alive => {
                let Some(address) = info.address else { return };
                if same {
                    return;
                }
                let lost = self.leave(&mut state);
                state.at = if address.process == self.process.id {
                    match self.process.actor(address.actor.0) {
                        Some(host) => At::Here(host),
                        None => At::Nowhere,
                    }
                } else {
                    match (self.process.endpoint(), &news.peer) {
                        (Ok(endpoint), Some(at)) => {
                            At::There { peer: endpoint.peer(at), incarnation: info.incarnation, actor: address.actor.0 }
                        }
                        _ => At::Nowhere,
                    }
                };
                self.retry_or_fail(&mut state, lost, "it was restarted");
                self.pump_all(&mut state);
                drop(state);
                self.made(Ok(()));
            }
            ActorState::Restarting => {
                let lost = self.leave(&mut state);
                self.retry_or_fail(&mut state, lost, "it is restarting");
            }
            ActorState::Dead => {
                let cause =
                    info.death.as_ref().map_or_else(|| "for an unknown cause".to_owned(), |death| death.to_string());
                let mut error = match &info.death {
                    Some(death) if death.reason.is_infeasible() => Error::infeasible(cause),
                    _ => Error::actor_died(cause),
                };
                error = error.subject(self.describe());
                if let Some(cause) = info.death.as_ref().and_then(|death| constructor_error(death)) {
                    error = error.caused_by(cause);
                }
                if let Some(node) = info.node {
                    error = error.at_node(node);
                }
                drop(state);
                self.die(error);
            }
            _ => {}
        }
    }

    /// Takes the calls in flight out; where they went is gone.
    fn leave(&self, state: &mut State) -> Vec<Arc<Task>> {
        state.at = At::Nowhere;
        state.held = None;
        std::mem::take(&mut state.flying).into_values().collect()
    }

    /// Calls whose incarnation is gone: again if their retries allow, else an error that says they may have run.
    fn retry_or_fail(self: &Arc<Self>, state: &mut State, lost: Vec<Arc<Task>>, why: &str) {
        let mut again: BTreeMap<Caller, Queue> = BTreeMap::new();
        for task in lost {
            if task.is_done() {
                continue;
            }
            if task.next_attempt() {
                again.entry(Client::call(&task).caller).or_default().push_back(task);
            } else {
                self.fail_later(&task, why);
            }
        }
        for (caller, queue) in again {
            state.waiting.put_before(caller, queue);
        }
    }

    fn fail_later(&self, task: &Arc<Task>, why: &str) {
        let error = Error::actor_unavailable(format!(
            "{} was lost on its way to {}: {why}; it may or may not have run",
            task.describe(),
            self.describe()
        ))
        .subject(task.describe())
        .remedy("call again, or allow retries with `max_task_retries`");
        let task = Arc::clone(task);
        // Waiters are told outside of the client's lock.
        self.process.defer(move || Task::finish_all(&task, Resolved::Error(error)));
    }

    /// A call that its actor did not finish, because the incarnation ended under it.
    pub(crate) fn lost_here(self: &Arc<Self>, incarnation: u32, calls: Vec<Arc<Task>>, why: &str) {
        let mut state = self.lock();
        if let At::Dead(error) = &state.at {
            let error = error.clone();
            drop(state);
            for task in calls {
                Task::finish_all(&task, Resolved::Error(error.clone().subject(task.describe())));
            }
            return;
        }
        if incarnation < state.incarnation {
            // The GCS has given its word already.
            self.retry_or_fail(&mut state, calls, why);
            self.pump_all(&mut state);
            return;
        }
        state.at = At::Nowhere;
        // What the actor's end will mean for its calls is the GCS's to say: they wait for its word.
        for task in calls {
            state.flying.insert((task.owner.id.number, task.seq), task);
        }
        tracing::debug!(actor = %self.id, why, "calls wait for the word of the GCS");
    }

    /// The actor is dead for good.
    pub(crate) fn die(self: &Arc<Self>, error: Error) {
        let all: Vec<Arc<Task>> = {
            let mut state = self.lock();
            state.at = At::Dead(error.clone());
            state.state = ActorState::Dead;
            let flying = std::mem::take(&mut state.flying).into_values();
            flying.chain(std::mem::take(&mut state.waiting).into_calls()).collect()
        };
        self.made(Err(error.clone()));
        for task in all {
            Task::finish_all(&task, Resolved::Error(error.clone().subject(task.describe())));
        }
        let told = std::mem::take(&mut *self.closed.lock().unwrap_or_else(PoisonError::into_inner));
        for tell in told {
            tell(error.clone());
        }
    }

    fn made(&self, how: Result<()>) {
        let Some(ready) = self.ready.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let outcome = match how.and_then(|()| crate::value::encode(&(), "nothing")) {
            Ok(value) => Resolved::Value(value),
            Err(error) => Resolved::Error(error),
        };
        if let Target::Owned(task, _) = ready.target() {
            Task::finish_all(task, outcome);
        }
        self.let_go();
    }

    /// A ref that is ready when the actor is made; until then it keeps it alive.
    pub(crate) fn ready_ref(self: &Arc<Self>) -> RawRef {
        let made = {
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            match &*ready {
                Some(known) => known.clone(),
                None => {
                    let Some(owner) = self.process.owner_numbered(0) else {
                        return crate::rt::failed_ref(Error::connection("the cluster was shut down"));
                    };
                    self.hold();
                    let made = owner.open_ref(What::Ready(Arc::clone(self)));
                    *ready = Some(made.clone());
                    made
                }
            }
        };
        self.made_already();
        made
    }

    /// Tells a `ready` ref that was asked for after the actor was made, or not.
    pub(crate) fn made_already(&self) {
        let known = {
            let state = self.lock();
            match (&state.at, state.state) {
                (At::Dead(error), _) => Some(Err(error.clone())),
                (_, ActorState::Alive | ActorState::Restarting) => Some(Ok(())),
                _ => None,
            }
        };
        if let Some(how) = known {
            self.made(how);
        }
    }

    /// Calls `tell` when the actor is dead for good.
    pub(crate) fn on_closed(&self, tell: OnClosed) {
        let dead = match &self.lock().at {
            At::Dead(error) => Some(error.clone()),
            _ => None,
        };
        match dead {
            Some(error) => tell(error),
            None => self.closed.lock().unwrap_or_else(PoisonError::into_inner).push(tell),
        }
    }

    /// The process where it lives is gone; what that means, the GCS will say.
    pub(crate) fn process_lost(self: &Arc<Self>, process: actinic_transport::ProcessId) {
        let mut state = self.lock();
        if matches!(&state.at, At::There { peer, .. } if peer.id() == process) {
            state.at = At::Nowhere;
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.process.drop_client(self.id);
    }
}

/// Whether the GCS said it before what is known. Answers and news come on ways of their own, and may overtake each
/// other; an incarnation is alive only after all else but its end.
fn is_stale(known: (u32, ActorState), said: (u32, ActorState)) -> bool {
    let before = said.0 == known.0 && known.1 == ActorState::Alive;
    said.0 < known.0 || (before && !matches!(said.1, ActorState::Alive | ActorState::Dead))
}

/// A waiter that runs `then` on the system's thread once the object is ready.
pub(crate) fn when_ready(object: &RawRef, then: impl FnOnce() + Send + 'static) {
    if let Err((waiter, failed)) = object.subscribe(Waiter::Call(Box::new(then))) {
        waiter.notify(failed);
    }
}

/// The error that a constructor returned, if that is why the actor is dead.
fn constructor_error(death: &crate::gcs::core::DeathCause) -> Option<Error> {
    match &death.reason {
        crate::gcs::core::DeathReason::ConstructorError { error, .. } => postcard::from_bytes(error).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `get_actor` may be answered while an actor restarts, and its news that it is alive come first.
    #[test]
    fn what_was_said_before_an_incarnation_was_alive_is_stale() {
        use ActorState::{Alive, Dead, Restarting};
        assert!(is_stale((1, Alive), (1, Restarting)));
        assert!(is_stale((1, Alive), (0, Alive)));
        assert!(!is_stale((1, Alive), (1, Alive)), "its process may have been found again");
        assert!(!is_stale((1, Alive), (1, Dead)));
        assert!(!is_stale((1, Alive), (2, Restarting)));
        assert!(!is_stale((1, Restarting), (1, Alive)));
    }
}
