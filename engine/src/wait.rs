//! Waiting without a wake-up per result: one waiter with a count, however many results it waits for.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use actinic_transport::{Peer, ProcessId};

use crate::env::Parker;
use crate::object::RawRef;
use crate::process::Process;
use crate::task::Task;

/// How an object became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// Its value is in this process.
    Value,
    /// Its value lies in a store.
    Stored,
    /// It has none.
    Failed,
}

/// Who hears that an object became ready (or failed).
pub(crate) enum Waiter {
    /// A `get`, with a count of what is missing.
    Count(Arc<Countdown>),
    /// A `wait`, and which of its refs it is.
    Arrival(Arc<Arrivals>, u32),
    /// An `as_completed`, and which of its refs it is.
    Finish(Arc<Finished>, u32),
    /// A task that has the object as an argument.
    Dependent(Arc<Task>),
    /// A process that borrows it and has asked, as often as it may have.
    Borrower(Box<Borrower>),
    /// Anything else: a callback.
    Call(Box<dyn FnOnce() + Send>),
}

/// Another process that is to be told of an object here. One answer is for all in it that have asked before it leaves.
pub(crate) struct Borrower {
    pub(crate) process: Arc<Process>,
    pub(crate) to: Peer,
    /// The object.
    pub(crate) kept: RawRef,
}

impl Waiter {
    pub(crate) fn notify(self, how: Came) {
        match self {
            Waiter::Count(countdown) => countdown.one_done(how == Came::Failed),
            Waiter::Arrival(arrivals, index) => arrivals.came(index, how),
            Waiter::Finish(finished, index) => finished.tell(index),
            Waiter::Dependent(task) => Task::dependency_done(&task, how),
            Waiter::Borrower(borrower) => {
                let Borrower { process, to, kept } = *borrower;
                process.answer_object(&to, kept.id(), kept);
            }
            Waiter::Call(call) => call(),
        }
    }

    /// Whether somebody still waits by it, that none of those seen before waits for.
    fn is_wanted(&self, borrowers: &mut BTreeSet<ProcessId>) -> bool {
        match self {
            Waiter::Count(countdown) => !countdown.is_done(),
            Waiter::Arrival(arrivals, _) => !arrivals.count.is_done(),
            Waiter::Finish(finished, _) => !finished.is_abandoned(),
            Waiter::Dependent(task) => !task.is_over(),
            Waiter::Borrower(borrower) => borrower.to.ended().is_none() && borrowers.insert(borrower.to.id()),
            Waiter::Call(_) => true,
        }
    }
}

/// The waiters of one object; most have none or one.
#[derive(Default)]
pub(crate) enum Waiters {
    #[default]
    None,
    One(Waiter),
    Many(Vec<Waiter>),
}

impl Waiters {
    /// Adds one, and gives back those that nobody needs any more: what they hold is to be dropped outside of locks.
    pub(crate) fn push(&mut self, waiter: Waiter) -> Vec<Waiter> {
        let mut over = Vec::new();
        *self = match std::mem::take(self) {
            Waiters::None => Waiters::One(waiter),
            Waiters::One(first) => Waiters::Many(vec![first, waiter]),
            Waiters::Many(mut all) => {
                // A poll loop over the same object leaves waiters that nobody waits on any more; and tasks that wait for it in
                // another process, one after the other, leave one each.
                if all.len() == all.capacity() {
                    let mut borrowers = BTreeSet::new();
                    over.extend(all.extract_if(.., |waiter| !waiter.is_wanted(&mut borrowers)));
                }
                all.push(waiter);
                Waiters::Many(all)
            }
        };
        over
    }

    pub(crate) fn notify(self, how: Came) {
        match self {
            Waiters::None => {}
            Waiters::One(waiter) => waiter.notify(how),
            Waiters::Many(all) => all.into_iter().for_each(|waiter| waiter.notify(how)),
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        match self {
            Waiters::None => 0,
            Waiters::One(_) => 1,
            Waiters::Many(all) => all.len(),
        }
    }
}

/// Wakes a future. Its executor's code is the user's, and this may be the thread that answers the network, with others
/// still to be told.
fn wake(waker: Waker) {
    if crate::worker::job::panics(|| waker.wake()) {
        tracing::warn!("the waker of a future that waits for a ref panicked; who waits there may sleep on");
    }
}

enum Sleeper {
    Nobody,
    Thread(Parker),
    Task(Waker),
}

/// Counts down to zero once, and wakes one sleeper then.
pub(crate) struct Countdown {
    missing: AtomicU32,
    /// Whether one failure ends the waiting (`get`), or counts as any other end (`wait`).
    fail_fast: bool,
    sleeper: Mutex<Sleeper>,
}

impl Countdown {
    pub(crate) fn new(missing: u32, fail_fast: bool) -> Arc<Countdown> {
        Arc::new(Countdown { missing: AtomicU32::new(missing), fail_fast, sleeper: Mutex::new(Sleeper::Nobody) })
    }

    pub(crate) fn is_done(&self) -> bool {
        self.missing.load(Ordering::Acquire) == 0
    }

    pub(crate) fn one_done(&self, failed: bool) {
        let change = |missing: u32| match missing {
            0 => None,
            _ if failed && self.fail_fast => Some(0),
            _ => Some(missing - 1),
        };
        if self.missing.fetch_update(Ordering::AcqRel, Ordering::Acquire, change) == Ok(1) || (failed && self.fail_fast)
        {
            self.wake();
        }
    }

    /// Ends the waiting from outside: a deadline, a cancellation.
    pub(crate) fn finish(&self) {
        self.missing.store(0, Ordering::Release);
        self.wake();
    }

    /// Nobody waits any more: what is still pending can forget it.
    pub(crate) fn abandon(&self) {
        if !self.is_done() {
            self.missing.store(0, Ordering::Release);
            let sleeper = std::mem::replace(&mut *self.lock(), Sleeper::Nobody);
            drop(sleeper);
        }
    }

    /// Wakes the sleeper although the count is not down: it looks again at what it waits for.
    pub(crate) fn wake(&self) {
        let sleeper = std::mem::replace(&mut *self.lock(), Sleeper::Nobody);
        match sleeper {
            Sleeper::Nobody => {}
            Sleeper::Thread(parker) => parker.unpark(),
            Sleeper::Task(waker) => wake(waker),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sleeper> {
        // Nothing can panic while the lock is held; a poisoned one is as good as any.
        self.sleeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a future; `true` if the count is already down.
    pub(crate) fn poll(&self, waker: &Waker) -> bool {
        if self.is_done() {
            return true;
        }
        let sleeper = Sleeper::Task(waker.clone());
        // What was there is the user's code too: it is dropped when the lock is free.
        let before = std::mem::replace(&mut *self.lock(), sleeper);
        drop(before);
        self.is_done()
    }

    /// Registers a thread; `true` if the count is already down. The caller parks, and calls again until it is.
    pub(crate) fn register(&self, parker: &Parker) -> bool {
        if self.is_done() {
            return true;
        }
        let before = std::mem::replace(&mut *self.lock(), Sleeper::Thread(parker.clone()));
        drop(before);
        self.is_done()
    }
}

/// What a `wait` counts. Where values are to be on this node, an object that is ready and lies in a store counts when its
/// receiver says so, who hears of it.
pub(crate) struct Arrivals {
    pub(crate) count: Arc<Countdown>,
    bring: bool,
    /// Which of the refs became ready, and lie in a store.
    stored: Mutex<Vec<u32>>,
}

impl Arrivals {
    pub(crate) fn new(missing: u32, bring: bool) -> Arc<Arrivals> {
        Arc::new(Arrivals { count: Countdown::new(missing, false), bring, stored: Mutex::default() })
    }

    fn stored(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        // Plain data under the lock.
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn came(&self, index: u32, how: Came) {
        if how == Came::Stored && self.bring {
            self.stored().push(index);
            self.count.wake();
        } else {
            self.count.one_done(false);
        }
    }

    pub(crate) fn take_stored(&self) -> Vec<u32> {
        std::mem::take(&mut self.stored())
    }
}

/// In which order the refs of an `as_completed` finish.
#[derive(Default)]
pub(crate) struct Finished {
    abandoned: AtomicBool,
    order: Mutex<(VecDeque<u32>, Option<Waker>)>,
}

impl Finished {
    fn lock(&self) -> std::sync::MutexGuard<'_, (VecDeque<u32>, Option<Waker>)> {
        // Plain data under the lock.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, index: u32) {
        let waker = {
            let mut order = self.lock();
            order.0.push_back(index);
            order.1.take()
        };
        if let Some(waker) = waker {
            wake(waker);
        }
    }

    /// Which one finished next; whoever polls is woken when there is one.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<u32> {
        let waker = cx.waker().clone();
        let before = {
            let mut order = self.lock();
            if let Some(index) = order.0.pop_front() {
                return Poll::Ready(index);
            }
            order.1.replace(waker)
        };
        drop(before);
        Poll::Pending
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Nobody waits any more: what is still pending can forget it.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        let waker = self.lock().1.take();
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;
    use crate::object::{Resolved, Slot};
    use crate::value::Value;

    /// As executors do that send to a channel which may be gone.
    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("nobody runs this future any more");
        }
    }

    #[test]
    fn a_waker_that_panics_keeps_the_news_from_nobody_else() {
        let slot = Slot::pending();
        let first = Countdown::new(1, false);
        assert!(!first.poll(&Waker::from(Arc::new(Panics))));
        let second = Countdown::new(1, false);
        for countdown in [&first, &second] {
            assert!(slot.subscribe(Waiter::Count(Arc::clone(countdown))).is_ok());
        }
        assert!(slot.resolve(Resolved::Value(Value::default())));
        assert!(first.is_done() && second.is_done());
    }
}
