//! Memory that processes of one machine share: plain atomics, in a memory file that its maker keeps open.
//!
//! Others open the file through the maker's `/proc` entry, which the kernel grants to the same user only; so nothing is
//! left of it when all of them are gone, however they went. What they open must be a memory file whose size is sealed: no
//! other file has seals, and nobody can cut it short under those who have mapped it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use serde::{Deserialize, Serialize};

use crate::env::files::Files;

/// Nobody can make the file shorter or longer, or take that back.
const SEALS: libc::c_int = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;

/// Where others of this machine open it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct At {
    /// The process that made it.
    pid: u32,
    fd: i32,
}

/// Some words, mapped.
pub(crate) struct Shared {
    words: NonNull<AtomicU64>,
    count: usize,
    /// The maker keeps the file open for the others.
    file: Option<OwnedFd>,
}

// SAFETY: the memory is plain atomics, and lives as long as the value, whichever threads look at it.
unsafe impl Send for Shared {}
// SAFETY: as above: shared access is by atomic operations only.
unsafe impl Sync for Shared {}

impl Shared {
    /// New words, all zero.
    pub(crate) fn create(files: Files, count: usize) -> io::Result<Shared> {
        let file = files.in_memory()?;
        file.set_len(bytes(count) as u64)?;
        // SAFETY: the descriptor is open, and the command takes and returns plain numbers.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, SEALS) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Shared { words: map(&file, count)?, count, file: Some(file.into()) })
    }

    /// The words that another process has made.
    pub(crate) fn open(files: Files, at: &At, count: usize) -> io::Result<Shared> {
        let file = files.open_shared(at.pid, at.fd)?;
        // SAFETY: the descriptor is open, and the command takes and returns plain numbers.
        let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
        if seals < 0 || seals & SEALS != SEALS || file.metadata()?.len() != bytes(count) as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "this is not the memory that was to be shared"));
        }
        Ok(Shared { words: map(&file, count)?, count, file: None })
    }

    /// Where others open it; `pid` is this process. None of what was opened.
    pub(crate) fn at(&self, pid: u32) -> Option<At> {
        self.file.as_ref().map(|file| At { pid, fd: file.as_raw_fd() })
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has this many words, begins at a page, was zeroed by the kernel (any bits are valid), and
        // is unmapped only when this value is dropped.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.count) }
    }
}

fn bytes(count: usize) -> usize {
    count * size_of::<AtomicU64>()
}

fn map(file: &File, count: usize) -> io::Result<NonNull<AtomicU64>> {
    // SAFETY: a new shared mapping of an open file, of which nothing is assumed but its length.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes(count),
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

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped once by `map` with this length; nobody has a reference any more, as this is the last use.
        unsafe {
            libc::munmap(self.words.as_ptr().cast(), bytes(self.count));
        }
    }
}

#[cfg(test)]
impl At {
    pub(crate) fn of(pid: u32, fd: i32) -> At {
        At { pid, fd }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::env::Env;

    #[test]
    fn what_one_writes_the_other_reads() {
        let env = Env::real();
        let made = Shared::create(env.files(), 600).unwrap();
        let at = made.at(env.pid()).unwrap();
        let opened = Shared::open(env.files(), &at, 600).unwrap();
        assert_eq!(made.words()[599].load(Ordering::SeqCst), 0);
        opened.words()[599].store(7, Ordering::SeqCst);
        assert_eq!((made.words()[599].load(Ordering::SeqCst), opened.at(1)), (7, None));
        drop(opened);
        assert_eq!(made.words()[599].load(Ordering::SeqCst), 7, "it outlives who wrote it");
        assert!(Shared::open(env.files(), &at, 601).is_err(), "no more than there is");
        let shorter = env.files().open_shared(at.pid, at.fd).unwrap().set_len(0);
        assert_eq!(shorter.unwrap_err().kind(), io::ErrorKind::PermissionDenied, "its size is sealed");
    }

    #[test]
    fn only_sealed_memory_is_opened() {
        let env = Env::real();
        let plain = env.files().in_memory().unwrap();
        plain.set_len(bytes(1) as u64).unwrap();
        let program = env.files().open(&env.program().unwrap()).unwrap();
        for fd in [plain.as_raw_fd(), program.as_raw_fd(), -1] {
            assert!(Shared::open(env.files(), &At { pid: env.pid(), fd }, 1).is_err(), "{fd}");
        }
    }
}
