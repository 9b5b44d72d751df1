//! The stages of Ray's stress test: large results, empty tasks, layers that depend on all of the last, many calls, and
//! how evenly tasks start.
//!
//! `many_tasks [DIVISOR]`; 25, what Ray calls a smoke test, by default, and 1 for the full size.
//!
//! A task of ours has as many arguments as its function has parameters. So where Ray's tasks get 500 refs as 500
//! arguments, these get them as a list, begin at once, and wait for all of them inside, which holds no CPU. What that
//! leaves out is that the submitter holds a task back until its last argument is ready; what it adds is that all tasks of
//! a round wait at a time, 10,000 at the full size.

use std::num::NonZero;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use actinic::prelude::*;

const CPUS: u32 = 4;
/// How often the last stage may be tried.
const TRIES: u32 = 5;

#[actinic::remote]
fn megabyte() -> Buffer {
    vec![1; 1_000_000].into()
}

#[actinic::remote]
fn empty() {}

/// One more than each of the last layer says.
#[actinic::remote]
async fn layer(before: Vec<ObjectRef<u64>>, width: usize) -> actinic::Result<u64> {
    let layers = actinic::get(&before).await?;
    assert!(layers.len() == width && layers.iter().all(|one| *one == layers[0]), "they are one layer, and all of it");
    Ok(layers[0] + 1)
}

#[actinic::remote]
fn started() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
    std::thread::sleep(Duration::from_secs(1));
    now
}

struct Actor {
    calls: u64,
}

#[actinic::remote(num_cpus = 0)]
impl Actor {
    fn new() -> Self {
        Actor { calls: 0 }
    }

    fn call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }
}

async fn layers(count: usize, width: usize) -> actinic::Result<()> {
    let mut last = vec![actinic::put(&0).await?; width];
    for _ in 0..count {
        last = (0..width).map(|_| layer::remote(&last, width)).collect();
    }
    assert_eq!(actinic::get(&last).await?, vec![count as u64; width]);
    Ok(())
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let divisor = actinic_examples::argument(1, NonZero::new(25).expect("it is not zero"))?.get();
    let cluster = actinic_examples::init(CPUS).await?;

    let start = Instant::now();
    for _ in 0..10 {
        let refs: Vec<ObjectRef<Buffer>> = (0..1_000 / divisor).map(|_| megabyte::remote()).collect();
        assert!(actinic::get(&refs).await?.iter().all(|buffer| buffer.len() == 1_000_000));
    }
    println!("stage 0, 10 x {} MB: {:.0?}", 1_000 / divisor, start.elapsed());

    let start = Instant::now();
    for _ in 0..10 {
        let refs: Vec<ObjectRef<()>> = (0..100_000 / divisor).map(|_| empty::remote()).collect();
        actinic::get(&refs).await?;
    }
    println!("stage 1, 10 x {} empty tasks: {:.0?}", 100_000 / divisor, start.elapsed());

    let start = Instant::now();
    for _ in 0..5 {
        layers(20, 500 / divisor).await?;
    }
    println!("stage 2, 5 x 20 layers of {}: {:.0?}", 500 / divisor, start.elapsed());

    let start = Instant::now();
    let actors: Vec<Handle<Actor>> = (0..200usize.div_ceil(divisor)).map(|_| Actor::remote()).collect();
    let mut done = 0;
    for calls in [1_000 / divisor as u64, 100_000 / divisor as u64] {
        let refs: Vec<ObjectRef<u64>> = (0..calls).flat_map(|_| actors.iter().map(|actor| actor.call())).collect();
        // Each actor has counted its calls, in order.
        let expected = (done + 1..=done + calls).flat_map(|call| std::iter::repeat_n(call, actors.len()));
        assert!(actinic::get(&refs).await?.into_iter().eq(expected));
        done += calls;
    }
    println!("stage 3, {} actors x {} calls: {:.0?}", actors.len(), 101_000 / divisor, start.elapsed());
    drop(actors);

    let cpus = cluster.resources()["CPU"] as usize;
    let mut spread = f64::MAX;
    for _ in 0..TRIES {
        let refs: Vec<ObjectRef<f64>> = (0..cpus).map(|_| started::remote()).collect();
        let starts = actinic::get(&refs).await?;
        spread = starts.iter().copied().fold(f64::MIN, f64::max) - starts.iter().copied().fold(f64::MAX, f64::min);
        println!("stage 4, {cpus} tasks, their starts {spread:.2} s apart");
        if spread < 0.9 {
            break; // else one waited for another, though there is a CPU for each; or the workers were still starting
        }
    }
    println!("stage 4, {cpus} tasks started at once: {}", spread < 0.9);
    assert!(spread < 0.9, "their starts are {spread:.2} s apart");
    actinic_examples::finish(cluster).await
}
