//! The owner of what was submitted: its table, its queues, its leases, its refs.
//!
//! Everything is entered from whatever thread has something to say (a submitter, an executor with a result, the
//! network's thread with a reply), under one short lock over plain data; what follows from it (a push into a
//! worker's inbox, a message) is carried out after the lock, by the same thread. So a task that finds an idle lease
//! goes from its submitter straight into the worker's inbox.

mod cancelling;
mod counting;
pub(crate) mod dispatch;
mod events;
mod leasing;
mod lineage;
mod rebuild;
#[allow(dead_code, reason = "the whole protocol is here and tested; the shell counts some of it in the slots")]
pub(crate) mod refs;
pub(crate) mod remote;
pub(crate) mod table;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use actinic_transport::{NodeId, Peer, PeerAddr};

use crate::api::error::{Error, Result};
use crate::call::{Args, Dependency, Returns};
use crate::events::Run;
use crate::ids::{JobId, ObjectId, OwnerId, TaskId, WorkerId};
use crate::object::{RawRef, Resolved, Slot, State, Stored};
use crate::owner::dispatch::{Act, Dispatch, KeyIx, LeaseIx};
use crate::owner::lineage::{Lineage, Stays};
use crate::owner::table::Table;
use crate::process::Process;
use crate::program::Outcome;
use crate::protocol::{LeaseId, RequestId, ToGcs};
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
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) enum Ran {
    /// The first of what is in flight to it: all before has been answered.
    First,
    /// The task with this number, or none. What is in flight before it has run, and its answers are lost.
    Task(Option<u64>),
}

struct Core {
    tasks: Table<Arc<Task>>,
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
                let key = self.dispatch.key(&meta.shape, None);
                // Options that only this call has are not asked for again.
                if Arc::strong_count(meta) > 1 {
                    self.keys[place] = Some((Arc::clone(meta), key));
                }
                key
            }
        }
    }

    /// What the raylet said of what a key needs, if that cannot be had now.
    fn why_not(&self, key: KeyIx) -> Option<&String> {
        self.requests.of_key(key).find_map(|id| self.requests.infeasible.get(id))
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
    counts: counting::Counts,
    /// Where copies lie of the large values that this process itself holds.
    copies: Mutex<HashMap<(u64, u32), Vec<PeerAddr>>>,
    ticking: AtomicBool,
    events: events::Events,
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
            ticking: AtomicBool::new(false),
            events: events::Events::default(),
            asking: Mutex::new(()),
            dead: OnceLock::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // Plain data and no user code under the lock; a poisoned one is as good as any.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::Relaxed)
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
        let task = Task::new(self, what, meta, input, returns, depth);
        let owner = &task.owner;
        owner.events_are_due();
        if !task.depends() && matches!(task.what, What::Function(_)) {
            // The common case in one step: known, and ready.
            owner.change(|core, out| {
                core.tasks.insert(task.seq, Arc::clone(&task));
                Self::enqueue(core, &task, out);
            });
            return task;
        }
        owner.lock().tasks.insert(task.seq, Arc::clone(&task));
        Task::start(&task);
        task
    }

    /// The arguments as a task keeps them; large ones become objects.
    pub(crate) fn input(self: &Arc<Self>, args: Args) -> Result<Input> {
        let Args { body, extras, dependencies, error } = args;
        if let Some(error) = error.or_else(|| self.dead.get().cloned()) {
            return Err(error);
        }
        let inline = Value::new(body.finish(), extras);
        inline.check_cluster(self.process.id.cluster)?;
        let dependencies: Result<Vec<RawRef>> =
            dependencies.into_iter().map(|dependency| self.dependency(dependency)).collect();
        Ok(Input { inline, dependencies: dependencies? })
    }

    /// A ref whose outcome comes from inside the engine: an actor's lifeline, its readiness.
    pub(crate) fn open_ref(self: &Arc<Self>, what: What) -> RawRef {
        let task = Task::new(Arc::clone(self), what, Arc::clone(&self.process.put_meta), Input::default(), 1, 0);
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
        if task.depends()
            && task.key.load(Ordering::Relaxed) == KeyIx::MAX
            && task.meta.shape.scheduling() == Scheduling::Default
            && let Some(near) = leasing::nearest(task, self.id.node())
        {
            let key = self.lock().dispatch.key(&task.meta.shape, Some(near));
            task.key.store(key, Ordering::Relaxed);
        }
        self.change(|core, out| Self::enqueue(core, task, out));
    }

    fn enqueue(core: &mut Core, task: &Arc<Task>, out: &mut Acts) {
        let mut key = task.key.load(Ordering::Relaxed);
        if key == KeyIx::MAX {
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
            for act in &out {
                if let Act::Return { link } = act {
                    core.leases.remove(&link.lease());
                }
            }
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
            if task.depends() && !self.process.has_dependencies(&task) {
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
            match owner.process.fetch_dependencies(&task, Some(link.lease)).await {
                Ok(()) => {
                    let _ = link.slot.push([Job::Local { attempt: task.attempt(), task, lease }]);
                }
                Err(error) => {
                    let seq = task.seq;
                    Task::finish_all(&task, Resolved::Error(error));
                    owner.completed(lease, [(seq, 0)]);
                }
            }
        });
    }

    // ---- leases

    /// A raylet granted a lease.
    pub(crate) fn granted(self: &Arc<Self>, key: KeyIx, link: Link) {
        let lease = link.lease();
        self.change(|core, out| {
            if let Some(ix) = core.dispatch.granted(key, link, out) {
                core.leases.insert(lease, ix);
            }
        });
    }

    /// A raylet will never grant what the key needs.
    pub(crate) fn refused(self: &Arc<Self>, key: KeyIx, error: &Error) {
        let tasks = self.lock().dispatch.drain(key);
        for task in tasks {
            let error = error.clone().subject(task.describe());
            Task::finish_all(&task, Resolved::Error(error));
        }
    }

    /// The request of a key must be made again (another node, a lost message).
    pub(crate) fn ask_again(self: &Arc<Self>, key: KeyIx) {
        self.change(|core, out| core.dispatch.ask_again(key, out));
    }

    /// The raylet wants a lease back.
    pub(crate) fn recalled(self: &Arc<Self>, lease: LeaseId, yield_now: bool) {
        self.change(|core, out| {
            if let Some(&ix) = core.leases.get(&lease) {
                core.dispatch.recall(ix, yield_now, out);
            }
        });
    }

    /// The workers where tasks of this owner are, by what is known of them.
    fn workers_where(&self, which: impl Fn(&Link) -> bool) -> BTreeSet<WorkerId> {
        let core = self.lock();
        let leased = core.dispatch.leases_where(&which).into_iter();
        let leased = leased.filter_map(|ix| core.dispatch.link(ix).map(Link::worker));
        let parked = core.parked.values().filter(|(_, link)| which(link)).map(|(_, link)| link.worker());
        leased.chain(parked).collect()
    }

    /// A worker is gone. The task that ran there has lost an attempt, and so have async ones that had begun. Of those in
    /// flight before it the results are lost, and they are made again; those behind it had not begun.
    pub(crate) fn worker_lost(self: &Arc<Self>, worker: WorkerId, ran: Ran, why: &Error) {
        let (flights, parked, node) = self.change(|core, out| {
            let mut node = None;
            let gone = core.dispatch.leases_where(|link| link.worker() == worker);
            let mut flights = Vec::new();
            for ix in gone {
                if let Some(lease) = core.dispatch.link(ix).map(Link::lease) {
                    core.leases.remove(&lease);
                    node = Some(lease.node);
                }
                flights.push(core.dispatch.lost(ix, out));
            }
            let parked: Vec<u64> =
                core.parked.iter().filter(|(_, (_, link))| link.worker() == worker).map(|(seq, _)| *seq).collect();
            let parked: Vec<_> = parked.into_iter().filter_map(|seq| core.parked.remove(&seq)).collect();
            (flights, parked, node)
        });
        for (task, link) in parked {
            self.attempt_lost(&task, Some(link.lease().node), why);
        }
        for flight in flights {
            let at = match ran {
                Ran::First => Some(0),
                Ran::Task(seq) => seq.and_then(|seq| flight.iter().position(|task| task.seq == seq)),
            };
            for (index, task) in flight.iter().enumerate() {
                let may_have_run = at.is_none_or(|at| index < at);
                if Some(index) == at || (may_have_run && task.meta.max_retries == 0) {
                    self.attempt_lost(task, node, why);
                } else if !task.is_over() {
                    self.ready(task);
                }
            }
        }
    }

    /// A task ran where a worker died, on that node if it is known.
    fn attempt_lost(self: &Arc<Self>, task: &Arc<Task>, node: Option<NodeId>, why: &Error) {
        if task.is_over() {
            return;
        }
        let attempt = task.attempt();
        if task.next_attempt() {
            self.note_end(task, attempt, None, Some(why));
            self.ready(task);
        } else if task.is_cancelled() {
            let error =
                Error::task_cancelled(format!("{} was cancelled", task.describe())).at_node(self.id.process.node);
            Task::finish_all(task, Resolved::Error(error));
        } else {
            Task::finish_all(task, Resolved::Error(crashed(task, node, why)));
        }
    }

    /// Leases of a raylet that is gone end with their workers.
    pub(crate) fn node_lost(self: &Arc<Self>, node: NodeId, why: &Error) {
        for worker in self.workers_where(|link| link.lease().node == node) {
            self.worker_lost(worker, Ran::First, why);
        }
        // What was asked of its raylet is asked for elsewhere.
        let keys: BTreeSet<KeyIx> = {
            let mut core = self.lock();
            core.requests.at(node).into_iter().filter_map(|id| core.close_request(id)).collect()
        };
        for key in keys {
            self.ask_again(key);
        }
    }

    // ---- what workers say

    /// A task's code has answered: its refs get the outcome, unless it is to run again (`true`).
    pub(crate) fn answered(self: &Arc<Self>, task: &Arc<Task>, attempt: u32, outcome: Outcome, run: &Run) -> bool {
        if task.attempt() != attempt {
            return false;
        }
        let checked = |returns: Returns| returns.check_cluster(self.process.id.cluster).map(|()| returns);
        match outcome.and_then(checked) {
            Ok(Returns::One(value)) if task.returns() == 1 && task.meta.returns.is_none_or(|n| n == 1) => {
                let resolved = self.result(value.0);
                Task::finish(task, std::iter::once(resolved), Some(run));
            }
            Ok(returns) => {
                let values = match returns {
                    Returns::One(value) => vec![value],
                    Returns::Many(values) => values,
                };
                let declared = task.meta.returns.unwrap_or(task.returns());
                if values.len() as u32 != declared {
                    let error = Error::task(format!(
                        "{} returned {} values, but num_returns is {declared}",
                        task.describe(),
                        values.len()
                    ))
                    .remedy("return as many values as the attribute or the call's options say");
                    Task::fail(task, error, run);
                } else {
                    let outcomes: Vec<Resolved> = values.into_iter().map(|value| self.result(value.0)).collect();
                    Task::finish(task, outcomes.into_iter(), Some(run));
                }
            }
            Err(error) => {
                if task.meta.retry_errors.unwrap_or(error.retry_asked()) && task.next_attempt() {
                    self.note_end(task, attempt, Some(run), Some(&error));
                    return true;
                }
                let node = run.place.node;
                let error = match &error.detail().subject {
                    None => error.subject(task.describe()).at_node(node),
                    // The error of a nested task keeps its own subject and gets an outer one.
                    Some(_) => nested(task, node, error),
                };
                Task::fail(task, error, run);
            }
        }
        false
    }

    fn result(self: &Arc<Self>, value: Value) -> Resolved {
        match self.process.charge(value.size()) {
            Ok(()) => Resolved::Value(value),
            Err(error) => Resolved::Error(error),
        }
    }

    /// The lease's bookkeeping for tasks that ended, each with its run time.
    pub(crate) fn completed(self: &Arc<Self>, lease: LeaseIx, done: impl IntoIterator<Item = (u64, u32)>) {
        self.change(|core, out| {
            if core.parked.is_empty() {
                core.dispatch.completed(lease, done, out);
            } else {
                let mut flying = Vec::new();
                for (seq, ns) in done {
                    match core.parked.remove(&seq) {
                        Some((task, _)) => out.push(Act::Gone(task)),
                        None => flying.push((seq, ns)),
                    }
                }
                let done = flying;
                core.dispatch.completed(lease, done, out);
            }
        });
    }

    /// Lent tasks that a worker gives back.
    pub(crate) fn given_back(self: &Arc<Self>, lease: LeaseIx, seqs: &[u64]) {
        self.change(|core, out| core.dispatch.returned(lease, seqs, out));
    }

    /// A task awaits without holding its worker.
    pub(crate) fn parked(self: &Arc<Self>, lease: LeaseIx, seq: u64) {
        self.change(|core, out| {
            if let (Some(task), Some(link)) = (core.tasks.get(seq), core.dispatch.link(lease))
                && !task.is_over()
            {
                core.parked.insert(seq, (Arc::clone(task), link.clone()));
            }
            core.dispatch.parked(lease, seq, out);
        });
    }

    // ---- refs

    /// The last ref in this process to a return is gone.
    pub(crate) fn released(self: &Arc<Self>, task: &Arc<Task>, index: u32) {
        if task.is_shared() {
            self.unhold(task, index);
        }
        self.settle(task, index);
    }

    /// Whether somebody, here or elsewhere, has a ref to a return.
    pub(crate) fn wants(&self, task: &Task, index: u32) -> bool {
        task.slot(index).holds() > 0 || self.is_lent(task, index)
    }

    /// Frees a return that nobody anywhere can ask for, once: its value goes, here and wherever it is stored.
    ///
    /// A ref that comes back from elsewhere is found under the same lock; what is settled here stays so.
    pub(crate) fn settle(self: &Arc<Self>, task: &Arc<Task>, index: u32) {
        let wanted = |index: u32| self.wants(task, index);
        let (gone, cleared, let_go) = {
            let mut core = self.lock();
            if wanted(index) {
                return;
            }
            let ends = task.is_over() || matches!(task.what, What::Lifeline(_));
            if !ends {
                // Its end settles it.
                return;
            }
            let stays = if core.lineage.is_empty() { Stays::Nothing } else { core.lineage.stays(task.seq) };
            let last = || (0..task.returns()).all(|index| !wanted(index));
            match stays {
                Stays::Values => return,
                Stays::Record => (None, Some(task.slot(index).clear()), None),
                Stays::Nothing if task.returns() == 1 => {
                    (core.tasks.remove(task.seq), None, core.lineage.forget(task.seq))
                }
                Stays::Nothing => {
                    // What was read of one is read of all.
                    let cleared = task.slot(index).clear();
                    let last = last();
                    let gone = if last { core.tasks.remove(task.seq) } else { None };
                    (gone, Some(cleared), if last { core.lineage.forget(task.seq) } else { None })
                }
            }
        };
        self.let_go(let_go);
        if let What::Lifeline(actor) = &task.what {
            if gone.is_some() {
                self.process.tell_gcs(ToGcs::HandlesGone { actor: *actor });
            }
            return;
        }
        match cleared {
            Some(State::Ready(outcome)) => {
                if gone.is_some() {
                    self.report_unread(task, &outcome);
                }
                self.free(task, index, &outcome);
            }
            Some(State::Pending(_)) => {}
            None if gone.is_some() => {
                // Taken out here: the task itself may be dropped later and elsewhere, where what the value holds would
                // be dropped within it.
                if let State::Ready(outcome) = task.slot(0).vacate() {
                    self.report_unread(task, &outcome);
                    self.free(task, 0, &outcome);
                }
            }
            None => {}
        }
    }

    /// A task has failed, and nobody will ever see why: it is said here, once.
    fn report_unread(&self, task: &Task, outcome: &Resolved) {
        let Resolved::Error(error) = outcome else { return };
        if let Error::ObjectFreed { .. } = error {
            // It had a value, which was freed before its record.
            return;
        }
        let is_call = matches!(task.what, What::Function(_) | What::Method(_));
        let meant = task.is_cancelled() || self.dead.get().is_some() || self.process.is_closing();
        if !is_call || meant || !self.process.reports_unread || task.slots().any(Slot::was_read) {
            return;
        }
        tracing::error!(
            target: "actinic",
            task = task.describe(),
            "unread failure: {error} (get the ref to handle it; ACTINIC_IGNORE_UNREAD_ERRORS=1 silences this)"
        );
    }

    fn free(&self, task: &Task, index: u32, outcome: &Resolved) {
        match outcome {
            Resolved::Value(value) => self.free_value(task, index, value.size()),
            Resolved::Stored(stored) => self.process.free_stored(ObjectId { task: task.id(), index }, &stored.at),
            Resolved::Error(_) => {}
        }
    }

    /// An outcome comes to a return that has another (it was cancelled, its owner is dead): what it holds goes.
    pub(crate) fn give_up(&self, task: &Task, index: u32, outcome: &Resolved) {
        match outcome {
            Resolved::Value(value) => self.process.store.discharge(value.size()),
            Resolved::Stored(late) => {
                // Another attempt's value may lie at the same place, under the same name.
                let at: Vec<PeerAddr> = match task.has_slot(index).then(|| task.slot(index).get_unseen()).flatten() {
                    Some(Resolved::Stored(known)) => {
                        let elsewhere = |at: &&PeerAddr| known.at.iter().all(|known| known.id != at.id);
                        late.at.iter().filter(elsewhere).cloned().collect()
                    }
                    _ => late.at.clone(),
                };
                self.process.free_stored(ObjectId { task: task.id(), index }, &at);
            }
            Resolved::Error(_) => {}
        }
    }

    /// A value of this process is freed, and the copies that others fetched.
    fn free_value(&self, task: &Task, index: u32, size: usize) {
        self.process.store.discharge(size);
        // One that was lost as a large one may have been made again as a small one.
        if size > crate::call::INLINE_LIMIT || task.attempt() > 0 {
            let copies = self.copies().remove(&(task.seq, index)).unwrap_or_default();
            self.process.free_stored(ObjectId { task: task.id(), index }, &copies);
        }
    }

    fn copies(&self) -> MutexGuard<'_, HashMap<(u64, u32), Vec<PeerAddr>>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another process has fetched an object: it is told when the object is freed, which may have been meanwhile.
    pub(crate) fn copied(self: &Arc<Self>, seq: u64, index: u32, at: PeerAddr) {
        let known = {
            let core = self.lock();
            match core.tasks.get(seq).filter(|task| task.has_slot(index)) {
                None => None,
                Some(task) => {
                    let before = match &mut *task.slot(index).lock() {
                        State::Ready(Resolved::Value(_)) => {
                            self.copies().entry((seq, index)).or_default().push(at.clone());
                            Some(None)
                        }
                        State::Ready(Resolved::Stored(stored)) => {
                            let mut more =
                                Stored { size: stored.size, at: stored.at.clone(), refs: stored.refs.clone() };
                            more.at.push(at.clone());
                            Some(Some(std::mem::replace(stored, Arc::new(more))))
                        }
                        _ => None,
                    };
                    before.map(|before| (Arc::clone(task), before))
                }
            }
        };
        if known.is_none() {
            let task = TaskId { owner: self.id, seq };
            self.process.free_stored(ObjectId { task, index }, &[at]);
        }
    }

    /// A ref to an object of this owner, for somebody who knows its id.
    pub(crate) fn find(&self, id: TaskId, index: u32) -> Option<RawRef> {
        let core = self.lock();
        let task = core.tasks.get(id.seq)?;
        task.has_slot(index).then(|| RawRef::owned(Arc::clone(task), index))
    }

    /// As [`Owner::find`], of an object that somebody has a ref to.
    fn find_wanted(&self, id: TaskId, index: u32) -> Option<RawRef> {
        let core = self.lock();
        let task = core.tasks.get(id.seq).filter(|task| task.has_slot(index))?;
        self.wants(task, index).then(|| RawRef::owned(Arc::clone(task), index))
    }

    /// The task with a number, while it is known.
    pub(crate) fn task(&self, seq: u64) -> Option<Arc<Task>> {
        self.lock().tasks.get(seq).cloned()
    }

    /// The processes that a task may be running in, this one left out.
    fn flying_at(&self, task: &Task) -> Vec<Peer> {
        if let What::Method(call) = &task.what {
            return call.client.real().peer().into_iter().collect();
        }
        let mut core = self.lock();
        let key = task.key.load(Ordering::Relaxed);
        if key == KeyIx::MAX {
            return Vec::new();
        }
        let parked = core.parked.get(&task.seq).map(|(_, link)| link.clone());
        match core.dispatch.locate(task.seq, key).or(parked) {
            Some(Link::Remote(link)) => vec![link.peer.clone()],
            _ => Vec::new(),
        }
    }

    /// The worker in another process where an async task waits without holding it.
    fn parked_at(&self, seq: u64) -> Option<Arc<RemoteLink>> {
        match &self.lock().parked.get(&seq)?.1 {
            Link::Remote(link) => Some(Arc::clone(link)),
            Link::Local(_) => None,
        }
    }

    /// Tasks have ended that may have waited without holding their worker, under leases that are over.
    pub(crate) fn unparked(&self, seqs: impl IntoIterator<Item = u64>) {
        let gone: Vec<_> = {
            let mut core = self.lock();
            seqs.into_iter().filter_map(|seq| core.parked.remove(&seq)).collect()
        };
        drop(gone);
    }

    /// The tasks with these numbers, where they are known.
    fn tasks_numbered(&self, seqs: impl Iterator<Item = u64>) -> Vec<Option<Arc<Task>>> {
        let core = self.lock();
        seqs.map(|seq| core.tasks.get(seq).cloned()).collect()
    }

    /// Every task and object that is known, for `state`.
    pub(crate) fn tasks(&self) -> Vec<Arc<Task>> {
        self.lock().tasks.values().cloned().collect()
    }

    /// How many tasks and objects are known, wait in queues, and are in flight.
    pub(crate) fn load(&self) -> (usize, usize, usize) {
        let core = self.lock();
        let (queued, flying) = core.dispatch.load();
        (core.tasks.len(), queued, flying)
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
        let lineage = {
            let mut core = self.lock();
            for task in &tasks {
                if let (What::Function(_), false) = (&task.what, task.is_over()) {
                    task.set_cancelled();
                    let key = task.key.load(Ordering::Relaxed);
                    if key != KeyIx::MAX {
                        core.dispatch.cancel(task.seq, key);
                    }
                }
            }
            core.dispatch.close_idle(&mut out);
            Self::end_rebuilding(&mut core)
        };
        self.let_go(lineage);
        self.perform(&mut out);
        for task in tasks {
            for (index, slot) in task.slots().enumerate() {
                if let Some(before) = slot.replace(Resolved::Error(error.clone())) {
                    self.free(&task, index as u32, &before);
                }
            }
            Task::finish_all(&task, Resolved::Error(error.clone()));
        }
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
    let message = format!("{} failed: {}", task.describe(), error.root_cause().detail().message);
    let mut outer = error.clone();
    outer = outer.subject(task.describe()).at_node(node).caused_by(error);
    outer.with_message(message)
}
