//! Nodes: registration, signs of life, views, suspicion, death.

use std::collections::BTreeSet;
use std::time::Duration;

use actinic_transport::{NodeId, ProcessId};
use uuid::Uuid;

use super::{Action, DeathReason, GcsCore, NodeDeath, NodeRow, NodeState, NodeView, Warning};
use crate::ids::OwnerId;
use crate::resources::ResourceSet;

/// A node: its row, and what need not outlive the GCS.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) row: NodeRow,
    pub(super) view: NodeView,
    /// What its view says is free, less what was placed there and is not in the view yet.
    pub(super) free: ResourceSet,
    /// Actors that hold something, were sent there, and were not admitted yet.
    pub(super) in_flight: BTreeSet<u64>,
    /// What its actors hold for life, those on their way included: all else is tasks', and comes back.
    pub(super) held: ResourceSet,
    /// Actors that are there or were sent there.
    pub(super) actors: BTreeSet<u64>,
    /// When its last sign of life came: its registration, a heartbeat or a view.
    pub(super) last_heard: Duration,
}

/// All owners of a process.
pub(super) fn owners_of(process: ProcessId) -> std::ops::RangeInclusive<OwnerId> {
    OwnerId { process, number: 0 }..=OwnerId { process, number: u32::MAX }
}

/// All processes of the node that a process is on.
fn processes_beside(process: ProcessId) -> std::ops::RangeInclusive<ProcessId> {
    ProcessId { incarnation: Uuid::nil(), ..process }..=ProcessId { incarnation: Uuid::max(), ..process }
}

impl GcsCore {
    pub(super) fn register_node(&mut self, mut row: NodeRow) {
        let (id, process) = (row.id, row.process);
        let known =
            self.nodes.get(&id).map(|node| (node.row.state.is_up() && node.row.process == process, node.row.started));
        if matches!(known, Some((false, _))) || self.dead_processes.contains(&process) {
            self.out.push(Action::TellDead { node: id, process });
            return;
        }
        row.state = NodeState::Alive;
        row.death = None;
        row.ended = None;
        row.started = known.map_or(self.now, |(_, started)| started);
        let others: Vec<NodeId> = self.up_nodes().filter(|other| *other != id).collect();
        if !others.is_empty() {
            self.out.push(Action::SpreadNodes { to: others, rows: vec![row.clone()] });
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            node.row = row;
            node.last_heard = self.now;
        } else {
            let view = NodeView { node: id, version: 0, available: row.total.clone(), queued: 0 };
            let free = view.available.clone();
            let (in_flight, held, actors) = (BTreeSet::new(), ResourceSet::new(), BTreeSet::new());
            self.nodes.insert(id, Node { row, view, free, in_flight, held, actors, last_heard: self.now });
            self.changed_views.insert(id);
        }
        self.retry = true;
        self.nodes_changed = true;
        let up = || self.nodes.values().filter(|node| node.row.state.is_up());
        let rows = up().map(|node| node.row.clone()).collect();
        let views = up().map(|node| node.view.clone()).collect();
        self.out.push(Action::SpreadNodes { to: vec![id], rows });
        self.out.push(Action::SpreadViews { to: vec![id], views });
    }

    /// Whether what a node says counts; a dead one is told so (GCS-5).
    pub(super) fn hear(&mut self, id: NodeId) -> bool {
        let Some(node) = self.nodes.get_mut(&id) else {
            self.out.push(Action::AskRegister { node: id });
            return false;
        };
        if !node.row.state.is_up() {
            self.out.push(Action::TellDead { node: id, process: node.row.process });
            return false;
        }
        node.last_heard = self.now;
        if node.row.state == NodeState::Suspected {
            node.row.state = NodeState::Alive;
            self.retry = true;
        }
        true
    }

    pub(super) fn report_view(&mut self, view: NodeView) {
        let id = view.node;
        if !self.hear(id) {
            return;
        }
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if view.version <= node.view.version {
            return;
        }
        node.view = view;
        self.changed_views.insert(id);
        self.count_free(Some(id));
    }

    pub(super) fn suspect_node(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.row.state == NodeState::Alive {
            node.row.state = NodeState::Suspected;
            self.out.push(Action::ProbeNode { node: id });
        }
    }

    /// Ends a node: it died of `cause`, or left if there is none.
    pub(super) fn end_node(&mut self, id: NodeId, cause: Option<NodeDeath>) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.row.state.is_up()) else { return };
        node.row.state = if cause.is_some() { NodeState::Dead } else { NodeState::Left };
        node.row.death = cause.clone();
        node.row.ended = Some(now);
        let (row, actors) = (node.row.clone(), std::mem::take(&mut node.actors));
        self.changed_views.remove(&id);
        let detail = match &cause {
            Some(cause) => {
                let warning = Warning::NodeDied {
                    node: id,
                    hostname: row.hostname.clone(),
                    cause: cause.clone(),
                    actors: actors.len(),
                };
                self.out.push(Action::Warn(warning));
                cause.to_string()
            }
            None => "it left the cluster".to_owned(),
        };
        let process = row.process;
        let others: Vec<NodeId> = self.up_nodes().collect();
        if !others.is_empty() {
            self.out.push(Action::SpreadNodes { to: others, rows: vec![row] });
        }
        // First whoever ends with its owner, so that nothing is restarted only to be ended.
        let beside = processes_beside(process);
        self.unwatch_processes(beside.clone());
        self.end_owners(*owners_of(*beside.start()).start()..=*owners_of(*beside.end()).end());
        for number in actors {
            match self.actors.get(number) {
                // As far as is known it only waited there, and is not lost (GCS-4). Where that it had begun was not heard of
                // before the node fell silent, its constructor runs twice.
                Some(actor) if actor.on_node && !actor.admitted => self.place_elsewhere(number),
                _ => self.lose(number, DeathReason::NodeDied { node: id, detail: detail.clone() }),
            }
        }
        self.retry = true;
        self.nodes_changed = true;
        if let Some(oldest) = self.dead_nodes.insert(id) {
            self.nodes.remove(&oldest);
        }
    }

    /// A GCS that did not run for a while must not take its own sleep for the nodes' silence.
    pub(super) fn forgive_own_sleep(&mut self) {
        let gap = self.now.saturating_sub(self.last_event);
        if gap > self.config.silent_after / 2 {
            for node in self.nodes.values_mut() {
                node.last_heard = (node.last_heard + gap).min(self.now);
            }
        }
    }

    pub(super) fn end_silent_nodes(&mut self) {
        let (now, limit) = (self.now, self.config.silent_after);
        let silent: Vec<(NodeId, Duration)> = self
            .nodes
            .values()
            .filter(|node| node.row.state.is_up())
            .map(|node| (node.row.id, now.saturating_sub(node.last_heard)))
            .filter(|(_, silence)| *silence >= limit)
            .collect();
        for (id, silence) in silent {
            self.end_node(id, Some(NodeDeath::Silent { silence }));
        }
    }

    /// When to look for silent nodes: in time, and often enough to tell their silence from the GCS's own sleep.
    pub(super) fn next_silence(&self) -> Option<Duration> {
        let up = self.nodes.values().filter(|node| node.row.state.is_up());
        let first = up.map(|node| node.last_heard).min()?;
        Some((first + self.config.silent_after).min(self.last_event + self.config.silent_after / 4))
    }

    pub(super) fn spread_views(&mut self) {
        if self.changed_views.is_empty() || self.now < self.views_spread + self.config.view_interval {
            return;
        }
        self.views_spread = self.now;
        let changed = std::mem::take(&mut self.changed_views);
        let to: Vec<NodeId> = self.up_nodes().collect();
        if to.len() > 1 {
            let views = changed.iter().filter_map(|id| self.nodes.get(id)).map(|node| node.view.clone()).collect();
            self.out.push(Action::SpreadViews { to, views });
        }
    }

    pub(super) fn up_nodes(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.values().filter(|node| node.row.state.is_up()).map(|node| node.row.id)
    }
}
