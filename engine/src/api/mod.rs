//! The public interface.

pub mod buffer;
pub mod cluster;
pub mod context;
pub mod error;
pub mod error_kind;
pub mod get;
pub mod handle;
pub mod into_arg;
pub mod object_ref;
pub mod op;
pub mod options;
pub mod private_method;
pub(crate) mod scope;
