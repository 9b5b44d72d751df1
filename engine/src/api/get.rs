//! `put`, `get`, `wait`, `cancel`, `as_completed`.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::error::{Error, Result};
use crate::api::object_ref::{ObjectRef, Ref};
use crate::api::op::{Op, block_on, check_may_block, wait_for};
use crate::api::options::IntoCount;
use crate::api::scope;
use crate::ids::ObjectId;
use crate::object::{RawRef, Resolved, State, Target};
use crate::owner::remote::Cancelling;
use crate::process::Process;
use crate::protocol::{OwnerMessage, ToOwner};
use crate::value::{self, Value};
use crate::wait::{Countdown, Waiter};
use crate::worker::host;

// ---- put

/// Stores a value; the ref to it may be passed to any number of calls.
///
/// # Errors
///
/// `Serialization`, `ObjectStoreFull`, and `Connection` outside of a cluster's scope.
///
/// ```
/// # #[actinic::main] async fn main() -> actinic::Result<()> {
/// # let cluster = actinic::init().await?;
/// let numbers = actinic::put(&vec![1i64, 2, 3]).await?;
/// assert_eq!(actinic::get(&numbers).await?, [1, 2, 3]);
/// # cluster.shutdown().await }
/// ```
pub fn put<T: Put + ?Sized>(value: &T) -> Op<ObjectRef<T::Stored>>
where
    T::Stored: 'static,
{
    Op::ready(put_now(value))
}

fn put_now<T: Put + ?Sized>(value: &T) -> Result<ObjectRef<T::Stored>> {
    let owner = scope::owner()?;
    let value = value.encode_stored()?;
    owner.put(value.into()).map(ObjectRef::new)
}

/// What may be put: a value, a `str` as a `String`, a slice as a `Vec`.
///
/// A ref is not: put it inside a list if the ref itself is to be stored.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be put",
    note = "a value must be `serde::Serialize`; a ref must stand inside something, such as a `Vec`"
)]
pub trait Put {
    /// What is stored.
    type Stored;
    #[doc(hidden)]
    fn encode_stored(&self) -> Result<PutValue>;
}

/// An encoded value on its way into the store.
#[derive(Clone)]
pub struct PutValue(Value);

impl fmt::Debug for PutValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.size())
    }
}

impl From<PutValue> for Value {
    fn from(value: PutValue) -> Value {
        value.0
    }
}

impl<T: Serialize> Put for T {
    type Stored = T;
    fn encode_stored(&self) -> Result<PutValue> {
        let type_name = std::any::type_name::<T>();
        if type_name.starts_with("actinic::api::object_ref::") {
            return Err(Error::invalid_argument("put: a ref cannot be put by itself")
                .remedy("put it inside something, such as `vec![object]`, or pass the ref on as it is"));
        }
        value::encode(self, "the value to put").map(PutValue)
    }
}

impl Put for str {
    type Stored = String;
    fn encode_stored(&self) -> Result<PutValue> {
        value::encode(self, "the value to put").map(PutValue)
    }
}

impl<T: Serialize> Put for [T] {
    type Stored = Vec<T>;
    fn encode_stored(&self) -> Result<PutValue> {
        value::encode(self, "the value to put").map(PutValue)
    }
}

// ---- get

/// One ref, or several of them, whose values `get` returns.
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
}

/// The values of one ref, a slice, a `Vec`, an array or a tuple of refs, in order.
///
/// The first failure is returned at once, without waiting for the rest.
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
        let bound = Bound::new(&refs, self.timeout);
        let countdown = countdown_for(&refs, refs.len(), true);
        if let Some(countdown) = &countdown
            && self.timeout != Some(Duration::ZERO)
        {
            let process = Arc::clone(refs[0].process());
            wait_for(countdown, self.timeout, || process.env.now());
        }
        let values = match take_values(&refs, self.timeout)? {
            Some(values) => values,
            None => block_on(Box::pin(fetch_values(refs.clone(), bound)))?,
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
fn check_cancelled() -> Result<()> {
    let cancelled = host::with_current(|current| current.is_some_and(|current| current.job.is_cancelled()));
    if cancelled { Err(Error::task_cancelled("the task that waits here was cancelled")) } else { Ok(()) }
}

/// One waiter for all refs that are not ready; `None` if none is missing. One failure ends it if `fail_fast`.
fn countdown_for(refs: &[RawRef], needed: usize, fail_fast: bool) -> Option<Arc<Countdown>> {
    let mut pending = Vec::new();
    for object in refs {
        match object.slot().outcome() {
            None => pending.push(object),
            Some(failed) if failed && fail_fast => return None,
            Some(_) => {}
        }
    }
    let ready = refs.len() - pending.len();
    if ready >= needed {
        return None;
    }
    let countdown = Countdown::new((needed - ready) as u32, fail_fast);
    for object in pending {
        if let Err((_, failed)) = object.subscribe(Waiter::Count(Arc::clone(&countdown))) {
            countdown.one_done(failed);
        }
    }
    Some(countdown)
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
                return Err(error.clone());
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

fn late(object: &RawRef, timeout: Option<Duration>) -> Error {
    let waits = match object.target() {
        Target::Owned(task, _) => match &task.what {
            crate::task::What::Function(_) => task.owner.explain(task),
            crate::task::What::Method(call) => call.client.explain(),
            crate::task::What::Put => "it was put".to_owned(),
            crate::task::What::Lifeline(_) | crate::task::What::Ready(_) => "its actor is not made yet".to_owned(),
        },
        Target::Borrowed(object) => format!("its owner {} has not answered", object.id.task.owner),
    };
    Error::get_timeout(format!("{} was not ready within {:?}: {waits}", object.describe(), timeout.unwrap_or_default()))
        .remedy("wait longer, or look at `actinic status` for what is missing")
}

/// How long a `get` or a `wait` may take, transfers included.
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

/// The values, fetched from where they lie.
async fn fetch_values(refs: Vec<RawRef>, bound: Bound) -> Result<Vec<Value>> {
    let mut values = Vec::with_capacity(refs.len());
    for object in &refs {
        values.push(match object.slot().get() {
            Some(Resolved::Value(value)) => value,
            Some(Resolved::Error(error)) => return Err(error),
            Some(Resolved::Stored(stored)) => fetch_on_system(object, stored, bound).await?,
            None => return Err(late(object, bound.timeout)),
        });
    }
    Ok(values)
}

/// The transfer runs on the system's thread, whatever runtime asks for it; it goes on when nobody waits for it any more.
async fn fetch_on_system(object: &RawRef, stored: Arc<crate::object::Stored>, bound: Bound) -> Result<Value> {
    let (tell, hear) = tokio::sync::oneshot::channel();
    let process = Arc::clone(object.process());
    let (id, size) = (object.id(), stored.size);
    process.clone().spawn(async move {
        let fetching = tokio::task::spawn({
            let process = Arc::clone(&process);
            async move { process.fetch(id, &stored).await }
        });
        let fetched = match bound.until {
            None => fetching.await.ok(),
            Some(until) => {
                let left = until.saturating_sub(process.env.now());
                match tokio::time::timeout(left, fetching).await {
                    Ok(fetched) => fetched.ok(),
                    Err(_) => {
                        let time = bound.timeout.unwrap_or_default();
                        let text = format!("the {size} bytes of object {id} did not arrive within {time:?}");
                        Some(Err(Error::get_timeout(text).remedy("wait longer: the transfer goes on")))
                    }
                }
            }
        };
        if let Some(fetched) = fetched {
            // Whoever waits may have gone.
            let _ = tell.send(fetched);
        }
    });
    hear.await.map_err(|_| Error::connection("the cluster was shut down"))?
}

/// Waits until a ref is ready, without fetching it.
pub(crate) async fn resolved(object: &RawRef) {
    let Some(countdown) = countdown_for(std::slice::from_ref(object), 1, false) else { return };
    Down { countdown, parked: false }.await;
}

/// A future that ends when a countdown is down.
struct Down {
    countdown: Arc<Countdown>,
    parked: bool,
}

impl Future for Down {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.countdown.poll(cx.waker()) {
            return Poll::Ready(());
        }
        if !self.parked {
            self.parked = true;
            // An async task that waits for a ref holds no worker.
            host::with_current(|current| {
                if let Some(current) = current {
                    current.park();
                }
            });
        }
        Poll::Pending
    }
}

async fn get_values(refs: Vec<RawRef>, timeout: Option<Duration>) -> Result<(Vec<RawRef>, Vec<Value>)> {
    let bound = Bound::new(&refs, timeout);
    if let Some(countdown) = countdown_for(&refs, refs.len(), true) {
        match timeout {
            Some(Duration::ZERO) => {}
            Some(time) => {
                refs[0].process().wake_after(time, Arc::clone(&countdown));
                Down { countdown, parked: false }.await;
            }
            None => Down { countdown, parked: false }.await,
        }
    }
    match take_values(&refs, timeout)? {
        Some(values) => Ok((refs, values)),
        None => {
            let values = fetch_values(refs.clone(), bound).await?;
            Ok((refs, values))
        }
    }
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
                Some(Resolved::Error(error)) => return Poll::Ready(Err(error)),
                Some(Resolved::Stored(stored)) => {
                    let object = self.object.clone();
                    self.fetch = Some(Box::pin(async move { fetch_on_system(&object, stored, Bound::NONE).await }));
                }
                None => {
                    let countdown = Countdown::new(1, false);
                    if let Err((_, failed)) = self.object.subscribe(Waiter::Count(Arc::clone(&countdown))) {
                        countdown.one_done(failed);
                    }
                    self.countdown = Some(Down { countdown, parked: false });
                }
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
    let bound = Bound::new(std::slice::from_ref(object), timeout);
    if !object.slot().is_ready() {
        let countdown = Countdown::new(1, false);
        if object.subscribe(Waiter::Count(Arc::clone(&countdown))).is_ok() {
            let process = Arc::clone(object.process());
            wait_for(&countdown, timeout, || process.env.now());
        }
    }
    check_cancelled()?;
    match object.slot().get() {
        Some(Resolved::Value(value)) => decode(object, &value),
        Some(Resolved::Error(error)) => Err(error),
        Some(Resolved::Stored(stored)) => {
            let raw = object.clone();
            let value = block_on(Box::pin(async move { fetch_on_system(&raw, stored, bound).await }))?;
            decode(object, &value)
        }
        None => Err(late(object, timeout)),
    }
}

// ---- wait

/// Splits refs into those that are ready and the rest, both in the order given.
///
/// Refs that failed count as ready. At most `num_returns` (default 1) are returned as ready.
///
/// # Errors
///
/// `InvalidArgument` for a ref that is given twice, and for a `num_returns` of zero or above the number of refs.
pub fn wait<L: WaitList>(refs: L) -> Wait<L::Ref> {
    Wait { refs: refs.into_list(), num_returns: 1, error: None, timeout: None, fetch_local: true }
}

/// What `wait` takes: a slice, an array or a `Vec` of refs.
pub trait WaitList {
    /// The refs.
    type Ref: Ref;
    #[doc(hidden)]
    fn into_list(self) -> Vec<Self::Ref>;
}

impl<R: Ref> WaitList for Vec<R> {
    type Ref = R;
    fn into_list(self) -> Vec<R> {
        self
    }
}

impl<R: Ref> WaitList for &Vec<R> {
    type Ref = R;
    fn into_list(self) -> Vec<R> {
        self.clone()
    }
}

impl<R: Ref> WaitList for &[R] {
    type Ref = R;
    fn into_list(self) -> Vec<R> {
        self.to_vec()
    }
}

impl<R: Ref, const N: usize> WaitList for [R; N] {
    type Ref = R;
    fn into_list(self) -> Vec<R> {
        self.into()
    }
}

impl<R: Ref, const N: usize> WaitList for &[R; N] {
    type Ref = R;
    fn into_list(self) -> Vec<R> {
        self.to_vec()
    }
}

/// A `wait` that was described and not begun.
#[derive(Debug)]
#[must_use = "nothing is waited for until this is awaited, or `.blocking()` is called"]
pub struct Wait<R> {
    refs: Vec<R>,
    num_returns: usize,
    /// What a setter refused.
    error: Option<Error>,
    timeout: Option<Duration>,
    fetch_local: bool,
}

impl<R: Ref> Wait<R> {
    /// How many refs must be ready; default 1.
    pub fn num_returns(mut self, count: impl IntoCount) -> Self {
        match count.into_count().and_then(|count| usize::try_from(count).ok()) {
            Some(count) => self.num_returns = count,
            None => {
                self.error = Some(
                    Error::invalid_argument("wait: num_returns is no whole number of refs")
                        .remedy("wait for at least one ref, and at most as many as there are"),
                );
            }
        }
        self
    }

    /// Waits no longer than this, and returns what is ready then.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    /// Whether a ref counts as ready only when its value is on this node; default true.
    pub fn fetch_local(mut self, fetch: bool) -> Self {
        self.fetch_local = fetch;
        self
    }

    fn check(&self) -> Result<()> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        if self.refs.is_empty() {
            return Ok(());
        }
        if self.num_returns == 0 {
            return Err(Error::invalid_argument("wait: num_returns is 0").remedy("wait for at least one ref"));
        }
        if self.num_returns > self.refs.len() {
            return Err(Error::invalid_argument(format!(
                "wait: num_returns is {}, and there are {} refs",
                self.num_returns,
                self.refs.len()
            ))
            .remedy("wait for at most as many as there are"));
        }
        Ok(())
    }

    fn check_unique(&self) -> Result<()> {
        let mut seen: std::collections::HashSet<ObjectId> = std::collections::HashSet::with_capacity(self.refs.len());
        for one in &self.refs {
            if !seen.insert(one.raw_ref().0.id()) {
                return Err(Error::invalid_argument(format!("wait: {:?} is given twice", one.raw_ref().0))
                    .remedy("give each ref once"));
            }
        }
        Ok(())
    }

    /// Splits what is ready off, in order; the rest keeps its place.
    fn split(mut self) -> (Vec<R>, Vec<R>) {
        let mut ready = Vec::with_capacity(self.num_returns.min(self.refs.len()));
        let mut at = 0;
        let mut taken = Vec::new();
        for (index, one) in self.refs.iter().enumerate() {
            if taken.len() == self.num_returns {
                break;
            }
            if one.raw_ref().0.slot().is_ready() {
                taken.push(index);
            }
        }
        if let [only] = taken[..] {
            ready.push(self.refs.remove(only));
            return (ready, self.refs);
        }
        let mut pending = Vec::with_capacity(self.refs.len() - taken.len());
        for (index, one) in self.refs.into_iter().enumerate() {
            if taken.get(at) == Some(&index) {
                ready.push(one);
                at += 1;
            } else {
                pending.push(one);
            }
        }
        (ready, pending)
    }

    fn countdown(&self) -> Option<Arc<Countdown>> {
        // Most loops take refs in the order in which they finish: what is needed is often at the front.
        let ready = self.refs.iter().filter(|one| one.raw_ref().0.slot().is_ready()).take(self.num_returns).count();
        if ready >= self.num_returns {
            return None;
        }
        let refs: Vec<RawRef> = self.refs.iter().map(|one| one.raw_ref().0.clone()).collect();
        countdown_for(&refs, self.num_returns, false)
    }

    fn bound(&self) -> Bound {
        match self.timeout {
            None => Bound::NONE,
            timeout => Bound::new(std::slice::from_ref(self.refs[0].raw_ref().0), timeout),
        }
    }

    /// The ready refs whose values are elsewhere.
    fn away(&self) -> Vec<RawRef> {
        if !self.fetch_local {
            return Vec::new();
        }
        let stored = |one: &&R| one.raw_ref().0.slot().is_stored();
        self.refs.iter().filter(stored).take(self.num_returns).map(|one| one.raw_ref().0.clone()).collect()
    }

    /// Waits on the calling thread.
    ///
    /// # Errors
    ///
    /// Those of `wait`, and `InvalidArgument` on a thread of an async runtime.
    pub fn blocking(self) -> Result<(Vec<R>, Vec<R>)> {
        self.check()?;
        check_may_block()?;
        if self.refs.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        self.check_unique()?;
        let bound = self.bound();
        if self.timeout != Some(Duration::ZERO)
            && let Some(countdown) = self.countdown()
        {
            let process = Arc::clone(self.refs[0].raw_ref().0.process());
            wait_for(&countdown, self.timeout, || process.env.now());
        }
        let away = self.away();
        if !away.is_empty() {
            block_on(Box::pin(bring(away, bound)));
        }
        check_cancelled()?;
        Ok(self.split())
    }
}

/// Fetches values so that they are on this node; a failure shows at `get`.
async fn bring(objects: Vec<RawRef>, bound: Bound) {
    for object in objects {
        if let Some(Resolved::Stored(stored)) = object.slot().get() {
            let _ = fetch_on_system(&object, stored, bound).await;
        }
    }
}

impl<R: Ref + Sync> IntoFuture for Wait<R> {
    type Output = Result<(Vec<R>, Vec<R>)>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.check()?;
            if self.refs.is_empty() {
                return Ok((Vec::new(), Vec::new()));
            }
            self.check_unique()?;
            let bound = self.bound();
            if self.timeout != Some(Duration::ZERO)
                && let Some(countdown) = self.countdown()
            {
                if let Some(time) = self.timeout {
                    self.refs[0].raw_ref().0.process().wake_after(time, Arc::clone(&countdown));
                }
                Down { countdown, parked: false }.await;
            }
            bring(self.away(), bound).await;
            Ok(self.split())
        })
    }
}

// ---- cancel

/// Cancels the task or actor call that makes an object; a finished one keeps its value.
///
/// The refs fail at once. When the operation is done, what had not begun never will, and what runs has been told: an
/// async function is dropped at its next await, a sync one sees it by [`crate::Context::is_cancelled`].
///
/// # Errors
///
/// `InvalidArgument` for what cannot be ended by force.
pub fn cancel<R: Ref>(object: &R) -> Cancel {
    Cancel { object: object.raw_ref().0.clone(), force: false, recursive: true }
}

/// A cancellation that was described and not begun.
#[derive(Debug)]
#[must_use = "nothing is cancelled until this is awaited, or `.blocking()` is called"]
pub struct Cancel {
    object: RawRef,
    force: bool,
    recursive: bool,
}

impl Cancel {
    /// Whether to end the process of a task that runs and does not look; default false.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Whether the tasks that it submitted are cancelled too; default true.
    pub fn recursive(mut self, recursive: bool) -> Self {
        self.recursive = recursive;
        self
    }

    fn begin(self) -> Result<Vec<Cancelling>> {
        let mut cancelling = Vec::new();
        match self.object.target() {
            Target::Owned(task, _) => {
                if self.recursive {
                    cancelling.extend(task.owner.process.cancel_children(task.id()));
                    cancelling.extend(task.owner.cancel_children_away(task));
                }
                cancelling.extend(task.owner.cancel(task, self.force)?);
            }
            Target::Borrowed(borrowed) => {
                let id = borrowed.id.task;
                let message = OwnerMessage::Cancel { seq: id.seq, force: self.force, recursive: self.recursive };
                borrowed.process.tell_owner(id.owner.process, ToOwner::To { owner: id.owner.number, message });
            }
        }
        Ok(cancelling)
    }

    async fn run(self) -> Result<()> {
        for told in self.begin()? {
            // A worker that cannot be asked is gone, and what it ran with it.
            let _ = told.await;
        }
        Ok(())
    }

    /// Cancels on the calling thread.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for what cannot be ended by force, and on a thread of an async runtime.
    pub fn blocking(self) -> Result<()> {
        check_may_block()?;
        block_on(Box::pin(self.run()))
    }
}

impl IntoFuture for Cancel {
    type Output = Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

// ---- as_completed

/// The refs in the order in which they finish, each once.
pub fn as_completed<L: WaitList>(refs: L) -> AsCompleted<L::Ref> {
    let refs = refs.into_list();
    let shared = Arc::new(Finished::default());
    for (index, one) in refs.iter().enumerate() {
        let told = Arc::clone(&shared);
        if let Err((waiter, failed)) = one.raw_ref().0.subscribe(Waiter::Call(Box::new(move || told.tell(index)))) {
            waiter.notify(failed);
        }
    }
    AsCompleted { left: refs.len(), refs: refs.into_iter().map(Some).collect(), shared }
}

#[derive(Default)]
struct Finished {
    order: Mutex<(std::collections::VecDeque<usize>, Option<Waker>)>,
    parked: AtomicBool,
}

impl Finished {
    fn tell(&self, index: usize) {
        let waker = {
            let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
            order.0.push_back(index);
            order.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A stream of refs in the order in which they finish.
pub struct AsCompleted<R> {
    refs: Vec<Option<R>>,
    left: usize,
    shared: Arc<Finished>,
}

impl<R> fmt::Debug for AsCompleted<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsCompleted({} left)", self.left)
    }
}

impl<R: Ref + Unpin> AsCompleted<R> {
    /// The next ref that finished; `None` after the last.
    pub async fn next(&mut self) -> Option<R> {
        std::future::poll_fn(|cx| self.poll_one(cx)).await
    }

    /// The refs as an iterator that waits on the calling thread.
    pub fn blocking(self) -> impl Iterator<Item = R> {
        let mut this = self;
        (0..this.refs.len()).map_while(move |_| {
            let wake = Arc::new(NextWaker { parker: crate::env::Parker::current() });
            let waker = Waker::from(wake);
            let mut cx = Context::from_waker(&waker);
            let mut blocked = None;
            loop {
                if let Poll::Ready(next) = this.poll_one(&mut cx) {
                    return next;
                }
                blocked = blocked.or_else(|| host::current().map(|current| current.block()));
                crate::env::park(None);
            }
        })
    }

    fn poll_one(&mut self, cx: &mut Context<'_>) -> Poll<Option<R>> {
        let mut order = self.shared.order.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = order.0.pop_front() {
            drop(order);
            self.left -= 1;
            return Poll::Ready(self.refs[index].take());
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        order.1 = Some(cx.waker().clone());
        drop(order);
        if !self.shared.parked.swap(true, Ordering::AcqRel) {
            host::with_current(|current| {
                if let Some(current) = current {
                    current.park();
                }
            });
        }
        Poll::Pending
    }
}

struct NextWaker {
    parker: crate::env::Parker,
}

impl std::task::Wake for NextWaker {
    fn wake(self: Arc<Self>) {
        self.parker.unpark();
    }
}

impl<R: Ref + Unpin> futures_core::Stream for AsCompleted<R> {
    type Item = R;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<R>> {
        self.poll_one(cx)
    }
}

impl Process {
    /// Cancels what a task submitted from this process. Children are cancelled as the parent is, but never by force.
    pub(crate) fn cancel_children(&self, parent: crate::ids::TaskId) -> Vec<Cancelling> {
        let mark = parent.mark();
        let mut cancelling = Vec::new();
        for owner in self.owners() {
            for task in owner.tasks() {
                if task.parent == mark && !task.is_done() {
                    cancelling.extend(self.cancel_children(task.id()));
                    cancelling.extend(task.owner.cancel_children_away(&task));
                    match owner.cancel(&task, false) {
                        Ok(told) => cancelling.extend(told),
                        Err(error) => tracing::debug!(%error, "a child was not cancelled"),
                    }
                }
            }
        }
        cancelling
    }
}
