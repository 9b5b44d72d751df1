//! Ending actors.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use crate::actor::client::Client;
use crate::api::error::Result;
use crate::api::handle::{Actor, Handle};
use crate::api::named::ask_gcs_on;
use crate::api::op::Op;
use crate::protocol::{AskGcs, GcsAnswer, ToGcs};

/// Ends an actor now, whatever it runs; its unfinished calls fail with `ActorDied`, and once the kill is answered what it
/// owned is `OwnerDied` for whoever killed it.
///
/// # Errors
///
/// `Connection` if the GCS does not answer. That the actor is dead already is none.
pub fn kill<A: Actor>(handle: &Handle<A>) -> Kill {
    Kill { client: Arc::clone(handle.raw().client()), no_restart: true }
}

/// A `kill` that was described and not begun.
#[must_use = "nothing is killed until this is awaited, or `.blocking()` is called"]
pub struct Kill {
    client: Arc<Client>,
    no_restart: bool,
}

impl fmt::Debug for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kill({})", self.client.id)
    }
}

impl Kill {
    /// Whether the actor stays dead; default true. With false it restarts if its `max_restarts` allow.
    pub fn no_restart(mut self, stay_dead: bool) -> Self {
        self.no_restart = stay_dead;
        self
    }

    fn op(self) -> Op<()> {
        Op::new(async move {
            let question = AskGcs::Kill { actor: self.client.id, no_restart: self.no_restart };
            // What is called from now on must not reach the incarnation that ends.
            self.client.real().expect_end();
            let process = &self.client.process;
            let done = ask_gcs_on(self.client.kill_lane(), process, question).await.map(|answer| {
                if let GcsAnswer::Killed { owner: Some(owner) } = answer
                    && owner.process != process.id
                {
                    // Others hear it on their way; whoever killed it shall know now.
                    process.owner_gone(owner);
                }
            });
            if done.is_err() {
                let (actor, to) = (self.client.id, self.client.process.address());
                self.client.process.tell_gcs(ToGcs::Subscribe { actor, owner: None, to });
            }
            done
        })
    }

    /// Kills on the calling thread.
    ///
    /// # Errors
    ///
    /// `Connection` if the GCS does not answer, and `InvalidArgument` on a thread of an async runtime.
    pub fn blocking(self) -> Result<()> {
        self.op().blocking()
    }
}

impl IntoFuture for Kill {
    type Output = Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        self.op().into_future()
    }
}

/// Ends the actor that runs this, on purpose: it is never restarted, and its unfinished calls fail with `ActorDied`.
///
/// # Panics
///
/// Always, inside an actor, in a way that only Actinic catches; outside of one, the task that calls it fails.
pub fn exit_actor() -> ! {
    if crate::worker::host::with_current(|current| current.is_none()) {
        panic!("exit_actor() was called outside an actor: call it in a method of the actor that shall end");
    }
    crate::worker::job::exit_thread()
}
