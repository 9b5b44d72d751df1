//! The nodes of this machine: one directory for all of them, so that programs and commands find them by themselves.
//!
//! ```text
//! <base>/                     mode 0700, owned by this user; $ACTINIC_STATE_DIR, $XDG_RUNTIME_DIR/actinic or
//!                             /tmp/actinic-<uid>
//!   lock                      held while directories are made and cleaned
//!   authority.pem             only if `actinic token create` made one before there was a cluster
//!   node-<pid>-<random>/      mode 0700
//!     lock                    held by the daemon as long as it lives: a free one says that it is dead
//!     node.json               an `Entry`, mode 0600: it holds a token
//!     log                     what the daemon and its workers print
//!     programs/               binaries of jobs, by content hash
//! ```

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::api::error::{Error, Result};

/// What a running node says of itself to the other processes of its user on its machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The daemon's pid.
    pub pid: u32,
    /// Whether the GCS lives there.
    pub head: bool,
    /// Where the node listens.
    pub address: std::net::SocketAddr,
    /// Where its cluster's head listens.
    pub head_address: std::net::SocketAddr,
    /// The cluster.
    pub cluster: String,
    /// The node.
    pub node: String,
    /// A token that the node made for this machine's programs and commands.
    pub token: String,
}

/// A node's directory, and what is known of it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The directory.
    pub dir: PathBuf,
    /// Whether its daemon lives.
    pub alive: bool,
    /// What it says; `None` while it starts.
    pub entry: Option<Entry>,
}

/// A directory of a node that is about to live here; its lock is held until this is dropped.
#[derive(Debug)]
pub struct Claim {
    /// The directory.
    pub dir: PathBuf,
    lock: File,
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::connection(format!("{what} {}: {error}", path.display()))
        .remedy("name another directory: `--state-dir`, or ACTINIC_STATE_DIR in the environment")
}

/// Where the nodes of this user on this machine keep their state.
pub fn base(named: Option<&Path>) -> PathBuf {
    if let Some(dir) = named {
        return std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    }
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = set("ACTINIC_STATE_DIR") {
        return dir;
    }
    if let Some(dir) = set("XDG_RUNTIME_DIR").filter(|dir| dir.is_absolute() && dir.is_dir()) {
        return dir.join("actinic");
    }
    PathBuf::from(format!("/tmp/actinic-{}", user()))
}

fn user() -> u32 {
    // SAFETY: it has no preconditions and cannot fail.
    unsafe { libc::geteuid() }
}

/// Makes the directory if need be, and refuses one that others could write to.
///
/// # Errors
///
/// `Connection` if it cannot be made, or is another user's, or open to others.
pub fn prepare(base: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(base);
    made.map_err(|error| failed("cannot make", base, &error))?;
    check(base)
}

fn check(base: &Path) -> Result<()> {
    let found = std::fs::symlink_metadata(base).map_err(|error| failed("cannot look at", base, &error))?;
    if found.is_dir() && found.uid() == user() && found.mode() & 0o077 == 0 {
        return Ok(());
    }
    let what = match () {
        () if !found.is_dir() => "it is no directory",
        () if found.uid() != user() => "it belongs to another user",
        () => "others may enter it",
    };
    Err(Error::connection(format!("the state directory {} is not used: {what}", base.display()))
        .remedy("its mode must be 0700 and its owner you; or name another with `--state-dir`"))
}

fn open_lock(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Takes a lock; `false` if another process holds it and `wait` is not set.
fn take(file: &File, wait: bool) -> bool {
    let how = libc::LOCK_EX | if wait { 0 } else { libc::LOCK_NB };
    // SAFETY: the descriptor is open as long as `file` is borrowed.
    unsafe { libc::flock(file.as_raw_fd(), how) == 0 }
}

/// Every node's directory under `base`, alive or not. One that is not a private directory of this user has none.
pub fn nodes(base: &Path) -> Vec<Found> {
    if check(base).is_err() {
        return Vec::new();
    }
    let Ok(dirs) = std::fs::read_dir(base) else { return Vec::new() };
    let mut found: Vec<Found> = dirs
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("node-"))
        .map(|entry| look(&entry.path()))
        .collect();
    found.sort_by(|a, b| a.dir.cmp(&b.dir));
    found
}

fn look(dir: &Path) -> Found {
    let alive = File::open(dir.join("lock")).is_ok_and(|lock| !take(&lock, false));
    let text = std::fs::read(dir.join("node.json")).ok();
    let entry = text.and_then(|text| serde_json::from_slice(&text).ok());
    Found { dir: dir.to_path_buf(), alive, entry }
}

/// Removes what dead daemons have left; the directories.
pub fn clean(base: &Path) -> Vec<PathBuf> {
    let Ok(lock) = open_lock(&base.join("lock")) else { return Vec::new() };
    take(&lock, true);
    let mut removed = Vec::new();
    for found in nodes(base) {
        if !found.alive && std::fs::remove_dir_all(&found.dir).is_ok() {
            removed.push(found.dir);
        }
    }
    removed
}

/// Removes the base itself if nothing is in it but its lock.
pub fn tidy(base: &Path) {
    let only_lock = std::fs::read_dir(base)
        .is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lock")));
    if only_lock {
        // Somebody who starts a node at this moment makes it anew.
        let _ = std::fs::remove_file(base.join("lock"));
        let _ = std::fs::remove_dir(base);
    }
}

/// Makes a directory for the node that this process becomes.
///
/// # Errors
///
/// `Connection` if the directory cannot be made.
pub fn claim(base: &Path) -> Result<Claim> {
    prepare(base)?;
    let guard = open_lock(&base.join("lock")).map_err(|error| failed("cannot lock", base, &error))?;
    take(&guard, true);
    let random = uuid_text();
    let dir = base.join(format!("node-{}-{}", std::process::id(), &random[..8]));
    let made = DirBuilder::new().mode(0o700).create(&dir);
    made.map_err(|error| failed("cannot make", &dir, &error))?;
    let lock = open_lock(&dir.join("lock")).map_err(|error| failed("cannot lock", &dir, &error))?;
    take(&lock, true);
    Ok(Claim { dir, lock })
}

fn uuid_text() -> String {
    crate::env::Env::real().uuid().simple().to_string()
}

impl Claim {
    /// Tells the other processes of this machine.
    ///
    /// # Errors
    ///
    /// `Connection` if it cannot be written.
    pub fn publish(&self, entry: &Entry) -> Result<()> {
        let (path, fresh) = (self.dir.join("node.json"), self.dir.join("node.json.new"));
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(serde_json::to_string_pretty(entry)?.as_bytes())?;
            std::fs::rename(&fresh, &path)
        };
        write().map_err(|error| failed("cannot write", &path, &error))
    }

    /// Removes the directory: the node ended in good order.
    pub fn remove(self) {
        // What cannot be removed now is a leftover, which the next command cleans.
        let _ = std::fs::remove_dir_all(&self.dir);
        drop(self.lock);
    }
}

/// The node that programs on this machine connect to: a head if there is one.
pub(crate) fn auto(base: &Path) -> Option<Entry> {
    let mut entries: Vec<Entry> =
        nodes(base).into_iter().filter(|found| found.alive).filter_map(|found| found.entry).collect();
    entries.sort_by_key(|entry| !entry.head);
    entries.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_nodes_directory_is_found_and_cleaned_and_a_live_ones_is_kept() {
        let base = std::env::temp_dir().join(format!("actinic-local-{}", std::process::id()));
        let claim = claim(&base).expect("a directory");
        let entry = Entry {
            pid: std::process::id(),
            head: true,
            address: ([127, 0, 0, 1], 1).into(),
            head_address: ([127, 0, 0, 1], 1).into(),
            cluster: String::new(),
            node: String::new(),
            token: "secret".to_owned(),
        };
        claim.publish(&entry).expect("written");
        let mode = |path: &Path| std::fs::metadata(path).map(|found| found.mode() & 0o777).unwrap_or_default();
        assert_eq!((mode(&base), mode(&claim.dir), mode(&claim.dir.join("node.json"))), (0o700, 0o700, 0o600));
        assert!(clean(&base).is_empty(), "it lives");
        assert_eq!(auto(&base).map(|entry| entry.token), Some("secret".to_owned()));
        let dir = claim.dir.clone();
        drop(claim);
        assert!(auto(&base).is_none(), "it is dead");
        assert_eq!(clean(&base), [dir]);
        tidy(&base);
        assert!(!base.exists());
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let base = std::env::temp_dir().join(format!("actinic-open-{}", std::process::id()));
        std::fs::create_dir_all(&base).expect("made");
        std::fs::set_permissions(&base, Permissions::from_mode(0o755)).expect("set");
        let error = prepare(&base).expect_err("others may enter it").to_string();
        assert!(error.contains("others may enter") && error.contains("0700"), "{error}");
        std::fs::remove_dir(&base).expect("removed");
    }
}
