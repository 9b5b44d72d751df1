//! One process of a cluster: an endpoint, and everything that lives behind it.
//!
//! "Process" means an endpoint, not a pid: the nodes of one test are processes of this kind too. A process has one
//! system thread, where its network and its component actors live; user code runs on other threads.

mod borrowed;
mod clients;
mod memory;
mod network;
mod owners;
mod threads;
mod unheard;
mod workers;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use actinic_transport::{Endpoint, NodeAuthority, NodeId, Peer, PeerAddr, ProcessId};

use crate::actor::client::{ActorName, Client};
use crate::actor::host::ActorHost;
use crate::actor::threads::LocalThreads;
use crate::env::Env;
use crate::events::Recording;
use crate::gcs::GcsLink;
use crate::ids::{ActorId, JobId, ObjectId, TaskId};
use crate::object::{Borrowed, RawRef};
use crate::object_manager::store::Store;
use crate::owner::Owner;
use crate::owner::refs::HandOutId;
pub(crate) use crate::process::network::nobody_listens;
pub(crate) use crate::process::owners::Answering;
use crate::protocol::{ActorRun, ToOwner};
use crate::raylet::{RayletLink, Shape};
use crate::recent::Recent;
use crate::room::Room;
use crate::start::admission::Admission;
use crate::start::program_file::Programs;
use crate::task::Meta;
use crate::worker::host::Running;
use crate::worker::pool::Pool;
use crate::worker::progress::Progress;
use crate::worker::slot::TaskSlot;
use crate::worker::tombstones::Tombstones;

/// What a process is started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) id: ProcessId,
    /// Threads that quick user code is spread over.
    pub(crate) width: usize,
    /// Threads that async tasks share.
    pub(crate) async_width: usize,
    pub(crate) store_bytes: u64,
}

/// So long has an async task to end that is cancelled by force: enough for its next await, on a machine that is busy.
pub(crate) const FORCE_AFTER: Duration = Duration::from_millis(500);

/// Sends a message that waited.
type Leave = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Tables {
    /// By their numbers in this process.
    owners: BTreeMap<u32, Arc<Owner>>,
    /// When there are so many owners it is looked which of them are over.
    owners_sweep: usize,
    borrowed: BTreeMap<ObjectId, Weak<Borrowed>>,
    slots: BTreeMap<crate::ids::WorkerId, Weak<TaskSlot>>,
    /// When there are so many it is looked which of them are gone.
    slots_sweep: usize,
    /// By their numbers in this process.
    actors: BTreeMap<u64, Arc<ActorHost>>,
    /// Messages that wait for an owner's word; or the word that came before its message waited.
    hand_outs: HashMap<(u32, HandOutId), Option<Leave>>,
    clients: BTreeMap<ActorId, Weak<Client>>,
    /// Those of actors with names: who had it last, as far as is known here.
    named: BTreeMap<Arc<ActorName>, Weak<Client>>,
    running: HashMap<TaskId, Arc<Running>>,
    /// What the constructors of actors need, and whether they may need it again.
    creations: BTreeMap<ActorId, (Vec<RawRef>, bool)>,
    /// Runs of actors that fetch their arguments.
    starting: BTreeSet<ActorRun>,
    raylets: BTreeMap<NodeId, PeerAddr>,
    /// Of what died long ago its node says that there is no such process.
    dead: Recent<ProcessId>,
    dead_nodes: Recent<NodeId>,
    /// Nodes of which nobody has said that they are dead, whose raylets are over for this process.
    out_of_reach: BTreeSet<NodeId>,
    /// What is said to processes that are looked for.
    reaching: BTreeMap<ProcessId, Vec<ToOwner>>,
    /// What each node has, and what of it is free.
    resources: BTreeMap<NodeId, (crate::resources::ResourceSet, crate::resources::ResourceSet)>,
    kept_slots: Vec<Arc<TaskSlot>>,
    /// What code that runs here outside of any call submits with, by its job; and whether it is here for that alone.
    members: BTreeMap<JobId, (Arc<Owner>, bool)>,
    /// Actors whose answers are to be sent soon.
    answering: Vec<Weak<ActorHost>>,
}

/// Hears why.
type Told = Box<dyn Fn(&str) + Send + Sync>;

/// See the module.
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) env: Env,
    async_width: usize,
    pub(crate) pool: Arc<Pool>,
    pub(crate) local: LocalThreads,
    pub(crate) store: Store,
    pub(crate) put_meta: Arc<Meta>,
    /// What is told of tasks.
    pub(crate) recording: Recording,
    /// Whether failures that nobody reads are logged.
    pub(crate) reports_unread: bool,
    orphans: Mutex<clients::Orphans>,
    pub(crate) raylet: OnceLock<RayletLink>,
    pub(crate) gcs: OnceLock<GcsLink>,
    endpoint: OnceLock<(Endpoint, Vec<SocketAddr>)>,
    /// The node's store, if it is in another process.
    store_peer: OnceLock<Peer>,
    system: tokio::runtime::Handle,
    user: OnceLock<tokio::runtime::Runtime>,
    tables: Mutex<Tables>,
    /// What this process has told its own owners and they have not heard.
    messages: Mutex<Vec<ToOwner>>,
    slot_alarm: AtomicBool,
    /// How many bursts have ended whose memory was not given back.
    bursts: AtomicU32,
    closing: AtomicBool,
    /// Told when it is to end, whoever holds what keeps it.
    end_asked: tokio::sync::Notify,
    /// It ended as a power cut ends it: nobody is told.
    killed: AtomicBool,
    next_owner: AtomicU32,
    /// What a worker does when its code asks to crash, or its raylet is gone.
    pub(crate) on_crash: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// What a test wants lost.
    pub(crate) losses: OnceLock<Arc<crate::testing::Losses>>,
    /// What a node's daemon does when it has lost its cluster.
    pub(crate) on_home_lost: OnceLock<Told>,
    /// Where a worker process notes what it runs.
    pub(crate) progress: OnceLock<Progress>,
    /// Where the GCS is.
    pub(crate) gcs_at: OnceLock<PeerAddr>,
    /// By whom this process is reached where it cannot be dialled.
    pub(crate) relay: OnceLock<(ProcessId, SocketAddr)>,
    /// How many answers to owners elsewhere wait until the node's store has what they tell of.
    answering: AtomicUsize,
    /// Told when a worker has sent the last of its answers.
    pub(crate) answers_sent: tokio::sync::Notify,
    /// What borrowers asked for and have not been sent.
    pub(crate) answers: crate::answers::Answers,
    /// What waits until others have read what was said to them.
    pub(crate) room: Arc<Room>,
    /// What was lost here, and is asked of its owner.
    pub(crate) asking: crate::object_manager::lost::Asking,
    /// What was cancelled before it came.
    pub(crate) tombstones: Tombstones<TaskId>,
    /// The runs of actors that were killed before they came.
    pub(crate) killed_runs: Tombstones<ActorRun>,
    /// The binaries of jobs.
    pub(crate) programs: Programs,
    /// Who is admitted, if this process admits anybody.
    pub(crate) admission: OnceLock<Admission>,
    /// Signs the certificates of its node's processes, its own among them; of a node's raylet only.
    pub(crate) signer: OnceLock<NodeAuthority>,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.id.fmt(f)
    }
}

impl Process {
    /// A process without components; must be called on its system thread.
    pub(crate) fn new(settings: &Settings, env: Env) -> Arc<Process> {
        let system = tokio::runtime::Handle::current();
        Arc::new_cyclic(|weak: &Weak<Process>| {
            let alarm = Weak::clone(weak);
            let pool = Pool::new(
                env.clone(),
                settings.width,
                Box::new(move |pool| {
                    if let Some(process) = alarm.upgrade() {
                        process.pool_alarm(Arc::clone(pool));
                    }
                }),
            );
            Process {
                id: settings.id,
                pool,
                async_width: settings.async_width,
                local: LocalThreads::new(env.clone(), settings.width),
                store: Store::new(settings.store_bytes),
                put_meta: Arc::new(Meta {
                    name: None,
                    shape: Shape::none(),
                    max_retries: 0,
                    returns: None,
                    task_events: false,
                    retry_errors: None,
                }),
                recording: Recording::new(&env),
                reports_unread: env.var_os("ACTINIC_IGNORE_UNHANDLED_ERRORS").is_none_or(|value| value == "0"),
                env,
                orphans: Mutex::default(),
                raylet: OnceLock::new(),
                gcs: OnceLock::new(),
                endpoint: OnceLock::new(),
                store_peer: OnceLock::new(),
                room: Room::new(system.clone()),
                system,
                user: OnceLock::new(),
                tables: Mutex::default(),
                messages: Mutex::default(),
                slot_alarm: AtomicBool::new(false),
                bursts: AtomicU32::new(0),
                closing: AtomicBool::new(false),
                end_asked: tokio::sync::Notify::new(),
                killed: AtomicBool::new(false),
                next_owner: AtomicU32::new(0),
                on_crash: OnceLock::new(),
                losses: OnceLock::new(),
                on_home_lost: OnceLock::new(),
                progress: OnceLock::new(),
                gcs_at: OnceLock::new(),
                relay: OnceLock::new(),
                answering: AtomicUsize::new(0),
                answers_sent: tokio::sync::Notify::new(),
                answers: crate::answers::Answers::default(),
                asking: Default::default(),
                tombstones: Tombstones::default(),
                killed_runs: Tombstones::default(),
                programs: Programs::default(),
                admission: OnceLock::new(),
                signer: OnceLock::new(),
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        // Plain data under the lock.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- the end

    /// Ends everything that runs for this process; nothing is answered any more.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.pool.close();
        for actor in self.actors() {
            actor.cut();
        }
        self.local.close();
        let left = {
            let mut tables = self.lock();
            let members = std::mem::take(&mut tables.members);
            (std::mem::take(&mut tables.owners), std::mem::take(&mut tables.actors), members)
        };
        drop(left);
    }

    /// Takes the runtime of async tasks down without waiting for what runs in it.
    pub(crate) fn close_user(&mut self) {
        if let Some(runtime) = self.user.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.close_user();
    }
}

/// Waits for an object's outcome.
pub(crate) async fn ready(object: &RawRef) {
    let (tell, hear) = tokio::sync::oneshot::channel();
    crate::actor::client::when_ready(object, move || {
        // Whoever waited may have gone.
        let _ = tell.send(());
    });
    // The teller is dropped untold only with the object's slot, at the end of the cluster.
    let _ = hear.await;
}

/// An owner that belongs to no cluster, for refs that failed before there was one.
pub(crate) fn nowhere() -> Arc<Owner> {
    let (tell, hear) = std::sync::mpsc::channel();
    let env = Env::real();
    let made = env.clone();
    #[allow(clippy::disallowed_methods)] // nothing ever runs on this runtime: a process needs one to be made
    let started = env.thread("actinic-nowhere", move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
        let _entered = runtime.enter();
        let id = ProcessId {
            cluster: actinic_transport::ClusterId(made.uuid()),
            node: NodeId(made.uuid()),
            incarnation: made.uuid(),
        };
        let process = Process::new(&Settings { id, width: 1, async_width: 1, store_bytes: 0 }, made.clone());
        let owner = process.new_owner(JobId(made.uuid()), Arc::from(""));
        // The receiver waits below.
        let _ = tell.send(owner);
    });
    match (started, hear.recv()) {
        (Ok(()), Ok(owner)) => owner,
        _ => panic!("no thread could be started"),
    }
}
