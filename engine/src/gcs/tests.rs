//! The way to the GCS.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actinic_transport::{
    Authority, ClusterId, Config, Endpoint, Limits, Messages, Net, NodeId, Peer, PeerAddr, Receiver,
};

use crate::env::{Env, sim};
use crate::gcs::GcsLink;
use crate::ids::ActorId;
use crate::protocol::{ActorRun, GCS, Gone, REVISION, ToGcs};
use crate::testing::eventually;

/// Remembers of what arrives whether it is a heartbeat.
#[derive(Default)]
struct Heard(Mutex<Vec<bool>>);

impl Receiver for Heard {
    fn receive(&self, _from: &Peer, messages: &mut Messages<'_>) {
        let heartbeat = |body: &[u8]| matches!(postcard::from_bytes(body).unwrap(), ToGcs::Heartbeat { .. });
        self.0.lock().unwrap().extend(messages.map(|message| heartbeat(message.body)));
    }
}

fn endpoint(env: &Env, authority: &Authority) -> Endpoint {
    let identity = authority.node(NodeId(env.uuid())).unwrap().issue(env.uuid()).unwrap();
    let net = Net::Sim(env.world().unwrap().net().clone());
    let listen = "0.0.0.0:0".parse().unwrap();
    let (limits, seed) = (Limits::default(), env.seed());
    Endpoint::bind(Config { id: identity.id(), identity, net, listen, limits, revision: REVISION, seed }).unwrap()
}

/// A node that has much to say is alive all the same.
#[test]
fn a_heartbeat_passes_what_waits() {
    const LARGE: usize = 16;
    sim::run(1, |env| async move {
        let authority = Authority::generate(ClusterId(env.uuid())).unwrap();
        let (node, head) = (endpoint(&env, &authority), endpoint(&env, &authority));
        let heard = Arc::new(Heard::default());
        head.register(GCS, heard.clone());
        let link = GcsLink::Remote(node.peer(&PeerAddr::new(head.id(), head.local_addr())));
        let run = ActorRun { actor: ActorId(env.uuid()), incarnation: 0, attempt: 1 };
        for _ in 0..LARGE {
            let text = "x".repeat(1 << 20);
            link.tell(ToGcs::ActorDied { run, node: node.id().node, how: Gone::Exited, text, owner: None });
        }
        link.tell(ToGcs::Heartbeat { node: node.id().node });
        assert!(eventually(Duration::from_secs(60), || heard.0.lock().unwrap().len() == LARGE + 1).await);
        let place = heard.0.lock().unwrap().iter().position(|heartbeat| *heartbeat);
        assert!(place < Some(LARGE / 2), "it came as number {place:?}");
    });
}
