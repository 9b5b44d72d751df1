//! Whether everything is free again.

use std::sync::Arc;
use std::time::Duration;

use crate::api::cluster::Cluster;
use crate::api::error::{Error, Result};
use crate::api::named::all_actors;
use crate::process::Process;
use crate::raylet::{AskState, RayletLink, RayletState};
use crate::task::What;
use crate::testing::cluster::World;

const WITHIN: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(5);

/// Waits until nothing is left; the error names what is.
pub(super) async fn idle(cluster: &Cluster, world: &World) -> Result<()> {
    let process = Arc::clone(&cluster.owner().process);
    let until = process.env.now() + WITHIN;
    loop {
        let left = left(&process, world).await?;
        if left.is_empty() {
            return Ok(());
        }
        if process.env.now() >= until {
            return Err(Error::other(std::io::Error::other(format!(
                "not everything is free after {WITHIN:?}:\n  {}",
                left.join("\n  ")
            ))));
        }
        // The system's thread has the timer; whoever waits here may have none.
        let (tell, hear) = tokio::sync::oneshot::channel();
        process.spawn(async move {
            tokio::time::sleep(STEP).await;
            let _ = tell.send(());
        });
        hear.await.map_err(|_| Error::connection("the cluster was shut down"))?;
    }
}

async fn left(head: &Arc<Process>, world: &World) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for process in world.processes() {
        of_process(&process, &mut left).await;
    }
    let rows = all_actors(head).await?;
    let alive = rows.iter().filter(|row| row.state != crate::gcs::core::ActorState::Dead);
    left.extend(alive.take(20).map(|row| format!("actor {} is {:?}", row.spec.id, row.state)));
    Ok(left)
}

async fn of_process(process: &Arc<Process>, left: &mut Vec<String>) {
    let at = format!("on node {}", process.id.node);
    let mut many = 0;
    for owner in process.owners() {
        owner.close_idle();
        for actor in owner.actors_held_here() {
            many += 1;
            if many <= 20 {
                left.push(format!("handles of actor {actor} live {at}"));
            }
        }
        for task in owner.tasks() {
            many += 1;
            if many > 20 {
                continue;
            }
            let holds: u32 = task.slots().map(crate::object::Slot::holds).sum();
            left.push(match &task.what {
                What::Lifeline(actor) => format!("{holds} handles of actor {actor} live {at}"),
                _ if !task.is_done() => format!("{} is not done {at}: {}", task.describe(), task.explain()),
                _ if holds > 0 => format!("{} has {holds} refs {at}", task.describe()),
                _ => format!("{} is lent to other processes {at}", task.describe()),
            });
        }
    }
    if many > 20 {
        left.push(format!("and {} more tasks and objects {at}", many - 20));
    }
    let (lent, borrowed) = process.counts_left();
    if lent > 0 || borrowed > 0 {
        left.push(format!("{lent} objects are lent and {borrowed} borrowed {at}"));
    }
    if process.store.used() > 0 {
        let (used, mine) = (process.store.used(), process.store.mine());
        left.push(format!("{used} bytes are used of the object store {at}, {mine} by it itself"));
    }
    // What `available_resources` says there: it is told a moment after the raylets know it.
    let (total, free) = process.cluster_resources();
    if total != free {
        let taken = total.keys().filter(|name| total.get(*name) != free.get(*name)).cloned().collect::<Vec<_>>();
        left.push(format!("{} is not all free, as it is known {at}", taken.join(", ")));
    }
    let Some(RayletLink::Local(raylet)) = process.raylet.get() else { return };
    let RayletState { total, available, leases, queued, .. } = raylet.send(AskState).await.unwrap_or_default();
    if total != available {
        left.push(format!("{available} of {total} is available {at}, with {leases} leases"));
    }
    if queued > 0 {
        left.push(format!("{queued} lease requests wait {at}"));
    }
}
