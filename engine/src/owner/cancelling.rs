//! Cancelling tasks, wherever they are.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::api::error::{Error, Result};
use crate::object::Resolved;
use crate::owner::dispatch::{Found, KeyIx};
use crate::owner::remote::Cancelling;
use crate::owner::{Link, Owner};
use crate::program::Call;
use crate::task::{Task, What};

impl Owner {
    /// Cancels a task, until all that hear of it have. If `force` cannot end it, it and what it submitted are left as they
    /// are.
    pub(crate) async fn cancel_until_told(
        self: &Arc<Self>,
        task: &Arc<Task>,
        force: bool,
        recursive: bool,
    ) -> Result<()> {
        if force {
            self.check_force(task).await?;
        }
        for told in self.cancel_all(task, force, recursive) {
            // A worker that cannot be asked is gone, and what it ran with it.
            let _ = told.await;
        }
        Ok(())
    }

    /// Cancels a task and, if `recursive`, what it submitted.
    ///
    /// What has ended stays as it is, and so does what it submitted.
    pub(crate) fn cancel_all(self: &Arc<Self>, task: &Arc<Task>, force: bool, recursive: bool) -> Vec<Cancelling> {
        let mut cancelling = Vec::new();
        if task.has_outcome() {
            return cancelling;
        }
        let had_begun = self.may_have_begun(task);
        let children = |cancelling: &mut Vec<Cancelling>| {
            cancelling.extend(self.process.cancel_children(task.id()));
            cancelling.extend(self.cancel_children_away(task));
        };
        if recursive && had_begun {
            children(&mut cancelling);
        }
        cancelling.extend(self.cancel(task, force));
        if recursive && !had_begun && self.is_flying(task) {
            // It went to a worker between the look and that.
            children(&mut cancelling);
        }
        cancelling
    }

    fn is_flying(&self, task: &Task) -> bool {
        let mut core = self.lock();
        let key = task.key.load(Ordering::Relaxed);
        key != KeyIx::MAX && core.dispatch.locate(task.seq, key).is_some()
    }

    /// Whether a task may have submitted something: it is not the first attempt that waits for its turn.
    fn may_have_begun(&self, task: &Task) -> bool {
        if task.attempt() > 0 || !matches!(task.what, What::Function(_)) {
            return true;
        }
        let core = self.lock();
        let key = task.key.load(Ordering::Relaxed);
        key != KeyIx::MAX && !core.dispatch.is_queued(task.place(), key)
    }

    /// What was submitted from within tasks and has not ended, by the mark of whose it is.
    pub(crate) fn children(&self, of: impl Fn(u64) -> bool) -> Vec<Arc<Task>> {
        if !self.nests.load(Ordering::Acquire) {
            return Vec::new();
        }
        let core = self.lock();
        core.tasks.values().filter(|task| task.parent != 0 && of(task.parent) && !task.has_outcome()).cloned().collect()
    }

    /// Whether force ends the task, if it has begun. One that begins on a thread right after this is told, no more.
    async fn check_force(self: &Arc<Self>, task: &Arc<Task>) -> Result<()> {
        if task.has_outcome() {
            return Ok(());
        }
        let function = match &task.what {
            What::Function(function) => function,
            What::Method(_) => return Err(method_not_forced(task)),
            What::Put | What::Lifeline(_) | What::Ready(_) => return Ok(()),
        };
        let key = task.key.load(Ordering::Relaxed);
        let at = if key == KeyIx::MAX { None } else { self.lock().dispatch.locate(task.seq, key) };
        let refused = match at {
            Some(Link::Local(link)) => {
                let has_begun = !link.slot.has_waiting(task.id()) && self.process.has_dependencies(task);
                let is_sync = matches!(function.call, Call::Sync(_));
                (has_begun && is_sync).then(|| not_forced(task, "this process"))
            }
            // A worker that cannot be asked is gone.
            Some(Link::Remote(link)) => self
                .ask_force(&link, task)
                .await
                .is_ok_and(|ends| !ends)
                .then(|| not_forced(task, "a process that it shares with others").at_node(link.lease.node)),
            None => None,
        };
        // It may have ended before the look.
        refused.filter(|_| !task.is_over()).map_or(Ok(()), Err)
    }

    /// Cancels a task; `force` ends the process that runs it, if it has one of its own.
    pub(crate) fn cancel(self: &Arc<Self>, task: &Arc<Task>, force: bool) -> Option<Cancelling> {
        if task.has_outcome() {
            return None;
        }
        task.set_cancelled();
        let mut cancelling = None;
        let found = || {
            let mut core = self.lock();
            // Under the lock: from now on it is not put into a queue.
            let key = task.key.load(Ordering::Relaxed);
            (key != KeyIx::MAX).then(|| (key, core.dispatch.cancel((task.seq, task.place()), key)))
        };
        if let What::Method(call) = &task.what {
            cancelling = call.client.cancel(task);
        } else if let Some((key, found)) = found() {
            match found {
                Found::Queued(_) => self.change(|core, out| core.dispatch.left(key, out)),
                Found::InFlight(lease, Link::Local(link)) => {
                    if link.slot.take(task.id()).is_some() {
                        self.completed(lease, [(task.seq, None)]);
                    } else {
                        link.slot.host.wake(task.id());
                        self.process.cancel_async(task.id());
                    }
                }
                Found::InFlight(_, Link::Remote(link)) => cancelling = Some(self.send_cancel(&link, task, force)),
                Found::Nowhere => match self.parked_at(task.seq) {
                    Some(link) => cancelling = Some(self.send_cancel(&link, task, force)),
                    None => drop(self.process.cancel_async(task.id())),
                },
            }
        }
        Task::finish_all(task, Resolved::Error(self.was_cancelled(task)));
        cancelling
    }

    /// What a cancelled task ends with, whatever it comes to.
    pub(super) fn was_cancelled(&self, task: &Task) -> Error {
        Error::task_cancelled(format!("{} was cancelled", task.describe())).at_node(self.id.process.node)
    }
}

fn method_not_forced(task: &Task) -> Error {
    let text = format!("{} is an actor's call and cannot be ended by force", task.describe());
    Error::invalid_argument(text).remedy("use `actinic::kill` to end the actor")
}

fn not_forced(task: &Task, whose: &str) -> Error {
    let text = format!("{} runs on a thread of {whose} and cannot be ended by force", task.describe());
    Error::invalid_argument(text).remedy(
        "give it a process of its own with `.isolation(Isolation::Process)` and `init().workers(Workers::Processes)`, or let it look at `context().is_cancelled()`",
    )
}
