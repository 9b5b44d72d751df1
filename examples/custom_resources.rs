//! Resources with a meaning of your own: how many run at a time, and what happens to a task that fits nowhere.

use std::time::Instant;

use actinic::prelude::*;

#[actinic::remote(num_cpus = 0, resources = { "licence": 1 })]
fn licensed(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

#[actinic::remote(resources = { "telescope": 1 })]
fn observe() -> String {
    "a star".into()
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let mut init = actinic_examples::init(4);
    if !actinic_examples::connects() {
        init = init.resource("licence", 2); // on a started cluster: `actinic start --resources '{"licence": 2}'`
    }
    let cluster = init.await?;
    println!("licences: {}", cluster.resources()["licence"]);

    // Six of 100 ms each, two at a time: three rounds.
    let start = Instant::now();
    let refs: Vec<ObjectRef<u64>> = (0..6).map(|_| licensed::remote(100)).collect();
    actinic::get(&refs).await?;
    let time = start.elapsed();
    drop(refs);
    println!("six tasks in three rounds: {time:.0?}");
    assert!(time >= Duration::from_millis(300));

    // No node has a telescope: the task stays pending, and says so.
    let pending = observe::remote();
    let error = actinic::get(&pending).timeout(Duration::from_millis(1_500)).await;
    let error = error.expect_err("there is no telescope");
    assert!(matches!(error, Error::GetTimeout { .. }), "{error:?}");
    println!("still pending: {error}");
    actinic::cancel(&pending).await?;
    assert!(matches!(pending.await, Err(Error::TaskCancelled { .. })));

    // Unless it is asked to fail.
    let error = observe::options().on_infeasible("fail").remote().await.expect_err("there is no telescope");
    assert!(matches!(error, Error::Infeasible { .. }), "{error:?}");
    println!("or fails: {}", error.kind());
    actinic_examples::finish(cluster).await
}
