//! `cancel`: a call, and the calls that it made.

use std::collections::BTreeSet;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use crate::api::error::Result;
use crate::api::object_ref::Ref;
use crate::api::op::{block_on, check_may_block};
use crate::object::{RawRef, Target};
use crate::owner::remote::Cancelling;
use crate::process::Process;
use crate::worker::host::WaitsFor;

/// Cancels the task or actor call that makes an object; a finished one keeps its value.
///
/// The refs fail at once. When the operation is done, what had not begun never will, and what runs has been told: an
/// async function is dropped at its next await, a sync one sees it by [`crate::Context::is_cancelled`].
///
/// # Errors
///
/// `InvalidArgument` for what cannot be ended by force: it goes on, and so does all that it submitted.
pub fn cancel<R: Ref>(object: &R) -> Cancel {
    Cancel { object: object.raw_ref().0.clone(), force: false, recursive: true }
}

/// A cancellation that was described and not begun.
#[derive(Debug)]
#[must_use = "nothing is cancelled until this is awaited, or `.blocking()` is called"]
pub struct Cancel {
    object: RawRef,
    force: bool,
    recursive: bool,
}

impl Cancel {
    /// Whether to end the process of a task that runs and does not look; default false.
    ///
    /// A sync function's process is ended at once, an async one's if it has not ended half a second after it was told.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Whether the tasks that it submitted are cancelled too; default true.
    pub fn recursive(mut self, recursive: bool) -> Self {
        self.recursive = recursive;
        self
    }

    async fn run(self) -> Result<()> {
        match self.object.target() {
            Target::Owned(task, ..) => task.owner.cancel_until_told(task, self.force, self.recursive).await,
            Target::Borrowed(borrowed, _) => {
                borrowed.process.ask_cancel(borrowed.id.task, self.force, self.recursive).await
            }
        }
    }

    /// Cancels on the calling thread.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for what cannot be ended by force, and on a thread of an async runtime.
    pub fn blocking(self) -> Result<()> {
        check_may_block()?;
        block_on(Box::pin(self.run()), WaitsFor::Word)?
    }
}

impl IntoFuture for Cancel {
    type Output = Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl Process {
    /// Cancels what a task submitted from this process. Children are cancelled as the parent is, but never by force.
    pub(crate) fn cancel_children(&self, parent: crate::ids::TaskId) -> Vec<Cancelling> {
        self.cancel_children_of(&BTreeSet::from([parent.mark()]))
    }

    /// The same of several, by their marks.
    pub(crate) fn cancel_children_of(&self, parents: &BTreeSet<u64>) -> Vec<Cancelling> {
        let owners = self.owners();
        let children =
            |of: &dyn Fn(u64) -> bool| owners.iter().flat_map(|owner| owner.children(of)).collect::<Vec<_>>();
        let mut next = children(&|parent| parents.contains(&parent));
        let mut cancelling = Vec::new();
        // Generation by generation, however deep they are.
        while !next.is_empty() {
            let marks: BTreeSet<u64> = next.iter().map(|task| task.id().mark()).collect();
            let grandchildren = children(&|parent| marks.contains(&parent));
            for task in next {
                cancelling.extend(task.owner.cancel_children_away(&task));
                cancelling.extend(task.owner.cancel(&task, false));
            }
            next = grandchildren;
        }
        cancelling
    }
}
