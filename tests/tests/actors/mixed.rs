//! Actors with sync methods beside async ones.

use std::sync::atomic::{AtomicU64, Ordering};

use actinic::testing::{TestOptions, run_test};

use super::*;
use crate::support::{Scratch, count_up, held, open_gate, until_counted};

/// Others wait for what it is told.
#[derive(Default)]
pub struct Signal {
    sent: tokio::sync::Notify,
    asked: AtomicU64,
}

#[actinic::remote(num_cpus = 0)]
impl Signal {
    pub fn new() -> Self {
        Signal::default()
    }

    pub async fn wait(&self, started: Option<String>) -> u64 {
        let sent = self.sent.notified();
        if let Some(started) = started {
            count_up(&started);
        }
        sent.await;
        self.asked.load(Ordering::SeqCst)
    }

    pub fn send(&self) -> u64 {
        self.sent.notify_waiters();
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits as sync code does.
    pub fn ask(&self, value: i64) -> actinic::Result<i64> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        late::options().num_cpus(1).remote(value, 20).blocking()
    }

    pub fn ask_alone(&mut self, started: &str, refs: Vec<ObjectRef<i64>>) -> actinic::Result<i64> {
        count_up(started);
        Ok(actinic::get(&refs).blocking()?.into_iter().sum())
    }

    /// Waits as async code must not.
    pub async fn ask_from_async(&self) -> actinic::Result<i64> {
        tokio::task::yield_now().await;
        identity::remote(1).blocking()
    }

    /// Has a runtime of its own, as a library may.
    pub fn with_a_runtime(&self) -> i64 {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { 7 })
    }

    /// What is spawned is of the same job.
    pub async fn spawn(&self, value: i64) -> actinic::Result<i64> {
        tokio::spawn(async move { identity::remote(value).await }).await.unwrap()
    }

    /// The same from sync code.
    pub fn spawn_now(&self, done: String) {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if identity::remote(1).await.is_ok() {
                count_up(&done);
            }
        });
    }

    pub fn hold(&self, started: String, gate: String) {
        count_up(&started);
        wait_for_file(&gate);
    }

    pub async fn echo(&self, value: i64) -> i64 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        value
    }

    pub fn echo_now(&mut self, value: i64) -> i64 {
        value
    }

    /// How many actors of this process have threads of their own.
    pub fn threads(&self) -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.trim() == "actinic-actor").count()
    }
}

/// Has async methods only.
pub struct Pure;

#[actinic::remote(num_cpus = 0)]
impl Pure {
    pub fn new() -> Self {
        Pure
    }

    pub async fn echo(&self, value: i64) -> i64 {
        value
    }
}

/// They answer, and so do actors with async methods only.
async fn answer(signals: &[Handle<Signal>]) -> actinic::Result<()> {
    let pure: Vec<_> = (0..4).map(|_| Pure::remote()).collect();
    let mut calls: Vec<_> = pure.iter().map(|pure| pure.echo(1)).collect();
    calls.extend(signals.iter().flat_map(|signal| [signal.echo(1), signal.echo_now(1)]));
    let answers = actinic::get(&calls).timeout(SOON).await?;
    assert!(answers.iter().all(|answer| *answer == 1));
    Ok(())
}

/// Waits for a ref on its thread, and notes when it waits no longer.
pub struct Patient;

#[actinic::remote(num_cpus = 0)]
impl Patient {
    pub fn new() -> Self {
        Patient
    }

    pub fn waits(&mut self, started: &str, ended: &str, refs: Vec<ObjectRef<i64>>) -> actinic::Result<i64> {
        count_up(started);
        let got = actinic::get(&refs).blocking();
        count_up(ended);
        Ok(got?.into_iter().sum())
    }
}

/// The same, with an async method beside it.
pub struct PatientToo;

#[actinic::remote(num_cpus = 0)]
impl PatientToo {
    pub fn new() -> Self {
        PatientToo
    }

    pub async fn unused(&self) {}

    pub fn waits(&mut self, started: &str, ended: &str, refs: Vec<ObjectRef<i64>>) -> actinic::Result<i64> {
        Patient.waits(started, ended, refs)
    }
}

modes! {
    /// An async call has begun before the sync one behind it runs.
    2 CPUs, async fn a_sync_call_does_not_overtake_an_async_one(cluster) {
        let signal = Signal::remote();
        for round in 0..100 {
            let (waits, sent) = (signal.wait(None), signal.send());
            assert_eq!(actinic::get(&(waits, sent)).timeout(SOON).await?, (0, 0), "{round}");
        }
    }

    /// Sync calls without an end leave room for the async ones.
    2 CPUs, async fn async_calls_go_on_beside_a_stream_of_sync_ones(cluster) {
        let signal = Signal::remote();
        let mut stream: std::collections::VecDeque<_> = (0..1000).map(|_| signal.send()).collect();
        let waits = signal.wait(None);
        let mut rounds = 0;
        while actinic::get(&waits).timeout(Duration::ZERO).await.is_err() {
            rounds += 1;
            assert!(rounds < 100_000, "an async call starves");
            stream.push_back(signal.send());
            stream.pop_front().unwrap().await?;
        }
    }
}

/// What a killed actor's method waits for on its thread, it waits for no longer.
#[actinic::test(num_cpus = 2)]
async fn a_kill_wakes_a_method_that_waits(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (running, gate) = (scratch.file("running"), scratch.file("gate"));
    let (started, ended) = (scratch.file("started"), scratch.file("ended"));
    let held = held::remote(&running, &gate, 1);
    let (plain, mixed) = (Patient::remote(), PatientToo::remote());
    let waits = [plain.waits(&started, &ended, vec![held.clone()]), mixed.waits(&started, &ended, vec![held.clone()])];
    until_counted(&started, 2).await;
    actinic::kill(&plain).await?;
    actinic::kill(&mixed).await?;
    until_counted(&ended, 2).await;
    open_gate(&gate);
    assert_eq!(held.await?, 1);
    drop((plain, mixed, waits));
    cluster.idle().await
}

both! {
    /// A sync method goes on beside async ones that wait, and brings them what they wait for.
    async fn a_sync_method_wakes_async_ones(cluster) {
        let (signal, scratch) = (Signal::remote(), Scratch::new());
        let waits: Vec<_> = (0..20).map(|_| signal.wait(Some(scratch.file("started")))).collect();
        until_counted(&scratch.file("started"), 20).await;
        assert_eq!(signal.ask(3).await?, 3, "it runs beside them");
        assert_eq!(actinic::get(&signal.send()).timeout(SOON).await?, 1);
        assert_eq!(actinic::get(&waits).timeout(SOON).await?, [1; 20]);
    }

    /// It may wait for refs as any sync code; async code may not.
    async fn a_sync_method_may_wait(cluster) {
        let signal = Signal::remote();
        assert_eq!(signal.ask(5).await?, 5);
        let (scratch, refs) = (Scratch::new(), vec![late::remote(1, 20), identity::remote(2)]);
        assert_eq!(signal.ask_alone(scratch.file("started"), refs).await?, 3);
        let error = signal.ask_from_async().await.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        assert_eq!(signal.with_a_runtime().await?, 7);
        assert_eq!(signal.spawn(6).await?, 6);
        signal.spawn_now(scratch.file("spawned")).await?;
        until_counted(&scratch.file("spawned"), 1).await;
        assert_eq!(signal.ask(7).await?, 7, "and so after all that");
        let many: Vec<_> = (0..2000).map(|value| signal.echo_now(value)).collect();
        assert_eq!(actinic::get(&many).await?, (0..2000).collect::<Vec<_>>(), "in their order");
    }

    /// A wait there is where it is cancelled.
    async fn a_sync_method_that_waits_is_cancelled(cluster) {
        let (signal, gate, scratch) = (Signal::remote(), Gate::new(), Scratch::new());
        let never = Counter::remote(1).wait_for(gate.path());
        let (asks, next) = (signal.ask_alone(scratch.file("asks"), vec![never.clone()]), signal.echo_now(2));
        until_counted(&scratch.file("asks"), 1).await;
        actinic::cancel(&asks).await?;
        assert!(matches!(asks.await.unwrap_err(), Error::TaskCancelled { .. }));
        assert_eq!(actinic::get(&next).timeout(SOON).await?, 2);
        gate.open();
        assert_eq!(never.await?, 1);
    }

    /// Those that do not come back hold nobody up but their own calls, killed or not.
    async fn a_sync_method_that_hangs_stops_its_actor_alone(cluster) {
        let (gate, scratch) = (Gate::new(), Scratch::new());
        let signals: Vec<_> = (0..12).map(|_| Signal::remote()).collect();
        answer(&signals).await?;
        let (hang, others) = signals.split_at(6);
        let hung: Vec<_> = hang.iter().map(|signal| signal.hold(scratch.file("hung"), gate.path())).collect();
        until_counted(&scratch.file("hung"), 6).await;
        answer(others).await?;
        let behind = hang[0].echo(1);
        for signal in &hang[..3] {
            actinic::kill(signal).await?;
        }
        assert!(matches!(hung[0].clone().await.unwrap_err(), Error::ActorDied { .. }));
        assert!(matches!(behind.await.unwrap_err(), Error::ActorDied { .. }));
        let later: Vec<_> = (0..6).map(|_| Signal::remote()).collect();
        answer(&later).await?;
        answer(others).await?;
        gate.open();
        actinic::get(&hung[3..]).timeout(SOON).await?;
        answer(&hang[3..]).await?;
    }
}

/// A cluster does not wait for one that hangs.
#[actinic::test(num_cpus = 1)]
async fn a_cluster_ends_though_a_sync_method_hangs(cluster: TestCluster) -> actinic::Result<()> {
    let (signal, gate, scratch) = (Signal::remote(), Gate::new(), Scratch::new());
    let hangs = signal.hold(scratch.file("hangs"), gate.path());
    until_counted(&scratch.file("hangs"), 1).await;
    let start = Instant::now();
    cluster.shutdown().await?;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop((hangs, signal));
    gate.open();
    Ok(())
}

/// One process has so many threads for such actors at most; more actors live there, and a thread ends with its actor.
#[actinic::test(num_cpus = 1, workers = "processes")]
async fn a_thread_ends_with_its_actor(cluster: TestCluster) -> actinic::Result<()> {
    let options = Signal::options().isolation(Isolation::Shared);
    let first = options.remote();
    assert_eq!(first.threads().await?, 1);
    let signals: Vec<_> = (0..140).map(|_| options.remote()).collect();
    answer(&signals).await?;
    assert_eq!(first.threads().await?, 128);
    let waits: Vec<_> = signals.iter().map(|signal| signal.wait(None)).collect();
    for signal in &signals[..70] {
        actinic::kill(signal).await?;
    }
    let sent: Vec<_> = signals[70..].iter().map(|signal| signal.send()).collect();
    actinic::get(&sent).await?;
    actinic::get(&waits[70..]).timeout(SOON).await?;
    drop((signals, waits, sent));
    let ended = eventually(SOON, || async { first.threads().await.is_ok_and(|now| now == 1) }).await;
    assert!(ended, "{}", first.threads().await?);
    drop((first, options));
    cluster.idle().await
}

#[actinic::remote(num_cpus = 0)]
async fn naps(value: i64, millis: u64) -> actinic::Result<i64> {
    actinic::sleep(Duration::from_millis(millis)).await?;
    Ok(value)
}

/// In a simulation too a sync method waits, in its time, beside other actors; equal seeds are equal runs.
#[test]
fn a_sync_method_waits_in_virtual_time() {
    let run = |seed| {
        let options = TestOptions::new(file!(), line!()).num_cpus(2).timeout(600).sim(true).seed(seed);
        run_test(options, |cluster| async move {
            let node = cluster.add_node().num_cpus(2).await.unwrap();
            let there = Signal::options().scheduling(Scheduling::on(&node));
            let (one, other) = (Signal::remote(), there.remote());
            let a_while = || actinic::sleep(Duration::from_millis(200));
            let waits: Vec<_> = (0..3).map(|_| one.wait(None)).collect();
            a_while().await.unwrap();
            one.send().await.unwrap();
            assert_eq!(actinic::get(&waits).await.unwrap(), [0; 3]);
            let asks = one.ask_alone("/dev/null", vec![naps::remote(5, 60_000)]);
            let behind = one.echo(1);
            a_while().await.unwrap();
            assert_eq!((other.echo(2).await.unwrap(), other.echo_now(3).await.unwrap()), (2, 3));
            assert!(cluster.sim().now() < Duration::from_secs(60), "nobody waited for that");
            assert!(other.ask_from_async().await.is_err());
            assert_eq!((asks.await.unwrap(), behind.await.unwrap()), (5, 1));
            assert!(cluster.sim().now() >= Duration::from_secs(60));
            // One waits when it is killed, one when the cluster ends.
            let never = one.ask_alone("/dev/null", vec![naps::remote(5, 3_600_000)]);
            let last = other.ask_alone("/dev/null", vec![naps::remote(5, 3_600_000)]);
            a_while().await.unwrap();
            actinic::kill(&one).await.unwrap();
            assert!(matches!(never.await.unwrap_err(), Error::ActorDied { .. }));
            drop(last);
            (cluster.sim().trace_hash(), cluster.sim().now())
        })
    };
    let first = run(31);
    assert_eq!(first, run(31));
    assert_ne!(first.0, run(32).0);
}
