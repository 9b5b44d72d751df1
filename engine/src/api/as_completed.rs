//! `as_completed`: refs in the order in which they finish.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::api::object_ref::Ref;
use crate::api::op::{check_is_simulated, check_may_block};
use crate::api::wait::WaitList;
use crate::wait::Waiter;
use crate::worker::host::{self, Current, WaitsFor};

/// The refs in the order in which they finish, each once.
pub fn as_completed<L: WaitList>(refs: L) -> AsCompleted<L::Ref> {
    let refs = refs.into_list();
    let shared = Arc::new(Finished::default());
    for (index, one) in refs.iter().enumerate() {
        let told = Arc::clone(&shared);
        if let Err((waiter, how)) = one.raw_ref().0.subscribe(Waiter::Call(Box::new(move || told.tell(index)))) {
            waiter.notify(how);
        }
    }
    AsCompleted { left: refs.len(), refs: refs.into_iter().map(Some).collect(), shared }
}

#[derive(Default)]
struct Finished {
    order: Mutex<(std::collections::VecDeque<usize>, Option<Waker>)>,
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
        host::park();
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
