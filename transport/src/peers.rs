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
            }
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
