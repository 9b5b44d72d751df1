//! Credit: how much callers in other processes may have queued at an actor is for the actor's process to say.

use super::*;
use crate::support::{Scratch, count_up, hold, open_gate, until_counted};

const CALLERS: u64 = 12;
/// One caller's calls, and how large each is: together more than twice what an actor takes.
const CALLS: u64 = 250;
const BYTES: usize = 48 << 10;

/// Answers slowly, each caller's calls in their order.
#[derive(Default)]
pub struct Slow {
    next: HashMap<u64, u64>,
}

#[actinic::remote]
impl Slow {
    pub fn new() -> Self {
        Slow::default()
    }

    pub fn hold(&mut self, gate: String) {
        hold(&gate);
    }

    pub fn take(&mut self, caller: u64, index: u64, load: String) -> u64 {
        let next = self.next.entry(caller).or_default();
        assert_eq!(*next, index, "the calls of {caller} run in their order");
        *next += 1;
        if !load.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        index
    }

    /// The memory of its process in bytes: now, and at most.
    pub fn memory(&self) -> (usize, usize) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

/// Makes itself known, waits for the others, and floods the actor: the answers come in order.
#[actinic::remote]
fn flood(slow: Handle<Slow>, caller: u64, files: (String, String, String)) -> actinic::Result<u64> {
    let (known, gate, submitted) = files;
    let first: Vec<_> = (0..100).map(|index| slow.take(caller, index, String::new())).collect();
    actinic::get(&first).blocking()?;
    count_up(&known);
    hold(&gate);
    let all: Vec<_> = (100..100 + CALLS).map(|index| slow.take(caller, index, "x".repeat(BYTES))).collect();
    count_up(&submitted);
    let answers = actinic::get(&all).blocking()?;
    assert_eq!(answers, (100..100 + CALLS).collect::<Vec<_>>());
    Ok(CALLS)
}

/// Many callers in other processes call one slow actor faster than it answers: what waits does so at the callers, and
/// the actor's process holds no more than its budget (64 MiB, of 150 MB that are called).
#[actinic::test(num_cpus = 16, workers = "processes")]
async fn many_callers_cannot_fill_an_actors_process(cluster: TestCluster) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (known, gate, submitted, slow_gate) =
        (scratch.file("known"), scratch.file("gate"), scratch.file("submitted"), scratch.file("slow"));
    let slow = Slow::remote();
    let floods: Vec<_> = (0..CALLERS)
        .map(|caller| flood::remote(&slow, caller, (known.clone(), gate.clone(), submitted.clone())))
        .collect();
    until_counted(&known, CALLERS).await;
    let (before, _) = slow.memory().await?;
    let held = slow.hold(slow_gate.clone());
    open_gate(&gate);
    until_counted(&submitted, CALLERS).await;
    open_gate(&slow_gate);
    held.await?;
    assert_eq!(actinic::get(&floods).await?, vec![CALLS; CALLERS as usize]);
    let (_, most) = slow.memory().await?;
    let grew = (most - before) >> 20;
    assert!(grew < 96, "its process grew by {grew} MiB");
    drop((slow, floods));
    cluster.idle().await
}

/// Calls another, waits for nothing, and is gone.
pub struct Passerby;

#[actinic::remote]
impl Passerby {
    pub fn new() -> Self {
        Passerby
    }

    pub fn calls(&self, other: Handle<Counter>, count: i64) {
        (0..count).for_each(|_| drop(other.add(1)));
    }
}

/// Calls whose caller has ended before their answers came have their places in the window until they come, and no longer.
#[actinic::test(num_cpus = 2)]
async fn calls_of_callers_that_ended_take_no_room(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(2).await?;
    let there = Counter::options().scheduling(Scheduling::on(&node)).remote(0);
    // More than there may be in flight to any actor.
    for _ in 0..4 {
        let passerby = Passerby::options().scheduling(Scheduling::on(cluster.head())).remote();
        let gate = Gate::new();
        let blocked = there.wait_for(gate.path());
        passerby.calls(&there, 4_000).await?;
        Handle::stop(&passerby).await?;
        Handle::closed(&passerby).await?;
        gate.open();
        blocked.await?;
        // What was sent runs; what waited here for room has nobody to run for.
    }
    for _ in 0..200 {
        actinic::get(&there.add(1)).timeout(SOON).await?;
    }
    drop(there);
    cluster.idle().await
}
