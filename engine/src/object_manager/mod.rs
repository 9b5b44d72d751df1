//! Objects above the inline limit: what a process keeps of them, and how a copy comes from elsewhere.
//!
//! A copy moves when somebody needs it, by a bulk stream, once however many ask.

pub(crate) mod budget;
pub(crate) mod lost;
pub(crate) mod store;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use actinic_transport::{BulkAnswer, BulkError, BulkHandler, Peer, ProcessId};

use crate::api::error::{Error, Result};
use crate::ids::ObjectId;
use crate::object::{Resolved, Stored};
use crate::process::Process;
use crate::protocol::calls::{Fetch, FetchHeader, aligned};
use crate::protocol::{LeaseId, OwnerMessage, ToOwner, ToRaylet};
use crate::testing::Message as Lost;
use crate::value::{Blob, Extras, Value};

/// How long a value waits for what other processes of its node can do without.
const ROOM_WAIT: Duration = Duration::from_millis(200);
const ROOM_AGAIN: Duration = Duration::from_millis(2);

impl Process {
    /// Counts a value in the store; what stays there for lineage's sake only goes first.
    ///
    /// # Errors
    ///
    /// `ObjectStoreFull` if it does not fit then either. Other processes of the node are asked to let go what they can do
    /// without, which helps whoever comes later.
    pub(crate) fn charge(&self, size: usize) -> Result<()> {
        let charged = self.charge_alone(size);
        if charged.is_err() && self.store.mine() < self.store.used() {
            self.tell_raylet(self.id.node, ToRaylet::StoreFull);
        }
        charged
    }

    /// As [`Process::charge`]; waits a little for what others let go.
    pub(crate) async fn charge_patiently(&self, size: usize) -> Result<()> {
        let charged = self.charge(size);
        if charged.is_ok() || !self.has_room_soon(size).await {
            return charged;
        }
        self.charge_alone(size)
    }

    /// Whether there is room for so much, or comes while what others let go is waited for.
    pub(crate) async fn has_room_soon(&self, size: usize) -> bool {
        let until = self.env.now() + ROOM_WAIT;
        loop {
            if self.store.has_room(size) {
                return true;
            }
            if self.store.mine() >= self.store.used() || self.env.now() >= until {
                return false;
            }
            tokio::time::sleep(ROOM_AGAIN).await;
        }
    }

    fn charge_alone(&self, size: usize) -> Result<()> {
        loop {
            match self.store.charge(size) {
                Err(_) if self.shed_lineage() => {}
                charged => return charged.map_err(|error| error.at_node(self.id.node)),
            }
        }
    }

    fn shed_lineage(&self) -> bool {
        // Of each of them, and not of the first only.
        self.owners().iter().fold(false, |any, owner| owner.shed_lineage() | any)
    }

    /// The node's store is full: what this process can do without goes.
    pub(crate) fn make_room(&self) {
        self.store.evict_all();
        self.shed_lineage();
    }

    /// The value of an object that lies elsewhere: from this process's store, or fetched into it.
    pub(crate) async fn fetch(self: &Arc<Self>, object: ObjectId, stored: &Arc<Stored>) -> Result<Value> {
        self.fetch_for(object, stored, None).await
    }

    /// As [`Process::fetch`], for a task under a lease: if another's transfer is waited for, or the object has to be made
    /// again, its CPU is lent meanwhile.
    pub(crate) async fn fetch_for(
        self: &Arc<Self>,
        object: ObjectId,
        stored: &Arc<Stored>,
        lease: Option<LeaseId>,
    ) -> Result<Value> {
        let hear = {
            let mut kept = self.store.lock();
            if let Some(value) = kept.value(&object) {
                return Ok(with_refs(value.clone(), stored));
            }
            match kept.fetching.get_mut(&object) {
                None => {
                    // This is the first to ask: it makes the transfer.
                    kept.fetching.insert(object, Vec::new());
                    None
                }
                Some(waiting) => {
                    let (tell, hear) = tokio::sync::oneshot::channel();
                    waiting.push(tell);
                    Some(hear)
                }
            }
        };
        if let Some(hear) = hear {
            // Whoever asked first may have nothing to lend.
            let heard = self.lending(lease, hear).await;
            return match heard {
                Ok(done) => done.map(|value| with_refs(value, stored)),
                Err(_) => Err(Error::object_lost(format!("the transfer of object {object} was given up"))),
            };
        }
        let mut counts = true;
        let fetched = match self.transfer_again(object, stored, lease).await {
            Ok((value, from)) => {
                // What another process of this node keeps counts there.
                counts = !(self.store.is_shared() && from.is_some_and(|from| from.node == self.id.node));
                let charged = if counts { self.charge_patiently(value.size()).await } else { Ok(()) };
                charged.map(|()| value)
            }
            Err(error) => Err(error),
        };
        let waiting = {
            let mut kept = self.store.lock();
            if let Ok(value) = &fetched {
                kept.add_copy(object, value.clone(), counts);
            }
            kept.fetching.remove(&object).unwrap_or_default()
        };
        for tell in waiting {
            // One that waits no more needs no answer.
            let _ = tell.send(fetched.clone());
        }
        let owner = object.task.owner;
        if fetched.is_ok() && owner.process != self.id {
            // It frees the copy with the object.
            let copied = OwnerMessage::Copied { seq: object.task.seq, index: object.index, at: self.address() };
            self.tell_owner(owner.process, ToOwner::To { owner: owner.number, message: copied });
        }
        fetched.map(|value| with_refs(value, stored))
    }

    /// Transfers an object, and if all copies of it are gone, what its owner has made again; and says who had it, unless
    /// its owner sent it in a message.
    async fn transfer_again(
        self: &Arc<Self>,
        object: ObjectId,
        stored: &Arc<Stored>,
        lease: Option<LeaseId>,
    ) -> Result<(Value, Option<ProcessId>)> {
        let mut at = Arc::clone(stored);
        let mut tries = 0;
        loop {
            let (without, error) = match self.transfer(object, &at).await {
                // It was made again, with other refs.
                Ok((value, from)) if !Arc::ptr_eq(&at, stored) => return Ok((with_refs(value, &at), Some(from))),
                Ok((value, from)) => return Ok((value, Some(from))),
                Err(missed) => missed,
            };
            let owner = object.task.owner.process;
            // Who held it may be who owned it, and gone with it: an owner that lives holds what others have refs to.
            if owner != self.id && (without.contains(&owner) || self.is_gone(owner).await) {
                return Err(owner_gone(object));
            }
            if !at.at.iter().all(|at| without.contains(&at.id)) {
                // Somebody has it who cannot be reached now: that is no reason to make it again.
                tries += 1;
                if tries > UNREACHED_MAX {
                    return Err(error);
                }
                tokio::time::sleep(UNREACHED_AGAIN).await;
                continue;
            }
            match self.lending(lease, self.had_again(object, &at, error)).await? {
                Resolved::Value(value) => return Ok((value, None)),
                Resolved::Error(error) => return Err(error),
                Resolved::Stored(now) => at = now,
            }
        }
    }

    /// Waits for what may take another task's run; the CPU of a lease is lent meanwhile.
    async fn lending<R>(&self, lease: Option<LeaseId>, wait: impl Future<Output = R>) -> R {
        let tell = |message: fn(LeaseId) -> ToRaylet| {
            if let Some(lease) = lease {
                self.tell_raylet(lease.node, message(lease));
            }
        };
        tell(|lease| ToRaylet::Blocked { lease });
        let done = wait.await;
        tell(|lease| ToRaylet::Unblocked { lease });
        done
    }

    /// And who gave it; or, if nobody did, who is known to be without it, and the last reason.
    async fn transfer(
        self: &Arc<Self>,
        object: ObjectId,
        stored: &Stored,
    ) -> std::result::Result<(Value, ProcessId), (Vec<ProcessId>, Error)> {
        let mut last = "no process is known to hold it".to_owned();
        let mut without = Vec::new();
        for at in &stored.at {
            if at.id == self.id {
                match self.local_value(&object) {
                    Some(value) => return Ok((value, at.id)),
                    None => without.push(at.id),
                }
                continue;
            }
            let peer = self.endpoint().map_err(|error| (Vec::new(), error))?.peer(at);
            match pull(&peer, object).await {
                Ok(value) => return Ok((value, at.id)),
                Err(missed) => {
                    if missed.is_absent() || self.is_gone(at.id).await {
                        without.push(at.id);
                    }
                    last = format!("process {}: {missed}", at.id);
                }
            }
        }
        let text = format!("object {object} ({} bytes) cannot be had any more: {last}", stored.size);
        Err((without, Error::object_lost(text)))
    }

    /// A value that this process holds: its own, or one kept for another.
    pub(crate) fn local_value(&self, object: &ObjectId) -> Option<Value> {
        if let Some(value) = self.store.get(object) {
            return Some(value);
        }
        let owned = self.owner_numbered(object.task.owner.number)?.find(object.task, object.index)?;
        match owned.slot().get() {
            Some(Resolved::Value(value)) => Some(value),
            _ => None,
        }
    }
}

fn owner_gone(object: ObjectId) -> Error {
    Error::owner_died(format!("object {object} is lost: its owner is gone"))
        .at_node(object.task.owner.process.node)
        .remedy("keep the ref's owner alive, or have the value made by a process that lives longer")
}

/// The value with the refs that its owner handed over with it.
fn with_refs(value: Value, stored: &Stored) -> Value {
    if stored.refs.is_empty() || !value.refs().is_empty() {
        return value;
    }
    let extras = Extras { buffers: value.buffers().to_vec(), refs: stored.refs.clone(), detached: Vec::new() };
    Value::new(value.body, extras)
}

/// So often an object is asked for whose stream breaks: the connection may be replaced under it, when both sides dialled
/// at once, and be lost and made again.
const PULLS_MAX: u32 = 10;
const PULL_AGAIN: Duration = Duration::from_millis(10);

/// How long, and how often, a holder is asked again that cannot be reached: until a node that is gone is known to be.
const UNREACHED_AGAIN: Duration = Duration::from_millis(250);
const UNREACHED_MAX: u32 = 40;

/// Why an object did not come from a process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missed {
    /// It does not have it.
    #[error("{0}")]
    Absent(String),
    /// It may have it.
    #[error("{0}")]
    Unreached(String),
}

impl Missed {
    fn is_absent(&self) -> bool {
        matches!(self, Missed::Absent(_))
    }
}

/// Asks a process for an object's bytes.
pub(crate) async fn pull(peer: &Peer, object: ObjectId) -> Result<Value, Missed> {
    let request =
        postcard::to_stdvec(&Fetch::Object { object }).map_err(|error| Missed::Unreached(error.to_string()))?;
    let request = Bytes::from(request);
    let mut tried = 1;
    let all = loop {
        match pull_bytes(peer, request.clone()).await {
            Err(error @ BulkError::Broken { .. }) if tried < PULLS_MAX => {
                tracing::debug!(%object, %error, "an object is asked for again");
                tokio::time::sleep(PULL_AGAIN * tried).await;
                tried += 1;
            }
            Err(BulkError::Refused(text)) => return Err(Missed::Absent(text)),
            pulled => break pulled.map_err(|error| Missed::Unreached(error.to_string()))?,
        }
    };
    read_pulled(&all).map_err(Missed::Unreached)
}

/// The value that came, or what is wrong with its bytes.
pub(crate) fn read_pulled(all: &[u8]) -> std::result::Result<Value, String> {
    let (header, rest) = postcard::take_from_bytes::<FetchHeader>(all).map_err(|error| error.to_string())?;
    let mut parts = Vec::with_capacity(header.buffers.len());
    let (body, mut rest) = rest.split_at_checked(header.body as usize).ok_or("the object's body is cut short")?;
    for length in header.buffers {
        let (part, after) = rest.split_at_checked(length as usize).ok_or("one of the object's buffers is cut short")?;
        parts.push(aligned(part));
        rest = after;
    }
    Ok(Value::new(Blob::copy_of(body), Extras { buffers: parts, ..Extras::default() }))
}

async fn pull_bytes(peer: &Peer, request: Bytes) -> Result<BytesMut, BulkError> {
    let mut reader = peer.bulk(request).await?;
    // What a peer announces is no reason to allocate it.
    let mut all = BytesMut::with_capacity(usize::try_from(reader.length()).unwrap_or(0).min(64 << 20));
    while let Some(chunk) = reader.next_chunk().await {
        all.extend_from_slice(&chunk?);
    }
    Ok(all)
}

/// Serves the objects of a process to others.
pub(crate) struct ServeObjects(pub(crate) Arc<Process>);

impl BulkHandler for ServeObjects {
    fn serve(&self, from: &Peer, request: Bytes, answer: BulkAnswer) {
        match postcard::from_bytes::<Fetch>(&request) {
            Ok(Fetch::Object { object }) => match self.0.local_value(&object) {
                Some(value) => {
                    self.0.may_lose(Lost::ObjectChunk, from);
                    answer.send(chunks(&value));
                }
                None => answer.refuse(format!("object {object} is not here")),
            },
            Ok(Fetch::Program { job }) => match self.0.programs.get(job) {
                Some(program) => self.0.spawn(program.serve(answer)),
                None => answer.refuse(format!("the program of job {job} is not here")),
            },
            Err(_) => answer.refuse("the request cannot be decoded"),
        }
    }
}

fn chunks(value: &Value) -> Vec<Bytes> {
    let body = value.body.as_slice();
    let header = FetchHeader {
        body: body.len() as u64,
        buffers: value.buffers().iter().map(|buffer| buffer.len() as u64).collect(),
    };
    let mut first = postcard::to_stdvec(&header).unwrap_or_default();
    first.extend_from_slice(body);
    std::iter::once(Bytes::from(first)).chain(value.buffers().iter().cloned()).collect()
}
