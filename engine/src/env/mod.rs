//! The one door through which time, chance, threads and the network come in.
//!
//! No component reads the clock, sleeps, draws random numbers, opens a socket or starts a thread except through the
//! [`Env`] it was given (`clippy.toml` forbids the direct calls).

use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

/// What a cluster's components know of the world.
#[derive(Clone)]
pub(crate) struct Env {
    inner: Arc<Inner>,
}

struct Inner {
    start: Instant,
}

impl Env {
    /// The operating system's clock, threads and randomness.
    #[allow(clippy::disallowed_methods)] // this is the door
    pub(crate) fn real() -> Env {
        Env { inner: Arc::new(Inner { start: Instant::now() }) }
    }

    /// Time since the environment was made.
    #[allow(clippy::disallowed_methods)] // this is the door
    pub(crate) fn now(&self) -> Duration {
        self.inner.start.elapsed()
    }

    /// A number that nobody can guess, for ids and secrets.
    #[allow(clippy::disallowed_methods)] // this is the door
    pub(crate) fn random(&self) -> u128 {
        Uuid::new_v4().as_u128()
    }

    /// A fresh id.
    pub(crate) fn uuid(&self) -> Uuid {
        Uuid::from_u128(self.random())
    }

    /// Starts a thread.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says when it has no thread to give.
    #[allow(clippy::disallowed_methods)] // this is the door
    pub(crate) fn thread(&self, name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
    }
}

/// Wakes a thread that sleeps in [`park`].
#[derive(Clone)]
pub(crate) struct Parker {
    thread: Thread,
}

impl Parker {
    /// The calling thread's.
    pub(crate) fn current() -> Parker {
        Parker { thread: std::thread::current() }
    }

    pub(crate) fn unpark(&self) {
        self.thread.unpark();
    }
}

/// Sleeps until this thread's [`Parker`] is unparked, the time is over, or for no reason at all.
#[allow(clippy::disallowed_methods)] // this is the door
pub(crate) fn park(at_most: Option<Duration>) {
    match at_most {
        None => std::thread::park(),
        Some(time) => std::thread::park_timeout(time),
    }
}
