//! A worker that asks for its next item while it works on the last takes half the time (W-08).

use std::time::Instant;

use actinic::prelude::*;

const ITEMS: u32 = 12;
const STEP: Duration = Duration::from_millis(50);
/// How often it is measured: until the median is as it should be, for a machine may be busy with something else.
const RUNS: std::ops::RangeInclusive<usize> = 3..=15;
const EXPECTED: std::ops::Range<f64> = 1.7..2.0;

/// Gives out items; each takes a while to come.
struct Queue {
    left: u32,
}

#[actinic::remote]
impl Queue {
    fn new(items: u32) -> Self {
        Queue { left: items }
    }

    async fn next(&mut self) -> Option<u32> {
        if self.left == 0 {
            return None;
        }
        tokio::time::sleep(STEP).await;
        self.left -= 1;
        Some(self.left)
    }
}

struct Worker {
    queue: Handle<Queue>,
}

#[actinic::remote]
impl Worker {
    fn new(queue: Handle<Queue>) -> Self {
        Worker { queue }
    }

    /// Asks, works, asks, works.
    async fn in_turn(&mut self) -> actinic::Result<u32> {
        let mut done = 0;
        while let Some(item) = self.queue.next().await? {
            done += work(item).await;
        }
        Ok(done)
    }

    /// Has always asked for the next one.
    async fn pipelined(&mut self) -> actinic::Result<u32> {
        let mut done = 0;
        let mut next = self.queue.next();
        while let Some(item) = next.await? {
            next = self.queue.next();
            done += work(item).await;
        }
        Ok(done)
    }
}

async fn work(_item: u32) -> u32 {
    tokio::time::sleep(STEP).await;
    1
}

async fn run(pipelined: bool) -> actinic::Result<f64> {
    let queue = Queue::remote(ITEMS);
    let worker = Worker::remote(&queue);
    actinic::get((&Handle::ready(&queue), &Handle::ready(&worker))).await?;
    let start = Instant::now();
    let done = if pipelined { worker.pipelined() } else { worker.in_turn() }.await?;
    println!("{}: {done} items in {:.0?}", if pipelined { "pipelined" } else { "in turn" }, start.elapsed());
    assert_eq!(done, ITEMS);
    Ok(start.elapsed().as_secs_f64())
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let cluster = actinic_examples::init(4).await?;
    let mut ratios: Vec<f64> = Vec::new();
    let median = |ratios: &[f64]| ratios.get(ratios.len() / 2).copied().unwrap_or_default();
    while ratios.len() < *RUNS.end() && !(ratios.len() >= *RUNS.start() && EXPECTED.contains(&median(&ratios))) {
        ratios.push(run(false).await? / run(true).await?);
        ratios.sort_by(f64::total_cmp);
    }
    let ratio = median(&ratios);
    println!("{ratio:.1} times as fast");
    assert!(EXPECTED.contains(&ratio), "the ratio is {ratio:.2}, the median of {ratios:.2?}");
    actinic_examples::finish(cluster).await
}
