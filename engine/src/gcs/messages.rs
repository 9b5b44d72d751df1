//! What is said to the actor.

use actinic_transport::{NodeId, ProcessId, ReplyTo};
use actix::Message;
use tokio::sync::oneshot;

use crate::gcs::Gcs;
use crate::post::Post;
use crate::protocol::{AskGcs, GcsAnswer, ToGcs};
use crate::raylet::RayletPost;

/// What the GCS hears, in its order.
pub(crate) enum Heard {
    /// A message, from this process or another.
    Told(ToGcs),
    /// A question, and where its answer goes.
    Asked(AskGcs, Answer),
    /// A session with a process ended, whether or not it is certain that the process is gone.
    SessionLost(ProcessId, bool),
}

/// How this process reaches the GCS, if it lives here.
pub(crate) type GcsPost = Post<Gcs, Heard>;

/// Where an answer goes.
pub(crate) enum Answer {
    Here(oneshot::Sender<GcsAnswer>),
    There(ReplyTo),
}

impl Answer {
    pub(super) fn give(self, answer: &GcsAnswer) {
        match self {
            // Whoever asked may have gone.
            Answer::Here(tell) => drop(tell.send(answer.clone())),
            Answer::There(reply) => drop(reply.answer(answer)),
        }
    }
}

/// A probe found a node dead.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Dead(pub(super) NodeId, pub(super) String);

/// The raylet of the GCS's own process.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct LocalRaylet(pub(crate) RayletPost);
