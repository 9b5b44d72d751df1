//! Its threads, and what happens there later.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Process;
use crate::actor::host::ActorHost;
use crate::api::error::{Error, Result};
use crate::owner::Owner;
use crate::worker::pool::Pool;
use crate::worker::slot::TaskSlot;

impl Process {
    /// Runs a future on the system thread.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.system.spawn(future);
    }

    /// Runs something soon, on the system thread, outside of whatever locks the caller holds.
    pub(crate) fn defer(&self, run: impl FnOnce() + Send + 'static) {
        self.spawn(async move { run() });
    }

    /// The runtime of async tasks, if there was one yet.
    pub(crate) fn user_runtime(&self) -> Option<tokio::runtime::Handle> {
        self.user.get().map(|runtime| runtime.handle().clone())
    }

    /// Where async user futures run: on threads that never answer the network.
    ///
    /// # Errors
    ///
    /// `RuntimeEnvSetup` if there can be no such threads now.
    pub(crate) fn runs_async(&self) -> Result<tokio::runtime::Handle> {
        if self.env.world().is_some() {
            return Ok(self.system.clone());
        }
        if let Some(runtime) = self.user_runtime() {
            return Ok(runtime);
        }
        let built = build_user(self.async_width).map_err(|error| {
            Error::runtime_env_setup(format!("no threads for async tasks could be started: {error}"))
                .at_node(self.id.node)
                .remedy("see what `ulimit -u` and `ulimit -n` allow, and how much of that is in use")
        })?;
        // Somebody may have been quicker.
        if let Err(second) = self.user.set(built) {
            second.shutdown_background();
        }
        self.user_runtime().ok_or_else(|| Error::connection("the cluster was shut down"))
    }

    /// Looks after a while whether something in a pool is overdue, and again as long as that may become so.
    pub(crate) fn pool_alarm(&self, pool: Arc<Pool>) {
        self.spawn(async move {
            loop {
                tokio::time::sleep(crate::worker::pool::OVERDUE).await;
                if !pool.look() {
                    break;
                }
            }
        });
    }

    /// Somebody put a job behind another: look whether that one takes long.
    pub(crate) fn want_slot_alarm(self: &Arc<Self>) {
        if self.slot_alarm.load(Ordering::Acquire) || self.slot_alarm.swap(true, Ordering::AcqRel) {
            return;
        }
        let process = Arc::clone(self);
        self.spawn(async move {
            loop {
                tokio::time::sleep(crate::worker::slot::LONG).await;
                let slots: Vec<Arc<TaskSlot>> = process.lock().slots.values().filter_map(Weak::upgrade).collect();
                let now = process.env.now();
                let again = slots.iter().filter(|slot| slot.look(now)).count() > 0;
                if !again {
                    process.slot_alarm.store(false, Ordering::Release);
                    // A job may have come between the look and the store.
                    let late = slots.iter().any(|slot| slot.look(now));
                    if !late || process.slot_alarm.swap(true, Ordering::AcqRel) {
                        break;
                    }
                }
            }
        });
    }

    /// An actor has answers that are to leave soon, even if its thread stays busy.
    pub(crate) fn want_answers_sent(self: &Arc<Self>, actor: &Arc<ActorHost>) {
        let first = {
            let mut tables = self.lock();
            tables.answering.push(Arc::downgrade(actor));
            tables.answering.len() == 1
        };
        if first {
            let process = Arc::clone(self);
            self.spawn(async move {
                tokio::time::sleep(crate::worker::slot::LONG).await;
                let answering = std::mem::take(&mut process.lock().answering);
                answering.iter().filter_map(Weak::upgrade).for_each(|actor| actor.alarm());
            });
        }
    }

    pub(crate) fn tick_owner(&self, owner: Arc<Owner>) {
        self.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if !owner.tick() {
                    break;
                }
            }
        });
    }

    /// Wakes `countdown`'s sleeper at a deadline, unless the alarm is dropped before; at once if this process has no time any
    /// more.
    #[must_use = "dropped, it wakes nobody"]
    pub(crate) fn wake_after(&self, time: Duration, countdown: Arc<crate::wait::Countdown>) -> Alarm {
        let (alarm, dropped) = tokio::sync::oneshot::channel::<()>();
        let rings = Rings(Some(countdown));
        self.spawn(async move {
            let mut rings = rings;
            if tokio::time::timeout(time, dropped).await.is_ok() {
                rings.0 = None;
            }
        });
        Alarm(alarm)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

#[allow(clippy::disallowed_methods, reason = "user code's own threads, and none in a simulation")]
fn build_user(width: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let build = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(width).thread_name("actinic-async").enable_all().build()
    };
    // It panics where the system gives it no thread.
    let mut built = None;
    crate::worker::job::panics(|| built = Some(build()));
    built.unwrap_or_else(|| Err(std::io::Error::from(std::io::ErrorKind::WouldBlock)))
}

/// Somebody is woken at a deadline, while this lives. Whoever waits again and again, each time for less than that, leaves
/// nothing that waits for it.
pub(crate) struct Alarm(#[allow(dead_code, reason = "its end is what counts")] tokio::sync::oneshot::Sender<()>);

/// What an alarm wakes when it is over, also when its thread ends before the time is.
struct Rings(Option<Arc<crate::wait::Countdown>>);

impl Drop for Rings {
    fn drop(&mut self) {
        if let Some(countdown) = &self.0 {
            countdown.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::nowhere;
    use crate::wait::Countdown;

    /// As tokio does where the system gives it no thread.
    #[test]
    fn a_panic_while_threads_start_is_an_error() {
        assert!(build_user(0).is_err());
    }

    #[test]
    fn an_alarm_of_a_thread_that_has_ended_wakes_at_once() {
        let countdown = Countdown::new(1, false);
        let _alarm = nowhere().process.wake_after(Duration::from_secs(3600), Arc::clone(&countdown));
        assert!(crate::testing::eventually_blocking(Duration::from_secs(20), || countdown.is_done()));
    }
}
