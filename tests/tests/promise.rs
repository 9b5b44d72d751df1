//! What is promised while user code holds its thread: the cluster answers all the same.
//!
//! A function spins here for longer than a node may be silent before it is declared dead, so that a node that lives at the
//! end has sent heartbeats meanwhile. `ACTINIC_TEST_SPIN_SECS=30` spins longer, for one test at a time (`... --test all -- answered_while_a_short_function_spins::on_threads`):
//! they take turns, and each has a minute.

use std::time::{Duration, Instant};

use actinic::prelude::*;

use crate::support::*;

/// How long a function spins unless the environment says otherwise. A silent node is declared dead after 5 s.
const SPIN_SECS: u64 = 6;
/// Each question is asked so often meanwhile.
const ROUNDS: usize = 200;
/// What is asked is answered within this time: nine of ten, since a single answer may be late because the machine is busy
/// with other tests. An answer that user code held up would be late by what that spins.
const PROMPT: Duration = Duration::from_millis(100);
/// No answer takes longer. What spins never ends by itself, so a late answer is no luck.
const LATE: Duration = Duration::from_secs(2);

/// Each of these keeps a core busy for seconds.
static SPINNING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn spin_time() -> Duration {
    let said = std::env::var("ACTINIC_TEST_SPIN_SECS").ok();
    Duration::from_secs(said.map_or(SPIN_SECS, |secs| secs.parse().expect("ACTINIC_TEST_SPIN_SECS: whole seconds")))
}

/// How long the answers to one question took.
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

/// Objects that somebody left here.
#[derive(Default)]
pub struct Shelf {
    left: Vec<ObjectRef<Buffer>>,
}

#[actinic::remote(num_cpus = 0)]
impl Shelf {
    pub fn new() -> Self {
        Shelf::default()
    }

    pub fn leave(&mut self, object: Vec<ObjectRef<Buffer>>) {
        self.left.extend(object);
    }

    pub fn look(&self) -> Vec<ObjectRef<Buffer>> {
        self.left.clone()
    }

    pub fn clear(&mut self) {
        self.left.clear();
    }
}

/// Uses its thread up until the gate is open: no sleep, no call into Actinic.
fn spin(gate: &str) {
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

/// Ends at once, or leaves an object for each round on a shelf and spins until the gate is open.
#[actinic::remote]
fn moody(shelf: Handle<Shelf>, began: &str, gate: &str, spins: bool) -> actinic::Result<bool> {
    if spins {
        let put = |round| actinic::put(&Buffer::from(vec![7u8; size_of(round)])).blocking();
        shelf.leave((0..ROUNDS).map(put).collect::<actinic::Result<Vec<_>>>()?).blocking()?;
        count_up(began);
        spin(gate);
    }
    Ok(spins)
}

async fn still_spins(spins: &ObjectRef<bool>) {
    let error = actinic::get(spins).timeout(Duration::ZERO).await.unwrap_err();
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

modes! {
    /// A function that was short a thousand times spins. Again and again meanwhile: a task behind it is cancelled, an
    /// object that it owns is read, the nodes' raylets are asked how they stand, by the messages' thread that heartbeats are
    /// sent and answered on; and all nodes live.
    2 CPUs, async fn all_is_answered_while_a_short_function_spins(cluster) {
        let _alone = SPINNING.lock().await;
        let scratch = Scratch::new();
        let (began, gate, running) = (scratch.file("began"), scratch.file("gate"), scratch.file("running"));
        let shelf = Shelf::remote();
        let before: Vec<_> = (0..1000).map(|_| moody::remote(&shelf, &began, &gate, false)).collect();
        assert!(actinic::get(&before).await?.iter().all(|spun| !spun));
        // Both CPUs are taken, so that what comes later waits behind one of the two.
        let elsewhere = held::remote(&running, &gate, 1);
        until_counted(&running, 1).await;
        let spins = moody::remote(&shelf, &began, &gate, true);
        until_counted(&began, 1).await;
        let nodes = cluster.nodes().await?.len();
        let (mut cancels, mut reads, mut states) = (Answers::default(), Answers::default(), Answers::default());
        let (start, all) = (Instant::now(), spin_time());
        for (round, object) in shelf.look().await?.into_iter().enumerate() {
            let behind = moody::remote(&shelf, &began, &gate, false);
            let asked = Instant::now();
            cancelled(&behind).await?;
            cancels.took(asked);
            let asked = Instant::now();
            assert_eq!(actinic::get(&object).timeout(SOON).await?.len(), size_of(round));
            reads.took(asked);
            let asked = Instant::now();
            cluster.usage().await?;
            states.took(asked);
            assert_eq!(cluster.nodes().await?.iter().filter(|node| node.alive).count(), nodes, "all nodes live");
            let next = all * (round as u32 + 1) / ROUNDS as u32;
            tokio::time::sleep(next.saturating_sub(start.elapsed())).await;
        }
        assert!(start.elapsed() >= all);
        still_spins(&spins).await;
        cancels.were_prompt("cancel");
        reads.were_prompt("an owner's object");
        states.were_prompt("the nodes' state");
        let asked = Instant::now();
        cancelled(&elsewhere).await?;
        assert!(asked.elapsed() < LATE, "{:?}", asked.elapsed());
        open_gate(&gate);
        assert!(spins.await?);
        assert_eq!(counted(&began), 1, "what was cancelled did not run");
        shelf.clear().await?;
    }

    /// An actor's call that spins holds up neither its owner's other work nor the actor's end.
    2 CPUs, async fn an_actor_is_killed_while_its_call_spins(cluster) {
        let scratch = Scratch::new();
        let (began, gate) = (scratch.file("began"), scratch.file("gate"));
        let spinner = Spinner::remote();
        let before: Vec<_> = (0..1000).map(|_| spinner.turn(&began, &gate, false)).collect();
        assert!(actinic::get(&before).await?.iter().all(|spun| !spun));
        let (spins, behind) = (spinner.turn(&began, &gate, true), spinner.turn(&began, &gate, false));
        until_counted(&began, 1).await;
        let asked = Instant::now();
        actinic::cancel(&behind).await?;
        let error = actinic::get(&behind).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
        assert_eq!(echo::remote(1).await?, 1);
        assert!(asked.elapsed() < LATE, "{:?}", asked.elapsed());
        still_spins(&spins).await;
        let asked = Instant::now();
        actinic::kill(&spinner).await?;
        let error = actinic::get(&spins).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
        assert!(asked.elapsed() < LATE, "{:?}", asked.elapsed());
        assert!(!std::path::Path::new(&gate).exists());
        open_gate(&gate);
    }
}

pub struct Spinner;

#[actinic::remote]
impl Spinner {
    pub fn new() -> Self {
        Spinner
    }

    pub fn turn(&mut self, began: String, gate: String, spins: bool) -> bool {
        if spins {
            count_up(&began);
            spin(&gate);
        }
        spins
    }
}
