//! WAI: `wait` and `as_completed`.

use std::time::{Duration, Instant};

use actinic::prelude::*;
use actinic::testing::{TestOptions, eventually, run_test};

use crate::support::*;

modes! {
    /// WAI-01: by default one is ready; what is ready and what is not is the input, in its order.
    4 CPUs, async fn wait_splits_its_input(cluster) {
        let refs: Vec<_> = (0..4).map(echo::remote).collect();
        let (ready, rest) = actinic::wait(&refs).await?;
        assert_eq!((ready.len(), rest.len()), (1, 3));
        let (ready, rest) = actinic::wait(&refs).num_returns(4).await?;
        assert_eq!(ready, refs);
        assert!(rest.is_empty());
    }

    /// WAI-02: at the timeout what is ready is returned, without an error.
    2 CPUs, async fn wait_ends_at_its_timeout(cluster) {
        let scratch = Scratch::new();
        let (running, gate) = (scratch.file("running"), scratch.file("gate"));
        let refs = [echo::remote(0), held::remote(&running, &gate, 1)];
        until_counted(&running, 1).await;
        let begun = Instant::now();
        let (ready, rest) = actinic::wait(&refs).num_returns(2).timeout(Duration::from_millis(500)).await?;
        let took = begun.elapsed();
        assert_eq!((ready, rest), (vec![refs[0].clone()], vec![refs[1].clone()]));
        assert!(took >= Duration::from_millis(490) && took < Duration::from_secs(3), "{took:?}");
        open_gate(&gate);
        assert_eq!(actinic::get(&refs).await?, [0, 1]);
    }

    /// WAI-07: a failed and a cancelled ref are ready; the error shows at `get`.
    2 CPUs, async fn failed_refs_are_ready(cluster) {
        let scratch = Scratch::new();
        let (running, gate) = (scratch.file("running"), scratch.file("gate"));
        let cancelled = held::remote(&running, &gate, 1);
        until_counted(&running, 1).await;
        actinic::cancel(&cancelled).await?;
        let refs = [refuse::remote(1), cancelled];
        let (ready, rest) = actinic::wait(&refs).num_returns(2).timeout(SOON).await?;
        assert_eq!((ready.len(), rest.len()), (2, 0));
        assert!(matches!(refs[0].clone().await.unwrap_err(), Error::Task { .. }));
        assert!(matches!(refs[1].clone().await.unwrap_err(), Error::TaskCancelled { .. }));
        open_gate(&gate);
    }

    /// WAI-09: what is ready is returned at once, however long one may wait.
    4 CPUs, async fn wait_does_not_sleep_when_it_need_not(cluster) {
        let refs: Vec<_> = (0..10).map(echo::remote).collect();
        actinic::get(&refs).await?;
        let begun = Instant::now();
        for count in 1..=10 {
            let (ready, _) = actinic::wait(&refs).num_returns(count).timeout(Duration::from_secs(60)).await?;
            assert_eq!(ready.len(), count);
        }
        assert!(begun.elapsed() < Duration::from_secs(1));
    }

    /// The order of `as_completed` is the order in which things end.
    2 CPUs, async fn as_completed_follows_the_ends(cluster) {
        let scratch = Scratch::new();
        let (running, gate) = (scratch.file("running"), scratch.file("gate"));
        let late = held::remote(&running, &gate, 1);
        until_counted(&running, 1).await;
        let refs = [late, echo::remote(2), refuse::remote(3)];
        let mut done = actinic::as_completed(&refs);
        let mut first = vec![done.next().await, done.next().await];
        first.sort_by_key(|one| one.as_ref().map(|one| one.to_string()));
        let mut quick = vec![Some(refs[1].clone()), Some(refs[2].clone())];
        quick.sort_by_key(|one| one.as_ref().map(|one| one.to_string()));
        assert_eq!(first, quick);
        open_gate(&gate);
        assert_eq!(done.next().await, Some(refs[0].clone()));
        assert_eq!(done.next().await, None);
    }
}

/// WAI-03, WAI-04, WAI-05: what cannot be waited for is refused at once, each with its own message; an empty list
/// is two empty lists.
#[actinic::test]
async fn wait_refuses_what_makes_no_sense() -> actinic::Result<()> {
    let one = actinic::put(&1i64).await?;
    let refusal = |error: Error| {
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        error.to_string()
    };
    let twice = refusal(actinic::wait(&[one.clone(), one.clone()]).await.unwrap_err());
    let zero = refusal(actinic::wait(std::slice::from_ref(&one)).num_returns(0).await.unwrap_err());
    let many = refusal(actinic::wait(std::slice::from_ref(&one)).num_returns(2).await.unwrap_err());
    assert!(twice != zero && zero != many && twice != many, "{twice} / {zero} / {many}");
    assert!(twice.contains("twice") && zero.contains('0') && many.contains('2'), "{twice} / {zero} / {many}");
    let none: Vec<ObjectRef<i64>> = Vec::new();
    assert_eq!(actinic::wait(&none).await?, (Vec::new(), Vec::new()));
    Ok(())
}

/// Owns what it makes.
pub struct Maker;

#[actinic::remote]
impl Maker {
    pub fn new() -> Self {
        Maker
    }

    pub fn make(&self, size: usize) -> actinic::Result<ObjectRef<Buffer>> {
        actinic::put(&Buffer::from(vec![7u8; size])).blocking()
    }
}

#[actinic::remote(num_returns = _)]
fn numbers(count: usize) -> Vec<i64> {
    (0..count as i64).collect()
}

async fn many_put() -> actinic::Result<Vec<AnyRef>> {
    let mut refs = Vec::new();
    for x in 0..20i64 {
        refs.push(AnyRef::from(&actinic::put(&x).await?));
    }
    Ok(refs)
}

#[actinic::remote]
fn length(bytes: Buffer) -> usize {
    bytes.len()
}

/// Ends of what it was given, in their order, got on its own thread.
#[actinic::remote]
fn in_order_of_their_ends(refs: Vec<ObjectRef<i64>>, gate: &str) -> actinic::Result<Vec<i64>> {
    let mut values = Vec::new();
    for one in actinic::as_completed(&refs).blocking() {
        values.push(one.blocking()?);
        if values.len() == refs.len() - 1 {
            open_gate(gate);
        }
    }
    Ok(values)
}

/// The word of an owner's death takes its way: within a second, a `get` fails with it, and with nothing else.
async fn until_owner_died<T: serde::de::DeserializeOwned + Send + 'static>(one: &ObjectRef<T>) {
    let dead = eventually(SOON, || async {
        match actinic::get(one).timeout(SOON).await {
            Ok(_) => false,
            Err(error) => {
                assert!(matches!(error, Error::OwnerDied { .. }), "{error:?}");
                true
            }
        }
    });
    assert!(dead.await, "the owner's death is not known");
}

modes! {
    /// WAI-07: a ref whose owner has died is ready; the error shows at `get`, and at whoever takes it as an argument.
    3 CPUs, async fn refs_of_a_dead_owner_are_ready(cluster) {
        let maker = Maker::remote();
        let made = vec![maker.make(10).await?, maker.make(1000).await?];
        actinic::kill(&maker).await?;
        Handle::closed(&maker).await?;
        let begun = Instant::now();
        let (ready, rest) = actinic::wait(&made).num_returns(2).timeout(SOON).await?;
        assert_eq!((ready.len(), rest.len()), (2, 0));
        for one in &made {
            until_owner_died(one).await;
            let error = actinic::get(&length::remote(one)).timeout(SOON).await.unwrap_err();
            assert!(matches!(error.root_cause(), Error::OwnerDied { .. }), "{error:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    /// OWN-01: a large object that was read while its owner lived is `OwnerDied` all the same.
    3 CPUs, async fn what_was_read_before_dies_with_its_owner(cluster) {
        let maker = Maker::remote();
        let made = maker.make(1_000_000).await?;
        assert_eq!(length::remote(&made).await?, 1_000_000);
        actinic::kill(&maker).await?;
        Handle::closed(&maker).await?;
        until_owner_died(&made).await;
        let error = actinic::get(&length::remote(&made)).timeout(SOON).await.unwrap_err();
        assert!(matches!(error.root_cause(), Error::OwnerDied { .. }), "{error:?}");
    }

    /// Refs of several types are waited for together.
    2 CPUs, async fn refs_of_several_types_are_waited_for_together(cluster) {
        let scratch = Scratch::new();
        let (running, gate) = (scratch.file("running"), scratch.file("gate"));
        let (text, number) = (actinic::put("text").await?, held::remote(&running, &gate, 1));
        let mixed = [AnyRef::from(&text), AnyRef::from(&number)];
        let (ready, rest) = actinic::wait(&mixed).timeout(SOON).await?;
        assert_eq!((ready.len(), rest.len()), (1, 1));
        assert_eq!(ready[0].downcast::<String>().unwrap().await?, "text");
        assert!(rest[0].downcast::<String>().is_none());
        open_gate(&gate);
        assert_eq!(rest[0].downcast::<i64>().unwrap().await?, 1);
    }

    /// WAI-03: a ref that is given twice is found wherever it is, in whatever order and of whichever owner the others are.
    2 CPUs, async fn a_ref_that_is_given_twice_is_found(cluster) {
        let (other, maker) = (cluster.driver().await?, Maker::remote());
        let (own, theirs) = (many_put().await?, other.scope(many_put()).await?);
        let parts: Vec<AnyRef> = numbers::options().num_returns(12).remote(12).iter().map(AnyRef::from).collect();
        let mut made = Vec::new();
        for _ in 0..12 {
            made.push(AnyRef::from(&maker.make(10).await?));
        }
        let mut lists = vec![[&own[..], &theirs, &parts, &made].concat(), own, theirs, parts, made];
        lists.extend(lists.clone().iter().map(|list| list.iter().rev().cloned().collect()));
        for list in lists {
            let (ready, rest) = actinic::wait(&list).num_returns(list.len()).timeout(SOON).await?;
            assert_eq!((ready, rest), (list.clone(), vec![]));
            let end = list.len();
            for (one, at) in [(0, 1), (0, end), (end - 1, 0), (end - 1, end), (end / 2, end), (end / 2, 0)] {
                let mut twice = list.clone();
                twice.insert(at, list[one].clone());
                let error = actinic::wait(twice).await.unwrap_err();
                assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
                assert!(error.to_string().contains(&list[one].id().to_string()), "{error} / {}", list[one].id());
            }
        }
        other.shutdown().await?;
    }

    /// What a dead owner had in the store is free again.
    3 CPUs, async fn large_objects_of_a_dead_owner_are_freed(cluster) {
        let maker = Maker::remote();
        let made = maker.make(1_000_000).await?;
        actinic::kill(&maker).await?;
        Handle::closed(&maker).await?;
        actinic::wait(std::slice::from_ref(&made)).timeout(SOON).await?;
    }

    /// `as_completed` on a thread follows the ends too.
    3 CPUs, async fn as_completed_blocks_a_thread(cluster) {
        let scratch = Scratch::new();
        let (running, gate) = (scratch.file("running"), scratch.file("gate"));
        let refs = vec![held::remote(&running, &gate, 1), echo::remote(2), echo::remote(3)];
        let mut values = in_order_of_their_ends::remote(refs, &gate).await?;
        assert_eq!(values.pop(), Some(1), "the gate was opened when the others had ended");
        values.sort_unstable();
        assert_eq!(values, [2, 3]);
    }
}

#[actinic::remote]
fn megabyte() -> Buffer {
    Buffer::from(vec![7; 1 << 20])
}

/// A value that could not be brought here in time is not ready, unless nobody asked for it to be here.
#[actinic::test(num_cpus = 0)]
async fn what_could_not_be_fetched_in_time_is_not_ready(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let object = megabyte::remote();
    object.done().await?;
    node.pause().await?;
    let refs = [object.clone()];
    let soon = Duration::from_millis(100);
    let (ready, pending) = actinic::wait(&refs).timeout(soon).await?;
    assert_eq!((ready.len(), pending.len()), (0, 1));
    let (ready, _) = actinic::wait(&refs).timeout(soon).fetch_local(false).await?;
    assert_eq!(ready, refs);
    // One that is late takes no place of one that is here.
    let small = actinic::put(&Buffer::from(vec![7])).await?;
    let (ready, pending) = actinic::wait([object.clone(), small.clone()]).timeout(soon).await?;
    assert_eq!((ready, pending), (vec![small], vec![object.clone()]));
    node.resume().await?;
    let (ready, _) = actinic::wait(&refs).await?;
    assert_eq!(ready, refs);
    assert_eq!(object.await?.len(), 1 << 20);
    Ok(())
}

/// So long one may wait, and does not.
const LONG: Duration = Duration::from_secs(60);

/// What took long would take all of `LONG`.
fn took_no_time(begun: Instant) {
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// A large object that lies on a node of its own.
async fn megabyte_on(node: &actinic::testing::Node) -> actinic::Result<ObjectRef<Buffer>> {
    let object = megabyte::options().scheduling(Scheduling::on(node)).remote();
    object.done().await?;
    Ok(object)
}

/// What is here counts before what would have to be brought, wherever it stands; both lists keep the order given.
#[actinic::test(num_cpus = 0)]
async fn wait_takes_what_is_here_before_what_is_elsewhere(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let away = megabyte_on(&node).await?;
    node.pause().await?;
    let (one, two) = (actinic::put(&Buffer::from(vec![1])).await?, actinic::put(&Buffer::from(vec![2])).await?);
    let begun = Instant::now();
    let (ready, rest) = actinic::wait([away.clone(), one.clone()]).timeout(LONG).await?;
    assert_eq!((ready, rest), (vec![one.clone()], vec![away.clone()]));
    let all = [two.clone(), away.clone(), one.clone()];
    let (ready, rest) = actinic::wait(&all).num_returns(2).await?;
    assert_eq!((ready, rest), (vec![two.clone(), one.clone()], vec![away.clone()]));
    let split = tokio::task::spawn_blocking(move || actinic::wait(all).num_returns(2).timeout(LONG).blocking());
    assert_eq!(split.await.map_err(Error::other)??, (vec![two, one], vec![away.clone()]));
    took_no_time(begun);
    node.resume().await?;
    drop(away);
    cluster.idle().await
}

/// One that cannot be brought keeps none back that lies on another node.
#[actinic::test(num_cpus = 0)]
async fn wait_takes_what_can_be_brought(cluster: TestCluster) -> actinic::Result<()> {
    let (silent, node) = (cluster.add_node().num_cpus(1).await?, cluster.add_node().num_cpus(1).await?);
    let away = [megabyte_on(&silent).await?, megabyte_on(&silent).await?];
    let near = [megabyte_on(&node).await?, megabyte_on(&node).await?];
    silent.pause().await?;
    let begun = Instant::now();
    let refs = [&away[..], &near[..1]].concat();
    assert_eq!(actinic::wait(refs).timeout(LONG).await?, (near[..1].to_vec(), away.to_vec()));
    assert!(cluster.head().objects().contains(&near[0].id()));
    let refs = [&away[..], &near[1..]].concat();
    let split = tokio::task::spawn_blocking(move || actinic::wait(refs).timeout(LONG).blocking());
    assert_eq!(split.await.map_err(Error::other)??, (near[1..].to_vec(), away.to_vec()));
    assert!(cluster.head().objects().contains(&near[1].id()));
    took_no_time(begun);
    silent.resume().await?;
    drop((away, near));
    cluster.idle().await
}

#[actinic::remote]
fn megabyte_after(running: &str, gate: &str) -> Buffer {
    count_up(running);
    hold(gate);
    Buffer::from(vec![7; 1 << 20])
}

/// What becomes ready while another is being brought counts: at once if it is small, and else when it was brought too.
#[actinic::test(num_cpus = 0)]
async fn wait_takes_what_becomes_ready_meanwhile(cluster: TestCluster) -> actinic::Result<()> {
    let (silent, node) = (cluster.add_node().num_cpus(1).await?, cluster.add_node().num_cpus(1).await?);
    let away = AnyRef::from(&megabyte_on(&silent).await?);
    silent.pause().await?;
    for (round, large, blocking) in [(0, false, false), (1, true, false), (2, false, true), (3, true, true)] {
        let scratch = Scratch::new();
        let (running, gate) = (scratch.file("running"), scratch.file("gate"));
        let late = if large {
            AnyRef::from(&megabyte_after::options().scheduling(Scheduling::on(&node)).remote(&running, &gate))
        } else {
            AnyRef::from(&held::options().scheduling(Scheduling::on(&node)).remote(&running, &gate, round))
        };
        until_counted(&running, 1).await;
        let wait = actinic::wait([away.clone(), late.clone()]).timeout(LONG);
        let waits = match blocking {
            true => tokio::task::spawn_blocking(move || wait.blocking()),
            false => tokio::spawn(wait.into_future()),
        };
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!waits.is_finished(), "nothing is here yet");
        let begun = Instant::now();
        open_gate(&gate);
        assert_eq!(waits.await.map_err(Error::other)??, (vec![late.clone()], vec![away.clone()]));
        assert_eq!(cluster.head().objects().contains(&late.id()), large, "it was brought");
        took_no_time(begun);
    }
    silent.resume().await?;
    drop(away);
    cluster.idle().await
}

/// What lies elsewhere is brought while the rest is waited for, and counts at the timeout though that has not come.
#[actinic::test(num_cpus = 0)]
async fn wait_brings_while_it_waits(cluster: TestCluster) -> actinic::Result<()> {
    let (node, busy) = (cluster.add_node().num_cpus(1).await?, cluster.add_node().num_cpus(1).await?);
    let scratch = Scratch::new();
    let (running, gate) = (scratch.file("running"), scratch.file("gate"));
    let away = AnyRef::from(&megabyte_on(&node).await?);
    let held = AnyRef::from(&held::options().scheduling(Scheduling::on(&busy)).remote(&running, &gate, 1));
    until_counted(&running, 1).await;
    let late = AnyRef::from(&megabyte::options().scheduling(Scheduling::on(&node)).remote());
    let refs = [held.clone(), late.clone(), away.clone()];
    let (ready, rest) = actinic::wait(&refs).num_returns(3).timeout(Duration::from_secs(2)).await?;
    assert_eq!((ready, rest), (vec![late, away], vec![held.clone()]));
    open_gate(&gate);
    Ok(())
}

/// A look without waiting finds what is here, and has brought what is not, so that a later look finds that.
#[actinic::test(num_cpus = 0)]
async fn a_look_has_what_is_elsewhere_brought(cluster: TestCluster) -> actinic::Result<()> {
    let node = cluster.add_node().num_cpus(1).await?;
    let refs = [megabyte_on(&node).await?];
    let look = async || actinic::wait(&refs).timeout(Duration::ZERO).await.map(|(ready, _)| ready.len());
    assert_eq!(look().await?, 0);
    assert!(eventually(SOON, async || look().await.is_ok_and(|count| count == 1)).await, "it was never brought");
    for _ in 0..100 {
        assert_eq!(look().await?, 1, "it is here");
    }
    assert_eq!(actinic::get(&refs[0]).timeout(Duration::ZERO).await?.len(), 1 << 20);
    assert_eq!(actinic::get(&refs).timeout(Duration::ZERO).await?[0].len(), 1 << 20);
    Ok(())
}

/// Whatever is returned as ready is here, also what becomes ready while the rest is looked through.
#[actinic::test(num_cpus = 0)]
async fn what_is_returned_as_ready_is_here(cluster: TestCluster) -> actinic::Result<()> {
    let _nodes = (cluster.add_node().num_cpus(2).await?, cluster.add_node().num_cpus(2).await?);
    let mut rest: Vec<_> = (0..60).map(|_| megabyte::remote()).collect();
    while !rest.is_empty() {
        let (ready, pending) = actinic::wait(&rest).num_returns(rest.len().min(3)).timeout(SOON).await?;
        assert_eq!(ready.len(), rest.len().min(3));
        let here = cluster.head().objects();
        assert!(ready.iter().all(|one| here.contains(&one.id())), "{ready:?} / {here:?}");
        rest = pending;
    }
    cluster.idle().await
}

/// A loop that only looks hears how refs come out that others own.
#[actinic::remote]
fn looks_until_ready(refs: Vec<ObjectRef<i64>>, fetch_local: bool) -> actinic::Result<Option<i64>> {
    let begun = Instant::now();
    while begun.elapsed() < SOON {
        let (ready, _) = actinic::wait(&refs).timeout(Duration::ZERO).fetch_local(fetch_local).blocking()?;
        if let Some(ready) = ready.first() {
            return Ok(Some(ready.blocking()?));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(None)
}

modes! {
    /// A look has the owner of a borrowed ref asked, so that a later look finds what it said.
    2 CPUs, async fn looks_hear_of_what_others_own(cluster) {
        let scratch = Scratch::new();
        for (round, fetch_local) in [(0, true), (1, false)] {
            let (running, gate) = (scratch.file(&format!("running{round}")), scratch.file(&format!("gate{round}")));
            let late = held::remote(&running, &gate, 4);
            until_counted(&running, 1).await;
            let looks = looks_until_ready::remote(vec![late], fetch_local);
            tokio::time::sleep(Duration::from_millis(100)).await;
            open_gate(&gate);
            assert_eq!(actinic::get(&looks).timeout(SOON + SOON).await?, Some(4));
        }
    }
}

/// Short waits and looks, however many, end behind what does not come, and what comes after them is brought.
#[actinic::test(num_cpus = 0)]
async fn short_waits_leave_nothing_behind(cluster: TestCluster) -> actinic::Result<()> {
    let (silent, node) = (cluster.add_node().num_cpus(1).await?, cluster.add_node().num_cpus(1).await?);
    let (away, near) = (megabyte_on(&silent).await?, megabyte_on(&node).await?);
    silent.pause().await?;
    let begun = Instant::now();
    for round in 0..200 {
        let time = Duration::from_millis(round % 3);
        assert_eq!(actinic::wait([away.clone()]).timeout(time).await?.0.len(), 0);
        let late = actinic::get(&away).timeout(time).await.unwrap_err();
        assert!(matches!(late, Error::GetTimeout { .. }), "{late:?}");
    }
    let (ready, _) = actinic::wait([away.clone(), near.clone()]).timeout(LONG).await?;
    assert_eq!(ready, [near]);
    took_no_time(begun);
    silent.resume().await?;
    assert_eq!(actinic::get(&away).timeout(SOON).await?.len(), 1 << 20);
    Ok(())
}

/// What is waited for says whose time counts, and not a ref beside it: one that failed where there was no cluster, or whose
/// cluster was shut down.
#[actinic::test(num_cpus = 1)]
async fn a_wait_ends_in_time_whatever_is_beside_what_it_waits_for(cluster: TestCluster) -> actinic::Result<()> {
    let over = TestOptions::new(file!(), line!()).num_cpus(1);
    let beside = std::thread::spawn(move || {
        run_test(over, |over| async move {
            // Of two clusters it cannot know which one is meant.
            let of_none = std::thread::spawn(|| echo::remote(1)).join().unwrap();
            let of_other = actinic::put(&1i64).await?;
            over.shutdown().await?;
            Ok::<_, Error>((of_none, of_other))
        })
    });
    let (of_none, of_other) =
        tokio::task::spawn_blocking(move || beside.join().unwrap()).await.map_err(Error::other)??;
    assert!(actinic::get(&of_none).timeout(Duration::ZERO).await.is_err(), "it is of no cluster");
    let never = echo::options().num_cpus(2).remote(1);
    for beside in [&of_none, &of_other] {
        let refs = [beside.clone(), never.clone()];
        let begun = Instant::now();
        let waits = actinic::wait(&refs).num_returns(2).timeout(Duration::from_millis(300));
        let (ready, rest) = tokio::time::timeout(SOON, waits.into_future()).await.map_err(Error::other)??;
        assert_eq!((&ready[..], &rest[..]), (&refs[..1], &refs[1..]));
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(290), "{took:?}");
        let refs = refs.clone();
        let blocks = move || actinic::wait(&refs).num_returns(2).timeout(Duration::from_millis(300)).blocking();
        let (ready, _) = tokio::task::spawn_blocking(blocks).await.map_err(Error::other)??;
        assert_eq!(&ready[..], std::slice::from_ref(beside));
    }
    actinic::cancel(&never).await?;
    drop(never);
    cluster.idle().await
}
