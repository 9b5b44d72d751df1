//! What keeps an actor alive from this process: handles, calls that have not ended, and what ends it by wish.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use actinic_transport::Lane;

use super::{Caller, Client, Held};
use crate::api::error::{Error, Result};
use crate::ids::{ObjectId, TaskId};
use crate::object::RawRef;
use crate::protocol::ToGcs;

impl Client {
    /// One more handle in this process.
    pub(crate) fn hold(&self) {
        self.handles.fetch_add(1, Ordering::SeqCst);
    }

    /// One handle less.
    pub(crate) fn let_go(&self) {
        if self.handles.fetch_sub(1, Ordering::SeqCst) == 1 && !self.is_used() {
            self.unheld();
        }
    }

    /// Whether a call has not ended. Of two that take the last away, a handle and a call's end, one sees both: each writes
    /// its count before it reads the other's, in the one order of sequential consistency.
    fn has_calls(&self) -> bool {
        // In this order: if both are the same, they were when the second was read.
        let ended = self.ended.load(Ordering::SeqCst);
        self.begun.load(Ordering::SeqCst) != ended
    }

    /// Whether there are handles or unfinished calls.
    pub(super) fn is_used(&self) -> bool {
        self.handles.load(Ordering::SeqCst) > 0 || self.has_calls()
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        // Plain data under the lock, and the table of the owner that keeps a number.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the handles here keep alive; only while there is one.
    pub(crate) fn set_lifeline(&self, lifeline: RawRef) {
        let _surplus = {
            let mut held = self.held();
            match &*held {
                Held::Nothing => std::mem::replace(&mut *held, Held::Lifeline(lifeline)),
                Held::Reserved { .. } | Held::Lifeline(_) => Held::Lifeline(lifeline),
            }
        };
    }

    /// The number that its owner, of this process, keeps for the lifeline.
    pub(crate) fn set_reserved(&self, lifeline: ObjectId) {
        let TaskId { owner, seq } = lifeline.task;
        *self.held() = Held::Reserved { owner: owner.number, seq };
    }

    /// Whether its handles hold it.
    pub(crate) fn holds_actor(&self) -> bool {
        !matches!(*self.held(), Held::Nothing)
    }

    /// The object whose last ref ends the actor, made now if only its number was kept. None for a detached one.
    pub(crate) fn lifeline(&self) -> Option<RawRef> {
        let (owner, lifeline) = {
            let mut held = self.held();
            match &*held {
                Held::Nothing => return None,
                Held::Lifeline(lifeline) => return Some(lifeline.clone()),
                Held::Reserved { owner, seq } => {
                    let owner = self.process.owner_numbered(*owner)?;
                    let lifeline = owner.open_lifeline(*seq, self.id);
                    *held = Held::Lifeline(lifeline.clone());
                    (owner, lifeline)
                }
            }
        };
        owner.fail_if_dead(&lifeline);
        Some(lifeline)
    }

    fn unheld(&self) {
        let last = {
            let mut held = self.held();
            if self.is_used() {
                // A handle has arrived meanwhile: what holds the actor for it, also the client that is meant, stays.
                return;
            }
            std::mem::take(&mut *held)
        };
        match last {
            Held::Reserved { owner, seq } => {
                if let Some(owner) = self.process.owner_numbered(owner) {
                    owner.end_reserved(seq, self.id);
                }
            }
            Held::Nothing | Held::Lifeline(_) => drop(last),
        }
        self.release_real();
    }

    /// Whether one more call of a caller is allowed now.
    pub(crate) fn admit(&self, caller: Caller) -> Result<()> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(self.was_stopped());
        }
        if let Some(pending) = &self.pending {
            let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
            let calls = pending.entry(caller).or_insert(0);
            if *calls >= self.limits.max_pending {
                let calls = *calls;
                drop(pending);
                return Err(self.too_many(calls));
            }
            *calls += 1;
        }
        self.begun.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    #[cold]
    fn was_stopped(&self) -> Error {
        let error = Error::actor_died(format!("{} was stopped (intended exit)", self.describe()))
            .remedy("make the calls before `Handle::stop`, or make another actor");
        match self.lock().node {
            Some(node) => error.at_node(node),
            None => error,
        }
    }

    #[cold]
    fn too_many(&self, calls: i64) -> Error {
        let error = Error::actor_pending_calls_limit(format!(
            "{} has {calls} unfinished calls of this caller, and max_pending_calls is {}",
            self.describe(),
            self.limits.max_pending
        ))
        .remedy("wait for earlier calls, or raise `max_pending_calls`");
        match self.lock().node {
            Some(node) => error.at_node(node),
            None => error,
        }
    }

    pub(super) fn uncount(&self, caller: Caller) {
        if let Some(pending) = &self.pending {
            let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(calls) = pending.get_mut(&caller) {
                *calls -= 1;
                if *calls == 0 {
                    pending.remove(&caller);
                }
            }
        }
    }

    pub(super) fn ended(self: &Arc<Self>) {
        self.ended.fetch_add(1, Ordering::SeqCst);
        if self.handles.load(Ordering::SeqCst) == 0 && !self.has_calls() {
            self.unheld();
        }
        if self.stopping.load(Ordering::SeqCst) && !self.has_calls() {
            self.tell_stop();
        }
    }

    /// Ends the actor after the calls already made here; later ones fail.
    pub(crate) fn stop(self: &Arc<Self>) {
        self.stopping.store(true, Ordering::SeqCst);
        if !self.has_calls() {
            self.tell_stop();
        }
    }

    fn tell_stop(self: &Arc<Self>) {
        if self.told_stop.swap(true, Ordering::SeqCst) {
            return;
        }
        let actor = self.real.get().map_or(self.id, |real| real.id);
        self.process.tell_gcs(ToGcs::StopActor { actor });
    }

    /// This process is about to ask the GCS for it.
    pub(crate) fn is_asked_for(&self) {
        self.unborn.store(true, Ordering::Release);
    }

    /// The lane of a kill: it passes all but the request for the actor itself, without which it would end nothing.
    pub(crate) fn kill_lane(&self) -> Lane {
        if self.unborn.load(Ordering::Acquire) { Lane::Ordered } else { Lane::Urgent }
    }
}
