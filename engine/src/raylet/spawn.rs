//! Worker processes: started from the program itself, watched, and ended.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actinic_transport::{NodeAuthority, PeerAddr};

use crate::api::error::{Error, Result};
use crate::ids::{JobId, WorkerId};
use crate::process::Process;
use crate::raylet::core::WorkerKind;
use crate::raylet::{ChildEnded, Raylet};
use crate::worker::entry::{BOOT, Boot};

/// Starts the worker processes of one node.
pub(crate) struct Spawner {
    process: Arc<Process>,
    authority: NodeAuthority,
    gcs: PeerAddr,
    listen: SocketAddr,
    default: Option<PathBuf>,
    programs: BTreeMap<JobId, (PathBuf, String)>,
    children: BTreeMap<WorkerId, Running>,
    /// Children that have not ended, asked to or not.
    alive: Arc<AtomicUsize>,
    raylet: Arc<std::sync::OnceLock<actix::Addr<Raylet>>>,
}

struct Running {
    pid: u32,
    /// Closing it asks the worker to end.
    stdin: Option<ChildStdin>,
}

impl Spawner {
    pub(crate) fn new(
        process: Arc<Process>,
        authority: NodeAuthority,
        gcs: PeerAddr,
        listen: SocketAddr,
        raylet: Arc<std::sync::OnceLock<actix::Addr<Raylet>>>,
    ) -> Spawner {
        Spawner {
            process,
            authority,
            gcs,
            listen,
            default: None,
            programs: BTreeMap::new(),
            children: BTreeMap::new(),
            alive: Arc::default(),
            raylet,
        }
    }

    /// What is started for a job that names no program.
    pub(crate) fn default_program(&mut self, program: PathBuf) {
        self.default = Some(program);
    }

    /// The program of a job, as a file on this machine.
    pub(crate) fn learn_job(&mut self, job: JobId, program: &str, namespace: String) {
        let named = (!program.is_empty()).then(|| PathBuf::from(program));
        if let Some(program) = named.or_else(|| self.default.clone()) {
            self.programs.insert(job, (program, namespace));
        }
    }

    /// How many worker processes have not ended.
    pub(crate) fn left(&self) -> usize {
        self.alive.load(Ordering::Acquire)
    }

    /// Starts a worker of a job; its pid.
    pub(crate) fn start(&mut self, worker: WorkerId, job: JobId, _kind: WorkerKind) -> Result<u32> {
        let Some((program, namespace)) = self.programs.get(&job) else {
            return Err(Error::runtime_env_setup(format!("the program of job {job} is not known to this node")));
        };
        let boot = self.boot(worker, job, namespace.clone())?;
        let mut command = Command::new(program);
        command.env(BOOT, "1").env("ACTINIC_WORKER_ID", worker.to_string()).stdin(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            Error::runtime_env_setup(format!("the program {} could not be started: {error}", program.display()))
        })?;
        let pid = child.id();
        let mut stdin = child.stdin.take();
        if let Some(pipe) = &mut stdin {
            let length = (boot.len() as u32).to_le_bytes();
            // A child that died at once is seen by its watcher.
            let _ = pipe.write_all(&length).and_then(|()| pipe.write_all(&boot)).and_then(|()| pipe.flush());
        }
        self.children.insert(worker, Running { pid, stdin });
        self.watch(worker, child)?;
        Ok(pid)
    }

    fn boot(&self, worker: WorkerId, job: JobId, namespace: String) -> Result<Vec<u8>> {
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
        };
        postcard::to_stdvec(&boot).map_err(|error| Error::serialization(error.to_string()))
    }

    /// A thread that waits for the child, and says how it ended.
    fn watch(&self, worker: WorkerId, mut child: Child) -> Result<()> {
        let raylet = Arc::clone(&self.raylet);
        let alive = Arc::clone(&self.alive);
        alive.fetch_add(1, Ordering::AcqRel);
        let watched = self.process.env.thread("actinic-child", move || {
            let text = match child.wait() {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            };
            if let Some(raylet) = raylet.get() {
                raylet.do_send(ChildEnded(worker, text));
            }
            // Whoever sees that no child is left finds their ends in the raylet's mailbox.
            alive.fetch_sub(1, Ordering::AcqRel);
        });
        watched.map_err(|error| Error::runtime_env_setup(format!("no thread to watch a worker: {error}")))
    }

    /// Asks a worker to end; it does when its pipe closes.
    pub(crate) fn stop(&mut self, worker: WorkerId) {
        if let Some(running) = self.children.remove(&worker) {
            drop(running.stdin);
        }
    }

    /// Ends a worker at once.
    pub(crate) fn kill(&mut self, worker: WorkerId) {
        if let Some(running) = self.children.get(&worker) {
            // SAFETY: the pid is a child's whose end has not been reported here; a signal to one that has just ended
            // fails without effect, since its watcher has not let the pid go before the report.
            unsafe {
                libc::kill(running.pid as libc::pid_t, libc::SIGKILL);
            }
        }
    }

    pub(crate) fn stop_all(&mut self) {
        self.children.clear();
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.stop_all();
    }
}
