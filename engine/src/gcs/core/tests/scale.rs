//! A hundred thousand actors.

use super::*;

/// A creation costs the GCS the same when there are a hundred thousand actors as when there are none: whatever goes
/// through them all would make it a hundred times dearer. Compared are the quickest batches, which a busy machine slows
/// least; run with `--release -- --nocapture` for the figures.
#[test]
#[allow(clippy::disallowed_methods)] // what is measured is real time
fn a_creation_costs_the_same_however_many_there_are() {
    let mut world = World::new(4);
    let count: u64 = 100_000;
    let specs: Vec<_> = (0..u128::from(count))
        .map(|n| {
            // Ids are random in life.
            let id = ActorId(Uuid::from_u128((n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)));
            Arc::new(with!(spec(0); id, isolation: Isolation::Shared))
        })
        .collect();
    let now = std::time::Instant::now;
    let begin = now();
    let mut runs = Vec::new();
    let mut costs = Vec::new();
    for batch in specs.chunks(256) {
        let begin = now();
        world.out.clear();
        let events = batch.iter().map(|spec| Event::CreateActor { spec: spec.clone(), reply: ReplyId(0) });
        world.core.handle_all(world.now, events, &mut world.out);
        runs.extend(world.placed());
        costs.push(begin.elapsed());
    }
    let created = begin.elapsed();
    assert_eq!(runs.len() as u64, count);
    for batch in runs.chunks(256) {
        world.out.clear();
        let events =
            batch.iter().map(|(node, run)| Event::ActorReady { run: *run, node: *node, seat: seat(*node, *run) });
        world.core.handle_all(world.now, events, &mut world.out);
    }
    let ready = begin.elapsed() - created;
    world.tell(Event::JobEnded { job: job_id(1) });
    let ended = begin.elapsed() - created - ready;
    let each = |time: Duration| time.as_nanos() / u128::from(count);
    println!("create {} ns, ready {} ns, end {} ns each", each(created), each(ready), each(ended));
    let quickest = |costs: &[Duration]| costs.iter().min().copied().unwrap();
    let (first, last) = (quickest(&costs[..100]), quickest(&costs[costs.len() - 100..]));
    assert!(last < 10 * first, "the first batch took {first:?}, the last {last:?}");
}
