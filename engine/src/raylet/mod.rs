//! The raylet of a node: its resources, its workers, its leases, as an Actix actor around [`core::RayletCore`].
//!
//! This is the actor alone: its data, and how the core is entered. What it is told ([`hear`]) and asked ([`questions`])
//! becomes an event of the core, and what the core answers is carried out ([`actions`]). The rest is by idea:
//! [`workers`] and the processes that they are ([`spawn`]), [`programs`], [`actors`] and their [`turns`], the other nodes ([`cluster`]),
//! [`ends`].

mod actions;
mod actors;
mod cluster;
#[allow(dead_code, unused_imports, reason = "the core knows draining and explains itself, for what is to come")]
pub(crate) mod core;
mod ends;
mod hear;
mod messages;
mod programs;
mod questions;
mod runs;
mod shape;
pub(crate) mod spawn;
#[cfg(test)]
mod tests;
mod turns;
mod workers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{NodeId, PeerAddr, ProcessId};
use actix::{Actor, AsyncContext, Context};

pub(crate) use messages::{
    AskState, Attach, ChildEnded, ChildrenLeft, DefaultProgram, EndDeaf, EndWorker, FindProcess, Found, ProcessGone,
    RayletLink, RayletPost, RayletState, Shutdown, WorkerCrashed,
};
pub(crate) use shape::Shape;

use crate::alarm::Alarm;
use crate::api::error::Error;
use crate::ids::{JobId, WorkerId};
use crate::object_manager::budget::Lent;
use crate::post::{Mail, Post};
use crate::process::Process;
use crate::protocol::{ActorRun, ActorSpec, NodeRow, RequestId, ToGcs, ToRaylet};
use crate::raylet::core::{Action, Event, RayletCore};
use crate::raylet::programs::Fetching;
use crate::raylet::spawn::Spawner;
use crate::resources::ResourceSet;
use crate::start::program_file::Offer;
use crate::worker::slot::TaskSlot;
use crate::worker::tombstones::Tombstones;

enum Worker {
    Thread { slot: Arc<TaskSlot> },
    Process { peer: Option<PeerAddr>, pid: u32 },
}

/// Room for so many actions is kept at most.
const ACTIONS_KEPT: usize = 1024;

/// The Actix actor.
pub(crate) struct Raylet {
    process: Arc<Process>,
    mail: Mail<ToRaylet>,
    core: RayletCore,
    /// Room for what the core asks for, kept between its turns.
    actions: Vec<Action>,
    spawner: Option<Spawner>,
    workers: BTreeMap<WorkerId, (JobId, Worker)>,
    /// Worker processes that were asked to end and have not.
    stopping: BTreeMap<WorkerId, ProcessId>,
    /// What workers answered that were asked whether they are needed, and the core has not heard.
    answers: Vec<(WorkerId, bool)>,
    namespaces: BTreeMap<JobId, Arc<str>>,
    nodes: BTreeMap<NodeId, NodeRow>,
    placing: BTreeMap<RequestId, (ActorRun, Arc<ActorSpec>)>,
    /// Actors that wait until others like them are placed, and those whose turn has come.
    turns: turns::Turns,
    next_actors: VecDeque<(ActorRun, Arc<ActorSpec>)>,
    running: runs::Runs,
    /// Runs that were ended before the GCS's word to start them came.
    cancelled: Tombstones<ActorRun>,
    next_request: u64,
    tick: Alarm,
    views: u64,
    total: ResourceSet,
    available: ResourceSet,
    /// Drivers in processes of their own.
    drivers: BTreeMap<ProcessId, Driver>,
    /// Whether they will be told of resources soon.
    telling: bool,
    /// All were asked a moment ago to make room in the object store; and somebody wants it again, with lineage or not.
    making_room: Option<Option<bool>>,
    /// Workers that cannot start before their job's program is here.
    fetching: BTreeMap<JobId, Fetching>,
    /// The jobs whose program the GCS wants to be here.
    keeping: BTreeSet<JobId>,
    /// What is behind the reason that the core was last told.
    start_error: Option<Error>,
    /// Of the worker whose death the core is told of.
    died: Died,
    /// The node is leaving: nothing is granted, placed or started any more.
    leaving: bool,
}

/// A driver in a process of its own.
struct Driver {
    peer: PeerAddr,
    /// What it says of its program.
    offer: Option<Offer>,
    /// Its share of the node's object store, as long as it lives.
    budget: Option<Lent>,
}

/// What is known of a worker that died.
#[derive(Clone, Copy, Default)]
struct Died {
    /// Its process, if it had one of its own.
    process: Option<ProcessId>,
    /// What it ran: lease and task; the outer is none if nobody can tell.
    running: Option<Option<(u64, u64)>>,
}

impl Raylet {
    /// Starts the raylet of a node in this process.
    pub(crate) fn begin(process: Arc<Process>, total: ResourceSet, spawner: Option<Spawner>) -> RayletPost {
        let mail = Mail::new();
        Post::new(Raylet::new(process, total, spawner, mail.clone()).start(), mail)
    }

    fn new(process: Arc<Process>, total: ResourceSet, spawner: Option<Spawner>, mail: Mail<ToRaylet>) -> Raylet {
        Raylet {
            mail,
            core: RayletCore::new(process.id.node, total.clone()),
            actions: Vec::new(),
            running: runs::Runs::new(process.id.node),
            process,
            spawner,
            workers: BTreeMap::new(),
            stopping: BTreeMap::new(),
            answers: Vec::new(),
            namespaces: BTreeMap::new(),
            nodes: BTreeMap::new(),
            placing: BTreeMap::new(),
            turns: turns::Turns::new(&total),
            next_actors: VecDeque::new(),
            cancelled: Tombstones::default(),
            next_request: 0,
            tick: Alarm::default(),
            views: 0,
            available: total.clone(),
            total,
            drivers: BTreeMap::new(),
            telling: false,
            making_room: None,
            fetching: BTreeMap::new(),
            keeping: BTreeSet::new(),
            start_error: None,
            died: Died::default(),
            leaving: false,
        }
    }

    fn event(&mut self, event: Event, ctx: &mut Context<Self>) {
        if self.leaving {
            return;
        }
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let mut out = std::mem::take(&mut self.actions);
            self.core.handle(self.process.env.now(), event, &mut out);
            for action in out.drain(..) {
                self.act(action, ctx);
            }
            if out.capacity() <= ACTIONS_KEPT {
                self.actions = out;
            }
            next = self.next_actors.pop_front().map(|(run, spec)| self.ask_actor(run, spec));
        }
    }
}

impl Drop for Raylet {
    fn drop(&mut self) {
        self.mail.close();
    }
}

impl Actor for Raylet {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Nothing is dropped for want of room: what waits here is bounded by what owners may ask.
        ctx.set_mailbox_capacity(1 << 20);
        let node = self.process.id.node;
        ctx.run_interval(Duration::from_secs(1), move |raylet, _| raylet.process.tell_gcs(ToGcs::Heartbeat { node }));
    }
}
