//! What ends with a program or a node: every process that it has started.

use super::*;

/// A program whose task leaves a process behind, and that process.
fn leaves(machine: &Machine, part: &str) -> (Program, u32) {
    let mut program = machine.start(part);
    program.until("connected");
    let left = program.line().parse().expect("a pid");
    (program, left)
}

/// A driver with worker processes and no node but itself is killed: its workers end.
#[test]
fn the_workers_of_a_killed_program_end() {
    let machine = Machine::new("embedded");
    let mark = machine.dir.display().to_string();
    let mut command = machine.command(Path::new(PROGRAM), &["embedded"]);
    let mut program = Program::new(command.env("ACTINIC_TEST_MARK", &mark));
    program.until("running");
    let of_program = || marked(&format!("ACTINIC_TEST_MARK={mark}"));
    let workers = of_program().len() - 1;
    assert!(workers >= 2, "it has {workers} workers");
    kill(program.child.id());
    program.child.wait().expect("it ended");
    let after = eventually("its workers end", Duration::from_secs(5), || of_program().is_empty());
    println!("{workers} workers were gone after {after:?}");
}

/// `stop`, with force too, ends programs' workers, and what a task has started and nobody waits for.
#[test]
fn stop_ends_whatever_runs_on_a_node() {
    for stop in [&["stop"][..], &["stop", "--force"]] {
        let machine = Machine::new(&stop.concat());
        machine.head();
        let (mut program, left) = leaves(&machine, "leaves");
        program.until("running");
        let pids = machine.pids();
        assert!(pids.len() > 2 && pids.contains(&left) && runs(left), "{left} is of {pids:?}");
        let said = actinic_tests::timed("stop", Duration::from_secs(4), || machine.ok(stop));
        assert!(said.contains("Stopped 1 node."), "{said}");
        let still: Vec<_> = pids.iter().filter(|pid| runs(**pid)).collect();
        assert!(still.is_empty(), "{still:?} of {pids:?} run after {stop:?}");
        assert!(!machine.dir.exists(), "something is left in {}", machine.dir.display());
        program.until("pending NodeDied");
    }
}

/// So does a `stop` that comes when the program that left it has long ended.
#[test]
fn stop_ends_what_an_ended_program_left() {
    let machine = Machine::new("left");
    machine.head();
    let (program, left) = leaves(&machine, "leaves_and_ends");
    program.ends();
    machine.ok(&["stop"]);
    assert!(!runs(left), "{left} runs");
}

/// A `start` ends what a killed node has left before it forgets which node that was, and nothing of a node that lives.
#[test]
fn start_ends_what_killed_nodes_left_and_spares_the_living() {
    let machine = Machine::new("killed");
    let stays = || {
        let (mut program, left) = leaves(&machine, "leaves");
        program.until("running");
        (program, left)
    };
    machine.head();
    let (_first, left) = stays();
    let dead = machine.pids();
    assert!(dead.len() > 2 && dead.contains(&left), "{left} is of {dead:?}");
    kill(dead[0]);
    eventually("its workers end", LONG, || dead.iter().filter(|pid| runs(**pid)).count() == 1);
    assert!(runs(left), "nobody has ended {left}");
    machine.head();
    assert!(!runs(left), "{left} runs, and its node is forgotten");

    // A second node here, that one killed too, and a third: what the first runs goes on.
    let (_second, left) = stays();
    let (address, token, alive) = (machine.entry("address"), machine.token(), machine.pids());
    let joins = || machine.join(&address, &token);
    joins();
    let second = |found: &PathBuf| found.file_name().and_then(|name| name.to_str()?.split('-').nth(1)?.parse().ok());
    let second = machine.nodes().iter().filter_map(second).find(|pid: &u32| *pid != alive[0]).expect("a second node");
    kill(second);
    eventually("it is dead", LONG, || !runs(second));
    joins();
    assert_eq!(machine.nodes().len(), 2, "the first and the third");
    let ended: Vec<_> = alive.iter().filter(|pid| !runs(**pid)).collect();
    assert!(ended.is_empty() && alive.contains(&left), "{ended:?} of {alive:?} have ended");
    machine.ok(&["stop"]);
    assert!(!runs(left), "{left} runs");
}

/// A node that a task of a killed one has started is no leftover: it goes on, also if it stays in the foreground.
#[test]
fn a_node_that_a_task_started_is_no_leftover() {
    let machine = Machine::new("started");
    machine.head();
    let (mark, dead) = (machine.entry("node"), machine.entry("pid").parse().expect("a pid"));
    let inside = |args: &[&str]| {
        let mut command = machine.command(actinic(), args);
        command.env("ACTINIC_NODE_ID", &mark);
        command
    };
    let start = ["start", "--head", "--node-ip-address", "127.0.0.1", "--port", "0"];
    assert!(inside(&start).output().expect("the command runs").status.success());
    let mut node = Program::new(&mut inside(&[&start[..], &["--block"]].concat()));
    while !node.line().contains("Ctrl-C") {}
    kill(dead);
    eventually("it is dead", LONG, || !runs(dead));
    // So is the command that a leftover runs.
    assert!(inside(&start).output().expect("the command runs").status.success());
    assert_eq!(machine.nodes().len(), 3);
    let said = inside(&["stop"]).output().expect("the command runs");
    assert!(text(&said.stdout).contains("Stopped 3 nodes."), "{said:?}");
    node.ends();
}

/// A node whose head is killed ends soon, and keeps its log, which says why: until somebody has cleaned up.
#[test]
fn a_node_whose_head_is_killed_ends_soon_and_keeps_its_log() {
    let (machine, other) = (Machine::new("beheaded-head"), Machine::new("beheaded"));
    let head = machine.head();
    other.join(&head, &machine.token());
    let node = other.entry("pid").parse().expect("a pid");
    kill(machine.entry("pid").parse().expect("a pid"));
    eventually("the node ends", Duration::from_secs(20), || !runs(node));
    let log = other.dir.join("last.log");
    eventually("its directory goes", LONG, || other.nodes().is_empty());
    let said = std::fs::read_to_string(&log).expect("the log is kept");
    assert!(said.contains("the node ends") && said.contains("head"), "{said}");
    let said = other.fails(&["status"]);
    assert!(said.contains(&log.display().to_string()), "{said}");
    // What was killed has said nothing; the next keeps its log for it.
    machine.head();
    assert!(machine.dir.join("last.log").exists());
    for machine in [&machine, &other] {
        machine.ok(&["stop"]);
        assert!(!machine.dir.exists(), "something is left in {}", machine.dir.display());
    }
}

/// A daemon that is ended by a signal ends what its tasks have started too, like `stop`.
#[test]
fn a_signal_ends_whatever_runs_on_a_node() {
    let machine = Machine::new("signalled");
    machine.head();
    let (program, left) = leaves(&machine, "leaves_and_ends");
    program.ends();
    assert!(runs(left), "{left} has ended");
    let node: u32 = machine.entry("pid").parse().expect("a pid");
    assert!(Command::new("kill").arg(node.to_string()).status().expect("kill runs").success());
    eventually("the node ends", LONG, || !runs(node));
    assert!(!runs(left), "{left} runs, and nobody knows whose it is");
    assert!(!machine.dir.exists());
}
