//! The shell of the reference-counting core: which table knows of which object, and what its actions mean here.
//!
//! Inside a process refs are counted where they are (`RawRef`); only what crosses to another process enters a
//! [`RefTable`]. Each owner's table has the objects of that owner that were ever given to another process; the
//! table of the process's own owner (number 0) also has what this process borrows.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use actinic_transport::{Peer, ProcessId};

use crate::api::error::Error;
use crate::ids::{ObjectId, OwnerId};
use crate::object::{Borrowed, RawRef, Resolved, Target};
use crate::owner::Owner;
use crate::owner::refs::{HandOut, HandOutId, Hold, RefAction, RefMessage, RefTable, Slot};
use crate::process::{Process, ready};
use crate::protocol::{OwnerMessage, ToOwner};
use crate::task::Task;

/// An owner's table, made when something first crosses to another process.
#[derive(Default)]
pub(super) struct Counts(OnceLock<Mutex<RefTable>>);

impl Counts {
    fn if_any(&self) -> Option<MutexGuard<'_, RefTable>> {
        self.0.get().map(|table| table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The owner that stands for a process as a borrower.
fn borrower(process: ProcessId) -> OwnerId {
    OwnerId { process, number: 0 }
}

impl Owner {
    /// Its table, made if there is none.
    fn table(self: &Arc<Self>) -> MutexGuard<'_, RefTable> {
        let mut made = false;
        let table = self.counts.0.get_or_init(|| {
            made = true;
            Mutex::new(RefTable::new(self.id))
        });
        if made {
            // Only after it is there: who dies from now on is told to it, and who died before is told here.
            let dead = self.process.dead_lately();
            let mut out = Vec::new();
            {
                let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
                dead.into_iter().for_each(|process| table.process_died(process, &mut out));
            }
            // Another thread may have used it meanwhile.
            self.carry_out(out);
        }
        table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count<R>(self: &Arc<Self>, change: impl FnOnce(&mut RefTable, &mut Vec<RefAction>) -> R) -> R {
        let mut out = Vec::new();
        let done = change(&mut self.table(), &mut out);
        self.carry_out(out);
        done
    }

    fn carry_out(self: &Arc<Self>, actions: Vec<RefAction>) {
        for action in actions {
            match action {
                RefAction::Send { to, message } => {
                    let message = OwnerMessage::Count { from: self.id, message };
                    self.process.tell_owner(to.process, ToOwner::To { owner: to.number, message });
                }
                RefAction::Ready(id) => self.process.hand_out_ready(self.id, id),
                RefAction::Free(freed) => {
                    if let Some(task) = self.task(freed.seq) {
                        self.settle(&task, freed.index);
                    }
                }
                RefAction::OwnerLost(object) => self.process.borrowed_lost(object, "its owner is gone"),
            }
        }
    }

    /// Something a peer says about refs.
    pub(crate) fn count_message(self: &Arc<Self>, from: OwnerId, message: RefMessage) {
        self.count(|table, out| table.message(from, message, out));
    }

    /// What this owner said to a table of another process about refs was heard by nobody, and will not be: no message waits
    /// for the answer.
    pub(crate) fn count_unheard(self: &Arc<Self>, by: OwnerId, message: &RefMessage) {
        if let RefMessage::Register { slots, token, .. } = message {
            self.count(|table, out| table.unregistered(by, *token, slots, out));
        }
    }

    /// The last ref in this process is gone; others may hold the object.
    pub(super) fn unhold(self: &Arc<Self>, task: &Arc<Task>, index: u32) {
        let object = Slot { seq: task.seq, index };
        let mut out = Vec::new();
        {
            let mut table = self.table();
            let id = ObjectId { task: task.id(), index };
            // Somebody may have taken a new ref meanwhile.
            if task.slot(index).holds() == 0 && table.counts(id).is_some_and(|counts| counts.local > 0) {
                table.release_mine(object, Hold::Local, &mut out);
            }
        }
        // The caller settles this one.
        out.retain(|action| !matches!(action, RefAction::Free(freed) if *freed == object));
        self.carry_out(out);
    }

    /// Whether other processes hold a return, or a message that carries it is under way.
    pub(super) fn is_lent(&self, task: &Task, index: u32) -> bool {
        let id = ObjectId { task: task.id(), index };
        let lent = || {
            let counts = self.counts.if_any()?.counts(id)?;
            Some(!counts.borrowers.is_empty() || counts.pins > 0)
        };
        task.is_shared() && lent() == Some(true)
    }

    /// Makes the table know an object that is about to be given away.
    fn share(table: &mut RefTable, task: &Task, index: u32) {
        let id = ObjectId { task: task.id(), index };
        match table.counts(id) {
            None => {
                table.own_more(task.seq, index, 1, true);
                task.set_shared();
            }
            Some(counts) if counts.local == 0 => {
                table.hold(id, Hold::Local);
            }
            Some(_) => {}
        }
    }
}

impl ObjectId {
    /// The error of who has a ref to it when its owner is gone.
    pub(crate) fn lost(&self, why: &str) -> Error {
        Error::owner_died(format!("object {self} is lost: {why}"))
            .at_node(self.task.owner.process.node)
            .remedy("keep the ref's owner alive, or have the value made by a process that lives longer")
    }
}

impl Process {
    fn borrowing_owner(&self) -> Option<Arc<Owner>> {
        self.owner_numbered(0)
    }

    /// Covers refs that a message to another process carries, then sends it: at once, unless an owner elsewhere must
    /// hear of the new borrower first, or of this one. `send` is told whether it had to wait; so is the caller (`false`).
    pub(crate) fn hand_out(
        self: &Arc<Self>,
        mut refs: Vec<RawRef>,
        to: ProcessId,
        send: impl FnOnce(bool) + Send + 'static,
    ) -> bool {
        let unheld: Vec<RawRef> = refs.iter().filter(|object| self.is_not_held_yet(object)).cloned().collect();
        if unheld.is_empty() {
            return self.cover_and_send(refs, to, send);
        }
        let process = Arc::clone(self);
        self.spawn(async move {
            for object in &unheld {
                ready(object).await;
            }
            // What its owner did not know any more is lost, to whoever gets it too.
            refs.retain(|object| !process.is_not_held_yet(object));
            process.cover_and_send(refs, to, move |_| send(true));
            drop(unheld);
        });
        false
    }

    /// Whether this is what a handle holds that an actor has made of itself, of which its owner has not said that it heard:
    /// nothing counts it here.
    fn is_not_held_yet(&self, object: &RawRef) -> bool {
        let Target::Borrowed(borrowed, _) = object.target() else { return false };
        borrowed.asked.load(Ordering::Acquire)
            && borrowed.id.task.owner.process != self.id
            && self.borrowing_owner().is_some_and(|first| first.table().counts(borrowed.id).is_none())
    }

    fn cover_and_send(
        self: &Arc<Self>,
        refs: Vec<RawRef>,
        to: ProcessId,
        send: impl FnOnce(bool) + Send + 'static,
    ) -> bool {
        let mut mine: Vec<(Arc<Owner>, Vec<ObjectId>)> = Vec::new();
        // By whom they are for: what goes home goes to its owner, the rest to the receiver's borrower.
        let mut borrowed: BTreeMap<OwnerId, Vec<ObjectId>> = BTreeMap::new();
        for object in &refs {
            match object.target() {
                Target::Owned(task, index, _) => {
                    let id = ObjectId { task: task.id(), index: *index };
                    Owner::share(&mut task.owner.table(), task, *index);
                    match mine.iter_mut().find(|(owner, _)| owner.id == task.owner.id) {
                        Some((_, ids)) => ids.push(id),
                        None => mine.push((Arc::clone(&task.owner), vec![id])),
                    }
                }
                // One that was lost on its way home has no owner to ask.
                Target::Borrowed(object, _) if object.id.task.owner.process == self.id => {}
                Target::Borrowed(object, _) => {
                    let owner = object.id.task.owner;
                    let receiver = if owner.process == to { owner } else { borrower(to) };
                    borrowed.entry(receiver).or_default().push(object.id);
                }
            }
        }
        for (owner, ids) in mine {
            // What is mine is registered at once, and leaves with this message.
            let id = owner.count(|table, out| table.hand_out(&ids, borrower(to), out)).id;
            owner.count(|table, out| table.delivered(id, out));
        }
        let Some(first) = self.borrowing_owner().filter(|_| !borrowed.is_empty()) else {
            send(false);
            return true;
        };
        let handed: Vec<HandOut> = borrowed
            .iter()
            .map(|(receiver, ids)| first.count(|table, out| table.hand_out(ids, *receiver, out)))
            .collect();
        let owner = Arc::clone(&first);
        // The refs themselves stay alive until the message is under way.
        let kept = refs;
        let ids: Vec<HandOutId> = handed.iter().map(|handed| handed.id).collect();
        let leave = move |waited: bool| {
            send(waited);
            for id in ids {
                owner.count(|table, out| table.delivered(id, out));
            }
            drop(kept);
        };
        // At most the one to the receiver's borrower waits.
        match handed.iter().find(|handed| !handed.ready) {
            None => {
                leave(false);
                true
            }
            Some(handed) => {
                self.wait_hand_out(first.id, handed.id, Box::new(move || leave(true)));
                false
            }
        }
    }

    /// A ref that a message from another process carried.
    pub(crate) fn borrow(self: &Arc<Self>, id: ObjectId, from: &Peer) -> RawRef {
        self.borrow_from(id, from.id())
    }

    /// A ref that came from a process, if by another's hands.
    pub(crate) fn borrow_from(self: &Arc<Self>, id: ObjectId, sender: ProcessId) -> RawRef {
        if id.task.owner.process.cluster != self.id.cluster {
            return self.lost_ref(id, "it belongs to another cluster than the one that it was sent to");
        }
        let giver = if id.task.owner.process == sender { id.task.owner } else { borrower(sender) };
        if id.task.owner.process == self.id {
            let found = self.owner_numbered(id.task.owner.number).and_then(|owner| {
                let object = owner.find(id.task, id.index)?;
                // The giver's own registration covered the way; this process's refs count themselves from here.
                Some(object)
            });
            return found.unwrap_or_else(|| self.lost_ref(id, "it was freed before the ref came back to its owner"));
        }
        let (object, _) = self.borrowed(id);
        let Some(first) = self.borrowing_owner() else { return object };
        let held = first.count(|table, out| {
            let held = table.received(id, giver, Hold::Pin, out);
            if held {
                if table.counts(id).is_some_and(|counts| counts.local == 0) {
                    table.hold(id, Hold::Local);
                }
                table.release(id, Hold::Pin, out);
            }
            held
        });
        if !held {
            self.borrowed_lost(id, "its owner or whoever passed it on is gone");
        }
        object
    }

    /// A ref to an object that nobody can be asked for.
    fn lost_ref(self: &Arc<Self>, id: ObjectId, why: &str) -> RawRef {
        let (object, _) = self.borrowed(id);
        self.borrowed_lost(id, why);
        object
    }

    pub(crate) fn borrowed_lost(&self, id: ObjectId, why: &str) {
        self.borrowed_ends(id, id.lost(why));
    }

    pub(crate) fn borrowed_ends(&self, id: ObjectId, error: Error) {
        let error = Resolved::Error(error);
        self.hear_again(id, &error);
        if let Some(borrowed) = self.borrowed_if_known(id) {
            borrowed.slot.replace(error);
        }
    }

    /// The last ref in this process to a borrowed object is gone.
    pub(crate) fn released(borrowed: &Arc<Borrowed>) {
        let process = &borrowed.process;
        process.forget_borrowed(borrowed);
        drop(borrowed.slot.clear());
        if let Some(first) = process.borrowing_owner() {
            first.count(|table, out| {
                let again = process.borrowed_if_known(borrowed.id).is_some_and(|known| known.slot.holds() > 0);
                if !again && table.counts(borrowed.id).is_some_and(|counts| counts.local > 0) {
                    table.release(borrowed.id, Hold::Local, out);
                }
            });
        }
    }

    pub(crate) fn counts_process_died(self: &Arc<Self>, process: ProcessId) {
        for owner in self.owners() {
            if owner.counts.if_any().is_some() {
                owner.count(|table, out| table.process_died(process, out));
            }
        }
    }

    /// Whether this process still lends or borrows anything, for `idle()`.
    pub(crate) fn counts_left(&self) -> (usize, usize) {
        let mut left = (0, 0);
        for owner in self.owners() {
            if let Some(table) = owner.counts.if_any() {
                left.0 += table.owned_len();
                left.1 += table.borrowed_len();
            }
        }
        left
    }
}
