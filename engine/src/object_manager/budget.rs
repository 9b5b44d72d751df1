//! How much of a node's object store is in use, counted by all of the node's processes together.
//!
//! Each process keeps what it holds on its own heap; what they may hold is one number for the node. The raylet makes some
//! words of shared memory ([`crate::env::shared`]) and lends each process a cell of them; a process adds to its cell what
//! it keeps, and the sum of all cells is what the node keeps. No message and no lock is needed, and nobody who dies leaves
//! anything locked.
//!
//! - BUDGET-1: what is granted never exceeds the capacity. Whoever takes some first adds it to its cell, and then adds up
//!   all cells; of two that take at the same time at least one sees the other (all of it is sequentially consistent), and
//!   who sees too much gives back and tries again.
//! - BUDGET-2: what a process holds is given back with it: its raylet clears its cell when it has ended.
//! - BUDGET-3: a cell says which lending it is of, and somebody to whom it is not lent any more changes nothing in it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::env::files::Files;
use crate::env::shared::Shared;

/// The words before the cells: whose they are (two), the capacity, and how many cells were ever lent.
const MARK: usize = 0;
const CAPACITY: usize = 2;
const EVER_LENT: usize = 3;
const CELLS: usize = 4;
/// So many processes of a node share its budget; those beyond have the capacity for themselves.
const CELLS_MAX: usize = 8192 - CELLS;
/// A cell's bytes are its lower bits, and which lending it is of the others.
const BYTES_BITS: u32 = 48;
const BYTES: u64 = (1 << BYTES_BITS) - 1;
/// So often somebody tries who sees too much, since it may be of one who is about to give back.
const TRIES: u32 = 4;

/// Where a process finds the cell that is lent to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    path: String,
    /// Whose memory it is: on another machine the path may be anything.
    mark: u128,
    cell: u32,
    lending: u16,
}

#[cfg(test)]
impl Place {
    pub(crate) fn of(path: &str, mark: u128, (cell, lending): (u32, u16)) -> Place {
        Place { path: path.to_owned(), mark, cell, lending }
    }
}

/// What one process of the node takes and gives back.
pub(crate) struct Budget {
    shared: Arc<Shared>,
    cell: usize,
    lending: u16,
}

impl Budget {
    /// # Errors
    ///
    /// If there is nothing there, as on another machine, or something else.
    pub(crate) fn open(files: Files, place: &Place) -> io::Result<Budget> {
        let shared = Shared::open(files, &place.path, CELLS + CELLS_MAX)?;
        let cell = CELLS + place.cell as usize;
        if read_mark(&shared) != place.mark || cell >= shared.words().len() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "this memory is not of the node that lends it"));
        }
        Ok(Budget { shared: Arc::new(shared), cell, lending: place.lending })
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.shared.words()[CAPACITY].load(Ordering::Relaxed)
    }

    /// What all processes of the node hold.
    pub(crate) fn used(&self) -> u64 {
        let words = self.shared.words();
        let lent = usize::try_from(words[EVER_LENT].load(Ordering::SeqCst)).unwrap_or(CELLS_MAX).min(CELLS_MAX);
        let cells = &words[CELLS..CELLS + lent];
        cells.iter().fold(0, |sum: u64, cell| sum.saturating_add(cell.load(Ordering::SeqCst) & BYTES))
    }

    /// What this process holds.
    pub(crate) fn mine(&self) -> u64 {
        self.change(Some).unwrap_or(0)
    }

    /// Takes so many bytes (BUDGET-1).
    ///
    /// # Errors
    ///
    /// How many are in use, if there are not so many left.
    pub(crate) fn take(&self, bytes: u64) -> Result<(), u64> {
        let mut used = 0;
        for _ in 0..TRIES {
            let more = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= BYTES);
            if bytes > self.capacity() || self.change(more).is_none() {
                return Err(self.used());
            }
            let sum = self.used();
            if sum <= self.capacity() {
                return Ok(());
            }
            self.give(bytes);
            used = sum.saturating_sub(bytes);
        }
        Err(used)
    }

    /// Gives so many bytes back.
    pub(crate) fn give(&self, bytes: u64) {
        self.change(|held| Some(held.saturating_sub(bytes)));
    }

    /// Changes what this process holds; what it held, or none if it is not changed (BUDGET-3).
    fn change(&self, with: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        let mine = u64::from(self.lending) << BYTES_BITS;
        let changed = |word: u64| (word & !BYTES == mine).then(|| with(word & BYTES).map(|held| mine | held)).flatten();
        let word = &self.shared.words()[self.cell];
        word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, changed).ok().map(|word| word & BYTES)
    }
}

fn read_mark(shared: &Shared) -> u128 {
    let half = |at: usize| u128::from(shared.words()[at].load(Ordering::SeqCst));
    half(MARK) << 64 | half(MARK + 1)
}

/// The raylet's side: lends the cells.
pub(crate) struct Cells {
    shared: Arc<Shared>,
    mark: u128,
    free: Mutex<Vec<u32>>,
}

impl Cells {
    /// # Errors
    ///
    /// If the machine refuses the memory, and in a simulation.
    pub(crate) fn create(files: Files, mark: u128, capacity: u64) -> io::Result<Arc<Cells>> {
        let shared = Shared::create(files, CELLS + CELLS_MAX)?;
        let words = shared.words();
        words[MARK].store((mark >> 64) as u64, Ordering::SeqCst);
        words[MARK + 1].store(mark as u64, Ordering::SeqCst);
        words[CAPACITY].store(capacity, Ordering::SeqCst);
        Ok(Arc::new(Cells { shared: Arc::new(shared), mark, free: Mutex::default() }))
    }

    /// For the raylet's own process, as long as it lives.
    pub(crate) fn own(&self) -> Option<Budget> {
        let cell = self.take()?;
        Some(Budget { shared: Arc::clone(&self.shared), cell: CELLS + cell as usize, lending: self.lending(cell) })
    }

    /// A cell for another process; none if all are lent.
    pub(crate) fn lend(self: &Arc<Self>) -> Option<Lent> {
        self.take().map(|cell| Lent { cells: Arc::clone(self), cell })
    }

    fn take(&self) -> Option<u32> {
        // Plain data under the lock.
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = free.pop() {
            return Some(cell);
        }
        let ever = &self.shared.words()[EVER_LENT];
        let next = ever.load(Ordering::SeqCst);
        (next < CELLS_MAX as u64).then(|| {
            ever.store(next + 1, Ordering::SeqCst);
            next as u32
        })
    }

    fn word(&self, cell: u32) -> &AtomicU64 {
        &self.shared.words()[CELLS + cell as usize]
    }

    fn lending(&self, cell: u32) -> u16 {
        (self.word(cell).load(Ordering::SeqCst) >> BYTES_BITS) as u16
    }
}

/// A cell that is lent to a process, until this is dropped: when the process has ended (BUDGET-2).
pub(crate) struct Lent {
    cells: Arc<Cells>,
    cell: u32,
}

impl Lent {
    /// Where the process finds it; `pid` is the raylet's.
    pub(crate) fn place(&self, pid: u32) -> Option<Place> {
        let path = self.cells.shared.path(pid)?;
        Some(Place { path, mark: self.cells.mark, cell: self.cell, lending: self.cells.lending(self.cell) })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let next = self.cells.lending(self.cell).wrapping_add(1);
        self.cells.word(self.cell).store(u64::from(next) << BYTES_BITS, Ordering::SeqCst);
        self.cells.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.cell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;

    const PID: u32 = 1;

    fn cells(capacity: u64) -> Arc<Cells> {
        Cells::create(Env::real().files(), 1 << 70 | 5, capacity).unwrap()
    }

    fn open(lent: &Lent) -> io::Result<Budget> {
        let env = Env::real();
        Budget::open(env.files(), &lent.place(env.pid()).unwrap())
    }

    #[test]
    fn processes_share_one_capacity() {
        let cells = cells(100);
        let own = cells.own().unwrap();
        let (one, other) = (cells.lend().unwrap(), cells.lend().unwrap());
        let (one, other) = ((open(&one).unwrap(), one), (open(&other).unwrap(), other));
        assert_eq!(one.0.capacity(), 100);
        assert_eq!((own.take(30), one.0.take(50), other.0.take(30)), (Ok(()), Ok(()), Err(80)));
        assert_eq!((other.0.take(20), own.used(), own.mine(), one.0.mine()), (Ok(()), 100, 30, 50));
        assert_eq!(own.take(1), Err(100));
        one.0.give(50);
        assert_eq!((own.take(40), own.used()), (Ok(()), 90));
        assert_eq!((other.0.take(101), other.0.take(u64::MAX), own.used()), (Err(90), Err(90), 90));
    }

    /// BUDGET-2, BUDGET-3.
    #[test]
    fn what_a_process_held_is_free_when_it_has_ended() {
        let cells = cells(100);
        let lent = cells.lend().unwrap();
        let gone = open(&lent).unwrap();
        gone.take(90).unwrap();
        let place = lent.place(PID).unwrap();
        drop(lent);
        let next = cells.lend().unwrap();
        assert_eq!((next.cell, next.place(PID).unwrap().lending), (place.cell, place.lending + 1), "lent again");
        let budget = open(&next).unwrap();
        assert_eq!(budget.take(100), Ok(()));
        // The one that has ended was only believed to have.
        gone.give(90);
        assert_eq!((gone.take(1), gone.mine(), budget.mine(), budget.used()), (Err(100), 0, 100, 100));
    }

    #[test]
    fn what_is_not_the_nodes_is_refused() {
        let (cells, env) = (cells(100), Env::real());
        let lent = cells.lend().unwrap();
        let place = lent.place(env.pid()).unwrap();
        for wrong in [
            Place { mark: 7, ..place.clone() },
            Place { cell: u32::MAX, ..place.clone() },
            Place { path: "/proc/self/exe".into(), ..place.clone() },
            Place { path: "/nowhere".into(), ..place },
        ] {
            assert!(Budget::open(env.files(), &wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn there_is_an_end_of_cells() {
        let cells = cells(1);
        let all: Vec<Lent> = std::iter::from_fn(|| cells.lend()).collect();
        assert_eq!((all.len(), cells.own().is_none()), (CELLS_MAX, true));
        drop(all);
        assert!(cells.lend().is_some());
    }

    /// BUDGET-1: whatever the threads of different processes do at once.
    #[test]
    fn no_more_is_granted_than_there_is() {
        const ROUNDS: u64 = 20_000;
        let cells = cells(10);
        let granted = Arc::new(AtomicU64::new(0));
        let (tell, hear) = std::sync::mpsc::channel();
        for size in [4, 7, 3] {
            let (lent, granted, tell) = (cells.lend().unwrap(), Arc::clone(&granted), tell.clone());
            let body = move || {
                let budget = open(&lent).unwrap();
                let (mut got, mut most) = (0, 0);
                for _ in 0..ROUNDS {
                    if budget.take(size).is_ok() {
                        got += 1;
                        most = most.max(granted.fetch_add(size, Ordering::SeqCst) + size);
                        granted.fetch_sub(size, Ordering::SeqCst);
                        budget.give(size);
                    }
                }
                tell.send((got, most)).unwrap();
            };
            Env::real().thread("process", body).unwrap();
        }
        drop(tell);
        for (got, most) in hear {
            assert!(got > 0 && most <= 10, "{most} of 10 were granted");
        }
        assert_eq!(cells.own().unwrap().used(), 0);
    }
}
