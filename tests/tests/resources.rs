//! RES: what tasks and actors hold, how many run at once, and who gives what back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use actinic::prelude::*;
use actinic::testing::{TestCluster, eventually};

use crate::support::*;

/// Long enough for whatever could begin to have begun.
const A_WHILE: Duration = Duration::from_millis(300);

/// Counts itself, holds until the gate is open; returns how many ran when it began, itself included.
#[actinic::remote]
fn crowded(began: &str, ended: &str, gate: &str) -> u64 {
    // In this order: whoever ends in between makes the number smaller, never larger.
    let all = count_up(began);
    let now = all.saturating_sub(counted(ended));
    hold(gate);
    count_up(ended);
    now
}

#[actinic::remote]
fn summer(n: i64) -> actinic::Result<i64> {
    if n == 0 { Ok(0) } else { Ok(n + summer::remote(n - 1).blocking()?) }
}

/// Gets another task; returns how many of its kind had begun and not ended when it began.
#[actinic::remote]
fn gets_another(began: &str, ended: &str, value: i64) -> actinic::Result<(i64, u64)> {
    let all = count_up(began);
    let now = all.saturating_sub(counted(ended));
    let value = echo::remote(value).blocking()?;
    count_up(ended);
    Ok((value, now))
}

/// The same without holding its worker while it waits.
#[actinic::remote]
async fn awaits_another(began: String, ended: String, value: i64) -> actinic::Result<(i64, u64)> {
    let all = count_up(&began);
    let now = all.saturating_sub(counted(&ended));
    let value = echo::remote(value).await?;
    count_up(&ended);
    Ok((value, now))
}

/// Four times a number, by tasks that it awaits one after the other.
#[actinic::remote]
async fn sums(value: i64) -> actinic::Result<i64> {
    let mut sum = 0;
    for _ in 0..4 {
        sum += echo::remote(value).await?;
    }
    Ok(sum)
}

/// Waits without awaiting until so many of its kind have begun; whether they did.
#[actinic::remote]
async fn stubborn(began: String, together: u64) -> bool {
    count_up(&began);
    let end = Instant::now() + SOON;
    while counted(&began) < together && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    counted(&began) >= together
}

type Amounts = BTreeMap<String, f64>;

#[actinic::remote]
fn assigned() -> Amounts {
    actinic::context().assigned_resources()
}

/// What a task inside this one is assigned, then what this one is.
#[actinic::remote]
fn assigned_inside(cpu: f64, gpu: f64, custom: f64) -> actinic::Result<(Amounts, Amounts)> {
    let inner = assigned::options().num_cpus(cpu).num_gpus(gpu).resource("custom", custom).remote().blocking()?;
    Ok((inner, actinic::context().assigned_resources()))
}

pub struct Holder;

#[actinic::remote]
impl Holder {
    pub fn new() -> Self {
        Holder
    }

    pub fn assigned(&self) -> Amounts {
        actinic::context().assigned_resources()
    }

    pub fn pid(&self) -> u32 {
        std::process::id()
    }
}

/// Fractions of four decimals, the same at every run; none is 0.
fn fractions() -> impl FnMut() -> f64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (1 + (state >> 33) % 9_999) as f64 / 10_000.0
    }
}

fn amounts(cpu: f64, gpu: f64, custom: f64) -> Amounts {
    [("CPU".to_owned(), cpu), ("GPU".to_owned(), gpu), ("custom".to_owned(), custom)].into()
}

/// What takes a moment has happened then, on a machine that is busy with other tests too.
const AT_ONCE: Duration = Duration::from_secs(5);

#[actinic::remote]
fn nap(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

/// Everything is available to the last ten-thousandth.
async fn all_is_available(cluster: &TestCluster) {
    let free = eventually(SOON, || cluster.available_resources() == cluster.resources()).await;
    assert!(free, "{:?} of {:?}", cluster.available_resources(), cluster.resources());
}

modes! {
    /// RES-01: eight tasks of half a CPU run together on four CPUs, two of two CPUs, and never one more.
    4 CPUs, async fn amounts_decide_how_many_run_together(cluster) {
        for (cpus, together) in [(0.5, 8), (2.0, 2), (1.0, 4)] {
            let scratch = Scratch::new();
            let (began, ended, gate) = (scratch.file("began"), scratch.file("ended"), scratch.file("gate"));
            let task = crowded::options().num_cpus(cpus);
            let refs: Vec<_> = (0..2 * together).map(|_| task.clone().remote(&began, &ended, &gate)).collect();
            until_counted(&began, together).await;
            assert!(!eventually(A_WHILE, || counted(&began) > together).await, "{} run", counted(&began));
            open_gate(&gate);
            let peak = actinic::get(&refs).await?.into_iter().max();
            assert_eq!(peak, Some(together), "tasks of {cpus} CPUs");
        }
    }

    /// Async tasks that do not await have a thread each, as many as there are CPUs.
    4 CPUs, async fn stubborn_async_tasks_run_together(cluster) {
        let scratch = Scratch::new();
        let began = scratch.file("began");
        let refs: Vec<_> = (0..4).map(|_| stubborn::remote(&began, 4)).collect();
        assert_eq!(actinic::get(&refs).await?, [true; 4]);
    }

    /// RES-04: a recursion that gets its own calls ends on one CPU: whoever is blocked lends it.
    1 CPUs, async fn a_recursion_needs_one_cpu(cluster) {
        assert_eq!(summer::remote(10).await?, 55);
        assert!(eventually(SOON, || cluster.available_resources()["CPU"] == 1.0).await);
    }

    /// RES-06: a thousand tasks that get one each: all end, and few are begun that are not ended.
    1 CPUs, async fn blocked_tasks_do_not_pile_up(cluster) {
        let scratch = Scratch::new();
        let (began, ended) = (scratch.file("began"), scratch.file("ended"));
        let refs: Vec<_> = (0..1000).map(|n| gets_another::remote(&began, &ended, n)).collect();
        let results = actinic::get(&refs).await?;
        assert!(results.iter().map(|(value, _)| *value).eq(0..1000));
        let peak = results.iter().map(|(_, now)| *now).max();
        assert!(peak < Some(20), "{peak:?} had begun and not ended");
        assert_eq!((counted(&began), counted(&ended)), (1000, 1000), "each ran once");
    }

    /// Async tasks that have left their worker end while it runs others: no lease stays behind.
    2 CPUs, async fn what_ends_elsewhere_leaves_no_lease(cluster) {
        for _ in 0..20 {
            let sums: Vec<_> = (0..50).map(sums::remote).collect();
            let echoes: Vec<_> = (0..1_000).map(echo::remote).collect();
            assert!(actinic::get(&sums).await?.into_iter().eq((0..50).map(|n| 4 * n)));
            assert!(actinic::get(&echoes).await?.into_iter().eq(0..1_000));
        }
        all_is_available(cluster).await;
    }

    /// RES-06 of async tasks, which hold no worker while they wait.
    1 CPUs, async fn waiting_async_tasks_do_not_pile_up(cluster) {
        let scratch = Scratch::new();
        let (began, ended) = (scratch.file("began"), scratch.file("ended"));
        let refs: Vec<_> = (0..1000).map(|n| awaits_another::remote(&began, &ended, n)).collect();
        let results = actinic::get(&refs).await?;
        assert!(results.iter().map(|(value, _)| *value).eq(0..1000));
        let peak = results.iter().map(|(_, now)| *now).max();
        assert!(peak < Some(20), "{peak:?} had begun and not ended");
        assert_eq!((counted(&began), counted(&ended)), (1000, 1000), "each ran once");
    }

    /// RES-01: on four CPUs eight tasks of half a CPU take the time of one, and four of two CPUs the time of two.
    4 CPUs, async fn tasks_take_turns_by_what_they_need(cluster) {
        // The workers are started before time counts. If half a CPU were a whole one, or two were more, it would be twice
        // as long.
        actinic::get(&(0..8).map(|_| nap::options().num_cpus(0.5).remote(10)).collect::<Vec<_>>()).await?;
        for (cpus, count, seconds) in [(0.5, 8, 2.5), (2.0, 4, 5.0)] {
            let begun = Instant::now();
            let naps: Vec<_> = (0..count).map(|_| nap::options().num_cpus(cpus).remote(2500)).collect();
            actinic::get(&naps).await?;
            let took = begun.elapsed().as_secs_f64();
            assert!((seconds..seconds + 2.4).contains(&took), "{count} of {cpus} CPUs took {took} s");
        }
    }

    /// RES-03: who asked for nothing is assigned nothing.
    1 CPUs, async fn a_task_of_no_cpu_is_assigned_nothing(cluster) {
        assert_eq!(assigned::options().num_cpus(0).remote().await?, Amounts::new());
        let only = assigned::options().num_cpus(0).resource("custom", 0).remote().await?;
        assert_eq!(only, Amounts::new());
    }

    /// RES-08: tasks that need no CPU are not limited by CPUs, and run beside those that hold them all, at once.
    1 CPUs, async fn tasks_without_cpus_are_not_limited_by_cpus(cluster) {
        let scratch = Scratch::new();
        let (running, free, gate) = (scratch.file("running"), scratch.file("free"), scratch.file("gate"));
        let all = held::remote(&running, &gate, 0);
        until_counted(&running, 1).await;
        let refs: Vec<_> = (1..=2).map(|n| held::options().num_cpus(0).remote(&free, &gate, n)).collect();
        assert!(eventually(AT_ONCE, || counted(&free) == 2).await, "{} run", counted(&free));
        open_gate(&gate);
        assert_eq!((all.await?, actinic::get(&refs).await?), (0, vec![1, 2]));
    }

    /// RES-14: ten actors that say nothing live and hold no CPU; of ten that say one CPU, four live.
    4 CPUs, async fn actors_hold_what_they_say(cluster) {
        let actors: Vec<_> = (0..10).map(|_| Holder::remote()).collect();
        actinic::get(&actors.iter().map(Handle::ready).collect::<Vec<_>>()).timeout(SOON).await?;
        assert!(eventually(SOON, || cluster.available_resources()["CPU"] == 4.0).await);
        drop(actors);
        let actors: Vec<_> = (0..10).map(|_| Holder::options().num_cpus(1).remote()).collect();
        let ready: Vec<_> = actors.iter().map(Handle::ready).collect();
        assert_eq!(actinic::wait(&ready).num_returns(4).timeout(SOON).await?.0.len(), 4);
        let (alive, pending) = actinic::wait(&ready).num_returns(5).timeout(A_WHILE).await?;
        assert_eq!((alive.len(), pending.len()), (4, 6));
        let free = || cluster.available_resources().get("CPU").copied().unwrap_or(0.0) == 0.0;
        assert!(eventually(SOON, free).await, "{:?}", cluster.available_resources());
    }

    /// RES-20: what is available is what there is less what runs, while it runs and afterwards.
    2 CPUs, async fn available_is_what_nobody_holds(cluster) {
        assert_eq!(cluster.resources()["CPU"], 2.0);
        let scratch = Scratch::new();
        let mut held_now = Vec::new();
        for (number, left) in [(1, 1.0), (2, 0.0)] {
            let (running, gate) = (scratch.file("running"), scratch.file("gate"));
            held_now.push(held::remote(&running, &gate, number));
            until_counted(&running, number as u64).await;
            let available = || cluster.available_resources().get("CPU").copied().unwrap_or(0.0) == left;
            assert!(eventually(AT_ONCE, available).await, "{:?}", cluster.available_resources());
        }
        open_gate(&scratch.file("gate"));
        assert_eq!(actinic::get(&held_now).await?, [1, 2]);
        // Whoever keeps a lease for the next task keeps it a third of a second.
        let all = || cluster.available_resources() == cluster.resources();
        assert!(eventually(AT_ONCE, all).await, "{:?}", cluster.available_resources());
        assert_eq!(cluster.resources()["CPU"], 2.0);
    }
}

/// Half of the memory that the only node has to schedule by.
fn half_of_the_memory(cluster: &TestCluster) -> f64 {
    (cluster.resources()["memory"] / 2.0).floor()
}

here! {
    /// RES-01: of tasks that want half of the memory each, and no CPU, two run, and the third when one of them ends.
    1 CPUs, async fn memory_decides_how_many_tasks_run_together(cluster) {
        let scratch = Scratch::new();
        let files: Vec<_> =
            (0..3).map(|n| (scratch.file(&format!("running {n}")), scratch.file(&format!("gate {n}")))).collect();
        let task = held::options().num_cpus(0).memory(half_of_the_memory(cluster));
        let refs: Vec<_> =
            files.iter().zip(0..).map(|((running, gate), n)| task.clone().remote(running, gate, n)).collect();
        let begun = || files.iter().filter(|(running, _)| counted(running) > 0).collect::<Vec<_>>();
        assert!(eventually(SOON, || begun().len() == 2).await, "{} run", begun().len());
        assert!(!eventually(A_WHILE, || begun().len() > 2).await, "all run");
        open_gate(&begun()[0].1);
        assert!(eventually(SOON, || begun().len() == 3).await, "{} have run", begun().len());
        files.iter().for_each(|(_, gate)| open_gate(gate));
        assert_eq!(actinic::get(&refs).await?, [0, 1, 2]);
    }

    /// RES-14: of actors that want half of the memory each, and no CPU, two live, and the third when one of them goes.
    1 CPUs, async fn memory_decides_how_many_actors_live(cluster) {
        let half = half_of_the_memory(cluster);
        let mut actors: Vec<_> = (0..3).map(|_| Holder::options().num_cpus(0).memory(half).remote()).collect();
        let ready: Vec<_> = actors.iter().map(Handle::ready).collect();
        assert_eq!(actinic::wait(&ready).num_returns(2).timeout(SOON).await?.0.len(), 2);
        let (alive, pending) = actinic::wait(&ready).num_returns(3).timeout(A_WHILE).await?;
        assert_eq!((alive.len(), pending.len()), (2, 1));
        actors.remove(ready.iter().position(|one| *one == alive[0]).expect("it is one of them"));
        actinic::get(&pending[0]).timeout(SOON).await?;
    }
}

modes! {
    /// RES-14: when actors leave, those that wait for their CPUs are placed.
    4 CPUs, async fn actors_that_leave_make_room(cluster) {
        let actors: Vec<_> = (0..10).map(|_| Holder::options().num_cpus(1).remote()).collect();
        let ready: Vec<_> = actors.iter().map(Handle::ready).collect();
        let (alive, _) = actinic::wait(&ready).num_returns(4).timeout(SOON).await?;
        let (living, rest): (Vec<_>, Vec<_>) =
            actors.into_iter().zip(&ready).partition(|(_, ready)| alive.contains(ready));
        drop(living);
        let more: Vec<_> = rest.iter().map(|(_, ready)| (*ready).clone()).collect();
        assert_eq!(actinic::wait(&more).num_returns(4).timeout(SOON).await?.0.len(), 4);
    }
}

/// RES-02: an amount that makes no sense is refused with the call, as its ref's error; nothing runs.
#[actinic::test(num_cpus = 2, num_gpus = 2)]
async fn amounts_that_make_no_sense_are_refused(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (running, gate) = (scratch.file("running"), scratch.file("gate"));
    open_gate(&gate);
    let task = || held::options();
    let tasks = [
        (task().num_cpus(-1), "num_cpus"),
        (task().num_cpus(f64::NAN), "num_cpus"),
        (task().num_gpus(1.5), "num_gpus"),
        (task().resource("CPU", 1), "CPU"),
        (task().num_cpus(0.000_05), "num_cpus"),
        (task().num_cpus(1e-12), "num_cpus"),
        (task().num_cpus(f64::MIN_POSITIVE), "num_cpus"),
        (task().resource("pin", 0.000_05), "pin"),
    ];
    for (options, name) in tasks {
        let refused = options.remote(&running, &gate, 1);
        let error = actinic::get(&refused).timeout(Duration::ZERO).await.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
    let actors = [
        Holder::options().num_cpus(-1),
        Holder::options().num_gpus(1.5),
        Holder::options().resource("CPU", 1),
        Holder::options().num_cpus(0.000_05),
    ];
    for options in actors {
        let error = actinic::get(&options.remote().pid()).timeout(Duration::ZERO).await.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    }
    assert_eq!(counted(&running), 0);
    // A ten-thousandth is an amount.
    assert_eq!(held::options().num_cpus(0.0001).remote(&running, &gate, 1).await?, 1);
    cluster.idle().await
}

/// RES-03: a task is assigned exactly what it asked for, a nested one too, and all of it comes back.
async fn fractions_are_exact(cluster: &TestCluster) -> actinic::Result<()> {
    let mut next = fractions();
    let mut tasks = Vec::new();
    let mut nested = Vec::new();
    for _ in 0..100 {
        let (cpu, gpu, custom) = (next(), next(), next());
        let task = assigned::options().num_cpus(cpu).num_gpus(gpu).resource("custom", custom).remote();
        tasks.push((amounts(cpu, gpu, custom), task));
    }
    for _ in 0..20 {
        let (outer, cpu, gpu, custom) = (next(), next(), next(), next());
        let task = assigned_inside::options().num_cpus(outer).remote(cpu, gpu, custom);
        nested.push((amounts(cpu, gpu, custom), outer, task));
    }
    for (asked, task) in tasks {
        assert_eq!(task.await?, asked);
    }
    for (asked, outer, task) in nested {
        assert_eq!(task.await?, (asked, [("CPU".to_owned(), outer)].into()));
    }
    // The same with actors: two of them fit at a time, or three, and each goes when its call has run.
    let mut calls = Vec::new();
    for _ in 0..100 {
        let (cpu, gpu, custom) = (next(), next(), next());
        let actor = Holder::options().num_cpus(cpu).num_gpus(gpu).resource("custom", custom).remote();
        calls.push((amounts(cpu, gpu, custom), actor.assigned()));
    }
    for (asked, call) in calls {
        assert_eq!(call.await?, asked, "an actor");
    }
    all_is_available(cluster).await;
    assert_eq!(
        (cluster.resources()["CPU"], cluster.resources()["GPU"], cluster.resources()["custom"]),
        (2.0, 2.0, 2.0)
    );
    cluster.idle().await
}

here! {
    /// RES-03: an actor's calls are told what the actor holds.
    2 CPUs, async fn an_actors_calls_know_what_it_holds(cluster) {
        let actor = Holder::options().num_cpus(0.25).remote();
        assert_eq!(actor.assigned().await?, [("CPU".to_owned(), 0.25)].into());
    }
}

#[actinic::test(num_cpus = 2, num_gpus = 2, resources = { "custom": 2 })]
async fn fractions_are_exact_on_threads(cluster: TestCluster) -> actinic::Result<()> {
    fractions_are_exact(&cluster).await
}

#[actinic::test(num_cpus = 2, num_gpus = 2, resources = { "custom": 2 }, workers = "processes")]
async fn fractions_are_exact_on_processes(cluster: TestCluster) -> actinic::Result<()> {
    fractions_are_exact(&cluster).await
}

/// RES-11: what no node has is waited for, and named by who waits in vain; it runs when a node comes that has it.
#[actinic::test(num_cpus = 1)]
async fn what_no_node_has_is_waited_for(cluster: TestCluster) -> actinic::Result<()> {
    let task = whereabouts::options().resource("pin", 1).remote();
    let actor = Holder::options().num_cpus(0).resource("pin", 1).remote();
    let call = actor.pid();
    let error = actinic::get(&task).timeout(Duration::from_millis(1500)).await.unwrap_err();
    assert!(matches!(error, Error::GetTimeout { .. }), "{error:?}");
    assert!(error.to_string().contains("pin"), "it names what is missing: {error}");
    let error = actinic::get(&call).timeout(Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, Error::GetTimeout { .. }), "{error:?}");
    // Others are not held up by it.
    assert_eq!(echo::remote(1).await?, 1);
    // The same shape fails at once, if it is to.
    let fails = whereabouts::options().resource("pin", 1).on_infeasible("fail").remote();
    let error = actinic::get(&fails).timeout(Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, Error::Infeasible { .. }), "{error:?}");
    assert!(error.to_string().contains("pin"), "{error}");
    let node = cluster.add_node().num_cpus(1).resource("pin", 2).await?;
    assert_eq!(actinic::get(&task).timeout(SOON).await?.0, node.id());
    actinic::get(&call).timeout(SOON).await?;
    drop((task, fails, actor, call));
    cluster.idle().await
}

/// Sleeps in small steps until the gate is open: what waits for time needs nothing of others.
#[actinic::remote]
fn dozes(began: &str, gate: &str) -> actinic::Result<()> {
    count_up(began);
    while !std::path::Path::new(gate).exists() {
        actinic::sleep(Duration::from_millis(2)).blocking()?;
    }
    Ok(())
}

modes! {
    /// Only who waits for a ref lends its CPU: who sleeps, or waits for a word of the cluster, keeps it.
    1 CPUs, async fn a_task_that_sleeps_keeps_its_cpu(cluster) {
        let scratch = Scratch::new();
        let (began, gate) = (scratch.file("began"), scratch.file("gate"));
        let first = dozes::remote(&began, &gate);
        until_counted(&began, 1).await;
        let second = dozes::remote(&began, &gate);
        let (ready, _) = actinic::wait(&[first.clone(), second.clone()]).timeout(A_WHILE).await?;
        assert!(ready.is_empty());
        assert_eq!(counted(&began), 1, "two ran on one CPU");
        open_gate(&gate);
        actinic::get(&[first, second]).await?;
    }
}

/// RES-11: who waits for an actor that no node can hold is told what is missing.
#[actinic::test(num_cpus = 1)]
async fn who_waits_for_an_actor_is_told_what_is_missing(cluster: TestCluster) -> actinic::Result<()> {
    let told = async |actor: &Handle<Holder>, within| {
        let missing = |error: Error| {
            assert!(matches!(error, Error::GetTimeout { .. }), "{error:?}");
            assert!(error.to_string().contains("pin: 1"), "it names what is missing: {error}");
        };
        missing(actinic::get(&actor.pid()).timeout(within).await.unwrap_err());
        missing(actinic::get(&Handle::ready(actor)).timeout(Duration::from_millis(1)).await.unwrap_err());
    };
    let first = Holder::options().resource("pin", 1).remote();
    told(&first, Duration::from_millis(1500)).await;
    // Of its kind all have been warned of; it is told all the same, as soon as the GCS knows of it.
    let second = Holder::options().resource("pin", 1).remote();
    let waits = async || actinic::get(&Handle::ready(&second)).timeout(Duration::from_millis(1)).await.unwrap_err();
    assert!(eventually(SOON, async || waits().await.to_string().contains("pin: 1")).await);
    told(&second, Duration::from_millis(1)).await;
    for actor in [first, second] {
        actinic::kill(&actor).await?;
    }
    cluster.idle().await
}

/// What a holder is told of an actor that does not come to life, once it says what is missing.
#[actinic::remote]
async fn waits_in_vain(holder: Handle<Holder>) -> String {
    let begun = Instant::now();
    loop {
        let asked = actinic::get(&holder.pid()).timeout(Duration::from_millis(50));
        let said = asked.await.map_or_else(|error| error.to_string(), |_| "it runs".to_owned());
        if said.contains("pin: 1") || begun.elapsed() > SOON {
            return said;
        }
    }
}

modes! {
    /// RES-11: not only who made the actor, but whoever has a handle.
    2 CPUs, async fn whoever_has_a_handle_is_told_what_is_missing(cluster) {
        let holder = Holder::options().resource("pin", 1).remote();
        let said = waits_in_vain::remote(holder.clone()).await?;
        assert!(said.contains("pin: 1") && said.contains("no node can ever hold it"), "{said}");
        actinic::kill(&holder).await?;
    }
}

/// RES-11: within a second and a half it is said once of all tasks of a kind, and once of an actor, what they need and what
/// there is.
#[test]
fn what_no_node_has_is_said_once() {
    let said = alone("resources::asks_for_what_no_node_has", &[]);
    let (in_time, later) = said.split_once("it is time").unwrap();
    let about = |what: &str| in_time.lines().filter(|line| line.contains(what)).collect::<Vec<_>>();
    let (tasks, actors) = (about("first pin: 7"), about("second pin: 9"));
    assert_eq!((tasks.len(), actors.len()), (1, 1), "{said}");
    for line in [tasks[0], actors[0]] {
        assert!(line.contains("WARN") && line.contains("CPU: 3") && line.contains("first pin: 1"), "{line}");
    }
    assert!(actors[0].contains("Holder"), "it names the actor: {said}");
    assert!(!later.contains("pin: 7") && !later.contains("pin: 9"), "{said}");
}

#[actinic::test(num_cpus = 3, resources = { "first pin": 1 })]
#[ignore = "another test runs it in a process of its own"]
async fn asks_for_what_no_node_has(cluster: TestCluster) -> actinic::Result<()> {
    let tasks: Vec<_> = (0..3).map(|value| echo::options().resource("first pin", 7).remote(value)).collect();
    let actor = Holder::options().num_cpus(0).resource("second pin", 9).remote();
    let late = actinic::get(&tasks).timeout(Duration::from_millis(1500)).await.unwrap_err();
    assert!(matches!(late, Error::GetTimeout { .. }), "they stay pending: {late:?}");
    eprintln!("it is time");
    // What is asked for again is not said again.
    let again = echo::options().resource("first pin", 7).remote(4);
    let late = actinic::get(&again).timeout(Duration::from_millis(1500)).await.unwrap_err();
    assert!(matches!(late, Error::GetTimeout { .. }), "it stays pending: {late:?}");
    let (said, node) = (late.to_string(), cluster.head().id());
    assert!(said.contains(&format!("within 1.5s on node {node}: no node of the cluster has ")), "{said}");
    assert!(said.contains("first pin: 7") && said.contains(" bytes"), "{said}");
    assert!(said.contains("): it stays pending until one joins; wait longer"), "{said}");
    for task in tasks.iter().chain([&again]) {
        actinic::cancel(task).await?;
    }
    actinic::kill(&actor).await?;
    drop((tasks, again, actor));
    cluster.idle().await
}

/// RES-16: an actor's GPU is free when its last handle has gone: each next one is made.
async fn a_dropped_actor_frees_its_gpu(cluster: &TestCluster) -> actinic::Result<()> {
    for _ in 0..5 {
        let actor = Holder::options().num_gpus(1).remote();
        actinic::get(&Handle::ready(&actor)).timeout(SOON).await?;
        assert_eq!(Handle::state(&actor), actinic::ActorState::Alive);
    }
    all_is_available(cluster).await;
    cluster.idle().await
}

#[actinic::test(num_cpus = 1, num_gpus = 1)]
async fn a_dropped_actor_frees_its_gpu_on_threads(cluster: TestCluster) -> actinic::Result<()> {
    a_dropped_actor_frees_its_gpu(&cluster).await
}

#[actinic::test(num_cpus = 1, num_gpus = 1, workers = "processes")]
async fn a_dropped_actor_frees_its_gpu_on_processes(cluster: TestCluster) -> actinic::Result<()> {
    a_dropped_actor_frees_its_gpu(&cluster).await
}

/// RES-22: no task runs in an actor's process.
#[actinic::test(num_cpus = 2, workers = "processes")]
async fn tasks_keep_out_of_an_actors_process(cluster: TestCluster) -> actinic::Result<()> {
    let actor = Holder::remote();
    let pid = actor.pid().await?;
    let refs: Vec<_> = (0..100).map(|_| whereabouts::remote()).collect();
    assert!(actinic::get(&refs).await?.iter().all(|(_, task)| *task != pid));
    for _ in 0..10 {
        assert_ne!(whereabouts::remote().await?.1, pid);
    }
    assert_eq!(actor.pid().await?, pid);
    drop((refs, actor));
    cluster.idle().await
}

here! {
    /// An actor is made although tasks never leave a CPU unused.
    2 CPUs, async fn an_actor_does_not_starve_behind_tasks(cluster) {
        let mut before: Vec<_> = (0..500).map(echo::remote).collect();
        let actor = Holder::options().num_cpus(1).remote();
        let ready = Handle::ready(&actor);
        let begun = std::time::Instant::now();
        while actinic::wait(std::slice::from_ref(&ready)).timeout(Duration::ZERO).await?.0.is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(10), "the actor waits for ever");
            let next = (0..500).map(echo::remote).collect();
            actinic::get(&std::mem::replace(&mut before, next)).await?;
        }
        actinic::get(&before).await?;
        actor.pid().await?;
    }
}

/// LEA-01: short tasks of one shape, one after another or together, have one worker on one CPU.
#[actinic::test(num_cpus = 1, workers = "processes")]
async fn short_tasks_share_a_worker(cluster: TestCluster) -> actinic::Result<()> {
    let (_, first) = whereabouts::remote().await?;
    for _ in 0..100 {
        assert_eq!(whereabouts::remote().await?.1, first);
    }
    let refs: Vec<_> = (0..100).map(|_| whereabouts::remote()).collect();
    assert!(actinic::get(&refs).await?.iter().all(|(_, pid)| *pid == first));
    drop(refs);
    cluster.idle().await
}
