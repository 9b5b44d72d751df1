//! What one operation of each hot path costs, counted: syscalls by name, packets, context switches, processor time.
//!
//! A path is run under `strace -f -c` twice, for few operations and for many, and the difference is divided, so that
//! starting and stopping cancel out. Switches and processor time are of a third run, without strace, which slows a
//! program down so much that more is gathered per syscall than in truth.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Instant;

use actinic::prelude::*;

use crate::args::Options;
use crate::groups::this_program;
use crate::rows::actors::{Echo, calls};
use crate::rows::{burst, single};
use crate::{Result, machine};

const IN_FLIGHT: i64 = 10_000;

const PATHS: &[(&str, i64)] = &[
    ("task, embedded, 10k in flight", 200_000),
    ("task, embedded, sync", 5_000),
    ("task, worker process, 10k in flight", 200_000),
    ("task, worker process, sync", 5_000),
    ("actor call, in process, 10k in flight", 200_000),
    ("actor call, in process, sync", 5_000),
    ("actor call, over QUIC, 10k in flight", 200_000),
    ("actor call, over QUIC, sync", 5_000),
];

/// Runs one path, and prints the switches and the processor time of each operation: `--internal-part hot NAME N`.
pub(crate) async fn hot(name: &str, count: i64) -> Result<()> {
    let over_quic = name.contains("worker process") || name.contains("QUIC");
    let init = actinic::init();
    let cluster = if over_quic { init.workers(Workers::Processes).await? } else { init.await? };
    let actor = if name.starts_with("actor") { Some(Echo::remote()) } else { None };
    run(name, actor.as_ref(), 1_000).await?;
    let mut all = machine::descendants(std::process::id());
    all.push(std::process::id());
    let (switches, processor, begun) = (machine::switches(&all), machine::processor_seconds(&all), Instant::now());
    run(name, actor.as_ref(), count).await?;
    let (after, took) = (machine::switches(&all), begun.elapsed().as_secs_f64());
    let processor = machine::processor_seconds(&all) - processor;
    let each = |total: f64| total / count as f64;
    println!(
        "{} {} {} {}",
        each((after.0 - switches.0) as f64),
        each((after.1 - switches.1) as f64),
        each(processor * 1e6),
        each(took * 1e6),
    );
    drop(actor);
    Ok(cluster.shutdown().await?)
}

async fn run(name: &str, actor: Option<&Handle<Echo>>, count: i64) -> Result<()> {
    let mut done = 0;
    while done < count {
        let some = if name.ends_with("sync") { 1 } else { IN_FLIGHT.min(count - done) };
        match actor {
            Some(actor) if some == 1 => {
                actor.echo(done).await?;
            }
            Some(actor) => calls(actor, some).await?,
            None if some == 1 => single(done).await?,
            None => burst(some).await?,
        }
        done += some;
    }
    Ok(())
}

pub(crate) fn run_all(options: &Options) -> Result<bool> {
    for (name, count) in PATHS.iter().filter(|(name, _)| options.wants("count", name)) {
        let count = options.size(*count, *count / 50);
        println!("{name}");
        let mut command = this_program()?;
        let done = command.args(["--internal-part", "hot", name, &count.to_string()]).output()?;
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [voluntary, involuntary, processor, wall] = figures[..] else {
            println!("  failed: {}", String::from_utf8_lossy(&done.stderr).trim());
            continue;
        };
        println!("  {voluntary:.4} voluntary and {involuntary:.4} involuntary context switches");
        println!("  {processor:.3} us of processor time, {wall:.3} us of time");
        let few = count / 10;
        let (before, after) = (traced(name, few)?, traced(name, count)?);
        let each = |syscall: &str| {
            let calls = |of: &BTreeMap<String, f64>| of.get(syscall).copied().unwrap_or(0.0);
            (calls(&after) - calls(&before)) / (count - few) as f64
        };
        let mut syscalls: Vec<(f64, &str)> = after.keys().map(|name| (each(name), name.as_str())).collect();
        syscalls.sort_by(|a, b| b.0.total_cmp(&a.0));
        let all: f64 = syscalls.iter().map(|(calls, _)| calls).sum();
        let text: Vec<_> = syscalls.iter().filter(|(calls, _)| *calls >= all / 100.0).collect();
        let text: Vec<_> = text.iter().map(|(calls, name)| format!("{name} {calls:.4}")).collect();
        println!("  {all:.4} syscalls: {}", text.join(", "));
        println!("  {:.4} packets sent", ["sendmsg", "sendto", "sendmmsg"].map(each).iter().sum::<f64>());
    }
    Ok(true)
}

/// How often each syscall was made by a path's processes.
fn traced(name: &str, count: i64) -> Result<BTreeMap<String, f64>> {
    let out = std::env::temp_dir().join(format!("bench-strace-{}", std::process::id()));
    let program = this_program()?;
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-S", "calls", "-o"]).arg(&out).arg(program.get_program());
    command.args(["--internal-part", "hot", name, &count.to_string()]).stdout(Stdio::null());
    let status = command.status().map_err(|error| format!("strace: {error}"))?;
    let text = std::fs::read_to_string(&out).unwrap_or_default();
    let _ = std::fs::remove_file(&out);
    if !status.success() {
        return Err(format!("strace of {name}: {status}").into());
    }
    // % time, seconds, usecs/call, calls, [errors,] syscall
    let rows = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let calls = words.get(3)?.parse().ok()?;
        let name = words.last().filter(|name| **name != "total" && words.len() >= 5)?;
        Some((name.to_string(), calls))
    });
    Ok(rows.collect())
}
