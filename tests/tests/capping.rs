//! RES: how many that block are begun, of those that could be. In virtual time.

use std::sync::Mutex;
use std::time::Duration;

use actinic::prelude::*;
use actinic::testing::{TestCluster, eventually};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Lets those go who wait, as many as it is told; knows when they came.
pub struct Door {
    open: Semaphore,
    came: Mutex<Vec<Instant>>,
}

#[actinic::remote(num_cpus = 0)]
impl Door {
    pub fn new() -> Self {
        Door { open: Semaphore::new(0), came: Mutex::default() }
    }

    pub async fn pass(&self) {
        self.came.lock().unwrap().push(Instant::now());
        self.open.acquire().await.unwrap().forget();
    }

    pub async fn release(&self, count: usize) {
        self.open.add_permits(count);
    }

    /// Milliseconds from the first to each other.
    pub async fn came(&self) -> Vec<u64> {
        let came = self.came.lock().unwrap();
        came.iter().map(|at| at.duration_since(came[0]).as_millis() as u64).collect()
    }

    /// All go when so many are there.
    pub async fn meet(&self, count: usize) {
        self.came.lock().unwrap().push(Instant::now());
        if self.came.lock().unwrap().len() == count {
            self.open.add_permits(count);
        }
        self.open.acquire().await.unwrap().forget();
    }
}

#[actinic::remote]
fn passes(door: Handle<Door>) -> actinic::Result<()> {
    door.pass().blocking()
}

#[actinic::remote]
fn meets(door: Handle<Door>, count: usize) -> actinic::Result<()> {
    door.meet(count).blocking()
}

/// RES-07: of twenty that block, not all are begun within ten seconds; when nineteen may go, nineteen end.
#[actinic::test(sim, num_cpus = 1, timeout = 3600)]
async fn not_all_that_block_are_begun(cluster: TestCluster) -> actinic::Result<()> {
    let door = Door::remote();
    let tasks: Vec<_> = (0..20).map(|_| passes::remote(&door)).collect();
    actinic::sleep(Duration::from_secs(10)).await?;
    let begun = door.came().await?.len();
    assert!((2..20).contains(&begun), "{begun} are begun");
    door.release(19).await?;
    let (ended, rest) = actinic::wait(&tasks).num_returns(19).timeout(Duration::from_secs(600)).await?;
    assert_eq!((ended.len(), rest.len()), (19, 1));
    let (more, _) = actinic::wait(&rest).timeout(Duration::from_secs(10)).await?;
    assert!(more.is_empty(), "nobody let the last one go");
    door.release(1).await?;
    actinic::get(&tasks).await?;
    drop((tasks, ended, rest, more, door));
    cluster.idle().await
}

/// RES-09: six that meet all come, each further one later by about twice as much as the one before.
#[actinic::test(sim, num_cpus = 2, timeout = 3600)]
async fn each_further_one_that_blocks_begins_later(cluster: TestCluster) -> actinic::Result<()> {
    let door = Door::remote();
    let tasks: Vec<_> = (0..6).map(|_| meets::remote(&door, 6)).collect();
    let all = eventually(Duration::from_secs(600), async || door.came().await.is_ok_and(|came| came.len() == 6)).await;
    assert!(all, "they came after {:?} ms", door.came().await?);
    actinic::get(&tasks).await?;
    let came = door.came().await?;
    // Two have the CPUs; the third is the first that begins because others block.
    let gaps: Vec<u64> = came[2..].windows(2).map(|pair| pair[1] - pair[0]).collect();
    let doubled = |pair: &[u64]| pair[1] > pair[0] * 3 / 2 && pair[1] < pair[0] * 3;
    assert!(gaps.windows(2).all(doubled), "they came after {came:?} ms");
    drop((tasks, door));
    cluster.idle().await
}
