//! Pictures of digits, drawn by chance around ten shapes as MNIST's are by hand, and a small multilayer perceptron that learns to
//! tell them apart.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Pixels of a picture: 14 by 14.
pub const PIXELS: usize = 196;
/// The digits.
pub const CLASSES: usize = 10;
/// Cells of the layer between.
pub const HIDDEN: usize = 16;
/// Weights of both layers: for each cell one for each of its inputs, and one more.
pub const WEIGHTS: usize = FIRST + CLASSES * (HIDDEN + 1);
const FIRST: usize = HIDDEN * (PIXELS + 1);

/// Pictures, and which digit each is.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Digits {
    /// The brightness of each of their cells, one picture after the other.
    pub pictures: actinic::Array<f32>,
    /// The digit of each.
    pub labels: Vec<u8>,
}

impl Digits {
    /// So many pictures; the same for the same seed.
    pub fn draw(count: usize, seed: u64) -> Digits {
        let mut shapes = SmallRng::seed_from_u64(7);
        let shapes: Vec<f32> = (0..CLASSES * PIXELS).map(|_| f32::from(shapes.random::<f32>() < 0.3)).collect();
        let mut rng = SmallRng::seed_from_u64(seed);
        let labels: Vec<u8> = (0..count).map(|_| rng.random_range(0..CLASSES as u8)).collect();
        let pixel = |label: u8, at: usize, rng: &mut SmallRng| {
            let noise = rng.random::<f32>() * 2.0 - 1.0;
            0.5 * shapes[usize::from(label) * PIXELS + at] + noise
        };
        let pictures = labels.iter().flat_map(|&label| (0..PIXELS).map(move |at| (label, at))).collect::<Vec<_>>();
        let pictures = pictures.into_iter().map(|(label, at)| pixel(label, at, &mut rng)).collect();
        Digits { pictures, labels }
    }

    /// The mean gradient on these pictures, by back-propagation.
    pub fn gradient(&self, weights: &[f32]) -> Vec<f32> {
        let mut gradient = vec![0.0; WEIGHTS];
        let (first, second) = gradient.split_at_mut(FIRST);
        for (picture, &label) in self.pictures.chunks_exact(PIXELS).zip(&self.labels) {
            let (hidden, scores) = forward(weights, picture);
            let most = scores.iter().copied().fold(f32::MIN, f32::max);
            let sum: f32 = scores.iter().map(|score| (score - most).exp()).sum();
            let mut back = vec![0.0; HIDDEN];
            for (class, row) in second.chunks_exact_mut(HIDDEN + 1).enumerate() {
                let wanted = f32::from(class == usize::from(label));
                let error = ((scores[class] - most).exp() / sum - wanted) / self.labels.len() as f32;
                add(row, error, &hidden);
                let from = &weights[FIRST + class * (HIDDEN + 1)..];
                back.iter_mut().zip(from).for_each(|(back, weight)| *back += error * weight);
            }
            for ((row, cell), back) in first.chunks_exact_mut(PIXELS + 1).zip(&hidden).zip(back) {
                add(row, back * (1.0 - cell * cell), picture);
            }
        }
        gradient
    }

    /// The share of these pictures that the classifier gets right.
    pub fn accuracy(&self, weights: &[f32]) -> f64 {
        let pictures = self.pictures.chunks_exact(PIXELS).zip(&self.labels);
        let right = pictures.filter(|&(picture, &label)| {
            let (_, scores) = forward(weights, picture);
            (0..CLASSES).max_by(|&a, &b| scores[a].total_cmp(&scores[b])) == Some(usize::from(label))
        });
        right.count() as f64 / self.labels.len() as f64
    }
}

/// One step down the gradient.
pub fn descend(weights: &mut [f32], gradient: &[f32], rate: f32) {
    weights.iter_mut().zip(gradient).for_each(|(weight, slope)| *weight -= rate * slope);
}

/// Small weights, each another, to begin with; the same for the same seed.
pub fn initial(seed: u64) -> Vec<f32> {
    let mut rng = SmallRng::seed_from_u64(seed);
    (0..WEIGHTS).map(|_| (rng.random::<f32>() - 0.5) * 0.2).collect()
}

/// What the cells of both layers say to a picture.
fn forward(weights: &[f32], picture: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (first, second) = weights.split_at(FIRST);
    let hidden: Vec<f32> = layer(first, picture).into_iter().map(f32::tanh).collect();
    let scores = layer(second, &hidden);
    (hidden, scores)
}

fn layer(weights: &[f32], inputs: &[f32]) -> Vec<f32> {
    let cell = |row: &[f32]| {
        let sum: f32 = row.iter().zip(inputs).map(|(weight, input)| weight * input).sum();
        sum + row[inputs.len()]
    };
    weights.chunks_exact(inputs.len() + 1).map(cell).collect()
}

/// Adds a cell's share of the gradient.
fn add(row: &mut [f32], error: f32, inputs: &[f32]) {
    row.iter_mut().zip(inputs).for_each(|(weight, input)| *weight += error * input);
    row[inputs.len()] += error;
}
