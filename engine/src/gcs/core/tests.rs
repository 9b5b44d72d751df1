//! A GCS core with raylets played by hand.

/// A spec that is like another but for these fields.
macro_rules! with {
    ($spec:expr; $($field:ident $(: $value:expr)?),* $(,)?) => {{
        let mut spec = $spec;
        $(spec.$field = with!(@ $field $(, $value)?);)*
        spec
    }};
    (@ $field:ident) => { $field };
    (@ $field:ident, $value:expr) => { $value };
}

mod deaths;
mod model;
mod names;
mod nodes;
mod placing;
mod programs;
mod random;
mod scale;
mod storm;
mod subscriptions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{ActorNo, Address, ClusterId, NodeId, ProcessId};
use bytes::Bytes;
use uuid::Uuid;

use super::table::Waiting;
use super::*;
use crate::ids::{ActorId, JobId, ObjectId, OwnerId, TaskId, WorkerId};
use crate::resources::{Quantity, ResourceSet};

fn node_id(n: u128) -> NodeId {
    NodeId(Uuid::from_u128(n))
}

fn process(node: u128, incarnation: u128) -> ProcessId {
    ProcessId {
        cluster: ClusterId(Uuid::from_u128(1)),
        node: node_id(node),
        incarnation: Uuid::from_u128(node << 64 | incarnation),
    }
}

fn owner(node: u128, incarnation: u128) -> OwnerId {
    OwnerId { process: process(node, incarnation), number: 0 }
}

fn actor_id(n: u128) -> ActorId {
    ActorId(Uuid::from_u128(0xac << 64 | n))
}

fn job_id(n: u128) -> JobId {
    JobId(Uuid::from_u128(0x10b << 64 | n))
}

fn cpus(amount: u32) -> ResourceSet {
    ResourceSet::cpus(Quantity::whole(amount))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn crash() -> ActorEnd {
    ActorEnd::WorkerDied { detail: "signal 9".to_owned() }
}

fn gone() -> NodeDeath {
    NodeDeath::Unreachable { detail: "port unreachable".to_owned() }
}

fn node_row(n: u128, cpu: u32) -> NodeRow {
    NodeRow {
        id: node_id(n),
        process: process(n, 0),
        addrs: vec![([127, 0, 0, 1], 7000 + n as u16).into()],
        bulk_addrs: Vec::new(),
        total: cpus(cpu),
        labels: BTreeMap::new(),
        hostname: format!("host{n}"),
        pid: n as u32,
        head: n == 1,
        programs: BTreeSet::new(),
        state: NodeState::Alive,
        death: None,
        started: Duration::ZERO,
        ended: None,
    }
}

fn job_row(n: u128, driver: OwnerId) -> JobRow {
    JobRow {
        id: job_id(n),
        driver,
        namespace: "ns".to_owned(),
        entry: "prog --flag".to_owned(),
        program: "c0ffee".to_owned(),
        task_max_retries: 3,
        started: Duration::ZERO,
        ended: None,
    }
}

/// A default actor of job 1, made by its driver: needs a CPU to be placed, holds none.
fn spec(n: u128) -> ActorSpec {
    let traits = ActorTraits {
        job: job_id(1),
        owner: owner(1, 1),
        outlives_job: false,
        class: "Counter".to_owned(),
        path: String::new(),
        name: None,
        namespace: "ns".to_owned(),
        job_namespace: "ns".into(),
        detached: false,
        get_if_exists: false,
        max_restarts: 0,
        max_task_retries: 0,
        max_pending_calls: -1,
        task_events: true,
        max_concurrency: 1,
        shape: cpus(1),
        hold: ResourceSet::default(),
        scheduling: Scheduling::Default,
        fails: false,
        isolation: Isolation::Process,
    };
    let (id, creation) = (actor_id(n), Bytes::from_static(b"args"));
    ActorSpec { id, lifeline: Lifeline::None, creation, traits: Arc::new(traits) }
}

/// A spec with a name.
fn named(n: u128, name: &str) -> ActorSpec {
    with!(spec(n); name: Some(name.to_owned()))
}

/// A GCS, the time, and what it asked for last.
struct World {
    core: GcsCore,
    now: Duration,
    out: Vec<Action>,
    replies: u64,
}

impl World {
    /// A GCS, `nodes` nodes with 4 CPUs (1 is the head), and job 1, whose driver is process 1 of node 1.
    fn new(nodes: u128) -> World {
        let mut world = World { core: GcsCore::new(Config::default()), now: ms(1000), out: Vec::new(), replies: 0 };
        for n in 1..=nodes {
            world.tell(Event::RegisterNode { row: Box::new(node_row(n, 4)) });
        }
        world.tell(Event::JobStarted { row: Box::new(job_row(1, owner(1, 1))) });
        world
    }

    /// One event; `out` is what it led to.
    fn tell(&mut self, event: Event) -> &mut World {
        self.out.clear();
        self.core.handle(self.now, event, &mut self.out);
        check(&self.core);
        self
    }

    fn pass(&mut self, time: Duration) -> &mut World {
        self.now += time;
        self.tell(Event::Tick)
    }

    /// Time passes while all nodes that are up send heartbeats.
    fn pass_in_health(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = (self.now + ms(500)).min(end);
            let up: Vec<NodeId> = self.core.up_nodes().collect();
            for node in up {
                self.core.handle(self.now, Event::Heartbeat { node }, &mut self.out);
            }
            self.core.handle(self.now, Event::Tick, &mut self.out);
        }
    }

    fn reply_id(&mut self) -> ReplyId {
        self.replies += 1;
        ReplyId(self.replies)
    }

    fn create(&mut self, spec: ActorSpec) -> Reply {
        let reply = self.reply_id();
        self.tell(Event::CreateActor { spec: Arc::new(spec), reply });
        self.the_reply(reply)
    }

    fn the_reply(&self, id: ReplyId) -> Reply {
        let mut found = self.out.iter().filter_map(|action| match action {
            Action::Reply { to, reply } if *to == id => Some(reply.clone()),
            _ => None,
        });
        let reply = found.next().expect("every request is answered at once");
        assert!(found.next().is_none(), "a request is answered once");
        reply
    }

    /// Creates an actor, and brings it to life where it was placed.
    fn create_alive(&mut self, spec: ActorSpec) -> (NodeId, ActorRun) {
        self.create(spec);
        let (node, run) = self.placed().pop().expect("the actor was placed");
        self.ready(node, run);
        (node, run)
    }

    fn ready(&mut self, node: NodeId, run: ActorRun) -> &mut World {
        self.tell(Event::ActorReady { run, node, seat: seat(node, run) })
    }

    fn fail(&mut self, node: NodeId, run: ActorRun, cause: StartFailure) -> &mut World {
        self.tell(Event::ActorFailed { run, node, cause })
    }

    fn die(&mut self, node: NodeId, run: ActorRun, cause: ActorEnd) -> &mut World {
        self.tell(Event::ActorDied { run, node, cause })
    }

    fn kill(&mut self, n: u128, no_restart: bool) -> Reply {
        let reply = self.reply_id();
        self.tell(Event::KillActor { actor: actor_id(n), no_restart, reply: Some(reply) });
        self.the_reply(reply)
    }

    fn look_up(&mut self, name: &str, namespace: &str) -> Option<ActorInfo> {
        let reply = self.reply_id();
        let (name, namespace) = (name.to_owned(), namespace.to_owned());
        self.tell(Event::GetActorByName { name, namespace, reply });
        match self.the_reply(reply) {
            Reply::Found { info, .. } => Some(info),
            _ => None,
        }
    }

    fn view(&mut self, node: u128, version: u64, available: ResourceSet) -> &mut World {
        self.tell(Event::ReportView { view: NodeView { node: node_id(node), version, available, queued: 0 } })
    }

    fn placed(&self) -> Vec<(NodeId, ActorRun)> {
        let place = |action: &Action| match action {
            Action::PlaceActor { node, run, .. } => Some((*node, *run)),
            _ => None,
        };
        self.out.iter().filter_map(place).collect()
    }

    fn ended(&self) -> Vec<(NodeId, ActorRun, EndHow)> {
        let end = |action: &Action| match action {
            Action::EndActor { node, run, how } => Some((*node, *run, *how)),
            _ => None,
        };
        self.out.iter().filter_map(end).collect()
    }

    fn recalled(&self) -> Vec<(NodeId, ActorRun)> {
        let recall = |action: &Action| match action {
            Action::RecallActor { node, run } => Some((*node, *run)),
            _ => None,
        };
        self.out.iter().filter_map(recall).collect()
    }

    fn published(&self, process: ProcessId) -> Vec<ActorInfo> {
        let mut found = self.out.iter().filter_map(|action| match action {
            Action::Publish { to, rows } if *to == process => Some(rows.clone()),
            _ => None,
        });
        let rows = found.next().unwrap_or_default();
        assert!(found.next().is_none(), "one message a process");
        rows
    }

    fn warnings(&self) -> Vec<Warning> {
        let warn = |action: &Action| match action {
            Action::Warn(warning) | Action::WarnOwners { warning, .. } => Some(warning.clone()),
            _ => None,
        };
        self.out.iter().filter_map(warn).collect()
    }

    fn row(&self, n: u128) -> &ActorRow {
        self.core.actor(actor_id(n)).expect("the actor is known")
    }

    fn reason(&self, n: u128) -> DeathReason {
        self.row(n).death.as_ref().expect("the actor is dead").reason.clone()
    }
}

fn address(node: NodeId, run: ActorRun) -> Address {
    let incarnation =
        Uuid::from_u128(run.actor.0.as_u128() ^ u128::from(run.incarnation) << 40 ^ u128::from(run.attempt) << 20);
    let process = ProcessId { cluster: ClusterId(Uuid::from_u128(1)), node, incarnation };
    Address { process, actor: ActorNo(crate::actor::host::number(run.actor)) }
}

fn seat(node: NodeId, run: ActorRun) -> Seat {
    Seat { process: address(node, run).process, worker: WorkerId(Uuid::from_u128(9)), pid: 77 }
}

/// Whether the tables agree with each other.
fn check(core: &GcsCore) {
    core.actors.check();
    assert!(core.changed_actors.is_empty() && core.snapshots.is_empty());
    assert!(!core.retry || core.pending.is_empty());
    let mut on_nodes: BTreeMap<NodeId, BTreeSet<u64>> = BTreeMap::new();
    let mut waiting = BTreeSet::new();
    let mut delayed = BTreeSet::new();
    let mut sent = BTreeSet::new();
    for actor in core.actors.iter() {
        let row = &actor.row;
        let dead = row.state == ActorState::Dead;
        assert_eq!(dead, row.death.is_some());
        assert_eq!(row.state == ActorState::Alive, row.address().is_some());
        assert!(row.seat.is_none() || matches!(row.state, ActorState::Alive | ActorState::Dead));
        assert!(row.spec.max_restarts < 0 || i64::from(row.restarts) <= row.spec.max_restarts, "GCS-4");
        assert_eq!(row.restarts, row.incarnation);
        if actor.on_node {
            on_nodes.entry(row.node.unwrap()).or_default().insert(row.number);
        }
        match &actor.waiting {
            Waiting::Class(class) => assert!(waiting.insert((class.clone(), row.number))),
            Waiting::Until(at) => assert!(delayed.insert((*at, row.number))),
            Waiting::There(since) => assert!(actor.on_node && sent.insert((*since, row.number))),
            Waiting::No => {}
        }
        let unready = row.state == ActorState::DependenciesUnready;
        assert_eq!(unready, !dead && row.spec.waits(), "GCS-13");
        let places = [actor.on_node, !matches!(actor.waiting, Waiting::No | Waiting::There(_)), unready];
        assert_eq!(places.into_iter().filter(|is| *is).count(), usize::from(!dead), "exactly one place");
        assert!(
            !dead
                || actor.watchers.get().is_none_or(Vec::is_empty)
                    && !actor.owner_watches
                    && row.spec.creation.is_empty()
        );
        assert!(dead || row.spec.detached && !unready || !core.is_owner_dead(row.spec.owner), "GCS-6");
    }
    for node in core.nodes.values() {
        assert_eq!(node.actors, on_nodes.remove(&node.row.id).unwrap_or_default());
        assert!(node.actors.is_empty() || node.row.state.is_up());
        assert!(node.in_flight.is_subset(&node.actors));
    }
    assert!(on_nodes.is_empty());
    assert_eq!(delayed, core.delayed);
    assert!(core.long_sent.values().all(|class| !class.members().is_empty()));
    let long: BTreeSet<(Duration, u64)> = core.long_sent.values().flat_map(|class| class.members().clone()).collect();
    assert!(core.recalled.is_none_or(|(number, _)| long.iter().any(|(_, other)| *other == number)), "GCS-14");
    assert_eq!(sent, core.sent.union(&long).copied().collect());
    let in_classes = core
        .pending
        .iter()
        .flat_map(|(class, pending)| pending.members().iter().map(|number| (class.clone(), *number)));
    assert_eq!(waiting, in_classes.collect());
    let mut claims = BTreeMap::new();
    for actor in core.actors.iter() {
        let dead = actor.row.state == ActorState::Dead;
        let actors_claims = actor.claims.get().map_or(&[][..], Vec::as_slice);
        assert!(actors_claims.is_empty() || !dead && !actor.row.spec.detached);
        claims.extend(actors_claims.iter().map(|(asked, _)| (*asked, actor.row.number)));
        let unheld = !actor.held && actors_claims.is_empty() && !actor.row.spec.detached;
        assert!(!unheld || dead || actor.stopping.is_some(), "GCS-11");
    }
    assert_eq!(claims, core.claims.iter().map(|(asked, (number, _))| (*asked, *number)).collect());
    assert_eq!(core.claimants, core.claims.iter().map(|(asked, (_, owner))| (*owner, *asked)).collect());
    for (namespace, names) in &core.names {
        for (name, number) in names {
            let actor = core.actors.get(*number).expect("a name's actor is known");
            assert_eq!((&actor.row.spec.namespace, actor.row.spec.name.as_ref()), (namespace, Some(name)));
            assert!(actor.row.state != ActorState::Dead && actor.stopping.is_none(), "GCS-2");
        }
    }
}
