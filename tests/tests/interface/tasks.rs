//! "Tasks": items everywhere, options, arguments, returns.

use std::path::{Path, PathBuf};

use actinic::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::support::Refused;

#[actinic::remote]
fn square(x: i64) -> i64 {
    x * x
}

#[actinic::remote(num_cpus = 2, num_gpus = 0.5, memory = 1_000_000, resources = { "CustomResource1": 2 }, max_retries = 5)]
fn heavy(x: f64) -> f64 {
    x
}

const RESOURCE: &str = "A";
const TWO: u32 = 2;

#[actinic::remote(
    num_cpus = 1.5,
    num_gpus = 0,
    resources = { RESOURCE: TWO, "B": 0.5 },
    max_retries = -1,
    name = "everything",
    isolation = "shared",
    scheduling = "spread",
    on_infeasible = "fail",
    task_events = false,
)]
fn everything() {}

#[actinic::remote(isolation = Isolation::Process, retry_errors = true)]
fn parse(s: String) -> Result<i64, std::num::ParseIntError> {
    s.parse()
}

fn worth_it(error: &Refused) -> bool {
    error.0 > 0
}

#[actinic::remote(retry_if = worth_it, max_retries = 2)]
fn refuse_unless_late(by: i64) -> Result<i64, Refused> {
    if actinic::context().attempt() > 1 { Ok(by) } else { Err(Refused(by)) }
}

#[actinic::remote(retry_if = |error: &Refused| error.0 > 0)]
fn refuse_by_closure(by: i64) -> Result<i64, Refused> {
    if by > 0 && actinic::context().attempt() > 0 { Ok(by) } else { Err(Refused(by)) }
}

#[actinic::remote(num_returns = 3)]
fn three() -> (i64, String, bool) {
    (1, "a".into(), true)
}

#[actinic::remote(num_returns = 2)]
async fn two_or_none(fail: bool) -> Result<(i64, Vec<u8>), Refused> {
    if fail { Err(Refused(2)) } else { Ok((1, vec![2])) }
}

#[actinic::remote(num_returns = _)]
fn split(rows: Array<i64>, parts: usize) -> Vec<Array<i64>> {
    rows.chunks(rows.len().div_ceil(parts)).map(Array::from).collect()
}

#[actinic::remote(num_returns = _)]
fn parts(count: usize) -> actinic::Result<Vec<usize>> {
    Ok((0..count).collect())
}

#[actinic::remote]
async fn leaf(n: u32) -> u64 {
    u64::from(n)
}

#[actinic::remote]
async fn nested(n: u32) -> actinic::Result<u64> {
    leaf::remote(n).await
}

#[actinic::remote]
async fn sleeps_and_speaks() -> std::io::Result<u16> {
    // Async user code has tokio's time and I/O.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    Ok(listener.local_addr()?.port())
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Private {
    value: i64,
    refs: Vec<ObjectRef<i64>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct NotClone(i64);

#[actinic::remote]
fn take_private(private: Private) -> actinic::Result<Private> {
    Ok(Private { value: private.value + private.refs[0].blocking()?, ..private })
}

#[actinic::remote]
fn take_not_clone(value: NotClone) -> i64 {
    value.0
}

#[actinic::remote]
fn text(text: String) -> usize {
    text.len()
}

#[actinic::remote]
fn path(path: PathBuf) -> PathBuf {
    path.join("b")
}

#[actinic::remote]
fn list(list: Vec<i64>) -> i64 {
    list.iter().sum()
}

#[actinic::remote]
fn texts(texts: Vec<String>) -> String {
    texts.concat()
}

#[actinic::remote]
fn in_place(text: &str, list: &[i64], private: &NotClone) -> i64 {
    text.len() as i64 + list.iter().sum::<i64>() + private.0
}

#[actinic::remote]
async fn in_place_async(text: &str, list: &[i64]) -> usize {
    tokio::task::yield_now().await;
    text.len() + list.len()
}

#[actinic::remote]
fn bytes_in_place(head: u8, bytes: &[u8], more: &[u8]) -> usize {
    usize::from(head) + bytes.len() + more.len()
}

#[actinic::remote]
async fn bytes_in_place_async(bytes: &[u8], tail: u8) -> usize {
    tokio::task::yield_now().await;
    bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>() + usize::from(tail)
}

#[actinic::remote]
fn the_ref(object: ObjectRef<i64>, refs: Vec<ObjectRef<i64>>, maybe: Option<ObjectRef<i64>>) -> actinic::Result<i64> {
    Ok(object.blocking()? + refs[0].blocking()? + maybe.map_or(Ok(0), |object| object.blocking())?)
}

// Seven is as many as Clippy allows: what the macro adds to them is not the user's to answer for.
#[actinic::remote]
fn floats(a: f64, b: f32, c: u8, d: usize, (e, f): (i128, bool), g: char, (h, i): (Option<i64>, (i64, String))) -> f64 {
    let more = f64::from(u8::from(f)) + f64::from(u32::from(g)) + h.map_or(0.0, |h| h as f64) + i.0 as f64;
    a + f64::from(b) + f64::from(c) + d as f64 + e as f64 + more
}

#[actinic::remote]
fn mutable(mut list: Vec<i64>, (a, b): (i64, i64), _: i64) -> Vec<i64> {
    list.push(a + b);
    list
}

#[actinic::remote]
fn unit() {}

#[actinic::remote]
fn r#type(r#fn: i64) -> i64 {
    r#fn
}

#[actinic::remote]
#[allow(non_snake_case)]
fn Upper(x: i64) -> i64 {
    x
}

type Alias<T> = Result<T, Refused>;

/// An alias is taken literally: its value is the `Result`.
#[actinic::remote]
fn alias(value: i64) -> Alias<i64> {
    Err(Refused(value))
}

mod other {
    pub(super) mod deep {
        #[actinic::remote]
        pub fn square(x: i64) -> i64 {
            x * x * x
        }

        #[actinic::remote]
        pub(in crate::interface) fn restricted(x: i64) -> i64 {
            x
        }
    }

    #[actinic::remote]
    pub(crate) fn double(x: i64) -> i64 {
        2 * x
    }
}

mod brings_both {
    use super::other::deep::square;

    pub(super) fn call() -> (i64, actinic::ObjectRef<i64>) {
        (square(2), square::remote(2))
    }
}

mod renamed {
    pub(super) use super::other::double as twice;
}

mod globs {
    use super::other::deep::*;

    pub(super) fn call() -> (i64, actinic::ObjectRef<i64>) {
        (square(3), square::remote(3))
    }
}

struct Method;

impl Method {
    fn inside(&self) -> ObjectRef<i64> {
        #[actinic::remote]
        fn within_a_method(x: i64) -> i64 {
            x + 7
        }
        within_a_method::remote(1)
    }
}

#[actinic::test(num_cpus = 2, resources = { "CustomResource1": 2, "A": 2, "B": 1 }, num_gpus = 1)]
async fn functions_stay_functions_and_take_options() -> actinic::Result<()> {
    assert_eq!(square(4), 16);
    let r: ObjectRef<i64> = square::remote(4);
    let s = square::remote(&r);
    assert_eq!((&s).await?, 256);
    assert_eq!(s.await?, 256);
    let function: fn(i64) -> i64 = square;
    let remote: fn(i64) -> ObjectRef<i64> = square::remote;
    assert_eq!(remote(function(2)).await?, 16);
    let refs: Vec<ObjectRef<i64>> = (0..4).map(square::remote).collect();
    assert_eq!(actinic::get(&refs).await?, [0, 1, 4, 9]);

    assert_eq!(heavy(1.0), 1.0);
    assert_eq!(heavy::remote(1.0).await?, 1.0);
    let options = heavy::options()
        .num_cpus(1)
        .num_cpus(0.5)
        .num_gpus(0)
        .memory(1_000)
        .resource("A", 1)
        .resource(String::from("A"), 0.5)
        .name("h")
        .max_retries(-1)
        .max_retries(3u32)
        .max_retries(3.0)
        .retry_errors(false)
        .isolation(Isolation::Process)
        .isolation(Isolation::Shared)
        .scheduling(Scheduling::Default)
        .scheduling(Scheduling::Spread)
        .on_infeasible("wait")
        .task_events(false);
    // A set of options may be kept, and used for many calls.
    is_shared(&options);
    let again = options.clone();
    assert_eq!(options.remote(1.0).await?, 1.0);
    assert_eq!(again.remote(2.0).await? + options.remote(3.0).await?, 5.0);
    everything();
    everything::remote().await?;
    Ok(())
}

#[actinic::test(num_cpus = 2)]
async fn errors_are_retried_as_the_attribute_says() -> actinic::Result<()> {
    assert_eq!(parse::remote("7").await?, 7);
    let error = parse::options().max_retries(0).remote("x").await.unwrap_err();
    assert!(matches!(error, Error::Task { .. }), "{error:?}");
    assert!(error.to_string().contains("invalid digit"), "{error}");
    assert_eq!(refuse_unless_late::remote(1).await?, 1);
    assert_eq!(refuse_unless_late::remote(-1).await.unwrap_err().downcast_ref::<Refused>(), Some(&Refused(-1)));
    assert_eq!(refuse_by_closure::remote(1).await?, 1);
    assert!(refuse_by_closure::remote(0).await.is_err());
    Ok(())
}

#[actinic::test(num_cpus = 2)]
async fn returns_are_split() -> actinic::Result<()> {
    let (a, b, c) = three::remote();
    let (a, b, c): (i64, String, bool) = actinic::get((&a, &b, &c)).await?;
    assert_eq!((a, b.as_str(), c), (1, "a", true));
    let (a, b) = two_or_none::remote(false);
    assert_eq!((a.await?, b.await?), (1, vec![2]));
    let (a, b) = two_or_none::options().name("both fail").remote(true);
    assert!(a.await.is_err() && b.await.is_err());

    let rows: Array<i64> = (0..1000).collect();
    let pieces: Vec<ObjectRef<Array<i64>>> = split::options().num_returns(100).remote(&rows, 100);
    assert_eq!(pieces.len(), 100);
    assert_eq!(actinic::get(&pieces).await?[99][9], 999);
    let stored = actinic::put(&rows).await?;
    let pieces = split::options().num_returns(10usize).remote(&stored, 10);
    assert_eq!(actinic::get(&pieces).await?.len(), 10);
    for piece in split::options().num_returns(3.0).remote(rows, 2) {
        assert!(piece.await.is_err(), "a mismatch fails every ref");
    }
    let four: Vec<ObjectRef<usize>> = parts::options().num_returns(4i64).remote(4);
    assert_eq!(actinic::get(four).await?, [0, 1, 2, 3]);

    assert_eq!(alias::remote(3).await?, Err(Refused(3)));
    let () = unit::remote().await?;
    Ok(())
}

#[actinic::test(num_cpus = 4)]
async fn every_form_of_an_argument_is_taken() -> actinic::Result<()> {
    // `T`, `&T` where `T: Clone`, `ObjectRef<T>`, `&ObjectRef<T>`.
    let private = Private { value: 1, refs: vec![square::remote(3)] };
    let stored: ObjectRef<Private> = actinic::put(&private).await?;
    assert_eq!(take_private::remote(&private).await?.value, 10);
    assert_eq!(take_private::remote(private.clone()).await?.value, 10);
    assert_eq!(take_private::remote(&stored).await?.value, 10);
    assert_eq!(take_private::remote(take_private::remote(stored)).await?.value, 19);
    assert_eq!(take_not_clone::remote(NotClone(4)).await?, 4);
    assert_eq!(take_not_clone::remote(actinic::put(&NotClone(5)).await?).await?, 5);

    // Text and paths.
    let owned = String::from("four");
    for length in [text::remote("four"), text::remote(&owned), text::remote(owned.clone()), text::remote(&owned[..])] {
        assert_eq!(length.await?, 4);
    }
    assert_eq!(text::remote(actinic::put("four").await?).await?, 4);
    let a = PathBuf::from("a");
    let as_path: &Path = &a;
    for joined in [path::remote("a"), path::remote(&a), path::remote(a.clone()), path::remote(as_path)] {
        assert_eq!(joined.await?, Path::new("a/b"));
    }

    // Lists.
    let vec = vec![1, 2, 3];
    let array = [1, 2, 3];
    let slice: &[i64] = &vec;
    for sum in [
        list::remote(&vec),
        list::remote(vec.clone()),
        list::remote(slice),
        list::remote(&vec[..]),
        list::remote(array),
        list::remote(&array),
        list::remote([1, 2, 3]),
        list::remote(&[1, 2, 3]),
        list::remote(actinic::put(&vec).await?),
        list::remote(&actinic::put(slice).await?),
    ] {
        assert_eq!(sum.await?, 6);
    }
    assert_eq!(list::remote([]).await?, 0);
    assert_eq!(list::remote(vec![]).await?, 0);
    assert_eq!(list::remote(Vec::new()).await?, 0);
    assert_eq!(texts::remote(["a".to_owned(), "b".to_owned()]).await?, "ab");
    assert_eq!(texts::remote(vec!["a".into(), "b".into()]).await?, "ab");

    // Parameters that are read in place.
    let not_clone = actinic::put(&NotClone(1)).await?;
    assert_eq!(in_place::remote("ab", [1, 2], NotClone(1)).await?, 6);
    assert_eq!(in_place::remote(String::from("ab"), &vec[..2], &not_clone).await?, 6);
    assert_eq!(in_place::remote(&owned, &vec, not_clone).await?, 11);
    assert_eq!(in_place::remote(actinic::put("ab").await?, &actinic::put(&vec).await?, NotClone(0)).await?, 8);
    assert_eq!(in_place_async::remote("ab", [1, 2]).await?, 4);
    assert_eq!(bytes_in_place::remote(1, [2, 3], &[4, 5, 6][..]).await?, 6);
    assert_eq!(bytes_in_place::remote(1, vec![0; 300_000], actinic::put(&vec![0_u8; 200_000]).await?).await?, 500_001);
    assert_eq!(bytes_in_place_async::remote([1, 200], 3).await?, 204);
    assert_eq!(bytes_in_place_async::remote(actinic::put(&vec![1_u8; 1000]).await?, 3).await?, 1003);

    // Refs stay refs where the type says so.
    let one = square::remote(1);
    assert_eq!(the_ref::remote(&one, [one.clone()], None).await?, 2);
    assert_eq!(the_ref::remote(one.clone(), vec![one.clone()], Some(one.clone())).await?, 3);
    assert_eq!(the_ref::remote(&one, &[one.clone()], &Some(one.clone())).await?, 3);

    // Literals infer.
    assert_eq!(floats::remote(1.0, 1.0, 1, 1, (1, true), 'a', (Some(1), (1, "x".into()))).await?, 8.0 + 97.0);
    assert_eq!(floats::remote(-1.0, 2.5, 255, 0, (-1, false), '\0', (None, (0, String::new()))).await?, 255.5);
    assert_eq!(mutable::remote([1], (2, 3), 0).await?, [1, 5]);
    assert_eq!(r#type::remote(3).await?, 3);
    assert_eq!(Upper::remote(3).await? + Upper(4), 7);
    Ok(())
}

#[actinic::test(num_cpus = 2)]
async fn items_may_be_anywhere() -> actinic::Result<()> {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Local(i64);

    #[actinic::remote]
    fn local(local: Local) -> Local {
        Local(local.0 + 1)
    }

    {
        #[actinic::remote]
        fn square(x: i64) -> i64 {
            -x
        }
        assert_eq!(square::remote(3).await?, -3, "the nearest one is meant");
    }
    assert_eq!(local::remote(Local(1)).await?, Local(2));
    let (here, there) = brings_both::call();
    assert_eq!((here, there.await?), (8, 8));
    let (here, there) = globs::call();
    assert_eq!((here, there.await?), (27, 27));
    assert_eq!(other::deep::square::remote(2).await?, 8);
    assert_eq!(other::deep::restricted::remote(2).await?, other::deep::restricted(2));
    assert_eq!(other::double::options().num_cpus(1).remote(2).await?, 4);
    assert_eq!(renamed::twice::remote(renamed::twice(1)).await?, 4);
    assert_eq!(Method.inside().await?, 8);
    assert_eq!(square::remote(3).await?, 9);
    Ok(())
}

#[actinic::test(num_cpus = 2)]
async fn async_functions_nest() -> actinic::Result<()> {
    assert_eq!(nested::remote(3).await?, 3);
    assert_eq!(nested(4).await?, 4);
    assert_ne!(sleeps_and_speaks::remote().await?, 0);
    is_send(&square::remote(1).into_future());
    Ok(())
}

/// Setters never fail: what is wrong is the error of the ref.
#[actinic::test(num_cpus = 1)]
async fn what_is_wrong_is_the_error_of_the_ref() -> actinic::Result<()> {
    let wrong = [
        square::options().num_cpus(-1),
        square::options().num_cpus(f64::NAN),
        square::options().num_gpus(1.5),
        square::options().memory(-1),
        square::options().resource("", 1),
        square::options().max_retries(-2),
        square::options().on_infeasible("never"),
    ];
    for options in wrong {
        let error = options.remote(1).await.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    }
    let error = square::options().num_cpus(8).on_infeasible("fail").remote(1).await.unwrap_err();
    assert!(matches!(error, Error::Infeasible { .. }), "{error:?}");
    Ok(())
}

#[actinic::remote(retry_errors, max_retries = 2)]
fn panics_once(file: String) -> u64 {
    let runs = crate::support::count_up(&file);
    assert!(runs > 1, "on purpose");
    runs
}

/// What returns no `Result` may panic, and be tried again for that.
#[actinic::test(num_cpus = 1)]
async fn panics_are_errors_that_may_be_retried() -> actinic::Result<()> {
    let scratch = crate::support::Scratch::new();
    assert_eq!(panics_once::remote(scratch.file("runs")).await?, 2);
    Ok(())
}
