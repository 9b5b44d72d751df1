//! A job's binary, as a file that is held open: rebuilding the program meanwhile does not matter.
//!
//! On the driver's machine its raylet opens what the driver runs, by pid, and checks that it is the file the driver
//! means. A node that has no such file asks those who have it (the raylet that the driver is attached to, or the driver)
//! for its content hash, and fetches it unless it lies in its cache ([`fetch`], [`cache`]). The network's thread never waits
//! for the disk that a program is written to ([`intake`]). Nothing that came by the wire is used as a path.

mod cache;
mod fetch;
mod intake;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use actinic_transport::BulkAnswer;
use bytes::Bytes;
pub(crate) use cache::Programs;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::env::Env;
use crate::env::files::Files;

const CHUNK: usize = 1 << 20;

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

impl Offer {
    pub(crate) fn of_this_process(env: &Env) -> Option<Offer> {
        let found = env.files().metadata(Path::new(OWN)).ok()?;
        let (device, inode, size) = (found.dev(), found.ino(), found.size());
        Some(Offer { boot: env.files().boot_id(), pid: env.pid(), device, inode, size })
    }

    /// The file, if the driver runs on this machine.
    pub(crate) fn open(&self, files: Files) -> Option<Arc<ProgramFile>> {
        if self.boot.is_empty() || self.boot != files.boot_id() {
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

    /// It lies in the cache, as what has this content.
    fn keeps(mut self, content: Hash) -> ProgramFile {
        self.cached = Some(content);
        self.content = OnceLock::from(content);
        self
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
    /// How often its tasks are tried again that do not say it.
    pub(crate) task_max_retries: i64,
    /// What its workers must report; empty if nothing is known of it.
    pub(crate) identity: String,
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
