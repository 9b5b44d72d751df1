//! The object store of a node: one capacity for all of its processes.

use actinic::prelude::*;
use actinic::testing::{TestCluster, eventually};

use crate::support::*;

const MB: usize = 1_000_000;

pub struct Keeper {
    kept: Vec<ObjectRef<Buffer>>,
}

#[actinic::remote(num_cpus = 0)]
impl Keeper {
    pub fn new() -> Self {
        Keeper { kept: Vec::new() }
    }

    pub fn make(&mut self, size: usize) -> Buffer {
        Buffer::from(vec![7u8; size])
    }

    pub fn put(&mut self, size: usize) -> actinic::Result<()> {
        self.kept.push(actinic::put(&Buffer::from(vec![7u8; size])).blocking()?);
        Ok(())
    }

    /// Keeps what was fetched.
    pub fn fetch(&mut self, objects: Vec<ObjectRef<Buffer>>) -> actinic::Result<usize> {
        let lengths = objects.iter().map(|object| actinic::get(object).blocking().map(|object| object.len()));
        let sum = lengths.sum::<actinic::Result<usize>>()?;
        self.kept.extend(objects);
        Ok(sum)
    }

    pub fn hold_on(&mut self, running: &str, gate: &str) {
        count_up(running);
        hold(gate);
    }

    pub fn length(&self, object: Buffer) -> usize {
        object.len()
    }

    pub fn drop_all(&mut self) {
        self.kept.clear();
    }
}

async fn put(size: usize) -> actinic::Result<ObjectRef<Buffer>> {
    actinic::put(&Buffer::from(vec![1u8; size])).await
}

/// As soon as there is room.
async fn put_soon(size: usize) -> ObjectRef<Buffer> {
    let kept = std::sync::Mutex::new(None);
    let fits = async || {
        let put = put(size).await.ok();
        let fits = put.is_some();
        *kept.lock().unwrap() = put;
        fits
    };
    assert!(eventually(SOON, fits).await);
    kept.into_inner().unwrap().expect("it fits")
}

/// The text of the error.
async fn does_not_fit(size: usize) -> String {
    let error = put(size).await.unwrap_err();
    assert!(matches!(error, Error::ObjectStoreFull { .. }), "{error:?}");
    error.to_string()
}

/// FAI-12: what the object store has no room for is an error of who makes it, and harms nobody.
async fn what_does_not_fit_is_an_error(cluster: &TestCluster) -> actinic::Result<()> {
    let maker = Keeper::remote();
    let mut kept = Vec::new();
    let mut full = 0;
    let ten = Buffer::from(vec![1u8; 10_000_000]);
    for _ in 0..20 {
        match actinic::put(&ten).await {
            Ok(object) => kept.push(object),
            Err(error) => {
                assert!(matches!(error, Error::ObjectStoreFull { .. }), "{error:?}");
                let (text, node) = (error.to_string(), format!("on node {}", cluster.head().id()));
                assert!(text.contains(&node) && text.contains("object_store_memory"), "{text}");
                full += 1;
            }
        }
    }
    assert!((9..=10).contains(&kept.len()) && full == 20 - kept.len(), "{} were kept", kept.len());
    let error = maker.make(101_000_000).await.unwrap_err();
    assert!(matches!(error.root_cause(), Error::ObjectStoreFull { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("make") && text.contains("on node "), "it names who made it, and where: {text}");
    let error = actinic::put(&Buffer::from(vec![1u8; 101_000_000])).await.unwrap_err();
    assert!(matches!(error, Error::ObjectStoreFull { .. }), "{error:?}");
    assert_eq!(maker.make(10).await?.len(), 10, "the actor lives on");
    for object in &kept {
        assert_eq!(actinic::get(object).await?, ten);
    }
    // What is dropped makes room.
    kept.clear();
    assert!(eventually(SOON, async || actinic::put(&Buffer::from(vec![1u8; 90_000_000])).await.is_ok()).await);
    drop(maker);
    cluster.idle().await
}

#[actinic::test(num_cpus = 2, object_store_memory = 100_000_000)]
async fn what_does_not_fit_is_an_error_on_threads(cluster: TestCluster) -> actinic::Result<()> {
    what_does_not_fit_is_an_error(&cluster).await
}

#[actinic::test(num_cpus = 2, object_store_memory = 100_000_000, workers = "processes")]
async fn what_does_not_fit_is_an_error_on_processes(cluster: TestCluster) -> actinic::Result<()> {
    what_does_not_fit_is_an_error(&cluster).await
}

#[actinic::remote(num_cpus = 1)]
fn make(size: usize) -> Buffer {
    Buffer::from(vec![2u8; size])
}

/// What one process of a node keeps is no room for another, until it lets go or dies.
#[actinic::test(num_cpus = 2, object_store_memory = 100_000_000, workers = "processes")]
async fn worker_processes_share_their_nodes_store(cluster: TestCluster) -> actinic::Result<()> {
    let (one, other) = (Keeper::remote(), Keeper::remote());
    one.put(30 * MB).await?;
    other.put(30 * MB).await?;
    let mine = put(30 * MB).await?;
    let (used, full) = (90 * MB, 100 * MB);
    assert!((used..full).contains(&(cluster.usage().await?.stored as usize)), "{:?}", cluster.usage().await?);
    let text = does_not_fit(30 * MB).await;
    assert!(text.contains("by other processes of the node"), "{text}");
    for error in [one.put(30 * MB).await.unwrap_err(), make::remote(30 * MB).await.unwrap_err()] {
        assert!(matches!(error.root_cause(), Error::ObjectStoreFull { .. }), "{error:?}");
    }
    // One lets go, and one is killed: what it kept is lost, and its room is there again.
    one.drop_all().await?;
    assert!(eventually(SOON, async || other.put(30 * MB).await.is_ok()).await);
    let _ = does_not_fit(30 * MB).await;
    cluster.crash_actor(&other).await?;
    // A result is read in another process without a place of its own.
    drop(put_soon(60 * MB).await);
    let result = make::remote(60 * MB);
    assert_eq!(actinic::get(&result).await?.len(), 60 * MB);
    assert_eq!(one.fetch(vec![result.clone(), mine.clone()]).await?, 90 * MB);
    drop((mine, result, one, other));
    cluster.idle().await
}

/// A driver in a process of its own counts with its node; its end gives back what it kept.
async fn a_driver_shares_its_nodes_store(cluster: &TestCluster) -> actinic::Result<()> {
    let driver = cluster.driver().await?;
    let theirs = driver.scope(put(60 * MB)).await?;
    let _ = does_not_fit(60 * MB).await;
    let usage = driver.usage().await?.stored as usize;
    assert!((60 * MB..61 * MB).contains(&usage), "{usage}");
    drop(theirs);
    driver.shutdown().await?;
    drop(put_soon(60 * MB).await);
    cluster.idle().await
}

#[actinic::test(num_cpus = 1, object_store_memory = 100_000_000)]
async fn a_driver_shares_its_nodes_store_on_threads(cluster: TestCluster) -> actinic::Result<()> {
    a_driver_shares_its_nodes_store(&cluster).await
}

#[actinic::test(num_cpus = 1, object_store_memory = 100_000_000, workers = "processes")]
async fn a_driver_shares_its_nodes_store_on_processes(cluster: TestCluster) -> actinic::Result<()> {
    a_driver_shares_its_nodes_store(&cluster).await
}

/// What a process fetched from another node, and could fetch again, makes room for what another process of its node
/// keeps.
#[actinic::test(num_cpus = 1, object_store_memory = 100_000_000, workers = "processes")]
async fn a_copy_in_one_process_makes_room_for_another(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let there = Scheduling::NodeAffinity { node: node.id(), soft: false };
    let far = make::options().scheduling(there).remote(60 * MB);
    let reader = Keeper::remote();
    assert_eq!(reader.fetch(vec![far.clone()]).await?, 60 * MB);
    assert!(cluster.usage().await?.stored as usize >= 120 * MB, "there, and here a copy");
    let mine = put_soon(60 * MB).await;
    // It is fetched again, but for what there is no room now.
    let error = reader.fetch(vec![far.clone()]).await.unwrap_err();
    assert!(matches!(error.root_cause(), Error::ObjectStoreFull { .. }), "{error:?}");
    drop(mine);
    assert!(eventually(SOON, async || reader.fetch(vec![far.clone()]).await.is_ok()).await);
    drop((far, reader));
    cluster.idle().await
}

/// A call that waits behind another keeps what was fetched for it, however little room others have.
#[actinic::test(num_cpus = 1, object_store_memory = 100_000_000)]
async fn what_a_waiting_call_will_read_makes_no_room(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (running, gate) = (scratch.file("running"), scratch.file("gate"));
    let node = cluster.add_node().num_cpus(1).await?;
    let there = Scheduling::NodeAffinity { node: node.id(), soft: false };
    let far = make::options().scheduling(there).remote(60 * MB);
    far.done().await?;
    let reader = Keeper::options().scheduling(Scheduling::on(cluster.head())).remote();
    let first = reader.hold_on(&running, &gate);
    until_counted(&running, 1).await;
    let second = reader.length(&far);
    let fetched = async || cluster.usage().await.is_ok_and(|usage| usage.stored as usize >= 120 * MB);
    assert!(eventually(SOON, fetched).await);
    let driver = cluster.driver().await?;
    let error = driver.scope(put(60 * MB)).await.unwrap_err();
    assert!(matches!(error, Error::ObjectStoreFull { .. }), "{error:?}");
    open_gate(&gate);
    first.await?;
    assert_eq!(second.await?, 60 * MB);
    // It has been read, and is a copy like others.
    let theirs = driver.scope(async { Ok::<_, Error>(put_soon(60 * MB).await) }).await?;
    drop((theirs, far, reader));
    driver.shutdown().await?;
    cluster.idle().await
}

/// What never fits takes nothing from anybody.
#[actinic::test(num_cpus = 1, object_store_memory = 100_000_000)]
async fn what_never_fits_disturbs_nobody(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let there = Scheduling::NodeAffinity { node: node.id(), soft: false };
    let far = make::options().scheduling(there).remote(60 * MB);
    assert_eq!(far.clone().await?.len(), 60 * MB);
    let driver = cluster.driver().await?;
    for _ in 0..3 {
        let _ = does_not_fit(101 * MB).await;
        assert!(driver.scope(put(101 * MB)).await.is_err());
    }
    assert!(cluster.usage().await?.stored as usize >= 120 * MB, "the copy is still here");
    drop(far);
    driver.shutdown().await?;
    cluster.idle().await
}

/// Says in which process it ran, and returns two values that go to the node's store, one after the other.
#[actinic::remote(num_returns = 2)]
fn two(pid: &str, first: usize, second: usize) -> (Buffer, Buffer) {
    std::fs::write(pid, std::process::id().to_string()).unwrap();
    (Buffer::from(vec![1u8; first]), Buffer::from(vec![2u8; second]))
}

fn kill(pid: &str) {
    let pid = std::fs::read_to_string(pid).unwrap();
    assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
}

/// What a worker handed over whose answer never came lies there for nobody, and goes; what it has told of stays.
#[actinic::test(num_cpus = 1, workers = "processes")]
async fn what_a_dead_worker_did_not_tell_of_goes(cluster: TestCluster) -> actinic::Result<()> {
    let (scratch, head) = (Scratch::new(), cluster.head());
    let pid = scratch.file("pid");
    let lies_here = || !head.objects().is_empty();
    let mut caught = 0;
    for retries in [0, 1, 0, 1] {
        let (one, other) = two::options().max_retries(retries).remote(&pid, MB, 100 * MB);
        assert!(eventually(SOON, lies_here).await);
        kill(&pid);
        match one.clone().await {
            // It had told of them, or told of those of its second attempt.
            Ok(one) => assert_eq!((one[0], other.clone().await?[0]), (1, 2)),
            Err(error) => {
                assert!(matches!(error, Error::WorkerCrashed { .. }), "{error:?}");
                assert!(eventually(SOON, || !lies_here()).await, "{:?}", head.objects());
                caught += 1;
            }
        }
        drop((one, other));
        assert!(eventually(SOON, || !lies_here()).await, "{:?}", head.objects());
    }
    println!("{caught} workers died while they handed over");
    let (one, other) = two::options().max_retries(0).remote(&pid, MB, MB);
    one.done().await?;
    other.done().await?;
    kill(&pid);
    // The next one runs in another process: the death of the first has been heard of.
    let (_, next) = whereabouts::remote().await?;
    assert_ne!(next.to_string(), std::fs::read_to_string(&pid)?);
    assert_eq!((one.clone().await?[0], other.clone().await?[0]), (1, 2));
    drop((one, other));
    cluster.idle().await
}

/// An actor that ends after its last call ends when that has been answered, however long its answer takes.
#[actinic::test(num_cpus = 1, workers = "processes")]
async fn the_last_answer_of_an_actor_arrives(cluster: TestCluster) -> actinic::Result<()> {
    for _ in 0..5 {
        let maker = Keeper::remote();
        let made = maker.make(50 * MB);
        drop(maker);
        assert_eq!(made.await?.len(), 50 * MB);
    }
    cluster.idle().await
}
