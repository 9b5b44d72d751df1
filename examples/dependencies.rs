//! Refs as arguments: a task runs when what it depends on is ready, and gets the values.

use actinic::prelude::*;

#[actinic::remote]
fn load(name: String) -> Vec<u32> {
    name.bytes().map(u32::from).collect()
}

#[actinic::remote]
fn scale(values: Vec<u32>, by: u32) -> Vec<u32> {
    values.iter().map(|value| value * by).collect()
}

#[actinic::remote]
fn total(left: Vec<u32>, right: Vec<u32>) -> u32 {
    left.iter().chain(&right).sum()
}

#[actinic::remote]
async fn total_of(parts: Vec<ObjectRef<Vec<u32>>>) -> actinic::Result<u32> {
    Ok(actinic::get(&parts).await?.iter().flatten().sum())
}

#[actinic::remote]
fn parse(text: String) -> Result<Vec<u32>, std::num::ParseIntError> {
    text.split(' ').map(str::parse).collect()
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let cluster = actinic_examples::init(4).await?;

    // A diamond: one load, two scales of it, one total of both. Nothing is fetched to the driver in between.
    let loaded = load::remote("abc");
    let double = scale::remote(&loaded, 2);
    let triple = scale::remote(&loaded, 3);
    let sum = total::remote(&double, &triple).await?;
    println!("diamond: {sum}");
    assert_eq!(sum, 5 * (97 + 98 + 99));

    // A ref inside a value arrives as a ref.
    let sum = total_of::remote(vec![loaded, double, triple]).await?;
    println!("refs in a list: {sum}");
    assert_eq!(sum, 6 * (97 + 98 + 99));

    // A chain of a hundred.
    let chain = (0..100).fold(actinic::put(&vec![1]).await?, |last, _| scale::remote(last, 1));
    println!("chain: {:?}", chain.await?);

    // An error goes down to everything that depends on it.
    let failed = total::remote(scale::remote(parse::remote("1 2 x"), 2), parse::remote("4")).await;
    let error = failed.expect_err("x is no number");
    println!("failed: {}", error.root_cause());
    assert!(matches!(error, Error::Task { .. }), "{error:?}");
    assert!(error.to_string().contains("invalid digit"), "{error:?}");
    actinic_examples::finish(cluster).await
}
