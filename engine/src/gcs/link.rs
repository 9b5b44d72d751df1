//! How a process reaches the GCS of its cluster.

use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{Lane, Peer, ProcessId};
use tokio::sync::oneshot;

use crate::api::error::{Error, Result};
use crate::gcs::{Answer, GcsPost, Heard};
use crate::protocol::{AskGcs, GCS, GcsAnswer, ToGcs};
use crate::room::Room;

/// See [`GcsLink::is_congested`]; bytes.
const CONGESTED: usize = 4 << 20;

/// How a process reaches the GCS of its cluster.
#[derive(Clone)]
pub(crate) enum GcsLink {
    Local(GcsPost),
    Remote(Peer, Arc<Room>),
}

impl GcsLink {
    pub(crate) fn tell(&self, message: ToGcs) {
        match self {
            GcsLink::Local(gcs) => gcs.tell(Heard::Told(message)),
            // A node that has much to say is alive all the same.
            GcsLink::Remote(peer, _) if matches!(message, ToGcs::Heartbeat { .. }) => {
                if let Err(error) = peer.tell(Lane::Urgent, GCS, &message) {
                    tracing::debug!(%error, "a heartbeat was not sent");
                }
            }
            GcsLink::Remote(peer, room) => room.tell(peer, GCS, message),
        }
    }

    /// Whether the GCS is in that process, which is another.
    pub(crate) fn is_at(&self, process: ProcessId) -> bool {
        matches!(self, GcsLink::Remote(peer, _) if peer.id() == process)
    }

    /// Whether so much is on its way to it that what may be lost is better not sent.
    pub(crate) fn is_congested(&self) -> bool {
        match self {
            GcsLink::Local(_) => false,
            GcsLink::Remote(peer, _) => peer.backlog() > CONGESTED,
        }
    }

    /// Asks something; the answer comes within the deadline, or an error that says why not.
    pub(crate) async fn ask(&self, question: AskGcs, deadline: Duration) -> Result<GcsAnswer> {
        self.ask_on(Lane::Ordered, question, deadline).await
    }

    /// As [`ask`](Self::ask), on a lane: an urgent question passes what this process told the GCS before.
    pub(crate) async fn ask_on(&self, lane: Lane, question: AskGcs, deadline: Duration) -> Result<GcsAnswer> {
        match self {
            GcsLink::Local(gcs) => {
                let (tell, hear) = oneshot::channel();
                gcs.tell(Heard::Asked(question, Answer::Here(tell)));
                hear.await.map_err(|_| Error::connection("the GCS of this process has ended"))
            }
            GcsLink::Remote(peer, room) => {
                if lane == Lane::Ordered {
                    // What was told before comes before it.
                    room.turn(peer, GCS, deadline).await;
                }
                peer.ask_on(lane, GCS, &question, deadline).await.map_err(|error| {
                    Error::connection(format!("the GCS did not answer: {error}"))
                        .remedy("check that the head node runs and can be reached")
                })
            }
        }
    }
}
