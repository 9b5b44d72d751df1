//! Questions that wait for their answers, and their deadlines.

use std::collections::{BTreeSet, HashMap};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::DownReason;

/// How a question ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answer(Vec<u8>),
    NoActor,
    Refused(String),
    Deadline,
    Ended(DownReason),
}

/// The questions of one session.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    next: u64,
    waiting: HashMap<u64, (Instant, oneshot::Sender<Outcome>)>,
    deadlines: BTreeSet<(Instant, u64)>,
    ended: Option<DownReason>,
}

impl Asks {
    /// A new question; whether its deadline is now the earliest comes with it.
    pub(crate) fn begin(&mut self, deadline: Instant) -> Result<(u64, oneshot::Receiver<Outcome>, bool), DownReason> {
        if let Some(reason) = &self.ended {
            return Err(reason.clone());
        }
        self.next += 1;
        let (sender, receiver) = oneshot::channel();
        self.waiting.insert(self.next, (deadline, sender));
        let earliest = self.deadlines.first().is_none_or(|(first, _)| deadline < *first);
        self.deadlines.insert((deadline, self.next));
        Ok((self.next, receiver, earliest))
    }

    /// The end of a question; one that no longer waits is ignored.
    pub(crate) fn complete(&mut self, question: u64, outcome: Outcome) {
        if let Some((deadline, sender)) = self.waiting.remove(&question) {
            self.deadlines.remove(&(deadline, question));
            let _ = sender.send(outcome);
        }
    }

    /// Nobody waits for it any more.
    pub(crate) fn forget(&mut self, question: u64) {
        if let Some((deadline, _)) = self.waiting.remove(&question) {
            self.deadlines.remove(&(deadline, question));
        }
    }

    /// Fails what is due; returns when to come again.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Instant> {
        while let Some((deadline, question)) = self.deadlines.first().copied() {
            if deadline > now {
                return Some(deadline);
            }
            self.complete(question, Outcome::Deadline);
        }
        None
    }

    /// The session is over: all fail, in the order of their deadlines.
    pub(crate) fn end(&mut self, reason: &DownReason) {
        self.ended.get_or_insert_with(|| reason.clone());
        while let Some((_, question)) = self.deadlines.first().copied() {
            self.complete(question, Outcome::Ended(reason.clone()));
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ended.is_some()
    }
}
