//! SER: values on their way.

use std::collections::{BTreeMap, HashMap};

use actinic::prelude::*;
use actinic::testing::eventually;
use serde::{Deserialize, Serialize};

use crate::support::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    Circle(f64),
    Named { name: String, sides: Vec<u8> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct All {
    signed: (i8, i16, i32, i64, i128),
    unsigned: (u8, u16, u32, u64, u128),
    floats: (f32, f64),
    infinite: [f64; 2],
    text: String,
    letter: char,
    nothing: (),
    maybe: Vec<Option<i64>>,
    nested: Vec<Vec<Vec<i64>>>,
    map: BTreeMap<String, Vec<u8>>,
    hash: HashMap<u32, String>,
    shapes: Vec<Shape>,
    boxed: Box<i64>,
}

fn all() -> All {
    All {
        signed: (i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN),
        unsigned: (u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX),
        floats: (f32::MIN_POSITIVE, f64::MAX),
        infinite: [f64::INFINITY, f64::NEG_INFINITY],
        text: "Grüße, 世界, 🦀".to_owned(),
        letter: 'ß',
        nothing: (),
        maybe: vec![None, Some(1)],
        nested: vec![vec![], vec![vec![], vec![1, 2]]],
        map: [("a".to_owned(), vec![1]), (String::new(), vec![])].into(),
        hash: (0..100).map(|n| (n, n.to_string())).collect(),
        shapes: vec![Shape::Empty, Shape::Circle(1.5), Shape::Named { name: "x".into(), sides: vec![0; 3] }],
        boxed: Box::new(-1),
    }
}

#[actinic::remote]
fn same(all: All) -> All {
    all
}

#[actinic::remote]
fn nan(x: f64) -> f64 {
    x
}

#[actinic::remote]
fn sum(array: Array<i64>) -> i64 {
    array.iter().sum()
}

/// Counts that it runs, holds until the gate is open, says how much it was given.
#[actinic::remote]
fn size_at_last(bytes: Buffer, running: &str, gate: &str) -> usize {
    count_up(running);
    hold(gate);
    bytes.len()
}

/// Serializes nothing, and says so.
#[derive(Debug, Clone, Deserialize)]
struct Stubborn;

impl Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("stubborn on purpose"))
    }
}

#[actinic::remote]
fn returns_stubborn() -> Stubborn {
    Stubborn
}

#[actinic::remote]
fn takes_stubborn(_value: Stubborn) -> i64 {
    1
}

#[derive(Debug)]
struct Plain;

impl std::fmt::Display for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an error without serde")
    }
}

impl std::error::Error for Plain {}

#[actinic::remote]
fn fails_plainly() -> Result<i64, Plain> {
    Err(Plain)
}

modes! {
    /// SER-01: what serde knows comes back equal, by `put` and through a task.
    1 CPUs, async fn every_kind_of_value_comes_back_equal(cluster) {
        let sent = all();
        assert_eq!(actinic::put(&sent).await?.await?, sent);
        assert_eq!(same::remote(&sent).await?, sent);
        assert!(nan::remote(f64::NAN).await?.is_nan());
        assert!(actinic::put(&f64::NAN).await?.await?.is_nan() && actinic::put(&f32::NAN).await?.await?.is_nan());
    }

    /// SER-02: who gets an object shares its bytes with the next reader, and changes only a copy of its own: a view
    /// has no method that changes it (`ui/immutable_views.rs`).
    1 CPUs, async fn readers_cannot_change_an_object(cluster) {
        for length in [10usize, 100_000] {
            let object = actinic::put(&Array::from(vec![1i64; length])).await?;
            let mine = object.clone().await?;
            let mut changed = mine.to_vec();
            changed.fill(100);
            drop(changed);
            assert!(mine.iter().all(|value| *value == 1));
            assert_eq!(sum::remote(&object).await?, length as i64);
            assert!(object.clone().await?.iter().all(|value| *value == 1));
            // A view outlives the object.
            drop(object);
            assert!(cluster.idle().await.is_ok());
            assert_eq!(mine.iter().sum::<i64>(), length as i64);
        }
    }

    /// SER-04: an argument below the inline limit travels with its call; one above becomes an object a call, which
    /// is freed when the call ends.
    2 CPUs, async fn arguments_around_the_inline_limit(cluster) {
        for (bytes, objects) in [(99_000usize, 0usize), (99 << 10, 0), (101 << 10, 100), (110_000, 100)] {
            let scratch = Scratch::new();
            let (running, gate) = (scratch.file("running"), scratch.file("gate"));
            let value = Buffer::from(vec![1u8; bytes]);
            let refs: Vec<_> = (0..100).map(|_| size_at_last::remote(&value, &running, &gate)).collect();
            until_counted(&running, 2).await;
            assert_eq!(cluster.head().objects().len(), objects, "{bytes} bytes");
            open_gate(&gate);
            assert!(actinic::get(&refs).await?.iter().all(|size| *size == bytes));
            // The refs of the results still live: nothing of the arguments does.
            let freed = || cluster.test_nodes().iter().all(|node| node.objects().is_empty());
            assert!(eventually(SOON, freed).await, "{:?}", cluster.head().objects());
        }
    }

    /// BAS-25: what cannot be encoded is an error of its call, and the worker goes on.
    1 CPUs, async fn what_cannot_be_encoded_is_an_error(cluster) {
        let error = returns_stubborn::remote().await.unwrap_err();
        assert!(format!("{error:?}").contains("stubborn on purpose"), "{error:?}");
        let error = takes_stubborn::remote(Stubborn).await.unwrap_err();
        assert!(matches!(error, Error::Serialization { .. }), "{error:?}");
        assert!(matches!(actinic::put(&Stubborn).await.unwrap_err(), Error::Serialization { .. }));
        let error = fails_plainly::remote().await.unwrap_err();
        assert!(matches!(error, Error::Task { .. }), "{error:?}");
        assert!(error.to_string().contains("an error without serde"), "{error}");
        assert_eq!(echo::remote(1).await?, 1);
    }
}
