//! How much of a node's object store is in use, counted by all of the node's processes together.
//!
//! Each process keeps what it holds on its own heap; what they may hold is one number for the node. The raylet makes some
//! words of shared memory ([`crate::env::shared`]) and lends each process a cell of them; a process adds to its cell what
//! it keeps, and the sum of all cells is what the node keeps. No message and no lock is needed, and nobody who dies leaves
//! anything locked.
//!
//! - BUDGET-1: what is granted never exceeds the capacity. Whoever takes some first adds it to its cell, and then adds up
//!   all cells; of two that take at the same time at least one sees the other (all of it is sequentially consistent), and
//!   who sees too much gives back.
//! - BUDGET-2: what a process holds is given back with it: its raylet clears its cell when it has ended.
//! - BUDGET-3: a cell says which lending it is of, and somebody to whom it is not lent any more changes nothing in it.
//! - BUDGET-4: who asks for more than there is disturbs nobody: it looks before it takes. Who gave back since another was
//!   about to take looks again, until one has got it.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::env::files::Files;
use crate::env::shared::{At, Shared};

/// The words before the cells: whose they are (two), the capacity, and how many cells were ever lent.
const MARK: usize = 0;
const CAPACITY: usize = 2;
const EVER_LENT: usize = 3;
const CELLS: usize = 4;
/// So many processes of a node share its budget; those beyond have the capacity for themselves. All of it is 64 KiB, of which
/// a node with few processes touches one page.
const CELLS_MAX: usize = 8192 - CELLS;
/// A cell's bytes are its lower bits, and which lending it is of the others.
const BYTES_BITS: u32 = 48;
const BYTES: u64 = (1 << BYTES_BITS) - 1;
/// So often somebody tries for what seems to be there, while others are about to take it too.
const TRIES: usize = 1000;

/// Where a process finds the cell that is lent to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Which boot of which machine.
    boot: String,
    at: At,
    /// Whose memory it is.
    mark: u128,
    cell: u32,
    lending: u16,
}

#[cfg(test)]
impl Place {
    pub(crate) fn of(at: At, mark: u128, (cell, lending): (u32, u16)) -> Place {
        Place { boot: "a boot".to_owned(), at, mark, cell, lending }
    }
}

/// What one process of the node takes and gives back.
pub(crate) struct Budget {
    shared: Arc<Shared>,
    mark: u128,
    cell: usize,
    lending: u16,
}

impl Budget {
    /// # Errors
    ///
    /// If it is on another machine, or there is something else.
    pub(crate) fn open(files: Files, place: &Place) -> io::Result<Budget> {
        let wrong = |what: &str| Err(io::Error::new(io::ErrorKind::NotFound, what.to_owned()));
        if place.boot.is_empty() || place.boot != files.boot_id() {
            return wrong("the node is on another machine");
        }
        let shared = Shared::open(files, &place.at, CELLS + CELLS_MAX)?;
        if place.mark != read_mark(&shared) || place.cell as usize >= CELLS_MAX {
            return wrong("this memory is not of the node that lends it");
        }
        let cell = CELLS + place.cell as usize;
        Ok(Budget { shared: Arc::new(shared), mark: place.mark, cell, lending: place.lending })
    }

    /// The same for all that share it, and another for others; never 0.
    pub(crate) fn mark(&self) -> u128 {
        self.mark
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

    /// Takes so many bytes (BUDGET-1, BUDGET-4). Somebody to whom nothing is lent any more, as its node believes it dead, takes
    /// nothing and may keep what it likes.
    ///
    /// # Errors
    ///
    /// How many are in use, if there are not so many left.
    pub(crate) fn take(&self, bytes: u64) -> Result<(), u64> {
        let too_much = |used: u64| used.saturating_add(bytes) > self.capacity();
        for tried in 0..TRIES {
            let used = self.used();
            if too_much(used) {
                return Err(used);
            }
            // As there is room, it is within the cell.
            if self.change(|held| Some((held + bytes) & BYTES)).is_none() || self.used() <= self.capacity() {
                return Ok(());
            }
            self.give(bytes);
            // Not in step with the other.
            for _ in 0..(tried * 31 + self.cell * 17) % 97 {
                std::hint::spin_loop();
            }
        }
        Err(self.used())
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

/// The raylet's side: lends the cells. What it needs to know of them it does not read where others can write.
pub(crate) struct Cells {
    shared: Arc<Shared>,
    mark: u128,
    lendings: Mutex<Lendings>,
}

#[derive(Default)]
struct Lendings {
    /// Of each cell that was ever lent, which lending it is of.
    of: Vec<u16>,
    /// The one that is free longest first.
    free: VecDeque<u32>,
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
        Ok(Arc::new(Cells { shared: Arc::new(shared), mark, lendings: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Lendings> {
        // Plain data under the lock.
        self.lendings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the raylet's own process, as long as it lives.
    pub(crate) fn own(&self) -> Option<Budget> {
        let (cell, lending) = self.take()?;
        Some(Budget { shared: Arc::clone(&self.shared), mark: self.mark, cell: CELLS + cell as usize, lending })
    }

    /// A cell for another process; none if all are lent.
    pub(crate) fn lend(self: &Arc<Self>) -> Option<Lent> {
        self.take().map(|(cell, lending)| Lent { cells: Arc::clone(self), cell, lending })
    }

    fn take(&self) -> Option<(u32, u16)> {
        let mut lendings = self.lock();
        if let Some(cell) = lendings.free.pop_front() {
            return Some((cell, lendings.of[cell as usize]));
        }
        let next = lendings.of.len();
        if next == CELLS_MAX {
            return None;
        }
        lendings.of.push(0);
        self.shared.words()[EVER_LENT].store(next as u64 + 1, Ordering::SeqCst);
        Some((next as u32, 0))
    }

    fn take_back(&self, cell: u32) {
        let mut lendings = self.lock();
        let lending = &mut lendings.of[cell as usize];
        *lending = lending.wrapping_add(1);
        let cleared = u64::from(*lending) << BYTES_BITS;
        self.shared.words()[CELLS + cell as usize].store(cleared, Ordering::SeqCst);
        lendings.free.push_back(cell);
    }
}

/// A cell that is lent to a process, until this is dropped: when the process has ended (BUDGET-2).
pub(crate) struct Lent {
    cells: Arc<Cells>,
    cell: u32,
    lending: u16,
}

impl Lent {
    /// Where the process finds it; `pid` is this process, the raylet's.
    pub(crate) fn place(&self, files: Files, pid: u32) -> Option<Place> {
        let Lent { cells, cell, lending } = self;
        let at = cells.shared.at(pid)?;
        Some(Place { boot: files.boot_id(), at, mark: cells.mark, cell: *cell, lending: *lending })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.cells.take_back(self.cell);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::env::Env;

    fn cells(capacity: u64) -> Arc<Cells> {
        Cells::create(Env::real().files(), 1 << 70 | 5, capacity).unwrap()
    }

    fn place(lent: &Lent) -> Place {
        let env = Env::real();
        lent.place(env.files(), env.pid()).unwrap()
    }

    fn open(lent: &Lent) -> io::Result<Budget> {
        Budget::open(Env::real().files(), &place(lent))
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
        drop(lent);
        let next = cells.lend().unwrap();
        assert_eq!((next.cell, next.lending), (0, 1), "lent again");
        let budget = open(&next).unwrap();
        assert_eq!(budget.take(100), Ok(()));
        // The one that has ended was only believed to have.
        gone.give(90);
        assert_eq!((gone.mine(), budget.mine(), budget.used(), budget.take(1)), (0, 100, 100, Err(100)));
        budget.give(60);
        assert_eq!((gone.take(7), gone.mine(), budget.used()), (Ok(()), 0, 40));
    }

    /// Cells are lent again in turn, so that a lending comes again as late as it can.
    #[test]
    fn what_is_free_longest_is_lent_first() {
        let cells = cells(1);
        let lent: Vec<Lent> = (0..3).map(|_| cells.lend().unwrap()).collect();
        let mut lent = VecDeque::from(lent);
        drop(lent.pop_back());
        drop(lent.pop_back());
        let next: Vec<u32> = (0..3).map(|_| cells.lend().unwrap()).map(|lent| lent.cell).collect();
        assert_eq!(next, [2, 1, 2]);
    }

    #[test]
    fn what_is_not_the_nodes_is_refused() {
        let (cells, env) = (cells(100), Env::real());
        let lent = cells.lend().unwrap();
        let place = place(&lent);
        for wrong in [
            Place { mark: 7, ..place.clone() },
            Place { cell: u32::MAX, ..place.clone() },
            Place { boot: "another machine".to_owned(), ..place.clone() },
            Place { boot: String::new(), ..place.clone() },
            Place { at: At::of(env.pid(), -1), ..place },
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

    /// What some threads, each a process, get of a capacity of ten that each takes so often: how often each, and the most that
    /// was granted at once.
    fn contend(cells: &Arc<Cells>, sizes: &[u64], rounds: u64) -> (Vec<u64>, u64) {
        let granted = Arc::new(AtomicU64::new(0));
        let (tell, hear) = std::sync::mpsc::channel();
        for (number, size) in sizes.iter().copied().enumerate() {
            let (lent, granted, tell) = (cells.lend().unwrap(), Arc::clone(&granted), tell.clone());
            let body = move || {
                let budget = open(&lent).unwrap();
                let (mut got, mut most) = (0, 0);
                for _ in 0..rounds {
                    if budget.take(size).is_ok() {
                        got += 1;
                        most = most.max(granted.fetch_add(size, Ordering::SeqCst) + size);
                        granted.fetch_sub(size, Ordering::SeqCst);
                        budget.give(size);
                    }
                }
                tell.send((number, got, most)).unwrap();
            };
            Env::real().thread("process", body).unwrap();
        }
        drop(tell);
        let mut all: Vec<_> = hear.iter().collect();
        all.sort();
        (all.iter().map(|(_, got, _)| *got).collect(), all.iter().map(|(.., most)| *most).max().unwrap())
    }

    /// BUDGET-1: whatever the threads of different processes do at once.
    #[test]
    fn no_more_is_granted_than_there_is() {
        let cells = cells(10);
        // Who runs while another sleeps with what it took may get nothing.
        let (got, most) = contend(&cells, &[4, 7, 3], 20_000);
        assert!(got.iter().any(|got| *got > 0) && most <= 10, "{got:?}, {most} of 10 at once");
        assert_eq!(cells.own().unwrap().used(), 0);
    }

    /// BUDGET-4: nobody is refused what fits, because others ask for what does not, or for what fits too.
    #[test]
    fn what_fits_is_granted_whatever_others_ask_for() {
        const ROUNDS: u64 = 20_000;
        let (got, most) = contend(&cells(10), &[5, 11, 5, 100], ROUNDS);
        assert_eq!((got, most <= 10), (vec![ROUNDS, 0, ROUNDS, 0], true));
    }
}
