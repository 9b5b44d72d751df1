//! The tasks of one connection that carry a session's lanes.
//!
//! A writer takes whatever waits and hands it to QUIC in one call; it never waits in order to gather. A reader
//! takes all that has arrived and delivers whole frames straight out of the received chunks, or out of one buffer
//! where a frame crosses chunks.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use tokio::time::{Instant, Sleep};

use crate::outbox::Arrived;
use crate::parts::Parts;
use crate::session::{Live, Session};
use crate::stall::{Stalled, Watch};
use crate::wire::{Close, FRAME_HEADER, Header, STALL};
use crate::{DownReason, Lane, Peer};

/// What has been received is acknowledged after so long, if nothing went the other way meanwhile.
const ACK_DELAY: Duration = Duration::from_millis(100);
/// Chunks taken from a stream at once.
const CHUNKS: usize = 32;
/// A buffer larger than this is given back once it is empty.
const KEEP_BUFFER: usize = 256 << 10;

/// Bulk streams wait while the ordered lane has anything to send. After so much of that, one write goes in turn with them: a
/// lane that never runs dry leaves them something: a twentieth if it is one, half if there are as many as may be.
const SHARES_AFTER: usize = 8 << 20;

/// Starts the lanes of a connection that was just attached.
pub(crate) fn start(session: &Arc<Session>, live: &Live) {
    session.runtime.spawn(open_lanes(session.clone(), live.clone()));
    session.runtime.spawn(accept_lanes(session.clone(), live.clone()));
    session.runtime.spawn(crate::bulk::serve(session.clone(), live.clone()));
}

/// Opens this side's streams, the ordered lane's first.
async fn open_lanes(session: Arc<Session>, live: Live) {
    for lane in [Lane::Ordered, Lane::Urgent] {
        let Ok(stream) = live.connection.open_uni().await else {
            return;
        };
        let _ = stream.set_priority(lane as i32);
        session.runtime.spawn(write(session.clone(), live.clone(), lane, stream));
    }
}

async fn write(session: Arc<Session>, live: Live, lane: Lane, mut stream: SendStream) {
    let mut frames: Vec<Bytes> = Vec::new();
    let (mut alone, mut shares) = (0, false);
    loop {
        frames.clear();
        let taken = std::future::poll_fn(|cx| session.lane(lane).poll_take(cx, live.number, &mut frames));
        if taken.await.is_err() {
            break;
        }
        if lane == Lane::Ordered {
            let before = std::mem::replace(&mut shares, alone >= SHARES_AFTER);
            alone = if shares { 0 } else { alone + frames.iter().map(Bytes::len).sum::<usize>() };
            if shares != before {
                let _ = stream.set_priority(if shares { crate::bulk::PRIORITY } else { lane as i32 });
            }
        }
        match stream.write_all_chunks(&mut frames).await {
            Ok(()) => {}
            Err(WriteError::Stopped(_)) => return broken(&session, &live, lane, "a lane was stopped"),
            Err(_) => return, // the connection is gone; the frames are kept
        }
    }
    // The endpoint closes: what was written is to arrive first.
    if stream.finish().is_ok() {
        let _ = stream.stopped().await;
    }
    session.flushed(live.number);
}

/// The other side's first stream is its ordered lane, the second its urgent one.
async fn accept_lanes(session: Arc<Session>, live: Live) {
    for lane in [Lane::Ordered, Lane::Urgent] {
        let Ok(stream) = live.connection.accept_uni().await else {
            return;
        };
        session.runtime.spawn(read(session.clone(), live.clone(), lane, stream));
    }
}

async fn read(session: Arc<Session>, live: Live, lane: Lane, stream: RecvStream) {
    let connection = live.connection.clone();
    let mut reader = Reader { peer: Peer(session), live, lane, buffer: BytesMut::new() };
    match reader.run(stream).await {
        Ok(()) => {}
        Err(Fault::Protocol(fault)) => broken(&reader.peer.0, &reader.live, lane, &fault),
        // The session stays: the keeper sees that the connection is closed, and dials.
        Err(Fault::Stalled(stalled)) => stalled.close(&connection, &reader.peer.id()),
    }
}

/// The other side broke the protocol.
fn broken(session: &Session, live: &Live, lane: Lane, fault: &str) {
    let reason = DownReason::protocol(session.id, fault);
    tracing::warn!(peer = %session.id, ?lane, %reason, "a session ends");
    session.end(reason);
    live.connection.close(Close::Malformed.code(), fault.as_bytes());
}

/// What the other side did wrong.
enum Fault {
    Protocol(String),
    Stalled(Stalled),
}

impl From<String> for Fault {
    fn from(fault: String) -> Fault {
        Fault::Protocol(fault)
    }
}

struct Reader {
    peer: Peer,
    live: Live,
    lane: Lane,
    /// The beginning of a frame whose end has not come.
    buffer: BytesMut,
}

impl Reader {
    /// Reads until the connection ends; the error is a fault of the other side.
    async fn run(&mut self, mut stream: RecvStream) -> Result<(), Fault> {
        let mut chunks: [Bytes; CHUNKS] = std::array::from_fn(|_| Bytes::new());
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        let mut armed = false;
        let mut watch = Watch::default();
        let mut parts = 0;
        loop {
            let count = tokio::select! {
                biased;
                read = stream.read_chunks(&mut chunks) => match read {
                    Ok(Some(count)) => count,
                    Ok(None) => return Ok(self.stream_ended()?),
                    // A lane lasts as long as its connection; without it nothing would be read, and nothing said.
                    Err(ReadError::Reset(_)) => return Err(Fault::Protocol("a lane was reset".into())),
                    Err(_) => return Ok(()),
                },
                () = expired(&mut timer), if armed => {
                    armed = false;
                    self.acknowledge();
                    continue;
                }
                stalled = watch.stalled(), if watch.is_armed() => match stalled {
                    true => return Err(Fault::Stalled(self.stalled())),
                    false => continue,
                },
            };
            self.peer.0.touch();
            for chunk in &mut chunks[..count] {
                self.take(std::mem::take(chunk))?;
            }
            let (now, later, before) = {
                let lane = self.peer.0.lane(self.lane);
                (lane.wants_ack(), lane.owes_ack(), std::mem::replace(&mut parts, lane.parts.held()))
            };
            match (self.buffer.is_empty(), parts) {
                (true, 0) => watch.clear(),
                // Acknowledgements go between the parts of a message, and are no part of it.
                (true, held) if held == before => watch.held(),
                _ => watch.grown(),
            }
            if now {
                self.acknowledge();
            } else if later && !armed {
                let at = Instant::now() + ACK_DELAY;
                match &mut timer {
                    Some(timer) => timer.as_mut().reset(at),
                    None => timer = Some(Box::pin(tokio::time::sleep_until(at))),
                }
                armed = true;
            }
        }
    }

    /// An endpoint that closes finishes its lanes between two frames.
    fn stream_ended(&self) -> Result<(), String> {
        if self.buffer.is_empty() { Ok(()) } else { Err("a frame was cut short".into()) }
    }

    /// What is held, of how much.
    fn stalled(&self) -> Stalled {
        let (what, got, of) = match (Header::read(&self.buffer), self.buffer.len()) {
            (Some(header), got) => ("a frame", got, FRAME_HEADER + header.length as usize),
            (None, 0) => {
                let got = self.peer.0.lane(self.lane).parts.held();
                ("a message in parts (as many at most)", got, self.peer.0.limits.max_message)
            }
            (None, got) => ("a frame's header", got, FRAME_HEADER),
        };
        Stalled { what, got, of, within: STALL }
    }

    fn acknowledge(&self) {
        let writer = self.peer.0.lane(self.lane).request_ack();
        writer.map(Waker::wake).unwrap_or_default();
    }

    /// Delivers the frames that this chunk completes.
    fn take(&mut self, mut chunk: Bytes) -> Result<(), String> {
        if !self.buffer.is_empty() {
            self.buffer.extend_from_slice(&chunk);
            let mut buffer = std::mem::take(&mut self.buffer);
            let used = self.deliver_all(&buffer)?;
            buffer.advance(used);
            if !buffer.is_empty() || buffer.capacity() <= KEEP_BUFFER {
                self.buffer = buffer;
            }
            return Ok(());
        }
        let used = self.deliver_all(&chunk)?;
        chunk.advance(used);
        if !chunk.is_empty() {
            self.buffer.extend_from_slice(&chunk);
        }
        Ok(())
    }

    /// Delivers all whole frames; returns how many bytes they took.
    fn deliver_all(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let mut used = 0;
        while let Some(header) = Header::read(&bytes[used..]) {
            let (length, limit) = (header.length as usize, self.peer.0.limits.max_frame);
            if length > limit {
                return Err(format!("a frame of {length} bytes, over the limit of {limit} (Limits::max_frame)"));
            }
            let Some(body) = bytes.get(used + FRAME_HEADER..used + FRAME_HEADER + length) else {
                break;
            };
            used += FRAME_HEADER + length;
            let arrived = self.peer.0.lane(self.lane).arrived(self.live.number, header)?;
            self.peer.0.room.notify_waiters();
            if arrived == Arrived::Deliver {
                self.deliver(body)?;
            }
        }
        Ok(used)
    }
}

impl Reader {
    fn deliver(&mut self, frame: &[u8]) -> Result<(), String> {
        let whole = {
            let mut lane = self.peer.0.lane(self.lane);
            if lane.parts.take(frame, self.peer.0.limits.max_message)? {
                return Ok(());
            }
            lane.parts.complete(frame)?
        };
        self.peer.0.registry.deliver(&self.peer, self.lane, whole.as_deref().unwrap_or(frame))?;
        Ok(())
    }
}

async fn expired(timer: &mut Option<Pin<Box<Sleep>>>) {
    match timer {
        Some(timer) => timer.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Delivers what this process sends to itself.
pub(crate) async fn run_local(session: Arc<Session>, lane: Lane) {
    let peer = Peer(session.clone());
    let mut parts = Parts::default();
    loop {
        let frames = std::future::poll_fn(|cx| session.lane(lane).poll_local(cx)).await;
        let Ok(frames) = frames else { return };
        for frame in frames {
            let frame = &frame[FRAME_HEADER..];
            let taken = parts.take(frame, session.limits.max_message);
            let delivered = match taken {
                Ok(true) => continue,
                Ok(false) => parts
                    .complete(frame)
                    .and_then(|whole| session.registry.deliver(&peer, lane, whole.as_deref().unwrap_or(frame))),
                Err(fault) => Err(fault),
            };
            if let Err(fault) = delivered {
                tracing::error!(fault, "a message of this process to itself cannot be read");
            }
        }
        tokio::task::yield_now().await;
    }
}
