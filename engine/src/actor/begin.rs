//! Beginning a run of an actor: its arguments are fetched, its constructor runs.

use std::sync::Arc;

use crate::actor::host::ActorHost;
use crate::api::error::{Error, Result};
use crate::ids::{ObjectId, WorkerId};
use crate::process::Process;
use crate::program::{ActorEntry, ActorState};
use crate::protocol::calls::{WireCreation, WirePart};
use crate::protocol::{ActorRun, ActorSpec, LeaseId, ToRaylet};
use crate::value::Value;
use crate::worker::host::Host;
use crate::worker::job::{Ended, guarded};

/// Begins a run in this process: its arguments are fetched, its constructor runs.
pub(crate) fn begin(process: &Arc<Process>, run: ActorRun, spec: Arc<ActorSpec>, lease: LeaseId, worker: WorkerId) {
    if process.killed_runs.take(run) {
        return process.never_began(run);
    }
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
    spec: Arc<ActorSpec>,
    lease: LeaseId,
    worker: WorkerId,
    args: (Value, Vec<Value>),
) {
    let namespace = Arc::from(spec.job_namespace.as_str());
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
