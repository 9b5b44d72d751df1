//! What may be passed for a parameter.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::api::object_ref::ObjectRef;
use crate::call::Args;

/// What may be passed to a remote call for a parameter of type `T`.
///
/// - `T` itself, and `&T` where `T: Clone`;
/// - an [`ObjectRef<T>`] or a reference to one: the call runs when the value is there, and gets the value;
/// - `&str` for `String` and `PathBuf`, `&Path` for `PathBuf`;
/// - `&[T]`, `[T; N]` and `&[T; N]` for `Vec<T>`.
///
/// A parameter whose type is `ObjectRef<T>` gets the ref, not the value; so does a ref inside a value, such as
/// `Vec<ObjectRef<T>>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be passed for a parameter of type `{T}`",
    label = "expected `{T}`, `&{T}`, `ObjectRef<{T}>` or `&ObjectRef<{T}>`",
    note = "the parameter's type must be `serde::Serialize`; a `String` or `PathBuf` may be passed as `&str`, a `Vec<T>` as `&[T]` or `[T; N]`"
)]
pub trait IntoArg<T> {
    /// Appends the argument to those of a call; `name` is the parameter's.
    #[doc(hidden)]
    fn push_into(self, args: &mut Args, name: &'static str);
}

impl<T: Serialize> IntoArg<T> for T {
    fn push_into(self, args: &mut Args, name: &'static str) {
        args.push_value(name, &self);
    }
}

// `Clone` because a call in one process may one day clone what another encodes.
impl<T: Serialize + Clone> IntoArg<T> for &T {
    fn push_into(self, args: &mut Args, name: &'static str) {
        args.push_value(name, self);
    }
}

impl<T> IntoArg<T> for ObjectRef<T> {
    fn push_into(self, args: &mut Args, _name: &'static str) {
        args.push_ref(self.into_raw());
    }
}

impl<T> IntoArg<T> for &ObjectRef<T> {
    fn push_into(self, args: &mut Args, _name: &'static str) {
        args.push_ref(self.raw().clone());
    }
}

impl IntoArg<String> for &str {
    fn push_into(self, args: &mut Args, name: &'static str) {
        args.push_value(name, self);
    }
}

impl IntoArg<PathBuf> for &str {
    fn push_into(self, args: &mut Args, name: &'static str) {
        args.push_value(name, self);
    }
}

impl IntoArg<PathBuf> for &Path {
    fn push_into(self, args: &mut Args, name: &'static str) {
        args.push_value(name, self);
    }
}

impl<T: Serialize> IntoArg<Vec<T>> for &[T] {
    fn push_into(self, args: &mut Args, name: &'static str) {
        args.push_value(name, self);
    }
}

// An array by itself is encoded without its length: it goes as a slice.
impl<T: Serialize, const N: usize> IntoArg<Vec<T>> for [T; N] {
    fn push_into(self, args: &mut Args, name: &'static str) {
        args.push_value(name, self.as_slice());
    }
}

impl<T: Serialize, const N: usize> IntoArg<Vec<T>> for &[T; N] {
    fn push_into(self, args: &mut Args, name: &'static str) {
        args.push_value(name, self.as_slice());
    }
}
