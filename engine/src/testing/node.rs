//! A node of a test's cluster, and what can happen to it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use actinic_transport::{NodeId, SimNet};

use crate::api::cluster::Cluster;
use crate::api::error::{Error, Result};
use crate::api::op::Op;
use crate::ids::ObjectId;
use crate::process::Process;
use crate::start::Running;

/// A node of a [`TestCluster`](super::TestCluster).
///
/// What is done to it begins with the call; awaiting it waits until it is done. Dropping a `Node` does nothing.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    process: Arc<Process>,
    net: Option<SimNet>,
    life: Life,
}

enum Life {
    /// The head lives as long as its cluster.
    Head(Weak<Cluster>),
    Own(Box<Mutex<Option<Running>>>),
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.id())
    }
}

impl From<&Node> for NodeId {
    fn from(node: &Node) -> NodeId {
        node.id()
    }
}

impl From<Node> for NodeId {
    fn from(node: Node) -> NodeId {
        node.id()
    }
}

impl Node {
    pub(super) fn head(cluster: &Arc<Cluster>, net: Option<SimNet>) -> Node {
        let process = Arc::clone(&cluster.owner().process);
        Node { inner: Arc::new(Inner { process, net, life: Life::Head(Arc::downgrade(cluster)) }) }
    }

    pub(super) fn own(running: Running, net: Option<SimNet>) -> Node {
        let process = Arc::clone(&running.process);
        Node { inner: Arc::new(Inner { process, net, life: Life::Own(Box::new(Mutex::new(Some(running)))) }) }
    }

    pub(super) fn process(&self) -> &Arc<Process> {
        &self.inner.process
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        self.inner.process.id.node
    }

    /// Ends it as a power cut would: nobody is told, and its workers go with it.
    pub fn kill(&self) -> Op<()> {
        if let (Some(net), Some(at)) = (&self.inner.net, self.inner.process.address().addrs.first()) {
            net.crash(*at);
        }
        self.inner.process.kill();
        self.end()
    }

    /// Ends it in order, as `actinic stop` would.
    pub fn stop(&self) -> Op<()> {
        self.end()
    }

    fn end(&self) -> Op<()> {
        let running = match &self.inner.life {
            Life::Own(running) => running.lock().unwrap_or_else(PoisonError::into_inner).take(),
            Life::Head(cluster) => cluster.upgrade().and_then(|cluster| cluster.leave()),
        };
        let Some(mut running) = running else { return Op::ready(Ok(())) };
        running.ask_stop();
        let (tell, hear) = tokio::sync::oneshot::channel();
        let waits = self.inner.process.env.thread("actinic-node-end", move || {
            running.stop();
            // Whoever ended it may not wait.
            let _ = tell.send(());
        });
        Op::new(async move {
            waits.map_err(|error| Error::connection(format!("no thread could be started: {error}")))?;
            hear.await.map_err(|_| Error::connection("the node's end was not reported"))
        })
    }

    /// Halts its network, as SIGSTOP would halt its daemon: nothing is lost, nothing is answered.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` where nodes use real datagrams.
    pub fn pause(&self) -> Op<()> {
        Op::ready(self.with_net(|net, at| net.pause(at)))
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` where nodes use real datagrams.
    pub fn resume(&self) -> Op<()> {
        Op::ready(self.with_net(|net, at| net.resume(at)))
    }

    fn with_net(&self, act: impl FnOnce(&SimNet, std::net::SocketAddr)) -> Result<()> {
        match (&self.inner.net, self.inner.process.address().addrs.first()) {
            (Some(net), Some(at)) => {
                act(net, *at);
                Ok(())
            }
            _ => Err(Error::invalid_argument("a node that uses real datagrams cannot be paused")
                .remedy("leave `workers = \"processes\"` out, so that the nodes' datagrams stay in memory")),
        }
    }

    /// The objects above the inline limit that lie on it, copies included.
    pub fn objects(&self) -> Vec<ObjectId> {
        self.inner.process.large_objects()
    }

    /// Loses every object above the inline limit that lies on it, as a crash of its store would.
    pub fn lose_objects(&self) -> Op<()> {
        self.inner.process.lose_large_objects();
        Op::ready(Ok(()))
    }

    /// Ends it without waiting, if it has not ended.
    pub(super) fn drop_running(&self) {
        if let Life::Own(running) = &self.inner.life
            && let Some(mut running) = running.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            running.ask_stop();
        }
    }
}

/// How long a node may take to be known everywhere.
pub(super) const JOINED: Duration = Duration::from_secs(10);
