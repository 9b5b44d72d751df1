//! Carrying out what the core has decided.

use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{Lane, NodeId, Probe, ProcessId};
use actix::{AsyncContext, Context};

use crate::gcs::core::{Action, ActorRun, ActorState, DeathCause, EndHow, Reply, ReplyId};
use crate::gcs::messages::Dead;
use crate::gcs::{Answer, Gcs, Pending};
use crate::ids::{ActorId, OwnerId};
use crate::process::nobody_listens;
use crate::protocol::{ActorInfo, ActorNews, GcsAnswer, OWNER, ToOwner, ToRaylet};
use crate::raylet::RayletLink;

/// How long a kill waits for the word that the incarnation has ended.
const KILL_WITHIN: Duration = Duration::from_secs(1);

impl Gcs {
    pub(super) fn act(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::Reply { to, reply } => self.reply(to, reply, ctx),
            Action::PlaceActor { node, run, spec } => {
                self.tell_raylet(node, ToRaylet::PlaceActor { run, spec });
            }
            Action::EndActor { node, run, how } => {
                self.tell_raylet(node, ToRaylet::EndActor { run, kill: how == EndHow::Kill });
            }
            Action::RecallActor { node, run } => self.tell_raylet(node, ToRaylet::RecallActor { run }),
            Action::SpreadNodes { to, rows } => {
                for row in rows.iter().filter(|row| !row.state.is_up()) {
                    self.tasks.node_ended(row.id, self.wall());
                    self.forget_processes_of(row.id, row.process);
                }
                for node in to {
                    self.tell_raylet(node, ToRaylet::Nodes(rows.clone()));
                }
            }
            Action::SpreadViews { to, views } => {
                for node in to {
                    self.tell_raylet(node, ToRaylet::Views(views.clone()));
                }
            }
            Action::ProbeNode { node } => self.probe(node, ctx),
            Action::TellDead { node, process } => self.tell_raylet(node, ToRaylet::Dead { process }),
            Action::AskRegister { node } => tracing::debug!(%node, "an unknown node speaks; it will register"),
            Action::TellJobEnded { to, job } => {
                for node in to {
                    self.tell_raylet(node, ToRaylet::JobEnded { job });
                }
            }
            Action::KeepProgram { node, job } => self.tell_raylet(node, ToRaylet::KeepProgram { job }),
            Action::ForgetProgram { to, job } => {
                for node in to {
                    self.tell_raylet(node, ToRaylet::ForgetProgram { job });
                }
            }
            Action::Publish { to, rows } => {
                let news = rows.into_iter().map(|info| self.news(info)).collect();
                self.tell_process(to, ToOwner::Actors(news));
            }
            Action::Warn(warning) => tracing::warn!(target: "actinic", "{warning}"),
            Action::WarnOwners { to, warning } => {
                // Once in each log: an owner's process may be this one.
                if !to.contains(&self.process.id) {
                    tracing::warn!(target: "actinic", "{warning}");
                }
                for process in to {
                    self.tell_process(process, ToOwner::Warning { text: warning.to_string() });
                }
            }
        }
    }

    pub(super) fn news(&self, info: ActorInfo) -> ActorNews {
        let peer = info.address.and_then(|address| self.peers.get(&address.process).cloned());
        ActorNews { info, peer }
    }

    /// A kill is answered when the incarnation has ended, by its raylet's word: what it owned is lost by then, and whoever
    /// killed it shall know.
    pub(super) fn killed(&mut self, actor: ActorId, ending: Option<ActorRun>, answer: Answer, ctx: &mut Context<Self>) {
        let before = self.killing.keys().find(|run| run.actor == actor).copied();
        let Some(run) = ending.or(before) else { return answer.give(&GcsAnswer::Killed { owner: None }) };
        self.killing.entry(run).or_default().push(answer);
        if before != Some(run) {
            // One whose process is stuck, or whose node is gone, does not hold up its killer.
            ctx.run_later(KILL_WITHIN, move |gcs, _| gcs.killing_ended(run, None));
        }
    }

    pub(super) fn killing_ended(&mut self, run: ActorRun, owner: Option<OwnerId>) {
        for answer in self.killing.remove(&run).unwrap_or_default() {
            answer.give(&GcsAnswer::Killed { owner });
        }
    }

    pub(super) fn reply(&mut self, to: ReplyId, reply: Reply, ctx: &mut Context<Self>) {
        let Some(pending) = self.pending.remove(&to.0) else { return };
        match (pending, reply) {
            (Pending::Create(owner, _), Reply::Created(info) | Reply::Existing(info)) => {
                self.tell_process(owner.process, ToOwner::Actors(vec![self.news(info)]));
            }
            (Pending::Create(owner, asked), Reply::Refused(cause)) => {
                let news = self.news(dead_info(asked, cause));
                self.tell_process(owner.process, ToOwner::Actors(vec![news]));
            }
            (Pending::Ask(answer), Reply::Found { info, spec }) => {
                let news = self.news(info);
                answer.give(&GcsAnswer::Actor(Some((news, spec))));
            }
            (Pending::Ask(answer), Reply::NotFound) => answer.give(&GcsAnswer::Actor(None)),
            (Pending::Ask(answer), Reply::Names(names)) => answer.give(&GcsAnswer::Names(names)),
            (Pending::Ask(answer), Reply::Killed { actor, ending }) => self.killed(actor, ending, answer, ctx),
            (Pending::Ask(answer), Reply::KilledUnknown) => answer.give(&GcsAnswer::Killed { owner: None }),
            (_, reply) => tracing::error!(?reply, "the GCS answered what was not asked"),
        }
    }

    pub(super) fn tell_raylet(&self, node: NodeId, message: ToRaylet) {
        if node == self.process.id.node
            && let Some(raylet) = &self.raylet
        {
            raylet.tell(message);
            return;
        }
        let peer = self.raylets.get(&node).and_then(|process| self.peers.get(process));
        if let (Some(peer), Ok(endpoint)) = (peer, self.process.endpoint()) {
            RayletLink::Remote(endpoint.peer(peer), Arc::clone(&self.process.room)).tell(message);
        }
    }

    /// A node is dead, and whatever ran there: nothing is told to that any more. To its raylet, for as long as its row is
    /// kept, that it is dead.
    fn forget_processes_of(&mut self, node: NodeId, raylet: ProcessId) {
        self.peers.retain(|process, _| process.node != node || *process == raylet);
        let (core, peers) = (&self.core, &mut self.peers);
        self.raylets.retain(|node, process| {
            let known = core.node(*node).is_some();
            if !known {
                peers.remove(process);
            }
            known
        });
    }

    pub(super) fn tell_process(&self, process: ProcessId, message: ToOwner) {
        if process == self.process.id {
            return self.process.deliver_soon(message);
        }
        if let (Some(peer), Ok(endpoint)) = (self.peers.get(&process), self.process.endpoint()) {
            let _ = endpoint.peer(peer).tell(Lane::Ordered, OWNER, &message);
        }
    }

    /// Asks a node for a sign of life.
    pub(super) fn probe(&self, node: NodeId, ctx: &mut Context<Self>) {
        let peer = self.raylets.get(&node).and_then(|process| self.peers.get(process));
        let (Some(addr), Ok(endpoint)) = (peer.and_then(|peer| peer.addrs.first().copied()), self.process.endpoint())
        else {
            return;
        };
        let endpoint = endpoint.clone();
        let gcs = ctx.address();
        self.process.spawn(async move {
            let refused = endpoint.probe(addr, Duration::from_millis(500)).await == Probe::Unreachable;
            if refused && nobody_listens(&endpoint, addr).await {
                gcs.do_send(Dead(node, "port unreachable".to_owned()));
            }
        });
    }

    /// A process is dead: whoever waits for it anywhere is told.
    pub(super) fn spread_death(&self, process: ProcessId) {
        for node in self.raylets.keys().filter(|node| self.core.is_up(**node)) {
            self.tell_raylet(*node, ToRaylet::Dead { process });
        }
    }
}

pub(super) fn dead_info(id: crate::ids::ActorId, cause: DeathCause) -> ActorInfo {
    ActorInfo {
        id,
        state: ActorState::Dead,
        incarnation: 0,
        restarts: 0,
        node: cause.node,
        address: None,
        waits: None,
        death: Some(Box::new(cause)),
        found: None,
    }
}
