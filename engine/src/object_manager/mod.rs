//! Objects above the inline limit: what a process keeps of them, and how a copy comes from elsewhere.
//!
//! A copy moves when somebody needs it, by a bulk stream, once however many ask.

pub(crate) mod budget;
mod keeping;
pub(crate) mod lost;
pub(crate) mod store;
pub(crate) mod transfers;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use actinic_transport::{BulkAnswer, BulkError, BulkHandler, Peer, ProcessId};

use crate::api::error::{Error, Result};
use crate::ids::ObjectId;
use crate::object::{RawRef, Resolved, Stored};
use crate::object_manager::transfers::{Lends, UnderWay};
use crate::process::Process;
use crate::protocol::calls::{Fetch, FetchHeader, aligned};
use crate::protocol::{OwnerMessage, ToOwner};
use crate::testing::Message as Lost;
use crate::value::{Blob, Extras, Value};

impl Process {
    /// The value of an object that lies elsewhere: from this process's store, or fetched into it.
    ///
    /// If another's transfer is waited for, or the object has to be made again, what is lent is lent meanwhile. Its seat is
    /// left while nothing comes.
    pub(crate) async fn fetch(
        self: &Arc<Self>,
        object: ObjectId,
        stored: &Arc<Stored>,
        under_way: &UnderWay,
    ) -> Result<Value> {
        let joined = {
            let mut kept = self.store.lock();
            if let Some(value) = kept.value(&object) {
                return Ok(with_refs(value.clone(), stored));
            }
            kept.join(object, under_way.seat())
        };
        if let Some((hear, rests)) = joined {
            if rests {
                under_way.seat().leave();
            }
            let heard = tokio::select! {
                biased;
                // Whoever asked first may have nothing to lend.
                heard = lending(under_way.lends(), hear) => heard,
                () = under_way.unheard() => return Err(unheard()),
            };
            return match heard {
                Ok(done) => done.map(|value| with_refs(value, stored)),
                Err(_) => Err(Error::object_lost(format!("the transfer of object {object} was given up"))),
            };
        }
        // Whether it counts, if it is a copy that this process keeps from now on.
        let mut copy = None;
        let fetched = match self.transfer_again(object, stored, under_way).await {
            Ok(None) => return Err(unheard()),
            Ok(Some((value, Counted::Here))) => Ok(value),
            Ok(Some((value, Counted::In(mark)))) => {
                // What another process of this node keeps counts there.
                let counts = mark == 0 || mark != self.store.mark();
                let charged = if counts { self.charge_patiently(value.size()).await } else { Ok(()) };
                copy = charged.is_ok().then_some(counts);
                charged.map(|()| value)
            }
            Err(error) => Err(error),
        };
        let waiting = {
            let mut kept = self.store.lock();
            if let (Ok(value), Some(counts)) = (&fetched, copy) {
                kept.add_copy(object, value.clone(), counts);
            }
            kept.came(&object)
        };
        for joined in waiting {
            joined.tell(fetched.clone());
        }
        let owner = object.task.owner;
        if copy.is_some() && owner.process != self.id {
            self.drop_if_unowned(&object);
            // It frees the copy with the object.
            let copied = OwnerMessage::Copied { seq: object.task.seq, index: object.index, at: self.address() };
            self.tell_owner(owner.process, ToOwner::To { owner: owner.number, message: copied });
        }
        fetched.map(|value| with_refs(value, stored))
    }

    /// Transfers an object, and if all copies of it are gone, what its owner has made again; and says where it counts. None
    /// if nobody waits any more for what is made again.
    async fn transfer_again(
        self: &Arc<Self>,
        object: ObjectId,
        stored: &Arc<Stored>,
        under_way: &UnderWay,
    ) -> Result<Option<(Value, Counted)>> {
        let mut at = Arc::clone(stored);
        let mut tries = 0;
        let mut pause = UNREACHED_AGAIN;
        loop {
            let (without, error) = match self.transfer(object, &at).await {
                // It was made again, with other refs.
                Ok((value, counted)) if !Arc::ptr_eq(&at, stored) => {
                    return Ok(Some((with_refs(value, &at), counted)));
                }
                Ok(transferred) => return Ok(Some(transferred)),
                Err(missed) => missed,
            };
            let owner = object.task.owner.process;
            // Who held it may be who owned it, and gone with it: an owner that lives holds what others have refs to.
            if owner != self.id && (without.contains(&owner) || self.is_gone(owner).await) {
                return Err(owner_gone(object));
            }
            if !at.at.iter().all(|at| without.contains(&at.id)) {
                // Somebody has it who cannot be reached now: that is no reason to make it again, nor to lose it.
                if self.is_closing() {
                    return Err(Error::connection("the cluster was shut down"));
                }
                tries += 1;
                if tries == UNREACHED_LONG {
                    tracing::warn!(%object, %error, "an object does not come, and is asked for until its holder answers");
                }
                let again = async {
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep(pause) => true,
                        () = self.unheard(object) => false,
                    }
                };
                if !self.resting(object, again).await {
                    return Ok(None);
                }
                pause = (2 * pause).min(UNREACHED_AGAIN_MAX);
                continue;
            }
            let had_again = lending(under_way.lends(), self.had_again(object, &at, error));
            // In this order: the owner has been asked, for those who ask again and again and wait but a moment.
            let while_heard = async {
                tokio::select! {
                    biased;
                    had_again = had_again => Some(had_again),
                    () = self.unheard(object) => None,
                }
            };
            let Some(had_again) = self.resting(object, while_heard).await else { return Ok(None) };
            match had_again? {
                // It was made again here, or is a small one that came with its owner's word.
                Resolved::Value(value) if owner == self.id => return Ok(Some((value, Counted::Here))),
                Resolved::Value(value) => return Ok(Some((value, Counted::In(0)))),
                Resolved::Error(error) => return Err(error),
                Resolved::Stored(now) => (at, pause) = (now, UNREACHED_AGAIN),
            }
        }
    }

    /// Waits while nothing comes of an object that this process transfers: others that are waited for with it can come.
    async fn resting<R>(&self, object: ObjectId, wait: impl Future<Output = R>) -> R {
        let seats = self.store.lock().rests(&object);
        seats.iter().for_each(|seat| seat.leave());
        let waited = wait.await;
        self.store.lock().pulls(&object);
        waited
    }

    /// Until nobody waits for a fetch any more, which is over then.
    async fn unheard(&self, object: ObjectId) {
        loop {
            let Some(seat) = self.store.lock().heard_by(&object) else { return };
            seat.unheard().await;
        }
    }

    /// And where it counts; or, if nobody gave it, who is known to be without it, and the last reason.
    async fn transfer(
        self: &Arc<Self>,
        object: ObjectId,
        stored: &Stored,
    ) -> std::result::Result<(Value, Counted), (Vec<ProcessId>, Error)> {
        let mut last = "no process is known to hold it".to_owned();
        let mut without = Vec::new();
        for at in &stored.at {
            if at.id == self.id {
                match self.local_value(&object) {
                    Some((value, _)) => return Ok((value, Counted::Here)),
                    None => without.push(at.id),
                }
                continue;
            }
            let peer = self.endpoint().map_err(|error| (Vec::new(), error))?.peer(at);
            match pull(&peer, object, stored.size).await {
                Ok((value, mark)) => return Ok((value, Counted::In(mark))),
                Err(missed) => {
                    // With whom the session is over, it is for good, though that one may live.
                    if missed.is_absent() || peer.ended().is_some() || self.is_gone(at.id).await {
                        without.push(at.id);
                    }
                    last = format!("process {}: {missed}", at.id);
                }
            }
        }
        let text = format!("object {object} ({} bytes) cannot be had any more: {last}", stored.size);
        Err((without, Error::object_lost(text)))
    }

    /// A value that this process holds: its own, or one kept for another; and whether it counts here as long as the
    /// object lives, which a copy may not.
    pub(crate) fn local_value(&self, object: &ObjectId) -> Option<(Value, bool)> {
        if let Some(found) = self.store.get_primary_or_copy(object) {
            return Some(found);
        }
        // Its own only: the owners of other processes have the same numbers.
        let owned = self.own_object(*object)?;
        match owned.slot().get() {
            Some(Resolved::Value(value)) => Some((value, true)),
            _ => None,
        }
    }

    /// A ref to an object of an owner here.
    pub(crate) fn own_object(&self, object: ObjectId) -> Option<RawRef> {
        let owner = object.task.owner;
        if owner.process != self.id {
            return None;
        }
        self.owner_numbered(owner.number)?.find(object.task, object.index)
    }
}

/// Where a value counts that was fetched.
#[derive(Debug, Clone, Copy)]
enum Counted {
    /// This process owns it, or keeps it already: it is no copy.
    Here,
    /// In the budget of this mark, or in nobody's (0).
    In(u128),
}

/// Waits for what may take another task's run; the CPU of a lease is lent meanwhile.
async fn lending<R>(lends: Option<&Lends>, wait: impl Future<Output = R>) -> R {
    let _lent = lends.map(Lends::lend);
    wait.await
}

fn unheard() -> Error {
    Error::connection("nobody waits for the object any more")
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

/// After so long a holder is asked again that cannot be reached, then after twice as long...
const UNREACHED_AGAIN: Duration = Duration::from_millis(250);
/// ... up to this long: until it answers, or is known to be gone, or nobody waits any more.
const UNREACHED_AGAIN_MAX: Duration = Duration::from_secs(2);
/// So often it is asked before the log has it.
const UNREACHED_LONG: u32 = 40;

/// Why an object did not come from a process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missed {
    /// It does not have it, or nothing that can be read.
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

/// Asks a process for an object's bytes, of which there are to be `size`, and in whose budget it counts there.
pub(crate) async fn pull(peer: &Peer, object: ObjectId, size: u64) -> Result<(Value, u128), Missed> {
    let request =
        postcard::to_stdvec(&Fetch::Object { object }).map_err(|error| Missed::Unreached(error.to_string()))?;
    let request = Bytes::from(request);
    let mut tried = 1;
    let all = loop {
        match pull_bytes(peer, request.clone(), size).await {
            Err(error @ BulkError::Broken { .. }) if tried < PULLS_MAX => {
                tracing::debug!(%object, %error, "an object is asked for again");
                tokio::time::sleep(PULL_AGAIN * tried).await;
                tried += 1;
            }
            Err(BulkError::Refused(text)) => return Err(Missed::Absent(text)),
            pulled => break pulled.map_err(|error| Missed::Unreached(error.to_string()))?,
        }
    };
    // What cannot be read comes no better the next time.
    read_pulled(&all).map_err(Missed::Absent)
}

/// The value that came, or what is wrong with its bytes.
pub(crate) fn read_pulled(all: &[u8]) -> std::result::Result<(Value, u128), String> {
    let (header, rest) = postcard::take_from_bytes::<FetchHeader>(all).map_err(|error| error.to_string())?;
    let mut parts = Vec::with_capacity(header.buffers.len());
    let (body, mut rest) = rest.split_at_checked(header.body as usize).ok_or("the object's body is cut short")?;
    for length in header.buffers {
        let (part, after) = rest.split_at_checked(length as usize).ok_or("one of the object's buffers is cut short")?;
        parts.push(aligned(part));
        rest = after;
    }
    let value = Value::new(Blob::copy_of(body), Extras { buffers: parts, ..Extras::default() });
    Ok((value, header.counted_in))
}

/// What comes beside an object's own bytes, at most: a few for each of its buffers, which may be empty.
const BESIDE_MAX: u64 = 16 << 20;

async fn pull_bytes(peer: &Peer, request: Bytes, size: u64) -> Result<BytesMut, BulkError> {
    let mut reader = peer.bulk(request).await?;
    let most = size.saturating_mul(2).saturating_add(BESIDE_MAX);
    if reader.length() > most {
        // There is room for what was said, and for no more.
        let text = format!("{} bytes come for an object that was said to have {size}", reader.length());
        return Err(BulkError::Refused(text));
    }
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
                Some((value, counts)) => {
                    self.0.may_lose(Lost::ObjectChunk, from);
                    answer.send(chunks(&value, if counts { self.0.store.mark() } else { 0 }));
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

fn chunks(value: &Value, counted_in: u128) -> Vec<Bytes> {
    let body = value.body.as_slice();
    let header = FetchHeader {
        body: body.len() as u64,
        buffers: value.buffers().iter().map(|buffer| buffer.len() as u64).collect(),
        counted_in,
    };
    let mut first = postcard::to_stdvec(&header).unwrap_or_default();
    first.extend_from_slice(body);
    std::iter::once(Bytes::from(first)).chain(value.buffers().iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Mutex;

    use actinic_transport::{Authority, ClusterId, PeerAddr};

    use super::*;
    use crate::env::{Env, sim};
    use crate::ids::{OwnerId, TaskId};
    use crate::net::tests::{endpoint, process};
    use crate::object_manager::transfers::{Transfers, Wanted};
    use crate::testing::eventually;

    /// Leaves whoever asks without an answer until some time has come.
    struct Late {
        env: Env,
        until: Duration,
        value: Value,
        /// Whoever asked before waits no more, or it would not ask again.
        unanswered: Mutex<Option<BulkAnswer>>,
    }

    impl BulkHandler for Late {
        fn serve(&self, _from: &Peer, _request: Bytes, answer: BulkAnswer) {
            if self.env.now() < self.until {
                *self.unanswered.lock().unwrap() = Some(answer);
            } else {
                answer.send(chunks(&self.value, 0));
            }
        }
    }

    /// An object of which the holder says nothing for long is not lost; and when nobody waits for it, it is not asked for.
    #[test]
    fn a_holder_that_lives_is_asked_until_it_answers() {
        const LONG: Duration = Duration::from_secs(900);
        sim::run(1, |env| async move {
            let authority = Authority::generate(ClusterId(env.uuid())).unwrap();
            let (asks, holder) = (process(&env, &authority), endpoint(&env, &authority));
            let value = crate::value::encode(&7, "a number").unwrap();
            let until = env.now() + LONG;
            let late = Late { env: env.clone(), until, value: value.clone(), unanswered: Mutex::default() };
            holder.set_bulk(Arc::new(late));
            let owner = OwnerId { process: holder.id(), number: 1 };
            let object = ObjectId { task: TaskId { owner, seq: 1 }, index: 0 };
            let at = vec![PeerAddr::new(holder.id(), holder.local_addr())];
            let stored = Arc::new(Stored { size: 8, at, refs: Vec::new() });
            let begin = || {
                let mut transfers = Transfers::new(None);
                let (process, stored) = (Arc::clone(&asks), Arc::clone(&stored));
                transfers.begin(Wanted { at: 0, process, object, stored, held: None });
                transfers
            };
            let given_up = begin();
            assert!(eventually(LONG, || asks.store.is_coming(&object).is_some()).await);
            drop(given_up);
            assert!(eventually(Duration::from_secs(60), || asks.store.is_coming(&object).is_none()).await);
            let mut patient = begin();
            let (_, came) = tokio::time::timeout(2 * LONG, patient.next()).await.unwrap().unwrap();
            assert_eq!(came.unwrap().size(), value.size());
            assert!(env.now() >= until);
        });
    }
}
