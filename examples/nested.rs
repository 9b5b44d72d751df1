//! Tasks that submit tasks: `f`, `g` that returns refs of `f`s, and `h` that waits for them.

use actinic::prelude::*;

#[actinic::remote]
fn f() -> i64 {
    1
}

#[actinic::remote]
fn g() -> Vec<ObjectRef<i64>> {
    (0..4).map(|_| f::remote()).collect()
}

#[actinic::remote]
async fn h() -> actinic::Result<Vec<i64>> {
    let refs: Vec<ObjectRef<i64>> = (0..4).map(|_| f::remote()).collect();
    actinic::get(&refs).await
}

#[actinic::remote]
fn depth(n: u32) -> actinic::Result<u32> {
    // A task that waits lends its CPU, so that those it waits for can run.
    if n == 0 { Ok(0) } else { Ok(1 + depth::remote(n - 1).blocking()?) }
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let cluster = actinic_examples::init(1).await?;

    let refs = g::remote().await?;
    println!("g gives {} refs, of {:?}", refs.len(), actinic::get(&refs).await?);
    assert_eq!(actinic::get(&refs).await?, [1, 1, 1, 1]);

    let values = h::remote().await?;
    println!("h gives {values:?}");
    assert_eq!(values, [1, 1, 1, 1]);

    let deep = depth::remote(16).await?;
    println!("{deep} deep");
    assert_eq!(deep, 16);
    drop(refs);
    actinic_examples::finish(cluster).await
}
