//! Worker processes, as their raylet starts them.

use std::sync::{Arc, OnceLock};

use actinic_transport::{Net, Peer};

use crate::api::cluster::Seat;
use crate::api::error::{Error, Result};
use crate::api::op::wait_for;
use crate::env::Env;
use crate::gcs::GcsLink;
use crate::net::{Components, listen};
use crate::object_manager::budget::Budget;
use crate::protocol::ToRaylet;
use crate::raylet::RayletLink;
use crate::start::thread::{Made, on_thread};
use crate::start::{NodeOptions, Place, new_process};
use crate::worker::entry::Boot;
use crate::worker::host::Host;
use crate::worker::slot::TaskSlot;

/// Runs a worker process until its raylet ends it.
pub(crate) fn run_worker(boot: Boot) -> Result<()> {
    crate::worker::job::install_panic_hook();
    let env = Env::real();
    let made = Arc::new(OnceLock::new());
    crate::worker::entry::die_with_parent(&env, Arc::clone(&made))
        .map_err(|error| Error::connection(format!("no thread could be started: {error}")))?;
    let inner = env.clone();
    let mut running = on_thread(&env, "actinic-worker", async move || {
        let place = Place { net: Net::Udp, listen: boot.listen };
        let options = NodeOptions { object_store_memory: Some(boot.store_bytes), ..NodeOptions::default() };
        let (process, endpoint) = new_process(&inner, &options, &place, boot.identity)?;
        // A new process: nobody else sets it.
        let _ = made.set(Arc::clone(&process));
        let raylet: Peer = endpoint.peer(&boot.raylet);
        let _ = process.gcs.set(GcsLink::Remote(endpoint.peer(&boot.gcs), Arc::clone(&process.room)));
        let _ = process.raylet.set(RayletLink::Remote(raylet.clone(), Arc::clone(&process.room)));
        process.set_store_peer(raylet);
        match boot.budget.map(|place| Budget::open(inner.files(), &place)) {
            Some(Ok(budget)) => process.store.share(budget),
            Some(Err(error)) => tracing::warn!(%error, "the object store counts for this worker alone"),
            None => {}
        }
        if let Some(at) = &boot.progress {
            match crate::worker::progress::Progress::open(inner.files(), at) {
                // A new process: nobody else sets it.
                Ok(progress) => drop(process.progress.set(progress)),
                Err(error) => tracing::warn!(?at, %error, "the page of this worker's progress cannot be opened"),
            }
        }
        let _ = process.on_crash.set(Box::new(|| crate::worker::entry::end_now()));
        // The first owner of a process stands for it as a borrower; it is also what its tasks submit with.
        let host = Host::of_tasks(Arc::clone(&process), boot.worker, boot.job, Arc::from(boot.namespace.as_str()));
        // So does a thread that its tasks start.
        crate::api::scope::add(Arc::clone(host.owner()), Seat::of_worker(&boot.gcs));
        process.is_member(host.owner());
        let slot = TaskSlot::new(host, Arc::clone(&process.pool));
        process.keep_slot(&slot);
        listen(&process, &endpoint, &Components { home: Some(boot.raylet.id), ..Components::default() });
        let program = crate::program::identity().to_owned();
        let hello =
            ToRaylet::Hello { peer: process.address(), worker: Some(boot.worker), pid: process.env.pid(), program };
        process.tell_raylet(process.id.node, hello);
        Ok(Made { process, raylet: None, token: None, authority: None, node_authority: None, gcs: boot.gcs })
    })?;
    if let Some(ended) = running.take_ended() {
        // It ends when its raylet is gone or says so; `stop` is never asked here.
        wait_for(&ended, None, || env.now());
    }
    Ok(())
}
