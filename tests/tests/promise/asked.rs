//! What is asked while user code spins: by the tests of `promise`, and by the program that the tests of daemons run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use actinic::NodeId;
use actinic::prelude::*;
use actinic_tests::files::{Scratch, count_up, counted, hold, open_gate, until_counted};
use serde::{Deserialize, Serialize};

/// Each question is asked so often while something spins.
const ROUNDS: usize = 200;
/// A deadline for what takes milliseconds on a quiet machine.
const SOON: Duration = Duration::from_secs(20);
/// What is asked is answered within this time: nine of ten, since a single answer may be late because the machine is busy
/// with other tests. An answer that user code held up would be late by what that spins.
const PROMPT: Duration = Duration::from_millis(100);
/// No answer takes longer. What spins never ends by itself, so a late answer is no luck.
pub(crate) const LATE: Duration = Duration::from_secs(2);
/// A raylet tells the GCS so often that its node lives.
const BEAT: Duration = Duration::from_secs(1);
/// Among rounds in which nothing else is said of a node there is one with a heartbeat at least that old.
const SEEN: Duration = Duration::from_millis(150);

/// As long as a test says, unless the environment says otherwise.
pub(crate) fn spin_time(secs: u64) -> Duration {
    let said = std::env::var("ACTINIC_TEST_SPIN_SECS").ok();
    Duration::from_secs(said.map_or(secs, |secs| secs.parse().expect("ACTINIC_TEST_SPIN_SECS: whole seconds")))
}

/// How long the answers to one question took, or how late what comes by itself was.
#[derive(Default)]
struct Answers(Vec<Duration>);

impl Answers {
    fn took(&mut self, asked: Instant) {
        self.0.push(asked.elapsed());
    }

    fn were_prompt(mut self, question: &str) {
        self.0.sort();
        let (most, last) = (self.0[self.0.len() * 9 / 10], self.0[self.0.len() - 1]);
        let late = self.0.iter().filter(|time| **time > PROMPT).count();
        println!("{question}: {} answers, nine of ten within {most:?}, {late} late, the last {last:?}", self.0.len());
        assert!(most <= PROMPT && last <= LATE, "{question}: nine of ten within {most:?}, the last {last:?}");
    }
}

/// A node, and a process on it.
pub(crate) type Place = (NodeId, u32);

fn here() -> Place {
    (actinic::context().node_id(), std::process::id())
}

/// Objects that somebody left here, and where that runs.
#[derive(Default)]
pub struct Shelf {
    left: Vec<ObjectRef<Buffer>>,
    by: Option<Place>,
}

#[actinic::remote(num_cpus = 0)]
impl Shelf {
    pub fn new() -> Self {
        Shelf::default()
    }

    pub fn leave(&mut self, objects: Vec<ObjectRef<Buffer>>, by: Place) {
        (self.left, self.by) = (objects, Some(by));
    }

    pub fn look(&self) -> (Vec<ObjectRef<Buffer>>, Option<Place>) {
        (self.left.clone(), self.by)
    }

    pub fn clear(&mut self) {
        self.left.clear();
    }
}

/// Uses its thread up until the gate is open: no sleep, no call into Actinic.
pub(crate) fn spin(gate: &str) {
    let gate = std::path::Path::new(gate);
    while !gate.exists() && gate.parent().is_some_and(std::path::Path::exists) {
        for _ in 0..10_000 {
            std::hint::spin_loop();
        }
    }
}

/// The size of the object that is read in a round: some are too large for a message.
fn size_of(round: usize) -> usize {
    if round.is_multiple_of(20) { 1_000_000 } else { 10 }
}

/// Puts the object of a round.
fn object_of(round: usize) -> Buffer {
    Buffer::from(vec![7u8; size_of(round)])
}

/// What a call needs that may spin: where it leaves objects, and its files.
#[derive(Clone, Serialize, Deserialize)]
pub struct Mood {
    shelf: Handle<Shelf>,
    began: String,
    gate: String,
}

impl Mood {
    fn spin(&self) {
        count_up(&self.began);
        spin(&self.gate);
    }

    /// Leaves an object for each round on the shelf, and spins. It waits for no ref before, since an async task that did
    /// would hold no CPU any more.
    async fn leave_and_spin(&self) -> actinic::Result<()> {
        let mut objects = Vec::new();
        for round in 0..ROUNDS {
            objects.push(actinic::put(&object_of(round)).await?);
        }
        let left = self.shelf.leave(objects, here());
        self.spin();
        left.await
    }
}

/// Ends at once, or leaves objects and spins until the gate is open.
#[actinic::remote]
pub(crate) fn moody(mood: Mood, spins: bool) -> actinic::Result<bool> {
    if spins {
        let put = |round| actinic::put(&object_of(round)).blocking();
        mood.shelf.leave((0..ROUNDS).map(put).collect::<actinic::Result<Vec<_>>>()?, here()).blocking()?;
        mood.spin();
    }
    Ok(spins)
}

/// The same on the runtime of async tasks, which it leaves no chance.
#[actinic::remote]
pub(crate) async fn moody_async(mood: Mood, spins: bool) -> actinic::Result<bool> {
    if spins {
        mood.leave_and_spin().await?;
    }
    Ok(spins)
}

/// The same as an actor, whose other calls wait behind the one that spins.
pub struct Moody;

#[actinic::remote]
impl Moody {
    pub fn new() -> Self {
        Moody
    }

    pub async fn turn(&self, mood: Mood, spins: bool) -> actinic::Result<bool> {
        if spins {
            mood.leave_and_spin().await?;
        }
        Ok(spins)
    }
}

pub(crate) async fn still_spins(spins: &ObjectRef<bool>) {
    let error = actinic::get(spins).timeout(Duration::ZERO).await.expect_err("it spins");
    assert!(matches!(error, Error::GetTimeout { .. }), "{error:?}");
}

/// Cancels a task that waits, or runs beside what spins.
async fn cancelled<T: serde::de::DeserializeOwned + Send + 'static>(task: &ObjectRef<T>) -> actinic::Result<()> {
    actinic::cancel(task).await?;
    match actinic::get(task).timeout(SOON).await {
        Err(Error::TaskCancelled { .. }) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => panic!("a cancelled task came to a value"),
    }
}

/// What lies on the shelf, once it does.
async fn found(shelf: &Handle<Shelf>) -> actinic::Result<(Vec<ObjectRef<Buffer>>, Place)> {
    let begun = Instant::now();
    loop {
        if let (objects, Some(by)) = actinic::get(&shelf.look()).timeout(SOON).await? {
            return Ok((objects, by));
        }
        assert!(begun.elapsed() < SOON, "nothing lies on the shelf");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Holds a CPU and no core.
#[actinic::remote]
fn holds(running: &str, gate: &str) {
    count_up(running);
    hold(gate);
}

/// The signs of life of all nodes, as the GCS counts them, while nodes have nothing to say but that they live.
#[derive(Default)]
struct Beats {
    /// How old each sign was when it was last seen before the next.
    ages: Vec<Duration>,
    last: BTreeMap<NodeId, Duration>,
    /// How old the oldest was that was seen of each node.
    oldest: BTreeMap<NodeId, Duration>,
}

impl Beats {
    /// Looks at them; all nodes live.
    async fn look(&mut self, cluster: &Cluster, nodes: usize, quiet: bool) -> actinic::Result<()> {
        let now = cluster.nodes().await?;
        assert_eq!(now.iter().filter(|node| node.alive).count(), nodes, "all nodes live");
        for node in now.iter().filter(|node| node.alive && quiet) {
            let oldest = self.oldest.entry(node.id).or_default();
            *oldest = node.heard.max(*oldest);
            match self.last.insert(node.id, node.heard) {
                Some(before) if before > node.heard => self.ages.push(before),
                _ => {}
            }
        }
        Ok(())
    }

    /// They are few: half of them came in time, and none late.
    fn were_prompt(mut self) {
        assert!(self.oldest.values().all(|oldest| *oldest >= SEEN), "heartbeats are what was seen: {:?}", self.oldest);
        // Those that are still awaited.
        self.ages.extend(self.last.values());
        self.ages.sort();
        let late: Vec<Duration> = self.ages.iter().map(|age| age.saturating_sub(BEAT)).collect();
        let (half, last) = (late[late.len() / 2], late[late.len() - 1]);
        println!("a heartbeat, late: {} heartbeats, half of them by {half:?}, the last by {last:?}", late.len());
        assert!(half <= PROMPT && last <= LATE, "heartbeats were late: half by {half:?}, the last by {last:?}");
    }
}

/// What was short a thousand times spins. Again and again meanwhile: a call behind it is cancelled, an object that it owns
/// is read by the driver, the nodes' raylets are asked how they stand, and the GCS when it heard of each. All nodes live.
///
/// In the second half nothing is submitted, so that nodes have nothing to say but that they live.
pub(crate) async fn all_is_answered(
    cluster: &Cluster,
    all: Duration,
    lies: impl Fn(Place, Place) -> bool,
    call: impl Fn(Mood, bool) -> ObjectRef<bool>,
) -> actinic::Result<()> {
    let scratch = Scratch::new();
    let (began, gate, running) = (scratch.file("began"), scratch.file("gate"), scratch.file("running"));
    let shelf = Shelf::remote();
    let mood = Mood { shelf: shelf.clone(), began: began.clone(), gate: gate.clone() };
    let before: Vec<_> = (0..1000).map(|_| call(mood.clone(), false)).collect();
    assert!(actinic::get(&before).await?.iter().all(|spun| !spun));
    // Both CPUs are taken, so that what comes later waits behind one of the two.
    let elsewhere = holds::remote(&running, &gate);
    until_counted(&running, 1).await;
    let spins = call(mood.clone(), true);
    until_counted(&began, 1).await;
    let nodes = cluster.nodes().await?.len();
    let (objects, by) = found(&shelf).await?;
    assert!(lies(by, here()), "the owner is at {by:?}, who reads at {:?}", here());
    let (mut cancels, mut reads, mut states) = (Answers::default(), Answers::default(), Answers::default());
    let (mut beats, start) = (Beats::default(), Instant::now());
    for (round, object) in objects.into_iter().enumerate() {
        let quiet = round >= ROUNDS / 2;
        if !quiet {
            let behind = call(mood.clone(), false);
            let asked = Instant::now();
            cancelled(&behind).await?;
            cancels.took(asked);
        }
        let asked = Instant::now();
        assert_eq!(actinic::get(&object).timeout(SOON).await?.len(), size_of(round));
        reads.took(asked);
        let asked = Instant::now();
        cluster.usage().await?;
        states.took(asked);
        beats.look(cluster, nodes, quiet).await?;
        let next = all * (round as u32 + 1) / ROUNDS as u32;
        tokio::time::sleep(next.saturating_sub(start.elapsed())).await;
    }
    assert!(start.elapsed() >= all);
    still_spins(&spins).await;
    cancels.were_prompt("cancel");
    reads.were_prompt("an owner's object");
    states.were_prompt("the nodes' state");
    beats.were_prompt();
    let asked = Instant::now();
    cancelled(&elsewhere).await?;
    assert!(asked.elapsed() < LATE, "{:?}", asked.elapsed());
    open_gate(&gate);
    assert!(spins.await?);
    assert_eq!(counted(&began), 1, "what was cancelled did not run");
    shelf.clear().await
}
