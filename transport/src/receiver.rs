//! The actors of a process, as messages find them.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;

use crate::asks::Outcome;
use crate::wire::{self, Raw};
use crate::{ActorNo, Lane, Peer, SendError};

/// A refusal's text is cut to this.
const MAX_REASON: usize = 4096;

/// An actor, or a whole component, as the transport sees it.
pub trait Receiver: Send + Sync {
    /// Called on the endpoint's thread with all consecutive messages for this actor in one arriving burst, so
    /// that it can lock once a burst. Must not block: while it runs, the endpoint neither hears nor speaks.
    fn receive(&self, from: &Peer, messages: &mut Messages<'_>);
}

/// Who is registered under which number.
#[derive(Default)]
pub(crate) struct Registry {
    actors: RwLock<HashMap<ActorNo, Arc<dyn Receiver>>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registry")
    }
}

impl Registry {
    pub(crate) fn register(&self, actor: ActorNo, receiver: Arc<dyn Receiver>) {
        self.actors.write().unwrap_or_else(PoisonError::into_inner).insert(actor, receiver);
    }

    pub(crate) fn unregister(&self, actor: ActorNo) {
        self.actors.write().unwrap_or_else(PoisonError::into_inner).remove(&actor);
    }

    pub(crate) fn clear(&self) {
        self.actors.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn find(&self, actor: ActorNo) -> Option<Arc<dyn Receiver>> {
        self.actors.read().unwrap_or_else(PoisonError::into_inner).get(&actor).cloned()
    }

    /// Hands the messages of one frame to whom they are for. The error says what is wrong with the frame; what
    /// came before the fault has been delivered.
    pub(crate) fn deliver<'a>(&self, from: &'a Peer, lane: Lane, mut body: &'a [u8]) -> Result<(), &'static str> {
        while !body.is_empty() {
            let (raw, rest) = wire::split(body)?;
            match raw.kind {
                wire::TELL | wire::ASK => {
                    let mut messages = Messages { from, lane, actor: raw.id, rest: body, fault: None };
                    self.hand_over(ActorNo(raw.id), from, &mut messages);
                    if let Some(fault) = messages.fault {
                        return Err(fault);
                    }
                    body = messages.rest;
                }
                wire::PART => return Err("a part that shares its frame"),
                _ => {
                    from.complete(raw.id, outcome(raw));
                    body = rest;
                }
            }
        }
        Ok(())
    }

    fn hand_over(&self, actor: ActorNo, from: &Peer, messages: &mut Messages<'_>) {
        let Some(receiver) = self.find(actor) else {
            tracing::debug!(?actor, from = %from.id(), "a message for no actor of this process");
            for message in messages {
                if let Some(reply) = message.reply {
                    reply.refuse_with(wire::NO_ACTOR, "");
                }
            }
            return;
        };
        // The network outlives a fault in the layer above; the messages it did not take are lost.
        if catch_unwind(AssertUnwindSafe(|| receiver.receive(from, messages))).is_err() {
            tracing::error!(?actor, from = %from.id(), "a receiver panicked; its burst is dropped");
        }
        messages.for_each(drop);
    }
}

fn outcome(raw: Raw<'_>) -> Outcome {
    match (raw.kind, raw.body) {
        (wire::ANSWER, body) => Outcome::Answer(body.to_vec()),
        (_, [wire::NO_ACTOR, ..]) => Outcome::NoActor,
        (_, text) => Outcome::Refused(String::from_utf8_lossy(text.get(1..).unwrap_or_default()).into_owned()),
    }
}

/// The messages of one burst for one actor, in order.
#[derive(Debug)]
pub struct Messages<'a> {
    from: &'a Peer,
    lane: Lane,
    actor: u64,
    rest: &'a [u8],
    fault: Option<&'static str>,
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        if self.rest.is_empty() || self.fault.is_some() {
            return None;
        }
        let (raw, rest) = match wire::split(self.rest) {
            Ok(split) => split,
            Err(fault) => {
                self.fault = Some(fault);
                return None;
            }
        };
        if raw.id != self.actor {
            return None;
        }
        let message = match raw.kind {
            wire::TELL => Message { body: raw.body, reply: None },
            wire::ASK => {
                let question = wire::u64_at(raw.body, 0)?;
                let reply = ReplyTo { peer: self.from.clone(), lane: self.lane, question, open: true };
                Message { body: &raw.body[8..], reply: Some(reply) }
            }
            _ => return None,
        };
        self.rest = rest;
        Some(message)
    }
}

/// One message.
#[derive(Debug)]
pub struct Message<'a> {
    /// What the sender encoded.
    pub body: &'a [u8],
    /// Present if the sender waits for an answer.
    pub reply: Option<ReplyTo>,
}

/// The way back to who asked; usable once, later, from any thread. Dropped without an answer, it refuses. An answer goes by
/// the lane of its question: that of an urgent one passes what is told in order.
#[derive(Debug)]
pub struct ReplyTo {
    peer: Peer,
    lane: Lane,
    question: u64,
    open: bool,
}

impl ReplyTo {
    /// Answers. If the answer cannot be encoded or is too large, the question is refused with that reason.
    pub fn answer<R: Serialize + ?Sized>(self, answer: &R) -> Result<(), SendError> {
        self.send(|out| wire::encode(answer, out))
    }

    /// Answers with what `encode` writes.
    pub fn answer_with(self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), SendError> {
        self.send(|out| {
            encode(out);
            Ok(())
        })
    }

    fn send(mut self, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), String>) -> Result<(), SendError> {
        let sent = self.peer.push(self.lane, wire::ANSWER, self.question, encode);
        match &sent {
            Err(error @ (SendError::TooLarge { .. } | SendError::Encode { .. })) => {
                self.close(wire::REFUSED, &format!("the answer was not sent: {error}"));
            }
            _ => self.open = false,
        }
        sent
    }

    /// Refuses, with a reason.
    pub fn refuse(self, why: impl Into<String>) {
        self.refuse_with(wire::REFUSED, &why.into());
    }

    pub(crate) fn refuse_with(mut self, code: u8, why: &str) {
        self.close(code, why);
    }

    /// Who asked.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    fn close(&mut self, code: u8, why: &str) {
        if std::mem::take(&mut self.open) {
            // If this does not go out either, the session is over, and the question with it.
            let why = &why.as_bytes()[..why.len().min(MAX_REASON)];
            let _ = self.peer.push(self.lane, wire::REFUSAL, self.question, |out| {
                out.push(code);
                out.extend_from_slice(why);
                Ok(())
            });
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        self.close(wire::REFUSED, "the actor dropped the question");
    }
}
