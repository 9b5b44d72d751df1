//! Workers: the threads and processes that run user code.

pub(crate) mod entry;
pub(crate) mod host;
pub(crate) mod job;
pub(crate) mod lending;
pub(crate) mod pool;
pub(crate) mod progress;
pub(crate) mod remote;
pub(crate) mod slot;
pub(crate) mod tombstones;
