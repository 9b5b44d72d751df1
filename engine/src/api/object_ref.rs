//! Refs to objects.

use std::fmt;
use std::future::IntoFuture;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::api::error::Result;
use crate::api::get::{GetFuture, get_one};
use crate::api::op::Op;
use crate::ids::ObjectId;
use crate::object::RawRef;
use crate::value;

/// A counted ref to an immutable object: the result of a remote call, or a value that was put.
///
/// Await it (or a reference to it) for the value, pass it to other calls, clone it, send it anywhere in the cluster.
/// The last ref dropped anywhere frees the object. Serializing it outside of Actinic is an error.
///
/// ```
/// use actinic::prelude::*;
/// #[actinic::remote]
/// fn square(x: i64) -> i64 { x * x }
///
/// #[actinic::main]
/// async fn main() -> actinic::Result<()> {
///     let cluster = actinic::init().await?;
///     let four = square::remote(2);
///     assert_eq!(square::remote(&four).await?, 16);
///     cluster.shutdown().await
/// }
/// ```
pub struct ObjectRef<T> {
    raw: RawRef,
    value: PhantomData<fn() -> T>,
}

impl<T> ObjectRef<T> {
    pub(crate) fn new(raw: RawRef) -> Self {
        ObjectRef { raw, value: PhantomData }
    }

    pub(crate) fn raw(&self) -> &RawRef {
        &self.raw
    }

    pub(crate) fn into_raw(self) -> RawRef {
        self.raw
    }

    /// The object's id, which is `Copy` and keeps nothing alive.
    pub fn id(&self) -> ObjectId {
        self.raw.id()
    }

    /// Finishes when the object is there or has failed; fetches nothing, and fails only if nobody can know.
    pub fn done(&self) -> Op<()> {
        let raw = self.raw.clone();
        Op::of_refs(async move {
            crate::api::get::resolved(&raw).await;
            Ok(())
        })
    }
}

impl<T: DeserializeOwned + Send + 'static> ObjectRef<T> {
    /// Waits for the value on the calling thread.
    ///
    /// # Errors
    ///
    /// The object's error, and `InvalidArgument` on a thread of an async runtime.
    pub fn blocking(&self) -> Result<T> {
        crate::api::get::get_blocking(&self.raw, None)
    }
}

impl<T> Clone for ObjectRef<T> {
    fn clone(&self) -> Self {
        ObjectRef::new(self.raw.clone())
    }
}

impl<T> PartialEq for ObjectRef<T> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl<T> Eq for ObjectRef<T> {}

impl<T> Hash for ObjectRef<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.raw.id().hash(state);
    }
}

impl<T> fmt::Debug for ObjectRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T> fmt::Display for ObjectRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectRef({})", self.raw.id())
    }
}

impl<T> Serialize for ObjectRef<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_ref(&self.raw, serializer)
    }
}

impl<'de, T> Deserialize<'de> for ObjectRef<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_ref(deserializer).map(ObjectRef::new)
    }
}

pub(crate) fn serialize_ref<S: Serializer>(raw: &RawRef, serializer: S) -> Result<S::Ok, S::Error> {
    match value::collect_ref(|| raw.clone()) {
        Some(index) => serializer.serialize_u32(index),
        None => Err(serde::ser::Error::custom(
            "an ObjectRef can only be serialized by Actinic, in an argument, a result or a put value: outside, nothing would keep its object alive",
        )),
    }
}

pub(crate) fn deserialize_ref<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RawRef, D::Error> {
    if !value::decoding() {
        return Err(serde::de::Error::custom("an ObjectRef can only be deserialized by Actinic"));
    }
    let index = u32::deserialize(deserializer)?;
    value::offered_ref(index).ok_or_else(|| serde::de::Error::custom("a ref is missing beside the value"))
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for ObjectRef<T> {
    type Output = Result<T>;
    type IntoFuture = GetFuture<T>;

    fn into_future(self) -> GetFuture<T> {
        get_one(self.raw)
    }
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for &ObjectRef<T> {
    type Output = Result<T>;
    type IntoFuture = GetFuture<T>;

    fn into_future(self) -> GetFuture<T> {
        get_one(self.raw.clone())
    }
}

/// A ref without its type, for lists of mixed ones.
///
/// ```no_run
/// # use actinic::{AnyRef, ObjectRef};
/// # fn f(a: ObjectRef<i64>, b: ObjectRef<String>) -> Option<()> {
/// let mixed = vec![AnyRef::from(&a), AnyRef::from(&b)];
/// let a: ObjectRef<i64> = mixed[0].downcast()?;
/// # Some(()) }
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnyRef {
    raw: ObjectRef<()>,
    type_name: Option<String>,
}

impl AnyRef {
    pub(crate) fn raw(&self) -> &RawRef {
        self.raw.raw()
    }

    /// The object's id, which is `Copy` and keeps nothing alive.
    pub fn id(&self) -> ObjectId {
        self.raw.id()
    }

    /// The ref with its type; `None` if it was made from a ref of another type.
    pub fn downcast<T>(&self) -> Option<ObjectRef<T>> {
        let fits = self.type_name.as_deref().is_none_or(|name| name == std::any::type_name::<T>());
        fits.then(|| ObjectRef::new(self.raw().clone()))
    }

    /// Finishes when the object is there or has failed.
    pub fn done(&self) -> Op<()> {
        self.raw.done()
    }
}

impl Hash for AnyRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.raw.hash(state);
    }
}

impl<T> From<&ObjectRef<T>> for AnyRef {
    fn from(object: &ObjectRef<T>) -> Self {
        AnyRef { raw: ObjectRef::new(object.raw().clone()), type_name: Some(std::any::type_name::<T>().to_owned()) }
    }
}

impl<T> From<ObjectRef<T>> for AnyRef {
    fn from(object: ObjectRef<T>) -> Self {
        AnyRef::from(&object)
    }
}

impl fmt::Debug for AnyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.raw, f)
    }
}

impl fmt::Display for AnyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.raw, f)
    }
}

/// Something that is a ref, typed or not.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no ref",
    note = "an `ObjectRef` is what tasks, actor calls and `put` return; `wait` and `cancel` take nothing else"
)]
pub trait Ref: Listed<Ref = Self> + Clone + Send + 'static {
    #[doc(hidden)]
    fn raw_ref(&self) -> RawRefView<'_>;
}

/// A ref in a list, itself or by reference.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no ref",
    note = "an `ObjectRef` is what tasks, actor calls and `put` return; `wait` and `cancel` take nothing else"
)]
pub trait Listed {
    /// What the list is of.
    type Ref: Ref;
    fn to_ref(&self) -> Self::Ref;
    /// A list of them, as it is if it is of refs.
    fn into_refs(list: Vec<Self>) -> Vec<Self::Ref>
    where
        Self: Sized;
}

impl<R: Listed> Listed for &R {
    type Ref = R::Ref;
    fn to_ref(&self) -> R::Ref {
        (**self).to_ref()
    }
    fn into_refs(list: Vec<Self>) -> Vec<R::Ref> {
        list.into_iter().map(Listed::to_ref).collect()
    }
}

impl<T: 'static> Listed for ObjectRef<T> {
    type Ref = ObjectRef<T>;
    fn to_ref(&self) -> ObjectRef<T> {
        self.clone()
    }
    fn into_refs(list: Vec<Self>) -> Vec<ObjectRef<T>> {
        list
    }
}

impl Listed for AnyRef {
    type Ref = AnyRef;
    fn to_ref(&self) -> AnyRef {
        self.clone()
    }
    fn into_refs(list: Vec<Self>) -> Vec<AnyRef> {
        list
    }
}

/// A ref inside [`Ref`]; opaque.
#[derive(Debug)]
pub struct RawRefView<'a>(pub(crate) &'a RawRef);

impl<T: 'static> Ref for ObjectRef<T> {
    fn raw_ref(&self) -> RawRefView<'_> {
        RawRefView(&self.raw)
    }
}

impl Ref for AnyRef {
    fn raw_ref(&self) -> RawRefView<'_> {
        RawRefView(self.raw.raw())
    }
}
