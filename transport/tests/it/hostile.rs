//! Bad input: each is refused with a reason, and harms nobody else.

use std::time::Duration;

use actinic_transport::*;

use crate::support::*;
use crate::villain::*;

#[tokio::test(start_paused = true)]
async fn frames_that_break_the_rules_close_the_connection() {
    let cases: Vec<(Vec<u8>, bool, &str)> = vec![
        (
            frame(1, 0, &[])[..20].iter().enumerate().map(|(i, b)| if i == 2 { 0x20 } else { *b }).collect(),
            false,
            "over the limit",
        ),
        (frame(1, 0, &message(9, 1, &[])), false, "unknown kind"),
        (frame(1, 0, &message(1, 6, &[1, 2])), false, "cut short"),
        (frame(1, 0, &[255, 0, 0, 0, 0]), false, "longer than its frame"),
        (frame(1, 0, &[1, 2]), false, "without its length"),
        (frame(2, 0, &message(0, 5, &[0; 8])), false, "gap"),
        (frame(1, 7, &message(0, 5, &[0; 8])), false, "never sent"),
        (frame(1, 0, &message(0, 5, &[0; 8]))[..30].to_vec(), true, "cut short"),
    ];
    for (bytes, finish, says) in cases {
        let scene = scene().await;
        let why = scene.closes_on(&bytes, finish).await;
        assert!(why.contains(says), "expected {says:?}, got {why:?}");
        let told = scene.sink.downs();
        assert!(matches!(&told[..], [DownReason::Protocol(breach)] if breach.fault.contains(says)), "{told:?}");
    }
}

/// Whoever waits for such a process hears at once which it is, what it did, and what to do about it.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_peer_that_breaks_the_rules_hears_who_it_is_and_what_to_do() {
    const WITHIN: Duration = Duration::from_secs(5);
    let oversized = [&(2u32 << 20).to_le_bytes()[..], &[0; 16]].concat();
    let cut_short = frame(1, 0, &message(0, 5, &[0; 8]))[..30].to_vec();
    let large = "a frame of 2097152 bytes, over the limit of 1048576 (Limits::max_frame)";
    for (bytes, finish, fault) in [(oversized, false, large), (cut_short, true, "a frame was cut short")] {
        let scene = scene().await;
        let connection = scene.greeted().await;
        let asked = scene.victim.known(scene.id).unwrap().ask::<_, u64>(ECHO, &1u64, Duration::from_secs(600));
        let mut lane = connection.open_uni().await.unwrap();
        lane.write_all(&bytes).await.unwrap();
        if finish {
            lane.finish().unwrap();
        }
        let error = tokio::time::timeout(WITHIN, asked).await.expect("it is told in time").unwrap_err();
        let reason = DownReason::Protocol(Box::new(Breach { peer: scene.id, fault: fault.to_owned() }));
        assert_eq!(error, AskError::Ended { to: scene.id, reason });
        let remedy = "run the same version of actinic there, with the same limits, and start that process anew";
        let text = error.to_string();
        for part in [&scene.id.to_string(), fault, remedy] {
            assert!(text.contains(part), "{part:?} is missing: {text}");
        }
        let closed = tokio::time::timeout(WITHIN, connection.closed()).await.expect("it is closed in time");
        assert!(closed.to_string().contains(fault), "{closed}");
        scene.unharmed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_frame_from_the_same_hand_is_taken() {
    // So that the cases above fail for their fault, and not for another reason.
    let scene = scene().await;
    let connection = scene.greeted().await;
    let mut lane = connection.open_uni().await.unwrap();
    let told = message(0, 5, &42u64.to_le_bytes());
    let nobody = message(0, 12345, &[1, 2, 3]);
    lane.write_all(&frame(1, 0, &[nobody, told].concat())).await.unwrap();
    until("it has arrived", || scene.sink.from(scene.id) == [42]).await;
    scene.unharmed().await;
}

#[tokio::test(start_paused = true)]
async fn greetings_that_break_the_rules_are_refused() {
    let scene = scene().await;
    let hello = scene.hello(scene.id);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "does not begin with a greeting"),
        (greeting(&hello[..hello.len() / 2]), "cannot be decoded"),
        ([b"ACTN", &REVISION.to_le_bytes()[..], &[255; 4]].concat(), "more than 4 KiB"),
        (greeting(&scene.hello(scene.friend.id())), "another process than the certificate"),
    ];
    for (bytes, says) in cases {
        let connection = scene.connect(scene.tls.clone()).await.unwrap();
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(10), connection.closed()).await.unwrap();
        assert!(closed.to_string().contains(says), "expected {says:?}, got {closed}");
    }
    scene.unharmed().await;
    assert_eq!(scene.sink.ups(), 1, "the friend only");
}

#[tokio::test(start_paused = true)]
async fn no_certificate_no_session() {
    let scene = scene().await;
    let connection = scene.connect(tls(None)).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(10), connection.closed()).await.unwrap();
    assert!(closed.to_string().contains("needs a certificate"), "{closed}");
    let mut other = tls(None);
    other.alpn_protocols = vec![b"h3".to_vec()];
    let error = scene.connect(other).await.unwrap_err();
    assert!(error.to_string().contains("120") || error.to_string().contains("protocol"), "{error}");
    scene.unharmed().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stalls_is_let_go() {
    let scene = scene_with(|limits| limits.stall = ms(2000)).await;
    let silent = scene.connect(scene.tls.clone()).await.unwrap();
    let half = scene.connect(scene.tls.clone()).await.unwrap();
    let (mut send, _receive) = half.open_bi().await.unwrap();
    send.write_all(b"ACTN").await.unwrap();
    for connection in [&silent, &half] {
        let closed = tokio::time::timeout(ms(2500), connection.closed()).await;
        let told = closed.expect("stalled longer than Limits::stall").to_string();
        assert!(told.contains("greeting") && told.contains("see whether that process hangs"), "{told}");
    }
    scene.unharmed().await;
}

/// A process that stops after its greeting: whoever asks hears so by his own deadline, and nobody else is held up.
#[tokio::test(start_paused = true)]
async fn a_peer_that_stalls_after_its_greeting_is_given_up() {
    let mut cluster = Cluster::new(4);
    cluster.limits.give_up = Duration::from_secs(8);
    let ((a, at_a), (b, _), (_c, _)) = (cluster.endpoint(1), cluster.endpoint(2), cluster.endpoint(3));
    let (stalls, good) = (a.peer(&cluster.at(2)), a.peer(&cluster.at(3)));
    for peer in [&stalls, &good] {
        assert_eq!(peer.ask::<_, u64>(ECHO, &1u64, ms(2000)).await, Ok(1));
    }
    cluster.net.pause(addr(2));
    let begun = tokio::time::Instant::now();
    let late = stalls.ask::<_, u64>(ECHO, &2u64, ms(700));
    let ends = stalls.ask::<_, u64>(ECHO, &3u64, Duration::from_secs(600));
    let error = late.await.unwrap_err();
    assert_eq!(error, AskError::Deadline { to: b.id(), deadline: ms(700) });
    assert!(error.to_string().contains(&b.id().to_string()) && error.to_string().contains("700ms"), "{error}");
    assert!(begun.elapsed() < ms(710), "{:?}", begun.elapsed());
    assert!(stalls.ended().is_none(), "it may only be slow");
    assert_eq!(good.ask::<_, u64>(ECHO, &4u64, ms(100)).await, Ok(4));
    // The connection is given up when it was idle for `idle`, the session `give_up` later.
    let error = ends.await.unwrap_err();
    assert_eq!(error, AskError::Ended { to: b.id(), reason: DownReason::Unreachable(Duration::from_secs(8)) });
    assert!(error.to_string().contains("see whether it runs"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(at_a.downs(), [DownReason::Unreachable(Duration::from_secs(8))]);
    assert_eq!(good.ask::<_, u64>(ECHO, &5u64, ms(100)).await, Ok(5));
    // When it goes on, it begins anew.
    cluster.net.resume(addr(2));
    assert_eq!(a.peer(&cluster.at(2)).ask::<_, u64>(ECHO, &6u64, Duration::from_secs(5)).await, Ok(6));
}

/// One whose QUIC lives and who neither reads nor finishes what it began: it costs the bound of a backlog.
#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_after_its_greeting_is_let_go() {
    let scene = scene_with(|limits| limits.max_backlog = 1 << 20).await;
    let connection = scene.greeted().await;
    let mut lane = connection.open_uni().await.unwrap();
    // The beginning of a frame whose end never comes.
    lane.write_all(&frame(1, 0, &message(0, 5, &42u64.to_le_bytes()))[..30]).await.unwrap();
    let peer = scene.victim.known(scene.id).unwrap();
    let asked: Result<u64, _> = peer.ask(ECHO, &1u64, ms(300)).await;
    assert_eq!(asked, Err(AskError::Deadline { to: scene.id, deadline: ms(300) }));
    scene.unharmed().await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let error = loop {
        if let Err(error) = peer.tell_with(Lane::Ordered, SINK, |out| out.resize(out.len() + 10_000, 1)) {
            break error;
        }
        assert!(tokio::time::Instant::now() < deadline, "a peer that reads nothing was told without end");
        tokio::time::sleep(ms(1)).await;
    };
    assert_eq!(error, SendError::Overflow { to: scene.id, limit: 1 << 20 });
    assert!(error.to_string().contains("max_backlog") && error.to_string().contains("see whether it hangs"), "{error}");
    tokio::time::timeout(Duration::from_secs(10), connection.closed()).await.expect("its connection is closed");
    until("it is told", || scene.sink.downs() == [DownReason::Overflow { limit: 1 << 20 }]).await;
    assert_eq!(scene.sink.from(scene.id), [], "half a frame is none");
    scene.unharmed().await;
}

/// What is no packet at all comes by a real socket: a simulated one knows who may send to it.
#[tokio::test]
async fn garbage_datagrams_change_nothing() {
    let scene = real_scene().await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut random = 7u64;
    for round in 0..2000usize {
        let bytes: Vec<u8> = (0..round % 1500)
            .map(|_| {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (random >> 40) as u8
            })
            .collect();
        socket.send_to(&bytes, scene.victim.local_addr()).unwrap();
        if round % 200 == 0 {
            scene.unharmed().await;
        }
    }
    scene.unharmed().await;
}

#[tokio::test(start_paused = true)]
async fn an_oversized_message_is_refused_at_the_sender() {
    let cluster = Cluster::new(2);
    let ((a, _), (_b, sink)) = (cluster.endpoint(1), cluster.endpoint(2));
    let peer = a.peer(&cluster.at(2));
    let limit = Limits::default().max_message;
    let large = |size: usize| peer.tell_with(Lane::Ordered, SINK, |out| out.resize(out.len() + size, 1));
    tell(&peer, Lane::Ordered, 1).unwrap();
    let error = large(limit + 1).unwrap_err();
    assert_eq!(error, SendError::TooLarge { to: peer.id(), size: limit + 1, limit });
    for part in [&peer.id().to_string(), &limit.to_string(), "send it in parts"] {
        assert!(error.to_string().contains(part), "{part:?} is missing: {error}");
    }
    large(limit).unwrap();
    let asked: Result<u64, _> = peer.ask(ECHO, &vec![1u8; 17 << 20], ms(1000)).await;
    assert!(matches!(asked, Err(AskError::Send(SendError::TooLarge { .. }))));
    tell(&peer, Lane::Ordered, 2).unwrap();
    until("the good ones have arrived", || sink.count() == 3).await;
    assert!(peer.ended().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_serialized_is_named() {
    struct Never;
    impl serde::Serialize for Never {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("never"))
        }
    }
    let cluster = Cluster::new(3);
    let ((a, _), (_b, sink)) = (cluster.endpoint(1), cluster.endpoint(2));
    let peer = a.peer(&cluster.at(2));
    let error = peer.tell(Lane::Ordered, SINK, &(1u64, Never)).unwrap_err();
    assert!(matches!(error, SendError::Encode { to, .. } if to == peer.id()));
    assert!(error.to_string().contains(&peer.id().to_string()) && error.to_string().contains("`Serialize`"), "{error}");
    let asked: Result<u64, _> = peer.ask(ECHO, &Never, ms(1000)).await;
    assert!(matches!(asked, Err(AskError::Send(SendError::Encode { .. }))));
    tell(&peer, Lane::Ordered, 2).unwrap();
    until("the good one has arrived", || sink.count() == 1).await;
    assert_eq!(sink.from(a.id()), [2]);
}

/// A lane that ends alone would leave a session that looks alive.
#[tokio::test(start_paused = true)]
async fn a_lane_that_is_reset_or_stopped_ends_the_session() {
    let scene = scene().await;
    let connection = scene.greeted().await;
    let mut lane = connection.open_uni().await.unwrap();
    lane.write_all(&frame(1, 0, &message(0, 5, &42u64.to_le_bytes()))).await.unwrap();
    until("it has arrived", || scene.sink.from(scene.id) == [42]).await;
    lane.reset(7u32.into()).unwrap();
    let closed = tokio::time::timeout(ms(1000), connection.closed()).await.expect("it is closed in time");
    assert!(closed.to_string().contains("a lane was reset"), "{closed}");

    let scene = crate::villain::scene().await;
    let connection = scene.greeted().await;
    let back = scene.victim.known(scene.id).unwrap();
    tell(&back, Lane::Ordered, 1).unwrap();
    let mut lane = connection.accept_uni().await.unwrap();
    lane.stop(7u32.into()).unwrap();
    tokio::time::sleep(ms(100)).await;
    let closed = async {
        while connection.close_reason().is_none() {
            // The session has ended when it is not taken any more.
            let _ = tell(&back, Lane::Ordered, 2);
            tokio::time::sleep(ms(10)).await;
        }
        connection.closed().await
    };
    let closed = tokio::time::timeout(ms(1000), closed).await.expect("it is closed in time");
    assert!(closed.to_string().contains("a lane was stopped"), "{closed}");
    scene.unharmed().await;
}

/// QUIC closes a connection that its program lets go, with the code of a goodbye and no word: nobody has said goodbye.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_dropped_is_lost_and_no_goodbye() {
    let scene = scene().await;
    drop(scene.greeted().await);
    let peer = scene.victim.known(scene.id).unwrap();
    until("it is lost", || !peer.is_connected()).await;
    tokio::time::sleep(ms(1000)).await;
    assert!(peer.ended().is_none() && scene.sink.downs().is_empty(), "{:?}", peer.ended());
    // With a word it is one.
    let connection = scene.greeted_again(2).await;
    connection.close(0u32.into(), b"goodbye");
    until("it has ended", || scene.sink.downs() == [DownReason::Goodbye]).await;
}

/// A number after which there is none harms nobody.
#[tokio::test(start_paused = true)]
async fn a_session_with_the_last_number_is_refused() {
    let scene = scene().await;
    let connection = scene.connect(scene.tls.clone()).await.unwrap();
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(&greeting(&scene.hello_of(u64::MAX, 1))).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(10), connection.closed()).await.unwrap();
    assert!(closed.to_string().contains("no number after it"), "{closed}");
    scene.greeted().await;
    scene.unharmed().await;
}

/// Beginnings of handshakes that nobody goes on with, from addresses that answer nothing, take half of the places.
#[tokio::test(start_paused = true)]
async fn a_flood_of_beginnings_keeps_nobody_out() {
    let scene = scene().await;
    let lost = LinkFaults { loss: 1.0, delay: ms(5), ..LinkFaults::default() };
    scene.cluster.net.link(ip(1), ip(9), lost);
    let flood: Vec<_> = (0..700).map(|_| scene.begin(scene.tls.clone())).collect();
    tokio::time::sleep(ms(100)).await;
    let (good, _) = scene.cluster.endpoint(3);
    let peer = good.peer(&PeerAddr::new(scene.victim.id(), scene.victim.local_addr()));
    assert_eq!(peer.ask::<_, u64>(ECHO, &1u64, ms(1000)).await, Ok(1));
    scene.unharmed().await;
    drop(flood);
}
