//! What is alive in a test's cluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api::cluster::Cluster;
use crate::api::error::Result;
use crate::api::named::all_actors;
use crate::gcs::core::ActorState;
use crate::ids::{ActorId, ObjectId};
use crate::task::What;
use crate::testing::cluster::World;

/// What is alive in a test's cluster, as its owners, stores and GCS say: see [`TestCluster::alive`].
///
/// What a worker process owns is not seen from here, nor what lies in it; with workers on threads, everything is.
///
/// [`TestCluster::alive`]: super::TestCluster::alive
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alive {
    /// The objects that their owners keep, of any size: what a ref anywhere leads to, and the results of calls that have
    /// not ended. What an owner made that is dead has no value any more, and is left out.
    pub objects: BTreeSet<ObjectId>,
    /// The objects above the inline limit that lie in a process, copies included.
    pub stored: BTreeSet<ObjectId>,
    /// The actors that are not dead.
    pub actors: BTreeSet<ActorId>,
}

pub(super) async fn alive(cluster: &Cluster, world: &World) -> Result<Alive> {
    let mut alive = Alive::default();
    let head = Arc::clone(&cluster.owner().process);
    let rows = all_actors(&head).await?;
    let living = rows.iter().filter(|row| row.state != ActorState::Dead);
    alive.actors.extend(living.map(|row| row.spec.id));
    for process in world.processes() {
        alive.stored.extend(process.large_objects());
        for owner in process.owners().iter().filter(|owner| !owner.is_dead()) {
            for task in owner.tasks() {
                if matches!(task.what, What::Lifeline(_) | What::Ready(_)) {
                    continue;
                }
                let all = || (0..task.returns()).map(|index| ObjectId { task: task.id(), index });
                let before = alive.objects.len();
                alive.objects.extend(all().filter(|id| !task.is_done() || owner.wants(&task, id.index)));
                if alive.objects.len() == before && !owner.keeps_for_lineage(&task) {
                    // A record that nobody wants and nobody took out.
                    alive.objects.extend(all());
                }
            }
        }
    }
    Ok(alive)
}
