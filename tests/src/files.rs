//! Files by which a test and the processes that run its tasks know of each other: gates, and counters.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actinic::testing::eventually;

/// How long something may take to be counted on a busy machine.
const WITHIN: Duration = Duration::from_secs(20);

/// A directory of one test, which its worker processes see too.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// An empty one.
    #[allow(clippy::new_without_default, reason = "a directory is made")]
    pub fn new() -> Scratch {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("actinic-tests-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory for files that last as long as the test");
        Scratch { path }
    }

    /// Its path.
    pub fn dir(&self) -> String {
        self.path.display().to_string()
    }

    /// A file of it, by name.
    pub fn file(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Counts one more in a file; the count is the file's length.
pub fn count_up(file: &str) -> u64 {
    use std::io::Write;
    let mut open =
        std::fs::OpenOptions::new().create(true).append(true).open(file).expect("the test's directory is there");
    open.write_all(b"x").expect("it can be written to");
    counted(file)
}

/// How many were counted.
pub fn counted(file: &str) -> u64 {
    std::fs::metadata(file).map_or(0, |data| data.len())
}

/// Waits until so many were counted.
pub async fn until_counted(file: &str, count: u64) {
    let enough = eventually(WITHIN, || counted(file) >= count).await;
    assert!(enough, "{} of {count} were counted in {file}", counted(file));
}

/// Lets go whoever holds at the file.
pub fn open_gate(file: &str) {
    std::fs::write(file, b"open").expect("the test's directory is there");
}

/// Holds its thread, and so its CPU, until the gate is open.
pub fn hold(file: &str) {
    let gate = Path::new(file);
    // A test that is over takes its directory with it.
    while !gate.exists() && gate.parent().is_some_and(Path::exists) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How long both of two may take for a turn before it counts as late.
const TURN: Duration = Duration::from_secs(2);
/// How many turns may be late: until who came first has given half of what it has to who came next.
const LATE: u32 = 5;

/// More turns than a driver has tasks.
const TURNS_MAX: u64 = 1_000;

fn turns(dir: &str, name: &str) -> (String, String) {
    (format!("{dir}/given to {name}"), format!("{dir}/taken by {name}"))
}

/// Holds its thread until it has its turn. A driver's tasks, whichever it begins first, have turns in the order in which
/// they begin: one that runs is never overtaken, and what it runs on is free at its turn.
pub fn take_turn(dir: &str, driver: &str) {
    let (given, taken) = turns(dir, driver);
    let mine = (0..TURNS_MAX).find(|number| std::fs::File::create_new(format!("{taken}: {number}")).is_ok());
    // A test that is over takes its directory with it.
    let Some(mine) = mine else { return };
    while counted(&given) <= mine {
        if !Path::new(dir).exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    count_up(&taken);
}

/// Gives each of two drivers one turn after the other, whose tasks hold whatever they run on until then: each takes each
/// of its turns, as long as one is not kept from running by the other. Afterwards all tasks may end.
pub fn give_turns(dir: &str, drivers: [&str; 2], rounds: u64) {
    let mut late = 0;
    let taken = || drivers.map(|driver| counted(&turns(dir, driver).1));
    for round in 1..=rounds {
        for driver in drivers {
            count_up(&turns(dir, driver).0);
        }
        let end = Instant::now() + TURN;
        while taken().iter().any(|taken| *taken < round) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        late += u32::from(taken().iter().any(|taken| *taken < round));
        assert!(late <= LATE, "of {round} turns each, {drivers:?} took {:?}", taken());
    }
    for driver in drivers {
        std::fs::write(turns(dir, driver).0, [b'x'; TURNS_MAX as usize]).expect("the test's directory is there");
    }
}
