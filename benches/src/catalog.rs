//! The rows: their names, units, goals, and what Ray does for the same work.
//!
//! A name is that of ANCHORS.md, where that has the work; what it has in one line with a slash is a row each here ("1:1 actor
//! calls async, in process / over QUIC", "get / put small object"; what it calls "ray.get" is "get" here). With a comma behind it
//! a row says in which of our ways it is done ("shutdown, embedded"), or what else of the same work it is ("p99", ".blocking()",
//! "times 1:1"). The rest has names of our own: `raw:` programs, the cost per task at each size and the ratios of those, two
//! nodes, tasks in tasks, actors in numbers ("created and called"), the idle cluster (ours has one worker and no dashboard),
//! what is left after a shutdown, and allocations.

/// What a row should reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// At most so many times the raw figure of the same run.
    TimesRaw(f64),
    None,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) goal: Goal,
    /// The name of the work in `ray_work.py`.
    pub(crate) ray: Option<&'static str>,
}

const fn row(group: &'static str, name: &'static str, unit: &'static str, goal: Goal, ray: &'static str) -> Metric {
    let ray = if ray.is_empty() { None } else { Some(ray) };
    Metric { group, name, unit, goal, ray }
}

use Goal::{AtLeast, AtMost, None as Nothing, TimesRaw};

/// Every row, group by group, in the order of the table. A group is one process.
pub(crate) const METRICS: &[Metric] = &[
    row("embedded-rate", "embedded: tasks async, 10k in flight", "/s", AtLeast(1e6), "tasks_async_10k"),
    row("embedded-rate", "embedded: tasks async, 100k in flight", "/s", AtLeast(1e6), "tasks_async_100k"),
    row("embedded-rate", "raw: actix mailbox + oneshot, other thread", "/s", Nothing, ""),
    row("embedded-rate", "raw: tokio mpsc + oneshot, other thread", "/s", Nothing, ""),
    row("embedded-rate", "raw: shared inbox + result table, other thread", "/s", Nothing, ""),
    row("embedded-sync", "embedded: task sync, p50", "us", TimesRaw(1.3), "task_sync_p50"),
    row("embedded-sync", "embedded: task sync, p99", "us", Nothing, "task_sync_p99"),
    row("embedded-sync", "embedded: task sync, .blocking(), p50", "us", TimesRaw(1.3), "task_sync_p50"),
    row("embedded-sync", "raw: two wake-ups, each of a core that sleeps, p50", "us", Nothing, ""),
    row("embedded-sync", "raw: two wake-ups, threads where the scheduler puts them, p50", "us", Nothing, ""),
    row("embedded-sync", "raw: tokio mpsc + oneshot, awaited on a tokio runtime, p50", "us", Nothing, ""),
    row("process-rate", "worker process over QUIC: tasks async, 10k in flight", "/s", AtLeast(5e5), "tasks_async_10k"),
    row(
        "process-rate",
        "worker process over QUIC: tasks async, 100k in flight",
        "/s",
        AtLeast(5e5),
        "tasks_async_100k",
    ),
    row("process-rate", "raw: QUIC tasks, run on the reader's thread", "/s", Nothing, ""),
    row("process-rate", "raw: QUIC tasks, run on a thread of their own", "/s", Nothing, ""),
    row("process-sync", "worker process over QUIC: task sync, p50", "us", TimesRaw(1.5), "task_sync_p50"),
    row("process-sync", "worker process over QUIC: task sync, p99", "us", Nothing, "task_sync_p99"),
    row("process-sync", "worker process over QUIC: task sync, .blocking(), p50", "us", TimesRaw(1.5), "task_sync_p50"),
    row("process-sync", "raw: QUIC round trip, hand-off at both ends, p50", "us", Nothing, ""),
    row("process-sync", "raw: QUIC round trip, bare, p50", "us", Nothing, ""),
    row("actors", "1:1 actor calls async, in process", "/s", AtLeast(1.5e6), "actor_async"),
    row("actors", "1:1 actor call sync p50, in process", "us", TimesRaw(1.3), "actor_sync_p50"),
    row("actors", "async-actor calls async", "/s", AtLeast(1.5e6), "async_actor_async"),
    row("actors", "async-actor calls sync p50", "us", TimesRaw(1.3), "async_actor_sync_p50"),
    row("actors", "1:n actor calls async (8 actors in turn)", "/s", Nothing, ""),
    row("actors", "n:n actor calls async (2 × 2)", "/s", Nothing, "nn_async"),
    row("actors", "n:n actor calls async (2 × 2), times 1:1", "x", AtLeast(1.5), "nn_times"),
    row("actors-quic", "1:1 actor calls async, over QUIC", "/s", AtLeast(5e5), "actor_async"),
    row("actors-quic", "1:1 actor call sync p50, over QUIC", "us", TimesRaw(1.5), "actor_sync_p50"),
    row("submitters", "multi client tasks async (2 submitters)", "/s", Nothing, "two_clients"),
    row("submitters", "multi client tasks async (2 submitters), times one", "x", AtLeast(1.5), "two_clients_times"),
    row("submitters", "tasks async from 2 driver threads, times one", "x", AtLeast(1.5), ""),
    row("small", "get small object", "/s", AtLeast(3e6), "get_small"),
    row("small", "put small object", "/s", AtLeast(2e6), "put_small"),
    row("small", "wait on 1k refs one at a time", "rounds/s", AtLeast(1e3), "wait_1k"),
    row("small", "get on 10k results", "ms", AtMost(3.0), "got_10k_results"),
    row("small", "10k results as arguments of one task", "ms", AtMost(20.0), "args_10k_results"),
    row("small", "get on 10k put objects", "ms", AtMost(5.0), "got_10k_objects"),
    row("small", "10k objects as arguments of one task", "ms", AtMost(30.0), "args_10k_objects"),
    row("small", "get object containing 10k refs", "/s", AtLeast(500.0), "holder_10k"),
    row("small", "nested tasks 5 x 10", "ms", AtMost(1.0), "nested"),
    row("small", "nested tasks 5 x 10, .blocking() inside", "ms", Nothing, "nested"),
    row("growth", "embedded: cost per task, 1k queued", "us", Nothing, "cost_1k"),
    row("growth", "embedded: cost per task, 10k queued", "us", Nothing, "cost_10k"),
    row("growth", "embedded: cost per task, 100k queued", "us", Nothing, "cost_100k"),
    row("growth", "embedded: cost per task, 1M queued", "us", Nothing, ""),
    row("growth", "embedded: cost per task, 1M over 1k queued", "x", AtMost(1.2), ""),
    row("growth", "embedded: cost per task, dearest over cheapest of the sizes", "x", AtMost(1.2), ""),
    row("growth-quic", "worker process: cost per task, 1k queued", "us", Nothing, "cost_1k"),
    row("growth-quic", "worker process: cost per task, 10k queued", "us", Nothing, "cost_10k"),
    row("growth-quic", "worker process: cost per task, 100k queued", "us", Nothing, "cost_100k"),
    row("growth-quic", "worker process: cost per task, 1M queued", "us", Nothing, ""),
    row("growth-quic", "worker process: cost per task, 1M over 1k queued", "x", AtMost(1.2), ""),
    row("growth-quic", "worker process: cost per task, dearest over cheapest of the sizes", "x", AtMost(1.2), ""),
    row("memory", "embedded: driver memory per queued task (100k)", "B", AtMost(600.0), "memory_100k"),
    row("memory", "embedded: driver memory per queued task (1M)", "B", AtMost(600.0), ""),
    row("memory-quic", "worker process: driver memory per queued task (100k)", "B", AtMost(600.0), "memory_100k"),
    row("memory-quic", "worker process: driver memory per queued task (1M)", "B", AtMost(600.0), ""),
    row("start", "init to first result, embedded", "ms", AtMost(10.0), "boot"),
    row("start", "init to first result, worker process", "ms", AtMost(30.0), "boot"),
    row("daemons", "start --head until status answers", "ms", AtMost(150.0), ""),
    row("daemons", "two nodes, SPREAD, 200 no-op tasks: share of the busier", "", AtMost(0.55), ""),
    row("idle", "idle: head + one worker process, PSS", "MiB", AtMost(25.0), "idle_pss"),
    row("idle", "idle: head + one worker process, processor", "% of a core", AtMost(0.3), "idle_cpu"),
    row("shutdown", "shutdown, embedded", "ms", AtMost(100.0), "shutdown"),
    row("shutdown", "shutdown, worker processes", "ms", AtMost(100.0), "shutdown"),
    row("shutdown", "shutdown: processes, files, shared memory, descriptors left", "things", AtMost(0.0), ""),
    row("many-actors", "100,000 shared actors created and called", "s", AtMost(2.0), ""),
    row("many-actors", "memory of an idle actor, shared", "B", AtMost(2048.0), ""),
    row("many-owners", "2,000 actors that each run a task", "s", Nothing, ""),
    row("process-actors", "50 process actors created and called", "s", AtMost(0.5), "actors_50"),
    row("process-actors", "memory of an idle actor, process, PSS", "MiB", AtMost(5.0), "actor_pss"),
    row("allocs", "allocations per task, embedded, 100k in flight", "", Nothing, ""),
    row("allocs", "allocated bytes per task, embedded, 100k in flight", "B", Nothing, ""),
    row("allocs", "allocations per task, embedded, sync", "", Nothing, ""),
    row("allocs", "allocations per actor call, in process, 100k in flight", "", Nothing, ""),
    row("allocs", "allocations per actor call, in process, sync", "", Nothing, ""),
    row("allocs", "allocations per put and get, small", "", Nothing, ""),
    row("allocs", "allocations per get of a large local object", "", Nothing, ""),
    row("allocs", "allocations per ref, wait on 1k refs one at a time", "", Nothing, ""),
    row("allocs-quic", "allocations per task, worker process, the driver's, 100k in flight", "", Nothing, ""),
    row("allocs-quic", "allocations per task, worker process, the worker's, 100k in flight", "", Nothing, ""),
    row("allocs-quic", "allocations per task, worker process, the driver's, sync", "", Nothing, ""),
    row("allocs-quic", "allocations per task, worker process, the worker's, sync", "", Nothing, ""),
    row("allocs-quic", "allocations per actor call, over QUIC, the driver's, 100k in flight", "", Nothing, ""),
    row("allocs-quic", "allocations per actor call, over QUIC, the worker's, 100k in flight", "", Nothing, ""),
    row("allocs-quic", "allocations per actor call, over QUIC, the driver's, sync", "", Nothing, ""),
    row("allocs-quic", "allocations per actor call, over QUIC, the worker's, sync", "", Nothing, ""),
];

/// The groups, in order.
pub(crate) fn groups() -> Vec<&'static str> {
    let mut groups: Vec<_> = Vec::new();
    for metric in METRICS {
        if !groups.contains(&metric.group) {
            groups.push(metric.group);
        }
    }
    groups
}
