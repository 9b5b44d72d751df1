//! What `#[actinic::test(..)]` says.

use std::time::Duration;

use tracing::level_filters::LevelFilter;

use crate::api::cluster::{Init, Workers, init};
use crate::env::Env;

/// What `#[actinic::test(..)]` says: the setters of `init()`, and the test's own.
#[derive(Debug)]
pub struct TestOptions {
    pub(super) init: Init,
    file: &'static str,
    line: u32,
    pub(super) timeout: Duration,
    sim: bool,
    seed: Option<u64>,
}

impl TestOptions {
    /// The defaults, for the test at a place.
    pub fn new(file: &'static str, line: u32) -> Self {
        let mut init = init();
        // A test means the same on every machine.
        init.options.num_gpus = Some(0.0);
        TestOptions { init, file, line, timeout: Duration::from_secs(60), sim: false, seed: None }
    }

    /// How much of what Actinic says is shown.
    pub(super) fn level(&self) -> LevelFilter {
        self.init.log_level.unwrap_or_else(|| crate::log::default_level(&Env::real()))
    }

    /// Where the test is written.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
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

    /// As `Init::workers`.
    pub fn workers(self, workers: Workers) -> Self {
        self.map(|init| init.workers(workers))
    }

    /// As `Init::log_level`; of the tests that run in one process the first says it for all, but for their worker processes.
    pub fn log_level(self, level: impl Into<String>) -> Self {
        self.map(|init| init.log_level(level))
    }

    /// As `Init::dashboard`.
    pub fn dashboard(self, address: impl Into<String>) -> Self {
        self.map(|init| init.dashboard(address))
    }

    /// Seconds until the test fails, naming what is pending; default 60. What is no time fails it at once.
    pub fn timeout(mut self, seconds: impl Into<f64>) -> Self {
        let seconds = seconds.into();
        match Duration::try_from_secs_f64(seconds) {
            Ok(timeout) => self.timeout = timeout,
            Err(_) => self.init.refuse(true, || format!("timeout: {seconds} is no number of seconds")),
        }
        self
    }

    /// Virtual time, a simulated network, and all chance from a seed.
    pub fn sim(mut self, sim: bool) -> Self {
        self.sim = sim;
        self
    }

    /// The seed of a simulation; default `ACTINIC_SEED`, or else 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The seed, if the test is a simulation.
    pub(super) fn simulated(&self) -> Option<u64> {
        // Of the simulation that is to be, which has no variables itself.
        let said = || Env::real().var("ACTINIC_SEED")?.parse().ok();
        self.sim.then(|| self.seed.or_else(said).unwrap_or_default())
    }
}
