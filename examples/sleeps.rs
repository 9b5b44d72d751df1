//! 48 one-second sleeps on 12 logical CPUs take four seconds; 49 take five.
//!
//! `sleeps [MILLISECONDS]`

use std::time::Instant;

use actinic::prelude::*;

#[actinic::remote]
fn sleep(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

async fn run(count: usize, millis: u64) -> actinic::Result<f64> {
    let start = Instant::now();
    let refs: Vec<ObjectRef<()>> = (0..count).map(|_| sleep::remote(millis)).collect();
    actinic::get(&refs).await?;
    Ok(start.elapsed().as_secs_f64() * 1_000.0 / millis as f64)
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let millis = actinic_examples::argument(1, 1_000)?;
    let cluster = actinic_examples::init(12).await?;
    // Until twelve sleep at once: the times below are those of the sleeps, not of the start of workers.
    while run(12, 300).await? >= 1.5 {}
    for (count, rounds) in [(48, 4), (49, 5)] {
        let time = run(count, millis).await?;
        println!("{count} sleeps: {} rounds ({time:.2})", time.floor());
        assert_eq!(time.floor() as u32, rounds);
    }
    actinic_examples::finish(cluster).await
}
