//! 48 one-second sleeps on 12 logical CPUs take four seconds; 49 take five.
//!
//! `sleeps [MILLISECONDS]`, on a cluster that has 12 CPUs.

use std::time::Instant;

use actinic::prelude::*;

#[actinic::remote]
fn sleep(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

async fn run(count: usize, millis: u64) -> actinic::Result<f64> {
    let start = Instant::now();
    let refs: Vec<ObjectRef<()>> = (0..count).map(|_| sleep::remote(millis)).collect();
    actinic::get(&refs).await?;
    Ok(start.elapsed().as_secs_f64() * 1_000.0 / millis as f64)
}

/// Until twelve sleep at once: the times that are taken then are those of the sleeps, not of the start of workers.
async fn warm_up(cluster: &Cluster) -> actinic::Result<()> {
    for _ in 0..20 {
        let together = run(12, 300).await? < 1.5;
        if together && cluster.resources().get("CPU") == Some(&12.0) {
            return Ok(());
        }
    }
    let cpus = cluster.resources().get("CPU").copied().unwrap_or_default();
    Err(Error::other(format!("this counts the rounds of 12 CPUs that are free, and the cluster has {cpus}")))
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    // Beside shorter ones it shows what else takes time.
    let millis = actinic_examples::argument_from(1, 200, 1_000)?;
    let cluster = actinic_examples::init(12).await?;
    warm_up(&cluster).await?;
    for (count, rounds) in [(48, 4), (49, 5)] {
        let time = run(count, millis).await?;
        println!("{count} sleeps: {} rounds ({time:.2})", time.floor());
        assert_eq!(time.floor() as u32, rounds);
    }
    actinic_examples::finish(cluster).await
}
