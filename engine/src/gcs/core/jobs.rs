//! Jobs and owners: who began what, and what ends with whom.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use actinic_transport::{NodeId, ProcessId};

use super::nodes::owners_of;
use super::{Action, DeathReason, GcsCore, JobRow};
use crate::ids::{ActorId, JobId, OwnerId};

impl GcsCore {
    pub(super) fn start_job(&mut self, mut row: JobRow) {
        let (id, driver) = (row.id, row.driver);
        if self.jobs.contains_key(&id) || self.ended_jobs.contains(&id) {
            return;
        }
        row.started = self.now;
        row.ended = None;
        self.jobs.insert(id, row);
        self.drivers.insert(driver, id);
        if self.is_owner_dead(driver) {
            self.end_job(id);
        }
    }

    /// Ends a job's actors, except the detached ones and what has one of them at its root (GCS-6).
    pub(super) fn end_job(&mut self, id: JobId) {
        if self.ended_jobs.contains(&id) {
            return;
        }
        if let Some(row) = self.jobs.get_mut(&id) {
            row.ended = Some(self.now);
            self.drivers.remove(&row.driver);
            let driver = row.driver;
            self.dead_owners.insert(driver);
        }
        for number in self.actors.of_job(id) {
            let ends = |actor: &super::table::Actor| !actor.row.spec.detached && !actor.row.spec.outlives_job;
            if self.actors.get(number).is_some_and(ends) {
                self.end_now(number, DeathReason::JobEnded { job: id });
            }
        }
        let to: Vec<NodeId> = self.up_nodes().collect();
        if !to.is_empty() {
            self.out.push(Action::TellJobEnded { to, job: id });
        }
        if let Some(oldest) = self.ended_jobs.insert(id) {
            self.jobs.remove(&oldest);
        }
    }

    pub(super) fn end_process(&mut self, process: ProcessId) {
        self.dead_processes.insert(process);
        self.unwatch_processes(process..=process);
        self.end_owners(owners_of(process));
    }

    pub(super) fn end_owner(&mut self, owner: OwnerId) {
        self.dead_owners.insert(owner);
        self.end_owners(owner..=owner);
    }

    /// Ends what the owners in a range leave behind.
    pub(super) fn end_owners(&mut self, range: RangeInclusive<OwnerId>) {
        let jobs: Vec<JobId> = self.drivers.range(range.clone()).map(|(_, job)| *job).collect();
        for job in jobs {
            self.end_job(job);
        }
        for number in self.actors.of_owners(range.clone()) {
            let Some(actor) = self.actors.get_mut(number) else { continue };
            if !actor.row.spec.detached {
                let owner = actor.row.spec.owner;
                self.end_now(number, DeathReason::OwnerDied { owner });
            }
        }
        let (nil, max) = (ActorId(uuid::Uuid::nil()), ActorId(uuid::Uuid::max()));
        let claims = self.claimants.range((*range.start(), nil)..=(*range.end(), max));
        for claim in claims.map(|(_, asked)| *asked).collect::<Vec<_>>() {
            self.unclaim(claim);
        }
        self.tell_early_subscribers(range);
    }

    /// Whether an owner was reported dead, or its process, or its node.
    pub(super) fn is_owner_dead(&self, owner: OwnerId) -> bool {
        self.dead_owners.contains(&owner)
            || self.dead_processes.contains(&owner.process)
            || self.nodes.get(&owner.node()).is_some_and(|node| !node.row.state.is_up())
    }

    /// The programs that are needed: those of running jobs, and of actors that live.
    pub(crate) fn programs_needed(&self) -> BTreeSet<&str> {
        let jobs = self.jobs.values().filter(|job| job.ended.is_none()).map(|job| job.program.as_str());
        let actors = self.actors.iter().filter(|actor| actor.row.ended.is_none());
        jobs.chain(actors.map(|actor| actor.row.spec.program.as_str())).collect()
    }
}
