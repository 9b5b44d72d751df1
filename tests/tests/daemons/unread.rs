//! What is printed and cannot be: whoever was to read it has gone, or the disk that it goes to is full. A node runs on.

use super::*;

const START: [&str; 6] = ["start", "--head", "--node-ip-address", "127.0.0.1", "--port", "0"];

/// Any write to it fails.
fn full() -> std::fs::File {
    std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it")
}

/// A node in the foreground that nobody can hear does its work, under garbage too, and ends in good order.
fn runs_unheard(machine: &Machine, mut node: Child) {
    eventually("it runs", LONG, || !machine.nodes().is_empty());
    throw_garbage(&machine.entry("address"), |sent| sent >= 300);
    machine.start("one").ends();
    assert!(machine.ok(&["status"]).contains("1 alive"));
    assert!(Command::new("kill").arg(node.id().to_string()).status().expect("kill runs").success());
    let ended = node.wait().expect("it ends");
    assert_eq!(ended.code(), Some(0), "{ended}");
    assert!(!machine.dir.exists(), "something is left in {}", machine.dir.display());
}

#[test]
fn a_node_whose_log_cannot_be_written_runs_on() {
    for (name, stderr) in [("unread", Stdio::piped()), ("full", full().into())] {
        let machine = Machine::new(name);
        let mut command = machine.command(actinic(), &[&START[..], &["--block"]].concat());
        let mut node = command.stdout(Stdio::null()).stderr(stderr).spawn().expect("the command runs");
        drop(node.stderr.take());
        runs_unheard(&machine, node);
    }
}

#[test]
fn a_node_in_the_foreground_runs_whoever_reads_how_to_use_it() {
    for (name, stdout) in [("gone", Stdio::piped()), ("full-out", full().into())] {
        let machine = Machine::new(name);
        let mut command = machine.command(actinic(), &[&START[..], &["--block"]].concat());
        let mut node = command.stdout(stdout).stderr(Stdio::null()).spawn().expect("the command runs");
        drop(node.stdout.take());
        runs_unheard(&machine, node);
    }
}

/// A command that cannot say what it is asked fails, in one line; what it has done is done.
#[test]
fn a_command_whose_output_cannot_be_written_says_so() {
    let machine = Machine::new("unwritten");
    for args in [&START[..], &["status"], &["list", "nodes"], &["token", "show"], &["stop"]] {
        let out = machine.command(actinic(), args).stdout(full()).stderr(Stdio::piped()).output();
        let out = out.expect("the command runs");
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{args:?}: {said}");
        assert!(said.contains("standard output") && said.contains("No space left"), "{args:?}: {said}");
        assert_eq!(machine.nodes().len(), usize::from(args != ["stop"]), "after {args:?}");
    }
}
