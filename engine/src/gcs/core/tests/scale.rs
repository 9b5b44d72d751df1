//! A hundred thousand actors.

use super::*;

/// LIMITS: 100,000 shared actors in 2 s in all, so a creation may cost the GCS a few microseconds at most.
///
/// The bound is loose, for debug builds on a busy machine; run with `--release -- --nocapture` for the figure.
#[test]
fn a_creation_costs_microseconds() {
    let mut world = World::new(4);
    let count: u64 = 100_000;
    let specs: Vec<_> = (0..u128::from(count))
        .map(|n| {
            // Ids are random in life.
            let id = ActorId(Uuid::from_u128((n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)));
            Arc::new(ActorSpec { id, isolation: Isolation::Shared, ..spec(0) })
        })
        .collect();
    #[allow(clippy::disallowed_methods)] // what is measured is real time
    let begin = std::time::Instant::now();
    let mut runs = Vec::new();
    for batch in specs.chunks(256) {
        world.out.clear();
        let events = batch.iter().map(|spec| Event::CreateActor { spec: spec.clone(), reply: ReplyId(0) });
        world.core.handle_all(world.now, events, &mut world.out);
        runs.extend(world.placed());
    }
    let created = begin.elapsed();
    assert_eq!(runs.len() as u64, count);
    for batch in runs.chunks(256) {
        world.out.clear();
        let events = batch.iter().map(|(node, run)| Event::ActorReady {
            run: *run,
            node: *node,
            address: address(*node, *run),
            worker: WorkerId(Uuid::nil()),
            pid: 1,
        });
        world.core.handle_all(world.now, events, &mut world.out);
    }
    let ready = begin.elapsed() - created;
    world.tell(Event::JobEnded { job: job_id(1) });
    let ended = begin.elapsed() - created - ready;
    let each = |time: Duration| time.as_nanos() / u128::from(count);
    println!("create {} ns, ready {} ns, end {} ns each", each(created), each(ready), each(ended));
    assert!(created < Duration::from_secs(4));
}
