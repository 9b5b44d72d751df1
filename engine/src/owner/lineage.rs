//! How lost objects can be made again: the pure core of lineage.
//!
//! A finished task whose result lies in a store, where it can be lost, leaves a *record*: how it is run again (in the
//! shell's own form, `T`), and which tasks and objects of the same owner that needs. Tasks whose results lie with their
//! owner leave none: such a result is lost with the owner only. The rules are Ray's ("Ownership", NSDI '21, section 4.2,
//! and its `max_lineage_bytes`).
//!
//! Invariants:
//! - LINEAGE-1: while a record needs a task, that one stays: with a record of its own its values may go, for they can be
//!   made again; without one (a `put`, a small result) they stay too.
//! - LINEAGE-2: a record stays exactly as long as somebody may want a return of its task or a record needs it, but for
//!   those given up by LINEAGE-3. What a record that goes needed is let go with it.
//! - LINEAGE-3: all records together count at most the limit's bytes. Beyond, the oldest go until half of it is left.
//! - LINEAGE-4: a task that is run again has no record until it is finished; then it may leave a new one.
//!
//! Nothing here follows a chain of records to its end: what is let go is handed out one step at a time, and the shell
//! comes back with each.

use std::collections::{BTreeMap, HashMap};

/// What stays of a task that nobody wants a return of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stays {
    /// Nothing: no record needs it.
    Nothing,
    /// Its record, without its values.
    Record,
    /// Its values: they could not be made again.
    Values,
}

struct Record<T> {
    age: u64,
    bytes: u64,
    needs: Vec<u64>,
    kept: T,
}

/// The records of one owner, by the sequence numbers of its tasks.
pub(crate) struct Lineage<T> {
    limit: u64,
    bytes: u64,
    next_age: u64,
    records: HashMap<u64, Record<T>>,
    /// The records by age, the oldest first.
    by_age: BTreeMap<u64, u64>,
    /// How many records need a task; absent for none.
    needed: HashMap<u64, u32>,
}

/// What goes with a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LetGo<T> {
    /// How its task would have been run again.
    pub(crate) kept: T,
    /// What no record needs any more: it goes too, if nobody wants it.
    pub(crate) unneeded: Vec<u64>,
}

impl<T> Lineage<T> {
    pub(crate) fn new(limit: u64) -> Self {
        Lineage {
            limit,
            bytes: 0,
            next_age: 0,
            records: HashMap::new(),
            by_age: BTreeMap::new(),
            needed: HashMap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn has(&self, seq: u64) -> bool {
        self.records.contains_key(&seq)
    }

    /// What of a task must stay although nobody may want a return of it.
    pub(crate) fn stays(&self, seq: u64) -> Stays {
        match (self.needed.contains_key(&seq), self.has(seq)) {
            (false, _) => Stays::Nothing,
            (true, true) => Stays::Record,
            (true, false) => Stays::Values,
        }
    }

    /// Keeps how a finished task is run again; what is given up for that is to be let go by the caller.
    pub(crate) fn record(&mut self, seq: u64, bytes: u64, mut needs: Vec<u64>, kept: T) -> Vec<LetGo<T>> {
        let before = self.forget(seq);
        needs.sort_unstable();
        needs.dedup();
        for need in &needs {
            *self.needed.entry(*need).or_default() += 1;
        }
        let age = self.next_age;
        self.next_age += 1;
        self.bytes += bytes;
        self.by_age.insert(age, seq);
        self.records.insert(seq, Record { age, bytes, needs, kept });
        let mut gone: Vec<LetGo<T>> = before.into_iter().collect();
        if self.bytes > self.limit {
            gone.extend(self.shed(self.limit / 2));
        }
        gone
    }

    /// Gives the oldest records up until those left count at most so many bytes.
    pub(crate) fn shed(&mut self, bytes: u64) -> Vec<LetGo<T>> {
        let mut gone = Vec::new();
        while self.bytes > bytes
            && let Some((_, &seq)) = self.by_age.first_key_value()
        {
            gone.extend(self.forget(seq));
        }
        gone
    }

    /// Gives a record up, or takes it to run its task again.
    pub(crate) fn forget(&mut self, seq: u64) -> Option<LetGo<T>> {
        if self.is_empty() {
            // Nearly always, and asked whenever an object is freed: not worth a hash.
            return None;
        }
        let record = self.records.remove(&seq)?;
        self.by_age.remove(&record.age);
        self.bytes -= record.bytes;
        let mut unneeded = Vec::new();
        for need in record.needs {
            let Some(count) = self.needed.get_mut(&need) else { continue };
            *count -= 1;
            if *count == 0 {
                self.needed.remove(&need);
                unneeded.push(need);
            }
        }
        Some(LetGo { kept: record.kept, unneeded })
    }
}

#[cfg(test)]
mod tests;
