//! Distributed reference counting: why an object is still alive, and when it is not.
//!
//! Every owner has one [`RefTable`]: plain data, told of everything that begins or ends to use an object and of every
//! [`RefMessage`] that arrives; it answers with [`RefAction`]s. After the Ownership paper (NSDI '21), with
//! *registration counts* as in weighted reference counting, so that no message ever has to find out whether another
//! was late.
//!
//! # Model
//!
//! `X` is an object, `O` its owner, `S` whoever gives a ref to it away, `P` who gets it; all are owners. A *carry* is
//! a message of any kind that has refs in it: a task with refs nested in its arguments, a result, the answer to "what
//! is in this value". A *hold* is a reason inside one owner ([`Hold`]; and the table's own `transit`). A
//! *registration* is a reason outside: `O` counts, for each borrower `P`, how many times a ref was handed to it.
//!
//! ```text
//! O gives X to P            O: borrowers[P] += 1, carry ────────────► P: registered += 1
//! S gives X to its owner    S: transit ─── carry ───────────────────► O: holds it.   S: transit ends on `delivered`
//! S gives X to a third      S: transit ─── Register{X, P} ──► O: borrowers[P] += 1
//!                                  ◄────── Registered ─────── O ─── Granted{X, by S} ──► P: registered += 1, and
//!                           S: transit ends, carry ────────────────► P: holds it         one carry of S expected
//! P has no hold any more    P: Release{X, registered} ──► O: borrowers[P] -= registered
//! ```
//!
//! The carry of the third case leaves only after `Registered` ([`HandOut::ready`], [`RefAction::Ready`]): a round
//! trip, and only for a ref that its giver does not own, nested in something for somebody else than the owner. It buys
//! two things. A giver that dies right afterwards takes nothing with it, for the receiver is on the owner's books
//! before the carry exists; and a `Release` can never overtake the `Register` that it answers, so "more than
//! registered" is always an error. `P` learns of the registration from `O` and not from the carry, so that a carry
//! lost with its giver leaves nothing behind: `P` sees the giver die and gives the registration back. Carry and
//! `Granted` arrive in either order.
//!
//! # Assumptions
//!
//! * `RefMessage`s from one owner to another arrive in order, each once, as long as both live.
//!   Of a `Register` that was never sent, for its addressee is out of reach, the sender is told
//!   ([`RefTable::unregistered`]): its refs go uncovered, for nothing may wait for ever.
//! * Death is final and mutual: once a table was told of a death, nothing that the dead one sent reaches it (a carry
//!   is dropped whole; `RefMessage`s are ignored here), and a session that ends between two living owners counts as
//!   death on both sides. Every owner is told of every death among [`RefTable::peers`].
//! * A carry from `S` to `O` arrives before any `RefMessage` that `S` sends `O` after [`RefTable::delivered`].
//!
//! # Invariants
//!
//! * **REF-1** A value is freed only when nothing wants it: no hold of the owner's, no registration.
//! * **REF-2** What `O` counts for a living `P` is exactly `registered` at `P`, plus `Granted`s and carries of `O`'s
//!   own on the way to `P`, less `Release`s on the way back. So every registration ends once: released, or swept away
//!   by a death.
//! * **REF-3** A ref on the way is protected: by its giver's transit hold until the receiver is registered (or until
//!   delivery, when the receiver is the owner), from then on by the receiver's own registration.
//! * **REF-4** The inner refs of a value are held until the value is freed, and released then, at any depth, without
//!   recursion on the stack.
//! * **REF-5** A value is freed once, and its entry goes with it. (What must stay to make a value again is the
//!   lineage's to know.)
//! * **REF-6** A dead borrower's registrations are removed and none is ever added again; a dead owner's objects are
//!   reported lost once, and nothing is sent about them.
//! * **REF-7** Whatever a peer sends, no count goes below zero, nothing panics, and only that peer's own claims are
//!   affected; what made no sense is counted ([`RefTable::ignored`]).
//!
//! *Proof sketch.* REF-2 holds since each line of the drawing moves one unit between its places in one step, undoing
//! included. Let `P` hold `X`. `P` came by it in a carry. If of `O`'s own, `P` counted it in `registered`. If of a
//! third party's, the carry left after `O` had sent the `Granted`; so that is counted in `registered`, or still on its
//! way (`awaited`: the entry is kept until it arrives). `P` gives `registered` back only when nothing is held,
//! expected or awaited. Either way the count at `O` is at least one, which is REF-1. If `P` is the owner itself, its
//! hold is its own. A carry on its way is covered alike: a third party's by the `Granted` before it, whose
//! registration `P` keeps as `expected` until the carry or the giver's death arrives; one to the owner by the giver's
//! transit hold, whose `Release` comes behind the carry (REF-3). If the giver died, its transit hold ends at `O` with
//! the news, and so does the carry. Liveness: every hold ends, `Granted` finds its carry, its [`RefMessage::Undone`],
//! or its giver's death; then `P` releases, and REF-2 makes the owner's count zero. Cycles of values that contain each
//! other are not freed (nor are they in Ray).

mod death;
mod handout;
mod slab;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use serde::{Deserialize, Serialize};

use self::death::Graveyard;
use self::handout::Outgoing;
use self::slab::{Entry, Slab};
use crate::ids::{ObjectId, OwnerId, TaskId};

/// An object among its owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Slot {
    /// The task's number.
    pub(crate) seq: u64,
    /// Which of its returns.
    pub(crate) index: u32,
}

/// A reason, in this owner, to keep an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// A handle in the program. Clones of one handle count among themselves, and tell only the first and the last.
    Local,
    /// A pending task of this owner uses it, as an argument or inside one.
    Argument,
    /// A live value of this owner contains it.
    Nested,
    /// The value is being read, or a ref is between two other holds.
    Pin,
}

/// What owners tell one another. Slots are the addressee's objects in `Register` and `Release`, the sender's in
/// `Granted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RefMessage {
    /// I am about to hand these to `borrower`.
    Register {
        /// What, as often as it is handed out; at most [`handout::SLOTS_MAX`].
        slots: Vec<Slot>,
        /// To whom.
        borrower: OwnerId,
        /// Comes back in the answer.
        token: HandOutId,
    },
    /// The borrower is on my books (or dead).
    Registered {
        /// As asked.
        token: HandOutId,
    },
    /// You are on my books, for a carry that `by` sends you.
    Granted {
        /// What, as often as it will be carried.
        slots: Vec<Slot>,
        /// Who hands it out.
        by: OwnerId,
    },
    /// I have no use for this any more.
    Release {
        /// What.
        slot: Slot,
        /// How many registrations end.
        count: u32,
    },
    /// The carry that you may have been granted these for will not come.
    Undone {
        /// What, as often as it would have been carried.
        objects: Vec<ObjectId>,
    },
}

/// What the table wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RefAction {
    /// Send this.
    Send {
        /// To whom.
        to: OwnerId,
        /// What.
        message: RefMessage,
    },
    /// The message of this hand-out may leave now.
    Ready(HandOutId),
    /// Nothing wants the value of this object of mine: drop it here and every copy elsewhere.
    Free(Slot),
    /// The owner of this borrowed object died.
    OwnerLost(ObjectId),
}

/// One message with refs in it, at its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct HandOutId(pub(crate) u64);

/// The answer to [`RefTable::hand_out`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct HandOut {
    /// For [`RefTable::delivered`] or [`RefTable::undo_hand_out`].
    pub(crate) id: HandOutId,
    /// Whether the message may leave at once; otherwise after [`RefAction::Ready`].
    pub(crate) ready: bool,
}

/// Every reason for which one object is alive, as `state` and `actinic memory` show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RefCounts {
    /// See [`Hold`].
    pub(crate) local: u32,
    /// See [`Hold`].
    pub(crate) args: u32,
    /// See [`Hold`].
    pub(crate) nested: u32,
    /// See [`Hold`].
    pub(crate) pins: u32,
    /// Borrowed: hand-outs that the owner has not confirmed, or that go to the owner.
    pub(crate) transit: u32,
    /// Borrowed: registrations that the owner holds in my name.
    pub(crate) registered: u32,
    /// Borrowed: registrations whose carry has not arrived yet.
    pub(crate) expected: u32,
    /// Borrowed: carries whose registration the owner has not told me yet.
    pub(crate) awaited: u32,
    /// Owned: registrations by borrower.
    pub(crate) borrowers: Vec<(OwnerId, u32)>,
    /// Owned: what the value contains.
    pub(crate) contains: Vec<ObjectId>,
    /// Borrowed: the owner died.
    pub(crate) lost: bool,
}

/// Messages that were of no use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ignored {
    /// From or about a dead owner: harmless.
    pub(crate) late: u64,
    /// Against the protocol: a stale or hostile peer, or a defect.
    pub(crate) misuse: u64,
}

/// What is known of one object of somebody else's.
#[derive(Debug, Default)]
struct Borrowed {
    local: u32,
    args: u32,
    nested: u32,
    pins: u32,
    transit: u32,
    registered: u32,
    expected: u32,
    awaited: u32,
    lost: bool,
}

/// One owner's references: its own objects, and those of others that it uses. See the module.
#[derive(Debug)]
pub(crate) struct RefTable {
    me: OwnerId,
    owned: Slab,
    /// By borrower, which entries of `owned` name it.
    lent: BTreeMap<OwnerId, BTreeSet<Slot>>,
    borrowed: BTreeMap<OwnerId, BTreeMap<Slot, Borrowed>>,
    /// By giver: carries that came (positive) or were announced (negative) without the other.
    due: BTreeMap<OwnerId, BTreeMap<ObjectId, i64>>,
    outgoing: BTreeMap<HandOutId, Outgoing>,
    next_hand_out: u64,
    dead: Graveyard,
    /// Nested holds to release; empty between calls.
    unwinding: Vec<ObjectId>,
    ignored: Ignored,
    #[cfg(test)]
    planted: Option<tests::Planted>,
}

impl RefTable {
    /// The empty table of an owner.
    pub(crate) fn new(me: OwnerId) -> Self {
        Self {
            me,
            owned: Slab::default(),
            lent: BTreeMap::new(),
            borrowed: BTreeMap::new(),
            due: BTreeMap::new(),
            outgoing: BTreeMap::new(),
            next_hand_out: 0,
            dead: Graveyard::default(),
            unwinding: Vec::new(),
            ignored: Ignored::default(),
            #[cfg(test)]
            planted: None,
        }
    }

    /// Makes the entries of a new task's returns (or of a `put`), with a local hold each if `local`.
    ///
    /// `seq` is greater than any before it. An entry without any hold lives until the first hold on it ends.
    pub(crate) fn own(&mut self, seq: u64, returns: u32, local: bool) {
        self.own_more(seq, 0, returns, local);
    }

    /// Makes entries for the returns `first..first + count` of a task: those that it turned out to have.
    pub(crate) fn own_more(&mut self, seq: u64, first: u32, count: u32, local: bool) {
        for index in first..first.saturating_add(count) {
            let made = self.owned.insert(Slot { seq, index }, u32::from(local));
            debug_assert!(made, "object {seq}:{index} is owned twice");
        }
    }

    /// Adds a hold to an object that is known here; false when it is not.
    pub(crate) fn hold(&mut self, object: ObjectId, hold: Hold) -> bool {
        let held = match self.slot_of_mine(&object) {
            Some(slot) => self.hold_mine(slot, hold),
            None => self.borrowed_mut(&object).is_some_and(|entry| entry.hold(hold)),
        };
        debug_assert!(held, "{hold:?} hold on {object:?}, which is not known here");
        held
    }

    /// Ends a hold.
    pub(crate) fn release(&mut self, object: ObjectId, hold: Hold, out: &mut Vec<RefAction>) {
        match self.slot_of_mine(&object) {
            Some(slot) => self.release_mine(slot, hold, out),
            None => {
                self.drop_theirs(object, hold, out);
                self.unwind(out);
            }
        }
    }

    /// Ends a hold on an object of mine: [`RefTable::release`] without the names.
    pub(crate) fn release_mine(&mut self, slot: Slot, hold: Hold, out: &mut Vec<RefAction>) {
        self.drop_mine(slot, hold, out);
        if !self.unwinding.is_empty() {
            self.unwind(out);
        }
    }

    /// Says what the value of `outer`, an object of mine, contains, and takes charge of one nested hold on each of
    /// `inner` that the caller has taken ([`RefTable::hold`] for a `put`, [`RefTable::received`] for a result).
    ///
    /// They are released when the value is freed: at once if it was. A value made again contains what it says now.
    pub(crate) fn contains(&mut self, outer: ObjectId, inner: Vec<ObjectId>, out: &mut Vec<RefAction>) {
        let slot = self.slot_of_mine(&outer);
        debug_assert!(slot.is_some(), "{outer:?} is not mine to say what it contains");
        let entry = slot.and_then(|slot| self.owned.get_mut(slot));
        let before = match entry {
            Some(entry) if inner.is_empty() => {
                let before = entry.rare.as_mut().map(|rare| mem::take(&mut rare.contains)).unwrap_or_default();
                entry.tidy();
                before
            }
            Some(entry) => mem::replace(&mut entry.rare().contains, inner),
            None => inner,
        };
        self.unwinding.extend(before);
        self.unwind(out);
    }

    /// What the value of an object of mine contains: to be handed out together with it.
    pub(crate) fn contained(&self, object: ObjectId) -> &[ObjectId] {
        let entry = self.slot_of_mine(&object).and_then(|slot| self.owned.get(slot));
        entry.and_then(|entry| entry.rare.as_ref()).map_or(&[], |rare| &rare.contains)
    }

    /// Every reason for which the object is alive, if it is known here.
    pub(crate) fn counts(&self, object: ObjectId) -> Option<RefCounts> {
        match self.slot_of_mine(&object) {
            Some(slot) => self.owned.get(slot).map(Entry::counts),
            None => Some(self.borrowed.get(&object.task.owner)?.get(&slot(&object))?.counts()),
        }
    }

    /// Every object known here: mine, then others'.
    pub(crate) fn objects(&self) -> impl Iterator<Item = ObjectId> + '_ {
        let owned = self.owned.iter().map(|(slot, _)| object(self.me, slot));
        let borrowed = self.borrowed.iter();
        owned.chain(borrowed.flat_map(|(&owner, slots)| slots.keys().map(move |&slot| object(owner, slot))))
    }

    /// The owners whose death this table must be told of.
    pub(crate) fn peers(&self) -> BTreeSet<OwnerId> {
        let to = self.outgoing.values().map(|outgoing| &outgoing.to);
        self.lent.keys().chain(self.borrowed.keys()).chain(self.due.keys()).chain(to).copied().collect()
    }

    /// Whether nothing is known: no object, and no hand-out that was not delivered or undone.
    pub(crate) fn is_empty(&self) -> bool {
        self.owned.len() == 0
            && self.lent.is_empty()
            && self.borrowed.is_empty()
            && self.due.is_empty()
            && self.outgoing.is_empty()
    }

    /// Objects of mine, those of which only the record is left included.
    pub(crate) fn owned_len(&self) -> usize {
        self.owned.len()
    }

    /// Objects of others'.
    pub(crate) fn borrowed_len(&self) -> usize {
        self.borrowed.values().map(BTreeMap::len).sum()
    }

    /// Messages that were of no use.
    pub(crate) fn ignored(&self) -> Ignored {
        self.ignored
    }

    fn slot_of_mine(&self, object: &ObjectId) -> Option<Slot> {
        (object.task.owner == self.me).then(|| slot(object))
    }

    fn borrowed_mut(&mut self, object: &ObjectId) -> Option<&mut Borrowed> {
        self.borrowed.get_mut(&object.task.owner)?.get_mut(&slot(object))
    }

    fn hold_mine(&mut self, slot: Slot, hold: Hold) -> bool {
        self.owned.get_mut(slot).is_some_and(|entry| add(entry.count(hold)))
    }

    /// Ends a hold on an object of mine, leaving in `unwinding` what that frees.
    fn drop_mine(&mut self, slot: Slot, hold: Hold, out: &mut Vec<RefAction>) {
        let Some(entry) = self.owned.get_mut(slot) else {
            debug_assert!(false, "{hold:?} hold on {slot:?} ended, which is not known");
            return;
        };
        let count = entry.count(hold);
        debug_assert!(*count > 0, "{hold:?} hold on {slot:?} ended twice");
        *count = count.saturating_sub(1);
        self.settle_mine(slot, out);
    }

    /// REF-1, REF-4, REF-5: frees it if nothing prevents that.
    fn settle_mine(&mut self, slot: Slot, out: &mut Vec<RefAction>) {
        let Some(entry) = self.owned.get_mut(slot) else { return };
        if !entry.wanted() {
            if let Some(rare) = entry.rare.take() {
                self.unwinding.extend(rare.contains);
            }
            self.owned.vacate(slot);
            out.push(RefAction::Free(slot));
        }
    }

    fn drop_theirs(&mut self, object: ObjectId, hold: Hold, out: &mut Vec<RefAction>) {
        let Some(entry) = self.borrowed_mut(&object) else {
            debug_assert!(false, "{hold:?} hold on {object:?} ended, which is not known here");
            return;
        };
        let count = entry.count(hold);
        debug_assert!(*count > 0, "{hold:?} hold on {object:?} ended twice");
        *count = count.saturating_sub(1);
        self.settle_theirs(object, out);
    }

    /// REF-2: gives every registration back once nothing is held, expected or awaited.
    fn settle_theirs(&mut self, object: ObjectId, out: &mut Vec<RefAction>) {
        let owner = object.task.owner;
        let Some(slots) = self.borrowed.get_mut(&owner) else { return };
        let slot = slot(&object);
        let Some(entry) = slots.get(&slot).filter(|entry| entry.is_idle()) else { return };
        let (count, lost) = (entry.registered, entry.lost);
        slots.remove(&slot);
        if slots.is_empty() {
            self.borrowed.remove(&owner);
        }
        if count > 0 && !lost {
            out.push(RefAction::Send { to: owner, message: RefMessage::Release { slot, count } });
        }
    }

    /// REF-4: releases nested holds until nothing more comes of it.
    fn unwind(&mut self, out: &mut Vec<RefAction>) {
        while let Some(inner) = self.unwinding.pop() {
            #[cfg(test)]
            if self.planted == Some(tests::Planted::InnerKept) {
                continue;
            }
            match self.slot_of_mine(&inner) {
                Some(slot) => self.drop_mine(slot, Hold::Nested, out),
                None => self.drop_theirs(inner, Hold::Nested, out),
            }
        }
    }
}

impl Entry {
    fn counts(&self) -> RefCounts {
        let rare = self.rare.as_deref();
        RefCounts {
            local: self.local,
            args: self.args,
            nested: self.nested,
            pins: self.pins,
            borrowers: rare.map_or_else(Vec::new, |rare| rare.borrowers.iter().map(|(&who, &n)| (who, n)).collect()),
            contains: rare.map_or_else(Vec::new, |rare| rare.contains.clone()),
            ..RefCounts::default()
        }
    }
}

impl Borrowed {
    fn count(&mut self, hold: Hold) -> &mut u32 {
        match hold {
            Hold::Local => &mut self.local,
            Hold::Argument => &mut self.args,
            Hold::Nested => &mut self.nested,
            Hold::Pin => &mut self.pins,
        }
    }

    fn hold(&mut self, hold: Hold) -> bool {
        add(self.count(hold))
    }

    fn is_held(&self) -> bool {
        self.local | self.args | self.nested | self.pins | self.transit != 0
    }

    fn is_idle(&self) -> bool {
        !self.is_held() && self.expected | self.awaited == 0
    }

    fn counts(&self) -> RefCounts {
        RefCounts {
            local: self.local,
            args: self.args,
            nested: self.nested,
            pins: self.pins,
            transit: self.transit,
            registered: self.registered,
            expected: self.expected,
            awaited: self.awaited,
            lost: self.lost,
            ..RefCounts::default()
        }
    }
}

/// Counts one more; false, and nothing changed, when the counter is full.
fn add(count: &mut u32) -> bool {
    let more = count.checked_add(1);
    *count = more.unwrap_or(*count);
    more.is_some()
}

fn slot(object: &ObjectId) -> Slot {
    Slot { seq: object.task.seq, index: object.index }
}

fn object(owner: OwnerId, slot: Slot) -> ObjectId {
    ObjectId { task: TaskId { owner, seq: slot.seq }, index: slot.index }
}
