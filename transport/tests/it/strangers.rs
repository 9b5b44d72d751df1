//! Who has proved nothing: what he costs the process, its other peers and its log.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actinic_transport::*;
use bytes::Bytes;
use tokio::time::timeout;

use crate::support::*;
use crate::villain::*;

/// Writes until nothing more is taken; how much was.
async fn fill(stream: &mut quinn::SendStream) -> usize {
    let (chunk, mut taken) = ([1; 16 << 10], 0);
    while let Ok(Ok(count)) = timeout(ms(200), stream.write(&chunk)).await {
        taken += count;
    }
    taken
}

/// All that the connection takes, by as many streams as it takes.
async fn flood(connection: &quinn::Connection) -> usize {
    let (mut taken, mut streams) = (0, Vec::new());
    while let Ok(Ok((send, _receive))) = timeout(ms(50), connection.open_bi()).await {
        streams.push(send);
    }
    while let Ok(Ok(send)) = timeout(ms(50), connection.open_uni()).await {
        streams.push(send);
    }
    for stream in &mut streams {
        taken += fill(stream).await;
    }
    taken
}

/// One connection of many: the process must be able to hold what all of them were allowed to send.
#[tokio::test(start_paused = true)]
async fn who_has_proved_nothing_is_buffered_little_of() {
    let scene = scene_with(|limits| limits.stall = Duration::from_secs(60)).await;
    serve_joins(&scene);
    for (tls, beginning) in [(joining(), &b"ACTJ"[..]), (scene.tls.clone(), b"ACTN")] {
        let connection = scene.connect(tls).await.unwrap();
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(beginning).await.unwrap();
        let taken = flood(&connection).await + fill(&mut send).await;
        assert!(taken < 256 << 10, "{taken} bytes were taken after {beginning:?}");
        connection.close(0u32.into(), b"");
        scene.unharmed().await;
    }
}

/// Answers when sixteen are asked at once, each with a megabyte.
#[derive(Default)]
struct Together(Mutex<Vec<BulkAnswer>>);

impl BulkHandler for Together {
    fn serve(&self, _from: &Peer, _request: Bytes, answer: BulkAnswer) {
        let mut waiting = self.0.lock().unwrap();
        waiting.push(answer);
        if waiting.len() == 16 {
            waiting.drain(..).for_each(|answer| answer.send(vec![vec![7; 1 << 20].into()]));
        }
    }
}

/// The bounds are those of strangers: they are gone with the welcome, which brings their end along.
#[tokio::test(start_paused = true)]
async fn a_session_is_bounded_as_before() {
    let scene = scene().await;
    scene.victim.set_bulk(Arc::new(Together::default()));
    let (good, at_good) = scene.cluster.endpoint(3);
    let begun = tokio::time::Instant::now();
    let peer = good.peer(&PeerAddr::new(scene.victim.id(), scene.victim.local_addr()));
    tell(&peer, Lane::Ordered, 1).unwrap();
    until("the first message has arrived", || scene.sink.from(good.id()) == [1]).await;
    // The handshake's round trip, the greeting's, and the way of the message, of 5 ms each way.
    assert!(begun.elapsed() < ms(30), "{:?}", begun.elapsed());
    for _ in 0..10 {
        peer.tell_with(Lane::Ordered, SINK, |out| out.resize(out.len() + (1 << 20), 1)).unwrap();
    }
    until("10 MiB have arrived", || scene.sink.from(good.id()).len() == 11).await;
    tell(&scene.victim.known(good.id()).unwrap(), Lane::Urgent, 2).unwrap();
    until("the way back stands too", || at_good.count() == 1).await;
    let ask = || {
        let peer = peer.clone();
        tokio::spawn(async move { peer.bulk(Bytes::from_static(b"give")).await })
    };
    for asked in (0..16).map(|_| ask()).collect::<Vec<_>>() {
        let mut reader = timeout(Duration::from_secs(10), asked).await.unwrap().unwrap().unwrap();
        let mut got = 0;
        while let Some(chunk) = reader.next_chunk().await {
            got += chunk.unwrap().len();
        }
        assert_eq!(got, 1 << 20);
    }
}

/// An endpoint of the villain's at that address, as often as it dials the victim: handshakes that nobody goes on with.
fn half_open(scene: &Scene, from: std::net::SocketAddr, count: usize) -> (quinn::Endpoint, Vec<quinn::Connecting>) {
    let socket = scene.cluster.net.bind(from).unwrap();
    let runtime = Arc::new(quinn::TokioRuntime);
    let villain = quinn::Endpoint::new_with_abstract_socket(Default::default(), None, socket, runtime).unwrap();
    let config = client(joining());
    let begin = |_| villain.connect_with(config.clone(), scene.victim.local_addr(), "actinic").unwrap();
    let begun = (0..count).map(begin).collect();
    (villain, begun)
}

/// A process at that address has a session with the victim within a second.
async fn is_greeted(scene: &Scene, n: u8, listen: std::net::SocketAddr) {
    let (good, _) = start(Config { listen, ..scene.cluster.config(n, 1) });
    let peer = good.peer(&PeerAddr::new(scene.victim.id(), scene.victim.local_addr()));
    assert_eq!(peer.ask::<_, u64>(ECHO, &1u64, ms(1000)).await, Ok(1), "from {listen}");
}

/// He answers at his address, so that asking him to come again does not help.
#[tokio::test(start_paused = true)]
async fn one_host_does_not_take_all_places() {
    let scene = scene().await;
    serve_joins(&scene);
    let _flood = half_open(&scene, addr(20), 700);
    tokio::time::sleep(ms(100)).await;
    is_greeted(&scene, 3, addr(3)).await;
    is_greeted(&scene, 4, std::net::SocketAddr::new(ip(1), 7001)).await;
    scene.unharmed().await;
}

/// What is beside the process, as its workers are, has places that no other host takes.
#[tokio::test(start_paused = true)]
async fn many_hosts_do_not_take_the_places_of_the_own_machine() {
    let scene = scene().await;
    serve_joins(&scene);
    let _floods: Vec<_> = (20..30).map(|n| half_open(&scene, addr(n), 100)).collect();
    tokio::time::sleep(ms(100)).await;
    is_greeted(&scene, 4, std::net::SocketAddr::new(ip(1), 7001)).await;
    scene.unharmed().await;
}
