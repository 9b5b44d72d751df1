//! The runs of actors on a node, and where they are.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::WorkerId;
use crate::protocol::{ActorRun, LeaseId};

/// By run, and by worker: a node may have a hundred thousand actors, and a worker ends without looking at them all.
#[derive(Default)]
pub(super) struct Runs {
    all: BTreeMap<ActorRun, (LeaseId, WorkerId)>,
    at: BTreeMap<WorkerId, BTreeSet<ActorRun>>,
}

impl Runs {
    pub(super) fn insert(&mut self, run: ActorRun, lease: LeaseId, worker: WorkerId) {
        self.all.insert(run, (lease, worker));
        self.at.entry(worker).or_default().insert(run);
    }

    pub(super) fn remove(&mut self, run: &ActorRun) -> Option<(LeaseId, WorkerId)> {
        let (lease, worker) = self.all.remove(run)?;
        if let Some(there) = self.at.get_mut(&worker) {
            there.remove(run);
            if there.is_empty() {
                self.at.remove(&worker);
            }
        }
        Some((lease, worker))
    }

    pub(super) fn worker(&self, run: &ActorRun) -> Option<WorkerId> {
        self.all.get(run).map(|(_, worker)| *worker)
    }

    /// The runs on a worker.
    pub(super) fn at(&self, worker: WorkerId) -> Vec<ActorRun> {
        self.at.get(&worker).into_iter().flatten().copied().collect()
    }
}
