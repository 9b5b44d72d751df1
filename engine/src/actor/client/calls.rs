//! Calls on their way: queued, sent, answered, cancelled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actinic_transport::{Lane, Peer};

use super::{At, BACKLOG_BYTES, Caller, Client, State};
use crate::actor::credit::Window;
use crate::api::error::Error;
use crate::object::Resolved;
use crate::owner::remote::{CANCEL_WITHIN, Cancelling, carried_refs, wire_dependencies};
use crate::protocol::WORKER;
use crate::protocol::calls::{CALLS, WireCall, WireCalls, WireDependency, WireValue};
use crate::protocol::refs::REF_BYTES;
use crate::protocol::workers::ToWorker;
use crate::task::{Task, What};
use crate::testing::Message as Lost;
use crate::worker::job::Job;

/// What a call takes at its actor beside its arguments.
const CALL_BYTES: usize = 64;

/// What the arguments of a call take there.
fn call_bytes(call: &WireCall<'_>) -> usize {
    let value = |value: &WireValue<'_>| {
        value.body.len()
            + value.buffers.iter().map(|buffer| buffer.len()).sum::<usize>()
            + value.refs.0.len() * REF_BYTES
    };
    let dependencies = call.dependencies.iter().map(|dependency| match dependency {
        WireDependency::Value(inline) => value(inline),
        WireDependency::Stored { refs, .. } => CALL_BYTES + refs.0.len() * REF_BYTES,
    });
    value(&call.input) + dependencies.sum::<usize>()
}

impl Client {
    /// A call was made, in this order; its arguments may not be ready. Those without dependencies are ready at once
    /// and enter at [`Client::ready`].
    pub(crate) fn submitted(self: &Arc<Self>, task: &Arc<Task>) {
        if !task.depends() {
            return;
        }
        let call = Client::call(task);
        call.queued.store(true, Ordering::Release);
        let dead = self.placed(|_, state| {
            if let Some(error) = state.at.fails() {
                return Some(error.clone());
            }
            state.waiting.push_back(call.caller, Arc::clone(task));
            None
        });
        if let Some(error) = dead {
            // Whatever its arguments come to.
            Task::finish_all(task, Resolved::Error(error.subject(task.describe())));
        }
    }

    /// A call's arguments are ready.
    pub(crate) fn ready(self: &Arc<Self>, task: &Arc<Task>) {
        let call = Client::call(task);
        call.ready.store(true, Ordering::Release);
        let failed = self.placed(|client, state| {
            if task.is_cancelled() || task.is_over() {
                // Whoever ended it looked under the same lock where it was, which was nowhere.
                state.waiting.drop_call(call.caller, task);
                client.pump(state, call.caller);
                return None;
            }
            if let Some(error) = state.at.fails() {
                let error = error.clone().subject(task.describe());
                state.waiting.drop_call(call.caller, task);
                return Some(error);
            }
            if call.queued.load(Ordering::Acquire) {
                if client.holds_up(state, call.caller) {
                    client.pump(state, call.caller);
                } else if let Some(at) = state.waiting.find(call.caller, task) {
                    // Of many that wait for their arguments it alone may go.
                    if client.send(state, task) {
                        state.waiting.drop_at(call.caller, at);
                    }
                }
                return None;
            }
            let nothing_before = !state.waiting.has(call.caller);
            let may_go = nothing_before || (!client.in_order() && !client.has_open_calls(state, call.caller));
            if !(may_go && !client.is_open_call(task) && client.send(state, task)) {
                call.queued.store(true, Ordering::Release);
                state.waiting.push_back(call.caller, Arc::clone(task));
            }
            None
        });
        if let Some(error) = failed {
            Task::finish_all(task, Resolved::Error(error));
        }
    }

    /// A call shall run again: before the calls of its caller that were not sent.
    pub(crate) fn retry(self: &Arc<Self>, task: &Arc<Task>) {
        let call = Client::call(task);
        let dead = self.placed(|client, state| {
            if task.is_cancelled() {
                // Whoever cancels it ends it, and has looked for it when it was nowhere.
                client.pump(state, call.caller);
                return false;
            }
            if state.at.fails().is_some() {
                return true;
            }
            call.queued.store(true, Ordering::Release);
            state.waiting.push_front(call.caller, Arc::clone(task));
            client.pump(state, call.caller);
            false
        });
        if dead {
            // It fails as every call of such an actor does.
            self.ready(task);
        }
    }

    /// Sends what may be sent of a caller's queue.
    fn pump(self: &Arc<Self>, state: &mut State, caller: Caller) {
        let Some(mut queue) = state.waiting.take(caller) else { return };
        let mut passed = Vec::new();
        while let Some(task) = queue.pop_front() {
            if task.is_done() {
                continue;
            }
            if self.is_open_call(&task) {
                queue.push_front(task);
                break;
            }
            if !Client::call(&task).ready.load(Ordering::Acquire) && !self.in_order() {
                passed.push(task);
                continue;
            }
            if !Client::call(&task).ready.load(Ordering::Acquire) || !self.send(state, &task) {
                queue.push_front(task);
                break;
            }
        }
        for task in passed.into_iter().rev() {
            queue.push_front(task);
        }
        state.waiting.put_before(caller, queue);
    }

    /// Whether a call that waits may hold up others of its caller.
    fn holds_up(self: &Arc<Self>, state: &State, caller: Caller) -> bool {
        self.in_order() || self.has_open_calls(state, caller)
    }

    /// There is room: whoever found none may go.
    fn unstick(self: &Arc<Self>, state: &mut State) {
        if state.stuck {
            self.pump_all(state);
        }
    }

    pub(super) fn pump_all(self: &Arc<Self>, state: &mut State) {
        state.stuck = false;
        for caller in state.waiting.callers() {
            self.pump(state, caller);
        }
    }

    /// Sends one call; `false` if the actor cannot take it now.
    fn send(self: &Arc<Self>, state: &mut State, task: &Arc<Task>) -> bool {
        let sent = self.try_send(state, task);
        state.stuck |= !sent;
        sent
    }

    fn try_send(self: &Arc<Self>, state: &mut State, task: &Arc<Task>) -> bool {
        match &state.at {
            At::Nowhere | At::Away(_) | At::Dead(_) => false,
            At::Here(host) => {
                let job = Job::Local { task: Arc::clone(task), attempt: task.attempt(), lease: u32::MAX };
                host.push(job).is_ok()
            }
            At::There { peer, incarnation, actor } => {
                if !state.flying.has_room() || (!state.flying.is_empty() && peer.backlog() >= BACKLOG_BYTES) {
                    return false;
                }
                let (peer, incarnation, actor) = (peer.clone(), *incarnation, *actor);
                let number = state.flying.send();
                let (left, bytes) = self.send_call(&peer, incarnation, actor, task, number);
                if !left {
                    state.flying.hold(number);
                }
                state.flying.insert(Arc::clone(task), bytes);
                true
            }
        }
    }

    /// Its bytes; and `false` if it has not left yet: [`Client::left`] is called with `hold` when it has.
    fn send_call(
        self: &Arc<Self>,
        peer: &Peer,
        incarnation: u32,
        actor: u64,
        task: &Arc<Task>,
        hold: u64,
    ) -> (bool, usize) {
        let call = Client::call(task);
        let input = task.input();
        let resolved: Vec<Resolved> = input
            .dependencies
            .iter()
            .map(|dependency| {
                dependency
                    .slot()
                    .get()
                    .unwrap_or_else(|| Resolved::Error(Error::object_lost("an argument is not ready")))
            })
            .collect();
        let name = task.name();
        let wire = WireCall {
            seq: task.seq,
            attempt: task.attempt(),
            method: call.method_id,
            name: &name,
            depth: task.depth,
            input: WireValue::of(&input.inline),
            dependencies: wire_dependencies(&input.dependencies, &resolved),
        };
        let message =
            WireCalls { owner: task.owner.id.number, caller: call.caller.task, actor, incarnation, calls: vec![wire] };
        let refs = carried_refs(&input, &resolved);
        let bytes = CALL_BYTES + message.calls.iter().map(call_bytes).sum::<usize>();
        let client = Arc::clone(self);
        let sent = self.process.send_with_refs(peer, (CALLS, Some(Lost::ActorCall)), &message, refs, move || {
            // Outside of the locks of whoever brought the word.
            client.process.clone().defer(move || client.left(hold));
        });
        let left = sent.unwrap_or_else(|error| {
            let (client, task) = (Arc::clone(self), Arc::clone(task));
            self.process.defer(move || {
                Task::finish_all(&task, Resolved::Error(error.subject(task.describe())));
                client.answered(&task);
            });
            true
        });
        (left, bytes)
    }

    /// The actor's process says how much may be in flight.
    pub(crate) fn granted(self: &Arc<Self>, incarnation: u32, window: Window) {
        let mut state = self.lock();
        if state.incarnation == incarnation {
            state.flying.granted(window);
            self.unstick(&mut state);
        }
    }

    /// A call that was held has left: those behind it follow.
    fn left(self: &Arc<Self>, hold: u64) {
        let mut state = self.lock();
        if state.flying.left(hold) {
            self.unstick(&mut state);
        }
    }

    /// A call to another process was answered: there is room for the next.
    pub(crate) fn answered(self: &Arc<Self>, task: &Task) {
        let real = self.real();
        let mut state = real.lock();
        state.flying.remove(task);
        real.unstick(&mut state);
    }

    /// As [`Client::answered`], of a call whose caller is over.
    pub(crate) fn answered_numbered(self: &Arc<Self>, owner: u32, seq: u64) {
        self.placed(|client, state| {
            if state.flying.remove_numbered(owner, seq) {
                client.unstick(state);
            }
        });
    }

    pub(crate) fn has_flying(self: &Arc<Self>, owner: u32, seq: u64) -> bool {
        self.placed(|_, state| state.flying.has(owner, seq))
    }

    /// The process that calls go to, if it is another.
    pub(crate) fn peer(&self) -> Option<Peer> {
        match &self.lock().at {
            At::There { peer, .. } => Some(peer.clone()),
            _ => None,
        }
    }

    /// A call failed before it was ready: it holds nobody up.
    pub(crate) fn skipped(self: &Arc<Self>, task: &Arc<Task>) {
        let caller = Client::call(task).caller;
        self.placed(|client, state| {
            // Asked before it is dropped: it may be the one that does.
            let open = client.holds_up(state, caller);
            state.waiting.drop_call(caller, task);
            if open {
                client.pump(state, caller);
            }
        });
    }

    /// The owner of these calls is about to end. What was sent runs all the same, and has its place until it is answered:
    /// then nobody knows of it but who is told here.
    pub(crate) fn orphan(calls: &[Arc<Task>]) {
        for (client, mut calls) in by_client(calls) {
            client.placed(|_, state| calls.retain(|task| state.flying.has(task.owner.id.number, task.seq)));
            client.process.orphaned(&client, &calls);
        }
    }

    /// They have ended: those that wait here need not be sent.
    pub(crate) fn forget(calls: &[Arc<Task>]) {
        for (client, _) in by_client(calls) {
            let gone = client.placed(|client, state| {
                let gone = state.waiting.take_where(Task::is_done);
                client.pump_all(state);
                gone
            });
            // Not under the lock.
            drop(gone);
        }
    }

    /// Cancels a call, wherever it is: nothing waits for its answer any more.
    pub(crate) fn cancel(self: &Arc<Self>, task: &Arc<Task>) -> Option<Cancelling> {
        let caller = Client::call(task).caller;
        let (host, cancelling) = self.placed(|client, state| {
            let open = client.holds_up(state, caller);
            let flew = state.flying.remove(task);
            if !flew {
                state.waiting.drop_call(caller, task);
            }
            let (mut host, mut cancelling) = (None, None);
            match &state.at {
                At::Here(here) => host = Some(Arc::clone(here)),
                At::There { peer, actor, .. } if flew => {
                    let message = ToWorker::CancelCall { owner: task.owner.id.number, seq: task.seq, actor: *actor };
                    cancelling = Some(peer.ask_on(Lane::Urgent, WORKER, &message, CANCEL_WITHIN));
                }
                _ => {}
            }
            if flew {
                client.unstick(state);
            } else if open {
                // It may have held up others.
                client.pump(state, caller);
            }
            (host, cancelling)
        });
        if let Some(host) = host {
            host.cancel(task.id());
        }
        cancelling
    }
}

/// The calls among some tasks, by their clients.
fn by_client(tasks: &[Arc<Task>]) -> impl Iterator<Item = (Arc<Client>, Vec<Arc<Task>>)> {
    let mut clients = BTreeMap::new();
    for task in tasks {
        if let What::Method(call) = &task.what {
            let (_, calls) = clients.entry(call.client.id).or_insert_with(|| (Arc::clone(&call.client), Vec::new()));
            calls.push(Arc::clone(task));
        }
    }
    clients.into_values()
}
