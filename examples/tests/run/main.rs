//! Runs every example, on threads and with worker processes, and checks what it prints and what it leaves behind.
//!
//! Cargo builds the examples before it builds this. Each run has a deadline. Afterwards no process of it may be left
//! and nothing may have been written to its error stream; that all resources are free again, and that the results are
//! right, each example checks by itself.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(90);
/// In the environment of every process of a run: how those that are left are found.
const MARK: &str = "ACTINIC_EXAMPLE_RUN";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Threads,
    Processes,
}

/// Runs an example to its end and returns what it printed to its output and its error stream.
fn run(name: &str, mode: Mode) -> (String, String) {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let mark = format!("{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
    let mut command = Command::new(program(name));
    command.env(MARK, &mark).env_remove("ACTINIC_ADDRESS").env_remove("ACTINIC_EXAMPLE_WORKERS");
    if mode == Mode::Processes {
        command.env("ACTINIC_EXAMPLE_WORKERS", "processes");
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect(name);
    // Read while it runs, so that a full pipe does not hold it up.
    let output = read(child.stdout.take().expect("it is piped"));
    let errors = read(child.stderr.take().expect("it is piped"));
    let status = wait(&mut child, &mark);
    let left = left_over(&mark);
    kill(&left); // else a process that keeps the pipes open would hold up the threads that read them
    let text = |thread: std::thread::JoinHandle<String>| thread.join().expect("reading does not panic");
    let (output, errors) = (text(output), text(errors));
    let said = format!("{name} ({mode:?})\n--- output\n{output}--- errors\n{errors}");
    let status = status.unwrap_or_else(|| panic!("not done after {DEADLINE:?}: {said}"));
    assert!(status.success(), "{status}: {said}");
    assert!(left.is_empty(), "processes {left:?} are left: {said}");
    (output, errors)
}

/// Examples are in `target/PROFILE/examples`, this test in `target/PROFILE/deps`.
fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("this program has a path");
    let profile = this.ancestors().nth(2).expect("it is in a folder of the profile's");
    profile.join("examples").join(name)
}

fn read(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child, mark: &str) -> Option<std::process::ExitStatus> {
    let until = Instant::now() + DEADLINE;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().expect("it is our child") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(&marked(mark));
    let _ = child.wait();
    None
}

/// The processes of a run that are still there a few seconds after its end.
fn left_over(mark: &str) -> Vec<u32> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let left = marked(mark);
        if left.is_empty() || Instant::now() > until {
            return left;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn marked(mark: &str) -> Vec<u32> {
    let line = format!("{MARK}={mark}");
    let ids = std::fs::read_dir("/proc").expect("there is /proc").flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_mark = |id: &u32| {
        std::fs::read(format!("/proc/{id}/environ"))
            .is_ok_and(|environment| environment.split(|&byte| byte == 0).any(|one| one == line.as_bytes()))
    };
    ids.filter(has_mark).collect()
}

fn kill(ids: &[u32]) {
    for id in ids {
        let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
    }
}

fn check(name: &str, expected: &[&str], may_warn: bool, mode: Mode) {
    let (output, errors) = run(name, mode);
    let mut rest = output.as_str();
    for text in expected {
        let at = rest.find(text).unwrap_or_else(|| panic!("{name} ({mode:?}) does not print {text:?}:\n{output}"));
        rest = &rest[at + text.len()..];
    }
    assert!(!errors.contains("ERROR") && !errors.contains("panicked"), "{name} ({mode:?}) wrote errors:\n{errors}");
    assert!(may_warn || errors.is_empty(), "{name} ({mode:?}) wrote warnings:\n{errors}");
}

/// Each example, with texts that its output has, in this order; `warns` where a warning belongs to the story.
macro_rules! examples {
    ($($name:ident $($warns:literal)?: $expected:expr;)*) => {
        $(
            mod $name {
                use super::*;

                #[test]
                fn threads() {
                    check(stringify!($name), &$expected, false $(|| $warns == "warns")?, Mode::Threads);
                }

                #[test]
                fn processes() {
                    check(stringify!($name), &$expected, false $(|| $warns == "warns")?, Mode::Processes);
                }
            }
        )*
    };
}

examples! {
    sleeps: ["48 sleeps: 4 rounds", "49 sleeps: 5 rounds"]; // the longest begins first
    many_tasks: ["stage 0, 10 x 10 MB", "stage 1", "stage 2", "stage 3", "stage 4, 4 tasks started at once: true"];
    cart_pole: ["iteration  0: mean reward", "mean reward rose from"];
    completion_order: ["by wait: [300, 600, 900, 1200]", "by as_completed: [300, 600, 900, 1200]"];
    counters: ["[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]", "[2, 3, 4, 5, 6]"];
    custom_resources "warns": ["licences: 2", "three rounds", "still pending", "or fails: Infeasible"];
    dependencies: ["diamond: 1470", "refs in a list: 1764", "chain: [1]", "failed: invalid digit found in string"];
    grid_search: ["16 pairs tried; best: rate", "penalty 0,"];
    hyperparameters: ["9 to go", "0 to go", "best:"];
    limit_pending: ["3000 tasks, at most 100 in flight", "by memory: at most 4 at a time"];
    logging_actor: ["after 50 ms", "experiment 0: 10 lines, the last: done", "experiment 2: 10 lines, the last: done"];
    monte_carlo_pi: ["progress: 100 %", "pi is about 3.14"];
    multiple_returns: ["(1, \"two\", true)", "10 parts: [5050, 15050,", "10 values for 3 refs: all 3 fail"];
    nested: ["g gives 4 refs, of [1, 1, 1, 1]", "h gives [1, 1, 1, 1]", "16 deep"];
    nested_experiments: ["[45, 55, 65, 75, 85]"];
    objects: ["sums: [499500, 499500]", "\"hello\", 6", "ready: 2, pending: 1", "too short; waiting gives 2000"];
    parameter_server: ["in step: ", "iterations", "at own pace: ", "after 400 gradients"];
    pipelining: ["in turn: 12 items", "pipelined: 12 items", "times as fast"];
    progress_bar: ["[##########] 1000/1000", "done: 1000"];
    quicksort: ["4 CPU: ", "sorted: true", "1 CPU: ", "sorted: true"];
    quickstart: ["2^2 + (2^2)^2 = 20", "refs are counted", "counter: [101, 103, 106, 110, 115]"];
    single_node_limits: ["sum 1000000", "300 returns", "1000 objects got", "10000 tasks queued", "and run", "64 MiB"];
    sum_of_squares: ["first result: 51639", "speed-up: "];
    tree_reduce: ["tree, 7 deep", "sum[0] = 4950, sum[999] = 104850"];
    word_count: ["144 words", "is: 10", "better: 8", "than: 8", "the: 6", "to: 5", "although: 3"];
}
