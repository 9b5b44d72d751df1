//! Objects of other processes, and what constructors need.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use super::{Leave, Process, ready};
use crate::api::error::{Error, Result};
use crate::ids::{ActorId, ObjectId, OwnerId};
use crate::object::{Borrowed, RawRef, Target};
use crate::owner::refs::HandOutId;
use crate::protocol::{ActorNews, ActorRun, Gone, ToRaylet};

impl Process {
    /// The ref to an object of another process, new or known.
    pub(crate) fn borrowed(self: &Arc<Self>, id: ObjectId) -> (RawRef, bool) {
        let mut tables = self.lock();
        if let Some(held) = tables.borrowed.get(&id).and_then(Weak::upgrade).and_then(RawRef::borrowed) {
            return (held, false);
        }
        let made = Arc::new(Borrowed {
            id,
            process: Arc::clone(self),
            slot: crate::object::Slot::pending(),
            asked: AtomicBool::new(false),
        });
        tables.borrowed.insert(id, Arc::downgrade(&made));
        (RawRef::adopt_borrowed(made), true)
    }

    /// What the handles of an actor hold: at once, though the owner may not know of it yet.
    pub(crate) fn ask_lifeline(self: &Arc<Self>, id: ObjectId) -> Option<RawRef> {
        if id.task.owner.process == self.id {
            return self.owner_numbered(id.task.owner.number)?.find(id.task, id.index);
        }
        let (object, _) = self.borrowed(id);
        if let Target::Borrowed(borrowed, _) = object.target() {
            Process::ask_owner(borrowed);
        }
        Some(object)
    }

    /// As [`Process::ask_lifeline`], after its owner has heard; none if the actor is ending.
    pub(crate) async fn lifeline_of(self: &Arc<Self>, id: ObjectId) -> Option<RawRef> {
        let object = self.ask_lifeline(id)?;
        if id.task.owner.process != self.id {
            ready(&object).await;
            if object.slot().get().is_none_or(|resolved| resolved.is_error()) {
                return None;
            }
        }
        Some(object)
    }

    /// A ref to an object, whoever owns it.
    pub(crate) fn obtain(self: &Arc<Self>, id: ObjectId) -> Result<RawRef> {
        if id.task.owner.process != self.id {
            return Ok(self.borrowed(id).0);
        }
        self.own_object(id)
            .ok_or_else(|| Error::object_freed(format!("object {id} is not known to its owner any more")))
    }

    // ---- constructors

    /// Keeps what an actor's constructor needs: until it ran, or as long as it may run again.
    pub(crate) fn keep_creation(&self, actor: ActorId, needs: Vec<RawRef>, again: bool) {
        self.lock().creations.insert(actor, (needs, again));
    }

    pub(crate) fn drop_creation(&self, actor: ActorId) {
        // Its refs may be the last to something: they are dropped outside of the lock.
        let gone = self.lock().creations.remove(&actor);
        drop(gone);
    }

    pub(super) fn hear_of_creation(&self, news: &ActorNews) {
        use crate::gcs::core::ActorState;
        let gone = {
            let mut tables = self.lock();
            let found = news.info.found.is_some();
            let over = match (tables.creations.get(&news.info.id), news.info.state) {
                (None, _) => false,
                // Another's constructor was called, with what that one was given.
                (Some(_), _) if found => true,
                (Some(_), ActorState::Dead) => true,
                (Some((_, again)), ActorState::Alive) => !again,
                (Some(_), _) => false,
            };
            if over { tables.creations.remove(&news.info.id) } else { None }
        };
        // They may be the last refs to something.
        drop(gone);
    }

    /// A run fetches its arguments; it may be told to end meanwhile.
    pub(crate) fn begin_start(&self, run: ActorRun) {
        self.lock().starting.insert(run);
    }

    /// Whether the run may go on.
    pub(crate) fn end_start(&self, run: ActorRun) -> bool {
        self.lock().starting.remove(&run)
    }

    /// A run that has no actor yet shall end; false if it has not come, or has ended.
    pub(crate) fn cancel_start(&self, run: ActorRun) -> bool {
        let starting = self.end_start(run);
        if starting {
            self.never_began(run);
        }
        starting
    }

    /// Tells the raylet that a run ended before its constructor.
    pub(crate) fn never_began(&self, run: ActorRun) {
        let text = "it had not begun".to_owned();
        self.tell_raylet(self.id.node, ToRaylet::ActorGone { run, how: Gone::Ended, text, owner: None });
    }

    /// Another ref to a borrowed object that has one here.
    pub(crate) fn borrowed_again(&self, id: ObjectId) -> Option<RawRef> {
        let known = self.borrowed_if_known(id)?;
        // Outside of the lock: this may be the last to know the object.
        RawRef::borrowed(known)
    }

    /// The known borrowed object, for an answer that arrived.
    pub(crate) fn borrowed_if_known(&self, id: ObjectId) -> Option<Arc<Borrowed>> {
        self.lock().borrowed.get(&id)?.upgrade()
    }

    /// A borrowed object has no ref any more: it goes, and the copy of it, unless there is another by the same id, whose
    /// copy that is.
    pub(crate) fn forget_borrowed(&self, borrowed: &Arc<Borrowed>) {
        let copy = {
            let mut tables = self.lock();
            let known = tables.borrowed.get(&borrowed.id);
            let same = known.is_none_or(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(borrowed)));
            if same {
                tables.borrowed.remove(&borrowed.id);
            }
            // Under the lock, for the next to come by a ref may fetch its own.
            same.then(|| self.store.take_copy(&borrowed.id)).flatten()
        };
        self.store.dropped(copy.as_ref());
    }

    /// A message with refs leaves when their owners know its receiver: now, if the word of it came first.
    pub(crate) fn wait_hand_out(&self, owner: OwnerId, id: HandOutId, leave: Leave) {
        let now = {
            let mut tables = self.lock();
            match tables.hand_outs.remove(&(owner.number, id)) {
                Some(_) => Some(leave),
                None => {
                    tables.hand_outs.insert((owner.number, id), Some(leave));
                    None
                }
            }
        };
        if let Some(leave) = now {
            leave();
        }
    }

    pub(crate) fn hand_out_ready(&self, owner: OwnerId, id: HandOutId) {
        let leave = {
            let mut tables = self.lock();
            match tables.hand_outs.remove(&(owner.number, id)) {
                Some(leave) => leave,
                None => {
                    tables.hand_outs.insert((owner.number, id), None);
                    None
                }
            }
        };
        if let Some(leave) = leave {
            leave();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Barrier;

    use uuid::Uuid;

    use super::*;
    use crate::ids::TaskId;
    use crate::process::nowhere;

    /// While one thread drops the last ref to an object of another process, another finds that ref: what it gets is
    /// either the same, which then stays, or a new one.
    #[test]
    #[allow(clippy::disallowed_methods)] // a race of real threads
    fn a_borrowed_ref_that_is_found_while_the_last_is_dropped_stays_good() {
        let owner = nowhere();
        let process = &owner.process;
        let mut theirs = process.id;
        theirs.incarnation = Uuid::from_u128(1);
        let id = ObjectId { task: TaskId { owner: OwnerId { process: theirs, number: 1 }, seq: 1 }, index: 0 };
        let together = Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    together.wait();
                    for _ in 0..400_000 {
                        let (object, _) = process.borrowed(id);
                        for _ in 0..3 {
                            std::hint::spin_loop();
                            assert!(!object.slot().is_ready(), "somebody has freed an object that has a ref");
                        }
                        drop(object);
                        if let Some(object) = process.borrowed_again(id) {
                            assert!(!object.slot().is_ready(), "somebody has freed an object that has a ref");
                        }
                    }
                });
            }
        });
        assert!(process.borrowed_if_known(id).is_none(), "nothing is left of it");
    }

    /// What another process owns is not taken for what an owner of this one with the same number has made.
    #[test]
    fn another_owners_object_is_not_found_among_ours() {
        let owner = nowhere();
        let value = crate::value::encode(&7, "a number").unwrap();
        let ours = owner.put(value).unwrap();
        assert!(owner.process.local_value(&ours.id()).is_some());
        let mut theirs = ours.id();
        theirs.task.owner.process.incarnation = Uuid::from_u128(1);
        assert!(owner.process.local_value(&theirs).is_none());
    }
}
