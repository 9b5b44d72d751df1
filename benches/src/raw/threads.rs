//! The round trip of two wake-ups: one thread asks, another answers, and both sleep while they wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::Instant;

use crate::measure::Trips;

/// A value that one thread waits for and another gives. The waiter's wake-up is the only syscall of each side.
#[derive(Default)]
struct Slot {
    full: AtomicBool,
    value: AtomicI64,
}

impl Slot {
    fn give(&self, value: i64, to: &Thread) {
        self.value.store(value, Ordering::Relaxed);
        self.full.store(true, Ordering::Release);
        to.unpark();
    }

    fn take(&self) -> i64 {
        while !self.full.load(Ordering::Acquire) {
            thread::park();
        }
        self.full.store(false, Ordering::Relaxed);
        self.value.load(Ordering::Relaxed)
    }
}

/// A thread that answers what it is asked.
pub(crate) struct Echo {
    asked: Arc<Slot>,
    answered: Arc<Slot>,
    thread: Option<JoinHandle<()>>,
}

const STOP: i64 = -1;

impl Echo {
    /// Answers the thread that calls this.
    pub(crate) fn start() -> Echo {
        let (asked, answered) = (Arc::new(Slot::default()), Arc::new(Slot::default()));
        let (asks, answers, caller) = (Arc::clone(&asked), Arc::clone(&answered), thread::current());
        let thread = thread::spawn(move || {
            loop {
                match asks.take() {
                    STOP => return,
                    value => answers.give(value, &caller),
                }
            }
        });
        Echo { asked, answered, thread: Some(thread) }
    }

    pub(crate) fn ask(&self, value: i64) -> i64 {
        if let Some(thread) = &self.thread {
            self.asked.give(value, thread.thread());
        }
        self.answered.take()
    }

    pub(crate) fn trips(&self, count: usize) -> Trips {
        let mut took = Vec::with_capacity(count);
        for n in 0..count as i64 {
            let begun = Instant::now();
            assert_eq!(self.ask(n), n);
            took.push(begun.elapsed());
        }
        Trips::of(took)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.asked.give(STOP, thread.thread());
            let _ = thread.join();
        }
    }
}
