//! What tests, examples and benches of real daemons have in common. It has no remote functions, which whoever links it
//! would have too.

use std::time::{Duration, Instant};

pub mod command;
pub mod files;
pub mod processes;

/// Runs what is to be done within a time, and asserts that it was.
#[track_caller]
pub fn timed<T>(what: &str, within: Duration, run: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = run();
    let took = began.elapsed();
    assert!(took < within, "{what}: {took:?}, and not within {within:?}");
    done
}
