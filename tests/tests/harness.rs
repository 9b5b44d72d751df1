//! The harness itself: what `#[actinic::test]` and `TestCluster` promise.

use std::time::Duration;

use actinic::prelude::*;
use actinic::testing::{TestCluster, TestOptions, eventually, run_test, run_test_sync};

use crate::support::*;

/// A sync test, without a parameter.
#[actinic::test]
fn sync_tests_have_a_scope() {
    assert_eq!(echo::remote(1).blocking().unwrap(), 1);
}

/// A test that spawns is in its cluster's scope there too.
#[actinic::test]
async fn spawned_code_is_in_the_scope(cluster: TestCluster) -> actinic::Result<()> {
    assert_eq!(tokio::spawn(async { echo::remote(1).await }).await.unwrap()?, 1);
    assert_eq!(tokio::task::spawn_blocking(|| echo::remote(2).clone()).await.unwrap().await?, 2);
    cluster.idle().await
}

/// NOD-01: nodes come and go, and so do their resources.
#[actinic::test(num_cpus = 1, resources = { "a": 1 })]
async fn nodes_come_and_go(cluster: TestCluster) -> actinic::Result<()> {
    assert_eq!(cluster.resources()["CPU"], 1.0);
    let second = cluster.add_node().num_cpus(2).resource("a", 2).label("zone", "b").await?;
    let third = cluster.add_node().num_cpus(4).num_gpus(1).await?;
    assert_eq!((cluster.resources()["CPU"], cluster.resources()["a"]), (7.0, 3.0));
    let (node, _) = whereabouts::options().scheduling(Scheduling::on(&second)).remote().await?;
    assert_eq!(node, second.id());
    let nodes = cluster.nodes().await?;
    assert_eq!(nodes.len(), 3);
    assert!(nodes.iter().any(|node| node.id == second.id() && node.labels["zone"] == "b"));
    for unlabelled in [cluster.add_node().label("", "x"), cluster.add_node().label("zone", "a").label("zone", "b")] {
        let error = unlabelled.await.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }) && error.to_string().contains("label: "), "{error:?}");
    }
    second.stop().await?;
    assert!(eventually(Duration::from_secs(10), || cluster.resources()["CPU"] == 5.0).await);
    third.kill().await?;
    assert!(eventually(Duration::from_secs(10), || cluster.resources()["CPU"] == 1.0).await);
    let nodes = cluster.nodes().await?;
    assert_eq!(nodes.iter().filter(|node| node.alive).count(), 1);
    cluster.idle().await
}

/// A second driver has a job of its own on the same cluster.
#[actinic::test(num_cpus = 2)]
async fn drivers_share_a_cluster(cluster: TestCluster) -> actinic::Result<()> {
    let other = cluster.driver().await?;
    let there = other.scope(async { echo::remote(1).await }).await?;
    assert_eq!((there, echo::remote(2).await?), (1, 2));
    let (job, mine) = (other.scope(async { actinic::context().job_id() }).await, actinic::context().job_id());
    assert_ne!(job, mine);
    assert_eq!(other.resources()["CPU"], 2.0);
    other.shutdown().await?;
    cluster.idle().await
}

/// A handle carries its cluster: it is called from the scope of another driver too.
#[actinic::test(num_cpus = 2)]
async fn a_handle_is_called_in_the_scope_of_another_driver(cluster: TestCluster) -> actinic::Result<()> {
    let other = cluster.driver().await?;
    let kept = other.scope(async { Kept::remote() }).await;
    other.scope(async { Handle::ready(&kept).await }).await?;
    assert_eq!(actinic::get(&kept.twice(2)).timeout(SOON).await?, 4);
    drop(kept);
    other.shutdown().await?;
    cluster.idle().await
}

pub struct Kept;

#[actinic::remote]
impl Kept {
    pub fn new() -> Self {
        Kept
    }

    pub fn twice(&self, x: i64) -> i64 {
        2 * x
    }
}

/// RES-03: where everything is free again, that is what the cluster says, here and to another driver.
#[actinic::test(num_cpus = 2, resources = { "a": 2 })]
async fn what_is_free_is_known_when_all_is_free(cluster: TestCluster) -> actinic::Result<()> {
    let _far = cluster.add_node().num_cpus(2).resource("a", 2).await?;
    let other = cluster.driver().await?;
    for round in 0..10 {
        let part = |i: i64| echo::options().num_cpus(0.3).resource("a", 0.0001 * (i + 1) as f64).remote(i);
        actinic::get((0..20).map(part).collect::<Vec<_>>()).await?;
        cluster.idle().await?;
        assert_eq!(cluster.available_resources(), cluster.resources(), "round {round}");
        assert_eq!(other.available_resources(), cluster.resources(), "round {round}");
    }
    other.shutdown().await
}

/// What is not free is named.
#[actinic::test(num_cpus = 1)]
async fn idle_names_what_is_left(cluster: TestCluster) -> actinic::Result<()> {
    let kept = echo::remote(1);
    let error = cluster.idle().await.unwrap_err();
    assert!(error.to_string().contains("echo"), "{error}");
    drop(kept);
    cluster.idle().await
}

/// A test that is late fails, naming what is pending.
#[test]
fn a_late_test_names_what_is_pending() {
    let scratch = Scratch::new();
    let (running, gate) = (scratch.file("running"), scratch.file("gate"));
    let late = |sync: bool| {
        let (running, gate) = (running.clone(), gate.clone());
        let options = TestOptions::new("here", 1).num_cpus(1).timeout(1.0);
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            if sync {
                run_test_sync(options, |_cluster| held::remote(&running, &gate, 1).blocking().map(drop))
            } else {
                run_test(options, |cluster| async move {
                    held::remote(&running, &gate, 1).await?;
                    cluster.idle().await
                })
            }
        }));
        let text = *failed.unwrap_err().downcast::<String>().unwrap();
        assert!(text.contains("here:1") && text.contains("held"), "{text}");
    };
    late(true);
    late(false);
    open_gate(&gate);
}

/// Whatever a late sync test waits for ends, so that it fails by itself and takes no other test with it.
#[test]
fn a_late_sync_test_fails_whatever_it_waits_for() {
    let late = |test: fn(TestCluster)| {
        let options = TestOptions::new("here", 1).num_cpus(1).timeout(0.5);
        let test = std::panic::AssertUnwindSafe(move || run_test_sync(options, test));
        let failed = std::panic::catch_unwind(test);
        let text = *failed.unwrap_err().downcast::<String>().unwrap();
        assert!(text.contains("here:1"), "{text}");
    };
    late(|_cluster| drop(actinic::sleep(Duration::from_secs(3600)).blocking()));
    late(|cluster| {
        let other = cluster.driver().blocking().unwrap();
        let _scope = other.enter();
        drop(echo::options().resource("absent", 1).remote(1).blocking());
        drop(actinic::sleep(Duration::from_secs(3600)).blocking());
    });
    late(|_cluster| {
        let kept = Kept::remote();
        drop(Handle::closed(&kept).blocking());
    });
}

/// A test that panics fails at once, whatever its blocking threads do.
#[test]
fn a_test_that_panics_waits_for_none_of_its_threads() {
    let (tell, hear) = std::sync::mpsc::channel::<()>();
    let options = TestOptions::new("here", 1).num_cpus(1);
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        run_test(options, |_cluster| async move {
            let (begun, begins) = tokio::sync::oneshot::channel();
            tokio::task::spawn_blocking(move || {
                begun.send(()).unwrap();
                hear.recv()
            });
            begins.await.unwrap();
            panic!("on purpose");
        })
    }));
    assert_eq!(failed.unwrap_err().downcast_ref(), Some(&"on purpose"));
    drop(tell);
}

#[actinic::test(num_cpus = 1, log_level = "debug")]
#[ignore = "it is run alone by another"]
async fn says_much() -> actinic::Result<()> {
    echo::remote(1).await.map(drop)
}

/// The level that a test asks for is the one of its process, if it is the first there.
#[test]
fn a_test_says_how_much_is_logged() {
    let said = alone("harness::says_much", &[]);
    assert!(said.contains("DEBUG actinic"), "{said}");
}

/// A node joins although another cannot hear of it, which is no reason for the cluster to lose that one.
#[actinic::test(sim, num_cpus = 0)]
async fn a_node_joins_beside_one_that_hears_nothing(cluster: TestCluster) -> actinic::Result<()> {
    let paused = cluster.add_node().num_cpus(1).await?;
    let parted = cluster.add_node().num_cpus(1).await?;
    paused.pause().await?;
    cluster.sim().partition(&[&parted], &[&cluster.head()]);
    let joined = cluster.add_node().num_cpus(1).await?;
    cluster.sim().heal();
    paused.resume().await?;
    for node in [&paused, &parted, &joined] {
        let (there, _) = whereabouts::options().scheduling(Scheduling::on(node)).remote().await?;
        assert_eq!(there, node.id());
    }
    cluster.idle().await
}

#[actinic::remote]
async fn held_by_a_task(running: &str, gate: &str) -> actinic::Result<()> {
    held::remote(running, gate, 1).await.map(drop)
}

/// Whatever node it is pending on.
#[test]
fn a_late_test_names_what_is_pending_on_other_nodes() {
    let scratch = Scratch::new();
    let (running, gate) = (scratch.file("running"), scratch.file("gate"));
    let (args, options) = ((running, gate.clone()), TestOptions::new("here", 1).num_cpus(1).timeout(2.0));
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        run_test(options, |cluster| async move {
            cluster.add_node().num_cpus(1).resource("a", 1).await?;
            held_by_a_task::options().resource("a", 1).remote(&args.0, &args.1).await
        })
    }));
    open_gate(&gate);
    let text = *failed.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("task held (") && text.contains("task held_by_a_task ("), "{text}");
}

/// A time that is none is told as what is wrong with a test.
#[test]
fn a_test_has_a_time_that_is_one() {
    let none = TestOptions::new(file!(), line!()).timeout(-1);
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run_test(none, |_| async {})));
    let text = *failed.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("timeout: -1 is no number of seconds"), "{text}");
}

/// A paused node answers nobody, and nothing is lost when it goes on.
#[actinic::test(num_cpus = 0)]
async fn a_paused_node_goes_on(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    assert_eq!(echo::remote(1).await?, 1);
    node.pause().await?;
    let waits = echo::remote(2);
    assert!(matches!(
        actinic::get(&waits).timeout(Duration::from_millis(200)).await.unwrap_err(),
        Error::GetTimeout { .. }
    ));
    node.resume().await?;
    assert_eq!(waits.await?, 2);
    Ok(())
}

#[actinic::remote(max_retries = 0)]
fn crashes() -> i64 {
    actinic::testing::crash()
}

#[actinic::remote]
fn worker() -> actinic::WorkerId {
    actinic::context().worker_id().unwrap()
}

modes! {
    /// A worker that is killed or crashes is replaced.
    1 CPUs, async fn killed_workers_are_replaced(cluster) {
        let first = worker::remote().await?;
        cluster.kill_worker(first).await?;
        assert!(eventually(SOON, async || worker::remote().await.is_ok_and(|now| now != first)).await);
        assert!(matches!(crashes::remote().await.unwrap_err(), Error::WorkerCrashed { .. }));
        assert_eq!(echo::remote(1).await?, 1);
    }
}

/// LEA-06: what waits fails when the node of its own process is killed, and so does what is asked for next.
#[actinic::test(num_cpus = 1)]
async fn the_node_of_the_test_itself_may_be_killed(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (running, gate) = (scratch.file("running"), scratch.file("gate"));
    let waits = held_here::remote(&running, &gate);
    until_counted(&running, 1).await;
    cluster.head().kill().await?;
    let error = actinic::get(&waits).timeout(SOON).await.unwrap_err();
    assert!(matches!(error, Error::NodeDied { .. }), "{error:?}");
    assert!(!error.detail().remedy.is_empty() && error.detail().node.is_some(), "{error:?}");
    assert!(error.to_string().contains("task held_here"), "{error}");
    let later = held_here::remote(&running, &gate).await.unwrap_err();
    assert!(matches!(later, Error::NodeDied { .. } | Error::Connection { .. }), "{later:?}");
    open_gate(&gate);
    Ok(())
}

#[actinic::remote]
fn held_here(running: &str, gate: &str) {
    count_up(running);
    hold(gate);
}

/// What a test of this program says that a task has run in a process of its own.
#[actinic::remote]
fn runs_a_test(name: &str) -> actinic::Result<String> {
    let mut program = std::process::Command::new(std::env::current_exe()?);
    let done = program.args(["--exact", name, "--ignored", "--nocapture"]).output()?;
    Ok(String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr))
}

#[actinic::test(num_cpus = 1, workers = "processes")]
#[ignore = "a task of another test runs it"]
async fn run_by_a_task() -> actinic::Result<()> {
    let (_, pid) = whereabouts::remote().await?;
    assert_ne!(pid, std::process::id());
    Ok(())
}

here! {
    /// What a task starts is a program as any other, which may have worker processes of its own.
    1 CPUs, async fn what_a_task_starts_is_no_worker(cluster) {
        let said = runs_a_test::remote("harness::run_by_a_task").await?;
        assert!(said.contains("1 passed"), "{said}");
    }
}
