//! Carrying out what the core has decided.

use std::time::Duration;

use actinic_transport::{NodeId, PeerAddr};
use actix::Context;

use crate::alarm::{self, Alarm, Alarmed};
use crate::api::error::Error;
use crate::ids::{OwnerId, WorkerId};
use crate::owner::Ran;
use crate::protocol::{LeaseId, OwnerMessage, Refused, RequestId, ToOwner};
use crate::raylet::Raylet;
use crate::raylet::core::{Action, Event, RefuseReason};

impl Raylet {
    pub(super) fn act(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::Grant { request, to, lease, worker, .. } if to == self.me() => self.place(request, lease, worker),
            Action::Grant { request, to, lease, worker, open } => {
                let Some(worker) = self.worker_addr(worker) else { return };
                self.tell(to, OwnerMessage::Grant { request, lease, worker, open });
            }
            Action::Spill { request, to, node, count, .. } if to == self.me() => {
                tracing::debug!(?request, %node, count, "the GCS has chosen this node for an actor that would go elsewhere");
                self.no_room(request);
            }
            Action::Spill { request, to, node, count, spilled, open } => {
                self.spill(to, (request, count, spilled, open), node);
            }
            Action::Refuse { request, to, why } => self.refuse(request, to, why, ctx),
            Action::StartWorker { worker, job, kind } => self.start_worker(worker, job, kind, ctx),
            Action::AskWorker { worker } => self.ask_worker(worker, ctx),
            Action::StopWorker { worker } => self.stop_worker(worker),
            Action::Recall { lease, to, yield_now } if to != self.me() => {
                self.tell(to, OwnerMessage::Recall { lease, yield_now });
            }
            Action::LeaseLost { lease, to, worker } if to != self.me() => self.lease_lost(lease, to, worker),
            Action::Recall { .. } | Action::LeaseLost { .. } => {}
            Action::Infeasible { request, to, shape, first, avoids } => {
                let which = if avoids { " that its owner can reach" } else { "" };
                let text = format!(
                    "no node of the cluster{which} has {shape}, which a task asks for (this one has {}): it stays pending until \
                     one joins",
                    self.total
                );
                self.tell(to, OwnerMessage::Infeasible { request, text, first });
            }
            Action::ReportView(view) => self.report(view, ctx),
            Action::NextTick(at) => self.tick_at(at, ctx),
        }
    }

    fn tell(&self, to: OwnerId, message: OwnerMessage) {
        self.process.tell_owner(to.process, ToOwner::To { owner: to.number, message });
    }

    fn spill(&self, to: OwnerId, (request, count, spilled, open): (RequestId, u32, u8, u32), node: NodeId) {
        let Some(row) = self.nodes.get(&node) else { return };
        let raylet = PeerAddr { id: row.process, addrs: row.addrs.clone(), relay: None };
        self.tell(to, OwnerMessage::Spill { request, node, raylet, count, spilled, open });
    }

    fn refuse(&mut self, request: RequestId, to: OwnerId, why: RefuseReason, ctx: &mut Context<Self>) {
        let actor = to == self.me();
        if let RefuseReason::WorkerStart { reason, permanent } = why {
            let error = self.start_error.clone().unwrap_or_else(|| {
                Error::runtime_env_setup(format!("no worker could be started: {reason}"))
                    .remedy("the node's log says what the worker printed")
            });
            let error = error.at_node(self.process.id.node);
            match (actor, permanent) {
                (true, true) => self.not_started(request, error),
                (true, false) => self.no_room_for_now(request, ctx),
                (false, _) => self.tell(to, OwnerMessage::Refuse { request, error, of: Refused::Node }),
            }
            return;
        }
        if actor {
            tracing::debug!(%why, "an actor was refused");
            self.no_room(request);
            return;
        }
        let of = if why == RefuseReason::JobEnded { Refused::Job } else { Refused::Request };
        let error = Error::infeasible(why.to_string())
            .at_node(self.process.id.node)
            .remedy("name another node, use soft affinity, or start a node that has what it needs");
        self.tell(to, OwnerMessage::Refuse { request, error, of });
    }

    fn lease_lost(&self, lease: LeaseId, to: OwnerId, worker: WorkerId) {
        let ran = match self.died.running {
            None => Ran::First,
            Some(running) => Ran::Task(running.filter(|(of, _)| *of == lease.number).map(|(_, seq)| seq)),
        };
        self.tell(to, OwnerMessage::LeaseLost { lease, worker, process: self.died.process, ran });
    }

    fn tick_at(&mut self, at: Duration, ctx: &mut Context<Self>) {
        alarm::ring_at(self, Some(at), ctx);
    }
}

impl Alarmed for Raylet {
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
