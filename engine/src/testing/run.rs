//! Running a test on a cluster of its own, within its time.

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::api::error::Error;
use crate::api::scope;
use crate::env::Env;
use crate::process::Process;
use crate::testing::cluster::World;
use crate::testing::{TestCluster, TestOptions, early, sim};

/// A test that is late is given so long to end by itself once its cluster has ended.
const GRACE: Duration = Duration::from_secs(10);

pub(super) fn start(options: TestOptions) -> (TestCluster, Duration, String) {
    early::keep();
    crate::log::install(options.level());
    let (place, timeout) = (options.place(), options.timeout);
    match TestCluster::start(options) {
        Ok(cluster) => (cluster, timeout, place),
        Err(error) => panic!("the cluster of the test at {place} did not start: {error:?}"),
    }
}

/// Runs an async test on a cluster of its own.
pub fn run_test<F, Fut, R>(options: TestOptions, test: F) -> R
where
    F: FnOnce(TestCluster) -> Fut,
    Fut: Future<Output = R>,
{
    if let Some(seed) = options.simulated() {
        return sim::run(seed, options, test);
    }
    let (cluster, timeout, place) = start(options);
    let (owner, world) = (Arc::clone(cluster.owner()), cluster.world());
    let blocking = Arc::clone(&owner);
    #[allow(clippy::disallowed_methods)] // the test's own, which is in real time here
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // What the test spawns, blocking code included, is in the cluster's scope too.
        .on_thread_start(move || std::mem::forget(scope::enter(&blocking)))
        .build();
    let runtime = match runtime {
        Ok(runtime) => InBackground(Some(runtime)),
        Err(error) => panic!("no tokio runtime could be started: {error}"),
    };
    let _entered = scope::enter(&owner);
    let watch = Watch::start(&world, timeout + GRACE, &place);
    // Kept until it is known what is pending: what it holds would end with it.
    let mut test = Box::pin(test(cluster));
    let done = runtime.block_on(async { tokio::time::timeout(timeout, &mut test).await });
    let late = done.is_err().then(|| pending_in(&world.processes()));
    drop(runtime);
    drop(watch);
    match (done, late) {
        (Ok(done), _) => done,
        (Err(_), late) => {
            panic!("the test at {place} was not done within {timeout:?}; pending:\n{}", late.unwrap_or_default())
        }
    }
}

/// A test's runtime. However the test ends, its blocking threads that hang do not hang the harness.
struct InBackground(Option<tokio::runtime::Runtime>);

impl InBackground {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        match &self.0 {
            Some(runtime) => runtime.block_on(future),
            None => unreachable!("it is taken only when it is dropped"),
        }
    }
}

impl Drop for InBackground {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs a sync test on a cluster of its own.
pub fn run_test_sync<F, R>(options: TestOptions, test: F) -> R
where
    F: FnOnce(TestCluster) -> R,
{
    if let Some(seed) = options.simulated() {
        return sim::run_sync(seed, options, test);
    }
    let (cluster, timeout, place) = start(options);
    let (owner, world) = (Arc::clone(cluster.owner()), cluster.world());
    let _entered = scope::enter(&owner);
    let watch = Watch::start(&world, timeout, &place);
    let done = test(cluster);
    if let Some(late) = watch.end() {
        panic!("the test at {place} was not done within {timeout:?}; pending:\n{late}");
    }
    done
}

/// Looks after a test that holds its thread: at the deadline everything that it waits for fails.
struct Watch {
    done: Option<Sender<()>>,
    late: Arc<std::sync::OnceLock<String>>,
}

impl Watch {
    #[allow(clippy::disallowed_methods)] // a test that hangs does so in real time; simulations have a watch of their own
    fn start(world: &Arc<World>, timeout: Duration, place: &str) -> Watch {
        let (done, hear) = channel();
        let late = Arc::new(std::sync::OnceLock::new());
        let (world, place) = (Arc::clone(world), place.to_owned());
        let told = Arc::clone(&late);
        let started = Env::real().thread("actinic-test-watch", move || {
            if hear.recv_timeout(timeout) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let text = pending_in(&world.processes());
            let error = format!("the test at {place} was not done within {timeout:?}; pending:\n{text}");
            // Set once, here.
            let _ = told.set(text);
            world.give_up(&Error::get_timeout(error.clone()));
            if hear.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{error}\nIt did not end with its cluster either: ending the process.");
                std::process::abort();
            }
        });
        if let Err(error) = started {
            panic!("no thread could be started to watch a test: {error}");
        }
        Watch { done: Some(done), late }
    }

    /// The test is done; what was pending if it was late.
    fn end(mut self) -> Option<String> {
        drop(self.done.take());
        self.late.get().cloned()
    }
}

/// What the owners of these processes have not done, a line each.
pub(super) fn pending_in(processes: &[Arc<Process>]) -> String {
    let tasks = processes.iter().flat_map(|process| process.owners()).flat_map(|owner| owner.tasks());
    let lines: Vec<String> = tasks
        .filter(|task| !task.is_done() && !matches!(task.what, crate::task::What::Lifeline(_)))
        .take(20)
        .map(|task| format!("  {}: {}", task.describe(), task.explain()))
        .collect();
    if lines.is_empty() { "  nothing that was submitted".to_owned() } else { lines.join("\n") }
}
