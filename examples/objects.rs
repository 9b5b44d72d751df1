//! `put`, `get`, `wait` and timeouts, on the calling thread: there is no async here.

use actinic::prelude::*;

#[actinic::remote]
fn sum(numbers: Vec<i64>) -> i64 {
    numbers.iter().sum()
}

#[actinic::remote]
fn late(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

fn main() -> actinic::Result<()> {
    let cluster = actinic_examples::init(4).blocking()?;
    run()?;
    actinic_examples::finish_blocking(cluster)
}

fn run() -> actinic::Result<()> {
    // An object is stored once and may be got and passed any number of times.
    let numbers: Vec<i64> = (0..1_000).collect();
    let stored = actinic::put(&numbers).blocking()?;
    assert_eq!(actinic::get(&stored).blocking()?, numbers);
    let sums = actinic::get(&[sum::remote(&stored), sum::remote(&stored)]).blocking()?;
    println!("sums: {sums:?}");
    assert_eq!(sums, [499_500, 499_500]);

    // A tuple of refs gives a tuple of values.
    let greeting = actinic::put("hello").blocking()?;
    let (text, count) = actinic::get((&greeting, sum::remote([1, 2, 3]))).blocking()?;
    println!("a tuple: {text:?}, {count}");
    assert_eq!((text.as_str(), count), ("hello", 6));

    // wait() returns as soon as enough are ready, and keeps the order.
    let refs = [late::remote(0), late::remote(2_000), late::remote(0)];
    let (ready, pending) = actinic::wait(&refs).num_returns(2).blocking()?;
    println!("ready: {}, pending: {}", ready.len(), pending.len());
    assert_eq!(ready, [refs[0].clone(), refs[2].clone()]);
    assert_eq!(pending, [refs[1].clone()]);

    // get() with a timeout fails; the task goes on, and its result may be got later.
    let error = actinic::get(&refs[1]).timeout(Duration::from_millis(20)).blocking();
    assert!(matches!(error, Err(Error::GetTimeout { .. })));
    println!("20 ms were too short; waiting gives {}", refs[1].blocking()?);
    Ok(())
}
