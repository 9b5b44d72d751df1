//! The owner's side of workers in other processes: pushing, taking back, reading replies.

use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{ActorNo, Answer, Lane, Peer, SendError};

use crate::api::error::Error;
use crate::call::{INLINE_LIMIT, INLINE_TOTAL, ReturnValue, Returns};
use crate::events::{Place, Run};
use crate::ids::{ObjectId, OwnerId, TaskId};
use crate::object::{RawRef, Resolved, Stored};
use crate::owner::dispatch::{LeaseIx, run_time};
use crate::owner::{Owner, RemoteLink};
use crate::process::Process;
use crate::protocol::calls::{
    BATCH_BYTES, TASKS, WireDependency, WireOutcome, WireReply, WireTask, WireTasks, WireValue,
};
use crate::protocol::refs::{REF_BYTES, WireRefs};
use crate::protocol::workers::ToWorker;
use crate::protocol::{LeaseId, WORKER};
use crate::task::{Input, Task, What};
use crate::testing::Message as Lost;

/// A worker's word that what was cancelled will not begin. Whoever cancels may wait for it; the ref has failed before.
pub(crate) type Cancelling = Answer<()>;

/// A worker that does not answer in time is about to be found dead.
pub(crate) const CANCEL_WITHIN: Duration = Duration::from_secs(5);

impl Owner {
    /// Pushes tasks to a worker in another process, as one message (several if they are large).
    pub(super) fn send_tasks(self: &Arc<Self>, lease: LeaseIx, link: &RemoteLink, tasks: Vec<Arc<Task>>) {
        let mut rest = &tasks[..];
        while !rest.is_empty() {
            let inputs: Vec<(Input, Vec<Resolved>)> = take_inputs(rest);
            let (batch, after) = rest.split_at(inputs.len());
            rest = after;
            let message = WireTasks {
                owner: self.id.number,
                lease: link.lease,
                worker: link.worker,
                tasks: batch
                    .iter()
                    .zip(&inputs)
                    .map(|(task, (input, resolved))| wire_task(task, input, resolved))
                    .collect(),
            };
            let refs = inputs.iter().flat_map(|(input, resolved)| carried_refs(input, resolved)).collect();
            let sent = self.process.send_with_refs(&link.peer, (TASKS, Some(Lost::PushTask)), &message, refs, || {});
            if let Err(error) = sent {
                for task in batch {
                    Task::finish_all(task, Resolved::Error(error.clone().subject(task.describe())));
                }
                self.completed(lease, batch.iter().map(|task| (task.seq, None)));
            }
        }
    }

    pub(super) fn send_take_back(self: &Arc<Self>, _lease: LeaseIx, link: &RemoteLink) {
        let _ = link.peer.tell(Lane::Urgent, WORKER, &ToWorker::TakeBack { lease: link.lease });
    }

    pub(super) fn send_cancel(self: &Arc<Self>, link: &RemoteLink, task: &Task, force: bool) -> Cancelling {
        let message = ToWorker::Cancel { owner: self.id.number, seq: task.seq, force };
        link.peer.ask_on(Lane::Urgent, WORKER, &message, CANCEL_WITHIN)
    }

    /// Asks a worker whether force would end the task there.
    pub(super) fn ask_force(self: &Arc<Self>, link: &RemoteLink, task: &Task) -> Answer<bool> {
        let message = ToWorker::ForceEnds { owner: self.id.number, seq: task.seq };
        link.peer.ask_on(Lane::Urgent, WORKER, &message, CANCEL_WITHIN)
    }

    /// Asks the worker that runs a task, if it is in another process, to cancel what the task submitted there.
    pub(crate) fn cancel_children_away(self: &Arc<Self>, task: &Task) -> Vec<Cancelling> {
        let message = ToWorker::CancelChildren { owner: self.id.number, seq: task.seq };
        let ask = |peer: Peer| peer.ask_on(Lane::Urgent, WORKER, &message, CANCEL_WITHIN);
        self.flying_at(task).into_iter().map(ask).collect()
    }

    /// Answers from a worker in another process.
    pub(crate) fn replies(self: &Arc<Self>, from: &Peer, lease: Option<LeaseId>, replies: &[WireReply<'_>]) {
        let mut done = Vec::with_capacity(replies.len());
        let mut again = Vec::new();
        let worker = lease.and_then(|lease| self.worker_of(lease));
        let place = Place { node: from.id().node, worker };
        let now = self.process.env.now();
        for (reply, task) in replies.iter().zip(self.tasks_numbered(replies.iter().map(|reply| reply.seq))) {
            done.push((reply.seq, run_time(reply.ns)));
            let wanted = task.filter(|task| task.attempt() == reply.attempt && !task.is_over());
            let Some(task) = wanted else {
                self.unwanted(from, reply);
                if lease.is_none() && self.is_dead() {
                    self.process.orphan_answered(reply.owner, reply.seq);
                }
                continue;
            };
            let run = Run { place, ended: now, ns: reply.ns };
            if self.reply(from, &task, reply, &run) {
                again.push(Arc::clone(&task));
            }
            if let What::Method(call) = &task.what {
                call.client.answered(&task);
            }
        }
        match lease.map(|lease| self.lease_ix(lease)) {
            Some(Some(ix)) => self.completed(ix, done),
            Some(None) => self.unparked(done.into_iter().map(|(seq, _)| seq)),
            None => {}
        }
        for task in again {
            match &task.what {
                What::Method(call) => call.client.retry(&task),
                _ => self.ready(&task),
            }
        }
    }

    /// An answer that nobody waits for (after a cancellation, of a stale attempt, of too many values): what it brought is
    /// given up.
    #[cold]
    fn unwanted(self: &Arc<Self>, from: &Peer, reply: &WireReply<'_>) {
        for (index, outcome) in reply.outcomes.iter().enumerate() {
            // The refs in it were handed over with it, and are dropped here.
            let outcome = self.process.read_outcome(from, outcome);
            match self.task(reply.seq) {
                // It will have another outcome, whose value may lie at the same place.
                Some(task) if !task.is_over() => {}
                Some(task) => {
                    // What it brought was not counted in this process.
                    if let Resolved::Stored(_) = &outcome {
                        self.give_up(&task, index as u32, &outcome);
                    }
                }
                None => {
                    if let Resolved::Stored(stored) = &outcome {
                        let task = TaskId { owner: self.id, seq: reply.seq };
                        self.process.free_stored(ObjectId { task, index: index as u32 }, &stored.at);
                    }
                }
            }
        }
    }

    /// `true` if the task shall run again.
    fn reply(self: &Arc<Self>, from: &Peer, task: &Arc<Task>, reply: &WireReply<'_>, run: &Run) -> bool {
        if task.is_cancelled() {
            // As in `answered`; what it brought, in a store too, is nobody's.
            Task::fail(task, self.was_cancelled(task), run);
            self.unwanted(from, reply);
            return false;
        }
        if reply.failed {
            let error = match reply.outcomes.first() {
                Some(WireOutcome::Error(error)) => error.clone(),
                _ => Error::task("the worker's error was lost on the way"),
            };
            return self.answered(task, reply.attempt, Err(error), run);
        }
        let simple = reply.outcomes.iter().all(|outcome| matches!(outcome, WireOutcome::Value(_)));
        if simple {
            let mut values = reply.outcomes.iter().map(|outcome| match outcome {
                WireOutcome::Value(value) => ReturnValue(self.process.read_value(from, value)),
                _ => unreachable!("every outcome is a value, as was checked above"),
            });
            let returns = if reply.outcomes.len() == 1 {
                // There is exactly one.
                values.next().map_or(Returns::Many(Vec::new()), Returns::One)
            } else {
                Returns::Many(values.collect())
            };
            return self.answered(task, reply.attempt, Ok(returns), run);
        }
        let (returned, declared) = (reply.outcomes.len(), task.meta.returns.unwrap_or(task.returns()));
        if returned as u32 == declared {
            let outcomes: Vec<Resolved> =
                reply.outcomes.iter().map(|outcome| self.process.read_outcome(from, outcome)).collect();
            Task::finish(task, outcomes.into_iter(), Some(run));
        } else {
            Task::fail(task, wrong_count(task, returned, declared).at_node(run.place.node), run);
            self.unwanted(from, reply);
        }
        false
    }
}

/// The error of a task that returned more or fewer values than there are refs.
pub(super) fn wrong_count(task: &Task, returned: usize, declared: u32) -> Error {
    Error::task(format!("{} returned {returned} values, but num_returns is {declared}", task.describe()))
        .remedy("return as many values as the attribute or the call's options say")
}

fn not_sent(why: &impl std::fmt::Display) -> Error {
    Error::serialization(format!("it could not be sent to another process: {why}"))
        .remedy("put large parts into objects, and pass the refs")
}

/// The inputs of as many tasks as one message may carry.
fn take_inputs(tasks: &[Arc<Task>]) -> Vec<(Input, Vec<Resolved>)> {
    let mut bytes = 0;
    let mut inputs = Vec::with_capacity(tasks.len().min(1024));
    for task in tasks {
        let input = task.input();
        let resolved: Vec<Resolved> = input
            .dependencies
            .iter()
            .map(|dependency| {
                dependency.slot().get().unwrap_or_else(|| {
                    Resolved::Error(Error::object_lost(format!("argument {} is not ready", dependency.id())))
                })
            })
            .collect();
        let carried = |one: &Resolved| match one {
            Resolved::Value(value) => value.size().min(INLINE_LIMIT) + value.refs().len() * REF_BYTES,
            Resolved::Stored(stored) => 64 + stored.refs.len() * REF_BYTES,
            Resolved::Error(_) => 64,
        };
        bytes += 64 + input.inline.size() + input.inline.refs().len() * REF_BYTES;
        bytes += resolved.iter().map(carried).sum::<usize>();
        if bytes > BATCH_BYTES && !inputs.is_empty() {
            break;
        }
        inputs.push((input, resolved));
    }
    inputs
}

pub(crate) fn wire_task<'a>(task: &'a Task, input: &'a Input, resolved: &'a [Resolved]) -> WireTask<'a> {
    let function = match &task.what {
        What::Function(entry) => entry.id(),
        _ => unreachable!("only functions' tasks are leased workers for"),
    };
    WireTask {
        seq: task.seq,
        attempt: task.attempt(),
        function,
        name: task.meta.name.as_deref(),
        depth: task.depth,
        outlives_job: task.outlives_job,
        resources: wire_resources(task),
        input: WireValue::of(&input.inline),
        dependencies: wire_dependencies(&input.dependencies, resolved),
    }
}

/// What a task asked for, unless it is the usual one CPU; a task that asked for none says so with a zero.
fn wire_resources(task: &Task) -> Vec<(&str, f64)> {
    let resources = task.meta.shape.resources();
    let mut all: Vec<(&str, f64)> = resources.iter().map(|(name, amount)| (name.as_str(), amount.to_f64())).collect();
    if all == [("CPU", 1.0)] {
        all.clear();
    } else if all.is_empty() {
        all.push(("CPU", 0.0));
    }
    all
}

/// The refs that a call carries to another process: those inside its values.
pub(crate) fn carried_refs(input: &Input, resolved: &[Resolved]) -> Vec<RawRef> {
    let inside = resolved.iter().flat_map(|one| match one {
        Resolved::Value(value) => value.refs(),
        Resolved::Stored(stored) => &stored.refs,
        Resolved::Error(_) => &[],
    });
    input.inline.refs().iter().chain(inside).cloned().collect()
}

/// The refs that an outcome carries.
pub(crate) fn carried_outcome_refs(resolved: &Resolved) -> Vec<RawRef> {
    match resolved {
        Resolved::Value(value) => value.refs().to_vec(),
        Resolved::Stored(stored) => stored.refs.clone(),
        Resolved::Error(_) => Vec::new(),
    }
}

/// The dependencies of a call as they travel: small values themselves, as long as all together are no large message,
/// others by where they lie.
pub(crate) fn wire_dependencies<'a>(dependencies: &'a [RawRef], resolved: &'a [Resolved]) -> Vec<WireDependency<'a>> {
    let mut inline = 0;
    let mut room = move |size: usize| {
        let fits = inline + size <= INLINE_TOTAL;
        inline += if fits { size } else { 0 };
        fits
    };
    let wire = |(dependency, resolved): (&'a RawRef, &'a Resolved)| match resolved {
        Resolved::Value(value) if value.size() <= INLINE_LIMIT && room(value.size()) => {
            WireDependency::Value(WireValue::of(value))
        }
        Resolved::Value(value) => WireDependency::Stored {
            object: dependency.id(),
            size: value.size() as u64,
            at: vec![dependency.process().address()],
            refs: WireRefs::of(value.refs()),
        },
        Resolved::Stored(stored) => WireDependency::Stored {
            object: dependency.id(),
            size: stored.size,
            at: stored.at.clone(),
            refs: WireRefs::of(&stored.refs),
        },
        // A failed dependency ended the task before it was pushed.
        Resolved::Error(_) => {
            WireDependency::Stored { object: dependency.id(), size: 0, at: Vec::new(), refs: WireRefs::default() }
        }
    };
    dependencies.iter().zip(resolved).map(wire).collect()
}

impl Process {
    /// An answer for an owner that is over: what it brought is given up, and its place in a window is another's.
    pub(crate) fn unowned(self: &Arc<Self>, from: &Peer, reply: &WireReply<'_>) {
        let owner = OwnerId { process: self.id, number: reply.owner };
        for (index, outcome) in reply.outcomes.iter().enumerate() {
            // The refs in it were handed over with it, and are dropped here.
            if let Resolved::Stored(stored) = self.read_outcome(from, outcome) {
                let task = TaskId { owner, seq: reply.seq };
                self.free_stored(ObjectId { task, index: index as u32 }, &stored.at);
            }
        }
        self.orphan_answered(reply.owner, reply.seq);
    }

    /// Sends a message that carries refs: their owners know the receiver before it leaves. `false` if it waits for that;
    /// `sent` is called when it then has left.
    ///
    /// # Errors
    ///
    /// `Serialization` if it cannot be encoded, or is too large: then nothing of it is sent. That a session is over is
    /// none: the news of it retries or fails what the message was about.
    pub(crate) fn send_with_refs<M: serde::Serialize>(
        self: &Arc<Self>,
        to: &Peer,
        (actor, kind): (ActorNo, Option<Lost>),
        message: &M,
        refs: Vec<RawRef>,
        sent: impl FnOnce() + Send + 'static,
    ) -> Result<bool, Error> {
        if refs.is_empty() {
            kind.inspect(|kind| self.may_lose(*kind, to));
            return match to.tell(Lane::Ordered, actor, message) {
                Err(error @ (SendError::TooLarge { .. } | SendError::Encode { .. })) => Err(not_sent(&error)),
                Err(error) => {
                    tracing::debug!(%error, "a message was not sent");
                    Ok(true)
                }
                Ok(()) => Ok(true),
            };
        }
        let bytes = postcard::to_stdvec(message).map_err(|error| not_sent(&error))?;
        if bytes.len() > to.max_message() {
            return Err(not_sent(&SendError::TooLarge { to: to.id(), size: bytes.len(), limit: to.max_message() }));
        }
        let (peer, process) = (to.clone(), Arc::clone(self));
        let left = self.hand_out(refs, to.id(), move |waited| {
            kind.inspect(|kind| process.may_lose(*kind, &peer));
            if let Err(error) = peer.tell_with(Lane::Ordered, actor, |out| out.extend_from_slice(&bytes)) {
                tracing::debug!(%error, "a message was not sent");
            }
            if waited {
                sent();
            }
        });
        Ok(left)
    }

    /// An outcome from another process.
    pub(crate) fn read_outcome(self: &Arc<Self>, from: &Peer, outcome: &WireOutcome<'_>) -> Resolved {
        match outcome {
            WireOutcome::Value(value) => Resolved::Value(self.read_value(from, value)),
            WireOutcome::Stored { size, at, refs } => Resolved::Stored(Arc::new(Stored {
                size: *size,
                at: at.clone(),
                refs: refs.iter().map(|id| self.borrow(*id, from)).collect(),
            })),
            WireOutcome::Error(error) => Resolved::Error(error.clone()),
        }
    }

    /// A value from another process, with the refs that it hands over.
    pub(crate) fn read_value(self: &Arc<Self>, from: &Peer, value: &WireValue<'_>) -> crate::value::Value {
        value.read(|id| self.borrow(*id, from))
    }
}
