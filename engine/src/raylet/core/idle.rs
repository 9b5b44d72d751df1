//! The idle workers: which of them is used next, and which is asked next whether it may go.
//!
//! Every worker of a large burst becomes idle and is asked, answers and is stopped: none of that may cost more the more
//! others are idle. So they are kept in the order in which they are used and in the order in which they age, split where
//! the soft limit is, and those to be asked apart from those that were.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::messages::WorkerKind;
use crate::ids::{JobId, WorkerId};

/// Where a worker of this kind belongs.
pub(super) type Pen = (JobId, WorkerKind);

/// Since when a worker is idle; the least goes first.
pub(super) type Age = (Duration, WorkerId);

/// What decides whether an idle worker is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// It was asked, and has not answered.
    pub(super) asked: bool,
    /// Its job ended: it is asked however few are idle.
    pub(super) over: bool,
}

/// The idle of one pen, by when they came there: used last at the back.
#[derive(Clone, Debug, Default)]
struct Row {
    all: BTreeMap<u64, WorkerId>,
    /// Those that have run no task.
    unused: BTreeSet<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Idle {
    pens: BTreeMap<Pen, Row>,
    came: u64,
    /// So many stay.
    limit: usize,
    /// Those that have been idle longest, as many as there are above the limit.
    above: BTreeMap<Age, Mark>,
    /// The others; all of them came later.
    below: BTreeMap<Age, Mark>,
    /// Those to be asked.
    unasked: BTreeSet<Age>,
    /// Those that an ended job left, and that own nothing which outlives it.
    left: BTreeSet<(Pen, u64, WorkerId)>,
}

impl Idle {
    /// A worker came: its place in the pen.
    pub(super) fn add(&mut self, pen: Pen, age: Age, mark: Mark, used: bool) -> u64 {
        self.came += 1;
        let row = self.pens.entry(pen).or_default();
        row.all.insert(self.came, age.1);
        if !used {
            row.unused.insert(self.came);
        }
        self.grow_older(age, mark);
        self.came
    }

    pub(super) fn remove(&mut self, pen: Pen, place: u64, age: Age) {
        if let Some(row) = self.pens.get_mut(&pen) {
            row.all.remove(&place);
            row.unused.remove(&place);
            if row.all.is_empty() {
                // Jobs come and go.
                self.pens.remove(&pen);
            }
        }
        self.left.remove(&(pen, place, age.1));
        self.forget(age);
    }

    /// The one to be used next: used last, or, for what needs that, of those that have run no task.
    pub(super) fn next(&self, pen: Pen, unused: bool) -> Option<WorkerId> {
        let row = self.pens.get(&pen)?;
        if !unused {
            return row.all.last_key_value().map(|(_, id)| *id);
        }
        row.unused.last().and_then(|place| row.all.get(place)).copied()
    }

    pub(super) fn len(&self, pen: Pen) -> usize {
        self.pens.get(&pen).map_or(0, |row| row.all.len())
    }

    /// Whether there are some, and all have run tasks.
    pub(super) fn only_used(&self, pen: Pen) -> bool {
        self.pens.get(&pen).is_some_and(|row| row.unused.is_empty())
    }

    /// Those of a pen, used last at the back.
    pub(super) fn of(&self, pen: Pen) -> impl Iterator<Item = WorkerId> {
        self.pens.get(&pen).into_iter().flat_map(|row| row.all.values().copied())
    }

    /// Its job ended, and nothing that it made is asked for.
    pub(super) fn leave(&mut self, pen: Pen, place: u64, id: WorkerId) {
        self.left.insert((pen, place, id));
    }

    /// It may stay after all.
    pub(super) fn stay(&mut self, pen: Pen, place: u64, id: WorkerId) {
        self.left.remove(&(pen, place, id));
    }

    /// What ended jobs left, pen by pen.
    pub(super) fn left(&self) -> impl Iterator<Item = (Pen, WorkerId)> {
        self.left.iter().map(|(pen, _, id)| (*pen, *id))
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.part();
    }

    /// The one to be asked next.
    pub(super) fn to_ask(&self) -> Option<Age> {
        self.unasked.first().copied()
    }

    /// What decides about it is something else now.
    pub(super) fn mark(&mut self, age: Age, change: impl FnOnce(&mut Mark)) {
        if let Some(mut mark) = self.forget(age) {
            change(&mut mark);
            self.grow_older(age, mark);
        }
    }

    /// It counts as idle since `since`, and may be asked again.
    pub(super) fn ask_again(&mut self, age: Age, since: Duration) {
        if let Some(mark) = self.forget(age) {
            self.grow_older((since, age.1), Mark { asked: false, ..mark });
        }
    }

    fn grow_older(&mut self, age: Age, mark: Mark) {
        if self.above.last_key_value().is_some_and(|(last, _)| age < *last) {
            self.put_above(age, mark);
        } else {
            self.put_below(age, mark);
        }
        self.part();
    }

    fn forget(&mut self, age: Age) -> Option<Mark> {
        self.unasked.remove(&age);
        let mark = self.above.remove(&age).or_else(|| self.below.remove(&age));
        self.part();
        mark
    }

    /// The limit is between the two again.
    fn part(&mut self) {
        while self.below.len() > self.limit {
            let Some((age, mark)) = self.below.pop_first() else { return };
            self.put_above(age, mark);
        }
        while self.below.len() < self.limit {
            let Some((age, mark)) = self.above.pop_last() else { return };
            self.put_below(age, mark);
        }
    }

    fn put_above(&mut self, age: Age, mark: Mark) {
        self.above.insert(age, mark);
        self.note(age, !mark.asked);
    }

    fn put_below(&mut self, age: Age, mark: Mark) {
        self.below.insert(age, mark);
        self.note(age, mark.over && !mark.asked);
    }

    fn note(&mut self, age: Age, ask: bool) {
        if ask {
            self.unasked.insert(age);
        } else {
            self.unasked.remove(&age);
        }
    }
}

#[cfg(test)]
impl Idle {
    pub(super) fn pens(&self) -> impl Iterator<Item = Pen> {
        self.pens.keys().copied()
    }
}
