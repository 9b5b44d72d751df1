//! Refs that travel: giving, receiving, and what owners tell one another about it.

use std::collections::BTreeMap;

use super::{HandOut, HandOutId, Hold, RefAction, RefMessage, RefTable, Slot, add, object, slot};
use crate::ids::{ObjectId, OwnerId};

/// Objects named in one message at most; a hand-out of more sends several.
pub(super) const SLOTS_MAX: usize = 1024;

/// A message with refs in it that may still come back.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) to: OwnerId,
    pub(super) carried: Vec<Carried>,
    /// Answers to come, by owner asked.
    pub(super) waiting: BTreeMap<OwnerId, u32>,
    /// How it ended, if it ended while answers were to come.
    pub(super) end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Delivered,
    Undone,
}

/// One ref in it.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) object: ObjectId,
    pub(super) cover: Cover,
}

/// What protects a ref on its way (REF-3), as far as its giver knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    /// Mine: the receiver's registration, in this table.
    Lent,
    /// Mine, to myself: a pin.
    Pinned,
    /// Borrowed, to its owner or to myself: a transit hold until delivery.
    Transit,
    /// Borrowed, to a third: a transit hold until its owner answers.
    Registering,
    /// Borrowed, to a third: the receiver's registration, at the owner.
    Registered,
    /// Its owner or the receiver is dead.
    None,
}

impl RefTable {
    /// Covers the refs of a message to `to` before it leaves (REF-3): each as often as it is in it.
    ///
    /// Every object must be held here, and stay held until this has returned. The message leaves at once if the answer
    /// is ready, else on [`RefAction::Ready`], which always comes. Then [`RefTable::delivered`] or
    /// [`RefTable::undo_hand_out`] ends it.
    pub(crate) fn hand_out(&mut self, objects: &[ObjectId], to: OwnerId, out: &mut Vec<RefAction>) -> HandOut {
        let id = HandOutId(self.next_hand_out);
        self.next_hand_out += 1;
        let mut outgoing =
            Outgoing { to, carried: Vec::with_capacity(objects.len()), waiting: BTreeMap::new(), end: None };
        let mut ask: BTreeMap<OwnerId, Vec<Slot>> = BTreeMap::new();
        let to_dead = self.dead.contains(&to);
        for &object in objects {
            let cover = if to_dead { Cover::None } else { self.cover(object, to) };
            if cover == Cover::Registering {
                ask.entry(object.task.owner).or_default().push(slot(&object));
            }
            outgoing.carried.push(Carried { object, cover });
        }
        for (owner, slots) in ask {
            for slots in slots.chunks(SLOTS_MAX) {
                *outgoing.waiting.entry(owner).or_default() += 1;
                let message = RefMessage::Register { slots: slots.to_vec(), borrower: to, token: id };
                out.push(RefAction::Send { to: owner, message });
            }
        }
        let ready = outgoing.waiting.is_empty();
        #[cfg(test)]
        let ready = ready || self.planted == Some(super::tests::Planted::SentUnregistered);
        if outgoing.carried.iter().any(|carried| carried.cover != Cover::None) {
            self.outgoing.insert(id, outgoing);
        }
        HandOut { id, ready }
    }

    /// The message of a hand-out can no longer come back.
    ///
    /// At the latest when the receiver answers it. As early as it is on its connection, if it cannot be refused and
    /// nothing sent to the same owner afterwards can overtake it; but to oneself, only after it was received. Unknown
    /// ids are those of dead receivers.
    pub(crate) fn delivered(&mut self, id: HandOutId, out: &mut Vec<RefAction>) {
        self.end_hand_out(id, End::Delivered, out);
    }

    /// The message of a hand-out will not arrive, or came back and nothing of it was [`RefTable::received`].
    pub(crate) fn undo_hand_out(&mut self, id: HandOutId, out: &mut Vec<RefAction>) {
        self.end_hand_out(id, End::Undone, out);
    }

    /// A ref came in a message from `from`: takes a hold on it. Once for each time that it is in the message, before
    /// anything else is done with it.
    ///
    /// False: nothing protects the ref, no hold was taken and none may be released; treat it as lost. So it is with
    /// every ref in a message from a dead owner, which should have been dropped.
    #[must_use]
    pub(crate) fn received(&mut self, object: ObjectId, from: OwnerId, hold: Hold, out: &mut Vec<RefAction>) -> bool {
        let owner = object.task.owner;
        if self.dead.contains(&from) {
            self.ignored.late += 1;
            return false;
        }
        if owner == self.me {
            let held = self.hold_mine(slot(&object), hold);
            self.ignored.misuse += u64::from(!held);
            return held;
        }
        let owner_dead = self.dead.contains(&owner);
        if owner_dead || self.borrowed_mut(&object).is_some_and(|entry| entry.lost) {
            let entry = self.borrowed.entry(owner).or_default().entry(slot(&object)).or_default();
            if !entry.lost {
                entry.lost = true;
                out.push(RefAction::OwnerLost(object));
            }
            return entry.hold(hold);
        }
        if from == self.me {
            let held = self.borrowed_mut(&object).is_some_and(|entry| entry.hold(hold));
            self.ignored.misuse += u64::from(!held);
            return held;
        }
        let entry = self.borrowed.entry(owner).or_default().entry(slot(&object)).or_default();
        if !entry.hold(hold) {
            self.ignored.misuse += 1;
            return false;
        }
        if from == owner {
            entry.registered = entry.registered.saturating_add(1);
        } else {
            self.carry_came(object, from);
        }
        true
    }

    /// A message of the protocol arrived.
    pub(crate) fn message(&mut self, from: OwnerId, message: RefMessage, out: &mut Vec<RefAction>) {
        if self.dead.contains(&from) {
            self.ignored.late += 1;
            return;
        }
        if from == self.me {
            self.ignored.misuse += 1;
            return;
        }
        match message {
            RefMessage::Register { slots, borrower, token } => self.on_register(from, slots, borrower, token, out),
            RefMessage::Registered { token } => self.on_registered(from, token, out),
            RefMessage::Granted { slots, by } => self.on_granted(from, slots, by, out),
            RefMessage::Release { slot, count } => self.on_release(from, slot, count, out),
            RefMessage::Undone { objects } => self.on_undone(from, objects, out),
        }
        self.unwind(out);
    }

    fn cover(&mut self, object: ObjectId, to: OwnerId) -> Cover {
        let me = self.me;
        #[cfg(test)]
        if self.planted == Some(super::tests::Planted::OwnerUntold) && to == object.task.owner {
            return Cover::None;
        }
        let known = if object.task.owner == me {
            self.cover_mine(slot(&object), to)
        } else {
            self.borrowed_mut(&object).and_then(|entry| {
                if entry.lost {
                    return Some(Cover::None);
                }
                let stays = to == object.task.owner || to == me;
                add(&mut entry.transit).then_some(if stays { Cover::Transit } else { Cover::Registering })
            })
        };
        debug_assert!(known.is_some(), "{object:?} is handed out, but not held here");
        known.unwrap_or(Cover::None)
    }

    fn cover_mine(&mut self, slot: Slot, to: OwnerId) -> Option<Cover> {
        self.owned.get(slot)?;
        if to == self.me {
            return self.hold_mine(slot, Hold::Pin).then_some(Cover::Pinned);
        }
        self.lend(slot, to).then_some(Cover::Lent)
    }

    /// Registers a borrower of a live object of mine.
    fn lend(&mut self, slot: Slot, to: OwnerId) -> bool {
        let Some(entry) = self.owned.get_mut(slot) else { return false };
        self.lent.entry(to).or_default().insert(slot);
        add(entry.rare().borrowers.entry(to).or_default())
    }

    /// Ends registrations of a borrower of mine; false, and nothing changed, when it has not as many.
    fn end_loan(&mut self, slot: Slot, borrower: OwnerId, count: u32, out: &mut Vec<RefAction>) -> bool {
        let Some(entry) = self.owned.get_mut(slot) else { return false };
        let Some(left) = entry.borrowed_by(borrower).checked_sub(count) else { return false };
        if left > 0 {
            entry.rare().borrowers.insert(borrower, left);
            return true;
        }
        entry.rare().borrowers.remove(&borrower);
        entry.tidy();
        if let Some(slots) = self.lent.get_mut(&borrower) {
            slots.remove(&slot);
            if slots.is_empty() {
                self.lent.remove(&borrower);
            }
        }
        self.settle_mine(slot, out);
        true
    }

    fn end_hand_out(&mut self, id: HandOutId, end: End, out: &mut Vec<RefAction>) {
        let Some(mut outgoing) = self.outgoing.remove(&id) else { return };
        debug_assert!(outgoing.end.is_none(), "{id:?} ended twice");
        outgoing.end = Some(end);
        self.go_on(id, outgoing, out);
        self.unwind(out);
    }

    /// After an answer or an end: tells that the message may leave, or lets go of what has its answer.
    pub(super) fn go_on(&mut self, id: HandOutId, mut outgoing: Outgoing, out: &mut Vec<RefAction>) {
        let done = outgoing.waiting.is_empty();
        match outgoing.end {
            None if done => {
                out.push(RefAction::Ready(id));
                // Nothing that could be undone is left of it when all of its owners are dead.
                if outgoing.carried.iter().any(|carried| carried.cover != Cover::None) {
                    self.outgoing.insert(id, outgoing);
                }
            }
            None => {
                self.outgoing.insert(id, outgoing);
            }
            Some(end) => {
                self.let_go(&mut outgoing, end, out);
                if !done {
                    self.outgoing.insert(id, outgoing);
                }
            }
        }
    }

    fn let_go(&mut self, outgoing: &mut Outgoing, end: End, out: &mut Vec<RefAction>) {
        let to = outgoing.to;
        let to_dead = self.dead.contains(&to);
        let mut undone = Vec::new();
        for carried in &mut outgoing.carried {
            match (carried.cover, end) {
                (Cover::Registering, _) => continue,
                (Cover::Lent, End::Undone) => {
                    let ended = self.end_loan(slot(&carried.object), to, 1, out);
                    debug_assert!(ended || to_dead, "{:?} undone after its receiver released it", carried.object);
                }
                (Cover::Registered, End::Undone) if !to_dead => undone.push(carried.object),
                (cover, _) => self.end_cover(carried.object, cover, out),
            }
            carried.cover = Cover::None;
        }
        for objects in undone.chunks(SLOTS_MAX) {
            out.push(RefAction::Send { to, message: RefMessage::Undone { objects: objects.to_vec() } });
        }
    }

    /// Ends what this table itself holds for a ref on its way.
    pub(super) fn end_cover(&mut self, object: ObjectId, cover: Cover, out: &mut Vec<RefAction>) {
        match cover {
            Cover::Pinned => self.drop_mine(slot(&object), Hold::Pin, out),
            Cover::Transit | Cover::Registering => {
                if let Some(entry) = self.borrowed_mut(&object) {
                    entry.transit = entry.transit.saturating_sub(1);
                }
                self.settle_theirs(object, out);
            }
            Cover::Lent | Cover::Registered | Cover::None => {}
        }
    }

    fn on_register(
        &mut self,
        from: OwnerId,
        slots: Vec<Slot>,
        borrower: OwnerId,
        token: HandOutId,
        out: &mut Vec<RefAction>,
    ) {
        let mut granted = Vec::with_capacity(slots.len().min(SLOTS_MAX));
        if self.dead.contains(&borrower) {
            self.ignored.late += 1;
        } else if borrower == from || borrower == self.me {
            self.ignored.misuse += 1;
        } else {
            for slot in slots {
                // Only who has it can give it, and keeps it until I have answered.
                let giver_has = self.owned.get(slot).is_some_and(|entry| entry.borrowed_by(from) > 0);
                if giver_has && self.lend(slot, borrower) {
                    granted.push(slot);
                } else {
                    self.ignored.misuse += 1;
                }
            }
        }
        if !granted.is_empty() {
            out.push(RefAction::Send { to: borrower, message: RefMessage::Granted { slots: granted, by: from } });
        }
        out.push(RefAction::Send { to: from, message: RefMessage::Registered { token } });
    }

    fn on_registered(&mut self, from: OwnerId, token: HandOutId, out: &mut Vec<RefAction>) {
        let Some(outgoing) = self.outgoing.get_mut(&token) else {
            // Handed out to one that died meanwhile.
            self.ignored.late += 1;
            return;
        };
        let Some(answers) = outgoing.waiting.get_mut(&from) else {
            self.ignored.misuse += 1;
            return;
        };
        *answers -= 1;
        if *answers > 0 {
            return;
        }
        self.all_answered(from, token, out);
    }

    /// A `Register` of this owner has not reached its addressee, and will not. Of whoever is dead the table is told; this one
    /// may live, and be found by others: its refs leave uncovered, and who gets them asks it.
    pub(crate) fn unregistered(&mut self, owner: OwnerId, token: HandOutId, slots: &[Slot], out: &mut Vec<RefAction>) {
        let Some(outgoing) = self.outgoing.get_mut(&token) else { return };
        let Some(answers) = outgoing.waiting.get_mut(&owner) else { return };
        *answers -= 1;
        let all_answered = *answers == 0;
        let mut named: BTreeMap<Slot, u32> = BTreeMap::new();
        for slot in slots {
            *named.entry(*slot).or_default() += 1;
        }
        let mut uncovered = Vec::with_capacity(slots.len());
        for carried in &mut outgoing.carried {
            if carried.object.task.owner == owner
                && carried.cover == Cover::Registering
                && let Some(left) = named.get_mut(&slot(&carried.object)).filter(|left| **left > 0)
            {
                *left -= 1;
                carried.cover = Cover::None;
                uncovered.push(carried.object);
            }
        }
        for object in uncovered {
            self.end_cover(object, Cover::Registering, out);
        }
        if all_answered {
            self.all_answered(owner, token, out);
        }
        self.unwind(out);
    }

    /// An owner has answered all that it was asked for a hand-out.
    fn all_answered(&mut self, from: OwnerId, token: HandOutId, out: &mut Vec<RefAction>) {
        let Some(mut outgoing) = self.outgoing.remove(&token) else { return };
        outgoing.waiting.remove(&from);
        for carried in &mut outgoing.carried {
            if carried.object.task.owner == from && carried.cover == Cover::Registering {
                carried.cover = Cover::Registered;
                self.end_cover(carried.object, Cover::Registering, out);
            }
        }
        self.go_on(token, outgoing, out);
    }

    fn on_granted(&mut self, from: OwnerId, slots: Vec<Slot>, by: OwnerId, out: &mut Vec<RefAction>) {
        if by == from || by == self.me {
            self.ignored.misuse += 1;
            return;
        }
        let giver_dead = self.dead.contains(&by);
        for slot in slots {
            let object = object(from, slot);
            let entry = self.borrowed.entry(from).or_default().entry(slot).or_default();
            let Some(registered) = entry.registered.checked_add(1) else {
                self.ignored.misuse += 1;
                continue;
            };
            entry.registered = registered;
            if self.due_of(by, &object) > 0 {
                self.shift_due(by, object, -1);
                self.meet(object, |entry| &mut entry.awaited);
            } else if !giver_dead {
                self.shift_due(by, object, -1);
                if let Some(entry) = self.borrowed_mut(&object) {
                    entry.expected = entry.expected.saturating_add(1);
                }
            } else {
                self.ignored.late += 1;
            }
            self.settle_theirs(object, out);
        }
    }

    /// A third party's carry, or what stands for it: meets its announcement, or goes before it.
    fn carry_came(&mut self, object: ObjectId, from: OwnerId) {
        #[cfg(test)]
        if self.planted == Some(super::tests::Planted::GrantNotAwaited) && self.due_of(from, &object) >= 0 {
            return;
        }
        let announced = self.due_of(from, &object) < 0;
        self.shift_due(from, object, 1);
        if announced {
            self.meet(object, |entry| &mut entry.expected);
        } else {
            let entry = self.borrowed.entry(object.task.owner).or_default().entry(slot(&object)).or_default();
            entry.awaited = entry.awaited.saturating_add(1);
        }
    }

    fn meet(&mut self, object: ObjectId, count: impl Fn(&mut super::Borrowed) -> &mut u32) {
        if let Some(entry) = self.borrowed_mut(&object) {
            let count = count(entry);
            *count = count.saturating_sub(1);
        }
    }

    fn due_of(&self, giver: OwnerId, object: &ObjectId) -> i64 {
        self.due.get(&giver).and_then(|due| due.get(object)).copied().unwrap_or(0)
    }

    fn shift_due(&mut self, giver: OwnerId, object: ObjectId, by: i64) {
        let due = self.due.entry(giver).or_default();
        let balance = due.entry(object).or_default();
        *balance += by;
        if *balance == 0 {
            due.remove(&object);
            if due.is_empty() {
                self.due.remove(&giver);
            }
        }
    }

    fn on_release(&mut self, from: OwnerId, slot: Slot, count: u32, out: &mut Vec<RefAction>) {
        let ended = count > 0 && self.end_loan(slot, from, count, out);
        self.ignored.misuse += u64::from(!ended);
    }

    fn on_undone(&mut self, from: OwnerId, objects: Vec<ObjectId>, out: &mut Vec<RefAction>) {
        for object in objects {
            let owner = object.task.owner;
            if owner == self.me || owner == from {
                self.ignored.misuse += 1;
            } else if self.dead.contains(&owner) {
                self.ignored.late += 1;
            } else {
                self.carry_came(object, from);
                self.settle_theirs(object, out);
            }
        }
    }
}
