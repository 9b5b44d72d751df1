//! The same over the operating system's UDP, on the loopback interface.

use std::sync::Arc;
use std::time::Duration;

use actinic_transport::*;
use uuid::Uuid;

use crate::support::*;

const LONG: Duration = Duration::from_secs(20);

fn config(cluster: &Cluster, n: u8) -> Config {
    Config { net: Net::Udp, listen: "127.0.0.1:0".parse().unwrap(), seed: None, ..cluster.config(n, 1) }
}

#[tokio::test]
async fn two_endpoints_speak_over_loopback() {
    let cluster = Cluster::new(1);
    let ((a, _), (b, sink)) = (start(config(&cluster, 1)), start(config(&cluster, 2)));
    let peer = a.peer(&PeerAddr::new(b.id(), b.local_addr()));
    for n in 0..100_000 {
        tell(&peer, Lane::Ordered, n).unwrap();
    }
    assert_eq!(peer.ask::<_, u64>(ECHO, &7u64, LONG).await, Ok(7));
    assert_eq!(sink.from(a.id()), (0..100_000).collect::<Vec<_>>());
    let back = b.known(a.id()).unwrap();
    assert_eq!(back.addr().addrs, [a.local_addr()], "the dialler said where it listens");
    a.close().await;
    until("the other side knows", || sink.downs() == [DownReason::Goodbye]).await;
}

#[tokio::test]
async fn handles_are_used_from_other_threads_and_executors() {
    let cluster = Cluster::new(2);
    let ((a, _), (b, sink)) = (start(config(&cluster, 1)), start(config(&cluster, 2)));
    let peer = a.peer(&PeerAddr::new(b.id(), b.local_addr()));
    let threads: Vec<_> = (0..4u64)
        .map(|thread| {
            let peer = peer.clone();
            std::thread::spawn(move || {
                for n in 0..10_000 {
                    tell(&peer, Lane::Ordered, thread << 32 | n).unwrap();
                }
                // No tokio here: a future polled by hand.
                let asked = peer.ask::<_, u64>(ECHO, &thread, LONG);
                block_on(asked)
            })
        })
        .collect();
    until("all has arrived", || sink.count() == 40_000 && threads.iter().all(|thread| thread.is_finished())).await;
    for (thread, handle) in threads.into_iter().enumerate() {
        assert_eq!(handle.join().unwrap(), Ok(thread as u64));
        let numbers: Vec<u64> = sink.from(a.id()).into_iter().filter(|n| n >> 32 == thread as u64).collect();
        assert!(numbers.is_sorted() && numbers.len() == 10_000);
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let cluster = Cluster::new(3);
    let (a, _) = start(config(&cluster, 1));
    let taken = a.local_addr();
    let error = Endpoint::bind(Config { listen: taken, ..config(&cluster, 2) }).unwrap_err();
    assert!(matches!(&error, BindError::InUse(addr) if *addr == taken));
    assert!(error.to_string().contains(&taken.to_string()) && error.to_string().contains("another port"), "{error}");
    let elsewhere = "192.0.2.1:0".parse().unwrap();
    let error = Endpoint::bind(Config { listen: elsewhere, ..config(&cluster, 2) }).unwrap_err();
    assert!(matches!(error, BindError::Io { .. }), "{error}");
    let mut wrong = config(&cluster, 2);
    wrong.id = cluster.id(3, 1);
    assert!(matches!(Endpoint::bind(wrong).unwrap_err(), BindError::Identity(_)));
    assert!(std::thread::spawn(move || Endpoint::bind(config(&Cluster::new(1), 2)).is_err()).join().unwrap());
}

#[tokio::test]
async fn probes_and_joins_know_a_closed_port() {
    let cluster = Cluster::new(4);
    let (head, _) = start(config(&cluster, 1));
    assert_eq!(head.probe(head.local_addr(), LONG).await, Probe::Answered);
    let closed = {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    };
    assert_eq!(head.probe(closed, LONG).await, Probe::Unreachable);
    let mute = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(head.probe(mute.local_addr().unwrap(), ms(100)).await, Probe::Silent);

    let token = Token::generate(&cluster.authority).unwrap();
    head.serve_joins(JoinServer {
        tokens: vec![token.clone()],
        authority: Some(cluster.authority.clone()),
        node: cluster.authority.node(head.id().node).unwrap(),
        revision: REVISION,
        draw: Arc::new(|| Uuid::from_u128(99)),
    });
    let request = |kind| JoinRequest { kind, revision: REVISION, from: None, seed: None };
    let joined = join(&Net::Udp, head.local_addr(), &token, request(JoinKind::Driver), LONG).await.unwrap();
    assert_eq!(joined.host.id, head.id());
    let error = join(&Net::Udp, closed, &token, request(JoinKind::Driver), LONG).await.unwrap_err();
    assert_eq!(error, JoinError::Nobody(closed));
    let silent = mute.local_addr().unwrap();
    let error = join(&Net::Udp, silent, &token, request(JoinKind::Tool), ms(700)).await.unwrap_err();
    assert_eq!(error, JoinError::Timeout { addr: silent, within: ms(700) });
    let error = head.contact(closed, LONG).await.unwrap_err();
    assert_eq!(error, DialError::Nobody(closed));
}

#[tokio::test]
async fn who_listens_everywhere_is_dialled_where_it_was_seen() {
    let cluster = Cluster::new(6);
    let everywhere = Config { listen: "0.0.0.0:0".parse().unwrap(), ..config(&cluster, 1) };
    let ((a, _), (b, _)) = (start(everywhere), start(config(&cluster, 2)));
    let peer = a.peer(&PeerAddr::new(b.id(), b.local_addr()));
    assert_eq!(peer.ask::<_, u64>(ECHO, &7u64, LONG).await, Ok(7));
    let seen = std::net::SocketAddr::from(([127, 0, 0, 1], a.local_addr().port()));
    assert_eq!(b.known(a.id()).unwrap().addr().addrs, [seen]);
}

/// Who tells nobody where it listens is spoken with through the one that it dialled, and through nobody else.
#[tokio::test]
async fn a_relay_forwards_over_loopback() {
    let cluster = Cluster::new(8);
    let ((raylet, _), (driver, at_driver)) = (start(config(&cluster, 1)), start(config(&cluster, 2)));
    let (other, at_other) = start(config(&cluster, 3));
    driver.advertise(Vec::new());
    let to_raylet = driver.peer(&PeerAddr::new(raylet.id(), raylet.local_addr()));
    assert_eq!(to_raylet.ask::<_, u64>(ECHO, &1u64, LONG).await, Ok(1));
    assert!(raylet.known(driver.id()).unwrap().addr().addrs.is_empty());
    let relay = Some((raylet.id(), raylet.local_addr()));
    let peer = other.peer(&PeerAddr { id: driver.id(), addrs: Vec::new(), relay });
    for n in 0..1000 {
        tell(&peer, Lane::Ordered, n).unwrap();
    }
    assert_eq!(peer.ask::<_, u64>(ECHO, &2u64, LONG).await, Ok(2));
    assert_eq!(at_driver.from(other.id()), (0..1000).collect::<Vec<_>>());
    let back = driver.known(other.id()).unwrap();
    tell(&back, Lane::Urgent, 5).unwrap();
    until("it has arrived", || at_other.from(driver.id()) == [5]).await;
    // When the relay has gone, so has the way: nothing went past it.
    raylet.close().await;
    until("the driver knows", || at_driver.downs() == [DownReason::Goodbye]).await;
    let lost: Result<u64, _> = peer.ask(ECHO, &3u64, ms(300)).await;
    assert_eq!(lost, Err(AskError::Deadline { to: driver.id(), deadline: ms(300) }));
}

/// TUNE-5: they begin with it, and nothing makes them smaller.
#[tokio::test]
async fn datagrams_are_as_large_as_the_loopback_carries() {
    let cluster = Cluster::new(5);
    let ((a, _), (b, sink)) = (start(config(&cluster, 1)), start(config(&cluster, 2)));
    let peer = a.peer(&PeerAddr::new(b.id(), b.local_addr()));
    assert_eq!(peer.ask::<_, u64>(ECHO, &7u64, LONG).await, Ok(7));
    assert_eq!(peer.max_datagram(), Some(65_507));
    for _ in 0..20 {
        peer.tell_with(Lane::Ordered, SINK, |out| out.resize(out.len() + 1_000_000, 1)).unwrap();
    }
    until("all has arrived", || sink.count() == 20).await;
    // All that IPv4 carries, in both directions.
    assert_eq!(peer.max_datagram(), Some(65_507));
    assert_eq!(b.known(a.id()).unwrap().max_datagram(), Some(65_507));
}

#[tokio::test]
async fn a_quic_server_of_another_kind_is_named_with_the_remedy() {
    let cluster = Cluster::new(7);
    let server = crate::villain::server(&cluster.config(2, 1).identity, b"h3");
    let other = quinn::Endpoint::server(server, "127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = other.local_addr().unwrap();
    let answers = tokio::spawn(async move {
        while let Some(incoming) = other.accept().await {
            let _ = incoming.await;
        }
    });
    let (a, _) = start(config(&cluster, 1));
    let says = |text: String| {
        for part in [&addr.to_string(), "is not an Actinic endpoint", "another kind", "correct the address"] {
            assert!(text.contains(part), "{part:?} is missing: {text}");
        }
    };
    let error = a.contact(addr, LONG).await.unwrap_err();
    assert!(matches!(error, DialError::NotActinic { .. }), "{error}");
    says(error.to_string());
    let token = Token::generate(&cluster.authority).unwrap();
    let request = JoinRequest { kind: JoinKind::Driver, revision: REVISION, from: None, seed: None };
    let error = join(&Net::Udp, addr, &token, request, LONG).await.unwrap_err();
    assert!(matches!(error, JoinError::NotActinic { .. }), "{error}");
    says(error.to_string());
    answers.abort();
}
