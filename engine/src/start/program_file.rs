//! A job's binary, as a file that is held open: rebuilding the program meanwhile does not matter.
//!
//! On the driver's machine its raylet opens what the driver runs, by pid, and checks that it is the file the driver
//! means. A node that has no such file asks those who have it (the raylet that the driver is attached to, or the driver)
//! for its content hash, and fetches it unless it lies in its cache. Nothing that came by the wire is used as a path.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use actinic_transport::{BulkAnswer, PeerAddr};
use bytes::Bytes;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::api::error::{Error, Result};
use crate::env::Env;
use crate::env::files::Files;
use crate::ids::JobId;
use crate::process::Process;
use crate::protocol::calls::Fetch;
use crate::protocol::{AskGcs, AskRaylet, GcsAnswer, JobRow, RAYLET, RayletAnswer};

/// The largest program that a node fetches.
const MAX_PROGRAM: u64 = 4 << 30;
const CHUNK: usize = 1 << 20;
/// Programs that no job needs and that are kept all the same.
const MAX_UNUSED: usize = 8;

type Hash = [u8; 32];

/// What this process runs.
const OWN: &str = "/proc/self/exe";

/// What machine a program is for.
pub(crate) fn triple() -> String {
    let abi = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    format!("{}-{}-{abi}", std::env::consts::ARCH, std::env::consts::OS)
}

/// What a driver says of its program to the raylet of its own machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    /// Which boot of which machine.
    boot: String,
    pid: u32,
    device: u64,
    inode: u64,
    size: u64,
}

fn boot(files: Files) -> String {
    files.read_text(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default().trim().to_owned()
}

impl Offer {
    pub(crate) fn of_this_process(env: &Env) -> Option<Offer> {
        let found = env.files().metadata(Path::new(OWN)).ok()?;
        let (device, inode, size) = (found.dev(), found.ino(), found.size());
        Some(Offer { boot: boot(env.files()), pid: env.pid(), device, inode, size })
    }

    /// The file, if the driver runs on this machine.
    pub(crate) fn open(&self, files: Files) -> Option<Arc<ProgramFile>> {
        if self.boot.is_empty() || self.boot != boot(files) {
            return None;
        }
        let program = ProgramFile::open(files, Path::new(&format!("/proc/{}/exe", self.pid))).ok()?;
        let found = program.file.metadata().ok()?;
        let same = (found.dev(), found.ino(), found.size()) == (self.device, self.inode, self.size);
        same.then(|| Arc::new(program))
    }
}

/// What a node asks before it fetches a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgramInfo {
    pub(crate) size: u64,
    pub(crate) content: Hash,
    pub(crate) triple: String,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ProgramFile {
    file: File,
    size: u64,
    content: OnceLock<Hash>,
    /// Its name in the cache, while it is needed.
    cached: Option<Hash>,
}

impl ProgramFile {
    pub(crate) fn open(files: Files, path: &Path) -> std::io::Result<ProgramFile> {
        let file = files.open(path)?;
        let size = file.metadata()?.size();
        Ok(ProgramFile { file, size, content: OnceLock::new(), cached: None })
    }

    pub(crate) fn of_this_process(files: Files) -> std::io::Result<Arc<ProgramFile>> {
        ProgramFile::open(files, Path::new(OWN)).map(Arc::new)
    }

    /// What a child of this process can execute, whatever has become of the file's name.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// The hash of its bytes, computed at the first call.
    fn content(&self) -> std::io::Result<Hash> {
        if let Some(known) = self.content.get() {
            return Ok(*known);
        }
        let mut context = Context::new(&SHA256);
        let mut buffer = vec![0; CHUNK];
        let mut at = 0;
        loop {
            let count = self.file.read_at(&mut buffer, at)?;
            if count == 0 {
                break;
            }
            context.update(&buffer[..count]);
            at += count as u64;
        }
        Ok(*self.content.get_or_init(|| finish(context)))
    }

    /// Sends its bytes.
    pub(crate) async fn serve(self: Arc<Self>, answer: BulkAnswer) {
        let Ok(mut writer) = answer.accept(self.size).await else { return };
        let mut at = 0;
        while at < self.size {
            let mut chunk = vec![0; CHUNK.min((self.size - at) as usize)];
            if self.file.read_exact_at(&mut chunk, at).is_err() {
                return;
            }
            at += chunk.len() as u64;
            if writer.write(Bytes::from(chunk)).await.is_err() {
                return;
            }
        }
        let _ = writer.finish().await;
    }
}

fn finish(context: Context) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A job's program as a node needs it.
#[derive(Clone, Debug)]
pub(crate) struct JobProgram {
    pub(crate) file: Arc<ProgramFile>,
    pub(crate) namespace: String,
    /// What its workers must report; empty if nothing is known of it.
    pub(crate) identity: String,
}

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

    fn cache(&self) -> Result<(Files, &PathBuf)> {
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

impl Process {
    /// Answers what another node asks before it fetches a job's program; the hash is computed on a thread of its own.
    pub(crate) fn tell_program(self: &Arc<Self>, job: JobId, reply: actinic_transport::ReplyTo) {
        let Some(program) = self.programs.get(job) else {
            reply.refuse(format!("the program of job {job} is not here"));
            return;
        };
        let answer = move || match program.content() {
            Ok(content) => {
                let info = ProgramInfo { size: program.size, content, triple: triple() };
                // The asker may have gone.
                let _ = reply.answer(&RayletAnswer::Program(info));
            }
            Err(error) => reply.refuse(format!("the program cannot be read: {error}")),
        };
        if let Err(error) = self.env.thread("actinic-hash", answer) {
            tracing::warn!(%error, "no thread to hash a program; its asker waits until its deadline");
        }
    }

    /// The program of a job that this node knows nothing of.
    pub(crate) async fn fetch_program(self: &Arc<Self>, job: JobId) -> Result<JobProgram> {
        let answer = crate::api::named::ask_gcs(self, AskGcs::Job { job }).await?;
        let GcsAnswer::Job(Some((row, sources))) = answer else {
            return Err(Error::runtime_env_setup(format!(
                "job {job} is not known to the cluster: its driver has ended"
            )));
        };
        let file = match self.programs.get(job) {
            Some(file) => file,
            None => self.fetch_file(&row, &sources).await?,
        };
        self.programs.add(job, &file);
        Ok(JobProgram { file, namespace: row.namespace, identity: row.program })
    }

    async fn fetch_file(self: &Arc<Self>, row: &JobRow, sources: &[PeerAddr]) -> Result<Arc<ProgramFile>> {
        let mut last = "nobody is known to have it".to_owned();
        for source in sources.iter().filter(|source| source.id != self.id) {
            match self.fetch_from(row.id, source).await {
                Ok(file) => return Ok(file),
                Err(error @ Error::VersionMismatch { .. }) => return Err(error),
                Err(error) => last = error.to_string(),
            }
        }
        Err(Error::runtime_env_setup(format!("the program of job {} ({}) cannot be had: {last}", row.id, row.entry))
            .at_node(self.id.node)
            .remedy("keep the driver and its node reachable while its job runs"))
    }

    async fn fetch_from(self: &Arc<Self>, job: JobId, source: &PeerAddr) -> Result<Arc<ProgramFile>> {
        let failed =
            |error: &dyn std::fmt::Display| Error::runtime_env_setup(format!("process {}: {error}", source.id));
        let peer = self.endpoint()?.peer(source);
        let asked = peer.ask(RAYLET, &AskRaylet::Program { job }, Duration::from_secs(10)).await;
        let RayletAnswer::Program(info) = asked.map_err(|error| failed(&error))? else {
            return Err(failed(&"it answered something else"));
        };
        if info.triple != triple() {
            return Err(Error::version_mismatch(format!(
                "the program of job {job} is for {}, and this node is {}",
                info.triple,
                triple()
            ))
            .at_node(self.id.node)
            .remedy("keep the job to nodes of its own kind, by a custom resource that only they have"));
        }
        if info.size > MAX_PROGRAM {
            return Err(failed(&format!("its program of {} bytes is over the limit of {MAX_PROGRAM}", info.size)));
        }
        let (files, cache) = self.programs.cache()?;
        let path = cache.join(hex(&info.content));
        let fits = |path: &Path| files.metadata(path).is_ok_and(|found| found.size() == info.size);
        if !fits(&path) {
            let part = path.with_extension(format!("part-{}", self.env.uuid().simple()));
            let stored = self.store_program(&peer, job, &info, &part).await;
            let kept = stored.and_then(|()| files.rename(&part, &path).map_err(|error| failed(&error)));
            if kept.is_err() {
                let _ = files.remove_file(&part);
            }
            kept?;
        }
        let mut file = ProgramFile::open(files, &path).map_err(|error| failed(&error))?;
        file.cached = Some(info.content);
        let _ = file.content.set(info.content);
        Ok(Arc::new(file))
    }

    async fn store_program(
        &self,
        peer: &actinic_transport::Peer,
        job: JobId,
        info: &ProgramInfo,
        part: &Path,
    ) -> Result<()> {
        let failed = |error: &dyn std::fmt::Display| Error::runtime_env_setup(format!("the transfer failed: {error}"));
        let request = postcard::to_stdvec(&Fetch::Program { job }).map_err(|error| failed(&error))?;
        let mut reader = peer.bulk(Bytes::from(request)).await.map_err(|error| failed(&error))?;
        if reader.length() != info.size {
            return Err(failed(&format!("{} bytes were announced, and then {}", info.size, reader.length())));
        }
        let created = self.env.files().create_program(part);
        let mut file = created.map_err(|error| failed(&format!("{}: {error}", part.display())))?;
        let mut context = Context::new(&SHA256);
        while let Some(chunk) = reader.next_chunk().await {
            let chunk = chunk.map_err(|error| failed(&error))?;
            context.update(&chunk);
            file.write_all(&chunk).map_err(|error| failed(&error))?;
        }
        if finish(context) != info.content {
            return Err(failed(&"what arrived is not what was announced"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_what_its_process_runs_and_no_other_file() {
        let env = Env::real();
        let offer = Offer::of_this_process(&env).expect("this process runs a file");
        let file = offer.open(env.files()).expect("on this machine");
        let again = ProgramFile::of_this_process(env.files()).expect("this process runs a file");
        assert_eq!(file.content().expect("read"), again.content().expect("read"));
        assert!(Offer { inode: offer.inode + 1, ..offer.clone() }.open(env.files()).is_none(), "another file");
        assert!(Offer { boot: "another machine".to_owned(), ..offer }.open(env.files()).is_none());
    }
}
