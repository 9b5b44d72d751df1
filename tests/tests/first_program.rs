//! The first program that a reader runs, as it is, on other clusters than its own.

use actinic::prelude::*;

use crate::support::*;

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

#[actinic::remote]
fn pid() -> u32 {
    std::process::id()
}

/// The environment says what a program runs on that says nothing itself.
#[test]
fn the_environment_says_what_an_embedded_cluster_runs_on() {
    for workers in ["", "threads", "processes", "fibres"] {
        let said = alone("first_program::runs_on", &[("ACTINIC_WORKERS", workers)]);
        let (within, error) = (said.contains("in this process"), said.contains("ACTINIC_WORKERS is \"fibres\""));
        assert_eq!((within, error), (workers.len() < 8 && workers != "fibres", workers == "fibres"), "{said}");
    }
}

#[test]
#[ignore = "another test runs it in a process of its own"]
fn runs_on() -> actinic::Result<()> {
    let cluster = match actinic::init().blocking() {
        Ok(cluster) => cluster,
        Err(error) => {
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
            println!("{error}");
            // What the program says is not asked of the environment.
            return actinic::init().workers(Workers::Threads).blocking()?.shutdown().blocking();
        }
    };
    if pid::remote().blocking()? == std::process::id() {
        println!("in this process");
    }
    cluster.shutdown().blocking()
}
