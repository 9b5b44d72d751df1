//! Actor calls, and many actors.

use std::collections::BTreeSet;
use std::time::Instant;

use actinic::prelude::*;

use super::{echo, embedded, processes};
use crate::measure::{Bench, Samples, check, rate, trips};
use crate::raw::mailbox::Mailbox;
use crate::raw::quic::{Mode, Peer};
use crate::raw::threads::trips_on_two_cores;
use crate::{Result, machine};

/// Counts its calls, so that none can be lost or made twice unseen.
pub(crate) struct Echo {
    calls: i64,
}

#[actinic::remote]
impl Echo {
    pub(crate) fn new() -> Self {
        Echo { calls: 0 }
    }

    pub(crate) fn echo(&mut self, x: i64) -> i64 {
        self.calls += 1;
        x
    }

    pub(crate) fn calls(&self) -> i64 {
        self.calls
    }

    pub(crate) fn length(&self, text: String) -> i64 {
        text.len() as i64
    }

    /// How often this process has allocated so far.
    pub(crate) fn allocations(&self) -> u64 {
        crate::alloc::allocated().map_or(0, |allocated| allocated.calls)
    }

    pub(crate) fn pid(&self) -> u32 {
        std::process::id()
    }
}

/// The same with an async method, whose calls overlap.
pub(crate) struct AsyncEcho;

#[actinic::remote]
impl AsyncEcho {
    pub(crate) fn new() -> Self {
        AsyncEcho
    }

    pub(crate) async fn echo(&self, x: i64) -> i64 {
        x
    }
}

/// An actor that calls others.
pub(crate) struct Caller;

#[actinic::remote]
impl Caller {
    pub(crate) fn new() -> Self {
        Caller
    }

    /// A task of its own, awaited.
    pub(crate) async fn runs(&self, x: i64) -> actinic::Result<i64> {
        echo::remote(x).await
    }

    /// `count` calls of each, all in flight together; the sum of what they answer.
    pub(crate) async fn calls(&self, servers: Vec<Handle<Echo>>, count: i64) -> actinic::Result<i64> {
        let refs: Vec<ObjectRef<i64>> =
            servers.iter().flat_map(|server| (0..count).map(move |x| server.echo(x))).collect();
        Ok(actinic::get(&refs).await?.into_iter().sum())
    }
}

/// Calls that are all in flight together; every result is checked.
pub(crate) async fn calls(actor: &Handle<Echo>, count: i64) -> Result<()> {
    let refs: Vec<ObjectRef<i64>> = (0..count).map(|x| actor.echo(x)).collect();
    check(actinic::get(&refs).await?.into_iter().eq(0..count), "echo")
}

/// Callers that each call each of the servers so often, all in flight together.
pub(crate) async fn calls_of_each(callers: &[Handle<Caller>], servers: &[Handle<Echo>], count: i64) -> Result<()> {
    let sums: Vec<ObjectRef<i64>> = callers.iter().map(|caller| caller.calls(servers.to_vec(), count)).collect();
    let right = servers.len() as i64 * count * (count - 1) / 2;
    check(actinic::get(&sums).await?.into_iter().all(|sum| sum == right), "the sum of a caller's calls")
}

/// Calls of many actors, each in its turn, that are all in flight together.
async fn in_turn(actors: &[Handle<Echo>], count: i64) -> Result<()> {
    let refs: Vec<ObjectRef<i64>> = actors.iter().cycle().zip(0..count).map(|(actor, x)| actor.echo(x)).collect();
    check(actinic::get(&refs).await?.into_iter().eq(0..count), "echo")
}

pub(crate) async fn async_calls(actor: &Handle<AsyncEcho>, count: i64) -> Result<()> {
    let refs: Vec<ObjectRef<i64>> = (0..count).map(|x| actor.echo(x)).collect();
    check(actinic::get(&refs).await?.into_iter().eq(0..count), "echo")
}

pub(crate) async fn in_process(bench: &Bench<'_>) -> Result<()> {
    let mailbox = Mailbox::start()?;
    let cluster = embedded().await?;
    let (count, singles, span) = (bench.size(10_000, 500), bench.size(500, 50), bench.span());
    let size = count as usize;
    let actor = Echo::remote();
    calls(&actor, count).await?;
    let [mut raw, mut two_wakes, mut many, mut p50] = [const { Samples::new() }; 4];
    for _ in 0..bench.rounds() {
        raw.add(rate(span / 4, size, async || mailbox.burst(count).await).await?);
        many.add(rate(span, size, async || calls(&actor, count).await).await?);
        two_wakes.add(trips_on_two_cores(singles).ok_or("a panic while measuring")?.p50);
        p50.add(trips(singles, async |x| check(actor.echo(x).await? == x, "echo")).await?.p50);
    }
    check(actor.calls().await? > 0, "the actor has counted its calls")?;
    bench.row("1:1 actor calls async, in process", many.clone(), Some(raw.median()));
    bench.row("1:1 actor call sync p50, in process", p50, Some(two_wakes.median()));

    let actor = AsyncEcho::remote();
    async_calls(&actor, count).await?;
    let [mut async_many, mut async_p50, mut two_wakes] = [const { Samples::new() }; 3];
    for _ in 0..bench.rounds() {
        async_many.add(rate(span, size, async || async_calls(&actor, count).await).await?);
        two_wakes.add(trips_on_two_cores(singles).ok_or("a panic while measuring")?.p50);
        async_p50.add(trips(singles, async |x| check(actor.echo(x).await? == x, "echo")).await?.p50);
    }
    bench.row("async-actor calls async", async_many, Some(raw.median()));
    bench.row("async-actor calls sync p50", async_p50, Some(two_wakes.median()));

    let eight: Vec<Handle<Echo>> = (0..8).map(|_| Echo::remote()).collect();
    in_turn(&eight, count).await?;
    let mut turns = Samples::new();
    for _ in 0..bench.rounds() {
        turns.add(rate(span, size, async || in_turn(&eight, count).await).await?);
    }
    bench.row("1:n actor calls async (8 actors in turn)", turns, None);
    drop(eight);

    let servers: Vec<Handle<Echo>> = (0..2).map(|_| Echo::remote()).collect();
    let callers: Vec<Handle<Caller>> = (0..2).map(|_| Caller::remote()).collect();
    let one = Echo::remote();
    let all = async || calls_of_each(&callers, &servers, count).await;
    all().await?;
    calls(&one, count).await?;
    let [mut both, mut times] = [const { Samples::new() }; 2];
    for _ in 0..bench.rounds() {
        let alone = rate(span, size, async || calls(&one, count).await).await?;
        let together = rate(span, size * 4, &all).await?;
        both.add(together);
        times.add(together / alone);
    }
    bench.row("n:n actor calls async (2 × 2)", both, None);
    bench.row("n:n actor calls async (2 × 2), times 1:1", times, None);
    Ok(cluster.shutdown().await?)
}

pub(crate) async fn over_quic(bench: &Bench<'_>) -> Result<()> {
    let (count, singles, span) = (bench.size(10_000, 500), bench.size(500, 50), bench.span());
    let size = count as usize;
    let peer = Peer::start()?;
    let (raw_tasks, raw_trips) = (peer.tasks(Mode::TasksOnReader, size)?, peer.hand_off()?);
    let cluster = processes().await?;
    let actor = Echo::remote();
    check(actor.pid().await? != std::process::id(), "the actor has a process of its own")?;
    calls(&actor, count).await?;
    let [mut raw, mut limit, mut many, mut p50] = [const { Samples::new() }; 4];
    for _ in 0..bench.rounds() {
        raw.add(rate(span / 4, size, async || raw_tasks.burst(count)).await?);
        many.add(rate(span, size, async || calls(&actor, count).await).await?);
        limit.add(raw_trips.trips(singles)?.p50);
        p50.add(trips(singles, async |x| check(actor.echo(x).await? == x, "echo")).await?.p50);
    }
    bench.row("1:1 actor calls async, over QUIC", many, Some(raw.median()));
    bench.row("1:1 actor call sync p50, over QUIC", p50, Some(limit.median()));
    drop(actor);
    Ok(cluster.shutdown().await?)
}

pub(crate) async fn many_shared(bench: &Bench<'_>) -> Result<()> {
    let cluster = embedded().await?;
    calls(&Echo::options().isolation(Isolation::Shared).remote(), 100).await?;
    let count = bench.size(100_000, 1_000);
    let before = machine::resident();
    let begun = Instant::now();
    let actors: Vec<Handle<Echo>> = (0..count).map(|_| Echo::options().isolation(Isolation::Shared).remote()).collect();
    let refs: Vec<ObjectRef<i64>> = actors.iter().zip(0..).map(|(actor, x)| actor.echo(x)).collect();
    check(actinic::get(&refs).await?.into_iter().eq(0..count), "echo")?;
    let took = begun.elapsed().as_secs_f64();
    drop(refs);
    tokio::time::sleep(bench.size(Duration::from_millis(500), Duration::ZERO)).await;
    bench.row("100,000 shared actors created and called", took * 100_000.0 / count as f64, None);
    bench.row("memory of an idle actor, shared", (machine::resident() - before) / count as f64, None);
    drop(actors);
    Ok(cluster.shutdown().await?)
}

/// Actors that each run a task, all at once: as many owners ask for leases as there are actors.
pub(crate) async fn many_owners(bench: &Bench<'_>) -> Result<()> {
    let cluster = embedded().await?;
    let count = bench.size(2_000, 100);
    let actors: Vec<Handle<Caller>> =
        (0..count).map(|_| Caller::options().isolation(Isolation::Shared).remote()).collect();
    let all = async || -> Result<()> {
        let refs: Vec<ObjectRef<i64>> = actors.iter().zip(0..).map(|(actor, x)| actor.runs(x)).collect();
        check(actinic::get(&refs).await?.into_iter().eq(0..count), "a task's result")
    };
    let mut took = Samples::new();
    for _ in 0..bench.rounds() {
        let begun = Instant::now();
        all().await?;
        took.add(begun.elapsed().as_secs_f64() * 2_000.0 / count as f64);
    }
    bench.row("2,000 actors that each run a task", took, None);
    drop(actors);
    Ok(cluster.shutdown().await?)
}

pub(crate) async fn many_processes(bench: &Bench<'_>) -> Result<()> {
    let cluster = processes().await?;
    super::single(1).await?;
    let count = bench.size(50, 4);
    let [mut took, mut memory] = [const { Samples::new() }; 2];
    for _ in 0..bench.size(3, 1) {
        let begun = Instant::now();
        let actors: Vec<Handle<Echo>> = (0..count).map(|_| Echo::remote()).collect();
        let refs: Vec<ObjectRef<u32>> = actors.iter().map(|actor| actor.pid()).collect();
        let pids: BTreeSet<u32> = actinic::get(&refs).await?.into_iter().collect();
        took.add(begun.elapsed().as_secs_f64() * 50.0 / count as f64);
        check(pids.len() == count && !pids.contains(&std::process::id()), "each actor has a process")?;
        tokio::time::sleep(bench.size(Duration::from_millis(500), Duration::ZERO)).await;
        memory.add(pids.iter().map(|pid| machine::pss(*pid)).sum::<f64>() / count as f64);
        drop(actors);
        tokio::time::sleep(bench.size(Duration::from_secs(1), Duration::from_millis(100))).await;
    }
    bench.row("50 process actors created and called", took, None);
    bench.row("memory of an idle actor, process, PSS", memory, None);
    Ok(cluster.shutdown().await?)
}
