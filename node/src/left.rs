//! The processes that nodes have left, and how they are ended.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use actinic::node::{WORKER_NODE, local};

/// How long killed processes may take to be gone.
pub(crate) const KILLED: Duration = Duration::from_secs(2);
pub(crate) const STEP: Duration = Duration::from_millis(2);

/// Whether a process has not ended. One that waits to be reaped has, if all its threads have: they share its files.
pub(crate) fn runs(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut stats = threads.map(|thread| std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default());
    stats.any(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X'])))
}

pub(crate) fn signal(pid: u32, signal: i32) {
    // SAFETY: a signal has no precondition that memory depends on; the caller has just seen whose pid it is.
    unsafe {
        libc::kill(pid as libc::pid_t, signal);
    }
}

/// Whether a process has a file open: a node has its lock. What a directory calls its node may be another process by now,
/// or of another pid namespace.
pub(crate) fn has_open(pid: u32, file: &Path) -> bool {
    let Ok(file) = std::fs::metadata(file) else { return false };
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut open = open.filter_map(|open| std::fs::metadata(open.path()).ok());
    open.any(|open| (open.dev(), open.ino()) == (file.dev(), file.ino()))
}

/// The pid in the name of a node's directory.
pub(crate) fn pid_of(dir: &Path) -> Option<u32> {
    dir.file_name()?.to_str()?.strip_prefix("node-")?.split('-').next()?.parse().ok()
}

/// A process, and those that have started it.
fn with_ancestors(pid: u32) -> Vec<u32> {
    let parent = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before it may have spaces and brackets in it.
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        (parent > 1).then_some(parent)
    };
    std::iter::successors(Some(pid), parent).collect()
}

/// Processes of this user that name one of the nodes in their environment, and are neither a node nor this command or
/// what has started it: what a task has started may be any of these.
fn of_nodes(base: &Path, nodes: &[String]) -> Vec<u32> {
    let marks: Vec<Vec<u8>> = nodes.iter().map(|node| format!("{WORKER_NODE}={node}").into_bytes()).collect();
    // By the names of their directories: one that has just begun has written nothing yet.
    let living = local::nodes(base).into_iter().filter(|found| found.alive);
    let mut spared: BTreeSet<u32> = living.filter_map(|found| pid_of(&found.dir)).collect();
    spared.extend(with_ancestors(std::process::id()));
    let is_other = |pid: &u32| !spared.contains(pid);
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(is_other)
        .filter(|pid| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|line| marks.iter().any(|mark| mark == line))
        })
        .collect()
}

/// Waits until the processes of nodes that have ended are gone, and kills those that stay; how many that were. Workers end
/// with their node by themselves; what a task has started may not.
pub(crate) fn end_processes(base: &Path, ended: &[local::Found], force: bool) -> usize {
    let nodes: Vec<String> = ended.iter().filter_map(|found| Some(found.entry.as_ref()?.node.clone())).collect();
    if nodes.is_empty() {
        return 0;
    }
    let start = Instant::now();
    let patience = if force { Duration::from_millis(100) } else { Duration::from_millis(500) };
    let (mut seen, mut killed) = (BTreeSet::new(), BTreeSet::<u32>::new());
    loop {
        let left = of_nodes(base, &nodes);
        if start.elapsed() > patience {
            left.iter().for_each(|pid| signal(*pid, libc::SIGKILL));
            killed.extend(&left);
        }
        // Whoever is about to end has no environment any more.
        seen.extend(left);
        seen.retain(|pid| runs(*pid));
        if seen.is_empty() || start.elapsed() > KILLED {
            return killed.len();
        }
        std::thread::sleep(STEP);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{has_open, pid_of, with_ancestors};

    #[test]
    fn who_has_a_file_open_is_known_by_the_file() {
        let path = std::env::temp_dir().join(format!("actinic-open-{}", std::process::id()));
        let file = std::fs::File::create(&path).expect("a file");
        assert!(has_open(std::process::id(), &path));
        assert!(!has_open(std::os::unix::process::parent_id(), &path));
        drop(file);
        assert!(!has_open(std::process::id(), &path));
        std::fs::remove_file(&path).expect("it is there");
        assert!(!has_open(std::process::id(), &path));
    }

    #[test]
    fn a_process_and_those_above_it_are_found() {
        let (this, parent) = (std::process::id(), std::os::unix::process::parent_id());
        let found = with_ancestors(this);
        assert_eq!(found[0], this);
        assert!(parent <= 1 || found[1] == parent, "{found:?}");
    }

    #[test]
    fn the_name_of_a_directory_has_its_pid() {
        assert_eq!(pid_of(Path::new("/tmp/actinic-0/node-4711-0a1b2c3d")), Some(4711));
        assert_eq!(pid_of(Path::new("/tmp/actinic-0/lock")), None);
    }
}
