//! The life of a task: what it waits for, which attempt runs, whether an outcome is still wanted. A pure state machine.
//!
//! It is entered from whatever thread has something to say (who made an argument, a worker, a reply, a cancellation), for
//! each task a few times: so its state is a few atomics in the task's record, and no lock. It does nothing; the answers
//! say what the shell ([`super::Task`], the owner) is to do.
//!
//! Invariants:
//! - LIFE-1: it becomes ready once for its submission, and once for each time it begins again; not before all that it
//!   waits for is there, and never for its submission if something of that failed first: that ends it, once.
//! - LIFE-2: one outcome is its first; what comes after it is late, unless the task runs again.
//! - LIFE-3: (attempts begin one after the other: who begins one was told of the end of the one before) it has at most `retries + 1` attempts, those that make lost results again included; without limit if `retries`
//!   is negative.
//! - LIFE-4: no attempt begins after it was cancelled, nor a retry after its first outcome.
//! - LIFE-5: the number of its attempt only grows: an answer of an earlier one is stale.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// See the module.
#[derive(Debug)]
pub(crate) struct Life {
    /// Dependencies that are not ready, and one more until the submission is complete; and [`FAILED`].
    missing: AtomicU32,
    attempt: AtomicU32,
    done: AtomicBool,
    /// Somebody is setting its first outcome, which is of several values.
    ending: AtomicBool,
    /// It runs again, after it was done, for results of it were lost.
    again: AtomicBool,
    cancelled: AtomicBool,
}

/// In `missing`: something that it waits for failed before it had an outcome.
const FAILED: u32 = 1 << 31;

/// What an outcome is to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    First,
    /// Of a run that makes lost results again.
    Again,
    /// Nobody waits for it.
    Late,
}

impl Life {
    /// Of a task that is being submitted.
    pub(crate) fn begun() -> Life {
        Life::new(1, false)
    }

    /// Of a task that has its outcome from the start.
    pub(crate) fn done() -> Life {
        Life::new(0, true)
    }

    fn new(missing: u32, done: bool) -> Life {
        Life {
            missing: AtomicU32::new(missing),
            attempt: AtomicU32::new(0),
            done: AtomicBool::new(done),
            ending: AtomicBool::new(done),
            again: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
        }
    }

    // ---- what it waits for

    /// It waits for so many things more; before its submission is complete.
    pub(crate) fn waits_for(&self, things: u32) {
        self.missing.fetch_add(things, Ordering::AcqRel);
    }

    /// It waits for nothing, and its submission is complete: it is ready. Nobody else knows of it.
    pub(crate) fn waits_for_nothing(&self) {
        self.missing.store(0, Ordering::Release);
    }

    /// One thing less is missing, or its submission is complete; `true` if it is ready now.
    pub(crate) fn one_less(&self) -> bool {
        self.missing.fetch_sub(1, Ordering::AcqRel) & !FAILED == 1
    }

    /// Something that it waits for failed: said before [`one_less`](Self::one_less) is, so that whoever brings the last
    /// thing knows. `true` if that ends it now. One that runs again waits for all: it may begin again after that, and
    /// would take what comes of this time for what it waits for then.
    pub(crate) fn one_failed(&self) -> bool {
        !self.is_done() && self.missing.fetch_or(FAILED, Ordering::AcqRel) & FAILED == 0
    }

    /// Whether [`one_failed`](Self::one_failed) has ended it.
    pub(crate) fn has_failed(&self) -> bool {
        self.missing.load(Ordering::Acquire) & FAILED != 0
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.missing.load(Ordering::Acquire) & !FAILED > 0
    }

    // ---- its attempts

    /// The number of its present attempt, from 0.
    pub(crate) fn attempt(&self) -> u32 {
        self.attempt.load(Ordering::Acquire)
    }

    /// Whether so many retries allow another attempt.
    pub(crate) fn may_try_again(&self, retries: i64) -> bool {
        retries < 0 || i64::from(self.attempt()) < retries
    }

    /// Begins another attempt in place of the present one, if that is wanted and allowed.
    pub(crate) fn next_attempt(&self, retries: i64) -> bool {
        if self.is_cancelled() || self.is_over() || !self.may_try_again(retries) {
            return false;
        }
        self.attempt.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// Begins another attempt at a task that is done, which becomes ready once more; `false` if that is not allowed.
    pub(crate) fn begin_again(&self, retries: i64) -> bool {
        if self.is_cancelled() || !self.is_done() || !self.is_over() || !self.may_try_again(retries) {
            return false;
        }
        self.missing.store(1, Ordering::Release);
        self.attempt.fetch_add(1, Ordering::AcqRel);
        self.again.store(true, Ordering::SeqCst);
        true
    }

    /// What it began again for is made, or will not be.
    pub(crate) fn end_again(&self) {
        self.again.store(false, Ordering::SeqCst);
    }

    // ---- its end

    /// What an outcome that comes now is to it.
    pub(crate) fn outcome(&self) -> Outcome {
        match (self.is_done(), self.is_over()) {
            (false, _) => Outcome::First,
            (true, false) => Outcome::Again,
            (true, true) => Outcome::Late,
        }
    }

    /// Whether nobody else sets its first outcome, of several values: one of each would be set otherwise where two come
    /// together. (One value is set in one step.)
    pub(crate) fn begins_end(&self) -> bool {
        !self.ending.swap(true, Ordering::AcqRel)
    }

    /// Its refs have an outcome; `true` the first time.
    pub(crate) fn end(&self) -> bool {
        !self.done.swap(true, Ordering::SeqCst)
    }

    /// Whether it has had an outcome.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }

    /// Whether no run of it is wanted any more: it is done, and does not run again to make lost results.
    pub(crate) fn is_over(&self) -> bool {
        self.is_done() && !self.again.load(Ordering::SeqCst)
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Op {
        /// One thing that it waits for is there.
        Less,
        /// One thing that it waits for failed.
        Fail,
        /// An answer to the attempt that began so many ago.
        Answer {
            behind: u32,
        },
        /// The worker of the present attempt is gone, or asked for another attempt.
        Fault,
        /// A result was lost.
        Lose,
        Cancel,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => Just(Op::Less),
            1 => Just(Op::Fail),
            3 => (0..3u32).prop_map(|behind| Op::Answer { behind }),
            3 => Just(Op::Fault),
            2 => Just(Op::Lose),
            1 => Just(Op::Cancel),
        ]
    }

    /// What the oracle knows: the same, said plainly.
    struct Known {
        missing: u32,
        attempts: u32,
        has_outcome: bool,
        runs_again: bool,
        cancelled: bool,
        failed: bool,
    }

    proptest! {
        /// LIFE-1 to LIFE-5, for any order of events.
        #[test]
        fn random_lives_keep_their_invariants(
            dependencies in 0..4u32,
            retries in -1..4i64,
            ops in prop::collection::vec(op(), 0..40),
        ) {
            let life = Life::begun();
            life.waits_for(dependencies);
            let mut known = Known {
                missing: dependencies + 1,
                attempts: 1,
                has_outcome: false,
                runs_again: false,
                cancelled: false,
                failed: false,
            };
            let allowed = |attempts: u32| retries < 0 || i64::from(attempts) <= retries;
            for op in ops {
                let before = life.attempt();
                match op {
                    Op::Less if known.missing > 0 => {
                        known.missing -= 1;
                        // LIFE-1
                        prop_assert_eq!(life.one_less(), known.missing == 0);
                        prop_assert_eq!(life.has_failed(), known.failed);
                    }
                    Op::Fail if known.missing > 0 => {
                        let ends = !known.has_outcome && !known.failed;
                        // LIFE-1
                        prop_assert_eq!(life.one_failed(), ends);
                        known.missing -= 1;
                        prop_assert_eq!(life.one_less(), known.missing == 0);
                        if ends {
                            prop_assert!(life.end());
                            known.has_outcome = true;
                            known.failed = true;
                        }
                    }
                    Op::Less | Op::Fail => {}
                    Op::Answer { behind } => {
                        // LIFE-5: what the owner asks before it listens.
                        if before.checked_sub(behind) == Some(life.attempt()) && known.missing == 0 {
                            let expected = match (known.has_outcome, known.runs_again) {
                                (false, _) => Outcome::First,
                                (true, true) => Outcome::Again,
                                (true, false) => Outcome::Late,
                            };
                            // LIFE-2
                            prop_assert_eq!(life.outcome(), expected);
                            prop_assert_eq!(life.end(), expected == Outcome::First);
                            if expected == Outcome::Again {
                                life.end_again();
                            }
                            known.has_outcome = true;
                            known.runs_again = false;
                        }
                    }
                    Op::Fault => {
                        let wanted = !known.has_outcome || known.runs_again;
                        let expected = wanted && !known.cancelled && allowed(known.attempts);
                        // LIFE-3, LIFE-4
                        prop_assert_eq!(life.next_attempt(retries), expected);
                        known.attempts += u32::from(expected);
                    }
                    // What ended so has no results that could be lost.
                    Op::Lose if known.failed => {}
                    Op::Lose => {
                        let expected =
                            known.has_outcome && !known.runs_again && !known.cancelled && allowed(known.attempts);
                        prop_assert_eq!(life.begin_again(retries), expected);
                        if expected {
                            known.attempts += 1;
                            known.runs_again = true;
                            known.missing = 1;
                        }
                    }
                    Op::Cancel => {
                        life.cancel();
                        known.cancelled = true;
                    }
                }
                prop_assert!(life.attempt() >= before);
                prop_assert_eq!(life.attempt() + 1, known.attempts);
                prop_assert!(retries < 0 || i64::from(known.attempts) <= retries + 1);
                prop_assert_eq!(life.is_done(), known.has_outcome);
                prop_assert_eq!(life.is_over(), known.has_outcome && !known.runs_again);
                prop_assert_eq!(life.is_waiting(), known.missing > 0);
            }
        }
    }
}
