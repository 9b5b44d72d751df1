//! Where actors go, and who waits for a node.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{NodeId, ProcessId};

use super::nodes::Node;
use super::table::{Actor, Waiting};
use super::{Action, ActorSpec, DeathReason, GcsCore, NodeState, Scheduling, Warning};
use crate::ids::ActorId;
use crate::resources::{Quantity, ResourceName, ResourceSet};

/// So many of those that wait for the same are told what for.
pub(super) const TOLD_MAX: usize = 256;

/// What actors of one class need: to be placed, for life, and where.
pub(super) type ClassKey = (ResourceSet, ResourceSet, Scheduling);

/// Actors that need the same, and wait for a node.
#[derive(Debug)]
pub(super) struct PendingClass {
    members: BTreeSet<u64>,
    since: Duration,
    /// Whoever watches them was told what they wait for, which is not yet a warning.
    explained: bool,
    warned: bool,
    /// The processes whose people were told.
    told: BTreeSet<ProcessId>,
}

#[cfg(test)]
impl PendingClass {
    pub(super) fn members(&self) -> &BTreeSet<u64> {
        &self.members
    }
}

/// What can be done with an actor now.
#[derive(Debug)]
pub(super) enum Choice {
    /// It goes there.
    Node(NodeId),
    /// It waits.
    Wait,
    /// It can never be placed, and this is why.
    Never(String),
}

/// How much of the scarcest resource that is needed would be left, in thousandths of what the node has.
fn room(node: &Node, need: &ResourceSet) -> i64 {
    let left = |(name, amount): (&ResourceName, Quantity)| {
        let total = node.row.total.get(name).steps().max(1);
        (node.free.get(name).steps() - amount.steps()).saturating_mul(1000) / total
    };
    need.iter().map(left).min().unwrap_or(1000)
}

pub(super) fn class_of(spec: &ActorSpec) -> ClassKey {
    (spec.shape.clone(), spec.hold.clone(), spec.scheduling)
}

/// Whether a node has GPUs that an actor does not ask for: it is left to others while there is room elsewhere.
fn is_for_gpus(node: &Node, spec: &ActorSpec) -> bool {
    has_gpus(&node.row.total) && !has_gpus(&spec.shape)
}

fn has_gpus(set: &ResourceSet) -> bool {
    set.get(&ResourceName::Gpu).steps() > 0
}

/// Whether a node can take an actor now, for all that is known.
pub(super) fn can_take(node: &Node, actor: &Actor) -> bool {
    node.row.state == NodeState::Alive
        && actor.row.spec.shape.fits(&node.free)
        && !actor.was_refused_by(node.row.id, node.view.version)
}

/// Whether an actor has its turn on a node once tasks there end: its raylet makes them yield.
fn can_queue(node: &Node, actor: &Actor) -> bool {
    let mut without_tasks = node.row.total.clone();
    without_tasks.sub(&node.held);
    node.row.state == NodeState::Alive
        && actor.row.spec.shape.fits(&without_tasks)
        && !actor.was_refused_by(node.row.id, node.view.version)
}

pub(super) fn could_ever_take(node: &Node, spec: &ActorSpec) -> bool {
    node.row.state.is_up() && spec.shape.fits(&node.row.total)
}

impl GcsCore {
    pub(super) fn choose(&self, actor: &Actor) -> Choice {
        let spec = &actor.row.spec;
        let found = match spec.scheduling {
            Scheduling::NodeAffinity { node, soft } => {
                let bound = self.nodes.get(&node);
                if let Some(bound) = bound.filter(|bound| could_ever_take(bound, spec)) {
                    let fits = can_take(bound, actor) || can_queue(bound, actor);
                    return if fits { Choice::Node(node) } else { Choice::Wait };
                }
                if !soft {
                    return Choice::Never(why_never(node, bound, spec));
                }
                self.roomiest(actor)
            }
            Scheduling::Default => self.roomiest(actor),
            Scheduling::Spread => self
                .nodes
                .values()
                .filter(|node| can_take(node, actor))
                .min_by_key(|node| (is_for_gpus(node, spec), node.actors.len(), node.row.id))
                .map(|node| node.row.id),
        };
        let busy = || {
            let can = self.nodes.values().filter(|node| can_queue(node, actor));
            let last = |node: &&Node| (is_for_gpus(node, spec), node.actors.len(), node.view.queued, node.row.id);
            can.min_by_key(last).map(|node| node.row.id)
        };
        match found.or_else(busy) {
            Some(node) => Choice::Node(node),
            None if spec.fails && !self.nodes.values().any(|node| could_ever_take(node, spec)) => {
                Choice::Never(self.why_waits(spec))
            }
            None => Choice::Wait,
        }
    }

    /// The requester's node if it has room, else the one with the most; first of those without GPUs that it does not ask
    /// for.
    fn roomiest(&self, actor: &Actor) -> Option<NodeId> {
        let spec = &actor.row.spec;
        let own = self.nodes.get(&spec.owner.node()).filter(|own| can_take(own, actor));
        if let Some(own) = own.filter(|own| !self.has_plain_nodes || !is_for_gpus(own, spec)) {
            return Some(own.row.id);
        }
        let rank = |node: &&Node| {
            let other = own.is_none_or(|own| own.row.id != node.row.id);
            (is_for_gpus(node, spec), other, Reverse(room(node, &spec.shape)), node.actors.len(), node.row.id)
        };
        self.nodes.values().filter(|node| can_take(node, actor)).min_by_key(rank).map(|node| node.row.id)
    }

    /// Sends an actor without a node to one, or lets it wait, or ends it if none may ever run it.
    pub(super) fn place(&mut self, number: u64) {
        let Some(actor) = self.actors.get(number) else { return };
        debug_assert!(!actor.on_node, "an actor is placed once at a time");
        // Whoever needs the same and waits already goes first.
        let behind = !self.pending.is_empty() && self.pending.contains_key(&class_of(&actor.row.spec));
        match self.choose(actor) {
            Choice::Never(detail) => self.finish(number, DeathReason::Unschedulable { detail }),
            Choice::Node(node) if !behind => self.send_to(number, node),
            Choice::Node(_) => {
                self.retry = true;
                self.wait_for_node(number);
            }
            Choice::Wait => self.wait_for_node(number),
        }
    }

    fn send_to(&mut self, number: u64, id: NodeId) {
        let now = self.now;
        let (Some(actor), Some(node)) = (self.actors.get_mut(number), self.nodes.get_mut(&id)) else { return };
        actor.row.attempt += 1;
        actor.row.node = Some(id);
        actor.on_node = true;
        actor.admitted = false;
        actor.waiting = Waiting::There(now);
        self.sent.insert((now, number));
        node.actors.insert(number);
        let spec = &actor.row.spec;
        if !spec.hold.is_empty() {
            node.in_flight.insert(number);
            node.free.sub(&spec.hold);
            node.held.add(&spec.hold);
        }
        self.out.push(Action::PlaceActor { node: id, run: actor.row.run(), spec: spec.clone() });
        self.set_waits(number, None);
    }

    fn wait_for_node(&mut self, number: u64) {
        let now = self.now;
        let Some(actor) = self.actors.get_mut(number) else { return };
        if !actor.is_held() {
            return self.finish_unheld(number);
        }
        let class = class_of(&actor.row.spec);
        actor.waiting = Waiting::Class(class.clone());
        let new = || PendingClass {
            members: BTreeSet::new(),
            since: now,
            explained: false,
            warned: false,
            told: BTreeSet::new(),
        };
        let pending = self.pending.entry(class).or_insert_with(new);
        pending.members.insert(number);
        if !pending.explained {
            return;
        }
        // Those before it have been told; it is told for itself.
        let (count, process) = (pending.members.len(), actor.row.spec.owner.process);
        let is_new = pending.warned && pending.told.insert(process);
        let Some(actor) = self.actors.get(number).filter(|_| is_new || count <= TOLD_MAX) else { return };
        let text = self.why_waits(&actor.row.spec);
        if is_new {
            let warning = pending_warning(&actor.row.spec, count, &text);
            self.out.push(Action::WarnOwners { to: vec![process], warning });
        }
        if count <= TOLD_MAX {
            self.set_waits(number, Some(text.into()));
        }
    }

    /// Nodes came or went: what those wait for who were told may be something else.
    pub(super) fn nodes_have_changed(&mut self) {
        self.has_plain_nodes = self.nodes.values().any(|node| node.row.state.is_up() && !has_gpus(&node.row.total));
        let mut told: Vec<(u64, Arc<str>)> = Vec::new();
        for pending in self.pending.values().filter(|pending| pending.explained) {
            let first = pending.members.first().and_then(|first| self.actors.get(*first));
            if let Some(text) = first.map(|first| Arc::from(self.why_waits(&first.row.spec))) {
                told.extend(pending.members.iter().take(TOLD_MAX).map(|number| (*number, Arc::clone(&text))));
            }
        }
        for (number, text) in told {
            self.set_waits(number, Some(text));
        }
    }

    /// Whoever watches an actor is told what it waits for, or that it does not any more.
    pub(super) fn set_waits(&mut self, number: u64, text: Option<Arc<str>>) {
        if let Some(actor) = self.actors.get_mut(number)
            && actor.row.waits != text
        {
            actor.row.waits = text;
            self.mark_changed(number);
        }
    }

    /// Takes an actor off its node or out of the queue that it waits in.
    pub(super) fn detach(&mut self, number: u64) {
        let Some(actor) = self.actors.get_mut(number) else { return };
        match std::mem::replace(&mut actor.waiting, Waiting::No) {
            Waiting::No => {}
            Waiting::Until(at) => {
                self.delayed.remove(&(at, number));
            }
            Waiting::There(since) => self.not_sent(number, since),
            Waiting::Class(class) => {
                if let Some(pending) = self.pending.get_mut(&class) {
                    pending.members.remove(&number);
                    if pending.members.is_empty() {
                        self.pending.remove(&class);
                    }
                }
                // It may have been the one that the others waited behind.
                self.retry = true;
                self.set_waits(number, None);
            }
        }
        let Some(actor) = self.actors.get_mut(number) else { return };
        let on = actor.row.node.filter(|_| std::mem::take(&mut actor.on_node));
        if let Some(node) = on.and_then(|id| self.nodes.get_mut(&id)) {
            node.actors.remove(&number);
            node.in_flight.remove(&number);
            node.held.sub(&actor.row.spec.hold);
            self.count_free(on);
        }
    }

    /// What is free on a node, as far as is known: what it last said, less what is on its way there. Counted anew when
    /// an actor leaves: if it never took anything there, the node has nothing new to say.
    pub(super) fn count_free(&mut self, id: Option<NodeId>) {
        let Some(node) = id.and_then(|id| self.nodes.get_mut(&id)) else { return };
        node.free = node.view.available.clone();
        for number in &node.in_flight {
            if let Some(actor) = self.actors.get(*number) {
                node.free.sub(&actor.row.spec.hold);
            }
        }
        self.retry = true;
    }

    /// Tries those that wait for a node, if anything changed that may make room (GCS-8).
    pub(super) fn try_pending(&mut self) {
        while std::mem::take(&mut self.retry) && !self.pending.is_empty() {
            let mut classes: Vec<(u64, ClassKey)> = self
                .pending
                .iter()
                .filter_map(|(class, pending)| Some((*pending.members.first()?, class.clone())))
                .collect();
            classes.sort_unstable();
            for (_, class) in classes {
                while let Some(number) = self.pending.get(&class).and_then(|pending| pending.members.first().copied()) {
                    let Some(choice) = self.actors.get(number).map(|actor| self.choose(actor)) else { break };
                    match choice {
                        Choice::Wait => break,
                        Choice::Node(node) => {
                            self.leave_class(number, &class);
                            self.send_to(number, node);
                        }
                        Choice::Never(detail) => self.finish(number, DeathReason::Unschedulable { detail }),
                    }
                }
            }
        }
    }

    fn leave_class(&mut self, number: u64, class: &ClassKey) {
        if let Some(pending) = self.pending.get_mut(class) {
            pending.members.remove(&number);
            if pending.members.is_empty() {
                self.pending.remove(class);
            }
        }
    }

    /// Starts those whose delay is over.
    pub(super) fn start_delayed(&mut self) {
        while let Some((at, number)) = self.delayed.first().copied()
            && at <= self.now
        {
            self.delayed.pop_first();
            if let Some(actor) = self.actors.get_mut(number) {
                actor.waiting = Waiting::No;
                self.place(number);
            }
        }
    }

    /// When a class of those who wait is to be warned of: soon if no node could ever run it, late if all are busy.
    fn warn_at(&self, pending: &PendingClass) -> Option<Duration> {
        let first = pending.members.first().filter(|_| !pending.warned)?;
        let spec = &self.actors.get(*first)?.row.spec;
        let busy = self.nodes.values().any(|node| could_ever_take(node, spec));
        Some(pending.since + if busy { self.config.warn_busy_after } else { self.config.warn_after })
    }

    /// When it is to be said what they wait for, whether or not that is a cause for a warning.
    fn explain_at(&self, pending: &PendingClass) -> Option<Duration> {
        (!pending.explained).then(|| pending.since + self.config.warn_after)
    }

    pub(super) fn next_warning(&self) -> Option<Duration> {
        let of = |pending| [self.explain_at(pending), self.warn_at(pending)];
        self.pending.values().flat_map(of).flatten().min()
    }

    /// Tells whoever watches those who have waited for a moment what they wait for.
    pub(super) fn explain_pending(&mut self) {
        let now = self.now;
        let due = |pending: &PendingClass| self.explain_at(pending).is_some_and(|at| at <= now);
        let mut due: Vec<(u64, ClassKey)> = self
            .pending
            .iter()
            .filter(|(_, pending)| due(pending))
            .filter_map(|(class, pending)| Some((*pending.members.first()?, class.clone())))
            .collect();
        due.sort_unstable();
        for (first, class) in due {
            let Some(text) = self.actors.get(first).map(|first| Arc::from(self.why_waits(&first.row.spec))) else {
                continue;
            };
            let Some(pending) = self.pending.get_mut(&class) else { continue };
            pending.explained = true;
            let members: Vec<u64> = pending.members.iter().copied().take(TOLD_MAX).collect();
            self.all_wait_for(members, &text);
        }
    }

    fn all_wait_for(&mut self, members: Vec<u64>, text: &Arc<str>) {
        for member in members {
            self.set_waits(member, Some(Arc::clone(text)));
        }
    }

    pub(super) fn warn_pending(&mut self) {
        let due = |(class, pending): (&ClassKey, &PendingClass)| {
            self.warn_at(pending).is_some_and(|at| at <= self.now).then(|| class.clone())
        };
        let classes: Vec<ClassKey> = self.pending.iter().filter_map(due).collect();
        let mut due = Vec::new();
        for class in classes {
            let Some(pending) = self.pending.get_mut(&class) else { continue };
            pending.warned = true;
            due.extend(pending.members.first().map(|first| (*first, pending.members.len())));
        }
        due.sort_unstable();
        for (number, count) in due {
            let Some(first) = self.actors.get(number) else { continue };
            let text = self.why_waits(&first.row.spec);
            let warning = pending_warning(&first.row.spec, count, &text);
            let Some(pending) = self.pending.get_mut(&class_of(&first.row.spec)) else { continue };
            let owner = |member: &u64| self.actors.get(*member).map(|actor| actor.row.spec.owner.process);
            pending.told = pending.members.iter().filter_map(owner).collect();
            let to = pending.told.iter().copied().collect();
            let first_members: Vec<u64> = pending.members.iter().copied().take(TOLD_MAX).collect();
            self.all_wait_for(first_members, &text.into());
            self.out.push(Action::WarnOwners { to, warning });
        }
    }

    /// What those who wait for a node need, and how many need it.
    pub(crate) fn demands(&self) -> BTreeMap<ResourceSet, u32> {
        let mut demands = BTreeMap::new();
        for ((shape, ..), pending) in &self.pending {
            let count = u32::try_from(pending.members.len()).unwrap_or(u32::MAX);
            let sum: &mut u32 = demands.entry(shape.clone()).or_default();
            *sum = sum.saturating_add(count);
        }
        demands
    }

    /// What an actor that is not alive waits for, in words; `None` if it waits for nothing.
    pub(crate) fn why_pending(&self, id: ActorId) -> Option<String> {
        let actor = self.actors.get(self.actors.number(id)?)?;
        match &actor.waiting {
            _ if actor.row.state == super::ActorState::DependenciesUnready => {
                Some("its constructor's arguments are not ready".to_owned())
            }
            Waiting::Class(_) => Some(self.why_waits(&actor.row.spec)),
            Waiting::Until(at) => Some(format!(
                "it crashed in its constructor {} times in a row; the next attempt is in {:.1} s",
                actor.crashes,
                at.saturating_sub(self.now).as_secs_f64()
            )),
            Waiting::There(_) => self.why_waits_there(actor),
            Waiting::No if actor.on_node && actor.row.address().is_none() => {
                let node = actor.row.node?;
                Some(format!("its constructor has not finished on node {node}"))
            }
            Waiting::No => None,
        }
    }

    pub(super) fn why_waits(&self, spec: &ActorSpec) -> String {
        let need = &spec.shape;
        if let Scheduling::NodeAffinity { node, soft } = spec.scheduling
            && let Some(bound) = self.nodes.get(&node).filter(|bound| could_ever_take(bound, spec))
        {
            let binds = if soft { "prefers" } else { "is bound to" };
            return format!("it {binds} node {node}, needs {{{need}}}, and {{{}}} is free there", bound.free);
        }
        let up = || self.nodes.values().filter(|node| node.row.state.is_up());
        if up().next().is_none() {
            return "there is no node".to_owned();
        }
        if up().any(|node| could_ever_take(node, spec)) {
            let able = up().filter(|node| could_ever_take(node, spec));
            let free = able.take(4).map(|node| format!("{{{}}} on {}", node.free, node.row.id));
            return format!("it needs {{{need}}}, and free is only {}", free.collect::<Vec<_>>().join(", "));
        }
        let total = up().take(4).map(|node| format!("{{{}}} on {}", node.row.total, node.row.id));
        let total = total.collect::<Vec<_>>().join(", ");
        format!("no node can ever hold it: it needs {{{need}}}, and there is {total}; add a node, or ask for less")
    }
}

/// `count` actors, of which this is one, wait for the same.
pub(super) fn pending_warning(spec: &ActorSpec, count: usize, text: &str) -> Warning {
    let (job, actor, class) = (spec.job, spec.id, spec.class.clone());
    Warning::ActorsPending { job, actor, class, count, text: text.to_owned() }
}

fn why_never(id: NodeId, node: Option<&Node>, spec: &ActorSpec) -> String {
    let Some(node) = node else {
        return format!("it is bound to node {id}, which is unknown");
    };
    match (&node.row.state, &node.row.death) {
        (NodeState::Left, _) => format!("it is bound to node {id}, which has left the cluster"),
        (_, Some(death)) => format!("it is bound to node {id}, which is dead ({death})"),
        _ => format!("it is bound to node {id} and needs {{{}}}, but that node has {{{}}}", spec.shape, node.row.total),
    }
}
