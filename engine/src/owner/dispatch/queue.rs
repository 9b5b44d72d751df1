//! The tasks of one key that may run and have no worker: in their order, and before them those that running code waits for.

use std::collections::VecDeque;

use super::Unit;

/// See the module.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// What code that has a worker waits for, in the order in which that was known.
    awaited: VecDeque<T>,
    others: VecDeque<T>,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { awaited: VecDeque::new(), others: VecDeque::new() }
    }
}

impl<T: Unit> Queue<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.awaited.is_empty() && self.others.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.awaited.len() + self.others.len()
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.awaited.front().or_else(|| self.others.front())
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        self.awaited.pop_front().or_else(|| self.others.pop_front())
    }

    /// One that is ready.
    pub(super) fn push_back(&mut self, task: T) {
        self.part(&task).push_back(task);
    }

    /// One that was taken out and has not begun.
    pub(super) fn push_front(&mut self, task: T) {
        self.part(&task).push_front(task);
    }

    fn part(&mut self, task: &T) -> &mut VecDeque<T> {
        if task.is_awaited() { &mut self.awaited } else { &mut self.others }
    }

    /// Running code waits for a task, which says so itself from now on.
    pub(super) fn hasten(&mut self, seq: u64) {
        if let Some(task) = likely_place(&self.others, seq).and_then(|at| self.others.remove(at)) {
            self.awaited.push_back(task);
        }
    }

    /// Takes a task out, if it stands where it is found at once.
    pub(super) fn remove_likely(&mut self, seq: u64) -> Option<T> {
        let at = likely_place(&self.others, seq)?;
        self.others.remove(at)
    }

    /// Takes a task out, wherever it stands.
    pub(super) fn remove(&mut self, seq: u64) -> Option<T> {
        [&mut self.awaited, &mut self.others].into_iter().find_map(|part| {
            let at = part.iter().position(|task| task.seq() == seq)?;
            part.remove(at)
        })
    }

    /// Whether a task is known to wait here; one that stands out of turn may not be found.
    pub(super) fn has_likely(&self, seq: u64) -> bool {
        likely_place(&self.others, seq).is_some()
    }

    pub(super) fn drain(&mut self) -> Vec<T> {
        self.awaited.drain(..).chain(self.others.drain(..)).collect()
    }
}

/// Where a task stands in a queue, if that is where it would stand by its number: most are ready in the order in which they
/// were submitted.
fn likely_place<T: Unit>(queue: &VecDeque<T>, seq: u64) -> Option<usize> {
    queue.binary_search_by_key(&seq, Unit::seq).ok()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[derive(Clone, Debug)]
    struct Work(u64, Rc<Cell<bool>>);

    impl Unit for Work {
        fn seq(&self) -> u64 {
            self.0
        }
        fn function(&self) -> usize {
            0
        }
        fn bytes(&self) -> u32 {
            0
        }
        fn is_awaited(&self) -> bool {
            self.1.get()
        }
    }

    #[test]
    fn what_is_awaited_comes_first() {
        let all: Vec<Work> = (0..8).map(|seq| Work(seq, Rc::default())).collect();
        let mut queue = Queue::default();
        all[1..7].iter().for_each(|work| queue.push_back(work.clone()));
        for seq in [4, 2, 7] {
            all[seq].1.set(true);
            queue.hasten(seq as u64);
        }
        // One that was not ready then, and one that was lent and comes back.
        queue.push_back(all[7].clone());
        queue.push_front(all[0].clone());
        assert_eq!(queue.len(), 8);
        assert!(queue.has_likely(3) && queue.remove(4).is_some() && queue.remove_likely(6).is_some());
        assert_eq!(queue.front().map(Unit::seq), Some(2));
        let order: Vec<u64> = std::iter::from_fn(|| queue.pop_front()).map(|work| work.seq()).collect();
        assert_eq!(order, [2, 7, 0, 1, 3, 5]);
        assert!(queue.is_empty());
    }
}
