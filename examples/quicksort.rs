//! Quicksort as a tree of tasks, each of which waits for its two children; also on a single CPU (W-06).
//!
//! `quicksort [NUMBERS [CUT-OFF]]`; 8000000 and 200000 are the full size.

use std::time::Instant;

use actinic::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

#[actinic::remote]
fn sort(numbers: Array<i64>, cut_off: usize, cpus: f64) -> actinic::Result<Array<i64>> {
    if numbers.len() <= cut_off {
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        return Ok(numbers.into());
    }
    let pivot = numbers[numbers.len() / 2];
    let less: Array<i64> = numbers.iter().copied().filter(|&number| number < pivot).collect();
    let more: Array<i64> = numbers.iter().copied().filter(|&number| number > pivot).collect();
    let same = numbers.len() - less.len() - more.len();
    let part = |numbers| sort::options().num_cpus(cpus).remote(numbers, cut_off, cpus);
    let (less, more) = (part(less), part(more));
    let (less, more) = actinic::get((&less, &more)).blocking()?; // lends this task's CPU
    Ok(less.iter().copied().chain(std::iter::repeat_n(pivot, same)).chain(more.iter().copied()).collect())
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let (count, cut_off) = (actinic_examples::argument(1, 200_000)?, actinic_examples::argument(2, 40_000)?);
    let mut rng = SmallRng::seed_from_u64(5);
    let numbers: Array<i64> = (0..count).map(|_| rng.random_range(0..1_000_000)).collect();
    let start = Instant::now();
    let mut expected = numbers.to_vec();
    expected.sort_unstable();
    println!("{count} numbers, sequential: {:.0?}", start.elapsed());

    for at_once in [4, 1] {
        let cluster = actinic_examples::init(at_once).await?;
        // One CPU each; more on the larger nodes of a started cluster.
        let nodes = cluster.nodes().await?;
        let most = nodes.iter().filter_map(|node| node.resources.get("CPU").copied()).fold(1.0, f64::max);
        let cpus = most / f64::from(at_once);
        let start = Instant::now();
        let sorted = sort::options().num_cpus(cpus).remote(&numbers, cut_off, cpus).await?;
        println!("{at_once} at once on a node: {:.0?}, sorted: {}", start.elapsed(), sorted.is_sorted());
        assert!(sorted[..] == expected[..]);
        drop(sorted);
        actinic_examples::finish(cluster).await?;
    }
    Ok(())
}
