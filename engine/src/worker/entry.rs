//! How a process that was started as a worker becomes one.
//!
//! A worker process is the program itself, started again with [`BOOT`] in its environment: its raylet writes what it
//! must know (who it is, its certificate, where the raylet listens) to its standard input, and ends it by closing that.

use std::io::Read;
use std::net::SocketAddr;

use actinic_transport::{Identity, PeerAddr};
use serde::{Deserialize, Serialize};

use crate::env::Env;
use crate::ids::{JobId, WorkerId};

/// Set in the environment of a worker process.
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

/// Becomes a worker if this process was started as one, and then never returns.
#[allow(clippy::disallowed_methods)] // only the worker lives in this pid
pub(crate) fn enter_if_worker() {
    let env = Env::real();
    if env.var_os(BOOT).is_none() {
        return;
    }
    crate::log::install(crate::log::default_level(&env));
    let code = match read_boot() {
        Ok(boot) => match crate::start::run_worker(boot) {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("actinic worker: {error}");
                1
            }
        },
        Err(error) => {
            eprintln!("actinic worker: its raylet did not say what to do: {error}");
            1
        }
    };
    std::process::exit(code);
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

/// Ends this process when its raylet closes the pipe, which it does by dying if not before.
#[allow(clippy::disallowed_methods)] // the pipe is the raylet's, and only the worker lives in this pid
pub(crate) fn die_with_parent(env: &Env) -> std::io::Result<()> {
    env.thread("actinic-parent", || {
        let mut byte = [0u8; 1];
        loop {
            match std::io::stdin().lock().read(&mut byte) {
                Ok(0) | Err(_) => std::process::exit(0),
                Ok(_) => {}
            }
        }
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
