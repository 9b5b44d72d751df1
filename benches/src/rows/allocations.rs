//! How often a task allocates; needs the feature `count-allocs`.

use actinic::prelude::*;

use super::actors::{Echo, calls};
use super::small::wait_round;
use super::{burst, single};
use crate::Result;
use crate::alloc::{Allocated, allocated};
use crate::count::LARGE;
use crate::measure::{Bench, check};

fn now() -> Result<Allocated> {
    allocated().ok_or_else(|| "built without the feature count-allocs".into())
}

/// What some work allocates, for each of `count` operations: calls, bytes.
async fn per(count: i64, work: impl Future<Output = Result<()>>) -> Result<(f64, f64)> {
    let before = now()?;
    work.await?;
    let after = now()?;
    let each = |after: u64, before: u64| (after - before) as f64 / count as f64;
    Ok((each(after.calls, before.calls), each(after.bytes, before.bytes)))
}

/// How often the worker process has allocated so far.
#[actinic::remote]
fn worker_allocations() -> u64 {
    allocated().map_or(0, |allocated| allocated.calls)
}

pub(crate) async fn embedded_rows(bench: &Bench<'_>, many: i64, few: i64) -> Result<()> {
    burst(many).await?;
    let (times, bytes) = per(many, burst(many)).await?;
    bench.row("allocations per task, embedded, 100k in flight", times, None);
    bench.row("allocated bytes per task, embedded, 100k in flight", bytes, None);
    bench.row("allocations per task, embedded, sync", per(few, singles(few)).await?.0, None);
    let actor = Echo::remote();
    calls(&actor, many).await?;
    let times = per(many, calls(&actor, many)).await?.0;
    bench.row("allocations per actor call, in process, 100k in flight", times, None);
    let sync = per(few, one_by_one(&actor, few)).await?.0;
    bench.row("allocations per actor call, in process, sync", sync, None);
    let put_and_get = async {
        for x in 0..few {
            actinic::get(&actinic::put(&x).await?).await?;
        }
        Ok(())
    };
    bench.row("allocations per put and get, small", per(few, put_and_get).await?.0, None);
    let large = actinic::put(&Buffer::from(vec![7u8; LARGE])).await?;
    let gets = async {
        for _ in 0..few {
            check(actinic::get(&large).await?.len() == LARGE, "a large object")?;
        }
        Ok(())
    };
    bench.row("allocations per get of a large local object", per(few, gets).await?.0, None);
    let refs = bench.size(1_000, 50);
    wait_round(refs).await?;
    let waits = async {
        for _ in 0..few / 50 {
            wait_round(refs).await?;
        }
        Ok(())
    };
    bench.row("allocations per ref, wait on 1k refs one at a time", per(few / 50 * refs, waits).await?.0, None);
    Ok(())
}

async fn one_by_one(actor: &Handle<Echo>, count: i64) -> Result<()> {
    for x in 0..count {
        check(actor.echo(x).await? == x, "an actor's answer")?;
    }
    Ok(())
}

async fn singles(count: i64) -> Result<()> {
    for x in 0..count {
        single(x).await?;
    }
    Ok(())
}

pub(crate) async fn embedded(bench: &Bench<'_>) -> Result<()> {
    let cluster = super::embedded().await?;
    embedded_rows(bench, bench.size(100_000, 1_000), bench.size(2_000, 50)).await?;
    Ok(cluster.shutdown().await?)
}

pub(crate) async fn over_quic(bench: &Bench<'_>) -> Result<()> {
    let (many, few) = (bench.size(100_000, 1_000), bench.size(2_000, 50));
    let cluster = actinic::init().num_cpus(1).workers(Workers::Processes).await?;
    burst(many).await?;
    let before = worker_allocations::remote().await?;
    let driver = per(many, burst(many)).await?.0;
    let worker = (worker_allocations::remote().await? - before) as f64 / many as f64;
    bench.row("allocations per task, worker process, the driver's, 100k in flight", driver, None);
    bench.row("allocations per task, worker process, the worker's, 100k in flight", worker, None);
    let before = worker_allocations::remote().await?;
    let driver = per(few, singles(few)).await?.0;
    let worker = (worker_allocations::remote().await? - before) as f64 / few as f64;
    bench.row("allocations per task, worker process, the driver's, sync", driver, None);
    bench.row("allocations per task, worker process, the worker's, sync", worker, None);
    let actor = Echo::remote();
    calls(&actor, many).await?;
    let before = actor.allocations().await?;
    let driver = per(many, calls(&actor, many)).await?.0;
    let worker = (actor.allocations().await? - before) as f64 / many as f64;
    bench.row("allocations per actor call, over QUIC, the driver's, 100k in flight", driver, None);
    bench.row("allocations per actor call, over QUIC, the worker's, 100k in flight", worker, None);
    let before = actor.allocations().await?;
    let driver = per(few, one_by_one(&actor, few)).await?.0;
    let worker = (actor.allocations().await? - before) as f64 / few as f64;
    bench.row("allocations per actor call, over QUIC, the driver's, sync", driver, None);
    bench.row("allocations per actor call, over QUIC, the worker's, sync", worker, None);
    drop(actor);
    Ok(cluster.shutdown().await?)
}
