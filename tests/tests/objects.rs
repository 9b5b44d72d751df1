//! Large objects, refs inside values, and that everything is freed.

use actinic::prelude::*;
use actinic::testing::{TestCluster, eventually};

use crate::support::*;

const LARGE: usize = 80_000_000;

#[actinic::remote]
fn make(size: usize) -> Buffer {
    Buffer::from(vec![7u8; size])
}

#[actinic::remote]
fn check(bytes: Buffer) -> usize {
    assert!(bytes.iter().step_by(4096).all(|byte| *byte == 7));
    bytes.len()
}

/// Refs that this task owns, inside its result.
#[actinic::remote]
fn make_inside(size: usize) -> actinic::Result<Vec<ObjectRef<Buffer>>> {
    Ok(vec![make::remote(size), actinic::put(&Buffer::from(vec![7u8; size])).blocking()?])
}

#[actinic::remote]
fn check_inside(refs: Vec<ObjectRef<Buffer>>) -> actinic::Result<usize> {
    let sizes: Vec<usize> = actinic::get(&refs).blocking()?.iter().map(|bytes| bytes.len()).collect();
    Ok(sizes.iter().sum())
}

/// A borrower that lends to another.
#[actinic::remote]
fn check_elsewhere(refs: Vec<ObjectRef<Buffer>>) -> actinic::Result<usize> {
    check_inside::remote(refs).blocking()
}

/// Two levels: a ref to a list of refs, in a list.
#[actinic::remote]
fn nest(refs: Vec<ObjectRef<Buffer>>) -> actinic::Result<Vec<ObjectRef<Vec<ObjectRef<Buffer>>>>> {
    Ok(vec![actinic::put(&refs).blocking()?])
}

pub struct Keeper {
    kept: Vec<ObjectRef<Buffer>>,
}

#[actinic::remote]
impl Keeper {
    pub fn new() -> Self {
        Keeper { kept: Vec::new() }
    }
    pub fn keep(&mut self, refs: Vec<ObjectRef<Buffer>>) {
        self.kept = refs;
    }
    pub fn make(&self, size: usize) -> Buffer {
        Buffer::from(vec![7u8; size])
    }
    pub fn length(&self, bytes: Buffer) -> usize {
        bytes.len()
    }
    pub fn size(&mut self) -> actinic::Result<usize> {
        Ok(self.kept[0].blocking()?.len())
    }
    pub fn drop_all(&mut self) {
        self.kept.clear();
    }
}

modes! {
    /// more small objects at once than may wait for a session.
    2 CPUs, async fn a_task_gets_eighty_megabytes_in_small_objects(cluster) {
        let small = Buffer::from(vec![7u8; 90_000]);
        let mut refs = Vec::new();
        for _ in 0..900 {
            refs.push(actinic::put(&small).await?);
        }
        assert_eq!(check_inside::remote(&refs).await?, 900 * 90_000);
    }

    /// BAS-21: eighty megabytes from a task, to the driver and to another task, and freed.
    2 CPUs, async fn large_objects_travel(cluster) {
        let large = make::remote(LARGE);
        assert_eq!(check::remote(&large).await?, LARGE);
        assert_eq!(large.await?.len(), LARGE);
        let put = actinic::put(&Buffer::from(vec![7u8; LARGE])).await?;
        assert_eq!(check::remote(&put).await?, LARGE);
    }

    /// Refs that a worker owns, inside its result, are read by the driver and by other tasks.
    3 CPUs, async fn refs_inside_results_are_readable(cluster) {
        for size in [10usize, 1_000_000] {
            let refs = make_inside::remote(size).await?;
            assert_eq!(refs[0].clone().await?.len(), size);
            assert_eq!(check_inside::remote(refs.clone()).await?, 2 * size);
            assert_eq!(check_inside::remote(make_inside::remote(size)).await?, 2 * size);
        }
    }

    /// A borrower's borrower reads the value, although the first owner let it go meanwhile.
    3 CPUs, async fn borrowers_may_lend(cluster) {
        for size in [10usize, 1_000_000] {
            let mine = actinic::put(&Buffer::from(vec![7u8; size])).await?;
            let done = check_elsewhere::remote(vec![mine]);
            assert_eq!(done.await?, size);
            let nested = nest::remote(vec![make::remote(size)]).await?;
            let inner = nested[0].clone().await?;
            drop(nested);
            assert_eq!(inner[0].clone().await?.len(), size);
        }
    }

    /// What an actor keeps lives as long as it keeps it, and no longer.
    2 CPUs, async fn an_actor_keeps_what_it_was_given(cluster) {
        let keeper = Keeper::remote();
        for size in [10usize, 1_000_000] {
            let mine = make::remote(size);
            let id = mine.id();
            keeper.keep(vec![mine]).await?;
            assert_eq!(keeper.size().await?, size);
            keeper.drop_all().await?;
            let gone = || cluster.test_nodes().iter().all(|node| !node.objects().contains(&id));
            assert!(eventually(SOON, gone).await, "object {id} was not freed");
        }
    }
}

/// A get ends in time although the node that has the value does not answer.
#[actinic::test(num_cpus = 0)]
async fn a_get_ends_in_time_when_the_holder_is_silent(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let large = make::remote(1_000_000);
    large.done().await?;
    node.pause().await?;
    let begun = std::time::Instant::now();
    let error = actinic::get(&large).timeout(std::time::Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(error, Error::GetTimeout { .. }), "{error:?}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(1), "{:?}", begun.elapsed());
    node.resume().await?;
    assert_eq!(actinic::get(&large).timeout(SOON).await?.len(), 1_000_000);
    Ok(())
}

/// Holds, and makes a value only then.
#[actinic::remote]
fn make_after(size: usize, running: &str, gate: &str) -> Buffer {
    count_up(running);
    hold(gate);
    Buffer::from(vec![7u8; size])
}

/// BAS-21: the large result of a task, and of an actor's call, is in the store when it is ready, and not before.
async fn a_large_result_is_stored_when_it_is_ready(cluster: &TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (running, gate) = (scratch.file("running"), scratch.file("gate"));
    let stored = async || cluster.usage().await.map(|usage| usage.stored as usize);
    let large = make_after::remote(LARGE, &running, &gate);
    until_counted(&running, 1).await;
    assert_eq!(stored().await?, 0, "it is not made yet");
    open_gate(&gate);
    large.done().await?;
    assert!((LARGE..LARGE + 1000).contains(&stored().await?));
    assert_eq!(cluster.head().objects(), [large.id()]);
    drop(large);
    let keeper = Keeper::remote();
    assert!(eventually(SOON, async || stored().await.is_ok_and(|stored| stored == 0)).await);
    let large = keeper.make(LARGE);
    large.done().await?;
    assert!((LARGE..LARGE + 1000).contains(&stored().await?));
    drop((large, keeper));
    cluster.idle().await
}

#[actinic::test(num_cpus = 1)]
async fn a_large_result_is_stored_when_it_is_ready_on_threads(cluster: TestCluster) -> actinic::Result<()> {
    a_large_result_is_stored_when_it_is_ready(&cluster).await
}

#[actinic::test(num_cpus = 1, workers = "processes")]
async fn a_large_result_is_stored_when_it_is_ready_on_processes(cluster: TestCluster) -> actinic::Result<()> {
    a_large_result_is_stored_when_it_is_ready(&cluster).await
}

/// BAS-21: a small result stays with its owner; a large one lies on the node that made it, once it is there.
#[actinic::test(num_cpus = 0)]
async fn only_large_objects_are_stored(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let small = make::remote(10);
    small.done().await?;
    assert!(node.objects().is_empty() && cluster.head().objects().is_empty());
    let large = make::remote(1_000_000);
    large.done().await?;
    assert_eq!(node.objects(), [large.id()]);
    assert!(cluster.head().objects().is_empty(), "nobody asked for it yet");
    assert_eq!(large.clone().await?.len(), 1_000_000);
    assert_eq!(cluster.head().objects(), [large.id()]);
    drop((small, large));
    assert!(eventually(SOON, || node.objects().is_empty() && cluster.head().objects().is_empty()).await);
    cluster.idle().await
}

/// What `usage` says: what is kept here, what of it others hold, and what lies in the stores of all nodes.
#[actinic::test(num_cpus = 0)]
async fn usage_counts_what_is_kept_on_every_node(cluster: TestCluster) -> actinic::Result<()> {
    let _node = cluster.add_node().num_cpus(1).await?;
    let large = make::remote(1_000_000);
    large.done().await?;
    let usage = cluster.usage().await?;
    assert_eq!((usage.owned, usage.stored / 1_000_000), (1, 1), "on the other node: {usage:?}");
    assert_eq!(large.clone().await?.len(), 1_000_000);
    assert_eq!(cluster.usage().await?.stored / 1_000_000, 2, "and a copy here");
    let keeper = Keeper::remote();
    keeper.keep(vec![large.clone()]).await?;
    drop(large);
    let usage = cluster.usage().await?;
    assert_eq!((usage.lent, usage.stored / 1_000_000), (1, 2), "the actor keeps it: {usage:?}");
    keeper.drop_all().await?;
    drop(keeper);
    let nothing = async || cluster.usage().await.is_ok_and(|usage| usage == actinic::Usage::default());
    assert!(eventually(SOON, nothing).await, "{:?}", cluster.usage().await?);
    let waits = make::options().num_cpus(2).remote(1);
    assert!(eventually(SOON, async || cluster.usage().await.is_ok_and(|usage| usage.waiting == 1)).await);
    actinic::cancel(&waits).await?;
    drop(waits);
    cluster.idle().await
}

/// Meets others of its kind, then returns a ref that its process owns.
#[actinic::remote]
fn meet_and_put(met: &str, gate: &str) -> actinic::Result<(Vec<ObjectRef<i64>>, u32)> {
    count_up(met);
    hold(gate);
    Ok((vec![actinic::put(&7i64).blocking()?], std::process::id()))
}

/// BAS-16: a process that is one too many stays while it owns what somebody refers to, and goes afterwards.
#[actinic::test(num_cpus = 1, workers = "processes")]
async fn a_process_stays_while_it_owns_objects(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (met, gate) = (scratch.file("met"), scratch.file("gate"));
    let task = meet_and_put::options().num_cpus(0.25);
    let refs: Vec<_> = (0..4).map(|_| task.clone().remote(&met, &gate)).collect();
    until_counted(&met, 4).await;
    open_gate(&gate);
    let (inner, pids): (Vec<_>, Vec<_>) = actinic::get(&refs).await?.into_iter().unzip();
    drop(refs);
    let runs = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert!(!eventually(std::time::Duration::from_secs(4), || !pids.iter().all(runs)).await, "a process has gone");
    for one in &inner {
        assert_eq!(actinic::get(&one[0]).timeout(SOON).await?, 7);
    }
    drop(inner);
    assert!(eventually(SOON, || pids.iter().filter(|pid| runs(pid)).count() <= 1).await, "too many processes stay");
    cluster.idle().await
}

/// Meets others of its kind, then returns a task that it began and does not wait for.
#[actinic::remote(max_retries = 0)]
fn meet_and_begin(met: &str, gate: &str, began: &str, end: &str, value: i64) -> (Vec<ObjectRef<i64>>, u32) {
    let child = held::options().num_cpus(0).remote(began, end, value);
    count_up(met);
    hold(gate);
    (vec![child], std::process::id())
}

/// BAS-16: processes that are too many stay while tasks that they began and do not wait for run, and while somebody refers
/// to what came of those; then they go.
#[actinic::test(num_cpus = 2, workers = "processes")]
async fn a_process_stays_for_the_children_it_does_not_await(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (met, gate) = (scratch.file("met"), scratch.file("gate"));
    let (began, end) = (scratch.file("began"), scratch.file("end"));
    let task = meet_and_begin::options().num_cpus(0.2);
    let refs: Vec<_> = (0..10).map(|value| task.clone().remote(&met, &gate, &began, &end, value)).collect();
    until_counted(&met, 10).await;
    until_counted(&began, 10).await;
    open_gate(&gate);
    let (children, pids): (Vec<_>, Vec<_>) = actinic::get(&refs).timeout(SOON).await?.into_iter().unzip();
    drop(refs);
    let apart: std::collections::BTreeSet<_> = pids.iter().collect();
    assert_eq!(apart.len(), 10, "each has a process: {pids:?}");
    let runs = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    // Idle processes that owe nobody anything are gone after one second.
    let patience = std::time::Duration::from_secs(3);
    assert!(!eventually(patience, || !pids.iter().all(runs)).await, "a process left its child");
    open_gate(&end);
    let children: Vec<_> = children.into_iter().flatten().collect();
    assert_eq!(actinic::get(&children).timeout(SOON).await?, (0..10).collect::<Vec<_>>());
    assert!(!eventually(patience, || !pids.iter().all(runs)).await, "a process has gone that owns what is referred to");
    drop(children);
    assert!(eventually(SOON, || pids.iter().filter(|pid| runs(pid)).count() <= 2).await, "too many processes stay");
    assert_eq!(counted(&began), 10, "each child ran once");
    cluster.idle().await
}

/// Bytes, and a ref to others.
#[actinic::remote]
fn make_both(size: usize) -> actinic::Result<(Buffer, Vec<ObjectRef<Buffer>>)> {
    Ok((Buffer::from(vec![7u8; size]), vec![actinic::put(&Buffer::from(vec![7u8; 20])).blocking()?]))
}

#[actinic::remote]
fn check_both(both: (Buffer, Vec<ObjectRef<Buffer>>)) -> actinic::Result<usize> {
    Ok(both.0.len() + both.1[0].blocking()?.len())
}

/// A large value that was fetched for a task of its owner's process still has its refs.
#[actinic::test(num_cpus = 1)]
async fn a_fetched_argument_has_its_refs(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let both = make_both::options().scheduling(Scheduling::on(&node)).remote(1_000_000);
    let sum = check_both::options().scheduling(Scheduling::on(cluster.head())).remote(&both);
    assert_eq!(sum.await?, 1_000_020);
    drop(both);
    cluster.idle().await
}

/// A large argument that lies on another node is fetched for an actor that is where its caller is.
#[actinic::test(num_cpus = 1)]
async fn an_argument_is_fetched_for_an_actor_in_the_callers_process(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let keeper = Keeper::options().scheduling(Scheduling::on(cluster.head())).remote();
    let small = make::remote(10);
    let large = make::options().scheduling(Scheduling::on(&node)).remote(1_000_000);
    large.done().await?;
    assert!(cluster.head().objects().is_empty(), "nobody asked for it yet");
    // The second call does not pass the first, whose argument is on its way.
    assert_eq!(actinic::get(&[keeper.length(&large), keeper.length(&small)]).await?, [1_000_000, 10]);
    node.kill().await?;
    // Not where nobody knows yet that the node is dead.
    let here = Keeper::options().scheduling(Scheduling::on(cluster.head())).remote();
    assert_eq!(here.length(&large).await?, 1_000_000, "the copy is still here");
    drop((keeper, large, small));
    Ok(())
}

/// An argument that cannot be fetched fails its call, and not those behind it.
#[actinic::test(num_cpus = 1)]
async fn an_argument_that_cannot_be_fetched_fails_its_call_only(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let keeper = Keeper::options().scheduling(Scheduling::on(cluster.head())).remote();
    let (small, large) =
        (make::remote(10), make::options().max_retries(0).scheduling(Scheduling::on(&node)).remote(1_000_000));
    large.done().await?;
    node.lose_objects().await?;
    let (lost, kept) = (keeper.length(&large), keeper.length(&small));
    assert_eq!(kept.await?, 10);
    let error = lost.await.unwrap_err();
    assert!(matches!(error, Error::ObjectLost { .. } | Error::ReconstructionFailed { .. }), "{error:?}");
    drop((keeper, large, small));
    cluster.idle().await
}

/// An object that was lost with its only copy says so.
#[actinic::test(num_cpus = 0)]
async fn a_lost_put_is_an_error(cluster: TestCluster) -> actinic::Result<()> {
    let object = actinic::put(&Buffer::from(vec![7u8; 1_000_000])).await?;
    cluster.head().lose_objects().await?;
    let error = object.await.unwrap_err();
    assert!(matches!(error, Error::ObjectLost { .. } | Error::ReconstructionFailed { .. }), "{error:?}");
    Ok(())
}

#[actinic::remote]
fn length_of_both(one: Buffer, other: Buffer) -> usize {
    one.len() + other.len()
}

pub struct Pair {
    length: usize,
}

#[actinic::remote]
impl Pair {
    pub fn new(one: Buffer, other: Buffer) -> Self {
        Pair { length: one.len() + other.len() }
    }
    pub fn length(&self) -> usize {
        self.length
    }
    pub fn length_of_both(&self, one: Buffer, other: Buffer) -> usize {
        one.len() + other.len()
    }
}

/// A large object that lies on a node of its own, and cannot be made again.
async fn made_on(node: &actinic::testing::Node) -> actinic::Result<ObjectRef<Buffer>> {
    let made = make::options().max_retries(0).scheduling(Scheduling::on(node)).remote(1_000_000);
    made.done().await?;
    Ok(made)
}

/// DEP-03: of objects that are fetched together, the first that is lost is told at once, wherever it stands, though another
/// does not come: to a `get`, and for the arguments of tasks, calls and constructors, here and on another node.
#[actinic::test(num_cpus = 2)]
async fn a_lost_object_is_told_before_a_slow_one_has_come(cluster: TestCluster) -> actinic::Result<()> {
    let (silent, node) = (cluster.add_node().num_cpus(1).await?, cluster.add_node().num_cpus(2).await?);
    let idle = Pair::options().scheduling(Scheduling::on(&node)).remote(Buffer::default(), Buffer::default());
    let near = Pair::options().scheduling(Scheduling::on(cluster.head())).remote(Buffer::default(), Buffer::default());
    assert_eq!((idle.length().await?, near.length().await?), (0, 0));
    let (slow, lost) = (made_on(&silent).await?, made_on(&node).await?);
    node.lose_objects().await?;
    silent.pause().await?;
    let told = |what: &str, begun: std::time::Instant, error: Error| {
        let cause = error.root_cause();
        assert!(matches!(cause, Error::ObjectLost { .. } | Error::ReconstructionFailed { .. }), "{what}: {error:?}");
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{what}: {:?}", begun.elapsed());
    };
    for [one, other] in [[&slow, &lost], [&lost, &slow]] {
        let begun = std::time::Instant::now();
        told("get", begun, actinic::get([one, other]).timeout(SOON).await.unwrap_err());
        let refs = [one.clone(), other.clone()];
        let got = tokio::task::spawn_blocking(move || actinic::get(&refs).timeout(SOON).blocking());
        told("blocking get", begun, got.await.map_err(Error::other)?.unwrap_err());
        for at in [&cluster.head(), &node] {
            let begun = std::time::Instant::now();
            let task = length_of_both::options().scheduling(Scheduling::on(at)).remote(one, other);
            told("task", begun, actinic::get(&task).timeout(SOON).await.unwrap_err());
        }
        for actor in [&near, &idle] {
            let begun = std::time::Instant::now();
            let call = actor.length_of_both(one, other);
            told("call", begun, actinic::get(&call).timeout(SOON).await.unwrap_err());
        }
        for at in [&cluster.head(), &node] {
            let begun = std::time::Instant::now();
            let actor = Pair::options().num_cpus(0).scheduling(Scheduling::on(at)).remote(one, other);
            told("constructor", begun, actinic::get(&actor.length()).timeout(SOON).await.unwrap_err());
        }
    }
    silent.resume().await?;
    drop((slow, lost, idle, near));
    let nothing = || [&cluster.head(), &silent, &node].iter().all(|node| node.objects().is_empty());
    assert!(eventually(SOON, nothing).await, "what came too late stays");
    cluster.idle().await
}

/// One ref twice, and several refs, come as they were given.
#[actinic::test(num_cpus = 1)]
async fn objects_that_come_together_keep_their_places(cluster: TestCluster) -> actinic::Result<()> {
    let (one, other) = (cluster.add_node().num_cpus(1).await?, cluster.add_node().num_cpus(1).await?);
    let mut refs = Vec::new();
    for at in 0..40 {
        let node = if at % 3 == 0 { &one } else { &other };
        refs.push(make::options().scheduling(Scheduling::on(node)).remote(200_000 + at));
    }
    refs.push(refs[0].clone());
    refs.push(actinic::put(&Buffer::from(vec![7u8; 5])).await?);
    let lengths: Vec<usize> = actinic::get(&refs).timeout(SOON).await?.iter().map(|bytes| bytes.len()).collect();
    assert_eq!(lengths, (200_000..200_040).chain([200_000, 5]).collect::<Vec<_>>());
    for at in [&cluster.head(), &one] {
        let twice = make::options().scheduling(Scheduling::on(&other)).remote(300_000);
        let both = length_of_both::options().scheduling(Scheduling::on(at)).remote(&twice, &twice);
        assert_eq!(actinic::get(&both).timeout(SOON).await?, 600_000);
        let twice = make::options().scheduling(Scheduling::on(&other)).remote(300_000);
        let pair = Pair::options().num_cpus(0).scheduling(Scheduling::on(at)).remote(&twice, &twice);
        assert_eq!(pair.length_of_both(&twice, &twice).await?, 600_000);
        assert_eq!(pair.length().await?, 600_000);
    }
    drop(refs);
    cluster.idle().await
}
