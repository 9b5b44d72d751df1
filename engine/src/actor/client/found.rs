//! `get_if_exists`: which actor a client is of, once the GCS has said.
//!
//! A client of an actor that another has made already hands all that it has to that one's: its calls, in their order;
//! who waits for it; the share that its handles have; and its lifeline, which the GCS counts from its answer on.
//! Locks are taken in one order: first of the client that asked, then of the one that is (probably) meant, which never
//! asks for another itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{At, Caller, Client, ClientLimits, Held, State, Watchers};
use crate::actor::queues::Queue;
use crate::api::error::Error;
use crate::gcs::core::{ActorInfo, Found};
use crate::ids::{ActorId, ObjectId};
use crate::object::{RawRef, Resolved};
use crate::protocol::ActorNews;
use crate::task::Task;

impl Client {
    /// Acts where this one's calls are: on its own state, or on that of the client that is meant, or probably is.
    pub(super) fn placed<R>(self: &Arc<Self>, act: impl FnOnce(&Arc<Client>, &mut State) -> R) -> R {
        let mut own = self.lock();
        if let Some(real) = self.real.get() {
            drop(own);
            return act(real, &mut real.lock());
        }
        let Some(probably) = own.probably.clone() else { return act(self, &mut own) };
        let act = {
            let there = probably.real();
            let mut state = there.lock();
            if !matches!(state.at, At::Dead(_)) {
                return act(there, &mut state);
            }
            act
        };
        // It has given back what waited there, or is about to.
        act(self, &mut own)
    }

    /// The client with which calls of this actor wait: this one, unless that itself is not known to be of its own actor.
    pub(crate) fn root(self: &Arc<Self>) -> Arc<Client> {
        let probably = self.lock().probably.clone();
        Arc::clone(probably.as_ref().unwrap_or(self).real())
    }

    /// The id of the actor that is meant, or probably is until the GCS has said.
    pub(crate) fn likely_id(self: &Arc<Self>) -> ActorId {
        if self.is_open() { self.root().id } else { self.real().id }
    }

    /// Whether a call that waits here must not be sent yet: it is of a client that is not known to mean this actor.
    pub(super) fn is_open_call(self: &Arc<Self>, task: &Task) -> bool {
        let of = &Client::call(task).client;
        !Arc::ptr_eq(of, self) && of.open.load(Ordering::Acquire)
    }

    /// Whether a call of a caller must not overtake what waits: an open one does.
    pub(super) fn has_open_calls(self: &Arc<Self>, state: &State, caller: Caller) -> bool {
        self.askers.load(Ordering::Acquire) > 0 && state.waiting.any(caller, |task| self.is_open_call(task))
    }

    /// Whether it is not known yet which actor is meant.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// The GCS has said that this is an actor of its own, or none: its calls are its own too.
    pub(super) fn is_itself(self: &Arc<Self>) {
        if !self.open.load(Ordering::Acquire) {
            return;
        }
        let mut own = self.lock();
        if let Some(probably) = own.probably.take() {
            for (caller, queue) in probably.give_up(self) {
                own.waiting.put_before(caller, queue);
            }
        }
        self.open.store(false, Ordering::Release);
    }

    /// Gives out the calls that wait here for another client, which is not of this actor.
    fn give_up(self: &Arc<Self>, of: &Arc<Client>) -> Vec<(Caller, Queue)> {
        let there = self.real();
        there.askers.fetch_sub(1, Ordering::AcqRel);
        let mut state = there.lock();
        let calls = state.waiting.take_where(|task| Arc::ptr_eq(&Client::call(task).client, of));
        there.pump_all(&mut state);
        calls
    }

    /// The actor that was probably meant is dead: calls that waited with it come back, before any made since.
    pub(super) fn give_back(self: &Arc<Self>, caller: Caller, calls: Queue) {
        let real = {
            let mut own = self.lock();
            if let Some(probably) = own.probably.take() {
                probably.real().askers.fetch_sub(1, Ordering::AcqRel);
            }
            match (self.real.get(), &own.at) {
                (Some(real), _) => Arc::clone(real),
                (None, At::Dead(error) | At::Away(error)) => {
                    let error = error.clone();
                    drop(own);
                    return fail(calls, &error);
                }
                (None, _) => {
                    own.waiting.put_before(caller, calls);
                    return self.pump_all(&mut own);
                }
            }
        };
        real.give_back(caller, calls);
    }

    /// The GCS says that another actor has the name: this is one more client of that one.
    pub(super) fn is_another(self: &Arc<Self>, found: &Found, news: &ActorNews) {
        let limits = ClientLimits {
            max_concurrency: found.max_concurrency,
            max_pending: found.max_pending_calls,
            max_task_retries: found.max_task_retries,
            task_events: found.task_events,
        };
        let process = &self.process;
        let (real, _) = process.client_or_new(found.id, || {
            Client::new(found.id, self.entry, Arc::clone(process), limits, self.name.clone())
        });
        if let Some(name) = &self.name {
            process.set_named(name, &real);
        }
        let info = ActorInfo { id: found.id, found: None, ..news.info.clone() };
        // Where the actor is, before its calls come. The GCS tells this process from now on.
        real.news(&ActorNews { info, peer: news.peer.clone() });
        if Arc::ptr_eq(&real, self) || self.real.get().is_some() {
            return;
        }
        // What its handles hold here, until none is left.
        real.hold();
        let lifeline = self.lifeline().filter(|_| found.lifeline.is_some());
        let claim = lifeline.as_ref().map(RawRef::id);
        if let Some(lifeline) = lifeline {
            real.set_lifeline(lifeline);
        }
        self.hand_over(&real);
        // Not before: a handle that leaves meanwhile takes a ref to it along.
        let _own = std::mem::take(&mut *self.held());
        self.holds_real.store(true, Ordering::Release);
        if !self.is_used() {
            self.release_real();
        }
        if let (Some(claim), Some(lifeline)) = (claim, found.lifeline)
            && claim != lifeline
        {
            real.hold_as_others(claim, lifeline);
        }
    }

    /// Hands the calls and whoever waits over to the client that is meant.
    fn hand_over(self: &Arc<Self>, real: &Arc<Client>) {
        let dead = {
            let mut own = self.lock();
            let mut calls = Vec::new();
            if let Some(probably) = own.probably.take() {
                if Arc::ptr_eq(probably.real(), real) {
                    // They wait where they belong.
                    probably.real().askers.fetch_sub(1, Ordering::AcqRel);
                } else {
                    calls = probably.give_up(self);
                }
            }
            calls.extend(std::mem::take(&mut own.waiting).into_queues());
            // Whoever comes from now on goes there, behind these.
            let mut there = real.lock();
            // Nobody else sets it: the GCS's news are heard one after the other.
            let _ = self.real.set(Arc::clone(real));
            self.open.store(false, Ordering::Release);
            real.askers.fetch_add(self.askers.swap(0, Ordering::AcqRel), Ordering::AcqRel);
            drop(own);
            match &there.at {
                At::Dead(error) => Some((error.clone(), calls)),
                At::Away(error) => {
                    let error = error.clone();
                    // Those that waited there as this one's too.
                    real.fail_waiting(&mut there, &error);
                    Some((error, calls))
                }
                _ => {
                    for (caller, queue) in calls {
                        for call in queue {
                            there.waiting.push_back(caller, call);
                        }
                    }
                    real.pump_all(&mut there);
                    None
                }
            }
        };
        if let Some((error, calls)) = dead {
            calls.into_iter().for_each(|(_, queue)| fail(queue, &error));
        }
        if self.stopping.load(Ordering::Acquire) {
            real.stopping.store(true, Ordering::Release);
        }
        let Watchers { ready, closed } = self.watchers().take();
        for waiting in ready {
            real.hold();
            real.watchers().make().ready.push(waiting);
            self.let_go();
        }
        real.made_already();
        closed.into_iter().for_each(|tell| real.on_closed(tell));
    }

    /// The last handle that this client gave out is gone, and its calls are over.
    pub(super) fn release_real(&self) {
        if let Some(real) = self.real.get()
            && self.holds_real.swap(false, Ordering::AcqRel)
        {
            // A handle may have arrived meanwhile, for which it is held on.
            if self.is_used() && !self.holds_real.swap(true, Ordering::AcqRel) {
                return;
            }
            real.let_go();
        }
    }

    /// Holds what the actor's other handles hold instead of this process's own claim, if that can be had: it does not end
    /// with this process.
    fn hold_as_others(self: &Arc<Self>, claim: ObjectId, lifeline: ObjectId) {
        let (client, process) = (Arc::clone(self), Arc::clone(&self.process));
        process.clone().spawn(async move {
            let Some(real) = process.lifeline_of(lifeline).await else { return };
            let _before = {
                let mut held = client.held();
                match &*held {
                    Held::Lifeline(own) if own.id() == claim => std::mem::replace(&mut *held, Held::Lifeline(real)),
                    _ => Held::Lifeline(real),
                }
            };
        });
    }
}

fn fail(calls: Queue, error: &Error) {
    for task in calls {
        Task::finish_all(&task, Resolved::Error(error.clone().subject(task.describe())));
    }
}
