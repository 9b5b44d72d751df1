//! Tests in a simulation.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

pub use actinic_transport::LinkFaults;

use crate::api::cluster::Cluster;
use crate::api::scope;
use crate::env::Env;
use crate::env::sim as env;
use crate::testing::cluster::World;
use crate::testing::run::{pending_in, start};
use crate::testing::{Node, TestCluster, TestOptions};

/// The simulation that a test runs in: its clock, and the faults of its network.
///
/// Everything of the test runs on one thread, in virtual time, and all chance comes from the seed, which a failing test
/// prints (`SEED=7`; replay it with `ACTINIC_SEED=7`, or `seed = 7`). Sync remote code has threads of its own, of which
/// one at a time runs, until it ends or waits in Actinic; so have functions of `tokio::task::spawn_blocking`. What a
/// simulation cannot do: real sockets and files, threads of the test's own, locks held while a remote call is waited for,
/// and `tokio::select!` without `biased`. A blocking call of a thread that the simulation does not know is refused; where a
/// thread waits for what cannot come, the test ends after as much real time as its `timeout` (at least 5 s, at most 60 s),
/// and says which.
///
/// ```no_run
/// use actinic::prelude::*;
/// use actinic::testing::LinkFaults;
///
/// #[actinic::remote]
/// fn nap() -> actinic::Result<()> { actinic::sleep(Duration::from_secs(600)).blocking() }
///
/// #[actinic::test(sim, seed = 7, timeout = 3600)]
/// async fn ten_minutes_pass_at_once(cluster: TestCluster) -> actinic::Result<()> {
///     let sim = cluster.sim();
///     sim.faults(LinkFaults { loss: 0.05, delay: Duration::from_millis(3), ..LinkFaults::default() });
///     let node = cluster.add_node().num_cpus(2).await?;
///     let nap = nap::options().scheduling(Scheduling::on(&node)).remote();
///     sim.partition(&[&node], &[&cluster.head()]);
///     actinic::sleep(Duration::from_secs(1)).await?;
///     sim.heal();
///     nap.await
/// }
/// ```
#[derive(Clone)]
pub struct Sim {
    world: Arc<env::World>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sim(seed {}, at {:?})", self.seed(), self.now())
    }
}

fn ips(nodes: &[&Node]) -> Vec<IpAddr> {
    nodes.iter().flat_map(|node| node.process().address().addrs).map(|addr| addr.ip()).collect()
}

impl Sim {
    pub(super) fn of(env: &Env) -> Option<Sim> {
        env.world().map(|world| Sim { world: Arc::clone(world) })
    }

    /// Its seed.
    pub fn seed(&self) -> u64 {
        self.world.seed()
    }

    /// The virtual time since it began.
    pub fn now(&self) -> Duration {
        self.world.now()
    }

    /// A number from the seed.
    pub fn random(&self) -> u64 {
        self.world.random() as u64
    }

    /// A hash over time, source, destination and size of every datagram so far: equal runs have equal ones.
    pub fn trace_hash(&self) -> u64 {
        self.world.net().trace_hash()
    }

    /// How many datagrams were sent so far, lost ones included.
    pub fn datagrams(&self) -> u64 {
        self.world.net().datagrams()
    }

    /// What every link does that has no faults of its own.
    pub fn faults(&self, faults: LinkFaults) {
        self.world.net().faults(faults);
    }

    /// What the link from one node to another does, in this direction.
    pub fn link(&self, from: &Node, to: &Node, faults: LinkFaults) {
        for from in ips(&[from]) {
            for to in ips(&[to]) {
                self.world.net().link(from, to, faults);
            }
        }
    }

    /// Nothing passes between a node of `a` and one of `b`, until [`heal`](Self::heal).
    pub fn partition(&self, a: &[&Node], b: &[&Node]) {
        self.world.net().partition(&ips(a), &ips(b));
    }

    /// Puts the machine of a [driver](TestCluster::driver) behind a translator of addresses: it hears only from whom it spoke
    /// to first, so that nobody can dial it.
    pub fn translate(&self, driver: &Cluster) {
        for addr in driver.owner().process.address().addrs {
            self.world.net().translate(addr.ip());
        }
    }

    /// Ends all partitions.
    pub fn heal(&self) {
        self.world.net().heal();
    }

    /// Takes a node's machine off the network for good: unlike after [`Node::kill`], nobody says that it is gone.
    pub fn unplug(&self, node: &Node) {
        for ip in ips(&[node]) {
            self.world.net().crash_machine(ip);
        }
    }
}

/// What is known of a test's cluster once it has started.
type Known = Arc<Mutex<Option<Arc<World>>>>;

fn pending(known: &Known) -> String {
    let world = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
    world.map_or_else(|| "  its cluster has not started".to_owned(), |world| pending_in(&world.processes()))
}

/// It stands still if nothing moves in it for as long, in real time, as it may take in virtual time.
fn watch(options: &TestOptions, known: &Known) -> env::Watch {
    const LEAST: Duration = Duration::from_secs(5);
    const MOST: Duration = Duration::from_secs(60);
    let known = Arc::clone(known);
    env::Watch {
        what: format!("the test at {}", options.place()),
        limit: options.timeout.clamp(LEAST, MOST),
        pending: Box::new(move || pending(&known)),
    }
}

/// Starts the cluster; what is spawned in the simulation is in its scope.
fn begin(options: TestOptions, known: &Known) -> (TestCluster, Duration, String) {
    let begun = start(options);
    *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun.0.world());
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        scope::add_runtime(&runtime, begun.0.owner());
    }
    begun
}

/// As [`run_test`](super::run_test), simulated.
pub(super) fn run<F, Fut, R>(seed: u64, options: TestOptions, test: F) -> R
where
    F: FnOnce(TestCluster) -> Fut,
    Fut: Future<Output = R>,
{
    let known = Known::default();
    let watch = watch(&options, &known);
    let done = env::watched(seed, watch, |_| async {
        let (cluster, timeout, place) = begin(options, &known);
        let _entered = scope::enter(cluster.owner());
        let mut test = std::pin::pin!(test(cluster));
        match tokio::time::timeout(timeout, &mut test).await {
            Ok(done) => done,
            // The test still holds what it waits for.
            Err(_) => late(&place, timeout, &pending(&known)),
        }
    });
    done.unwrap_or_else(|stuck| panic!("{stuck}"))
}

/// As [`run_test_sync`](super::run_test_sync), simulated.
pub(super) fn run_sync<F, R>(seed: u64, options: TestOptions, test: F) -> R
where
    F: FnOnce(TestCluster) -> R,
{
    let (timeout, place) = (options.timeout, options.place());
    let known = Known::default();
    let watch = watch(&options, &known);
    let left = Arc::new(OnceLock::new());
    let (watched, told) = (Arc::clone(&known), Arc::clone(&left));
    let body = |_: Env| {
        let (cluster, ..) = begin(options, &known);
        let _entered = scope::enter(&Arc::clone(cluster.owner()));
        test(cluster)
    };
    let late_at = move |done| async move {
        if tokio::time::timeout(timeout, done).await.is_err() {
            // Set once, here.
            let _ = told.set(pending(&watched));
        }
    };
    match env::run_sync(seed, watch, body, late_at) {
        Ok(Some(done)) => done,
        Ok(None) => late(&place, timeout, left.get().map_or("", String::as_str)),
        Err(stuck) => panic!("{stuck}"),
    }
}

fn late(place: &str, timeout: Duration, pending: &str) -> ! {
    panic!("the test at {place} was not done within {timeout:?} of virtual time; pending:\n{pending}")
}
