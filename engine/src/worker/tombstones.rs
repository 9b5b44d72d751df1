//! Cancellations and kills that came before what they end: the urgent lane passes the ordered one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many are kept: as many as calls may be in flight from one process (`actor/credit.rs`), which may all be cancelled while
/// they are. Most are of what had ended already, and nobody asks for those.
const KEPT_MAX: usize = 8192;

/// The tasks and calls, or runs of actors, that must not begin when they come.
#[derive(Debug)]
pub(crate) struct Tombstones<Id> {
    /// How many there are: most processes never have one.
    count: AtomicUsize,
    stones: Mutex<Stones<Id>>,
}

/// Each with the turn in which it was left last.
#[derive(Debug)]
struct Stones<Id> {
    ids: BTreeMap<Id, u64>,
    order: BTreeMap<u64, Id>,
    turn: u64,
}

impl<Id> Default for Tombstones<Id> {
    fn default() -> Self {
        let stones = Stones { ids: BTreeMap::new(), order: BTreeMap::new(), turn: 0 };
        Tombstones { count: AtomicUsize::new(0), stones: Mutex::new(stones) }
    }
}

impl<Id: Copy + Ord> Tombstones<Id> {
    fn lock(&self) -> MutexGuard<'_, Stones<Id>> {
        // Plain data under the lock.
        self.stones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has this id must not begin.
    pub(crate) fn leave(&self, id: Id) {
        let mut stones = self.lock();
        stones.turn += 1;
        let turn = stones.turn;
        if let Some(before) = stones.ids.insert(id, turn) {
            stones.order.remove(&before);
        }
        stones.order.insert(turn, id);
        if stones.order.len() > KEPT_MAX
            && let Some((_, oldest)) = stones.order.pop_first()
        {
            stones.ids.remove(&oldest);
        }
        self.count.store(stones.ids.len(), Ordering::Release);
    }

    /// Whether what has come must not begin.
    pub(crate) fn take(&self, id: Id) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut stones = self.lock();
        let turn = stones.ids.remove(&id);
        if let Some(turn) = &turn {
            stones.order.remove(turn);
        }
        self.count.store(stones.ids.len(), Ordering::Release);
        turn.is_some()
    }
}

#[cfg(test)]
impl<Id: Copy + Ord> Tombstones<Id> {
    pub(crate) fn has(&self, id: Id) -> bool {
        self.lock().ids.contains_key(&id)
    }
}

#[cfg(test)]
mod tests {
    use actinic_transport::{ClusterId, NodeId, ProcessId};
    use uuid::Uuid;

    use super::*;
    use crate::ids::{OwnerId, TaskId};

    #[test]
    fn a_tombstone_serves_once_and_the_oldest_make_room() {
        let process =
            ProcessId { cluster: ClusterId(Uuid::nil()), node: NodeId(Uuid::nil()), incarnation: Uuid::nil() };
        let id = |seq| TaskId { owner: OwnerId { process, number: 0 }, seq };
        let stones = Tombstones::default();
        assert!(!stones.take(id(1)));
        stones.leave(id(1));
        assert!(stones.take(id(1)) && !stones.take(id(1)));
        for seq in 0..=KEPT_MAX as u64 {
            stones.leave(id(seq));
        }
        assert!(!stones.take(id(0)) && stones.take(id(1)) && stones.take(id(KEPT_MAX as u64)));
        // One that was taken and left again is as young as it was left last.
        stones.leave(id(2));
        (0..KEPT_MAX as u64 - 1).for_each(|seq| stones.leave(id(100_000 + seq)));
        assert!(stones.take(id(2)) && !stones.take(id(3)));
    }
}
