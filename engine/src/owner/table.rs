//! A table indexed by sequence number: pages that come and go, no hashing.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

const PAGE: usize = 256;
/// A list of fewer pages is not shortened.
const LONG: usize = 1024;
/// So many pages are much: what stands in them takes megabytes.
const MUCH: usize = 64;

struct Page<T> {
    live: usize,
    entries: Vec<Option<T>>,
}

/// What an owner submitted, by sequence number. Numbers come in nearly increasing order.
pub(crate) struct Table<T> {
    /// The number of the first page.
    base: u64,
    pages: VecDeque<Option<Box<Page<T>>>>,
    /// How many of those there are.
    live_pages: usize,
    /// Pages before the first, by their numbers: few live so much longer than those after them.
    old: BTreeMap<u64, Box<Page<T>>>,
    /// An empty one, for the next that is needed: one object at a time would make and free one each time.
    spare: Option<Box<Page<T>>>,
    len: usize,
    /// As many pages as there were at a time, since much of it went last.
    most_pages: usize,
}

impl<T> Table<T> {
    pub(crate) fn new() -> Self {
        Table {
            base: 0,
            pages: VecDeque::new(),
            live_pages: 0,
            old: BTreeMap::new(),
            spare: None,
            len: 0,
            most_pages: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether much of it has gone; once, whatever stays.
    pub(crate) fn has_drained(&mut self) -> bool {
        let pages = self.live_pages + self.old.len();
        let drained = self.most_pages.saturating_sub(pages) >= MUCH;
        if drained {
            self.most_pages = pages;
        }
        drained
    }

    fn place(&self, seq: u64) -> Option<(usize, usize)> {
        let page = (seq / PAGE as u64).checked_sub(self.base)?;
        Some((page as usize, (seq % PAGE as u64) as usize))
    }

    pub(crate) fn insert(&mut self, seq: u64, value: T) {
        let number = seq / PAGE as u64;
        // What pages there are hold nothing then, and may be far from this one's.
        if self.live_pages == 0 && (number >= self.base || self.old.is_empty()) {
            self.pages.clear();
            self.base = number;
        }
        // A number that was kept for long may be far from the others: those between are not made for it.
        while self.old.is_empty() && number < self.base && self.base - number < LONG as u64 {
            self.pages.push_front(None);
            self.base -= 1;
        }
        if number >= self.base + (self.pages.len() + LONG) as u64 {
            self.age(self.pages.len());
            self.base = number;
        }
        let place = self.place(seq);
        let spare = &mut self.spare;
        let new = || Box::new(Page { live: 0, entries: std::iter::repeat_with(|| None).take(PAGE).collect() });
        let page = match place {
            None => self.old.entry(number).or_insert_with(new),
            Some((page, _)) => {
                while self.pages.len() <= page {
                    self.pages.push_back(None);
                }
                let live_pages = &mut self.live_pages;
                self.pages[page].get_or_insert_with(|| {
                    *live_pages += 1;
                    spare.take().unwrap_or_else(new)
                })
            }
        };
        if page.entries[(seq % PAGE as u64) as usize].replace(value).is_none() {
            page.live += 1;
            self.len += 1;
        }
        self.most_pages = self.most_pages.max(self.live_pages + self.old.len());
        if self.pages.len() >= LONG && self.pages.len() > 4 * self.live_pages {
            self.age(self.pages.len() / 2);
        }
    }

    /// Puts the oldest pages aside, most of which are gone: or the list would grow for as long as one of them lives.
    fn age(&mut self, pages: usize) {
        for _ in 0..pages {
            if let Some(Some(page)) = self.pages.pop_front() {
                self.live_pages -= 1;
                self.old.insert(self.base, page);
            }
            self.base += 1;
        }
    }

    pub(crate) fn get(&self, seq: u64) -> Option<&T> {
        let at = (seq % PAGE as u64) as usize;
        match self.place(seq) {
            Some((page, _)) => self.pages.get(page)?.as_ref()?.entries[at].as_ref(),
            None => self.old.get(&(seq / PAGE as u64))?.entries[at].as_ref(),
        }
    }

    pub(crate) fn remove(&mut self, seq: u64) -> Option<T> {
        let Some((ix, at)) = self.place(seq) else { return self.remove_old(seq) };
        let page = self.pages.get_mut(ix)?.as_mut()?;
        let value = page.entries[at].take()?;
        self.len -= 1;
        page.live -= 1;
        if page.live == 0 {
            self.spare = self.pages[ix].take();
            self.live_pages -= 1;
            if self.live_pages == 0 && self.old.is_empty() {
                self.pages.clear();
            }
            // Those at the back stay: while one in front lives, they would be made again for the next. So does the last of
            // all, which is probably the next one's.
            while self.pages.len() > 1
                && let Some(None) = self.pages.front()
            {
                self.pages.pop_front();
                self.base += 1;
            }
        }
        Some(value)
    }

    fn remove_old(&mut self, seq: u64) -> Option<T> {
        let number = seq / PAGE as u64;
        let page = self.old.get_mut(&number)?;
        let value = page.entries[(seq % PAGE as u64) as usize].take()?;
        self.len -= 1;
        page.live -= 1;
        if page.live == 0 {
            self.old.remove(&number);
        }
        Some(value)
    }

    /// What has numbers in the range, in their order.
    pub(crate) fn range(&self, range: Range<u64>) -> impl Iterator<Item = (u64, &T)> {
        let first = (range.start / PAGE as u64).saturating_sub(self.base);
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        let pages = self.pages.iter().enumerate().skip(first);
        let pages = pages.map(|(at, page)| ((self.base + at as u64) * PAGE as u64, page.as_deref()));
        let old =
            self.old.range(range.start / PAGE as u64..).map(|(number, page)| (number * PAGE as u64, Some(&**page)));
        let entries = old.chain(pages).take_while(move |(number, _)| *number < range.end).flat_map(|(number, page)| {
            let entries = page.into_iter().flat_map(|page| page.entries.iter().enumerate());
            entries.filter_map(move |(at, entry)| Some((number + at as u64, entry.as_ref()?)))
        });
        entries.filter(move |(seq, _)| (range.start..range.end).contains(seq))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        let pages = self.old.values().chain(self.pages.iter().flatten());
        pages.flat_map(|page| page.entries.iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::{LONG, MUCH, PAGE, Table};

    #[test]
    fn it_has_drained_once_when_much_of_it_is_gone() {
        let mut table = Table::new();
        let much = (MUCH * PAGE) as u64;
        for round in 0..2 {
            let numbers = round * much..(round + 1) * much;
            numbers.clone().for_each(|seq| table.insert(seq, ()));
            assert!(!table.has_drained());
            let drained = numbers.filter(|seq| table.remove(*seq).is_some() && table.has_drained());
            assert_eq!(drained.count(), 1);
        }
        for seq in 3 * much..3 * much + much / 2 {
            table.insert(seq, ());
        }
        for seq in 3 * much..3 * much + much / 2 {
            assert!(table.remove(seq).is_some() && !table.has_drained(), "that was not much");
        }
        // However much stays.
        (4 * much..8 * much).for_each(|seq| table.insert(seq, ()));
        for round in 8..11 {
            let numbers = round * much..(round + 1) * much;
            numbers.clone().for_each(|seq| table.insert(seq, ()));
            let drained = numbers.filter(|seq| table.remove(*seq).is_some() && table.has_drained());
            assert_eq!(drained.count(), 1);
        }
    }

    #[test]
    fn a_number_that_is_far_from_the_others_takes_one_page() {
        let far = 100_000_000_000;
        let mut table = Table::new();
        table.insert(5, 5);
        for seq in far..far + 1_000 {
            table.insert(seq, seq);
        }
        table.insert(7, 7);
        table.insert(far / 2, 0);
        assert!(table.pages.len() < LONG && table.old.len() == 2);
        assert_eq!((table.get(5), table.get(far / 2), table.get(far + 999)), (Some(&5), Some(&0), Some(&(far + 999))));
        let numbers: Vec<u64> = table.range(0..far + 1).map(|(seq, _)| seq).collect();
        assert_eq!(numbers, [5, 7, far / 2, far]);
        for seq in [5, 7, far / 2].into_iter().chain(far..far + 1_000) {
            assert!(table.remove(seq).is_some());
        }
        assert!(table.len() == 0 && table.old.is_empty() && table.pages.is_empty());
        // The other way round: what is there is old beside what comes.
        table.insert(far, 1);
        table.insert(3, 2);
        table.insert(far + 1, 3);
        assert!(table.pages.len() < LONG && table.len() == 3);
        assert_eq!(table.values().copied().collect::<Vec<_>>(), [2, 1, 3]);
    }

    #[test]
    fn pages_come_and_go_with_their_entries() {
        let mut table = Table::new();
        for seq in (0..10_000u64).rev().chain(10_000..20_000) {
            table.insert(seq, seq);
        }
        assert_eq!(table.len(), 20_000);
        for seq in (0..20_000u64).filter(|seq| seq % 3 != 0) {
            assert_eq!(table.remove(seq), Some(seq));
            assert_eq!(table.remove(seq), None);
        }
        assert_eq!(table.get(3), Some(&3));
        assert_eq!(table.values().count(), table.len());
        for (start, end) in [(0, 0), (1, 4), (250, 900), (19_990, 30_000), (30_000, 40_000), (7, 2)] {
            let some: Vec<u64> = table.range(start..end).map(|(seq, _)| seq).collect();
            let all: Vec<u64> = table.values().copied().filter(|seq| (start..end).contains(seq)).collect();
            assert_eq!(some, all, "{start}..{end}");
        }
        for seq in (0..20_000u64).step_by(3) {
            assert_eq!(table.remove(seq), Some(seq));
        }
        assert_eq!(table.len(), 0);
        assert!(table.pages.is_empty());
        table.insert(3, 3);
        for seq in 100_000..2_000_000 {
            table.insert(seq, seq);
            assert_eq!(table.remove(seq), Some(seq));
        }
        assert!(table.len() == 1 && table.pages.len() <= LONG, "{} pages for one", table.pages.len());
        assert_eq!(table.old.len(), 1, "the first's");
        assert_eq!((table.get(3), table.get(5)), (Some(&3), None));
        table.insert(5, 5);
        table.insert(50_000, 50_000);
        assert!(table.values().eq(&[3, 5, 50_000]));
        assert!(table.range(4..300_000).map(|(seq, _)| seq).eq([5, 50_000]));
        assert_eq!((table.remove(5), table.remove(5), table.remove(50_000)), (Some(5), None, Some(50_000)));
        assert_eq!(table.remove(3), Some(3));
        table.insert(1 << 40, 1);
        assert_eq!(table.get(1 << 40), Some(&1));
        assert_eq!(table.pages.len(), 1);
    }
}
