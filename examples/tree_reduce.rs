//! The sum of a hundred arrays: one after the other, and as a tree, in which pairs are added in parallel.

use std::time::Instant;

use actinic::prelude::*;

const LENGTH: usize = 1_000;

#[actinic::remote]
fn create(index: u32) -> Array<f64> {
    (0..LENGTH).map(|at| f64::from(index) + at as f64).collect()
}

#[actinic::remote]
fn add(left: Array<f64>, right: Array<f64>) -> Array<f64> {
    std::thread::sleep(Duration::from_millis(2));
    left.iter().zip(&right).map(|(left, right)| left + right).collect()
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let cluster = actinic_examples::init(8).await?;
    let arrays: Vec<ObjectRef<Array<f64>>> = (0..100).map(create::remote).collect();
    actinic::wait(&arrays).num_returns(100).await?;

    let start = Instant::now();
    let mut chain = arrays[0].clone();
    for array in &arrays[1..] {
        chain = add::remote(chain, array);
    }
    let chain = chain.await?;
    println!("chain of 99 additions: {:.0?}", start.elapsed());

    let start = Instant::now();
    let (mut level, mut depth) = (arrays, 0);
    while level.len() > 1 {
        let pairs = level.chunks(2).map(|pair| match pair {
            [left, right] => add::remote(left, right),
            rest => rest[0].clone(),
        });
        level = pairs.collect();
        depth += 1;
    }
    let tree = (&level[0]).await?;
    println!("tree, {depth} deep: {:.0?}", start.elapsed());

    let expected: Array<f64> = (0..LENGTH).map(|at| 4_950.0 + 100.0 * at as f64).collect();
    assert_eq!(tree, expected);
    assert_eq!(chain, expected);
    println!("sum[0] = {}, sum[{}] = {}", tree[0], LENGTH - 1, tree[LENGTH - 1]);
    drop(level);
    actinic_examples::finish(cluster).await
}
