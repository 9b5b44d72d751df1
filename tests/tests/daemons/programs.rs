//! Programs on the nodes of a cluster: fetched, kept, checked, and forgotten.

use super::*;

/// A head, and a node that programs fetch themselves to.
fn near_and_far(name: &str) -> (Machine, Machine) {
    let (head, second) = (Machine::new(name), Machine::new(&format!("{name}-second")));
    head.ok(&[
        &["start", "--head", "--node-ip-address", "127.0.0.1", "--port", "0", "--num-cpus", "2"][..],
        &["--resources", r#"{"near": 4}"#],
    ]
    .concat());
    second.join(&head.entry("address"), &head.token());
    (head, second)
}

/// What becomes of a task and an actor there, and of a task here.
fn far(machine: &Machine) -> [String; 3] {
    far_within(machine, LONG)
}

/// The same, where what becomes of the task is known in time.
fn far_within(machine: &Machine, time: Duration) -> [String; 3] {
    let mut program = machine.start("far");
    program.until("connected");
    let lines = [timed("a task there", time, || program.line()), program.line(), program.line()];
    program.ends();
    lines
}

/// The only program that a node keeps.
fn kept_program(node: &Machine) -> PathBuf {
    let cache = node.nodes().pop().expect("a node").join("programs");
    let mut kept: Vec<PathBuf> = std::fs::read_dir(&cache).expect("a cache").flatten().map(|one| one.path()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    kept.remove(0)
}

/// The same program, but for the name of one function: what another build of it would be.
fn another_build(program: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(program).expect("it can be read");
    let (old, new) = (&b"actinic_test_program::where_am_i"[..], &b"actinic_test_program::where_am_j"[..]);
    let places: Vec<usize> = (0..bytes.len() - old.len()).filter(|at| bytes[*at..].starts_with(old)).collect();
    assert!(!places.is_empty(), "its functions have their names");
    places.into_iter().for_each(|at| bytes[at..at + new.len()].copy_from_slice(new));
    bytes
}

/// What a node keeps is read when it is first needed again, and fetched anew if it is another by then.
#[test]
fn a_kept_program_that_was_altered_in_place_is_fetched_anew() {
    let (head, second) = near_and_far("altered");
    assert_eq!(far(&head), ["task: ok", "actor: ok", "near: ok"]);
    let kept = kept_program(&second);
    let (fetched, altered) = (std::fs::read(&kept).expect("it can be read"), another_build(&kept));
    // It can be written to when none of its workers runs any more.
    eventually("the kept program is altered", LONG, || {
        let open = std::fs::OpenOptions::new().write(true).open(&kept);
        open.is_ok_and(|mut file| file.write_all(&altered).is_ok())
    });
    assert!(std::fs::read(&kept).expect("it can be read") == altered, "it is of the same length");
    assert_eq!(far(&head), ["task: ok", "actor: ok", "near: ok"]);
    assert!(std::fs::read(kept_program(&second)).expect("it can be read") == fetched, "it was fetched anew");
    assert!(second.logs().contains("a program that is kept here was altered"), "{}", second.logs());
}

/// A worker that turns out to run another program than the driver's is refused, and the driver is told which, in time.
#[test]
fn a_worker_of_another_program_is_refused() {
    let (head, second) = near_and_far("program");
    // The second time the node finds that what it keeps is what it fetched, and does not ask again.
    for _ in 0..2 {
        assert_eq!(far(&head), ["task: ok", "actor: ok", "near: ok"]);
    }
    let kept = kept_program(&second);
    let bytes = another_build(&kept);
    // A new file: the old one may be running.
    std::fs::remove_file(&kept).expect("removed");
    std::fs::write(&kept, &bytes).expect("written");
    let mode: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&kept, mode.clone()).expect("made executable");
    let [task, actor, near] = far_within(&head, IN_TIME);
    assert!(task.starts_with("task: VersionMismatch ") && task.contains("the worker's program is"), "{task}");
    assert!(task.contains("pid") && task.contains("on node") && task.contains("run the driver again"), "{task}");
    // What was kept under the wrong name is gone: the next worker's program is fetched anew.
    assert_eq!([actor, near], ["actor: ok", "near: ok"]);
    // And so it is read again, once.
    assert_eq!(far(&head), ["task: ok", "actor: ok", "near: ok"]);
    // One that is no program at all goes the same way.
    std::fs::remove_file(&kept).expect("removed");
    std::fs::write(&kept, vec![0; bytes.len()]).expect("written");
    std::fs::set_permissions(&kept, mode).expect("made executable");
    let [task, actor, near] = far_within(&head, IN_TIME);
    assert!(task.starts_with("task: RuntimeEnvSetup ") && task.contains("run the driver again"), "{task}");
    assert_eq!([actor, near], ["actor: ok", "near: ok"]);
    assert!(head.ok(&["status"]).contains("2 alive"));
}

#[test]
fn a_program_that_is_rebuilt_meanwhile_goes_on_as_it_was() {
    let (head, second) = (Machine::new("rebuilt"), Machine::new("rebuilt-second"));
    let address = head.head();
    second.join(&address, &head.token());
    let copy = std::env::temp_dir().join(format!("actinic-test-program-{}", std::process::id()));
    std::fs::copy(PROGRAM, &copy).expect("copied");
    let mut program = head.start_at(&copy, "rebuilt");
    program.until("running");
    std::fs::remove_file(&copy).expect("removed");
    std::fs::write(&copy, "another program").expect("replaced");
    program.go_on();
    program.until("ok");
    program.ends();
    std::fs::remove_file(&copy).expect("removed");
}

/// Whether a node's daemon has a program: it holds the file open, by its own name or as what it keeps.
fn has_program(node: &Machine) -> bool {
    let open = std::fs::read_dir(format!("/proc/{}/fd", node.entry("pid"))).expect("the node runs").flatten();
    let mut files = open.filter_map(|one| std::fs::read_link(one.path()).ok());
    // While it arrives it has another name.
    let kept = |file: &Path| file.parent().is_some_and(|dir| dir.ends_with("programs")) && file.extension().is_none();
    files.any(|file| file == Path::new(PROGRAM) || kept(&file))
}

/// What the detached actor of a program that has ended says: the node that it is on, and where a task of its ran.
fn asks(machine: &Machine) -> (String, String) {
    let mut program = machine.start("asks_agent");
    program.until("asks");
    let said = (program.line(), program.line());
    program.ends();
    said
}

/// A node that joins when the driver is gone gets the program of the driver's detached actor, and all forget it with
/// the actor.
#[test]
fn a_detached_actor_works_on_nodes_that_its_driver_never_knew() {
    let (head, second) = near_and_far("agent");
    let third = Machine::new("agent-third");
    head.start("makes_agent").ends();
    let (address, token) = (head.entry("address"), head.token());
    let node = ["--num-cpus", "1", "--resources", r#"{"third": 1}"#];
    third.ok(&[&["start", "--address", &address, "--token", &token][..], &node].concat());
    assert!(!has_program(&third));
    assert_eq!(asks(&head), (second.entry("node"), third.entry("node")));
    let all = [&head, &second, &third];
    assert!(all.iter().all(|node| has_program(node)), "its actor lives");
    head.start("ends_agent").ends();
    eventually("all nodes forget the program", LONG, || !all.iter().any(|node| has_program(node)));
}

/// When the driver is gone, and then the node that both it and its detached actor were on, the head has the program.
#[test]
fn a_detached_actor_is_started_again_when_driver_and_node_are_gone() {
    let (head, second) = near_and_far("agent-again");
    second.start("makes_agent").ends();
    eventually("the head has the program", LONG, || has_program(&head));
    kill(second.pids()[0]);
    eventually("the second node is dead", LONG, || head.ok(&["status"]).contains("1 alive, 1 dead"));
    let node = head.entry("node");
    assert_eq!(asks(&head), (node.clone(), node));
    head.start("ends_agent").ends();
    eventually("the head forgets the program", LONG, || !has_program(&head));
}
