//! `actix::Actor`s made remote: their messages, their lifecycle, and how they end.

use std::rc::Rc;
use std::time::Duration;

use ::actix::prelude::*;
use actinic::With;
use actinic::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

/// An ordinary Actix actor, as one may exist: its state is not even `Send`.
pub struct Sum {
    value: Rc<std::cell::Cell<i64>>,
    /// Where it notes its life, if anywhere.
    log: Option<String>,
    /// How often it has refused to stop.
    refused: u32,
}

impl Sum {
    fn note(&self, line: &str) {
        use std::io::Write;
        if let Some(log) = &self.log {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(log);
            // In one piece: others write there too.
            file.unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
        }
    }
}

#[actinic::remote(max_restarts = 2)]
impl Sum {
    pub fn new(start: i64, log: Option<String>) -> Self {
        Sum { value: Rc::new(start.into()), log, refused: 0 }
    }

    /// A method beside the messages.
    pub fn value(&self) -> i64 {
        self.value.get()
    }

    pub fn place(&self) -> (u32, String) {
        (std::process::id(), format!("{:?}", std::thread::current().id()))
    }
}

#[actinic::remote]
impl Actor for Sum {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.note("started");
        assert_eq!(actinic::context().current_actor::<Sum>().map(|_| ()), Some(()));
        if self.value.get() == -1 {
            panic!("it was born negative");
        }
        if self.value.get() == -2 {
            ctx.stop();
        }
        // Nothing is called before it is done.
        ctx.wait(tokio::time::sleep(Duration::from_millis(20)).into_actor(self).map(|(), this: &mut Sum, _| {
            this.note("ready");
        }));
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.note("stopping");
        if self.refused > 0 {
            self.refused -= 1;
            return Running::Continue;
        }
        Running::Stop
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.note("stopped");
    }
}

#[derive(Message, Serialize, Deserialize, Clone)]
#[rtype(result = "i64")]
pub struct Add(pub i64);

#[actinic::remote]
impl Handler<Add> for Sum {
    type Result = i64;

    fn handle(&mut self, message: Add, _: &mut Self::Context) -> i64 {
        self.value.set(self.value.get() + message.0);
        self.value.get()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{0} is too much")]
pub struct TooMuch(i64);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Result<i64, TooMuch>")]
pub struct AddUpTo {
    by: i64,
    limit: i64,
}

#[actinic::remote]
impl Handler<AddUpTo> for Sum {
    type Result = Result<i64, TooMuch>;

    fn handle(&mut self, message: AddUpTo, ctx: &mut Self::Context) -> Self::Result {
        let sum = self.value.get() + message.by;
        if sum > message.limit { Err(TooMuch(sum)) } else { Ok(self.handle(Add(message.by), ctx)) }
    }
}

/// Adds after a while, without its actor.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Result<i64, TooMuch>")]
pub struct Later {
    millis: u64,
    value: i64,
}

#[actinic::remote]
impl Handler<Later> for Sum {
    type Result = ResponseFuture<Result<i64, TooMuch>>;

    fn handle(&mut self, message: Later, _: &mut Self::Context) -> Self::Result {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(message.millis)).await;
            match message.value {
                value if value < 0 => panic!("later {value}"),
                value if value > 100 => Err(TooMuch(value)),
                value => Ok(value),
            }
        })
    }
}

/// Adds after a while, with its actor.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "i64")]
pub struct AddLater {
    millis: u64,
    by: i64,
}

#[actinic::remote]
impl Handler<AddLater> for Sum {
    type Result = ResponseActFuture<Self, i64>;

    fn handle(&mut self, message: AddLater, _: &mut Self::Context) -> Self::Result {
        let sleep = tokio::time::sleep(Duration::from_millis(message.millis)).into_actor(self);
        Box::pin(sleep.map(move |(), this, ctx| {
            assert!(message.by >= 0, "less than nothing");
            this.handle(Add(message.by), ctx)
        }))
    }
}

/// As `AddLater`; nothing else is handled meanwhile.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "i64")]
pub struct AddAlone {
    millis: u64,
    by: i64,
}

#[actinic::remote]
impl Handler<AddAlone> for Sum {
    type Result = AtomicResponse<Self, i64>;

    fn handle(&mut self, message: AddAlone, ctx: &mut Self::Context) -> Self::Result {
        AtomicResponse::new(self.handle(AddLater { millis: message.millis, by: message.by }, ctx))
    }
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Vec<String>")]
pub struct Whoever;

#[actinic::remote]
impl Handler<Whoever> for Sum {
    type Result = MessageResult<Whoever>;

    fn handle(&mut self, _: Whoever, _: &mut Self::Context) -> Self::Result {
        let context = actinic::context();
        MessageResult(vec![context.actor_id().map(|id| id.to_string()).unwrap_or_default()])
    }
}

/// Its answer is its last.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "i64")]
pub struct Leave;

#[actinic::remote]
impl Handler<Leave> for Sum {
    type Result = i64;

    fn handle(&mut self, _: Leave, ctx: &mut Self::Context) -> i64 {
        ctx.stop();
        self.value.get()
    }
}

/// What an actor does to itself.
#[derive(Message, Serialize, Deserialize, Debug)]
#[rtype(result = "i64")]
pub enum Fate {
    StopAgain,
    Panic,
    PanicBeside,
    Exit,
    Crash,
    Block(String),
    /// The actors around it are Actix's own.
    Neighbour,
}

#[actinic::remote]
impl Handler<Fate> for Sum {
    type Result = ResponseActFuture<Self, i64>;

    fn handle(&mut self, fate: Fate, ctx: &mut Self::Context) -> Self::Result {
        match fate {
            Fate::StopAgain => {
                self.refused = 1;
                ctx.stop();
            }
            Fate::Panic => panic!("it was to be"),
            Fate::PanicBeside => {
                ctx.run_later(Duration::from_millis(1), |_, _| panic!("nobody called this"));
            }
            Fate::Exit => actinic::exit_actor(),
            Fate::Crash => actinic::testing::crash(),
            Fate::Block(gate) => wait_for_file(&gate),
            Fate::Neighbour => {
                // Its address sends on the same arbiter.
                let asked = ctx.address().send(Add(5));
                let other = Neighbour.start();
                return Box::pin(
                    async move { asked.await.unwrap() + other.send(Add(100)).await.unwrap() }.into_actor(self),
                );
            }
        }
        Box::pin(fut::ready(self.value.get()))
    }
}

/// An actor that is Actix's alone.
struct Neighbour;

impl Actor for Neighbour {
    type Context = Context<Self>;
}

impl Handler<Add> for Neighbour {
    type Result = i64;

    fn handle(&mut self, message: Add, _: &mut Self::Context) -> i64 {
        message.0
    }
}

/// One call at a time, made by an async constructor that may fail.
pub struct Narrow {
    running: u32,
}

#[actinic::remote(max_concurrency = 1)]
impl Narrow {
    pub async fn new(fine: bool) -> Result<Self, TooMuch> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if fine { Ok(Narrow { running: 0 }) } else { Err(TooMuch(0)) }
    }
}

impl Actor for Narrow {
    type Context = Context<Self>;
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u32")]
pub struct Overlap;

#[actinic::remote]
impl Handler<Overlap> for Narrow {
    type Result = ResponseActFuture<Self, u32>;

    fn handle(&mut self, _: Overlap, _: &mut Self::Context) -> Self::Result {
        self.running += 1;
        let sleep = tokio::time::sleep(Duration::from_millis(2)).into_actor(self);
        Box::pin(sleep.map(|(), this: &mut Narrow, _| {
            this.running -= 1;
            this.running
        }))
    }
}

#[actinic::remote]
fn add_from_task(sum: Handle<Sum>, by: i64) -> actinic::Result<i64> {
    (0..by).map(|_| Handle::send(&sum, Add(1))).collect::<Vec<_>>().pop().map_or(Ok(0), |last| last.blocking())
}

fn lines(log: &Gate) -> Vec<String> {
    std::fs::read_to_string(log.path()).unwrap_or_default().lines().map(str::to_owned).collect()
}

async fn until_lines(log: &Gate, count: usize) -> Vec<String> {
    assert!(actinic::testing::eventually(Duration::from_secs(10), || lines(log).len() >= count).await);
    lines(log)
}

async fn cause<A: actinic::Actor>(handle: &Handle<A>) -> String {
    let closed = async { Handle::closed(handle).await };
    tokio::time::timeout(Duration::from_secs(10), closed).await.unwrap().unwrap().to_string()
}

both! {
    /// ACTIX-1: messages come to their handlers in order, with values, errors and what is larger than a message.
    async fn messages_are_handled_in_order(cluster) {
        let sum = Sum::remote(0, None);
        let refs: Vec<ObjectRef<i64>> = (1..=500).map(|_| Handle::send(&sum, Add(1))).collect();
        assert_eq!(actinic::get(&refs).await?, (1..=500).collect::<Vec<i64>>());
        let fine: ObjectRef<i64> = Handle::send(&sum, AddUpTo { by: 1, limit: 501 });
        assert_eq!(fine.await?, 501);
        let error = Handle::send(&sum, AddUpTo { by: 1, limit: 501 }).await.unwrap_err();
        assert_eq!(error.downcast_ref::<TooMuch>(), Some(&TooMuch(502)));
        assert!(error.to_string().contains("AddUpTo"), "{error}");
        assert_eq!(Handle::send(&sum, Whoever).await?, [Handle::id(&sum).to_string()]);
        assert_eq!(sum.value().await?, 501);
        let named = Handle::with(&sum, CallOptions::new().name("named"));
        assert_eq!(With::send(&named, Add(1)).await?, 502);
        assert_eq!(add_from_task::remote(&sum, 10).await?, 512);
    }

    /// Answers that are futures overlap with later messages; atomic ones do not.
    async fn answers_may_be_futures(cluster) {
        let sum = Sum::remote(0, None);
        let slow = Handle::send(&sum, Later { millis: 300, value: 7 });
        let slower = Handle::send(&sum, AddLater { millis: 300, by: 10 });
        assert_eq!(Handle::send(&sum, Add(1)).await?, 1);
        assert!(actinic::wait(std::slice::from_ref(&slow)).timeout(Duration::ZERO).await?.0.is_empty());
        assert_eq!((slow.await?, slower.await?), (7, 11));
        let alone = Handle::send(&sum, AddAlone { millis: 50, by: 100 });
        let after = Handle::send(&sum, Add(1));
        assert_eq!((alone.await?, after.await?), (111, 112));
        let error = Handle::send(&sum, Later { millis: 1, value: 101 }).await.unwrap_err();
        assert_eq!(error.downcast_ref::<TooMuch>(), Some(&TooMuch(101)));
        assert_eq!(Handle::send(&sum, Fate::Neighbour).await?, 217);
    }

    /// ACTIX-2: a panic in a handler, or in its future, is the error of the call; the actor and its neighbours live on.
    async fn panics_are_errors_of_calls(cluster) {
        let sum = Sum::remote(3, None);
        let others: Vec<_> = (0..8).map(|_| Sum::remote(1, None)).collect();
        let error = Handle::send(&sum, Fate::Panic).await.unwrap_err();
        assert!(matches!(error, Error::Task { .. }), "{error:?}");
        assert!(error.to_string().contains("it was to be") && error.to_string().contains("actix.rs"), "{error}");
        let error = Handle::send(&sum, Later { millis: 1, value: -5 }).await.unwrap_err();
        assert!(error.to_string().contains("later -5"), "{error}");
        let error = Handle::send(&sum, AddLater { millis: 1, by: -5 }).await.unwrap_err();
        assert!(error.to_string().contains("less than nothing"), "{error}");
        assert_eq!(Handle::send(&sum, Add(1)).await?, 4);
        for other in &others {
            assert_eq!(Handle::send(other, Add(1)).await?, 2);
        }
    }

    /// ACTIX-3: a panic that belongs to no call breaks the context: the actor restarts, and in the end says why it is dead.
    async fn a_broken_context_restarts(cluster) {
        let sum = Sum::options().max_restarts(1).remote(3, None);
        assert_eq!(Handle::send(&sum, Add(1)).await?, 4);
        assert_eq!(Handle::send(&sum, Fate::PanicBeside).await?, 4);
        let again = async {
            // Until the panic has come about, it counts on.
            while Handle::send(&sum, Add(1)).await.map_or(true, |value| value != 4) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), again).await.unwrap();
        let error = Handle::send(&sum, AddAlone { millis: 1, by: -1 }).await.unwrap_err();
        assert!(error.to_string().contains("less than nothing"), "{error}");
        let cause = cause(&sum).await;
        assert!(cause.contains("less than nothing") && cause.contains("max_restarts"), "{cause}");
    }

    /// `started`, what it waits for, the calls, `stopping`, `stopped`.
    async fn the_lifecycle_is_actix_s(cluster) {
        let log = Gate::new();
        let sum = Sum::remote(0, Some(log.path()));
        Handle::ready(&sum).await?;
        assert_eq!(lines(&log), ["started", "ready"]);
        let calls = [Handle::send(&sum, AddLater { millis: 50, by: 1 }), Handle::send(&sum, AddLater { millis: 60, by: 1 })];
        Handle::stop(&sum).await?;
        assert_eq!(actinic::get(&calls).await?, [1, 2]);
        assert!(matches!(Handle::send(&sum, Add(1)).await.unwrap_err(), Error::ActorDied { .. }));
        assert!(cause(&sum).await.contains("stopped"));
        assert_eq!(until_lines(&log, 4).await[2..], ["stopping", "stopped"]);
    }

    /// The last handle dropped ends it after the calls already made, even one that would not stop.
    async fn the_last_handle_ends_it(cluster) {
        let log = Gate::new();
        let sum = Sum::remote(0, Some(log.path()));
        assert_eq!(Handle::send(&sum, Fate::StopAgain).await?, 0);
        assert_eq!(Handle::send(&sum, Add(1)).await?, 1, "it went on");
        let last = Handle::send(&sum, AddLater { millis: 50, by: 1 });
        drop(sum);
        assert_eq!(last.await?, 2);
        assert_eq!(until_lines(&log, 5).await, ["started", "ready", "stopping", "stopping", "stopped"]);
    }

    /// `ctx.stop()` and `exit_actor()` end it for good, with the cause; other ways to end too.
    async fn it_ends_itself_for_good(cluster) {
        let sum = Sum::remote(0, None);
        let unfinished = Handle::send(&sum, Later { millis: 60_000, value: 1 });
        let own = Handle::send(&sum, Leave);
        let after = Handle::send(&sum, Add(1));
        assert_eq!(own.await?, 0);
        let ends = [unfinished.await.map(|_| ()), after.await.map(|_| ())];
        for end in ends {
            assert!(matches!(end, Err(Error::ActorDied { .. })), "{end:?}");
        }
        let cause_of_it = cause(&sum).await;
        assert!(cause_of_it.contains("stopped its own context (intended exit)"), "{cause_of_it}");
        let sum = Sum::remote(0, None);
        assert!(matches!(Handle::send(&sum, Fate::Exit).await.unwrap_err(), Error::ActorDied { .. }));
        assert!(cause(&sum).await.contains("exit_actor"));
    }

    /// What goes wrong at birth is why it never was.
    async fn births_fail_clearly(cluster) {
        let sum = Sum::remote(-1, None);
        let error = Handle::send(&sum, Add(1)).await.unwrap_err();
        assert!(error.to_string().contains("it was born negative"), "{error}");
        let sum = Sum::remote(-2, None);
        assert!(cause(&sum).await.contains("stopped its own context"));
        let error = Handle::send(&Narrow::remote(false), Overlap).await.unwrap_err();
        assert_eq!(error.downcast_ref::<TooMuch>(), Some(&TooMuch(0)), "{error:?}");
    }

    /// `max_concurrency` holds for answers that are futures.
    async fn max_concurrency_is_kept(cluster) {
        let narrow = Narrow::remote(true);
        let refs: Vec<_> = (0..10).map(|_| Handle::send(&narrow, Overlap)).collect();
        assert_eq!(actinic::get(&refs).await?, [0; 10]);
    }

    /// It never leaves its thread.
    async fn it_stays_on_one_arbiter(cluster) {
        let sum = Sum::remote(0, None);
        let first = sum.place().await?;
        for _ in 0..50 {
            Handle::send(&sum, Later { millis: 0, value: 1 }).await?;
            assert_eq!(sum.place().await?, first);
        }
    }

    /// A crash and a kill are followed by a new incarnation, which starts anew, while restarts are left.
    async fn it_restarts(cluster) {
        let log = Gate::new();
        let sum = Sum::remote(10, Some(log.path()));
        assert_eq!(Handle::send(&sum, Add(1)).await?, 11);
        assert!(Handle::send(&sum, Fate::Crash).await.is_err());
        assert_eq!(Handle::send(&sum, Add(1)).await?, 11);
        let slow = Handle::send(&sum, AddLater { millis: 60_000, by: 1 });
        actinic::kill(&sum).no_restart(false).await?;
        assert!(slow.await.is_err());
        assert_eq!(Handle::send(&sum, Add(1)).await?, 11);
        actinic::kill(&sum).await?;
        assert!(cause(&sum).await.contains("killed"));
        assert!(matches!(Handle::send(&sum, Add(1)).await.unwrap_err(), Error::ActorDied { .. }));
        assert_eq!(lines(&log).iter().filter(|line| *line == "started").count(), 3);
    }

    /// A cancelled call is not run, or not to its end.
    async fn calls_are_cancelled(cluster) {
        let sum = Sum::remote(0, None);
        let slow = Handle::send(&sum, AddLater { millis: 60_000, by: 1 });
        let alone = Handle::send(&sum, Later { millis: 60_000, value: 1 });
        assert_eq!(Handle::send(&sum, Add(1)).await?, 1);
        actinic::cancel(&slow).await?;
        actinic::cancel(&alone).await?;
        assert!(matches!(slow.await.unwrap_err(), Error::TaskCancelled { .. }));
        assert!(matches!(alone.await.unwrap_err(), Error::TaskCancelled { .. }));
        assert_eq!(Handle::send(&sum, Add(1)).await?, 2);
    }

    /// It is found by its name, and its handle travels.
    async fn it_has_a_name(cluster) {
        let sum = Sum::options().name("sum").lifetime(Lifetime::Detached).remote(1, None);
        Handle::ready(&sum).await?;
        let found = actinic::get_actor::<Sum>("sum").await?;
        assert_eq!(Handle::send(&found, Add(1)).await?, 2);
        assert_eq!(add_from_task::remote(&found, 3).await?, 5);
        actinic::kill(&sum).await?;
    }
}

/// Messages that are written alike.
pub mod alike {
    use super::*;

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "i64")]
    pub struct Overlap(pub i64);

    #[actinic::remote]
    impl Handler<Overlap> for Narrow {
        type Result = MessageResult<Overlap>;

        fn handle(&mut self, message: Overlap, _: &mut Self::Context) -> MessageResult<Overlap> {
            MessageResult(message.0)
        }
    }
}

/// Two messages of one name are two messages.
#[actinic::test(num_cpus = 1, workers = "processes")]
async fn messages_of_one_name_are_told_apart(cluster: TestCluster) -> actinic::Result<()> {
    let narrow = Narrow::remote(true);
    assert_eq!(Handle::send(&narrow, alike::Overlap(7)).await?, 7);
    assert_eq!(Handle::send(&narrow, Overlap).await?, 0);
    drop(narrow);
    cluster.idle().await
}

/// A cluster that shuts down waits for none that lives, whatever it is about; there it may still stop in order.
#[test]
fn a_living_one_does_not_hold_up_a_shutdown() {
    let log = Gate::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = runtime.block_on(async {
        let cluster = actinic::init().num_cpus(2).await?;
        let sums: Vec<_> = cluster.scope(async { (0..4).map(|_| Sum::remote(1, Some(log.path()))).collect() }).await;
        for sum in &sums {
            Handle::send(sum, Add(1)).await?;
            drop(Handle::send(sum, AddLater { millis: 60_000, by: 1 }));
        }
        tokio::time::timeout(Duration::from_secs(10), cluster.shutdown()).await.unwrap()
    });
    done.unwrap();
    assert_eq!(lines(&log).iter().filter(|line| *line == "started").count(), 4);
}

/// A question to a cluster that has ended is answered: it has.
#[test]
fn what_is_asked_of_an_ended_cluster_is_an_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = runtime.block_on(async {
        let cluster = actinic::init().num_cpus(1).await?;
        let (sum, nodes) = (cluster.scope(async { Sum::remote(1, None) }).await, cluster.nodes());
        Handle::send(&sum, Add(1)).await?;
        cluster.shutdown().await?;
        let soon = Duration::from_secs(10);
        assert!(tokio::time::timeout(soon, nodes).await.expect("it is answered").is_err());
        assert!(tokio::time::timeout(soon, actinic::kill(&sum)).await.expect("it is answered").is_err());
        Ok::<_, Error>(())
    });
    done.unwrap();
}

/// A handler that blocks its arbiter does not hold up its process.
#[actinic::test(num_cpus = 4)]
async fn a_blocked_arbiter_is_killed(cluster: TestCluster) -> actinic::Result<()> {
    let gate = Gate::new();
    let sum = Sum::remote(0, None);
    let blocked = Handle::send(&sum, Fate::Block(gate.path()));
    tokio::time::sleep(Duration::from_millis(50)).await;
    actinic::kill(&sum).await?;
    assert!(matches!(blocked.await.unwrap_err(), Error::ActorDied { .. }));
    gate.open();
    drop(sum);
    cluster.idle().await
}

/// On another node its messages, and those of its arbiter's neighbours, go as far.
#[actinic::test(num_cpus = 1)]
async fn on_another_node(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(2).resource("far", 1).await?;
    let sum = Sum::options().resource("far", 1).max_restarts(0).remote(0, None);
    let refs: Vec<_> = (0..200).map(|_| Handle::send(&sum, Add(1))).collect();
    assert_eq!(actinic::get(&refs).await?.last(), Some(&200));
    node.kill().await?;
    assert!(cause(&sum).await.contains("node"));
    Ok(())
}

/// Messages above the inline limit keep their place among the others.
#[actinic::test(num_cpus = 2, workers = "processes")]
async fn large_messages_keep_their_place(cluster: TestCluster) -> actinic::Result<()> {
    let log = Lengths::remote();
    let refs: Vec<ObjectRef<usize>> =
        (0..40).map(|index| Handle::send(&log, Bytes(vec![7; if index % 4 == 0 { 300_000 } else { index }]))).collect();
    let seen = actinic::get(&refs).await?;
    assert_eq!(seen, (0..40).collect::<Vec<usize>>());
    drop((log, refs));
    cluster.idle().await
}

/// Counts the messages that it has seen.
pub struct Lengths(usize);

#[actinic::remote]
impl Lengths {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Lengths(0)
    }
}

#[actinic::remote]
impl Actor for Lengths {
    type Context = Context<Self>;
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "usize")]
pub struct Bytes(Vec<u8>);

#[actinic::remote]
impl Handler<Bytes> for Lengths {
    type Result = usize;

    fn handle(&mut self, _: Bytes, _: &mut Self::Context) -> usize {
        self.0 += 1;
        self.0 - 1
    }
}

/// In a simulation it lives in virtual time, and no thread is started for it.
#[actinic::test(sim, seed = 3, timeout = 7200)]
async fn in_a_simulation(cluster: TestCluster) -> actinic::Result<()> {
    let sum = Sum::remote(0, None);
    let place = sum.place().await?;
    assert_eq!(place.1, format!("{:?}", std::thread::current().id()));
    let slow = Handle::send(&sum, AddLater { millis: 3_600_000, by: 1 });
    assert_eq!(Handle::send(&sum, AddAlone { millis: 1000, by: 1 }).await?, 1);
    assert_eq!(slow.await?, 2);
    assert!(Handle::send(&sum, Fate::Panic).await.is_err());
    Handle::stop(&sum).await?;
    assert!(cause(&sum).await.contains("stopped"));
    drop(sum);
    cluster.idle().await
}
