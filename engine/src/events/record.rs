//! What an owner has noted and not told: pure.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::events::{Event, Kind, Place, Run, Step, Took};
use crate::ids::ActorId;
use crate::task::{Meta, Task, What};

/// So many events are told together at most.
pub(crate) const CHUNK: usize = 4096;
/// The text of an error is kept up to so many bytes...
pub(super) const TEXT_MAX: usize = 2048;
/// ... until the texts of a chunk have so many all together; then up to so many.
const TEXTS_MAX: usize = 256 << 10;
const TEXT_SHORT: usize = 100;
/// The same of a name.
pub(super) const NAME_MAX: usize = 200;
/// What is shared is found again among so many.
const KNOWN: usize = 8;

/// One thing to be noted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Note<'a> {
    Depends,
    Waits(&'a str),
    Sent(Place),
    Runs(Place),
    Finished(Option<&'a Run>),
    Failed(Option<&'a Run>, &'a str),
}

impl Note<'_> {
    fn is_end(&self) -> bool {
        matches!(self, Note::Finished(_) | Note::Failed(..))
    }
}

/// The text's beginning, of at most so many bytes.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=text.len().min(bytes)).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// What is called, by what it is at home.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Code {
    Function(usize),
    Method(ActorId, u64),
    None,
}

impl Code {
    /// A place for it among so many.
    fn place(self) -> usize {
        match self {
            Code::Function(index) => index % KNOWN,
            Code::Method(actor, id) => (actor.0.as_u64_pair().1 ^ id) as usize % KNOWN,
            Code::None => 0,
        }
    }

    fn of(what: &What) -> Code {
        match what {
            What::Function(entry) => Code::Function(entry.index()),
            What::Method(call) => Code::Method(call.client.id, call.method_id),
            What::Put | What::Lifeline(_) | What::Ready(_) => Code::None,
        }
    }
}

/// Events that are told together, and what they share.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) events: Vec<Event>,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) places: Vec<Place>,
    pub(crate) texts: Vec<String>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Recorder {
    full: VecDeque<Chunk>,
    last: Chunk,
    /// Where some kinds are in the last chunk; whatever is not found here is listed there once more.
    kinds: [Option<(Arc<Meta>, Code, u32)>; KNOWN],
    places: [Option<(Place, u32)>; KNOWN],
    /// The bytes of the texts in the last chunk.
    text_bytes: usize,
    /// Attempts, by number and attempt, of which it was noted that they go on: their ends are noted however many others there
    /// are, or they would be shown as going on for ever.
    open: HashSet<(u64, u32)>,
    dropped: u64,
}

impl Recorder {
    /// Notes something of an attempt, unless `room` notes are held already (`false`): an end is counted then. Failures
    /// have a little more room than the rest.
    pub(crate) fn note(&mut self, task: &Task, attempt: u32, at: Duration, note: Note<'_>, room: usize) -> bool {
        let room = if let Note::Failed(..) = note { room + room / 8 } else { room };
        let was_open = note.is_end() && !self.open.is_empty() && self.open.remove(&(task.seq, attempt));
        if self.held() >= room && !was_open {
            // What it does before its end is told by its end.
            self.dropped += u64::from(note.is_end());
            return false;
        }
        if !note.is_end() {
            self.open.insert((task.seq, attempt));
        }
        if self.last.events.len() >= CHUNK {
            let full = self.take_last();
            self.full.push_back(full);
        }
        let kind = self.kind(task);
        let step = match note {
            Note::Depends => Step::Depends,
            Note::Waits(text) => Step::Waits { text: self.text(text) },
            Note::Sent(place) => Step::Sent { place: self.place(place) },
            Note::Runs(place) => Step::Runs { place: self.place(place) },
            Note::Finished(run) => Step::Finished { took: self.took(run) },
            Note::Failed(run, text) => Step::Failed { took: self.took(run), text: self.text(text) },
        };
        let at = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        self.last.events.push(Event { seq: task.seq, at, attempt, kind, step });
        true
    }

    fn take_last(&mut self) -> Chunk {
        self.kinds = Default::default();
        self.places = Default::default();
        self.text_bytes = 0;
        std::mem::take(&mut self.last)
    }

    /// How many notes it holds.
    pub(crate) fn held(&self) -> usize {
        self.full.len() * CHUNK + self.last.events.len()
    }

    /// Whether it has nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.last.events.is_empty() && self.full.is_empty() && self.dropped == 0
    }

    /// Whether it can be forgotten.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_empty() && self.open.is_empty()
    }

    /// Gives out what was noted first, and how many ends were not noted since it did so last; `None` if there is nothing.
    pub(crate) fn give(&mut self) -> Option<(Chunk, u64)> {
        if self.is_empty() {
            return None;
        }
        let chunk = self.full.pop_front().unwrap_or_else(|| self.take_last());
        Some((chunk, std::mem::take(&mut self.dropped)))
    }

    fn kind(&mut self, task: &Task) -> u32 {
        let code = Code::of(&task.what);
        let at = code.place();
        match &self.kinds[at] {
            Some((meta, known, kind)) if *known == code && Arc::ptr_eq(meta, &task.meta) => *kind,
            _ => {
                let actor = if let What::Method(call) = &task.what { Some(call.client.real().id) } else { None };
                let name = task.name();
                let name = cut(&name, NAME_MAX);
                // Mostly of one class or the other: the calls of many actors.
                let known = self.last.kinds.last().filter(|last| *last.name == *name);
                let name = known.map_or_else(|| name.into(), |last| Arc::clone(&last.name));
                let kind = push(&mut self.last.kinds, Kind { name, actor });
                self.kinds[at] = Some((Arc::clone(&task.meta), code, kind));
                kind
            }
        }
    }

    fn place(&mut self, place: Place) -> u32 {
        let id = place.worker.map_or(place.node.0, |worker| worker.0);
        let at = usize::from(id.as_bytes()[15]) % KNOWN;
        match &self.places[at] {
            Some((known, index)) if *known == place => *index,
            _ => {
                let index = push(&mut self.last.places, place);
                self.places[at] = Some((place, index));
                index
            }
        }
    }

    fn text(&mut self, text: &str) -> u32 {
        let text = cut(text, if self.text_bytes < TEXTS_MAX { TEXT_MAX } else { TEXT_SHORT });
        match self.last.texts.last() {
            Some(last) if last == text => self.last.texts.len() as u32 - 1,
            _ => {
                self.text_bytes += text.len();
                push(&mut self.last.texts, text.to_owned())
            }
        }
    }

    fn took(&mut self, run: Option<&Run>) -> Option<Took> {
        run.map(|run| Took { place: self.place(run.place), ns: run.ns })
    }
}

/// Its index; a chunk is far smaller than what an index can name.
fn push<T>(all: &mut Vec<T>, one: T) -> u32 {
    all.push(one);
    all.len() as u32 - 1
}

#[cfg(test)]
mod tests;
