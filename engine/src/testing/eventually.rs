//! Waiting for a condition instead of sleeping for luck.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

const STEP: Duration = Duration::from_millis(2);

/// Waits until a condition holds; `false` if it does not within the deadline.
///
/// The condition is a closure that returns a `bool`, or a future of one.
///
/// ```no_run
/// # use actinic::prelude::*;
/// # async fn f(cluster: TestCluster) {
/// let free = || cluster.available_resources()["CPU"] == 2.0;
/// assert!(actinic::testing::eventually(Duration::from_secs(10), free).await);
/// # }
/// ```
#[must_use = "it says whether the condition held"]
pub async fn eventually<M, C: Condition<M>>(deadline: Duration, mut condition: C) -> bool {
    let until = Instant::now() + deadline;
    loop {
        if condition.holds().await {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(STEP).await;
    }
}

/// As [`eventually`], on the calling thread.
#[must_use = "it says whether the condition held"]
pub fn eventually_blocking(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + deadline;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        crate::env::park(Some(STEP));
    }
}

/// What [`eventually`] takes: `FnMut() -> bool`, or `FnMut() -> impl Future<Output = bool>`.
pub trait Condition<M> {
    #[doc(hidden)]
    fn holds(&mut self) -> impl Future<Output = bool>;
}

impl<F: FnMut() -> bool> Condition<()> for F {
    async fn holds(&mut self) -> bool {
        self()
    }
}

impl<F: FnMut() -> Fut, Fut: Future<Output = bool>> Condition<(Fut,)> for F {
    fn holds(&mut self) -> impl Future<Output = bool> {
        self()
    }
}
