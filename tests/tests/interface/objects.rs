//! "Objects": every form of `put`, `get`, `wait`, `cancel`, `as_completed`, and the refs themselves.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::Pin;

use actinic::prelude::*;
use futures_core::Stream;
use serde::{Deserialize, Serialize};

use super::*;
use crate::support::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Deep {
    arrays: BTreeMap<String, Vec<Array<f32>>>,
    bytes: Option<Buffer>,
}

#[actinic::remote]
fn name(value: i64) -> String {
    format!("n{value}")
}

#[actinic::remote]
fn deep(deep: Deep) -> Deep {
    deep
}

#[actinic::test(num_cpus = 0)]
async fn everything_can_be_put() -> actinic::Result<()> {
    let vec = vec![1.0, 2.0];
    let x: ObjectRef<Vec<f64>> = actinic::put(&vec).await?;
    let v: Vec<f64> = actinic::get(&x).await?;
    assert_eq!(v, vec);
    let text: ObjectRef<String> = actinic::put("text").await?;
    let owned: ObjectRef<String> = actinic::put(&String::from("text")).await?;
    assert_eq!(text.await?, owned.await?);
    let slice: ObjectRef<Vec<i64>> = actinic::put(&[1, 2, 3][..]).await?;
    assert_eq!(slice.await?, [1, 2, 3]);
    let one: ObjectRef<i64> = actinic::put(&1).await?;
    assert_eq!(one.await?, 1);
    let nothing: ObjectRef<()> = actinic::put(&()).await?;
    nothing.await?;
    let map: ObjectRef<HashMap<String, i64>> = actinic::put(&HashMap::from([("a".to_owned(), 1)])).await?;
    assert_eq!(map.await?["a"], 1);
    let deep = Deep {
        arrays: [("a".to_owned(), vec![(0..1000).map(|n| n as f32).collect()])].into(),
        bytes: Some(Buffer::from(vec![1u8; 1000])),
    };
    assert_eq!(actinic::put(&deep).await?.await?, deep);
    is_op::<ObjectRef<i64>, _>(actinic::put(&1i64)).await?;
    let here = blocking(|| actinic::put(&5).blocking()?.blocking()).await?;
    assert_eq!(here, 5);
    // What an operation was made of may be gone when it begins.
    let put = {
        let gone = vec![1u8, 2];
        actinic::put(&gone)
    };
    assert_eq!(put.await?.await?, [1, 2]);
    Ok(())
}

#[actinic::test(num_cpus = 2)]
async fn get_takes_every_list() -> actinic::Result<()> {
    let refs: Vec<ObjectRef<i64>> = (0..3).map(echo::remote).collect();
    let [a, b, c] = [0, 1, 2].map(|at: usize| refs[at].clone());
    let second = Duration::from_secs(20);

    let one: i64 = actinic::get(&a).await?;
    let same: i64 = actinic::get(a.clone()).await?;
    assert_eq!((one, same), (0, 0));
    let all: Vec<i64> = actinic::get(&refs).timeout(second).await?;
    assert_eq!(all, [0, 1, 2]);
    assert_eq!(actinic::get(&refs[..2]).await?, [0, 1]);
    assert_eq!(actinic::get(refs.as_slice()).await?, [0, 1, 2]);
    assert_eq!(actinic::get(refs.clone()).await?, [0, 1, 2]);
    assert_eq!(actinic::get([a.clone(), b.clone()]).await?, [0, 1]);
    assert_eq!(actinic::get(&[a.clone(), b.clone()]).await?, [0, 1]);
    assert_eq!(actinic::get([&a, &b]).await?, [0, 1]);
    assert_eq!(actinic::get(vec![&a, &c]).await?, [0, 2]);
    let (x, y): (i64, String) = actinic::get((&a, &name::remote(&b))).await?;
    assert_eq!((x, y.as_str()), (0, "n1"));
    let (x, y) = actinic::get((a.clone(), name::remote(1))).await?;
    assert_eq!((x, y.as_str()), (0, "n1"));
    let (x, rest) = actinic::get(&(a.clone(), refs.clone())).await?;
    assert_eq!((x, rest.len()), (0, 3));

    let get = {
        let borrowed = refs.clone();
        is_op::<Vec<i64>, _>(actinic::get(&borrowed).timeout(second))
    };
    assert_eq!(tokio::spawn(get.into_future()).await.unwrap()?, [0, 1, 2]);
    is_op::<i64, _>(actinic::get(&a)).await?;
    let moved = refs.clone();
    let all = blocking(move || {
        let one: i64 = actinic::get(&moved[0]).blocking()?;
        assert_eq!(one, moved[0].blocking()?);
        moved[0].done().blocking()?;
        let (x, y) = actinic::get((&moved[0], &moved[1])).timeout(Duration::from_secs(20)).blocking()?;
        assert_eq!((x, y), (0, 1));
        actinic::get(&moved).timeout(Duration::from_secs(20)).blocking()
    });
    assert_eq!(all.await?, [0, 1, 2]);
    Ok(())
}

#[actinic::test(num_cpus = 2)]
async fn wait_takes_every_list() -> actinic::Result<()> {
    let refs: Vec<ObjectRef<i64>> = (0..3).map(echo::remote).collect();
    let second = Duration::from_secs(20);
    let (ready, pending) = actinic::wait(&refs).num_returns(2).timeout(second).fetch_local(true).await?;
    assert_eq!((ready.len(), pending.len()), (2, 1));
    let (ready, pending): (Vec<ObjectRef<i64>>, Vec<ObjectRef<i64>>) = actinic::wait(&refs[..]).await?;
    assert_eq!((ready.len(), pending.len()), (1, 2));
    actinic::wait(refs.clone()).num_returns(refs.len()).await?;
    actinic::wait([refs[0].clone()]).num_returns(1u32).fetch_local(false).await?;
    actinic::wait(&[refs[0].clone(), refs[1].clone()]).num_returns(2.0).await?;
    let count: i64 = 3;
    actinic::wait(&refs).num_returns(count).await?;
    let text = name::remote(1);
    let mixed = [AnyRef::from(&text), AnyRef::from(&refs[0])];
    let (ready, _): (Vec<AnyRef>, Vec<AnyRef>) = actinic::wait(&mixed).num_returns(2).await?;
    assert_eq!(ready[0].downcast::<String>().unwrap().await?, "n1");
    assert!(ready[0].downcast::<i64>().is_none());
    is_op::<(Vec<AnyRef>, Vec<AnyRef>), _>(actinic::wait(&mixed)).await?;
    let moved = refs.clone();
    blocking(move || actinic::wait(&moved).num_returns(3).timeout(Duration::from_secs(20)).blocking()).await?;

    let none: Vec<ObjectRef<i64>> = Vec::new();
    assert_eq!(actinic::wait(&none).await?.0.len(), 0);
    for wrong in [
        actinic::wait(&refs).num_returns(0),
        actinic::wait(&refs).num_returns(4),
        actinic::wait(&refs).num_returns(-1),
        actinic::wait(&refs).num_returns(0.5),
        actinic::wait([refs[0].clone(), refs[0].clone()]),
    ] {
        let error = wrong.await.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    }
    Ok(())
}

#[actinic::test(num_cpus = 2)]
async fn as_completed_is_a_stream() -> actinic::Result<()> {
    let refs: Vec<ObjectRef<i64>> = (0..3).map(echo::remote).collect();
    let mut done = actinic::as_completed(&refs);
    let mut sum = 0;
    while let Some(object) = done.next().await {
        sum += object.await?;
    }
    assert_eq!(sum, 3);
    let mut stream = actinic::as_completed(refs.clone());
    is_send(&stream);
    let next = std::future::poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await;
    assert!(next.is_some_and(|object: ObjectRef<i64>| refs.contains(&object)));
    let mixed = [AnyRef::from(&name::remote(1)), AnyRef::from(&refs[0])];
    let mut done = actinic::as_completed(&mixed);
    assert!(done.next().await.is_some() && done.next().await.is_some() && done.next().await.is_none());
    let sum = blocking(move || {
        let mut sum = 0;
        for object in actinic::as_completed(&refs).blocking() {
            sum += object.blocking()?;
        }
        Ok(sum)
    });
    assert_eq!(sum.await?, 3);
    Ok(())
}

#[actinic::test(num_cpus = 1)]
async fn cancel_takes_its_options() -> actinic::Result<()> {
    let scratch = Scratch::new();
    let runs = held::remote(scratch.file("running"), scratch.file("gate"), 1);
    until_counted(&scratch.file("running"), 1).await;
    let waits: Vec<ObjectRef<i64>> = (0..4).map(echo::remote).collect();
    actinic::cancel(&waits[0]).await?;
    actinic::cancel(&waits[1]).force(true).recursive(true).await?;
    is_op::<(), _>(actinic::cancel(&waits[2]).recursive(false)).await?;
    actinic::cancel(&AnyRef::from(&waits[3])).await?;
    for object in &waits {
        let error = object.await.unwrap_err();
        assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
    }
    // Sync code that runs in a thread cannot be ended by force, and the error names the option.
    let error = actinic::cancel(&runs).force(true).await.unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    let moved = runs.clone();
    blocking(move || actinic::cancel(&moved).blocking()).await?;
    open_gate(&scratch.file("gate"));
    Ok(())
}

#[actinic::test(num_cpus = 1)]
async fn refs_are_values() -> actinic::Result<()> {
    fn traits<T: Clone + Send + Sync + Serialize + for<'a> Deserialize<'a> + std::fmt::Debug + std::fmt::Display>(
        _: &T,
    ) {
    }
    fn keys<T: std::hash::Hash + Eq + 'static>(_: &T) {}
    let object = echo::remote(1);
    let other = echo::remote(1);
    traits(&object);
    keys(&object);
    traits(&AnyRef::from(&object));
    keys(&AnyRef::from(&object));
    is_shared(&object);
    assert_eq!(object, object.clone());
    assert_ne!(object, other);
    assert_eq!(HashSet::from([object.clone(), object.clone(), other]).len(), 2);
    let id: actinic::ObjectId = object.id();
    let copy = id;
    assert_eq!(format!("{object}"), format!("ObjectRef({id})"));
    assert_eq!(format!("{object:?}"), format!("ObjectRef({copy})"));
    assert!(id.to_string().chars().all(|digit| digit.is_ascii_hexdigit()), "{id}");
    object.done().await?;
    is_op::<(), _>(object.done()).await?;
    assert!(serde_json::to_string(&object).is_err(), "nothing would keep the object alive");
    assert!(serde_json::from_str::<ObjectRef<i64>>("0").is_err());

    // A ref of what is not serde, or not even `Send`, is still a ref.
    fn any<T>(object: &ObjectRef<T>) -> ObjectRef<T> {
        object.clone()
    }
    assert_eq!(any(&object), object);
    let any: AnyRef = object.clone().into();
    assert_eq!(any.id(), id);
    any.done().await?;
    assert_eq!(any.downcast::<i64>(), Some(object));
    Ok(())
}

#[actinic::test(num_cpus = 1)]
async fn buffers_and_arrays_are_slices() -> actinic::Result<()> {
    let buffer = Buffer::from(vec![1u8, 2, 3]);
    let bytes: &[u8] = &buffer;
    assert_eq!((bytes.len(), buffer[0]), (3, 1));
    let made: Array<f64> = (0..4).map(f64::from).collect();
    let from = Array::from(vec![0.0, 1.0, 2.0, 3.0]);
    let slice: &[f64] = &made;
    assert_eq!((slice[3], &made), (3.0, &from));
    assert_eq!(made.iter().copied().fold(0.0, f64::max), 3.0);
    let sent =
        Deep { arrays: [("a".to_owned(), vec![vec![1.0f32].into()])].into(), bytes: Some(vec![1u8; 300_000].into()) };
    assert_eq!(deep::remote(&actinic::put(&sent).await?).await?, sent);
    is_shared(&buffer);
    is_shared(&made);
    Ok(())
}

/// What `get` takes, `wait` and `as_completed` take too.
#[actinic::test(num_cpus = 1)]
async fn refs_in_a_list_may_be_borrowed() -> actinic::Result<()> {
    let (a, b) = (echo::remote(1), echo::remote(2));
    let both = vec![a.clone(), b.clone()];
    let borrowed = &both;
    for (ready, pending) in [
        actinic::wait(&[&a, &b]).num_returns(2).await?,
        actinic::wait([&a, &b]).num_returns(2).await?,
        actinic::wait(vec![&a, &b]).num_returns(2).await?,
        actinic::wait(&vec![&a, &b]).num_returns(2).await?,
        actinic::wait(&borrowed).num_returns(2).await?,
        actinic::wait(&borrowed.as_slice()).num_returns(2).await?,
    ] {
        assert_eq!((ready, pending), (both.clone(), vec![]));
    }
    let mut done = actinic::as_completed([&a, &b]);
    let mut sum = 0;
    while let Some(one) = done.next().await {
        sum += one.await?;
    }
    assert_eq!(sum, 3);
    let any = [AnyRef::from(&a), AnyRef::from(&b)];
    assert_eq!(actinic::wait(&[&any[0], &any[1]]).num_returns(2).await?.0, any);
    Ok(())
}
