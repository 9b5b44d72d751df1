//! `actix::Actor`s made remote: how their class says that they are, and the table of their messages.

use std::any::{Any, TypeId};
use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;

use actix::dev::MessageResponse;
use actix::fut::{ActorFutureExt, LocalBoxActorFuture};
use actix::{Actor, AtomicResponse, Context, Handler, Message, ResponseActFuture, ResponseFuture};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::{ActorEntry, ActorState, LocalBoxFuture, MethodEntry, Outcome, stable_hash};
use crate::actor::actix::{Hosted, Unstarted};
use crate::api::error::Error;
use crate::program::KnownMethod;

/// An `actix::Actor` that was constructed and not started.
pub struct ActixState(pub(crate) Box<dyn Hosted>);

impl fmt::Debug for ActixState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActixState")
    }
}

/// How actors of a type are hosted: what its own items say if the type is an `actix::Actor`, else those of [`PlainHost`].
///
/// The compiler decides where the macro expands, which names the type.
pub struct HostOf<A>(PhantomData<A>);

impl<A> fmt::Debug for HostOf<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostOf")
    }
}

impl<A: Actor<Context = Context<A>>> HostOf<A> {
    /// Whether it is an `actix::Actor`.
    pub const ACTIX: bool = true;

    /// What makes the state, which never leaves the thread that it is made on.
    pub fn new_state() -> fn(A) -> ActorState {
        |actor| ActorState::Actix(ActixState(Box::new(Unstarted(actor))))
    }

    /// The same: on its one thread nothing is shared.
    pub fn shared_state() -> fn(A) -> ActorState {
        Self::new_state()
    }

    /// The same.
    pub fn beside_state() -> fn(A) -> ActorState {
        Self::new_state()
    }
}

/// How actors are hosted that are no `actix::Actor`s.
pub trait PlainHost<A> {
    /// Whether it is an `actix::Actor`.
    const ACTIX: bool = false;

    /// As [`ActorState::new`].
    fn new_state() -> fn(A) -> ActorState
    where
        A: Send + 'static,
    {
        ActorState::new
    }

    /// As [`ActorState::shared`].
    fn shared_state() -> fn(A) -> ActorState
    where
        A: Send + Sync + 'static,
    {
        ActorState::shared
    }

    /// As [`ActorState::beside`].
    fn beside_state() -> fn(A) -> ActorState
    where
        A: Send + Sync + 'static,
    {
        ActorState::beside
    }
}

impl<A> PlainHost<A> for HostOf<A> {}

/// Compiles for actors of Actinic's that are `actix::Actor`s in an `actix::Context`.
pub const fn is_actix_actor<A: crate::api::handle::Actor + Actor<Context = Context<A>>>() {}

/// Compiles for messages that can travel.
pub const fn is_message<M: Message + Serialize + DeserializeOwned>() {}

/// The `actix::Handler` of a message, as the macro registers it.
pub struct MessageEntry {
    actor: fn() -> &'static ActorEntry,
    message: fn() -> &'static str,
    pub(crate) method: MethodEntry,
    /// Its place in the table of the actor's methods and messages.
    at: OnceLock<usize>,
}

impl MessageEntry {
    /// Describes a handler; the macro's expansion is the only caller.
    pub const fn new(actor: fn() -> &'static ActorEntry, message: fn() -> &'static str, method: MethodEntry) -> Self {
        MessageEntry { actor, message, method, at: OnceLock::new() }
    }

    pub(crate) fn known(&'static self) -> &'static KnownMethod {
        let known = (self.actor)().known();
        let at = self.at.get_or_init(|| {
            let own = known.iter().position(|known| std::ptr::eq(known.entry, &self.method));
            // The table holds every linked entry, and this is one.
            own.unwrap_or(known.len())
        });
        &known[*at]
    }
}

impl fmt::Debug for MessageEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageEntry({})", (self.message)())
    }
}

/// The handlers that the linker found.
#[linkme::distributed_slice]
pub static MESSAGES: [MessageEntry];

/// The messages of an actor and their ids.
pub(super) fn messages_of(actor: &ActorEntry) -> impl Iterator<Item = (&'static MethodEntry, u64)> {
    let own: Vec<&'static MessageEntry> =
        MESSAGES.iter().filter(|entry| std::ptr::eq((entry.actor)(), actor)).collect();
    let ids = message_ids(&own);
    own.into_iter().map(|entry| &entry.method).zip(ids)
}

/// By name and shape, as of methods; messages that are written alike and are not the same are told apart by their paths.
fn message_ids(entries: &[&MessageEntry]) -> Vec<u64> {
    let plain: Vec<u64> = entries.iter().map(|entry| entry.method.id()).collect();
    let id = |(entry, id): (&&MessageEntry, &u64)| match plain.iter().filter(|other| *other == id).count() {
        1 => *id,
        _ => stable_hash(&[&id.to_le_bytes(), (entry.message)().as_bytes()]),
    };
    entries.iter().zip(&plain).map(id).collect()
}

/// What a handler came to at once.
pub struct Begun(pub(crate) Answer);

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Begun")
    }
}

pub(crate) enum Answer {
    Done(Outcome),
    /// A future that needs its actor no more.
    Future(LocalBoxFuture<Outcome>),
    /// A `LocalBoxActorFuture<A, Outcome>`, to be polled with the actor.
    ActorFuture(Box<dyn Any>),
    /// The same, which the actor's context polls alone: it says when it is done.
    Atomic(LocalBoxFuture<Outcome>),
}

/// Calls the handler of a message. Whatever it answers with that is a future comes back as one, so that whoever polls
/// it can catch its panics, and cancel it.
pub fn handle<A, M>(actor: &mut dyn Any, context: &mut dyn Any, message: M, finish: fn(M::Result) -> Outcome) -> Begun
where
    A: Actor<Context = Context<A>> + Handler<M>,
    A::Result: 'static,
    M: Message + 'static,
{
    let (Some(actor), Some(context)) = (actor.downcast_mut::<A>(), context.downcast_mut::<Context<A>>()) else {
        super::other_class::<A>()
    };
    let mut response = Some(actor.handle(message, context));
    if let Some(future) = take::<ResponseFuture<M::Result>>(&mut response) {
        return Begun(Answer::Future(Box::pin(async move { finish(future.await) })));
    }
    if let Some(future) = take::<ResponseActFuture<A, M::Result>>(&mut response) {
        let future: LocalBoxActorFuture<A, Outcome> = Box::pin(future.map(move |result, _, _| finish(result)));
        return Begun(Answer::ActorFuture(Box::new(future)));
    }
    let (tell, mut hear) = oneshot::channel();
    if let Some(response) = response {
        response.handle(context, Some(tell));
    }
    let later = match hear.try_recv() {
        Ok(result) => return Begun(Answer::Done(finish(result))),
        Err(TryRecvError::Closed) => return Begun(Answer::Done(Err(unanswered()))),
        Err(TryRecvError::Empty) => Box::pin(async move { hear.await.map_or_else(|_| Err(unanswered()), finish) }),
    };
    if TypeId::of::<A::Result>() == TypeId::of::<AtomicResponse<A, M::Result>>() {
        return Begun(Answer::Atomic(later));
    }
    Begun(Answer::Future(later))
}

/// The value, if it is of this type.
fn take<T: 'static>(value: &mut dyn Any) -> Option<T> {
    value.downcast_mut::<Option<T>>()?.take()
}

fn unanswered() -> Error {
    Error::task("the handler dropped its answer, and gave none")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::options::MethodOptions;
    use crate::program::{MethodCall, NumReturns};

    fn entry(name: &'static str, signature: &'static str, message: fn() -> &'static str) -> MessageEntry {
        let call = MethodCall::Actix(|_, _, _| Err(unanswered()));
        let method = MethodEntry::new(name, signature, call, NumReturns::Fixed(1), MethodOptions::new);
        MessageEntry::new(|| unreachable!("no actor is asked for"), message, method)
    }

    #[test]
    fn messages_have_the_ids_of_methods() {
        let add = entry("Add", "Handler<Add> -> i64", || "one::Add");
        assert_eq!(message_ids(&[&add]), [add.method.id()]);
        let get = entry("Get", "Handler<Get> -> i64", || "one::Get");
        assert_eq!(message_ids(&[&get, &add])[1], add.method.id());
    }

    #[test]
    fn messages_that_are_written_alike_are_told_apart() {
        let one = entry("Add", "Handler<Add> -> i64", || "one::Add");
        let two = entry("Add", "Handler<Add> -> i64", || "two::Add");
        let ids = message_ids(&[&one, &two]);
        assert_ne!(ids[0], ids[1]);
        assert_eq!(message_ids(&[&two, &one]), [ids[1], ids[0]]);
    }

    #[test]
    fn a_response_is_taken_by_its_type() {
        let mut response = Some(7_i64);
        assert_eq!(take::<String>(&mut response), None);
        assert_eq!(take::<i64>(&mut response), Some(7));
        assert_eq!(take::<i64>(&mut response), None);
    }
}
