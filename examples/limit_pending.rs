//! Thousands of tasks, of which only so many are submitted at a time (by `wait`), or run at a time (by memory) (W-07).
//!
//! `limit_pending [TASKS]`

use std::time::Instant;

use actinic::prelude::*;

const IN_FLIGHT: usize = 100;
/// How often it is measured again where the machine was busy with something else.
const TRIES: u32 = 10;

#[actinic::remote]
fn work(index: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(2));
    index % 7
}

/// How many run now, and how many did at most.
#[derive(Default)]
struct Running {
    now: u32,
    most: u32,
}

#[actinic::remote]
impl Running {
    fn new() -> Self {
        Running::default()
    }

    fn begin(&mut self) {
        self.now += 1;
        self.most = self.most.max(self.now);
    }

    fn end(&mut self) {
        self.now -= 1;
    }

    fn most(&self) -> u32 {
        self.most
    }
}

#[actinic::remote(num_cpus = 0)]
async fn hungry(running: Handle<Running>) -> actinic::Result<()> {
    running.begin().await?;
    tokio::time::sleep(Duration::from_millis(20)).await;
    running.end().await
}

/// All at once; how long that takes, and the sum of the results.
async fn unlimited(count: u64) -> actinic::Result<(f64, u64)> {
    let start = Instant::now();
    let refs: Vec<ObjectRef<u64>> = (0..count).map(work::remote).collect();
    let sum = actinic::get(&refs).await?.iter().sum();
    Ok((start.elapsed().as_secs_f64(), sum))
}

/// No more than [`IN_FLIGHT`] at a time; also how many there were at most.
async fn limited(count: u64) -> actinic::Result<(f64, u64, usize)> {
    let start = Instant::now();
    let (mut sum, mut most) = (0, 0);
    let mut in_flight = Vec::new();
    for index in 0..count {
        if in_flight.len() == IN_FLIGHT {
            let (ready, pending) = actinic::wait(in_flight).num_returns(IN_FLIGHT / 10).await?;
            sum += actinic::get(&ready).await?.iter().sum::<u64>();
            in_flight = pending;
        }
        in_flight.push(work::remote(index));
        most = most.max(in_flight.len());
    }
    sum += actinic::get(&in_flight).await?.iter().sum::<u64>();
    Ok((start.elapsed().as_secs_f64(), sum, most))
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let count = actinic_examples::argument(1, 2_000)?;
    let cluster = actinic_examples::init(4).await?;

    let (mut all_at_once, mut at_a_time) = (f64::MAX, f64::MAX);
    for _ in 0..TRIES {
        let (time, expected) = unlimited(count).await?;
        all_at_once = all_at_once.min(time);
        let (time, sum, most) = limited(count).await?;
        at_a_time = at_a_time.min(time);
        println!("{count} tasks, at most {most} in flight");
        assert_eq!(sum, expected);
        assert!(most <= IN_FLIGHT);
        if at_a_time < all_at_once * 1.1 {
            break;
        }
    }
    println!("all at once {all_at_once:.2} s, limited {at_a_time:.2} s");
    assert!(at_a_time < all_at_once * 1.1, "the limit costs more than a tenth");

    // Each claims a quarter of the smallest node's memory: four of them run there, though they need no CPU.
    let running = Running::remote();
    let nodes = cluster.nodes().await?;
    let memory: Vec<f64> = nodes.iter().filter_map(|node| node.resources.get("memory").copied()).collect();
    let quarter = (memory.iter().copied().fold(f64::MAX, f64::min) / 4.0).floor();
    let limit = memory.iter().map(|bytes| (bytes / quarter) as u32).sum();
    let refs: Vec<ObjectRef<()>> = (0..20).map(|_| hungry::options().memory(quarter).remote(&running)).collect();
    actinic::get(&refs).await?;
    let most = running.most().await?;
    println!("by memory: at most {most} at a time, where {limit} fit");
    assert!((1..=limit).contains(&most));
    drop((running, refs));
    actinic_examples::finish(cluster).await
}
