//! DEP: errors through dependents, and what waits for what.

use std::time::{Duration, Instant};

use actinic::prelude::*;
use actinic::testing::TestCluster;

use crate::support::*;

#[actinic::remote]
fn note(file: &str, value: i64) -> i64 {
    count_up(file);
    value
}

#[actinic::remote]
fn calls_refuse(value: i64) -> actinic::Result<i64> {
    refuse::remote(value).blocking()
}

#[actinic::remote]
async fn awaits_refuse(value: i64) -> actinic::Result<i64> {
    Ok(calls_refuse::remote(value).await? + 1)
}

#[actinic::remote]
fn get_first(refs: Vec<ObjectRef<i64>>) -> actinic::Result<i64> {
    refs[0].blocking()
}

#[actinic::remote]
fn pass_on(refs: Vec<ObjectRef<i64>>) -> Vec<ObjectRef<i64>> {
    refs
}

pub struct Doomed;

#[actinic::remote]
impl Doomed {
    pub fn new() -> Self {
        Doomed
    }
    pub fn crash(&mut self) -> i64 {
        actinic::testing::crash()
    }
}

pub struct Adder;

#[actinic::remote(num_cpus = 0)]
impl Adder {
    pub fn new(_a: i64, _b: i64) -> Self {
        Adder
    }
    pub fn add(&mut self, a: i64, b: i64) -> i64 {
        a + b
    }
}

async fn errors_of(refs: &[ObjectRef<i64>]) -> Vec<Error> {
    let mut errors = Vec::new();
    for one in refs {
        errors.push(actinic::get(one).timeout(SOON).await.unwrap_err());
    }
    errors
}

#[actinic::remote]
async fn asks_adder(adder: Handle<Adder>) -> actinic::Result<i64> {
    let error = adder.add(1, 1).await.unwrap_err();
    assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
    Err(error)
}

/// Two of its calls overlap.
pub struct Two;

#[actinic::remote(max_concurrency = 2)]
impl Two {
    pub fn new() -> Self {
        Two
    }
    pub fn hold(&self, running: String, gate: String) -> i64 {
        count_up(&running);
        hold(&gate);
        1
    }
    pub fn refuse(&self, value: i64) -> Result<i64, Refused> {
        Err(Refused(value))
    }
    pub fn refuse_after(&self, running: String, gate: String) -> Result<i64, Refused> {
        count_up(&running);
        hold(&gate);
        Err(Refused(1))
    }
    pub fn crash_after(&self, running: String, gate: String) -> i64 {
        count_up(&running);
        hold(&gate);
        actinic::testing::crash()
    }
    pub fn crash(&self) -> i64 {
        actinic::testing::crash()
    }
}

modes! {
    /// DEP-01: a failed argument fails the dependent with the first cause, typed, and its body never runs.
    2 CPUs, async fn errors_pass_through_dependents(cluster) {
        let scratch = Scratch::new();
        let failed = refuse::remote(7);
        let second = note::remote(scratch.file("ran"), &failed);
        let third = add::remote(&second, 1);
        for error in [second.await.unwrap_err(), third.await.unwrap_err()] {
            assert!(matches!(error, Error::Task { .. }), "{error:?}");
            assert_eq!(error.downcast_ref::<Refused>(), Some(&Refused(7)), "{error:?}");
            assert!(error.root_cause().to_string().contains("refused: 7"), "{error:?}");
            assert!(error.to_string().contains("; the remote function returned this"), "it has a remedy: {error}");
        }
        assert_eq!(counted(&scratch.file("ran")), 0);
    }

    /// DEP-01, CAN-04: a failed argument ends the dependent at once, though another, before it or behind, never comes: a
    /// task, what depends on that, a call of an actor, which holds up no call behind it, and a constructor.
    2 CPUs, async fn one_failed_argument_is_enough(cluster) {
        let never = echo::options().resource("of nobody", 1).remote(1);
        let late = echo::options().resource("of nobody", 1).remote(2);
        let adder = Adder::remote(0, 0);
        let failing = |bad: &ObjectRef<i64>| {
            let (behind, before) = (add::remote(&never, bad), add::remote(bad, &never));
            let (chained, called) = (echo::remote(&behind), adder.add(&never, bad));
            [behind, before, chained, called, Adder::remote(&never, bad).add(1, 1)]
        };
        // One that has failed before, and one that is to.
        let failed = refuse::remote(7);
        failed.done().await?;
        for error in errors_of(&failing(&failed)).await {
            assert_eq!(error.downcast_ref::<Refused>(), Some(&Refused(7)), "{error:?}");
        }
        let cancelled = failing(&late);
        // It waits for its turn until the call before it has ended.
        let next = adder.add(3, 4);
        actinic::cancel(&late).await?;
        for error in errors_of(&cancelled).await {
            assert!(matches!(error.root_cause(), Error::TaskCancelled { .. }), "{error:?}");
        }
        assert_eq!(actinic::get(&next).timeout(SOON).await?, 7);
        let still = actinic::get(&never).timeout(Duration::ZERO).await;
        assert!(matches!(still, Err(Error::GetTimeout { .. })), "{still:?}");
        actinic::cancel(&never).await?;
    }

    /// DEP-01: whoever holds a handle is told the same of an actor whose constructor's argument failed: it died, of that.
    2 CPUs, async fn an_actor_of_a_failed_argument_is_dead_to_all(cluster) {
        let adder = Adder::remote(refuse::remote(7), 0);
        let here = adder.add(1, 1).await.unwrap_err();
        let there = asks_adder::remote(&adder).await.unwrap_err();
        let closed = Handle::closed(&adder).await?.error().clone();
        for error in [&here, there.root_cause(), &there, &closed] {
            assert_eq!(error.downcast_ref::<Refused>(), Some(&Refused(7)), "{error:?}");
        }
        for error in [&here, &there, &closed] {
            assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
        }
    }

    /// DEP-02: an error that nested tasks do not catch keeps its kind, and names every task on its way.
    4 CPUs, async fn errors_of_nested_tasks_name_them_all(cluster) {
        let error = awaits_refuse::remote(9).await.unwrap_err();
        assert!(matches!(error, Error::Task { .. }), "{error:?}");
        assert_eq!(error.downcast_ref::<Refused>(), Some(&Refused(9)));
        let text = format!("{error:?}");
        for name in ["awaits_refuse", "calls_refuse", "refuse"] {
            assert!(text.contains(name), "{name} is missing: {text}");
        }
        let short = error.to_string();
        assert!(short.contains("task awaits_refuse") && short.contains("(task refuse"), "{short}");
        let dependent = add::remote(refuse::remote(9), 1).await.unwrap_err().to_string();
        assert!(dependent.contains("task add") && dependent.contains("(task refuse"), "{dependent}");
    }

    /// DEP-03: the first failure is raised at once, without waiting for what takes long.
    2 CPUs, async fn get_raises_the_first_failure_at_once(cluster) {
        let scratch = Scratch::new();
        let (running, gate) = (scratch.file("running"), scratch.file("gate"));
        let slow = held::remote(&running, &gate, 1);
        until_counted(&running, 1).await;
        let begun = Instant::now();
        let error = actinic::get(&[slow.clone(), refuse::remote(1)]).await.unwrap_err();
        assert_eq!(error.downcast_ref::<Refused>(), Some(&Refused(1)));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        open_gate(&gate);
        slow.await?;
    }

    /// DEP-03: what has failed already is raised at once too, of a task and of an actor's call, and of a call that
    /// ended its actor.
    2 CPUs, async fn get_raises_what_had_failed_before(cluster) {
        let scratch = Scratch::new();
        let (running, gate) = (scratch.file("running"), scratch.file("gate"));
        let two = Two::options().max_restarts(0).remote();
        let (slow, blocked) = (held::remote(&running, &gate, 1), two.hold(&running, &gate));
        until_counted(&running, 2).await;
        for failed in [refuse::remote(1), two.refuse(1)] {
            actinic::wait(std::slice::from_ref(&failed)).timeout(SOON).await?;
            for refs in [[failed.clone(), slow.clone()], [blocked.clone(), failed.clone()]] {
                let begun = Instant::now();
                let error = actinic::get(&refs).timeout(Duration::from_secs(5)).await.unwrap_err();
                assert_eq!(error.downcast_ref::<Refused>(), Some(&Refused(1)), "{error:?}");
                assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
            }
        }
        let crashed = two.crash();
        actinic::wait(std::slice::from_ref(&crashed)).timeout(SOON).await?;
        let error = actinic::get(&[slow.clone(), crashed]).timeout(Duration::from_secs(5)).await.unwrap_err();
        assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
        open_gate(&gate);
        assert_eq!(slow.await?, 1);
    }

    /// DEP-03: a call that fails, or ends its actor, while a `get` waits for it and for what takes long, is raised at once,
    /// wherever it stands in the list.
    2 CPUs, async fn get_raises_what_fails_while_it_waits(cluster) {
        let scratch = Scratch::new();
        let gate = scratch.file("gate");
        let task = held::remote(scratch.file("task"), &gate, 1);
        until_counted(&scratch.file("task"), 1).await;
        for (round, crashes, last) in [(0, false, false), (1, false, true), (2, true, false), (3, true, true)] {
            let (running, fails) = (scratch.file(&format!("running {round}")), scratch.file(&format!("fails {round}")));
            let two = Two::options().max_restarts(0).remote();
            // What ends an actor ends its other calls too: there the slow one is a task.
            let slow = if crashes { task.clone() } else { two.hold(&running, &gate) };
            let failing = if crashes { two.crash_after(&running, &fails) } else { two.refuse_after(&running, &fails) };
            until_counted(&running, if crashes { 1 } else { 2 }).await;
            let refs = if last { [slow.clone(), failing] } else { [failing, slow.clone()] };
            let mut getting = std::pin::pin!(actinic::get(&refs).timeout(SOON).into_future());
            let early = tokio::time::timeout(Duration::from_millis(50), &mut getting).await;
            assert!(early.is_err(), "both are pending when it begins: {early:?}");
            open_gate(&fails);
            let begun = Instant::now();
            let error = getting.await.unwrap_err();
            let took = begun.elapsed();
            if crashes {
                assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
            } else {
                assert_eq!(error.downcast_ref::<Refused>(), Some(&Refused(1)), "{error:?}");
            }
            assert!(took < Duration::from_secs(1), "{took:?}");
            let still = actinic::get(&slow).timeout(Duration::ZERO).await.unwrap_err();
            assert!(matches!(still, Error::GetTimeout { .. }), "the slow one holds: {still:?}");
        }
        open_gate(&gate);
        assert_eq!(task.await?, 1);
    }

    /// DEP-04: a call that ends its actor's worker is `ActorDied`, and so is what depends on it.
    2 CPUs, async fn a_dead_actor_fails_its_dependents(cluster) {
        let actor = Doomed::remote();
        let died = actor.crash();
        let after = add::remote(&died, 1);
        let error = died.await.unwrap_err();
        assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
        let error = after.await.unwrap_err();
        assert!(matches!(error.root_cause(), Error::ActorDied { .. }), "{error:?}");
    }

    /// DEP-07: a borrower of a task's ref learns from the owner when it completes, also through a second borrower.
    2 CPUs, async fn borrowers_hear_of_later_completions(cluster) {
        let scratch = Scratch::new();
        let (running, gate) = (scratch.file("running"), scratch.file("gate"));
        let late = held::remote(&running, &gate, 1);
        until_counted(&running, 1).await;
        let direct = get_first::remote(vec![late.clone()]);
        let passed = get_first::remote(pass_on::remote(vec![late.clone()]));
        open_gate(&gate);
        assert_eq!(direct.await?, 1);
        assert_eq!(passed.await?, 1);
    }

    /// DEP-11: a task whose argument never comes is cancelled at once; what makes the argument goes on.
    4 CPUs, async fn a_waiting_task_is_cancelled_at_once(cluster) {
        let scratch = Scratch::new();
        let (running, gate) = (scratch.file("running"), scratch.file("gate"));
        let maker = held::remote(&running, &gate, 1);
        let waiting = add::remote(&maker, 1);
        until_counted(&running, 1).await;
        actinic::cancel(&waiting).await?;
        let error = actinic::get(&waiting).timeout(Duration::from_secs(2)).await.unwrap_err();
        assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
        open_gate(&gate);
        assert_eq!(maker.await?, 1);
    }
}

/// Says when it waits, and when it waits no more; what it put meanwhile dies with it.
#[actinic::remote]
fn waits_inside(begun: &str, over: &str, late: Vec<ObjectRef<i64>>) -> actinic::Result<i64> {
    let held = actinic::put(&1i64).blocking()?;
    count_up(begun);
    let got = late[0].blocking();
    count_up(over);
    drop(held);
    got
}

modes! {
    /// A blocking get is a cancellation point: it ends although what it waits for does not.
    2 CPUs, async fn a_cancelled_task_waits_no_more(cluster) {
        let scratch = Scratch::new();
        let (begun, over, gate) = (scratch.file("begun"), scratch.file("over"), scratch.file("gate"));
        let late = held::remote(scratch.file("running"), &gate, 7);
        let waits = waits_inside::remote(&begun, &over, vec![late.clone()]);
        until_counted(&begun, 1).await;
        actinic::cancel(&waits).await?;
        assert!(matches!(waits.await, Err(Error::TaskCancelled { .. })));
        until_counted(&over, 1).await;
        let waits = completes_inside::remote(scratch.file("again"), scratch.file("done"), vec![late.clone()]);
        until_counted(&scratch.file("again"), 1).await;
        actinic::cancel(&waits).await?;
        until_counted(&scratch.file("done"), 1).await;
        open_gate(&gate);
        assert_eq!(late.await?, 7);
    }
}

#[actinic::remote]
fn completes_inside(begun: &str, over: &str, refs: Vec<ObjectRef<i64>>) -> usize {
    count_up(begun);
    let count = actinic::as_completed(&refs).blocking().count();
    count_up(over);
    count
}

/// A cancelled task that waited for what no node has leaves nothing behind.
#[actinic::test(num_cpus = 1)]
async fn a_cancelled_task_that_fits_nowhere_leaves_nothing(
    cluster: actinic::testing::TestCluster,
) -> actinic::Result<()> {
    let task = echo::options().resource("pin", 1).remote(1);
    let _ = actinic::wait(std::slice::from_ref(&task)).timeout(Duration::from_millis(700)).await?;
    actinic::cancel(&task).await?;
    assert!(matches!(actinic::get(&task).timeout(SOON).await.unwrap_err(), Error::TaskCancelled { .. }));
    drop(task);
    cluster.idle().await
}

#[actinic::remote]
async fn deep(n: u32) -> actinic::Result<u64> {
    if n == 0 { Ok(0) } else { Ok(deep::remote(n - 1).await? + 1) }
}

#[actinic::remote]
fn deep_sync(n: u32) -> actinic::Result<u64> {
    if n == 0 { Ok(0) } else { Ok(deep_sync::remote(n - 1).blocking()? + 1) }
}

modes! {
    /// Async tasks nest ten thousand deep, because awaiting holds no thread.
    2 CPUs, async fn async_tasks_nest_ten_thousand_deep(cluster) {
        assert_eq!(deep::remote(10_000).await?, 10_000);
    }
}

modes! {
    /// Sync tasks nest sixty-four deep on one CPU, because a blocked one lends it.
    1 CPUs, async fn sync_tasks_nest_sixty_four_deep_on_one_cpu(cluster) {
        assert_eq!(deep_sync::remote(64).await?, 64);
    }
}

/// DEP-06: a failure that nobody reads is said once, of a task and of an actor's call; what is read is not said, in itself
/// or as the failure of what depends on it; and nothing is said where that is switched off.
#[test]
fn only_what_nobody_reads_is_reported() {
    let test = "dependencies::fails_read_and_unread";
    let said = alone(test, &[]);
    assert_eq!(said.matches("unhandled error").count(), 2, "{said}");
    for unread in ["refused: 71", "refused: 72"] {
        assert_eq!(said.matches(unread).count(), 1, "{unread}: {said}");
    }
    assert!(!said.contains("refused: 8"), "{said}");
    assert_eq!(alone(test, &[("ACTINIC_IGNORE_UNHANDLED_ERRORS", "1")]).matches("unhandled error").count(), 0);
}

#[actinic::test(num_cpus = 1)]
#[ignore = "another test runs it in a process of its own"]
async fn fails_read_and_unread(cluster: TestCluster) -> actinic::Result<()> {
    let two = Two::remote();
    let unread = [refuse::remote(71), two.refuse(72)];
    for one in &unread {
        one.done().await?;
    }
    drop(unread);
    for (value, read) in [(81, refuse::remote(81)), (82, two.refuse(82))] {
        assert_eq!(read.await.unwrap_err().downcast_ref::<Refused>(), Some(&Refused(value)));
    }
    for (value, upstream) in [(83, refuse::remote(83)), (84, two.refuse(84))] {
        let dependent = add::remote(&upstream, 1);
        drop(upstream);
        assert_eq!(dependent.await.unwrap_err().downcast_ref::<Refused>(), Some(&Refused(value)));
    }
    // Both fail what depends on both.
    let (first, second) = (refuse::remote(85), refuse::remote(86));
    first.done().await?;
    second.done().await?;
    assert!(add::remote(&first, &second).await.is_err());
    drop((first, second));
    drop(two);
    cluster.idle().await
}

/// DEP-07: the same where the task, who waits for it, and who passes it on have one CPU each on two nodes.
#[actinic::test(num_cpus = 1)]
async fn borrowers_on_other_nodes_hear_of_later_completions(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    for (late_on, waits_on) in [(cluster.head(), node.clone()), (node.clone(), cluster.head())] {
        let scratch = Scratch::new();
        let (running, gate) = (scratch.file("running"), scratch.file("gate"));
        let late = held::options().scheduling(Scheduling::on(&late_on)).remote(&running, &gate, 1);
        until_counted(&running, 1).await;
        let there = get_first::options().scheduling(Scheduling::on(&waits_on));
        let direct = there.clone().remote(vec![late.clone()]);
        let passed = there.remote(pass_on::remote(vec![late.clone()]));
        let (early, _) = actinic::wait(&[direct.clone(), passed.clone()]).timeout(Duration::from_millis(50)).await?;
        assert!(early.is_empty(), "it has not completed");
        open_gate(&gate);
        assert_eq!(actinic::get(&[direct, passed]).timeout(SOON).await?, [1, 1]);
    }
    cluster.idle().await
}

/// Needs a value to begin.
pub struct Needy;

#[actinic::remote(num_cpus = 0)]
impl Needy {
    pub fn new(_value: i64) -> Self {
        Needy
    }

    pub fn answer(&self) -> i64 {
        1
    }
}

/// Makes an actor of what it owns and has not got yet.
pub struct Founder {
    late: Option<ObjectRef<i64>>,
}

#[actinic::remote(num_cpus = 0)]
impl Founder {
    pub fn new() -> Self {
        Founder { late: None }
    }

    pub fn found(&mut self, running: &str, gate: &str) -> Handle<Needy> {
        let late = self.late.insert(held::remote(running, gate, 1));
        Needy::remote(&*late)
    }
}

#[actinic::remote(num_cpus = 0)]
fn calls(needy: Handle<Needy>, began: &str) -> actinic::Result<i64> {
    let answer = needy.answer();
    count_up(began);
    answer.blocking()
}

modes! {
    /// DEP-08: who calls an actor whose argument died with its owner, before it came, is told so.
    2 CPUs, async fn an_actor_whose_argument_died_is_dead(cluster) {
        let scratch = Scratch::new();
        let (running, gate, began) = (scratch.file("running"), scratch.file("gate"), scratch.file("began"));
        let founder = Founder::remote();
        let needy = founder.found(&running, &gate).await?;
        until_counted(&running, 1).await;
        let before = calls::remote(&needy, &began);
        until_counted(&began, 1).await;
        actinic::kill(&founder).await?;
        let after = calls::remote(&needy, &began);
        until_counted(&began, 2).await;
        for call in [before, after] {
            let error = actinic::get(&call).timeout(SOON).await.unwrap_err();
            let text = format!("{error:?}");
            assert!(matches!(error.root_cause(), Error::OwnerDied { .. }), "{text}");
            assert!(text.contains("Needy") && text.contains("Founder"), "it names the actors: {text}");
        }
        open_gate(&gate);
    }
}
