//! How the error type of a user's `Result` becomes an [`Error`].
//!
//! The macro emits `(&&&&&&ErrorOf::new(error)).convert()` with the traits of this module in scope. The compiler
//! takes the first that applies, at the outermost reference: Actinic's own error keeps its kind (in a `Box<dyn Error>` too), an error that is
//! serde arrives typed, others arrive as the text of their chain, as what they display, or as what they debug-print.

use std::cell::Cell;
use std::fmt::{Debug, Display};

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
    TypedKind<E: [std::error::Error + Serialize + DeserializeOwned + 'static]> for &&&&ErrorOf<E> => |error| {
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
