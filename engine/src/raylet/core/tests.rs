//! The core by itself, rule by rule; a small cluster of cores under model owners; and random sequences.

mod cluster;
mod harness;
mod leases;
mod model;
mod order;
mod placement;
mod random;
mod sharing;
mod workers;
