//! What is promised while user code holds its thread: the cluster answers all the same.

use std::time::{Duration, Instant};

use actinic::prelude::*;

use crate::support::*;

/// Milliseconds on a quiet machine; what spins never ends by itself, so a late answer is no luck.
const PROMPT: Duration = Duration::from_secs(1);

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

/// Ends at once, or spins until the gate is open.
#[actinic::remote]
fn moody(began: &str, gate: &str, spins: bool) -> bool {
    if spins {
        count_up(began);
        spin(gate);
    }
    spins
}

/// Ends at once, or makes two objects, leaves them on a shelf and spins until the gate is open.
#[actinic::remote]
fn moody_owner(shelf: Handle<Shelf>, began: &str, gate: &str, spins: bool) -> actinic::Result<bool> {
    if spins {
        for size in [10usize, 1_000_000] {
            shelf.leave(vec![actinic::put(&Buffer::from(vec![7u8; size])).blocking()?]);
        }
        count_up(began);
        spin(gate);
    }
    Ok(spins)
}

async fn still_spins(spins: &ObjectRef<bool>) {
    let error = actinic::get(spins).timeout(Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, Error::GetTimeout { .. }), "{error:?}");
}

modes! {
    /// A function that was short a thousand times spins: cancelling what is behind it, or runs elsewhere, is answered
    /// meanwhile, and so is what else is asked of the cluster.
    2 CPUs, async fn cancel_is_answered_while_a_short_function_spins(cluster) {
        let scratch = Scratch::new();
        let (began, gate, running) = (scratch.file("began"), scratch.file("gate"), scratch.file("running"));
        let before: Vec<_> = (0..1000).map(|_| moody::remote(&began, &gate, false)).collect();
        assert!(actinic::get(&before).await?.iter().all(|spun| !spun));
        // Both CPUs are taken, so that what comes last waits behind one of the two.
        let elsewhere = held::remote(&running, &gate, 1);
        until_counted(&running, 1).await;
        let spins = moody::remote(&began, &gate, true);
        let behind: Vec<_> = (0..10).map(|_| moody::remote(&began, &gate, false)).collect();
        until_counted(&began, 1).await;
        for task in &behind {
            let asked = Instant::now();
            actinic::cancel(task).await?;
            let error = actinic::get(task).timeout(SOON).await.unwrap_err();
            assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
            assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
        }
        let asked = Instant::now();
        actinic::cancel(&elsewhere).await?;
        let error = actinic::get(&elsewhere).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
        assert_eq!(cluster.nodes().await?.iter().filter(|node| !node.alive).count(), 0);
        assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
        still_spins(&spins).await;
        open_gate(&gate);
        assert!(spins.await?);
        assert_eq!(counted(&began), 1, "what was cancelled did not run");
    }

    /// What a function made before it spins is read by those that it lent it to, while it spins.
    2 CPUs, async fn borrowers_are_answered_while_their_owner_spins(cluster) {
        let scratch = Scratch::new();
        let (began, gate) = (scratch.file("began"), scratch.file("gate"));
        let shelf = Shelf::remote();
        let before: Vec<_> = (0..1000).map(|_| moody_owner::remote(&shelf, &began, &gate, false)).collect();
        assert!(actinic::get(&before).await?.iter().all(|spun| !spun));
        let spins = moody_owner::remote(&shelf, &began, &gate, true);
        until_counted(&began, 1).await;
        let asked = Instant::now();
        let mut left = shelf.look().await?;
        while left.len() < 2 {
            assert!(asked.elapsed() < SOON, "the refs did not reach the shelf");
            left = shelf.look().await?;
        }
        for (object, size) in left.iter().zip([10, 1_000_000]) {
            let asked = Instant::now();
            let (ready, _) = actinic::wait(std::slice::from_ref(object)).timeout(SOON).await?;
            assert_eq!(ready.len(), 1);
            assert_eq!(actinic::get(object).timeout(SOON).await?.len(), size);
            assert!(asked.elapsed() < PROMPT, "{size} bytes took {:?}", asked.elapsed());
        }
        still_spins(&spins).await;
        open_gate(&gate);
        assert!(spins.await?);
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
        assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
        still_spins(&spins).await;
        let asked = Instant::now();
        actinic::kill(&spinner).await?;
        let error = actinic::get(&spins).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
        assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
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
