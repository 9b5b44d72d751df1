//! A peer that stops in the middle of something, while its connection lives.
//!
//! Silence between two things is no fault: a quiet session may last for days. Silence inside one is, for whatever is
//! held of it, and whoever waits for it, would wait for ever: QUIC's keep-alives answer for the machine there, not for
//! the process. So once [`STALL`] has passed without a byte of the rest, the connection is closed with [`Stalled`]; the
//! session is not over, and is dialled again as after any other loss, with nothing lost.
//!
//! - STALL-1: what comes whole costs nothing: no clock is read and no timer set unless a part is held.
//! - STALL-2: only the rest counts. A part that grows is never given up, however slowly it does.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use quinn::{Connection, RecvStream};
use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use crate::seldom::Strangers;
use crate::wire::{Close, STALL};

/// What has come of something whose rest did not follow.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{got} of {of} bytes of {what} came, and no further one within {within:?}")]
pub(crate) struct Stalled {
    pub(crate) what: &'static str,
    pub(crate) got: usize,
    pub(crate) of: usize,
    pub(crate) within: Duration,
}

impl Stalled {
    /// The whole of what is said of it: who, what, and what to do.
    pub(crate) fn by(&self, who: &dyn fmt::Display) -> String {
        format!("{who} stalled: {self}; see whether that process hangs, or the network between loses its datagrams")
    }

    /// Closes the connection, and says why on both sides.
    pub(crate) fn close(&self, connection: &Connection, who: &dyn fmt::Display) {
        let text = self.by(who);
        tracing::warn!("a connection is closed: {text}");
        connection.close(Close::Stalled.code(), text.as_bytes());
    }

    /// As [`Stalled::close`], of who has proved nothing.
    pub(crate) fn close_stranger(&self, connection: &Connection, strangers: &Strangers) {
        let text = self.by(&connection.remote_address());
        if let Some(times) = strangers.stalled.note(Instant::now()) {
            tracing::warn!(times, "a connection is closed: {text}");
        }
        connection.close(Close::Stalled.code(), text.as_bytes());
    }
}

/// Why bytes did not come.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The stream or the connection ended.
    Ended(String),
    Stalled(Stalled),
}

/// Fills `into`. `before` bytes of the same thing were read already: until there are any, no time runs but `until`.
pub(crate) async fn read_exact(
    stream: &mut RecvStream,
    into: &mut [u8],
    what: &'static str,
    before: usize,
    until: Option<Instant>,
) -> Result<(), Halt> {
    let of = before + into.len();
    let mut got = 0;
    while got < into.len() {
        let begun = before + got > 0;
        let read = stream.read(&mut into[got..]);
        let read = if begun || until.is_some() {
            let start = Instant::now();
            let patience = begun.then(|| start + STALL);
            // One of the two is there.
            let at = patience.into_iter().chain(until).min().unwrap_or(start);
            let stalled = |_| Stalled { what, got: before + got, of, within: at.saturating_duration_since(start) };
            timeout_at(at, read).await.map_err(stalled).map_err(Halt::Stalled)?
        } else {
            read.await
        };
        match read {
            Ok(Some(count)) => got += count,
            Ok(None) => return Err(Halt::Ended(format!("the stream ended after {} of {of} bytes", before + got))),
            Err(error) => return Err(Halt::Ended(error.to_string())),
        }
    }
    Ok(())
}

/// Watches a part that is held of something.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// When the part grew last; `None` while nothing is held.
    grew: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Watch {
    /// The part that is held has grown.
    pub(crate) fn grown(&mut self) {
        let now = Instant::now();
        self.grew = Some(now);
        // A timer that was set for an earlier part serves: it is set anew when it has run out.
        if !self.armed {
            self.arm(now + STALL);
        }
    }

    /// As [`Watch::grown`], unless a part was held before.
    pub(crate) fn held(&mut self) {
        if self.grew.is_none() {
            self.grown();
        }
    }

    /// Nothing is held.
    pub(crate) fn clear(&mut self) {
        self.grew = None;
    }

    /// Whether there is anything to wait for in [`Watch::stalled`].
    pub(crate) fn is_armed(&self) -> bool {
        self.armed
    }

    fn arm(&mut self, at: Instant) {
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(at),
            None => self.timer = Some(Box::pin(sleep_until(at))),
        }
        self.armed = true;
    }

    /// Waits until a timer has run out; whether the part has not grown for so long as to be given up.
    pub(crate) async fn stalled(&mut self) -> bool {
        match &mut self.timer {
            Some(timer) => timer.as_mut().await,
            None => std::future::pending().await,
        }
        self.armed = false;
        let Some(end) = self.grew.map(|grew| grew + STALL) else { return false };
        if end > Instant::now() {
            self.arm(end);
            return false;
        }
        true
    }
}
