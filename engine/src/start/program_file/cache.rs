//! The programs that a process has, and those that it keeps in case that they are needed again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use ring::digest::{Context, SHA256};

use crate::api::error::{Error, Result};
use crate::env::files::Files;
use crate::ids::JobId;
use crate::start::program_file::{Hash, ProgramFile, ProgramInfo, finish, hex};

/// Programs that no job needs and that are kept all the same.
const MAX_UNUSED: usize = 8;

/// The programs that this process has, by job.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    cache: OnceLock<(Files, PathBuf)>,
    jobs: Mutex<BTreeMap<JobId, Arc<ProgramFile>>>,
    /// Of the kept files those that this process has read, and found to be what they are kept as.
    checked: Mutex<BTreeSet<Hash>>,
}

impl Programs {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<JobId, Arc<ProgramFile>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checked(&self) -> MutexGuard<'_, BTreeSet<Hash>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where fetched programs are kept; set once, where the node starts.
    pub(crate) fn set_cache(&self, files: Files, dir: PathBuf) {
        let _ = self.cache.set((files, dir));
    }

    pub(crate) fn add(&self, job: JobId, file: &Arc<ProgramFile>) {
        self.lock().insert(job, Arc::clone(file));
    }

    pub(crate) fn get(&self, job: JobId) -> Option<Arc<ProgramFile>> {
        self.lock().get(&job).cloned()
    }

    /// A job is over: its program is kept a while, in case that another needs it.
    pub(crate) fn remove(&self, job: JobId) {
        let pinned: BTreeSet<String> = {
            let mut jobs = self.lock();
            jobs.remove(&job);
            jobs.values().filter_map(|file| file.cached.as_ref().map(hex)).collect()
        };
        if let Some((files, cache)) = self.cache.get() {
            prune(*files, cache, &pinned);
        }
    }

    /// What was kept as a job's program turned out to be another: the file goes, and the program is fetched anew when a
    /// worker is wanted next. `false` if it is not one that is kept here.
    pub(crate) fn discard(&self, job: JobId) -> bool {
        let hash = {
            let mut jobs = self.lock();
            let Some(hash) = jobs.get(&job).and_then(|file| file.cached) else { return false };
            // Other jobs that have opened the same file find out by themselves.
            jobs.remove(&job);
            hash
        };
        self.checked().remove(&hash);
        if let Some((files, cache)) = self.cache.get() {
            // Another job's worker may have shown it before; what was fetched since is fetched once more.
            let _ = files.remove_file(&cache.join(hex(&hash)));
        }
        true
    }

    /// The program that is kept here under its content's name, if it is one. The first time in the life of this process
    /// it is read: what is on the disk may be another than what was written to it, and is then as good as none. Waits
    /// for the disk.
    pub(super) fn kept(&self, info: &ProgramInfo) -> Result<Option<ProgramFile>> {
        let (files, cache) = self.cache()?;
        let path = cache.join(hex(&info.content));
        let found = ProgramFile::open(files, &path).ok().filter(|file| file.size == info.size);
        let Some(file) = found else { return Ok(None) };
        if !self.checked().contains(&info.content) {
            let content = file.content();
            if !content.as_ref().is_ok_and(|content| *content == info.content) {
                let found = content.map_or_else(|error| error.to_string(), |content| hex(&content));
                tracing::warn!(target: "actinic", path = %path.display(), found, "a program that is kept here was altered; it is fetched anew");
                return Ok(None);
            }
            self.checked().insert(info.content);
        }
        Ok(Some(file.keeps(info.content)))
    }

    /// Takes in a program, and keeps it if it is the one that was announced. Waits for its bytes, and for the disk.
    pub(super) fn keep(
        &self,
        info: &ProgramInfo,
        name: &str,
        bytes: impl Iterator<Item = Bytes>,
    ) -> Result<ProgramFile> {
        let (files, cache) = self.cache()?;
        let path = cache.join(hex(&info.content));
        // Under a name of its own until it is all here: another job may fetch the same.
        let part = path.with_extension(format!("part-{name}"));
        let created = files.create_program(&part);
        let created = created.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", part.display())));
        let stored = created.and_then(|file| store(file, &info.content, bytes));
        let kept = stored.and_then(|()| files.rename(&part, &path));
        if kept.is_err() {
            let _ = files.remove_file(&part);
        }
        let file = kept.and_then(|()| ProgramFile::open(files, &path));
        let file = file.map_err(|error| Error::runtime_env_setup(format!("the transfer failed: {error}")))?;
        Ok(file.keeps(info.content))
    }

    fn cache(&self) -> Result<(Files, &PathBuf)> {
        let known = self.cache.get();
        let (files, cache) = known.ok_or_else(|| Error::runtime_env_setup("this node keeps no programs"))?;
        let made = files.make_private_dir(cache);
        made.map_err(|error| Error::runtime_env_setup(format!("{}: {error}", cache.display())))?;
        Ok((*files, cache))
    }
}

/// Writes bytes in order; an error if they are not those of the hash.
fn store(mut file: impl Write, content: &Hash, bytes: impl Iterator<Item = Bytes>) -> io::Result<()> {
    let mut context = Context::new(&SHA256);
    for chunk in bytes {
        context.update(&chunk);
        file.write_all(&chunk)?;
    }
    if finish(context) != *content {
        return Err(io::Error::other("what arrived is not what was announced"));
    }
    Ok(())
}

/// Removes programs that nobody needs, the oldest first, down to a few.
fn prune(files: Files, cache: &Path, pinned: &BTreeSet<String>) {
    let is_pinned = |path: &Path| path.file_name().is_some_and(|name| pinned.contains(&*name.to_string_lossy()));
    let kept = files.list(cache).unwrap_or_default().into_iter().filter(|path| !is_pinned(path));
    let mut unused: Vec<_> =
        kept.filter_map(|path| Some((files.metadata(&path).ok()?.modified().ok()?, path))).collect();
    unused.sort();
    let over = unused.len().saturating_sub(MAX_UNUSED);
    for (_, path) in unused.into_iter().take(over) {
        // It may have gone meanwhile.
        let _ = files.remove_file(&path);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test's own files
mod tests {
    use super::*;
    use crate::env::Env;
    use crate::start::program_file::triple;

    const PROGRAM: &[u8] = b"a program";

    /// A cache of one test, with a program in it.
    struct Scratch {
        dir: PathBuf,
        info: ProgramInfo,
    }

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let dir = std::env::temp_dir().join(format!("actinic-programs-{}-{name}", std::process::id()));
            let mut context = Context::new(&SHA256);
            context.update(PROGRAM);
            Scratch {
                dir,
                info: ProgramInfo { size: PROGRAM.len() as u64, content: finish(context), triple: triple() },
            }
        }

        /// As a node has them that has just started.
        fn programs(&self) -> Programs {
            let programs = Programs::default();
            programs.set_cache(Env::real().files(), self.dir.clone());
            programs
        }

        fn keep(&self, programs: &Programs, bytes: &[u8]) -> Result<ProgramFile> {
            programs.keep(&self.info, "x", bytes.chunks(4).map(Bytes::copy_from_slice))
        }

        fn files(&self) -> Vec<PathBuf> {
            Env::real().files().list(&self.dir).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }

    #[test]
    fn what_is_kept_is_read_when_it_is_first_needed_again() {
        let scratch = Scratch::new("read");
        let programs = scratch.programs();
        assert!(programs.kept(&scratch.info).unwrap().is_none(), "there is none");
        let file = scratch.keep(&programs, PROGRAM).unwrap();
        assert_eq!((file.content().unwrap(), file.cached), (scratch.info.content, Some(scratch.info.content)));
        let kept = &scratch.files()[0];
        // Altered in place: of the same length, in the same file.
        std::fs::write(kept, b"A program").unwrap();
        assert!(programs.kept(&scratch.info).unwrap().is_none(), "it is another");
        scratch.keep(&programs, PROGRAM).unwrap();
        assert_eq!(std::fs::read(kept).unwrap(), PROGRAM);
        assert!(programs.kept(&scratch.info).unwrap().is_some());
        // It was read once, and is not for every job; its workers would show it now.
        std::fs::write(kept, b"A program").unwrap();
        assert!(programs.kept(&scratch.info).unwrap().is_some());
        assert!(scratch.programs().kept(&scratch.info).unwrap().is_none(), "another process reads it itself");
    }

    #[test]
    fn what_is_not_what_was_announced_is_not_kept() {
        let scratch = Scratch::new("announced");
        let programs = scratch.programs();
        for other in [&b"a program, and more"[..], b"a prog", b"A program", b""] {
            let error = scratch.keep(&programs, other).unwrap_err().to_string();
            assert!(error.contains("what arrived is not what was announced"), "{error}");
            assert!(scratch.files().is_empty(), "nothing is left of it");
        }
        std::fs::write(scratch.dir.join(hex(&scratch.info.content)).with_extension("part-x"), "").unwrap();
        let error = scratch.keep(&programs, PROGRAM).unwrap_err().to_string();
        assert!(error.contains("the transfer failed: ") && error.contains("part-x"), "{error}");
    }
}
