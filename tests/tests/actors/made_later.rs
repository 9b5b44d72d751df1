//! Actors with async constructors.

use std::rc::Rc;

use super::*;
use crate::support::{Scratch, count_up, until_counted};

/// Where it runs.
fn thread() -> String {
    format!("{:?}", std::thread::current().id())
}

/// What a future of a constructor that is not `Send` comes to.
async fn awaited(value: i64) -> actinic::Result<i64> {
    let kept = Rc::new(value);
    let got = identity::remote(*kept).await?;
    tokio::task::yield_now().await;
    let spawned = tokio::spawn(async move { identity::remote(got).await });
    assert_eq!(spawned.await.unwrap()?, *kept, "what it spawns is of the same job");
    Ok(*kept)
}

/// Its calls are futures.
pub struct Late {
    value: i64,
    made: String,
}

#[actinic::remote]
impl Late {
    pub async fn new(value: i64) -> actinic::Result<Self> {
        Ok(Late { value: awaited(value).await?, made: thread() })
    }

    pub async fn value(&self) -> i64 {
        self.value
    }

    /// The threads of its constructor, an async method and a sync one.
    pub async fn threads(&mut self) -> (String, String) {
        (self.made.clone(), thread())
    }

    pub fn thread(&self) -> String {
        thread()
    }
}

/// Its calls are not.
pub struct LatePlain {
    value: i64,
}

#[actinic::remote]
impl LatePlain {
    pub async fn new(value: i64) -> actinic::Result<Self> {
        Ok(LatePlain { value: awaited(value).await? })
    }

    pub fn ask(&mut self, value: i64) -> actinic::Result<i64> {
        self.value += identity::remote(value).blocking()?;
        Ok(self.value)
    }
}

/// Is made when a gate opens, and keeps something meanwhile.
pub struct Gated;

#[actinic::remote]
impl Gated {
    pub async fn new(started: String, kept: Handle<Counter>) -> Self {
        count_up(&started);
        std::future::pending::<()>().await;
        drop(kept);
        Gated
    }

    pub fn echo(&self, value: i64) -> i64 {
        value
    }
}

/// The same, and would live where it was made.
pub struct GatedAsync;

#[actinic::remote]
impl GatedAsync {
    pub async fn new(started: String, kept: Handle<Counter>) -> Self {
        Gated::new(started, kept).await;
        GatedAsync
    }

    pub async fn echo(&self, value: i64) -> i64 {
        value
    }
}

/// Waits as async code must not.
pub struct Blocks;

#[actinic::remote]
impl Blocks {
    pub async fn new() -> actinic::Result<Self> {
        identity::remote(1).blocking()?;
        Ok(Blocks)
    }

    pub fn echo(&self, value: i64) -> i64 {
        value
    }
}

both! {
    /// A constructor's future need not be `Send`; it runs where the actor's async methods do.
    async fn a_constructor_keeps_what_cannot_be_sent(cluster) {
        let late = Late::remote(3);
        assert_eq!(late.value().await?, 3);
        let (made, runs) = late.threads().await?;
        assert_eq!((&made, &late.thread().await?), (&runs, &runs));
        let plain = LatePlain::remote(4);
        assert_eq!(plain.ask(1).await?, 5);
        let error = Blocks::remote().echo(1).await.unwrap_err();
        assert!(matches!(error.root_cause(), Error::InvalidArgument { .. }), "{error:?}");
    }

    /// What an actor that is killed in its constructor keeps is let go.
    async fn kill_drops_what_a_constructor_keeps(cluster) {
        let scratch = Scratch::new();
        let kept = Counter::options().name("kept").remote(1);
        let gated = Gated::remote(scratch.file("started"), &kept);
        let other = GatedAsync::remote(scratch.file("started"), &kept);
        let calls = [gated.echo(1), other.echo(1)];
        until_counted(&scratch.file("started"), 2).await;
        drop(kept);
        actinic::kill(&gated).await?;
        actinic::kill(&other).await?;
        for call in calls {
            assert!(matches!(call.await.unwrap_err(), Error::ActorDied { .. }));
        }
        drop((gated, other));
        assert!(eventually(SOON, || async { actinic::get_actor::<Counter>("kept").await.is_err() }).await);
    }
}
