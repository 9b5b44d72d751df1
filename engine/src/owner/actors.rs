//! What an owner keeps of the actors that it makes. It may make a million: what they have in common is kept once.
//!
//! The handles of an actor hold an object of its owner, the lifeline; when nobody anywhere does any more, the actor ends.
//! Most actors are never held outside of the process that made them. For those there is only a number, which is kept for the
//! lifeline, and their client counts the handles. The object is made when a ref to it is to leave the process, or somebody
//! asks for it ([`Owner::find`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::Owner;
use crate::alike::Alike;
use crate::gcs::core::ActorTraits;
use crate::ids::{ActorId, ObjectId, TaskId};
use crate::object::{RawRef, Target};
use crate::owner::table::Table;
use crate::protocol::ToGcs;
use crate::task::What;

/// Lifelines of which there is only the number: whose they would be.
pub(super) type Reserved = Table<ActorId>;

/// A call of more bytes is rarely made twice, and not kept for that.
const ALIKE_MAX: usize = 4096;

/// Of the actor that was made last: the next is mostly like it.
#[derive(Default)]
pub(super) struct Last(Mutex<LastMade>);

#[derive(Default)]
struct LastMade {
    traits: Alike<ActorTraits>,
    creation: Bytes,
}

impl Last {
    fn lock(&self) -> MutexGuard<'_, LastMade> {
        // Plain data under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owner {
    /// The traits of an actor, shared with the one made last if they are the same.
    pub(crate) fn traits(&self, traits: ActorTraits) -> Arc<ActorTraits> {
        self.last_actor.lock().traits.share(traits)
    }

    /// The encoded call of a constructor, shared with the one made last if it is the same.
    pub(crate) fn creation(&self, creation: Vec<u8>) -> Bytes {
        let mut last = self.last_actor.lock();
        if last.creation == creation {
            return last.creation.clone();
        }
        // It stays as long as the actor: without spare room.
        let creation = Bytes::from(creation.into_boxed_slice());
        if creation.len() <= ALIKE_MAX {
            last.creation = creation.clone();
        }
        creation
    }

    /// Keeps a number for the lifeline of an actor that this process makes.
    pub(crate) fn reserve_lifeline(&self, actor: ActorId) -> ObjectId {
        let seq = self.next_seq();
        self.lock().reserved.insert(seq, actor);
        ObjectId { task: TaskId { owner: self.id, seq }, index: 0 }
    }

    /// Makes the lifeline for which a number was kept.
    pub(crate) fn open_lifeline(self: &Arc<Self>, seq: u64, actor: ActorId) -> RawRef {
        let task = self.open_task(seq, What::Lifeline(actor));
        let mut core = self.lock();
        core.tasks.insert(seq, Arc::clone(&task));
        core.reserved.remove(seq);
        RawRef::adopt(task, 0)
    }

    /// A lifeline was made: if the owner has died, it has with all that it owned, when this was not there.
    pub(crate) fn fail_if_dead(self: &Arc<Self>, lifeline: &RawRef) {
        if let Target::Owned(task, ..) = lifeline.target() {
            self.fail_late(task);
        }
    }

    /// The last handle of an actor is gone whose lifeline was never made.
    pub(crate) fn end_reserved(&self, seq: u64, actor: ActorId) {
        let reserved = self.lock().reserved.remove(seq);
        if reserved.is_some() {
            self.process.tell_gcs(ToGcs::HandlesGone { actor });
        }
    }

    /// Actors that handles of this process alone hold.
    pub(crate) fn actors_held_here(&self) -> Vec<ActorId> {
        self.lock().reserved.values().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    #![allow(dead_code, reason = "an actor has more options than these tests set")]

    use std::sync::Arc;

    use crate::api::cluster::Cluster;
    use crate::env::sim;
    use crate::owner::Owner;
    use crate::prelude::*;
    use crate::start::{NodeOptions, Place};
    use crate::task::What;

    struct Idle;

    #[actinic::remote]
    impl Idle {
        fn new() -> Idle {
            Idle
        }
        fn touch(&self) {}
    }

    /// Actors of which there is the number of a lifeline, and the lifeline itself.
    fn held(owner: &Arc<Owner>) -> (usize, usize) {
        let made = owner.tasks().iter().filter(|task| matches!(task.what, What::Lifeline(_))).count();
        (owner.actors_held_here().len(), made)
    }

    #[test]
    fn a_lifeline_is_made_when_a_handle_leaves_its_process() {
        sim::run(1, |env| async move {
            let cluster = Cluster::embedded(env.clone(), NodeOptions::default(), None, Place::of(&env)).unwrap();
            let owner = Arc::clone(cluster.owner());
            let scoped = cluster.scope(async {
                let stays = Idle::remote();
                let leaves = Idle::remote();
                actinic::get(&[stays.touch(), leaves.touch()]).await.unwrap();
                assert_eq!(held(&owner), (2, 0));
                let away = actinic::put(&leaves).await.unwrap();
                assert_eq!(held(&owner), (1, 1));
                // The handle that left holds the actor; whose handles all stayed here ends with the last.
                drop(leaves);
                let ended = Handle::closed(&stays);
                drop(stays);
                assert!(ended.await.unwrap().to_string().contains("handles"));
                assert_eq!(held(&owner), (0, 1));
                let back: Handle<Idle> = actinic::get(&away).await.unwrap();
                back.touch().await.unwrap();
                drop(away);
                let ended = Handle::closed(&back);
                drop(back);
                assert!(ended.await.unwrap().to_string().contains("handles"));
                assert_eq!(held(&owner), (0, 0));
                let named = Idle::options().name("who else may ask for").remote();
                assert_eq!(held(&owner), (0, 1));
                drop(named);
            });
            scoped.await;
            cluster.shutdown().await.unwrap();
        });
    }
}
