//! Which node a lease is best placed on.
//!
//! By locality of its arguments, be that node busy for a moment (PLACE-6); then packed: this node while its most used resource stays under half, then the
//! first other node under half; then the least used that has room; then, with no room anywhere, here, or, where what
//! actors hold leaves too little, the least used node that could ever run it (PLACE-1). Nodes with GPUs are left to those who ask for GPUs while others have
//! room (PLACE-2). A draining or dead node gets nothing (PLACE-3). What is sent on is sent on at most
//! [`SPILLS_MAX`] times in a row while this node could run it, and then only after it has waited here for
//! [`SPILL_AGAIN_AFTER`]; [`HOPS_MAX`] times in all where this node could not (PLACE-4). It counts as used there until that
//! node has had time to say so itself (PLACE-5). Where its arguments lie it waits for [`NEAR_PATIENCE`] while others' leases hold
//! what it lacks, which may be idle (PLACE-6).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use actinic_transport::NodeId;

use super::messages::{LeaseRequest, Purpose, View};
use crate::resources::{ResourceName, ResourceSet};

/// A node keeps what was sent on so often, if it can ever run it: views are late, and two full nodes would play
/// ping-pong with it.
pub(super) const SPILLS_MAX: u8 = 2;
/// But not behind a long task while another node is free: what has waited for so long may go on.
pub(super) const SPILL_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// An idle lease is back within so long once it is recalled; and so long what lies elsewhere may take to come.
pub(super) const NEAR_PATIENCE: Duration = Duration::from_millis(20);
/// Even what this node can never run stays after so many.
pub(super) const HOPS_MAX: u8 = 8;
/// Half, in millionths: above it, work is spread rather than packed.
const PACK_UP_TO: u64 = 500_000;
/// A view that comes sooner after a spill may not know of it: a raylet gathers what it says for 10 ms, the GCS for 20, and
/// there are the ways.
const VIEW_LAG: Duration = Duration::from_millis(50);
/// The spilled work never came there, if no view said so for so long.
const SPENT_FOR: Duration = Duration::from_secs(1);
/// How many dead nodes are remembered, to be refused at once.
const DEAD_MAX: usize = 1024;

#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) view: View,
    /// What this node sent there since the view was made.
    spent: Vec<Spent>,
    /// What the view says is available, less what was sent.
    pub(super) free: ResourceSet,
}

#[derive(Clone, Debug)]
struct Spent {
    at: Duration,
    amount: ResourceSet,
    /// A view came since, which may know of it or not.
    viewed: bool,
}

impl Spent {
    /// From then on the view is right without it.
    fn until(&self) -> Duration {
        self.at + if self.viewed { VIEW_LAG } else { SPENT_FOR }
    }
}

impl Peer {
    fn recount(&mut self) {
        self.free = self.view.available.clone();
        for spent in &self.spent {
            self.free.sub(&spent.amount);
        }
    }
}

/// The cluster, as this node sees it.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    me: NodeId,
    pub(super) peers: BTreeMap<NodeId, Peer>,
    /// Those of them that something was sent to of which their views may not know.
    spending: BTreeSet<NodeId>,
    dead: VecDeque<NodeId>,
    /// The node that `Spread` dealt to last.
    dealt: NodeId,
}

/// A node that could run it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat<'a> {
    pub(super) node: NodeId,
    total: &'a ResourceSet,
    free: &'a ResourceSet,
    queued: u32,
    /// It has room now.
    pub(super) room: bool,
}

/// This node, as the policy needs to know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local<'a> {
    pub(super) total: &'a ResourceSet,
    pub(super) free: &'a ResourceSet,
    pub(super) room: bool,
    /// It could run it, and takes new work.
    pub(super) usable: bool,
}

impl Cluster {
    pub(super) fn new(me: NodeId) -> Self {
        Self { me, peers: BTreeMap::new(), spending: BTreeSet::new(), dead: VecDeque::new(), dealt: me }
    }

    pub(super) fn update(&mut self, node: NodeId, view: View, now: Duration) {
        if node == self.me || self.is_dead(node) {
            return;
        }
        let mut spent = self.peers.remove(&node).map(|peer| peer.spent).unwrap_or_default();
        spent.iter_mut().for_each(|spent| spent.viewed = true);
        spent.retain(|spent| now < spent.until());
        if spent.is_empty() {
            self.spending.remove(&node);
        }
        let mut peer = Peer { free: ResourceSet::new(), view, spent };
        peer.recount();
        self.peers.insert(node, peer);
    }

    pub(super) fn lost(&mut self, node: NodeId) {
        self.peers.remove(&node);
        self.spending.remove(&node);
        if !self.is_dead(node) {
            self.dead.push_back(node);
            if self.dead.len() > DEAD_MAX {
                self.dead.pop_front();
            }
        }
    }

    /// Node ids are never used twice, so dead is for ever.
    pub(super) fn is_dead(&self, node: NodeId) -> bool {
        self.dead.contains(&node)
    }

    pub(super) fn spend(&mut self, node: NodeId, amount: ResourceSet, now: Duration) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.free.sub(&amount);
            peer.spent.push(Spent { at: now, amount, viewed: false });
            self.spending.insert(node);
        }
    }

    /// Forget what views have had time to know of, and what never arrived; the time when there will be more to forget.
    pub(super) fn expire(&mut self, now: Duration) -> Option<Duration> {
        let mut next = None;
        self.spending.retain(|node| {
            let Some(peer) = self.peers.get_mut(node) else { return false };
            let before = peer.spent.len();
            peer.spent.retain(|spent| now < spent.until());
            if peer.spent.len() < before {
                peer.recount();
            }
            next = peer.spent.iter().map(Spent::until).chain(next).min();
            !peer.spent.is_empty()
        });
        next
    }

    #[cfg(test)]
    pub(super) fn assert_sound(&self) {
        let spending = self.peers.iter().filter(|(_, peer)| !peer.spent.is_empty()).map(|(node, _)| node);
        assert!(spending.eq(&self.spending), "what was sent is forgotten in time");
    }

    /// Everyone who could ever run `need`: this node, then the others in a fixed order that begins after this node,
    /// so that nodes which all pack do not all pack onto the same one.
    pub(super) fn seats<'a>(&'a self, need: &ResourceSet, local: Local<'a>) -> Vec<Seat<'a>> {
        let mine = Seat { node: self.me, total: local.total, free: local.free, queued: 0, room: local.room };
        let after = self.peers.range(self.me..).chain(self.peers.range(..self.me));
        let others =
            after.filter(|(_, peer)| !peer.view.draining && need.fits(&peer.view.total)).map(|(node, peer)| Seat {
                node: *node,
                total: &peer.view.total,
                free: &peer.free,
                queued: peer.view.queued,
                room: need.fits(&peer.free),
            });
        local.usable.then_some(mine).into_iter().chain(others).collect()
    }

    /// The next in turn among these, for `Spread`.
    pub(super) fn deal(&mut self, nodes: &[NodeId]) -> Option<NodeId> {
        let next = nodes.iter().filter(|node| **node > self.dealt).min().or_else(|| nodes.iter().min()).copied();
        self.dealt = next.unwrap_or(self.dealt);
        next
    }
}

impl Seat<'_> {
    /// How much of its scarcest resource is used once `need` is placed there, in millionths.
    fn use_after(&self, need: &ResourceSet) -> u64 {
        let mut used = self.total.clone();
        used.sub(self.free);
        used.add(need);
        used.dominant_share(self.total)
    }

    fn has_gpus(&self) -> bool {
        self.total.get(&ResourceName::Gpu).steps() > 0
    }
}

/// The seat for one lease among those with room (PLACE-1, PLACE-2).
pub(super) fn choose(ask: &LeaseRequest, need: &ResourceSet, seats: &[Seat<'_>], me: NodeId) -> Option<NodeId> {
    let free: Vec<&Seat<'_>> = seats.iter().filter(|seat| seat.room).collect();
    if let Some(near) = nearest(ask, &free) {
        return Some(near);
    }
    if need.get(&ResourceName::Gpu).steps() == 0 {
        let plain: Vec<&Seat<'_>> = free.iter().copied().filter(|seat| !seat.has_gpus()).collect();
        if !plain.is_empty() {
            return pack(need, &plain, me);
        }
    }
    pack(need, &free, me)
}

/// The one with most of its arguments' bytes. Only a copy of at least half as much is as good: for less it is better
/// to move the arguments than to wait. Actors live long, so their arguments' place says nothing.
fn nearest(ask: &LeaseRequest, seats: &[&Seat<'_>]) -> Option<NodeId> {
    if ask.purpose != Purpose::Tasks {
        return None;
    }
    let most = ask.locality.iter().map(|(_, bytes)| *bytes).max()?;
    let bytes =
        |seat: &Seat<'_>| ask.locality.iter().find(|(node, _)| *node == seat.node).map_or(0, |(_, bytes)| *bytes);
    // Of equals the last wins: look at this node, the first seat, last.
    let best = seats.iter().rev().max_by_key(|seat| bytes(seat))?;
    (most > 0 && bytes(best) >= most.div_ceil(2)).then_some(best.node)
}

/// The node where most of its arguments' bytes lie, if that has no room, and no other has as many (PLACE-6).
pub(super) fn near_but_busy(ask: &LeaseRequest, seats: &[Seat<'_>]) -> Option<NodeId> {
    if ask.locality.is_empty() {
        return None;
    }
    let (free, busy): (Vec<&Seat<'_>>, Vec<&Seat<'_>>) = seats.iter().partition(|seat| seat.room);
    if nearest(ask, &free).is_some() { None } else { nearest(ask, &busy) }
}

fn pack(need: &ResourceSet, free: &[&Seat<'_>], me: NodeId) -> Option<NodeId> {
    let uses: Vec<(u64, NodeId)> = free.iter().map(|seat| (seat.use_after(need), seat.node)).collect();
    // Packing is for what takes something: what takes nothing stays here.
    let under = |(used, node): &&(u64, NodeId)| *used < PACK_UP_TO || (need.is_empty() && *node == me);
    let packed = uses.iter().find(under);
    packed.or_else(|| uses.iter().min_by_key(|(used, _)| *used)).map(|(_, node)| *node)
}

/// Where to queue what no node has room for and this one can never run.
pub(super) fn least_used(need: &ResourceSet, seats: &[Seat<'_>]) -> Option<NodeId> {
    seats.iter().min_by_key(|seat| (seat.use_after(need), seat.queued)).map(|seat| seat.node)
}
