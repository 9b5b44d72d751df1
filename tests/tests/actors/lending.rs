//! An actor that holds CPU lends it while its calls wait for refs, as a task does: on one CPU, what they wait for runs.

use ::actix::{ActorFutureExt, WrapFuture};

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

/// Its sync calls overlap.
pub struct Crowd;

#[actinic::remote(num_cpus = 1, max_concurrency = 3)]
impl Crowd {
    pub fn new() -> Self {
        Crowd
    }

    pub fn computes(&self, began: &str, gate: &str) {
        count_up(began);
        crate::support::hold(gate);
    }

    pub fn asks(&self, x: i64) -> actinic::Result<i64> {
        identity::remote(x).blocking()
    }

    pub fn asks_alone(&mut self, x: i64) -> actinic::Result<i64> {
        identity::remote(x).blocking()
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

/// An `actix::Actor` that holds the only CPU, and answers with futures that have it at hand.
pub struct Clerk {
    asked: i64,
}

#[actinic::remote(num_cpus = 1)]
impl Clerk {
    pub fn new() -> Self {
        Clerk { asked: 0 }
    }

    pub fn asked(&self) -> i64 {
        self.asked
    }
}

impl ::actix::Actor for Clerk {
    type Context = ::actix::Context<Self>;
}

#[derive(::actix::Message, serde::Serialize, serde::Deserialize)]
#[rtype(result = "actinic::Result<i64>")]
pub struct Ask(i64);

#[actinic::remote]
impl ::actix::Handler<Ask> for Clerk {
    type Result = ::actix::ResponseActFuture<Self, actinic::Result<i64>>;

    fn handle(&mut self, Ask(x): Ask, _: &mut Self::Context) -> Self::Result {
        let asks = async move { identity::remote(x).await }.into_actor(self);
        Box::pin(asks.map(|got, this, _| {
            this.asked += 1;
            got
        }))
    }
}

/// Asks with the actor's context standing still.
#[derive(::actix::Message, serde::Serialize, serde::Deserialize)]
#[rtype(result = "actinic::Result<i64>")]
pub struct AskAlone(i64);

#[actinic::remote]
impl ::actix::Handler<AskAlone> for Clerk {
    type Result = ::actix::AtomicResponse<Self, actinic::Result<i64>>;

    fn handle(&mut self, AskAlone(x): AskAlone, _: &mut Self::Context) -> Self::Result {
        ::actix::AtomicResponse::new(Box::pin(async move { identity::remote(x).await }.into_actor(self)))
    }
}

/// Waits for something that is no ref.
#[derive(::actix::Message, serde::Serialize, serde::Deserialize)]
#[rtype(result = "()")]
pub struct Doze(String, String);

#[actinic::remote]
impl ::actix::Handler<Doze> for Clerk {
    type Result = ::actix::ResponseActFuture<Self, ()>;

    fn handle(&mut self, Doze(began, gate): Doze, _: &mut Self::Context) -> Self::Result {
        count_up(&began);
        let dozes = async move {
            while !std::path::Path::new(&gate).exists() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        Box::pin(dozes.into_actor(self))
    }
}

modes! {
    /// So does an `actix::Actor`, while the answers of its handlers wait for refs.
    1 CPUs, async fn an_actix_actor_lends_its_cpu(cluster) {
        let clerk = Clerk::remote();
        assert_eq!(actinic::get(&Handle::send(&clerk, Ask(7))).timeout(SOON).await?, 7);
        assert_eq!(actinic::get(&Handle::send(&clerk, AskAlone(8))).timeout(SOON).await?, 8);
        let many: Vec<_> = (0..50)
            .map(|x| if x % 10 == 0 { Handle::send(&clerk, AskAlone(x)) } else { Handle::send(&clerk, Ask(x)) })
            .collect();
        assert_eq!(actinic::get(&many).timeout(SOON).await?, (0..50).collect::<Vec<_>>());
        assert_eq!(clerk.asked().await?, 46);
        actinic::cancel(&Handle::send(&clerk, Ask(4))).await?;
        assert_eq!(actinic::get(&Handle::send(&clerk, Ask(5))).timeout(SOON).await?, 5);
    }

    /// It keeps it while another answer waits for something else.
    1 CPUs, async fn an_actix_actor_keeps_its_cpu_while_a_call_of_it_goes_on(cluster) {
        let clerk = Clerk::remote();
        let scratch = Scratch::new();
        let (began, gate) = (scratch.file("began"), scratch.file("gate"));
        let dozes = Handle::send(&clerk, Doze(began.clone(), gate.clone()));
        until_counted(&began, 1).await;
        let asks = Handle::send(&clerk, Ask(3));
        let (ready, _) = actinic::wait(std::slice::from_ref(&asks)).timeout(Duration::from_millis(300)).await?;
        assert!(ready.is_empty(), "two ran on one CPU");
        open_gate(&gate);
        dozes.await?;
        assert_eq!(actinic::get(&asks).timeout(SOON).await?, 3);
    }

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

    /// So does one whose sync calls overlap, on threads: it lends when all that have begun wait for refs.
    1 CPUs, async fn an_actor_on_threads_keeps_its_cpu_while_a_call_of_it_computes(cluster) {
        let scratch = Scratch::new();
        let (began, gate) = (scratch.file("began"), scratch.file("gate"));
        let crowd = Crowd::remote();
        let computes = crowd.computes(&began, &gate);
        until_counted(&began, 1).await;
        let asks = crowd.asks(3);
        let (ready, _) = actinic::wait(std::slice::from_ref(&asks)).timeout(Duration::from_millis(300)).await?;
        assert!(ready.is_empty(), "two ran on one CPU");
        open_gate(&gate);
        computes.await?;
        assert_eq!(actinic::get(&asks).timeout(SOON).await?, 3);
        // Those that want the actor to themselves wait for others, which must not hold the CPU for them.
        let one = |x: i64| if x % 3 == 1 { crowd.asks_alone(x) } else { crowd.asks(x) };
        let many: Vec<_> = (0..60).map(one).collect();
        assert_eq!(actinic::get(&many).timeout(SOON).await?, (0..60).collect::<Vec<_>>());
    }
}
