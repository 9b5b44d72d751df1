//! Look-ups, subscriptions, and what the state API reads.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{NodeId, ProcessId};

use super::{
    Action, ActorInfo, ActorRow, ActorState, DeathCause, DeathReason, GcsCore, JobRow, NodeRow, NodeState, NodeView,
    Reply, ReplyId,
};
use crate::ids::{ActorId, JobId, OwnerId};

/// Which actors to list; `None` is any.
#[derive(Clone, Debug, Default)]
pub(crate) struct ActorFilter {
    /// Of this job.
    pub(crate) job: Option<JobId>,
    /// In this state.
    pub(crate) state: Option<ActorState>,
    /// On this node, or last there.
    pub(crate) node: Option<NodeId>,
    /// Of this class.
    pub(crate) class: Option<String>,
    /// With this name.
    pub(crate) name: Option<String>,
    /// With a name in this namespace.
    pub(crate) namespace: Option<String>,
}

impl ActorFilter {
    fn lets_through(&self, row: &ActorRow) -> bool {
        fn same<T: PartialEq>(asked: &Option<T>, found: &T) -> bool {
            asked.as_ref().is_none_or(|asked| asked == found)
        }
        same(&self.job, &row.spec.job)
            && same(&self.state, &row.state)
            && (self.node.is_none() || self.node == row.node)
            && same(&self.class, &row.spec.class)
            && (self.name.is_none() || self.name == row.spec.name)
            && same(&self.namespace, &row.spec.namespace)
    }
}

impl GcsCore {
    /// The actors in order of creation, those dead for long excepted.
    pub(crate) fn actors(&self, filter: &ActorFilter) -> impl Iterator<Item = &ActorRow> {
        self.actors.iter().map(|actor| &actor.row).filter(move |row| filter.lets_through(row))
    }

    /// The actors behind the one with a number, without their constructors' arguments: so many, or fewer whose rows have so
    /// many bytes together; one at least, if there is one.
    pub(crate) fn actors_page(&self, after: Option<u64>, count: usize, bytes: usize) -> Vec<ActorRow> {
        let mut room = bytes;
        let mut page = Vec::new();
        for actor in self.actors.after(after).take(count) {
            let mut row = actor.row.clone();
            if !row.spec.creation.is_empty() {
                Arc::make_mut(&mut row.spec).creation = Default::default();
            }
            // What cannot be measured is not sent either; whoever reads the page hears of it.
            let size = postcard::to_stdvec(&row).map_or(0, |row| row.len());
            if size > room && !page.is_empty() {
                break;
            }
            room = room.saturating_sub(size);
            page.push(row);
        }
        page
    }

    /// One actor, by its id or an alias.
    pub(crate) fn actor(&self, id: ActorId) -> Option<&ActorRow> {
        self.resolve(id).and_then(|number| self.actors.get(number)).map(|actor| &actor.row)
    }

    /// The nodes, dead ones too; only those in a state if one is given.
    pub(crate) fn nodes(&self, state: Option<NodeState>) -> impl Iterator<Item = &NodeRow> {
        self.nodes.values().map(|node| &node.row).filter(move |row| state.is_none_or(|state| row.state == state))
    }

    /// How long ago the last sign of life came from each node, in the order of [`nodes`](Self::nodes) in any state.
    pub(crate) fn heard(&self, now: Duration) -> impl Iterator<Item = Duration> {
        self.nodes.values().map(move |node| now.saturating_sub(node.last_heard))
    }

    /// One node.
    pub(crate) fn node(&self, id: NodeId) -> Option<&NodeRow> {
        self.nodes.get(&id).map(|node| &node.row)
    }

    /// What the nodes that are up last said is free.
    pub(crate) fn views(&self) -> impl Iterator<Item = &NodeView> {
        self.nodes.values().filter(|node| node.row.state.is_up()).map(|node| &node.view)
    }

    /// The jobs; only those running, or only those ended, if asked.
    pub(crate) fn jobs(&self, running: Option<bool>) -> impl Iterator<Item = &JobRow> {
        self.jobs.values().filter(move |job| running.is_none_or(|running| job.ended.is_none() == running))
    }

    /// One job.
    pub(crate) fn job(&self, id: JobId) -> Option<&JobRow> {
        self.jobs.get(&id)
    }

    /// The number of an actor, by its id or an alias.
    pub(super) fn resolve(&self, id: ActorId) -> Option<u64> {
        let number = self.actors.number(id);
        if number.is_some() || self.aliases.is_empty() {
            return number;
        }
        self.aliases.get(&id).and_then(|real| self.actors.number(*real))
    }

    pub(super) fn named(&self, name: &str, namespace: &str) -> Option<u64> {
        self.names.get(namespace)?.get(name).copied()
    }

    pub(super) fn get_by_name(&mut self, name: &str, namespace: &str, to: ReplyId) {
        let number = self.named(name, namespace);
        self.reply_found(number, to);
    }

    pub(super) fn get_actor(&mut self, id: ActorId, to: ReplyId) {
        let number = self.resolve(id);
        self.reply_found(number, to);
    }

    fn reply_found(&mut self, number: Option<u64>, to: ReplyId) {
        let reply = match number.and_then(|number| self.actors.get(number)) {
            Some(actor) => Reply::Found { info: actor.row.info(), spec: actor.row.spec.clone() },
            None => Reply::NotFound,
        };
        self.reply(to, reply);
    }

    pub(super) fn list_named(&mut self, namespace: Option<&str>, to: ReplyId) {
        let mut found = Vec::new();
        for (space, names) in
            self.names.iter().filter(|(space, _)| namespace.is_none_or(|asked| asked == space.as_str()))
        {
            for (name, number) in names {
                if let Some(actor) = self.actors.get(*number) {
                    found.push((space.clone(), name.clone(), actor.row.spec.id));
                }
            }
        }
        self.reply(to, Reply::Names(found));
    }

    /// Remembers that an actor that was asked for is one that exists.
    pub(super) fn alias(&mut self, asked: ActorId, number: u64) {
        let Some(real) = self.actors.get(number).map(|actor| actor.row.spec.id) else { return };
        self.aliases.insert(asked, real);
        if let Some(oldest) = self.aliases_order.insert(asked) {
            self.aliases.remove(&oldest);
        }
    }

    pub(super) fn subscribe(&mut self, id: ActorId, owner: Option<OwnerId>, to: ProcessId) {
        if let Some(number) = self.resolve(id) {
            self.watch(number, to);
            self.send_snapshot(number, to, id);
            return;
        }
        match owner {
            _ if self.early_kills.contains(&id) => self.snapshots.push((to, unmade(id, Some(DeathReason::Killed)))),
            // By an alias an actor was found; who has no row any more has been dead for long.
            _ if self.actors.is_long_dead(id) || self.aliases.contains_key(&id) => {
                self.snapshots.push((to, unmade(id, Some(DeathReason::Unknown))));
            }
            Some(owner) if !self.is_owner_dead(owner) => {
                let early = self.early_subscribers.entry((owner, id)).or_default();
                if !early.contains(&to) {
                    early.push(to);
                }
                self.snapshots.push((to, unmade(id, None)));
            }
            Some(owner) => self.snapshots.push((to, unmade(id, Some(DeathReason::OwnerDied { owner })))),
            None => self.snapshots.push((to, unmade(id, Some(DeathReason::Unknown)))),
        }
    }

    pub(super) fn send_snapshot(&mut self, number: u64, to: ProcessId, known_as: ActorId) {
        if let Some(actor) = self.actors.get(number) {
            self.snapshots.push((to, actor.row.info_as(known_as)));
        }
    }

    /// A process is told of every change from now on.
    pub(super) fn watch(&mut self, number: u64, process: ProcessId) {
        let dead = self.dead_processes.contains(&process);
        let Some(actor) = self.actors.get_mut(number).filter(|actor| actor.row.state != ActorState::Dead) else {
            return;
        };
        let spec = &actor.row.spec;
        let owns = actor.owner_watches && spec.owner.process == process;
        if !dead && !owns && !actor.is_watched_by(process) {
            actor.watchers.make().push(process);
            self.watched.entry(process).or_default().insert(number);
        }
    }

    /// Processes are gone, and watch nothing any more.
    pub(super) fn unwatch_processes(&mut self, range: RangeInclusive<ProcessId>) {
        let gone: Vec<ProcessId> = self.watched.range(range.clone()).map(|(process, _)| *process).collect();
        for process in gone {
            for number in self.watched.remove(&process).unwrap_or_default() {
                if let Some(actor) = self.actors.get_mut(number) {
                    actor.watchers.make().retain(|watcher| *watcher != process);
                }
            }
        }
        let owners =
            OwnerId { process: *range.start(), number: 0 }..=OwnerId { process: *range.end(), number: u32::MAX };
        for number in self.actors.of_owners(owners) {
            if let Some(actor) = self.actors.get_mut(number) {
                actor.owner_watches = false;
            }
        }
        for early in self.early_subscribers.values_mut() {
            early.retain(|process| !range.contains(process));
        }
    }

    /// Owners are gone: what they never asked for will not be.
    pub(super) fn tell_early_subscribers(&mut self, range: RangeInclusive<OwnerId>) {
        let nil = ActorId(uuid::Uuid::nil());
        let max = ActorId(uuid::Uuid::max());
        let keys: Vec<(OwnerId, ActorId)> =
            self.early_subscribers.range((*range.start(), nil)..=(*range.end(), max)).map(|(key, _)| *key).collect();
        for key in keys {
            for process in self.early_subscribers.remove(&key).unwrap_or_default() {
                self.snapshots.push((process, unmade(key.1, Some(DeathReason::OwnerDied { owner: key.0 }))));
            }
        }
    }

    /// An actor was killed that was not asked for yet, and perhaps never will be.
    pub(super) fn tell_early_subscribers_of(&mut self, id: ActorId) {
        let keys: Vec<(OwnerId, ActorId)> =
            self.early_subscribers.keys().filter(|(_, actor)| *actor == id).copied().collect();
        for key in keys {
            for process in self.early_subscribers.remove(&key).unwrap_or_default() {
                self.snapshots.push((process, unmade(id, Some(DeathReason::Killed))));
            }
        }
    }

    /// Publishes what changed: one message a process (GCS-10).
    pub(super) fn publish_changes(&mut self) {
        if self.changed_actors.is_empty() && self.snapshots.is_empty() {
            return;
        }
        let mut rows: BTreeMap<ProcessId, Vec<ActorInfo>> = BTreeMap::new();
        for (to, info) in std::mem::take(&mut self.snapshots) {
            rows.entry(to).or_default().push(info);
        }
        for number in std::mem::take(&mut self.changed_actors) {
            let Some(actor) = self.actors.get_mut(number) else { continue };
            actor.changed = false;
            let info = actor.row.info();
            for process in actor.watchers.get().into_iter().flatten() {
                rows.entry(*process).or_default().push(info.clone());
            }
            let dead = info.state == ActorState::Dead;
            if actor.owner_watches {
                rows.entry(actor.row.spec.owner.process).or_default().push(info);
            }
            if dead {
                actor.owner_watches = false;
                for process in actor.watchers.take() {
                    if let Some(numbers) = self.watched.get_mut(&process) {
                        numbers.remove(&number);
                        if numbers.is_empty() {
                            self.watched.remove(&process);
                        }
                    }
                }
            }
        }
        self.out.extend(rows.into_iter().map(|(to, rows)| Action::Publish { to, rows }));
        self.actors.drop_long_dead();
    }
}

/// What is said of an actor that has no row.
fn unmade(id: ActorId, death: Option<DeathReason>) -> ActorInfo {
    let state = if death.is_some() { ActorState::Dead } else { ActorState::DependenciesUnready };
    let death = death.map(|reason| {
        Box::new(DeathCause {
            actor: id,
            class: String::new(),
            name: None,
            node: None,
            restarts: 0,
            max_restarts: 0,
            reason,
        })
    });
    ActorInfo { id, state, incarnation: 0, restarts: 0, node: None, address: None, waits: None, death, found: None }
}
