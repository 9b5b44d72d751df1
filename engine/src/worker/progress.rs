//! Which task a worker process runs, in a page of memory that its raylet reads when the process is dead.
//!
//! A worker tells what it finished in batches, so the tasks in flight do not say which of them the process died of.
//! The page says it, for two stores a task. The raylet makes the page ([`crate::env::shared`]); only the worker writes to
//! it.

use std::io;
use std::sync::atomic::Ordering;

use crate::env::files::Files;
use crate::env::shared::{At, Shared};

/// No task has this number.
const NONE: u64 = u64::MAX;
/// The words: the lease of the task that runs, and its number.
const LEASE: usize = 0;
const SEQ: usize = 1;
const WORDS: usize = 2;

/// The page, mapped.
pub(crate) struct Progress(Shared);

impl Progress {
    /// A new page that says that nothing runs.
    pub(crate) fn create(files: Files) -> io::Result<Progress> {
        let progress = Progress(Shared::create(files, WORDS)?);
        progress.end();
        Ok(progress)
    }

    /// The page of the raylet that started this process.
    pub(crate) fn open(files: Files, at: &At) -> io::Result<Progress> {
        Shared::open(files, at, WORDS).map(Progress)
    }

    /// Where the worker opens it; `pid` is this process, which made it.
    pub(crate) fn at(&self, pid: u32) -> Option<At> {
        self.0.at(pid)
    }

    /// A task begins, or goes on.
    pub(crate) fn begin(&self, lease: u64, seq: u64) {
        let words = self.0.words();
        words[LEASE].store(lease, Ordering::Relaxed);
        words[SEQ].store(seq, Ordering::Release);
    }

    /// Nothing runs.
    pub(crate) fn end(&self) {
        self.0.words()[SEQ].store(NONE, Ordering::Release);
    }

    /// The lease and the number of the task that runs, or ran when the process died.
    pub(crate) fn running(&self) -> Option<(u64, u64)> {
        let words = self.0.words();
        let seq = words[SEQ].load(Ordering::Acquire);
        (seq != NONE).then(|| (words[LEASE].load(Ordering::Relaxed), seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;

    #[test]
    fn what_a_worker_notes_its_raylet_reads() {
        let env = Env::real();
        let made = Progress::create(env.files()).unwrap();
        let opened = Progress::open(env.files(), &made.at(env.pid()).unwrap()).unwrap();
        assert_eq!(made.running(), None);
        opened.begin(3, 17);
        assert_eq!(made.running(), Some((3, 17)));
        opened.end();
        assert_eq!(made.running(), None);
        opened.begin(4, 0);
        drop(opened);
        assert_eq!(made.running(), Some((4, 0)), "it outlives who wrote it");
    }
}
