//! Five experiments in parallel, each of which runs its ten parts in parallel.

use std::time::Instant;

use actinic::prelude::*;

#[actinic::remote]
fn part(experiment: u32, index: u32) -> u32 {
    std::thread::sleep(Duration::from_millis(20));
    experiment + index
}

#[actinic::remote]
async fn experiment(number: u32) -> actinic::Result<u32> {
    let parts: Vec<ObjectRef<u32>> = (0..10).map(|index| part::remote(number, index)).collect();
    Ok(actinic::get(&parts).await?.iter().sum())
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let cluster = actinic_examples::init(10).await?;
    let start = Instant::now();
    let refs: Vec<ObjectRef<u32>> = (0..5).map(experiment::remote).collect();
    let results = actinic::get(&refs).await?;
    println!("{results:?}");
    println!("50 parts of 20 ms took {:.0?}", start.elapsed());
    assert_eq!(results, [45, 55, 65, 75, 85]);
    drop(refs);
    actinic_examples::finish(cluster).await
}
