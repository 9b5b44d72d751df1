//! Several cores under owners that keep the rules, with a virtual clock and a network that takes time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use actinic_transport::NodeId;

use super::super::*;
use super::harness::*;
use crate::ids::OwnerId;

/// How long a message takes to another node, and a worker to start.
const LATENCY: Duration = Duration::from_millis(1);
const START: Duration = Duration::from_millis(5);
/// How long an owner keeps an idle lease.
const KEEP: Duration = Duration::from_millis(300);

/// One driver's tasks, all of one shape, and what it knows of its leases.
pub(super) struct Driver {
    pub(super) owner: OwnerId,
    template: LeaseRequest,
    pub(super) waiting: VecDeque<Duration>,
    /// Of each open request: the node, and how many are still to come.
    open: BTreeMap<RequestId, (NodeId, u32)>,
    leases: BTreeMap<LeaseId, Held>,
    next_id: u64,
    /// How many tasks ended on each node.
    pub(super) ran: BTreeMap<NodeId, usize>,
    pub(super) finished: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    busy: bool,
    return_when_idle: bool,
    yields: bool,
}

#[derive(Debug)]
enum Happens {
    Core(NodeId, Event),
    Driver(OwnerId, Action),
    Done(OwnerId, LeaseId),
    Expire(OwnerId, LeaseId),
}

pub(super) struct Model {
    pub(super) now: Duration,
    pub(super) cores: BTreeMap<NodeId, RayletCore>,
    /// Beside those, if it was asked for: each looks at each lease by itself.
    plain: BTreeMap<NodeId, RayletCore>,
    pub(super) drivers: BTreeMap<OwnerId, Driver>,
    events: BTreeMap<(Duration, u64), Happens>,
    sequence: u64,
    pub(super) recalls: usize,
    pub(super) messages: usize,
}

impl Driver {
    fn wanted(&self) -> u32 {
        u32::try_from(self.waiting.len()).expect("few")
    }

    /// What the raylet said is still to come; less, if fewer are wanted since.
    fn set_open(&mut self, request: RequestId, open: u32) {
        if open == 0 {
            self.open.remove(&request);
        } else if let Some(entry) = self.open.get_mut(&request) {
            entry.1 = entry.1.min(open);
        }
    }

    fn asked(&self) -> u32 {
        self.open.values().map(|(_, open)| open).sum()
    }
}

impl Model {
    pub(super) fn new(nodes: &[ResourceSet]) -> Self {
        let mut model = Self {
            now: ms(0),
            cores: BTreeMap::new(),
            plain: BTreeMap::new(),
            drivers: BTreeMap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            recalls: 0,
            messages: 0,
        };
        for (at, total) in nodes.iter().enumerate() {
            let id = node(at as u128 + 1);
            model.cores.insert(id, RayletCore::new(id, total.clone()));
        }
        for id in model.cores.keys().copied().collect::<Vec<_>>() {
            model.at(ms(0), Happens::Core(id, Event::Tick));
        }
        model.run_until(ms(50));
        model
    }

    /// Checks of each event that looking at each lease by itself would come to the same.
    pub(super) fn beside_plain(mut self) -> Self {
        let plain = |(id, core): (&NodeId, &RayletCore)| (*id, RayletCore { plain: true, ..core.clone() });
        self.plain = self.cores.iter().map(plain).collect();
        self
    }

    fn at(&mut self, after: Duration, happens: Happens) {
        self.sequence += 1;
        self.events.insert((self.now + after, self.sequence), happens);
    }

    /// Tasks of one driver on its node, asked for all together.
    pub(super) fn submit(&mut self, template: LeaseRequest, tasks: impl IntoIterator<Item = Duration>) {
        let owner = template.from;
        let driver = self.drivers.entry(owner).or_insert_with(|| Driver {
            owner,
            template,
            waiting: VecDeque::new(),
            open: BTreeMap::new(),
            leases: BTreeMap::new(),
            next_id: 0,
            ran: BTreeMap::new(),
            finished: ms(0),
        });
        driver.waiting.extend(tasks);
        let idle = driver.leases.iter().filter(|(_, held)| !held.busy && !held.yields);
        for lease in idle.map(|(lease, _)| *lease).collect::<Vec<_>>() {
            self.next(owner, lease);
        }
        self.balance(owner);
    }

    /// Run until nothing is left to happen, but for ticks.
    pub(super) fn run_until(&mut self, until: Duration) {
        while let Some((due, _)) = self.events.keys().next().copied().filter(|(due, _)| *due <= until) {
            self.now = due;
            let Some((_, happens)) = self.events.pop_first() else {
                return;
            };
            match happens {
                Happens::Core(node, event) => self.tell(node, event),
                Happens::Driver(owner, action) => self.hear(owner, action),
                Happens::Done(owner, lease) => self.done(owner, lease),
                Happens::Expire(owner, lease) => self.idle(owner, lease, true),
            }
        }
        self.now = until;
    }

    fn tell(&mut self, at: NodeId, event: Event) {
        let mut out = Vec::new();
        let Some(core) = self.cores.get_mut(&at) else {
            return;
        };
        match self.plain.get_mut(&at) {
            Some(plain) => handle_both(core, plain, self.now, event, &mut out),
            None => core.handle(self.now, event, &mut out),
        }
        assert_sound(core);
        for action in out {
            match action {
                Action::StartWorker { worker, .. } => {
                    self.at(START, Happens::Core(at, Event::WorkerStarted { worker }))
                }
                Action::AskWorker { worker } => {
                    let answers = vec![(worker, false)];
                    self.at(LATENCY, Happens::Core(at, Event::WorkersAnswered { answers }))
                }
                Action::NextTick(due) => self.at(due - self.now, Happens::Core(at, Event::Tick)),
                Action::ReportView(view) => {
                    for other in self.cores.keys().copied().filter(|other| *other != at).collect::<Vec<_>>() {
                        let view = view.clone();
                        self.at(LATENCY * 2, Happens::Core(other, Event::NodeViews { views: vec![(at, view)] }));
                    }
                }
                Action::Grant { to, .. }
                | Action::Spill { to, .. }
                | Action::Refuse { to, .. }
                | Action::Recall { to, .. }
                | Action::LeaseLost { to, .. } => {
                    self.messages += 1;
                    let after = if to.node() == at { ms(0) } else { LATENCY };
                    self.at(after, Happens::Driver(to, action));
                }
                Action::StopWorker { .. } | Action::Infeasible { .. } => {}
            }
        }
    }

    fn send(&mut self, from: OwnerId, to: NodeId, event: Event) {
        self.messages += 1;
        let after = if from.node() == to { ms(0) } else { LATENCY };
        self.at(after, Happens::Core(to, event));
    }

    fn hear(&mut self, owner: OwnerId, action: Action) {
        let Some(driver) = self.drivers.get_mut(&owner) else {
            return;
        };
        match action {
            Action::Grant { request, lease, open, .. } => {
                driver.set_open(request, open);
                driver.leases.insert(lease, Held::default());
                self.next(owner, lease);
            }
            Action::Spill { request, node, count, spilled, open, .. } => {
                driver.set_open(request, open);
                let count = count.min(driver.wanted().saturating_sub(driver.asked()));
                self.ask(owner, node, count, spilled);
            }
            Action::Recall { lease, yield_now, .. } => {
                self.recalls += 1;
                if let Some(held) = driver.leases.get_mut(&lease) {
                    held.return_when_idle = true;
                    held.yields |= yield_now;
                    self.idle(owner, lease, false);
                }
            }
            other => panic!("nothing of the kind happens here: {other:?}"),
        }
        self.balance(owner);
    }

    fn ask(&mut self, owner: OwnerId, to: NodeId, backlog: u32, spilled: u8) {
        let Some(driver) = self.drivers.get_mut(&owner).filter(|_| backlog > 0) else {
            return;
        };
        driver.next_id += 1;
        let id = RequestId(driver.next_id);
        driver.open.insert(id, (to, backlog));
        let ask = LeaseRequest { id, backlog, spilled, ..driver.template.clone() };
        self.send(owner, to, Event::RequestLease(ask));
    }

    /// Ask for as many leases as tasks wait: no more, no less.
    fn balance(&mut self, owner: OwnerId) {
        let Some(driver) = self.drivers.get_mut(&owner) else {
            return;
        };
        let (wanted, mut asked) = (driver.wanted(), driver.asked());
        if wanted > asked {
            return self.ask(owner, owner.node(), wanted - asked, 0);
        }
        let mut updates = Vec::new();
        while asked > wanted {
            let Some((id, (at, open))) = driver.open.iter().next_back().map(|(id, open)| (*id, *open)) else {
                return;
            };
            let less = open.min(asked - wanted);
            asked -= less;
            updates.push((at, id, open - less));
            if open == less {
                driver.open.remove(&id);
            } else {
                driver.open.insert(id, (at, open - less));
            }
        }
        for (at, id, backlog) in updates {
            self.send(owner, at, Event::UpdateBacklog { from: owner, id, backlog, heard: u32::MAX });
        }
    }

    /// The lease is free: its next task, or none.
    fn next(&mut self, owner: OwnerId, lease: LeaseId) {
        let Some(driver) = self.drivers.get_mut(&owner) else {
            return;
        };
        let Some(held) = driver.leases.get_mut(&lease) else {
            return;
        };
        held.busy = false;
        if !held.yields
            && let Some(task) = driver.waiting.pop_front()
        {
            held.busy = true;
            self.at(task, Happens::Done(owner, lease));
            return self.balance(owner);
        }
        self.idle(owner, lease, false);
        self.at(KEEP, Happens::Expire(owner, lease));
    }

    fn idle(&mut self, owner: OwnerId, lease: LeaseId, expired: bool) {
        let Some(driver) = self.drivers.get_mut(&owner) else {
            return;
        };
        let Some(held) = driver.leases.get(&lease) else {
            return;
        };
        if !held.busy && (expired || held.return_when_idle) {
            driver.leases.remove(&lease);
            self.send(owner, lease.node, Event::ReturnLease { lease, reusable: true });
        }
    }

    fn done(&mut self, owner: OwnerId, lease: LeaseId) {
        let Some(driver) = self.drivers.get_mut(&owner) else {
            return;
        };
        *driver.ran.entry(lease.node).or_default() += 1;
        driver.finished = self.now;
        let spread = driver.template.scheduling == Scheduling::Spread;
        if let Some(held) = driver.leases.get_mut(&lease) {
            // One task a lease, when its owner wants them spread.
            held.yields |= spread;
            held.return_when_idle |= spread;
        }
        self.next(owner, lease);
        self.balance(owner);
    }

    pub(super) fn ran(&self, owner: OwnerId) -> Vec<usize> {
        let driver = &self.drivers[&owner];
        self.cores.keys().map(|node| driver.ran.get(node).copied().unwrap_or(0)).collect()
    }

    /// LEASE-6 and the end of it all: every task ran, and everything is free again.
    pub(super) fn assert_all_done(&self, tasks: usize) {
        let ran: usize = self.drivers.keys().map(|owner| self.ran(*owner).iter().sum::<usize>()).sum();
        assert_eq!(ran, tasks, "every task ran");
        let granted: BTreeSet<_> = self.drivers.values().flat_map(|driver| driver.leases.keys()).collect();
        assert!(granted.is_empty(), "{granted:?}");
        for core in self.cores.values() {
            let snapshot = core.snapshot();
            assert_eq!(snapshot.view.available, snapshot.view.total);
            assert!(snapshot.leases.is_empty() && snapshot.queue.is_empty(), "{snapshot:?}");
        }
    }
}
