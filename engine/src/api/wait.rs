//! `wait`: which refs are ready, without their values.

mod unique;

use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::api::error::{Error, Result};
use crate::api::get::{Bound, Down, check_cancelled, countdown_for, fetch_on_system};
use crate::api::object_ref::Ref;
use crate::api::op::{block_on, check_is_simulated, check_may_block, wait_for};
use crate::api::options::IntoCount;
use crate::object::{RawRef, Resolved};
use crate::wait::Countdown;
use crate::worker::host::WaitsFor;

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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no list of refs",
    note = "`wait` takes a slice, a `Vec` or an array of `ObjectRef`s: of one ref `wait([one])` tells whether it is ready"
)]
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
        match unique::first_twice(&self.refs) {
            None => Ok(()),
            Some(twice) => {
                Err(Error::invalid_argument(format!("wait: {twice:?} is given twice")).remedy("give each ref once"))
            }
        }
    }

    /// Where the refs are that would be returned as ready, at most `num_returns`. Most loops take refs in the order in
    /// which they finish: what is needed is often at the front, and the rest is not looked at.
    ///
    /// What could not be brought here in time is left out.
    fn ready(&self, brought: &Brought) -> impl Iterator<Item = usize> {
        let ready = |(index, one): (usize, &R)| {
            let object = one.raw_ref().0;
            (object.slot().is_ready() && !brought.late.contains(object)).then_some(index)
        };
        self.refs.iter().enumerate().filter_map(ready).take(self.num_returns)
    }

    /// Splits what is ready off, in order; the rest keeps its place.
    fn split(mut self, brought: &Brought) -> (Vec<R>, Vec<R>) {
        if self.num_returns == 1 {
            let only = self.ready(brought).next();
            return (Vec::from_iter(only.map(|index| self.refs.remove(index))), self.refs);
        }
        let taken: Vec<usize> = self.ready(brought).collect();
        let mut ready = Vec::with_capacity(taken.len());
        let mut pending = Vec::with_capacity(self.refs.len() - taken.len());
        let mut next = taken.into_iter().peekable();
        for (index, one) in self.refs.into_iter().enumerate() {
            if next.next_if_eq(&index).is_some() {
                ready.push(one);
            } else {
                pending.push(one);
            }
        }
        (ready, pending)
    }

    /// None if enough is ready.
    fn countdown(&self) -> Option<Arc<Countdown>> {
        if self.ready(&Brought::default()).count() >= self.num_returns {
            return None;
        }
        countdown_for(self.refs.iter().map(|one| one.raw_ref().0), self.num_returns, false)
    }

    fn bound(&self) -> Bound {
        match self.timeout {
            None => Bound::NONE,
            timeout => Bound::new(std::slice::from_ref(self.refs[0].raw_ref().0), timeout),
        }
    }

    /// The refs that would be returned as ready and whose values are elsewhere.
    fn away(&self, brought: &Brought) -> Vec<RawRef> {
        if !self.fetch_local {
            return Vec::new();
        }
        let objects = self.ready(brought).map(|index| self.refs[index].raw_ref().0);
        objects.filter(|object| object.slot().is_stored() && !brought.here.contains(object)).cloned().collect()
    }

    /// What to wait for, and within what; none if there are no refs.
    fn begin(&self) -> Result<Option<(Bound, Option<Arc<Countdown>>)>> {
        self.check()?;
        if self.refs.is_empty() {
            return Ok(None);
        }
        self.check_unique()?;
        let only_looks = self.timeout == Some(Duration::ZERO);
        Ok(Some((self.bound(), if only_looks { None } else { self.countdown() })))
    }

    /// Waits on the calling thread.
    ///
    /// # Errors
    ///
    /// Those of `wait`, and `InvalidArgument` on a thread of an async runtime.
    pub fn blocking(self) -> Result<(Vec<R>, Vec<R>)> {
        check_may_block()?;
        if let Some(one) = self.refs.first() {
            check_is_simulated(one.raw_ref().0.process())?;
        }
        let Some((bound, countdown)) = self.begin()? else { return Ok((Vec::new(), Vec::new())) };
        if let Some(countdown) = countdown {
            let process = Arc::clone(self.refs[0].raw_ref().0.process());
            wait_for(&countdown, self.timeout, || process.env.now());
        }
        let mut brought = Brought::default();
        loop {
            let away = self.away(&brought);
            if away.is_empty() {
                break;
            }
            brought = block_on(Box::pin(bring(away, bound, brought)), WaitsFor::Ref)?;
        }
        check_cancelled()?;
        Ok(self.split(&brought))
    }
}

/// The values that were to be brought to this node.
#[derive(Default)]
struct Brought {
    /// They came, or failed, which shows at `get`.
    here: Vec<RawRef>,
    /// The time was over before.
    late: Vec<RawRef>,
}

/// Fetches values so that they are on this node. Where one is late another takes its place, which may be elsewhere too.
async fn bring(objects: Vec<RawRef>, bound: Bound, mut brought: Brought) -> Brought {
    for object in objects {
        let fetched = match object.slot().get() {
            Some(Resolved::Stored(stored)) => fetch_on_system(&object, stored, bound).await.err(),
            _ => None,
        };
        match fetched {
            Some(Error::GetTimeout { .. }) => brought.late.push(object),
            _ => brought.here.push(object),
        }
    }
    brought
}

impl<R: Ref + Sync> IntoFuture for Wait<R> {
    type Output = Result<(Vec<R>, Vec<R>)>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Some((bound, countdown)) = self.begin()? else { return Ok((Vec::new(), Vec::new())) };
            if let Some(countdown) = countdown {
                if let Some(time) = self.timeout {
                    self.refs[0].raw_ref().0.process().wake_after(time, Arc::clone(&countdown));
                }
                Down::new(countdown).await;
            }
            let mut brought = Brought::default();
            loop {
                let away = self.away(&brought);
                if away.is_empty() {
                    break;
                }
                brought = bring(away, bound, brought).await;
            }
            Ok(self.split(&brought))
        })
    }
}
