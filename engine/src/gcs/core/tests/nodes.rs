//! Nodes come, fall silent, die and leave.

use super::*;

/// NOD-01: who registers hears of all, and all hear of it; who dies or leaves is told to all.
#[test]
fn membership_is_told_to_all() {
    let mut world = World::new(2);
    world.tell(Event::RegisterNode { row: Box::new(node_row(3, 4)) });
    type Told = (Vec<NodeId>, Vec<(NodeId, NodeState)>);
    let told = |world: &World| -> Vec<Told> {
        let spread = |action: &Action| match action {
            Action::SpreadNodes { to, rows } => {
                Some((to.clone(), rows.iter().map(|row| (row.id, row.state)).collect()))
            }
            _ => None,
        };
        world.out.iter().filter_map(spread).collect()
    };
    let alive = |n| (node_id(n), NodeState::Alive);
    let both = vec![node_id(1), node_id(2)];
    assert_eq!(told(&world), [(both.clone(), vec![alive(3)]), (vec![node_id(3)], vec![alive(1), alive(2), alive(3)])]);
    world.tell(Event::NodeLeft { node: node_id(3) });
    assert_eq!(told(&world), [(both, vec![(node_id(3), NodeState::Left)])]);
    assert_eq!(world.core.nodes(Some(NodeState::Alive)).count(), 2);
    assert_eq!(world.core.views().count(), 2);
}

/// NOD-05: one warning for each node that dies, none for one that leaves (GCS-7).
#[test]
fn one_warning_for_each_death() {
    let mut world = World::new(4);
    for (n, warnings) in [(2, 1), (3, 1)] {
        world.tell(Event::NodeSuspected { node: node_id(n) });
        assert!(matches!(world.out[..], [Action::ProbeNode { .. }]));
        assert!(world.tell(Event::NodeSuspected { node: node_id(n) }).out.is_empty(), "one probe at a time");
        world.tell(Event::NodeDead { node: node_id(n), cause: gone() });
        assert_eq!(world.warnings().len(), warnings);
        assert!(world.tell(Event::NodeDead { node: node_id(n), cause: gone() }).out.is_empty());
    }
    assert!(world.tell(Event::NodeLeft { node: node_id(4) }).warnings().is_empty());
    assert!(world.tell(Event::NodeDead { node: node_id(4), cause: gone() }).warnings().is_empty());
}

/// NOD-13: a short silence is nothing; a long one is death; who comes back is told so and changes nothing (GCS-5).
#[test]
fn silence_is_death_and_death_is_final() {
    let mut world = World::new(2);
    let hear_head = |world: &mut World| {
        world.tell(Event::Heartbeat { node: node_id(1) });
    };
    for _ in 0..4 {
        hear_head(&mut world);
        world.pass(ms(1200));
    }
    assert_eq!(world.core.node(node_id(2)).unwrap().state, NodeState::Alive);
    hear_head(&mut world);
    assert_eq!(world.core.next_wake(), Some(ms(1000) + ms(5000)));
    world.pass(ms(200));
    assert!(matches!(&world.warnings()[..], [Warning::NodeDied { cause: NodeDeath::Silent { .. }, .. }]));
    let back: [Event; 4] = [
        Event::Heartbeat { node: node_id(2) },
        Event::RegisterNode { row: Box::new(node_row(2, 4)) },
        Event::ReportView { view: NodeView { node: node_id(2), version: 9, available: cpus(4), queued: 0 } },
        Event::ActorFailed {
            run: ActorRun { actor: actor_id(1), incarnation: 0, attempt: 1 },
            node: node_id(2),
            cause: StartFailure::NoRoom,
        },
    ];
    for event in back {
        world.tell(event);
        assert!(matches!(world.out[..], [Action::TellDead { node, .. }] if node == node_id(2)), "{:?}", world.out);
        assert_eq!(world.core.node(node_id(2)).unwrap().state, NodeState::Dead);
    }
}

/// Whatever a node says is a sign of life; what is said of it, or comes when it is dead, is none.
#[test]
fn how_long_ago_a_node_was_heard_from() {
    let mut world = World::new(3);
    let heard = |world: &World| world.core.heard(world.now).collect::<Vec<_>>();
    assert_eq!(heard(&world), [ms(0); 3], "they have registered");
    world.pass(ms(300)).tell(Event::Heartbeat { node: node_id(1) });
    world.pass(ms(400)).view(2, 1, cpus(3));
    world.tell(Event::NodeSuspected { node: node_id(3) });
    assert_eq!(heard(&world), [ms(400), ms(0), ms(700)]);
    world.tell(Event::NodeDead { node: node_id(3), cause: gone() });
    world.pass(ms(100)).tell(Event::Heartbeat { node: node_id(3) });
    assert_eq!(heard(&world), [ms(500), ms(100), ms(800)], "in the order of the rows, a dead one with them");
    assert_eq!(world.core.nodes(None).map(|row| row.id).collect::<Vec<_>>(), [1, 2, 3].map(node_id));
    world.pass(Duration::from_secs(60));
    assert_eq!(heard(&world)[..2], [ms(500), ms(100)], "the GCS slept");
}

/// NOD-13: the GCS's own sleep is not the nodes' silence.
#[test]
fn a_gcs_that_slept_blames_nobody() {
    let mut world = World::new(2);
    assert!(world.pass(Duration::from_secs(60)).warnings().is_empty());
    for _ in 0..5 {
        world.pass(ms(1000));
    }
    assert_eq!(world.core.nodes(Some(NodeState::Dead)).count(), 2, "but afterwards silence counts");
}

/// Views are gathered, spread at most once an interval, and an older one is ignored.
#[test]
fn views_are_gathered() {
    let mut world = World::new(2);
    world.pass(ms(100));
    assert!(world.view(1, 5, cpus(3)).out.is_empty());
    world.view(1, 6, cpus(2)).view(2, 1, cpus(1)).view(1, 4, cpus(4));
    assert_eq!(world.core.next_wake(), Some(world.now + ms(20)));
    world.pass(ms(20));
    let [Action::SpreadViews { to, views }] = &world.out[..] else { panic!("{:?}", world.out) };
    assert_eq!(to.len(), 2);
    assert_eq!(views.iter().map(|view| view.version).collect::<Vec<_>>(), [6, 1]);
    assert_eq!(world.core.next_wake(), Some(world.now + ms(1250)), "only to look for silence");
}

/// A heartbeat may overtake the registration, and then is no reason to die.
#[test]
fn an_unknown_node_is_asked_to_register() {
    let mut world = World::new(1);
    world.tell(Event::Heartbeat { node: node_id(9) });
    assert!(matches!(world.out[..], [Action::AskRegister { .. }]));
    world.tell(Event::RegisterNode { row: Box::new(node_row(9, 4)) });
    world.tell(Event::RegisterNode { row: Box::new(node_row(9, 4)) });
    assert_eq!(world.core.nodes(None).count(), 2);
    let other = NodeRow { process: process(9, 77), ..node_row(9, 4) };
    world.tell(Event::RegisterNode { row: Box::new(other) });
    assert!(matches!(world.out[..], [Action::TellDead { process: told, .. }] if told == process(9, 77)));
}

/// A heartbeat goes by another lane than the word that its node leaves, and may come after it (GCS-5).
#[test]
fn a_heartbeat_after_its_node_has_left_changes_nothing() {
    let mut world = World::new(2);
    world.tell(Event::NodeLeft { node: node_id(2) });
    world.tell(Event::Heartbeat { node: node_id(2) });
    assert!(matches!(world.out[..], [Action::TellDead { node, .. }] if node == node_id(2)), "{:?}", world.out);
    assert_eq!(world.core.node(node_id(2)).unwrap().state, NodeState::Left);
    assert!(world.pass(ms(1000)).out.is_empty(), "nor later");
}

/// The driver on a node ends with it, and its job.
#[test]
fn a_node_takes_its_drivers_along() {
    let mut world = World::new(3);
    world.tell(Event::JobStarted { row: Box::new(job_row(2, owner(2, 1))) });
    let scheduling = Scheduling::NodeAffinity { node: node_id(3), soft: false };
    let of_job_2 = with!(spec(1); job: job_id(2), owner: owner(2, 1), max_restarts: -1, scheduling);
    let (node, run) = world.create_alive(of_job_2);
    world.tell(Event::NodeDead { node: node_id(2), cause: gone() });
    assert_eq!(world.ended(), [(node, run, EndHow::Kill)]);
    assert!(world.core.jobs(Some(true)).all(|job| job.id == job_id(1)));
    world.tell(Event::JobStarted { row: Box::new(job_row(3, owner(2, 9))) });
    assert_eq!(world.core.jobs(Some(true)).count(), 1, "a driver that is dead starts nothing");
}
