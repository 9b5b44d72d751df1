//! `actinic stop`: ends the nodes of this machine, whatever runs on them, and what dead ones have left.

use std::path::Path;
use std::time::{Duration, Instant};

use actinic::node::local;

use crate::Result;
use crate::left::{KILLED, STEP, end_processes, runs, signal};

/// How long a node may take to end in good order before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

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
    let left = end_processes(base, &nodes, force);
    let cleaned = nodes.len() - alive.len();
    local::clean(base, &nodes);
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
