//! What a raylet knows of the other nodes, and whom it tells of them and of itself.

use std::time::Duration;

use actinic_transport::{NodeId, PeerAddr, ProcessId};
use actix::{AsyncContext, Context};

use crate::protocol::{NodeRow, NodeView, ToGcs, ToOwner};
use crate::raylet::core::{Event, View};
use crate::raylet::{Raylet, Worker};

impl Raylet {
    pub(super) fn nodes_changed(&mut self, rows: Vec<NodeRow>, ctx: &mut Context<Self>) {
        let mut joined = Vec::new();
        for row in rows {
            let node = row.id;
            if row.state.is_up() {
                let raylet = PeerAddr { id: row.process, addrs: row.addrs.clone(), relay: None };
                self.process.learn_raylet(node, raylet);
                let total = row.total.clone();
                if self.nodes.insert(node, row).is_none() && node != self.process.id.node {
                    // Until its first view comes, all that it has counts as free.
                    self.process.set_resources(node, Some((total.clone(), total.clone())));
                    joined.push((node, View { available: total.clone(), total, queued: 0, draining: false }));
                }
                continue;
            }
            let process = row.process;
            self.nodes.remove(&node);
            self.process.set_resources(node, None);
            if node == self.process.id.node {
                continue;
            }
            self.event(Event::NodeLost { node }, ctx);
            if let Ok(endpoint) = self.process.endpoint() {
                endpoint.declare_dead(process);
            }
            let text = row.death.map_or_else(|| "it left the cluster".to_owned(), |death| death.to_string());
            self.tell_all(&ToOwner::NodeDead { node, text });
        }
        self.event_of_views(joined, ctx);
        self.resources_changed(ctx);
    }

    pub(super) fn views_changed(&mut self, views: Vec<NodeView>, ctx: &mut Context<Self>) {
        let mut changed = Vec::new();
        for view in views {
            let node = view.node;
            let Some(row) = self.nodes.get(&node) else { continue };
            if node == self.process.id.node {
                continue;
            }
            self.process.set_resources(node, Some((row.total.clone(), view.available.clone())));
            let view =
                View { total: row.total.clone(), available: view.available, queued: view.queued, draining: false };
            changed.push((node, view));
        }
        self.event_of_views(changed, ctx);
        self.resources_changed(ctx);
    }

    /// What is said of many nodes at a time is one event: after each the core looks at all that waits.
    fn event_of_views(&mut self, views: Vec<(NodeId, View)>, ctx: &mut Context<Self>) {
        if !views.is_empty() {
            self.event(Event::NodeViews { views }, ctx);
        }
    }

    /// The GCS says that a process is dead.
    pub(super) fn declared_dead(&mut self, process: ProcessId, ctx: &mut Context<Self>) {
        if process == self.process.id {
            if self.process.is_closing() {
                // It has left, and what it still said crossed the word of it.
                return;
            }
            tracing::error!(target: "actinic", "this node was declared dead by the GCS; it ends its workers");
            self.process.home_lost("the GCS declared this node dead");
            return;
        }
        self.tell_all(&ToOwner::ProcessDead { process });
        self.event(Event::ProcessDied { process }, ctx);
    }

    pub(super) fn report(&mut self, view: View, ctx: &mut Context<Self>) {
        self.available = view.available.clone();
        self.process.set_resources(self.process.id.node, Some((self.total.clone(), view.available.clone())));
        self.views += 1;
        let view = NodeView {
            node: self.process.id.node,
            version: self.views,
            available: view.available,
            queued: view.queued,
        };
        self.process.tell_gcs(ToGcs::View(view));
        self.resources_changed(ctx);
    }

    /// Drivers hear of what the nodes have, a little later and together.
    fn resources_changed(&mut self, ctx: &mut Context<Self>) {
        if self.telling || self.drivers.is_empty() {
            return;
        }
        self.telling = true;
        ctx.run_later(Duration::from_millis(10), |raylet, _| {
            raylet.telling = false;
            let nodes = raylet.process.node_resources();
            for driver in raylet.drivers.keys() {
                raylet.process.tell_owner(*driver, ToOwner::Resources { nodes: nodes.clone() });
            }
        });
    }

    /// The node's processes are asked to make room: at once, and once more for all who ask within a moment.
    pub(super) fn store_full(&mut self, lineage: bool, ctx: &mut Context<Self>) {
        if let Some(again) = &mut self.making_room {
            *again = Some(again.unwrap_or(false) | lineage);
            return;
        }
        self.making_room = Some(None);
        self.tell_all(&ToOwner::StoreFull { lineage });
        ctx.run_later(Duration::from_millis(10), |raylet, ctx| {
            if let Some(Some(lineage)) = raylet.making_room.take() {
                raylet.store_full(lineage, ctx);
            }
        });
    }

    /// Tells the drivers and workers of this node, and the owners in this process.
    pub(super) fn tell_all(&self, message: &ToOwner) {
        let workers = self.workers.values().filter_map(|(_, worker)| match worker {
            Worker::Process { peer, .. } => peer.as_ref().map(|peer| peer.id),
            Worker::Thread { .. } => None,
        });
        for process in workers.chain(self.drivers.keys().copied()).chain([self.process.id]) {
            self.process.tell_owner(process, message.clone());
        }
    }
}
