//! The steps that call tasks and actors.

use actinic::prelude::*;

use super::model::{Act, Call, Does, Held, Job, Model, Obj, Owner, State};
use super::remote::*;
use super::run::{Answer, Checked, Flight, NAMESPACE, Run, SOON, keeper_name, landed, may_be_argument, said};
use super::steps::{Form, How, Picks, Step};

impl Run {
    pub(super) async fn submit(
        &mut self,
        side: usize,
        kind: Kind,
        form: Form,
        large: bool,
        picks: Picks,
        on: u8,
    ) -> Checked<Option<Job>> {
        let (mut held, refs, mut actors) = self.take(side, picks);
        if kind == Kind::Keep {
            let Some(keeper) = self.pick_handle(side, picks.actors) else { return Ok(None) };
            actors.insert(0, self.sides[side].handles[keeper].clone());
            held.actors.insert(0, self.model.drivers[side].actors[keeper]);
        }
        let form = if kind != Kind::Bundle && form == Form::Twice { Form::Sync } else { form };
        let pick = self.pick(side, picks.one, may_be_argument).filter(|_| form != Form::Sync && form != Form::Async);
        let one = pick.map(|at| (self.model.drivers[side].refs[at], self.sides[side].refs[at].clone()));
        if let Some((object, _)) = &one {
            self.await_result(*object).await?;
        }
        let on_value = form == Form::On && one.is_some();
        let gate = one.clone().filter(|_| !on_value && form != Form::Twice);
        let (result, inner, slot) = (self.name(large), self.name(picks.one & 3 == 0), self.slot());
        let order = Order { kind, result, inner, slot, refs, actors, gate: gate.clone().map(|(_, gate)| gate) };
        let on = self.on(on);
        let found = {
            let _entered = self.enter(side);
            match (form, &one) {
                (Form::On, Some((_, value))) => vec![work_on::options().scheduling(on).remote(order, value)],
                (Form::Async | Form::GatedAsync, _) => vec![work_async::options().scheduling(on).remote(order)],
                (Form::Twice, _) => {
                    let (first, second) = work_twice::options().scheduling(on).remote(order);
                    vec![second, first]
                }
                _ => vec![work::options().scheduling(on).remote(order)],
            }
        };
        let names = [inner, result];
        let job = self.model.call(Does::Task(kind), Owner::Driver(side), &names[2 - found.len()..]);
        let call = Call {
            given: held,
            argument: one.filter(|_| on_value).map(|(object, _)| object),
            gate: gate.map(|(object, _)| object),
            slot,
            inner,
            ..self.model.calls[job].clone()
        };
        let results = call.results.clone();
        self.model.calls[job] = call;
        results.into_iter().zip(found).for_each(|(object, found)| self.keep_var(side, object, found));
        self.model.settle();
        Ok(Some(job))
    }

    pub(super) async fn spawn(&mut self, side: usize, picks: Picks, on: u8) -> Checked<Option<()>> {
        let (held, refs, _) = self.take(side, picks);
        let ready =
            |model: &Model, object: Obj| may_be_argument(model, object) && model.objects[object].state == State::Ready;
        let argument = self.pick(side, picks.one, ready).filter(|_| picks.one & 1 == 0);
        let (slot, name, on) = (self.slot(), self.name(false), self.on(on));
        let mut content = Held::refs(held.refs);
        let value = argument.map(|at| (self.model.drivers[side].refs[at], self.sides[side].refs[at].clone()));
        if let Some((object, _)) = &value {
            self.await_result(*object).await?;
            content = content.and(&self.model.objects[*object].content);
        }
        let keeper = Keeper::options().name(keeper_name(self.model.actors.len())).namespace(NAMESPACE).scheduling(on);
        let handle = {
            let _entered = self.enter(side);
            match &value {
                Some((_, value)) => keeper.remote(slot, refs, value),
                None => keeper.remote(slot, refs, Parcel::new(name, Vec::new(), Vec::new())),
            }
        };
        let actor = self.model.actor(Handle::id(&handle), side);
        self.model.actors[actor].slots.insert(slot, content);
        self.keep_handle(side, actor, handle);
        Ok(Some(()))
    }

    /// The handle of an actor that lives, once the cluster has heard of it.
    pub(super) async fn find(&self, side: usize, actor: Act) -> Checked<Handle<Keeper>> {
        let mut last = String::new();
        for _ in 0..SOON.as_millis() {
            let found = self.scoped(side, || actinic::get_actor(keeper_name(actor)).namespace(NAMESPACE).into_future());
            match found.await {
                Ok(found) => return Ok(found),
                Err(error) => last = format!("actor {actor} is not found: {error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err(last)
    }

    pub(super) async fn kill(&mut self, side: usize, pick: u8) -> Checked<Option<()>> {
        let Some(at) = self.pick_handle(side, pick) else { return Ok(None) };
        let actor = self.model.drivers[side].actors[at];
        let killed = {
            let _entered = self.enter(side);
            actinic::kill(&self.sides[side].handles[at]).into_future()
        };
        killed.await.map_err(said("kill"))?;
        self.model.actor_dies(actor);
        // What was under way came out, or did not.
        for flight in std::mem::take(&mut self.flights) {
            match flight.what {
                Answer::Done(_) if flight.actor == Some(actor) => {}
                Answer::Result(object, found) if flight.actor == Some(actor) && !self.model.is_pending(object) => {
                    match actinic::get(&found).timeout(PATIENCE).await {
                        Err(error @ Error::GetTimeout { .. }) => return Err(format!("{found} never ends: {error:?}")),
                        Err(_) => {
                            let object = &mut self.model.objects[object];
                            (object.state, object.content) = (State::Failed, Held::default());
                        }
                        Ok(_) => {}
                    }
                }
                what => self.flights.push(Flight { actor: flight.actor, what }),
            }
        }
        Ok(Some(()))
    }

    pub(super) async fn call_keeper(&mut self, step: Step) -> Checked<Option<()>> {
        let (Step::Keep { by, to: pick, .. }
        | Step::KeepInside { by, to: pick, .. }
        | Step::Give { by, from: pick, .. }
        | Step::Forget { by, from: pick, .. }
        | Step::Pass { by, from: pick, .. }) = step
        else {
            return Ok(None);
        };
        let side = self.side(by);
        let Some(at) = self.pick_handle(side, pick) else { return Ok(None) };
        let (actor, keeper) = (self.model.drivers[side].actors[at], self.sides[side].handles[at].clone());
        let kept: Vec<u64> = self.model.actors[actor].slots.keys().copied().collect();
        let slot_at = |slot: u8| (!kept.is_empty()).then(|| kept[usize::from(slot) % kept.len()]);
        match step {
            Step::Keep { picks, wait, .. } => {
                let (held, refs, actors) = self.take(side, picks);
                let slot = self.slot();
                let done = self.scoped(side, || keeper.keep(slot, refs, actors));
                self.model.actors[actor].slots.insert(slot, held);
                // Another driver's calls may overtake this one.
                self.fly(actor, Answer::Done(done), wait || self.sides.len() > 1).await?;
            }
            Step::KeepInside { pick, .. } => {
                let ready = |model: &Model, object: Obj| {
                    may_be_argument(model, object) && model.objects[object].state == State::Ready
                };
                let Some(at) = self.pick(side, pick, ready) else { return Ok(None) };
                let object = self.model.drivers[side].refs[at];
                self.await_result(object).await?;
                let slot = self.slot();
                let done = self.scoped(side, || keeper.keep_inside(slot, &self.sides[side].refs[at]));
                let content = self.model.objects[object].content.clone();
                self.model.actors[actor].slots.insert(slot, content);
                self.fly(actor, Answer::Done(done), self.sides.len() > 1).await?;
            }
            Step::Give { slot, how, gate, large, wait, .. } => {
                let Some(slot) = slot_at(slot) else { return Ok(None) };
                self.await_tasks(actor).await?;
                let (name, inner) = (self.name(large), self.name(large));
                // A worker process that an actor leased ends with the actor, and what it owns of others' tasks too.
                let how = if self.processes && how == How::Ordered { How::Give } else { how };
                let gate = gate.and_then(|pick| self.pick(side, pick, may_be_argument));
                let gate = gate.map(|at| (self.model.drivers[side].refs[at], self.sides[side].refs[at].clone()));
                let order = Order {
                    kind: Kind::Bundle,
                    result: inner,
                    inner: name,
                    slot: 0,
                    refs: Vec::new(),
                    actors: Vec::new(),
                    gate: gate.clone().map(|(_, gate)| gate),
                };
                let found = self.scoped(side, || match how {
                    How::Ordered => keeper.give_ordered(name, order, slot),
                    How::Give => keeper.give(name, slot),
                    How::GiveUp => keeper.give_up(name, slot),
                    How::Wrapped => keeper.give_wrapped(name, inner, slot),
                });
                let mut content = self.model.actors[actor].slots[&slot].clone();
                match how {
                    How::Give => {}
                    How::GiveUp => drop(self.model.actors[actor].slots.remove(&slot)),
                    How::Wrapped => {
                        let refs = Held::refs(std::mem::take(&mut content.refs));
                        let made = self.model.object(inner, Owner::Actor(actor), State::Ready, refs);
                        content.refs.push(made);
                    }
                    How::Ordered => {
                        let job = self.model.call(Does::Task(Kind::Bundle), Owner::Actor(actor), &[inner]);
                        self.model.calls[job].given = Held::refs(std::mem::take(&mut content.refs));
                        self.model.calls[job].gate = gate.map(|(object, _)| object);
                        content.refs.push(self.model.calls[job].results[0]);
                    }
                }
                let object = self.model.object(name, Owner::Driver(side), State::Ready, content);
                self.keep_var(side, object, found.clone());
                self.fly(actor, Answer::Result(object, found), wait || self.sides.len() > 1).await?;
            }
            Step::Forget { slot, .. } => {
                let Some(slot) = slot_at(slot) else { return Ok(None) };
                self.await_tasks(actor).await?;
                let done = self.scoped(side, || keeper.forget(slot));
                self.model.actors[actor].slots.remove(&slot);
                self.fly(actor, Answer::Done(done), self.sides.len() > 1).await?;
            }
            Step::Pass { slot, to, .. } => {
                let (Some(slot), Some(to)) = (slot_at(slot), self.pick_handle(side, to)) else { return Ok(None) };
                let (other, handle) = (self.model.drivers[side].actors[to], self.sides[side].handles[to].clone());
                if other == actor {
                    return Ok(None);
                }
                self.await_tasks(actor).await?;
                let to_slot = self.slot();
                let done = self.scoped(side, || keeper.pass(slot, handle, to_slot));
                let content = self.model.actors[actor].slots[&slot].clone();
                self.model.actors[other].slots.insert(to_slot, content);
                self.fly(actor, Answer::Done(done), true).await?;
            }
            _ => return Ok(None),
        }
        Ok(Some(()))
    }

    pub(super) fn scoped<T>(&self, side: usize, call: impl FnOnce() -> T) -> T {
        let _entered = self.enter(side);
        call()
    }

    // ---- what is under way

    pub(super) async fn fly(&mut self, actor: Act, what: Answer, wait: bool) -> Checked {
        let flight = Flight { actor: Some(actor), what };
        if wait {
            return landed(flight).await;
        }
        self.flights.push(flight);
        Ok(())
    }

    /// Waits for what the model knows to end.
    pub(super) async fn land(&mut self, which: impl Fn(&Flight) -> bool) -> Checked {
        for flight in std::mem::take(&mut self.flights) {
            let waits = matches!(&flight.what, Answer::Result(object, _) if self.model.is_pending(*object));
            if waits || !which(&flight) {
                self.flights.push(flight);
                continue;
            }
            landed(flight).await?;
        }
        Ok(())
    }

    /// Before a value is used: the call that makes it may yet fail, if its actor is killed.
    pub(super) async fn await_result(&mut self, object: Obj) -> Checked {
        self.land(|flight| matches!(&flight.what, Answer::Result(other, _) if *other == object)).await
    }

    /// Before what an actor keeps is used: tasks may not have brought it yet.
    pub(super) async fn await_tasks(&mut self, actor: Act) -> Checked {
        self.land(|flight| flight.actor == Some(actor) && matches!(flight.what, Answer::Result(..))).await
    }
}
