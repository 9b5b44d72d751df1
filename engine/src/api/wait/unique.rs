//! Whether a ref is given twice, in a nanosecond a ref or less: loops that take one ref at a time ask it of all that is
//! left, again and again.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api::object_ref::Ref;
use crate::object::{Mark, RawRef, Target};
use crate::task::Task;

/// Up to so many refs are compared each with each.
const FEW: usize = 8;

/// A ref that is given twice, if one is.
pub(super) fn first_twice<R: Ref>(list: &[R]) -> Option<&RawRef> {
    let mut refs = list.iter().map(raw);
    if list.len() <= FEW {
        let mut rest = refs.clone();
        return refs.find(|one| {
            rest.next();
            rest.clone().any(|other| other == *one)
        });
    }
    // Refs are most often given in the order in which their tasks were submitted.
    if rise(list, |one| raw(one).mark()) { None } else { twice_in_any_order(refs) }
}

fn raw<R: Ref>(one: &R) -> &RawRef {
    one.raw_ref().0
}

/// Whether each mark is above the one before. After the highest they may begin again at the bottom, as those of successive
/// tasks do, and end below the first: none is there twice then.
fn rise<T>(list: &[T], mark: impl Fn(&T) -> Mark) -> bool {
    let [first, rest @ ..] = list else { return true };
    let (mut last, mut falls) = (mark(first), 0);
    // In parts: the loop over one has nothing else in it, and of a list in another order only the first is looked at.
    for part in rest.chunks(64) {
        for one in part {
            let next = mark(one);
            falls += usize::from(next <= last);
            last = next;
        }
        if falls > 1 {
            return false;
        }
    }
    falls == 0 || last < mark(first)
}

fn twice_in_any_order<'a>(refs: impl ExactSizeIterator<Item = &'a RawRef> + Clone) -> Option<&'a RawRef> {
    // Nothing of the user's runs meanwhile; whoever finds them taken makes others.
    let Tables { mut near, mut far } = TABLES.take();
    let count = refs.len();
    let mut marks = near.begin(refs.clone().find_map(address).unwrap_or_default(), count);
    // The most by far are near: the loop for them has nothing else in it.
    let mut all_near = true;
    let mut twice = refs.clone().find(|one| match address(one).and_then(|task| marks.insert(task)) {
        Some(new) => !new,
        None => {
            all_near = false;
            false
        }
    });
    if twice.is_none() && !all_near {
        let mut others = BTreeSet::new();
        far.begin(count);
        twice = refs.into_iter().find(|one| match address(one) {
            None => !others.insert(one.id()),
            Some(task) => !marks.covers(task) && !far.insert(task),
        });
    }
    if near.marks.len() <= 8 * KEPT && far.slots.len() <= KEPT {
        TABLES.set(Tables { near, far });
    }
    twice
}

/// Where the task is of a first return, which does not change while there is a ref to it.
fn address(one: &RawRef) -> Option<usize> {
    match one.target() {
        Target::Owned(task, 0, _) => Some(Arc::as_ptr(task) as usize),
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
            near: Near { marks: Vec::new(), turn: 0 },
            far: Far { slots: Vec::new(), shift: 0, turn: 0 },
        })
    };
}

/// Tables of at most so many words are kept for the next time.
const KEPT: usize = 1 << 14;

/// A set of tasks that lie near each other, as those do that were submitted together: a mark for each place where one may
/// begin. A mark is the turn in which it was made, so that the table need not be cleared for the next.
#[derive(Default)]
struct Near {
    marks: Vec<u8>,
    turn: u8,
}

impl Near {
    /// Empties it, for tasks around this one.
    fn begin(&mut self, task: usize, count: usize) -> Marks<'_> {
        if self.marks.len() < count * PLACES || self.turn == u8::MAX {
            let size = self.marks.len().max(count * PLACES);
            self.marks.clear();
            self.marks.resize(size, 0);
            self.turn = 0;
        }
        self.turn += 1;
        let low = task.wrapping_sub(self.marks.len() / 2 * PLACE);
        Marks { marks: &mut self.marks, turn: self.turn, low }
    }
}

/// The set, in the turn that it is in.
struct Marks<'a> {
    marks: &'a mut [u8],
    turn: u8,
    /// Where the first place begins.
    low: usize,
}

impl Marks<'_> {
    /// `false` if it is there already; `None` if it lies far from the others.
    #[inline]
    fn insert(&mut self, task: usize) -> Option<bool> {
        let mark = self.marks.get_mut(task.wrapping_sub(self.low) / PLACE)?;
        let new = *mark != self.turn;
        *mark = self.turn;
        Some(new)
    }

    fn covers(&self, task: usize) -> bool {
        task.wrapping_sub(self.low) / PLACE < self.marks.len()
    }
}

/// Two tasks do not begin within so many bytes: a power of two, which divides quickly.
const PLACE: usize = 1 << size_of::<Task>().ilog2();
/// There are so many places for each task.
const PLACES: usize = 16;

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
    fn marks_that_rise_are_each_there_once() {
        let rising: Vec<Vec<Mark>> = vec![
            vec![],
            vec![7],
            (0..1_000).collect(),
            (0..Mark::MAX).step_by(7).collect(),
            (0..=Mark::MAX).collect(),
            // Over the end, up to below the first.
            (65_000..=Mark::MAX).chain(0..500).collect(),
            (65_000..=Mark::MAX).chain(0..65_000).collect(),
            vec![2, 1],
        ];
        for marks in rising {
            assert!(rise(&marks, |mark| *mark), "{marks:?}");
        }
    }

    #[test]
    fn marks_that_may_be_there_twice_do_not_rise() {
        let mut tried = 0;
        for begin in [0, 1, 65_530, Mark::MAX] {
            // A list of successive tasks, with one more that is among them already: anywhere.
            let list: Vec<Mark> = (0..20).map(|index: Mark| begin.wrapping_add(index)).collect();
            for (twice, at) in (0..20).flat_map(|twice| (0..=20).map(move |at| (twice, at))) {
                let mut list = list.clone();
                list.insert(at, list[twice]);
                assert!(!rise(&list, |mark| *mark), "{list:?}");
                tried += 1;
            }
        }
        assert_eq!(tried, 4 * 20 * 21);
        assert!(!rise(&[1, 2, 3, 1, 2, 3], |mark| *mark));
        // None is there twice, which this does not see.
        assert!(!rise(&[3, 2, 1], |mark| *mark));
    }

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
        let tasks = |count: usize| (0..count).map(|task| 0x7f00_0000_0000 + task * (PLACE + 16));
        for count in [1_000, 9, 5_000].into_iter().cycle().take(1_000) {
            let mut marks = seen.begin(tasks(count).next().unwrap_or_default(), count);
            assert!(tasks(count).all(|task| marks.insert(task) == Some(true)));
            assert!(tasks(count).all(|task| marks.insert(task) == Some(false) && marks.covers(task)));
            for far in [1 << 60, 1 << 20] {
                assert!(marks.insert(far).is_none() && !marks.covers(far));
            }
        }
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
