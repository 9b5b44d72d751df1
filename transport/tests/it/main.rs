//! The transport's promises, most of them over the simulated network.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests may, of the machine and of each other

mod bulk_and_relay;
mod delivery;
mod endings;
mod hostile;
mod joins;
mod logs;
mod real;
mod renewal;
mod simulation;
mod stalls;
mod strangers;
mod support;
mod villain;
