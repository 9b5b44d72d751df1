//! Does a task cost more, in time or memory, when more of them are queued?

use std::path::{Path, PathBuf};
use std::time::Instant;

use actinic::prelude::*;

use super::burst;
use crate::measure::{Bench, Samples, check};
use crate::{Result, machine};

pub(crate) async fn cost(bench: &Bench<'_>, cluster: Cluster, mode: &str) -> Result<()> {
    super::warm(bench).await?;
    let sizes = [("1k", 1_000), ("10k", 10_000), ("100k", 100_000), ("1M", 1_000_000)];
    let mut costs = [const { Samples::new() }; 4];
    let (mut times, mut spread) = (Samples::new(), Samples::new());
    for _ in 0..bench.size(3, 1) {
        let mut round = [0.0; 4];
        for (at, (_, count)) in sizes.into_iter().enumerate() {
            let count = bench.size(count, count / 100);
            // As many tasks for each size, or the small ones measure chance.
            let mut each = Samples::new();
            for _ in 0..bench.size(100_000 / count, 1).max(1) {
                let begun = Instant::now();
                burst(count).await?;
                each.add(begun.elapsed().as_nanos() as f64 / 1e3 / count as f64);
            }
            round[at] = each.median();
            costs[at].add(each.median());
        }
        times.add(round[3] / round[0]);
        // What lies between the smallest and the largest may stand out too.
        let (least, most) =
            round.iter().fold((f64::MAX, 0.0_f64), |(least, most), cost| (least.min(*cost), most.max(*cost)));
        spread.add(most / least);
    }
    for ((name, _), cost) in sizes.into_iter().zip(costs) {
        bench.row(&format!("{mode}: cost per task, {name} queued"), cost, None);
    }
    bench.row(&format!("{mode}: cost per task, 1M over 1k queued"), times, None);
    bench.row(&format!("{mode}: cost per task, dearest over cheapest of the sizes"), spread, None);
    Ok(cluster.shutdown().await?)
}

/// Keeps its worker busy while the file exists.
#[actinic::remote]
fn hold(path: PathBuf) -> i64 {
    while path.exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    1
}

/// While it lives, every CPU of the cluster is taken.
struct Gate {
    path: PathBuf,
    held: Vec<ObjectRef<i64>>,
}

impl Gate {
    fn close(cluster: &Cluster) -> Result<Gate> {
        let path = std::env::temp_dir().join(format!("bench-gate-{}", std::process::id()));
        std::fs::write(&path, "")?;
        let cpus = cluster.resources().get("CPU").copied().unwrap_or(1.0) as usize;
        let held = (0..cpus).map(|_| hold::remote(path.as_path().to_path_buf())).collect();
        Ok(Gate { path, held })
    }

    async fn open(mut self) -> Result<()> {
        std::fs::remove_file(&self.path)?;
        let held = std::mem::take(&mut self.held);
        check(actinic::get(&held).await?.into_iter().all(|x| x == 1), "a held worker")
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let path: &Path = &self.path;
        let _ = std::fs::remove_file(path);
    }
}

pub(crate) async fn memory(bench: &Bench<'_>, cluster: Cluster, mode: &str) -> Result<()> {
    burst(1_000).await?;
    let before = machine::resident();
    for (name, count) in [("100k", 100_000), ("1M", 1_000_000)] {
        let count = bench.size(count, count / 100);
        let gate = Gate::close(&cluster)?;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let refs: Vec<ObjectRef<i64>> = (0..count).map(super::echo::remote).collect();
        // Whatever is written down later than at once is written by then.
        tokio::time::sleep(bench.size(Duration::from_millis(500), Duration::ZERO)).await;
        let bytes = (machine::resident() - before) / count as f64;
        gate.open().await?;
        check(actinic::get(&refs).await?.into_iter().eq(0..count), "echo")?;
        bench.row(&format!("{mode}: driver memory per queued task ({name})"), bytes, None);
    }
    Ok(cluster.shutdown().await?)
}
