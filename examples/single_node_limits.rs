//! How much one node takes: many arguments, many returns, many objects, many queued tasks, one large object.
//!
//! A tenth of what Ray's does: of 10,000 arguments, 3,000 returns (and 10,000 objects), 1,000,000 tasks and 100 GiB.
//! `single_node_limits [DIVISOR]`: of the object a part only; 1 in a release build by default, and 10 in a debug build,
//! where its bytes are slow to make. If the store has no room for it, it is half a store.

use std::num::NonZero;
use std::time::Instant;

use actinic::prelude::*;

const ARGUMENTS: usize = 1_000;
const RETURNS: usize = 300;
const OBJECTS: usize = 1_000;
const TASKS: usize = 100_000;
const BYTES: usize = 10 << 30;
/// Of a list that is an argument.
const LENGTH: usize = 10_000;
/// Of a list that is got: 4,000 bytes, since what has 1 KiB or less is copied into the value that it is in.
const LENGTH_GOT: usize = 1_000;

#[actinic::remote]
fn numbers() -> Array<i64> {
    (0..LENGTH).map(|_| 1).collect()
}

#[actinic::remote]
async fn sum_all(lists: Vec<ObjectRef<Array<i64>>>) -> actinic::Result<i64> {
    Ok(actinic::get(&lists).await?.iter().map(|list| list.iter().sum::<i64>()).sum())
}

#[actinic::remote(num_returns = _)]
fn count_to(n: usize) -> Vec<usize> {
    (0..n).collect()
}

#[actinic::remote]
fn one() -> u64 {
    1
}

/// Holds its CPU until the gate is opened: it looks and sleeps, where waiting for a ref would lend it.
#[actinic::remote]
fn block(gate: Handle<Gate>) -> actinic::Result<()> {
    gate.begin();
    loop {
        let open = gate.is_open();
        while actinic::wait([&open]).timeout(Duration::ZERO).blocking()?.0.is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        if open.blocking()? {
            return Ok(());
        }
    }
}

/// Whether those that wait may go on, and how many have begun to wait.
#[derive(Default)]
struct Gate {
    open: bool,
    begun: usize,
}

#[actinic::remote(num_cpus = 0)]
impl Gate {
    fn new() -> Self {
        Gate::default()
    }

    fn begin(&mut self) {
        self.begun += 1;
    }

    fn begun(&self) -> usize {
        self.begun
    }

    fn open(&mut self) {
        self.open = true;
    }

    fn is_open(&self) -> bool {
        self.open
    }
}

/// After each part everything is free within five seconds.
async fn free_again(cluster: &Cluster) -> actinic::Result<()> {
    actinic_examples::free_again(cluster, Duration::from_secs(5), 0).await
}

async fn many_arguments(count: usize) -> actinic::Result<()> {
    let start = Instant::now();
    let lists: Vec<_> = (0..count).map(|_| numbers::remote()).collect();
    let sum = sum_all::remote(&lists).await?;
    println!("{count} arguments, sum {sum}: {:.0?}", start.elapsed());
    assert_eq!(sum, (count * LENGTH) as i64);
    Ok(())
}

async fn many_returns(count: usize) -> actinic::Result<()> {
    let start = Instant::now();
    let refs: Vec<ObjectRef<usize>> = count_to::options().num_returns(count).remote(count);
    assert!(actinic::get(&refs).await?.into_iter().eq(0..count));
    println!("{count} returns: {:.0?}", start.elapsed());
    Ok(())
}

/// Got as copies, and read where they lie.
async fn many_objects(count: usize) -> actinic::Result<()> {
    let arrays: Vec<Array<u32>> = (0..count as u32).map(|index| vec![index; LENGTH_GOT].into()).collect();
    let start = Instant::now();
    let (mut copied, mut in_place) = (Vec::new(), Vec::new());
    for array in &arrays {
        copied.push(actinic::put(&array.to_vec()).await?);
        in_place.push(actinic::put(array).await?);
    }
    let (copied, in_place) = (actinic::get(&copied).await?, actinic::get(&in_place).await?);
    println!("2 x {count} objects got: {:.0?}", start.elapsed());
    assert_eq!((copied.len(), in_place.len()), (count, count));
    for ((array, copied), in_place) in arrays.iter().zip(&copied).zip(&in_place) {
        assert!(copied[..] == array[..] && in_place[..] == array[..]);
        assert!(std::ptr::eq(&raw const in_place[..], &raw const array[..]), "it was copied");
    }
    Ok(())
}

async fn many_queued(count: usize, blockers: usize) -> actinic::Result<()> {
    let start = Instant::now();
    let gate = Gate::remote();
    let blocks: Vec<ObjectRef<()>> = (0..blockers).map(|_| block::remote(&gate)).collect();
    while gate.begun().await? < blockers {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if start.elapsed() > Duration::from_secs(60) {
            let begun = gate.begun().await?;
            return Err(Error::other(format!("{begun} of {blockers} tasks have begun that are to hold all CPUs")));
        }
    }
    let blocked: Vec<ObjectRef<u64>> = (0..count).map(|_| one::remote()).collect();
    println!("{count} tasks queued: {:.0?}", start.elapsed());
    let (ready, _) = actinic::wait(&blocked).num_returns(count).timeout(Duration::ZERO).await?;
    assert!(ready.is_empty(), "{} of {count} ran, and not behind the {blockers} that hold all CPUs", ready.len());
    gate.open().await?;
    assert_eq!(actinic::get(&blocked).await?.iter().sum::<u64>(), count as u64);
    println!("and run: {:.0?}", start.elapsed());
    actinic::get(&blocks).await?;
    Ok(())
}

async fn large_object(bytes: usize) -> actinic::Result<()> {
    let start = Instant::now();
    let large = actinic::put(&Buffer::from(vec![7; bytes])).await?;
    let got = (&large).await?;
    println!("{} MiB put and got: {:.0?}", bytes >> 20, start.elapsed());
    assert!(got.len() == bytes && got.iter().step_by(4_096).all(|&byte| byte == 7));
    Ok(())
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let default = NonZero::new(if cfg!(debug_assertions) { 10 } else { 1 }).expect("it is not zero");
    let divisor = actinic_examples::argument(1, default)?.get();
    let cluster = actinic_examples::init(4).await?;
    let store = cluster.resources()["object_store_memory"];
    let nodes: Vec<_> = cluster.nodes().await?.into_iter().filter(|node| node.alive).collect();
    // A task runs on one node.
    let blockers = nodes.iter().filter_map(|node| node.resources.get("CPU")).map(|cpus| cpus.floor()).sum::<f64>();
    let nodes = nodes.len();
    many_arguments(ARGUMENTS).await?;
    free_again(&cluster).await?;
    many_returns(RETURNS).await?;
    free_again(&cluster).await?;
    many_objects(OBJECTS).await?;
    free_again(&cluster).await?;
    many_queued(TASKS, blockers as usize).await?;
    free_again(&cluster).await?;
    large_object((BYTES / divisor).min(store as usize / nodes / 2)).await?;
    free_again(&cluster).await?;
    actinic_examples::finish(cluster).await
}
