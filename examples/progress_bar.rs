//! A thousand tasks tell an async actor what they did; the driver waits there for news and draws a bar (W-15).
//!
//! `progress_bar [TASKS]`

use std::cell::Cell;

use actinic::prelude::*;
use tokio::sync::Notify;

#[derive(Default)]
struct Progress {
    done: Cell<u64>,
    told: Cell<u64>,
    news: Notify,
}

#[actinic::remote]
impl Progress {
    fn new() -> Self {
        Progress::default()
    }

    async fn update(&self, count: u64) {
        self.done.set(self.done.get() + count);
        self.news.notify_one();
    }

    /// Waits until something has been done since the last time; returns how much, and how much in all.
    async fn news(&self) -> (u64, u64) {
        while self.done.get() == self.told.get() {
            self.news.notified().await;
        }
        let delta = self.done.get() - self.told.replace(self.done.get());
        (delta, self.done.get())
    }
}

#[actinic::remote]
fn work(index: u64, progress: Handle<Progress>) -> u64 {
    std::thread::sleep(Duration::from_millis(1));
    progress.update(1);
    index
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let count = actinic_examples::argument_from(1, 1, 1_000)?;
    let cluster = actinic_examples::init(8).await?;
    let progress = Progress::remote();
    let refs: Vec<ObjectRef<u64>> = (0..count).map(|index| work::remote(index, &progress)).collect();

    let (mut sum, mut rounds, mut drawn) = (0, 0, 0);
    while sum < count {
        let (delta, done) = progress.news().await?;
        assert!(delta > 0);
        (sum, rounds) = (sum + delta, rounds + 1);
        assert_eq!(sum, done);
        if done * 10 / count > drawn {
            drawn = done * 10 / count;
            println!("[{:10}] {done}/{count}", "#".repeat(drawn as usize));
        }
    }
    assert_eq!(actinic::get(&refs).await?.iter().sum::<u64>(), count * (count - 1) / 2);
    println!("done: {sum}, heard of in {rounds} rounds");
    drop((progress, refs));
    actinic_examples::finish(cluster).await
}
