//! What tests, examples and benches of real daemons have in common. It has no remote functions, which whoever links it
//! would have too.

pub mod command;
pub mod processes;
