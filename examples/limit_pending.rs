//! Thousands of tasks, of which only so many are submitted at a time (by `wait`), or run at a time (by memory) (W-07).
//!
//! `limit_pending [TASKS]`

use std::time::Instant;

use actinic::prelude::*;

const IN_FLIGHT: usize = 100;

#[actinic::remote]
fn work(index: u64) -> u64 {
    (0..2_000).fold(index, |sum, x| sum ^ (x * x)) & 1
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

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let count = actinic_examples::argument(1, 3_000);
    let cluster = actinic_examples::init(4).await?;
    actinic::get(&(0..100).map(work::remote).collect::<Vec<_>>()).await?;

    let start = Instant::now();
    let refs: Vec<ObjectRef<u64>> = (0..count).map(work::remote).collect();
    let unlimited: u64 = actinic::get(&refs).await?.iter().sum();
    let free = start.elapsed();
    drop(refs);

    let start = Instant::now();
    let (mut limited, mut most) = (0, 0);
    let mut in_flight = Vec::new();
    for index in 0..count {
        if in_flight.len() == IN_FLIGHT {
            let (ready, pending) = actinic::wait(in_flight).num_returns(IN_FLIGHT / 10).await?;
            limited += actinic::get(&ready).await?.iter().sum::<u64>();
            in_flight = pending;
        }
        in_flight.push(work::remote(index));
        most = most.max(in_flight.len());
    }
    limited += actinic::get(&in_flight).await?.iter().sum::<u64>();
    println!("{count} tasks, at most {most} in flight");
    println!("all at once {free:.0?}, limited {:.0?}", start.elapsed());
    assert_eq!(limited, unlimited);
    assert!(most <= IN_FLIGHT);

    // Each claims a quarter of the memory: only four run, though they need no CPU.
    let running = Running::remote();
    let quarter = (cluster.resources()["memory"] / 4.0).floor();
    let refs: Vec<ObjectRef<()>> = (0..20).map(|_| hungry::options().memory(quarter).remote(&running)).collect();
    actinic::get(&refs).await?;
    let most = running.most().await?;
    println!("by memory: at most {most} at a time");
    assert!((1..=4).contains(&most));
    drop(running);
    actinic_examples::finish(cluster).await
}
