//! What a library offers that a program has among its dependencies, and refers to by nothing but a registration, or not
//! at all: used by the whole-cluster tests only.

/// Half a number.
#[actinic::remote]
pub fn half(value: i64) -> i64 {
    value / 2
}

/// Counts down.
#[derive(Debug)]
pub struct Countdown {
    left: i64,
}

#[actinic::remote]
impl Countdown {
    /// From that number.
    pub fn new(from: i64) -> Self {
        Countdown { left: from }
    }

    /// One less.
    pub fn step(&mut self) -> i64 {
        self.left -= 1;
        self.left
    }
}
