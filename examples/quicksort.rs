//! Quicksort as a tree of tasks, each of which waits for its two children; also on a single CPU (W-06).
//!
//! `quicksort [NUMBERS [CUT-OFF]]`; 8000000 and 200000 are the full size.

use std::time::Instant;

use actinic::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

#[actinic::remote]
fn sort(numbers: Array<i64>, cut_off: usize) -> actinic::Result<Array<i64>> {
    if numbers.len() <= cut_off {
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        return Ok(numbers.into());
    }
    let pivot = numbers[numbers.len() / 2];
    let less: Array<i64> = numbers.iter().copied().filter(|&number| number < pivot).collect();
    let more: Array<i64> = numbers.iter().copied().filter(|&number| number > pivot).collect();
    let same = numbers.len() - less.len() - more.len();
    let (less, more) = (sort::remote(less, cut_off), sort::remote(more, cut_off));
    let (less, more) = actinic::get((&less, &more)).blocking()?; // lends this task's CPU
    Ok(less.iter().copied().chain(std::iter::repeat_n(pivot, same)).chain(more.iter().copied()).collect())
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let (count, cut_off) = (actinic_examples::argument(1, 200_000), actinic_examples::argument(2, 40_000));
    let mut rng = SmallRng::seed_from_u64(5);
    let numbers: Array<i64> = (0..count).map(|_| rng.random_range(0..1_000_000)).collect();
    let start = Instant::now();
    let mut expected = numbers.to_vec();
    expected.sort_unstable();
    println!("{count} numbers, sequential: {:.0?}", start.elapsed());

    for cpus in [4, 1] {
        let cluster = actinic_examples::init(cpus).await?;
        let start = Instant::now();
        let sorted = sort::remote(&numbers, cut_off).await?;
        println!("as tasks on {cpus} CPU: {:.0?}, sorted: {}", start.elapsed(), sorted.is_sorted());
        assert!(sorted[..] == expected[..]);
        drop(sorted);
        actinic_examples::finish(cluster).await?;
    }
    Ok(())
}
