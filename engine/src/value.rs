//! Encoded values: what arguments, results and stored objects are made of.
//!
//! A value is a postcard body and, beside it, what is not copied into the body: large buffers, and the refs and
//! actor handles that it contains. Everything a user passes is encoded, in one process too, so that a program means
//! the same everywhere; only buffers and refs go by reference there.
//!
//! While a body is written or read, a context of the thread collects or offers these extras to the `Serialize` and
//! `Deserialize` of `ObjectRef`, `Handle`, `Buffer` and `Array`. Outside that context a ref refuses to be
//! serialized: it would pin its object for ever without anybody knowing.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use actinic_transport::ClusterId;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::error::{Error, Result};
use crate::ids::ActorId;
use crate::object::RawRef;
use crate::rarely::Rarely;

/// Bodies up to this length need no allocation.
const INLINE: usize = 38;
/// Buffers from this length on travel beside the body instead of in it.
pub(crate) const OUT_OF_BAND: usize = 1024;

/// The bytes of a body.
#[derive(Clone)]
pub(crate) enum Blob {
    Inline(u8, [u8; INLINE]),
    Heap(Bytes),
}

impl Blob {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Blob::Inline(len, bytes) => &bytes[..usize::from(*len)],
            Blob::Heap(bytes) => bytes,
        }
    }

    pub(crate) fn copy_of(bytes: &[u8]) -> Blob {
        let mut writer = BlobWriter::default();
        writer.extend(bytes);
        writer.finish()
    }
}

impl Default for Blob {
    fn default() -> Self {
        Blob::Inline(0, [0; INLINE])
    }
}

/// Collects a body, on the stack as long as it is short.
pub(crate) struct BlobWriter {
    len: usize,
    inline: [u8; INLINE],
    heap: Vec<u8>,
}

impl Default for BlobWriter {
    fn default() -> Self {
        BlobWriter { len: 0, inline: [0; INLINE], heap: Vec::new() }
    }
}

impl BlobWriter {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, byte: u8) {
        if self.len < INLINE {
            self.inline[self.len] = byte;
            self.len += 1;
        } else {
            self.extend(&[byte]);
        }
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if end <= INLINE {
            self.inline[self.len..end].copy_from_slice(bytes);
        } else {
            if self.len <= INLINE && self.heap.is_empty() {
                self.heap.reserve(end.max(128));
                self.heap.extend_from_slice(&self.inline[..self.len]);
            }
            self.heap.extend_from_slice(bytes);
        }
        self.len = end;
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        if self.len > INLINE {
            self.heap.truncate(len);
            if len <= INLINE {
                self.inline[..len].copy_from_slice(&self.heap[..len]);
                self.heap.clear();
            }
        }
        self.len = len;
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        if self.len <= INLINE { &self.inline[..self.len] } else { &self.heap }
    }

    pub(crate) fn finish(self) -> Blob {
        if self.len <= INLINE {
            // The length fits because INLINE is below 256.
            Blob::Inline(self.len as u8, self.inline)
        } else {
            Blob::Heap(Bytes::from(self.heap))
        }
    }
}

impl postcard::ser_flavors::Flavor for &mut BlobWriter {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.extend(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// What a value contains beside its body.
#[derive(Default, Clone)]
pub(crate) struct Extras {
    pub(crate) buffers: Vec<Bytes>,
    pub(crate) refs: Vec<RawRef>,
    /// Actors of which it contains handles that no ref counts: where it was encoded, so that they are known to be of
    /// the right cluster. They do not travel.
    pub(crate) detached: Vec<(ActorId, ClusterId)>,
}

impl Extras {
    pub(crate) fn is_empty(&self) -> bool {
        self.buffers.is_empty() && self.refs.is_empty() && self.detached.is_empty()
    }

    /// How much there is of each.
    pub(crate) fn mark(&self) -> [usize; 3] {
        [self.buffers.len(), self.refs.len(), self.detached.len()]
    }

    /// Gives up what came after a mark.
    pub(crate) fn truncate(&mut self, [buffers, refs, detached]: [usize; 3]) {
        self.buffers.truncate(buffers);
        self.refs.truncate(refs);
        self.detached.truncate(detached);
    }
}

/// The error of a thing that belongs to another cluster than the one that it is given to.
#[cold]
pub(crate) fn foreign(thing: &str, theirs: ClusterId, ours: ClusterId) -> Error {
    Error::invalid_argument(format!("{thing} belongs to cluster {theirs}, and this is cluster {ours}"))
        .remedy("get the value there and pass that, or make the object or actor in this cluster")
}

/// An encoded value; cloning copies no large bytes.
#[derive(Clone, Default)]
pub(crate) struct Value {
    pub(crate) body: Blob,
    pub(crate) extras: Option<Arc<Extras>>,
}

impl Value {
    /// The bytes that moving the value would move.
    pub(crate) fn size(&self) -> usize {
        let beside: usize = self.buffers().iter().map(Bytes::len).sum();
        self.body.as_slice().len() + beside
    }

    /// Whether there is nothing to it but a few bytes.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.body, Blob::Inline(..)) && self.extras.is_none()
    }

    pub(crate) fn buffers(&self) -> &[Bytes] {
        self.extras.as_ref().map_or(&[], |extras| &extras.buffers)
    }

    pub(crate) fn refs(&self) -> &[RawRef] {
        self.extras.as_ref().map_or(&[], |extras| &extras.refs)
    }

    /// That of `()`.
    pub(crate) fn nothing() -> Value {
        Value::new(Blob::copy_of(&[]), Extras::default())
    }

    pub(crate) fn new(body: Blob, extras: Extras) -> Value {
        Value { body, extras: (!extras.is_empty()).then(|| Arc::new(extras)) }
    }

    /// Of what was encoded.
    pub(crate) fn written(body: BlobWriter, mut extras: Rarely<Extras>) -> Value {
        let extras = extras.get_mut().map(std::mem::take).filter(|extras| !extras.is_empty());
        Value { body: body.finish(), extras: extras.map(Arc::new) }
    }

    /// Refuses refs and handles of another cluster, at any depth: nobody here could ask their owner.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, naming the first of them.
    pub(crate) fn check_cluster(&self, here: ClusterId) -> Result<()> {
        let Some(extras) = &self.extras else { return Ok(()) };
        for object in &extras.refs {
            object.check_cluster(here)?;
        }
        match extras.detached.iter().find(|(_, cluster)| *cluster != here) {
            Some((actor, theirs)) => Err(foreign(&format!("actor {actor}"), *theirs, here)),
            None => Ok(()),
        }
    }
}

struct Context {
    encoding: Cell<bool>,
    collected: RefCell<Extras>,
    decoding: Cell<bool>,
    offered: RefCell<Option<Arc<Extras>>>,
}

thread_local! {
    static CONTEXT: Context = const {
        Context {
            encoding: Cell::new(false),
            collected: RefCell::new(Extras { buffers: Vec::new(), refs: Vec::new(), detached: Vec::new() }),
            decoding: Cell::new(false),
            offered: RefCell::new(None),
        }
    };
}

/// Appends the encoding of `value` to `body`, what does not go into the body to `extras`.
pub(crate) fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    body: &mut BlobWriter,
    extras: &mut Rarely<Extras>,
) -> Result<(), postcard::Error> {
    CONTEXT.with(|context| {
        let outer = context.encoding.replace(true);
        // What another value has collected, in whose `Serialize` this one is encoded.
        let held = if outer { Some(Box::new(std::mem::take(&mut *context.collected.borrow_mut()))) } else { None };
        // A user's `Serialize` may panic: the context must not stay open.
        struct Close<'a>(&'a Context, Option<Box<Extras>>);
        impl Drop for Close<'_> {
            fn drop(&mut self) {
                self.0.encoding.set(self.1.is_some());
                if let Some(held) = self.1.take() {
                    self.0.collected.replace(*held);
                } else if std::thread::panicking() {
                    self.0.collected.take();
                }
            }
        }
        if let Some(before) = extras.get_mut() {
            std::mem::swap(&mut *context.collected.borrow_mut(), before);
        }
        let close = Close(context, held);
        let start = body.len();
        let done = postcard::serialize_with_flavor(value, &mut *body);
        let mut collected = context.collected.borrow_mut();
        if !collected.is_empty() {
            std::mem::swap(&mut *collected, extras.make());
        }
        drop(collected);
        if done.is_err() {
            body.truncate(start);
        }
        drop(close);
        done
    })
}

/// Encodes a value; `what` names it in the error.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, what: &str) -> Result<Value> {
    let mut body = BlobWriter::default();
    let mut extras = Rarely::new();
    match encode_into(value, &mut body, &mut extras) {
        Ok(()) => Ok(Value::written(body, extras)),
        Err(error) => Err(not_encoded(value, what, error)),
    }
}

/// What to do about types that ask the encoding what comes next, which ours does not say.
const DESCRIBES_ITSELF: &str = "a sequence or map must know its length, and the type must know what comes next: with \
     `#[serde(flatten)]`, `#[serde(untagged)]` or `#[serde(tag = ..)]`, or as a `serde_json::Value`, it does not; leave the \
     attribute out, or pass the value as a `String` of JSON";

#[cold]
pub(crate) fn not_encoded<T: Serialize + ?Sized>(value: &T, what: &str, error: postcard::Error) -> Error {
    let type_name = std::any::type_name::<T>();
    let said = (error == postcard::Error::SerdeSerCustom).then(|| what_serialize_says(value)).flatten();
    let remedy = match error {
        // Such is the map of a struct with flattened fields.
        postcard::Error::SerializeSeqLengthUnknown => DESCRIBES_ITSELF,
        _ => "its `Serialize` must succeed for every value",
    };
    let error = said.unwrap_or_else(|| error.to_string());
    Error::serialization(format!("{what} of type `{type_name}` could not be encoded: {error}")).remedy(remedy)
}

#[cold]
pub(crate) fn panicked<T: ?Sized>(what: &str, why: &str) -> Error {
    let type_name = std::any::type_name::<T>();
    Error::serialization(format!("{what} of type `{type_name}` could not be encoded: its `Serialize` {why}"))
        .remedy("its `Serialize` must succeed for every value")
}

/// The words of a `Serialize` that refused, which postcard does not keep.
fn what_serialize_says<T: Serialize + ?Sized>(value: &T) -> Option<String> {
    CONTEXT.with(|context| {
        let outer = context.encoding.replace(true);
        let held = std::mem::take(&mut *context.collected.borrow_mut());
        let said = serde_json::to_writer(std::io::sink(), value).err().map(|error| error.to_string());
        context.encoding.set(outer);
        // The refs of this try are dropped after the borrow ends.
        let tried = std::mem::replace(&mut *context.collected.borrow_mut(), held);
        drop(tried);
        said
    })
}

/// Runs `read` with the value's extras offered to the `Deserialize` of refs and buffers.
pub(crate) fn with_extras<R>(extras: Option<&Arc<Extras>>, read: impl FnOnce() -> R) -> R {
    CONTEXT.with(|context| {
        struct Close<'a>(&'a Context, bool, Option<Arc<Extras>>);
        impl Drop for Close<'_> {
            fn drop(&mut self) {
                self.0.decoding.set(self.1);
                *self.0.offered.borrow_mut() = self.2.take();
            }
        }
        let outer = context.decoding.replace(true);
        let held = if extras.is_some() || outer {
            std::mem::replace(&mut *context.offered.borrow_mut(), extras.cloned())
        } else {
            None
        };
        let close = Close(context, outer, held);
        let done = read();
        drop(close);
        done
    })
}

/// Decodes a whole value; `what` names it in the error.
pub(crate) fn decode<T: DeserializeOwned>(value: &Value, what: &str) -> Result<T> {
    with_extras(value.extras.as_ref(), || {
        postcard::from_bytes(value.body.as_slice()).map_err(|error| not_decoded::<T>(what, error))
    })
}

pub(crate) fn not_decoded<T: ?Sized>(what: &str, error: postcard::Error) -> Error {
    let type_name = std::any::type_name::<T>();
    let remedy = match error {
        postcard::Error::WontImplement => DESCRIBES_ITSELF,
        _ => {
            "both sides must agree on the type, and its `Deserialize` must read what its `Serialize` wrote: with \
             `#[serde(skip_serializing_if = ..)]` it does not"
        }
    };
    Error::serialization(format!("{what} could not be decoded as `{type_name}`: {error}")).remedy(remedy)
}

/// Whether a value is being encoded by Actinic on this thread.
pub(crate) fn encoding() -> bool {
    CONTEXT.with(|context| context.encoding.get())
}

/// Whether a value is being decoded by Actinic on this thread.
pub(crate) fn decoding() -> bool {
    CONTEXT.with(|context| context.decoding.get())
}

/// Sets a ref beside the body that is being written and returns its index there.
pub(crate) fn collect_ref(make: impl FnOnce() -> RawRef) -> Option<u32> {
    CONTEXT.with(|context| {
        context.encoding.get().then(|| {
            let refs = &mut context.collected.borrow_mut().refs;
            refs.push(make());
            (refs.len() - 1) as u32
        })
    })
}

/// Notes that the body that is being written contains a handle of a detached actor.
pub(crate) fn collect_detached(actor: ActorId, cluster: ClusterId) {
    CONTEXT.with(|context| context.collected.borrow_mut().detached.push((actor, cluster)));
}

/// Sets a buffer beside the body that is being written and returns its index there.
pub(crate) fn collect_buffer(bytes: Bytes) -> u32 {
    CONTEXT.with(|context| {
        let buffers = &mut context.collected.borrow_mut().buffers;
        buffers.push(bytes);
        (buffers.len() - 1) as u32
    })
}

/// The ref at an index beside the body that is being read.
pub(crate) fn offered_ref(index: u32) -> Option<RawRef> {
    CONTEXT.with(|context| context.offered.borrow().as_ref()?.refs.get(index as usize).cloned())
}

/// The buffer at an index beside the body that is being read.
pub(crate) fn offered_buffer(index: u32) -> Option<Bytes> {
    CONTEXT.with(|context| context.offered.borrow().as_ref()?.buffers.get(index as usize).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_grow_from_the_stack_to_the_heap_and_back() {
        let mut writer = BlobWriter::default();
        for i in 0..100u8 {
            writer.push(i);
            assert_eq!(writer.as_slice(), (0..=i).collect::<Vec<_>>());
        }
        writer.truncate(50);
        assert_eq!(writer.as_slice().len(), 50);
        writer.truncate(10);
        writer.extend(&[7; 40]);
        let blob = writer.finish();
        assert_eq!(&blob.as_slice()[..11], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 7]);
        assert_eq!(blob.as_slice().len(), 50);
    }

    #[test]
    fn a_value_that_cannot_be_encoded_names_its_type_and_leaves_the_body_as_it_was() {
        struct Bad;
        impl Serialize for Bad {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                use serde::ser::{Error as _, SerializeSeq};
                let mut seq = s.serialize_seq(Some(2))?;
                seq.serialize_element(&1u8)?;
                Err(S::Error::custom("no"))
            }
        }
        let mut body = BlobWriter::default();
        body.push(9);
        assert!(encode_into(&Bad, &mut body, &mut Rarely::new()).is_err());
        assert_eq!(body.as_slice(), &[9]);
        let error = encode(&Bad, "argument `x`").err().unwrap();
        assert!(error.to_string().contains("Bad"), "{error}");
        assert!(!encoding());
    }
}
