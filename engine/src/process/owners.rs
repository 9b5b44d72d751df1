//! The owners of a process, and what they hear.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use actinic_transport::{NodeId, PeerAddr, ProcessId};

use super::{Process, Tables};
use crate::api::error::{Error, Result};
use crate::ids::{JobId, ObjectId, OwnerId, TaskId};
use crate::owner::Owner;
use crate::owner::refs::RefMessage;
use crate::protocol::{LeaseId, OwnerMessage, ToGcs, ToOwner, ToRaylet};

/// So many dead processes and nodes are remembered: of any other its node says that there is none.
const DEAD_MAX: usize = 4096;

/// Fewer owners than this are not looked through.
const OWNERS_FEW: usize = 64;

/// An answer that has not been sent, as long as this is kept.
pub(crate) struct Answering(Arc<Process>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Tables {
    /// Takes out the owners that nobody submits with any more, and that own nothing: each actor that ever submitted has
    /// one. (What holds an owner otherwise: who submits, each task and object of it, each thing that it waits for.)
    fn owners_over(&mut self) -> BTreeMap<u32, Arc<Owner>> {
        // The first stands for the process as a borrower.
        let is_over = |number: u32, owner: &Arc<Owner>| number > 0 && Arc::strong_count(owner) == 1 && owner.is_empty();
        let (over, stay) =
            std::mem::take(&mut self.owners).into_iter().partition(|(number, owner)| is_over(*number, owner));
        self.owners = stay;
        self.owners_sweep = OWNERS_FEW.max(2 * self.owners.len());
        over
    }

    /// Whether what is gone was the raylet of a node that may live: it is out of reach then.
    fn raylet_dead(&mut self, process: ProcessId) -> bool {
        let of = |(_, at): &(&NodeId, &PeerAddr)| at.id == process;
        match self.raylets.iter().find(of).map(|(node, _)| *node) {
            Some(node) if !self.dead_nodes.contains(&node) => self.out_of_reach.insert(node),
            _ => false,
        }
    }
}

impl Process {
    pub(crate) fn new_owner(self: &Arc<Self>, job: JobId, namespace: Arc<str>) -> Arc<Owner> {
        let number = self.next_owner.fetch_add(1, Ordering::Relaxed);
        let id = OwnerId { process: self.id, number };
        let owner = Owner::new(id, Arc::clone(self), job, namespace);
        let over = {
            let mut tables = self.lock();
            let over = if tables.owners.len() >= tables.owners_sweep { tables.owners_over() } else { BTreeMap::new() };
            tables.owners.insert(number, Arc::clone(&owner));
            over
        };
        drop(over);
        if self.is_closing() {
            // Nothing that is submitted from now on is run.
            owner.die_of(Error::connection("the cluster was shut down"));
        }
        owner
    }

    /// This owner, a driver's or a worker's, is also what other code of its job submits with here.
    pub(crate) fn is_member(&self, owner: &Arc<Owner>) {
        self.lock().members.insert(owner.job, (Arc::clone(owner), false));
    }

    /// What code of a job that runs here outside of any call submits with: what a call has spawned.
    pub(crate) fn own(self: &Arc<Self>, job: JobId, namespace: Arc<str>) -> Result<Arc<Owner>> {
        if let Some((owner, _)) = self.lock().members.get(&job) {
            return Ok(Arc::clone(owner));
        }
        if self.is_closing() {
            return Err(Error::connection("the cluster was shut down"));
        }
        let made = self.new_owner(job, namespace);
        let (owner, _) = self.lock().members.entry(job).or_insert_with(|| (Arc::clone(&made), true)).clone();
        Ok(owner)
    }

    /// A job has ended, and with it what its code here has submitted.
    pub(crate) fn job_ended(self: &Arc<Self>, job: JobId) {
        crate::api::scope::job_ended(self, job);
        self.end_tasks_of_job(job);
        let member = self.lock().members.remove(&job);
        if let Some((owner, true)) = member {
            self.end_owner(&owner, "its job has ended");
        }
    }

    pub(crate) fn owner_numbered(&self, number: u32) -> Option<Arc<Owner>> {
        self.lock().owners.get(&number).cloned()
    }

    pub(crate) fn owners(&self) -> Vec<Arc<Owner>> {
        self.lock().owners.values().cloned().collect()
    }

    /// Whether something runs in this process, what ran has not been told, or it owns a task or an object that somebody may
    /// ask for.
    pub(crate) fn is_needed(&self) -> bool {
        let runs = {
            let tables = self.lock();
            !tables.running.is_empty() || !tables.actors.is_empty()
        };
        runs || self.is_answering() || self.has_unsent() || self.owners().iter().any(|owner| owner.load().0 > 0)
    }

    /// Whether an answer is on its way by the node's store.
    pub(crate) fn is_answering(&self) -> bool {
        self.answering.load(Ordering::Acquire) > 0
    }

    /// Whether something was said that others may not have.
    pub(crate) fn has_unsent(&self) -> bool {
        self.endpoint().is_ok_and(|endpoint| endpoint.backlog() > 0)
    }

    /// An answer begins that goes by the node's store.
    pub(crate) fn begin_answer(self: &Arc<Self>) -> Answering {
        self.answering.fetch_add(1, Ordering::AcqRel);
        Answering(Arc::clone(self))
    }

    /// An owner of this process ends: what it owned fails, and others are told.
    pub(crate) fn end_owner(self: &Arc<Self>, owner: &Arc<Owner>, why: &str) {
        owner.die(why);
        // Before its death: what had ended stays as it ended.
        self.tell_events_of(owner);
        self.tell_raylet(self.id.node, ToRaylet::OwnerDied { owner: owner.id });
        self.tell_gcs(ToGcs::OwnerDied { owner: owner.id });
    }

    /// As [`deliver`](Self::deliver), soon, outside of whatever locks the caller holds.
    pub(crate) fn deliver_soon(self: &Arc<Self>, message: ToOwner) {
        let first = {
            let mut waiting = self.waiting_messages();
            let first = waiting.is_empty();
            match (waiting.last_mut(), message) {
                // A program may make a hundred thousand actors at once.
                (Some(ToOwner::Actors(before)), ToOwner::Actors(rows)) => before.extend(rows),
                (_, message) => waiting.push(message),
            }
            first
        };
        if first {
            let process = Arc::clone(self);
            self.defer(move || {
                let waiting = std::mem::take(&mut *process.waiting_messages());
                waiting.into_iter().for_each(|message| process.deliver(message));
            });
        }
    }

    fn waiting_messages(&self) -> MutexGuard<'_, Vec<ToOwner>> {
        // Plain data under the lock.
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message for the owners of this process.
    pub(crate) fn deliver(self: &Arc<Self>, message: ToOwner) {
        match message {
            ToOwner::Actors(rows) => {
                for news in rows {
                    // In this order: who keeps something for a creation looks afterwards whether that is over.
                    if let Some(client) = self.client(news.info.id) {
                        client.news(&news);
                    }
                    self.hear_of_creation(&news);
                }
            }
            ToOwner::Warning { text } => tracing::warn!(target: "actinic", "{text}"),
            ToOwner::NodeDead { node, text } => self.node_dead(node, &text),
            ToOwner::ProcessDead { process } => self.process_dead(process, "it ended"),
            ToOwner::OwnerGone { owner } => self.owner_gone(owner),
            ToOwner::StoreFull { lineage } => self.make_room(lineage),
            ToOwner::Resources { nodes } => self.replace_resources(nodes),
            // What is answered comes with its peer, at the receiver of the network.
            ToOwner::GetObject { .. } | ToOwner::Credit { .. } => {}
            ToOwner::GivenBack { lease, tasks } => {
                let mut rest = &tasks[..];
                while let Some((number, _)) = rest.first() {
                    let count = rest.iter().take_while(|(other, _)| other == number).count();
                    let (batch, after) = rest.split_at(count);
                    rest = after;
                    if let Some(owner) = self.owner_numbered(batch[0].0)
                        && let Some(ix) = owner.lease_ix(lease)
                    {
                        let seqs: Vec<u64> = batch.iter().map(|(_, seq)| *seq).collect();
                        owner.given_back(ix, &seqs);
                    }
                }
            }
            ToOwner::To { owner: number, message } => {
                match (self.owner_numbered(number), message) {
                    (Some(owner), message) => owner.hear(message),
                    // It has ended, and asked for this before.
                    (None, OwnerMessage::Grant { lease, .. }) => self.return_lease(lease, true),
                    // What it had made was freed before that one had come.
                    (None, OwnerMessage::Copied { seq, index, at }) => {
                        let task = TaskId { owner: OwnerId { process: self.id, number }, seq };
                        self.free_stored(ObjectId { task, index }, &[at]);
                    }
                    // It has ended with all that it owned; whoever asks holds up a message until it is answered.
                    (None, OwnerMessage::Count { from, message: RefMessage::Register { token, .. } }) => {
                        let me = OwnerId { process: self.id, number };
                        let message = OwnerMessage::Count { from: me, message: RefMessage::Registered { token } };
                        self.tell_owner(from.process, ToOwner::To { owner: from.number, message });
                    }
                    (None, _) => {}
                }
            }
        }
    }

    /// Another process is gone.
    pub(crate) fn process_dead(self: &Arc<Self>, process: ProcessId, why: &str) {
        let is_raylet = {
            let mut tables = self.lock();
            if !tables.dead.insert(process, DEAD_MAX) {
                return;
            }
            tables.raylet_dead(process)
        };
        // Final and mutual: what has lost what it borrowed here must not come back by another session.
        if let Ok(endpoint) = self.endpoint() {
            endpoint.declare_dead(process);
        }
        let error = Error::worker_crashed(format!("process {process} is gone: {why}"));
        for owner in self.owners() {
            owner.process_lost(process, &error);
            if is_raylet {
                owner.raylet_lost();
            }
        }
        self.borrowed_from(OwnerId::of(process), |id| id.lost(&format!("its process is gone: {why}")));
        for client in self.clients() {
            client.process_lost(process);
        }
        self.counts_process_died(process);
        self.maker_ended(process);
        self.end_tasks_of(|owner| owner.process == process);
    }

    /// An owner is dead, whose process may live.
    pub(crate) fn owner_gone(&self, owner: OwnerId) {
        self.borrowed_from(owner..=owner, |id| id.lost("the owner has ended"));
        self.end_tasks_of(|dead| *dead == owner);
    }

    /// What is borrowed from an owner that is dead has no value any more, and what is kept for it goes.
    pub(super) fn borrowed_from(&self, owners: RangeInclusive<OwnerId>, why: impl Fn(ObjectId) -> Error) {
        self.store.drop_owned(&owners);
        let mut lost = self.asking.objects();
        lost.retain(|id| owners.contains(&id.task.owner));
        // They lie together.
        lost.extend(self.lock().borrowed.range(ObjectId::of(&owners)).map(|(id, _)| *id));
        for id in lost {
            self.borrowed_ends(id, why(id));
        }
    }

    /// A node is gone, and every process on it.
    pub(crate) fn node_dead(self: &Arc<Self>, node: NodeId, text: &str) {
        if node == self.id.node {
            return;
        }
        // First: who asks something of it from now on looks whether it is dead.
        {
            let mut tables = self.lock();
            tables.dead_nodes.insert(node, DEAD_MAX);
            tables.out_of_reach.remove(&node);
        }
        if let Ok(endpoint) = self.endpoint() {
            endpoint.revoke(node);
        }
        let error = Error::node_died(format!("node {node} died: {text}"));
        for owner in self.owners() {
            owner.node_lost(node, &error);
        }
        self.store.drop_owned(&OwnerId::at(self.id.cluster, node));
        self.end_tasks_of(|owner| owner.node() == node);
    }

    /// Whether a node is known to be gone.
    pub(crate) fn is_dead_node(&self, node: NodeId) -> bool {
        self.lock().dead_nodes.contains(&node)
    }

    /// Those of the processes that are known to be gone.
    pub(crate) fn gone_of(&self, mut all: Vec<ProcessId>) -> Vec<ProcessId> {
        let tables = self.lock();
        all.retain(|one| tables.dead.contains(one) || tables.dead_nodes.contains(&one.node));
        all
    }

    // ---- leases

    pub(crate) fn return_lease(&self, lease: LeaseId, reusable: bool) {
        self.tell_raylet(lease.node, ToRaylet::Return { lease, reusable });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::object::RawRef;
    use crate::process::nowhere;
    use crate::value;

    #[test]
    fn who_has_an_answer_to_send_is_needed() {
        let process = Arc::clone(&nowhere().process);
        assert!(!process.is_needed());
        let (one, other) = (process.begin_answer(), process.begin_answer());
        drop(one);
        assert!(process.is_needed());
        drop(other);
        assert!(!process.is_needed());
    }

    #[test]
    fn owners_that_own_nothing_and_that_nobody_has_are_forgotten() {
        let process = Arc::clone(&nowhere().process);
        let job = JobId(process.env.uuid());
        let new = || process.new_owner(job, Arc::from(""));
        let first = process.owners()[0].id.number;
        let in_use = new();
        let kept: RawRef = new().put(value::encode(&7, "a number").unwrap()).unwrap();
        for _ in 0..20 * OWNERS_FEW {
            drop(new().put(value::encode(&8, "a number").unwrap()).unwrap());
        }
        assert!(process.owners().len() <= OWNERS_FEW + 1, "{}", process.owners().len());
        assert!(process.owner_numbered(in_use.id.number).is_some());
        assert!(first == 0 && process.owner_numbered(0).is_some(), "it counts what this process borrows");
        assert!(process.local_value(&kept.id()).is_some(), "its owner is still there");
    }

    /// A copy that came too late for its owner's end goes with the word of it.
    #[test]
    fn copies_of_what_a_forgotten_owner_made_are_freed() {
        let process = Arc::clone(&nowhere().process);
        let forgotten = OwnerId { process: process.id, number: 99 };
        let object = ObjectId { task: TaskId { owner: forgotten, seq: 7 }, index: 0 };
        process.store.insert(object, value::encode(&7, "a number").unwrap(), None);
        let copied = OwnerMessage::Copied { seq: 7, index: 0, at: process.address() };
        process.deliver(ToOwner::To { owner: forgotten.number, message: copied });
        assert!(!process.store.has(&object));
    }
}
