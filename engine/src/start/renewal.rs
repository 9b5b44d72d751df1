//! Certificates are renewed while their process lives: a node's raylet signs its own, others ask it for theirs.
//!
//! A new certificate serves connections from then on; what stands is not disturbed. Only a new public key goes to the
//! raylet, by the session that has proved whose it is.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{Identity, Renewal};

use crate::api::error::{Error, Result};
use crate::process::Process;
use crate::protocol::{AskRaylet, RAYLET, RayletAnswer};
use crate::raylet::RayletLink;

/// The wall clock is looked at so often at least: it may be set, and a machine may sleep.
const LOOK: Duration = Duration::from_secs(3600);
/// A renewal that failed is tried again after so long, or a sixtieth of the certificate's life if that is less.
const AGAIN: Duration = Duration::from_secs(60);
/// Waits are whole steps: the wall clock is read a little off in a simulation, and equal ones must be equal.
const STEP: Duration = Duration::from_millis(100);
/// How long a raylet may take to sign.
const DEADLINE: Duration = Duration::from_secs(10);

/// Renews a process's certificate at two thirds of its life, again and again.
pub(crate) fn keep(process: &Arc<Process>, mut identity: Identity) {
    let weak = Arc::downgrade(process);
    process.spawn(async move {
        while let Some(process) = weak.upgrade().filter(|process| !process.is_closing()) {
            let due = identity.renew_in();
            let wait = if due > STEP {
                rounded(due).min(LOOK)
            } else {
                match renew(&process, &identity).await {
                    Ok(renewed) => {
                        tracing::debug!(process = %process.id, "the certificate of this process was renewed");
                        identity = renewed;
                        continue;
                    }
                    Err(error) => {
                        let again = AGAIN.min(identity.life() / 60);
                        tracing::warn!(target: "actinic", %error, ?again, "the certificate of this process was not renewed");
                        again
                    }
                }
            };
            // It sleeps without the process.
            drop(process);
            tokio::time::sleep(wait).await;
        }
    });
}

fn rounded(due: Duration) -> Duration {
    let steps = (due + STEP / 2).as_millis() / STEP.as_millis();
    STEP.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
}

async fn renew(process: &Process, identity: &Identity) -> Result<Identity> {
    let failed = |error: actinic_transport::SecurityError| Error::unauthorized(error.to_string());
    let renewed = match process.signer.get() {
        Some(signer) => signer.issue(identity.id().incarnation).map_err(failed)?,
        None => {
            let Some(RayletLink::Remote(raylet, _)) = process.raylet.get() else {
                return Err(Error::connection("this process has no raylet to ask"));
            };
            let renewal = Renewal::begin(identity).map_err(failed)?;
            let question = AskRaylet::Renew { public_key: renewal.public_key() };
            match raylet.ask(RAYLET, &question, DEADLINE).await {
                Ok(RayletAnswer::Renewed(grant)) => renewal.complete(grant).map_err(failed)?,
                Ok(_) => return Err(Error::connection("the node answered something else")),
                Err(error) => return Err(Error::connection(format!("the node did not sign: {error}"))),
            }
        }
    };
    let taken = process.endpoint()?.renew(renewed.clone());
    taken.map_err(|error| Error::unauthorized(error.to_string()))?;
    Ok(renewed)
}
