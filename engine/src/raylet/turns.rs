//! Actors that wait for their turn to be asked for.
//!
//! The core looks at every open request after each event. Tasks come as one request with a count, actors as one each, and
//! a program may make thousands at once: so of those that are alike so many are asked for at a time, and the others wait
//! here, first come, first asked. None of them could have been placed earlier: they would have waited for the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::gcs::core::Isolation;
use crate::ids::JobId;
use crate::protocol::{ActorRun, ActorSpec};
use crate::resources::ResourceSet;

/// So many of a kind are asked for at a time at least.
const ASKED_MIN: u32 = 32;
/// And so many for each CPU: more than a node starts workers for at a time.
const ASKED_PER_CPU: u32 = 4;

/// What makes actors alike: the same holds them up.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    job: JobId,
    shape: ResourceSet,
    hold: ResourceSet,
    shared: bool,
}

impl Kind {
    fn of(spec: &ActorSpec) -> Kind {
        Kind {
            job: spec.job,
            shape: spec.shape.clone(),
            hold: spec.hold.clone(),
            shared: spec.isolation == Isolation::Shared,
        }
    }
}

#[derive(Debug, Default)]
struct Line {
    asked: u32,
    waiting: BTreeMap<u64, (ActorRun, Arc<ActorSpec>)>,
}

#[derive(Debug)]
pub(super) struct Turns {
    asked_max: u32,
    lines: BTreeMap<Arc<Kind>, Line>,
    waiting: BTreeMap<ActorRun, (Arc<Kind>, u64)>,
    came: u64,
}

impl Turns {
    pub(super) fn new(total: &ResourceSet) -> Turns {
        let cpus = u32::try_from(total.cpu().floor()).unwrap_or(u32::MAX);
        let asked_max = cpus.saturating_mul(ASKED_PER_CPU).max(ASKED_MIN);
        Turns { asked_max, lines: BTreeMap::new(), waiting: BTreeMap::new(), came: 0 }
    }

    /// An actor is wanted: it is given back if it may be asked for now.
    pub(super) fn enter(&mut self, run: ActorRun, spec: Arc<ActorSpec>) -> Option<(ActorRun, Arc<ActorSpec>)> {
        let kind = Kind::of(&spec);
        let kind = self.lines.get_key_value(&kind).map_or_else(|| Arc::new(kind), |(known, _)| Arc::clone(known));
        let line = self.lines.entry(Arc::clone(&kind)).or_default();
        if line.asked < self.asked_max {
            line.asked += 1;
            return Some((run, spec));
        }
        self.came += 1;
        line.waiting.insert(self.came, (run, spec));
        self.waiting.insert(run, (kind, self.came));
        None
    }

    /// One that was asked for is placed, or will not be: the next of its kind may be asked for.
    pub(super) fn leave(&mut self, spec: &ActorSpec) -> Option<(ActorRun, Arc<ActorSpec>)> {
        let kind = Kind::of(spec);
        let line = self.lines.get_mut(&kind)?;
        if let Some((_, next)) = line.waiting.pop_first() {
            self.waiting.remove(&next.0);
            return Some(next);
        }
        line.asked -= 1;
        if line.asked == 0 {
            self.lines.remove(&kind);
        }
        None
    }

    /// One that waits is not wanted any more; `false` if it does not wait.
    pub(super) fn cancel(&mut self, run: &ActorRun) -> bool {
        let Some((kind, at)) = self.waiting.remove(run) else { return false };
        if let Some(line) = self.lines.get_mut(&kind) {
            line.waiting.remove(&at);
        }
        true
    }

    /// What those who wait need, and how many do.
    pub(super) fn demands(&self) -> impl Iterator<Item = (&ResourceSet, u32)> {
        let count = |line: &Line| u32::try_from(line.waiting.len()).unwrap_or(u32::MAX);
        self.lines.iter().map(move |(kind, line)| (&kind.shape, count(line))).filter(|(_, count)| *count > 0)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::ActorId;
    use crate::protocol::ActorTraits;
    use crate::protocol::damage::samples::spec;

    fn actor(job: u128, number: u32) -> (ActorRun, Arc<ActorSpec>) {
        let id = ActorId(Uuid::from_u128(job << 32 | u128::from(number)));
        let other = spec();
        let traits = ActorTraits {
            job: JobId(Uuid::from_u128(job)),
            shape: ResourceSet::new(),
            hold: ResourceSet::new(),
            isolation: Isolation::Process,
            ..(*other.traits).clone()
        };
        let spec = ActorSpec { id, traits: Arc::new(traits), ..(*other).clone() };
        (ActorRun { actor: id, incarnation: 0, attempt: 0 }, Arc::new(spec))
    }

    fn enter(turns: &mut Turns, (run, spec): (ActorRun, Arc<ActorSpec>)) -> bool {
        turns.enter(run, spec).is_some()
    }

    #[test]
    fn alike_ones_come_in_turn_and_hold_up_no_others() {
        let mut turns = Turns::new(&ResourceSet::new());
        let asked = (0..40).filter(|number| enter(&mut turns, actor(1, *number))).count();
        assert_eq!((asked, turns.len()), (ASKED_MIN as usize, 8));
        assert!(enter(&mut turns, actor(2, 0)), "another job's");
        let next = |turns: &mut Turns| turns.leave(&actor(1, 0).1).map(|(run, _)| run);
        assert_eq!(next(&mut turns), Some(actor(1, 32).0));
        assert!(turns.cancel(&actor(1, 33).0) && !turns.cancel(&actor(1, 33).0) && !turns.cancel(&actor(1, 0).0));
        for number in 34..40 {
            assert_eq!(next(&mut turns), Some(actor(1, number).0));
        }
        assert_eq!(turns.len(), 0);
        for _ in 0..32 {
            assert_eq!(next(&mut turns), None);
        }
        assert_eq!(turns.leave(&actor(2, 0).1).map(|(run, _)| run), None);
        assert!(turns.lines.is_empty(), "nothing is kept of a job that is done");
    }
}
