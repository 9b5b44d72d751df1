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
    let mut others = BTreeSet::new();
    // Nothing of the user's runs meanwhile; whoever finds them taken makes others.
    let Tables { mut near, mut far } = TABLES.take();
    let count = refs.len();
    let twice = if near.begin(refs.clone().filter_map(address), count) {
        refs.find(|one| match address(one) {
            Some(task) => !near.insert(task),
            None => !others.insert(one.id()),
        })
    } else {
        far.begin(count);
        refs.find(|one| match address(one) {
            Some(task) => !far.insert(task),
            None => !others.insert(one.id()),
        })
    };
    if near.words.len() <= KEPT && far.slots.len() <= KEPT {
        TABLES.set(Tables { near, far });
    }
    twice
}

/// Where the task is of a first return, which does not change while there is a ref to it.
fn address(one: &RawRef) -> Option<usize> {
    match one.target() {
        Target::Owned(task, 0) => Some(Arc::as_ptr(task) as usize),
        _ => None,
    }
}

#[derive(Default)]
struct Tables {
    near: Near,
    far: Far,
}

thread_local! {
    static TABLES: Cell<Tables> = const {
        Cell::new(Tables {
            near: Near { words: Vec::new(), low: 0 },
            far: Far { slots: Vec::new(), shift: 0, turn: 0 },
        })
    };
}

/// Tables of at most so many words are kept for the next time.
const KEPT: usize = 1 << 14;

/// A set of tasks that lie near each other, as those do that were submitted together: a bit for each place where one may
/// begin.
#[derive(Default)]
struct Near {
    words: Vec<u64>,
    low: usize,
}

impl Near {
    /// Empties it; `false` if these lie too far apart.
    fn begin(&mut self, tasks: impl Iterator<Item = usize>, count: usize) -> bool {
        let (low, high) = tasks.fold((usize::MAX, 0), |(low, high), task| (low.min(task), high.max(task)));
        let words = high.saturating_sub(low) / PLACE / 64 + 1;
        if words > 2 * count {
            return false;
        }
        self.low = low;
        self.words.clear();
        self.words.resize(words, 0);
        true
    }

    /// `false` if it is there already.
    fn insert(&mut self, task: usize) -> bool {
        let place = (task - self.low) / PLACE;
        let (word, bit) = (&mut self.words[place / 64], 1 << (place % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

/// Two tasks do not begin within so many bytes.
const PLACE: usize = size_of::<usize>();

/// A set of any tasks, by open addressing. A slot says in which turn it was filled, so that a table that is used again need
/// not be cleared.
#[derive(Default)]
struct Far {
    /// The turn in the lowest bits, above it the address; 0 is empty for ever.
    slots: Vec<u64>,
    shift: u32,
    turn: u64,
}

/// Addresses have 48 bits at most on the machines that there are, and so the lowest 16 of a slot are the turn's.
const TURN_BITS: u32 = 16;
const TURNS: u64 = 1 << TURN_BITS;

impl Far {
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
        let mut seen = Far::default();
        for (turn, count) in [10_000, 9, 5_000, 20_000, 10, 10_000].into_iter().enumerate() {
            seen.begin(count);
            for task in 1..=count {
                assert!(seen.insert(task * 320 + turn * 16), "{turn}");
            }
            assert!(!seen.insert(320 + turn * 16) && !seen.insert(count * 320 + turn * 16), "{turn}");
        }
    }

    #[test]
    fn what_lies_near_and_is_inserted_twice_is_found() {
        let mut seen = Near::default();
        let tasks = |count: usize| (1..=count).map(|task| 0x7f00_0000_0000 + task * 304);
        for count in [1_000, 9, 5_000] {
            assert!(seen.begin(tasks(count), count));
            assert!(tasks(count).all(|task| seen.insert(task)));
            assert!(tasks(count).all(|task| !seen.insert(task)));
        }
        assert!(!seen.begin([16, 1 << 40].into_iter(), 2));
        assert!(seen.begin(std::iter::empty(), 9));
    }

    #[test]
    fn a_table_is_used_very_often() {
        let mut seen = Far::default();
        for turn in 0..3 * TURNS as usize {
            seen.begin(9);
            for task in 0..9 {
                assert!(seen.insert(0x7f00_0000_0000 + ((turn + task) % 16) * 320), "{turn}");
            }
            assert!(!seen.insert(0x7f00_0000_0000 + (turn % 16) * 320), "{turn}");
        }
    }
}
