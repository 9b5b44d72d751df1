//! Keeps a session connected until it ends, and closes it then.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::endpoint::Inner;
use crate::opaque::Opaque;
use crate::session::{Live, Session};
use crate::wire::Close;
use crate::{DialError, DownReason, PeerAddr, dial, net};

/// The first pause after a failed dial; it doubles up to `Limits::max_backoff`.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// After the loss of a connection the higher process id lets the lower one dial first.
const POLITE: Duration = Duration::from_millis(50);

/// Runs for as long as the session lasts. `patience` is how long to wait before the first dial, for a connection
/// that is on its way.
pub(crate) async fn keep(session: Arc<Session>, patience: Duration) {
    let mut alone = Instant::now();
    let mut next = alone + patience;
    let mut failed = 0;
    let mut last = None;
    while session.ended().is_none() {
        if let Some(live) = session.live() {
            if let Some(found) = watch(&session, &live).await {
                last = Some(live.connection.clone());
                tracing::debug!(peer = %session.id, error = %found, "a connection ended");
                alone = Instant::now();
                failed = 0;
                next = if session.own_is_lower() { alone } else { alone + POLITE };
            }
            continue;
        }
        let left = session.limits.give_up.saturating_sub(alone.elapsed());
        if left.is_zero() {
            session.end(DownReason::Unreachable(session.limits.give_up));
            break;
        }
        let at = session.addr();
        let dialable = !at.addrs.is_empty() || at.relay.is_some();
        // What is heard of its address meanwhile puts nothing off.
        let wait = if dialable { next.saturating_duration_since(Instant::now()).min(left) } else { left };
        if !wait.is_zero() {
            tokio::select! {
                biased;
                () = session.changed.notified() => {}
                () = sleep(wait) => {}
            }
            continue;
        }
        attempt(&session, &at).await;
        failed += 1;
        next = Instant::now() + (FIRST_PAUSE * 2u32.pow(failed.min(10))).min(session.limits.max_backoff);
    }
    finish(&session, last);
}

/// Waits until the connection ends, which is told, or the session ends or changes connection.
async fn watch(session: &Session, live: &Live) -> Option<quinn::ConnectionError> {
    let error = tokio::select! {
        biased;
        () = session.changed.notified() => return None,
        error = live.connection.closed() => error,
    };
    session.detach(live);
    match Close::of(&error) {
        Some(Close::Goodbye) => session.end(DownReason::Goodbye),
        Some(Close::Ended) => session.end(DownReason::EndedByPeer),
        Some(Close::Malformed) => session.end(DownReason::EndedByPeer),
        _ => {}
    }
    Some(error)
}

/// Dials every address, then by the relay; until one works, or the session has got a connection otherwise.
async fn attempt(session: &Arc<Session>, at: &PeerAddr) {
    let Some(inner) = session.endpoint.upgrade() else {
        session.end(DownReason::Closed);
        return;
    };
    let round = dial_all(&inner, session, at);
    tokio::pin!(round);
    loop {
        tokio::select! {
            biased;
            () = &mut round => return,
            () = session.changed.notified() => {
                // The lower id's dial goes on: of simultaneous ones it is the one to survive.
                if session.ended().is_some() || (session.live().is_some() && !session.own_is_lower()) {
                    return;
                }
            }
        }
    }
}

async fn dial_all(inner: &Arc<Inner>, session: &Arc<Session>, at: &PeerAddr) {
    let mut errors: Vec<DialError> = Vec::new();
    for addr in &at.addrs {
        match dial::session(inner, session, *addr).await {
            Ok(()) => return,
            Err(error) => errors.push(error),
        }
    }
    if let Some((via, addr)) = at.relay.filter(|(via, _)| *via != session.id && *via != inner.id) {
        // What is known of the relay here is better than where somebody else reaches it.
        if inner.known(via).is_none() {
            inner.peer(&PeerAddr::new(via, addr));
        }
        let made_up = inner.relayed.addr(net::Route { target: session.id, via });
        match dial::session(inner, session, made_up).await {
            Ok(()) => return,
            Err(error) => errors.push(error),
        }
    }
    for error in &errors {
        tracing::debug!(peer = %session.id, %error, "a dial failed");
    }
    // Some other process at one address proves nothing while another address may still be right.
    let reasons: Vec<_> = errors.iter().map(|error| dial::fatal(error, inner)).collect();
    let certain = |reason: &DownReason| !matches!(reason, DownReason::Replaced(_));
    let gone = |error: &DialError| matches!(error, DialError::OtherProcess { .. } | DialError::Nobody(_));
    let first = reasons.into_iter().flatten().find(|reason| certain(reason) || errors.iter().all(gone));
    if let Some(reason) = first {
        session.end(reason);
    }
}

/// SES-4, and the end of the connection.
fn finish(session: &Arc<Session>, last: Option<Opaque<quinn::Connection>>) {
    let reason = session.ended().unwrap_or(DownReason::Closed);
    let code = if reason == DownReason::Closed { Close::Goodbye } else { Close::Ended };
    let standing = session.live();
    for connection in standing.iter().map(|live| &live.connection).chain(last.as_ref()) {
        connection.close(code.code(), reason.to_string().as_bytes());
    }
    if let Some(live) = standing {
        session.detach(&live);
    }
    if let Some(inner) = session.endpoint.upgrade() {
        inner.over(session);
    }
}
