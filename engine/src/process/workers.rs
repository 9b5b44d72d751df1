//! Its workers and actors, and what they run.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::{FORCE_AFTER, Process};
use crate::actor::host::ActorHost;
use crate::api::error::Error;
use crate::ids::TaskId;
use crate::owner::Ran;
use crate::raylet::RayletLink;
use crate::worker::host::{Host, Running};
use crate::worker::slot::TaskSlot;

/// Fewer slots than this are not looked through.
const SLOTS_FEW: usize = 64;

impl Process {
    pub(crate) fn add_slot(&self, slot: &Arc<TaskSlot>) {
        let mut tables = self.lock();
        if tables.slots.len() >= tables.slots_sweep {
            // Each actor on threads may have had one.
            tables.slots.retain(|_, slot| slot.strong_count() > 0);
            tables.slots_sweep = SLOTS_FEW.max(2 * tables.slots.len());
        }
        tables.slots.insert(slot.host.worker, Arc::downgrade(slot));
    }

    pub(crate) fn slot(&self, worker: crate::ids::WorkerId) -> Option<Arc<TaskSlot>> {
        self.lock().slots.get(&worker)?.upgrade()
    }

    pub(crate) fn slots(&self) -> Vec<Arc<TaskSlot>> {
        self.lock().slots.values().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn add_actor(&self, actor: &Arc<ActorHost>) {
        self.lock().actors.insert(actor.number(), Arc::clone(actor));
    }

    pub(crate) fn actor(&self, number: u64) -> Option<Arc<ActorHost>> {
        self.lock().actors.get(&number).cloned()
    }

    pub(crate) fn actors(&self) -> Vec<Arc<ActorHost>> {
        self.lock().actors.values().cloned().collect()
    }

    /// An incarnation takes no more calls; what it owned ends with it.
    pub(crate) fn actor_ended(self: &Arc<Self>, actor: &Arc<ActorHost>) {
        {
            let mut tables = self.lock();
            if tables.actors.get(&actor.number()).is_some_and(|known| Arc::ptr_eq(known, actor)) {
                tables.actors.remove(&actor.number());
            }
        }
        if let Some(owner) = actor.host.owner_if_any() {
            self.end_owner(&Arc::clone(owner), &format!("{} ended", actor.describe()));
        }
    }

    /// A worker of this process died: a real process ends, a thread's worker is closed as if it had.
    pub(crate) fn worker_crashed(self: &Arc<Self>, host: &Arc<Host>) {
        if let Some(crash) = self.on_crash.get() {
            crash();
        }
        if host.dead.swap(true, Ordering::AcqRel) {
            return;
        }
        let why = Error::worker_crashed(format!("worker {} crashed", host.worker));
        if let Some(id) = host.actor()
            && let Some(actor) = self.actor(crate::actor::host::number(id))
        {
            actor.crashed();
        }
        if let Some(slot) = host.slot() {
            // The owners find the jobs in the flights of their leases.
            drop(slot.close());
        }
        if let Some(owner) = host.owner_if_any() {
            self.end_owner(&Arc::clone(owner), "its worker crashed");
        }
        for owner in self.owners() {
            owner.worker_lost(host.worker, Ran::First, &why);
        }
        if let Some(RayletLink::Local(raylet)) = self.raylet.get() {
            raylet.do_send(crate::raylet::WorkerCrashed { worker: host.worker });
        }
    }

    pub(crate) fn async_began(&self, id: TaskId, running: &Arc<Running>) {
        self.lock().running.insert(id, Arc::clone(running));
    }

    /// A run has ended: another attempt at the same may have begun meanwhile, and stays.
    pub(crate) fn async_ended(&self, id: TaskId, run: &Arc<Running>) {
        let gone = {
            let running = &mut self.lock().running;
            let is_this = running.get(&id).is_some_and(|known| Arc::ptr_eq(known, run));
            if is_this { running.remove(&id) } else { None }
        };
        drop(gone);
    }

    /// Drops an async call at its next await; `false` if none of that id runs here.
    pub(crate) fn cancel_async(&self, id: TaskId) -> bool {
        let running = self.lock().running.get(&id).cloned();
        running.is_some_and(|running| {
            running.cancel();
            true
        })
    }

    /// Ends the process that a task runs in: as soon as no other that has begun waits there, unless the task ends before.
    pub(crate) fn end_by_force(self: &Arc<Self>, id: TaskId) {
        if self.on_crash.get().is_none() {
            return;
        }
        let process = Arc::clone(self);
        self.spawn(async move {
            while process.still_runs(id) {
                if process.may_crash_for(id) {
                    return process.crash_for("a task that was cancelled by force did not end");
                }
                tokio::time::sleep(FORCE_AFTER).await;
            }
        });
    }

    fn still_runs(&self, id: TaskId) -> bool {
        self.lock().running.contains_key(&id) || self.slots().iter().any(|slot| slot.runs_sync(id))
    }

    /// Whether force ends a task here: not one of sync code that runs on a thread of the cluster's process, or in a process
    /// where async tasks have begun that wait.
    pub(crate) fn force_ends(&self, id: TaskId) -> bool {
        self.may_crash_for(id) || !self.slots().iter().any(|slot| slot.runs_sync(id))
    }

    /// Whether the process may be ended for the sake of a task.
    pub(crate) fn may_crash_for(&self, id: TaskId) -> bool {
        self.on_crash.get().is_some()
            && self.lock().running.keys().all(|other| *other == id)
            && self.slots().iter().all(|slot| slot.runs_nothing_but(id))
    }
}
