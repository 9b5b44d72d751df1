//! A component's next look at its core, as an Actix timer that is seldom set anew.
//!
//! Actix finds a cancelled timer by going through all of its actor: one that is set anew with every message costs the
//! square of a burst, which kept a node's thread from its heartbeat for seconds. So a timer that rings too early stays, and
//! is set again when it rings.

use std::time::Duration;

use actix::{Actor, AsyncContext, Context, SpawnHandle};

/// When its actor wants to be rung, and when it is.
#[derive(Default)]
pub(crate) struct Alarm {
    wanted: Option<Duration>,
    set: Option<(Duration, SpawnHandle)>,
}

/// An actor with an alarm.
pub(crate) trait Alarmed: Actor<Context = Context<Self>> {
    fn alarm(&mut self) -> &mut Alarm;
    fn now(&self) -> Duration;
    /// The time has come.
    fn rung(&mut self, ctx: &mut Context<Self>);
}

/// Rings the actor at a time, and not when it wanted to be rung before.
pub(crate) fn ring_at<A: Alarmed>(actor: &mut A, at: Option<Duration>, ctx: &mut Context<A>) {
    let alarm = actor.alarm();
    alarm.wanted = at;
    let Some(at) = at else { return };
    if let Some((set, handle)) = alarm.set {
        if set <= at {
            return;
        }
        ctx.cancel_future(handle);
    }
    let wait = at.saturating_sub(actor.now());
    let handle = ctx.run_later(wait, |actor, ctx| {
        let now = actor.now();
        actor.alarm().set = None;
        match actor.alarm().wanted {
            Some(at) if at > now => ring_at(actor, Some(at), ctx),
            Some(_) => {
                actor.alarm().wanted = None;
                actor.rung(ctx);
            }
            None => {}
        }
    });
    actor.alarm().set = Some((at, handle));
}
