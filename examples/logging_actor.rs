//! An actor to which several tasks write while they run; the driver looks at any time.

use std::collections::BTreeMap;

use actinic::prelude::*;

#[derive(Default)]
struct Log {
    lines: BTreeMap<usize, Vec<String>>,
}

#[actinic::remote]
impl Log {
    fn new() -> Self {
        Log::default()
    }

    fn log(&mut self, experiment: usize, line: String) {
        self.lines.entry(experiment).or_default().push(line);
    }

    fn lines(&self) -> BTreeMap<usize, Vec<String>> {
        self.lines.clone()
    }
}

#[actinic::remote]
async fn experiment(index: usize, log: Handle<Log>) -> actinic::Result<()> {
    for iteration in 0..9 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        log.log(index, format!("on iteration {iteration}")); // nobody waits for it
    }
    // Calls of one caller run in order: after this one all have.
    log.log(index, "done").await
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let cluster = actinic_examples::init(4).await?;
    let log = Log::remote();
    let experiments: Vec<ObjectRef<()>> = (0..3).map(|index| experiment::remote(index, &log)).collect();

    tokio::time::sleep(Duration::from_millis(50)).await;
    let lines: usize = log.lines().await?.values().map(Vec::len).sum();
    println!("after 50 ms: {lines} lines");

    actinic::get(&experiments).await?;
    let lines = log.lines().await?;
    for (index, lines) in &lines {
        println!("experiment {index}: {} lines, the last: {}", lines.len(), lines[lines.len() - 1]);
        let expected = (0..9).map(|iteration| format!("on iteration {iteration}")).chain(["done".to_owned()]);
        assert!(lines.iter().eq(&expected.collect::<Vec<_>>()));
    }
    assert_eq!(lines.len(), 3);
    drop((log, experiments));
    actinic_examples::finish(cluster).await
}
