//! From nothing to the first result; a cluster that does nothing; and its end.

use std::collections::BTreeSet;
use std::time::Instant;

use actinic::prelude::*;

use super::{embedded, processes, single};
use crate::groups::this_program;
use crate::measure::{Bench, Samples, check};
use crate::{Result, machine, raw};

/// In a fresh process: `init()`, one task, its result; prints the milliseconds.
pub(crate) async fn first_result_here(mode: &str) -> Result<()> {
    let begun = Instant::now();
    let cluster = if mode == "embedded" { embedded().await? } else { processes().await? };
    single(1).await?;
    println!("{}", begun.elapsed().as_secs_f64() * 1e3);
    Ok(cluster.shutdown().await?)
}

pub(crate) fn first_result(bench: &Bench<'_>) -> Result<()> {
    let [mut embedded, mut process, mut floor] = [const { Samples::new() }; 3];
    for _ in 0..bench.size(15, 1) {
        for (mode, samples) in [("embedded", &mut embedded), ("process", &mut process)] {
            if !bench.wants(if mode == "embedded" { EMBEDDED } else { PROCESS }) {
                continue;
            }
            let done = this_program()?.args(["--internal-part", "first-result", mode]).output()?;
            let text = String::from_utf8_lossy(&done.stdout);
            let failed = || format!("{mode}: {}: {}", done.status, String::from_utf8_lossy(&done.stderr));
            samples.add(text.trim().parse::<f64>().map_err(|_| failed())?);
            check(done.status.success(), "a fresh process ends well")?;
        }
        let begun = Instant::now();
        let peer = raw::quic::Peer::start()?;
        peer.hand_off()?.trips(1)?;
        floor.add(begun.elapsed().as_secs_f64() * 1e3);
    }
    bench.row(EMBEDDED, embedded, None);
    bench.row(PROCESS, process, Some(floor.median()));
    Ok(())
}

const EMBEDDED: &str = "init to first result, embedded";
const PROCESS: &str = "init to first result, worker process";

pub(crate) async fn idle(bench: &Bench<'_>) -> Result<()> {
    let cluster = actinic::init().num_cpus(1).workers(Workers::Processes).await?;
    single(1).await?;
    tokio::time::sleep(bench.size(Duration::from_secs(2), Duration::from_millis(50))).await;
    let mut all = machine::descendants(std::process::id());
    eprint!(" [{} worker process(es)]", all.len());
    all.push(std::process::id());
    let memory: f64 = all.iter().map(|pid| machine::pss(*pid)).sum();
    let (before, begun) = (machine::processor_seconds(&all), Instant::now());
    tokio::time::sleep(bench.size(Duration::from_secs(8), Duration::from_millis(50))).await;
    let share = (machine::processor_seconds(&all) - before) / begun.elapsed().as_secs_f64();
    bench.row("idle: head + one worker process, PSS", memory, None);
    bench.row("idle: head + one worker process, processor", share * 100.0, None);
    Ok(cluster.shutdown().await?)
}

/// Starts, works and shuts down; the milliseconds of the shutdown.
async fn one_life(mode: &str) -> Result<f64> {
    let cluster = if mode == "embedded" { embedded().await? } else { processes().await? };
    super::burst(100).await?;
    let begun = Instant::now();
    cluster.shutdown().await?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

fn running() -> BTreeSet<String> {
    let below = machine::descendants(std::process::id());
    below.into_iter().map(|pid| format!("process {pid}: {}", machine::title(pid))).collect()
}

pub(crate) async fn shutdown(bench: &Bench<'_>) -> Result<()> {
    machine::adopt_orphans();
    let before = machine::leftovers();
    let mut left = BTreeSet::new();
    for mode in ["embedded", "worker processes"] {
        let mut took = Samples::new();
        for _ in 0..bench.size(7, 1) {
            took.add(one_life(mode).await?);
            left.extend(running());
        }
        bench.row(&format!("shutdown, {mode}"), took, None);
    }
    // A thread that ends takes its descriptors along a moment later; processes and files had to be gone at once.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let after = machine::leftovers();
    left.extend(after.difference(&before).cloned());
    for thing in &left {
        eprintln!("\n  left behind: {thing}");
    }
    bench.row("shutdown: processes, files, shared memory, descriptors left", left.len() as f64, None);
    Ok(())
}
