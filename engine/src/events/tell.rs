//! Telling the GCS, a few times a second.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::env::Env;
use crate::events::record::CHUNK;
use crate::events::{Chunk, TaskEvents};
use crate::owner::Owner;
use crate::process::Process;
use crate::protocol::ToGcs;

/// How often it is told.
const STEP: Duration = Duration::from_millis(500);
/// So many chunks are told in one step: what a process does beyond that is dropped, once it holds [`HELD_MAX`].
const STEP_CHUNKS: usize = 5;
/// What the owners of a process hold at most, all together.
const HELD_MAX: usize = 100_000;

/// What a process tells of its owners' tasks.
pub(crate) struct Recording {
    /// Whether anything is noted at all (`ACTINIC_TASK_EVENTS=0` turns it off).
    on: bool,
    /// How many notes each owner may hold.
    room: AtomicUsize,
    owners: Mutex<Owners>,
}

#[derive(Default)]
struct Owners {
    /// Those that have something to tell, or will.
    due: Vec<Weak<Owner>>,
    /// A step will come.
    armed: bool,
}

impl Recording {
    pub(crate) fn new(env: &Env) -> Recording {
        Recording {
            on: env.var("ACTINIC_TASK_EVENTS").is_none_or(|value| value != "0"),
            room: AtomicUsize::new(HELD_MAX),
            owners: Mutex::default(),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    pub(crate) fn room(&self) -> usize {
        self.room.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Owners> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn share_room(&self, owners: usize) {
        self.room.store((HELD_MAX / owners.max(1)).max(CHUNK), Ordering::Relaxed);
    }

    fn due(&self) -> Vec<Arc<Owner>> {
        self.lock().due.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Process {
    /// An owner has something to tell from now on.
    pub(crate) fn want_events_told(self: &Arc<Self>, owner: &Arc<Owner>) {
        let arm = {
            let mut owners = self.recording.lock();
            owners.due.push(Arc::downgrade(owner));
            self.recording.share_room(owners.due.len());
            !std::mem::replace(&mut owners.armed, true)
        };
        if arm {
            let process = Arc::downgrade(self);
            self.spawn(async move {
                loop {
                    tokio::time::sleep(STEP).await;
                    if !process.upgrade().is_some_and(|process| process.tell_events_step()) {
                        return;
                    }
                }
            });
        }
    }

    /// Tells some of what was noted; `false` if there is no more to come.
    fn tell_events_step(self: &Arc<Self>) -> bool {
        let due = self.recording.due();
        for owner in &due {
            owner.look_at_live(false);
        }
        let mut left = STEP_CHUNKS;
        let mut told = true;
        // Each in turn, so that one which does much does not keep the others from telling.
        while left > 0 && std::mem::take(&mut told) {
            for owner in due.iter() {
                if left > 0 && self.tell_chunk(owner) {
                    told = true;
                    left -= 1;
                }
            }
        }
        // Not under the lock, which whoever notes something takes too.
        let mut over: HashSet<_> = due.iter().filter(|owner| !owner.stays_due()).map(Arc::as_ptr).collect();
        let mut owners = self.recording.lock();
        // One that was over may be there once more by now.
        owners.due.retain(|owner| owner.strong_count() > 0 && !over.remove(&owner.as_ptr()));
        // Whoever told first waits longest next time.
        if let Some(first) = (!owners.due.is_empty()).then(|| owners.due.remove(0)) {
            owners.due.push(first);
        }
        self.recording.share_room(owners.due.len());
        owners.armed = !owners.due.is_empty();
        owners.armed
    }

    /// Tells all that has happened until now, what goes on included: before somebody asks, or the job ends.
    pub(crate) fn tell_all_events(self: &Arc<Self>) {
        for owner in self.recording.due() {
            owner.look_at_live(true);
            while self.tell_chunk(&owner) {}
        }
    }

    /// Tells what an owner noted first; `false` if there is nothing.
    fn tell_chunk(self: &Arc<Self>, owner: &Arc<Owner>) -> bool {
        let Some(gcs) = self.gcs.get() else { return false };
        let Some((chunk, dropped)) = owner.give_events() else { return false };
        if gcs.is_congested() {
            owner.events_lost(dropped + chunk.ends());
            return false;
        }
        let since = self.env.since_1970().saturating_sub(self.env.now());
        let since = u64::try_from(since.as_nanos()).unwrap_or(0);
        let Chunk { mut events, kinds, places, texts } = chunk;
        for event in &mut events {
            event.at = event.at.saturating_add(since);
        }
        let told = TaskEvents { owner: owner.id, job: owner.job, kinds, places, texts, events, dropped };
        gcs.tell(ToGcs::TaskEvents(Box::new(told)));
        true
    }
}

/// Whether an owner is among those that have something to tell.
#[derive(Default)]
pub(crate) struct Due(AtomicBool);

impl Due {
    /// `true` if it was not, and is now.
    pub(crate) fn begin(&self) -> bool {
        !self.0.load(Ordering::Relaxed) && !self.0.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn end(&self) {
        self.0.store(false, Ordering::Release);
    }
}
