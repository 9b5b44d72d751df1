//! What ends with a program or a node: every process that it has started.

use super::*;

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
        let mut program = machine.start("leaves");
        program.until("connected");
        let left: u32 = program.line().parse().expect("a pid");
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
    let mut program = machine.start("leaves_and_ends");
    program.until("connected");
    let left: u32 = program.line().parse().expect("a pid");
    program.ends();
    machine.ok(&["stop"]);
    assert!(!runs(left), "{left} runs");
}
