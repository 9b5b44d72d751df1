//! Where one lease of a request goes: here, elsewhere, or nowhere yet.

use std::collections::BTreeMap;
use std::time::Duration;

use actinic_transport::NodeId;

use super::messages::{Action, LeaseId, LeaseRequest, Purpose, RefuseReason, RequestKey, Scheduling, WorkerKind};
use super::policy::{
    HOPS_MAX, Local, NEAR_PATIENCE, SPILL_AGAIN_AFTER, SPILLS_MAX, Seat, choose, least_used, near_but_busy,
};
use super::queue::{Request, Reserver, Verdict, Waits};
use super::serve::Pass;
use super::{Class, Lease, RayletCore, Recalled};
use crate::ids::WorkerId;
use crate::resources::ResourceSet;

/// What was dealt to a node in turn stays there so long before a node with room may have it: long enough for a busy machine,
/// on which nothing ends for a while, and shorter than [`RESERVE_AFTER`](super::serve::RESERVE_AFTER).
pub(super) const SPREAD_PATIENCE: Duration = Duration::from_millis(200);
/// How long to wait for word of a node that was asked for: the user may know of it before this node does.
const UNKNOWN_NODE_FOR: Duration = Duration::from_millis(100);
/// The wait for the first lease of a class above the node's capacity; doubled for each further one.
const HOLD_BACK_FIRST: Duration = Duration::from_millis(50);
const HOLD_BACK_MAX: Duration = Duration::from_secs(10);

impl RayletCore {
    /// What becomes of the request's next lease.
    pub(super) fn judge(&mut self, key: &RequestKey, pass: &mut Pass) -> Verdict {
        let Some(request) = self.queue.get(key) else {
            return Verdict::Wait(Waits::New);
        };
        let need = request.need.clone();
        let usable = !self.draining && need.fits(self.ledger.total());
        match request.ask.scheduling {
            Scheduling::NodeAffinity { node, soft } => {
                match self.judge_affinity(key, node, usable) {
                    // Rather elsewhere than nowhere.
                    Verdict::Refuse(_) if soft => self.judge_default(key, &need, usable, pass),
                    verdict => verdict,
                }
            }
            Scheduling::Spread => self.judge_spread(key, &need, usable, pass),
            Scheduling::Default => self.judge_default(key, &need, usable, pass),
        }
    }

    /// Whether one lease of it can be placed here now; else what it waits for.
    fn room(&mut self, key: &RequestKey) -> Result<(), Waits> {
        let Some(request) = self.queue.get(key) else {
            return Err(Waits::New);
        };
        if !Reserver::admits(self.reserver.as_ref(), &request.ask, &request.need, self.ledger.available()) {
            return Err(Waits::Resources);
        }
        // What holds nothing is not bounded by resources: let the workers come before more is placed.
        if request.ask.hold().is_empty() && self.pool.waiting() >= self.starting_max() as usize {
            return Err(Waits::Workers);
        }
        self.class_has_room(key)
    }

    fn class_has_room(&mut self, key: &RequestKey) -> Result<(), Waits> {
        let now = self.now;
        let Some(request) = self.queue.get(key) else {
            return Err(Waits::New);
        };
        let each = request.ask.shape.cpu().steps();
        if each == 0 || !request.is_tasks() {
            return Ok(());
        }
        let capacity = u32::try_from(self.ledger.total().cpu().steps() / each).unwrap_or(u32::MAX).max(1);
        let class = (request.ask.job, request.ask.depth, request.ask.shape.clone());
        let Some(state) = self.classes.get_mut(&class).filter(|state| state.live >= capacity) else {
            return Ok(());
        };
        let above = (state.live - capacity).min(16);
        let until = *state.allowed_at.get_or_insert(now + (HOLD_BACK_FIRST * 2_u32.pow(above)).min(HOLD_BACK_MAX));
        if until <= now { Ok(()) } else { Err(Waits::HeldBack { until }) }
    }

    fn judge_affinity(&mut self, key: &RequestKey, node: NodeId, usable: bool) -> Verdict {
        let Some(request) = self.queue.get(key) else {
            return Verdict::Wait(Waits::New);
        };
        let too_small = |has: &ResourceSet| {
            Verdict::Refuse(RefuseReason::NodeTooSmall { node, needs: request.need.clone(), has: has.clone() })
        };
        if node == self.node {
            return match (usable, self.draining) {
                (true, _) => self.room(key).map_or_else(Verdict::Wait, |()| Verdict::Here),
                (false, true) => Verdict::Refuse(RefuseReason::NodeDraining { node }),
                (false, false) => too_small(self.ledger.total()),
            };
        }
        let until = request.since + UNKNOWN_NODE_FOR;
        match self.cluster.peers.get(&node) {
            Some(_) if request.ask.avoids.contains(&node) => Verdict::Refuse(RefuseReason::NodeOutOfReach { node }),
            Some(peer) if peer.view.draining => Verdict::Refuse(RefuseReason::NodeDraining { node }),
            Some(peer) if !request.need.fits(&peer.view.total) => too_small(&peer.view.total),
            Some(_) if request.ask.spilled < HOPS_MAX => Verdict::There(node, request.waiting),
            None if !self.cluster.is_dead(node) && self.now < until => Verdict::Wait(Waits::Node { node, until }),
            _ => Verdict::Refuse(RefuseReason::NodeGone { node }),
        }
    }

    fn judge_default(&mut self, key: &RequestKey, need: &ResourceSet, usable: bool, pass: &mut Pass) -> Verdict {
        let room = if usable { self.room(key) } else { Err(Waits::Infeasible) };
        let Some(request) = self.queue.get(key) else {
            return Verdict::Wait(Waits::New);
        };
        let spilled = request.ask.spilled;
        // What actors hold is not given back by tasks that end.
        let beside_actors = usable && self.fits_beside_actors(need);
        let waited = usable && request.progress + SPILL_AGAIN_AFTER <= self.now;
        let may_spill = waited || spilled < if usable { SPILLS_MAX } else { HOPS_MAX };
        // Whoever sent it here looked at the others already.
        if room.is_ok() && (spilled > 0 || !may_spill) {
            return Verdict::Here;
        }
        if let Some(verdict) = self.judge_near(request, usable, &room) {
            if let (Verdict::There(..), Some(request)) = (&verdict, self.queue.get_mut(key)) {
                request.crowding += 1;
            }
            return verdict;
        }
        // What is known of the others is known for who may go to each of them.
        let anywhere = request.ask.avoids.is_empty();
        let hopeless = beside_actors && room.is_err() && anywhere && pass.nowhere.contains(need);
        if may_spill && !hopeless {
            let seats = self.seats(&request.ask, need, usable, room.is_ok());
            match choose(&request.ask, need, &seats, self.node) {
                Some(node) if node == self.node => return Verdict::Here,
                Some(node) => return Verdict::There(node, 1),
                None if beside_actors && anywhere => _ = pass.nowhere.insert(need.clone()),
                None if beside_actors => {}
                None if !usable => return self.queue_elsewhere(request, &seats),
                // The others' actors are not known here.
                None if spilled < SPILLS_MAX => {
                    let others: Vec<Seat<'_>> = seats.into_iter().filter(|seat| seat.node != self.node).collect();
                    if !others.is_empty() {
                        return self.queue_elsewhere(request, &others);
                    }
                }
                None => {}
            }
        }
        room.map_or_else(Verdict::Wait, |()| Verdict::Here)
    }

    /// Where its arguments lie there is no room: but leases that are idle count as taken, and there they are recalled.
    fn judge_near(&self, request: &Request, usable: bool, room: &Result<(), Waits>) -> Option<Verdict> {
        if request.ask.locality.is_empty() {
            return None;
        }
        let need = &request.need;
        let near = near_but_busy(&request.ask, &self.seats(&request.ask, need, usable, room.is_ok()))?;
        if near != self.node {
            // No more of one request than it could run at a time.
            let all = need.times(request.crowding + 1);
            let fits = self.cluster.peers.get(&near).is_some_and(|peer| all.fits(&peer.view.total));
            return (fits && request.ask.spilled == 0).then_some(Verdict::There(near, 1));
        }
        let in_time = self.now < request.progress + NEAR_PATIENCE;
        let wait = in_time && *room == Err(Waits::Resources) && self.others_hold(request);
        wait.then_some(Verdict::Wait(Waits::Resources))
    }

    fn seats(&self, ask: &LeaseRequest, need: &ResourceSet, usable: bool, room: bool) -> Vec<Seat<'_>> {
        let (total, free) = (self.ledger.total(), self.ledger.available());
        let mut seats = self.cluster.seats(need, Local { total, free, room, usable });
        seats.retain(|seat| !ask.avoids.contains(&seat.node));
        seats
    }

    fn fits_beside_actors(&self, need: &ResourceSet) -> bool {
        if self.leases.by_actors.is_empty() {
            return need.fits(self.ledger.total());
        }
        let mut without_tasks = self.ledger.total().clone();
        without_tasks.sub(&self.leases.by_actors);
        need.fits(&without_tasks)
    }

    /// This node can not run it (never, or while its actors live) and no other has room: wait at one that will.
    fn queue_elsewhere(&self, request: &Request, seats: &[Seat<'_>]) -> Verdict {
        match least_used(&request.need, seats) {
            // In portions, so that it is shared and yet ends soon.
            Some(node) => Verdict::There(node, request.waiting.div_ceil(64)),
            None => Verdict::Wait(Waits::Infeasible),
        }
    }

    /// In turn to the nodes with room; with none, in equal parts to all, where each part waits. A part that got
    /// nothing for a while goes to whoever has room.
    fn judge_spread(&mut self, key: &RequestKey, need: &ResourceSet, usable: bool, pass: &mut Pass) -> Verdict {
        let room = if usable { self.room(key) } else { Err(Waits::Infeasible) };
        let Some(request) = self.queue.get(key) else {
            return Verdict::Wait(Waits::New);
        };
        let spilled = request.ask.spilled;
        let at_home = spilled == 0;
        if room.is_ok() && (!at_home || request.dealt_here > 0) {
            return Verdict::Here;
        }
        let undealt = if at_home { request.waiting - request.dealt_here } else { 0 };
        let impatient = request.progress + SPREAD_PATIENCE <= self.now && spilled < SPILLS_MAX;
        let seats = self.seats(&request.ask, need, usable, room.is_ok());
        let with_room: Vec<NodeId> = seats.iter().filter(|seat| seat.room).map(|seat| seat.node).collect();
        let all: Vec<NodeId> = seats.iter().map(|seat| seat.node).collect();
        if !at_home && !usable && with_room.is_empty() {
            return if spilled < HOPS_MAX {
                self.queue_elsewhere(request, &seats)
            } else {
                Verdict::Wait(Waits::Infeasible)
            };
        }
        let next = if undealt > 0 || impatient || !usable { self.cluster.deal(&with_room) } else { None };
        match next {
            Some(node) if node == self.node => return Verdict::Here,
            Some(node) => return Verdict::There(node, 1),
            None if undealt > 0 && !all.is_empty() => self.deal_out(key, undealt, &all, pass),
            None => {}
        }
        room.map_or_else(Verdict::Wait, |()| Verdict::Here)
    }

    fn deal_out(&mut self, key: &RequestKey, undealt: u32, nodes: &[NodeId], pass: &mut Pass) {
        let hands = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        let mut shares: BTreeMap<NodeId, u32> = nodes.iter().map(|node| (*node, undealt / hands)).collect();
        for _ in 0..undealt % hands {
            if let Some(node) = self.cluster.deal(nodes) {
                *shares.entry(node).or_default() += 1;
            }
        }
        for (node, count) in shares.into_iter().filter(|(_, count)| *count > 0) {
            if node != self.node {
                self.place_there(key, node, count, pass);
            } else if let Some(request) = self.queue.get_mut(key) {
                request.dealt_here += count;
            }
        }
    }

    pub(super) fn place_here(&mut self, key: &RequestKey, out: &mut Vec<Action>) {
        let Some(request) = self.queue.get_mut(key) else {
            return;
        };
        request.waiting -= 1;
        request.dealt_here = request.dealt_here.saturating_sub(1);
        request.starting += 1;
        request.progress = self.now;
        let (holder, kind) = (request.holder(), request.ask.kind());
        self.granted += 1;
        let number = self.granted;
        let lease = Lease {
            request: key.1,
            depth: request.ask.depth,
            kind,
            actor: match request.ask.purpose {
                Purpose::Tasks => None,
                Purpose::Actor { actor, .. } => Some(actor),
            },
            outlives_job: request.ask.outlives_job,
            hold: request.ask.hold().clone(),
            blocked: false,
            worker: None,
            since: self.now,
            recalled: Recalled::No,
            yields_since: None,
            awaited: false,
            holder: self.leases.holders.share(holder),
        };
        self.ledger.open(&lease.holder, &lease.hold);
        self.join_class(&lease);
        let job = lease.holder.job;
        let ends = kind == WorkerKind::Slot && lease.actor.is_some();
        self.leases.insert(number, lease);
        if let Some(worker) = self.pool.take(job, kind, number, ends) {
            self.grant(number, worker, out);
        }
    }

    /// The lease has its worker: its owner learns of it.
    fn grant(&mut self, number: u64, worker: WorkerId, out: &mut Vec<Action>) {
        let now = self.now;
        let granted = self.leases.change(number, |lease| {
            lease.worker = Some(worker);
            lease.since = now;
            (lease.request(), lease.outlives_job && lease.actor.is_none())
        });
        let Some((key, outlives_job)) = granted else { return };
        if outlives_job {
            self.pool.outlives_job(worker);
        }
        let open = self.queue.get_mut(&key).map_or(0, |request| {
            request.starting = request.starting.saturating_sub(1);
            request.granted = request.granted.saturating_add(1);
            request.open()
        });
        let lease = LeaseId { node: self.node, number };
        out.push(Action::Grant { request: key.1, to: key.0, lease, worker, open });
        if open == 0 {
            self.close_request(&key);
        }
    }

    /// Workers that are ready go to the leases that wait for them.
    pub(super) fn pair(&mut self, out: &mut Vec<Action>) {
        for (number, worker) in self.pool.pair() {
            self.grant(number, worker, out);
        }
    }

    pub(super) fn place_there(&mut self, key: &RequestKey, node: NodeId, count: u32, pass: &mut Pass) {
        let Some(request) = self.queue.get_mut(key) else {
            return;
        };
        let count = count.min(request.waiting);
        request.waiting -= count;
        request.dealt_here = request.dealt_here.min(request.waiting);
        request.spilling += count;
        request.progress = self.now;
        self.cluster.spend(node, request.ask.hold().times(count), self.now);
        *pass.spills.entry((*key, node)).or_default() += count;
    }

    pub(super) fn refuse(&mut self, key: &RequestKey, why: RefuseReason, out: &mut Vec<Action>) {
        if self.end_request(key, out) {
            out.push(Action::Refuse { request: key.1, to: key.0, why });
        }
    }

    fn class(lease: &Lease) -> Option<Class> {
        let counts = lease.actor.is_none() && lease.hold.cpu().steps() > 0;
        counts.then(|| (lease.holder.job, lease.depth, lease.holder.shape.clone()))
    }

    fn join_class(&mut self, lease: &Lease) {
        if let Some(class) = Self::class(lease) {
            let state = self.classes.entry(class).or_default();
            state.live += 1;
            state.allowed_at = None;
        }
    }

    pub(super) fn leave_class(&mut self, lease: &Lease) {
        let Some(class) = Self::class(lease) else {
            return;
        };
        if let Some(state) = self.classes.get_mut(&class) {
            state.live -= 1;
            if state.live == 0 {
                self.classes.remove(&class);
            }
        }
    }
}
