//! Who has refs to what an owner made, and what is freed.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use actinic_transport::{Peer, PeerAddr, ProcessId};

use super::{Link, Owner, RemoteLink};
use crate::api::error::Error;
use crate::ids::{ObjectId, TaskId};
use crate::object::{RawRef, Resolved, Slot, State, Stored};
use crate::owner::dispatch::KeyIx;
use crate::owner::lineage::Stays;
use crate::protocol::ToGcs;
use crate::task::{Task, What};

impl Owner {
    /// The last ref in this process to a return is gone.
    pub(crate) fn released(self: &Arc<Self>, task: &Arc<Task>, index: u32) {
        if task.is_shared() {
            self.unhold(task, index);
        }
        self.settle(task, index);
    }

    /// Whether somebody, here or elsewhere, has a ref to a return.
    pub(crate) fn wants(&self, task: &Task, index: u32) -> bool {
        task.slot(index).holds() > 0 || self.is_lent(task, index)
    }

    /// Frees a return that nobody anywhere can ask for, once: its value goes, here and wherever it is stored.
    ///
    /// A ref that comes back from elsewhere is found under the same lock; what is settled here stays so.
    pub(crate) fn settle(self: &Arc<Self>, task: &Arc<Task>, index: u32) {
        let wanted = |index: u32| self.wants(task, index);
        let (gone, cleared, let_go, drained) = {
            let mut core = self.lock();
            if wanted(index) {
                return;
            }
            let ends = task.is_over() || matches!(task.what, What::Lifeline(_));
            if !ends {
                // Its end settles it; it comes sooner if this was the last that it runs again for.
                if self.runs_for_nobody(&core, task) {
                    let task = Arc::clone(task);
                    self.process.defer(move || task.owner.withdraw(&task));
                }
                return;
            }
            let stays = if core.lineage.is_empty() { Stays::Nothing } else { core.lineage.stays(task.seq) };
            let last = || (0..task.returns()).all(|index| !wanted(index));
            let (gone, cleared, let_go) = match stays {
                Stays::Values => return,
                Stays::Record => (None, Some(task.slot(index).clear()), None),
                Stays::Nothing if task.returns() == 1 => {
                    (core.tasks.remove(task.seq), None, core.lineage.forget(task.seq))
                }
                Stays::Nothing => {
                    // What was read of one is read of all.
                    let cleared = task.slot(index).clear();
                    let last = last();
                    let gone = if last { core.tasks.remove(task.seq) } else { None };
                    (gone, Some(cleared), if last { core.lineage.forget(task.seq) } else { None })
                }
            };
            (gone, cleared, let_go, core.tasks.has_drained())
        };
        if drained {
            self.process.burst_ended();
        }
        if let_go.is_some() {
            self.let_go(let_go);
        }
        if let What::Lifeline(actor) = &task.what {
            if gone.is_some() {
                self.process.tell_gcs(ToGcs::HandlesGone { actor: *actor });
            }
            return;
        }
        match cleared {
            Some(State::Ready(outcome)) => {
                if gone.is_some() {
                    self.report_unread(task, &outcome);
                }
                self.free(task, index, &outcome);
            }
            Some(State::Pending(_)) => {}
            None if gone.is_some() => {
                // Taken out here: the task itself may be dropped later and elsewhere, where what the value holds would
                // be dropped within it.
                if let State::Ready(outcome) = task.slot(0).vacate() {
                    self.report_unread(task, &outcome);
                    self.free(task, 0, &outcome);
                }
            }
            None => {}
        }
    }

    /// A task has failed, and nobody will ever see why: it is said here, once.
    pub(super) fn report_unread(&self, task: &Task, outcome: &Resolved) {
        let Resolved::Error(error) = outcome else { return };
        if let Error::ObjectFreed { .. } = error {
            // It had a value, which was freed before its record.
            return;
        }
        let is_call = matches!(task.what, What::Function(_) | What::Method(_));
        let meant = task.is_cancelled() || self.dead.get().is_some() || self.process.is_closing();
        if !is_call || meant || !self.process.reports_unread || task.slots().any(Slot::was_read) {
            return;
        }
        tracing::error!(
            target: "actinic",
            task = task.describe(),
            "unhandled error, which nobody has read: {error} (get the ref to handle it; ACTINIC_IGNORE_UNHANDLED_ERRORS=1 silences \
             this)"
        );
    }

    pub(super) fn free(&self, task: &Task, index: u32, outcome: &Resolved) {
        match outcome {
            Resolved::Value(value) => self.free_value(task, index, value.size()),
            Resolved::Stored(stored) => self.process.free_stored(ObjectId { task: task.id(), index }, &stored.at),
            Resolved::Error(_) => {}
        }
    }

    /// An outcome comes to a return that has another (it was cancelled, its owner is dead): what it holds goes.
    pub(crate) fn give_up(&self, task: &Task, index: u32, outcome: &Resolved) {
        match outcome {
            Resolved::Value(value) => self.process.store.discharge(value.size()),
            Resolved::Stored(late) => {
                // Another attempt's value may lie at the same place, under the same name.
                let at: Vec<PeerAddr> = match task.has_slot(index).then(|| task.slot(index).get_unseen()).flatten() {
                    Some(Resolved::Stored(known)) => {
                        let elsewhere = |at: &&PeerAddr| known.at.iter().all(|known| known.id != at.id);
                        late.at.iter().filter(elsewhere).cloned().collect()
                    }
                    _ => late.at.clone(),
                };
                self.process.free_stored(ObjectId { task: task.id(), index }, &at);
            }
            Resolved::Error(_) => {}
        }
    }

    /// A value of this process is freed, and the copies that others fetched.
    pub(super) fn free_value(&self, task: &Task, index: u32, size: usize) {
        self.process.store.discharge(size);
        // One that was lost as a large one may have been made again as a small one.
        if size > crate::call::INLINE_LIMIT || task.attempt() > 0 || self.small_copies.load(Ordering::Acquire) {
            let copies = {
                let mut all = self.copies();
                let copies = all.remove(&(task.seq, index)).unwrap_or_default();
                if all.is_empty() {
                    self.small_copies.store(false, Ordering::Release);
                }
                copies
            };
            self.process.free_stored(ObjectId { task: task.id(), index }, &copies);
        }
    }

    pub(super) fn copies(&self) -> MutexGuard<'_, HashMap<(u64, u32), Vec<PeerAddr>>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The processes that are known to hold an object, or to have fetched it.
    fn holders(&self, seq: u64, index: u32) -> Vec<ProcessId> {
        let Some(task) = self.task(seq).filter(|task| task.has_slot(index)) else { return Vec::new() };
        let ids = |at: &[PeerAddr]| at.iter().map(|at| at.id).collect();
        match &*task.slot(index).lock() {
            State::Ready(Resolved::Value(_)) => self.copies().get(&(seq, index)).map(|at| ids(at)).unwrap_or_default(),
            State::Ready(Resolved::Stored(stored)) => ids(&stored.at),
            _ => Vec::new(),
        }
    }

    /// Another process has fetched an object: it is told when the object is freed, which may have been meanwhile.
    pub(crate) fn copied(self: &Arc<Self>, seq: u64, index: u32, at: PeerAddr) {
        let holders = self.holders(seq, index);
        if holders.contains(&at.id) {
            // It has let its copy go, and fetched another.
            return;
        }
        // Processes come and go while an object stays.
        let gone = self.process.gone_of(holders);
        let add = |all: &mut Vec<PeerAddr>| {
            all.retain(|one| one.id != at.id && !gone.contains(&one.id));
            all.push(at.clone());
        };
        let known = {
            let core = self.lock();
            match core.tasks.get(seq).filter(|task| task.has_slot(index)) {
                None => None,
                Some(task) => {
                    let before = match &mut *task.slot(index).lock() {
                        State::Ready(Resolved::Value(value)) => {
                            add(self.copies().entry((seq, index)).or_default());
                            if value.size() <= crate::call::INLINE_LIMIT {
                                self.small_copies.store(true, Ordering::Release);
                            }
                            Some(None)
                        }
                        State::Ready(Resolved::Stored(stored)) => {
                            let mut more =
                                Stored { size: stored.size, at: stored.at.clone(), refs: stored.refs.clone() };
                            add(&mut more.at);
                            Some(Some(std::mem::replace(stored, Arc::new(more))))
                        }
                        _ => None,
                    };
                    before.map(|before| (Arc::clone(task), before))
                }
            }
        };
        if known.is_none() {
            let task = TaskId { owner: self.id, seq };
            self.process.free_stored(ObjectId { task, index }, &[at]);
        }
    }

    /// A ref to an object of this owner, for somebody who knows its id.
    pub(crate) fn find(&self, id: TaskId, index: u32) -> Option<RawRef> {
        if id.owner != self.id {
            return None;
        }
        let reserved = {
            let core = self.lock();
            if let Some(task) = core.tasks.get(id.seq) {
                return task.has_slot(index).then(|| RawRef::owned(Arc::clone(task), index));
            }
            *core.reserved.get(id.seq).filter(|_| index == 0)?
        };
        self.process.client(reserved)?.lifeline()
    }

    /// As [`Owner::find`], of an object that somebody has a ref to.
    pub(super) fn find_wanted(&self, id: TaskId, index: u32) -> Option<RawRef> {
        let core = self.lock();
        let task = core.tasks.get(id.seq).filter(|task| task.has_slot(index))?;
        self.wants(task, index).then(|| RawRef::owned(Arc::clone(task), index))
    }

    /// The task with a number, while it is known.
    pub(crate) fn task(&self, seq: u64) -> Option<Arc<Task>> {
        self.lock().tasks.get(seq).cloned()
    }

    /// The processes that a task may be running in, this one left out.
    pub(super) fn flying_at(&self, task: &Task) -> Vec<Peer> {
        if let What::Method(call) = &task.what {
            return call.client.real().peer().into_iter().collect();
        }
        let mut core = self.lock();
        let key = task.key.load(Ordering::Relaxed);
        if key == KeyIx::MAX {
            return Vec::new();
        }
        let parked = core.parked.get(&task.seq).map(|(_, link)| link.clone());
        match core.dispatch.locate(task.seq, key).or(parked) {
            Some(Link::Remote(link)) => vec![link.peer.clone()],
            _ => Vec::new(),
        }
    }

    /// The worker in another process where an async task waits without holding it.
    pub(super) fn parked_at(&self, seq: u64) -> Option<Arc<RemoteLink>> {
        match &self.lock().parked.get(&seq)?.1 {
            Link::Remote(link) => Some(Arc::clone(link)),
            Link::Local(_) => None,
        }
    }

    /// Tasks have ended that may have waited without holding their worker, under leases that are over.
    pub(crate) fn unparked(&self, seqs: impl IntoIterator<Item = u64>) {
        let gone: Vec<_> = {
            let mut core = self.lock();
            seqs.into_iter().filter_map(|seq| core.parked.remove(&seq)).collect()
        };
        drop(gone);
    }

    /// The tasks with these numbers, where they are known.
    pub(super) fn tasks_numbered(&self, seqs: impl Iterator<Item = u64>) -> Vec<Option<Arc<Task>>> {
        let core = self.lock();
        seqs.map(|seq| core.tasks.get(seq).cloned()).collect()
    }

    /// Every task and object that is known, for `state`.
    pub(crate) fn tasks(&self) -> Vec<Arc<Task>> {
        self.lock().tasks.values().cloned().collect()
    }

    /// Whether it owns nothing, and has nothing to tell. Of one that is in use now, not: it is asked under another lock.
    pub(crate) fn is_empty(&self) -> bool {
        let owns_nothing = match self.core.try_lock() {
            Ok(core) => core.tasks.len() + core.reserved.len() + core.leases.len() == 0 && core.requests.is_empty(),
            Err(_) => false,
        };
        owns_nothing && self.held_events() == 0
    }

    /// How many tasks and objects are known, wait in queues, and are in flight.
    pub(crate) fn load(&self) -> (usize, usize, usize) {
        let core = self.lock();
        let (queued, flying) = core.dispatch.load();
        (core.tasks.len() + core.reserved.len(), queued, flying)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use actinic_transport::{Authority, ClusterId};
    use uuid::Uuid;

    use super::*;
    use crate::api::error::Error;
    use crate::env::sim;
    use crate::ids::JobId;
    use crate::net::tests::process;
    use crate::object::State;
    use crate::process::{Process, nowhere};
    use crate::testing::eventually;
    use crate::value::{Blob, Extras, Value};
    use crate::wait::{Waiter, Waiters};

    /// How many waiters of an object are of another process.
    fn questions(task: &Task, of: ProcessId) -> usize {
        let is_theirs = |waiter: &&Waiter| matches!(waiter, Waiter::Borrower(borrower) if borrower.to.id() == of);
        match &*task.slot(0).lock() {
            State::Pending(Waiters::One(one)) => usize::from(is_theirs(&one)),
            State::Pending(Waiters::Many(all)) => all.iter().filter(is_theirs).count(),
            _ => 0,
        }
    }

    /// Tasks of other processes wait for an object one after the other, and leave nothing behind each; who waits when it comes
    /// hears of it, if another's answer is on its way already.
    #[test]
    fn a_process_that_asks_again_and_again_is_answered_once() {
        sim::run(1, |env| async move {
            let authority = Authority::generate(ClusterId(env.uuid())).unwrap();
            let here = process(&env, &authority);
            let owner = here.new_owner(JobId(env.uuid()), Arc::from(""));
            let freed = Resolved::Error(Error::object_freed("it is made again"));
            let task = Task::resolved(Arc::clone(&owner), What::Put, Arc::clone(&here.put_meta), freed, 1);
            assert!(task.slot(0).reopen(), "it has no value yet");
            owner.lock().tasks.insert(task.seq, Arc::clone(&task));
            let object = ObjectId { task: task.id(), index: 0 };
            let unknown = ObjectId { index: 7, ..object };
            let connected = async || {
                let there = process(&env, &authority);
                let peer = there.endpoint().unwrap().peer(&here.address());
                assert!(eventually(Duration::from_secs(5), || peer.is_connected()).await);
                there
            };
            let asks = async |there: &Arc<Process>| {
                for _ in 0..100 {
                    let (waits, is_new) = there.borrowed(object);
                    assert!(is_new);
                    waits.ask();
                }
                // Its answer comes when all before it were heard.
                let (last, _) = there.borrowed(unknown);
                last.ask();
                assert!(eventually(Duration::from_secs(5), || last.slot().is_ready()).await);
            };
            let (there, dies) = (connected().await, connected().await);
            asks(&dies).await;
            asks(&there).await;
            asks(&dies).await;
            for asker in [&there, &dies] {
                assert!((1..=4).contains(&questions(&task, asker.id)), "{}", questions(&task, asker.id));
            }
            here.process_dead(dies.id, "it ended");
            asks(&there).await;
            assert_eq!(questions(&task, dies.id), 0);
            let (waits, _) = there.borrowed(object);
            waits.ask();
            task.slot(0).resolve(Resolved::Value(Value::default()));
            assert!(eventually(Duration::from_secs(5), || waits.slot().is_ready()).await);
            assert!(waits.slot().get().is_some_and(|resolved| !resolved.is_error()));
        });
    }

    /// Whoever reads an object again and again is one holder of it, and one that has ended is none.
    #[test]
    fn a_holder_is_known_once_and_not_after_its_end() {
        let owner = nowhere();
        let process = &owner.process;
        let at = |number| {
            let mut id = process.id;
            id.incarnation = Uuid::from_u128(number);
            PeerAddr { id, addrs: Vec::new(), relay: None }
        };
        let large = Value::new(Blob::copy_of(&[0; 2 * crate::call::INLINE_LIMIT]), Extras::default());
        let stored = Stored { size: large.size() as u64, at: vec![at(1)], refs: Vec::new() };
        let mut dead = 100;
        for outcome in [Resolved::Value(large), Resolved::Stored(Arc::new(stored))] {
            let first = outcome.how() == crate::wait::Came::Stored;
            let meta = Arc::clone(&process.put_meta);
            let task = Task::resolved(Arc::clone(&owner), What::Put, meta, outcome, 1);
            owner.lock().tasks.insert(task.seq, Arc::clone(&task));
            let holders = || owner.holders(task.seq, 0);
            for round in 0..30 {
                owner.copied(task.seq, 0, at(2 + round % 3));
            }
            let mut known: Vec<ProcessId> = (2..5).map(|number| at(number).id).collect();
            if first {
                known.insert(0, at(1).id);
            }
            assert_eq!(holders(), known);
            for _ in 0..30 {
                dead += 1;
                owner.copied(task.seq, 0, at(dead));
                process.process_dead(at(dead).id, "it ended");
            }
            assert_eq!(holders(), [&known[..], &[at(dead).id]].concat(), "until the next has come");
            owner.copied(task.seq, 0, at(2));
            owner.copied(task.seq, 0, at(6));
            known.push(at(6).id);
            assert_eq!(holders(), known);
        }
    }
}
