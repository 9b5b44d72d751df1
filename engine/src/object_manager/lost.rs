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
pub(crate) struct Asking(Mutex<HashMap<ObjectId, Asked>>);

/// A question that an owner has not answered.
struct Asked {
    /// Where the object was found to be lost.
    lost: Vec<ProcessId>,
    /// Whoever asked last: it may wait no more.
    tell: oneshot::Sender<Resolved>,
}

impl Asking {
    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectId, Asked>> {
        // Plain data under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody waits for an owner's word; whether it has to be asked for that. One transfer of an object runs at a time, so
    /// nobody else waits; but one before may have, and have given up.
    pub(super) fn begin(&self, object: ObjectId, lost: &[ProcessId]) -> (oneshot::Receiver<Resolved>, bool) {
        let (tell, hear) = oneshot::channel();
        let before = self.lock().insert(object, Asked { lost: lost.to_vec(), tell });
        (hear, before.is_none_or(|before| before.lost != lost))
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
                Some((owner, object)) => owner.restore(object, true, &at).await?,
                None => None,
            }
        } else {
            let (hear, ask) = self.asking.begin(object, &at);
            if ask {
                self.tell_owner(owner.process, ToOwner::GetObject { object, lost: at });
            }
            hear.await.ok()
        };
        now.ok_or(lost)
    }

    /// An owner says how an object is, which may have been lost here.
    pub(crate) fn hear_again(&self, object: ObjectId, now: &Resolved) {
        let Some(Asked { tell, .. }) = self.asking.lock().remove(&object) else { return };
        if let Some(borrowed) = self.borrowed_if_known(object) {
            drop(borrowed.slot.renew(now.clone()));
        }
        // Who asked may have gone.
        let _ = tell.send(now.clone());
    }

    /// A borrower has lost an object of this process: it hears how it is when it can be had again. Until then nothing but
    /// its ref keeps the object, which it may drop.
    pub(crate) fn answer_lost(self: &Arc<Self>, to: &Peer, object: ObjectId, lost: RawRef, at: Vec<ProcessId>) {
        let (process, to) = (Arc::clone(self), to.clone());
        self.spawn(async move {
            let freed = || Error::object_freed(format!("object {object} is not known to its owner any more"));
            let restored = match process.owner_numbered(object.task.owner.number) {
                Some(owner) => owner.restore(lost, false, &at).await,
                None => Err(freed()),
            };
            match restored.and_then(|_| process.own_object(object).ok_or_else(freed)) {
                Ok(kept) => process.answer_object(&to, object, kept),
                Err(error) => {
                    let answer = ObjectAnswer { object, outcome: WireOutcome::Error(error) };
                    // The end of the session is news of its own.
                    let _ = to.tell(Lane::Ordered, OBJECT, &answer);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use uuid::Uuid;

    use super::*;
    use crate::ids::TaskId;
    use crate::process::nowhere;
    use crate::value;

    #[test]
    fn what_its_owner_does_not_know_goes_with_its_maker() {
        let owner = nowhere();
        let process = &owner.process;
        let object = |seq| ObjectId { task: TaskId { owner: owner.id, seq }, index: 0 };
        let mut maker = process.id;
        maker.incarnation = Uuid::from_u128(1);
        let kept = || value::encode(&7, "a number").unwrap();
        process.store.insert(object(1), kept(), Some(maker));
        process.store.insert(object(2), kept(), None);
        process.process_dead(maker, "it ended");
        assert_eq!(process.store.all_objects(), [object(2)]);
    }

    /// Who gave up, and asks again for what is lost where it was, waits for the same answer.
    #[test]
    fn an_owner_is_asked_once() {
        let owner = nowhere();
        let object = ObjectId { task: TaskId { owner: owner.id, seq: 1 }, index: 0 };
        let (asking, at) = (Asking::default(), [owner.process.id]);
        let (mut first, asks) = asking.begin(object, &at);
        assert!(asks);
        let (_second, asks) = asking.begin(object, &at);
        assert!(!asks && first.try_recv().is_err());
        assert!(asking.begin(object, &[]).1, "it is lost elsewhere");
    }
}
