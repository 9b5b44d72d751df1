//! Several objects that somebody waits for, brought here at the same time.
//!
//! From one process come a few at a time, which share a connection; what other processes have does not wait for them. Each
//! transfer runs on the system's thread, and goes on when nobody waits for it any more, since others may have begun to; it
//! has a ref until then, for what comes of an object that was freed meanwhile would stay for ever. What has not begun then
//! never does, and what waits ends: for another's transfer, or until the object is made again, which may never be.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use actinic_transport::ProcessId;
use tokio::sync::mpsc;

use crate::api::error::{Error, Result};
use crate::ids::ObjectId;
use crate::object::{RawRef, Stored};
use crate::object_manager::store::Coming;
use crate::process::Process;
use crate::protocol::LeaseId;
use crate::value::Value;
use crate::worker::lending::Waits;
use crate::worker::slot::TaskSlot;

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

    fn from(&self) -> ProcessId {
        self.stored.at.first().map_or(self.process.id, |at| at.id)
    }
}

/// What a receiver hears.
enum News {
    /// One left its seat, and may come later.
    Left(ProcessId, u64),
    Came {
        at: usize,
        value: Result<Value>,
        /// If it was in its seat until now.
        left: Option<(ProcessId, u64)>,
    },
}

/// A place among those that come from one process at a time. It is left once, and not taken again: not by one that is waited
/// for and brings nothing, for that may last, and others can come.
pub(super) struct Seat {
    from: ProcessId,
    size: u64,
    left: AtomicBool,
    tell: mpsc::UnboundedSender<News>,
}

impl Seat {
    fn take_leave(&self) -> Option<(ProcessId, u64)> {
        (!self.left.swap(true, Ordering::AcqRel)).then_some((self.from, self.size))
    }

    /// Whether its receiver still waits.
    pub(super) fn is_heard(&self) -> bool {
        !self.tell.is_closed()
    }

    /// Until its receiver waits no more.
    pub(super) async fn unheard(&self) {
        self.tell.closed().await;
    }

    pub(super) fn leave(&self) {
        if let Some((from, size)) = self.take_leave() {
            // Whoever waited may have gone.
            let _ = self.tell.send(News::Left(from, size));
        }
    }
}

/// One that is under way. Tells what came, also if its thread has ended.
pub(crate) struct UnderWay {
    at: usize,
    came: Option<Result<Value>>,
    seat: Arc<Seat>,
    lends: Option<Arc<Lends>>,
}

impl UnderWay {
    fn came(&mut self, value: Result<Value>) {
        self.came = Some(value);
    }

    pub(super) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    pub(super) fn lends(&self) -> Option<&Lends> {
        self.lends.as_deref()
    }

    /// Until nobody waits for it any more.
    pub(super) async fn unheard(&self) {
        self.seat.unheard().await;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let value = self.came.take().unwrap_or_else(|| Err(Error::connection("the cluster was shut down")));
        // Whoever waited may have gone.
        let _ = self.seat.tell.send(News::Came { at: self.at, value, left: self.seat.take_leave() });
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
        self.began(size);
        Some(next)
    }

    fn began(&mut self, size: u64) {
        self.under_way += 1;
        self.bytes = self.bytes.saturating_add(size);
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
    missing: usize,
    tell: mpsc::UnboundedSender<News>,
    hear: mpsc::UnboundedReceiver<News>,
}

impl Transfers {
    /// `lends` is what the receiver does without meanwhile, if it has a lease.
    pub(crate) fn new(lends: Option<Arc<Lends>>) -> Transfers {
        let (tell, hear) = mpsc::unbounded_channel();
        Transfers { lends, lanes: BTreeMap::new(), missing: 0, tell, hear }
    }

    pub(crate) fn begin(&mut self, mut wanted: Wanted) {
        if wanted.held.is_none() {
            wanted.held = wanted.process.own_object(wanted.object);
        }
        self.missing += 1;
        let from = wanted.from();
        self.lanes.entry(from).or_default().waiting.push_back((wanted.stored.size, wanted));
        self.go_on(from);
    }

    /// As [`Transfers::begin`], for a receiver that only looks: what is on its way already needs nobody else, but takes its
    /// place while it comes.
    pub(crate) fn begin_new(&mut self, wanted: Wanted) {
        match wanted.process.store.is_coming(&wanted.object) {
            None => self.begin(wanted),
            Some(Coming::Rests) => {}
            Some(Coming::Pulls) => self.lanes.entry(wanted.from()).or_default().began(wanted.stored.size),
        }
    }

    fn go_on(&mut self, from: ProcessId) {
        while let Some(wanted) = self.lanes.get_mut(&from).and_then(Lane::next) {
            let Wanted { at, process, object, stored, held } = wanted;
            let seat = Seat { from, size: stored.size, left: AtomicBool::new(false), tell: self.tell.clone() };
            let mut under_way = UnderWay { at, came: None, seat: Arc::new(seat), lends: self.lends.clone() };
            process.clone().spawn(async move {
                let value = process.fetch(object, &stored, &under_way).await;
                drop(held);
                under_way.came(value);
            });
        }
    }

    fn left(&mut self, from: ProcessId, size: u64) {
        if let Some(lane) = self.lanes.get_mut(&from) {
            lane.ended(size);
        }
        self.go_on(from);
    }

    /// The next that came, or failed; none if nothing is to come.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, Result<Value>)>> {
        while self.missing > 0 {
            match ready!(self.hear.poll_recv(cx)) {
                None => break,
                Some(News::Left(from, size)) => self.left(from, size),
                Some(News::Came { at, value, left }) => {
                    self.missing -= 1;
                    if let Some((from, size)) = left {
                        self.left(from, size);
                    }
                    return Poll::Ready(Some((at, value)));
                }
            }
        }
        Poll::Ready(None)
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

/// What a task lends of its lease, while any of its transfers waits for what may take another task's run. Its worker puts
/// it together with what others do under the same lease.
pub(crate) struct Lends {
    slot: Arc<TaskSlot>,
    lease: LeaseId,
    /// How many wait; none once the task waits for no transfer.
    waiting: Mutex<Option<u32>>,
}

impl Lends {
    pub(crate) fn new(slot: &Arc<TaskSlot>, lease: LeaseId) -> Arc<Lends> {
        Arc::new(Lends { slot: Arc::clone(slot), lease, waiting: Mutex::new(Some(0)) })
    }

    fn lock(&self) -> MutexGuard<'_, Option<u32>> {
        // Plain data under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Told under the lock, for what is told last must be what is so.
    fn tell(&self, waits: bool) {
        self.slot.waits(self.lease, Waits::ToBegin, waits);
    }

    /// Lends until what is returned is dropped.
    pub(super) fn lend(&self) -> Lent<'_> {
        if let Some(waiting) = &mut *self.lock() {
            *waiting += 1;
            if *waiting == 1 {
                self.tell(true);
            }
        }
        Lent(self)
    }

    fn end(&self) {
        let mut waiting = self.lock();
        if waiting.take().is_some_and(|waiting| waiting > 0) {
            self.tell(false);
        }
    }
}

pub(super) struct Lent<'a>(&'a Lends);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = &mut *self.0.lock() {
            *waiting -= 1;
            if *waiting == 0 {
                self.0.tell(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use actinic_transport::{ClusterId, NodeId};

    use super::*;
    use crate::ids::{OwnerId, TaskId};
    use crate::object_manager::store::Store;

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

    fn process() -> ProcessId {
        let uuid = uuid::Uuid::from_u128;
        ProcessId { cluster: ClusterId(uuid(1)), node: NodeId(uuid(2)), incarnation: uuid(3) }
    }

    fn object() -> ObjectId {
        ObjectId { task: TaskId { owner: OwnerId { process: process(), number: 0 }, seq: 1 }, index: 0 }
    }

    fn under_way(size: u64) -> (UnderWay, mpsc::UnboundedReceiver<News>) {
        let (tell, hear) = mpsc::unbounded_channel();
        let seat = Arc::new(Seat { from: process(), size, left: AtomicBool::new(false), tell });
        (UnderWay { at: 7, came: None, seat, lends: None }, hear)
    }

    fn said(hear: &mut mpsc::UnboundedReceiver<News>) -> Vec<(Option<u64>, bool)> {
        let said = |news| match news {
            News::Left(_, size) => (Some(size), false),
            News::Came { left, .. } => (left.map(|(_, size)| size), true),
        };
        std::iter::from_fn(|| hear.try_recv().ok()).map(said).collect()
    }

    #[test]
    fn a_seat_is_left_once() {
        let (one, mut hear) = under_way(3);
        one.seat().leave();
        one.seat().leave();
        drop(one);
        assert_eq!(said(&mut hear), [(Some(3), false), (None, true)]);
        let (one, mut hear) = under_way(3);
        drop(one);
        assert_eq!(said(&mut hear), [(Some(3), true)]);
    }

    /// What rests keeps nobody's seat, whoever waits for it.
    #[test]
    fn all_who_wait_for_what_rests_leave_their_seats() {
        let store = Store::new(0);
        let (first, mut first_hears) = under_way(1);
        let (second, mut second_hears) = under_way(2);
        let (third, _) = under_way(3);
        assert_eq!(store.is_coming(&object()), None);
        assert!(store.lock().join(object(), first.seat()).is_none(), "it makes the transfer");
        let joined = store.lock().join(object(), second.seat());
        assert!(matches!(joined, Some((_, false))));
        assert_eq!(store.is_coming(&object()), Some(Coming::Pulls));
        store.lock().rests(&object()).iter().for_each(|seat| seat.leave());
        assert_eq!(said(&mut first_hears), [(Some(1), false)]);
        assert_eq!(said(&mut second_hears), [(Some(2), false)]);
        assert_eq!(store.is_coming(&object()), Some(Coming::Rests));
        assert!(matches!(store.lock().join(object(), third.seat()), Some((_, true))));
        store.lock().pulls(&object());
        assert_eq!(store.is_coming(&object()), Some(Coming::Pulls));
        assert_eq!(store.lock().came(&object()).len(), 2);
        assert_eq!(store.is_coming(&object()), None);
    }

    #[test]
    fn those_who_wait_no_more_do_not_pile_up() {
        let store = Store::new(0);
        let (first, _) = under_way(1);
        assert!(store.lock().join(object(), first.seat()).is_none());
        let (patient, _) = under_way(1);
        let stays = store.lock().join(object(), patient.seat());
        for _ in 0..200 {
            let (one, _) = under_way(1);
            drop(store.lock().join(object(), one.seat()));
        }
        let left = store.lock().came(&object());
        assert!(left.len() <= 8, "{}", left.len());
        left.into_iter().for_each(|one| one.tell(Err(Error::object_lost("lost"))));
        let (mut hear, _) = stays.unwrap();
        assert!(matches!(hear.try_recv(), Ok(Err(Error::ObjectLost { .. }))));
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
