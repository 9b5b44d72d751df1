//! The table of actors with its indices, and sets of bounded size.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use actinic_transport::{NodeId, ProcessId};

use super::death::DeathReason;
use super::placement::ClassKey;
use super::rows::ActorRow;
use crate::ids::{ActorId, JobId, ObjectId, OwnerId};
use crate::rarely::Rarely;

/// Of so many times as many dead actors as are remembered the ids are.
const LONG_DEAD_MAX: usize = 10;

/// The hash of an id made of uuids, which are random already.
#[derive(Debug, Default)]
pub(super) struct UuidHasher(u64);

impl Hasher for UuidHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    // The length of a uuid is not worth mixing in.
    fn write_usize(&mut self, _: usize) {}
}

/// A map of which only look-ups are made, so that its order never shows.
type ById<K, V> = HashMap<K, V, BuildHasherDefault<UuidHasher>>;

/// An actor: its row, and what need not outlive the GCS.
#[derive(Debug)]
pub(super) struct Actor {
    pub(super) row: ActorRow,
    /// Whether `row.node` has it (was sent it) now.
    pub(super) on_node: bool,
    /// Whether that node has admitted it: its constructor may have begun.
    pub(super) admitted: bool,
    /// Where it waits, if it has no node, or has not been admitted there.
    pub(super) waiting: Waiting,
    /// Whether the owner's process is told of changes.
    pub(super) owner_watches: bool,
    /// Which other processes are.
    pub(super) watchers: Rarely<Vec<ProcessId>>,
    /// Whether its owner's lifeline holds it.
    pub(super) held: bool,
    /// What else holds it: the ids by which `get_if_exists` found it, and their lifelines.
    pub(super) claims: Rarely<Vec<(ActorId, ObjectId)>>,
    /// It ends after the calls already made, for this reason.
    pub(super) stopping: Option<Box<DeathReason>>,
    /// Nodes that had no room for this incarnation, with the version of the view that said they had.
    pub(super) refused_by: Rarely<Vec<(NodeId, u64)>>,
    /// Incarnations in a row that never came to life.
    pub(super) crashes: u32,
    /// Whether it is among `changed_actors`.
    pub(super) changed: bool,
}

/// Where an actor waits.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Nowhere.
    No,
    /// For a node, in this class.
    Class(ClassKey),
    /// For this time.
    Until(std::time::Duration),
    /// At the node that it was sent to, to be admitted: since when.
    There(std::time::Duration),
}

impl Actor {
    /// Whether there is a handle, or a call that is not answered; a detached one needs neither.
    pub(super) fn is_held(&self) -> bool {
        self.held || self.row.spec.detached || self.claims.get().is_some_and(|claims| !claims.is_empty())
    }

    /// Whether a node, as it was seen last, had no room for it.
    pub(super) fn was_refused_by(&self, node: NodeId, version: u64) -> bool {
        self.refused_by.get().is_some_and(|nodes| nodes.contains(&(node, version)))
    }

    pub(super) fn is_watched_by(&self, process: ProcessId) -> bool {
        self.watchers.get().is_some_and(|watchers| watchers.contains(&process))
    }

    pub(super) fn new(row: ActorRow) -> Actor {
        Actor {
            row,
            on_node: false,
            admitted: false,
            waiting: Waiting::No,
            owner_watches: true,
            watchers: Rarely::new(),
            held: true,
            claims: Rarely::new(),
            stopping: None,
            refused_by: Rarely::new(),
            crashes: 0,
            changed: false,
        }
    }
}

/// The actors, in order of creation, and who of those not dead belongs to what.
#[derive(Debug)]
pub(super) struct ActorTable {
    /// Boxed: numbers ascend, so half of the places in the tree are never filled.
    rows: BTreeMap<u64, Box<Actor>>,
    by_id: ById<ActorId, u64>,
    by_owner: BTreeMap<OwnerId, BTreeSet<u64>>,
    by_job: ById<JobId, BTreeSet<u64>>,
    dead: VecDeque<u64>,
    dead_max: usize,
    long_dead: Bounded<ActorId>,
    next: u64,
}

impl ActorTable {
    pub(super) fn new(dead_max: usize) -> ActorTable {
        ActorTable {
            rows: BTreeMap::new(),
            by_id: ById::default(),
            by_owner: BTreeMap::new(),
            by_job: ById::default(),
            dead: VecDeque::new(),
            dead_max,
            long_dead: Bounded::new(LONG_DEAD_MAX * dead_max),
            next: 0,
        }
    }

    /// Adds an actor; the caller has seen that its id is new. Returns its number.
    pub(super) fn insert(&mut self, mut actor: Actor) -> u64 {
        let number = self.next;
        self.next += 1;
        actor.row.number = number;
        let spec = &actor.row.spec;
        self.by_id.insert(spec.id, number);
        self.by_owner.entry(spec.owner).or_default().insert(number);
        self.by_job.entry(spec.job).or_default().insert(number);
        self.rows.insert(number, Box::new(actor));
        number
    }

    pub(super) fn number(&self, id: ActorId) -> Option<u64> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn get(&self, number: u64) -> Option<&Actor> {
        self.rows.get(&number).map(|actor| &**actor)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Actor> {
        self.rows.get_mut(&number).map(|actor| &mut **actor)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Actor> {
        self.rows.values().map(|actor| &**actor)
    }

    /// Those made after the one with a number.
    pub(super) fn after(&self, number: Option<u64>) -> impl Iterator<Item = &Actor> {
        let from = number.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.rows.range((from, std::ops::Bound::Unbounded)).map(|(_, actor)| &**actor)
    }

    /// Moves an actor to the dead, of which the oldest are dropped.
    pub(super) fn bury(&mut self, number: u64) {
        let Some(actor) = self.rows.get(&number) else { return };
        let (owner, job) = (actor.row.spec.owner, actor.row.spec.job);
        if let Some(of_owner) = self.by_owner.get_mut(&owner) {
            of_owner.remove(&number);
            if of_owner.is_empty() {
                self.by_owner.remove(&owner);
            }
        }
        if let Some(of_job) = self.by_job.get_mut(&job) {
            of_job.remove(&number);
            if of_job.is_empty() {
                self.by_job.remove(&job);
            }
        }
        self.dead.push_back(number);
    }

    /// Drops the dead that are too many, oldest first. Of those that their owners hold the ids are kept: there are handles of
    /// them, and a process that gets one may never have heard of the actor.
    pub(super) fn drop_long_dead(&mut self) {
        while self.dead.len() > self.dead_max {
            let Some(number) = self.dead.pop_front() else { return };
            if let Some(actor) = self.rows.remove(&number) {
                let spec = &actor.row.spec;
                self.by_id.remove(&spec.id);
                if actor.held && !spec.detached {
                    self.long_dead.insert(spec.id);
                }
            }
        }
    }

    /// Whether an actor is dead for so long that nothing else is known of it.
    pub(super) fn is_long_dead(&self, id: ActorId) -> bool {
        self.long_dead.contains(&id)
    }

    /// The living actors of the owners in a range, in order of creation.
    pub(super) fn of_owners(&self, range: std::ops::RangeInclusive<OwnerId>) -> Vec<u64> {
        let mut found: Vec<u64> = self.by_owner.range(range).flat_map(|(_, numbers)| numbers.iter().copied()).collect();
        found.sort_unstable();
        found
    }

    /// The living actors of a job, in order of creation.
    pub(super) fn of_job(&self, job: JobId) -> Vec<u64> {
        self.by_job.get(&job).map(|numbers| numbers.iter().copied().collect()).unwrap_or_default()
    }

    /// Whether a job has living actors.
    pub(super) fn any_of_job(&self, job: JobId) -> bool {
        self.by_job.contains_key(&job)
    }

    /// How many rows there are, dead ones included.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

/// A set that drops its oldest member when it is full.
#[derive(Debug)]
pub(super) struct Bounded<K> {
    members: BTreeSet<K>,
    order: VecDeque<K>,
    max: usize,
}

impl<K: Copy + Ord> Bounded<K> {
    pub(super) fn new(max: usize) -> Bounded<K> {
        Bounded { members: BTreeSet::new(), order: VecDeque::new(), max }
    }

    /// Adds a member, and returns the one that had to go for it.
    pub(super) fn insert(&mut self, key: K) -> Option<K> {
        if !self.members.insert(key) {
            return None;
        }
        self.order.push_back(key);
        if self.order.len() <= self.max {
            return None;
        }
        let oldest = self.order.pop_front()?;
        self.members.remove(&oldest);
        Some(oldest)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.members.contains(key)
    }
}

#[cfg(test)]
impl ActorTable {
    /// Whether the indices agree with the rows.
    pub(super) fn check(&self) {
        let mut by_owner: BTreeMap<OwnerId, BTreeSet<u64>> = BTreeMap::new();
        let mut by_job: ById<JobId, BTreeSet<u64>> = ById::default();
        let mut dead = BTreeSet::new();
        for (number, actor) in &self.rows {
            let spec = &actor.row.spec;
            assert_eq!((*number, self.by_id.get(&spec.id)), (actor.row.number, Some(number)));
            if actor.row.ended.is_some() {
                dead.insert(*number);
            } else {
                by_owner.entry(spec.owner).or_default().insert(*number);
                by_job.entry(spec.job).or_default().insert(*number);
            }
        }
        assert_eq!(self.by_id.len(), self.rows.len());
        assert_eq!(by_owner, self.by_owner);
        assert_eq!(by_job, self.by_job);
        assert_eq!((dead.len(), dead), (self.dead.len(), self.dead.iter().copied().collect()));
        assert!(self.dead.len() <= self.dead_max);
    }
}
