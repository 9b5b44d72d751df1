//! Cases over several nodes, with owners that keep the rules.

use std::time::Duration;

use super::super::*;
use super::harness::*;
use super::model::Model;

fn tasks(count: usize, each: Duration) -> impl Iterator<Item = Duration> {
    std::iter::repeat_n(each, count)
}

/// SCH-01.
#[test]
fn all_nodes_share_many_tasks() {
    for (count, least) in [(100, 10), (1_000, 100)] {
        let mut model = Model::new(&[cpus(7), cpus(7), cpus(7)]);
        model.submit(ask(owner(1), 0, 0), tasks(count, ms(100)));
        model.run_until(ms(60_000));
        let ran = model.ran(owner(1));
        assert!(ran.iter().all(|ran| *ran >= least), "{ran:?}");
        let finished = model.drivers[&owner(1)].finished - ms(50);
        let ideal = ms(100) * u32::try_from(count.div_ceil(21)).expect("few");
        assert!(finished <= ideal + ms(50), "{finished:?} of {ideal:?}");
        model.assert_all_done(count);
    }
}

/// SCH-02: each node has the input after a while, and each does its part.
#[test]
fn a_common_input_does_not_pin_all_work_to_one_node() {
    let mut model = Model::new(&[cpus(1), cpus(1), cpus(1)]);
    let locality = vec![(node(1), 8 << 20)];
    model.submit(LeaseRequest { locality, ..ask(owner(1), 0, 0) }, tasks(100, ms(10)));
    model.run_until(ms(60_000));
    let ran = model.ran(owner(1));
    assert!(ran.iter().all(|ran| *ran >= 20), "{ran:?}");
    model.assert_all_done(100);
}

/// SCH-04.
#[test]
fn one_at_a_time_tasks_stay_with_their_driver() {
    let mut model = Model::new(&[cpus(8), cpus(8)]);
    for at in 0..20 {
        model.submit(ask(owner(1), 0, 0), tasks(1, ms(5)));
        model.run_until(ms(100 + 10 * at));
    }
    model.run_until(ms(5_000));
    assert_eq!(model.ran(owner(1)), [20, 0]);
    model.assert_all_done(20);
}

/// 200 short SPREAD tasks over two nodes: neither gets more than 55 %.
#[test]
fn spread_tasks_are_shared_evenly() {
    for nodes in [[cpus(4), cpus(4)], [cpus(8), cpus(2)]] {
        let mut model = Model::new(&nodes);
        let template = LeaseRequest { scheduling: Scheduling::Spread, ..ask(owner(1), 0, 0) };
        model.submit(template, tasks(200, ms(0)));
        model.run_until(ms(10_000));
        let ran = model.ran(owner(1));
        assert!(ran.iter().all(|ran| *ran <= 110), "{ran:?}");
        model.assert_all_done(200);
    }
}

/// What was dealt to a small node ends up with those that have room.
#[test]
fn long_spread_tasks_do_not_wait_for_the_smallest_node() {
    let mut model = Model::new(&[cpus(8), cpus(1)]);
    let template = LeaseRequest { scheduling: Scheduling::Spread, ..ask(owner(1), 0, 0) };
    model.submit(template, tasks(90, ms(1_000)));
    model.run_until(ms(60_000));
    let finished = model.drivers[&owner(1)].finished;
    assert!(finished < ms(15_000), "{finished:?}");
    model.assert_all_done(90);
}

/// Two greedy drivers on one node share it, and the sharing costs little.
#[test]
fn greedy_drivers_share_without_thrashing() {
    for nodes in [1, 7, 8] {
        let mut model = Model::new(&[cpus(nodes)]);
        let count = nodes as usize * 400;
        model.submit(ask(owner(1), 0, 0), tasks(count, ms(10)));
        model.submit(LeaseRequest { job: job(2), ..ask(owner(2), 0, 0) }, tasks(count, ms(10)));
        model.run_until(ms(4_050));
        let ran: Vec<usize> = [owner(1), owner(2)].iter().map(|owner| model.ran(*owner)[0]).collect();
        assert!(ran.iter().sum::<usize>() > count * 9 / 10, "nobody waits in vain: {ran:?}");
        assert!(ran.iter().all(|ran| *ran > count * 4 / 10), "{nodes} CPUs: {ran:?}");
        assert!(model.recalls < 200, "{}", model.recalls);
        model.run_until(ms(60_000));
        model.assert_all_done(2 * count);
    }
}

/// A driver without CPUs of its own.
#[test]
fn a_node_without_cpus_sends_everything_on() {
    let mut model = Model::new(&[ResourceSet::new(), cpus(2), cpus(2)]);
    model.submit(ask(owner(1), 0, 0), tasks(100, ms(20)));
    model.run_until(ms(20_000));
    let ran = model.ran(owner(1));
    assert!(ran[0] == 0 && ran[1] >= 40 && ran[2] >= 40, "{ran:?}");
    model.assert_all_done(100);
}

/// Leases are reused: a task costs no message to a raylet.
#[test]
fn many_tasks_take_few_messages() {
    let mut model = Model::new(&[cpus(4)]);
    model.submit(ask(owner(1), 0, 0), tasks(10, ms(1)));
    model.run_until(ms(200));
    let before = model.core_granted();
    model.submit(ask(owner(1), 0, 0), tasks(100, ms(1)));
    model.run_until(ms(5_000));
    assert!(model.core_granted() - before <= 4);
    model.assert_all_done(110);
}

impl Model {
    fn core_granted(&self) -> u64 {
        self.cores.values().map(|core| core.granted).sum()
    }
}
