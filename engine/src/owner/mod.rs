//! The owner of what was submitted: its table, its queues, its leases, its refs.
//!
//! Everything is entered from whatever thread has something to say (a submitter, an executor with a result, the
//! network's thread with a reply), under one short lock over plain data; what follows from it (a push into a
//! worker's inbox, a message) is carried out after the lock, by the same thread. So a task that finds an idle lease
//! goes from its submitter straight into the worker's inbox.

mod actors;
mod cancelling;
mod counting;
pub(crate) mod dispatch;
mod events;
mod holding;
mod leasing;
mod lineage;
mod rebuild;
#[allow(dead_code, reason = "the whole protocol is here and tested; the shell counts some of it in the slots")]
pub(crate) mod refs;
pub(crate) mod remote;
pub(crate) mod table;
mod working;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use actinic_transport::{NodeId, Peer, PeerAddr};

use crate::actor::client::Client;
use crate::api::error::{Error, Result};
use crate::call::{Args, Dependency};
use crate::ids::{JobId, OwnerId, WorkerId};
use crate::object::{RawRef, Resolved};
use crate::object_manager::transfers::Lends;
use crate::owner::dispatch::{Act, Dispatch, Found, KeyIx, LeaseIx};
use crate::owner::lineage::Lineage;
use crate::owner::table::Table;
use crate::process::Process;
use crate::protocol::{LeaseId, RequestId};
use crate::raylet::Shape;
use crate::raylet::core::Scheduling;
use crate::task::{Input, Meta, Task, What};
use crate::value::Value;
use crate::worker::job::Job;
use crate::worker::slot::TaskSlot;

/// A leased worker, as the dispatcher holds it.
#[derive(Clone)]
pub(crate) enum Link {
    /// A worker in this process.
    Local(Arc<LocalLink>),
    /// A worker in another.
    Remote(Arc<RemoteLink>),
}

pub(crate) struct LocalLink {
    pub(crate) slot: Arc<TaskSlot>,
    pub(crate) lease: LeaseId,
}

pub(crate) struct RemoteLink {
    pub(crate) peer: Peer,
    pub(crate) worker: WorkerId,
    pub(crate) lease: LeaseId,
}

impl Link {
    pub(crate) fn lease(&self) -> LeaseId {
        match self {
            Link::Local(link) => link.lease,
            Link::Remote(link) => link.lease,
        }
    }

    pub(crate) fn worker(&self) -> WorkerId {
        match self {
            Link::Local(link) => link.slot.host.worker,
            Link::Remote(link) => link.worker,
        }
    }
}

/// What a worker ran when it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Ran {
    /// The first of what is in flight to it: all before has been answered.
    First,
    /// The task with this number, or none. What is in flight before it has run, and its answers are lost.
    Task(Option<u64>),
}

struct Core {
    tasks: Table<Arc<Task>>,
    reserved: actors::Reserved,
    dispatch: Dispatch<Arc<Task>, Link>,
    leases: HashMap<LeaseId, LeaseIx>,
    /// Async tasks that wait without holding their worker.
    parked: BTreeMap<u64, (Arc<Task>, Link)>,
    requests: leasing::Requests,
    /// How finished tasks are run again.
    lineage: Lineage<rebuild::Kept>,
    /// Those that run again.
    rebuilding: HashMap<u64, rebuild::Rebuild>,
    /// The keys of options that many calls share, by where these lie: a shape is dear to hash.
    keys: [Option<(Arc<Meta>, KeyIx)>; KEYS_KNOWN],
}

/// The options of so many functions are found without hashing.
const KEYS_KNOWN: usize = 8;

impl Core {
    /// The dispatcher's key of a task's options.
    fn key(&mut self, meta: &Arc<Meta>) -> KeyIx {
        let place = (Arc::as_ptr(meta).addr() / size_of::<Meta>()) % KEYS_KNOWN;
        match &self.keys[place] {
            Some((known, key)) if Arc::ptr_eq(known, meta) => *key,
            _ => {
                let key = self.key_near(&meta.shape, None);
                // Options that only this call has are not asked for again.
                if Arc::strong_count(meta) > 1 {
                    self.keys[place] = Some((Arc::clone(meta), key));
                }
                key
            }
        }
    }

    /// The dispatcher's key of what is to run near a node. Those that are of no use any more are forgotten now and then.
    fn key_near(&mut self, shape: &Shape, near: Option<NodeId>) -> KeyIx {
        if self.dispatch.has_many_keys() {
            let used = self.requests.keys();
            self.dispatch.forget_keys(|key| used.contains(&key));
            self.keys = Default::default();
        }
        self.dispatch.key(shape, near)
    }

    /// What the raylet said of what a key needs, if that cannot be had now.
    fn why_not(&self, key: KeyIx) -> Option<&String> {
        self.requests.of_key(key).find_map(|id| self.requests.infeasible.get(id))
    }

    /// Leases that are given back are none any more.
    fn forget_returned(&mut self, acts: &Acts) {
        for act in acts {
            if let Act::Return { link } = act {
                self.leases.remove(&link.lease());
            }
        }
    }

    /// Ends every request of some keys: which were open, and where.
    fn withdraw(&mut self, keys: &BTreeSet<KeyIx>) -> Vec<(RequestId, NodeId)> {
        let withdrawn = self.requests.of_keys(keys);
        withdrawn.iter().for_each(|(id, _)| _ = self.close_request(*id));
        withdrawn
    }

    /// A request has ended; its key. What it was still to bring is asked for anew, if it is needed.
    fn close_request(&mut self, request: RequestId) -> Option<KeyIx> {
        let left = self.requests.left(request);
        let key = self.requests.close(request)?;
        self.dispatch.lost_elsewhere(key, left);
        Some(key)
    }
}

/// One submitter's side of the cluster. In this order: what workers read lies apart from what each submission writes.
#[repr(C)]
pub(crate) struct Owner {
    pub(crate) id: OwnerId,
    pub(crate) process: Arc<Process>,
    pub(crate) job: JobId,
    pub(crate) namespace: Arc<str>,
    dead: OnceLock<Error>,
    /// Whether anything was submitted from within a task.
    nests: AtomicBool,
    /// Whether there may be copies of small values too, which were arguments beside many others.
    small_copies: AtomicBool,
    counts: counting::Counts,
    /// Where copies lie of the large values that this process itself holds.
    copies: Mutex<HashMap<(u64, u32), Vec<PeerAddr>>>,
    ticking: AtomicBool,
    events: events::Events,
    last_actor: actors::Last,
    /// Held while the raylet is told what is wanted: what is said last must be what holds. Locked before the core.
    asking: Mutex<()>,
    seq: AtomicU64,
    core: Mutex<Core>,
}

type Acts = Vec<Act<Arc<Task>, Link>>;

thread_local! {
    /// A buffer to collect actions in, so that a submission allocates none.
    static SPARE: std::cell::Cell<Acts> = const { std::cell::Cell::new(Vec::new()) };
}

impl Owner {
    pub(crate) fn new(id: OwnerId, process: Arc<Process>, job: JobId, namespace: Arc<str>) -> Arc<Owner> {
        Arc::new(Owner {
            id,
            process,
            job,
            namespace,
            seq: AtomicU64::new(0),
            core: Mutex::new(Core {
                tasks: Table::new(),
                reserved: Table::new(),
                dispatch: Dispatch::new(),
                leases: HashMap::new(),
                parked: BTreeMap::new(),
                requests: leasing::Requests::default(),
                lineage: Lineage::new(rebuild::LINEAGE_BYTES),
                rebuilding: HashMap::new(),
                keys: Default::default(),
            }),
            counts: counting::Counts::default(),
            copies: Mutex::default(),
            small_copies: AtomicBool::new(false),
            ticking: AtomicBool::new(false),
            events: events::Events::default(),
            last_actor: actors::Last::default(),
            asking: Mutex::new(()),
            dead: OnceLock::new(),
            nests: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // Plain data and no user code under the lock; a poisoned one is as good as any.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::Relaxed)
    }

    /// How many numbers it has given to tasks, calls and objects.
    pub(crate) fn submitted(&self) -> u64 {
        self.seq.load(Ordering::Relaxed)
    }

    // ---- submitting

    /// Submits a call; never blocks, never fails: what is wrong becomes the error of its refs.
    pub(crate) fn submit(
        self: Arc<Self>,
        what: What,
        meta: Arc<Meta>,
        args: Args,
        returns: u32,
        depth: u32,
    ) -> Arc<Task> {
        let input = match self.input(args) {
            Ok(input) => input,
            Err(error) => return self.submit_failed(what, meta, error, returns),
        };
        let seq = self.next_seq();
        let task = Task::new(self, seq, what, meta, input, returns, depth);
        let owner = &task.owner;
        owner.events_are_due();
        if !task.depends() && matches!(task.what, What::Function(_)) {
            // The common case in one step: known, and ready.
            owner.change(|core, out| {
                core.tasks.insert(task.seq, Arc::clone(&task));
                Self::enqueue(core, &task, out);
            });
            owner.fail_late(&task);
            return task;
        }
        owner.lock().tasks.insert(task.seq, Arc::clone(&task));
        Task::start(&task);
        owner.fail_late(&task);
        task
    }

    /// Whoever dies fails all that is known then: what comes in that moment fails here.
    fn fail_late(self: &Arc<Self>, task: &Arc<Task>) {
        let Some(error) = self.dead.get() else { return };
        Client::orphan(std::slice::from_ref(task));
        Task::finish_all(task, Resolved::Error(error.clone()));
        if let What::Function(_) = &task.what {
            task.set_cancelled();
            self.change(|core, out| {
                let key = task.key.load(Ordering::Relaxed);
                if key != KeyIx::MAX {
                    core.dispatch.cancel((task.seq, task.place()), key);
                    core.dispatch.left(key, out);
                }
            });
        }
        Client::forget(std::slice::from_ref(task));
    }

    /// The arguments as a task keeps them; large ones become objects.
    pub(crate) fn input(self: &Arc<Self>, args: Args) -> Result<Input> {
        let Args { body, extras, dependencies, error } = args;
        if let Some(error) = error.or_else(|| self.dead.get().cloned()) {
            return Err(error);
        }
        let inline = Value::written(body, extras);
        inline.check_cluster(self.process.id.cluster)?;
        if dependencies.is_empty() {
            return Ok(Input { inline, dependencies: Vec::new() });
        }
        let dependencies: Result<Vec<RawRef>> =
            dependencies.into_iter().map(|dependency| self.dependency(dependency)).collect();
        Ok(Input { inline, dependencies: dependencies? })
    }

    fn open_task(self: &Arc<Self>, seq: u64, what: What) -> Arc<Task> {
        Task::new(Arc::clone(self), seq, what, Arc::clone(&self.process.put_meta), Input::default(), 1, 0)
    }

    /// A ref whose outcome comes from inside the engine: that an actor is ready.
    pub(crate) fn open_ref(self: &Arc<Self>, what: What) -> RawRef {
        let task = self.open_task(self.next_seq(), what);
        self.lock().tasks.insert(task.seq, Arc::clone(&task));
        RawRef::adopt(task, 0)
    }

    fn submit_failed(self: &Arc<Self>, what: What, meta: Arc<Meta>, error: Error, returns: u32) -> Arc<Task> {
        if let What::Method(call) = &what {
            call.ended();
        }
        let error = match error.detail().subject {
            None => error.subject(format!("task {}", what.name(&meta))),
            Some(_) => error,
        };
        let task = Task::resolved(Arc::clone(self), what, meta, Resolved::Error(error.clone()), returns);
        self.lock().tasks.insert(task.seq, Arc::clone(&task));
        self.note_end(&task, 0, None, Some(&error));
        task
    }

    fn dependency(self: &Arc<Self>, dependency: Dependency) -> Result<RawRef> {
        match dependency {
            Dependency::Ref(object) => object.check_cluster(self.process.id.cluster).map(|()| object),
            Dependency::Large(value) => self.put(value),
        }
    }

    /// Makes an object of a value.
    pub(crate) fn put(self: &Arc<Self>, value: Value) -> Result<RawRef> {
        if let Some(error) = self.dead.get() {
            return Err(error.clone());
        }
        value.check_cluster(self.process.id.cluster)?;
        self.process.charge(value.size())?;
        let task =
            Task::resolved(Arc::clone(self), What::Put, Arc::clone(&self.process.put_meta), Resolved::Value(value), 1);
        self.lock().tasks.insert(task.seq, Arc::clone(&task));
        Ok(RawRef::adopt(task, 0))
    }

    /// A function's task has all its arguments.
    pub(crate) fn ready(self: &Arc<Self>, task: &Arc<Task>) {
        let may_be_near = task.depends()
            && task.key.load(Ordering::Relaxed) == KeyIx::MAX
            && task.meta.shape.scheduling() == Scheduling::Default;
        let near = if may_be_near { leasing::nearest(task, self.id.node()) } else { None };
        self.change(|core, out| {
            if near.is_some() {
                task.key.store(core.key_near(&task.meta.shape, near), Ordering::Relaxed);
            }
            Self::enqueue(core, task, out);
        });
    }

    fn enqueue(core: &mut Core, task: &Arc<Task>, out: &mut Acts) {
        if task.is_cancelled() {
            // Whoever cancels it looks under the same lock where it is, which is nowhere.
            return;
        }
        let mut key = task.key.load(Ordering::Relaxed);
        // One that is tried again after its key was of no use for a while has none.
        if key == KeyIx::MAX || !core.dispatch.is_key_of(key, &task.meta.shape) {
            key = core.key(&task.meta);
            task.key.store(key, Ordering::Relaxed);
        }
        core.dispatch.ready(Arc::clone(task), key, out);
    }

    /// Changes the plain data under the lock, then carries out what follows.
    fn change<R>(self: &Arc<Self>, change: impl FnOnce(&mut Core, &mut Acts) -> R) -> R {
        let mut out = SPARE.take();
        let (done, tick) = {
            let mut core = self.lock();
            let done = change(&mut core, &mut out);
            core.forget_returned(&out);
            (done, core.dispatch.wants_tick())
        };
        if tick && !self.ticking.load(Ordering::Relaxed) && !self.ticking.swap(true, Ordering::AcqRel) {
            self.process.tick_owner(Arc::clone(self));
        }
        if !out.is_empty() {
            self.perform(&mut out);
        }
        SPARE.set(out);
        done
    }

    fn perform(self: &Arc<Self>, acts: &mut Acts) {
        let mut acts = acts.drain(..).peekable();
        while let Some(act) = acts.next() {
            match act {
                Act::Push { lease, link: Link::Local(link), task } => {
                    let next = || match acts.peek() {
                        Some(Act::Push { lease: other, .. }) if *other == lease => match acts.next() {
                            Some(Act::Push { task, .. }) => Some(task),
                            _ => None,
                        },
                        _ => None,
                    };
                    let tasks = std::iter::once(task).chain(std::iter::from_fn(next));
                    self.push_here(lease, &link, tasks);
                }
                Act::Push { lease, link: Link::Remote(link), task } => {
                    let mut tasks = vec![task];
                    while let Some(Act::Push { lease: next, .. }) = acts.peek()
                        && *next == lease
                    {
                        if let Some(Act::Push { task, .. }) = acts.next() {
                            tasks.push(task);
                        }
                    }
                    self.send_tasks(lease, &link, tasks);
                }
                Act::Gone(task) => drop(task),
                Act::Backlog { key, .. } => self.ask_lease(key),
                Act::Return { link } => self.process.return_lease(link.lease(), true),
                Act::TakeBack { lease, link } => match &link {
                    Link::Local(local) => {
                        // By now the worker may be another's: only what is of this lease.
                        self.given_back(lease, &local.slot.take_back_lent(self, lease));
                    }
                    Link::Remote(remote) => self.send_take_back(lease, remote),
                },
            }
        }
    }

    /// Puts tasks into the inbox of a worker of this process; what must be fetched first follows later.
    fn push_here(self: &Arc<Self>, lease: LeaseIx, link: &Arc<LocalLink>, tasks: impl Iterator<Item = Arc<Task>>) {
        let here = tasks.filter_map(|task| {
            if task.depends() && !self.process.keep_dependencies(&task) {
                self.fetch_then_push(lease, Arc::clone(link), task);
                return None;
            }
            Some(Job::Local { attempt: task.attempt(), task, lease })
        });
        // A worker that is dead by now is reported by whoever found it so.
        let _ = link.slot.push(here);
    }

    fn fetch_then_push(self: &Arc<Self>, lease: LeaseIx, link: Arc<LocalLink>, task: Arc<Task>) {
        let owner = Arc::clone(self);
        self.process.spawn(async move {
            let lends = Lends::new(&link.slot, link.lease);
            match owner.process.fetch_dependencies(&task, Some(lends)).await {
                Ok(true) => {
                    let _ = link.slot.push([Job::Local { attempt: task.attempt(), task, lease }]);
                }
                // Whoever ended it found it in no inbox. The place of a lease that is over may be another's by now.
                Ok(false) => {
                    if owner.lease_ix(link.lease) == Some(lease) {
                        owner.completed(lease, [(task.seq, None)]);
                    }
                }
                Err(error) => {
                    let seq = task.seq;
                    Task::finish_all(&task, Resolved::Error(error));
                    owner.completed(lease, [(seq, None)]);
                }
            }
        });
    }

    // ---- ending

    /// The submitter is dead: whoever waits for what it owned hears so, and nothing new begins.
    pub(crate) fn die(self: &Arc<Self>, why: &str) {
        self.die_of(
            Error::owner_died(format!("the owner of the object died: {why}"))
                .at_node(self.id.node())
                .remedy("keep the ref's owner alive, or have the value made by a process that lives longer"),
        );
    }

    /// Something is submitted from within a task.
    pub(crate) fn nests(&self) {
        if !self.nests.load(Ordering::Relaxed) {
            self.nests.store(true, Ordering::Release);
        }
    }

    /// Whether it died: see [`Owner::die`].
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.get().is_some()
    }

    /// As [`Owner::die`], for a reason of its own.
    pub(crate) fn die_of(self: &Arc<Self>, error: Error) {
        if self.dead.set(error.clone()).is_err() {
            return;
        }
        let tasks = self.tasks();
        let mut out = Acts::new();
        // Those that run here: nobody else has their worker's end.
        let mut here = Vec::new();
        let lineage = {
            let mut core = self.lock();
            for task in &tasks {
                if let (What::Function(_), false) = (&task.what, task.is_over()) {
                    task.set_cancelled();
                    let key = task.key.load(Ordering::Relaxed);
                    if key != KeyIx::MAX
                        && let Found::InFlight(_, Link::Local(link)) =
                            core.dispatch.cancel((task.seq, task.place()), key)
                    {
                        here.push((task.id(), link));
                    }
                }
            }
            for (task, link) in core.parked.values() {
                if let Link::Local(link) = link {
                    here.push((task.id(), Arc::clone(link)));
                }
            }
            core.dispatch.close_idle(&mut out);
            core.forget_returned(&out);
            // Its raylet drops them without an answer.
            for request in core.requests.ids() {
                core.close_request(request);
            }
            Self::end_rebuilding(&mut core)
        };
        self.let_go(lineage);
        self.perform(&mut out);
        if !here.is_empty() {
            let marks = here.iter().map(|(id, _)| id.mark()).collect();
            // Told now, whether or not somebody waits for the answers.
            drop(self.process.cancel_children_of(&marks));
        }
        for (id, link) in here {
            link.slot.host.wake(id);
            self.process.cancel_async(id);
        }
        Client::orphan(&tasks);
        for task in &tasks {
            for (index, slot) in task.slots().enumerate() {
                if let Some(before) = slot.replace(Resolved::Error(error.clone())) {
                    self.free(task, index as u32, &before);
                }
            }
            Task::finish_all(task, Resolved::Error(error.clone()));
        }
        Client::forget(&tasks);
    }

    /// A step of idle time; `true` while another is wanted.
    pub(crate) fn tick(self: &Arc<Self>) -> bool {
        self.change(|core, out| core.dispatch.tick(out));
        let wants = self.lock().dispatch.wants_tick();
        if !wants {
            self.ticking.store(false, Ordering::Release);
            // A lease may have become idle between the look and the store.
            if self.lock().dispatch.wants_tick() && !self.ticking.swap(true, Ordering::AcqRel) {
                return true;
            }
        }
        wants
    }

    /// Gives back every lease that is idle.
    pub(crate) fn close_idle(self: &Arc<Self>) {
        self.change(|core, out| core.dispatch.close_idle(out));
    }
}

fn crashed(task: &Task, node: Option<NodeId>, why: &Error) -> Error {
    let attempts = task.attempt() + 1;
    let error = Error::worker_crashed(format!(
        "the worker that ran {} ended before it answered, {attempts} of {attempts} attempts",
        task.describe()
    ))
    .remedy("look at the worker's log, or allow more with `max_retries`")
    .caused_by(why.clone());
    match node {
        Some(node) => error.at_node(node),
        None => error,
    }
}

fn nested(task: &Task, node: NodeId, error: Error) -> Error {
    let message = format!("{} failed: {}", task.describe(), error.root_cause().told());
    let mut outer = error.clone();
    outer = outer.subject(task.describe()).at_node(node).caused_by(error);
    outer.with_message(message)
}
