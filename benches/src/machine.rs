//! What `/proc` tells: processes, memory, processor time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

fn numbers(dir: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The processes below this one.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in numbers("/proc") {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut todo, mut found) = (vec![root], Vec::new());
    while let Some(pid) = todo.pop() {
        if let Some(below) = children.get(&pid) {
            found.extend(below);
            todo.extend(below);
        }
    }
    found
}

/// The command line of a process, shortened.
pub(crate) fn title(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ").chars().take(120).collect()
}

/// Resident memory of this process that is its own or shared, in bytes.
pub(crate) fn resident() -> f64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(f64::NAN) * 4096.0
}

/// The proportional set size of a process, in MiB.
pub(crate) fn pss(pid: u32) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// Processor time of all threads of some processes, in seconds; exact to the nanosecond, unlike `stat`'s ticks.
pub(crate) fn processor_seconds(pids: &[u32]) -> f64 {
    let mut nanos = 0u64;
    for pid in pids {
        for thread in numbers(&format!("/proc/{pid}/task")) {
            let stat = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).unwrap_or_default();
            nanos += stat.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    nanos as f64 / 1e9
}

/// Processor time of the threads of some processes, in seconds, by process and the threads' name.
pub(crate) fn processor_by_thread(pids: &[u32]) -> BTreeMap<(u32, String), f64> {
    let mut times = BTreeMap::new();
    for pid in pids {
        for thread in numbers(&format!("/proc/{pid}/task")) {
            let read = |what: &str| fs::read_to_string(format!("/proc/{pid}/task/{thread}/{what}")).unwrap_or_default();
            let nanos = read("schedstat").split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok());
            *times.entry((*pid, read("comm").trim().to_owned())).or_default() += nanos.unwrap_or(0) as f64 / 1e9;
        }
    }
    times
}

/// Voluntary and involuntary context switches of all threads of some processes.
pub(crate) fn switches(pids: &[u32]) -> (u64, u64) {
    let mut sums = (0, 0);
    for pid in pids {
        for thread in numbers(&format!("/proc/{pid}/task")) {
            let status = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).unwrap_or_default();
            let read = |key: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(key));
                line.and_then(|rest| rest.trim().parse::<u64>().ok()).unwrap_or(0)
            };
            sums.0 += read("voluntary_ctxt_switches:");
            sums.1 += read("nonvoluntary_ctxt_switches:");
        }
    }
    sums
}

/// Makes this process the parent of whatever its children leave behind, so that nothing hides.
pub(crate) fn adopt_orphans() {
    // SAFETY: sets a flag of this process, and takes no pointer.
    let done = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    if done != 0 {
        eprintln!("prctl(PR_SET_CHILD_SUBREAPER): {}", std::io::Error::last_os_error());
    }
}

/// What a process may leave behind: files where we could put any, shared memory, open descriptors.
pub(crate) fn leftovers() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let home = std::env::var("HOME").unwrap_or_default();
    let run = std::env::var("XDG_RUNTIME_DIR").unwrap_or_else(|_| "/run".to_string());
    let temp = std::env::temp_dir().to_string_lossy().into_owned();
    let mine = |name: &str| name.to_lowercase().contains("actinic");
    for dir in [&temp, &run, &home, &format!("{home}/.cache"), &format!("{home}/.local/state"), "/tmp", "/var/tmp"] {
        let names = fs::read_dir(dir).into_iter().flatten().flatten();
        let names = names.filter(|entry| mine(&entry.file_name().to_string_lossy()));
        found.extend(names.map(|entry| entry.path().display().to_string()));
    }
    for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        found.insert(entry.path().display().to_string());
    }
    let segments = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    found.extend(segments.lines().skip(1).map(|line| format!("sysv segment {line}")));
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.display().to_string();
        if !target.starts_with("/proc/") {
            found.insert(format!("descriptor {} -> {target}", entry.file_name().to_string_lossy()));
        }
    }
    found
}
