//! `actinic stop`: ends the nodes of this machine, whatever runs on them, and what dead ones have left.

use std::path::Path;
use std::time::{Duration, Instant};

use actinic::node::local;

use crate::left::{KILLED, STEP, end_processes, has_open, pid_of, runs, signal};
use crate::{Result, told};

/// How long a node may take to end in good order before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(base: &Path, force: bool) -> Result<String> {
    local::verify(base).map_err(told)?;
    let nodes = local::nodes(base);
    let alive: Vec<&local::Found> = nodes.iter().filter(|found| found.alive).collect();
    let (mut stopped, mut killed) = (0, 0);
    // Those that somebody else must stop, and those that are stopped here.
    let (foreign, here): (Vec<&local::Found>, Vec<&local::Found>) = alive.iter().partition(|found| is_foreign(found));
    for found in &here {
        if let Some(pid) = pid(found).filter(|pid| has_lock(found, *pid)) {
            signal(pid, if force { libc::SIGKILL } else { libc::SIGTERM });
        }
    }
    for found in &here {
        let Some(pid) = pid(found) else { continue };
        if gone(base, found, if force { KILLED } else { PATIENCE }) {
            stopped += 1;
            continue;
        }
        if has_lock(found, pid) {
            signal(pid, libc::SIGKILL);
        }
        killed += 1;
        if !gone(base, found, KILLED) {
            return Err(format!("the node in {} (pid {pid}) cannot be ended", found.dir.display()));
        }
    }
    let left = end_processes(base, &nodes, force);
    let cleaned = nodes.len() - alive.len();
    local::clean(base, &nodes);
    local::forget_log(base);
    local::tidy(base);
    if let Some(found) = foreign.first() {
        return Err(format!(
            "stopped {} node(s); what runs in {} is no process of this container, as its pid says: stop it where it runs",
            stopped + killed,
            found.dir.display()
        ));
    }
    if alive.is_empty() && cleaned == 0 {
        return Ok(format!("No node runs on this machine ({}).", base.display()));
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
    Ok(line)
}

/// A node's process: as it says itself, or, while it starts, as its directory is called.
fn pid(found: &local::Found) -> Option<u32> {
    found.entry.as_ref().map(|entry| entry.pid).or_else(|| pid_of(&found.dir))
}

/// Whether a node lives whose process is not this one's to signal: pids are of a container.
fn is_foreign(found: &local::Found) -> bool {
    pid(found).is_some_and(|pid| !has_lock(found, pid)) && local::is_alive(&found.dir)
}

/// Whether a process is the node that a directory is of, and no other that has its pid by now.
fn has_lock(found: &local::Found, pid: u32) -> bool {
    has_open(pid, &found.dir.join("lock"))
}

/// Waits until a node's lock is free, or its directory gone, and then its process too.
fn gone(base: &Path, found: &local::Found, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    loop {
        if !local::nodes(base).iter().any(|other| other.dir == found.dir && other.alive)
            && pid(found).is_none_or(|pid| !runs(pid))
        {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(STEP);
    }
}
