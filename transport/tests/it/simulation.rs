//! The simulated network itself.

use std::time::Duration;

use actinic_transport::*;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_paused_address_is_late_and_loses_nothing() {
    let cluster = Cluster::new(1);
    let ((a, _), (_b, sink)) = (cluster.endpoint(1), cluster.endpoint(2));
    let peer = a.peer(&cluster.at(2));
    tell(&peer, Lane::Ordered, 0).unwrap();
    until("it is connected", || sink.count() == 1).await;
    cluster.net.pause(addr(2));
    tell(&peer, Lane::Ordered, 1).unwrap();
    tokio::time::sleep(ms(1500)).await;
    assert_eq!(sink.count(), 1);
    assert!(peer.silent_for() > ms(500));
    cluster.net.resume(addr(2));
    until("it has arrived", || sink.count() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn links_differ_and_delays_are_kept() {
    let cluster = Cluster::new(2);
    cluster.net.link(ip(1), ip(2), LinkFaults { delay: ms(300), ..LinkFaults::default() });
    let ((a, _), (_b, sink)) = (cluster.endpoint(1), cluster.endpoint(2));
    let peer = a.peer(&cluster.at(2));
    assert_eq!(peer.ask::<_, u64>(ECHO, &1u64, Duration::from_secs(5)).await, Ok(1));
    let begun = tokio::time::Instant::now();
    tell(&peer, Lane::Ordered, 1).unwrap();
    until("it has arrived", || sink.count() == 1).await;
    assert!((ms(299)..=ms(305)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

/// Eight nodes, each speaking with each through 5 % loss, one of them crashing on the way.
async fn mesh(seed: u64) -> u64 {
    const NODES: u8 = 8;
    let cluster = Cluster::new(seed);
    let faults = LinkFaults { loss: 0.05, delay: ms(3), jitter: ms(2), ..LinkFaults::default() };
    cluster.net.faults(faults);
    let ends: Vec<_> = (1..=NODES).map(|n| cluster.endpoint(n)).collect();
    let others = |n: u8| (1..=NODES).filter(move |other| *other != n);
    for round in 0..20 {
        for (n, (end, _)) in (1..).zip(&ends) {
            for other in others(n) {
                let _ = tell(&end.peer(&cluster.at(other)), Lane::Ordered, round);
            }
        }
        tokio::time::sleep(ms(100)).await;
        if round == 10 {
            cluster.net.crash(addr(NODES));
        }
    }
    for (end, _) in &ends[..7] {
        assert_eq!(end.probe(addr(NODES), ms(2000)).await, Probe::Unreachable, "SEED={seed}");
        end.declare_dead(cluster.id(NODES, 1));
    }
    let living = |n: u8| others(n).filter(|other| *other != NODES);
    until("the living have heard all of each other", || {
        (1..NODES).all(|n| living(n).all(|other| ends[usize::from(n) - 1].1.from(cluster.id(other, 1)).len() == 20))
    })
    .await;
    until("all are told of the death", || ends[..7].iter().all(|(_, sink)| !sink.downs().is_empty())).await;
    for (_, sink) in &ends[..7] {
        let heard = sink.from(cluster.id(NODES, 1));
        assert!(heard.len() >= 8 && heard.iter().copied().eq(0..heard.len() as u64), "SEED={seed}: {heard:?}");
        assert_eq!(sink.downs(), [DownReason::Declared], "SEED={seed}");
    }
    cluster.net.trace_hash()
}

#[test]
fn a_mesh_outlives_one_of_its_nodes_and_replays() {
    let run = |seed| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap().block_on(mesh(seed))
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_endpoint_says_goodbye() {
    let cluster = Cluster::new(4);
    let ((a, _), (_b, sink)) = (cluster.endpoint(1), cluster.endpoint(2));
    let peer = a.peer(&cluster.at(2));
    assert_eq!(peer.ask::<_, u64>(ECHO, &1u64, ms(1000)).await, Ok(1));
    drop(a);
    until("the other side knows", || sink.downs() == [DownReason::Goodbye]).await;
    assert_eq!(peer.ended(), Some(DownReason::Closed));
}

#[test]
fn a_live_network_joins_threads() {
    let cluster = Cluster { net: SimNet::live(), ..Cluster::new(3) };
    let (config, own) = (cluster.config(2, 1), cluster.config(1, 1));
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let there = std::thread::spawn(move || {
        runtime().block_on(async {
            let (endpoint, sink) = start(config);
            ready.send(()).unwrap();
            let _ = stopped.await;
            endpoint.close().await;
            sink.count()
        })
    });
    is_ready.recv().unwrap();
    runtime().block_on(async {
        let (a, _) = start(own);
        let peer = a.peer(&cluster.at(2));
        for n in 0..100 {
            tell(&peer, Lane::Ordered, n).unwrap();
        }
        assert_eq!(peer.ask::<_, u64>(ECHO, &1u64, Duration::from_secs(20)).await, Ok(1));
        a.close().await;
    });
    stop.send(()).unwrap();
    assert_eq!(there.join().unwrap(), 100);
}
