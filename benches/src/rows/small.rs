//! Objects: put, get, wait, many refs; and tasks in tasks.

use actinic::prelude::*;

use super::{echo, embedded, warm};
use crate::Result;
use crate::measure::{Bench, Samples, check, rate, seconds};

/// A task whose argument is many refs; it gets them all.
#[actinic::remote]
async fn sum(refs: Vec<ObjectRef<i64>>) -> actinic::Result<i64> {
    Ok(actinic::get(&refs).await?.into_iter().sum())
}

#[actinic::remote]
async fn holder(count: i64) -> actinic::Result<Vec<ObjectRef<i64>>> {
    let mut refs = Vec::new();
    for x in 0..count {
        refs.push(actinic::put(&x).await?);
    }
    Ok(refs)
}

#[actinic::remote]
async fn outer(count: i64) -> actinic::Result<i64> {
    let refs: Vec<ObjectRef<i64>> = (0..count).map(echo::remote).collect();
    Ok(actinic::get(&refs).await?.into_iter().sum())
}

#[actinic::remote]
fn outer_blocking(count: i64) -> actinic::Result<i64> {
    let refs: Vec<ObjectRef<i64>> = (0..count).map(echo::remote).collect();
    Ok(actinic::get(&refs).blocking()?.into_iter().sum())
}

async fn put_and_get(bench: &Bench<'_>) -> Result<()> {
    let one = actinic::put(&7i64).await?;
    let [mut got, mut put] = [const { Samples::new() }; 2];
    for _ in 0..bench.rounds() {
        let get_all = async || {
            for _ in 0..1_000 {
                check(actinic::get(&one).await? == 7, "what was put")?;
            }
            Ok(())
        };
        got.add(rate(bench.span(), 1_000, get_all).await?);
        let put_all = async || {
            for x in 0..1_000i64 {
                drop(actinic::put(&x).await?);
            }
            Ok(())
        };
        put.add(rate(bench.span(), 1_000, put_all).await?);
    }
    bench.row("get small object", got, None);
    bench.row("put small object", put, None);
    Ok(())
}

/// Submits a thousand tasks, then waits for one at a time until none is left.
pub(crate) async fn wait_round(count: i64) -> Result<()> {
    let mut pending: Vec<ObjectRef<i64>> = (0..count).map(echo::remote).collect();
    let mut sum = 0;
    while !pending.is_empty() {
        let (ready, rest) = actinic::wait(pending).num_returns(1).await?;
        check(ready.len() == 1, "one ref at a time")?;
        sum += ready.len() as i64;
        pending = rest;
    }
    check(sum == count, "every ref once")
}

async fn ten_thousand(bench: &Bench<'_>, refs: &[ObjectRef<i64>], got: &str, passed: &str) -> Result<()> {
    let count = refs.len() as i64;
    let [mut read, mut args] = [const { Samples::new() }; 2];
    for _ in 0..bench.rounds() * 2 {
        let get = async { check(actinic::get(refs).await?.into_iter().eq(0..count), "ten thousand values") };
        read.add(seconds(get).await? * 1e3);
        let pass = async { check(sum::remote(refs.to_vec()).await? == count * (count - 1) / 2, "their sum") };
        args.add(seconds(pass).await? * 1e3);
    }
    bench.row(got, read, None);
    bench.row(passed, args, None);
    Ok(())
}

async fn nested(bench: &Bench<'_>) -> Result<()> {
    let [mut asynchronous, mut blocking] = [const { Samples::new() }; 2];
    for _ in 0..bench.size(100, 3) {
        let run = async {
            let refs: Vec<ObjectRef<i64>> = (0..5).map(|_| outer::remote(10)).collect();
            check(actinic::get(&refs).await? == [45; 5], "nested tasks")
        };
        asynchronous.add(seconds(run).await? * 1e3);
        let run = async {
            let refs: Vec<ObjectRef<i64>> = (0..5).map(|_| outer_blocking::remote(10)).collect();
            check(actinic::get(&refs).await? == [45; 5], "nested tasks")
        };
        blocking.add(seconds(run).await? * 1e3);
    }
    bench.row("nested tasks 5 x 10", asynchronous, None);
    bench.row("nested tasks 5 x 10, .blocking() inside", blocking, None);
    Ok(())
}

pub(crate) async fn all(bench: &Bench<'_>) -> Result<()> {
    let cluster = embedded().await?;
    warm(bench).await?;
    let any = |names: &[&str]| names.iter().any(|name| bench.wants(name));
    if any(&["get small object", "put small object"]) {
        put_and_get(bench).await?;
    }
    if any(&["wait on 1k refs one at a time"]) {
        let mut rounds = Samples::new();
        for _ in 0..bench.rounds() {
            rounds.add(rate(bench.span(), 1, async || wait_round(bench.size(1_000, 50)).await).await?);
        }
        bench.row("wait on 1k refs one at a time", rounds, None);
    }
    let count = bench.size(10_000, 200);
    if any(&["get on 10k results", "10k results as arguments of one task"]) {
        let results: Vec<ObjectRef<i64>> = (0..count).map(echo::remote).collect();
        let (_, pending) = actinic::wait(&results).num_returns(results.len()).await?;
        check(pending.is_empty(), "all results are there")?;
        ten_thousand(bench, &results, "get on 10k results", "10k results as arguments of one task").await?;
    }
    if any(&["get on 10k put objects", "10k objects as arguments of one task"]) {
        let mut objects = Vec::new();
        for x in 0..count {
            objects.push(actinic::put(&x).await?);
        }
        ten_thousand(bench, &objects, "get on 10k put objects", "10k objects as arguments of one task").await?;
    }
    if any(&["get object containing 10k refs"]) {
        let held = holder::remote(count);
        let mut gets = Samples::new();
        for _ in 0..bench.rounds() {
            let get = async || check(actinic::get(&held).await?.len() == count as usize, "ten thousand refs");
            gets.add(rate(bench.span(), 1, get).await?);
        }
        bench.row("get object containing 10k refs", gets, None);
    }
    if any(&["nested tasks 5 x 10", "nested tasks 5 x 10, .blocking() inside"]) {
        nested(bench).await?;
    }
    Ok(cluster.shutdown().await?)
}
