//! A set that forgets what came first, so that a long life does not fill it.

use std::collections::{BTreeSet, VecDeque};

/// What was put in lately: who puts something in says how many are remembered.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    known: BTreeSet<T>,
    order: VecDeque<T>,
}

impl<T> Default for Recent<T> {
    fn default() -> Recent<T> {
        Recent { known: BTreeSet::new(), order: VecDeque::new() }
    }
}

impl<T: Copy + Ord> Recent<T> {
    /// `false` if it is remembered. Beyond so many the oldest is forgotten.
    pub(crate) fn insert(&mut self, one: T, most: usize) -> bool {
        if !self.known.insert(one) {
            return false;
        }
        self.order.push_back(one);
        if self.order.len() > most
            && let Some(first) = self.order.pop_front()
        {
            self.known.remove(&first);
        }
        true
    }

    /// What is remembered, the latest first.
    pub(crate) fn latest(&self) -> impl Iterator<Item = T> + '_ {
        self.order.iter().rev().copied()
    }

    pub(crate) fn contains(&self, one: &T) -> bool {
        !self.known.is_empty() && self.known.contains(one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_forgotten() {
        let mut recent = Recent::default();
        assert!((0..1000).all(|one| recent.insert(one, 100)));
        assert!(!recent.insert(999, 100), "it is remembered");
        assert_eq!((recent.known.len(), recent.order.len()), (100, 100));
        assert!(recent.contains(&900) && !recent.contains(&899));
    }
}
