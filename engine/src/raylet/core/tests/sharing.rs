//! Recalls: LEASE-5, and how greedy owners come to share.

use super::super::*;
use super::harness::*;
use crate::ids::OwnerId;

fn other(id: u64, backlog: u32) -> LeaseRequest {
    LeaseRequest { job: job(2), ..ask(owner(2), id, backlog) }
}

#[test]
fn a_waiting_request_revokes_idle_leases_at_once_and_once() {
    let mut bench = Bench::new(cpus(3));
    let leases = bench.ask(ask(owner(1), 1, 3));
    bench.ask(other(1, 1));
    let recalls = bench.recalls();
    assert_eq!(recalls, leases.iter().map(|lease| (*lease, false)).collect::<Vec<_>>());
    bench.ask(other(2, 1));
    bench.pass(ms(50));
    assert!(bench.recalls().is_empty());
}

/// Leases that are alike are looked at as one: while others wait, none of many that come back costs a look at all the rest.
#[test]
fn ten_thousand_leases_change_hands_while_others_wait() {
    const MANY: u32 = 10_000;
    let mut core = RayletCore::new(node(1), cpus(MANY));
    let mut out = Vec::new();
    let mut tell = |now: u64, event: Event| {
        let mut out = Vec::new();
        core.handle(ms(now), event, &mut out);
        out
    };
    for action in tell(0, Event::RequestLease(ask(owner(1), 1, 2 * MANY))) {
        if let Action::StartWorker { worker, .. } = action {
            out.append(&mut tell(0, Event::WorkerStarted { worker }));
        }
    }
    let granted = |action: &Action| if let Action::Grant { lease, .. } = action { Some(*lease) } else { None };
    let leases: Vec<LeaseId> = out.iter().filter_map(granted).collect();
    assert_eq!(leases.len(), MANY as usize);
    let recalls = |out: &[Action], now: bool| {
        let is = |action: &&Action| matches!(action, Action::Recall { yield_now, .. } if *yield_now == now);
        out.iter().filter(is).count()
    };
    let asked = tell(10, Event::RequestLease(other(1, MANY)));
    assert_eq!(recalls(&asked, false), MANY as usize, "each is recalled at once, and once");
    let late = tell(200, Event::Tick);
    assert_eq!(recalls(&late, true), MANY as usize / 2, "half of them are to yield");
    let mut back = Vec::new();
    for lease in leases.iter().take(MANY as usize / 2) {
        back.append(&mut tell(201, Event::ReturnLease { lease: *lease, reusable: false }));
    }
    assert_eq!((recalls(&back, false), recalls(&back, true)), (0, 0), "LEASE-5");
    assert!(back.iter().all(|action| granted(action).is_none()), "their workers are of another job");
    let starts = |action: &Action| matches!(action, Action::StartWorker { job: of, .. } if *of == job(2));
    assert_eq!(back.iter().filter(|action| starts(action)).count(), MANY as usize / 2);
}

#[test]
fn an_owner_is_not_asked_for_what_it_would_use_itself() {
    let mut bench = Bench::new(cpus(2));
    bench.ask(ask(owner(1), 1, 100));
    bench.pass(ms(1_000));
    assert!(bench.recalls().is_empty());
    bench.ask(LeaseRequest { shape: set(&[("CPU", 2.0)]), ..ask(owner(1), 2, 1) });
    assert_eq!(bench.recalls().len(), 2, "another shape of its own is another matter");
}

/// Leases that want the same and may lie elsewhere, or whose tasks fail sooner, do not serve each other's tasks: idle ones
/// are asked for at once, busy ones yield.
#[test]
fn an_owner_is_asked_for_what_its_other_tasks_use() {
    let spread = |id| LeaseRequest { key: 1, scheduling: Scheduling::Spread, ..ask(owner(1), id, 1) };
    let mut bench = Bench::new(cpus(1));
    let many = bench.ask(ask(owner(1), 1, 3_000))[0];
    bench.pass(ms(500));
    bench.ask(spread(2));
    assert_eq!(bench.recalls().into_iter().map(|(lease, _)| lease).collect::<Vec<_>>(), [many], "if it is idle");
    bench.pass(ms(150));
    assert_eq!(bench.recalls(), [(many, true)]);
    bench.out.clear();
    bench.give_back(many);
    let one = bench.granted();
    assert_eq!(one.len(), 1);
    assert_eq!(bench.core.snapshot().queue[0].request, RequestId(1), "the many go on waiting");
    bench.give_back(one[0]);
    assert_eq!(bench.granted().len(), 1);
}

#[test]
fn after_a_tenth_of_a_second_leases_yield_until_shares_are_equal() {
    let mut bench = Bench::new(cpus(8));
    bench.ask(ask(owner(1), 1, 100));
    bench.pass(ms(50));
    bench.ask(other(1, 100));
    bench.pass(ms(95));
    assert!(bench.recalls().iter().all(|(_, now)| !now));
    bench.pass(ms(10));
    let now: Vec<LeaseId> = bench.recalls().into_iter().filter(|(_, now)| *now).map(|(lease, _)| lease).collect();
    assert_eq!(now.len(), 4);
    for lease in now {
        bench.give_back(lease);
    }
    assert_eq!(bench.grants().iter().filter(|(_, to, _)| *to == owner(2)).count(), 4);
    bench.pass(ms(5_000));
    assert!(bench.recalls().iter().all(|(_, now)| !now), "half each: nobody takes from the other");
}

/// One CPU cannot be halved: it changes hands, and not more often than each tenth of a second.
#[test]
fn one_cpu_is_shared_in_time() {
    let mut bench = Bench::new(cpus(1));
    bench.tell(Event::RequestLease(ask(owner(1), 1, 1_000)));
    bench.tell(Event::RequestLease(other(1, 1_000)));
    let mut changes: BTreeMap<OwnerId, u32> = BTreeMap::new();
    for _ in 0..2_000 {
        bench.pass(ms(1));
        for (_, to, _) in bench.grants() {
            *changes.entry(to).or_default() += 1;
        }
        for (lease, _) in bench.recalls().into_iter().filter(|(_, now)| *now) {
            bench.give_back(lease);
        }
    }
    assert!(changes.values().all(|count| (8..=10).contains(count)), "{changes:?}");
}

/// ORDER-2: the holder of many small leases yields to who needs the whole node.
#[test]
fn a_request_for_the_whole_node_is_served_beside_a_greedy_owner() {
    let mut bench = Bench::new(cpus(4));
    bench.tell(Event::RequestLease(ask(owner(1), 1, 1_000)));
    bench.tell(Event::RequestLease(LeaseRequest { shape: cpus(4), ..other(1, 1) }));
    let mut served = None;
    for step in 0..2_000 {
        bench.pass(ms(1));
        if bench.grants().iter().any(|(_, to, _)| *to == owner(2)) {
            served = Some(step);
            break;
        }
        for (lease, _) in bench.recalls().into_iter().filter(|(_, now)| *now) {
            bench.give_back(lease);
        }
    }
    assert!(served.is_some_and(|step| step < 1_500), "{served:?}");
}

/// One that was asked to yield and runs for long is not counted on: another yields.
#[test]
fn what_runs_for_long_is_not_waited_for_where_others_can_yield() {
    let mut bench = Bench::new(cpus(2));
    let leases = bench.ask(ask(owner(1), 1, 100));
    bench.tell(Event::RequestLease(other(1, 1)));
    let told = |bench: &mut Bench| -> Vec<LeaseId> {
        bench.recalls().into_iter().filter(|(_, now)| *now).map(|(lease, _)| lease).collect()
    };
    bench.pass(ms(500));
    assert_eq!(told(&mut bench), [leases[0]]);
    bench.pass(ms(400));
    assert!(told(&mut bench).is_empty());
    bench.pass(ms(400));
    assert_eq!(told(&mut bench), [leases[1]]);
}

/// What a task waits for does not yield to its parent's peers.
#[test]
fn a_nested_lease_does_not_yield_to_its_own_job_above() {
    let mut bench = Bench::new(cpus(1));
    let outer = bench.ask(ask(owner(1), 1, 100))[0];
    bench.tell(Event::RequestLease(LeaseRequest { depth: 1, ..ask(owner(3), 1, 100) }));
    bench.tell(Event::Blocked { lease: outer });
    assert_eq!(bench.grants()[0].1, owner(3));
    bench.pass(ms(2_000));
    assert!(bench.recalls().iter().all(|(_, now)| !now));
}

#[test]
fn actors_and_blocked_tasks_are_not_recalled() {
    let mut bench = Bench::new(cpus(2));
    let purpose = actor(1, cpus(1), Host::Dedicated);
    bench.ask(LeaseRequest { purpose, ..ask(owner(1), 1, 1) });
    let lease = bench.ask(ask(owner(1), 2, 1))[0];
    bench.tell(Event::Blocked { lease });
    bench.ask(other(1, 9));
    bench.pass(ms(2_000));
    assert!(bench.recalls().iter().all(|(recalled, _)| *recalled != lease));
    assert_eq!(bench.recalls().len(), 0);
}
