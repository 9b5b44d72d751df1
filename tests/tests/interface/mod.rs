//! Every spelling of the public interface, in every form that its text allows: most of it needs only to compile.

#![allow(
    clippy::needless_borrows_for_generic_args,
    clippy::cloned_ref_to_slice_refs,
    reason = "the borrowed forms are what is tested"
)]

mod actors;
mod context;
mod errors;
mod objects;
mod scope;
mod start;
mod tasks;
mod testing;

/// What an operation promises of its type: it is awaited, borrows nothing, and may go to another thread.
fn is_op<T, O>(operation: O) -> O
where
    O: IntoFuture<Output = actinic::Result<T>> + Send + 'static,
{
    operation
}

fn is_send<T: Send + 'static>(_: &T) {}

fn is_shared<T: Send + Sync + 'static>(_: &T) {}

/// Runs sync code where it may block, in the cluster's scope.
async fn blocking<T: Send + 'static>(code: impl FnOnce() -> actinic::Result<T> + Send + 'static) -> actinic::Result<T> {
    tokio::task::spawn_blocking(code).await.map_err(actinic::Error::other)?
}
