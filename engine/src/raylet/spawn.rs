//! Worker processes: started from the program itself, watched, and ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{PipeWriter, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actinic_transport::{NodeAuthority, PeerAddr};

use crate::api::error::{Error, Result};
use crate::ids::{JobId, WorkerId};
use crate::object_manager::budget::Lent;
use crate::process::Process;
use crate::protocol::JobRow;
use crate::raylet::core::WorkerKind;
use crate::raylet::{ChildEnded, EndDeaf, Raylet};
use crate::start::NodeOptions;
use crate::start::program_file::{JobProgram, ProgramFile};
use crate::worker::entry::{BOOT, Boot, mark};
use crate::worker::progress::Progress;

/// Names its node in a worker's environment, so that what it starts can be found when the node is gone.
pub(crate) const NODE: &str = "ACTINIC_NODE_ID";

/// How long a worker that was asked to end may take.
const END_WITHIN: Duration = Duration::from_secs(5);
/// See [`Spawner::hello_within`].
const HELLO_WITHIN: Duration = Duration::from_secs(60);

/// Starts the worker processes of one node.
pub(crate) struct Spawner {
    process: Arc<Process>,
    authority: NodeAuthority,
    gcs: PeerAddr,
    listen: SocketAddr,
    default: Option<Arc<ProgramFile>>,
    /// Workers enter before their program's `main`: it is a test binary.
    early: bool,
    log_level: Option<tracing::level_filters::LevelFilter>,
    /// How long a worker may take from its start to its introduction.
    pub(super) hello_within: Duration,
    programs: BTreeMap<JobId, JobProgram>,
    children: BTreeMap<WorkerId, Running>,
    /// Children that have not ended, asked to or not.
    alive: Arc<AtomicUsize>,
    raylet: Arc<std::sync::OnceLock<actix::Addr<Raylet>>>,
}

struct Running {
    /// None from when it has ended: another process may have its pid then.
    pid: Arc<Mutex<Option<u32>>>,
    /// Closing it asks the worker to end.
    stdin: Option<PipeWriter>,
    progress: Option<Progress>,
}

/// Why a worker was not started.
pub(crate) struct NotStarted {
    pub(crate) error: Error,
    /// Another would not be, either: it is not for want of memory, threads or open files.
    pub(crate) permanent: bool,
}

/// Whether a program that could not be started for this reason never can be.
fn is_permanent(error: &std::io::Error) -> bool {
    let codes = [libc::ENOEXEC, libc::ENOENT, libc::EACCES, libc::EPERM, libc::ENOTDIR, libc::ELOOP, libc::E2BIG];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

impl Spawner {
    pub(crate) fn new(
        process: Arc<Process>,
        authority: NodeAuthority,
        gcs: PeerAddr,
        listen: SocketAddr,
        raylet: Arc<std::sync::OnceLock<actix::Addr<Raylet>>>,
        options: &NodeOptions,
    ) -> Spawner {
        Spawner {
            process,
            authority,
            gcs,
            listen,
            default: None,
            early: options.early,
            log_level: options.log_level,
            hello_within: options.hello_within.unwrap_or(HELLO_WITHIN),
            programs: BTreeMap::new(),
            children: BTreeMap::new(),
            alive: Arc::default(),
            raylet,
        }
    }

    /// What is started for a job that names no program.
    pub(crate) fn default_program(&mut self, program: &Path) {
        match ProgramFile::open(self.process.env.files(), program) {
            Ok(file) => self.default = Some(Arc::new(file)),
            Err(error) => tracing::warn!(program = %program.display(), %error, "the program cannot be opened"),
        }
    }

    /// The program of a job, as its driver's machine has it; one that is not here is fetched when it is needed.
    pub(crate) fn learn_job(&mut self, row: &JobRow, file: Option<Arc<ProgramFile>>) {
        if let Some(file) = file.or_else(|| self.default.clone()) {
            let (namespace, identity) = (row.namespace.clone(), row.program.clone());
            let task_max_retries = row.task_max_retries;
            self.learn_program(row.id, JobProgram { file, namespace, task_max_retries, identity });
        }
    }

    pub(crate) fn learn_program(&mut self, job: JobId, program: JobProgram) {
        self.process.programs.add(job, &program.file);
        self.programs.insert(job, program);
    }

    pub(crate) fn knows(&self, job: JobId) -> bool {
        self.programs.contains_key(&job)
    }

    /// What the workers of a job must report as their program.
    pub(crate) fn identity(&self, job: JobId) -> String {
        self.programs.get(&job).map(|program| program.identity.clone()).unwrap_or_default()
    }

    /// Nobody needs a job's program any more.
    pub(crate) fn forget_program(&mut self, job: JobId) {
        self.programs.remove(&job);
        self.process.programs.remove(job);
    }

    /// A worker has shown that what this node keeps as a job's program is another.
    pub(crate) fn discard_program(&mut self, job: JobId) {
        if self.process.programs.discard(job) {
            self.programs.remove(&job);
        }
    }

    /// Whether jobs without a program of their own have one here.
    pub(crate) fn has_default(&self) -> bool {
        self.default.is_some()
    }

    /// How many worker processes have not ended.
    pub(crate) fn left(&self) -> usize {
        self.alive.load(Ordering::Acquire)
    }

    /// Starts a worker of a job; its pid.
    pub(crate) fn start(&mut self, worker: WorkerId, job: JobId, _kind: WorkerKind) -> Result<u32, NotStarted> {
        let never = |error| NotStarted { error, permanent: true };
        let Some(JobProgram { file, namespace, task_max_retries, .. }) = self.programs.get(&job).cloned() else {
            let text = format!("the program of job {job} is not known to this node");
            return Err(never(Error::runtime_env_setup(text)));
        };
        // Without it a crash is blamed on the first task in flight.
        let progress = Progress::create(self.process.env.files())
            .inspect_err(|error| tracing::warn!(%error, "no page for a worker's progress could be made"))
            .ok();
        let budget = self.process.store.lend();
        let boot = self.boot(worker, job, namespace, progress.as_ref(), budget.as_ref()).map_err(never)?;
        let failed = |error| NotStarted {
            error: Error::runtime_env_setup(format!("no pipe to a worker could be made: {error}")),
            permanent: false,
        };
        let (input, mut pipe) = std::io::pipe().map_err(failed)?;
        let input = File::from(OwnedFd::from(input));
        let mut command = Command::new(file.path());
        command.arg0("actinic-worker").env(BOOT, mark(self.process.env.pid(), &input).map_err(failed)?).stdin(input);
        command.env("ACTINIC_WORKER_ID", worker.to_string()).env(NODE, self.process.id.node.to_string());
        // The driver's, whatever this node was started with: what its tasks submit is its own.
        command.env(crate::rt::MAX_RETRIES, task_max_retries.to_string());
        if let Some(level) = self.log_level {
            command.env(crate::log::LEVEL, level.to_string());
        }
        if self.early {
            command.env(crate::testing::EARLY, "1");
        }
        let child = self.process.env.spawn(&mut command).map_err(|error| {
            if error.raw_os_error() == Some(libc::ENOEXEC) {
                self.discard_program(job);
            }
            let permanent = is_permanent(&error);
            let error = Error::runtime_env_setup(format!("the program could not be started: {error}"))
                .remedy("if it was fetched, it is fetched anew: run the driver again");
            NotStarted { error, permanent }
        })?;
        // Its end of the pipe is the child's alone.
        drop(command);
        let pid = child.id();
        let length = (boot.len() as u32).to_le_bytes();
        // A child that died at once is seen by its watcher.
        let _ = pipe.write_all(&length).and_then(|()| pipe.write_all(&boot)).and_then(|()| pipe.flush());
        let alive = Arc::new(Mutex::new(Some(pid)));
        self.watch(worker, child, Arc::clone(&alive), budget)
            .map_err(|error| NotStarted { error, permanent: false })?;
        self.children.insert(worker, Running { pid: alive, stdin: Some(pipe), progress });
        Ok(pid)
    }

    fn boot(
        &self,
        worker: WorkerId,
        job: JobId,
        namespace: String,
        progress: Option<&Progress>,
        budget: Option<&Lent>,
    ) -> Result<Vec<u8>> {
        let pid = self.process.env.pid();
        let identity = self
            .authority
            .issue(self.process.env.uuid())
            .map_err(|error| Error::unauthorized(format!("no certificate for a worker: {error}")))?;
        let boot = Boot {
            worker,
            job,
            namespace,
            identity,
            raylet: self.process.address(),
            gcs: self.gcs.clone(),
            listen: self.listen,
            store_bytes: self.process.store.capacity(),
            budget: budget.and_then(|lent| lent.place(self.process.env.files(), pid)),
            progress: progress.and_then(|progress| progress.at(pid)),
        };
        postcard::to_stdvec(&boot).map_err(|error| Error::serialization(error.to_string()))
    }

    /// A thread that waits for the child, takes back what it was lent, and says how it ended.
    fn watch(&self, worker: WorkerId, child: Child, pid: Arc<Mutex<Option<u32>>>, budget: Option<Lent>) -> Result<()> {
        let raylet = Arc::clone(&self.raylet);
        let alive = Arc::clone(&self.alive);
        alive.fetch_add(1, Ordering::AcqRel);
        // A thread that does not start drops its body.
        let kept = Arc::new(Mutex::new(Some(child)));
        let given = Arc::clone(&kept);
        let take = |child: &Mutex<Option<Child>>| child.lock().unwrap_or_else(PoisonError::into_inner).take();
        let watched = self.process.env.thread("actinic-child", move || {
            let Some(mut child) = take(&given) else { return };
            until_ended(child.id());
            *pid.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let text = match child.wait() {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            };
            drop(budget);
            if let Some(raylet) = raylet.get() {
                raylet.do_send(ChildEnded(worker, text));
            }
            // Whoever sees that no child is left finds their ends in the raylet's mailbox.
            alive.fetch_sub(1, Ordering::AcqRel);
        });
        watched.map_err(|error| {
            if let Some(mut child) = take(&kept) {
                // Nobody would hear of its end.
                let _ = child.kill().and_then(|()| child.wait());
            }
            self.alive.fetch_sub(1, Ordering::AcqRel);
            Error::runtime_env_setup(format!("no thread to watch a worker: {error}"))
        })
    }

    /// What a worker that has ended ran then; the outer is none if nobody can tell.
    pub(crate) fn ran(&self, worker: WorkerId) -> Option<Option<(u64, u64)>> {
        Some(self.children.get(&worker)?.progress.as_ref()?.running())
    }

    /// Asks a worker to end; it does when its pipe closes. One that does not, for it is stopped or hangs in what it runs at
    /// its end, is ended after [`END_WITHIN`].
    pub(crate) fn stop(&mut self, worker: WorkerId) {
        let Some(running) = self.children.get_mut(&worker) else { return };
        drop(running.stdin.take());
        let raylet = Arc::clone(&self.raylet);
        self.process.spawn(async move {
            tokio::time::sleep(END_WITHIN).await;
            if let Some(raylet) = raylet.get() {
                raylet.do_send(EndDeaf(worker));
            }
        });
    }

    /// A worker has ended, and what was to be known of it is.
    pub(crate) fn forget(&mut self, worker: WorkerId) {
        self.children.remove(&worker);
    }

    /// Ends a worker at once.
    pub(crate) fn kill(&mut self, worker: WorkerId) {
        let Some(running) = self.children.get(&worker) else { return };
        let pid = running.pid.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = *pid {
            // SAFETY: the pid is a child's that has not been reaped: its watcher clears it first, under this lock.
            unsafe {
                libc::kill(pid as libc::pid_t, libc::SIGKILL);
            }
        }
    }

    /// Ends every worker at once.
    pub(crate) fn kill_all(&mut self) {
        let all: Vec<WorkerId> = self.children.keys().copied().collect();
        all.into_iter().for_each(|worker| self.kill(worker));
    }

    pub(crate) fn stop_all(&mut self) {
        self.children.clear();
    }
}

/// Waits until a child has ended, and leaves it to be reaped.
fn until_ended(pid: u32) {
    // SAFETY: the information is written to a variable of this frame, and the pid is a child's that nobody else reaps.
    let wait = || unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_PID, pid, &mut info, libc::WEXITED | libc::WNOWAIT)
    };
    // A signal may interrupt it.
    while wait() < 0 && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted {}
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.stop_all();
    }
}
