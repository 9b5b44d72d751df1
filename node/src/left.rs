//! The processes that nodes have left, and how they are ended.

use std::collections::BTreeSet;
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

/// Processes of this user that name one of the nodes in their environment, and are neither this command nor a node: what
/// a task has started may be either.
fn of_nodes(base: &Path, nodes: &[String]) -> Vec<u32> {
    let marks: Vec<Vec<u8>> = nodes.iter().map(|node| format!("{WORKER_NODE}={node}").into_bytes()).collect();
    let daemons: Vec<u32> =
        local::nodes(base).into_iter().filter_map(|found| Some(found.entry.filter(|_| found.alive)?.pid)).collect();
    let is_other = |pid: &u32| *pid != std::process::id() && !daemons.contains(pid);
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
