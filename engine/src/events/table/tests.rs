#![allow(clippy::unwrap_used)]

use actinic_transport::{ClusterId, NodeId};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn owner(number: u32) -> OwnerId {
    let id = Uuid::from_u128(7);
    let process = ProcessId { cluster: ClusterId(id), node: NodeId(id), incarnation: id };
    OwnerId { process, number }
}

fn job() -> JobId {
    JobId(Uuid::from_u128(9))
}

fn place() -> Place {
    Place { node: NodeId(Uuid::from_u128(5)), worker: None }
}

fn told(number: u32, events: Vec<(u64, u32, u64, Step)>) -> TaskEvents {
    let event = |(seq, attempt, at, step)| Event { seq, at, attempt, kind: 0, step };
    TaskEvents {
        owner: owner(number),
        job: job(),
        kinds: vec![Kind { name: "f".into(), actor: None }],
        places: vec![place()],
        texts: vec!["why".to_owned()],
        events: events.into_iter().map(event).collect(),
        dropped: 0,
    }
}

const FINISHED: Step = Step::Finished { took: Some(Took { place: 0, ns: 10 }) };

/// Rows are told many together, and each with its text.
#[test]
fn what_is_told_too_long_is_cut() {
    let mut table = TaskTable::new(10);
    let long = "x".repeat(1 << 20);
    let failed = Step::Failed { took: None, text: 0 };
    let told = TaskEvents {
        kinds: vec![Kind { name: long.as_str().into(), actor: None }],
        texts: vec![long],
        ..told(1, vec![(1, 0, 5, failed)])
    };
    table.take(told);
    let rows = table.page(None, 10);
    assert_eq!((rows[0].kind.name.len(), rows[0].text.as_ref().unwrap().len()), (NAME_MAX, TEXT_MAX));
}

#[test]
fn an_attempt_goes_through_its_states() {
    let mut table = TaskTable::new(10);
    table.take(told(1, vec![(4, 0, 100, Step::Waits { text: 0 })]));
    let row = table.page(None, 10).remove(0);
    assert_eq!((row.state, row.since, row.text.as_deref()), (TaskState::PendingNode, 100, Some("why")));
    table.take(told(1, vec![(4, 0, 200, Step::Runs { place: 0 })]));
    let row = table.page(None, 10).remove(0);
    assert_eq!((row.state, row.started, row.text), (TaskState::Running, Some(200), None));
    table.take(told(1, vec![(4, 0, 300, Step::Failed { took: Some(Took { place: 0, ns: 110 }), text: 0 })]));
    table.take(told(1, vec![(4, 1, 400, FINISHED)]));
    let rows = table.page(None, 10);
    let states: Vec<_> = rows.iter().map(|row| (row.key.attempt, row.state, row.started, row.since)).collect();
    assert_eq!(states, [(0, TaskState::Failed, Some(190), 300), (1, TaskState::Finished, Some(390), 400)]);
    assert_eq!((rows[0].text.as_deref(), rows[0].place), (Some("why"), Some(place())));
}

/// TABLE-2, EVENTS-3: a look that was overtaken by the end says nothing.
#[test]
fn what_has_ended_does_not_begin_again() {
    let mut table = TaskTable::new(10);
    table.take(told(1, vec![(4, 0, 100, FINISHED), (4, 0, 90, Step::Runs { place: 0 })]));
    table.owner_ended(owner(1), 500);
    let row = table.page(None, 10).remove(0);
    assert_eq!((row.state, row.since), (TaskState::Finished, 100));
}

#[test]
fn what_an_owner_had_submitted_fails_with_it() {
    let mut table = TaskTable::new(10);
    table.take(told(1, vec![(4, 0, 100, Step::Runs { place: 0 })]));
    table.take(told(2, vec![(4, 0, 100, Step::Runs { place: 0 })]));
    table.owner_ended(owner(1), 500);
    let states: Vec<_> = table.page(None, 10).iter().map(|row| row.state).collect();
    assert_eq!(states, [TaskState::Failed, TaskState::Running]);
    table.process_ended(owner(2).process, 600);
    assert!(table.page(None, 10).iter().all(|row| row.state == TaskState::Failed && row.text.is_some()));
}

/// TABLE-1
#[test]
fn those_that_ended_make_room_and_others_do_not() {
    let mut table = TaskTable::new(4);
    let ends = |seqs: [u64; 4]| seqs.map(|seq| (seq, 0, seq, FINISHED)).to_vec();
    table.take(told(1, [vec![(1, 0, 1, Step::Depends)], ends([2, 3, 4, 5])].concat()));
    let numbers = |table: &TaskTable| table.page(None, 10).iter().map(|row| row.key.seq).collect::<Vec<_>>();
    assert_eq!((numbers(&table), table.dropped()), (vec![1, 3, 4, 5], 1));
    table.take(told(2, vec![(6, 0, 6, Step::Depends), (7, 0, 7, Step::Depends), (8, 0, 8, FINISHED)]));
    assert_eq!((numbers(&table), table.dropped()), (vec![1, 5, 6, 8], 3), "half may go on, and two do");
    table.take(told(2, vec![(7, 0, 9, FINISHED)]));
    assert_eq!((numbers(&table), table.dropped()), (vec![1, 6, 7, 8], 4), "its end is listed all the same");
}

#[test]
fn an_event_that_names_nothing_is_left_out() {
    let mut table = TaskTable::new(10);
    let mut events = told(1, vec![(1, 0, 1, Step::Failed { took: Some(Took { place: 9, ns: 1 }), text: 9 })]);
    events.events.push(Event { seq: 2, at: 2, attempt: 0, kind: 9, step: FINISHED });
    table.take(events);
    let rows = table.page(None, 10);
    assert_eq!((rows.len(), rows[0].place, rows[0].text.as_deref()), (1, None, None));
    table.take(TaskEvents { kinds: Vec::new(), ..told(3, vec![(1, 0, 1, FINISHED)]) });
    assert!(table.numbers.len() == 1 && table.owners.len() == 1, "an owner without rows is not remembered");
}

proptest! {
    /// TABLE-1, TABLE-3, and pages that give every row once, in order.
    #[test]
    fn rows_are_bounded_and_all_are_counted(
        events in prop::collection::vec((0..4_u32, 0..30_u64, 0..2_u32, 0..5_u8), 0..300),
        max in 1..20_usize,
        page in 1..7_usize,
    ) {
        let mut table = TaskTable::new(max);
        let mut ended = std::collections::BTreeSet::new();
        let mut seen = std::collections::BTreeSet::new();
        for (at, (number, seq, attempt, step)) in events.into_iter().enumerate() {
            let step = match step {
                0 => Step::Depends,
                1 => Step::Waits { text: 0 },
                2 => Step::Runs { place: 0 },
                3 => FINISHED,
                _ => Step::Failed { took: None, text: 0 },
            };
            // Nothing of an attempt comes after its end.
            if ended.contains(&(number, seq, attempt)) {
                continue;
            }
            if step.is_end() {
                ended.insert((number, seq, attempt));
            }
            seen.insert((number, seq, attempt));
            table.take(told(number, vec![(seq, attempt, at as u64, step)]));
            prop_assert!(table.len <= max);
        }
        let mut rows = Vec::new();
        loop {
            let more = table.page(rows.last().map(|row: &TaskRow| row.key), page);
            if more.is_empty() {
                break;
            }
            rows.extend(more);
        }
        prop_assert_eq!(rows.len(), table.len);
        prop_assert!(rows.windows(2).all(|two| two[0].key < two[1].key));
        let listed = rows.iter().filter(|row| row.state.has_ended()).count() as u64;
        prop_assert_eq!(listed + table.dropped(), ended.len() as u64);
    }
}
