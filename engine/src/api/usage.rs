//! What of a cluster is in use: for tests, and for whoever looks for a leak.

use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{NodeId, PeerAddr};

use crate::api::cluster::Cluster;
use crate::api::error::{Error, Result};
use crate::api::named::ask_gcs;
use crate::api::op::Op;
use crate::process::Process;
use crate::protocol::{AskGcs, AskRaylet, GcsAnswer, RAYLET, RayletAnswer};
use crate::raylet::{AskState, RayletLink, RayletState};

/// How long a node may take to answer before it is left out.
const ANSWER: Duration = Duration::from_secs(2);

/// What is kept and what waits, as far as one program can know; all zero, as [`Usage::default`], when nothing is.
///
/// Resources are told by [`Cluster::available_resources`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Tasks, actors and objects of this process that are not done, or that somebody holds a ref or a handle of.
    pub owned: usize,
    /// Objects of this process that other processes hold refs of.
    pub lent: usize,
    /// Objects of other processes that this one holds refs of.
    pub borrowed: usize,
    /// Bytes in the object stores of the nodes that live, and of this process.
    pub stored: u64,
    /// Requests for a worker that wait on a node.
    pub waiting: usize,
}

impl Cluster {
    /// What is kept and what waits now; a worker or an actor that a moment ago gave something up may still count.
    ///
    /// ```
    /// # use actinic::prelude::*;
    /// # #[actinic::main]
    /// # async fn main() -> actinic::Result<()> {
    /// let cluster = actinic::init().num_cpus(1).await?;
    /// let object = actinic::put(&Buffer::from(vec![0; 1 << 20])).await?;
    /// let usage = cluster.usage().await?;
    /// assert!(usage.owned == 1 && usage.stored >= 1 << 20);
    /// drop(object);
    /// assert_eq!(cluster.usage().await?, actinic::Usage::default());
    /// # cluster.shutdown().await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `Connection` if the GCS does not answer; a node that does not is left out.
    pub fn usage(&self) -> Op<Usage> {
        let process = Arc::clone(&self.owner().process);
        Op::new(async move {
            let mut usage = Usage::default();
            for (node, state) in states(&process).await? {
                usage.waiting += state.queued;
                if node != process.id.node || !is_node(&process) {
                    usage.stored += state.stored;
                }
            }
            usage.owned = process.owners().iter().map(|owner| owner.load().0).sum();
            (usage.lent, usage.borrowed) = process.counts_left();
            if !process.store.is_shared() || is_node(&process) {
                usage.stored += process.store.used();
            }
            Ok(usage)
        })
    }
}

fn is_node(process: &Process) -> bool {
    matches!(process.raylet.get(), Some(RayletLink::Local(_)))
}

/// What the raylets say of themselves; a node that does not answer is left out.
pub(crate) async fn states(process: &Arc<Process>) -> Result<Vec<(NodeId, RayletState)>> {
    let GcsAnswer::Nodes(rows, ..) = ask_gcs(process, AskGcs::Nodes).await? else {
        return Err(Error::connection("the GCS answered something else"));
    };
    let mut asked = Vec::new();
    let mut states = Vec::new();
    for row in rows.into_iter().filter(|row| row.state.is_up()) {
        match process.raylet.get() {
            Some(RayletLink::Local(raylet)) if row.id == process.id.node => {
                states.push((row.id, raylet.send(AskState).await.unwrap_or_default()));
            }
            _ => {
                let at = PeerAddr { id: row.process, addrs: row.addrs, relay: None };
                asked.push((row.id, process.endpoint()?.peer(&at).ask(RAYLET, &AskRaylet::State, ANSWER)));
            }
        }
    }
    for (node, answer) in asked {
        if let Ok(RayletAnswer::State(state)) = answer.await {
            states.push((node, state));
        }
    }
    Ok(states)
}
