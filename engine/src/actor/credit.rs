//! How many calls each caller may have in flight to an actor: the actor's process decides, since the queue is there.
//!
//! A caller is another process. It begins with [`FIRST`], and is granted its window when half of that has come: who calls
//! once or twice costs no message. All are granted another when their number has changed so much that the windows do.
//! That is by factors of two, so that a caller that comes or goes mostly changes nothing. Answers return credit. A window
//! that is lower than what is in flight takes nothing back: what is in flight drains.
//!
//! - CREDIT-1: all windows together are within [`BUDGET`], or each is [`FLOOR`]; of calls and of bytes each by itself.
//!   (Until they hear of a smaller one, callers may fill the window before; one that was granted none has `FIRST`; and
//!   the call that fills a window of bytes may be larger than what was left of it.)
//! - CREDIT-2: no window is less than `FLOOR`, and with nothing in flight one call may always go: nobody starves.
//! - CREDIT-3: a caller that is gone gives its share back: with `n` callers each has a fourth of an n-th of the budget or
//!   more, up to [`MOST`].
//! - CREDIT-4: what a caller was granted last is its window; nobody is told what it knows.

use std::collections::{BTreeMap, BTreeSet};

use actinic_transport::ProcessId;
use serde::{Deserialize, Serialize};

/// Unanswered calls, and the bytes of their arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) calls: u32,
    pub(crate) bytes: u32,
}

/// What all callers of an actor together may have queued there.
const BUDGET: Window = Window { calls: 64 << 10, bytes: 64 << 20 };
/// A caller's window before its actor's process has said anything. Both sides must agree.
pub(crate) const FIRST: Window = Window { calls: 64, bytes: 64 << 10 };
/// No window is larger: it keeps an actor busy over any network that there is.
const MOST: Window = Window { calls: 8 << 10, bytes: 16 << 20 };
/// No window is smaller, however many callers there are.
const FLOOR: Window = Window { calls: 16, bytes: 16 << 10 };

/// The window of each of up to `level` callers.
fn share(level: u32) -> Window {
    Window {
        calls: (BUDGET.calls / level).clamp(FLOOR.calls, MOST.calls),
        bytes: (BUDGET.bytes / level).clamp(FLOOR.bytes, MOST.bytes),
    }
}

/// Whom to tell of a window.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) to: Vec<ProcessId>,
    pub(crate) window: Window,
}

/// Who calls an actor from elsewhere, and so who has which window.
#[derive(Debug)]
pub(crate) struct Credit {
    /// Who was granted a window.
    callers: BTreeSet<ProcessId>,
    /// Who was not, and what has come from it.
    newcomers: BTreeMap<ProcessId, Window>,
    /// For so many callers the windows are reckoned: a power of two.
    level: u32,
}

impl Default for Credit {
    fn default() -> Credit {
        Credit { callers: BTreeSet::new(), newcomers: BTreeMap::new(), level: 1 }
    }
}

impl Credit {
    fn count(&self) -> u32 {
        self.callers.len().try_into().unwrap_or(u32::MAX >> 1)
    }

    /// Calls of a caller have come: so many, of so many bytes.
    pub(crate) fn called(&mut self, by: ProcessId, calls: u32, bytes: u32) -> Option<Grant> {
        if self.callers.contains(&by) {
            return None;
        }
        let came = self.newcomers.entry(by).or_insert(Window { calls: 0, bytes: 0 });
        came.calls = came.calls.saturating_add(calls);
        came.bytes = came.bytes.saturating_add(bytes);
        if came.calls < FIRST.calls / 2 && came.bytes < FIRST.bytes / 2 {
            return None;
        }
        self.newcomers.remove(&by);
        self.callers.insert(by);
        let needed = self.count().next_power_of_two();
        Some(self.reckon(self.level.max(needed)).unwrap_or_else(|| Grant { to: vec![by], window: share(self.level) }))
    }

    /// A caller will not call any more, unless as a new one.
    pub(crate) fn left(&mut self, caller: ProcessId) -> Option<Grant> {
        self.newcomers.remove(&caller);
        if !self.callers.remove(&caller) {
            return None;
        }
        let (mut level, count) = (self.level, self.count());
        // Not at a half: one that comes and goes would change all windows each time.
        while level > 1 && count <= level / 4 {
            level /= 2;
        }
        self.reckon(level)
    }

    /// What all are told, if their windows change.
    fn reckon(&mut self, level: u32) -> Option<Grant> {
        let before = share(std::mem::replace(&mut self.level, level));
        let window = share(level);
        (window != before && !self.callers.is_empty())
            .then(|| Grant { to: self.callers.iter().copied().collect(), window })
    }
}

#[cfg(test)]
mod tests {
    use actinic_transport::{ClusterId, NodeId};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn caller(n: u32) -> ProcessId {
        let uuid = Uuid::from_u128(u128::from(n));
        ProcessId { cluster: ClusterId(uuid), node: NodeId(uuid), incarnation: uuid }
    }

    /// The core, and what each caller was told last.
    struct World {
        credit: Credit,
        told: BTreeMap<ProcessId, Window>,
        messages: usize,
    }

    impl World {
        fn new() -> World {
            World { credit: Credit::default(), told: BTreeMap::new(), messages: 0 }
        }

        fn hear(&mut self, grant: Option<Grant>) {
            let Some(grant) = grant else { return };
            for to in grant.to {
                assert!(self.credit.callers.contains(&to), "who is gone is told nothing");
                assert_ne!(self.told.insert(to, grant.window), Some(grant.window), "CREDIT-4");
                self.messages += 1;
            }
        }

        fn called(&mut self, n: u32) {
            let grant = self.credit.called(caller(n), FIRST.calls, 0);
            self.hear(grant);
        }

        fn left(&mut self, n: u32) {
            self.told.remove(&caller(n));
            let grant = self.credit.left(caller(n));
            self.hear(grant);
        }

        fn check(&self) {
            let n = self.told.len() as u32;
            assert_eq!(n as usize, self.credit.callers.len());
            for (field, budget, floor, most) in [
                ((|window: &Window| window.calls) as fn(&Window) -> u32, BUDGET.calls, FLOOR.calls, MOST.calls),
                (|window: &Window| window.bytes, BUDGET.bytes, FLOOR.bytes, MOST.bytes),
            ] {
                let all = || self.told.values().map(field);
                let sum: u64 = all().map(u64::from).sum();
                assert!(sum <= u64::from(budget) || all().all(|one| one == floor), "CREDIT-1: {n} have {sum}");
                assert!(all().all(|one| one >= floor), "CREDIT-2");
                let fair = (budget / 4).checked_div(n).unwrap_or(0).min(most);
                assert!(all().all(|one| one >= fair), "CREDIT-3: {n} callers");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]
        #[test]
        fn any_coming_and_going_keeps_the_invariants(
            crowd in 0..200_u32,
            ops in proptest::collection::vec((any::<bool>(), 0..40_u32), 0..200),
        ) {
            let mut world = World::new();
            for n in 0..crowd {
                let grant = world.credit.called(caller(1000 + n), 0, FIRST.bytes);
                world.hear(grant);
            }
            world.check();
            for (comes, n) in ops {
                if comes { world.called(n) } else { world.left(n) }
                world.check();
            }
        }
    }

    #[test]
    fn windows_follow_the_number_of_callers() {
        let mut world = World::new();
        let window = |world: &World, n| world.told[&caller(n)];
        world.called(0);
        assert_eq!(window(&world, 0), MOST, "one caller has what one could ever have");
        for n in 1..64 {
            world.called(n);
        }
        assert_eq!(window(&world, 0), Window { calls: 1024, bytes: 1 << 20 });
        assert_eq!(window(&world, 0), window(&world, 63));
        for n in 64..10_000 {
            world.called(n);
            if n % 500 == 0 {
                world.check();
            }
        }
        assert_eq!(window(&world, 9_999), FLOOR);
        for n in 1..10_000 {
            world.left(n);
            if n % 500 == 0 {
                world.check();
            }
        }
        assert_eq!(window(&world, 0), MOST, "those that are gone gave it back");
        assert!(world.messages < 4 * 20_000, "each change costs a few messages: {}", world.messages);
    }

    #[test]
    fn who_calls_little_is_told_nothing() {
        let mut credit = Credit::default();
        for _ in 1..FIRST.calls / 2 {
            assert_eq!(credit.called(caller(1), 1, 100), None);
        }
        assert_eq!(credit.called(caller(2), 1, FIRST.bytes), Some(Grant { to: vec![caller(2)], window: MOST }));
        assert_eq!(credit.called(caller(1), 1, 100), Some(Grant { to: vec![caller(1)], window: MOST }));
        assert_eq!(credit.called(caller(1), 1000, 100), None, "CREDIT-4");
        credit.called(caller(3), 1, 1);
        for n in 1..4 {
            credit.left(caller(n));
        }
        assert!(credit.callers.is_empty() && credit.newcomers.is_empty(), "CREDIT-3");
    }

    #[test]
    fn who_comes_and_goes_changes_nothing_for_others() {
        let mut world = World::new();
        for n in 0..16 {
            world.called(n);
        }
        let before = world.messages;
        for _ in 0..100 {
            world.called(99);
            world.left(99);
        }
        assert!(world.messages <= before + 16 + 100, "{}", world.messages - before);
    }
}
