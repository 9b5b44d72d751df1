//! Task events: what `state::tasks` tells of tasks and actors' calls, in every mode.

use std::time::{Duration, SystemTime};

use actinic::prelude::*;
use actinic::state::{TaskInfo, TaskState, tasks, tasks_dropped};
use actinic::testing::eventually;

use crate::support::*;

#[actinic::remote(max_retries = 2, retry_errors = true)]
fn fails_twice(tries: &str) -> actinic::Result<u64> {
    match count_up(tries) {
        tries @ 0..=2 => Err(Error::other(std::io::Error::other(format!("no luck the {tries}. time")))),
        tries => Ok(tries),
    }
}

#[actinic::remote]
async fn submits(value: i64) -> actinic::Result<i64> {
    echo::remote(value).await
}

pub struct Adder {
    sum: i64,
}

#[actinic::remote]
impl Adder {
    pub fn new() -> Self {
        Adder { sum: 0 }
    }

    pub fn add(&mut self, value: i64) -> i64 {
        self.sum += value;
        self.sum
    }

    #[actinic::method(task_events = false)]
    pub fn quiet(&self) {}

    #[actinic::method(name = "many", retry_errors, max_task_retries = 1)]
    pub fn panics_once(&self, tries: String) -> actinic::Result<u64> {
        let tries = count_up(&tries);
        assert!(tries > 1, "not at once");
        Ok(tries)
    }

    pub fn hold_once(&self, tries: String, gate: String) -> u64 {
        let tries = count_up(&tries);
        if tries == 1 {
            hold(&gate);
        }
        tries
    }

    pub async fn wait(&self, gate: String) {
        while !std::path::Path::new(&gate).exists() {
            actinic::sleep(Duration::from_millis(2)).await.unwrap();
        }
    }
}

async fn named(name: &str) -> Vec<TaskInfo> {
    tasks().await.unwrap().into_iter().filter(|task| task.name.ends_with(name)).collect()
}

/// Until the tasks of that name are in these states.
async fn until(name: &str, states: &[TaskState]) -> Vec<TaskInfo> {
    let mut last = Vec::new();
    for _ in 0..200 {
        last = named(name).await;
        let mut now: Vec<TaskState> = last.iter().map(|task| task.state).collect();
        now.sort_unstable();
        if now == states {
            return last;
        }
        actinic::sleep(Duration::from_millis(100)).await.unwrap();
    }
    panic!("{name} is not {states:?}: {last:#?}");
}

modes! {
    /// EVENTS-4: what was submitted is listed when it has its result, with where and when it ran.
    2 CPUs, async fn finished_tasks_are_listed(cluster) {
        let before = SystemTime::now();
        let refs: Vec<_> = (0..10).map(echo::remote).collect();
        actinic::get(&refs).await?;
        let all = named("echo").await;
        assert_eq!(all.len(), 10);
        for task in &all {
            assert_eq!((task.state, task.attempt, task.actor), (TaskState::Finished, 0, None));
            assert!(task.node.is_some() && task.worker.is_some() && task.error.is_none(), "{task:?}");
            assert!(before <= task.started.unwrap() && task.started <= task.ended, "{task:?}");
            assert!(refs.iter().any(|one| one.id().task == task.id), "{task:?}");
        }
        assert_eq!(tasks_dropped().await?, 0);
    }

    /// OBS-05: each attempt has a row of its own, with the error of each.
    1 CPUs, async fn each_attempt_is_listed_with_its_error(cluster) {
        let scratch = Scratch::new();
        assert_eq!(fails_twice::remote(scratch.file("tries")).await?, 3);
        let all = named("fails_twice").await;
        let states: Vec<_> = all.iter().map(|task| (task.attempt, task.state)).collect();
        assert_eq!(states, [(0, TaskState::Failed), (1, TaskState::Failed), (2, TaskState::Finished)]);
        for (task, time) in all.iter().zip(["the 1. time", "the 2. time"]) {
            assert!(task.error.as_ref().unwrap().contains(time), "{task:?}");
        }
    }

    /// What has not ended says what it does, and what it waits for.
    1 CPUs, async fn what_goes_on_says_what_it_does(cluster) {
        let scratch = Scratch::new();
        let (began, gate) = (scratch.file("began"), scratch.file("gate"));
        let holding = holds::remote(&began, &gate);
        until_counted(&began, 1).await;
        let late = echo::options().name("late").remote(1);
        let later = echo::options().name("dependent").remote(&late);
        let never = echo::options().name("never").resource("unobtainium", 1.0).remote(2);
        let all = until("holds", &[TaskState::Running]).await;
        assert!(all[0].worker.is_some() && all[0].ended.is_none(), "{all:?}");
        until("dependent", &[TaskState::PendingArgs]).await;
        until("late", &[TaskState::PendingNode]).await;
        let waits = async || named("never").await[0].waits_for.clone().unwrap().contains("unobtainium");
        assert!(eventually(SOON, waits).await, "{:?}", named("never").await);
        open_gate(&gate);
        later.await?;
        let all = until("holds", &[TaskState::Finished]).await;
        assert!(all[0].ended > all[0].started, "{all:?}");
        actinic::cancel(&never).await?;
        let all = until("never", &[TaskState::Failed]).await;
        assert!(all[0].error.as_ref().unwrap().contains("cancelled"), "{all:?}");
        drop(holding);
    }

    /// Calls of actors are listed with their actor; what tasks submit is listed soon.
    2 CPUs, async fn calls_and_nested_tasks_are_listed(cluster) {
        let adder = Adder::remote();
        assert_eq!(adder.add(4).await?, 4);
        let all = named("Adder.add").await;
        assert_eq!((all.len(), all[0].state, all[0].actor), (1, TaskState::Finished, Some(Handle::id(&adder))));
        assert_eq!(submits::remote(5).await?, 5);
        until("echo", &[TaskState::Finished]).await;
        let scratch = Scratch::new();
        let waiting = adder.wait(scratch.file("gate"));
        let all = until("Adder.wait", &[TaskState::Submitted]).await;
        assert!(all[0].node.is_some(), "{all:?}");
        open_gate(&scratch.file("gate"));
        waiting.await?;
        let all = until("Adder.wait", &[TaskState::Finished]).await;
        assert!(all[0].ended > all[0].started, "it ran for a while: {all:?}");
    }

    /// A call can be left out.
    1 CPUs, async fn a_call_without_events_is_not_listed(cluster) {
        echo::options().task_events(false).name("secret").remote(1).await?;
        let gone = echo::options().task_events(false).name("secret").resource("unobtainium", 1.0).remote(1);
        echo::options().name("open").remote(1).await?;
        assert_eq!((named("secret").await.len(), named("open").await.len()), (0, 1));
        actinic::cancel(&gone).await?;
    }

    /// A method can be left out, an actor with all its calls, or one of them.
    1 CPUs, async fn calls_without_events_are_not_listed(cluster) {
        let adder = Adder::remote();
        adder.quiet().await?;
        Handle::with(&adder, CallOptions::new().task_events(false).name("secret")).add(1).await?;
        let quiet = Adder::options().task_events(false).remote();
        quiet.add(1).await?;
        let by_call = Handle::with(&quiet, CallOptions::new().task_events(true).name("told"));
        by_call.add(1).await?;
        let names: Vec<String> = tasks().await?.into_iter().map(|task| task.name).collect();
        assert_eq!(names, ["told"]);
    }

    /// A method's name is what it is listed by; one that panics is tried again if its attribute says so.
    1 CPUs, async fn a_methods_attributes_are_its_calls_own(cluster) {
        let scratch = Scratch::new();
        let adder = Adder::options().max_restarts(1).remote();
        assert_eq!(adder.panics_once(scratch.file("tries")).await?, 2);
        let all = named("many").await;
        let states: Vec<_> = all.iter().map(|task| (task.attempt, task.state)).collect();
        assert_eq!(states, [(0, TaskState::Failed), (1, TaskState::Finished)]);
        assert!(all[0].error.as_ref().unwrap().contains("panicked"), "{all:?}");
    }

    /// An attempt that an actor's death ended is listed as one that failed.
    2 CPUs, async fn a_call_that_is_retried_has_an_attempt_that_failed(cluster) {
        let scratch = Scratch::new();
        let adder = Adder::options().max_restarts(1).max_task_retries(1).remote();
        let call = adder.hold_once(scratch.file("tries"), scratch.file("gate"));
        until_counted(&scratch.file("tries"), 1).await;
        until("Adder.hold_once", &[TaskState::Submitted]).await;
        cluster.crash_actor(&adder).await?;
        assert_eq!(call.await?, 2);
        let all = named("Adder.hold_once").await;
        let states: Vec<_> = all.iter().map(|task| (task.attempt, task.state)).collect();
        assert_eq!(states, [(0, TaskState::Failed), (1, TaskState::Finished)]);
        open_gate(&scratch.file("gate"));
    }

    /// EVENTS-1, EVENTS-2: however many there are, each is listed or counted, and nothing is held up.
    2 CPUs, async fn of_very_many_tasks_each_is_listed_or_counted(cluster) {
        const MANY: i64 = 30_000;
        let refs: Vec<_> = (0..MANY).map(echo::remote).collect();
        assert!(actinic::get(&refs).await?.into_iter().eq(0..MANY));
        let ended = named("echo").await.len() as u64;
        assert_eq!(ended + tasks_dropped().await?, MANY as u64);
    }
}

/// The tasks of an owner that has died have failed.
#[actinic::test(num_cpus = 2, workers = "processes")]
async fn what_a_dead_worker_had_submitted_has_failed(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (began, gate) = (scratch.file("began"), scratch.file("gate"));
    let outer = holds_another::options().max_retries(0).remote(&began, &gate);
    until_counted(&began, 1).await;
    let all = until("holds", &[TaskState::Running]).await;
    let owner = until("holds_another", &[TaskState::Running]).await;
    assert_ne!(all[0].id.owner, owner[0].id.owner);
    cluster.kill_worker(owner[0].worker.unwrap()).await?;
    outer.await.unwrap_err();
    let all = until("holds", &[TaskState::Failed]).await;
    assert!(all[0].error.as_ref().unwrap().contains("dead"), "{all:?}");
    open_gate(&gate);
    Ok(())
}

/// So have those of owners on a node that has died.
#[actinic::test(num_cpus = 1)]
async fn what_a_dead_node_had_submitted_has_failed(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (began, gate) = (scratch.file("began"), scratch.file("gate"));
    let node = cluster.add_node().num_cpus(1).resource("there", 1).await?;
    let outer = holds_another::options().resource("there", 1.0).max_retries(0).remote(&began, &gate);
    until("holds", &[TaskState::Running]).await;
    node.kill().await?;
    outer.await.unwrap_err();
    let all = until("holds", &[TaskState::Failed]).await;
    assert!(all[0].error.as_ref().unwrap().contains("dead"), "{all:?}");
    open_gate(&gate);
    Ok(())
}

#[actinic::remote]
fn holds(began: &str, gate: &str) {
    count_up(began);
    hold(gate);
}

#[actinic::remote]
fn holds_another(began: &str, gate: &str) -> actinic::Result<()> {
    holds::remote(began, gate).blocking()
}
