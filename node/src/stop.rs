//! `actinic stop`: ends the nodes of this machine, whatever runs on them, and what dead ones have left.

use std::path::Path;
use std::time::{Duration, Instant};

use actinic::node::{WORKER_NODE, local};

use crate::Result;

/// How long a node may take to end in good order before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long killed processes may take to be gone.
const KILLED: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(2);

pub(crate) fn run(base: &Path, force: bool) -> Result<()> {
    let nodes = local::nodes(base);
    let alive: Vec<&local::Found> = nodes.iter().filter(|found| found.alive).collect();
    let (mut stopped, mut killed) = (0, 0);
    for found in &alive {
        if let Some(entry) = &found.entry {
            signal(entry.pid, if force { libc::SIGKILL } else { libc::SIGTERM });
        }
    }
    for found in &alive {
        let Some(entry) = &found.entry else { continue };
        if gone(base, found, if force { KILLED } else { PATIENCE }) {
            stopped += 1;
            continue;
        }
        signal(entry.pid, libc::SIGKILL);
        killed += 1;
        if !gone(base, found, KILLED) {
            return Err(format!("node {} (pid {}) cannot be ended", entry.node, entry.pid));
        }
    }
    // Workers end with their node by themselves; what a task has started may not.
    let names: Vec<String> = nodes.iter().filter_map(|found| Some(found.entry.as_ref()?.node.clone())).collect();
    let left = end_workers(&names, force);
    let cleaned = nodes.len() - alive.len();
    local::clean(base);
    local::tidy(base);
    if alive.is_empty() && cleaned == 0 {
        println!("No node runs on this machine ({}).", base.display());
        return Ok(());
    }
    let mut line = format!("Stopped {} node{}.", stopped + killed, if stopped + killed == 1 { "" } else { "s" });
    if killed > 0 {
        line.push_str(&format!(" {killed} did not end in {PATIENCE:?} and was killed."));
    }
    if left > 0 {
        line.push_str(&format!(" {left} process(es) that they had left were killed."));
    }
    if cleaned > 0 {
        line.push_str(&format!(" {cleaned} leftover(s) of dead nodes were removed."));
    }
    println!("{line}");
    Ok(())
}

/// Waits until a node's lock is free, or its directory gone, and then its process too.
fn gone(base: &Path, found: &local::Found, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    loop {
        if !local::nodes(base).iter().any(|other| other.dir == found.dir && other.alive)
            && found.entry.as_ref().is_none_or(|entry| !runs(entry.pid))
        {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(STEP);
    }
}

/// Whether a process has not ended; one that waits to be reaped has.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn signal(pid: u32, signal: i32) {
    // SAFETY: the daemon holds its lock, so the pid is its own; a signal has no other precondition.
    unsafe {
        libc::kill(pid as libc::pid_t, signal);
    }
}

/// Processes of this user that name one of the nodes in their environment.
fn of_nodes(nodes: &[String]) -> Vec<u32> {
    let marks: Vec<Vec<u8>> = nodes.iter().map(|node| format!("{WORKER_NODE}={node}").into_bytes()).collect();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|line| marks.iter().any(|mark| mark == line))
    })
    .collect()
}

/// Waits until the nodes' workers are gone, and kills those that stay; how many that were.
fn end_workers(nodes: &[String], force: bool) -> usize {
    if nodes.is_empty() {
        return 0;
    }
    let start = Instant::now();
    let patience = if force { Duration::from_millis(100) } else { Duration::from_millis(500) };
    let mut killed = std::collections::BTreeSet::new();
    loop {
        let left = of_nodes(nodes);
        if left.is_empty() || start.elapsed() > KILLED {
            return killed.len();
        }
        if start.elapsed() > patience {
            for pid in left {
                signal(pid, libc::SIGKILL);
                killed.insert(pid);
            }
        }
        std::thread::sleep(STEP);
    }
}
