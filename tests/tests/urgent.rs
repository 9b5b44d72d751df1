//! What is urgent passes what waits, and never what it depends on.

use std::time::Duration;

use actinic::prelude::*;
use actinic::testing::LinkFaults;

#[actinic::remote]
fn nap(time: Duration) -> actinic::Result<u64> {
    actinic::sleep(time).blocking()?;
    Ok(7)
}

pub struct Far;

#[actinic::remote]
impl Far {
    pub fn new() -> Self {
        Far
    }
    /// As large as a result may be that goes with its answer.
    pub fn chunk(&mut self) -> Vec<u8> {
        vec![1; 90_000]
    }
    pub fn exit(&mut self) {
        actinic::exit_actor()
    }
    pub fn number(&mut self, number: u64) -> u64 {
        number
    }
    pub fn cancel(&mut self, refs: Vec<ObjectRef<u64>>) -> actinic::Result<()> {
        actinic::cancel(&refs[0]).blocking()
    }
}

/// A task is cancelled by who borrows its ref, behind 27 MB of results that are on their way to its owner.
#[actinic::test(sim, seed = 11, num_cpus = 2)]
async fn a_borrowers_cancellation_passes_the_results_before_it(cluster: TestCluster) -> actinic::Result<()> {
    const CHUNKS: usize = 300;
    cluster.sim().faults(LinkFaults { delay: Duration::from_millis(5), ..LinkFaults::default() });
    let node = cluster.add_node().num_cpus(1).await?;
    let sleeper = nap::options().scheduling(Scheduling::on(cluster.head())).remote(Duration::from_secs(3600));
    let far = Far::options().scheduling(Scheduling::on(&node)).remote();
    Handle::ready(&far).await?;
    let chunks: Vec<_> = (0..CHUNKS).map(|_| far.chunk()).collect();
    let cancelled = far.cancel(vec![sleeper.clone()]);
    let error = sleeper.await.unwrap_err();
    assert!(matches!(error, Error::TaskCancelled { .. }), "{error}");
    let waiting = actinic::wait(&chunks).num_returns(CHUNKS).timeout(Duration::ZERO).await?.1.len();
    assert!(waiting > CHUNKS / 3, "only {waiting} results came after the cancellation");
    cancelled.await?;
    assert_eq!(actinic::get(&chunks).await?.len(), CHUNKS);
    drop((far, chunks));
    cluster.idle().await
}

/// An actor makes 72 MB of results at once, which is more than a session holds: they wait for their owner to read.
#[actinic::test(sim, seed = 13, num_cpus = 1)]
async fn results_that_are_made_faster_than_they_are_read_arrive(cluster: TestCluster) -> actinic::Result<()> {
    const CHUNKS: usize = 800;
    cluster.sim().faults(LinkFaults { delay: Duration::from_millis(5), ..LinkFaults::default() });
    let node = cluster.add_node().num_cpus(1).await?;
    let far = Far::options().scheduling(Scheduling::on(&node)).remote();
    Handle::ready(&far).await?;
    let chunks: Vec<_> = (0..CHUNKS).map(|_| far.chunk()).collect();
    assert_eq!(far.number(9).await?, 9);
    // In the order of their calls.
    assert_eq!(actinic::wait(&chunks).num_returns(CHUNKS).timeout(Duration::ZERO).await?.1.len(), 0);
    assert_eq!(actinic::get(&chunks).await?.len(), CHUNKS);
    // What ends the actor does not undo what was answered before.
    drop(chunks);
    let chunks: Vec<_> = (0..CHUNKS / 3).map(|_| far.chunk()).collect();
    let exits = far.exit();
    assert_eq!(actinic::get(&chunks).await?.len(), CHUNKS / 3);
    assert!(exits.await.is_err());
    drop((far, chunks));
    cluster.idle().await
}

pub struct Loaded(usize);

#[actinic::remote]
impl Loaded {
    pub fn new(load: Vec<u8>) -> Self {
        Loaded(load.len())
    }
    pub fn load(&self) -> usize {
        self.0
    }
}

/// A driver makes actors at once whose arguments are more than a session holds, all on another node than its GCS.
#[actinic::test(sim, seed = 14, num_cpus = 1, timeout = 120)]
async fn actors_that_are_made_faster_than_the_gcs_reads_are_made(cluster: TestCluster) -> actinic::Result<()> {
    const ACTORS: usize = 800;
    cluster.sim().faults(LinkFaults { delay: Duration::from_millis(5), ..LinkFaults::default() });
    let node = cluster.add_node().num_cpus(1).await?;
    let driver = cluster.driver().await?;
    driver
        .scope(async {
            let on = || Loaded::options().num_cpus(0.0).scheduling(Scheduling::on(&node));
            let actors: Vec<_> = (0..ACTORS).map(|_| on().remote(vec![1; 90_000])).collect();
            // Its name is asked for behind them.
            let named = on().name("last").remote(vec![1; 10]);
            let found = actinic::get_actor::<Loaded>("last").await?;
            assert_eq!(found.load().await?, 10);
            let loads: Vec<_> = actors.iter().map(|actor| actor.load()).collect();
            assert_eq!(actinic::get(&loads).await?, vec![90_000; ACTORS]);
            drop(named);
            Ok::<_, Error>(())
        })
        .await?;
    driver.shutdown().await?;
    cluster.idle().await
}

/// The request for an actor goes in order, its kill does not: a kill at once after it still ends the actor.
#[actinic::test(sim, seed = 12, num_cpus = 4)]
async fn a_kill_at_once_after_the_creation_finds_its_actor(cluster: TestCluster) -> actinic::Result<()> {
    cluster.sim().faults(LinkFaults { delay: Duration::from_millis(5), ..LinkFaults::default() });
    let driver = cluster.driver().await?;
    driver
        .scope(async {
            for no_restart in [true, false].repeat(4) {
                let far = Far::remote();
                // It may not be restarted: either kill is its end.
                actinic::kill(&far).no_restart(no_restart).await?;
                let error = far.chunk().await.map(|chunk| chunk.len()).unwrap_err();
                assert!(matches!(error, Error::ActorDied { .. }), "no_restart({no_restart}): {error}");
            }
            Ok::<_, Error>(())
        })
        .await?;
    driver.shutdown().await?;
    cluster.idle().await
}
