//! The owner's side of leases: asking raylets, and what they answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use actinic_transport::{NodeId, ProcessId};

use crate::api::error::Error;
use crate::ids::WorkerId;
use crate::object::{Resolved, State};
use crate::owner::dispatch::{KeyIx, LeaseIx};
use crate::owner::{Core, Link, LocalLink, Owner, Ran, RemoteLink};
use crate::protocol::{LeaseId, LeaseRequest, OwnerMessage, Refused, RequestId, ToRaylet, WorkerAddr};
use crate::raylet::core::Purpose;
use crate::task::Task;

/// When a node that could start no worker is asked again, while others run what waits.
const REFUSED_FOR: Duration = Duration::from_secs(1);

/// What a node was asked for, and on whose behalf.
#[derive(Clone, Copy)]
struct Open {
    key: KeyIx,
    at: NodeId,
    depth: u32,
    outlives_job: bool,
    /// How many of its leases have been heard of.
    heard: u32,
}

impl Open {
    /// For the first of those that wait. What is sent on in a moment in which none does is still what it was.
    fn of(core: &Core, key: KeyIx, at: NodeId, before: Option<Open>) -> Open {
        let head = core.dispatch.head(key).map(|head| (head.depth, head.outlives_job));
        let (depth, outlives_job) =
            head.or(before.map(|before| (before.depth, before.outlives_job))).unwrap_or_default();
        Open { key, at, depth, outlives_job, heard: 0 }
    }
}

/// The requests that are open, by number and by key.
#[derive(Default)]
pub(super) struct Requests {
    next: u64,
    open: BTreeMap<RequestId, Open>,
    /// The request that a key's backlog is told to; requests sent on to other nodes come beside it.
    by_key: BTreeMap<KeyIx, RequestId>,
    /// What the raylet said of a request that cannot be fulfilled now.
    pub(super) infeasible: BTreeMap<RequestId, String>,
    /// Of requests sent on to other nodes: how many leases are still to come.
    sent_on: BTreeMap<RequestId, u32>,
}

impl Requests {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn ids(&self) -> Vec<RequestId> {
        self.open.keys().copied().collect()
    }

    fn draw(&mut self) -> RequestId {
        self.next += 1;
        RequestId(self.next)
    }

    /// How many leases a request that was sent on is still to bring.
    pub(super) fn left(&self, request: RequestId) -> u32 {
        self.sent_on.get(&request).copied().unwrap_or(0)
    }

    /// How many leases of a key are still to come from nodes that requests were sent on to.
    fn to_come_elsewhere(&self, key: KeyIx) -> u32 {
        let of_key = |request: &RequestId| self.open.get(request).is_some_and(|open| open.key == key);
        self.sent_on.iter().filter(|(request, _)| of_key(request)).map(|(_, left)| *left).sum()
    }

    pub(super) fn close(&mut self, request: RequestId) -> Option<KeyIx> {
        self.infeasible.remove(&request);
        self.sent_on.remove(&request);
        let Open { key, .. } = self.open.remove(&request)?;
        if self.by_key.get(&key) == Some(&request) {
            self.by_key.remove(&key);
        }
        Some(key)
    }

    /// Those of some keys, and where they were made.
    pub(super) fn of_keys(&self, keys: &BTreeSet<KeyIx>) -> Vec<(RequestId, NodeId)> {
        self.open.iter().filter(|(_, open)| keys.contains(&open.key)).map(|(id, open)| (*id, open.at)).collect()
    }

    /// The requests to a node.
    pub(super) fn at(&self, node: NodeId) -> Vec<RequestId> {
        let there = |(id, open): (&RequestId, &Open)| (open.at == node).then_some(*id);
        self.open.iter().filter_map(there).collect()
    }

    /// The keys of those that are open.
    pub(super) fn keys(&self) -> BTreeSet<KeyIx> {
        self.open.values().map(|open| open.key).collect()
    }

    pub(super) fn of_key(&self, key: KeyIx) -> impl Iterator<Item = &RequestId> {
        self.open.iter().filter(move |(_, open)| open.key == key).map(|(id, _)| id)
    }
}

impl Owner {
    /// Tells the raylet how many leases of a key could be used now; if nothing waits, withdraws what other nodes were asked for
    /// too. It is what is so now, not when the dispatcher said that it is to be told: another thread may have been told to say
    /// more since, and have been quicker.
    pub(super) fn ask_lease(self: &Arc<Self>, key: KeyIx) {
        let home = self.process.id.node;
        let avoids = self.process.out_of_reach();
        let _in_turn = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let (message, withdrawn) = {
            let mut core = self.lock();
            let wanted = core.dispatch.wanted(key);
            let withdrawn = match core.dispatch.head(key) {
                Some(_) => Vec::new(),
                None => core.withdraw(&BTreeSet::from([key])),
            };
            let message = if let Some(&id) = core.requests.by_key.get(&key) {
                let heard = core.requests.open.get(&id).map_or(0, |open| open.heard);
                if wanted == 0 {
                    core.close_request(id);
                }
                Some(ToRaylet::Backlog { from: self.id, id, backlog: wanted, heard })
            } else if wanted == 0 {
                None
            } else {
                let id = core.requests.draw();
                let open = Open::of(&core, key, home, None);
                core.requests.open.insert(id, open);
                core.requests.by_key.insert(key, id);
                Some(ToRaylet::Request(LeaseRequest { avoids, ..self.lease_request(&core, id, open, wanted, 0) }))
            };
            (message, withdrawn)
        };
        self.tell_withdrawn(withdrawn);
        if let Some(message) = message {
            self.process.tell_raylet(home, message);
        }
    }

    /// Nothing is wanted of these requests any more.
    fn tell_withdrawn(&self, withdrawn: Vec<(RequestId, NodeId)>) {
        for (id, at) in withdrawn {
            self.process.tell_raylet(at, ToRaylet::Backlog { from: self.id, id, backlog: 0, heard: 0 });
        }
    }

    fn lease_request(&self, core: &Core, id: RequestId, open: Open, backlog: u32, spilled: u8) -> LeaseRequest {
        let Open { key, depth, outlives_job, .. } = open;
        let (shape, head) = (core.dispatch.shape(key), core.dispatch.head(key));
        LeaseRequest {
            id,
            from: self.id,
            job: self.job,
            key,
            shape: shape.resources().clone(),
            backlog,
            depth,
            outlives_job,
            scheduling: shape.scheduling(),
            fails: shape.fails(),
            locality: head.map(|task| locality(task)).unwrap_or_default(),
            avoids: Vec::new(),
            spilled,
            purpose: Purpose::Tasks,
        }
    }

    /// What raylets, and others, say to this owner.
    pub(crate) fn hear(self: &Arc<Self>, message: OwnerMessage) {
        match message {
            OwnerMessage::Grant { request, lease, worker, open } => self.grant(request, lease, &worker, open),
            OwnerMessage::Spill { request, node, raylet, count, spilled, open } => {
                self.process.learn_raylet(node, raylet);
                self.spill(request, node, (count, spilled, open));
            }
            OwnerMessage::Refuse { request, error, of } => self.request_refused(request, of, &error),
            OwnerMessage::Recall { lease, yield_now } => self.recalled(lease, yield_now),
            OwnerMessage::LeaseLost { worker, process, ran, .. } => {
                self.worker_lost(worker, ran, &Error::worker_crashed(format!("worker {worker} ended")));
                if let Some(process) = process {
                    self.process.process_dead(process, "its raylet saw it end");
                }
            }
            OwnerMessage::Infeasible { request, text, first } => {
                if first {
                    tracing::warn!(target: "actinic", "{text}");
                }
                let mut core = self.lock();
                if core.requests.open.contains_key(&request) {
                    core.requests.infeasible.insert(request, text);
                }
            }
            OwnerMessage::Copied { seq, index, at } => self.copied(seq, index, at),
            OwnerMessage::Parked { lease, seq } => {
                if let Some(ix) = self.lease_ix(lease) {
                    self.parked(ix, seq);
                }
            }
            OwnerMessage::Count { from, message } => self.count_message(from, message),
            // It is asked, and answered: see `Process::cancel_owned`.
            OwnerMessage::Cancel { .. } => {}
        }
    }

    fn grant(self: &Arc<Self>, request: RequestId, lease: LeaseId, worker: &WorkerAddr, open: u32) {
        let (key, closed) = {
            let mut core = self.lock();
            let key = core.requests.open.get_mut(&request).map(|open| {
                open.heard += 1;
                open.key
            });
            if let (Some(key), Some(left)) = (key, core.requests.sent_on.get_mut(&request)) {
                *left = left.saturating_sub(1);
                core.dispatch.comes_from_elsewhere(key);
            }
            let closed = open == 0 && key.is_some_and(|key| core.requests.by_key.get(&key) == Some(&request));
            core.requests.infeasible.remove(&request);
            if open == 0 {
                core.close_request(request);
            }
            (key, closed)
        };
        if worker.peer.id != self.process.id && self.process.is_dead(worker.peer.id) {
            // Nothing put there would come back. The raylet ends it, or it would be granted again.
            self.process.return_lease(lease, false);
            return key.into_iter().for_each(|key| self.ask_again(key));
        }
        let link = if worker.peer.id == self.process.id {
            self.process.slot(worker.worker).map(|slot| Link::Local(Arc::new(LocalLink { slot, lease })))
        } else {
            self.process.endpoint().ok().map(|endpoint| {
                let peer = endpoint.peer(&worker.peer);
                Link::Remote(Arc::new(RemoteLink { peer, worker: worker.worker, lease }))
            })
        };
        match (key, link) {
            (Some(key), Some(link)) => {
                self.granted(key, link);
                if !closed && self.wants_no_more(key) {
                    // The raylet has granted what was wanted when it heard, and keeps the request for what may follow.
                    self.ask_lease(key);
                }
                if closed {
                    // What was asked for since then reached a raylet that had closed the request already.
                    self.ask_again(key);
                }
            }
            // The worker is gone already: another lease is needed for what waits.
            (Some(key), None) => {
                self.process.return_lease(lease, true);
                self.ask_again(key);
            }
            // The request was withdrawn meanwhile.
            (None, _) => self.process.return_lease(lease, true),
        }
    }

    /// Whether a key's request is open though nothing is wanted of it.
    fn wants_no_more(&self, key: KeyIx) -> bool {
        let core = self.lock();
        core.requests.by_key.contains_key(&key) && core.dispatch.wanted(key) == 0
    }

    fn spill(self: &Arc<Self>, request: RequestId, node: NodeId, (count, spilled, open): (u32, u8, u32)) {
        let avoids = self.process.out_of_reach();
        let is_out_of_reach = avoids.contains(&node);
        // Until it is told: else whoever withdraws it meanwhile would be heard first.
        let in_turn = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let (message, key, again) = {
            let mut core = self.lock();
            let Some(before) = core.requests.open.get(&request).copied() else { return };
            let key = before.key;
            let first = core.requests.by_key.get(&key) == Some(&request);
            if let Some(left) = core.requests.sent_on.get_mut(&request) {
                // It goes on to a third node: these come from there.
                *left = left.saturating_sub(count);
                core.dispatch.lost_elsewhere(key, count);
            }
            if open == 0 {
                core.close_request(request);
            }
            let id = core.requests.draw();
            let next = Open::of(&core, key, node, Some(before));
            core.requests.open.insert(id, next);
            core.requests.sent_on.insert(id, count);
            let before = core.dispatch.wanted(key);
            // Of a key that waits for what was sent on, less is wanted by what was sent on before.
            let sure = core.dispatch.is_sure_elsewhere(key);
            let told = if sure { count } else { core.requests.to_come_elsewhere(key) };
            core.dispatch.sent_elsewhere(key, count);
            // What was asked for since then reached a raylet that had closed the request already.
            let again = (first && open == 0 && before > told).then_some(key);
            let request = LeaseRequest { avoids, ..self.lease_request(&core, id, next, count, spilled) };
            (ToRaylet::Request(request), key, again)
        };
        if is_out_of_reach {
            // It was asked for before that was known.
            drop(in_turn);
            return self.ask_anew(|_| BTreeSet::from([key]));
        }
        self.process.tell_raylet(node, message);
        drop(in_turn);
        if let Some(key) = again {
            self.ask_again(key);
        }
        if self.process.is_dead_node(node) {
            // Who sent it on had not heard of that.
            self.node_lost(node, &Error::node_died(format!("node {node} died")));
        }
    }

    /// A raylet is out of reach for good, though its node may live: what was asked of it is asked for elsewhere, and nothing
    /// that is still asked for is to be sent there.
    pub(crate) fn raylet_lost(self: &Arc<Self>) {
        self.ask_anew(Requests::keys);
    }

    /// Withdraws every request of some keys, and makes those that are needed again.
    fn ask_anew(self: &Arc<Self>, which: impl FnOnce(&Requests) -> BTreeSet<KeyIx>) {
        let in_turn = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let (keys, withdrawn) = {
            let mut core = self.lock();
            let keys = which(&core.requests);
            let withdrawn = core.withdraw(&keys);
            (keys, withdrawn)
        };
        self.tell_withdrawn(withdrawn);
        drop(in_turn);
        keys.into_iter().for_each(|key| self.ask_again(key));
    }

    /// A raylet will not fulfil a request: what waits for it fails, unless it may yet be run otherwise.
    fn request_refused(self: &Arc<Self>, request: RequestId, of: Refused, error: &Error) {
        let (key, elsewhere, outlives_job) = {
            let mut core = self.lock();
            let Some(key) = core.close_request(request) else { return };
            let elsewhere = core.dispatch.has_leases(key) || core.requests.of_key(key).next().is_some();
            (key, elsewhere, core.dispatch.head(key).is_some_and(|head| head.outlives_job))
        };
        match of {
            // Workers that run show that there is nothing wrong with what they run.
            Refused::Node if elsewhere => {
                let owner = Arc::clone(self);
                self.process.spawn(async move {
                    tokio::time::sleep(REFUSED_FOR).await;
                    owner.ask_again(key);
                });
            }
            // It was asked for on behalf of what does not.
            Refused::Job if outlives_job => self.ask_again(key),
            _ => self.refused(key, error),
        }
    }

    pub(crate) fn lease_ix(&self, lease: LeaseId) -> Option<LeaseIx> {
        self.lock().leases.get(&lease).copied()
    }

    pub(super) fn worker_of(&self, lease: LeaseId) -> Option<WorkerId> {
        let core = self.lock();
        core.dispatch.link(*core.leases.get(&lease)?).map(Link::worker)
    }

    pub(crate) fn lease_of(&self, ix: LeaseIx) -> Option<LeaseId> {
        self.lock().dispatch.link(ix).map(Link::lease)
    }

    /// A process is gone, with the workers in it.
    pub(crate) fn process_lost(self: &Arc<Self>, process: ProcessId, why: &Error) {
        let workers = self.workers_where(|link| matches!(link, Link::Remote(link) if link.peer.id() == process));
        for worker in workers {
            self.worker_lost(worker, Ran::First, why);
        }
    }

    /// Why a task has not begun, in words: for `GetTimeout` and `state`.
    pub(crate) fn explain(&self, task: &Task) -> String {
        let key = task.key.load(std::sync::atomic::Ordering::Relaxed);
        if key == KeyIx::MAX {
            return "it waits for its arguments".to_owned();
        }
        {
            let mut core = self.lock();
            if let Some(why_not) = core.why_not(key) {
                return why_not.clone();
            }
            if let Some(link) = core.dispatch.locate(task.seq, key) {
                return format!("it runs, or is about to, at worker {} of node {}", link.worker(), link.lease().node);
            }
            if let Some((_, link)) = core.parked.get(&task.seq) {
                return format!("it has begun, and waits for a ref itself, on node {}", link.lease().node);
            }
        }
        let wanted = task.meta.shape.resources();
        match self.process.free_of(wanted) {
            Some(free) => format!("it waits for {wanted}: {free}"),
            None => format!("it waits for {wanted}"),
        }
    }
}

/// The node where more of a task's large arguments lie than at home, and most of all.
pub(super) fn nearest(task: &Task, home: NodeId) -> Option<NodeId> {
    let mut all = locality(task);
    // What lay on a node that is gone lies elsewhere, or is made again.
    all.retain(|(node, _)| !task.owner.process.is_dead_node(*node));
    let at_home = all.iter().find(|(node, _)| *node == home).map_or(0, |(_, bytes)| *bytes);
    all.into_iter().filter(|(_, bytes)| *bytes > at_home).max_by_key(|(_, bytes)| *bytes).map(|(node, _)| node)
}

/// Where a task's large arguments lie.
fn locality(task: &Task) -> Vec<(NodeId, u64)> {
    let mut bytes: BTreeMap<NodeId, u64> = BTreeMap::new();
    task.with_input(|input| {
        for dependency in &input.dependencies {
            match &*dependency.slot().lock() {
                State::Ready(Resolved::Stored(stored)) => {
                    // Several processes of a node may have it.
                    let nodes: BTreeSet<NodeId> = stored.at.iter().map(|at| at.id.node).collect();
                    for node in nodes {
                        *bytes.entry(node).or_default() += stored.size;
                    }
                }
                State::Ready(Resolved::Value(value)) if value.size() > crate::call::INLINE_LIMIT => {
                    *bytes.entry(dependency.process().id.node).or_default() += value.size() as u64;
                }
                _ => {}
            }
        }
    });
    bytes.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use actinic_transport::PeerAddr;

    use super::*;
    use crate::object::{RawRef, Stored};
    use crate::process::nowhere;
    use crate::task::{Input, What};

    /// A task goes where most of its arguments lie, each counted once a node, and not where nothing is any more.
    #[test]
    fn a_node_counts_once_and_a_dead_one_does_not() {
        let owner = nowhere();
        let process = &owner.process;
        let node = |number| NodeId(uuid::Uuid::from_u128(number));
        let resolved = |outcome| {
            let meta = Arc::clone(&process.put_meta);
            Task::resolved(Arc::clone(&owner), What::Put, meta, outcome, 1)
        };
        let stored = |size, nodes: &[u128]| {
            let mut id = process.id;
            let mut at = |number| {
                id.node = node(number);
                id.incarnation = process.env.uuid();
                PeerAddr { id, addrs: Vec::new(), relay: None }
            };
            let at = nodes.iter().map(|number| at(*number)).collect();
            RawRef::adopt(resolved(Resolved::Stored(Arc::new(Stored { size, at, refs: Vec::new() }))), 0)
        };
        let task = resolved(Resolved::Error(Error::object_lost("nothing")));
        let dependencies = vec![stored(5, &[1, 1, 1]), stored(11, &[2, 3])];
        task.set_input(Input { dependencies, ..Input::default() });
        assert_eq!(locality(&task), [(node(1), 5), (node(2), 11), (node(3), 11)]);
        process.node_dead(node(3), "it died");
        assert_eq!(nearest(&task, node(1)), Some(node(2)));
        process.node_dead(node(2), "it died");
        assert_eq!(nearest(&task, node(1)), None);
        drop(task.take_input());
    }

    /// What a key may count on from other nodes: what its requests were sent on for and has not come, and nothing of others.
    #[test]
    fn what_was_sent_on_counts_until_it_has_come() {
        let mut requests = Requests::default();
        let mut open = |key, left: Option<u32>| {
            let id = requests.draw();
            let at = NodeId(uuid::Uuid::from_u128(1));
            requests.open.insert(id, Open { key, at, depth: 0, outlives_job: false, heard: 0 });
            if let Some(left) = left {
                requests.sent_on.insert(id, left);
            }
            id
        };
        let (_home, first, _second, _others) = (open(7, None), open(7, Some(3)), open(7, Some(1)), open(8, Some(50)));
        assert_eq!((requests.to_come_elsewhere(7), requests.left(first)), (4, 3));
        requests.sent_on.insert(first, 1);
        assert_eq!(requests.to_come_elsewhere(7), 2);
        assert_eq!(requests.close(first), Some(7));
        assert_eq!(
            (requests.to_come_elsewhere(7), requests.to_come_elsewhere(8), requests.to_come_elsewhere(9)),
            (1, 50, 0)
        );
    }

    /// A detached actor's request may be sent on while nothing waits for it: it outlives the job wherever it is made.
    #[test]
    fn what_is_sent_on_is_for_whom_it_was() {
        let process = Arc::clone(&crate::process::nowhere().process);
        let owner = process.new_owner(crate::ids::JobId(process.env.uuid()), Arc::from(""));
        let mut core = owner.lock();
        let key = core.dispatch.key(&crate::raylet::Shape::none(), None);
        let at = NodeId(uuid::Uuid::from_u128(1));
        let first = Open { key, at, depth: 3, outlives_job: true, heard: 0 };
        let next = Open::of(&core, key, NodeId(uuid::Uuid::from_u128(2)), Some(first));
        let ask = owner.lease_request(&core, RequestId(1), next, 1, 1);
        assert_eq!((ask.depth, ask.outlives_job), (3, true));
    }
}
