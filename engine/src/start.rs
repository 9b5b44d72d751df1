//! Starting and ending processes: heads and further nodes ([`mod@node`]), drivers ([`mod@driver`]), workers
//! ([`worker`]), each on a thread of its own ([`thread`]). What all of them begin with is here.

pub(crate) mod admission;
pub(crate) mod connect;
mod driver;
pub(crate) mod join;
pub mod local;
mod node;
mod options;
pub(crate) mod program_file;
pub(crate) mod renewal;
mod thread;
mod worker;

use std::sync::Arc;

use actinic_transport::{Config, Endpoint, Identity, Limits};

pub(crate) use driver::{begin_job, driver, join_cluster};
pub(crate) use node::{head, join_node, node};
pub(crate) use options::{NodeOptions, Place};
pub(crate) use thread::{Running, Starting};
pub(crate) use worker::run_worker;

use crate::api::error::{Error, Result};
use crate::env::Env;
use crate::ids::JobId;
use crate::process::{Process, Settings};
use crate::protocol::REVISION;

fn config(env: &Env, place: &Place, identity: Identity) -> Config {
    Config {
        id: identity.id(),
        identity,
        net: place.net.clone(),
        listen: place.listen,
        limits: Limits::default(),
        revision: REVISION,
        seed: env.seed(),
    }
}

fn bind(env: &Env, place: &Place, identity: Identity) -> Result<Endpoint> {
    Endpoint::bind(config(env, place, identity)).map_err(|error| Error::connection(error.to_string()))
}

fn security(error: impl std::fmt::Display) -> Error {
    Error::unauthorized(error.to_string())
}

fn new_process(
    env: &Env,
    options: &NodeOptions,
    place: &Place,
    identity: Identity,
) -> Result<(Arc<Process>, Endpoint)> {
    let id = identity.id();
    let endpoint = bind(env, place, identity.clone())?;
    let (width, async_width) = (env.machine().cores, options.async_width(env));
    let settings = Settings { id, width, async_width, store_bytes: options.store_bytes(env) };
    let process = Process::new(&settings, env.clone());
    process.set_endpoint(endpoint.clone(), vec![endpoint.local_addr()]);
    renewal::keep(&process, identity);
    Ok((process, endpoint))
}

/// The owner that stands for a process as a borrower (number 0), where no driver or worker is one from the start.
pub(crate) fn own_borrower(process: &Arc<Process>) {
    process.new_owner(JobId(uuid::Uuid::nil()), Arc::from(""));
}
