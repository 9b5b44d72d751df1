//! A peer that stops in the middle of something while its connection lives, and a link that is only slow.

use std::time::Duration;

use actinic_transport::*;
use bytes::Bytes;
use tokio::time::{Instant, timeout};

use crate::support::*;
use crate::villain::*;

/// As `wire::STALL`.
const STALL: Duration = Duration::from_secs(10);

/// Why that connection is closed, which happens `STALL` after its last byte; the friend is served all the while.
async fn closes(scene: &Scene, connection: &quinn::Connection) -> String {
    let begun = Instant::now();
    let closed = loop {
        match timeout(ms(500), connection.closed()).await {
            Ok(closed) => break closed.to_string(),
            Err(_) => assert_eq!(scene.friend.ask::<_, u64>(ECHO, &3u64, ms(100)).await, Ok(3)),
        }
        assert!(begun.elapsed() < STALL * 2, "it is held for ever");
    };
    assert!(begun.elapsed() > STALL - ms(50) && begun.elapsed() < STALL + ms(500), "{:?}", begun.elapsed());
    scene.unharmed().await;
    closed
}

/// The error says who, what, and what to do.
fn says(text: &str, who: impl ToString, what: &str) {
    for part in [who.to_string().as_str(), what, "no further one within 10s", "see whether that process hangs"] {
        assert!(text.contains(part), "expected {part:?} in {text:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_frame_closes_its_connection_and_nothing_else() {
    let part = |bytes: usize| frame(1, 0, &message(4, 0, &vec![1; bytes]));
    let told = frame(1, 0, &message(0, 5, &42u64.to_le_bytes()));
    let cases = [
        (told[..30].to_vec(), "30 of 41 bytes of a frame came"),
        (told[..7].to_vec(), "7 of 20 bytes of a frame's header"),
        ([&told[..], &told[..20]].concat(), "20 of 41 bytes of a frame came"),
        (part(1000), "1000 of 16777216 bytes of a message in parts"),
    ];
    for (bytes, what) in cases {
        let scene = scene().await;
        let connection = scene.greeted().await;
        let mut lane = connection.open_uni().await.unwrap();
        lane.write_all(&bytes).await.unwrap();
        let why = closes(&scene, &connection).await;
        says(&why, scene.id, what);
        // The session is not over: whoever dials again goes on where it was.
        let peer = scene.victim.known(scene.id).unwrap();
        assert!(peer.ended().is_none() && !peer.is_connected());
        assert_eq!(scene.sink.downs(), []);
        if bytes[..] == told[..30] {
            let connection = scene.greeted().await;
            let mut lane = connection.open_uni().await.unwrap();
            lane.write_all(&told).await.unwrap();
            until("it has arrived", || scene.sink.from(scene.id) == [42]).await;
            tokio::time::sleep(STALL * 2).await;
            assert!(connection.close_reason().is_none(), "what came whole is no part");
        }
    }
}

/// STALL-2
#[tokio::test(start_paused = true)]
async fn what_goes_on_is_not_given_up_however_slowly() {
    let scene = scene().await;
    let connection = scene.greeted().await;
    let mut lane = connection.open_uni().await.unwrap();
    let told = frame(1, 0, &message(0, 5, &42u64.to_le_bytes()));
    for byte in &told {
        lane.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(STALL - ms(200)).await;
        assert!(connection.close_reason().is_none());
    }
    until("it has arrived", || scene.sink.from(scene.id) == [42]).await;
    // Acknowledgements are no part of a message in parts that does not go on.
    lane.write_all(&frame(2, 0, &message(4, 0, &[1; 50]))).await.unwrap();
    let begun = Instant::now();
    while connection.close_reason().is_none() {
        let _ = lane.write_all(&frame(0, 0, &[])).await;
        tokio::time::sleep(ms(300)).await;
        assert!(begun.elapsed() < STALL + ms(1000));
    }
    says(&connection.close_reason().unwrap().to_string(), scene.id, "50 of 16777216 bytes");
}

#[tokio::test(start_paused = true)]
async fn half_a_bulk_request_closes_its_connection() {
    for (bytes, what) in [
        (&[100, 0][..], "2 of 4 bytes of a bulk request's header"),
        (&[100, 0, 0, 0, 1, 2, 3][..], "7 of 104 bytes of a bulk request"),
    ] {
        let scene = scene().await;
        let connection = scene.greeted().await;
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        says(&closes(&scene, &connection).await, scene.id, what);
        assert_eq!(scene.sink.downs(), []);
    }
}

/// The victim's request, and the answer's way back.
async fn asked(scene: &Scene, connection: &quinn::Connection) -> (quinn::SendStream, BulkReader) {
    let peer = scene.victim.known(scene.id).unwrap();
    let reader = tokio::spawn(async move { peer.bulk(Bytes::from_static(b"give")).await });
    let (mut send, _) = connection.accept_bi().await.unwrap();
    send.write_all(&[&[0], &100u64.to_le_bytes()[..], b"half"].concat()).await.unwrap();
    let mut reader = reader.await.unwrap().unwrap();
    assert_eq!(reader.next_chunk().await.unwrap().unwrap(), Bytes::from_static(b"half"));
    (send, reader)
}

#[tokio::test(start_paused = true)]
async fn half_a_bulk_answer_closes_its_connection_unless_messages_come_by_it() {
    let scene = scene().await;
    let connection = scene.greeted().await;
    let (_send, mut reader) = asked(&scene, &connection).await;
    let read = tokio::spawn(async move { reader.next_chunk().await });
    says(&closes(&scene, &connection).await, scene.id, "4 of 100 bytes of a bulk answer");
    let error = read.await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, BulkError::Broken { got: 4, length: 100, .. }), "{error}");
    says(&error.to_string(), scene.id, "4 of 100 bytes of a bulk answer");

    let connection = scene.greeted().await;
    let (_send, mut reader) = asked(&scene, &connection).await;
    let read = tokio::spawn(async move { reader.next_chunk().await });
    let mut lane = connection.open_uni().await.unwrap();
    for number in 1..=30 {
        lane.write_all(&frame(number, 0, &message(0, 5, &number.to_le_bytes()))).await.unwrap();
        tokio::time::sleep(ms(500)).await;
    }
    let error = read.await.unwrap().unwrap().unwrap_err();
    says(&error.to_string(), scene.id, "4 of 100 bytes of a bulk answer");
    assert!(connection.close_reason().is_none(), "messages go before it");
    assert_eq!(scene.sink.from(scene.id).len(), 30);
}

#[tokio::test(start_paused = true)]
async fn half_a_greeting_or_join_is_told_what_is_missing() {
    let scene = scene().await;
    let mut joining = tls(None);
    joining.alpn_protocols = vec![b"actinic-join/1".to_vec()];
    scene.victim.serve_joins(JoinServer {
        tokens: vec![Token::generate(&scene.cluster.authority).unwrap()],
        authority: Some(scene.cluster.authority.clone()),
        node: scene.cluster.authority.node(scene.victim.id().node).unwrap(),
        revision: REVISION,
        draw: std::sync::Arc::new(|| uuid::Uuid::from_u128(1)),
    });
    let hello = greeting(&scene.hello(scene.id));
    for (tls, bytes, what) in [
        (scene.tls.clone(), &hello[..4], "4 of 12 bytes of a greeting's header"),
        (scene.tls.clone(), &hello[..20], "bytes of a greeting came"),
        (joining, &b"ACTJ1234"[..], "8 of 44 bytes of a join request's header"),
    ] {
        let connection = scene.connect(tls).await.unwrap();
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        let closed = timeout(Duration::from_secs(6), connection.closed()).await.expect("within Limits::stall");
        assert!(closed.to_string().contains(what), "expected {what:?} in {closed}");
        assert!(closed.to_string().contains("see whether that process hangs"), "{closed}");
        scene.unharmed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_joiner_hears_of_half_an_answer() {
    let cluster = Cluster::new(3);
    let socket = cluster.net.bind(addr(1)).unwrap();
    let server = Some(join_server(&cluster.config(1, 1).identity));
    let runtime = std::sync::Arc::new(quinn::TokioRuntime);
    let villain = quinn::Endpoint::new_with_abstract_socket(Default::default(), server, socket, runtime).unwrap();
    let half = tokio::spawn(async move {
        let connection = villain.accept().await.unwrap().await.unwrap();
        let (mut send, _receive) = connection.accept_bi().await.unwrap();
        send.write_all(&[0; 10]).await.unwrap();
        connection.closed().await.to_string()
    });
    let token = Token::generate(&cluster.authority).unwrap();
    let request = JoinRequest { kind: JoinKind::Driver, revision: REVISION, from: Some(addr(2)), seed: None };
    let joined = join(&Net::Sim(cluster.net.clone()), addr(1), &token, request, Duration::from_secs(60)).await;
    assert_eq!(joined.unwrap_err(), JoinError::Stalled { addr: addr(1), got: 10, of: 41, within: STALL });
    says(&half.await.unwrap(), addr(1), "10 of 41 bytes of the answer's header");
}

/// 20 % loss, and the link cut for less than and for more than `STALL`, in the middle of large messages: what was sent
/// arrives, once, in one session.
#[tokio::test(start_paused = true)]
async fn a_slow_honest_link_loses_nothing() {
    for (seed, seconds) in [(1, 4), (2, 7), (3, 9), (4, 11), (5, 25)] {
        let cluster = Cluster::new(seed);
        cluster.net.faults(LinkFaults { loss: 0.2, delay: ms(20), jitter: ms(10), ..LinkFaults::default() });
        let ((a, at_a), (b, at_b)) = (cluster.endpoint(1), cluster.endpoint(2));
        let (there, back) = (a.peer(&cluster.at(2)), b.peer(&cluster.at(1)));
        until("they are connected", || there.is_connected() && back.is_connected()).await;
        for n in 0..6u64 {
            for peer in [&there, &back] {
                let filled = peer.tell_with(Lane::Ordered, SINK, |out| {
                    out.extend_from_slice(&n.to_le_bytes());
                    out.resize(out.len() + 100_000, 1);
                });
                filled.unwrap();
            }
        }
        tokio::time::sleep(ms(300)).await;
        assert!(at_b.count() < 6, "it is cut in the middle");
        cluster.net.partition(&[ip(1)], &[ip(2)]);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        cluster.net.heal();
        until("all has arrived", || at_a.count() >= 6 && at_b.count() >= 6).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        for (sink, from) in [(&at_a, b.id()), (&at_b, a.id())] {
            assert_eq!(sink.from(from), [0, 1, 2, 3, 4, 5], "SEED={seed}");
            assert_eq!((sink.ups(), sink.downs().len()), (1, 0), "SEED={seed}: one session outlives its connections");
        }
    }
}
