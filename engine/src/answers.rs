//! Answers to borrowers that ask for objects of this process: as fast as they are read.
//!
//! A borrower that asks for thousands at once would fill its session, and end it. What does not fit waits here, in one
//! queue and with one task for each borrower.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actinic_transport::{Lane, Peer, ProcessId};

use crate::ids::ObjectId;
use crate::object::{RawRef, Resolved};
use crate::owner::remote::carried_outcome_refs;
use crate::process::Process;
use crate::protocol::calls::{WireOutcome, WireValue};
use crate::protocol::refs::WireRefs;
use crate::protocol::{OBJECT, ObjectAnswer};

/// So many bytes may wait for a borrower before answers to it wait for room: far below the end of its session.
const ANSWERS_BYTES: usize = 16 << 20;

/// How long the answers behind one wait for the owners of refs in it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The answers that wait, by borrower; a borrower without a queue has no task that sends it.
#[derive(Default)]
pub(crate) struct Answers(Mutex<BTreeMap<ProcessId, VecDeque<(ObjectId, RawRef)>>>);

impl Answers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ProcessId, VecDeque<(ObjectId, RawRef)>>> {
        // Plain data under the lock; no ref is dropped under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next for a borrower; without one, its queue is gone.
    fn next(&self, to: ProcessId) -> Option<(ObjectId, RawRef)> {
        let mut waiting = self.lock();
        let next = waiting.get_mut(&to).and_then(VecDeque::pop_front);
        if next.is_none() {
            waiting.remove(&to);
        }
        next
    }
}

impl Process {
    /// Tells a borrower the outcome of an object of this process, which has one, as soon as there is room.
    pub(crate) fn answer_object(self: &Arc<Self>, to: &Peer, object: ObjectId, kept: RawRef) {
        {
            let mut waiting = self.answers.lock();
            if let Some(queue) = waiting.get_mut(&to.id()) {
                return queue.push_back((object, kept));
            }
            // An answer with refs may wait for their owners before it counts in the backlog: it goes one at a time.
            if to.backlog() > ANSWERS_BYTES || has_refs(&kept) {
                waiting.insert(to.id(), VecDeque::from([(object, kept)]));
                drop(waiting);
                return self.send_answers(to);
            }
        }
        self.send_object(to, object, &kept, || {});
    }

    fn send_answers(self: &Arc<Self>, to: &Peer) {
        let (process, to) = (Arc::clone(self), to.clone());
        self.spawn(async move {
            while let Some((object, kept)) = process.answers.next(to.id()) {
                if to.backlog() > ANSWERS_BYTES {
                    to.drained().await;
                }
                let (tell, left) = tokio::sync::oneshot::channel();
                // Nobody may listen any more.
                if !process.send_object(&to, object, &kept, move || {
                    let _ = tell.send(());
                }) {
                    // An owner that says nothing holds up this answer only.
                    let _ = tokio::time::timeout(PATIENCE, left).await;
                }
            }
        });
    }

    /// Sends the outcome: the value itself if that is small. `false` if it has to wait for the owners of refs in it; `left` is
    /// called then when it leaves.
    fn send_object(
        self: &Arc<Self>,
        to: &Peer,
        object: ObjectId,
        raw: &RawRef,
        left: impl FnOnce() + Send + 'static,
    ) -> bool {
        let Some(resolved) = raw.slot().get() else { return true };
        let outcome = match &resolved {
            Resolved::Value(value) if value.size() <= crate::call::INLINE_LIMIT => {
                WireOutcome::Value(WireValue::of(value))
            }
            Resolved::Value(value) => WireOutcome::Stored {
                size: value.size() as u64,
                at: vec![self.address()],
                refs: WireRefs::of(value.refs()),
            },
            Resolved::Stored(stored) => {
                WireOutcome::Stored { size: stored.size, at: stored.at.clone(), refs: WireRefs::of(&stored.refs) }
            }
            Resolved::Error(error) => WireOutcome::Error(error.clone()),
        };
        let refs = carried_outcome_refs(&resolved);
        let answer = ObjectAnswer { object, outcome };
        self.send_with_refs(to, (OBJECT, None), &answer, refs, left).unwrap_or_else(|error| {
            let answer = ObjectAnswer { object, outcome: WireOutcome::Error(error) };
            let _ = to.tell(Lane::Ordered, OBJECT, &answer);
            true
        })
    }
}

/// Whether an outcome carries refs.
fn has_refs(raw: &RawRef) -> bool {
    match &*raw.slot().lock() {
        crate::object::State::Ready(Resolved::Value(value)) => !value.refs().is_empty(),
        crate::object::State::Ready(Resolved::Stored(stored)) => !stored.refs.is_empty(),
        _ => false,
    }
}
