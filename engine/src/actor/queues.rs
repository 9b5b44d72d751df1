//! The calls of a client: those that wait, by caller, and those in flight to another process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::actor::client::Caller;
use crate::actor::credit::{FIRST, Window};
use crate::rarely::Rarely;
use crate::task::Task;

/// The calls of one caller, in their order.
pub(super) type Queue = VecDeque<Arc<Task>>;

/// Queues that are not empty, by caller. Nearly every actor has one caller, and a program may have a hundred thousand
/// actors that are not made yet: the first queue needs no tree.
#[derive(Default)]
struct ByCaller {
    first: Option<(Caller, Queue)>,
    more: BTreeMap<Caller, Queue>,
}

impl ByCaller {
    fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_empty()
    }

    fn get(&self, caller: Caller) -> Option<&Queue> {
        match &self.first {
            Some((first, queue)) if *first == caller => Some(queue),
            _ => self.more.get(&caller),
        }
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

    fn take(&mut self, caller: Caller) -> Option<Queue> {
        match self.first.take() {
            Some((first, queue)) if first == caller => Some(queue),
            other => {
                self.first = other;
                self.more.remove(&caller)
            }
        }
    }
}

/// The calls that wait at a client: most of its life, none do.
#[derive(Default)]
pub(super) struct Queues(Rarely<ByCaller>);

impl Queues {
    pub(super) fn is_empty(&self) -> bool {
        self.0.get().is_none_or(ByCaller::is_empty)
    }

    pub(super) fn has(&self, caller: Caller) -> bool {
        self.0.get().is_some_and(|queues| queues.get(caller).is_some())
    }

    pub(super) fn push_back(&mut self, caller: Caller, call: Arc<Task>) {
        self.0.make().of(caller).push_back(call);
    }

    pub(super) fn push_front(&mut self, caller: Caller, call: Arc<Task>) {
        self.0.make().of(caller).push_front(call);
    }

    /// Puts calls before those that wait.
    pub(super) fn put_before(&mut self, caller: Caller, mut calls: Queue) {
        if !calls.is_empty() {
            let queue = self.0.make().of(caller);
            calls.append(queue);
            *queue = calls;
        }
    }

    pub(super) fn take(&mut self, caller: Caller) -> Option<Queue> {
        self.0.get_mut()?.take(caller)
    }

    /// Keeps no room for calls to come, if none wait.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            self.0.clear();
        }
    }

    /// Takes one call out, wherever it stands.
    pub(super) fn drop_call(&mut self, caller: Caller, call: &Arc<Task>) {
        if let Some(at) = self.find(caller, call) {
            self.drop_at(caller, at);
        }
    }

    /// Where a call stands in its caller's queue.
    pub(super) fn find(&self, caller: Caller, call: &Arc<Task>) -> Option<usize> {
        let queue = self.0.get()?.get(caller)?;
        // Mostly they stand in the order of their numbers; those that are called again, before all others.
        let likely = queue.binary_search_by_key(&call.seq, |other| other.seq).ok();
        let likely = likely.filter(|at| queue.get(*at).is_some_and(|other| Arc::ptr_eq(other, call)));
        likely.or_else(|| queue.iter().position(|other| Arc::ptr_eq(other, call)))
    }

    pub(super) fn drop_at(&mut self, caller: Caller, at: usize) {
        if let Some(mut queue) = self.take(caller) {
            queue.remove(at);
            self.put_before(caller, queue);
        }
    }

    /// Whether a caller has such a call.
    pub(super) fn any(&self, caller: Caller, is: impl Fn(&Task) -> bool) -> bool {
        let queue = self.0.get().and_then(|queues| queues.get(caller));
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
        let Some(queues) = self.0.get() else { return Vec::new() };
        queues.first.iter().map(|(caller, _)| *caller).chain(queues.more.keys().copied()).collect()
    }

    pub(super) fn into_queues(mut self) -> impl Iterator<Item = (Caller, Queue)> {
        let queues = self.0.take();
        queues.first.into_iter().chain(queues.more)
    }
}

/// Calls in flight to one incarnation in another process, within the window that it granted.
struct Sent {
    window: Window,
    /// It is not `FIRST`, which needs no word.
    was_granted: bool,
    bytes: u64,
    calls: BTreeMap<(u32, u64), (Arc<Task>, u32)>,
    /// How many were sent.
    sent: u64,
    /// The one that was sent and has not left: an owner elsewhere must hear of a ref in it first. It holds up the others.
    held: Option<u64>,
}

impl Default for Sent {
    fn default() -> Sent {
        Sent { window: FIRST, was_granted: false, bytes: 0, calls: BTreeMap::new(), sent: 0, held: None }
    }
}

/// Calls in flight: to an actor in this process, none are.
#[derive(Default)]
pub(super) struct Flight(Rarely<Sent>);

impl Flight {
    pub(super) fn granted(&mut self, window: Window) {
        let sent = self.0.make();
        sent.window = window;
        sent.was_granted = true;
    }

    /// Another incarnation has granted nothing yet.
    pub(super) fn anew(&mut self) {
        if let Some(sent) = self.0.get_mut() {
            sent.window = FIRST;
            sent.was_granted = false;
        }
    }

    /// Whether the actor's process counts this one among its callers.
    pub(super) fn was_granted(&self) -> bool {
        self.0.get().is_some_and(|sent| sent.was_granted)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.get().is_none_or(|sent| sent.calls.is_empty())
    }

    /// Whether one more may go: always, if none is there (CREDIT-2) and none is held up.
    pub(super) fn has_room(&self) -> bool {
        let Some(Sent { window, bytes, calls, held, .. }) = self.0.get() else { return true };
        if held.is_some() {
            return false;
        }
        calls.is_empty() || (calls.len() < window.calls as usize && *bytes < u64::from(window.bytes))
    }

    /// One is about to be sent; its number.
    pub(super) fn send(&mut self) -> u64 {
        let sent = self.0.make();
        sent.sent += 1;
        sent.sent
    }

    /// The one with that number has not left yet.
    pub(super) fn hold(&mut self, number: u64) {
        self.0.make().held = Some(number);
    }

    /// It has left; `false` if it held nothing up.
    pub(super) fn left(&mut self, number: u64) -> bool {
        let held = self.0.get_mut().map(|sent| &mut sent.held).filter(|held| **held == Some(number));
        held.is_some_and(|held| held.take().is_some())
    }

    pub(super) fn insert(&mut self, task: Arc<Task>, bytes: usize) {
        let bytes = bytes.try_into().unwrap_or(u32::MAX);
        let sent = self.0.make();
        sent.bytes += u64::from(bytes);
        if let Some((_, before)) = sent.calls.insert((task.owner.id.number, task.seq), (task, bytes)) {
            sent.bytes -= u64::from(before);
        }
    }

    /// `false` if it is not in flight.
    pub(super) fn remove(&mut self, task: &Task) -> bool {
        self.remove_numbered(task.owner.id.number, task.seq)
    }

    pub(super) fn has(&self, owner: u32, seq: u64) -> bool {
        self.0.get().is_some_and(|sent| sent.calls.contains_key(&(owner, seq)))
    }

    pub(super) fn remove_numbered(&mut self, owner: u32, seq: u64) -> bool {
        let Some(sent) = self.0.get_mut() else { return false };
        let Some((_, bytes)) = sent.calls.remove(&(owner, seq)) else { return false };
        sent.bytes -= u64::from(bytes);
        true
    }

    pub(super) fn take_all(&mut self) -> Vec<Arc<Task>> {
        let Some(sent) = self.0.get_mut() else { return Vec::new() };
        sent.bytes = 0;
        sent.held = None;
        std::mem::take(&mut sent.calls).into_values().map(|(task, _)| task).collect()
    }
}
