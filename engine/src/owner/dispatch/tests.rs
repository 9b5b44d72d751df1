//! The dispatcher against an oracle, over random sequences of what may happen to it.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::raylet::core::Scheduling;
use crate::resources::ResourceSet;

const KEYS: usize = 3;
const FUNCTIONS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Work {
    seq: u64,
    function: usize,
    bytes: u32,
}

impl Unit for Work {
    fn seq(&self) -> u64 {
        self.seq
    }
    fn place(&self) -> u64 {
        self.seq
    }
    fn function(&self) -> usize {
        self.function
    }
    fn bytes(&self) -> u32 {
        self.bytes
    }
}

/// What happens; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Op {
    Ready {
        key: usize,
        function: usize,
        bytes: u32,
    },
    /// A raylet grants a lease that was asked for, if one was.
    Granted {
        key: usize,
    },
    /// A raylet grants a lease that nobody wants any more.
    Late {
        key: usize,
    },
    /// A worker finishes so many of its tasks, in order.
    Completed {
        lease: usize,
        count: usize,
        /// None if they did not run.
        ns: Option<u32>,
    },
    Parked {
        lease: usize,
    },
    /// A worker gives back all that it has not begun, but for so many.
    Returned {
        lease: usize,
        keep: usize,
    },
    Recall {
        lease: usize,
        yield_now: bool,
    },
    Lost {
        lease: usize,
    },
    Cancel {
        task: usize,
    },
    Tick,
    CloseIdle,
    Drain {
        key: usize,
    },
    AskAgain {
        key: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..KEYS;
    let lease = 0..8usize;
    let ns = prop_oneof![1..2_000u32, 1..400_000u32, 900_000..3_000_000u32];
    let ns = prop::option::weighted(0.8, ns);
    let bytes = prop_oneof![3 => Just(0u32), 1 => 0..400_000u32];
    prop_oneof![
        8 => (key.clone(), 0..FUNCTIONS, bytes).prop_map(|(key, function, bytes)| Op::Ready { key, function, bytes }),
        4 => key.clone().prop_map(|key| Op::Granted { key }),
        1 => key.clone().prop_map(|key| Op::Late { key }),
        6 => (lease.clone(), 0..6usize, ns).prop_map(|(lease, count, ns)| Op::Completed { lease, count, ns }),
        1 => lease.clone().prop_map(|lease| Op::Parked { lease }),
        2 => (lease.clone(), 0..3usize).prop_map(|(lease, keep)| Op::Returned { lease, keep }),
        2 => (lease.clone(), any::<bool>()).prop_map(|(lease, yield_now)| Op::Recall { lease, yield_now }),
        1 => lease.prop_map(|lease| Op::Lost { lease }),
        1 => any::<usize>().prop_map(|task| Op::Cancel { task }),
        2 => Just(Op::Tick),
        1 => Just(Op::CloseIdle),
        1 => key.clone().prop_map(|key| Op::Drain { key }),
        1 => key.prop_map(|key| Op::AskAgain { key }),
    ]
}

/// A lease as the oracle knows it.
#[derive(Debug)]
struct Known {
    key: usize,
    link: u32,
    /// Each with the least that its estimate can have been.
    flight: Vec<(Work, u64)>,
    used: bool,
    recalled: bool,
    yielding: bool,
    idle_ticks: u8,
    parked: u8,
}

struct Oracle {
    dispatch: Dispatch<Work, u32>,
    queues: [VecDeque<Work>; KEYS],
    leases: BTreeMap<LeaseIx, Known>,
    /// What raylets were asked for and have not granted.
    asked: [u32; KEYS],
    /// The quickest run of each function.
    least: [Option<u32>; FUNCTIONS],
    gone: BTreeSet<u64>,
    next_seq: u64,
    next_link: u32,
}

fn shape(key: usize) -> Shape {
    let scheduling = if key == 2 { Scheduling::Spread } else { Scheduling::Default };
    Shape::new(ResourceSet::from_options(key as f64, 0.0, 0.0, []).unwrap(), scheduling, false)
}

impl Oracle {
    fn new() -> Oracle {
        let mut dispatch = Dispatch::new();
        for key in 0..KEYS {
            assert_eq!(dispatch.key(&shape(key), None) as usize, key);
        }
        Oracle {
            dispatch,
            queues: Default::default(),
            leases: BTreeMap::new(),
            asked: [0; KEYS],
            least: [None; FUNCTIONS],
            gone: BTreeSet::new(),
            next_seq: 0,
            next_link: 0,
        }
    }

    fn one_by_one(key: usize) -> bool {
        key == 2
    }

    /// The least that the dispatcher can take a task to cost.
    fn floor(&self, work: &Work) -> u64 {
        u64::from(self.least[work.function].unwrap_or(UNKNOWN_NS)) + u64::from(work.bytes)
    }

    fn nth(&self, lease: usize) -> Option<LeaseIx> {
        self.leases.keys().nth(lease % self.leases.len().max(1)).copied()
    }

    fn run(&mut self, op: &Op) {
        let mut out = Vec::new();
        match *op {
            Op::Ready { key, function, bytes } => {
                // Not all become ready in the order in which they were submitted.
                let work = Work { seq: self.next_seq ^ 3, function, bytes };
                self.next_seq += 1;
                self.queue(key, work);
                self.dispatch.ready(work, key as KeyIx, &mut out);
            }
            Op::Granted { key } if self.asked[key] == 0 => {}
            Op::Granted { key } => {
                self.asked[key] -= 1;
                self.grant(key, &mut out);
            }
            Op::Late { key } => self.grant(key, &mut out),
            Op::Completed { lease, count, ns } => {
                let Some(ix) = self.nth(lease) else { return };
                let known = self.leases.get_mut(&ix).unwrap();
                let count = count.min(known.flight.len());
                let done: Vec<_> = known.flight.drain(..count).map(|(work, _)| work).collect();
                for work in &done {
                    self.gone.insert(work.seq);
                    let Some(ns) = ns else { continue };
                    let least = &mut self.least[work.function];
                    *least = Some(least.map_or(ns.max(1), |least| least.min(ns.max(1))));
                }
                self.dispatch.completed(ix, done.iter().map(|work| (work.seq, ns)), &mut out);
            }
            Op::Parked { lease } => {
                let Some(ix) = self.nth(lease) else { return };
                let known = self.leases.get_mut(&ix).unwrap();
                if known.flight.is_empty() {
                    return;
                }
                let (work, _) = known.flight.remove(0);
                known.parked += 1;
                // DISPATCH-6
                known.yielding |= known.parked == PARKED_MAX;
                self.gone.insert(work.seq);
                self.dispatch.parked(ix, work.seq, &mut out);
            }
            Op::Returned { lease, keep } => {
                let Some(ix) = self.nth(lease) else { return };
                let known = self.leases.get_mut(&ix).unwrap();
                let back = known.flight.split_off(keep.min(known.flight.len()));
                for (_, floor) in &mut known.flight {
                    *floor = (*floor).max(AHEAD_NS);
                }
                for (work, _) in back.iter().rev() {
                    let queue = &mut self.queues[known.key];
                    queue.push_front(*work);
                    queue.make_contiguous().sort_by_key(|work| work.seq);
                }
                let seqs: Vec<u64> = back.iter().map(|(work, _)| work.seq).collect();
                self.dispatch.returned(ix, &seqs, &mut out);
            }
            Op::Recall { lease, yield_now } => {
                let Some(ix) = self.nth(lease) else { return };
                let known = self.leases.get_mut(&ix).unwrap();
                known.recalled = true;
                known.yielding |= yield_now;
                self.dispatch.recall(ix, yield_now, &mut out);
            }
            Op::Lost { lease } => {
                let Some(ix) = self.nth(lease) else { return };
                let known = self.leases.remove(&ix).unwrap();
                let lost = self.dispatch.lost(ix, &mut out);
                assert_eq!(lost, known.flight.iter().map(|(work, _)| *work).collect::<Vec<_>>());
                // None is tried again.
                self.gone.extend(lost.iter().map(|work| work.seq));
            }
            Op::Cancel { task } => {
                if self.next_seq == 0 {
                    return;
                }
                self.cancel(task as u64 % self.next_seq);
            }
            Op::Tick => {
                for known in self.leases.values_mut().filter(|known| known.flight.is_empty()) {
                    known.idle_ticks += 1;
                }
                self.dispatch.tick(&mut out);
            }
            Op::CloseIdle => {
                self.dispatch.close_idle(&mut out);
                let idle = self.leases.values().filter(|known| known.flight.is_empty()).count();
                assert_eq!(out.len(), idle);
            }
            Op::Drain { key } => {
                let drained = self.dispatch.drain(key as KeyIx);
                assert_eq!(drained, Vec::from(std::mem::take(&mut self.queues[key])));
                self.gone.extend(drained.iter().map(|work| work.seq));
                self.asked[key] = 0;
            }
            Op::AskAgain { key } => {
                self.asked[key] = 0;
                self.dispatch.ask_again(key as KeyIx, &mut out);
            }
        }
        for act in out {
            self.act(act);
        }
        self.check();
    }

    fn grant(&mut self, key: usize, out: &mut Vec<Act<Work, u32>>) {
        let link = self.next_link;
        self.next_link += 1;
        let taken = self.dispatch.granted(key as KeyIx, link, out);
        assert_eq!(taken.is_some(), !self.queues[key].is_empty(), "a lease is taken if there is work for it");
        match taken {
            Some(ix) => {
                let known = Known {
                    key,
                    link,
                    flight: Vec::new(),
                    used: false,
                    recalled: false,
                    yielding: false,
                    idle_ticks: 0,
                    parked: 0,
                };
                assert!(self.leases.insert(ix, known).is_none());
            }
            None => {
                let back = out.iter().position(|act| *act == Act::Return { link }).expect("it goes back");
                out.remove(back);
            }
        }
    }

    fn queue(&mut self, key: usize, work: Work) {
        let queue = &mut self.queues[key];
        queue.push_back(work);
        queue.make_contiguous().sort_by_key(|work| work.seq);
    }

    fn cancel(&mut self, seq: u64) {
        for key in 0..KEYS {
            let found = self.dispatch.cancel((seq, seq), key as KeyIx);
            let queued = self.queues[key].iter().position(|work| work.seq == seq);
            let flying = |known: &Known| known.key == key && known.flight.iter().any(|(work, _)| work.seq == seq);
            let flying = self.leases.iter().find(|(_, known)| flying(known));
            match (queued, flying) {
                (Some(at), _) => {
                    let work = self.queues[key].remove(at).unwrap();
                    assert_eq!(found, Found::Queued(work));
                    self.gone.insert(seq);
                }
                (None, Some((ix, known))) => assert_eq!(found, Found::InFlight(*ix, known.link)),
                (None, None) => assert_eq!(found, Found::Nowhere),
            }
        }
    }

    fn act(&mut self, act: Act<Work, u32>) {
        match act {
            Act::Push { lease, link, task } => {
                let floor = self.floor(&task);
                let known = self.leases.get_mut(&lease).expect("a push goes to a lease");
                assert_eq!(known.link, link);
                assert_eq!(self.queues[known.key].pop_front(), Some(task), "DISPATCH-4");
                assert!(!known.yielding, "nothing is pushed to a lease that was recalled for others");
                assert!(!(known.used && Self::one_by_one(known.key)), "such a lease runs one task");
                if !known.flight.is_empty() {
                    let ahead: u64 = known.flight.iter().map(|(_, floor)| floor).sum();
                    assert!(ahead + floor <= AHEAD_NS, "DISPATCH-2: {ahead} + {floor}");
                }
                known.flight.push((task, floor));
                known.used = true;
                known.idle_ticks = 0;
            }
            Act::Gone(task) => assert!(self.gone.contains(&task.seq), "what is let go has ended or waits elsewhere"),
            Act::Backlog { key, wanted } => {
                assert_eq!(wanted as usize, self.queues[key as usize].len().min(BACKLOG_MAX as usize));
                self.asked[key as usize] = wanted;
            }
            Act::Return { link } => {
                let ix = self.leases.iter().find(|(_, known)| known.link == link).map(|(ix, _)| *ix);
                let known = ix.and_then(|ix| self.leases.remove(&ix)).expect("only a lease is returned");
                assert!(known.flight.is_empty(), "what is returned runs nothing");
            }
            Act::TakeBack { lease, link } => {
                let known = &self.leases[&lease];
                assert!(known.link == link && !known.flight.is_empty());
            }
        }
    }

    fn check(&self) {
        let queued: usize = self.queues.iter().map(VecDeque::len).sum();
        let flying: usize = self.leases.values().map(|known| known.flight.len()).sum();
        assert_eq!(self.dispatch.load(), (queued, flying), "DISPATCH-1");
        assert_eq!(queued + flying + self.gone.len(), self.next_seq as usize, "DISPATCH-1");
        assert_eq!(self.dispatch.wants_tick(), self.leases.values().any(|known| known.flight.is_empty()));
        let live: Vec<LeaseIx> = self.leases.keys().copied().collect();
        assert_eq!(self.dispatch.leases_where(|_| true), live);
        for (key, queue) in self.queues.iter().enumerate() {
            assert_eq!(self.dispatch.head(key as KeyIx), queue.front());
            let mut own = self.leases.values().filter(|known| known.key == key);
            if !queue.is_empty() {
                assert!(own.all(|known| !known.flight.is_empty()), "no lease is idle while tasks of its key wait");
                assert!(self.asked[key] > 0, "DISPATCH-5");
            }
        }
        for known in self.leases.values().filter(|known| known.flight.is_empty()) {
            assert!(!known.recalled && !known.yielding, "DISPATCH-3");
            assert!(known.idle_ticks < IDLE_TICKS, "DISPATCH-3");
            assert!(!(known.used && Self::one_by_one(known.key)), "such a lease runs one task");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold(ops in prop::collection::vec(op(), 1..120)) {
        let mut oracle = Oracle::new();
        for op in &ops {
            oracle.run(op);
        }
    }
}

/// Leases for all tasks that wait are asked for, however they came.
#[test]
fn every_task_may_have_a_lease_of_its_own() {
    for tasks in 1..40 {
        let mut oracle = Oracle::new();
        for _ in 0..tasks {
            oracle.run(&Op::Ready { key: 1, function: 0, bytes: 0 });
        }
        for _ in 0..tasks {
            oracle.run(&Op::Granted { key: 1 });
        }
        assert_eq!(oracle.leases.len(), tasks, "of {tasks} long tasks each runs on a lease");
    }
}

/// A lease that has run one task of `function` in so long.
fn warm(function: usize, ns: Option<u32>) -> Oracle {
    let mut oracle = Oracle::new();
    oracle.run(&Op::Ready { key: 1, function, bytes: 0 });
    oracle.run(&Op::Granted { key: 1 });
    oracle.run(&Op::Completed { lease: 0, count: 1, ns });
    oracle
}

/// What ended without a run (it was cancelled, or could not be sent) says nothing of what its function costs.
#[test]
fn what_did_not_run_was_not_quick() {
    for (ran, in_flight) in [(None, 1), (Some(50), 8)] {
        let mut oracle = warm(0, ran);
        (0..8).for_each(|_| oracle.run(&Op::Ready { key: 1, function: 0, bytes: 0 }));
        assert_eq!(oracle.dispatch.load(), (8 - in_flight, in_flight), "{ran:?}");
    }
}

/// However many are given back at once, each is looked at once.
#[test]
fn a_hundred_thousand_are_given_back_at_once() {
    const MANY: u64 = 100_000;
    let mut dispatch: Dispatch<Work, u32> = Dispatch::new();
    let key = dispatch.key(&shape(1), None);
    let work = |seq| Work { seq, function: 0, bytes: 0 };
    let mut out = Vec::new();
    dispatch.ready(work(0), key, &mut out);
    let lease = dispatch.granted(key, 1, &mut out).unwrap();
    dispatch.completed(lease, [(0, Some(1))], &mut out);
    (1..=MANY).for_each(|seq| dispatch.ready(work(seq), key, &mut out));
    assert_eq!(dispatch.load(), (0, MANY as usize));
    // They may be said in any order.
    let back: Vec<u64> = (2..=MANY).rev().collect();
    dispatch.returned(lease, &back, &mut out);
    assert_eq!(dispatch.load(), (MANY as usize - 1, 1));
    let order: Vec<u64> = dispatch.drain(key).iter().map(|work| work.seq).collect();
    assert!(order.into_iter().eq(2..=MANY), "DISPATCH-4");
}

/// A function whose first run was quick, for its argument was small, is taken for quick until others show otherwise: then
/// what was lent on that ground is for other leases.
#[test]
fn what_was_lent_to_a_lease_comes_back_when_its_function_turns_out_slow() {
    let mut oracle = warm(0, Some(50));
    (0..5_000).for_each(|_| oracle.run(&Op::Ready { key: 1, function: 0, bytes: 0 }));
    assert_eq!(oracle.dispatch.load(), (0, 5_000), "all are lent to the one lease");
    let takes_back = |oracle: &mut Oracle, ns: &[u32]| {
        let known = oracle.leases.get_mut(&0).unwrap();
        let seqs: Vec<u64> = known.flight.drain(..ns.len()).map(|(work, _)| work.seq).collect();
        oracle.gone.extend(&seqs);
        let mut out = Vec::new();
        oracle.dispatch.completed(0, seqs.into_iter().zip(ns.iter().copied().map(Some)), &mut out);
        out.iter().any(|act| matches!(act, Act::TakeBack { .. }))
    };
    let interrupted: Vec<u32> = (0..64).map(|run| if run == 30 { 4_000_000 } else { 60 }).collect();
    assert!(!takes_back(&mut oracle, &interrupted), "one that was interrupted says nothing");
    assert!(takes_back(&mut oracle, &[300_000; 64]));
    assert!(!takes_back(&mut oracle, &[300_000; 64]), "once");
    let known = oracle.leases.get_mut(&0).unwrap();
    let back: Vec<u64> = known.flight.split_off(1).iter().map(|(work, _)| work.seq).collect();
    oracle.dispatch.returned(0, &back, &mut Vec::new());
    assert_eq!(oracle.dispatch.load(), (back.len(), 1), "nothing is put behind what runs");
}

/// What other nodes were asked for is withdrawn there when nothing waits for it any more: once, and whatever it takes.
#[test]
fn what_was_sent_on_is_withdrawn_when_nothing_waits() {
    for (shape, told) in [(shape(0), 0), (shape(1), 1), (shape(2), 0)] {
        let mut dispatch: Dispatch<Work, u32> = Dispatch::new();
        let key = dispatch.key(&shape, None);
        let mut out = Vec::new();
        dispatch.ready(Work { seq: 1, function: 0, bytes: 0 }, key, &mut out);
        assert_eq!(std::mem::take(&mut out), [Act::Backlog { key, wanted: 1 }]);
        dispatch.sent_elsewhere(key, 1);
        assert_eq!(dispatch.wanted(key), told, "what takes nothing, or is dealt out, is asked for once");
        assert!(matches!(dispatch.cancel((1, 1), key), Found::Queued(_)));
        dispatch.left(key, &mut out);
        assert_eq!(std::mem::take(&mut out), [Act::Backlog { key, wanted: 0 }]);
        // The shell says that it has done so.
        dispatch.lost_elsewhere(key, 1);
        dispatch.left(key, &mut out);
        assert_eq!(out, []);
    }
}

/// Each task may need another amount: the keys of those that are over are forgotten, and of those that are not, none.
#[test]
fn keys_of_no_use_are_forgotten() {
    let mut dispatch: Dispatch<Work, u32> = Dispatch::new();
    let sized = |memory: u64| {
        Shape::new(ResourceSet::from_options(1.0, 0.0, memory as f64, []).unwrap(), Scheduling::Default, false)
    };
    let mut out = Vec::new();
    let work = |seq| Work { seq, function: 0, bytes: 0 };
    let (leased, waits, asked) =
        (dispatch.key(&sized(1), None), dispatch.key(&sized(2), None), dispatch.key(&sized(3), None));
    dispatch.ready(work(1), leased, &mut out);
    assert!(dispatch.granted(leased, 1, &mut out).is_some());
    dispatch.ready(work(2), waits, &mut out);
    let mut last = leased;
    for memory in 10..10_000 {
        if dispatch.has_many_keys() {
            dispatch.forget_keys(|key| key == asked);
            assert!(!dispatch.is_key_of(last, &sized(memory - 1)) && !dispatch.is_key_of(last, &Shape::none()));
        }
        last = dispatch.key(&sized(memory), None);
        dispatch.ready(work(memory), last, &mut out);
        let lease = dispatch.granted(last, 2, &mut out).unwrap();
        dispatch.completed(lease, [(memory, Some(9))], &mut out);
        dispatch.recall(lease, false, &mut out);
    }
    assert!(dispatch.keys.len() <= KEYS_FEW && dispatch.by_shape.len() <= KEYS_FEW, "{}", dispatch.keys.len());
    for (memory, key) in [(1, leased), (2, waits), (3, asked)] {
        assert!(dispatch.is_key_of(key, &sized(memory)) && dispatch.key(&sized(memory), None) == key);
    }
    assert_eq!(dispatch.load(), (1, 1));
}
