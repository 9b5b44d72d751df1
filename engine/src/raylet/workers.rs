//! The workers of a node, threads or processes of their own: started, asked whether they are needed, and stopped.

use std::sync::Arc;
use std::time::Duration;

use actinic_transport::PeerAddr;
use actix::{AsyncContext, Context, Handler, Message};

use crate::api::error::Error;
use crate::ids::{JobId, WorkerId};
use crate::process::Process;
use crate::protocol::workers::ToWorker;
use crate::protocol::{ToGcs, WORKER, WorkerAddr};
use crate::raylet::core::{Event, WorkerKind};
use crate::raylet::spawn::NotStarted;
use crate::raylet::{Raylet, Worker};
use crate::worker::host::Host;
use crate::worker::slot::TaskSlot;

/// A started worker's own notice, so that the core is never entered twice.
#[derive(Message)]
#[rtype(result = "()")]
struct Started {
    worker: WorkerId,
}

/// A worker's word whether anything needs it.
#[derive(Message)]
#[rtype(result = "()")]
struct Needed {
    worker: WorkerId,
    needed: bool,
}

/// Answers of workers wait to be looked at.
#[derive(Message)]
#[rtype(result = "()")]
struct Answered;

/// A worker will not start, and nor would another if it is permanent.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Failed {
    pub(super) worker: WorkerId,
    pub(super) error: Error,
    pub(super) permanent: bool,
}

impl Raylet {
    pub(super) fn worker_addr(&self, worker: WorkerId) -> Option<WorkerAddr> {
        let peer = match &self.workers.get(&worker)?.1 {
            Worker::Thread { .. } => self.process.address(),
            Worker::Process { peer, .. } => peer.clone()?,
        };
        Some(WorkerAddr { worker, peer })
    }

    pub(super) fn start_worker(&mut self, worker: WorkerId, job: JobId, kind: WorkerKind, ctx: &mut Context<Self>) {
        // In one program (an embedded cluster's, a test's) nothing is fetched, but the job's namespace must be known.
        let here = self
            .spawner
            .as_ref()
            .map_or(self.namespaces.contains_key(&job), |spawner| spawner.knows(job) || !spawner.has_default());
        if !here {
            self.learn_job(worker, job, kind, ctx);
            return;
        }
        if let Some(spawner) = &mut self.spawner {
            if !spawner.knows(job) {
                self.workers.insert(worker, (job, Worker::Process { peer: None, pid: 0 }));
                self.fetch_program(job, Some((worker, kind)), ctx);
                return;
            }
            match spawner.start(worker, job, kind) {
                Ok(pid) => {
                    self.workers.insert(worker, (job, Worker::Process { peer: None, pid }));
                    ctx.run_later(spawner.hello_within, move |raylet, ctx| raylet.end_mute(worker, ctx));
                }
                Err(NotStarted { error, permanent }) => ctx.notify(Failed { worker, error, permanent }),
            }
            return;
        }
        let namespace = self.namespaces.get(&job).cloned().unwrap_or_else(|| Arc::from(""));
        let host = Host::of_tasks(Arc::clone(&self.process), worker, job, namespace);
        let slot = TaskSlot::new(host, Arc::clone(&self.process.pool));
        self.process.add_slot(&slot);
        self.workers.insert(worker, (job, Worker::Thread { slot }));
        ctx.notify(Started { worker });
    }

    /// A worker process that has not introduced itself, for it is stopped or hangs before that, gives up its place among
    /// those that start: it counts as one that failed to.
    fn end_mute(&mut self, worker: WorkerId, ctx: &mut Context<Self>) {
        let Some((_, Worker::Process { peer: None, pid })) = self.workers.get(&worker) else { return };
        let Some(spawner) = &mut self.spawner else { return };
        let reason = format!(
            "its process {pid} said nothing for {:?}: the program must come to `init()` within that time",
            spawner.hello_within
        );
        tracing::warn!(target: "actinic", %worker, reason, "a worker could not be started");
        spawner.kill(worker);
        self.workers.remove(&worker);
        self.event(Event::WorkerFailedToStart { worker, reason, permanent: false }, ctx);
    }

    /// A process introduces itself: a worker is there if it runs what it was started for.
    pub(super) fn hello(&mut self, peer: PeerAddr, worker: Option<WorkerId>, program: &str, ctx: &mut Context<Self>) {
        let Some(worker) = worker else { return };
        let Some((job, Worker::Process { peer: known, .. })) = self.workers.get_mut(&worker) else { return };
        let expected = self.spawner.as_ref().map(|spawner| spawner.identity(*job)).unwrap_or_default();
        if !expected.is_empty() && expected != program {
            let error = Error::version_mismatch(format!(
                "the worker's program is {program}, and the driver's is {expected}: the file that it was started from was replaced"
            ))
            .remedy("run the driver again");
            if let Some(spawner) = &mut self.spawner {
                spawner.discard_program(*job);
                spawner.stop(worker);
            }
            ctx.notify(Failed { worker, error, permanent: true });
            return;
        }
        *known = Some(peer);
        self.event(Event::WorkerStarted { worker }, ctx);
    }

    pub(super) fn failed(&mut self, failed: Failed, ctx: &mut Context<Self>) {
        let Failed { worker, error, permanent } = failed;
        self.workers.remove(&worker);
        let reason = error.to_string();
        tracing::warn!(target: "actinic", %worker, reason, "a worker could not be started");
        self.start_error = Some(error);
        self.event(Event::WorkerFailedToStart { worker, reason, permanent }, ctx);
        self.start_error = None;
    }

    /// Asks an idle worker whether it owns what somebody may ask for.
    pub(super) fn ask_worker(&mut self, worker: WorkerId, ctx: &mut Context<Self>) {
        match self.workers.get(&worker) {
            Some((_, Worker::Process { peer: Some(peer), .. })) => {
                let Ok(endpoint) = self.process.endpoint() else { return };
                let raylet = ctx.address();
                let answer = endpoint.peer(peer).ask(WORKER, &ToWorker::IsNeeded, Duration::from_secs(5));
                self.process.spawn(async move {
                    // One that does not answer is busy, or about to be found dead.
                    let needed = answer.await.unwrap_or(true);
                    raylet.do_send(Needed { worker, needed });
                });
            }
            // What a thread's worker owns outlives it in its process.
            _ => self.answered(worker, false, ctx),
        }
    }

    /// Answers are looked at together, when what is in the mailbox has been heard: many workers are asked at a time.
    fn answered(&mut self, worker: WorkerId, needed: bool, ctx: &mut Context<Self>) {
        if self.answers.is_empty() {
            ctx.notify(Answered);
        }
        self.answers.push((worker, needed));
    }

    pub(super) fn stop_worker(&mut self, worker: WorkerId) {
        match self.workers.remove(&worker) {
            Some((_, Worker::Thread { slot })) => {
                self.end_actors_of(worker);
                drop(slot.close());
                if let Some(owner) = slot.host.owner_if_any() {
                    let owner = Arc::clone(owner);
                    retire(&self.process, owner);
                }
            }
            Some((_, Worker::Process { peer, .. })) => {
                if let Some(peer) = peer {
                    self.stopping.insert(worker, peer.id);
                }
                if let Some(spawner) = &mut self.spawner {
                    spawner.stop(worker);
                }
            }
            None => {}
        }
    }

    /// Ends the actors of a worker that stops, as the end of a process would: what it keeps is let go.
    fn end_actors_of(&mut self, worker: WorkerId) {
        for run in self.running.at(worker) {
            match self.process.actor(crate::actor::host::number(run.actor)) {
                Some(actor) if actor.run() == run => actor.ask_end(true),
                _ => {
                    self.process.cancel_start(run);
                }
            }
        }
    }
}

/// A worker that is not needed any more ends when nothing that it owns is.
fn retire(process: &Arc<Process>, owner: Arc<crate::owner::Owner>) {
    let (known, _, _) = owner.load();
    if known == 0 {
        process.tell_gcs(ToGcs::OwnerDied { owner: owner.id });
    }
}

impl Handler<Started> for Raylet {
    type Result = ();

    fn handle(&mut self, message: Started, ctx: &mut Context<Self>) {
        self.event(Event::WorkerStarted { worker: message.worker }, ctx);
    }
}

impl Handler<Needed> for Raylet {
    type Result = ();

    fn handle(&mut self, message: Needed, ctx: &mut Context<Self>) {
        self.answered(message.worker, message.needed, ctx);
    }
}

impl Handler<Answered> for Raylet {
    type Result = ();

    fn handle(&mut self, _: Answered, ctx: &mut Context<Self>) {
        let answers = std::mem::take(&mut self.answers);
        self.event(Event::WorkersAnswered { answers }, ctx);
    }
}

impl Handler<Failed> for Raylet {
    type Result = ();

    fn handle(&mut self, message: Failed, ctx: &mut Context<Self>) {
        self.failed(message, ctx);
    }
}
