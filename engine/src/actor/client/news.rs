//! What becomes of an actor, as the GCS says, and what that means for its calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actinic_transport::ProcessId;

use super::{At, Caller, Client, State};
use crate::actor::queues::Queue;
use crate::api::error::Error;
use crate::gcs::core::{ActorState, DeathCause, DeathReason};
use crate::object::Resolved;
use crate::protocol::{ActorNews, ToGcs};
use crate::task::Task;

/// The GCS hears of the death of a process within this: a node that is silent is dead after 5 s.
const HEARS_WITHIN: Duration = Duration::from_secs(10);

impl Client {
    /// What the GCS answered to who asked for the actor by name. What is published may overtake it.
    pub(crate) fn news_by_answer(self: &Arc<Self>, news: &ActorNews) {
        let known = {
            let state = self.lock();
            state.heard.then(|| state.waits.as_deref().cloned())
        };
        let mut news = news.clone();
        news.info.waits = known.unwrap_or(news.info.waits);
        self.news(&news);
    }

    /// What the GCS says of the actor.
    pub(crate) fn news(self: &Arc<Self>, news: &ActorNews) {
        let info = &news.info;
        self.unborn.store(false, Ordering::Release);
        match &info.found {
            Some(found) if found.id != self.id => return self.is_another(found, news),
            _ => self.is_itself(),
        }
        let mut state = self.lock();
        if matches!(state.at, At::Dead(_)) || is_stale((state.incarnation, state.state), (info.incarnation, info.state))
        {
            return;
        }
        let same = info.incarnation == state.incarnation && !matches!(state.at, At::Nowhere);
        if info.incarnation != state.incarnation {
            state.flying.anew();
        }
        state.incarnation = info.incarnation;
        state.heard = true;
        state.waits = info.waits.clone().map(Box::new);
        state.state = info.state;
        state.node = info.node.or(state.node);
        match info.state {
            ActorState::Alive => {
                let Some(address) = info.address else { return };
                if same {
                    return;
                }
                let lost = self.leave(&mut state);
                if let Some(at) = news.peer.as_ref().filter(|at| self.process.cannot_reach(at)) {
                    self.is_away(&mut state, at.id, lost);
                    drop(state);
                    return self.made(Ok(()));
                }
                state.at = if address.process == self.process.id {
                    match self.process.actor(address.actor.0) {
                        Some(host) => At::Here(host),
                        None => At::Nowhere,
                    }
                } else {
                    match (self.process.endpoint(), &news.peer) {
                        (Ok(endpoint), Some(at)) => {
                            At::There { peer: endpoint.peer(at), incarnation: info.incarnation, actor: address.actor.0 }
                        }
                        _ => At::Nowhere,
                    }
                };
                self.retry_or_fail(&mut state, lost, "it was restarted");
                self.pump_all(&mut state);
                state.waiting.shrink();
                drop(state);
                self.made(Ok(()));
            }
            ActorState::Restarting => {
                let lost = self.leave(&mut state);
                self.retry_or_fail(&mut state, lost, "it is restarting");
            }
            ActorState::Dead => {
                let cause = info.death.as_ref().map_or_else(|| "for an unknown cause".to_owned(), |death| death.text());
                let mut error = match &info.death {
                    Some(death) if death.reason.is_infeasible() => Error::infeasible(cause),
                    Some(death) if death.reason.is_invalid() => Error::invalid_argument(cause),
                    _ => Error::actor_died(cause),
                };
                error = error.subject(self.describe());
                if let Some(death) = &info.death {
                    error = error.remedy(death.remedy());
                }
                if let Some(cause) = info.death.as_ref().and_then(|death| constructor_error(death)) {
                    error = error.caused_by(cause);
                }
                if let Some(node) = info.node {
                    error = error.at_node(node);
                }
                drop(state);
                self.die(error);
            }
            _ => {}
        }
    }

    /// Takes the calls in flight out; where they went is gone.
    fn leave(&self, state: &mut State) -> Vec<Arc<Task>> {
        state.at = At::Nowhere;
        state.flying.take_all()
    }

    /// Calls whose incarnation is gone: again if their retries allow, else an error that says they may have run.
    fn retry_or_fail(self: &Arc<Self>, state: &mut State, lost: Vec<Arc<Task>>, why: &str) {
        let mut again: BTreeMap<Caller, Queue> = BTreeMap::new();
        for task in lost {
            if task.is_done() {
                continue;
            }
            let attempt = task.attempt();
            if task.next_attempt() {
                task.owner.note_end(&task, attempt, None, Some(&self.lost(&task, why)));
                again.entry(Client::call(&task).caller).or_default().push_back(task);
            } else {
                self.fail_later(&task, why);
            }
        }
        for (caller, queue) in again {
            state.waiting.put_before(caller, queue);
        }
    }

    /// The error of a call whose incarnation is gone.
    fn lost(&self, task: &Task, why: &str) -> Error {
        Error::actor_unavailable(format!(
            "{} was lost on its way to {}: {why}; it may or may not have run",
            task.describe(),
            self.describe()
        ))
        .subject(task.describe())
        .remedy("call again, or allow retries with `max_task_retries`")
    }

    fn fail_later(&self, task: &Arc<Task>, why: &str) {
        let error = self.lost(task, why);
        let task = Arc::clone(task);
        // Waiters are told outside of the client's lock.
        self.process.defer(move || Task::finish_all(&task, Resolved::Error(error)));
    }

    /// A call that its actor did not finish, because the incarnation ended under it.
    pub(crate) fn lost_here(self: &Arc<Self>, incarnation: u32, calls: Vec<Arc<Task>>, why: &str) {
        let mut state = self.lock();
        if let At::Dead(error) = &state.at {
            let error = error.clone();
            drop(state);
            for task in calls {
                Task::finish_all(&task, Resolved::Error(error.clone().subject(task.describe())));
            }
            return;
        }
        if incarnation < state.incarnation {
            // The GCS has given its word already.
            self.retry_or_fail(&mut state, calls, why);
            self.pump_all(&mut state);
            return;
        }
        state.at = At::Nowhere;
        // What the actor's end will mean for its calls is the GCS's to say: they wait for its word.
        for task in calls {
            state.flying.insert(task, 0);
        }
        // A subscriber of the user's may call actors.
        drop(state);
        tracing::debug!(actor = %self.id, why, "calls wait for the word of the GCS");
    }

    /// The actor is dead for good.
    pub(crate) fn die(self: &Arc<Self>, error: Error) {
        self.is_itself();
        let (all, others) = {
            let mut state = self.lock();
            if matches!(state.at, At::Dead(_)) {
                // What it died of first is why.
                return;
            }
            state.at = At::Dead(error.clone());
            state.state = ActorState::Dead;
            let others = state.waiting.take_where(|task| self.is_open_call(task));
            let waited = std::mem::take(&mut state.waiting).into_queues().flat_map(|(_, queue)| queue);
            (state.flying.take_all().into_iter().chain(waited).collect::<Vec<_>>(), others)
        };
        for (caller, calls) in others {
            // Whose they are: more than one may have asked.
            for call in calls.into_iter().rev() {
                let of = Arc::clone(&Client::call(&call).client);
                of.give_back(caller, Queue::from([call]));
            }
        }
        self.made(Err(error.clone()));
        for task in all {
            Task::finish_all(&task, Resolved::Error(error.clone().subject(task.describe())));
        }
        // Not who waits for its beginning, and came since the above: that one looks again itself.
        self.closed(&error);
    }

    /// The actor lives in a process that is over for this one: nothing that was or will be called comes back.
    fn is_away(self: &Arc<Self>, state: &mut State, process: ProcessId, lost: Vec<Arc<Task>>) {
        let error = Error::actor_unavailable(format!(
            "{} lives in process {process}, which this process cannot reach any more",
            self.describe()
        ))
        .remedy("see whether the network between the two machines lets UDP through, in both directions");
        for task in lost.into_iter().filter(|task| !task.is_done()) {
            self.fail_later(&task, "its process cannot be reached from here any more");
        }
        self.fail_waiting(state, &error);
        state.at = At::Away(error);
    }

    /// Fails what waits here, and is known to be meant for this actor.
    pub(super) fn fail_waiting(self: &Arc<Self>, state: &mut State, error: &Error) {
        for (_, calls) in state.waiting.take_where(|task| !self.is_open_call(task)) {
            for task in calls {
                let error = error.clone().subject(task.describe());
                // Waiters are told outside of the client's lock.
                self.process.defer(move || Task::finish_all(&task, Resolved::Error(error)));
            }
        }
    }

    /// The process where it lives is gone; what that means, the GCS will say. One that says nothing is asked: a session may
    /// have ended whose other side lives, and that is no news to the GCS.
    pub(crate) fn process_lost(self: &Arc<Self>, process: ProcessId) {
        let incarnation = {
            let mut state = self.lock();
            if !matches!(&state.at, At::There { peer, .. } if peer.id() == process) {
                return;
            }
            state.at = At::Nowhere;
            state.incarnation
        };
        let client = Arc::downgrade(self);
        self.process.spawn(async move {
            tokio::time::sleep(HEARS_WITHIN).await;
            let Some(client) = client.upgrade() else { return };
            let waits = {
                let state = client.lock();
                matches!(state.at, At::Nowhere) && (state.incarnation, state.state) == (incarnation, ActorState::Alive)
            };
            if waits {
                let to = client.process.address();
                client.process.tell_gcs(ToGcs::Subscribe { actor: client.id, owner: None, to });
            }
        });
    }
}

impl Client {
    /// The death of an actor whose constructor's arguments failed, in the words in which others hear of it from the GCS.
    pub(crate) fn died_unmade(&self, error: Error) -> Error {
        let death = DeathCause {
            actor: self.id,
            class: self.class().to_owned(),
            name: self.name.as_ref().map(|name| name.name.clone()),
            node: None,
            restarts: 0,
            max_restarts: 0,
            reason: DeathReason::ConstructorError { text: error.to_string(), error: Default::default() },
        };
        Error::actor_died(death.text()).subject(self.describe()).remedy(death.remedy()).caused_by(error)
    }
}

/// Whether the GCS said it before what is known. Answers and news come on ways of their own, and may overtake each
/// other; an incarnation is alive only after all else but its end.
fn is_stale(known: (u32, ActorState), said: (u32, ActorState)) -> bool {
    let before = said.0 == known.0 && known.1 == ActorState::Alive;
    said.0 < known.0 || (before && !matches!(said.1, ActorState::Alive | ActorState::Dead))
}

/// The error that a constructor returned, if that is why the actor is dead.
fn constructor_error(death: &DeathCause) -> Option<Error> {
    match &death.reason {
        DeathReason::ConstructorError { error, .. } => postcard::from_bytes(error).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `get_actor` may be answered while an actor restarts, and its news that it is alive come first.
    #[test]
    fn what_was_said_before_an_incarnation_was_alive_is_stale() {
        use ActorState::{Alive, Dead, Restarting};
        assert!(is_stale((1, Alive), (1, Restarting)));
        assert!(is_stale((1, Alive), (0, Alive)));
        assert!(!is_stale((1, Alive), (1, Alive)), "its process may have been found again");
        assert!(!is_stale((1, Alive), (1, Dead)));
        assert!(!is_stale((1, Alive), (2, Restarting)));
        assert!(!is_stale((1, Restarting), (1, Alive)));
    }
}
