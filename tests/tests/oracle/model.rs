//! What is really reachable: plain data, without a cluster.
//!
//! The model knows who holds what: drivers their variables, values their contents, actors what they keep, calls that
//! have not ended their arguments, their results and what they made. What nobody alive holds is dead, and so on; that
//! is counting, not tracing: a cycle of actors that hold each other lives, as it does in the engine.

use std::collections::{BTreeMap, BTreeSet};

use actinic::ActorId;

use super::remote::{Expected, ExpectedSlot, Kind, Name, Node};

pub(super) type Obj = usize;
pub(super) type Act = usize;
pub(super) type Job = usize;

/// Who made an object, and so dies with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Driver(usize),
    /// A worker that runs tasks: it stays while somebody may ask it, in threads after its job's end too.
    Worker,
    Actor(Act),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Ready,
    Failed,
    /// Its owner is dead: whoever holds it holds nothing.
    Lost,
}

#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) name: Name,
    pub(super) owner: Owner,
    pub(super) state: State,
    pub(super) alive: bool,
    pub(super) content: Held,
}

/// Refs and handles, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub(super) refs: Vec<Obj>,
    pub(super) actors: Vec<Act>,
}

impl Held {
    pub(super) fn refs(refs: Vec<Obj>) -> Held {
        Held { refs, actors: Vec::new() }
    }

    pub(super) fn and(mut self, more: &Held) -> Held {
        self.refs.extend(&more.refs);
        self.actors.extend(&more.actors);
        self
    }
}

#[derive(Clone, Debug)]
pub(super) struct Actor {
    pub(super) id: ActorId,
    /// The driver in whose job it is.
    pub(super) by: usize,
    pub(super) alive: bool,
    pub(super) slots: BTreeMap<u64, Held>,
}

/// What a call does at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// Runs as a task's order says.
    Task(Kind),
    /// Waits for its number to be opened, which the model is told.
    Gate,
    /// A call of the actor returns the content of its argument.
    Repack(Act),
}

/// A call that was made.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) does: Does,
    pub(super) by: Owner,
    /// Given as refs inside a value.
    pub(super) given: Held,
    /// Given as a ref whose value the call gets.
    pub(super) argument: Option<Obj>,
    pub(super) gate: Option<Obj>,
    pub(super) slot: u64,
    pub(super) results: Vec<Obj>,
    pub(super) inner: Name,
    pub(super) made: Option<Obj>,
    /// A task that it waits for, and that is cancelled with it.
    pub(super) child: Option<Job>,
    pub(super) began: bool,
    pub(super) ended: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) objects: Vec<Object>,
    pub(super) actors: Vec<Actor>,
    pub(super) calls: Vec<Call>,
    /// The variables of each driver.
    pub(super) drivers: Vec<Held>,
}

impl Model {
    pub(super) fn object(&mut self, name: Name, owner: Owner, state: State, content: Held) -> Obj {
        self.objects.push(Object { name, owner, state, alive: true, content });
        self.objects.len() - 1
    }

    pub(super) fn actor(&mut self, id: ActorId, by: usize) -> Act {
        self.actors.push(Actor { id, by, alive: true, slots: BTreeMap::new() });
        self.actors.len() - 1
    }

    /// Makes a call, with as many results as names.
    pub(super) fn call(&mut self, does: Does, by: Owner, names: &[Name]) -> Job {
        let results = names.iter().map(|name| self.object(*name, by, State::Pending, Held::default())).collect();
        self.calls.push(Call {
            does,
            by,
            given: Held::default(),
            argument: None,
            gate: None,
            slot: 0,
            results,
            inner: Name::default(),
            made: None,
            child: None,
            began: false,
            ended: false,
        });
        self.calls.len() - 1
    }

    pub(super) fn is_pending(&self, object: Obj) -> bool {
        self.objects[object].state == State::Pending
    }

    /// The call that makes an object, if it has not ended.
    pub(super) fn maker(&self, object: Obj) -> Option<Job> {
        self.calls.iter().position(|call| !call.ended && call.results.contains(&object))
    }

    // ---- what happens by itself

    /// Lets everything happen that follows: calls begin and end, and what nobody holds dies.
    pub(super) fn settle(&mut self) {
        loop {
            let mut again = false;
            for job in 0..self.calls.len() {
                again |= !self.calls[job].ended && self.step(job);
            }
            again |= self.sweep();
            if !again {
                return;
            }
        }
    }

    fn step(&mut self, job: Job) -> bool {
        let call = self.calls[job].clone();
        let argument = call.argument.map(|argument| self.objects[argument].state);
        if !call.began {
            match argument {
                Some(State::Pending) => return false,
                Some(State::Failed | State::Lost) => self.end(job, None),
                Some(State::Ready) | None => self.begin(job),
            }
            return true;
        }
        let does = match call.does {
            Does::Gate => return false,
            Does::Repack(_) => Kind::Bundle,
            Does::Task(kind) => kind,
        };
        if does != Kind::Post
            && let Some(gate) = call.gate
        {
            match self.objects[gate].state {
                State::Pending => return false,
                State::Failed | State::Lost => {
                    self.end(job, None);
                    return true;
                }
                State::Ready => {}
            }
        }
        match does {
            Kind::Fail => self.end(job, None),
            Kind::Discard => self.end(job, Some(Held::default())),
            Kind::Bundle => self.end(job, Some(call.given)),
            Kind::Keep => {
                let keeper = &mut self.actors[call.given.actors[0]];
                if keeper.alive {
                    keeper.slots.entry(call.slot).or_default().refs.extend(&call.given.refs);
                    self.end(job, Some(Held::default()));
                } else {
                    self.end(job, None);
                }
            }
            Kind::Wrap | Kind::Relay | Kind::Post => {
                let made = call.made.unwrap();
                match self.objects[made].state {
                    State::Pending if does == Kind::Relay => return false,
                    State::Failed if does == Kind::Relay => self.end(job, None),
                    _ => self.end(job, Some(Held { refs: vec![made], actors: call.given.actors })),
                }
            }
        }
        true
    }

    /// A call has its arguments and runs: what it makes, it holds until it ends.
    fn begin(&mut self, job: Job) {
        if let Some(argument) = self.calls[job].argument {
            let content = self.objects[argument].content.clone();
            let given = std::mem::take(&mut self.calls[job].given);
            self.calls[job].given = given.and(&content);
        }
        let call = self.calls[job].clone();
        let made = match call.does {
            Does::Task(Kind::Wrap | Kind::Fail) => {
                Some(self.object(call.inner, Owner::Worker, State::Ready, Held::refs(call.given.refs)))
            }
            Does::Task(Kind::Relay | Kind::Post) => {
                let child = self.call(Does::Task(Kind::Bundle), Owner::Worker, &[call.inner]);
                self.calls[child].given = Held::refs(call.given.refs);
                self.calls[child].gate = call.gate;
                self.calls[job].child = Some(child);
                Some(self.calls[child].results[0])
            }
            _ => None,
        };
        self.calls[job].made = made;
        self.calls[job].began = true;
    }

    /// A call ends with this content of its results, or fails.
    pub(super) fn end(&mut self, job: Job, content: Option<Held>) {
        self.calls[job].ended = true;
        for result in self.calls[job].results.clone() {
            let object = &mut self.objects[result];
            if object.state == State::Pending {
                object.state = if content.is_some() { State::Ready } else { State::Failed };
                object.content = content.clone().unwrap_or_default();
            }
        }
    }

    /// A call is cancelled, and what it waits for with it.
    pub(super) fn cancel(&mut self, job: Job) {
        if let Some(child) = self.calls[job].child.filter(|child| !self.calls[*child].ended) {
            self.cancel(child);
        }
        self.end(job, None);
    }

    /// A call was cancelled before it ended, as turned out afterwards.
    pub(super) fn undo(&mut self, job: Job) {
        self.cancel(job);
        for result in self.calls[job].results.clone() {
            self.objects[result].state = State::Failed;
            self.objects[result].content = Held::default();
        }
    }

    fn sweep(&mut self) -> bool {
        let mut refs = BTreeSet::new();
        let mut actors = BTreeSet::new();
        let mut hold = |held: &Held| {
            refs.extend(held.refs.iter().copied());
            actors.extend(held.actors.iter().copied());
        };
        self.drivers.iter().for_each(&mut hold);
        let living = |object: &&Object| object.alive && object.state != State::Lost;
        self.objects.iter().filter(living).for_each(|object| hold(&object.content));
        self.actors.iter().filter(|actor| actor.alive).flat_map(|actor| actor.slots.values()).for_each(&mut hold);
        for call in self.calls.iter().filter(|call| !call.ended) {
            hold(&call.given);
            hold(&Held::refs(call.results.iter().copied().chain(call.made).collect()));
            hold(&Held::refs(call.argument.into_iter().chain(call.gate).collect()));
            if let Does::Repack(actor) = call.does {
                hold(&Held { refs: Vec::new(), actors: vec![actor] });
            }
        }
        let mut died = false;
        for (number, object) in self.objects.iter_mut().enumerate() {
            let dies = object.alive && !refs.contains(&number);
            object.alive &= !dies;
            died |= dies;
        }
        let ended = |(number, actor): (usize, &Actor)| (actor.alive && !actors.contains(&number)).then_some(number);
        let ended: Vec<Act> = self.actors.iter().enumerate().filter_map(ended).collect();
        died |= !ended.is_empty();
        ended.into_iter().for_each(|actor| self.actor_dies(actor));
        died
    }

    /// An actor is gone, and what it owned and kept.
    pub(super) fn actor_dies(&mut self, actor: Act) {
        self.actors[actor].alive = false;
        self.actors[actor].slots.clear();
        self.owner_dies(Owner::Actor(actor));
    }

    /// A driver is gone: what it held and owned, and its job's actors.
    pub(super) fn driver_dies(&mut self, driver: usize) {
        self.drivers[driver] = Held::default();
        let its = |actor: &Act| self.actors[*actor].by == driver && self.actors[*actor].alive;
        for actor in (0..self.actors.len()).filter(its).collect::<Vec<_>>() {
            self.actor_dies(actor);
        }
        self.owner_dies(Owner::Driver(driver));
    }

    fn owner_dies(&mut self, owner: Owner) {
        for job in 0..self.calls.len() {
            if self.calls[job].by == owner && !self.calls[job].ended {
                self.cancel(job);
            }
        }
        for object in self.objects.iter_mut().filter(|object| object.owner == owner) {
            object.state = State::Lost;
            object.content = Held::default();
        }
    }

    // ---- what is expected of the cluster

    pub(super) fn live_objects(&self) -> impl Iterator<Item = (Obj, &Object)> {
        let living = |(_, object): &(Obj, &Object)| object.alive && object.state != State::Lost;
        self.objects.iter().enumerate().filter(living)
    }

    /// What every object should be, for a walk.
    pub(super) fn expected(&self) -> Expected {
        let node = |object: &Object| match object.state {
            _ if !object.alive => Node::Leave,
            State::Pending | State::Lost => Node::Leave,
            State::Failed => Node::Fails,
            State::Ready => Node::Is {
                name: object.name,
                refs: object.content.refs.clone(),
                actors: self.ids(&object.content.actors),
            },
        };
        Expected { nodes: self.objects.iter().map(node).collect() }
    }

    pub(super) fn expected_slots(&self, actor: Act) -> Vec<ExpectedSlot> {
        let slots = self.actors[actor].slots.iter();
        let slot = |(slot, held): (&u64, &Held)| ExpectedSlot {
            slot: *slot,
            refs: held.refs.clone(),
            actors: self.ids(&held.actors),
        };
        slots.map(slot).collect()
    }

    pub(super) fn ids(&self, actors: &[Act]) -> Vec<ActorId> {
        actors.iter().map(|actor| self.actors[*actor].id).collect()
    }
}
