//! Whole-cluster tests, through the public interface only: one module a group of behaviours, one test a behaviour,
//! with the id of its case in its documentation.

#![allow(clippy::unwrap_used)] // a test that unwraps an error fails, which is what it is for
#![allow(unreachable_pub)] // `pub` makes an actor's method a remote one, in a program too that nobody imports

#[macro_use]
mod support;

mod actors;
mod bad_input;
mod basics;
mod cancelling;
mod capping;
mod daemons;
mod dependencies;
mod destructors;
mod events;
mod faults;
mod first_program;
mod harness;
mod interface;
mod library;
mod limits;
mod lineage;
mod objects;
mod oracle;
mod promise;
mod relay;
mod resources;
mod retries;
mod returns;
mod scheduling;
mod simulation;
mod store;
mod urgent;
mod values;
mod waiting;
