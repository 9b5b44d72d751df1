//! Large answers on streams of their own, and processes that cannot be dialled.

use std::sync::Arc;

use actinic_transport::*;
use bytes::Bytes;

use crate::support::*;

/// Serves as many bytes as the request's number says, in chunks; refuses odd ones.
struct Numbers;

impl BulkHandler for Numbers {
    fn serve(&self, _from: &Peer, request: Bytes, answer: BulkAnswer) {
        let length = number(&request);
        if length % 2 == 1 {
            return answer.refuse("odd");
        }
        tokio::spawn(async move {
            let mut writer = answer.accept(length).await.unwrap();
            let chunk = Bytes::from(vec![7; 100_000]);
            let mut left = length as usize;
            while left > 0 {
                let size = left.min(chunk.len());
                if writer.write(chunk.slice(..size)).await.is_err() {
                    return;
                }
                left -= size;
            }
            writer.finish().await.unwrap();
        });
    }
}

fn request(length: u64) -> Bytes {
    Bytes::copy_from_slice(&length.to_le_bytes())
}

async fn fetch(peer: &Peer, length: u64) -> Result<u64, BulkError> {
    let mut reader = peer.bulk(request(length)).await?;
    assert_eq!(reader.length(), length);
    let mut got = 0;
    while let Some(chunk) = reader.next_chunk().await {
        got += chunk?.len() as u64;
    }
    Ok(got)
}

#[tokio::test(start_paused = true)]
async fn bulk_answers_come_whole_and_yield_to_messages() {
    let cluster = Cluster::new(1);
    let ((a, _), (b, _)) = (cluster.endpoint(1), cluster.endpoint(2));
    let peer = a.peer(&cluster.at(2));
    let refused = fetch(&peer, 2).await.unwrap_err();
    assert!(refused.to_string().contains("serves no bulk"));
    b.set_bulk(Arc::new(Numbers));
    let fetches = (0..20).map(|_| {
        let peer = peer.clone();
        tokio::spawn(async move { fetch(&peer, 500_000).await })
    });
    let fetches: Vec<_> = fetches.collect();
    assert_eq!(peer.ask::<_, u64>(ECHO, &5u64, ms(500)).await, Ok(5));
    for fetch in fetches {
        assert_eq!(fetch.await.unwrap(), Ok(500_000));
    }
    assert_eq!(fetch(&peer, 0).await, Ok(0));
    assert_eq!(fetch(&peer, 3).await, Err(BulkError::Refused("odd".into())));
    let error = peer.bulk(vec![0; 70_000].into()).await.unwrap_err();
    assert_eq!(error, BulkError::TooLarge { size: 70_000, limit: 65_536 });
    let own = b.peer(&cluster.at(2));
    assert!(own.bulk(request(2)).await.is_err(), "there is no connection with oneself");
}

/// Messages go first; but where they fill the connection all the time, an answer comes beside them, and not when they end.
#[tokio::test(start_paused = true)]
async fn bulk_answers_come_while_messages_fill_the_connection() {
    const MESSAGES: usize = 48;
    let cluster = Cluster::new(9);
    // What is lost keeps less on the way than one lane may have there.
    cluster.net.faults(LinkFaults { delay: ms(5), loss: 0.01, ..LinkFaults::default() });
    let ((a, sink), (b, _)) = (cluster.endpoint(1), cluster.endpoint(2));
    b.set_bulk(Arc::new(Numbers));
    let peer = a.peer(&cluster.at(2));
    assert_eq!(peer.ask::<_, u64>(ECHO, &5u64, ms(500)).await, Ok(5));
    let back = b.known(a.id()).unwrap();
    for _ in 0..MESSAGES {
        back.tell(Lane::Ordered, SINK, &vec![0u8; 1 << 20]).unwrap();
    }
    assert_eq!(fetch(&peer, 1 << 20).await, Ok(1 << 20));
    let came = sink.count();
    assert!((1..MESSAGES).contains(&came), "{came}");
}

/// Sends a byte every two seconds.
struct Slow;

impl BulkHandler for Slow {
    fn serve(&self, _from: &Peer, request: Bytes, answer: BulkAnswer) {
        let length = number(&request);
        tokio::spawn(async move {
            let mut writer = answer.accept(length).await.unwrap();
            for _ in 0..length {
                tokio::time::sleep(ms(2000)).await;
                writer.write(Bytes::from_static(&[1])).await.unwrap();
            }
            writer.finish().await.unwrap();
        });
    }
}

/// Those that wait for a stream wait for the answers before them, and not for a process that is silent.
#[tokio::test(start_paused = true)]
async fn bulk_requests_wait_for_a_stream_as_long_as_others_are_read() {
    let cluster = Cluster::new(5);
    let ((a, _), (b, _)) = (cluster.endpoint(1), cluster.endpoint(2));
    b.set_bulk(Arc::new(Slow));
    let peer = a.peer(&cluster.at(2));
    // Three rounds of 12 s.
    let fetches = (0..48).map(|_| {
        let peer = peer.clone();
        tokio::spawn(async move { fetch(&peer, 6).await })
    });
    let fetches: Vec<_> = fetches.collect();
    let waiting = tokio::spawn(async move { fetch(&peer, 6).await });
    for fetch in fetches {
        assert_eq!(fetch.await.unwrap(), Ok(6));
    }
    // With the session ends the wait for a stream.
    a.declare_dead(b.id());
    assert!(waiting.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_bulk_answer_that_breaks_says_so() {
    let mut cluster = Cluster::new(2);
    cluster.limits.idle = ms(1000);
    cluster.limits.keep_alive = ms(300);
    let ((a, _), (b, _)) = (cluster.endpoint(1), cluster.endpoint(2));
    b.set_bulk(Arc::new(Numbers));
    let peer = a.peer(&cluster.at(2));
    let mut reader = peer.bulk(request(50_000_000)).await.unwrap();
    reader.next_chunk().await.unwrap().unwrap();
    cluster.net.partition(&[ip(1)], &[ip(2)]);
    let error = loop {
        if let Err(error) = reader.next_chunk().await.unwrap() {
            break error;
        }
    };
    assert!(matches!(error, BulkError::Broken { got, length: 50_000_000, .. } if got > 0), "{error}");
    cluster.net.heal();
    assert_eq!(fetch(&peer, 1000).await, Ok(1000), "the session goes on");
}

#[tokio::test(start_paused = true)]
async fn a_relay_serves_ipv6_too() {
    let cluster = Cluster::new(4);
    let v6 = |n: u16| std::net::SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, n], 7000));
    let on = |n: u8| start(Config { listen: v6(n.into()), ..cluster.config(n, 1) });
    let ((raylet, _), (driver, _), (other, _)) = (on(1), on(2), on(3));
    driver.advertise(Vec::new());
    cluster.net.partition(&[v6(2).ip()], &[v6(3).ip()]);
    let to_raylet = driver.peer(&PeerAddr::new(raylet.id(), v6(1)));
    assert_eq!(to_raylet.ask::<_, u64>(ECHO, &1u64, ms(1000)).await, Ok(1));
    let relay = Some((raylet.id(), v6(1)));
    let peer = other.peer(&PeerAddr { id: driver.id(), addrs: Vec::new(), relay });
    assert_eq!(peer.ask::<_, u64>(ECHO, &2u64, ms(3000)).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_dialled_is_reached_through_a_relay() {
    let cluster = Cluster::new(3);
    let ((raylet, _), (driver, at_driver), (other, at_other)) =
        (cluster.endpoint(1), cluster.endpoint(2), cluster.endpoint(3));
    // The driver is behind a translator: nobody but the raylet, which it dialled, exchanges datagrams with it.
    driver.advertise(Vec::new());
    cluster.net.partition(&[ip(2)], &[ip(3)]);
    driver.set_bulk(Arc::new(Numbers));
    let to_raylet = driver.peer(&cluster.at(1));
    assert_eq!(to_raylet.ask::<_, u64>(ECHO, &1u64, ms(1000)).await, Ok(1));
    assert!(raylet.known(driver.id()).unwrap().addr().addrs.is_empty());

    let relay = Some((raylet.id(), addr(1)));
    let peer = other.peer(&PeerAddr { id: driver.id(), addrs: Vec::new(), relay });
    for n in 0..1000 {
        tell(&peer, Lane::Ordered, n).unwrap();
    }
    assert_eq!(peer.ask::<_, u64>(ECHO, &2u64, ms(3000)).await, Ok(2));
    assert_eq!(at_driver.from(other.id()), (0..1000).collect::<Vec<_>>());
    assert_eq!(fetch(&peer, 300_000).await, Ok(300_000), "bulk goes the same way");
    // And back, over the same session.
    let back = driver.known(other.id()).unwrap();
    tell(&back, Lane::Urgent, 5).unwrap();
    until("it has arrived", || at_other.from(driver.id()) == [5]).await;
    // The relay falls away for a while: the session stays.
    cluster.net.partition(&[ip(1)], &[ip(3)]);
    tell(&peer, Lane::Ordered, 1000).unwrap();
    tokio::time::sleep(ms(12_000)).await;
    cluster.net.heal();
    cluster.net.partition(&[ip(2)], &[ip(3)]);
    until("it has arrived", || at_driver.count() == 1001).await;
    assert!(at_driver.downs().is_empty() && at_other.downs().is_empty());
}

/// What a process says last is heard by those that a relay connects it with, too: both ways, and when it closes.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_relayed_session_is_told() {
    for closes in [true, false] {
        let cluster = Cluster::new(6);
        let ((raylet, _), (driver, at_driver), (other, at_other)) =
            (cluster.endpoint(1), cluster.endpoint(2), cluster.endpoint(3));
        driver.advertise(Vec::new());
        cluster.net.partition(&[ip(2)], &[ip(3)]);
        let to_raylet = driver.peer(&cluster.at(1));
        assert_eq!(to_raylet.ask::<_, u64>(ECHO, &1u64, ms(1000)).await, Ok(1));
        let relay = Some((raylet.id(), addr(1)));
        let peer = other.peer(&PeerAddr { id: driver.id(), addrs: Vec::new(), relay });
        assert_eq!(peer.ask::<_, u64>(ECHO, &2u64, ms(3000)).await, Ok(2));
        let begun = tokio::time::Instant::now();
        if closes {
            let back = driver.known(other.id()).unwrap();
            tell(&back, Lane::Ordered, 5).unwrap();
            driver.close().await;
            until("the other knows", || at_other.downs() == [DownReason::Goodbye]).await;
            assert_eq!(at_other.from(driver.id()), [5]);
        } else {
            other.declare_dead(driver.id());
            until("the driver knows", || at_driver.downs() == [DownReason::EndedByPeer]).await;
        }
        assert!(begun.elapsed() < ms(500), "{:?}", begun.elapsed());
    }
}

/// Who gives the address of another process says how he reaches the relay himself.
#[tokio::test(start_paused = true)]
async fn a_relay_that_is_known_is_reached_as_before() {
    let cluster = Cluster::new(7);
    let ((raylet, _), (driver, _), (other, _)) = (cluster.endpoint(1), cluster.endpoint(2), cluster.endpoint(3));
    driver.advertise(Vec::new());
    cluster.net.partition(&[ip(2)], &[ip(3)]);
    let to_raylet = driver.peer(&cluster.at(1));
    assert_eq!(to_raylet.ask::<_, u64>(ECHO, &1u64, ms(1000)).await, Ok(1));
    let known = other.peer(&cluster.at(1));
    let relay = Some((raylet.id(), addr(77)));
    let peer = other.peer(&PeerAddr { id: driver.id(), addrs: Vec::new(), relay });
    assert_eq!(peer.ask::<_, u64>(ECHO, &2u64, ms(3000)).await, Ok(2));
    assert_eq!(known.addr().addrs, [addr(1)]);
}

/// Where no link takes time, and some is lost, all comes: a sender that paces itself has some to wait for.
#[tokio::test(start_paused = true)]
async fn bulk_answers_pass_links_without_a_delay() {
    for seed in 1..9 {
        let cluster = Cluster::new(seed);
        cluster.net.faults(LinkFaults { loss: 0.01, ..LinkFaults::default() });
        let ((a, _), (b, _)) = (cluster.endpoint(1), cluster.endpoint(2));
        b.set_bulk(Arc::new(Numbers));
        let peer = a.peer(&cluster.at(2));
        for _ in 0..20 {
            assert_eq!(fetch(&peer, 1 << 20).await, Ok(1 << 20), "SEED={seed}");
        }
    }
}
