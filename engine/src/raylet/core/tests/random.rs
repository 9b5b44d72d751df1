//! Random sequences: what holds after every event, and what is left when all has ended.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::*;
use super::harness::*;
use super::model::Model;
use crate::ids::OwnerId;

#[derive(Clone, Debug)]
enum Op {
    Ask { owner: u128, near: u128, shape: usize, backlog: u32, depth: u32, scheduling: u8, spilled: u8, actor: bool },
    Update { at: usize, backlog: u32 },
    Return { at: usize, reusable: bool },
    Block { at: usize },
    Unblock { at: usize },
    Start { at: usize },
    FailStart { at: usize },
    WorkerDies { at: usize },
    Answer { count: usize, needed: bool },
    OwnerDies { owner: u128, with_process: bool },
    JobEnds { job: u128 },
    Peer { node: u128, cpus: u32, free: u32 },
    PeerLost { node: u128 },
    Pass { millis: u64 },
}

fn any_op() -> impl Strategy<Value = Op> {
    let at = 0..64_usize;
    prop_oneof![
        12 => (1..6_u128, 0..7_u128, 0..6_usize, 0..6_u32, 0..3_u32, 0..8_u8, 0..3_u8, any::<bool>()).prop_map(
            |(owner, near, shape, backlog, depth, scheduling, spilled, actor)| Op::Ask {
                owner, near, shape, backlog, depth, scheduling, spilled, actor
            }
        ),
        3 => (at.clone(), 0..6_u32).prop_map(|(at, backlog)| Op::Update { at, backlog }),
        10 => (at.clone(), any::<bool>()).prop_map(|(at, reusable)| Op::Return { at, reusable }),
        5 => at.clone().prop_map(|at| Op::Block { at }),
        5 => at.clone().prop_map(|at| Op::Unblock { at }),
        15 => at.clone().prop_map(|at| Op::Start { at }),
        1 => at.clone().prop_map(|at| Op::FailStart { at }),
        1 => at.clone().prop_map(|at| Op::WorkerDies { at }),
        2 => (1..5_usize, any::<bool>()).prop_map(|(count, needed)| Op::Answer { count, needed }),
        1 => (1..6_u128, any::<bool>()).prop_map(|(owner, with_process)| Op::OwnerDies { owner, with_process }),
        1 => (2..4_u128).prop_map(|job| Op::JobEnds { job }),
        2 => (2..5_u128, 0..8_u32, 0..8_u32).prop_map(|(node, cpus, free)| Op::Peer { node, cpus, free }),
        1 => (2..5_u128).prop_map(|node| Op::PeerLost { node }),
        8 => (0..400_u64).prop_map(|millis| Op::Pass { millis }),
    ]
}

fn total() -> ResourceSet {
    set(&[("CPU", 4.0), ("GPU", 2.0), ("pin", 0.5)])
}

fn shapes() -> [ResourceSet; 6] {
    [
        cpus(1),
        set(&[("CPU", 0.3333)]),
        set(&[("CPU", 1.0), ("GPU", 0.5)]),
        ResourceSet::new(),
        cpus(4),
        set(&[("pin", 0.1234), ("CPU", 0.5)]),
    ]
}

/// What the shell and the owners know, from the actions alone: the oracle.
#[derive(Default)]
struct Oracle {
    /// Of each open request: what is still to come of it.
    open: BTreeMap<RequestKey, u32>,
    leases: BTreeMap<LeaseId, OwnerId>,
    starting: BTreeSet<WorkerId>,
    running: BTreeSet<WorkerId>,
    recalled: BTreeSet<(LeaseId, bool)>,
    asked: BTreeSet<WorkerId>,
}

impl Oracle {
    fn hear(&mut self, action: &Action) {
        match action {
            Action::Grant { request, to, lease, worker, open } => {
                self.counts_down((*to, *request), 1, *open);
                assert!(self.leases.insert(*lease, *to).is_none(), "a lease is granted once");
                assert!(self.running.contains(worker), "granted on a worker that runs");
            }
            Action::Spill { request, to, count, open, .. } => self.counts_down((*to, *request), *count, *open),
            Action::Refuse { request, to, .. } => {
                let was_open = self.open.remove(&(*to, *request)).is_some();
                assert!(was_open, "LEASE-3: refused while open");
            }
            Action::StartWorker { worker, .. } => assert!(self.starting.insert(*worker)),
            Action::StopWorker { worker } => {
                self.asked.remove(worker);
                self.starting.remove(worker);
                self.running.remove(worker);
            }
            Action::Recall { lease, to, yield_now } => {
                assert_eq!(self.leases.get(lease), Some(to), "recalled from its owner");
                assert!(self.recalled.insert((*lease, *yield_now)), "LEASE-5: recalled once each way");
            }
            Action::LeaseLost { lease, .. } => _ = self.leases.remove(lease),
            Action::AskWorker { worker } => assert!(self.running.contains(worker) && self.asked.insert(*worker)),
            Action::Infeasible { .. } | Action::ReportView(_) | Action::NextTick(_) => {}
        }
    }

    fn counts_down(&mut self, key: RequestKey, by: u32, open: u32) {
        let before = self.open.get(&key).copied().unwrap_or(0);
        assert_eq!(before, open + by, "LEASE-3: open counts down");
        if open == 0 {
            self.open.remove(&key);
        } else {
            self.open.insert(key, open);
        }
    }
}

struct Run {
    core: RayletCore,
    /// Looks at each lease by itself.
    plain: RayletCore,
    now: Duration,
    oracle: Oracle,
    next_request: u64,
}

impl Run {
    fn new() -> Self {
        let core = RayletCore::new(node(1), total());
        let plain = RayletCore { plain: true, ..core.clone() };
        Self { core, plain, now: ms(0), oracle: Oracle::default(), next_request: 0 }
    }

    fn tell(&mut self, event: Event) {
        let before = self.core.view().available;
        let takes_back = matches!(event, Event::Unblocked { .. });
        let mut out = Vec::new();
        handle_both(&mut self.core, &mut self.plain, self.now, event, &mut out);
        for action in &out {
            self.oracle.hear(action);
        }
        assert_sound(&self.core);
        // LEASE-1: only taking back what was lent makes a debt, or a larger one.
        let after = self.core.view().available;
        for (name, amount) in after.iter() {
            let allowed = amount.steps() >= 0 || takes_back || amount >= before.get(name);
            assert!(allowed, "LEASE-1: {before} became {after}");
        }
        self.assert_nothing_fits();
    }

    /// LEASE-6: whatever still waits for resources does not fit, or leaves them to a reserver.
    fn assert_nothing_fits(&self) {
        let available = self.core.view().available;
        for (key, request) in self.core.queue.iter().filter(|(_, request)| request.waiting > 0) {
            let fits = request.need.fits(&available) && self.core.queue.waits(request) == queue::Waits::Resources;
            assert!(!fits || self.core.reserver.is_some(), "LEASE-6: {key:?} fits");
        }
    }

    fn lease(&self, at: usize) -> Option<LeaseId> {
        let leases: Vec<_> = self.oracle.leases.keys().copied().collect();
        (!leases.is_empty()).then(|| leases[at % leases.len()])
    }

    fn worker(set: &BTreeSet<WorkerId>, at: usize) -> Option<WorkerId> {
        (!set.is_empty()).then(|| set.iter().copied().nth(at % set.len())).flatten()
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Ask { .. } => self.ask(op),
            Op::Update { at, backlog } => {
                let keys: Vec<_> = self.oracle.open.keys().copied().collect();
                if keys.is_empty() {
                    return;
                }
                let (from, id) = keys[at % keys.len()];
                match backlog {
                    0 => self.oracle.open.remove(&(from, id)),
                    _ => self.oracle.open.insert((from, id), backlog),
                };
                self.tell(Event::UpdateBacklog { from, id, backlog, heard: u32::MAX });
            }
            Op::Return { at, reusable } => {
                if let Some(lease) = self.lease(at) {
                    self.oracle.leases.remove(&lease);
                    self.tell(Event::ReturnLease { lease, reusable });
                }
            }
            Op::Block { at } => _ = self.lease(at).map(|lease| self.tell(Event::Blocked { lease })),
            Op::Unblock { at } => _ = self.lease(at).map(|lease| self.tell(Event::Unblocked { lease })),
            Op::Start { at } => {
                if let Some(worker) = Self::worker(&self.oracle.starting, at) {
                    self.oracle.starting.remove(&worker);
                    self.oracle.running.insert(worker);
                    self.tell(Event::WorkerStarted { worker });
                }
            }
            Op::FailStart { at } => {
                if let Some(worker) = Self::worker(&self.oracle.starting, at) {
                    self.oracle.starting.remove(&worker);
                    self.tell(Event::WorkerFailedToStart { worker, reason: "no".into(), permanent: at % 4 == 0 });
                }
            }
            Op::WorkerDies { at } => {
                if let Some(worker) = Self::worker(&self.oracle.running, at) {
                    self.oracle.running.remove(&worker);
                    self.oracle.asked.remove(&worker);
                    self.tell(Event::WorkerDied { worker });
                }
            }
            Op::Answer { count, needed } => {
                let asked: Vec<WorkerId> = self.oracle.asked.iter().copied().take(count).collect();
                asked.iter().for_each(|worker| _ = self.oracle.asked.remove(worker));
                self.tell(Event::WorkersAnswered { answers: asked.into_iter().map(|id| (id, needed)).collect() });
            }
            Op::OwnerDies { owner: number, with_process } => {
                let died = owner(number);
                self.oracle.open.retain(|(from, _), _| *from != died);
                self.oracle.leases.retain(|_, from| *from != died);
                self.tell(match with_process {
                    true => Event::ProcessDied { process: died.process },
                    false => Event::OwnerDied { owner: died },
                });
            }
            Op::JobEnds { job: number } => {
                // Owners here are of one job each, so that the oracle knows which leases end.
                for owner in (1..6).filter(|owner| job_of(*owner) == number).map(owner) {
                    self.oracle.open.retain(|(from, _), _| *from != owner);
                    self.oracle.leases.retain(|_, from| *from != owner);
                }
                self.tell(Event::JobEnded { job: job(number) });
            }
            Op::Peer { node: number, cpus: total, free } => {
                let view = View { total: cpus(total), available: cpus(free.min(total)), queued: 0, draining: false };
                self.tell(Event::NodeViews { views: vec![(node(number), view)] });
            }
            Op::PeerLost { node: number } => self.tell(Event::NodeLost { node: node(number) }),
            Op::Pass { millis } => self.pass(ms(millis)),
        }
    }

    fn ask(&mut self, op: Op) {
        let Op::Ask { owner: number, near, shape, backlog, depth, scheduling, spilled, actor: is_actor } = op else {
            return;
        };
        self.next_request += 1;
        let scheduling = match scheduling {
            0 => Scheduling::NodeAffinity { node: node(1), soft: false },
            1 => Scheduling::NodeAffinity { node: node(3), soft: spilled == 0 },
            2 | 3 => Scheduling::Spread,
            _ => Scheduling::Default,
        };
        let shape = shapes()[shape].clone();
        let purpose = match (is_actor && depth == 0, shape.is_empty()) {
            (true, empty) => {
                let host = if empty { Host::Shared } else { Host::Dedicated };
                actor(self.next_request.into(), if backlog % 2 == 0 { ResourceSet::new() } else { shape.clone() }, host)
            }
            (false, _) => Purpose::Tasks,
        };
        let job = job(job_of(number));
        let ask = LeaseRequest {
            shape,
            depth,
            scheduling,
            spilled,
            purpose,
            job,
            // On this node, or on one that may be there.
            locality: (1..4).contains(&near).then(|| (node(near), 8 << 20)).into_iter().collect(),
            ..ask(owner(number), self.next_request, backlog)
        };
        if backlog > 0 {
            self.oracle.open.insert(ask.key(), backlog);
        }
        self.tell(Event::RequestLease(ask));
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.core.wish.filter(|due| *due <= until) {
            self.now = due;
            self.tell(Event::Tick);
        }
        self.now = until;
    }

    /// Let everything run that can, returning what is granted, until nothing is left.
    fn finish(&mut self) {
        for round in 0..3_000 {
            while let Some(worker) = self.oracle.starting.pop_first() {
                self.oracle.running.insert(worker);
                self.tell(Event::WorkerStarted { worker });
            }
            while let Some((lease, _)) = self.oracle.leases.pop_first() {
                self.tell(Event::ReturnLease { lease, reusable: true });
            }
            let stuck = |core: &RayletCore| {
                core.queue
                    .iter()
                    .all(|(_, request)| core.queue.waits(request) == queue::Waits::Infeasible && request.starting == 0)
            };
            if stuck(&self.core) && self.oracle.starting.is_empty() {
                return;
            }
            self.pass(ms(50));
            assert!(round < 2_999, "LEASE-6: it ends: {:?}", self.core.snapshot().queue);
        }
    }
}

fn job_of(owner: u128) -> u128 {
    1 + owner % 3
}

proptest! {
    /// LEASE-1 to LEASE-6, after every event of any sequence; and at the end all is free, to the last ten-thousandth.
    #[test]
    fn any_sequence_keeps_the_invariants(ops in proptest::collection::vec(any_op(), 1..120)) {
        let mut run = Run::new();
        for op in ops {
            run.apply(op);
        }
        run.finish();
        let snapshot = run.core.snapshot();
        prop_assert_eq!(&snapshot.view.available, &total());
        prop_assert!(snapshot.leases.is_empty());
        prop_assert!(run.core.classes.is_empty());
        let open: BTreeMap<RequestKey, u32> =
            run.core.queue.iter().map(|(key, request)| (*key, request.open())).collect();
        prop_assert_eq!(&open, &run.oracle.open, "LEASE-3: both sides agree on what is open");
        run.core.queue.iter().map(|(key, _)| *key).collect::<Vec<_>>().into_iter().for_each(|(from, id)| {
            run.tell(Event::UpdateBacklog { from, id, backlog: 0, heard: u32::MAX });
        });
        prop_assert!(run.core.ledger.accounts().is_empty());
    }

    /// The same events give the same actions.
    #[test]
    fn any_sequence_replays(ops in proptest::collection::vec(any_op(), 1..60)) {
        let play = || {
            let mut run = Run::new();
            ops.iter().for_each(|op| run.apply(op.clone()));
            format!("{:?}", run.core)
        };
        prop_assert_eq!(play(), play());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// LEASE-6 over several nodes: whatever the drivers, every task runs, and soon.
    #[test]
    fn any_drivers_on_any_nodes_finish(
        nodes in proptest::collection::vec(1..5_u32, 1..4),
        drivers in proptest::collection::vec((0..3_u128, 0..4_usize, 1..60_usize, 1..80_u64, any::<bool>(), 0..3_u32), 1..5),
    ) {
        let totals: Vec<ResourceSet> = nodes.iter().map(|count| cpus(*count)).collect();
        let mut model = Model::new(&totals).beside_plain();
        let shapes = [cpus(1), set(&[("CPU", 0.5)]), cpus(*nodes.iter().max().expect("some")), ResourceSet::new()];
        let (mut all, mut work) = (0, 0);
        for (number, (on, shape, count, millis, spread, depth)) in drivers.iter().enumerate() {
            let from = owner_on(1 + on % nodes.len() as u128, number as u128 + 1);
            let scheduling = if *spread { Scheduling::Spread } else { Scheduling::Default };
            let job = job(1 + number as u128 % 2);
            let template = LeaseRequest { shape: shapes[*shape].clone(), scheduling, depth: *depth, job, ..ask(from, 0, 0) };
            model.submit(template, std::iter::repeat_n(ms(*millis), *count));
            all += count;
            work += *count as u64 * (*millis + 20);
        }
        model.run_until(ms(20_000 + 2 * work));
        model.assert_all_done(all);
    }
}
