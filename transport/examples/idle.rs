//! What two endpoints with a session between them cost while nothing happens.
//!
//! `cargo run --release -p actinic-transport --example idle`

use std::net::SocketAddr;
use std::time::Duration;

use actinic_transport::*;
use uuid::Uuid;

fn proportional_kib() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let authority = Authority::generate(ClusterId(Uuid::from_u128(1))).expect("an authority");
        println!("before: {} KiB", proportional_kib());
        let endpoint = |n: u128| {
            let node = authority.node(NodeId(Uuid::from_u128(n))).expect("a node");
            let identity = node.issue(Uuid::from_u128(n)).expect("an identity");
            let listen = SocketAddr::from(([127, 0, 0, 1], 0));
            let limits = Limits::default();
            let id = identity.id();
            Endpoint::bind(Config { id, identity, net: Net::Udp, listen, limits, revision: 1, seed: None })
                .expect("a port")
        };
        let (a, b) = (endpoint(1), endpoint(2));
        println!("two endpoints: {} KiB", proportional_kib());
        let begun = std::time::Instant::now();
        let peer = a.contact(b.local_addr(), Duration::from_secs(5)).await.expect("it listens");
        println!("connected in {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_secs(2)).await;
        println!("and a session: {} KiB", proportional_kib());
        let before = cpu_ticks();
        tokio::time::sleep(Duration::from_secs(20)).await;
        println!("{} ms of CPU in 20 s, of both", (cpu_ticks() - before) * 10);
        assert!(peer.is_connected());
        let begun = std::time::Instant::now();
        a.close().await;
        println!("closed in {:?}", begun.elapsed());
    });
}
