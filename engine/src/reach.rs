//! How a process reaches another that it never spoke with: it asks where that one is, first its own raylet, which asks
//! the raylet of that one's node. An id names its node, so no table of all processes is needed.
//!
//! What is said to a process meanwhile waits, in order. If its node does not know it, it is dead.

use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{Answer, AskError, Lane, Peer, PeerAddr, ProcessId, SendError};

use crate::api::error::{Error, Result};
use crate::ids::{OwnerId, TaskId};
use crate::owner::remote::CANCEL_WITHIN;
use crate::process::Process;
use crate::protocol::{AskGcs, AskRaylet, GcsAnswer, OWNER, OwnerMessage, RAYLET, RayletAnswer, ToOwner};
use crate::raylet::{FindProcess, Found, RayletLink};
use crate::testing::Message as Lost;

/// A raylet answers within this, or is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// An owner asks the worker twice: whether force ends the task, then to end it.
const OWNER_CANCELS_WITHIN: Duration = CANCEL_WITHIN.saturating_mul(3);
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// So long is a raylet asked that gives no answer, as a session without a connection lasts; the death of a node is known long
/// before.
const GIVE_UP: Duration = Duration::from_secs(60);

impl Process {
    /// Tells the owners of a process something.
    pub(crate) fn tell_owner(self: &Arc<Self>, process: ProcessId, message: ToOwner) {
        if process == self.id {
            self.deliver(message);
            return;
        }
        let Some(message) = self.wait_with_others(process, message) else { return };
        match self.endpoint().ok().and_then(|endpoint| endpoint.known(process)) {
            Some(peer) => self.tell_peer(&peer, message),
            None if self.is_dead(process) => self.undeliverable(process, message, "its owner is gone"),
            None => {
                if self.begin_reaching(process, message) {
                    let this = Arc::clone(self);
                    self.spawn(async move { this.reach(process).await });
                }
            }
        }
    }

    /// Cancels a task of any process, until all that hear of it have; the error is its owner's, which refuses to end it by force.
    pub(crate) async fn ask_cancel(self: &Arc<Self>, task: TaskId, force: bool, recursive: bool) -> Result<()> {
        let (id, owner) = (task.owner.process, task.owner.number);
        if id == self.id {
            return self.cancel_owned(owner, task.seq, force, recursive).await;
        }
        let endpoint = self.endpoint()?;
        let peer = match endpoint.known(id) {
            Some(peer) => Some(peer),
            None => self.locate(id).await.map_err(not_cancelled)?.map(|at| endpoint.peer(&at)),
        };
        // A dead owner's tasks end with it.
        let Some(peer) = peer else { return Ok(()) };
        let message = OwnerMessage::Cancel { seq: task.seq, force, recursive };
        // What it cancels was made by its owner, which knows it for as long as its ref is held here.
        let answer: Answer<Result<()>> =
            peer.ask_on(Lane::Urgent, OWNER, &ToOwner::To { owner, message }, OWNER_CANCELS_WITHIN);
        match answer.await {
            Ok(answer) => answer,
            Err(AskError::Ended { .. } | AskError::Send(SendError::Ended { .. })) => Ok(()),
            Err(error) => Err(not_cancelled(error)),
        }
    }

    /// Cancels a task of this process, until all that hear of it have.
    pub(crate) async fn cancel_owned(
        self: &Arc<Self>,
        owner: u32,
        seq: u64,
        force: bool,
        recursive: bool,
    ) -> Result<()> {
        match self.owner_numbered(owner).and_then(|owner| owner.task(seq)) {
            Some(task) => task.owner.cancel_until_told(&task, force, recursive).await,
            None => Ok(()),
        }
    }

    fn tell_peer(&self, peer: &Peer, message: ToOwner) {
        if let ToOwner::To { message, .. } = &message
            && matches!(message, OwnerMessage::Grant { .. } | OwnerMessage::Spill { .. } | OwnerMessage::Refuse { .. })
        {
            self.may_lose(Lost::LeaseReply, peer);
        }
        // Whoever lets go of a million refs at once says so in as many messages.
        self.room.tell(peer, OWNER, message);
    }

    async fn reach(self: Arc<Self>, id: ProcessId) {
        let located = self.locate(id).await;
        let peer = match (located, self.endpoint()) {
            (Ok(Some(at)), Ok(endpoint)) => endpoint.peer(&at),
            (located, _) => {
                let lost = self.end_reaching(id);
                let why = match located {
                    // That nobody could say where it is says nothing of the process.
                    Err(error) => format!("nobody could say where its owner is: {error}"),
                    Ok(_) => {
                        if !self.is_closing() {
                            self.process_dead(id, "its node knows no such process");
                        }
                        "its owner is gone".to_owned()
                    }
                };
                for message in lost {
                    self.undeliverable(id, message, &why);
                }
                return;
            }
        };
        while let Some(messages) = self.next_reached(id) {
            for message in messages {
                self.tell_peer(&peer, message);
            }
        }
    }

    /// What is said to the dead, or to whom nobody finds: who asked for an object has lost it, and a message whose refs were to
    /// be registered leaves without.
    fn undeliverable(&self, to: ProcessId, message: ToOwner, why: &str) {
        match message {
            ToOwner::GetObject { object, .. } => self.borrowed_lost(object, why),
            ToOwner::To { owner: number, message: OwnerMessage::Count { from, message } } => {
                tracing::debug!(?message, why, "what was said about refs was dropped");
                if let Some(owner) = self.owner_numbered(from.number) {
                    owner.count_unheard(OwnerId { process: to, number }, &message);
                }
            }
            message => tracing::debug!(?message, why, "a message to an owner was dropped"),
        }
    }

    /// Where a process is; none if it is gone.
    ///
    /// # Errors
    ///
    /// If nobody could say for [`GIVE_UP`].
    async fn locate(self: &Arc<Self>, id: ProcessId) -> Result<Option<PeerAddr>> {
        let until = self.env.now() + GIVE_UP;
        loop {
            if self.is_closing() || self.is_dead(id) {
                return Ok(None);
            }
            match self.where_is(id).await {
                Ok(found) => return Ok(found),
                Err(error) if self.env.now() >= until => return Err(error),
                Err(error) => tracing::debug!(process = %id, %error, "nobody could say where the process is"),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Whether a process is known to be dead, or its node says so.
    pub(crate) async fn is_gone(self: &Arc<Self>, id: ProcessId) -> bool {
        id != self.id && (self.is_dead(id) || matches!(self.where_is(id).await, Ok(None)))
    }

    /// Where a process is; none if its node says that there is no such process.
    ///
    /// # Errors
    ///
    /// If nobody could say.
    pub(crate) async fn where_is(self: &Arc<Self>, id: ProcessId) -> Result<Option<PeerAddr>> {
        let raylet = match self.raylet.get() {
            Some(RayletLink::Local(raylet)) => raylet.clone(),
            Some(RayletLink::Remote(raylet, _)) => return ask_raylet(raylet, id).await,
            None => return Err(Error::connection("this process has no raylet")),
        };
        let found = raylet.send(FindProcess(id)).await.map_err(|_| Error::connection("the raylet has ended"))?;
        let there = match found {
            Found::Here(at) => return Ok(at),
            Found::Node(raylet) => raylet,
            Found::Unknown => match self.raylet_of(id).await? {
                Some(raylet) => raylet,
                None => return Ok(None),
            },
        };
        if there.id == id {
            return Ok(Some(there));
        }
        ask_raylet(&self.endpoint()?.peer(&there), id).await
    }

    /// The raylet of a process's node, by the GCS: this node may not have heard of that one yet.
    async fn raylet_of(self: &Arc<Self>, id: ProcessId) -> Result<Option<PeerAddr>> {
        let Some(gcs) = self.gcs.get() else { return Ok(None) };
        let GcsAnswer::Nodes(rows, ..) = gcs.ask(AskGcs::Nodes, ANSWER_WITHIN).await? else {
            return Err(Error::connection("the GCS answered something else"));
        };
        let row = rows.into_iter().find(|row| row.id == id.node && row.state.is_up());
        Ok(row.map(|row| PeerAddr { id: row.process, addrs: row.addrs, relay: None }))
    }
}

/// The error of a cancellation of which nobody knows whether it was heard.
fn not_cancelled(why: impl std::fmt::Display) -> Error {
    Error::connection(format!("the task's owner did not say whether it cancelled the task: {why}"))
        .remedy("the task may go on: cancel it again, or see whether its owner's process hangs or cannot be reached")
}

async fn ask_raylet(raylet: &Peer, id: ProcessId) -> Result<Option<PeerAddr>> {
    match raylet.ask(RAYLET, &AskRaylet::Where { process: id }, ANSWER_WITHIN).await {
        Ok(RayletAnswer::Where(found)) => Ok(found),
        Ok(_) => Err(Error::connection("the raylet answered something else")),
        Err(error) => Err(Error::connection(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Mutex;

    use actinic_transport::{Authority, ClusterId, Endpoint, Limits, Messages, Receiver};

    use super::*;
    use crate::env::{Env, sim};
    use crate::ids::{JobId, ObjectId};
    use crate::net::tests::{endpoint, process};
    use crate::testing::eventually;

    /// A raylet that does not know for so long where a process is, and then says what it was given.
    struct Raylet(Env, Duration, Option<PeerAddr>);

    impl Receiver for Raylet {
        fn receive(&self, _from: &Peer, messages: &mut Messages<'_>) {
            for message in messages {
                let reply = message.reply.unwrap();
                if self.0.now() < self.1 {
                    reply.refuse("the raylet of its node did not answer");
                } else {
                    reply.answer(&RayletAnswer::Where(self.2.clone())).unwrap();
                }
            }
        }
    }

    /// Counts what its owners are told.
    #[derive(Default)]
    struct Told(Mutex<usize>);

    impl Receiver for Told {
        fn receive(&self, _from: &Peer, messages: &mut Messages<'_>) {
            *self.0.lock().unwrap() += messages.count();
        }
    }

    /// A process that has a raylet as above, and another that it has never spoken with.
    async fn scene(env: &Env, unsure: Duration, found: bool, then: impl AsyncFnOnce(&Arc<Process>, ProcessId, &Told)) {
        let authority = Authority::generate(ClusterId(env.uuid())).unwrap();
        let asker = process(env, &authority);
        let (raylet, other): (Endpoint, Endpoint) = (endpoint(env, &authority), endpoint(env, &authority));
        let told = Arc::new(Told::default());
        other.register(OWNER, told.clone());
        let at = PeerAddr::new(other.id(), other.local_addr());
        raylet.register(RAYLET, Arc::new(Raylet(env.clone(), env.now() + unsure, found.then_some(at))));
        let peer = asker.endpoint().unwrap().peer(&PeerAddr::new(raylet.id(), raylet.local_addr()));
        let _ = asker.raylet.set(RayletLink::Remote(peer, Arc::clone(&asker.room)));
        then(&asker, other.id(), &told).await;
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_process_that_nobody_finds_for_a_while_is_not_dead() {
        sim::run(1, |env| async move {
            scene(&env, secs(30), true, async |asker, other, told| {
                asker.tell_owner(other, ToOwner::Warning { text: "look out".to_owned() });
                assert!(eventually(secs(40), || *told.0.lock().unwrap() == 1).await);
                assert!(!asker.is_dead(other));
            })
            .await;
            // Nor is one that nobody finds at all.
            scene(&env, secs(3600), true, async |asker, other, told| {
                asker.tell_owner(other, ToOwner::Warning { text: "look out".to_owned() });
                tokio::time::sleep(secs(120)).await;
                assert!(asker.end_reaching(other).is_empty(), "what waited was given up");
                assert!(!asker.is_dead(other) && *told.0.lock().unwrap() == 0);
            })
            .await;
            scene(&env, secs(0), false, async |asker, other, _| {
                asker.tell_owner(other, ToOwner::Warning { text: "look out".to_owned() });
                assert!(eventually(secs(1), || asker.is_dead(other)).await, "its node says so");
            })
            .await;
        });
    }

    /// More is said than a session may hold: all of it is heard, and nobody dies of it.
    #[test]
    fn what_owners_are_told_waits_for_room() {
        sim::run(4, |env| async move {
            scene(&env, secs(0), true, async |asker, other, told| {
                let most = (Limits::default().max_backlog >> 20) + 1;
                for _ in 0..most {
                    asker.tell_owner(other, ToOwner::Warning { text: "!".repeat(1 << 20) });
                }
                assert!(eventually(secs(60), || *told.0.lock().unwrap() == most).await);
                assert!(!asker.is_dead(other));
            })
            .await;
        });
    }

    /// A process is given a ref of an owner that it never spoke with, and passes it on: that leaves, whatever became of the
    /// owner.
    #[test]
    fn no_message_waits_for_an_owner_that_is_dead_or_that_nobody_finds() {
        async fn passes_on(asker: &Arc<Process>, other: ProcessId, within: Duration) {
            let near = |number| ProcessId { incarnation: uuid::Uuid::from_u128(number), ..asker.id };
            let (giver, receiver) = (near(1), near(2));
            let owner = asker.new_owner(JobId(asker.env.uuid()), Arc::from(""));
            assert_eq!(owner.id.number, 0, "it stands for the process");
            let object = ObjectId { task: TaskId { owner: OwnerId { process: other, number: 1 }, seq: 1 }, index: 0 };
            let borrowed = asker.borrow_from(object, giver);
            let left = Arc::new(Mutex::new(false));
            let leaves = Arc::clone(&left);
            asker.hand_out(vec![borrowed], receiver, move |_| *leaves.lock().unwrap() = true);
            assert!(eventually(within, || *left.lock().unwrap()).await);
        }
        sim::run(3, |env| async move {
            // Its death was told before there was anything to count.
            scene(&env, secs(0), false, async |asker, other, _| {
                asker.process_dead(other, "it ended");
                passes_on(asker, other, secs(0)).await;
                assert_eq!(asker.counts_left(), (0, 0));
            })
            .await;
            scene(&env, secs(0), false, async |asker, other, _| {
                passes_on(asker, other, secs(1)).await;
                assert!(eventually(secs(1), || asker.counts_left() == (0, 0)).await);
            })
            .await;
            scene(&env, secs(3600), true, async |asker, other, _| {
                passes_on(asker, other, GIVE_UP + secs(10)).await;
                assert!(!asker.is_dead(other));
            })
            .await;
        });
    }

    #[test]
    fn a_cancellation_that_nobody_hears_is_an_error() {
        fn task(other: ProcessId) -> TaskId {
            TaskId { owner: OwnerId { process: other, number: 1 }, seq: 1 }
        }
        sim::run(2, |env| async move {
            scene(&env, secs(3600), true, async |asker, other, _| {
                let error = asker.ask_cancel(task(other), true, false).await.unwrap_err().to_string();
                assert!(error.contains("cancel it again"), "{error}");
            })
            .await;
            // It is there, and does not say.
            scene(&env, secs(0), true, async |asker, other, told| {
                assert!(asker.ask_cancel(task(other), true, false).await.is_err());
                assert_eq!(*told.0.lock().unwrap(), 1);
            })
            .await;
            // What a dead owner submitted has ended.
            scene(&env, secs(0), false, async |asker, other, _| {
                assert!(asker.ask_cancel(task(other), true, false).await.is_ok());
            })
            .await;
        });
    }
}
