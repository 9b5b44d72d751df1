//! BAS: tasks, `put` and `get`, arguments.

use std::time::{Duration, Instant};

use actinic::prelude::*;
use actinic::testing::TestCluster;

use crate::support::*;

#[actinic::remote]
fn none() -> i64 {
    0
}

#[actinic::remote]
fn three(a: i64, b: String, c: Vec<i64>) -> (i64, String, Vec<i64>) {
    (a, b, c)
}

#[actinic::remote]
fn four(a: i64, b: i64, c: i64, d: i64) -> Vec<i64> {
    vec![a, b, c, d]
}

#[actinic::remote]
fn plus_one(x: i64) -> i64 {
    x + 1
}

#[actinic::remote]
fn outer(x: i64) -> actinic::Result<i64> {
    Ok(plus_one::remote(x).blocking()? + 1)
}

#[actinic::remote]
fn outermost(x: i64) -> actinic::Result<i64> {
    Ok(outer::remote(x).blocking()? - 1)
}

#[actinic::remote]
fn length(bytes: Buffer) -> usize {
    bytes.len()
}

#[actinic::remote]
fn length_inside(bytes: Vec<ObjectRef<Buffer>>) -> actinic::Result<usize> {
    Ok(bytes[0].blocking()?.len())
}

#[actinic::remote]
fn make(size: usize) -> Buffer {
    Buffer::from(vec![7u8; size])
}

pub struct Holder;

#[actinic::remote]
impl Holder {
    pub fn new() -> Self {
        Holder
    }
    pub fn make(&mut self, size: usize) -> Buffer {
        Buffer::from(vec![7u8; size])
    }
    pub fn length(&mut self, bytes: Buffer) -> usize {
        bytes.len()
    }
    pub fn length_inside(&mut self, bytes: Vec<ObjectRef<Buffer>>) -> actinic::Result<usize> {
        Ok(bytes[0].blocking()?.len())
    }
}

#[actinic::remote]
fn kinds(value: i64, named: i64, refs: Vec<ObjectRef<i64>>, one: ObjectRef<i64>) -> actinic::Result<i64> {
    assert_eq!(refs[0].id(), one.id(), "a ref inside a value and a parameter of ref type arrive as refs");
    Ok(value + named + refs[0].blocking()? + one.blocking()?)
}

/// Waits without an end, on its thread.
#[actinic::remote]
fn waits_for_ever(refs: Vec<ObjectRef<i64>>) -> actinic::Result<i64> {
    let (ready, _) = actinic::wait(&refs).timeout(Duration::MAX).blocking()?;
    actinic::get(&ready[0]).timeout(Duration::MAX).blocking()
}

modes! {
    /// BAS-01: values come back in the order of the arguments, whatever their number; a wrong arity does not compile.
    1 CPUs, async fn arguments_keep_their_order(cluster) {
        assert_eq!(none::remote().await?, 0);
        assert_eq!(plus_one::remote(1).await?, 2);
        assert_eq!(three::remote(1, "two", [3, 4]).await?, (1, "two".to_owned(), vec![3, 4]));
        assert_eq!(four::remote(1, 2, 3, 4).await?, [1, 2, 3, 4]);
    }

    /// BAS-03: a list may have a ref twice, and the values come in the order asked for.
    1 CPUs, async fn get_takes_duplicates_in_order(cluster) {
        let mut refs = Vec::new();
        for value in 0..10i64 {
            refs.push(actinic::put(&value).await?);
        }
        let asked = [3usize, 3, 7, 3].map(|at| refs[at].clone());
        assert_eq!(actinic::get(&asked).await?, [3, 3, 7, 3]);
        let tasks: Vec<_> = (0..10).map(echo::remote).collect();
        let asked = [3usize, 3, 7, 3].map(|at| tasks[at].clone());
        assert_eq!(actinic::get(&asked).await?, [3, 3, 7, 3]);
    }

    /// A time without end is none.
    2 CPUs, async fn whoever_waits_for_ever_gets_it_when_it_is_there(cluster) {
        let scratch = Scratch::new();
        let (running, gate) = (scratch.file("running"), scratch.file("gate"));
        let late = held::remote(&running, &gate, 5);
        until_counted(&running, 1).await;
        let waits = waits_for_ever::remote([late.clone()]);
        assert_eq!(actinic::wait(std::slice::from_ref(&waits)).timeout(Duration::from_millis(100)).await?.0.len(), 0);
        open_gate(&gate);
        assert_eq!(actinic::get(&late).timeout(Duration::MAX).await?, 5);
        assert_eq!(waits.await?, 5);
    }

    /// BAS-05: a get waits no longer than it may, says what is missing, and the ref resolves later all the same.
    2 CPUs, async fn get_times_out_and_the_ref_lives_on(cluster) {
        let scratch = Scratch::new();
        let ready = echo::remote(1);
        assert_eq!(actinic::get(&ready).timeout(Duration::from_secs(30)).await?, 1);
        let late = held::remote(scratch.file("running"), scratch.file("gate"), 5);
        until_counted(&scratch.file("running"), 1).await;
        let begun = Instant::now();
        let error = actinic::get(&late).timeout(Duration::from_millis(100)).await.unwrap_err();
        let took = begun.elapsed();
        assert!(matches!(error, Error::GetTimeout { .. }), "{error:?}");
        assert!(error.to_string().contains("held"), "it names the task: {error}");
        assert!(took >= Duration::from_millis(95) && took < Duration::from_secs(1), "{took:?}");
        open_gate(&scratch.file("gate"));
        assert_eq!(late.await?, 5);
    }

    /// BAS-06: a timeout of zero looks and does not wait.
    2 CPUs, async fn a_timeout_of_zero_only_looks(cluster) {
        let scratch = Scratch::new();
        let ready = echo::remote(1);
        ready.done().await?;
        assert_eq!(actinic::get(&ready).timeout(Duration::ZERO).await?, 1);
        let late = held::remote(scratch.file("running"), scratch.file("gate"), 5);
        let mut took = Vec::new();
        for _ in 0..10 {
            let begun = Instant::now();
            let error = actinic::get(&late).timeout(Duration::ZERO).await.unwrap_err();
            took.push(begun.elapsed());
            assert!(matches!(error, Error::GetTimeout { .. }), "{error:?}");
        }
        // A busy machine may delay some of them, and not all.
        assert!(took.iter().min() < Some(&Duration::from_millis(50)), "{took:?}");
        open_gate(&scratch.file("gate"));
        assert_eq!(late.await?, 5);
    }

    /// BAS-08: a chain of a hundred tasks, each with the one before as its argument.
    1 CPUs, async fn a_chain_of_refs_resolves(cluster) {
        let mut x = plus_one::remote(0);
        for _ in 1..100 {
            x = plus_one::remote(&x);
        }
        assert_eq!(x.await?, 100);
    }

    /// BAS-09: three levels of nesting on three CPUs.
    3 CPUs, async fn nested_tasks_get_each_other(cluster) {
        assert_eq!(outermost::remote(1).await?, 2);
    }

    /// BAS-13, BAS-14: a ref as an argument arrives as its value, inside a value or as a parameter of ref type as
    /// the ref; the same ref may be given several times.
    2 CPUs, async fn refs_arrive_as_what_the_parameter_says(cluster) {
        let one = echo::remote(1);
        assert_eq!(kinds::remote(&one, &one, vec![one.clone()], &one).await?, 4);
        assert_eq!(add::remote(&one, &one).await?, 2);
        let large = actinic::put(&Buffer::from(vec![1u8; 1_000_000])).await?;
        assert_eq!(length::remote(&large).await?, 1_000_000);
    }

    /// BAS-23: ten thousand tasks, each result once and in its place.
    4 CPUs, async fn ten_thousand_tasks_lose_nothing(cluster) {
        let refs: Vec<_> = (0..10_000).map(echo::remote).collect();
        assert_eq!(actinic::get(&refs).await?, (0..10_000).collect::<Vec<i64>>());
    }

    /// BAS-11: every pair of a task or an actor that makes a value and one that takes it, small and large, as an
    /// argument and inside a list.
    4 CPUs, async fn every_maker_reaches_every_taker(cluster) {
        for size in [10usize, 3_000_000] {
            every_pair(size).await?;
        }
    }
}

async fn every_pair(size: usize) -> actinic::Result<()> {
    let actor = Holder::remote();
    for made in [make::remote(size), actor.make(size)] {
        assert_eq!(length::remote(&made).await?, size);
        assert_eq!(actor.length(&made).await?, size);
        assert_eq!(length_inside::remote(vec![made.clone()]).await?, size);
        assert_eq!(actor.length_inside(vec![made.clone()]).await?, size);
    }
    Ok(())
}

/// BAS-11: in a store of a gigabyte, with eighty megabytes.
#[actinic::test(num_cpus = 4, object_store_memory = 1_000_000_000, workers = "processes", timeout = 180)]
async fn every_maker_reaches_every_taker_with_eighty_megabytes(cluster: TestCluster) -> actinic::Result<()> {
    every_pair(80_000_000).await?;
    cluster.idle().await
}

#[actinic::remote]
fn lengths(a: Buffer, b: Buffer) -> usize {
    a.len() + b.len()
}

/// BAS-14: an argument that lies elsewhere is fetched once for a task that has it twice, and let go once.
#[actinic::test(sim, num_cpus = 1)]
async fn an_argument_given_twice_is_fetched_once(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let here = Scheduling::on(cluster.head());
    let mut sent = Vec::new();
    for twice in [false, true] {
        let large = make::options().scheduling(Scheduling::on(&node)).remote(3_000_000);
        large.done().await?;
        assert!(cluster.head().objects().is_empty(), "nobody asked for it yet");
        let before = cluster.sim().datagrams();
        if twice {
            let both = lengths::options().scheduling(here.clone()).remote(&large, &large);
            assert_eq!(both.await?, 6_000_000);
        } else {
            assert_eq!(length::options().scheduling(here.clone()).remote(&large).await?, 3_000_000);
        }
        sent.push(cluster.sim().datagrams() - before);
        drop(large);
        cluster.idle().await?;
    }
    assert!(sent[1] < sent[0] * 3 / 2, "datagrams, for one argument and for two: {sent:?}");
    Ok(())
}

/// BAS-02: put and get need no CPU, and every kind of value comes back equal.
#[actinic::test(num_cpus = 0)]
async fn put_and_get_need_no_cpu(cluster: TestCluster) -> actinic::Result<()> {
    for n in 0..100usize {
        let (int, float, text) = (n as i64, n as f64 / 3.0, "x".repeat(n));
        let list: Vec<i64> = (0..n as i64).collect();
        assert_eq!(actinic::put(&int).await?.await?, int);
        assert_eq!(actinic::put(&float).await?.await?, float);
        assert_eq!(actinic::put(text.as_str()).await?.await?, text);
        assert_eq!(actinic::put(&list[..]).await?.await?, list);
    }
    cluster.idle().await
}

/// BAS-04: the values of no refs are no values.
#[actinic::test]
async fn get_of_nothing_is_nothing() -> actinic::Result<()> {
    let none: Vec<ObjectRef<i64>> = Vec::new();
    assert_eq!(actinic::get(&none).await?, Vec::<i64>::new());
    Ok(())
}

/// BAS-07: a ref by itself cannot be put, and the error says what to do.
#[actinic::test]
async fn a_ref_by_itself_cannot_be_put() -> actinic::Result<()> {
    let one = actinic::put(&1i64).await?;
    let error = actinic::put(&one).await.unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    assert!(error.to_string().contains("vec!"), "{error}");
    let inside = actinic::put(&vec![one.clone()]).await?;
    assert_eq!(inside.await?[0].clone().await?, 1);
    Ok(())
}

/// BAS-08: the chain over two nodes with one CPU each.
#[actinic::test(num_cpus = 1)]
async fn a_chain_crosses_nodes(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let on = [Scheduling::on(cluster.head().id()), Scheduling::on(&node)];
    let mut x = plus_one::remote(0);
    for n in 1..100 {
        x = plus_one::options().scheduling(on[n % 2].clone()).remote(&x);
    }
    assert_eq!(x.await?, 100);
    Ok(())
}

#[actinic::remote]
fn ids() -> Vec<String> {
    let context = actinic::context();
    let in_thread = context.job_id();
    let again = actinic::context();
    assert_eq!(context.task_id(), again.task_id());
    let copy = context.clone();
    assert_eq!(std::thread::spawn(move || copy.task_id()).join().unwrap(), context.task_id());
    assert_eq!(in_thread, again.job_id());
    assert!(context.task_id().is_some() && context.worker_id().is_some() && context.actor_id().is_none());
    vec![context.job_id().to_string(), context.node_id().to_string()]
}

#[actinic::remote]
fn in_a_thread() -> actinic::Result<(String, i64)> {
    let there = || Ok((actinic::context().job_id().to_string(), echo::remote(1).blocking()?));
    std::thread::spawn(there).join().unwrap()
}

/// BAS-19: a thread of a task knows its job, and calls tasks: its process has one cluster only.
#[actinic::test(num_cpus = 2, workers = "processes")]
async fn a_thread_of_a_task_is_in_its_job(cluster: TestCluster) -> actinic::Result<()> {
    assert_eq!(in_a_thread::remote().await?, (actinic::context().job_id().to_string(), 1));
    cluster.idle().await
}

modes! {
    /// BAS-19: a task knows its job, node, worker and task; a driver has no task.
    1 CPUs, async fn context_says_where_code_runs(cluster) {
        let here = actinic::context();
        assert!(here.task_id().is_none() && here.actor_id().is_none());
        let there = ids::remote().await?;
        assert_eq!(there[0], here.job_id().to_string());
        let nodes = cluster.nodes().await?;
        assert!(nodes.iter().any(|node| node.id.to_string() == there[1]));
    }
}
