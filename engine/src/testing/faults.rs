//! What tests do to a process.

use std::sync::Arc;

use crate::call::INLINE_LIMIT;
use crate::ids::{ObjectId, WorkerId};
use crate::object::{Resolved, State, Stored};
use crate::process::Process;
use crate::task::Task;

impl Process {
    /// Ends a worker that is a thread of this process as SIGKILL would; `false` if there is none of that id.
    pub(super) fn end_thread_worker(self: &Arc<Self>, worker: WorkerId) -> bool {
        // An actor's worker was made as a slot for tasks, and that may still be there.
        let actor = self.actors().into_iter().find(|actor| actor.host.worker == worker);
        let slot = || self.slot(worker).map(|slot| Arc::clone(&slot.host));
        let Some(host) = actor.map(|actor| Arc::clone(&actor.host)).or_else(slot) else { return false };
        self.worker_crashed(&host);
        true
    }

    /// The objects above the inline limit that lie in this process.
    pub(super) fn large_objects(&self) -> Vec<ObjectId> {
        let mut all = self.store.all_objects();
        self.each_large(|task, index, _| all.push(ObjectId { task: task.id(), index }));
        all.sort();
        all.dedup();
        all
    }

    fn each_large(&self, mut each: impl FnMut(&Arc<Task>, u32, usize)) {
        for owner in self.owners() {
            for task in owner.tasks() {
                for index in 0..task.returns() {
                    let size = match &*task.slot(index).lock() {
                        State::Ready(Resolved::Value(value)) => value.size(),
                        _ => 0,
                    };
                    if size > INLINE_LIMIT {
                        each(&task, index, size);
                    }
                }
            }
        }
    }

    /// Loses what lies in this process above the inline limit.
    pub(super) fn lose_large_objects(&self) {
        self.store.lose_all();
        let mut lost = Vec::new();
        self.each_large(|task, index, size| lost.push((Arc::clone(task), index, size)));
        for (task, index, size) in lost {
            self.store.discharge(size);
            let nowhere = Stored { size: size as u64, at: Vec::new(), refs: Vec::new() };
            task.slot(index).replace(Resolved::Stored(Arc::new(nowhere)));
        }
    }
}
