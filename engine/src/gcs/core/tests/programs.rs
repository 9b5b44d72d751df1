//! Which programs are needed, and who has them.

use super::*;

/// The nodes that are told to forget a job's program.
fn forget(world: &World, n: u128) -> Vec<NodeId> {
    let told = world.out.iter().filter_map(|action| match action {
        Action::ForgetProgram { to, job } if *job == job_id(n) => Some(to.clone()),
        _ => None,
    });
    told.flatten().collect()
}

/// The node that is told to keep a job's program.
fn keep(world: &World, n: u128) -> Vec<NodeId> {
    let told = world.out.iter().filter_map(|action| match action {
        Action::KeepProgram { node, job } if *job == job_id(n) => Some(*node),
        _ => None,
    });
    told.collect()
}

/// GCS-12: a program is needed while its job runs or an actor of it lives; then the nodes forget it.
#[test]
fn a_detached_actor_pins_its_program() {
    let mut world = World::new(3);
    world.tell(Event::JobStarted { row: Box::new(job_row(2, owner(2, 1))) });
    world.tell(Event::JobEnded { job: job_id(2) });
    assert_eq!(forget(&world, 2), [node_id(1), node_id(2), node_id(3)], "nothing is left of it");
    let detached = |n| with!(spec(n); detached: true, max_restarts: 1);
    world.create(detached(1));
    assert_eq!(keep(&world, 1), [node_id(1)], "the head has it for those that come later");
    let (node, run) = world.placed()[0];
    world.ready(node, run);
    world.create_alive(detached(2));
    assert!(keep(&world, 1).is_empty(), "it was told");
    world.create_alive(spec(3));
    world.tell(Event::JobEnded { job: job_id(1) });
    assert_eq!(
        (keep(&world, 1), forget(&world, 1)),
        (vec![node_id(1)], vec![]),
        "its driver may have been first to have it"
    );
    assert!(world.core.needs_program(job_id(1)));
    world.kill(1, true);
    assert!(forget(&world, 1).is_empty());
    // One that is started again needs it still.
    world.kill(2, false);
    assert!(forget(&world, 1).is_empty() && world.core.needs_program(job_id(1)));
    world.kill(2, true);
    assert_eq!(forget(&world, 1), [node_id(1), node_id(2), node_id(3)]);
    assert!(!world.core.needs_program(job_id(1)));
}

/// Who has a program: the driver's node, the head, and where its actors live, as long as they are up.
#[test]
fn the_nodes_that_have_a_program_are_known() {
    let mut world = World::new(2);
    world.tell(Event::JobStarted { row: Box::new(job_row(2, owner(2, 1))) });
    assert_eq!(world.core.program_holders(job_id(2)), [node_id(2), node_id(1)]);
    world.tell(Event::RegisterNode { row: Box::new(NodeRow { total: cpus(9), ..node_row(3, 9) }) });
    let on_third = with!(spec(1); job: job_id(2), detached: true, shape: cpus(9));
    assert_eq!(world.create_alive(on_third).0, node_id(3));
    assert_eq!(world.core.program_holders(job_id(2)), [node_id(2), node_id(1), node_id(3)]);
    world.tell(Event::NodeDead { node: node_id(2), cause: gone() });
    assert_eq!(world.core.program_holders(job_id(2)), [node_id(1), node_id(3)]);
}

/// A job of which an actor lives is known however many have ended since; then it is forgotten with the rest.
#[test]
fn the_job_of_a_detached_actor_is_remembered() {
    let mut world = World::new(1);
    world.core = GcsCore::new(Config { dead_others_max: 2, ..Config::default() });
    world.tell(Event::RegisterNode { row: Box::new(node_row(1, 4)) });
    world.tell(Event::JobStarted { row: Box::new(job_row(1, owner(1, 1))) });
    world.create_alive(with!(spec(1); detached: true));
    world.tell(Event::JobEnded { job: job_id(1) });
    for n in 2..=5 {
        world.tell(Event::JobStarted { row: Box::new(job_row(n, owner(1, n))) });
        world.tell(Event::JobEnded { job: job_id(n) });
    }
    let known = |world: &World| world.core.jobs(None).map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(known(&world), [job_id(1), job_id(4), job_id(5)]);
    world.kill(1, true);
    assert_eq!(known(&world), [job_id(4), job_id(5)]);
    assert_eq!(forget(&world, 1), [node_id(1)]);
}
