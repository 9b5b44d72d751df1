//! Actinic: Ray Core for Rust. Remote functions, stateful actors and immutable objects, on one machine or many.
//!
//! ```
//! use actinic::prelude::*;
//!
//! #[actinic::remote]
//! fn square(x: i64) -> i64 { x * x }
//!
//! #[actinic::main]
//! async fn main() -> actinic::Result<()> {
//!     let cluster = actinic::init().await?;
//!     let refs: Vec<ObjectRef<i64>> = (0..4).map(square::remote).collect();
//!     assert_eq!(actinic::get(&refs).await?, [0, 1, 4, 9]);
//!     cluster.shutdown().await
//! }
//! ```
//!
//! # Where to begin
//!
//! Who knows tokio or actix reads [`guide::from_tokio`], who knows Ray [`guide::from_ray`]: every call of Ray's and its
//! counterpart here. [`init()`] starts or finds a cluster, [`macro@remote`] makes functions and actors remote, [`testing`]
//! gives each test a cluster of its own, simulated if it likes, and [`state`] shows what goes on.
//!
//! # The environment
//!
//! A program runs unchanged on threads, with worker processes and on a started cluster:
//!
//! | variable | what it says |
//! | --- | --- |
//! | `ACTINIC_ADDRESS` | the cluster that [`init()`] connects to: `auto`, or host and port; else one is embedded |
//! | `ACTINIC_TOKEN` | its token; on the machine of a node none is needed |
//! | `ACTINIC_STATE_DIR` | where the nodes of this machine are found; default `/tmp/actinic-UID` |
//! | `ACTINIC_WORKERS` | `threads` or `processes`, for an embedded cluster |
//! | `ACTINIC_TASK_MAX_RETRIES` | how often a task is tried again that does not say it; default 3 |
//! | `ACTINIC_TASK_EVENTS` | `0`: nothing is noted for [`state::tasks`] |
//! | `ACTINIC_IGNORE_UNHANDLED_ERRORS` | `1`: failures that nobody reads are not logged |
//! | `ACTINIC_LOG_LEVEL` | what is logged where [`Init::log_level`] does not say it; default `warn` |
//! | `ACTINIC_LOG` | what a started node logs, as `tracing` filters |
//! | `ACTINIC_SEED` | the seed of simulated tests that have none |
//!
//! # Not there yet
//!
//! Generators, placement groups, label selectors, limits of concurrency groups, memory shared between processes, spilling to disk, most of [`util`], the
//! dashboard, storage of the GCS's tables, runtime environments, and features for `ndarray` and Arrow.

#[allow(unused_extern_crates, reason = "the macros' expansions name the crate, in its own tests too")]
extern crate self as actinic;

#[doc(hidden)]
#[path = "rt.rs"]
pub mod __private;
mod actor;
mod alarm;
mod alike;
mod answers;
mod api;
mod call;
mod env;
mod events;
mod gcs;
pub mod guide;
mod ids;
mod later;
mod log;
mod net;
pub mod node;
mod object;
mod object_manager;
mod owner;
mod post;
mod process;
mod program;
mod protocol;
mod rarely;
mod raylet;
mod reach;
mod recent;
mod resources;
mod room;
use __private as rt;
mod start;
pub mod state;
mod task;
pub mod testing;
pub mod util;
mod value;
mod wait;
mod worker;

pub use actinic_macros::{main, method, remote, test};
pub use actinic_transport::NodeId;
pub use api::as_completed::{AsCompleted, as_completed};
pub use api::buffer::{Array, Buffer};
pub use api::cancel::{Cancel, cancel};
pub use api::cluster::{Cluster, Init, NodeInfo, Workers, init, sleep};
pub use api::context::{Context, context, try_context};
pub use api::error::{Detail, Error, Result};
pub use api::get::{Get, GetFuture, Refs, get};
pub use api::handle::{Actor, ActorState, DeathCause, Handle, With};
pub use api::into_arg::IntoArg;
pub use api::kill::{Kill, exit_actor, kill};
pub use api::messages::RemoteHandler;
pub use api::named::{GetActor, ListNamedActors, get_actor, list_named_actors};
#[doc(hidden)]
pub use api::object_ref::Listed;
pub use api::object_ref::{AnyRef, ObjectRef, Ref};
pub use api::op::Op;
pub use api::options::{
    ActorOptions, CallOptions, Isolation, Lifetime, MethodOptions, OnInfeasible, Scheduling, TaskOptions,
};
pub use api::put::{Put, put};
pub use api::scope::Enter;
pub use api::usage::Usage;
pub use api::wait::{Wait, WaitList, wait};
pub use ids::{ActorId, JobId, ObjectId, OwnerId, TaskId, WorkerId};
pub use program::{inventory, register};

/// What most programs use.
pub mod prelude {
    pub use std::time::Duration;

    pub use crate::testing::TestCluster;
    pub use crate::{
        Actor as _, AnyRef, Array, Buffer, CallOptions, Cluster, Error, Handle, IntoArg, Isolation, Lifetime,
        ObjectRef, Scheduling, Workers,
    };
}
