//! The raylet's shell, in a cluster in virtual time.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{Lane, NodeId};

use crate::api::cluster::Cluster;
use crate::api::named::ask_gcs;
use crate::env::{Env, sim};
use crate::ids::OwnerId;
use crate::protocol::damage::samples::{self, spec};
use crate::protocol::workers::ToWorker;
use crate::protocol::{
    ActorRun, ActorSpec, ActorTraits, AskGcs, AskRaylet, GcsAnswer, JobRow, LeaseId, LeaseRequest, NodeView, RAYLET,
    RayletAnswer, ToGcs, ToRaylet, WORKER,
};
use crate::raylet::core::{Purpose, Scheduling};
use crate::raylet::{AskState, ChildrenLeft, DefaultProgram, Shutdown};
use crate::resources::{Quantity, ResourceSet};
use crate::start::{self, NodeOptions, Place};
use crate::testing::eventually;

fn cpus(count: u32) -> Quantity {
    Quantity::whole(count)
}

fn options() -> NodeOptions {
    NodeOptions { num_cpus: Some(2.0), ..NodeOptions::default() }
}

/// Whoever joins is taken to be free; a row that is spread again says nothing of what is free.
#[test]
fn a_row_that_is_spread_again_frees_nothing() {
    sim::run(1, |env| async move {
        let cluster = Cluster::embedded(env.clone(), options(), None, Place::of(&env)).unwrap();
        let (authority, gcs, raylet) = cluster.with_running(|running| {
            let running = running.unwrap();
            (running.authority.clone().unwrap(), running.gcs.clone(), running.raylet.clone().unwrap())
        });
        let id = NodeId(env.uuid());
        let signer = authority.node(id).unwrap();
        let _node = start::node(env.clone(), options(), Place::of(&env), signer, None, gcs).unwrap();
        let process = Arc::clone(&cluster.owner().process);
        assert!(eventually(Duration::from_secs(10), || process.knows_node(id)).await);
        let free = |process: &crate::process::Process| {
            let all = process.node_resources();
            all.into_iter().find(|(node, ..)| *node == id).map(|(_, total, free)| (total.cpu(), free.cpu()))
        };
        assert_eq!(free(&process), Some((cpus(2), cpus(2))), "nothing runs there");
        let busy = NodeView { node: id, version: 99, available: ResourceSet::cpus(cpus(1)), queued: 0 };
        raylet.tell(ToRaylet::Views(vec![busy]));
        let GcsAnswer::Nodes(rows, ..) = ask_gcs(&process, AskGcs::Nodes).await.unwrap() else { panic!() };
        raylet.tell(ToRaylet::Nodes(rows));
        raylet.send(AskState).await.unwrap();
        assert_eq!(free(&process), Some((cpus(2), cpus(1))));
    });
}

/// Heartbeats go by another lane than the word that the node leaves, so one may come after it.
#[test]
fn a_heartbeat_that_comes_after_its_node_has_left_is_nothing() {
    sim::run(2, |env| async move {
        let cluster = Cluster::embedded(env.clone(), options(), None, Place::of(&env)).unwrap();
        let (authority, gcs) = cluster.with_running(|running| {
            let running = running.unwrap();
            (running.authority.clone().unwrap(), running.gcs.clone())
        });
        let id = NodeId(env.uuid());
        let signer = authority.node(id).unwrap();
        let mut node = start::node(env.clone(), options(), Place::of(&env), signer, None, gcs).unwrap();
        let process = Arc::clone(&cluster.owner().process);
        let state = async || {
            let GcsAnswer::Nodes(rows, ..) = ask_gcs(&process, AskGcs::Nodes).await.unwrap() else { panic!() };
            rows.into_iter().find(|row| row.id == id).map(|row| row.state)
        };
        assert!(eventually(Duration::from_secs(10), || process.knows_node(id)).await);
        let ended = node.take_ended().unwrap();
        node.ask_stop();
        // What it ends with is told at once; the heartbeat crosses it.
        assert!(eventually(Duration::from_secs(10), || !process.knows_node(id)).await);
        for _ in 0..3 {
            process.tell_gcs(ToGcs::Heartbeat { node: id });
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(state().await, Some(crate::gcs::core::NodeState::Left));
        }
        assert!(eventually(Duration::from_secs(10), || ended.is_done()).await);
    });
}

/// An actor that this node has room for.
fn placeable() -> ActorSpec {
    let spec = spec();
    let (shape, hold) = (ResourceSet::cpus(cpus(1)), ResourceSet::new());
    ActorSpec { traits: Arc::new(ActorTraits { shape, hold, ..(*spec.traits).clone() }), ..(*spec).clone() }
}

/// An owner may end while its process lives: what it has on other nodes is given up there too.
#[test]
fn what_an_owner_that_ends_has_on_another_node_is_given_up() {
    sim::run(6, |env| async move {
        let cluster = Cluster::embedded(env.clone(), options(), None, Place::of(&env)).unwrap();
        let raylet = cluster.with_running(|running| running.unwrap().raylet.clone().unwrap());
        let owner = OwnerId { number: 77, ..cluster.owner().id };
        let (scheduling, purpose, shape) = (Scheduling::Default, Purpose::Tasks, ResourceSet::cpus(cpus(1_000)));
        let ask = LeaseRequest { from: owner, scheduling, purpose, shape, fails: false, ..samples::request() };
        raylet.tell(ToRaylet::Request(ask));
        assert_eq!(raylet.send(AskState).await.unwrap().queued, 1);
        raylet.tell(ToRaylet::OwnerGone { owner });
        assert_eq!(raylet.send(AskState).await.unwrap().queued, 0);
    });
}

/// The GCS's kill goes by the urgent lane, and may overtake its word to start the actor.
#[test]
fn an_actor_whose_kill_came_first_is_not_placed() {
    sim::run(3, |env| async move {
        let cluster = Cluster::embedded(env.clone(), options(), None, Place::of(&env)).unwrap();
        let raylet = cluster.with_running(|running| running.unwrap().raylet.clone().unwrap());
        let run = ActorRun { actor: spec().id, incarnation: 0, attempt: 1 };
        let place = async |run| {
            let spec = Arc::new(placeable());
            raylet.tell(ToRaylet::PlaceActor { run, spec });
            let state = raylet.send(AskState).await.unwrap();
            state.leases > 0 || state.queued > 0
        };
        raylet.tell(ToRaylet::EndActor { run, kill: true });
        assert!(!place(run).await);
        assert!(place(ActorRun { incarnation: 1, ..run }).await, "another run is another");
    });
}

/// What its end interrupts is tried again elsewhere.
#[test]
fn a_node_that_leaves_takes_nothing_on() {
    sim::run(5, |env| async move {
        let cluster = Cluster::embedded(env.clone(), options(), None, Place::of(&env)).unwrap();
        let raylet = cluster.with_running(|running| running.unwrap().raylet.clone().unwrap());
        let run = ActorRun { actor: spec().id, incarnation: 0, attempt: 1 };
        let spec = Arc::new(placeable());
        raylet.do_send(Shutdown { killed: false });
        raylet.tell(ToRaylet::PlaceActor { run, spec });
        let state = raylet.send(AskState).await.unwrap();
        assert_eq!((state.leases, state.queued), (0, 0));
    });
}

/// A raylet's kill goes by the urgent lane to a worker process, and may overtake its word to start the actor.
#[test]
fn an_actor_whose_kill_came_first_does_not_begin() {
    sim::run(4, |env| async move {
        let cluster = Cluster::embedded(env.clone(), options(), None, Place::of(&env)).unwrap();
        let process = Arc::clone(&cluster.owner().process);
        let own = process.endpoint().unwrap().peer(&process.address());
        let run = ActorRun { actor: spec().id, incarnation: 0, attempt: 1 };
        let tell = async |lane, message: ToWorker| {
            own.tell(lane, WORKER, &message).unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let killed = || process.killed_runs.has(run);
        tell(Lane::Urgent, ToWorker::EndActor { run, kill: false }).await;
        assert!(!killed(), "what ends after its calls is alive");
        tell(Lane::Urgent, ToWorker::EndActor { run, kill: true }).await;
        assert!(killed());
        let lease = LeaseId { node: process.id.node, number: 1 };
        tell(Lane::Ordered, ToWorker::StartActor { run, spec: spec(), lease }).await;
        assert!(!killed(), "the start was met by its kill");
        assert!(process.actor(crate::actor::host::number(run.actor)).is_none());
    });
}

fn job_row(env: &Env, driver: crate::ids::OwnerId) -> JobRow {
    let id = crate::ids::JobId(env.uuid());
    let (entry, program, namespace) = (String::new(), String::new(), "of the job".to_owned());
    JobRow { id, driver, namespace, entry, program, task_max_retries: 3, started: Duration::ZERO, ended: None }
}

/// A driver tells its raylet of its job on a connection that stands, and the GCS on one that it has yet to make: the raylet
/// says so too before it asks anything of the job.
#[test]
fn a_raylet_tells_the_gcs_of_its_drivers_jobs() {
    sim::run(6, |env| async move {
        let cluster = Cluster::embedded(env.clone(), options(), None, Place::of(&env)).unwrap();
        let process = Arc::clone(&cluster.owner().process);
        let raylet = process.endpoint().unwrap().peer(&process.address());
        let attach = AskRaylet::Attach { peer: process.address(), offer: None };
        let answer: RayletAnswer = raylet.ask(RAYLET, &attach, Duration::from_secs(10)).await.unwrap();
        assert!(matches!(answer, RayletAnswer::Attached { .. }));
        let row = job_row(&env, cluster.owner().id);
        let job = row.id;
        raylet.tell(Lane::Ordered, RAYLET, &ToRaylet::JobStarted { row: Box::new(row) }).unwrap();
        let (found, _) = process.job_and_holders(job).await.unwrap().expect("the GCS knows it");
        assert_eq!(found.namespace, "of the job");
    });
}

/// A lease for the first task of a job may come to a node before the GCS has heard of the job: it is asked again.
#[test]
fn a_job_that_the_gcs_does_not_know_yet_is_asked_for_again() {
    sim::run(7, |env| async move {
        let cluster = Cluster::embedded(env.clone(), options(), None, Place::of(&env)).unwrap();
        let process = Arc::clone(&cluster.owner().process);
        let begin = env.now();
        let unknown = crate::ids::JobId(env.uuid());
        assert!(process.job_and_holders(unknown).await.unwrap().is_none());
        assert!(env.now() - begin >= Duration::from_secs(3), "not at once");
        let row = job_row(&env, cluster.owner().id);
        let (job, driver) = (row.id, process.address());
        let teller = Arc::clone(&process);
        process.spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            teller.tell_gcs(ToGcs::JobStarted { row: Box::new(row), driver });
        });
        assert!(process.job_and_holders(job).await.unwrap().is_some());
    });
}

/// A process that hangs before it introduces itself is ended, and those who wait for it hear of that.
#[test]
#[allow(clippy::disallowed_methods)] // the test's own runtime, with processes that are real
fn a_worker_process_that_says_nothing_is_given_up() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let hello_within = Some(Duration::from_millis(200));
        let options = NodeOptions { processes: true, early: true, hello_within, ..options() };
        let cluster = Cluster::embedded(Env::real(), options, None, Place::loopback()).unwrap();
        let raylet = cluster.with_running(|running| running.unwrap().raylet.clone().unwrap());
        // It reads what it is given until that ends, and says nothing before.
        raylet.do_send(DefaultProgram("/usr/bin/wc".into()));
        let row = job_row(&cluster.owner().process.env, cluster.owner().id);
        let (job, wide) = (row.id, placeable());
        let traits = Arc::new(ActorTraits { job, ..(*wide.traits).clone() });
        let run = ActorRun { actor: wide.id, incarnation: 0, attempt: 1 };
        raylet.tell(ToRaylet::JobStarted { row: Box::new(row) });
        raylet.tell(ToRaylet::PlaceActor { run, spec: Arc::new(ActorSpec { traits, ..wide }) });
        let seen = std::cell::Cell::new(false);
        let given_up = async || {
            let state = raylet.send(AskState).await.unwrap();
            let waits = state.leases + state.queued > 0;
            seen.set(seen.get() || waits);
            // The cluster's own job may have one.
            seen.get() && !waits && raylet.send(ChildrenLeft).await.unwrap() <= 1
        };
        assert!(eventually(Duration::from_secs(60), given_up).await);
        cluster.shutdown().await.unwrap();
    });
}

/// What another node has room for is given back, if it only waits here.
#[test]
fn an_actor_that_waits_is_given_back_and_one_that_was_placed_is_not() {
    sim::run(8, |env| async move {
        let cluster = Cluster::embedded(env.clone(), options(), None, Place::of(&env)).unwrap();
        let raylet = cluster.with_running(|running| running.unwrap().raylet.clone().unwrap());
        let wide = placeable();
        let shape = ResourceSet::cpus(cpus(2));
        let traits = ActorTraits { hold: shape.clone(), shape, ..(*wide.traits).clone() };
        let run = |n| ActorRun { actor: crate::ids::ActorId(uuid::Uuid::from_u128(n)), incarnation: 0, attempt: 1 };
        for n in 1..=2 {
            let traits = Arc::new(traits.clone());
            let spec = Arc::new(ActorSpec { id: run(n).actor, traits, ..wide.clone() });
            raylet.tell(ToRaylet::PlaceActor { run: run(n), spec });
        }
        // One has a place, for which a worker starts.
        raylet.tell(ToRaylet::RecallActor { run: run(1) });
        raylet.tell(ToRaylet::RecallActor { run: run(2) });
        raylet.tell(ToRaylet::RecallActor { run: run(2) });
        let state = raylet.send(AskState).await.unwrap();
        assert_eq!((state.leases, state.queued), (1, 1));
    });
}
