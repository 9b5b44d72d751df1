//! What an endpoint remembers of other process incarnations.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::session::Session;
use crate::{DownReason, Peer, ProcessId, Revoked};

#[derive(Default)]
pub(crate) struct Peers {
    pub(crate) slots: BTreeMap<ProcessId, Slot>,
    pub(crate) revoked: BTreeSet<Revoked>,
    /// Declared dead, oldest first.
    pub(crate) dead: VecDeque<ProcessId>,
    /// Those whose last session ended, oldest first: of them the number of the next is remembered.
    ended: VecDeque<ProcessId>,
    pub(crate) closed: bool,
}

/// What is known of another process incarnation.
pub(crate) struct Slot {
    pub(crate) peer: Option<Peer>,
    /// The number of the next session with it.
    pub(crate) next: u64,
    /// There will be none any more.
    pub(crate) never: Option<DownReason>,
}

/// What a greeting meets.
pub(crate) enum Admission {
    Session(Peer),
    Over(u64),
    Never(DownReason),
}

/// Incarnations remembered as dead.
const MAX_DEAD: usize = 65_536;
/// Incarnations remembered whose sessions have ended.
const MAX_ENDED: usize = 4_096;

impl Peers {
    pub(crate) fn slot(&mut self, id: ProcessId) -> &mut Slot {
        self.slots.entry(id).or_insert(Slot { peer: None, next: 1, never: None })
    }

    /// What outlives a session is the number of the next, unless there will be none.
    pub(crate) fn over(&mut self, session: &Arc<Session>) {
        let slot = self.slot(session.id);
        if slot.peer.as_ref().is_some_and(|peer| Arc::ptr_eq(&peer.0, session)) {
            slot.peer = None;
            let gone = matches!(session.ended(), Some(DownReason::Goodbye | DownReason::Replaced(_)));
            if gone && slot.never.is_none() {
                self.slots.remove(&session.id);
            } else if slot.never.is_none() {
                self.remember_ended(session.id);
            }
        }
    }

    /// So are those whose sessions have ended.
    fn remember_ended(&mut self, id: ProcessId) {
        self.ended.push_back(id);
        if self.ended.len() > MAX_ENDED
            && let Some(oldest) = self.ended.pop_front()
            // It may have another session by now, whose end is noted then, or be dead for good.
            && self.slots.get(&oldest).is_some_and(|slot| slot.peer.is_none() && slot.never.is_none())
        {
            self.slots.remove(&oldest);
        }
    }

    /// The dead are many in a long life; the oldest are forgotten.
    pub(crate) fn remember_dead(&mut self, id: ProcessId) {
        self.dead.push_back(id);
        if self.dead.len() > MAX_DEAD
            && let Some(oldest) = self.dead.pop_front()
        {
            self.slots.remove(&oldest);
        }
    }

    /// Why there is no session with that process.
    pub(crate) fn barred(&self, id: ProcessId) -> Option<DownReason> {
        if self.closed {
            return Some(DownReason::Closed);
        }
        if self.revoked.contains(&Revoked::Process(id)) || self.revoked.contains(&Revoked::Node(id.node)) {
            return Some(DownReason::Revoked);
        }
        self.slots.get(&id)?.never.clone()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{ClusterId, NodeId};

    #[test]
    fn those_whose_sessions_ended_are_forgotten_and_the_dead_are_not() {
        let id = |number: usize| {
            let uuid = Uuid::from_u128(number as u128);
            ProcessId { cluster: ClusterId(uuid), node: NodeId(uuid), incarnation: uuid }
        };
        let mut peers = Peers::default();
        for number in 0..3 * MAX_ENDED {
            let slot = peers.slot(id(number));
            slot.next = 2;
            if number == 0 {
                slot.never = Some(DownReason::Declared);
            }
            peers.remember_ended(id(number));
        }
        assert_eq!((peers.slots.len(), peers.ended.len()), (MAX_ENDED + 1, MAX_ENDED));
        assert_eq!(peers.barred(id(0)), Some(DownReason::Declared));
        assert_eq!(peers.slot(id(3 * MAX_ENDED - 1)).next, 2);
    }
}
