//! Clusters in virtual time: equal seeds are equal runs, and faults do not change results.

use std::process::Command;
use std::time::{Duration, Instant};

use actinic::prelude::*;
use actinic::testing::{LinkFaults, Message, TestCluster, TestOptions, eventually, run_test};

#[actinic::remote]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// Counts the leaves of a tree of tasks that wait for each other.
#[actinic::remote(num_cpus = 1)]
fn leaves(depth: u32) -> actinic::Result<u64> {
    if depth == 0 {
        return Ok(1);
    }
    let below = [leaves::remote(depth - 1), leaves::remote(depth - 1)];
    Ok(actinic::get(&below).blocking()?.iter().sum())
}

#[actinic::remote]
fn nap(time: Duration) -> actinic::Result<u64> {
    actinic::sleep(time).blocking()?;
    Ok(7)
}

#[actinic::remote]
fn filled(byte: u8, size: usize) -> Vec<u8> {
    vec![byte; size]
}

#[actinic::remote]
fn total(bytes: Vec<u8>) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

struct Counter {
    value: u64,
}

#[actinic::remote]
impl Counter {
    fn new(value: u64) -> Counter {
        Counter { value }
    }
    fn increment(&mut self) -> u64 {
        self.value += 1;
        self.value
    }
    fn value(&self) -> u64 {
        self.value
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn lossy(loss: f64) -> LinkFaults {
    LinkFaults { loss, delay: ms(3), jitter: ms(4), ..LinkFaults::default() }
}

/// Tasks, a put, an actor and objects above the inline limit, from the driver on the head.
async fn work(rounds: u64) -> actinic::Result<()> {
    let counter = Counter::remote(100);
    for round in 0..rounds {
        let three = add::remote(1, 2);
        assert_eq!(add::remote(&three, &three).await?, 6);
        assert_eq!(leaves::remote(3).await?, 8);
        let counts: Vec<_> = (0..10).map(|_| counter.increment()).collect();
        let first = 101 + 10 * round;
        assert_eq!(actinic::get(&counts).await?, (first..first + 10).collect::<Vec<_>>());
        let words = actinic::put(&vec!["one".to_owned(), "two".to_owned()]).await?;
        assert_eq!(actinic::get(&words).await?, ["one", "two"]);
        let totals: Vec<_> = (1..4).map(|byte| total::remote(filled::remote(byte, 200_000))).collect();
        assert_eq!(actinic::get(&totals).await?, [200_000, 400_000, 600_000]);
    }
    Ok(())
}

/// A run's datagrams, in a number.
fn trace(seed: u64) -> u64 {
    let options = TestOptions::new(file!(), line!()).num_cpus(1).sim(true).seed(seed);
    run_test(options, |cluster| async move {
        let sim = cluster.sim();
        sim.faults(lossy(0.05));
        for _ in 0..2 {
            cluster.add_node().num_cpus(2).await.unwrap();
        }
        work(2).await.unwrap();
        assert!(sim.datagrams() > 100, "{} datagrams", sim.datagrams());
        sim.trace_hash()
    })
}

#[test]
fn equal_seeds_are_equal_runs() {
    let first = trace(1);
    assert_eq!(first, trace(1));
    assert_ne!(first, trace(2));
}

/// Runs one test of this program in another process.
fn elsewhere(test: &str) -> String {
    let program = std::env::current_exe().unwrap();
    let ran = Command::new(program).args(["--exact", test, "--ignored", "--nocapture"]).output().unwrap();
    String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr)
}

#[test]
fn equal_seeds_are_equal_in_other_processes() {
    let said = elsewhere("simulation::says_its_trace");
    let expected = format!("TRACE={:x}", trace(3));
    assert!(said.contains(&expected), "not {expected}:\n{said}");
}

#[test]
#[ignore = "another test runs it in a process of its own"]
fn says_its_trace() {
    println!("TRACE={:x}", trace(3));
}

#[test]
fn a_failing_test_says_its_seed() {
    let said = elsewhere("simulation::fails");
    assert!(said.contains("SEED=42"), "{said}");
}

#[actinic::test(sim, seed = 42)]
#[ignore = "another test runs it in a process of its own"]
async fn fails(_cluster: TestCluster) {
    panic!("as it should");
}

#[actinic::remote(num_cpus = 0)]
fn nap_beside(time: Duration) -> actinic::Result<u64> {
    actinic::sleep(time).blocking()?;
    Ok(7)
}

/// What takes nothing is sent on while workers start: it was asked for again here meanwhile, and each time got as many workers.
#[actinic::test(sim, num_cpus = 2)]
async fn a_burst_that_takes_no_cpu_gets_a_worker_for_each_task_and_no_more(cluster: TestCluster) {
    for _ in 0..2 {
        cluster.add_node().num_cpus(2).await.unwrap();
    }
    let naps: Vec<_> = (0..80).map(|_| nap_beside::remote(ms(50))).collect();
    assert_eq!(actinic::get(&naps).await.unwrap(), [7; 80]);
    // A grant, a task, an end and a return each, some together.
    let sent = cluster.sim().datagrams();
    assert!(sent < 400, "{sent} datagrams");
}

#[test]
fn a_virtual_hour_takes_no_hour() {
    let begun = Instant::now();
    let options = TestOptions::new(file!(), line!()).num_cpus(1).timeout(7200).sim(true);
    run_test(options, |cluster| async move {
        assert_eq!(nap::remote(Duration::from_secs(3600)).await.unwrap(), 7);
        assert!(cluster.sim().now() >= Duration::from_secs(3600));
    });
    // Of a machine that may be busy with others.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

/// Loss and delay all the time; each node is cut off for a while in its turn.
#[test]
fn faults_do_not_change_results() {
    for seed in 0..20 {
        let options = TestOptions::new(file!(), line!()).num_cpus(1).sim(true).seed(seed).timeout(600);
        run_test(options, |cluster| async move {
            let sim = cluster.sim();
            sim.faults(lossy(0.05));
            let mut nodes = vec![cluster.head()];
            for _ in 0..2 {
                nodes.push(cluster.add_node().num_cpus(2).await.unwrap());
            }
            let cuts = async {
                for cut in 0..6 {
                    actinic::sleep(ms(200 + sim.random() % 500)).await.unwrap();
                    let (alone, others) = nodes.split_at(1);
                    sim.partition(&[&alone[0]], &others.iter().collect::<Vec<_>>());
                    actinic::sleep(ms(50 + sim.random() % 500)).await.unwrap();
                    sim.heal();
                    nodes.rotate_left(1 + cut % 2);
                }
                std::future::pending::<()>().await
            };
            let cut = std::pin::pin!(cuts);
            let work = std::pin::pin!(work(3));
            let first = Either { work, cut };
            first.await.unwrap();
        });
    }
}

/// RPC-10: for a minute a tenth of all datagrams is lost; all results are right, and nothing is left behind.
/// The driver's node has no CPU: all goes over the network.
#[actinic::test(sim, num_cpus = 0, seed = 12, timeout = 600)]
async fn a_tenth_may_be_lost(cluster: TestCluster) -> actinic::Result<()> {
    let sim = cluster.sim();
    sim.faults(lossy(0.1));
    for _ in 0..2 {
        cluster.add_node().num_cpus(2).await?;
    }
    while sim.now() < Duration::from_secs(60) {
        work(1).await?;
        actinic::sleep(ms(500)).await?;
    }
    cluster.idle().await
}

/// RPC-08: a thousand calls run once each, though the link is cut twenty times.
#[actinic::test(sim, num_cpus = 0, seed = 13, timeout = 600)]
async fn no_call_runs_twice_over_a_link_that_breaks(cluster: TestCluster) -> actinic::Result<()> {
    let (sim, node) = (cluster.sim(), cluster.add_node().num_cpus(1).await?);
    let counter = Counter::options().max_task_retries(-1).remote(0);
    Handle::ready(&counter).await?;
    let mut calls = Vec::new();
    for cut in 0..20 {
        calls.extend((0..50).map(|_| counter.increment()));
        actinic::sleep(ms(cut % 3)).await?;
        sim.partition(&[&cluster.head()], &[&node]);
        actinic::sleep(ms(50 + sim.random() % 300)).await?;
        sim.heal();
        actinic::sleep(ms(sim.random() % 100)).await?;
    }
    assert_eq!(actinic::get(&calls).await?, (1..=1000).collect::<Vec<_>>());
    drop((calls, counter));
    cluster.idle().await
}

#[actinic::remote(num_cpus = 0)]
async fn never(began: Handle<Counter>) -> actinic::Result<()> {
    began.increment().await?;
    std::future::pending().await
}

/// RPC-04, RPC-05: where a fifth is lost, who loses its last handle ends all the same, and what is cancelled is.
#[actinic::test(sim, num_cpus = 0, seed = 14, timeout = 600)]
async fn ends_are_heard_of_though_much_is_lost(cluster: TestCluster) -> actinic::Result<()> {
    let sim = cluster.sim();
    sim.faults(lossy(0.2));
    let _node = cluster.add_node().num_cpus(2).await?;
    let began = Counter::remote(0);
    for round in 1..=10 {
        let named = Counter::options().name("named").remote(0);
        assert_eq!(named.increment().await?, 1);
        let task = never::remote(&began);
        assert!(eventually(Duration::from_secs(30), async || began.value().await.is_ok_and(|now| now == round)).await);
        let start = sim.now();
        actinic::cancel(&task).await?;
        assert!(matches!(task.await.unwrap_err(), Error::TaskCancelled { .. }));
        assert!(sim.now() - start < Duration::from_secs(10), "it took {:?}", sim.now() - start);
        drop(named);
        let gone = async || actinic::get_actor::<Counter>("named").await.is_err();
        assert!(eventually(Duration::from_secs(30), gone).await, "it lives");
    }
    drop(began);
    cluster.idle().await
}

/// The work, while the cuts go on beside it.
struct Either<'a, W, C> {
    work: std::pin::Pin<&'a mut W>,
    cut: std::pin::Pin<&'a mut C>,
}

impl<W: Future, C: Future> Future for Either<'_, W, C> {
    type Output = W::Output;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<W::Output> {
        let _ = self.cut.as_mut().poll(cx);
        self.work.as_mut().poll(cx)
    }
}

#[actinic::test(sim, num_cpus = 1, seed = 5)]
async fn a_killed_nodes_task_runs_again_elsewhere(cluster: TestCluster) -> actinic::Result<()> {
    let first = cluster.add_node().num_cpus(1).resource("there", 1).await?;
    let nap = nap::options().resource("there", 1).remote(Duration::from_secs(5));
    actinic::sleep(Duration::from_secs(1)).await?;
    first.kill().await?;
    let _second = cluster.add_node().num_cpus(1).resource("there", 1).await?;
    assert_eq!(nap.await?, 7);
    Ok(())
}

/// The machine is silent: only time tells that it is gone.
#[actinic::test(sim, num_cpus = 1, seed = 6, timeout = 600)]
async fn an_unplugged_nodes_task_runs_again_elsewhere(cluster: TestCluster) -> actinic::Result<()> {
    let first = cluster.add_node().num_cpus(1).resource("there", 1).await?;
    let nap = nap::options().resource("there", 1).remote(Duration::from_secs(5));
    actinic::sleep(Duration::from_secs(1)).await?;
    cluster.sim().unplug(&first);
    let dead = || async { cluster.nodes().await.is_ok_and(|nodes| nodes.iter().any(|node| !node.alive)) };
    assert!(eventually(Duration::from_secs(120), dead).await, "it is declared dead");
    let _second = cluster.add_node().num_cpus(1).resource("there", 1).await?;
    assert_eq!(nap.await?, 7);
    Ok(())
}

#[actinic::test(sim, num_cpus = 2, seed = 8)]
fn sync_tests_live_in_virtual_time(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(2).blocking()?;
    let there = nap::options().scheduling(Scheduling::on(&node)).remote(Duration::from_secs(20));
    let late = actinic::get(&there).timeout(Duration::from_secs(10)).blocking();
    assert!(matches!(late, Err(Error::GetTimeout { .. })));
    assert_eq!(there.blocking()?, 7);
    assert!(cluster.sim().now() < Duration::from_secs(21));
    actinic::sleep(Duration::from_secs(10)).blocking()
}

/// Says in which place each call ran.
struct Line {
    places: std::sync::atomic::AtomicU64,
}

#[actinic::remote]
impl Line {
    fn new() -> Line {
        Line { places: 0.into() }
    }
    fn ordered(&mut self, _late: u64) -> u64 {
        self.places.fetch_add(1, std::sync::atomic::Ordering::SeqCst)
    }
}

struct Crowd {
    places: std::sync::atomic::AtomicU64,
}

#[actinic::remote]
impl Crowd {
    fn new() -> Crowd {
        Crowd { places: 0.into() }
    }
    async fn unordered(&self, _late: u64) -> u64 {
        self.places.fetch_add(1, std::sync::atomic::Ordering::SeqCst)
    }
}

/// LEA-07: two calls whose arguments arrive reversed run in their order, or, where calls overlap, in that of the
/// arguments.
#[actinic::test(sim, num_cpus = 4, seed = 9)]
async fn arguments_arrive_reversed(cluster: TestCluster) -> actinic::Result<()> {
    for node in [None, Some(cluster.add_node().num_cpus(4).await?)] {
        let on = Scheduling::on(node.map_or(cluster.head().id(), |node| node.id()));
        let (line, crowd) = (Line::options().scheduling(on.clone()).remote(), Crowd::options().scheduling(on).remote());
        let (late, soon) = (nap::remote(ms(400)), nap::remote(ms(200)));
        let ordered = [line.ordered(&late), line.ordered(&soon)];
        let unordered = [crowd.unordered(&late), crowd.unordered(&soon)];
        assert_eq!(actinic::get(&ordered).await?, [0, 1]);
        assert_eq!(actinic::get(&unordered).await?, [1, 0]);
    }
    Ok(())
}

/// WORLD-4: functions of `spawn_blocking` wait in virtual time, beside each other and in tasks, and equal seeds are equal runs.
#[test]
fn blocking_functions_wait_in_virtual_time() {
    async fn blocks(time: u64) -> actinic::Result<u64> {
        let blocking = move || nap::remote(ms(time)).blocking();
        tokio::task::spawn_blocking(blocking).await.map_err(Error::other)?
    }
    #[actinic::remote]
    async fn blocks_in_a_task(time: u64) -> actinic::Result<u64> {
        blocks(time).await
    }
    let run = |seed| {
        let options = TestOptions::new(file!(), line!()).num_cpus(4).timeout(20).sim(true).seed(seed);
        run_test(options, |cluster| async move {
            let node = cluster.add_node().num_cpus(4).await.unwrap();
            assert_eq!(blocks(3000).await.unwrap(), 7);
            let there = blocks_in_a_task::options().scheduling(Scheduling::on(&node)).remote(500);
            let many: Vec<_> = (0..8).map(|at| tokio::spawn(blocks(100 + at % 3))).collect();
            for one in many {
                assert_eq!(one.await.unwrap().unwrap(), 7);
            }
            assert_eq!(there.await.unwrap(), 7);
            let took = cluster.sim().now();
            assert!((ms(3500)..ms(4000)).contains(&took), "{took:?}");
            (cluster.sim().trace_hash(), took)
        })
    };
    let first = run(11);
    for _ in 0..4 {
        assert_eq!(first, run(11));
    }
    assert_ne!(first, run(12));
}

/// At the deadline of a test what waits in blocking functions ends too.
#[test]
fn a_blocking_function_does_not_outlive_its_test() {
    let said = elsewhere("simulation::blocks_too_long");
    assert!(said.contains("was not done within 5s of virtual time") && said.contains("nap"), "{said}");
}

#[actinic::test(sim, timeout = 5)]
#[ignore = "another test runs it in a process of its own"]
async fn blocks_too_long() -> actinic::Result<()> {
    let blocking = || nap::remote(Duration::from_secs(30)).blocking();
    tokio::task::spawn_blocking(blocking).await.map_err(Error::other)?.map(drop)
}

/// A thread that the simulation does not know would wait for ever: it is told at once.
#[actinic::test(sim, timeout = 5)]
fn an_unknown_threads_wait_is_refused(cluster: TestCluster) -> actinic::Result<()> {
    let there = nap::remote(ms(1));
    let wait = |wait: &(dyn Fn() -> actinic::Result<()> + Sync)| {
        let error = std::thread::scope(|threads| threads.spawn(wait).join().unwrap()).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        assert!(error.to_string().contains("spawn_blocking"), "{error}");
    };
    wait(&|| actinic::get(&there).blocking().map(drop));
    wait(&|| actinic::wait(std::slice::from_ref(&there)).blocking().map(drop));
    wait(&|| vec![there.clone()].remove(0).blocking().map(drop));
    wait(&|| {
        let _scope = cluster.enter();
        actinic::sleep(ms(1)).blocking()
    });
    assert_eq!(there.blocking()?, 7);
    Ok(())
}

struct Meeting {
    here: std::sync::Mutex<u32>,
    all: std::sync::Condvar,
}

#[actinic::remote(max_concurrency = 3)]
impl Meeting {
    fn new() -> Meeting {
        Meeting { here: 0.into(), all: std::sync::Condvar::new() }
    }
    fn meet(&self) -> u32 {
        let mut here = self.here.lock().unwrap();
        *here += 1;
        self.all.notify_all();
        *self.all.wait_while(here, |here| *here < 3).unwrap()
    }
}

/// What the watch says of a run that stands still.
fn stands_still(test: &str, who: &str, pending: &str) {
    let begun = Instant::now();
    let said = elsewhere(test);
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(25), "{took:?}: {said}");
    for part in [who, pending, "stands still: for 5s", "SEED=13", "spawn_blocking", "of virtual time"] {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
}

#[test]
fn calls_that_wait_for_each_other_outside_of_actinic_are_told() {
    stands_still(
        "simulation::meets",
        "the thread actinic-exec, which runs task Meeting.meet",
        "it runs, or waits for its turn",
    );
}

#[actinic::test(sim, timeout = 3, seed = 13)]
#[ignore = "another test runs it in a process of its own"]
async fn meets() -> actinic::Result<()> {
    let meeting = Meeting::remote();
    let calls = [meeting.meet(), meeting.meet(), meeting.meet()];
    actinic::get(&calls).await.map(drop)
}

#[test]
fn a_test_whose_thread_waits_outside_of_actinic_is_told() {
    stands_still("simulation::joins", "the simulating thread", "nap");
    stands_still("simulation::joins_sync", "the thread the test's own", "nap");
}

fn waits_for_nothing() {
    let (_tell, hear) = std::sync::mpsc::channel::<()>();
    hear.recv().unwrap();
}

#[actinic::test(sim, timeout = 3, seed = 13)]
#[ignore = "another test runs it in a process of its own"]
async fn joins() {
    let _nap = nap::remote(ms(100));
    waits_for_nothing();
}

#[actinic::test(sim, timeout = 3, seed = 13)]
#[ignore = "another test runs it in a process of its own"]
fn joins_sync() {
    let _nap = nap::remote(ms(100));
    waits_for_nothing();
}

#[actinic::remote]
fn stuck() {
    waits_for_nothing();
}

#[test]
fn a_sync_tests_task_that_waits_outside_of_actinic_is_told() {
    stands_still("simulation::waits_for_stuck", "the thread actinic-exec, which runs task stuck", "stuck");
}

#[actinic::test(sim, timeout = 3, seed = 13)]
#[ignore = "another test runs it in a process of its own"]
fn waits_for_stuck() -> actinic::Result<()> {
    stuck::remote().blocking()
}

#[actinic::remote(num_cpus = 0)]
fn total_of_both(one: Vec<u8>, other: Vec<u8>) -> u64 {
    total_of(&[one, other])
}

#[actinic::remote(num_cpus = 0)]
fn total_inside(refs: Vec<ObjectRef<Vec<u8>>>) -> actinic::Result<u64> {
    Ok(total_of(&actinic::get(&refs).blocking()?))
}

fn total_of(all: &[Vec<u8>]) -> u64 {
    all.iter().flatten().map(|byte| u64::from(*byte)).sum()
}

struct Sum {
    total: u64,
}

#[actinic::remote]
impl Sum {
    fn new(one: Vec<u8>, other: Vec<u8>) -> Sum {
        Sum { total: total_of(&[one, other]) }
    }
    fn total(&self) -> u64 {
        self.total
    }
}

/// Objects that lie on other nodes come at the same time: two from two nodes, and many from one, take about as long as one.
#[actinic::test(sim, num_cpus = 1, seed = 15, timeout = 600)]
async fn transfers_overlap(cluster: TestCluster) -> actinic::Result<()> {
    const SIZE: usize = 200_000;
    let sim = cluster.sim();
    let nodes = [cluster.add_node().num_cpus(1).await?, cluster.add_node().num_cpus(1).await?];
    let made = async |node: usize| {
        let made = filled::options().scheduling(Scheduling::on(&nodes[node])).remote(1, SIZE);
        made.done().await.map(|()| made)
    };
    // The connections stand, and know how much they may send.
    for node in 0..2 {
        for _ in 0..3 {
            made(node).await?.await?;
        }
    }
    sim.faults(LinkFaults { delay: ms(500), ..LinkFaults::default() });
    let mut one = Duration::ZERO;
    for node in 0..2 {
        let object = made(node).await?;
        let begun = sim.now();
        object.await?;
        one = one.max(sim.now() - begun);
    }
    assert!(one >= ms(1000), "there and back: {one:?}");
    let took_one = |what: &str, begun: Duration| {
        let took = sim.now() - begun;
        assert!(took < one + one / 2, "{what}: {took:?}, and {one:?} for one");
    };
    let both = async || Ok::<_, Error>([made(0).await?, made(1).await?]);

    let refs = both().await?;
    let begun = sim.now();
    assert_eq!(total_of(&actinic::get(&refs).await?), 2 * SIZE as u64);
    took_one("get", begun);

    let refs = both().await?;
    let begun = sim.now();
    assert_eq!(
        total_inside::options().scheduling(Scheduling::on(cluster.head())).remote(&refs).await?,
        2 * SIZE as u64
    );
    took_one("get on a thread", begun);

    let [a, b] = both().await?;
    let begun = sim.now();
    let sum = total_of_both::options().scheduling(Scheduling::on(cluster.head())).remote(&a, &b);
    assert_eq!(sum.await?, 2 * SIZE as u64);
    took_one("arguments", begun);

    let refs = both().await?;
    let begun = sim.now();
    assert_eq!(actinic::wait(&refs).num_returns(2).await?.0.len(), 2);
    took_one("wait", begun);

    let mut refs = Vec::new();
    for _ in 0..10 {
        refs.push(made(0).await?);
    }
    let begun = sim.now();
    assert_eq!(total_of(&actinic::get(&refs).await?), 10 * SIZE as u64);
    let took = sim.now() - begun;
    assert!(took < 4 * one, "ten from one node: {took:?}, and {one:?} for one");

    // On another node: as long as with one that lies elsewhere. Before the first, connections are made.
    let far = Scheduling::on(&nodes[0]);
    let own = async |size: usize| actinic::put(&vec![1u8; size]).await;
    let mut task = Vec::new();
    let mut constructor = Vec::new();
    for (mine, theirs) in [(SIZE, true), (SIZE, false), (1, true), (SIZE, true)] {
        let (a, b) = (own(mine).await?, if theirs { made(1).await? } else { own(1).await? });
        let begun = sim.now();
        let sum = total_of_both::options().scheduling(far.clone()).remote(&a, &b).await?;
        task.push((sum, sim.now() - begun));
        let (a, b) = (own(mine).await?, if theirs { made(1).await? } else { own(1).await? });
        let begun = sim.now();
        let actor = Sum::options().num_cpus(0).scheduling(far.clone()).remote(&a, &b);
        constructor.push((actor.total().await?, sim.now() - begun));
    }
    for (what, rounds) in [("task", task), ("constructor", constructor)] {
        let [_, (_, mine), (_, theirs), (sum, both)] = rounds[..] else { unreachable!("there were four") };
        assert_eq!(sum, 2 * SIZE as u64);
        assert!(both < mine.max(theirs) + ms(250), "{what}: {both:?}, and {mine:?} and {theirs:?} for one");
    }
    Ok(())
}

/// Links without a delay carry any amount, also where some of it is lost: what sends at a pace has time to wait for.
#[actinic::test(sim, num_cpus = 1, seed = 32, timeout = 600)]
async fn links_without_a_delay_carry_large_objects(cluster: TestCluster) -> actinic::Result<()> {
    const SIZE: usize = 1 << 20;
    let far = cluster.add_node().num_cpus(1).await?;
    let far = Scheduling::on(&far);
    for lost in [2, 1, 0, 1, 2, 3] {
        cluster.lose(Message::ObjectChunk, lost).await?;
        assert_eq!(filled::options().scheduling(far.clone()).remote(1, SIZE).await?.len(), SIZE);
        cluster.lose(Message::ObjectChunk, lost).await?;
        let put = actinic::put(&vec![1u8; SIZE]).await?;
        assert_eq!(total::options().scheduling(far.clone()).remote(&put).await?, SIZE as u64);
    }
    Ok(())
}
