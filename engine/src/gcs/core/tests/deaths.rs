//! Restarts, kills, ends, and what is reported twice.

use super::*;

fn with_restarts(n: u128, max_restarts: i64) -> ActorSpec {
    with!(spec(n); max_restarts)
}

/// ALF-01: a crash restarts while restarts are left; then the actor is dead, and says why.
#[test]
fn a_crash_restarts_as_often_as_allowed() {
    let mut world = World::new(1);
    let (node, run) = world.create_alive(with_restarts(1, 1));
    world.die(node, run, crash());
    assert_eq!(world.published(process(1, 1))[0].state, ActorState::Restarting);
    let (node, second) = world.placed()[0];
    assert_eq!((second.incarnation, second.attempt), (1, 1));
    world.ready(node, second);
    let row = world.row(1);
    assert_eq!((row.state, row.restarts), (ActorState::Alive, 1));
    world.die(node, second, crash());
    assert!(world.placed().is_empty());
    let death = world.published(process(1, 1))[0].death.clone().unwrap();
    let text = death.to_string();
    for part in ["Counter", &actor_id(1).to_string(), "signal 9", &node.to_string(), "max_restarts"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(world.warnings().len(), 1);
}

/// ALF-14: without restarts the first crash is the end.
#[test]
fn a_crash_without_restarts_is_the_end() {
    let mut world = World::new(1);
    let (node, run) = world.create_alive(spec(1));
    world.die(node, run, crash());
    assert_eq!(world.reason(1), DeathReason::WorkerDied { detail: "signal 9".to_owned() });
    assert_eq!(world.row(1).node, Some(node));
}

/// ALF-15, ALF-16: exit_actor never restarts, and warns nobody.
#[test]
fn an_intended_exit_never_restarts() {
    let mut world = World::new(1);
    let (node, run) = world.create_alive(with_restarts(1, -1));
    world.die(node, run, ActorEnd::Exited { detail: "enough".to_owned() });
    assert_eq!(world.reason(1), DeathReason::Exited { detail: "enough".to_owned() });
    assert!(world.row(1).death.as_ref().unwrap().to_string().contains("intended exit"));
    assert!(world.placed().is_empty() && world.warnings().is_empty());
}

/// What breaks outside of any call is the system's fault as a crash is, and says what it was.
#[test]
fn what_breaks_restarts_as_a_crash_does() {
    let mut world = World::new(1);
    let (node, run) = world.create_alive(with_restarts(1, 1));
    let broken = || ActorEnd::Broken { detail: "its context panicked".to_owned() };
    world.die(node, run, broken());
    assert_eq!(world.row(1).restarts, 1);
    let (node, run) = world.placed()[0];
    world.ready(node, run);
    world.die(node, run, broken());
    assert!(matches!(world.reason(1), DeathReason::Broken { .. }));
    let text = world.row(1).death.as_ref().unwrap().to_string();
    assert!(text.contains("its context panicked") && text.contains("max_restarts"), "{text}");
    assert_eq!(world.warnings().len(), 1);
}

/// ALF-12: a crash in the constructor counts as a death; with restarts left the constructor runs again.
#[test]
fn a_crash_in_the_constructor_is_restarted() {
    let mut world = World::new(1);
    world.create(spec(1));
    let (node, run) = world.placed()[0];
    world.fail(node, run, StartFailure::WorkerDied { detail: "exit status 1".to_owned() });
    assert!(matches!(world.reason(1), DeathReason::WorkerDied { .. }));

    world.create(with_restarts(2, 3));
    for incarnation in 0..2 {
        let (node, run) = world.placed()[0];
        assert_eq!(run.incarnation, incarnation);
        // However the raylet learns of it.
        if incarnation == 0 {
            world.fail(node, run, StartFailure::WorkerDied { detail: "exit status 1".to_owned() });
        } else {
            world.die(node, run, crash());
        }
    }
    let (node, run) = world.placed()[0];
    world.ready(node, run);
    assert_eq!((world.row(2).state, world.row(2).restarts), (ActorState::Alive, 2));
}

/// ALF-13, ALF-11: an error of the constructor is the end, at the first start and at a restart, and its text is kept.
#[test]
fn an_error_of_the_constructor_is_the_end() {
    let mut world = World::new(1);
    let error = || StartFailure::ConstructorError { text: "no such table".to_owned(), error: Bytes::from_static(b"e") };
    world.create(with_restarts(1, -1));
    let (node, run) = world.placed()[0];
    world.fail(node, run, error());
    assert!(world.placed().is_empty());
    assert!(world.row(1).death.as_ref().unwrap().to_string().contains("constructor: no such table"));
    let (node, run) = world.create_alive(with_restarts(2, -1));
    world.die(node, run, crash());
    let (node, run) = world.placed()[0];
    world.fail(node, run, error());
    assert!(matches!(world.reason(2), DeathReason::ConstructorError { .. }));
}

/// ALF-11: an actor that crashes in its constructor again and again is started ever more slowly, and gets through.
#[test]
fn a_crash_loop_does_not_spin() {
    let mut world = World::new(1);
    world.create(with_restarts(1, -1));
    let mut waits = Vec::new();
    for _ in 0..12 {
        let (node, run) = world.placed()[0];
        world.die(node, run, crash());
        let begin = world.now;
        while world.placed().is_empty() {
            world.tell(Event::Heartbeat { node: node_id(1) });
            world.now = world.core.next_wake().unwrap();
            world.tell(Event::Tick);
        }
        waits.push(world.now - begin);
    }
    assert_eq!(waits[..5], [ms(0), ms(0), ms(100), ms(200), ms(400)]);
    assert_eq!(waits[11], ms(5000));
    let (node, run) = world.placed()[0];
    world.ready(node, run);
    assert_eq!(world.row(1).state, ActorState::Alive);
}

/// ALF-17: kill with restart, then kill again.
#[test]
fn a_kill_may_restart_once() {
    let mut world = World::new(1);
    let (node, run) = world.create_alive(with_restarts(1, 1));
    world.kill(1, false);
    assert_eq!(world.ended(), [(node, run, EndHow::Kill)]);
    let (node, next) = world.placed()[0];
    // The killed one's death is reported later, and changes nothing (GCS-4).
    world.die(node, run, crash());
    assert!(world.placed().is_empty());
    world.ready(node, next);
    world.kill(1, false);
    assert_eq!(world.reason(1), DeathReason::Killed);
    assert_eq!(world.ended(), [(node, next, EndHow::Kill)]);
}

/// ACT-30: killed before it started: its place is free, whatever of it is still under way is told to end.
#[test]
fn a_kill_before_the_start_leaks_nothing() {
    let mut world = World::new(1);
    let whole = |n| with!(spec(n); shape: cpus(4), hold: cpus(4));
    world.create(whole(1));
    let (node, run) = world.placed()[0];
    world.create(whole(2));
    assert!(world.placed().is_empty(), "what is on its way to a node counts as held");
    world.kill(1, true);
    assert_eq!(world.ended(), [(node, run, EndHow::Kill)]);
    let (_, second) = world.placed()[0];
    assert_eq!(world.ready(node, run).ended(), [(node, run, EndHow::Kill)], "a late start is ended again");
    world.ready(node, second);
    assert_eq!(world.row(2).state, ActorState::Alive);
    world.create(whole(3));
    world.kill(3, true);
    assert!(world.ended().is_empty() && world.core.pending.is_empty(), "it was nowhere yet");
}

/// ACT-30: a kill that overtakes the creation.
#[test]
fn a_kill_before_the_creation_holds() {
    let mut world = World::new(1);
    assert!(matches!(world.kill(1, true), Reply::KilledUnknown));
    world.create(named(1, "a"));
    assert!(world.placed().is_empty());
    assert_eq!(world.reason(1), DeathReason::Killed);
    assert!(world.look_up("a", "ns").is_none());
}

/// A kill goes by the urgent lane, and a handle may be given away before its maker's request is at the GCS.
#[test]
fn a_kill_before_the_request_that_finds_an_actor_holds() {
    let mut world = World::new(1);
    let (node, run) = world.create_alive(named(1, "a"));
    assert!(matches!(world.kill(2, true), Reply::KilledUnknown));
    world.create(with!(named(2, "a"); get_if_exists: true));
    assert_eq!(world.ended(), [(node, run, EndHow::Kill)]);
    assert_eq!(world.reason(1), DeathReason::Killed);
}

/// ACT-25: an actor whose handles go before it is alive still serves the calls already made, then ends.
#[test]
fn an_actor_without_handles_serves_its_calls_first() {
    let mut world = World::new(1);
    world.create(with_restarts(1, 1));
    let (node, run) = world.placed()[0];
    world.tell(Event::HandlesGone { actor: actor_id(1) });
    assert!(world.ended().is_empty());
    world.die(node, run, crash());
    let (node, run) = world.placed()[0];
    assert_eq!(world.ready(node, run).ended(), [(node, run, EndHow::AfterCalls)]);
    assert!(world.tell(Event::HandlesGone { actor: actor_id(1) }).ended().is_empty(), "told once");
    world.die(node, run, ActorEnd::Ended);
    assert_eq!(world.reason(1), DeathReason::OutOfScope);
    let (node, run) = world.create_alive(with_restarts(3, -1));
    world.tell(Event::HandlesGone { actor: actor_id(3) });
    world.die(node, run, crash());
    assert!(matches!(world.reason(3), DeathReason::WorkerDied { .. }), "nobody would call it after a restart");
    world.create_alive(with!(spec(2); detached: true));
    world.tell(Event::HandlesGone { actor: actor_id(2) });
    assert!(world.ended().is_empty(), "a detached actor needs no handle");
    world.tell(Event::StopActor { actor: actor_id(2) });
    assert_eq!(world.ended().len(), 1, "but stops when asked");
}

/// SEMANTICS A4: an actor ends with its owner, even with restarts left.
#[test]
fn an_actor_ends_with_its_owner() {
    let mut world = World::new(2);
    let by_worker = |n| with!(spec(n); owner: owner(2, 8), max_restarts: -1);
    let (node, run) = world.create_alive(by_worker(1));
    world.create_alive(with!(by_worker(2); detached: true));
    world.tell(Event::ProcessDied { process: process(2, 8) });
    assert_eq!(world.ended(), [(node, run, EndHow::Kill)]);
    assert_eq!(world.reason(1), DeathReason::OwnerDied { owner: owner(2, 8) });
    assert_eq!(world.row(2).state, ActorState::Alive);
    let Reply::Refused(late) = world.create(by_worker(3)) else { panic!("its owner is dead") };
    assert_eq!(late.reason, Refusal::OwnerDead { owner: owner(2, 8) }.into());
    let other = OwnerId { number: 1, ..owner(1, 4) };
    world.create_alive(with!(spec(4); owner: other));
    world.create_alive(with!(spec(5); owner: owner(1, 4)));
    world.tell(Event::OwnerDied { owner: other });
    assert_eq!(world.reason(4), DeathReason::OwnerDied { owner: other });
    assert_eq!(world.row(5).state, ActorState::Alive, "another owner of the same process");
}

/// ALF-23, ALF-03: a node's death makes exactly one new incarnation of each of its actors, reported however often.
#[test]
fn a_node_death_restarts_each_actor_once() {
    let mut world = World::new(3);
    let bound = |n| with!(with_restarts(n, 5); scheduling: Scheduling::NodeAffinity { node: node_id(2), soft: true });
    let runs: Vec<_> = (1..=10).map(|n| world.create_alive(bound(n))).collect();
    assert!(runs.iter().all(|(node, _)| *node == node_id(2)));
    world.tell(Event::NodeDead { node: node_id(2), cause: gone() });
    let placed = world.placed();
    assert_eq!(placed.len(), 10);
    assert!(placed.iter().all(|(node, run)| *node != node_id(2) && run.incarnation == 1));
    assert_eq!(world.published(process(1, 1)).len(), 10, "one message with all of them");
    for (node, run) in runs {
        world.die(node, run, crash());
        assert!(world.placed().is_empty(), "GCS-4");
    }
    world.tell(Event::NodeDead { node: node_id(2), cause: gone() });
    assert!(world.placed().is_empty() && world.warnings().is_empty());
}

/// ALF-22: without restarts a node's death is its actors' end, with the node's cause in it.
#[test]
fn a_node_death_without_restarts_is_the_end() {
    let mut world = World::new(2);
    let scheduling = Scheduling::NodeAffinity { node: node_id(2), soft: false };
    world.create_alive(with!(spec(1); scheduling));
    world.create_alive(with!(with_restarts(2, 1); scheduling));
    world.tell(Event::NodeDead { node: node_id(2), cause: gone() });
    assert!(world.row(1).death.as_ref().unwrap().to_string().contains("port unreachable"));
    assert!(matches!(world.reason(2), DeathReason::Unschedulable { .. }), "bound to a node that is dead");
}

/// RPC-01: every message may arrive twice.
#[test]
fn duplicates_change_nothing() {
    let mut world = World::new(1);
    let (node, run) = world.create_alive(with_restarts(1, -1));
    assert!(matches!(world.create(with_restarts(1, -1)), Reply::Created(info) if info.state == ActorState::Alive));
    assert!(world.placed().is_empty(), "GCS-3");
    assert!(world.ready(node, run).out.is_empty());
    world.die(node, run, crash());
    let (node, next) = world.placed()[0];
    for _ in 0..2 {
        world.die(node, run, crash());
        assert!(world.placed().is_empty());
        assert_eq!(world.ready(node, run).ended(), [(node, run, EndHow::Kill)], "a stale run is told to end");
    }
    world.ready(node, next);
    assert_eq!(world.row(1).incarnation, 1);
    world.fail(node, next, StartFailure::NoRoom);
    assert_eq!(world.row(1).state, ActorState::Alive);
    let Reply::Refused(first) = world.create(named(2, "")) else { panic!("an empty name") };
    assert!(matches!(world.create(named(2, "")), Reply::Refused(again) if again == first));
}
