//! Leases, and what workers say.

use std::collections::BTreeSet;
use std::sync::Arc;

use actinic_transport::NodeId;

use super::remote::wrong_count;
use super::{Link, Owner, Ran, crashed, nested};
use crate::api::error::Error;
use crate::call::Returns;
use crate::events::Run;
use crate::ids::WorkerId;
use crate::object::Resolved;
use crate::owner::dispatch::{Act, Done, KeyIx, LeaseIx};
use crate::program::Outcome;
use crate::protocol::LeaseId;
use crate::task::Task;
use crate::value::Value;

impl Owner {
    /// A raylet granted a lease.
    pub(crate) fn granted(self: &Arc<Self>, key: KeyIx, link: Link) {
        let lease = link.lease();
        self.change(|core, out| {
            if let Some(ix) = core.dispatch.granted(key, link, out) {
                core.leases.insert(lease, ix);
            }
        });
    }

    /// A raylet will never grant what the key needs.
    pub(crate) fn refused(self: &Arc<Self>, key: KeyIx, error: &Error) {
        let tasks = self.lock().dispatch.drain(key);
        for task in tasks {
            let error = error.clone().subject(task.describe());
            Task::finish_all(&task, Resolved::Error(error));
        }
    }

    /// The request of a key must be made again (another node, a lost message).
    pub(crate) fn ask_again(self: &Arc<Self>, key: KeyIx) {
        self.change(|core, out| core.dispatch.ask_again(key, out));
    }

    /// The raylet wants a lease back.
    pub(crate) fn recalled(self: &Arc<Self>, lease: LeaseId, yield_now: bool) {
        self.change(|core, out| {
            if let Some(&ix) = core.leases.get(&lease) {
                core.dispatch.recall(ix, yield_now, out);
            }
        });
    }

    /// The workers where tasks of this owner are, by what is known of them.
    pub(super) fn workers_where(&self, which: impl Fn(&Link) -> bool) -> BTreeSet<WorkerId> {
        let core = self.lock();
        let leased = core.dispatch.leases_where(&which).into_iter();
        let leased = leased.filter_map(|ix| core.dispatch.link(ix).map(Link::worker));
        let parked = core.parked.values().filter(|(_, link)| which(link)).map(|(_, link)| link.worker());
        leased.chain(parked).collect()
    }

    /// A worker is gone. The task that ran there has lost an attempt, and so have async ones that had begun. Of those in
    /// flight before it the results are lost, and they are made again; those behind it had not begun. Where none runs, the
    /// first has lost one.
    pub(crate) fn worker_lost(self: &Arc<Self>, worker: WorkerId, ran: Ran, why: &Error) {
        let (flights, parked, node) = self.change(|core, out| {
            let mut node = None;
            let gone = core.dispatch.leases_where(|link| link.worker() == worker);
            let mut flights = Vec::new();
            for ix in gone {
                if let Some(lease) = core.dispatch.link(ix).map(Link::lease) {
                    core.leases.remove(&lease);
                    node = Some(lease.node);
                }
                flights.push(core.dispatch.lost(ix, out));
            }
            let parked: Vec<u64> =
                core.parked.iter().filter(|(_, (_, link))| link.worker() == worker).map(|(seq, _)| *seq).collect();
            let parked: Vec<_> = parked.into_iter().filter_map(|seq| core.parked.remove(&seq)).collect();
            (flights, parked, node)
        });
        let nobody_else = parked.is_empty();
        for (task, link) in parked {
            self.attempt_lost(&task, Some(link.lease().node), why);
        }
        for flight in flights {
            let at = match ran {
                Ran::First => Some(0),
                Ran::Task(seq) => seq.and_then(|seq| flight.iter().position(|task| task.seq == seq)),
            };
            for (index, task) in flight.iter().enumerate() {
                let may_have_run = at.is_none_or(|at| index < at);
                // Where none runs, the first may be what ended it, by what it needs: it must not be tried for ever.
                let is_first = index == 0 && nobody_else && ran == Ran::Task(None);
                if Some(index) == at || is_first || (may_have_run && task.meta.max_retries == 0) {
                    self.attempt_lost(task, node, why);
                } else if !task.is_over() {
                    self.ready(task);
                }
            }
        }
    }

    /// A task ran where a worker died, on that node if it is known.
    pub(super) fn attempt_lost(self: &Arc<Self>, task: &Arc<Task>, node: Option<NodeId>, why: &Error) {
        if task.is_over() {
            return;
        }
        let attempt = task.attempt();
        if task.next_attempt() {
            self.note_end(task, attempt, None, Some(why));
            self.ready(task);
        } else if task.is_cancelled() {
            let error =
                Error::task_cancelled(format!("{} was cancelled", task.describe())).at_node(self.id.process.node);
            Task::finish_all(task, Resolved::Error(error));
        } else {
            Task::finish_all(task, Resolved::Error(crashed(task, node, why)));
        }
    }

    /// Leases of a raylet that is gone end with their workers.
    pub(crate) fn node_lost(self: &Arc<Self>, node: NodeId, why: &Error) {
        for worker in self.workers_where(|link| link.lease().node == node) {
            self.worker_lost(worker, Ran::First, why);
        }
        // What was asked of its raylet is asked for elsewhere.
        let keys: BTreeSet<KeyIx> = {
            let mut core = self.lock();
            core.requests.at(node).into_iter().filter_map(|id| core.close_request(id)).collect()
        };
        for key in keys {
            self.ask_again(key);
        }
    }

    // ---- what workers say

    /// A task's code has answered: its refs get the outcome, unless it is to run again (`true`).
    pub(crate) fn answered(self: &Arc<Self>, task: &Arc<Task>, attempt: u32, outcome: Outcome, run: &Run) -> bool {
        if task.attempt() != attempt {
            return false;
        }
        if task.is_cancelled() {
            // It may have seen that, and ended before whoever cancels it came to say how it ends.
            Task::fail(task, self.was_cancelled(task), run);
            return false;
        }
        let checked = |returns: Returns| returns.check_cluster(self.process.id.cluster).map(|()| returns);
        match outcome.and_then(checked) {
            Ok(Returns::One(value)) if task.returns() == 1 && task.meta.returns.is_none_or(|n| n == 1) => {
                let resolved = self.result(task, value.0);
                Task::finish(task, std::iter::once(resolved), Some(run));
            }
            Ok(returns) => {
                let values = match returns {
                    Returns::One(value) => vec![value],
                    Returns::Many(values) => values,
                };
                let declared = task.meta.returns.unwrap_or(task.returns());
                if values.len() as u32 != declared {
                    Task::fail(task, wrong_count(task, values.len(), declared).at_node(run.place.node), run);
                } else {
                    let outcomes: Vec<Resolved> = values.into_iter().map(|value| self.result(task, value.0)).collect();
                    Task::finish(task, outcomes.into_iter(), Some(run));
                }
            }
            Err(error) => {
                if error.retry_wanted(task.meta.retry_errors) && task.next_attempt() {
                    self.note_end(task, attempt, Some(run), Some(&error));
                    return true;
                }
                let node = run.place.node;
                let error = match &error.detail().subject {
                    None => error.subject(task.describe()).at_node(node),
                    // The error of a nested task keeps its own subject and gets an outer one.
                    Some(_) => nested(task, node, error),
                };
                Task::fail(task, error, run);
            }
        }
        false
    }

    pub(super) fn result(self: &Arc<Self>, task: &Task, value: Value) -> Resolved {
        match self.process.charge(value.size()) {
            Ok(()) => Resolved::Value(value),
            Err(error) => Resolved::Error(error.subject(task.describe())),
        }
    }

    /// The lease's bookkeeping for tasks that ended, each with its run time if it ran.
    pub(crate) fn completed(self: &Arc<Self>, lease: LeaseIx, done: impl IntoIterator<Item = Done>) {
        self.change(|core, out| {
            if core.parked.is_empty() {
                core.dispatch.completed(lease, done, out);
            } else {
                let mut flying = Vec::new();
                for (seq, ran) in done {
                    match core.parked.remove(&seq) {
                        Some((task, _)) => out.push(Act::Gone(task)),
                        None => flying.push((seq, ran)),
                    }
                }
                let done = flying;
                core.dispatch.completed(lease, done, out);
            }
        });
    }

    /// Lent tasks that a worker gives back.
    pub(crate) fn given_back(self: &Arc<Self>, lease: LeaseIx, seqs: &[u64]) {
        self.change(|core, out| {
            // Whoever cancelled one found it with its worker, which does not have it any more.
            let is_cancelled = |seq: &u64| core.tasks.get(*seq).is_none_or(|task| task.is_cancelled());
            let (cancelled, wanted): (Vec<u64>, Vec<u64>) = seqs.iter().partition(|seq| is_cancelled(seq));
            core.dispatch.returned(lease, &wanted, out);
            core.dispatch.completed(lease, cancelled.into_iter().map(|seq| (seq, None)), out);
        });
    }

    /// A task awaits without holding its worker.
    pub(crate) fn parked(self: &Arc<Self>, lease: LeaseIx, seq: u64) {
        self.change(|core, out| {
            if let (Some(task), Some(link)) = (core.tasks.get(seq), core.dispatch.link(lease))
                && !task.is_over()
            {
                core.parked.insert(seq, (Arc::clone(task), link.clone()));
            }
            core.dispatch.parked(lease, seq, out);
        });
    }
}
