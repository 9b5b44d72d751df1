//! Lost objects are made again: the shell of lineage.
//!
//! A finished task whose result lies in a store keeps how it is run again (`lineage`). When all copies of the result are
//! gone, whoever needs it says so to its owner, which runs the task again, with the same ids and the next attempt. Slots
//! keep their outcome meanwhile: who reads one finds out by the failing transfer, and waits here. An argument whose
//! value was freed is made again first, and so on; one that was lost is found out by the failing transfer in its turn.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use actinic_transport::{PeerAddr, ProcessId};
use tokio::sync::oneshot;

use crate::api::error::{Error, Result};
use crate::ids::{ObjectId, TaskId};
use crate::object::{RawRef, Resolved, State, Stored, Target};
use crate::owner::lineage::{LetGo, Stays};
use crate::owner::{Core, Owner};
use crate::process::Process;
use crate::task::{Input, Task, What};
use crate::value::{Extras, Value};
use crate::wait::Waiter;

/// The records of one owner count at most so many bytes: Ray's `max_lineage_bytes`.
pub(super) const LINEAGE_BYTES: u64 = 1 << 30;
/// What a record and what each thing that it needs are counted as.
const RECORD_BYTES: u64 = 256;

/// What a task needs to run again, without keeping the value of it where that can be made again.
enum Need {
    /// A return of a task of the same owner, which stays as long as the record.
    Mine(Arc<Task>, u32),
    /// Another owner's: it can be had as long as something else keeps it.
    Other(ObjectId),
}

/// How a finished task is run again.
pub(super) struct Kept {
    /// The arguments, without the refs in them.
    inline: Value,
    inside: Vec<Need>,
    dependencies: Vec<Need>,
}

/// A task that runs again because results of it were lost.
#[derive(Default)]
pub(super) struct Rebuild {
    /// Where its results lay.
    lost: BTreeSet<ProcessId>,
    waiting: Vec<oneshot::Sender<()>>,
    /// What its record needed: settled when the run is over.
    needed: Vec<u64>,
}

impl Kept {
    fn of(owner: &Arc<Owner>, input: &Input) -> Kept {
        let need = |object: &RawRef| match object.target() {
            // A handle in an argument keeps no actor alive for this.
            Target::Owned(task, index, _)
                if Arc::ptr_eq(&task.owner, owner) && !matches!(task.what, What::Lifeline(_)) =>
            {
                Need::Mine(Arc::clone(task), *index)
            }
            _ => Need::Other(object.id()),
        };
        let Value { body, extras } = &input.inline;
        let inside = input.inline.refs().iter().map(need).collect();
        let beside = extras.as_ref().map(|extras| Extras { refs: Vec::new(), ..Extras::clone(extras) });
        Kept {
            inline: Value::new(body.clone(), beside.unwrap_or_default()),
            inside,
            dependencies: input.dependencies.iter().map(need).collect(),
        }
    }

    fn needs(&self) -> impl Iterator<Item = &Need> {
        self.inside.iter().chain(&self.dependencies)
    }

    fn bytes(&self) -> u64 {
        self.inline.size() as u64 + RECORD_BYTES * (1 + self.inside.len() + self.dependencies.len()) as u64
    }
}

impl Owner {
    /// Keeps how a task is run again whose result may be lost; called before the task counts as done.
    pub(crate) fn keep_lineage(self: &Arc<Self>, task: &Arc<Task>, input: &Input) {
        if task.meta.max_retries == 0 || !matches!(task.what, What::Function(_)) || self.is_dead() {
            return;
        }
        let kept = Kept::of(self, input);
        let mine = |need: &Need| match need {
            Need::Mine(task, _) => Some(task.seq),
            Need::Other(_) => None,
        };
        let needs = kept.needs().filter_map(mine).collect();
        let gone = self.lock().lineage.record(task.seq, kept.bytes(), needs, kept);
        self.let_go(gone);
    }

    /// Gives up all lineage, for its pinned values are in the way of something; `false` if there is none.
    pub(crate) fn shed_lineage(self: &Arc<Self>) -> bool {
        let gone = self.lock().lineage.shed(0);
        let any = !gone.is_empty();
        self.let_go(gone);
        any
    }

    /// Records are gone: what they needed goes too, if nobody wants it.
    pub(super) fn let_go(self: &Arc<Self>, gone: impl IntoIterator<Item = LetGo<Kept>>) {
        for LetGo { kept, unneeded } in gone {
            self.settle_those(unneeded);
            drop(kept);
        }
    }

    fn settle_those(&self, seqs: Vec<u64>) {
        for seq in seqs {
            let Some(task) = self.task(seq) else { continue };
            // What this one needed may be needed by nothing else either, and so on.
            crate::later::step(
                task,
                |task| task.owner.settle_all(&task),
                |task| Box::new(move || task.owner.settle_all(&task)),
            );
        }
    }

    fn settle_all(self: &Arc<Self>, task: &Arc<Task>) {
        (0..task.returns()).for_each(|index| self.settle(task, index));
    }

    /// Whether a task is known for the sake of others' lineage only.
    pub(crate) fn keeps_for_lineage(&self, task: &Task) -> bool {
        self.lock().lineage.stays(task.seq) != Stays::Nothing
    }

    /// An object of this owner cannot be had from where it lay. Waits until it lies elsewhere; the outcome as it is then.
    /// The ref is kept for so long, or given up at once.
    ///
    /// # Errors
    ///
    /// Why it cannot be made again.
    pub(crate) async fn restore(
        self: &Arc<Self>,
        object: RawRef,
        keeps: bool,
        lost: &[ProcessId],
    ) -> Result<Option<Resolved>> {
        let Target::Owned(task, index, _) = object.target() else { return Ok(None) };
        let (task, index) = (Arc::clone(task), *index);
        let again = self.rebuild(&task, index, lost)?;
        let _kept = keeps.then_some(object);
        if let Some(again) = again {
            // It is dropped untold at the end of the cluster, which the slot then says.
            let _ = again.await;
        }
        // It may have been freed before it was lost, and be made for somebody else.
        let (tell, ready) = oneshot::channel();
        let waiter = Waiter::Call(Box::new(move || {
            // Whoever waits may have gone.
            let _ = tell.send(());
        }));
        if task.slot(index).subscribe(waiter).is_ok() {
            // Dropped untold, as above.
            let _ = ready.await;
        }
        Ok(task.slot(index).get_unseen())
    }

    /// Whether a task runs again for nothing: nobody has a ref to what it makes, and nothing is made of it again.
    pub(super) fn runs_for_nobody(&self, core: &Core, task: &Task) -> bool {
        task.is_done()
            && !task.is_over()
            && (0..task.returns()).all(|index| !self.wants(task, index))
            && core.lineage.stays(task.seq) == Stays::Nothing
    }

    /// Ends a task that runs again for nothing, wherever it is: it ran to its end before, and what it needs may never come.
    pub(super) fn withdraw(self: &Arc<Self>, task: &Arc<Task>) {
        let for_nobody = self.runs_for_nobody(&self.lock(), task);
        if for_nobody {
            // Nobody waits for the worker's word.
            drop(self.cancel(task, false));
        }
    }

    /// Runs a task again whose result was lost; nothing is done if the result lies elsewhere too.
    fn rebuild(
        self: &Arc<Self>,
        task: &Arc<Task>,
        index: u32,
        lost: &[ProcessId],
    ) -> Result<Option<oneshot::Receiver<()>>> {
        let (tell, hear) = oneshot::channel();
        let freed = self.run_again(task, Some((index, lost, tell)))?;
        self.run_freed(freed);
        Ok(Some(hear))
    }

    /// Runs tasks again whose slots were opened again, and what these need.
    fn run_freed(self: &Arc<Self>, tasks: Vec<Arc<Task>>) {
        let mut todo = VecDeque::from(tasks);
        while let Some(freed) = todo.pop_front() {
            match self.run_again(&freed, None) {
                Ok(more) => todo.extend(more),
                Err(error) => freed.slots().for_each(|slot| drop(slot.offer(Resolved::Error(error.clone())))),
            }
        }
    }

    /// Runs a finished task again: for a return that was lost, if it still is (whoever waits is told otherwise by the end of
    /// `tell`), or for one that was freed. Arguments whose values were freed are pending from then on: their tasks are to
    /// be run again too.
    fn run_again(
        self: &Arc<Self>,
        task: &Arc<Task>,
        missed: Option<(u32, &[ProcessId], oneshot::Sender<()>)>,
    ) -> Result<Vec<Arc<Task>>> {
        let mut freed = Vec::new();
        let (kept, mine) = {
            let mut core = self.lock();
            let mut begun = Rebuild::default();
            if let Some((index, lost, tell)) = missed {
                match &*task.slot(index).lock() {
                    State::Ready(Resolved::Stored(stored)) if is_lost(stored, lost) => {}
                    _ => return Ok(freed),
                }
                begun.lost.extend(lost);
                begun.waiting.push(tell);
            }
            if let Some(rebuild) = core.rebuilding.get_mut(&task.seq) {
                rebuild.lost.append(&mut begun.lost);
                // Those who ask again and again leave some that wait no more.
                if rebuild.waiting.len() == rebuild.waiting.capacity() {
                    rebuild.waiting.retain(|tell| !tell.is_closed());
                }
                rebuild.waiting.append(&mut begun.waiting);
                return Ok(freed);
            }
            if !core.lineage.has(task.seq) || !task.begin_again() {
                let gone = core.lineage.forget(task.seq);
                drop(core);
                self.let_go(gone);
                return Err(cannot(task));
            }
            // It was there a moment ago, under the same lock.
            let Some(LetGo { kept, unneeded }) = core.lineage.forget(task.seq) else { return Err(cannot(task)) };
            begun.needed = unneeded;
            core.rebuilding.insert(task.seq, begun);
            // What it needs is known as long as the record was, so refs to it may be made while the table is locked.
            let hold = |need: &Need| match need {
                Need::Mine(needed, index) => {
                    if needed.slot(*index).reopen() {
                        freed.push(Arc::clone(needed));
                    }
                    Some(RawRef::owned(Arc::clone(needed), *index))
                }
                Need::Other(_) => None,
            };
            let mine: Vec<Option<RawRef>> = kept.needs().map(hold).collect();
            (kept, mine)
        };
        tracing::warn!(target: "actinic", "results of {} are lost: it runs again", task.describe());
        self.goes_on_again(task);
        let have = |(need, mine): (&Need, Option<RawRef>)| match need {
            Need::Mine(needed, index) => mine.ok_or_else(|| ObjectId { task: needed.id(), index: *index }),
            Need::Other(id) => self.process.held(*id).ok_or(*id),
        };
        let all: std::result::Result<Vec<RawRef>, ObjectId> = kept.needs().zip(mine).map(have).collect();
        match all {
            Ok(mut inside) => {
                let dependencies = inside.split_off(kept.inside.len());
                let beside = Extras { refs: inside, ..kept.inline.extras.as_deref().cloned().unwrap_or_default() };
                task.set_input(Input { inline: Value::new(kept.inline.body.clone(), beside), dependencies });
                if task.is_over() {
                    // Its owner died, or it was cancelled, meanwhile.
                    drop(task.take_input());
                } else {
                    Task::start(task);
                }
            }
            Err(gone) => {
                let error = Error::reconstruction_failed(format!(
                    "the result of {} is lost, and its argument {gone}, which another process owns, is gone too",
                    task.describe()
                ));
                let error = error.remedy("keep a ref to the argument as long as to what is made of it");
                Task::finish_all(task, Resolved::Error(error));
            }
        }
        Ok(freed)
    }

    /// A task that ran again has finished: its lost and freed results are there, or will never be.
    pub(crate) fn rebuilt(self: &Arc<Self>, task: &Arc<Task>, outcomes: impl Iterator<Item = Resolved>) {
        let (input, attempt) = (task.take_input(), task.attempt());
        let lost = self.lock().rebuilding.get(&task.seq).map(|rebuild| rebuild.lost.clone()).unwrap_or_default();
        let mut stored = false;
        for (index, outcome) in outcomes.enumerate().take(task.returns() as usize) {
            stored |= self.rebuilt_one(task, index as u32, outcome, &lost);
        }
        if stored && !task.is_cancelled() {
            self.keep_lineage(task, &input);
        }
        let (rebuild, opened) = {
            let mut core = self.lock();
            task.end_again();
            // A freed return may have been opened again for somebody, after it was passed above.
            let opened = task.slots().any(|slot| !slot.is_ready());
            (core.rebuilding.remove(&task.seq).unwrap_or_default(), opened)
        };
        // In this order: whoever keeps something for it from now on sees that it has ended, or does it for the next attempt.
        self.process.store.call_ended((task.id(), attempt));
        for tell in rebuild.waiting {
            // Who waits no more need not hear.
            let _ = tell.send(());
        }
        drop(input);
        if opened {
            self.run_freed(vec![Arc::clone(task)]);
        }
        self.settle_those(rebuild.needed);
        self.settle_all(task);
    }

    /// `true` if the return lies in a store now.
    fn rebuilt_one(
        self: &Arc<Self>,
        task: &Arc<Task>,
        index: u32,
        outcome: Resolved,
        lost: &BTreeSet<ProcessId>,
    ) -> bool {
        enum Was {
            Pending,
            Lost(Arc<Stored>),
            There,
        }
        let slot = task.slot(index);
        let was = match &*slot.lock() {
            State::Pending(_) => Was::Pending,
            State::Ready(Resolved::Stored(stored)) => Was::Lost(Arc::clone(stored)),
            State::Ready(_) => Was::There,
        };
        let object = ObjectId { task: task.id(), index };
        let stored = matches!(outcome, Resolved::Stored(_));
        match (was, outcome) {
            (Was::Pending, outcome) => match slot.offer(outcome) {
                None => stored,
                Some(late) => {
                    self.give_up(task, index, &late);
                    false
                }
            },
            // Freed, or an error by now: nobody can read it.
            (Was::There, outcome) => {
                self.give_up(task, index, &outcome);
                false
            }
            (Was::Lost(old), outcome) => {
                let (gone, left): (Vec<_>, Vec<_>) = old.at.iter().cloned().partition(|at| lost.contains(&at.id));
                let (new, at) = match outcome {
                    Resolved::Error(_) if !left.is_empty() => return true,
                    Resolved::Stored(new) => {
                        let known = |at: &&PeerAddr| new.at.iter().all(|known| known.id != at.id);
                        let mut at = new.at.clone();
                        at.extend(left.iter().filter(known).cloned());
                        let all = Stored { size: new.size, at: at.clone(), refs: new.refs.clone() };
                        (Resolved::Stored(Arc::new(all)), at)
                    }
                    // A value here: the copies elsewhere are of no use any more.
                    other => (other, Vec::new()),
                };
                let before = slot.replace(new);
                // What was taken for lost may only have been out of reach.
                let stale: Vec<_> =
                    gone.into_iter().chain(left).filter(|old| at.iter().all(|at| at.id != old.id)).collect();
                self.process.free_stored(object, &stale);
                drop(before);
                stored
            }
        }
    }

    /// What waits for results that are made again, at the end of the owner.
    pub(super) fn end_rebuilding(core: &mut Core) -> Vec<LetGo<Kept>> {
        core.rebuilding.clear();
        core.lineage.shed(0)
    }
}

fn is_lost(stored: &Stored, lost: &[ProcessId]) -> bool {
    stored.at.iter().all(|at| lost.contains(&at.id))
}

/// Why a task without a record cannot be run again.
fn cannot(task: &Task) -> Error {
    match &task.what {
        What::Function(_) if task.meta.max_retries == 0 => {
            let text = format!("the result of {} is lost, and it may not run again", task.describe());
            Error::object_lost(text).remedy("allow it with `max_retries`, or keep a copy elsewhere")
        }
        What::Function(_) if !task.may_try_again() => {
            let ran = task.attempt() + 1;
            let text = format!("the result of {} is lost, and the task ran {ran} times already", task.describe());
            Error::reconstruction_failed(text).remedy("allow more attempts with `max_retries`")
        }
        What::Function(_) => {
            let text =
                format!("the result of {} is lost, and how it was made was given up to save memory", task.describe());
            Error::reconstruction_failed(text).remedy("keep fewer large results with large arguments at a time")
        }
        _ => {
            let text = format!("{} is lost, and only tasks' results can be made again", task.describe());
            Error::object_lost(text).remedy("keep a copy elsewhere, or make the value in a task")
        }
    }
}

impl Process {
    /// Another ref to an object that this process has a ref to.
    fn held(self: &Arc<Self>, id: ObjectId) -> Option<RawRef> {
        let TaskId { owner, .. } = id.task;
        if owner.process == self.id {
            return self.owner_numbered(owner.number)?.find_wanted(id.task, id.index);
        }
        self.borrowed_again(id)
    }
}
