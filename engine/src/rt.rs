//! What the macros' expansions use; not for people.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use serde::Serialize;

pub use crate::__actinic_actor_setters as actor_setters;
pub use crate::__actinic_task_setters as task_setters;
use crate::actor::client::Client;
pub use crate::api::cluster::Workers;
pub use crate::api::error::{Error, Result};
pub use crate::api::handle::{Actor, Handle};
pub use crate::api::into_arg::IntoArg;
pub use crate::api::messages::RemoteHandler;
pub use crate::api::object_ref::ObjectRef;
pub use crate::api::options::*;
pub use crate::api::private_method::{Returned, Returning, Taking};
use crate::api::scope;
pub use crate::api::{error_kind, private_method};
pub use crate::call::*;
use crate::object::{RawRef, Resolved};
use crate::owner::Owner;
pub use crate::program::*;
use crate::raylet::Shape;
use crate::resources::ResourceSet;
use crate::task::{Meta, Task, What};
pub use crate::testing::{TestCluster, TestOptions, run_test, run_test_sync};
use crate::worker::host;
pub use actix;
pub use linkme;

/// A `Result`, whatever it is called.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `std::result::Result`",
    note = "a return type called `Result` is unwrapped: rename the type, or use an alias, which is taken literally"
)]
pub trait IsResult {
    /// What it is if all went well.
    type Ok;
    /// What it is if not.
    type Err;
    /// The result itself.
    ///
    /// # Errors
    ///
    /// As it is.
    fn into_result(self) -> std::result::Result<Self::Ok, Self::Err>;
}

impl<T, E> IsResult for std::result::Result<T, E> {
    type Ok = T;
    type Err = E;
    fn into_result(self) -> Self {
        self
    }
}

/// Marks an error as worth another attempt, or not.
pub fn retryable(error: Error, yes: bool) -> Error {
    error.wants_retry(yes)
}

/// A submitted call, before it is known what its refs are of.
pub struct Submitted {
    kind: Kind,
}

enum Kind {
    Task(Arc<Task>, u32),
    /// There is no cluster to submit to: the refs have only their error.
    Failed(Box<Error>, u32),
}

impl std::fmt::Debug for Submitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Submitted")
    }
}

impl Submitted {
    pub(crate) fn new(task: Arc<Task>, returns: u32) -> Submitted {
        Submitted { kind: Kind::Task(task, returns) }
    }

    pub(crate) fn failed(error: Error, returns: NumReturns) -> Submitted {
        let count = match returns {
            NumReturns::Fixed(count) => count,
            NumReturns::PerCall => 1,
        };
        Submitted { kind: Kind::Failed(Box::new(error), count) }
    }

    fn refs(self) -> Vec<RawRef> {
        match self.kind {
            Kind::Task(task, returns) => {
                let refs = (0..returns).map(|index| RawRef::adopt(Arc::clone(&task), index)).collect();
                if returns == 0 {
                    // The one slot that every task has is nobody's.
                    drop(RawRef::adopt(task, 0));
                }
                refs
            }
            Kind::Failed(error, count) => (0..count.max(1)).map(|_| failed_ref((*error).clone())).collect(),
        }
    }

    /// The ref of the one return.
    pub fn one<T>(self) -> ObjectRef<T> {
        match self.kind {
            Kind::Task(task, _) => ObjectRef::new(RawRef::adopt(task, 0)),
            Kind::Failed(error, _) => ObjectRef::new(failed_ref(*error)),
        }
    }

    /// No ref.
    pub fn none(self) {
        drop(self.refs());
    }

    /// The refs of all returns.
    pub fn many<T>(self) -> Vec<ObjectRef<T>> {
        self.refs().into_iter().map(ObjectRef::new).collect()
    }
}

/// A ref that failed before there was a cluster to ask.
pub(crate) fn failed_ref(error: Error) -> RawRef {
    let owner = nowhere();
    let task =
        Task::resolved(Arc::clone(&owner), What::Put, Arc::clone(&owner.process.put_meta), Resolved::Error(error), 1);
    RawRef::adopt(task, 0)
}

/// An owner of its own for what belongs to no cluster: it has no network, no workers and no threads.
fn nowhere() -> Arc<Owner> {
    static NOWHERE: std::sync::OnceLock<Arc<Owner>> = std::sync::OnceLock::new();
    Arc::clone(NOWHERE.get_or_init(crate::process::nowhere))
}

pub(crate) fn orphan_client(entry: &'static ActorEntry, error: Error) -> Arc<Client> {
    let limits = crate::actor::client::ClientLimits {
        max_concurrency: 1,
        max_pending: -1,
        max_task_retries: 0,
        task_events: true,
    };
    let process = Arc::clone(&nowhere().process);
    let id = crate::ids::ActorId(process.env.uuid());
    let client = Client::new(id, entry, process, limits, None);
    client.die(error);
    client
}

/// A tuple of results, one ref each.
pub trait Split {
    /// The tuple of refs.
    type Refs;
    /// How many.
    const COUNT: usize;
    /// Splits a submitted call.
    fn refs(submitted: Submitted) -> Self::Refs;
    /// Encodes the results.
    ///
    /// # Errors
    ///
    /// `Serialization` if one cannot be encoded.
    fn returns(self) -> Outcome;
}

macro_rules! split {
    ($($count:literal: $($name:ident)*;)*) => {$(
        impl<$($name: Serialize),*> Split for ($($name,)*) {
            type Refs = ($(ObjectRef<$name>,)*);
            const COUNT: usize = $count;

            #[allow(unused_mut, unused_variables, clippy::unused_unit)]
            fn refs(submitted: Submitted) -> Self::Refs {
                let mut refs = submitted.refs().into_iter();
                // A call has as many refs as its attribute says; one that failed early has the same error in each.
                ($({
                    let one = refs.next().unwrap_or_else(|| failed_ref(Error::task("a return is missing")));
                    ObjectRef::<$name>::new(one)
                },)*)
            }

            #[allow(non_snake_case)]
            fn returns(self) -> Outcome {
                let ($($name,)*) = self;
                Ok(Returns::Many(vec![$(encode_return(&$name)?,)*]))
            }
        }
    )*};
}
split! {
    0: ;
    1: A;
    2: A B;
    3: A B C;
    4: A B C D;
    5: A B C D E;
    6: A B C D E F;
    7: A B C D E F G;
    8: A B C D E F G H;
    9: A B C D E F G H I;
    10: A B C D E F G H I J;
    11: A B C D E F G H I J K;
    12: A B C D E F G H I J K L;
    13: A B C D E F G H I J K L M;
    14: A B C D E F G H I J K L M N;
    15: A B C D E F G H I J K L M N O;
    16: A B C D E F G H I J K L M N O P;
}

/// Encodes a tuple as one result each.
///
/// # Errors
///
/// `Serialization` if one cannot be encoded.
pub fn return_split<T: Split>(value: T) -> Outcome {
    value.returns()
}

/// Submits a call of a function; without options, with those of its attribute.
pub fn submit(entry: &'static FunctionEntry, options: Option<TaskOptions>, args: Args) -> Submitted {
    let returns = entry.returns;
    let owner = match scope::owner() {
        Ok(owner) => owner,
        Err(error) => return Submitted::failed(error, returns),
    };
    let simulated = owner.process.env.world().is_some();
    let (meta, per_call) = match options {
        // What the environment says is not for a simulation, which is to do what its seed says and no more.
        None if simulated && default_retries(false) != RETRIES => {
            (entry.registered().and_then(|()| meta((entry.defaults)(), simulated)).map(Arc::new), None)
        }
        None => (
            entry
                .meta
                .get_or_init(|| entry.registered().and_then(|()| meta((entry.defaults)(), false)).map(Arc::new))
                .clone(),
            None,
        ),
        Some(options) => {
            let per_call = options.num_returns;
            (entry.registered().and_then(|()| meta(options, simulated)).map(Arc::new), per_call)
        }
    };
    let count = match (returns, per_call) {
        (NumReturns::Fixed(count), _) | (NumReturns::PerCall, Some(count)) => count,
        (NumReturns::PerCall, None) => {
            // A count that was refused was said.
            let error = meta.err().unwrap_or_else(|| returns_not_said(entry.name()));
            return Submitted::failed(error.subject(format!("task {}", entry.name())), returns);
        }
    };
    let mut args = args;
    let meta = match meta {
        Ok(meta) if count == 1 && meta.returns.is_none() => meta,
        Ok(meta) => Arc::new(meta.with_returns(count)),
        Err(error) => {
            args.error.get_or_insert(error);
            Arc::clone(&owner.process.put_meta)
        }
    };
    let depth = host::with_current(|current| current.map_or(0, |current| current.job.depth() + 1));
    let task = owner.submit(What::Function(entry), meta, args, count.max(1), depth);
    Submitted::new(task, count)
}

pub(crate) fn returns_not_said(name: &str) -> Error {
    Error::invalid_argument(format!("{name} returns as many values as the call says, and this call says nothing"))
        .remedy("call it with `.options().num_returns(n).remote(..)`")
}

pub(crate) fn returns_fixed(name: &str, count: u32, asked: u32) -> Error {
    Error::invalid_argument(format!(
        "{name} returns {count} values as refs of their own, and this call asks for {asked}"
    ))
    .remedy("say `num_returns = _` in its attribute, and how many in each call")
}

fn meta(options: TaskOptions, simulated: bool) -> Result<Meta> {
    options.check()?;
    let custom = options.resources.iter().map(|(name, amount)| (name.as_str(), *amount));
    let resources = ResourceSet::from_options(
        options.num_cpus.unwrap_or(1.0),
        options.num_gpus.unwrap_or(0.0),
        options.memory.unwrap_or(0.0),
        custom,
    )
    .map_err(|error| Error::invalid_argument(error.to_string()))?;
    let scheduling = match &options.scheduling {
        None | Some(Scheduling::Default) => crate::raylet::core::Scheduling::Default,
        Some(Scheduling::Spread) => crate::raylet::core::Scheduling::Spread,
        Some(Scheduling::NodeAffinity { node, soft }) => {
            crate::raylet::core::Scheduling::NodeAffinity { node: *node, soft: *soft }
        }
    };
    Ok(Meta {
        name: options.name.clone(),
        shape: Shape::new(resources, scheduling, options.on_infeasible == Some(OnInfeasible::Fail)),
        max_retries: options.max_retries.unwrap_or_else(|| default_retries(simulated)),
        returns: None,
        task_events: options.task_events.unwrap_or(true),
        retry_errors: options.retry_errors,
    })
}

/// How often a task is tried again if nobody says it.
const RETRIES: i64 = 3;

/// Where a driver's environment says how often.
pub(crate) const MAX_RETRIES: &str = "ACTINIC_TASK_MAX_RETRIES";

/// How often a task is tried again that says nothing: [`MAX_RETRIES`], or 3, which it is in a simulation.
pub(crate) fn default_retries(simulated: bool) -> i64 {
    static GIVEN: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    if simulated {
        return RETRIES;
    }
    *GIVEN.get_or_init(|| {
        // The program's, read once for all its clusters.
        let given = crate::env::Env::real().var(MAX_RETRIES);
        let read = given.as_ref().map(|text| text.parse().ok().filter(|retries| *retries >= -1));
        match (read, given) {
            (Some(Some(retries)), _) => retries,
            (Some(None), Some(text)) => {
                tracing::warn!(target: "actinic", "{MAX_RETRIES} is {text:?}, and no number from -1 on: {RETRIES} is meant");
                RETRIES
            }
            _ => RETRIES,
        }
    })
}

/// Creates an actor.
pub fn create_actor<A: Actor>(options: Option<ActorOptions>, args: Args) -> Handle<A> {
    Handle::new(crate::api::create::create(A::entry(), options, args))
}

/// A handle without its class.
pub struct RawHandle {
    client: Arc<Client>,
    pub(crate) options: Option<Arc<CallOptions>>,
}

impl RawHandle {
    pub(crate) fn new(client: Arc<Client>, options: Option<Arc<CallOptions>>) -> RawHandle {
        client.hold();
        RawHandle { client, options }
    }

    /// The client of the actor that is meant, as far as is known.
    pub(crate) fn client(&self) -> &Arc<Client> {
        self.client.real()
    }
}

impl Clone for RawHandle {
    fn clone(&self) -> Self {
        RawHandle::new(Arc::clone(self.client()), self.options.clone())
    }
}

impl Drop for RawHandle {
    fn drop(&mut self) {
        self.client.let_go();
    }
}

/// The state of a sync actor, with its type.
pub fn state<A: 'static>(any: &dyn Any) -> &A {
    match any.downcast_ref() {
        Some(state) => state,
        None => crate::program::other_class::<A>(),
    }
}

/// The state of a sync actor, with its type.
pub fn state_mut<A: 'static>(any: &mut dyn Any) -> &mut A {
    match any.downcast_mut() {
        Some(state) => state,
        None => crate::program::other_class::<A>(),
    }
}

/// Enters the worker's part if this process was started as one; else returns.
pub fn enter_if_worker() {
    crate::worker::entry::enter_if_worker();
}

/// Runs a sync `main`.
pub fn main_sync<R>(main: impl FnOnce() -> R) -> R {
    enter_if_worker();
    main()
}

/// Runs an async `main` on a tokio runtime with time and I/O.
pub fn block_on_main<F: Future>(main: F) -> F::Output {
    enter_if_worker();
    #[allow(clippy::disallowed_methods)] // the program's own, which lies in no simulation
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(main),
        Err(error) => panic!("no tokio runtime could be started for `main`: {error}"),
    }
}
