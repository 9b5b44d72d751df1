//! `as_completed`: refs in the order in which they finish.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::api::object_ref::Ref;
use crate::api::op::{check_is_simulated, check_may_block};
use crate::api::wait::WaitList;
use crate::wait::{Finished, Waiter};
use crate::worker::host::{self, Current, WaitsFor};

/// The refs in the order in which they finish, each once.
pub fn as_completed<L: WaitList>(refs: L) -> AsCompleted<L::Ref> {
    let refs = refs.into_list();
    let shared = Arc::new(Finished::default());
    for (index, one) in refs.iter().enumerate() {
        let waiter = Waiter::Finish(Arc::clone(&shared), index as u32);
        if let Err((waiter, how)) = one.raw_ref().0.subscribe(waiter) {
            waiter.notify(how);
        }
    }
    AsCompleted { left: refs.len(), refs: refs.into_iter().map(Some).collect(), shared }
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

    /// The refs as an iterator that waits on the calling thread. In a task that is cancelled it ends.
    ///
    /// # Panics
    ///
    /// Where waiting would stop everything else: on a thread of an async runtime, and on a thread of one's own in a
    /// simulated cluster. The text says what to do instead.
    pub fn blocking(self) -> impl Iterator<Item = R> {
        let mut this = self;
        let process = this.refs.iter().flatten().next().map(|one| Arc::clone(one.raw_ref().0.process()));
        let refused = check_may_block().and_then(|()| process.map_or(Ok(()), |process| check_is_simulated(&process)));
        if let Err(error) = refused {
            panic!("as_completed: {error}");
        }
        (0..this.refs.len()).map_while(move |_| {
            let wake = Arc::new(NextWaker { parker: crate::env::Parker::current() });
            let waker = Waker::from(wake);
            let mut cx = Context::from_waker(&waker);
            let mut blocked = None;
            loop {
                if let Poll::Ready(next) = this.poll_one(&mut cx) {
                    return next;
                }
                blocked = blocked.or_else(|| host::current().map(|current| current.block(WaitsFor::Ref)));
                if host::with_current(|current| current.is_some_and(Current::is_given_up)) {
                    return None;
                }
                crate::env::park(None);
            }
        })
    }

    fn poll_one(&mut self, cx: &mut Context<'_>) -> Poll<Option<R>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if let Poll::Ready(index) = self.shared.poll(cx) {
            self.left -= 1;
            return Poll::Ready(self.refs[index as usize].take());
        }
        host::park();
        Poll::Pending
    }
}

impl<R> Drop for AsCompleted<R> {
    fn drop(&mut self) {
        // Those that are still pending can forget it.
        self.shared.abandon();
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
