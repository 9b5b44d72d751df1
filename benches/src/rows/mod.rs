//! The measured rows, group by group.

pub(crate) mod actors;
mod allocations;
pub(crate) mod daemons;
mod growth;
pub(crate) mod small;
mod start;
pub(crate) mod tasks;

use actinic::prelude::*;

use crate::Result;
use crate::args::Options;
use crate::measure::{Bench, check};
use crate::raw;

/// The no-op task: it carries an `i64`, and its result is that `i64`.
#[actinic::remote]
fn echo(x: i64) -> i64 {
    x
}

/// Tasks that are all in flight together; every result is checked.
pub(crate) async fn burst(count: i64) -> Result<()> {
    let refs: Vec<ObjectRef<i64>> = (0..count).map(echo::remote).collect();
    let values = actinic::get(&refs).await?;
    check(values.into_iter().eq(0..count), "echo")
}

/// One task, submitted and awaited.
pub(crate) async fn single(x: i64) -> Result<()> {
    check(echo::remote(x).await? == x, "echo")
}

/// As [`single`], from a thread without a runtime.
fn single_blocking(x: i64) -> Result<()> {
    check(echo::remote(x).blocking()? == x, "echo")
}

async fn embedded() -> Result<Cluster> {
    Ok(actinic::init().await?)
}

async fn processes() -> Result<Cluster> {
    Ok(actinic::init().workers(Workers::Processes).await?)
}

/// Lets workers start, leases be taken, and buffers grow.
async fn warm(bench: &Bench<'_>) -> Result<()> {
    for count in [1, 100, bench.size(10_000, 100)] {
        burst(count).await?;
    }
    Ok(())
}

/// Measures one group, and writes its rows.
pub(crate) async fn run(group: &str, options: &Options) -> Result<()> {
    let bench = &Bench { group, options };
    match group {
        "embedded-rate" => tasks::embedded_rate(bench).await,
        "embedded-sync" => tasks::embedded_sync(bench).await,
        "process-rate" => tasks::process_rate(bench).await,
        "process-sync" => tasks::process_sync(bench).await,
        "submitters" => tasks::submitters(bench).await,
        "actors" => actors::in_process(bench).await,
        "actors-quic" => actors::over_quic(bench).await,
        "many-actors" => actors::many_shared(bench).await,
        "many-owners" => actors::many_owners(bench).await,
        "process-actors" => actors::many_processes(bench).await,
        "small" => small::all(bench).await,
        "growth" => growth::cost(bench, embedded().await?, "embedded").await,
        "growth-quic" => growth::cost(bench, processes().await?, "worker process").await,
        "memory" => growth::memory(bench, embedded().await?, "embedded").await,
        "memory-quic" => growth::memory(bench, processes().await?, "worker process").await,
        "start" => start::first_result(bench),
        "idle" => start::idle(bench).await,
        "shutdown" => start::shutdown(bench).await,
        "daemons" => daemons::all(bench).await,
        "allocs" => allocations::embedded(bench).await,
        "allocs-quic" => allocations::over_quic(bench).await,
        other => Err(format!("no group is called {other}").into()),
    }
}

/// What a group needs a further process for.
pub(crate) async fn part(name: &str, rest: &[String]) -> Result<()> {
    let word = |at: usize| rest.get(at).map_or("", String::as_str);
    match name {
        "raw-quic" => raw::quic::serve().await,
        "first-result" => start::first_result_here(word(0)).await,
        "copies" => crate::copies::part(word(0), word(1).parse()?).await,
        "hot" => crate::count::hot(word(0), word(1).parse()?).await,
        other => Err(format!("no part is called {other}").into()),
    }
}
