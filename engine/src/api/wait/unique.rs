//! Whether a ref is given twice, in a few nanoseconds a ref: loops that take one ref at a time ask it of all that is left,
//! again and again.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::object::{RawRef, Target};

/// Up to so many refs are compared each with each.
const FEW: usize = 8;

/// A ref that is given twice, if one is.
pub(super) fn first_twice<'a>(mut refs: impl ExactSizeIterator<Item = &'a RawRef> + Clone) -> Option<&'a RawRef> {
    if refs.len() <= FEW {
        let mut rest = refs.clone();
        return refs.find(|one| {
            rest.next();
            rest.clone().any(|other| other == *one)
        });
    }
    let mut seen = Seen::for_up_to(refs.len());
    let mut others = BTreeSet::new();
    refs.find(|one| match one.target() {
        Target::Owned(task, 0) => !seen.insert(Arc::as_ptr(task) as usize),
        _ => !others.insert(one.id()),
    })
}

/// A set of tasks by where they are, which does not change while there is a ref to them. By open addressing.
struct Seen {
    slots: Vec<usize>,
    shift: u32,
}

impl Seen {
    fn for_up_to(count: usize) -> Seen {
        let size = (count * 2).next_power_of_two();
        // No task is at address zero.
        Seen { slots: vec![0; size], shift: u64::BITS - size.trailing_zeros() }
    }

    /// `false` if it is there already.
    fn insert(&mut self, task: usize) -> bool {
        // Fibonacci hashing: Knuth, The Art of Computer Programming, volume 3, section 6.4.
        let mut at = ((task as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize;
        let mask = self.slots.len() - 1;
        loop {
            match self.slots[at] {
                0 => {
                    self.slots[at] = task;
                    return true;
                }
                other if other == task => return false,
                _ => at = (at + 1) & mask,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inserted_twice_is_found() {
        let mut seen = Seen::for_up_to(10_000);
        for task in 1..=10_000 {
            assert!(seen.insert(task * 320));
        }
        assert!(!seen.insert(320) && !seen.insert(3_200_000));
    }
}
