//! What arrives is bytes: every kind of message, damaged in every way, is read or refused, and nothing panics.
//!
//! Each kind is damaged by cuts, flipped bytes, lengths that lie, and bytes that go on; besides, bytes at random are
//! read as each. A length that lies must not be believed: reserving what it says would end the process.

#![allow(clippy::unwrap_used)]

pub(crate) mod samples;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A kind of message: its name, some of it, and how it is read, together with what first looks into it.
pub(crate) struct Kind {
    name: &'static str,
    pub(crate) samples: Vec<Vec<u8>>,
    read: fn(&[u8]) -> bool,
}

impl Kind {
    fn new<T: Serialize>(name: &'static str, samples: &[T], read: fn(&[u8]) -> bool) -> Kind {
        let samples = samples.iter().map(|sample| postcard::to_stdvec(sample).unwrap()).collect();
        Kind { name, samples, read }
    }

    /// A message without references into its bytes.
    fn owned<T: Serialize + DeserializeOwned>(name: &'static str, samples: &[T]) -> Kind {
        Kind::new(name, samples, |bytes| postcard::from_bytes::<T>(bytes).is_ok())
    }

    /// An enum, with a sample of each of its variants.
    fn whole<T: Serialize + DeserializeOwned>(name: &'static str, samples: &[T]) -> Kind {
        let kind = Kind::owned(name, samples);
        kind.has_all_variants::<T>();
        kind
    }

    /// A variant is written as its number, which is below 128: one more than there are is none, and says so.
    fn has_all_variants<T: DeserializeOwned>(&self) {
        let mut numbers: Vec<u8> = self.samples.iter().map(|sample| sample[0]).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let count = numbers.len() as u8;
        assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "variants of {} without a sample", self.name);
        let next = postcard::from_bytes::<T>(&[count]).map(|_| ());
        let none = Err(postcard::Error::SerdeDeCustom);
        assert_eq!(next, none, "variant {count} of {} has no sample", self.name);
    }
}

/// Chance, the same in every run.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }

    /// Some bytes of a message are others.
    pub(crate) fn flipped(&mut self, sample: &[u8]) -> Vec<u8> {
        let mut damaged = sample.to_vec();
        for _ in 0..1 + self.below(3) {
            let at = self.below(damaged.len());
            damaged[at] = self.below(256) as u8;
        }
        damaged
    }
}

/// The largest number, as a length is written.
const ENORMOUS: [u8; 10] = [255, 255, 255, 255, 255, 255, 255, 255, 255, 1];

/// The message with an enormous number in the place of a byte.
fn with_enormous(sample: &[u8], at: usize) -> Vec<u8> {
    [&sample[..at], &ENORMOUS, &sample[at + 1..]].concat()
}

#[test]
fn every_kind_of_message_is_read_as_it_was_written() {
    for kind in samples::all() {
        for sample in &kind.samples {
            assert!((kind.read)(sample), "{} cannot be read: {sample:?}", kind.name);
        }
    }
}

/// FNV-1a, 64 bits: <http://www.isthe.com/chongo/tech/comp/fnv/>.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Two builds that write messages differently must not think that they understand each other.
#[test]
fn what_is_written_changes_only_with_the_revision() {
    const WRITTEN: (u32, u64) = (11, 13_012_216_335_683_810_856);

    // Of what has secrets or certificates, which differ each time, the number of the variant counts.
    let (once, again) = (samples::all(), samples::all());
    let mut all = Vec::new();
    for (kind, again) in once.into_iter().zip(&again) {
        all.extend_from_slice(kind.name.as_bytes());
        for (one, other) in kind.samples.into_iter().zip(&again.samples) {
            all.extend_from_slice(if one == *other { &one } else { &one[..1] });
        }
    }
    let written = (crate::protocol::REVISION, hash(&all));
    assert_eq!(written, WRITTEN, "a message is written in another way: raise REVISION, and note both here");
}

#[test]
fn every_damaged_message_is_read_or_refused_without_a_panic() {
    const FLIPS: usize = 150;
    const PLACES: usize = 300;
    let mut chance = Chance(1);
    for kind in samples::all() {
        for sample in &kind.samples {
            for cut in 0..sample.len().min(PLACES) {
                (kind.read)(&sample[..cut]);
                (kind.read)(&with_enormous(sample, cut));
            }
            for _ in 0..FLIPS.min(sample.len() * 8) {
                (kind.read)(&chance.flipped(sample));
            }
            let more = chance.bytes(64);
            (kind.read)(&[&sample[..], &more].concat());
        }
        for count in 0..FLIPS {
            (kind.read)(&chance.bytes(count));
        }
    }
}
