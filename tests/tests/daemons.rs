//! Real daemons, real programs: what `actinic start`, `stop` and `status` do, and programs that run against them.

mod ends;
mod programs;
mod spinning;
mod unread;
mod unset;
mod wrong;

use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use actinic_tests::files::{Scratch, give_turns};
use actinic_tests::processes::marked;
use actinic_tests::{command, timed};

const PROGRAM: &str = env!("CARGO_BIN_EXE_actinic-test-program");
const OTHER: &str = env!("CARGO_BIN_EXE_actinic-other-program");
/// What one step of a test may take on a busy machine.
const LONG: Duration = Duration::from_secs(60);
/// What is wrong is said within this, on a busy machine too.
const IN_TIME: Duration = Duration::from_secs(5);

/// The `actinic` command, built if need be.
fn actinic() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let profile = Path::new(PROGRAM).parent().expect("a binary lies in a folder");
        command::build(profile).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// A machine's state directory; whatever runs in it ends with the test.
struct Machine {
    dir: PathBuf,
    /// Whether commands find that by themselves.
    default: bool,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Machine {
    fn new(name: &str) -> Machine {
        let dir = std::env::temp_dir().join(format!("actinic-test-{}-{name}", std::process::id()));
        Machine { dir, default: false }
    }

    fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = command::at(&self.dir, program);
        command.args(args);
        if self.default {
            command.env_remove("ACTINIC_STATE_DIR");
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(actinic(), args).output().expect("the command runs")
    }

    fn ok(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}{}\n{}", text(&out.stdout), text(&out.stderr), self.logs());
        text(&out.stdout)
    }

    /// It fails with exit code 1 and one line, which is returned.
    fn fails(&self, args: &[&str]) -> String {
        let out = self.run(args);
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {}{said}", text(&out.stdout));
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        said
    }

    fn head(&self) -> String {
        self.ok(&["start", "--head", "--node-ip-address", "127.0.0.1", "--port", "0", "--num-cpus", "2"]);
        self.entry("address")
    }

    fn join(&self, head: &str, token: &str) {
        let node = ["--num-cpus", "2", "--resources", r#"{"remote": 4}"#];
        self.ok(&[&["start", "--address", head, "--token", token][..], &node].concat());
    }

    fn token(&self) -> String {
        self.ok(&["token", "show"]).lines().next().unwrap_or_default().to_owned()
    }

    fn nodes(&self) -> Vec<PathBuf> {
        let dirs = std::fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|entry| entry.path());
        dirs.filter(|path| path.join("node.json").exists()).collect()
    }

    /// A field of what the only node here says of itself.
    fn entry(&self, field: &str) -> String {
        let node = self.nodes().pop().expect("a node runs");
        let entry = std::fs::read_to_string(node.join("node.json")).expect("it says so");
        let entry: serde_json::Value = serde_json::from_str(&entry).expect("JSON");
        entry[field].as_str().map_or_else(|| entry[field].to_string(), ToOwned::to_owned)
    }

    fn logs(&self) -> String {
        self.nodes().iter().filter_map(|node| std::fs::read_to_string(node.join("log")).ok()).collect()
    }

    /// The pids of everything that runs for the only node here, itself first.
    fn pids(&self) -> Vec<u32> {
        let daemon = self.entry("pid").parse().expect("a pid");
        let mark = format!("ACTINIC_NODE_ID={}", self.entry("node"));
        std::iter::once(daemon).chain(marked(&mark)).collect()
    }

    fn start(&self, part: &str) -> Program {
        self.start_at(Path::new(PROGRAM), part)
    }

    fn start_at(&self, program: &Path, part: &str) -> Program {
        Program::new(self.command(program, &[part]).env("ACTINIC_ADDRESS", "auto"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: {}", self.dir.display(), self.logs());
        }
        self.run(&["stop", "--force"]);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Whether a process has not ended. Its first thread may be gone while others still hold its files, and the locks on them.
fn runs(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut stats = threads.map(|thread| std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default());
    stats.any(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X'])))
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs").success());
}

fn eventually(what: &str, within: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}

/// A running program, and its lines.
struct Program {
    child: Child,
    input: ChildStdin,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn new(command: &mut Command) -> Program {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
        let input = child.stdin.take().expect("it is piped");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Program { child, input, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("the program says something").expect("in UTF-8")
    }

    fn until(&mut self, wanted: &str) {
        let mut said = Vec::new();
        while said.last().is_none_or(|line| line != wanted) {
            let line = self.lines.next();
            let line = line.unwrap_or_else(|| panic!("not {wanted:?}, but {said:?}, and then it ended"));
            said.push(line.expect("in UTF-8"));
        }
    }

    fn go_on(&mut self) {
        self.input.write_all(b"\n").expect("the program listens");
    }

    fn ends(mut self) {
        eventually("the program ends", LONG, || self.child.try_wait().expect("it can be waited for").is_some());
        assert!(self.child.wait().expect("it ended").success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_head_starts_answers_and_stops_and_leaves_nothing() {
    let machine = Machine::new("head");
    let said = machine.ok(&["start", "--head", "--node-ip-address", "127.0.0.1", "--port", "0", "--num-cpus", "2"]);
    let (address, token) = (machine.entry("address"), machine.token());
    for wanted in
        [format!("actinic start --address {address} --token {token}"), "auto".into(), "stop".into(), "status".into()]
    {
        assert!(said.contains(&wanted), "{wanted}: {said}");
    }
    let status = machine.ok(&["status"]);
    assert!(status.contains("1 alive") && status.contains("0 of 2 CPU") && status.contains("none waits"), "{status}");
    let json: serde_json::Value = serde_json::from_str(&machine.ok(&["status", "--format", "json"])).expect("JSON");
    assert_eq!(json["resources"]["CPU"], 2.0);
    machine.start("one").ends();
    let jobs: serde_json::Value =
        serde_json::from_str(&machine.ok(&["list", "jobs", "--format", "json"])).expect("JSON");
    assert_eq!(jobs[0]["state"], "ENDED", "{jobs}");
    let pids = machine.pids();
    let began = Instant::now();
    assert!(machine.ok(&["stop"]).contains("Stopped 1 node."));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(!pids.iter().any(|pid| runs(*pid)), "{pids:?}");
    assert!(!machine.dir.exists(), "something is left in {}", machine.dir.display());
}

#[test]
fn keys_and_tokens_are_for_their_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let machine = Machine::new("modes");
    machine.head();
    let node = machine.nodes().pop().expect("a node runs");
    let mode = |path: &Path| std::fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!([mode(&machine.dir), mode(&node)], [0o700, 0o700]);
    assert_eq!([mode(&node.join("node.json")), mode(&node.join("log"))], [0o600, 0o600]);
    let cmdline = std::fs::read(format!("/proc/{}/cmdline", machine.entry("pid"))).expect("it runs");
    assert!(!text(&cmdline).contains("actinic1-"), "no token in a list of processes");
    // And the key that a cluster's next start is to begin with, before anything runs.
    let before = Machine::new("modes-before");
    before.ok(&["token", "create"]);
    assert_eq!([mode(&before.dir), mode(&before.dir.join("authority.pem"))], [0o700, 0o600]);
}

#[test]
fn garbage_at_the_port_of_a_node_harms_nobody() {
    let machine = Machine::new("garbage");
    let address = machine.head();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for length in (0..4000usize).map(|turn| turn * 7 % 1500) {
        let datagram: Vec<u8> = (0..length)
            .map(|at| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Some of them look like QUIC's long header of version 1 at first.
                if at == 0 {
                    0xc3
                } else if at < 5 && length % 2 == 0 {
                    [0, 0, 0, 1][at - 1]
                } else {
                    (state >> 56) as u8
                }
            })
            .collect();
        let _ = socket.send_to(&datagram, &address);
    }
    machine.ok(&["status"]);
    machine.start("one").ends();
}

/// Garbage that looks like QUIC's at first or not at all, thrown at a port until it is enough.
fn throw_garbage(address: &str, enough: impl Fn(usize) -> bool) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut sent = 0;
    while !enough(sent) {
        let random = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let mut datagram: Vec<u8> = (0..sent * 7 % 1500).map(random).collect();
        let head: &[u8] = [&[][..], &[0xc3, 0, 0, 0, 1], &[0x43]][sent % 3];
        let length = head.len().min(datagram.len());
        datagram[..length].copy_from_slice(&head[..length]);
        let _ = socket.send_to(&datagram, address);
        sent += 1;
        // There are others on this machine.
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// What waits is told by what it needs.
#[test]
fn status_says_what_is_wanted() {
    let machine = Machine::new("wants");
    machine.head();
    let mut program = machine.start("wants");
    program.until("running");
    let status = machine.ok(&["status"]);
    assert!(status.contains("{CPU: 0.5, telescope: 2} × "), "{status}");
    let json: serde_json::Value = serde_json::from_str(&machine.ok(&["status", "--format", "json"])).expect("JSON");
    assert_eq!(json["demands"][0]["resources"]["telescope"], 2.0, "{json}");
    // So is an actor: by the daemon's head, which places it.
    assert!(status.contains("{mirror: 3} × 1"), "{status}");
    let actors: serde_json::Value =
        serde_json::from_str(&machine.ok(&["list", "actors", "--format", "json"])).expect("JSON");
    assert_eq!(actors[0]["state"], "PENDING_CREATION", "{actors}");
    assert!(actors[0]["waits_for"].as_str().is_some_and(|text| text.contains("mirror: 3")), "{actors}");
    let table = machine.ok(&["list", "actors"]);
    assert!(table.contains("WAITS_FOR") && table.contains("mirror: 3"), "{table}");
    program.go_on();
    program.ends();
    eventually("nothing waits", LONG, || machine.ok(&["status"]).contains("none waits"));
}

/// Two programs that want everything get half each, although the first has it all when the second comes.
#[test]
fn greedy_programs_share() {
    let machine = Machine::new("greedy");
    machine.head();
    let scratch = Scratch::new();
    let names = ["first", "second"];
    let programs = names.map(|name| {
        let mut command = machine.command(Path::new(PROGRAM), &["greedy"]);
        command.env("ACTINIC_TEST_DIR", scratch.dir()).env("ACTINIC_TEST_NAME", name);
        let mut program = Program::new(command.env("ACTINIC_ADDRESS", "auto"));
        program.until("running");
        program
    });
    give_turns(&scratch.dir(), names, 40);
    for mut program in programs {
        program.until("ok");
        program.ends();
    }
}

/// FAI-01: how often is the driver's to say, for what its tasks submit too, whatever the node was started with.
#[test]
fn a_drivers_number_of_tries_is_that_of_what_its_tasks_submit() {
    let machine = Machine::new("tries");
    machine.head();
    for (given, tried) in [(Some("1"), "tried [2, 2]"), (None, "tried [4, 4]")] {
        let scratch = Scratch::new();
        let mut command = machine.command(Path::new(PROGRAM), &["tries"]);
        command.env("ACTINIC_TEST_DIR", scratch.dir()).env("ACTINIC_ADDRESS", "auto");
        command.envs(given.map(|given| ("ACTINIC_TASK_MAX_RETRIES", given)));
        let mut program = Program::new(&mut command);
        program.until(tried);
        program.ends();
    }
}

/// While garbage arrives at the node's port all work is done, and done right.
#[test]
fn garbage_at_the_port_of_a_busy_node_harms_nobody() {
    let machine = Machine::new("busy");
    let address = machine.head();
    let mut program = machine.start("works");
    program.until("running");
    let before = machine.pids();
    throw_garbage(&address, |sent| sent >= 3000);
    let log = std::fs::read_to_string(machine.nodes()[0].join("log")).expect("a log");
    let said = "what is not of this cluster's protocol comes from 127.0.0.1:";
    assert_eq!(log.matches(said).count(), 1, "it is named, and does not fill the log: {log}");
    program.go_on();
    program.until("ok");
    program.ends();
    assert!(runs(before[0]) && machine.ok(&["status"]).contains("1 alive"));
}

/// Two programs on one cluster, each with workers of its own: one calls an actor of the other. What both have works,
/// what they have not in common is named, each in time.
#[test]
fn a_call_of_another_shape_in_another_program_is_named() {
    let machine = Machine::new("shape");
    machine.head();
    let mut program = machine.start("hosts");
    program.until("running");
    let mut other = machine.start_at(Path::new(OTHER), "");
    assert_eq!(other.line(), "cube: 27");
    assert_eq!(other.line(), "call: (2, 3)");
    for method in ["count", "only_here"] {
        let said = timed(method, IN_TIME, || other.line());
        let wanted = format!("{method}: VersionMismatch ");
        assert!(said.starts_with(&wanted), "{said}");
        let name = format!("method `Place.{method}`");
        assert!(said.contains(&name) && said.contains("must agree on the method's name and signature"), "{said}");
    }
    let said = timed("another class", IN_TIME, || other.line());
    assert!(said.starts_with("class: InvalidArgument ") && said.contains("is a Place, not a Elsewhere"), "{said}");
    assert!(said.contains("get_actor::<Place>"), "{said}");
    assert_eq!(other.line(), "call: (3, 0)");
    other.ends();
    program.go_on();
    program.until("calls 3");
    program.until("ok");
    program.ends();
}

#[test]
fn tasks_actors_and_objects_use_both_of_two_nodes() {
    let (head, second) = (Machine::new("two"), Machine::new("two-second"));
    let address = head.head();
    second.join(&address, &head.token());
    head.start("two_nodes").ends();
    // The same, by a driver that is attached to the second node.
    second.start("two_nodes").ends();
    let fetched = std::fs::read_dir(second.nodes().pop().expect("a node").join("programs")).expect("a cache").count();
    assert_eq!(fetched, 1, "the program was fetched once, and the second time it was there");
    let pids = second.pids();
    second.ok(&["stop"]);
    assert!(!pids.iter().any(|pid| runs(*pid)), "{pids:?}");
    assert!(head.ok(&["status"]).contains("1 alive, 1 dead"));
    // A node ends with its cluster.
    second.join(&address, &head.token());
    let pids = second.pids();
    head.ok(&["stop"]);
    eventually("the second node ends with its head", LONG, || !pids.iter().any(|pid| runs(*pid)));
}

#[test]
fn work_of_a_killed_node_is_done_elsewhere() {
    let (head, second) = (Machine::new("kill"), Machine::new("kill-second"));
    let address = head.head();
    second.join(&address, &head.token());
    let mut program = head.start("survive");
    program.until("running");
    let pids = second.pids();
    assert!(pids.len() > 1, "it has workers: {pids:?}");
    kill(pids[0]);
    program.go_on();
    let actor = program.line();
    assert!(actor.contains("ActorDied") || actor.contains("ActorUnavailable"), "{actor}");
    let dead = program.line();
    let after: u64 = dead.strip_prefix("dead after ").and_then(|millis| millis.parse().ok()).expect("milliseconds");
    assert!(after < 3000, "{after} ms");
    eventually("its workers end with it", Duration::from_secs(5), || !pids.iter().any(|pid| runs(*pid)));
    program.until("ok");
    program.ends();
    println!("{actor}; the node was known dead after {after} ms");
    // What it left is cleaned by the next command that ends or starts nodes there.
    second.join(&address, &head.token());
    assert_eq!(second.nodes().len(), 1);
}

#[test]
fn the_work_of_a_killed_driver_ends() {
    let machine = Machine::new("driver");
    machine.head();
    let mut program = machine.start("linger");
    program.until("running");
    let status = machine.ok(&["status"]);
    assert!(
        status.contains("2 of 2 CPU") && status.contains(" 24.0 MiB of "),
        "what it put counts too, and what its task has made: {status}"
    );
    let workers = machine.pids()[1..].to_vec();
    assert!(workers.len() >= 2, "{workers:?}");
    kill(program.child.id());
    let after = eventually("its workers end", LONG, || !workers.iter().any(|pid| runs(*pid)));
    let all_free = |status: String| status.contains("0 of 2 CPU") && !status.contains("MiB of ");
    eventually("its CPUs, what it put and what its task has made are free", LONG, || all_free(machine.ok(&["status"])));
    println!("workers were gone after {after:?}");
    let jobs = machine.ok(&["list", "jobs"]);
    assert!(jobs.contains("ENDED") && !jobs.contains("RUNNING"), "{jobs}");
    let actors = machine.ok(&["list", "actors"]);
    assert!(actors.contains("DEAD") && !actors.contains("ALIVE"), "{actors}");
}

/// LEA-06: a driver whose node dies is told so: what it waits for fails, what it asks for next fails too.
#[test]
fn a_driver_whose_node_dies_is_told_so() {
    let machine = Machine::new("told");
    machine.head();
    let mut program = machine.start("is_told");
    program.until("running");
    let pids = machine.pids();
    let workers = pids[1..].to_vec();
    assert!(!workers.is_empty(), "{pids:?}");
    kill(pids[0]);
    let killed = Instant::now();
    program.until("pending NodeDied");
    let later = program.line();
    assert!(["later NodeDied", "later Connection"].contains(&later.as_str()), "{later}");
    program.until("closed NodeDied");
    assert!(killed.elapsed() < LONG, "{:?}", killed.elapsed());
    eventually("the workers end with their node", LONG, || !workers.iter().any(|pid| runs(*pid)));
}

#[test]
fn a_node_in_the_foreground_ends_by_a_signal() {
    let machine = Machine::new("block");
    let args = ["start", "--head", "--node-ip-address", "127.0.0.1", "--port", "0", "--block"];
    let mut node = Program::new(&mut machine.command(actinic(), &args));
    while !node.line().contains("Ctrl-C") {}
    machine.ok(&["status"]);
    let status = Command::new("kill").arg(node.child.id().to_string()).status();
    assert!(status.expect("kill runs").success());
    node.ends();
    assert!(!machine.dir.exists());
}
