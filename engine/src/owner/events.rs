//! What an owner notes of its tasks: see [`crate::events`].

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::error::Error;
use crate::events::{Chunk, Doing, Due, Live, Note, Place, Recorder, Run};
use crate::object::Resolved;
use crate::owner::dispatch::KeyIx;
use crate::owner::{Core, Link, Owner};
use crate::task::{Task, What};

/// So many numbers are gone through under one lock of the owner's.
const SLICE: u64 = 10_000;

/// What an owner has noted, and what it told of those that go on.
#[derive(Default)]
pub(super) struct Events {
    recorder: Mutex<Option<Box<Recorder>>>,
    /// Locked before the core, and before the recorder.
    live: Mutex<Live>,
    due: Due,
}

impl Owner {
    /// Something was submitted, or has happened: it will be told.
    pub(super) fn events_are_due(self: &Arc<Self>) {
        if self.process.recording.is_on() && self.events.due.begin() {
            self.process.want_events_told(self);
        }
    }

    /// An attempt at a task has ended: it failed if there is an error.
    pub(crate) fn note_end(self: &Arc<Self>, task: &Task, attempt: u32, run: Option<&Run>, error: Option<&Error>) {
        if !self.notes(task) {
            return;
        }
        match error {
            None => self.note(task, attempt, Note::Finished(run), run),
            Some(error) => self.note(task, attempt, Note::Failed(run, &error.to_string()), run),
        };
    }

    fn notes(&self, task: &Task) -> bool {
        self.process.recording.is_on()
            && task.meta.task_events
            && matches!(task.what, What::Function(_) | What::Method(_))
    }

    /// `false` if there was no room for it.
    fn note(self: &Arc<Self>, task: &Task, attempt: u32, note: Note<'_>, run: Option<&Run>) -> bool {
        let at = run.map_or_else(|| self.process.env.now(), |run| run.ended);
        let room = self.process.recording.room();
        let kept = self.recorder().get_or_insert_default().note(task, attempt, at, note, room);
        self.events_are_due();
        kept
    }

    fn recorder(&self) -> MutexGuard<'_, Option<Box<Recorder>>> {
        self.events.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was noted first, and how many ends were dropped since.
    pub(crate) fn give_events(&self) -> Option<(Chunk, u64)> {
        self.recorder().as_mut()?.give()
    }

    /// How much was noted and not told.
    pub(crate) fn held_events(&self) -> usize {
        self.recorder().as_ref().map_or(0, |recorder| recorder.held() + usize::from(!recorder.is_empty()))
    }

    /// A task that has ended runs again: it is looked at once more.
    pub(super) fn goes_on_again(self: &Arc<Self>, task: &Task) {
        if self.notes(task) {
            self.live().add(task.seq);
            self.events_are_due();
        }
    }

    /// Whether there is, or will be, something to tell. If not, the next that happens makes it due again.
    pub(crate) fn stays_due(self: &Arc<Self>) -> bool {
        if self.has_events() {
            return true;
        }
        self.events.due.end();
        // Something may have come between the look and that.
        self.has_events() && self.events.due.begin()
    }

    fn has_events(&self) -> bool {
        {
            let mut recorder = self.recorder();
            match &*recorder {
                Some(held) if !held.is_empty() => return true,
                Some(held) if !held.is_idle() => {}
                _ => *recorder = None,
            }
        }
        // Not under the recorder's lock, which is taken under this one.
        self.live().wants_look(self.seq.load(Ordering::Acquire))
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.events.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what those do that have not ended, where it has changed: those that are older than a step, or `all`.
    pub(crate) fn look_at_live(self: &Arc<Self>, all: bool) {
        let mut live = self.live();
        self.find_new(&mut live, all);
        for (task, attempt, doing) in self.changed(&mut live) {
            if self.note(&task, attempt, doing.note(), None) {
                live.tell(task.seq, attempt, doing);
            }
            if task.is_over() {
                // It ended during the look, perhaps when there was no room to say so. That it did twice does not matter.
                let outcome = task.slot(0).get_unseen();
                self.note_end(&task, attempt, None, outcome.as_ref().and_then(Resolved::error));
            }
        }
    }

    /// Goes through tasks for the first time, a slice at a time: whoever submits does not wait for long.
    fn find_new(&self, live: &mut Live, all: bool) {
        let new = live.begin(self.seq.load(Ordering::Acquire), all);
        if !live.has_room() {
            self.forget_ended(live);
        }
        let mut begin = new.start;
        while begin < new.end && live.has_room() {
            let end = new.end.min(begin + SLICE);
            let core = self.lock();
            for (seq, task) in core.tasks.range(begin..end) {
                if !live.has_room() {
                    return live.looked(seq);
                }
                if self.notes(task) && !task.is_over() {
                    live.add(seq);
                }
            }
            live.looked(end);
            begin = end;
        }
    }

    /// Makes room for others.
    fn forget_ended(&self, live: &mut Live) {
        let ended: Vec<u64> = {
            let core = self.lock();
            let ended = |seq: &u64| core.tasks.get(*seq).is_none_or(|task| task.is_over());
            live.numbers().filter(ended).collect()
        };
        ended.into_iter().for_each(|seq| live.ended(seq));
    }

    /// Those that do something else than was told last.
    fn changed(&self, live: &mut Live) -> Vec<(Arc<Task>, u32, Doing)> {
        let mut changed = Vec::new();
        let mut calls = Vec::new();
        let mut ended = Vec::new();
        {
            let core = self.lock();
            let look = Look::new(&core);
            let mut texts = HashMap::new();
            for seq in live.numbers().collect::<Vec<_>>() {
                let Some(task) = core.tasks.get(seq).filter(|task| !task.is_over()) else {
                    ended.push(seq);
                    continue;
                };
                let attempt = task.attempt();
                let told = live.told(seq, attempt);
                if let What::Method(_) = &task.what {
                    // Its client has a lock of its own, under which this one may be taken.
                    calls.push(Arc::clone(task));
                    continue;
                }
                let doing = look.at(&core, task, &mut texts);
                if told != Some(&doing) {
                    changed.push((Arc::clone(task), attempt, doing));
                }
            }
        }
        ended.into_iter().for_each(|seq| live.ended(seq));
        for task in calls {
            let attempt = task.attempt();
            let doing = at_actor(&task);
            if live.told(task.seq, attempt) != Some(&doing) {
                changed.push((task, attempt, doing));
            }
        }
        changed
    }
}

/// Where the tasks are that were given to workers.
struct Look {
    /// Whether it is the first there.
    flying: HashMap<u64, (Place, bool)>,
}

impl Look {
    fn new(core: &Core) -> Look {
        let mut flying = HashMap::new();
        core.dispatch.flights(|link, tasks| {
            let place = place(link);
            flying.extend(tasks.enumerate().map(|(index, task)| (task.seq, (place, index == 0))));
        });
        Look { flying }
    }

    fn at(&self, core: &Core, task: &Task, texts: &mut HashMap<KeyIx, Arc<str>>) -> Doing {
        if task.is_waiting() {
            return Doing::Depends;
        }
        let parked = || core.parked.get(&task.seq).map(|(_, link)| (place(link), true));
        match self.flying.get(&task.seq).copied().or_else(parked) {
            Some((place, true)) => Doing::Runs(place),
            Some((place, false)) => Doing::Sent(place),
            None => {
                let key = task.key.load(Ordering::Relaxed);
                let text = texts.entry(key).or_insert_with(|| match core.why_not(key) {
                    Some(text) => text.as_str().into(),
                    None => format!("it waits for {}", task.meta.shape.resources()).into(),
                });
                Doing::Waits(Arc::clone(text))
            }
        }
    }
}

fn place(link: &Link) -> Place {
    Place { node: link.lease().node, worker: Some(link.worker()) }
}

/// What an actor's call does that has not ended.
fn at_actor(task: &Task) -> Doing {
    let What::Method(call) = &task.what else { return Doing::Depends };
    if task.is_waiting() {
        return Doing::Depends;
    }
    let client = call.client.real();
    match client.lives_at() {
        Some(node) => Doing::Sent(Place { node, worker: None }),
        None => Doing::Waits(client.explain().into()),
    }
}
