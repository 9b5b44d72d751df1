//! "Testing": the attribute, the cluster of a test, its nodes.

use actinic::prelude::*;
use actinic::testing::{Node, TestCluster, eventually};

use super::*;
use crate::support::*;

pub struct Holder {
    calls: i64,
}

#[actinic::remote(max_restarts = 1, max_task_retries = 1)]
impl Holder {
    pub fn new() -> Self {
        Holder { calls: 0 }
    }

    pub fn call(&mut self) -> i64 {
        self.calls += 1;
        self.calls
    }
}

#[actinic::remote(max_retries = 1)]
fn crashes_once(file: &str) -> u64 {
    if count_up(file) == 1 { actinic::testing::crash() } else { 2 }
}

#[actinic::remote(max_retries = 0)]
fn worker() -> actinic::WorkerId {
    actinic::context().worker_id().unwrap()
}

#[actinic::remote]
fn large() -> Buffer {
    vec![1u8; 1 << 20].into()
}

#[actinic::test(num_cpus = 0, resources = { "a": 1 }, object_store_memory = 100_000_000, timeout = 60)]
async fn the_example(cluster: TestCluster) -> actinic::Result<()> {
    assert_eq!(cluster.resources()["a"], 1.0);
    assert_eq!(cluster.resources()["object_store_memory"], 1e8);
    Ok(())
}

#[actinic::test]
async fn the_parameter_is_optional() -> actinic::Result<()> {
    Ok(())
}

#[actinic::test]
async fn so_is_the_result(mut _cluster: TestCluster) {}

#[actinic::test]
fn sync_tests_block(cluster: TestCluster) -> actinic::Result<()> {
    assert_eq!(echo::remote(1).blocking()?, 1);
    let node: Node = cluster.add_node().num_cpus(1).blocking()?;
    let job: Cluster = cluster.driver().blocking()?;
    {
        let _scope = job.enter();
        assert_eq!(echo::options().scheduling(Scheduling::on(&node)).remote(2).blocking()?, 2);
    }
    job.shutdown().blocking()?;
    node.stop().blocking()?;
    cluster.idle().blocking()
}

#[actinic::test]
async fn any_result_will_do() -> Result<(), Box<dyn std::error::Error>> {
    Ok(())
}

#[actinic::test(
    num_cpus = 1.5,
    num_gpus = 1,
    memory = 1_000_000,
    resources = { "a": 1, "b": 0.5 },
    labels = { "zone": "a" },
    namespace = "mine",
    workers = "threads",
    log_level = "error",
    dashboard = "127.0.0.1:0",
    timeout = 30.5
)]
async fn any_setter_of_init(cluster: TestCluster) -> actinic::Result<()> {
    assert_eq!((cluster.resources()["CPU"], cluster.resources()["b"]), (1.5, 0.5));
    assert_eq!(cluster.nodes().await?[0].labels["zone"], "a");
    assert_eq!(actinic::context().namespace(), "mine");
    Ok(())
}

#[actinic::test(workers = Workers::Threads)]
#[should_panic(expected = "on purpose")]
async fn other_attributes_stay() {
    panic!("on purpose")
}

#[actinic::test]
#[ignore = "it shows that it may be"]
async fn ignored_tests_are_ignored() {
    panic!("this is never run")
}

#[actinic::test(workers = "processes", num_cpus = 1)]
async fn workers_may_be_processes() -> actinic::Result<()> {
    let (_, pid) = whereabouts::remote().await?;
    assert_ne!(pid, std::process::id());
    Ok(())
}

#[actinic::test(sim, seed = 7, num_cpus = 1)]
async fn a_simulation_has_a_seed(cluster: TestCluster) -> actinic::Result<()> {
    assert_eq!(cluster.sim().seed(), 7);
    assert_eq!(echo::remote(3).await?, 3);
    Ok(())
}

#[actinic::test(num_cpus = 0)]
async fn nodes_have_setters(cluster: TestCluster) -> actinic::Result<()> {
    is_shared(&cluster);
    let head: Node = cluster.head();
    assert_eq!(head.id(), actinic::context().node_id());
    let node: Node = cluster
        .add_node()
        .num_cpus(2)
        .num_cpus(1.5)
        .num_gpus(1)
        .resource("a", 1)
        .resource(String::from("b"), 0.5)
        .label("zone", "b")
        .object_store_memory(1 << 26)
        .await?;
    is_shared(&node);
    let copy = node.clone();
    let id: actinic::NodeId = copy.id();
    assert!(cluster.nodes().await?.iter().any(|info| info.id == id && info.resources["b"] == 0.5));
    let on: Scheduling = Scheduling::on(&node);
    assert_eq!(on, Scheduling::on(id));
    assert_eq!(on, Scheduling::NodeAffinity { node: id, soft: false });
    let nodes = cluster.nodes().await?;
    let info = nodes.iter().find(|info| info.id == id).unwrap();
    for same in [Scheduling::on(info), Scheduling::on(info.clone()), Scheduling::on(node.clone())] {
        assert_eq!(same, on);
    }
    assert_eq!(echo::options().scheduling(on).remote(1).await?, 1);
    let _ = is_op::<Node, _>(cluster.add_node());
    let _ = is_op::<Cluster, _>(cluster.driver());
    is_op::<(), _>(node.stop()).await?;
    let other = cluster.add_node().num_cpus(1).await?;
    is_op::<(), _>(other.kill()).await?;
    assert!(eventually(SOON, || !cluster.resources().contains_key("CPU")).await, "{:?}", cluster.resources());
    Ok(())
}

#[actinic::test(num_cpus = 0)]
async fn nodes_pause_and_lose_objects(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let object = large::remote();
    object.done().await?;
    let objects: Vec<actinic::ObjectId> = node.objects();
    assert_eq!(objects, [object.id()]);
    is_op::<(), _>(node.lose_objects()).await?;
    assert!(node.objects().is_empty());
    is_op::<(), _>(node.pause()).await?;
    let late = echo::remote(1);
    assert!(actinic::get(&late).timeout(Duration::from_millis(50)).await.is_err());
    is_op::<(), _>(node.resume()).await?;
    assert_eq!(late.await?, 1);
    Ok(())
}

#[actinic::test(num_cpus = 2)]
async fn workers_and_actors_crash(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    assert_eq!(crashes_once::remote(scratch.file("count")).await?, 2);
    let worker = worker::remote().await?;
    is_op::<(), _>(cluster.kill_worker(worker)).await?;
    let actor = Holder::remote();
    assert_eq!(actor.call().await?, 1);
    cluster.crash_actor(&actor).await?;
    assert!(eventually(SOON, || Handle::state(&actor) == actinic::ActorState::Alive).await);
    assert_eq!(actor.call().await?, 1, "it restarted");
    drop(actor);
    is_op::<(), _>(cluster.idle()).await
}

/// The next few messages of a kind are lost, and everything that was asked for happens all the same.
#[actinic::test(num_cpus = 0)]
async fn messages_are_lost(cluster: TestCluster) -> actinic::Result<()> {
    use actinic::testing::Message;

    let _node = cluster.add_node().num_cpus(2).await?;
    for message in [Message::LeaseRequest, Message::LeaseReply, Message::PushTask, Message::TaskReply] {
        cluster.lose(message, 1).await?;
    }
    for value in 0..4 {
        assert_eq!(echo::remote(value).await?, value);
    }
    let actor = Holder::remote();
    for message in [Message::ActorCall, Message::ActorReply] {
        cluster.lose(message, 1).await?;
        actor.call().await?;
    }
    is_op::<(), _>(cluster.lose(Message::ObjectChunk, 1)).await?;
    assert_eq!(large::remote().await?.len(), 1 << 20);
    Ok(())
}

#[actinic::test]
async fn conditions_are_closures_or_futures() {
    let mut left = 3;
    let countdown = || {
        left -= 1;
        left == 0
    };
    assert!(eventually(SOON, countdown).await);
    assert!(eventually(SOON, async || true).await);
    assert!(eventually(SOON, || async { true }).await);
    assert!(!eventually(Duration::from_millis(1), || false).await);
}
