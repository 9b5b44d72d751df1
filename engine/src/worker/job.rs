//! One call on its worker: where its code and arguments are, and how it is run without harm to the worker.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::actor::host::ActorHost;
use crate::api::error::{Error, Result};
use crate::call::{OwnedTaskArgs, TaskArgs};
use crate::ids::TaskId;
use crate::object::Resolved;
use crate::owner::dispatch::LeaseIx;
use crate::program::{FunctionEntry, MethodEntry, Outcome};
use crate::protocol::LeaseId;
use crate::task::{Task, What};
use crate::value::Value;
use crate::worker::host::{Host, Running};
use crate::worker::remote::{self, RemoteJob};

/// A call that a worker was given.
#[derive(Clone)]
pub(crate) enum Job {
    /// Submitted in this process: the task itself.
    Local { task: Arc<Task>, attempt: u32, lease: LeaseIx },
    /// Submitted by another process.
    Remote(Arc<RemoteJob>),
    /// An actor's constructor: what runs in it has this for its context.
    Constructor(Arc<ActorHost>),
}

impl Job {
    pub(crate) fn id(&self) -> TaskId {
        match self {
            Job::Local { task, .. } => task.id(),
            Job::Remote(job) => job.id,
            Job::Constructor(actor) => TaskId { owner: actor.spec.owner, seq: u64::MAX },
        }
    }

    /// Whether it is the same call, as it was given.
    pub(crate) fn is(&self, other: &Job) -> bool {
        match (self, other) {
            (Job::Local { task, .. }, Job::Local { task: other, .. }) => Arc::ptr_eq(task, other),
            (Job::Remote(job), Job::Remote(other)) => Arc::ptr_eq(job, other),
            (Job::Constructor(actor), Job::Constructor(other)) => Arc::ptr_eq(actor, other),
            _ => false,
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Job::Local { task, .. } => task.name(),
            Job::Remote(job) => job.name(),
            Job::Constructor(actor) => format!("{}.new", actor.entry.name()),
        }
    }

    pub(crate) fn describe(&self) -> String {
        format!("task {} ({})", self.name(), self.id())
    }

    pub(crate) fn depth(&self) -> u32 {
        match self {
            Job::Local { task, .. } => task.depth,
            Job::Remote(job) => job.depth,
            Job::Constructor(_) => 0,
        }
    }

    /// Whether the end of the job does not matter to it.
    pub(crate) fn outlives_job(&self) -> bool {
        match self {
            Job::Local { task, .. } => task.outlives_job,
            Job::Remote(job) => job.outlives_job,
            Job::Constructor(actor) => actor.spec.detached || actor.spec.outlives_job,
        }
    }

    pub(crate) fn attempt(&self) -> u32 {
        match self {
            Job::Local { attempt, .. } => *attempt,
            Job::Remote(job) => job.attempt,
            Job::Constructor(actor) => actor.run().incarnation,
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        match self {
            Job::Local { task, .. } => task.is_cancelled(),
            Job::Remote(job) => job.cancelled.load(Ordering::Acquire),
            Job::Constructor(_) => false,
        }
    }

    /// The function, if the job is a task and not a method's call.
    pub(crate) fn function(&self) -> Option<&'static FunctionEntry> {
        match self {
            Job::Local { task, .. } => match &task.what {
                What::Function(entry) => Some(entry),
                _ => None,
            },
            Job::Remote(job) => job.function(),
            Job::Constructor(_) => None,
        }
    }

    /// The method, if the job is an actor's call.
    pub(crate) fn method(&self) -> Option<&'static MethodEntry> {
        match self {
            Job::Local { task, .. } => match &task.what {
                What::Method(call) => Some(call.method),
                _ => None,
            },
            Job::Remote(job) => job.method(),
            Job::Constructor(_) => None,
        }
    }

    /// What it asked for.
    pub(crate) fn resources(&self) -> std::collections::BTreeMap<String, f64> {
        match self {
            Job::Local { task, .. } => task.meta.shape.resources().to_map(),
            Job::Remote(job) if job.resources.is_empty() && job.method().is_none() => {
                std::collections::BTreeMap::from([("CPU".to_owned(), 1.0)])
            }
            // One that asked for nothing says so with a zero.
            Job::Remote(job) => job.resources.iter().filter(|(_, amount)| *amount > 0.0).cloned().collect(),
            Job::Constructor(actor) => actor.spec.hold.to_map(),
        }
    }

    /// Whether it holds what is not lent while it waits for a ref.
    pub(crate) fn keeps_lease(&self) -> bool {
        match self {
            Job::Local { task, .. } => task.meta.shape.resources().has_more_than_cpu(),
            Job::Remote(job) => job.resources.iter().any(|(name, amount)| name != "CPU" && *amount > 0.0),
            Job::Constructor(_) => false,
        }
    }

    /// The lease under which it runs.
    pub(crate) fn lease(&self) -> Option<LeaseId> {
        match self {
            Job::Local { task, lease, .. } => task.owner.lease_of(*lease),
            Job::Remote(job) => job.lease,
            Job::Constructor(actor) => actor.host.lease(),
        }
    }

    /// Tells the owner that the job waits without holding its worker.
    pub(crate) fn tell_parked(&self, host: &Arc<Host>) {
        match self {
            Job::Local { task, lease, .. } => task.owner.parked(*lease, task.seq),
            Job::Remote(job) => remote::send_parked(host, job),
            Job::Constructor(_) => {}
        }
    }

    /// The encoded arguments, and the values of the arguments that were refs.
    ///
    /// # Errors
    ///
    /// The error of an argument that has none, or whose value is not on this node.
    pub(crate) fn input(&self) -> Result<(Value, Vec<Value>)> {
        match self {
            Job::Local { task, .. } if !task.depends() => {
                Ok((task.with_input(|input| input.inline.clone()), Vec::new()))
            }
            Job::Local { task, attempt, .. } => task.with_input(|input| {
                let dependencies = input.dependencies.iter().map(|dependency| match dependency.slot().get() {
                    Some(Resolved::Value(value)) => Ok(value),
                    Some(Resolved::Error(error)) => Err(error.through_dependent(&task.describe())),
                    Some(Resolved::Stored(stored)) => {
                        let here =
                            dependency.process().store.read_for_call((task.id(), *attempt), &dependency.id(), &stored);
                        here.ok_or_else(|| {
                            Error::object_lost(format!(
                                "argument {} of {} left this node",
                                dependency.id(),
                                task.describe()
                            ))
                        })
                    }
                    None => Err(Error::object_lost(format!("argument {} is not ready", dependency.id()))),
                });
                Ok((input.inline.clone(), dependencies.collect::<Result<_>>()?))
            }),
            Job::Remote(job) => job.input(),
            Job::Constructor(_) => Ok((Value::default(), Vec::new())),
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

/// How a call ended.
pub(crate) enum Ended {
    /// With results or an application error.
    Answered(Outcome),
    /// As a SIGKILL of the worker would end it.
    Crashed,
    /// The actor asked to end (`exit_actor`).
    Exited,
}

struct Crash;
struct Exit;

/// Ends the calling thread's worker as if it had been killed.
pub(crate) fn crash_thread() -> ! {
    panic_any(Crash)
}

/// As [`crash_thread`], without a word: the simulation that the thread belongs to is over.
pub(crate) fn unwind_thread() -> ! {
    std::panic::resume_unwind(Box::new(Crash))
}

/// Whether a panic is the one of [`crash_thread`].
pub(crate) fn is_crash(panic: &(dyn Any + Send)) -> bool {
    panic.is::<Crash>()
}

/// Ends the calling thread's actor on purpose.
pub(crate) fn exit_thread() -> ! {
    panic_any(Exit)
}

thread_local! {
    static PANIC_PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    static GUARDED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Notes where user code panicked; what panics outside of remote calls goes to the hook that was there before.
pub(crate) fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if GUARDED.with(std::cell::Cell::get) == 0 {
                before(info);
            } else if !info.payload().is::<Crash>() && !info.payload().is::<Exit>() {
                let place = info.location().map(|at| format!("{}:{}:{}", at.file(), at.line(), at.column()));
                PANIC_PLACE.with(|slot| *slot.borrow_mut() = place);
            }
        }));
    });
}

/// How user code ended that did not come to its end.
pub(crate) enum Broke {
    Panicked(Error),
    Crashed,
    Exited,
}

impl From<Broke> for Ended {
    fn from(broke: Broke) -> Ended {
        match broke {
            Broke::Panicked(error) => Ended::Answered(Err(error)),
            Broke::Crashed => Ended::Crashed,
            Broke::Exited => Ended::Exited,
        }
    }
}

impl Ended {
    /// What a call came to whose remains were dropped like this: a destructor that panics makes an error of a result, and
    /// one that crashes does what any code of the call would.
    pub(crate) fn then(self, dropped: Result<(), Broke>) -> Ended {
        match (self, dropped) {
            (Ended::Answered(Ok(_)), Err(broke)) => broke.into(),
            (Ended::Answered(Err(_)), Err(broke @ (Broke::Crashed | Broke::Exited))) => broke.into(),
            (ended, _) => ended,
        }
    }
}

/// Runs user code; a panic becomes an application error with its message and place.
pub(crate) fn guarded(body: impl FnOnce() -> Outcome) -> Ended {
    match caught(body) {
        Ok(outcome) => Ended::Answered(outcome.map_err(Error::of_code)),
        Err(broke) => broke.into(),
    }
}

/// Runs user code, whatever it comes to; as [`guarded`].
pub(crate) fn caught<T>(body: impl FnOnce() -> T) -> Result<T, Broke> {
    quietly(body).map_err(|payload| {
        let broke = if payload.is::<Crash>() {
            Broke::Crashed
        } else if payload.is::<Exit>() {
            Broke::Exited
        } else {
            Broke::Panicked(panic_error(&*payload).of_code())
        };
        // It is the user's, and so is its destructor. What that panics with is left: there may be no end to it.
        if let Err(again) = quietly(|| drop(payload)) {
            PANIC_PLACE.with(|slot| slot.borrow_mut().take());
            std::mem::forget(again);
        }
        broke
    })
}

/// Drops what is the user's where no call has a panic of its destructor for its error.
pub(crate) fn discard<T>(what: &str, value: T) {
    match caught(|| drop(value)) {
        Ok(()) => {}
        Err(Broke::Panicked(error)) => tracing::warn!("the destructor of {what} {}", error.detail().message),
        Err(Broke::Crashed | Broke::Exited) => tracing::warn!("the destructor of {what} crashed, where nothing runs"),
    }
}

/// Catches a panic that the hook only notes.
fn quietly<T>(body: impl FnOnce() -> T) -> std::thread::Result<T> {
    GUARDED.with(|depth| depth.set(depth.get() + 1));
    let done = catch_unwind(AssertUnwindSafe(body));
    GUARDED.with(|depth| depth.set(depth.get() - 1));
    done
}

/// Whether some code of our own panics, which nobody is told of.
pub(crate) fn panics(body: impl FnOnce()) -> bool {
    install_panic_hook();
    let place = PANIC_PLACE.with(|slot| slot.borrow_mut().take());
    let done = quietly(body);
    PANIC_PLACE.with(|slot| *slot.borrow_mut() = place);
    done.is_err()
}

fn panic_error(payload: &(dyn Any + Send)) -> Error {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text".to_owned());
    let place = PANIC_PLACE.with(|slot| slot.borrow_mut().take()).unwrap_or_else(|| "an unknown place".to_owned());
    Error::task(format!("panicked at {place}: {text}"))
        .remedy("mend the function there, or let it be tried again with `retry_errors`")
}

/// A run time as it is told.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Calls a sync function on this thread.
pub(crate) fn call_sync(call: fn(&mut TaskArgs<'_>) -> Outcome, job: &Job) -> Ended {
    match job.input() {
        Ok((input, dependencies)) => guarded(|| call(&mut TaskArgs::new(&input, &dependencies))),
        Err(error) => Ended::Answered(Err(error)),
    }
}

/// The arguments for an async call.
pub(crate) fn owned_args(job: &Job) -> Result<OwnedTaskArgs> {
    job.input().map(|(input, dependencies)| OwnedTaskArgs::new(input, dependencies))
}

/// A future of user code that ends instead of unwinding, and is dropped when `stop` is set at a wake-up. However it ends,
/// it is dropped before its end is told: its destructors are as much of the call as the rest.
pub(crate) struct Guarded<F> {
    future: Option<F>,
    running: Arc<Running>,
}

impl<F> Guarded<F> {
    pub(crate) fn new(future: F, running: Arc<Running>) -> Guarded<F> {
        Guarded { future: Some(future), running }
    }
}

impl<F: Future<Output = Outcome> + Unpin> Future for Guarded<F> {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        self.running.polled(cx.waker());
        let stop = self.running.stop.load(Ordering::Acquire);
        let Some(future) = &mut self.future else { return Poll::Pending };
        let ended = if stop {
            Ended::Answered(Err(Error::task_cancelled("the task was cancelled while it ran")))
        } else {
            match caught(|| Pin::new(future).poll(cx)) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(outcome)) => Ended::Answered(outcome.map_err(Error::of_code)),
                Err(broke) => broke.into(),
            }
        };
        let future = self.future.take();
        Poll::Ready(ended.then(caught(|| drop(future))))
    }
}

impl<F> Drop for Guarded<F> {
    fn drop(&mut self) {
        // What runs when a cluster ends is dropped with its runtime.
        if let Some(future) = self.future.take() {
            discard("what an async call held", future);
        }
    }
}
