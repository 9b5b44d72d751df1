//! Actors that it knows of, and those that it asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, Weak};

use super::Process;
use crate::actor::client::{ActorName, Client};
use crate::ids::ActorId;
use crate::task::Task;

/// Calls in flight whose caller is over, by its number and theirs.
#[derive(Default)]
pub(super) struct Orphans {
    calls: BTreeMap<(u32, u64), Weak<Client>>,
    /// When there are so many it is looked which of them may still be answered.
    sweep: usize,
}

/// Fewer calls than this are not looked through.
const ORPHANS_FEW: usize = 1024;

impl Process {
    /// Calls are in flight whose caller is over: when they are answered, their places are others'.
    pub(crate) fn orphaned(&self, client: &Arc<Client>, calls: &[Arc<Task>]) {
        if calls.is_empty() {
            return;
        }
        let mut orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
        let Orphans { calls: known, sweep } = &mut *orphans;
        known.extend(calls.iter().map(|task| ((task.owner.id.number, task.seq), Arc::downgrade(client))));
        if known.len() > *sweep {
            // Those of actors that died meanwhile are never answered.
            known.retain(|(owner, seq), client| client.upgrade().is_some_and(|client| client.has_flying(*owner, *seq)));
            *sweep = ORPHANS_FEW.max(2 * known.len());
        }
    }

    /// One of those is answered.
    pub(crate) fn orphan_answered(&self, owner: u32, seq: u64) {
        let client = self.orphans.lock().unwrap_or_else(PoisonError::into_inner).calls.remove(&(owner, seq));
        if let Some(client) = client.and_then(|client| client.upgrade()) {
            client.answered_numbered(owner, seq);
        }
    }

    pub(crate) fn add_client(&self, client: &Arc<Client>) {
        self.lock().clients.insert(client.id, Arc::downgrade(client));
    }

    /// The client of an actor, by any id that it is known by here.
    pub(crate) fn client(&self, id: ActorId) -> Option<Arc<Client>> {
        let known = self.lock().clients.get(&id)?.upgrade()?;
        Some(Arc::clone(known.real()))
    }

    /// The client of an actor, and whether it was made now.
    pub(crate) fn client_or_new(&self, id: ActorId, make: impl FnOnce() -> Arc<Client>) -> (Arc<Client>, bool) {
        let known = {
            let mut tables = self.lock();
            match tables.clients.get(&id).and_then(Weak::upgrade) {
                Some(known) => known,
                None => {
                    let made = make();
                    tables.clients.insert(id, Arc::downgrade(&made));
                    return (made, true);
                }
            }
        };
        (Arc::clone(known.real()), false)
    }

    pub(super) fn clients(&self) -> Vec<Arc<Client>> {
        self.lock().clients.values().filter_map(Weak::upgrade).collect()
    }

    /// The client of the actor that had a name last, if it may still have it.
    pub(crate) fn named_client(&self, name: &ActorName) -> Option<Arc<Client>> {
        let known = self.lock().named.get(name)?.upgrade()?;
        let known = Arc::clone(known.real());
        (!known.is_dead()).then_some(known)
    }

    /// An actor has this name; or will, if nobody else has it.
    pub(crate) fn set_named(&self, name: &Arc<ActorName>, client: &Arc<Client>) {
        self.lock().named.insert(Arc::clone(name), Arc::downgrade(client));
    }

    pub(crate) fn drop_client(&self, id: ActorId, name: Option<&ActorName>) {
        let mut tables = self.lock();
        if tables.clients.get(&id).is_some_and(|client| client.strong_count() == 0) {
            tables.clients.remove(&id);
        }
        if let Some(name) = name
            && tables.named.get(name).is_some_and(|client| client.strong_count() == 0)
        {
            tables.named.remove(name);
        }
    }
}
