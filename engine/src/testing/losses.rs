//! Losing messages of a kind on their way.

use std::sync::{Mutex, PoisonError};

use actinic_transport::{Peer, SimNet};

use crate::process::Process;

/// A kind of message between processes that [`TestCluster::lose`](super::TestCluster::lose) loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Message {
    /// An owner asks a node for workers.
    LeaseRequest,
    /// What the node answers: a worker, another node to ask, or a refusal.
    LeaseReply,
    /// Tasks for a worker.
    PushTask,
    /// What became of them.
    TaskReply,
    /// A call of an actor's method.
    ActorCall,
    /// What became of it.
    ActorReply,
    /// The bytes of a large object.
    ObjectChunk,
}

/// How many messages of each kind are still to be lost in a cluster.
#[derive(Debug)]
pub(crate) struct Losses {
    net: SimNet,
    left: Mutex<Vec<(Message, u32)>>,
}

impl Losses {
    pub(super) fn new(net: SimNet) -> Losses {
        Losses { net, left: Mutex::default() }
    }

    pub(super) fn add(&self, message: Message, count: u32) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).push((message, count));
    }

    /// Whether the next message of the kind is one of them.
    fn take(&self, message: Message) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|(_, count)| *count > 0);
        let Some((_, count)) = left.iter_mut().find(|(kind, _)| *kind == message) else { return false };
        *count -= 1;
        true
    }
}

impl Process {
    /// Called where a message is about to be handed to the transport: a test may want it lost.
    pub(crate) fn may_lose(&self, message: Message, to: &Peer) {
        let Some(losses) = self.losses.get() else { return };
        if let (Some(from), Some(to)) = (self.address().addrs.first(), to.addr().addrs.first())
            && losses.take(message)
        {
            losses.net.lose(*from, *to);
        }
    }
}
