//! The worker's side of owners in other processes: tasks and calls that arrive, replies that leave.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actinic_transport::{Lane, Peer, PeerAddr};

use crate::api::error::{Error, Result};
use crate::call::{INLINE_LIMIT, Returns};
use crate::ids::{ObjectId, OwnerId, TaskId};
use crate::object::Stored;
use crate::object_manager::transfers::{Lends, Transfers, Wanted};
use crate::process::Process;
use crate::program::{FunctionEntry, FunctionId, MethodEntry, Outcome, program};
use crate::protocol::calls::{
    BATCH_BYTES, CallerMark, REPLIES, WireCall, WireDependency, WireOutcome, WireReplies, WireReply, WireTask,
    WireValue,
};
use crate::protocol::refs::{REF_BYTES, WireRefs};
use crate::protocol::{LeaseId, OWNER, OwnerMessage, ToOwner};
use crate::testing::Message as Lost;
use crate::value::Value;
use crate::worker::host::{Host, Unsent};
use crate::worker::slot::TaskSlot;

/// What a job calls.
pub(crate) enum Target {
    Function(&'static FunctionEntry),
    Unknown(FunctionId, Error),
    Method(&'static MethodEntry),
}

/// A dependency of a job.
pub(crate) enum Given {
    Value(Value),
    /// It lies elsewhere, and is fetched before the job runs.
    Stored {
        object: ObjectId,
        stored: Arc<Stored>,
    },
}

/// A call that another process submitted.
pub(crate) struct RemoteJob {
    pub(crate) id: TaskId,
    /// Of an actor's call: who made it, of those that submit to its owner.
    pub(crate) caller: CallerMark,
    pub(crate) attempt: u32,
    pub(crate) target: Target,
    pub(crate) given_name: Option<String>,
    pub(crate) depth: u32,
    pub(crate) outlives_job: bool,
    pub(crate) lease: Option<LeaseId>,
    pub(crate) cancelled: AtomicBool,
    pub(crate) owner: Peer,
    /// What it asked for; empty for the usual one CPU.
    pub(crate) resources: Vec<(String, f64)>,
    input: Value,
    given: Mutex<Vec<Given>>,
    failed: Mutex<Option<Error>>,
}

impl fmt::Debug for RemoteJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {} ({})", self.name(), self.id)
    }
}

impl RemoteJob {
    /// A task that arrived under a lease.
    pub(crate) fn task(
        process: &Arc<Process>,
        from: &Peer,
        owner: u32,
        lease: LeaseId,
        task: &WireTask<'_>,
    ) -> Arc<RemoteJob> {
        let target = match program().function(task.function) {
            Ok(entry) => Target::Function(entry),
            Err(error) => Target::Unknown(task.function, error),
        };
        let id = TaskId { owner: OwnerId { process: from.id(), number: owner }, seq: task.seq };
        Arc::new(RemoteJob {
            id,
            caller: 0,
            attempt: task.attempt,
            target,
            given_name: task.name.map(str::to_owned),
            depth: task.depth,
            outlives_job: task.outlives_job,
            lease: Some(lease),
            cancelled: AtomicBool::new(process.tombstones.take(id)),
            owner: from.clone(),
            resources: task.resources.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect(),
            input: process.read_value(from, &task.input),
            given: Mutex::new(read_given(process, from, &task.dependencies)),
            failed: Mutex::new(None),
        })
    }

    /// A method's call that arrived.
    pub(crate) fn call(
        process: &Arc<Process>,
        from: &Peer,
        (owner, caller): (u32, CallerMark),
        method: Option<&'static MethodEntry>,
        class: &str,
        call: &WireCall<'_>,
    ) -> Arc<RemoteJob> {
        let target = match method {
            Some(method) => Target::Method(method),
            None => {
                let error = Error::version_mismatch(format!(
                    "the actor's program has no method `{}` of {class} with the arguments that this call has",
                    call.name
                ))
                .remedy("both programs must agree on the method's name and signature");
                Target::Unknown(FunctionId(call.method), error)
            }
        };
        let id = TaskId { owner: OwnerId { process: from.id(), number: owner }, seq: call.seq };
        Arc::new(RemoteJob {
            id,
            caller,
            attempt: call.attempt,
            target,
            given_name: Some(call.name.to_owned()),
            depth: call.depth,
            // Its actor's spec says.
            outlives_job: false,
            lease: None,
            cancelled: AtomicBool::new(process.tombstones.take(id)),
            owner: from.clone(),
            resources: Vec::new(),
            input: process.read_value(from, &call.input),
            given: Mutex::new(read_given(process, from, &call.dependencies)),
            failed: Mutex::new(None),
        })
    }

    pub(crate) fn name(&self) -> String {
        match (&self.given_name, &self.target) {
            (Some(name), _) => name.clone(),
            (None, Target::Function(entry)) => entry.name().to_owned(),
            (None, Target::Method(method)) => method.name.to_owned(),
            (None, Target::Unknown(id, _)) => format!("{id:?}"),
        }
    }

    pub(crate) fn function(&self) -> Option<&'static FunctionEntry> {
        match self.target {
            Target::Function(entry) => Some(entry),
            _ => None,
        }
    }

    pub(crate) fn method(&self) -> Option<&'static MethodEntry> {
        match self.target {
            Target::Method(method) => Some(method),
            _ => None,
        }
    }

    /// Why the call cannot run here, if it cannot.
    pub(crate) fn unknown(&self) -> Option<&Error> {
        match &self.target {
            Target::Unknown(_, error) => Some(error),
            _ => None,
        }
    }

    fn given(&self) -> std::sync::MutexGuard<'_, Vec<Given>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.given().iter().all(|given| matches!(given, Given::Value(_)))
    }

    /// Fetches what lies elsewhere, for a worker if it is a task.
    ///
    /// # Errors
    ///
    /// The first failure, at once; `TaskCancelled` as soon as it was cancelled.
    pub(crate) async fn fetch(&self, process: &Arc<Process>, slot: Option<&Arc<TaskSlot>>) -> Result<()> {
        let call = (self.id, self.attempt);
        let mut over = process.store.fetch_begins(call);
        // The cancellation may have come before this began.
        let fetched = if self.cancelled.load(Ordering::Acquire) || process.tombstones.take(self.id) {
            Err(cancelled())
        } else {
            let lends = slot.zip(self.lease).map(|(slot, lease)| Lends::new(slot, lease));
            tokio::select! {
                biased;
                _ = &mut over => Ok(()),
                fetched = self.fetch_given(process, lends) => fetched,
            }
        };
        if process.store.fetch_ends(call, over) { fetched } else { Err(cancelled()) }
    }

    async fn fetch_given(&self, process: &Arc<Process>, lends: Option<Arc<Lends>>) -> Result<()> {
        let mut missing: Vec<Wanted> = Vec::new();
        for (at, given) in self.given().iter().enumerate() {
            // One that is given twice comes once.
            if let Given::Stored { object, stored } = given
                && missing.iter().all(|wanted| wanted.object != *object)
            {
                let (process, stored) = (Arc::clone(process), Arc::clone(stored));
                missing.push(Wanted { at, process, object: *object, stored, held: None });
            }
        }
        let mut transfers = Transfers::new(lends);
        missing.into_iter().for_each(|wanted| transfers.begin(wanted));
        while let Some((at, fetched)) = transfers.next().await {
            let value = fetched?;
            let mut all = self.given();
            let Given::Stored { object: came, .. } = all[at] else { continue };
            for given in all.iter_mut() {
                if matches!(given, Given::Stored { object, .. } if *object == came) {
                    *given = Given::Value(value.clone());
                }
            }
        }
        Ok(())
    }

    pub(crate) fn input(&self) -> Result<(Value, Vec<Value>)> {
        if let Some(error) = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Err(error);
        }
        let all = self.given();
        let values = all.iter().map(|given| match given {
            Given::Value(value) => Ok(value.clone()),
            Given::Stored { object, .. } => Err(Error::object_lost(format!("argument {object} was not fetched"))),
        });
        Ok((self.input.clone(), values.collect::<Result<_>>()?))
    }
}

fn cancelled() -> Error {
    Error::task_cancelled("the task was cancelled before it began")
}

fn read_given(process: &Arc<Process>, from: &Peer, dependencies: &[WireDependency<'_>]) -> Vec<Given> {
    let read = |dependency: &WireDependency<'_>| match dependency {
        WireDependency::Value(value) => Given::Value(process.read_value(from, value)),
        WireDependency::Stored { object, size, at, refs } => Given::Stored {
            object: *object,
            stored: Arc::new(Stored {
                size: *size,
                at: at.clone(),
                refs: refs.iter().map(|id| process.borrow(*id, from)).collect(),
            }),
        },
    };
    dependencies.iter().map(read).collect()
}

/// An answer that is to be sent.
pub(crate) struct Reply {
    pub(crate) job: Arc<RemoteJob>,
    pub(crate) outcome: Outcome,
    pub(crate) ns: u64,
}

/// Sends answers to their owners; large results go to the node's store first.
pub(crate) fn send_replies(host: &Arc<Host>, replies: Vec<Reply>) {
    let process = &host.process;
    let here = process.id.cluster;
    let checked = replies.into_iter().map(|mut reply| {
        if let Ok(returns) = &reply.outcome
            && let Err(error) = returns.check_cluster(here)
        {
            reply.outcome = Err(error);
        }
        reply
    });
    let (large, mut rest): (Vec<_>, Vec<_>) = checked.partition(is_large);
    while let Some(first) = rest.first() {
        // One message per owner and lease, in order.
        let same = |reply: &Reply| reply.job.owner.id() == first.job.owner.id() && reply.job.lease == first.job.lease;
        let mut bytes = 0;
        let fits = |reply: &&Reply| {
            let refs: usize = values(&reply.outcome).iter().map(|value| value.refs().len()).sum();
            bytes += 48 + outcome_size(&reply.outcome) + refs * REF_BYTES;
            same(reply) && bytes <= BATCH_BYTES
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let after = rest.split_off(count);
        let batch = std::mem::replace(&mut rest, after);
        let (process, owner) = (Arc::clone(process), batch[0].job.owner.clone());
        let unsent = host.begin_answer();
        // Results may be made faster than their owner reads them.
        process.room.clone().send(&owner, REPLIES, move |owner| {
            send_batch(&process, owner, &batch, unsent);
        });
    }
    for reply in large {
        let unsent = host.begin_answer();
        let process = Arc::clone(process);
        process.clone().spawn(async move { send_large(process, reply, unsent).await });
    }
}

/// Sends answers to one owner about one lease (or none), in one message.
fn send_batch(process: &Arc<Process>, owner: &Peer, batch: &[Reply], unsent: Unsent) {
    let Some(first) = batch.first() else { return };
    let message = WireReplies {
        lease: first.job.lease,
        replies: batch.iter().map(|reply| wire_reply(reply, reply_outcomes(&reply.outcome))).collect(),
    };
    let refs = batch.iter().flat_map(|reply| values(&reply.outcome)).flat_map(Value::refs).cloned().collect();
    // It may wait until an owner elsewhere has heard of a ref in it.
    let left = move || drop(unsent);
    let sent = process.send_with_refs(owner, (REPLIES, Some(kind(&first.job))), &message, refs, left);
    if let Err(error) = sent {
        refuse_replies(process, batch, &error);
    }
}

/// Actors hold no leases of their callers'.
fn kind(job: &RemoteJob) -> Lost {
    if job.lease.is_some() { Lost::TaskReply } else { Lost::ActorReply }
}

fn values(outcome: &Outcome) -> Vec<&Value> {
    match outcome {
        Ok(Returns::One(value)) => vec![&value.0],
        Ok(Returns::Many(values)) => values.iter().map(|value| &value.0).collect(),
        Err(_) => Vec::new(),
    }
}

fn outcome_size(outcome: &Outcome) -> usize {
    match outcome {
        Ok(Returns::One(value)) => value.0.size(),
        Ok(Returns::Many(values)) => values.iter().map(|value| value.0.size() + 8).sum(),
        Err(error) => error.size(),
    }
}

/// Whether values of it go to the node's store; an error is told as it is.
fn is_large(reply: &Reply) -> bool {
    reply.outcome.is_ok() && outcome_size(&reply.outcome) > INLINE_LIMIT
}

fn reply_outcomes(outcome: &Outcome) -> Vec<WireOutcome<'_>> {
    match outcome {
        Err(error) => vec![WireOutcome::Error(error.clone().bounded())],
        Ok(_) => values(outcome).into_iter().map(|value| WireOutcome::Value(WireValue::of(value))).collect(),
    }
}

fn wire_reply<'a>(reply: &Reply, outcomes: Vec<WireOutcome<'a>>) -> WireReply<'a> {
    WireReply {
        owner: reply.job.id.owner.number,
        seq: reply.job.id.seq,
        attempt: reply.job.attempt,
        ns: reply.ns,
        failed: reply.outcome.is_err(),
        outcomes,
    }
}

/// A reply whose values do not all fit into a message: those above the inline limit are stored on this node, and
/// so are others if together they would not fit either.
async fn send_large(process: Arc<Process>, reply: Reply, unsent: Unsent) {
    let all = values(&reply.outcome);
    let mut inline_bytes = 0;
    let mut stored: Vec<Option<Result<PeerAddr>>> = Vec::with_capacity(all.len());
    for (index, value) in all.iter().enumerate() {
        inline_bytes += value.size();
        if value.size() <= INLINE_LIMIT && inline_bytes <= BATCH_BYTES {
            stored.push(None);
            continue;
        }
        inline_bytes -= value.size();
        let object = ObjectId { task: reply.job.id, index: index as u32 };
        stored.push(Some(process.keep(object, (*value).clone()).await));
    }
    let owner = reply.job.owner.clone();
    process.room.clone().send(&owner, REPLIES, move |owner| {
        send_stored(&process, owner, &reply, stored, unsent);
    });
}

/// Sends an answer some of whose values are stored.
fn send_stored(
    process: &Arc<Process>,
    owner: &Peer,
    reply: &Reply,
    stored: Vec<Option<Result<PeerAddr>>>,
    unsent: Unsent,
) {
    let all = values(&reply.outcome);
    let mut outcomes = Vec::with_capacity(all.len());
    for (value, stored) in all.iter().zip(stored) {
        outcomes.push(match stored {
            None => WireOutcome::Value(WireValue::of(value)),
            Some(Ok(at)) => {
                WireOutcome::Stored { size: value.size() as u64, at: vec![at], refs: WireRefs::of(value.refs()) }
            }
            Some(Err(error)) => WireOutcome::Error(error.subject(reply.job.name())),
        });
    }
    let message = WireReplies { lease: reply.job.lease, replies: vec![wire_reply(reply, outcomes)] };
    let refs = all.iter().flat_map(|value| value.refs()).cloned().collect();
    let to = (REPLIES, Some(kind(&reply.job)));
    if let Err(error) = process.send_with_refs(owner, to, &message, refs, move || drop(unsent)) {
        // Its owner never hears of what was kept for it.
        for (index, outcome) in message.replies.iter().flat_map(|reply| &reply.outcomes).enumerate() {
            if let WireOutcome::Stored { at, .. } = outcome {
                process.free_stored(ObjectId { task: reply.job.id, index: index as u32 }, at);
            }
        }
        refuse_replies(process, std::slice::from_ref(reply), &error);
    }
}

/// Answers with an error what could not be answered as it was.
fn refuse_replies(process: &Arc<Process>, replies: &[Reply], error: &Error) {
    for reply in replies {
        let outcomes = vec![WireOutcome::Error(error.clone().subject(reply.job.name()))];
        let answer = WireReply { failed: true, ..wire_reply(reply, outcomes) };
        let message = WireReplies { lease: reply.job.lease, replies: vec![answer] };
        if let Err(error) = process.send_with_refs(&reply.job.owner, (REPLIES, None), &message, Vec::new(), || {}) {
            tracing::error!(%error, task = reply.job.name(), "a task cannot be answered");
        }
    }
}

/// Sends tasks back that have not begun.
pub(crate) fn send_back(_host: &Arc<Host>, jobs: &[Arc<RemoteJob>]) {
    let mut rest = jobs;
    while let Some(first) = rest.first() {
        let same = |job: &&Arc<RemoteJob>| job.owner.id() == first.owner.id() && job.lease == first.lease;
        let (batch, after) = rest.split_at(rest.iter().take_while(same).count().max(1));
        rest = after;
        if let Some(lease) = first.lease {
            let tasks = batch.iter().map(|job| (job.id.owner.number, job.id.seq)).collect();
            let _ = first.owner.tell(Lane::Ordered, OWNER, &ToOwner::GivenBack { lease, tasks });
        }
    }
}

/// Tells an owner that its async task waits.
pub(crate) fn send_parked(_host: &Arc<Host>, job: &RemoteJob) {
    if let Some(lease) = job.lease {
        let parked = OwnerMessage::Parked { lease, seq: job.id.seq };
        let message = ToOwner::To { owner: job.id.owner.number, message: parked };
        let _ = job.owner.tell(Lane::Ordered, OWNER, &message);
    }
}

impl RemoteJob {
    /// Notes that an argument could not be fetched: the call fails when its turn comes.
    pub(crate) fn fetched(&self, how: Result<()>) {
        if let Err(error) = how {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }

    /// Whether its turn may come.
    pub(crate) fn may_begin(&self) -> bool {
        self.is_complete() || self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }
}
