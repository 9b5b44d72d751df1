//! The one door through which time, chance, threads, files, variables and child processes come in.
//!
//! No component reads the clock, sleeps, draws random numbers, opens a socket, touches a file, reads a variable of the
//! environment or starts a thread or a process except through the [`Env`] it was given (`clippy.toml` forbids the direct
//! calls). There are two: the operating system's, and the simulated one of [`sim`], which has no files, variables or
//! processes. Time that is waited for is tokio's in both, paused in a simulation.
//!
//! What remains static belongs to the program, not to a node of it: ARCHITECTURE.md lists it ("Nothing is node-scoped and
//! static").

pub(crate) mod files;
mod heap;
mod machine;
pub(crate) mod shared;
pub(crate) mod sim;

use std::cell::Cell;
use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use files::Files;
pub(crate) use machine::Machine;
use sim::{Baton, World};

/// What a cluster's components know of the world.
#[derive(Clone)]
pub(crate) struct Env {
    inner: Arc<Inner>,
}

enum Inner {
    Real { start: Instant },
    Sim(Arc<World>),
}

impl Env {
    /// The operating system's clock, threads and randomness.
    #[allow(clippy::disallowed_methods)] // this is the door
    pub(crate) fn real() -> Env {
        Env { inner: Arc::new(Inner::Real { start: Instant::now() }) }
    }

    /// The simulation that this thread belongs to, or else the real one.
    pub(crate) fn current() -> Env {
        match sim::current() {
            Some(world) => Env { inner: Arc::new(Inner::Sim(world)) },
            None => Env::real(),
        }
    }

    /// The simulation, if it is one.
    pub(crate) fn world(&self) -> Option<&Arc<World>> {
        match &*self.inner {
            Inner::Real { .. } => None,
            Inner::Sim(world) => Some(world),
        }
    }

    /// Time since the environment was made.
    #[allow(clippy::disallowed_methods)] // this is the door
    pub(crate) fn now(&self) -> Duration {
        match &*self.inner {
            Inner::Real { start } => start.elapsed(),
            Inner::Sim(world) => world.now(),
        }
    }

    /// Time since 1970, as people's clocks show it; a simulation begins at a time of its own.
    #[allow(clippy::disallowed_methods)] // this is the door
    pub(crate) fn since_1970(&self) -> Duration {
        match &*self.inner {
            Inner::Real { .. } => {
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
            }
            Inner::Sim(world) => Duration::from_secs(1_000_000_000) + world.now(),
        }
    }

    /// A number that nobody can guess, for ids and secrets.
    #[allow(clippy::disallowed_methods)] // this is the door
    pub(crate) fn random(&self) -> u128 {
        match &*self.inner {
            Inner::Real { .. } => Uuid::new_v4().as_u128(),
            Inner::Sim(world) => world.random(),
        }
    }

    /// A fresh id.
    pub(crate) fn uuid(&self) -> Uuid {
        Uuid::from_u128(self.random())
    }

    /// The seed of an endpoint's own chance: `None` leaves it to the operating system.
    pub(crate) fn seed(&self) -> Option<[u8; 32]> {
        let world = self.world()?;
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&world.random().to_le_bytes());
        seed[16..].copy_from_slice(&world.random().to_le_bytes());
        Some(seed)
    }

    /// This process's number with the operating system.
    pub(crate) fn pid(&self) -> u32 {
        match &*self.inner {
            #[allow(clippy::disallowed_methods)] // this is the door
            Inner::Real { .. } => std::process::id(),
            Inner::Sim(_) => 1,
        }
    }

    /// The files.
    pub(crate) fn files(&self) -> Files {
        Files { simulated: self.world().is_some() }
    }

    /// A variable of the environment; an empty one is as good as none. A simulation has none: whoever sets one must not
    /// change what a seed does.
    #[allow(clippy::disallowed_methods)] // this is the door
    pub(crate) fn var_os(&self, name: &str) -> Option<OsString> {
        match &*self.inner {
            Inner::Real { .. } => std::env::var_os(name).filter(|value| !value.is_empty()),
            Inner::Sim(_) => None,
        }
    }

    /// A variable as it is set, if to nothing.
    #[allow(clippy::disallowed_methods)] // this is the door
    pub(crate) fn var_as_set(&self, name: &str) -> Option<OsString> {
        match &*self.inner {
            Inner::Real { .. } => std::env::var_os(name),
            Inner::Sim(_) => None,
        }
    }

    /// A variable that is a text; one that is none is as good as none.
    pub(crate) fn var(&self, name: &str) -> Option<String> {
        self.var_os(name)?.into_string().ok()
    }

    /// The file that this process runs, as people know it.
    #[allow(clippy::disallowed_methods)] // this is the door
    pub(crate) fn program(&self) -> Option<PathBuf> {
        match &*self.inner {
            Inner::Real { .. } => std::env::current_exe().ok(),
            Inner::Sim(_) => None,
        }
    }

    /// Starts a process.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says; `Unsupported` in a simulation.
    #[allow(clippy::disallowed_methods)] // this is the door
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        if self.world().is_some() {
            let program = command.get_program().display();
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("a simulation starts no processes: {program}"),
            ));
        }
        // A file that was written a moment ago may be open for writing in a child that another thread has just forked.
        for _ in 0..50 {
            match command.spawn() {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                done => return done,
            }
        }
        command.spawn()
    }

    /// What this machine has.
    pub(crate) fn machine(&self) -> Machine {
        match &*self.inner {
            Inner::Real { .. } => machine::of(self),
            Inner::Sim(_) => Machine { cores: 4, memory: 4 << 30, gpus: 0, hostname: "simulated".to_owned() },
        }
    }

    /// Starts a thread for user code. In a simulation it runs only while everything else stands still.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says when it has no thread to give.
    pub(crate) fn thread(&self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        match &*self.inner {
            Inner::Real { .. } => thread(name, body),
            Inner::Sim(world) => world.thread(name, body),
        }
    }

    /// Gives the pages of this program's heap back to the system that nothing lies in, where the C library can.
    pub(crate) fn give_memory_back(&self) {
        if let Inner::Real { .. } = &*self.inner {
            heap::trim();
        }
    }

    /// Runs what waits for the operating system, such as for a disk, on a thread of its own. It begins at once; whoever
    /// awaits what comes of it keeps its own thread free.
    ///
    /// # Errors
    ///
    /// As for [`Env::thread`], or that it panicked.
    pub(crate) fn aside<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        name: &str,
        body: F,
    ) -> impl Future<Output = io::Result<T>> + Send + use<T, F> {
        let (tell, hear) = oneshot::channel();
        let started = self.thread(name, move || {
            // Nobody may want to know any more.
            let _ = tell.send(body());
        });
        async move {
            started?;
            hear.await.map_err(|_| io::Error::other("the thread that did it ended early"))
        }
    }

    /// Runs a process's life on a system thread of its own; in a simulation, on the one that there is, where its first
    /// step is taken before this returns. What the life leaves is dropped when nothing of its runtime is left.
    ///
    /// # Errors
    ///
    /// As for [`Env::thread`].
    pub(crate) fn system<F>(&self, name: &str, life: impl FnOnce() -> F + Send + 'static) -> io::Result<()>
    where
        F: Future<Output: 'static> + 'static,
    {
        match &*self.inner {
            Inner::Real { .. } => thread(name, move || {
                #[allow(clippy::disallowed_methods)] // this is the door
                let system = actix_rt::System::with_tokio_rt(|| {
                    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                        Ok(runtime) => runtime,
                        Err(error) => panic!("no tokio runtime could be started: {error}"),
                    }
                });
                let left = system.block_on(life());
                drop(system);
                drop(left);
            }),
            Inner::Sim(world) => {
                world.system(async || drop(life().await));
                Ok(())
            }
        }
    }
}

#[allow(clippy::disallowed_methods)] // this is the door
fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}

/// Wakes a thread that sleeps in [`park`].
#[derive(Clone)]
pub(crate) struct Parker {
    thread: Thread,
    /// The thread's place in a simulation.
    baton: Option<Arc<Baton>>,
}

impl Parker {
    /// The calling thread's.
    pub(crate) fn current() -> Parker {
        Parker { thread: std::thread::current(), baton: Baton::current() }
    }

    pub(crate) fn is_current(&self) -> bool {
        self.thread.id() == std::thread::current().id()
    }

    pub(crate) fn unpark(&self) {
        match &self.baton {
            None => self.thread.unpark(),
            Some(baton) => baton.unpark(),
        }
    }
}

/// Sleeps until this thread's [`Parker`] is unparked, the time is over, or for no reason at all.
#[allow(clippy::disallowed_methods)] // this is the door
pub(crate) fn park(at_most: Option<Duration>) {
    if let Some(baton) = Baton::current() {
        return baton.park(at_most);
    }
    match at_most {
        None => std::thread::park(),
        Some(time) => std::thread::park_timeout(time),
    }
}

/// Whether the calling thread belongs to a simulation.
pub(crate) fn is_simulated() -> bool {
    sim::current().is_some()
}

thread_local! {
    /// Whether the calling thread polls async code of a simulation.
    static POLLS: Cell<bool> = const { Cell::new(false) };
}

/// Polls async code on a thread of user code in a simulation: there too it must not wait.
pub(crate) fn polls<R>(poll: impl FnOnce() -> R) -> R {
    struct Over(bool);
    impl Drop for Over {
        fn drop(&mut self) {
            POLLS.set(self.0);
        }
    }
    let _over = Over(POLLS.replace(true));
    poll()
}

/// Whether the calling thread runs an async runtime, which must not wait.
pub(crate) fn runs_a_runtime() -> bool {
    if POLLS.get() {
        return true;
    }
    // A simulation's threads of user code know its runtime for the sake of its clock, and run none.
    if tokio::runtime::Handle::try_current().is_err() || Baton::current().is_some() {
        return false;
    }
    // The threads of `spawn_blocking` know a runtime too, and run none. Tokio tells them apart in one way only: what
    // waits on a thread that runs one panics.
    cfg!(panic = "abort")
        || crate::worker::job::panics(|| {
            let (_, hear) = tokio::sync::oneshot::channel::<()>();
            let _ = hear.blocking_recv();
        })
}
