//! A cluster in virtual time.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use actinic_transport::LinkFaults;

use crate::api::cluster::Cluster;
use crate::env::{Env, sim};
use crate::prelude::*;
use crate::start::{self, NodeOptions, Place, Running};

#[actinic::remote]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[actinic::remote]
fn sum_tree(depth: u32) -> actinic::Result<i64> {
    if depth == 0 {
        return Ok(1);
    }
    let below = [sum_tree::remote(depth - 1), sum_tree::remote(depth - 1)];
    Ok(actinic::get(&below).blocking()?.iter().sum())
}

#[actinic::remote]
fn nap(time: Duration) -> actinic::Result<i64> {
    actinic::sleep(time).blocking()?;
    Ok(7)
}

#[actinic::remote]
async fn async_nap(time: Duration) -> actinic::Result<i64> {
    actinic::sleep(time).await?;
    Ok(8)
}

#[actinic::remote]
fn bytes(size: usize) -> Vec<u8> {
    vec![3; size]
}

#[actinic::remote]
fn length(bytes: Vec<u8>) -> usize {
    bytes.len()
}

struct Counter {
    value: i64,
}

#[actinic::remote]
impl Counter {
    fn new(value: i64) -> Counter {
        Counter { value }
    }
    fn add(&mut self, by: i64) -> i64 {
        self.value += by;
        self.value
    }
}

struct Slow;

#[actinic::remote]
impl Slow {
    fn new() -> Slow {
        Slow
    }
    async fn wait(&self, time: Duration) -> actinic::Result<i64> {
        actinic::sleep(time).await?;
        Ok(9)
    }
}

fn head(env: &Env, cpus: f64) -> Cluster {
    let options = NodeOptions { num_cpus: Some(cpus), ..NodeOptions::default() };
    Cluster::embedded(env.clone(), options, None, Place::of(env)).unwrap()
}

fn node(env: &Env, cluster: &Cluster, cpus: f64) -> Running {
    let (authority, gcs) = cluster.with_running(|running| {
        let running = running.unwrap();
        (running.authority.clone().unwrap(), running.gcs.clone())
    });
    let authority = authority.node(actinic_transport::NodeId(env.uuid())).unwrap();
    let options = NodeOptions { num_cpus: Some(cpus), ..NodeOptions::default() };
    start::node(env.clone(), options, Place::of(env), authority, None, gcs).unwrap()
}

async fn work(env: Env, nodes: usize) -> u64 {
    let net = env.world().unwrap().net().clone();
    net.faults(LinkFaults {
        loss: 0.05,
        delay: Duration::from_millis(3),
        jitter: Duration::from_millis(2),
        ..LinkFaults::default()
    });
    let cluster = head(&env, 1.0);
    let others: Vec<Running> = (1..nodes).map(|_| node(&env, &cluster, 2.0)).collect();
    cluster
        .scope(async {
            for _ in 0..1000 {
                if cluster.resources().get("CPU").copied().unwrap_or_default() == 1.0 + 2.0 * (nodes - 1) as f64 {
                    break;
                }
                actinic::sleep(Duration::from_millis(10)).await.unwrap();
            }
            let one = add::remote(1, 2);
            assert_eq!(add::remote(one, 3).await.unwrap(), 6);
            assert_eq!(sum_tree::remote(4).await.unwrap(), 16);
            let counter = Counter::remote(10);
            let calls: Vec<_> = (0..20).map(|_| counter.add(1)).collect();
            assert_eq!(actinic::get(&calls).await.unwrap(), (11..=30).collect::<Vec<i64>>());
            let large: Vec<_> = (0..4).map(|_| length::remote(bytes::remote(300_000))).collect();
            assert_eq!(actinic::get(&large).await.unwrap(), [300_000; 4]);
            let slow = Slow::remote();
            assert_eq!(slow.wait(Duration::from_secs(5)).await.unwrap(), 9);
            assert_eq!(async_nap::remote(Duration::from_secs(5)).await.unwrap(), 8);
        })
        .await;
    drop(others);
    net.trace_hash()
}

#[test]
fn one_node_works() {
    sim::run(1, |env| work(env, 1));
}

/// WORLD-1
#[test]
fn equal_seeds_are_equal_runs() {
    let run = |seed| sim::run(seed, |env| work(env, 3));
    let first = run(1);
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
}

#[test]
fn a_virtual_hour_is_short() {
    let begun = super::Instant::now();
    sim::run(3, |env| async move {
        let cluster = head(&env, 1.0);
        let hour = Duration::from_secs(3600);
        assert_eq!(cluster.scope(async { nap::remote(hour).await }).await.unwrap(), 7);
        assert!(env.now() >= hour);
        assert!(env.now() < hour + Duration::from_secs(1), "{:?}", env.now());
    });
    println!("a virtual hour took {:?}", begun.elapsed());
}

/// WORLD-2: it waits inside Actinic, and runs alike each time.
#[test]
fn sync_code_runs_in_virtual_time() {
    let run = || {
        let body = |env: Env| {
            let cluster = head(&env, 2.0);
            let _scope = cluster.enter();
            assert_eq!(nap::remote(Duration::from_secs(30)).blocking().unwrap(), 7);
            let late = actinic::get(&nap::remote(Duration::from_secs(60))).timeout(Duration::from_secs(20)).blocking();
            assert!(matches!(late, Err(Error::GetTimeout { .. })));
            assert_eq!(env.now().as_secs(), 50);
            cluster.shutdown().blocking().unwrap();
            env.random()
        };
        sim::run_sync(5, sim::Watch::default(), body, |done| async { drop(done.await) }).unwrap()
    };
    assert_eq!(run().unwrap(), run().unwrap());
}

/// WORLD-3
#[test]
fn a_sync_test_that_is_late_is_unwound() {
    let done = sim::run_sync(
        6,
        sim::Watch::default(),
        |env| {
            let cluster = head(&env, 2.0);
            let _scope = cluster.enter();
            nap::remote(Duration::from_secs(1000)).blocking()
        },
        |done| async { drop(tokio::time::timeout(Duration::from_secs(100), done).await) },
    );
    assert!(matches!(done, Ok(None)));
}

/// As many long tasks as there are CPUs run at the same time, on however many leases they were asked for.
#[test]
fn long_tasks_use_all_cpus() {
    sim::run(7, |env| async move {
        let cluster = head(&env, 8.0);
        cluster
            .scope(async {
                let naps: Vec<_> = (0..7).map(|_| nap::remote(Duration::from_secs(10))).collect();
                actinic::get(&naps).await.unwrap();
            })
            .await;
        assert!(env.now() < Duration::from_secs(11), "{:?}", env.now());
    });
}

/// What a simulation's seed does not say must not change it, nor must it change the machine.
#[test]
fn a_simulation_has_no_files_variables_or_processes() {
    use std::io::ErrorKind;
    use std::path::Path;

    use crate::start::local;
    use crate::start::program_file::{Offer, ProgramFile};

    sim::run(8, |env| async move {
        assert!(Env::real().var_os("PATH").is_some() && env.var_os("PATH").is_none() && env.var("PATH").is_none());
        assert!(Env::real().program().is_some() && env.program().is_none());
        let started = env.spawn(&mut std::process::Command::new("true")).map(drop).unwrap_err();
        assert_eq!(started.kind(), ErrorKind::Unsupported);
        assert!(started.to_string().contains("starts no processes: true"), "{started}");
        let read = env.files().read(Path::new("/proc/self/exe")).unwrap_err();
        assert_eq!(read.kind(), ErrorKind::Unsupported);
        assert!(Offer::of_this_process(&env).is_none());
        assert_eq!(ProgramFile::of_this_process(env.files()).unwrap_err().kind(), ErrorKind::Unsupported);
        // What has no environment of its own has that of its thread.
        let base = local::base(None);
        assert!(local::nodes(&base).is_empty());
        let error = local::claim(&base).map(drop).unwrap_err();
        assert!(matches!(error, Error::Connection { .. }), "{error:?}");
        assert!(error.to_string().contains("a simulation has no files"), "{error}");
        let error = start::connect::connect(env, "127.0.0.1:6379", None, None).map(drop).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        assert!(error.to_string().contains("127.0.0.1:6379") && error.to_string().contains("cluster.driver()"));
    });
}
