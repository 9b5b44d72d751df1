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

/// How many there are now, and how many there were at most.
#[derive(Default)]
struct Running {
    now: i64,
    most: i64,
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

    fn most(&self) -> i64 {
        self.most
    }
}

/// As `work`; it is counted until its result is there.
#[actinic::remote]
async fn counted(index: u64, pending: Handle<Running>) -> actinic::Result<u64> {
    pending.end().await?;
    Ok(index % 7)
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

/// No more than [`IN_FLIGHT`] at a time; the sum of their results.
async fn limited(count: u64, submit: impl Fn(u64) -> ObjectRef<u64>) -> actinic::Result<u64> {
    let mut sum = 0;
    let mut in_flight = Vec::new();
    for index in 0..count {
        if in_flight.len() == IN_FLIGHT {
            let (ready, pending) = actinic::wait(in_flight).num_returns(IN_FLIGHT / 10).await?;
            sum += actinic::get(&ready).await?.iter().sum::<u64>();
            in_flight = pending;
        }
        in_flight.push(submit(index));
    }
    Ok(sum + actinic::get(&in_flight).await?.iter().sum::<u64>())
}

/// How many there are at most, queued ones too, as an actor counts them: each begins before it is submitted, and ends
/// before its result is there.
async fn most_pending(count: u64) -> actinic::Result<(u64, i64)> {
    let pending = Running::remote();
    let submit = |index| {
        pending.begin();
        counted::remote(index, &pending)
    };
    let sum = limited(count, submit).await?;
    Ok((sum, pending.most().await?))
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let count = actinic_examples::argument_from(1, 1, 2_000)?;
    let cluster = actinic_examples::init(4).await?;

    let (mut all_at_once, mut at_a_time) = (f64::MAX, f64::MAX);
    let mut expected = 0;
    for _ in 0..TRIES {
        let (time, sum) = unlimited(count).await?;
        (all_at_once, expected) = (all_at_once.min(time), sum);
        let start = Instant::now();
        assert_eq!(limited(count, work::remote).await?, expected);
        at_a_time = at_a_time.min(start.elapsed().as_secs_f64());
        if at_a_time < all_at_once * 1.1 {
            break;
        }
    }
    println!("{count} tasks: all at once {all_at_once:.2} s, limited {at_a_time:.2} s");
    assert!(at_a_time < all_at_once * 1.1, "the limit costs more than a tenth");
    let (sum, most) = most_pending(count).await?;
    println!("at most {most} in flight, of {IN_FLIGHT} that may be");
    assert_eq!(sum, expected);
    assert!((1..=IN_FLIGHT as i64).contains(&most));

    // Each claims a quarter of the smallest node's memory: four of them run there, though they need no CPU.
    let running = Running::remote();
    let nodes = cluster.nodes().await?;
    let memory: Vec<f64> = nodes.iter().filter_map(|node| node.resources.get("memory").copied()).collect();
    let quarter = (memory.iter().copied().fold(f64::MAX, f64::min) / 4.0).floor();
    let limit = memory.iter().map(|bytes| (bytes / quarter) as i64).sum();
    let refs: Vec<ObjectRef<()>> = (0..20).map(|_| hungry::options().memory(quarter).remote(&running)).collect();
    actinic::get(&refs).await?;
    let most = running.most().await?;
    println!("by memory: at most {most} at a time, where {limit} fit");
    assert!((1..=limit).contains(&most));
    drop((running, refs));
    actinic_examples::finish(cluster).await
}
