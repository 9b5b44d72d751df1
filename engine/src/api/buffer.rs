//! Values that are read in place: bytes and arrays of plain data.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value;

#[cfg(target_endian = "big")]
compile_error!("actinic sends plain data as it lies in memory and supports little-endian targets only");

/// Immutable bytes that are shared instead of copied: inside one process always, and beside the body of any value
/// that contains them.
///
/// ```
/// let buffer = actinic::Buffer::from(vec![1u8, 2, 3]);
/// assert_eq!(&buffer[1..], &[2, 3]);
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Buffer {
    bytes: Bytes,
}

impl Buffer {
    /// The bytes as a reference-counted handle, without a copy.
    pub fn to_bytes(&self) -> Bytes {
        self.bytes.clone()
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Buffer { bytes: Bytes::from(bytes) }
    }
}

impl From<Bytes> for Buffer {
    fn from(bytes: Bytes) -> Self {
        Buffer { bytes }
    }
}

impl From<&[u8]> for Buffer {
    fn from(bytes: &[u8]) -> Self {
        Buffer { bytes: Bytes::copy_from_slice(bytes) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.bytes.len())
    }
}

/// An immutable array of plain data (`f64`, `i32`, `[u8; 4]`, any [`bytemuck::Pod`]) that is shared instead of
/// copied, as [`Buffer`] is.
///
/// ```
/// let array: actinic::Array<f64> = (0..4).map(f64::from).collect();
/// assert_eq!(array.iter().sum::<f64>(), 6.0);
/// ```
pub struct Array<T> {
    bytes: Bytes,
    element: PhantomData<T>,
}

/// A vector lent as bytes.
struct Lent<T>(Vec<T>);

impl<T: bytemuck::NoUninit> AsRef<[u8]> for Lent<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl<T: bytemuck::Pod + Send + Sync> Array<T> {
    /// The array that lies in `bytes`: in place if they are aligned for `T`, else in a copy. `None` if their number
    /// is no multiple of the element's size.
    fn from_bytes(bytes: Bytes) -> Option<Array<T>> {
        match bytemuck::try_cast_slice::<u8, T>(&bytes) {
            Ok(_) => Some(Array { bytes, element: PhantomData }),
            Err(bytemuck::PodCastError::TargetAlignmentGreaterAndInputNotAligned) => {
                let size = size_of::<T>();
                if size == 0 || !bytes.len().is_multiple_of(size) {
                    return None;
                }
                let mut copy: Vec<T> = vec![T::zeroed(); bytes.len() / size];
                bytemuck::cast_slice_mut::<T, u8>(&mut copy).copy_from_slice(&bytes);
                Some(Array::from(copy))
            }
            Err(_) => None,
        }
    }
}

impl<T: bytemuck::Pod + Send + Sync> From<Vec<T>> for Array<T> {
    fn from(elements: Vec<T>) -> Self {
        Array { bytes: Bytes::from_owner(Lent(elements)), element: PhantomData }
    }
}

impl<T: bytemuck::Pod + Send + Sync> From<&[T]> for Array<T> {
    fn from(elements: &[T]) -> Self {
        Array::from(elements.to_vec())
    }
}

impl<T: bytemuck::Pod + Send + Sync> FromIterator<T> for Array<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Array::from(elements.into_iter().collect::<Vec<T>>())
    }
}

impl<T: bytemuck::Pod> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // Every constructor made sure that the bytes are whole, aligned elements; so this never panics.
        bytemuck::cast_slice(&self.bytes)
    }
}

impl<T: bytemuck::Pod> AsRef<[T]> for Array<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Self {
        Array { bytes: self.bytes.clone(), element: PhantomData }
    }
}

impl<T: bytemuck::Pod + Send + Sync> Default for Array<T> {
    fn default() -> Self {
        Array::from(Vec::new())
    }
}

impl<T: bytemuck::Pod + PartialEq> PartialEq for Array<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: bytemuck::Pod + Eq> Eq for Array<T> {}

impl<T: bytemuck::Pod + fmt::Debug> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 16;
        if self.len() <= SHOWN {
            f.debug_list().entries(self.iter()).finish()
        } else {
            write!(f, "Array({:?}.. {} elements)", &self[..SHOWN], self.len())
        }
    }
}

impl<'a, T: bytemuck::Pod> IntoIterator for &'a Array<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// How a buffer stands in a body that Actinic writes.
#[derive(Serialize, Deserialize)]
enum InBody<'a> {
    Here(&'a [u8]),
    Beside(u32),
}

fn serialize_bytes<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    if !value::encoding() {
        return serializer.serialize_bytes(bytes);
    }
    if bytes.len() < value::OUT_OF_BAND {
        InBody::Here(bytes).serialize(serializer)
    } else {
        InBody::Beside(value::collect_buffer(bytes.clone())).serialize(serializer)
    }
}

fn deserialize_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    use serde::de::Error;
    if !value::decoding() {
        return deserializer.deserialize_byte_buf(OwnedBytes).map(Bytes::from);
    }
    match InBody::deserialize(deserializer)? {
        InBody::Here(bytes) => Ok(Bytes::copy_from_slice(bytes)),
        InBody::Beside(index) => {
            value::offered_buffer(index).ok_or_else(|| D::Error::custom("a buffer is missing beside the value"))
        }
    }
}

struct OwnedBytes;

impl<'de> serde::de::Visitor<'de> for OwnedBytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

impl Serialize for Buffer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_bytes(&self.bytes, serializer)
    }
}

impl<'de> Deserialize<'de> for Buffer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_bytes(deserializer).map(|bytes| Buffer { bytes })
    }
}

impl<T> Serialize for Array<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_bytes(&self.bytes, serializer)
    }
}

impl<'de, T: bytemuck::Pod + Send + Sync> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        Array::from_bytes(deserialize_bytes(deserializer)?)
            .ok_or_else(|| D::Error::custom("the bytes are not a whole number of elements"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{decode, encode};

    #[test]
    fn large_arrays_go_by_reference_and_small_ones_in_the_body() {
        for len in [0usize, 3, 1000] {
            let array: Array<f64> = (0..len).map(|i| i as f64).collect();
            let value = encode(&(1u8, array.clone(), "x"), "value").unwrap();
            assert_eq!(value.buffers().len(), usize::from(len == 1000));
            let (_, back, text): (u8, Array<f64>, String) = decode(&value, "value").unwrap();
            assert_eq!(back, array);
            assert_eq!(text, "x");
            if len == 1000 {
                assert!(std::ptr::eq(back.as_ptr(), array.as_ptr()), "no copy");
            }
        }
    }

    #[test]
    fn unaligned_bytes_are_copied_and_broken_ones_refused() {
        let raw = Bytes::from(vec![0u8; 17]);
        assert!(Array::<u64>::from_bytes(raw.clone()).is_none());
        let unaligned = raw.slice(1..);
        assert_eq!(Array::<u64>::from_bytes(unaligned).unwrap().len(), 2);
    }

    #[test]
    fn outside_actinic_they_are_plain_bytes() {
        let json = serde_json::to_string(&Buffer::from(vec![1, 2])).unwrap();
        assert_eq!(json, "[1,2]");
        assert_eq!(serde_json::from_str::<Buffer>(&json).unwrap(), Buffer::from(vec![1, 2]));
    }
}
