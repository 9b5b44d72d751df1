//! The runs of actors on a node, and where they are.

use std::collections::BTreeMap;

use actinic_transport::NodeId;

use crate::ids::WorkerId;
use crate::protocol::{ActorRun, LeaseId};

/// By run, and by worker: a node may have a hundred thousand actors, and a worker that is an actor's own ends without a look
/// at them all.
pub(super) struct Runs {
    node: NodeId,
    /// Each with the number of its lease.
    all: BTreeMap<ActorRun, (u64, WorkerId)>,
    at: BTreeMap<WorkerId, There>,
}

/// What runs on a worker.
#[derive(Clone, Copy)]
enum There {
    One(ActorRun),
    /// So many are left of more: whoever wants to know them looks at all runs, of which they are most.
    Many(u32),
}

impl Runs {
    pub(super) fn new(node: NodeId) -> Runs {
        Runs { node, all: BTreeMap::new(), at: BTreeMap::new() }
    }

    /// A run under a lease of this node.
    pub(super) fn insert(&mut self, run: ActorRun, lease: LeaseId, worker: WorkerId) {
        self.all.insert(run, (lease.number, worker));
        let more = |there: &mut There| match there {
            There::One(_) => *there = There::Many(2),
            There::Many(count) => *count += 1,
        };
        self.at.entry(worker).and_modify(more).or_insert(There::One(run));
    }

    /// The run is over; its lease.
    pub(super) fn remove(&mut self, run: &ActorRun) -> Option<LeaseId> {
        let (number, worker) = self.all.remove(run)?;
        match self.at.get_mut(&worker) {
            Some(There::Many(count)) if *count > 1 => *count -= 1,
            _ => {
                self.at.remove(&worker);
            }
        }
        Some(LeaseId { node: self.node, number })
    }

    pub(super) fn worker(&self, run: &ActorRun) -> Option<WorkerId> {
        self.all.get(run).map(|(_, worker)| *worker)
    }

    /// The runs on a worker.
    pub(super) fn at(&self, worker: WorkerId) -> Vec<ActorRun> {
        match self.at.get(&worker) {
            None => Vec::new(),
            Some(There::One(run)) => vec![*run],
            Some(There::Many(_)) => {
                self.all.iter().filter(|(_, (_, other))| *other == worker).map(|(run, _)| *run).collect()
            }
        }
    }

    /// A worker has ended, and all runs on it.
    pub(super) fn end(&mut self, worker: WorkerId) -> Vec<ActorRun> {
        let ended = self.at(worker);
        for run in &ended {
            self.all.remove(run);
        }
        self.at.remove(&worker);
        ended
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::ActorId;

    #[test]
    fn a_worker_ends_with_its_runs_and_no_others() {
        let run = |n: u128| ActorRun { actor: ActorId(Uuid::from_u128(n)), incarnation: 0, attempt: 0 };
        let worker = |n: u128| WorkerId(Uuid::from_u128(n));
        let node = NodeId(Uuid::nil());
        let mut runs = Runs::new(node);
        for n in 0..6 {
            // The first three share one, the others have their own.
            runs.insert(run(n), LeaseId { node, number: n as u64 }, worker(n.max(2)));
        }
        assert_eq!(runs.remove(&run(0)), Some(LeaseId { node, number: 0 }));
        assert_eq!((runs.remove(&run(0)), runs.worker(&run(0))), (None, None));
        assert_eq!(runs.worker(&run(4)), Some(worker(4)));
        assert_eq!(runs.at(worker(2)), [run(1), run(2)]);
        assert_eq!(runs.end(worker(2)), [run(1), run(2)]);
        assert_eq!((runs.end(worker(2)), runs.end(worker(3))), (vec![], vec![run(3)]));
        assert!(runs.remove(&run(4)).is_some() && runs.remove(&run(5)).is_some());
        runs.insert(run(7), LeaseId { node, number: 7 }, worker(7));
        runs.insert(run(8), LeaseId { node, number: 8 }, worker(7));
        assert!(runs.remove(&run(7)).is_some() && runs.at(worker(7)) == [run(8)] && runs.remove(&run(8)).is_some());
        assert!(runs.all.is_empty() && runs.at.is_empty());
    }
}
