//! Code of the user's that the engine runs by itself, destructors above all, and that panics: the call has an error,
//! and the worker or the actor goes on.

use actinic::prelude::*;
use actix::{Actor, Context, Handler, Message, ResponseActFuture, ResponseFuture, WrapFuture};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::support::*;

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the bomb went off");
        }
    }
}

/// Panics when it is encoded.
pub struct Unwritten;

impl Serialize for Unwritten {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        if std::hint::black_box(true) {
            panic!("it is not for writing");
        }
        Err(S::Error::custom("never"))
    }
}

impl<'de> Deserialize<'de> for Unwritten {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <()>::deserialize(from).map(|()| Unwritten)
    }
}

/// Panics when it is decoded.
#[derive(Serialize)]
pub struct Unread;

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        if std::hint::black_box(true) {
            panic!("it is not for reading");
        }
        Err(D::Error::custom("never"))
    }
}

/// Panics when it is dropped where it was sent to.
#[derive(Serialize, Deserialize, Default)]
pub struct Mine {
    #[serde(skip, default = "armed")]
    _bomb: Option<Bomb>,
}

impl Clone for Bomb {
    fn clone(&self) -> Self {
        Bomb
    }
}

fn armed() -> Option<Bomb> {
    Some(Bomb)
}

/// Panics when it is dropped where it was made.
#[derive(Serialize, Deserialize)]
pub struct Returned {
    #[serde(skip)]
    _bomb: Option<Bomb>,
}

macro_rules! panicking {
    ($($asyncness:tt)?) => {
        #[actinic::remote(num_cpus = 1)]
        pub $($asyncness)? fn with_a_bomb() -> i64 {
            std::panic::panic_any(Bomb)
        }

        #[actinic::remote(num_cpus = 1)]
        pub $($asyncness)? fn unwritten() -> Unwritten {
            Unwritten
        }

        #[actinic::remote(num_cpus = 1)]
        pub $($asyncness)? fn returned() -> Returned {
            Returned { _bomb: Some(Bomb) }
        }

        #[actinic::remote(num_cpus = 1)]
        pub $($asyncness)? fn unread(_unread: Unread) -> i64 {
            1
        }

        #[actinic::remote(num_cpus = 1)]
        pub $($asyncness)? fn mine(_mine: Mine) -> i64 {
            1
        }
    };
}

mod plain {
    use super::*;
    panicking!();
}

mod later {
    use super::*;
    panicking!(async);
}

/// Holds a bomb until it is cancelled.
#[actinic::remote]
async fn waits(started: String) -> i64 {
    let _bomb = Bomb;
    count_up(&started);
    std::future::pending().await
}

/// Waits for a gate.
#[actinic::remote]
fn opened(gate: String) -> i64 {
    hold(&gate);
    1
}

/// As `waits`; what it waits for is a ref, so that it has left its worker.
#[actinic::remote]
async fn waits_for(started: String, gate: String) -> actinic::Result<i64> {
    let _bomb = Bomb;
    let opened = opened::options().num_cpus(0).remote(gate);
    count_up(&started);
    opened.await
}

/// An actor whose calls are run one by one.
pub struct Plain {
    _bomb: Bomb,
}

#[actinic::remote(num_cpus = 0)]
impl Plain {
    pub fn new() -> Self {
        Plain { _bomb: Bomb }
    }

    pub fn with_a_bomb(&mut self) -> i64 {
        std::panic::panic_any(Bomb)
    }

    pub fn unwritten(&self) -> Unwritten {
        Unwritten
    }

    pub fn returned(&self) -> Returned {
        Returned { _bomb: Some(Bomb) }
    }

    pub fn unread(&self, _unread: Unread) -> i64 {
        1
    }

    pub fn mine(&mut self, _mine: Mine) -> i64 {
        1
    }

    pub fn holds(&mut self, running: &str, gate: &str) -> i64 {
        count_up(running);
        hold(gate);
        1
    }
}

/// An actor whose calls overlap on threads.
pub struct Shared {
    _bomb: Bomb,
}

#[actinic::remote(num_cpus = 0, max_concurrency = 2)]
impl Shared {
    pub fn new() -> Self {
        Shared { _bomb: Bomb }
    }

    pub fn with_a_bomb(&self) -> i64 {
        std::panic::panic_any(Bomb)
    }

    pub fn holds(&self, running: &str, gate: &str) -> i64 {
        count_up(running);
        hold(gate);
        1
    }
}

/// An actor whose calls are futures.
pub struct Later {
    _bomb: Bomb,
}

#[actinic::remote(num_cpus = 0)]
impl Later {
    pub async fn new() -> Self {
        Later { _bomb: Bomb }
    }

    pub async fn waits(&self, started: String) -> i64 {
        let _bomb = Bomb;
        count_up(&started);
        std::future::pending().await
    }

    pub async fn waits_alone(&mut self, started: String) -> i64 {
        let _bomb = Bomb;
        count_up(&started);
        std::future::pending().await
    }

    pub async fn with_a_bomb(&mut self) -> i64 {
        tokio::task::yield_now().await;
        std::panic::panic_any(Bomb)
    }

    pub fn with_a_bomb_now(&mut self) -> i64 {
        std::panic::panic_any(Bomb)
    }

    pub async fn unwritten(&self) -> Unwritten {
        Unwritten
    }

    pub async fn unread(&self, _unread: Unread) -> i64 {
        1
    }

    pub async fn mine(&mut self, _mine: Mine) -> i64 {
        1
    }

    pub async fn echo(&self, value: i64) -> i64 {
        value
    }
}

/// An `actix::Actor`.
pub struct Framed {
    _bomb: Bomb,
}

impl Actor for Framed {
    type Context = Context<Self>;
}

#[actinic::remote(num_cpus = 0)]
impl Framed {
    pub fn new() -> Self {
        Framed { _bomb: Bomb }
    }

    pub fn echo(&self, value: i64) -> i64 {
        value
    }
}

/// Holds a bomb, with its actor at hand, until it is cancelled.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "i64")]
pub struct Wait(String);

#[actinic::remote]
impl Handler<Wait> for Framed {
    type Result = ResponseActFuture<Self, i64>;

    fn handle(&mut self, message: Wait, _: &mut Self::Context) -> Self::Result {
        let bomb = Bomb;
        count_up(&message.0);
        Box::pin(
            async move {
                let _bomb = bomb;
                std::future::pending().await
            }
            .into_actor(self),
        )
    }
}

/// The same without its actor.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "i64")]
pub struct WaitApart(String);

#[actinic::remote]
impl Handler<WaitApart> for Framed {
    type Result = ResponseFuture<i64>;

    fn handle(&mut self, message: WaitApart, _: &mut Self::Context) -> Self::Result {
        let bomb = Bomb;
        count_up(&message.0);
        Box::pin(async move {
            let _bomb = bomb;
            std::future::pending().await
        })
    }
}

/// Is never made.
pub struct Unborn;

#[actinic::remote(num_cpus = 0)]
impl Unborn {
    pub fn new(_unread: Option<Unread>) -> Self {
        std::panic::panic_any(Bomb)
    }

    pub fn echo(&self, value: i64) -> i64 {
        value
    }
}

/// Nor is this.
pub struct UnbornLater;

#[actinic::remote(num_cpus = 0)]
impl UnbornLater {
    pub async fn new(_unread: Option<Unread>) -> Self {
        tokio::task::yield_now().await;
        std::panic::panic_any(Bomb)
    }

    pub async fn echo(&self, value: i64) -> i64 {
        value
    }
}

/// The call failed by its own code, which said this.
async fn failed<T: Send + Sync + serde::de::DeserializeOwned + 'static>(call: ObjectRef<T>, said: &str) {
    let got = actinic::get(&call).timeout(SOON).await;
    let Err(error) = got else { panic!("it came to a value, not to {said:?}") };
    assert!(matches!(error, Error::Task { .. }), "{said}: {error:?}");
    assert!(error.to_string().contains(said), "{said}: {error}");
}

/// Cancels what holds a bomb.
async fn is_cancelled(call: ObjectRef<i64>, started: &str) -> actinic::Result<()> {
    until_counted(started, 1).await;
    // Not what it waits for, whose end would be an error like any other.
    actinic::cancel(&call).recursive(false).await?;
    let error = actinic::get(&call).timeout(SOON).await.unwrap_err();
    assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
    Ok(())
}

modes! {
    /// An async task whose destructor panics when it is cancelled is cancelled, and its worker runs the next.
    1 CPUs, async fn a_cancelled_task_may_panic_in_its_destructor(cluster) {
        let scratch = Scratch::new();
        let (one, two) = (scratch.file("one"), scratch.file("two"));
        is_cancelled(waits::remote(&one), &one).await?;
        assert_eq!(actinic::get(&echo::remote(1)).timeout(SOON).await?, 1);
        is_cancelled(waits_for::remote(&two, scratch.file("gate")), &two).await?;
        open_gate(&scratch.file("gate"));
        assert_eq!(actinic::get(&echo::remote(2)).timeout(SOON).await?, 2);
    }

    /// Whatever of a task's panics, the payload of its panic, its results and its arguments included, is its error.
    1 CPUs, async fn what_panics_of_a_task_is_its_error(cluster) {
        for round in 0..2 {
            failed(plain::with_a_bomb::remote(), "no text").await;
            failed(plain::unwritten::remote(), "not for writing").await;
            failed(plain::returned::remote(), "the bomb").await;
            failed(plain::unread::remote(Unread), "not for reading").await;
            failed(plain::mine::remote(Mine::default()), "the bomb").await;
            failed(later::with_a_bomb::remote(), "no text").await;
            failed(later::unwritten::remote(), "not for writing").await;
            failed(later::returned::remote(), "the bomb").await;
            failed(later::unread::remote(Unread), "not for reading").await;
            failed(later::mine::remote(Mine::default()), "the bomb").await;
            assert_eq!(actinic::get(&echo::remote(round)).timeout(SOON).await?, round);
        }
    }

    /// So with the calls of an actor, which lives on; a state that panics when it is dropped harms nobody.
    1 CPUs, async fn what_panics_of_a_call_is_its_error(cluster) {
        let (scratch, plain, shared) = (Scratch::new(), Plain::remote(), Shared::remote());
        for _ in 0..2 {
            failed(plain.with_a_bomb(), "no text").await;
            failed(plain.unwritten(), "not for writing").await;
            failed(plain.returned(), "the bomb").await;
            failed(plain.unread(Unread), "not for reading").await;
            failed(plain.mine(Mine::default()), "the bomb").await;
            failed(shared.with_a_bomb(), "no text").await;
        }
        // One state is dropped by the thread that runs a call when that is over, one when no call runs.
        let (running, gate) = (scratch.file("running"), scratch.file("gate"));
        let runs = [plain.holds(&running, &gate), shared.holds(&running, &gate)];
        until_counted(&running, 2).await;
        actinic::kill(&plain).await?;
        actinic::kill(&shared).await?;
        for call in runs {
            assert!(matches!(call.await.unwrap_err(), Error::ActorDied { .. }));
        }
        open_gate(&gate);
        drop(Plain::remote());
        let last = Plain::remote();
        Handle::ready(&last).await?;
        Handle::stop(&last).await?;
        assert_eq!(actinic::get(&echo::remote(1)).timeout(SOON).await?, 1);
    }

    /// So with async methods, shared and exclusive, cancelled and not.
    1 CPUs, async fn what_panics_of_an_async_call_is_its_error(cluster) {
        let (scratch, later) = (Scratch::new(), Later::remote());
        let files: Vec<_> = (0..3).map(|i| scratch.file(&format!("{i}"))).collect();
        let beside = later.waits(&files[0]);
        is_cancelled(later.waits(&files[1]), &files[1]).await?;
        assert_eq!(actinic::get(&later.echo(1)).timeout(SOON).await?, 1);
        is_cancelled(beside, &files[0]).await?;
        is_cancelled(later.waits_alone(&files[2]), &files[2]).await?;
        assert_eq!(actinic::get(&later.echo(2)).timeout(SOON).await?, 2);
        failed(later.with_a_bomb(), "no text").await;
        failed(later.with_a_bomb_now(), "no text").await;
        failed(later.unwritten(), "not for writing").await;
        failed(later.unread(Unread), "not for reading").await;
        failed(later.mine(Mine::default()), "the bomb").await;
        assert_eq!(actinic::get(&later.echo(3)).timeout(SOON).await?, 3);
        assert_eq!(Handle::state(&later), actinic::ActorState::Alive);
        // What waits when it is killed holds bombs too.
        let waits = [later.waits(scratch.file("last")), later.waits(scratch.file("last"))];
        until_counted(&scratch.file("last"), 2).await;
        actinic::kill(&later).await?;
        for call in waits {
            assert!(matches!(call.await.unwrap_err(), Error::ActorDied { .. }));
        }
        let next = Later::remote();
        assert_eq!(actinic::get(&next.echo(4)).timeout(SOON).await?, 4);
    }

    /// So with the messages of an `actix::Actor`.
    1 CPUs, async fn what_panics_of_a_message_is_its_error(cluster) {
        let (scratch, framed) = (Scratch::new(), Framed::remote());
        let (one, two) = (scratch.file("one"), scratch.file("two"));
        is_cancelled(Handle::send(&framed, Wait(one.clone())), &one).await?;
        is_cancelled(Handle::send(&framed, WaitApart(two.clone())), &two).await?;
        assert_eq!(actinic::get(&framed.echo(1)).timeout(SOON).await?, 1);
        let last = scratch.file("last");
        let waits = [1, 2].map(|_| Handle::send(&framed, Wait(last.clone())));
        until_counted(&last, 2).await;
        actinic::kill(&framed).await?;
        for call in waits {
            assert!(matches!(call.await.unwrap_err(), Error::ActorDied { .. }));
        }
        let next = Framed::remote();
        assert_eq!(actinic::get(&next.echo(2)).timeout(SOON).await?, 2);
    }

    /// So with constructors: the actor is not made, and others are.
    1 CPUs, async fn what_panics_of_a_constructor_is_its_error(cluster) {
        for unread in [false, true] {
            let argument = || unread.then_some(Unread);
            let calls = [Unborn::remote(argument()).echo(1), UnbornLater::remote(argument()).echo(1)];
            for call in calls {
                let error = actinic::get(&call).timeout(SOON).await.unwrap_err();
                assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
                let said = if unread { "not for reading" } else { "no text" };
                assert!(format!("{error:?}").contains(said), "{error:?}");
            }
        }
        let later = Later::remote();
        assert_eq!(actinic::get(&later.echo(4)).timeout(SOON).await?, 4);
    }

    /// `remote` never panics: an argument that does when it is encoded is the error of the call.
    1 CPUs, async fn an_argument_that_panics_when_it_is_encoded_fails_its_call(cluster) {
        let error = actinic::get(&takes::remote(Unwritten)).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, Error::Serialization { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("not for writing") && text.contains("`unwritten`"), "{text}");
        assert_eq!(actinic::get(&echo::remote(1)).timeout(SOON).await?, 1);
    }
}

#[actinic::remote]
fn takes(unwritten: Unwritten) -> i64 {
    let _ = unwritten;
    1
}

/// A cluster ends in order though an actor's state, and what its calls hold, panics when it is dropped.
#[actinic::test(num_cpus = 1)]
async fn a_cluster_ends_in_order_though_what_it_drops_panics(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (plain, shared, later) = (Plain::remote(), Shared::remote(), Later::remote());
    let waits = [later.waits(scratch.file("later")), waits::remote(scratch.file("later"))];
    until_counted(&scratch.file("later"), 2).await;
    Handle::ready(&plain).await?;
    Handle::ready(&shared).await?;
    cluster.shutdown().await?;
    drop((plain, shared, later, waits));
    Ok(())
}
