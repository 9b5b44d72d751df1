//! The tasks of one key that may run and have no worker, in the order in which they were submitted.
//!
//! Not in the order in which they became ready: what a task waits for in its code was submitted before it, and may have become
//! ready after it. Those that wait would take all workers, and what they wait for stand behind them.

use std::collections::VecDeque;

use super::Unit;

/// See the module.
#[derive(Debug)]
pub(super) struct Queue<T>(VecDeque<T>);

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue(VecDeque::new())
    }
}

impl<T: Unit> Queue<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.0.front()
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        self.0.pop_front()
    }

    /// Puts a task where its number is: mostly behind all others; what comes back from a worker, mostly before them.
    pub(super) fn push(&mut self, task: T) {
        let seq = task.seq();
        if self.0.back().is_none_or(|last| last.seq() < seq) {
            self.0.push_back(task);
        } else {
            self.0.insert(self.0.partition_point(|other| other.seq() < seq), task);
        }
    }

    fn find(&self, seq: u64) -> Option<usize> {
        self.0.binary_search_by_key(&seq, Unit::seq).ok()
    }

    pub(super) fn has(&self, seq: u64) -> bool {
        self.find(seq).is_some()
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<T> {
        let at = self.find(seq)?;
        self.0.remove(at)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.0.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Unit for u64 {
        fn seq(&self) -> u64 {
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
        [3, 5, 8, 1, 4, 0, 9].into_iter().for_each(|seq| queue.push(seq));
        assert!(queue.has(4) && !queue.has(2) && queue.remove(2).is_none());
        assert_eq!((queue.remove(4), queue.len(), queue.front()), (Some(4), 6, Some(&0)));
        assert_eq!(queue.pop_front(), Some(0));
        assert!(queue.drain().eq([1, 3, 5, 8, 9]));
        assert!(queue.is_empty());
    }
}
