//! What runs in the cluster: parcels that hold refs and handles, tasks and actors that do with them what a step says,
//! and the walk that looks whether all is as the model says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use actinic::prelude::*;
use actinic::{ActorId, ObjectId};
use serde::{Deserialize, Serialize};

/// Names a parcel, once in this pid: the run, then the number in it. Its encoding is as long for one as for another, so
/// that two runs of a story send the same bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Tag(pub(crate) [u8; 4], pub(crate) [u8; 4]);

/// What is in an object.
#[derive(Clone, Serialize, Deserialize)]
pub struct Parcel {
    tag: Tag,
    filler: Buffer,
    pub(crate) refs: Vec<ObjectRef<Parcel>>,
    pub(crate) actors: Vec<Handle<Keeper>>,
}

/// Just above the inline limit.
const LARGE: usize = 110 * 1024;

impl Parcel {
    pub(crate) fn new(name: Name, refs: Vec<ObjectRef<Parcel>>, actors: Vec<Handle<Keeper>>) -> Parcel {
        let size = if name.large { LARGE } else { 8 };
        Parcel { tag: name.tag, filler: Buffer::from(vec![name.tag.1[3]; size]), refs, actors }
    }

    fn is(&self, name: Name) -> bool {
        let size = if name.large { LARGE } else { 8 };
        self.tag == name.tag && self.filler.len() == size && self.filler.iter().all(|byte| *byte == name.tag.1[3])
    }
}

/// What a parcel is called, and whether it is above the inline limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Name {
    pub(crate) tag: Tag,
    pub(crate) large: bool,
}

/// The ids of what was made away from the driver, by tag: the model has no other way to know them. Worker processes have
/// a table of their own, which nobody reads.
static NOTED: Mutex<BTreeMap<Tag, ObjectId>> = Mutex::new(BTreeMap::new());

fn note(name: Name, made: &ObjectRef<Parcel>) {
    NOTED.lock().unwrap_or_else(PoisonError::into_inner).insert(name.tag, made.id());
}

pub(crate) fn noted(tag: Tag) -> Option<ObjectId> {
    NOTED.lock().unwrap_or_else(PoisonError::into_inner).get(&tag).copied()
}

/// What a task does with the refs that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Returns them.
    Bundle,
    /// Returns nothing of them.
    Discard,
    /// Puts them into an object of its own, and returns a ref to that.
    Wrap,
    /// Has another task bundle them, waits for it, and returns the ref.
    Relay,
    /// As `Relay`, without waiting.
    Post,
    /// Puts them into an object, and fails.
    Fail,
    /// Gives them to the first of the actors, which keeps them.
    Keep,
}

/// The arguments of a task.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) kind: Kind,
    pub(crate) result: Name,
    /// What the task makes beside its result.
    pub(crate) inner: Name,
    pub(crate) slot: u64,
    pub(crate) refs: Vec<ObjectRef<Parcel>>,
    pub(crate) actors: Vec<Handle<Keeper>>,
    /// It has this before it ends.
    pub(crate) gate: Option<ObjectRef<Parcel>>,
}

impl Order {
    /// Makes what the task makes; and the other task's order, if it gives one.
    fn begin(&self) -> actinic::Result<Option<ObjectRef<Parcel>>> {
        let made = match self.kind {
            Kind::Wrap | Kind::Fail => {
                actinic::put(&Parcel::new(self.inner, self.refs.clone(), Vec::new())).blocking()?
            }
            Kind::Relay | Kind::Post => self.order_another(),
            _ => return Ok(None),
        };
        note(self.inner, &made);
        Ok(Some(made))
    }

    fn order_another(&self) -> ObjectRef<Parcel> {
        let (refs, gate) = (self.refs.clone(), self.gate.clone());
        let other = Order { kind: Kind::Bundle, result: self.inner, refs, actors: Vec::new(), gate, ..*self };
        work::remote(other)
    }

    fn end(self, made: Option<ObjectRef<Parcel>>) -> actinic::Result<Parcel> {
        match self.kind {
            Kind::Fail => Err(Error::other(std::io::Error::other("as it should"))),
            Kind::Discard | Kind::Keep => Ok(Parcel::new(self.result, Vec::new(), Vec::new())),
            Kind::Bundle => Ok(Parcel::new(self.result, self.refs, self.actors)),
            Kind::Wrap | Kind::Relay | Kind::Post => {
                Ok(Parcel::new(self.result, made.into_iter().collect(), self.actors))
            }
        }
    }

    fn run(self) -> actinic::Result<Parcel> {
        let made = self.begin()?;
        if let Some(gate) = self.gate.as_ref().filter(|_| self.kind != Kind::Post) {
            gate.blocking()?;
        }
        match self.kind {
            Kind::Relay => drop(made.as_ref().map(ObjectRef::blocking).transpose()?),
            Kind::Keep => self.actors[0].keep(self.slot, self.refs.clone(), Vec::new()).blocking()?,
            _ => {}
        }
        self.end(made)
    }
}

#[actinic::remote]
pub(crate) fn work(order: Order) -> actinic::Result<Parcel> {
    order.run()
}

/// As `work`, with what is in a parcel too.
#[actinic::remote]
pub(crate) fn work_on(mut order: Order, parcel: Parcel) -> actinic::Result<Parcel> {
    order.refs.extend(parcel.refs);
    order.actors.extend(parcel.actors);
    order.run()
}

/// As `work`, holding no thread while it waits. It makes nothing by itself: a `put` blocks.
#[actinic::remote]
pub(crate) async fn work_async(order: Order) -> actinic::Result<Parcel> {
    let made = match order.kind {
        Kind::Relay | Kind::Post => {
            let made = order.order_another();
            note(order.inner, &made);
            Some(made)
        }
        Kind::Wrap | Kind::Fail => {
            let made = actinic::put(&Parcel::new(order.inner, order.refs.clone(), Vec::new())).await?;
            note(order.inner, &made);
            Some(made)
        }
        _ => None,
    };
    if let Some(gate) = order.gate.as_ref().filter(|_| order.kind != Kind::Post) {
        gate.await?;
    }
    match (order.kind, &made) {
        (Kind::Relay, Some(made)) => drop(made.await?),
        (Kind::Keep, _) => order.actors[0].keep(order.slot, order.refs.clone(), Vec::new()).await?,
        _ => {}
    }
    order.end(made)
}

/// As `work`; the second return has the same refs and the name of what it would make.
#[actinic::remote(num_returns = 2)]
pub(crate) fn work_twice(order: Order) -> actinic::Result<(Parcel, Parcel)> {
    let second = Parcel::new(order.inner, order.refs.clone(), order.actors.clone());
    Ok((order.run()?, second))
}

#[derive(Clone, Default)]
struct Kept {
    refs: Vec<ObjectRef<Parcel>>,
    actors: Vec<Handle<Keeper>>,
}

/// Keeps what it is given, by number.
pub struct Keeper {
    slots: BTreeMap<u64, Kept>,
}

#[actinic::remote]
impl Keeper {
    pub(crate) fn new(slot: u64, refs: Vec<ObjectRef<Parcel>>, parcel: Parcel) -> Keeper {
        let mut keeper = Keeper { slots: BTreeMap::new() };
        keeper.keep(slot, refs, Vec::new());
        keeper.keep_inside(slot, parcel);
        keeper
    }

    pub(crate) fn keep(&mut self, slot: u64, refs: Vec<ObjectRef<Parcel>>, actors: Vec<Handle<Keeper>>) {
        let kept = self.slots.entry(slot).or_default();
        kept.refs.extend(refs);
        kept.actors.extend(actors);
    }

    /// Keeps what is in a parcel.
    pub(crate) fn keep_inside(&mut self, slot: u64, parcel: Parcel) {
        self.keep(slot, parcel.refs, parcel.actors);
    }

    /// Gives what it keeps, and keeps it.
    pub(crate) fn give(&self, name: Name, slot: u64) -> Parcel {
        let kept = self.slots.get(&slot).cloned().unwrap_or_default();
        Parcel::new(name, kept.refs, kept.actors)
    }

    /// Gives what it keeps away.
    pub(crate) fn give_up(&mut self, name: Name, slot: u64) -> Parcel {
        let kept = self.slots.remove(&slot).unwrap_or_default();
        Parcel::new(name, kept.refs, kept.actors)
    }

    /// Puts the refs into an object of its own, and gives that.
    pub(crate) fn give_wrapped(&self, name: Name, inner: Name, slot: u64) -> actinic::Result<Parcel> {
        let kept = self.slots.get(&slot).cloned().unwrap_or_default();
        let made = actinic::put(&Parcel::new(inner, kept.refs, Vec::new())).blocking()?;
        note(inner, &made);
        Ok(Parcel::new(name, vec![made], kept.actors))
    }

    /// Has a task bundle them, which this actor owns, and gives the ref.
    pub(crate) fn give_ordered(&self, name: Name, mut order: Order, slot: u64) -> Parcel {
        let kept = self.slots.get(&slot).cloned().unwrap_or_default();
        order.refs = kept.refs;
        let inner = order.result;
        let made = work::remote(order);
        note(inner, &made);
        Parcel::new(name, vec![made], kept.actors)
    }

    /// Returns a parcel's content under another name.
    pub(crate) fn repack(&self, name: Name, parcel: Parcel) -> Parcel {
        Parcel::new(name, parcel.refs, parcel.actors)
    }

    pub(crate) fn forget(&mut self, slot: u64) {
        self.slots.remove(&slot);
    }

    /// Gives what it keeps to another, too.
    pub(crate) fn pass(&self, slot: u64, to: Handle<Keeper>, to_slot: u64) -> actinic::Result<()> {
        let kept = self.slots.get(&slot).cloned().unwrap_or_default();
        to.keep(to_slot, kept.refs, kept.actors).blocking()
    }

    /// Looks whether it keeps what it should, down to the last ref; gives the handles that it came upon.
    pub(crate) fn check(&self, expected: Expected, slots: Vec<ExpectedSlot>) -> Result<Vec<Handle<Keeper>>, Wrong> {
        let kept: Vec<u64> = self.slots.keys().copied().collect();
        let known: Vec<u64> = slots.iter().map(|slot| slot.slot).collect();
        if kept != known {
            return Err(Wrong(format!("the slots are {kept:?} and not {known:?}")));
        }
        let mut walk = Walk::new(&expected);
        for (expected, kept) in slots.iter().zip(self.slots.values()) {
            walk.enter(&expected.refs, &kept.refs, &expected.actors, &kept.actors)?;
        }
        while let Some((node, next)) = walk.next() {
            let got = actinic::get(&next).timeout(PATIENCE).blocking();
            walk.got(node, &next, got)?;
        }
        Ok(walk.actors)
    }

    pub(crate) fn ping(&self) {}
}

/// Lets calls wait until their number is opened.
pub struct Gate {
    open: Mutex<BTreeSet<u64>>,
    opened: tokio::sync::Notify,
}

#[actinic::remote]
impl Gate {
    pub(crate) fn new() -> Gate {
        Gate { open: Mutex::default(), opened: tokio::sync::Notify::new() }
    }

    pub(crate) async fn wait(&self, name: Name, number: u64) -> Parcel {
        loop {
            let opened = self.opened.notified();
            if self.open.lock().unwrap().contains(&number) {
                return Parcel::new(name, Vec::new(), Vec::new());
            }
            opened.await;
        }
    }

    pub(crate) async fn open(&self, number: u64) {
        self.open.lock().unwrap().insert(number);
        self.opened.notify_waiters();
    }
}

/// How long a get of what is there may take: nobody waits so long unless the object is gone.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the model expects to find, as plain data that travels.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Expected {
    pub(crate) nodes: Vec<Node>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Node {
    /// Not ready, or lost with its owner: not to be asked for.
    Leave,
    Fails,
    Is {
        name: Name,
        /// The nodes that its refs lead to.
        refs: Vec<usize>,
        actors: Vec<ActorId>,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExpectedSlot {
    pub(crate) slot: u64,
    pub(crate) refs: Vec<usize>,
    pub(crate) actors: Vec<ActorId>,
}

/// What was not as the model says.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Wrong(pub(crate) String);

/// Follows refs from hand to hand, each object once.
pub(crate) struct Walk<'a> {
    expected: &'a Expected,
    todo: Vec<(usize, ObjectRef<Parcel>)>,
    seen: BTreeSet<usize>,
    pub(crate) actors: Vec<Handle<Keeper>>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(expected: &'a Expected) -> Walk<'a> {
        Walk { expected, todo: Vec::new(), seen: BTreeSet::new(), actors: Vec::new() }
    }

    /// Takes refs and handles that should be these.
    pub(crate) fn enter(
        &mut self,
        nodes: &[usize],
        refs: &[ObjectRef<Parcel>],
        ids: &[ActorId],
        actors: &[Handle<Keeper>],
    ) -> Result<(), Wrong> {
        if nodes.len() != refs.len() || !actors.iter().map(Handle::id).eq(ids.iter().copied()) {
            return Err(Wrong(format!("{refs:?} and {actors:?} are not nodes {nodes:?} and {ids:?}")));
        }
        self.actors.extend(actors.iter().cloned());
        for (node, found) in nodes.iter().zip(refs) {
            if !matches!(self.expected.nodes[*node], Node::Leave) && self.seen.insert(*node) {
                self.todo.push((*node, found.clone()));
            }
        }
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Option<(usize, ObjectRef<Parcel>)> {
        self.todo.pop()
    }

    pub(crate) fn got(
        &mut self,
        node: usize,
        found: &ObjectRef<Parcel>,
        got: actinic::Result<Parcel>,
    ) -> Result<(), Wrong> {
        match (&self.expected.nodes[node], got) {
            (Node::Fails, Err(error)) if !matches!(error, Error::GetTimeout { .. }) => Ok(()),
            (Node::Fails, Ok(parcel)) => Err(Wrong(format!("{found} should fail and is {:?}", parcel.tag))),
            (Node::Is { name, refs, actors }, Ok(parcel)) if parcel.is(*name) => {
                self.enter(refs, &parcel.refs, actors, &parcel.actors)
            }
            (Node::Is { name, .. }, Ok(parcel)) => {
                let (tag, size) = (parcel.tag, parcel.filler.len());
                Err(Wrong(format!("{found} should be {name:?} and is {tag:?} with {size} bytes")))
            }
            (expected, Err(error)) => Err(Wrong(format!("{found} should be {expected:?}: {error:?}"))),
            (Node::Leave, Ok(_)) => Ok(()),
        }
    }
}
