//! What happened to tasks: noted by their owners, gathered, told to the GCS, and kept there for a while.
//!
//! An owner notes how each attempt at a task or an actor's call ended, as it happens; a few times a second it looks
//! at those that are older and have not ended, and notes what they do or wait for. What was noted goes to the GCS in
//! batches, and from there to whoever asks ([`crate::state`]). So a task that is over soon costs one note, and one that
//! waits long a note whenever what it waits for changes.
//!
//! Invariants:
//! - EVENTS-1: events never delay what they are about: at every place there is a bound, above which they are dropped.
//! - EVENTS-2: what was dropped is counted, and the count reaches whoever asks.
//! - EVENTS-3: the events of an attempt arrive in their order, but for a look that its end overtook: what ended stays so.
//! - EVENTS-4: what a process was told of before it asks is in the answer: see `Process::tell_all_events`.

mod live;
mod record;
#[cfg(test)]
pub(crate) mod samples;
mod table;
mod tell;

use std::sync::Arc;

use actinic_transport::NodeId;
use serde::{Deserialize, Serialize};

pub(crate) use live::{Doing, Live};
pub(crate) use record::{Chunk, Note, Recorder};
pub(crate) use table::{TaskKey, TaskRow, TaskTable};
pub(crate) use tell::{Due, Recording};

use crate::ids::{ActorId, JobId, OwnerId, WorkerId};

/// What happened to tasks of one owner, since it told last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskEvents {
    pub(crate) owner: OwnerId,
    pub(crate) job: JobId,
    /// What the events share, which name it by its place here.
    pub(crate) kinds: Vec<Kind>,
    pub(crate) places: Vec<Place>,
    pub(crate) texts: Vec<String>,
    pub(crate) events: Vec<Event>,
    /// How many attempts there are of which nothing is told.
    pub(crate) dropped: u64,
}

/// What was called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kind {
    pub(crate) name: Arc<str>,
    /// Whose method it is, if it is one.
    pub(crate) actor: Option<ActorId>,
}

/// Where code runs. The worker of an actor's call is known by the actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) node: NodeId,
    pub(crate) worker: Option<WorkerId>,
}

/// One thing that happened to one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) seq: u64,
    /// Nanoseconds since 1970, by its owner's clock; while it waits to be told, since the owner's environment was made.
    pub(crate) at: u64,
    pub(crate) attempt: u32,
    pub(crate) kind: u32,
    pub(crate) step: Step,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// It waits for its arguments.
    Depends,
    /// It waits for what the text says.
    Waits {
        text: u32,
    },
    /// A worker or an actor has it, and runs others before it.
    Sent {
        place: u32,
    },
    Runs {
        place: u32,
    },
    Finished {
        took: Option<Took>,
    },
    Failed {
        took: Option<Took>,
        text: u32,
    },
}

impl Step {
    /// Whether the attempt has ended with it.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Step::Finished { .. } | Step::Failed { .. })
    }
}

/// Where it ran, and for how many nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Took {
    pub(crate) place: u32,
    pub(crate) ns: u64,
}

/// A run of a task's code that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) place: Place,
    /// When it ended, by the environment's clock.
    pub(crate) ended: std::time::Duration,
    pub(crate) ns: u64,
}
