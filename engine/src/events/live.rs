//! What was told of an owner's tasks that have not ended: pure.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::events::{Note, Place};

/// So many tasks that have not ended are told of, for each owner; of others nothing is said until they end.
const LIVE_MAX: usize = 10_000;
/// So many numbers are gone through in one look.
const LOOK_MAX: u64 = 100_000;

/// What a task does that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Depends,
    Waits(Arc<str>),
    Sent(Place),
    Runs(Place),
}

impl Doing {
    pub(crate) fn note(&self) -> Note<'_> {
        match self {
            Doing::Depends => Note::Depends,
            Doing::Waits(text) => Note::Waits(text),
            Doing::Sent(place) => Note::Sent(*place),
            Doing::Runs(place) => Note::Runs(*place),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// The numbers below were gone through.
    looked: u64,
    /// Those below had been given at the last look, and are old enough by now.
    given: u64,
    /// What was told of each.
    told: BTreeMap<u64, Option<(u32, Doing)>>,
}

impl Live {
    /// Which numbers are to be looked at for the first time; `next` will be given next. If not `all`, those only that had
    /// been given at the last look, and so many at most: most tasks end before they are that old.
    pub(crate) fn begin(&mut self, next: u64, all: bool) -> Range<u64> {
        if all {
            return self.looked..next.max(self.looked);
        }
        let old = std::mem::replace(&mut self.given, next);
        let end = old.min(self.looked.saturating_add(LOOK_MAX));
        self.looked..end.max(self.looked)
    }

    pub(crate) fn has_room(&self) -> bool {
        self.told.len() < LIVE_MAX
    }

    /// A task goes on of which nothing was told.
    pub(crate) fn add(&mut self, seq: u64) {
        self.told.entry(seq).or_insert(None);
    }

    /// The numbers below were gone through. Of those given since the last look some may be on their way into the table:
    /// they are gone through once more.
    pub(crate) fn looked(&mut self, below: u64) {
        self.looked = self.looked.max(below.min(self.given));
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.told.keys().copied()
    }

    /// What was told last of a task's attempt.
    pub(crate) fn told(&self, seq: u64, attempt: u32) -> Option<&Doing> {
        match self.told.get(&seq) {
            Some(Some((known, doing))) if *known == attempt => Some(doing),
            _ => None,
        }
    }

    pub(crate) fn tell(&mut self, seq: u64, attempt: u32, doing: Doing) {
        self.told.insert(seq, Some((attempt, doing)));
    }

    pub(crate) fn ended(&mut self, seq: u64) {
        self.told.remove(&seq);
    }

    /// Whether another look is needed; `next` will be given next.
    pub(crate) fn wants_look(&self, next: u64) -> bool {
        !self.told.is_empty() || self.looked < next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_looked_at_once_they_are_old() {
        let mut live = Live::default();
        assert_eq!(live.begin(10, false), 0..0, "all are new");
        assert_eq!(live.begin(15, false), 0..10);
        live.add(3);
        live.looked(10);
        assert!(live.wants_look(10));
        assert_eq!(live.begin(20, true), 10..20, "whoever asks is told of new ones too");
        live.looked(20);
        assert_eq!(live.begin(15, true), 15..15, "those of before were gone through, later ones may come late");
        assert!(live.wants_look(15), "3 has not ended");
        live.ended(3);
        assert!(!live.wants_look(15) && live.wants_look(16));
    }

    #[test]
    fn what_was_told_is_known_by_attempt() {
        let mut live = Live::default();
        live.add(1);
        assert_eq!(live.told(1, 0), None);
        live.tell(1, 0, Doing::Depends);
        assert_eq!((live.told(1, 0), live.told(1, 1)), (Some(&Doing::Depends), None));
    }
}
