//! Several owners, the channels between them, and an oracle that knows what is really reachable.
//!
//! Operations come from proptest; messages are delivered in any interleaving that keeps the order between two owners.
//! Deaths cut what the dead one had sent at a random place, and each survivor hears of them at a moment of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use actinic_transport::ProcessId;
use proptest::prelude::*;

use super::super::{HandOutId, Hold, Ignored, RefAction, RefMessage, RefTable, object, slot};
use super::{Planted, owner};
use crate::ids::{ObjectId, OwnerId};

/// One step. Numbers are taken modulo what there is to choose from; a step that does not apply is skipped.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Put {
        at: u8,
        inner: u8,
    },
    Submit {
        at: u8,
        to: u8,
        top: u8,
        nested: u8,
        returns: u8,
    },
    Finish {
        task: u8,
        refs: u8,
        extra: bool,
    },
    Drop {
        at: u8,
        pick: u8,
    },
    Clone {
        at: u8,
        pick: u8,
    },
    Give {
        at: u8,
        to: u8,
        refs: u8,
    },
    /// To the owner of one of the refs.
    GiveBack {
        at: u8,
        refs: u8,
    },
    Open {
        at: u8,
        pick: u8,
    },
    Send {
        pick: u8,
        early: bool,
    },
    Undo {
        pick: u8,
    },
    Deliver {
        pick: u8,
        refuse: bool,
    },
    Pin {
        at: u8,
        pick: u8,
    },
    Unpin {
        at: u8,
        pick: u8,
    },
    KillProcess {
        process: u8,
        cut: u8,
    },
    KillOwner {
        at: u8,
        cut: u8,
    },
    Notice {
        pick: u8,
    },
    Settle,
}

/// How many owners, in how many processes, and what happens.
#[derive(Clone, Debug)]
pub(super) struct Story {
    pub(super) owners: u32,
    pub(super) processes: u32,
    pub(super) ops: Vec<Op>,
}

/// Stories; with or without deaths.
///
/// A step is drawn as one number with its kind on top: in a debug build a strategy for each field costs more than the
/// story.
pub(super) fn stories(deaths: bool) -> impl Strategy<Value = Story> {
    (2..=6u32, 2..=4u32, prop::collection::vec(any::<u64>(), 1..250)).prop_map(move |(owners, processes, steps)| {
        let ops = steps.into_iter().filter_map(op);
        let ops = ops.filter(|op| deaths || !matches!(op, Op::KillProcess { .. } | Op::KillOwner { .. }));
        Story { owners, processes, ops: ops.collect() }
    })
}

/// The step that a number stands for, if any: numbers shrink to nothing. The ranges are the weights.
fn op(number: u64) -> Option<Op> {
    let [kind, a, b, c, d, e, ..] = number.to_be_bytes();
    Some(match kind {
        0 => return None,
        1..=66 => Op::Deliver { pick: a, refuse: b < 20 },
        67..=101 => Op::Send { pick: a, early: b < 128 },
        102..=115 => Op::Drop { at: a, pick: b },
        116..=137 => Op::Submit { at: a, to: b, top: c, nested: d, returns: e },
        138..=173 => Op::Give { at: a, to: b, refs: c },
        174..=187 => Op::Finish { task: a, refs: b, extra: c < 128 },
        188..=205 => Op::Put { at: a, inner: b },
        206..=213 => Op::GiveBack { at: a, refs: b },
        214..=223 => Op::Open { at: a, pick: b },
        224..=231 => Op::Notice { pick: a },
        232..=235 => Op::Clone { at: a, pick: b },
        236..=240 => Op::Undo { pick: a },
        241..=245 => Op::Pin { at: a, pick: b },
        246..=249 => Op::Unpin { at: a, pick: b },
        250 => Op::KillProcess { process: a, cut: b },
        251 => Op::KillOwner { at: a, cut: b },
        252 => Op::Settle,
        253.. => Op::Deliver { pick: a, refuse: false },
    })
}

/// Tells the story and checks every step of it; panics where the table is wrong.
pub(super) fn tell(story: &Story, planted: Option<Planted>) {
    let mut world = World::new(story.owners, story.processes, planted);
    for &op in &story.ops {
        world.step(op);
        world.check_reachable();
    }
    world.end();
}

/// An owner's place in the world.
type At = usize;

struct Peer {
    id: OwnerId,
    table: RefTable,
    alive: bool,
    next_seq: u64,
    locals: BTreeMap<ObjectId, u32>,
    pins: BTreeMap<ObjectId, u32>,
    /// Questions for what a value contains; each has a pin.
    asks: Vec<(ObjectId, At)>,
    knows_dead: BTreeSet<At>,
}

struct Task {
    owner: At,
    worker: At,
    returns: Vec<ObjectId>,
    args: Vec<ObjectId>,
    running: bool,
}

#[derive(Clone, Debug)]
struct Carry {
    from: At,
    to: At,
    id: HandOutId,
    refs: Vec<ObjectId>,
    body: Body,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    Give,
    Answer { asked: ObjectId },
    Task { task: usize },
    Reply { task: usize, extra: bool },
}

enum Wire {
    Ref(RefMessage),
    Carry { carry: Carry, early: bool },
    Refused { id: HandOutId, body: Body },
    Ack { id: HandOutId },
    Ask { object: ObjectId },
}

#[derive(Clone, Copy)]
enum Death {
    Process(ProcessId),
    Owner(At),
}

struct World {
    peers: Vec<Peer>,
    processes: u32,
    tasks: BTreeMap<usize, Task>,
    next_task: usize,
    outbox: Vec<(Carry, bool)>,
    channels: BTreeMap<(At, At), VecDeque<Wire>>,
    notices: Vec<(At, Death)>,
    objects: Vec<ObjectId>,
    /// What the values that exist contain.
    values: BTreeMap<ObjectId, Vec<ObjectId>>,
    freed: BTreeSet<ObjectId>,
    /// How many were freed at the last check.
    checked: usize,
}

fn nth<T: Copy>(mut of: impl ExactSizeIterator<Item = T>, pick: u8) -> Option<T> {
    let len = of.len();
    if len == 0 { None } else { of.nth(usize::from(pick) % len) }
}

impl World {
    fn new(owners: u32, processes: u32, planted: Option<Planted>) -> Self {
        let peers = (0..owners).map(|n| {
            let id = owner(n % processes, n);
            let mut table = RefTable::new(id);
            table.planted = planted;
            Peer {
                id,
                table,
                alive: true,
                next_seq: 0,
                locals: BTreeMap::new(),
                pins: BTreeMap::new(),
                asks: Vec::new(),
                knows_dead: BTreeSet::new(),
            }
        });
        Self {
            peers: peers.collect(),
            processes,
            tasks: BTreeMap::new(),
            next_task: 0,
            outbox: Vec::new(),
            channels: BTreeMap::new(),
            notices: Vec::new(),
            objects: Vec::new(),
            values: BTreeMap::new(),
            freed: BTreeSet::new(),
            checked: 0,
        }
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Put { at, inner } => self.put(at, inner),
            Op::Submit { at, to, top, nested, returns } => self.submit(at, to, top, nested, returns),
            Op::Finish { task, refs, extra } => self.finish(task, refs, extra),
            Op::Drop { at, pick } => {
                let Some((at, object)) = self.local(at, pick) else { return };
                self.drop_local(at, object);
            }
            Op::Clone { at, pick } => {
                let Some((at, object)) = self.local(at, pick) else { return };
                assert!(self.peers[at].table.hold(object, Hold::Local));
                *self.peers[at].locals.entry(object).or_default() += 1;
            }
            Op::Give { at, to, refs } => {
                let (Some(at), Some(to)) = (self.alive(at), self.alive_known(at, to)) else { return };
                let refs = self.some_locals(at, refs);
                self.hand_out(at, to, refs, Body::Give);
            }
            Op::GiveBack { at, refs } => {
                let Some(at) = self.alive(at) else { return };
                let refs = self.some_locals(at, refs);
                let Some(to) = refs.first().map(|object| self.place(object.task.owner)) else { return };
                if !self.peers[at].knows_dead.contains(&to) {
                    self.hand_out(at, to, refs, Body::Give);
                }
            }
            Op::Open { at, pick } => self.open(at, pick),
            Op::Send { pick, early } => {
                let ready: Vec<usize> = (0..self.outbox.len()).filter(|&n| self.outbox[n].1).collect();
                let Some(n) = nth(ready.into_iter(), pick) else { return };
                self.send(n, early);
            }
            Op::Undo { pick } => {
                let Some(n) = nth(0..self.outbox.len(), pick) else { return };
                let (carry, _) = self.outbox.remove(n);
                self.undo(carry.from, carry.id);
                self.came_back(carry.from, carry.to, carry.body);
            }
            Op::Deliver { pick, refuse } => {
                let full: Vec<(At, At)> = self.full_channels();
                let Some((from, to)) = nth(full.into_iter(), pick) else { return };
                self.deliver(from, to, refuse);
            }
            Op::Pin { at, pick } => {
                let Some((at, object)) = self.local(at, pick) else { return };
                assert!(self.peers[at].table.hold(object, Hold::Pin));
                *self.peers[at].pins.entry(object).or_default() += 1;
            }
            Op::Unpin { at, pick } => {
                let Some(at) = self.alive(at) else { return };
                let Some(object) = nth(self.peers[at].pins.keys().copied().collect::<Vec<_>>().into_iter(), pick)
                else {
                    return;
                };
                if !self.peers[at].asks.iter().any(|&(asked, _)| asked == object) {
                    self.unpin(at, object);
                }
            }
            Op::KillProcess { process, cut } => {
                let process = owner(u32::from(process) % self.processes, 0).process;
                let dying: Vec<At> = (0..self.peers.len()).filter(|&at| self.peers[at].id.process == process).collect();
                self.kill(&dying, Death::Process(process), cut);
            }
            Op::KillOwner { at, cut } => {
                let Some(at) = self.alive(at) else { return };
                self.kill(&[at], Death::Owner(at), cut);
            }
            Op::Notice { pick } => {
                let Some(n) = nth(0..self.notices.len(), pick) else { return };
                self.notice(n);
            }
            Op::Settle => self.settle(),
        }
    }

    // Choosing.

    fn alive(&self, at: u8) -> Option<At> {
        nth((0..self.peers.len()).filter(|&at| self.peers[at].alive).collect::<Vec<_>>().into_iter(), at)
    }

    /// One that `at` does not know to be dead.
    fn alive_known(&self, at: u8, to: u8) -> Option<At> {
        let knows = &self.peers[self.alive(at)?].knows_dead;
        nth((0..self.peers.len()).filter(|to| !knows.contains(to)).collect::<Vec<_>>().into_iter(), to)
    }

    fn local(&self, at: u8, pick: u8) -> Option<(At, ObjectId)> {
        let at = self.alive(at)?;
        nth(self.peers[at].locals.keys(), pick).map(|&object| (at, object))
    }

    /// Up to three of its local refs, perhaps one of them twice.
    fn some_locals(&self, at: At, bits: u8) -> Vec<ObjectId> {
        let locals: Vec<ObjectId> = self.peers[at].locals.keys().copied().collect();
        let picks = (0..(bits % 8).min(3)).map(|n| (bits / 4).wrapping_add(n * (bits % 3)));
        picks.filter_map(|pick| nth(locals.iter().copied(), pick)).collect()
    }

    fn place(&self, id: OwnerId) -> At {
        id.number as At
    }

    fn full_channels(&self) -> Vec<(At, At)> {
        self.channels.iter().filter(|(_, wires)| !wires.is_empty()).map(|(&pair, _)| pair).collect()
    }

    // The program.

    fn put(&mut self, at: u8, inner: u8) {
        let Some(at) = self.alive(at) else { return };
        let inner = self.some_locals(at, inner);
        let outer = self.make(at, 1)[0];
        for &inner in &inner {
            assert!(self.peers[at].table.hold(inner, Hold::Nested));
        }
        self.values.insert(outer, inner.clone());
        self.act(at, |table, out| table.contains(outer, inner, out));
    }

    fn submit(&mut self, at: u8, to: u8, top: u8, nested: u8, returns: u8) {
        let (Some(at), Some(to)) = (self.alive(at), self.alive_known(at, to)) else { return };
        let nested = self.some_locals(at, nested);
        let mut args = self.some_locals(at, top);
        args.extend(&nested);
        for &object in &args {
            assert!(self.peers[at].table.hold(object, Hold::Argument));
        }
        let returns = self.make(at, 1 + u32::from(returns % 2));
        let task = self.next_task;
        self.next_task += 1;
        self.tasks.insert(task, Task { owner: at, worker: to, returns, args, running: false });
        self.hand_out(at, to, nested, Body::Task { task });
    }

    fn finish(&mut self, task: u8, refs: u8, extra: bool) {
        let running: Vec<usize> = self
            .tasks
            .iter()
            .filter(|(_, task)| {
                let (owner, worker) = (task.owner, &self.peers[task.worker]);
                task.running && worker.alive && !worker.knows_dead.contains(&owner)
            })
            .map(|(&task, _)| task)
            .collect();
        let Some(number) = nth(running.into_iter(), task) else { return };
        let Some(task) = self.tasks.get_mut(&number) else { return };
        task.running = false;
        let (owner, worker) = (task.owner, task.worker);
        let refs = self.some_locals(worker, refs);
        self.hand_out(worker, owner, refs, Body::Reply { task: number, extra });
    }

    /// Asks the owner of a value what is in it.
    fn open(&mut self, at: u8, pick: u8) {
        let Some((at, object)) = self.local(at, pick) else { return };
        let owner = self.place(object.task.owner);
        if owner == at {
            let inner = self.peers[at].table.contained(object).to_vec();
            for inner in inner {
                assert!(self.peers[at].table.hold(inner, Hold::Local));
                *self.peers[at].locals.entry(inner).or_default() += 1;
            }
        } else if !self.peers[at].knows_dead.contains(&owner) {
            assert!(self.peers[at].table.hold(object, Hold::Pin));
            *self.peers[at].pins.entry(object).or_default() += 1;
            self.peers[at].asks.push((object, owner));
            self.wire(at, owner, Wire::Ask { object });
        }
    }

    fn make(&mut self, at: At, returns: u32) -> Vec<ObjectId> {
        let peer = &mut self.peers[at];
        let seq = peer.next_seq;
        peer.next_seq += 17;
        peer.table.own(seq, returns, true);
        (0..returns).map(|index| self.made(at, seq, index)).collect()
    }

    fn made(&mut self, at: At, seq: u64, index: u32) -> ObjectId {
        let made = object(self.peers[at].id, super::super::Slot { seq, index });
        self.peers[at].locals.insert(made, 1);
        self.objects.push(made);
        made
    }

    fn drop_local(&mut self, at: At, object: ObjectId) {
        decrement(&mut self.peers[at].locals, object);
        self.act(at, |table, out| table.release(object, Hold::Local, out));
    }

    fn unpin(&mut self, at: At, object: ObjectId) {
        decrement(&mut self.peers[at].pins, object);
        self.act(at, |table, out| table.release(object, Hold::Pin, out));
    }

    /// The task is over for its owner: its arguments are free to go.
    fn task_over(&mut self, task: usize) {
        let Some(task) = self.tasks.remove(&task) else { return };
        for object in task.args {
            self.act(task.owner, |table, out| table.release(object, Hold::Argument, out));
        }
    }

    fn ask_over(&mut self, at: At, asked: ObjectId) {
        let asks = &mut self.peers[at].asks;
        if let Some(n) = asks.iter().position(|&(object, _)| object == asked) {
            asks.remove(n);
            self.unpin(at, asked);
        }
    }

    // The messages.

    fn hand_out(&mut self, from: At, to: At, refs: Vec<ObjectId>, body: Body) {
        let id = self.peers[to].id;
        let mut out = Vec::new();
        let hand_out = self.peers[from].table.hand_out(&refs, id, &mut out);
        self.outbox.push((Carry { from, to, id: hand_out.id, refs, body }, hand_out.ready));
        self.carry_out(from, out);
    }

    fn send(&mut self, n: usize, early: bool) {
        let (carry, _) = self.outbox.remove(n);
        let (from, to, id) = (carry.from, carry.to, carry.id);
        let early = early && from != to;
        self.wire(from, to, Wire::Carry { carry, early });
        if early {
            self.act(from, |table, out| table.delivered(id, out));
        }
    }

    fn undo(&mut self, at: At, id: HandOutId) {
        self.act(at, |table, out| table.undo_hand_out(id, out));
    }

    /// What a message that never arrived means to whoever waited for it.
    fn came_back(&mut self, from: At, to: At, body: Body) {
        match body {
            Body::Give => {}
            Body::Task { task } => self.task_over(task),
            Body::Reply { task, .. } => {
                if self.peers[to].alive && !self.peers[to].knows_dead.contains(&from) {
                    self.task_over(task);
                }
            }
            Body::Answer { asked } => {
                if self.peers[to].alive {
                    self.ask_over(to, asked);
                }
            }
        }
    }

    fn wire(&mut self, from: At, to: At, wire: Wire) {
        if self.peers[to].alive {
            self.channels.entry((from, to)).or_default().push_back(wire);
        }
    }

    fn deliver(&mut self, from: At, to: At, refuse: bool) {
        let Some(wire) = self.channels.get_mut(&(from, to)).and_then(VecDeque::pop_front) else { return };
        let from_id = self.peers[from].id;
        match wire {
            Wire::Ref(message) => self.act(to, |table, out| table.message(from_id, message, out)),
            Wire::Carry { carry, early: false } if refuse => {
                if !matches!(carry.body, Body::Task { .. }) {
                    self.came_back(from, to, carry.body);
                }
                self.wire(to, from, Wire::Refused { id: carry.id, body: carry.body });
            }
            Wire::Carry { carry, early } => {
                let id = carry.id;
                self.arrive(carry);
                if !early {
                    self.wire(to, from, Wire::Ack { id });
                }
            }
            Wire::Refused { id, body } => {
                self.undo(to, id);
                if let Body::Task { task } = body {
                    self.task_over(task);
                }
            }
            Wire::Ack { id } => self.act(to, |table, out| table.delivered(id, out)),
            Wire::Ask { object } => {
                let inner = self.peers[to].table.contained(object).to_vec();
                assert_eq!(inner, self.values.get(&object).cloned().unwrap_or_default());
                if !self.peers[to].knows_dead.contains(&from) {
                    self.hand_out(to, from, inner, Body::Answer { asked: object });
                }
            }
        }
    }

    fn arrive(&mut self, carry: Carry) {
        let Carry { from, to, refs, body, .. } = carry;
        match body {
            Body::Reply { task, extra } => {
                // Nested holds, as the shell would take them; the task cannot be over, for only `from` could end it.
                for &inner in &refs {
                    self.receive(from, to, inner, Hold::Nested);
                }
                self.result(task, refs, extra);
                self.task_over(task);
            }
            Body::Give | Body::Answer { .. } | Body::Task { .. } => {
                for inner in refs {
                    self.receive(from, to, inner, Hold::Local);
                    *self.peers[to].locals.entry(inner).or_default() += 1;
                }
            }
        }
        match body {
            Body::Answer { asked } => self.ask_over(to, asked),
            Body::Task { task } => {
                if let Some(task) = self.tasks.get_mut(&task) {
                    task.running = true;
                }
            }
            Body::Give | Body::Reply { .. } => {}
        }
    }

    fn receive(&mut self, from: At, to: At, object: ObjectId, hold: Hold) {
        let from = self.peers[from].id;
        let mut out = Vec::new();
        assert!(self.peers[to].table.received(object, from, hold, &mut out), "{object} came unprotected");
        self.carry_out(to, out);
    }

    /// Spreads the refs of a result over the task's returns, with one more return if `extra`.
    fn result(&mut self, task: usize, refs: Vec<ObjectId>, extra: bool) {
        let Some(Task { owner, returns, .. }) = self.tasks.get(&task) else { panic!("the reply's task is over") };
        let (owner, mut returns) = (*owner, returns.clone());
        if extra {
            let (seq, index) = (returns[0].task.seq, returns.len() as u32);
            self.peers[owner].table.own_more(seq, index, 1, true);
            returns.push(self.made(owner, seq, index));
        }
        let mut parts = vec![Vec::new(); returns.len()];
        for (n, inner) in refs.into_iter().enumerate() {
            let outer = returns[n % returns.len()];
            if self.reachable_from([inner]).contains(&outer) || self.freed.contains(&outer) && n % 2 == 0 {
                // A cycle would stay for ever; and some programs look before they store.
                self.act(owner, |table, out| table.release(inner, Hold::Nested, out));
            } else {
                parts[n % returns.len()].push(inner);
            }
            // What was just given counts for the next cycle check.
            if !self.freed.contains(&outer) {
                self.values.insert(outer, parts[n % returns.len()].clone());
            }
        }
        for (outer, part) in returns.into_iter().zip(parts) {
            self.act(owner, |table, out| table.contains(outer, part, out));
        }
    }

    // Deaths.

    fn kill(&mut self, dying: &[At], death: Death, cut: u8) {
        for &at in dying {
            self.peers[at].alive = false;
            self.outbox.retain(|(carry, _)| carry.from != at);
            self.notices.retain(|&(to, _)| to != at);
            self.tasks.retain(|_, task| task.owner != at);
            for (&(from, to), wires) in &mut self.channels {
                if from == at {
                    wires.truncate(usize::from(cut) % (wires.len() + 1));
                }
                if to == at {
                    wires.clear();
                }
            }
        }
        for to in (0..self.peers.len()).filter(|&to| self.peers[to].alive) {
            self.notices.push((to, death));
        }
    }

    fn notice(&mut self, n: usize) {
        let (at, death) = self.notices.remove(n);
        let dead: Vec<At> = match death {
            Death::Process(process) => (0..self.peers.len()).filter(|&n| self.peers[n].id.process == process).collect(),
            Death::Owner(owner) => vec![owner],
        };
        for &dead in &dead {
            self.peers[at].knows_dead.insert(dead);
            self.channels.remove(&(dead, at));
        }
        match death {
            Death::Process(process) => self.act(at, |table, out| table.process_died(process, out)),
            Death::Owner(owner) => {
                let owner = self.peers[owner].id;
                self.act(at, |table, out| table.owner_died(owner, out));
            }
        }
        for dead in dead {
            let moot = |carry: &Carry| carry.from == at && carry.to == dead;
            let undone: Vec<HandOutId> =
                self.outbox.iter().filter(|(carry, _)| moot(carry)).map(|(carry, _)| carry.id).collect();
            self.outbox.retain(|(carry, _)| !moot(carry));
            for id in undone {
                self.undo(at, id);
            }
            let failed: Vec<usize> = self
                .tasks
                .iter()
                .filter(|(_, task)| task.owner == at && task.worker == dead)
                .map(|(&task, _)| task)
                .collect();
            for task in failed {
                self.task_over(task);
            }
            let asked: Vec<ObjectId> =
                self.peers[at].asks.iter().filter(|&&(_, of)| of == dead).map(|&(object, _)| object).collect();
            for object in asked {
                self.ask_over(at, object);
            }
        }
    }

    // What the tables want.

    fn act(&mut self, at: At, act: impl FnOnce(&mut RefTable, &mut Vec<RefAction>)) {
        let mut out = Vec::new();
        act(&mut self.peers[at].table, &mut out);
        self.carry_out(at, out);
    }

    fn carry_out(&mut self, at: At, actions: Vec<RefAction>) {
        let me = self.peers[at].id;
        for action in actions {
            match action {
                RefAction::Send { to, message } => {
                    let to = self.place(to);
                    assert!(to != at && !self.peers[at].knows_dead.contains(&to), "REF-6: {message:?} to the dead");
                    self.wire(at, to, Wire::Ref(message));
                }
                RefAction::Ready(id) => {
                    let waiting = self.outbox.iter_mut().find(|(carry, _)| carry.from == at && carry.id == id);
                    let Some((_, ready)) = waiting else { panic!("{id:?} was not waiting") };
                    assert!(!*ready, "{id:?} is ready twice");
                    *ready = true;
                }
                RefAction::Free(slot) => {
                    let object = object(me, slot);
                    assert!(self.freed.insert(object), "REF-1: {object} freed twice");
                    self.values.remove(&object);
                }
                RefAction::OwnerLost(object) => {
                    let owner = self.place(object.task.owner);
                    assert!(self.peers[at].knows_dead.contains(&owner), "REF-6: {object} is not lost");
                }
            }
        }
    }

    // The oracle.

    fn reachable(&self) -> BTreeSet<ObjectId> {
        let mut roots = Vec::new();
        for peer in self.peers.iter().filter(|peer| peer.alive) {
            roots.extend(peer.locals.keys().chain(peer.pins.keys()));
        }
        for task in self.tasks.values() {
            roots.extend(&task.args);
        }
        let under_way = self.channels.values().flatten().filter_map(|wire| match wire {
            Wire::Carry { carry, .. } => Some(carry),
            _ => None,
        });
        for carry in self.outbox.iter().map(|(carry, _)| carry).chain(under_way) {
            if self.peers[carry.to].alive && !self.peers[carry.to].knows_dead.contains(&carry.from) {
                roots.extend(&carry.refs);
            }
        }
        self.reachable_from(roots)
    }

    /// What these lead to, through values whose owners live.
    fn reachable_from(&self, roots: impl IntoIterator<Item = ObjectId>) -> BTreeSet<ObjectId> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<ObjectId> = roots.into_iter().collect();
        while let Some(object) = next.pop() {
            if self.peers[self.place(object.task.owner)].alive && reached.insert(object) {
                next.extend(self.values.get(&object).into_iter().flatten());
            }
        }
        reached
    }

    /// REF-1, REF-3. What is not reachable never will be again, so only steps that free need to be checked.
    fn check_reachable(&mut self) {
        if self.checked == self.freed.len() {
            return;
        }
        self.checked = self.freed.len();
        for object in self.reachable() {
            assert!(!self.freed.contains(&object), "REF-1: {object} was freed and is reachable");
        }
    }

    /// Delivers everything, news of deaths too; then there is nothing reachable but what is alive, whatever it was inside of
    /// (REF-4), and the books agree.
    fn settle(&mut self) {
        loop {
            if !self.notices.is_empty() {
                self.notice(0);
            } else if let Some(n) = self.outbox.iter().position(|(_, ready)| *ready) {
                self.send(n, false);
            } else if let Some((from, to)) = self.full_channels().first().copied() {
                self.deliver(from, to, false);
            } else {
                break;
            }
            self.check_reachable();
        }
        assert!(self.outbox.is_empty(), "a hand-out is never ready");
        let reachable = self.reachable();
        for &object in &self.objects {
            if self.peers[self.place(object.task.owner)].alive {
                let freed = self.freed.contains(&object);
                assert_eq!(freed, !reachable.contains(&object), "REF-2: {object} freed: {freed}, when all is quiet");
                self.check_books(object);
            }
        }
    }

    /// REF-2, when nothing is on its way.
    fn check_books(&self, object: ObjectId) {
        let owner = &self.peers[self.place(object.task.owner)];
        let counts = owner.table.counts(object).unwrap_or_default();
        let borrowers: BTreeMap<OwnerId, u32> = counts.borrowers.into_iter().collect();
        assert_eq!(counts.local, owner.locals.get(&object).copied().unwrap_or(0));
        assert_eq!(counts.pins, owner.pins.get(&object).copied().unwrap_or(0));
        for peer in self.peers.iter().filter(|peer| peer.id != owner.id) {
            let theirs = peer.alive.then(|| peer.table.counts(object)).flatten().unwrap_or_default();
            assert_eq!(borrowers.get(&peer.id).copied().unwrap_or(0), theirs.registered, "REF-2: {object}");
            assert_eq!((theirs.transit, theirs.expected, theirs.awaited), (0, 0, 0), "{object}");
            if peer.alive {
                assert_eq!(theirs.local, peer.locals.get(&object).copied().unwrap_or(0));
            }
        }
        let in_slab = slot(&object);
        assert_eq!(owner.table.owned.get(in_slab).is_none(), self.freed.contains(&object), "REF-5: {object}");
    }

    /// Everything ends: then every table is empty, and nobody was ever at fault.
    fn end(&mut self) {
        self.settle();
        while !self.tasks.is_empty() {
            self.finish(0, 0, false);
            self.settle();
        }
        for at in (0..self.peers.len()).filter(|&at| self.peers[at].alive).collect::<Vec<_>>() {
            while let Some((&object, _)) = self.peers[at].locals.first_key_value() {
                self.drop_local(at, object);
            }
            while let Some((&object, _)) = self.peers[at].pins.first_key_value() {
                self.unpin(at, object);
            }
        }
        self.settle();
        for peer in self.peers.iter().filter(|peer| peer.alive) {
            assert!(peer.table.is_empty(), "{:?}", peer.table);
            assert!(peer.table.peers().is_empty());
            assert_eq!(peer.table.owned.pages(), 0);
            let Ignored { misuse, .. } = peer.table.ignored();
            assert_eq!(misuse, 0, "REF-7: {:?} was misused", peer.id);
        }
    }
}

fn decrement(counts: &mut BTreeMap<ObjectId, u32>, object: ObjectId) {
    if let Some(count) = counts.get_mut(&object) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&object);
        }
    }
}
