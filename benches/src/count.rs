//! What one operation of each hot path costs, counted: syscalls by name, wake-ups, packets, context switches, and the
//! threads that take part.
//!
//! A path is run under `perf stat` (or `strace -f -c`, where perf may not count) for few operations and for many,
//! and the difference is divided, so that starting and stopping cancel out. Switches and processor time are of a
//! run of their own. Where only strace is to be had, mind that it slows a program down so much that more is gathered
//! per syscall than in truth.
//!
//! The threads of a path are those that it takes processor time from, two in a hundred at least, by name and process. The
//! hops of an operation are what that leaves when one thread is taken off for each process: within a process it is
//! handed on so often, and between two of them by packets. `perf record` of who wakes whom says in which order; where
//! much is in flight nobody sleeps, and it says nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use actinic::prelude::*;

use crate::args::Options;
use crate::groups::this_program;
use crate::measure::check;
use crate::rows::actors::{AsyncEcho, Caller, Echo, async_calls, calls, calls_of_each};
use crate::rows::small::wait_round;
use crate::rows::tasks::{Client, submit};
use crate::rows::{burst, single};
use crate::{Result, machine};

const IN_FLIGHT: i64 = 10_000;
/// So many refs are waited for in a round.
const WAITED: i64 = 1_000;
/// The length of an object that lies in a store.
pub(crate) const LARGE: usize = 1 << 20;
/// A thread with a smaller share of the processor time has no part in a path.
const SHARE: f64 = 0.02;

const PATHS: &[(&str, i64)] = &[
    ("task, embedded, 10k in flight", 200_000),
    ("task, embedded, sync", 5_000),
    ("task, worker process, 10k in flight", 200_000),
    ("task, worker process, sync", 5_000),
    ("actor call, in process, 10k in flight", 200_000),
    ("actor call, in process, sync", 5_000),
    ("async actor call, in process, 10k in flight", 200_000),
    ("calls of two actors by two, in process, 40k in flight", 400_000),
    ("tasks of two actors, embedded, 20k in flight", 400_000),
    ("actor call, over QUIC, 10k in flight", 200_000),
    ("actor call, over QUIC, sync", 5_000),
    ("put and get, small", 200_000),
    ("get of a large local object", 200_000),
    ("wait on 1k refs, one at a time", 200_000),
];

/// What a path does.
enum Work {
    Tasks,
    Calls(Handle<Echo>),
    AsyncCalls(Handle<AsyncEcho>),
    /// Each of the one calls each of the other.
    CallsOfEach(Vec<Handle<Caller>>, Vec<Handle<Echo>>),
    TasksOfEach(Vec<Handle<Client>>),
    PutAndGet,
    Get(ObjectRef<Buffer>),
    Wait,
}

impl Work {
    async fn of(name: &str) -> Result<Work> {
        Ok(match name.split([' ', ',']).next() {
            Some("actor") => Work::Calls(Echo::remote()),
            Some("async") => Work::AsyncCalls(AsyncEcho::remote()),
            Some("calls") => {
                Work::CallsOfEach((0..2).map(|_| Caller::remote()).collect(), (0..2).map(|_| Echo::remote()).collect())
            }
            Some("tasks") => Work::TasksOfEach((0..2).map(|_| Client::remote()).collect()),
            Some("put") => Work::PutAndGet,
            Some("get") => Work::Get(actinic::put(&Buffer::from(vec![7u8; LARGE])).await?),
            Some("wait") => Work::Wait,
            _ => Work::Tasks,
        })
    }

    /// So many operations, of which so many are in flight together.
    async fn run(&self, count: i64, in_flight: i64) -> Result<()> {
        let mut done = 0;
        while done < count {
            let some = in_flight.min(count - done);
            match self {
                Work::Calls(actor) if some == 1 => check(actor.echo(done).await? == done, "an actor's answer")?,
                Work::Calls(actor) => calls(actor, some).await?,
                Work::AsyncCalls(actor) => async_calls(actor, some).await?,
                Work::CallsOfEach(callers, servers) => calls_of_each(callers, servers, some / 4).await?,
                Work::TasksOfEach(clients) => submit(clients, some / 2).await?,
                Work::Tasks if some == 1 => single(done).await?,
                Work::Tasks => burst(some).await?,
                Work::PutAndGet => {
                    check(actinic::get(&actinic::put(&done).await?).await? == done, "what was put")?;
                }
                Work::Get(object) => check(actinic::get(object).await?.len() == LARGE, "a large object")?,
                Work::Wait => wait_round(some).await?,
            }
            done += some;
        }
        Ok(())
    }
}

/// How many operations of a path are in flight together.
fn in_flight(name: &str) -> i64 {
    match name {
        _ if name.ends_with("10k in flight") => IN_FLIGHT,
        _ if name.ends_with("20k in flight") => 2 * IN_FLIGHT,
        _ if name.ends_with("40k in flight") => 4 * IN_FLIGHT,
        _ if name.starts_with("wait") => WAITED,
        _ => 1,
    }
}

/// Runs one path, and prints of each operation the switches, the processor time, the time, and in a line each what the
/// threads had of the processor: `--internal-part hot NAME N`.
pub(crate) async fn hot(name: &str, count: i64) -> Result<()> {
    let over_quic = name.contains("worker process") || name.contains("QUIC");
    let init = actinic::init();
    let cluster = if over_quic { init.workers(Workers::Processes).await? } else { init.await? };
    let (work, some) = (Work::of(name).await?, in_flight(name));
    work.run(1_000, some).await?;
    let mut all = machine::descendants(std::process::id());
    all.push(std::process::id());
    let (switches, threads) = (machine::switches(&all), machine::processor_by_thread(&all));
    let (processor, begun) = (machine::processor_seconds(&all), Instant::now());
    work.run(count, some).await?;
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
    for (thread, time) in machine::processor_by_thread(&all) {
        let time = time - threads.get(&thread).copied().unwrap_or(0.0);
        let process = if thread.0 == std::process::id() { "driver" } else { "worker" };
        if time >= processor * SHARE {
            println!("{process}:{} {:.3} us", thread.1, each(time * 1e6));
        }
    }
    drop(work);
    Ok(cluster.shutdown().await?)
}

pub(crate) fn run_all(options: &Options) -> Result<bool> {
    for (name, count) in PATHS.iter().filter(|(name, _)| options.wants("count", name)) {
        let count = options.size(*count, *count / 50);
        println!("{name}");
        let mut command = this_program()?;
        let done = command.args(["--internal-part", "hot", name, &count.to_string()]).output()?;
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let mut lines = text.lines();
        let figures = lines.next().unwrap_or_default().split_whitespace();
        let figures: Vec<f64> = figures.filter_map(|word| word.parse().ok()).collect();
        let [voluntary, involuntary, processor, wall] = figures[..] else {
            println!("  failed: {}", String::from_utf8_lossy(&done.stderr).trim());
            continue;
        };
        println!("  {voluntary:.4} voluntary and {involuntary:.4} involuntary context switches");
        println!("  {processor:.3} us of processor time, {wall:.3} us of time");
        println!("  threads: {}", lines.collect::<Vec<_>>().join(", "));
        let few = count / 10;
        let (before, after) = (counted(name, few)?, counted(name, count)?);
        let each = |event: &str| {
            let calls = |of: &BTreeMap<String, f64>| of.get(event).copied().unwrap_or(0.0);
            (calls(&after) - calls(&before)) / (count - few) as f64
        };
        let mut syscalls: Vec<(f64, &str)> = after.keys().map(|name| (each(name), name.as_str())).collect();
        syscalls.retain(|(_, name)| *name != ALL && *name != WAKE_UPS);
        syscalls.sort_by(|a, b| b.0.total_cmp(&a.0));
        let all = if after.contains_key(ALL) { each(ALL) } else { syscalls.iter().map(|(calls, _)| calls).sum() };
        let text = syscalls.iter().filter(|(calls, _)| *calls > 0.0 && *calls >= all / 100.0);
        let text: Vec<_> = text.map(|(calls, name)| format!("{name} {calls:.4}")).collect();
        println!("  {all:.4} syscalls: {}", text.join(", "));
        if after.contains_key(WAKE_UPS) {
            println!("  {:.4} wake-ups of a thread", each(WAKE_UPS));
            let (before, after) = (wakers(name, few)?, wakers(name, count)?);
            let each = |(pair, times): (&String, &f64)| {
                let times = (times - before.get(pair).copied().unwrap_or(0.0)) / (count - few) as f64;
                (times >= 0.01).then(|| format!("{pair} {times:.2}"))
            };
            println!("  who wakes whom: {}", after.iter().filter_map(each).collect::<Vec<_>>().join(", "));
        }
        println!("  {:.4} packets sent", ["sendmsg", "sendto", "sendmmsg"].map(each).iter().sum::<f64>());
    }
    Ok(true)
}

const ALL: &str = "all";
const WAKE_UPS: &str = "wake-ups";
const SYSCALLS: &[&str] = &[
    "brk",
    "clone3",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_wait",
    "futex",
    "getrandom",
    "madvise",
    "mmap",
    "mprotect",
    "munmap",
    "nanosleep",
    "clock_nanosleep",
    "read",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "sched_yield",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "write",
];

/// How often a path's processes made each syscall, and woke a thread.
fn counted(name: &str, count: i64) -> Result<BTreeMap<String, f64>> {
    let events = SYSCALLS.iter().map(|name| format!("syscalls:sys_enter_{name}"));
    let events: Vec<_> =
        ["raw_syscalls:sys_enter", "sched:sched_waking"].map(String::from).into_iter().chain(events).collect();
    // value,unit,event,..
    let read = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let event = match *fields.get(2)? {
            "raw_syscalls:sys_enter" => ALL,
            "sched:sched_waking" => WAKE_UPS,
            other => other.strip_prefix("syscalls:sys_enter_")?,
        };
        Some((event.to_string(), fields[0].parse().ok()?))
    };
    match traced(&["perf", "stat", "-x,", "-e", &events.join(","), "-o"], name, count) {
        Ok(text) if text.contains("raw_syscalls") => return Ok(text.lines().filter_map(read).collect()),
        _ => eprintln!("  perf may not count here: strace instead"),
    }
    // % time, seconds, usecs/call, calls, [errors,] syscall
    let text = traced(&["strace", "-f", "-c", "-S", "calls", "-o"], name, count)?;
    let rows = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let calls = words.get(3)?.parse().ok()?;
        let name = words.last().filter(|name| **name != "total" && words.len() >= 5)?;
        Some((name.to_string(), calls))
    });
    Ok(rows.collect())
}

/// How often threads woke others, by the names of both.
fn wakers(name: &str, count: i64) -> Result<BTreeMap<String, f64>> {
    let out = out();
    let recorded = recorded(&["perf", "record", "-q", "-e", "sched:sched_waking", "-o"], &out, name, count);
    let read = Command::new("perf").arg("script").arg("-i").arg(&out).args(["-F", "comm,trace"]).output();
    let _ = std::fs::remove_file(&out);
    recorded?;
    let text = String::from_utf8_lossy(&read?.stdout).into_owned();
    let mut pairs = BTreeMap::new();
    // waker  comm=WOKEN pid=1 prio=120 target_cpu=000
    for (waker, woken) in text.lines().filter_map(|line| line.split_once("comm=")) {
        let woken = woken.split(" pid=").next().unwrap_or_default();
        *pairs.entry(format!("{} > {woken}", waker.trim())).or_default() += 1.0;
    }
    Ok(pairs)
}

fn out() -> PathBuf {
    std::env::temp_dir().join(format!("bench-count-{}", std::process::id()))
}

/// Runs a path under a tool whose last argument names its output; that output.
fn traced(tool: &[&str], name: &str, count: i64) -> Result<String> {
    let out = out();
    let recorded = recorded(tool, &out, name, count);
    let text = std::fs::read_to_string(&out).unwrap_or_default();
    let _ = std::fs::remove_file(&out);
    recorded.map(|()| text)
}

fn recorded(tool: &[&str], out: &Path, name: &str, count: i64) -> Result<()> {
    let mut command = Command::new(tool[0]);
    command.args(&tool[1..]).arg(out).arg(this_program()?.get_program());
    command.args(["--internal-part", "hot", name, &count.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().map_err(|error| format!("{}: {error}", tool[0]))?;
    if status.success() { Ok(()) } else { Err(format!("{} of {name}: {status}", tool[0]).into()) }
}
