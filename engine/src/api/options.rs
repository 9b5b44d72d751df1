//! What a call, an actor or a method may ask for: resources, names, retries, placement.
//!
//! A setter never fails and never panics: what is wrong with a value is kept, and becomes the error of the refs of
//! the calls that are made with it. Amounts stay the numbers that the user wrote; the scheduler makes whole
//! ten-thousandths of them.

mod call;
mod check;
mod choices;
mod count;
mod setters;
#[cfg(test)]
mod tests;
mod work;

pub(crate) use check::not_empty;

pub use call::{CallOptions, MethodOptions};
pub use choices::{Isolation, Lifetime, OnInfeasible, Scheduling};
pub use count::IntoCount;
pub use work::{ActorOptions, TaskOptions};
