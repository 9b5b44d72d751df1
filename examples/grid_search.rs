//! Every pair of two settings tried in parallel on one set of data, which is stored once.

use actinic::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Points near the line y = 3x - 1.
fn points() -> Vec<(f64, f64)> {
    let mut rng = SmallRng::seed_from_u64(1);
    let xs = (0..200).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f64>>();
    xs.into_iter().map(|x| (x, 3.0 * x - 1.0 + rng.random_range(-0.1..0.1))).collect()
}

/// The error of a line that was fitted to the first half of the points, on the second.
#[actinic::remote]
fn evaluate(points: Vec<(f64, f64)>, rate: f64, penalty: f64) -> f64 {
    let (train, test) = points.split_at(points.len() / 2);
    let (mut slope, mut offset) = (0.0, 0.0);
    for _ in 0..30 {
        for (x, y) in train {
            let error = slope * x + offset - y;
            slope -= rate * (error * x + penalty * slope);
            offset -= rate * error;
        }
    }
    test.iter().map(|(x, y)| (slope * x + offset - y).powi(2)).sum::<f64>() / test.len() as f64
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let cluster = actinic_examples::init(4).await?;
    let points = points();
    let data = actinic::put(&points).await?;

    let rates = [0.0001, 0.001, 0.01, 0.1];
    let penalties = [0.0, 0.01, 0.1, 1.0];
    let grid: Vec<(f64, f64)> = rates.into_iter().flat_map(|rate| penalties.map(|penalty| (rate, penalty))).collect();
    let refs: Vec<ObjectRef<f64>> =
        grid.iter().map(|&(rate, penalty)| evaluate::remote(&data, rate, penalty)).collect();
    let errors = actinic::get(&refs).await?;

    let alone: Vec<f64> = grid.iter().map(|&(rate, penalty)| evaluate(points.clone(), rate, penalty)).collect();
    assert_eq!(errors, alone);
    let (best, error) = grid.iter().zip(&errors).min_by(|a, b| a.1.total_cmp(b.1)).expect("the grid is not empty");
    println!("{} pairs tried; best: rate {}, penalty {}, error {error:.4}", grid.len(), best.0, best.1);
    assert!(*error < 0.01 && best.1 == 0.0);
    drop((data, refs));
    actinic_examples::finish(cluster).await
}
