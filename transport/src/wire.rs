//! The bytes on a connection.
//!
//! A connection has one bidirectional stream for the greeting, then one unidirectional stream each way for each
//! lane (the first that a side opens is the ordered lane, the second the urgent one), then bidirectional streams
//! for bulk ([`bulk`](crate::bulk)). All integers are little-endian.
//!
//! ```text
//! greeting   0        4          8        12
//!            | "ACTN" | revision | length | postcard: Hello from the dialler, Reply from the listener |
//!            Magic, revision and length keep their places in every revision; a greeting has at most 4 KiB.
//!
//! lane       frame, frame, … for as long as the connection lasts
//! frame      0        4                12               20
//!            | length | number         | acknowledges    | message, message, … (`length` bytes) |
//!            Numbers of a lane count from 1 through the whole session. `acknowledges`: every frame up to this
//!            number of the opposite direction of the lane has arrived. A frame with length 0 has number 0 and
//!            only acknowledges. length <= Limits::max_frame (1 MiB).
//!
//! message    0        4      5            13
//!            | length | kind | actor      | body                        kind 0: tell
//!            | length | kind | actor      | question (8) | body         kind 1: ask
//!            | length | kind | question   | body                        kind 2: answer
//!            | length | kind | question   | code (1) | text             kind 3: refusal (0 refused, 1 no such actor)
//!            | length | kind | 0          | bytes                       kind 4: part
//!            `length` counts what follows it; messages never cross frames. A message that does not fit into one goes in
//!            parts, each alone in its frame: the first message of the next other frame is its rest, and the bytes
//!            of the parts go before that one's body. All together <= Limits::max_message (16 MiB).
//! ```
//!
//! Whatever does not fit this ends the connection, and the session if it would come again; nothing here panics.
//!
//! What has begun goes on. A frame, a message in parts, a greeting, a join or a bulk request or answer of which a part
//! has come, and then not one byte more for 10 s ([`STALL`]), closes the connection (5, [`Close::Stalled`]); the session
//! stays, and is dialled again. A greeting or join must besides be whole within `Limits::stall` (5 s).

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ActorNo, ProcessId};

pub(crate) const FRAME_HEADER: usize = 20;
pub(crate) const MESSAGE_HEADER: usize = 13;
pub(crate) const MAX_GREETING: usize = 4096;
pub(crate) const MAGIC: [u8; 4] = *b"ACTN";

pub(crate) const TELL: u8 = 0;
pub(crate) const ASK: u8 = 1;
pub(crate) const ANSWER: u8 = 2;
pub(crate) const REFUSAL: u8 = 3;
pub(crate) const PART: u8 = 4;

pub(crate) const REFUSED: u8 = 0;
pub(crate) const NO_ACTOR: u8 = 1;

/// A part of something waits so long for a further byte. As long as QUIC lets a connection live without a sign of life
/// (`Limits::idle`): a network that is cut for less, and heals, costs no more than it did.
pub(crate) const STALL: Duration = Duration::from_secs(10);

/// The number of the actor, in every endpoint, that forwards a relay's datagrams.
pub(crate) const RELAY: ActorNo = ActorNo(u64::MAX);

/// Why a connection is closed, as the other side is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// The endpoint closes; with a reason. A connection that is dropped closes with this code, and without one.
    Goodbye = 0,
    /// Another connection of the same session is kept.
    Superseded = 1,
    /// The session is over.
    Ended = 2,
    /// The greeting was refused.
    Refused = 3,
    /// What came does not follow this module.
    Malformed = 4,
    /// Something began and did not go on, for [`STALL`].
    Stalled = 5,
}

impl Close {
    pub(crate) fn code(self) -> quinn::VarInt {
        quinn::VarInt::from_u32(self as u32)
    }

    pub(crate) fn of(error: &quinn::ConnectionError) -> Option<Close> {
        let quinn::ConnectionError::ApplicationClosed(close) = error else {
            return None;
        };
        let known = [Close::Goodbye, Close::Superseded, Close::Ended, Close::Refused, Close::Malformed, Close::Stalled];
        let known = known.into_iter().find(|known| known.code() == close.error_code);
        known.filter(|known| *known != Close::Goodbye || !close.reason.is_empty())
    }
}

/// What the dialler says first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) from: ProcessId,
    pub(crate) to: Option<ProcessId>,
    /// Which session between the two it means; a higher number ends those before it.
    pub(crate) session: u64,
    /// Last frame received, of each lane.
    pub(crate) received: [u64; 2],
    /// Counts the dialler's connections of this session.
    pub(crate) connection: u64,
    /// The last connection dialled by the other side that the dialler has seen end.
    pub(crate) lost: u64,
    /// Where the dialler listens.
    pub(crate) addrs: Vec<SocketAddr>,
}

/// What the listener answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The connection carries the session now.
    Welcome { from: ProcessId, received: [u64; 2], addrs: Vec<SocketAddr> },
    /// A connection that this side dialled stands.
    Yield,
    /// The session meant is over; the next has this number.
    Over(u64),
    /// There will be no session: this side holds the dialler for dead, or revoked.
    Never(String),
    /// Another process was meant.
    NotMe(ProcessId),
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) length: u32,
    pub(crate) number: u64,
    pub(crate) acknowledges: u64,
}

impl Header {
    pub(crate) fn write(self, at: &mut [u8]) {
        at[..4].copy_from_slice(&self.length.to_le_bytes());
        at[4..12].copy_from_slice(&self.number.to_le_bytes());
        at[12..20].copy_from_slice(&self.acknowledges.to_le_bytes());
    }

    /// The header at the start of `bytes`, if all of it is there.
    pub(crate) fn read(bytes: &[u8]) -> Option<Header> {
        let (header, _) = bytes.split_at_checked(FRAME_HEADER)?;
        Some(Header {
            length: u32::from_le_bytes(header[..4].try_into().ok()?),
            number: u64_at(header, 4)?,
            acknowledges: u64_at(header, 12)?,
        })
    }
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// A message as it lies in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Raw<'a> {
    pub(crate) kind: u8,
    /// The actor, or the question that is answered.
    pub(crate) id: u64,
    /// For an ask, its question comes first.
    pub(crate) body: &'a [u8],
}

/// Splits the first message off a frame's body.
pub(crate) fn split(frame: &[u8]) -> Result<(Raw<'_>, &[u8]), &'static str> {
    let (raw, rest) = split_any(frame)?;
    let least = match raw.kind {
        TELL | ANSWER | PART => 0,
        ASK => 8,
        REFUSAL => 1,
        _ => return Err("a message of unknown kind"),
    };
    if raw.body.len() < least {
        return Err("a message cut short");
    }
    Ok((raw, rest))
}

/// As [`split`], for what may be the rest of a message.
pub(crate) fn split_any(frame: &[u8]) -> Result<(Raw<'_>, &[u8]), &'static str> {
    let Some((length, rest)) = frame.split_first_chunk::<4>() else {
        return Err("a message without its length");
    };
    let length = u32::from_le_bytes(*length) as usize;
    let Some((message, rest)) = rest.split_at_checked(length) else {
        return Err("a message longer than its frame");
    };
    let (Some(kind), Some(id)) = (message.first().copied(), u64_at(message, 1)) else {
        return Err("a message without an address");
    };
    Ok((Raw { kind, id, body: &message[MESSAGE_HEADER - 4..] }, rest))
}

/// Appends a message whose body `encode` writes; returns the body's size.
pub(crate) fn append<E>(
    out: &mut Vec<u8>,
    kind: u8,
    id: u64,
    encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<usize, E> {
    let start = out.len();
    let mut header = [0; MESSAGE_HEADER];
    header[4] = kind;
    header[5..].copy_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&header);
    encode(out)?;
    let length = out.len().saturating_sub(start + 4);
    if let Some(at) = out.get_mut(start..start + 4) {
        at.copy_from_slice(&(length as u32).to_le_bytes());
    }
    Ok(length.saturating_sub(MESSAGE_HEADER - 4))
}

/// Serializes straight into a buffer that already holds something.
pub(crate) fn encode<M: Serialize + ?Sized>(message: &M, out: &mut Vec<u8>) -> Result<(), String> {
    struct Into<'a>(&'a mut Vec<u8>);
    impl postcard::ser_flavors::Flavor for Into<'_> {
        type Output = ();
        fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
            self.0.push(byte);
            Ok(())
        }
        fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
        fn finalize(self) -> postcard::Result<()> {
            Ok(())
        }
    }
    postcard::serialize_with_flavor(message, Into(out)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(body: &[u8]) -> impl FnOnce(&mut Vec<u8>) -> Result<(), ()> {
        |out| {
            out.extend_from_slice(body);
            Ok(())
        }
    }

    #[test]
    fn messages_read_back() {
        let mut frame = Vec::new();
        assert_eq!(append(&mut frame, TELL, 7, copy(b"abc")), Ok(3));
        append(&mut frame, ASK, 8, copy(&9u64.to_le_bytes())).unwrap();
        let (first, rest) = split(&frame).unwrap();
        assert_eq!(first, Raw { kind: TELL, id: 7, body: b"abc" });
        let (second, rest) = split(rest).unwrap();
        assert_eq!((second.kind, second.id, u64_at(second.body, 0)), (ASK, 8, Some(9)));
        assert!(rest.is_empty());
    }

    #[test]
    fn every_damaged_frame_is_refused_without_a_panic() {
        let mut frame = Vec::new();
        append(&mut frame, ASK, 8, copy(&[1; 30])).unwrap();
        for cut in 0..frame.len() {
            assert!(split(&frame[..cut]).is_err());
        }
        let mut random = 1u64;
        for _ in 0..200_000 {
            let mut damaged = frame.clone();
            for _ in 0..3 {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (random >> 33) as usize % damaged.len();
                damaged[at] = (random >> 17) as u8;
            }
            let mut rest = &damaged[..];
            while let Ok((raw, more)) = split(rest) {
                assert!(raw.body.len() < damaged.len());
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
            let _ = Header::read(&damaged);
            let _ = postcard::from_bytes::<Hello>(&damaged);
            let _ = postcard::from_bytes::<Reply>(&damaged);
        }
    }
}
