//! Which cluster, and which submitter, a call belongs to: that of the call that runs on this thread, of the scope that was
//! entered, of the process whose runtime this thread belongs to, or of the only cluster. Clusters of tests are found by
//! their scopes alone: what another test has at the time makes no difference.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::{self, Handle};

use crate::api::cluster::Seat;
use crate::api::error::{Error, Result};
use crate::ids::JobId;
use crate::owner::Owner;
use crate::process::Process;
use crate::worker::host::{self, Current, Host};

thread_local! {
    static ENTERED: RefCell<Entered> = const { RefCell::new(Entered { next: 0, scopes: Vec::new() }) };
    /// The process and job whose code was last seen on this thread, noted already.
    static NOTED: Cell<Option<(usize, JobId)>> = const { Cell::new(None) };
}

/// What this process is connected to.
static ALL: Mutex<All> = Mutex::new(All { clusters: Vec::new(), runtimes: Vec::new() });

struct All {
    clusters: Vec<Known>,
    /// The runtimes that processes run async user code on: what such code spawns there is of the same job.
    runtimes: Vec<Used>,
}

struct Known {
    owner: Arc<Owner>,
    seat: Arc<Seat>,
    /// It belongs to a test, which has it or has started it: others beside that do not see it.
    test: bool,
}

struct Used {
    runtime: runtime::Id,
    process: Weak<Process>,
    /// With their namespaces. If there are several, nobody can say which of them spawned something.
    jobs: Vec<(JobId, Arc<str>)>,
}

impl All {
    /// Whose the runtime of the calling thread is; those of its blocking threads know it too.
    fn runtime(&self) -> Option<&Used> {
        if self.runtimes.is_empty() {
            return None;
        }
        let here = Handle::try_current().ok()?.id();
        self.runtimes.iter().find(|used| used.runtime == here)
    }

    fn use_runtime(&mut self, runtime: runtime::Id, process: &Arc<Process>, job: JobId, namespace: &Arc<str>) {
        self.runtimes.retain(|used| used.process.strong_count() > 0);
        let known = self.runtimes.iter().position(|used| used.runtime == runtime);
        let at = known.unwrap_or(self.runtimes.len());
        if known.is_none() {
            self.runtimes.push(Used { runtime, process: Arc::downgrade(process), jobs: Vec::new() });
        }
        let jobs = &mut self.runtimes[at].jobs;
        if jobs.iter().all(|(known, _)| *known != job) {
            jobs.push((job, Arc::clone(namespace)));
        }
    }
}

fn all() -> MutexGuard<'static, All> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The submitter of the call that runs on this thread, or of the scope that it entered last.
fn entered() -> Option<Arc<Owner>> {
    host::with_current(|current| current.map(|current| Arc::clone(current.host.owner())))
        .or_else(|| ENTERED.with(|entered| entered.borrow().scopes.last().map(|(_, owner)| Arc::clone(owner))))
}

/// The submitter of the process whose runtime this thread belongs to, if it is one's.
fn of_runtime(all: MutexGuard<'static, All>) -> Result<Option<Arc<Owner>>> {
    let Some(used) = all.runtime() else { return Ok(None) };
    let (process, jobs) = (used.process.upgrade(), used.jobs.clone());
    // An owner may be made.
    drop(all);
    match (process, &jobs[..]) {
        (None, _) => Err(Error::connection("the cluster was shut down")),
        (Some(_), []) => Ok(None),
        (Some(process), [(job, namespace)]) => process.own(*job, Arc::clone(namespace)).map(Some),
        (Some(_), _) => {
            Err(Error::connection("several jobs run code here, and this is in the scope of none of them")
                .remedy(SPAWNED))
        }
    }
}

/// The submitter of the innermost scope that this code is in, if it is in one.
fn scoped() -> Result<Option<Arc<Owner>>> {
    entered().map_or_else(|| of_runtime(all()), |owner| Ok(Some(owner)))
}

const SPAWNED: &str = "take `let context = actinic::context()` where the call runs, and use `context.enter()` or \
                       `context.scope(future).await` in what it starts";

/// The submitter for calls made here: of the call that runs, of the scope, or of the only cluster.
pub(crate) fn owner() -> Result<Arc<Owner>> {
    if let Some(owner) = entered() {
        return Ok(owner);
    }
    let mut all = all();
    if all.runtime().is_some() {
        if let Some(owner) = of_runtime(all)? {
            return Ok(owner);
        }
        all = self::all();
    }
    let mut programs = all.clusters.iter().filter(|known| !known.test);
    match (programs.next(), programs.next()) {
        (Some(only), None) => Ok(Arc::clone(&only.owner)),
        (None, _) if all.clusters.is_empty() => {
            Err(Error::connection("no cluster is connected").remedy("call `actinic::init()` first"))
        }
        (found, _) => Err(Error::connection(match found {
            Some(_) => "several clusters are connected, and this is in the scope of none",
            None => "only tests have clusters here, and this is in the scope of none",
        })
        .remedy(format!(
            "use `cluster.enter()` in sync code, or `cluster.scope(future).await`; a thread that a task or an actor starts \
             is in no scope by itself: {SPAWNED}"
        ))),
    }
}

/// The cluster in whose scope a second `init()` here would be: its submitter here, and how others come to it.
pub(crate) fn current() -> Result<Option<(Arc<Owner>, Arc<Seat>)>> {
    let scoped = scoped()?;
    let all = all();
    let mut programs = all.clusters.iter().filter(|known| !known.test);
    Ok(match scoped {
        None => programs.next().map(|known| (Arc::clone(&known.owner), Arc::clone(&known.seat))),
        Some(owner) => {
            let cluster = owner.process.id.cluster;
            let known = all.clusters.iter().find(|known| known.owner.process.id.cluster == cluster);
            let seat = known.map_or_else(Default::default, |known| Arc::clone(&known.seat));
            Some((owner, seat))
        }
    })
}

/// Code of a process's job runs on this thread: what it spawns on the thread's runtime belongs to the same. All processes
/// of a simulation share its one runtime, which is the test's.
pub(crate) fn note(current: &Current) {
    let host = &current.host;
    if host.process.env.world().is_some() {
        return crate::env::sim::runs(|| current.job.describe());
    }
    let here = (Arc::as_ptr(&host.process).addr(), host.job());
    if NOTED.get() == Some(here) {
        return;
    }
    NOTED.set(Some(here));
    if let Ok(runtime) = Handle::try_current() {
        note_runtime(host, &runtime);
    }
}

/// What is spawned on a runtime is of the job of what runs there.
pub(crate) fn note_runtime(host: &Host, runtime: &Handle) {
    all().use_runtime(runtime.id(), &host.process, host.job(), host.namespace());
}

/// While it lives, what is spawned on the runtime of the calling thread, which is one actor's, belongs to the actor's job.
pub(crate) fn own_runtime(host: &Host) -> Option<OwnRuntime> {
    if host.process.env.world().is_some() {
        // The runtime is the test's, as for `note`.
        return None;
    }
    let runtime = Handle::try_current().ok()?.id();
    NOTED.set(Some((Arc::as_ptr(&host.process).addr(), host.job())));
    all().use_runtime(runtime, &host.process, host.job(), host.namespace());
    Some(OwnRuntime(runtime))
}

/// See [`own_runtime`].
pub(crate) struct OwnRuntime(runtime::Id);

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        all().runtimes.retain(|used| used.runtime != self.0);
    }
}

/// A job has ended: what is spawned on the process's runtimes is not of it any more.
pub(crate) fn job_ended(process: &Arc<Process>, job: JobId) {
    let mut all = all();
    for used in all.runtimes.iter_mut().filter(|used| used.process.as_ptr() == Arc::as_ptr(process)) {
        used.jobs.retain(|(known, _)| *known != job);
    }
}

/// What is spawned on a runtime belongs to this owner's job.
pub(crate) fn add_runtime(runtime: &Handle, owner: &Owner) {
    all().use_runtime(runtime.id(), &owner.process, owner.job, &owner.namespace);
}

/// One `init()` of this process starts at a time: of two at the same moment the second finds what the first started,
/// or that it failed. It waits no longer than the first may take, and runs nothing that could begin a third.
pub(crate) fn turn() -> std::sync::MutexGuard<'static, ()> {
    static STARTING: Mutex<()> = Mutex::new(());
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn add(owner: Arc<Owner>, seat: Arc<Seat>) {
    // Of a cluster that is gone there is no test any more.
    let scoped = scoped().unwrap_or_default().map(|owner| owner.process.id.cluster);
    let mut all = all();
    let of_test = |known: &Known| known.test && Some(known.owner.process.id.cluster) == scoped;
    let test = all.clusters.iter().any(of_test);
    all.clusters.push(Known { owner, seat, test });
}

pub(crate) fn add_test(owner: Arc<Owner>, seat: Arc<Seat>) {
    all().clusters.push(Known { owner, seat, test: true });
}

pub(crate) fn remove(owner: &Arc<Owner>) {
    all().clusters.retain(|known| !Arc::ptr_eq(&known.owner, owner));
}

/// The scopes that a thread is in, the innermost last. Their guards may be dropped in any order.
struct Entered {
    /// The serial number of the next.
    next: u64,
    scopes: Vec<(u64, Arc<Owner>)>,
}

/// While it lives, this thread is in a cluster's scope; of several scopes that which was entered last is meant.
#[derive(Debug)]
#[must_use = "the scope ends when this is dropped"]
pub struct Enter {
    serial: u64,
    /// Scopes are of a thread.
    marker: std::marker::PhantomData<*const ()>,
}

pub(crate) fn enter(owner: &Arc<Owner>) -> Enter {
    let serial = ENTERED.with(|entered| {
        let mut entered = entered.borrow_mut();
        let serial = entered.next;
        entered.next += 1;
        entered.scopes.push((serial, Arc::clone(owner)));
        serial
    });
    Enter { serial, marker: std::marker::PhantomData }
}

impl Drop for Enter {
    fn drop(&mut self) {
        let gone = ENTERED.with(|entered| {
            let scopes = &mut entered.borrow_mut().scopes;
            let at = scopes.iter().rposition(|(serial, _)| *serial == self.serial)?;
            Some(scopes.remove(at))
        });
        // Now, when nothing is borrowed: it may be the last of its cluster.
        drop(gone);
    }
}

/// A future whose every poll is in a cluster's scope.
pub(crate) struct Scoped<F> {
    pub(crate) owner: Arc<Owner>,
    pub(crate) future: std::pin::Pin<Box<F>>,
}

impl<F: std::future::Future> std::future::Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<F::Output> {
        let _entered = enter(&self.owner.clone());
        self.future.as_mut().poll(cx)
    }
}
