//! Where leases go: PLACE-1 to PLACE-5, affinity, SPREAD.

use super::super::*;
use super::harness::*;

/// SCH-04.
#[test]
fn one_at_a_time_stays_on_the_drivers_node() {
    let mut bench = Bench::new(cpus(8));
    bench.peer(2, cpus(8));
    for id in 0..20 {
        let lease = bench.ask(ask(owner(1), id, 1));
        assert_eq!(lease.len(), 1);
        bench.give_back(lease[0]);
    }
}

/// PLACE-1: half here, half of each other, then evenly; what no node has room for waits here.
#[test]
fn packs_to_half_then_spreads() {
    let mut bench = Bench::new(cpus(7));
    bench.peer(2, cpus(7));
    bench.peer(3, cpus(7));
    assert_eq!(bench.ask(ask(owner(1), 1, 5)).len(), 3);
    assert_eq!(bench.spills(), [(node(2), 2)]);
    assert_eq!(bench.ask(ask(owner(1), 2, 95)).len(), 4);
    assert_eq!(bench.spills(), [(node(2), 5), (node(3), 7)]);
    assert_eq!(bench.core.snapshot().queue[0].waiting, 95 - 4 - 12);
}

/// SCH-23: available under half in fixed order, then least used, then merely feasible; never draining.
#[test]
fn prefers_under_half_then_least_used_then_feasible_and_never_draining() {
    let nodes = |views: &[(u128, u32, bool)]| {
        let mut bench = Bench::new(ResourceSet::new());
        for (number, available, draining) in views {
            let view = View { total: cpus(10), available: cpus(*available), queued: 0, draining: *draining };
            bench.tell(Event::NodeViews { views: vec![(node(*number), view)] });
        }
        bench.ask(ask(owner(1), 1, 1));
        bench.spills()
    };
    assert_eq!(nodes(&[(2, 10, true), (3, 0, false), (4, 4, false), (5, 8, false), (6, 9, false)]), [(node(5), 1)]);
    assert_eq!(nodes(&[(2, 10, true), (3, 0, false), (4, 4, false), (5, 5, false)]), [(node(5), 1)]);
    assert_eq!(nodes(&[(2, 10, true), (3, 0, false)]), [(node(3), 1)]);
    assert_eq!(nodes(&[(2, 10, true)]), []);
}

/// SCH-06.
#[test]
fn runs_where_its_arguments_are() {
    let mut bench = Bench::new(cpus(4));
    bench.peer_with(2, cpus(4), cpus(1));
    bench.ask(LeaseRequest { locality: vec![(node(1), 10), (node(2), 8 << 20)], ..ask(owner(1), 1, 1) });
    assert_eq!(bench.spills(), [(node(2), 1)]);
}

/// PLACE-6: a lease that may be idle holds what it lacks where its arguments lie, and it goes there all the same; but no more
/// than that node could run.
#[test]
fn goes_where_its_arguments_are_though_that_node_looks_busy() {
    let near = |id, backlog| LeaseRequest { locality: vec![(node(2), 8 << 20)], ..ask(owner(1), id, backlog) };
    let mut bench = Bench::new(cpus(4));
    bench.peer_with(2, cpus(1), ResourceSet::new());
    assert_eq!(bench.ask(near(1, 2)).len(), 1, "what it could not run beside the first stays");
    assert_eq!(bench.spills(), [(node(2), 1)]);
    assert_eq!(bench.ask(LeaseRequest { spilled: 1, ..near(2, 1) }).len(), 1, "sent here by whoever knew better");
    assert_eq!(bench.spills(), []);
}

/// PLACE-6: there idle leases are recalled; one that does not come back soon runs something, and it goes on.
#[test]
fn waits_a_moment_for_an_idle_lease_where_its_arguments_are() {
    let near = |id| LeaseRequest { spilled: 1, locality: vec![(node(1), 8 << 20)], ..ask(owner(1), id, 1) };
    let mut bench = Bench::new(set(&[("CPU", 1.0), ("pin", 1.0)]));
    bench.peer(2, cpus(1));
    let idle = bench.ask(LeaseRequest { shape: set(&[("CPU", 1.0), ("pin", 1.0)]), ..ask(owner(1), 1, 1) });
    assert!(bench.ask(near(2)).is_empty());
    assert_eq!(bench.recalls(), [(idle[0], false)]);
    assert_eq!(bench.spills(), []);
    bench.pass(ms(5));
    bench.give_back(idle[0]);
    assert_eq!(bench.granted().len(), 1);
    // That one runs a long task.
    assert!(bench.ask(LeaseRequest { from: owner(2), ..near(3) }).is_empty());
    bench.pass(ms(19));
    assert_eq!(bench.spills(), []);
    bench.pass(ms(2));
    assert_eq!(bench.spills(), [(node(2), 1)]);
}

/// SCH-02: a common argument does not pin all work to one node.
#[test]
fn a_common_argument_does_not_pin_all_work() {
    let mut bench = Bench::new(cpus(1));
    bench.peer(2, cpus(1));
    bench.peer(3, cpus(1));
    let here = bench.ask(LeaseRequest { locality: vec![(node(1), 8 << 20)], ..ask(owner(1), 1, 100) });
    assert_eq!(here.len(), 1);
    assert_eq!(bench.spills(), [(node(2), 1), (node(3), 1)]);
}

/// PLACE-2.
#[test]
fn work_without_gpus_avoids_nodes_with_gpus() {
    let mut bench = Bench::new(set(&[("CPU", 8.0), ("GPU", 1.0)]));
    bench.peer(2, cpus(1));
    assert!(bench.ask(ask(owner(1), 1, 1)).is_empty());
    assert_eq!(bench.spills(), [(node(2), 1)]);
    assert_eq!(bench.ask(ask(owner(1), 2, 1)).len(), 1, "unless no other has room");
    assert_eq!(bench.ask(LeaseRequest { shape: set(&[("GPU", 0.5)]), ..ask(owner(1), 3, 1) }).len(), 1);
}

/// PLACE-4: what was sent here is run here if it can be, and sent on only so often.
#[test]
fn what_was_sent_on_does_not_ping_pong() {
    for (spilled, elsewhere) in [(1, 1), (2, 0)] {
        let mut bench = Bench::new(cpus(2));
        bench.peer(2, cpus(64));
        let sent = bench.ask(LeaseRequest { spilled, ..ask(owner(1), 1, 3) });
        assert_eq!(sent.len(), 2, "above half, and yet here");
        assert_eq!(bench.spills().iter().map(|(_, count)| count).sum::<u32>(), elsewhere);
    }
    let mut bench = Bench::new(cpus(1));
    bench.peer(2, cpus(8));
    bench.ask(LeaseRequest { spilled: 5, shape: cpus(4), ..ask(owner(1), 1, 1) });
    assert_eq!(bench.spills(), [(node(2), 1)], "what can never run here goes on");
    bench.ask(LeaseRequest { spilled: 8, shape: cpus(4), ..ask(owner(1), 2, 1) });
    assert_eq!(bench.spills(), [], "but not for ever");
}

/// PLACE-4: what was sent on as often as it may be does not wait behind a long task while another node is free.
#[test]
fn what_was_sent_on_and_has_waited_goes_on() {
    let mut bench = Bench::new(cpus(1));
    bench.peer_with(2, cpus(1), ResourceSet::new());
    bench.ask(ask(owner(1), 1, 1));
    bench.ask(LeaseRequest { spilled: 2, ..ask(owner(2), 1, 1) });
    bench.pass(ms(500));
    bench.peer(2, cpus(1));
    assert_eq!(bench.spills(), []);
    bench.pass(ms(600));
    let spill = |action: &Action| matches!(action, Action::Spill { spilled: 3, count: 1, .. });
    assert_eq!(bench.count(spill), 1);
    assert!(bench.core.queue.is_empty());
    bench.ask(LeaseRequest { spilled: 8, ..ask(owner(2), 2, 1) });
    bench.pass(ms(2_000));
    assert_eq!(bench.count(|action| matches!(action, Action::Spill { spilled: 8, .. })), 1, "but not in haste");
}

/// PLACE-1: what this node cannot run beside its actors waits where tasks alone are in its way, if there is such a node.
#[test]
fn a_large_request_does_not_wait_for_an_actors_end() {
    let large = |id| LeaseRequest { shape: cpus(4), ..ask(owner(1), id, 1) };
    let mut bench = Bench::new(cpus(4));
    let purpose = actor(1, cpus(1), Host::Dedicated);
    let lives = bench.ask(LeaseRequest { purpose, ..ask(owner(1), 1, 1) })[0];
    bench.ask(large(2));
    bench.pass(ms(2_000));
    assert!(bench.refused().is_empty() && bench.count(|action| matches!(action, Action::Infeasible { .. })) == 0);
    bench.peer_with(2, cpus(8), cpus(2));
    assert_eq!(bench.spills(), [(node(2), 1)]);
    bench.ask(LeaseRequest { spilled: 2, ..large(3) });
    bench.pass(ms(2_000));
    assert_eq!(bench.spills(), [], "the others' actors are not known");
    bench.give_back(lives);
    assert_eq!(bench.granted().len(), 1);
    bench.ask(large(4));
    assert_eq!(bench.spills(), [], "a task's end is waited for");
}

#[test]
fn what_waits_goes_where_room_appears() {
    let mut bench = Bench::new(cpus(1));
    bench.peer_with(2, cpus(4), ResourceSet::new());
    bench.ask(ask(owner(1), 1, 10));
    assert_eq!(bench.spills(), []);
    bench.peer_with(2, cpus(4), cpus(2));
    assert_eq!(bench.spills(), [(node(2), 2)]);
}

/// PLACE-5: a view that cannot know of what was just sent does not bring more.
#[test]
fn a_late_view_does_not_pile_everything_on_one_node() {
    let mut bench = Bench::new(ResourceSet::new());
    bench.peer(2, cpus(2));
    bench.peer(3, cpus(2));
    let mut sent = BTreeMap::<NodeId, u32>::new();
    for id in 0..4 {
        bench.ask(ask(owner(1), id, 1));
        for (node, count) in bench.spills() {
            *sent.entry(node).or_default() += count;
        }
        bench.now += ms(1);
        bench.peer(2, cpus(2));
    }
    assert_eq!(sent.values().copied().collect::<Vec<_>>(), [2, 2]);
    bench.pass(ms(2_000));
    bench.ask(ask(owner(1), 9, 1));
    assert_eq!(bench.spills().len(), 1, "what never arrived is forgotten");
}

/// PLACE-5: views are gathered on their way, twice; once one has come and there was time for that, what it says holds.
#[test]
fn a_view_is_believed_once_it_can_know() {
    let mut bench = Bench::new(ResourceSet::new());
    bench.peer(2, cpus(1));
    bench.ask(ask(owner(1), 1, 1));
    assert_eq!(bench.spills(), [(node(2), 1)]);
    bench.now += ms(30);
    bench.peer(2, cpus(1));
    bench.peer_with(3, cpus(8), cpus(1));
    bench.ask(ask(owner(1), 2, 1));
    assert_eq!(bench.spills(), [(node(3), 1)], "it may not know yet");
    bench.peer_with(3, cpus(8), ResourceSet::new());
    bench.pass(ms(30));
    bench.ask(ask(owner(1), 3, 1));
    assert_eq!(bench.spills(), [(node(2), 1)], "it knew, and has room again");
}

/// SCH-11.
#[test]
fn hard_affinity_goes_there_or_nowhere() {
    let to = |node, soft| Scheduling::NodeAffinity { node, soft };
    let mut bench = Bench::new(cpus(1));
    bench.peer_with(2, cpus(1), ResourceSet::new());
    assert_eq!(bench.ask(LeaseRequest { scheduling: to(node(1), false), ..ask(owner(1), 1, 1) }).len(), 1);
    assert!(bench.ask(LeaseRequest { scheduling: to(node(1), false), ..ask(owner(1), 2, 1) }).is_empty());
    assert!(bench.refused().is_empty(), "busy is waited for");
    bench.ask(LeaseRequest { scheduling: to(node(2), false), ..ask(owner(1), 3, 5) });
    assert_eq!(bench.spills(), [(node(2), 5)]);
    for (id, target) in [(4, node(1)), (5, node(2))] {
        bench.ask(LeaseRequest { shape: cpus(2), scheduling: to(target, false), ..ask(owner(1), id, 1) });
        assert!(matches!(bench.refused()[..], [RefuseReason::NodeTooSmall { .. }]), "at once");
    }
    bench.tell(Event::NodeLost { node: node(2) });
    bench.ask(LeaseRequest { scheduling: to(node(2), false), ..ask(owner(1), 6, 1) });
    assert_eq!(bench.refused(), [&RefuseReason::NodeGone { node: node(2) }], "at once");
    bench.ask(LeaseRequest { scheduling: to(node(9), false), ..ask(owner(1), 7, 1) });
    bench.pass(ms(100));
    assert_eq!(bench.refused(), [&RefuseReason::NodeGone { node: node(9) }], "unless word of it comes soon");
}

/// A lease where its owner cannot reach is of no use: it goes elsewhere, or waits, and what must go there is refused.
#[test]
fn nothing_goes_where_its_owner_cannot_reach() {
    let apart = |id| LeaseRequest { avoids: vec![node(2)], ..ask(owner(1), id, 1) };
    let mut bench = Bench::new(ResourceSet::new());
    bench.peer(2, cpus(1));
    bench.ask(apart(1));
    bench.ask(LeaseRequest { scheduling: Scheduling::Spread, ..apart(2) });
    assert!(bench.spills().is_empty());
    bench.ask(LeaseRequest { scheduling: Scheduling::NodeAffinity { node: node(2), soft: false }, ..apart(3) });
    assert_eq!(bench.refused(), [&RefuseReason::NodeOutOfReach { node: node(2) }]);
    bench.peer(3, cpus(2));
    assert_eq!(bench.spills(), [(node(3), 1), (node(3), 1)]);
    bench.ask(LeaseRequest { shape: cpus(1), ..ask(owner(2), 1, 1) });
    assert_eq!(bench.spills(), [(node(2), 1)], "others may go there");
}

#[test]
fn affinity_waits_for_word_of_a_new_node() {
    let mut bench = Bench::new(cpus(1));
    let scheduling = Scheduling::NodeAffinity { node: node(2), soft: false };
    bench.ask(LeaseRequest { scheduling, ..ask(owner(1), 1, 1) });
    assert_eq!(bench.core.explain(owner(1), RequestId(1)), Some(PendingReason::UnknownNode { node: node(2) }));
    bench.peer(2, cpus(1));
    assert_eq!(bench.spills(), [(node(2), 1)]);
}

/// SCH-13.
#[test]
fn soft_affinity_goes_elsewhere_rather_than_nowhere() {
    let mut bench = Bench::new(cpus(1));
    bench.peer(2, cpus(1));
    bench.tell(Event::NodeLost { node: node(2) });
    let scheduling = Scheduling::NodeAffinity { node: node(2), soft: true };
    assert_eq!(bench.ask(LeaseRequest { scheduling, ..ask(owner(1), 1, 1) }).len(), 1);
}

#[test]
fn spread_deals_in_turn_and_the_rest_in_equal_parts() {
    let mut bench = Bench::new(cpus(4));
    bench.peer(2, cpus(4));
    let here = bench.ask(LeaseRequest { scheduling: Scheduling::Spread, ..ask(owner(1), 1, 200) });
    assert_eq!(here.len(), 4);
    assert_eq!(bench.spills(), [(node(2), 100)]);
    assert_eq!(bench.core.snapshot().queue[0].waiting, 96);
}

#[test]
fn spread_deals_single_leases_in_turn() {
    let mut bench = Bench::new(cpus(8));
    bench.peer(2, cpus(8));
    let mut here = 0;
    for id in 0..8 {
        here += bench.ask(LeaseRequest { scheduling: Scheduling::Spread, ..ask(owner(1), id, 1) }).len();
    }
    assert_eq!(here, 4);
}

#[test]
fn a_dealt_part_that_gets_nothing_goes_to_whoever_has_room() {
    let mut bench = Bench::new(cpus(1));
    bench.ask(ask(owner(2), 1, 1));
    bench.ask(LeaseRequest { scheduling: Scheduling::Spread, spilled: 1, ..ask(owner(1), 1, 3) });
    bench.pass(ms(150));
    bench.peer(2, cpus(2));
    assert_eq!(bench.spills(), []);
    bench.pass(ms(60));
    assert_eq!(bench.spills().iter().map(|(_, count)| count).sum::<u32>(), 1, "one at a time");
}

/// PLACE-3.
#[test]
fn a_draining_node_takes_nothing_new_and_hands_on_what_waits() {
    let mut bench = Bench::new(cpus(1));
    let lease = bench.ask(ask(owner(1), 1, 3))[0];
    bench.tell(Event::Drain);
    bench.give_back(lease);
    assert!(bench.granted().is_empty());
    bench.peer(2, cpus(1));
    assert_eq!(bench.spills().iter().map(|(_, count)| count).sum::<u32>(), 2);
}
