//! Actors: creation, what raylets report of them, and what is asked of them.

use std::sync::Arc;

use actinic_transport::NodeId;
use bytes::Bytes;

use super::table::{Actor, Waiting};
use super::{
    Action, ActorEnd, ActorRow, ActorRun, ActorSpec, ActorState, DeathReason, EndHow, GcsCore, Lifeline, Refusal,
    Reply, ReplyId, Seat, StartFailure,
};
use crate::ids::ActorId;

/// What becomes of a request for an actor.
enum Verdict {
    Make,
    /// This one has the name, and will do.
    Have(u64),
    Refuse(Refusal),
}

impl GcsCore {
    pub(super) fn create_actor(&mut self, spec: Arc<ActorSpec>, reply: ReplyId) {
        if let Some(number) = self.resolve(spec.id) {
            return self.answer_again(number, spec.id, reply);
        }
        match self.judge(&spec) {
            Verdict::Have(number) => {
                let (asked, owner) = (spec.id, spec.owner);
                self.alias(asked, number);
                self.claim(number, &spec);
                self.watch(number, owner.process);
                for process in self.early_subscribers.remove(&(owner, asked)).unwrap_or_default() {
                    self.watch(number, process);
                    self.send_snapshot(number, process, asked);
                }
                if self.early_kills.contains(&asked) {
                    self.end_now(number, DeathReason::Killed);
                }
                self.answer_again(number, asked, reply);
            }
            Verdict::Refuse(why) => {
                let number = self.insert_actor(spec);
                self.finish(number, why.into());
                self.reply_created(number, reply);
            }
            Verdict::Make => {
                let mut spec = spec;
                if spec.detached && spec.lifeline != Lifeline::None {
                    // It was for the case that another's exists, which may not be detached.
                    Arc::make_mut(&mut spec).lifeline = Lifeline::None;
                }
                if spec.detached {
                    self.keep_program(spec.job);
                }
                let number = self.insert_actor(spec.clone());
                if let Some(name) = &spec.name {
                    self.names.entry(spec.namespace.clone()).or_default().insert(name.clone(), number);
                }
                if self.early_kills.contains(&spec.id) {
                    self.finish(number, DeathReason::Killed);
                } else if !spec.waits() {
                    self.place_new(number);
                }
                self.reply_created(number, reply);
            }
        }
    }

    fn judge(&self, spec: &ActorSpec) -> Verdict {
        if self.is_owner_dead(spec.owner) {
            return Verdict::Refuse(Refusal::OwnerDead { owner: spec.owner });
        }
        if !spec.outlives_job && self.jobs.get(&spec.job).is_none_or(|job| job.ended.is_some()) {
            return Verdict::Refuse(Refusal::NoSuchJob { job: spec.job });
        }
        let Some(name) = &spec.name else {
            return if spec.get_if_exists { Verdict::Refuse(Refusal::NoName) } else { Verdict::Make };
        };
        if name.is_empty() {
            return Verdict::Refuse(Refusal::EmptyName);
        }
        let held = self.named(name, &spec.namespace).and_then(|number| Some((number, self.actors.get(number)?)));
        let Some((number, holder)) = held else {
            return Verdict::Make;
        };
        let (name, holder_id) = (name.clone(), holder.row.spec.id);
        if !spec.get_if_exists {
            let namespace = spec.namespace.clone();
            return Verdict::Refuse(Refusal::NameTaken { name, namespace, holder: holder_id });
        }
        if holder.row.spec.class != spec.class {
            let (found, asked) = (holder.row.spec.class.clone(), spec.class.clone());
            return Verdict::Refuse(Refusal::ClassMismatch { name, holder: holder_id, found, asked });
        }
        if holder.row.spec.path != spec.path && self.is_same_program(holder.row.spec.job, spec.job) {
            let (found, asked) = (holder.row.spec.path.clone(), spec.path.clone());
            return Verdict::Refuse(Refusal::ClassMismatch { name, holder: holder_id, found, asked });
        }
        Verdict::Have(number)
    }

    fn insert_actor(&mut self, spec: Arc<ActorSpec>) -> u64 {
        let (id, owner) = (spec.id, spec.owner);
        let state = if spec.waits() { ActorState::DependenciesUnready } else { ActorState::PendingCreation };
        let row = ActorRow {
            number: 0,
            spec,
            state,
            incarnation: 0,
            attempt: 0,
            restarts: 0,
            node: None,
            seat: None,
            waits: None,
            death: None,
            started: self.now,
            ended: None,
        };
        let mut actor = Actor::new(row);
        actor.owner_watches = !self.is_owner_dead(owner);
        let number = self.actors.insert(actor);
        if !self.early_subscribers.is_empty() {
            for process in self.early_subscribers.remove(&(owner, id)).unwrap_or_default() {
                self.watch(number, process);
            }
        }
        self.mark_changed(number);
        number
    }

    /// The constructor's arguments of an actor are ready: it is placed. It may have ended meanwhile, or another have its name.
    pub(super) fn actor_arguments(&mut self, id: ActorId, creation: Bytes) {
        let Some(number) = self.unready(id) else { return };
        if let Some(actor) = self.actors.get_mut(number) {
            Arc::make_mut(&mut actor.row.spec).creation = creation;
            actor.row.state = ActorState::PendingCreation;
        }
        self.mark_changed(number);
        self.place_new(number);
    }

    pub(super) fn actor_not_made(&mut self, id: ActorId, text: String, error: Bytes) {
        if let Some(number) = self.unready(id) {
            self.finish(number, DeathReason::ConstructorError { text, error });
        }
    }

    /// An actor whose constructor's arguments are not ready.
    fn unready(&self, id: ActorId) -> Option<u64> {
        let number = self.actors.number(id)?;
        self.actors.get(number).filter(|actor| actor.row.state == ActorState::DependenciesUnready).map(|_| number)
    }

    /// Places an actor that was just asked for: one that can never be placed is refused.
    fn place_new(&mut self, number: u64) {
        self.place(number);
        let Some(actor) = self.actors.get_mut(number) else { return };
        if let Some(death) = &mut actor.row.death
            && let DeathReason::Unschedulable { detail } = &death.reason
        {
            death.reason = Refusal::Infeasible { detail: detail.clone() }.into();
        }
    }

    fn reply_created(&mut self, number: u64, to: ReplyId) {
        let Some(actor) = self.actors.get(number) else { return };
        let reply = match &actor.row.death {
            Some(death) if matches!(death.reason, DeathReason::Refused { .. }) => Reply::Refused(*death.clone()),
            _ => Reply::Created(actor.row.info()),
        };
        self.reply(to, reply);
    }

    /// Answers a request that was answered before (GCS-3).
    fn answer_again(&mut self, number: u64, asked: ActorId, to: ReplyId) {
        let Some(actor) = self.actors.get(number) else { return };
        if actor.row.spec.id == asked {
            return self.reply_created(number, to);
        }
        let info = actor.row.info_as(asked);
        self.reply(to, Reply::Existing(info));
    }

    pub(super) fn actor_placed(&mut self, run: ActorRun, node: NodeId) {
        if self.hear(node)
            && let Some(number) = self.current(run, node)
        {
            self.admit(number, node);
        }
    }

    pub(super) fn actor_ready(&mut self, run: ActorRun, node: NodeId, seat: Seat) {
        if !self.hear(node) {
            return;
        }
        let Some(number) = self.current(run, node) else {
            return self.end_run(node, run, EndHow::Kill);
        };
        self.admit(number, node);
        let Some(actor) = self.actors.get_mut(number) else { return };
        if actor.row.state == ActorState::Alive {
            return;
        }
        actor.row.state = ActorState::Alive;
        actor.row.seat = Some(self.seats.share(seat));
        actor.refused_by.clear();
        actor.crashes = 0;
        let stopping = actor.stopping.is_some();
        self.mark_changed(number);
        if stopping {
            self.end_run(node, run, EndHow::AfterCalls);
        }
    }

    pub(super) fn actor_failed(&mut self, run: ActorRun, node: NodeId, cause: StartFailure) {
        if !self.hear(node) {
            return;
        }
        let Some(number) = self.current(run, node) else { return };
        if self.actors.get(number).is_none_or(|actor| actor.row.state == ActorState::Alive) {
            return;
        }
        match cause {
            StartFailure::ConstructorError { text, error } => {
                self.finish(number, DeathReason::ConstructorError { text, error });
            }
            StartFailure::WorkerDied { detail } => self.lose(number, DeathReason::WorkerDied { detail }),
            StartFailure::NoRoom => {
                let version = self.nodes.get(&node).map_or(0, |node| node.view.version);
                if let Some(actor) = self.actors.get_mut(number) {
                    let refused_by = actor.refused_by.make();
                    refused_by.retain(|(other, _)| *other != node);
                    refused_by.push((node, version));
                }
                self.place_elsewhere(number);
            }
        }
    }

    /// An incarnation that never began where it was sent goes to another node: no restart is used up.
    pub(super) fn place_elsewhere(&mut self, number: u64) {
        self.detach(number);
        if let Some(actor) = self.actors.get_mut(number) {
            actor.row.node = None;
        }
        self.place(number);
    }

    pub(super) fn actor_died(&mut self, run: ActorRun, node: NodeId, cause: ActorEnd) {
        if !self.hear(node) {
            return;
        }
        let Some(number) = self.current(run, node) else { return };
        match cause {
            ActorEnd::WorkerDied { detail } => self.lose(number, DeathReason::WorkerDied { detail }),
            ActorEnd::OutOfMemory { detail } => self.lose(number, DeathReason::OutOfMemory { detail }),
            ActorEnd::Exited { detail } => self.finish(number, DeathReason::Exited { detail }),
            ActorEnd::Broken { detail } => self.lose(number, DeathReason::Broken { detail }),
            ActorEnd::Ended => {
                let asked = self.actors.get(number).and_then(|actor| actor.stopping.as_deref().cloned());
                self.finish(number, asked.unwrap_or(DeathReason::Stopped));
            }
        }
    }

    pub(super) fn kill_actor(&mut self, id: ActorId, no_restart: bool, reply: Option<ReplyId>) {
        let Some(number) = self.resolve(id) else {
            if no_restart {
                self.early_kills.insert(id);
                self.tell_early_subscribers_of(id);
            }
            if let Some(reply) = reply {
                self.reply(reply, Reply::KilledUnknown);
            }
            return;
        };
        let ending = self.actors.get(number).and_then(|actor| {
            let up = |node| self.nodes.get(&node).is_some_and(|node| node.row.state.is_up());
            let told = actor.on_node && actor.row.node.is_some_and(up);
            (told && actor.row.state == ActorState::Alive).then(|| actor.row.run())
        });
        let actor = self.actors.get(number).map_or(id, |actor| actor.row.spec.id);
        if no_restart {
            self.end_now(number, DeathReason::Killed);
        } else if self.unready(actor).is_none() {
            // Of one that is not ready nothing runs that could be killed.
            self.kill_run(number);
            self.lose(number, DeathReason::Killed);
        }
        if let Some(reply) = reply {
            self.reply(reply, Reply::Killed { actor, ending });
        }
    }

    /// Lets an actor finish the calls already made, also those that wait for it to come to life, and end.
    pub(super) fn stop_actor(&mut self, id: ActorId, reason: DeathReason) {
        let Some(number) = self.resolve(id) else { return };
        let Some(actor) = self.actors.get_mut(number) else { return };
        if actor.row.state == ActorState::Dead || actor.stopping.is_some() {
            return;
        }
        if actor.row.state == ActorState::DependenciesUnready && reason == DeathReason::Stopped {
            return self.finish(number, reason);
        }
        actor.stopping = Some(Box::new(reason));
        let alive = (actor.row.state == ActorState::Alive).then(|| actor.row.run());
        let node = actor.row.node;
        self.free_name(number);
        if let (Some(run), Some(node)) = (alive, node) {
            self.end_run(node, run, EndHow::AfterCalls);
        }
    }

    pub(super) fn handles_gone(&mut self, id: ActorId) {
        match self.actors.number(id) {
            Some(number) => {
                if let Some(actor) = self.actors.get_mut(number) {
                    actor.held = false;
                }
                self.end_unheld(number);
            }
            None => self.unclaim(id),
        }
    }

    /// A request of `get_if_exists` that found an actor holds it.
    fn claim(&mut self, number: u64, spec: &ActorSpec) {
        let (Some(lifeline), Some(actor)) = (spec.lifeline(), self.actors.get_mut(number)) else { return };
        if !actor.row.spec.detached {
            actor.claims.make().push((spec.id, lifeline));
            self.claims.insert(spec.id, (number, spec.owner));
            self.claimants.insert((spec.owner, spec.id));
        }
    }

    /// Whoever asked for an actor by this id does not hold it any more.
    pub(super) fn unclaim(&mut self, asked: ActorId) {
        let Some((number, owner)) = self.claims.remove(&asked) else { return };
        self.claimants.remove(&(owner, asked));
        if let Some(actor) = self.actors.get_mut(number) {
            actor.claims.make().retain(|(claim, _)| *claim != asked);
        }
        self.end_unheld(number);
    }

    /// Ends an actor that nothing holds (GCS-11); else its handles hold from now on what does.
    fn end_unheld(&mut self, number: u64) {
        let Some(actor) = self.actors.get_mut(number) else { return };
        if actor.held || actor.row.spec.detached {
            return;
        }
        match actor.claims.get().and_then(|claims| claims.first()) {
            Some((_, lifeline)) if actor.row.spec.lifeline() != Some(*lifeline) => {
                let lifeline = *lifeline;
                Arc::make_mut(&mut actor.row.spec).lifeline = Lifeline::Claimed(Box::new(lifeline));
            }
            Some(_) => {}
            // Nobody waits for an answer of it, or there would be something that holds it.
            None if !actor.on_node && actor.row.state != ActorState::DependenciesUnready => self.finish_unheld(number),
            None => {
                let id = actor.row.spec.id;
                self.stop_actor(id, DeathReason::OutOfScope);
            }
        }
    }

    /// Ends an actor that nothing holds, and of which nothing runs.
    pub(super) fn finish_unheld(&mut self, number: u64) {
        let Some(actor) = self.actors.get_mut(number) else { return };
        let reason = actor.stopping.take().map_or(DeathReason::OutOfScope, |reason| *reason);
        self.finish(number, reason);
    }

    /// The actor of which a run is the current one, on that node.
    fn current(&self, run: ActorRun, node: NodeId) -> Option<u64> {
        let number = self.actors.number(run.actor)?;
        let actor = self.actors.get(number)?;
        let current = actor.on_node && actor.row.node == Some(node) && actor.row.run() == run;
        let waits = !matches!(actor.waiting, Waiting::No | Waiting::There(_));
        debug_assert!(!actor.on_node || !waits, "an actor that waits for a node has none");
        current.then_some(number)
    }

    pub(super) fn end_run(&mut self, node: NodeId, run: ActorRun, how: EndHow) {
        self.out.push(Action::EndActor { node, run, how });
    }
}
