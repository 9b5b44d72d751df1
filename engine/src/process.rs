//! One process of a cluster: an endpoint, and everything that lives behind it.
//!
//! "Process" means an endpoint, not a pid: the nodes of one test are processes of this kind too. A process has one
//! system thread, where its network and its component actors live; user code runs on other threads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use actinic_transport::{Endpoint, Lane, NodeAuthority, NodeId, Peer, PeerAddr, Probe, ProcessId};

use crate::actor::client::{ActorName, Client};
use crate::actor::host::ActorHost;
use crate::actor::local::LocalThreads;
use crate::api::error::{Error, Result};
use crate::env::Env;
use crate::events::Recording;
use crate::gcs::GcsLink;
use crate::ids::{ActorId, JobId, ObjectId, OwnerId, TaskId};
use crate::object::{Borrowed, RawRef, Resolved, Target};
use crate::object_manager::Store;
use crate::owner::refs::HandOutId;
use crate::owner::{Owner, Ran};
use crate::protocol::{ActorNews, ActorRun, Gone, LeaseId, NodeResources, RAYLET, ToGcs, ToOwner, ToRaylet};
use crate::raylet::{RayletLink, Shape};
use crate::start::admission::Admission;
use crate::start::program_file::Programs;
use crate::task::Meta;
use crate::testing::Message as Lost;
use crate::worker::host::{Host, Running};
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
const FORCE_AFTER: Duration = Duration::from_millis(500);

/// Sends a message that waited.
type Leave = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Tables {
    owners: Vec<Option<Arc<Owner>>>,
    borrowed: BTreeMap<ObjectId, Weak<Borrowed>>,
    slots: BTreeMap<crate::ids::WorkerId, Weak<TaskSlot>>,
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
    dead: BTreeSet<ProcessId>,
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
    pub(crate) raylet: OnceLock<RayletLink>,
    pub(crate) gcs: OnceLock<GcsLink>,
    endpoint: OnceLock<(Endpoint, Vec<SocketAddr>)>,
    /// The node's store, if it is in another process.
    store_peer: OnceLock<Peer>,
    system: tokio::runtime::Handle,
    user: OnceLock<tokio::runtime::Runtime>,
    tables: Mutex<Tables>,
    slot_alarm: AtomicBool,
    closing: AtomicBool,
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
    /// What borrowers asked for and have not been sent.
    pub(crate) answers: crate::answers::Answers,
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
                Box::new(move || {
                    if let Some(process) = alarm.upgrade() {
                        process.pool_alarm();
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
                reports_unread: env.var_os("ACTINIC_IGNORE_UNREAD_ERRORS").is_none_or(|value| value == "0"),
                env,
                raylet: OnceLock::new(),
                gcs: OnceLock::new(),
                endpoint: OnceLock::new(),
                store_peer: OnceLock::new(),
                system,
                user: OnceLock::new(),
                tables: Mutex::default(),
                slot_alarm: AtomicBool::new(false),
                closing: AtomicBool::new(false),
                killed: AtomicBool::new(false),
                next_owner: AtomicU32::new(0),
                on_crash: OnceLock::new(),
                losses: OnceLock::new(),
                on_home_lost: OnceLock::new(),
                progress: OnceLock::new(),
                gcs_at: OnceLock::new(),
                relay: OnceLock::new(),
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

    // ---- threads and time

    /// Runs a future on the system thread.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.system.spawn(future);
    }

    /// Runs something soon, on the system thread, outside of whatever locks the caller holds.
    pub(crate) fn defer(&self, run: impl FnOnce() + Send + 'static) {
        self.spawn(async move { run() });
    }

    /// Runs an async user future, on threads that never answer the network.
    pub(crate) fn spawn_user(self: &Arc<Self>, future: impl Future<Output = ()> + Send + 'static) {
        if self.env.world().is_some() {
            return self.spawn(future);
        }
        #[allow(clippy::disallowed_methods, reason = "user code's own threads, and none in a simulation")]
        let runtime = self.user.get_or_init(|| {
            let built = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(self.async_width)
                .thread_name("actinic-async")
                .enable_all()
                .build();
            match built {
                Ok(runtime) => runtime,
                Err(error) => panic!("no runtime for async tasks could be started: {error}"),
            }
        });
        runtime.spawn(future);
    }

    fn pool_alarm(self: &Arc<Self>) {
        let process = Arc::clone(self);
        self.spawn(async move {
            loop {
                tokio::time::sleep(crate::worker::pool::OVERDUE).await;
                if !process.pool.look() {
                    break;
                }
            }
        });
    }

    /// Somebody put a job behind another: look whether that one takes long.
    pub(crate) fn want_slot_alarm(self: &Arc<Self>) {
        if self.slot_alarm.load(Ordering::Acquire) || self.slot_alarm.swap(true, Ordering::AcqRel) {
            return;
        }
        let process = Arc::clone(self);
        self.spawn(async move {
            loop {
                tokio::time::sleep(crate::worker::slot::LONG).await;
                let slots: Vec<Arc<TaskSlot>> = process.lock().slots.values().filter_map(Weak::upgrade).collect();
                let now = process.env.now();
                let again = slots.iter().filter(|slot| slot.look(now)).count() > 0;
                if !again {
                    process.slot_alarm.store(false, Ordering::Release);
                    // A job may have come between the look and the store.
                    let late = slots.iter().any(|slot| slot.look(now));
                    if !late || process.slot_alarm.swap(true, Ordering::AcqRel) {
                        break;
                    }
                }
            }
        });
    }

    /// An actor has answers that are to leave soon, even if its thread stays busy.
    pub(crate) fn want_answers_sent(self: &Arc<Self>, actor: &Arc<ActorHost>) {
        let first = {
            let mut tables = self.lock();
            tables.answering.push(Arc::downgrade(actor));
            tables.answering.len() == 1
        };
        if first {
            let process = Arc::clone(self);
            self.spawn(async move {
                tokio::time::sleep(crate::worker::slot::LONG).await;
                let answering = std::mem::take(&mut process.lock().answering);
                answering.iter().filter_map(Weak::upgrade).for_each(|actor| actor.alarm());
            });
        }
    }

    pub(crate) fn tick_owner(&self, owner: Arc<Owner>) {
        self.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if !owner.tick() {
                    break;
                }
            }
        });
    }

    /// Wakes `countdown`'s sleeper at a deadline.
    pub(crate) fn wake_after(&self, time: Duration, countdown: Arc<crate::wait::Countdown>) {
        self.spawn(async move {
            tokio::time::sleep(time).await;
            countdown.finish();
        });
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    // ---- the network

    pub(crate) fn set_endpoint(&self, endpoint: Endpoint, addrs: Vec<SocketAddr>) {
        // A process has one endpoint, set once where it is started.
        let _ = self.endpoint.set((endpoint, addrs));
    }

    pub(crate) fn endpoint(&self) -> Result<&Endpoint> {
        self.endpoint
            .get()
            .map(|(endpoint, _)| endpoint)
            .ok_or_else(|| Error::connection("this process has no connection to other processes"))
    }

    /// How others reach this process.
    pub(crate) fn address(&self) -> PeerAddr {
        let addrs = self.endpoint.get().map(|(_, addrs)| addrs.clone()).unwrap_or_default();
        PeerAddr { id: self.id, addrs, relay: self.relay.get().copied() }
    }

    pub(crate) fn set_store_peer(&self, peer: Peer) {
        let _ = self.store_peer.set(peer);
    }

    pub(crate) fn store_peer(&self) -> Option<Peer> {
        self.store_peer.get().cloned()
    }

    pub(crate) fn learn_raylet(&self, node: NodeId, at: PeerAddr) {
        self.lock().raylets.insert(node, at);
    }

    /// Tells a node's raylet something, here or elsewhere.
    pub(crate) fn tell_raylet(&self, node: NodeId, message: ToRaylet) {
        match self.raylet.get() {
            Some(link) if node == self.id.node => link.tell(message),
            _ => {
                let at = self.lock().raylets.get(&node).cloned();
                let sent = match (at, self.endpoint()) {
                    (Some(at), Ok(endpoint)) => {
                        let peer = endpoint.peer(&at);
                        if let ToRaylet::Request(_) = &message {
                            self.may_lose(Lost::LeaseRequest, &peer);
                        }
                        peer.tell(Lane::Ordered, RAYLET, &message).map_err(|error| error.to_string())
                    }
                    _ => Err("its address is not known".to_owned()),
                };
                if let Err(error) = sent {
                    tracing::debug!(%node, error, "a message to a raylet was not sent");
                }
            }
        }
    }

    pub(crate) fn tell_gcs(&self, message: ToGcs) {
        if let Some(link) = self.gcs.get() {
            link.tell(message);
        }
    }

    /// Leaves a message with those that wait for the same process; gives it back if none do.
    pub(crate) fn wait_with_others(&self, process: ProcessId, message: ToOwner) -> Option<ToOwner> {
        match self.lock().reaching.get_mut(&process) {
            Some(waiting) => {
                waiting.push(message);
                None
            }
            None => Some(message),
        }
    }

    /// A message waits until its process is found; `true` if nobody looks for that one yet.
    pub(crate) fn begin_reaching(&self, process: ProcessId, message: ToOwner) -> bool {
        let mut tables = self.lock();
        let waiting = tables.reaching.entry(process).or_default();
        waiting.push(message);
        waiting.len() == 1
    }

    /// What waits for a process that was found; none, and nothing waits for it any more, if nothing does.
    pub(crate) fn next_reached(&self, process: ProcessId) -> Option<Vec<ToOwner>> {
        let mut tables = self.lock();
        match tables.reaching.get_mut(&process) {
            Some(waiting) if !waiting.is_empty() => Some(std::mem::take(waiting)),
            _ => {
                tables.reaching.remove(&process);
                None
            }
        }
    }

    /// What waited for a process that is nowhere.
    pub(crate) fn end_reaching(&self, process: ProcessId) -> Vec<ToOwner> {
        self.lock().reaching.remove(&process).unwrap_or_default()
    }

    pub(crate) fn is_dead(&self, process: ProcessId) -> bool {
        self.lock().dead.contains(&process)
    }

    /// Asks the owner of a borrowed object how it came out; the answer resolves the slot.
    pub(crate) fn ask_owner(borrowed: &Arc<Borrowed>) {
        if borrowed.asked.swap(true, Ordering::AcqRel) {
            return;
        }
        let owner = borrowed.id.task.owner.process;
        borrowed.process.tell_owner(owner, ToOwner::GetObject { object: borrowed.id, lost: Vec::new() });
    }

    /// An object of this process's owners is needed by nobody: its copies elsewhere go.
    pub(crate) fn free_stored(&self, object: ObjectId, stored_at: &[PeerAddr]) {
        self.store.drop_copy(&object);
        for at in stored_at {
            if at.id == self.id {
                self.store.remove(&object);
            } else if let Ok(endpoint) = self.endpoint() {
                let keep = crate::worker::remote::Keep { object, size: 0 };
                let _ = endpoint.peer(at).tell(Lane::Ordered, crate::protocol::OBJECTS, &keep);
            }
        }
    }

    /// The process that this one belongs to is gone: a worker ends, a driver loses its cluster.
    pub(crate) fn home_lost(self: &Arc<Self>, why: &str) {
        if self.on_crash.get().is_some() {
            // A worker without its raylet is of no use to anybody.
            std::process::exit(0);
        }
        if self.is_closing() {
            return;
        }
        if let Some(lost) = self.on_home_lost.get() {
            lost(why);
            return;
        }
        let error = format!("the node that this driver was attached to is gone: {why}");
        tracing::error!(target: "actinic", "{error}");
        for owner in self.owners() {
            owner.die_of(Error::node_died(error.clone()).remedy("start the node again, and connect again"));
        }
    }

    /// A worker's code is to be ended by force.
    pub(crate) fn crash_for(&self, why: &str) {
        tracing::debug!(why, "the worker ends");
        if let Some(crash) = self.on_crash.get() {
            crash();
        }
    }

    /// What all nodes have, and what of it is free.
    pub(crate) fn cluster_resources(&self) -> (BTreeMap<String, f64>, BTreeMap<String, f64>) {
        let tables = self.lock();
        let mut total = crate::resources::ResourceSet::new();
        let mut free = crate::resources::ResourceSet::new();
        for (node_total, available) in tables.resources.values() {
            total.add(node_total);
            free.add(available);
        }
        (total.to_map(), free.to_map_of(&total))
    }

    pub(crate) fn set_resources(
        &self,
        node: NodeId,
        of: Option<(crate::resources::ResourceSet, crate::resources::ResourceSet)>,
    ) {
        let mut tables = self.lock();
        match of {
            Some(of) => tables.resources.insert(node, of),
            None => tables.resources.remove(&node),
        };
    }

    /// What every node has, as a driver's raylet says.
    pub(crate) fn replace_resources(&self, nodes: Vec<NodeResources>) {
        self.lock().resources = nodes.into_iter().map(|(node, total, free)| (node, (total, free))).collect();
    }

    /// What every node has and has free, for those who have no raylet.
    pub(crate) fn node_resources(&self) -> Vec<NodeResources> {
        let tables = self.lock();
        tables.resources.iter().map(|(node, (total, free))| (*node, total.clone(), free.clone())).collect()
    }

    /// Looks again and again whether somebody still listens where a process did: a killed one says no goodbye.
    pub(crate) fn watch(self: &Arc<Self>, peer: &PeerAddr) {
        const EVERY: Duration = Duration::from_millis(400);
        let Some(at) = peer.addrs.first().copied() else { return };
        let (process, id) = (Arc::downgrade(self), peer.id);
        self.spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let Some(process) = process.upgrade().filter(|process| !process.is_closing()) else { return };
                let Ok(endpoint) = process.endpoint().cloned() else { return };
                if endpoint.known(id).is_none() {
                    return;
                }
                drop(process);
                if endpoint.probe(at, EVERY).await == Probe::Unreachable {
                    endpoint.declare_dead(id);
                    return;
                }
            }
        });
    }

    /// Keeps a worker process's slot alive as long as the process.
    pub(crate) fn keep_slot(&self, slot: &Arc<TaskSlot>) {
        self.add_slot(slot);
        self.lock().kept_slots.push(Arc::clone(slot));
    }

    /// Whether this process has heard of a node that lives.
    pub(crate) fn knows_node(&self, node: NodeId) -> bool {
        self.lock().resources.contains_key(&node)
    }

    /// From here on this process is dead: nobody is told when its thread ends, and nothing that it owns comes out.
    pub(crate) fn kill(self: &Arc<Self>) {
        self.closing.store(true, Ordering::Release);
        self.killed.store(true, Ordering::Release);
        self.pool.close();
        for owner in self.owners() {
            owner.die("its node was killed");
        }
    }

    /// Ends the process in order: nothing is accepted any more, the network says goodbye.
    pub(crate) async fn end(self: &Arc<Self>) {
        self.closing.store(true, Ordering::Release);
        if let Some(RayletLink::Local(raylet)) = self.raylet.get() {
            raylet.do_send(crate::raylet::Shutdown { killed: self.killed.load(Ordering::Acquire) });
            // Its children end when their pipes close; they are waited for, but not for long.
            for _ in 0..200 {
                match raylet.send(crate::raylet::ChildrenLeft).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        }
        if let Ok(endpoint) = self.endpoint() {
            endpoint.close().await;
        }
        self.close();
    }

    // ---- owners

    pub(crate) fn new_owner(self: &Arc<Self>, job: JobId, namespace: Arc<str>) -> Arc<Owner> {
        let number = self.next_owner.fetch_add(1, Ordering::Relaxed);
        let id = OwnerId { process: self.id, number };
        let owner = Owner::new(id, Arc::clone(self), job, namespace);
        let mut tables = self.lock();
        let at = number as usize;
        if tables.owners.len() <= at {
            tables.owners.resize(at + 1, None);
        }
        tables.owners[at] = Some(Arc::clone(&owner));
        owner
    }

    /// This owner, a driver's or a worker's, is also what other code of its job submits with here.
    pub(crate) fn is_member(&self, owner: &Arc<Owner>) {
        self.lock().members.insert(owner.job, (Arc::clone(owner), false));
    }

    /// What code of a job that runs here outside of any call submits with: what a call has spawned.
    pub(crate) fn own(self: &Arc<Self>, job: JobId, namespace: Arc<str>) -> Result<Arc<Owner>> {
        if let Some((owner, _)) = self.lock().members.get(&job) {
            return Ok(Arc::clone(owner));
        }
        if self.is_closing() {
            return Err(Error::connection("the cluster was shut down"));
        }
        let made = self.new_owner(job, namespace);
        let (owner, _) = self.lock().members.entry(job).or_insert_with(|| (Arc::clone(&made), true)).clone();
        Ok(owner)
    }

    /// A job has ended, and with it what its code here has submitted.
    pub(crate) fn job_ended(self: &Arc<Self>, job: JobId) {
        crate::api::scope::job_ended(self, job);
        let member = self.lock().members.remove(&job);
        if let Some((owner, true)) = member {
            self.end_owner(&owner, "its job has ended");
        }
    }

    pub(crate) fn owner_numbered(&self, number: u32) -> Option<Arc<Owner>> {
        self.lock().owners.get(number as usize)?.clone()
    }

    pub(crate) fn owners(&self) -> Vec<Arc<Owner>> {
        self.lock().owners.iter().flatten().cloned().collect()
    }

    /// Whether something runs in this process, or it owns a task or an object that somebody may ask for.
    pub(crate) fn is_needed(&self) -> bool {
        let runs = {
            let tables = self.lock();
            !tables.running.is_empty() || !tables.actors.is_empty()
        };
        runs || self.owners().iter().any(|owner| owner.load().0 > 0)
    }

    /// An owner of this process ends: what it owned fails, and others are told.
    pub(crate) fn end_owner(self: &Arc<Self>, owner: &Arc<Owner>, why: &str) {
        owner.die(why);
        // Before its death: what had ended stays as it ended.
        self.tell_events_of(owner);
        self.tell_raylet(self.id.node, ToRaylet::OwnerDied { owner: owner.id });
        self.tell_gcs(ToGcs::OwnerDied { owner: owner.id });
    }

    /// A message for the owners of this process.
    pub(crate) fn deliver(self: &Arc<Self>, message: ToOwner) {
        match message {
            ToOwner::Actors(rows) => {
                for news in rows {
                    // In this order: who keeps something for a creation looks afterwards whether that is over.
                    if let Some(client) = self.client(news.info.id) {
                        client.news(&news);
                    }
                    self.hear_of_creation(&news);
                }
            }
            ToOwner::ActorWaits { actor, text } => {
                if let Some(client) = self.client(actor) {
                    client.waits_for(text);
                }
            }
            ToOwner::NodeDead { node, text } => self.node_dead(node, &text),
            ToOwner::ProcessDead { process } => {
                if let Ok(endpoint) = self.endpoint() {
                    endpoint.declare_dead(process);
                }
                self.process_dead(process, "it ended");
            }
            ToOwner::OwnerGone { owner } => self.owner_gone(owner),
            ToOwner::Resources { nodes } => self.replace_resources(nodes),
            // What is answered comes with its peer, at the receiver of the network.
            ToOwner::GetObject { .. } | ToOwner::Credit { .. } => {}
            ToOwner::GivenBack { lease, tasks } => {
                let mut rest = &tasks[..];
                while let Some((number, _)) = rest.first() {
                    let count = rest.iter().take_while(|(other, _)| other == number).count();
                    let (batch, after) = rest.split_at(count);
                    rest = after;
                    if let Some(owner) = self.owner_numbered(batch[0].0)
                        && let Some(ix) = owner.lease_ix(lease)
                    {
                        let seqs: Vec<u64> = batch.iter().map(|(_, seq)| *seq).collect();
                        owner.given_back(ix, &seqs);
                    }
                }
            }
            ToOwner::To { owner: number, message } => {
                if let Some(owner) = self.owner_numbered(number) {
                    owner.hear(message);
                }
            }
        }
    }

    /// Another process is gone.
    pub(crate) fn process_dead(self: &Arc<Self>, process: ProcessId, why: &str) {
        if !self.lock().dead.insert(process) {
            return;
        }
        let error = Error::worker_crashed(format!("process {process} is gone: {why}"));
        for owner in self.owners() {
            owner.process_lost(process, &error);
        }
        self.borrowed_from(|id| id.task.owner.process == process, &format!("its process is gone: {why}"));
        for client in self.clients() {
            client.process_lost(process);
        }
        self.counts_process_died(process);
    }

    /// An owner is dead, whose process may live.
    pub(crate) fn owner_gone(&self, owner: OwnerId) {
        self.borrowed_from(|id| id.task.owner == owner, "the owner has ended");
    }

    /// What is borrowed from an owner that is dead has no value any more, here neither.
    fn borrowed_from(&self, dead: impl Fn(ObjectId) -> bool, why: &str) {
        let mut lost = self.asking.objects();
        lost.extend(self.lock().borrowed.keys().copied());
        for id in lost.into_iter().filter(|id| dead(*id)) {
            self.store.drop_copy(&id);
            self.borrowed_lost(id, why);
        }
    }

    /// A node is gone, and every process on it.
    pub(crate) fn node_dead(self: &Arc<Self>, node: NodeId, text: &str) {
        if node == self.id.node {
            return;
        }
        if let Ok(endpoint) = self.endpoint() {
            endpoint.revoke(node);
        }
        let error = Error::node_died(format!("node {node} died: {text}"));
        for owner in self.owners() {
            owner.node_lost(node, &error);
        }
    }

    // ---- leases

    pub(crate) fn return_lease(&self, lease: LeaseId, reusable: bool) {
        self.tell_raylet(lease.node, ToRaylet::Return { lease, reusable });
    }

    // ---- workers and actors here

    pub(crate) fn add_slot(&self, slot: &Arc<TaskSlot>) {
        self.lock().slots.insert(slot.host.worker, Arc::downgrade(slot));
    }

    pub(crate) fn slot(&self, worker: crate::ids::WorkerId) -> Option<Arc<TaskSlot>> {
        self.lock().slots.get(&worker)?.upgrade()
    }

    pub(crate) fn slots(&self) -> Vec<Arc<TaskSlot>> {
        self.lock().slots.values().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn add_actor(&self, actor: &Arc<ActorHost>) {
        self.lock().actors.insert(actor.number(), Arc::clone(actor));
    }

    pub(crate) fn actor(&self, number: u64) -> Option<Arc<ActorHost>> {
        self.lock().actors.get(&number).cloned()
    }

    pub(crate) fn actors(&self) -> Vec<Arc<ActorHost>> {
        self.lock().actors.values().cloned().collect()
    }

    /// An incarnation takes no more calls; what it owned ends with it.
    pub(crate) fn actor_ended(self: &Arc<Self>, actor: &Arc<ActorHost>) {
        {
            let mut tables = self.lock();
            if tables.actors.get(&actor.number()).is_some_and(|known| Arc::ptr_eq(known, actor)) {
                tables.actors.remove(&actor.number());
            }
        }
        if let Some(owner) = actor.host.owner_if_any() {
            self.end_owner(&Arc::clone(owner), &format!("{} ended", actor.describe()));
        }
    }

    /// A worker of this process died: a real process ends, a thread's worker is closed as if it had.
    pub(crate) fn worker_crashed(self: &Arc<Self>, host: &Arc<Host>) {
        if let Some(crash) = self.on_crash.get() {
            crash();
        }
        if host.dead.swap(true, Ordering::AcqRel) {
            return;
        }
        let why = Error::worker_crashed(format!("worker {} crashed", host.worker));
        if let Some(id) = host.actor
            && let Some(actor) = self.actor(crate::actor::host::number(id))
        {
            actor.crashed();
        }
        if let Some(slot) = host.slot.get().and_then(Weak::upgrade) {
            // The owners find the jobs in the flights of their leases.
            drop(slot.close());
        }
        if let Some(owner) = host.owner_if_any() {
            self.end_owner(&Arc::clone(owner), "its worker crashed");
        }
        for owner in self.owners() {
            owner.worker_lost(host.worker, Ran::First, &why);
        }
        if let Some(RayletLink::Local(raylet)) = self.raylet.get() {
            raylet.do_send(crate::raylet::WorkerCrashed { worker: host.worker });
        }
    }

    pub(crate) fn async_began(&self, id: TaskId, running: &Arc<Running>) {
        self.lock().running.insert(id, Arc::clone(running));
    }

    pub(crate) fn async_ended(&self, id: TaskId) {
        let gone = self.lock().running.remove(&id);
        drop(gone);
    }

    /// Drops an async call at its next await; `false` if none of that id runs here.
    pub(crate) fn cancel_async(&self, id: TaskId) -> bool {
        let running = self.lock().running.get(&id).cloned();
        running.is_some_and(|running| {
            running.cancel();
            true
        })
    }

    /// Ends the process if an async task that was told to end has not done so a while later: it does not await.
    pub(crate) fn end_async_by_force(self: &Arc<Self>, id: TaskId) {
        let process = Arc::clone(self);
        self.spawn(async move {
            tokio::time::sleep(FORCE_AFTER).await;
            let still_runs = process.lock().running.contains_key(&id);
            if still_runs {
                process.crash_for("an async task was cancelled by force and did not end");
            }
        });
    }

    /// Whether force ends a task here: not one of sync code that runs on a thread beside others.
    pub(crate) fn force_ends(&self, id: TaskId) -> bool {
        self.on_crash.get().is_some() || !self.slots().iter().any(|slot| slot.runs_sync(id))
    }

    // ---- clients of actors

    pub(crate) fn add_client(&self, client: &Arc<Client>) {
        self.lock().clients.insert(client.id, Arc::downgrade(client));
    }

    /// The client of an actor, by any id that it is known by here.
    pub(crate) fn client(&self, id: ActorId) -> Option<Arc<Client>> {
        let known = self.lock().clients.get(&id)?.upgrade()?;
        Some(Arc::clone(known.real()))
    }

    /// The client of an actor, and whether it was made now.
    pub(crate) fn client_or_new(&self, id: ActorId, make: impl FnOnce() -> Arc<Client>) -> (Arc<Client>, bool) {
        let known = {
            let mut tables = self.lock();
            match tables.clients.get(&id).and_then(Weak::upgrade) {
                Some(known) => known,
                None => {
                    let made = make();
                    tables.clients.insert(id, Arc::downgrade(&made));
                    return (made, true);
                }
            }
        };
        (Arc::clone(known.real()), false)
    }

    fn clients(&self) -> Vec<Arc<Client>> {
        self.lock().clients.values().filter_map(Weak::upgrade).collect()
    }

    /// The client of the actor that had a name last, if it may still have it.
    pub(crate) fn named_client(&self, name: &ActorName) -> Option<Arc<Client>> {
        let known = self.lock().named.get(name)?.upgrade()?;
        let known = Arc::clone(known.real());
        (!known.is_dead()).then_some(known)
    }

    /// An actor has this name; or will, if nobody else has it.
    pub(crate) fn set_named(&self, name: &Arc<ActorName>, client: &Arc<Client>) {
        self.lock().named.insert(Arc::clone(name), Arc::downgrade(client));
    }

    pub(crate) fn drop_client(&self, id: ActorId, name: Option<&ActorName>) {
        let mut tables = self.lock();
        if tables.clients.get(&id).is_some_and(|client| client.strong_count() == 0) {
            tables.clients.remove(&id);
        }
        if let Some(name) = name
            && tables.named.get(name).is_some_and(|client| client.strong_count() == 0)
        {
            tables.named.remove(name);
        }
    }

    // ---- borrowed objects

    /// The ref to an object of another process, new or known.
    pub(crate) fn borrowed(self: &Arc<Self>, id: ObjectId) -> (RawRef, bool) {
        let mut tables = self.lock();
        if let Some(known) = tables.borrowed.get(&id).and_then(Weak::upgrade)
            && known.slot.holds() > 0
        {
            return (RawRef::borrowed(known), false);
        }
        let made = Arc::new(Borrowed {
            id,
            process: Arc::clone(self),
            slot: crate::object::Slot::pending(),
            asked: AtomicBool::new(false),
        });
        tables.borrowed.insert(id, Arc::downgrade(&made));
        (RawRef::adopt_borrowed(made), true)
    }

    /// What the handles of an actor hold: at once, though the owner may not know of it yet.
    pub(crate) fn ask_lifeline(self: &Arc<Self>, id: ObjectId) -> Option<RawRef> {
        if id.task.owner.process == self.id {
            return self.owner_numbered(id.task.owner.number)?.find(id.task, id.index);
        }
        let (object, _) = self.borrowed(id);
        if let Target::Borrowed(borrowed) = object.target() {
            Process::ask_owner(borrowed);
        }
        Some(object)
    }

    /// As [`Process::ask_lifeline`], after its owner has heard; none if the actor is ending.
    pub(crate) async fn lifeline_of(self: &Arc<Self>, id: ObjectId) -> Option<RawRef> {
        let object = self.ask_lifeline(id)?;
        if id.task.owner.process != self.id {
            ready(&object).await;
            if object.slot().get().is_none_or(|resolved| resolved.is_error()) {
                return None;
            }
        }
        Some(object)
    }

    /// The value of an object, from whoever owns it.
    pub(crate) async fn obtain(self: &Arc<Self>, id: ObjectId) -> Result<crate::value::Value> {
        let object = if id.task.owner.process == self.id {
            let owner = self.owner_numbered(id.task.owner.number);
            owner.and_then(|owner| owner.find(id.task, id.index))
        } else {
            Some(self.borrowed(id).0)
        };
        let Some(object) = object else {
            return Err(Error::object_freed(format!("object {id} is not known to its owner any more")));
        };
        ready(&object).await;
        match object.slot().get() {
            Some(Resolved::Value(value)) => Ok(value),
            Some(Resolved::Stored(stored)) => self.fetch(id, &stored).await,
            Some(Resolved::Error(error)) => Err(error),
            None => Err(Error::connection("the cluster was shut down")),
        }
    }

    // ---- constructors

    /// Keeps what an actor's constructor needs: until it ran, or as long as it may run again.
    pub(crate) fn keep_creation(&self, actor: ActorId, needs: Vec<RawRef>, again: bool) {
        self.lock().creations.insert(actor, (needs, again));
    }

    pub(crate) fn drop_creation(&self, actor: ActorId) {
        // Its refs may be the last to something: they are dropped outside of the lock.
        let gone = self.lock().creations.remove(&actor);
        drop(gone);
    }

    fn hear_of_creation(&self, news: &ActorNews) {
        use crate::gcs::core::ActorState;
        let gone = {
            let mut tables = self.lock();
            let found = news.info.found.is_some();
            let over = match (tables.creations.get(&news.info.id), news.info.state) {
                (Some(_), ActorState::Dead) => true,
                (Some((_, again)), ActorState::Alive) => !again,
                // Another's constructor was called, with what that one was given.
                (Some(_), _) => found,
                _ => false,
            };
            if over { tables.creations.remove(&news.info.id) } else { None }
        };
        // They may be the last refs to something.
        drop(gone);
    }

    /// A run fetches its arguments; it may be told to end meanwhile.
    pub(crate) fn begin_start(&self, run: ActorRun) {
        self.lock().starting.insert(run);
    }

    /// Whether the run may go on.
    pub(crate) fn end_start(&self, run: ActorRun) -> bool {
        self.lock().starting.remove(&run)
    }

    /// A run that has no actor yet shall end; false if it has not come, or has ended.
    pub(crate) fn cancel_start(&self, run: ActorRun) -> bool {
        let starting = self.end_start(run);
        if starting {
            self.never_began(run);
        }
        starting
    }

    /// Tells the raylet that a run ended before its constructor.
    pub(crate) fn never_began(&self, run: ActorRun) {
        let text = "it had not begun".to_owned();
        self.tell_raylet(self.id.node, ToRaylet::ActorGone { run, how: Gone::Ended, text, owner: None });
    }

    /// Another ref to a borrowed object that has one here.
    pub(crate) fn borrowed_again(&self, id: ObjectId) -> Option<RawRef> {
        let tables = self.lock();
        let known = tables.borrowed.get(&id).and_then(Weak::upgrade)?;
        let held = (known.slot.holds() > 0).then(|| RawRef::borrowed(Arc::clone(&known)));
        // It may be the last to know the object.
        drop(tables);
        held
    }

    /// The known borrowed object, for an answer that arrived.
    pub(crate) fn borrowed_if_known(&self, id: ObjectId) -> Option<Arc<Borrowed>> {
        self.lock().borrowed.get(&id)?.upgrade()
    }

    pub(crate) fn forget_borrowed(&self, borrowed: &Arc<Borrowed>) {
        let mut tables = self.lock();
        let same =
            tables.borrowed.get(&borrowed.id).is_some_and(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(borrowed)));
        if same && borrowed.slot.holds() == 0 {
            tables.borrowed.remove(&borrowed.id);
        }
    }

    /// A message with refs leaves when their owners know its receiver: now, if the word of it came first.
    pub(crate) fn wait_hand_out(&self, owner: OwnerId, id: HandOutId, leave: Leave) {
        let now = {
            let mut tables = self.lock();
            match tables.hand_outs.remove(&(owner.number, id)) {
                Some(_) => Some(leave),
                None => {
                    tables.hand_outs.insert((owner.number, id), Some(leave));
                    None
                }
            }
        };
        if let Some(leave) = now {
            leave();
        }
    }

    pub(crate) fn hand_out_ready(&self, owner: OwnerId, id: HandOutId) {
        let leave = {
            let mut tables = self.lock();
            match tables.hand_outs.remove(&(owner.number, id)) {
                Some(leave) => leave,
                None => {
                    tables.hand_outs.insert((owner.number, id), None);
                    None
                }
            }
        };
        if let Some(leave) = leave {
            leave();
        }
    }

    // ---- the end

    /// Ends everything that runs for this process; nothing is answered any more.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.pool.close();
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
