//! Jobs and owners: who began what, and what ends with whom.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use actinic_transport::{NodeId, ProcessId};

use super::nodes::owners_of;
use super::{Action, ActorState, DeathReason, GcsCore, JobRow};
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
        if let Some(row) = self.jobs.get(&id) {
            self.drivers.remove(&row.driver);
            self.dead_owners.insert(row.driver);
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
        if let Some(row) = self.jobs.get_mut(&id) {
            row.ended = Some(self.now);
        }
        if let Some(oldest) = self.ended_jobs.insert(id)
            && !self.actors.any_of_job(oldest)
        {
            self.jobs.remove(&oldest);
        }
        if self.actors.any_of_job(id) {
            // Its driver, who may have been the only one to have it, is gone.
            self.tell_head_to_keep(id);
        } else {
            self.let_program_go(id);
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
            // Who else would give it its constructor's arguments?
            if !actor.row.spec.detached || actor.row.state == ActorState::DependenciesUnready {
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
    pub(crate) fn is_owner_dead(&self, owner: OwnerId) -> bool {
        self.dead_owners.contains(&owner)
            || self.dead_processes.contains(&owner.process)
            || self.nodes.get(&owner.node()).is_some_and(|node| !node.row.state.is_up())
    }

    /// Whether a job's program may still be started somewhere: the job runs, or has actors that live.
    pub(crate) fn needs_program(&self, id: JobId) -> bool {
        self.jobs.get(&id).is_some_and(|job| job.ended.is_none()) || self.actors.any_of_job(id)
    }

    /// Whether two jobs are known to run the same program. Where another one has a class of the same name, the one may stand
    /// for the other.
    pub(super) fn is_same_program(&self, one: JobId, other: JobId) -> bool {
        let program = |job| self.jobs.get(&job).map(|row| &row.program);
        one == other || program(one).is_some_and(|of_one| !of_one.is_empty() && Some(of_one) == program(other))
    }

    /// The nodes that may have a job's program as a file: its driver's, the head's, and those where its actors live.
    pub(crate) fn program_holders(&self, id: JobId) -> Vec<NodeId> {
        let home = self.jobs.get(&id).map(|job| job.driver.node());
        let actors = self.actors.of_job(id);
        let living = actors.iter().filter_map(|number| self.actors.get(*number)?.row.node);
        let mut seen = BTreeSet::new();
        let all = home.into_iter().chain(self.head()).chain(living);
        all.filter(|node| seen.insert(*node) && self.is_up(*node)).collect()
    }

    /// A detached actor may be started when its driver and the node that it ran on are gone: the head keeps its program.
    pub(super) fn keep_program(&mut self, id: JobId) {
        if self.kept_programs.insert(id) {
            self.tell_head_to_keep(id);
        }
    }

    fn tell_head_to_keep(&mut self, job: JobId) {
        if let Some(node) = self.head() {
            self.out.push(Action::KeepProgram { node, job });
        }
    }

    /// The last actor of a job has ended: if the job has too, nobody needs its program any more.
    pub(super) fn actor_of_job_ended(&mut self, id: JobId) {
        if self.jobs.get(&id).is_some_and(|job| job.ended.is_some()) && !self.actors.any_of_job(id) {
            self.let_program_go(id);
        }
    }

    fn let_program_go(&mut self, id: JobId) {
        self.kept_programs.remove(&id);
        if !self.ended_jobs.contains(&id) {
            // It was remembered for its actors alone.
            self.jobs.remove(&id);
        }
        let to: Vec<NodeId> = self.up_nodes().collect();
        if !to.is_empty() {
            self.out.push(Action::ForgetProgram { to, job: id });
        }
    }

    fn head(&self) -> Option<NodeId> {
        self.nodes.values().find(|node| node.row.head && node.row.state.is_up()).map(|node| node.row.id)
    }

    pub(crate) fn is_up(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.row.state.is_up())
    }
}
