//! "Errors": the one type, its variants, and what it finds in a chain.

use actinic::prelude::*;

use super::*;
use crate::support::*;

/// Every variant that there is, each matched as `Error::X { .. }`.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::Task { .. } => "Task",
        Error::TaskCancelled { .. } => "TaskCancelled",
        Error::WorkerCrashed { .. } => "WorkerCrashed",
        Error::ActorDied { .. } => "ActorDied",
        Error::ActorUnavailable { .. } => "ActorUnavailable",
        Error::ActorPendingCallsLimit { .. } => "ActorPendingCallsLimit",
        Error::ObjectLost { .. } => "ObjectLost",
        Error::OwnerDied { .. } => "OwnerDied",
        Error::ObjectFreed { .. } => "ObjectFreed",
        Error::ReconstructionFailed { .. } => "ReconstructionFailed",
        Error::ObjectStoreFull { .. } => "ObjectStoreFull",
        Error::OutOfDisk { .. } => "OutOfDisk",
        Error::OutOfMemory { .. } => "OutOfMemory",
        Error::GetTimeout { .. } => "GetTimeout",
        Error::NodeDied { .. } => "NodeDied",
        Error::RuntimeEnvSetup { .. } => "RuntimeEnvSetup",
        Error::PlacementGroupRemoved { .. } => "PlacementGroupRemoved",
        Error::Infeasible { .. } => "Infeasible",
        Error::Connection { .. } => "Connection",
        Error::Unauthorized { .. } => "Unauthorized",
        Error::VersionMismatch { .. } => "VersionMismatch",
        Error::Serialization { .. } => "Serialization",
        Error::InvalidArgument { .. } => "InvalidArgument",
        other => other.kind(),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("outer")]
struct Outer(#[source] std::num::ParseIntError);

#[actinic::remote]
fn outer() -> Result<i64, Outer> {
    Err(Outer("x".parse::<i64>().unwrap_err()))
}

#[actinic::remote]
fn through(value: i64) -> i64 {
    value
}

#[actinic::remote]
fn other_of(which: u8) -> actinic::Result<i64> {
    Err(match which {
        0 => Error::other("a text"),
        1 => Error::other(String::from("an owned text")),
        2 => Error::other(Refused(2)),
        3 => Error::other(Outer("x".parse::<i64>().unwrap_err())),
        _ => {
            let boxed: Box<dyn std::error::Error + Send + Sync> = "boxed".into();
            Error::other(boxed)
        }
    })
}

#[actinic::remote]
async fn question_mark(value: i64) -> actinic::Result<i64> {
    let value = refuse::remote(value).await?;
    Ok(value)
}

#[actinic::remote]
fn any_error(text: &str) -> Result<i64, Box<dyn std::error::Error + Send + Sync>> {
    if text.is_empty() {
        return Err("nothing".into());
    }
    Ok(text.parse::<i64>()?)
}

#[actinic::remote]
fn text_error() -> Result<i64, String> {
    Err("only a text".to_owned())
}

#[actinic::remote]
fn panics() -> i64 {
    panic!("on purpose")
}

fn is_error<T>(_: &T)
where
    T: std::error::Error + Clone + Send + Sync + serde::Serialize + for<'a> serde::Deserialize<'a> + 'static,
{
}

fn main_returns(fail: bool) -> actinic::Result<()> {
    if fail {
        Err(Error::other("x"))?
    }
    Ok(())
}

fn io_error() -> std::io::Result<()> {
    Err(Error::other("x"))?
}

#[test]
fn an_error_is_a_value() {
    let error = main_returns(true).unwrap_err();
    is_error(&error);
    assert_eq!(kind(&error), "Task");
    assert!(matches!(error, Error::Task { .. }));
    assert!(io_error().is_err());
    let boxed: Box<dyn std::error::Error + Send + Sync> = error.clone().into();
    assert!(boxed.downcast_ref::<Error>().is_some());
    let json = serde_json::to_string(&error).unwrap();
    let back: Error = serde_json::from_str(&json).unwrap();
    assert_eq!(back.to_string(), error.to_string());
    let result: actinic::Result<i64, String> = Err("the error type may be another".into());
    assert!(result.is_err());
    assert_eq!(error.root_cause().to_string(), error.to_string());
}

/// `Error::other` takes what `std::io::Error::other` takes, keeps the chain, and finds what it was made of.
#[test]
fn other_keeps_what_it_was_made_of() {
    let error = Error::other(Refused(2));
    assert_eq!(error.downcast_ref::<Refused>(), Some(&Refused(2)));
    let error = Error::other(Outer("x".parse::<i64>().unwrap_err()));
    assert!(format!("{error:?}").contains("invalid digit"), "{error:?}");
    let timeout = Error::other(Error::other("x"));
    assert!(matches!(timeout, Error::Task { .. }));
}

/// One that an I/O error carries keeps its kind: whoever reads and waits in one function turns it into such.
#[test]
fn an_io_error_hands_back_what_it_carries() {
    let lost = || Error::typed(Refused(3));
    let back = Error::other(std::io::Error::from(lost()));
    assert_eq!(back.downcast_ref::<Refused>(), Some(&Refused(3)), "{back:?}");
    assert_eq!(back.to_string(), lost().to_string());
    let plain = Error::other(std::io::Error::from(Error::other(Outer("x".parse::<i64>().unwrap_err()))));
    assert!(plain.downcast_ref::<Outer>().is_some(), "{plain:?}");
}

#[actinic::test(num_cpus = 2)]
async fn chains_travel() -> actinic::Result<()> {
    let error = refuse::remote(1).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Refused>(), Some(&Refused(1)));
    let dependent = through::remote(through::remote(refuse::remote(2))).await.unwrap_err();
    assert!(matches!(dependent, Error::Task { .. }));
    assert_eq!(dependent.downcast_ref::<Refused>(), Some(&Refused(2)));
    assert_eq!(dependent.root_cause().downcast_ref::<Refused>(), Some(&Refused(2)));
    assert!(format!("{dependent:?}").contains("refused: 2"), "{dependent:?}");
    let kept = question_mark::remote(3).await.unwrap_err();
    assert_eq!(kept.downcast_ref::<Refused>(), Some(&Refused(3)), "an actinic::Error keeps its kind");

    let error = outer::remote().await.unwrap_err();
    assert!(format!("{error:?}").contains("invalid digit"), "{error:?}");
    assert!(error.to_string().contains("outer"), "{error}");
    let error = panics::remote().await.unwrap_err();
    assert!(matches!(error, Error::Task { .. }));
    assert!(error.to_string().contains("on purpose") && error.to_string().contains("errors.rs"), "{error}");
    assert!(any_error::remote("").await.unwrap_err().to_string().contains("nothing"));
    assert!(any_error::remote("x").await.unwrap_err().to_string().contains("invalid digit"));
    assert_eq!(any_error::remote("3").await?, 3);
    assert!(text_error::remote().await.unwrap_err().to_string().contains("only a text"));
    for (which, text) in ["a text", "an owned text", "refused: 2", "outer", "boxed"].into_iter().enumerate() {
        let error = other_of::remote(which as u8).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
    let error = other_of::remote(3).await.unwrap_err();
    assert!(format!("{error:?}").contains("invalid digit"), "{error:?}");
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(&dependent);
    let mut depth = 0;
    while let Some(error) = source {
        depth += 1;
        source = error.source();
    }
    assert!(depth > 0, "{dependent:?}");
    is_send(&error);
    Ok(())
}

/// An error that wraps what failed below it, as `?` makes one.
#[derive(Debug, thiserror::Error)]
enum Wrapped {
    #[error("a step failed")]
    Step(#[from] Error),
}

#[derive(Debug, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[error("a typed step failed")]
struct TypedWrapped(#[source] Error);

#[actinic::remote]
async fn wraps(value: i64) -> Result<i64, Wrapped> {
    Ok(refuse::remote(value).await?)
}

#[actinic::remote]
async fn wraps_typed(value: i64) -> Result<i64, TypedWrapped> {
    refuse::remote(value).await.map_err(TypedWrapped)
}

#[actinic::remote]
async fn wraps_boxed(value: i64) -> Result<i64, Box<dyn std::error::Error + Send + Sync>> {
    Ok(wraps::remote(value).await.map_err(Wrapped::from)?)
}

here! {
    /// What a `source()` is of Actinic's own is the cause: its types and its root are found.
    2 CPUs, async fn a_wrapped_error_keeps_what_it_wraps(_cluster) {
        for (error, title) in [
            (wraps::remote(1).await.unwrap_err(), "a step failed"),
            (wraps_typed::remote(1).await.unwrap_err(), "a typed step failed"),
            (wraps_boxed::remote(1).await.unwrap_err(), "a step failed"),
        ] {
            assert!(matches!(error, Error::Task { .. }), "{error:?}");
            assert!(error.to_string().contains(title), "{error}");
            assert_eq!(error.downcast_ref::<Refused>(), Some(&Refused(1)), "{error:?}");
            assert!(error.root_cause().to_string().contains("refused: 1"), "{error:?}");
        }
        let typed = wraps_typed::remote(2).await.unwrap_err();
        assert!(typed.downcast_ref::<TypedWrapped>().is_some(), "{typed:?}");
    }

    /// Each says the node and what to do.
    2 CPUs, async fn errors_say_where_and_what_to_do(cluster) {
        let scratch = Scratch::new();
        let (running, gate) = (scratch.file("running"), scratch.file("gate"));
        let late = held::remote(&running, &gate, 1);
        until_counted(&running, 1).await;
        let timeout = actinic::get(&late).timeout(Duration::from_millis(1)).await.unwrap_err();
        actinic::cancel(&late).await?;
        let cancelled = late.await.unwrap_err();
        open_gate(&gate);
        let node = cluster.head().id().to_string();
        for (error, remedy) in [
            (refuse::remote(1).await.unwrap_err(), "retry_errors"),
            (text_error::remote().await.unwrap_err(), "retry_errors"),
            (panics::remote().await.unwrap_err(), "mend the function"),
            (cancelled, "submit it again"),
            (timeout, "wait longer"),
        ] {
            says_where_and_what_to_do(&error, &node, remedy);
        }
    }

    /// So does each end of an actor.
    2 CPUs, async fn ends_of_actors_say_where_and_what_to_do(cluster) {
        let node = cluster.head().id().to_string();
        let [killed, exited] = [(); 2].map(|()| Frail::remote(false));
        actinic::get(&[killed.ready(), exited.ready()]).timeout(SOON).await?;
        actinic::kill(&killed).await?;
        let leaving = exited.leave();
        for (call, what, remedy) in [
            (killed.ready(), "was killed", "make another one"),
            (leaving, "exited on purpose", "make another one"),
            (exited.ready(), "exited on purpose", "make another one"),
            (Frail::remote(true).ready(), "failed in its constructor", "mend the constructor"),
        ] {
            let error = actinic::get(&call).timeout(SOON).await.unwrap_err();
            assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(what) && text.contains("Frail"), "{text}");
            says_where_and_what_to_do(&error, &node, remedy);
        }
    }
}

fn says_where_and_what_to_do(error: &Error, node: &str, remedy: &str) {
    let text = error.to_string();
    assert_eq!(error.detail().node.as_deref(), Some(node), "{text}");
    assert!(text.contains(remedy) && error.detail().remedy.contains(remedy), "{text}");
}

pub struct Frail;

#[actinic::remote]
impl Frail {
    pub fn new(fails: bool) -> Result<Self, String> {
        if fails { Err("on purpose".to_owned()) } else { Ok(Frail) }
    }

    pub fn ready(&self) {}

    pub fn leave(&mut self) {
        actinic::exit_actor()
    }

    pub fn abort(&self) {
        std::process::abort()
    }
}

#[actinic::remote(max_retries = 0)]
fn aborts() {
    std::process::abort()
}

/// What loses its process says on which node that was, and what loses its node says which.
#[actinic::test(num_cpus = 2, workers = "processes")]
async fn what_is_lost_with_its_process_or_node_says_where_and_what_to_do(cluster: TestCluster) -> actinic::Result<()> {
    let second = cluster.add_node().num_cpus(2).await?;
    let nodes = [cluster.head().id(), second.id()];
    for node in nodes {
        let place = Scheduling::NodeAffinity { node, soft: false };
        let error = aborts::options().scheduling(place.clone()).remote().await.unwrap_err();
        assert!(matches!(error, Error::WorkerCrashed { .. }), "{error:?}");
        says_where_and_what_to_do(&error, &node.to_string(), "max_retries");
        let frail = Frail::options().scheduling(place).remote(false);
        let aborted = frail.abort().await.unwrap_err();
        for error in [aborted, frail.ready().await.unwrap_err()] {
            assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
            assert!(error.to_string().contains("set max_restarts"), "{error}");
            says_where_and_what_to_do(&error, &node.to_string(), "its node's log");
        }
    }
    let frail = Frail::options().scheduling(Scheduling::on(&second)).remote(false);
    frail.ready().await?;
    let place = second.id().to_string();
    second.kill().await?;
    let error = actinic::get(&frail.ready()).timeout(SOON).await.unwrap_err();
    assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
    // Of its process or of the node, whichever is known to have gone first.
    says_where_and_what_to_do(&error, &place, "make another one to go on");
    drop(frail);
    cluster.idle().await
}

/// Outside of an actor there is nothing to end.
#[test]
fn exit_actor_elsewhere_is_a_readable_panic() {
    let panic = std::panic::catch_unwind(|| actinic::exit_actor()).err().unwrap();
    let text = panic.downcast_ref::<&str>().copied().unwrap_or_default();
    assert!(text.contains("outside an actor"), "{text:?}");
}

/// A tuple of twelve.
#[actinic::test]
async fn get_takes_twelve() -> actinic::Result<()> {
    let one = actinic::put(&1).await?;
    let o = &one;
    assert_eq!(actinic::get((o, o, o, o, o, o, o, o, o, o, o, o)).await?, (1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1));
    Ok(())
}

#[actinic::remote]
fn parses(text: String) -> Result<i64, std::num::ParseIntError> {
    text.parse()
}

/// Any error may be asked for. One that is not serde is not there where it was not made: its text is.
#[actinic::test(num_cpus = 1)]
async fn any_error_may_be_asked_for() -> actinic::Result<()> {
    let error = parses::remote("x").await.unwrap_err();
    assert!(error.downcast_ref::<std::num::ParseIntError>().is_none() && error.downcast_ref::<Refused>().is_none());
    assert_eq!(error.detail().chain, ["invalid digit found in string"]);
    let here = Error::other("x".parse::<i64>().unwrap_err());
    assert!(here.downcast_ref::<std::num::ParseIntError>().is_some());
    let typed = refuse::remote(3).await.unwrap_err();
    assert!(typed.downcast_ref::<std::num::ParseIntError>().is_none());
    assert_eq!(typed.downcast_ref::<Refused>(), Some(&Refused(3)));
    Ok(())
}
