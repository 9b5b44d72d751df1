//! What arrives at a raylet, from owners, workers and the GCS, in this process or another.

use actix::{Context, Handler};

use crate::post::Look;
use crate::protocol::{ToOwner, ToRaylet};
use crate::raylet::Raylet;
use crate::raylet::core::Event;

impl Handler<Look> for Raylet {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Context<Self>) {
        for message in self.mail.take(ctx) {
            self.hear(message, ctx);
        }
    }
}

impl Raylet {
    fn hear(&mut self, message: ToRaylet, ctx: &mut Context<Self>) {
        match message {
            ToRaylet::Request(request) => self.event(Event::RequestLease(request), ctx),
            ToRaylet::Backlog { from, id, backlog, heard } => {
                self.event(Event::UpdateBacklog { from, id, backlog, heard }, ctx);
            }
            ToRaylet::Return { lease, reusable } => self.event(Event::ReturnLease { lease, reusable }, ctx),
            ToRaylet::Blocked { lease } => self.event(Event::Blocked { lease }, ctx),
            ToRaylet::Unblocked { lease } => self.event(Event::Unblocked { lease }, ctx),
            ToRaylet::Hello { peer, worker, pid: _, program } => self.hello(peer, worker, &program, ctx),
            ToRaylet::JobStarted { row } => self.job_started(&row, ctx),
            ToRaylet::JobEnded { job } => self.job_ended(job, ctx),
            ToRaylet::KeepProgram { job } => self.keep_program(job, ctx),
            ToRaylet::ForgetProgram { job } => self.forget_program(job),
            ToRaylet::OwnerDied { owner } => self.event(Event::OwnerDied { owner }, ctx),
            ToRaylet::PlaceActor { run, spec } => self.want_actor(run, spec, ctx),
            ToRaylet::EndActor { run, kill } => self.end_actor(run, kill, ctx),
            ToRaylet::RecallActor { run } => self.recall_actor(run, ctx),
            ToRaylet::Nodes(rows) => self.nodes_changed(rows, ctx),
            ToRaylet::Views(views) => self.views_changed(views, ctx),
            ToRaylet::Dead { process } => self.declared_dead(process, ctx),
            ToRaylet::OwnerGone { owner } => {
                self.tell_all(&ToOwner::OwnerGone { owner });
                // Its own node's raylet was told by its process.
                self.event(Event::OwnerDied { owner }, ctx);
            }
            ToRaylet::StoreFull { lineage } => self.store_full(lineage, ctx),
            ToRaylet::Tokens(tokens) => {
                if let Some(admission) = self.process.admission.get() {
                    admission.replace(tokens);
                }
            }
            ToRaylet::ActorUp { run } => self.actor_up(run),
            ToRaylet::ActorFailed { run, text, error } => self.actor_failed(run, text, error, ctx),
            ToRaylet::ActorGone { run, how, text, owner } => self.actor_gone(run, how, &text, owner, ctx),
        }
    }
}
