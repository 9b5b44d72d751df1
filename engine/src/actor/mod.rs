//! Actors: the caller's side ([`client`]) and the side that runs them ([`host`]).

pub(crate) mod actix;
pub(crate) mod begin;
mod beside;
mod callers;
pub(crate) mod client;
pub(crate) mod credit;
pub(crate) mod host;
pub(crate) mod local;
mod queues;
pub(crate) mod threads;
mod turn;
