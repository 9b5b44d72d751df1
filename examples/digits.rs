//! Pictures of digits, drawn by chance around ten shapes as MNIST's are by hand, and a linear classifier for them.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Pixels of a picture: 14 by 14.
pub const PIXELS: usize = 196;
/// The digits.
pub const CLASSES: usize = 10;
/// Weights of the classifier: for each digit one for each pixel, and one more.
pub const WEIGHTS: usize = CLASSES * (PIXELS + 1);

/// Pictures, and which digit each is.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Digits {
    pub pictures: actinic::Array<f32>,
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

    /// The classifier's mean gradient on these pictures.
    pub fn gradient(&self, weights: &[f32]) -> Vec<f32> {
        let mut gradient = vec![0.0; WEIGHTS];
        for (picture, &label) in self.pictures.chunks_exact(PIXELS).zip(&self.labels) {
            let scores = scores(weights, picture);
            let most = scores.iter().copied().fold(f32::MIN, f32::max);
            let sum: f32 = scores.iter().map(|score| (score - most).exp()).sum();
            for (class, row) in gradient.chunks_exact_mut(PIXELS + 1).enumerate() {
                let wanted = f32::from(class == usize::from(label));
                let error = ((scores[class] - most).exp() / sum - wanted) / self.labels.len() as f32;
                row.iter_mut().zip(picture).for_each(|(weight, pixel)| *weight += error * pixel);
                row[PIXELS] += error;
            }
        }
        gradient
    }

    /// The share of these pictures that the classifier gets right.
    pub fn accuracy(&self, weights: &[f32]) -> f64 {
        let pictures = self.pictures.chunks_exact(PIXELS).zip(&self.labels);
        let right = pictures.filter(|&(picture, &label)| {
            let scores = scores(weights, picture);
            (0..CLASSES).max_by(|&a, &b| scores[a].total_cmp(&scores[b])) == Some(usize::from(label))
        });
        right.count() as f64 / self.labels.len() as f64
    }
}

/// One step down the gradient.
pub fn descend(weights: &mut [f32], gradient: &[f32], rate: f32) {
    weights.iter_mut().zip(gradient).for_each(|(weight, slope)| *weight -= rate * slope);
}

fn scores(weights: &[f32], picture: &[f32]) -> Vec<f32> {
    let score = |row: &[f32]| row.iter().zip(picture).map(|(weight, pixel)| weight * pixel).sum::<f32>() + row[PIXELS];
    weights.chunks_exact(PIXELS + 1).map(score).collect()
}
