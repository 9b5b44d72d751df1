//! Which task a worker process runs, in a page of memory that its raylet reads when the process is dead.
//!
//! A worker tells what it finished in batches, so the tasks in flight do not say which of them the process died of.
//! The page says it, for two stores a task. The raylet makes the page (a memory file, which the worker opens through
//! the raylet's `/proc` entry, so nothing is left of it when both are gone); only the worker writes to it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::env::files::Files;

/// One page: the least that can be mapped.
const SIZE: usize = 4096;
/// No task has this number.
const NONE: u64 = u64::MAX;

#[repr(C)]
struct Words {
    lease: AtomicU64,
    seq: AtomicU64,
}

/// The page, mapped.
pub(crate) struct Progress {
    words: NonNull<Words>,
    /// The raylet's side keeps the file open for the worker.
    file: Option<OwnedFd>,
}

// SAFETY: the page is plain atomics, and lives as long as the value, whichever threads look at it.
unsafe impl Send for Progress {}
// SAFETY: as above: shared access is by atomic operations only.
unsafe impl Sync for Progress {}

impl Progress {
    /// A new page that says that nothing runs.
    pub(crate) fn create(files: Files) -> io::Result<Progress> {
        let file = files.in_memory()?;
        file.set_len(SIZE as u64)?;
        let progress = Progress { words: map(&file)?, file: Some(file.into()) };
        progress.end();
        Ok(progress)
    }

    /// The page of the raylet that started this process.
    pub(crate) fn open(files: Files, path: &str) -> io::Result<Progress> {
        let file = files.open_shared(Path::new(path))?;
        if file.metadata()?.len() < SIZE as u64 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the page is cut short"));
        }
        Ok(Progress { words: map(&file)?, file: None })
    }

    /// Where the worker opens it; `pid` is the process that made it.
    pub(crate) fn path(&self, pid: u32) -> Option<String> {
        self.file.as_ref().map(|file| format!("/proc/{pid}/fd/{}", file.as_raw_fd()))
    }

    fn words(&self) -> &Words {
        // SAFETY: the mapping is as long as `Words`, aligned to a page, zeroed by the kernel (any bits are valid), and
        // is unmapped only when this value is dropped.
        unsafe { self.words.as_ref() }
    }

    /// A task begins, or goes on.
    pub(crate) fn begin(&self, lease: u64, seq: u64) {
        let words = self.words();
        words.lease.store(lease, Ordering::Relaxed);
        words.seq.store(seq, Ordering::Release);
    }

    /// Nothing runs.
    pub(crate) fn end(&self) {
        self.words().seq.store(NONE, Ordering::Release);
    }

    /// The lease and the number of the task that runs, or ran when the process died.
    pub(crate) fn running(&self) -> Option<(u64, u64)> {
        let words = self.words();
        let seq = words.seq.load(Ordering::Acquire);
        (seq != NONE).then(|| (words.lease.load(Ordering::Relaxed), seq))
    }
}

fn map(file: &File) -> io::Result<NonNull<Words>> {
    // SAFETY: a new shared mapping of an open file, of which nothing is assumed but its length.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(at.cast()).ok_or_else(|| io::Error::other("a mapping at the address zero"))
}

impl Drop for Progress {
    fn drop(&mut self) {
        // SAFETY: mapped once by `map` with this length; nobody has a reference any more, as this is the last use.
        unsafe {
            libc::munmap(self.words.as_ptr().cast(), SIZE);
        }
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
        let opened = Progress::open(env.files(), &made.path(env.pid()).unwrap()).unwrap();
        assert_eq!(made.running(), None);
        opened.begin(3, 17);
        assert_eq!(made.running(), Some((3, 17)));
        opened.end();
        assert_eq!(made.running(), None);
        opened.begin(4, 0);
        drop(opened);
        assert_eq!(made.running(), Some((4, 0)), "it outlives who wrote it");
        assert!(Progress::open(env.files(), "/proc/self/fd/0/nothing").is_err());
    }
}
