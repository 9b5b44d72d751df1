#![allow(clippy::unwrap_used)]

use actinic_transport::NodeId;
use uuid::Uuid;

use super::*;
use crate::api::cluster::Cluster;
use crate::env::sim;
use crate::start::{NodeOptions, Place as StartPlace};

fn place(n: u128) -> Place {
    Place { node: NodeId(Uuid::from_u128(n)), worker: None }
}

/// Runs `test` with some tasks.
fn with_tasks(test: impl FnOnce(Vec<Arc<Task>>) + 'static) {
    sim::run(1, |env| async move {
        let cluster = Cluster::embedded(env.clone(), NodeOptions::default(), None, StartPlace::of(&env)).unwrap();
        let lifeline = || cluster.owner().open_ref(What::Lifeline(ActorId(Uuid::nil())));
        let refs: Vec<_> = (0..20).map(|_| lifeline()).collect();
        test(refs.iter().filter_map(|one| cluster.owner().task(one.id().task.seq)).collect());
    });
}

fn ends(chunk: &Chunk) -> Vec<u64> {
    chunk.events.iter().filter(|event| event.step.is_end()).map(|event| event.seq).collect()
}

/// EVENTS-1, EVENTS-2: what is over the bound is left out and counted; failures have a little more room.
#[test]
fn what_there_is_no_room_for_is_counted() {
    with_tasks(|tasks| {
        let mut recorder = Recorder::default();
        for task in &tasks[..10] {
            recorder.note(task, 0, Duration::ZERO, Note::Finished(None), 8);
        }
        assert!(recorder.note(&tasks[10], 0, Duration::ZERO, Note::Failed(None, "why"), 8));
        assert!(!recorder.note(&tasks[11], 0, Duration::ZERO, Note::Failed(None, "why"), 8));
        assert!(!recorder.note(&tasks[12], 0, Duration::ZERO, Note::Depends, 8));
        let (chunk, dropped) = recorder.give().unwrap();
        assert_eq!((ends(&chunk).len(), dropped), (9, 3), "what goes on is told by its end");
        assert!(recorder.give().is_none() && recorder.is_idle());
    });
}

/// Whatever was told to go on ends, however full it is.
#[test]
fn an_end_is_noted_of_what_was_told_to_go_on() {
    with_tasks(|tasks| {
        let mut recorder = Recorder::default();
        recorder.note(&tasks[0], 0, Duration::ZERO, Note::Runs(place(1)), 2);
        recorder.give().unwrap();
        for task in &tasks[1..4] {
            recorder.note(task, 0, Duration::ZERO, Note::Finished(None), 2);
        }
        assert!(recorder.note(&tasks[0], 0, Duration::ZERO, Note::Finished(None), 2));
        assert!(!recorder.note(&tasks[0], 1, Duration::ZERO, Note::Finished(None), 2));
        let (chunk, dropped) = recorder.give().unwrap();
        assert_eq!((ends(&chunk), dropped), (vec![tasks[1].seq, tasks[2].seq, tasks[0].seq], 2));
    });
}

/// EVENTS-3: chunks are given out in order, and each names what it shares by itself.
#[test]
fn each_chunk_stands_alone() {
    with_tasks(|tasks| {
        let mut recorder = Recorder::default();
        let count = CHUNK + 10;
        for at in 0..count {
            let run = Run { place: place(at as u128 % 3), ended: Duration::from_nanos(at as u64), ns: 1 };
            let task = &tasks[at % 2];
            assert!(recorder.note(task, 0, run.ended, Note::Failed(Some(&run), &"long".repeat(1000)), usize::MAX / 2));
        }
        let mut all = Vec::new();
        while let Some((chunk, _)) = recorder.give() {
            assert!(chunk.events.len() <= CHUNK);
            let bytes: usize = chunk.texts.iter().map(String::len).sum();
            assert!(bytes <= TEXTS_MAX + TEXT_MAX + CHUNK * TEXT_SHORT, "{bytes}");
            for event in &chunk.events {
                let Step::Failed { took: Some(took), text } = event.step else { panic!("{event:?}") };
                assert_eq!(chunk.places[took.place as usize], place(u128::from(event.at) % 3));
                assert!(!chunk.texts[text as usize].is_empty());
                assert!(chunk.kinds.get(event.kind as usize).is_some());
                all.push(event.at);
            }
        }
        assert!(all.into_iter().eq(0..count as u64));
    });
}

#[test]
fn a_text_is_cut_between_letters() {
    assert_eq!(cut("héllo", 2), "h");
    assert_eq!(cut("héllo", 3), "hé");
    assert_eq!(cut("hi", 9), "hi");
}
