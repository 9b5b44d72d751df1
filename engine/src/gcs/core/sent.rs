//! Actors that were sent to a node and have not been admitted there: who is told what they wait for, and who moves.
//!
//! A node that is chosen may be busy, or busy when the actor comes, for the GCS hears late of what a node has left. Its
//! raylet lets the actor wait for its turn, which may be far away while another node falls idle (GCS-14).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{NodeId, ProcessId};

use super::placement::{ClassKey, TOLD_MAX, can_take, class_of, could_ever_take, pending_warning};
use super::table::{Actor, Waiting};
use super::{Action, GcsCore, NodeState, Scheduling};

/// So many of those who have waited longest are looked at, of each class.
const LOOKED_MAX: usize = 256;

/// Actors that need the same, and have waited for a while where they were sent.
#[derive(Debug, Default)]
pub(super) struct LongSent {
    /// With when they were sent.
    members: BTreeSet<(Duration, u64)>,
    warned: bool,
}

/// By what they need.
pub(super) type ByClass = BTreeMap<ClassKey, LongSent>;

#[cfg(test)]
impl LongSent {
    pub(super) fn members(&self) -> &BTreeSet<(Duration, u64)> {
        &self.members
    }
}

impl GcsCore {
    /// A node has admitted an actor that was sent there.
    pub(super) fn admit(&mut self, number: u64, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.in_flight.remove(&number);
        }
        let Some(actor) = self.actors.get_mut(number) else { return };
        actor.admitted = true;
        if let Waiting::There(since) = actor.waiting {
            actor.waiting = Waiting::No;
            self.not_sent(number, since);
        }
    }

    /// An actor waits no more where it was sent.
    pub(super) fn not_sent(&mut self, number: u64, since: Duration) {
        if self.sent.remove(&(since, number)) {
            return;
        }
        if self.recalled.is_some_and(|(of, _)| of == number) {
            self.recalled = None;
            self.retry = true;
        }
        let Some(actor) = self.actors.get(number) else { return };
        let class = class_of(&actor.row.spec);
        if let Some(long) = self.long_sent.get_mut(&class) {
            long.members.remove(&(since, number));
            if long.members.is_empty() {
                self.long_sent.remove(&class);
            }
        }
        self.set_waits(number, None);
    }

    /// When to look at those who were sent next.
    pub(super) fn next_sent(&self) -> Option<Duration> {
        let new = self.sent.first().map(|(since, _)| *since + self.config.move_after);
        let first = |long: &LongSent| long.members.first().filter(|_| !long.warned).map(|(since, _)| *since);
        let warns = self.long_sent.values().filter_map(first).min().map(|since| since + self.config.warn_busy_after);
        [new, warns].into_iter().flatten().min()
    }

    /// Those who have waited for a while where they were sent may move from now on, and whoever watches them is told what
    /// they wait for; people are, if it takes long.
    pub(super) fn look_at_sent(&mut self) {
        while let Some((since, number)) = self.sent.first().copied()
            && since + self.config.move_after <= self.now
        {
            self.sent.pop_first();
            let Some(actor) = self.actors.get(number) else { continue };
            let long = self.long_sent.entry(class_of(&actor.row.spec)).or_default();
            long.members.insert((since, number));
            if long.members.len() <= TOLD_MAX {
                let text = self.why_waits_there(actor);
                self.set_waits(number, text.map(Arc::from));
            }
        }
        // Room may have been there before them.
        self.retry |= !self.long_sent.is_empty();
        self.warn_long_sent();
    }

    fn warn_long_sent(&mut self) {
        let mut due = Vec::new();
        for long in self.long_sent.values_mut().filter(|long| !long.warned) {
            let Some((since, first)) = long.members.first().copied() else { continue };
            if since + self.config.warn_busy_after <= self.now {
                long.warned = true;
                due.push((first, long.members.iter().map(|(_, number)| *number).collect::<Vec<_>>()));
            }
        }
        due.sort_unstable();
        for (first, members) in due {
            let Some(actor) = self.actors.get(first) else { continue };
            let text = self.why_waits_there(actor).unwrap_or_default();
            let warning = pending_warning(&actor.row.spec, members.len(), &text);
            let owner = |member: &u64| self.actors.get(*member).map(|actor| actor.row.spec.owner.process);
            let to: BTreeSet<ProcessId> = members.iter().filter_map(owner).collect();
            self.out.push(Action::WarnOwners { to: to.into_iter().collect(), warning });
        }
    }

    /// Asks a busy node to give back an actor that has waited there for a while, if another has room for it (GCS-14). One at
    /// a time: the room may be for one.
    pub(super) fn recall_sent(&mut self) {
        if self.long_sent.is_empty() || self.recalled.is_some_and(|(_, until)| self.now < until) {
            return;
        }
        let of_class = |long: &LongSent| {
            let mut oldest = long.members.iter().take(LOOKED_MAX);
            oldest.find(|(_, number)| self.has_room_elsewhere(*number)).copied()
        };
        let Some((_, number)) = self.long_sent.values().filter_map(of_class).min() else { return };
        let Some((node, run)) = self.actors.get(number).and_then(|actor| Some((actor.row.node?, actor.row.run())))
        else {
            return;
        };
        self.recalled = Some((number, self.now + self.config.move_after));
        self.out.push(Action::RecallActor { node, run });
    }

    /// Whether an actor that was sent to a busy node could begin at another now.
    fn has_room_elsewhere(&self, number: u64) -> bool {
        let Some(actor) = self.actors.get(number) else { return false };
        if let Scheduling::NodeAffinity { node, .. } = actor.row.spec.scheduling
            && self.nodes.get(&node).is_some_and(|bound| could_ever_take(bound, &actor.row.spec))
        {
            return false;
        }
        let Some(here) = actor.row.node.and_then(|id| self.nodes.get(&id)) else { return false };
        // Where there is room it is about to begin, and who does not answer gives nothing back.
        if here.row.state != NodeState::Alive || can_take(here, actor) {
            return false;
        }
        self.nodes.values().any(|node| node.row.id != here.row.id && can_take(node, actor))
    }

    /// What an actor waits for where it was sent.
    pub(super) fn why_waits_there(&self, actor: &Actor) -> Option<String> {
        let id = actor.row.node?;
        if self.nodes.get(&id).is_some_and(|node| can_take(node, actor)) {
            return Some(format!("node {id}, which has room for it, has not started a worker for it yet"));
        }
        Some(format!("{}; it waits for its turn on node {id}", self.why_waits(&actor.row.spec)))
    }
}
