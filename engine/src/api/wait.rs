//! `wait`: which refs are ready, without their values.

mod unique;

use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::api::error::{Error, Result};
use crate::api::get::check_cancelled;
use crate::api::object_ref::{Listed, Ref};
use crate::api::op::{block_on_until, check_is_simulated, check_may_block};
use crate::api::options::IntoCount;
use crate::object::{RawRef, Resolved};
use crate::object_manager::transfers::{Transfers, Wanted};
use crate::process::Process;
use crate::wait::{Arrivals, Came, Waiter};
use crate::worker::host::{self, WaitsFor};

/// Splits refs into those that are ready and the rest, both in the order given.
///
/// Refs that failed count as ready. At most `num_returns` (default 1) are returned as ready: the first that are ready and
/// whose values are on this node. If there are not so many, values of others are brought here, all at the same time; those
/// that come first count, and the rest may still come. An empty list gives two empty lists at once.
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

impl<R: Listed> WaitList for Vec<R> {
    type Ref = R::Ref;
    fn into_list(self) -> Vec<R::Ref> {
        R::into_refs(self)
    }
}

impl<R: Listed> WaitList for &Vec<R> {
    type Ref = R::Ref;
    fn into_list(self) -> Vec<R::Ref> {
        self.as_slice().into_list()
    }
}

impl<R: Listed> WaitList for &[R] {
    type Ref = R::Ref;
    fn into_list(self) -> Vec<R::Ref> {
        self.iter().map(Listed::to_ref).collect()
    }
}

impl<R: Listed, const N: usize> WaitList for [R; N] {
    type Ref = R::Ref;
    fn into_list(self) -> Vec<R::Ref> {
        R::into_refs(self.into())
    }
}

impl<R: Listed, const N: usize> WaitList for &[R; N] {
    type Ref = R::Ref;
    fn into_list(self) -> Vec<R::Ref> {
        self.as_slice().into_list()
    }
}

impl<'a, L: ?Sized> WaitList for &&'a L
where
    &'a L: WaitList,
{
    type Ref = <&'a L as WaitList>::Ref;
    fn into_list(self) -> Vec<Self::Ref> {
        (*self).into_list()
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

    /// Whose time counts: a ref's that is waited for. Another's process may have ended, and its time with it.
    fn process(&self) -> &Arc<Process> {
        let refs = || self.refs.iter().map(|one| one.raw_ref().0);
        let waits = refs().enumerate().find(|(index, object)| !self.is_here(*index, object, &[]));
        waits.map_or(self.refs[0].raw_ref().0, |(_, object)| object).process()
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

    /// Whether a ref is ready, and its value where it should be.
    fn is_here(&self, index: usize, object: &RawRef, came: &[bool]) -> bool {
        match object.slot().outcome() {
            None => false,
            Some(Came::Stored) if self.fetch_local => {
                came.get(index) == Some(&true) || object.process().store.has(&object.id())
            }
            Some(_) => true,
        }
    }

    /// Where the refs are that would be returned as ready, at most `num_returns`. Most loops take refs in the order in
    /// which they finish: what is needed is often at the front, and the rest is not looked at.
    ///
    /// `came` says of which it was seen that their values are here: those may have gone again.
    fn ready(&self, came: &[bool]) -> impl Iterator<Item = usize> {
        let ready = |(index, one): (usize, &R)| self.is_here(index, one.raw_ref().0, came).then_some(index);
        self.refs.iter().enumerate().filter_map(ready).take(self.num_returns)
    }

    /// What would be returned as ready now.
    fn take(&self, came: &[bool]) -> Taken {
        let mut ready = self.ready(came);
        if self.num_returns == 1 { Taken::One(ready.next()) } else { Taken::Many(ready.collect()) }
    }

    /// Splits what is taken off, in order; the rest keeps its place.
    fn split(mut self, taken: Taken) -> (Vec<R>, Vec<R>) {
        let taken = match taken {
            Taken::One(only) => {
                return (Vec::from_iter(only.map(|index| self.refs.remove(index))), self.refs);
            }
            Taken::Many(all) => all,
        };
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

    /// What is returned if nothing has to be waited for, and else what is.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`.
    fn begin(&self) -> Result<Begun<'_, R>> {
        self.check()?;
        if self.refs.is_empty() {
            return Ok(Begun::Over(Taken::One(None)));
        }
        self.check_unique()?;
        let taken = self.take(&[]);
        let only_looks = self.timeout == Some(Duration::ZERO);
        if taken.count() >= self.num_returns {
            return Ok(Begun::Over(taken));
        }
        let mut settling = self.settling(only_looks);
        if only_looks {
            // What lies elsewhere is on its way for whoever looks again, and so is the word of what others own.
            settling.go_on(&mut Context::from_waker(Waker::noop()));
            return Ok(Begun::Over(taken));
        }
        Ok(Begun::Waits(settling))
    }

    fn settling(&self, only_looks: bool) -> Settling<'_, R> {
        let arrivals = Arrivals::new(self.num_returns as u32, self.fetch_local);
        let settling = Settling { refs: &self.refs, only_looks, arrivals, transfers: None, came: Vec::new() };
        for (index, one) in self.refs.iter().enumerate() {
            let object = one.raw_ref().0;
            let how = match object.slot().outcome() {
                Some(how) => how,
                None if only_looks => {
                    object.ask();
                    continue;
                }
                None => match object.subscribe(settling.waiter(index)) {
                    Ok(()) => continue,
                    Err((_, how)) => how,
                },
            };
            settling.arrivals.came(index as u32, how);
        }
        settling
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
        let taken = match self.begin()? {
            Begun::Over(taken) => taken,
            Begun::Waits(mut settling) => {
                let process = self.process();
                let until = self.timeout.map(|time| process.env.now().saturating_add(time));
                let left = || until.map(|until| until.saturating_sub(process.env.now()));
                block_on_until(&mut settling, WaitsFor::Ref, left)?;
                settling.taken(&self)
            }
        };
        check_cancelled()?;
        Ok(self.split(taken))
    }
}

/// Where the refs are that are returned as ready.
enum Taken {
    One(Option<usize>),
    Many(Vec<usize>),
}

impl Taken {
    fn count(&self) -> usize {
        match self {
            Taken::One(only) => usize::from(only.is_some()),
            Taken::Many(all) => all.len(),
        }
    }
}

/// A `wait` that was begun.
enum Begun<'a, R> {
    /// There is nothing to be waited for.
    Over(Taken),
    Waits(Settling<'a, R>),
}

/// Ends when enough refs are here, and brings those that lie elsewhere.
struct Settling<'a, R> {
    refs: &'a [R],
    only_looks: bool,
    arrivals: Arc<Arrivals>,
    /// None until something lies elsewhere.
    transfers: Option<Transfers>,
    /// Of which ref it was seen that its value is here, or failed to come, which shows at `get`.
    came: Vec<bool>,
}

impl<R: Ref> Settling<'_, R> {
    fn waiter(&self, index: usize) -> Waiter {
        Waiter::Arrival(Arc::clone(&self.arrivals), index as u32)
    }

    /// What is returned, now that it was waited for.
    fn taken(self, wait: &Wait<R>) -> Taken {
        wait.take(&self.came)
    }

    fn came(&mut self, index: usize) {
        self.came.resize(self.refs.len(), false);
        self.came[index] = true;
        self.arrivals.count.one_done(false);
    }

    /// A ref is ready, and its value lies in a store.
    fn bring(&mut self, index: usize) {
        let object = self.refs[index].raw_ref().0;
        match object.slot().get_unseen() {
            Some(Resolved::Stored(stored)) if !object.process().store.has(&object.id()) => {
                let transfers = self.transfers.get_or_insert_with(|| Transfers::new(None));
                let wanted = Wanted::of(index, object, stored);
                if self.only_looks {
                    transfers.begin_new(wanted);
                } else {
                    transfers.begin(wanted);
                }
            }
            _ => self.came(index),
        }
    }

    /// Begins transfers, and takes what came; whether anything did.
    fn go_on(&mut self, cx: &mut Context<'_>) -> bool {
        let stored = self.arrivals.take_stored();
        let mut any = !stored.is_empty();
        for index in stored {
            self.bring(index as usize);
        }
        while let Some(transfers) = &mut self.transfers
            && let Poll::Ready(Some((index, _))) = transfers.poll_next(cx)
        {
            self.came(index);
            any = true;
        }
        any
    }
}

impl<R> Drop for Settling<'_, R> {
    fn drop(&mut self) {
        // Those that are still pending can forget it.
        self.arrivals.count.abandon();
    }
}

impl<R: Ref> Future for Settling<'_, R> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.arrivals.count.poll(cx.waker()) {
                return Poll::Ready(());
            }
            // After the waker is known, so that nothing is missed.
            if !self.go_on(cx) {
                break;
            }
        }
        host::park();
        Poll::Pending
    }
}

impl<R: Ref + Sync> IntoFuture for Wait<R> {
    type Output = Result<(Vec<R>, Vec<R>)>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let taken = match self.begin()? {
                Begun::Over(taken) => taken,
                Begun::Waits(mut settling) => {
                    let _alarm = self.timeout.map(|time| {
                        let count = Arc::clone(&settling.arrivals.count);
                        self.process().wake_after(time, count)
                    });
                    (&mut settling).await;
                    settling.taken(&self)
                }
            };
            Ok(self.split(taken))
        })
    }
}
