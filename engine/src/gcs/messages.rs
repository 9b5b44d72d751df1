//! What is said to the actor.

use actinic_transport::{NodeId, ProcessId, ReplyTo};
use actix::Message;
use tokio::sync::oneshot;

use crate::protocol::{AskGcs, GcsAnswer, ToGcs};
use crate::raylet::Raylet;

/// A message, from this process or another.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Told(pub(crate) ToGcs);

/// A question, and where its answer goes.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Asked(pub(crate) AskGcs, pub(crate) Answer);

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
pub(crate) struct LocalRaylet(pub(crate) actix::Addr<Raylet>);

/// A session with a process ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SessionLost(pub(crate) ProcessId, pub(crate) bool);
