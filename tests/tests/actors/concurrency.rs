//! Which calls of an actor overlap.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ThreadId;

use super::*;
use crate::support::{Scratch, count_up, hold, open_gate, until_counted};

/// An async actor that knows how many of its calls overlap.
#[derive(Default)]
pub struct Crowd {
    now: AtomicUsize,
    peak: AtomicUsize,
    order: std::sync::Mutex<Vec<String>>,
}

struct Inside<'a>(&'a Crowd);

impl Crowd {
    fn enter(&self) -> Inside<'_> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(now, Ordering::SeqCst);
        Inside(self)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

#[actinic::remote]
impl Crowd {
    pub fn new() -> Self {
        Crowd::default()
    }

    pub async fn shared(&self, millis: u64) {
        let _inside = self.enter();
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    pub async fn alone(&mut self, name: String) {
        let _inside = self.enter();
        self.order.lock().unwrap().push(format!("start {name}"));
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.order.lock().unwrap().push(format!("end {name}"));
    }

    pub async fn step(&self, name: String) {
        self.order.lock().unwrap().push(format!("start {name}"));
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.order.lock().unwrap().push(format!("end {name}"));
    }

    pub fn order(&mut self) -> Vec<String> {
        std::mem::take(&mut *self.order.lock().unwrap())
    }

    pub fn peak(&mut self) -> usize {
        self.peak.swap(0, Ordering::SeqCst)
    }

    pub async fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }

    pub async fn local(&self) -> i64 {
        // A future that is not `Send`.
        let shared = std::rc::Rc::new(5);
        tokio::task::yield_now().await;
        *shared
    }
}

/// Calls meet at an event.
#[derive(Default)]
pub struct Meeting {
    values: std::sync::Mutex<Vec<i64>>,
    all: tokio::sync::Notify,
}

#[actinic::remote]
impl Meeting {
    pub fn new() -> Self {
        Meeting::default()
    }

    pub async fn add(&self, x: i64) -> Vec<i64> {
        let met = {
            let mut values = self.values.lock().unwrap();
            values.push(x);
            values.len() == 3
        };
        if met {
            self.all.notify_waiters();
        } else {
            self.all.notified().await;
        }
        self.values.lock().unwrap().clone()
    }
}

/// Sync methods that overlap.
#[derive(Default)]
pub struct Threaded {
    now: AtomicUsize,
    peak: AtomicUsize,
    met: std::sync::Mutex<usize>,
    all: std::sync::Condvar,
    threads: std::sync::Mutex<HashSet<ThreadId>>,
}

#[actinic::remote(max_concurrency = 3)]
impl Threaded {
    pub fn new() -> Self {
        Threaded::default()
    }

    pub fn meet(&self) -> bool {
        let mut met = self.met.lock().unwrap();
        *met += 1;
        self.all.notify_all();
        let (met, late) = self.all.wait_timeout_while(met, Duration::from_secs(10), |met| *met < 3).unwrap();
        drop(met);
        !late.timed_out()
    }

    pub fn work(&self) -> usize {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(now, Ordering::SeqCst);
        self.threads.lock().unwrap().insert(std::thread::current().id());
        std::thread::yield_now();
        self.now.fetch_sub(1, Ordering::SeqCst);
        now
    }

    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::SeqCst)
    }

    pub fn threads(&self) -> usize {
        self.threads.lock().unwrap().len()
    }

    pub fn wait_for(&self, path: String, after: i64) -> i64 {
        wait_for_file(&path);
        after
    }

    pub fn with(&self, x: i64) -> i64 {
        x
    }
}

/// Calls that do not overlap, though `&self`.
#[derive(Default)]
pub struct Plain {
    now: AtomicUsize,
}

#[actinic::remote]
impl Plain {
    pub fn new() -> Self {
        Plain::default()
    }

    pub fn work(&self) -> usize {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        std::thread::sleep(Duration::from_millis(2));
        self.now.fetch_sub(1, Ordering::SeqCst);
        now
    }
}

pub struct Sleeper;

#[actinic::remote(num_cpus = 0)]
impl Sleeper {
    pub fn new() -> Self {
        Sleeper
    }

    pub fn sleep(&mut self, millis: u64) -> u32 {
        std::thread::sleep(Duration::from_millis(millis));
        std::process::id()
    }
}

#[actinic::remote]
fn call_many(threaded: Handle<Threaded>, calls: usize) -> actinic::Result<usize> {
    let refs: Vec<_> = (0..calls).map(|_| threaded.work()).collect();
    Ok(actinic::get(&refs).blocking()?.into_iter().max().unwrap_or(0))
}

both! {
    /// ASY-01: async calls of one actor meet.
    async fn async_calls_overlap(cluster) {
        let meeting = Meeting::remote();
        let refs: Vec<_> = (1..=3).map(|x| meeting.add(x)).collect();
        for values in actinic::get(&refs).await? {
            assert_eq!(values, [1, 2, 3]);
        }
    }

    /// ASY-02, ASY-16: with max_concurrency 1 async calls run one after another, in the order they were made.
    async fn max_concurrency_one_makes_async_calls_alternate(cluster) {
        let crowd = Crowd::options().max_concurrency(1).remote();
        let refs: Vec<_> = (0..50).map(|i| crowd.step(format!("{i}"))).collect();
        actinic::get(&refs).await?;
        let expected: Vec<String> = (0..50).flat_map(|i| [format!("start {i}"), format!("end {i}")]).collect();
        assert_eq!(crowd.order().await?, expected);
    }

    /// An async method that takes `&mut self` is alone from start to end.
    async fn exclusive_async_calls_do_not_overlap(cluster) {
        let crowd = Crowd::remote();
        let before: Vec<_> = (0..5).map(|_| crowd.shared(5)).collect();
        let refs: Vec<_> = (0..10).map(|i| crowd.alone(format!("{i}"))).collect();
        actinic::get(&before).await?;
        actinic::get(&refs).await?;
        let expected: Vec<String> = (0..10).flat_map(|i| [format!("start {i}"), format!("end {i}")]).collect();
        assert_eq!(crowd.order().await?, expected);
        assert_eq!(crowd.local().await?, 5);
    }

    /// ASY-03: a thousand async calls overlap, and not one more; with max_concurrency 2, two.
    async fn the_peak_of_overlapping_calls_is_exact(cluster) {
        let crowd = Crowd::remote();
        let refs: Vec<_> = (0..1200).map(|_| crowd.shared(300)).collect();
        actinic::get(&refs).await?;
        assert_eq!(crowd.peak().await?, 1000);
        let pair = Crowd::options().max_concurrency(2).remote();
        let refs: Vec<_> = (0..20).map(|_| pair.shared(5)).collect();
        actinic::get(&refs).await?;
        assert_eq!(pair.peak().await?, 2);
    }

    /// ASY-04: sync calls overlap where the attribute says so, on no more threads than it says.
    async fn sync_calls_overlap_with_the_attribute(cluster) {
        let threaded = Threaded::remote();
        let refs: Vec<_> = (0..3).map(|_| threaded.meet()).collect();
        assert_eq!(actinic::get(&refs).await?, [true, true, true]);
        let tasks: Vec<_> = (0..30).map(|_| call_many::remote(&threaded, 300)).collect();
        assert!(actinic::get(&tasks).await?.into_iter().all(|peak| peak <= 3));
        assert!(threaded.peak().await? <= 3);
        assert!(threaded.threads().await? <= 3, "not three at a time of many, but three");
    }

    /// Without the attribute sync `&self` calls run one at a time.
    async fn plain_calls_do_not_overlap(cluster) {
        let plain = Plain::options().max_concurrency(8).remote();
        let refs: Vec<_> = (0..30).map(|_| plain.work()).collect();
        assert!(actinic::get(&refs).await?.into_iter().all(|now| now == 1));
    }

    /// ASY-11: where calls overlap, one that waits for its argument holds nobody up.
    async fn a_waiting_argument_blocks_nobody_where_calls_overlap(cluster) {
        let (threaded, gate) = (Threaded::options().max_concurrency(2).remote(), Gate::new());
        let slow = Threaded::remote().wait_for(gate.path(), 9);
        let first = threaded.with(&slow);
        let second = threaded.with(2);
        assert_eq!(actinic::get(&second).timeout(Duration::from_secs(5)).await?, 2);
        let crowd = Crowd::remote();
        let (late, early) = (crowd.add(&slow, 1), crowd.add(1, 1));
        assert_eq!(actinic::get(&early).timeout(Duration::from_secs(5)).await?, 2);
        gate.open();
        assert_eq!((first.await?, late.await?), (9, 10));
    }

    /// Where calls do not overlap, it holds the caller's later calls up.
    async fn a_waiting_argument_blocks_later_calls_of_its_caller(cluster) {
        let (counter, gate) = (Counter::remote(0), Gate::new());
        let slow = Counter::remote(5).wait_for(gate.path());
        let (first, second) = (counter.add(&slow), counter.add(1));
        assert!(actinic::get(&second).timeout(Duration::from_millis(200)).await.is_err());
        // Another caller is not held up.
        assert_eq!(add_in_task::remote(&counter, 100).await?, 100);
        gate.open();
        assert_eq!((first.await?, second.await?), (105, 106));
    }
}

/// Where an argument lies that nobody can read for now.
#[actinic::remote(resources = { "far": 1 })]
fn far_bytes() -> Buffer {
    Buffer::from(vec![1u8; 1_000_000])
}

/// An argument that does not come holds up who sent it, and no other caller.
#[actinic::test(num_cpus = 2)]
async fn an_argument_on_its_way_blocks_later_calls_of_its_caller_only(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).resource("far", 1).await?;
    let far = far_bytes::remote();
    far.done().await?;
    let weigher = Weigher::options().scheduling(Scheduling::on(cluster.head().id())).remote();
    assert_eq!(weigher.weigh(Buffer::from(vec![1u8; 10])).await?, 10);
    let (scratch, here) = (Scratch::new(), Scheduling::on(cluster.head().id()));
    let (began, gate) = (scratch.file("began"), scratch.file("gate"));
    let others = weigh_in_task::options().scheduling(here).remote(&began, &gate, &weigher, 5);
    until_counted(&began, 1).await;
    node.pause().await?;
    let (first, second) = (weigher.weigh(&far), weigher.weigh(Buffer::from(vec![1u8; 3])));
    open_gate(&gate);
    assert_eq!(actinic::get(&others).timeout(Duration::from_secs(3)).await?, 15);
    assert!(actinic::get(&second).timeout(Duration::from_millis(100)).await.is_err(), "it overtook");
    node.resume().await?;
    assert_eq!((first.await?, second.await?), (1_000_015, 1_000_018));
    drop((far, others, weigher));
    cluster.idle().await
}

/// Two tasks that take turns on one worker of another process are two callers too.
#[actinic::test(num_cpus = 1)]
async fn an_argument_on_its_way_blocks_no_other_task_of_its_process(cluster: TestCluster) -> actinic::Result<()> {
    let far_node = cluster.add_node().num_cpus(1).resource("far", 1).await?;
    let callers = cluster.add_node().num_cpus(1).await?;
    let far = far_bytes::remote();
    far.done().await?;
    let weigher = Weigher::options().scheduling(Scheduling::on(cluster.head().id())).remote();
    assert_eq!(weigher.weigh(Buffer::from(vec![1u8; 10])).await?, 10);
    far_node.pause().await?;
    let (scratch, there) = (Scratch::new(), Scheduling::on(&callers));
    let began = scratch.file("began");
    let first = weigh_later::options().scheduling(there.clone()).remote(&began, &weigher, vec![far.clone()], 3);
    until_counted(&began, 1).await;
    let second = weigh_later::options().scheduling(there).remote(&began, &weigher, Vec::new(), 5);
    let (weighed, worker) = actinic::get(&second).timeout(Duration::from_secs(3)).await?;
    assert_eq!(weighed, [15]);
    assert!(actinic::get(&first).timeout(Duration::from_millis(100)).await.is_err(), "it overtook");
    far_node.resume().await?;
    assert_eq!(first.await?, (vec![1_000_015, 1_000_018], worker), "they ran on one worker");
    drop((far, weigher, second));
    cluster.idle().await
}

/// Has weighed what the refs say, then so many bytes more; and says where it runs.
#[actinic::remote]
async fn weigh_later(
    began: String,
    weigher: Handle<Weigher>,
    far: Vec<ObjectRef<Buffer>>,
    size: usize,
) -> actinic::Result<(Vec<usize>, String)> {
    let mut calls: Vec<_> = far.iter().map(|far| weigher.weigh(far)).collect();
    calls.push(weigher.weigh(Buffer::from(vec![1u8; size])));
    count_up(&began);
    Ok((actinic::get(&calls).await?, format!("{:?}", actinic::context().worker_id())))
}

/// Adds up what it is given.
pub struct Weigher {
    total: usize,
}

#[actinic::remote]
impl Weigher {
    pub fn new() -> Self {
        Weigher { total: 0 }
    }

    pub fn weigh(&mut self, bytes: Buffer) -> usize {
        self.total += bytes.len();
        self.total
    }
}

#[actinic::remote]
fn weigh_in_task(began: &str, gate: &str, weigher: Handle<Weigher>, size: usize) -> actinic::Result<usize> {
    count_up(began);
    hold(gate);
    weigher.weigh(Buffer::from(vec![1u8; size])).blocking()
}

/// A thousand sleeping actors all progress.
async fn a_thousand_sleeping_actors_all_progress() -> actinic::Result<()> {
    let actors: Vec<_> = (0..1000).map(|_| Sleeper::options().isolation(Isolation::Shared).remote()).collect();
    actinic::get(&actors.iter().map(Handle::ready).collect::<Vec<_>>()).await?;
    let start = Instant::now();
    let refs: Vec<_> = actors.iter().map(|actor| actor.sleep(200)).collect();
    let pids = actinic::get(&refs).await?;
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(count(pids).len(), 1, "they share a process");
    Ok(())
}

#[actinic::test(num_cpus = 4)]
async fn a_thousand_sleeping_actors_all_progress_on_threads() -> actinic::Result<()> {
    a_thousand_sleeping_actors_all_progress().await
}

#[actinic::test(num_cpus = 4, workers = "processes")]
async fn a_thousand_sleeping_actors_all_progress_in_one_process() -> actinic::Result<()> {
    a_thousand_sleeping_actors_all_progress().await
}

/// Called by very many, on few threads.
#[derive(Default)]
pub struct Busy {
    threads: AtomicUsize,
}

/// The threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[actinic::remote(max_concurrency = 3)]
impl Busy {
    pub fn new() -> Self {
        Busy::default()
    }

    pub fn one(&self) -> u64 {
        self.threads.fetch_max(threads(), Ordering::SeqCst);
        1
    }

    pub fn threads(&self) -> usize {
        self.threads.load(Ordering::SeqCst)
    }
}

#[derive(Default)]
pub struct BusyAsync {
    threads: AtomicUsize,
}

#[actinic::remote]
impl BusyAsync {
    pub fn new() -> Self {
        BusyAsync::default()
    }

    pub async fn one(&self) -> u64 {
        tokio::task::yield_now().await;
        self.threads.fetch_max(threads(), Ordering::SeqCst);
        1
    }

    pub async fn threads(&self) -> usize {
        self.threads.load(Ordering::SeqCst)
    }
}

#[actinic::remote]
async fn fib(n: u32, busy: Handle<Busy>, other: Handle<BusyAsync>) -> actinic::Result<(u64, u64)> {
    if n < 2 {
        return Ok((busy.one().await?, other.one().await?));
    }
    let (a, b) = (fib::remote(n - 1, &busy, &other), fib::remote(n - 2, &busy, &other));
    let ((a, c), (b, d)) = (a.await?, b.await?);
    Ok((a + b, c + d))
}

/// ACT-36: calls from very many tasks do not add threads to an actor's process.
#[actinic::test(num_cpus = 4, workers = "processes")]
async fn many_callers_need_no_more_threads(cluster: TestCluster) -> actinic::Result<()> {
    let (busy, other) = (Busy::remote(), BusyAsync::remote());
    assert_eq!(fib::remote(4, &busy, &other).await?, (5, 5));
    let before = (busy.threads().await?, other.threads().await?);
    assert_eq!(fib::remote(10, &busy, &other).await?, (89, 89));
    let after = (busy.threads().await?, other.threads().await?);
    // Three calls at once have three threads, which the few callers may not have needed yet.
    assert!(after.0 <= before.0 + 2 && after.1 <= before.1 + 1, "{before:?}, then {after:?}");
    drop((busy, other));
    cluster.idle().await
}

/// The same by tasks that block, and the processes in which they ran: whoever blocks makes room for another process.
#[actinic::remote]
fn fib_sync(n: u32, busy: Handle<Busy>, other: Handle<BusyAsync>) -> actinic::Result<(u64, u64, BTreeSet<u32>)> {
    let here = BTreeSet::from([std::process::id()]);
    if n < 2 {
        return Ok((busy.one().blocking()?, other.one().blocking()?, here));
    }
    let parts = [fib_sync::remote(n - 1, &busy, &other), fib_sync::remote(n - 2, &busy, &other)];
    let parts = actinic::get(&parts).blocking()?;
    let both = |which: fn(&(u64, u64, BTreeSet<u32>)) -> u64| parts.iter().map(which).sum();
    Ok((both(|part| part.0), both(|part| part.1), parts.iter().fold(here, |all, part| &all | &part.2)))
}

/// ACT-36: calls from very many processes do not add threads to an actor's process.
#[actinic::test(num_cpus = 4, workers = "processes")]
async fn many_calling_processes_need_no_more_threads(cluster: TestCluster) -> actinic::Result<()> {
    let (busy, other) = (Busy::remote(), BusyAsync::remote());
    let (a, b, few) = fib_sync::remote(4, &busy, &other).await?;
    assert_eq!((a, b), (5, 5));
    let before = (busy.threads().await?, other.threads().await?);
    let (a, b, many) = fib_sync::remote(10, &busy, &other).await?;
    assert_eq!((a, b), (89, 89));
    assert!(many.len() >= 12 && many.len() > few.len(), "{} processes, then {}", few.len(), many.len());
    let after = (busy.threads().await?, other.threads().await?);
    assert!(after.0 <= before.0 + 2 && after.1 <= before.1 + 1, "{before:?}, then {after:?}");
    drop((busy, other));
    cluster.idle().await
}
