//! Nodes that outlive a program, and commands that look at a cluster: what the `actinic` command is made of.
//!
//! A program does not need this: it calls [`init`](crate::init).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use actinic_transport::{Authority, ClusterId, JoinKind, Net, PeerAddr, Token};
use serde::{Deserialize, Serialize};

use crate::api::cluster::NodeInfo;
use crate::api::error::{Error, Result};
use crate::api::named::{all_actors, ask_gcs};
use crate::env::Env;
use crate::protocol::{AskGcs, GcsAnswer, TokenWish};
use crate::resources::ResourceSet;
use crate::start::{self, NodeOptions, Place, Running};

pub use crate::start::local;

/// What a node offers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Logical CPUs; default the machine's.
    pub num_cpus: Option<f64>,
    /// Logical GPUs; default those that NVIDIA's driver shows, less what `CUDA_VISIBLE_DEVICES` hides.
    pub num_gpus: Option<f64>,
    /// Bytes of memory to schedule by.
    pub memory: Option<f64>,
    /// Custom resources.
    pub resources: BTreeMap<String, f64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Bytes of the object store.
    pub object_store_memory: Option<u64>,
}

/// As what a node is started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Role {
    /// The head of a new cluster.
    Head {
        /// The token that admits others; default a new one.
        token: Option<String>,
        /// The port; 0 for any.
        port: u16,
    },
    /// A further node of a cluster.
    Join {
        /// Where the head listens.
        address: String,
        /// The cluster's token.
        token: String,
        /// The port; 0 for any.
        port: u16,
    },
}

/// Everything that a node is started with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// As what.
    pub role: Role,
    /// With what.
    pub resources: Resources,
    /// The address to listen on; default the one that the default route (or the head) is reached from.
    pub ip: Option<IpAddr>,
    /// Where the nodes of this machine keep their state.
    pub base: PathBuf,
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    running: Running,
    claim: local::Claim,
    entry: local::Entry,
    ends: Mutex<Receiver<String>>,
    ended: Sender<String>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({:?})", self.process)
    }
}

impl Node {
    /// Starts a node in this process.
    ///
    /// # Errors
    ///
    /// `Connection` if it cannot listen, or cannot reach its cluster, or has no directory; `Unauthorized` for a wrong
    /// token; `VersionMismatch` for a cluster of another wire revision; `InvalidArgument` for resources that are none.
    pub fn start(settings: &Settings, claim: local::Claim) -> Result<Node> {
        let env = Env::real();
        if let Some(ip) = settings.ip.filter(IpAddr::is_unspecified) {
            return Err(Error::invalid_argument(format!(
                "{ip} is no address that other machines can reach this one at"
            ))
            .remedy("name one with --node-ip-address, or leave it out: then it is the default route's"));
        }
        let mut options = NodeOptions {
            num_cpus: settings.resources.num_cpus,
            num_gpus: settings.resources.num_gpus,
            memory: settings.resources.memory,
            resources: settings.resources.resources.clone().into_iter().collect(),
            labels: BTreeMap::new(),
            object_store_memory: settings.resources.object_store_memory,
            processes: true,
            early: false,
            log_level: None,
            certificate_life: None,
            hello_within: None,
        };
        for (key, value) in settings.resources.labels.clone() {
            options.add_label(key, value)?;
        }
        let cache = claim.dir.join("programs");
        let running = match &settings.role {
            Role::Head { token, port } => {
                let ip = settings.ip.or_else(start::join::own_address).unwrap_or(Ipv4Addr::LOCALHOST.into());
                let place = Place { net: Net::Udp, listen: SocketAddr::new(ip, *port) };
                let admits = token.as_deref().map(|token| known_authority(&settings.base, token)).transpose()?;
                let running = start::head(env, options, place, admits, Some(cache))?;
                start::own_borrower(&running.process);
                running
            }
            Role::Join { address, token, port } => {
                let listen = settings.ip.map(|ip| SocketAddr::new(ip, *port));
                let place = listen.map(|listen| Place { net: Net::Udp, listen });
                start::join_node(env, options, (place, *port), address.clone(), token.clone(), cache)?
            }
        };
        let process = &running.process;
        let (ended, ends) = channel();
        let tell = ended.clone();
        // Set once, here.
        let _ = process.on_home_lost.set(Box::new(move |why| drop(tell.send(why.to_owned()))));
        let first = |at: &PeerAddr| at.addrs.first().copied().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        let local = process.admission.get().and_then(|admission| admission.local().map(ToString::to_string));
        let entry = local::Entry {
            pid: process.env.pid(),
            head: matches!(settings.role, Role::Head { .. }),
            address: first(&process.address()),
            head_address: first(&running.gcs),
            cluster: process.id.cluster.to_string(),
            node: process.id.node.to_string(),
            token: local.unwrap_or_default(),
        };
        claim.publish(&entry)?;
        Ok(Node { running, claim, entry, ends: Mutex::new(ends), ended })
    }

    /// What it says of itself to the programs of this machine.
    pub fn entry(&self) -> &local::Entry {
        &self.entry
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.claim.dir
    }

    /// The token that admits other machines.
    pub fn token(&self) -> Option<String> {
        self.running.token.as_ref().map(ToString::to_string)
    }

    /// What makes [`Node::wait`] return, from any thread.
    pub fn ender(&self) -> impl Fn(&str) + Send + 'static {
        let ended = self.ended.clone();
        move |why| drop(ended.send(why.to_owned()))
    }

    /// Waits until the node is to end, and says why: it was asked to, or its cluster is gone.
    pub fn wait(&self) -> String {
        let ends = self.ends.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ends.recv().unwrap_or_default()
    }

    /// Ends it in good order: its workers, its sessions, its directory.
    pub fn stop(mut self) {
        self.running.stop();
        self.claim.remove();
    }
}

/// A token that was made before its cluster: the authority that it names was kept then.
fn known_authority(base: &Path, token: &str) -> Result<(Authority, Vec<Token>)> {
    let token = start::join::token(token)?;
    let authority = Authority::load(base).ok().filter(|authority| authority.fingerprint() == token.authority());
    match authority {
        Some(authority) => Ok((authority, vec![token])),
        None => Err(Error::unauthorized("the token was not made for a head of this machine")
            .remedy("make one with `actinic token create` and the same --state-dir, or start without --token")),
    }
}

/// Whether a head that is started here can be entered with a token: one that [`prepare_token`] made.
pub fn is_prepared(base: &Path, token: &str) -> bool {
    known_authority(base, token).is_ok()
}

/// Makes a token for a head that will be started here later.
///
/// # Errors
///
/// `Connection` if the state directory cannot be used.
pub fn prepare_token(base: &Path) -> Result<String> {
    local::prepare(base)?;
    let unauthorized = |error: actinic_transport::SecurityError| Error::unauthorized(error.to_string());
    let authority = match Authority::load(base) {
        Ok(authority) => authority,
        Err(_) => {
            let authority = Authority::generate(ClusterId(Env::real().uuid())).map_err(unauthorized)?;
            authority.save(base).map_err(unauthorized)?;
            authority
        }
    };
    Ok(Token::generate(&authority).map_err(unauthorized)?.to_string())
}

/// An actor, for `actinic list actors`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ActorRow {
    /// Its id.
    pub id: String,
    /// Its class.
    pub class: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// `DEPENDENCIES_UNREADY`, `PENDING_CREATION`, `ALIVE`, `RESTARTING` or `DEAD`.
    pub state: String,
    /// What it has waited for for a while, in words, if it has no node.
    pub waits_for: Option<String>,
    /// Where it lives.
    pub node: Option<String>,
    /// How often it was restarted.
    pub restarts: u32,
}

/// A job, for `actinic list jobs`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct JobRow {
    /// Its id.
    pub id: String,
    /// `RUNNING` or `ENDED`.
    pub state: String,
    /// The driver's program.
    pub entry: String,
    /// Where its actors' names live.
    pub namespace: String,
    /// The node that its driver is attached to.
    pub node: String,
}

/// A worker, for `actinic list workers`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct WorkerRow {
    /// Its id.
    pub id: String,
    /// Its node.
    pub node: String,
    /// Its process.
    pub pid: u32,
    /// Whether it lives.
    pub alive: bool,
}

/// What waits for the same resources.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Demand {
    /// The resources of each.
    pub resources: std::collections::BTreeMap<String, f64>,
    /// As people read them.
    pub shape: String,
    /// How many workers, or actors.
    pub count: u32,
}

/// What waits on a node.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Load {
    /// The node.
    pub node: String,
    /// Leases that run.
    pub leases: usize,
    /// Requests that wait.
    pub queued: usize,
    /// What they ask for, and how often.
    pub demands: Vec<Demand>,
    /// Bytes of the node's object store that are in use.
    pub stored: u64,
}

/// A command's connection to a cluster.
#[derive(Debug)]
pub struct Tool {
    running: Running,
}

impl Tool {
    /// Connects to the cluster at an address; `"auto"` is the one that was started on this machine.
    ///
    /// # Errors
    ///
    /// Those of [`init`](crate::init) with an address.
    pub fn connect(address: &str, token: Option<String>) -> Result<Tool> {
        let (address, token) = start::connect::find(&Env::real(), address, token)?;
        Tool::join(&address, &token)
    }

    /// Connects to the cluster at an address, with a token.
    ///
    /// # Errors
    ///
    /// Those of [`init`](crate::init) with an address.
    pub fn join(address: &str, token: &str) -> Result<Tool> {
        let running = start::join_cluster(Env::real(), address.to_owned(), token.to_owned(), JoinKind::Tool)?;
        Ok(Tool { running })
    }

    fn on_thread<R: Send + 'static>(&self, ask: impl Future<Output = R> + Send + 'static) -> Result<R> {
        let (tell, hear) = channel();
        self.running.process.spawn(async move { drop(tell.send(ask.await)) });
        hear.recv().map_err(|_| Error::connection("the connection was closed"))
    }

    fn ask(&self, question: AskGcs) -> Result<GcsAnswer> {
        let process = std::sync::Arc::clone(&self.running.process);
        self.on_thread(async move { ask_gcs(&process, question).await })?
    }

    /// Where the head listens.
    pub fn head(&self) -> String {
        self.running.gcs.addrs.first().map(ToString::to_string).unwrap_or_default()
    }

    /// The cluster's id.
    pub fn cluster(&self) -> String {
        self.running.process.id.cluster.to_string()
    }

    /// The nodes, dead ones included.
    ///
    /// # Errors
    ///
    /// `Connection` if the GCS does not answer.
    pub fn nodes(&self) -> Result<Vec<NodeInfo>> {
        crate::api::cluster::node_infos(self.ask(AskGcs::Nodes)?)
    }

    /// The actors, dead ones included.
    ///
    /// # Errors
    ///
    /// `Connection` if the GCS does not answer.
    pub fn actors(&self) -> Result<Vec<ActorRow>> {
        let process = std::sync::Arc::clone(&self.running.process);
        let rows = self.on_thread(async move { all_actors(&process).await })??;
        let row = |row: crate::gcs::core::ActorRow| ActorRow {
            id: row.spec.id.to_string(),
            class: row.spec.class.clone(),
            name: row.spec.name.clone(),
            state: row.state.as_str().to_owned(),
            waits_for: row.waits.as_deref().map(str::to_owned),
            node: row.node.map(|node| node.to_string()),
            restarts: row.restarts,
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// What actors that no node has room for wait for.
    ///
    /// # Errors
    ///
    /// `Connection` if the GCS does not answer.
    pub fn demands(&self) -> Result<Vec<Demand>> {
        let GcsAnswer::Demands(demands) = self.ask(AskGcs::Demands)? else { return Err(otherwise()) };
        Ok(demands.into_iter().map(demand).collect())
    }

    /// The jobs, ended ones included.
    ///
    /// # Errors
    ///
    /// `Connection` if the GCS does not answer.
    pub fn jobs(&self) -> Result<Vec<JobRow>> {
        let GcsAnswer::Jobs(rows) = self.ask(AskGcs::Jobs)? else { return Err(otherwise()) };
        let row = |row: crate::protocol::JobRow| JobRow {
            id: row.id.to_string(),
            state: if row.ended.is_some() { "ENDED" } else { "RUNNING" }.to_owned(),
            entry: row.entry,
            namespace: row.namespace,
            node: row.driver.process.node.to_string(),
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// The workers of all nodes that live, and what waits on each node.
    ///
    /// # Errors
    ///
    /// `Connection` if the GCS does not answer; a node that does not is left out.
    pub fn workers(&self) -> Result<(Vec<WorkerRow>, Vec<Load>)> {
        let process = std::sync::Arc::clone(&self.running.process);
        let states = self.on_thread(async move { crate::api::usage::states(&process).await })??;
        let (mut workers, mut loads) = (Vec::new(), Vec::new());
        for (node, state) in states {
            let node = node.to_string();
            let row = |(id, pid, alive): (crate::WorkerId, u32, bool)| WorkerRow {
                id: id.to_string(),
                node: node.clone(),
                pid,
                alive,
            };
            workers.extend(state.workers.into_iter().map(row));
            let demands = state.demands.into_iter().map(demand).collect();
            loads.push(Load { node, leases: state.leases, queued: state.queued, demands, stored: state.stored });
        }
        Ok((workers, loads))
    }

    fn tokens(&self, wish: TokenWish) -> Result<Vec<String>> {
        let GcsAnswer::Tokens(tokens) = self.ask(AskGcs::Tokens(wish))? else { return Err(otherwise()) };
        Ok(tokens?.iter().map(ToString::to_string).collect())
    }

    /// The tokens that admit, the newest first.
    ///
    /// # Errors
    ///
    /// `Connection` if the GCS does not answer.
    pub fn show_tokens(&self) -> Result<Vec<String>> {
        self.tokens(TokenWish::Show)
    }

    /// Makes another token.
    ///
    /// # Errors
    ///
    /// `Connection` if the GCS does not answer.
    pub fn create_token(&self) -> Result<String> {
        self.tokens(TokenWish::Create)?.into_iter().next().ok_or_else(otherwise)
    }

    /// Takes a token back: it admits nobody from now on. Whoever was admitted by it stays.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the cluster does not know it.
    pub fn revoke_token(&self, token: &str) -> Result<()> {
        self.tokens(TokenWish::Revoke(start::join::token(token)?)).map(drop)
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        self.running.stop();
    }
}

fn demand((set, count): (ResourceSet, u32)) -> Demand {
    Demand { resources: set.to_map(), shape: set.to_string(), count }
}

fn otherwise() -> Error {
    Error::connection("the GCS answered something else")
}

/// The variable that names its node in a worker's environment.
pub const WORKER_NODE: &str = crate::raylet::spawn::NODE;
