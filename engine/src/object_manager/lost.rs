//! An object that is not where it was said to lie: its owner is asked, who may have it made again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actinic_transport::{Lane, Peer, ProcessId};
use tokio::sync::oneshot;

use crate::api::error::{Error, Result};
use crate::ids::ObjectId;
use crate::object::{RawRef, Resolved, Stored};
use crate::process::Process;
use crate::protocol::calls::WireOutcome;
use crate::protocol::{OBJECT, ObjectAnswer, ToOwner};

/// Those in this process who wait for an owner's word on an object that they have lost.
#[derive(Default)]
pub(crate) struct Asking(Mutex<HashMap<ObjectId, oneshot::Sender<Resolved>>>);

impl Asking {
    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectId, oneshot::Sender<Resolved>>> {
        // Plain data under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The objects that are asked for.
    pub(crate) fn objects(&self) -> Vec<ObjectId> {
        self.lock().keys().copied().collect()
    }
}

impl Process {
    /// How an object is now that could not be had from where it lay.
    ///
    /// # Errors
    ///
    /// `lost`, or a better reason, if it cannot be made again.
    pub(super) async fn had_again(
        self: &Arc<Self>,
        object: ObjectId,
        stored: &Stored,
        lost: Error,
    ) -> Result<Resolved> {
        let at: Vec<ProcessId> = stored.at.iter().map(|at| at.id).collect();
        let owner = object.task.owner;
        let now = if owner.process == self.id {
            let owner = self.owner_numbered(owner.number);
            match owner.and_then(|owner| owner.find(object.task, object.index).map(|object| (owner, object))) {
                Some((owner, object)) => owner.restore(&object, &at).await?,
                None => None,
            }
        } else {
            let (tell, hear) = oneshot::channel();
            // One transfer of an object runs at a time, so nobody else asks.
            self.asking.lock().insert(object, tell);
            self.tell_owner(owner.process, ToOwner::GetObject { object, lost: at });
            hear.await.ok()
        };
        now.ok_or(lost)
    }

    /// An owner says how an object is, which may have been lost here.
    pub(crate) fn hear_again(&self, object: ObjectId, now: &Resolved) {
        let Some(tell) = self.asking.lock().remove(&object) else { return };
        if let Some(borrowed) = self.borrowed_if_known(object) {
            drop(borrowed.slot.renew(now.clone()));
        }
        // Who asked may have gone.
        let _ = tell.send(now.clone());
    }

    /// A borrower has lost an object of this process: it hears how it is when it can be had again.
    pub(crate) fn answer_lost(self: &Arc<Self>, to: &Peer, object: ObjectId, kept: RawRef, lost: Vec<ProcessId>) {
        let (process, to) = (Arc::clone(self), to.clone());
        self.spawn(async move {
            let restored = match process.owner_numbered(object.task.owner.number) {
                Some(owner) => owner.restore(&kept, &lost).await,
                None => Err(Error::object_freed(format!("object {object} is not known to its owner any more"))),
            };
            match restored {
                Ok(_) => process.answer_object(&to, object, kept),
                Err(error) => {
                    let answer = ObjectAnswer { object, outcome: WireOutcome::Error(error) };
                    // The end of the session is news of its own.
                    let _ = to.tell(Lane::Ordered, OBJECT, &answer);
                }
            }
        });
    }
}
