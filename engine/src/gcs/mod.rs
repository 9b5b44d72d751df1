//! The GCS of a cluster: its tables, as an Actix actor around [`core::GcsCore`].

mod actions;
#[allow(dead_code, reason = "the core has rows and events for what the state API and draining will ask")]
pub(crate) mod core;
mod hear;
mod link;
mod messages;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{NodeId, PeerAddr, ProcessId};
use actix::{Actor, AsyncContext, Context, Handler, Message};

use crate::alarm::{self, Alarm, Alarmed};
use crate::events::TaskTable;
use crate::gcs::core::{ActorRun, Config, Event, GcsCore, ReplyId};
use crate::ids::{ActorId, OwnerId};
use crate::process::Process;
use crate::raylet::Raylet;

pub(crate) use link::GcsLink;
pub(crate) use messages::{Answer, Asked, LocalRaylet, SessionLost, Told};

/// So many events are taken in together at most.
const GATHERED_MAX: usize = 1024;
/// How many attempts at tasks are listed.
const TASKS_MAX: usize = 100_000;
enum Pending {
    Create(OwnerId, ActorId),
    Ask(Answer),
}

/// The Actix actor.
pub(crate) struct Gcs {
    process: Arc<Process>,
    core: GcsCore,
    tasks: TaskTable,
    raylet: Option<actix::Addr<Raylet>>,
    /// How to reach processes: raylets, drivers, actors' hosts.
    peers: HashMap<ProcessId, PeerAddr>,
    raylets: BTreeMap<NodeId, ProcessId>,
    pending: BTreeMap<u64, Pending>,
    next_reply: u64,
    tick: Alarm,
    /// Events of the messages that were handled in one go.
    gathered: Vec<Event>,
    /// The drivers of jobs, whose sessions are their lives.
    drivers: BTreeSet<ProcessId>,
    /// Who killed incarnations that have not ended.
    killing: BTreeMap<ActorRun, Vec<Answer>>,
}

impl Alarmed for Gcs {
    fn alarm(&mut self) -> &mut Alarm {
        &mut self.tick
    }

    fn now(&self) -> Duration {
        self.process.env.now()
    }

    fn rung(&mut self, ctx: &mut Context<Self>) {
        self.event(Event::Tick, ctx);
    }
}

impl Gcs {
    pub(crate) fn new(process: Arc<Process>) -> Gcs {
        Gcs {
            process,
            core: GcsCore::new(Config::default()),
            tasks: TaskTable::new(TASKS_MAX),
            raylet: None,
            peers: HashMap::new(),
            raylets: BTreeMap::new(),
            pending: BTreeMap::new(),
            next_reply: 0,
            tick: Alarm::default(),
            gathered: Vec::new(),
            drivers: BTreeSet::new(),
            killing: BTreeMap::new(),
        }
    }

    fn reply_id(&mut self, pending: Pending) -> ReplyId {
        self.next_reply += 1;
        self.pending.insert(self.next_reply, pending);
        ReplyId(self.next_reply)
    }

    /// An event: it is taken in together with those of the messages that wait behind this one.
    fn event(&mut self, event: Event, ctx: &mut Context<Self>) {
        if self.gathered.is_empty() {
            ctx.notify(Settle);
        }
        self.gathered.push(event);
        if self.gathered.len() >= GATHERED_MAX {
            self.settle(ctx);
        }
    }

    fn settle(&mut self, ctx: &mut Context<Self>) {
        if self.gathered.is_empty() {
            return;
        }
        let mut out = Vec::new();
        let now = self.process.env.now();
        self.core.handle_all(now, std::mem::take(&mut self.gathered), &mut out);
        for action in out {
            self.act(action, ctx);
        }
        let next = self.core.next_wake().map(|at| at.max(now + Duration::from_millis(1)));
        alarm::ring_at(self, next, ctx);
    }
}

impl Actor for Gcs {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(1 << 20);
    }
}

/// The messages that waited are handled: their events are taken in.
#[derive(Message)]
#[rtype(result = "()")]
struct Settle;

impl Handler<Settle> for Gcs {
    type Result = ();

    fn handle(&mut self, _message: Settle, ctx: &mut Context<Self>) {
        self.settle(ctx);
    }
}
