//! What is granted, held, lent and given back.

use super::super::*;
use super::harness::*;

/// LEASE-1, LEASE-3: a backlog is granted as far as resources go, then as they come back.
#[test]
fn a_backlog_is_met_as_resources_come_back() {
    let mut bench = Bench::new(cpus(2));
    let first = bench.ask(ask(owner(1), 1, 3));
    assert_eq!(first.len(), 2);
    assert!(bench.available().is_empty());
    bench.give_back(first[0]);
    assert_eq!(bench.granted().len(), 1);
    assert!(bench.core.queue.is_empty(), "met, so it has ended");
}

/// LEASE-3: `open` tells the owner when its request has ended.
#[test]
fn open_counts_down_to_the_end_of_the_request() {
    let mut bench = Bench::new(cpus(4));
    bench.tell(Event::RequestLease(ask(owner(1), 1, 3)));
    let open = |action: &Action| {
        if let Action::Grant { open, .. } = action { Some(*open) } else { None }
    };
    assert_eq!(bench.out.iter().filter_map(open).collect::<Vec<_>>(), [2, 1, 0]);
}

/// RES-01: fractions share a CPU, larger shapes take several.
#[test]
fn peak_concurrency_is_what_fits() {
    for (each, together) in [(0.5, 8), (2.0, 2), (4.0, 1), (0.3, 13)] {
        let mut bench = Bench::new(cpus(4));
        let leases = bench.ask(LeaseRequest { shape: set(&[("CPU", each)]), ..ask(owner(1), 1, 100) });
        assert_eq!(leases.len(), together, "{each}");
    }
}

#[test]
fn a_backlog_can_shrink_and_be_cancelled() {
    let mut bench = Bench::new(cpus(1));
    let lease = bench.ask(ask(owner(1), 1, 10))[0];
    bench.tell(Event::UpdateBacklog { from: owner(1), id: RequestId(1), backlog: 1, heard: u32::MAX });
    assert_eq!(bench.core.snapshot().queue[0].waiting, 1);
    bench.tell(Event::UpdateBacklog { from: owner(1), id: RequestId(1), backlog: 0, heard: u32::MAX });
    bench.give_back(lease);
    assert!(bench.granted().is_empty());
    // Whatever is said of it later is ignored.
    bench.tell(Event::UpdateBacklog { from: owner(1), id: RequestId(1), backlog: 5, heard: u32::MAX });
    assert!(bench.granted().is_empty() && bench.core.queue.is_empty());
}

/// LEASE-4.
#[test]
fn a_lease_ends_once() {
    let mut bench = Bench::new(cpus(1));
    let lease = bench.ask(ask(owner(1), 1, 1))[0];
    bench.give_back(lease);
    bench.give_back(lease);
    bench.tell(Event::Blocked { lease });
    bench.tell(Event::Unblocked { lease });
    bench.tell(Event::ReturnLease { lease: LeaseId { node: node(9), ..lease }, reusable: false });
    assert_eq!(bench.available(), cpus(1));
}

/// RES-04, LEASE-1: a blocked task lends its CPU and nothing else, and takes it back even into debt.
#[test]
fn a_blocked_task_lends_its_cpu_only() {
    let total = set(&[("CPU", 1.0), ("GPU", 1.0)]);
    let mut bench = Bench::new(total.clone());
    let outer = bench.ask(LeaseRequest { shape: total.clone(), ..ask(owner(1), 1, 1) })[0];
    bench.tell(Event::Blocked { lease: outer });
    bench.tell(Event::Blocked { lease: outer });
    assert_eq!(bench.available(), cpus(1));
    let inner = bench.ask(LeaseRequest { depth: 1, ..ask(owner(2), 1, 1) })[0];
    bench.tell(Event::Unblocked { lease: outer });
    assert_eq!(bench.available().cpu().to_f64(), -1.0, "never clipped");
    assert!(bench.ask(ask(owner(3), 1, 1)).is_empty());
    bench.give_back(inner);
    assert!(bench.granted().is_empty(), "the debt is paid first");
    bench.give_back(outer);
    assert_eq!(bench.granted().len(), 1);
    assert_eq!(bench.available(), set(&[("GPU", 1.0)]));
}

#[test]
fn a_lease_returned_while_blocked_gives_back_the_rest() {
    let mut bench = Bench::new(set(&[("CPU", 1.0), ("GPU", 1.0)]));
    let lease = bench.ask(LeaseRequest { shape: set(&[("CPU", 1.0), ("GPU", 1.0)]), ..ask(owner(1), 1, 1) })[0];
    bench.tell(Event::Blocked { lease });
    bench.give_back(lease);
    assert_eq!(bench.available(), bench.core.view().total);
}

/// RES-04: depth 10 on one CPU; each level goes on as soon as it is asked.
#[test]
fn recursion_needs_one_cpu() {
    let mut bench = Bench::new(cpus(1));
    let mut stack = Vec::new();
    for depth in 0..10 {
        let lease = bench.ask(LeaseRequest { depth, ..ask(owner(u128::from(depth)), 1, 1) });
        assert_eq!(lease.len(), 1, "depth {depth}");
        bench.tell(Event::Blocked { lease: lease[0] });
        stack.extend(lease);
    }
    for lease in stack.into_iter().rev() {
        bench.tell(Event::Unblocked { lease });
        bench.give_back(lease);
    }
    assert_eq!(bench.available(), cpus(1));
}

/// RES-14: default actors need a CPU to be placed and hold none; others hold theirs for life.
#[test]
fn actors_hold_what_they_ask_and_default_ones_nothing() {
    let mut bench = Bench::new(cpus(4));
    for number in 0..10 {
        let purpose = actor(number, ResourceSet::new(), Host::Dedicated);
        assert_eq!(bench.ask(LeaseRequest { purpose, ..ask(owner(1), number as u64, 1) }).len(), 1);
    }
    assert_eq!(bench.available(), cpus(4));
    let mut placed = 0;
    for number in 10..20 {
        let purpose = actor(number, cpus(1), Host::Dedicated);
        placed += bench.ask(LeaseRequest { purpose, ..ask(owner(1), number as u64, 1) }).len();
    }
    assert_eq!(placed, 4);
    let purpose = actor(20, ResourceSet::new(), Host::Dedicated);
    let waits = bench.ask(LeaseRequest { purpose, ..ask(owner(1), 20, 1) });
    assert!(waits.is_empty(), "no CPU is free to be placed with");
}

/// RES-16.
#[test]
fn an_actor_that_ends_frees_its_gpu() {
    let mut bench = Bench::new(set(&[("CPU", 1.0), ("GPU", 1.0)]));
    for number in 0..5 {
        let hold = set(&[("GPU", 1.0)]);
        let purpose = actor(number, hold.clone(), Host::Dedicated);
        let lease = bench.ask(LeaseRequest { shape: hold, purpose, ..ask(owner(1), number as u64, 1) });
        assert_eq!(lease.len(), 1);
        bench.tell(Event::ReturnLease { lease: lease[0], reusable: false });
    }
}

/// OWN-07: whatever a driver had ends with it.
#[test]
fn the_dead_hold_nothing() {
    let jobless = |event: Event| {
        let mut bench = Bench::new(cpus(2));
        bench.ask(ask(owner(1), 1, 9));
        bench.tell(event);
        assert_eq!(bench.count(|action| matches!(action, Action::StopWorker { .. })), 2);
        assert_eq!(bench.available(), cpus(2));
        assert_eq!(bench.ask(LeaseRequest { job: job(2), ..ask(owner_on(2, 2), 1, 2) }).len(), 2);
    };
    jobless(Event::OwnerDied { owner: owner(1) });
    jobless(Event::ProcessDied { process: owner(1).process });
    jobless(Event::JobEnded { job: job(1) });
    jobless(Event::NodeLost { node: node(1) });
}

#[test]
fn a_detached_actor_outlives_its_job() {
    let mut bench = Bench::new(cpus(2));
    let detached = |number, id| LeaseRequest {
        purpose: actor(number, cpus(1), Host::Dedicated),
        outlives_job: true,
        ..ask(owner(1), id, 1)
    };
    bench.ask(detached(1, 1));
    bench.tell(Event::JobEnded { job: job(1) });
    assert_eq!(bench.available(), cpus(1));
    assert!(bench.ask(ask(owner(1), 2, 1)).is_empty(), "stragglers of the job start nothing");
    assert_eq!(bench.refused(), [&RefuseReason::JobEnded]);
    assert_eq!(bench.ask(detached(2, 3)).len(), 1, "a restart, or what it makes");
    let lease = LeaseId { node: node(1), number: 1 };
    bench.tell(Event::ReturnLease { lease, reusable: false });
    let task = LeaseRequest { outlives_job: true, ..ask(owner(1), 4, 1) };
    assert_eq!(bench.ask(task).len(), 1, "a task of its");
}

#[test]
fn a_dead_worker_ends_its_lease_and_its_owner_hears_of_it() {
    let mut bench = Bench::new(cpus(1));
    bench.tell(Event::RequestLease(ask(owner(1), 1, 1)));
    let (lease, to, worker) = bench.grants()[0];
    bench.out.clear();
    bench.tell(Event::WorkerDied { worker });
    assert!(bench.out.contains(&Action::LeaseLost { lease, to, worker }));
    assert_eq!(bench.available(), cpus(1));
    assert_eq!(bench.count(|action| matches!(action, Action::StopWorker { .. })), 0);
}

/// RES-20: what the others are told is gathered, and in the end exact.
#[test]
fn changes_of_the_view_are_gathered() {
    let mut bench = Bench::new(cpus(4));
    bench.pass(ms(100));
    bench.out.clear();
    for number in 0..4 {
        bench.tell(Event::RequestLease(ask(owner(1), number, 1)));
    }
    let reports = |bench: &Bench| bench.count(|action| matches!(action, Action::ReportView(_)));
    assert_eq!(reports(&bench), 1);
    bench.pass(ms(20));
    assert_eq!(reports(&bench), 2);
    let last =
        bench.out.iter().rev().find_map(|action| if let Action::ReportView(view) = action { Some(view) } else { None });
    assert_eq!(last, Some(&bench.core.view()));
    assert_eq!(bench.core.amounts().1["CPU"], 0.0);
}

/// RES-11: warned of once, within a second; served when a node can.
#[test]
fn what_no_node_has_waits_and_is_warned_of_once() {
    let mut bench = Bench::new(cpus(1));
    for id in 0..3 {
        assert!(bench.ask(LeaseRequest { shape: set(&[("pin", 1.0)]), ..ask(owner(1), id, 1) }).is_empty());
    }
    bench.pass(ms(5_000));
    assert_eq!(bench.count(|action| matches!(action, Action::Infeasible { first: true, .. })), 1);
    assert_eq!(bench.count(|action| matches!(action, Action::Infeasible { first: false, .. })), 2);
    assert!(bench.refused().is_empty());
    let reason = bench.core.explain(owner(1), RequestId(2)).expect("it waits").to_string();
    assert!(reason.starts_with("needs pin: 1, which no node has"), "{reason}");
    bench.peer(2, set(&[("pin", 8.0)]));
    assert_eq!(bench.spills(), [(node(2), 1); 3]);
    bench.ask(LeaseRequest { shape: set(&[("own", 1.0)]), ..ask(owner(1), 9, 1) });
    bench.tell(Event::TotalChanged { total: set(&[("CPU", 1.0), ("own", 1.0)]) });
    assert_eq!(bench.granted().len(), 1);
}

/// What was asked to fail does, while others that need the same wait.
#[test]
fn what_no_node_has_is_refused_if_it_is_to_fail() {
    let mut bench = Bench::new(cpus(1));
    let pin = |id, fails| LeaseRequest { shape: set(&[("pin", 1.0)]), fails, ..ask(owner(1), id, 1) };
    bench.ask(pin(1, false));
    bench.pass(ms(1_000));
    bench.ask(pin(2, true));
    bench.pass(ms(100));
    assert!(matches!(bench.refused()[..], [RefuseReason::Infeasible { .. }]));
    assert!(bench.core.explain(owner(1), RequestId(1)).is_some());
    assert!(bench.core.explain(owner(1), RequestId(2)).is_none());
}

#[test]
fn less_than_nothing_is_refused() {
    let mut bench = Bench::new(cpus(1));
    let mut shape = ResourceSet::new();
    shape.sub(&cpus(1));
    bench.ask(LeaseRequest { shape, ..ask(owner(1), 1, 1) });
    assert!(matches!(bench.refused()[..], [RefuseReason::NotADemand { .. }]));
}

#[test]
fn a_request_says_what_it_waits_for() {
    let mut bench = Bench::new(cpus(1));
    bench.peer_with(2, cpus(8), ResourceSet::new());
    bench.ask(ask(owner(1), 1, 1));
    bench.ask(LeaseRequest { spilled: 1, ..ask(owner(2), 1, 1) });
    let reason = bench.core.explain(owner(2), RequestId(1)).expect("it waits").to_string();
    assert_eq!(reason, format!("needs CPU: 1; here nothing is free, and most on node {}: nothing", node(2)));
    assert_eq!(bench.core.explain(owner(1), RequestId(1)), None);
}

/// An owner says what it wants as it hears of each lease: those on their way are not granted once more.
#[test]
fn leases_on_their_way_count_as_what_the_owner_will_have() {
    let mut bench = Bench::new(cpus(1));
    assert_eq!(bench.ask(ask(owner(1), 1, 4)).len(), 1, "for want of CPUs the others wait");
    let want = |backlog, heard| Event::UpdateBacklog { from: owner(1), id: RequestId(1), backlog, heard };
    for (backlog, heard, waiting) in [(4, 0, 3), (3, 1, 3), (1, 0, 0), (2, 0, 1)] {
        bench.tell(want(backlog, heard));
        let snapshot = bench.core.snapshot();
        assert_eq!(snapshot.queue.first().map_or(0, |row| row.waiting), waiting, "{backlog} {heard}");
    }
}
