//! The public interface.

pub(crate) mod as_completed;
pub(crate) mod buffer;
pub(crate) mod calling;
pub(crate) mod cancel;
pub(crate) mod cluster;
pub(crate) mod context;
pub(crate) mod create;
pub(crate) mod error;
pub mod error_kind;
pub(crate) mod get;
pub(crate) mod handle;
pub(crate) mod into_arg;
pub(crate) mod kill;
pub(crate) mod messages;
pub(crate) mod named;
pub(crate) mod object_ref;
pub(crate) mod op;
pub(crate) mod options;
pub mod private_method;
pub(crate) mod put;
pub(crate) mod scope;
pub(crate) mod usage;
pub(crate) mod wait;
