//! Who is served first: ORDER-1 to ORDER-3, and how many of a class may be blocked.

use super::super::*;
use super::harness::*;
use crate::ids::OwnerId;

/// RES-06: freed CPU goes first to what a blocked task waits for.
#[test]
fn deeper_requests_of_a_job_go_first() {
    let mut bench = Bench::new(cpus(1));
    let outer = bench.ask(ask(owner(1), 1, 1_000))[0];
    bench.tell(Event::RequestLease(LeaseRequest { depth: 1, ..ask(owner(2), 1, 1) }));
    bench.tell(Event::Blocked { lease: outer });
    let granted = bench.grants();
    assert_eq!(granted.len(), 1);
    assert_eq!(granted[0].1, owner(2));
}

/// RES-06, whole: a thousand tasks that each wait for one of their own never pile up.
#[test]
fn nested_tasks_do_not_pile_up_blocked() {
    let mut bench = Bench::new(cpus(1));
    let mut outer = bench.ask(ask(owner(0), 1, 1_000));
    let (mut done, mut most) = (0, 0);
    while let Some(lease) = outer.pop() {
        most = most.max(outer.len() + 1);
        bench.tell(Event::RequestLease(LeaseRequest { depth: 1, ..ask(owner(1_000 + done), 1, 1) }));
        bench.tell(Event::Blocked { lease });
        bench.now += ms(1);
        for (lease, to, _) in bench.grants() {
            if to == owner(0) { outer.push(lease) } else { bench.give_back(lease) }
        }
        bench.tell(Event::Unblocked { lease });
        bench.give_back(lease);
        done += 1;
        outer.extend(bench.granted());
    }
    assert_eq!(done, 1_000);
    assert!(most < 20, "{most}");
}

/// Two jobs share from the start, however deep the one that came first nests.
#[test]
fn jobs_share_whoever_came_first() {
    let mut bench = Bench::new(cpus(4));
    let mut held = bench.ask(LeaseRequest { depth: 3, ..ask(owner(1), 1, 100) });
    bench.ask(LeaseRequest { job: job(2), ..ask(owner(2), 1, 100) });
    let mut second = 0;
    for _ in 0..4 {
        bench.give_back(held.remove(0));
        second += bench.grants().iter().filter(|(_, to, _)| *to == owner(2)).count();
    }
    assert!(second >= 2, "{second}");
}

/// ORDER-1 within one pass: what becomes free at once is shared, not taken whole by whoever is first.
#[test]
fn what_is_free_at_once_is_shared() {
    let mut bench = Bench::new(ResourceSet::new());
    for number in 1..4 {
        bench.ask(LeaseRequest { job: job(number), ..ask(owner(number), 1, 100) });
    }
    bench.tell(Event::TotalChanged { total: cpus(9) });
    let mut served: BTreeMap<OwnerId, u32> = BTreeMap::new();
    for (_, to, _) in bench.grants() {
        *served.entry(to).or_default() += 1;
    }
    assert_eq!(served.into_values().collect::<Vec<_>>(), [3, 3, 3]);
}

/// Newcomers without end do not keep who waits from its turn.
#[test]
fn newcomers_do_not_pass_who_waits() {
    let mut bench = Bench::new(cpus(1));
    let mut lease = bench.ask(ask(owner(100), 1, 1))[0];
    let waits = owner(101);
    bench.ask(ask(waits, 1, 2));
    let mut served = 0;
    for number in 1..10 {
        bench.ask(ask(owner(number), 1, 1));
        bench.give_back(lease);
        let (next, to, _) = bench.grants()[0];
        served += usize::from(to == waits);
        lease = next;
    }
    assert_eq!(served, 2);
}

#[test]
fn owners_of_a_job_are_served_in_turn() {
    let mut bench = Bench::new(cpus(1));
    let mut lease = bench.ask(ask(owner(1), 1, 50))[0];
    for number in 2..5 {
        bench.ask(ask(owner(number), 1, 50));
    }
    let mut served: BTreeMap<OwnerId, u32> = BTreeMap::new();
    for _ in 0..40 {
        bench.give_back(lease);
        let (next, to, _) = bench.grants()[0];
        *served.entry(to).or_default() += 1;
        lease = next;
    }
    assert_eq!(served.values().copied().collect::<Vec<_>>(), [10; 4]);
}

/// ORDER-2: a large request is passed over for a while, then reserves.
#[test]
fn a_large_request_neither_blocks_nor_starves() {
    let mut bench = Bench::new(cpus(4));
    let mut small = bench.ask(ask(owner(1), 1, 1_000));
    bench.give_back(small.remove(0));
    small.extend(bench.granted());
    bench.tell(Event::RequestLease(LeaseRequest { shape: cpus(4), ..ask(owner(2), 1, 1) }));
    bench.give_back(small.remove(0));
    small.extend(bench.granted());
    assert_eq!(small.len(), 4, "smaller ones pass at first");
    bench.pass(ms(300));
    assert!(bench.granted().is_empty());
    while let Some(lease) = small.pop() {
        bench.give_back(lease);
    }
    let large: Vec<_> = bench.grants().into_iter().filter(|(_, to, _)| *to == owner(2)).collect();
    assert_eq!(large.len(), 1, "then they leave it what it needs");
    bench.give_back(large[0].0);
    assert_eq!(bench.granted().len(), 4);
}

/// ORDER-2: what never comes back is not waited for at others' cost.
#[test]
fn nothing_is_reserved_against_actors_or_blocked_tasks() {
    let mut bench = Bench::new(set(&[("CPU", 4.0), ("GPU", 1.0)]));
    let purpose = actor(1, cpus(1), Host::Dedicated);
    bench.ask(LeaseRequest { purpose, ..ask(owner(1), 1, 1) });
    let gpu = bench.ask(LeaseRequest { shape: set(&[("GPU", 1.0)]), ..ask(owner(1), 2, 1) })[0];
    bench.tell(Event::Blocked { lease: gpu });
    let mut small = bench.ask(ask(owner(1), 3, 1_000));
    bench.ask(LeaseRequest { shape: cpus(4), ..ask(owner(2), 1, 1) });
    bench.ask(LeaseRequest { shape: set(&[("CPU", 1.0), ("GPU", 1.0)]), ..ask(owner(2), 2, 1) });
    bench.pass(ms(2_000));
    bench.out.clear();
    bench.give_back(small.remove(0));
    assert_eq!(bench.granted().len(), 1);
}

/// ORDER-3: a long task beside a request for the whole node leaves the rest of it to others, and those who are asked to
/// yield in its place do.
#[test]
fn a_long_task_and_a_large_request_do_not_stop_the_node() {
    let mut bench = Bench::new(cpus(4));
    let forever = bench.ask(ask(owner(1), 1, 1))[0];
    bench.ask(LeaseRequest { shape: cpus(4), ..ask(owner(1), 2, 1) });
    bench.pass(ms(500));
    let quick = LeaseRequest { job: job(2), ..ask(owner(2), 1, 1) };
    assert!(bench.ask(quick).is_empty(), "reserved");
    bench.pass(ms(1_000));
    let quick = bench.granted();
    assert_eq!(quick.len(), 1, "what it waits for does not come");
    for id in 2..10 {
        bench.give_back(quick[0]);
        let next = bench.ask(LeaseRequest { job: job(2), ..ask(owner(2), id, 1) });
        assert_eq!(next.len(), 1, "and nobody waits for it again");
        bench.pass(ms(1_000));
        bench.give_back(next[0]);
    }
    bench.give_back(forever);
    bench.pass(ms(500));
    assert_eq!(bench.granted().len(), 1, "when it is over, the large one is served");
}

/// ORDER-3: beside tasks of some seconds that end one by one, a large request is served in the end.
#[test]
fn a_large_request_is_served_beside_tasks_of_seconds() {
    let mut bench = Bench::new(cpus(4));
    let mut ends: BTreeMap<LeaseId, u64> = BTreeMap::new();
    bench.tell(Event::RequestLease(ask(owner(1), 1, 1_000)));
    bench.tell(Event::RequestLease(LeaseRequest { shape: cpus(4), job: job(2), ..ask(owner(2), 1, 1) }));
    let mut served = None;
    for step in 0..60_000 {
        bench.pass(ms(1));
        for (lease, to, _) in bench.grants() {
            if to == owner(2) {
                served.get_or_insert(step);
            }
            // Never two at a time.
            ends.insert(lease, step + 3_000 + 700 * ends.len() as u64);
        }
        let over: Vec<LeaseId> = ends.iter().filter(|(_, end)| **end <= step).map(|(lease, _)| *lease).collect();
        for lease in over {
            ends.remove(&lease);
            bench.give_back(lease);
        }
        if served.is_some() {
            break;
        }
    }
    assert!(served.is_some_and(|step| step < 40_000), "{served:?}");
}

/// ORDER-2: what a task of the same job waits for passes a reservation.
#[test]
fn nested_tasks_pass_a_reservation() {
    let mut bench = Bench::new(cpus(2));
    let mut small = bench.ask(ask(owner(1), 1, 3));
    bench.ask(LeaseRequest { shape: cpus(2), ..ask(owner(2), 1, 1) });
    bench.pass(ms(300));
    bench.give_back(small.remove(0));
    assert!(bench.granted().is_empty(), "reserved");
    assert_eq!(bench.ask(LeaseRequest { depth: 1, ..ask(owner(3), 1, 1) }).len(), 1);
}

/// RES-08.
#[test]
fn tasks_without_cpu_are_not_capped() {
    let mut bench = Bench::new(cpus(1));
    bench.ask(ask(owner(1), 1, 1));
    let idle = bench.ask(LeaseRequest { shape: ResourceSet::new(), ..ask(owner(1), 2, 20) });
    assert_eq!(idle.len(), 20);
}

/// RES-07, RES-09: each further blocked task of a class starts about twice as late as the one before.
#[test]
fn starts_above_the_capacity_come_ever_later() {
    let mut bench = Bench::new(cpus(1));
    bench.tell(Event::RequestLease(ask(owner(1), 1, 20)));
    let mut starts = Vec::new();
    while bench.now < ms(10_000) {
        for lease in bench.granted() {
            starts.push(bench.now);
            bench.tell(Event::Blocked { lease });
        }
        bench.pass(ms(1));
    }
    let gaps: Vec<u128> = starts.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert_eq!(gaps.len(), 7, "{gaps:?}");
    assert!(gaps.windows(2).all(|pair| pair[1].abs_diff(2 * pair[0]) <= 2), "{gaps:?}");
    assert!(matches!(bench.core.explain(owner(1), RequestId(1)), Some(PendingReason::HeldBack { .. })));
}
