//! Learning to balance a pole on a cart: actors try variants of a policy in parallel, and the driver moves the policy
//! towards those that did well.
//!
//! `cart_pole [ITERATIONS]`

use actinic::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const ACTORS: usize = 4;
const VARIANTS: usize = 16;
const STEPS: u32 = 500;
/// After so many iterations it balances the pole.
const ENOUGH: usize = 15;

/// How much the policy leans to the right for the cart's place and speed, and the pole's angle and speed.
type Policy = [f64; 4];

/// One step of the cart, pushed to the right or to the left; the equations of Barto, Sutton and Anderson.
fn step([x, v, angle, spin]: [f64; 4], right: bool) -> [f64; 4] {
    let force = if right { 10.0 } else { -10.0 };
    let (sin, cos) = angle.sin_cos();
    let push = (force + 0.05 * spin * spin * sin) / 1.1;
    let turn = (9.8 * sin - cos * push) / (0.5 * (4.0 / 3.0 - 0.1 * cos * cos / 1.1));
    let speed_up = push - 0.05 * turn * cos / 1.1;
    [x + 0.02 * v, v + 0.02 * speed_up, angle + 0.02 * spin, spin + 0.02 * turn]
}

struct Rollouts {
    rng: SmallRng,
}

#[actinic::remote]
impl Rollouts {
    fn new(seed: u64) -> Self {
        Rollouts { rng: SmallRng::seed_from_u64(seed) }
    }

    /// How many steps the pole stays up.
    fn reward(&mut self, policy: Policy) -> f64 {
        let mut state: [f64; 4] = std::array::from_fn(|_| self.rng.random_range(-0.05..0.05));
        for time in 0..STEPS {
            let lean: f64 = state.iter().zip(policy).map(|(value, weight)| value * weight).sum();
            state = step(state, lean > 0.0);
            if state[0].abs() > 2.4 || state[2].abs() > 12_f64.to_radians() {
                return f64::from(time);
            }
        }
        f64::from(STEPS)
    }
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let iterations = actinic_examples::argument_from(1, 1, ENOUGH)?;
    let cluster = actinic_examples::init(ACTORS as u32).await?;
    let actors: Vec<Handle<Rollouts>> = (0..ACTORS as u64).map(Rollouts::remote).collect();
    let mut rng = SmallRng::seed_from_u64(3);
    let mut policy: Policy = [0.0; 4];
    let mut mean_rewards = Vec::new();
    for iteration in 0..iterations {
        let tries: Vec<Policy> =
            (0..VARIANTS).map(|_| policy.map(|weight| weight + rng.random_range(-1.0..1.0))).collect();
        let rewards: Vec<ObjectRef<f64>> =
            tries.iter().zip(actors.iter().cycle()).map(|(policy, actor)| actor.reward(*policy)).collect();
        let rewards = actinic::get(&rewards).await?;
        let mean = rewards.iter().sum::<f64>() / VARIANTS as f64;
        println!("iteration {iteration:2}: mean reward {mean:.0}");
        mean_rewards.push(mean);

        // The mean of the best quarter.
        let mut best: Vec<usize> = (0..VARIANTS).collect();
        best.sort_by(|&a, &b| rewards[b].total_cmp(&rewards[a]));
        best.truncate(VARIANTS / 4);
        policy = std::array::from_fn(|at| best.iter().map(|&i| tries[i][at]).sum::<f64>() / best.len() as f64);
    }
    let (first, last) = (mean_rewards[0], mean_rewards[mean_rewards.len() - 1]);
    println!("mean reward rose from {first:.0} to {last:.0}");
    assert!(iterations < ENOUGH || (last > 3.0 * first && last > 300.0));
    drop(actors);
    actinic_examples::finish(cluster).await
}
