//! The floor: programs that do nothing but the named thing, with the same libraries, as well as we can write them.

pub(crate) mod mailbox;
pub(crate) mod quic;
pub(crate) mod threads;
