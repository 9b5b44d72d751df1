//! RET: how many values a call returns.

use actinic::CallOptions;
use actinic::prelude::*;

use crate::support::*;

#[actinic::remote(num_returns = 3)]
fn mixed() -> (i64, String, bool) {
    (1, "a".into(), true)
}

#[actinic::remote(num_returns = _)]
fn give(count: usize) -> Vec<i64> {
    (0..count as i64).collect()
}

#[actinic::remote(num_returns = 0)]
fn silent(file: &str) {
    count_up(file);
}

pub struct Pair;

#[actinic::remote]
impl Pair {
    pub fn new() -> Self {
        Pair
    }
    #[actinic::method(num_returns = 2)]
    pub fn both(&mut self) -> (i64, i64) {
        (1, 2)
    }
    #[actinic::method(num_returns = _)]
    pub fn some(&mut self, count: usize) -> Vec<i64> {
        (0..count as i64).collect()
    }
}

modes! {
    /// A tuple is split into one ref each.
    1 CPUs, async fn a_tuple_is_one_ref_each(cluster) {
        let (a, b, c) = mixed::remote();
        assert_eq!(actinic::get((&a, &b, &c)).await?, (1, "a".to_owned(), true));
    }

    /// RET-01, RET-02: more or fewer values than the call says fail every ref, saying both numbers.
    1 CPUs, async fn a_wrong_count_fails_every_ref(cluster) {
        for (declared, given) in [(2u32, 3usize), (3, 2), (2, 0), (0, 1)] {
            let refs = give::options().num_returns(declared).remote(given);
            assert_eq!(refs.len(), declared as usize);
            for one in refs {
                let error = one.await.unwrap_err();
                assert!(matches!(error, Error::Task { .. }), "{error:?}");
                let text = error.to_string();
                assert!(text.contains(&given.to_string()) && text.contains(&declared.to_string()), "{text}");
                assert!(text.contains("on node"), "{text}");
            }
        }
        let all = give::options().num_returns(100).remote(100);
        assert_eq!(actinic::get(&all).await?, (0..100).collect::<Vec<i64>>());
    }

    /// RET-03: a call of no returns gives no ref, and runs all the same.
    1 CPUs, async fn a_call_without_returns_still_runs(cluster) {
        let scratch = Scratch::new();
        silent::remote(scratch.file("ran"));
        until_counted(&scratch.file("ran"), 1).await;
    }

    /// RET-06: an actor's method with two returns.
    2 CPUs, async fn a_method_returns_two_refs(cluster) {
        let actor = Pair::remote();
        let (a, b) = actor.both();
        assert_eq!((a.await?, b.await?), (1, 2));
    }

    /// RET-06: a method returns as many values as its call says; another number fails every ref.
    2 CPUs, async fn a_call_of_a_method_says_how_many_it_returns(cluster) {
        let actor = Pair::remote();
        let refs: Vec<ObjectRef<i64>> = Handle::with(&actor, CallOptions::new().num_returns(3)).some(3);
        assert_eq!(actinic::get(&refs).await?, [0, 1, 2]);
        for one in Handle::with(&actor, CallOptions::new().num_returns(3)).some(2) {
            let text = one.await.unwrap_err().to_string();
            assert!(text.contains('3') && text.contains('2'), "{text}");
        }
        assert_eq!(actor.both().0.await?, 1);
    }
}

/// RET-06: where the attribute says how many, a call that asks for another number is refused, and not given those.
#[actinic::test(num_cpus = 1)]
async fn a_number_that_the_attribute_fixes_is_not_changed_by_a_call() -> actinic::Result<()> {
    let pair = Pair::remote();
    let (first, second) = Handle::with(&pair, CallOptions::new().num_returns(1)).both();
    for error in [first.await.unwrap_err(), second.await.unwrap_err()] {
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        assert!(error.to_string().contains("num_returns = _"), "{error}");
    }
    assert_eq!(Handle::with(&pair, CallOptions::new().num_returns(2)).both().1.await?, 2);
    Ok(())
}

/// RET-03: no value and no ref; a count below zero is refused as one.
#[actinic::test(num_cpus = 1)]
async fn a_call_may_say_that_it_returns_nothing() -> actinic::Result<()> {
    assert!(give::options().num_returns(0).remote(0).is_empty());
    let pair = Pair::remote();
    assert!(Handle::with(&pair, CallOptions::new().num_returns(0)).some(0).is_empty());
    for mut refs in
        [give::options().num_returns(-1).remote(1), Handle::with(&pair, CallOptions::new().num_returns(-1)).some(1)]
    {
        let error = refs.remove(0).await.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        assert!(error.to_string().contains("num_returns: -1") && error.to_string().contains("negative"), "{error}");
    }
    Ok(())
}

/// RET-03: a call that returns nothing has not failed, so nothing is said of it.
#[test]
fn a_call_that_returns_nothing_is_no_failure() {
    let said = alone("returns::returns_nothing", &[]);
    assert!(said.contains("unhandled error") && said.contains("refused: 77"), "it says what has failed: {said}");
    assert!(!said.contains("too few"), "{said}");
}

#[actinic::test(num_cpus = 1)]
#[ignore = "another test runs it in a process of its own"]
async fn returns_nothing(cluster: TestCluster) -> actinic::Result<()> {
    let pair = Pair::remote();
    give::options().num_returns(0).remote(0);
    Handle::with(&pair, CallOptions::new().num_returns(0)).some(0);
    drop(refuse::remote(77));
    give::options().num_returns(1).remote(1).remove(0).await?;
    Handle::with(&pair, CallOptions::new().num_returns(1)).some(1).remove(0).await?;
    drop(pair);
    cluster.idle().await
}

#[actinic::remote(num_returns = _)]
fn give_large(count: usize) -> Vec<Buffer> {
    vec![Buffer::from(vec![7; 1 << 20]); count]
}

modes! {
    /// Large values that there are no refs for stay nowhere.
    1 CPUs, async fn large_values_of_a_wrong_count_are_freed(cluster) {
        for (declared, given) in [(2u32, 3usize), (3, 2)] {
            for one in give_large::options().num_returns(declared).remote(given) {
                assert!(matches!(one.await.unwrap_err(), Error::Task { .. }));
            }
        }
        let freed = async || cluster.usage().await.is_ok_and(|usage| usage.stored < 1 << 20);
        assert!(actinic::testing::eventually(SOON, freed).await, "{:?}", cluster.usage().await);
    }
}
