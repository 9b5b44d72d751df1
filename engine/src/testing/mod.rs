//! Clusters for tests, and what tests do to them.
//!
//! `#[actinic::test]` gives each test a [`TestCluster`] of its own. By default its nodes are endpoints of this process
//! over datagrams in memory, in real time; with `workers = "processes"` they use real UDP on the loopback address, and
//! their workers are processes: this test binary, started again. With `(sim, seed = N)` the whole cluster runs on one
//! thread in virtual time, over a network with faults, and the same seed gives the same run: [`Sim`].
//!
//! A test's cluster is found by its scope alone: the test is in it, with what it spawns on its runtime. A thread that it
//! starts itself is in none until it calls [`enter`](crate::Cluster::enter), whatever other tests run beside it.
//!
//! ```no_run
//! use actinic::prelude::*;
//!
//! #[actinic::remote]
//! fn square(x: i64) -> i64 { x * x }
//!
//! #[actinic::test(num_cpus = 2)]
//! async fn squares_survive_a_node(cluster: TestCluster) -> actinic::Result<()> {
//!     let node = cluster.add_node().num_cpus(2).await?;
//!     let four = square::options().scheduling(Scheduling::on(&node)).remote(2);
//!     assert_eq!(four.await?, 4);
//!     node.kill().await?;
//!     assert_eq!(square::remote(3).await?, 9);
//!     cluster.idle().await
//! }
//! ```

mod alive;
mod cluster;
mod early;
mod eventually;
mod faults;
mod idle;
mod losses;
mod node;
mod options;
mod run;
mod sim;

pub(crate) use early::EARLY;
pub(crate) use losses::Losses;

pub use alive::Alive;
pub use cluster::{AddNode, Driver, TestCluster};
pub use eventually::{Condition, eventually, eventually_blocking};
pub use losses::Message;
pub use node::Node;
pub use options::TestOptions;
pub use run::{run_test, run_test_sync};
pub use sim::{LinkFaults, Sim};

/// Ends the worker that runs this as SIGKILL would, in thread mode too.
pub fn crash() -> ! {
    if let Some(current) = crate::worker::host::current()
        && let Some(crash) = current.host.process.on_crash.get()
    {
        crash();
    }
    crate::worker::job::crash_thread()
}

/// The result of a test.
pub type TestResult = crate::Result<()>;
