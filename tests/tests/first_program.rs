//! The first program that a reader runs, as it is, on other clusters than its own.

use actinic::prelude::*;

#[path = "../../examples/quickstart.rs"]
#[allow(dead_code)] // its `main`
mod quickstart;

/// All of its tasks, and its actor, are on another node than it is.
#[actinic::test(num_cpus = 0)]
async fn it_runs_on_another_node(cluster: TestCluster) -> actinic::Result<()> {
    let _node = cluster.add_node().num_cpus(2).await?;
    quickstart::run().await?;
    cluster.idle().await
}

/// On two nodes of a simulation, whose network is slow and loses datagrams.
#[actinic::test(sim, seed = 31, num_cpus = 1, timeout = 120)]
async fn it_runs_on_simulated_nodes(cluster: TestCluster) -> actinic::Result<()> {
    cluster.sim().faults(actinic::testing::LinkFaults {
        loss: 0.01,
        delay: Duration::from_millis(3),
        ..Default::default()
    });
    let _node = cluster.add_node().num_cpus(2).await?;
    quickstart::run().await?;
    cluster.idle().await
}
