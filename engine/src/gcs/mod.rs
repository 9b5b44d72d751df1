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
use crate::gcs::core::{Action, ActorRun, Config, Event, GcsCore, ReplyId};
use crate::ids::{ActorId, OwnerId};
use crate::post::{Mail, Post};
use crate::process::Process;
use crate::raylet::RayletPost;

pub(crate) use link::GcsLink;
pub(crate) use messages::{Answer, GcsPost, Heard, LocalRaylet};

/// So many events are taken in together at most.
const GATHERED_MAX: usize = 1024;
/// Room for so many actions is kept at most.
const ACTIONS_KEPT: usize = 4096;
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
    mail: Mail<Heard>,
    raylet: Option<RayletPost>,
    /// How to reach processes: raylets, drivers, actors' hosts.
    peers: HashMap<ProcessId, PeerAddr>,
    raylets: BTreeMap<NodeId, ProcessId>,
    pending: BTreeMap<u64, Pending>,
    next_reply: u64,
    tick: Alarm,
    /// Events of the messages that were handled in one go.
    gathered: Vec<Event>,
    /// Room for what the core asks for, kept between its turns.
    actions: Vec<Action>,
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
    /// Starts the GCS of a cluster in this process.
    pub(crate) fn begin(process: Arc<Process>) -> GcsPost {
        let mail = Mail::new();
        Post::new(Gcs::new(process, mail.clone()).start(), mail)
    }

    fn new(process: Arc<Process>, mail: Mail<Heard>) -> Gcs {
        Gcs {
            mail,
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
            actions: Vec::new(),
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
        let mut out = std::mem::take(&mut self.actions);
        let now = self.process.env.now();
        let mut gathered = std::mem::take(&mut self.gathered);
        self.core.handle_all(now, gathered.drain(..), &mut out);
        self.gathered = gathered;
        for action in out.drain(..) {
            self.act(action, ctx);
        }
        if out.capacity() <= ACTIONS_KEPT {
            self.actions = out;
        }
        let next = self.core.next_wake().map(|at| at.max(now + Duration::from_millis(1)));
        alarm::ring_at(self, next, ctx);
    }
}

impl Drop for Gcs {
    fn drop(&mut self) {
        self.mail.close();
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
