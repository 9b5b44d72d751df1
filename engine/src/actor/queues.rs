//! The calls of a client: those that wait, by caller, and those in flight to another process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::actor::client::Caller;
use crate::actor::credit::{FIRST, Window};
use crate::task::Task;

/// The calls of one caller, in their order.
pub(super) type Queue = VecDeque<Arc<Task>>;

/// Queues that are not empty, by caller. Nearly every actor has one caller, and a program may have a hundred thousand
/// actors that are not made yet: the first queue needs no tree.
#[derive(Default)]
pub(super) struct Queues {
    first: Option<(Caller, Queue)>,
    more: BTreeMap<Caller, Queue>,
}

impl Queues {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_empty()
    }

    pub(super) fn has(&self, caller: Caller) -> bool {
        self.first.as_ref().is_some_and(|(first, _)| *first == caller) || self.more.contains_key(&caller)
    }

    /// The queue of a caller: the one who asks puts something into it.
    fn of(&mut self, caller: Caller) -> &mut Queue {
        let is_first = match &self.first {
            Some((first, _)) => *first == caller,
            None => !self.more.contains_key(&caller),
        };
        if is_first {
            &mut self.first.get_or_insert_with(|| (caller, Queue::new())).1
        } else {
            self.more.entry(caller).or_default()
        }
    }

    pub(super) fn push_back(&mut self, caller: Caller, call: Arc<Task>) {
        self.of(caller).push_back(call);
    }

    pub(super) fn push_front(&mut self, caller: Caller, call: Arc<Task>) {
        self.of(caller).push_front(call);
    }

    /// Puts calls before those that wait.
    pub(super) fn put_before(&mut self, caller: Caller, mut calls: Queue) {
        if !calls.is_empty() {
            let queue = self.of(caller);
            calls.append(queue);
            *queue = calls;
        }
    }

    pub(super) fn take(&mut self, caller: Caller) -> Option<Queue> {
        match self.first.take() {
            Some((first, queue)) if first == caller => Some(queue),
            other => {
                self.first = other;
                self.more.remove(&caller)
            }
        }
    }

    /// Takes one call out, wherever it stands.
    pub(super) fn drop_call(&mut self, caller: Caller, call: &Arc<Task>) {
        if let Some(mut queue) = self.take(caller) {
            queue.retain(|other| !Arc::ptr_eq(other, call));
            self.put_before(caller, queue);
        }
    }

    /// Whether a caller has such a call.
    pub(super) fn any(&self, caller: Caller, is: impl Fn(&Task) -> bool) -> bool {
        let queue = match &self.first {
            Some((first, queue)) if *first == caller => Some(queue),
            _ => self.more.get(&caller),
        };
        queue.is_some_and(|queue| queue.iter().any(|call| is(call)))
    }

    /// Takes such calls out, in their order.
    pub(super) fn take_where(&mut self, is: impl Fn(&Task) -> bool) -> Vec<(Caller, Queue)> {
        let mut taken = Vec::new();
        for caller in self.callers() {
            let queue = self.take(caller).unwrap_or_default();
            let (out, rest): (Queue, Queue) = queue.into_iter().partition(|call| is(call));
            self.put_before(caller, rest);
            if !out.is_empty() {
                taken.push((caller, out));
            }
        }
        taken
    }

    pub(super) fn callers(&self) -> Vec<Caller> {
        self.first.iter().map(|(caller, _)| *caller).chain(self.more.keys().copied()).collect()
    }

    pub(super) fn into_queues(self) -> impl Iterator<Item = (Caller, Queue)> {
        self.first.into_iter().chain(self.more)
    }
}

/// Calls in flight to one incarnation, within the window that its process granted.
pub(super) struct Flight {
    window: Window,
    /// It is not `FIRST`, which needs no word.
    was_granted: bool,
    bytes: u64,
    calls: BTreeMap<(u32, u64), (Arc<Task>, u32)>,
}

impl Flight {
    pub(super) fn new() -> Flight {
        Flight { window: FIRST, was_granted: false, bytes: 0, calls: BTreeMap::new() }
    }

    pub(super) fn granted(&mut self, window: Window) {
        self.window = window;
        self.was_granted = true;
    }

    /// Another incarnation has granted nothing yet.
    pub(super) fn anew(&mut self) {
        self.window = FIRST;
        self.was_granted = false;
    }

    /// Whether the actor's process counts this one among its callers.
    pub(super) fn was_granted(&self) -> bool {
        self.was_granted
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Whether one more may go: always, if none is there (CREDIT-2).
    pub(super) fn has_room(&self) -> bool {
        let Window { calls, bytes } = self.window;
        self.calls.is_empty() || (self.calls.len() < calls as usize && self.bytes < u64::from(bytes))
    }

    pub(super) fn insert(&mut self, task: Arc<Task>, bytes: usize) {
        let bytes = bytes.try_into().unwrap_or(u32::MAX);
        self.bytes += u64::from(bytes);
        if let Some((_, before)) = self.calls.insert((task.owner.id.number, task.seq), (task, bytes)) {
            self.bytes -= u64::from(before);
        }
    }

    /// `false` if it is not in flight.
    pub(super) fn remove(&mut self, task: &Task) -> bool {
        let Some((_, bytes)) = self.calls.remove(&(task.owner.id.number, task.seq)) else { return false };
        self.bytes -= u64::from(bytes);
        true
    }

    pub(super) fn take_all(&mut self) -> Vec<Arc<Task>> {
        self.bytes = 0;
        std::mem::take(&mut self.calls).into_values().map(|(task, _)| task).collect()
    }
}
