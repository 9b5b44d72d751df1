//! Memory that a burst leaves behind.
//!
//! A program may have a hundred thousand calls in flight, and a moment later none. What they took, the C library keeps for
//! those to come, for it gives back only what lies free at the very end of its heap, where something small is soon in the
//! way. So when a burst is over and no other follows it for a moment, the pages that are free go back to the system.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Process;

/// So long after a burst the next may follow, which would only have to ask for the pages again.
const QUIET: Duration = Duration::from_millis(250);
/// So many submissions in that time are no burst.
const FEW: u64 = 1_000;

impl Process {
    /// Many of the tasks, calls and objects that an owner had are gone.
    pub(crate) fn burst_ended(self: &Arc<Self>) {
        // All processes of a simulation share one heap, and what time it takes is no time there.
        if self.env.world().is_some() || self.bursts.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let (process, env) = (Arc::downgrade(self), self.env.clone());
        let so_far = move || process.upgrade().map(|process| (process.submitted(), process));
        self.spawn(async move {
            while let Some((before, process)) = so_far() {
                let seen = process.bursts.load(Ordering::Acquire);
                drop(process);
                tokio::time::sleep(QUIET).await;
                if so_far().is_none_or(|(now, _)| now.saturating_sub(before) >= FEW) {
                    continue;
                }
                let (begun, trims) = (env.now(), env.clone());
                // If there is no thread for it, the pages stay.
                let _ = env.aside("actinic-memory", move || trims.give_memory_back()).await;
                // Whoever allocates from a heap waits while the library goes through it: some milliseconds, of a large
                // program's perhaps more. It shall not take more than a hundredth of the time.
                tokio::time::sleep(env.now().saturating_sub(begun) * 100).await;
                let none_more = |process: &Process| {
                    process.bursts.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
                };
                if so_far().is_none_or(|(_, process)| none_more(&process)) {
                    return;
                }
            }
        });
    }

    /// How much its owners have submitted so far.
    fn submitted(&self) -> u64 {
        self.owners().iter().map(|owner| owner.submitted()).sum()
    }
}
