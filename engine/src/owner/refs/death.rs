//! Deaths: of a process with all its owners, or of one owner in a living process.

use std::collections::{BTreeMap, BTreeSet};

use actinic_transport::ProcessId;

use super::handout::{Cover, Outgoing};
use super::{HandOutId, RefAction, RefTable, object};
use crate::ids::OwnerId;
use crate::recent::Recent;

/// How many of the dead are remembered, of either kind.
///
/// A table forgets the oldest first. A `Register` or `Granted` that names an owner forgotten (65 536 deaths while one
/// message was on its way) would leave one registration behind; nothing is ever freed too early by forgetting.
const DEAD_MAX: usize = 65_536;

/// Who is dead.
#[derive(Debug, Default)]
pub(super) struct Graveyard {
    processes: Recent<ProcessId>,
    owners: Recent<OwnerId>,
}

impl Graveyard {
    pub(super) fn contains(&self, owner: &OwnerId) -> bool {
        self.processes.contains(&owner.process) || self.owners.contains(owner)
    }
}

impl RefTable {
    /// A process died, and every owner in it (REF-6).
    pub(crate) fn process_died(&mut self, process: ProcessId, out: &mut Vec<RefAction>) {
        if process == self.me.process || !self.dead.processes.insert(process, DEAD_MAX) {
            return;
        }
        let mut named: BTreeSet<OwnerId> = self.lent.range(OwnerId::of(process)).map(|(&who, _)| who).collect();
        named.extend(self.borrowed.range(OwnerId::of(process)).map(|(&who, _)| who));
        named.extend(self.due.range(OwnerId::of(process)).map(|(&who, _)| who));
        named.extend(self.outgoing.values().map(|outgoing| outgoing.to).filter(|to| to.process == process));
        self.bury(&named, out);
    }

    /// One owner died, its process perhaps not (REF-6).
    pub(crate) fn owner_died(&mut self, owner: OwnerId, out: &mut Vec<RefAction>) {
        if owner == self.me || self.dead.contains(&owner) {
            return;
        }
        self.dead.owners.insert(owner, DEAD_MAX);
        self.bury(&BTreeSet::from([owner]), out);
    }

    /// First what they owned is lost, so that nothing that ends with them is reported to one of them.
    fn bury(&mut self, owners: &BTreeSet<OwnerId>, out: &mut Vec<RefAction>) {
        for &owner in owners {
            self.lose_objects_of(owner, out);
        }
        for &owner in owners {
            self.end_loans_to(owner, out);
            self.end_grants_by(owner, out);
            self.end_hand_outs(owner, out);
        }
        self.unwind(out);
    }

    fn end_loans_to(&mut self, borrower: OwnerId, out: &mut Vec<RefAction>) {
        for slot in self.lent.remove(&borrower).unwrap_or_default() {
            if let Some(entry) = self.owned.get_mut(slot) {
                entry.rare().borrowers.remove(&borrower);
                entry.tidy();
            }
            self.settle_mine(slot, out);
        }
    }

    /// Carries that were announced will not come. Those that came without announcement still get theirs from the
    /// owner, which had sent it before the giver could send the carry.
    fn end_grants_by(&mut self, giver: OwnerId, out: &mut Vec<RefAction>) {
        #[cfg(test)]
        if self.planted == Some(super::tests::Planted::DeadGiverExpected) {
            return;
        }
        let Some(due) = self.due.remove(&giver) else { return };
        let (announced, came): (BTreeMap<_, _>, BTreeMap<_, _>) =
            due.into_iter().partition(|&(_, balance)| balance < 0);
        if !came.is_empty() {
            self.due.insert(giver, came);
        }
        for (object, balance) in announced {
            if let Some(entry) = self.borrowed_mut(&object) {
                let count = u32::try_from(-balance).unwrap_or(u32::MAX);
                entry.expected = entry.expected.saturating_sub(count);
            }
            self.settle_theirs(object, out);
        }
    }

    fn lose_objects_of(&mut self, owner: OwnerId, out: &mut Vec<RefAction>) {
        self.due.retain(|_, due| {
            due.retain(|object, _| object.task.owner != owner);
            !due.is_empty()
        });
        let Some(slots) = self.borrowed.get_mut(&owner) else { return };
        slots.retain(|&slot, entry| {
            let known = std::mem::replace(&mut entry.lost, true);
            (entry.registered, entry.expected, entry.awaited) = (0, 0, 0);
            let held = entry.is_held();
            if held && !known {
                out.push(RefAction::OwnerLost(object(owner, slot)));
            }
            held
        });
        if slots.is_empty() {
            self.borrowed.remove(&owner);
        }
    }

    /// Hand-outs to the dead are moot, and no answer comes of it to those that are to be registered with it.
    fn end_hand_outs(&mut self, owner: OwnerId, out: &mut Vec<RefAction>) {
        let concerns = |outgoing: &Outgoing| outgoing.to == owner || outgoing.waiting.contains_key(&owner);
        let ids: Vec<HandOutId> =
            self.outgoing.iter().filter(|(_, outgoing)| concerns(outgoing)).map(|(&id, _)| id).collect();
        for id in ids {
            let Some(mut outgoing) = self.outgoing.remove(&id) else { continue };
            let waited = !outgoing.waiting.is_empty();
            let to_dead = outgoing.to == owner;
            outgoing.waiting.remove(&owner);
            for carried in &mut outgoing.carried {
                if to_dead || carried.object.task.owner == owner {
                    let cover = std::mem::replace(&mut carried.cover, Cover::None);
                    self.end_cover(carried.object, cover, out);
                }
            }
            if to_dead {
                // Whoever waits for it goes on, and fails to send.
                if waited && outgoing.end.is_none() {
                    out.push(RefAction::Ready(id));
                }
                continue;
            }
            self.go_on(id, outgoing, out);
        }
    }
}
