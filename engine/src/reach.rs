//! How a process reaches another that it never spoke with: it asks where that one is, first its own raylet, which asks
//! the raylet of that one's node. An id names its node, so no table of all processes is needed.
//!
//! What is said to a process meanwhile waits, in order. If its node does not know it, it is dead.

use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{Answer, Lane, Peer, PeerAddr, ProcessId};

use crate::api::error::{Error, Result};
use crate::ids::TaskId;
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
/// So often is a raylet asked that gives no answer; the death of a node is known long before.
const ASKED_MAX: u32 = 10;

impl Process {
    /// Tells the owners of a process something.
    pub(crate) fn tell_owner(self: &Arc<Self>, process: ProcessId, message: ToOwner) {
        if process == self.id {
            self.deliver(message);
            return;
        }
        let Some(message) = self.wait_with_others(process, message) else { return };
        match self.endpoint().ok().and_then(|endpoint| endpoint.known(process)) {
            Some(peer) => self.tell_peer(&peer, &message),
            None if self.is_dead(process) => self.undeliverable(message),
            None => {
                if self.begin_reaching(process, message) {
                    let this = Arc::clone(self);
                    self.spawn(async move { this.reach(process).await });
                }
            }
        }
    }

    /// Cancels a task of any process by force; the error is its owner's, which refuses.
    pub(crate) async fn ask_cancel(self: &Arc<Self>, task: TaskId, recursive: bool) -> Result<()> {
        let (id, owner) = (task.owner.process, task.owner.number);
        if id == self.id {
            return self.cancel_owned(owner, task.seq, recursive).await;
        }
        let endpoint = self.endpoint()?;
        let peer = match endpoint.known(id) {
            Some(peer) => Some(peer),
            None => self.locate(id).await.map(|at| endpoint.peer(&at)),
        };
        // A dead owner's tasks end with it.
        let Some(peer) = peer else { return Ok(()) };
        let message = OwnerMessage::Cancel { seq: task.seq, force: true, recursive };
        let answer: Answer<Result<()>> =
            peer.ask_on(Lane::Urgent, OWNER, &ToOwner::To { owner, message }, OWNER_CANCELS_WITHIN);
        answer.await.unwrap_or(Ok(()))
    }

    /// Cancels a task of this process by force.
    pub(crate) async fn cancel_owned(self: &Arc<Self>, owner: u32, seq: u64, recursive: bool) -> Result<()> {
        match self.owner_numbered(owner).and_then(|owner| owner.task(seq)) {
            Some(task) => task.owner.cancel_by_force(&task, recursive).await,
            None => Ok(()),
        }
    }

    fn tell_peer(&self, peer: &Peer, message: &ToOwner) {
        if let ToOwner::To { message, .. } = message
            && matches!(message, OwnerMessage::Grant { .. } | OwnerMessage::Spill { .. } | OwnerMessage::Refuse { .. })
        {
            self.may_lose(Lost::LeaseReply, peer);
        }
        // What it cancels was made by its owner, which knows it for as long as its ref is held here.
        let lane = match message {
            ToOwner::To { message: OwnerMessage::Cancel { .. }, .. } => Lane::Urgent,
            _ => Lane::Ordered,
        };
        if let Err(error) = peer.tell(lane, OWNER, message) {
            // The session is over: the news of it says what becomes of what the message was about.
            tracing::debug!(process = %peer.id(), %error, "a message to an owner was not sent");
        }
    }

    async fn reach(self: Arc<Self>, id: ProcessId) {
        let peer = match (self.locate(id).await, self.endpoint()) {
            (Some(at), Ok(endpoint)) => endpoint.peer(&at),
            _ => {
                let lost = self.end_reaching(id);
                if !self.is_closing() {
                    self.process_dead(id, "its node knows no such process");
                }
                for message in lost {
                    self.undeliverable(message);
                }
                return;
            }
        };
        while let Some(messages) = self.next_reached(id) {
            for message in messages {
                self.tell_peer(&peer, &message);
            }
        }
    }

    /// What is said to the dead: who asked for an object has lost it.
    fn undeliverable(&self, message: ToOwner) {
        match message {
            ToOwner::GetObject { object, .. } => self.borrowed_lost(object, "its owner is gone"),
            message => tracing::debug!(?message, "a message to an owner that is gone was dropped"),
        }
    }

    async fn locate(self: &Arc<Self>, id: ProcessId) -> Option<PeerAddr> {
        for _ in 0..ASKED_MAX {
            if self.is_closing() || self.is_dead(id) {
                return None;
            }
            match self.where_is(id).await {
                Ok(found) => return found,
                Err(error) => tracing::debug!(process = %id, %error, "nobody could say where the process is"),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        None
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

async fn ask_raylet(raylet: &Peer, id: ProcessId) -> Result<Option<PeerAddr>> {
    match raylet.ask(RAYLET, &AskRaylet::Where { process: id }, ANSWER_WITHIN).await {
        Ok(RayletAnswer::Where(found)) => Ok(found),
        Ok(_) => Err(Error::connection("the raylet answered something else")),
        Err(error) => Err(Error::connection(error.to_string())),
    }
}
