//! What is in the cluster now, and what happened in it: for programs that watch.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actinic_transport::NodeId;
use serde::{Deserialize, Serialize};

use crate::api::error::{Error, Result};
use crate::api::named::ask_gcs;
use crate::api::op::Op;
use crate::api::scope;
use crate::events::{TaskKey, TaskRow};
use crate::ids::{ActorId, JobId, TaskId, WorkerId};
use crate::process::Process;
use crate::protocol::{AskGcs, GcsAnswer};

/// What an attempt at a task, or at an actor's call, is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskState {
    /// It waits for its arguments.
    PendingArgs,
    /// It waits for a worker, or for its actor.
    PendingNode,
    /// A worker or an actor has it and has not begun, as far as its owner knows. An actor's call stays so while it runs.
    Submitted,
    /// It runs, or waits for what it submitted.
    Running,
    /// It has its result.
    Finished,
    /// It has none: its code failed, its worker died, it was cancelled, or an argument failed.
    Failed,
}

impl TaskState {
    /// Whether nothing follows.
    pub fn has_ended(self) -> bool {
        matches!(self, TaskState::Finished | TaskState::Failed)
    }
}

/// In capitals, as Ray's state is printed.
impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TaskState::PendingArgs => "PENDING_ARGS",
            TaskState::PendingNode => "PENDING_NODE",
            TaskState::Submitted => "SUBMITTED",
            TaskState::Running => "RUNNING",
            TaskState::Finished => "FINISHED",
            TaskState::Failed => "FAILED",
        })
    }
}

/// An attempt at a task, or at an actor's call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskInfo {
    /// The task; its attempts share it.
    pub id: TaskId,
    /// Which attempt it is, from 0.
    pub attempt: u32,
    /// The name that the options give, or the function's, or `Class.method`.
    pub name: String,
    /// Whose call it is, if it is an actor's.
    pub actor: Option<ActorId>,
    /// The job that it belongs to.
    pub job: JobId,
    /// What it is at.
    pub state: TaskState,
    /// Since when, by its owner's clock. What is not the end of something may be told a second late.
    pub since: SystemTime,
    /// Where it is, runs or ran.
    pub node: Option<NodeId>,
    /// The worker there; an actor's call on another process has none, for the actor tells.
    pub worker: Option<WorkerId>,
    /// When it began, if it did.
    pub started: Option<SystemTime>,
    /// When it ended, if it has.
    pub ended: Option<SystemTime>,
    /// Why it failed, with the chain of causes in short.
    pub error: Option<String>,
    /// What it waits for, such as resources that no node has.
    pub waits_for: Option<String>,
}

/// The attempts at tasks and actors' calls that the cluster remembers, ordered by who submitted them and then by when.
///
/// What this process submitted is there; what others did, up to a second later. The cluster remembers 100,000 attempts: those that
/// ended first are forgotten first. Attempts that follow each other faster than can be told are counted only, see
/// [`tasks_dropped`]. Of one owner at most 10,000 are listed that have not ended, and 50,000 of all. A call made with `task_events(false)`
/// is not listed, and none is in a program that runs with `ACTINIC_TASK_EVENTS=0`.
///
/// # Errors
///
/// `Connection` if the GCS does not answer, or no cluster is connected.
///
/// ```
/// # use actinic::prelude::*;
/// use actinic::state::{TaskState, tasks};
///
/// #[actinic::remote]
/// fn fails() -> actinic::Result<()> { Err(actinic::Error::other(std::io::Error::other("no luck"))) }
///
/// # #[actinic::main]
/// # async fn main() -> actinic::Result<()> {
/// # let cluster = actinic::init().num_cpus(1).await?;
/// fails::remote().await.unwrap_err();
/// let tasks = tasks().await?;
/// assert_eq!((tasks.len(), tasks[0].state), (1, TaskState::Failed));
/// assert!(tasks[0].error.as_ref().unwrap().contains("no luck"));
/// # cluster.shutdown().await
/// # }
/// ```
pub fn tasks() -> Op<Vec<TaskInfo>> {
    ask(|process| async move {
        process.tell_all_events();
        let mut all: Vec<TaskInfo> = Vec::new();
        let mut after = None;
        loop {
            let (rows, _) = page(&process, after).await?;
            let Some(last) = rows.last() else { return Ok(all) };
            after = Some(last.key);
            all.extend(rows.into_iter().map(TaskInfo::from));
        }
    })
}

/// How many attempts there were that [`tasks`] does not list, since too many followed each other.
///
/// # Errors
///
/// As of [`tasks`].
pub fn tasks_dropped() -> Op<u64> {
    ask(|process| async move {
        process.tell_all_events();
        page(&process, None).await.map(|(_, dropped)| dropped)
    })
}

async fn page(process: &Arc<Process>, after: Option<TaskKey>) -> Result<(Vec<TaskRow>, u64)> {
    match ask_gcs(process, AskGcs::Tasks { after }).await? {
        GcsAnswer::Tasks { rows, dropped } => Ok((rows, dropped)),
        _ => Err(Error::connection("the GCS answered something else")),
    }
}

fn ask<T, F>(question: impl FnOnce(Arc<Process>) -> F) -> Op<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    match scope::owner() {
        Ok(owner) => Op::new(question(Arc::clone(&owner.process))),
        Err(error) => Op::ready(Err(error)),
    }
}

fn time(nanoseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}

impl From<TaskRow> for TaskInfo {
    fn from(row: TaskRow) -> TaskInfo {
        let failed = row.state == TaskState::Failed;
        TaskInfo {
            id: TaskId { owner: row.key.owner, seq: row.key.seq },
            attempt: row.key.attempt,
            name: row.kind.name.to_string(),
            actor: row.kind.actor,
            job: row.job,
            state: row.state,
            since: time(row.since),
            node: row.place.map(|place| place.node),
            worker: row.place.and_then(|place| place.worker),
            started: row.started.map(time),
            ended: row.state.has_ended().then(|| time(row.since)),
            error: row.text.clone().filter(|_| failed),
            waits_for: row.text.filter(|_| !failed),
        }
    }
}
