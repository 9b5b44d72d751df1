//! The processes of this machine, for tests that look for what is left of a cluster.

/// Those that have a line, `NAME=value`, in their environment.
pub fn marked(line: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").expect("there is /proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has = |pid: &u32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|one| one == line.as_bytes())
    };
    pids.filter(has).collect()
}
