//! Results handled as they finish: by `wait`, and by the stream `as_completed`.

use actinic::prelude::*;

#[actinic::remote]
fn work(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let cluster = actinic_examples::init(4).await?;
    // Workers that are there already: the times below are those of the tasks alone.
    actinic::get(&[0, 0, 0, 0].map(|_| work::remote(200))).await?;

    let mut pending: Vec<ObjectRef<u64>> = [900, 300, 1_200, 600].map(work::remote).into();
    let mut order = Vec::new();
    while !pending.is_empty() {
        let (ready, rest) = actinic::wait(pending).await?;
        order.extend(actinic::get(&ready).await?);
        pending = rest;
    }
    println!("by wait: {order:?}");
    assert_eq!(order, [300, 600, 900, 1_200]);

    let refs: Vec<ObjectRef<u64>> = [900, 300, 1_200, 600].map(work::remote).into();
    let mut order = Vec::new();
    let mut done = actinic::as_completed(&refs);
    while let Some(one) = done.next().await {
        order.push(one.await?);
    }
    println!("by as_completed: {order:?}");
    assert_eq!(order, [300, 600, 900, 1_200]);
    actinic_examples::finish(cluster).await
}
