//! Objects above the inline limit: the store of a process, and how a copy comes from elsewhere.
//!
//! The store keeps values on the heap, behind the interface that shared memory will take. What a process owns itself
//! lies in its owners' slots and is only counted here; what it keeps for others lies in the store's map. A copy moves
//! when somebody needs it, by a bulk stream, once however many ask.

pub(crate) mod lost;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use actinic_transport::{BulkAnswer, BulkError, BulkHandler, Peer, ProcessId};

use crate::api::error::{Error, Result};
use crate::call::INLINE_LIMIT;
use crate::ids::ObjectId;
use crate::object::{Resolved, Stored};
use crate::process::Process;
use crate::protocol::calls::{Fetch, FetchHeader, aligned};
use crate::protocol::{LeaseId, OwnerMessage, ToOwner, ToRaylet};
use crate::testing::Message as Lost;
use crate::value::{Blob, Extras, Value};

#[derive(Default)]
struct Kept {
    /// Primary copies of objects that others own.
    primary: BTreeMap<ObjectId, Value>,
    /// Copies fetched for a reader here.
    copies: BTreeMap<ObjectId, Value>,
    /// Values on their way into the node's store.
    offered: BTreeMap<ObjectId, Value>,
    /// Fetches under way, and who waits for each.
    fetching: BTreeMap<ObjectId, Vec<tokio::sync::oneshot::Sender<Result<Value>>>>,
}

/// One process's share of its node's store.
pub(crate) struct Store {
    capacity: u64,
    used: AtomicU64,
    kept: Mutex<Kept>,
}

impl Store {
    pub(crate) fn new(capacity: u64) -> Store {
        Store { capacity, used: AtomicU64::new(0), kept: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Plain data under the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts a value that is about to be kept; small ones are not counted.
    ///
    /// # Errors
    ///
    /// `ObjectStoreFull` if it does not fit.
    pub(crate) fn charge(&self, size: usize) -> Result<()> {
        if size <= INLINE_LIMIT {
            return Ok(());
        }
        let size = size as u64;
        let take = |used: u64| (used + size <= self.capacity).then_some(used + size);
        loop {
            let Err(used) = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) else { return Ok(()) };
            if self.evict_one() {
                continue;
            }
            return Err(Error::object_store_full(format!(
                "an object of {size} bytes does not fit: {used} of {} bytes of the object store are in use",
                self.capacity
            ))
            .remedy("drop refs that are not needed any more, or raise `object_store_memory`"));
        }
    }

    /// Drops a copy of what lies elsewhere too; `false` if there is none. Readers keep what they read.
    fn evict_one(&self) -> bool {
        let gone = {
            let mut kept = self.lock();
            let any = kept.copies.keys().next().copied();
            any.and_then(|any| kept.copies.remove(&any))
        };
        if let Some(value) = &gone {
            self.discharge(value.size());
        }
        gone.is_some()
    }

    /// Counts a value that is no longer kept.
    pub(crate) fn discharge(&self, size: usize) {
        if size > INLINE_LIMIT {
            let less = |used: u64| Some(used.saturating_sub(size as u64));
            // The closure never refuses.
            let _ = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        }
    }

    /// Keeps a primary copy of somebody else's object, which is counted already.
    pub(crate) fn insert(&self, object: ObjectId, value: Value) {
        let before = self.lock().primary.insert(object, value);
        if let Some(before) = before {
            self.discharge(before.size());
        }
    }

    pub(crate) fn offer(&self, object: ObjectId, value: Value) {
        self.lock().offered.insert(object, value);
    }

    pub(crate) fn withdraw(&self, object: &ObjectId) {
        let gone = self.lock().offered.remove(object);
        drop(gone);
    }

    pub(crate) fn has(&self, object: &ObjectId) -> bool {
        let kept = self.lock();
        kept.primary.contains_key(object) || kept.copies.contains_key(object)
    }

    pub(crate) fn get(&self, object: &ObjectId) -> Option<Value> {
        let kept = self.lock();
        kept.primary.get(object).or_else(|| kept.copies.get(object)).or_else(|| kept.offered.get(object)).cloned()
    }

    /// As [`Store::get`], for a reader: bytes that were fetched come without the refs that their owner handed over.
    pub(crate) fn get_with_refs(&self, object: &ObjectId, stored: &Stored) -> Option<Value> {
        self.get(object).map(|value| with_refs(value, stored))
    }

    /// The object was freed by its owner.
    pub(crate) fn remove(&self, object: &ObjectId) {
        let gone: Vec<Value> = {
            let mut kept = self.lock();
            [kept.primary.remove(object), kept.copies.remove(object)].into_iter().flatten().collect()
        };
        for value in gone {
            self.discharge(value.size());
        }
    }

    /// A fetched copy is needed no more.
    pub(crate) fn drop_copy(&self, object: &ObjectId) {
        let gone = self.lock().copies.remove(object);
        if let Some(value) = gone {
            self.discharge(value.size());
        }
    }

    /// Every object kept here, copies included.
    pub(crate) fn all_objects(&self) -> Vec<ObjectId> {
        let kept = self.lock();
        kept.primary.keys().chain(kept.copies.keys()).copied().collect()
    }

    /// Loses every object kept for others, as a crash of the node would.
    pub(crate) fn lose_all(&self) {
        let gone: Vec<Value> = {
            let mut kept = self.lock();
            let primary = std::mem::take(&mut kept.primary);
            primary.into_values().chain(std::mem::take(&mut kept.copies).into_values()).collect()
        };
        for value in gone {
            self.discharge(value.size());
        }
    }
}

impl Process {
    /// Counts a value in the store; what stays there for lineage's sake only goes first.
    ///
    /// # Errors
    ///
    /// `ObjectStoreFull` if it does not fit then either.
    pub(crate) fn charge(&self, size: usize) -> Result<()> {
        loop {
            match self.store.charge(size) {
                Err(_) if self.owners().iter().any(|owner| owner.shed_lineage()) => {}
                charged => return charged.map_err(|error| error.at_node(self.id.node)),
            }
        }
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
            if let Some(value) = kept.primary.get(&object).or_else(|| kept.copies.get(&object)) {
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
        let transferred = self.transfer_again(object, stored, lease).await;
        let fetched = transferred.and_then(|value| {
            self.charge(value.size())?;
            Ok(value)
        });
        let waiting = {
            let mut kept = self.store.lock();
            if let Ok(value) = &fetched {
                kept.copies.insert(object, value.clone());
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

    /// Transfers an object, and if all copies of it are gone, what its owner has made again.
    async fn transfer_again(
        self: &Arc<Self>,
        object: ObjectId,
        stored: &Arc<Stored>,
        lease: Option<LeaseId>,
    ) -> Result<Value> {
        let mut at = Arc::clone(stored);
        let mut tries = 0;
        loop {
            let (without, error) = match self.transfer(object, &at).await {
                // It was made again, with other refs.
                Ok(value) if !Arc::ptr_eq(&at, stored) => return Ok(with_refs(value, &at)),
                Ok(value) => return Ok(value),
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
                Resolved::Value(value) => return Ok(value),
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

    /// Or, if nobody gave it, who is known to be without it, and the last reason.
    async fn transfer(
        self: &Arc<Self>,
        object: ObjectId,
        stored: &Stored,
    ) -> std::result::Result<Value, (Vec<ProcessId>, Error)> {
        let mut last = "no process is known to hold it".to_owned();
        let mut without = Vec::new();
        for at in &stored.at {
            if at.id == self.id {
                match self.local_value(&object) {
                    Some(value) => return Ok(value),
                    None => without.push(at.id),
                }
                continue;
            }
            let peer = self.endpoint().map_err(|error| (Vec::new(), error))?.peer(at);
            match pull(&peer, object).await {
                Ok(value) => return Ok(value),
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
