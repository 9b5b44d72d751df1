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
        Echo::start_with(|| {})
    }

    fn start_with(first: impl FnOnce() + Send + 'static) -> Echo {
        let (asked, answered) = (Arc::new(Slot::default()), Arc::new(Slot::default()));
        let (asks, answers, caller) = (Arc::clone(&asked), Arc::clone(&answered), thread::current());
        let thread = thread::spawn(move || {
            first();
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

/// The same with the two threads kept on two cores, so that each wake-up is of a core that sleeps.
pub(crate) fn trips_on_two_cores(count: usize) -> Option<Trips> {
    let asker = thread::spawn(move || {
        pin(0);
        let echo = Echo::start_with(|| pin(1));
        echo.trips(count.div_ceil(10));
        echo.trips(count)
    });
    asker.join().ok()
}

/// Keeps this thread on one core, if there is such a core.
fn pin(core: usize) {
    // SAFETY: an all-zero set is a valid empty one; the kernel only reads it, and its size is given.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}
