//! A test's cluster: its head, further nodes, further drivers, and its workers' ends.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actinic_transport::{Net, NodeId, SimNet};

use crate::api::cluster::Cluster;
use crate::api::error::{Error, Result};
use crate::api::handle::{Actor, Handle};
use crate::api::named::all_actors;
use crate::api::op::{Op, block_on, check_may_block};
use crate::api::options::{IntoCount, not_empty};
use crate::env::Env;
use crate::ids::WorkerId;
use crate::process::Process;
use crate::raylet::{EndWorker, RayletLink};
use crate::start::{self, NodeOptions, Place, Running, Starting};
use crate::testing::node::JOINED;
use crate::testing::{Alive, Losses, Message, Node, Sim, TestOptions};
use crate::worker::host::WaitsFor;

/// A cluster of a test's own; it derefs to [`Cluster`].
#[derive(Debug)]
pub struct TestCluster {
    cluster: Arc<Cluster>,
    world: Arc<World>,
}

/// What the nodes of a test share.
pub(super) struct World {
    env: Env,
    /// Datagrams in memory; real ones if the workers are processes.
    net: Option<SimNet>,
    next_ip: AtomicU16,
    nodes: Mutex<Vec<Node>>,
    drivers: Mutex<Vec<Arc<Process>>>,
    /// What is to be lost, where datagrams are in memory.
    losses: Option<Arc<Losses>>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("nodes", &self.nodes()).finish_non_exhaustive()
    }
}

impl World {
    /// Where the next process of the cluster listens.
    fn place(&self) -> Place {
        match &self.net {
            None => Place::loopback(),
            Some(net) => {
                let [third, fourth] = self.next_ip.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                let ip = IpAddr::V4(Ipv4Addr::new(10, 0, third, fourth));
                Place { net: Net::Sim(net.clone()), listen: SocketAddr::new(ip, 7000) }
            }
        }
    }

    /// Lets the messages of a new process be lost.
    fn watch(&self, process: &Process) {
        if let Some(losses) = &self.losses {
            // A new process: nobody else sets it.
            let _ = process.losses.set(Arc::clone(losses));
        }
    }

    fn nodes(&self) -> Vec<Node> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether nothing that one of these says comes to the other now, as a test wants it.
    fn is_cut(&self, from: &Process, to: &Process) -> bool {
        let at = |process: &Process| process.address().addrs.first().copied();
        match (&self.net, at(from), at(to)) {
            (Some(net), Some(from), Some(to)) => from != to && net.is_cut(from, to),
            _ => false,
        }
    }

    /// Ends a worker of any node; whether there is one of that id.
    fn end_worker(&self, worker: WorkerId) -> impl Future<Output = bool> + Send + 'static {
        let processes = self.processes();
        let thread = processes.iter().any(|process| process.end_thread_worker(worker));
        // Sent now, whether or not somebody waits for the answers.
        let asked: Vec<_> = processes
            .iter()
            .filter_map(|process| match process.raylet.get() {
                Some(RayletLink::Local(raylet)) if !thread => Some(raylet.send(EndWorker(worker))),
                _ => None,
            })
            .collect();
        async move {
            let mut found = thread;
            for answer in asked {
                found |= answer.await.unwrap_or(false);
            }
            found
        }
    }

    /// Ends all of it: whatever waits for something of it hears this, or that the cluster is gone.
    pub(super) fn give_up(&self, error: &Error) {
        let processes = self.processes();
        for owner in processes.iter().flat_map(|process| process.owners()) {
            owner.die_of(error.clone());
        }
        for process in processes {
            process.ask_end();
        }
    }

    /// Every process of the cluster that lives in this one: the head first.
    pub(super) fn processes(&self) -> Vec<Arc<Process>> {
        let nodes = self.nodes();
        let nodes = nodes.iter().map(|node| Arc::clone(node.process()));
        let drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        nodes.chain(drivers).filter(|process| !process.is_closing()).collect()
    }
}

impl Deref for TestCluster {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        for node in self.world.nodes() {
            node.drop_running();
        }
    }
}

impl TestCluster {
    pub(super) fn start(options: TestOptions) -> Result<TestCluster> {
        let (mut options, namespace) = options.init.for_test()?;
        options.early = options.processes;
        let env = Env::current();
        if options.processes && env.world().is_some() {
            return Err(Error::invalid_argument("worker processes cannot be simulated")
                .remedy("leave out `sim`, or `workers = \"processes\"`"));
        }
        let simulated = env.world().map(|world| world.net().clone());
        let net = simulated.or_else(|| (!options.processes).then(SimNet::live));
        let world = World {
            env: env.clone(),
            net: net.clone(),
            next_ip: AtomicU16::new(1),
            nodes: Mutex::default(),
            drivers: Mutex::default(),
            losses: net.clone().map(|net| Arc::new(Losses::new(net))),
        };
        let running = start::head(env, options, world.place(), None, None)?;
        world.watch(&running.process);
        let cluster = Arc::new(Cluster::of_test(running, namespace));
        world.nodes.lock().unwrap_or_else(PoisonError::into_inner).push(Node::head(&cluster, net));
        Ok(TestCluster { cluster, world: Arc::new(world) })
    }

    /// The node that the GCS lives on, and the test's driver.
    pub fn head(&self) -> Node {
        Node::head(&self.cluster, self.world.net.clone())
    }

    pub(super) fn world(&self) -> Arc<World> {
        Arc::clone(&self.world)
    }

    /// The simulation that the test runs in.
    ///
    /// # Panics
    ///
    /// If it runs in none.
    pub fn sim(&self) -> Sim {
        match Sim::of(&self.world.env) {
            Some(sim) => sim,
            None => panic!("this test is not simulated: write `#[actinic::test(sim)]`"),
        }
    }

    /// The nodes that were added, dead ones included, after the head.
    pub fn test_nodes(&self) -> Vec<Node> {
        self.world.nodes()
    }

    /// Another node: describe it, then await it.
    pub fn add_node(&self) -> AddNode {
        let options = NodeOptions {
            processes: self.world.net.is_none(),
            early: self.world.net.is_none(),
            object_store_memory: Some(self.owner().process.store.capacity()),
            // A test means the same on every machine.
            num_gpus: Some(0.0),
            ..NodeOptions::default()
        };
        AddNode { cluster: Arc::clone(&self.cluster), world: Arc::clone(&self.world), options, error: None }
    }

    /// Another job's `init` on this cluster, from an endpoint of its own.
    pub fn driver(&self) -> Driver {
        Driver { cluster: Arc::clone(&self.cluster), world: Arc::clone(&self.world), namespace: None }
    }

    /// Ends a worker as SIGKILL would, in thread mode too. It ends at the call; awaiting this waits until it has.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if no node of the cluster has that worker.
    pub fn kill_worker(&self, worker: WorkerId) -> Op<()> {
        let ended = self.world.end_worker(worker);
        Op::new(async move {
            if ended.await {
                return Ok(());
            }
            Err(Error::invalid_argument(format!("no node of this cluster has a worker {worker}")))
        })
    }

    /// Ends the worker of an actor as SIGKILL would; the actor restarts if it may.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the actor lives in no worker now, `Connection` if the GCS does not answer.
    pub fn crash_actor<A: Actor>(&self, actor: &Handle<A>) -> Op<()> {
        let id = Handle::id(actor);
        let process = Arc::clone(&self.owner().process);
        let world = Arc::clone(&self.world);
        Op::new(async move {
            let rows = all_actors(&process).await?;
            let row = rows.into_iter().find(|row| row.spec.id == id);
            let Some(worker) = row.and_then(|row| row.seat.map(|seat| seat.worker)) else {
                return Err(Error::invalid_argument(format!("actor {id} lives in no worker now")));
            };
            if world.end_worker(worker).await {
                return Ok(());
            }
            Err(Error::invalid_argument(format!("worker {worker} of actor {id} has ended already")))
        })
    }

    /// Loses the next `count` messages of a kind, from now on, between any two processes of the cluster: the datagram
    /// that carries one is dropped, and what was in it comes late and once, as over any network that loses.
    ///
    /// What stays within one process is no message. It begins with the call, whether this is awaited or not.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` where nodes use real datagrams, and for what is no count.
    pub fn lose(&self, message: Message, count: impl IntoCount) -> Op<()> {
        let count = count.into_count().and_then(|count| u32::try_from(count).ok());
        Op::ready(match (&self.world.losses, count) {
            (Some(losses), Some(count)) => {
                losses.add(message, count);
                Ok(())
            }
            (Some(_), None) => Err(Error::invalid_argument("lose: this is no number of messages")),
            (None, _) => Err(Error::invalid_argument("messages over real datagrams cannot be lost")
                .remedy("leave `workers = \"processes\"` out, so that the nodes' datagrams stay in memory")),
        })
    }

    /// Waits until everything is free again: all resources available, no task, ref, borrower or actor left.
    ///
    /// # Errors
    ///
    /// What is not free after ten seconds.
    pub fn idle(&self) -> Op<()> {
        let world = Arc::clone(&self.world);
        let cluster = Arc::clone(&self.cluster);
        Op::new(async move { super::idle::idle(&cluster, &world).await })
    }

    /// What is alive now, by the counts of those who own it. What was let go a moment ago may still be there: ask
    /// [`eventually`](crate::testing::eventually()).
    ///
    /// # Errors
    ///
    /// `Connection` if the GCS does not answer.
    pub fn alive(&self) -> Op<Alive> {
        let world = Arc::clone(&self.world);
        let cluster = Arc::clone(&self.cluster);
        Op::new(async move { super::alive::alive(&cluster, &world).await })
    }

    /// Ends the cluster, and waits until nothing is left of it.
    ///
    /// # Errors
    ///
    /// Those of [`Cluster::shutdown`].
    pub fn shutdown(self) -> Op<()> {
        Op::new(async move {
            for node in self.world.nodes().into_iter().skip(1) {
                node.stop().await?;
            }
            self.head().stop().await
        })
    }
}

/// A node that was described and not started.
#[derive(Debug)]
#[must_use = "the node is started when this is awaited, or `.blocking()` is called"]
pub struct AddNode {
    cluster: Arc<Cluster>,
    world: Arc<World>,
    options: NodeOptions,
    error: Option<Error>,
}

impl AddNode {
    /// Logical CPUs; default the machine's.
    pub fn num_cpus(mut self, amount: impl Into<f64>) -> Self {
        self.options.num_cpus = Some(amount.into());
        self
    }

    /// Logical GPUs; default 0.
    pub fn num_gpus(mut self, amount: impl Into<f64>) -> Self {
        self.options.num_gpus = Some(amount.into());
        self
    }

    /// Bytes of memory to schedule by.
    pub fn memory(mut self, bytes: impl Into<f64>) -> Self {
        self.options.memory = Some(bytes.into());
        self
    }

    /// Some of a custom resource.
    pub fn resource(mut self, name: impl Into<String>, amount: impl Into<f64>) -> Self {
        self.options.resources.push((name.into(), amount.into()));
        self
    }

    /// A label. Each has a key of its own.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        if let Err(error) = self.options.add_label(key.into(), value.into()) {
            self.error.get_or_insert(error);
        }
        self
    }

    /// Bytes of the object store; default as the head's.
    pub fn object_store_memory(mut self, bytes: impl Into<f64>) -> Self {
        let bytes = bytes.into();
        if bytes.is_finite() && bytes >= 0.0 {
            self.options.object_store_memory = Some(bytes as u64);
        } else {
            self.error
                .get_or_insert(Error::invalid_argument(format!("object_store_memory: {bytes} is no amount of bytes")));
        }
        self
    }

    fn start(self) -> Result<Node> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let env = self.world.env.clone();
        let (authority, token, gcs) = self.cluster.with_running(|running| {
            let running = running.ok_or_else(|| Error::connection("the head has ended"))?;
            let authority = running.authority.clone().ok_or_else(|| Error::connection("the head has no authority"))?;
            Ok::<_, Error>((authority, running.token.clone(), running.gcs.clone()))
        })?;
        let id = NodeId(env.uuid());
        let node = authority.node(id).map_err(|error| Error::unauthorized(error.to_string()))?;
        let running = start::node(env, self.options, self.world.place(), node, token, gcs)?;
        default_program(&running);
        self.world.watch(&running.process);
        let node = Node::own(running, self.world.net.clone());
        self.world.nodes.lock().unwrap_or_else(PoisonError::into_inner).push(node.clone());
        Ok(node)
    }

    /// Starts it on the calling thread, and waits until the cluster knows it.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for what it cannot have and on a thread of an async runtime, `Connection` if it cannot start.
    pub fn blocking(self) -> Result<Node> {
        check_may_block()?;
        let world = Arc::clone(&self.world);
        let node = self.start()?;
        let joined = joined(&world, &node);
        if super::eventually_blocking(JOINED, joined) { Ok(node) } else { Err(not_joined(&node)) }
    }
}

impl IntoFuture for AddNode {
    type Output = Result<Node>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Node>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let world = Arc::clone(&self.world);
            let node = self.start()?;
            let mut joined = joined(&world, &node);
            for _ in 0..JOINED.as_millis() {
                if joined() {
                    return Ok(node);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(not_joined(&node))
        })
    }
}

fn not_joined(node: &Node) -> Error {
    Error::connection(format!("node {} was not known to every node within {JOINED:?}", node.id()))
}

/// Whether all live nodes that the head can reach know each other's resources.
fn joined(world: &Arc<World>, node: &Node) -> impl FnMut() -> bool + Send + use<> {
    let (world, id) = (Arc::clone(world), node.id());
    let me = Arc::clone(node.process());
    move || {
        let mut nodes = world.nodes();
        // One that the head knows no more is dead, whatever it thinks itself.
        let head = nodes.first().map(|node| Arc::clone(node.process()));
        let lost = |node: &Node| {
            let of_head = |head: &Arc<Process>| !head.knows_node(node.id()) || world.is_cut(head, node.process());
            head.as_ref().is_some_and(of_head)
        };
        nodes.retain(|node| node.id() == id || !(node.process().is_closing() || lost(node)));
        nodes.iter().all(|node| node.process().knows_node(id) && me.knows_node(node.id()))
    }
}

/// Workers of jobs that name no program of their own are this program.
fn default_program(running: &start::Running) {
    if let Some(raylet) = &running.raylet {
        raylet.do_send(crate::raylet::DefaultProgram("/proc/self/exe".into()));
    }
}

/// Another job's `init`, described and not begun.
#[derive(Debug)]
#[must_use = "the driver connects when this is awaited, or `.blocking()` is called"]
pub struct Driver {
    cluster: Arc<Cluster>,
    world: Arc<World>,
    namespace: Option<String>,
}

impl Driver {
    /// Where the job's actors' names live; default a namespace of its own.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Connects on the calling thread.
    ///
    /// # Errors
    ///
    /// `Connection` if the head has ended, and `InvalidArgument` on a thread of an async runtime.
    pub fn blocking(self) -> Result<Cluster> {
        check_may_block()?;
        block_on(Box::pin(self.connect()), WaitsFor::Word)?
    }

    async fn connect(self) -> Result<Cluster> {
        let env = self.world.env.clone();
        let running = self.begin()?.ready(&env).await?;
        Ok(self.join(running))
    }

    fn begin(&self) -> Result<Starting> {
        if let Some(namespace) = &self.namespace {
            not_empty("namespace", "a namespace", namespace.clone())?;
        }
        let env = self.world.env.clone();
        let (authority, gcs) = self.cluster.with_running(|running| {
            let running = running.ok_or_else(|| Error::connection("the head has ended"))?;
            let authority = running.node_authority.as_ref().map(|authority| authority.issue(env.uuid()));
            let authority = authority.ok_or_else(|| Error::connection("the head signs nobody"))?;
            Ok::<_, Error>((authority, running.gcs.clone()))
        })?;
        let identity = authority.map_err(|error| Error::unauthorized(error.to_string()))?;
        start::driver(env, self.world.place(), identity, gcs.clone(), Some(gcs))
    }

    fn join(self, running: Running) -> Cluster {
        let process = Arc::clone(&running.process);
        self.world.watch(&process);
        let mut drivers = self.world.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        drivers.retain(|driver| !driver.is_closing());
        drivers.push(process);
        drop(drivers);
        Cluster::of_test(running, self.namespace)
    }
}

impl IntoFuture for Driver {
    type Output = Result<Cluster>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Cluster>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.connect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_of_many_processes_has_a_place_of_its_own() {
        let world = World {
            env: Env::real(),
            net: Some(SimNet::live()),
            next_ip: AtomicU16::new(1),
            nodes: Mutex::default(),
            drivers: Mutex::default(),
            losses: None,
        };
        let places: BTreeSet<SocketAddr> = (0..1_000).map(|_| world.place().listen).collect();
        assert_eq!(places.len(), 1_000);
    }
}
