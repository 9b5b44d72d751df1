//! How fast is it? Messages per second one way, and round trips of 64 bytes, beside raw quinn in the same run.
//!
//! `cargo run --release -p actinic-transport --example speed`, with `raw`, `tell`, `ask` or `flood` for one of them
//!
//! Two threads with one `current_thread` runtime each, over loopback UDP, mutual TLS on both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use actinic_transport::*;
use bytes::{Bytes, BytesMut};
use uuid::Uuid;

const ACTOR: ActorNo = ActorNo(1);
const ROUNDS: usize = 20_000;
const MESSAGES: u64 = 5_000_000;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Answers what has 64 bytes, and counts the rest.
struct Far(AtomicU64, mpsc::Sender<u64>);

impl Receiver for Far {
    fn receive(&self, from: &Peer, messages: &mut Messages<'_>) {
        let mut count = 0;
        for message in messages {
            if let Some(reply) = message.reply {
                let _ = reply.answer_with(|out| out.extend_from_slice(message.body));
            } else if message.body.len() == 64 {
                let _ = from.tell_with(Lane::Ordered, ACTOR, |out| out.extend_from_slice(message.body));
            } else {
                count += 1;
            }
        }
        if count > 0 {
            let all = self.0.fetch_add(count, Ordering::Relaxed) + count;
            if all.is_multiple_of(MESSAGES) {
                let _ = self.1.send(all);
            }
        }
    }
}

/// Sends the next round as soon as the last has come back, on the endpoint's own thread.
struct Near {
    started: std::sync::Mutex<(Instant, Vec<Duration>)>,
    done: mpsc::Sender<Vec<Duration>>,
}

impl Receiver for Near {
    fn receive(&self, from: &Peer, messages: &mut Messages<'_>) {
        for _ in messages {
            let mut started = self.started.lock().expect("no panic");
            let took = started.0.elapsed();
            started.1.push(took);
            if started.1.len() == ROUNDS {
                let _ = self.done.send(std::mem::take(&mut started.1));
                return;
            }
            started.0 = Instant::now();
            let _ = from.tell_with(Lane::Ordered, ACTOR, |out| out.extend_from_slice(&[1; 64]));
        }
    }
}

fn report(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |share: usize| took[took.len() * share / 100].as_nanos() as f64 / 1000.0;
    println!("{what:<44} p50 {:>7.1} us   p99 {:>7.1} us", at(50), at(99));
}

/// `only`: "tell", "ask", "flood", or "all" of them.
fn ours(authority: &Authority, only: &str) {
    let config = move |authority: &Authority, n: u128| {
        let identity = authority.node(NodeId(Uuid::from_u128(n))).and_then(|node| node.issue(Uuid::from_u128(n)));
        let identity = identity.expect("an identity");
        Config {
            id: identity.id(),
            identity,
            net: Net::Udp,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            limits: Limits { max_backlog: 1 << 30, ..Limits::default() },
            revision: 1,
            seed: None,
        }
    };
    let far = config(authority, 2);
    let (ready, is_ready) = mpsc::channel();
    let (counted, is_counted) = mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let endpoint = Endpoint::bind(far).expect("a port");
            endpoint.register(ACTOR, Arc::new(Far(AtomicU64::new(0), counted)));
            let _ = ready.send((endpoint.id(), endpoint.local_addr()));
            std::future::pending::<()>().await;
        })
    });
    let (id, addr) = is_ready.recv().expect("bound");
    let near = config(authority, 1);
    let (done, is_done) = mpsc::channel();
    let (peers, has_peer) = mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let endpoint = Endpoint::bind(near).expect("a port");
            let started = std::sync::Mutex::new((Instant::now(), Vec::with_capacity(ROUNDS)));
            endpoint.register(ACTOR, Arc::new(Near { started, done }));
            let _ = peers.send(endpoint.contact(addr, Duration::from_secs(5)).await.expect("it listens"));
            std::future::pending::<()>().await;
        })
    });
    let peer = has_peer.recv().expect("connected");
    assert_eq!(peer.id(), id);
    std::thread::sleep(Duration::from_millis(300));
    let wanted = |part: &str| only == part || only == "all";
    if wanted("tell") {
        let _ = peer.tell_with(Lane::Ordered, ACTOR, |out| out.extend_from_slice(&[1; 64]));
        report("tell -> tell, 64 B", is_done.recv().expect("rounds"));
    }
    if wanted("ask") {
        asks(&peer);
    }
    if wanted("flood") {
        flood(&peer, &is_counted);
    }
}

fn flood(peer: &Peer, is_counted: &mpsc::Receiver<u64>) {
    for size in [8usize, 100] {
        let begun = Instant::now();
        let body = vec![3; size];
        for n in 0..MESSAGES {
            let _ = peer.tell_with(Lane::Ordered, ACTOR, |out| out.extend_from_slice(&body));
            if n % 1024 == 0 {
                while peer.backlog() > 16 << 20 {
                    std::thread::yield_now();
                }
            }
        }
        let queued = begun.elapsed();
        let _ = is_counted.recv();
        let took = begun.elapsed();
        println!(
            "tell, {size} B one way, from another thread     {:>6.2} M/s   ({:.0} ns to queue one)",
            MESSAGES as f64 / took.as_secs_f64() / 1e6,
            queued.as_nanos() as f64 / MESSAGES as f64,
        );
    }
}

/// From a thread that is not the endpoint's, so with a hand-over at this end.
fn asks(peer: &Peer) {
    const DEADLINE: Duration = Duration::from_secs(30);
    runtime().block_on(async {
        let mut took = Vec::with_capacity(ROUNDS);
        for n in 0..ROUNDS as u64 {
            let begun = Instant::now();
            let answer: Result<u64, _> = peer.ask(ACTOR, &n, DEADLINE).await;
            assert_eq!(answer, Ok(n));
            took.push(begun.elapsed());
        }
        report("ask, one at a time, from another thread", took);
        for count in [10_000u64, 100_000] {
            let begun = Instant::now();
            let asked: Vec<_> = (0..count).map(|n| peer.ask::<_, u64>(ACTOR, &n, DEADLINE)).collect();
            for (n, answer) in asked.into_iter().enumerate() {
                assert_eq!(answer.await, Ok(n as u64));
            }
            let rate = count as f64 / begun.elapsed().as_secs_f64() / 1e6;
            println!("ask, {count} in flight, from another thread    {rate:>6.2} M/s");
        }
    });
}

/// A raw connection with the settings of LIMITS.md (MTU by discovery to 65,507, no segmentation offload).
fn raw() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let params = rcgen::CertificateParams::new(vec!["raw".to_string()]).expect("params");
    let certificate = params.self_signed(&key).expect("a certificate").der().clone();
    let transport = || {
        let mut transport = quinn::TransportConfig::default();
        let mut discovery = quinn::MtuDiscoveryConfig::default();
        discovery.upper_bound(65_507);
        let mut congestion = quinn::congestion::CubicConfig::default();
        congestion.initial_window(2 << 20);
        transport
            .mtu_discovery_config(Some(discovery))
            .enable_segmentation_offload(false)
            .congestion_controller_factory(Arc::new(congestion));
        Arc::new(transport)
    };
    let config = || {
        let mut config = quinn::EndpointConfig::default();
        config.max_udp_payload_size(65_507).expect("in bounds");
        config
    };
    let socket = || std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let mut roots = quinn::rustls::RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let key = quinn::rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let (ready, is_ready) = mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let mut server = quinn::ServerConfig::with_single_cert(vec![certificate], key.into()).expect("a config");
            server.transport_config(transport());
            let endpoint =
                quinn::Endpoint::new(config(), Some(server), socket(), Arc::new(quinn::TokioRuntime)).expect("bound");
            let _ = ready.send(endpoint.local_addr().expect("bound"));
            let connection = endpoint.accept().await.expect("a dial").await.expect("a handshake");
            let (mut send, mut receive) = connection.accept_bi().await.expect("a stream");
            let mut chunks = vec![Bytes::new(); 32];
            while let Ok(Some(count)) = receive.read_chunks(&mut chunks).await {
                for chunk in &mut chunks[..count] {
                    let _ = send.write_chunk(std::mem::take(chunk)).await;
                }
            }
        })
    });
    let addr = is_ready.recv().expect("bound");
    runtime().block_on(async {
        let mut client = quinn::ClientConfig::with_root_certificates(Arc::new(roots)).expect("a config");
        client.transport_config(transport());
        let endpoint = quinn::Endpoint::new(config(), None, socket(), Arc::new(quinn::TokioRuntime)).expect("bound");
        let connection = endpoint.connect_with(client, addr, "raw").expect("a dial").await.expect("a handshake");
        let (mut send, mut receive) = connection.open_bi().await.expect("a stream");
        send.write_chunk(Bytes::from_static(&[1; 64])).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut took = Vec::with_capacity(ROUNDS);
        let mut buffer = BytesMut::zeroed(64);
        receive.read_exact(&mut buffer).await.expect("echoed");
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            send.write_chunk(Bytes::from_static(&[1; 64])).await.expect("sent");
            receive.read_exact(&mut buffer).await.expect("echoed");
            took.push(begun.elapsed());
        }
        report("raw quinn, one stream, 64 B", took);
    });
}

fn main() {
    let authority = Authority::generate(ClusterId(Uuid::from_u128(1))).expect("an authority");
    match std::env::args().nth(1).as_deref() {
        Some("raw") => raw(),
        Some(only) => ours(&authority, only),
        None => {
            for _ in 0..2 {
                raw();
                ours(&authority, "all");
            }
        }
    }
}
