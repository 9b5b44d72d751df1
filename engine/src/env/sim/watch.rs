//! Looks in real time whether a simulation still moves.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Baton, TEST, World, lock};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(100);
/// A run that shall end is given so long.
const GRACE: Duration = Duration::from_secs(10);

/// What is told of a simulation that stands still, and when.
pub(crate) struct Watch {
    /// What is simulated.
    pub(crate) what: String,
    /// It stands still if nothing moves in it for so long.
    pub(crate) limit: Duration,
    /// What is not done, a line each.
    pub(crate) pending: Box<dyn Fn() -> String + Send>,
}

/// Why a simulation was ended.
#[derive(Clone, Debug)]
pub(crate) struct Stuck(String);

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What moves in a simulation.
#[derive(Default)]
pub(super) struct Progress {
    /// The baton has been passed so often.
    turns: AtomicU64,
    /// The virtual time at which the simulating thread has come to rest, in nanoseconds.
    rested: AtomicU64,
    /// The thread that has the baton.
    holder: Mutex<Option<Weak<Baton>>>,
    stuck: OnceLock<Stuck>,
    told: Notify,
}

impl Progress {
    pub(super) fn turn(&self, holder: Option<&Arc<Baton>>) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        *lock(&self.holder) = holder.map(Arc::downgrade);
    }

    pub(super) fn rests(&self, now: Duration) {
        self.rested.store(now.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.get().is_some()
    }

    /// The simulating thread goes on although a thread keeps the baton.
    pub(super) fn tell_stuck(&self) {
        self.told.notify_one();
    }

    /// Ends when the run is to be given up.
    pub(super) async fn stuck(&self) -> Stuck {
        loop {
            self.told.notified().await;
            if let Some(stuck) = self.stuck.get() {
                return stuck.clone();
            }
        }
    }

    fn seen(&self) -> (u64, u64) {
        (self.turns.load(Ordering::Relaxed), self.rested.load(Ordering::Relaxed))
    }
}

/// While it lives, the simulation is watched.
pub(super) struct Watching {
    /// Dropped to end it.
    _end: Sender<()>,
}

#[cfg(test)]
impl Default for Watch {
    fn default() -> Watch {
        Watch { what: "a simulation".to_owned(), limit: Duration::from_secs(60), pending: Box::new(String::new) }
    }
}

impl Watch {
    #[allow(clippy::disallowed_methods)] // it is real time that it waits in
    pub(super) fn begin(self, world: &Arc<World>) -> Watching {
        let (end, hear) = channel();
        let world = Arc::downgrade(world);
        let started = crate::env::thread("actinic-sim-watch", move || {
            if let Some(text) = self.watch(&world, &|time| hear.recv_timeout(time) == Err(RecvTimeoutError::Timeout)) {
                eprintln!("{text}\nIt cannot be ended: ending the process.");
                std::process::abort();
            }
        });
        if let Err(error) = started {
            panic!("no thread could be started to watch a simulation: {error}");
        }
        Watching { _end: end }
    }

    /// What to say if it stands still and does not end; `goes_on` waits.
    #[allow(clippy::disallowed_methods)] // it is real time that it watches in
    fn watch(&self, world: &Weak<World>, goes_on: &dyn Fn(Duration) -> bool) -> Option<String> {
        let (mut last, mut since) = ((0, 0), Instant::now());
        while goes_on(LOOK) {
            let world = world.upgrade()?;
            let seen = world.progress.seen();
            if seen != last {
                (last, since) = (seen, Instant::now());
            }
            if since.elapsed() < self.limit {
                continue;
            }
            let holder = lock(&world.progress.holder).as_ref().and_then(Weak::upgrade);
            let text = self.text(&world, holder.as_deref());
            // Set once, here.
            let _ = world.progress.stuck.set(Stuck(text.clone()));
            if holder.is_none_or(|holder| holder.name == TEST) {
                return Some(text);
            }
            let held = lock(&world.held);
            world.given_back.notify_all();
            drop(held);
            drop(world);
            return goes_on(GRACE).then_some(text);
        }
        None
    }

    fn text(&self, world: &World, holder: Option<&Baton>) -> String {
        let Watch { what, limit, pending } = self;
        let at = Duration::from_nanos(world.progress.rested.load(Ordering::Relaxed));
        let who = match holder {
            Some(Baton { name, runs, .. }) => match &*lock(runs) {
                Some(call) => format!("the thread {name}, which runs {call}, has the baton"),
                None => format!("the thread {name} has the baton"),
            },
            None => "the simulating thread, which runs all async code, runs".to_owned(),
        };
        format!(
            "{what} stands still: for {limit:?} of real time {who}, and has neither ended nor waited inside Actinic, since \
             {at:?} of virtual time. It spins, or waits for what cannot come: in a simulation one thread runs at a time, \
             and only waiting inside Actinic lets others run, and time go on. Wait with `.await` or `.blocking()` and not \
             for a thread, a lock, a channel or a condition of `std`; move blocking code to `tokio::task::spawn_blocking`; \
             or leave out `sim`.\nSEED={}\npending:\n{}",
            world.seed,
            pending()
        )
    }
}
