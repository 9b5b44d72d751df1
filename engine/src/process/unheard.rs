//! Tasks that nobody is left to hear of: their owner is dead, or their job has ended.
//!
//! A raylet ends the worker processes that run such tasks under a lease. That leaves those on threads, which cannot be
//! ended, and async ones that gave their lease away when they first waited. They are cancelled here, and so is what they
//! submitted: else one that waits for ever would keep for ever what it holds, as the actors of its handles.

use super::Process;
use crate::ids::{JobId, OwnerId, TaskId};
use crate::worker::host::OfTask;

impl Process {
    /// These owners are dead.
    pub(super) fn end_tasks_of(&self, is_dead: impl Fn(&OwnerId) -> bool) {
        self.end_tasks(|id, _| is_dead(&id.owner));
    }

    /// A job has ended; tasks of its detached actors go on.
    pub(super) fn end_tasks_of_job(&self, job: JobId) {
        self.end_tasks(|_, task| task.job == job && !task.outlives_job);
    }

    fn end_tasks(&self, is_over: impl Fn(&TaskId, &OfTask) -> bool) {
        let slots = self.slots();
        let mut over: Vec<TaskId> = {
            let tables = self.lock();
            let running = tables.running.iter().filter_map(|(id, running)| Some((*id, running.task?)));
            running.filter(|(id, task)| is_over(id, task)).map(|(id, _)| id).collect()
        };
        let on_threads = slots.iter().filter_map(|slot| slot.runs_task());
        over.extend(on_threads.filter(|(id, task)| is_over(id, task)).map(|(id, _)| id));
        // In an order that does not depend on chance.
        over.sort_unstable();
        over.dedup();
        for id in over {
            // Told now, whether or not somebody waits for the answers.
            drop(self.cancel_children(id));
            if !slots.iter().any(|slot| slot.cancel(id)) {
                self.cancel_async(id);
            }
        }
    }
}
