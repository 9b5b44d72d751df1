//! Runs a story on a cluster and in the model, side by side.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use actinic::prelude::*;
use actinic::testing::{LinkFaults, Message, Node, TestCluster};
use actinic::{Enter, ObjectId};

use super::model::{Act, Does, Held, Job, Model, Obj, Owner, State};
use super::remote::*;
use super::steps::{Form, Picks, Step, Story};

/// What has gone wrong, in words.
pub(super) type Checked<T = ()> = Result<T, String>;

/// How long the cluster may take to do what follows from what was done: far longer than any message takes.
pub(super) const SOON: Duration = Duration::from_secs(30);
pub(super) const NAMESPACE: &str = "oracle";

/// A call whose outcome the model knows before the cluster says it.
pub(super) struct Flight {
    pub(super) actor: Option<Act>,
    pub(super) what: Answer,
}

pub(super) enum Answer {
    /// The end of a call without a result.
    Done(ObjectRef<()>),
    Result(Obj, ObjectRef<Parcel>),
}

/// One driver's side.
pub(super) struct Side {
    /// Another job's; the first driver is the test's own.
    pub(super) cluster: Option<Cluster>,
    pub(super) gate: Handle<Gate>,
    /// As the model's variables, at the same places.
    pub(super) refs: Vec<ObjectRef<Parcel>>,
    pub(super) handles: Vec<Handle<Keeper>>,
}

pub(super) struct Run {
    pub(super) cluster: TestCluster,
    pub(super) model: Model,
    pub(super) sides: Vec<Side>,
    nodes: Vec<Node>,
    run: u32,
    tags: u32,
    slots: u64,
    /// Calls that wait for a number, in order.
    gates: Vec<Job>,
    /// The ids that the drivers know.
    pub(super) ids: BTreeMap<Obj, ObjectId>,
    pub(super) flights: Vec<Flight>,
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

    pub(super) fn name(&mut self, large: bool) -> Name {
        self.tags += 1;
        Name { tag: Tag(self.run.to_be_bytes(), self.tags.to_be_bytes()), large }
    }

    pub(super) fn slot(&mut self) -> u64 {
        self.slots += 1;
        self.slots
    }

    pub(super) fn side(&self, by: u8) -> usize {
        usize::from(by) % self.sides.len()
    }

    pub(super) fn enter(&self, side: usize) -> Enter {
        self.sides[side].cluster.as_ref().map_or_else(|| self.cluster.enter(), Cluster::enter)
    }

    pub(super) fn on(&self, on: u8) -> Scheduling {
        match self.nodes.get(usize::from(on) % (self.nodes.len() + 1)) {
            Some(node) => Scheduling::on(node),
            None => Scheduling::Default,
        }
    }

    /// The place of one of a driver's refs that will do.
    pub(super) fn pick(&self, side: usize, pick: u8, fits: impl Fn(&Model, Obj) -> bool) -> Option<usize> {
        let refs = &self.model.drivers[side].refs;
        let all: Vec<usize> = (0..refs.len()).filter(|at| fits(&self.model, refs[*at])).collect();
        (!all.is_empty()).then(|| all[usize::from(pick) % all.len()])
    }

    /// The place of one of a driver's handles, of a living actor.
    pub(super) fn pick_handle(&self, side: usize, pick: u8) -> Option<usize> {
        let handles = &self.model.drivers[side].actors;
        let all: Vec<usize> = (0..handles.len()).filter(|at| self.model.actors[handles[*at]].alive).collect();
        (!all.is_empty()).then(|| all[usize::from(pick) % all.len()])
    }

    /// Up to three of a driver's refs, and of its handles one in a quarter of the cases.
    pub(super) fn take(&self, side: usize, picks: Picks) -> (Held, Vec<ObjectRef<Parcel>>, Vec<Handle<Keeper>>) {
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

    pub(super) fn keep_var(&mut self, side: usize, object: Obj, found: ObjectRef<Parcel>) {
        self.ids.insert(object, found.id());
        self.model.drivers[side].refs.push(object);
        self.sides[side].refs.push(found);
    }

    pub(super) fn keep_handle(&mut self, side: usize, actor: Act, handle: Handle<Keeper>) {
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
}

pub(super) async fn landed(flight: Flight) -> Checked {
    match flight.what {
        Answer::Done(done) => actinic::get(&done).timeout(PATIENCE).await.map_err(said("a call of an actor")),
        // Whether it failed, a walk will see.
        Answer::Result(_, found) => match actinic::get(&found).timeout(PATIENCE).await {
            Err(error @ Error::GetTimeout { .. }) => Err(format!("{found} never ends: {error:?}")),
            _ => Ok(()),
        },
    }
}

pub(super) fn keeper_name(actor: Act) -> String {
    format!("keeper{actor}")
}

/// Whether a call may ask for its value: not of what an actor owns, which may die with the actor before the call asks.
pub(super) fn may_be_argument(model: &Model, object: Obj) -> bool {
    !matches!(model.objects[object].owner, Owner::Actor(_)) && model.objects[object].state != State::Lost
}

pub(super) fn said(what: &'static str) -> impl Fn(actinic::Error) -> String {
    move |error| format!("{what}: {error:?}")
}
