//! The first program: tasks, refs as arguments, put/get/wait, and an actor called in order.
//!
//! `cargo run --release --example quickstart` prints each result and checks it.

use actinic::prelude::*;

#[actinic::remote]
fn square(x: i64) -> i64 {
    x * x
}

#[actinic::remote]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[actinic::remote]
async fn slow(millis: u64) -> actinic::Result<u64> {
    actinic::sleep(Duration::from_millis(millis)).await?;
    Ok(millis)
}

/// Adds up what it is told, one call after the other.
#[derive(Debug)]
pub struct Counter {
    value: i64,
}

#[actinic::remote]
impl Counter {
    /// Starts from a number.
    pub fn new(start: i64) -> Self {
        Counter { value: start }
    }

    /// The number after this.
    pub fn increment(&mut self, by: i64) -> i64 {
        self.value += by;
        self.value
    }
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    // Here, on threads or (`ACTINIC_WORKERS=processes`) processes; or on the cluster that `ACTINIC_ADDRESS` names.
    let cluster = actinic::init().await?;
    run().await?;
    // Nothing is left: no ref, no object, no resource in use.
    actinic_examples::finish(cluster).await
}

/// What it shows, on whatever cluster it is in the scope of.
pub async fn run() -> actinic::Result<()> {
    // Tasks return refs at once; a ref passed as an argument arrives as its value.
    let four = square::remote(2);
    let sixteen = square::remote(&four);
    let twenty = add::remote(four, &sixteen).await?;
    println!("2^2 + (2^2)^2 = {twenty}");
    assert_eq!(twenty, 20);

    let squares: Vec<ObjectRef<i64>> = (0..10).map(square::remote).collect();
    let squares = actinic::get(&squares).await?;
    println!("squares: {squares:?}");
    assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);

    // Objects are immutable, and may be got any number of times.
    let words = actinic::put(&vec!["refs".to_owned(), "are".to_owned(), "counted".to_owned()]).await?;
    let words = actinic::get(&words).await?.join(" ");
    println!("put and got: {words}");
    assert_eq!(words, "refs are counted");

    // wait() splits what is ready from what is not; get() with a timeout says when something is late.
    let refs = [slow::remote(1), slow::remote(2_000)];
    let (ready, pending) = actinic::wait(&refs).num_returns(2).timeout(Duration::from_millis(500)).await?;
    println!("ready: {}, pending: {}", ready.len(), pending.len());
    assert_eq!((ready.len(), pending.len()), (1, 1));
    let late = actinic::get(&pending).timeout(Duration::from_millis(10)).await;
    assert!(matches!(late, Err(Error::GetTimeout { .. })));
    println!("and getting it in 10 ms: {}", late.err().map_or("in time", |error| error.kind()));

    // An actor keeps state between calls, and runs the calls of one caller in order.
    let counter = Counter::remote(100);
    let counts: Vec<ObjectRef<i64>> = (1..=5).map(|by| counter.increment(by)).collect();
    let counts = actinic::get(&counts).await?;
    println!("counter: {counts:?}");
    assert_eq!(counts, [101, 103, 106, 110, 115]);
    Ok(())
}
