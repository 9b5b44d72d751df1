//! Calls: order, arguments, handles as values, options, errors.

use super::*;

#[actinic::remote]
fn push_hundred(log: Handle<Log>, name: String) -> actinic::Result<()> {
    let refs: Vec<_> = (0..100).map(|i| log.say(format!("{name} {i}"))).collect();
    actinic::get(&refs).blocking().map(drop)
}

/// Its async methods panic after they have waited.
pub struct Nervous {
    begun: i64,
}

#[actinic::remote]
impl Nervous {
    pub fn new() -> Self {
        Nervous { begun: 0 }
    }

    pub async fn shared(&self, name: String) -> i64 {
        tokio::task::yield_now().await;
        panic!("the {name}")
    }

    pub async fn with_a_number(&self) -> i64 {
        tokio::task::yield_now().await;
        std::panic::panic_any(5_u8)
    }

    pub async fn alone(&mut self, name: String) -> i64 {
        self.begun += 1;
        tokio::task::yield_now().await;
        panic!("the {name}")
    }

    pub fn alone_with_a_number(&mut self) -> i64 {
        self.begun += 1;
        std::panic::panic_any(5_u8)
    }

    pub async fn waits(&self, path: String) -> i64 {
        while !std::path::Path::new(&path).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.begun
    }

    pub fn begun(&self) -> i64 {
        self.begun
    }
}

both! {
    /// An answer is not held back by the long call behind it.
    async fn an_answer_does_not_wait_for_the_call_behind_it(cluster) {
        let (counter, first, second) = (Counter::remote(0), Gate::new(), Gate::new());
        let begins = counter.wait_for(first.path());
        let (quick, long) = (counter.add(1), counter.wait_for(second.path()));
        first.open();
        begins.await?;
        // Sooner than the gate is given up.
        assert_eq!(actinic::get(&quick).timeout(SOON / 2).await?, 1);
        second.open();
        assert_eq!(long.await?, 1);
    }

    /// What an answered call was given is let go, though a long call runs behind it.
    async fn an_answered_call_keeps_nothing(cluster) {
        let (counter, first, second) = (Counter::remote(0), Gate::new(), Gate::new());
        let object = actinic::put(&1i64).await?;
        let begins = counter.wait_for(first.path());
        let (quick, long) = (counter.count(vec![object.clone()]), counter.wait_for(second.path()));
        first.open();
        begins.await?;
        assert_eq!(actinic::get(&quick).timeout(SOON / 2).await?, 1);
        drop((object, quick));
        // Sooner than the gate is given up.
        assert!(eventually(SOON / 2, async || cluster.usage().await.is_ok_and(|usage| usage.lent == 0)).await);
        second.open();
        assert_eq!(long.await?, 0);
    }
}

pub struct Forwarder {
    next: Option<Handle<Forwarder>>,
}

#[actinic::remote]
impl Forwarder {
    pub fn new(next: Option<Handle<Forwarder>>) -> Self {
        Forwarder { next }
    }

    pub fn ask(&mut self, x: i64) -> actinic::Result<i64> {
        match &self.next {
            Some(next) => next.ask(x).blocking(),
            None => Ok(x * 2),
        }
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
pub struct Holder {
    counter: Handle<Counter>,
    many: Vec<Handle<Counter>>,
}

pub struct Aware;

#[actinic::remote]
impl Aware {
    pub fn new() -> Self {
        Aware
    }

    pub fn ids(&self) -> (Option<String>, Option<String>, u32) {
        let context = actinic::context();
        let myself = context.current_actor::<Aware>().map(|me| Handle::id(&me).to_string());
        (context.actor_id().map(|id| id.to_string()), myself, context.attempt())
    }

    pub fn nothing(&self) -> bool {
        actinic::context().current_actor::<Counter>().is_none()
    }

    pub fn through_myself(&self) -> actinic::Result<ObjectRef<i64>> {
        let me = actinic::context().current_actor::<Aware>().unwrap();
        Ok(me.seven())
    }

    pub fn seven(&self) -> i64 {
        7
    }

    pub fn name_of_call(&self) -> String {
        actinic::context().task_name().unwrap_or_default()
    }
}

/// Tasks and the driver call one actor, each in its order.
async fn every_caller_in_its_order() -> actinic::Result<()> {
    let log = Log::remote();
    let tasks: Vec<_> = (0..5).map(|i| push_hundred::remote(&log, format!("task{i}"))).collect();
    let mine: Vec<_> = (0..100).map(|i| log.say(format!("driver {i}"))).collect();
    actinic::get(&tasks).await?;
    actinic::get(&mine).await?;
    let mut seen: HashMap<String, Vec<i64>> = HashMap::new();
    for line in log.lines().await? {
        let (who, number) = line.split_once(' ').unwrap();
        seen.entry(who.to_owned()).or_default().push(number.parse().unwrap());
    }
    assert_eq!(seen.len(), 6);
    for (who, numbers) in seen {
        assert_eq!(numbers, (0..100).collect::<Vec<_>>(), "{who}");
    }
    Ok(())
}

/// ACT-04 where the tasks that call it hold the only CPU.
#[actinic::test(num_cpus = 1)]
async fn every_caller_has_its_order_on_one_cpu_on_threads(cluster: TestCluster) -> actinic::Result<()> {
    every_caller_in_its_order().await?;
    cluster.idle().await
}

#[actinic::test(num_cpus = 1, workers = "processes")]
async fn every_caller_has_its_order_on_one_cpu_on_processes(cluster: TestCluster) -> actinic::Result<()> {
    every_caller_in_its_order().await?;
    cluster.idle().await
}

both! {
    /// ACT-01: state is per actor.
    async fn each_actor_has_its_own_state(cluster) {
        let (a, b) = (Counter::remote(0), Counter::remote(0));
        a.add(1);
        b.add(1);
        b.add(1);
        assert_eq!((a.get().await?, b.get().await?), (1, 2));
    }

    /// ACT-02: one caller's calls run in the order they were made, whenever their arguments arrive.
    async fn calls_keep_their_order_when_arguments_come_late(cluster) {
        let counter = Counter::remote(0);
        let refs: Vec<_> = (0..100)
            .map(|i| match i % 7 {
                0 => counter.after(i, late::remote(i, (i as u64 * 13) % 20)),
                1 => counter.after(i, identity::remote(i)),
                _ => counter.after(i, i),
            })
            .collect();
        assert_eq!(actinic::get(&refs).await?, (0..100).collect::<Vec<_>>());
        // And if each waits for a task, which end in another order.
        let counter = Counter::remote(0);
        let refs: Vec<_> = (0..100).map(|i| counter.after(i, late::remote(i, (i as u64 * 37) % 23))).collect();
        assert_eq!(actinic::get(&refs).await?, (0..100).collect::<Vec<_>>());
    }

    /// ACT-04: each of several callers is served in its own order.
    async fn every_caller_has_an_order_of_its_own(cluster) {
        every_caller_in_its_order().await?;
    }

    /// ACT-07: a handle that was put and got is the same actor.
    async fn a_handle_survives_put_and_get(cluster) {
        let first = Counter::remote(0);
        let second: Handle<Counter> = actinic::get(&actinic::put(&first).await?).await?;
        assert_eq!(first, second);
        assert_eq!((first.add(1).await?, second.add(1).await?, first.add(1).await?), (1, 2, 3));
    }

    /// ACT-09: actors call actors, blocking ones too.
    async fn actors_delegate_to_actors(cluster) {
        let a = Forwarder::remote(None);
        let b = Forwarder::remote(Some(a));
        let c = Forwarder::remote(Some(b));
        let refs: Vec<_> = (0..100).map(|i| c.ask(i)).collect();
        let (ready, pending) = actinic::wait(&refs).num_returns(100).timeout(Duration::from_secs(30)).await?;
        assert_eq!((ready.len(), pending.len()), (100, 0));
        assert_eq!(actinic::get(&refs).await?, (0..100).map(|i| i * 2).collect::<Vec<_>>());
    }

    /// Handles travel inside values and as arguments of tasks.
    async fn handles_go_anywhere(cluster) {
        let counter = Counter::remote(10);
        assert_eq!(add_in_task::remote(&counter, 5).await?, 15);
        let holder = Holder { counter: counter.clone(), many: vec![counter.clone(), Counter::remote(1)] };
        let held = actinic::put(&holder).await?;
        drop(holder);
        let again = actinic::get(&held).await?;
        assert_eq!(again.counter.add(1).await?, 16);
        assert_eq!(again.many[1].get().await?, 1);
    }

    /// Inside an actor the context names it, and gives a handle of it.
    async fn the_context_knows_its_actor(cluster) {
        let aware = Aware::remote();
        let (id, myself, attempt) = aware.ids().await?;
        let expected = Some(Handle::id(&aware).to_string());
        assert_eq!((id, myself, attempt), (expected.clone(), expected, 0));
        assert!(aware.nothing().await?);
        assert_eq!(aware.through_myself().await?.await?, 7);
    }

    /// Options of one call: its name.
    async fn a_call_can_be_named(cluster) {
        let aware = Aware::remote();
        assert_eq!(aware.name_of_call().await?, "Aware.name_of_call");
        assert_eq!(Handle::with(&aware, CallOptions::new().name("x")).name_of_call().await?, "x");
    }

    /// A panic in a method is that call's error, with message and place; the actor lives on.
    async fn a_panic_ends_the_call_and_not_the_actor(cluster) {
        let counter = Counter::remote(41);
        let error = counter.panics().await.unwrap_err();
        let text = format!("{error:?}");
        assert!(matches!(error, Error::Task { .. }), "{text}");
        assert!(text.contains("the actor's 41") && text.contains("mod.rs"), "{text}");
        assert_eq!(counter.add(1).await?, 42);
    }

    /// So is one of an async method, shared or exclusive, and one whose payload is no text.
    async fn a_panic_of_any_kind_ends_its_call_only(cluster) {
        let nervous = Nervous::remote();
        let gate = Gate::new();
        let beside = nervous.waits(gate.path());
        let calls = [("the 1st", nervous.shared("1st")), ("no text", nervous.with_a_number())];
        for (said, call) in calls {
            let error = actinic::get(&call).timeout(SOON).await.unwrap_err();
            let text = format!("{error:?}");
            assert!(matches!(error, Error::Task { .. }), "{text}");
            assert!(text.contains(said) && text.contains("calls.rs"), "{text}");
        }
        gate.open();
        assert_eq!(actinic::get(&beside).timeout(SOON).await?, 0, "what overlaps it goes on");
        for (said, call) in [("the 2nd", nervous.alone("2nd")), ("no text", nervous.alone_with_a_number())] {
            let error = actinic::get(&call).timeout(SOON).await.unwrap_err();
            let text = format!("{error:?}");
            assert!(matches!(error, Error::Task { .. }), "{text}");
            assert!(text.contains(said) && text.contains("calls.rs"), "{text}");
        }
        assert_eq!(actinic::get(&nervous.begun()).timeout(SOON).await?, 2, "its state is as the panics left it");
        assert_eq!(Handle::state(&nervous), ActorState::Alive);
    }

    /// A failed argument fails the call and holds nobody up.
    async fn a_failed_argument_fails_its_call_only(cluster) {
        let counter = Counter::remote(0);
        let failed = Counter::remote(0).panics();
        let (first, bad, last) = (counter.add(1), counter.add(&failed), counter.add(1));
        assert_eq!(first.await?, 1);
        assert!(matches!(bad.await.unwrap_err(), Error::Task { .. }));
        assert_eq!(last.await?, 2);
    }

    /// Large results and arguments travel.
    async fn large_results_and_arguments_travel(cluster) {
        let echo = Echo::remote();
        let big: Vec<u64> = (0..60_000).collect();
        let back = echo.back(&big).await?;
        assert_eq!(back, big);
        let stored = actinic::put(&big).await?;
        assert_eq!(echo.back(&stored).await?.len(), big.len());
        let chained = echo.back(echo.back(&stored));
        assert_eq!(chained.await?[59_999], 59_999);
    }

    /// ASY-07: an async method awaits refs of every kind: a task's, a failed task's, a large one, one of a dead actor.
    async fn async_methods_await_refs_of_every_kind(cluster) {
        let (awaits, dead) = (Awaits::remote(), Counter::remote(0));
        dead.get().await?;
        actinic::kill(&dead).await?;
        assert_eq!(awaits.number(vec![identity::remote(5)]).await?, 5);
        let failed = awaits.number(vec![refuse::remote(6)]).await.unwrap_err();
        assert!(matches!(failed, Error::Task { .. }), "{failed:?}");
        assert_eq!(failed.downcast_ref::<Refused>(), Some(&Refused(6)));
        // Ten bytes each: far above what travels in a reply.
        let big = actinic::put(&vec![u64::MAX / 25_000; 25_000]).await?;
        assert_eq!(awaits.sum(vec![Echo::remote().back(&big)]).await?, u64::MAX / 25_000 * 25_000);
        let died = awaits.number(vec![dead.get()]).await.unwrap_err();
        assert!(matches!(died, Error::ActorDied { .. }), "{died:?}");
        assert_eq!(awaits.number(vec![identity::remote(7)]).await?, 7, "it lives on");
    }

    /// More calls than are ever in flight at once.
    async fn twenty_thousand_calls_at_once(cluster) {
        let counter = Counter::remote(0);
        let refs: Vec<_> = (0..20_000).map(|_| counter.add(1)).collect();
        let all = actinic::get(&refs).await?;
        assert_eq!(all, (1..=20_000).collect::<Vec<_>>());
    }
}

pub struct Echo;

#[actinic::remote]
impl Echo {
    pub fn new() -> Self {
        Echo
    }

    pub fn back(&self, values: Vec<u64>) -> Vec<u64> {
        values
    }
}

/// Awaits what it is given.
pub struct Awaits;

#[actinic::remote]
impl Awaits {
    pub fn new() -> Self {
        Awaits
    }

    pub async fn number(&self, refs: Vec<ObjectRef<i64>>) -> actinic::Result<i64> {
        refs[0].clone().await
    }

    pub async fn sum(&self, refs: Vec<ObjectRef<Vec<u64>>>) -> actinic::Result<u64> {
        Ok(refs[0].clone().await?.iter().sum())
    }
}
