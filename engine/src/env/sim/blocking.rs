//! Threads of `spawn_blocking`, among those that are passed the baton.
//!
//! Tokio starts such a thread when it likes, and stops the virtual clock from the call of `spawn_blocking` to the end of
//! what it runs. So a thread that starts waits until the simulation has come to rest at that time, which it does in the
//! same state however late the thread comes; then it is passed the baton as any other. Which thread runs which function
//! does not matter: Tokio hands them out in their order. Each ends when nothing is left to run.
//!
//! While one of them waits inside Actinic, time is moved on from here, by the millisecond that Tokio's timers know. Before
//! each step an empty function is passed to `spawn_blocking`: when it has run, all those before it have begun.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;

use super::{BATON, Baton, Entered, Phase, World, lock};

/// See the module.
#[derive(Default)]
pub(super) struct Blocking {
    state: Mutex<State>,
    /// The simulation has come to rest, and there is something to do.
    rest: Notify,
}

#[derive(Default)]
struct State {
    /// Threads that have started and not been passed the baton.
    started: VecDeque<Arc<Baton>>,
    /// Threads that have started and not ended.
    alive: usize,
    /// The simulating thread sleeps.
    asleep: bool,
    /// It has come to rest, and nothing was begun since.
    rested: bool,
    probe: Probe,
}

/// The empty function.
#[derive(Clone, Copy, Default, PartialEq)]
enum Probe {
    #[default]
    None,
    Sent,
    Ran,
}

thread_local! {
    static HERE: RefCell<Option<(Arc<Baton>, Entered)>> = const { RefCell::new(None) };
}

/// Makes the threads of a runtime ours.
pub(super) fn hook(builder: &mut Builder, world: &Arc<OnceLock<Weak<World>>>) {
    let known = |world: &Arc<OnceLock<Weak<World>>>| {
        let world = Arc::clone(world);
        move || world.get().and_then(Weak::upgrade)
    };
    let (start, park, unpark) = (known(world), known(world), known(world));
    builder
        .thread_keep_alive(Duration::ZERO)
        .on_thread_start(move || {
            if let Some(world) = start() {
                world.blocking_started();
            }
        })
        .on_thread_stop(|| {
            let here = HERE.with(|here| here.borrow_mut().take());
            if let Some((baton, entered)) = here {
                drop(entered);
                baton.world.blocking_ended(&baton);
            }
        })
        .on_thread_park(move || {
            if let Some(world) = park() {
                world.comes_to_rest();
            }
        })
        .on_thread_unpark(move || {
            if let Some(world) = unpark() {
                lock(&world.blocking.state).asleep = false;
            }
        });
}

impl State {
    fn has_work(&self) -> bool {
        !self.started.is_empty() || (self.alive > 0 && self.probe != Probe::Sent)
    }
}

impl World {
    fn comes_to_rest(&self) {
        self.progress.rests(self.now());
        let mut state = lock(&self.blocking.state);
        state.asleep = true;
        state.rested = true;
        if state.has_work() {
            self.blocking.rest.notify_one();
        }
    }

    /// On the thread: it waits for its first turn.
    fn blocking_started(self: &Arc<Self>) {
        let baton = {
            let mut state = lock(&self.blocking.state);
            if self.over.load(Ordering::Acquire) {
                return;
            }
            let baton = self.new_baton("of spawn_blocking");
            state.started.push_back(Arc::clone(&baton));
            state.alive += 1;
            if state.asleep {
                self.blocking.rest.notify_one();
            }
            baton
        };
        baton.wait();
        BATON.with(|own| *own.borrow_mut() = Some(Arc::clone(&baton)));
        HERE.with(|here| *here.borrow_mut() = Some((baton, Entered::new(self))));
    }

    /// On the thread, which has nothing more to run.
    fn blocking_ended(&self, baton: &Baton) {
        let own = BATON.with(|own| own.borrow_mut().take());
        drop(own);
        lock(&baton.state).phase = Phase::Ended;
        lock(&self.blocking.state).alive -= 1;
        self.give_back();
    }

    /// Lets those that have started run, and time go on where they wait.
    pub(super) async fn let_blocking_run(self: Arc<Self>) {
        loop {
            self.blocking.rest.notified().await;
            let next = {
                let mut state = lock(&self.blocking.state);
                // A thread that started in the meantime may have told of itself too: it waits for the next rest.
                if !std::mem::take(&mut state.rested) {
                    continue;
                }
                let next = state.started.pop_front();
                if next.is_none() && state.alive > 0 && state.probe == Probe::None {
                    state.probe = Probe::Sent;
                    self.probe();
                }
                next
            };
            if let Some(next) = next {
                self.enqueue(next);
            } else if self.take_probe() {
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        }
    }

    /// Whether everything has begun, so that time may go on by a step.
    fn take_probe(&self) -> bool {
        let mut state = lock(&self.blocking.state);
        let ran = state.probe == Probe::Ran;
        if ran {
            state.probe = Probe::None;
        }
        ran && state.alive > 0
    }

    #[allow(clippy::disallowed_methods)] // its thread is passed the baton as any other
    fn probe(self: &Arc<Self>) {
        let world = Arc::clone(self);
        drop(Handle::current().spawn_blocking(move || lock(&world.blocking.state).probe = Probe::Ran));
    }

    /// The simulation is over: none waits for its first turn any more.
    pub(super) fn end_blocking(&self) {
        let started = std::mem::take(&mut lock(&self.blocking.state).started);
        started.into_iter().for_each(|baton| self.enqueue(baton));
    }
}
