//! Runs every example, on threads, with worker processes, and as a driver of two daemons, and checks what it prints and
//! what it leaves behind.
//!
//! Cargo builds the examples before it builds this. Each run has a deadline. Afterwards no process of it may be left
//! and nothing may have been written to its error stream, nor to the daemons' logs; that all resources are free again,
//! that nothing is kept any more, and that the results are right, each example checks by itself. Together these are the
//! five checks with which a workload ends.

mod daemons;
mod program;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use daemons::Daemons;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Threads,
    Processes,
}

/// An example, and texts that its output has, in this order.
struct Example {
    name: &'static str,
    args: &'static [&'static str],
    expected: &'static [&'static str],
    /// Whether a warning belongs to the story.
    warns: bool,
}

impl Example {
    fn run(&self, mode: Mode) {
        let mut command = program::example(self.name, self.args);
        if mode == Mode::Processes {
            command.env("ACTINIC_WORKERS", "processes");
        }
        let done = program::run(&mut command, &mark());
        let (output, errors) = done.unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        self.check(&output, &errors).unwrap_or_else(|error| panic!("{} ({mode:?}) {error}", self.name));
    }

    fn run_on(&self, daemons: &mut Daemons) -> Result<(), String> {
        let mut command = program::example(self.name, self.args);
        daemons.connect(&mut command);
        let done = program::run(&mut command, &mark());
        let settled = daemons.settled(self.warns);
        let (output, errors) = done?;
        self.check(&output, &errors).and(settled).map_err(|error| format!("{} {error}", self.name))
    }

    fn check(&self, output: &str, errors: &str) -> Result<(), String> {
        let mut rest = output;
        for text in self.expected {
            let at = rest.find(text).ok_or_else(|| format!("does not print {text:?}:\n{output}"))?;
            rest = &rest[at + text.len()..];
        }
        if errors.contains("ERROR") || errors.contains("panicked") || (!self.warns && !errors.is_empty()) {
            return Err(format!("wrote errors or warnings:\n{errors}"));
        }
        Ok(())
    }
}

/// What no other run of this test has.
fn mark() -> String {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed))
}

/// What a command line has wrong is named before anything is done.
#[test]
fn wrong_arguments() {
    let cases = [
        ("word_count", "no such file", "no such file: No such file or directory"),
        ("word_count", "0", "argument 1, `0`: number would be zero"),
        ("sleeps", "ten", "argument 1, `ten`: invalid digit found in string"),
        ("sleeps", "100", "argument 1, `100`: it is 200 at least"),
        ("monte_carlo_pi", "5", "argument 1, `5`: it is 10 at least"),
        ("monte_carlo_pi", "18446744073709551615", "argument 1, `18446744073709551615`: the samples of 10 tasks"),
        ("parameter_server", "1", "argument 1, `1`: it is 50 at least"),
        ("limit_pending", "0", "argument 1, `0`: it is 1 at least"),
        ("sum_of_squares", "0", "argument 1, `0`: it is 1 at least"),
        ("cart_pole", "0", "argument 1, `0`: it is 1 at least"),
        ("progress_bar", "0", "argument 1, `0`: it is 1 at least"),
    ];
    for (name, arg, said) in cases {
        let error = program::run(&mut program::example(name, &[arg]), &mark()).expect_err("it fails");
        assert!(error.starts_with("exit status: 1") && error.contains(said), "{name} {arg}: {error}");
    }
}

/// Few of something are as good as many.
#[test]
fn small_arguments() {
    for (name, args) in [("monte_carlo_pi", "10"), ("cart_pole", "1"), ("progress_bar", "1")] {
        let done = program::run(&mut program::example(name, &[args]), &mark());
        done.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// How much faster several workers were depends on what else the machine does: it is said.
#[test]
fn sum_of_squares_says_its_speed_up() {
    let done = program::run(&mut program::example("sum_of_squares", &["4", "100000"]), &mark());
    let (output, _) = done.unwrap_or_else(|error| panic!("{error}"));
    let said = output.lines().find_map(|line| line.strip_prefix("speed-up: ")).expect("it says so");
    assert!(said.parse::<f64>().is_ok_and(|times| times > 0.0), "{said}");
}

/// A text whose counts are too large to stay with their owner, in one line and with what is no UTF-8.
#[test]
fn word_count_of_a_large_text() {
    let file = format!("{}/words-{}", env!("CARGO_TARGET_TMPDIR"), mark());
    let mut text: Vec<u8> = (0..50_000).flat_map(|word| format!("word{word} ").into_bytes()).collect();
    text.extend(b"word7 \xff");
    std::fs::write(&file, text).expect("the folder is there");
    for mode in [Mode::Threads, Mode::Processes] {
        let mut command = program::example("word_count", &["4", "2", &file]);
        if mode == Mode::Processes {
            command.env("ACTINIC_WORKERS", "processes");
        }
        let (output, _) = program::run(&mut command, &mark()).unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        for said in ["4 maps, 2 reduces", "50002 words, 50001 different", "word7: 2"] {
            assert!(output.contains(said), "{mode:?}: {output}");
        }
    }
    let _ = std::fs::remove_file(file);
}

/// One after the other: some need all of the cluster's CPUs for what they say of time.
#[test]
fn two_daemons() {
    let mut daemons = Daemons::start();
    let mut failed = Vec::new();
    for example in EXAMPLES {
        let start = Instant::now();
        failed.extend(example.run_on(&mut daemons).err());
        println!("{:20} {:.1?}", example.name, start.elapsed());
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    daemons.stop();
}

const ZEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/zen.txt");
const COUNTING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/counting.txt");

macro_rules! examples {
    ($($name:ident $([$program:ident $($arg:expr),*])? $($warns:literal)?: $expected:expr;)*) => {
        const EXAMPLES: &[Example] = &[$($name::THIS),*];

        $(
            mod $name {
                use super::*;

                pub(super) const THIS: Example = Example {
                    name: [$(stringify!($program),)? stringify!($name)][0],
                    args: &[$($($arg),*)?],
                    expected: &$expected,
                    warns: !concat!($($warns)?).is_empty(),
                };

                #[test]
                fn threads() {
                    THIS.run(Mode::Threads);
                }

                #[test]
                fn processes() {
                    THIS.run(Mode::Processes);
                }
            }
        )*
    };
}

examples! {
    sleeps: ["48 sleeps: 4 rounds", "49 sleeps: 5 rounds"]; // the longest begins first
    many_tasks: ["stage 0, 10 x 40 MB", "stage 1, 10 x 4000", "stage 2, 5 x 20 layers of 20", "stage 3, 8 actors x 4040",
        "tasks started at once: true"];
    cart_pole: ["iteration  0: mean reward", "mean reward rose from"];
    completion_order: ["by wait: [300, 600, 900, 1200]", "by as_completed: [300, 600, 900, 1200]"];
    counters: ["[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]", "[2, 3, 4, 5, 6]"];
    custom_resources "warns": ["licences: 2", "three rounds", "still pending", "or fails: Infeasible"];
    dependencies: ["diamond: 1470", "refs in a list: 1764", "chain: [1]", "failed: invalid digit found in string"];
    grid_search: ["16 pairs tried; best: rate", "penalty 0,"];
    hyperparameters: ["9 to go", "0 to go", "best:"];
    limit_pending: ["2000 tasks: all at once ", " in flight, of 100 that may be", "by memory: at most "];
    logging_actor: ["after 50 ms", "experiment 0: 10 lines, the last: done", "experiment 2: 10 lines, the last: done"];
    monte_carlo_pi: ["progress: 100 %", "pi is about 3.14"];
    multiple_returns: ["(1, \"two\", true)", "10 parts: [5050, 15050,", "10 values for 3 refs: all 3 fail"];
    nested: ["g gives 4 refs, of [1, 1, 1, 1]", "h gives [1, 1, 1, 1]", "16 deep"];
    nested_experiments: ["[45, 55, 65, 75, 85]"];
    objects: ["sums: [499500, 499500]", "\"hello\", 6", "ready: 2, pending: 1", "too short; waiting gives 2000"];
    parameter_server: ["in step: ", "iterations", "at own pace: ", "after 400 gradients"];
    pipelining: ["in turn: 12 items", "pipelined: 12 items", "times as fast"];
    progress_bar: ["[##########] 1000/1000", "done: 1000"];
    quicksort: ["4 at once on a node: ", "sorted: true", "1 at once on a node: ", "sorted: true"];
    quickstart: ["2^2 + (2^2)^2 = 20", "refs are counted", "counter: [101, 103, 106, 110, 115]"];
    single_node_limits: ["sum 10000000", "300 returns", "2 x 1000 objects got", "100000 tasks queued", "and run",
        "MiB put and got"];
    sum_of_squares [sum_of_squares "8", "200000"]: ["first result: 51639", "speed-up: "];
    tree_reduce: ["tree, 7 deep", "sum[0] = 4950, sum[999] = 104850"];
    word_count: ["3 maps, 3 reduces", "144 words", "is: 10", "better: 8", "than: 8", "the: 6", "to: 5", "although: 3"];
    word_count_of_named_files [word_count ZEN, COUNTING]: ["177 words", "is: 15", "better: 8", "than: 8", "the: 6"];
    word_count_of_files [word_count "5", "2", ZEN, COUNTING]: ["10 maps, 2 reduces", "177 words", "is: 15", "better: 8", "than: 8", "the: 6"];
}
