//! SCH: on which node what runs, and who waits for whom.

use std::collections::BTreeMap;
use std::time::Duration;

use actinic::prelude::*;
use actinic::testing::{TestCluster, eventually};

use crate::support::*;

/// Within this, what can never run anywhere has failed.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Where it ran, after a while.
#[actinic::remote]
fn nap(millis: u64) -> actinic::NodeId {
    std::thread::sleep(Duration::from_millis(millis));
    actinic::context().node_id()
}

#[actinic::remote]
fn nap_with(bytes: Buffer, millis: u64) -> actinic::NodeId {
    assert!(!bytes.is_empty());
    std::thread::sleep(Duration::from_millis(millis));
    actinic::context().node_id()
}

#[actinic::remote]
fn filled(size: usize) -> Buffer {
    Buffer::from(vec![7u8; size])
}

/// Holds its CPU until it is given its turn.
#[actinic::remote]
fn turn(dir: &str, driver: &str) {
    take_turn(dir, driver);
}

pub struct Resident;

#[actinic::remote]
impl Resident {
    pub fn new() -> Self {
        Resident
    }

    pub fn node(&self) -> actinic::NodeId {
        actinic::context().node_id()
    }
}

/// The id of a node that is of no cluster.
fn nobodys_node() -> actinic::NodeId {
    serde_json::from_str("\"0123456789abcdef0123456789abcdef\"").unwrap()
}

/// Waits until the cluster knows of a node's death.
async fn a_node_is_dead(cluster: &TestCluster) {
    let dead = async || cluster.nodes().await.is_ok_and(|nodes| nodes.iter().any(|node| !node.alive));
    assert!(eventually(SOON, dead).await);
}

fn shares(nodes: Vec<actinic::NodeId>) -> BTreeMap<actinic::NodeId, usize> {
    let mut shares = BTreeMap::new();
    for node in nodes {
        *shares.entry(node).or_default() += 1;
    }
    shares
}

/// SCH-01: enough tasks use all nodes, each for a fair share.
#[actinic::test(num_cpus = 7, timeout = 120)]
async fn tasks_are_balanced_over_nodes(cluster: TestCluster) -> actinic::Result<()> {
    for _ in 0..2 {
        cluster.add_node().num_cpus(7).await?;
    }
    for (tasks, least) in [(100, 10), (1000, 100)] {
        let mut seen = Vec::new();
        for _ in 0..5 {
            let refs: Vec<_> = (0..tasks).map(|_| nap::remote(100)).collect();
            let shares = shares(actinic::get(&refs).await?);
            let fair = shares.len() == 3 && shares.values().all(|share| *share >= least);
            seen.push(shares);
            if fair {
                break;
            }
        }
        let last = seen.last().unwrap();
        assert!(last.len() == 3 && last.values().all(|share| *share >= least), "of {tasks}: {seen:?}");
    }
    cluster.idle().await
}

/// SCH-02: an argument that all tasks have in common does not pin them to the node where it lies.
#[actinic::test(num_cpus = 1, timeout = 120)]
async fn a_common_argument_pins_nobody(cluster: TestCluster) -> actinic::Result<()> {
    for _ in 0..2 {
        cluster.add_node().num_cpus(1).await?;
    }
    let common = actinic::put(&Buffer::from(vec![1u8; 8_000_000])).await?;
    let mut seen = Vec::new();
    for _ in 0..5 {
        let refs: Vec<_> = (0..100).map(|_| nap_with::remote(&common, 10)).collect();
        let shares = shares(actinic::get(&refs).await?);
        drop(refs);
        let fair = shares.len() == 3 && shares.values().all(|share| *share >= 20);
        seen.push(shares);
        if fair {
            drop(common);
            return cluster.idle().await;
        }
    }
    panic!("{seen:?}");
}

/// SCH-04: tasks that come one at a time run where their driver is.
#[actinic::test(num_cpus = 8)]
async fn tasks_one_at_a_time_stay_at_home(cluster: TestCluster) -> actinic::Result<()> {
    let _node = cluster.add_node().num_cpus(8).await?;
    for _ in 0..20 {
        assert_eq!(whereabouts::remote().await?.0, cluster.head().id());
    }
    cluster.idle().await
}

/// SCH-06: a task goes to the node where its large argument lies, although the driver's own is free, and a worker there has
/// just run another and is still leased.
#[actinic::test(num_cpus = 1)]
async fn a_task_goes_where_its_argument_lies(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(2).resource("pin", 1).await?;
    let there = filled::options().resource("pin", 1).remote(1_000_000);
    there.done().await?;
    assert_eq!(whereabouts::remote().await?.0, cluster.head().id());
    assert_eq!(nap_with::remote(&there, 0).await?, node.id());
    drop(there);
    cluster.idle().await
}

/// SCH-06: and though the lease of what made the argument, which is idle now, holds all that is there.
#[actinic::test(num_cpus = 1)]
async fn a_task_goes_where_its_argument_lies_though_an_idle_lease_holds_that_node(
    cluster: TestCluster,
) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).resource("pin", 1).await?;
    for _ in 0..3 {
        let there = filled::options().resource("pin", 1).remote(1_000_000);
        assert_eq!(nap_with::remote(&there, 0).await?, node.id());
    }
    cluster.idle().await
}

/// SCH-11: hard affinity is that node; where that can never be, the task fails at once.
#[actinic::test(num_cpus = 1)]
async fn hard_affinity_is_that_node_or_none(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let gone = cluster.add_node().num_cpus(1).await?;
    gone.kill().await?;
    // Not everybody knows of the death yet.
    let early = nap::options().scheduling(Scheduling::on(&gone)).remote(0);
    let error = actinic::get(&early).timeout(SOON).await.unwrap_err();
    assert!(matches!(error, Error::Infeasible { .. }), "{error:?}");
    drop(early);
    a_node_is_dead(&cluster).await;
    for on in [cluster.head().id(), node.id()] {
        assert_eq!(nap::options().scheduling(Scheduling::on(on)).remote(0).await?, on);
        assert_eq!(Resident::options().scheduling(Scheduling::on(on)).remote().node().await?, on);
    }
    let bad = [
        nap::options().scheduling(Scheduling::on(&gone)).remote(0),
        nap::options().scheduling(Scheduling::on(&node)).num_cpus(99).remote(0),
        nap::options().scheduling(Scheduling::on(&node)).resource("pin", 1).remote(0),
        nap::options().scheduling(Scheduling::on(nobodys_node())).remote(0),
    ];
    for task in bad {
        let error = actinic::get(&task).timeout(AT_ONCE).await.unwrap_err();
        assert!(matches!(error, Error::Infeasible { .. }), "{error:?}");
        assert!(error.to_string().contains("nap"), "it names the task: {error}");
    }
    cluster.idle().await
}

/// SCH-11: an actor that can never live where it must is `Infeasible` at once.
#[actinic::test(num_cpus = 1)]
async fn hard_affinity_of_actors_is_that_node_or_none(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let gone = cluster.add_node().num_cpus(1).await?;
    gone.kill().await?;
    a_node_is_dead(&cluster).await;
    let bad = [
        Resident::options().scheduling(Scheduling::on(&gone)).remote(),
        Resident::options().scheduling(Scheduling::on(&node)).num_cpus(99).remote(),
        Resident::options().resource("nobody has it", 1).on_infeasible("fail").remote(),
        Resident::options().scheduling(Scheduling::on(nobodys_node())).remote(),
    ];
    for actor in &bad {
        let error = actinic::get(&actor.node()).timeout(AT_ONCE).await.unwrap_err();
        assert!(matches!(error.root_cause(), Error::Infeasible { .. }), "{error:?}");
    }
    drop(bad);
    cluster.idle().await
}

/// SCH-11: soft affinity is that node while it lives and is large enough, however busy, and else another.
#[actinic::test(num_cpus = 2)]
async fn soft_affinity_is_that_node_if_it_can_be(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let gone = cluster.add_node().num_cpus(2).await?;
    gone.kill().await?;
    a_node_is_dead(&cluster).await;
    let near = |node: actinic::NodeId| Scheduling::NodeAffinity { node, soft: true };
    let (head, there) = (cluster.head().id(), node.id());
    // Named, how many CPUs are needed, where it runs.
    let places =
        [(head, 1, head), (there, 1, there), (there, 2, head), (gone.id(), 2, head), (nobodys_node(), 2, head)];
    for (named, cpus, expected) in places {
        let task = nap::options().scheduling(near(named)).num_cpus(cpus).remote(0);
        assert_eq!(actinic::get(&task).timeout(SOON).await?, expected, "a task of {cpus} CPUs near {named}");
        let actor = Resident::options().scheduling(near(named)).num_cpus(cpus).remote();
        let place = actor.node();
        assert_eq!(actinic::get(&place).timeout(SOON).await?, expected, "an actor of {cpus} CPUs near {named}");
        drop((task, actor, place));
        cluster.idle().await?;
    }
    // Another node has room, and is not it.
    let scratch = Scratch::new();
    let (running, gate) = (scratch.file("running"), scratch.file("gate"));
    let busy = held::options().scheduling(Scheduling::on(&node)).remote(&running, &gate, 1);
    until_counted(&running, 1).await;
    let task = nap::options().scheduling(near(there)).remote(0);
    // Its handle is dropped: it goes when its call has run, and leaves its CPU to the task.
    let refs = [task, Resident::options().scheduling(near(there)).num_cpus(1).remote().node()];
    let (early, _) = actinic::wait(&refs).timeout(Duration::from_millis(500)).await?;
    assert!(early.is_empty(), "they wait for the node that they prefer");
    drop(early);
    open_gate(&gate);
    assert_eq!(actinic::get(&refs).timeout(SOON).await?, [there; 2]);
    assert_eq!(busy.await?, 1);
    drop(refs);
    cluster.idle().await
}

/// One that is made while every node is busy is bound to none of them: it lives where there is room first.
#[actinic::test(num_cpus = 1)]
async fn an_actor_does_not_wait_for_one_busy_node_while_another_has_room(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let (head, there) = (cluster.head().id(), node.id());
    for (freed, busy) in [(head, there), (there, head)] {
        // Of two busy nodes the one with fewer actors is chosen: not that which has this.
        let resident = Resident::options().scheduling(Scheduling::on(freed)).remote();
        assert_eq!(resident.node().await?, freed);
        let scratch = Scratch::new();
        let (running, soon, late) = (scratch.file("running"), scratch.file("soon"), scratch.file("late"));
        let short = held::options().scheduling(Scheduling::on(freed)).remote(&running, &soon, 1);
        let long = held::options().scheduling(Scheduling::on(busy)).remote(&running, &late, 2);
        until_counted(&running, 2).await;
        let actor = Resident::remote();
        let place = [actor.node()];
        let (early, _) = actinic::wait(&place).timeout(Duration::from_millis(300)).await?;
        assert!(early.is_empty(), "there is no room yet");
        open_gate(&soon);
        assert_eq!(actinic::get(&place).timeout(SOON).await?, [freed]);
        open_gate(&late);
        assert_eq!((short.await?, long.await?), (1, 2));
        drop((resident, actor, place));
        cluster.idle().await?;
    }
    Ok(())
}

/// Asks for what its node cannot run now; what it hears of that.
#[actinic::remote]
fn asks_for_too_much(running: &str, gate: &str) -> actinic::Result<String> {
    let held = [1, 2].map(|id| held::options().num_cpus(2).remote(running, gate, id));
    let said = actinic::get(&held[1]).timeout(Duration::from_millis(500)).blocking().unwrap_err().to_string();
    open_gate(gate);
    assert_eq!(actinic::get(&held).blocking()?, [1, 2]);
    Ok(said)
}

/// A worker process is not told what the nodes have, and says nothing of it.
#[actinic::test(num_cpus = 2, workers = "processes")]
async fn a_worker_process_tells_no_amounts_that_it_does_not_know(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let said = asks_for_too_much::remote(scratch.file("running"), scratch.file("gate")).await?;
    assert!(said.contains("it waits for CPU: 2") && !said.contains("of 0"), "{said}");
    cluster.idle().await
}

/// `Spread` gives each node its half.
#[actinic::test(num_cpus = 4)]
async fn spread_is_even(cluster: TestCluster) -> actinic::Result<()> {
    let _node = cluster.add_node().num_cpus(4).await?;
    let task = nap::options().scheduling(Scheduling::Spread);
    let refs: Vec<_> = (0..200).map(|_| task.clone().remote(20)).collect();
    let shares = shares(actinic::get(&refs).await?);
    assert!(shares.len() == 2 && shares.values().all(|share| *share <= 110), "{shares:?}");
    drop(refs);
    cluster.idle().await
}

/// `Spread` gives each node its half of the shortest tasks too.
#[actinic::test(num_cpus = 4)]
async fn spread_is_even_for_short_tasks(cluster: TestCluster) -> actinic::Result<()> {
    let _node = cluster.add_node().num_cpus(4).await?;
    let task = nap::options().scheduling(Scheduling::Spread);
    let refs: Vec<_> = (0..200).map(|_| task.clone().remote(0)).collect();
    let shares = shares(actinic::get(&refs).await?);
    assert!(shares.len() == 2 && shares.values().all(|share| *share <= 110), "{shares:?}");
    drop(refs);
    cluster.idle().await
}

here! {
    /// Two drivers that want everything get half each, although the first has it all when the second comes.
    2 CPUs, async fn greedy_drivers_share(cluster) {
        const ROUNDS: u64 = 40;
        let scratch = Scratch::new();
        let dir = scratch.dir();
        let other = cluster.driver().await?;
        let mine: Vec<_> = (0..2 * ROUNDS).map(|_| turn::remote(&dir, "mine")).collect();
        let theirs: Vec<_> =
            other.scope(async { (0..2 * ROUNDS).map(|_| turn::remote(&dir, "theirs")).collect() }).await;
        tokio::task::spawn_blocking(move || give_turns(&dir, ["mine", "theirs"], ROUNDS)).await.unwrap();
        actinic::get(&mine).await?;
        actinic::get(&theirs).await?;
        drop((mine, theirs));
        other.shutdown().await?;
    }
}

modes! {
    /// A short task is never put behind a long one, even if both look alike and the long one was short before.
    2 CPUs, async fn short_tasks_do_not_wait_for_long_ones(cluster) {
        let scratch = Scratch::new();
        let (running, shut, open) = (scratch.file("running"), scratch.file("shut"), scratch.file("open"));
        open_gate(&open);
        let before: Vec<_> = (0..1000).map(|n| held::remote(scratch.file("before"), &open, n)).collect();
        actinic::get(&before).await?;
        let long = held::remote(&running, &shut, 0);
        let short: Vec<_> = (1..=100).map(|n| held::remote(scratch.file("after"), &open, n)).collect();
        assert_eq!(actinic::get(&short).timeout(SOON).await?, (1..=100).collect::<Vec<_>>());
        let error = actinic::get(&long).timeout(Duration::ZERO).await.unwrap_err();
        assert!(matches!(error, Error::GetTimeout { .. }), "{error:?}");
        open_gate(&shut);
        assert_eq!(long.await?, 0);
    }
}

modes! {
    /// A long task and a request for the whole node, which waits for its end, leave the rest of the node to others (ORDER-3).
    4 CPUs, async fn a_long_task_beside_a_large_one_does_not_stop_the_node(cluster) {
        let scratch = Scratch::new();
        let (running, shut) = (scratch.file("running"), scratch.file("shut"));
        let long = held::remote(&running, &shut, 7);
        let large = nap::options().num_cpus(4.0).remote(0);
        // It reserves by now.
        tokio::time::sleep(Duration::from_millis(600)).await;
        actinic::get(&nap::remote(1)).timeout(SOON).await?;
        let error = actinic::get(&large).timeout(Duration::ZERO).await.unwrap_err();
        assert!(matches!(error, Error::GetTimeout { .. }), "{error:?}");
        open_gate(&shut);
        assert_eq!(long.await?, 7);
        large.await?;
    }
}

here! {
    /// Many tasks do not keep others out that want the same and are to be placed in another way.
    1 CPUs, async fn many_tasks_do_not_starve_those_placed_otherwise(cluster) {
        let many: Vec<_> = (0..400).map(|_| nap::remote(10)).collect();
        nap::options().scheduling(Scheduling::Spread).remote(1).await?;
        let error = actinic::get(&many[399]).timeout(Duration::ZERO).await.unwrap_err();
        assert!(matches!(error, Error::GetTimeout { .. }), "{error:?}");
        actinic::get(&many).await?;
    }
}

/// Counts that it runs, holds until the gate is open, says where.
#[actinic::remote]
fn held_there(running: &str, gate: &str) -> actinic::NodeId {
    count_up(running);
    hold(gate);
    actinic::context().node_id()
}

/// SCH-13: a task goes on elsewhere when the node dies under it that it prefers.
#[actinic::test(num_cpus = 1)]
async fn soft_affinity_survives_its_node(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let scratch = Scratch::new();
    let (running, gate) = (scratch.file("running"), scratch.file("gate"));
    let near = Scheduling::NodeAffinity { node: node.id(), soft: true };
    let task = held_there::options().scheduling(near).max_retries(-1).remote(&running, &gate);
    until_counted(&running, 1).await;
    node.kill().await?;
    until_counted(&running, 2).await;
    open_gate(&gate);
    assert_eq!(actinic::get(&task).timeout(SOON).await?, cluster.head().id());
    drop(task);
    cluster.idle().await
}

#[actinic::remote]
fn sum_of(values: Vec<ObjectRef<i64>>) -> actinic::Result<i64> {
    Ok(actinic::get(&values).blocking()?.into_iter().sum())
}

modes! {
    /// Those that wait for others do not take the workers that these need, however many were submitted before them.
    2 CPUs, async fn what_running_code_waits_for_comes_first(cluster) {
        let sums: Vec<_> = (0..40).map(|value| sum_of::remote(vec![echo::remote(echo::remote(value))])).collect();
        assert_eq!(actinic::get(&sums).timeout(SOON).await?, (0..40).collect::<Vec<_>>());
    }
}
