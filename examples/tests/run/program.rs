//! A run of a program: its end, its output, and the processes that it leaves.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use actinic_tests::processes;

const DEADLINE: Duration = Duration::from_secs(90);
/// What may take a few seconds after the end of a program.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// In the environment of every process of a run: how those that are left are found.
pub(crate) const MARK: &str = "ACTINIC_EXAMPLE_RUN";

/// The folder of the profile that this test was built with: the test is in `deps` there, the examples in `examples`.
pub(crate) fn profile() -> PathBuf {
    let this = std::env::current_exe().expect("this program has a path");
    this.ancestors().nth(2).expect("it is in a folder of the profile's").to_path_buf()
}

pub(crate) fn example(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(profile().join("examples").join(name));
    command.args(args);
    for name in ["ACTINIC_ADDRESS", "ACTINIC_TOKEN", "ACTINIC_STATE_DIR", "ACTINIC_WORKERS"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end, under a deadline; what it wrote to its output and to its error stream.
///
/// Processes that have the mark must be gone soon after.
pub(crate) fn run(command: &mut Command, mark: &str) -> Result<(String, String), String> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    command.env(MARK, mark).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
    // Read while it runs, so that a full pipe does not hold it up.
    let output = read(child.stdout.take().expect("it is piped"));
    let errors = read(child.stderr.take().expect("it is piped"));
    let status = wait(&mut child, mark);
    let left = left_over(mark, 0);
    kill(&left); // else a process that keeps the pipes open would hold up the threads that read them
    let text = |thread: std::thread::JoinHandle<String>| thread.join().expect("reading does not panic");
    let (output, errors) = (text(output), text(errors));
    let said = format!("{name}\n--- output\n{output}--- errors\n{errors}");
    match status {
        None => Err(format!("not done after {DEADLINE:?}: {said}")),
        Some(status) if !status.success() => Err(format!("{status}: {said}")),
        Some(_) if !left.is_empty() => Err(format!("processes {left:?} are left: {said}")),
        Some(_) => Ok((output, errors)),
    }
}

fn read(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child, mark: &str) -> Option<ExitStatus> {
    let until = Instant::now() + DEADLINE;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().expect("it is our child") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(&processes::marked(&line(mark)));
    let _ = child.wait();
    None
}

/// The processes with a mark once no more than so many are left, or as many as there are after a while.
pub(crate) fn left_over(mark: &str, expected: usize) -> Vec<u32> {
    let until = Instant::now() + SOON;
    loop {
        let left = processes::marked(&line(mark));
        if left.len() <= expected || Instant::now() > until {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn line(mark: &str) -> String {
    format!("{MARK}={mark}")
}

pub(crate) fn kill(ids: &[u32]) {
    for id in ids {
        let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
    }
}
