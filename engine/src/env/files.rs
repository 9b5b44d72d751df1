//! The files of this machine: the one door to them.
//!
//! It has what the components need and no more: private files and directories, locks that say who lives, programs,
//! pages of memory that two processes share, and what the kernel tells under `/proc`. Nothing that runs in a simulation
//! needs a file; so there each of these refuses, and the disk is left alone. What an open file is asked afterwards is
//! between its holder and the operating system.

#![allow(clippy::disallowed_methods)] // this is the door

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The files that an [`Env`](super::Env) has: this machine's, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files {
    pub(super) simulated: bool,
}

/// A lock that is held until this is dropped, or the process is gone.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: File,
}

impl Files {
    /// # Errors
    ///
    /// `Unsupported` in a simulation, as of everything here.
    fn at(self, path: &Path) -> io::Result<&Path> {
        if !self.simulated {
            return Ok(path);
        }
        Err(io::Error::new(ErrorKind::Unsupported, format!("a simulation has no files: {}", path.display())))
    }

    pub(crate) fn read(self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(self.at(path)?)
    }

    pub(crate) fn read_text(self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(self.at(path)?)
    }

    /// Opens a file to read it.
    pub(crate) fn open(self, path: &Path) -> io::Result<File> {
        File::open(self.at(path)?)
    }

    /// Opens a file that another process has open, to read and to write. Nothing is waited for, whatever it is.
    pub(crate) fn open_shared(self, pid: u32, fd: i32) -> io::Result<File> {
        let path = PathBuf::from(format!("/proc/{pid}/fd/{fd}"));
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(self.at(&path)?)
    }

    /// Which boot of which machine this is; empty if nobody can tell.
    pub(crate) fn boot_id(self) -> String {
        self.read_text(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default().trim().to_owned()
    }

    /// A file in memory, of which nothing is left when nobody has it open.
    pub(crate) fn in_memory(self) -> io::Result<File> {
        self.at(Path::new("memory"))?;
        // SAFETY: the name is a valid string that ends with a zero; the call has no other precondition.
        let fd = unsafe { libc::memfd_create(c"actinic".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made, and nobody else has it.
        Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// A new file to write a program into that this user may run.
    pub(crate) fn create_program(self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o700).open(self.at(path)?)
    }

    /// Writes a file that is this user's alone. Who reads it meanwhile gets what was there before, or all of it.
    pub(crate) fn write_private(self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut fresh = self.at(path)?.as_os_str().to_owned();
        fresh.push(".new");
        // What somebody left who was killed in the middle; its mode may be another.
        let _ = std::fs::remove_file(&fresh);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        std::fs::rename(&fresh, path)
    }

    /// A directory that is this user's alone, with those above it; one that is there stays as it is.
    pub(crate) fn make_private_dir(self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.at(path)?)
    }

    /// A new directory that is this user's alone.
    pub(crate) fn make_new_private_dir(self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(self.at(path)?)
    }

    /// What a directory has, in order.
    pub(crate) fn list(self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(self.at(dir)?)?;
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
        paths.sort();
        Ok(paths)
    }

    /// What is known of a file, by its name or a link to it.
    pub(crate) fn metadata(self, path: &Path) -> io::Result<Metadata> {
        std::fs::metadata(self.at(path)?)
    }

    /// What is known of a file or, if it is one, of a link.
    pub(crate) fn symlink_metadata(self, path: &Path) -> io::Result<Metadata> {
        std::fs::symlink_metadata(self.at(path)?)
    }

    pub(crate) fn rename(self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(self.at(from)?, to)
    }

    pub(crate) fn remove_file(self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(self.at(path)?)
    }

    /// Removes a directory in which nothing is.
    pub(crate) fn remove_dir(self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(self.at(path)?)
    }

    /// Removes a directory and what is in it.
    pub(crate) fn remove_dir_all(self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(self.at(path)?)
    }

    /// Takes the lock that a file stands for, which is made if need be; waits while another process has it.
    pub(crate) fn lock(self, path: &Path) -> io::Result<Lock> {
        let mut open = OpenOptions::new();
        let file = open.read(true).write(true).create(true).truncate(false).mode(0o600).open(self.at(path)?)?;
        loop {
            match flock(&file, libc::LOCK_EX) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => return done.map(|()| Lock { _held: file }),
            }
        }
    }

    /// Locks a directory, if nobody else has, against those who clear old files away: systemd-tmpfiles passes over one
    /// that is locked, with all that is in it.
    pub(crate) fn lock_dir(self, path: &Path) -> io::Result<Lock> {
        let dir = self.open(path)?;
        flock(&dir, libc::LOCK_EX | libc::LOCK_NB).map(|()| Lock { _held: dir })
    }

    /// Whether a process has the lock that a file stands for. Whoever else asks at the same moment has not.
    pub(crate) fn is_locked(self, path: &Path) -> bool {
        self.open(path).is_ok_and(|file| flock(&file, libc::LOCK_SH | libc::LOCK_NB).is_err())
    }
}

fn flock(file: &File, how: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `file` is borrowed.
    match unsafe { libc::flock(file.as_raw_fd(), how) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A directory of one test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let dir = std::env::temp_dir().join(format!("actinic-files-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            Scratch(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const REAL: Files = Files { simulated: false };

    #[test]
    fn what_is_private_is_written_whole_and_for_its_user_alone() {
        let scratch = Scratch::new("private");
        let mode = |path: &Path| REAL.metadata(path).unwrap().permissions().mode() & 0o777;
        let dir = scratch.0.join("a/b");
        REAL.make_private_dir(&dir).unwrap();
        REAL.make_private_dir(&dir).unwrap();
        assert_eq!(REAL.make_new_private_dir(&dir).unwrap_err().kind(), ErrorKind::AlreadyExists);
        let file = dir.join("secret");
        // Somebody was killed while he wrote it, and left it open to all.
        std::fs::write(dir.join("secret.new"), "half").unwrap();
        for text in ["first", "second, and longer", "3"] {
            REAL.write_private(&file, text.as_bytes()).unwrap();
            assert_eq!(REAL.read_text(&file).unwrap(), text);
        }
        assert_eq!((mode(&dir), mode(&file)), (0o700, 0o600));
        assert_eq!(REAL.list(&dir).unwrap(), [file], "nothing else is left");
    }

    #[test]
    fn a_lock_is_held_until_it_is_dropped() {
        let scratch = Scratch::new("lock");
        let file = scratch.0.join("lock");
        assert!(!REAL.is_locked(&file), "there is none");
        let lock = REAL.lock(&file).unwrap();
        assert!(REAL.is_locked(&file));
        drop(lock);
        assert!(!REAL.is_locked(&file));
    }

    #[test]
    fn who_asks_whether_a_file_is_locked_has_not_locked_it() {
        let scratch = Scratch::new("asked");
        let file = scratch.0.join("lock");
        drop(REAL.lock(&file).unwrap());
        let ask = || assert!((0..20_000).all(|_| !REAL.is_locked(&file)));
        std::thread::scope(|scope| (0..2).for_each(|_| _ = scope.spawn(ask)));
    }

    #[test]
    fn a_simulation_has_no_files() {
        let scratch = Scratch::new("simulated");
        let (none, file) = (Files { simulated: true }, scratch.0.join("file"));
        std::fs::write(&file, "real").unwrap();
        let other = scratch.0.join("other");
        let errors = [
            none.read(&file).unwrap_err(),
            none.read_text(&file).unwrap_err(),
            none.open(&file).map(drop).unwrap_err(),
            none.open_shared(1, 1).map(drop).unwrap_err(),
            none.in_memory().map(drop).unwrap_err(),
            none.create_program(&other).map(drop).unwrap_err(),
            none.write_private(&file, b"simulated").unwrap_err(),
            none.make_private_dir(&other).unwrap_err(),
            none.make_new_private_dir(&other).unwrap_err(),
            none.list(&scratch.0).map(drop).unwrap_err(),
            none.metadata(&file).map(drop).unwrap_err(),
            none.symlink_metadata(&file).map(drop).unwrap_err(),
            none.rename(&file, &other).unwrap_err(),
            none.remove_file(&file).unwrap_err(),
            none.remove_dir(&scratch.0).unwrap_err(),
            none.remove_dir_all(&scratch.0).unwrap_err(),
            none.lock(&other).map(drop).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("a simulation has no files"), "{error}");
        }
        assert!(!none.is_locked(&file));
        assert_eq!(REAL.list(&scratch.0).unwrap().len(), 1, "the disk is as it was");
        assert_eq!(REAL.read(&file).unwrap(), b"real");
    }
}
