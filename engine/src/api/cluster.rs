//! Starting a cluster, or connecting to one.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use actinic_transport::{NodeId, PeerAddr};

use crate::api::error::{Error, Result};
use crate::api::named::ask_gcs;
use crate::api::op::{Op, check_may_block};
use crate::api::options::not_empty;
use crate::api::scope::{self, Enter};
use crate::env::Env;
use crate::owner::Owner;
use crate::protocol::{AskGcs, GcsAnswer, ToGcs, ToRaylet};
use crate::start::{self, NodeOptions, Place, Running};

/// What runs the tasks and actors of an embedded cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Workers {
    /// Threads of this process.
    #[default]
    Threads,
    /// Processes of their own: this program, started again.
    Processes,
}

impl Workers {
    /// What `ACTINIC_WORKERS` says.
    fn of_environment(env: &Env) -> Result<Workers> {
        match env.var("ACTINIC_WORKERS").as_deref() {
            None | Some("" | "threads") => Ok(Workers::Threads),
            Some("processes") => Ok(Workers::Processes),
            Some(other) => Err(Error::invalid_argument(format!("ACTINIC_WORKERS is {other:?}"))
                .remedy("set it to `threads` or `processes`, or unset it")),
        }
    }
}

/// Starts a cluster in this process, or connects to one: `ACTINIC_ADDRESS` if it is set, else embedded.
///
/// The environment says more, so that a program runs unchanged in each way: `ACTINIC_TOKEN` is the token of the cluster at that
/// address, and `ACTINIC_WORKERS`, `threads` or `processes`, what an embedded one runs its tasks and actors on where the
/// program does not say it.
///
/// ```
/// use actinic::prelude::*;
/// #[actinic::main]
/// async fn main() -> actinic::Result<()> {
///     let cluster = actinic::init().num_cpus(4).resource("disk", 1).await?;
///     assert_eq!(cluster.resources()["CPU"], 4.0);
///     cluster.shutdown().await
/// }
/// ```
///
/// # Errors
///
/// `InvalidArgument` for a second `init` in the scope of a cluster, `Connection`, `Unauthorized`, `VersionMismatch`.
pub fn init() -> Init {
    Init::default()
}

/// An `init` that was described and not begun.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is started until this is awaited, or `.blocking()` is called"]
pub struct Init {
    pub(crate) options: NodeOptions,
    /// Whether the program says what to run on.
    says_workers: bool,
    namespace: Option<String>,
    address: Option<String>,
    token: Option<String>,
    ignore_reinit: bool,
    separate: bool,
    pub(crate) log_level: Option<tracing::level_filters::LevelFilter>,
    error: Option<Error>,
    /// Whether something was said that only a new cluster can have.
    shaped: Option<&'static str>,
}

impl Init {
    /// What is wrong with a setting is the error of the start.
    pub(crate) fn refuse(&mut self, wrong: bool, why: impl FnOnce() -> String) {
        if wrong && self.error.is_none() {
            self.error =
                Some(Error::invalid_argument(why()).remedy("mend it where `init()` is called, or leave it out"));
        }
    }

    fn shape(&mut self, what: &'static str) {
        self.shaped.get_or_insert(what);
    }

    /// Logical CPUs of the node; default the machine's.
    pub fn num_cpus(mut self, amount: impl Into<f64>) -> Self {
        self.options.num_cpus = Some(amount.into());
        self.shape("num_cpus");
        self
    }

    /// Logical GPUs of the node; default those that NVIDIA's driver shows and `CUDA_VISIBLE_DEVICES` leaves.
    pub fn num_gpus(mut self, amount: impl Into<f64>) -> Self {
        self.options.num_gpus = Some(amount.into());
        self.shape("num_gpus");
        self
    }

    /// Bytes of memory to schedule by; default 60 % of what is available.
    pub fn memory(mut self, bytes: impl Into<f64>) -> Self {
        self.options.memory = Some(bytes.into());
        self.shape("memory");
        self
    }

    /// Some of a custom resource.
    pub fn resource(mut self, name: impl Into<String>, amount: impl Into<f64>) -> Self {
        self.options.resources.push((name.into(), amount.into()));
        self.shape("resource");
        self
    }

    /// A label of the node. Each has a key of its own.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        if let Err(error) = self.options.add_label(key.into(), value.into()) {
            self.error.get_or_insert(error);
        }
        self.shape("label");
        self
    }

    /// Bytes of the object store; default 30 % of what is available.
    ///
    /// All processes of the node count together what they keep of objects above 100 KiB: what they put, results, and copies
    /// of what lies on other nodes. A copy that one of them has of what another keeps counts once.
    pub fn object_store_memory(mut self, bytes: impl Into<f64>) -> Self {
        let bytes = bytes.into();
        if bytes.is_finite() && bytes >= 0.0 {
            self.options.object_store_memory = Some(bytes as u64);
        } else {
            self.error
                .get_or_insert(Error::invalid_argument(format!("object_store_memory: {bytes} is no amount of bytes")));
        }
        self.shape("object_store_memory");
        self
    }

    /// Where the job's actors' names live; default a namespace of its own.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        match not_empty("namespace", "a namespace", namespace.into()) {
            Ok(namespace) => self.namespace = Some(namespace),
            Err(error) => _ = self.error.get_or_insert(error),
        }
        self
    }

    /// Threads or processes; default what `ACTINIC_WORKERS` says, else threads.
    pub fn workers(mut self, workers: Workers) -> Self {
        self.options.processes = workers == Workers::Processes;
        self.says_workers = true;
        self.shape("workers");
        self
    }

    /// How much of what Actinic says of itself goes to the error stream: `"off"`, `"error"`, `"warn"` (the default),
    /// `"info"`, `"debug"` or `"trace"`; in workers too, unless they are a started cluster's, whose nodes say it. A program
    /// that has installed a `tracing` subscriber decides itself.
    pub fn log_level(mut self, level: impl Into<String>) -> Self {
        match crate::log::level(&level.into()) {
            Ok(level) => self.log_level = Some(level),
            Err(error) => _ = self.error.get_or_insert(error),
        }
        self
    }

    /// Where the dashboard is served: there is none yet, and this has no effect.
    pub fn dashboard(mut self, address: impl Into<String>) -> Self {
        let address = address.into();
        let wrong = crate::start::join::check(&address).is_err();
        self.refuse(wrong, || format!("dashboard: {address:?} is not HOST:PORT, as 127.0.0.1:8265 is"));
        self
    }

    /// Connects to a cluster: `"auto"` for the one that was started on this machine, or host and port.
    ///
    /// `"auto"` looks where the nodes of this machine keep their state: `ACTINIC_STATE_DIR`, or else `/tmp/actinic-UID`.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// The token of the cluster to connect to; default `ACTINIC_TOKEN`.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Whether a second `init` in the scope of a cluster returns that cluster.
    pub fn ignore_reinit(mut self) -> Self {
        self.ignore_reinit = true;
        self
    }

    /// Starts or connects to a cluster beside those that this program has: it is never the second `init` in a scope.
    ///
    /// A program with more than one cluster says with each call which is meant: [`Cluster::enter`] on a thread,
    /// [`Cluster::scope`] for a future. Refs and handles carry their cluster anyway; one that is given to another is
    /// refused.
    ///
    /// ```
    /// use actinic::prelude::*;
    ///
    /// #[actinic::remote]
    /// fn one() -> i64 { 1 }
    ///
    /// let first = actinic::init().num_cpus(1).blocking()?;
    /// let second = actinic::init().num_cpus(1).separate().blocking()?;
    /// let there = {
    ///     let _scope = second.enter();
    ///     one::remote()
    /// };
    /// assert_eq!(there.blocking()?, 1);
    /// second.shutdown().blocking()?;
    /// first.shutdown().blocking()?;
    /// # Ok::<(), actinic::Error>(())
    /// ```
    pub fn separate(mut self) -> Self {
        self.separate = true;
        self
    }

    /// Starts on the calling thread.
    ///
    /// # Errors
    ///
    /// Those of [`init`], and `InvalidArgument` on a thread of an async runtime.
    pub fn blocking(self) -> Result<Cluster> {
        // A worker process never returns from here, wherever it is called.
        crate::worker::entry::enter_if_worker();
        check_may_block()?;
        self.start()
    }

    /// What a cluster of a test's own is to be.
    pub(crate) fn for_test(self) -> Result<(NodeOptions, Option<String>)> {
        match self.error {
            Some(error) => Err(error),
            None => Ok((NodeOptions { log_level: self.log_level, ..self.options }, self.namespace)),
        }
    }

    /// What comes of it in the scope of a cluster.
    fn second(&self) -> Result<Option<Cluster>> {
        if self.separate {
            return Ok(None);
        }
        let Some(known) = scope::current()? else { return Ok(None) };
        if self.ignore_reinit {
            return Ok(Some(Cluster::guest(known)));
        }
        Err(Error::invalid_argument("init() was called twice: this is in the scope of a cluster already").remedy(
            "shut the first one down; or use `.ignore_reinit()` for another handle of it, or `.separate()` for a cluster \
             beside it, whose calls are made in `cluster.enter()` or `cluster.scope(future)`",
        ))
    }

    fn start(self) -> Result<Cluster> {
        crate::worker::entry::enter_if_worker();
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let mut options = self.options.clone();
        options.log_level = self.log_level;
        let env = Env::current();
        crate::log::install(self.log_level.unwrap_or_else(|| crate::log::default_level(&env)));
        if let Some(second) = self.second()? {
            return Ok(second);
        }
        let _turn = scope::turn();
        if let Some(second) = self.second()? {
            return Ok(second);
        }
        // An empty one is as none.
        let set = env.var("ACTINIC_ADDRESS").filter(|address| !address.is_empty());
        if let Some(address) = self.address.clone().or(set) {
            if let Some(what) = self.shaped {
                return Err(Error::invalid_argument(format!(
                    "{what} is for a new cluster, and this connects to {address}"
                ))
                .remedy("say it where the node is started, or do not give an address"));
            }
            return crate::start::connect::connect(env, &address, self.token, self.namespace);
        }
        if !self.says_workers {
            options.processes = Workers::of_environment(&env)? == Workers::Processes;
        }
        let place = Place::of(&env);
        Cluster::embedded(env, options, self.namespace, place)
    }
}

impl IntoFuture for Init {
    type Output = Result<Cluster>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Cluster>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start() })
    }
}

/// How others come to a cluster, as far as this process knows.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    /// Where its head listens.
    address: String,
    token: Option<String>,
}

impl Seat {
    fn of(running: &Running) -> Arc<Seat> {
        Arc::new(Seat {
            address: running.gcs.addrs.first().map(ToString::to_string).unwrap_or_default(),
            token: running.token.as_ref().map(ToString::to_string),
        })
    }

    /// In a worker, which has no token.
    pub(crate) fn of_worker(gcs: &PeerAddr) -> Arc<Seat> {
        let address = gcs.addrs.first().map(ToString::to_string).unwrap_or_default();
        Arc::new(Seat { address, token: None })
    }
}

/// A cluster that this process started or is connected to.
///
/// Dropping it shuts it down, as [`Cluster::shutdown`] does, without waiting.
#[must_use = "dropping a cluster shuts it down"]
pub struct Cluster {
    owner: Arc<Owner>,
    seat: Arc<Seat>,
    running: Mutex<Option<Running>>,
    /// Whether this handle ends what it names.
    ends: bool,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({})", self.owner.process.id.cluster)
    }
}

/// A node of the cluster.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Its id.
    pub id: NodeId,
    /// Whether it lives.
    pub alive: bool,
    /// Whether the GCS lives there.
    pub head: bool,
    /// The machine's name.
    pub hostname: String,
    /// Where it listens: host and port, as in `10.0.0.7:6379`.
    pub address: String,
    /// All that it has; `memory` and `object_store_memory` in bytes, the rest in units of its own.
    pub resources: BTreeMap<String, f64>,
    /// What is free, in the same units.
    pub available: BTreeMap<String, f64>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How long before the GCS gave this answer the node's last sign of life had come.
    ///
    /// A node that lives, the head too, tells the GCS so every second, and whenever what is free on it has changed; 5 s
    /// without a sign are death. Of a dead node it grows on. Just after the GCS's machine slept it may count the sleep.
    pub heard: Duration,
}

impl From<&NodeInfo> for NodeId {
    fn from(node: &NodeInfo) -> NodeId {
        node.id
    }
}

impl From<NodeInfo> for NodeId {
    fn from(node: NodeInfo) -> NodeId {
        node.id
    }
}

/// The GCS's rows as people see them.
pub(crate) fn node_infos(answer: GcsAnswer) -> Result<Vec<NodeInfo>> {
    let GcsAnswer::Nodes(rows, views, heard) = answer else {
        return Err(Error::connection("the GCS answered something else"));
    };
    let available = |node: NodeId| views.iter().find(|view| view.node == node).map(|view| &view.available);
    let info = |(row, heard): (crate::protocol::NodeRow, Duration)| NodeInfo {
        id: row.id,
        alive: row.state.is_up(),
        head: row.head,
        hostname: row.hostname.clone(),
        address: row.addrs.first().map(ToString::to_string).unwrap_or_default(),
        resources: row.total.to_map(),
        available: available(row.id).map(|set| set.to_map_of(&row.total)).unwrap_or_default(),
        labels: row.labels.clone(),
        heard,
    };
    Ok(rows.into_iter().zip(heard).map(info).collect())
}

impl Cluster {
    pub(crate) fn embedded(env: Env, options: NodeOptions, namespace: Option<String>, place: Place) -> Result<Cluster> {
        let running = start::head(env, options, place, None, None)?;
        if let Some(raylet) = &running.raylet {
            // What this process runs, also where the file has been replaced since it started.
            raylet.do_send(crate::raylet::DefaultProgram("/proc/self/exe".into()));
        }
        Ok(Cluster::of(running, namespace))
    }

    pub(crate) fn of(running: Running, namespace: Option<String>) -> Cluster {
        let owner = start::begin_job(&running.process, namespace);
        let seat = Seat::of(&running);
        scope::add(Arc::clone(&owner), Arc::clone(&seat));
        Cluster { owner, seat, running: Mutex::new(Some(running)), ends: true }
    }

    /// A test's cluster, or a further driver of one: only its scope finds it.
    pub(crate) fn of_test(running: Running, namespace: Option<String>) -> Cluster {
        if let Some(raylet) = &running.raylet {
            raylet.do_send(crate::raylet::DefaultProgram("/proc/self/exe".into()));
        }
        let owner = start::begin_job(&running.process, namespace);
        let seat = Seat::of(&running);
        scope::add_test(Arc::clone(&owner), Arc::clone(&seat));
        Cluster { owner, seat, running: Mutex::new(Some(running)), ends: true }
    }

    fn guest((owner, seat): (Arc<Owner>, Arc<Seat>)) -> Cluster {
        Cluster { owner, seat, running: Mutex::new(None), ends: false }
    }

    pub(crate) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    pub(crate) fn with_running<R>(&self, look: impl FnOnce(Option<&Running>) -> R) -> R {
        look(self.running.lock().unwrap_or_else(PoisonError::into_inner).as_ref())
    }

    /// Everything that the cluster's nodes have: `CPU`, `GPU`, `memory`, `object_store_memory`, `node:<ip>`, custom.
    ///
    /// `memory` and `object_store_memory` are bytes; of `CPU`, `GPU` and custom resources there is so many or so much, in
    /// steps of a ten-thousandth; each node has one of its `node:<ip>`.
    pub fn resources(&self) -> BTreeMap<String, f64> {
        self.owner.process.cluster_resources().0
    }

    /// What is free now, in the units of [`Cluster::resources`].
    pub fn available_resources(&self) -> BTreeMap<String, f64> {
        self.owner.process.cluster_resources().1
    }

    /// The nodes, dead ones included.
    ///
    /// # Errors
    ///
    /// `Connection` if the GCS does not answer.
    pub fn nodes(&self) -> Op<Vec<NodeInfo>> {
        let process = Arc::clone(&self.owner.process);
        Op::new(async move { node_infos(ask_gcs(&process, AskGcs::Nodes).await?) })
    }

    /// Where the cluster's head listens.
    pub fn address(&self) -> String {
        self.seat.address.clone()
    }

    /// The token that lets programs and nodes join, if this process may know it.
    pub fn token(&self) -> Option<String> {
        self.seat.token.clone()
    }

    /// Where the dashboard is; none is served by an embedded cluster.
    pub fn dashboard_url(&self) -> Option<String> {
        None
    }

    /// Makes this cluster the one that calls on this thread go to, until the guard is dropped.
    pub fn enter(&self) -> Enter {
        scope::enter(&self.owner)
    }

    /// Runs a future in this cluster's scope.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        scope::Scoped { owner: Arc::clone(&self.owner), future: Box::pin(future) }
    }

    /// Ends the cluster if this process started it, else leaves it; waits until nothing is left.
    ///
    /// # Errors
    ///
    /// None today; what cannot be ended cleanly is ended anyway.
    pub fn shutdown(self) -> Op<()> {
        Op::new(async move {
            if let Some(mut running) = self.leave() {
                running.ask_stop();
                if let Some(ended) = running.take_ended() {
                    std::future::poll_fn(|cx| if ended.poll(cx.waker()) { Poll::Ready(()) } else { Poll::Pending })
                        .await;
                }
            }
            Ok(())
        })
    }

    /// Ends the job; what remains is to stop the process.
    pub(crate) fn leave(&self) -> Option<Running> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        scope::remove(&self.owner);
        if self.ends {
            let process = &self.owner.process;
            self.owner.die("its driver has shut down");
            process.tell_all_events();
            process.tell_raylet(process.id.node, ToRaylet::JobEnded { job: self.owner.job });
            process.tell_gcs(ToGcs::JobEnded { job: self.owner.job });
        }
        Some(running)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut running) = self.leave() {
            running.ask_stop();
        }
    }
}

/// Sleeps, in the time that the cluster lives in: virtual in a simulation.
///
/// # Errors
///
/// `Connection` outside of a cluster's scope, and if the cluster is shut down meanwhile; with [`Op::blocking`] also
/// `TaskCancelled` in a call that is cancelled.
pub fn sleep(time: Duration) -> Op<()> {
    let owner = match scope::owner() {
        Ok(owner) => owner,
        Err(error) => return Op::ready(Err(error)),
    };
    Op::of_event(async move {
        let (tell, hear) = tokio::sync::oneshot::channel();
        owner.process.spawn(async move {
            tokio::time::sleep(time).await;
            let _ = tell.send(());
        });
        hear.await.map_err(|_| Error::connection("the cluster was shut down"))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    /// A cluster that was shut down leaves nothing: what holds its process would hold descriptors and memory too.
    #[test]
    #[allow(clippy::disallowed_methods)] // real threads end in real time
    fn a_cluster_that_was_shut_down_is_gone() {
        let cluster = crate::init().num_cpus(1).blocking().unwrap();
        let process = Arc::downgrade(&cluster.owner().process);
        cluster.shutdown().blocking().unwrap();
        let begun = Instant::now();
        while process.strong_count() > 0 && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(process.strong_count(), 0, "somebody holds the process");
    }
}
