//! A driver that nobody can dial is reached through its node.

use std::time::Duration;

use actinic::NodeId;
use actinic::prelude::*;
use actinic::testing::LinkFaults;

#[actinic::remote]
fn sum(part: Vec<u8>) -> u64 {
    part.iter().map(|byte| u64::from(*byte)).sum()
}

/// Lets another node read what this one only passes on.
#[actinic::remote]
fn sum_on(parts: Vec<ObjectRef<Vec<u8>>>, reader: NodeId) -> actinic::Result<u64> {
    let on = |part: &ObjectRef<Vec<u8>>| sum::options().scheduling(Scheduling::on(reader)).remote(part);
    let sums: Vec<_> = parts.iter().map(on).collect();
    Ok(actinic::get(&sums).blocking()?.iter().sum())
}

/// The driver is behind a translator of addresses: it dials whom it gives work to. Whoever else wants something of it, as a
/// node that it has never spoken with and that reads an object of it, comes by the relay.
#[actinic::test(sim, seed = 21, num_cpus = 1, timeout = 120)]
async fn a_driver_that_cannot_be_dialled_is_asked_for_its_objects(cluster: TestCluster) -> actinic::Result<()> {
    let sim = cluster.sim();
    sim.faults(LinkFaults { delay: Duration::from_millis(3), ..LinkFaults::default() });
    let (near, far) = (cluster.add_node().num_cpus(1).await?, cluster.add_node().num_cpus(1).await?);
    let driver = cluster.driver().await?;
    sim.translate(&driver);
    let total = driver
        .scope(async {
            let (one, two) = (vec![1u8; 1_000_000], vec![2u8; 1_000_000]);
            let parts = vec![actinic::put(&one).await?, actinic::put(&two).await?];
            sum_on::options().scheduling(Scheduling::on(&near)).remote(parts, far.id()).await
        })
        .await?;
    assert_eq!(total, 3_000_000);
    driver.shutdown().await?;
    cluster.idle().await
}
