//! Each rule by itself, and all of them against the oracle.

use actinic_transport::{ClusterId, NodeId, ProcessId};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use uuid::Uuid;

use super::slab::Slab;
use super::{HandOutId, Hold, Ignored, RefAction, RefMessage, RefTable, Slot, object};
use crate::ids::{ObjectId, OwnerId};
use crate::recent::Recent;

mod oracle;

/// Defects that a test can plant, to see that the oracle finds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planted {
    /// A carry to a third party leaves before the owner has answered.
    SentUnregistered,
    /// No transit hold on a ref that goes back to its owner.
    OwnerUntold,
    /// What a freed value contained is not released.
    InnerKept,
    /// A receiver gives up an object whose registration the owner has yet to tell.
    GrantNotAwaited,
    /// Carries of a dead giver are expected for ever.
    DeadGiverExpected,
}

/// Owner `number`, in a process of its own number.
pub(super) fn owner(process: u32, number: u32) -> OwnerId {
    let uuid = |n: u32| Uuid::from_u128(u128::from(n) + 1);
    let process =
        ProcessId { cluster: ClusterId(uuid(0)), node: NodeId(uuid(process / 2)), incarnation: uuid(process) };
    OwnerId { process, number }
}

fn id(owner: OwnerId, seq: u64) -> ObjectId {
    object(owner, slot(seq))
}

fn slot(seq: u64) -> Slot {
    Slot { seq, index: 0 }
}

/// What one call wants done.
fn actions(act: impl FnOnce(&mut Vec<RefAction>)) -> Vec<RefAction> {
    let mut out = Vec::new();
    act(&mut out);
    out
}

fn send(to: OwnerId, message: RefMessage) -> RefAction {
    RefAction::Send { to, message }
}

fn ended(seq: u64) -> Vec<RefAction> {
    vec![RefAction::Free(slot(seq))]
}

/// Three owners: of the object, its giver, a third.
fn three() -> (OwnerId, OwnerId, OwnerId) {
    (owner(0, 0), owner(1, 1), owner(2, 2))
}

/// `S` with one object of `O`'s, and a local hold on it.
fn borrower(o: OwnerId, s: OwnerId, seq: u64) -> RefTable {
    let mut table = RefTable::new(s);
    assert_eq!(actions(|out| assert!(table.received(id(o, seq), o, Hold::Local, out))), []);
    table
}

#[test]
fn an_entry_is_32_bytes() {
    assert_eq!(size_of::<super::slab::Entry>(), 32);
}

#[test]
fn ref_1_freed_when_the_last_hold_of_any_kind_ends() {
    let mut table = RefTable::new(owner(0, 0));
    for (seq, hold) in (0..).zip([Hold::Local, Hold::Argument, Hold::Nested, Hold::Pin]) {
        table.own(seq, 1, true);
        assert!(table.hold(id(table.me, seq), hold));
        assert_eq!(actions(|out| table.release_mine(slot(seq), Hold::Local, out)), []);
        assert_eq!(actions(|out| table.release(id(table.me, seq), hold, out)), ended(seq));
    }
    assert!(table.is_empty());
}

#[test]
fn returns_are_counted_one_by_one() {
    let mut table = RefTable::new(owner(0, 0));
    table.own(3, 3, true);
    table.own_more(3, 3, 2, true);
    assert_eq!(table.owned_len(), 5);
    let each: Vec<u32> = table.objects().map(|object| object.index).collect();
    assert_eq!(each, [0, 1, 2, 3, 4]);
    for index in [2, 0, 1, 4, 3] {
        let slot = Slot { seq: 3, index };
        let out = actions(|out| table.release_mine(slot, Hold::Local, out));
        assert_eq!(out, [RefAction::Free(slot)]);
    }
    assert!(table.is_empty());
    assert_eq!(table.owned.pages(), 0);
    // A stream's later returns, when none of the earlier is left.
    table.own_more(3, 1_000_000, 1, true);
    assert_eq!(table.owned_len(), 1);
}

#[test]
fn ref_4_a_million_boxes_in_boxes_are_freed_without_recursion() {
    let mut table = RefTable::new(owner(0, 0));
    let me = table.me;
    let depth = 1_000_000;
    table.own(0, 1, true);
    for seq in 1..depth {
        table.own(seq, 1, true);
        assert!(table.hold(id(me, seq - 1), Hold::Nested));
        assert_eq!(actions(|out| table.contains(id(me, seq), vec![id(me, seq - 1)], out)), []);
        assert_eq!(actions(|out| table.release_mine(slot(seq - 1), Hold::Local, out)), []);
    }
    let out = actions(|out| table.release_mine(slot(depth - 1), Hold::Local, out));
    assert_eq!(out.len() as u64, depth);
    assert!(table.is_empty());
}

#[test]
fn ref_4_what_a_freed_value_would_contain_is_released_at_once() {
    let (o, s, _) = three();
    let mut table = borrower(o, s, 1);
    table.own(5, 1, true);
    assert!(table.hold(id(o, 1), Hold::Nested));
    assert_eq!(actions(|out| table.release(id(s, 5), Hold::Local, out)), ended(5));
    assert_eq!(actions(|out| table.contains(id(s, 5), vec![id(o, 1)], out)), []);
    assert_eq!(table.counts(id(o, 1)).map(|counts| (counts.local, counts.nested)), Some((1, 0)));
}

#[test]
fn ref_4_a_value_made_again_contains_what_it_says_now() {
    let mut table = RefTable::new(owner(0, 0));
    let me = table.me;
    for seq in 0..3 {
        table.own(seq, 1, true);
    }
    for inner in [0, 1] {
        assert!(table.hold(id(me, inner), Hold::Nested));
        assert_eq!(actions(|out| table.release_mine(slot(inner), Hold::Local, out)), []);
    }
    assert_eq!(actions(|out| table.contains(id(me, 2), vec![id(me, 0)], out)), []);
    assert_eq!(actions(|out| table.contains(id(me, 2), vec![id(me, 1)], out)), ended(0));
    assert_eq!(table.contained(id(me, 2)), [id(me, 1)]);
    assert_eq!(actions(|out| table.contains(id(me, 2), vec![], out)), ended(1));
}

#[test]
fn ref_2_the_owner_gives_and_every_registration_comes_back_at_once() {
    let (o, _, p) = three();
    let (mut at_o, mut at_p) = (RefTable::new(o), RefTable::new(p));
    let x = id(o, 9);
    at_o.own(9, 1, true);
    for n in 1..=3 {
        let mut out = Vec::new();
        let hand_out = at_o.hand_out(&[x], p, &mut out);
        assert!(hand_out.ready && out.is_empty());
        assert!(at_p.received(x, o, Hold::Local, &mut out));
        at_o.delivered(hand_out.id, &mut out);
        assert_eq!(at_p.counts(x).map(|counts| counts.registered), Some(n));
        assert!(out.is_empty());
    }
    assert_eq!(actions(|out| at_o.release(x, Hold::Local, out)), []);
    assert_eq!(at_o.counts(x).map(|counts| counts.borrowers), Some(vec![(p, 3)]));
    assert_eq!(at_o.peers().into_iter().collect::<Vec<_>>(), [p]);
    let mut out = Vec::new();
    for _ in 0..3 {
        at_p.release(x, Hold::Local, &mut out);
    }
    let release = RefMessage::Release { slot: slot(9), count: 3 };
    assert_eq!(out, [send(o, release.clone())]);
    assert_eq!(actions(|out| at_o.message(p, release, out)), ended(9));
    assert!(at_o.is_empty() && at_p.is_empty());
}

/// `S` hands `O`'s object 1 to `P`; returns what `O` answers: to `P`, to `S`.
fn third_party(at_o: &mut RefTable, at_s: &mut RefTable, p: OwnerId) -> (HandOutId, RefMessage, RefMessage) {
    let (o, s) = (at_o.me, at_s.me);
    let mut out = Vec::new();
    at_o.own(1, 1, true);
    let first = at_o.hand_out(&[id(o, 1)], s, &mut out);
    assert!(at_s.received(id(o, 1), o, Hold::Local, &mut out));
    at_o.delivered(first.id, &mut out);
    let hand_out = at_s.hand_out(&[id(o, 1)], p, &mut out);
    assert!(!hand_out.ready);
    let register = RefMessage::Register { slots: vec![slot(1)], borrower: p, token: hand_out.id };
    assert_eq!(out, [send(o, register.clone())]);
    let granted = RefMessage::Granted { slots: vec![slot(1)], by: s };
    let registered = RefMessage::Registered { token: hand_out.id };
    let out = actions(|out| at_o.message(s, register, out));
    assert_eq!(out, [send(p, granted.clone()), send(s, registered.clone())]);
    (hand_out.id, granted, registered)
}

#[test]
fn ref_3_a_third_party_is_on_the_owners_books_before_the_carry_leaves() {
    let (o, s, p) = three();
    for carry_first in [false, true] {
        let (mut at_o, mut at_s, mut at_p) = (RefTable::new(o), RefTable::new(s), RefTable::new(p));
        let (hand_out, granted, registered) = third_party(&mut at_o, &mut at_s, p);
        let x = id(o, 1);
        // The transit hold outlives the local one, until the owner has answered.
        assert_eq!(actions(|out| at_s.release(x, Hold::Local, out)), []);
        let release = RefMessage::Release { slot: slot(1), count: 1 };
        let out = actions(|out| at_s.message(o, registered, out));
        assert_eq!(out, [send(o, release.clone()), RefAction::Ready(hand_out)]);
        assert_eq!(actions(|out| at_o.message(s, release.clone(), out)), []);
        assert_eq!(actions(|out| at_o.release(x, Hold::Local, out)), []);
        let mut out = Vec::new();
        if carry_first {
            // Received and dropped before the grant: given back when it comes.
            assert!(at_p.received(x, s, Hold::Local, &mut out));
            at_p.release(x, Hold::Local, &mut out);
            assert_eq!(out, []);
            assert_eq!(at_p.counts(x).map(|counts| counts.awaited), Some(1));
            at_p.message(o, granted, &mut out);
        } else {
            at_p.message(o, granted, &mut out);
            assert_eq!(at_p.counts(x).map(|counts| counts.expected), Some(1));
            assert!(at_p.received(x, s, Hold::Local, &mut out));
            at_p.release(x, Hold::Local, &mut out);
        }
        assert_eq!(out, [send(o, release.clone())]);
        assert_eq!(actions(|out| at_o.message(p, release, out)), ended(1));
        assert_eq!(actions(|out| at_s.delivered(hand_out, out)), []);
        assert!(at_o.is_empty() && at_s.is_empty() && at_p.is_empty());
    }
}

#[test]
fn ref_3_a_ref_that_goes_back_to_its_owner_stays_borrowed_until_it_is_there() {
    let (o, s, _) = three();
    let mut at_s = borrower(o, s, 1);
    let mut out = Vec::new();
    let hand_out = at_s.hand_out(&[id(o, 1)], o, &mut out);
    assert!(hand_out.ready);
    at_s.release(id(o, 1), Hold::Local, &mut out);
    assert_eq!(out, []);
    let release = RefMessage::Release { slot: slot(1), count: 1 };
    assert_eq!(actions(|out| at_s.delivered(hand_out.id, out)), [send(o, release)]);
}

#[test]
fn undone_before_it_left() {
    let (o, s, p) = three();
    let (mut at_o, mut at_s, mut at_p) = (RefTable::new(o), RefTable::new(s), RefTable::new(p));
    let x = id(o, 1);
    // By the owner.
    at_o.own(8, 1, true);
    let mut out = Vec::new();
    let hand_out = at_o.hand_out(&[id(o, 8)], p, &mut out);
    at_o.release_mine(slot(8), Hold::Local, &mut out);
    assert_eq!(out, []);
    assert_eq!(actions(|out| at_o.undo_hand_out(hand_out.id, out)), ended(8));
    // By a third party that has no answer yet: what replaces the carry waits for it, too.
    let (hand_out, granted, registered) = third_party(&mut at_o, &mut at_s, p);
    assert_eq!(actions(|out| at_s.undo_hand_out(hand_out, out)), []);
    let undone = RefMessage::Undone { objects: vec![x] };
    assert_eq!(actions(|out| at_s.message(o, registered, out)), [send(p, undone.clone())]);
    assert_eq!(actions(|out| at_p.message(s, undone, out)), []);
    let release = RefMessage::Release { slot: slot(1), count: 1 };
    assert_eq!(actions(|out| at_p.message(o, granted, out)), [send(o, release)]);
    assert!(at_p.is_empty());
}

#[test]
fn ref_6_a_dead_borrower_frees_and_is_not_registered_again() {
    let (o, s, p) = three();
    let mut at_o = RefTable::new(o);
    at_o.own(1, 2, false);
    let (x, y) = (id(o, 1), ObjectId { index: 1, ..id(o, 1) });
    let mut out = Vec::new();
    let first = at_o.hand_out(&[x, y], p, &mut out);
    assert!(at_o.hand_out(&[y], s, &mut out).ready);
    assert_eq!(actions(|out| at_o.process_died(p.process, out)), ended(1));
    assert_eq!(actions(|out| at_o.process_died(p.process, out)), []);
    assert_eq!(actions(|out| at_o.undo_hand_out(first.id, out)), []);
    let token = HandOutId(0);
    let register = RefMessage::Register { slots: vec![y_slot()], borrower: p, token };
    assert_eq!(actions(|out| at_o.message(s, register, out)), [send(s, RefMessage::Registered { token })]);
    assert_eq!(at_o.counts(y).map(|counts| counts.borrowers), Some(vec![(s, 1)]));
    let release = RefMessage::Release { slot: slot(1), count: 1 };
    assert_eq!(actions(|out| at_o.message(p, release, out)), []);
    assert_eq!(at_o.ignored(), Ignored { late: 2, misuse: 0 });
    let out = actions(|out| at_o.owner_died(s, out));
    assert_eq!(out, [RefAction::Free(y_slot())]);
    assert!(at_o.is_empty());
}

fn y_slot() -> Slot {
    Slot { seq: 1, index: 1 }
}

#[test]
fn ref_6_a_dead_owners_objects_are_lost_once_and_counted_on() {
    let (o, s, p) = three();
    let mut at_s = borrower(o, s, 1);
    let x = id(o, 1);
    let mut out = Vec::new();
    let hand_out = at_s.hand_out(&[x], p, &mut out);
    assert!(!hand_out.ready);
    let out = actions(|out| at_s.owner_died(o, out));
    assert_eq!(out, [RefAction::OwnerLost(x), RefAction::Ready(hand_out.id)]);
    assert_eq!(actions(|out| at_s.process_died(o.process, out)), []);
    assert!(at_s.hold(x, Hold::Argument));
    assert_eq!(actions(|out| at_s.release(x, Hold::Local, out)), []);
    assert_eq!(actions(|out| at_s.release(x, Hold::Argument, out)), []);
    assert!(at_s.is_empty());
    // One that arrives later is lost as it comes.
    let out = actions(|out| assert!(at_s.received(x, p, Hold::Local, out)));
    assert_eq!(out, [RefAction::OwnerLost(x)]);
    assert_eq!(actions(|out| assert!(at_s.received(x, p, Hold::Local, out))), []);
    // And nothing comes from the dead.
    assert_eq!(actions(|out| assert!(!at_s.received(id(p, 4), o, Hold::Local, out))), []);
}

#[test]
fn ref_6_what_a_dead_giver_never_sent_is_given_back() {
    let (o, s, p) = three();
    let x = id(o, 1);
    let release = RefMessage::Release { slot: slot(1), count: 1 };
    let granted = RefMessage::Granted { slots: vec![slot(1)], by: s };
    for dies_first in [false, true] {
        let mut at_p = RefTable::new(p);
        let out = actions(|out| {
            if dies_first {
                at_p.process_died(s.process, out);
                at_p.message(o, granted.clone(), out);
            } else {
                at_p.message(o, granted.clone(), out);
                assert_eq!(at_p.peers().into_iter().collect::<Vec<_>>(), [o, s]);
                at_p.process_died(s.process, out);
            }
        });
        assert_eq!(out, [send(o, release.clone())]);
        assert!(at_p.is_empty());
    }
    // But what it sent before it died is kept until the owner's word arrives.
    let mut at_p = RefTable::new(p);
    let out = actions(|out| {
        assert!(at_p.received(x, s, Hold::Local, out));
        at_p.process_died(s.process, out);
        at_p.message(o, granted, out);
    });
    assert_eq!(out, []);
    assert_eq!(at_p.counts(x).map(|counts| (counts.registered, counts.awaited)), Some((1, 0)));
    assert_eq!(actions(|out| at_p.release(x, Hold::Local, out)), [send(o, release)]);
    assert!(at_p.is_empty());
}

#[test]
fn ref_7_nonsense_is_counted_and_changes_nothing() {
    let (o, s, p) = three();
    let mut at_o = RefTable::new(o);
    at_o.own(1, 1, true);
    let mut out = Vec::new();
    assert!(at_o.hand_out(&[id(o, 1)], s, &mut out).ready);
    let token = HandOutId(77);
    let nonsense = [
        RefMessage::Release { slot: slot(1), count: 2 },
        RefMessage::Release { slot: slot(1), count: 0 },
        RefMessage::Release { slot: slot(2), count: 1 },
        RefMessage::Release { slot: Slot { seq: u64::MAX, index: u32::MAX }, count: u32::MAX },
        RefMessage::Granted { slots: vec![slot(1)], by: s },
        RefMessage::Undone { objects: vec![id(o, 1), id(s, 1)] },
    ];
    let before = at_o.counts(id(o, 1));
    for message in nonsense {
        at_o.message(s, message, &mut out);
    }
    assert!(!at_o.received(id(o, 55), s, Hold::Local, &mut out));
    assert_eq!(out, []);
    assert_eq!(at_o.ignored().misuse, 8);
    // Who does not have it cannot give it, but is answered, for it waits.
    let register = RefMessage::Register { slots: vec![slot(1), slot(3)], borrower: s, token };
    at_o.message(p, register, &mut out);
    assert_eq!(out, [send(p, RefMessage::Registered { token })]);
    at_o.message(s, RefMessage::Registered { token }, &mut out);
    assert_eq!(at_o.ignored(), Ignored { late: 1, misuse: 10 });
    assert_eq!(at_o.counts(id(o, 1)), before);
}

#[test]
fn many_refs_of_one_owner_are_registered_in_bounded_messages() {
    let (o, s, p) = three();
    let mut at_s = RefTable::new(s);
    let objects: Vec<ObjectId> = (0..2500).map(|seq| id(o, seq)).collect();
    let mut out = Vec::new();
    for &object in &objects {
        assert!(at_s.received(object, o, Hold::Local, &mut out));
    }
    let hand_out = at_s.hand_out(&objects, p, &mut out);
    assert_eq!(out.len(), 3);
    let answer = RefMessage::Registered { token: hand_out.id };
    assert_eq!(actions(|out| at_s.message(o, answer.clone(), out)), []);
    assert_eq!(actions(|out| at_s.message(o, answer.clone(), out)), []);
    assert_eq!(actions(|out| at_s.message(o, answer, out)), [RefAction::Ready(hand_out.id)]);
    let out = actions(|out| at_s.undo_hand_out(hand_out.id, out));
    assert_eq!(out.len(), 3);
}

#[test]
fn a_message_leaves_though_an_owner_cannot_be_asked() {
    let (o, s, p) = three();
    let other = owner(3, 3);
    // Two messages to the one, of which the second is heard, and one to the other.
    let mut at_s = RefTable::new(s);
    let objects: Vec<ObjectId> = (0..1500).map(|seq| id(o, seq)).chain([id(other, 1)]).collect();
    let mut out = Vec::new();
    for &object in &objects {
        assert!(at_s.received(object, object.task.owner, Hold::Local, &mut out));
    }
    let hand_out = at_s.hand_out(&objects, p, &mut out);
    let RefAction::Send { message: RefMessage::Register { slots, .. }, .. } = &out[0] else { panic!("{out:?}") };
    assert_eq!(actions(|out| at_s.unregistered(o, hand_out.id, slots, out)), []);
    let transit = |table: &RefTable, seq| table.counts(id(o, seq)).map(|counts| counts.transit);
    assert_eq!((transit(&at_s, 0), transit(&at_s, 1499)), (Some(0), Some(1)));
    assert_eq!(actions(|out| at_s.unregistered(other, hand_out.id, &[slot(1)], out)), []);
    let answer = RefMessage::Registered { token: hand_out.id };
    assert_eq!(actions(|out| at_s.message(o, answer, out)), [RefAction::Ready(hand_out.id)]);
    // What never was registered is not undone.
    let heard = RefMessage::Undone { objects: objects[slots.len()..1500].to_vec() };
    assert_eq!(actions(|out| at_s.undo_hand_out(hand_out.id, out)), [send(p, heard)]);
    assert_eq!(actions(|out| at_s.unregistered(o, hand_out.id, slots, out)), []);
    for object in objects {
        at_s.release(object, Hold::Local, &mut out);
    }
    assert!(at_s.is_empty());
}

#[test]
fn pages_come_and_go() {
    let mut slab = Slab::default();
    let far = 64 * 65_536 * 5;
    for seq in [0, 1, 64 * 70_000, 64 * 70_000 + 1, far, far + 64] {
        assert!(slab.insert(slot(seq), 1));
        assert!(!slab.insert(slot(seq), 1));
    }
    assert_eq!((slab.len(), slab.pages()), (6, 4));
    let seqs: Vec<u64> = slab.iter().map(|(slot, _)| slot.seq).collect();
    assert_eq!(seqs, [0, 1, 64 * 70_000, 64 * 70_000 + 1, far, far + 64]);
    for seq in seqs {
        assert!(slab.get(slot(seq)).is_some() && slab.get(slot(seq + 2)).is_none());
        slab.vacate(slot(seq));
        assert!(slab.get_mut(slot(seq)).is_none());
    }
    assert_eq!((slab.len(), slab.pages()), (0, 0));
}

#[test]
fn the_dead_are_forgotten_oldest_first() {
    let mut dead = Recent::default();
    for n in 0..5 {
        assert!(dead.insert(n, 3));
        assert!(!dead.insert(n, 3));
    }
    assert_eq!((0..5).map(|n| dead.contains(&n)).collect::<Vec<_>>(), [false, false, true, true, true]);
}

#[test]
fn messages_survive_the_wire() {
    let (o, s, p) = three();
    let token = HandOutId(u64::MAX);
    for message in [
        RefMessage::Register { slots: vec![slot(1), slot(u64::MAX)], borrower: p, token },
        RefMessage::Registered { token },
        RefMessage::Granted { slots: vec![], by: s },
        RefMessage::Release { slot: slot(3), count: 4 },
        RefMessage::Undone { objects: vec![id(o, 1)] },
    ] {
        let bytes = postcard::to_allocvec(&message).expect("it encodes");
        assert_eq!(postcard::from_bytes(&bytes), Ok(message));
    }
}

/// How many stories each run tells; more with `PROPTEST_CASES`.
fn config(cases: u32) -> Config {
    let more = Config::default().cases;
    let default = Config { cases: 0, ..Config::default() };
    let asked = crate::env::Env::real().var_os("PROPTEST_CASES").map_or(cases, |_| more);
    Config { cases: asked, max_shrink_iters: 20_000, failure_persistence: None, ..default }
}

#[test]
fn the_oracle_agrees_while_everybody_lives() {
    let told = TestRunner::new(config(2500)).run(&oracle::stories(false), |story| {
        oracle::tell(&story, None);
        Ok(())
    });
    told.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_oracle_agrees_when_owners_die() {
    let told = TestRunner::new(config(2500)).run(&oracle::stories(true), |story| {
        oracle::tell(&story, None);
        Ok(())
    });
    told.unwrap_or_else(|error| panic!("{error}"));
}

/// Stories that once went wrong.
#[test]
fn the_oracle_agrees_with_earlier_failures() {
    use oracle::Op::*;
    // Two owners of one process die: a ref of the one, on its way to the other, was released to the dead.
    oracle::tell(
        &oracle::Story {
            owners: 3,
            processes: 2,
            ops: vec![
                Put { at: 2, inner: 0 },
                Give { at: 2, to: 1, refs: 1 },
                Send { pick: 0, early: true },
                Deliver { pick: 0, refuse: false },
                Give { at: 1, to: 0, refs: 1 },
                Drop { at: 1, pick: 0 },
                KillProcess { process: 0, cut: 0 },
            ],
        },
        None,
    );
}

#[test]
fn the_oracle_finds_every_planted_defect() {
    use Planted::*;
    for planted in [SentUnregistered, OwnerUntold, InnerKept, GrantNotAwaited, DeadGiverExpected] {
        let config = Config { max_shrink_iters: 0, failure_persistence: None, ..config(3000) };
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let told = TestRunner::new_with_rng(config, rng).run(&oracle::stories(true), |story| {
            oracle::tell(&story, Some(planted));
            Ok(())
        });
        assert!(told.is_err(), "{planted:?} was not found");
    }
}
