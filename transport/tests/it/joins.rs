//! Joining a cluster, and every way in which that fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actinic_transport::*;
use uuid::Uuid;

use crate::support::*;

fn serve(cluster: &Cluster, head: &Endpoint, with_authority: bool) -> Token {
    let token = Token::generate(&cluster.authority).unwrap();
    let drawn = AtomicU64::new(1000);
    head.serve_joins(JoinServer {
        tokens: vec![token.clone()],
        authority: with_authority.then(|| cluster.authority.clone()),
        node: cluster.authority.node(head.id().node).unwrap(),
        revision: REVISION,
        draw: Arc::new(move || Uuid::from_u128(u128::from(drawn.fetch_add(1, Ordering::Relaxed)))),
    });
    token
}

fn request(kind: JoinKind, n: u8) -> JoinRequest {
    JoinRequest { kind, revision: REVISION, from: Some(addr(n)), seed: Some([n; 32]) }
}

async fn attempt(cluster: &Cluster, token: &Token, to: SocketAddr, request: JoinRequest) -> Result<Joined, JoinError> {
    join(&Net::Sim(cluster.net.clone()), to, token, request, ms(3000)).await
}

fn config(cluster: &Cluster, joined: &Joined, n: u8) -> Config {
    Config { id: joined.identity.id(), identity: joined.identity.clone(), ..cluster.config(n, 1) }
}

#[tokio::test(start_paused = true)]
async fn nodes_drivers_and_tools_join_and_speak() {
    let mut cluster = Cluster::new(1);
    let life = Duration::from_secs(3600);
    cluster.authority = cluster.authority.with_leaf_life(life);
    let (head, _) = cluster.endpoint(1);
    let token: Token = serve(&cluster, &head, true).to_string().parse().unwrap();
    let node = attempt(&cluster, &token, addr(1), request(JoinKind::Node, 2)).await.unwrap();
    assert_eq!(node.host, PeerAddr::new(head.id(), addr(1)));
    let authority = node.authority.as_ref().unwrap();
    assert_ne!(authority.node(), head.id().node);
    let (raylet, _) = start(config(&cluster, &node, 2));
    assert_eq!(raylet.peer(&node.host).ask::<_, u64>(ECHO, &1u64, ms(1000)).await, Ok(1));
    // The node signs a worker of its own.
    let worker = authority.issue(Uuid::from_u128(5555)).unwrap();
    assert_eq!([node.identity.life(), worker.life()], [life; 2], "as the authority says");
    let (worker, _) = start(Config { id: worker.id(), identity: worker, ..cluster.config(3, 1) });
    assert_eq!(worker.peer(&node.host).ask::<_, u64>(ECHO, &2u64, ms(1000)).await, Ok(2));
    // A driver attaches to the node that answers, which needs no cluster authority for that.
    let drawn = AtomicU64::new(7000);
    raylet.serve_joins(JoinServer {
        tokens: vec![token.clone()],
        authority: None,
        node: authority.clone(),
        revision: REVISION,
        draw: Arc::new(move || Uuid::from_u128(u128::from(drawn.fetch_add(1, Ordering::Relaxed)))),
    });
    for kind in [JoinKind::Driver, JoinKind::Tool] {
        let driver = attempt(&cluster, &token, addr(2), request(kind, 4)).await.unwrap();
        assert_eq!(driver.identity.id().node, authority.node());
        assert_eq!(driver.identity.life(), life);
        assert!(driver.authority.is_none());
        let (driver, _) = start(config(&cluster, &driver, 4));
        assert_eq!(driver.peer(&node.host).ask::<_, u64>(ECHO, &3u64, ms(1000)).await, Ok(3));
        driver.close().await;
    }
    let error = attempt(&cluster, &token, addr(2), request(JoinKind::Node, 5)).await.unwrap_err();
    assert!(matches!(&error, JoinError::Refused { text, .. } if text.contains("head")), "{error}");
}

#[tokio::test(start_paused = true)]
async fn each_failure_has_its_own_error() {
    let cluster = Cluster::new(2);
    let (head, sink) = cluster.endpoint(1);
    let token = serve(&cluster, &head, true);
    let driver = || request(JoinKind::Driver, 9);

    let other = Token::generate(&cluster.authority).unwrap();
    assert_eq!(attempt(&cluster, &other, addr(1), driver()).await.unwrap_err(), JoinError::WrongToken(addr(1)));

    let foreign = Token::generate(&Cluster::number(2, 0).authority).unwrap();
    assert_eq!(attempt(&cluster, &foreign, addr(1), driver()).await.unwrap_err(), JoinError::WrongAuthority(addr(1)));

    let old = JoinRequest { revision: REVISION - 1, ..driver() };
    let error = attempt(&cluster, &token, addr(1), old).await.unwrap_err();
    assert_eq!(error, JoinError::Version { addr: addr(1), ours: REVISION - 1, theirs: REVISION });

    let begun = tokio::time::Instant::now();
    assert_eq!(attempt(&cluster, &token, addr(8), driver()).await.unwrap_err(), JoinError::Nobody(addr(8)));
    assert!(begun.elapsed() < ms(1000));

    cluster.net.crash_machine(ip(7));
    let error = attempt(&cluster, &token, addr(7), driver()).await.unwrap_err();
    assert_eq!(error, JoinError::Timeout { addr: addr(7), within: ms(3000) });
    assert!(begun.elapsed() < Duration::from_secs(5));

    let (_mute, _) = cluster.endpoint(6);
    let error = attempt(&cluster, &token, addr(6), driver()).await.unwrap_err();
    assert!(matches!(&error, JoinError::Refused { text, .. } if text.contains("not answered here")), "{error}");

    // The cluster is unharmed, and a good token still serves.
    attempt(&cluster, &token, addr(1), driver()).await.unwrap();
    assert!(sink.events.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_joiner_without_a_certificate_gets_no_session() {
    let cluster = Cluster::new(3);
    let (head, sink) = cluster.endpoint(1);
    serve(&cluster, &head, true);
    // A wrong authority's endpoint has a certificate that this one does not accept; see also `hostile`.
    let stranger = Cluster { net: cluster.net.clone(), ..Cluster::number(1, 0) };
    let (stranger, _) = stranger.endpoint(2);
    assert!(stranger.contact(addr(1), ms(2000)).await.is_err());
    assert_eq!(sink.ups(), 0);
}
