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
        if let Some(known) = tables.borrowed.get(&id).and_then(Weak::upgrade)
            && known.slot.holds() > 0
        {
            return (RawRef::borrowed(known), false);
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
        let tables = self.lock();
        let known = tables.borrowed.get(&id).and_then(Weak::upgrade)?;
        let held = (known.slot.holds() > 0).then(|| RawRef::borrowed(Arc::clone(&known)));
        // It may be the last to know the object.
        drop(tables);
        held
    }

    /// The known borrowed object, for an answer that arrived.
    pub(crate) fn borrowed_if_known(&self, id: ObjectId) -> Option<Arc<Borrowed>> {
        self.lock().borrowed.get(&id)?.upgrade()
    }

    pub(crate) fn forget_borrowed(&self, borrowed: &Arc<Borrowed>) {
        let mut tables = self.lock();
        let same =
            tables.borrowed.get(&borrowed.id).is_some_and(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(borrowed)));
        if same && borrowed.slot.holds() == 0 {
            tables.borrowed.remove(&borrowed.id);
        }
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
