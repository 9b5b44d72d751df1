//! The actors of a node: leases for them, which the raylet asks of itself, and how they begin and end.

use std::sync::Arc;
use std::time::Duration;

use actinic_transport::Lane;
use actix::{AsyncContext, Context};

use crate::api::error::Error;
use crate::gcs::core::Isolation;
use crate::ids::{OwnerId, WorkerId};
use crate::protocol::workers::ToWorker;
use crate::protocol::{ActorRun, ActorSpec, Gone, LeaseId, LeaseRequest, RequestId, ToGcs, WORKER};
use crate::raylet::core::{Event, Host, Purpose, Scheduling};
use crate::raylet::{Raylet, Worker};

/// How long a process that hears nothing keeps an actor that was killed.
const KILLED_WITHIN: Duration = Duration::from_secs(1);

/// When an actor is tried again on a node that could start no worker for it.
const START_AGAIN: Duration = Duration::from_secs(1);

impl Raylet {
    /// The owner that stands for the raylet when it asks itself for an actor's lease.
    pub(super) fn me(&self) -> OwnerId {
        OwnerId { process: self.process.id, number: u32::MAX }
    }

    pub(super) fn want_actor(&mut self, run: ActorRun, spec: Arc<ActorSpec>, ctx: &mut Context<Self>) {
        if self.cancelled.take(run) {
            return;
        }
        self.namespaces.entry(spec.job).or_insert_with(|| Arc::clone(&spec.job_namespace));
        if let Some((run, spec)) = self.turns.enter(run, spec) {
            let event = self.ask_actor(run, spec);
            self.event(event, ctx);
        }
    }

    /// Asks for an actor whose turn it is.
    pub(super) fn ask_actor(&mut self, run: ActorRun, spec: Arc<ActorSpec>) -> Event {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        let host = match spec.isolation {
            Isolation::Process => Host::Dedicated,
            Isolation::Shared => Host::Shared,
        };
        let request = LeaseRequest {
            id,
            from: self.me(),
            job: spec.job,
            key: 0,
            shape: spec.shape.clone(),
            backlog: 1,
            depth: 1,
            outlives_job: spec.detached || spec.outlives_job,
            scheduling: Scheduling::NodeAffinity { node: self.process.id.node, soft: false },
            fails: true,
            locality: Vec::new(),
            avoids: Vec::new(),
            spilled: 0,
            purpose: Purpose::Actor { actor: spec.id, hold: spec.hold.clone(), host },
        };
        self.placing.insert(id, (run, spec));
        Event::RequestLease(request)
    }

    /// An actor that was asked for is placed, or will not be.
    fn asked(&mut self, request: RequestId) -> Option<(ActorRun, Arc<ActorSpec>)> {
        let (run, spec) = self.placing.remove(&request)?;
        self.next_actors.extend(self.turns.leave(&spec));
        Some((run, spec))
    }

    pub(super) fn place(&mut self, request: RequestId, lease: LeaseId, worker: WorkerId) {
        let Some((run, spec)) = self.asked(request) else {
            self.process.return_lease(lease, true);
            return;
        };
        let node = self.process.id.node;
        self.running.insert(run, lease, worker);
        self.process.tell_gcs(ToGcs::ActorPlaced { run, node });
        match &self.workers.get(&worker) {
            Some((_, Worker::Thread { .. })) => {
                crate::actor::begin::begin(&self.process, run, spec, lease, worker);
            }
            Some((_, Worker::Process { peer: Some(peer), .. })) => {
                let message = ToWorker::StartActor { run, spec, lease };
                if let Ok(endpoint) = self.process.endpoint() {
                    self.process.room.tell(&endpoint.peer(peer), WORKER, message);
                }
            }
            _ => {}
        }
    }

    pub(super) fn not_started(&mut self, request: RequestId, error: Error) {
        if let Some((run, _)) = self.asked(request) {
            let (node, text, error) = (self.process.id.node, error.to_string(), Some(error));
            self.process.tell_gcs(ToGcs::ActorNotStarted { run, node, text, error, no_room: false });
        }
    }

    pub(super) fn no_room(&mut self, request: RequestId) {
        if let Some((run, _)) = self.asked(request) {
            let node = self.process.id.node;
            let text = "the node has no room".to_owned();
            self.process.tell_gcs(ToGcs::ActorNotStarted { run, node, text, error: None, no_room: true });
        }
    }

    /// No worker can be started now, for what may pass: the GCS looks for another node, and here again a little later.
    pub(super) fn no_room_for_now(&mut self, request: RequestId, ctx: &mut Context<Self>) {
        self.no_room(request);
        ctx.run_later(START_AGAIN, |raylet, ctx| {
            // What the node has may be what it had: the GCS asks it again when it has said so.
            let view = raylet.core.view();
            raylet.report(view, ctx);
        });
    }

    /// An actor that was not placed here yet is not wanted any more; `false` if it was, or is not known.
    fn take_back(&mut self, run: ActorRun, ctx: &mut Context<Self>) -> bool {
        if self.turns.cancel(&run) {
            return true;
        }
        let waiting = self.placing.iter().find(|(_, (other, _))| *other == run).map(|(id, _)| *id);
        let Some(id) = waiting else { return false };
        self.asked(id);
        self.event(Event::UpdateBacklog { from: self.me(), id, backlog: 0, heard: 0 }, ctx);
        true
    }

    /// Another node has room for an actor: it is given back if it waits for some here, and not if a worker starts for it.
    pub(super) fn recall_actor(&mut self, run: ActorRun, ctx: &mut Context<Self>) {
        let node = self.process.id.node;
        let request = self.placing.iter().find(|(_, (other, _))| *other == run).map(|(id, _)| *id);
        let has_room = request.is_some_and(|id| self.core.is_starting(self.me(), id));
        if has_room || self.running.worker(&run).is_some() {
            self.process.tell_gcs(ToGcs::ActorPlaced { run, node });
        } else if self.take_back(run, ctx) {
            let text = "another node has room".to_owned();
            self.process.tell_gcs(ToGcs::ActorNotStarted { run, node, text, error: None, no_room: true });
        }
    }

    pub(super) fn end_actor(&mut self, run: ActorRun, kill: bool, ctx: &mut Context<Self>) {
        if self.take_back(run, ctx) {
            self.actor_gone(run, Gone::Ended, "it had not begun", None, ctx);
            return;
        }
        let Some(worker) = self.running.worker(&run) else {
            self.cancelled.leave(run);
            self.actor_gone(run, Gone::Ended, "it had not begun", None, ctx);
            return;
        };
        match self.workers.get(&worker) {
            Some((_, Worker::Thread { .. })) => match self.process.actor(crate::actor::host::number(run.actor)) {
                Some(actor) if actor.run() == run => actor.ask_end(kill),
                _ => {
                    self.process.end_start(run);
                    self.actor_gone(run, Gone::Ended, "it had ended", None, ctx);
                }
            },
            Some((_, Worker::Process { peer: Some(peer), .. })) => {
                if let Ok(endpoint) = self.process.endpoint() {
                    let _ = endpoint.peer(peer).tell(Lane::Urgent, WORKER, &ToWorker::EndActor { run, kill });
                }
                if kill {
                    // A process that is stopped hears nothing.
                    ctx.run_later(KILLED_WITHIN, move |raylet, _| {
                        let alone = raylet.running.at(worker) == [run];
                        if let (true, Some(spawner)) = (alone, &mut raylet.spawner) {
                            spawner.kill(worker);
                        }
                    });
                }
            }
            _ => {}
        }
    }

    pub(super) fn actor_gone(
        &mut self,
        run: ActorRun,
        how: Gone,
        text: &str,
        owner: Option<OwnerId>,
        ctx: &mut Context<Self>,
    ) {
        let node = self.process.id.node;
        self.process.tell_gcs(ToGcs::ActorDied { run, node, how, text: text.to_owned(), owner });
        if let Some(lease) = self.running.remove(&run) {
            self.event(Event::ReturnLease { lease, reusable: false }, ctx);
        }
    }

    pub(super) fn actor_up(&mut self, run: ActorRun) {
        let Some(worker) = self.running.worker(&run) else { return };
        let Some(addr) = self.worker_addr(worker) else { return };
        let pid = match self.workers.get(&worker) {
            Some((_, Worker::Process { pid, .. })) => *pid,
            _ => self.process.env.pid(),
        };
        let node = self.process.id.node;
        self.process.tell_gcs(ToGcs::ActorReady { run, node, process: addr.peer, worker, pid });
    }

    pub(super) fn actor_failed(&mut self, run: ActorRun, text: String, error: Error, ctx: &mut Context<Self>) {
        let node = self.process.id.node;
        let error = Some(error);
        self.process.tell_gcs(ToGcs::ActorNotStarted { run, node, text, error, no_room: false });
        if let Some(lease) = self.running.remove(&run) {
            self.event(Event::ReturnLease { lease, reusable: false }, ctx);
        }
    }
}
