//! Tasks: many in flight, one at a time, and from two submitters.

use actinic::prelude::*;

use super::{burst, embedded, processes, single, single_blocking, warm};
use crate::Result;
use crate::measure::{Bench, Samples, Trips, check, rate, trips};
use crate::raw::mailbox::{Channel, Inbox, Mailbox};
use crate::raw::quic::{Mode, Peer};
use crate::raw::threads::{Echo, trips_on_two_cores};

const MANY: usize = 100_000;

pub(crate) async fn embedded_rate(bench: &Bench<'_>) -> Result<()> {
    let (mailbox, channel, inbox) = (Mailbox::start()?, Channel::start(), Inbox::start(MANY));
    let cluster = embedded().await?;
    warm(bench).await?;
    let span = bench.span();
    let [mut with_mailbox, mut with_channel, mut with_inbox] = [const { Samples::new() }; 3];
    for (name, count) in [("10k", 10_000), ("100k", MANY)] {
        let count = bench.size(count, 1_000);
        let [mut raw, mut ours] = [const { Samples::new() }; 2];
        for _ in 0..bench.rounds() {
            let calls = count as i64;
            with_mailbox.add(rate(span / 4, count, async || mailbox.burst(calls).await).await?);
            let by_channel = rate(span / 4, count, async || channel.burst(calls).await).await?;
            with_inbox.add(rate(span / 4, count, async || inbox.burst(calls)).await?);
            with_channel.add(by_channel);
            raw.add(by_channel);
            ours.add(rate(span, count, async || burst(calls).await).await?);
        }
        bench.row(&format!("embedded: tasks async, {name} in flight"), ours, Some(raw.median()));
    }
    bench.row("raw: actix mailbox + oneshot, other thread", with_mailbox, None);
    bench.row("raw: tokio mpsc + oneshot, other thread", with_channel, None);
    bench.row("raw: shared inbox + result table, other thread", with_inbox, None);
    Ok(cluster.shutdown().await?)
}

/// Round trips of tasks from a thread that blocks.
fn blocking_trips(cluster: &Cluster, count: usize) -> Result<Trips> {
    let work = || {
        let _scope = cluster.enter();
        let mut took = Vec::with_capacity(count);
        for n in 0..count as i64 {
            let begun = std::time::Instant::now();
            single_blocking(n)?;
            took.push(begun.elapsed());
        }
        Ok(Trips::of(took))
    };
    std::thread::scope(|scope| scope.spawn(work).join()).map_err(|_| "a panic while measuring")?
}

pub(crate) async fn embedded_sync(bench: &Bench<'_>) -> Result<()> {
    let (raw, channel) = (Echo::start(), Channel::start());
    let cluster = embedded().await?;
    warm(bench).await?;
    let count = bench.size(500, 50);
    let [mut floor, mut apart, mut awaited, mut p50, mut p99, mut blocking] = [const { Samples::new() }; 6];
    for _ in 0..bench.rounds() * 2 {
        floor.add(raw.trips(count).p50);
        apart.add(trips_on_two_cores(count).ok_or("a panic while measuring")?.p50);
        awaited.add(trips(count, async |_| channel.burst(1).await).await?.p50);
        let ours = trips(count, single).await?;
        p50.add(ours.p50);
        p99.add(ours.p99);
        blocking.add(blocking_trips(&cluster, count)?.p50);
    }
    let limit = Some(apart.median());
    bench.row("embedded: task sync, p50", p50, limit);
    bench.row("embedded: task sync, p99", p99, None);
    bench.row("embedded: task sync, .blocking(), p50", blocking, limit);
    bench.row("raw: two wake-ups, each of a core that sleeps, p50", apart, None);
    bench.row("raw: two wake-ups, threads where the scheduler puts them, p50", floor, None);
    bench.row("raw: tokio mpsc + oneshot, awaited on a tokio runtime, p50", awaited, None);
    Ok(cluster.shutdown().await?)
}

pub(crate) async fn process_rate(bench: &Bench<'_>) -> Result<()> {
    let peer = Peer::start()?;
    let (reader, thread) = (peer.tasks(Mode::TasksOnReader, MANY)?, peer.tasks(Mode::TasksOnThread, MANY)?);
    let cluster = processes().await?;
    warm(bench).await?;
    let span = bench.span();
    let [mut on_reader, mut on_thread] = [const { Samples::new() }; 2];
    for (name, count) in [("10k", 10_000), ("100k", MANY)] {
        let count = bench.size(count, 1_000);
        let [mut raw, mut ours] = [const { Samples::new() }; 2];
        for _ in 0..bench.rounds() {
            let calls = count as i64;
            let by_reader = rate(span / 4, count, async || reader.burst(calls)).await?;
            on_thread.add(rate(span / 4, count, async || thread.burst(calls)).await?);
            on_reader.add(by_reader);
            raw.add(by_reader);
            ours.add(rate(span, count, async || burst(calls).await).await?);
        }
        bench.row(&format!("worker process over QUIC: tasks async, {name} in flight"), ours, Some(raw.median()));
    }
    bench.row("raw: QUIC tasks, run on the reader's thread", on_reader, None);
    bench.row("raw: QUIC tasks, run on a thread of their own", on_thread, None);
    Ok(cluster.shutdown().await?)
}

pub(crate) async fn process_sync(bench: &Bench<'_>) -> Result<()> {
    let peer = Peer::start()?;
    let raw = peer.hand_off()?;
    let cluster = processes().await?;
    warm(bench).await?;
    let count = bench.size(500, 50);
    let [mut floor, mut bare, mut p50, mut p99, mut blocking] = [const { Samples::new() }; 5];
    for _ in 0..bench.rounds() * 2 {
        floor.add(raw.trips(count)?.p50);
        bare.add(peer.bare(count)?.p50);
        let ours = trips(count, single).await?;
        p50.add(ours.p50);
        p99.add(ours.p99);
        blocking.add(blocking_trips(&cluster, count)?.p50);
    }
    let limit = Some(floor.median());
    bench.row("worker process over QUIC: task sync, p50", p50, limit);
    bench.row("worker process over QUIC: task sync, p99", p99, None);
    bench.row("worker process over QUIC: task sync, .blocking(), p50", blocking, limit);
    bench.row("raw: QUIC round trip, hand-off at both ends, p50", floor, None);
    bench.row("raw: QUIC round trip, bare, p50", bare, None);
    Ok(cluster.shutdown().await?)
}

// ---- two submitters

/// An actor that submits tasks, as another client of the cluster does.
pub(crate) struct Client;

#[actinic::remote]
impl Client {
    pub(crate) fn new() -> Self {
        Client
    }

    pub(crate) async fn tasks(&self, count: i64) -> actinic::Result<i64> {
        let refs: Vec<ObjectRef<i64>> = (0..count).map(super::echo::remote).collect();
        Ok(actinic::get(&refs).await?.into_iter().sum())
    }
}

/// Actors that each submit so many tasks and get them.
pub(crate) async fn submit(clients: &[Handle<Client>], count: i64) -> Result<()> {
    let sums: Vec<ObjectRef<i64>> = clients.iter().map(|client| client.tasks(count)).collect();
    let sums = actinic::get(&sums).await?;
    check(sums.into_iter().all(|sum| sum == count * (count - 1) / 2), "the sum of the tasks of a client")
}

fn submit_from_threads(cluster: &Cluster, threads: usize, count: i64) -> Result<()> {
    let work = || -> Result<()> {
        let _scope = cluster.enter();
        let refs: Vec<ObjectRef<i64>> = (0..count).map(super::echo::remote).collect();
        check(actinic::get(&refs).blocking()?.into_iter().eq(0..count), "echo")
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a panic while measuring")?)
    })
}

pub(crate) async fn submitters(bench: &Bench<'_>) -> Result<()> {
    let cluster = embedded().await?;
    warm(bench).await?;
    let clients: Vec<Handle<Client>> = (0..2).map(|_| Client::remote()).collect();
    let count = bench.size(10_000, 500);
    submit(&clients, count).await?;
    let span = bench.span();
    let [mut two, mut times, mut times_threads] = [const { Samples::new() }; 3];
    for _ in 0..bench.rounds() {
        let calls = count as usize;
        let one = rate(span, calls, async || submit(&clients[..1], count).await).await?;
        let both = rate(span, calls * 2, async || submit(&clients, count).await).await?;
        two.add(both);
        times.add(both / one);
        let one = rate(span, calls, async || submit_from_threads(&cluster, 1, count)).await?;
        let both = rate(span, calls * 2, async || submit_from_threads(&cluster, 2, count)).await?;
        times_threads.add(both / one);
    }
    bench.row("multi client tasks async (2 submitters)", two, None);
    bench.row("multi client tasks async (2 submitters), times one", times, None);
    bench.row("tasks async from 2 driver threads, times one", times_threads, None);
    drop(clients);
    Ok(cluster.shutdown().await?)
}
