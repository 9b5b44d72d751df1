//! Sync `&self` methods that overlap, beside async ones, where the attribute says how many.

use std::sync::Condvar;
use std::sync::atomic::{AtomicUsize, Ordering};

use actinic::testing::{TestOptions, run_test};

use super::*;
use crate::support::{Scratch, count_up, held, hold, open_gate, until_counted};

/// Knows who is inside.
#[derive(Default)]
pub struct Both {
    value: i64,
    now: AtomicUsize,
    peak: AtomicUsize,
    met: std::sync::Mutex<usize>,
    all: Condvar,
    sent: tokio::sync::Notify,
}

struct Inside<'a>(&'a Both);

impl Both {
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

#[actinic::remote(num_cpus = 0, max_concurrency = 4)]
impl Both {
    pub fn new() -> Self {
        Both::default()
    }

    /// Whether so many were here together.
    pub fn meet(&self, count: usize) -> bool {
        let mut met = self.met.lock().unwrap();
        *met += 1;
        self.all.notify_all();
        let (met, late) = self.all.wait_timeout_while(met, Duration::from_secs(10), |met| *met < count).unwrap();
        drop(met);
        !late.timed_out()
    }

    pub fn work(&self) {
        let _inside = self.enter();
        std::thread::sleep(Duration::from_millis(2));
    }

    pub async fn work_later(&self) {
        let _inside = self.enter();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    /// How many of them overlapped at most, since the last call of this.
    pub fn peak(&mut self) -> usize {
        self.peak.swap(0, Ordering::SeqCst)
    }

    pub fn hold(&self, started: &str, gate: &str) -> i64 {
        count_up(started);
        hold(gate);
        self.value
    }

    pub fn get_now(&self) -> i64 {
        self.value
    }

    pub async fn get(&self) -> i64 {
        let before = self.value;
        tokio::task::yield_now().await;
        assert_eq!(self.value, before, "the state was changed beside a call");
        before
    }

    pub fn set_now(&mut self, value: i64) -> i64 {
        std::mem::replace(&mut self.value, value)
    }

    pub async fn set(&mut self, value: i64) -> i64 {
        tokio::task::yield_now().await;
        std::mem::replace(&mut self.value, value)
    }

    pub async fn wait(&self) {
        self.sent.notified().await;
    }

    pub fn send(&self) {
        self.sent.notify_waiters();
    }

    /// Waits as sync code does.
    pub fn ask(&self, started: &str, refs: Vec<ObjectRef<i64>>) -> actinic::Result<i64> {
        count_up(started);
        let got = actinic::get(&refs).blocking();
        count_up(started);
        Ok(got?.into_iter().sum())
    }

    /// What a call may know of itself, and what it spawns is of the same job.
    pub fn knows(&self, done: String) -> (bool, bool) {
        let context = actinic::context();
        tokio::spawn(async move {
            if identity::remote(1).await.is_ok() {
                count_up(&done);
            }
        });
        (context.current_actor::<Both>().is_some(), context.is_cancelled())
    }

    /// Goes on until it is cancelled.
    pub fn until_cancelled(&self, started: &str) -> bool {
        count_up(started);
        while !actinic::context().is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        count_up(started);
        true
    }

    pub fn fails(&self) -> i64 {
        panic!("it fails at {}", self.value)
    }

    pub fn leaves(&self) {
        actinic::exit_actor()
    }

    pub fn crashes(&self) {
        actinic::testing::crash()
    }

    /// How many actors of this process have threads of their own.
    pub fn threads(&self) -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.trim() == "actinic-actor").count()
    }
}

/// Says in its attribute that nothing overlaps: its state need not be `Sync`.
pub struct Narrow {
    calls: std::cell::Cell<i64>,
}

#[actinic::remote(num_cpus = 0, max_concurrency = 1)]
impl Narrow {
    pub fn new() -> Self {
        Narrow { calls: 0.into() }
    }

    pub fn calls(&self) -> i64 {
        self.calls.replace(self.calls.get() + 1)
    }

    pub async fn unused(&self) {}
}

/// Sync calls that do not overlap, for the attribute does not say so.
#[derive(Default)]
pub struct Silent {
    now: AtomicUsize,
}

#[actinic::remote(num_cpus = 0)]
impl Silent {
    pub fn new() -> Self {
        Silent::default()
    }

    pub fn work(&self) -> usize {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        std::thread::sleep(Duration::from_millis(2));
        self.now.fetch_sub(1, Ordering::SeqCst);
        now
    }

    pub async fn unused(&self) {}
}

/// Holds the only CPU.
pub struct Foreman;

#[actinic::remote(num_cpus = 1, max_concurrency = 20)]
impl Foreman {
    pub fn new() -> Self {
        Foreman
    }

    pub async fn asks(&self, x: i64) -> actinic::Result<i64> {
        identity::remote(x).await
    }

    pub fn asks_in_place(&self, x: i64) -> actinic::Result<i64> {
        identity::remote(x).blocking()
    }

    pub fn asks_alone(&mut self, x: i64) -> actinic::Result<i64> {
        identity::remote(x).blocking()
    }

    /// Waits for something that is no ref, and lends nothing.
    pub async fn dozes(&self, began: String, gate: String) -> actinic::Result<()> {
        count_up(&began);
        while !std::path::Path::new(&gate).exists() {
            actinic::sleep(Duration::from_millis(2)).await?;
        }
        Ok(())
    }

    /// The same in sync code.
    pub fn works(&self, began: &str, gate: &str) {
        count_up(began);
        hold(gate);
    }
}

modes! {
    /// They meet, and async ones go on beside them.
    2 CPUs, async fn sync_calls_meet_beside_async_ones(cluster) {
        let both = Both::remote();
        let meet: Vec<_> = (0..3).map(|_| both.meet(3)).collect();
        assert_eq!(actinic::get(&meet).timeout(SOON).await?, [true; 3]);
        let (scratch, last) = (Scratch::new(), both.meet(5));
        let (started, gate) = (scratch.file("started"), scratch.file("gate"));
        let held = both.hold(&started, &gate);
        until_counted(&started, 1).await;
        assert_eq!(actinic::get(&both.get()).timeout(SOON).await?, 0);
        assert!(both.meet(5).await?);
        open_gate(&gate);
        assert_eq!((held.await?, last.await?), (0, true));
    }

    /// Sync and async calls together are no more than it says, or what the actor was made with.
    2 CPUs, async fn no_more_overlap_than_it_says(cluster) {
        let both = Both::remote();
        let meet: Vec<_> = (0..4).map(|_| both.meet(4)).collect();
        assert_eq!(actinic::get(&meet).timeout(SOON).await?, [true; 4]);
        let of = |both: &Handle<Both>| -> Vec<_> {
            (0..60).map(|at| if at % 2 == 0 { both.work() } else { both.work_later() }).collect()
        };
        actinic::get(&of(&both)).timeout(SOON).await?;
        let peak = both.peak().await?;
        assert!((2..=4).contains(&peak), "{peak}");
        for width in [1, 2] {
            let both = Both::options().max_concurrency(width).remote();
            actinic::get(&of(&both)).timeout(SOON).await?;
            assert!(both.peak().await? <= width as usize);
        }
        let narrow = Narrow::remote();
        let calls: Vec<_> = (0..20).map(|_| narrow.calls()).collect();
        assert_eq!(actinic::get(&calls).await?, (0..20).collect::<Vec<_>>());
        let silent = Silent::options().max_concurrency(8).remote();
        let calls: Vec<_> = (0..20).map(|_| silent.work()).collect();
        assert_eq!(actinic::get(&calls).await?, [1; 20], "its attribute says nothing");
    }

    /// What takes `&mut self` waits for those before it, and those behind it for it.
    2 CPUs, async fn exclusive_calls_keep_their_turn(cluster) {
        let (both, scratch) = (Both::remote(), Scratch::new());
        let (started, gate) = (scratch.file("started"), scratch.file("gate"));
        let holds = both.hold(&started, &gate);
        let (sets, behind) = (both.set_now(7), both.get_now());
        until_counted(&started, 1).await;
        assert!(actinic::get(&sets).timeout(Duration::from_millis(100)).await.is_err(), "it did not wait");
        open_gate(&gate);
        assert_eq!(actinic::get(&(holds, sets, behind)).timeout(SOON).await?, (0, 0, 7));
        let (mut all, mut expected) = (Vec::new(), Vec::new());
        let mut value = 7;
        for round in 0..100 {
            all.extend([both.get_now(), both.get(), both.get_now(), both.get_now()]);
            expected.extend([value; 5]);
            all.push(if round % 2 == 0 { both.set_now(round) } else { both.set(round) });
            value = round;
        }
        assert_eq!(actinic::get(&all).timeout(SOON).await?, expected);
    }

    /// One that waits is cancelled, and one that has not begun; one that loops may ask.
    2 CPUs, async fn they_are_cancelled(cluster) {
        let (both, scratch) = (Both::remote(), Scratch::new());
        let (running, gate, asks) = (scratch.file("running"), scratch.file("gate"), scratch.file("asks"));
        let never = held::remote(&running, &gate, 1);
        let waits: Vec<_> = (0..3).map(|_| both.ask(&asks, vec![never.clone()])).collect();
        let loops = both.until_cancelled(scratch.file("loops"));
        until_counted(&asks, 3).await;
        until_counted(&scratch.file("loops"), 1).await;
        let behind = both.ask(scratch.file("never"), Vec::new());
        actinic::cancel(&behind).await?;
        assert!(matches!(behind.await.unwrap_err(), Error::TaskCancelled { .. }));
        actinic::cancel(&waits[0]).await?;
        assert!(matches!(waits[0].clone().await.unwrap_err(), Error::TaskCancelled { .. }));
        until_counted(&asks, 4).await;
        actinic::cancel(&loops).await?;
        until_counted(&scratch.file("loops"), 2).await;
        assert!(matches!(loops.await.unwrap_err(), Error::TaskCancelled { .. }));
        assert_eq!(actinic::get(&both.get()).timeout(SOON).await?, 0);
        open_gate(&gate);
        assert_eq!(actinic::get(&waits[1..]).timeout(SOON).await?, [1, 1]);
        assert_eq!(crate::support::counted(&scratch.file("never")), 0, "it was cancelled before it began");
    }

    /// A call of it may do what sync code may, and fails alone.
    2 CPUs, async fn they_are_calls_like_others(cluster) {
        let (both, scratch) = (Both::remote(), Scratch::new());
        assert_eq!(both.knows(scratch.file("spawned")).await?, (true, false));
        until_counted(&scratch.file("spawned"), 1).await;
        let asks: Vec<_> = (0..8).map(|x| both.ask(scratch.file("asks"), vec![late::remote(x, 5), identity::remote(1)])).collect();
        assert_eq!(actinic::get(&asks).timeout(SOON).await?, (1..9).collect::<Vec<_>>());
        both.set_now(5).await?;
        let error = both.fails().await.unwrap_err();
        assert!(error.to_string().contains("it fails at 5"), "{error}");
        assert_eq!((both.get_now().await?, both.get().await?), (5, 5));
        let leaves = both.leaves().await;
        assert!(matches!(leaves.unwrap_err(), Error::ActorDied { .. }));
        assert!(dies(&both).await);
        let again = Both::options().max_restarts(1).remote();
        again.set_now(5).await?;
        let crashes = again.crashes().await;
        assert!(matches!(crashes.unwrap_err(), Error::ActorUnavailable { .. } | Error::ActorDied { .. }));
        assert_eq!(actinic::get(&again.get_now()).timeout(SOON).await?, 0, "it has begun anew");
        // What was called before the last handle is dropped comes to its end.
        let last: Vec<_> = (0..3).map(|_| again.meet(3)).collect();
        drop(again);
        assert_eq!(actinic::get(&last).timeout(SOON).await?, [true; 3]);
    }

    /// Those that hang leave the async ones alone; a kill is not held up, nor the thread of a killed one kept.
    2 CPUs, async fn one_that_hangs_does_not_stop_async_calls(cluster) {
        let (both, scratch) = (Both::remote(), Scratch::new());
        let (started, gate) = (scratch.file("started"), scratch.file("gate"));
        let hangs: Vec<_> = (0..3).map(|_| both.hold(&started, &gate)).collect();
        until_counted(&started, 3).await;
        for _ in 0..20 {
            assert_eq!(actinic::get(&both.get()).timeout(SOON).await?, 0);
        }
        actinic::kill(&both).await?;
        for hangs in hangs {
            assert!(matches!(hangs.await.unwrap_err(), Error::ActorDied { .. }));
        }
        open_gate(&gate);
    }

    /// Sync calls without an end leave room for the async ones.
    2 CPUs, async fn a_stream_of_them_leaves_room(cluster) {
        let both = Both::remote();
        let mut stream: std::collections::VecDeque<_> = (0..1000).map(|_| both.send()).collect();
        let waits = both.wait();
        let mut rounds = 0;
        while actinic::get(&waits).timeout(Duration::ZERO).await.is_err() {
            rounds += 1;
            assert!(rounds < 100_000, "an async call starves");
            stream.push_back(both.send());
            stream.pop_front().unwrap().await?;
        }
    }

    /// On one CPU, whatever they wait for runs on the actor's own.
    1 CPUs, async fn they_lend_the_cpu_of_their_actor(cluster) {
        let foreman = Foreman::remote();
        let many: Vec<_> = (0..50)
            .map(|x| match x % 5 {
                0 => foreman.asks_alone(x),
                1 | 3 => foreman.asks(x),
                _ => foreman.asks_in_place(x),
            })
            .collect();
        assert_eq!(actinic::get(&many).timeout(SOON).await?, (0..50).collect::<Vec<_>>());
    }

    /// While one of its calls goes on, sync or async, those that wait lend nothing.
    1 CPUs, async fn they_lend_nothing_while_another_goes_on(cluster) {
        for sync in [false, true] {
            let scratch = Scratch::new();
            let (began, gate) = (scratch.file("began"), scratch.file("gate"));
            let foreman = Foreman::remote();
            let other = if sync { foreman.works(&began, &gate) } else { foreman.dozes(began.clone(), gate.clone()) };
            until_counted(&began, 1).await;
            let asks = [foreman.asks_in_place(3), foreman.asks(4), foreman.asks_in_place(5)];
            let (ready, _) = actinic::wait(&asks).timeout(Duration::from_millis(200)).await?;
            assert!(ready.is_empty(), "two ran on one CPU");
            open_gate(&gate);
            assert_eq!(actinic::get(&asks).timeout(SOON).await?, [3, 4, 5]);
            other.await?;
        }
    }
}

/// What a killed actor's methods wait for on their threads, they wait for no longer.
#[actinic::test(num_cpus = 2)]
async fn a_kill_wakes_methods_that_wait(cluster: TestCluster) -> actinic::Result<()> {
    let (both, scratch) = (Both::remote(), Scratch::new());
    let (running, gate, asks) = (scratch.file("running"), scratch.file("gate"), scratch.file("asks"));
    let held = held::remote(&running, &gate, 1);
    let waits: Vec<_> = (0..3).map(|_| both.ask(&asks, vec![held.clone()])).collect();
    until_counted(&asks, 3).await;
    actinic::kill(&both).await?;
    until_counted(&asks, 6).await;
    open_gate(&gate);
    assert_eq!(held.await?, 1);
    drop((both, waits));
    cluster.idle().await
}

/// A cluster does not wait for one that hangs.
#[actinic::test(num_cpus = 1)]
async fn a_cluster_ends_though_one_hangs(cluster: TestCluster) -> actinic::Result<()> {
    let (both, scratch) = (Both::remote(), Scratch::new());
    let (started, gate) = (scratch.file("started"), scratch.file("gate"));
    let hangs = both.hold(&started, &gate);
    until_counted(&started, 1).await;
    let start = Instant::now();
    cluster.shutdown().await?;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop((hangs, both));
    open_gate(&gate);
    Ok(())
}

/// The thread of a killed actor ends, whatever hangs on others.
#[actinic::test(num_cpus = 1, workers = "processes")]
async fn what_hangs_keeps_no_thread_but_its_own(cluster: TestCluster) -> actinic::Result<()> {
    let options = Both::options().isolation(Isolation::Shared);
    let (first, scratch) = (options.remote(), Scratch::new());
    let (started, gate) = (scratch.file("started"), scratch.file("gate"));
    let others: Vec<_> = (0..5).map(|_| options.remote()).collect();
    let hang: Vec<_> = others.iter().map(|other| other.hold(&started, &gate)).collect();
    until_counted(&started, 5).await;
    assert_eq!(first.threads().await?, 6);
    for other in &others {
        actinic::kill(other).await?;
    }
    let ended = eventually(SOON, || async { first.threads().await.is_ok_and(|now| now == 1) }).await;
    assert!(ended, "{}", first.threads().await?);
    open_gate(&gate);
    drop((hang, others, first, options));
    cluster.idle().await
}

/// In a simulation they wait in its time; equal seeds are equal runs.
#[test]
fn they_wait_in_virtual_time() {
    let run = |seed| {
        let options = TestOptions::new(file!(), line!()).num_cpus(2).timeout(600).sim(true).seed(seed);
        run_test(options, |cluster| async move {
            let node = cluster.add_node().num_cpus(2).await.unwrap();
            let there = Both::options().scheduling(Scheduling::on(&node)).remote();
            let asks: Vec<_> = (0..3).map(|x| there.ask("/dev/null", vec![naps::remote(x, 60_000)])).collect();
            let (beside, sets) = (there.get(), there.set_now(3));
            assert_eq!(beside.await.unwrap(), 0);
            assert!(cluster.sim().now() < Duration::from_secs(60), "nobody waited for that");
            assert_eq!(actinic::get(&asks).await.unwrap(), [0, 1, 2]);
            assert_eq!((sets.await.unwrap(), there.get_now().await.unwrap()), (0, 3));
            assert!((60..70).contains(&cluster.sim().now().as_secs()), "they waited together");
            let never = there.ask("/dev/null", vec![naps::remote(5, 3_600_000)]);
            actinic::sleep(Duration::from_millis(200)).await.unwrap();
            actinic::kill(&there).await.unwrap();
            assert!(matches!(never.await.unwrap_err(), Error::ActorDied { .. }));
            (cluster.sim().trace_hash(), cluster.sim().now())
        })
    };
    let first = run(31);
    assert_eq!(first, run(31));
    assert_ne!(first.0, run(32).0);
}

#[actinic::remote(num_cpus = 0)]
async fn naps(value: i64, millis: u64) -> actinic::Result<i64> {
    actinic::sleep(Duration::from_millis(millis)).await?;
    Ok(value)
}
