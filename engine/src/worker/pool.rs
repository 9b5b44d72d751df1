//! The threads that run user code.
//!
//! A *strand* is a queue of work that runs in order: a worker's tasks, or the calls of one actor. Threads take
//! strands with work, drain each for a while, and sleep when there is none. A strand that waits while every thread is
//! busy gets a thread of its own: at once if it is a worker's (the raylet granted it a CPU), after [`OVERDUE`] if it
//! is an actor's, so that a thousand sleeping actors all progress but a thousand quick ones need few threads.
//!
//! A thread that runs out of strands looks for another a moment before it sleeps, since to wake it would cost whoever has
//! one more than to run it does: a caller of many actors in turn would pay a wake-up for each call.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::env::{Env, Parker, park};
use crate::process::Process;

/// How long an actor's runnable strand waits for a busy thread before it gets a new one.
pub(crate) const OVERDUE: Duration = Duration::from_millis(2);
/// A thread without work ends after this time.
const LINGER: Duration = Duration::from_secs(5);

thread_local! {
    /// Which pool the calling thread is of, by where that lies; 0 is none: an actor may have threads of its own.
    static EXECUTES: Cell<usize> = const { Cell::new(0) };
}

/// How many times a thread looks for more work before it sleeps: a few microseconds, where a wake-up costs its waker
/// about two and the sleeper tens.
const LOOKS: u32 = 200;

/// Waits a moment for `sign`.
pub(crate) fn linger(sign: &AtomicBool) {
    for _ in 0..LOOKS {
        if sign.load(Ordering::Acquire) {
            return;
        }
        std::hint::spin_loop();
    }
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
    /// When it was last said that no thread could be started.
    told: Option<Duration>,
}

/// The executor threads of one process.
pub(crate) struct Pool {
    env: Env,
    state: Mutex<State>,
    /// Threads that quick work is spread over before anything is overdue.
    width: usize,
    /// No more than so many threads.
    most: usize,
    /// Threads that look for a strand, and will look into the list once more before they sleep; written under the lock.
    lookers: AtomicUsize,
    /// Something is in the list that one of them should take; written under the lock.
    offered: AtomicBool,
    /// Whether it is of use to look: not where one thread runs at a time.
    looks: bool,
    /// Whether somebody will call [`Pool::look`] soon.
    alarm: AtomicBool,
    ask_alarm: AskAlarm,
}

/// Makes somebody call [`Pool::look`] after [`OVERDUE`], and again as long as that wants it.
type AskAlarm = Box<dyn Fn(&Arc<Pool>) + Send + Sync>;

impl Pool {
    /// A pool that calls `ask_alarm` when it wants [`Pool::look`] to be called after [`OVERDUE`].
    pub(crate) fn new(env: Env, width: usize, ask_alarm: AskAlarm) -> Arc<Pool> {
        Pool::of_at_most(env, width, usize::MAX, ask_alarm)
    }

    fn of_at_most(env: Env, width: usize, most: usize, ask_alarm: AskAlarm) -> Arc<Pool> {
        Arc::new(Pool {
            state: Mutex::default(),
            width: width.max(1).min(most),
            most,
            lookers: AtomicUsize::new(0),
            offered: AtomicBool::new(false),
            // As wide as the machine has cores.
            looks: env.world().is_none() && width > 1,
            alarm: AtomicBool::new(false),
            ask_alarm,
            env,
        })
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
        // Each looker takes one, of those in the list too.
        if self.lookers.load(Ordering::Acquire) > state.runnable.len() {
            state.runnable.push_back((self.env.now(), strand));
            self.offered.store(true, Ordering::Release);
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
            let started = self.start_thread(&mut state, strand);
            drop(state);
            if let Err(error) = started {
                self.not_started(&error);
                self.want_alarm();
            }
            return;
        }
        state.runnable.push_back((self.env.now(), strand));
        drop(state);
        self.want_alarm();
    }

    /// Takes what has waited longest.
    fn next(&self, state: &mut State) -> Option<Arc<dyn Strand>> {
        let (_, strand) = state.runnable.pop_front()?;
        if state.runnable.is_empty() {
            self.offered.store(false, Ordering::Release);
        }
        Some(strand)
    }

    fn want_alarm(self: &Arc<Self>) {
        if !self.alarm.swap(true, Ordering::AcqRel) {
            (self.ask_alarm)(self);
        }
    }

    /// Gives overdue strands threads; `true` if it wants to be called again.
    pub(crate) fn look(self: &Arc<Self>) -> bool {
        let now = self.env.now();
        let mut started = Ok(());
        let mut state = self.lock();
        while let Some((since, _)) = state.runnable.front() {
            if now.saturating_sub(*since) < OVERDUE || state.threads >= self.most {
                break;
            }
            let Some(strand) = self.next(&mut state) else { break };
            started = self.start_thread(&mut state, strand);
            if started.is_err() {
                break;
            }
        }
        let again = !state.runnable.is_empty();
        self.alarm.store(again, Ordering::Release);
        drop(state);
        if let Err(error) = started {
            self.not_started(&error);
        }
        again
    }

    /// Says that there are no more threads, now and then; under no lock, for who listens may be an actor here.
    #[cold]
    fn not_started(&self, error: &std::io::Error) {
        const EVERY: Duration = Duration::from_secs(1);
        let now = self.env.now();
        let due = {
            let mut state = self.lock();
            let due = state.told.is_none_or(|told| now.saturating_sub(told) >= EVERY);
            if due {
                state.told = Some(now);
            }
            due
        };
        if due {
            tracing::error!(%error, "no thread could be started for user code, which waits for one that is free");
        }
    }

    /// If there can be no more threads now, the strand waits with the others.
    fn start_thread(self: &Arc<Self>, state: &mut State, first: Arc<dyn Strand>) -> std::io::Result<()> {
        state.threads += 1;
        state.running += 1;
        let pool = Arc::clone(self);
        let given = Arc::new(Mutex::new(Some(first)));
        let kept = Arc::clone(&given);
        let started = self.env.thread("actinic-exec", move || pool.run(given));
        if started.is_err() {
            // The strand keeps its place; another thread takes it when it is free, or the next that can be started.
            state.threads -= 1;
            state.running -= 1;
            if let Some(strand) = kept.lock().unwrap_or_else(PoisonError::into_inner).take() {
                state.runnable.push_back((self.env.now(), strand));
            }
        }
        started
    }

    fn run(self: Arc<Self>, given: Arc<Mutex<Option<Arc<dyn Strand>>>>) {
        EXECUTES.set(self.place());
        let parker = Parker::current();
        let take = || given.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut current = take();
        loop {
            let again = current.take().filter(|strand| Arc::clone(strand).drain());
            let mut state = self.lock();
            if let Some(strand) = again {
                state.runnable.push_back((self.env.now(), strand));
            }
            if state.runnable.is_empty() && self.looks && !state.closed {
                // Under the lock, so that what comes from here on is left to this thread.
                self.lookers.fetch_add(1, Ordering::AcqRel);
                drop(state);
                linger(&self.offered);
                state = self.lock();
                self.lookers.fetch_sub(1, Ordering::AcqRel);
            }
            if let Some(next) = self.next(&mut state) {
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

    fn place(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The calling thread is about to wait inside Actinic: another may run in its place, if it is one of these.
    pub(crate) fn blocked(self: &Arc<Self>) {
        if EXECUTES.get() != self.place() {
            return;
        }
        let mut state = self.lock();
        state.running = state.running.saturating_sub(1);
        if state.running < self.width
            && let Some(strand) = self.next(&mut state)
            && let Err(error) = self.start_thread(&mut state, strand)
        {
            drop(state);
            self.not_started(&error);
            self.want_alarm();
        }
    }

    /// The calling thread goes on.
    pub(crate) fn unblocked(&self) {
        if EXECUTES.get() == self.place() {
            self.lock().running += 1;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Lets every thread end as soon as it is idle; nothing is scheduled any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let gone = std::mem::take(&mut state.runnable);
        for idle in &state.idle {
            idle.parker.unpark();
        }
        drop(state);
        // What they hold may be the user's, and may have something for this pool.
        drop(gone);
    }
}

/// The threads of one actor whose sync calls overlap: as many at most as may overlap, so that what is kept for each thread
/// is kept so often and no oftener. They end with it, and when they have had nothing to do for a while.
pub(crate) struct Crew(Arc<Pool>);

impl Crew {
    /// So many threads at most; no more than quick work is spread over in `process`, unless some of it waits long.
    pub(crate) fn new(process: &Arc<Process>, most: usize) -> Crew {
        let weak = Arc::downgrade(process);
        let alarm: AskAlarm = Box::new(move |pool| {
            if let Some(process) = weak.upgrade() {
                process.pool_alarm(Arc::clone(pool));
            }
        });
        Crew(Pool::of_at_most(process.env.clone(), process.pool.width, most, alarm))
    }

    pub(crate) fn schedule(&self, strand: Arc<dyn Strand>) {
        self.0.schedule(strand);
    }

    pub(crate) fn close(&self) {
        self.0.close();
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how often it ran.
    struct Counter {
        runs: AtomicUsize,
        scheduled: AtomicUsize,
    }

    impl Counter {
        fn new() -> Arc<Counter> {
            Arc::new(Counter { runs: AtomicUsize::new(0), scheduled: AtomicUsize::new(0) })
        }

        /// As an actor's inbox: it is scheduled if it is not yet.
        fn call(self: &Arc<Self>, pool: &Arc<Pool>) {
            if self.scheduled.fetch_add(1, Ordering::AcqRel) == 0 {
                pool.schedule(Arc::clone(self) as Arc<dyn Strand>);
            }
        }
    }

    impl Strand for Counter {
        fn drain(self: Arc<Self>) -> bool {
            let calls = self.scheduled.load(Ordering::Acquire);
            self.runs.fetch_add(calls, Ordering::AcqRel);
            self.scheduled.fetch_sub(calls, Ordering::AcqRel) != calls
        }

        fn is_urgent(&self) -> bool {
            false
        }
    }

    fn until(what: &str, holds: impl Fn() -> bool) {
        let env = Env::real();
        let begun = env.now();
        while !holds() {
            assert!(env.now() - begun < Duration::from_secs(20), "{what}");
            park(Some(Duration::from_micros(50)));
        }
    }

    /// A pool whose alarm never rings: what is left to a thread that looks must not need it.
    fn pool(width: usize) -> Arc<Pool> {
        Pool::new(Env::real(), width, Box::new(|_| {}))
    }

    /// Waits until others run too.
    struct Meets(Arc<(AtomicUsize, usize)>);

    impl Strand for Meets {
        fn drain(self: Arc<Self>) -> bool {
            let (came, all) = &*self.0;
            came.fetch_add(1, Ordering::AcqRel);
            until("all have come", || came.load(Ordering::Acquire) == *all);
            false
        }

        fn is_urgent(&self) -> bool {
            false
        }
    }

    #[test]
    fn what_waits_long_gets_threads_up_to_the_most() {
        let pool = Pool::of_at_most(Env::real(), 1, 3, Box::new(|_| {}));
        let met = Arc::new((AtomicUsize::new(0), 3));
        (0..3).for_each(|_| pool.schedule(Arc::new(Meets(Arc::clone(&met)))));
        // The alarm.
        until("three are there", || {
            pool.look();
            met.0.load(Ordering::Acquire) == 3
        });
        assert_eq!(pool.lock().threads, 3);
        pool.close();
        assert!(pool.is_closed());
        until("all threads end", || pool.lock().threads == 0);
    }

    #[test]
    fn what_comes_while_a_thread_looks_for_it_runs() {
        let pool = pool(2);
        let strands: Vec<_> = (0..5).map(|_| Counter::new()).collect();
        for round in 0..2_000 {
            strands.iter().for_each(|strand| strand.call(&pool));
            if round % 7 == 0 {
                // They look, or sleep.
                until("all calls run", || {
                    strands.iter().all(|strand| strand.runs.load(Ordering::Acquire) == round + 1)
                });
            }
        }
        until("all calls run", || strands.iter().all(|strand| strand.runs.load(Ordering::Acquire) == 2_000));
        assert!(pool.lock().threads <= 2);
        pool.close();
        until("all threads end", || pool.lock().threads == 0);
    }

    /// However many call at once.
    #[test]
    fn no_call_is_lost_between_threads_that_look_and_threads_that_sleep() {
        const CALLS: usize = 20_000;
        let pool = pool(3);
        let strands: Arc<Vec<_>> = Arc::new((0..4).map(|_| Counter::new()).collect());
        for first in 0..3 {
            let (strands, pool) = (Arc::clone(&strands), Arc::clone(&pool));
            let calls = move || (first..first + CALLS).for_each(|call| strands[call % strands.len()].call(&pool));
            Env::real().thread("caller", calls).unwrap();
        }
        let ran = || strands.iter().map(|strand| strand.runs.load(Ordering::Acquire)).sum::<usize>();
        until("all calls run", || ran() == 3 * CALLS);
        pool.close();
        until("all threads end", || pool.lock().threads == 0);
    }
}
