//! Forwarding for processes that cannot be dialled.
//!
//! ```text
//! message to actor u64::MAX      | target: ProcessId (48) | source: ProcessId (48) | datagram |
//! ```
//! Whoever has a session with the target passes it on, after checking that the source is its sender; the target
//! feeds it to its own socket ([`MuxSocket`](crate::net::MuxSocket)). A relay's bounded queue drops datagrams as a router's does.

use std::sync::{Arc, Weak};

use uuid::Uuid;

use crate::endpoint::Inner;
use crate::net::Route;
use crate::wire::RELAY;
use crate::{ClusterId, Lane, Messages, NodeId, Peer, ProcessId, Receiver};

const ID: usize = 48;
/// More than this waiting for a process, and what is to be forwarded to it is dropped.
const MAX_BACKLOG: usize = 4 << 20;

/// Makes the endpoint a relay for others, and able to use one.
pub(crate) fn install(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    inner.relayed.set_forward(Box::new(move |route, datagram| {
        let Some(inner) = weak.upgrade() else { return };
        if let Some(via) = inner.known(route.via) {
            forward(&via, route.target, inner.id, datagram);
        }
    }));
    inner.registry.register(RELAY, Arc::new(Forwarder(Arc::downgrade(inner))));
}

fn forward(via: &Peer, target: ProcessId, source: ProcessId, datagram: &[u8]) {
    if via.backlog() > MAX_BACKLOG {
        return;
    }
    // A session that is over drops datagrams, as a broken link does.
    let _ = via.tell_with(Lane::Ordered, RELAY, |out| {
        write_id(out, target);
        write_id(out, source);
        out.extend_from_slice(datagram);
    });
}

struct Forwarder(Weak<Inner>);

impl Receiver for Forwarder {
    fn receive(&self, from: &Peer, messages: &mut Messages<'_>) {
        let Some(inner) = self.0.upgrade() else {
            return;
        };
        for message in messages {
            let Some((target, rest)) = read_id(message.body) else {
                continue;
            };
            let Some((source, datagram)) = read_id(rest) else {
                continue;
            };
            if target == inner.id {
                inner.relayed.arrived(Route { target: source, via: from.id() }, datagram);
            } else if let Some(next) = inner.known(target).filter(|_| source == from.id()) {
                forward(&next, target, source, datagram);
            }
        }
    }
}

fn write_id(out: &mut Vec<u8>, id: ProcessId) {
    for part in [id.cluster.0, id.node.0, id.incarnation] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn read_id(bytes: &[u8]) -> Option<(ProcessId, &[u8])> {
    let (id, rest) = bytes.split_at_checked(ID)?;
    let part = |at: usize| Uuid::from_slice(&id[at..at + 16]).ok();
    let id = ProcessId { cluster: ClusterId(part(0)?), node: NodeId(part(16)?), incarnation: part(32)? };
    Some((id, rest))
}
