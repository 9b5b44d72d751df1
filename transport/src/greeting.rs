//! The first bytes on a connection: who, which revision, which session, what has been received.

use std::time::Duration;

use quinn::{RecvStream, SendStream};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use crate::stall::{self, Halt, Stalled};
use crate::wire::{MAGIC, MAX_GREETING};

/// The magic, the revision, and the length of what follows.
const HEADER_BYTES: usize = 12;
const HEADER: &str = "a greeting's header";

/// What is wrong with a greeting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The stream or the connection ended; its reason says why.
    Broken,
    Revision(u32),
    Malformed(&'static str),
    Stalled(Stalled),
}

impl From<Halt> for Fault {
    fn from(halt: Halt) -> Fault {
        match halt {
            Halt::Ended(_) => Fault::Broken,
            Halt::Stalled(stalled) => Fault::Stalled(stalled),
        }
    }
}

/// Writes a greeting; `None` states the revision only.
pub(crate) async fn write<G: Serialize>(
    stream: &mut SendStream,
    revision: u32,
    greeting: Option<&G>,
) -> Result<(), Fault> {
    let body = match greeting {
        Some(greeting) => {
            postcard::to_allocvec(greeting).map_err(|_| Fault::Malformed("a greeting that cannot be encoded"))?
        }
        None => Vec::new(),
    };
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&revision.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&body);
    stream.write_all(&bytes).await.map_err(|_| Fault::Broken)
}

/// Of a peer that never began with one.
pub(crate) fn none_came(within: Duration) -> Stalled {
    Stalled { what: HEADER, got: 0, of: HEADER_BYTES, within }
}

/// Reads a greeting, its revision first; all of it has come by `until`, or it has stalled.
pub(crate) async fn read<G: DeserializeOwned>(
    stream: &mut RecvStream,
    revision: u32,
    until: Instant,
) -> Result<G, Fault> {
    let mut header = [0; HEADER_BYTES];
    stall::read_exact(stream, &mut header, HEADER, 0, Some(until)).await?;
    let [magic, theirs, length] = [0, 4, 8].map(|at| [header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if magic != MAGIC {
        return Err(Fault::Malformed("it does not begin with a greeting"));
    }
    let theirs = u32::from_le_bytes(theirs);
    if theirs != revision {
        return Err(Fault::Revision(theirs));
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_GREETING {
        return Err(Fault::Malformed("a greeting of more than 4 KiB"));
    }
    let mut body = vec![0; length];
    stall::read_exact(stream, &mut body, "a greeting", header.len(), Some(until)).await?;
    postcard::from_bytes(&body).map_err(|_| Fault::Malformed("a greeting that cannot be decoded"))
}
