//! A process on a thread of its own: made there, waited for, and ended.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use actinic_transport::{Authority, NodeAuthority, PeerAddr, Token};
use tokio::sync::oneshot;

use crate::api::error::{Error, Result};
use crate::api::op::wait_for;
use crate::env::Env;
use crate::process::Process;
use crate::raylet::RayletPost;
use crate::wait::Countdown;

/// A process that runs on a thread of its own.
pub(crate) struct Running {
    pub(crate) process: Arc<Process>,
    pub(crate) raylet: Option<RayletPost>,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<Arc<Countdown>>,
    pub(crate) token: Option<Token>,
    pub(crate) authority: Option<Arc<Authority>>,
    pub(crate) node_authority: Option<NodeAuthority>,
    pub(crate) gcs: PeerAddr,
}

impl Running {
    /// Ends the process's thread and waits until its network and its workers are gone.
    pub(crate) fn stop(&mut self) {
        self.ask_stop();
        if let Some(ended) = self.ended.take() {
            // It ends within the deadline of its own steps, or is gone already.
            wait_for(&ended, Some(Duration::from_secs(10)), || self.process.env.now());
        }
    }

    /// Ends it without waiting.
    pub(crate) fn ask_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
    }

    /// Counts down to nothing when the process has ended.
    pub(crate) fn take_ended(&mut self) -> Option<Arc<Countdown>> {
        self.ended.take()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ask_stop();
    }
}

/// What a process is made of, once its thread runs.
pub(super) struct Made {
    pub(super) process: Arc<Process>,
    pub(super) raylet: Option<RayletPost>,
    pub(super) token: Option<Token>,
    pub(super) authority: Option<Arc<Authority>>,
    pub(super) node_authority: Option<NodeAuthority>,
    pub(super) gcs: PeerAddr,
}

/// Runs `make` on a system thread; what it made lives there until it is stopped.
pub(super) fn on_thread<F>(env: &Env, name: &str, make: F) -> Result<Running>
where
    F: AsyncFnOnce() -> Result<Made> + Send + 'static,
{
    begin_on_thread(env, name, make)?.wait(env)
}

/// A process whose thread makes it.
pub(crate) struct Starting {
    hear: Receiver<Result<Made>>,
    stop: oneshot::Sender<()>,
    ended: Arc<Countdown>,
}

pub(super) fn begin_on_thread<F>(env: &Env, name: &str, make: F) -> Result<Starting>
where
    F: AsyncFnOnce() -> Result<Made> + Send + 'static,
{
    let (tell, hear) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = Countdown::new(1, false);
    let end = End(Arc::clone(&ended));
    let started = env.system(name, move || async move {
        match make().await {
            Ok(made) => {
                let process = Arc::clone(&made.process);
                // The starter waits for it.
                let _ = tell.send(Ok(made));
                tokio::select! {
                    biased;
                    // Stopped, or dropped, which means the same.
                    _ = stopped => {}
                    () = process.is_to_end() => {}
                }
                process.end().await;
            }
            Err(error) => drop(tell.send(Err(error))),
        }
        end
    });
    started.map_err(|error| Error::connection(format!("no thread could be started for the cluster: {error}")))?;
    Ok(Starting { hear, stop, ended })
}

impl Starting {
    /// Waits on the calling thread until it is made.
    pub(crate) fn wait(self, env: &Env) -> Result<Running> {
        let made = match env.world() {
            None => self.hear.recv().map_err(|_| gone())??,
            // Nothing in a node's start waits: the first step has made it.
            Some(_) => self.hear.try_recv().map_err(|_| gone())??,
        };
        Ok(self.run(made))
    }

    /// As [`Starting::wait`], where what makes it asks others and all are simulated.
    pub(crate) async fn ready(self, env: &Env) -> Result<Running> {
        if env.world().is_none() {
            return self.wait(env);
        }
        loop {
            match self.hear.try_recv() {
                Ok(made) => return made.map(|made| self.run(made)),
                Err(TryRecvError::Disconnected) => return Err(gone()),
                Err(TryRecvError::Empty) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    fn run(self, made: Made) -> Running {
        let Made { process, raylet, token, authority, node_authority, gcs } = made;
        let (stop, ended) = (Some(self.stop), Some(self.ended));
        Running { process, raylet, stop, ended, token, authority, node_authority, gcs }
    }
}

fn gone() -> Error {
    Error::connection("the cluster's thread ended while it started")
}

/// Tells of the end of a process, however it comes.
struct End(Arc<Countdown>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.finish();
    }
}
