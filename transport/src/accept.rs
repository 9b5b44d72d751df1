//! Connections that others dial: the greeting from the listener's side.

use std::sync::{Arc, Weak};
use std::time::Duration;

use quinn::{Connection, Incoming};
use tokio::time::{Instant, timeout, timeout_at};

use crate::endpoint::Inner;
use crate::greeting::{self, Fault};
use crate::peers::Admission;
use crate::places::{Entry, Places, Source};
use crate::seldom::shown;
use crate::session::{Dial, Session, Unattached};
use crate::wire::{Close, Hello, Reply};
use crate::{DownReason, ProcessId, dial, join, lanes, net, security, tuning};

/// Takes connections for as long as the endpoint lives.
pub(crate) async fn run(inner: Weak<Inner>, endpoint: quinn::Endpoint) {
    let places = Arc::new(Places::default());
    while let Some(incoming) = endpoint.accept().await {
        let Some(inner) = inner.upgrade() else { return };
        let (from, proved) = (incoming.remote_address(), incoming.remote_address_validated());
        if !proved && places.are_crowded() {
            // Before the system is asked whose address it is, which a flood of datagrams would ask each time.
            let _ = incoming.retry();
            continue;
        }
        let near = !net::is_relayed(from) && tuning::same_machine(from, inner.is_simulated());
        let source = if near || inner.is_beside(from) { Source::ThisMachine } else { Source::host(from) };
        let place = match places.enter(source, proved) {
            Entry::Place(place) => place,
            Entry::Prove => {
                // One that cannot be told to come again is no worse than ignored.
                let _ = incoming.retry();
                continue;
            }
            Entry::Full => {
                if let Some(times) = inner.strangers.ignored.note(Instant::now()) {
                    tracing::warn!(%from, times, "too many connections without a greeting are ignored");
                }
                incoming.ignore();
                continue;
            }
        };
        let runtime = inner.runtime.clone();
        runtime.spawn(async move {
            let _place = place;
            let stall = inner.limits.stall;
            let until = Instant::now() + stall;
            // Dropping the connection closes it.
            let stalled = timeout(stall, one(&inner, incoming, near, until)).await.is_err();
            if stalled && let Some(times) = inner.strangers.stalled.note(Instant::now()) {
                tracing::info!(%from, ?stall, times, "a connection stalled before its greeting was complete");
            }
        });
    }
}

/// `near` says that its datagrams stay on this machine.
async fn one(inner: &Arc<Inner>, incoming: Incoming, near: bool, until: Instant) {
    let from = incoming.remote_address();
    let config = if near { inner.servers[0].clone() } else { inner.servers[1].clone() };
    let connected = match incoming.accept_with(config) {
        Ok(connecting) => connecting.await,
        Err(error) => Err(error),
    };
    let connection = match connected {
        Ok(connection) => connection,
        Err(error) => {
            if let Some(times) = inner.strangers.failed.note(Instant::now()) {
                tracing::info!(%from, error = %shown(&error), times, "a handshake failed");
            }
            return;
        }
    };
    let data = connection.handshake_data();
    let data = data.and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok());
    if data.and_then(|data| data.protocol).as_deref() == Some(security::JOIN_ALPN) {
        join::serve(inner, connection, until).await;
        return;
    }
    let Some(id) = security::peer_id(&connection) else {
        if let Some(times) = inner.strangers.nameless.note(Instant::now()) {
            tracing::info!(%from, times, "a connection without a certificate is closed");
        }
        connection.close(Close::Refused.code(), b"a session needs a certificate of this cluster");
        return;
    };
    greet(inner, id, connection, until).await;
}

async fn greet(inner: &Arc<Inner>, id: ProcessId, connection: Connection, until: Instant) {
    let (mut send, mut receive) = match timeout_at(until, connection.accept_bi()).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(_)) => return,
        Err(_) => return greeting::none_came(inner.limits.stall).close(&connection, &id),
    };
    let refuse = |text: &str| {
        tracing::warn!(from = %id, at = %connection.remote_address(), text, "a connection is refused");
        connection.close(Close::Refused.code(), text.as_bytes());
    };
    let hello = match greeting::read::<Hello>(&mut receive, inner.revision, until).await {
        Ok(hello) => hello,
        Err(Fault::Broken) => return,
        Err(Fault::Malformed(text)) => return refuse(text),
        Err(Fault::Stalled(stalled)) => return stalled.close(&connection, &id),
        Err(Fault::Revision(theirs)) => {
            let ours = inner.revision;
            inner.refused_revision(id, theirs);
            tracing::warn!(from = %id, at = %connection.remote_address(), ours, theirs, "another wire revision");
            let _ = greeting::write::<Reply>(&mut send, ours, None).await;
            let _ = send.finish();
            let _ = timeout(Duration::from_secs(1), connection.closed()).await;
            return;
        }
    };
    if hello.session == u64::MAX {
        return refuse("the greeting's session has no number after it");
    }
    if hello.from != id {
        return refuse("the greeting names another process than the certificate");
    }
    let reply = answer(inner, id, &connection, &hello);
    let written = greeting::write(&mut send, inner.revision, Some(&reply)).await;
    let _ = send.finish();
    if !matches!(reply, Reply::Welcome { .. }) && written.is_ok() {
        // The dialler closes when it has read this.
        let _ = timeout(Duration::from_secs(1), connection.closed()).await;
    }
}

/// Decides, and on a welcome gives the connection to the session at once.
fn answer(inner: &Arc<Inner>, id: ProcessId, connection: &Connection, hello: &Hello) -> Reply {
    if hello.to.is_some_and(|to| to != inner.id) {
        return Reply::NotMe(inner.id);
    }
    let addrs = dial::heard(&hello.addrs, connection.remote_address());
    let session: Arc<Session> = match inner.admit(id, hello.session, addrs) {
        Admission::Session(peer) => peer.0,
        Admission::Over(next) => return Reply::Over(next),
        Admission::Never(reason) => return Reply::Never(reason.to_string()),
    };
    let received = session.received();
    let dial = Dial { ours: false, number: hello.connection };
    match inner.attach(&session, connection, dial, hello.lost, hello.received) {
        Ok(live) => {
            tuning::welcome(connection);
            lanes::start(&session, &live);
            Reply::Welcome { from: inner.id, received, addrs: inner.advertised() }
        }
        Err(Unattached::Yield) => Reply::Yield,
        Err(Unattached::Ended(_)) => Reply::Over(session.number.saturating_add(1)),
        Err(Unattached::Protocol(fault)) => {
            session.end(DownReason::protocol(session.id, fault));
            Reply::Over(session.number.saturating_add(1))
        }
    }
}
