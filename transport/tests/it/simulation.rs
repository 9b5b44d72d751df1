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
    cluster.net.link(
        ip(1),
        ip(2),
        LinkFaults {
            delay: ms(300),
            ..LinkFaults::default()
        },
    );
    let ((a, _), (_b, sink)) = (cluster.endpoint(1), cluster.endpoint(2));
    let peer = a.peer(&cluster.at(2));
    assert_eq!(
        peer.ask::<_, u64>(ECHO, &1u64, Duration::from_secs(5))
            .await,
        Ok(1)
    );
    let begun = tokio::time::Instant::now();
    tell(&peer, Lane::Ordered, 1).unwrap();
    until("it has arrived", || sink.count() == 1).await;
    assert!(
        (ms(299)..=ms(305)).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_live_network_joins_threads() {
    let cluster = Cluster {
        net: SimNet::live(),
        ..Cluster::new(3)
    };
    let (config, own) = (cluster.config(2, 1), cluster.config(1, 1));
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
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
        assert_eq!(
            peer.ask::<_, u64>(ECHO, &1u64, Duration::from_secs(20))
                .await,
            Ok(1)
        );
        a.close().await;
    });
    stop.send(()).unwrap();
    assert_eq!(there.join().unwrap(), 100);
}
