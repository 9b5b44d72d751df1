//! What the GCS knows of tasks: pure.
//!
//! Invariants:
//! - TABLE-1: there are at most `max` rows, and half as many that have not ended; those that ended first go first, and one
//!   that has not ended never goes.
//! - TABLE-2: an attempt that ended stays as it ended.
//! - TABLE-3: every attempt whose end was told is listed, or counted as dropped.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use actinic_transport::{NodeId, ProcessId};
use serde::{Deserialize, Serialize};

use crate::events::record::{NAME_MAX, TEXT_MAX, cut};
use crate::events::{Event, Kind, Place, Step, TaskEvents, Took};
use crate::ids::{JobId, OwnerId};
use crate::state::TaskState;

/// An attempt at a task; rows are listed in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct TaskKey {
    pub(crate) owner: OwnerId,
    pub(crate) seq: u64,
    pub(crate) attempt: u32,
}

/// What is known of an attempt. Times are nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskRow {
    pub(crate) key: TaskKey,
    pub(crate) job: JobId,
    pub(crate) kind: Kind,
    pub(crate) state: TaskState,
    pub(crate) place: Option<Place>,
    pub(crate) since: u64,
    pub(crate) started: Option<u64>,
    /// Why it failed, or what it waits for.
    pub(crate) text: Option<String>,
}

#[derive(Debug)]
struct Row {
    kind: Arc<Kind>,
    place: Option<Arc<Place>>,
    text: Option<Arc<str>>,
    since: u64,
    started: Option<u64>,
    state: TaskState,
}

#[derive(Debug)]
struct Rows {
    owner: OwnerId,
    job: JobId,
    /// By number and attempt.
    all: BTreeMap<(u64, u32), Row>,
}

impl Rows {
    /// The row of an attempt. Most that happens is the end of one that nothing was told of, behind all others.
    fn known(&mut self, key: (u64, u32)) -> Option<&mut Row> {
        if self.all.last_key_value().is_none_or(|(last, _)| *last < key) {
            return None;
        }
        self.all.get_mut(&key)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct TaskTable {
    max: usize,
    len: usize,
    /// How many have not ended.
    live: usize,
    /// The number that each owner has here.
    numbers: BTreeMap<OwnerId, u64>,
    owners: BTreeMap<u64, Rows>,
    next: u64,
    /// Those that ended: owner's number, task's number, attempt.
    ended: VecDeque<(u64, u64, u32)>,
    dropped: u64,
}

impl TaskTable {
    /// An empty one, of at most `max` rows.
    pub(crate) fn new(max: usize) -> TaskTable {
        TaskTable {
            max,
            len: 0,
            live: 0,
            numbers: BTreeMap::new(),
            owners: BTreeMap::new(),
            next: 0,
            ended: VecDeque::new(),
            dropped: 0,
        }
    }

    /// How many attempts there were of which nothing is known any more.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes in what an owner tells; what names nothing is left out.
    pub(crate) fn take(&mut self, told: TaskEvents) {
        self.dropped = self.dropped.saturating_add(told.dropped);
        let shared = Shared {
            kinds: told.kinds.into_iter().map(|kind| Arc::new(bounded(kind))).collect(),
            places: told.places.into_iter().map(Arc::new).collect(),
            // Whoever told it has cut them; that it has is not relied on.
            texts: told.texts.into_iter().map(|text| Arc::from(cut(&text, TEXT_MAX))).collect(),
        };
        if told.events.is_empty() {
            return;
        }
        let number = *self.numbers.entry(told.owner).or_insert_with(|| {
            self.next += 1;
            self.next
        });
        for event in told.events {
            let Some(kind) = shared.kinds.get(event.kind as usize) else { continue };
            self.happened(number, (told.owner, told.job), kind, &event, &shared);
        }
        if self.owners.contains_key(&number) {
            self.forget_if_empty(number);
        } else {
            // Nothing of it was listed.
            self.numbers.remove(&told.owner);
        }
    }

    fn happened(
        &mut self,
        number: u64,
        (owner, job): (OwnerId, JobId),
        kind: &Arc<Kind>,
        event: &Event,
        shared: &Shared,
    ) {
        let key = (event.seq, event.attempt);
        let known = self.owners.get_mut(&number).and_then(|rows| rows.known(key));
        if let Some(row) = known {
            if row.state.has_ended() {
                return;
            }
            row.happened(event, shared);
            let state = row.state;
            return self.note_end(state, number, key);
        }
        let too_many = !event.step.is_end() && self.live >= self.max / 2;
        if too_many || (self.len >= self.max && !self.make_room(number)) {
            self.dropped += u64::from(event.step.is_end());
            return;
        }
        let mut row = Row {
            kind: Arc::clone(kind),
            place: None,
            text: None,
            since: event.at,
            started: None,
            state: TaskState::PendingArgs,
        };
        row.happened(event, shared);
        self.len += 1;
        self.live += 1;
        self.note_end(row.state, number, key);
        let rows = self.owners.entry(number).or_insert_with(|| Rows { owner, job, all: BTreeMap::new() });
        rows.all.insert(key, row);
    }

    /// An attempt that had not ended is in this state now.
    fn note_end(&mut self, state: TaskState, number: u64, (seq, attempt): (u64, u32)) {
        if state.has_ended() {
            self.live -= 1;
            self.ended.push_back((number, seq, attempt));
        }
    }

    /// Forgets whoever ended first, for one of the owner with this number; `false` if nobody has.
    fn make_room(&mut self, of: u64) -> bool {
        let Some((number, seq, attempt)) = self.ended.pop_front() else { return false };
        if self.owners.get_mut(&number).is_some_and(|rows| rows.all.remove(&(seq, attempt)).is_some()) {
            self.len -= 1;
            self.dropped += 1;
        }
        if number != of {
            self.forget_if_empty(number);
        }
        true
    }

    fn forget_if_empty(&mut self, number: u64) {
        if let Some(rows) = self.owners.get(&number).filter(|rows| rows.all.is_empty()) {
            self.numbers.remove(&rows.owner);
            self.owners.remove(&number);
        }
    }

    /// Owners have ended, and with them what they had submitted.
    fn end_where(&mut self, ended: impl Fn(OwnerId) -> bool, text: &str, at: u64) {
        let text: Arc<str> = text.into();
        for (number, rows) in self.owners.iter_mut().filter(|(_, rows)| ended(rows.owner)) {
            for ((seq, attempt), row) in rows.all.iter_mut().filter(|(_, row)| !row.state.has_ended()) {
                row.end(TaskState::Failed, at, None, Some(Arc::clone(&text)));
                self.live -= 1;
                self.ended.push_back((*number, *seq, *attempt));
            }
        }
    }

    pub(crate) fn owner_ended(&mut self, owner: OwnerId, at: u64) {
        self.end_where(|other| other == owner, "its owner is dead", at);
    }

    pub(crate) fn process_ended(&mut self, process: ProcessId, at: u64) {
        self.end_where(|owner| owner.process == process, "its owner's process is dead", at);
    }

    pub(crate) fn node_ended(&mut self, node: NodeId, at: u64) {
        self.end_where(|owner| owner.node() == node, "its owner's node is dead", at);
    }

    /// At most `count` rows behind `after`.
    pub(crate) fn page(&self, after: Option<TaskKey>, count: usize) -> Vec<TaskRow> {
        let from = after.map_or(Bound::Unbounded, |key| Bound::Included(key.owner));
        let owners = self.numbers.range((from, Bound::Unbounded)).filter_map(|(_, number)| self.owners.get(number));
        let rows = owners.flat_map(|rows| {
            let behind = match after {
                Some(key) if key.owner == rows.owner => Bound::Excluded((key.seq, key.attempt)),
                _ => Bound::Unbounded,
            };
            rows.all.range((behind, Bound::Unbounded)).map(|(key, row)| row.told(rows, *key))
        });
        rows.take(count).collect()
    }
}

fn bounded(mut kind: Kind) -> Kind {
    if kind.name.len() > NAME_MAX {
        kind.name = cut(&kind.name, NAME_MAX).into();
    }
    kind
}

/// What the events of one message share.
struct Shared {
    kinds: Vec<Arc<Kind>>,
    places: Vec<Arc<Place>>,
    texts: Vec<Arc<str>>,
}

impl Shared {
    fn place(&self, index: u32) -> Option<Arc<Place>> {
        self.places.get(index as usize).cloned()
    }

    fn text(&self, index: u32) -> Option<Arc<str>> {
        self.texts.get(index as usize).cloned()
    }
}

impl Row {
    fn happened(&mut self, event: &Event, shared: &Shared) {
        let at = event.at;
        match event.step {
            Step::Depends => self.waits(TaskState::PendingArgs, at, None, None),
            Step::Waits { text } => self.waits(TaskState::PendingNode, at, shared.text(text), None),
            Step::Sent { place } => self.waits(TaskState::Submitted, at, None, shared.place(place)),
            Step::Runs { place } => {
                self.waits(TaskState::Running, at, None, shared.place(place));
                self.started = Some(self.started.unwrap_or(at));
            }
            Step::Finished { took } => self.end(TaskState::Finished, at, took.map(|took| (took, shared)), None),
            Step::Failed { took, text } => {
                self.end(TaskState::Failed, at, took.map(|took| (took, shared)), shared.text(text));
            }
        }
    }

    fn waits(&mut self, state: TaskState, at: u64, text: Option<Arc<str>>, place: Option<Arc<Place>>) {
        if self.state != state {
            self.since = at;
            // It may have been given back by where it had begun to all appearance.
            self.started = None;
        }
        self.place = place;
        self.state = state;
        self.text = text;
    }

    fn end(&mut self, state: TaskState, at: u64, took: Option<(Took, &Shared)>, text: Option<Arc<str>>) {
        self.state = state;
        self.since = at;
        self.text = text;
        if let Some((took, shared)) = took {
            self.place = shared.place(took.place);
            self.started = Some(at.saturating_sub(took.ns));
        }
    }

    fn told(&self, rows: &Rows, (seq, attempt): (u64, u32)) -> TaskRow {
        TaskRow {
            key: TaskKey { owner: rows.owner, seq, attempt },
            job: rows.job,
            kind: Kind::clone(&self.kind),
            state: self.state,
            place: self.place.as_deref().copied(),
            since: self.since,
            started: self.started,
            text: self.text.as_deref().map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests;
