//! CAN: cancelling by force.

use std::path::Path;

use actinic::prelude::*;
use actinic::testing::{Node, eventually};

use crate::support::*;

/// Says in which process it runs, and does nothing else, until its test is over.
fn holds_for_good(started: &str, pid: &str) -> i64 {
    std::fs::write(pid, std::process::id().to_string()).unwrap();
    count_up(started);
    hold(&format!("{started}-never"));
    0
}

#[actinic::remote(max_retries = 3)]
fn never_looks(started: &str, pid: &str) -> i64 {
    holds_for_good(started, pid)
}

#[actinic::remote(max_retries = 3)]
async fn never_awaits(started: String, pid: String) -> i64 {
    holds_for_good(&started, &pid)
}

/// Cancels by force what runs alone on the only CPU, and runs the next task there.
async fn is_ended_by_force(scratch: &Scratch, task: ObjectRef<i64>) -> actinic::Result<()> {
    let (started, pid) = (scratch.file("started"), scratch.file("pid"));
    until_counted(&started, 1).await;
    let pid = std::fs::read_to_string(pid)?;
    actinic::cancel(&task).force(true).await?;
    let error = task.await.unwrap_err();
    assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
    let (_, next) = whereabouts::remote().await?;
    assert_ne!(next.to_string(), pid);
    let gone = eventually(SOON, || !Path::new("/proc").join(&pid).exists()).await;
    assert!(gone, "process {pid} still runs");
    assert_eq!(counted(&started), 1, "it ran again");
    Ok(())
}

/// CAN-13: the process of a sync task that never looks is ended, its CPU is free for the next, and it is not retried.
#[actinic::test(num_cpus = 1, workers = "processes")]
async fn force_ends_a_task_that_never_looks(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    is_ended_by_force(&scratch, never_looks::remote(scratch.file("started"), scratch.file("pid"))).await?;
    cluster.idle().await
}

/// CAN-13, of an async task: it is told first, and does not hear.
#[actinic::test(num_cpus = 1, workers = "processes")]
async fn force_ends_an_async_task_that_never_awaits(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    is_ended_by_force(&scratch, never_awaits::remote(scratch.file("started"), scratch.file("pid"))).await?;
    cluster.idle().await
}

/// Waits for an open gate, then for a task of its own at the same gate; says whether it was cancelled.
fn waits_with_a_child(started: &str, gate: &str) -> actinic::Result<(bool, i64)> {
    let child = held::remote(started, gate, 7);
    count_up(started);
    hold(gate);
    Ok((actinic::context().is_cancelled(), actinic::get(&child).blocking()?))
}

#[actinic::remote]
fn with_a_child(started: &str, gate: &str) -> actinic::Result<(bool, i64)> {
    waits_with_a_child(started, gate)
}

pub struct Parent;

#[actinic::remote]
impl Parent {
    pub fn new() -> Self {
        Parent
    }
    pub fn with_a_child(&mut self, started: &str, gate: &str) -> actinic::Result<(bool, i64)> {
        waits_with_a_child(started, gate)
    }
}

/// Cancels by force what cannot be ended so, while it and its child run: both go on as if nobody had.
async fn is_refused_without_effect(scratch: &Scratch, call: ObjectRef<(bool, i64)>) -> actinic::Result<()> {
    until_counted(&scratch.file("started"), 2).await;
    let error = actinic::cancel(&call).force(true).await.unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    open_gate(&scratch.file("gate"));
    assert_eq!(call.await?, (false, 7));
    Ok(())
}

/// Sync code on a thread cannot be ended: it and its child go on.
#[actinic::test(num_cpus = 2)]
async fn a_refused_force_has_no_effect_here(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let task = with_a_child::remote(scratch.file("started"), scratch.file("gate"));
    is_refused_without_effect(&scratch, task).await?;
    cluster.idle().await
}

/// A worker that is a thread of another node's process says so before anything is done.
#[actinic::test(num_cpus = 0)]
async fn a_refused_force_has_no_effect_on_another_node(cluster: TestCluster) -> actinic::Result<()> {
    let _node = cluster.add_node().num_cpus(2).await?;
    let scratch = Scratch::new();
    let task = with_a_child::remote(scratch.file("started"), scratch.file("gate"));
    is_refused_without_effect(&scratch, task).await?;
    cluster.idle().await
}

pub struct Borrower;

#[actinic::remote]
impl Borrower {
    pub fn new() -> Self {
        Borrower
    }
    pub fn cancel_by_force(&mut self, calls: Vec<ObjectRef<(bool, i64)>>) -> actinic::Result<()> {
        actinic::cancel(&calls[0]).force(true).blocking()
    }
}

/// Whoever borrows the ref hears of the refusal as its owner does.
#[actinic::test(num_cpus = 2)]
async fn a_borrower_hears_that_force_is_refused(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let borrower = Borrower::options().scheduling(Scheduling::on(&node)).remote();
    let (scratch, head) = (Scratch::new(), cluster.head());
    let (started, gate) = (scratch.file("started"), scratch.file("gate"));
    let task = with_a_child::options().scheduling(Scheduling::on(&head)).remote(&started, &gate);
    until_counted(&started, 2).await;
    let error = borrower.cancel_by_force(vec![task.clone()]).await.unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    open_gate(&gate);
    assert_eq!(task.await?, (false, 7));
    drop(borrower);
    cluster.idle().await
}

here! {
    /// CAN-14: an actor's call cannot be ended by force, and neither it nor its child hears of the try.
    2 CPUs, async fn a_refused_force_has_no_effect_on_an_actors_call(cluster) {
        let (scratch, parent) = (Scratch::new(), Parent::remote());
        let call = parent.with_a_child(scratch.file("started"), scratch.file("gate"));
        is_refused_without_effect(&scratch, call).await?;
    }
}

/// Sleeps for an hour, and notes when it is over.
#[actinic::remote]
fn oversleeps(began: &str, ended: &str) -> actinic::Result<()> {
    count_up(began);
    let slept = actinic::sleep(Duration::from_secs(3600)).blocking();
    count_up(ended);
    slept
}

/// Gets what nobody can read for now, and notes when it waits no longer.
#[actinic::remote]
fn gets(began: &str, ended: &str, refs: Vec<ObjectRef<Buffer>>) -> actinic::Result<usize> {
    count_up(began);
    let got = refs[0].blocking();
    count_up(ended);
    Ok(got?.len())
}

#[actinic::remote(resources = { "far": 1 })]
fn far_bytes() -> Buffer {
    Buffer::from(vec![1u8; 1_000_000])
}

#[actinic::remote]
fn until_cancelled(began: &str) -> bool {
    count_up(began);
    while !actinic::context().is_cancelled() {
        std::hint::spin_loop();
    }
    true
}

/// The same with what goes to a store.
#[actinic::remote]
fn large_until_cancelled(began: &str) -> Buffer {
    let large = Buffer::from(vec![1u8; 200_000]);
    count_up(began);
    while !actinic::context().is_cancelled() {
        std::hint::spin_loop();
    }
    large
}

here! {
    /// A task that looks whether it was cancelled may end before its canceller has heard: it was cancelled all the same.
    2 CPUs, async fn what_ends_because_it_is_cancelled_was_cancelled(cluster) {
        let scratch = Scratch::new();
        let began = scratch.file("began");
        for round in 1..=300 {
            let task = until_cancelled::remote(&began);
            until_counted(&began, round).await;
            actinic::cancel(&task).await?;
            let error = actinic::get(&task).timeout(SOON).await.unwrap_err();
            assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
        }
        let began = scratch.file("large");
        for round in 1..=100 {
            let task = large_until_cancelled::remote(&began);
            until_counted(&began, round).await;
            actinic::cancel(&task).await?;
            let error = actinic::get(&task).timeout(SOON).await.unwrap_err();
            assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
        }
    }
}

/// A transfer that does not end is waited for no longer by a task that was cancelled.
#[actinic::test(num_cpus = 2)]
async fn a_task_that_fetches_is_woken_by_its_cancellation(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (began, ended) = (scratch.file("began"), scratch.file("ended"));
    let node = cluster.add_node().num_cpus(1).resource("far", 1).await?;
    let far = far_bytes::remote();
    far.done().await?;
    node.pause().await?;
    let task = gets::options().scheduling(Scheduling::on(cluster.head().id())).remote(&began, &ended, [far.clone()]);
    until_counted(&began, 1).await;
    actinic::cancel(&task).await?;
    until_counted(&ended, 1).await;
    node.resume().await?;
    let error = actinic::get(&task).timeout(SOON).await.unwrap_err();
    assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
    drop((far, task));
    cluster.idle().await
}

#[actinic::remote]
fn length(bytes: Buffer) -> usize {
    bytes.len()
}

pub struct Lengths;

#[actinic::remote(num_cpus = 0)]
impl Lengths {
    pub fn new() -> Self {
        Lengths
    }
    pub fn of(&mut self, bytes: Buffer) -> usize {
        bytes.len()
    }
}

/// Cancels what waits on a node, which has one of "mine", for an argument that nobody can make again: what it has taken is
/// the next one's.
async fn what_fetches_gives_back_what_it_has(cluster: &TestCluster, here: &Node) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).resource("far", 1).await?;
    let far = far_bytes::remote();
    far.done().await?;
    node.kill().await?;
    let lengths = Lengths::options().scheduling(Scheduling::on(here)).remote();
    for _ in 0..2 {
        let task = length::options().scheduling(Scheduling::on(here)).resource("mine", 1).remote(&far);
        let has_begun = async || {
            let late = actinic::get(&task).timeout(Duration::ZERO).await;
            late.is_err_and(|error| error.to_string().contains("it runs, or is about to"))
        };
        assert!(eventually(SOON, has_begun).await, "it was never given to a worker");
        let call = lengths.of(&far);
        actinic::cancel(&task).await?;
        actinic::cancel(&call).await?;
        for cancelled in [task, call] {
            let error = actinic::get(&cancelled).timeout(SOON).await.unwrap_err();
            assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
        }
    }
    let next = echo::options().scheduling(Scheduling::on(here)).resource("mine", 1).remote(5);
    assert_eq!(actinic::get(&next).timeout(SOON).await?, 5);
    assert_eq!(actinic::get(lengths.of(Buffer::from(vec![1u8; 3]))).timeout(SOON).await?, 3);
    actinic::cancel(&far).await?;
    drop((far, next, lengths));
    cluster.idle().await
}

#[actinic::test(num_cpus = 1, resources = { "mine": 1 })]
async fn what_fetches_gives_back_what_it_has_on_threads(cluster: TestCluster) -> actinic::Result<()> {
    what_fetches_gives_back_what_it_has(&cluster, &cluster.head()).await
}

#[actinic::test(num_cpus = 1, resources = { "mine": 1 }, workers = "processes")]
async fn what_fetches_gives_back_what_it_has_on_processes(cluster: TestCluster) -> actinic::Result<()> {
    what_fetches_gives_back_what_it_has(&cluster, &cluster.head()).await
}

#[actinic::test(num_cpus = 0)]
async fn what_fetches_gives_back_what_it_has_on_another_node(cluster: TestCluster) -> actinic::Result<()> {
    let here = cluster.add_node().num_cpus(1).resource("mine", 1).await?;
    what_fetches_gives_back_what_it_has(&cluster, &here).await
}

modes! {
    /// Who is cancelled waits for nothing any more, neither for a ref nor for time: its CPU is free when it has heard of it.
    1 CPUs, async fn a_task_that_sleeps_is_woken_by_its_cancellation(cluster) {
        let scratch = Scratch::new();
        let (began, ended) = (scratch.file("began"), scratch.file("ended"));
        let task = oversleeps::remote(&began, &ended);
        until_counted(&began, 1).await;
        actinic::cancel(&task).await?;
        let error = actinic::get(&task).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
        until_counted(&ended, 1).await;
        assert_eq!(echo::remote(1).await?, 1);
    }
}

modes! {
    /// What waits for the only CPU has not begun: force ends it wherever it would have run, and it never does.
    1 CPUs, async fn what_waits_is_cancelled_by_force(cluster) {
        let scratch = Scratch::new();
        let (started, gate) = (scratch.file("started"), scratch.file("gate"));
        let runs = held::remote(&started, &gate, 1);
        until_counted(&started, 1).await;
        let waits: Vec<_> = (0..8).map(|n| held::remote(&started, &gate, n)).collect();
        for task in &waits {
            actinic::cancel(task).force(true).await?;
            let error = task.await.unwrap_err();
            assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
        }
        open_gate(&gate);
        assert_eq!(runs.await?, 1);
        assert_eq!(echo::remote(2).await?, 2);
        assert_eq!(counted(&started), 1);
    }
}

#[actinic::remote]
fn gives_a_ref(started: &str, gate: &str) -> ObjectRef<i64> {
    held::remote(started, gate, 7)
}

pub struct Giver;

#[actinic::remote]
impl Giver {
    pub fn new() -> Self {
        Giver
    }
    pub fn gives_a_ref(&self, started: &str, gate: &str) -> ObjectRef<i64> {
        held::remote(started, gate, 7)
    }
}

modes! {
    /// CAN-12: what has ended stays as it is, and what it submitted goes on.
    2 CPUs, async fn what_has_ended_is_not_cancelled_and_nor_is_what_it_submitted(cluster) {
        let giver = Giver::remote();
        for of_an_actor in [false, true] {
            let scratch = Scratch::new();
            let (started, gate) = (scratch.file("started"), scratch.file("gate"));
            let call = if of_an_actor {
                giver.gives_a_ref(&started, &gate)
            } else {
                gives_a_ref::remote(&started, &gate)
            };
            let inner = call.clone().await?;
            until_counted(&started, 1).await;
            actinic::cancel(&call).await?;
            open_gate(&gate);
            assert_eq!(actinic::get(&inner).timeout(SOON).await?, 7);
        }
    }

    /// DEP-11: what is cancelled while it waits for its argument asks for nothing when that comes.
    2 CPUs, async fn what_was_cancelled_asks_for_nothing_when_its_argument_comes(cluster) {
        let scratch = Scratch::new();
        let (started, gate) = (scratch.file("started"), scratch.file("gate"));
        let late = held::remote(&started, &gate, 1);
        let task = add::options().resource("absent", 1).remote(&late, 1);
        actinic::cancel(&task).await?;
        assert!(matches!(task.await.unwrap_err(), Error::TaskCancelled { .. }));
        open_gate(&gate);
        assert_eq!(late.await?, 1);
        assert_eq!(cluster.usage().await?.waiting, 0);
    }
}

#[actinic::remote(max_retries = 0)]
async fn awaits(began: String, object: Vec<ObjectRef<i64>>) -> actinic::Result<i64> {
    count_up(&began);
    object[0].clone().await
}

/// A process in which others have begun, and wait, is not ended for the sake of one: force is refused.
#[actinic::test(num_cpus = 1, workers = "processes")]
async fn force_does_not_end_what_waits_beside(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (began, gate) = (scratch.file("began"), scratch.file("gate"));
    let node = cluster.add_node().num_cpus(1).resource("other", 1).await?;
    let there = Scheduling::on(&node);
    let slow = held::options().scheduling(there).remote(scratch.file("slow"), scratch.file("slow-gate"), 9);
    let waits = awaits::options().scheduling(Scheduling::on(cluster.head())).remote(&began, vec![slow.clone()]);
    until_counted(&began, 1).await;
    let held = held::options().scheduling(Scheduling::on(cluster.head())).remote(scratch.file("held"), &gate, 1);
    until_counted(&scratch.file("held"), 1).await;
    let error = actinic::cancel(&held).force(true).await.unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    open_gate(&gate);
    open_gate(&scratch.file("slow-gate"));
    assert_eq!((held.await?, waits.await?), (1, 9));
    drop(slow);
    cluster.idle().await
}
