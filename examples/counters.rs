//! Ten actors in parallel, then one of them five times in series.

use actinic::prelude::*;

struct Counter {
    value: i64,
}

#[actinic::remote]
impl Counter {
    fn new() -> Self {
        Counter { value: 0 }
    }

    fn increment(&mut self) -> i64 {
        self.value += 1;
        self.value
    }
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let cluster = actinic_examples::init(4).await?;

    let counters: Vec<Handle<Counter>> = (0..10).map(|_| Counter::remote()).collect();
    let refs: Vec<ObjectRef<i64>> = counters.iter().map(|counter| counter.increment()).collect();
    let parallel = actinic::get(&refs).await?;
    println!("{parallel:?}");
    assert_eq!(parallel, [1; 10]);

    let more: Vec<ObjectRef<i64>> = (0..5).map(|_| counters[0].increment()).collect();
    let series = actinic::get(&more).await?;
    println!("{series:?}");
    assert_eq!(series, [2, 3, 4, 5, 6]);

    drop((counters, refs, more));
    actinic_examples::finish(cluster).await
}
