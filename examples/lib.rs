//! Programs of Ray's tutorials in Rust, one file each; see the files beside this one.
//!
//! `cargo run --example NAME` runs one on threads. The same program runs with worker processes if
//! `ACTINIC_WORKERS=processes` is set, and on a started cluster if `ACTINIC_ADDRESS` is.

pub mod digits;

use std::fmt::Display;
use std::str::FromStr;
use std::time::{Duration, Instant};

use actinic::{Cluster, Error, Usage};

/// `actinic::init()` with this many logical CPUs; a started cluster has those that its nodes were given.
pub fn init(num_cpus: u32) -> actinic::Init {
    let init = actinic::init();
    if connects() { init } else { init.num_cpus(num_cpus) }
}

/// Whether the environment names a started cluster, which has the resources that it has.
pub fn connects() -> bool {
    std::env::var("ACTINIC_ADDRESS").is_ok_and(|address| !address.is_empty())
}

/// Shuts the cluster down after all that was used has been given back: resources, objects, refs.
///
/// # Errors
///
/// `Error::Other` if something is still in use after a minute.
pub async fn finish(cluster: Cluster) -> actinic::Result<()> {
    free_again(&cluster, Duration::from_secs(60), 0).await?;
    cluster.shutdown().await
}

/// As [`finish`], on a thread without a runtime.
///
/// # Errors
///
/// As [`finish`].
pub fn finish_blocking(cluster: Cluster) -> actinic::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Error::other)?.block_on(finish(cluster))
}

/// Waits until every resource is free, and nothing is kept but so many results and objects of this program. Large ones lie
/// in a store, and what they can be made of again is kept with them.
///
/// # Errors
///
/// `Error::Other` if something is still in use after that time.
pub async fn free_again(cluster: &Cluster, within: Duration, kept: usize) -> actinic::Result<()> {
    let until = Instant::now() + within;
    loop {
        let (free, all, usage) = (cluster.available_resources(), cluster.resources(), cluster.usage().await?);
        let mut wanted = Usage::default();
        (wanted.owned, wanted.stored) = match (kept, usage.stored) {
            (0, _) | (_, 0) => (kept, 0),
            (_, stored) => (usage.owned, stored),
        };
        if free == all && usage == wanted {
            return Ok(());
        }
        if Instant::now() > until {
            let left = format!("still in use after {within:?}: {free:?} are free of {all:?}, and {usage:?} is kept");
            return Err(Error::other(std::io::Error::other(left)));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The argument at a position of the command line, or what it is by default.
///
/// # Errors
///
/// `Error::Other` if there is one and it is not of that kind.
pub fn argument<T: FromStr<Err: Display>>(position: usize, default: T) -> actinic::Result<T> {
    let Some(text) = std::env::args().nth(position) else { return Ok(default) };
    text.parse().map_err(|error| Error::other(format!("argument {position}, `{text}`: {error}")))
}

/// As [`argument`], of which less makes no sense.
///
/// # Errors
///
/// As those of [`argument`], and if there is less.
pub fn argument_from<T: FromStr<Err: Display> + PartialOrd + Display>(
    position: usize,
    least: T,
    default: T,
) -> actinic::Result<T> {
    let given = argument(position, default)?;
    if given < least {
        return Err(Error::other(format!("argument {position}, `{given}`: it is {least} at least")));
    }
    Ok(given)
}
