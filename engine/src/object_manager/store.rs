//! What a process keeps of its node's objects.
//!
//! Values lie on the heap of the process that made or fetched them, behind the interface that shared memory will take.
//! What a process owns itself lies in its owners' slots and is only counted here; what it keeps for others lies in the
//! store's map. What the node's processes keep together is bounded ([`budget`](super::budget)).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use actinic_transport::ProcessId;
use tokio::sync::oneshot;

use crate::api::error::{Error, Result};
use crate::call::INLINE_LIMIT;
use crate::ids::{ObjectId, OwnerId, TaskId};
use crate::object::Stored;
use crate::object_manager::budget::{Budget, Cells, Lent};
use crate::object_manager::transfers::Seat;
use crate::object_manager::with_refs;
use crate::value::Value;

/// A value that was fetched for a reader here.
pub(crate) struct Fetched {
    value: Value,
    /// Whether it counts: what lies on this node anyway does not, twice.
    counts: bool,
}

/// A value that is kept for its owner.
struct Primary {
    value: Value,
    /// The worker process that made it, which tells the owner.
    maker: Option<ProcessId>,
}

#[derive(Default)]
pub(super) struct Kept {
    /// Primary copies of objects that others own.
    primary: BTreeMap<ObjectId, Primary>,
    copies: BTreeMap<ObjectId, Fetched>,
    /// Values on their way into the node's store.
    offered: BTreeMap<ObjectId, Value>,
    fetching: BTreeMap<ObjectId, Fetching>,
    /// What stays for an attempt at a task until it has read it, or has ended.
    calls: BTreeMap<(TaskId, u32), Vec<ObjectId>>,
    /// In how many places of those an object is. Not in its copy, which may have gone and come again.
    needed: BTreeMap<ObjectId, u32>,
    /// What ends with an attempt at a task: the fetches of its arguments. More than one, if its worker died meanwhile.
    fetches: BTreeMap<(TaskId, u32), Vec<oneshot::Sender<()>>>,
}

/// A fetch under way.
struct Fetching {
    coming: Coming,
    /// Of whoever asked first, who transfers it.
    seat: Arc<Seat>,
    /// Who else waits for it.
    joined: Vec<Joined>,
}

/// How a fetch is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coming {
    Pulls,
    /// It waits, and brings nothing.
    Rests,
}

/// Somebody who waits for another's fetch.
pub(super) struct Joined {
    tell: oneshot::Sender<Result<Value>>,
    seat: Arc<Seat>,
}

impl Joined {
    pub(super) fn tell(self, fetched: Result<Value>) {
        // One that waits no more needs no answer.
        let _ = self.tell.send(fetched);
    }
}

impl Kept {
    /// A value to read: what this process keeps, or has fetched.
    pub(super) fn value(&self, object: &ObjectId) -> Option<&Value> {
        let primary = self.primary.get(object).map(|primary| &primary.value);
        primary.or_else(|| self.copies.get(object).map(|copy| &copy.value))
    }

    /// Waits for a fetch that is under way, and whether that brings nothing now; none if there is none, for then this is the
    /// first to ask, who makes the transfer.
    pub(super) fn join(
        &mut self,
        object: ObjectId,
        seat: &Arc<Seat>,
    ) -> Option<(oneshot::Receiver<Result<Value>>, bool)> {
        let seat = Arc::clone(seat);
        match self.fetching.entry(object) {
            Entry::Vacant(vacant) => {
                vacant.insert(Fetching { coming: Coming::Pulls, seat, joined: Vec::new() });
                None
            }
            Entry::Occupied(mut fetching) => {
                let Fetching { coming, joined, .. } = fetching.get_mut();
                // A poll loop over the same object leaves some that nobody waits for any more.
                if joined.len() == joined.capacity() {
                    joined.retain(|one| !one.tell.is_closed());
                }
                let (tell, hear) = oneshot::channel();
                joined.push(Joined { tell, seat });
                Some((hear, *coming == Coming::Rests))
            }
        }
    }

    /// A fetch brings nothing now; the seats of all who wait for it.
    pub(super) fn rests(&mut self, object: &ObjectId) -> Vec<Arc<Seat>> {
        let Some(fetching) = self.fetching.get_mut(object) else { return Vec::new() };
        fetching.coming = Coming::Rests;
        let all = std::iter::once(&fetching.seat).chain(fetching.joined.iter().map(|one| &one.seat));
        all.cloned().collect()
    }

    pub(super) fn pulls(&mut self, object: &ObjectId) {
        if let Some(fetching) = self.fetching.get_mut(object) {
            fetching.coming = Coming::Pulls;
        }
    }

    /// Somebody who waits for a fetch. If nobody does it is over, and who asks next makes another.
    pub(super) fn heard_by(&mut self, object: &ObjectId) -> Option<Arc<Seat>> {
        let fetching = self.fetching.get(object)?;
        let mut all = std::iter::once(&fetching.seat).chain(fetching.joined.iter().map(|one| &one.seat));
        let found = all.find(|seat| seat.is_heard()).cloned();
        if found.is_none() {
            self.fetching.remove(object);
        }
        found
    }

    /// A fetch is over; who waits for it.
    pub(super) fn came(&mut self, object: &ObjectId) -> Vec<Joined> {
        self.fetching.remove(object).map(|fetching| fetching.joined).unwrap_or_default()
    }

    /// Whether a copy need not stay.
    fn may_go(&self, object: &ObjectId, copy: &Fetched) -> bool {
        copy.counts && !self.needed.contains_key(object)
    }

    /// One who needs an object less.
    fn need_less(&mut self, object: &ObjectId) {
        if let Some(needed) = self.needed.get_mut(object) {
            *needed -= 1;
            if *needed == 0 {
                self.needed.remove(object);
            }
        }
    }

    /// Takes out the fetches for a task's attempts up to one: when what is returned is dropped, they end.
    fn take_fetches(&mut self, task: TaskId, attempt: u32) -> Vec<Vec<oneshot::Sender<()>>> {
        let calls: Vec<_> = self.fetches.range((task, 0)..=(task, attempt)).map(|(call, _)| *call).collect();
        calls.iter().filter_map(|call| self.fetches.remove(call)).collect()
    }

    pub(super) fn add_copy(&mut self, object: ObjectId, value: Value, counts: bool) {
        self.copies.insert(object, Fetched { value, counts });
    }
}

/// One process's share of its node's store.
pub(crate) struct Store {
    /// Of a process that shares with nobody.
    capacity: u64,
    used: AtomicU64,
    /// What the node's processes share, from before the first value is kept.
    shared: OnceLock<Budget>,
    /// The raylet's process lends it to the others.
    cells: OnceLock<Arc<Cells>>,
    kept: Mutex<Kept>,
    /// For how many attempts at tasks something stays, or is fetched.
    calls: AtomicUsize,
}

impl Store {
    pub(crate) fn new(capacity: u64) -> Store {
        Store {
            capacity,
            used: AtomicU64::new(0),
            shared: OnceLock::new(),
            cells: OnceLock::new(),
            kept: Mutex::default(),
            calls: AtomicUsize::new(0),
        }
    }

    /// Counts with the node's other processes; before the first value is kept.
    pub(crate) fn share(&self, budget: Budget) {
        // A new process: nobody else sets it.
        let _ = self.shared.set(budget);
    }

    /// Counts with the processes that this one, the raylet's, will lend cells to.
    pub(crate) fn lend_from(&self, cells: Arc<Cells>) {
        if let Some(own) = cells.own() {
            self.share(own);
            let _ = self.cells.set(cells);
        }
    }

    /// A share of the node's budget for another process of the node.
    pub(crate) fn lend(&self) -> Option<Lent> {
        self.cells.get()?.lend()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Kept> {
        // Plain data under the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the node's processes may keep together; or this one, if it shares with nobody.
    pub(crate) fn capacity(&self) -> u64 {
        self.shared.get().map_or(self.capacity, Budget::capacity)
    }

    /// What this process keeps.
    pub(crate) fn mine(&self) -> u64 {
        self.shared.get().map_or_else(|| self.used.load(Ordering::Relaxed), Budget::mine)
    }

    /// What the node's processes keep together.
    pub(crate) fn used(&self) -> u64 {
        self.shared.get().map_or_else(|| self.used.load(Ordering::Relaxed), Budget::used)
    }

    /// Whether so much would fit now.
    pub(super) fn has_room(&self, size: usize) -> bool {
        self.used().checked_add(size as u64).is_some_and(|sum| sum <= self.capacity())
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.shared.get().is_some()
    }

    /// What says whose budget a value counts in; 0 is nobody's.
    pub(crate) fn mark(&self) -> u128 {
        self.shared.get().map_or(0, Budget::mark)
    }

    fn take(&self, size: u64) -> Result<(), u64> {
        if let Some(shared) = self.shared.get() {
            return shared.take(size);
        }
        let take = |used: u64| used.checked_add(size).filter(|sum| *sum <= self.capacity);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).map(drop)
    }

    /// Counts a value that is about to be kept; small ones are not counted.
    ///
    /// # Errors
    ///
    /// `ObjectStoreFull` if it does not fit.
    pub(crate) fn charge(&self, size: usize) -> Result<()> {
        if size <= INLINE_LIMIT {
            return Ok(());
        }
        let size = size as u64;
        loop {
            let Err(used) = self.take(size) else { return Ok(()) };
            if size > self.capacity() {
                // Whatever goes.
                return Err(self.full(size, used));
            }
            if self.evict_one() {
                continue;
            }
            return Err(self.full(size, used));
        }
    }

    fn full(&self, size: u64, used: u64) -> Error {
        let (capacity, mine) = (self.capacity(), self.mine());
        let mut text = format!(
            "an object of {size} bytes does not fit: {used} of {capacity} bytes of the object store are in use"
        );
        if mine < used {
            text += &format!(", {} of them by other processes of the node", used - mine);
        }
        Error::object_store_full(text).remedy("drop refs that are not needed any more, or raise `object_store_memory`")
    }

    /// Drops a copy of what lies elsewhere too; `false` if there is none. Readers keep what they read.
    fn evict_one(&self) -> bool {
        let gone = {
            let mut kept = self.lock();
            let any = kept.copies.iter().find(|(object, copy)| kept.may_go(object, copy)).map(|(object, _)| *object);
            any.and_then(|any| kept.copies.remove(&any))
        };
        self.dropped(gone.as_ref());
        gone.is_some()
    }

    /// Lets every copy go that can be had again, since other processes of the node need room. What is returned takes a
    /// while to drop.
    pub(super) fn evict_all(&self) -> Vec<Fetched> {
        let gone: Vec<Fetched> = {
            let mut kept = self.lock();
            let copies = std::mem::take(&mut kept.copies);
            let (gone, stay) = copies.into_iter().partition(|(object, copy)| kept.may_go(object, copy));
            kept.copies = stay;
            let gone: BTreeMap<ObjectId, Fetched> = gone;
            gone.into_values().collect()
        };
        gone.iter().for_each(|copy| self.dropped(Some(copy)));
        gone
    }

    /// Keeps what an attempt at a task will read, until it does ([`Store::read_for_call`]) or has ended
    /// ([`Store::call_ended`]); `false` if not all of it is here.
    pub(crate) fn keep_for_call(&self, call: (TaskId, u32), objects: &[ObjectId]) -> bool {
        let mut kept = self.lock();
        if !objects.iter().all(|object| kept.value(object).is_some()) {
            return false;
        }
        let Kept { copies, calls, needed, .. } = &mut *kept;
        // What others own and this process keeps stays anyway.
        for object in objects.iter().filter(|object| copies.contains_key(object)) {
            calls.entry(call).or_default().push(*object);
            *needed.entry(*object).or_default() += 1;
        }
        self.count_calls(&kept);
        true
    }

    fn count_calls(&self, kept: &Kept) {
        self.calls.store(kept.calls.len() + kept.fetches.len(), Ordering::SeqCst);
    }

    /// The arguments of an attempt at a task begin to be fetched; what is returned is closed when that is for nothing:
    /// the attempt has ended ([`Store::call_ended`]), or is not to begin ([`Store::cancel_fetches`]).
    pub(crate) fn fetch_begins(&self, call: (TaskId, u32)) -> oneshot::Receiver<()> {
        let (tell, hear) = oneshot::channel();
        let mut kept = self.lock();
        kept.fetches.entry(call).or_default().push(tell);
        self.count_calls(&kept);
        hear
    }

    /// They are fetched, or not; `false` if it was for nothing.
    pub(crate) fn fetch_ends(&self, call: (TaskId, u32), mut hear: oneshot::Receiver<()>) -> bool {
        let mut kept = self.lock();
        let wanted = matches!(hear.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        drop(hear);
        if let Entry::Occupied(mut entry) = kept.fetches.entry(call) {
            entry.get_mut().retain(|tell| !tell.is_closed());
            if entry.get().is_empty() {
                entry.remove();
            }
        }
        self.count_calls(&kept);
        wanted
    }

    /// A task is not to begin whose arguments are fetched; `false` if those of none of that id are.
    pub(crate) fn cancel_fetches(&self, task: TaskId) -> bool {
        if self.calls.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let gone = {
            let mut kept = self.lock();
            let gone = kept.take_fetches(task, u32::MAX);
            self.count_calls(&kept);
            gone
        };
        !gone.is_empty()
    }

    /// What an attempt at a task reads, for which it was kept.
    pub(crate) fn read_for_call(&self, call: (TaskId, u32), object: &ObjectId, stored: &Stored) -> Option<Value> {
        {
            let mut kept = self.lock();
            if let Entry::Occupied(mut entry) = kept.calls.entry(call)
                && let Some(at) = entry.get().iter().position(|one| one == object)
            {
                entry.get_mut().swap_remove(at);
                if entry.get().is_empty() {
                    entry.remove();
                }
                kept.need_less(object);
            }
            self.count_calls(&kept);
        }
        self.get_with_refs(object, stored)
    }

    /// An attempt at a task has ended, and all before it: what they did not read need not stay for them, and what is not
    /// here need not come.
    pub(crate) fn call_ended(&self, (task, attempt): (TaskId, u32)) {
        // Of this and who keeps something in the same moment one sees the other: each writes, then reads, in the one order of
        // sequential consistency; the end of a task is written so too.
        if self.calls.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut kept = self.lock();
        while let Some(call) = kept.calls.range((task, 0)..=(task, attempt)).next().map(|(call, _)| *call) {
            for object in kept.calls.remove(&call).unwrap_or_default() {
                kept.need_less(&object);
            }
        }
        let over = kept.take_fetches(task, attempt);
        self.count_calls(&kept);
        drop(kept);
        drop(over);
    }

    /// A copy is kept no more.
    pub(crate) fn dropped(&self, copy: Option<&Fetched>) {
        if let Some(copy) = copy.filter(|copy| copy.counts) {
            self.discharge(copy.value.size());
        }
    }

    /// Counts a value that is no longer kept.
    pub(crate) fn discharge(&self, size: usize) {
        if size <= INLINE_LIMIT {
            return;
        }
        if let Some(shared) = self.shared.get() {
            return shared.give(size as u64);
        }
        let less = |used: u64| Some(used.saturating_sub(size as u64));
        // The closure never refuses.
        let _ = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// Keeps a primary copy of somebody else's object, which is counted already; and which worker process made it, if one did.
    pub(crate) fn insert(&self, object: ObjectId, value: Value, maker: Option<ProcessId>) {
        let before = self.lock().primary.insert(object, Primary { value, maker });
        if let Some(before) = before {
            self.discharge(before.value.size());
        }
    }

    /// The primary copies that a worker process made.
    pub(super) fn made_by(&self, maker: ProcessId) -> Vec<ObjectId> {
        let kept = self.lock();
        kept.primary.iter().filter(|(_, one)| one.maker == Some(maker)).map(|(object, _)| *object).collect()
    }

    /// Lets a primary copy go, if it is still the one that a worker process made.
    pub(super) fn remove_made(&self, object: &ObjectId, maker: ProcessId) {
        let gone = {
            let mut kept = self.lock();
            let is_theirs = kept.primary.get(object).is_some_and(|one| one.maker == Some(maker));
            is_theirs.then(|| kept.primary.remove(object)).flatten()
        };
        if let Some(gone) = gone {
            self.discharge(gone.value.size());
        }
    }

    pub(crate) fn offer(&self, object: ObjectId, value: Value) {
        self.lock().offered.insert(object, value);
    }

    pub(crate) fn withdraw(&self, object: &ObjectId) {
        let gone = self.lock().offered.remove(object);
        drop(gone);
    }

    pub(crate) fn has(&self, object: &ObjectId) -> bool {
        let kept = self.lock();
        kept.primary.contains_key(object) || kept.copies.contains_key(object)
    }

    /// How an object is on its way here, if it is.
    pub(crate) fn is_coming(&self, object: &ObjectId) -> Option<Coming> {
        self.lock().fetching.get(object).map(|fetching| fetching.coming)
    }

    pub(crate) fn get(&self, object: &ObjectId) -> Option<Value> {
        let kept = self.lock();
        kept.value(object).or_else(|| kept.offered.get(object)).cloned()
    }

    /// As [`Store::get`]; and whether it stays as long as the object lives.
    pub(super) fn get_primary_or_copy(&self, object: &ObjectId) -> Option<(Value, bool)> {
        let kept = self.lock();
        if let Some(primary) = kept.primary.get(object) {
            return Some((primary.value.clone(), true));
        }
        let passing = kept.value(object).or_else(|| kept.offered.get(object));
        passing.map(|value| (value.clone(), false))
    }

    /// As [`Store::get`], for a reader: bytes that were fetched come without the refs that their owner handed over.
    pub(crate) fn get_with_refs(&self, object: &ObjectId, stored: &Stored) -> Option<Value> {
        self.get(object).map(|value| with_refs(value, stored))
    }

    /// The object was freed by its owner.
    pub(crate) fn remove(&self, object: &ObjectId) {
        let (primary, copy) = {
            let mut kept = self.lock();
            (kept.primary.remove(object), kept.copies.remove(object))
        };
        if let Some(primary) = primary {
            self.discharge(primary.value.size());
        }
        self.dropped(copy.as_ref());
    }

    /// A fetched copy is needed no more.
    pub(crate) fn drop_copy(&self, object: &ObjectId) {
        self.dropped(self.take_copy(object).as_ref());
    }

    /// As [`Store::drop_copy`], for somebody who holds a lock: what it gives is to be [dropped](Store::dropped) outside.
    pub(crate) fn take_copy(&self, object: &ObjectId) -> Option<Fetched> {
        self.lock().copies.remove(object)
    }

    /// Every object kept here, copies included.
    pub(crate) fn all_objects(&self) -> Vec<ObjectId> {
        let kept = self.lock();
        kept.primary.keys().chain(kept.copies.keys()).copied().collect()
    }

    /// Lets go of what owners made that are gone: nobody can ask for it.
    pub(crate) fn drop_owned(&self, owners: &RangeInclusive<OwnerId>) {
        let (primary, copies) = {
            let mut kept = self.lock();
            // They lie together.
            let theirs = ObjectId::of(owners);
            let primary: Vec<ObjectId> = kept.primary.range(theirs.clone()).map(|(id, _)| *id).collect();
            let copies: Vec<ObjectId> = kept.copies.range(theirs).map(|(id, _)| *id).collect();
            let primary: Vec<Primary> = primary.iter().filter_map(|id| kept.primary.remove(id)).collect();
            let copies: Vec<Fetched> = copies.iter().filter_map(|id| kept.copies.remove(id)).collect();
            (primary, copies)
        };
        for primary in primary {
            self.discharge(primary.value.size());
        }
        for copy in copies {
            self.dropped(Some(&copy));
        }
    }

    /// Loses every object kept for others, as a crash of the node would.
    pub(crate) fn lose_all(&self) {
        let (primary, copies) = {
            let mut kept = self.lock();
            (std::mem::take(&mut kept.primary), std::mem::take(&mut kept.copies))
        };
        for primary in primary.into_values() {
            self.discharge(primary.value.size());
        }
        for copy in copies.into_values() {
            self.dropped(Some(&copy));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use actinic_transport::{ClusterId, NodeId};
    use uuid::Uuid;

    use super::*;
    use crate::ids::OwnerId;
    use crate::value::{Blob, Extras};

    const SIZE: usize = 600_000;

    #[test]
    fn a_copy_stays_for_a_task_until_it_has_read_it_or_ended() {
        let process = ProcessId {
            cluster: ClusterId(Uuid::from_u128(1)),
            node: NodeId(Uuid::from_u128(2)),
            incarnation: Uuid::from_u128(3),
        };
        let task = |seq| TaskId { owner: OwnerId { process, number: 0 }, seq };
        let object = ObjectId { task: task(1), index: 0 };
        let stored = Stored { size: SIZE as u64, at: Vec::new(), refs: Vec::new() };
        let store = Store::new(1_000_000);
        assert!(!store.keep_for_call((task(2), 1), &[object]), "it is not here");
        for ends in [false, true] {
            store.charge(SIZE).unwrap();
            store.lock().add_copy(object, Value::new(Blob::copy_of(&[0; SIZE]), Extras::default()), true);
            // One that needs it twice, and one that needs it once.
            assert!(
                store.keep_for_call((task(2), 1), &[object, object]) && store.keep_for_call((task(3), 0), &[object])
            );
            assert!(store.read_for_call((task(2), 1), &object, &stored).is_some());
            assert!(store.read_for_call((task(3), 0), &object, &stored).is_some());
            assert!(store.charge(SIZE).is_err(), "it is to be read once more");
            if ends {
                store.call_ended((task(2), 1));
            } else {
                assert!(store.read_for_call((task(2), 1), &object, &stored).is_some());
            }
            store.charge(SIZE).unwrap();
            assert!(!store.has(&object) && store.lock().calls.is_empty());
            store.discharge(SIZE);
        }
        // A copy may go and come again while the task that it stayed for has not ended.
        store.lock().add_copy(object, Value::default(), true);
        assert!(store.keep_for_call((task(2), 1), &[object]));
        store.drop_copy(&object);
        store.charge(SIZE).unwrap();
        store.lock().add_copy(object, Value::new(Blob::copy_of(&[0; SIZE]), Extras::default()), true);
        assert!(store.keep_for_call((task(3), 0), &[object]));
        assert!(store.keep_for_call((task(3), 1), &[object]));
        store.call_ended((task(2), 1));
        store.call_ended((task(3), 0));
        assert!(store.charge(SIZE).is_err(), "the next attempt at the other still needs it");
        store.call_ended((task(3), 1));
        store.charge(SIZE).unwrap();
        store.discharge(SIZE);
        assert!(!store.has(&object) && store.lock().needed.is_empty());
        assert_eq!(store.mine(), 0);
    }
}
