//! Starting and ending processes: a head with its GCS and raylet, further nodes, workers, drivers.

pub(crate) mod admission;
pub(crate) mod connect;
pub(crate) mod join;
pub mod local;
pub(crate) mod program_file;
pub(crate) mod renewal;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actinic_transport::{
    Authority, ClusterId, Config, Endpoint, Identity, JoinKind, JoinServer, Limits, Net, NodeAuthority, NodeId, Peer,
    PeerAddr, Token,
};
use actix::Actor;
use tokio::sync::oneshot;

use crate::api::error::{Error, Result};
use crate::api::named::ask_gcs;
use crate::api::op::wait_for;
use crate::env::Env;
use crate::gcs::{Gcs, GcsLink, LocalRaylet};
use crate::ids::JobId;
use crate::net::{Components, listen};
use crate::owner::Owner;
use crate::process::{Process, Settings};
use crate::protocol::{AskGcs, AskRaylet, GcsAnswer, JobRow, NodeRow, RAYLET, REVISION, RayletAnswer, ToGcs, ToRaylet};
use crate::raylet::spawn::Spawner;
use crate::raylet::{Raylet, RayletLink};
use crate::resources::{ResourceName, ResourceSet};
use crate::start::admission::Admission;
use crate::start::program_file::{Offer, ProgramFile};
use crate::wait::Countdown;
use crate::worker::entry::Boot;
use crate::worker::host::Host;
use crate::worker::slot::TaskSlot;

/// What a node offers, as `init()` and `actinic start` say it.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeOptions {
    pub(crate) num_cpus: Option<f64>,
    pub(crate) num_gpus: Option<f64>,
    pub(crate) memory: Option<f64>,
    pub(crate) resources: Vec<(String, f64)>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) object_store_memory: Option<u64>,
    pub(crate) processes: bool,
    /// Worker processes enter before their program's `main`: it is a test binary.
    pub(crate) early: bool,
    /// What worker processes log; else what the environment says.
    pub(crate) log_level: Option<tracing::level_filters::LevelFilter>,
    /// Certificates of the cluster that is started live so long, instead of 7 days; for tests.
    pub(crate) certificate_life: Option<Duration>,
}

impl NodeOptions {
    fn store_bytes(&self, env: &Env) -> u64 {
        self.object_store_memory.unwrap_or_else(|| env.machine().memory * 3 / 10)
    }

    fn total(&self, env: &Env, ip: IpAddr) -> Result<ResourceSet> {
        let machine = env.machine();
        let cpus = self.num_cpus.unwrap_or(machine.cores as f64);
        let memory = self.memory.unwrap_or((machine.memory * 6 / 10) as f64);
        let custom = self.resources.iter().map(|(name, amount)| (name.as_str(), *amount));
        let invalid = |error: crate::resources::ResourceError| Error::invalid_argument(error.to_string());
        let mut total =
            ResourceSet::from_options(cpus, self.num_gpus.unwrap_or(0.0), memory, custom).map_err(invalid)?;
        let extra = [(ResourceName::ObjectStoreMemory, self.store_bytes(env) as f64), (ResourceName::node(ip), 1.0)];
        let mut set = Vec::new();
        for (name, amount) in extra {
            let amount = crate::resources::Quantity::parse(&name, amount).map_err(invalid)?;
            set.push((name, amount));
        }
        total.add(&ResourceSet::from_iter(set));
        Ok(total)
    }
}

/// A process that runs on a thread of its own.
pub(crate) struct Running {
    pub(crate) process: Arc<Process>,
    pub(crate) raylet: Option<actix::Addr<Raylet>>,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<Arc<Countdown>>,
    pub(crate) token: Option<Token>,
    pub(crate) authority: Option<Arc<Authority>>,
    pub(crate) node_authority: Option<NodeAuthority>,
    pub(crate) gcs: PeerAddr,
}

impl Running {
    /// Ends the process's thread and waits until its network and its workers are gone.
    pub(crate) fn stop(&mut self) {
        self.ask_stop();
        if let Some(ended) = self.ended.take() {
            // It ends within the deadline of its own steps, or is gone already.
            wait_for(&ended, Some(Duration::from_secs(10)), || self.process.env.now());
        }
    }

    /// Ends it without waiting.
    pub(crate) fn ask_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
    }

    /// Counts down to nothing when the process has ended.
    pub(crate) fn take_ended(&mut self) -> Option<Arc<Countdown>> {
        self.ended.take()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ask_stop();
    }
}

/// What a process is made of, once its thread runs.
struct Made {
    process: Arc<Process>,
    raylet: Option<actix::Addr<Raylet>>,
    token: Option<Token>,
    authority: Option<Arc<Authority>>,
    node_authority: Option<NodeAuthority>,
    gcs: PeerAddr,
}

/// Runs `make` on a system thread; what it made lives there until it is stopped.
fn on_thread<F>(env: &Env, name: &str, make: F) -> Result<Running>
where
    F: AsyncFnOnce() -> Result<Made> + Send + 'static,
{
    begin_on_thread(env, name, make)?.wait(env)
}

/// A process whose thread makes it.
pub(crate) struct Starting {
    hear: Receiver<Result<Made>>,
    stop: oneshot::Sender<()>,
    ended: Arc<Countdown>,
}

fn begin_on_thread<F>(env: &Env, name: &str, make: F) -> Result<Starting>
where
    F: AsyncFnOnce() -> Result<Made> + Send + 'static,
{
    let (tell, hear) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = Countdown::new(1, false);
    let end = End(Arc::clone(&ended));
    let started = env.system(name, move || async move {
        match make().await {
            Ok(made) => {
                let process = Arc::clone(&made.process);
                // The starter waits for it.
                let _ = tell.send(Ok(made));
                // Stopped, or dropped, which means the same.
                let _ = stopped.await;
                process.end().await;
            }
            Err(error) => drop(tell.send(Err(error))),
        }
        end
    });
    started.map_err(|error| Error::connection(format!("no thread could be started for the cluster: {error}")))?;
    Ok(Starting { hear, stop, ended })
}

impl Starting {
    /// Waits on the calling thread until it is made.
    pub(crate) fn wait(self, env: &Env) -> Result<Running> {
        let made = match env.world() {
            None => self.hear.recv().map_err(|_| gone())??,
            // Nothing in a node's start waits: the first step has made it.
            Some(_) => self.hear.try_recv().map_err(|_| gone())??,
        };
        Ok(self.run(made))
    }

    /// As [`Starting::wait`], where what makes it asks others and all are simulated.
    pub(crate) async fn ready(self, env: &Env) -> Result<Running> {
        if env.world().is_none() {
            return self.wait(env);
        }
        loop {
            match self.hear.try_recv() {
                Ok(made) => return made.map(|made| self.run(made)),
                Err(TryRecvError::Disconnected) => return Err(gone()),
                Err(TryRecvError::Empty) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    fn run(self, made: Made) -> Running {
        let Made { process, raylet, token, authority, node_authority, gcs } = made;
        let (stop, ended) = (Some(self.stop), Some(self.ended));
        Running { process, raylet, stop, ended, token, authority, node_authority, gcs }
    }
}

fn gone() -> Error {
    Error::connection("the cluster's thread ended while it started")
}

/// Tells of the end of a process, however it comes.
struct End(Arc<Countdown>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// Where a process listens, and on what network.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) net: Net,
    pub(crate) listen: SocketAddr,
}

impl Place {
    pub(crate) fn loopback() -> Place {
        Place { net: Net::Udp, listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) }
    }

    /// Where a process listens if nobody says: on this machine, or on a machine of its own in a simulation.
    pub(crate) fn of(env: &Env) -> Place {
        match env.world() {
            None => Place::loopback(),
            Some(world) => {
                let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
                Place { net: Net::Sim(world.net().clone()), listen }
            }
        }
    }
}

fn config(env: &Env, place: &Place, identity: Identity) -> Config {
    Config {
        id: identity.id(),
        identity,
        net: place.net.clone(),
        listen: place.listen,
        limits: Limits::default(),
        revision: REVISION,
        seed: env.seed(),
    }
}

fn bind(env: &Env, place: &Place, identity: Identity) -> Result<Endpoint> {
    Endpoint::bind(config(env, place, identity)).map_err(|error| Error::connection(error.to_string()))
}

fn security(error: impl std::fmt::Display) -> Error {
    Error::unauthorized(error.to_string())
}

/// Starts a head: a node with the GCS, in this process.
pub(crate) fn head(
    env: Env,
    options: NodeOptions,
    place: Place,
    admits: Option<(Authority, Vec<Token>)>,
    cache: Option<PathBuf>,
) -> Result<Running> {
    crate::worker::job::install_panic_hook();
    crate::program::program().check()?;
    let inner = env.clone();
    on_thread(&env, "actinic-head", async move || {
        let env = inner;
        let cluster = ClusterId(env.uuid());
        let (authority, mut tokens) = match admits {
            Some(known) => known,
            None => (Authority::generate(cluster).map_err(security)?, Vec::new()),
        };
        let authority = match options.certificate_life {
            Some(life) => authority.with_leaf_life(life),
            None => authority,
        };
        if tokens.is_empty() {
            tokens.push(Token::generate(&authority).map_err(security)?);
        }
        let token = tokens.first().cloned();
        let node = NodeId(env.uuid());
        let node_authority = authority.node(node).map_err(security)?;
        let identity = node_authority.issue(env.uuid()).map_err(security)?;
        let (process, endpoint) = new_process(&env, &options, &place, identity)?;
        let gcs = Gcs::new(Arc::clone(&process)).start();
        // A new process: nobody else sets it.
        let _ = process.gcs.set(GcsLink::Local(gcs.clone()));
        set_cache(&process, cache);
        let raylet = start_raylet(&process, &options, &place, true, &node_authority, process.address())?;
        let components = Components { raylet: Some(raylet.clone()), gcs: Some(gcs), home: None };
        listen(&process, &endpoint, &components);
        let server = JoinServer {
            tokens: Vec::new(),
            authority: Some(authority.clone()),
            node: node_authority.clone(),
            revision: REVISION,
            draw: draw(&env),
        };
        Admission::open(&process, server, tokens, Vec::new())?;
        let gcs = process.address();
        Ok(Made {
            process,
            raylet: Some(raylet),
            token,
            authority: Some(Arc::new(authority)),
            node_authority: Some(node_authority),
            gcs,
        })
    })
}

fn draw(env: &Env) -> Arc<dyn Fn() -> uuid::Uuid + Send + Sync> {
    let env = env.clone();
    Arc::new(move || env.uuid())
}

/// Starts a further node, which knows the authority's word for it and where the GCS is.
pub(crate) fn node(
    env: Env,
    options: NodeOptions,
    place: Place,
    node_authority: NodeAuthority,
    token: Option<Token>,
    gcs: PeerAddr,
) -> Result<Running> {
    crate::worker::job::install_panic_hook();
    crate::program::program().check()?;
    let inner = env.clone();
    on_thread(&env, "actinic-node", async move || {
        let tokens = token.into_iter().collect();
        make_node(&inner, &options, &place, node_authority, (tokens, Vec::new()), gcs, None)
    })
}

/// Joins a cluster by its head's address, as a node.
pub(crate) fn join_node(
    env: Env,
    options: NodeOptions,
    (place, port): (Option<Place>, u16),
    address: String,
    token: String,
    cache: PathBuf,
) -> Result<Running> {
    crate::worker::job::install_panic_hook();
    crate::program::program().check()?;
    let inner = env.clone();
    on_thread(&env, "actinic-node", async move || {
        let at = join::resolve(&inner, &address).await?;
        let token = join::token(&token)?;
        let joined = join::admit(at, &token, JoinKind::Node).await?;
        let authority =
            joined.authority.ok_or_else(|| Error::connection(format!("{at} did not admit this machine as a node")))?;
        let place = place.unwrap_or_else(|| Place {
            net: Net::Udp,
            listen: SocketAddr::new(join::near(Some(at)).unwrap_or(Ipv4Addr::LOCALHOST.into()), port),
        });
        // Programs on this machine are admitted by a token that the head does not know.
        let local = Token::like(&token).map_err(security)?;
        let tokens = (vec![token], vec![local]);
        let made = make_node(&inner, &options, &place, authority, tokens, joined.host, Some(cache))?;
        registered(&made.process).await?;
        Ok(made)
    })
}

fn make_node(
    env: &Env,
    options: &NodeOptions,
    place: &Place,
    node_authority: NodeAuthority,
    (tokens, local): (Vec<Token>, Vec<Token>),
    gcs: PeerAddr,
    cache: Option<PathBuf>,
) -> Result<Made> {
    let identity = node_authority.issue(env.uuid()).map_err(security)?;
    let (process, endpoint) = new_process(env, options, place, identity)?;
    own_borrower(&process);
    let _ = process.gcs.set(GcsLink::Remote(endpoint.peer(&gcs)));
    // A daemon ends with its cluster; the nodes of a test end with their test.
    let home = cache.is_some().then_some(gcs.id);
    set_cache(&process, cache);
    let raylet = start_raylet(&process, options, place, false, &node_authority, gcs.clone())?;
    let components = Components { raylet: Some(raylet.clone()), gcs: None, home };
    listen(&process, &endpoint, &components);
    let token = tokens.first().cloned();
    if token.is_some() {
        let node = node_authority.clone();
        let server = JoinServer { tokens: Vec::new(), authority: None, node, revision: REVISION, draw: draw(env) };
        Admission::open(&process, server, tokens, local)?;
    }
    Ok(Made { process, raylet: Some(raylet), token, authority: None, node_authority: Some(node_authority), gcs })
}

fn set_cache(process: &Process, cache: Option<PathBuf>) {
    if let Some(cache) = cache {
        process.programs.set_cache(process.env.files(), cache);
    }
}

/// Waits until the GCS knows a node.
async fn registered(process: &Arc<Process>) -> Result<()> {
    let deadline = process.env.now() + Duration::from_secs(5);
    loop {
        if let GcsAnswer::Nodes(rows, _) = ask_gcs(process, AskGcs::Nodes).await?
            && rows.iter().any(|row| row.id == process.id.node)
        {
            return Ok(());
        }
        if process.env.now() > deadline {
            return Err(Error::connection("the head admitted this node and does not list it"));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn new_process(
    env: &Env,
    options: &NodeOptions,
    place: &Place,
    identity: Identity,
) -> Result<(Arc<Process>, Endpoint)> {
    let id = identity.id();
    let endpoint = bind(env, place, identity.clone())?;
    let settings = Settings { id, width: env.machine().cores, store_bytes: options.store_bytes(env) };
    let process = Process::new(&settings, env.clone());
    process.set_endpoint(endpoint.clone(), vec![endpoint.local_addr()]);
    renewal::keep(&process, identity);
    Ok((process, endpoint))
}

/// The owner that stands for a process as a borrower (number 0), where no driver or worker is one from the start.
pub(crate) fn own_borrower(process: &Arc<Process>) {
    process.new_owner(JobId(uuid::Uuid::nil()), Arc::from(""));
}

fn start_raylet(
    process: &Arc<Process>,
    options: &NodeOptions,
    place: &Place,
    head: bool,
    node_authority: &NodeAuthority,
    gcs: PeerAddr,
) -> Result<actix::Addr<Raylet>> {
    let addr = process.address().addrs;
    let ip = addr.first().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), SocketAddr::ip);
    let row = NodeRow {
        id: process.id.node,
        process: process.id,
        addrs: addr,
        bulk_addrs: Vec::new(),
        total: options.total(&process.env, ip)?,
        labels: options.labels.clone(),
        hostname: process.env.machine().hostname,
        pid: process.env.pid(),
        head,
        programs: BTreeSet::new(),
        state: crate::gcs::core::NodeState::Alive,
        death: None,
        started: process.env.now(),
        ended: None,
    };
    // Known before `init()` returns, whenever the raylet's first turn comes.
    process.set_resources(row.id, Some((row.total.clone(), row.total.clone())));
    let slot = Arc::new(OnceLock::new());
    let _ = process.gcs_at.set(gcs.clone());
    let _ = process.signer.set(node_authority.clone());
    let spawner = options.processes.then(|| {
        let listen = SocketAddr::new(place.listen.ip(), 0);
        Spawner::new(Arc::clone(process), node_authority.clone(), gcs, listen, Arc::clone(&slot), options)
    });
    let raylet = Raylet::new(Arc::clone(process), row.total.clone(), spawner).start();
    if let Some(GcsLink::Local(gcs)) = process.gcs.get() {
        gcs.do_send(LocalRaylet(raylet.clone()));
    }
    // Now, and not in the raylet's first turn: who asks a GCS of this process from here on is told of the node.
    process.tell_gcs(ToGcs::RegisterNode { row: Box::new(row), peer: process.address() });
    let _ = slot.set(raylet.clone());
    let _ = process.raylet.set(RayletLink::Local(raylet.clone()));
    Ok(raylet)
}

/// A driver's job on a running process: its owner, known to the GCS and the raylet.
pub(crate) fn begin_job(process: &Arc<Process>, namespace: Option<String>) -> Arc<Owner> {
    let job = JobId(process.env.uuid());
    let namespace = namespace.unwrap_or_else(|| process.env.uuid().simple().to_string());
    let owner = process.new_owner(job, Arc::from(namespace.as_str()));
    let row = JobRow {
        id: job,
        driver: owner.id,
        namespace,
        entry: process.env.program().map(|path| path.display().to_string()).unwrap_or_default(),
        program: crate::program::identity().to_owned(),
        started: process.env.now(),
        ended: None,
    };
    if process.raylet.get().is_some_and(|raylet| matches!(raylet, RayletLink::Remote(_)))
        && let Ok(file) = ProgramFile::of_this_process(process.env.files())
    {
        // Nodes that cannot open it by this process's pid fetch it from here.
        process.programs.add(job, &file);
    }
    process.tell_gcs(ToGcs::JobStarted { row: Box::new(row.clone()), driver: process.address() });
    process.tell_raylet(process.id.node, ToRaylet::JobStarted { row: Box::new(row) });
    owner
}

/// A driver in a process of its own, attached to a node by its raylet.
pub(crate) fn driver(
    env: Env,
    place: Place,
    identity: Identity,
    host: PeerAddr,
    gcs: Option<PeerAddr>,
) -> Result<Starting> {
    crate::worker::job::install_panic_hook();
    crate::program::program().check()?;
    let inner = env.clone();
    begin_on_thread(&env, "actinic-driver", async move || {
        let (process, gcs_known) = (attached(&inner, &place, identity, &host)?, gcs);
        let gcs = attach(&process, &host).await?;
        let gcs = gcs_known.unwrap_or(gcs);
        let _ = process.gcs.set(GcsLink::Remote(process.endpoint()?.peer(&gcs)));
        Ok(Made { process, raylet: None, token: None, authority: None, node_authority: None, gcs })
    })
}

/// Joins a cluster by the address of one of its nodes: a driver, or a tool, which has no job.
pub(crate) fn join_cluster(env: Env, address: String, token: String, kind: JoinKind) -> Result<Running> {
    crate::worker::job::install_panic_hook();
    crate::program::program().check()?;
    let inner = env.clone();
    on_thread(&env, "actinic-driver", async move || {
        let at = join::resolve(&inner, &address).await?;
        let token = join::token(&token)?;
        let joined = join::admit(at, &token, kind).await?;
        let listen = SocketAddr::new(join::near(Some(at)).unwrap_or(Ipv4Addr::LOCALHOST.into()), 0);
        let place = Place { net: Net::Udp, listen };
        let process = attached(&inner, &place, joined.identity, &joined.host)?;
        let gcs = match kind {
            JoinKind::Driver => attach(&process, &joined.host).await?,
            _ => who_is_gcs(&process, &joined.host).await?,
        };
        let _ = process.gcs.set(GcsLink::Remote(process.endpoint()?.peer(&gcs)));
        Ok(Made { process, raylet: None, token: Some(token), authority: None, node_authority: None, gcs })
    })
}

/// A process without a raylet of its own, which belongs to the node at `host`.
fn attached(env: &Env, place: &Place, identity: Identity, host: &PeerAddr) -> Result<Arc<Process>> {
    let (process, endpoint) = new_process(env, &NodeOptions::default(), place, identity)?;
    if let Some(at) = host.addrs.first() {
        let _ = process.relay.set((host.id, *at));
    }
    let _ = process.raylet.set(RayletLink::Remote(endpoint.peer(host)));
    listen(&process, &endpoint, &Components { home: Some(host.id), ..Components::default() });
    Ok(process)
}

/// Attaches a driver to its raylet, which says where the GCS is and what the nodes have.
async fn attach(process: &Arc<Process>, host: &PeerAddr) -> Result<PeerAddr> {
    let question = AskRaylet::Attach { peer: process.address(), offer: Offer::of_this_process(&process.env) };
    let RayletAnswer::Attached { gcs, nodes } = ask_host(process, host, &question).await? else {
        return Err(Error::connection("the node answered something else"));
    };
    process.replace_resources(nodes);
    process.watch(host);
    Ok(gcs)
}

async fn who_is_gcs(process: &Arc<Process>, host: &PeerAddr) -> Result<PeerAddr> {
    match ask_host(process, host, &AskRaylet::Gcs).await? {
        RayletAnswer::Gcs(gcs) => Ok(gcs),
        _ => Err(Error::connection("the node answered something else")),
    }
}

async fn ask_host(process: &Arc<Process>, host: &PeerAddr, question: &AskRaylet) -> Result<RayletAnswer> {
    let asked = process.endpoint()?.peer(host).ask(RAYLET, question, join::DEADLINE).await;
    asked.map_err(|error| Error::connection(format!("the node did not answer: {error}")))
}

/// Runs a worker process until its raylet ends it.
pub(crate) fn run_worker(boot: Boot) -> Result<()> {
    crate::worker::job::install_panic_hook();
    let env = Env::real();
    crate::worker::entry::die_with_parent(&env)
        .map_err(|error| Error::connection(format!("no thread could be started: {error}")))?;
    let inner = env.clone();
    let mut running = on_thread(&env, "actinic-worker", async move || {
        let place = Place { net: Net::Udp, listen: boot.listen };
        let options = NodeOptions { object_store_memory: Some(boot.store_bytes), ..NodeOptions::default() };
        let (process, endpoint) = new_process(&inner, &options, &place, boot.identity)?;
        let raylet: Peer = endpoint.peer(&boot.raylet);
        let _ = process.gcs.set(GcsLink::Remote(endpoint.peer(&boot.gcs)));
        let _ = process.raylet.set(RayletLink::Remote(raylet.clone()));
        process.set_store_peer(raylet);
        if let Some(path) = &boot.progress {
            match crate::worker::progress::Progress::open(inner.files(), path) {
                // A new process: nobody else sets it.
                Ok(progress) => drop(process.progress.set(progress)),
                Err(error) => tracing::warn!(path, %error, "the page of this worker's progress cannot be opened"),
            }
        }
        let _ = process.on_crash.set(Box::new(|| crate::worker::entry::end_now()));
        // The first owner of a process stands for it as a borrower; it is also what its tasks submit with.
        let host = Host::new(Arc::clone(&process), boot.worker, boot.job, Arc::from(boot.namespace.as_str()), None);
        // So does a thread that its tasks start.
        crate::api::scope::add(Arc::clone(host.owner()));
        let slot = TaskSlot::new(host, Arc::clone(&process.pool));
        process.keep_slot(&slot);
        listen(&process, &endpoint, &Components { home: Some(boot.raylet.id), ..Components::default() });
        let program = crate::program::identity().to_owned();
        let hello =
            ToRaylet::Hello { peer: process.address(), worker: Some(boot.worker), pid: process.env.pid(), program };
        process.tell_raylet(process.id.node, hello);
        Ok(Made { process, raylet: None, token: None, authority: None, node_authority: None, gcs: boot.gcs })
    })?;
    if let Some(ended) = running.take_ended() {
        // It ends when its raylet is gone or says so; `stop` is never asked here.
        wait_for(&ended, None, || env.now());
    }
    Ok(())
}
