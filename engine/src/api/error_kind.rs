//! How the error type of a user's `Result` becomes an [`Error`].
//!
//! The macro emits `(&&&&&&ErrorOf::new(error)).convert()` with the traits of this module in scope. The compiler
//! takes the first that applies, at the outermost reference: Actinic's own error keeps its kind (in a `Box<dyn Error>` too), an error that is
//! serde arrives typed, others arrive as the text of their chain, as what they display, or as what they debug-print.

use std::any::{Any, TypeId};
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::{Debug, Display};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::error::Error;

/// An error on its way, taken out once.
pub struct ErrorOf<E>(Cell<Option<E>>);

impl<E> ErrorOf<E> {
    /// Wraps an error.
    pub fn new(error: E) -> Self {
        ErrorOf(Cell::new(Some(error)))
    }

    fn take(&self, convert: impl FnOnce(E) -> Error) -> Error {
        match self.0.take() {
            Some(error) => convert(error),
            None => Error::task("an error that was already taken"),
        }
    }
}

impl<E> Debug for ErrorOf<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ErrorOf")
    }
}

/// What a function returned.
fn returned(error: Error) -> Error {
    match error {
        Error::Task { .. } => error.or_remedy(
            "the remote function returned this: handle it there or here, or let it be tried again with `retry_errors` or \
             `retry_if`",
        ),
        own => own,
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident<$E:ident: [$($bound:tt)*]> for $target:ty => |$error:ident| $convert:expr;)*) => {$(
        $(#[$doc])*
        pub trait $kind {
            /// The error as Actinic's.
            fn convert(&self) -> Error;
        }

        impl<$E: $($bound)*> $kind for $target {
            fn convert(&self) -> Error {
                self.take(|$error: $E| $convert)
            }
        }
    )*};
}

/// Actinic's own error, which keeps its kind, also out of a box.
pub trait OwnKind {
    /// The error as Actinic's.
    fn convert(&self) -> Error;
}

impl OwnKind for &&&&&ErrorOf<Error> {
    fn convert(&self) -> Error {
        self.take(Error::sent)
    }
}

macro_rules! boxed {
    ($($target:ty),*) => {$(
        impl OwnKind for &&&&&ErrorOf<$target> {
            fn convert(&self) -> Error {
                self.take(|error| returned(Error::from_std(&*error).sent()))
            }
        }
    )*};
}
// A box of one kind of error is not `Into` the box of another.
boxed!(Box<dyn std::error::Error>, Box<dyn std::error::Error + Send>, Box<dyn std::error::Error + Send + Sync>);

kinds! {
    /// An error that is serde.
    TypedKind<E: [std::error::Error + Serialize + DeserializeOwned + Send + Sync + 'static]> for &&&&ErrorOf<E> => |error| {
        returned(Error::typed(error).sent())
    };
    /// Any other error, `anyhow::Error`, `String` and `&str`.
    BoxedKind<E: [Into<Box<dyn std::error::Error>>]> for &&&ErrorOf<E> => |error| {
        let error: Box<dyn std::error::Error> = error.into();
        returned(Error::from_std(&*error).sent())
    };
    /// Something that can be displayed.
    DisplayKind<E: [Display]> for &&ErrorOf<E> => |error| returned(Error::from_display(&error));
    /// Something that can be debug-printed.
    DebugKind<E: [Debug]> for &ErrorOf<E> => |error| returned(Error::from_display(&format!("{error:?}")));
    /// Something that says nothing.
    SilentKind<E: []> for ErrorOf<E> => |_error| {
        let text = format!("an error of type `{}`, which cannot be printed", std::any::type_name::<E>());
        returned(Error::from_display(&text))
    };
}

// ---- how errors that arrive are read

/// A decoded error.
pub(crate) type Decoded = Arc<dyn Any + Send + Sync>;
type Decode = fn(&[u8]) -> Option<Decoded>;

/// An error type that is serde: what [`Error::typed`] calls it, and how it is read.
#[derive(Clone, Copy)]
pub struct ErrorType {
    name: &'static str,
    id: TypeId,
    decode: Decode,
}

impl Debug for ErrorType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl ErrorType {
    pub(crate) fn of<E: DeserializeOwned + Send + Sync + 'static>() -> ErrorType {
        fn decode<E: DeserializeOwned + Send + Sync + 'static>(bytes: &[u8]) -> Option<Decoded> {
            let decoded: E = postcard::from_bytes(bytes).ok()?;
            Some(Arc::new(decoded))
        }
        ErrorType { name: std::any::type_name::<E>(), id: TypeId::of::<E>(), decode: decode::<E> }
    }
}

/// The error type of a remote signature, if it is serde.
#[derive(Debug)]
pub struct ErrorEntry(fn() -> Option<ErrorType>);

impl ErrorEntry {
    /// What the macro found.
    pub const fn new(known: fn() -> Option<ErrorType>) -> ErrorEntry {
        ErrorEntry(known)
    }
}

/// The error types of the program's remote signatures that the linker found.
#[linkme::distributed_slice]
pub static ERRORS: [ErrorEntry];

/// Stands for a type; as with [`ErrorOf`], the compiler takes the first trait that applies to two references of it.
pub struct TypeOf<E>(PhantomData<fn() -> E>);

impl<E> Default for TypeOf<E> {
    fn default() -> Self {
        TypeOf::new()
    }
}

impl<E> Debug for TypeOf<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TypeOf")
    }
}

impl<E> TypeOf<E> {
    /// Of a type.
    pub const fn new() -> Self {
        TypeOf(PhantomData)
    }
}

/// Of an error that arrives typed.
pub trait KnownType {
    /// How it is read.
    fn known(&self) -> Option<ErrorType>;
}

impl<E: std::error::Error + Serialize + DeserializeOwned + Send + Sync + 'static> KnownType for &TypeOf<E> {
    fn known(&self) -> Option<ErrorType> {
        Some(ErrorType::of::<E>())
    }
}

/// Of any other.
pub trait OtherType {
    /// Nothing reads it.
    fn known(&self) -> Option<ErrorType>;
}

impl<E> OtherType for TypeOf<E> {
    fn known(&self) -> Option<ErrorType> {
        None
    }
}

fn types() -> &'static Mutex<HashMap<TypeId, Decode>> {
    static TYPES: OnceLock<Mutex<HashMap<TypeId, Decode>>> = OnceLock::new();
    TYPES.get_or_init(|| {
        let known = ERRORS.iter().filter_map(|entry| (entry.0)());
        Mutex::new(known.map(|known| (known.id, known.decode)).collect())
    })
}

/// One of this type may arrive, or come back.
pub(crate) fn remember(known: ErrorType) {
    types().lock().unwrap_or_else(PoisonError::into_inner).entry(known.id).or_insert(known.decode);
}

/// Reads an error of a type that some signature names, or that was made in this process.
pub(crate) fn decode<E: 'static>(bytes: &[u8]) -> Option<Decoded> {
    let decode = types().lock().unwrap_or_else(PoisonError::into_inner).get(&TypeId::of::<E>()).copied()?;
    // Its `Deserialize` is the user's: not under the lock.
    decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Serialize, serde::Deserialize, PartialEq, thiserror::Error)]
    #[error("no such row {0}")]
    struct NoRow(u32);

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::num::ParseIntError);

    #[derive(Debug)]
    struct OnlyDebug;

    struct Silent;

    macro_rules! convert {
        ($error:expr) => {
            (&&&&&&ErrorOf::new($error)).convert()
        };
    }

    #[test]
    fn each_error_arrives_as_the_most_that_it_can_be() {
        let timeout = convert!(Error::get_timeout("late"));
        assert!(matches!(timeout, Error::GetTimeout { .. }));
        assert_eq!(convert!(NoRow(7)).downcast_ref::<NoRow>(), Some(&NoRow(7)));
        let outer = convert!(Outer("x".parse::<i32>().unwrap_err()));
        assert_eq!(outer.detail().chain, ["outer", "invalid digit found in string"]);
        assert!(convert!("plain").to_string().contains("plain"));
        assert!(convert!(String::from("owned")).to_string().contains("owned"));
        let boxed: Box<dyn std::error::Error + Send + Sync> = Error::get_timeout("late").into();
        assert!(matches!(convert!(boxed), Error::GetTimeout { .. }));
        let local: Box<dyn std::error::Error> = "local".into();
        assert!(convert!(local).to_string().contains("local"));
        assert!(convert!(format_args!("shown")).to_string().contains("shown"));
        assert!(convert!(OnlyDebug).to_string().contains("OnlyDebug"));
        assert!(convert!(Silent).to_string().contains("Silent"));
    }
}
