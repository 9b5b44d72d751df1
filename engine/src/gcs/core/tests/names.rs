//! Names: taken, shared, freed.

use super::*;

/// ACT-13: an empty name is refused; a name is taken once; both actors of two names live.
#[test]
fn a_name_is_taken_once_and_never_empty() {
    let mut world = World::new(1);
    let Reply::Refused(death) = world.create(named(1, "")) else { panic!("an empty name") };
    assert_eq!(death.reason, Refusal::EmptyName.into());
    let detached = with!(named(2, "a"); detached: true);
    assert!(matches!(world.create(detached), Reply::Created(_)));
    let Reply::Refused(death) = world.create(named(3, "a")) else { panic!("the name is taken") };
    assert!(death.to_string().contains("exists already"), "{death}");
    assert!(
        matches!(&death.reason, DeathReason::Refused { why: Refusal::NameTaken { holder, .. } } if *holder == actor_id(2))
    );
    assert!(world.placed().is_empty());
    assert!(matches!(world.create(named(4, "b")), Reply::Created(_)));
    assert_eq!(world.look_up("a", "ns").unwrap().id, actor_id(2));
}

/// ACT-12: a named actor that is not detached ends with its driver: not found, the name free, the list empty.
#[test]
fn a_name_ends_with_its_job() {
    let mut world = World::new(1);
    let (node, run) = world.create_alive(named(1, "a"));
    world.tell(Event::JobEnded { job: job_id(1) });
    assert_eq!(world.ended(), [(node, run, EndHow::Kill)]);
    assert_eq!(world.reason(1), DeathReason::JobEnded { job: job_id(1) });
    assert!(world.out.iter().any(|action| matches!(action, Action::TellJobEnded { job, .. } if *job == job_id(1))));
    assert!(world.look_up("a", "ns").is_none());
    let reply = world.reply_id();
    world.tell(Event::ListNamed { namespace: None, reply });
    assert!(matches!(world.the_reply(reply), Reply::Names(names) if names.is_empty()));
    world.tell(Event::JobStarted { row: Box::new(job_row(2, owner(1, 2))) });
    let again = with!(named(2, "a"); job: job_id(2), owner: owner(1, 2));
    assert!(matches!(world.create(again), Reply::Created(_)));
}

/// ACT-13: a detached actor outlives its driver, and so do actors that it makes afterwards; they end with it.
#[test]
fn a_detached_actor_and_what_it_makes_outlive_the_driver() {
    let mut world = World::new(2);
    world.create_alive(with!(named(1, "d"); detached: true));
    world.tell(Event::ProcessDied { process: process(1, 1) });
    assert!(world.core.job(job_id(1)).unwrap().ended.is_some());
    assert_eq!(world.look_up("d", "ns").unwrap().state, ActorState::Alive);
    let child = with!(spec(2); owner: owner(2, 5), outlives_job: true);
    world.create_alive(child);
    assert_eq!(world.row(2).state, ActorState::Alive);
    let orphan = with!(spec(3); owner: owner(2, 6));
    let Reply::Refused(death) = world.create(orphan) else { panic!("the job has ended") };
    assert_eq!(death.reason, Refusal::NoSuchJob { job: job_id(1) }.into());
    world.tell(Event::ProcessDied { process: process(2, 5) });
    assert_eq!(world.reason(2), DeathReason::OwnerDied { owner: owner(2, 5) });
}

/// ACT-17: get_if_exists finds the same actor; another class is refused; so is no name.
#[test]
fn get_if_exists_gives_the_same_actor_or_refuses() {
    let mut world = World::new(1);
    let get = |n| with!(named(n, "a"); get_if_exists: true, path: "program::Counter".to_owned());
    world.create_alive(get(1));
    let Reply::Existing(info) = world.create(get(2)) else { panic!("it exists") };
    let found = info.found.clone().unwrap();
    assert_eq!((info.id, found.id, info.state), (actor_id(2), actor_id(1), ActorState::Alive));
    assert!(world.placed().is_empty());
    let other = with!(get(3); class: "Other".to_owned());
    let Reply::Refused(death) = world.create(other) else { panic!("another class") };
    assert!(matches!(death.reason, DeathReason::Refused { why: Refusal::ClassMismatch { .. } }));
    // One of the same program that is called the same, and is another.
    let path = "program::other::Counter";
    let Reply::Refused(death) = world.create(with!(get(5); path: path.to_owned())) else { panic!("another class") };
    let said = death.to_string();
    assert!(said.contains("is a program::Counter, and not a program::other::Counter"), "{said}");
    // Another program's may be written elsewhere.
    world.tell(Event::JobStarted { row: Box::new(JobRow { program: "beef".to_owned(), ..job_row(2, owner(1, 2)) }) });
    let elsewhere = with!(get(6); path: path.to_owned(), job: job_id(2), owner: owner(1, 2));
    assert!(matches!(world.create(elsewhere), Reply::Existing(_)));
    let Reply::Refused(death) = world.create(with!(get(4); name: None)) else { panic!("no name") };
    assert_eq!(death.reason, Refusal::NoName.into());
}

/// GCS-3: the id that get_if_exists was asked for goes on to mean the actor that was found, also after that one is dead.
#[test]
fn an_alias_means_the_actor_that_was_found() {
    let mut world = World::new(1);
    let get = |n| with!(named(n, "a"); get_if_exists: true);
    world.create_alive(get(1));
    world.create(with!(get(2); owner: owner(1, 7)));
    world.tell(Event::HandlesGone { actor: actor_id(2) });
    assert!(world.ended().is_empty(), "its owner has handles");
    world.kill(2, true);
    assert_eq!(world.reason(1), DeathReason::Killed);
    let news = world.published(process(1, 7));
    assert_eq!((news.len(), news[0].id, news[0].state), (1, actor_id(1), ActorState::Dead), "by its own id");
    let Reply::Existing(info) = world.create(with!(get(2); owner: owner(1, 7))) else { panic!("a duplicate") };
    assert_eq!(info.state, ActorState::Dead);
}

/// ACT-19: a killed named actor is not found at once; one that may restart is found.
#[test]
fn a_killed_actor_is_not_found_unless_it_restarts() {
    let mut world = World::new(1);
    world.create_alive(with!(named(1, "a"); detached: true));
    assert!(matches!(world.kill(1, true), Reply::Killed { .. }));
    assert!(world.look_up("a", "ns").is_none());
    assert!(matches!(world.kill(1, true), Reply::Killed { .. }), "a second kill is no error");
    let (node, run) = world.create_alive(with!(named(2, "a"); max_restarts: 1));
    world.kill(2, false);
    assert_eq!(world.ended(), [(node, run, EndHow::Kill)]);
    let (node, next) = world.placed()[0];
    assert_eq!(next.incarnation, 1);
    assert_eq!(world.look_up("a", "ns").unwrap().state, ActorState::Restarting);
    world.ready(node, next);
    let info = world.look_up("a", "ns").unwrap();
    assert_eq!((info.state, info.incarnation), (ActorState::Alive, 1));
}

/// GCS-11: whoever asked holds the actor from the answer on, until it lets go or is gone.
#[test]
fn who_was_given_an_actor_holds_it() {
    let lifeline = |owner, seq| Some(ObjectId { task: TaskId { owner, seq }, index: 0 });
    let of_owner = |seq| Lifeline::OfOwner(seq);
    let get = |n: u128, by: OwnerId| with!(named(n, "a"); get_if_exists: true, owner: by, lifeline: of_owner(n as u64));
    let gone = |n| Event::HandlesGone { actor: actor_id(n) };
    let mut world = World::new(1);
    let (node, run) = world.create_alive(get(1, owner(1, 1)));
    for n in 2..=4 {
        assert!(matches!(world.create(get(n, owner(1, n))), Reply::Existing(_)));
    }
    // The word of the first lifeline crosses the answers.
    world.tell(gone(1));
    assert!(world.ended().is_empty());
    assert_eq!(world.row(1).spec.lifeline(), lifeline(owner(1, 2), 2), "what its handles hold from now on");
    world.tell(gone(2)).tell(gone(2)).tell(gone(9));
    world.tell(Event::ProcessDied { process: process(1, 3) });
    assert!(world.ended().is_empty());
    assert_eq!(world.row(1).spec.lifeline(), lifeline(owner(1, 4), 4));
    world.tell(gone(4));
    assert_eq!(world.ended(), [(node, run, EndHow::AfterCalls)]);
    // Its end has begun: who asks now gets another.
    assert!(matches!(world.create(get(5, owner(1, 1))), Reply::Created(_)));
    world.die(node, run, ActorEnd::Ended);
    assert_eq!(world.reason(1), DeathReason::OutOfScope);
    // A detached one needs none, and takes none.
    let detached = with!(get(6, owner(1, 1)); detached: true);
    world.create_alive(with!(detached; name: Some("d".to_owned())));
    assert_eq!(world.row(6).spec.lifeline(), None);
    world.create(with!(get(7, owner(1, 2)); name: Some("d".to_owned())));
    world.tell(gone(7)).tell(gone(6));
    assert!(world.ended().is_empty());
    world.kill(5, true);
    assert!(world.core.claims.is_empty());
}

/// ACT-20: namespaces do not see each other's names, and a list shows one or all.
#[test]
fn namespaces_are_apart() {
    let mut world = World::new(1);
    world.create(named(1, "a"));
    world.create(with!(named(2, "a"); namespace: "other".to_owned()));
    world.create(with!(named(3, "b"); namespace: "other".to_owned()));
    assert_eq!(world.look_up("a", "ns").unwrap().id, actor_id(1));
    assert_eq!(world.look_up("a", "other").unwrap().id, actor_id(2));
    assert!(world.look_up("b", "ns").is_none());
    let again = with!(named(4, "a"); namespace: "other".to_owned());
    assert!(matches!(world.create(again), Reply::Refused(_)));
    for (namespace, count) in [(None, 3), (Some("other"), 2), (Some("ns"), 1), (Some("none"), 0)] {
        let reply = world.reply_id();
        world.tell(Event::ListNamed { namespace: namespace.map(str::to_owned), reply });
        assert!(matches!(world.the_reply(reply), Reply::Names(names) if names.len() == count));
    }
}

/// GCS-2: the name of an actor that ends after its calls is free at once.
#[test]
fn an_actor_that_ends_gives_up_its_name() {
    let mut world = World::new(1);
    let (node, run) = world.create_alive(named(1, "a"));
    world.tell(Event::HandlesGone { actor: actor_id(1) });
    assert_eq!(world.ended(), [(node, run, EndHow::AfterCalls)]);
    assert!(world.look_up("a", "ns").is_none());
    assert!(matches!(world.create(named(2, "a")), Reply::Created(_)));
    world.die(node, run, ActorEnd::Ended);
    assert_eq!(world.reason(1), DeathReason::OutOfScope);
    assert_eq!(world.look_up("a", "ns").unwrap().id, actor_id(2));
}

/// An actor as it is asked for while its constructor's arguments are not ready.
fn unready(n: u128, name: &str) -> ActorSpec {
    with!(named(n, name); creation: Bytes::new())
}

fn arguments(n: u128) -> Event {
    Event::ActorArguments { actor: actor_id(n), creation: Bytes::from_static(b"args") }
}

/// An actor has its name before its constructor's arguments are ready, and is placed when they are.
#[test]
fn a_name_is_had_before_the_arguments() {
    let mut world = World::new(1);
    assert!(matches!(world.create(unready(1, "a")), Reply::Created(_)));
    assert!(world.placed().is_empty());
    assert_eq!(world.look_up("a", "ns").unwrap().state, ActorState::DependenciesUnready);
    assert!(world.core.why_pending(actor_id(1)).unwrap().contains("arguments"));
    let Reply::Refused(death) = world.create(named(2, "a")) else { panic!("the name is taken") };
    assert!(matches!(death.reason, DeathReason::Refused { why: Refusal::NameTaken { .. } }));
    let get = with!(unready(3, "a"); get_if_exists: true);
    assert!(matches!(world.create(get), Reply::Existing(_)));
    world.tell(arguments(3));
    assert!(world.placed().is_empty(), "those are of one that is not made");
    world.tell(arguments(1));
    let (node, run) = world.placed()[0];
    world.ready(node, run);
    assert_eq!(world.row(1).state, ActorState::Alive);
    world.tell(arguments(1));
    assert!(world.placed().is_empty(), "they come once");
}

/// Whatever ends one that waits for its arguments, these make nothing any more.
#[test]
fn what_waits_for_arguments_ends_like_any_other() {
    type End = (fn(&mut World), fn(&DeathReason) -> bool);
    let ends: [End; 5] = [
        (|world| drop(world.kill(1, true)), |reason| *reason == DeathReason::Killed),
        (|world| _ = world.tell(Event::StopActor { actor: actor_id(1) }), |reason| *reason == DeathReason::Stopped),
        (
            |world| _ = world.tell(Event::JobEnded { job: job_id(1) }),
            |reason| *reason == DeathReason::JobEnded { job: job_id(1) },
        ),
        (
            |world| _ = world.tell(Event::OwnerDied { owner: owner(1, 1) }),
            |reason| *reason == DeathReason::JobEnded { job: job_id(1) },
        ),
        (
            |world| {
                let error = Bytes::from_static(b"error");
                world.tell(Event::ActorNotMade { actor: actor_id(1), text: "bad".to_owned(), error });
            },
            |reason| matches!(reason, DeathReason::ConstructorError { text, .. } if text == "bad"),
        ),
    ];
    for (end, is_reason) in ends {
        let mut world = World::new(1);
        world.create(with!(unready(1, "a"); max_restarts: -1));
        end(&mut world);
        assert!(is_reason(&world.reason(1)), "{:?}", world.reason(1));
        assert!(world.look_up("a", "ns").is_none());
        world.tell(arguments(1));
        assert!(world.placed().is_empty() && world.row(1).state == ActorState::Dead);
    }
}

/// One that waits for a node when its last handle goes, or when its arguments come and it has none, is not made at all.
#[test]
fn what_waits_for_a_node_ends_with_its_handles() {
    let mut world = World::new(1);
    for (number, spec) in [(1, named(1, "a")), (2, unready(2, "b"))] {
        world.create(with!(spec; shape: cpus(1_000)));
        world.tell(Event::HandlesGone { actor: actor_id(number) });
    }
    assert_eq!(world.row(1).state, ActorState::Dead);
    assert_eq!(world.row(2).state, ActorState::DependenciesUnready);
    world.tell(arguments(2));
    assert_eq!(world.row(2).state, ActorState::Dead);
    assert!(world.placed().is_empty() && world.core.demands().is_empty());
}

/// A kill that lets it restart ends nothing of one that waits; one without handles is made, and ends.
#[test]
fn what_waits_for_arguments_outlives_a_restart_and_its_handles() {
    let mut world = World::new(1);
    world.create(with!(unready(1, "a"); max_restarts: 1));
    assert!(matches!(world.kill(1, false), Reply::Killed { ending: None, .. }));
    assert_eq!((world.row(1).state, world.row(1).restarts), (ActorState::DependenciesUnready, 0));
    world.tell(Event::HandlesGone { actor: actor_id(1) });
    assert_eq!(world.row(1).state, ActorState::DependenciesUnready);
    world.tell(arguments(1));
    let (node, run) = world.placed()[0];
    world.ready(node, run);
    assert_eq!(world.ended(), [(node, run, EndHow::AfterCalls)]);
}
