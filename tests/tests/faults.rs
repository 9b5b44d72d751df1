//! Tasks whose workers die.

use std::time::Duration;

use actinic::prelude::*;
use actinic::testing::{crash, eventually};

use crate::support::*;

#[actinic::remote]
fn counts(file: &str, value: i64) -> i64 {
    count_up(file);
    value
}

/// Dies while it runs, every time.
#[actinic::remote]
fn dies(file: &str) -> i64 {
    count_up(file);
    crash()
}

/// Says in a file where it runs, and waits for a ref.
#[actinic::remote]
async fn waits(file: String, values: Vec<ObjectRef<i64>>) -> actinic::Result<i64> {
    std::fs::write(&file, std::process::id().to_string()).map_err(Error::other)?;
    actinic::get(&values[0]).await
}

/// FAI-09: of tasks that were lent to one worker, only the one that kills it is charged for that.
#[actinic::test(num_cpus = 1, workers = "processes")]
async fn only_the_task_that_crashed_is_charged(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let quick: Vec<_> = (0..1000).map(|value| counts::remote(scratch.file("warm"), value)).collect();
    actinic::get(&quick).await?;
    let mut refs: Vec<_> =
        (0..100).map(|value| counts::options().max_retries(1).remote(scratch.file("a"), value)).collect();
    let crasher = dies::options().max_retries(3).remote(scratch.file("dies"));
    refs.extend((100..200).map(|value| counts::options().max_retries(1).remote(scratch.file("a"), value)));
    assert!(matches!(crasher.await.unwrap_err(), Error::WorkerCrashed { .. }));
    assert_eq!(actinic::get(&refs).await?, (0..200).collect::<Vec<_>>());
    assert_eq!(counted(&scratch.file("dies")), 4);
    drop((quick, refs));
    cluster.idle().await
}

/// An async task that waits for a ref holds no worker, and runs again all the same when its worker's process dies.
#[actinic::test(num_cpus = 2, workers = "processes")]
async fn a_waiting_async_task_survives_its_worker(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (file, gate) = (scratch.file("pid"), scratch.file("gate"));
    let value = held::remote(scratch.file("held"), &gate, 7);
    until_counted(&scratch.file("held"), 1).await;
    let waiting = waits::remote(&file, vec![value]);
    let pid = || std::fs::read_to_string(&file).ok().filter(|pid| !pid.is_empty());
    assert!(eventually(SOON, || pid().is_some()).await);
    let first = pid().unwrap();
    // Its lease is idle, and goes back: half a second later nobody leases its worker.
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(std::process::Command::new("kill").args(["-9", &first]).status().unwrap().success());
    assert!(eventually(SOON, || pid().is_some_and(|pid| pid != first)).await, "it runs again");
    open_gate(&gate);
    assert_eq!(waiting.await?, 7);
    cluster.idle().await
}
