//! Actors, through the public interface only: each promise in thread mode, and where it matters with worker processes.

use std::collections::HashMap;
use std::time::Instant;

use actinic::prelude::*;
use actinic::testing::{TestCluster, eventually};
use actinic::{ActorState, CallOptions};

use crate::support::{Refused, SOON, refuse};

/// Runs a test with worker threads, and again with worker processes.
macro_rules! both {
    ($($(#[$meta:meta])* async fn $name:ident($cluster:ident) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn body($cluster: &TestCluster) -> actinic::Result<()> {
                let _ = $cluster;
                $body
                Ok(())
            }

            #[actinic::test(num_cpus = 4)]
            async fn threads(cluster: TestCluster) -> actinic::Result<()> {
                body(&cluster).await?;
                cluster.idle().await
            }

            #[actinic::test(num_cpus = 4, workers = "processes")]
            async fn processes(cluster: TestCluster) -> actinic::Result<()> {
                body(&cluster).await?;
                cluster.idle().await
            }
        }
    )*};
}

mod actix;
mod beside;
mod calls;
mod concurrency;
mod credit;
mod failures;
mod killed;
mod lending;
mod lifetime;
mod made_later;
mod mixed;
mod named;
mod rows;

/// The plainest actor.
pub struct Counter {
    value: i64,
}

#[actinic::remote]
impl Counter {
    pub fn new(start: i64) -> Self {
        Counter { value: start }
    }

    pub fn add(&mut self, by: i64) -> i64 {
        self.value += by;
        self.value
    }

    pub fn get(&self) -> i64 {
        self.value
    }

    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    pub fn after(&mut self, index: i64, dependency: i64) -> i64 {
        let _ = dependency;
        self.value += 1;
        assert_eq!(self.value - 1, index, "the calls run in their order");
        index
    }

    pub fn count(&mut self, refs: Vec<ObjectRef<i64>>) -> usize {
        refs.len()
    }

    pub fn sleep(&mut self, millis: u64) -> i64 {
        std::thread::sleep(Duration::from_millis(millis));
        self.value
    }

    pub fn panics(&mut self) -> i64 {
        panic!("the actor's {}", self.value)
    }

    pub fn crash(&mut self) -> i64 {
        actinic::testing::crash()
    }

    pub fn exit(&mut self) -> i64 {
        actinic::exit_actor()
    }

    pub fn wait_for(&mut self, path: String) -> i64 {
        wait_for_file(&path);
        self.value
    }
}

/// What was said, in order.
#[derive(Default)]
pub struct Log {
    lines: Vec<String>,
}

#[actinic::remote]
impl Log {
    pub fn new() -> Self {
        Log::default()
    }

    pub fn say(&mut self, line: String) {
        self.lines.push(line);
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.clone()
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }
}

pub fn wait_for_file(path: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    while !std::path::Path::new(path).exists() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A file that lets calls go on, whatever process they are in; removed when dropped.
pub struct Gate(std::path::PathBuf);

impl Gate {
    pub fn new() -> Gate {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("actinic-gate-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Gate(std::env::temp_dir().join(name))
    }

    pub fn path(&self) -> String {
        self.0.display().to_string()
    }

    pub fn open(&self) {
        std::fs::write(&self.0, b"").unwrap();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[actinic::remote]
fn identity(x: i64) -> i64 {
    x
}

#[actinic::remote]
fn late(x: i64, millis: u64) -> i64 {
    std::thread::sleep(Duration::from_millis(millis));
    x
}

#[actinic::remote]
fn add_in_task(counter: Handle<Counter>, by: i64) -> actinic::Result<i64> {
    counter.add(by).blocking()
}

pub fn count<T: std::hash::Hash + Eq>(all: impl IntoIterator<Item = T>) -> HashMap<T, usize> {
    let mut counts = HashMap::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    counts
}

pub async fn dies<A: actinic::Actor>(handle: &Handle<A>) -> bool {
    tokio::time::timeout(Duration::from_secs(10), async { Handle::closed(handle).await }).await.is_ok()
}
