//! Clusters for tests.

use std::future::Future;
use std::ops::Deref;
use std::time::Duration;

use crate::api::cluster::{Cluster, Init, Workers, init};
use crate::api::error::Result;

/// What `#[actinic::test(..)]` says: the setters of `init()`, and the test's own.
#[derive(Debug)]
pub struct TestOptions {
    init: Init,
    file: &'static str,
    line: u32,
    timeout: Duration,
}

impl TestOptions {
    /// The defaults, for the test at a place.
    pub fn new(file: &'static str, line: u32) -> Self {
        TestOptions { init: init(), file, line, timeout: Duration::from_secs(60) }
    }

    fn map(mut self, change: impl FnOnce(Init) -> Init) -> Self {
        self.init = change(self.init);
        self
    }

    /// As `Init::num_cpus`.
    pub fn num_cpus(self, amount: impl Into<f64>) -> Self {
        self.map(|init| init.num_cpus(amount))
    }

    /// As `Init::num_gpus`.
    pub fn num_gpus(self, amount: impl Into<f64>) -> Self {
        self.map(|init| init.num_gpus(amount))
    }

    /// As `Init::memory`.
    pub fn memory(self, bytes: impl Into<f64>) -> Self {
        self.map(|init| init.memory(bytes))
    }

    /// As `Init::resource`.
    pub fn resource(self, name: impl Into<String>, amount: impl Into<f64>) -> Self {
        self.map(|init| init.resource(name, amount))
    }

    /// As `Init::label`.
    pub fn label(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.map(|init| init.label(key, value))
    }

    /// As `Init::object_store_memory`.
    pub fn object_store_memory(self, bytes: impl Into<f64>) -> Self {
        self.map(|init| init.object_store_memory(bytes))
    }

    /// As `Init::namespace`.
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        self.map(|init| init.namespace(namespace))
    }

    /// `"threads"` or `"processes"`.
    pub fn workers(self, workers: &str) -> Self {
        let workers = if workers == "processes" { Workers::Processes } else { Workers::Threads };
        self.map(|init| init.workers(workers))
    }

    /// As `Init::log_level`.
    pub fn log_level(self, level: impl Into<String>) -> Self {
        self.map(|init| init.log_level(level))
    }

    /// As `Init::dashboard`.
    pub fn dashboard(self, address: impl Into<String>) -> Self {
        self.map(|init| init.dashboard(address))
    }

    /// Seconds until the test fails, naming what is pending; default 60.
    pub fn timeout(mut self, seconds: impl Into<f64>) -> Self {
        self.timeout = Duration::from_secs_f64(seconds.into());
        self
    }

    /// Virtual time and faults from a seed.
    pub fn sim(self, _sim: bool) -> Self {
        self
    }

    /// The seed of a simulation.
    pub fn seed(self, _seed: u64) -> Self {
        self
    }
}

/// A cluster of a test's own; it derefs to [`Cluster`].
#[derive(Debug)]
pub struct TestCluster {
    cluster: Cluster,
}

impl Deref for TestCluster {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

fn start(options: TestOptions) -> (TestCluster, Duration, String) {
    let place = format!("{}:{}", options.file, options.line);
    match options.init.for_test() {
        Ok(cluster) => (TestCluster { cluster }, options.timeout, place),
        Err(error) => panic!("the cluster of the test at {place} did not start: {error:?}"),
    }
}

/// Runs an async test on a cluster of its own.
pub fn run_test<F, Fut, R>(options: TestOptions, test: F) -> R
where
    F: FnOnce(TestCluster) -> Fut,
    Fut: Future<Output = R>,
{
    let (cluster, timeout, place) = start(options);
    let owner = std::sync::Arc::clone(cluster.owner());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("no tokio runtime could be started: {error}"),
    };
    let scoped = crate::api::scope::Scoped { owner: std::sync::Arc::clone(&owner), future: Box::pin(test(cluster)) };
    let done = runtime.block_on(async { tokio::time::timeout(timeout, scoped).await });
    match done {
        Ok(done) => done,
        Err(_) => panic!("the test at {place} was not done within {timeout:?}; pending:\n{}", pending(&owner)),
    }
}

/// Runs a sync test on a cluster of its own.
pub fn run_test_sync<F, R>(options: TestOptions, test: F) -> R
where
    F: FnOnce(TestCluster) -> R,
{
    let (cluster, _, _) = start(options);
    let _entered = crate::api::scope::enter(cluster.owner());
    test(cluster)
}

fn pending(owner: &std::sync::Arc<crate::owner::Owner>) -> String {
    let tasks = owner.process.owners().into_iter().flat_map(|owner| owner.tasks());
    let lines: Vec<String> = tasks
        .filter(|task| !task.is_done() && !matches!(task.what, crate::task::What::Lifeline(_)))
        .take(20)
        .map(|task| format!("  {}: {}", task.describe(), task.owner.explain(&task)))
        .collect();
    if lines.is_empty() { "  nothing that was submitted".to_owned() } else { lines.join("\n") }
}

/// Ends the worker that runs this as SIGKILL would, in thread mode too.
pub fn crash() -> ! {
    if let Some(current) = crate::worker::host::current()
        && let Some(crash) = current.host.process.on_crash.get()
    {
        crash();
    }
    crate::worker::job::crash_thread()
}

/// Waits until a condition holds; `false` if it does not within the deadline.
pub async fn eventually(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let mut left = deadline;
    let step = Duration::from_millis(5);
    loop {
        if condition() {
            return true;
        }
        if left.is_zero() {
            return false;
        }
        tokio::time::sleep(step).await;
        left = left.saturating_sub(step);
    }
}

/// The result of a test.
pub type TestResult = Result<()>;
