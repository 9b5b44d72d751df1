//! Joining a cluster that is known by its address and a token.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use actinic_transport::{JoinError, JoinKind, JoinRequest, Joined, Net, Token, join};

use crate::api::error::{Error, Result};
use crate::env::Env;
use crate::protocol::REVISION;

/// A wrong address is known within this: to look its name up and to ask whoever is there take no longer together.
pub(crate) const DEADLINE: Duration = Duration::from_secs(3);

fn wrong(address: &str, why: &str) -> Error {
    Error::connection(format!("{address:?} is no address of a cluster: {why}"))
        .remedy("give host and port, as in 10.0.0.7:6379, or \"auto\" for the cluster that was started on this machine")
}

/// Whether a text has the form of an address, whatever is there.
pub(crate) fn check(address: &str) -> Result<()> {
    match address.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
        None => Err(wrong(address, "it has no port")),
        Some(("", _)) => Err(wrong(address, "it has no host")),
        Some((_, Err(_))) => Err(wrong(address, "its port is no number up to 65535")),
        Some(_) => Ok(()),
    }
}

/// `host:port`, looked up if it is a name, which may have several addresses.
async fn resolve(env: &Env, address: &str) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    check(address)?;
    let wrong = |why: &str| wrong(address, why);
    let name = address.to_owned();
    #[allow(clippy::disallowed_methods, reason = "names are looked up here and below, on a thread of its own")]
    let found = env.aside("actinic-resolve", move || name.to_socket_addrs().map(Vec::from_iter));
    match tokio::time::timeout(DEADLINE, found).await {
        Ok(Ok(Ok(found))) if found.is_empty() => Err(wrong("the name has no address")),
        Ok(Ok(Ok(found))) => Ok(found),
        Ok(Ok(Err(error)) | Err(error)) => Err(wrong(&error.to_string())),
        Err(_) => Err(wrong("the name was not looked up in time")),
    }
}

/// How long it may take to find out whether a name is this machine's, beside the deadline of whoever then connects.
const ASIDE: Duration = Duration::from_secs(1);

/// What an address names, waiting for it on the calling thread; nothing if nobody knows in time.
#[allow(clippy::disallowed_methods, reason = "no simulation looks names up: it has no nodes that others find")]
pub(crate) fn look_up(env: &Env, address: &str) -> Vec<SocketAddr> {
    if let Ok(address) = address.parse() {
        return vec![address];
    }
    let (tell, hear) = std::sync::mpsc::channel();
    let name = address.to_owned();
    let look = move || drop(tell.send(name.to_socket_addrs().map(Vec::from_iter)));
    // Without the thread it is not known either.
    let _ = env.thread("actinic-resolve", look);
    hear.recv_timeout(ASIDE).ok().and_then(std::io::Result::ok).unwrap_or_default()
}

/// Reads a token as a person gave it.
pub(crate) fn token(text: &str) -> Result<Token> {
    let read = text.parse::<Token>();
    read.map_err(|error| {
        Error::unauthorized(error.to_string()).remedy("`actinic token show` prints it on the head's machine")
    })
}

/// Looks an address up, and asks the cluster there to be admitted.
pub(crate) async fn enter(
    env: &Env,
    address: &str,
    token: &str,
    kind: JoinKind,
) -> Result<(SocketAddr, Token, Joined)> {
    let begun = tokio::time::Instant::now();
    let all = resolve(env, address).await?;
    let token = self::token(token)?;
    let mut failed = wrong(address, "the name has no address");
    for (tried, at) in all.iter().enumerate() {
        // In whole milliseconds, because an error may tell it.
        let spent = Duration::from_millis(begun.elapsed().as_millis() as u64);
        let each = DEADLINE.saturating_sub(spent) / (all.len() - tried) as u32;
        match admit(*at, &token, kind, each).await {
            Ok(joined) => return Ok((*at, token, joined)),
            // Whoever refuses is who was meant.
            Err(error @ (Error::Unauthorized { .. } | Error::VersionMismatch { .. })) => return Err(error),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Asks the cluster at an address to be admitted.
async fn admit(at: SocketAddr, token: &Token, kind: JoinKind, within: Duration) -> Result<Joined> {
    let request = JoinRequest { kind, revision: REVISION, from: None, seed: None };
    join(&Net::Udp, at, token, request, within).await.map_err(|error| {
        let text = error.to_string();
        match error {
            JoinError::WrongToken(_) | JoinError::WrongAuthority(_) => {
                Error::unauthorized(text).remedy("`actinic token show` prints a valid token on the head's machine")
            }
            JoinError::Version { .. } => Error::version_mismatch(text),
            _ => Error::connection(text),
        }
    })
}

/// This machine's address on its default route.
pub(crate) fn own_address() -> Option<IpAddr> {
    // Addresses of nobody, kept for documents.
    let far = [SocketAddr::from(([192, 0, 2, 1], 9)), SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9))];
    far.into_iter().find_map(near)
}

/// This machine's address as that one sees it. Nothing is sent.
#[allow(clippy::disallowed_methods)] // it asks the routing table, and hears nothing
pub(crate) fn near(far: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if far.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(far).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use actinic_transport::{Authority, ClusterId, Config, Endpoint, JoinServer, Limits, NodeId};

    use super::*;

    /// Who is of another wire revision than the cluster's is told both, and what to do; the cluster is as it was.
    #[test]
    #[allow(clippy::disallowed_methods)] // the test's own runtime, over real sockets
    fn a_cluster_of_another_wire_revision_is_named() {
        const THEIRS: u32 = REVISION + 1;
        let env = Env::real();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let authority = Authority::generate(ClusterId(env.uuid())).unwrap();
            let token = Token::generate(&authority).unwrap();
            let node = authority.node(NodeId(env.uuid())).unwrap();
            let identity = node.issue(env.uuid()).unwrap();
            let config = Config {
                id: identity.id(),
                identity,
                net: Net::Udp,
                listen: (Ipv4Addr::LOCALHOST, 0).into(),
                limits: Limits::default(),
                revision: THEIRS,
                seed: None,
            };
            let head = Endpoint::bind(config).unwrap();
            let heard = Arc::new(AtomicUsize::new(0));
            let events = heard.clone();
            head.on_peer_event(Arc::new(move |_| {
                events.fetch_add(1, Ordering::Relaxed);
            }));
            head.serve_joins(JoinServer {
                tokens: vec![token.clone()],
                authority: Some(authority),
                node,
                revision: THEIRS,
                draw: Arc::new(move || env.uuid()),
            });
            let begun = tokio::time::Instant::now();
            for kind in [JoinKind::Driver, JoinKind::Node] {
                let error = admit(head.local_addr(), &token, kind, DEADLINE).await.unwrap_err();
                assert!(matches!(error, Error::VersionMismatch { .. }), "{error:?}");
                let text = error.to_string();
                let revisions = format!("wire revision {THEIRS}, and this process {REVISION}");
                for said in [&head.local_addr().to_string(), &revisions, "run the same version of actinic on both"] {
                    assert!(text.contains(said), "{said:?} is not in: {text}");
                }
            }
            assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
            // Neither became a peer, and one of the cluster's own revision is admitted after them.
            assert_eq!(heard.load(Ordering::Relaxed), 0);
            let good = JoinRequest { kind: JoinKind::Driver, revision: THEIRS, from: None, seed: None };
            let joined = join(&Net::Udp, head.local_addr(), &token, good, DEADLINE).await.unwrap();
            assert_eq!(joined.host.id, head.id());
        });
    }

    /// A host's name at whose port nobody answers: that is known in time too, however long its lookup took.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "whoever is there is to be deaf to what a `Net` does")]
    fn a_name_is_looked_up_and_asked_within_one_deadline() {
        let env = Env::real();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mute = UdpSocket::bind("localhost:0").unwrap();
            let address = format!("localhost:{}", mute.local_addr().unwrap().port());
            let token = Token::generate(&Authority::generate(ClusterId(env.uuid())).unwrap()).unwrap().to_string();
            let begun = tokio::time::Instant::now();
            let error = enter(&env, &address, &token, JoinKind::Driver).await.unwrap_err();
            let late = DEADLINE + Duration::from_millis(500);
            assert!(begun.elapsed() < late, "{:?}", begun.elapsed());
            assert!(matches!(error, Error::Connection { .. }), "{error:?}");
            assert!(error.to_string().contains("check the address"), "{error}");
        });
    }
}
