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
/// So many events are told in one step: what a process does beyond that is dropped, once it holds [`HELD_MAX`].
const STEP_EVENTS: usize = 5 * CHUNK;
/// What the owners of a process hold at most, all together; but each may hold a few.
const HELD_MAX: usize = 100_000;
const HELD_EACH: usize = 64;

/// What a process tells of its owners' tasks.
pub(crate) struct Recording {
    /// Whether anything is noted at all (`ACTINIC_TASK_EVENTS=0` turns it off).
    on: bool,
    /// How many notes each owner may hold.
    room: AtomicUsize,
    owners: Mutex<Owners>,
    /// Held while something is told, so that what is noted first is told first. Locked before all the others.
    telling: Mutex<()>,
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
            telling: Mutex::default(),
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

    fn telling(&self) -> MutexGuard<'_, ()> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn share_room(&self, owners: usize) {
        self.room.store((HELD_MAX / owners.max(1)).max(HELD_EACH), Ordering::Relaxed);
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
        let telling = self.recording.telling();
        let mut left = STEP_EVENTS;
        let mut told = 0;
        // Each in turn, so that one which does much does not keep the others from telling.
        'step: loop {
            let before = left;
            for owner in &due {
                if left == 0 {
                    break 'step;
                }
                let events = self.tell_chunk(owner, false);
                left = left.saturating_sub(events);
                told += usize::from(events > 0);
            }
            if left == before {
                break;
            }
        }
        drop(telling);
        // Not under the lock, which whoever notes something takes too.
        let mut over: HashSet<_> = due.iter().filter(|owner| !owner.stays_due()).map(Arc::as_ptr).collect();
        let mut owners = self.recording.lock();
        // One that was over may be there once more by now.
        owners.due.retain(|owner| owner.strong_count() > 0 && !over.remove(&owner.as_ptr()));
        // Whoever told first waits longest next time.
        let count = owners.due.len().max(1);
        owners.due.rotate_left(told % count);
        self.recording.share_room(owners.due.len());
        owners.armed = !owners.due.is_empty();
        owners.armed
    }

    /// Tells all that has happened until now, what goes on included: before somebody asks, or the job ends.
    pub(crate) fn tell_all_events(self: &Arc<Self>) {
        for owner in self.recording.due() {
            self.tell_events_of(&owner);
        }
    }

    /// Tells all that one owner has noted until now, and what goes on.
    pub(crate) fn tell_events_of(self: &Arc<Self>, owner: &Arc<Owner>) {
        owner.look_at_live(true);
        let _telling = self.recording.telling();
        // What is noted meanwhile is for the next time.
        let mut left = owner.held_events();
        while left > 0 {
            match self.tell_chunk(owner, true) {
                0 => break,
                told => left = left.saturating_sub(told),
            }
        }
    }

    /// Tells what an owner noted first; how much it was. If it is not asked for, it stays while the way is full, until there
    /// is no room for more.
    fn tell_chunk(self: &Arc<Self>, owner: &Arc<Owner>, asked: bool) -> usize {
        let Some(gcs) = self.gcs.get().filter(|gcs| asked || !gcs.is_congested()) else { return 0 };
        let Some((chunk, dropped)) = owner.give_events() else { return 0 };
        let since = self.env.since_1970().saturating_sub(self.env.now());
        let since = u64::try_from(since.as_nanos()).unwrap_or(0);
        let Chunk { mut events, kinds, places, texts } = chunk;
        for event in &mut events {
            event.at = event.at.saturating_add(since);
        }
        let count = events.len().max(1);
        let told = TaskEvents { owner: owner.id, job: owner.job, kinds, places, texts, events, dropped };
        gcs.tell(ToGcs::TaskEvents(Box::new(told)));
        count
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
