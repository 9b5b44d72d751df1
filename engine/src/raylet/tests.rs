//! The raylet's shell, in a cluster in virtual time.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{Lane, NodeId};

use crate::api::cluster::Cluster;
use crate::api::named::ask_gcs;
use crate::env::sim;
use crate::ids::OwnerId;
use crate::protocol::damage::samples::{self, spec};
use crate::protocol::workers::ToWorker;
use crate::protocol::{
    ActorRun, ActorSpec, ActorTraits, AskGcs, GcsAnswer, LeaseId, LeaseRequest, NodeView, ToGcs, ToRaylet, WORKER,
};
use crate::raylet::core::{Purpose, Scheduling};
use crate::raylet::{AskState, Shutdown};
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
