//! What is very large, very long or very deep: nothing overflows, nothing is lost on the way.

use actinic::prelude::*;

use crate::support::*;

#[actinic::remote]
#[allow(clippy::too_many_arguments)]
fn lengths(a: String, b: String, c: String, d: String, e: String, f: String, g: String, h: String) -> Vec<usize> {
    [a, b, c, d, e, f, g, h].iter().map(String::len).collect()
}

#[actinic::remote]
fn count_refs(refs: Vec<ObjectRef<i64>>) -> usize {
    refs.len()
}

#[actinic::remote]
fn many_refs(count: i64) -> actinic::Result<Vec<ObjectRef<i64>>> {
    (0..count).map(|value| actinic::put(&value).blocking()).collect()
}

#[actinic::remote]
fn fails_at_length(length: usize) -> i64 {
    panic!("{}", "x".repeat(length))
}

#[actinic::remote]
fn text(length: usize) -> String {
    "x".repeat(length)
}

#[actinic::remote]
fn nest(depth: u32, inner: Vec<AnyRef>) -> actinic::Result<Vec<AnyRef>> {
    let mut inner = inner;
    for _ in 0..depth {
        inner = vec![AnyRef::from(&actinic::put(&inner).blocking()?)];
    }
    Ok(inner)
}

/// Remembers in which order it was called.
pub struct Order {
    seen: Vec<i64>,
}

#[actinic::remote]
impl Order {
    pub fn new() -> Self {
        Order { seen: Vec::new() }
    }

    pub fn plain(&mut self, at: i64) {
        self.seen.push(at);
    }

    pub fn with(&mut self, at: i64, refs: Vec<ObjectRef<i64>>) {
        drop(refs);
        self.seen.push(at);
    }

    pub fn seen(&self) -> Vec<i64> {
        self.seen.clone()
    }
}

modes! {
    /// Arguments that are together larger than a message; each is small enough to be sent inside it.
    2 CPUs, async fn many_arguments_of_middling_size(cluster) {
        let one = |index: usize| text::remote(90_000 + index);
        let refs: Vec<ObjectRef<String>> = (0..8).map(one).collect();
        let [a, b, c, d, e, f, g, h] = &refs[..] else { unreachable!() };
        let got = lengths::remote(a, b, c, d, e, f, g, h).await?;
        assert_eq!(got, (0..8).map(|index| 90_000 + index).collect::<Vec<_>>());
    }

    /// Refs inside a value, as an argument and as a result.
    2 CPUs, async fn fifty_thousand_refs_in_one_value(cluster) {
        let mut refs = Vec::new();
        for value in 0..50_000i64 {
            refs.push(actinic::put(&value).await?);
        }
        assert_eq!(count_refs::remote(&refs).await?, 50_000);
        drop(refs);
        let made = many_refs::remote(50_000).await?;
        assert_eq!(made.len(), 50_000);
        assert_eq!((&made[49_999]).await?, 49_999);
    }

    /// An error whose text is larger than a message still arrives.
    2 CPUs, async fn an_error_larger_than_a_message_arrives(cluster) {
        let error = fails_at_length::remote(40 << 20).await.unwrap_err();
        assert!(matches!(error, Error::Task { .. }));
        assert!(error.to_string().contains("xxx"));
    }

    /// Objects that hold refs to objects that hold refs, far deeper than a stack is.
    2 CPUs, async fn a_deep_nest_of_refs_is_dropped(cluster) {
        let outer = nest::remote(20_000, Vec::new()).await?;
        drop(outer);
    }

    /// A failure reaches the end of a long chain of dependents, with its cause.
    2 CPUs, async fn a_long_chain_of_dependents_fails(cluster) {
        let scratch = Scratch::new();
        let gate = scratch.file("gate");
        let mut last = add::remote(refuse::remote(7), held::remote(scratch.file("ran"), &gate, 1));
        for _ in 0..20_000 {
            last = add::remote(&last, 1);
        }
        open_gate(&gate);
        let error = last.await.unwrap_err();
        assert_eq!(error.downcast_ref::<Refused>(), Some(&Refused(7)), "{error:?}");
        assert!(error.to_string().len() < 10_000);
    }

    /// ACT-02: calls that carry other owners' refs keep their place among calls that carry none.
    2 CPUs, async fn refs_of_others_do_not_change_the_order_of_calls(cluster) {
        let order = Order::remote();
        let others = many_refs::remote(20).await?;
        for at in 0..100 {
            if at % 5 == 0 {
                order.with(at, vec![others[at as usize / 5].clone()]);
            } else {
                order.plain(at);
            }
        }
        assert_eq!(order.seen().await?, (0..100).collect::<Vec<_>>());
    }
}

/// Has had many objects at a time.
pub struct Bursts {
    kept: Vec<ObjectRef<u64>>,
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[actinic::remote]
impl Bursts {
    pub fn new() -> Self {
        Bursts { kept: Vec::new() }
    }

    /// Makes many objects and lets all go but the last, which lies above the others. The bytes of its process before, and
    /// with all of them.
    pub fn burst(&mut self) -> actinic::Result<(usize, usize)> {
        let before = resident();
        let mut refs = (0..100_000).map(|at| actinic::put(&at).blocking()).collect::<actinic::Result<Vec<_>>>()?;
        let most = resident();
        self.kept.extend(refs.pop());
        Ok((before, most))
    }

    pub fn resident(&self) -> usize {
        resident()
    }
}

/// The memory of a burst goes back to the system when no other follows it.
#[actinic::test(workers = "processes")]
async fn the_memory_of_a_burst_goes_back(cluster: TestCluster) -> actinic::Result<()> {
    let actor = Bursts::remote();
    let (before, most) = actor.burst().await?;
    assert!(most - before > 20 << 20, "{} bytes are no burst", most - before);
    let given_back = async || actor.resident().await.is_ok_and(|now| now.saturating_sub(before) < (most - before) / 4);
    assert!(actinic::testing::eventually(Duration::from_secs(20), given_back).await);
    drop(actor);
    cluster.idle().await
}
