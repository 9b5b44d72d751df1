//! A small cluster of endpoints, and actors that remember.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actinic_transport::*;
use uuid::Uuid;

pub(crate) const REVISION: u32 = 7;
pub(crate) const SINK: ActorNo = ActorNo(5);
pub(crate) const ECHO: ActorNo = ActorNo(6);

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A cluster's authority and network.
pub(crate) struct Cluster {
    pub(crate) authority: Authority,
    pub(crate) net: SimNet,
    pub(crate) limits: Limits,
}

pub(crate) fn ip(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

pub(crate) fn addr(n: u8) -> SocketAddr {
    SocketAddr::new(ip(n), 7000)
}

impl Cluster {
    pub(crate) fn new(seed: u64) -> Cluster {
        Cluster::number(1, seed)
    }

    pub(crate) fn number(cluster: u128, seed: u64) -> Cluster {
        let authority = Authority::generate(ClusterId(Uuid::from_u128(cluster))).unwrap();
        let net = SimNet::new(seed);
        net.faults(LinkFaults { delay: ms(5), ..LinkFaults::default() });
        Cluster { authority, net, limits: Limits::default() }
    }

    /// The process that lives on node `n`.
    pub(crate) fn id(&self, n: u8, incarnation: u8) -> ProcessId {
        ProcessId {
            cluster: self.authority.cluster(),
            node: NodeId(Uuid::from_u128(u128::from(n))),
            incarnation: Uuid::from_u128(u128::from(n) << 8 | u128::from(incarnation)),
        }
    }

    pub(crate) fn at(&self, n: u8) -> PeerAddr {
        PeerAddr::new(self.id(n, 1), addr(n))
    }

    pub(crate) fn config(&self, n: u8, incarnation: u8) -> Config {
        let id = self.id(n, incarnation);
        let identity = self.authority.node(id.node).unwrap().issue(id.incarnation).unwrap();
        Config {
            id,
            identity,
            net: Net::Sim(self.net.clone()),
            listen: addr(n),
            limits: self.limits.clone(),
            revision: REVISION,
            seed: Some([n; 32]),
        }
    }

    /// An endpoint on node `n`, and its actors.
    pub(crate) fn endpoint(&self, n: u8) -> (Endpoint, Arc<Sink>) {
        start(self.config(n, 1))
    }
}

pub(crate) fn start(config: Config) -> (Endpoint, Arc<Sink>) {
    let endpoint = Endpoint::bind(config).unwrap();
    let sink = Arc::new(Sink::default());
    endpoint.register(SINK, sink.clone());
    endpoint.register(ECHO, Arc::new(Echo));
    let seen = sink.clone();
    endpoint.on_peer_event(Arc::new(move |event| seen.events.lock().unwrap().push(event)));
    (endpoint, sink)
}

/// Remembers numbers that it is told, and what it heard of peers.
#[derive(Default)]
pub(crate) struct Sink {
    pub(crate) told: Mutex<Vec<(ProcessId, u64)>>,
    pub(crate) bursts: Mutex<Vec<usize>>,
    pub(crate) events: Mutex<Vec<PeerEvent>>,
}

impl Receiver for Sink {
    fn receive(&self, from: &Peer, messages: &mut Messages<'_>) {
        let mut told = self.told.lock().unwrap();
        let before = told.len();
        told.extend(messages.map(|message| (from.id(), number(message.body))));
        self.bursts.lock().unwrap().push(told.len() - before);
    }
}

pub(crate) fn number(body: &[u8]) -> u64 {
    u64::from_le_bytes(body[..8].try_into().unwrap())
}

impl Sink {
    pub(crate) fn from(&self, id: ProcessId) -> Vec<u64> {
        self.told.lock().unwrap().iter().filter(|(from, _)| *from == id).map(|(_, n)| *n).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.told.lock().unwrap().len()
    }

    pub(crate) fn downs(&self) -> Vec<DownReason> {
        let events = self.events.lock().unwrap();
        events
            .iter()
            .filter_map(|event| if let PeerEvent::Down(_, why) = event { Some(why.clone()) } else { None })
            .collect()
    }

    pub(crate) fn ups(&self) -> usize {
        self.events.lock().unwrap().iter().filter(|event| matches!(event, PeerEvent::Up(..))).count()
    }
}

/// Answers with what it was asked; drops what ends in 13.
pub(crate) struct Echo;

impl Receiver for Echo {
    fn receive(&self, _from: &Peer, messages: &mut Messages<'_>) {
        for message in messages {
            let Some(reply) = message.reply else { continue };
            match message.body.last() {
                Some(13) => drop(reply),
                Some(14) => std::mem::forget(reply),
                Some(15) => panic!("a receiver that panics"),
                _ => reply.answer_with(|out| out.extend_from_slice(message.body)).unwrap(),
            }
        }
    }
}

pub(crate) fn tell(peer: &Peer, lane: Lane, n: u64) -> Result<(), SendError> {
    peer.tell_with(lane, SINK, |out| out.extend_from_slice(&n.to_le_bytes()))
}

/// Waits, in whatever time the runtime has, until that is so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(120), async {
        while !so() {
            tokio::time::sleep(ms(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain until {what}");
}
