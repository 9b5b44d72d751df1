//! How a process that was started as a worker becomes one.
//!
//! A worker process is the program itself, started again with [`BOOT`] in its environment: its raylet writes what it
//! must know (who it is, its certificate, where the raylet listens) to its standard input, and ends it by closing that.
//! What a worker starts inherits its environment, and perhaps that pipe too: it is no worker, for its parent is another.

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actinic_transport::{Identity, PeerAddr};
use serde::{Deserialize, Serialize};

use crate::api::scope;
use crate::env::{Env, park};
use crate::ids::{JobId, WorkerId};
use crate::process::Process;

/// Set in the environment of a worker process, to what [`mark`] says.
pub(crate) const BOOT: &str = "ACTINIC_WORKER_BOOT";

/// What a worker process is told by its raylet.
#[derive(Serialize, Deserialize)]
pub(crate) struct Boot {
    pub(crate) worker: WorkerId,
    pub(crate) job: JobId,
    pub(crate) namespace: String,
    pub(crate) identity: Identity,
    pub(crate) raylet: PeerAddr,
    pub(crate) gcs: PeerAddr,
    pub(crate) listen: SocketAddr,
    /// What it may keep in its store, if it cannot count with the node's other processes.
    pub(crate) store_bytes: u64,
    pub(crate) budget: Option<crate::object_manager::budget::Place>,
    /// Where the worker notes what it runs; see [`crate::worker::progress`].
    pub(crate) progress: Option<crate::env::shared::At>,
}

/// What tells a worker from what that starts: the pid of its raylet, and which pipe is its standard input.
pub(crate) fn mark(raylet: u32, pipe: &File) -> std::io::Result<String> {
    Ok(format!("{raylet} {}", pipe.metadata()?.ino()))
}

/// Whether a raylet has started this very process to be a worker.
#[allow(clippy::disallowed_methods)] // the pipe is the raylet's, if this is a worker
pub(crate) fn is_worker(env: &Env) -> bool {
    let Some(boot) = env.var(BOOT) else { return false };
    let read = boot.split_once(' ').map(|(pid, pipe)| (pid.parse::<libc::pid_t>(), pipe.parse::<u64>()));
    let Some((Ok(raylet), Ok(pipe))) = read else { return false };
    let input = std::io::stdin().as_fd().try_clone_to_owned().map(File::from);
    if !input.and_then(|input| input.metadata()).is_ok_and(|input| input.ino() == pipe) {
        return false;
    }
    // A worker whose raylet is gone, so that it has another parent, is none of the program's starts either: it must not
    // run `main`, and finds the pipe closed.
    // SAFETY: it asks for a number.
    let parent = unsafe { libc::getppid() };
    parent == raylet || is_closed()
}

/// Whether nobody can write to the standard input any more.
fn is_closed() -> bool {
    let mut input = libc::pollfd { fd: libc::STDIN_FILENO, events: 0, revents: 0 };
    // SAFETY: one descriptor is asked, of which the answer goes to a variable of this frame, without waiting.
    let found = unsafe { libc::poll(&mut input, 1, 0) };
    found > 0 && input.revents & libc::POLLHUP != 0
}

/// Becomes a worker if this process was started as one, and then never returns. Inside a worker that runs it returns: an
/// `init()` there is the second of its process, as in a task on a thread.
#[allow(clippy::disallowed_methods)] // only the worker lives in this pid
pub(crate) fn enter_if_worker() {
    static ENTERED: AtomicBool = AtomicBool::new(false);
    let env = Env::real();
    if !is_worker(&env) {
        return;
    }
    if ENTERED.swap(true, Ordering::AcqRel) {
        if matches!(scope::current(), Ok(None)) {
            // Another thread of the program's start, while the worker begins: the program never runs here.
            loop {
                park(None);
            }
        }
        return;
    }
    crate::log::install(crate::log::default_level(&env));
    let code = match read_boot() {
        Ok(boot) => match crate::start::run_worker(boot) {
            Ok(()) => 0,
            Err(error) => {
                complain(&error.to_string());
                1
            }
        },
        Err(error) => {
            complain(&format!("its raylet did not say what to do: {error}"));
            1
        }
    };
    std::process::exit(code);
}

/// Says why it ends, if its log can be written.
fn complain(why: &str) {
    let _ = writeln!(std::io::stderr(), "actinic worker: {why}");
}

#[allow(clippy::disallowed_methods)] // the pipe is the raylet's
fn read_boot() -> Result<Boot, String> {
    let mut length = [0u8; 4];
    let mut input = std::io::stdin().lock();
    input.read_exact(&mut length).map_err(|error| error.to_string())?;
    let length = u32::from_le_bytes(length) as usize;
    if length > 1 << 20 {
        return Err(format!("a boot message of {length} bytes"));
    }
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes).map_err(|error| error.to_string())?;
    postcard::from_bytes(&bytes).map_err(|error| error.to_string())
}

/// So long is a worker that ends given for its answers to get into the node's store, and so long for what it has said to
/// be acknowledged; its raylet waits longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const ACK_WITHIN: Duration = Duration::from_millis(250);
const TELL_LOOK: Duration = Duration::from_millis(5);

/// Ends this process when its raylet closes the pipe, which it does by dying if not before; not in the middle of an answer.
#[allow(clippy::disallowed_methods)] // the pipe is the raylet's, and only the worker lives in this pid
pub(crate) fn die_with_parent(env: &Env, process: Arc<OnceLock<Arc<Process>>>) -> std::io::Result<()> {
    let clock = env.clone();
    env.thread("actinic-parent", move || {
        let mut byte = [0u8; 1];
        while matches!(std::io::stdin().lock().read(&mut byte), Ok(1..)) {}
        let begun = clock.now();
        let has_to_tell = |process: &Arc<Process>| {
            let waited = clock.now() - begun;
            (waited < ANSWER_WITHIN && process.is_answering()) || (waited < ACK_WITHIN && process.has_unsent())
        };
        while process.get().is_some_and(has_to_tell) {
            std::thread::sleep(TELL_LOOK);
        }
        std::process::exit(0)
    })
}

/// What a worker process does when it must end at once.
pub(crate) fn end_now() -> ! {
    // As SIGKILL would: nothing is flushed, nobody is told.
    let pid = Env::real().pid();
    // SAFETY: the pid is this process's own, and the signal cannot be handled, so nothing runs afterwards.
    unsafe {
        libc::kill(pid as libc::pid_t, libc::SIGKILL);
    }
    std::process::abort()
}
