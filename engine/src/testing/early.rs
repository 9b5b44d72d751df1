//! How a test binary becomes a worker process.
//!
//! The harness owns `main` of a test binary and runs tests in threads of its own, so neither `#[actinic::main]` nor
//! `init()` can make it a worker. The linker's list of functions to run before `main` can: the entry below does
//! nothing unless [`EARLY`] is set, which only the nodes of a [`TestCluster`](super::TestCluster) set for the
//! processes that they start. A program's own workers enter in `main`, where explicit registrations have been made.

use crate::env::Env;

/// Set beside the boot variable in the environment of workers that must enter before `main`.
pub(crate) const EARLY: &str = "ACTINIC_WORKER_EARLY";

#[used]
#[unsafe(link_section = ".init_array")]
static ENTER: extern "C" fn() = enter;

extern "C" fn enter() {
    let env = Env::real();
    if env.var_os(EARLY).is_none() || !crate::worker::entry::is_worker(&env) {
        return;
    }
    // What the standard library does before `main`, and a worker needs: a closed pipe is an error, not the end.
    // SAFETY: setting a disposition to "ignore" installs no handler; no other thread exists yet.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
    crate::worker::entry::enter_if_worker();
}

/// Keeps the entry in every binary that has a test with a cluster.
pub(super) fn keep() {
    std::hint::black_box(&ENTER);
}
