//! How actors are made, found and ended.

use super::*;

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[error("no room for {0}")]
pub struct NoRoom(String);

pub struct Picky {
    name: String,
}

#[actinic::remote]
impl Picky {
    pub fn new(name: String) -> Result<Self, NoRoom> {
        if name.is_empty() { Err(NoRoom("nobody".to_owned())) } else { Ok(Picky { name }) }
    }

    pub fn name(&self) -> String {
        self.name.clone()
    }
}

pub struct Slow {
    made: i64,
}

#[actinic::remote]
impl Slow {
    pub async fn new(millis: u64, from: i64) -> Result<Self, NoRoom> {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        if from < 0 { Err(NoRoom("less than nothing".to_owned())) } else { Ok(Slow { made: from }) }
    }

    pub async fn made(&self) -> i64 {
        self.made
    }
}

/// Leaves with a large answer under way.
pub struct Leaves;

#[actinic::remote]
impl Leaves {
    pub fn new() -> Self {
        Leaves
    }

    pub fn large(&mut self, bytes: usize) -> actinic::Array<u8> {
        vec![7; bytes].into()
    }

    pub fn leave(&mut self) {
        actinic::exit_actor()
    }
}

pub struct PanicsAtBirth;

#[actinic::remote(max_restarts = 5)]
impl PanicsAtBirth {
    pub fn new() -> Self {
        panic!("not today")
    }

    pub fn never(&self) {}
}

/// Keeps what it was given.
pub struct Keeper {
    refs: Vec<ObjectRef<String>>,
    myself: Option<Handle<Keeper>>,
    others: Vec<Handle<Counter>>,
}

#[actinic::remote]
impl Keeper {
    pub fn new(refs: Vec<ObjectRef<String>>) -> Self {
        Keeper { refs, myself: None, others: Vec::new() }
    }

    pub fn read(&self, index: usize) -> actinic::Result<String> {
        actinic::get(&self.refs[index]).blocking()
    }

    pub fn forget(&mut self) {
        self.refs.clear();
        self.others.clear();
    }

    pub fn keep_myself(&mut self) {
        self.myself = actinic::context().current_actor();
    }

    pub fn keep(&mut self, other: Handle<Counter>) {
        self.others.push(other);
    }

    pub fn makes(&self, text: String) -> actinic::Result<ObjectRef<String>> {
        actinic::put(&text).blocking()
    }

    pub fn makes_actor(&self) -> Handle<Counter> {
        Counter::remote(77)
    }

    pub fn makes_detached(&self, name: String) -> actinic::Result<()> {
        let made = Counter::options().name(name).lifetime(Lifetime::Detached).remote(8);
        Handle::ready(&made).blocking()
    }
}

/// Gives itself away, and keeps others that did.
pub struct Guest {
    guests: Vec<Handle<Guest>>,
}

#[actinic::remote]
impl Guest {
    pub fn new() -> Self {
        Guest { guests: Vec::new() }
    }

    pub fn itself(&self) -> Option<Handle<Guest>> {
        actinic::context().current_actor()
    }

    pub fn visit(&self, host: Handle<Guest>) -> actinic::Result<()> {
        host.welcome(actinic::context().current_actor()).blocking()
    }

    pub fn welcome(&mut self, guest: Option<Handle<Guest>>) {
        self.guests.extend(guest);
    }

    pub fn part(&mut self) -> usize {
        std::mem::take(&mut self.guests).len()
    }
}

/// Has others work for it.
pub struct Employer;

#[actinic::remote]
impl Employer {
    pub fn new() -> Self {
        Employer
    }

    pub async fn employs(&self, x: i64) -> actinic::Result<i64> {
        let counter = Counter::remote(identity::remote(x).await?);
        counter.add(x).await
    }
}

#[actinic::remote]
fn get_text(text: Vec<ObjectRef<String>>) -> actinic::Result<String> {
    actinic::get(&text[0]).blocking()
}

#[actinic::remote]
fn open_in_task(counter: &Handle<Counter>, gate: &str) -> actinic::Result<i64> {
    let calls: Vec<_> = (0..10).map(|_| counter.add(0)).collect();
    let eleventh = counter.add(0).blocking();
    assert!(matches!(eleventh, Err(Error::ActorPendingCallsLimit { .. })), "{eleventh:?}");
    std::fs::write(gate, b"").unwrap();
    calls.into_iter().last().unwrap().blocking()
}

both! {
    /// ACT-12, ACT-17: named actors are found; get_if_exists gives the one that there is.
    async fn named_actors_are_found(cluster) {
        let first = Counter::options().name("one").remote(1);
        let again = actinic::get_actor::<Counter>("one").await?;
        assert_eq!(again.add(1).await?, 2);
        assert_eq!(first, again);
        let same = Counter::options().name("one").get_if_exists(true).remote(100);
        assert_eq!((same.get().await?, same.pid().await?), (2, first.pid().await?));
        let clash = Counter::options().name("one").remote(5);
        let error = clash.get().await.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        assert!(error.to_string().contains("exists already"), "{error}");
        let other = Log::options().name("one").get_if_exists(true).remote();
        assert!(other.len().await.unwrap_err().to_string().contains("is a Counter"));
        let nameless = Counter::options().get_if_exists(true).remote(5);
        assert!(nameless.get().await.unwrap_err().to_string().contains("name"));
        assert!(actinic::get_actor::<Log>("one").await.is_err());
        assert!(actinic::get_actor::<Counter>("two").await.is_err());
        let names = actinic::list_named_actors().await?;
        assert_eq!(names.len(), 1);
        assert_eq!(names[0].1, "one");
    }

    /// ACT-12: a named actor that is not detached ends with its last handle, and its name is free again.
    async fn a_name_is_free_when_its_actor_ends(cluster) {
        let first = Counter::options().name("n").remote(1);
        Handle::ready(&first).await?;
        drop(first);
        let end = Instant::now() + Duration::from_secs(10);
        while actinic::get_actor::<Counter>("n").await.is_ok() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(actinic::get_actor::<Counter>("n").await.is_err());
        assert!(actinic::list_named_actors().await?.is_empty());
        assert_eq!(Counter::options().name("n").remote(3).get().await?, 3);
    }

    /// ACT-13: a detached actor needs no handle; an empty name is refused.
    async fn a_detached_actor_needs_no_handle(cluster) {
        let made = Counter::options().name("stays").lifetime(Lifetime::Detached).remote(1);
        Handle::ready(&made).await?;
        drop(made);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let found = actinic::get_actor::<Counter>("stays").await?;
        assert_eq!(found.add(1).await?, 2);
        let empty = Counter::options().name("").remote(0);
        assert!(empty.get().await.is_err());
        actinic::kill(&found).await?;
        assert!(actinic::get_actor::<Counter>("stays").await.is_err());
    }

    /// ACT-20: names live in namespaces.
    async fn namespaces_keep_names_apart(cluster) {
        let a = Counter::options().name("n").namespace("a").remote(1);
        let b = Counter::options().name("n").namespace("b").remote(2);
        assert_eq!((a.get().await?, b.get().await?), (1, 2));
        assert!(actinic::get_actor::<Counter>("n").await.is_err());
        assert_eq!(actinic::get_actor::<Counter>("n").namespace("b").await?.get().await?, 2);
        let twice = Counter::options().name("n").namespace("a").remote(3);
        assert!(twice.get().await.is_err());
    }

    /// ACT-19: a killed actor is not found; one that restarts is, and answers.
    async fn a_killed_actor_is_not_found(cluster) {
        let dead = Counter::options().name("dead").lifetime(Lifetime::Detached).remote(0);
        dead.get().await?;
        actinic::kill(&dead).await?;
        assert!(actinic::get_actor::<Counter>("dead").await.is_err());
        let back = Counter::options().name("back").lifetime(Lifetime::Detached).max_restarts(1).remote(4);
        back.add(1).await?;
        actinic::kill(&back).no_restart(false).await?;
        let found = actinic::get_actor::<Counter>("back").await?;
        assert_eq!(found.get().await?, 4);
        actinic::kill(&found).await?;
    }

    /// ACT-25: calls that were made before the last handle went are answered; then the actor ends.
    async fn pending_calls_outlive_the_last_handle(cluster) {
        let counter = Counter::options().name("short").remote(0);
        let refs = [counter.sleep(50), counter.add(1), counter.add(1)];
        drop(counter);
        assert_eq!(actinic::get(&refs).await?, [0, 1, 2]);
        let end = Instant::now() + Duration::from_secs(10);
        while actinic::get_actor::<Counter>("short").await.is_ok() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(actinic::get_actor::<Counter>("short").await.is_err());
    }

    /// Calls that wait for an argument are made calls too.
    async fn calls_that_wait_for_arguments_outlive_the_last_handle(cluster) {
        let counter = Counter::remote(0);
        let call = counter.add(late::remote(5, 200));
        drop(counter);
        assert_eq!(call.await?, 5);
    }

    /// An actor whose last handle goes while its constructor still waits for an argument is made, and ends.
    async fn an_actor_ends_whose_handle_went_before_its_argument_came(cluster) {
        drop(Counter::remote(late::remote(5, 200)));
    }

    /// What an actor keeps is let go when its job ends.
    async fn what_an_actor_kept_is_freed_when_its_job_ends(cluster) {
        let other = cluster.driver().await?;
        let text = other.scope(async {
            let keeper = Keeper::remote(vec![actinic::put("kept").await?]);
            keeper.read(0).await
        });
        assert_eq!(text.await?, "kept");
        let keeper = other.scope(async { Keeper::remote(vec![actinic::put("kept").await?]).read(0).await.map(drop) });
        keeper.await?;
        other.shutdown().await?;
    }

    /// ACT-27: a handle inside an object keeps the actor alive, until the object is freed.
    async fn a_handle_inside_an_object_counts(cluster) {
        let counter = Counter::options().name("inside").remote(5);
        let object = actinic::put(&vec![counter]).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let handles = actinic::get(&object).await?;
        assert_eq!(handles[0].add(1).await?, 6);
        drop(handles);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(actinic::get_actor::<Counter>("inside").await.is_ok());
        drop(object);
        let end = Instant::now() + Duration::from_secs(10);
        while actinic::get_actor::<Counter>("inside").await.is_ok() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(actinic::get_actor::<Counter>("inside").await.is_err());
    }

    /// A handle that another actor keeps counts too, and only as long as that actor keeps it.
    async fn a_handle_inside_an_actor_counts(cluster) {
        let (keeper, counter) = (Keeper::remote(Vec::new()), Counter::options().name("kept").remote(1));
        keeper.keep(&counter).await?;
        counter.add(1).await?;
        drop(counter);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let found = actinic::get_actor::<Counter>("kept").await?;
        assert_eq!(found.get().await?, 2);
        drop(found);
        keeper.forget().await?;
        let end = Instant::now() + Duration::from_secs(10);
        while actinic::get_actor::<Counter>("kept").await.is_ok() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(actinic::get_actor::<Counter>("kept").await.is_err());
    }

    /// ACT-28: an actor that keeps a handle of itself stays, and can be killed.
    async fn an_actor_with_its_own_handle_stays(cluster) {
        let keeper = Keeper::options().name("cycle").remote(Vec::new());
        keeper.keep_myself().await?;
        drop(keeper);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let found = actinic::get_actor::<Keeper>("cycle").await?;
        actinic::kill(&found).await?;
        assert!(dies(&found).await);
    }

    /// An actor may give a handle of itself away, as its answer or in a call, whose owner has not heard of that handle yet.
    async fn an_actor_gives_itself_away(cluster) {
        for _ in 0..10 {
            let guest = Guest::remote();
            assert_eq!(actinic::get(&guest.itself()).timeout(SOON).await?, Some(guest));
        }
        let (guest, host) = (Guest::remote(), Guest::remote());
        actinic::get(&guest.visit(&host)).timeout(SOON).await?;
        let closed = Handle::closed(&guest);
        drop(guest);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(host.part().await?, 1, "it was kept alive");
        assert!(tokio::time::timeout(SOON, async { closed.await }).await.is_ok());
    }

    /// `stop` lets the calls already made finish.
    async fn stop_comes_after_the_calls_already_made(cluster) {
        let counter = Counter::remote(0);
        let refs = [counter.sleep(50), counter.add(1), counter.add(1)];
        Handle::stop(&counter).await?;
        assert_eq!(actinic::get(&refs).await?, [0, 1, 2]);
        let cause = Handle::closed(&counter).await?;
        assert!(cause.to_string().contains("stopped"), "{cause}");
        assert!(matches!(counter.get().await.unwrap_err(), Error::ActorDied { .. }));
        assert_eq!(Handle::state(&counter), ActorState::Dead);
    }

    /// ALF-15, ALF-16: `exit_actor` ends it for good.
    async fn exit_actor_ends_it_for_good(cluster) {
        let counter = Counter::options().max_restarts(-1).remote(0);
        let (before, exits, behind) = (counter.add(1), counter.exit(), counter.add(1));
        assert_eq!(before.await?, 1);
        for call in [exits, behind] {
            let error = call.await.unwrap_err();
            assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
            assert!(error.to_string().contains("intended exit"), "{error}");
        }
        assert!(dies(&counter).await);
    }

    /// What it answered before it ended is there, however large: it goes by its node's store, and the word of its end does not.
    async fn answers_that_were_given_before_an_exit_arrive(cluster) {
        for _ in 0..5 {
            let leaves = Leaves::remote();
            let (large, exits) = (leaves.large(24 << 20), leaves.leave());
            assert_eq!(large.await?.len(), 24 << 20);
            assert!(matches!(exits.await.unwrap_err(), Error::ActorDied { .. }));
        }
    }

    /// ALF-13: a constructor's error is the cause of every call's, typed; there is no restart.
    async fn a_failed_constructor_is_typed(cluster) {
        assert_eq!(Picky::remote("x").name().await?, "x");
        let picky = Picky::options().max_restarts(3).remote("");
        for error in [picky.name().await.unwrap_err(), Handle::ready(&picky).await.unwrap_err()] {
            assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
            assert!(error.to_string().contains("no room for nobody"), "{error}");
            assert_eq!(error.downcast_ref::<NoRoom>(), Some(&NoRoom("nobody".to_owned())));
        }
        let error = PanicsAtBirth::remote().never().await.unwrap_err();
        assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
        assert!(format!("{error:?}").contains("not today"), "{error:?}");
    }

    /// Constructors may be async, wait for arguments, and fail.
    async fn constructors_may_be_async(cluster) {
        let slow = Slow::remote(20, late::remote(3, 20));
        let state = Handle::state(&slow);
        assert!(matches!(state, ActorState::PendingCreation | ActorState::DependenciesUnready), "{state:?}");
        assert_eq!(slow.made().await?, 3);
        assert_eq!(Handle::state(&slow), ActorState::Alive);
        Handle::ready(&slow).await?;
        let failed = Slow::remote(1, -1);
        assert!(failed.made().await.unwrap_err().downcast_ref::<NoRoom>().is_some());
        let upstream = Slow::remote(1, Counter::remote(1).panics());
        assert!(format!("{:?}", upstream.made().await.unwrap_err()).contains("the actor's 1"));
    }

    /// Refs inside a constructor's arguments are the actor's from then on.
    async fn refs_in_constructor_arguments_are_held(cluster) {
        let refs = vec![actinic::put("one").await?, actinic::put("two").await?];
        let keeper = Keeper::remote(&refs);
        drop(refs);
        assert_eq!(keeper.read(1).await?, "two");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(keeper.read(0).await?, "one");
    }

    /// What an actor made fails with `OwnerDied` when it dies, in every mode.
    async fn refs_made_by_an_actor_die_with_it(cluster) {
        let keeper = Keeper::remote(Vec::new());
        let made = keeper.makes("mine").await?;
        assert_eq!(made.clone().await?, "mine");
        let child = keeper.makes_actor().await?;
        assert_eq!(child.get().await?, 77);
        actinic::kill(&keeper).await?;
        assert!(dies(&keeper).await);
        // Its own actors end with it.
        assert!(dies(&child).await);
        let fresh = get_text::options().max_retries(0).remote(vec![made]);
        let error = fresh.await.unwrap_err();
        assert!(matches!(error, Error::OwnerDied { .. }) || error.root_cause().to_string().contains("owner"), "{error:?}");
    }

    /// ACT-13: a detached actor made by an actor outlives it.
    async fn a_detached_actor_outlives_its_maker(cluster) {
        let keeper = Keeper::remote(Vec::new());
        keeper.makes_detached("child").await?;
        actinic::kill(&keeper).await?;
        assert!(dies(&keeper).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let child = actinic::get_actor::<Counter>("child").await?;
        assert_eq!(child.get().await?, 8);
        actinic::kill(&child).await?;
    }

    /// Process actors have a process each, shared ones one for all.
    async fn isolation_decides_about_processes(cluster) {
        let shared: Vec<_> = (0..6).map(|i| Counter::options().isolation(Isolation::Shared).remote(i)).collect();
        let own: Vec<_> = (0..3).map(Counter::remote).collect();
        let pids = |actors: &[Handle<Counter>]| actors.iter().map(|actor| actor.pid()).collect::<Vec<_>>();
        let shared_pids = actinic::get(&pids(&shared)).await?;
        let own_pids = actinic::get(&pids(&own)).await?;
        assert_eq!(count(shared_pids.clone()).len(), 1);
        if shared_pids[0] != std::process::id() {
            assert_eq!(count(own_pids.clone()).len(), 3);
            assert!(!own_pids.contains(&shared_pids[0]));
        }
        // One of them ends, the others go on.
        assert!(matches!(shared[0].exit().await.unwrap_err(), Error::ActorDied { .. }));
        assert_eq!(shared[1].add(1).await?, 2);
        actinic::kill(&shared[2]).await?;
        assert_eq!(shared[3].add(1).await?, 4);
    }

    /// ACT-23: no more unfinished calls than the handle's actor allows.
    async fn pending_calls_are_limited(cluster) {
        let (counter, gate) = (Counter::options().max_pending_calls(10).remote(0), Gate::new());
        counter.get().await?;
        let mut refs = vec![counter.wait_for(gate.path())];
        refs.extend((0..9).map(|_| counter.add(1)));
        let refused = counter.add(1);
        // It is refused with the call.
        let refused = actinic::get(&refused).timeout(Duration::ZERO).await.unwrap_err();
        assert!(matches!(refused, Error::ActorPendingCallsLimit { .. }), "{refused:?}");
        assert!(refused.to_string().contains("on node"), "{refused}");
        // Another caller has a limit of its own, in this process too.
        let other = open_in_task::remote(&counter, gate.path());
        other.await?;
        actinic::get(&refs).await?;
        assert_eq!(counter.add(1).await?, 10);
    }

    /// What a killed actor owned is lost to whoever killed it when the kill is answered.
    async fn what_a_killed_actor_owned_is_lost_at_once(cluster) {
        for round in 0..50 {
            let keeper = Keeper::remote(Vec::new());
            let made = keeper.makes(format!("round {round}")).await?;
            assert_eq!(actinic::get(&made).await?, format!("round {round}"));
            actinic::kill(&keeper).await?;
            let error = actinic::get(&made).await.unwrap_err();
            assert!(matches!(error, Error::OwnerDied { .. }), "round {round}: {error:?}");
        }
    }

    /// A node is named once, and what limits calls says where.
    async fn an_error_names_its_node_once(cluster) {
        let counter = Counter::remote(0);
        counter.get().await?;
        actinic::kill(&counter).await?;
        for error in [counter.get().await.unwrap_err(), Handle::closed(&counter).await?.error().clone()] {
            let text = error.to_string();
            assert_eq!(text.matches("on node").count(), 1, "{text}");
        }
        let crashed = Counter::remote(0);
        let text = crashed.crash().await.unwrap_err().to_string();
        assert_eq!(text.matches("on node").count(), 1, "{text}");
    }

    /// Handles tell apart, and print.
    async fn handles_compare_and_print(cluster) {
        let (a, b) = (Counter::remote(0), Counter::remote(0));
        assert!(a == a.clone() && a != b);
        assert!(format!("{a:?}").starts_with("Handle(Counter "));
        assert_eq!(Handle::id(&a), Handle::id(&a.clone()));
        assert!(serde_json::to_string(&a).is_err());
    }
}

/// A hundred thousand shared actors; measured in release.
#[actinic::test(num_cpus = 4, timeout = 300)]
#[ignore = "measured in release"]
async fn a_hundred_thousand_shared_actors() -> actinic::Result<()> {
    let rss = || -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let n = 100_000;
    let before = rss();
    let start = Instant::now();
    let actors: Vec<_> =
        (0..n).map(|i| Counter::options().isolation(Isolation::Shared).num_cpus(0).remote(i)).collect();
    let submitted = start.elapsed();
    let refs: Vec<_> = actors.iter().map(|actor| actor.add(1)).collect();
    let called = start.elapsed();
    let sum: i64 = actinic::get(&refs).await?.into_iter().sum();
    let done = start.elapsed();
    drop(refs);
    // What the burst took goes back.
    actinic::sleep(Duration::from_millis(500)).await?;
    let after = rss();
    assert_eq!(sum, n * (n + 1) / 2);
    println!(
        "created {submitted:?}, called {called:?}, answered {done:?}, {} bytes each",
        (after - before) / n as usize
    );
    drop(actors);
    println!("dropped {:?}", start.elapsed());
    Ok(())
}

both! {
    /// DEP-07: a process that never spoke with the owner of a ref reads the value all the same.
    async fn a_stranger_reads_what_an_actor_made(cluster) {
        let keeper = Keeper::remote(Vec::new());
        let made = keeper.makes("mine").await?;
        assert_eq!(get_text::remote(vec![made.clone()]).await?, "mine");
        let nested = Keeper::remote(vec![made]);
        assert_eq!(nested.read(0).await?, "mine");
    }
}

both! {
    /// ACT-12: a named actor that is not detached ends with its driver; its name is free again, and on no list.
    async fn a_named_actor_ends_with_its_driver(cluster) {
        let first = cluster.driver().namespace("n").await?;
        let made = first.scope(async { Counter::options().name("one").remote(1) }).await;
        assert_eq!(first.scope(async { made.get().await }).await?, 1);
        let found = actinic::get_actor::<Counter>("one").namespace("n").await?;
        assert_eq!(found.add(1).await?, 2);
        drop(found);
        assert!(actinic::list_named_actors().await?.is_empty(), "another namespace has it");
        let wanted = [("n".to_owned(), "one".to_owned())];
        assert_eq!(actinic::list_named_actors().all_namespaces(true).await?, wanted);
        assert_eq!(actinic::list_named_actors().namespace("n").await?, wanted);
        first.shutdown().await?;
        drop(made);
        let gone = async || actinic::get_actor::<Counter>("one").namespace("n").await.is_err();
        assert!(eventually(SOON, gone).await, "its actor outlived its driver");
        let second = cluster.driver().namespace("n").await?;
        assert!(second.scope(async { actinic::list_named_actors().await }).await?.is_empty());
        let again = second.scope(async { Counter::options().name("one").remote(5) }).await;
        assert_eq!(second.scope(async { again.get().await }).await?, 5);
        drop(again);
        second.shutdown().await?;
    }

    /// ACT-13: a detached actor outlives its driver; another driver finds it and makes one more, which outlives that.
    async fn detached_actors_outlive_their_drivers(cluster) {
        let detached = |name: &str, start| {
            Counter::options().name(name).lifetime(Lifetime::Detached).remote(start)
        };
        let first = cluster.driver().namespace("n").await?;
        let made = first.scope(async { detached("one", 1) }).await;
        assert_eq!(first.scope(async { made.add(1).await }).await?, 2);
        let clash = first.scope(async { detached("one", 1).get().await }).await.unwrap_err();
        assert!(clash.to_string().contains("exists already"), "{clash}");
        drop(made);
        first.shutdown().await?;
        let second = cluster.driver().namespace("n").await?;
        let values = second
            .scope(async {
                let found = actinic::get_actor::<Counter>("one").await?;
                let other = detached("two", 10);
                actinic::get(&[found.add(1), other.add(1)]).await
            })
            .await?;
        assert_eq!(values, [3, 11]);
        second.shutdown().await?;
        for (name, value) in [("one", 4), ("two", 12)] {
            let found = actinic::get_actor::<Counter>(name).namespace("n").await?;
            assert_eq!(found.add(1).await?, value);
            actinic::kill(&found).await?;
        }
    }

    /// ACT-13: a detached actor still has tasks run and makes actors when its driver is gone.
    async fn a_detached_actor_works_on_without_its_driver(cluster) {
        let first = cluster.driver().namespace("n").await?;
        first
            .scope(async {
                let made = Employer::options().name("one").lifetime(Lifetime::Detached).remote();
                assert_eq!(actinic::get(&made.employs(1)).timeout(SOON).await?, 2);
                Ok::<_, Error>(())
            })
            .await?;
        first.shutdown().await?;
        let found = actinic::get_actor::<Employer>("one").namespace("n").await?;
        assert_eq!(actinic::get(&found.employs(2)).timeout(SOON).await?, 4);
        actinic::kill(&found).await?;
    }

    /// ACT-20: drivers have namespaces of their own: one name lives in each, and is found across only by its namespace.
    async fn drivers_do_not_see_each_others_names(cluster) {
        let drivers = [cluster.driver().namespace("a").await?, cluster.driver().namespace("b").await?];
        let mut made = Vec::new();
        for (start, driver) in [(1, &drivers[0]), (2, &drivers[1])] {
            let actor = driver.scope(async { Counter::options().name("n").remote(start) }).await;
            assert_eq!(driver.scope(async { actor.get().await }).await?, start);
            made.push(actor);
        }
        for (own, other, driver) in [(1, "b", &drivers[0]), (2, "a", &drivers[1])] {
            let looks = async {
                let found = actinic::get_actor::<Counter>("n").await?;
                let across = actinic::get_actor::<Counter>("n").namespace(other).await?;
                let twice = Counter::options().name("n").remote(9).get().await.unwrap_err();
                assert!(twice.to_string().contains("exists already"), "{twice}");
                let names = actinic::list_named_actors().await?;
                assert_eq!(names.len(), 1, "its own: {names:?}");
                actinic::get(&[found.get(), across.get()]).await
            };
            assert_eq!(driver.scope(looks).await?, [own, 3 - own]);
        }
        // Who has neither namespace finds nothing.
        assert!(actinic::get_actor::<Counter>("n").await.is_err());
        drop(made);
        for driver in drivers {
            driver.shutdown().await?;
        }
    }
}
