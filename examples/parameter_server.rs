//! A parameter server: workers compute gradients of the weights that an actor keeps, in step or each at its own
//! pace (W-04).
//!
//! `parameter_server [ITERATIONS]`: at least 50, for nine of ten pictures are to be known in the end.

use actinic::prelude::*;
use actinic_examples::digits::{Digits, descend, initial};

const WORKERS: usize = 2;
/// With fewer iterations too little is learnt.
const LEAST: usize = 50;

struct ParameterServer {
    weights: Vec<f32>,
    rate: f32,
    applied: usize,
}

#[actinic::remote]
impl ParameterServer {
    fn new(rate: f32) -> Self {
        ParameterServer { weights: initial(1), rate, applied: 0 }
    }

    /// Applies gradients and returns the weights after it.
    async fn apply(&mut self, gradients: Vec<ObjectRef<Array<f32>>>) -> actinic::Result<Array<f32>> {
        for gradient in actinic::get(&gradients).await? {
            descend(&mut self.weights, &gradient, self.rate / gradients.len() as f32);
            self.applied += 1;
        }
        Ok(Array::from(&self.weights[..]))
    }

    fn weights(&self) -> Array<f32> {
        Array::from(&self.weights[..])
    }

    fn applied(&self) -> usize {
        self.applied
    }
}

struct Worker {
    index: u64,
    batches: u64,
}

#[actinic::remote]
impl Worker {
    fn new(index: u64) -> Self {
        Worker { index, batches: 0 }
    }

    fn gradient(&mut self, weights: Array<f32>) -> Array<f32> {
        self.batches += 1;
        Digits::draw(16, self.index * 1_000_000 + self.batches).gradient(&weights).into()
    }
}

/// All workers on the same weights, step by step, until nine of ten pictures are known.
async fn in_step(iterations: usize, test: &Digits) -> actinic::Result<(usize, Array<f32>)> {
    let server = ParameterServer::remote(0.5);
    let workers: Vec<Handle<Worker>> = (1..=WORKERS as u64).map(Worker::remote).collect();
    let mut weights = server.weights(); // a ref: the driver looks at the weights only to judge them
    for iteration in 1..=iterations {
        let gradients: Vec<_> = workers.iter().map(|worker| worker.gradient(&weights)).collect();
        weights = server.apply(gradients);
        if iteration % 10 == 0 && test.accuracy(&(&weights).await?) > 0.9 {
            return Ok((iteration, weights.await?));
        }
    }
    Ok((iterations, weights.await?))
}

/// Each worker gets the newest weights as soon as its last gradient has been applied.
async fn at_own_pace(iterations: usize) -> actinic::Result<(usize, Array<f32>)> {
    let server = ParameterServer::remote(0.25);
    let workers: Vec<Handle<Worker>> = (1..=WORKERS as u64).map(Worker::remote).collect();
    let weights = server.weights();
    let mut running: Vec<_> = workers.iter().map(|worker| (worker, worker.gradient(&weights))).collect();
    for iteration in 1..=iterations * WORKERS {
        let gradients: Vec<_> = running.iter().map(|(_, gradient)| gradient.clone()).collect();
        let (ready, _) = actinic::wait(gradients).await?;
        let first = running.iter().position(|(_, gradient)| *gradient == ready[0]).expect("it is one of them");
        let (worker, gradient) = running.remove(first);
        let weights = server.apply(vec![gradient]);
        if iteration + WORKERS <= iterations * WORKERS {
            running.push((worker, worker.gradient(weights)));
        }
    }
    Ok((server.applied().await?, server.weights().await?))
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let iterations = actinic_examples::argument_from(1, LEAST, 200)?;
    let cluster = actinic_examples::init(4).await?;
    let test = Digits::draw(300, 0);

    let (steps, weights) = in_step(iterations, &test).await?;
    println!("in step: {:.1} % after {steps} iterations", test.accuracy(&weights) * 100.0);
    assert!(test.accuracy(&weights) > 0.9);
    assert_eq!(in_step(iterations, &test).await?, (steps, weights), "a second run gives the same");

    let (applied, weights) = at_own_pace(iterations).await?;
    println!("at own pace: {:.1} % after {applied} gradients", test.accuracy(&weights) * 100.0);
    assert!(test.accuracy(&weights) > 0.9);
    assert_eq!(applied, WORKERS * iterations);
    actinic_examples::finish(cluster).await
}
