//! Room for what is kept, and what is kept for whom: values of other owners, and arguments of calls that wait.

use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{Peer, PeerAddr, ProcessId};

use crate::actor::client::when_ready;
use crate::api::error::{Error, Result};
use crate::ids::{ObjectId, TaskId};
use crate::object::{RawRef, Resolved};
use crate::object_manager::pull;
use crate::object_manager::transfers::{Lends, Transfers, Wanted};
use crate::process::Process;
use crate::protocol::workers::Keep;
use crate::protocol::{OBJECTS, ToOwner, ToRaylet};
use crate::task::Task;
use crate::value::Value;

/// How long a value waits for what other processes of its node can do without, how often it looks, and how often it asks
/// again: first for copies, and then for what is kept for lineage's sake too.
const ROOM_WAIT: Duration = Duration::from_millis(200);
const ROOM_AGAIN: Duration = Duration::from_millis(2);
const ROOM_ASK_AGAIN: Duration = Duration::from_millis(50);

/// How long the node's store may take for a value: a megabyte a second, and what it may have to do before.
fn keep_within(size: usize) -> Duration {
    Duration::from_secs(60 + (size as u64 >> 20))
}

impl Process {
    /// Counts a value in the store; what stays there for lineage's sake only goes first.
    ///
    /// # Errors
    ///
    /// `ObjectStoreFull` if it does not fit then either. Other processes of the node are asked to let copies go, which
    /// helps whoever comes later.
    pub(crate) fn charge(&self, size: usize) -> Result<()> {
        let charged = self.charge_alone(size);
        if charged.is_err() && self.others_may_make_room(size) {
            self.ask_for_room(false);
        }
        charged
    }

    /// As [`Process::charge`]; waits a little for what others let go.
    pub(crate) async fn charge_patiently(&self, size: usize) -> Result<()> {
        let charged = self.charge(size);
        if charged.is_ok() || !self.has_room_soon(size).await {
            return charged;
        }
        self.charge_alone(size)
    }

    /// Whether others of the node keep what would make room for so much.
    pub(crate) fn others_may_make_room(&self, size: usize) -> bool {
        size as u64 <= self.store.capacity() && self.store.mine() < self.store.used()
    }

    /// Whether there is room for so much, or comes while what others let go is waited for.
    pub(crate) async fn has_room_soon(&self, size: usize) -> bool {
        let begun = self.env.now();
        let mut asked = Duration::ZERO;
        loop {
            if self.store.has_room(size) {
                return true;
            }
            let waited = self.env.now() - begun;
            if waited >= ROOM_WAIT || !self.others_may_make_room(size) {
                return false;
            }
            if waited - asked >= ROOM_ASK_AGAIN {
                asked = waited;
                self.ask_for_room(true);
            }
            tokio::time::sleep(ROOM_AGAIN).await;
        }
    }

    fn ask_for_room(&self, lineage: bool) {
        self.tell_raylet(self.id.node, ToRaylet::StoreFull { lineage });
    }

    fn charge_alone(&self, size: usize) -> Result<()> {
        loop {
            match self.store.charge(size) {
                Err(_) if size as u64 <= self.store.capacity() && self.shed_lineage() => {}
                charged => return charged.map_err(|error| error.at_node(self.id.node)),
            }
        }
    }

    fn shed_lineage(&self) -> bool {
        // Of each of them, and not of the first only.
        self.owners().iter().fold(false, |any, owner| owner.shed_lineage() | any)
    }

    /// The node's store is full: copies that this process can do without go, or what is kept for lineage's sake too.
    pub(crate) fn make_room(&self, lineage: bool) {
        let gone = self.store.evict_all();
        // To give a lot of memory back takes a while, and this thread has messages to read. Without a thread it is dropped
        // here.
        if !gone.is_empty() {
            drop(self.env.aside("actinic-evict", move || drop(gone)));
        }
        if lineage {
            self.shed_lineage();
        }
    }
}

impl Process {
    /// Puts a value of another owner into this node's store; the answer says where it now lies.
    pub(crate) async fn keep(self: &Arc<Self>, object: ObjectId, value: Value) -> Result<PeerAddr> {
        let size = value.size();
        let Some(store) = self.store_peer() else {
            self.charge_patiently(size).await?;
            self.keep_for_owner(object, value, None);
            return Ok(self.address());
        };
        self.store.offer(object, value);
        let answer: std::result::Result<Result<PeerAddr>, _> =
            store.ask(OBJECTS, &Keep { object, size: size as u64 }, keep_within(size)).await;
        self.store.withdraw(&object);
        match answer {
            Ok(kept) => kept,
            Err(error) => {
                // It may have taken it, and its answer be late.
                self.free_stored(object, &[store.addr()]);
                Err(Error::object_lost(format!("the node's store did not take object {object}: {error}")))
            }
        }
    }

    /// Keeps what there is room for; not for an owner that has died meanwhile, for nobody would free it.
    fn keep_for_owner(&self, object: ObjectId, value: Value, maker: Option<ProcessId>) {
        self.store.insert(object, value, maker);
        self.drop_if_unowned(&object);
    }

    /// What came for an owner that has died meanwhile does not stay: what it owned was dropped before.
    pub(super) fn drop_if_unowned(&self, object: &ObjectId) {
        let owner = object.task.owner.process;
        if self.is_dead(owner) || self.is_dead_node(owner.node) {
            self.store.remove(object);
        }
    }

    /// Takes a value that a worker of this node offers: first the room, and then the bytes.
    pub(crate) async fn keep_offered(self: &Arc<Self>, worker: &Peer, keep: &Keep) -> Result<PeerAddr> {
        let Keep { object, size } = *keep;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        self.charge_patiently(size).await?;
        let lost = |text: String| Error::object_lost(format!("object {object} did not arrive: {text}"));
        let pulled = pull(worker, object, keep.size).await.map_err(|error| lost(error.to_string()));
        let pulled = pulled.and_then(|(value, _)| match value.size() {
            said if said == size => Ok(value),
            other => Err(lost(format!("it has {other} bytes, and was said to have {size}"))),
        });
        match pulled {
            Ok(value) => {
                self.keep_for_owner(object, value, Some(worker.id()));
                if self.is_dead(worker.id()) {
                    // Who looked for what it had made did so before.
                    self.maker_ended(worker.id());
                }
            }
            Err(error) => {
                self.store.discharge(size);
                return Err(error);
            }
        }
        Ok(self.address())
    }

    /// A worker process has ended. What it had made lies here, and it may have told the owner, or not: who does not know that
    /// it lies here never frees it.
    pub(crate) fn maker_ended(self: &Arc<Self>, maker: ProcessId) {
        if maker.node != self.id.node {
            // They keep what they make on their own.
            return;
        }
        for object in self.store.made_by(maker) {
            let owner = object.task.owner.process;
            if owner != self.id {
                let process = Arc::clone(self);
                self.spawn(async move {
                    let (hear, ask) = process.asking.begin(object, &[]);
                    if ask {
                        process.tell_owner(owner, ToOwner::GetObject { object, lost: Vec::new() });
                    }
                    // An owner that is gone has no answer, and nothing here.
                    if let Ok(known) = hear.await {
                        process.settle_made(object, maker, Some(&known));
                    }
                });
            } else if let Some(known) = self.own_object(object) {
                let (process, kept) = (Arc::clone(self), known.clone());
                when_ready(&known, move || {
                    let known = kept.slot().get_unseen();
                    process.settle_made(object, maker, known.as_ref());
                });
            } else {
                self.settle_made(object, maker, None);
            }
        }
    }

    /// An owner's word on what a worker process made that has ended: it lies here for the owner, or for nobody.
    fn settle_made(&self, object: ObjectId, maker: ProcessId, known: Option<&Resolved>) {
        match known {
            Some(Resolved::Stored(stored)) if stored.at.iter().any(|at| at.id == self.id) => {}
            _ => self.store.remove_made(&object, maker),
        }
    }

    /// Whether all arguments that were refs can be read in this process.
    pub(crate) fn has_dependencies(&self, task: &Task) -> bool {
        task.with_input(|input| {
            input.dependencies.iter().all(|dependency| match dependency.slot().get() {
                Some(Resolved::Stored(_)) => self.store.has(&dependency.id()),
                _ => true,
            })
        })
    }

    /// As [`Process::has_dependencies`]; if so, they stay for the call that is about to be given to its worker.
    pub(crate) fn keep_dependencies(&self, task: &Task) -> bool {
        let stored: Vec<ObjectId> = task.with_input(|input| {
            let is_stored = |one: &&RawRef| matches!(one.slot().get(), Some(Resolved::Stored(_)));
            input.dependencies.iter().filter(is_stored).map(RawRef::id).collect()
        });
        if stored.is_empty() {
            return true;
        }
        let call = (task.id(), task.attempt());
        let here = self.store.keep_for_call(call, &stored);
        self.keep_no_longer_than(task, call);
        here
    }

    /// What stays for an attempt at a task that has ended meanwhile does not.
    fn keep_no_longer_than(&self, task: &Task, call: (TaskId, u32)) {
        if task.is_over() {
            self.store.call_ended(call);
        }
    }

    /// Fetches the arguments that lie elsewhere, each of which then stays for the call; `false` as soon as the task is over,
    /// which may be long before they are here.
    ///
    /// # Errors
    ///
    /// The first failure, at once: nothing stays for the call then.
    pub(crate) async fn fetch_dependencies(
        self: &Arc<Self>,
        task: &Arc<Task>,
        lends: Option<Arc<Lends>>,
    ) -> Result<bool> {
        let call = (task.id(), task.attempt());
        let mut over = self.store.fetch_begins(call);
        // In this order: whoever ends the attempt finds the fetch, or has ended it before this look.
        let fetched = if task.is_over() || task.attempt() != call.1 {
            Ok(())
        } else {
            tokio::select! {
                biased;
                _ = &mut over => Ok(()),
                fetched = self.fetch_for_call(task, call, lends) => fetched,
            }
        };
        let wanted = self.store.fetch_ends(call, over);
        if fetched.is_err() {
            self.store.call_ended(call);
        }
        self.keep_no_longer_than(task, call);
        if wanted && !task.is_over() { fetched.map(|()| true) } else { Ok(false) }
    }

    async fn fetch_for_call(
        self: &Arc<Self>,
        task: &Arc<Task>,
        call: (TaskId, u32),
        lends: Option<Arc<Lends>>,
    ) -> Result<()> {
        let mut transfers = Transfers::new(lends);
        // One that is given twice comes once, and is read twice.
        let mut needed: Vec<(RawRef, usize)> = Vec::new();
        for dependency in task.input().dependencies {
            match needed.iter_mut().find(|(one, _)| *one == dependency) {
                Some((_, times)) => *times += 1,
                None => needed.push((dependency, 1)),
            }
        }
        // What has come may have gone again before it was said to stay.
        let keep = |(one, times): &(RawRef, usize)| {
            let Some(Resolved::Stored(stored)) = one.slot().get() else { return None };
            (!self.store.keep_for_call(call, &vec![one.id(); *times])).then_some(stored)
        };
        for (at, one) in needed.iter().enumerate() {
            if let Some(stored) = keep(one) {
                transfers.begin(Wanted::of(at, &one.0, stored));
            }
        }
        while let Some((at, fetched)) = transfers.next().await {
            fetched?;
            if let Some(stored) = keep(&needed[at]) {
                transfers.begin(Wanted::of(at, &needed[at].0, stored));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use actinic_transport::{Authority, ClusterId};
    use uuid::Uuid;

    use super::*;
    use crate::env::sim;
    use crate::ids::OwnerId;
    use crate::net::tests::process;
    use crate::process::nowhere;
    use crate::value;

    /// A copy, or what is kept for another, that comes after its owner's death is not there for ever.
    #[test]
    fn what_comes_after_its_owners_death_does_not_stay() {
        let process = Arc::clone(&nowhere().process);
        let object = |incarnation| {
            let mut theirs = process.id;
            theirs.incarnation = Uuid::from_u128(incarnation);
            ObjectId { task: TaskId { owner: OwnerId { process: theirs, number: 1 }, seq: 1 }, index: 0 }
        };
        let (dead, alive) = (object(1), object(2));
        process.process_dead(dead.task.owner.process, "it ended");
        for came in [dead, alive] {
            process.store.lock().add_copy(came, value::encode(&7, "a number").unwrap(), false);
            process.drop_if_unowned(&came);
        }
        assert_eq!(process.store.all_objects(), [alive]);
    }

    /// There is room for what was said, and for no more: what comes is not read if it is far more.
    #[test]
    fn what_is_larger_than_was_said_is_not_read() {
        sim::run(1, |env| async move {
            let authority = Authority::generate(ClusterId(env.uuid())).unwrap();
            let (keeper, worker) = (process(&env, &authority), process(&env, &authority));
            let object =
                ObjectId { task: TaskId { owner: OwnerId { process: worker.id, number: 1 }, seq: 1 }, index: 0 };
            let large = value::encode(&vec![7_u8; 40 << 20], "bytes").unwrap();
            worker.store.insert(object, large, None);
            let peer = keeper.endpoint().unwrap().peer(&worker.address());
            let error = keeper.keep_offered(&peer, &Keep { object, size: 10 }).await.unwrap_err();
            assert!(error.to_string().contains("was said to have 10"), "{error}");
            assert!(keeper.store.all_objects().is_empty());
        });
    }
}
