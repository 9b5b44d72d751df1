//! What an owner has noted and not told: pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::events::{Event, Kind, Place, Run, Step, Took};
use crate::ids::ActorId;
use crate::task::{Meta, Task, What};

/// So many events are told together at most.
pub(crate) const CHUNK: usize = 4096;
/// The text of an error is kept up to so many bytes.
const TEXT_MAX: usize = 2048;
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

/// What is called, by what it is at home.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Code {
    Function(usize),
    Method(ActorId, u64),
    None,
}

impl Code {
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

impl Chunk {
    /// How many attempts it tells the end of.
    pub(crate) fn ends(&self) -> u64 {
        self.events.iter().filter(|event| event.step.is_end()).count() as u64
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Recorder {
    full: VecDeque<Chunk>,
    last: Chunk,
    /// Where some kinds are in the last chunk; whatever is not found here is listed there once more.
    kinds: [Option<(Arc<Meta>, Code, u32)>; KNOWN],
    places: [Option<(Place, u32)>; KNOWN],
    dropped: u64,
}

impl Recorder {
    /// Notes something of an attempt, unless `room` notes are held already: an end is counted then. Failures have a
    /// little more room than the rest.
    pub(crate) fn note(&mut self, task: &Task, attempt: u32, at: Duration, note: Note<'_>, room: usize) {
        let room = if let Note::Failed(..) = note { room + room / 8 } else { room };
        if self.held() >= room {
            // What it does before its end is told by its end.
            self.dropped += u64::from(note.is_end());
            return;
        }
        if self.last.events.len() >= CHUNK {
            self.full.push_back(std::mem::take(&mut self.last));
            self.kinds = Default::default();
            self.places = Default::default();
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
    }

    /// How many notes it holds.
    pub(crate) fn held(&self) -> usize {
        self.full.len() * CHUNK + self.last.events.len()
    }

    /// Whether it has anything to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.last.events.is_empty() && self.full.is_empty() && self.dropped == 0
    }

    /// Ends of which nothing will be told.
    pub(crate) fn lost(&mut self, count: u64) {
        self.dropped += count;
    }

    /// Gives out what was noted first, and how many ends were not noted since it did so last; `None` if there is nothing.
    pub(crate) fn give(&mut self) -> Option<(Chunk, u64)> {
        if self.is_empty() {
            return None;
        }
        let chunk = self.full.pop_front().unwrap_or_else(|| {
            self.kinds = Default::default();
            self.places = Default::default();
            std::mem::take(&mut self.last)
        });
        Some((chunk, std::mem::take(&mut self.dropped)))
    }

    fn kind(&mut self, task: &Task) -> u32 {
        let code = Code::of(&task.what);
        let at = (Arc::as_ptr(&task.meta).addr() / size_of::<Meta>()) % KNOWN;
        match &self.kinds[at] {
            Some((meta, known, kind)) if *known == code && Arc::ptr_eq(meta, &task.meta) => *kind,
            _ => {
                let actor = if let What::Method(call) = &task.what { Some(call.client.real().id) } else { None };
                let kind = push(&mut self.last.kinds, Kind { name: task.name(), actor });
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
        let text = &text[..(0..=text.len().min(TEXT_MAX)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)];
        match self.last.texts.last() {
            Some(last) if last == text => self.last.texts.len() as u32 - 1,
            _ => push(&mut self.last.texts, text.to_owned()),
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
