//! Whether a ref is given twice, in a few nanoseconds a ref: loops that take one ref at a time ask it of all that is left,
//! again and again.

use std::cell::Cell;
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
    // Nothing of the user's runs meanwhile; whoever finds it taken makes another.
    let mut seen = SEEN.take();
    seen.begin(refs.len());
    let mut others = BTreeSet::new();
    let twice = refs.find(|one| match one.target() {
        Target::Owned(task, 0) => !seen.insert(Arc::as_ptr(task) as usize),
        _ => !others.insert(one.id()),
    });
    if seen.slots.len() <= KEPT {
        SEEN.set(seen);
    }
    twice
}

thread_local! {
    static SEEN: Cell<Seen> = const { Cell::new(Seen { slots: Vec::new(), shift: 0, turn: 0 }) };
}

/// A table of at most so many slots is kept for the next time.
const KEPT: usize = 1 << 14;

/// A set of tasks by where they are, which does not change while there is a ref to them. By open addressing. A slot says in
/// which turn it was filled, so that a table that is used again need not be cleared.
#[derive(Default)]
struct Seen {
    /// The turn in the lowest bits, which an address has none in; 0 is empty for ever.
    slots: Vec<u64>,
    shift: u32,
    turn: u64,
}

/// Addresses have 48 bits at most on the machines that there are, and so the lowest 16 of a slot are the turn's.
const TURN_BITS: u32 = 16;
const TURNS: u64 = 1 << TURN_BITS;

impl Seen {
    /// Empties it, for so many at most.
    fn begin(&mut self, count: usize) {
        let size = (count * 2).next_power_of_two();
        self.turn += 1;
        if self.slots.len() < size || self.turn == TURNS {
            self.slots.clear();
            self.slots.resize(size.max(self.slots.capacity().min(KEPT)).next_power_of_two(), 0);
            self.turn = 1;
        }
        // A small list uses a small part, which stays in the nearest cache.
        self.shift = u64::BITS - size.trailing_zeros();
    }

    /// `false` if it is there already.
    fn insert(&mut self, task: usize) -> bool {
        let entry = (task as u64) << TURN_BITS | self.turn;
        // Fibonacci hashing: Knuth, The Art of Computer Programming, volume 3, section 6.4.
        let mut at = ((task as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize;
        let mask = (1 << (u64::BITS - self.shift)) - 1;
        loop {
            match self.slots[at] {
                known if known == entry => return false,
                known if known % TURNS != self.turn => {
                    self.slots[at] = entry;
                    return true;
                }
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
        let mut seen = Seen::default();
        for (turn, count) in [10_000, 9, 5_000, 20_000, 10, 10_000].into_iter().enumerate() {
            seen.begin(count);
            for task in 1..=count {
                assert!(seen.insert(task * 320 + turn * 16), "{turn}");
            }
            assert!(!seen.insert(320 + turn * 16) && !seen.insert(count * 320 + turn * 16), "{turn}");
        }
    }

    #[test]
    fn a_table_is_used_very_often() {
        let mut seen = Seen::default();
        for turn in 0..3 * TURNS as usize {
            seen.begin(9);
            for task in 0..9 {
                assert!(seen.insert(0x7f00_0000_0000 + ((turn + task) % 16) * 320), "{turn}");
            }
            assert!(!seen.insert(0x7f00_0000_0000 + (turn % 16) * 320), "{turn}");
        }
    }
}
