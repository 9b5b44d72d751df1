//! Runs a story on a cluster and in the model, side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use actinic::prelude::*;
use actinic::testing::{LinkFaults, Message, Node, TestCluster};
use actinic::{Enter, ObjectId};

use super::model::{Act, Call, Does, Held, Job, Model, Obj, Owner, State};
use super::remote::*;
use super::steps::{Form, How, Picks, Step, Story};

/// What has gone wrong, in words.
pub(super) type Checked<T = ()> = Result<T, String>;

/// How long the cluster may take to do what follows from what was done: far longer than any message takes.
const SOON: Duration = Duration::from_secs(30);
const NAMESPACE: &str = "oracle";

/// A call whose outcome the model knows before the cluster says it.
struct Flight {
    actor: Option<Act>,
    what: Answer,
}

enum Answer {
    /// The end of a call without a result.
    Done(ObjectRef<()>),
    Result(Obj, ObjectRef<Parcel>),
}

/// One driver's side.
struct Side {
    /// Another job's; the first driver is the test's own.
    cluster: Option<Cluster>,
    gate: Handle<Gate>,
    /// As the model's variables, at the same places.
    refs: Vec<ObjectRef<Parcel>>,
    handles: Vec<Handle<Keeper>>,
}

pub(super) struct Run {
    pub(super) cluster: TestCluster,
    pub(super) model: Model,
    sides: Vec<Side>,
    nodes: Vec<Node>,
    run: u32,
    tags: u32,
    slots: u64,
    /// Calls that wait for a number, in order.
    gates: Vec<Job>,
    /// The ids that the drivers know.
    ids: BTreeMap<Obj, ObjectId>,
    flights: Vec<Flight>,
    /// Workers are processes, so that what they own cannot be seen.
    pub(super) processes: bool,
}

impl Run {
    pub(super) async fn start(cluster: TestCluster, story: &Story, processes: bool) -> actinic::Result<Run> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let mut nodes = vec![cluster.head()];
        for _ in 0..story.nodes {
            nodes.push(cluster.add_node().num_cpus(2).await?);
        }
        let gate = Gate::options().name("gate").namespace(NAMESPACE).num_cpus(0).remote();
        Handle::ready(&gate).await?;
        let mut sides = vec![Side { cluster: None, gate, refs: Vec::new(), handles: Vec::new() }];
        for _ in 1..story.drivers {
            let driver = cluster.driver().namespace(NAMESPACE).await?;
            let gate = driver.scope(async { actinic::get_actor("gate").await }).await?;
            sides.push(Side { cluster: Some(driver), gate, refs: Vec::new(), handles: Vec::new() });
        }
        let model = Model { drivers: vec![Held::default(); story.drivers], ..Model::default() };
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        // Not before: a driver gives up if it is not let in soon.
        if !processes {
            cluster.sim().faults(match story.faults {
                0 | 1 => LinkFaults::default(),
                2 => LinkFaults {
                    delay: Duration::from_millis(2),
                    jitter: Duration::from_millis(9),
                    ..Default::default()
                },
                _ => LinkFaults { loss: 0.04, delay: Duration::from_millis(1), ..LinkFaults::default() },
            });
        }
        let (gates, ids, flights) = (Vec::new(), BTreeMap::new(), Vec::new());
        Ok(Run { cluster, model, sides, nodes, run, tags: 0, slots: 0, gates, ids, flights, processes })
    }

    // ---- choosing

    fn name(&mut self, large: bool) -> Name {
        self.tags += 1;
        Name { tag: Tag(self.run.to_be_bytes(), self.tags.to_be_bytes()), large }
    }

    fn slot(&mut self) -> u64 {
        self.slots += 1;
        self.slots
    }

    fn side(&self, by: u8) -> usize {
        usize::from(by) % self.sides.len()
    }

    fn enter(&self, side: usize) -> Enter {
        self.sides[side].cluster.as_ref().map_or_else(|| self.cluster.enter(), Cluster::enter)
    }

    fn on(&self, on: u8) -> Scheduling {
        match self.nodes.get(usize::from(on) % (self.nodes.len() + 1)) {
            Some(node) => Scheduling::on(node),
            None => Scheduling::Default,
        }
    }

    /// The place of one of a driver's refs that will do.
    fn pick(&self, side: usize, pick: u8, fits: impl Fn(&Model, Obj) -> bool) -> Option<usize> {
        let refs = &self.model.drivers[side].refs;
        let all: Vec<usize> = (0..refs.len()).filter(|at| fits(&self.model, refs[*at])).collect();
        (!all.is_empty()).then(|| all[usize::from(pick) % all.len()])
    }

    /// The place of one of a driver's handles, of a living actor.
    fn pick_handle(&self, side: usize, pick: u8) -> Option<usize> {
        let handles = &self.model.drivers[side].actors;
        let all: Vec<usize> = (0..handles.len()).filter(|at| self.model.actors[handles[*at]].alive).collect();
        (!all.is_empty()).then(|| all[usize::from(pick) % all.len()])
    }

    /// Up to three of a driver's refs, and of its handles one in a quarter of the cases.
    fn take(&self, side: usize, picks: Picks) -> (Held, Vec<ObjectRef<Parcel>>, Vec<Handle<Keeper>>) {
        let known = &self.model.drivers[side];
        let from = |len: usize, count: u8, first: u8| {
            let count = usize::from(count).min(len);
            (0..count).map(move |at| (usize::from(first) + at * 7) % len).collect::<Vec<_>>()
        };
        let refs = from(known.refs.len(), picks.refs & 3, picks.refs >> 2);
        let actors = from(known.actors.len(), u8::from(picks.actors & 3 == 0), picks.actors >> 2);
        let held = Held {
            refs: refs.iter().map(|at| known.refs[*at]).collect(),
            actors: actors.iter().map(|at| known.actors[*at]).collect(),
        };
        let side = &self.sides[side];
        let handles = actors.iter().map(|at| side.handles[*at].clone()).collect();
        (held, refs.iter().map(|at| side.refs[*at].clone()).collect(), handles)
    }

    fn keep_var(&mut self, side: usize, object: Obj, found: ObjectRef<Parcel>) {
        self.ids.insert(object, found.id());
        self.model.drivers[side].refs.push(object);
        self.sides[side].refs.push(found);
    }

    fn keep_handle(&mut self, side: usize, actor: Act, handle: Handle<Keeper>) {
        self.model.drivers[side].actors.push(actor);
        self.sides[side].handles.push(handle);
    }

    // ---- steps

    pub(super) async fn step(&mut self, step: Step) -> Checked {
        let done = self.try_step(step).await;
        self.model.settle();
        done.map(drop)
    }

    /// `None` if the step does not apply.
    async fn try_step(&mut self, step: Step) -> Checked<Option<()>> {
        match step {
            Step::Put { by, large, picks } => {
                let side = self.side(by);
                let (held, refs, actors) = self.take(side, picks);
                let name = self.name(large);
                let put = {
                    let _entered = self.enter(side);
                    actinic::put(&Parcel::new(name, refs, actors))
                };
                let put = put.await.map_err(said("put"))?;
                let object = self.model.object(name, Owner::Driver(side), State::Ready, held);
                self.keep_var(side, object, put);
            }
            Step::Clone { by, pick } => {
                let side = self.side(by);
                let Some(at) = self.pick(side, pick, |_, _| true) else { return Ok(None) };
                let (object, found) = (self.model.drivers[side].refs[at], self.sides[side].refs[at].clone());
                self.keep_var(side, object, found);
            }
            Step::Drop { by, pick } => {
                let side = self.side(by);
                let Some(at) = self.pick(side, pick, |_, _| true) else { return Ok(None) };
                self.model.drivers[side].refs.swap_remove(at);
                self.sides[side].refs.swap_remove(at);
            }
            Step::CloneHandle { by, pick } => {
                let side = self.side(by);
                let Some(at) = self.pick_handle(side, pick) else { return Ok(None) };
                self.keep_handle(side, self.model.drivers[side].actors[at], self.sides[side].handles[at].clone());
            }
            Step::DropHandle { by, pick } => {
                let side = self.side(by);
                let len = self.sides[side].handles.len();
                if len == 0 {
                    return Ok(None);
                }
                self.model.drivers[side].actors.swap_remove(usize::from(pick) % len);
                self.sides[side].handles.swap_remove(usize::from(pick) % len);
            }
            Step::Open { by, pick } => return self.open(self.side(by), pick).await,
            Step::Submit { by, kind, form, large, picks, on } => {
                let side = self.side(by);
                let Some(job) = self.submit(side, kind, form, large, picks, on).await? else { return Ok(None) };
                if kind == Kind::Keep {
                    let (object, actor) = (self.model.calls[job].results[0], self.model.calls[job].given.actors[0]);
                    let found = self.sides[side].refs.last().unwrap().clone();
                    self.flights.push(Flight { actor: Some(actor), what: Answer::Result(object, found) });
                }
            }
            Step::Gate { by } => {
                let side = self.side(by);
                let name = self.name(false);
                let job = self.model.call(Does::Gate, Owner::Driver(side), &[name]);
                self.model.calls[job].began = true;
                let found = {
                    let _entered = self.enter(side);
                    self.sides[side].gate.wait(name, job as u64)
                };
                self.gates.push(job);
                self.keep_var(side, self.model.calls[job].results[0], found);
            }
            Step::OpenGate { pick } => {
                self.gates.retain(|job| !self.model.calls[*job].ended);
                if self.gates.is_empty() {
                    return Ok(None);
                }
                let job = self.gates.swap_remove(usize::from(pick) % self.gates.len());
                self.open_gate(job).await?;
            }
            Step::Cancel { by, pick } => {
                let side = self.side(by);
                let Some(at) = self.pick(side, pick, |model, object| model.is_pending(object)) else {
                    return Ok(None);
                };
                let found = self.sides[side].refs[at].clone();
                actinic::cancel(&found).await.map_err(said("cancel"))?;
                let got = actinic::get(&found).timeout(PATIENCE).await;
                if !matches!(got, Err(Error::TaskCancelled { .. })) {
                    return Err(format!("{found} was cancelled before it could end, and is {:?}", got.map(drop)));
                }
                let job = self.model.maker(self.model.drivers[side].refs[at]).unwrap();
                self.model.cancel(job);
            }
            Step::Race { by, kind, large, picks, on } => {
                let side = self.side(by);
                // What a task gave to others before it was cancelled, nobody can know.
                let kind = if matches!(kind, Kind::Keep | Kind::Post) { Kind::Bundle } else { kind };
                let job = self.submit(side, kind, Form::Sync, large, picks, on).await?;
                let found = self.sides[side].refs.last().unwrap().clone();
                let cancelled = actinic::cancel(&found);
                if picks.one < 64 {
                    let _ = found.done().await;
                }
                cancelled.await.map_err(said("cancel"))?;
                match actinic::get(&found).timeout(PATIENCE).await {
                    Err(Error::GetTimeout { .. }) => return Err(format!("{found} was cancelled and is nothing")),
                    Err(Error::TaskCancelled { .. }) => self.model.undo(job.unwrap()),
                    _ => {}
                }
            }
            Step::Spawn { by, picks, on } => return self.spawn(self.side(by), picks, on).await,
            Step::Find { by, pick } => {
                let side = self.side(by);
                let living: Vec<Act> =
                    (0..self.model.actors.len()).filter(|actor| self.model.actors[*actor].alive).collect();
                if living.is_empty() {
                    return Ok(None);
                }
                let actor = living[usize::from(pick) % living.len()];
                // A call that is its actor's last has one without a name.
                if self.model.calls.iter().any(|call| call.does == Does::Repack(actor)) {
                    return Ok(None);
                }
                let found = self.find(side, actor).await?;
                self.keep_handle(side, actor, found);
            }
            Step::Kill { by, pick } => return self.kill(self.side(by), pick).await,
            Step::LastCall { by, pick, large } => {
                let side = self.side(by);
                let Some(at) = self.pick(side, pick, may_be_argument) else { return Ok(None) };
                let argument = self.model.drivers[side].refs[at];
                self.await_result(argument).await?;
                let names = [self.name(large), self.name(false)];
                let (handle, called) = {
                    let _entered = self.enter(side);
                    let parcel = Parcel::new(names[1], Vec::new(), Vec::new());
                    let handle = Keeper::options().remote(0, Vec::<ObjectRef<Parcel>>::new(), parcel);
                    let called = handle.repack(names[0], &self.sides[side].refs[at]);
                    (Handle::id(&handle), called)
                };
                let actor = self.model.actor(handle, side);
                self.model.actors[actor].slots.insert(0, Held::default());
                let job = self.model.call(Does::Repack(actor), Owner::Driver(side), &names[..1]);
                self.model.calls[job].argument = Some(argument);
                self.keep_var(side, self.model.calls[job].results[0], called);
            }
            Step::Lose { what } => {
                let kinds = [
                    Message::LeaseRequest,
                    Message::LeaseReply,
                    Message::PushTask,
                    Message::TaskReply,
                    Message::ActorCall,
                    Message::ActorReply,
                    Message::ObjectChunk,
                ];
                if !self.processes {
                    let kind = kinds[usize::from(what) % kinds.len()];
                    self.cluster.lose(kind, 1).await.map_err(said("lose"))?;
                }
            }
            Step::Keep { .. }
            | Step::KeepInside { .. }
            | Step::Give { .. }
            | Step::Forget { .. }
            | Step::Pass { .. } => {
                return self.call_keeper(step).await;
            }
            Step::Check => self.check().await?,
            Step::Quiesce => self.quiesce().await?,
        }
        Ok(Some(()))
    }

    /// Opens the gate that a call waits for.
    pub(super) async fn open_gate(&mut self, job: Job) -> Checked {
        let opened = {
            let _entered = self.cluster.enter();
            self.sides[0].gate.open(job as u64)
        };
        opened.await.map_err(said("opening"))?;
        self.model.end(job, Some(Held::default()));
        Ok(())
    }

    /// Calls that wait for a number that was not opened.
    pub(super) fn shut(&self) -> Vec<Job> {
        self.gates.iter().copied().filter(|job| !self.model.calls[*job].ended).collect()
    }

    async fn open(&mut self, side: usize, pick: u8) -> Checked<Option<()>> {
        let ready = |model: &Model, object: Obj| model.objects[object].state == State::Ready;
        let Some(at) = self.pick(side, pick, ready) else { return Ok(None) };
        let (object, found) = (self.model.drivers[side].refs[at], self.sides[side].refs[at].clone());
        let parcel = actinic::get(&found).timeout(PATIENCE).await.map_err(said("opening a parcel"))?;
        let content = self.model.objects[object].content.clone();
        if (parcel.refs.len(), parcel.actors.len()) != (content.refs.len(), content.actors.len()) {
            return Err(format!("{found} should have {content:?}, and has {:?} and {:?}", parcel.refs, parcel.actors));
        }
        content.refs.into_iter().zip(parcel.refs).for_each(|(object, found)| self.keep_var(side, object, found));
        content.actors.into_iter().zip(parcel.actors).for_each(|(actor, handle)| self.keep_handle(side, actor, handle));
        Ok(Some(()))
    }

    async fn submit(
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

    async fn spawn(&mut self, side: usize, picks: Picks, on: u8) -> Checked<Option<()>> {
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
    async fn find(&self, side: usize, actor: Act) -> Checked<Handle<Keeper>> {
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

    async fn kill(&mut self, side: usize, pick: u8) -> Checked<Option<()>> {
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
                        Err(Error::GetTimeout { .. }) => return Err(format!("{found} never ends")),
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

    async fn call_keeper(&mut self, step: Step) -> Checked<Option<()>> {
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

    fn scoped<T>(&self, side: usize, call: impl FnOnce() -> T) -> T {
        let _entered = self.enter(side);
        call()
    }

    // ---- what is under way

    async fn fly(&mut self, actor: Act, what: Answer, wait: bool) -> Checked {
        let flight = Flight { actor: Some(actor), what };
        if wait {
            return landed(flight).await;
        }
        self.flights.push(flight);
        Ok(())
    }

    /// Waits for what the model knows to end.
    async fn land(&mut self, which: impl Fn(&Flight) -> bool) -> Checked {
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
    async fn await_result(&mut self, object: Obj) -> Checked {
        self.land(|flight| matches!(&flight.what, Answer::Result(other, _) if *other == object)).await
    }

    /// Before what an actor keeps is used: tasks may not have brought it yet.
    async fn await_tasks(&mut self, actor: Act) -> Checked {
        self.land(|flight| flight.actor == Some(actor) && matches!(flight.what, Answer::Result(..))).await
    }

    // ---- looking

    /// Everything that is reachable from somebody alive can be got, and is right.
    pub(super) async fn check(&mut self) -> Checked {
        self.model.settle();
        self.land(|_| true).await?;
        let expected = self.model.expected();
        let mut todo = Vec::new();
        for (side, known) in self.sides.iter().zip(&self.model.drivers) {
            let mut walk = Walk::new(&expected);
            let ids = self.model.ids(&known.actors);
            walk.enter(&known.refs, &side.refs, &ids, &side.handles).map_err(|wrong| wrong.to_string())?;
            while let Some((node, next)) = walk.next() {
                let got = actinic::get(&next).timeout(PATIENCE).await;
                walk.got(node, &next, got).map_err(|wrong| format!("a driver: {wrong}"))?;
            }
            todo.append(&mut walk.actors);
        }
        let mut seen = BTreeSet::new();
        while let Some(keeper) = todo.pop() {
            let id = Handle::id(&keeper);
            let actor = self.model.actors.iter().position(|actor| actor.id == id).ok_or("an unknown actor")?;
            if !seen.insert(actor) {
                continue;
            }
            if !self.model.actors[actor].alive {
                let ping = actinic::get(&keeper.ping()).timeout(PATIENCE).await;
                if !matches!(ping, Err(Error::ActorDied { .. })) {
                    return Err(format!("actor {actor} was killed, and its ping is {ping:?}"));
                }
                continue;
            }
            let checked = keeper.check(expected.clone(), self.model.expected_slots(actor));
            let more = actinic::get(&checked).timeout(PATIENCE * 2).await;
            todo.extend(more.map_err(|error| format!("actor {actor} ({id}): {error:?}"))?);
        }
        Ok(())
    }

    /// Exactly what is reachable is alive.
    pub(super) async fn quiesce(&mut self) -> Checked {
        self.check().await?;
        let begun = tokio::time::Instant::now();
        loop {
            let wrong = self.compare().await?;
            if wrong.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > SOON {
                let idle = self.cluster.idle().await.map_err(|error| error.to_string());
                return Err(format!("after {SOON:?}:\n  {}\n{idle:?}", wrong.join("\n  ")));
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    async fn compare(&self) -> Checked<Vec<String>> {
        let alive = self.cluster.alive().await.map_err(said("alive"))?;
        let mut wrong = Vec::new();
        let mut known = BTreeSet::new();
        let mut stored = BTreeSet::new();
        for (number, object) in self.model.live_objects() {
            if self.processes && !matches!(object.owner, Owner::Driver(_)) {
                continue;
            }
            let Some(id) = self.ids.get(&number).copied().or_else(|| noted(object.name.tag)) else {
                wrong.push(format!("object {number} was not made: {object:?}"));
                continue;
            };
            known.insert(id);
            if object.name.large && object.state == State::Ready {
                stored.insert(id);
            }
            if !alive.objects.contains(&id) {
                wrong.push(format!("object {number} ({id}) is gone: {object:?}"));
            }
            if object.name.large && object.state == State::Ready && !alive.stored.contains(&id) {
                wrong.push(format!("object {number} ({id}) is nowhere: {object:?}"));
            }
        }
        let which = |id: &ObjectId| {
            let known = |(number, object): &(usize, &super::model::Object)| {
                self.ids.get(number).copied().or_else(|| noted(object.name.tag)) == Some(*id)
            };
            self.model.objects.iter().enumerate().find(known).map(|(number, object)| format!("{number}: {object:?}"))
        };
        let mine = |id: &&ObjectId| !self.processes || self.ids.values().any(|known| known == *id);
        for id in alive.objects.difference(&known).filter(mine) {
            wrong.push(format!("object {id} is alive and should not be: {:?}", which(id)));
        }
        for id in alive.stored.difference(&stored).filter(mine) {
            wrong.push(format!("object {id} is stored and should not be: {:?}", which(id)));
        }
        for (number, actor) in self.model.actors.iter().enumerate() {
            if alive.actors.contains(&actor.id) != actor.alive {
                wrong.push(format!("actor {number} is not as it should be: {actor:?}"));
            }
        }
        Ok(wrong)
    }

    // ---- the end

    /// A driver other than the first leaves, with all that it has.
    pub(super) async fn leave(&mut self, side: usize) -> Checked {
        self.land(|_| true).await?;
        let Side { cluster, gate, refs, handles } = self.sides.remove(side);
        let cluster = cluster.ok_or("the first driver cannot leave")?;
        cluster.shutdown().await.map_err(said("leaving"))?;
        drop((gate, refs, handles));
        self.model.driver_dies(side);
        self.model.drivers.remove(side);
        self.model.settle();
        Ok(())
    }

    /// Lets everything go; what remains are actors that hold each other.
    pub(super) async fn let_go(&mut self) -> Checked {
        for (side, known) in self.sides.iter_mut().zip(&mut self.model.drivers) {
            *known = Held::default();
            side.refs.clear();
            side.handles.clear();
        }
        self.model.settle();
        Ok(())
    }

    /// Ends actors that hold each other, by their names.
    pub(super) async fn end_cycles(&mut self) -> Checked {
        loop {
            self.model.settle();
            let Some(actor) = self.model.actors.iter().position(|actor| actor.alive) else { return Ok(()) };
            let found = self.find(0, actor).await?;
            let killed = actinic::kill(&found).into_future();
            killed.await.map_err(said("kill"))?;
            self.model.actor_dies(actor);
        }
    }

    /// Nothing is left: not a record, a count, a byte or an actor.
    pub(super) async fn end(mut self) -> Checked {
        self.sides.iter_mut().for_each(|side| side.refs.clear());
        let mut others = Vec::new();
        for side in std::mem::take(&mut self.sides) {
            others.extend(side.cluster);
        }
        let idle = self.cluster.idle().await.map_err(|error| format!("{error}"));
        for other in others {
            other.shutdown().await.map_err(said("leaving"))?;
        }
        idle
    }
}

async fn landed(flight: Flight) -> Checked {
    match flight.what {
        Answer::Done(done) => actinic::get(&done).timeout(PATIENCE).await.map_err(said("a call of an actor")),
        // Whether it failed, a walk will see.
        Answer::Result(_, found) => match actinic::get(&found).timeout(PATIENCE).await {
            Err(error @ Error::GetTimeout { .. }) => Err(format!("{found} never ends: {error:?}")),
            _ => Ok(()),
        },
    }
}

fn keeper_name(actor: Act) -> String {
    format!("keeper{actor}")
}

/// Whether a call may ask for its value: not of what an actor owns, which may die with the actor before the call asks.
fn may_be_argument(model: &Model, object: Obj) -> bool {
    !matches!(model.objects[object].owner, Owner::Actor(_)) && model.objects[object].state != State::Lost
}

fn said(what: &'static str) -> impl Fn(actinic::Error) -> String {
    move |error| format!("{what}: {error:?}")
}
