//! Two daemons on this machine: a head with 6 CPUs, and a node with 6 more and two licences.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use actinic_tests::command;

use super::program::{self, MARK, kill, left_over};

/// What ends the daemons when this process is gone, however it went: the pipe that it reads is closed then.
const WATCH: &str = r#"trap "" INT TERM HUP; read -r line; for dir in "$2/head" "$2/node"; do
    "$1" --state-dir "$dir" stop --force; done >/dev/null 2>&1; rm -rf "$2""#;

pub(crate) struct Daemons {
    actinic: PathBuf,
    dir: PathBuf,
    mark: String,
    address: String,
    token: String,
    /// How much of each log has been looked at.
    seen: [usize; 2],
    watch: Child,
}

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

impl Daemons {
    pub(crate) fn start() -> Daemons {
        let mark = format!("{}-daemons", std::process::id());
        // Not in the folder for temporary files: the nodes keep copies of every example there.
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&mark);
        let actinic = command::build(&program::profile()).unwrap_or_else(|error| panic!("{error}"));
        let mut watch = Command::new("sh");
        watch.args(["-c", WATCH, "sh"]).args([&actinic, &dir]).stdin(Stdio::piped());
        let watch = watch.spawn().expect("sh runs");
        let mut daemons =
            Daemons { actinic, dir, mark, address: String::new(), token: String::new(), seen: [0, 0], watch };
        let said =
            daemons.ok("head", &["start", "--head", "--node-ip-address", "127.0.0.1", "--port=0", "--num-cpus=6"]);
        let line = said.lines().find_map(|line| line.trim().strip_prefix("actinic start --address "));
        let (address, token) = line.and_then(|line| line.split_once(" --token ")).expect("a line to paste");
        (daemons.address, daemons.token) = (address.to_owned(), token.to_owned());
        let node = ["start", "--address", address, "--token", token, "--num-cpus=6", "--resources", r#"{"licence":2}"#];
        daemons.ok("node", &node);
        daemons
    }

    fn run(&self, node: &str, args: &[&str]) -> Output {
        let mut command = command::at(&self.dir.join(node), &self.actinic);
        command.args(args).env(MARK, &self.mark).output().expect("the command runs")
    }

    fn ok(&self, node: &str, args: &[&str]) -> String {
        let out = self.run(node, args);
        assert!(out.status.success(), "{args:?}: {}", text(&out));
        text(&out)
    }

    /// What makes an example a driver of this cluster.
    pub(crate) fn connect(&self, command: &mut Command) {
        command.env("ACTINIC_ADDRESS", &self.address).env("ACTINIC_TOKEN", &self.token);
    }

    /// What the daemons and their workers have logged since the last time.
    fn news(&mut self) -> String {
        let mut news = String::new();
        for (name, seen) in ["head", "node"].iter().zip(&mut self.seen) {
            let dirs = std::fs::read_dir(self.dir.join(name)).into_iter().flatten().flatten();
            let logs = dirs.filter_map(|entry| std::fs::read(entry.path().join("log")).ok());
            let log: Vec<u8> = logs.flatten().collect();
            news.push_str(&String::from_utf8_lossy(log.get(*seen..).unwrap_or_default()));
            *seen = log.len();
        }
        news
    }

    /// After a driver's end: its work has ended, and nothing went wrong that the daemons know of.
    pub(crate) fn settled(&mut self, may_warn: bool) -> Result<(), String> {
        let left = left_over(&self.mark, 2);
        let news = self.news();
        if left.len() != 2 {
            return Err(format!("processes {left:?} run besides, or instead of, the two daemons:\n{news}"));
        }
        let wrong = |line: &&str| {
            line.contains(" ERROR ") || line.contains("panicked") || (line.contains(" WARN ") && !may_warn)
        };
        match news.lines().filter(wrong).collect::<Vec<_>>() {
            wrong if wrong.is_empty() => Ok(()),
            wrong => Err(format!("the daemons logged {}", wrong.join("\n"))),
        }
    }

    /// Ends both in good order, and checks that nothing is left.
    pub(crate) fn stop(self) {
        let status = self.ok("head", &["status"]);
        assert!(status.contains("2 alive, 0 dead") && status.contains("0 of 12 CPU"), "{status}");
        let actors = self.ok("head", &["list", "actors"]);
        assert!(!actors.contains("ALIVE"), "{actors}");
        let jobs = self.ok("head", &["list", "jobs"]);
        assert!(jobs.contains("ENDED") && !jobs.contains("RUNNING"), "{jobs}");
        for node in ["node", "head"] {
            assert!(self.ok(node, &["stop"]).contains("Stopped 1 node."));
        }
        let left = left_over(&self.mark, 0);
        assert!(left.is_empty(), "processes {left:?} are left");
        let files: Vec<_> = std::fs::read_dir(&self.dir).into_iter().flatten().flatten().collect();
        assert!(files.is_empty(), "{files:?} are left");
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.seen = [0, 0];
            eprintln!("what the daemons logged:\n{}", self.news());
        }
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
        kill(&left_over(&self.mark, 0));
    }
}
