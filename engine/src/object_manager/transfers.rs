//! Several objects that somebody waits for, brought here at the same time.
//!
//! From one process come a few at a time, which share a connection; what other processes have does not wait for them. Each
//! transfer runs on the system's thread, and goes on when nobody waits for it any more, since others may have begun to; it
//! has a ref until then, for what comes of an object that was freed meanwhile would stay for ever. What has not begun then
//! never does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use actinic_transport::ProcessId;
use tokio::sync::mpsc;

use crate::api::error::{Error, Result};
use crate::ids::ObjectId;
use crate::object::{RawRef, Stored};
use crate::process::Process;
use crate::protocol::{LeaseId, ToRaylet};
use crate::value::Value;

/// So many come from one process at a time: as many as a connection has streams for.
const AT_A_TIME: usize = 16;
/// Unless one alone has more, so many bytes: large objects fill a connection one by one, and while one comes it takes twice
/// its memory.
const BYTES_AT_A_TIME: u64 = 128 << 20;

/// An object that is to come, and what its receiver knows it by.
pub(crate) struct Wanted {
    pub(crate) at: usize,
    pub(crate) process: Arc<Process>,
    pub(crate) object: ObjectId,
    pub(crate) stored: Arc<Stored>,
    /// If the receiver has one; what others own is covered by what they hear of a copy.
    pub(crate) held: Option<RawRef>,
}

impl Wanted {
    pub(crate) fn of(at: usize, object: &RawRef, stored: Arc<Stored>) -> Wanted {
        let process = Arc::clone(object.process());
        Wanted { at, process, object: object.id(), stored, held: Some(object.clone()) }
    }
}

/// What came of one.
struct Arrived {
    at: usize,
    from: ProcessId,
    size: u64,
    value: Result<Value>,
}

/// Tells what came, also if the transfer's thread has ended.
struct Teller {
    came: Option<Arrived>,
    tell: mpsc::UnboundedSender<Arrived>,
}

impl Drop for Teller {
    fn drop(&mut self) {
        if let Some(came) = self.came.take() {
            // Whoever waited may have gone.
            let _ = self.tell.send(came);
        }
    }
}

/// What comes from one process.
struct Lane<T> {
    under_way: usize,
    bytes: u64,
    waiting: VecDeque<(u64, T)>,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Lane { under_way: 0, bytes: 0, waiting: VecDeque::new() }
    }
}

impl<T> Lane<T> {
    fn next(&mut self) -> Option<T> {
        let (size, _) = self.waiting.front()?;
        let fits = self.under_way < AT_A_TIME && self.bytes.saturating_add(*size) <= BYTES_AT_A_TIME;
        if self.under_way > 0 && !fits {
            return None;
        }
        let (size, next) = self.waiting.pop_front()?;
        self.under_way += 1;
        self.bytes = self.bytes.saturating_add(size);
        Some(next)
    }

    fn ended(&mut self, size: u64) {
        self.under_way -= 1;
        self.bytes = self.bytes.saturating_sub(size);
    }
}

/// The transfers that one receiver waits for.
pub(crate) struct Transfers {
    lends: Option<Arc<Lends>>,
    lanes: BTreeMap<ProcessId, Lane<Wanted>>,
    /// Those that wait for their turn included.
    left: usize,
    tell: mpsc::UnboundedSender<Arrived>,
    hear: mpsc::UnboundedReceiver<Arrived>,
}

impl Transfers {
    /// `lends` is what the receiver does without meanwhile, if it has a lease.
    pub(crate) fn new(lends: Option<Arc<Lends>>) -> Transfers {
        let (tell, hear) = mpsc::unbounded_channel();
        Transfers { lends, lanes: BTreeMap::new(), left: 0, tell, hear }
    }

    pub(crate) fn begin(&mut self, mut wanted: Wanted) {
        if wanted.held.is_none() {
            wanted.held = wanted.process.own_object(wanted.object);
        }
        self.left += 1;
        let from = wanted.stored.at.first().map_or(wanted.process.id, |at| at.id);
        self.lanes.entry(from).or_default().waiting.push_back((wanted.stored.size, wanted));
        self.go_on(from);
    }

    fn go_on(&mut self, from: ProcessId) {
        while let Some(wanted) = self.lanes.get_mut(&from).and_then(Lane::next) {
            let Wanted { at, process, object, stored, held } = wanted;
            let gone = Error::connection("the cluster was shut down");
            let came = Arrived { at, from, size: stored.size, value: Err(gone) };
            let mut teller = Teller { came: Some(came), tell: self.tell.clone() };
            let lends = self.lends.clone();
            process.clone().spawn(async move {
                let value = process.fetch_for(object, &stored, lends.as_deref()).await;
                drop(held);
                if let Some(came) = &mut teller.came {
                    came.value = value;
                }
            });
        }
    }

    /// The next that came, or failed; none if nothing is to come.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, Result<Value>)>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let Some(Arrived { at, from, size, value }) = ready!(self.hear.poll_recv(cx)) else { return Poll::Ready(None) };
        self.left -= 1;
        if let Some(lane) = self.lanes.get_mut(&from) {
            lane.ended(size);
        }
        self.go_on(from);
        Poll::Ready(Some((at, value)))
    }

    pub(crate) async fn next(&mut self) -> Option<(usize, Result<Value>)> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
}

impl Drop for Transfers {
    fn drop(&mut self) {
        if let Some(lends) = &self.lends {
            lends.end();
        }
    }
}

/// The CPU of a lease, which is lent while any of its task's transfers waits for what may take another task's run.
pub(crate) struct Lends {
    process: Arc<Process>,
    lease: LeaseId,
    /// How many wait; none once the task waits for no transfer.
    waiting: Mutex<Option<u32>>,
}

impl Lends {
    pub(crate) fn new(process: &Arc<Process>, lease: LeaseId) -> Arc<Lends> {
        Arc::new(Lends { process: Arc::clone(process), lease, waiting: Mutex::new(Some(0)) })
    }

    fn lock(&self) -> MutexGuard<'_, Option<u32>> {
        // Plain data under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Told under the lock, for what is told last must be what is so.
    fn tell(&self, message: ToRaylet) {
        self.process.tell_raylet(self.lease.node, message);
    }

    /// Lends until what is returned is dropped.
    pub(super) fn lend(&self) -> Lent<'_> {
        if let Some(waiting) = &mut *self.lock() {
            *waiting += 1;
            if *waiting == 1 {
                self.tell(ToRaylet::Blocked { lease: self.lease });
            }
        }
        Lent(self)
    }

    fn end(&self) {
        let mut waiting = self.lock();
        if waiting.take().is_some_and(|waiting| waiting > 0) {
            self.tell(ToRaylet::Unblocked { lease: self.lease });
        }
    }
}

pub(super) struct Lent<'a>(&'a Lends);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = &mut *self.0.lock() {
            *waiting -= 1;
            if *waiting == 0 {
                self.0.tell(ToRaylet::Unblocked { lease: self.0.lease });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(sizes: &[u64]) -> Lane<usize> {
        Lane { waiting: sizes.iter().copied().enumerate().map(|(at, size)| (size, at)).collect(), ..Lane::default() }
    }

    fn begun(lane: &mut Lane<usize>) -> Vec<usize> {
        std::iter::from_fn(|| lane.next()).collect()
    }

    #[test]
    fn a_few_come_at_a_time_in_their_order() {
        let mut lane = lane(&[1; 40]);
        assert_eq!(begun(&mut lane), (0..AT_A_TIME).collect::<Vec<_>>());
        lane.ended(1);
        lane.ended(1);
        assert_eq!(begun(&mut lane), [AT_A_TIME, AT_A_TIME + 1]);
    }

    #[test]
    fn large_ones_come_one_by_one() {
        let most = BYTES_AT_A_TIME;
        let mut lane = lane(&[most - 1, 1, 1, u64::MAX, 5]);
        assert_eq!(begun(&mut lane), [0, 1]);
        lane.ended(1);
        assert_eq!(begun(&mut lane), [2]);
        lane.ended(1);
        assert_eq!(begun(&mut lane), [0; 0]);
        lane.ended(most - 1);
        assert_eq!(begun(&mut lane), [3], "alone, whatever its size");
        lane.ended(u64::MAX);
        assert_eq!((begun(&mut lane), lane.under_way, lane.bytes), (vec![4], 1, 5));
    }
}
