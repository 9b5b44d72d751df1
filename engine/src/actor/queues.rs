//! The calls that wait at a client, by caller.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::actor::client::Caller;
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

    pub(super) fn callers(&self) -> Vec<Caller> {
        self.first.iter().map(|(caller, _)| *caller).chain(self.more.keys().copied()).collect()
    }

    pub(super) fn into_calls(self) -> impl Iterator<Item = Arc<Task>> {
        self.first.into_iter().map(|(_, queue)| queue).chain(self.more.into_values()).flatten()
    }
}
