//! The transport's promises, most of them over the simulated network.

#![allow(clippy::unwrap_used)]

mod bulk_and_relay;
mod delivery;
mod endings;
mod hostile;
mod joins;
mod real;
mod simulation;
mod support;
