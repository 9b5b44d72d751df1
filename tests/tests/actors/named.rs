//! `get_if_exists`: one actor, one id, one order of calls, and every handle holds.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use actinic::ActorId;

use super::*;

fn get(name: &str) -> Handle<Counter> {
    Counter::options().name(name).get_if_exists(true).remote(0)
}

fn hash(handle: &Handle<Counter>) -> u64 {
    let mut hasher = DefaultHasher::new();
    handle.hash(&mut hasher);
    hasher.finish()
}

pub struct Order {
    seen: Vec<u32>,
}

#[actinic::remote]
impl Order {
    pub fn new() -> Self {
        Order { seen: Vec::new() }
    }

    pub fn see(&mut self, index: u32) {
        self.seen.push(index);
    }

    pub fn seen(&self) -> Vec<u32> {
        self.seen.clone()
    }

    pub fn id(&self) -> ActorId {
        actinic::context().actor_id().unwrap()
    }
}

pub struct Keeps {
    refs: Vec<ObjectRef<String>>,
}

#[actinic::remote]
impl Keeps {
    pub fn new(refs: Vec<ObjectRef<String>>) -> Self {
        Keeps { refs }
    }

    pub fn count(&self) -> usize {
        self.refs.len()
    }
}

fn order(name: &str) -> Handle<Order> {
    Order::options().name(name).get_if_exists(true).remote()
}

#[actinic::remote]
fn gets_and_calls(name: String) -> actinic::Result<i64> {
    get(&name).add(1).blocking()
}

#[actinic::remote]
fn reads(counter: Handle<Counter>) -> actinic::Result<i64> {
    counter.get().blocking()
}

#[actinic::remote]
fn gets(name: String) -> Handle<Counter> {
    get(&name)
}

#[actinic::remote]
fn calls(handle: Handle<Order>, index: u32) -> actinic::Result<ActorId> {
    handle.see(index).blocking()?;
    handle.id().blocking()
}

/// The handle that there was goes while the second is on its way.
async fn the_second_handle_holds() -> actinic::Result<()> {
    let first = get("d");
    first.add(1).await?;
    let second = get("d");
    drop(first);
    // The actor that there was, or a new one.
    let seen = second.add(1).await?;
    assert_eq!(second.add(1).await?, seen + 1);
    Ok(())
}

/// Another class that is called as one of the tests' is.
mod elsewhere {
    pub struct Counter;

    #[actinic::remote]
    impl Counter {
        pub fn new() -> Self {
            Counter
        }

        pub fn get(&self) -> i64 {
            77
        }
    }
}

both! {
    /// A class is what it is, and not whatever has its name.
    async fn classes_of_one_name_are_told_apart(cluster) {
        let first = get("told apart");
        assert_eq!(first.add(1).await?, 1);
        let found = actinic::get_actor::<elsewhere::Counter>("told apart").await.unwrap_err();
        let made = elsewhere::Counter::options().name("told apart").get_if_exists(true).remote();
        for error in [found, made.get().await.unwrap_err()] {
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
            let said = error.to_string();
            assert!(said.contains("::named::elsewhere::Counter") && said.contains(" is a "), "{said}");
        }
        assert_eq!(actinic::get_actor::<Counter>("told apart").await?.get().await?, 1);
    }

    /// Two that ask one after the other have one actor, as far as can be known before the answer: with one id, and equal.
    async fn handles_of_one_name_are_equal_from_the_start(cluster) {
        let (a, b) = (get("both"), get("both"));
        assert_eq!((Handle::id(&a), &a, hash(&a)), (Handle::id(&b), &b, hash(&b)));
        assert_ne!(a, get("other"));
        let early = Handle::id(&a);
        actinic::get(&[Handle::ready(&a), Handle::ready(&b)]).await?;
        assert_eq!((Handle::id(&a), Handle::id(&b)), (early, early));
    }

    /// A handle of `get_if_exists` holds its actor before it knows which one that is.
    async fn a_handle_of_get_if_exists_holds_from_the_start(cluster) {
        for _ in 0..20 {
            the_second_handle_holds().await?;
        }
    }

    /// With the last handle going between any two.
    async fn get_or_create_and_call_in_a_loop(cluster) {
        for _ in 0..50 {
            assert!(get("loop").add(1).await? > 0);
        }
    }

    async fn tasks_get_or_create_and_call(cluster) {
        let refs: Vec<_> = (0..200).map(|_| gets_and_calls::remote("shared".to_owned())).collect();
        for done in actinic::get(&refs).await? {
            assert!(done > 0);
        }
    }

    /// The process that got the handle may go: what it gave away holds.
    async fn a_handle_that_a_task_got_holds(cluster) {
        let first = get("given");
        first.add(1).await?;
        let second = gets::remote("given".to_owned()).await?;
        drop(first);
        assert_eq!(second.add(1).await?, 2);
        let third = get("given");
        Handle::ready(&third).await?;
        assert_eq!(second, third);
        assert_eq!(third.add(1).await?, 3);
    }

    /// Two handles of one actor are equal, whichever came how; the hash never changes.
    async fn one_actor_has_one_id(cluster) {
        let first = order("one");
        let second = order("one");
        Handle::ready(&second).await?;
        Handle::ready(&first).await?;
        assert_eq!(first, second);
        let found = actinic::get_actor::<Order>("one").await?;
        assert_eq!(found, second);
        let inside = second.id().await?;
        for handle in [&first, &second, &found] {
            assert_eq!(Handle::id(handle), inside);
        }
        let counter = get("hashed");
        let before = hash(&counter);
        let same = get("hashed");
        let early = hash(&same);
        Handle::ready(&same).await?;
        Handle::ready(&counter).await?;
        let found = actinic::get_actor::<Counter>("hashed").await?;
        let stored = actinic::get(&actinic::put(&counter).await?).await?;
        assert_eq!([before, before, before, before], [early, hash(&same), hash(&found), hash(&stored)]);
        // And by any way, also one that knew another process's name for it.
        assert_eq!(calls::remote(&second, 1).await?, inside);
        assert_eq!(calls::remote(order("one"), 2).await?, inside);
    }

    /// The calls of one caller keep their order over all its handles, from the first on.
    async fn the_calls_over_two_handles_keep_their_order(cluster) {
        let first = order("order");
        let second = order("order");
        for index in 0..200 {
            if index % 2 == 0 { first.see(index) } else { second.see(index) };
        }
        let third = order("order");
        for index in 200..400 {
            if index % 2 == 0 { third.see(index) } else { first.see(index) };
        }
        assert_eq!(second.seen().await?, (0..400).collect::<Vec<_>>());
    }

    /// A handle that turns out to be refused takes only its own calls with it.
    async fn what_waits_behind_a_refused_one_goes_on(cluster) {
        let first = get("mixed");
        first.add(1).await?;
        let second = get("mixed");
        let waits = second.add(1);
        let refused = Counter::options().name("mixed").remote(5);
        let refused = refused.add(1);
        let third = get("mixed");
        let last = third.add(1);
        assert!(matches!(refused.await.unwrap_err(), Error::InvalidArgument { .. }));
        assert_eq!((waits.await?, last.await?), (2, 3));
    }

    /// A name is had at once, also while an argument of the constructor is still made.
    async fn a_name_is_had_before_the_constructors_arguments(cluster) {
        let gate = Gate::new();
        let made = Counter::options().name("early").remote(Counter::remote(5).wait_for(gate.path()));
        // Its request may still be on its way.
        let mut found = actinic::get_actor::<Counter>("early").await;
        while found.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            found = actinic::get_actor::<Counter>("early").await;
        }
        let found = found?;
        assert_eq!(found, made);
        assert!(actinic::list_named_actors().await?.iter().any(|(_, name)| name == "early"));
        let unused = Counter::remote(7).wait_for(gate.path());
        let again = Counter::options().name("early").get_if_exists(true).remote(&unused);
        let taken = Counter::options().name("early").remote(9);
        assert!(matches!(taken.get().await.unwrap_err(), Error::InvalidArgument { .. }));
        let calls = [found.add(1), again.add(1), made.add(1)];
        let waits = actinic::get(&calls[0]).timeout(Duration::from_millis(50)).await.unwrap_err();
        assert!(waits.to_string().contains("DEPENDENCIES_UNREADY"), "{waits}");
        gate.open();
        let mut sums = actinic::get(&calls).await?;
        sums.sort_unstable();
        assert_eq!(sums[2] - sums[0], 2, "one actor had all the calls");
        assert_eq!(again, made);
        // It looks for the gate, which goes with the test.
        assert_eq!(unused.await?, 7);
    }

    /// What `get_if_exists` was given for a constructor that is not called is let go of: the test's end looks for it.
    async fn what_is_given_for_an_actor_that_exists_is_let_go_of(cluster) {
        let first = Keeps::options().name("kept").max_restarts(1).remote(Vec::<ObjectRef<String>>::new());
        Handle::ready(&first).await?;
        let given = actinic::put(&"given".to_owned()).await?;
        let again = Keeps::options().name("kept").max_restarts(1).get_if_exists(true).remote(vec![given]);
        assert_eq!(again.count().await?, 0);
        assert_eq!(first, again);
    }

    /// Whoever found an actor hears why it was not made.
    async fn an_argument_that_failed_is_told_to_whoever_found_the_actor(cluster) {
        let gate = Gate::new();
        let first = Counter::remote(0);
        let late = first.wait_for(gate.path());
        let made = Counter::options().name("unmade").remote(&late);
        let elsewhere = reads::remote(&made);
        actinic::kill(&first).await?;
        for call in [made.get(), elsewhere] {
            let error = actinic::get(&call).timeout(SOON).await.unwrap_err();
            assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
        }
        assert_eq!(Handle::state(&made), ActorState::Dead);
        gate.open();
    }

    /// A second handle of an actor that is killed meanwhile is one of a new actor.
    async fn a_killed_actor_is_made_again(cluster) {
        let first = get("killed");
        first.add(5).await?;
        actinic::kill(&first).await?;
        let second = get("killed");
        let call = second.add(1);
        let next = second.add(1);
        assert_eq!((call.await?, next.await?), (1, 2));
        assert_ne!(first, second);
        actinic::kill(&get("killed")).await?;
        assert!(matches!(second.add(1).await.unwrap_err(), Error::ActorDied { .. }));
    }

    /// ACT-13: a taken name is a mistake in an argument, and says what to do.
    async fn a_taken_name_is_an_invalid_argument(cluster) {
        let first = Counter::options().name("taken").namespace("space").remote(1);
        first.get().await?;
        let clash = Counter::options().name("taken").namespace("space").remote(5);
        for error in [clash.get().await.unwrap_err(), Handle::ready(&clash).await.unwrap_err()] {
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
            let text = error.to_string();
            for part in ["\"taken\"", "\"space\"", "exists already", "get_actor", "get_if_exists"] {
                assert!(text.contains(part), "{text}");
            }
        }
        assert_eq!(first.get().await?, 1);
    }
}

/// The same whatever the order of what crosses.
#[actinic::test(sim, seed = 5, num_cpus = 4)]
async fn a_handle_of_get_if_exists_holds_in_a_simulation(cluster: TestCluster) -> actinic::Result<()> {
    for _ in 0..20 {
        the_second_handle_holds().await?;
    }
    cluster.idle().await
}

/// Says where it looks for actors, and names one itself.
pub struct Looks;

#[actinic::remote]
impl Looks {
    pub fn new() -> Self {
        Looks
    }

    pub async fn look(&self, name: String) -> actinic::Result<(String, i64)> {
        let child = Counter::options().name(name.clone()).lifetime(Lifetime::Detached).remote(3);
        Handle::ready(&child).await?;
        let found = actinic::get_actor::<Counter>(name).await?.get().await?;
        Ok((actinic::context().namespace().to_owned(), found))
    }
}

both! {
    /// The namespace of an actor's name is its name's only: its own code is in its job's.
    async fn an_actor_named_elsewhere_looks_where_its_job_does(cluster) {
        let driver = cluster.driver().namespace("of the job").await?;
        let looks = driver.scope(async { Looks::options().name("looks").namespace("elsewhere").remote() }).await;
        let (namespace, found) = driver.scope(async { looks.look("child").await }).await?;
        assert_eq!((namespace.as_str(), found), ("of the job", 3));
        let child = actinic::get_actor::<Counter>("child").namespace("of the job").await?;
        actinic::kill(&child).await?;
        drop((looks, child));
        driver.shutdown().await?;
    }
}
