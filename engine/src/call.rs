//! Arguments and results, between the macro's typed code and encoded values.

use std::fmt;

use actinic_transport::ClusterId;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::api::error::{Error, Result};
use crate::api::into_arg::IntoArg;
use crate::object::RawRef;
use crate::program::Outcome;
use crate::rarely::Rarely;
use crate::value::{self, Blob, BlobWriter, Extras, Value};
use crate::worker::job::{Broke, caught};

/// A value larger than this becomes an object once, and is sent by ref.
pub(crate) const INLINE_LIMIT: usize = 100 * 1024;

/// All arguments of a call that are sent inside it: a message has a limit.
pub(crate) const INLINE_TOTAL: usize = 512 * 1024;

const HERE: u8 = 0;
const DEPENDENCY: u8 = 1;

/// An argument that is not in the body.
pub(crate) enum Dependency {
    Ref(RawRef),
    /// A value above the inline limit, which becomes an object when the call is submitted.
    Large(Value),
}

/// The arguments of one call while they are encoded.
///
/// The body is, per parameter, a tag and either the encoded value or the number of a dependency.
#[derive(Default)]
pub struct Args {
    pub(crate) body: BlobWriter,
    pub(crate) extras: Rarely<Extras>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) error: Option<Error>,
}

impl fmt::Debug for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Args({} bytes, {} dependencies)", self.body.len(), self.dependencies.len())
    }
}

impl Args {
    /// No arguments yet.
    pub fn new() -> Args {
        Args::default()
    }

    /// Appends the next argument. What goes wrong is kept, and becomes the error of the call's refs.
    pub fn push<T>(&mut self, name: &'static str, arg: impl IntoArg<T>) {
        arg.push_into(self, name);
    }

    /// Appends a value. Its `Serialize` is the user's: a panic there is an error like any other.
    pub fn push_value<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) {
        if let Err(broke) = caught(|| self.encode_value(name, value)) {
            let why = match broke {
                Broke::Panicked(error) => error.detail().message.clone(),
                Broke::Crashed | Broke::Exited => "it asked its caller to end".to_owned(),
            };
            let error = value::panicked::<T>(&format!("argument `{name}`"), &why);
            self.error.get_or_insert(error);
        }
    }

    fn encode_value<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) {
        let start = self.body.len();
        let before = self.extras.get().map_or([0; 3], Extras::mark);
        self.body.push(HERE);
        if let Err(error) = value::encode_into(value, &mut self.body, &mut self.extras) {
            let error = value::not_encoded(value, &format!("argument `{name}`"), error);
            self.error.get_or_insert(error);
            return;
        }
        let buffers = self.extras.get().map_or(&[][..], |extras| &extras.buffers);
        let bytes = |buffers: &[Bytes]| buffers.iter().map(Bytes::len).sum::<usize>();
        let alone = self.body.len() - start + bytes(&buffers[before[0]..]);
        if alone > INLINE_LIMIT || self.body.len() + bytes(buffers) > INLINE_TOTAL {
            self.set_apart(name, value, start, before);
        }
    }

    /// Moves the argument that was just encoded out of the body, into a value of its own.
    fn set_apart<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T, start: usize, before: [usize; 3]) {
        let apart = if before == [0; 3] {
            let body = Blob::copy_of(&self.body.as_slice()[start + 1..]);
            Ok(Value::new(body, self.extras.take()))
        } else {
            // Its extras are numbered after those of earlier arguments: it is encoded again by itself.
            self.extras.make().truncate(before);
            value::encode(value, name)
        };
        self.body.truncate(start);
        match apart {
            Ok(value) => self.push_dependency(Dependency::Large(value)),
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
    }

    /// Appends a ref, whose value the function gets.
    pub(crate) fn push_ref(&mut self, object: RawRef) {
        self.push_dependency(Dependency::Ref(object));
    }

    fn push_dependency(&mut self, dependency: Dependency) {
        let number = self.dependencies.len() as u32;
        self.dependencies.push(dependency);
        self.body.push(DEPENDENCY);
        self.body.extend(&number.to_le_bytes());
    }
}

/// The arguments of a call on its worker, read in order.
pub struct TaskArgs<'a> {
    rest: &'a [u8],
    pub(crate) input: &'a Value,
    dependencies: &'a [Value],
}

impl fmt::Debug for TaskArgs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskArgs({} bytes, {} dependencies)", self.rest.len(), self.dependencies.len())
    }
}

impl<'a> TaskArgs<'a> {
    pub(crate) fn new(input: &'a Value, dependencies: &'a [Value]) -> Self {
        TaskArgs { rest: input.body.as_slice(), input, dependencies }
    }

    /// Decodes the next argument.
    ///
    /// # Errors
    ///
    /// `Serialization` if what was sent does not decode as `T`.
    pub fn next<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<T> {
        let what = || format!("argument `{name}`");
        let (tag, rest) = self.rest.split_first().ok_or_else(|| missing(name))?;
        match *tag {
            HERE => {
                let read = value::with_extras(self.input.extras.as_ref(), || postcard::take_from_bytes(rest));
                let (value, rest) = read.map_err(|error| value::not_decoded::<T>(&what(), error))?;
                self.rest = rest;
                Ok(value)
            }
            DEPENDENCY => {
                let (number, rest) = rest.split_first_chunk::<4>().ok_or_else(|| missing(name))?;
                let value = self.dependencies.get(u32::from_le_bytes(*number) as usize).ok_or_else(|| missing(name))?;
                self.rest = rest;
                value::decode(value, &what())
            }
            _ => Err(missing(name)),
        }
    }

    /// The next argument, a string or bytes, as it lies in the message.
    ///
    /// # Errors
    ///
    /// `Serialization` if what was sent is none.
    pub fn next_in_place<T: ?Sized>(&mut self, name: &'static str) -> Result<&'a T>
    where
        &'a T: Deserialize<'a>,
    {
        let failed = |error| value::not_decoded::<T>(&format!("argument `{name}`"), error);
        let (tag, rest) = self.rest.split_first().ok_or_else(|| missing(name))?;
        match *tag {
            HERE => {
                let (found, rest) = postcard::take_from_bytes(rest).map_err(failed)?;
                self.rest = rest;
                Ok(found)
            }
            DEPENDENCY => {
                let (number, rest) = rest.split_first_chunk::<4>().ok_or_else(|| missing(name))?;
                let value = self.dependencies.get(u32::from_le_bytes(*number) as usize).ok_or_else(|| missing(name))?;
                self.rest = rest;
                postcard::from_bytes(value.body.as_slice()).map_err(failed)
            }
            _ => Err(missing(name)),
        }
    }
}

fn missing(name: &str) -> Error {
    Error::serialization(format!("argument `{name}` is missing from the call"))
        .remedy("both sides must run the same program")
}

/// The arguments of an async call, which outlive the thread that accepted it.
pub struct OwnedTaskArgs {
    input: Value,
    dependencies: Vec<Value>,
}

impl fmt::Debug for OwnedTaskArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnedTaskArgs({} dependencies)", self.dependencies.len())
    }
}

impl OwnedTaskArgs {
    pub(crate) fn new(input: Value, dependencies: Vec<Value>) -> Self {
        OwnedTaskArgs { input, dependencies }
    }

    /// Reads them from the first on. What is read in place lasts as long as they do.
    pub fn reader(&self) -> TaskArgs<'_> {
        TaskArgs::new(&self.input, &self.dependencies)
    }
}

/// The encoded results of a call.
#[derive(Clone)]
pub enum Returns {
    /// One value.
    One(ReturnValue),
    /// As many as were returned.
    Many(Vec<ReturnValue>),
}

impl Returns {
    /// As [`Value::check_cluster`].
    pub(crate) fn check_cluster(&self, here: ClusterId) -> Result<()> {
        match self {
            Returns::One(value) => value.0.check_cluster(here),
            Returns::Many(values) => values.iter().try_for_each(|value| value.0.check_cluster(here)),
        }
    }
}

/// One encoded result.
#[derive(Clone)]
pub struct ReturnValue(pub(crate) Value);

impl fmt::Debug for ReturnValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReturnValue({} bytes)", self.0.size())
    }
}

impl fmt::Debug for Returns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Returns::One(value) => value.fmt(f),
            Returns::Many(values) => values.fmt(f),
        }
    }
}

/// Encodes the one result of a call.
///
/// # Errors
///
/// `Serialization` if it cannot be encoded.
pub fn return_one<T: Serialize>(value: T) -> Outcome {
    Ok(Returns::One(encode_return(&value)?))
}

/// Encodes one of several results.
///
/// # Errors
///
/// `Serialization` if it cannot be encoded.
pub fn encode_return<T: Serialize>(value: &T) -> Result<ReturnValue> {
    value::encode(value, "the returned value").map(ReturnValue)
}

/// Encodes a vector as one result per element.
///
/// # Errors
///
/// `Serialization` if one cannot be encoded.
pub fn return_vec<T: Serialize>(values: Vec<T>) -> Outcome {
    values.iter().map(encode_return).collect::<Result<_>>().map(Returns::Many)
}

#[cfg(test)]
mod tests {
    use super::{HERE, OwnedTaskArgs};
    use crate::value::{Blob, Value};

    #[test]
    fn what_is_borrowed_is_read_where_it_lies() {
        let mut body = Vec::new();
        for part in [postcard::to_stdvec("text").unwrap(), postcard::to_stdvec(&vec![1_u8, 200, 3]).unwrap()] {
            body.push(HERE);
            body.extend(part);
        }
        let args = OwnedTaskArgs::new(Value::new(Blob::copy_of(&body), Default::default()), Vec::new());
        let range = args.input.body.as_slice().as_ptr_range();
        let mut reader = args.reader();
        let (text, bytes): (&str, &[u8]) =
            (reader.next_in_place("text").unwrap(), reader.next_in_place("bytes").unwrap());
        assert_eq!((text, bytes), ("text", &[1, 200, 3][..]));
        assert!(range.contains(&text.as_ptr()) && range.contains(&bytes.as_ptr()));
        assert!(reader.next_in_place::<str>("more").unwrap_err().to_string().contains("`more` is missing"));
    }
}
