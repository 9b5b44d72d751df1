//! Messages to `actix::Actor`s.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::handle::{Actor, Handle, With};
use crate::api::object_ref::ObjectRef;
use crate::call::Args;
use crate::program::MessageEntry;
use crate::rt::RawHandle;

/// An actor that takes the message `M` from anywhere: what `#[actinic::remote]` on an `impl actix::Handler<M>` makes of
/// it.
///
/// The actor itself is an `actix::Actor`, with `actix::Context`, whose constructor `new` is in an `impl` block with
/// `#[actinic::remote]`, as every actor's is. It is constructed on one of its worker's arbiters and stays there, so it
/// need not be `Send`: `started` runs before its first message, `stopping` and `stopped` when it ends in order. A killed
/// one runs them only where its worker is a thread.
///
/// - A handler may answer with a value, `ResponseFuture`, `ResponseActFuture`, `AtomicResponse` or any other
///   `MessageResponse`. Messages begin in the order of their caller; answers that are futures overlap, up to
///   `max_concurrency` (1000 if the attribute does not say).
/// - `ctx.stop()` ends the actor for good, as [`exit_actor`](crate::exit_actor) does. Where Actinic ends it (`stop`,
///   the last handle), a `stopping` that answers `Running::Continue` is not heeded.
/// - A panic in a handler, or in what it answers with, is the error of the call. One that Actix's context meets by itself
///   (in `ctx.spawn`, an interval, an `AtomicResponse`) breaks the context too, and the actor restarts if it may.
/// - It shares its arbiter with other actors: `new` and the handlers must not block, and `.blocking()` there is an error.
///   The `impl` block may have sync methods beside `new`, which run between messages.
///
/// ```
/// use actinic::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(actix::Message, Serialize, Deserialize)]
/// #[rtype(result = "i64")]
/// struct Add(i64);
///
/// struct Sum(i64);
///
/// #[actinic::remote]
/// impl Sum {
///     pub fn new(start: i64) -> Self { Sum(start) }
/// }
///
/// #[actinic::remote]
/// impl actix::Actor for Sum {
///     type Context = actix::Context<Self>;
/// }
///
/// #[actinic::remote]
/// impl actix::Handler<Add> for Sum {
///     type Result = i64;
///     fn handle(&mut self, message: Add, _: &mut Self::Context) -> i64 {
///         self.0 += message.0;
///         self.0
///     }
/// }
///
/// #[actinic::main]
/// async fn main() -> actinic::Result<()> {
///     let cluster = actinic::init().await?;
///     let sum: Handle<Sum> = Sum::remote(40);
///     assert_eq!(Handle::send(&sum, Add(2)).await?, 42);
///     cluster.shutdown().await
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not take the message `{M}` remotely",
    note = "put `#[actinic::remote]` on the `impl actix::Handler<{M}> for {Self}`"
)]
pub trait RemoteHandler<M>: Actor {
    /// What the ref of a call is of: the message's result; of a `Result`, the value of its `Ok`.
    type Output;

    /// The handler as it is registered.
    #[doc(hidden)]
    fn entry() -> &'static MessageEntry;
}

impl<A: Actor> Handle<A> {
    /// Sends a message to an `actix::Actor`; what goes wrong is the error of the ref.
    ///
    /// The actor's handler of it needs `#[actinic::remote]`: see [`RemoteHandler`], which has an example.
    pub fn send<M>(this: &Self, message: M) -> ObjectRef<<A as RemoteHandler<M>>::Output>
    where
        M: Serialize + DeserializeOwned,
        A: RemoteHandler<M>,
    {
        send::<A, M>(this.raw(), &message)
    }
}

impl<A: Actor> With<A> {
    /// Sends a message with these options: `With::send(&Handle::with(&h, options), message)`.
    pub fn send<M>(this: &Self, message: M) -> ObjectRef<<A as RemoteHandler<M>>::Output>
    where
        M: Serialize + DeserializeOwned,
        A: RemoteHandler<M>,
    {
        send::<A, M>(this.raw(), &message)
    }
}

fn send<A, M>(handle: &RawHandle, message: &M) -> ObjectRef<A::Output>
where
    M: Serialize + DeserializeOwned,
    A: RemoteHandler<M>,
{
    let entry = <A as RemoteHandler<M>>::entry();
    let mut args = Args::new();
    args.push_value("message", message);
    handle.call_known(&entry.method, entry.known(), args).one()
}
