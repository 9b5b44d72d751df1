//! Ends: of workers and other processes, seen or ordered, and of the node itself.

use actinic_transport::ProcessId;
use actix::{Context, Handler};

use crate::ids::WorkerId;
use crate::protocol::{Gone, ToGcs};
use crate::raylet::core::Event;
use crate::raylet::spawn::Spawner;
use crate::raylet::{
    ChildEnded, ChildrenLeft, Died, EndDeaf, EndWorker, ProcessGone, Raylet, Shutdown, Worker, WorkerCrashed,
};

impl Raylet {
    fn worker_gone(&mut self, worker: WorkerId, text: &str, ctx: &mut Context<Self>) {
        self.runs_lost(worker, text);
        let gone = self.workers.remove(&worker);
        // Those who leased it learn what it died of before they learn that its process is gone.
        let process = match &gone {
            Some((_, Worker::Process { peer: Some(peer), .. })) => Some(peer.id),
            _ => None,
        };
        self.died = Died { process, running: self.spawner.as_ref().and_then(|spawner| spawner.ran(worker)) };
        self.event(Event::WorkerDied { worker }, ctx);
        self.died = Died::default();
        if let Some(process) = process {
            self.process_gone(process, ctx);
        }
    }

    /// A worker is gone, and the actors that were there.
    fn runs_lost(&mut self, worker: WorkerId, text: &str) {
        for run in self.running.end(worker) {
            self.process.tell_gcs(ToGcs::ActorDied {
                run,
                node: self.process.id.node,
                how: Gone::Lost,
                text: text.to_owned(),
                owner: None,
            });
        }
    }

    /// A worker's process has ended: nothing is sent to it any more, and what it owned is gone.
    fn process_gone(&mut self, process: ProcessId, ctx: &mut Context<Self>) {
        self.process.tell_gcs(ToGcs::ProcessDied { process });
        if let Ok(endpoint) = self.process.endpoint() {
            endpoint.declare_dead(process);
        }
        self.event(Event::ProcessDied { process }, ctx);
    }
}

impl Handler<WorkerCrashed> for Raylet {
    type Result = ();

    fn handle(&mut self, message: WorkerCrashed, ctx: &mut Context<Self>) {
        self.worker_gone(message.worker, "it crashed", ctx);
    }
}

impl Handler<ChildEnded> for Raylet {
    type Result = ();

    fn handle(&mut self, message: ChildEnded, ctx: &mut Context<Self>) {
        let ChildEnded(worker, text) = message;
        let never_came = matches!(self.workers.get(&worker), Some((_, Worker::Process { peer: None, .. })));
        if never_came {
            self.workers.remove(&worker);
            let reason = format!("its process ended before it reported: {text}");
            self.event(Event::WorkerFailedToStart { worker, reason, permanent: false }, ctx);
        } else if self.workers.contains_key(&worker) {
            self.worker_gone(worker, &text, ctx);
        } else if let Some(process) = self.stopping.remove(&worker) {
            // One that was stopped had no time to say that its actor has ended.
            self.runs_lost(worker, &text);
            self.process_gone(process, ctx);
        }
        if let Some(spawner) = &mut self.spawner {
            spawner.forget(worker);
        }
    }
}

impl Handler<EndDeaf> for Raylet {
    type Result = ();

    fn handle(&mut self, message: EndDeaf, _ctx: &mut Context<Self>) {
        if let Some(spawner) = &mut self.spawner {
            spawner.kill(message.0);
        }
    }
}

impl Handler<ProcessGone> for Raylet {
    type Result = ();

    fn handle(&mut self, message: ProcessGone, ctx: &mut Context<Self>) {
        let ProcessGone(process, text) = message;
        let worker = self.workers.iter().find_map(|(id, (_, worker))| match worker {
            Worker::Process { peer: Some(peer), .. } if peer.id == process => Some(*id),
            _ => None,
        });
        match worker {
            Some(worker) => self.worker_gone(worker, &text, ctx),
            None => {
                self.drivers.remove(&process);
                // Of other nodes' processes their own raylets tell, and of raylets the GCS.
                if process.node == self.process.id.node && process != self.process.id {
                    self.process.tell_gcs(ToGcs::ProcessDied { process });
                }
                self.event(Event::ProcessDied { process }, ctx);
            }
        }
    }
}

impl Handler<EndWorker> for Raylet {
    type Result = bool;

    fn handle(&mut self, message: EndWorker, _ctx: &mut Context<Self>) -> bool {
        match (self.workers.get(&message.0), &mut self.spawner) {
            (Some((_, Worker::Process { .. })), Some(spawner)) => {
                spawner.kill(message.0);
                true
            }
            _ => false,
        }
    }
}

impl Handler<Shutdown> for Raylet {
    type Result = ();

    fn handle(&mut self, message: Shutdown, _ctx: &mut Context<Self>) {
        // Or a task whose worker is ended here would be tried again here, by a new one.
        self.leaving = true;
        if !message.killed {
            self.process.tell_gcs(ToGcs::NodeLeft { node: self.process.id.node });
        }
        if let Some(spawner) = &mut self.spawner {
            if message.killed {
                spawner.kill_all();
            }
            spawner.stop_all();
        }
    }
}

impl Handler<ChildrenLeft> for Raylet {
    type Result = usize;

    fn handle(&mut self, _message: ChildrenLeft, _ctx: &mut Context<Self>) -> usize {
        self.spawner.as_ref().map_or(0, Spawner::left)
    }
}
