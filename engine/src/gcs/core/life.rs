//! The end of an actor's incarnation, and of the actor.

use std::sync::Arc;
use std::time::Duration;

use super::table::{Actor, Waiting};
use super::{Action, ActorState, DeathCause, DeathReason, EndHow, GcsCore, Warning};

/// Crashes in a row in the constructor that are followed by another start at once.
const FREE_CRASHES: u32 = 3;

impl GcsCore {
    /// An incarnation is lost: the next is placed, or the actor is dead (GCS-4).
    pub(super) fn lose(&mut self, number: u64, reason: DeathReason) {
        let Some(actor) = self.actors.get_mut(number) else { return };
        if actor.row.state == ActorState::Dead {
            return;
        }
        if !may_restart(actor, &reason) {
            return self.finish(number, reason);
        }
        let crashed = matches!(
            reason,
            DeathReason::WorkerDied { .. } | DeathReason::Broken { .. } | DeathReason::OutOfMemory { .. }
        );
        if crashed && actor.row.state != ActorState::Alive {
            actor.crashes += 1;
        }
        let crashes = actor.crashes;
        self.detach(number);
        let delay = if crashed { self.crash_delay(crashes) } else { Duration::ZERO };
        let now = self.now;
        let Some(actor) = self.actors.get_mut(number) else { return };
        let row = &mut actor.row;
        row.state = ActorState::Restarting;
        row.incarnation += 1;
        row.restarts += 1;
        row.attempt = 0;
        row.node = None;
        row.seat = None;
        actor.refused_by.clear();
        if delay > Duration::ZERO {
            actor.waiting = Waiting::Until(now + delay);
            self.delayed.insert((now + delay, number));
        }
        self.mark_changed(number);
        if delay == Duration::ZERO {
            self.place(number);
        }
    }

    fn crash_delay(&self, crashes: u32) -> Duration {
        match crashes.checked_sub(FREE_CRASHES) {
            None => Duration::ZERO,
            Some(more) => (self.config.crash_delay_min * (1 << more.min(16))).min(self.config.crash_delay_max),
        }
    }

    /// Ends an actor that may still run: its node is told.
    pub(super) fn end_now(&mut self, number: u64, reason: DeathReason) {
        self.kill_run(number);
        self.finish(number, reason);
    }

    /// Tells the node of an actor, if it has one, to end it.
    pub(super) fn kill_run(&mut self, number: u64) {
        let Some(actor) = self.actors.get(number).filter(|actor| actor.on_node) else { return };
        let run = actor.row.run();
        if let Some(node) = actor.row.node
            && self.nodes.get(&node).is_some_and(|node| node.row.state.is_up())
        {
            self.end_run(node, run, EndHow::Kill);
        }
    }

    /// An actor is dead for good: it loses its name, its place and its constructor's arguments.
    pub(super) fn finish(&mut self, number: u64, reason: DeathReason) {
        if self.actors.get(number).is_none_or(|actor| actor.row.state == ActorState::Dead) {
            return;
        }
        self.detach(number);
        self.free_name(number);
        let now = self.now;
        let Some(actor) = self.actors.get_mut(number) else { return };
        let row = &mut actor.row;
        let spec = &row.spec;
        let job = spec.job;
        let cause = Box::new(DeathCause {
            actor: spec.id,
            class: spec.class.clone(),
            name: spec.name.clone(),
            node: row.node,
            restarts: row.restarts,
            max_restarts: spec.max_restarts,
            reason,
        });
        let warns = !cause.reason.is_intended() && !matches!(cause.reason, DeathReason::NodeDied { .. });
        if warns {
            self.out.push(Action::Warn(Warning::ActorDied { job, cause: cause.clone() }));
        }
        row.state = ActorState::Dead;
        row.death = Some(cause);
        row.ended = Some(now);
        if !row.spec.creation.is_empty() {
            Arc::make_mut(&mut row.spec).creation = Default::default();
        }
        actor.refused_by.clear();
        let claims = actor.claims.take();
        // Whoever has claimed it has a handle.
        actor.held |= !claims.is_empty();
        for (asked, _) in claims {
            if let Some((_, owner)) = self.claims.remove(&asked) {
                self.claimants.remove(&(owner, asked));
            }
        }
        self.actors.bury(number);
        self.mark_changed(number);
        self.actor_of_job_ended(job);
    }

    /// Makes an actor's name free, if it has it (GCS-2).
    pub(super) fn free_name(&mut self, number: u64) {
        let Some(actor) = self.actors.get(number) else { return };
        let spec = &actor.row.spec;
        let Some(name) = &spec.name else { return };
        let Some(names) = self.names.get_mut(&spec.namespace) else { return };
        if names.get(name) == Some(&number) {
            names.remove(name);
            if names.is_empty() {
                self.names.remove(&spec.namespace);
            }
        }
    }

    pub(super) fn mark_changed(&mut self, number: u64) {
        if let Some(actor) = self.actors.get_mut(number)
            && !std::mem::replace(&mut actor.changed, true)
        {
            self.changed_actors.push(number);
        }
    }
}

fn may_restart(actor: &Actor, reason: &DeathReason) -> bool {
    let spec = &actor.row.spec;
    let left = spec.max_restarts < 0 || i64::from(actor.row.restarts) < spec.max_restarts;
    // One that was told to stop has had its calls; one that was not alive yet still owes them.
    let stopped = actor.stopping.is_some() && actor.row.state == ActorState::Alive;
    reason.may_restart() && left && !stopped
}
