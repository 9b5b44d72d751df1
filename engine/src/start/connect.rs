//! Connecting a program to a started cluster.

use actinic_transport::JoinKind;

use crate::api::cluster::Cluster;
use crate::api::error::{Error, Result};
use crate::env::Env;
use crate::start::local;

/// Connects to the cluster at an address, or to the one that was started on this machine.
pub(crate) fn connect(env: Env, address: &str, token: Option<String>, namespace: Option<String>) -> Result<Cluster> {
    if env.world().is_some() {
        return Err(Error::invalid_argument(format!("a simulation has no network to {address}"))
            .remedy("connect outside of it; another driver of a simulated cluster is `cluster.driver()`"));
    }
    let (address, token) = find(&env, address, token)?;
    let running = crate::start::join_cluster(env, address, token, JoinKind::Driver)?;
    Ok(Cluster::of(running, namespace))
}

/// The address and the token that are meant: `auto` finds both in the state directory of this machine, and so does
/// the address of a node of this machine find its token.
pub(crate) fn find(env: &Env, address: &str, token: Option<String>) -> Result<(String, String)> {
    let token = token.or_else(|| env.var("ACTINIC_TOKEN")).filter(|token| !token.is_empty());
    let base = local::base(None);
    if address == "auto" {
        local::verify(&base)?;
        return match local::auto(&base) {
            Some(entry) => Ok((entry.address.to_string(), entry.token)),
            None => Err(Error::connection(format!(
                "no cluster was started on this machine: there is no running node in {}",
                base.display()
            ))
            .remedy("start one with `actinic start --head`, or name one: `.address(\"host:port\").token(\"..\")`")),
        };
    }
    // Before a token is missed: there is none for what is no address.
    crate::start::join::check(address)?;
    if let Some(token) = token {
        return Ok((address.to_owned(), token));
    }
    match local::at(&base, address) {
        Some(entry) => Ok((entry.address.to_string(), entry.token)),
        None => Err(Error::unauthorized(format!("there is no token for the cluster at {address}"))
            .remedy("give `.token(\"..\")` or ACTINIC_TOKEN; `actinic token show` prints it on the head's machine")),
    }
}
