//! Types that are not serde.

use std::time::Instant;

#[derive(Clone)]
struct Point {
    x: i64,
}

#[actinic::remote]
fn takes(p: Point) -> i64 {
    p.x
}

#[actinic::remote]
fn returns() -> Instant {
    Instant::now()
}

fn main() {
    takes::remote(Point { x: 1 });
}
