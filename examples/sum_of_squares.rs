//! The square root of a sum of squares, one number after the other and in parallel.
//!
//! `sum_of_squares [NUMBERS [SIZE]]`; by default 8 numbers with 20,000,000 squares each, which are some 20 ms of work or
//! more: what takes less than a millisecond is not worth another worker, and is run by one.

use std::time::Instant;

use actinic::prelude::*;
use actinic_examples::argument_from;

#[actinic::remote]
fn root_of_squares(n: u64) -> f64 {
    ((1..=n).map(|x| x as f64 * x as f64).sum::<f64>()).sqrt()
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let (numbers, size) = (argument_from(1, 1, 8)?, argument_from(2, 1, 20_000_000)?);
    let cluster =
        actinic_examples::init(std::thread::available_parallelism().map_or(2, |cpus| cpus.get() as u32)).await?;
    // Every worker has begun before the time is taken, and what a number takes has been seen.
    let cpus = cluster.resources().get("CPU").map_or(1, |cpus| *cpus as usize);
    let first: Vec<ObjectRef<f64>> = (0..cpus).map(|_| root_of_squares::remote(size)).collect();
    actinic::get(&first).await?;
    drop(first);

    let start = Instant::now();
    let serial: Vec<f64> = (0..numbers).map(|i| root_of_squares(size + i)).collect();
    let serial_time = start.elapsed();

    let start = Instant::now();
    let refs: Vec<ObjectRef<f64>> = (0..numbers).map(|i| root_of_squares::remote(size + i)).collect();
    let parallel = actinic::get(&refs).await?;
    let parallel_time = start.elapsed();
    drop(refs);

    assert_eq!(serial, parallel);
    println!("first result: {:.1}", serial[0]);
    println!("serial {serial_time:.1?}, parallel {parallel_time:.1?}");
    println!("speed-up: {:.2}", serial_time.as_secs_f64() / parallel_time.as_secs_f64());
    actinic_examples::finish(cluster).await
}
