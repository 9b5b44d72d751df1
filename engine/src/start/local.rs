//! The nodes of this machine: one directory for all of them, so that programs and commands find them by themselves.
//!
//! ```text
//! <base>/                     mode 0700, owned by this user; $ACTINIC_STATE_DIR, or else /tmp/actinic-<uid>: a daemon
//!                             outlives the session that started it, and another session of the user finds it,
//!                             whatever its variables; in /run/user, $XDG_RUNTIME_DIR, neither would hold
//!   lock                      held while directories are made and cleaned
//!   last.log                  of the node that ended last without being asked to, until the next `actinic stop`
//!   authority.pem             only if `actinic token create` made one before there was a cluster
//!   node-<pid>-<random>/      mode 0700; locked itself, so that what clears old files from /tmp leaves it alone
//!     lock                    held by the daemon as long as it lives: a free one says that it is dead
//!     node.json               an `Entry`, mode 0600: it holds a token
//!     log                     what the daemon and its workers print
//!     programs/               binaries of jobs, by content hash
//! ```

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::api::error::{Error, Result};
use crate::env::Env;
use crate::env::files::{Files, Lock};

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
    lock: Lock,
    /// Of the directory itself.
    _kept: Option<Lock>,
}

/// Those that the caller has: of this machine, or none in a simulation.
fn files() -> Files {
    Env::current().files()
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
    let set = Env::current().var_os("ACTINIC_STATE_DIR").filter(|dir| !dir.is_empty());
    set.map(PathBuf::from).unwrap_or_else(|| PathBuf::from(format!("/tmp/actinic-{}", user())))
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
    files().make_private_dir(base).map_err(|error| failed("cannot make", base, &error))?;
    check(base)
}

fn check(base: &Path) -> Result<()> {
    let found = files().symlink_metadata(base).map_err(|error| failed("cannot look at", base, &error))?;
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

/// Refuses a directory that is there and that others could write to: what it says of nodes, or that there are none, would
/// mean nothing.
///
/// # Errors
///
/// `Connection` if it is another user's, or open to others, or cannot be looked at.
pub fn verify(base: &Path) -> Result<()> {
    match files().symlink_metadata(base) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        _ => check(base),
    }
}

/// Every node's directory under `base`, alive or not, the newest first. One that is not a private directory of this user
/// has none.
pub fn nodes(base: &Path) -> Vec<Found> {
    if check(base).is_err() {
        return Vec::new();
    }
    let is_node = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("node-"));
    let dirs = files().list(base).unwrap_or_default();
    let mut found: Vec<Found> = dirs.iter().filter(|path| is_node(path)).map(|path| look(path)).collect();
    // What a node says of itself is written once, when it runs.
    let since = |found: &Found| {
        let said = files().symlink_metadata(&found.dir.join("node.json")).ok();
        std::cmp::Reverse(said.map(|said| (said.mtime(), said.mtime_nsec())))
    };
    found.sort_by_cached_key(since);
    found
}

/// Whether a process is the node that a directory is of.
pub fn is_alive(dir: &Path) -> bool {
    files().is_locked(&dir.join("lock"))
}

fn look(dir: &Path) -> Found {
    let alive = is_alive(dir);
    let text = files().read(&dir.join("node.json")).ok();
    let entry = text.and_then(|text| serde_json::from_slice(&text).ok());
    Found { dir: dir.to_path_buf(), alive, entry }
}

/// Removes those of these directories whose daemons are dead. Only a directory tells which processes were of its node: end
/// them before.
pub fn clean(base: &Path, ended: &[Found]) -> Vec<PathBuf> {
    let Ok(_lock) = files().lock(&base.join("lock")) else { return Vec::new() };
    let dirs = ended.iter().map(|found| &found.dir);
    dirs.filter(|dir| !is_alive(dir) && files().remove_dir_all(dir).is_ok()).cloned().collect()
}

/// Where the log of a node is kept that ended without being asked to.
pub fn last_log(base: &Path) -> PathBuf {
    base.join("last.log")
}

/// Keeps the log of a node that ends, or has ended, without being asked to: its directory goes, and who looks for the
/// reason comes later.
pub fn keep_log(base: &Path, dir: &Path) -> Option<PathBuf> {
    let kept = last_log(base);
    files().rename(&dir.join("log"), &kept).ok().map(|()| kept)
}

/// Removes a log that was kept.
pub fn forget_log(base: &Path) {
    // Mostly there is none.
    let _ = files().remove_file(&last_log(base));
}

/// Removes the base itself if nothing is in it but its lock.
pub fn tidy(base: &Path) {
    let lock = base.join("lock");
    if files().list(base).is_ok_and(|paths| paths.iter().all(|path| *path == lock)) {
        // Somebody who starts a node at this moment makes it anew.
        let _ = files().remove_file(&lock);
        let _ = files().remove_dir(base);
    }
}

/// How often a directory is made that others remove.
const CLAIMS_MAX: u32 = 10;

/// Makes a directory for the node that this process becomes.
///
/// # Errors
///
/// `Connection` if the directory cannot be made.
pub fn claim(base: &Path) -> Result<Claim> {
    let mut tries = 0;
    loop {
        tries += 1;
        match claim_once(base) {
            // Another command may just have removed what was empty.
            Err(_) if tries < CLAIMS_MAX && files().symlink_metadata(base).is_err() => {}
            claimed => return claimed,
        }
    }
}

fn claim_once(base: &Path) -> Result<Claim> {
    prepare(base)?;
    let _guard = files().lock(&base.join("lock")).map_err(|error| failed("cannot lock", base, &error))?;
    let env = Env::current();
    let random = env.uuid().simple().to_string();
    let dir = base.join(format!("node-{}-{}", env.pid(), &random[..8]));
    files().make_new_private_dir(&dir).map_err(|error| failed("cannot make", &dir, &error))?;
    let lock = files().lock(&dir.join("lock")).map_err(|error| failed("cannot lock", &dir, &error))?;
    // Without it a node works as well; files that are not read for days may go.
    let kept = files().lock_dir(&dir).ok();
    Ok(Claim { dir, lock, _kept: kept })
}

impl Claim {
    /// Tells the other processes of this machine.
    ///
    /// # Errors
    ///
    /// `Connection` if it cannot be written.
    pub fn publish(&self, entry: &Entry) -> Result<()> {
        let path = self.dir.join("node.json");
        let text = serde_json::to_string_pretty(entry).map_err(std::io::Error::from);
        let written = text.and_then(|text| files().write_private(&path, text.as_bytes()));
        written.map_err(|error| failed("cannot write", &path, &error))
    }

    /// Removes the directory: the node ended in good order.
    pub fn remove(self) {
        // What cannot be removed now is a leftover, which the next command cleans.
        let _ = files().remove_dir_all(&self.dir);
        drop(self.lock);
    }
}

fn living(base: &Path) -> impl Iterator<Item = Entry> {
    nodes(base).into_iter().filter(|found| found.alive).filter_map(|found| found.entry)
}

/// The node that programs on this machine connect to: a head if there is one; of several, that which was started last.
pub fn auto(base: &Path) -> Option<Entry> {
    let mut entries: Vec<Entry> = living(base).collect();
    entries.sort_by_key(|entry| !entry.head);
    entries.into_iter().next()
}

/// The node of this machine that listens at an address, which may have a host's name in it: that is looked up, for a
/// second at most, if there is a node here at all. No token for it need be said.
pub fn at(base: &Path, address: &str) -> Option<Entry> {
    let here: Vec<Entry> = living(base).collect();
    if here.is_empty() {
        return None;
    }
    let meant = crate::start::join::look_up(&Env::current(), address);
    here.into_iter().find(|entry| meant.contains(&entry.address))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test looks at what was left on the disk
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

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
        assert!(clean(&base, &nodes(&base)).is_empty(), "it lives");
        assert_eq!(auto(&base).map(|entry| entry.token), Some("secret".to_owned()));
        for (address, is_there) in [("127.0.0.1:1", true), ("localhost:1", true), ("127.0.0.1:2", false), ("no", false)]
        {
            assert_eq!(at(&base, address).is_some(), is_there, "{address}");
        }
        let dir = claim.dir.clone();
        drop(claim);
        assert!(auto(&base).is_none() && at(&base, "127.0.0.1:1").is_none(), "it is dead");
        assert!(clean(&base, &[]).is_empty(), "nobody has ended what it left");
        assert_eq!(clean(&base, &nodes(&base)), [dir]);
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

    #[test]
    fn a_directory_that_cannot_be_looked_at_is_not_taken_for_none() {
        let file = std::env::temp_dir().join(format!("actinic-file-{}", std::process::id()));
        assert!(verify(&file).is_ok(), "there is none");
        std::fs::write(&file, "").expect("written");
        let error = verify(&file.join("below")).expect_err("nothing is below a file").to_string();
        assert!(error.contains("cannot look at") && error.contains("--state-dir"), "{error}");
        std::fs::remove_file(&file).expect("removed");
    }

    /// Anybody may make the default directory of a user before that user does.
    #[test]
    fn a_directory_that_somebody_else_made_is_refused() {
        let base = std::env::temp_dir().join(format!("actinic-squat-{}", std::process::id()));
        let elsewhere = base.with_extension("elsewhere");
        let refused = |why: &str| {
            let error = prepare(&base).expect_err("it is somebody else's").to_string();
            assert!(error.contains(why) && error.contains("--state-dir"), "{error}");
            assert!(claim(&base).is_err() && nodes(&base).is_empty() && auto(&base).is_none());
        };
        prepare(&elsewhere).expect("made");
        let _node = claim(&elsewhere).expect("a directory");
        std::os::unix::fs::symlink(&elsewhere, &base).expect("made");
        refused("it is no directory");
        std::fs::remove_file(&base).expect("removed");
        prepare(&base).expect("made");
        let _node = claim(&base).expect("a directory");
        // Only root can give it away; others' directories are refused by the same line.
        if std::os::unix::fs::chown(&base, Some(user() + 1), None).is_ok() {
            refused("it belongs to another user");
        }
        [base, elsewhere].iter().for_each(|dir| std::fs::remove_dir_all(dir).expect("removed"));
    }
}
