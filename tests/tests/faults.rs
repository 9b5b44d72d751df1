//! FAI: workers and processes that end, errors that are retried, what does not fit.

use std::time::Duration;

use actinic::prelude::*;
use actinic::testing::{Message, TestCluster, eventually};

use crate::support::*;

#[actinic::remote]
fn always_crashes(file: &str) -> i64 {
    count_up(file);
    actinic::testing::crash()
}

/// What a task inside this one says, with as many retries as the number says; none if negative.
#[actinic::remote]
fn gets_a_crash(file: &str, retries: Option<i64>) -> actinic::Result<i64> {
    match retries {
        None => always_crashes::remote(file).blocking(),
        Some(retries) => always_crashes::options().max_retries(retries).remote(file).blocking(),
    }
}

#[actinic::remote]
fn crashes_once(file: &str) -> u64 {
    let runs = count_up(file);
    if runs == 1 { actinic::testing::crash() } else { runs }
}

#[actinic::remote(retry_errors)]
fn fails_once(file: &str) -> Result<i64, Refused> {
    let runs = count_up(file) as i64;
    if runs == 1 { Err(Refused(runs)) } else { Ok(runs) }
}

/// Like the others, and said nothing of retries.
#[actinic::remote]
fn fails_once_plainly(file: &str) -> Result<i64, Refused> {
    let runs = count_up(file) as i64;
    if runs == 1 { Err(Refused(runs)) } else { Ok(runs) }
}

fn is_even(error: &Refused) -> bool {
    error.0 % 2 == 0
}

/// Fails with the number as long as it ran fewer times than that; only even numbers are worth another attempt.
#[actinic::remote(retry_if = is_even)]
fn fails_with(file: &str, number: i64, times: u64) -> Result<u64, Refused> {
    let runs = count_up(file);
    if runs <= times { Err(Refused(number)) } else { Ok(runs) }
}

#[actinic::remote]
fn panics(text: &str) -> i64 {
    panic!("it said {text}")
}

#[actinic::remote]
async fn panics_later(text: &str) -> i64 {
    tokio::task::yield_now().await;
    panic!("it said {text}")
}

/// Panics with what is no text.
#[actinic::remote]
fn panics_with_a_number() -> i64 {
    std::panic::panic_any(5_u8)
}

#[actinic::remote]
async fn panics_later_with_a_number() -> i64 {
    tokio::task::yield_now().await;
    std::panic::panic_any(5_u8)
}

#[actinic::remote]
fn panics_once(file: &str) -> u64 {
    let runs = count_up(file);
    assert!(runs > 1, "not the first time");
    runs
}

#[actinic::remote]
fn exits() -> i64 {
    std::process::exit(0)
}

modes! {
    /// FAI-01: a task that always ends its worker runs once and three times more, or as often as it was told.
    2 CPUs, async fn a_crashing_task_runs_as_often_as_it_may(cluster) {
        let scratch = Scratch::new();
        for (retries, runs) in [(None, 4), (Some(0), 1), (Some(1), 2)] {
            let file = scratch.file(&format!("runs {runs}"));
            let task = match retries {
                None => always_crashes::remote(&file),
                Some(retries) => always_crashes::options().max_retries(retries).remote(&file),
            };
            let error = actinic::get(&task).timeout(SOON).await.unwrap_err();
            assert!(matches!(error, Error::WorkerCrashed { .. }), "{error:?}");
            assert!(error.to_string().contains("always_crashes"), "it names the task: {error}");
            assert_eq!(counted(&file), runs);
            let file = scratch.file(&format!("inside {runs}"));
            let error = actinic::get(&gets_a_crash::remote(&file, retries)).timeout(SOON).await.unwrap_err();
            assert!(matches!(error.root_cause(), Error::WorkerCrashed { .. }), "{error:?}");
            assert_eq!(counted(&file), runs, "inside a task");
        }
        assert_eq!(echo::remote(1).await?, 1);
    }

    /// FAI-02: a task that ends its worker once is run again, if it may.
    1 CPUs, async fn a_task_that_crashed_once_runs_again(cluster) {
        let scratch = Scratch::new();
        let again = crashes_once::options().max_retries(1).remote(scratch.file("again"));
        assert_eq!(actinic::get(&again).timeout(SOON).await?, 2);
        let once = crashes_once::options().max_retries(0).remote(scratch.file("once"));
        let error = actinic::get(&once).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, Error::WorkerCrashed { .. }), "{error:?}");
        assert_eq!(counted(&scratch.file("once")), 1);
    }

    /// FAI-03: an error that the function returns is worth another attempt only where that was asked for.
    1 CPUs, async fn errors_are_retried_if_asked_for(cluster) {
        let scratch = Scratch::new();
        assert_eq!(fails_once::remote(scratch.file("attribute")).await?, 2);
        assert_eq!(fails_once_plainly::options().retry_errors(true).remote(scratch.file("option")).await?, 2);
        assert_eq!(panics_once::options().retry_errors(true).remote(scratch.file("panic")).await?, 2);
        let refused = [
            ("none", fails_once::options().max_retries(0).remote(scratch.file("none"))),
            ("off", fails_once::options().retry_errors(false).remote(scratch.file("off"))),
            ("plain", fails_once_plainly::remote(scratch.file("plain"))),
        ];
        for (name, task) in refused {
            let error = task.await.unwrap_err();
            assert_eq!(error.downcast_ref::<Refused>(), Some(&Refused(1)), "{name}: {error:?}");
            assert_eq!(counted(&scratch.file(name)), 1, "{name}");
        }
    }

    /// FAI-04: only errors of the kind that was named are worth another attempt.
    1 CPUs, async fn errors_of_another_kind_are_not_retried(cluster) {
        let scratch = Scratch::new();
        assert_eq!(fails_with::remote(scratch.file("even"), 2, 2).await?, 3);
        let error = fails_with::remote(scratch.file("odd"), 3, 2).await.unwrap_err();
        assert_eq!(error.downcast_ref::<Refused>(), Some(&Refused(3)), "{error:?}");
        assert_eq!(counted(&scratch.file("odd")), 1);
        let error = fails_with::remote(scratch.file("always"), 4, 9).await.unwrap_err();
        assert_eq!(error.downcast_ref::<Refused>(), Some(&Refused(4)), "{error:?}");
        assert_eq!(counted(&scratch.file("always")), 4, "the attempts end");
    }

    /// FAI-07: a panic is the task's error, with its text and place, and its worker goes on.
    1 CPUs, async fn a_panic_ends_the_task_and_not_its_worker(cluster) {
        let before = whereabouts::remote().await?;
        let error = panics::remote("no").await.unwrap_err();
        let text = format!("{error:?}");
        assert!(matches!(error, Error::Task { .. }), "{text}");
        assert!(text.contains("it said no") && text.contains("faults.rs") && text.contains("panics"), "{text}");
        assert_eq!(whereabouts::remote().await?, before);
    }

    /// FAI-07: so is one of an async task that had waited, and one whose payload is no text; the place is said all the
    /// same.
    1 CPUs, async fn a_panic_of_any_kind_ends_its_task_only(cluster) {
        let before = whereabouts::remote().await?;
        let all = [
            ("it said later", "panics_later", panics_later::remote("later")),
            ("no text", "panics_with_a_number", panics_with_a_number::remote()),
            ("no text", "panics_later_with_a_number", panics_later_with_a_number::remote()),
        ];
        for (said, name, task) in all {
            let error = actinic::get(&task).timeout(SOON).await.unwrap_err();
            let text = format!("{error:?}");
            assert!(matches!(error, Error::Task { .. }), "{text}");
            assert!(text.contains(said) && text.contains("faults.rs") && text.contains(name), "{text}");
        }
        assert_eq!(whereabouts::remote().await?, before);
    }
}

/// FAI-01: the number of attempts that a program's environment gives is what a task has that says nothing, a nested one
/// too.
#[test]
fn the_environment_says_how_often_tasks_are_tried() {
    for test in ["faults::runs_twice_on_threads", "faults::runs_twice_on_processes"] {
        alone(test, &[("ACTINIC_TASK_MAX_RETRIES", "1")]);
    }
}

/// In a simulation it says nothing: what a seed does is the same everywhere.
#[test]
fn a_simulation_has_its_own_number_of_tries() {
    alone("faults::runs_four_times", &[("ACTINIC_TASK_MAX_RETRIES", "1")]);
}

#[actinic::test(sim, num_cpus = 1)]
#[ignore = "it is run alone by another"]
async fn runs_four_times() -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (plain, inside) = (scratch.file("plain"), scratch.file("inside"));
    assert!(always_crashes::remote(&plain).await.is_err());
    assert!(gets_a_crash::remote(&inside, None).await.is_err());
    assert_eq!((counted(&plain), counted(&inside)), (4, 4));
    Ok(())
}

async fn runs_twice(cluster: &TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (plain, inside) = (scratch.file("plain"), scratch.file("inside"));
    let error = actinic::get(&always_crashes::remote(&plain)).timeout(SOON).await.unwrap_err();
    assert!(matches!(error, Error::WorkerCrashed { .. }), "{error:?}");
    let error = actinic::get(&gets_a_crash::remote(&inside, None)).timeout(SOON).await.unwrap_err();
    assert!(matches!(error.root_cause(), Error::WorkerCrashed { .. }), "{error:?}");
    assert_eq!((counted(&plain), counted(&inside)), (2, 2));
    // Who says something else is not told by it.
    for (retries, runs) in [(0, 1), (2, 3)] {
        let file = scratch.file(&format!("runs {runs}"));
        let task = always_crashes::options().max_retries(retries).remote(&file);
        actinic::get(&task).timeout(SOON).await.unwrap_err();
        assert_eq!(counted(&file), runs);
    }
    cluster.idle().await
}

#[actinic::test(num_cpus = 2)]
#[ignore = "another test runs it in a process of its own"]
async fn runs_twice_on_threads(cluster: TestCluster) -> actinic::Result<()> {
    runs_twice(&cluster).await
}

#[actinic::test(num_cpus = 2, workers = "processes")]
#[ignore = "another test runs it in a process of its own"]
async fn runs_twice_on_processes(cluster: TestCluster) -> actinic::Result<()> {
    runs_twice(&cluster).await
}

/// Numbers its calls, one after another.
pub struct InTurn {
    calls: i64,
}

#[actinic::remote(num_cpus = 1)]
impl InTurn {
    pub fn new() -> Self {
        InTurn { calls: 0 }
    }

    /// What it was given, and how many calls came before.
    pub fn echo(&mut self, value: i64) -> (i64, i64) {
        self.calls += 1;
        (value, self.calls - 1)
    }

    pub fn node(&self) -> actinic::NodeId {
        actinic::context().node_id()
    }
}

/// The same where calls overlap.
#[derive(Default)]
pub struct Together {
    calls: std::sync::atomic::AtomicI64,
}

#[actinic::remote(num_cpus = 1)]
impl Together {
    pub fn new() -> Self {
        Together::default()
    }

    pub async fn echo(&self, value: i64) -> (i64, i64) {
        let before = self.calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        tokio::task::yield_now().await;
        (value, before)
    }

    pub async fn node(&self) -> actinic::NodeId {
        actinic::context().node_id()
    }
}

/// RPC-01: calls and answers that are lost on their way change nothing: each of ten calls at once runs once and has its
/// answer, and where calls do not overlap they run in their order.
#[actinic::test(num_cpus = 0)]
async fn lost_calls_and_answers_change_nothing(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(2).await?;
    for message in [Message::ActorCall, Message::ActorReply] {
        let in_turn = InTurn::options().max_task_retries(-1).remote();
        let together = Together::options().max_task_retries(-1).remote();
        assert_eq!(actinic::get(&[in_turn.node(), together.node()]).timeout(SOON).await?, [node.id(); 2]);

        cluster.lose(message, 2).await?;
        let refs: Vec<_> = (0..10).map(|value| in_turn.echo(value)).collect();
        let answers = actinic::get(&refs).timeout(SOON).await?;
        assert_eq!(answers, (0..10).map(|value| (value, value)).collect::<Vec<_>>(), "{message:?}");
        // Ten calls may be one message: these are the next.
        assert_eq!(actinic::get(&in_turn.echo(10)).timeout(SOON).await?, (10, 10), "{message:?}");
        assert_eq!(actinic::get(&in_turn.echo(11)).timeout(SOON).await?, (11, 11), "{message:?}");

        cluster.lose(message, 2).await?;
        let refs: Vec<_> = (0..10).map(|value| together.echo(value)).collect();
        let (values, mut before): (Vec<_>, Vec<_>) = actinic::get(&refs).timeout(SOON).await?.into_iter().unzip();
        before.sort_unstable();
        assert_eq!((values, before), ((0..10).collect(), (0..10).collect()), "{message:?}");
        assert_eq!(actinic::get(&together.echo(10)).timeout(SOON).await?, (10, 10), "{message:?}");
        assert_eq!(actinic::get(&together.echo(11)).timeout(SOON).await?, (11, 11), "{message:?}");
    }
    cluster.idle().await
}

here! {
    /// FAI-09: a task that ends its worker harms none of twenty that run elsewhere on the node.
    4 CPUs, async fn a_crash_harms_nobody_else(cluster) {
        let scratch = Scratch::new();
        let (running, gate) = (scratch.file("running"), scratch.file("gate"));
        let task = held::options().num_cpus(0.1);
        let others: Vec<_> = (0..20).map(|n| task.clone().remote(&running, &gate, n)).collect();
        until_counted(&running, 20).await;
        let crashed = crashes_once::options().max_retries(1).remote(scratch.file("crash"));
        assert_eq!(actinic::get(&crashed).timeout(SOON).await?, 2);
        open_gate(&gate);
        assert_eq!(actinic::get(&others).timeout(SOON).await?, (0..20).collect::<Vec<_>>());
        assert_eq!(counted(&running), 20, "none was run again");
    }
}

/// FAI-09: the same on a node whose workers are threads of another process than the owner's.
#[actinic::test(num_cpus = 0)]
async fn a_crash_on_another_node_harms_nobody_else(cluster: TestCluster) -> actinic::Result<()> {
    let _node = cluster.add_node().num_cpus(4).await?;
    let scratch = Scratch::new();
    let (running, gate) = (scratch.file("running"), scratch.file("gate"));
    let task = held::options().num_cpus(0.1);
    let others: Vec<_> = (0..20).map(|n| task.clone().remote(&running, &gate, n)).collect();
    until_counted(&running, 20).await;
    let crashed = crashes_once::options().max_retries(1).remote(scratch.file("crash"));
    assert_eq!(actinic::get(&crashed).timeout(SOON).await?, 2);
    open_gate(&gate);
    assert_eq!(actinic::get(&others).timeout(SOON).await?, (0..20).collect::<Vec<_>>());
    assert_eq!(counted(&running), 20, "none was run again");
    drop((others, crashed));
    cluster.idle().await
}

/// FAI-06: a process that ends in the middle of a task has crashed, however well it ended.
#[actinic::test(num_cpus = 1, workers = "processes")]
async fn a_clean_exit_inside_a_task_is_a_crash(cluster: TestCluster) -> actinic::Result<()> {
    let error = actinic::get(&exits::options().max_retries(0).remote()).timeout(SOON).await.unwrap_err();
    assert!(matches!(error, Error::WorkerCrashed { .. }), "{error:?}");
    assert_eq!(echo::remote(1).await?, 1);
    cluster.idle().await
}

/// Crashes if it is to; counts its runs.
#[actinic::remote]
fn quick(file: &str, crashes: bool) -> u64 {
    if crashes {
        count_up(file);
        actinic::testing::crash()
    }
    1
}

here! {
    /// FAI-09: of many short tasks that share a worker, the one that ends it is charged, and nobody else.
    2 CPUs, async fn a_crash_is_charged_to_its_task(cluster) {
        let scratch = Scratch::new();
        let file = scratch.file("runs");
        let before: Vec<_> = (0..1000).map(|_| quick::remote(&file, false)).collect();
        actinic::get(&before).await?;
        let once = quick::options().max_retries(0);
        for place in [0usize, 50, 199] {
            let refs: Vec<_> = (0..200)
                .map(|n| if n == place { quick::remote(&file, true) } else { once.clone().remote(&file, false) })
                .collect();
            for (n, task) in refs.iter().enumerate().filter(|(n, _)| *n != place) {
                assert_eq!(actinic::get(task).timeout(SOON).await?, 1, "{n} of those beside {place}");
            }
            let error = actinic::get(&refs[place]).timeout(SOON).await.unwrap_err();
            assert!(matches!(error, Error::WorkerCrashed { .. }), "{error:?}");
        }
        assert_eq!(counted(&file), 12, "one run and three more each");
    }
}

/// A worker process that is killed from outside, while others run: only what it ran is run again.
#[actinic::test(num_cpus = 4, workers = "processes")]
async fn a_killed_worker_process_loses_what_it_ran(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (running, gate) = (scratch.file("running"), scratch.file("gate"));
    let others: Vec<_> = (0..3).map(|n| held::remote(&running, &gate, n)).collect();
    until_counted(&running, 3).await;
    let mine = pid_then_hold::options().max_retries(1).remote(scratch.file("pid"), scratch.file("mine"), &gate);
    until_counted(&scratch.file("mine"), 1).await;
    let pid = std::fs::read_to_string(scratch.file("pid")).unwrap();
    assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    until_counted(&scratch.file("mine"), 2).await;
    open_gate(&gate);
    assert_ne!(actinic::get(&mine).timeout(SOON).await?.to_string(), pid);
    assert_eq!(actinic::get(&others).timeout(SOON).await?, [0, 1, 2]);
    assert_eq!((counted(&running), counted(&scratch.file("mine"))), (3, 2));
    drop((mine, others));
    cluster.idle().await
}

#[actinic::remote]
fn pid_then_hold(pid: &str, running: &str, gate: &str) -> u32 {
    std::fs::write(pid, std::process::id().to_string()).unwrap();
    count_up(running);
    hold(gate);
    std::process::id()
}

/// Awaits a task that holds, on a node that has the pin.
#[actinic::remote]
async fn awaits_held(began: &str, running: &str, gate: &str) -> actinic::Result<i64> {
    count_up(began);
    held::options().resource("inner", 1).remote(running, gate, 7).await
}

/// An async task that waits without a thread is run again when its node dies.
#[actinic::test(num_cpus = 1, resources = { "inner": 2 })]
async fn a_waiting_async_task_runs_again_elsewhere(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (began, running, gate) = (scratch.file("began"), scratch.file("running"), scratch.file("gate"));
    let first = cluster.add_node().num_cpus(1).resource("pin", 1).await?;
    let task = awaits_held::options().resource("pin", 1).remote(&began, &running, &gate);
    until_counted(&running, 1).await;
    // Its worker is let go meanwhile: the lease of it has ended, the task has not.
    assert!(eventually(SOON, || cluster.available_resources()["CPU"] == 1.0).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    first.kill().await?;
    let _second = cluster.add_node().num_cpus(1).resource("pin", 1).await?;
    until_counted(&began, 2).await;
    open_gate(&gate);
    assert_eq!(actinic::get(&task).timeout(SOON).await?, 7);
    Ok(())
}

/// A node that dies takes what runs there with it: that is run again elsewhere, the rest is not.
#[actinic::test(num_cpus = 1)]
async fn a_dead_nodes_tasks_run_again_elsewhere(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (here, there, gate) = (scratch.file("here"), scratch.file("there"), scratch.file("gate"));
    let first = cluster.add_node().num_cpus(1).resource("pin", 1).await?;
    let stays = held::options().scheduling(Scheduling::on(cluster.head().id())).remote(&here, &gate, 1);
    let moves = held::options().resource("pin", 1).remote(&there, &gate, 2);
    let once = counted_run::options().resource("pin", 1).num_cpus(0).max_retries(0);
    until_counted(&here, 1).await;
    until_counted(&there, 1).await;
    let queued = once.remote(scratch.file("queued"), 3);
    first.kill().await?;
    let _second = cluster.add_node().num_cpus(1).resource("pin", 1).await?;
    until_counted(&there, 2).await;
    open_gate(&gate);
    assert_eq!(actinic::get(&[stays, moves]).timeout(SOON).await?, [1, 2]);
    // It had not begun: it has lost no attempt.
    assert_eq!(actinic::get(&queued).timeout(SOON).await?, 3);
    drop(queued);
    assert_eq!((counted(&here), counted(&there)), (1, 2));
    assert!(eventually(Duration::from_secs(10), || cluster.resources()["CPU"] == 2.0).await);
    cluster.idle().await
}

#[actinic::remote]
fn counted_run(file: &str, value: i64) -> i64 {
    count_up(file);
    value
}

/// Dies while it runs, every time.
#[actinic::remote]
fn dies(file: &str) -> i64 {
    count_up(file);
    actinic::testing::crash()
}

/// Says in a file where it runs, and waits for a ref.
#[actinic::remote]
async fn waits(file: String, values: Vec<ObjectRef<i64>>) -> actinic::Result<i64> {
    std::fs::write(&file, std::process::id().to_string()).map_err(Error::other)?;
    actinic::get(&values[0]).await
}

/// FAI-09: of tasks that were lent to one worker, only the one that kills it is charged for that.
#[actinic::test(num_cpus = 1, workers = "processes")]
async fn only_the_task_that_crashed_is_charged(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let quick: Vec<_> = (0..1000).map(|value| counted_run::remote(scratch.file("warm"), value)).collect();
    actinic::get(&quick).await?;
    let mut refs: Vec<_> =
        (0..100).map(|value| counted_run::options().max_retries(1).remote(scratch.file("a"), value)).collect();
    let crasher = dies::options().max_retries(3).remote(scratch.file("dies"));
    refs.extend((100..200).map(|value| counted_run::options().max_retries(1).remote(scratch.file("a"), value)));
    assert!(matches!(crasher.await.unwrap_err(), Error::WorkerCrashed { .. }));
    assert_eq!(actinic::get(&refs).await?, (0..200).collect::<Vec<_>>());
    assert_eq!(counted(&scratch.file("dies")), 4);
    drop((quick, refs));
    cluster.idle().await
}

/// An async task that waits for a ref holds no worker, and runs again all the same when its worker's process dies.
#[actinic::test(num_cpus = 2, workers = "processes")]
async fn a_waiting_async_task_survives_its_worker(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (file, gate) = (scratch.file("pid"), scratch.file("gate"));
    let value = held::remote(scratch.file("held"), &gate, 7);
    until_counted(&scratch.file("held"), 1).await;
    let waiting = waits::remote(&file, vec![value]);
    let pid = || std::fs::read_to_string(&file).ok().filter(|pid| !pid.is_empty());
    assert!(eventually(SOON, || pid().is_some()).await);
    let first = pid().unwrap();
    // Its lease is idle, and goes back: half a second later nobody leases its worker.
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(std::process::Command::new("kill").args(["-9", &first]).status().unwrap().success());
    assert!(eventually(SOON, || pid().is_some_and(|pid| pid != first)).await, "it runs again");
    open_gate(&gate);
    assert_eq!(waiting.await?, 7);
    cluster.idle().await
}

#[actinic::remote(max_retries = 2)]
async fn aborts_between_polls(runs: String) {
    count_up(&runs);
    // What it awaits ends its process, while it is not polled.
    let (tell, hear) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        drop(tell);
        std::process::abort()
    });
    let _ = hear.await;
    std::future::pending::<()>().await;
}

/// FAI-01: a process that dies while an async task in it waits has died of that task, as often as its retries allow.
#[actinic::test(num_cpus = 1, workers = "processes")]
async fn an_async_task_that_ends_its_process_is_not_tried_for_ever(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let runs = scratch.file("runs");
    let error = actinic::get(&aborts_between_polls::remote(&runs)).timeout(SOON).await.unwrap_err();
    assert!(matches!(error, Error::WorkerCrashed { .. }), "{error:?}");
    assert_eq!(counted(&runs), 3);
    assert_eq!(echo::remote(1).await?, 1);
    cluster.idle().await
}

pub struct Kept;

#[actinic::remote]
impl Kept {
    pub fn new() -> Self {
        Kept
    }
}

/// Keeps an actor for as long as it waits, which is for ever, and without a lease.
#[actinic::remote]
async fn keeps(began: &str, kept: Handle<Kept>) -> actinic::Result<i64> {
    let _kept = kept;
    count_up(began);
    echo::options().resource("nowhere", 1).remote(1).await
}

/// The same on a thread.
#[actinic::remote]
fn keeps_a_thread(began: &str, kept: Handle<Kept>) -> actinic::Result<i64> {
    let _kept = kept;
    count_up(began);
    echo::options().resource("nowhere", 1).remote(1).blocking()
}

fn keeps_in(sync: bool, began: &str, kept: Handle<Kept>) -> ObjectRef<i64> {
    if sync { keeps_a_thread::remote(began, kept) } else { keeps::remote(began, kept) }
}

pub struct Submits {
    refs: Vec<ObjectRef<i64>>,
}

#[actinic::remote]
impl Submits {
    pub fn new() -> Self {
        Submits { refs: Vec::new() }
    }

    pub fn submit(&mut self, sync: bool, began: String, kept: Handle<Kept>) {
        self.refs.push(keeps_in(sync, &began, kept));
    }
}

modes! {
    /// Nobody hears of a task whose owner is dead: it is given up, with what it holds and what it has submitted, though it
    /// waits on a thread, or holds no worker that could be ended.
    4 CPUs, async fn tasks_end_with_their_owner(cluster) {
        let scratch = Scratch::new();
        for (sync, began) in [(false, scratch.file("async")), (true, scratch.file("sync"))] {
            let kept = Kept::remote();
            let closed = Handle::closed(&kept);
            let owner = Submits::remote();
            owner.submit(sync, &began, kept).await?;
            until_counted(&began, 1).await;
            // The lease of an async one, which waits, is idle for half a second, and goes back.
            tokio::time::sleep(Duration::from_millis(700)).await;
            cluster.crash_actor(&owner).await?;
            assert!(tokio::time::timeout(SOON, async { closed.await }).await.is_ok(), "sync: {sync}");
        }
    }

    4 CPUs, async fn tasks_end_with_their_driver(cluster) {
        let scratch = Scratch::new();
        for (sync, began) in [(false, scratch.file("async")), (true, scratch.file("sync"))] {
            let name = format!("kept {sync}");
            let kept = Kept::options().name(&name).namespace("other").remote();
            Handle::ready(&kept).await?;
            let closed = Handle::closed(&kept);
            let driver = cluster.driver().namespace("other").await?;
            let found: Handle<Kept> = driver.scope(async { actinic::get_actor(&name).await }).await?;
            let task = driver.scope(async { keeps_in(sync, &began, found) }).await;
            until_counted(&began, 1).await;
            drop(kept);
            tokio::time::sleep(Duration::from_millis(700)).await;
            driver.shutdown().await?;
            assert!(tokio::time::timeout(SOON, async { closed.await }).await.is_ok(), "sync: {sync}");
            drop(task);
        }
    }
}

/// Refs to what a worker has submitted fail with the cluster that would have made it.
#[actinic::test(num_cpus = 1)]
async fn what_a_worker_has_submitted_fails_with_its_cluster(cluster: TestCluster) -> actinic::Result<()> {
    let own = actinic::init().num_cpus(1).separate().await?;
    let inner = own.scope(async { submits_what_fits_nowhere::remote().await }).await?;
    let waits = std::thread::spawn(move || inner.blocking());
    own.shutdown().await?;
    assert!(eventually(SOON, || waits.is_finished()).await, "it waits for ever");
    let error = waits.join().unwrap().unwrap_err();
    assert!(matches!(error, Error::Connection { .. } | Error::OwnerDied { .. }), "{error:?}");
    cluster.idle().await
}

#[actinic::remote]
fn submits_what_fits_nowhere() -> ObjectRef<i64> {
    echo::options().resource("absent", 1).remote(1)
}

pub struct Lives;

#[actinic::remote]
impl Lives {
    pub fn new() -> Self {
        Lives
    }
    pub fn number(&mut self) -> u64 {
        7
    }
}

/// What its calls say, one after the other.
#[actinic::remote]
fn calls(actor: Handle<Lives>, times: usize) -> Vec<String> {
    let call = || actor.number().blocking().map_or_else(|error| error.to_string(), |number| number.to_string());
    (0..times).map(|_| call()).collect()
}

/// An actor lives, and so does a caller of it, and nothing passes between their machines. Its calls fail, the first when no
/// connection came for a minute, and those after it at once; other callers are served.
#[actinic::test(sim, seed = 31, num_cpus = 1, timeout = 120)]
async fn calls_of_an_actor_that_lives_out_of_reach_fail(cluster: TestCluster) -> actinic::Result<()> {
    let (near, far) = (cluster.add_node().num_cpus(1).await?, cluster.add_node().num_cpus(1).await?);
    let lives = Lives::options().scheduling(Scheduling::on(&far)).remote();
    Handle::ready(&lives).await?;
    cluster.sim().partition(&[&near], &[&far]);
    let begun = cluster.sim().now();
    let on_near = || calls::options().scheduling(Scheduling::on(&near));
    let said = on_near().remote(lives.clone(), 3).await?;
    let took = cluster.sim().now() - begun;
    assert!(said.iter().all(|said| said.contains("cannot be reached") || said.contains("cannot reach")), "{said:?}");
    assert!(took < Duration::from_secs(90), "{took:?}");
    assert_eq!(lives.number().await?, 7);
    cluster.sim().heal();
    drop(lives);
    cluster.idle().await
}

/// Submits what only a node with `far` can run, and says where each ran.
#[actinic::remote]
async fn submits_far(count: usize) -> actinic::Result<Vec<String>> {
    let refs: Vec<_> = (0..count).map(|_| node_of_far::remote()).collect();
    actinic::get(&refs).await
}

#[actinic::remote(resources = { "far": 1 }, num_cpus = 0)]
fn node_of_far() -> String {
    actinic::context().node_id().to_string()
}

#[actinic::remote]
async fn insists_on(node: actinic::NodeId) -> actinic::Result<String> {
    node_of_far::options().scheduling(Scheduling::on(node)).remote().await
}

/// A node lives, and so does who submits what would run there, and nothing passes between them: it runs where it can be
/// reached, once there is such a node, and what must run there fails.
#[actinic::test(sim, seed = 32, num_cpus = 1, timeout = 200)]
async fn what_a_node_out_of_reach_was_asked_for_runs_elsewhere(cluster: TestCluster) -> actinic::Result<()> {
    let near = cluster.add_node().num_cpus(1).await?;
    let far = cluster.add_node().num_cpus(1).resource("far", 1).await?;
    cluster.sim().partition(&[&near], &[&far]);
    let on_near = |count| submits_far::options().scheduling(Scheduling::on(&near)).remote(count);
    let waits = on_near(3);
    // Nobody is given up before a connection was tried for a minute.
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert!(cluster.nodes().await?.iter().any(|node| node.id == far.id() && node.alive), "it lives, for the others");
    let other = cluster.add_node().num_cpus(1).resource("far", 1).await?;
    assert_eq!(actinic::get(&waits).timeout(SOON).await?, vec![other.id().to_string(); 3]);
    assert_eq!(actinic::get(&on_near(5)).timeout(SOON).await?, vec![other.id().to_string(); 5]);
    let insists = insists_on::options().scheduling(Scheduling::on(&near)).remote(far.id());
    let error = actinic::get(&insists).timeout(SOON).await.unwrap_err();
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    drop((waits, insists));
    cluster.sim().heal();
    cluster.idle().await
}
