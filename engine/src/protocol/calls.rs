//! The frequent messages: tasks, actor calls, replies. They borrow what they carry while they are encoded and decoded.
//!
//! A batch is one message; it is cut before it grows over [`BATCH_BYTES`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use actinic_transport::{ActorNo, PeerAddr};

use crate::api::error::Error;
use crate::ids::{JobId, ObjectId, WorkerId};
use crate::program::FunctionId;
use crate::protocol::LeaseId;
use crate::protocol::refs::WireRefs;
use crate::value::{Blob, Extras, Value};

/// Tasks for a worker.
pub(crate) const TASKS: ActorNo = ActorNo(16);
/// Answers for owners.
pub(crate) const REPLIES: ActorNo = ActorNo(17);
/// Calls for an actor's host.
pub(crate) const CALLS: ActorNo = ActorNo(18);

/// A batch is sent when it has grown to this.
pub(crate) const BATCH_BYTES: usize = 256 * 1024;

/// A value as it travels: body, buffers beside it, and the refs that it contains.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WireValue<'a> {
    #[serde(borrow)]
    pub(crate) body: &'a [u8],
    #[serde(borrow)]
    pub(crate) buffers: Vec<&'a [u8]>,
    pub(crate) refs: WireRefs,
}

impl<'a> WireValue<'a> {
    pub(crate) fn of(value: &'a Value) -> WireValue<'a> {
        WireValue {
            body: value.body.as_slice(),
            buffers: value.buffers().iter().map(|buffer| &buffer[..]).collect(),
            refs: WireRefs::of(value.refs()),
        }
    }

    /// The value, with refs made by `borrow`.
    pub(crate) fn read(&self, borrow: impl FnMut(&ObjectId) -> crate::object::RawRef) -> Value {
        let extras = Extras {
            buffers: self.buffers.iter().map(|bytes| aligned(bytes)).collect(),
            refs: self.refs.iter().map(borrow).collect(),
            detached: Vec::new(),
        };
        Value::new(Blob::copy_of(self.body), extras)
    }
}

/// A copy of bytes that is aligned for any plain data.
pub(crate) fn aligned(bytes: &[u8]) -> Bytes {
    let mut words = vec![0u128; bytes.len().div_ceil(16)];
    bytemuck::cast_slice_mut::<u128, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
    Bytes::from_owner(Words(words)).slice(..bytes.len())
}

struct Words(Vec<u128>);

impl AsRef<[u8]> for Words {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// An argument that was a ref: its value, or where to fetch it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum WireDependency<'a> {
    #[serde(borrow)]
    Value(WireValue<'a>),
    Stored {
        object: ObjectId,
        size: u64,
        at: Vec<PeerAddr>,
        refs: WireRefs,
    },
}

/// One task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WireTask<'a> {
    pub(crate) seq: u64,
    pub(crate) attempt: u32,
    pub(crate) function: FunctionId,
    pub(crate) name: Option<&'a str>,
    pub(crate) depth: u32,
    /// The end of the job does not matter to it.
    pub(crate) outlives_job: bool,
    /// What it asked for beyond one CPU.
    #[serde(borrow)]
    pub(crate) resources: Vec<(&'a str, f64)>,
    #[serde(borrow)]
    pub(crate) input: WireValue<'a>,
    #[serde(borrow)]
    pub(crate) dependencies: Vec<WireDependency<'a>>,
}

/// Tasks of one owner for the worker behind one lease.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WireTasks<'a> {
    pub(crate) owner: u32,
    pub(crate) lease: LeaseId,
    /// Which of the process's workers: a node's threads share one process.
    pub(crate) worker: WorkerId,
    #[serde(borrow)]
    pub(crate) tasks: Vec<WireTask<'a>>,
}

/// One call of an actor's method.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WireCall<'a> {
    pub(crate) seq: u64,
    pub(crate) attempt: u32,
    /// The method's id: name and argument shape.
    pub(crate) method: u64,
    pub(crate) name: &'a str,
    pub(crate) depth: u32,
    #[serde(borrow)]
    pub(crate) input: WireValue<'a>,
    #[serde(borrow)]
    pub(crate) dependencies: Vec<WireDependency<'a>>,
}

/// What tells a task that calls actors from others that submit to its owner; 0 for what is no task.
pub(crate) type CallerMark = u64;

/// Calls of one caller for one incarnation of an actor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WireCalls<'a> {
    pub(crate) owner: u32,
    /// Which of those that submit to the owner.
    pub(crate) caller: CallerMark,
    /// The actor's number in its process.
    pub(crate) actor: u64,
    pub(crate) incarnation: u32,
    #[serde(borrow)]
    pub(crate) calls: Vec<WireCall<'a>>,
}

/// What makes an actor: kept by the GCS for restarts, and never looked into there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WireCreation<'a> {
    pub(crate) class: FunctionId,
    #[serde(borrow)]
    pub(crate) input: WirePart<'a>,
    #[serde(borrow)]
    pub(crate) dependencies: Vec<WirePart<'a>>,
}

/// A part of a constructor's arguments.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum WirePart<'a> {
    /// The value; no refs are in it.
    #[serde(borrow)]
    Value(WireValue<'a>),
    /// Its owner is asked for it when the actor begins, and so knows who has the refs in it.
    Object(ObjectId),
}

/// How an object came out, as it travels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum WireOutcome<'a> {
    #[serde(borrow)]
    Value(WireValue<'a>),
    Stored {
        size: u64,
        at: Vec<PeerAddr>,
        refs: WireRefs,
    },
    Error(Error),
}

/// The answer to one task or call: as many outcomes as it returned, or one error for all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WireReply<'a> {
    pub(crate) owner: u32,
    pub(crate) seq: u64,
    pub(crate) attempt: u32,
    /// Nanoseconds of user code.
    pub(crate) ns: u64,
    /// Only the owner knows whether another attempt is allowed.
    pub(crate) failed: bool,
    #[serde(borrow)]
    pub(crate) outcomes: Vec<WireOutcome<'a>>,
}

/// Answers of one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WireReplies<'a> {
    pub(crate) lease: Option<LeaseId>,
    #[serde(borrow)]
    pub(crate) replies: Vec<WireReply<'a>>,
}

/// What is asked for by bulk stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Fetch {
    /// An object: a [`FetchHeader`], then its bytes.
    Object { object: ObjectId },
    /// The binary of a job, as it is.
    Program { job: JobId },
}

/// What goes before the bytes of a fetched object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FetchHeader {
    pub(crate) body: u64,
    pub(crate) buffers: Vec<u64>,
    /// In whose object store's budget it counts where it comes from (`object_manager/budget.rs`), or 0.
    pub(crate) counted_in: u128,
}
