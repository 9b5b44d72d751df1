//! The threads that run user code.
//!
//! A *strand* is a queue of work that runs in order: a worker's tasks, or the calls of one actor. Threads take
//! strands with work, drain each for a while, and sleep when there is none. A strand that waits while every thread is
//! busy gets a thread of its own: at once if it is a worker's (the raylet granted it a CPU), after [`OVERDUE`] if it
//! is an actor's, so that a thousand sleeping actors all progress but a thousand quick ones need few threads.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::env::{Env, Parker, park};

/// How long an actor's runnable strand waits for a busy thread before it gets a new one.
pub(crate) const OVERDUE: Duration = Duration::from_millis(2);
/// A thread without work ends after this time.
const LINGER: Duration = Duration::from_secs(5);

thread_local! {
    /// Whether the calling thread is a pool's: an actor may have one of its own.
    static EXECUTES: Cell<bool> = const { Cell::new(false) };
}

/// A queue of work that threads drain.
pub(crate) trait Strand: Send + Sync {
    /// Runs what waits, for about a millisecond; `true` if there is more to run.
    fn drain(self: Arc<Self>) -> bool;
    /// Whether it may have a new thread at once.
    fn is_urgent(&self) -> bool;
}

struct Idle {
    parker: Parker,
    given: Arc<Mutex<Option<Arc<dyn Strand>>>>,
}

#[derive(Default)]
struct State {
    runnable: VecDeque<(Duration, Arc<dyn Strand>)>,
    idle: Vec<Idle>,
    /// Threads that neither sleep nor are blocked in Actinic.
    running: usize,
    threads: usize,
    closed: bool,
}

/// The executor threads of one process.
pub(crate) struct Pool {
    env: Env,
    state: Mutex<State>,
    /// Threads that quick work is spread over before anything is overdue.
    width: usize,
    /// Whether somebody will call [`Pool::look`] soon.
    alarm: AtomicBool,
    ask_alarm: Box<dyn Fn() + Send + Sync>,
}

impl Pool {
    /// A pool that calls `ask_alarm` when it wants [`Pool::look`] to be called after [`OVERDUE`].
    pub(crate) fn new(env: Env, width: usize, ask_alarm: Box<dyn Fn() + Send + Sync>) -> Arc<Pool> {
        Arc::new(Pool { env, state: Mutex::default(), width: width.max(1), alarm: AtomicBool::new(false), ask_alarm })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a strand run; the caller makes sure that it is not scheduled twice.
    pub(crate) fn schedule(self: &Arc<Self>, strand: Arc<dyn Strand>) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if let Some(idle) = state.idle.pop() {
            state.running += 1;
            *idle.given.lock().unwrap_or_else(PoisonError::into_inner) = Some(strand);
            drop(state);
            idle.parker.unpark();
            return;
        }
        if state.running < self.width || strand.is_urgent() {
            self.start_thread(&mut state, Some(strand));
            return;
        }
        state.runnable.push_back((self.env.now(), strand));
        drop(state);
        self.want_alarm();
    }

    fn want_alarm(&self) {
        if !self.alarm.swap(true, Ordering::AcqRel) {
            (self.ask_alarm)();
        }
    }

    /// Gives overdue strands threads; `true` if it wants to be called again.
    pub(crate) fn look(self: &Arc<Self>) -> bool {
        let now = self.env.now();
        let mut state = self.lock();
        while let Some((since, _)) = state.runnable.front() {
            if now.saturating_sub(*since) < OVERDUE {
                break;
            }
            let Some((_, strand)) = state.runnable.pop_front() else { break };
            self.start_thread(&mut state, Some(strand));
        }
        let again = !state.runnable.is_empty();
        self.alarm.store(again, Ordering::Release);
        again
    }

    fn start_thread(self: &Arc<Self>, state: &mut State, first: Option<Arc<dyn Strand>>) {
        state.threads += 1;
        state.running += 1;
        let pool = Arc::clone(self);
        let given = Arc::new(Mutex::new(first));
        let kept = Arc::clone(&given);
        if let Err(error) = self.env.thread("actinic-exec", move || pool.run(given)) {
            // The strand keeps its place; another thread takes it when it is free.
            tracing::error!(%error, "no thread could be started for user code");
            state.threads -= 1;
            state.running -= 1;
            if let Some(strand) = kept.lock().unwrap_or_else(PoisonError::into_inner).take() {
                state.runnable.push_back((self.env.now(), strand));
            }
        }
    }

    fn run(self: Arc<Self>, given: Arc<Mutex<Option<Arc<dyn Strand>>>>) {
        EXECUTES.set(true);
        let parker = Parker::current();
        let take = || given.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut current = take();
        loop {
            let again = current.take().filter(|strand| Arc::clone(strand).drain());
            let mut state = self.lock();
            if let Some(strand) = again {
                state.runnable.push_back((self.env.now(), strand));
            }
            if let Some((_, next)) = state.runnable.pop_front() {
                current = Some(next);
                continue;
            }
            if state.closed {
                state.threads -= 1;
                state.running -= 1;
                return;
            }
            state.running -= 1;
            state.idle.push(Idle { parker: parker.clone(), given: Arc::clone(&given) });
            drop(state);
            match self.sleep(&given, take) {
                Some(strand) => current = Some(strand),
                None => return,
            }
        }
    }

    /// Sleeps until a strand is given; `None` when the thread shall end.
    fn sleep(
        &self,
        given: &Arc<Mutex<Option<Arc<dyn Strand>>>>,
        take: impl Fn() -> Option<Arc<dyn Strand>>,
    ) -> Option<Arc<dyn Strand>> {
        let since = self.env.now();
        loop {
            if let Some(strand) = take() {
                return Some(strand);
            }
            park(Some(LINGER));
            if let Some(strand) = take() {
                return Some(strand);
            }
            let mut state = self.lock();
            if state.closed || self.env.now().saturating_sub(since) >= LINGER {
                let Some(at) = state.idle.iter().position(|idle| Arc::ptr_eq(&idle.given, given)) else {
                    // Somebody took this thread off the list and is about to give it a strand.
                    continue;
                };
                state.idle.remove(at);
                state.threads -= 1;
                return None;
            }
        }
    }

    /// The calling thread is about to wait inside Actinic: another may run in its place, if it is one of these.
    pub(crate) fn blocked(self: &Arc<Self>) {
        if !EXECUTES.get() {
            return;
        }
        let mut state = self.lock();
        state.running = state.running.saturating_sub(1);
        if state.running < self.width
            && let Some((_, strand)) = state.runnable.pop_front()
        {
            self.start_thread(&mut state, Some(strand));
        }
    }

    /// The calling thread goes on.
    pub(crate) fn unblocked(&self) {
        if EXECUTES.get() {
            self.lock().running += 1;
        }
    }

    /// Lets every thread end as soon as it is idle; nothing is scheduled any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.runnable.clear();
        for idle in &state.idle {
            idle.parker.unpark();
        }
    }
}
