//! Real daemons: how soon a started head answers, and how evenly two nodes share tasks.

use std::path::PathBuf;
use std::time::Instant;

use actinic::prelude::*;
use actinic_tests::command;

use crate::Result;
use crate::measure::{Bench, Samples, check};

const START: &str = "start --head until status answers";
const SPREAD: &str = "two nodes, SPREAD, 200 no-op tasks: share of the busier";

/// The folder of the profile that this program was built with.
fn profile() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().ok_or("this program lies nowhere")?.to_path_buf())
}

/// Builds the `actinic` command with this program's profile.
pub(crate) fn build_command() -> Result<()> {
    Ok(command::build(&profile()?).map(drop)?)
}

/// A machine's nodes, which end with it.
struct Machine {
    actinic: PathBuf,
    dir: PathBuf,
}

impl Machine {
    fn new(name: &str) -> Result<Machine> {
        let dir = std::env::temp_dir().join(format!("bench-{}-{name}", std::process::id()));
        Ok(Machine { actinic: profile()?.join("actinic"), dir })
    }

    fn run(&self, args: &[&str]) -> Result<String> {
        let out = command::at(&self.dir, &self.actinic).args(args).output()?;
        if out.status.success() {
            return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
        }
        Err(format!("actinic {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr)).into())
    }

    fn head(&self) -> Result<()> {
        self.run(&["start", "--head", "--node-ip-address", "127.0.0.1", "--port", "0"]).map(drop)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What does not end in good order is killed by the command, and there is nothing else to be done here.
        let _ = self.run(&["stop"]);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What a person waits for: `actinic start --head && actinic status`.
fn start(bench: &Bench<'_>) -> Result<()> {
    let mut took = Samples::new();
    for _ in 0..bench.size(11, 1) {
        let machine = Machine::new("start")?;
        let begun = Instant::now();
        machine.head()?;
        let status = machine.run(&["status"])?;
        took.add(begun.elapsed().as_secs_f64() * 1e3);
        check(status.contains("1 alive"), "the head says that it lives")?;
    }
    bench.row(START, took, None);
    Ok(())
}

/// The no-op task; its result says where it ran.
#[actinic::remote(scheduling = Scheduling::Spread)]
fn here() -> String {
    actinic::context().node_id().to_string()
}

async fn spread(bench: &Bench<'_>) -> Result<()> {
    let (first, second) = (Machine::new("first")?, Machine::new("second")?);
    first.head()?;
    let token = first.run(&["token", "show"])?;
    let token = token.lines().next().ok_or("the head has a token")?;
    let status: serde_json::Value = serde_json::from_str(&first.run(&["status", "--format", "json"])?)?;
    let address = status["head"].as_str().ok_or("the head has an address")?;
    second.run(&["start", "--address", address, "--token", token, "--node-ip-address", "127.0.0.1"])?;

    let cluster = actinic::init().address(address).token(token).await?;
    check(cluster.nodes().await?.len() == 2, "there are two nodes")?;
    let mut shares = Samples::new();
    for round in 0..bench.size(21, 2) {
        let refs: Vec<ObjectRef<String>> = (0..200).map(|_| here::remote()).collect();
        let nodes = actinic::get(&refs).await?;
        let first = nodes.iter().filter(|node| **node == nodes[0]).count();
        // In the first round workers start.
        if round > 0 {
            shares.add(first.max(nodes.len() - first) as f64 / nodes.len() as f64);
        }
    }
    bench.row(SPREAD, shares, None);
    Ok(cluster.shutdown().await?)
}

pub(crate) async fn all(bench: &Bench<'_>) -> Result<()> {
    if bench.wants(START) {
        start(bench)?;
    }
    if bench.wants(SPREAD) {
        spread(bench).await?;
    }
    Ok(())
}
