//! Who waits, in order, in groups of those that are alike to the policy.
//!
//! After nearly every event it is looked who of those that wait can be served, and there may be thousands. One that waits
//! for what its node has waits as all do that are alike: so of a group the first is looked at, and speaks for those behind
//! it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::messages::{LeaseRequest, Purpose, RequestKey, Scheduling, WorkerKind};
use super::queue::Waits;
use crate::ids::JobId;
use crate::resources::ResourceSet;

pub(super) type GroupId = u64;

/// A request's place among those of its job and depth; the least is served first.
pub(super) type Place = (u64, u64, u64, u64, u64);

/// What decides, beside what the nodes have and hold, what becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Alike {
    pub(super) job: JobId,
    pub(super) depth: Reverse<u32>,
    is_tasks: bool,
    kind: WorkerKind,
    shape: ResourceSet,
    hold: ResourceSet,
    pub(super) spilled: u8,
    /// Nothing else does: it may go anywhere, and is near to nothing.
    pub(super) is_plain: bool,
}

impl Alike {
    pub(super) fn of(ask: &LeaseRequest) -> Self {
        Self {
            job: ask.job,
            depth: Reverse(ask.depth),
            is_tasks: ask.purpose == Purpose::Tasks,
            kind: ask.kind(),
            shape: ask.shape.clone(),
            hold: ask.hold().clone(),
            spilled: ask.spilled,
            is_plain: ask.scheduling == Scheduling::Default && ask.avoids.is_empty() && ask.locality.is_empty(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) alike: Alike,
    /// What must be free for one lease.
    pub(super) need: ResourceSet,
    /// How many open requests there are, of which some may have nothing that waits.
    members: usize,
    /// Those with leases that are not placed yet.
    pub(super) order: BTreeSet<(Place, RequestKey)>,
    /// What all of them wait for, and in which pass that was found.
    pub(super) waits: Option<(u64, Waits)>,
}

/// By number: a request keeps the number of its group.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    ids: BTreeMap<Alike, GroupId>,
    all: BTreeMap<GroupId, Group>,
    made: GroupId,
}

impl Groups {
    /// A request came.
    pub(super) fn join(&mut self, ask: &LeaseRequest) -> GroupId {
        let alike = Alike::of(ask);
        let id = *self.ids.entry(alike.clone()).or_insert_with(|| {
            self.made += 1;
            self.made
        });
        let new = || Group { alike, need: ask.need(), members: 0, order: BTreeSet::new(), waits: None };
        self.all.entry(id).or_insert_with(new).members += 1;
        id
    }

    /// One has ended that stood there.
    pub(super) fn leave(&mut self, id: GroupId, at: Option<Place>, key: RequestKey) {
        self.put(id, key, at, None);
        let Some(group) = self.all.get_mut(&id) else { return };
        group.members -= 1;
        if group.members == 0 {
            self.ids.remove(&group.alike);
            self.all.remove(&id);
        }
    }

    /// A request stands elsewhere now, or nowhere.
    pub(super) fn put(&mut self, id: GroupId, key: RequestKey, from: Option<Place>, to: Option<Place>) {
        if from == to {
            return;
        }
        let Some(group) = self.all.get_mut(&id) else { return };
        if let Some(from) = from {
            group.order.remove(&(from, key));
        }
        if let Some(to) = to {
            group.order.insert((to, key));
        }
    }

    pub(super) fn get(&self, id: GroupId) -> Option<&Group> {
        self.all.get(&id)
    }

    /// All of the group wait for this.
    pub(super) fn wait(&mut self, id: GroupId, pass: u64, why: Waits) {
        if let Some(group) = self.all.get_mut(&id) {
            group.waits = Some((pass, why));
        }
    }

    /// Those in which something waits.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        self.all.iter().filter(|(_, group)| !group.order.is_empty()).map(|(id, group)| (*id, group))
    }
}
