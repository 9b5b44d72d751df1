//! The threads that actors with async methods live on, where their futures need not be `Send`.
//!
//! Each is an Actix system with its one arbiter, so that `actix::Actor`s live there too ([`super::actix`]). A process has
//! a few that actors are dealt to. An actor that has sync methods beside its async ones has one of its own from its
//! beginning to its end: what such a method does there, whether it waits, loops or hangs, stops this actor alone. The
//! method runs outside of the thread's runtime, so that it may do what sync code may do anywhere, `.blocking()` included; it
//! may `tokio::spawn`, but not `spawn_local`. (Where sync `&self` methods overlap, those run elsewhere: [`super::beside`].)
//!
//! In a simulation such a thread is passed the baton as any thread of user code; what shares a thread shares the simulating
//! one, and what is spawned is spawned there.
//!
//! - THREADS-1: a thread of an actor's own ends with the actor, and what was spawned there with it; nobody waits for it.
//!   One that hangs in a sync method is left behind, as an executor thread is.
//! - THREADS-2: a process has [`OWN_MAX`] such threads at most, those left behind included. The actors above that share.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use crate::api::error::{Error, Result};
use crate::api::op;
use crate::api::scope::{self, OwnRuntime};
use crate::env::{self, Env};
use crate::worker::host::{Host, WaitsFor};
use crate::worker::job::discard;

/// So many actors of a process have threads of their own. Each is three open files too, of which a process may often have
/// no more than 1024.
const OWN_MAX: usize = 128;

/// What an actor does from its beginning to its end.
type Life = Pin<Box<dyn Future<Output = ()>>>;
/// Begins it, on the thread that it stays on.
type Start = Box<dyn FnOnce(SyncCalls) -> Life + Send>;

/// The threads of one process.
pub(crate) struct LocalThreads {
    env: Env,
    shared: Mutex<Vec<mpsc::UnboundedSender<Start>>>,
    next: AtomicUsize,
    width: usize,
    /// Makes what polls the actors of a thread; tests let it fail.
    runtime: fn() -> io::Result<Runtime>,
    /// How many actors have one of their own.
    own: Arc<AtomicUsize>,
    /// Whether it was said that there may be no more of those.
    said: AtomicBool,
    /// While it is open, those go on.
    open: Mutex<Option<watch::Sender<()>>>,
}

impl LocalThreads {
    pub(crate) fn new(env: Env, width: usize) -> LocalThreads {
        LocalThreads {
            env,
            shared: Mutex::default(),
            next: AtomicUsize::new(0),
            width: width.clamp(1, 4),
            runtime,
            own: Arc::default(),
            said: AtomicBool::new(false),
            open: Mutex::new(Some(watch::Sender::new(()))),
        }
    }

    /// Lets an actor live on one of the threads, or on one of its own. Where there is none, and none can be started, the
    /// start is dropped.
    pub(super) fn spawn(&self, own: bool, start: impl FnOnce(SyncCalls) -> Life + Send + 'static) -> Result<()> {
        let mut start: Start = Box::new(start);
        if own {
            // Whoever is one too many shares, which is no fault, but may surprise.
            if self.own.load(Ordering::Relaxed) >= OWN_MAX && !self.said.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    target: "actinic",
                    "a process has {OWN_MAX} actors with sync methods beside async ones: those above that share threads, where \
                     a sync method must not block; spread them over processes (`Isolation::Process`, on a started node), \
                     or make all their methods async"
                );
            }
            match self.spawn_alone(start) {
                Ok(()) => return Ok(()),
                Err(back) => start = back,
            }
        }
        if let Some(world) = self.env.world() {
            // What shares a thread shares the one that there is.
            world.spawn_local(move || start(SyncCalls::default()));
            return Ok(());
        }
        self.spawn_shared(start)
    }

    fn spawn_shared(&self, mut start: Start) -> Result<()> {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.width;
        let mut threads = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let mut none = None;
        while none.is_none() {
            while threads.len() <= at && none.is_none() {
                match self.start_shared() {
                    Ok(thread) => threads.push(thread),
                    Err(error) => none = Some(error),
                }
            }
            // If there can be no more, those that there are have more to do.
            let Some(thread) = threads.len().checked_sub(1).map(|last| at.min(last)) else { break };
            match threads[thread].send(start) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::SendError(back)) => {
                    // It has ended, which none should; another takes its place.
                    threads.swap_remove(thread);
                    start = back;
                }
            }
        }
        drop(threads);
        discard("an actor that did not start", start);
        let why = none.map_or_else(|| "it ended".to_owned(), |error| error.to_string());
        Err(Error::runtime_env_setup(format!("no thread could be started for async actors: {why}"))
            .remedy("let a process have more open files and threads (`ulimit -n`, `ulimit -u`)"))
    }

    /// A thread that actors are dealt to. Its runtime is made first: one without would take starts and begin none.
    fn start_shared(&self) -> io::Result<mpsc::UnboundedSender<Start>> {
        let runtime = (self.runtime)()?;
        let (send, receive) = mpsc::unbounded_channel();
        self.env.thread("actinic-local", move || run_shared(runtime, receive))?;
        Ok(send)
    }

    /// Gives the start back if there may be no further thread, or is none to be had.
    fn spawn_alone(&self, start: Start) -> std::result::Result<(), Start> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(watch::Sender::subscribe);
        let (Some(open), Some(own)) = (open, Own::take(&self.own)) else { return Err(start) };
        let runtime = match self.env.world().map_or_else(|| (self.runtime)().map(Some), |_| Ok(None)) {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::warn!(%error, "an actor shares its thread with others: no runtime could be made for it alone");
                return Err(start);
            }
        };
        // A thread that does not start drops its body.
        let kept = Arc::new(Mutex::new(Some(start)));
        let given = Arc::clone(&kept);
        let take = |start: &Mutex<Option<Start>>| start.lock().unwrap_or_else(PoisonError::into_inner).take();
        let started = self.env.thread("actinic-actor", move || {
            let _own = own;
            if let Some(start) = take(&given) {
                run_alone(&Executor::new(runtime), start, open);
            }
        });
        match started {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "an actor shares its thread with others: there is none for it alone");
                take(&kept).map_or(Ok(()), Err)
            }
        }
    }

    /// Lets the threads end.
    pub(crate) fn close(&self) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clear();
        drop(self.open.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Counts a thread of an actor's own, while it is there.
struct Own(Arc<AtomicUsize>);

impl Own {
    fn take(count: &Arc<AtomicUsize>) -> Option<Own> {
        let more = |count: usize| (count < OWN_MAX).then_some(count + 1);
        count.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Own(Arc::clone(count)))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[allow(clippy::disallowed_methods)] // of a thread that a simulation does not start
fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn run_shared(runtime: Runtime, mut starts: mpsc::UnboundedReceiver<Start>) {
    // It starts no thread, and nothing of it is left when the thread ends.
    actix_rt::System::with_tokio_rt(|| runtime).block_on(async move {
        while let Some(start) = starts.recv().await {
            tokio::task::spawn_local(start(SyncCalls::default()));
        }
    });
}

/// What polls one actor on its thread.
enum Executor {
    Runtime(actix_rt::SystemRunner),
    /// The runtime is the simulation's, and polled elsewhere: it brings the time, and the thread sleeps as its others do.
    Simulated(LocalSet),
}

impl Executor {
    /// On the thread that is to poll.
    fn new(runtime: Option<Runtime>) -> Executor {
        match runtime {
            Some(runtime) => Executor::Runtime(actix_rt::System::with_tokio_rt(|| runtime)),
            None => Executor::Simulated(LocalSet::new()),
        }
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self {
            Executor::Runtime(system) => system.block_on(future),
            Executor::Simulated(local) => {
                let mut future = pin!(local.run_until(future));
                match op::block_on(poll_fn(|task| env::polls(|| future.as_mut().poll(task))), WaitsFor::Word) {
                    Ok(done) => done,
                    Err(_) => unreachable!("who waits for a word is not cancelled"),
                }
            }
        }
    }

    /// Runs sync code, which may block, and may spawn.
    fn run(&self, call: SyncCall) {
        // The threads of a simulation know its runtime anyway.
        let _known = match self {
            Executor::Runtime(system) => Some(system.runtime().tokio_runtime().enter()),
            Executor::Simulated(_) => None,
        };
        call();
    }
}

/// One actor's thread: it leaves its runtime for each sync call, and comes back to it.
fn run_alone(executor: &Executor, start: Start, mut open: watch::Receiver<()>) {
    let outside = Rc::new(RefCell::new(None));
    let calls = SyncCalls { outside: Some(Rc::clone(&outside)) };
    let mut life = Box::pin(async move { start(calls).await });
    let mut closed = Box::pin(async move { while open.changed().await.is_ok() {} });
    loop {
        let call: Option<SyncCall> = executor.block_on(poll_fn(|task| {
            if life.as_mut().poll(task).is_ready() || closed.as_mut().poll(task).is_ready() {
                return Poll::Ready(None);
            }
            outside.borrow_mut().take().map_or(Poll::Pending, |call| Poll::Ready(Some(call)))
        }));
        match call {
            Some(call) => executor.run(call),
            None => break,
        }
    }
    // The user's destructors may want the runtime.
    executor.block_on(async move { drop(life) });
}

type SyncCall = Box<dyn FnOnce()>;

/// How the sync calls of an actor run on its thread.
#[derive(Default)]
pub(super) struct SyncCalls {
    /// What is to run outside of the runtime of a thread that is the actor's own.
    outside: Option<Rc<RefCell<Option<SyncCall>>>>,
}

impl SyncCalls {
    /// If the thread is the actor's own, what is spawned on its runtime belongs to the actor's job, while the note lives.
    pub(super) fn note_runtime(&self, host: &Host) -> Option<OwnRuntime> {
        self.outside.as_ref().and_then(|_| scope::own_runtime(host))
    }

    /// Runs one, and gives what came of it. The actor's life alone awaits this, not what it has spawned.
    pub(super) async fn run<R: 'static>(&self, call: impl FnOnce() -> R + 'static) -> R {
        let Some(outside) = &self.outside else { return call() };
        let done = Rc::new(Cell::new(None));
        let tell = Rc::clone(&done);
        *outside.borrow_mut() = Some(Box::new(move || tell.set(Some(call()))));
        poll_fn(|_| done.take().map_or(Poll::Pending, Poll::Ready)).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)] // its threads are real, and so is the time
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;

    fn none_to_be_had() -> io::Result<Runtime> {
        Err(io::Error::from_raw_os_error(libc::EMFILE))
    }

    fn begin(threads: &LocalThreads) -> (Result<()>, Receiver<()>) {
        let (tell, hear) = channel();
        let began = threads.spawn(false, move |_| Box::pin(async move { tell.send(()).unwrap() }));
        (began, hear)
    }

    fn begins(threads: &LocalThreads) {
        let (began, hear) = begin(threads);
        began.unwrap();
        hear.recv_timeout(Duration::from_secs(60)).unwrap();
    }

    /// A process that has no open file left when the first async actor comes says so, and has all its threads later.
    #[test]
    fn a_thread_without_a_runtime_takes_no_actor() {
        let mut threads = LocalThreads::new(Env::real(), 2);
        threads.runtime = none_to_be_had;
        let (began, hear) = begin(&threads);
        let said = began.unwrap_err().to_string();
        assert!(said.contains("no thread could be started") && said.contains("ulimit -n"), "{said}");
        hear.recv().unwrap_err();
        threads.runtime = runtime;
        begins(&threads);
        threads.runtime = none_to_be_had;
        for _ in 0..3 {
            // Those that would have another thread share the one that there is.
            begins(&threads);
        }
        threads.close();
    }

    #[test]
    fn a_thread_that_has_ended_is_replaced() {
        let threads = LocalThreads::new(Env::real(), 2);
        for _ in 0..2 {
            threads.shared.lock().unwrap().push(mpsc::unbounded_channel().0);
        }
        for _ in 0..4 {
            begins(&threads);
        }
        threads.close();
    }
}
