//! Running the calls of an actor: a strand's turn, and how a call is answered.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use crate::actor::begin::construct;
use crate::actor::host::{ActorHost, Inbox, Mode, SingleState, Unready};
use crate::api::error::Error;
use crate::call::TaskArgs;
use crate::events::Run;
use crate::gcs::core::Isolation;
use crate::ids::{OwnerId, TaskId};
use crate::program::{Constructor, MethodCall, MethodEntry, SharedState};
use crate::protocol::Gone;
use crate::task::What;
use crate::worker::host::{Current, Runs, enter};
use crate::worker::job::{Ended, Job, guarded, nanoseconds};
use crate::worker::lending::Turn;
use crate::worker::pool::Strand;
use crate::worker::remote;
/// A strand is drained for this long, or for this many calls, before others have their turn.
pub(super) const TURN: Duration = Duration::from_millis(1);
pub(super) const TURN_CALLS: usize = 256;
/// So many calls are taken out of the inbox together, where none may overtake another: its lock is the callers' too.
const TAKEN_CALLS: usize = 32;
/// So many answers to another process are sent together at most.
pub(super) const ANSWERS_MAX: usize = 64;

impl ActorHost {
    /// A call has ended: its caller gets the outcome, at once or with those of other processes that wait to be sent; so
    /// many do; it ended then, after so many nanoseconds. `None` if the incarnation ends with it.
    pub(crate) fn answered(self: &Arc<Self>, job: Job, ended: Ended, (at, ns): (Duration, u64)) -> Option<usize> {
        if self.was_given_up(&job, matches!(ended, Ended::Answered(_))) {
            return None;
        }
        let outcome = match ended {
            Ended::Answered(outcome) => outcome,
            // What ends the actor does not undo what was answered before.
            Ended::Crashed => {
                self.send_answers();
                self.host.process.worker_crashed(&self.host);
                return None;
            }
            Ended::Exited => {
                self.send_answers();
                self.gone(Gone::Exited, "it called exit_actor()");
                return None;
            }
        };
        match job {
            Job::Local { task, attempt, .. } => {
                let run = Run { place: self.host.place(), ended: at, ns };
                if task.owner.answered(&task, attempt, outcome, &run)
                    && let What::Method(call) = &task.what
                {
                    call.client.retry(&task);
                }
            }
            Job::Remote(job) => return Some(self.reply_soon(remote::Reply { job, outcome, ns })),
            Job::Constructor(_) => {}
        }
        Some(0)
    }

    /// Leaves an answer with others to be sent together; an alarm sends them if what runs now takes long. So many wait.
    fn reply_soon(self: &Arc<Self>, reply: remote::Reply) -> usize {
        let waiting = {
            let mut unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
            let unsent = unsent.make();
            unsent.push(reply);
            unsent.len()
        };
        if !self.alarmed.swap(true, Ordering::AcqRel) {
            self.host.process.want_answers_sent(self);
        }
        waiting
    }

    /// The alarm's look: what waits to be sent has waited long enough.
    pub(crate) fn alarm(&self) {
        self.alarmed.store(false, Ordering::Release);
        self.send_answers();
    }

    /// Sends the answers that wait.
    pub(super) fn send_answers(&self) {
        let unsent = self
            .unsent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut()
            .map(std::mem::take)
            .unwrap_or_default();
        if !unsent.is_empty() {
            remote::send_replies(&self.host, unsent);
        }
    }

    /// Whether the actor was killed while a call ran, which was given up then: that, or that it is answered, is decided
    /// here. If it is to be answered, it does not count as running any more.
    fn was_given_up(&self, job: &Job, answers: bool) -> bool {
        let mut running = self.running();
        // Where calls do not overlap it is the first.
        let Some(at) = running.iter().position(|other| other.is(job)) else {
            drop(running);
            return self.lock().ended;
        };
        let known = match at {
            _ if !answers => None,
            0 => running.pop_front(),
            at => running.remove(at),
        };
        drop(running);
        // The last to know of a call drops its arguments: not under the lock.
        drop(known);
        false
    }

    /// Takes calls out of the inbox, in order; `false` if there is none, and the thread is counted out.
    fn take_calls(&self, taken: &mut VecDeque<Job>) -> bool {
        let in_order = self.spec.max_concurrency <= 1;
        let mut inbox = self.lock();
        let mut running = self.running();
        while taken.len() < if in_order { TAKEN_CALLS } else { 1 }
            && let Some(job) = inbox.next_ready(in_order)
        {
            running.push_back(job.clone());
            taken.push_back(job);
        }
        if taken.is_empty() {
            inbox.active = inbox.active.saturating_sub(1);
            if self.spec.isolation == Isolation::Shared && inbox.calls.is_empty() && running.is_empty() {
                // There may be a million of them, which idle.
                inbox.calls = VecDeque::new();
                *running = VecDeque::new();
            }
        }
        !taken.is_empty()
    }

    /// What the calls of a turn run on.
    fn stage(&self) -> Stage<'_> {
        match &*self.mode() {
            Mode::Shared(state, _) => Stage::Shared(Arc::clone(state)),
            // One thread at a time runs a strand: the lock is never waited for, and a panic inside is caught inside.
            _ => Stage::Single(self.single.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// Runs a sync constructor.
    fn construct_here(self: &Arc<Self>) {
        let (Constructor::Sync(call), Some((input, dependencies))) = (self.entry.constructor, self.take_creation())
        else {
            return;
        };
        let current = self.current_for_constructor();
        let made = enter(&current, || construct(|| call(&mut TaskArgs::new(&input, &dependencies))));
        if self.constructed(made) {
            self.go_on();
        }
    }

    /// Runs a call.
    fn call(self: &Arc<Self>, stage: &mut Stage<'_>, current: &Current) -> Ended {
        let job = &current.job;
        let Some(method) = job.method() else {
            let unknown = if let Job::Remote(job) = job { job.unknown().cloned() } else { None };
            return Ended::Answered(Err(unknown.unwrap_or_else(|| Error::task("a task reached an actor"))));
        };
        if job.is_cancelled() {
            return Ended::Answered(Err(Error::task_cancelled("the call was cancelled before it began")));
        }
        enter(current, || match stage {
            Stage::Shared(state) => self.call_shared(&**state, method, job),
            Stage::Single(single) => self.call_single(single, method, job),
        })
    }

    fn call_single(&self, single: &mut Option<SingleState>, method: &MethodEntry, job: &Job) -> Ended {
        let ended = match (single.as_mut(), method.call) {
            (Some(state), MethodCall::SyncMut(call)) => with_input(job, |args| call(&mut ***state, args)),
            (Some(state), MethodCall::SyncRef(call)) => with_input(job, |args| call(&***state, args)),
            _ => Ended::Answered(Err(Error::actor_died(format!("{} has ended", self.describe()))
                .subject(self.describe())
                .at_node(self.host.process.id.node)
                .remedy("make another one to go on, or let it end after the last call"))),
        };
        if self.dead.load(Ordering::Acquire) {
            // It ended while the call ran.
            drop(single.take());
        }
        ended
    }

    /// What waits for the state's lock waits for no ref, and does not count among those that have begun: who has the lock
    /// lends the CPU when it waits for one.
    fn call_shared(&self, state: &dyn SharedState, method: &MethodEntry, job: &Job) -> Ended {
        let mut ended = None;
        match method.call {
            MethodCall::SyncMut(call) => state.write(&mut |state| {
                let _turn = Turn::begin(&self.host);
                ended = Some(with_input(job, |args| call(state, args)));
            }),
            MethodCall::SyncRef(call) => state.read(&mut |state| {
                let _turn = Turn::begin(&self.host);
                ended = Some(with_input(job, |args| call(state, args)));
            }),
            MethodCall::AsyncMut(_) | MethodCall::AsyncRef(_) | MethodCall::Actix(_) => {}
        }
        ended.unwrap_or_else(|| Ended::Answered(Err(Error::task("an async method of a sync actor"))))
    }
}

/// What the calls of a turn run on.
enum Stage<'a> {
    Shared(Arc<dyn SharedState>),
    Single(MutexGuard<'a, Option<SingleState>>),
}

impl Stage<'_> {
    /// How: those that overlap lend their CPU together.
    fn runs(&self) -> Runs {
        match self {
            Stage::Shared(_) => Runs::Beside,
            Stage::Single(_) => Runs::Alone,
        }
    }
}

impl Strand for ActorHost {
    fn drain(self: Arc<Self>) -> bool {
        if self.lock().new {
            self.construct_here();
            return false;
        }
        let start = self.host.process.env.now();
        let mut began = start;
        let mut calls = 0;
        let mut taken = VecDeque::new();
        let mut stage = self.stage();
        let mut host = Arc::clone(&self.host);
        let runs = stage.runs();
        let more = 'turn: loop {
            if !self.take_calls(&mut taken) {
                break false;
            }
            while let Some(job) = taken.pop_front() {
                let current = Current { host, job, runs: runs.clone() };
                let ended = self.call(&mut stage, &current);
                let job = current.job;
                host = current.host;
                let now = self.host.process.env.now();
                let ns = nanoseconds(now.saturating_sub(began));
                began = now;
                let unsent = self.answered(job, ended, (now, ns)).filter(|_| !self.dead.load(Ordering::Acquire));
                let Some(unsent) = unsent else {
                    // What was taken and has not run was given up with what waited.
                    let mut inbox = self.lock();
                    inbox.active = inbox.active.saturating_sub(1);
                    break 'turn false;
                };
                calls += 1;
                if unsent >= ANSWERS_MAX || (ns > 100_000 && unsent > 0) {
                    self.send_answers();
                }
            }
            if calls >= TURN_CALLS || began.saturating_sub(start) >= TURN {
                break true;
            }
        };
        drop(stage);
        if self.dead.load(Ordering::Acquire) {
            // Whoever ended it found the state in use.
            self.drop_state();
        }
        self.send_answers();
        if !more {
            self.end_if_asked();
        }
        more
    }

    fn is_urgent(&self) -> bool {
        false
    }
}

impl Inbox {
    /// The next call whose arguments are here: the first of its caller, or where calls may overlap the first that is ready.
    pub(super) fn next_ready(&mut self, in_order: bool) -> Option<Job> {
        let fetching = self.unready.get().map(|unready| &unready.fetching);
        let ready = |job: &Job| is_ready(job, fetching);
        if !in_order {
            let at = self.calls.iter().position(ready)?;
            return self.calls.remove(at);
        }
        let front = self.calls.front()?;
        if ready(front) {
            let first = self.calls.pop_front();
            self.look_anew();
            return first;
        }
        let Unready { held, held_calls, fetching } = self.unready.make();
        let from = *held_calls;
        let at = self.calls.iter().skip(from).position(|job| {
            let caller = caller(job);
            if held.contains(&caller) {
                return false;
            }
            let ready = is_ready(job, Some(fetching));
            if !ready {
                held.insert(caller);
            }
            ready
        });
        *held_calls = at.map_or(self.calls.len(), |at| from + at);
        self.calls.remove(at.map(|at| from + at)?)
    }

    /// What held calls up may be over.
    pub(super) fn look_anew(&mut self) {
        if let Some(unready) = self.unready.get_mut() {
            unready.held.clear();
            unready.held_calls = 0;
        }
    }
}

/// Whether the arguments of a call are here.
fn is_ready(job: &Job, fetching: Option<&BTreeSet<TaskId>>) -> bool {
    match job {
        Job::Remote(job) => job.may_begin(),
        Job::Local { task, .. } => {
            fetching.is_none_or(|fetching| fetching.is_empty() || !fetching.contains(&task.id()))
        }
        Job::Constructor(_) => true,
    }
}

/// The owner of a call, and what tells the task apart that made it.
pub(super) type CallerKey = (OwnerId, u64);

/// Who made a call.
fn caller(job: &Job) -> Option<CallerKey> {
    match job {
        Job::Local { task, .. } => match &task.what {
            What::Method(call) => Some((task.id().owner, call.caller.task)),
            _ => None,
        },
        Job::Remote(job) => Some((job.id.owner, job.caller)),
        Job::Constructor(_) => None,
    }
}

fn with_input(job: &Job, call: impl FnOnce(&mut TaskArgs<'_>) -> crate::program::Outcome) -> Ended {
    match job.input() {
        Ok((input, dependencies)) => guarded(|| call(&mut TaskArgs::new(&input, &dependencies))),
        Err(error) => Ended::Answered(Err(error)),
    }
}
