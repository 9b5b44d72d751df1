//! Random settings of a model tried in parallel, and handled as they finish (W-10).

use actinic::prelude::*;
use actinic_examples::digits::{Digits, descend, initial};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Settings {
    rate: f32,
    batch: usize,
    steps: usize,
}

#[actinic::remote]
fn train(settings: Settings, test: Digits) -> f64 {
    let mut weights = initial(1);
    for step in 0..settings.steps {
        let batch = Digits::draw(settings.batch, 1 + step as u64);
        let gradient = batch.gradient(&weights);
        descend(&mut weights, &gradient, settings.rate);
    }
    test.accuracy(&weights)
}

/// The position of the best: the first of equals.
fn best(accuracies: &[f64]) -> usize {
    (0..accuracies.len()).rev().max_by(|&a, &b| accuracies[a].total_cmp(&accuracies[b])).unwrap_or(0)
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let cluster = actinic_examples::init(4).await?;
    let mut rng = SmallRng::seed_from_u64(11);
    let settings: Vec<Settings> = (0..10)
        .map(|_| Settings {
            rate: 10_f32.powf(rng.random_range(-3.0..0.5)),
            batch: rng.random_range(4..24),
            steps: rng.random_range(5..40),
        })
        .collect();
    let test = Digits::draw(200, 0);
    let data = actinic::put(&test).await?;

    let refs: Vec<ObjectRef<f64>> = settings.iter().map(|settings| train::remote(settings, &data)).collect();
    let mut accuracies = vec![0.0; settings.len()];
    let mut pending = refs.clone();
    while !pending.is_empty() {
        let (ready, rest) = actinic::wait(pending).await?;
        let index = refs.iter().position(|one| *one == ready[0]).expect("it is one of them");
        accuracies[index] = (&ready[0]).await?;
        println!("{:.1} % with {:?}; {} to go", accuracies[index] * 100.0, settings[index], rest.len());
        if rest.len() + 1 == refs.len() {
            let (_, runs) = actinic::wait(&refs).num_returns(refs.len()).timeout(Duration::ZERO).await?;
            assert!(!runs.is_empty(), "the first result was handled when all were there");
        }
        pending = rest;
    }
    let winner = best(&accuracies);
    println!("best: {:.1} % with {:?}", accuracies[winner] * 100.0, settings[winner]);

    let alone: Vec<f64> = settings.iter().map(|settings| train(settings.clone(), test.clone())).collect();
    assert_eq!(alone, accuracies);
    assert_eq!(best(&alone), winner);
    drop((data, refs));
    actinic_examples::finish(cluster).await
}
