//! Certificates end, are renewed while sessions go on, and are taken back.

use std::time::Duration;

use actinic_transport::*;

use crate::support::*;

/// Long enough to dial within, short enough to wait for in virtual time.
const LIFE: Duration = Duration::from_secs(60);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A cluster whose leaves live for [`LIFE`].
fn cluster(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed);
    cluster.authority = cluster.authority.with_leaf_life(LIFE);
    cluster
}

async fn asks(from: &Endpoint, to: &PeerAddr) -> Result<u64, AskError> {
    from.peer(to).ask(ECHO, &1u64, secs(20)).await
}

#[tokio::test(start_paused = true)]
async fn a_renewed_endpoint_dials_and_answers_when_its_first_certificate_has_ended() {
    let cluster = cluster(1);
    let ((a, at_a), (b, at_b)) = (cluster.endpoint(1), cluster.endpoint(2));
    assert_eq!(asks(&a, &cluster.at(2)).await, Ok(1));
    let first = cluster.config(1, 1).identity;
    assert!(first.renew_in() <= secs(40) && first.renew_in() > secs(39), "{:?}", first.renew_in());
    // Past the end of the second certificate and the third too.
    for _ in 0..3 {
        tokio::time::sleep(secs(40)).await;
        a.renew(cluster.config(1, 1).identity).unwrap();
        b.renew(cluster.config(2, 1).identity).unwrap();
    }
    assert_eq!(first.renew_in(), Duration::ZERO);
    tokio::time::sleep(secs(30)).await;
    let ((c, _), (d, _)) = (cluster.endpoint(3), cluster.endpoint(4));
    assert_eq!(asks(&c, &cluster.at(1)).await, Ok(1), "it is dialled");
    assert_eq!(asks(&a, &cluster.at(4)).await, Ok(1), "it dials");
    assert!(d.known(a.id()).is_some());
    // The session of before stands, and comes back after its connection was lost.
    let peer = a.peer(&cluster.at(2));
    cluster.net.partition(&[ip(1)], &[ip(2)]);
    tell(&peer, Lane::Ordered, 7).unwrap();
    until("the connection is lost", || !peer.is_connected()).await;
    cluster.net.heal();
    until("what was said meanwhile has arrived", || at_b.from(a.id()) == [7]).await;
    assert_eq!((at_a.downs(), at_b.downs()), (Vec::new(), Vec::new()));
    assert_eq!(at_b.ups(), 1, "one session from first to last");
}

#[tokio::test(start_paused = true)]
async fn an_ended_certificate_opens_no_connection() {
    let cluster = cluster(2);
    let ((a, at_a), (b, _)) = (cluster.endpoint(1), cluster.endpoint(2));
    assert_eq!(asks(&a, &cluster.at(2)).await, Ok(1));
    tokio::time::sleep(LIFE + secs(2)).await;
    let (c, at_c) = cluster.endpoint(3);
    for (from, to, which) in [(&c, addr(1), "the listener's"), (&a, addr(3), "the dialler's")] {
        let error = from.contact(to, secs(3)).await.unwrap_err();
        assert!(matches!(&error, DialError::Certificate { .. }), "{which}: {error}");
        assert!(error.to_string().to_lowercase().contains("expired"), "{which}: {error}");
    }
    assert_eq!((at_a.ups(), at_c.ups()), (1, 0));
    // What stands is not disturbed.
    assert_eq!(asks(&a, &cluster.at(2)).await, Ok(1));
    assert!(b.known(a.id()).is_some());
    a.renew(cluster.config(1, 1).identity).unwrap();
    assert_eq!(asks(&a, &cluster.at(3)).await, Ok(1), "a late renewal helps all the same");
}

#[tokio::test(start_paused = true)]
async fn a_process_is_granted_a_certificate_for_a_key_that_stays_with_it() {
    let cluster = cluster(3);
    let (worker, _) = cluster.endpoint(1);
    let node = cluster.authority.node(worker.id().node).unwrap();
    let identity = node.issue(worker.id().incarnation).unwrap();
    tokio::time::sleep(LIFE + secs(2)).await;
    let renewal = Renewal::begin(&identity).unwrap();
    let grant = node.grant(worker.id(), &renewal.public_key()).unwrap();
    worker.renew(renewal.complete(grant).unwrap()).unwrap();
    let (other, _) = cluster.endpoint(2);
    assert_eq!(asks(&worker, &cluster.at(2)).await, Ok(1));
    assert_eq!(asks(&other, &cluster.at(1)).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn nothing_but_the_same_process_under_the_same_authority_is_taken() {
    let cluster = cluster(4);
    let (worker, _) = cluster.endpoint(1);
    let node = cluster.authority.node(worker.id().node).unwrap();
    let identity = node.issue(worker.id().incarnation).unwrap();
    let begin = || Renewal::begin(&identity).unwrap();
    // A node signs its own processes only.
    for stranger in [cluster.id(2, 1), ProcessId { cluster: ClusterId(Default::default()), ..worker.id() }] {
        let error = node.grant(stranger, &begin().public_key()).unwrap_err().to_string();
        assert!(error.contains("another node"), "{error}");
    }
    // What was granted to another process, or for another key, or by another authority, is not taken.
    let grant = node.grant(cluster.id(1, 9), &begin().public_key()).unwrap();
    assert!(begin().complete(grant).unwrap_err().to_string().contains("another process"));
    let grant = node.grant(worker.id(), &begin().public_key()).unwrap();
    assert!(
        worker.renew(begin().complete(grant).unwrap()).unwrap_err().to_string().contains("keys may not be consistent")
    );
    let forged = Cluster::new(4).authority.node(worker.id().node).unwrap();
    let renewal = begin();
    let grant = forged.grant(worker.id(), &renewal.public_key()).unwrap();
    assert!(renewal.complete(grant).unwrap_err().to_string().contains("another authority"));
    let error = worker.renew(forged.issue(worker.id().incarnation).unwrap()).unwrap_err();
    assert!(error.to_string().contains("another authority"), "{error}");
    // It has what it had.
    let (other, _) = cluster.endpoint(2);
    assert_eq!(asks(&other, &cluster.at(1)).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_process_loses_its_connections_and_gets_no_others() {
    let cluster = cluster(5);
    let ((a, at_a), (b, at_b)) = (cluster.endpoint(1), cluster.endpoint(2));
    // Another process of the same node.
    let sibling_at = "10.0.0.2:7001".parse().unwrap();
    let (sibling, at_sibling) = start(Config { listen: sibling_at, ..cluster.config(2, 2) });
    let sibling_addr = PeerAddr::new(sibling.id(), sibling_at);
    assert_eq!(asks(&a, &cluster.at(2)).await, Ok(1));
    assert_eq!(asks(&a, &sibling_addr).await, Ok(1));
    let pending = a.peer(&cluster.at(2)).ask::<_, u64>(ECHO, &14u64, secs(60));
    a.revoke(b.id());
    assert_eq!(pending.await, Err(AskError::Ended { to: b.id(), reason: DownReason::Revoked }));
    until("both know", || at_a.downs() == [DownReason::Revoked] && at_b.downs().len() == 1).await;
    assert!(a.known(b.id()).is_none() && b.known(a.id()).is_none(), "no connection is left");
    // None from either side, by address neither, and not with a renewed certificate.
    b.renew(cluster.config(2, 1).identity).unwrap();
    assert!(matches!(asks(&b, &cluster.at(1)).await, Err(AskError::Ended { .. })));
    assert!(b.contact(addr(1), secs(3)).await.is_err());
    assert_eq!(a.peer(&cluster.at(2)).ended(), Some(DownReason::Revoked));
    assert!(a.contact(addr(2), secs(3)).await.is_err());
    assert_eq!((at_a.ups(), at_b.ups()), (2, 1));
    // Its sibling is not meant, until its node is.
    assert_eq!(asks(&a, &sibling_addr).await, Ok(1));
    assert!(at_sibling.downs().is_empty());
    a.revoke(b.id().node);
    until("the sibling is cut off", || at_sibling.downs().len() == 1).await;
    // Who was never spoken with is barred too.
    let (third, at_third) = start(Config { listen: "10.0.0.2:7002".parse().unwrap(), ..cluster.config(2, 3) });
    assert!(matches!(asks(&third, &cluster.at(1)).await, Err(AskError::Ended { .. })));
    assert_eq!(at_third.ups(), 0);
}
