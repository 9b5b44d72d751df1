//! Lost objects are made again from how they were made.

use std::time::Duration;

use actinic::prelude::*;
use actinic::testing::{Node, TestCluster};

use crate::support::*;

const SIZE: usize = 1_000_000;

/// Counts runs, on a node that is not lost.
pub struct Runs {
    runs: u32,
}

#[actinic::remote]
impl Runs {
    pub fn new() -> Self {
        Runs { runs: 0 }
    }
    pub fn ran(&mut self) {
        self.runs += 1;
    }
    pub fn count(&self) -> u32 {
        self.runs
    }
}

#[actinic::remote]
fn make(fill: u8, runs: Handle<Runs>) -> actinic::Result<Buffer> {
    runs.ran().blocking()?;
    Ok(Buffer::from(vec![fill; SIZE]))
}

/// One more than its argument, byte by byte.
#[actinic::remote]
fn next(bytes: Buffer, runs: Handle<Runs>) -> actinic::Result<Buffer> {
    runs.ran().blocking()?;
    Ok(bytes.iter().map(|byte| byte + 1).collect::<Vec<u8>>().into())
}

#[actinic::remote]
fn first(bytes: Buffer) -> u8 {
    bytes[0]
}

#[actinic::remote(num_returns = 2)]
fn pair(runs: Handle<Runs>) -> actinic::Result<(Buffer, Buffer)> {
    runs.ran().blocking()?;
    Ok((Buffer::from(vec![1u8; SIZE]), Buffer::from(vec![2u8; SIZE])))
}

/// Refs that the worker owns, beside bytes that make the result a large one.
#[actinic::remote]
fn with_refs(inner: u8) -> actinic::Result<(Buffer, Vec<ObjectRef<u8>>)> {
    Ok((Buffer::from(vec![0u8; SIZE]), vec![actinic::put(&inner).blocking()?]))
}

pub struct Reader {
    kept: Vec<ObjectRef<Buffer>>,
}

#[actinic::remote]
impl Reader {
    pub fn new() -> Self {
        Reader { kept: Vec::new() }
    }
    pub fn keep(&mut self, kept: Vec<ObjectRef<Buffer>>) {
        self.kept = kept;
    }
    pub fn read(&self) -> actinic::Result<u8> {
        Ok(self.kept[0].blocking()?[0])
    }
    pub fn read_within(&self, time: Duration) -> actinic::Result<u8> {
        Ok(actinic::get(&self.kept[0]).timeout(time).blocking()?[0])
    }
    pub fn first(&self, bytes: Buffer) -> u8 {
        bytes[0]
    }
}

fn on(node: &Node) -> Scheduling {
    Scheduling::on(node)
}

async fn lose(node: &Node, refs: &[&ObjectRef<Buffer>]) -> actinic::Result<()> {
    for object in refs {
        object.done().await?;
    }
    node.lose_objects().await
}

/// REC-02, REC-19: the task runs again, once however many ask, and its refs have their value as before.
#[actinic::test(num_cpus = 1)]
async fn a_lost_result_is_made_again(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let runs = Runs::remote();
    let object = make::options().scheduling(on(&node)).remote(7, &runs);
    lose(&node, &[&object]).await?;
    let (one, two) = (object.clone(), object.clone());
    let (one, two) = tokio::join!(async { one.await }, async { two.await });
    assert_eq!((one?[0], two?.len()), (7, SIZE));
    assert_eq!(runs.count().await?, 2);
    drop((object, runs));
    cluster.idle().await
}

/// REC-02: as often as the options allow, and no more; the error names the task and what to do.
#[actinic::test(num_cpus = 1)]
async fn attempts_are_counted(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let runs = Runs::remote();
    let once = make::options().scheduling(on(&node)).max_retries(1).remote(7, &runs);
    let never = make::options().scheduling(on(&node)).max_retries(0).remote(7, &runs);
    lose(&node, &[&once, &never]).await?;
    let error = never.clone().await.unwrap_err();
    assert!(matches!(error, Error::ObjectLost { .. }), "{error:?}");
    assert!(error.to_string().contains("max_retries"), "{error}");
    assert_eq!(first::remote(&once).await?, 7);
    lose(&node, &[&once]).await?;
    cluster.head().lose_objects().await?;
    let error = once.clone().await.unwrap_err();
    assert!(matches!(error, Error::ReconstructionFailed { .. }), "{error:?}");
    assert!(error.to_string().contains("make"), "{error}");
    drop((once, never, runs));
    cluster.idle().await
}

/// REC-03, REC-04: arguments whose refs are gone are made again too, to the beginning; a `put` has stayed.
#[actinic::test(num_cpus = 1)]
async fn arguments_are_made_again_first(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let runs = Runs::remote();
    let put = actinic::put(&Buffer::from(vec![1u8; SIZE])).await?;
    let mut chain = vec![next::options().scheduling(on(&node)).remote(&put, &runs)];
    for _ in 0..4 {
        let before = &chain[chain.len() - 1];
        chain.push(next::options().scheduling(on(&node)).remote(before, &runs));
    }
    let last = chain.pop().unwrap();
    last.done().await?;
    drop((put, chain));
    node.lose_objects().await?;
    assert_eq!(last.clone().await?[SIZE - 1], 6);
    assert_eq!(runs.count().await?, 10);
    drop((last, runs));
    cluster.idle().await
}

/// An argument that has a ref but was lost is found to be so when it is needed.
#[actinic::test(num_cpus = 1)]
async fn an_argument_that_was_lost_is_made_again(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let runs = Runs::remote();
    let (object, other) = (
        make::options().scheduling(on(&node)).remote(3, &runs),
        make::options().scheduling(on(&node)).remote(4, &runs),
    );
    let reader = Reader::options().scheduling(on(&cluster.head())).remote();
    Handle::ready(&reader).await?;
    lose(&node, &[&object, &other]).await?;
    assert_eq!(first::options().scheduling(on(&cluster.head())).remote(&object).await?, 3);
    assert_eq!(reader.first(&other).await?, 4);
    drop((object, other, reader, runs));
    cluster.idle().await
}

/// Waits at the gate when it runs first, and crashes.
#[actinic::remote]
fn crashes_at_first(bytes: Buffer, running: &str, gate: &str) -> u8 {
    if count_up(running) == 1 {
        hold(gate);
        actinic::testing::crash();
    }
    bytes[0]
}

/// FAI-10: before a task runs again that crashed, its argument is made again that was lost meanwhile.
#[actinic::test(num_cpus = 2)]
async fn an_argument_of_what_runs_again_is_made_again_first(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let (runs, scratch) = (Runs::remote(), Scratch::new());
    let (running, gate) = (scratch.file("running"), scratch.file("gate"));
    let object = make::options().scheduling(on(&node)).remote(3, &runs);
    object.done().await?;
    let here = on(&cluster.head());
    let task = crashes_at_first::options().scheduling(here).max_retries(1).remote(&object, &running, &gate);
    until_counted(&running, 1).await;
    node.lose_objects().await?;
    cluster.head().lose_objects().await?;
    open_gate(&gate);
    assert_eq!(actinic::get(&task).timeout(SOON).await?, 3);
    assert_eq!((runs.count().await?, counted(&running)), (2, 2));
    drop((object, task, runs));
    cluster.idle().await
}

/// A borrower asks the owner, which has the object made again.
#[actinic::test(num_cpus = 1, workers = "processes")]
async fn a_borrower_gets_what_is_made_again(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let runs = Runs::remote();
    let object = make::options().scheduling(on(&node)).remote(5, &runs);
    let reader = Reader::remote();
    reader.keep(vec![object.clone()]).await?;
    lose(&node, &[&object]).await?;
    drop(object);
    assert_eq!(reader.read().await?, 5);
    assert_eq!(runs.count().await?, 2);
    reader.keep(Vec::new()).await?;
    drop((reader, runs));
    cluster.idle().await
}

/// Of several returns the lost ones are made again; one that has no ref any more is not kept.
#[actinic::test(num_cpus = 1)]
async fn returns_are_made_again_together(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let runs = Runs::remote();
    let (one, two) = pair::options().scheduling(on(&node)).remote(&runs);
    lose(&node, &[&one, &two]).await?;
    drop(one);
    assert_eq!(two.clone().await?[0], 2);
    assert_eq!(runs.count().await?, 2);
    assert_eq!(node.objects(), [two.id()]);
    drop((two, runs));
    cluster.idle().await
}

/// The refs in a value that was made again are those of the run that made it.
#[actinic::test(num_cpus = 1)]
async fn refs_inside_are_those_of_the_last_run(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let object = with_refs::options().scheduling(on(&node)).remote(9);
    object.done().await?;
    node.lose_objects().await?;
    let (_, inner) = object.clone().await?;
    assert_eq!(inner[0].clone().await?, 9);
    drop((object, inner));
    cluster.idle().await
}

/// REC-01, REC-02: with its node; what a reader fetched before needs no run.
#[actinic::test(num_cpus = 0)]
async fn a_node_dies_with_its_objects(cluster: TestCluster) -> actinic::Result<()> {
    let (first_node, second) = (
        cluster.add_node().num_cpus(1).resource("big", 1).await?,
        cluster.add_node().num_cpus(1).resource("other", 1).await?,
    );
    let runs = Runs::options().num_cpus(0).scheduling(on(&cluster.head())).remote();
    let on_big = || make::options().resource("big", 1);
    let (read, unread) = (on_big().remote(1, &runs), on_big().remote(2, &runs));
    assert_eq!(first::options().resource("other", 1).remote(&read).await?, 1);
    unread.done().await?;
    first_node.kill().await?;
    let third = cluster.add_node().num_cpus(1).resource("big", 1).await?;
    assert_eq!(first::options().resource("other", 1).remote(&read).await?, 1);
    assert_eq!(runs.count().await?, 2, "a copy is left");
    assert_eq!(actinic::get(&unread).timeout(Duration::from_secs(30)).await?[0], 2);
    assert_eq!(runs.count().await?, 3);
    drop((read, unread, runs, second, third));
    cluster.idle().await
}

/// What is freed is gone, lineage or not: a cluster that holds nothing keeps nothing.
#[actinic::test(num_cpus = 2)]
async fn lineage_keeps_no_values_that_can_be_made_again(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let runs = Runs::remote();
    let object = make::options().scheduling(on(&node)).remote(1, &runs);
    let more = next::options().scheduling(on(&node)).remote(&object, &runs);
    more.done().await?;
    let gone = object.id();
    drop(object);
    let freed = || !node.objects().contains(&gone);
    assert!(actinic::testing::eventually(Duration::from_secs(10), freed).await);
    drop((more, runs));
    cluster.idle().await
}

/// The only CPU waits for an argument that is lost: it is lent to the task that makes that again.
#[actinic::test(num_cpus = 1)]
async fn what_waits_for_a_lost_argument_lends_its_cpu(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let runs = Runs::options().num_cpus(0).scheduling(on(&cluster.head())).remote();
    let soft = Scheduling::NodeAffinity { node: node.id(), soft: true };
    let lost: Vec<_> = (0..3).map(|fill| make::options().scheduling(soft.clone()).remote(fill, &runs)).collect();
    actinic::wait(&lost).num_returns(3).await?;
    node.kill().await?;
    let firsts: Vec<_> = lost.iter().map(first::remote).collect();
    assert_eq!(actinic::get(&firsts).timeout(Duration::from_secs(30)).await?, [0, 1, 2]);
    drop((lost, firsts, runs));
    cluster.idle().await
}

#[actinic::remote]
fn firsts(all: (Buffer, Buffer), one: Buffer, two: Buffer, three: Buffer) -> Vec<u8> {
    vec![all.0.len() as u8, one[0], two[0], three[0]]
}

/// So it is while any of its arguments is made again: each that comes leaves the CPU to those that make the others.
async fn what_waits_for_several_lost_arguments(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let runs = Runs::options().num_cpus(0).scheduling(on(&cluster.head())).remote();
    let soft = Scheduling::NodeAffinity { node: node.id(), soft: true };
    for _ in 0..3 {
        let lost: Vec<_> = (1..4).map(|fill| make::options().scheduling(soft.clone()).remote(fill, &runs)).collect();
        lose(&node, &lost.iter().collect::<Vec<_>>()).await?;
        let small = (Buffer::default(), Buffer::default());
        let here = firsts::options().scheduling(on(&node)).remote(small, &lost[0], &lost[1], &lost[2]);
        assert_eq!(actinic::get(&here).timeout(Duration::from_secs(30)).await?, [0, 1, 2, 3]);
    }
    assert_eq!(runs.count().await?, 18);
    drop(runs);
    cluster.idle().await
}

#[actinic::test(num_cpus = 0)]
async fn what_waits_for_several_lost_arguments_lends_its_cpu(cluster: TestCluster) -> actinic::Result<()> {
    what_waits_for_several_lost_arguments(cluster).await
}

#[actinic::test(num_cpus = 0, workers = "processes")]
async fn what_waits_for_several_lost_arguments_lends_its_cpu_on_processes(cluster: TestCluster) -> actinic::Result<()> {
    what_waits_for_several_lost_arguments(cluster).await
}

/// Reads what it was given inside, one by one and together.
#[actinic::remote]
async fn awaits(lost: Vec<ObjectRef<Buffer>>) -> actinic::Result<Vec<u8>> {
    let first = (&lost[0]).await?[0];
    let all = actinic::get(&lost).await?;
    Ok([first].into_iter().chain(all.iter().map(|bytes| bytes[0])).collect())
}

/// Holds the only CPU.
pub struct Awaiter;

#[actinic::remote(num_cpus = 1)]
impl Awaiter {
    pub async fn new() -> Self {
        Awaiter
    }

    pub async fn awaits(&self, lost: Vec<ObjectRef<Buffer>>) -> actinic::Result<Vec<u8>> {
        let first = (&lost[0]).await?[0];
        let all = actinic::get(&lost).await?;
        Ok([first].into_iter().chain(all.iter().map(|bytes| bytes[0])).collect())
    }
}

/// So do an async task and an async actor that await what is lost: it is made again on the CPU that they held.
async fn what_awaits_what_was_lost(cluster: TestCluster) -> actinic::Result<()> {
    let runs = Runs::options().num_cpus(0).scheduling(on(&cluster.head())).remote();
    for actor in [false, true] {
        let node = cluster.add_node().num_cpus(1).await?;
        let soft = Scheduling::NodeAffinity { node: node.id(), soft: true };
        let lost: Vec<_> = (1..4).map(|fill| make::options().scheduling(soft.clone()).remote(fill, &runs)).collect();
        actinic::wait(&lost).num_returns(3).fetch_local(false).await?;
        node.kill().await?;
        let got = if actor {
            Awaiter::options().scheduling(on(&cluster.head())).remote().awaits(lost)
        } else {
            awaits::options().scheduling(on(&cluster.head())).remote(lost)
        };
        assert_eq!(actinic::get(&got).timeout(SOON * 2).await?, [1, 1, 2, 3], "actor: {actor}");
    }
    assert_eq!(runs.count().await?, 12);
    drop(runs);
    cluster.idle().await
}

#[actinic::test(num_cpus = 1)]
async fn what_awaits_what_was_lost_lends_its_cpu(cluster: TestCluster) -> actinic::Result<()> {
    what_awaits_what_was_lost(cluster).await
}

#[actinic::test(num_cpus = 1, workers = "processes")]
async fn what_awaits_what_was_lost_lends_its_cpu_on_processes(cluster: TestCluster) -> actinic::Result<()> {
    what_awaits_what_was_lost(cluster).await
}

/// Two tasks of one lease wait for what needs its CPU: one that comes and runs leaves it to what makes the other's.
async fn what_waits_beside_what_has_run(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(2).await?;
    let runs = Runs::options().num_cpus(0).scheduling(on(&cluster.head())).remote();
    // It is known to be short, so both go to one worker.
    for _ in 0..20 {
        assert_eq!(first::remote(Buffer::from(vec![1u8; 3])).await?, 1);
    }
    let soft = || Scheduling::NodeAffinity { node: node.id(), soft: true };
    let whole = make::options().scheduling(soft()).remote(1, &runs);
    let half = make::options().scheduling(soft()).num_cpus(0.5).remote(2, &runs);
    whole.done().await?;
    half.done().await?;
    node.kill().await?;
    let both = (first::remote(&whole), first::remote(&half));
    assert_eq!(actinic::get(&both).timeout(Duration::from_secs(30)).await?, (1, 2));
    drop((whole, half, both, runs));
    cluster.idle().await
}

#[actinic::test(num_cpus = 1)]
async fn what_waits_beside_what_has_run_lends_its_cpu(cluster: TestCluster) -> actinic::Result<()> {
    what_waits_beside_what_has_run(cluster).await
}

#[actinic::test(num_cpus = 1, workers = "processes")]
async fn what_waits_beside_what_has_run_lends_its_cpu_on_processes(cluster: TestCluster) -> actinic::Result<()> {
    what_waits_beside_what_has_run(cluster).await
}

/// So it is if an actor's call, which has no CPU to lend, missed the argument first.
#[actinic::test(num_cpus = 1)]
async fn what_waits_behind_a_call_lends_its_cpu(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let runs = Runs::options().num_cpus(0).scheduling(on(&cluster.head())).remote();
    let reader = Reader::options().num_cpus(0).scheduling(on(&cluster.head())).remote();
    Handle::ready(&reader).await?;
    let soft = Scheduling::NodeAffinity { node: node.id(), soft: true };
    let lost = make::options().scheduling(soft).remote(5, &runs);
    lost.done().await?;
    node.kill().await?;
    let both = (reader.first(&lost), first::remote(&lost));
    assert_eq!(actinic::get(&both).timeout(Duration::from_secs(30)).await?, (5, 5));
    drop((lost, both, reader, runs));
    cluster.idle().await
}

/// A `put` that stays for lineage's sake only makes room for a result that is fetched.
#[actinic::test(num_cpus = 1, object_store_memory = 10_000_000)]
async fn lineage_makes_room_for_what_is_fetched(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).object_store_memory(20_000_000).await?;
    let put = actinic::put(&Buffer::from(vec![1u8; 6_000_000])).await?;
    let runs = Runs::remote();
    let more = next::options().scheduling(on(&node)).remote(&put, &runs);
    more.done().await?;
    drop(put);
    assert_eq!(more.clone().await?.len(), 6_000_000);
    drop((more, runs));
    cluster.idle().await
}

#[actinic::remote]
fn six_megabytes() -> Buffer {
    Buffer::from(vec![6u8; 6_000_000])
}

/// What is made again in the process of its owner, who reads it, is kept there once.
#[actinic::test(num_cpus = 1, object_store_memory = 10_000_000)]
async fn what_is_made_again_where_it_is_read_counts_once(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let soft = Scheduling::NodeAffinity { node: node.id(), soft: true };
    let made = six_megabytes::options().scheduling(soft).remote();
    made.done().await?;
    node.kill().await?;
    for _ in 0..2 {
        assert_eq!(actinic::get(&made).timeout(SOON * 2).await?.len(), 6_000_000);
        assert_eq!(cluster.usage().await?.stored / 1_000_000, 6);
    }
    drop(made);
    cluster.idle().await
}

/// What is run again can be cancelled.
#[actinic::test(num_cpus = 1)]
async fn what_runs_again_can_be_cancelled(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).resource("there", 1).await?;
    let runs = Runs::remote();
    let object = make::options().resource("there", 1).remote(1, &runs);
    object.done().await?;
    node.kill().await?;
    // It waits for a node that has it, which never comes.
    let waits = actinic::get(&object).timeout(Duration::from_secs(3)).await.unwrap_err();
    assert!(matches!(waits, Error::GetTimeout { .. }), "{waits:?}");
    actinic::cancel(&object).await?;
    let error = actinic::get(&object).timeout(Duration::from_secs(30)).await.unwrap_err();
    assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
    drop((object, runs));
    cluster.idle().await
}

async fn is_late(object: &ObjectRef<Buffer>) {
    let error = actinic::get(object).timeout(Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, Error::GetTimeout { .. }), "{error:?}");
}

/// What is to be made again where nothing has what that needs is let go with its last ref, once nobody waits for it; and so
/// is what it would be made of.
async fn what_nobody_wants_is_not_made_again(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).resource("there", 1).await?;
    let runs = Runs::options().num_cpus(0).scheduling(on(&cluster.head())).remote();
    let reader = Reader::options().scheduling(on(&cluster.head())).remote();
    let there = |fill| make::options().resource("there", 1).remote(fill, &runs);
    let (alone, borrowed, freed) = (there(1), there(2), there(3));
    let made_of = next::options().scheduling(on(&node)).resource("there", 1).remote(&freed, &runs);
    lose(&node, &[&alone, &borrowed, &made_of]).await?;
    reader.keep(vec![borrowed.clone()]).await?;
    drop((freed, borrowed));
    node.kill().await?;
    is_late(&alone).await;
    is_late(&made_of).await;
    let error = reader.read_within(Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error.root_cause(), Error::GetTimeout { .. }), "{error:?}");
    reader.keep(Vec::new()).await?;
    drop((alone, made_of, reader, runs));
    cluster.idle().await
}

#[actinic::test(num_cpus = 1)]
async fn what_nobody_wants_is_not_made_again_on_threads(cluster: TestCluster) -> actinic::Result<()> {
    what_nobody_wants_is_not_made_again(cluster).await
}

#[actinic::test(num_cpus = 1, workers = "processes")]
async fn what_nobody_wants_is_not_made_again_on_processes(cluster: TestCluster) -> actinic::Result<()> {
    what_nobody_wants_is_not_made_again(cluster).await
}

/// Whoever gives up what is made again takes it from nobody else who waits, nor from who asks later.
#[actinic::test(num_cpus = 1)]
async fn what_one_gives_up_others_get(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).resource("there", 1).await?;
    let runs = Runs::options().num_cpus(0).scheduling(on(&cluster.head())).remote();
    let there = |fill| make::options().resource("there", 1).remote(fill, &runs);
    let (waited, later) = (there(1), there(2));
    lose(&node, &[&waited, &later]).await?;
    node.kill().await?;
    is_late(&later).await;
    let gives_up = async {
        is_late(&waited).await;
        cluster.add_node().num_cpus(1).resource("there", 1).await
    };
    let (another, got) = tokio::join!(gives_up, actinic::get(&waited).timeout(SOON * 3));
    assert_eq!(got?[0], 1);
    let looks = async || actinic::wait([&later]).timeout(Duration::ZERO).await.is_ok_and(|(ready, _)| ready.len() == 1);
    assert!(actinic::testing::eventually(SOON, looks).await);
    assert_eq!(later.clone().await?[0], 2);
    drop((waited, later, another, runs));
    cluster.idle().await
}

/// A `put` that stays for lineage's sake only makes room for another.
#[actinic::test(num_cpus = 1, object_store_memory = 10_000_000)]
async fn lineage_makes_room(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).object_store_memory(10_000_000).await?;
    let runs = Runs::remote();
    let mut kept = Vec::new();
    for _ in 0..3 {
        let put = actinic::put(&Buffer::from(vec![1u8; 6_000_000])).await?;
        let small = next_of::options().scheduling(on(&node)).remote(&put);
        small.done().await?;
        kept.push(small);
    }
    assert_eq!(kept[2].clone().await?[0], 2);
    drop((kept, runs));
    cluster.idle().await
}

/// A fifth of its argument.
#[actinic::remote]
fn next_of(bytes: Buffer) -> Buffer {
    bytes[..bytes.len() / 5].iter().map(|byte| byte + 1).collect::<Vec<u8>>().into()
}

/// What cannot be made again now keeps nothing back that lay with it: neither what can, nor a failure.
#[actinic::test(num_cpus = 1)]
async fn what_waits_to_be_made_again_keeps_nothing_back(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).resource("there", 1).await?;
    let runs = Runs::options().num_cpus(0).scheduling(on(&cluster.head())).remote();
    let mut stuck: Vec<_> = (0..20).map(|at| make::options().resource("there", 1).remote(at, &runs)).collect();
    let soft = || Scheduling::NodeAffinity { node: node.id(), soft: true };
    let again: Vec<_> = (30..33).map(|at| make::options().scheduling(soft()).remote(at, &runs)).collect();
    let never = make::options().scheduling(on(&node)).max_retries(0).remote(40, &runs);
    for object in stuck.iter().chain(&again).chain([&never]) {
        object.done().await?;
    }
    node.kill().await?;
    let begun = std::time::Instant::now();
    let with = |last: &ObjectRef<Buffer>| [&stuck[..], std::slice::from_ref(last)].concat();
    let (ready, _) = actinic::wait(with(&again[0])).timeout(SOON * 3).await?;
    assert_eq!(ready, again[..1]);
    let refs = with(&again[1]);
    let split = tokio::task::spawn_blocking(move || actinic::wait(refs).timeout(SOON * 3).blocking());
    assert_eq!(split.await.map_err(Error::other)??.0, again[1..2]);
    let refs = with(&again[2]);
    let looks = async || actinic::wait(&refs).timeout(Duration::ZERO).await.is_ok_and(|(ready, _)| ready == again[2..]);
    assert!(actinic::testing::eventually(SOON, looks).await, "it was never looked for");
    let error = actinic::get(&with(&never)).timeout(SOON * 3).await.unwrap_err();
    assert!(matches!(error, Error::ObjectLost { .. }), "{error:?}");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    for object in &stuck {
        actinic::cancel(object).await?;
    }
    for object in stuck.drain(..) {
        let error = actinic::get(&object).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
    }
    drop((ready, again, never, refs, runs));
    cluster.idle().await
}
