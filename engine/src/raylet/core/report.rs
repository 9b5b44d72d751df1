//! What the raylet says of itself: to the other nodes, to a user whose task waits, to the state interface.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use actinic_transport::NodeId;

use super::RayletCore;
use super::messages::{Action, LeaseId, RefuseReason, RequestId, RequestKey, View, WorkerKind};
use super::pool::WorkerState;
use super::queue::Waits;
use crate::ids::{ActorId, JobId, OwnerId, WorkerId};
use crate::resources::ResourceSet;

/// How long a request is given before it is called infeasible: a node that could run it may be about to join.
const WARN_AFTER: Duration = Duration::from_millis(500);
/// How long one that is to fail then is given: this node may be about to hear of the others.
const FAIL_AFTER: Duration = Duration::from_millis(50);
/// Changes of the view are gathered so long.
const REPORT_EVERY: Duration = Duration::from_millis(10);

/// Why a request still waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PendingReason {
    /// This node has it, but others hold it. The other node that has most of it free, if any.
    Resources { needs: ResourceSet, free_here: ResourceSet, most: Option<(NodeId, ResourceSet)> },
    /// No node has so much. The node that has most.
    Infeasible { needs: ResourceSet, most: (NodeId, ResourceSet) },
    /// So many tasks like it are blocked that the next one is started later.
    HeldBack { until: Duration },
    /// Workers are being started for it.
    StartingWorkers { count: u32 },
    /// It asks for a node that this one has not heard of.
    UnknownNode { node: NodeId },
}

impl fmt::Display for PendingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resources { needs, free_here, most: None } => write!(f, "needs {needs}; {free_here} is free"),
            Self::Resources { needs, free_here, most: Some((node, free)) } => {
                write!(f, "needs {needs}; here {free_here} is free, and most on node {node}: {free}")
            }
            Self::Infeasible { needs, most: (node, has) } => {
                write!(f, "needs {needs}, which no node has; node {node} has most: {has}")
            }
            Self::HeldBack { .. } => f.write_str("as many tasks like it as the node has CPUs are blocked"),
            Self::StartingWorkers { count } => write!(f, "waits for {count} workers that start"),
            Self::UnknownNode { node } => write!(f, "waits for word of node {node}"),
        }
    }
}

/// A lease, to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseRow {
    pub(crate) lease: LeaseId,
    pub(crate) owner: OwnerId,
    pub(crate) job: JobId,
    pub(crate) actor: Option<ActorId>,
    /// None while it starts.
    pub(crate) worker: Option<WorkerId>,
    pub(crate) holds: ResourceSet,
    pub(crate) lends: ResourceSet,
    pub(crate) depth: u32,
    pub(crate) since: Duration,
}

/// A worker, to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkerRow {
    pub(crate) worker: WorkerId,
    pub(crate) job: JobId,
    pub(crate) kind: WorkerKind,
    pub(crate) state: WorkerState,
}

/// An open request, to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueueRow {
    pub(crate) owner: OwnerId,
    pub(crate) request: RequestId,
    pub(crate) job: JobId,
    pub(crate) shape: ResourceSet,
    pub(crate) depth: u32,
    /// Leases not placed yet.
    pub(crate) waiting: u32,
    /// Leases placed, whose worker starts.
    pub(crate) starting: u32,
    pub(crate) since: Duration,
    pub(crate) reason: Option<PendingReason>,
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) view: View,
    pub(crate) leases: Vec<LeaseRow>,
    pub(crate) workers: Vec<WorkerRow>,
    pub(crate) queue: Vec<QueueRow>,
}

impl RayletCore {
    /// Why the request waits; None if it is not open, or about to be served.
    pub(crate) fn explain(&self, from: OwnerId, id: RequestId) -> Option<PendingReason> {
        let request = self.queue.get(&(from, id))?;
        let needs = request.need.clone();
        if request.waiting == 0 {
            return Some(PendingReason::StartingWorkers { count: request.starting });
        }
        match self.queue.waits(request) {
            Waits::New => None,
            Waits::Resources => {
                let free_here = self.ledger.available().clone();
                let peers = self.cluster.peers.iter().filter(|(_, peer)| needs.fits(&peer.view.total));
                let most = peers.max_by_key(|(_, peer)| most_of(&needs, &peer.free));
                let most = most.map(|(node, peer)| (*node, peer.free.clone()));
                Some(PendingReason::Resources { needs, free_here, most })
            }
            Waits::HeldBack { until } => Some(PendingReason::HeldBack { until }),
            Waits::Workers => Some(PendingReason::StartingWorkers { count: request.starting }),
            Waits::Node { node, .. } => Some(PendingReason::UnknownNode { node }),
            Waits::Infeasible => {
                let most = self.nearest(&needs);
                Some(PendingReason::Infeasible { needs, most })
            }
        }
    }

    /// The node that comes nearest to having this.
    fn nearest(&self, needs: &ResourceSet) -> (NodeId, ResourceSet) {
        let here = (self.node, self.ledger.total());
        let peers = self.cluster.peers.iter().map(|(node, peer)| (*node, &peer.view.total));
        let nearer = |best: (NodeId, _), next: (NodeId, _)| {
            if most_of(needs, next.1) > most_of(needs, best.1) { next } else { best }
        };
        let (node, has) = peers.fold(here, nearer);
        (node, has.clone())
    }

    /// Everything at this moment, for the state interface.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let lease = |(number, lease): (u64, &super::Lease)| LeaseRow {
            lease: LeaseId { node: self.node, number },
            owner: lease.holder.owner,
            job: lease.holder.job,
            actor: lease.actor,
            worker: lease.worker,
            holds: lease.hold.clone(),
            lends: lease.lends(),
            depth: lease.depth,
            since: lease.since,
        };
        let worker = |(id, worker): (&WorkerId, &super::pool::Worker)| WorkerRow {
            worker: *id,
            job: worker.job,
            kind: worker.kind,
            state: worker.state,
        };
        let request = |((owner, id), request): (&RequestKey, &super::queue::Request)| QueueRow {
            owner: *owner,
            request: *id,
            job: request.ask.job,
            shape: request.ask.shape.clone(),
            depth: request.ask.depth,
            waiting: request.waiting,
            starting: request.starting,
            since: request.since,
            reason: self.explain(*owner, *id),
        };
        Snapshot {
            view: self.view(),
            leases: self.leases.iter().map(lease).collect(),
            workers: self.pool.workers.iter().map(worker).collect(),
            queue: self.queue.iter().map(request).collect(),
        }
    }

    /// What the other nodes are told of this one.
    pub(crate) fn view(&self) -> View {
        View {
            total: self.ledger.total().clone(),
            available: self.ledger.available().clone(),
            queued: self.queue.waiting(),
            draining: self.draining,
        }
    }

    /// Amounts by name, of the whole and of what is free now, with zeros.
    pub(crate) fn amounts(&self) -> (BTreeMap<String, f64>, BTreeMap<String, f64>) {
        let (total, available) = (self.ledger.total(), self.ledger.available());
        (total.to_map(), available.to_map_of(total))
    }

    /// Say of requests, once of each, that no node has what they ask, or refuse them. Returns when there may be more to
    /// say.
    pub(super) fn warn(&mut self, out: &mut Vec<Action>) -> Option<Duration> {
        let untold = |request: &super::queue::Request| {
            let since = request.infeasible_since.filter(|_| request.waiting > 0 && !request.told_infeasible)?;
            // Others may have spoken for it since.
            self.queue.waits_by_itself(request)?;
            Some(since + if request.ask.fails { FAIL_AFTER } else { WARN_AFTER })
        };
        let due: Vec<(Duration, RequestKey)> =
            self.queue.iter().filter_map(|(key, request)| Some((untold(request)?, *key))).collect();
        let now = self.now;
        for (_, key) in due.iter().filter(|(at, _)| *at <= now) {
            let Some(request) = self.queue.get_mut(key) else { continue };
            request.told_infeasible = true;
            let (job, shape, fails) = (request.ask.job, request.ask.shape.clone(), request.ask.fails);
            let avoids = !request.ask.avoids.is_empty();
            if fails {
                let needs = request.need.clone();
                let (node, has) = self.nearest(&needs);
                self.refuse(key, RefuseReason::Infeasible { needs, node, has }, out);
            } else {
                let first = self.warned.insert((job, shape.clone()));
                out.push(Action::Infeasible { request: key.1, to: key.0, shape, first, avoids });
            }
        }
        due.into_iter().map(|(at, _)| at).filter(|at| *at > now).min()
    }

    /// Tell the others what changed, gathered. Returns when what changed since is due.
    pub(super) fn report(&mut self, out: &mut Vec<Action>) -> Option<Duration> {
        let view = self.view();
        match &self.reported {
            Some((_, reported)) if *reported == view => None,
            Some((at, _)) if *at + REPORT_EVERY > self.now => Some(*at + REPORT_EVERY),
            _ => {
                out.push(Action::ReportView(view.clone()));
                self.reported = Some((self.now, view));
                None
            }
        }
    }
}

/// How near `has` comes to `needs` in what it comes least near to, in millionths.
fn most_of(needs: &ResourceSet, has: &ResourceSet) -> i128 {
    let part = |(name, amount): (&_, crate::resources::Quantity)| {
        i128::from(has.get(name).steps()) * 1_000_000 / i128::from(amount.steps())
    };
    needs.iter().map(part).min().unwrap_or(0)
}
