//! "Actors": impls everywhere, options, handles and their associated functions.

use std::collections::HashSet;

use actinic::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::support::{Refused, SOON, echo};

pub struct Counter {
    value: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("cannot fetch {url}")]
pub struct FetchError {
    url: String,
}

#[actinic::remote(num_cpus = 1)]
impl Counter {
    pub fn new(start: i64) -> Self {
        Counter { value: start }
    }

    pub fn increment(&mut self, by: i64) -> i64 {
        self.value += by;
        self.value
    }

    pub fn get(&self) -> i64 {
        self.value
    }

    pub async fn fetch(&self, url: String) -> Result<String, FetchError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Err(FetchError { url })
    }

    pub async fn add_later(&mut self, by: i64) -> i64 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.value += by;
        self.value
    }

    pub fn me(&self) -> Option<Handle<Counter>> {
        actinic::context().current_actor::<Counter>()
    }

    pub fn text(&self, text: &str, list: &[i64], path: std::path::PathBuf) -> usize {
        text.len() + list.len() + path.as_os_str().len()
    }

    pub fn leave(&mut self) {
        actinic::exit_actor()
    }

    fn helper(&self) -> i64 {
        -self.value
    }

    /// Neither a method of the handle nor a trouble.
    pub fn plain() -> i64 {
        7
    }
}

#[actinic::remote]
async fn use_handle(counter: Handle<Counter>, all: Vec<Handle<Counter>>) -> actinic::Result<i64> {
    all[0].increment(1).await?;
    counter.increment(1).await
}

struct Private {
    secret: Secret,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Secret(i64);

#[actinic::remote(
    num_cpus = 0.5,
    num_gpus = 0,
    memory = 1000,
    resources = { "A": 0.5 },
    max_concurrency = 4,
    max_restarts = 0,
    max_task_retries = 0,
    max_pending_calls = 100,
    lifetime = "non_detached",
    isolation = "shared",
    scheduling = "spread",
    on_infeasible = "wait",
    task_events = true,
)]
impl Private {
    async fn new(secret: Secret, fail: bool) -> Result<Private, Refused> {
        tokio::task::yield_now().await;
        if fail { Err(Refused(1)) } else { Ok(Private { secret }) }
    }

    #[actinic::method(num_returns = 2, max_task_retries = 1)]
    fn two(&self) -> (Secret, i64) {
        (self.secret.clone(), 2)
    }

    #[actinic::method(num_returns = _, name = "many")]
    pub fn many(&mut self, count: usize) -> Vec<Secret> {
        vec![self.secret.clone(); count]
    }

    #[actinic::method(retry_errors, max_task_retries = 2, task_events = false)]
    pub fn fails_at_first(&mut self) -> Result<i64, Refused> {
        self.secret.0 += 1;
        if self.secret.0 < 3 { Err(Refused(self.secret.0)) } else { Ok(self.secret.0) }
    }

    pub(crate) fn secret(&self) -> Secret {
        self.secret.clone()
    }
}

mod far {
    pub(crate) mod away {
        pub(crate) enum Kind {
            One,
        }

        #[actinic::remote]
        impl Kind {
            pub(crate) fn new() -> Self {
                Self::One
            }

            pub(crate) fn number(&self) -> u8 {
                match self {
                    Kind::One => 1,
                }
            }
        }
    }
}

/// The attribute on an impl of a type by its path, and of one with its arguments said.
struct Of<T>(T);

#[actinic::remote]
impl Of<i64> {
    pub fn new(value: i64) -> Of<i64> {
        Of(value)
    }

    pub fn value(&self) -> i64 {
        self.0
    }
}

/// Its future need not be `Send`, and its state need not be `Sync`.
struct Local {
    cell: std::cell::Cell<i64>,
}

#[actinic::remote]
impl Local {
    pub fn new() -> Self {
        Local { cell: std::cell::Cell::new(1) }
    }

    pub async fn wait(&self) -> i64 {
        let local = std::rc::Rc::new(self.cell.get());
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.cell.set(*local + 1);
        *local
    }
}

#[actinic::test(num_cpus = 4)]
async fn a_handle_derefs_to_the_methods() -> actinic::Result<()> {
    let counter: Handle<Counter> = Counter::remote(0);
    let r: ObjectRef<i64> = counter.increment(1);
    assert_eq!(r.await?, 1);
    assert_eq!(counter.increment(counter.increment(1)).await?, 4);
    assert_eq!(counter.increment(&echo::remote(1)).await?, 5);
    assert_eq!(counter.get().await?, 5);
    assert_eq!(counter.add_later(1).await?, 6);
    let error = counter.fetch("u").await.unwrap_err();
    assert_eq!(error.downcast_ref::<FetchError>(), Some(&FetchError { url: "u".into() }));
    assert_eq!(counter.text("ab", [1], "c").await?, 4);
    assert_eq!(counter.helper().await?, -6, "a private method can be called where it is visible");
    assert_eq!(Counter::plain(), 7);
    // The type is still an ordinary one.
    let mut local = Counter::new(1);
    assert_eq!(local.increment(1) + local.get(), 4);
    let me = counter.me().await?.unwrap();
    assert_eq!(me, counter);
    let refs: Vec<ObjectRef<i64>> = (0..3).map(|by| counter.increment(by)).collect();
    assert_eq!(actinic::get(&refs).await?, [6, 7, 9]);
    assert_eq!(use_handle::remote(&counter, vec![me.clone()]).await?, 11);
    assert_eq!(use_handle::remote(counter.clone(), [me]).await?, 13);
    Ok(())
}

#[actinic::test(num_cpus = 4)]
async fn handles_are_values() -> actinic::Result<()> {
    fn traits<T>(_: &T)
    where
        T: Clone + Send + Sync + Serialize + for<'a> Deserialize<'a> + std::fmt::Debug + Eq + std::hash::Hash + 'static,
    {
    }
    let counter = Counter::remote(0);
    traits(&counter);
    let same = counter.clone();
    assert_eq!(counter, same);
    assert_ne!(counter, Counter::remote(0));
    assert_eq!(HashSet::from([counter.clone(), same]).len(), 1);
    let id: actinic::ActorId = Handle::id(&counter);
    assert!(format!("{counter:?}").contains(&id.to_string()), "{counter:?} {id}");
    assert!(serde_json::to_string(&counter).is_err());
    let thread = std::thread::spawn(move || counter.increment(1).blocking());
    let result = tokio::task::spawn_blocking(move || thread.join().unwrap()).await;
    assert_eq!(result.unwrap()?, 1, "handles carry their cluster, on any thread");
    Ok(())
}

#[actinic::test(num_cpus = 4)]
async fn a_handles_own_operations_are_associated_functions() -> actinic::Result<()> {
    let counter = Counter::remote(0);
    let ready: ObjectRef<()> = Handle::ready(&counter);
    ready.await?;
    assert_eq!(Handle::state(&counter), actinic::ActorState::Alive);
    Handle::<Counter>::ready(&counter).done().await?;
    let with = Handle::with(
        &counter,
        CallOptions::new()
            .name("x")
            .name(String::from("x"))
            .max_task_retries(2)
            .max_task_retries(-1)
            .max_task_retries(2.0)
            .retry_errors(false)
            .task_events(true),
    );
    is_shared(&with);
    assert_eq!(with.increment(1).await?, 1);
    assert_eq!(Handle::with(&counter, CallOptions::new().name("x").max_task_retries(2)).increment(1).await?, 2);
    assert_eq!(Handle::with(&counter, CallOptions::default()).get().await?, 2);
    let closed = is_op::<actinic::DeathCause, _>(Handle::closed(&counter));
    let last = counter.increment(1);
    is_op::<(), _>(Handle::stop(&counter)).await?;
    assert_eq!(last.await?, 3, "after the calls already made");
    let cause = closed.await?;
    let _: (&Error, String, String) = (cause.error(), cause.to_string(), format!("{cause:?}"));
    assert!(matches!(cause.error(), Error::ActorDied { .. }), "{cause:?}");
    assert_eq!(Handle::state(&counter), actinic::ActorState::Dead);
    let error = counter.get().await.unwrap_err();
    assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");

    let leaves = Counter::remote(0);
    assert!(leaves.leave().await.is_err());
    Handle::closed(&leaves).await?;
    let moved = Counter::remote(0);
    blocking(move || {
        Handle::ready(&moved).blocking()?;
        Handle::stop(&moved).blocking()?;
        Handle::closed(&moved).blocking()
    })
    .await?;
    Ok(())
}

#[actinic::test(num_cpus = 4, resources = { "A": 4 })]
async fn actors_take_options() -> actinic::Result<()> {
    let options = || {
        Counter::options()
            .name("c")
            .namespace("n")
            .lifetime(Lifetime::Detached)
            .get_if_exists(true)
            .isolation(Isolation::Shared)
            .max_restarts(3)
            .max_task_retries(-1)
            .max_concurrency(8)
            .max_pending_calls(100)
    };
    let counter: Handle<Counter> = options().remote(0);
    assert_eq!(counter.increment(1).await?, 1);
    let same = options().remote(5);
    assert_eq!(same.get().await?, 1);
    let again: Handle<Counter> = actinic::get_actor("c").namespace("n").await?;
    assert_eq!(again.increment(1).await?, 2);
    let inferred = actinic::get_actor::<Counter>(String::from("c")).namespace(String::from("n")).await?;
    assert_eq!(inferred, again);
    let found = blocking(|| {
        let found: Handle<Counter> = actinic::get_actor("c").namespace("n").blocking()?;
        found.get().blocking()
    });
    assert_eq!(found.await?, 2);
    is_op::<Handle<Counter>, _>(actinic::get_actor("c").namespace("n")).await?;
    let error = actinic::get_actor::<Counter>("c").await.unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    actinic::list_named_actors().await?;
    actinic::kill(&counter).no_restart(true).await?;
    Handle::closed(&counter).await?;

    let all = Counter::options()
        .num_cpus(1)
        .num_cpus(0.5)
        .num_gpus(0)
        .memory(1e3)
        .resource("A", 0.5)
        .resource("A", 1)
        .scheduling(Scheduling::Spread)
        .on_infeasible("wait")
        .task_events(false)
        .lifetime(Lifetime::NonDetached)
        .isolation(Isolation::Process)
        .max_restarts(0)
        .max_restarts(-1)
        .max_restarts(0.0)
        .max_task_retries(0)
        .max_concurrency(1)
        .max_pending_calls(-1);
    is_shared(&all);
    let (one, two) = (all.clone().remote(1), all.remote(&echo::remote(2)));
    assert_eq!(one.get().await? + two.get().await?, 3);
    actinic::kill(&one).await?;
    is_op::<(), _>(actinic::kill(&two)).await?;
    let three = Counter::remote(3);
    blocking(move || actinic::kill(&three).no_restart(true).blocking()).await?;
    Ok(())
}

#[actinic::test(num_cpus = 4)]
async fn a_kill_may_let_it_restart() -> actinic::Result<()> {
    let counter = Counter::options().max_restarts(1).max_task_retries(-1).remote(0);
    assert_eq!(counter.increment(1).await?, 1);
    actinic::kill(&counter).no_restart(false).await?;
    assert_eq!(counter.increment(1).await?, 1, "it was made anew");
    Ok(())
}

#[actinic::test(num_cpus = 4, resources = { "A": 4 })]
async fn private_types_and_methods_are_remote() -> actinic::Result<()> {
    let private = Private::remote(Secret(1), false);
    let (secret, two): (ObjectRef<Secret>, ObjectRef<i64>) = private.two();
    assert_eq!((secret.await?, two.await?), (Secret(1), 2));
    let many: Vec<ObjectRef<Secret>> = Handle::with(&private, CallOptions::new().num_returns(3)).many(3);
    assert_eq!(actinic::get(&many).await?.len(), 3);
    assert_eq!(private.fails_at_first().await?, 3);
    assert_eq!(private.secret().await?, Secret(3));
    let failed = Private::remote(Secret(1), true);
    let error = Handle::ready(&failed).await.unwrap_err();
    assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
    assert_eq!(error.downcast_ref::<Refused>(), Some(&Refused(1)));
    let error = failed.secret().await.unwrap_err();
    assert_eq!(error.downcast_ref::<Refused>(), Some(&Refused(1)));
    Ok(())
}

#[actinic::test(num_cpus = 4)]
async fn impls_may_be_anywhere() -> actinic::Result<()> {
    struct Inside(i64);

    #[actinic::remote]
    impl Inside {
        fn new(value: i64) -> Self {
            Inside(value)
        }

        fn value(&self) -> i64 {
            self.0
        }
    }

    assert_eq!(Inside::remote(3).value().await?, 3);
    assert_eq!(far::away::Kind::remote().number().await?, 1);
    assert_eq!(Of::<i64>::remote(4).value().await?, 4);
    assert_eq!(Of::<i64>::options().num_cpus(1).remote(4).value().await?, 4);
    let local = Local::remote();
    assert_eq!(local.wait().await? + local.wait().await?, 3);
    Ok(())
}

#[actinic::test(num_cpus = 4)]
async fn the_last_handle_ends_the_actor(cluster: TestCluster) -> actinic::Result<()> {
    let counter = Counter::remote(0);
    let last = counter.increment(1);
    drop(counter);
    assert_eq!((&last).await?, 1);
    drop(last);
    assert!(actinic::testing::eventually(SOON, || cluster.available_resources()["CPU"] == 4.0).await);
    cluster.idle().await
}

pub struct Grid {
    rows: std::sync::Mutex<Vec<[i64; 2]>>,
}

/// Signatures say what the type's constants say, and helpers return guards.
#[actinic::remote]
impl Grid {
    const WIDTH: usize = 2;

    pub fn new(first: [i64; Self::WIDTH]) -> Self {
        Grid { rows: std::sync::Mutex::new(vec![first]) }
    }

    pub fn add(&self, row: [i64; Self::WIDTH]) -> [usize; Self::WIDTH - 1] {
        self.rows().push(row);
        [self.rows().len()]
    }

    pub fn sum(&self) -> [i64; Grid::WIDTH] {
        self.rows().iter().fold([0; 2], |sum, row| [sum[0] + row[0], sum[1] + row[1]])
    }

    #[allow(mismatched_lifetime_syntaxes, elided_lifetimes_in_paths)]
    fn rows(&self) -> std::sync::MutexGuard<Vec<[i64; 2]>> {
        self.rows.lock().unwrap()
    }
}

#[actinic::test(num_cpus = 1)]
async fn a_signature_may_name_constants_of_its_type() -> actinic::Result<()> {
    let grid = Grid::remote([1, 2]);
    assert_eq!(grid.add([3, 4]).await?, [2]);
    assert_eq!(grid.sum().await?, [4, 6]);
    Ok(())
}

/// All its async methods have it to themselves.
#[derive(Default)]
pub struct Diary {
    days: Vec<i64>,
}

#[actinic::remote]
impl Diary {
    pub fn new() -> Self {
        Diary::default()
    }

    pub async fn write(&mut self, day: i64) {
        tokio::task::yield_now().await;
        self.days.push(day);
    }

    pub fn days(&self) -> Vec<i64> {
        self.days.clone()
    }
}

/// Nothing of it overlaps: a call whose argument is late holds up those behind it, as in an actor without async methods.
#[actinic::test(num_cpus = 1)]
async fn async_methods_that_exclude_each_other_keep_their_order() -> actinic::Result<()> {
    let (diary, scratch) = (Diary::remote(), crate::support::Scratch::new());
    diary.write(0).await?;
    let gate = scratch.file("gate");
    let late = crate::support::held::remote(scratch.file("late"), &gate, 1);
    let (_first, second) = (diary.write(&late), diary.write(2));
    let (ready, _) = actinic::wait([&second]).timeout(Duration::from_millis(100)).await?;
    assert!(ready.is_empty(), "it overtook");
    crate::support::open_gate(&gate);
    second.await?;
    assert_eq!(diary.days().await?, [0, 1, 2]);
    Ok(())
}

/// A view of a part of a shelf.
pub struct View<'a>(&'a str);

/// What private methods return may borrow from the actor, also where that is not written.
#[derive(Default)]
pub struct Shelf {
    label: String,
    slots: std::collections::BTreeMap<u64, i64>,
}

#[actinic::remote]
#[allow(mismatched_lifetime_syntaxes, elided_lifetimes_in_paths)]
impl Shelf {
    pub fn new(label: String) -> Self {
        Shelf { label, ..Shelf::default() }
    }

    pub async fn put(&mut self, slot: u64, value: i64) -> (String, usize) {
        *self.slot(slot).or_default() += value;
        let first = self.first().map_or(0, |view| view.0.len());
        let shown = self.later().await.map_or(0, |view| self.shown(view));
        (format!("{} {} {shown}", self.name(), self.chars().rev().collect::<String>()), first)
    }

    fn name(&self) -> std::borrow::Cow<str> {
        self.label.as_str().into()
    }

    fn chars(&self) -> std::str::Chars {
        self.label.chars()
    }

    fn slot(&mut self, slot: u64) -> std::collections::btree_map::Entry<u64, i64> {
        self.slots.entry(slot)
    }

    fn view(&self) -> View {
        View(&self.label)
    }

    fn first(&self) -> Result<View, std::fmt::Error> {
        Ok(View(self.label.get(..1).ok_or(std::fmt::Error)?))
    }

    fn shown(&self, view: View) -> usize {
        view.0.len()
    }

    async fn later(&self) -> Option<View> {
        Some(self.view())
    }

    fn total(&self) -> i64 {
        self.slots.values().sum()
    }
}

#[actinic::test(num_cpus = 1)]
async fn private_methods_may_lend() -> actinic::Result<()> {
    let shelf = Shelf::remote("abc");
    assert_eq!(shelf.put(1, 5).await?, ("abc cba 3".to_owned(), 1));
    let total: ObjectRef<i64> = shelf.total();
    assert_eq!(total.await?, 5, "others are as remote as ever");
    Ok(())
}

/// Its state is of one thread at a time, which a private method does not change.
pub struct Clerk {
    done: std::cell::Cell<i64>,
}

#[actinic::remote(max_concurrency = 4)]
impl Clerk {
    pub fn new() -> Self {
        Clerk { done: std::cell::Cell::new(0) }
    }

    pub async fn work(&self) -> i64 {
        self.note();
        self.done.get()
    }

    fn note(&self) {
        self.done.set(self.done.get() + 1);
    }
}

/// An `actix::Actor` with a private helper that is async.
pub struct Porter;

#[actinic::remote(max_concurrency = 4)]
impl Porter {
    pub fn new() -> Self {
        Porter
    }

    pub fn carried(&self) -> i64 {
        let mut carries = std::pin::pin!(self.carries());
        match carries.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(carried) => carried,
            std::task::Poll::Pending => 0,
        }
    }

    async fn carries(&self) -> i64 {
        7
    }

    fn waits(&self) -> i64 {
        8
    }
}

#[actinic::remote]
impl actix::Actor for Porter {
    type Context = actix::Context<Self>;
}

/// All its methods are private and remote, and overlap.
struct Gate {
    both: std::sync::Barrier,
}

#[actinic::remote(max_concurrency = 2)]
impl Gate {
    fn new() -> Self {
        Gate { both: std::sync::Barrier::new(2) }
    }

    fn meet(&self) -> bool {
        self.both.wait();
        true
    }
}

#[actinic::test(num_cpus = 4)]
async fn private_methods_ask_nothing_of_the_state() -> actinic::Result<()> {
    let clerk = Clerk::remote();
    assert_eq!(clerk.work().await?, 1);
    clerk.note().await?;
    assert_eq!(clerk.work().await?, 3);
    let porter = Porter::remote();
    assert_eq!((porter.carried().await?, porter.waits().await?), (7, 8));
    let error = porter.carries().await.unwrap_err().to_string();
    assert!(error.contains("an async method of an actix::Actor"), "{error}");
    let gate = Gate::remote();
    let met = actinic::get([gate.meet(), gate.meet()]).timeout(SOON).await?;
    assert_eq!(met, [true, true]);
    Ok(())
}

/// Builds choose between constructors.
pub struct Chosen(i64);

#[actinic::remote]
impl Chosen {
    #[cfg(not(test))]
    pub async fn new(text: String, number: i64) -> Self {
        Chosen(number + text.len() as i64)
    }

    #[cfg(test)]
    pub fn new(number: i64) -> Self {
        Chosen(number)
    }

    /// The sum of two points.
    pub fn sum(&self, (x, y): (i64, i64), arg0: i64, [a, b]: [i64; 2]) -> i64 {
        self.0 + x + y + arg0 + a * b
    }
}

#[actinic::test(num_cpus = 1)]
async fn constructors_may_be_conditional_and_parameters_patterns() -> actinic::Result<()> {
    assert_eq!(Chosen::remote(1).sum((10, 100), 1_000, [100, 100]).await?, 11_111);
    assert_eq!(Chosen::options().num_cpus(0).remote(2).sum((0, 0), 0, [0, 0]).await?, 2);
    Ok(())
}
