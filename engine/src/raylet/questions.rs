//! What a raylet is asked: to take a driver, where a process is, how the node stands.

use actinic_transport::{PeerAddr, ProcessId};
use actix::{Context, Handler};

use crate::protocol::RayletAnswer;
use crate::raylet::{AskState, Attach, Driver, FindProcess, Found, Raylet, RayletState, Worker};
use crate::resources::ResourceSet;
use crate::start::program_file::Offer;

impl Raylet {
    fn attach(&mut self, peer: &PeerAddr, offer: Option<Offer>) -> RayletAnswer {
        // One that asks again, since an answer was lost, keeps its share.
        let known = self.drivers.remove(&peer.id).and_then(|known| known.budget);
        let budget = known.or_else(|| self.process.store.lend());
        let place = budget.as_ref().and_then(|lent| lent.place(self.process.env.files(), self.process.env.pid()));
        self.drivers.insert(peer.id, Driver { peer: peer.clone(), offer, budget });
        self.process.watch(peer);
        let gcs = self.process.gcs_at.get().cloned().unwrap_or_else(|| self.process.address());
        RayletAnswer::Attached { gcs, nodes: self.process.node_resources(), budget: place }
    }

    fn find(&self, id: ProcessId) -> Found {
        if id == self.process.id {
            return Found::Here(Some(self.process.address()));
        }
        if id.node != self.process.id.node {
            let node = self.nodes.get(&id.node);
            return node.map_or(Found::Unknown, |row| {
                Found::Node(PeerAddr { id: row.process, addrs: row.addrs.clone(), relay: None })
            });
        }
        let workers = self.workers.values().filter_map(|(_, worker)| match worker {
            Worker::Process { peer, .. } => peer.as_ref(),
            Worker::Thread { .. } => None,
        });
        let drivers = self.drivers.values().map(|driver| &driver.peer);
        Found::Here(workers.chain(drivers).find(|peer| peer.id == id).cloned())
    }
}

impl Handler<Attach> for Raylet {
    type Result = ();

    fn handle(&mut self, message: Attach, _ctx: &mut Context<Self>) {
        let answer = self.attach(&message.peer, message.offer);
        // A driver that gave up says goodbye.
        let _ = message.reply.answer(&answer);
    }
}

impl Handler<FindProcess> for Raylet {
    type Result = Found;

    fn handle(&mut self, message: FindProcess, _ctx: &mut Context<Self>) -> Found {
        self.find(message.0)
    }
}

impl Handler<AskState> for Raylet {
    type Result = RayletState;

    fn handle(&mut self, _message: AskState, _ctx: &mut Context<Self>) -> RayletState {
        let snapshot = self.core.snapshot();
        let pid = |worker: &Worker| match worker {
            Worker::Thread { .. } => self.process.env.pid(),
            Worker::Process { pid, .. } => *pid,
        };
        let mut demands: std::collections::BTreeMap<ResourceSet, u32> = Default::default();
        for row in snapshot.queue.iter().filter(|row| row.waiting > 0) {
            *demands.entry(row.shape.clone()).or_default() += row.waiting;
        }
        for (shape, count) in self.turns.demands() {
            *demands.entry(shape.clone()).or_default() += count;
        }
        RayletState {
            demands: demands.into_iter().collect(),
            total: self.total.clone(),
            available: snapshot.view.available,
            leases: snapshot.leases.len(),
            queued: snapshot.queue.len() + self.turns.len(),
            stored: self.process.store.used(),
            workers: self.workers.iter().map(|(id, (_, worker))| (*id, pid(worker), true)).collect(),
        }
    }
}
