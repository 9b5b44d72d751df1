//! Cancellations and kills that came before what they end: the urgent lane passes the ordered one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// So many are kept. Most are of what had ended already, and nobody asks for those.
const KEPT_MAX: usize = 1024;

/// The tasks and calls, or runs of actors, that must not begin when they come.
#[derive(Debug)]
pub(crate) struct Tombstones<Id> {
    /// How many there are: most processes never have one.
    count: AtomicUsize,
    ids: Mutex<VecDeque<Id>>,
}

impl<Id> Default for Tombstones<Id> {
    fn default() -> Self {
        Tombstones { count: AtomicUsize::new(0), ids: Mutex::default() }
    }
}

impl<Id: Copy + PartialEq> Tombstones<Id> {
    /// What has this id must not begin.
    pub(crate) fn leave(&self, id: Id) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() == KEPT_MAX {
            ids.pop_front();
        }
        ids.push_back(id);
        self.count.store(ids.len(), Ordering::Release);
    }

    /// Whether what has come must not begin.
    pub(crate) fn take(&self, id: Id) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let found = ids.iter().position(|other| *other == id);
        if let Some(at) = found {
            ids.remove(at);
            self.count.store(ids.len(), Ordering::Release);
        }
        found.is_some()
    }
}

#[cfg(test)]
impl<Id: PartialEq> Tombstones<Id> {
    pub(crate) fn has(&self, id: Id) -> bool {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
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
    }
}
