//! A set that forgets what came first, so that a long life does not fill it.

use std::collections::{BTreeSet, VecDeque};

/// So many are remembered.
const REMEMBERED: usize = 4096;

/// What was put in lately.
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
    /// `false` if it is remembered.
    pub(crate) fn insert(&mut self, one: T) -> bool {
        if !self.known.insert(one) {
            return false;
        }
        self.order.push_back(one);
        if self.order.len() > REMEMBERED
            && let Some(first) = self.order.pop_front()
        {
            self.known.remove(&first);
        }
        true
    }

    pub(crate) fn contains(&self, one: &T) -> bool {
        self.known.contains(one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_forgotten() {
        let mut recent = Recent::default();
        assert!((0..10 * REMEMBERED).all(|one| recent.insert(one)));
        assert!(!recent.insert(10 * REMEMBERED - 1), "it is remembered");
        assert_eq!((recent.known.len(), recent.order.len()), (REMEMBERED, REMEMBERED));
        assert!(recent.contains(&(9 * REMEMBERED)) && !recent.contains(&(9 * REMEMBERED - 1)));
    }
}
