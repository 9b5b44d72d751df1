//! `put`: a value becomes an object.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::api::error::{Error, Result};
use crate::api::object_ref::ObjectRef;
use crate::api::op::Op;
use crate::api::scope;
use crate::call::INLINE_LIMIT;
use crate::value::{self, Value};

/// Stores a value; the ref to it may be passed to any number of calls.
///
/// The value is encoded and stored at the call, if there is room; awaiting it gives the ref.
///
/// If a large value finds no room in the object store of this node, the node's other processes are asked to let go what
/// they can do without, and the operation waits for that, a fifth of a second at most.
///
/// # Errors
///
/// `Serialization`, `ObjectStoreFull`, and `Connection` outside of a cluster's scope.
///
/// ```
/// # #[actinic::main] async fn main() -> actinic::Result<()> {
/// # let cluster = actinic::init().await?;
/// let numbers = actinic::put(&vec![1i64, 2, 3]).await?;
/// assert_eq!(actinic::get(&numbers).await?, [1, 2, 3]);
/// # cluster.shutdown().await }
/// ```
pub fn put<T: Put + ?Sized>(value: &T) -> Op<ObjectRef<T::Stored>>
where
    T::Stored: 'static,
{
    let encoded = scope::owner().and_then(|owner| Ok((owner, Value::from(value.encode_stored()?))));
    let (owner, value) = match encoded {
        Ok(encoded) => encoded,
        Err(error) => return Op::ready(Err(error)),
    };
    if value.size() <= INLINE_LIMIT {
        return Op::ready(owner.put(value).map(ObjectRef::new));
    }
    match owner.put(value.clone()) {
        Err(error @ Error::ObjectStoreFull { .. }) if owner.process.others_may_make_room(value.size()) => {
            Op::new(async move {
                // Other processes of the node have been asked for room, and may take a moment. The thread that waits here may
                // have no clock of its own.
                let (tell, hear) = tokio::sync::oneshot::channel();
                let (process, size) = (Arc::clone(&owner.process), value.size());
                owner.process.spawn(async move {
                    // Who waits may have given up.
                    let _ = tell.send(process.has_room_soon(size).await);
                });
                match hear.await {
                    Ok(true) => owner.put(value).map(ObjectRef::new),
                    _ => Err(error),
                }
            })
        }
        put => Op::ready(put.map(ObjectRef::new)),
    }
}

/// What may be put: a value, a `str` as a `String`, a slice as a `Vec`.
///
/// A ref is not: put it inside a list if the ref itself is to be stored.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be put",
    note = "a value must be `serde::Serialize`; a ref must stand inside something, such as a `Vec`"
)]
pub trait Put {
    /// What is stored.
    type Stored;
    #[doc(hidden)]
    fn encode_stored(&self) -> Result<PutValue>;
}

/// An encoded value on its way into the store.
#[derive(Clone)]
pub struct PutValue(Value);

impl fmt::Debug for PutValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.size())
    }
}

impl From<PutValue> for Value {
    fn from(value: PutValue) -> Value {
        value.0
    }
}

impl<T: Serialize> Put for T {
    type Stored = T;
    fn encode_stored(&self) -> Result<PutValue> {
        let type_name = std::any::type_name::<T>();
        if type_name.starts_with("actinic::api::object_ref::") {
            return Err(Error::invalid_argument("put: a ref cannot be put by itself")
                .remedy("put it inside something, such as `vec![object]`, or pass the ref on as it is"));
        }
        value::encode(self, "the value to put").map(PutValue)
    }
}

impl Put for str {
    type Stored = String;
    fn encode_stored(&self) -> Result<PutValue> {
        value::encode(self, "the value to put").map(PutValue)
    }
}

impl<T: Serialize> Put for [T] {
    type Stored = Vec<T>;
    fn encode_stored(&self) -> Result<PutValue> {
        value::encode(self, "the value to put").map(PutValue)
    }
}
