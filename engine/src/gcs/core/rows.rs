//! The rows of the GCS's tables: what is kept of a node, a job and an actor, and nothing else.
//!
//! They are plain serde structs, so that any store can hold them and the state API can show them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{ActorNo, Address, NodeId, ProcessId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::death::{DeathCause, NodeDeath};
use crate::ids::{ActorId, JobId, ObjectId, OwnerId, TaskId, WorkerId};
use crate::resources::ResourceSet;

/// A node, as its raylet registered it, and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeRow {
    /// The node; a restarted raylet is another one.
    pub(crate) id: NodeId,
    /// The raylet's process.
    pub(crate) process: ProcessId,
    /// Where its endpoint for messages listens.
    pub(crate) addrs: Vec<SocketAddr>,
    /// Where its endpoint for bulk listens.
    pub(crate) bulk_addrs: Vec<SocketAddr>,
    /// All that it has.
    pub(crate) total: ResourceSet,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// The machine's name.
    pub(crate) hostname: String,
    /// The raylet's pid.
    pub(crate) pid: u32,
    /// Whether the GCS lives there.
    pub(crate) head: bool,
    /// The programs that it has as files.
    pub(crate) programs: BTreeSet<String>,
    /// Whether it lives.
    pub(crate) state: NodeState,
    /// Why it is dead; `None` for one that left.
    pub(crate) death: Option<NodeDeath>,
    /// When it registered.
    pub(crate) started: Duration,
    /// When it died or left.
    pub(crate) ended: Option<Duration>,
}

/// Whether a node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum NodeState {
    /// It is heard from.
    Alive,
    /// Somebody cannot reach it; no new actor is placed there until it is heard from again.
    Suspected,
    /// It was declared dead; final.
    Dead,
    /// It left on purpose; final.
    Left,
}

impl NodeState {
    /// Whether the node may still answer.
    pub(crate) fn is_up(self) -> bool {
        matches!(self, NodeState::Alive | NodeState::Suspected)
    }
}

/// What changes often of a node: spread to the other raylets for their own decisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeView {
    /// The node.
    pub(crate) node: NodeId,
    /// Counts the node's reports; an older one is ignored.
    pub(crate) version: u64,
    /// What is free.
    pub(crate) available: ResourceSet,
    /// How many requests wait there.
    pub(crate) queued: u32,
}

/// A job: one driver's work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobRow {
    /// The job.
    pub(crate) id: JobId,
    /// Its driver.
    pub(crate) driver: OwnerId,
    /// Where its actors' names live unless they say otherwise.
    pub(crate) namespace: String,
    /// The driver's command line.
    pub(crate) entry: String,
    /// The content hash of its program, as hex.
    pub(crate) program: String,
    /// How often its tasks are tried again that do not say it, those of its workers too.
    pub(crate) task_max_retries: i64,
    /// When it started.
    pub(crate) started: Duration,
    /// When it ended.
    pub(crate) ended: Option<Duration>,
}

/// Where an actor may be placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Scheduling {
    /// The requester's node if it fits there, else the node with the most room; nodes with GPUs that it does not ask for
    /// last.
    #[default]
    Default,
    /// The fitting node with the fewest actors; nodes with GPUs that it does not ask for last.
    Spread,
    /// That node; if `soft`, another once that one is gone or can never hold it.
    NodeAffinity {
        /// The node.
        node: NodeId,
        /// Whether another will do.
        soft: bool,
    },
}

/// Whether an actor has a process of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Isolation {
    /// It has.
    #[default]
    Process,
    /// It shares the job's host of light actors, and its fate.
    Shared,
}

/// What an actor was asked to be: written once, by its owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ActorSpec {
    /// The actor.
    pub(crate) id: ActorId,
    /// What its handles hold; none if it is detached. Once its owner has let go, one of those by which others claim it.
    pub(crate) lifeline: Lifeline,
    /// The encoded constructor call: empty until its arguments are ready, and when the actor is dead.
    #[serde(with = "bytes_field")]
    pub(crate) creation: Bytes,
    /// Shared with the actors made before that are like it: there may be a million.
    pub(crate) traits: Arc<ActorTraits>,
}

/// The object that an actor's handles hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Lifeline {
    /// They hold nothing.
    None,
    /// The first return of the task with this number, of the actor's owner.
    OfOwner(u64),
    /// Another owner's. Boxed, for few actors have that.
    Claimed(Box<ObjectId>),
}

impl ActorSpec {
    /// The object that its handles hold, if it is not detached.
    pub(crate) fn lifeline(&self) -> Option<ObjectId> {
        match &self.lifeline {
            Lifeline::None => None,
            Lifeline::OfOwner(seq) => Some(ObjectId { task: TaskId { owner: self.owner, seq: *seq }, index: 0 }),
            Lifeline::Claimed(object) => Some(**object),
        }
    }
}

impl Deref for ActorSpec {
    type Target = ActorTraits;

    fn deref(&self) -> &ActorTraits {
        &self.traits
    }
}

#[cfg(test)]
impl std::ops::DerefMut for ActorSpec {
    fn deref_mut(&mut self) -> &mut ActorTraits {
        Arc::make_mut(&mut self.traits)
    }
}

/// What many actors have in common: those that one owner makes of one class with the same options, if none has a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ActorTraits {
    /// The job that it belongs to.
    pub(crate) job: JobId,
    /// Who made it, and whose death it does not survive unless it is detached.
    pub(crate) owner: OwnerId,
    /// Whether a detached actor is at the root of the owners above it: such an actor outlives the job's driver.
    pub(crate) outlives_job: bool,
    /// Its class.
    pub(crate) class: String,
    /// The full name of its type, if it has a name: others may look for a class that is called the same.
    pub(crate) path: String,
    /// Its name.
    pub(crate) name: Option<String>,
    /// Where its name lives.
    pub(crate) namespace: String,
    /// The namespace of its job, where its own code looks for actors and names those that it makes.
    pub(crate) job_namespace: Arc<str>,
    /// Whether it outlives its owner and its handles.
    pub(crate) detached: bool,
    /// Whether the actor that has the name already will do.
    pub(crate) get_if_exists: bool,
    /// How often it may be restarted after system faults; -1 is without limit.
    pub(crate) max_restarts: i64,
    /// What its calls' retries default to; -1 is without limit.
    pub(crate) max_task_retries: i64,
    /// How many unfinished calls a caller may have; -1 is without limit.
    pub(crate) max_pending_calls: i64,
    /// Whether its calls are told of, unless they say otherwise.
    pub(crate) task_events: bool,
    /// How many of its calls may overlap.
    pub(crate) max_concurrency: u32,
    /// What a node must have free to be chosen; at least `hold`.
    pub(crate) shape: ResourceSet,
    /// What it holds for life.
    pub(crate) hold: ResourceSet,
    /// Where it may be placed.
    pub(crate) scheduling: Scheduling,
    /// Whether it is refused if no node could ever run it, instead of waiting for one.
    pub(crate) fails: bool,
    /// Whether it has a process of its own.
    pub(crate) isolation: Isolation,
}

impl ActorSpec {
    /// Whether its constructor's arguments are not ready: [`super::Event::ActorArguments`] follows.
    pub(crate) fn waits(&self) -> bool {
        self.creation.is_empty()
    }
}

/// Where an actor is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum ActorState {
    /// Its constructor's arguments are not ready, or its owner has not asked for it yet.
    DependenciesUnready,
    /// It waits for a node, or its constructor has not finished.
    PendingCreation,
    /// It takes calls.
    Alive,
    /// Its last incarnation was lost; the next is on its way.
    Restarting,
    /// It is dead for good.
    Dead,
}

impl ActorState {
    /// The state as `actinic list actors` prints it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ActorState::DependenciesUnready => "DEPENDENCIES_UNREADY",
            ActorState::PendingCreation => "PENDING_CREATION",
            ActorState::Alive => "ALIVE",
            ActorState::Restarting => "RESTARTING",
            ActorState::Dead => "DEAD",
        }
    }
}

impl fmt::Display for ActorState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an actor lives: its process, by its names, and its worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seat {
    pub(crate) process: ProcessId,
    pub(crate) worker: WorkerId,
    pub(crate) pid: u32,
}

/// An actor: what it was asked to be, and where it is in its life.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ActorRow {
    /// The order of creation; rows are listed in it.
    pub(crate) number: u64,
    /// What it was asked to be.
    pub(crate) spec: Arc<ActorSpec>,
    /// Where it is in its life.
    pub(crate) state: ActorState,
    /// Which life this is: 0, and one more after each restart.
    pub(crate) incarnation: u32,
    /// How often this incarnation was sent to a node.
    pub(crate) attempt: u32,
    /// How many restarts it has had.
    pub(crate) restarts: u32,
    /// The node that it is on or was sent to; of a dead one, where it died.
    pub(crate) node: Option<NodeId>,
    /// Where it lives, or lived last, once it is alive. Shared with the actors that are there too.
    pub(crate) seat: Option<Arc<Seat>>,
    /// What it waits for, in words, once people were told of it.
    pub(crate) waits: Option<Arc<str>>,
    /// Why it is dead.
    pub(crate) death: Option<Box<DeathCause>>,
    /// When it was asked for.
    pub(crate) started: Duration,
    /// When it died.
    pub(crate) ended: Option<Duration>,
}

impl ActorRow {
    /// What a caller has to know of it who knows it by another id, if that is one.
    pub(crate) fn info_as(&self, known_as: ActorId) -> ActorInfo {
        let spec = &self.spec;
        let found = (known_as != spec.id).then(|| {
            Box::new(Found {
                id: spec.id,
                lifeline: spec.lifeline(),
                max_concurrency: spec.max_concurrency,
                max_pending_calls: spec.max_pending_calls,
                task_events: spec.task_events,
                max_task_retries: spec.max_task_retries,
            })
        });
        ActorInfo { id: known_as, found, ..self.info() }
    }

    /// What a caller has to know of it.
    pub(crate) fn info(&self) -> ActorInfo {
        ActorInfo {
            id: self.spec.id,
            state: self.state,
            incarnation: self.incarnation,
            restarts: self.restarts,
            node: self.node,
            address: self.address(),
            waits: self.waits.clone(),
            death: self.death.clone(),
            found: None,
        }
    }

    /// Where its calls go, while it is alive.
    pub(crate) fn address(&self) -> Option<Address> {
        let seat = self.seat.as_ref().filter(|_| self.state == ActorState::Alive)?;
        Some(Address { process: seat.process, actor: ActorNo(crate::actor::host::number(self.spec.id)) })
    }

    /// The run that is going on.
    pub(crate) fn run(&self) -> ActorRun {
        ActorRun { actor: self.spec.id, incarnation: self.incarnation, attempt: self.attempt }
    }
}

/// What is published of an actor at every change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ActorInfo {
    /// The actor.
    pub(crate) id: ActorId,
    /// Where it is in its life.
    pub(crate) state: ActorState,
    /// Which life this is; a smaller one than was seen before is stale news.
    pub(crate) incarnation: u32,
    /// How many restarts it has had.
    pub(crate) restarts: u32,
    /// Its node.
    pub(crate) node: Option<NodeId>,
    /// Where its calls go; only while it is alive.
    pub(crate) address: Option<Address>,
    /// What it waits for, in words, once people were told of it.
    pub(crate) waits: Option<Arc<str>>,
    /// Why it is dead.
    pub(crate) death: Option<Box<DeathCause>>,
    /// The actor that is meant, if `id` is one that `get_if_exists` asked for: whoever hears it uses that one's id from
    /// now on.
    pub(crate) found: Option<Box<Found>>,
}

/// The actor that `get_if_exists` found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// The actor.
    pub(crate) id: ActorId,
    /// What its handles hold at present; none if it is detached.
    pub(crate) lifeline: Option<crate::ids::ObjectId>,
    /// How many of its calls may overlap.
    pub(crate) max_concurrency: u32,
    /// How many unfinished calls a caller may have.
    pub(crate) max_pending_calls: i64,
    pub(crate) task_events: bool,
    /// What its calls' retries default to.
    pub(crate) max_task_retries: i64,
}

/// One attempt at one incarnation of an actor: what a raylet is asked to start, and reports about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct ActorRun {
    /// The actor.
    pub(crate) actor: ActorId,
    /// Which life.
    pub(crate) incarnation: u32,
    /// Which attempt at it: a node may have no room, and another is tried.
    pub(crate) attempt: u32,
}

/// `Bytes` as a serde field.
pub(crate) mod bytes_field {
    use bytes::Bytes;
    use serde::{Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    struct Visitor;

    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Bytes;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
            Ok(Bytes::copy_from_slice(bytes))
        }

        fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
            Ok(bytes.into())
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        from.deserialize_byte_buf(Visitor)
    }
}
