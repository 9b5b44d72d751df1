//! Results handled as they finish: by `wait`, and by the stream `as_completed`.

use actinic::prelude::*;
use tokio::sync::Barrier;

/// Where four tasks wait for each other.
struct Start {
    barrier: Barrier,
}

#[actinic::remote(num_cpus = 0)]
impl Start {
    fn new() -> Self {
        Start { barrier: Barrier::new(4) }
    }

    async fn all_here(&self) {
        self.barrier.wait().await;
    }
}

#[actinic::remote]
async fn work(millis: u64, start: Handle<Start>) -> actinic::Result<u64> {
    start.all_here().await?; // else a worker that is still to be started would be late
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Ok(millis)
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let cluster = actinic_examples::init(4).await?;
    let start = Start::remote();
    let submit = || Vec::from([900, 300, 1_200, 600].map(|millis| work::remote(millis, &start)));

    let mut pending: Vec<ObjectRef<u64>> = submit();
    let mut order = Vec::new();
    while !pending.is_empty() {
        let (ready, rest) = actinic::wait(pending).await?;
        order.extend(actinic::get(&ready).await?);
        pending = rest;
    }
    println!("by wait: {order:?}");
    assert_eq!(order, [300, 600, 900, 1_200]);

    let mut order = Vec::new();
    let mut done = actinic::as_completed(&submit());
    while let Some(one) = done.next().await {
        order.push(one.await?);
    }
    println!("by as_completed: {order:?}");
    assert_eq!(order, [300, 600, 900, 1_200]);
    drop((done, start));
    actinic_examples::finish(cluster).await
}
