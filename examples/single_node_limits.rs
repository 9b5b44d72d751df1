//! How much one node takes: many arguments, many returns, many objects, many queued tasks, one large object.
//!
//! `single_node_limits [SCALE]`; 1 by default, about 10 is what one machine of 16 GiB should do in a release build.

use std::time::Instant;

use actinic::prelude::*;

const LENGTH: usize = 10_000;

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

/// Holds its CPU until the gate is opened: it sleeps, where waiting for a ref would lend it.
#[actinic::remote]
fn block(gate: Handle<Gate>) -> actinic::Result<()> {
    while !gate.is_open().blocking()? {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

struct Gate {
    open: bool,
}

#[actinic::remote(num_cpus = 0)]
impl Gate {
    fn new() -> Self {
        Gate { open: false }
    }

    fn open(&mut self) {
        self.open = true;
    }

    fn is_open(&self) -> bool {
        self.open
    }
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let scale: usize = actinic_examples::argument(1, 1);
    let cluster = actinic_examples::init(4).await?;

    let start = Instant::now();
    let lists: Vec<_> = (0..100 * scale).map(|_| numbers::remote()).collect();
    let sum = sum_all::remote(&lists).await?;
    println!("{} arguments, sum {sum}: {:.0?}", lists.len(), start.elapsed());
    assert_eq!(sum, (lists.len() * LENGTH) as i64);
    drop(lists);

    let start = Instant::now();
    let returns = 300 * scale;
    let refs: Vec<ObjectRef<usize>> = count_to::options().num_returns(returns).remote(returns);
    assert!(actinic::get(&refs).await?.into_iter().eq(0..returns));
    println!("{returns} returns: {:.0?}", start.elapsed());

    let start = Instant::now();
    let mut refs = Vec::new();
    for index in 0..1_000 * scale {
        refs.push(actinic::put(&vec![index as u32; 10]).await?);
    }
    let values = actinic::get(&refs).await?;
    println!("{} objects got: {:.0?}", refs.len(), start.elapsed());
    assert!(values.iter().enumerate().all(|(index, value)| value[..] == [index as u32; 10]));
    drop(refs);

    let start = Instant::now();
    let gate = Gate::remote();
    let blockers: Vec<ObjectRef<()>> = (0..cluster.resources()["CPU"] as usize).map(|_| block::remote(&gate)).collect();
    let blocked: Vec<ObjectRef<u64>> = (0..10_000 * scale).map(|_| one::remote()).collect();
    println!("{} tasks queued: {:.0?}", blocked.len(), start.elapsed());
    gate.open().await?;
    assert_eq!(actinic::get(&blocked).await?.iter().sum::<u64>(), blocked.len() as u64);
    println!("and run: {:.0?}", start.elapsed());
    actinic::get(&blockers).await?;
    drop((gate, blockers, blocked));

    let start = Instant::now();
    let bytes = (64 << 20) * scale;
    let large = actinic::put(&Buffer::from(vec![7; bytes])).await?;
    let got = (&large).await?;
    println!("{} MiB put and got: {:.0?}", bytes >> 20, start.elapsed());
    assert!(got.len() == bytes && got.iter().step_by(4_096).all(|&byte| byte == 7));
    drop((large, got));
    actinic_examples::finish(cluster).await
}
