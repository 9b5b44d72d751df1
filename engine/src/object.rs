//! Refs as the engine sees them: what they point at, how they are counted inside a process, and how a result
//! arrives.
//!
//! An object that this process owns lives in the slot of the task that makes it; a `get` reads the slot directly. An
//! object owned elsewhere has a slot of the same kind here, filled by asking its owner. Clones are counted in the
//! slot; only the first and the last in a process concern the reference-counting core.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actinic_transport::{ClusterId, PeerAddr};

use crate::api::error::{Error, Result};
use crate::ids::ObjectId;
use crate::process::Process;
use crate::task::{Task, What};
use crate::value::Value;
use crate::wait::{Came, Waiter, Waiters};

/// An object that lies in the store of one or more processes.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) size: u64,
    pub(crate) at: Vec<PeerAddr>,
    /// The refs that the value contains, held as long as the object lives.
    pub(crate) refs: Vec<RawRef>,
}

/// How an object came out.
#[derive(Clone)]
pub(crate) enum Resolved {
    /// The value itself.
    Value(Value),
    /// The value lies in a node's store.
    Stored(Arc<Stored>),
    /// There is no value, and this is why.
    Error(Error),
}

impl Resolved {
    /// Why there is no value, if there is none.
    pub(crate) fn error(&self) -> Option<&Error> {
        match self {
            Resolved::Error(error) => Some(error),
            Resolved::Value(_) | Resolved::Stored(_) => None,
        }
    }
}

impl Resolved {
    pub(crate) fn is_error(&self) -> bool {
        matches!(self, Resolved::Error(_))
    }

    pub(crate) fn how(&self) -> Came {
        match self {
            Resolved::Value(_) => Came::Value,
            Resolved::Stored(_) => Came::Stored,
            Resolved::Error(_) => Came::Failed,
        }
    }
}

pub(crate) enum State {
    Pending(Waiters),
    Ready(Resolved),
}

/// Where an object's value arrives.
pub(crate) struct Slot {
    /// Refs to the object in this process, clones included.
    holds: AtomicU32,
    /// Somebody has seen the failure.
    read: AtomicBool,
    state: Mutex<State>,
}

impl Slot {
    /// A slot with one hold, for the ref that its maker returns.
    pub(crate) fn pending() -> Slot {
        Slot {
            holds: AtomicU32::new(1),
            read: AtomicBool::new(false),
            state: Mutex::new(State::Pending(Waiters::None)),
        }
    }

    pub(crate) fn ready(resolved: Resolved) -> Slot {
        Slot { holds: AtomicU32::new(1), read: AtomicBool::new(false), state: Mutex::new(State::Ready(resolved)) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while a slot is locked; a poisoned lock is as good as any.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn holds(&self) -> u32 {
        self.holds.load(Ordering::Acquire)
    }

    /// One ref more, in one step with the look whether there is any.
    fn hold_again(&self) -> bool {
        let more = |holds: u32| (holds > 0).then_some(holds + 1);
        self.holds.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(*self.lock(), State::Ready(_))
    }

    /// Somebody sees the failure.
    pub(crate) fn see(&self) {
        self.read.store(true, Ordering::Relaxed);
    }

    pub(crate) fn was_read(&self) -> bool {
        self.read.load(Ordering::Relaxed)
    }

    /// How it became ready, if it has an outcome.
    pub(crate) fn outcome(&self) -> Option<Came> {
        match &*self.lock() {
            State::Ready(resolved) => Some(resolved.how()),
            State::Pending(_) => None,
        }
    }

    /// The outcome, for the engine's own eyes.
    pub(crate) fn get_unseen(&self) -> Option<Resolved> {
        match &*self.lock() {
            State::Ready(resolved) => Some(resolved.clone()),
            State::Pending(_) => None,
        }
    }

    /// The outcome; a failure counts as seen from then on.
    pub(crate) fn get(&self) -> Option<Resolved> {
        match &*self.lock() {
            State::Ready(resolved) => {
                if resolved.is_error() {
                    self.see();
                }
                Some(resolved.clone())
            }
            State::Pending(_) => None,
        }
    }

    /// Sets the outcome and tells the waiters; `false` if there was one already.
    pub(crate) fn resolve(&self, resolved: Resolved) -> bool {
        self.offer(resolved).is_none()
    }

    /// As [`Slot::resolve`]; gives the outcome back if there was one already (a cancellation, a stale attempt).
    pub(crate) fn offer(&self, resolved: Resolved) -> Option<Resolved> {
        let how = resolved.how();
        let waiters = {
            let mut state = self.lock();
            match &mut *state {
                State::Ready(_) => return Some(resolved),
                State::Pending(waiters) => {
                    let waiters = std::mem::take(waiters);
                    *state = State::Ready(resolved);
                    waiters
                }
            }
        };
        waiters.notify(how);
        None
    }

    /// Replaces an outcome (a new location, a loss) and gives it back; waiters of a pending slot are told.
    pub(crate) fn replace(&self, resolved: Resolved) -> Option<Resolved> {
        let how = resolved.how();
        let before = std::mem::replace(&mut *self.lock(), State::Ready(resolved));
        match before {
            State::Pending(waiters) => {
                waiters.notify(how);
                None
            }
            // It is the caller's to drop: it may hold the last ref to something.
            State::Ready(before) => Some(before),
        }
    }

    /// Replaces where a value lies by what its owner says now; gives the old place back, or what was of no use.
    pub(crate) fn renew(&self, now: Resolved) -> Resolved {
        match &mut *self.lock() {
            State::Ready(before @ Resolved::Stored(_)) => std::mem::replace(before, now),
            _ => now,
        }
    }

    /// Takes the value out of a slot that nobody can ask any more.
    pub(crate) fn clear(&self) -> State {
        std::mem::replace(
            &mut *self.lock(),
            State::Ready(Resolved::Error(Error::object_freed("the object was freed when its last ref was dropped"))),
        )
    }

    /// Makes a slot whose value was freed wait for it again; `false` if it has a value, or waits.
    pub(crate) fn reopen(&self) -> bool {
        let mut state = self.lock();
        // A failure of its own stays: what needs it ran with that.
        let freed = matches!(*state, State::Ready(Resolved::Error(Error::ObjectFreed { .. })));
        if freed {
            // The error of freeing holds nothing.
            *state = State::Pending(Waiters::None);
        }
        freed
    }

    /// As [`Slot::clear`], of a task that nobody can find any more.
    pub(crate) fn vacate(&self) -> State {
        std::mem::replace(&mut *self.lock(), State::Pending(Waiters::None))
    }

    /// Leaves `waiter` with a pending slot; gives it back, and how the object came out, if the slot is ready.
    pub(crate) fn subscribe(&self, waiter: Waiter) -> Result<(), (Waiter, Came)> {
        let over = match &mut *self.lock() {
            State::Pending(waiters) => waiters.push(waiter),
            State::Ready(resolved) => return Err((waiter, resolved.how())),
        };
        // One of them may hold the last ref to something, this object included.
        drop(over);
        Ok(())
    }
}

/// An object owned by another process.
pub(crate) struct Borrowed {
    pub(crate) id: ObjectId,
    pub(crate) process: Arc<Process>,
    pub(crate) slot: Slot,
    /// Whether the owner was asked for the value.
    pub(crate) asked: std::sync::atomic::AtomicBool,
}

/// The lowest bits of the number of the task that makes an object: what a ref tells without a look at the object's memory,
/// in bytes that would be padding. Refs to the same object have the same.
pub(crate) type Mark = u16;

#[derive(Clone)]
pub(crate) enum Target {
    Owned(Arc<Task>, u32, Mark),
    Borrowed(Arc<Borrowed>, Mark),
}

// Lists of refs are moved, and looked through, as a whole.
const _: () = assert!(size_of::<RawRef>() == 16);

impl Target {
    /// The last ref to it in this process is gone.
    fn released(&self) {
        match self {
            Target::Owned(task, index, _) => task.owner.released(task, *index),
            Target::Borrowed(borrowed, _) => Process::released(borrowed),
        }
    }
}

/// A counted ref without a type.
pub(crate) struct RawRef(Target);

impl RawRef {
    /// Takes over the hold that the slot of a new task was made with.
    pub(crate) fn adopt(task: Arc<Task>, index: u32) -> RawRef {
        let mark = task.seq as Mark;
        RawRef(Target::Owned(task, index, mark))
    }

    /// Another ref to a task's return that already has one, or whose owner's table is locked.
    pub(crate) fn owned(task: Arc<Task>, index: u32) -> RawRef {
        task.slot(index).holds.fetch_add(1, Ordering::Relaxed);
        RawRef::adopt(task, index)
    }

    /// Takes over the hold that the slot of a new borrowed object was made with.
    pub(crate) fn adopt_borrowed(borrowed: Arc<Borrowed>) -> RawRef {
        let mark = borrowed.id.task.seq as Mark;
        RawRef(Target::Borrowed(borrowed, mark))
    }

    /// Another ref to a borrowed object that has one; none if the last is gone, for who dropped it frees the object.
    pub(crate) fn borrowed(borrowed: Arc<Borrowed>) -> Option<RawRef> {
        borrowed.slot.hold_again().then(|| RawRef::adopt_borrowed(borrowed))
    }

    pub(crate) fn target(&self) -> &Target {
        &self.0
    }

    pub(crate) fn mark(&self) -> Mark {
        match &self.0 {
            Target::Owned(_, _, mark) | Target::Borrowed(_, mark) => *mark,
        }
    }

    pub(crate) fn id(&self) -> ObjectId {
        match &self.0 {
            Target::Owned(task, index, _) => ObjectId { task: task.id(), index: *index },
            Target::Borrowed(borrowed, _) => borrowed.id,
        }
    }

    pub(crate) fn process(&self) -> &Arc<Process> {
        match &self.0 {
            Target::Owned(task, ..) => &task.owner.process,
            Target::Borrowed(borrowed, _) => &borrowed.process,
        }
    }

    pub(crate) fn slot(&self) -> &Slot {
        match &self.0 {
            Target::Owned(task, index, _) => task.slot(*index),
            Target::Borrowed(borrowed, _) => &borrowed.slot,
        }
    }

    /// Leaves a waiter; a borrowed object's owner is asked if nobody asked before.
    pub(crate) fn subscribe(&self, waiter: Waiter) -> Result<(), (Waiter, Came)> {
        self.slot().subscribe(waiter)?;
        self.ask();
        Ok(())
    }

    /// A borrowed object's owner is asked how it came out, if nobody asked before; whoever looks later finds the answer.
    pub(crate) fn ask(&self) {
        if let Target::Borrowed(borrowed, _) = &self.0 {
            Process::ask_owner(borrowed);
        }
    }

    /// Refuses a ref of another cluster.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, naming the object, or the actor that the ref keeps alive.
    pub(crate) fn check_cluster(&self, here: ClusterId) -> Result<()> {
        let id = self.id();
        let theirs = id.task.owner.process.cluster;
        if theirs == here {
            return Ok(());
        }
        let thing = match &self.0 {
            Target::Owned(task, ..) if matches!(task.what, What::Lifeline(_)) => task.describe(),
            _ => format!("object {id}"),
        };
        let error = crate::value::foreign(&thing, theirs, here);
        // One that failed before there was a cluster to submit to is of none: what matters is why.
        Err(match self.slot().get() {
            Some(Resolved::Error(cause)) => error.caused_by(cause),
            _ => error,
        })
    }

    /// The name of what makes the object, for messages.
    pub(crate) fn describe(&self) -> String {
        match &self.0 {
            Target::Owned(task, ..) => task.describe(),
            Target::Borrowed(borrowed, _) => format!("object {}", borrowed.id),
        }
    }

    fn same(&self, other: &RawRef) -> bool {
        match (&self.0, &other.0) {
            (Target::Owned(a, i, _), Target::Owned(b, j, _)) => i == j && Arc::ptr_eq(a, b),
            _ => self.id() == other.id(),
        }
    }
}

impl Clone for RawRef {
    fn clone(&self) -> Self {
        self.slot().holds.fetch_add(1, Ordering::Relaxed);
        RawRef(self.0.clone())
    }
}

impl Drop for RawRef {
    fn drop(&mut self) {
        // In one order with the end of the task, which looks whether anybody is left: one of the two sees the other.
        if self.slot().holds.fetch_sub(1, Ordering::SeqCst) == 1 {
            // The object's value may hold the last ref to another, and so on.
            crate::later::step(&self.0, Target::released, |target| {
                let target = target.clone();
                Box::new(move || target.released())
            });
        }
    }
}

impl PartialEq for RawRef {
    fn eq(&self, other: &Self) -> bool {
        self.same(other)
    }
}

impl Eq for RawRef {}

impl fmt::Debug for RawRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectRef({})", self.id())
    }
}
