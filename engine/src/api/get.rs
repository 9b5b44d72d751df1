//! `get`: the values of refs.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::api::error::{Error, Result};
use crate::api::object_ref::ObjectRef;
use crate::api::op::{block_on, check_is_simulated, check_may_block, wait_for};
use crate::ids::ObjectId;
use crate::object::{RawRef, Resolved, State, Target};
use crate::object_manager::transfers::{Transfers, Wanted};
use crate::process::Process;
use crate::value::{self, Value};
use crate::wait::{Came, Countdown, Waiter};
use crate::worker::host::{self, Current, WaitsFor};

/// One ref, or several of them, whose values `get` returns.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no ref, and no list of refs",
    note = "`get` takes an `ObjectRef`, or a slice, `Vec`, array or tuple of them: what tasks, actor calls and `put` return"
)]
pub trait Refs: Send {
    /// What `get` returns.
    type Values: Send + 'static;
    #[doc(hidden)]
    fn collect_refs(&self, refs: &mut RefList);
    #[doc(hidden)]
    fn read_values(values: &mut ValueList) -> Result<Self::Values>;
}

/// The refs of a `get`; opaque.
#[derive(Default)]
pub struct RefList {
    refs: Vec<RawRef>,
    /// How many each nested list has, in order.
    lengths: Vec<usize>,
}

/// The values of a `get`, in order; opaque.
pub struct ValueList {
    refs: Vec<RawRef>,
    values: std::vec::IntoIter<Value>,
    lengths: std::vec::IntoIter<usize>,
    at: usize,
}

impl fmt::Debug for RefList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} refs", self.refs.len())
    }
}

impl fmt::Debug for ValueList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values", self.values.len())
    }
}

impl ValueList {
    fn next<T: DeserializeOwned>(&mut self) -> Result<T> {
        let what = |refs: &[RawRef], at: usize| refs.get(at).map_or_else(String::new, RawRef::describe);
        let value = self.values.next().ok_or_else(|| Error::serialization("a value is missing"))?;
        let decoded = value::decode(&value, "the value").map_err(|error| error.subject(what(&self.refs, self.at)));
        self.at += 1;
        decoded
    }
}

impl<T: DeserializeOwned + Send + 'static> Refs for ObjectRef<T> {
    type Values = T;
    fn collect_refs(&self, refs: &mut RefList) {
        refs.refs.push(self.raw().clone());
    }
    fn read_values(values: &mut ValueList) -> Result<T> {
        values.next()
    }
}

impl<R: Refs + Sync + ?Sized> Refs for &R {
    type Values = R::Values;
    fn collect_refs(&self, refs: &mut RefList) {
        (**self).collect_refs(refs);
    }
    fn read_values(values: &mut ValueList) -> Result<R::Values> {
        R::read_values(values)
    }
}

impl<R: Refs + Sync> Refs for [R] {
    type Values = Vec<R::Values>;
    fn collect_refs(&self, refs: &mut RefList) {
        refs.lengths.push(self.len());
        self.iter().for_each(|one| one.collect_refs(refs));
    }
    fn read_values(values: &mut ValueList) -> Result<Vec<R::Values>> {
        let length = values.lengths.next().unwrap_or(0);
        (0..length).map(|_| R::read_values(values)).collect()
    }
}

impl<R: Refs + Sync> Refs for Vec<R> {
    type Values = Vec<R::Values>;
    fn collect_refs(&self, refs: &mut RefList) {
        self.as_slice().collect_refs(refs);
    }
    fn read_values(values: &mut ValueList) -> Result<Vec<R::Values>> {
        <[R]>::read_values(values)
    }
}

impl<R: Refs + Sync, const N: usize> Refs for [R; N] {
    type Values = Vec<R::Values>;
    fn collect_refs(&self, refs: &mut RefList) {
        self.as_slice().collect_refs(refs);
    }
    fn read_values(values: &mut ValueList) -> Result<Vec<R::Values>> {
        <[R]>::read_values(values)
    }
}

macro_rules! tuples {
    ($(($($name:ident $at:tt),+))*) => {$(
        impl<$($name: Refs),+> Refs for ($($name,)+) {
            type Values = ($($name::Values,)+);
            fn collect_refs(&self, refs: &mut RefList) {
                $(self.$at.collect_refs(refs);)+
            }
            fn read_values(values: &mut ValueList) -> Result<Self::Values> {
                Ok(($($name::read_values(values)?,)+))
            }
        }
    )*};
}
tuples! {
    (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) (A 0, B 1, C 2, D 3, E 4) (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6) (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8) (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10) (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11)
}

/// The values of one ref, a slice, a `Vec`, an array or a tuple of refs, in order.
///
/// The first failure is returned at once, without waiting for the rest. Of an empty list there is an empty list of values,
/// at once.
///
/// # Errors
///
/// The object's error; `GetTimeout` if the values are not there in time, with what is waited for.
pub fn get<R: Refs>(refs: R) -> Get<R::Values> {
    let mut list = RefList::default();
    refs.collect_refs(&mut list);
    Get { list, read: R::read_values, timeout: None }
}

/// A `get` that was described and not begun.
#[must_use = "nothing is got until this is awaited, or `.blocking()` is called"]
pub struct Get<V> {
    list: RefList,
    read: fn(&mut ValueList) -> Result<V>,
    timeout: Option<Duration>,
}

impl<V> fmt::Debug for Get<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Get({} refs)", self.list.refs.len())
    }
}

impl<V: Send + 'static> Get<V> {
    /// Waits no longer than this; zero looks without waiting.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    /// Gets on the calling thread.
    ///
    /// # Errors
    ///
    /// Those of `get`, and `InvalidArgument` on a thread of an async runtime.
    pub fn blocking(self) -> Result<V> {
        let RefList { refs, lengths } = self.list;
        check_may_block()?;
        if let Some(object) = refs.first() {
            check_is_simulated(object.process())?;
        }
        let bound = Bound::new(&refs, self.timeout);
        if self.timeout == Some(Duration::ZERO) {
            ask_owners(&refs);
        } else if let Some(down) = countdown_for(&refs, true) {
            let process = refs[0].process();
            wait_for(&down.countdown, self.timeout, || process.env.now());
        }
        let values = match take_values(&refs, self.timeout)? {
            Some(values) => values,
            None => block_on(Box::pin(fetch_values(refs.clone(), bound)), WaitsFor::Ref)??,
        };
        read(self.read, refs, lengths, values)
    }
}

fn read<V>(
    read: fn(&mut ValueList) -> Result<V>,
    refs: Vec<RawRef>,
    lengths: Vec<usize>,
    values: Vec<Value>,
) -> Result<V> {
    check_cancelled()?;
    read(&mut ValueList { refs, values: values.into_iter(), lengths: lengths.into_iter(), at: 0 })
}

/// A blocking get is a cancellation point.
pub(super) fn check_cancelled() -> Result<()> {
    let cancelled = host::with_current(|current| current.is_some_and(Current::is_given_up));
    if cancelled { Err(Error::task_cancelled("the task that waits here was cancelled")) } else { Ok(()) }
}

/// One waiter for all refs that are not ready; `None` if none is missing. One failure ends it if `fail_fast`.
fn countdown_for(refs: &[RawRef], fail_fast: bool) -> Option<Down> {
    let mut pending = Vec::new();
    for object in refs {
        match object.slot().outcome() {
            None => pending.push(object),
            Some(Came::Failed) if fail_fast => return None,
            Some(_) => {}
        }
    }
    if pending.is_empty() {
        return None;
    }
    let down = Down { countdown: Countdown::new(pending.len() as u32, fail_fast) };
    pending.into_iter().for_each(|object| down.counts(object));
    Some(down)
}

/// Whoever looks without waiting leaves no waiter, and finds when he looks again what the owners of others' objects said.
fn ask_owners(refs: &[RawRef]) {
    refs.iter().filter(|object| !object.slot().is_ready()).for_each(RawRef::ask);
}

/// The values, if all are in this process: `None` if one must be fetched.
fn take_values(refs: &[RawRef], timeout: Option<Duration>) -> Result<Option<Vec<Value>>> {
    let mut values = Vec::with_capacity(refs.len());
    let mut missing = None;
    let mut away = false;
    // A failure counts before what is not there yet.
    for object in refs {
        match &*object.slot().lock() {
            State::Ready(Resolved::Value(value)) => values.push(value.clone()),
            State::Ready(Resolved::Stored(_)) => away = true,
            State::Ready(Resolved::Error(error)) => {
                object.slot().see();
                return Err(error_of(object, error.clone()));
            }
            State::Pending(_) => missing = missing.or(Some(object)),
        }
    }
    if let Some(object) = missing {
        check_cancelled()?;
        return Err(late(object, timeout));
    }
    Ok((!away).then_some(values))
}

/// Why an object has no value. What befell all that an owner had says nothing of whom it happened to: the ref does.
fn error_of(object: &RawRef, error: Error) -> Error {
    if error.detail().subject.is_some() { error } else { error.subject(object.describe()) }
}

fn late(object: &RawRef, timeout: Option<Duration>) -> Error {
    let waits = match object.target() {
        Target::Owned(task, ..) => task.explain(),
        Target::Borrowed(object, _) => {
            format!("its owner {} has not said that it is there: what makes it runs, or waits", object.id.task.owner)
        }
    };
    let (what, within) = (object.describe(), timeout.unwrap_or_default());
    let node = object.process().id.node;
    // The node before the reason, which may be a sentence of its own.
    Error::get_timeout(format!("{what} was not ready within {within:?} on node {node}: {waits}"))
        .at_node(node)
        .remedy("wait longer, or look at `actinic status` for what is missing")
}

/// How long a `get` may take, transfers included.
#[derive(Clone, Copy)]
struct Bound {
    timeout: Option<Duration>,
    /// By the process's clock.
    until: Option<Duration>,
}

impl Bound {
    const NONE: Bound = Bound { timeout: None, until: None };

    fn new(refs: &[RawRef], timeout: Option<Duration>) -> Bound {
        let now = || refs.first().map_or(Duration::ZERO, |object| object.process().env.now());
        Bound { timeout, until: timeout.map(|time| now().saturating_add(time)) }
    }
}

/// The values, fetched from where they lie; the first failure ends it.
async fn fetch_values(refs: Vec<RawRef>, bound: Bound) -> Result<Vec<Value>> {
    let mut values = Vec::with_capacity(refs.len());
    let mut away = Vec::new();
    for (at, object) in refs.iter().enumerate() {
        values.push(match object.slot().get() {
            Some(Resolved::Value(value)) => Some(value),
            Some(Resolved::Error(error)) => return Err(error_of(object, error)),
            Some(Resolved::Stored(stored)) => {
                let here = object.process().store.get_with_refs(&object.id(), &stored);
                if here.is_none() {
                    away.push(Wanted::of(at, object, stored));
                }
                here
            }
            None => return Err(late(object, bound.timeout)),
        });
    }
    if let Some(first) = away.first() {
        let process = Arc::clone(&first.process);
        let (mut tell, hear) = tokio::sync::oneshot::channel();
        // On the system's thread, whatever runtime asks for it: it has its time, and each transfer wakes nobody else.
        process.clone().spawn(async move {
            let done = tokio::select! {
                biased;
                () = tell.closed() => return,
                done = collect(&process, away, values, bound) => done,
            };
            // Whoever waits may have gone.
            let _ = tell.send(done);
        });
        values = hear.await.map_err(|_| Error::connection("the cluster was shut down"))??;
    }
    Ok(values.into_iter().flatten().collect())
}

/// Fills in the values that are away.
async fn collect(
    process: &Process,
    away: Vec<Wanted>,
    mut values: Vec<Option<Value>>,
    bound: Bound,
) -> Result<Vec<Option<Value>>> {
    let asked: Vec<_> = away.iter().map(|one| (one.at, one.object, one.stored.size)).collect();
    let mut transfers = Transfers::new(None);
    away.into_iter().for_each(|one| transfers.begin(one));
    loop {
        let next = match bound.until {
            None => transfers.next().await,
            Some(until) => {
                let left = until.saturating_sub(process.env.now());
                let Ok(next) = tokio::time::timeout(left, transfers.next()).await else {
                    let missing = asked.into_iter().find(|(at, ..)| values[*at].is_none());
                    let (_, id, size) = missing.ok_or_else(|| Error::object_lost("no transfer is missing"))?;
                    return Err(transfer_late(process, id, size, bound));
                };
                next
            }
        };
        let Some((at, value)) = next else { return Ok(values) };
        values[at] = Some(value?);
    }
}

fn transfer_late(process: &Process, id: ObjectId, size: u64, bound: Bound) -> Error {
    let time = bound.timeout.unwrap_or_default();
    Error::get_timeout(format!("the {size} bytes of object {id} did not arrive within {time:?}"))
        .at_node(process.id.node)
        .remedy("wait longer: the transfer goes on")
}

/// The time is the system's thread's, whatever runtime asks for it.
async fn fetch_on_system(object: &RawRef, stored: Arc<crate::object::Stored>, bound: Bound) -> Result<Value> {
    let process = Arc::clone(object.process());
    if let Some(here) = process.store.get_with_refs(&object.id(), &stored) {
        return Ok(here);
    }
    let (id, size) = (object.id(), stored.size);
    let mut transfers = Transfers::new(None);
    transfers.begin(Wanted::of(0, object, stored));
    let gone = || Error::connection("the cluster was shut down");
    let Some(until) = bound.until else {
        return transfers.next().await.ok_or_else(gone)?.1;
    };
    let (tell, hear) = tokio::sync::oneshot::channel();
    process.clone().spawn(async move {
        let left = until.saturating_sub(process.env.now());
        let fetched = match tokio::time::timeout(left, transfers.next()).await {
            Ok(next) => next.map(|(_, fetched)| fetched),
            Err(_) => Some(Err(transfer_late(&process, id, size, bound))),
        };
        if let Some(fetched) = fetched {
            // Whoever waits may have gone.
            let _ = tell.send(fetched);
        }
    });
    hear.await.map_err(|_| gone())?
}

/// Ends as `fetch` does. What it brings may be lost, and be made again by a task that needs what whoever waits holds.
async fn parked<F: Future>(fetch: F) -> F::Output {
    let mut fetch = std::pin::pin!(fetch);
    std::future::poll_fn(|cx| {
        let polled = fetch.as_mut().poll(cx);
        if polled.is_pending() {
            host::park();
        }
        polled
    })
    .await
}

/// Waits until a ref is ready, without fetching it.
pub(crate) async fn resolved(object: &RawRef) {
    if let Some(down) = countdown_for(std::slice::from_ref(object), false) {
        down.await;
    }
}

/// A future that ends when a countdown is down. Dropped before, it leaves nothing that the refs keep as long as they are
/// pending.
struct Down {
    countdown: Arc<Countdown>,
}

impl Down {
    fn of_one(object: &RawRef) -> Down {
        let down = Down { countdown: Countdown::new(1, false) };
        down.counts(object);
        down
    }

    /// The ref is one of those that are counted.
    fn counts(&self, object: &RawRef) {
        if let Err((waiter, how)) = object.subscribe(Waiter::Count(Arc::clone(&self.countdown))) {
            waiter.notify(how);
        }
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        self.countdown.abandon();
    }
}

impl Future for Down {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.countdown.poll(cx.waker()) {
            return Poll::Ready(());
        }
        host::park();
        Poll::Pending
    }
}

async fn get_values(refs: Vec<RawRef>, timeout: Option<Duration>) -> Result<(Vec<RawRef>, Vec<Value>)> {
    let bound = Bound::new(&refs, timeout);
    if timeout == Some(Duration::ZERO) {
        ask_owners(&refs);
    } else if let Some(down) = countdown_for(&refs, true) {
        let alarm = |time| refs[0].process().wake_after(time, Arc::clone(&down.countdown));
        let _alarm = timeout.map(alarm);
        down.await;
    }
    match take_values(&refs, timeout)? {
        Some(values) => Ok((refs, values)),
        None => {
            let values = parked(fetch_values(refs.clone(), bound)).await?;
            Ok((refs, values))
        }
    }
}

/// The values of refs, for the engine itself.
pub(crate) async fn values(refs: Vec<RawRef>) -> Result<Vec<Value>> {
    get_values(refs, None).await.map(|(_, values)| values)
}

impl<V: Send + 'static> IntoFuture for Get<V> {
    type Output = Result<V>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<V>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let RefList { refs, lengths } = self.list;
        let (read_all, timeout) = (self.read, self.timeout);
        Box::pin(async move {
            let (refs, values) = get_values(refs, timeout).await?;
            read(read_all, refs, lengths, values)
        })
    }
}

/// The future of one ref's value.
#[must_use = "a future does nothing until it is awaited"]
pub struct GetFuture<T> {
    object: RawRef,
    countdown: Option<Down>,
    fetch: Option<Pin<Box<dyn Future<Output = Result<Value>> + Send>>>,
    value: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for GetFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GetFuture({:?})", self.object)
    }
}

pub(crate) fn get_one<T>(object: RawRef) -> GetFuture<T> {
    GetFuture { object, countdown: None, fetch: None, value: PhantomData }
}

impl<T: DeserializeOwned> Future for GetFuture<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        loop {
            if let Some(fetch) = &mut self.fetch {
                let Poll::Ready(value) = fetch.as_mut().poll(cx) else { return Poll::Pending };
                return Poll::Ready(value.and_then(|value| decode(&self.object, &value)));
            }
            if let Some(down) = &mut self.countdown
                && Pin::new(down).poll(cx).is_pending()
            {
                return Poll::Pending;
            }
            match self.object.slot().get() {
                Some(Resolved::Value(value)) => return Poll::Ready(decode(&self.object, &value)),
                Some(Resolved::Error(error)) => return Poll::Ready(Err(error_of(&self.object, error))),
                Some(Resolved::Stored(stored)) => {
                    let object = self.object.clone();
                    let fetch = async move { fetch_on_system(&object, stored, Bound::NONE).await };
                    self.fetch = Some(Box::pin(parked(fetch)));
                }
                None => self.countdown = Some(Down::of_one(&self.object)),
            }
        }
    }
}

fn decode<T: DeserializeOwned>(object: &RawRef, value: &Value) -> Result<T> {
    value::decode(value, "the value").map_err(|error| error.subject(object.describe()))
}

/// One ref's value, on the calling thread.
pub(crate) fn get_blocking<T: DeserializeOwned + Send + 'static>(
    object: &RawRef,
    timeout: Option<Duration>,
) -> Result<T> {
    check_may_block()?;
    check_is_simulated(object.process())?;
    let bound = Bound::new(std::slice::from_ref(object), timeout);
    if timeout == Some(Duration::ZERO) {
        ask_owners(std::slice::from_ref(object));
    } else if !object.slot().is_ready() {
        let down = Down::of_one(object);
        wait_for(&down.countdown, timeout, || object.process().env.now());
    }
    check_cancelled()?;
    match object.slot().get() {
        Some(Resolved::Value(value)) => decode(object, &value),
        Some(Resolved::Error(error)) => Err(error_of(object, error)),
        Some(Resolved::Stored(stored)) => {
            let raw = object.clone();
            let value = block_on(Box::pin(async move { fetch_on_system(&raw, stored, bound).await }), WaitsFor::Ref)??;
            decode(object, &value)
        }
        None => Err(late(object, timeout)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::task::Waker;

    use uuid::Uuid;

    use super::*;
    use crate::api::as_completed::as_completed;
    use crate::api::wait::wait;
    use crate::ids::{OwnerId, TaskId};
    use crate::process::nowhere;

    /// Several refs that never become ready, and what was begun with them and given up again and again.
    #[test]
    fn what_is_given_up_leaves_no_waiters() {
        let process = Arc::clone(&nowhere().process);
        let mut theirs = process.id;
        theirs.incarnation = Uuid::from_u128(1);
        let task = |seq| TaskId { owner: OwnerId { process: theirs, number: 1 }, seq };
        let pending = |seq| process.borrowed(ObjectId { task: task(seq), index: 0 }).0;
        let refs: Vec<ObjectRef<i64>> = (0..3).map(|seq| ObjectRef::new(pending(seq))).collect();
        let begin = |ways: &[&dyn Fn()]| {
            for way in ways {
                (0..100).for_each(|_| way());
                for one in &refs {
                    let state = one.raw().slot().lock();
                    let State::Pending(waiters) = &*state else { panic!("nobody made it") };
                    assert!(waiters.len() <= 4, "{}", waiters.len());
                }
            }
        };
        let poll = |future: Pin<&mut dyn Future<Output = ()>>| future.poll(&mut Context::from_waker(Waker::noop()));
        let late = |result: Result<Vec<i64>>| assert!(matches!(result, Err(Error::GetTimeout { .. })), "{result:?}");
        let short = Duration::from_micros(1);
        begin(&[
            &|| late(get(&refs).timeout(Duration::ZERO).blocking()),
            &|| late(get(&refs).timeout(short).blocking()),
            &|| late(get_blocking(refs[0].raw(), Some(short)).map(|one: i64| vec![one])),
            &|| late(get_blocking(refs[0].raw(), Some(Duration::ZERO)).map(|one: i64| vec![one])),
            &|| {
                let looks = async { late(get(&refs).timeout(Duration::ZERO).await) };
                assert!(poll(std::pin::pin!(looks)).is_ready());
            },
            &|| {
                let waits = async { late(get(&refs).await) };
                assert!(poll(std::pin::pin!(waits)).is_pending());
            },
            &|| {
                let waits = async { late((&refs[0]).await.map(|one| vec![one])) };
                assert!(poll(std::pin::pin!(waits)).is_pending());
            },
            &|| {
                let waits = async { assert!(wait(&refs).num_returns(2).await.is_err()) };
                assert!(poll(std::pin::pin!(waits)).is_pending());
            },
            &|| {
                let waits = async { assert_eq!(as_completed(&refs).next().await, None) };
                assert!(poll(std::pin::pin!(waits)).is_pending());
            },
        ]);
    }
}
