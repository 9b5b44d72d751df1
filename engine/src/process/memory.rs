//! Memory that a burst leaves behind.
//!
//! A program may have a hundred thousand calls in flight, and a moment later none. What they took, the C library keeps for
//! those to come, for it gives back only what lies free at the very end of its heap, where something small is soon in the
//! way. So when a burst is over and no other follows it for a moment, the pages that are free go back to the system.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Process;
use crate::worker::job::nanoseconds;

/// So long after a burst the next may follow, which would only have to ask for the pages again.
const QUIET: Duration = Duration::from_millis(250);
/// So many submissions in that time are no burst.
const FEW: u64 = 1_000;

impl Process {
    /// Most of the tasks, calls and objects that an owner had at a time are gone, and they were many.
    pub(crate) fn burst_ended(self: &Arc<Self>) {
        // All processes of a simulation share one heap, and what time it takes is no time there.
        if self.env.world().is_some() || self.burst_over.swap(true, Ordering::AcqRel) {
            return;
        }
        let process = Arc::downgrade(self);
        let mut before = self.submitted();
        self.spawn(async move {
            loop {
                tokio::time::sleep(QUIET).await;
                let Some(process) = process.upgrade() else { return };
                let now = process.submitted();
                if now.saturating_sub(std::mem::replace(&mut before, now)) < FEW {
                    process.burst_over.store(false, Ordering::Release);
                    return process.give_memory_back();
                }
            }
        });
    }

    /// Whoever allocates from a heap waits while the library goes through it: some milliseconds, of a large program's perhaps
    /// more. What that takes is at most a hundredth of the time.
    fn give_memory_back(self: &Arc<Self>) {
        let begun = self.env.now();
        if nanoseconds(begun) < self.gives_back_after.load(Ordering::Acquire) {
            return;
        }
        let (env, process) = (self.env.clone(), Arc::downgrade(self));
        // If there is no thread for it, the pages stay.
        drop(self.env.aside("actinic-memory", move || {
            env.give_memory_back();
            let ended = env.now();
            if let Some(process) = process.upgrade() {
                let next = ended + ended.saturating_sub(begun) * 100;
                process.gives_back_after.store(nanoseconds(next), Ordering::Release);
            }
        }));
    }

    /// How much its owners have submitted so far.
    fn submitted(&self) -> u64 {
        self.owners().iter().map(|owner| owner.submitted()).sum()
    }
}
