//! Pi by chance: ten tasks draw points, and tell an actor how far they are; the driver asks it (W-01).
//!
//! `monte_carlo_pi [SAMPLES OF EACH TASK]`; 10000000 is the full size.

use actinic::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const TASKS: usize = 10;

struct Progress {
    total: u64,
    done: Vec<u64>,
}

#[actinic::remote]
impl Progress {
    fn new(total: u64) -> Self {
        Progress { total, done: vec![0; TASKS] }
    }

    fn report(&mut self, task: usize, done: u64) {
        self.done[task] = done;
    }

    fn share(&self) -> f64 {
        self.done.iter().sum::<u64>() as f64 / self.total as f64
    }
}

#[actinic::remote]
async fn sample(task: usize, samples: u64, progress: Handle<Progress>) -> actinic::Result<u64> {
    let mut rng = SmallRng::seed_from_u64(task as u64);
    let mut inside = 0;
    for tenth in 1..=10 {
        for _ in 0..samples / 10 {
            let (x, y) = (rng.random::<f64>(), rng.random::<f64>());
            inside += u64::from(x * x + y * y <= 1.0);
        }
        let told = progress.report(task, samples / 10 * tenth);
        if tenth == 10 {
            told.await?; // the result is final after the actor knows
        }
    }
    Ok(inside)
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let given: u64 = actinic_examples::argument_from(1, 10, 100_000)?;
    let samples = given / 10 * 10;
    let total = samples.checked_mul(TASKS as u64).ok_or_else(|| {
        actinic::Error::other(format!("argument 1, `{given}`: the samples of {TASKS} tasks would be too many to count"))
    })?;
    let cluster = actinic_examples::init(4).await?;
    let progress = Progress::remote(total);
    let refs: Vec<ObjectRef<u64>> = (0..TASKS).map(|task| sample::remote(task, samples, &progress)).collect();

    let mut last = 0.0;
    loop {
        let share = progress.share().await?;
        assert!(share >= last, "progress went back from {last} to {share}");
        if share > last {
            println!("progress: {:.0} %", share * 100.0);
        }
        last = share;
        if share >= 1.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(last, 1.0);

    let inside: u64 = actinic::get(&refs).await?.iter().sum();
    let pi = 4.0 * inside as f64 / total as f64;
    println!("pi is about {pi:.4}");
    let sigma = 4.0 * (std::f64::consts::FRAC_PI_4 * (1.0 - std::f64::consts::FRAC_PI_4) / total as f64).sqrt();
    assert!((pi - std::f64::consts::PI).abs() < 4.0 * sigma, "{pi} is further off than chance");
    drop((progress, refs));
    actinic_examples::finish(cluster).await
}
