//! Who is told what.

use super::*;

fn states(rows: &[ActorInfo]) -> Vec<ActorState> {
    rows.iter().map(|row| row.state).collect()
}

/// GCS-10: a subscriber gets the present state, then every change; the owner without asking.
#[test]
fn subscribers_hear_every_change() {
    let mut world = World::new(2);
    let borrower = process(2, 3);
    world.create(with!(spec(1); max_restarts: 1));
    assert_eq!(states(&world.published(process(1, 1))), [ActorState::PendingCreation]);
    let (node, run) = world.placed()[0];
    let subscribe = || Event::Subscribe { actor: actor_id(1), owner: Some(owner(1, 1)), to: borrower };
    world.tell(subscribe());
    assert_eq!(states(&world.published(borrower)), [ActorState::PendingCreation]);
    world.tell(subscribe());
    world.ready(node, run);
    for to in [borrower, process(1, 1)] {
        let [info] = &world.published(to)[..] else { panic!("one row") };
        assert_eq!((info.state, info.address, info.incarnation), (ActorState::Alive, Some(address(node, run)), 0));
    }
    world.die(node, run, crash());
    assert_eq!(states(&world.published(borrower)), [ActorState::Restarting]);
    world.kill(1, true);
    for to in [borrower, process(1, 1)] {
        assert_eq!(states(&world.published(to)), [ActorState::Dead]);
    }
    world.tell(subscribe());
    assert_eq!(states(&world.published(borrower)), [ActorState::Dead], "a dead one still says why");
}

/// Where actors are that share a process is kept once, and each has an address of its own there.
#[test]
fn actors_of_one_process_share_where_they_are() {
    let mut world = World::new(1);
    let (node, first) = world.create_alive(spec(1));
    world.create(spec(2));
    let (_, second) = world.placed()[0];
    world.tell(Event::ActorReady { run: second, node, seat: seat(node, first) });
    let [one, other] = [1, 2].map(|n| world.row(n).clone());
    assert!(Arc::ptr_eq(one.seat.as_ref().unwrap(), other.seat.as_ref().unwrap()));
    let (one, other) = (one.address().unwrap(), other.address().unwrap());
    assert!(one.process == other.process && one.actor != other.actor);
}

/// Whoever has a handle of an actor that is killed before it is asked for hears so: it may never be.
#[test]
fn a_kill_before_the_creation_is_told_to_subscribers() {
    let mut world = World::new(2);
    let (early, late) = (process(2, 3), process(2, 4));
    let subscribe = |to| Event::Subscribe { actor: actor_id(1), owner: Some(owner(1, 1)), to };
    world.tell(subscribe(early));
    assert_eq!(states(&world.published(early)), [ActorState::DependenciesUnready]);
    world.kill(1, true);
    let told = world.published(early);
    world.tell(subscribe(late));
    for rows in [told, world.published(late)] {
        let [info] = &rows[..] else { panic!("one row, and not {rows:?}") };
        assert_eq!((info.state, &info.death.as_ref().unwrap().reason), (ActorState::Dead, &DeathReason::Killed));
    }
}

/// A borrower may hear of an actor before its owner has asked for it.
#[test]
fn a_subscription_may_come_before_the_actor() {
    let mut world = World::new(2);
    let borrower = process(2, 3);
    let subscribe = |n| Event::Subscribe { actor: actor_id(n), owner: Some(owner(1, 1)), to: borrower };
    world.tell(subscribe(1));
    assert_eq!(states(&world.published(borrower)), [ActorState::DependenciesUnready]);
    world.tell(subscribe(2));
    world.create(spec(1));
    assert_eq!(states(&world.published(borrower)), [ActorState::PendingCreation]);
    world.tell(Event::JobEnded { job: job_id(1) });
    assert_eq!(states(&world.published(borrower)), [ActorState::Dead]);
    world.tell(Event::ProcessDied { process: process(1, 1) });
    let [info] = &world.published(borrower)[..] else { panic!("one row") };
    assert_eq!(
        (info.id, &info.death.as_ref().unwrap().reason),
        (actor_id(2), &DeathReason::OwnerDied { owner: owner(1, 1) })
    );
    world.tell(subscribe(3));
    assert_eq!(states(&world.published(borrower)), [ActorState::Dead]);
    world.tell(Event::Subscribe { actor: actor_id(4), owner: None, to: borrower });
    assert!(
        world.published(borrower)[0].death.as_ref().unwrap().to_string().contains("unknown, or has been dead for long")
    );
}

/// Nothing is sent to a process that is gone.
#[test]
fn dead_processes_are_not_told() {
    let mut world = World::new(2);
    let borrower = process(2, 3);
    world.create(with!(spec(1); detached: true));
    world.tell(Event::Subscribe { actor: actor_id(1), owner: None, to: borrower });
    world.tell(Event::ProcessDied { process: borrower });
    world.tell(Event::ProcessDied { process: process(1, 1) });
    world.kill(1, true);
    assert!(!world.out.iter().any(|action| matches!(action, Action::Publish { .. })));
    assert!(world.core.watched.is_empty());
}

/// GCS-9: the dead are remembered, but not for ever.
#[test]
fn the_long_dead_are_forgotten() {
    let mut world = World::new(1);
    world.core = GcsCore::new(Config { dead_actors_max: 10, ..Config::default() });
    world.tell(Event::RegisterNode { row: Box::new(node_row(1, 4)) });
    world.tell(Event::JobStarted { row: Box::new(job_row(1, owner(1, 1))) });
    for n in 1..=30 {
        world.create_alive(named(n, "a"));
        world.kill(n, true);
    }
    assert_eq!(world.core.actors.len(), 10);
    assert!(world.core.actor(actor_id(20)).is_none());
    assert_eq!(world.reason(21), DeathReason::Killed);
    let dead = ActorFilter { state: Some(ActorState::Dead), job: Some(job_id(1)), ..ActorFilter::default() };
    assert_eq!(world.core.actors(&dead).count(), 10);
    assert_eq!(world.core.actors(&ActorFilter { class: Some("Other".to_owned()), ..dead }).count(), 0);
}

/// Whoever gets a handle of an actor that died very long ago is told so at once, and does not wait as for one that is still to
/// be asked for.
#[test]
fn the_long_dead_are_not_waited_for() {
    let mut world = World::new(1);
    world.core = GcsCore::new(Config { dead_actors_max: 5, ..Config::default() });
    world.tell(Event::RegisterNode { row: Box::new(node_row(1, 4)) });
    world.tell(Event::JobStarted { row: Box::new(job_row(1, owner(1, 1))) });
    let found = |n| with!(named(n, "a"); get_if_exists: true);
    world.create_alive(found(1));
    world.create(found(100));
    world.kill(1, true);
    for n in 2..=20 {
        world.create_alive(spec(n));
        world.kill(n, true);
    }
    let late = process(2, 3);
    for n in [1, 100, 2, 15] {
        assert!(world.core.actor(actor_id(n)).is_none());
        world.tell(Event::Subscribe { actor: actor_id(n), owner: Some(owner(1, 1)), to: late });
        let [info] = &world.published(late)[..] else { panic!("one row") };
        assert_eq!((info.id, &info.death.as_ref().unwrap().reason), (actor_id(n), &DeathReason::Unknown));
    }
    assert!(world.core.early_subscribers.is_empty());
    world.tell(Event::Subscribe { actor: actor_id(21), owner: Some(owner(1, 1)), to: late });
    assert_eq!(states(&world.published(late)), [ActorState::DependenciesUnready], "it was not asked for yet");
    // Of what nobody has a handle of, and of what died even longer ago, nothing is kept.
    world.create_alive(spec(22));
    world.tell(Event::HandlesGone { actor: actor_id(22) });
    world.kill(22, true);
    for n in 30..=100 {
        world.create_alive(spec(n + 100));
        world.kill(n + 100, true);
    }
    assert!(!world.core.actors.is_long_dead(actor_id(22)) && !world.core.actors.is_long_dead(actor_id(2)));
    assert!(world.core.actors.is_long_dead(actor_id(190)));
}

/// Rows are plain: what a store or the wire gives back is what was given.
#[test]
fn rows_travel() {
    let mut world = World::new(1);
    let (node, run) = world.create_alive(named(1, "a"));
    let row = world.row(1).clone();
    let back: ActorRow = postcard::from_bytes(&postcard::to_stdvec(&row).unwrap()).unwrap();
    assert_eq!((back.info(), &back.spec), (row.info(), &row.spec));
    world.fail(node, run, StartFailure::NoRoom).die(node, run, crash());
    let info = world.row(1).info();
    assert_eq!(postcard::from_bytes::<ActorInfo>(&postcard::to_stdvec(&info).unwrap()).unwrap(), info);
}

/// There may be more actors than one answer has room for: they are listed a page at a time, without their arguments.
#[test]
fn actors_are_listed_page_by_page() {
    let mut world = World::new(1);
    for n in 1..=10 {
        world.create(spec(n));
    }
    let pages = |count, bytes| {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = world.core.actors_page(after, count, bytes);
            let Some(last) = page.last() else { return pages };
            after = Some(last.number);
            assert!(page.iter().all(|row| row.spec.creation.is_empty()));
            pages.push(page.into_iter().map(|row| row.spec.id).collect::<Vec<_>>());
        }
    };
    let sizes = |pages: &[Vec<ActorId>]| pages.iter().map(Vec::len).collect::<Vec<_>>();
    let all: Vec<ActorId> = (1..=10).map(actor_id).collect();
    let by_count = pages(4, usize::MAX);
    assert_eq!((sizes(&by_count), by_count.concat()), (vec![4, 4, 2], all.clone()));
    let row = postcard::to_stdvec(&world.core.actors_page(None, 1, usize::MAX)[0]).unwrap().len();
    // A number may take a byte more than another.
    let by_bytes = pages(usize::MAX, 3 * row + row / 2);
    assert_eq!((sizes(&by_bytes), by_bytes.concat()), (vec![3, 3, 3, 1], all.clone()));
    assert_eq!(pages(usize::MAX, 0).concat(), all, "one at least");
}
