//! Whom a process speaks with, and how.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actinic_transport::{Endpoint, Lane, NodeId, Peer, PeerAddr, Probe, ProcessId};

use super::Process;
use crate::api::error::{Error, Result};
use crate::ids::{ObjectId, OwnerId};
use crate::object::Borrowed;
use crate::protocol::{NodeResources, ToGcs, ToOwner, ToRaylet};
use crate::raylet::RayletLink;
use crate::resources::ResourceSet;
use crate::testing::Message as Lost;
use crate::worker::slot::TaskSlot;

/// So many of the dead a table of refs is told that is made late.
const DEAD_TOLD: usize = 256;

impl Process {
    pub(crate) fn set_endpoint(&self, endpoint: Endpoint, addrs: Vec<SocketAddr>) {
        // A process has one endpoint, set once where it is started.
        let _ = self.endpoint.set((endpoint, addrs));
    }

    pub(crate) fn endpoint(&self) -> Result<&Endpoint> {
        self.endpoint
            .get()
            .map(|(endpoint, _)| endpoint)
            .ok_or_else(|| Error::connection("this process has no connection to other processes"))
    }

    /// How others reach this process.
    pub(crate) fn address(&self) -> PeerAddr {
        let addrs = self.endpoint.get().map(|(_, addrs)| addrs.clone()).unwrap_or_default();
        PeerAddr { id: self.id, addrs, relay: self.relay.get().copied() }
    }

    pub(crate) fn set_store_peer(&self, peer: Peer) {
        let _ = self.store_peer.set(peer);
    }

    pub(crate) fn store_peer(&self) -> Option<Peer> {
        self.store_peer.get().cloned()
    }

    pub(crate) fn learn_raylet(&self, node: NodeId, at: PeerAddr) {
        let mut tables = self.lock();
        if tables.dead.contains(&at.id) && !tables.dead_nodes.contains(&node) {
            tables.out_of_reach.insert(node);
        }
        tables.raylets.insert(node, at);
    }

    /// Nodes that live, for all that is known, whose raylets this process will never reach again.
    pub(crate) fn out_of_reach(&self) -> Vec<NodeId> {
        self.lock().out_of_reach.iter().copied().collect()
    }

    /// Tells a node's raylet something, here or elsewhere.
    pub(crate) fn tell_raylet(&self, node: NodeId, message: ToRaylet) {
        match self.raylet.get() {
            Some(link) if node == self.id.node => link.tell(message),
            _ => {
                let at = self.lock().raylets.get(&node).cloned();
                let (Some(at), Ok(endpoint)) = (at, self.endpoint()) else {
                    tracing::debug!(%node, "a message to a raylet was not sent: its address is not known");
                    return;
                };
                let peer = endpoint.peer(&at);
                if let ToRaylet::Request(_) = &message {
                    self.may_lose(Lost::LeaseRequest, &peer);
                }
                RayletLink::Remote(peer, Arc::clone(&self.room)).tell(message);
            }
        }
    }

    pub(crate) fn tell_gcs(&self, message: ToGcs) {
        if let Some(link) = self.gcs.get() {
            link.tell(message);
        }
    }

    /// Leaves a message with those that wait for the same process; gives it back if none do.
    pub(crate) fn wait_with_others(&self, process: ProcessId, message: ToOwner) -> Option<ToOwner> {
        match self.lock().reaching.get_mut(&process) {
            Some(waiting) => {
                waiting.push(message);
                None
            }
            None => Some(message),
        }
    }

    /// A message waits until its process is found; `true` if nobody looks for that one yet.
    pub(crate) fn begin_reaching(&self, process: ProcessId, message: ToOwner) -> bool {
        let mut tables = self.lock();
        let waiting = tables.reaching.entry(process).or_default();
        waiting.push(message);
        waiting.len() == 1
    }

    /// What waits for a process that was found; none, and nothing waits for it any more, if nothing does.
    pub(crate) fn next_reached(&self, process: ProcessId) -> Option<Vec<ToOwner>> {
        let mut tables = self.lock();
        match tables.reaching.get_mut(&process) {
            Some(waiting) if !waiting.is_empty() => Some(std::mem::take(waiting)),
            _ => {
                tables.reaching.remove(&process);
                None
            }
        }
    }

    /// What waited for a process that is nowhere.
    pub(crate) fn end_reaching(&self, process: ProcessId) -> Vec<ToOwner> {
        self.lock().reaching.remove(&process).unwrap_or_default()
    }

    pub(crate) fn is_dead(&self, process: ProcessId) -> bool {
        self.lock().dead.contains(&process)
    }

    /// The processes that died last: of those before, what is said to them tells that they are dead.
    pub(crate) fn dead_lately(&self) -> Vec<ProcessId> {
        self.lock().dead.latest().take(DEAD_TOLD).collect()
    }

    /// Whether a process is over for this one, though it may live.
    pub(crate) fn cannot_reach(&self, at: &PeerAddr) -> bool {
        let ended = |endpoint: &Endpoint| endpoint.peer(at).ended().is_some();
        self.is_dead(at.id) || self.endpoint().is_ok_and(ended)
    }

    /// Asks the owner of a borrowed object how it came out; the answer resolves the slot.
    pub(crate) fn ask_owner(borrowed: &Arc<Borrowed>) {
        if borrowed.asked.swap(true, Ordering::AcqRel) {
            return;
        }
        let owner = borrowed.id.task.owner.process;
        borrowed.process.tell_owner(owner, ToOwner::GetObject { object: borrowed.id, lost: Vec::new() });
    }

    /// An object of this process's owners is needed by nobody: its copies elsewhere go.
    pub(crate) fn free_stored(&self, object: ObjectId, stored_at: &[PeerAddr]) {
        self.store.drop_copy(&object);
        for at in stored_at {
            if at.id == self.id {
                self.store.remove(&object);
            } else if let Ok(endpoint) = self.endpoint() {
                let keep = crate::protocol::workers::Keep { object, size: 0 };
                let _ = endpoint.peer(at).tell(Lane::Ordered, crate::protocol::OBJECTS, &keep);
            }
        }
    }

    /// The process that this one belongs to is gone: a worker ends, a driver loses its cluster.
    pub(crate) fn home_lost(self: &Arc<Self>, why: &str) {
        if self.on_crash.get().is_some() {
            // A worker without its raylet is of no use to anybody, and nobody else lives in its pid.
            #[allow(clippy::disallowed_methods)]
            std::process::exit(0);
        }
        if self.is_closing() {
            return;
        }
        if let Some(lost) = self.on_home_lost.get() {
            lost(why);
            return;
        }
        let error = format!("the node that this driver was attached to is gone: {why}");
        tracing::error!(target: "actinic", "{error}");
        self.lose_cluster(&self.node_died(error));
    }

    fn node_died(&self, what: impl Into<String>) -> Error {
        Error::node_died(what).at_node(self.id.node).remedy("start the node again, and connect again")
    }

    /// Nothing comes any more of what it waits for: it hears of no other process, and of no actor.
    fn lose_cluster(self: &Arc<Self>, why: &Error) {
        for owner in self.owners() {
            owner.die_of(why.clone());
        }
        self.borrowed_from(OwnerId::all(self.id.cluster), |_| why.clone());
        for client in self.clients() {
            client.die(why.clone());
        }
    }

    /// A worker's code is to be ended by force.
    pub(crate) fn crash_for(&self, why: &str) {
        tracing::debug!(why, "the worker ends");
        if let Some(crash) = self.on_crash.get() {
            crash();
        }
    }

    /// What all nodes have, and what of it is free.
    pub(crate) fn cluster_resources(&self) -> (BTreeMap<String, f64>, BTreeMap<String, f64>) {
        let tables = self.lock();
        let mut total = crate::resources::ResourceSet::new();
        let mut free = crate::resources::ResourceSet::new();
        for (node_total, available) in tables.resources.values() {
            total.add(node_total);
            free.add(available);
        }
        (total.to_map(), free.to_map_of(&total))
    }

    /// How much there is of each thing that is wanted, and how much of that is free, in words; none if this process does not
    /// know: worker processes are not told.
    pub(crate) fn free_of(&self, wanted: &ResourceSet) -> Option<String> {
        if self.lock().resources.is_empty() {
            return None;
        }
        let (total, free) = self.cluster_resources();
        let of = |all: &BTreeMap<String, f64>, name: &str| all.get(name).copied().unwrap_or(0.0);
        let each = wanted
            .to_map()
            .into_keys()
            .map(|name| format!("of {} {name} in the cluster {} are free", of(&total, &name), of(&free, &name)));
        Some(each.collect::<Vec<_>>().join(", "))
    }

    pub(crate) fn set_resources(
        &self,
        node: NodeId,
        of: Option<(crate::resources::ResourceSet, crate::resources::ResourceSet)>,
    ) {
        let mut tables = self.lock();
        match of {
            Some(of) => tables.resources.insert(node, of),
            None => tables.resources.remove(&node),
        };
    }

    /// What every node has, as a driver's raylet says.
    pub(crate) fn replace_resources(&self, nodes: Vec<NodeResources>) {
        self.lock().resources = nodes.into_iter().map(|(node, total, free)| (node, (total, free))).collect();
    }

    /// What every node has and has free, for those who have no raylet.
    pub(crate) fn node_resources(&self) -> Vec<NodeResources> {
        let tables = self.lock();
        tables.resources.iter().map(|(node, (total, free))| (*node, total.clone(), free.clone())).collect()
    }

    /// Looks again and again whether somebody still listens where a process did: a killed one says no goodbye.
    ///
    /// That nobody does says something only of an address that has answered before: a firewall refuses what a session that
    /// was dialled from the other side passes, and private addresses of two networks are the same.
    pub(crate) fn watch(self: &Arc<Self>, peer: &PeerAddr) {
        const EVERY: Duration = Duration::from_millis(400);
        let Some(at) = peer.addrs.first().copied() else { return };
        let (process, id) = (Arc::downgrade(self), peer.id);
        self.spawn(async move {
            let mut answered = false;
            // At first at once: it has just been heard, and is there.
            loop {
                let Some(process) = process.upgrade().filter(|process| !process.is_closing()) else { return };
                let Ok(endpoint) = process.endpoint().cloned() else { return };
                let Some(peer) = endpoint.known(id) else { return };
                let asked = process.env.now();
                let since = {
                    let env = process.env.clone();
                    move || env.now().saturating_sub(asked)
                };
                drop(process);
                match endpoint.probe(at, EVERY).await {
                    Probe::Answered => answered = true,
                    // What was heard since then was sent by a process that lives.
                    Probe::Unreachable
                        if answered && nobody_listens(&endpoint, at).await && peer.silent_for() >= since() =>
                    {
                        endpoint.declare_dead(id);
                        return;
                    }
                    Probe::Unreachable | Probe::Silent => {}
                }
                tokio::time::sleep(EVERY).await;
            }
        });
    }

    /// Keeps a worker process's slot alive as long as the process.
    pub(crate) fn keep_slot(&self, slot: &Arc<TaskSlot>) {
        self.add_slot(slot);
        self.lock().kept_slots.push(Arc::clone(slot));
    }

    /// Whether this process has heard of a node that lives.
    pub(crate) fn knows_node(&self, node: NodeId) -> bool {
        self.lock().resources.contains_key(&node)
    }

    /// From here on this process is dead: nobody is told when its thread ends, and nothing that it owns comes out.
    pub(crate) fn kill(self: &Arc<Self>) {
        self.closing.store(true, Ordering::Release);
        self.killed.store(true, Ordering::Release);
        self.pool.close();
        for actor in self.actors() {
            actor.cut();
        }
        self.lose_cluster(&self.node_died("the node of this process was killed"));
    }

    /// Makes it end as if whoever runs it had stopped it.
    pub(crate) fn ask_end(&self) {
        self.end_asked.notify_one();
    }

    /// Waits until somebody has asked it to end.
    pub(crate) async fn is_to_end(&self) {
        self.end_asked.notified().await;
    }

    /// Ends the process in order: nothing is accepted any more, the network says goodbye.
    pub(crate) async fn end(self: &Arc<Self>) {
        self.closing.store(true, Ordering::Release);
        if let Some(RayletLink::Local(raylet)) = self.raylet.get() {
            raylet.do_send(crate::raylet::Shutdown { killed: self.killed.load(Ordering::Acquire) });
            // Its children end when their pipes close; they are waited for, but not for long.
            for _ in 0..200 {
                match raylet.send(crate::raylet::ChildrenLeft).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        }
        if let Ok(endpoint) = self.endpoint() {
            endpoint.close().await;
        }
        // Whoever still waits for something hears that it will not come.
        self.lose_cluster(&Error::connection("the cluster was shut down"));
        self.close();
    }
}

/// Whether nobody listens at an address where a probe has just been refused, and that for good: a rule of a firewall that
/// comes and goes refuses one, and what anybody may send in its name is believed by one socket at most.
pub(crate) async fn nobody_listens(endpoint: &Endpoint, at: SocketAddr) -> bool {
    const AGAIN: u32 = 2;
    const EVERY: Duration = Duration::from_millis(50);
    for _ in 0..AGAIN {
        tokio::time::sleep(EVERY).await;
        if endpoint.probe(at, EVERY).await != Probe::Unreachable {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use actinic_transport::{Authority, ClusterId};

    use super::*;
    use crate::env::sim;
    use crate::net::tests::process;
    use crate::testing::eventually;

    const SOME_TIME: Duration = Duration::from_secs(5);

    /// The one watches the other, which has dialled it; what happens to that one's machine happens before.
    fn watched(refuses: bool, then: impl AsyncFnOnce(&Arc<Process>, &Arc<Process>) + 'static) {
        sim::run(1, move |env| async move {
            let authority = Authority::generate(ClusterId(env.uuid())).unwrap();
            let (watches, other) = (process(&env, &authority), process(&env, &authority));
            if refuses {
                env.world().unwrap().net().refuse(other.address().addrs[0].ip());
            }
            let there = other.endpoint().unwrap().peer(&watches.address());
            let known = || watches.endpoint().unwrap().known(other.id).is_some_and(|peer| peer.is_connected());
            assert!(eventually(SOME_TIME, || there.is_connected() && known()).await);
            watches.watch(&other.address());
            tokio::time::sleep(SOME_TIME).await;
            assert!(known(), "it lives");
            then(&watches, &other).await;
        });
    }

    #[test]
    fn a_process_whose_port_is_free_is_dead_at_once() {
        watched(false, async |watches, other| {
            let world = watches.env.world().unwrap().clone();
            world.net().crash(other.address().addrs[0]);
            assert!(eventually(Duration::from_secs(1), || watches.is_dead(other.id)).await);
        });
    }

    /// It can be dialled by nobody, and says so; its own connection stands.
    #[test]
    fn a_process_behind_a_firewall_that_refuses_lives() {
        watched(true, async |watches, other| {
            tokio::time::sleep(Duration::from_secs(120)).await;
            assert!(!watches.is_dead(other.id) && !other.is_dead(watches.id));
        });
    }

    /// What is refused once is asked again: a firewall's rules come and go, and so does who speaks in another's name.
    #[test]
    fn a_process_that_was_refused_for_a_moment_lives() {
        watched(false, async |watches, other| {
            let (net, ip) = (watches.env.world().unwrap().net().clone(), other.address().addrs[0].ip());
            for _ in 0..200 {
                net.refuse(ip);
                tokio::time::sleep(Duration::from_millis(40)).await;
                net.admit(ip);
                tokio::time::sleep(Duration::from_millis(377)).await;
            }
            assert!(!watches.is_dead(other.id) && !other.is_dead(watches.id));
        });
    }
}
