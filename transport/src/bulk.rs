//! Bulk: a request, and an answer of any length, on a stream of their own that yields to messages, nearly always.
//!
//! ```text
//! request    | length (4) | bytes |                            at most Limits::max_bulk_request (64 KiB)
//! answer     | 0 (1) | length (8) | bytes |                    all of `length` bytes, or the stream breaks
//!            | 1 (1) | length (8) | text |                     refused; at most 4 KiB
//! ```
//!
//! A bulk stream belongs to its connection: if that is lost, the answer breaks, and the asker asks again. At most
//! 16 of a session run at once; further ones wait, which is not counted as the other side's silence. Nothing is buffered beyond QUIC's stream window (4 MiB).
//!
//! A request or an answer that began and then has no further byte for [`STALL`] closes the connection. But messages go
//! first: while some come, an answer may honestly be behind them, and only its stream is given up.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};

use crate::opaque::Opaque;
use crate::session::{Live, Session};
use crate::stall::{self, Halt, Stalled};
use crate::wire::STALL;
use crate::{BulkError, Peer, ProcessId};

const ACCEPTED: u8 = 0;
const REFUSED: u8 = 1;
const MAX_TEXT: usize = 4096;
/// Below both lanes.
pub(crate) const PRIORITY: i32 = -1;
/// The most bytes of one [`BulkReader::next_chunk`].
const CHUNK: usize = 1 << 20;

/// Serves bulk requests.
pub trait BulkHandler: Send + Sync {
    /// Called on the endpoint's thread for each request. Must not block: hand `answer` to a task.
    fn serve(&self, from: &Peer, request: Bytes, answer: BulkAnswer);
}

/// The answer to one bulk request; dropped without one, it refuses.
pub struct BulkAnswer {
    to: ProcessId,
    stream: Option<SendStream>,
    runtime: tokio::runtime::Handle,
}

impl fmt::Debug for BulkAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BulkAnswer")
    }
}

fn header(status: u8, length: u64) -> [u8; 9] {
    let mut header = [status; 9];
    header[1..].copy_from_slice(&length.to_le_bytes());
    header
}

fn broken(to: ProcessId, got: u64, length: u64, error: &dyn fmt::Display) -> BulkError {
    BulkError::Broken { to, got, length, text: error.to_string() }
}

impl BulkAnswer {
    /// Begins an answer of exactly `length` bytes.
    pub async fn accept(mut self, length: u64) -> Result<BulkWriter, BulkError> {
        let Some(mut stream) = self.stream.take() else {
            return Err(broken(self.to, 0, length, &"already answered"));
        };
        stream.write_all(&header(ACCEPTED, length)).await.map_err(|error| broken(self.to, 0, length, &error))?;
        Ok(BulkWriter { to: self.to, stream, length, written: 0 })
    }

    /// Answers with these bytes, in a task of the endpoint's runtime.
    pub fn send(self, chunks: Vec<Bytes>) {
        let runtime = self.runtime.clone();
        runtime.spawn(async move {
            let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
            let Ok(mut writer) = self.accept(length).await else {
                return;
            };
            for chunk in chunks {
                if writer.write(chunk).await.is_err() {
                    return;
                }
            }
            let _ = writer.finish().await;
        });
    }

    /// Refuses, with a reason.
    pub fn refuse(mut self, why: impl Into<String>) {
        self.close(&why.into());
    }

    fn close(&mut self, why: &str) {
        let Some(mut stream) = self.stream.take() else {
            return;
        };
        let text = why.as_bytes()[..why.len().min(MAX_TEXT)].to_vec();
        self.runtime.spawn(async move {
            if stream.write_all(&header(REFUSED, text.len() as u64)).await.is_ok() {
                let _ = stream.write_all(&text).await;
                let _ = stream.finish();
            }
        });
    }
}

impl Drop for BulkAnswer {
    fn drop(&mut self) {
        self.close("the request was dropped");
    }
}

/// Writes the bytes of an answer. Dropped before all are written, it breaks the stream.
#[derive(Debug)]
pub struct BulkWriter {
    to: ProcessId,
    stream: SendStream,
    length: u64,
    written: u64,
}

impl BulkWriter {
    /// Writes some of the bytes, without a copy; waits while the reader is slow.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), BulkError> {
        let size = chunk.len() as u64;
        if self.written + size > self.length {
            return Err(broken(self.to, self.written, self.length, &"more was written than announced"));
        }
        self.stream.write_chunk(chunk).await.map_err(|error| broken(self.to, self.written, self.length, &error))?;
        self.written += size;
        Ok(())
    }

    /// Ends the answer; an error if not all of it was written.
    pub async fn finish(mut self) -> Result<(), BulkError> {
        if self.written < self.length {
            return Err(broken(self.to, self.written, self.length, &"less was written than announced"));
        }
        self.stream.finish().map_err(|error| broken(self.to, self.written, self.length, &error))
    }
}

impl Drop for BulkWriter {
    fn drop(&mut self) {
        if self.written < self.length {
            let _ = self.stream.reset(1u32.into());
        }
    }
}

/// Reads an answer.
#[derive(Debug)]
pub struct BulkReader {
    session: Arc<Session>,
    connection: Opaque<quinn::Connection>,
    stream: RecvStream,
    length: u64,
    got: u64,
    _place: OwnedSemaphorePermit,
}

impl BulkReader {
    /// Bytes in the whole answer.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The next bytes, in order; `None` once all have come.
    pub async fn next_chunk(&mut self) -> Option<Result<Bytes, BulkError>> {
        if self.got >= self.length {
            return None;
        }
        let most = CHUNK.min((self.length - self.got).try_into().unwrap_or(CHUNK));
        let read = {
            // Whoever waits may be of any executor, which has no clock.
            let _clock = self.session.runtime.enter();
            timeout_at(Instant::now() + STALL, self.stream.read_chunk(most, true))
        };
        let chunk = match read.await {
            Ok(Ok(Some(chunk))) => chunk.bytes,
            Ok(Ok(None)) => return Some(Err(broken(self.session.id, self.got, self.length, &"the stream ended"))),
            Ok(Err(error)) => return Some(Err(broken(self.session.id, self.got, self.length, &error))),
            Err(_) => return Some(Err(self.stalled())),
        };
        self.got += chunk.len() as u64;
        Some(Ok(chunk))
    }

    /// Gives the answer up, and the connection with it if nothing else comes by it.
    fn stalled(&mut self) -> BulkError {
        let size = |bytes: u64| bytes.try_into().unwrap_or(usize::MAX);
        let stalled = Stalled { what: "a bulk answer", got: size(self.got), of: size(self.length), within: STALL };
        if self.session.silent_for() >= STALL {
            stalled.close(&self.connection, &self.session.id);
        } else {
            // Stopped already, if at all.
            let _ = self.stream.stop(1u32.into());
        }
        broken(self.session.id, self.got, self.length, &stalled.by(&self.session.id))
    }
}

/// Sends a request, on the endpoint's runtime, so that any executor may wait for it.
pub(crate) async fn request(peer: Peer, request: Bytes) -> Result<BulkReader, BulkError> {
    let (to, within, limit) = (peer.id(), peer.0.limits.stall, peer.0.limits.max_bulk_request);
    if request.len() > limit {
        return Err(BulkError::TooLarge { size: request.len(), limit });
    }
    let runtime = peer.0.runtime.clone();
    let asked = runtime.spawn(async move {
        let place = place(&peer.0).await;
        timeout(within, ask(&peer.0, request, place)).await
    });
    match asked.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(BulkError::Timeout { to, within }),
        Err(_) => Err(BulkError::Ended { to, reason: crate::DownReason::Closed }),
    }
}

/// Waits for one of the answers before to be read, or for the end of the session: then there is none, and no stream.
async fn place(session: &Session) -> Option<OwnedSemaphorePermit> {
    let mut connected = session.connected.subscribe();
    let ended = async { while session.ended().is_none() && connected.changed().await.is_ok() {} };
    tokio::select! {
        biased;
        place = session.bulk_places.clone().acquire_owned() => place.ok(),
        () = ended => None,
    }
}

async fn ask(
    session: &Arc<Session>,
    request: Bytes,
    place: Option<OwnedSemaphorePermit>,
) -> Result<BulkReader, BulkError> {
    let mut connected = session.connected.subscribe();
    let live = loop {
        if let Some(reason) = session.ended() {
            return Err(BulkError::Ended { to: session.id, reason });
        }
        if let Some(live) = session.live() {
            break live;
        }
        if connected.changed().await.is_err() {
            return Err(BulkError::Ended { to: session.id, reason: crate::DownReason::Closed });
        }
    };
    let Some(place) = place else {
        return Err(BulkError::Ended { to: session.id, reason: crate::DownReason::Closed });
    };
    let lost = |error: &dyn fmt::Display| broken(session.id, 0, 0, error);
    let (mut send, mut stream) = live.connection.open_bi().await.map_err(|error| lost(&error))?;
    let _ = send.set_priority(PRIORITY);
    send.write_all(&(request.len() as u32).to_le_bytes()).await.map_err(|error| lost(&error))?;
    send.write_chunk(request).await.map_err(|error| lost(&error))?;
    let _ = send.finish();
    let halted = |halt: Halt| match halt {
        Halt::Ended(text) => lost(&text),
        Halt::Stalled(stalled) => {
            stalled.close(&live.connection, &session.id);
            lost(&stalled.by(&session.id))
        }
    };
    let mut head = [0; 9];
    stall::read_exact(&mut stream, &mut head, "a bulk answer's header", 0, None).await.map_err(halted)?;
    let length = crate::wire::u64_at(&head, 1).unwrap_or(0);
    if head[0] == ACCEPTED {
        let connection = live.connection;
        return Ok(BulkReader { session: session.clone(), connection, stream, length, got: 0, _place: place });
    }
    let mut text = vec![0; MAX_TEXT.min(length.try_into().unwrap_or(MAX_TEXT))];
    stall::read_exact(&mut stream, &mut text, "a bulk refusal", head.len(), None).await.map_err(halted)?;
    Err(BulkError::Refused(String::from_utf8_lossy(&text).into_owned()))
}

/// Takes the bulk requests of a connection.
pub(crate) async fn serve(session: Arc<Session>, live: Live) {
    while let Ok((send, receive)) = live.connection.accept_bi().await {
        let (session, connection) = (session.clone(), live.connection.clone());
        session.runtime.clone().spawn(async move {
            let from = session.id;
            match read_request(&session, receive).await {
                Ok(request) => answer(&session, request, send),
                Err(Halt::Ended(fault)) => tracing::warn!(%from, fault, "a bulk request cannot be read"),
                Err(Halt::Stalled(stalled)) => stalled.close(&connection, &from),
            }
        });
    }
}

/// Whoever opens the stream has something to ask. It gives up by itself after `Limits::stall`, and resets the stream.
async fn read_request(session: &Session, mut stream: RecvStream) -> Result<Bytes, Halt> {
    let mut header = [0; 4];
    let until = Instant::now() + STALL;
    stall::read_exact(&mut stream, &mut header, "a bulk request's header", 0, Some(until)).await?;
    let length = u32::from_le_bytes(header) as usize;
    if length > session.limits.max_bulk_request {
        return Err(Halt::Ended(format!("{length} bytes, over Limits::max_bulk_request")));
    }
    let mut request = vec![0; length];
    stall::read_exact(&mut stream, &mut request, "a bulk request", header.len(), None).await?;
    Ok(request.into())
}

fn answer(session: &Arc<Session>, request: Bytes, stream: SendStream) {
    let _ = stream.set_priority(PRIORITY);
    let answer = BulkAnswer { to: session.id, stream: Some(stream), runtime: session.runtime.clone() };
    match session.endpoint.upgrade().and_then(|inner| inner.bulk()) {
        Some(handler) => handler.serve(&Peer(session.clone()), request, answer),
        None => answer.refuse("this process serves no bulk requests"),
    }
}
