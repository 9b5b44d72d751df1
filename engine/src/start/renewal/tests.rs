//! Every process of a cluster outlives its certificates.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{
    AskError, Authority, Config, Endpoint, Limits, LinkFaults, NodeId, PeerAddr, Renewal, SecurityError,
};

use crate::api::cluster::Cluster;
use crate::env::{Env, sim};
use crate::process::Process;
use crate::protocol::{AskRaylet, RAYLET, REVISION, RayletAnswer};
use crate::start::{self, NodeOptions, Place, Running};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn options(life: Duration) -> NodeOptions {
    NodeOptions { num_cpus: Some(1.0), certificate_life: Some(life), ..NodeOptions::default() }
}

fn authority_of(cluster: &Cluster) -> Arc<Authority> {
    cluster.with_running(|running| running.unwrap().authority.clone().unwrap())
}

/// An endpoint of the cluster that nobody has spoken with, and that has no raylet.
fn stranger(env: &Env, authority: &Authority, place: Place) -> Endpoint {
    let identity = authority.node(NodeId(env.uuid())).unwrap().issue(env.uuid()).unwrap();
    let config = Config {
        id: identity.id(),
        identity,
        net: place.net,
        listen: place.listen,
        limits: Limits::default(),
        revision: REVISION,
        seed: env.seed(),
    };
    Endpoint::bind(config).unwrap()
}

/// A node of the cluster, and the process of a driver that is attached to it.
async fn node_and_driver(env: &Env, cluster: &Cluster) -> (Running, Arc<Process>) {
    let (authority, gcs) = (authority_of(cluster), cluster.with_running(|running| running.unwrap().gcs.clone()));
    let signer = authority.node(NodeId(env.uuid())).unwrap();
    let identity = signer.issue(env.uuid()).unwrap();
    let node = start::node(env.clone(), options(secs(1)), Place::of(env), signer, None, gcs).unwrap();
    let at = node.process.address();
    let driver = start::driver::attached(env, &Place::of(env), identity, &at).unwrap();
    start::driver::attach(&driver, &at).await.unwrap();
    (node, driver)
}

async fn dials(from: &Endpoint, to: SocketAddr) -> Result<(), String> {
    from.contact(to, secs(5)).await.map(drop).map_err(|error| error.to_string())
}

fn address(process: &Process) -> SocketAddr {
    process.address().addrs[0]
}

#[test]
fn a_cluster_speaks_long_after_its_first_certificates_have_ended() {
    let run = || sim::run(1, long_life);
    assert_eq!(run(), run(), "renewals come at the same times in equal runs");
}

async fn long_life(env: Env) -> u64 {
    let life = secs(120);
    let net = env.world().unwrap().net().clone();
    net.faults(LinkFaults { delay: Duration::from_millis(2), ..LinkFaults::default() });
    let cluster = Cluster::embedded(env.clone(), options(life), None, Place::of(&env)).unwrap();
    let (node, driver) = node_and_driver(&env, &cluster).await;
    let head = Arc::clone(&cluster.owner().process);
    let processes = [&head, &node.process, &driver];
    let session = driver.endpoint().unwrap().known(node.process.id).unwrap();
    tokio::time::sleep(life * 5).await;
    for process in processes {
        let other = stranger(&env, &authority_of(&cluster), Place::of(&env));
        assert_eq!(dials(&other, address(process)).await, Ok(()), "{process:?} is dialled");
        let other = stranger(&env, &authority_of(&cluster), Place::of(&env));
        assert_eq!(dials(process.endpoint().unwrap(), other.local_addr()).await, Ok(()), "{process:?} dials");
    }
    assert_eq!(session.ended(), None, "what stood before stands");
    assert!(head.knows_node(node.process.id.node), "nobody was taken for dead");
    net.trace_hash()
}

#[test]
fn a_raylet_that_could_not_be_asked_in_time_is_asked_again() {
    let life = secs(120);
    sim::run(3, |env| async move {
        let net = env.world().unwrap().net().clone();
        let cluster = Cluster::embedded(env.clone(), options(life), None, Place::of(&env)).unwrap();
        let (node, driver) = node_and_driver(&env, &cluster).await;
        let (a, b) = ([address(&node.process).ip()], [address(&driver).ip()]);
        // Two thirds of the life end while they cannot speak, and longer than a question waits.
        tokio::time::sleep(secs(75)).await;
        net.partition(&a, &b);
        tokio::time::sleep(secs(20)).await;
        net.heal();
        tokio::time::sleep(secs(40)).await;
        let other = stranger(&env, &authority_of(&cluster), Place::of(&env));
        assert_eq!(dials(&other, address(&driver)).await, Ok(()));
    });
}

#[test]
fn a_raylet_signs_for_whoever_asks_and_only_on_its_node() {
    sim::run(2, |env| async move {
        let cluster = Cluster::embedded(env.clone(), options(secs(120)), None, Place::of(&env)).unwrap();
        let (node, driver) = node_and_driver(&env, &cluster).await;
        let asker = driver.endpoint().unwrap();
        let ask = async |raylet: &PeerAddr, public_key: [u8; 32]| -> Result<RayletAnswer, AskError> {
            asker.peer(raylet).ask(RAYLET, &AskRaylet::Renew { public_key }, secs(5)).await
        };
        // The key of a wish that is the node's own: what comes is for the driver that asked.
        let of_node = node.process.signer.get().unwrap().issue(node.process.id.incarnation).unwrap();
        let renewal = Renewal::begin(&of_node).unwrap();
        let RayletAnswer::Renewed(grant) = ask(&node.process.address(), renewal.public_key()).await.unwrap() else {
            panic!("another answer");
        };
        let error: SecurityError = renewal.complete(grant).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
        let refused = ask(&cluster.owner().process.address(), [7; 32]).await.unwrap_err();
        assert!(matches!(&refused, AskError::Refused(text) if text.contains("another node")), "{refused}");
    });
}

/// Lives in a worker process.
struct Worker;

#[actinic::remote]
impl Worker {
    fn new() -> Worker {
        Worker
    }

    fn pid_and_address(&self) -> (u32, SocketAddr) {
        let process = &crate::worker::host::current().unwrap().host.process;
        (process.env.pid(), address(process))
    }

    async fn dial(&self, to: SocketAddr) -> Option<String> {
        let process = Arc::clone(&crate::worker::host::current().unwrap().host.process);
        dials(process.endpoint().unwrap(), to).await.err()
    }
}

#[test]
#[allow(clippy::disallowed_methods)] // the test's own runtime, with a process that is real
fn a_worker_process_outlives_its_certificate() {
    // A worker must have begun within it, on a busy machine too.
    const LIFE: Duration = Duration::from_secs(5);
    let env = Env::real();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = NodeOptions { processes: true, early: true, ..options(LIFE) };
        let cluster = Cluster::embedded(env.clone(), options, None, Place::loopback()).unwrap();
        let authority = authority_of(&cluster);
        let worker = cluster.scope(async { Worker::remote() }).await;
        let (pid, at) = worker.pid_and_address().await.unwrap();
        assert_ne!(pid, env.pid());
        // A certificate names whole seconds.
        tokio::time::sleep(LIFE + secs(1)).await;
        // Its second one is there, or comes soon on a busy machine.
        let mut said = Ok(());
        for _ in 0..20 {
            let (caller, called) =
                (stranger(&env, &authority, Place::loopback()), stranger(&env, &authority, Place::loopback()));
            said = match (dials(&caller, at).await, worker.dial(called.local_addr()).await.unwrap()) {
                (Ok(()), None) => Ok(()),
                wrong => Err(wrong),
            };
            if said.is_ok() {
                break;
            }
            tokio::time::sleep(secs(1)).await;
        }
        assert_eq!(said, Ok(()));
        assert_eq!(worker.pid_and_address().await.unwrap(), (pid, at), "by the session of before");
        cluster.shutdown().await.unwrap();
    });
}
