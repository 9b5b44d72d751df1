//! Bad input to a whole cluster: an error that names the thing and the remedy, in time, and the cluster goes on.
//!
//! What the network is given by hand is tested in `transport/tests/it/hostile.rs`, what a command or a program is told
//! of a wrong address, token or port in `daemons/wrong.rs`, and a second `init` in `start.rs`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use actinic::prelude::*;
use actinic::testing::{TestOptions, run_test_sync};
use serde::{Deserialize, Serialize};

use crate::support::*;

/// What is refused is refused at once; this much is left to a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Another cluster in this process, and what was made there; it must be idle once that is dropped.
struct Elsewhere<T> {
    made: T,
    cluster: String,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

fn elsewhere<T: Send + 'static>(make: impl FnOnce() -> actinic::Result<T> + Send + 'static) -> Elsewhere<T> {
    let (tell, hear) = channel();
    let (stop, stopped) = channel::<()>();
    let thread = std::thread::spawn(move || {
        run_test_sync(TestOptions::new(file!(), line!()).num_cpus(2), |cluster| {
            let made = make().unwrap();
            tell.send((made, name(&cluster))).unwrap();
            let _ = stopped.recv();
            assert_eq!(echo::remote(8).blocking().unwrap(), 8, "the other cluster works as before");
            cluster.idle().blocking().unwrap();
        });
    });
    let (made, cluster) = hear.recv().unwrap();
    Elsewhere { made, cluster, stop, thread }
}

impl<T> Elsewhere<T> {
    /// Its refs are given up, and nothing is left of them there.
    fn ends(self) {
        drop(self.made);
        self.stop.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

/// A cluster's id, as errors write it.
fn name(cluster: &Cluster) -> String {
    let text = format!("{cluster:?}");
    text.trim_start_matches("Cluster(").trim_end_matches(')').to_owned()
}

/// Asserts that an error says that `thing` is of another cluster than this, and what to do.
fn is_foreign(error: &Error, thing: &str, there: &str, here: &str) {
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    let text = error.to_string();
    for said in [thing, there, here, "in this cluster"] {
        assert!(text.contains(said), "{said:?} is not in: {text}");
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    number: u32,
    parts: BTreeMap<String, Option<ObjectRef<i64>>>,
}

#[actinic::remote]
fn count(refs: Vec<ObjectRef<i64>>) -> usize {
    refs.len()
}

#[actinic::remote]
fn take(order: Order) -> u32 {
    order.number
}

#[actinic::remote]
fn take_any(refs: Vec<AnyRef>) -> usize {
    refs.len()
}

#[actinic::remote]
fn take_large(padding: Vec<u8>, refs: (Vec<u8>, ObjectRef<i64>)) -> usize {
    padding.len() + refs.0.len()
}

#[actinic::remote]
fn call_it(shelf: Handle<Shelf>) -> actinic::Result<usize> {
    shelf.len().blocking()
}

#[actinic::remote]
async fn call_them(shelves: Vec<Handle<Shelf>>) -> usize {
    shelves.len()
}

#[derive(Default)]
pub struct Shelf {
    kept: Vec<ObjectRef<i64>>,
}

#[actinic::remote]
impl Shelf {
    pub fn new(kept: Vec<ObjectRef<i64>>) -> Self {
        Shelf { kept }
    }

    pub fn keep(&mut self, more: Vec<ObjectRef<i64>>) -> usize {
        self.kept.extend(more);
        self.kept.len()
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn kept(&self) -> Vec<ObjectRef<i64>> {
        self.kept.clone()
    }
}

modes! {
    /// A ref of another cluster is refused where it is given, however deep it is in a value; nothing waits for an owner
    /// that nobody here can ask.
    2 CPUs, async fn a_ref_of_another_cluster_is_refused(cluster) {
        let here = name(cluster);
        let there = elsewhere(|| Ok(echo::remote(7)));
        let foreign = &there.made;
        let mine = echo::remote(1);
        let id = foreign.id().to_string();
        let check = |error: Error| is_foreign(&error, &id, &there.cluster, &here);
        let order = |part: &ObjectRef<i64>| Order {
            number: 3,
            parts: [("a".to_owned(), None), ("b".to_owned(), Some(part.clone()))].into(),
        };
        check(actinic::get(&add::remote(foreign, 1)).timeout(AT_ONCE).await.unwrap_err());
        check(actinic::get(&count::remote(vec![mine.clone(), foreign.clone()])).timeout(AT_ONCE).await.unwrap_err());
        check(actinic::get(&take::remote(order(foreign))).timeout(AT_ONCE).await.unwrap_err());
        check(actinic::get(&take_any::remote(vec![AnyRef::from(&mine), AnyRef::from(foreign)])).timeout(AT_ONCE).await.unwrap_err());
        // Arguments that become objects of their own.
        let large = (vec![1u8; 200_000], foreign.clone());
        check(actinic::get(&take_large::remote(vec![2u8; 200_000], large)).timeout(AT_ONCE).await.unwrap_err());
        check(actinic::put(&vec![foreign.clone()]).await.unwrap_err());
        check(actinic::put(&order(foreign)).await.unwrap_err());

        let shelf = Shelf::remote(vec![mine.clone()]);
        check(actinic::get(&shelf.keep(vec![foreign.clone()])).timeout(AT_ONCE).await.unwrap_err());
        let never = Shelf::remote(vec![foreign.clone()]);
        check(actinic::get(&Handle::ready(&never)).timeout(AT_ONCE).await.unwrap_err());
        check(actinic::get(&never.len()).timeout(AT_ONCE).await.unwrap_err());

        // The ref itself is as good as before, and so are calls with refs of this cluster.
        assert_eq!(actinic::get(foreign).timeout(SOON).await?, 7);
        assert_eq!(take::remote(order(&mine)).await?, 3);
        assert_eq!(shelf.keep(vec![mine.clone()]).await?, 2);
        there.ends();
    }

    /// So is a handle, whether a ref keeps its actor alive or it is detached.
    2 CPUs, async fn a_handle_of_another_cluster_is_refused(cluster) {
        let here = name(cluster);
        let there = elsewhere(|| {
            let kept = Shelf::remote(vec![]);
            let detached = Shelf::options().name("shelf").lifetime(Lifetime::Detached).remote(vec![]);
            actinic::get(&[kept.len(), detached.len()]).blocking()?;
            Ok([kept, detached])
        });
        for foreign in &there.made {
            let id = Handle::id(foreign).to_string();
            let check = |error: Error| is_foreign(&error, &id, &there.cluster, &here);
            check(actinic::get(&call_it::remote(foreign)).timeout(AT_ONCE).await.unwrap_err());
            check(actinic::get(&call_them::remote(vec![foreign.clone()])).timeout(AT_ONCE).await.unwrap_err());
            check(actinic::put(&Some(foreign.clone())).await.unwrap_err());
            // The handle carries its cluster: a call goes there, and takes refs from there only.
            assert_eq!(actinic::get(&foreign.len()).timeout(SOON).await?, 0);
            let mine = echo::remote(1);
            let error = actinic::get(&foreign.keep(vec![mine.clone()])).timeout(AT_ONCE).await.unwrap_err();
            is_foreign(&error, &mine.id().to_string(), &here, &there.cluster);
        }
        actinic::kill(&there.made[1]).await?;
        let mine = Shelf::remote(vec![]);
        assert_eq!(call_it::remote(&mine).await?, 0);
        there.ends();
    }

    /// What cannot be encoded, wherever it is given: the error names the argument, its type and the task.
    1 CPUs, async fn what_cannot_be_serialized_is_named_wherever_it_is_given(cluster) {
        let check = |error: Error, names: &[&str]| {
            assert!(matches!(error, Error::Serialization { .. }), "{error:?}");
            let text = error.to_string();
            for said in names.iter().chain(&["Stubborn", "stubborn on purpose", "its `Serialize` must succeed"]) {
                assert!(text.contains(said), "{said:?} is not in: {text}");
            }
        };
        check(
            actinic::get(&deeply::remote(vec![Some(Stubborn)])).timeout(AT_ONCE).await.unwrap_err(),
            &["argument `stubborn`", "deeply"],
        );
        check(actinic::put(&vec![Stubborn]).await.unwrap_err(), &["the value to put"]);
        let mule = Mule::remote(None);
        check(
            actinic::get(&mule.load(Stubborn)).timeout(AT_ONCE).await.unwrap_err(),
            &["argument `stubborn`", "Mule.load"],
        );
        check(actinic::get(&mule.unload()).timeout(SOON).await.unwrap_err(), &["the returned value", "Mule.unload"]);
        let never = Mule::remote(Some(Stubborn));
        check(
            actinic::get(&Handle::ready(&never)).timeout(AT_ONCE).await.unwrap_err(),
            &["argument `stubborn`", "Mule"],
        );
        assert_eq!(mule.loads().await?, 0);
    }

    /// Types that ask the encoding what comes next are refused, and what to do is said.
    1 CPUs, async fn what_must_describe_itself_is_refused_by_name(cluster) {
        let check = |error: Error, names: &[&str]| {
            assert!(matches!(error, Error::Serialization { .. }), "{error:?}");
            let text = error.to_string();
            for said in names.iter().chain(&["`#[serde(untagged)]`", "a `String` of JSON"]) {
                assert!(text.contains(said), "{said:?} is not in: {text}");
            }
        };
        let free = serde_json::json!({ "any": [1, "thing"] });
        check(actinic::get(&takes_any::remote(&free)).timeout(SOON).await.unwrap_err(), &["`any`", "Value", "takes_any"]);
        let either = actinic::put(&Either::Number(1)).await?;
        check(either.await.unwrap_err(), &["Either"]);
        let flat = Flat { name: "flat".to_owned(), rest: Rest { more: 1 } };
        check(actinic::put(&flat).await.unwrap_err(), &["Flat"]);
    }
}

#[actinic::remote]
fn takes_any(any: serde_json::Value) -> usize {
    any.to_string().len()
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Number(i64),
    Name(String),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Rest {
    more: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Flat {
    name: String,
    #[serde(flatten)]
    rest: Rest,
}

/// Serializes nothing, and says so.
#[derive(Debug, Clone, Deserialize)]
pub struct Stubborn;

impl Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("stubborn on purpose"))
    }
}

#[actinic::remote]
fn deeply(stubborn: Vec<Option<Stubborn>>) -> usize {
    stubborn.len()
}

pub struct Mule {
    loads: u32,
}

#[actinic::remote]
impl Mule {
    pub fn new(stubborn: Option<Stubborn>) -> Self {
        Mule { loads: stubborn.is_some().into() }
    }

    pub fn load(&mut self, stubborn: Stubborn) {
        let Stubborn = stubborn;
        self.loads += 1;
    }

    pub fn unload(&self) -> Stubborn {
        Stubborn
    }

    pub fn loads(&self) -> u32 {
        self.loads
    }
}

/// What a task of this process finds that was made in another cluster.
static SMUGGLED: Mutex<Option<ObjectRef<i64>>> = Mutex::new(None);

#[actinic::remote]
fn smuggles(number: usize) -> Vec<ObjectRef<i64>> {
    vec![SMUGGLED.lock().unwrap().clone().unwrap(); number]
}

pub struct Smuggler;

#[actinic::remote]
impl Smuggler {
    pub fn new() -> Self {
        Smuggler
    }

    pub async fn smuggle(&self) -> (Vec<u8>, ObjectRef<i64>) {
        (vec![1; 200_000], SMUGGLED.lock().unwrap().clone().unwrap())
    }
}

/// A result that contains a ref of another cluster is an error of its task, on this node and on another.
#[actinic::test(num_cpus = 1)]
async fn a_result_with_a_ref_of_another_cluster_is_an_error(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let here = name(&cluster);
    let there = elsewhere(|| Ok(echo::remote(7)));
    let id = there.made.id().to_string();
    *SMUGGLED.lock().unwrap() = Some(there.made.clone());
    for at in [cluster.head().id(), node.id()] {
        let place = Scheduling::NodeAffinity { node: at, soft: false };
        let results = smuggles::options().scheduling(place.clone()).remote(3);
        let error = actinic::get(&results).timeout(SOON).await.unwrap_err();
        is_foreign(&error, &id, &there.cluster, &here);
        assert!(error.to_string().contains("smuggles"), "{error}");
        let smuggler = Smuggler::options().scheduling(place.clone()).remote();
        let error = actinic::get(&smuggler.smuggle()).timeout(SOON).await.unwrap_err();
        is_foreign(&error, &id, &there.cluster, &here);
        assert_eq!(echo::options().scheduling(place).remote(1).await?, 1);
    }
    *SMUGGLED.lock().unwrap() = None;
    there.ends();
    cluster.idle().await
}
