//! What ends before its time: workers, owners, jobs, nodes.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use actinic_transport::NodeId;

use super::messages::{Action, LeaseId, RefuseReason, RequestKey, WorkerKind};
use super::queue::Request;
use super::{ENDED_JOBS_MAX, Lease, RayletCore, WorkerFate, WorkerState};
use crate::ids::{JobId, OwnerId, WorkerId};

impl RayletCore {
    /// The request ends: what it waits for here is given up. True if it was open.
    pub(super) fn end_request(&mut self, key: &RequestKey, out: &mut Vec<Action>) -> bool {
        // The last of them is where the search ends.
        let starting = self.queue.get(key).map_or(0, |request| request.starting);
        self.cancel_starting(key, starting, out);
        self.close_request(key)
    }

    fn end_requests(&mut self, ended: impl Fn(&Request) -> bool, out: &mut Vec<Action>) {
        let keys: Vec<RequestKey> =
            self.queue.iter().filter(|(_, request)| ended(request)).map(|(key, _)| *key).collect();
        for key in keys {
            self.end_request(&key, out);
        }
    }

    fn end_leases(&mut self, ended: impl Fn(&Lease) -> bool, out: &mut Vec<Action>) {
        let numbers: Vec<u64> =
            self.leases.iter().filter(|(_, lease)| ended(lease)).map(|(number, _)| number).collect();
        for number in numbers {
            self.end_lease(number, WorkerFate::Stop, out);
        }
    }

    /// These owners died: one, or all of a process.
    pub(super) fn owners_died(&mut self, died: RangeInclusive<OwnerId>, out: &mut Vec<Action>) {
        let died: BTreeSet<OwnerId> = self.ledger.accounts().owners_in(died).collect();
        self.end_owners(&died, out);
    }

    /// A node died, and every owner there.
    pub(super) fn owners_lost(&mut self, node: NodeId, out: &mut Vec<Action>) {
        let died: BTreeSet<OwnerId> = self.ledger.accounts().owners().filter(|owner| owner.node() == node).collect();
        self.end_owners(&died, out);
    }

    /// Nobody is left to hear of their tasks' results: the workers are stopped.
    fn end_owners(&mut self, died: &BTreeSet<OwnerId>, out: &mut Vec<Action>) {
        // Each worker that ends is an owner that died, and most have never asked for anything.
        if !died.is_empty() {
            self.end_requests(|request| died.contains(&request.ask.from), out);
            self.end_leases(|lease| died.contains(&lease.holder.owner), out);
        }
    }

    pub(super) fn job_ended(&mut self, job: JobId, out: &mut Vec<Action>) {
        if self.ledger.accounts().job(job).is_some() {
            self.end_requests(|request| request.ask.job == job && !request.ask.outlives_job, out);
            self.end_leases(|lease| lease.holder.job == job && !lease.outlives_job, out);
        }
        self.pool.end_job(job, out);
        self.warned.retain(|(warned, _)| *warned != job);
        if !self.ended_jobs.contains(&job) {
            self.ended_jobs.push_back(job);
        }
        if self.ended_jobs.len() > ENDED_JOBS_MAX
            && let Some(first) = self.ended_jobs.pop_front()
        {
            self.pool.forget_job(first);
        }
    }

    pub(super) fn worker_died(&mut self, worker: WorkerId, out: &mut Vec<Action>) {
        let starting = self.pool.workers.get(&worker).is_some_and(|worker| worker.state == WorkerState::Starting);
        if starting {
            return self.worker_failed(worker, "it died while it started".to_owned(), false, out);
        }
        let Some(gone) = self.pool.remove(worker) else { return };
        let WorkerState::Leased { leases } = gone.state else { return };
        let on_it = |(number, lease): (u64, &Lease)| (lease.worker == Some(worker)).then_some(number);
        let numbers: Vec<u64> = match gone.kind {
            WorkerKind::Slot => vec![gone.lease],
            WorkerKind::SharedHost => self.leases.iter().filter_map(on_it).take(leases as usize).collect(),
        };
        for number in numbers {
            let to = self.leases.get(number).map(|lease| lease.holder.owner);
            self.end_lease(number, WorkerFate::Gone, out);
            let lease = LeaseId { node: self.node, number };
            out.extend(to.map(|to| Action::LeaseLost { lease, to, worker }));
        }
    }

    /// A start that fails is tried again; several rounds in a row, or one for good, fail the requests that wait for it.
    pub(super) fn worker_failed(&mut self, worker: WorkerId, reason: String, permanent: bool, out: &mut Vec<Action>) {
        let failed = self.pool.failed(worker, permanent, self.now);
        let keys: Vec<RequestKey> =
            failed.iter().filter_map(|number| self.leases.get(*number)).map(Lease::request).collect();
        for key in keys {
            self.refuse(&key, RefuseReason::WorkerStart { reason: reason.clone(), permanent }, out);
        }
    }
}
