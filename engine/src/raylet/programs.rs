//! The jobs that a node knows, and their programs: what worker processes are started from.

use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, Handler, Message};

use crate::api::error::Error;
use crate::ids::{JobId, WorkerId};
use crate::protocol::{JobRow, ToGcs};
use crate::raylet::core::{Event, WorkerKind};
use crate::raylet::workers::Failed;
use crate::raylet::{DefaultProgram, Raylet};
use crate::start::program_file::JobProgram;

/// When a program that is to be kept and could not be had is asked for again.
const KEEP_AGAIN: Duration = Duration::from_secs(2);

/// A program on its way here.
pub(super) struct Fetching {
    /// The workers that are started from it.
    waiting: Vec<(WorkerId, WorkerKind)>,
    /// `false` if its last need ended meanwhile.
    needed: bool,
}

/// What the GCS says of a job that a worker is to be started for.
#[derive(Message)]
#[rtype(result = "()")]
struct Learned {
    worker: WorkerId,
    job: JobId,
    kind: WorkerKind,
    /// An error if it did not answer.
    row: Result<Option<JobRow>, Error>,
}

/// A job's program is here, or cannot be had.
#[derive(Message)]
#[rtype(result = "()")]
struct ProgramHere {
    job: JobId,
    program: Result<JobProgram, Error>,
}

impl Raylet {
    pub(super) fn job_started(&mut self, row: &JobRow, ctx: &mut Context<Self>) {
        let driver = self.drivers.get(&row.driver.process);
        let offer = driver.and_then(|driver| driver.offer.clone());
        if let Some(driver) = driver {
            // The driver's own word goes another way, and may come after what this node asks of the job.
            let (row, driver) = (Box::new(row.clone()), driver.peer.clone());
            self.process.tell_gcs(ToGcs::JobStarted { row, driver });
        }
        if let Some(spawner) = &mut self.spawner {
            let file = offer.and_then(|offer| offer.open(self.process.env.files()));
            spawner.learn_job(row, file);
        }
        self.namespaces.insert(row.id, Arc::from(row.namespace.as_str()));
        self.event(Event::Prestart { job: row.id, count: 1 }, ctx);
    }

    pub(super) fn job_ended(&mut self, job: JobId, ctx: &mut Context<Self>) {
        self.process.job_ended(job);
        self.event(Event::JobEnded { job }, ctx);
    }

    /// The GCS wants a job's program to be here: its driver, and whoever else has it, may go.
    pub(super) fn keep_program(&mut self, job: JobId, ctx: &mut Context<Self>) {
        self.keeping.insert(job);
        self.fetch_to_keep(job, ctx);
    }

    fn fetch_to_keep(&mut self, job: JobId, ctx: &mut Context<Self>) {
        if self.spawner.as_ref().is_some_and(|spawner| !spawner.knows(job) && !spawner.has_default()) {
            self.fetch_program(job, None, ctx);
        }
    }

    /// Whoever was asked for a program that is to be kept did not have it, or was on its way out: another may have it soon.
    fn keep_later(&self, job: JobId, error: &Error, ctx: &mut Context<Self>) {
        if matches!(error, Error::VersionMismatch { .. }) {
            tracing::warn!(target: "actinic", %job, %error, "the program of a detached actor is not kept here");
            return;
        }
        tracing::debug!(target: "actinic", %job, %error, "the program of a detached actor is not here yet");
        ctx.run_later(KEEP_AGAIN, move |raylet, ctx| {
            if raylet.keeping.contains(&job) {
                raylet.fetch_to_keep(job, ctx);
            }
        });
    }

    /// Neither the job nor an actor of it will start anything any more.
    pub(super) fn forget_program(&mut self, job: JobId) {
        self.keeping.remove(&job);
        self.namespaces.remove(&job);
        if let Some(fetching) = self.fetching.get_mut(&job) {
            fetching.needed = false;
        }
        if let Some(spawner) = &mut self.spawner {
            spawner.forget_program(job);
        }
    }

    /// A job of a driver elsewhere: the GCS knows its program and its namespace.
    pub(super) fn learn_job(&self, worker: WorkerId, job: JobId, kind: WorkerKind, ctx: &mut Context<Self>) {
        let (process, raylet) = (Arc::clone(&self.process), ctx.address());
        self.process.spawn(async move {
            let row = process.job_and_holders(job).await.map(|found| found.map(|(row, _)| row));
            raylet.do_send(Learned { worker, job, kind, row });
        });
    }

    /// The program of a job that this node knows nothing of is fetched, for its first worker or to be kept.
    pub(super) fn fetch_program(
        &mut self,
        job: JobId,
        worker: Option<(WorkerId, WorkerKind)>,
        ctx: &mut Context<Self>,
    ) {
        let first = !self.fetching.contains_key(&job);
        let fetching = self.fetching.entry(job).or_insert(Fetching { waiting: Vec::new(), needed: true });
        fetching.waiting.extend(worker);
        if first {
            let (process, raylet) = (Arc::clone(&self.process), ctx.address());
            self.process.spawn(async move {
                let program = process.fetch_program(job).await;
                raylet.do_send(ProgramHere { job, program });
            });
        }
    }
}

impl Handler<Learned> for Raylet {
    type Result = ();

    fn handle(&mut self, message: Learned, ctx: &mut Context<Self>) {
        let Learned { worker, job, kind, row } = message;
        let row = match row {
            Ok(Some(row)) => row,
            Ok(None) => {
                let error = Error::runtime_env_setup(format!("the GCS does not know job {job}, or it has ended"));
                return ctx.notify(Failed { worker, error, permanent: true });
            }
            Err(error) => return ctx.notify(Failed { worker, error, permanent: false }),
        };
        if let Some(spawner) = &mut self.spawner {
            spawner.learn_job(&row, None);
        }
        self.namespaces.insert(row.id, Arc::from(row.namespace.as_str()));
        self.start_worker(worker, job, kind, ctx);
    }
}

impl Handler<ProgramHere> for Raylet {
    type Result = ();

    fn handle(&mut self, message: ProgramHere, ctx: &mut Context<Self>) {
        let ProgramHere { job, program } = message;
        let Some(Fetching { waiting, needed }) = self.fetching.remove(&job) else { return };
        let error = match program {
            Ok(_) if !needed => Some(Error::runtime_env_setup(format!("job {job} has ended"))),
            Ok(program) => {
                self.namespaces.insert(job, Arc::from(program.namespace.as_str()));
                if let Some(spawner) = &mut self.spawner {
                    spawner.learn_program(job, program);
                }
                None
            }
            Err(error) => {
                if self.keeping.contains(&job) {
                    self.keep_later(job, &error, ctx);
                }
                Some(error)
            }
        };
        for (worker, kind) in waiting {
            // One that is needed no more was forgotten meanwhile.
            if self.workers.remove(&worker).is_none() {
                continue;
            }
            match &error {
                None => self.start_worker(worker, job, kind, ctx),
                Some(error) => {
                    // A GCS that did not answer may do so yet.
                    let permanent = matches!(error, Error::VersionMismatch { .. } | Error::RuntimeEnvSetup { .. });
                    self.failed(Failed { worker, error: error.clone(), permanent }, ctx);
                }
            }
        }
    }
}

impl Handler<DefaultProgram> for Raylet {
    type Result = ();

    fn handle(&mut self, message: DefaultProgram, _ctx: &mut Context<Self>) {
        if let Some(spawner) = &mut self.spawner {
            spawner.default_program(&message.0);
        }
    }
}
