//! Operations that are awaited, or waited for on the calling thread.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::api::error::{Error, Result};
use crate::api::get::check_cancelled;
use crate::env::{Parker, park};
use crate::process::Process;
use crate::wait::Countdown;
use crate::worker::host::{self, Current, WaitsFor};

/// An operation of Actinic: await it, or call [`Op::blocking`].
///
/// Most begin with that. What acts at the call is said where it does, as [`Handle::stop`](crate::Handle::stop) and
/// [`put`](crate::put()) do: what is waited for then is the end of it. What went wrong is told nowhere else.
#[must_use = "most operations do nothing until they are awaited, or `.blocking()` is called; none tells before what went wrong"]
pub struct Op<T> {
    future: Pin<Box<dyn Future<Output = Result<T>> + Send>>,
    waits_for: WaitsFor,
}

impl<T> fmt::Debug for Op<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Op")
    }
}

impl<T: Send + 'static> Op<T> {
    pub(crate) fn new(future: impl Future<Output = Result<T>> + Send + 'static) -> Op<T> {
        Op { future: Box::pin(future), waits_for: WaitsFor::Word }
    }

    /// An operation that waits for refs.
    pub(crate) fn of_refs(future: impl Future<Output = Result<T>> + Send + 'static) -> Op<T> {
        Op { waits_for: WaitsFor::Ref, ..Op::new(future) }
    }

    /// An operation that waits for something that may never happen.
    pub(crate) fn of_event(future: impl Future<Output = Result<T>> + Send + 'static) -> Op<T> {
        Op { waits_for: WaitsFor::Event, ..Op::new(future) }
    }

    pub(crate) fn ready(result: Result<T>) -> Op<T> {
        Op::new(std::future::ready(result))
    }

    /// Waits on the calling thread. A task or call that is cancelled waits for no ref, time or end of an actor any longer; what it
    /// asks of the cluster is answered.
    ///
    /// # Errors
    ///
    /// Those of the operation, `TaskCancelled` in a task that is cancelled, and `InvalidArgument` on a thread of an async runtime, which must not be blocked.
    pub fn blocking(self) -> Result<T> {
        check_may_block()?;
        if let Ok(owner) = crate::api::scope::owner() {
            check_is_simulated(&owner.process)?;
        }
        block_on(self.future, self.waits_for)?
    }
}

impl<T> IntoFuture for Op<T> {
    type Output = Result<T>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        self.future
    }
}

/// Whether this thread may wait: it runs no runtime.
pub(crate) fn check_may_block() -> Result<()> {
    if !crate::env::runs_a_runtime() {
        return Ok(());
    }
    Err(Error::invalid_argument("a blocking call on a thread of an async runtime would stop everything else there")
        .remedy("use `.await` here, or call from `tokio::task::spawn_blocking` or a thread of your own"))
}

/// Whether this thread may wait for what comes of a process: a simulation goes on only while threads wait that it knows.
pub(crate) fn check_is_simulated(process: &Process) -> Result<()> {
    if process.env.world().is_none() || crate::env::is_simulated() {
        return Ok(());
    }
    Err(Error::invalid_argument("a thread that the simulation does not know cannot wait in its time")
        .remedy("use `tokio::task::spawn_blocking` instead of a thread of your own, or leave out `sim`"))
}

struct ThreadWaker {
    parker: Parker,
    woken: AtomicBool,
}

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.parker.unpark();
    }
}

/// Runs a future on this thread; if it waits for a ref inside a remote call, the call lends its CPU meanwhile.
///
/// # Errors
///
/// `TaskCancelled` if the call that waits was cancelled, unless it waits for a word only.
pub(crate) fn block_on<F: Future + Unpin>(future: F, waits_for: WaitsFor) -> Result<F::Output> {
    // Without a time there is an output.
    block_on_until(future, waits_for, || None)?.ok_or_else(|| Error::connection("the wait was given up"))
}

/// As [`block_on`], until no time is left; there is no output then.
///
/// # Errors
///
/// As those of [`block_on`].
pub(crate) fn block_on_until<F: Future + Unpin>(
    mut future: F,
    waits_for: WaitsFor,
    left: impl Fn() -> Option<Duration>,
) -> Result<Option<F::Output>> {
    let wake = Arc::new(ThreadWaker { parker: Parker::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&wake));
    let mut cx = Context::from_waker(&waker);
    let mut blocked = None;
    loop {
        if let Poll::Ready(done) = Pin::new(&mut future).poll(&mut cx) {
            return Ok(Some(done));
        }
        if blocked.is_none() {
            blocked = host::current().map(|current| current.block(waits_for));
        }
        while !wake.woken.swap(false, Ordering::AcqRel) {
            if waits_for != WaitsFor::Word {
                check_cancelled()?;
            }
            let left = left();
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            park(left);
        }
    }
}

/// Waits on this thread until the countdown is down, `at_most` is over, or the call that waits here is cancelled.
pub(crate) fn wait_for(countdown: &Countdown, at_most: Option<Duration>, now: impl Fn() -> Duration) {
    let parker = Parker::current();
    if countdown.register(&parker) {
        return;
    }
    let until = at_most.map(|time| now().saturating_add(time));
    let _blocked = host::current().map(|current| current.block(WaitsFor::Ref));
    let cancelled = || host::with_current(|current| current.is_some_and(Current::is_given_up));
    while !countdown.is_done() && !cancelled() {
        let left = until.map(|until| until.saturating_sub(now()));
        if left == Some(Duration::ZERO) {
            return;
        }
        park(left);
    }
}
