//! How sessions end, and what is told of it.

use std::time::Duration;

use actinic_transport::*;

use crate::support::*;

/// Two endpoints with a session between them.
async fn pair(cluster: &Cluster) -> ((Endpoint, std::sync::Arc<Sink>), (Endpoint, std::sync::Arc<Sink>), Peer) {
    let (a, b) = (cluster.endpoint(1), cluster.endpoint(2));
    let peer = a.0.peer(&cluster.at(2));
    assert_eq!(peer.ask::<_, u64>(ECHO, &1u64, ms(2000)).await, Ok(1));
    (a, b, peer)
}

/// SES-3, SES-4.
#[tokio::test(start_paused = true)]
async fn a_declared_death_fails_questions_and_lasts() {
    let cluster = Cluster::new(1);
    let ((a, at_a), (b, at_b), peer) = pair(&cluster).await;
    let asked = peer.ask::<_, u64>(ECHO, &14u64, Duration::from_secs(60));
    tokio::time::sleep(ms(50)).await;
    a.declare_dead(b.id());
    assert_eq!(asked.await, Err(AskError::Ended { to: b.id(), reason: DownReason::Declared }));
    until("both were told", || at_a.downs() == [DownReason::Declared] && at_b.downs() == [DownReason::EndedByPeer])
        .await;
    assert!(matches!(tell(&peer, Lane::Ordered, 1), Err(SendError::Ended { .. })));
    // No new session, from neither side.
    let again = a.peer(&cluster.at(2));
    assert_eq!(again.ended(), Some(DownReason::Declared));
    let back = b.peer(&cluster.at(1));
    let refused: Result<u64, _> = back.ask(ECHO, &2u64, Duration::from_secs(5)).await;
    assert_eq!(refused, Err(AskError::Ended { to: a.id(), reason: DownReason::EndedByPeer }));
    assert!(a.known(b.id()).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_new_incarnation_ends_the_session_with_the_old() {
    let cluster = Cluster::new(2);
    let ((a, at_a), (b, _), peer) = pair(&cluster).await;
    let asked = peer.ask::<_, u64>(ECHO, &14u64, Duration::from_secs(60));
    cluster.net.crash(addr(2));
    let (_b2, at_b2) = start(cluster.config(2, 2));
    tell(&peer, Lane::Ordered, 42).unwrap();
    let reason = DownReason::Replaced(cluster.id(2, 2));
    assert_eq!(asked.await, Err(AskError::Ended { to: b.id(), reason: reason.clone() }));
    until("it is told", || at_a.downs() == [reason.clone()]).await;
    assert_eq!(at_b2.count(), 0, "nothing for the old one reaches the new one");
    let new = a.peer(&PeerAddr::new(cluster.id(2, 2), addr(2)));
    assert_eq!(new.ask::<_, u64>(ECHO, &3u64, ms(2000)).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn an_overflow_ends_the_session_and_the_next_begins_clean() {
    let mut cluster = Cluster::new(3);
    cluster.limits.max_backlog = 1 << 20;
    let ((a, at_a), (b, at_b), peer) = pair(&cluster).await;
    cluster.net.partition(&[ip(1)], &[ip(2)]);
    let asked = peer.ask::<_, u64>(ECHO, &14u64, Duration::from_secs(60));
    let overflow = loop {
        if let Err(error) = peer.tell_with(Lane::Ordered, SINK, |out| out.resize(out.len() + 10_000, 1)) {
            break error;
        }
    };
    assert_eq!(overflow, SendError::Overflow { to: b.id(), limit: 1 << 20 });
    assert!(overflow.to_string().contains("max_backlog"));
    let reason = DownReason::Overflow { limit: 1 << 20 };
    assert_eq!(asked.await, Err(AskError::Ended { to: b.id(), reason: reason.clone() }));
    until("it is told", || at_a.downs() == [reason.clone()]).await;
    cluster.net.heal();
    let next = a.peer(&cluster.at(2));
    assert_eq!(next.ask::<_, u64>(ECHO, &3u64, Duration::from_secs(20)).await, Ok(3));
    tell(&next, Lane::Ordered, 4).unwrap();
    until("it has arrived", || at_b.from(a.id()) == [4]).await;
    assert_eq!((at_b.ups(), at_b.downs().len()), (2, 1), "the other side saw one session end and one begin");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_nobody_hears_of_is_given_up() {
    let mut cluster = Cluster::new(4);
    cluster.limits.give_up = Duration::from_secs(8);
    let (a, at_a) = cluster.endpoint(1);
    let peer = a.peer(&cluster.at(2));
    let begun = tokio::time::Instant::now();
    let asked: Result<u64, _> = peer.ask(ECHO, &1u64, Duration::from_secs(60)).await;
    assert_eq!(asked, Err(AskError::Ended { to: peer.id(), reason: DownReason::Unreachable(Duration::from_secs(8)) }));
    assert!(begun.elapsed() < Duration::from_secs(14));
    until("it is told", || at_a.downs().len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn deadlines_hold_and_questions_are_refused_with_a_reason() {
    let cluster = Cluster::new(5);
    let (_a, (b, _), peer) = pair(&cluster).await;
    let begun = tokio::time::Instant::now();
    let (slow, quick) =
        tokio::join!(peer.ask::<_, u64>(ECHO, &14u64, ms(700)), peer.ask::<_, u64>(ECHO, &[14u8], ms(300)),);
    assert_eq!(slow, Err(AskError::Deadline { to: b.id(), deadline: ms(700) }));
    assert_eq!(quick, Err(AskError::Deadline { to: b.id(), deadline: ms(300) }));
    assert!(begun.elapsed() >= ms(700) && begun.elapsed() < ms(710));
    let dropped: Result<u64, _> = peer.ask(ECHO, &13u64, ms(1000)).await;
    assert!(matches!(dropped, Err(AskError::Refused(text)) if text.contains("dropped")));
    let nobody: Result<u64, _> = peer.ask(ActorNo(999), &1u64, ms(1000)).await;
    assert_eq!(nobody, Err(AskError::NoActor { to: b.id(), actor: ActorNo(999) }));
    let other: Result<String, _> = peer.ask(ECHO, &[200u8, 1], ms(1000)).await;
    assert!(matches!(other, Err(AskError::Decode { .. })), "{other:?}");
    // A receiver that panics harms its own burst only.
    let panicked: Result<u64, _> = peer.ask(ECHO, &15u64, ms(1000)).await;
    assert!(matches!(panicked, Err(AskError::Refused(_))), "{panicked:?}");
    assert_eq!(peer.ask::<_, u64>(ECHO, &1u64, ms(1000)).await, Ok(1));
    // A question given up leaves nothing behind, and its answer harms nobody.
    drop(peer.ask::<_, u64>(ECHO, &3u64, ms(1000)));
    assert_eq!(peer.ask::<_, u64>(ECHO, &4u64, ms(1000)).await, Ok(4));
}

#[tokio::test(start_paused = true)]
async fn two_revisions_tell_each_other() {
    let cluster = Cluster::new(6);
    let (a, at_a) = cluster.endpoint(1);
    let mut config = cluster.config(2, 1);
    config.revision = REVISION + 1;
    let (b, at_b) = start(config);
    let error = a.contact(addr(2), ms(3000)).await.unwrap_err();
    assert_eq!(error, DialError::Version { addr: addr(2), ours: REVISION, theirs: REVISION + 1 });
    const REMEDY: &str = "run the same version of actinic on both";
    for part in ["revision 8", "this process 7", REMEDY] {
        assert!(error.to_string().contains(part), "{part:?} is missing: {error}");
    }
    let expected = DownReason::Version { ours: REVISION + 1, theirs: REVISION };
    until("the other side knows", || at_b.downs().contains(&expected)).await;
    let back = b.peer(&cluster.at(1));
    let asked: Result<u64, _> = back.ask(ECHO, &1u64, ms(3000)).await;
    let error = asked.unwrap_err();
    assert!(error.to_string().contains(REMEDY), "{error}");
    assert_eq!(error, AskError::Ended { to: a.id(), reason: expected });
    assert!(at_a.downs().contains(&DownReason::Version { ours: REVISION, theirs: REVISION + 1 }));
    // Neither took the other in, and both take in and ask one of their own revision as before.
    assert_eq!((at_a.ups(), at_b.ups()), (0, 0));
    for (n, endpoint, revision) in [(3, &a, REVISION), (4, &b, REVISION + 1)] {
        let (good, _) = start(Config { revision, ..cluster.config(n, 1) });
        let there = good.peer(&PeerAddr::new(endpoint.id(), endpoint.local_addr()));
        assert_eq!(there.ask::<_, u64>(ECHO, &1u64, ms(3000)).await, Ok(1));
        let back = endpoint.known(good.id()).unwrap();
        assert_eq!(back.ask::<_, u64>(ECHO, &2u64, ms(3000)).await, Ok(2));
    }
}

#[tokio::test(start_paused = true)]
async fn another_cluster_is_named() {
    let cluster = Cluster::new(7);
    let mut other = Cluster::number(2, 0);
    other.net = cluster.net.clone();
    let ((a, at_a), _) = (cluster.endpoint(1), ());
    let (_b, at_b) = other.endpoint(2);
    let (ours, theirs) = (cluster.authority.cluster(), other.authority.cluster());
    let error = a.contact(addr(2), ms(3000)).await.unwrap_err();
    assert_eq!(error, DialError::WrongCluster { addr: addr(2), ours, theirs });
    let says = |text: String, remedy: &str| {
        for part in [&ours.to_string(), &theirs.to_string(), remedy] {
            assert!(text.contains(part), "{part:?} is missing: {text}");
        }
    };
    says(error.to_string(), "correct the address, or join that cluster");
    let peer = a.peer(&cluster.at(2));
    let error = peer.ask::<_, u64>(ECHO, &1u64, ms(3000)).await.unwrap_err();
    says(error.to_string(), "let both join the same cluster by its token");
    assert_eq!(error, AskError::Ended { to: peer.id(), reason: DownReason::WrongCluster { ours, theirs } });
    until("it is told", || !at_a.downs().is_empty()).await;
    assert_eq!(at_b.ups(), 0);
    // Of its own cluster it takes in whoever comes.
    let (good, _) = cluster.endpoint(3);
    assert_eq!(good.peer(&cluster.at(1)).ask::<_, u64>(ECHO, &2u64, ms(3000)).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_false_certificate_is_not_accepted() {
    // The same cluster id, signed by another authority.
    let cluster = Cluster::new(8);
    let mut forged = Cluster::new(0);
    forged.net = cluster.net.clone();
    let (a, _) = cluster.endpoint(1);
    let (forger, _) = forged.endpoint(2);
    let error = a.contact(addr(2), ms(3000)).await.unwrap_err();
    assert!(matches!(error, DialError::Certificate { .. }), "{error}");
    for part in [&addr(2).to_string(), "let both join the same cluster"] {
        assert!(error.to_string().contains(part), "{part:?} is missing: {error}");
    }
    let error = forger.contact(addr(1), ms(3000)).await.unwrap_err();
    assert!(matches!(error, DialError::Certificate { .. }), "{error}");
    // A node may not sign for another node: the name constraint holds.
    let node = serde_json_free_rename(&cluster);
    let mut config = cluster.config(3, 1);
    config.id = node.id();
    config.identity = node;
    let (_c, _) = start(config);
    let error = a.contact(addr(3), ms(3000)).await.unwrap_err();
    assert!(matches!(error, DialError::Certificate { .. }), "{error}");
}

/// An identity that node 3 signed for node 1, which only forged bytes can make.
fn serde_json_free_rename(cluster: &Cluster) -> Identity {
    let (one, three) = (cluster.id(1, 9), cluster.id(3, 1));
    let authority = cluster.authority.node(three.node).unwrap();
    let mut bytes = postcard::to_allocvec(&authority).unwrap();
    let node = postcard::to_allocvec(&three.node).unwrap();
    let at = bytes.windows(node.len()).position(|window| window == node).unwrap();
    bytes[at..at + node.len()].copy_from_slice(&postcard::to_allocvec(&one.node).unwrap());
    let renamed: NodeAuthority = postcard::from_bytes(&bytes).unwrap();
    renamed.issue(one.incarnation).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_revoked_node_is_cut_off() {
    let cluster = Cluster::new(9);
    let ((a, at_a), (b, at_b), peer) = pair(&cluster).await;
    a.revoke(b.id().node);
    until("both know", || at_a.downs() == [DownReason::Revoked] && at_b.downs().len() == 1).await;
    assert_eq!(peer.ended(), Some(DownReason::Revoked));
    let again: Result<u64, _> = b.peer(&cluster.at(1)).ask(ECHO, &1u64, ms(3000)).await;
    assert!(matches!(again, Err(AskError::Ended { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_serves_new_connections() {
    let cluster = Cluster::new(10);
    let ((a, _), (b, _), _) = pair(&cluster).await;
    b.renew(cluster.config(2, 1).identity).unwrap();
    a.renew(cluster.config(1, 1).identity).unwrap();
    assert!(a.renew(cluster.config(2, 1).identity).is_err());
    assert!(cluster.config(2, 1).identity.renew_in() > Duration::from_secs(4 * 24 * 3600));
    let (c, _) = cluster.endpoint(3);
    assert_eq!(c.peer(&cluster.at(2)).ask::<_, u64>(ECHO, &1u64, ms(2000)).await, Ok(1));
    assert_eq!(a.peer(&cluster.at(3)).ask::<_, u64>(ECHO, &1u64, ms(2000)).await, Ok(1));
}

/// SIM-3: whose port is free is dead, whose machine is gone is silent.
#[tokio::test(start_paused = true)]
async fn a_probe_tells_the_dead_from_the_silent() {
    let cluster = Cluster::new(11);
    let ((a, _), (_b, _)) = (cluster.endpoint(1), cluster.endpoint(2));
    assert_eq!(a.probe(addr(2), ms(500)).await, Probe::Answered);
    assert_eq!(a.probe(addr(9), ms(500)).await, Probe::Unreachable);
    cluster.net.crash(addr(2));
    assert_eq!(a.probe(addr(2), ms(500)).await, Probe::Unreachable);
    cluster.net.crash_machine(ip(2));
    let begun = tokio::time::Instant::now();
    assert_eq!(a.probe(addr(2), ms(500)).await, Probe::Silent);
    assert!(begun.elapsed() >= ms(500));
    let begun = tokio::time::Instant::now();
    assert_eq!(a.contact(addr(9), ms(3000)).await.unwrap_err(), DialError::Nobody(addr(9)));
    assert!(begun.elapsed() < ms(1000));
    assert_eq!(a.contact(addr(2), ms(3000)).await.unwrap_err(), DialError::Timeout { addr: addr(2), within: ms(3000) });
}
