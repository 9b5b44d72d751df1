//! "Scope", inside tasks and actors: what they spawn belongs to their cluster, beside other tests' clusters too.

use actinic::prelude::*;
use actinic::testing::{TestOptions, run_test};

use super::*;
use crate::support::*;

#[actinic::remote]
async fn spawns() -> actinic::Result<i64> {
    let spawned = tokio::spawn(async { echo::remote(actinic::get(&actinic::put(&1).await?).await?).await });
    spawned.await.map_err(actinic::Error::other)?
}

#[actinic::remote]
async fn blocks() -> actinic::Result<i64> {
    blocking(|| echo::remote(actinic::put(&2).blocking()?).blocking()).await
}

#[actinic::remote]
fn starts_a_thread() -> actinic::Result<i64> {
    let context = actinic::context();
    std::thread::scope(|threads| {
        let thread = threads.spawn(|| {
            let _scope = context.enter();
            echo::remote(actinic::put(&3).blocking()?).blocking()
        });
        thread.join().unwrap()
    })
}

#[actinic::remote]
async fn runs_another_runtime() -> actinic::Result<i64> {
    let future = actinic::context().scope(async { echo::remote(4).await });
    let own = move || tokio::runtime::Runtime::new().unwrap().block_on(future);
    std::thread::spawn(own).join().unwrap()
}

struct Spawner;

#[actinic::remote]
impl Spawner {
    async fn new() -> actinic::Result<Spawner> {
        tokio::spawn(async { echo::remote(0).await }).await.map_err(actinic::Error::other)??;
        Ok(Spawner)
    }

    async fn spawns(&self) -> actinic::Result<i64> {
        let one = tokio::spawn(async { echo::remote(actinic::put(&5).await?).await });
        let two = blocking(|| echo::remote(6).blocking());
        Ok(one.await.map_err(actinic::Error::other)?? + two.await?)
    }

    fn starts_a_thread(&mut self) -> actinic::Result<i64> {
        let context = actinic::context();
        let thread = std::thread::spawn(move || {
            let _scope = context.enter();
            echo::remote(7).blocking()
        });
        thread.join().unwrap()
    }
}

/// What a thread that nobody said anything to is told.
#[actinic::remote]
fn starts_a_lost_thread() -> Result<i64, String> {
    std::thread::spawn(|| echo::remote(8).blocking()).join().unwrap().map_err(|error| error.to_string())
}

modes! {
    /// It belongs to the job of whatever spawned it, and what it leaves is freed as anything else.
    8 CPUs, async fn what_is_spawned_is_in_scope(_cluster) {
        // Another cluster than this one is there, whatever other tests do.
        let other = TestOptions::new(file!(), line!()).num_cpus(1);
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let (there, is_there) = tokio::sync::oneshot::channel::<()>();
        let beside = std::thread::spawn(move || run_test(other, |cluster| async move {
            there.send(()).unwrap();
            wait.await.unwrap();
            drop(cluster);
        }));
        is_there.await.unwrap();
        assert_eq!(spawns::remote().await?, 1);
        assert_eq!(blocks::remote().await?, 2);
        assert_eq!(starts_a_thread::remote().await?, 3);
        assert_eq!(runs_another_runtime::remote().await?, 4);
        let spawner = Spawner::remote();
        assert_eq!(spawner.spawns().await?, 11);
        assert_eq!(spawner.starts_a_thread().await?, 7);
        go.send(()).unwrap();
        beside.join().unwrap();
    }
}

/// A plain thread of a task is in no scope: the error says what to do.
#[actinic::test(num_cpus = 1)]
async fn a_threads_error_says_how_it_gets_a_scope() -> actinic::Result<()> {
    let other = TestOptions::new(file!(), line!()).num_cpus(1);
    let lost = |cluster: TestCluster| async move {
        let lost = starts_a_lost_thread::remote().await;
        drop(cluster);
        lost
    };
    let error = std::thread::spawn(move || run_test(other, lost)).join().unwrap().unwrap_err().to_string();
    assert!(error.contains("in the scope of none") && error.contains("context.enter()"), "{error}");
    Ok(())
}

/// Several jobs on one node: what each spawns belongs to its own, or is told that nobody knows.
#[actinic::test(num_cpus = 4)]
async fn a_spawned_call_is_never_of_another_job(cluster: TestCluster) -> actinic::Result<()> {
    let other = cluster.driver().await?;
    assert_eq!(spawns::remote().await?, 1);
    match other.scope(async { spawns::remote().await }).await {
        Ok(one) => assert_eq!(one, 1),
        Err(error) => assert!(error.to_string().contains("context.scope(future)"), "{error:?}"),
    }
    other.shutdown().await
}
