//! Fetching a program from whoever has it, and telling others what is here.

use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{BulkError, BulkReader, Peer, PeerAddr};
use bytes::Bytes;

use crate::api::error::{Error, Result};
use crate::ids::JobId;
use crate::process::Process;
use crate::protocol::calls::Fetch;
use crate::protocol::{AskGcs, AskRaylet, GcsAnswer, JobRow, RAYLET, RayletAnswer};
use crate::start::program_file::intake::{Intake, intake};
use crate::start::program_file::{JobProgram, ProgramFile, ProgramInfo, triple};

/// The largest program that a node fetches.
const MAX_PROGRAM: u64 = 4 << 30;
/// For so long a job is asked for again that the GCS does not know: a lease for its first task may be quicker than its
/// driver's word of it.
const UNKNOWN_FOR: Duration = Duration::from_secs(3);
/// How often.
const ASK_AGAIN: Duration = Duration::from_millis(100);

impl Process {
    /// Answers what another node asks before it fetches a job's program; the hash is computed on a thread of its own.
    pub(crate) fn tell_program(self: &Arc<Self>, job: JobId, reply: actinic_transport::ReplyTo) {
        let Some(program) = self.programs.get(job) else {
            reply.refuse(format!("the program of job {job} is not here"));
            return;
        };
        let answer = move || match program.content() {
            Ok(content) => {
                let info = ProgramInfo { size: program.size, content, triple: triple() };
                // The asker may have gone.
                let _ = reply.answer(&RayletAnswer::Program(info));
            }
            Err(error) => reply.refuse(format!("the program cannot be read: {error}")),
        };
        if let Err(error) = self.env.thread("actinic-hash", answer) {
            tracing::warn!(%error, "no thread to hash a program; its asker waits until its deadline");
        }
    }

    /// A job whose program is needed, and who may have it; none if nobody needs it (any more).
    pub(crate) async fn job_and_holders(self: &Arc<Self>, job: JobId) -> Result<Option<(JobRow, Vec<PeerAddr>)>> {
        let until = self.env.now() + UNKNOWN_FOR;
        loop {
            let GcsAnswer::Job(found) = crate::api::named::ask_gcs(self, AskGcs::Job { job }).await? else {
                return Err(Error::connection("the GCS answered something else"));
            };
            if found.is_some() || self.env.now() >= until {
                return Ok(found);
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// The program of a job that this node knows nothing of.
    pub(crate) async fn fetch_program(self: &Arc<Self>, job: JobId) -> Result<JobProgram> {
        let Some((row, sources)) = self.job_and_holders(job).await? else {
            return Err(Error::runtime_env_setup(format!(
                "nobody needs the program of job {job}: its driver and its actors have ended"
            )));
        };
        let file = match self.programs.get(job) {
            Some(file) => file,
            None => self.fetch_file(&row, &sources).await?,
        };
        Ok(JobProgram { file, namespace: row.namespace, task_max_retries: row.task_max_retries, identity: row.program })
    }

    async fn fetch_file(self: &Arc<Self>, row: &JobRow, sources: &[PeerAddr]) -> Result<Arc<ProgramFile>> {
        let mut last = "nobody is known to have it".to_owned();
        for source in sources.iter().filter(|source| source.id != self.id) {
            match self.fetch_from(row.id, source).await {
                Ok(file) => return Ok(file),
                Err(error @ Error::VersionMismatch { .. }) => return Err(error),
                Err(error) => last = error.to_string(),
            }
        }
        Err(Error::runtime_env_setup(format!("the program of job {} ({}) cannot be had: {last}", row.id, row.entry))
            .at_node(self.id.node)
            .remedy("keep the head, and the driver while its job runs, reachable"))
    }

    async fn fetch_from(self: &Arc<Self>, job: JobId, source: &PeerAddr) -> Result<Arc<ProgramFile>> {
        let failed =
            |error: &dyn std::fmt::Display| Error::runtime_env_setup(format!("process {}: {error}", source.id));
        let peer = self.endpoint()?.peer(source);
        let asked = peer.ask(RAYLET, &AskRaylet::Program { job }, Duration::from_secs(10)).await;
        let RayletAnswer::Program(info) = asked.map_err(|error| failed(&error))? else {
            return Err(failed(&"it answered something else"));
        };
        if info.triple != triple() {
            return Err(Error::version_mismatch(format!(
                "the program of job {job} is for {}, and this node is {}",
                info.triple,
                triple()
            ))
            .at_node(self.id.node)
            .remedy("keep the job to nodes of its own kind, by a custom resource that only they have"));
        }
        if info.size > MAX_PROGRAM {
            return Err(failed(&format!("its program of {} bytes is over the limit of {MAX_PROGRAM}", info.size)));
        }
        let (process, announced) = (Arc::clone(self), info.clone());
        let kept = self.env.aside("actinic-program", move || process.programs.kept(&announced));
        match kept.await.map_err(|error| failed(&error))?? {
            Some(file) => Ok(Arc::new(file)),
            None => self.transfer_program(&peer, job, info).await.map(Arc::new),
        }
    }

    /// Lets a program come, and keeps it.
    async fn transfer_program(self: &Arc<Self>, peer: &Peer, job: JobId, info: ProgramInfo) -> Result<ProgramFile> {
        let failed = |error: &dyn std::fmt::Display| Error::runtime_env_setup(format!("the transfer failed: {error}"));
        let request = postcard::to_stdvec(&Fetch::Program { job }).map_err(|error| failed(&error))?;
        let reader = peer.bulk(Bytes::from(request)).await.map_err(|error| failed(&error))?;
        if reader.length() != info.size {
            return Err(failed(&format!("{} bytes were announced, and then {}", info.size, reader.length())));
        }
        let (intake, arriving) = intake();
        let (process, name) = (Arc::clone(self), self.env.uuid().simple().to_string());
        let kept = self.env.aside("actinic-program", move || process.programs.keep(&info, &name, arriving));
        let came = receive(reader, intake).await;
        // Whether or not all came, the disk is done with it when this returns.
        let kept = kept.await.map_err(|error| failed(&error))?;
        came.map_err(|error| failed(&error))?;
        kept
    }
}

async fn receive(mut reader: BulkReader, mut intake: Intake) -> std::result::Result<(), BulkError> {
    while let Some(chunk) = reader.next_chunk().await {
        if !intake.put(chunk?).await {
            // Whoever gave up says why.
            return Ok(());
        }
    }
    intake.finish().await;
    Ok(())
}
