//! `actix::Actor`s made remote: each lives in an `actix::Context` of its own, on one arbiter from its constructor on.
//!
//! The context is polled here and not by Actix, so that a panic in it ends this actor alone. What brings it its calls is a
//! future inside ([`Pump`]), which has the actor and its context at hand, as Actix's own mailbox has: a handler may wait,
//! spawn and stop as it always could, and messages of other Actix actors arrive beside.
//!
//! - ACTIX-1: a call begins only while the context runs, waits for nothing, and has room: in the order of its caller.
//! - ACTIX-2: every call that began is answered, or given up with the incarnation: a handler's panic is its answer.
//! - ACTIX-3: user code, destructors included, runs guarded and as part of a call: its own, or the constructor's.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};

use actix::dev::ContextFut;
use actix::fut::{ActorFuture, LocalBoxActorFuture};
use actix::{Actor, ActorContext, AsyncContext, Context};

use super::begin::{CatchState, Constructed, construct};
use super::local::{Active, Loop, Tracked};
use crate::api::error::Error;
use crate::call::{OwnedTaskArgs, Returns, TaskArgs};
use crate::program::{ActorState, Answer, Begun, Constructor, LocalBoxFuture, MethodCall, Outcome};
use crate::protocol::Gone;
use crate::worker::host::{Current, Entered, Runs, enter};
use crate::worker::job::{Broke, Ended, Guarded, Job, caught, discard};
use crate::worker::lending::Turn;

/// So many calls begin in one turn of the context; then others of the thread have theirs.
const TURN_CALLS: usize = 64;

/// An actor without its type, before it starts.
pub(crate) trait Hosted {
    fn live(self: Box<Self>, this: Rc<Loop>) -> LocalBoxFuture<()>;
}

/// An actor that was constructed.
pub(crate) struct Unstarted<A>(pub(crate) A);

impl<A: Actor<Context = Context<A>>> Hosted for Unstarted<A> {
    fn live(self: Box<Self>, this: Rc<Loop>) -> LocalBoxFuture<()> {
        Box::pin(live(self.0, this))
    }
}

/// The life of an incarnation, on the thread that it stays on.
pub(super) async fn run(this: Rc<Loop>) {
    let host = Arc::clone(&this.host);
    let Some((input, dependencies)) = host.take_creation() else { return };
    let current = host.current_for_constructor();
    let made = match host.entry.constructor {
        Constructor::Sync(call) => enter(&current, || construct(|| call(&mut TaskArgs::new(&input, &dependencies)))),
        Constructor::Async(call) => {
            let future = enter(&current, || call(OwnedTaskArgs::new(input, dependencies)));
            Entered::new(current.clone(), CatchState::new(future)).await
        }
    };
    match made {
        Constructed::State(ActorState::Actix(state)) if !this.is_dead() => state.0.live(this).await,
        // It was killed meanwhile.
        Constructed::State(state) => enter(&current, || discard("an actor's state", state)),
        other => drop(host.constructed(other)),
    }
}

fn nothing() -> Outcome {
    Ok(Returns::Many(Vec::new()))
}

async fn live<A: Actor<Context = Context<A>>>(actor: A, this: Rc<Loop>) {
    let life = Rc::new(Life::new(Rc::clone(&this)));
    let mut context = Context::new();
    context.spawn(Pump { life: Rc::clone(&life), actor: PhantomData });
    let current = this.host.current_for_constructor();
    let mut held = Held { context: Some(context.into_future(actor)), begun: false, life: Rc::clone(&life), current };
    let end = loop {
        tokio::select! {
            biased;
            end = std::future::poll_fn(|task| held.step(task)) => break end,
            () = this.shared.wake.notified() => {}
            () = this.ended.notified() => {}
        }
    };
    // Answers go before the news of the end, which would make them failures.
    this.flush();
    life.over(end);
    this.flush();
    this.shared.cancel_all();
}

/// How a context came to its end.
enum End {
    /// The incarnation is dead: it was killed, or a call ended it.
    Dead,
    /// It stopped.
    Stopped,
    /// Code that belongs to no call panicked, crashed or exited.
    Broke(Broke),
}

/// A context and its actor. Dropped while it runs, it stops: the actor's `stopping` and `stopped` are called.
struct Held<A: Actor<Context = Context<A>>> {
    context: Option<ContextFut<A, Context<A>>>,
    /// It was polled.
    begun: bool,
    life: Rc<Life>,
    /// What code runs as that belongs to no call.
    current: Current,
}

impl<A: Actor<Context = Context<A>>> Held<A> {
    fn step(&mut self, task: &mut TaskContext<'_>) -> Poll<End> {
        let life = &*self.life;
        let Some(context) = self.context.as_mut().filter(|_| !life.this.is_dead()) else {
            return Poll::Ready(End::Dead);
        };
        self.begun = true;
        life.left.set(TURN_CALLS);
        let polled = enter(&self.current, || caught(|| Future::poll(Pin::new(context), task)));
        match polled {
            _ if life.this.is_dead() => Poll::Ready(End::Dead),
            Ok(Poll::Ready(())) => Poll::Ready(End::Stopped),
            Ok(Poll::Pending) => Poll::Pending,
            Err(broke) => Poll::Ready(End::Broke(broke)),
        }
    }
}

impl<A: Actor<Context = Context<A>>> Drop for Held<A> {
    fn drop(&mut self) {
        let mut context = self.context.take();
        self.life.closed.set(true);
        if let Some(context) = context.as_mut().filter(|_| !self.begun) {
            // What never started need not stop.
            context.ctx().terminate();
        }
        enter(&self.current, || discard("an actor's context", context));
    }
}

/// What the pump of a context and whoever polls it share.
struct Life {
    this: Rc<Loop>,
    width: usize,
    /// `started` has run, and what it waits for.
    started: Cell<bool>,
    /// The context was told to stop, for the incarnation shall end.
    told: Cell<bool>,
    /// The context is being dropped.
    closed: Cell<bool>,
    /// Calls that may begin in this turn.
    left: Cell<usize>,
    atomic: RefCell<Option<Atomic>>,
}

/// The call whose answer the context polls alone: what panics meanwhile is its panic.
struct Atomic {
    job: Job,
    answer: Entered<Guarded<LocalBoxFuture<Outcome>>>,
    tracked: Tracked,
}

impl Life {
    fn new(this: Rc<Loop>) -> Life {
        Life {
            width: this.width(),
            this,
            started: Cell::new(false),
            told: Cell::new(false),
            closed: Cell::new(false),
            left: Cell::new(0),
            atomic: RefCell::new(None),
        }
    }

    /// The context has ended: the incarnation does so too, if it has not.
    fn over(&self, end: End) {
        let host = &self.this.host;
        if self.this.is_dead() {
            return;
        }
        match end {
            End::Dead => {}
            End::Stopped if self.told.get() => host.gone(Gone::Ended, "it ended after its last call, as asked"),
            End::Stopped => host.gone(Gone::Exited, "it stopped its own context"),
            End::Broke(broke) if !self.started.get() => drop(host.constructed(Err(broke).into())),
            End::Broke(Broke::Crashed) => host.host.process.worker_crashed(&host.host),
            End::Broke(Broke::Exited) => host.gone(Gone::Exited, "it called exit_actor()"),
            End::Broke(Broke::Panicked(error)) => {
                self.fail_atomic(&error);
                host.gone(Gone::Broken, &format!("its context {}", error.detail().message));
            }
        }
    }

    fn fail_atomic(&self, error: &Error) {
        let Some(mut atomic) = self.atomic.take() else { return };
        let mut task = TaskContext::from_waker(std::task::Waker::noop());
        let ended = match Future::poll(Pin::new(&mut atomic.answer), &mut task) {
            Poll::Ready(ended) => ended,
            Poll::Pending => Ended::Answered(Err(error.clone())),
        };
        let (job, began) = (atomic.job.clone(), atomic.tracked.began);
        drop(atomic);
        self.this.answer(job, Some(ended), began);
    }

    /// Whether no answer is waited for alone, now.
    fn poll_atomic(&self, task: &mut TaskContext<'_>) -> bool {
        let mut slot = self.atomic.borrow_mut();
        let Some(atomic) = slot.as_mut() else { return true };
        let Poll::Ready(ended) = Future::poll(Pin::new(&mut atomic.answer), task) else { return false };
        let (job, began) = (atomic.job.clone(), atomic.tracked.began);
        drop(slot.take());
        drop(slot);
        self.this.answer(job, Some(ended), began);
        true
    }

    /// Whether no call may begin any more.
    fn is_over(&self) -> bool {
        self.closed.get() || self.this.is_dead()
    }

    /// Whether the incarnation shall end, and nothing runs any more.
    fn shall_stop(&self) -> bool {
        self.this.active() == 0 && self.this.host.shall_end()
    }

    /// Begins one call.
    fn call<A: Actor<Context = Context<A>>>(&self, job: Job, actor: &mut A, context: &mut Context<A>) {
        let this = &self.this;
        let Some(method) = job.method() else { return this.answer_unknown(job) };
        let began = this.now();
        let mut begun = None;
        let ended = this.call_now(&job, |args| match method.call {
            MethodCall::Actix(call) => {
                begun = Some(call(actor, context, args)?);
                nothing()
            }
            MethodCall::SyncMut(call) => call(actor, args),
            MethodCall::SyncRef(call) => call(actor, args),
            MethodCall::AsyncMut(_) | MethodCall::AsyncRef(_) => {
                Err(Error::task("an async method of an actix::Actor: write a handler that returns a future"))
            }
        });
        let Some(Begun(answer)) = begun else { return this.answer(job, Some(ended), began) };
        match answer {
            Answer::Done(outcome) => this.answer(job, Some(Ended::Answered(outcome)), began),
            Answer::Future(future) => {
                let (tracked, active) = (this.track(&job), Active::new(this));
                let future = self.answer_of(&job, &tracked, future);
                let this = Rc::clone(this);
                tokio::task::spawn_local(async move {
                    let ended = future.await;
                    drop(tracked);
                    this.answer(job, Some(ended), began);
                    drop(active);
                });
            }
            Answer::ActorFuture(future) => {
                let Ok(future) = future.downcast::<LocalBoxActorFuture<A, Outcome>>() else {
                    unreachable!("a handler's answer is polled with the actor that it is of")
                };
                let (tracked, active) = (this.track(&job), Active::new(this));
                let (current, turn) = (self.current_of(&job, &tracked), Turn::begin(&this.host.host));
                let call = Call { job, current, tracked: Some(tracked), turn, this: Rc::clone(this), active };
                context.spawn(ActorCall { future: Some(*future), call });
            }
            Answer::Atomic(future) => {
                let tracked = this.track(&job);
                let answer = self.answer_of(&job, &tracked, future);
                *self.atomic.borrow_mut() = Some(Atomic { job, answer, tracked });
            }
        }
    }

    fn current_of(&self, job: &Job, tracked: &Tracked) -> Current {
        let host = Arc::clone(&self.this.host.host);
        Current { host, job: job.clone(), runs: Runs::Async(Arc::clone(&tracked.running)) }
    }

    fn answer_of(
        &self,
        job: &Job,
        tracked: &Tracked,
        future: LocalBoxFuture<Outcome>,
    ) -> Entered<Guarded<LocalBoxFuture<Outcome>>> {
        let running = Arc::clone(&tracked.running);
        Entered::new(self.current_of(job, tracked), Guarded::new(future, running))
    }
}

/// Brings a context the calls of its actor: ACTIX-1.
struct Pump<A> {
    life: Rc<Life>,
    actor: PhantomData<fn(A)>,
}

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for Pump<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, actor: &mut A, context: &mut Context<A>, task: &mut TaskContext<'_>) -> Poll<()> {
        let life = &*self.life;
        let this = &life.this;
        if !life.is_over() && !life.started.replace(true) {
            this.host.started();
        }
        // Whoever polls the context does so again when there is a call, or room for one.
        loop {
            if life.is_over() || !life.poll_atomic(task) || context.waiting() || this.active() >= life.width {
                return Poll::Pending;
            }
            if life.left.get() == 0 {
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Some(job) = this.host.next_local() else {
                if life.shall_stop() {
                    // One that will not stop is not asked again.
                    if life.told.replace(true) { context.terminate() } else { context.stop() }
                }
                return Poll::Pending;
            };
            life.left.set(life.left.get() - 1);
            life.call(job, actor, context);
        }
    }
}

/// A call whose answer is polled with its actor.
struct Call {
    job: Job,
    current: Current,
    tracked: Option<Tracked>,
    /// Of an actor that holds CPU.
    turn: Option<Turn>,
    this: Rc<Loop>,
    #[expect(dead_code, reason = "it counts while it lives")]
    active: Active,
}

struct ActorCall<A> {
    future: Option<LocalBoxActorFuture<A, Outcome>>,
    call: Call,
}

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for ActorCall<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, actor: &mut A, context: &mut Context<A>, task: &mut TaskContext<'_>) -> Poll<()> {
        let ActorCall { future: slot, call } = &mut *self;
        let (Some(tracked), Some(future)) = (&call.tracked, slot.as_mut()) else { return Poll::Ready(()) };
        let running = Arc::clone(&tracked.running);
        // As of other async calls: what is polled is a future with its actor at hand.
        let future = std::future::poll_fn(|task| future.as_mut().poll(actor, context, task));
        // A context polls all its futures whenever one of them is woken.
        if let Some(turn) = &mut call.turn {
            turn.look();
        }
        let polled = enter(&call.current, || Future::poll(Pin::new(&mut Guarded::new(future, running)), task));
        let Poll::Ready(ended) = polled else {
            if let Some(turn) = &mut call.turn {
                turn.pause();
            }
            return Poll::Pending;
        };
        call.turn = None;
        let ended = enter(&call.current, || ended.then(caught(|| drop(slot.take()))));
        let began = tracked.began;
        call.tracked = None;
        call.this.answer(call.job.clone(), Some(ended), began);
        Poll::Ready(())
    }
}

impl<A> Drop for ActorCall<A> {
    fn drop(&mut self) {
        // With its context, which has others to drop.
        if let Some(future) = self.future.take() {
            enter(&self.call.current, || discard("what a call held", future));
        }
    }
}

impl Loop {
    fn is_dead(&self) -> bool {
        self.host.dead.load(Ordering::Acquire)
    }
}
