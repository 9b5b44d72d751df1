//! The owned entries, in pages of 64 sequence numbers.
//!
//! Sequence numbers only grow, so the newest pages are a window addressed by subtraction; a page that some long-lived
//! object keeps after the window has passed moves to a small ordered map. A page without a live entry is given up, and
//! one such page is kept for reuse: a caller that waits for every task before it submits the next never allocates.

use std::collections::{BTreeMap, VecDeque};
use std::mem;

use super::{Hold, Slot};
use crate::ids::{ObjectId, OwnerId};

/// Sequence numbers in one page (2 KiB).
const PAGE: u64 = 64;

/// Pages addressed by subtraction: four million sequence numbers, half a megabyte of pointers.
const WINDOW: usize = 65_536;

/// What is known of one owned object.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) local: u32,
    pub(super) args: u32,
    pub(super) nested: u32,
    pub(super) pins: u32,
    /// There is one: other entries of the page may be vacant.
    pub(super) live: bool,
    /// What few objects have.
    pub(super) rare: Option<Box<Rare>>,
}

/// The part of an entry that most objects never need.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Registrations by borrower; never zero.
    pub(super) borrowers: BTreeMap<OwnerId, u32>,
    /// What the value contains; each has a nested hold.
    pub(super) contains: Vec<ObjectId>,
}

/// All owned entries.
#[derive(Debug, Default)]
pub(super) struct Slab {
    /// Number of the first page of `recent`.
    base: u64,
    /// Holds at least the newest page's place once one was made, so that `base` does not run ahead of the caller.
    recent: VecDeque<Option<Box<Page>>>,
    old: BTreeMap<u64, Box<Page>>,
    spare: Option<Box<Page>>,
    len: usize,
}

#[derive(Debug)]
struct Page {
    first: [Entry; PAGE as usize],
    more: BTreeMap<u8, More>,
    live: u32,
}

/// The returns of one task beyond the first: those from `start` on that are left.
#[derive(Debug)]
struct More {
    start: u32,
    entries: VecDeque<Entry>,
}

impl Entry {
    /// Whether anything wants the value.
    pub(super) fn wanted(&self) -> bool {
        self.local | self.args | self.nested | self.pins != 0
            || self.rare.as_ref().is_some_and(|rare| !rare.borrowers.is_empty())
    }

    pub(super) fn count(&mut self, hold: Hold) -> &mut u32 {
        match hold {
            Hold::Local => &mut self.local,
            Hold::Argument => &mut self.args,
            Hold::Nested => &mut self.nested,
            Hold::Pin => &mut self.pins,
        }
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Registrations in a borrower's name.
    pub(super) fn borrowed_by(&self, borrower: OwnerId) -> u32 {
        self.rare.as_ref().and_then(|rare| rare.borrowers.get(&borrower)).copied().unwrap_or(0)
    }

    /// Gives back the box when there is nothing in it.
    pub(super) fn tidy(&mut self) {
        if self.rare.as_ref().is_some_and(|rare| rare.borrowers.is_empty() && rare.contains.is_empty()) {
            self.rare = None;
        }
    }

    fn is_vacant(&self) -> bool {
        !self.live
    }
}

impl Page {
    fn new() -> Box<Page> {
        Box::new(Page { first: std::array::from_fn(|_| Entry::default()), more: BTreeMap::new(), live: 0 })
    }

    fn get(&self, seq: u64, index: u32) -> Option<&Entry> {
        if index == 0 {
            return Some(&self.first[(seq % PAGE) as usize]);
        }
        let more = self.more.get(&((seq % PAGE) as u8))?;
        more.entries.get(index.checked_sub(more.start)? as usize)
    }

    fn get_mut(&mut self, seq: u64, index: u32) -> Option<&mut Entry> {
        if index == 0 {
            return Some(&mut self.first[(seq % PAGE) as usize]);
        }
        let more = self.more.get_mut(&((seq % PAGE) as u8))?;
        more.entries.get_mut(index.checked_sub(more.start)? as usize)
    }

    /// The place of an entry that may not exist yet.
    fn place(&mut self, seq: u64, index: u32) -> &mut Entry {
        if index == 0 {
            return &mut self.first[(seq % PAGE) as usize];
        }
        let more =
            self.more.entry((seq % PAGE) as u8).or_insert_with(|| More { start: index, entries: VecDeque::new() });
        while index < more.start {
            more.entries.push_front(Entry::default());
            more.start -= 1;
        }
        let at = (index - more.start) as usize;
        while more.entries.len() <= at {
            more.entries.push_back(Entry::default());
        }
        &mut more.entries[at]
    }

    fn vacate(&mut self, seq: u64, index: u32) {
        if index == 0 {
            self.first[(seq % PAGE) as usize] = Entry::default();
            return;
        }
        let key = (seq % PAGE) as u8;
        let Some(more) = self.more.get_mut(&key) else { return };
        if let Some(entry) = index.checked_sub(more.start).and_then(|at| more.entries.get_mut(at as usize)) {
            *entry = Entry::default();
        }
        while more.entries.front().is_some_and(Entry::is_vacant) {
            more.entries.pop_front();
            more.start += 1;
        }
        while more.entries.back().is_some_and(Entry::is_vacant) {
            more.entries.pop_back();
        }
        if more.entries.is_empty() {
            self.more.remove(&key);
        }
    }

    fn slots(&self, page: u64) -> impl Iterator<Item = (Slot, &Entry)> {
        let first = self.first.iter().enumerate().map(move |(at, entry)| (page * PAGE + at as u64, 0, entry));
        let more = self.more.iter().flat_map(move |(&at, more)| {
            let indices = more.start..;
            indices.zip(&more.entries).map(move |(index, entry)| (page * PAGE + u64::from(at), index, entry))
        });
        first
            .chain(more)
            .filter(|(.., entry)| !entry.is_vacant())
            .map(|(seq, index, entry)| (Slot { seq, index }, entry))
    }
}

impl Slab {
    /// Live and freed entries.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Entry> {
        self.page(slot.seq / PAGE)?.get(slot.seq, slot.index).filter(|entry| !entry.is_vacant())
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.page_mut(slot.seq / PAGE)?.get_mut(slot.seq, slot.index).filter(|entry| !entry.is_vacant())
    }

    /// Makes a live entry; false when there is one.
    pub(super) fn insert(&mut self, slot: Slot, local: u32) -> bool {
        let page = self.make_page(slot.seq / PAGE);
        let entry = page.place(slot.seq, slot.index);
        if !entry.is_vacant() {
            return false;
        }
        entry.live = true;
        entry.local = local;
        page.live += 1;
        self.len += 1;
        true
    }

    /// Ends an entry that exists.
    pub(super) fn vacate(&mut self, slot: Slot) {
        let number = slot.seq / PAGE;
        let Some(page) = self.page_mut(number) else { return };
        page.vacate(slot.seq, slot.index);
        page.live -= 1;
        if page.live == 0 {
            self.drop_page(number);
        }
        self.len -= 1;
    }

    /// Every entry: the old pages first, each page's first returns before its others.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &Entry)> {
        let old = self.old.iter().map(|(&number, page)| (number, page));
        let recent = (self.base..).zip(&self.recent).filter_map(|(number, page)| Some((number, page.as_ref()?)));
        old.chain(recent).flat_map(|(number, page)| page.slots(number))
    }

    /// Pages in memory, the spare one left out.
    #[cfg(test)]
    pub(super) fn pages(&self) -> usize {
        self.old.len() + self.recent.iter().flatten().count()
    }

    fn page(&self, number: u64) -> Option<&Page> {
        match number.checked_sub(self.base) {
            Some(at) => self.recent.get(at as usize)?.as_deref(),
            None => self.old.get(&number).map(|page| &**page),
        }
    }

    fn page_mut(&mut self, number: u64) -> Option<&mut Page> {
        match number.checked_sub(self.base) {
            Some(at) => self.recent.get_mut(at as usize)?.as_deref_mut(),
            None => self.old.get_mut(&number).map(|page| &mut **page),
        }
    }

    fn make_page(&mut self, number: u64) -> &mut Page {
        if self.recent.is_empty() {
            self.base = number;
            self.recent.push_back(None);
        }
        let Some(at) = number.checked_sub(self.base) else {
            return self.old.entry(number).or_insert_with(Page::new);
        };
        if at as usize >= self.recent.len() {
            self.extend_to(number);
        }
        let at = (number - self.base) as usize;
        let spare = &mut self.spare;
        self.recent[at].get_or_insert_with(|| spare.take().unwrap_or_else(Page::new))
    }

    /// Moves the window so that its last place is that of page `number`.
    fn extend_to(&mut self, number: u64) {
        if number - self.base >= 2 * WINDOW as u64 {
            let pages = mem::take(&mut self.recent);
            self.old.extend((self.base..).zip(pages).filter_map(|(number, page)| Some((number, page?))));
            self.base = number;
        }
        while self.base + self.recent.len() as u64 <= number {
            self.recent.push_back(None);
        }
        while self.recent.len() > WINDOW {
            if let Some(Some(page)) = self.recent.pop_front() {
                self.old.insert(self.base, page);
            }
            self.base += 1;
        }
        self.trim();
    }

    fn drop_page(&mut self, number: u64) {
        let page = match number.checked_sub(self.base) {
            Some(at) => self.recent.get_mut(at as usize).and_then(Option::take),
            None => self.old.remove(&number),
        };
        // Every entry of it was vacated, so it is as good as a new one.
        self.spare = self.spare.take().or(page);
        self.trim();
    }

    fn trim(&mut self) {
        while self.recent.len() > 1 && self.recent.front().is_some_and(Option::is_none) {
            self.recent.pop_front();
            self.base += 1;
        }
    }
}
