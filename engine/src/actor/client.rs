//! A process's view of one actor: where it is, and the calls on their way to it.
//!
//! Calls keep their order per caller (a task, an actor, a driver). A call whose argument is not ready holds up later
//! ones of its caller only if the actor runs one call at a time. What the actor cannot take yet waits here, not
//! there: until it is alive, and beyond the window that another process has granted ([`super::credit`]).
//!
//! Invariants:
//! - CLIENT-1: a call is in one place: waiting here, in flight, in the actor's inbox, or ended.
//! - CLIENT-2: calls of one caller are sent in the order in which they were made, with the exception above.
//! - CLIENT-3: a call that was sent to an incarnation which died is never sent again unless its retries allow it; one
//!   that was not sent goes to the next incarnation.
//! - CLIENT-4: no call is sent to another process beyond the window granted last, unless none is in flight.
//! - CLIENT-5: what `get_if_exists` asked for is open until the GCS answers. Its calls wait among those of the actor that
//!   is probably meant, and hold up the later ones of their caller; they are sent when it is known to be that one, and
//!   taken out if not.

mod alive;
mod calls;
mod found;
mod news;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use actinic_transport::{Lane, NodeId, Peer};
use serde::{Deserialize, Serialize};

use crate::actor::host::ActorHost;
use crate::actor::queues::{Flight, Queues};
use crate::api::error::{Error, Result};
use crate::gcs::core::ActorState;
use crate::ids::ActorId;
use crate::object::{RawRef, Resolved, Target};
use crate::process::Process;
use crate::program::{ActorEntry, MethodEntry};
use crate::protocol::WORKER;
use crate::protocol::calls::CallerMark;
use crate::protocol::workers::ToWorker;
use crate::rarely::Rarely;
use crate::task::{Meta, Task, What};
use crate::wait::Waiter;

/// How many bytes of whatever kind may wait for the network before calls wait here: far below what ends a session.
const BACKLOG_BYTES: usize = 16 << 20;

/// Who calls: the order of calls is kept for each of them. A driver, an actor, or a task of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Caller {
    /// The number of the owner that it submits to.
    pub(crate) owner: u32,
    /// The [`TaskId::mark`](crate::ids::TaskId::mark) of the task; 0 for others.
    pub(crate) task: CallerMark,
}

/// What a task that is an actor call adds to a task.
pub(crate) struct ActorCall {
    pub(crate) client: Arc<Client>,
    pub(crate) method: &'static MethodEntry,
    /// The method's id: name and argument shape.
    pub(crate) method_id: u64,
    pub(crate) caller: Caller,
    /// Its arguments are ready.
    pub(crate) ready: AtomicBool,
    /// It had a place in its caller's queue before its arguments were ready.
    pub(crate) queued: AtomicBool,
    /// It counts among the client's unfinished calls.
    pub(crate) admitted: AtomicBool,
    /// It counts against its caller's limit.
    pub(crate) counted: AtomicBool,
}

impl ActorCall {
    /// The call has an outcome: whoever hears of it may make the next.
    pub(crate) fn makes_room(&self) {
        // Most actors have no limit: that costs a look.
        if self.counted.load(Ordering::Relaxed) && self.counted.swap(false, Ordering::AcqRel) {
            self.client.uncount(self.caller);
        }
    }

    /// The call has ended, whichever way.
    pub(crate) fn ended(&self) {
        self.makes_room();
        if self.admitted.swap(false, Ordering::AcqRel) {
            self.client.ended();
        }
    }

    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.client.class(), self.method.name)
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
    /// It lives, where this process cannot reach it any more: the death of a process is final.
    Away(Error),
    Dead(Error),
}

impl At {
    /// The error of calls that need not wait for anything.
    fn fails(&self) -> Option<&Error> {
        match self {
            At::Dead(error) | At::Away(error) => Some(error),
            At::Nowhere | At::Here(_) | At::There { .. } => None,
        }
    }
}

struct State {
    at: At,
    incarnation: u32,
    waiting: Queues,
    /// A call that may go found no room since all that wait were last looked at.
    stuck: bool,
    flying: Flight,
    /// What the actor waits for, as the GCS says, while it is not alive. Boxed, for few do.
    waits: Option<Box<Arc<str>>>,
    /// The GCS has published something of it.
    heard: bool,
    state: ActorState,
    /// Where it lives, or lived last.
    node: Option<NodeId>,
    /// Until the GCS says which actor this is: the client of the one that is probably meant, where its calls wait.
    probably: Option<Arc<Client>>,
}

/// An actor's name, and where it lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct ActorName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Unfinished calls, by caller.
type PendingCalls = Mutex<BTreeMap<Caller, i64>>;

/// Hears why an actor is dead for good.
type OnClosed = Box<dyn FnOnce(Error) + Send>;

/// Who waits for the beginning and the end of an actor.
#[derive(Default)]
struct Watchers {
    /// Resolve when the actor was made, or not; whoever asks later gets one that is resolved.
    ready: Vec<RawRef>,
    closed: Vec<OnClosed>,
}

/// What the handles and calls of a process hold.
#[derive(Default)]
enum Held {
    /// There are none, or the actor is detached.
    #[default]
    Nothing,
    /// The number that an owner of this process keeps for the lifeline, which nobody elsewhere holds.
    Reserved { owner: u32, seq: u64 },
    /// The object whose last ref ends the actor.
    Lifeline(RawRef),
}

/// One actor, as this process knows it.
#[repr(C)]
pub(crate) struct Client {
    /// Its own, unless the GCS has said that [another](Client::real) is meant.
    pub(crate) id: ActorId,
    pub(crate) name: Option<Arc<ActorName>>,
    pub(crate) entry: &'static ActorEntry,
    pub(crate) process: Arc<Process>,
    pub(crate) limits: ClientLimits,
    /// The options of a call that says nothing of its own.
    pub(crate) plain_meta: Arc<Meta>,
    /// Handles in this process: while there are any, or calls that have not ended, the actor lives.
    handles: AtomicU64,
    /// Unfinished calls by caller, counted only if there is a limit; together with the one that is probably meant.
    pending: Option<Arc<PendingCalls>>,
    /// The client of the actor that is meant, once the GCS has said that it is another.
    real: OnceLock<Arc<Client>>,
    /// How many open ones have their calls wait here.
    askers: AtomicU32,
    /// It has a handle's share in the one that is meant.
    holds_real: AtomicBool,
    /// `get_if_exists` asked for it, and the GCS has not said which actor it is.
    open: AtomicBool,
    /// This process makes it, and the GCS has not said that it knows of it.
    unborn: AtomicBool,
    /// After the calls already made nothing more is called.
    stopping: AtomicBool,
    /// The GCS was told so.
    told_stop: AtomicBool,
    state: Mutex<State>,
    /// How many calls were made, which callers count.
    begun: AtomicU64,
    /// By what the actor is kept alive, while there are handles or unfinished calls here.
    held: Mutex<Held>,
    watchers: Mutex<Rarely<Watchers>>,
    /// How many calls have ended, which those count that answer. It lies last: one count of both would take the cache
    /// line of all the above from the callers with each answer.
    ended: AtomicU64,
}

/// What a handle must know of its actor, wherever it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientLimits {
    pub(crate) max_concurrency: u32,
    pub(crate) max_pending: i64,
    pub(crate) max_task_retries: i64,
    /// Whether its calls are told of, unless they say otherwise.
    pub(crate) task_events: bool,
}

impl Client {
    pub(crate) fn new(
        id: ActorId,
        entry: &'static ActorEntry,
        process: Arc<Process>,
        limits: ClientLimits,
        name: Option<Arc<ActorName>>,
    ) -> Arc<Client> {
        Client::made_with(id, entry, process, limits, name, None, false)
    }

    /// The client of an actor that may turn out to be another: probably this one.
    pub(crate) fn asking(
        id: ActorId,
        entry: &'static ActorEntry,
        process: Arc<Process>,
        limits: ClientLimits,
        name: Option<Arc<ActorName>>,
        probably: Option<Arc<Client>>,
    ) -> Arc<Client> {
        Client::made_with(id, entry, process, limits, name, probably, true)
    }

    fn made_with(
        id: ActorId,
        entry: &'static ActorEntry,
        process: Arc<Process>,
        limits: ClientLimits,
        name: Option<Arc<ActorName>>,
        probably: Option<Arc<Client>>,
        open: bool,
    ) -> Arc<Client> {
        if let Some(probably) = &probably {
            probably.askers.fetch_add(1, Ordering::AcqRel);
        }
        Arc::new(Client {
            id,
            name,
            entry,
            process,
            limits,
            plain_meta: crate::api::calling::plain_meta(limits.max_task_retries, limits.task_events),
            handles: AtomicU64::new(0),
            pending: (limits.max_pending >= 0)
                .then(|| probably.as_ref().and_then(|probably| probably.pending.clone()).unwrap_or_default()),
            real: OnceLock::new(),
            askers: AtomicU32::new(0),
            holds_real: AtomicBool::new(false),
            open: AtomicBool::new(open),
            unborn: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            told_stop: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            state: Mutex::new(State {
                at: At::Nowhere,
                incarnation: 0,
                waiting: Queues::default(),
                stuck: false,
                flying: Flight::default(),
                waits: None,
                heard: false,
                state: ActorState::PendingCreation,
                node: None,
                probably,
            }),
            held: Mutex::new(Held::Nothing),
            watchers: Mutex::default(),
        })
    }

    /// Whether one call at a time runs, and an unready one holds up those behind it.
    fn in_order(&self) -> bool {
        self.limits.max_concurrency <= 1
    }

    pub(crate) fn class(&self) -> &'static str {
        self.entry.name()
    }

    fn watchers(&self) -> MutexGuard<'_, Rarely<Watchers>> {
        // Plain data under the lock.
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Plain data, and inboxes that lock nothing but themselves, under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn describe(&self) -> String {
        format!("actor {} ({})", self.class(), self.id)
    }

    pub(crate) fn state(&self) -> ActorState {
        self.lock().state
    }

    /// Whether the actor that was asked for is to be made: it has not ended, and is no other.
    pub(crate) fn is_wanted(&self) -> bool {
        self.real.get().is_none() && !self.is_dead()
    }

    pub(crate) fn is_dead(&self) -> bool {
        matches!(self.lock().at, At::Dead(_))
    }

    /// The client of the actor that is meant: this one, or the one that the GCS has said.
    pub(crate) fn real(self: &Arc<Self>) -> &Arc<Client> {
        self.real.get().unwrap_or(self)
    }

    /// Why a call has no answer yet, in words.
    pub(crate) fn explain(&self) -> String {
        let state = self.lock();
        match &state.waits {
            Some(text) => format!("its actor is {}: {text}", state.state),
            None => format!("its actor is {}", state.state),
        }
    }

    /// The node where it lives, if calls can be sent to it.
    pub(crate) fn lives_at(&self) -> Option<NodeId> {
        let state = self.lock();
        match state.at {
            At::Here(_) | At::There { .. } => Some(state.node.unwrap_or(self.process.id.node)),
            At::Nowhere | At::Away(_) | At::Dead(_) => None,
        }
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

    fn made(&self, how: Result<()>) {
        let Some(waiting) = self.watchers().get_mut().map(|watchers| std::mem::take(&mut watchers.ready)) else {
            return;
        };
        if waiting.is_empty() {
            return;
        }
        let outcome = match how.and_then(|()| crate::value::encode(&(), "nothing")) {
            Ok(value) => Resolved::Value(value),
            Err(error) => Resolved::Error(error),
        };
        for ready in waiting {
            if let Target::Owned(task, ..) = ready.target() {
                Task::finish_all(task, outcome.clone());
            }
            self.let_go();
        }
    }

    /// A ref that is ready when the actor is made; until then it keeps it alive.
    pub(crate) fn ready_ref(self: &Arc<Self>) -> RawRef {
        let made = {
            let mut watchers = self.watchers();
            let ready = &mut watchers.make().ready;
            match ready.first() {
                Some(known) => known.clone(),
                None => {
                    let Some(owner) = self.process.owner_numbered(0) else {
                        return crate::rt::failed_ref(Error::connection("the cluster was shut down"));
                    };
                    self.hold();
                    let made = owner.open_ref(What::Ready(Arc::clone(self)));
                    ready.push(made.clone());
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
        self.watchers().make().closed.push(tell);
        // Whoever sets it tells those that came before.
        let dead = match &self.lock().at {
            At::Dead(error) => Some(error.clone()),
            _ => None,
        };
        if let Some(error) = dead {
            self.closed(&error);
        }
    }

    /// Tells whoever waits for the end.
    fn closed(&self, error: &Error) {
        let waiting = self.watchers().get_mut().map(|watchers| std::mem::take(&mut watchers.closed));
        waiting.into_iter().flatten().for_each(|tell| tell(error.clone()));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let At::There { peer, incarnation, actor } = &state.at
            && state.flying.was_granted()
        {
            let left = ToWorker::CallerLeft { actor: *actor, incarnation: *incarnation };
            // If the session is over, the actor's process knows.
            let _ = peer.tell(Lane::Ordered, WORKER, &left);
        }
        if let Some(probably) = &state.probably {
            probably.real().askers.fetch_sub(1, Ordering::AcqRel);
        }
        self.process.drop_client(self.id, self.name.as_deref());
    }
}

/// A waiter that runs `then` on the system's thread once the object is ready.
pub(crate) fn when_ready(object: &RawRef, then: impl FnOnce() + Send + 'static) {
    if let Err((waiter, how)) = object.subscribe(Waiter::Call(Box::new(then))) {
        waiter.notify(how);
    }
}
