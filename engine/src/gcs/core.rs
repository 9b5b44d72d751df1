//! The GCS's tables and decisions, as a pure state machine: no clock, no I/O, no tokio.
//!
//! `GcsCore::handle(now, event, out)` changes the tables and appends what is to be done. The same events at the same times
//! give the same actions. Nothing per task or per object passes through it.
//!
//! An actor has a life of **incarnations** (0, and one more after each restart), and each incarnation is sent to a node in
//! one or more **attempts**; a *run* names all three, and every message between GCS and raylets about an actor carries one.
//!
//! Invariants, cited by the tests:
//!
//! - **GCS-1** At most one live incarnation of an actor is published: incarnations grow, one incarnation never has two
//!   addresses, and nothing is published after `Dead`.
//! - **GCS-2** A name maps to at most one actor, which is neither dead nor ending; the name is free as soon as that is so.
//! - **GCS-3** Nothing is created twice: a run is sent to one node once, a duplicate `CreateActor` gets the same answer, and a
//!   run that reports although it is not the current one is told to end.
//! - **GCS-4** A lost incarnation, however it was lost and however often that is reported, makes exactly one new one or a dead
//!   actor; restarts never exceed `max_restarts`; constructor errors and intended exits never restart.
//! - **GCS-5** Dead is final, for actors and for nodes; a dead node that speaks is told so, and its words change nothing.
//! - **GCS-6** An actor that is not detached never outlives its owner, and not its job unless a detached actor is at the root
//!   of its owners. No actor at all is created after their deaths.
//! - **GCS-7** One warning a node's death; none for one that leaves.
//! - **GCS-8** An actor that waits for a node is tried whenever views or nodes change, oldest first among equals, and whoever
//!   waits longer than `warn_after` (`warn_busy_after` if it waits for busy nodes, or on one) is warned about once. Whoever
//!   watches one of the first 256 alike is told what it waits for after `warn_after`, nodes that are busy included.
//! - **GCS-9** Tables of the dead are bounded.
//! - **GCS-10** A subscriber gets every change that is not overtaken by a later one in the same call, and the last one.
//! - **GCS-11** An actor that is not detached ends when nothing holds it any more: neither its owner's lifeline nor that of any
//!   request for which `get_if_exists` found it. A request holds it from its answer on, so no word about another lifeline
//!   that crosses the answer ends it.
//! - **GCS-12** The nodes are told to forget a job's program when the job has ended and the last of its actors has, and not
//!   before; the head keeps the program of a job that has made a detached actor until then.
//! - **GCS-13** An actor whose constructor's arguments are not ready has its name, and is sent nowhere before they are.
//! - **GCS-14** An actor that has waited for `move_after` for its turn on a busy node begins where there is room: its node
//!   gives it back first, so that it never begins twice.

mod actors;
mod death;
mod event;
mod jobs;
mod life;
mod lookup;
mod nodes;
mod placement;
mod rows;
mod sent;
mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actinic_transport::{NodeId, ProcessId};

pub(crate) use death::{DeathCause, DeathReason, NodeDeath, Refusal};
pub(crate) use event::{Action, ActorEnd, EndHow, Event, Reply, ReplyId, StartFailure, Warning};
#[cfg(test)]
pub(crate) use lookup::ActorFilter;
pub(crate) use rows::bytes_field;
pub(crate) use rows::{
    ActorInfo, ActorRow, ActorRun, ActorSpec, ActorState, ActorTraits, Found, Isolation, JobRow, Lifeline, NodeRow,
    NodeState, NodeView, Scheduling, Seat,
};

use crate::alike::Alike;
use crate::ids::{ActorId, JobId, OwnerId};
use nodes::Node;
use placement::{ClassKey, PendingClass};
use table::{ActorTable, Bounded};

/// The settings of the core.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// A node that was not heard from for this long is dead.
    pub(crate) silent_after: Duration,
    /// Views are spread at most this often.
    pub(crate) view_interval: Duration,
    /// Actors that wait for a node are warned about after this long.
    pub(crate) warn_after: Duration,
    /// How long one waits for busy nodes before it is warned about.
    pub(crate) warn_busy_after: Duration,
    /// How long an actor waits at a busy node before it is moved to one that has room.
    pub(crate) move_after: Duration,
    /// How many dead actors are remembered.
    pub(crate) dead_actors_max: usize,
    /// How many dead nodes, ended jobs, dead owners and early kills are remembered, of each.
    pub(crate) dead_others_max: usize,
    /// An actor that crashes in its constructor again and again is started again after this long, then twice as long...
    pub(crate) crash_delay_min: Duration,
    /// ... up to this long.
    pub(crate) crash_delay_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            silent_after: Duration::from_secs(5),
            view_interval: Duration::from_millis(20),
            warn_after: Duration::from_millis(500),
            warn_busy_after: Duration::from_secs(30),
            move_after: Duration::from_secs(1),
            dead_actors_max: 100_000,
            dead_others_max: 10_000,
            crash_delay_min: Duration::from_millis(100),
            crash_delay_max: Duration::from_secs(5),
        }
    }
}

/// The GCS's tables, and what it decides with them.
#[derive(Debug)]
pub(crate) struct GcsCore {
    config: Config,
    now: Duration,
    /// When the last event came; a gap of half `silent_after` means that the GCS slept, not the nodes.
    last_event: Duration,

    nodes: BTreeMap<NodeId, Node>,
    dead_nodes: Bounded<NodeId>,
    jobs: BTreeMap<JobId, JobRow>,
    /// The drivers of running jobs.
    drivers: BTreeMap<OwnerId, JobId>,
    ended_jobs: Bounded<JobId>,
    /// The jobs whose program the head was told to keep.
    kept_programs: BTreeSet<JobId>,
    /// Processes and owners whose death was reported, so that what they sent before it makes nothing after it.
    dead_processes: Bounded<ProcessId>,
    dead_owners: Bounded<OwnerId>,

    actors: ActorTable,
    /// Where actors live.
    seats: Alike<Seat>,
    /// Namespace, then name, to the actor's number.
    names: BTreeMap<String, BTreeMap<String, u64>>,
    /// What `get_if_exists` answered: the id that was asked for, to the one that exists.
    aliases: BTreeMap<ActorId, ActorId>,
    aliases_order: Bounded<ActorId>,
    /// Lifelines of such ids, which hold the actor that was found as its own does.
    claims: BTreeMap<ActorId, (u64, OwnerId)>,
    /// The same, by who has them.
    claimants: BTreeSet<(OwnerId, ActorId)>,
    /// Kills that came before their actor.
    early_kills: Bounded<ActorId>,
    /// Subscriptions that came before their actor.
    early_subscribers: BTreeMap<(OwnerId, ActorId), Vec<ProcessId>>,
    /// What each process watches, its own actors excepted.
    watched: BTreeMap<ProcessId, BTreeSet<u64>>,

    /// Actors without a node, by what they need.
    pending: BTreeMap<ClassKey, PendingClass>,
    /// Actors that were sent to a node lately and have not been admitted there, with when they were.
    sent: BTreeSet<(Duration, u64)>,
    /// Those that were sent long ago.
    long_sent: sent::ByClass,
    /// Which of those its node was asked to give back, and until when others wait for its answer.
    recalled: Option<(u64, Duration)>,
    /// Actors that are started later because they crash.
    delayed: BTreeSet<(Duration, u64)>,
    /// Something changed that may make room, or another use of it.
    retry: bool,
    /// Whether nodes came or went.
    nodes_changed: bool,
    /// Whether a node without GPUs is up.
    has_plain_nodes: bool,

    changed_views: BTreeSet<NodeId>,
    views_spread: Duration,
    changed_actors: Vec<u64>,
    /// Answers to new subscribers.
    snapshots: Vec<(ProcessId, ActorInfo)>,
    out: Vec<Action>,
}

impl GcsCore {
    /// Empty tables.
    pub(crate) fn new(config: Config) -> GcsCore {
        let (dead, others) = (config.dead_actors_max, config.dead_others_max);
        GcsCore {
            config,
            now: Duration::ZERO,
            last_event: Duration::ZERO,
            nodes: BTreeMap::new(),
            dead_nodes: Bounded::new(others),
            jobs: BTreeMap::new(),
            drivers: BTreeMap::new(),
            ended_jobs: Bounded::new(others),
            kept_programs: BTreeSet::new(),
            dead_processes: Bounded::new(others),
            dead_owners: Bounded::new(others),
            actors: ActorTable::new(dead),
            seats: Alike::default(),
            names: BTreeMap::new(),
            aliases: BTreeMap::new(),
            aliases_order: Bounded::new(others),
            claims: BTreeMap::new(),
            claimants: BTreeSet::new(),
            early_kills: Bounded::new(others),
            early_subscribers: BTreeMap::new(),
            watched: BTreeMap::new(),
            pending: BTreeMap::new(),
            sent: BTreeSet::new(),
            long_sent: BTreeMap::new(),
            recalled: None,
            delayed: BTreeSet::new(),
            retry: false,
            nodes_changed: false,
            has_plain_nodes: false,
            changed_views: BTreeSet::new(),
            views_spread: Duration::ZERO,
            changed_actors: Vec::new(),
            snapshots: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Takes one event in, and appends what is to be done to `out`. `now` never goes back.
    pub(crate) fn handle(&mut self, now: Duration, event: Event, out: &mut Vec<Action>) {
        self.handle_all(now, [event], out);
    }

    /// Takes many events in; what is published of them is gathered, and pending actors are tried once.
    pub(crate) fn handle_all(&mut self, now: Duration, events: impl IntoIterator<Item = Event>, out: &mut Vec<Action>) {
        std::mem::swap(&mut self.out, out);
        self.now = now.max(self.now);
        self.forgive_own_sleep();
        for event in events {
            self.apply(event);
        }
        let may_have_room = self.retry;
        self.try_pending();
        if may_have_room {
            self.recall_sent();
        }
        if std::mem::take(&mut self.nodes_changed) {
            self.nodes_have_changed();
        }
        self.spread_views();
        self.publish_changes();
        self.last_event = self.now;
        std::mem::swap(&mut self.out, out);
    }

    /// When `Tick` is due, if nothing else happens before; `None` if never.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        let silence = self.next_silence();
        let views = (!self.changed_views.is_empty()).then(|| self.views_spread + self.config.view_interval);
        let delayed = self.delayed.first().map(|(at, _)| *at);
        let warn = self.next_warning();
        [silence, views, delayed, warn, self.next_sent()].into_iter().flatten().min()
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Tick => self.tick(),
            Event::RegisterNode { row } => self.register_node(*row),
            Event::Heartbeat { node } => {
                self.hear(node);
            }
            Event::ReportView { view } => self.report_view(view),
            Event::NodeSuspected { node } => self.suspect_node(node),
            Event::NodeDead { node, cause } => self.end_node(node, Some(cause)),
            Event::NodeLeft { node } => self.end_node(node, None),
            Event::JobStarted { row } => self.start_job(*row),
            Event::JobEnded { job } => self.end_job(job),
            Event::ProcessDied { process } => self.end_process(process),
            Event::OwnerDied { owner } => self.end_owner(owner),
            Event::CreateActor { spec, reply } => self.create_actor(spec, reply),
            Event::ActorArguments { actor, creation } => self.actor_arguments(actor, creation),
            Event::ActorNotMade { actor, text, error } => self.actor_not_made(actor, text, error),
            Event::ActorPlaced { run, node } => self.actor_placed(run, node),
            Event::ActorReady { run, node, seat } => self.actor_ready(run, node, seat),
            Event::ActorFailed { run, node, cause } => self.actor_failed(run, node, cause),
            Event::ActorDied { run, node, cause } => self.actor_died(run, node, cause),
            Event::KillActor { actor, no_restart, reply } => self.kill_actor(actor, no_restart, reply),
            Event::StopActor { actor } => self.stop_actor(actor, DeathReason::Stopped),
            Event::HandlesGone { actor } => self.handles_gone(actor),
            Event::GetActorByName { name, namespace, reply } => self.get_by_name(&name, &namespace, reply),
            Event::GetActor { actor, reply } => self.get_actor(actor, reply),
            Event::ListNamed { namespace, reply } => self.list_named(namespace.as_deref(), reply),
            Event::Subscribe { actor, owner, to } => self.subscribe(actor, owner, to),
        }
    }

    fn tick(&mut self) {
        self.end_silent_nodes();
        self.start_delayed();
        self.explain_pending();
        self.warn_pending();
        self.look_at_sent();
    }

    fn reply(&mut self, to: ReplyId, reply: Reply) {
        self.out.push(Action::Reply { to, reply });
    }
}
