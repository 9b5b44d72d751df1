//! The tasks of one key that may run and have no worker, in the order of their places: those in which they were submitted; one
//! that is tried again has a place behind all that were submitted before it failed.
//!
//! Not in the order in which they became ready: what a task waits for in its code was submitted before it, and may have become
//! ready after it. Those that wait would take all workers, and what they wait for stand behind them.

use std::collections::{BTreeMap, VecDeque};

use super::Unit;

/// See the module.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// Nearly all come behind those that are there, or before them.
    most: VecDeque<T>,
    /// The others, which would have to be put between those.
    between: BTreeMap<u64, T>,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { most: VecDeque::new(), between: BTreeMap::new() }
    }
}

impl<T: Unit> Queue<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.most.is_empty() && self.between.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.most.len() + self.between.len()
    }

    /// Whether the first is one of those between.
    fn is_between_first(&self) -> bool {
        let Some((between, _)) = self.between.first_key_value() else { return false };
        self.most.front().is_none_or(|most| *between < most.place())
    }

    pub(super) fn front(&self) -> Option<&T> {
        if self.is_between_first() { self.between.values().next() } else { self.most.front() }
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        if self.is_between_first() { self.between.pop_first().map(|(_, task)| task) } else { self.most.pop_front() }
    }

    pub(super) fn push(&mut self, task: T) {
        let place = task.place();
        if self.most.back().is_none_or(|last| last.place() < place) {
            self.most.push_back(task);
        } else if self.most.front().is_some_and(|first| place < first.place()) {
            self.most.push_front(task);
        } else {
            self.between.insert(place, task);
        }
    }

    fn find(&self, place: u64) -> Option<usize> {
        self.most.binary_search_by_key(&place, Unit::place).ok()
    }

    pub(super) fn has(&self, place: u64) -> bool {
        self.find(place).is_some() || self.between.contains_key(&place)
    }

    pub(super) fn remove(&mut self, place: u64) -> Option<T> {
        match self.find(place) {
            Some(at) => self.most.remove(at),
            None => self.between.remove(&place),
        }
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Unit for u64 {
        fn seq(&self) -> u64 {
            *self
        }
        fn place(&self) -> u64 {
            *self
        }
        fn function(&self) -> usize {
            0
        }
        fn bytes(&self) -> u32 {
            0
        }
    }

    #[test]
    fn what_was_submitted_first_comes_first() {
        let mut queue = Queue::default();
        [3, 5, 8, 1, 4, 0, 9, 6].into_iter().for_each(|seq| queue.push(seq));
        assert!(queue.has(4) && !queue.has(2) && queue.remove(2).is_none());
        assert_eq!((queue.remove(4), queue.len(), queue.front()), (Some(4), 7, Some(&0)));
        assert_eq!(queue.pop_front(), Some(0));
        queue.push(7);
        assert_eq!((queue.remove(7), queue.remove(7)), (Some(7), None));
        assert!(queue.drain().eq([1, 3, 5, 6, 8, 9]));
        assert!(queue.is_empty());
    }
}
