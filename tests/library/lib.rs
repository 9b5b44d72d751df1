//! What a library offers that has remote functions and actors: used by the whole-cluster tests only.

mod inner {
    /// Twice a number; by a path of its own.
    #[actinic::remote]
    pub fn twice(value: i64) -> i64 {
        2 * value
    }
}

pub use inner::twice;

/// Calls another function of the library.
#[actinic::remote]
pub async fn four_times(value: i64) -> actinic::Result<i64> {
    twice::remote(twice::remote(value)).await
}

/// Counts.
#[derive(Debug, Default)]
pub struct Tally {
    sum: i64,
}

#[actinic::remote]
impl Tally {
    /// An empty one.
    pub fn new() -> Self {
        Tally::default()
    }

    /// The sum so far.
    pub fn add(&mut self, value: i64) -> i64 {
        self.sum += value;
        self.sum
    }
}
