//! Calls that one thread makes and another runs, many in flight: three ways to do it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};

use actix::prelude::*;
use tokio::sync::{mpsc, oneshot};

use crate::Result;
use crate::measure::check;

fn echo(x: i64) -> i64 {
    std::hint::black_box(x)
}

/// What to run, with what, and whom to tell.
struct Call {
    run: fn(i64) -> i64,
    x: i64,
    reply: oneshot::Sender<i64>,
}

impl Message for Call {
    type Result = ();
}

struct Worker;

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Handler<Call> for Worker {
    type Result = ();

    fn handle(&mut self, call: Call, _: &mut Context<Self>) {
        let _ = call.reply.send((call.run)(call.x));
    }
}

/// The mailbox of an actix actor on another thread, and a oneshot for each answer.
pub(crate) struct Mailbox {
    worker: Addr<Worker>,
    system: System,
}

impl Mailbox {
    pub(crate) fn start() -> Result<Mailbox> {
        let (started, is_started) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let system = System::new();
            let worker = system.block_on(async { Worker.start() });
            let _ = started.send((worker, System::current()));
            let _ = system.run();
        });
        let (worker, system) = is_started.recv()?;
        Ok(Mailbox { worker, system })
    }

    pub(crate) async fn burst(&self, count: i64) -> Result<()> {
        let send = |x| {
            let (reply, answer) = oneshot::channel();
            self.worker.do_send(Call { run: echo, x, reply });
            answer
        };
        let answers: Vec<_> = (0..count).map(send).collect();
        in_order(answers).await
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.system.stop();
    }
}

async fn in_order(answers: Vec<oneshot::Receiver<i64>>) -> Result<()> {
    for (x, answer) in answers.into_iter().enumerate() {
        check(answer.await? == x as i64, "an echo")?;
    }
    Ok(())
}

/// A tokio channel to a thread that drains it, and a oneshot for each answer.
pub(crate) struct Channel {
    calls: mpsc::UnboundedSender<Call>,
}

impl Channel {
    pub(crate) fn start() -> Channel {
        let (calls, mut called) = mpsc::unbounded_channel::<Call>();
        thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
            runtime.block_on(async {
                let mut batch = Vec::with_capacity(256);
                while called.recv_many(&mut batch, 256).await > 0 {
                    for call in batch.drain(..) {
                        let _ = call.reply.send((call.run)(call.x));
                    }
                }
            });
        });
        Channel { calls }
    }

    pub(crate) async fn burst(&self, count: i64) -> Result<()> {
        let mut answers = Vec::with_capacity(count as usize);
        for x in 0..count {
            let (reply, answer) = oneshot::channel();
            self.calls.send(Call { run: echo, x, reply })?;
            answers.push(answer);
        }
        in_order(answers).await
    }
}

type Item = (u32, fn(i64) -> i64, i64);

/// What the two threads of [`Inbox`] share.
struct Shared {
    inbox: Mutex<Vec<Item>>,
    /// The worker has seen an empty inbox and may sleep.
    sleeps: AtomicBool,
    stop: AtomicBool,
    results: Vec<AtomicI64>,
    missing: AtomicUsize,
}

impl Shared {
    fn inbox(&self) -> std::sync::MutexGuard<'_, Vec<Item>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A vector behind a lock that the worker swaps for an empty one; results land in a table; one wake-up each way.
pub(crate) struct Inbox {
    shared: Arc<Shared>,
    worker: Thread,
}

impl Inbox {
    /// For bursts of up to `most` calls from the thread that calls this.
    pub(crate) fn start(most: usize) -> Inbox {
        let shared = Arc::new(Shared {
            inbox: Mutex::new(Vec::with_capacity(most)),
            sleeps: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            results: (0..most).map(|_| AtomicI64::new(-1)).collect(),
            missing: AtomicUsize::new(0),
        });
        let (worker_shared, caller) = (Arc::clone(&shared), thread::current());
        let worker = thread::spawn(move || drain(&worker_shared, &caller, most));
        Inbox { shared, worker: worker.thread().clone() }
    }

    pub(crate) fn burst(&self, count: i64) -> Result<()> {
        let shared = &*self.shared;
        shared.missing.store(count as usize, Ordering::Relaxed);
        for x in 0..count {
            shared.inbox().push((x as u32, echo, x));
            if shared.sleeps.swap(false, Ordering::SeqCst) {
                self.worker.unpark();
            }
        }
        while shared.missing.load(Ordering::Acquire) > 0 {
            thread::park();
        }
        let answers = shared.results[..count as usize].iter().map(|result| result.load(Ordering::Relaxed));
        check(answers.eq(0..count), "an echo")
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.worker.unpark();
    }
}

fn drain(shared: &Shared, caller: &Thread, most: usize) {
    let mut batch = Vec::with_capacity(most);
    loop {
        std::mem::swap(&mut *shared.inbox(), &mut batch);
        if batch.is_empty() {
            shared.sleeps.store(true, Ordering::SeqCst);
            if shared.inbox().is_empty() {
                thread::park();
            }
            if shared.stop.load(Ordering::Relaxed) {
                return;
            }
            continue;
        }
        let count = batch.len();
        for (slot, run, x) in batch.drain(..) {
            shared.results[slot as usize].store(run(x), Ordering::Relaxed);
        }
        if shared.missing.fetch_sub(count, Ordering::AcqRel) == count {
            caller.unpark();
        }
    }
}
