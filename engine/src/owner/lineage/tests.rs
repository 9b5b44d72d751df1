//! The lineage of random graphs of tasks, against an oracle that knows what each record leads to.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const LIMIT: u64 = 1_000;

#[derive(Clone, Debug)]
enum Op {
    /// A task finishes, which took these (numbers choose among what there is); `stored` if its result can be lost.
    Finish {
        needs: Vec<usize>,
        stored: bool,
        bytes: u64,
    },
    /// Its last ref is dropped.
    Drop {
        task: usize,
    },
    /// It is run again, and finishes; `stored` as above.
    Again {
        task: usize,
        stored: bool,
    },
    Shed {
        bytes: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let needs = prop::collection::vec(any::<usize>(), 0..4);
    prop_oneof![
        4 => (needs, any::<bool>(), 1..120u64).prop_map(|(needs, stored, bytes)| Op::Finish { needs, stored, bytes }),
        3 => any::<usize>().prop_map(|task| Op::Drop { task }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(task, stored)| Op::Again { task, stored }),
        1 => (0..LIMIT).prop_map(|bytes| Op::Shed { bytes }),
    ]
}

/// A task as the oracle knows it.
#[derive(Clone, Debug)]
struct Known {
    wanted: bool,
    /// Its values are there.
    values: bool,
    /// Its record, if it has one: what it needs, and its bytes.
    record: Option<(BTreeSet<u64>, u64)>,
    /// It had one, which was given up.
    given_up: bool,
    age: u64,
}

/// The shell in small: it does what the owner does with what the core says.
#[derive(Default)]
struct Shell {
    lineage: Option<Lineage<u64>>,
    tasks: BTreeMap<u64, Known>,
    next: u64,
    age: u64,
}

impl Shell {
    fn core(&mut self) -> &mut Lineage<u64> {
        self.lineage.get_or_insert_with(|| Lineage::new(LIMIT))
    }

    fn nth(&self, n: usize) -> Option<u64> {
        self.tasks.keys().nth(n % self.tasks.len().max(1)).copied()
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Finish { needs, stored, bytes } => {
                // Only what somebody wants can be an argument.
                let wanted = |seq: &u64| self.tasks[seq].wanted;
                let needs: Vec<u64> = needs.iter().filter_map(|n| self.nth(*n)).filter(wanted).collect();
                let seq = self.next;
                self.next += 1;
                self.tasks.insert(seq, Known { wanted: true, values: true, record: None, given_up: false, age: 0 });
                if *stored {
                    self.record(seq, *bytes, needs);
                }
            }
            Op::Drop { task } => {
                let Some(seq) = self.nth(*task) else { return };
                self.tasks.get_mut(&seq).unwrap().wanted = false;
                self.settle(vec![seq]);
            }
            Op::Again { task, stored } => {
                let Some(seq) = self.nth(*task) else { return };
                let Some(gone) = self.core().forget(seq) else { return };
                assert_eq!(gone.kept, seq);
                assert!(!self.core().has(seq), "LINEAGE-4");
                let (needs, bytes) = self.tasks.get_mut(&seq).unwrap().record.take().unwrap();
                // Its arguments have refs while it runs: nothing of it is settled.
                assert!(gone.unneeded.iter().all(|need| needs.contains(need)));
                self.tasks.get_mut(&seq).unwrap().values = true;
                for need in &needs {
                    self.tasks.get_mut(need).unwrap().values = true;
                }
                if *stored {
                    self.record(seq, bytes, needs.iter().copied().collect());
                }
                self.settle(needs.into_iter().chain([seq]).collect());
            }
            Op::Shed { bytes } => {
                let gone = self.core().shed(*bytes);
                self.gone(gone);
            }
        }
        self.check();
    }

    fn record(&mut self, seq: u64, bytes: u64, needs: Vec<u64>) {
        let known = self.tasks.get_mut(&seq).unwrap();
        known.record = Some((needs.iter().copied().collect(), bytes));
        known.age = self.age;
        self.age += 1;
        let gone = self.core().record(seq, bytes, needs, seq);
        let most: u64 = self.tasks.values().filter_map(|known| known.record.as_ref()).map(|(_, bytes)| bytes).sum();
        assert_eq!(gone.is_empty(), most <= LIMIT, "LINEAGE-3");
        self.gone(gone);
    }

    fn gone(&mut self, gone: Vec<LetGo<u64>>) {
        for LetGo { kept, .. } in &gone {
            let oldest = self.tasks.iter().filter(|(_, known)| known.record.is_some()).min_by_key(|(_, k)| k.age);
            assert_eq!(oldest.map(|(seq, _)| seq), Some(kept), "LINEAGE-3: the oldest goes first");
            let known = self.tasks.get_mut(kept).unwrap();
            (known.record, known.given_up) = (None, true);
        }
        for LetGo { kept, unneeded } in gone {
            self.settle(unneeded);
            self.settle(vec![kept]);
        }
    }

    fn settle(&mut self, mut todo: Vec<u64>) {
        while let Some(seq) = todo.pop() {
            let Some(known) = self.tasks.get_mut(&seq).filter(|known| !known.wanted) else { continue };
            match self.lineage.as_mut().map_or(Stays::Nothing, |lineage| lineage.stays(seq)) {
                Stays::Values => {}
                Stays::Record => known.values = false,
                Stays::Nothing => {
                    self.tasks.remove(&seq);
                    todo.extend(self.core().forget(seq).into_iter().flat_map(|gone| gone.unneeded));
                }
            }
        }
    }

    fn check(&mut self) {
        let needed: BTreeSet<u64> = self
            .tasks
            .values()
            .filter_map(|known| known.record.as_ref())
            .flat_map(|(needs, _)| needs)
            .copied()
            .collect();
        for need in &needed {
            let known = self.tasks.get(need).expect("LINEAGE-1: what a record needs is there");
            // One whose record was given up after its values went cannot be made again: that is said when it is tried.
            assert!(known.values || known.record.is_some() || known.given_up, "LINEAGE-1");
        }
        for (seq, known) in &self.tasks {
            assert!(known.wanted || needed.contains(seq), "LINEAGE-2: {seq} stays though nobody needs it");
            assert_eq!(self.lineage.as_ref().is_some_and(|lineage| lineage.has(*seq)), known.record.is_some());
        }
        let bytes: u64 = self.tasks.values().filter_map(|known| known.record.as_ref()).map(|(_, bytes)| bytes).sum();
        let core = self.core();
        assert_eq!(core.bytes, bytes);
        assert!(bytes <= LIMIT, "LINEAGE-3");
        assert_eq!(core.needed.keys().copied().collect::<BTreeSet<_>>(), needed);
        assert_eq!(core.records.len(), core.by_age.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold(ops in prop::collection::vec(op(), 1..120)) {
        let mut shell = Shell::default();
        for op in &ops {
            shell.run(op);
        }
        // Without refs nothing is left.
        let all: Vec<u64> = shell.tasks.keys().copied().collect();
        for known in shell.tasks.values_mut() {
            known.wanted = false;
        }
        shell.settle(all);
        assert!(shell.tasks.is_empty() && shell.core().is_empty() && shell.core().needed.is_empty());
    }
}

/// A chain of lost results can be made again from its first link.
#[test]
fn a_chain_of_records_keeps_all_of_them_until_the_last_ref_goes() {
    let mut shell = Shell::default();
    shell.run(&Op::Finish { needs: vec![], stored: true, bytes: 1 });
    for link in 0..3 {
        shell.run(&Op::Finish { needs: vec![link], stored: true, bytes: 1 });
    }
    for link in 0..3 {
        shell.run(&Op::Drop { task: link });
    }
    assert_eq!(
        shell.tasks.values().map(|known| (known.values, known.record.is_some())).collect::<Vec<_>>(),
        [(false, true), (false, true), (false, true), (true, true)]
    );
    shell.run(&Op::Drop { task: 3 });
    assert!(shell.tasks.is_empty());
}

/// A `put` cannot be made again: it stays while something may have to be made from it.
#[test]
fn a_put_stays_while_a_record_needs_it() {
    let mut shell = Shell::default();
    shell.run(&Op::Finish { needs: vec![], stored: false, bytes: 1 });
    shell.run(&Op::Finish { needs: vec![0], stored: true, bytes: 1 });
    shell.run(&Op::Drop { task: 0 });
    assert!(shell.tasks[&0].values);
    shell.run(&Op::Shed { bytes: 0 });
    assert!(!shell.tasks.contains_key(&0), "with the record given up nothing needs it");
}
