//! A submitted task: what its owner, its worker and its refs share.

mod life;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::actor::client::{ActorCall, Client};
use crate::api::error::Error;
use crate::events::Run;
use crate::ids::{ActorId, TaskId};
use crate::object::{RawRef, Resolved, Slot};
use crate::owner::Owner;
use crate::owner::dispatch::{AHEAD_NS, KeyIx, Unit};
use crate::program::FunctionEntry;
use crate::raylet::Shape;
use crate::task::life::{Life, Outcome};
use crate::value::Value;
use crate::wait::{Came, Waiter};

/// What all calls with the same options share.
#[derive(Debug)]
pub(crate) struct Meta {
    /// The name that the options give, if they do.
    pub(crate) name: Option<String>,
    pub(crate) shape: Shape,
    /// Attempts beyond the first after system faults; -1 for ever.
    pub(crate) max_retries: i64,
    pub(crate) returns: Option<u32>,
    pub(crate) task_events: bool,
    /// Overrides what the worker says of an error: all are retried, or none.
    pub(crate) retry_errors: Option<bool>,
}

impl Meta {
    pub(crate) fn with_returns(&self, returns: u32) -> Meta {
        Meta {
            name: self.name.clone(),
            shape: self.shape.clone(),
            max_retries: self.max_retries,
            returns: Some(returns),
            task_events: self.task_events,
            retry_errors: self.retry_errors,
        }
    }
}

/// What is called.
pub(crate) enum What {
    /// A value that was put: nothing runs.
    Put,
    /// What an actor's handles keep alive: when nobody holds it, the actor ends.
    Lifeline(ActorId),
    /// Resolves when an actor was made, or not.
    Ready(Arc<Client>),
    Function(&'static FunctionEntry),
    Method(ActorCall),
}

impl What {
    /// The function's or method's name.
    pub(crate) fn name(&self, meta: &Meta) -> String {
        if let Some(name) = &meta.name {
            return name.clone();
        }
        match self {
            What::Put => "put".to_owned(),
            What::Lifeline(actor) => format!("actor {actor}"),
            What::Ready(client) => format!("{}.new", client.class()),
            What::Function(entry) => entry.name().to_owned(),
            What::Method(call) => call.name(),
        }
    }
}

/// The arguments, kept until nothing can need another attempt.
#[derive(Clone, Default)]
pub(crate) struct Input {
    pub(crate) inline: Value,
    pub(crate) dependencies: Vec<RawRef>,
}

/// One submission, through all its attempts. In this order: what a worker writes, and who gets the result reads, lies
/// together.
#[repr(C)]
pub(crate) struct Task {
    first: Slot,
    life: Life,
    /// The dispatcher's key of the options; set when a function task becomes ready.
    pub(crate) key: AtomicU32,
    /// Another process was given a ref to one of its returns.
    shared: AtomicBool,
    /// Whether it was submitted with refs as arguments.
    depends: bool,
    /// Its arguments are a few bytes in its record, and hold nothing.
    plain: bool,
    /// A detached actor is at the root of its submission, so the end of the job does not matter.
    pub(crate) outlives_job: bool,
    /// The bytes that pushing it moves.
    bytes: u32,
    input: Mutex<Input>,
    pub(crate) seq: u64,
    pub(crate) owner: Arc<Owner>,
    pub(crate) meta: Arc<Meta>,
    pub(crate) what: What,
    /// How deep it is nested: 0 is submitted by a driver.
    pub(crate) depth: u32,
    /// The [`TaskId::mark`] of the call that submitted it; 0 for a driver.
    pub(crate) parent: u64,
    /// Where it stands in its owner's queue: its number, or a later one since it is tried again.
    place: AtomicU64,
    rest: Box<[Slot]>,
}

impl Task {
    /// A task with a number that its owner gave out for it.
    pub(crate) fn new(
        owner: Arc<Owner>,
        seq: u64,
        what: What,
        meta: Arc<Meta>,
        input: Input,
        returns: u32,
        depth: u32,
    ) -> Arc<Task> {
        let (parent, outlives_job) = crate::worker::host::with_current(|current| {
            current.map_or((0, false), |current| (current.task_id().mark(), current.outlives_job()))
        });
        if parent != 0 {
            owner.nests();
        }
        Arc::new(Task {
            // An argument in the body is at most the inline limit.
            bytes: input.inline.size() as u32,
            depends: !input.dependencies.is_empty(),
            plain: input.dependencies.is_empty() && input.inline.is_plain(),
            owner,
            seq,
            what,
            meta,
            key: AtomicU32::new(KeyIx::MAX),
            depth,
            parent,
            place: AtomicU64::new(seq),
            outlives_job,
            life: Life::begun(),
            shared: AtomicBool::new(false),
            input: Mutex::new(input),
            first: Slot::pending(),
            rest: (1..returns).map(|_| Slot::pending()).collect(),
        })
    }

    /// A task that is done from the start: a `put`, or a submission that failed.
    pub(crate) fn resolved(owner: Arc<Owner>, what: What, meta: Arc<Meta>, with: Resolved, returns: u32) -> Arc<Task> {
        let seq = owner.next_seq();
        Arc::new(Task {
            bytes: 0,
            depends: false,
            plain: true,
            owner,
            seq,
            what,
            meta,
            key: AtomicU32::new(KeyIx::MAX),
            depth: 0,
            parent: 0,
            place: AtomicU64::new(seq),
            outlives_job: false,
            life: Life::done(),
            shared: AtomicBool::new(false),
            input: Mutex::default(),
            rest: (1..returns).map(|_| Slot::ready(with.clone())).collect(),
            first: Slot::ready(with),
        })
    }

    pub(crate) fn id(&self) -> TaskId {
        TaskId { owner: self.owner.id, seq: self.seq }
    }

    pub(crate) fn slot(&self, index: u32) -> &Slot {
        // Refs are made with indices below the number of slots.
        if index == 0 { &self.first } else { &self.rest[index as usize - 1] }
    }

    pub(crate) fn has_slot(&self, index: u32) -> bool {
        (index as usize) <= self.rest.len()
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    pub(crate) fn returns(&self) -> u32 {
        1 + self.rest.len() as u32
    }

    /// The function's or method's name.
    pub(crate) fn name(&self) -> String {
        self.what.name(&self.meta)
    }

    /// The task as errors call it.
    pub(crate) fn describe(&self) -> String {
        match &self.what {
            What::Put => format!("object {}", self.id()),
            What::Lifeline(actor) => format!("actor {actor}"),
            _ => format!("task {} ({})", self.name(), self.id()),
        }
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.life.attempt()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.life.is_done()
    }

    /// As [`Life::is_over`].
    pub(crate) fn is_over(&self) -> bool {
        self.life.is_over()
    }

    /// Whether its outcome is there for all to see, or it is over: whoever has got it may cancel it before its end is noted.
    pub(crate) fn has_outcome(&self) -> bool {
        self.is_over() || (!self.is_done() && self.slots().all(Slot::is_ready))
    }

    /// As [`Life::begin_again`].
    pub(crate) fn begin_again(&self) -> bool {
        self.life.begin_again(self.meta.max_retries)
    }

    /// Whether the options allow another attempt.
    pub(crate) fn may_try_again(&self) -> bool {
        self.life.may_try_again(self.meta.max_retries)
    }

    /// As [`Life::next_attempt`]: system faults and asked-for errors count together.
    pub(crate) fn next_attempt(&self) -> bool {
        let again = self.life.next_attempt(self.meta.max_retries);
        if again && let What::Function(_) = &self.what {
            // Behind the others: one that fails again and again must not keep them from their turns.
            self.place.store(self.owner.next_seq(), Ordering::Release);
        }
        again
    }

    pub(crate) fn place(&self) -> u64 {
        self.place.load(Ordering::Acquire)
    }

    pub(crate) fn end_again(&self) {
        self.life.end_again();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.life.is_cancelled()
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Acquire)
    }

    pub(crate) fn set_shared(&self) {
        self.shared.store(true, Ordering::Release);
    }

    pub(crate) fn set_cancelled(&self) {
        self.life.cancel();
    }

    pub(crate) fn input(&self) -> Input {
        self.input.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_input(&self, input: Input) {
        let before = std::mem::replace(&mut *self.input.lock().unwrap_or_else(PoisonError::into_inner), input);
        drop(before);
    }

    pub(crate) fn take_input(&self) -> Input {
        std::mem::take(&mut *self.input.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `read` on the arguments without cloning them; it must not run user code.
    pub(crate) fn with_input<R>(&self, read: impl FnOnce(&Input) -> R) -> R {
        read(&self.input.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it was submitted with refs as arguments.
    pub(crate) fn depends(&self) -> bool {
        self.depends
    }

    /// Whether its arguments are not ready.
    pub(crate) fn is_waiting(&self) -> bool {
        self.depends && self.life.is_waiting()
    }

    /// Why it has no outcome yet, in words.
    pub(crate) fn explain(&self) -> String {
        match &self.what {
            What::Put => "it was put".to_owned(),
            What::Lifeline(_) => "its actor is not made yet".to_owned(),
            What::Ready(client) => client.real().explain(),
            _ if self.is_waiting() => "it waits for its arguments".to_owned(),
            What::Function(_) => self.owner.explain(self),
            What::Method(call) => format!("it runs, or waits for its turn: {}", call.client.real().explain()),
        }
    }

    /// Waits for the dependencies, then hands the task on; with none, at once.
    pub(crate) fn start(task: &Arc<Task>) {
        if let What::Method(call) = &task.what {
            call.client.submitted(task);
        }
        if !task.depends {
            task.life.waits_for_nothing();
            return Task::go(task);
        }
        let dependencies = task.with_input(|input| input.dependencies.clone());
        task.life.waits_for(dependencies.len() as u32);
        for dependency in &dependencies {
            // Not the last: the submission is not complete.
            if let Err((_, how)) = dependency.subscribe(Waiter::Dependent(Arc::clone(task))) {
                Task::dependency_done(task, how);
            }
            if task.life.has_failed() {
                return;
            }
        }
        Task::dependency_done(task, Came::Value);
    }

    /// One thing less is missing; the last one makes the task ready, and one that failed ends it, whatever else is missing.
    pub(crate) fn dependency_done(task: &Arc<Task>, how: Came) {
        let ends = how == Came::Failed && task.life.one_failed();
        let last = task.life.one_less();
        if !ends && (!last || task.life.has_failed()) {
            return;
        }
        if let Some(error) = task.failed_dependency() {
            // Those that depend on this one fail too, and so on.
            crate::later::step(
                (task, error),
                |(task, error)| Task::skip(task, error),
                |(task, error)| {
                    let task = Arc::clone(task);
                    Box::new(move || Task::skip(&task, error))
                },
            );
            return;
        }
        if !ends && !task.is_over() {
            Task::go(task);
        }
    }

    /// It is ready.
    fn go(task: &Arc<Task>) {
        match &task.what {
            What::Put | What::Lifeline(_) | What::Ready(_) => {}
            What::Function(_) => task.owner.ready(task),
            What::Method(call) => call.client.ready(task),
        }
    }

    /// Ends a task that cannot run.
    fn skip(task: &Arc<Task>, error: Error) {
        Task::finish_all(task, Resolved::Error(error));
        if let What::Method(call) = &task.what {
            call.client.skipped(task);
        }
    }

    fn failed_dependency(&self) -> Option<Error> {
        if !self.depends {
            return None;
        }
        self.with_input(|input| {
            let failed = |dependency: &RawRef| match dependency.slot().get_unseen() {
                Some(Resolved::Error(error)) => Some(error),
                _ => None,
            };
            let first = input.dependencies.iter().find_map(failed)?;
            // All of them count as read, whenever they fail: whoever reads this task's error need not read theirs.
            input.dependencies.iter().for_each(|dependency| dependency.slot().see());
            Some(first)
        })
        .map(|error| error.through_dependent(&self.describe()))
    }

    /// Ends the task: every ref gets its outcome, of a run of its code or of none. Nothing happens if it has ended before.
    pub(crate) fn finish(task: &Arc<Task>, mut outcomes: impl Iterator<Item = Resolved>, run: Option<&Run>) {
        match task.life.outcome() {
            Outcome::First if task.returns() == 1 || task.life.begins_end() => {}
            Outcome::Again => {
                let outcomes: Vec<Resolved> = outcomes.take(task.returns() as usize).collect();
                task.owner.note_end(task, task.attempt(), run, outcomes.iter().find_map(Resolved::error));
                return task.owner.rebuilt(task, outcomes.into_iter());
            }
            Outcome::First | Outcome::Late => {
                for (index, outcome) in outcomes.enumerate() {
                    task.owner.give_up(task, index as u32, &outcome);
                }
                return;
            }
        }
        if let What::Method(call) = &task.what {
            call.makes_room();
        }
        let mut next = || {
            outcomes.next().unwrap_or_else(|| match task.meta.returns {
                // The one slot that every task has is nobody's.
                Some(0) => Resolved::Value(Value::nothing()),
                _ => Resolved::Error(Error::task(format!("{} returned too few values", task.describe()))),
            })
        };
        if task.returns() == 1 {
            let outcome = next();
            task.owner.note_end(task, task.attempt(), run, outcome.error());
            Task::leave_input(task, matches!(outcome, Resolved::Stored(_)));
            Task::offer(task, 0, outcome);
        } else {
            let all: Vec<Resolved> = (0..task.returns()).map(|_| next()).collect();
            task.owner.note_end(task, task.attempt(), run, all.iter().find_map(Resolved::error));
            Task::leave_input(task, all.iter().any(|outcome| matches!(outcome, Resolved::Stored(_))));
            for (index, outcome) in all.into_iter().enumerate() {
                Task::offer(task, index as u32, outcome);
            }
        }
        Task::ended(task);
    }

    /// Lets go of the arguments, or keeps them as lineage if a result lies in a store: before anybody hears of the result, so
    /// that whoever has it finds them gone.
    fn leave_input(task: &Arc<Task>, stored: bool) {
        if task.plain && !stored {
            return;
        }
        let input = task.take_input();
        if stored && !task.is_cancelled() {
            task.owner.keep_lineage(task, &input);
        }
    }

    fn offer(task: &Arc<Task>, index: u32, outcome: Resolved) {
        if let Some(late) = task.slot(index).offer(outcome) {
            task.owner.give_up(task, index, &late);
        }
    }

    /// Ends the task with one outcome for all its refs, which comes from no run of its code.
    pub(crate) fn finish_all(task: &Arc<Task>, outcome: Resolved) {
        let outcomes = std::iter::repeat_n(outcome, task.returns() as usize);
        Task::finish(task, outcomes, None);
    }

    /// Ends the task with the error of a run.
    pub(crate) fn fail(task: &Arc<Task>, error: Error, run: &Run) {
        let outcomes = std::iter::repeat_n(Resolved::Error(error), task.returns() as usize);
        Task::finish(task, outcomes, Some(run));
    }

    /// All refs have their outcome.
    fn ended(task: &Arc<Task>) {
        // It may begin again as soon as it has ended.
        let attempt = task.attempt();
        if !task.life.end() {
            return;
        }
        if let What::Method(call) = &task.what {
            call.ended();
        }
        if task.depends() {
            task.owner.process.store.call_ended((task.id(), attempt));
        }
        for index in 0..task.returns() {
            if task.slot(index).holds() == 0 {
                task.owner.settle(task, index);
            }
        }
    }
}

impl Unit for Arc<Task> {
    fn seq(&self) -> u64 {
        self.seq
    }

    fn place(&self) -> u64 {
        Task::place(self)
    }

    fn function(&self) -> usize {
        match &self.what {
            What::Function(entry) => entry.index(),
            _ => 0,
        }
    }

    fn bytes(&self) -> u32 {
        // One that may run once only has its worker to itself, so that a crash of the worker leaves no doubt about it.
        if self.meta.max_retries == 0 { self.bytes.max(AHEAD_NS as u32) } else { self.bytes }
    }
}
