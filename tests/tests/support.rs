//! What the tests share: the same test in every mode, gates, and counters that worker processes can reach.

use std::time::Duration;

pub(crate) use actinic_tests::files::{
    Scratch, count_up, counted, give_turns, hold, open_gate, take_turn, until_counted,
};

/// A deadline for what takes milliseconds on a quiet machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The same test on threads, on worker processes, and with all CPUs on a second node.
macro_rules! modes {
    ($($(#[$doc:meta])* $cpus:literal CPUs, async fn $name:ident($cluster:ident) $body:block)*) => {$(
        here! { @more {
            #[actinic::test(num_cpus = 0)]
            async fn on_another_node(cluster: TestCluster) -> actinic::Result<()> {
                let _node = cluster.add_node().num_cpus($cpus).await?;
                body(&cluster).await?;
                cluster.idle().await
            }
        } $(#[$doc])* $cpus CPUs, async fn $name($cluster) $body }
    )*};
}

/// The same test on threads and on worker processes.
macro_rules! here {
    (@more {$($more:item)*} $(#[$doc:meta])* $cpus:literal CPUs, async fn $name:ident($cluster:ident) $body:block) => {
        $(#[$doc])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn body($cluster: &actinic::testing::TestCluster) -> actinic::Result<()> {
                let _ = $cluster;
                $body
                Ok(())
            }

            #[actinic::test(num_cpus = $cpus)]
            async fn on_threads(cluster: TestCluster) -> actinic::Result<()> {
                body(&cluster).await?;
                cluster.idle().await
            }

            #[actinic::test(num_cpus = $cpus, workers = "processes")]
            async fn on_processes(cluster: TestCluster) -> actinic::Result<()> {
                body(&cluster).await?;
                cluster.idle().await
            }

            $($more)*
        }
    };
    ($($(#[$doc:meta])* $cpus:literal CPUs, async fn $name:ident($cluster:ident) $body:block)*) => {$(
        here! { @more {} $(#[$doc])* $cpus CPUs, async fn $name($cluster) $body }
    )*};
}

/// Counts that it runs, holds its CPU until the gate is open, returns its argument.
#[actinic::remote]
pub(crate) fn held(running: &str, gate: &str, value: i64) -> i64 {
    count_up(running);
    hold(gate);
    value
}

#[actinic::remote]
pub(crate) fn echo(value: i64) -> i64 {
    value
}

#[actinic::remote]
pub(crate) fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// Fails with an error that is typed everywhere.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[error("refused: {0}")]
pub(crate) struct Refused(pub(crate) i64);

#[actinic::remote]
pub(crate) fn refuse(value: i64) -> Result<i64, Refused> {
    Err(Refused(value))
}

/// The node and the process that it runs in.
#[actinic::remote]
pub(crate) fn whereabouts() -> (actinic::NodeId, u32) {
    (actinic::context().node_id(), std::process::id())
}

/// Runs an ignored test of this program in a process of its own, with these variables of the engine's and no others; what
/// it said.
pub(crate) fn alone(test: &str, vars: &[(&str, &str)]) -> String {
    alone_in(&[], test, vars)
}

/// The same, by a command that runs what it is given.
pub(crate) fn alone_in(wrap: &[&str], test: &str, vars: &[(&str, &str)]) -> String {
    let this = std::env::current_exe().unwrap();
    let words: Vec<&std::ffi::OsStr> = wrap.iter().map(std::ffi::OsStr::new).chain([this.as_os_str()]).collect();
    let mut program = std::process::Command::new(words[0]);
    program.args(&words[1..]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ACTINIC_")) {
        program.env_remove(name);
    }
    let args = ["--exact", test, "--ignored", "--nocapture"];
    let ran = program.args(args).envs(vars.iter().copied()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    said
}
