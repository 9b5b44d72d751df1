//! Nodes: a head with the GCS, and those that join it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actinic_transport::{Authority, ClusterId, JoinKind, JoinServer, Net, NodeAuthority, NodeId, PeerAddr, Token};

use crate::api::error::{Error, Result};
use crate::api::named::ask_gcs;
use crate::env::Env;
use crate::gcs::{Gcs, GcsLink, LocalRaylet};
use crate::net::{Components, listen};
use crate::object_manager::budget::Cells;
use crate::process::Process;
use crate::protocol::{AskGcs, GcsAnswer, NodeRow, REVISION, ToGcs};
use crate::raylet::spawn::Spawner;
use crate::raylet::{Raylet, RayletLink, RayletPost};
use crate::start::admission::Admission;
use crate::start::thread::{Made, Running, on_thread};
use crate::start::{NodeOptions, Place, join, new_process, own_borrower, security};

/// Starts a head: a node with the GCS, in this process.
pub(crate) fn head(
    env: Env,
    options: NodeOptions,
    place: Place,
    admits: Option<(Authority, Vec<Token>)>,
    cache: Option<PathBuf>,
) -> Result<Running> {
    crate::worker::job::install_panic_hook();
    crate::program::begin()?;
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
        let gcs = Gcs::begin(Arc::clone(&process));
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
    crate::program::begin()?;
    let inner = env.clone();
    on_thread(&env, "actinic-node", async move || {
        let (at, token, joined) = join::enter(&inner, &address, &token, JoinKind::Node).await?;
        let authority =
            joined.authority.ok_or_else(|| Error::connection(format!("{at} did not admit this machine as a node")))?;
        let place = place.unwrap_or_else(|| Place {
            net: Net::Udp,
            listen: SocketAddr::new(join::near(at).unwrap_or(Ipv4Addr::LOCALHOST.into()), port),
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
    let _ = process.gcs.set(GcsLink::Remote(endpoint.peer(&gcs), Arc::clone(&process.room)));
    // A daemon ends with its cluster; the nodes of a test end with their test.
    let home = cache.is_some().then_some(gcs.id);
    set_cache(&process, cache);
    let raylet = start_raylet(&process, options, place, false, &node_authority, gcs.clone())?;
    let components = Components { raylet: Some(raylet.clone()), gcs: None, home };
    listen(&process, &endpoint, &components);
    if home.is_some() {
        // A head that is killed says no goodbye.
        process.watch(&gcs);
    }
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
        if let GcsAnswer::Nodes(rows, ..) = ask_gcs(process, AskGcs::Nodes).await?
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

/// Lets the node's processes count together what they keep; in a simulation a node is one process.
fn share_store(process: &Process) {
    if process.env.world().is_some() {
        return;
    }
    match Cells::create(process.env.files(), process.id.incarnation.as_u128(), process.store.capacity()) {
        Ok(cells) => process.store.lend_from(cells),
        Err(error) => tracing::warn!(%error, "each process of this node has an object store's capacity for itself"),
    }
}

fn start_raylet(
    process: &Arc<Process>,
    options: &NodeOptions,
    place: &Place,
    head: bool,
    node_authority: &NodeAuthority,
    gcs: PeerAddr,
) -> Result<RayletPost> {
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
    share_store(process);
    let slot = Arc::new(OnceLock::new());
    let _ = process.gcs_at.set(gcs.clone());
    let _ = process.signer.set(node_authority.clone());
    let spawner = options.processes.then(|| {
        let listen = SocketAddr::new(place.listen.ip(), 0);
        Spawner::new(Arc::clone(process), node_authority.clone(), gcs, listen, Arc::clone(&slot), options)
    });
    let raylet = Raylet::begin(Arc::clone(process), row.total.clone(), spawner);
    if let Some(GcsLink::Local(gcs)) = process.gcs.get() {
        gcs.do_send(LocalRaylet(raylet.clone()));
    }
    // Now, and not in the raylet's first turn: who asks a GCS of this process from here on is told of the node.
    process.tell_gcs(ToGcs::RegisterNode { row: Box::new(row), peer: process.address() });
    let _ = slot.set(raylet.addr().clone());
    let _ = process.raylet.set(RayletLink::Local(raylet.clone()));
    Ok(raylet)
}
