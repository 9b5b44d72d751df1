//! The handle to another process (or this one).

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::asks::Outcome;
use crate::bulk::BulkReader;
use crate::outbox::Refuse;
use crate::session::Session;
use crate::wire;
use crate::{ActorNo, AskError, BulkError, DownReason, Lane, PeerAddr, ProcessId, SendError};

/// A session with another process incarnation, or with this one. Clones are the same session; every method may be
/// called from any thread, and none but the async ones waits.
///
/// A message is delivered once and in the order of its lane, or the session ends. What waits is held here, at the
/// sender: the other side reads as fast as its actors take over, QUIC's stream window (4 MiB) stops the
/// connection when they do not, and more than `Limits::max_backlog` bytes in one lane end the session. Whoever can
/// produce faster than that looks at [`backlog`](Self::backlog), or waits by [`drained`](Self::drained).
#[derive(Debug, Clone)]
pub struct Peer(pub(crate) Arc<Session>);

impl Peer {
    /// The process incarnation at the other end.
    pub fn id(&self) -> ProcessId {
        self.0.id
    }

    /// What is known of how to reach it.
    pub fn addr(&self) -> PeerAddr {
        self.0.addr()
    }

    /// Sends a message whose body `encode` appends to the buffer; it must leave alone what stands there. The
    /// lane's lock is held meanwhile.
    pub fn tell_with(&self, lane: Lane, to: ActorNo, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), SendError> {
        self.push(lane, wire::TELL, to.0, |out| {
            encode(out);
            Ok(())
        })
    }

    /// Sends a message, encoded by postcard.
    pub fn tell<M: Serialize + ?Sized>(&self, lane: Lane, to: ActorNo, message: &M) -> Result<(), SendError> {
        self.push(lane, wire::TELL, to.0, |out| wire::encode(message, out))
    }

    pub(crate) fn push(
        &self,
        lane: Lane,
        kind: u8,
        id: u64,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
    ) -> Result<(), SendError> {
        let pushed = self.0.lane(lane).push(kind, id, encode);
        match pushed {
            Ok(None) => Ok(()),
            Ok(Some(writer)) => {
                writer.wake();
                Ok(())
            }
            Err(refuse) => Err(self.refused(refuse)),
        }
    }

    #[cold]
    fn refused(&self, refuse: Refuse) -> SendError {
        let to = self.0.id;
        match refuse {
            Refuse::TooLarge { size, limit } => SendError::TooLarge { to, size, limit },
            Refuse::Encode(text) => SendError::Encode { to, text },
            Refuse::Ended(reason) => SendError::Ended { to, reason },
            Refuse::Overflow => {
                let limit = self.0.limits.max_backlog;
                self.0.end(DownReason::Overflow { limit });
                SendError::Overflow { to, limit }
            }
        }
    }

    /// Asks, and waits for the answer. The question goes out now, not at the first poll; dropping the future
    /// gives the answer up. It may be polled by any executor.
    pub fn ask<M: Serialize + ?Sized, R: DeserializeOwned + Send + 'static>(
        &self,
        to: ActorNo,
        message: &M,
        deadline: Duration,
    ) -> Answer<R> {
        self.ask_on(Lane::Ordered, to, message, deadline)
    }

    /// As [`Peer::ask`], on a lane: an urgent question passes what is told in order, and so does its answer.
    pub fn ask_on<M: Serialize + ?Sized, R: DeserializeOwned + Send + 'static>(
        &self,
        lane: Lane,
        to: ActorNo,
        message: &M,
        deadline: Duration,
    ) -> Answer<R> {
        let begun = self.begin_ask(lane, to, deadline, |out| wire::encode(message, out));
        Answer { begun: begun.map_err(Some), process: self.0.id, actor: to, deadline, value: PhantomData }
    }

    fn begin_ask(
        &self,
        lane: Lane,
        to: ActorNo,
        deadline: Duration,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
    ) -> Result<(Waiting, oneshot::Receiver<Outcome>), AskError> {
        let until = Instant::now() + deadline;
        let begun = self.0.asks().begin(until);
        let (question, receiver, earliest) = begun.map_err(|reason| AskError::Ended { to: self.0.id, reason })?;
        let waiting = Waiting { peer: self.clone(), question, done: false };
        if earliest {
            self.0.asks_changed.notify_one();
        }
        self.push(lane, wire::ASK, to.0, |out| {
            out.extend_from_slice(&question.to_le_bytes());
            encode(out)
        })?;
        Ok((waiting, receiver))
    }

    pub(crate) fn complete(&self, question: u64, outcome: Outcome) {
        self.0.asks().complete(question, outcome);
    }

    /// Sends a request on a stream of its own and reads the answer's length; the bytes come by the reader.
    pub async fn bulk(&self, request: Bytes) -> Result<BulkReader, BulkError> {
        crate::bulk::request(self.clone(), request).await
    }

    /// Time since anything was received from it (since the session began, if nothing was).
    pub fn silent_for(&self) -> Duration {
        self.0.silent_for()
    }

    /// The largest message that it takes.
    pub fn max_message(&self) -> usize {
        self.0.limits.max_message
    }

    /// Bytes that wait to be sent, or to be acknowledged, in the fuller of the two lanes. `Limits::max_backlog`
    /// ends the session.
    pub fn backlog(&self) -> usize {
        let ordered = self.0.lane(Lane::Ordered).bytes();
        ordered.max(self.0.lane(Lane::Urgent).bytes())
    }

    /// Waits until the backlog is below half its bound, or the session is over.
    pub async fn drained(&self) {
        let half = self.0.limits.max_backlog / 2;
        loop {
            let room = self.0.room.notified();
            if self.backlog() <= half || self.ended().is_some() {
                return;
            }
            room.await;
        }
    }

    /// The largest datagram that the connection which stands now sends; it may still grow.
    pub fn max_datagram(&self) -> Option<u16> {
        Some(self.0.live()?.connection.stats().path.current_mtu)
    }

    /// Whether a connection stands now.
    pub fn is_connected(&self) -> bool {
        self.0.is_local() || self.0.live().is_some()
    }

    /// Why the session is over, if it is.
    pub fn ended(&self) -> Option<DownReason> {
        self.0.ended()
    }
}

/// An answer that is on its way; dropped, it is given up.
#[must_use = "the question is asked, and nobody waits for the answer"]
pub struct Answer<R> {
    begun: Result<(Waiting, oneshot::Receiver<Outcome>), Option<AskError>>,
    process: ProcessId,
    actor: ActorNo,
    deadline: Duration,
    value: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for Answer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer(of {:?} in {})", self.actor, self.process)
    }
}

impl<R: DeserializeOwned> Future for Answer<R> {
    type Output = Result<R, AskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let to = this.process;
        let over = AskError::Ended { to, reason: DownReason::Closed };
        let outcome = match &mut this.begun {
            Err(error) => return Poll::Ready(Err(error.take().unwrap_or(over))),
            Ok((waiting, receiver)) => {
                let outcome = ready!(Pin::new(receiver).poll(cx));
                waiting.done = true;
                outcome.unwrap_or(Outcome::Ended(DownReason::Closed))
            }
        };
        this.begun = Err(None);
        Poll::Ready(match outcome {
            Outcome::Answer(bytes) => {
                postcard::from_bytes(&bytes).map_err(|error| AskError::Decode { to, text: error.to_string() })
            }
            Outcome::NoActor => Err(AskError::NoActor { to, actor: this.actor }),
            Outcome::Refused(text) => Err(AskError::Refused(text)),
            Outcome::Deadline => Err(AskError::Deadline { to, deadline: this.deadline }),
            Outcome::Ended(reason) => Err(AskError::Ended { to, reason }),
        })
    }
}

/// A question whose asker still waits.
struct Waiting {
    peer: Peer,
    question: u64,
    done: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.done {
            self.peer.0.asks().forget(self.question);
        }
    }
}

/// Fails questions whose deadline has passed; ends with the session.
pub(crate) async fn watch_deadlines(session: Arc<Session>) {
    loop {
        let next = {
            let mut asks = session.asks();
            if asks.is_over() {
                return;
            }
            asks.expire(Instant::now())
        };
        match next {
            None => session.asks_changed.notified().await,
            Some(next) => tokio::select! {
                biased;
                () = session.asks_changed.notified() => {}
                () = tokio::time::sleep_until(next) => {}
            },
        }
    }
}
