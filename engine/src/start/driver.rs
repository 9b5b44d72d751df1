//! Drivers, and tools without a job: processes without a raylet of their own, which belong to a node.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use actinic_transport::{Identity, JoinKind, Net, PeerAddr};

use crate::api::error::{Error, Result};
use crate::env::Env;
use crate::gcs::GcsLink;
use crate::ids::JobId;
use crate::net::{Components, listen};
use crate::object_manager::budget::Budget;
use crate::owner::Owner;
use crate::process::Process;
use crate::protocol::{AskRaylet, JobRow, RAYLET, RayletAnswer, ToGcs, ToRaylet};
use crate::raylet::RayletLink;
use crate::start::program_file::{Offer, ProgramFile};
use crate::start::thread::{Made, Running, Starting, begin_on_thread, on_thread};
use crate::start::{NodeOptions, Place, join, new_process};

/// A driver's job on a running process: its owner, known to the GCS and the raylet.
pub(crate) fn begin_job(process: &Arc<Process>, namespace: Option<String>) -> Arc<Owner> {
    let job = JobId(process.env.uuid());
    let namespace = namespace.unwrap_or_else(|| process.env.uuid().simple().to_string());
    let owner = process.new_owner(job, Arc::from(namespace.as_str()));
    process.is_member(&owner);
    let row = JobRow {
        id: job,
        driver: owner.id,
        namespace,
        entry: process.env.program().map(|path| path.display().to_string()).unwrap_or_default(),
        program: crate::program::identity().to_owned(),
        task_max_retries: crate::rt::default_retries(process.env.world().is_some()),
        started: process.env.now(),
        ended: None,
    };
    if process.raylet.get().is_some_and(|raylet| matches!(raylet, RayletLink::Remote(..)))
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
    crate::program::begin()?;
    let inner = env.clone();
    begin_on_thread(&env, "actinic-driver", async move || {
        let (process, gcs_known) = (attached(&inner, &place, identity, &host)?, gcs);
        let gcs = attach(&process, &host).await?;
        let gcs = gcs_known.unwrap_or(gcs);
        let _ = process.gcs.set(GcsLink::Remote(process.endpoint()?.peer(&gcs), Arc::clone(&process.room)));
        Ok(Made { process, raylet: None, token: None, authority: None, node_authority: None, gcs })
    })
}

/// Joins a cluster by the address of one of its nodes: a driver, or a tool, which has no job.
pub(crate) fn join_cluster(env: Env, address: String, token: String, kind: JoinKind) -> Result<Running> {
    crate::worker::job::install_panic_hook();
    crate::program::begin()?;
    let inner = env.clone();
    on_thread(&env, "actinic-driver", async move || {
        let (at, token, joined) = join::enter(&inner, &address, &token, kind).await?;
        let listen = SocketAddr::new(join::near(at).unwrap_or(Ipv4Addr::LOCALHOST.into()), 0);
        let place = Place { net: Net::Udp, listen };
        let process = attached(&inner, &place, joined.identity, &joined.host)?;
        let gcs = match kind {
            JoinKind::Driver => attach(&process, &joined.host).await?,
            _ => who_is_gcs(&process, &joined.host).await?,
        };
        let _ = process.gcs.set(GcsLink::Remote(process.endpoint()?.peer(&gcs), Arc::clone(&process.room)));
        Ok(Made { process, raylet: None, token: Some(token), authority: None, node_authority: None, gcs })
    })
}

/// A process without a raylet of its own, which belongs to the node at `host`.
pub(super) fn attached(env: &Env, place: &Place, identity: Identity, host: &PeerAddr) -> Result<Arc<Process>> {
    let (process, endpoint) = new_process(env, &NodeOptions::default(), place, identity)?;
    if let Some(at) = host.addrs.first() {
        let _ = process.relay.set((host.id, *at));
    }
    let _ = process.raylet.set(RayletLink::Remote(endpoint.peer(host), Arc::clone(&process.room)));
    listen(&process, &endpoint, &Components { home: Some(host.id), ..Components::default() });
    Ok(process)
}

/// Attaches a driver to its raylet, which says where the GCS is and what the nodes have.
pub(super) async fn attach(process: &Arc<Process>, host: &PeerAddr) -> Result<PeerAddr> {
    let question = AskRaylet::Attach { peer: process.address(), offer: Offer::of_this_process(&process.env) };
    let RayletAnswer::Attached { gcs, nodes, budget } = ask_host(process, host, &question).await? else {
        return Err(Error::connection("the node answered something else"));
    };
    // On another machine than its node's, or as another user, a driver counts for itself.
    match budget.map(|place| Budget::open(process.env.files(), &place)) {
        Some(Ok(budget)) => process.store.share(budget),
        Some(Err(error)) => tracing::debug!(%error, "this driver's object store is its own"),
        None => {}
    }
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
