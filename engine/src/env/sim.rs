//! A whole cluster on one thread, in virtual time, from one seed.
//!
//! One tokio runtime with a paused clock and one Actix system carry every node, driver and the network. Sync user code
//! runs on real threads that are passed a *baton*: one of them, or the simulating thread, ever runs. So does all code of
//! an actor that has a thread of its own.
//!
//! - WORLD-1: a run is a function of its seed and its program. Time stands still while anything runs; ids and choices
//!   come from the seed, the machine is always the same.
//! - WORLD-2: a thread of user code holds the baton from where it is resumed until it waits inside Actinic ([`Baton::park`])
//!   or ends. Which of the runnable threads is next is drawn from the seed.
//! - WORLD-3: when a simulation ends, what still waits in it is unwound, as by a crash of its worker.
//!
//! - WORLD-4: a thread of `spawn_blocking` is one of them from its start to its end ([`blocking`]).
//!
//! The simulation cannot see a thread wait elsewhere, such as for a lock that another one holds: a [`Watch`] in real time
//! ends the run then, and names the thread.

mod blocking;
mod watch;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actinic_transport::SimNet;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Parker;
use blocking::Blocking;
pub(crate) use watch::Watch;
use watch::{Progress, Stuck};

/// How long, in virtual time, the processes of a simulation may take to end.
const LAST: Duration = Duration::from_secs(20);

type Local = Box<dyn FnOnce() + Send>;

/// What a simulation's components share.
pub(crate) struct World {
    seed: u64,
    chance: Mutex<u64>,
    start: Instant,
    net: SimNet,
    runtime: Handle,
    /// What is to run on the simulating thread, where local tasks may be spawned.
    local: mpsc::UnboundedSender<Local>,
    /// Processes that have begun and not ended.
    lives: AtomicUsize,
    ready: Mutex<Vec<Arc<Baton>>>,
    /// All threads that have not ended.
    batons: Mutex<Vec<Weak<Baton>>>,
    woken: Notify,
    /// Whether a thread of user code has the baton.
    held: Mutex<bool>,
    given_back: Condvar,
    over: AtomicBool,
    blocking: Blocking,
    progress: Progress,
}

thread_local! {
    static WORLD: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
    static BATON: RefCell<Option<Arc<Baton>>> = const { RefCell::new(None) };
}

/// The simulation that the calling thread belongs to.
pub(super) fn current() -> Option<Arc<World>> {
    WORLD.with(|world| world.borrow().clone())
}

/// Notes which call the calling thread runs.
pub(crate) fn runs(call: impl FnOnce() -> String) {
    if let Some(baton) = Baton::current() {
        *lock(&baton.runs) = Some(call());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain data under every lock here.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `body` and everything it starts in a simulation; why it stands still, if the watch had to end it.
pub(crate) fn watched<F: Future>(
    seed: u64,
    watch: Watch,
    body: impl FnOnce(super::Env) -> F,
) -> Result<F::Output, Stuck> {
    run_watched(seed, |world| watch.begin(world), body)
}

/// As [`watched`], for tests of the engine itself.
#[cfg(test)]
pub(crate) fn run<F: Future>(seed: u64, body: impl FnOnce(super::Env) -> F) -> F::Output {
    watched(seed, Watch::default(), body).unwrap_or_else(|stuck| panic!("{stuck}"))
}

fn run_watched<F: Future, G>(
    seed: u64,
    watch: impl FnOnce(&Arc<World>) -> G,
    body: impl FnOnce(super::Env) -> F,
) -> Result<F::Output, Stuck> {
    // A test's output is shown if it fails.
    eprintln!("SEED={seed}");
    let known: Arc<OnceLock<Weak<World>>> = Arc::default();
    #[allow(clippy::disallowed_methods)] // this is the door
    let system = actix_rt::System::with_tokio_rt(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true);
        blocking::hook(&mut builder, &known);
        match builder.build() {
            Ok(runtime) => runtime,
            Err(error) => panic!("no tokio runtime could be started: {error}"),
        }
    });
    let done = system.block_on(async move {
        let (local, locals) = mpsc::unbounded_channel();
        let world = Arc::new(World {
            seed,
            chance: Mutex::new(seed ^ 0x5eed_5eed_5eed_5eed),
            start: Instant::now(),
            net: SimNet::new(seed),
            runtime: Handle::current(),
            local,
            lives: AtomicUsize::new(0),
            ready: Mutex::default(),
            batons: Mutex::default(),
            woken: Notify::new(),
            held: Mutex::new(false),
            given_back: Condvar::new(),
            over: AtomicBool::new(false),
            blocking: Blocking::default(),
            progress: Progress::default(),
        });
        // Set once, here.
        let _ = known.set(Arc::downgrade(&world));
        let _watch = watch(&world);
        let _entered = Entered::new(&world);
        tokio::task::spawn_local(run_locals(locals));
        tokio::task::spawn_local(Arc::clone(&world).pass_the_baton());
        tokio::task::spawn_local(Arc::clone(&world).let_blocking_run());
        let env = super::Env { inner: Arc::new(super::Inner::Sim(Arc::clone(&world))) };
        let body = Caught { future: Box::pin(async move { body(env).await }) };
        tokio::select! {
            biased;
            stuck = world.progress.stuck() => {
                world.over.store(true, Ordering::Release);
                Err(stuck)
            }
            done = body => {
                world.finish().await;
                Ok(done)
            }
        }
    });
    match done {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(stuck) => {
            // Its end would wait for the thread that does not end.
            std::mem::forget(system);
            Err(stuck)
        }
    }
}

/// Runs sync code in a simulation: the calling thread is one of its threads of user code, and another one simulates.
/// The simulation ends when `late` does, which is told when `body` is done; `None` if that was before its time.
pub(crate) fn run_sync<R, F>(
    seed: u64,
    watch: Watch,
    body: impl FnOnce(super::Env) -> R,
    late: impl FnOnce(oneshot::Receiver<()>) -> F + Send + 'static,
) -> Result<Option<R>, Stuck>
where
    F: Future<Output = ()>,
{
    let (tell, hear) = std::sync::mpsc::channel();
    let (done, is_done) = oneshot::channel();
    let (gone, is_gone) = std::sync::mpsc::channel();
    let (watching, watched) = std::sync::mpsc::channel();
    let started = super::thread("actinic-sim", move || {
        let watch = |world: &Arc<World>| {
            // The caller keeps it.
            let _ = watching.send(watch.begin(world));
        };
        let begin = |env: super::Env| async move {
            if let Some(world) = env.world() {
                // The caller waits for it, and is put among the threads before anything runs.
                let baton = world.baton(TEST);
                let _ = tell.send((env.clone(), baton));
            }
            late(is_done).await;
        };
        let ran = run_watched(seed, watch, begin);
        let _ = gone.send(ran.err());
    });
    if let Err(error) = started {
        panic!("no thread could be started for a simulation: {error}");
    }
    let (env, baton) = match hear.recv() {
        Ok(begun) => begun,
        Err(_) => panic!("the simulation did not begin"),
    };
    let _watch = watched.recv();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        baton.run(|| {
            let body = body(env);
            let _ = done.send(());
            body
        })
    }));
    // Its thread has panicked if it says nothing, and has said so itself.
    if let Ok(Some(stuck)) = is_gone.recv() {
        return Err(stuck);
    }
    match ended {
        Ok(body) => Ok(Some(body)),
        Err(panic) if crate::worker::job::is_crash(&*panic) => Ok(None),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The thread of a sync test, among the others.
const TEST: &str = "the test's own";

/// While it lives, the thread belongs to a simulation.
struct Entered(Option<Arc<World>>);

impl Entered {
    fn new(world: &Arc<World>) -> Entered {
        Entered(WORLD.with(|known| known.borrow_mut().replace(Arc::clone(world))))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let left = WORLD.with(|known| std::mem::replace(&mut *known.borrow_mut(), self.0.take()));
        drop(left);
    }
}

/// A future whose panic is its result, so that the simulation ends in order all the same.
struct Caught<F> {
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Caught<F> {
    type Output = std::thread::Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.future.as_mut();
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| future.poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

async fn run_locals(mut locals: mpsc::UnboundedReceiver<Local>) {
    while let Some(local) = locals.recv().await {
        local();
    }
}

impl World {
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn net(&self) -> &SimNet {
        &self.net
    }

    pub(crate) fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(self.start)
    }

    /// SplitMix64: small, and the same everywhere.
    fn draw(&self) -> u64 {
        let mut chance = lock(&self.chance);
        *chance = chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn random(&self) -> u128 {
        u128::from(self.draw()) << 64 | u128::from(self.draw())
    }

    /// Spawns a future of user code on the simulating thread.
    pub(crate) fn spawn_local<F: Future<Output = ()> + 'static>(&self, make: impl FnOnce() -> F + Send + 'static) {
        let start = move || drop(tokio::task::spawn_local(make()));
        // The receiver lives as long as the simulation.
        let _ = self.local.send(Box::new(start));
    }

    // ---- processes

    /// Takes the first step of a process's life now, and the others as they come.
    pub(super) fn system<F: Future<Output = ()> + 'static>(
        self: &Arc<Self>,
        life: impl FnOnce() -> F + Send + 'static,
    ) {
        self.lives.fetch_add(1, Ordering::AcqRel);
        let world = Arc::clone(self);
        let start = move || {
            let mut life = Box::pin(async move {
                let _lives = Lives(world);
                life().await;
            });
            // Where it waits, it is polled again by its task.
            if life.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                tokio::task::spawn_local(life);
            }
        };
        if Baton::current().is_none() {
            return start();
        }
        let begun = Arc::new(AtomicBool::new(false));
        let (parker, told) = (Parker::current(), Arc::clone(&begun));
        let _ = self.local.send(Box::new(move || {
            start();
            told.store(true, Ordering::Release);
            parker.unpark();
        }));
        while !begun.load(Ordering::Acquire) {
            super::park(None);
        }
    }

    // ---- threads of user code

    pub(super) fn thread(self: &Arc<Self>, name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let (tell, hear) = std::sync::mpsc::channel::<Arc<Baton>>();
        super::thread(name, move || {
            if let Ok(baton) = hear.recv() {
                baton.run(body);
            }
        })?;
        // The thread waits for it.
        let _ = tell.send(self.baton(name));
        Ok(())
    }

    /// The baton of a new thread, which is among those that may run.
    fn baton(self: &Arc<Self>, name: &str) -> Arc<Baton> {
        let baton = self.new_baton(name);
        self.enqueue(Arc::clone(&baton));
        baton
    }

    fn new_baton(self: &Arc<Self>, name: &str) -> Arc<Baton> {
        let baton = Arc::new(Baton {
            name: name.to_owned(),
            runs: Mutex::default(),
            world: Arc::clone(self),
            state: Mutex::new(BatonState { phase: Phase::Ready, token: false, timer: None }),
            go: Condvar::new(),
        });
        let mut batons = lock(&self.batons);
        batons.retain(|baton| baton.strong_count() > 0);
        batons.push(Arc::downgrade(&baton));
        drop(batons);
        baton
    }

    fn enqueue(&self, baton: Arc<Baton>) {
        lock(&self.ready).push(baton);
        self.woken.notify_one();
    }

    /// Lets the threads that may run do so, one at a time.
    async fn pass_the_baton(self: Arc<Self>) {
        loop {
            while self.run_one() {
                tokio::task::yield_now().await;
            }
            self.woken.notified().await;
        }
    }

    /// Lets one thread run until it waits or ends; `false` if none may.
    fn run_one(&self) -> bool {
        let next = {
            let mut ready = lock(&self.ready);
            match ready.len() {
                0 => return false,
                1 => ready.remove(0),
                many => {
                    let at = (self.draw() % many as u64) as usize;
                    ready.remove(at)
                }
            }
        };
        *lock(&self.held) = true;
        self.progress.turn(Some(&next));
        next.go();
        let held = lock(&self.held);
        let waited = self.given_back.wait_while(held, |held| *held && !self.progress.is_stuck());
        let held = waited.unwrap_or_else(PoisonError::into_inner);
        if *held {
            // The run ends here; a sync test hears of it where it waits, unless it is what does not end.
            self.over.store(true, Ordering::Release);
            let test = lock(&self.batons).iter().filter_map(Weak::upgrade).find(|baton| baton.name == TEST);
            if let Some(test) = test.filter(|test| !Arc::ptr_eq(test, &next)) {
                test.go();
            }
            self.progress.tell_stuck();
            return false;
        }
        self.progress.turn(None);
        true
    }

    fn give_back(&self) {
        *lock(&self.held) = false;
        self.given_back.notify_all();
    }

    // ---- the end

    /// WORLD-3.
    async fn finish(&self) {
        let until = Instant::now() + LAST;
        while self.lives.load(Ordering::Acquire) > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while self.run_one() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.over.store(true, Ordering::Release);
        self.end_blocking();
        let left: Vec<Arc<Baton>> = lock(&self.batons).iter().filter_map(Weak::upgrade).collect();
        for baton in left {
            baton.unpark();
        }
        while self.run_one() {}
    }
}

/// Counts a process that lives.
struct Lives(Arc<World>);

impl Drop for Lives {
    fn drop(&mut self) {
        self.0.lives.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The place of a thread of user code in a simulation.
pub(crate) struct Baton {
    name: String,
    /// The call that it runs, or ran last.
    runs: Mutex<Option<String>>,
    world: Arc<World>,
    state: Mutex<BatonState>,
    go: Condvar,
}

struct BatonState {
    phase: Phase,
    /// It was unparked while it ran.
    token: bool,
    timer: Option<AbortHandle>,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Parked,
    /// Among those that may run.
    Ready,
    Running,
    Ended,
}

impl Baton {
    /// The calling thread's.
    pub(super) fn current() -> Option<Arc<Baton>> {
        // A thread whose thread-locals are gone runs no user code.
        BATON.try_with(|baton| baton.borrow().clone()).unwrap_or_default()
    }

    /// The thread's body, from its first turn to its end.
    fn run<R>(self: Arc<Self>, body: impl FnOnce() -> R) -> R {
        struct End(Arc<Baton>);
        impl Drop for End {
            fn drop(&mut self) {
                let own = BATON.with(|baton| baton.borrow_mut().take());
                drop(own);
                lock(&self.0.state).phase = Phase::Ended;
                self.0.world.give_back();
            }
        }
        self.wait();
        let _end = End(Arc::clone(&self));
        let _entered = Entered::new(&self.world);
        let _clock = self.world.runtime.enter();
        BATON.with(|baton| *baton.borrow_mut() = Some(Arc::clone(&self)));
        body()
    }

    /// Lets it run.
    fn go(&self) {
        let mut state = lock(&self.state);
        state.phase = Phase::Running;
        if let Some(timer) = state.timer.take() {
            timer.abort();
        }
        self.go.notify_one();
    }

    fn wait(&self) {
        let state = lock(&self.state);
        let waited = self.go.wait_while(state, |state| state.phase != Phase::Running);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Gives the baton back until the thread is unparked, or the time is over.
    pub(super) fn park(self: &Arc<Self>, at_most: Option<Duration>) {
        let mut state = lock(&self.state);
        if std::mem::take(&mut state.token) && !self.world.over.load(Ordering::Acquire) {
            return;
        }
        state.phase = Phase::Parked;
        if let Some(time) = at_most {
            let baton = Arc::clone(self);
            let sleeper = self.world.runtime.spawn(async move {
                tokio::time::sleep(time).await;
                baton.unpark();
            });
            state.timer = Some(sleeper.abort_handle());
        }
        drop(state);
        if !self.world.over.load(Ordering::Acquire) {
            self.world.give_back();
            self.wait();
        }
        if self.world.over.load(Ordering::Acquire) {
            self.end();
        }
    }

    /// WORLD-3: the simulation is over, and this thread waits for what will not come.
    fn end(self: &Arc<Self>) {
        lock(&self.state).phase = Phase::Running;
        if std::thread::panicking() {
            // It waits while it unwinds: it is left where it is.
            self.world.give_back();
            loop {
                self.wait_for_ever();
            }
        }
        crate::worker::job::unwind_thread();
    }

    #[allow(clippy::disallowed_methods)] // this is the door
    fn wait_for_ever(&self) {
        std::thread::park();
    }

    pub(super) fn unpark(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        match state.phase {
            Phase::Parked => {
                state.phase = Phase::Ready;
                drop(state);
                self.world.enqueue(Arc::clone(self));
            }
            Phase::Running => state.token = true,
            // What it looks at when it goes on is newer than this.
            Phase::Ready | Phase::Ended => {}
        }
    }
}

#[cfg(test)]
mod tests;
