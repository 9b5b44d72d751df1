//! An actor that holds CPU lends it while its calls wait for refs, as a task does: on one CPU, what they wait for runs.

use super::*;
use crate::support::{Scratch, count_up, open_gate, until_counted};

/// Holds the only CPU, and gets results of tasks that need it.
pub struct Boss {
    first: i64,
}

#[actinic::remote(num_cpus = 1)]
impl Boss {
    pub async fn new(first: ObjectRef<i64>) -> actinic::Result<Self> {
        // A constructor lends too.
        Ok(Boss { first: first.await? + identity::remote(1).await? })
    }

    pub async fn first(&self) -> i64 {
        self.first
    }

    pub async fn asks(&self, x: i64) -> actinic::Result<i64> {
        identity::remote(x).await
    }

    pub async fn asks_alone(&mut self, x: i64) -> actinic::Result<i64> {
        let refs = [identity::remote(x), identity::remote(1)];
        let (ready, pending) = actinic::wait(&refs).num_returns(2).await?;
        assert!(pending.is_empty());
        Ok(actinic::get(&ready).await?.into_iter().sum())
    }

    pub async fn takes_turns(&self, x: i64) -> actinic::Result<i64> {
        let mut done = actinic::as_completed((0..3).map(|y| identity::remote(x + y)).collect::<Vec<_>>());
        let mut sum = 0;
        while let Some(one) = done.next().await {
            sum += one.await?;
        }
        Ok(sum)
    }
}

/// Has sync methods too.
pub struct Foreman;

#[actinic::remote(num_cpus = 1)]
impl Foreman {
    pub fn new() -> Self {
        Foreman
    }

    pub async fn asks(&self, x: i64) -> actinic::Result<i64> {
        identity::remote(x).await
    }

    /// Waits for something that is no ref, and lends nothing.
    pub async fn dozes(&self, began: String, gate: String) -> actinic::Result<()> {
        count_up(&began);
        while !std::path::Path::new(&gate).exists() {
            actinic::sleep(Duration::from_millis(2)).await?;
        }
        Ok(())
    }

    pub fn asks_in_place(&self, x: i64) -> actinic::Result<i64> {
        identity::remote(x).blocking()
    }
}

modes! {
    /// Whatever an async method waits for, as long as it is refs, runs on the actor's own CPU.
    1 CPUs, async fn an_actor_lends_its_cpu_while_its_calls_wait_for_refs(cluster) {
        let boss = Boss::remote(ObjectRef::<i64>::clone(&identity::remote(41)));
        assert_eq!(boss.first().await?, 42);
        assert_eq!(boss.asks(7).await?, 7);
        assert_eq!(boss.asks_alone(7).await?, 8);
        assert_eq!(boss.takes_turns(1).await?, 6);
        let many: Vec<_> = (0..50).map(|x| boss.asks(x)).collect();
        assert_eq!(actinic::get(&many).await?, (0..50).collect::<Vec<_>>());
        drop((boss, many));
        let foreman = Foreman::remote();
        let many: Vec<_> = (0..50).map(|x| if x % 2 == 0 { foreman.asks(x) } else { foreman.asks_in_place(x) }).collect();
        assert_eq!(actinic::get(&many).await?, (0..50).collect::<Vec<_>>());
    }

    /// While one of its calls waits for something else, it lends nothing.
    1 CPUs, async fn an_actor_keeps_its_cpu_while_a_call_of_it_goes_on(cluster) {
        let scratch = Scratch::new();
        let (began, gate) = (scratch.file("began"), scratch.file("gate"));
        let foreman = Foreman::remote();
        let dozes = foreman.dozes(began.clone(), gate.clone());
        until_counted(&began, 1).await;
        let asks = foreman.asks(3);
        let beside = identity::remote(4);
        let (ready, _) = actinic::wait(&[asks.clone(), beside.clone()]).timeout(Duration::from_millis(300)).await?;
        assert!(ready.is_empty(), "two ran on one CPU");
        open_gate(&gate);
        dozes.await?;
        assert_eq!(asks.await?, 3);
        drop(foreman);
        assert_eq!(beside.await?, 4);
    }
}
