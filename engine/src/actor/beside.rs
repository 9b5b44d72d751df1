//! Sync `&self` calls of an actor with async methods whose attribute says that they overlap: each runs on an executor thread,
//! beside the actor's own.
//!
//! Such a call has its turn on the actor's thread, as every other, and begins with it; a thread comes to it as soon as there
//! is one, which may be after the first lines of an async call behind it.
//!
//! - BESIDE-1: from its turn to its end it is one of the `max_concurrency` calls that overlap. What takes `&mut self` waits
//!   for all of those, so the call finds the lock free for readers, whenever its thread comes to it.
//! - BESIDE-2: the actor's thread waits for room among the calls, and for none of these by itself: one that hangs takes its
//!   room with it, and stops what takes `&mut self`, but none of the calls that overlap, and no kill. It outlives a killed
//!   actor, whose state it keeps.

use std::any::Any;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use crate::actor::host::ActorHost;
use crate::actor::local::{Loop, Shared, call_now};
use crate::api::error::Error;
use crate::api::scope;
use crate::call::TaskArgs;
use crate::program::{ActorCell, Outcome, SharedCell};
use crate::worker::host::Runs;
use crate::worker::job::{Ended, Job, nanoseconds};
use crate::worker::pool::Strand;

/// How such calls of one actor begin.
pub(super) struct Beside {
    state: SharedCell,
    /// The runtime of the actor's thread, where they may spawn as on that. The threads of a simulation know its own anyway.
    runtime: Option<Handle>,
}

impl Beside {
    /// On the actor's thread. None if the actor's sync calls run on that.
    pub(super) fn new(this: &Loop, cell: &ActorCell) -> Option<Beside> {
        let host = &this.host.host;
        let state = cell.shared()?;
        let runtime = host.process.env.world().is_none().then(Handle::current);
        if let Some(runtime) = &runtime {
            // Before one of them spawns something there.
            scope::note_runtime(host, runtime);
        }
        Some(Beside { state, runtime })
    }

    /// Begins a call, whose turn it is.
    pub(super) fn begin(&self, this: &Rc<Loop>, call: fn(&dyn Any, &mut TaskArgs<'_>) -> Outcome, job: Job) {
        let call = SyncCall {
            host: Arc::clone(&this.host),
            state: self.state.clone(),
            runtime: self.runtime.clone(),
            call,
            job,
            away: Away::new(&this.shared),
        };
        this.host.host.process.pool.schedule(Arc::new(Waiting(Mutex::new(Some(call)))));
    }
}

/// Counts a call that is on another thread, from its turn to its end.
struct Away(Arc<Shared>);

impl Away {
    fn new(shared: &Arc<Shared>) -> Away {
        shared.away.fetch_add(1, Ordering::Relaxed);
        Away(Arc::clone(shared))
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        // Whoever has the state to itself next sees what was done to it.
        self.0.away.fetch_sub(1, Ordering::Release);
        self.0.wake.notify_one();
    }
}

struct SyncCall {
    host: Arc<ActorHost>,
    state: SharedCell,
    runtime: Option<Handle>,
    call: fn(&dyn Any, &mut TaskArgs<'_>) -> Outcome,
    job: Job,
    away: Away,
}

impl SyncCall {
    fn run(self) {
        let SyncCall { host, state, runtime, call, job, away } = self;
        let now = || host.host.process.env.now();
        let began = now();
        let mut ended = None;
        // What was killed meanwhile is answered by nobody.
        if !host.dead.load(Ordering::Acquire) {
            state.read_now(&mut |state| {
                ended = Some(call_now(&host.host, &job, Runs::Beside, |args| {
                    let _known = runtime.as_ref().map(Handle::enter);
                    call(state, args)
                }));
            });
        }
        // Of a killed actor it may be the last of its state, whose destructor may spawn; the actor's own runtime has ended.
        {
            let alive = host.host.process.user_runtime();
            let _known = alive.as_ref().or(runtime.as_ref()).map(Handle::enter);
            drop(state);
        }
        let ended = ended.unwrap_or_else(|| Ended::Answered(Err(Error::task("the actor's state was in use"))));
        let at = now();
        if host.answered(job, ended, (at, nanoseconds(at.saturating_sub(began)))).is_some_and(|unsent| unsent > 0) {
            host.send_answers();
        }
        // Answered first: an actor whose calls have all ended may end.
        drop(away);
    }
}

/// A call that waits for a thread.
struct Waiting(Mutex<Option<SyncCall>>);

impl Strand for Waiting {
    fn drain(self: Arc<Self>) -> bool {
        let call = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(call) = call {
            call.run();
        }
        false
    }

    fn is_urgent(&self) -> bool {
        false
    }
}
