//! Making a connection: dialling, the greeting, and what can go wrong with either.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, ConnectionError};
use tokio::time::{Instant, sleep, timeout};

use crate::endpoint::Inner;
use crate::greeting::{self, Fault};
use crate::session::{Dial, Session, Unattached};
use crate::wire::{Close, Hello, Reply};
use crate::{DialError, DownReason, Peer, Probe, ProcessId, lanes, net, security, tuning};

/// A handshake that takes longer than this makes a probe ask whether anybody is there.
const PATIENCE: Duration = Duration::from_millis(200);
/// So many of a process's own addresses are believed.
const MAX_ADDRS: usize = 8;

/// Dials the process of `session` at `addr`, and gives the connection to the session.
pub(crate) async fn session(inner: &Arc<Inner>, session: &Arc<Session>, addr: SocketAddr) -> Result<(), DialError> {
    let connection = connect(inner, addr, Some(session.id), inner.limits.stall).await?;
    greet(inner, session, connection, addr).await
}

/// Dials whoever is at `addr`; its certificate says who that is.
pub(crate) async fn contact(inner: &Arc<Inner>, addr: SocketAddr, deadline: Duration) -> Result<Peer, DialError> {
    let dialled = async {
        let connection = connect(inner, addr, None, deadline).await?;
        let id = security::peer_id(&connection).ok_or_else(|| not_actinic(addr, "it shows no certificate"))?;
        let peer = inner.contacted(id, addr);
        if id == inner.id || peer.is_connected() {
            connection.close(Close::Superseded.code(), b"already connected");
            return Ok(peer);
        }
        match greet(inner, &peer.0, connection, addr).await {
            Ok(()) => Ok(peer),
            Err(DialError::Yielded(_)) => {
                let _ = peer.0.connected.subscribe().wait_for(|up| *up).await;
                Ok(peer)
            }
            Err(error) => {
                if let Some(reason) = fatal(&error, inner) {
                    peer.0.end(reason);
                }
                Err(error)
            }
        }
    };
    match timeout(deadline, dialled).await {
        Ok(result) => result,
        Err(_) => Err(DialError::Timeout { addr, within: deadline }),
    }
}

/// What a failed dial means for the session, if it means its end.
pub(crate) fn fatal(error: &DialError, inner: &Inner) -> Option<DownReason> {
    Some(match error {
        DialError::WrongCluster { ours, theirs, .. } => DownReason::WrongCluster { ours: *ours, theirs: *theirs },
        DialError::Version { ours, theirs, .. } => DownReason::Version { ours: *ours, theirs: *theirs },
        DialError::Ended { reason, .. } => reason.clone(),
        DialError::OtherProcess { found, expected, .. } if expected.cluster == inner.id.cluster => {
            DownReason::Replaced(*found)
        }
        _ => return None,
    })
}

fn not_actinic(addr: SocketAddr, text: &str) -> DialError {
    DialError::NotActinic { addr, text: text.into() }
}

/// A connection with the process meant (or, without one, with any process of the cluster).
async fn connect(
    inner: &Arc<Inner>,
    addr: SocketAddr,
    expected: Option<ProcessId>,
    within: Duration,
) -> Result<Connection, DialError> {
    let refused = |text: String| DialError::Refused { addr, text };
    let (tls, verifier) = security::client_config(&inner.identity(), expected).map_err(|e| refused(e.to_string()))?;
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).map_err(|e| refused(e.to_string()))?;
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    let near = !net::is_relayed(addr) && tuning::same_machine(addr, inner.is_simulated());
    config.transport_config(tuning::dialling(near, &inner.limits));
    let connecting = inner.quinn.connect_with(config, addr, "actinic").map_err(|e| refused(e.to_string()))?;
    let probe = async {
        sleep(PATIENCE.min(within / 4)).await;
        if net::is_relayed(addr) || inner.probe(addr, within).await != Probe::Unreachable {
            std::future::pending::<()>().await;
        }
    };
    let outcome = tokio::select! {
        biased;
        outcome = connecting => outcome,
        () = probe => return Err(DialError::Nobody(addr)),
        () = sleep(within) => return Err(DialError::Timeout { addr, within }),
    };
    outcome.map_err(|error| match verifier.verdict() {
        Some(verdict) => judged(addr, inner, expected, verdict),
        None => broken(addr, &error, within),
    })
}

fn judged(addr: SocketAddr, inner: &Inner, expected: Option<ProcessId>, verdict: security::Verdict) -> DialError {
    use security::Verdict;
    match (verdict, expected) {
        (Verdict::WrongCluster(theirs), _) => DialError::WrongCluster { addr, ours: inner.id.cluster, theirs },
        (Verdict::OtherProcess(found), Some(expected)) => DialError::OtherProcess { addr, expected, found },
        (Verdict::Refused(text), _) => DialError::Certificate { addr, text },
        (verdict, _) => DialError::Certificate { addr, text: format!("{verdict:?}") },
    }
}

/// What the end of a connection says about whoever is at the address.
pub(crate) fn broken(addr: SocketAddr, error: &ConnectionError, within: Duration) -> DialError {
    /// TLS's alert for "none of these protocols", as QUIC carries it.
    const NO_PROTOCOL: u64 = 0x100 + 120;
    match error {
        ConnectionError::TimedOut => DialError::Timeout { addr, within },
        ConnectionError::VersionMismatch => not_actinic(addr, "it speaks another version of QUIC"),
        ConnectionError::ConnectionClosed(close) if u64::from(close.error_code) == NO_PROTOCOL => {
            not_actinic(addr, "it is a QUIC server of another kind")
        }
        ConnectionError::ConnectionClosed(close) => {
            DialError::Certificate { addr, text: format!("it closed the connection: {close}") }
        }
        error => DialError::Refused { addr, text: error.to_string() },
    }
}

/// Where a process listens, by its own word and the address it was seen at: an unspecified address is the one seen,
/// and the loopback of another machine is no address.
pub(crate) fn heard(said: &[SocketAddr], seen: SocketAddr) -> Vec<SocketAddr> {
    let seen_here = seen.ip().to_canonical();
    let useful = said.iter().filter_map(|addr| match addr.ip().to_canonical() {
        _ if net::is_relayed(seen) => None,
        ip if ip.is_unspecified() => Some(SocketAddr::new(seen_here, addr.port())),
        ip if ip.is_loopback() && !seen_here.is_loopback() => None,
        ip => Some(SocketAddr::new(ip, addr.port())),
    });
    useful.take(MAX_ADDRS).collect()
}

/// The greeting, from the dialler's side; then the connection is the session's.
async fn greet(
    inner: &Arc<Inner>,
    session: &Arc<Session>,
    connection: Connection,
    addr: SocketAddr,
) -> Result<(), DialError> {
    let (number, lost) = session.next_dial();
    let hello = Hello {
        from: inner.id,
        to: Some(session.id),
        session: session.number,
        received: session.received(),
        connection: number,
        lost,
        addrs: inner.advertised(),
    };
    let within = inner.limits.stall;
    let until = Instant::now() + within;
    let exchange = async {
        let (mut send, mut receive) = connection.open_bi().await.map_err(|_| Fault::Broken)?;
        greeting::write(&mut send, inner.revision, Some(&hello)).await?;
        greeting::read::<Reply>(&mut receive, inner.revision, until).await
    };
    let reply = timeout(within, exchange).await.map_err(|_| {
        connection.close(Close::Refused.code(), b"no greeting came");
        DialError::Timeout { addr, within }
    })?;
    let close = |code: Close, text: &str| connection.close(code.code(), text.as_bytes());
    let reason = |reason: DownReason| DialError::Ended { addr, reason };
    match reply {
        Ok(Reply::Welcome { from, received, addrs }) if from == session.id => {
            let dial = Dial { ours: true, number };
            match inner.attach(session, &connection, dial, lost, received) {
                Ok(live) => {
                    session.hear(heard(&addrs, addr));
                    lanes::start(session, &live);
                    Ok(())
                }
                Err(Unattached::Yield) => {
                    close(Close::Superseded, "another connection is kept");
                    Err(DialError::Yielded(addr))
                }
                Err(Unattached::Ended(ended)) => {
                    close(Close::Ended, &ended.to_string());
                    Err(reason(ended))
                }
                Err(Unattached::Protocol(fault)) => {
                    close(Close::Malformed, &fault);
                    Err(reason(DownReason::protocol(session.id, fault)))
                }
            }
        }
        Ok(Reply::Yield) => {
            close(Close::Superseded, "another connection is kept");
            Err(DialError::Yielded(addr))
        }
        Ok(Reply::Over(next)) => {
            close(Close::Ended, "the session is over");
            inner.next_session(session.id, next);
            Err(reason(DownReason::EndedByPeer))
        }
        Ok(Reply::Never(text)) => {
            tracing::warn!(peer = %session.id, text, "this process was refused for good");
            close(Close::Ended, "the session is over");
            Err(reason(DownReason::EndedByPeer))
        }
        Ok(Reply::Welcome { from, .. } | Reply::NotMe(from)) => {
            close(Close::Refused, "another process was meant");
            Err(DialError::OtherProcess { addr, expected: session.id, found: from })
        }
        Err(Fault::Revision(theirs)) => {
            close(Close::Refused, "another wire revision");
            Err(DialError::Version { addr, ours: inner.revision, theirs })
        }
        Err(Fault::Malformed(text)) => {
            close(Close::Malformed, text);
            Err(not_actinic(addr, text))
        }
        Err(Fault::Stalled(stalled)) => {
            stalled.close(&connection, &session.id);
            Err(DialError::Timeout { addr, within })
        }
        Err(Fault::Broken) => Err(match connection.close_reason() {
            Some(error) => broken(addr, &error, within),
            None => DialError::Refused { addr, text: "it ended the greeting".into() },
        }),
    }
}
