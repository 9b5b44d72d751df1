//! What programs often need beside tasks and actors.

pub use crate::state;
