//! Beginning a run of an actor: its arguments are fetched, its constructor runs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::actor::host::ActorHost;
use crate::api::error::{Error, Result};
use crate::api::get::values;
use crate::ids::{ObjectId, WorkerId};
use crate::process::Process;
use crate::program::{ActorEntry, ActorState, LocalBoxFuture};
use crate::protocol::calls::{WireCreation, WirePart};
use crate::protocol::{ActorRun, ActorSpec, LeaseId, ToRaylet};
use crate::value::Value;
use crate::worker::host::Host;
use crate::worker::job::{Broke, caught, discard};

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
    let host = Host::of_actor(Arc::clone(process), worker, run, Arc::clone(&spec), lease);
    let actor = ActorHost::new(host, entry, spec, args);
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
    let mut elsewhere = Vec::new();
    let mut here = Vec::with_capacity(dependencies.len() + 1);
    for part in std::iter::once(input).chain(dependencies) {
        here.push(match part {
            Part::Here(value) => Some(value),
            Part::Elsewhere(id) => {
                elsewhere.push(process.obtain(id)?);
                None
            }
        });
    }
    let mut fetched = values(elsewhere).await?.into_iter();
    let mut all: Vec<Value> = here.into_iter().filter_map(|part| part.or_else(|| fetched.next())).collect();
    let input = all.remove(0);
    Ok((input, all))
}

/// How a constructor ended.
pub(crate) enum Constructed {
    State(ActorState),
    Failed(Error),
    Crashed,
    Exited,
}

impl From<Result<Result<ActorState>, Broke>> for Constructed {
    fn from(made: Result<Result<ActorState>, Broke>) -> Constructed {
        match made {
            Ok(Ok(state)) => Constructed::State(state),
            Ok(Err(error)) | Err(Broke::Panicked(error)) => Constructed::Failed(error),
            Err(Broke::Crashed) => Constructed::Crashed,
            Err(Broke::Exited) => Constructed::Exited,
        }
    }
}

pub(crate) fn construct(call: impl FnOnce() -> Result<ActorState>) -> Constructed {
    caught(call).into()
}

/// An async constructor, whose panic is how it ended.
pub(crate) struct CatchState {
    future: Option<LocalBoxFuture<Result<ActorState>>>,
}

impl CatchState {
    pub(crate) fn new(future: LocalBoxFuture<Result<ActorState>>) -> CatchState {
        CatchState { future: Some(future) }
    }
}

impl Future for CatchState {
    type Output = Constructed;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Constructed> {
        let Some(future) = &mut self.future else { return Poll::Pending };
        match caught(|| future.as_mut().poll(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(made)) => Poll::Ready(Ok(made).into()),
            Err(broke) => Poll::Ready(Err(broke).into()),
        }
    }
}

impl Drop for CatchState {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            discard("what a constructor held", future);
        }
    }
}
