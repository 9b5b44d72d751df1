//! Which task goes to which leased worker: the pure core of submission.
//!
//! Tasks that may run wait in one queue per scheduling key (what they need, how they may be placed, and on which node
//! their large arguments lie, so that an idle lease elsewhere does not take them away from there). Workers are
//! leased per key from raylets. A lease takes its next task as soon as it is free, and beyond that as many short
//! tasks as fill about a millisecond, so that neither a round trip nor a wake-up per task is paid; a task of unknown
//! or long run time is never put behind another. What is pushed beyond the running task is *lent*: the worker gives
//! it back when it blocks or runs one task for too long.
//!
//! Invariants:
//! - DISPATCH-1: a task is in exactly one place: a key's queue, or one lease's flight.
//! - DISPATCH-2: a task is pushed to a lease with others in flight only if the estimates of all of them stay within
//!   [`AHEAD_NS`].
//! - DISPATCH-3: a lease without flight and without use is given back: at once if it was recalled, else after
//!   [`IDLE_TICKS`] ticks.
//! - DISPATCH-4: of the tasks of a key that wait in its queue, that leaves it first which was submitted first, or failed first if it is
//!   tried again ([`queue`]).
//! - DISPATCH-5: while tasks of a key wait, leases for it are asked for.
//! - DISPATCH-6: a lease goes back when [`PARKED_MAX`] of its tasks have begun to wait without holding it: its raylet
//!   knows what they wait for, and serves that first. So tasks that wait do not pile up.
//!
//! What a function costs is known from its runs, and from those alone: what ended without one says nothing. A function
//! whose runs turn out to be far slower than it was taken for gets back what was lent on that ground.
//!
//! No clock: idleness is counted in ticks that the shell makes while [`Dispatch::wants_tick`] holds.

mod queue;

use std::collections::{HashMap, HashSet, VecDeque};

use actinic_transport::NodeId;

use crate::owner::dispatch::queue::Queue;
use crate::raylet::Shape;

/// How much measured run time may be in flight on one lease.
pub(crate) const AHEAD_NS: u64 = 1_000_000;
/// A submitter puts a task behind others itself only up to so much: beyond, the worker fetches it together with others
/// when it says what it has finished, long before it runs dry.
const AHEAD_SINGLY_NS: u64 = AHEAD_NS / 2;
/// What a function is taken to cost before it was measured.
const UNKNOWN_NS: u32 = 5_000_000;
/// A run that takes so many times what its task was taken to cost is a surprise.
const SURPRISE: u64 = 4;
/// After surprises so much may stay in flight on a lease; what is more is taken back.
const SURPRISED_NS: u64 = 4 * AHEAD_NS;
/// An idle lease is kept for this many ticks.
pub(crate) const IDLE_TICKS: u8 = 3;
/// So many tasks of a lease may begin to wait for others before it goes back.
pub(crate) const PARKED_MAX: u8 = 2;
/// Fewer keys than this are not looked through.
const KEYS_FEW: usize = 64;
/// No more leases than this are asked for at once.
const BACKLOG_MAX: u32 = 256;

/// A task as the dispatcher sees it.
pub(crate) trait Unit {
    /// Its number with its owner.
    fn seq(&self) -> u64;
    /// Where it stands in its queue: no other of its owner stands there.
    fn place(&self) -> u64;
    /// The index of its function, for the estimate of its run time.
    fn function(&self) -> usize;
    /// The bytes that pushing it moves: each counts as a nanosecond.
    fn bytes(&self) -> u32;
}

pub(crate) type KeyIx = u32;
pub(crate) type LeaseIx = u32;

/// A task that ended at its worker: its number, and how long it ran, if it did.
pub(crate) type Done = (u64, Option<u32>);

/// A run time as workers tell it: 0 of what did not run.
pub(crate) fn run_time(ns: u64) -> Option<u32> {
    (ns > 0).then(|| u32::try_from(ns).unwrap_or(u32::MAX))
}

/// What the shell must do, outside the lock.
#[derive(Debug, PartialEq)]
pub(crate) enum Act<T, L> {
    Push {
        lease: LeaseIx,
        link: L,
        task: T,
    },
    /// Tell the raylet how many leases of the key could be used now (0: none). If nothing waits, what other nodes were asked for
    /// is withdrawn too.
    Backlog {
        key: KeyIx,
        wanted: u32,
    },
    /// Give the lease back to its raylet.
    Return {
        link: L,
    },
    /// The task has left the dispatcher; dropped outside the lock, for it may be the last to know of it.
    Gone(T),
    /// Ask the worker for the lent tasks that it has not begun.
    TakeBack {
        lease: LeaseIx,
        link: L,
    },
}

struct Key<T> {
    shape: Shape,
    near: Option<NodeId>,
    /// `false` if it was forgotten: its place is another's soon.
    known: bool,
    /// Each of its leases runs one task: the next goes wherever the raylets spread it.
    one_by_one: bool,
    /// Leases that were sent on to another node are waited for: they come there as soon as here.
    sure_elsewhere: bool,
    queue: Queue<T>,
    leases: Vec<LeaseIx>,
    /// How many leases the raylet was told could be used.
    wanted: u32,
    /// How many leases were sent on to other nodes and have not come. Where that is sure, tasks wait for them, not for this
    /// node's.
    elsewhere: u32,
}

struct Lease<T, L> {
    key: KeyIx,
    link: L,
    flight: VecDeque<(T, u32)>,
    /// The sum of the estimates in flight.
    ahead_ns: u64,
    /// It has run its only task.
    used: bool,
    recalled: bool,
    yielding: bool,
    idle_ticks: u8,
    /// How many of its tasks have begun to wait without holding it.
    parked: u8,
}

/// Where a task was found by [`Dispatch::cancel`].
#[derive(Debug, PartialEq)]
pub(crate) enum Found<T, L> {
    Queued(T),
    InFlight(LeaseIx, L),
    Nowhere,
}

pub(crate) struct Dispatch<T, L> {
    keys: Vec<Key<T>>,
    /// Places of keys that were forgotten.
    free_keys: Vec<KeyIx>,
    /// With so many keys, those of no use are forgotten.
    keys_sweep: usize,
    by_shape: HashMap<(Shape, Option<NodeId>), KeyIx>,
    leases: Vec<Option<Lease<T, L>>>,
    free: Vec<LeaseIx>,
    estimates: Vec<u32>,
    idle: u32,
}

impl<T: Unit + Clone, L: Clone> Dispatch<T, L> {
    pub(crate) fn new() -> Self {
        Dispatch {
            keys: Vec::new(),
            free_keys: Vec::new(),
            keys_sweep: KEYS_FEW,
            by_shape: HashMap::new(),
            leases: Vec::new(),
            free: Vec::new(),
            estimates: Vec::new(),
            idle: 0,
        }
    }

    /// The key of a shape, for tasks whose large arguments lie on another node, or do not.
    pub(crate) fn key(&mut self, shape: &Shape, near: Option<NodeId>) -> KeyIx {
        let by = (shape.clone(), near);
        if let Some(&key) = self.by_shape.get(&by) {
            return key;
        }
        let new = Key {
            shape: shape.clone(),
            near,
            known: true,
            one_by_one: shape.one_by_one(),
            sure_elsewhere: shape.sure_elsewhere(),
            queue: Queue::default(),
            leases: Vec::new(),
            wanted: 0,
            elsewhere: 0,
        };
        let key = match self.free_keys.pop() {
            Some(key) => {
                self.keys[key as usize] = new;
                key
            }
            None => {
                self.keys.push(new);
                (self.keys.len() - 1) as KeyIx
            }
        };
        self.by_shape.insert(by, key);
        key
    }

    /// Whether there are so many keys that some may be of no use any more: a program may ask for as much memory as its
    /// arguments take, each time another amount.
    pub(crate) fn has_many_keys(&self) -> bool {
        self.by_shape.len() >= self.keys_sweep
    }

    /// Forgets the keys that nothing waits, is leased or was asked for with, and that are not `used` otherwise. What still has
    /// one of those numbers looks whether the key [is its own](Self::is_key_of).
    pub(crate) fn forget_keys(&mut self, used: impl Fn(KeyIx) -> bool) {
        for (ix, key) in self.keys.iter_mut().enumerate() {
            let idle = key.queue.is_empty() && key.leases.is_empty() && key.wanted == 0 && key.elsewhere == 0;
            if key.known && idle && !used(ix as KeyIx) {
                let shape = std::mem::replace(&mut key.shape, Shape::none());
                self.by_shape.remove(&(shape, key.near.take()));
                key.known = false;
                key.queue = Queue::default();
                key.leases = Vec::new();
                self.free_keys.push(ix as KeyIx);
            }
        }
        self.keys_sweep = KEYS_FEW.max(2 * self.by_shape.len());
    }

    /// Whether it is the key of a shape, wherever its tasks' arguments lie.
    pub(crate) fn is_key_of(&self, key: KeyIx, shape: &Shape) -> bool {
        self.keys.get(key as usize).is_some_and(|key| key.known && key.shape == *shape)
    }

    pub(crate) fn shape(&self, key: KeyIx) -> &Shape {
        &self.keys[key as usize].shape
    }

    /// The first task of a key's queue: what a lease request is made for.
    pub(crate) fn head(&self, key: KeyIx) -> Option<&T> {
        self.keys[key as usize].queue.front()
    }

    fn estimate(&self, task: &T) -> u32 {
        let run = match self.estimates.get(task.function()) {
            Some(&ns) if ns > 0 => ns,
            _ => UNKNOWN_NS,
        };
        run.saturating_add(task.bytes())
    }

    fn lease(&mut self, lease: LeaseIx) -> Option<&mut Lease<T, L>> {
        self.leases.get_mut(lease as usize)?.as_mut()
    }

    /// A task whose arguments are ready.
    pub(crate) fn ready(&mut self, task: T, key: KeyIx, out: &mut Vec<Act<T, L>>) {
        if self.keys[key as usize].queue.is_empty()
            && let Some(lease) = self.open_lease(key, self.estimate(&task))
        {
            self.push(lease, task, out);
            return;
        }
        self.keys[key as usize].queue.push(task);
        self.ask(key, out);
    }

    /// The lease with the least ahead that may take a task of this estimate.
    fn open_lease(&self, key: KeyIx, estimate: u32) -> Option<LeaseIx> {
        if self.keys[key as usize].one_by_one {
            return None;
        }
        let mut best: Option<(u64, LeaseIx)> = None;
        for &ix in &self.keys[key as usize].leases {
            let Some(lease) = &self.leases[ix as usize] else { continue };
            if lease.yielding {
                continue;
            }
            if lease.flight.is_empty() {
                return Some(ix);
            }
            let ahead = lease.ahead_ns + u64::from(estimate);
            if ahead <= AHEAD_SINGLY_NS && best.is_none_or(|(least, _)| ahead < least) {
                best = Some((ahead, ix));
            }
        }
        best.map(|(_, ix)| ix)
    }

    fn push(&mut self, ix: LeaseIx, task: T, out: &mut Vec<Act<T, L>>) {
        let estimate = self.estimate(&task);
        // The index comes from a key's list of leases, which holds live ones only.
        let Some(lease) = self.leases.get_mut(ix as usize).and_then(Option::as_mut) else { return };
        if lease.flight.is_empty() {
            self.idle -= 1;
        }
        lease.ahead_ns += u64::from(estimate);
        lease.idle_ticks = 0;
        lease.used = true;
        lease.flight.push_back((task.clone(), estimate));
        out.push(Act::Push { lease: ix, link: lease.link.clone(), task });
    }

    /// Tells the raylet how many leases would be used now; not at every task, but whenever it doubles.
    fn ask(&mut self, ix: KeyIx, out: &mut Vec<Act<T, L>>) {
        let key = &mut self.keys[ix as usize];
        let dealt = if key.sure_elsewhere { key.elsewhere } else { 0 };
        let wanted = (key.queue.len() as u32).saturating_sub(dealt).min(BACKLOG_MAX);
        // Nobody waits for what other nodes were asked for: it is withdrawn there too, or it would wait on for nothing.
        let withdrawn = key.queue.is_empty() && key.elsewhere > 0;
        if wanted > 0 && (key.wanted == 0 || wanted >= 2 * key.wanted) || wanted == 0 && (key.wanted > 0 || withdrawn) {
            key.wanted = wanted;
            out.push(Act::Backlog { key: ix, wanted });
        }
    }

    /// A raylet granted a lease for the key.
    pub(crate) fn granted(&mut self, key: KeyIx, link: L, out: &mut Vec<Act<T, L>>) -> Option<LeaseIx> {
        let entry = &mut self.keys[key as usize];
        entry.wanted = entry.wanted.saturating_sub(1);
        if entry.queue.is_empty() {
            out.push(Act::Return { link });
            return None;
        }
        let lease = Lease {
            key,
            link,
            flight: VecDeque::new(),
            ahead_ns: 0,
            used: false,
            recalled: false,
            yielding: false,
            idle_ticks: 0,
            parked: 0,
        };
        let ix = match self.free.pop() {
            Some(ix) => {
                self.leases[ix as usize] = Some(lease);
                ix
            }
            None => {
                self.leases.push(Some(lease));
                (self.leases.len() - 1) as LeaseIx
            }
        };
        self.keys[key as usize].leases.push(ix);
        self.idle += 1;
        self.fill(ix, out);
        self.ask(key, out);
        Some(ix)
    }

    /// How many leases the raylets were told could be used, less what they have granted since.
    pub(crate) fn wanted(&self, key: KeyIx) -> u32 {
        self.keys[key as usize].wanted
    }

    /// Whether something runs what waits.
    pub(crate) fn has_leases(&self, key: KeyIx) -> bool {
        !self.keys[key as usize].leases.is_empty()
    }

    /// Whether leases of the key that were sent on to another node are waited for.
    pub(crate) fn is_sure_elsewhere(&self, key: KeyIx) -> bool {
        self.keys[key as usize].sure_elsewhere
    }

    /// Leases of a key will come from another node. Unless that is sure, its tasks take what comes first.
    pub(crate) fn sent_elsewhere(&mut self, key: KeyIx, count: u32) {
        let key = &mut self.keys[key as usize];
        key.elsewhere += count;
        if key.sure_elsewhere {
            key.wanted = key.wanted.saturating_sub(count);
        }
    }

    /// A lease is about to be granted that was asked for elsewhere.
    pub(crate) fn comes_from_elsewhere(&mut self, key: KeyIx) {
        let key = &mut self.keys[key as usize];
        if key.elsewhere > 0 {
            key.elsewhere -= 1;
            key.wanted += u32::from(key.sure_elsewhere);
        }
    }

    /// Leases that were asked for elsewhere will not come.
    pub(crate) fn lost_elsewhere(&mut self, key: KeyIx, count: u32) {
        let key = &mut self.keys[key as usize];
        key.elsewhere = key.elsewhere.saturating_sub(count);
    }

    /// Tells the raylet if nothing is needed any more, after a task left the queue.
    pub(crate) fn left(&mut self, key: KeyIx, out: &mut Vec<Act<T, L>>) {
        self.ask(key, out);
    }

    /// Asks again for what the queue needs.
    pub(crate) fn ask_again(&mut self, key: KeyIx, out: &mut Vec<Act<T, L>>) {
        self.keys[key as usize].wanted = 0;
        self.ask(key, out);
    }

    /// Gives a lease what it may take from its key's queue; gives it back if it was recalled and is free.
    fn fill(&mut self, ix: LeaseIx, out: &mut Vec<Act<T, L>>) {
        loop {
            let Some(lease) = self.leases.get(ix as usize).and_then(Option::as_ref) else { return };
            let key = lease.key;
            let free = lease.flight.is_empty();
            if free && lease.yielding || (free && lease.recalled && self.keys[key as usize].queue.is_empty()) {
                self.close(ix, out);
                return;
            }
            let ahead = lease.ahead_ns;
            if self.keys[key as usize].one_by_one && lease.used {
                if free {
                    self.close(ix, out);
                }
                return;
            }
            if lease.yielding {
                return;
            }
            let Some(head) = self.keys[key as usize].queue.front() else { break };
            if !free && ahead + u64::from(self.estimate(head)) > AHEAD_NS {
                return;
            }
            if let Some(task) = self.keys[key as usize].queue.pop_front() {
                self.push(ix, task, out);
            }
        }
        let key = self.leases[ix as usize].as_ref().map(|lease| lease.key);
        if let Some(key) = key
            && (self.keys[key as usize].wanted > 0 || self.keys[key as usize].elsewhere > 0)
        {
            self.ask(key, out);
        }
    }

    fn close(&mut self, ix: LeaseIx, out: &mut Vec<Act<T, L>>) {
        if let Some(lease) = self.remove(ix) {
            out.push(Act::Return { link: lease.link });
            self.ask(lease.key, out);
        }
    }

    fn remove(&mut self, ix: LeaseIx) -> Option<Lease<T, L>> {
        let lease = self.leases.get_mut(ix as usize)?.take()?;
        self.free.push(ix);
        self.keys[lease.key as usize].leases.retain(|&other| other != ix);
        if lease.flight.is_empty() {
            self.idle -= 1;
        }
        Some(lease)
    }

    /// Tasks that the worker finished, each with its run time if it ran; then the lease takes what it may.
    pub(crate) fn completed(&mut self, ix: LeaseIx, done: impl IntoIterator<Item = Done>, out: &mut Vec<Act<T, L>>) {
        let (mut runs, mut surprises) = (0_u32, 0_u32);
        for (seq, ran) in done {
            let Some((task, estimate)) = self.land(ix, seq) else { continue };
            if let Some(ns) = ran {
                runs += 1;
                surprises += u32::from(u64::from(ns) > SURPRISE * u64::from(estimate));
                self.measured(task.function(), ns);
            }
            out.push(Act::Gone(task));
        }
        // One among many was interrupted by others.
        if 2 * surprises > runs {
            self.reconsider(ix, out);
        }
        self.fill(ix, out);
    }

    /// What is in flight on a lease costs more than was thought when it was put there: far too much of it is taken back.
    #[cold]
    fn reconsider(&mut self, ix: LeaseIx, out: &mut Vec<Act<T, L>>) {
        let Some(lease) = self.leases.get(ix as usize).and_then(Option::as_ref) else { return };
        let estimates: Vec<u32> = lease.flight.iter().map(|(task, old)| self.estimate(task).max(*old)).collect();
        let Some(lease) = self.lease(ix) else { return };
        for ((_, old), new) in lease.flight.iter_mut().zip(&estimates) {
            *old = *new;
        }
        lease.ahead_ns = estimates.iter().map(|estimate| u64::from(*estimate)).sum();
        if lease.ahead_ns > SURPRISED_NS && lease.flight.len() > 1 {
            let link = lease.link.clone();
            out.push(Act::TakeBack { lease: ix, link });
        }
    }

    /// A task that waits without holding its worker: the lease is free for the next, or goes back.
    pub(crate) fn parked(&mut self, ix: LeaseIx, seq: u64, out: &mut Vec<Act<T, L>>) {
        let Some((task, _)) = self.land(ix, seq) else { return };
        out.push(Act::Gone(task));
        if let Some(lease) = self.lease(ix) {
            lease.parked = lease.parked.saturating_add(1);
            if lease.parked == PARKED_MAX && !lease.yielding {
                lease.yielding = true;
                if !lease.flight.is_empty() {
                    let link = lease.link.clone();
                    out.push(Act::TakeBack { lease: ix, link });
                }
            }
        }
        self.fill(ix, out);
    }

    /// Takes a task out of a lease's flight; what it was taken to cost.
    fn land(&mut self, ix: LeaseIx, seq: u64) -> Option<(T, u32)> {
        let lease = self.leases.get_mut(ix as usize)?.as_mut()?;
        // Workers answer in order nearly always.
        let at = lease.flight.iter().position(|(task, _)| task.seq() == seq)?;
        let (task, estimate) = lease.flight.remove(at)?;
        lease.ahead_ns -= u64::from(estimate);
        if lease.flight.is_empty() {
            self.idle += 1;
        }
        Some((task, estimate))
    }

    fn measured(&mut self, function: usize, ns: u32) {
        if self.estimates.len() <= function {
            self.estimates.resize(function + 1, 0);
        }
        let estimate = &mut self.estimates[function];
        // A run that was interrupted by others looks slow and says nothing: estimates at most double at a time.
        *estimate = match *estimate {
            // Not known: a run of no time is one all the same.
            0 => ns.max(1),
            old if ns > old => ns.min(old.saturating_mul(2).saturating_add(500)),
            old => old - (old - ns) / 8,
        };
    }

    /// Lent tasks that the worker gave back: they have their places in the queue again.
    pub(crate) fn returned(&mut self, ix: LeaseIx, seqs: &[u64], out: &mut Vec<Act<T, L>>) {
        let Some(lease) = self.leases.get_mut(ix as usize).and_then(Option::as_mut) else { return };
        let key = lease.key;
        // In one pass: there may be a hundred thousand, and this is under the owner's lock.
        let given: HashSet<u64> = seqs.iter().copied().collect();
        let was_idle = lease.flight.is_empty();
        let (back, stay): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut lease.flight).into_iter().partition(|(task, _)| given.contains(&task.seq()));
        lease.flight = stay;
        lease.ahead_ns -= back.iter().map(|(_, estimate)| u64::from(*estimate)).sum::<u64>();
        self.idle += u32::from(lease.flight.is_empty() && !was_idle);
        for (task, _) in back.into_iter().rev() {
            self.keys[key as usize].queue.push(task);
        }
        // What runs there now has run for long, or waits: nothing is put behind it.
        if let Some(lease) = self.lease(ix)
            && !lease.flight.is_empty()
        {
            lease.ahead_ns = lease.ahead_ns.max(AHEAD_NS);
            for (_, estimate) in &mut lease.flight {
                *estimate = (AHEAD_NS as u32).max(*estimate);
            }
            lease.ahead_ns = lease.flight.iter().map(|(_, estimate)| u64::from(*estimate)).sum();
        }
        while let Some(head) = self.keys[key as usize].queue.front() {
            let Some(open) = self.open_lease(key, self.estimate(head)) else { break };
            if let Some(task) = self.keys[key as usize].queue.pop_front() {
                self.push(open, task, out);
            }
        }
        self.fill(ix, out);
        self.ask(key, out);
    }

    /// The raylet wants the lease back: at once if it is idle, after its flight if `yield_now`.
    pub(crate) fn recall(&mut self, ix: LeaseIx, yield_now: bool, out: &mut Vec<Act<T, L>>) {
        let Some(lease) = self.lease(ix) else { return };
        lease.recalled = true;
        lease.yielding |= yield_now;
        if yield_now && lease.flight.len() > 1 {
            let link = lease.link.clone();
            out.push(Act::TakeBack { lease: ix, link });
        }
        if lease.flight.is_empty() {
            self.fill(ix, out);
        }
    }

    /// The worker is gone: what was in its flight, in order; the lease is no more.
    pub(crate) fn lost(&mut self, ix: LeaseIx, out: &mut Vec<Act<T, L>>) -> Vec<T> {
        let Some(lease) = self.remove(ix) else { return Vec::new() };
        self.ask(lease.key, out);
        lease.flight.into_iter().map(|(task, _)| task).collect()
    }

    /// The leases of one kind of link, such as those of a dead node or process.
    pub(crate) fn leases_where(&self, mut which: impl FnMut(&L) -> bool) -> Vec<LeaseIx> {
        let live = self.leases.iter().enumerate();
        live.filter(|(_, lease)| lease.as_ref().is_some_and(|lease| which(&lease.link)))
            .map(|(ix, _)| ix as LeaseIx)
            .collect()
    }

    pub(crate) fn link(&self, ix: LeaseIx) -> Option<&L> {
        self.leases.get(ix as usize)?.as_ref().map(|lease| &lease.link)
    }

    /// Takes a task out of its queue, or says where it is.
    pub(crate) fn cancel(&mut self, (seq, place): (u64, u64), key: KeyIx) -> Found<T, L> {
        if let Some(task) = self.keys[key as usize].queue.remove(place) {
            return Found::Queued(task);
        }
        for (ix, lease) in self.leases.iter().enumerate() {
            if let Some(lease) = lease
                && lease.key == key
                && lease.flight.iter().any(|(task, _)| task.seq() == seq)
            {
                return Found::InFlight(ix as LeaseIx, lease.link.clone());
            }
        }
        Found::Nowhere
    }

    /// Whether a task waits in its queue.
    pub(crate) fn is_queued(&self, place: u64, key: KeyIx) -> bool {
        self.keys[key as usize].queue.has(place)
    }

    /// The lease that a task is in flight on.
    pub(crate) fn locate(&mut self, seq: u64, key: KeyIx) -> Option<L> {
        let flying = |lease: &&Lease<T, L>| lease.key == key && lease.flight.iter().any(|(task, _)| task.seq() == seq);
        self.leases.iter().flatten().find(flying).map(|lease| lease.link.clone())
    }

    /// Everything that a refused key had queued.
    pub(crate) fn drain(&mut self, key: KeyIx) -> Vec<T> {
        let entry = &mut self.keys[key as usize];
        entry.wanted = 0;
        entry.queue.drain().collect()
    }

    /// Whether ticks are wanted: some lease is idle.
    pub(crate) fn wants_tick(&self) -> bool {
        self.idle > 0
    }

    /// A step of idle time.
    pub(crate) fn tick(&mut self, out: &mut Vec<Act<T, L>>) {
        let mut stale = Vec::new();
        for (ix, lease) in self.leases.iter_mut().enumerate() {
            if let Some(lease) = lease
                && lease.flight.is_empty()
            {
                lease.idle_ticks += 1;
                if lease.idle_ticks >= IDLE_TICKS {
                    stale.push(ix as LeaseIx);
                }
            }
        }
        for ix in stale {
            self.close(ix, out);
        }
    }

    /// Calls `look` with each lease and its flight.
    pub(crate) fn flights<'a>(&'a self, mut look: impl FnMut(&'a L, &mut dyn Iterator<Item = &'a T>)) {
        for lease in self.leases.iter().flatten() {
            look(&lease.link, &mut lease.flight.iter().map(|(task, _)| task));
        }
    }

    /// How many tasks wait in queues, and how many are in flight.
    pub(crate) fn load(&self) -> (usize, usize) {
        let queued = self.keys.iter().map(|key| key.queue.len()).sum();
        let flying = self.leases.iter().flatten().map(|lease| lease.flight.len()).sum();
        (queued, flying)
    }

    /// Gives back every idle lease now (shutdown, or somebody wants everything free).
    pub(crate) fn close_idle(&mut self, out: &mut Vec<Act<T, L>>) {
        for ix in 0..self.leases.len() {
            if self.leases[ix].as_ref().is_some_and(|lease| lease.flight.is_empty()) {
                self.close(ix as LeaseIx, out);
            }
        }
    }
}

#[cfg(test)]
mod tests;
