//! Where actors go, and who waits.

use super::*;
use crate::resources::ResourceName;

fn holding(n: u128, cpu: u32) -> ActorSpec {
    with!(spec(n); shape: cpus(cpu), hold: cpus(cpu))
}

/// A7: the requester's node if it fits, else the one with the most room.
#[test]
fn an_actor_is_packed_at_home_then_where_most_is_free() {
    let mut world = World::new(3);
    world.view(2, 1, cpus(2));
    for n in 1..=4 {
        world.create(holding(n, 1));
        assert_eq!(world.placed()[0].0, node_id(1));
    }
    world.create(holding(5, 1));
    assert_eq!(world.placed()[0].0, node_id(3));
}

/// A4: a default actor needs a CPU to be placed, and holds none: any number of them fits.
#[test]
fn default_actors_hold_nothing() {
    let mut world = World::new(1);
    for n in 1..=100 {
        world.create(spec(n));
        assert_eq!(world.placed().len(), 1);
    }
    // What tasks hold comes back: it has its turn at the node, whose raylet sees to it.
    world.view(1, 1, ResourceSet::default());
    world.create(spec(101));
    assert_eq!(world.placed().len(), 1);
}

/// ACT-30: one that is killed on its way leaves what it would have held, though its node has nothing new to say.
#[test]
fn what_an_actor_never_took_is_free_again() {
    let mut world = World::new(1);
    for n in 1..=3 {
        world.create(holding(n, 4));
        assert_eq!(world.placed().len(), 1);
        world.tell(Event::KillActor { actor: actor_id(n), no_restart: true, reply: None });
    }
    world.create(holding(4, 4));
    assert_eq!(world.placed().len(), 1);
}

/// A7: spread goes where the fewest actors are.
#[test]
fn spread_uses_all_nodes() {
    let mut world = World::new(3);
    let mut on: BTreeMap<NodeId, usize> = BTreeMap::new();
    for n in 1..=9 {
        world.create(with!(spec(n); scheduling: Scheduling::Spread));
        *on.entry(world.placed()[0].0).or_default() += 1;
    }
    assert_eq!(on.into_values().collect::<Vec<_>>(), [3, 3, 3]);
}

/// A7: hard affinity waits for a busy node, and is refused at once for one that is dead, unknown or too small.
#[test]
fn hard_affinity_waits_or_is_refused() {
    let mut world = World::new(3);
    let to = |n, node, soft| with!(holding(n, 4); scheduling: Scheduling::NodeAffinity { node: node_id(node), soft });
    world.create(to(1, 2, false));
    assert_eq!(world.placed()[0].0, node_id(2));
    world.create(to(2, 2, false));
    assert!(world.placed().is_empty());
    world.tell(Event::NodeDead { node: node_id(3), cause: gone() });
    for (n, node, words) in [(3, 3, "dead"), (4, 9, "unknown")] {
        let Reply::Refused(death) = world.create(to(n, node, false)) else { panic!("{words}") };
        assert!(death.to_string().contains(words), "{death}");
        assert!(matches!(death.reason, DeathReason::Refused { why: Refusal::Infeasible { .. } }));
        assert_eq!(world.published(process(1, 1))[0].state, ActorState::Dead);
    }
    let small = with!(to(5, 1, false); shape: cpus(5));
    let Reply::Refused(death) = world.create(small) else { panic!("too small") };
    assert!(death.to_string().contains("needs {CPU: 5}"), "{death}");
    world.create(to(6, 3, true));
    assert_eq!(world.placed()[0].0, node_id(1), "soft affinity to a dead node means another");
    world.tell(Event::NodeDead { node: node_id(2), cause: gone() });
    assert!(matches!(world.reason(2), DeathReason::Unschedulable { .. }), "it waited for a node that died");
}

/// A7: nodes with GPUs are left to those who ask for GPUs, while others have room.
#[test]
fn what_needs_no_gpu_leaves_nodes_with_gpus_to_others() {
    let with_gpus = |cpu, gpu| {
        let amounts = [(ResourceName::Cpu, cpu), (ResourceName::Gpu, gpu)];
        ResourceSet::from_iter(amounts.map(|(name, amount)| (name, Quantity::whole(amount))))
    };
    let mut world = World::new(2);
    for n in [11, 12] {
        let row = NodeRow { total: with_gpus(4, 4), ..node_row(n, 4) };
        world.tell(Event::RegisterNode { row: Box::new(row) });
    }
    let mut n = 0;
    let mut create = |shape: ResourceSet, by: u128, scheduling| {
        n += 1;
        world.create(with!(spec(n); hold: shape.clone(), shape, owner: owner(by, 1), scheduling));
        world.placed()[0].0
    };
    // Made on a node with GPUs, they go to those without.
    assert_eq!(create(cpus(1), 11, Scheduling::Default), node_id(1));
    assert_eq!(create(cpus(1), 11, Scheduling::Spread), node_id(2));
    assert_eq!(create(with_gpus(1, 1), 11, Scheduling::Default), node_id(11));
    assert_eq!(create(cpus(3), 1, Scheduling::Spread), node_id(1));
    assert_eq!(create(cpus(3), 1, Scheduling::Spread), node_id(2));
    assert_eq!(create(cpus(2), 12, Scheduling::Default), node_id(12), "no other has room");
    assert_eq!(create(cpus(2), 12, Scheduling::Spread), node_id(11));
}

/// One that asked to fail is refused at once if no node could ever hold it, and waits for a busy one.
#[test]
fn what_no_node_can_hold_is_refused_if_it_is_to_fail() {
    let mut world = World::new(1);
    let failing = |n, cpu| with!(holding(n, cpu); fails: true);
    let Reply::Refused(death) = world.create(failing(1, 8)) else { panic!("too large") };
    assert!(matches!(death.reason, DeathReason::Refused { why: Refusal::Infeasible { .. } }));
    world.create(failing(2, 4));
    assert_eq!(world.placed().len(), 1);
    world.create(failing(3, 4));
    assert!(world.placed().is_empty() && world.row(3).state == ActorState::PendingCreation);
}

/// A2: what no node can hold is warned about once within a second, and runs when a node joins.
#[test]
fn an_infeasible_actor_is_warned_about_and_runs_later() {
    let mut world = World::new(1);
    world.create(holding(1, 8));
    world.create(holding(2, 8));
    assert!(world.warnings().is_empty());
    assert_eq!(world.core.next_wake(), Some(world.now + ms(500)));
    world.pass(ms(500));
    let [Warning::ActorsPending { actor, count: 2, text, .. }] = &world.warnings()[..] else {
        panic!("{:?}", world.out)
    };
    assert_eq!(*actor, actor_id(1));
    assert!(text.contains("no node can ever hold it") && text.contains("CPU: 8"), "{text}");
    assert_eq!(world.core.why_pending(actor_id(2)).as_ref(), Some(text));
    let text = text.clone();
    assert!(world.pass(ms(500)).warnings().is_empty(), "once");
    // Whoever comes after the warning is told for itself.
    world.create(holding(3, 8));
    let waits = |world: &World, to| world.published(to).into_iter().find(|info| info.id == actor_id(3)).unwrap().waits;
    assert_eq!(waits(&world, process(1, 1)).as_deref(), Some(text.as_str()));
    // Whoever else has a handle, too; and that it waits no more.
    world.tell(Event::Subscribe { actor: actor_id(3), owner: None, to: process(1, 5) });
    assert_eq!(waits(&world, process(1, 5)).as_deref(), Some(text.as_str()));
    assert_eq!(world.core.demands().into_iter().collect::<Vec<_>>(), [(cpus(8), 3)]);
    // So are the people of another program, once.
    let warned = |world: &World, to: ProcessId| {
        let is = |action: &Action| matches!(action, Action::WarnOwners { to: told, .. } if *told == [to]);
        world.out.iter().any(is)
    };
    world.create(with!(holding(4, 8); owner: owner(1, 7)));
    assert!(warned(&world, process(1, 7)), "{:?}", world.out);
    world.create(with!(holding(5, 8); owner: owner(1, 7)));
    assert!(world.warnings().is_empty());
    world.tell(Event::RegisterNode { row: Box::new(node_row(2, 16)) });
    let placed = world.placed();
    assert_eq!(
        placed.iter().map(|(node, run)| (*node, run.actor)).collect::<Vec<_>>(),
        [(node_id(2), actor_id(1)), (node_id(2), actor_id(2))]
    );
    assert_eq!(world.published(process(1, 1))[0].waits, None);
    // Nobody is told to do what is done.
    let others = world.published(process(1, 7));
    assert!(
        others.iter().all(|info| info.waits.as_ref().is_some_and(|text| text.contains("free is only"))),
        "{others:?}"
    );
    assert_eq!(world.row(3).state, ActorState::PendingCreation, "the node is full");
}

/// GCS-8: that nodes are busy is no cause for a warning, but whoever watches hears of it within a second.
#[test]
fn whoever_watches_hears_that_an_actor_waits_for_busy_nodes() {
    let mut world = World::new(1);
    world.create(holding(1, 4));
    world.create(holding(2, 4));
    assert_eq!(world.row(2).waits, None);
    world.pass(ms(500));
    let waits = world.published(process(1, 1)).into_iter().find(|info| info.id == actor_id(2)).unwrap().waits;
    assert!(waits.as_ref().is_some_and(|text| text.contains("it needs {CPU: 4}, and free is only")), "{waits:?}");
    // Whoever comes later is told for itself.
    world.create(holding(3, 4));
    assert_eq!(world.row(3).waits, waits);
    assert!(world.pass(ms(2000)).warnings().is_empty(), "it is its turn soon");
}

/// GCS-8: whoever waits is tried when something is free, oldest first; a newcomer does not overtake.
#[test]
fn those_who_wait_go_first() {
    let mut world = World::new(1);
    for n in 1..=4 {
        world.create(holding(n, 4));
    }
    assert_eq!(world.core.pending.len(), 1);
    world.tell(Event::ActorPlaced { run: world.row(1).run(), node: node_id(1) });
    world.view(1, 1, cpus(0));
    assert!(world.placed().is_empty());
    assert!(world.core.why_pending(actor_id(2)).unwrap().contains("CPU"), "it says what it waits for");
    // In one batch: room, and a newcomer that wants it.
    let view = NodeView { node: node_id(1), version: 2, available: cpus(4), queued: 0 };
    let newcomer = Event::CreateActor { spec: Arc::new(holding(5, 4)), reply: ReplyId(99) };
    world.out.clear();
    world.core.handle_all(world.now, [Event::ReportView { view }, newcomer], &mut world.out);
    check(&world.core);
    assert_eq!(world.placed().iter().map(|(_, run)| run.actor).collect::<Vec<_>>(), [actor_id(2)]);
}

/// A node that has no room after all is not asked again before it has said something new.
#[test]
fn no_room_is_tried_elsewhere_and_not_in_circles() {
    let mut world = World::new(2);
    world.create(holding(1, 2));
    let (first, run) = world.placed()[0];
    assert_eq!(first, node_id(1));
    world.fail(first, run, StartFailure::NoRoom);
    let (second, next) = world.placed()[0];
    assert_eq!((second, next.incarnation, next.attempt), (node_id(2), 0, 2));
    assert!(world.fail(first, run, StartFailure::NoRoom).placed().is_empty(), "a duplicate");
    world.fail(second, next, StartFailure::NoRoom);
    assert!(world.placed().is_empty());
    world.view(1, 1, cpus(4));
    let (node, third) = world.placed()[0];
    assert_eq!((node, third.attempt), (node_id(1), 3));
    assert_eq!(
        world.ready(first, run).ended(),
        [(first, run, EndHow::Kill)],
        "an attempt given up on that starts after all"
    );
    world.ready(node, third);
    assert_eq!(world.row(1).restarts, 0, "no restart was used up");
}

/// No new actor goes to a suspect; it counts again once it is heard from.
#[test]
fn a_suspect_gets_no_new_actor() {
    let mut world = World::new(1);
    world.tell(Event::NodeSuspected { node: node_id(1) });
    world.create(spec(1));
    assert!(world.placed().is_empty());
    world.tell(Event::Heartbeat { node: node_id(1) });
    assert_eq!(world.placed().len(), 1);
}

/// One for each of two nodes, and actors that were sent to them while tasks took all they have: 1 at the first, 2 at the
/// second.
fn two_busy_nodes() -> (World, [(NodeId, ActorRun); 2]) {
    let mut world = World::new(2);
    world.view(1, 1, cpus(0));
    world.view(2, 1, cpus(0));
    world.create(spec(1));
    let first = world.placed()[0];
    world.create(spec(2));
    let second = world.placed()[0];
    assert_eq!((first.0, second.0), (node_id(1), node_id(2)));
    (world, [first, second])
}

/// GCS-14: the room that one finds elsewhere while it waits at a busy node is its own, once its node has given it back.
#[test]
fn what_waits_at_a_busy_node_moves_to_one_that_has_room() {
    let (mut world, [(first, run), (second, other)]) = two_busy_nodes();
    world.pass(ms(300));
    assert!(world.view(2, 2, cpus(1)).recalled().is_empty(), "it has just come");
    assert!(world.core.why_pending(actor_id(1)).unwrap().contains("its turn on node"));
    world.pass(ms(700));
    assert_eq!(world.recalled(), [(first, run)], "and the other has room where it is");
    assert!(world.placed().is_empty(), "it may begin there yet");
    let waits = world.row(1).waits.clone().expect("who watches is told");
    assert!(waits.contains("needs {CPU: 1}") && waits.contains(&format!("its turn on node {first}")), "{waits}");
    assert!(world.pass(ms(100)).recalled().is_empty(), "once");
    world.fail(first, run, StartFailure::NoRoom);
    let (node, next) = world.placed()[0];
    assert_eq!((node, next.incarnation, next.attempt), (second, 0, 2));
    assert_eq!(world.row(1).waits, None);
    world.tell(Event::ActorPlaced { run: other, node: second });
    world.tell(Event::ActorPlaced { run: next, node: second });
    assert!(world.core.sent.is_empty() && world.core.long_sent.is_empty());
    // Nothing that the first node says of it counts any more.
    assert!(world.fail(first, run, StartFailure::NoRoom).placed().is_empty());
    assert_eq!(world.ready(first, run).ended(), [(first, run, EndHow::Kill)]);
    world.ready(second, next);
    assert_eq!((world.row(1).state, world.row(1).restarts), (ActorState::Alive, 0));
}

/// GCS-14: one that begins where it waited stays there, though it was asked for; so does one that is bound.
#[test]
fn what_has_begun_or_is_bound_does_not_move() {
    let (mut world, [(first, run), (second, other)]) = two_busy_nodes();
    world.tell(Event::ActorPlaced { run: other, node: second });
    world.pass(ms(1000));
    world.view(2, 2, cpus(4));
    assert_eq!(world.recalled(), [(first, run)]);
    // Its node says so, or had said so before.
    world.tell(Event::ActorPlaced { run, node: first });
    world.pass(ms(5000));
    world.view(2, 3, cpus(3));
    assert!(world.recalled().is_empty() && world.placed().is_empty());
    world.ready(first, run);
    assert_eq!(world.row(1).address(), Some(address(first, run)));

    let mut world = World::new(2);
    world.view(1, 1, cpus(0));
    let scheduling = Scheduling::NodeAffinity { node: node_id(1), soft: true };
    world.create(with!(spec(1); scheduling));
    assert_eq!(world.placed()[0].0, node_id(1));
    world.pass(ms(1000));
    assert!(world.recalled().is_empty());
    assert!(world.row(1).waits.as_ref().is_some_and(|text| text.contains("prefers node")), "{:?}", world.row(1));
}

/// GCS-14: room for one calls one back, and the next only when it is seen what became of the first; whoever is asked and
/// does not answer holds up nobody for long.
#[test]
fn room_for_one_calls_back_one() {
    let mut world = World::new(3);
    for n in 1..=3 {
        world.view(n, 1, cpus(0));
    }
    for n in 1..=4 {
        world.create(holding(n, 4));
    }
    assert_eq!(
        (world.core.sent.len(), world.core.pending.len()),
        (3, 1),
        "no node has a place in its queue for the fourth"
    );
    world.tell(Event::RegisterNode { row: Box::new(node_row(4, 4)) });
    assert_eq!(world.placed()[0].1.actor, actor_id(4));
    world.tell(Event::RegisterNode { row: Box::new(node_row(5, 4)) });
    world.pass_in_health(ms(1000));
    let run = |world: &World, n| (world.row(n).node.unwrap(), world.row(n).run());
    assert_eq!(world.recalled(), [run(&world, 1)]);
    let (node, first) = run(&world, 1);
    world.fail(node, first, StartFailure::NoRoom);
    assert_eq!(world.placed()[0].0, node_id(5));
    assert!(world.recalled().is_empty(), "the room is taken");
    world.tell(Event::RegisterNode { row: Box::new(node_row(6, 4)) });
    assert_eq!(world.recalled(), [run(&world, 2)]);
    world.tell(Event::NodeSuspected { node: run(&world, 2).0 });
    world.out.clear();
    world.now += ms(1000);
    world.tell(Event::Tick);
    assert_eq!(world.recalled(), [run(&world, 3)], "a suspect gives nothing back");
}

/// GCS-8: of those who wait at busy nodes people hear too, once.
#[test]
fn what_waits_at_a_busy_node_for_long_is_warned_of() {
    let (mut world, _) = two_busy_nodes();
    world.pass_in_health(ms(29_500));
    assert!(world.warnings().is_empty());
    world.pass_in_health(ms(1000));
    let [Warning::ActorsPending { count: 2, text, .. }] = &world.warnings()[..] else { panic!("{:?}", world.out) };
    assert!(text.contains("its turn on node"), "{text}");
    world.out.clear();
    world.pass_in_health(ms(60_000));
    assert!(world.warnings().is_empty());
}

/// GCS-4: what had not been admitted anywhere when its node died was not lost: it goes elsewhere, with all its restarts.
#[test]
fn what_only_waited_on_a_node_outlives_it() {
    let (mut world, [(first, _), (second, other)]) = two_busy_nodes();
    world.tell(Event::ActorPlaced { run: other, node: second });
    world.create(with!(spec(3); owner: owner(1, 1), max_restarts: 1));
    world.tell(Event::RegisterNode { row: Box::new(node_row(3, 4)) });
    world.tell(Event::NodeDead { node: second, cause: gone() });
    assert!(matches!(world.reason(2), DeathReason::NodeDied { .. }), "it may have begun");
    let third = world.row(3).node.unwrap();
    assert_eq!(third, first, "it waits where few do");
    world.tell(Event::JobStarted { row: Box::new(job_row(2, owner(3, 1))) });
    world.create(with!(spec(4); job: job_id(2), owner: owner(3, 1), detached: true));
    let (node, run) = world.placed()[0];
    assert_eq!(node, node_id(3));
    world.tell(Event::NodeDead { node, cause: gone() });
    let (node, next) = world.placed()[0];
    assert_eq!((node, next.incarnation, next.attempt), (first, run.incarnation, run.attempt + 1));
    assert_eq!((world.row(4).state, world.row(4).restarts), (ActorState::PendingCreation, 0));
}
