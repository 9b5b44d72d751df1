//! Methods without `pub` in a remote impl: remote where their types allow it, plain helpers where not.
//!
//! Whether a type is serde is decided where the macro expands, as in [`error_kind`](crate::api::error_kind): a
//! private helper may take and return anything. Calling such a helper through a handle does not compile. Nor does a
//! helper ask anything of the actor's state: whether that is `Sync` is decided there too.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::error::{Error, Result};
use crate::api::into_arg::IntoArg;
use crate::call::{Args, TaskArgs, return_one};
use crate::program::{ActorState, Outcome};

/// How a method returns a `T`, which gives its ref its type. It is said of the method as a function of the actor, whose
/// result may have a lifetime that is not written: that of the actor, so that it is no `T`, and cannot be asked for.
pub trait Returning<T> {}

impl<A: ?Sized, T> Returning<T> for fn(&A) -> T {}

/// How a method takes a `P` for a parameter: said of a function of that parameter alone, whose type may have a lifetime
/// that is not written, so that nothing can be passed for it.
pub trait Taking<P> {
    /// Appends the argument.
    fn push(args: &mut Args, name: &'static str, given: P);
}

impl<T, P: IntoArg<T>> Taking<P> for fn(T) {
    fn push(args: &mut Args, name: &'static str, given: P) {
        args.push::<T>(name, given);
    }
}

/// What a method returns that can be sent: only what is `Serialize`.
#[diagnostic::on_unimplemented(
    message = "this method cannot be called remotely: `{Self}` is not `serde::Serialize`",
    label = "returns a `{Self}`"
)]
pub trait Returned {}

impl<T: Serialize> Returned for T {}

/// Whether the calls of an actor's private methods may overlap: `(&&StateOf::<A>::new()).wrap(alone)`.
pub struct StateOf<A>(PhantomData<fn() -> A>);

impl<A> StateOf<A> {
    /// For an actor of type `A`.
    #[expect(clippy::new_without_default, reason = "only the macro's expansion makes one")]
    pub fn new() -> Self {
        StateOf(PhantomData)
    }
}

impl<A> fmt::Debug for StateOf<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateOf")
    }
}

/// What makes the state of an actor.
type Wrap<A> = fn(A) -> ActorState;

/// A state that several threads can read.
pub trait SyncState<A> {
    /// What makes a state whose sync `&self` methods overlap, on threads of their own alone or beside async ones.
    fn wrap(&self, beside_async: bool, alone: Wrap<A>) -> Wrap<A>;
}

impl<A: Send + Sync + 'static> SyncState<A> for &StateOf<A> {
    fn wrap(&self, beside_async: bool, _alone: Wrap<A>) -> Wrap<A> {
        if beside_async { ActorState::beside } else { ActorState::shared }
    }
}

/// A state that one thread at a time has.
pub trait AloneState<A> {
    /// What makes a state whose methods run one at a time.
    fn wrap(&self, beside_async: bool, alone: Wrap<A>) -> Wrap<A>;
}

impl<A> AloneState<A> for StateOf<A> {
    fn wrap(&self, _beside_async: bool, alone: Wrap<A>) -> Wrap<A> {
        alone
    }
}

/// Reads a `T` if it can be read: `(&&ArgOf::<T>::new()).read(args, name)`.
pub struct ArgOf<T>(PhantomData<fn() -> T>);

impl<T> ArgOf<T> {
    /// For a parameter of type `T`.
    #[expect(clippy::new_without_default, reason = "only the macro's expansion makes one")]
    pub fn new() -> Self {
        ArgOf(PhantomData)
    }
}

impl<T> fmt::Debug for ArgOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArgOf")
    }
}

/// A type that can be read.
pub trait ReadableArg<T> {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// `Serialization` if what was sent does not decode as `T`.
    fn read(&self, args: &mut TaskArgs<'_>, name: &'static str) -> Result<T>;
}

impl<T: DeserializeOwned> ReadableArg<T> for &ArgOf<T> {
    fn read(&self, args: &mut TaskArgs<'_>, name: &'static str) -> Result<T> {
        args.next(name)
    }
}

/// A type that cannot be read.
pub trait OtherArg<T> {
    /// Says so.
    ///
    /// # Errors
    ///
    /// Always.
    fn read(&self, args: &mut TaskArgs<'_>, name: &'static str) -> Result<T>;
}

impl<T> OtherArg<T> for ArgOf<T> {
    fn read(&self, _args: &mut TaskArgs<'_>, name: &'static str) -> Result<T> {
        Err(not_serde::<T>(&format!("parameter `{name}`"), "serde::Deserialize"))
    }
}

/// Returns a `T` if it can be sent: `(&&ReturnOf::new(value)).outcome()`.
pub struct ReturnOf<T>(Cell<Option<T>>);

impl<T> ReturnOf<T> {
    /// Wraps a returned value.
    pub fn new(value: T) -> Self {
        ReturnOf(Cell::new(Some(value)))
    }
}

impl<T> fmt::Debug for ReturnOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReturnOf")
    }
}

/// A type that can be sent.
pub trait SendableReturn {
    /// Encodes it.
    ///
    /// # Errors
    ///
    /// `Serialization` if it cannot be encoded.
    fn outcome(&self) -> Outcome;
}

impl<T: Serialize> SendableReturn for &ReturnOf<T> {
    fn outcome(&self) -> Outcome {
        match self.0.take() {
            Some(value) => return_one(value),
            None => Err(Error::task("a result that was already taken")),
        }
    }
}

/// A type that cannot be sent.
pub trait OtherReturn {
    /// Says so.
    ///
    /// # Errors
    ///
    /// Always.
    fn outcome(&self) -> Outcome;
}

impl<T> OtherReturn for ReturnOf<T> {
    fn outcome(&self) -> Outcome {
        Err(not_serde::<T>("the returned value", "serde::Serialize"))
    }
}

fn not_serde<T>(what: &str, bound: &str) -> Error {
    let type_name = std::any::type_name::<T>();
    Error::serialization(format!("{what} of type `{type_name}` is not `{bound}`"))
        .remedy("derive serde's traits for it, or do not call the method remotely")
}
