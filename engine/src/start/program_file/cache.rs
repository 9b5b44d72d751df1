//! The programs that a process has, and those that it keeps in case that they are needed again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::api::error::{Error, Result};
use crate::env::files::Files;
use crate::ids::JobId;
use crate::start::program_file::{ProgramFile, hex};

/// Programs that no job needs and that are kept all the same.
const MAX_UNUSED: usize = 8;

/// The programs that this process has, by job.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    cache: OnceLock<(Files, PathBuf)>,
    jobs: Mutex<BTreeMap<JobId, Arc<ProgramFile>>>,
}

impl Programs {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<JobId, Arc<ProgramFile>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Some((files, cache)) = self.cache.get() {
            // Another job's worker may have shown it before; what was fetched since is fetched once more.
            let _ = files.remove_file(&cache.join(hex(&hash)));
        }
        true
    }

    pub(super) fn cache(&self) -> Result<(Files, &PathBuf)> {
        let known = self.cache.get();
        let (files, cache) = known.ok_or_else(|| Error::runtime_env_setup("this node keeps no programs"))?;
        let made = files.make_private_dir(cache);
        made.map_err(|error| Error::runtime_env_setup(format!("{}: {error}", cache.display())))?;
        Ok((*files, cache))
    }
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
