//! What a running call can know of itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use actinic_transport::NodeId;

use crate::api::error::Result;
use crate::api::handle::{Actor, Handle};
use crate::api::scope::{self, Enter};
use crate::ids::{ActorId, JobId, TaskId, WorkerId};
use crate::owner::Owner;
use crate::worker::host::{self, Current};

/// What surrounds the caller: its job, and inside a remote call its task, worker and actor.
///
/// # Panics
///
/// Outside of a cluster's scope; see [`try_context`].
pub fn context() -> Context {
    match try_context() {
        Ok(context) => context,
        Err(error) => panic!("{error}"),
    }
}

/// As [`context`].
///
/// # Errors
///
/// `Connection` outside of a cluster's scope.
pub fn try_context() -> Result<Context> {
    Ok(Context { current: host::current(), owner: scope::owner()? })
}

/// See [`context`].
#[derive(Clone)]
pub struct Context {
    current: Option<Current>,
    owner: Arc<Owner>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("job", &self.job_id())
            .field("node", &self.node_id())
            .field("task", &self.task_id())
            .field("actor", &self.actor_id())
            .finish()
    }
}

impl Context {
    /// Makes the job of this context the one that calls on this thread belong to, until the guard is dropped: for a
    /// thread that a task or an actor starts by itself. What tokio runs for async code (`tokio::spawn`,
    /// `spawn_blocking`) needs it not.
    ///
    /// ```
    /// use actinic::prelude::*;
    ///
    /// #[actinic::remote]
    /// fn one() -> i64 { 1 }
    ///
    /// #[actinic::remote]
    /// fn beside() -> actinic::Result<i64> {
    ///     let context = actinic::context();
    ///     let thread = std::thread::spawn(move || {
    ///         let _scope = context.enter();
    ///         one::remote().blocking()
    ///     });
    ///     thread.join().unwrap()
    /// }
    ///
    /// let cluster = actinic::init().num_cpus(2).blocking()?;
    /// assert_eq!(beside::remote().blocking()?, 1);
    /// cluster.shutdown().blocking()?;
    /// # Ok::<(), actinic::Error>(())
    /// ```
    pub fn enter(&self) -> Enter {
        scope::enter(&self.around())
    }

    /// Runs a future as [`enter`](Self::enter) runs a thread's code.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        scope::Scoped { owner: self.around(), future: Box::pin(future) }
    }

    /// The owner of what the call starts and does not run itself.
    fn around(&self) -> Arc<Owner> {
        let own = |owner: &Owner| owner.process.own(owner.job, Arc::clone(&owner.namespace));
        // A cluster that is being shut down has no other any more.
        own(&self.owner).unwrap_or_else(|_| Arc::clone(&self.owner))
    }

    /// The job.
    pub fn job_id(&self) -> JobId {
        self.owner.job
    }

    /// The node.
    pub fn node_id(&self) -> NodeId {
        self.owner.process.id.node
    }

    /// The worker; none in a driver.
    pub fn worker_id(&self) -> Option<WorkerId> {
        self.current.as_ref().map(|current| current.host.worker)
    }

    /// The task or actor call; none in a driver.
    pub fn task_id(&self) -> Option<TaskId> {
        self.current.as_ref().map(Current::task_id)
    }

    /// The task's name; none in a driver.
    pub fn task_name(&self) -> Option<String> {
        self.current.as_ref().map(|current| current.job.name())
    }

    /// The actor; none in a driver or a task.
    pub fn actor_id(&self) -> Option<ActorId> {
        self.current.as_ref().and_then(|current| current.host.actor())
    }

    /// A handle of the actor that runs this; none elsewhere, or if it is of another class.
    pub fn current_actor<A: Actor>(&self) -> Option<Handle<A>> {
        let id = self.actor_id()?;
        crate::api::handle::handle_here(&self.owner.process, id)
    }

    /// Where names of actors live unless they say otherwise.
    pub fn namespace(&self) -> &str {
        &self.owner.namespace
    }

    /// Which attempt of the task this is: 0 is the first.
    pub fn attempt(&self) -> u32 {
        self.current.as_ref().map_or(0, |current| current.job.attempt())
    }

    /// Whether the actor was made anew after its process or node died.
    pub fn was_reconstructed(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.host.run().is_some_and(|run| run.incarnation > 0))
    }

    /// The resources that the task asked for, or that the actor holds for life; empty in a driver.
    pub fn assigned_resources(&self) -> BTreeMap<String, f64> {
        let of_call = |current: &Current| {
            let actor = current.host.actor().and_then(|id| self.owner.process.actor(crate::actor::host::number(id)));
            actor.map_or_else(|| current.job.resources(), |actor| actor.spec.hold.to_map())
        };
        self.current.as_ref().map(of_call).unwrap_or_default()
    }

    /// The ids of the GPUs assigned; GPUs are counted, and not yet assigned one by one.
    pub fn gpu_ids(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Whether the task was cancelled: long sync code looks now and then, and returns.
    pub fn is_cancelled(&self) -> bool {
        self.current.as_ref().is_some_and(Current::is_given_up)
    }

    /// Finishes when the task is cancelled; never in a driver.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        let current = self.current.clone();
        async move {
            loop {
                if current.as_ref().is_some_and(Current::is_given_up) {
                    return;
                }
                if crate::sleep(std::time::Duration::from_millis(5)).await.is_err() {
                    // The cluster is gone, and with it whoever could cancel.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}
