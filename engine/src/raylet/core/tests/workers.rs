//! The pool: POOL-1 to POOL-5, and starts that fail.

use super::super::*;
use super::harness::*;

fn starts(bench: &mut Bench) -> Vec<WorkerId> {
    let start = |action: &Action| {
        if let Action::StartWorker { worker, .. } = action { Some(*worker) } else { None }
    };
    let starts = bench.out.iter().filter_map(start).collect();
    bench.out.clear();
    starts
}

/// LEA-01: the worker used last is used next.
#[test]
fn a_returned_worker_is_used_again() {
    let mut bench = Bench::new(cpus(2));
    bench.tell(Event::RequestLease(ask(owner(1), 0, 1)));
    let (mut lease, _, worker) = bench.grants()[0];
    bench.out.clear();
    for id in 1..100 {
        bench.give_back(lease);
        bench.tell(Event::RequestLease(ask(owner(1), id, 1)));
        let (next, _, same) = bench.grants()[0];
        assert_eq!(same, worker);
        lease = next;
    }
    assert!(starts(&mut bench).is_empty());
}

/// POOL-1, POOL-2: a lease that waits for a start takes a returned worker, and no other is started for it.
#[test]
fn no_more_workers_start_than_are_needed() {
    let mut bench = Bench::new(cpus(4));
    bench.starts = false;
    bench.tell(Event::RequestLease(ask(owner(1), 1, 2)));
    let started = starts(&mut bench);
    assert_eq!(started.len(), 2);
    bench.tell(Event::WorkerStarted { worker: started[0] });
    let first = bench.granted();
    assert_eq!(first.len(), 1);
    bench.give_back(first[0]);
    assert_eq!(bench.granted().len(), 1, "the returned worker serves the lease that waits");
    bench.tell(Event::RequestLease(ask(owner(1), 2, 1)));
    assert!(starts(&mut bench).is_empty(), "the one still starting serves it");
    bench.tell(Event::WorkerStarted { worker: started[1] });
    assert_eq!(bench.granted().len(), 1);
}

/// POOL-4: a worker that ran tasks may own what they made; it does not become an actor's home, whose end would be its own.
#[test]
fn an_actor_gets_a_worker_that_ran_no_task() {
    let mut bench = Bench::new(cpus(2));
    bench.tell(Event::RequestLease(ask(owner(1), 1, 1)));
    let (lease, _, used) = bench.grants()[0];
    bench.out.clear();
    bench.give_back(lease);
    let purpose = actor(9, cpus(1), Host::Dedicated);
    bench.tell(Event::RequestLease(LeaseRequest { purpose, ..ask(owner(1), 2, 1) }));
    let (_, _, home) = bench.grants()[0];
    assert_ne!(home, used);
    bench.out.clear();
    bench.tell(Event::RequestLease(ask(owner(1), 3, 1)));
    assert_eq!(bench.grants()[0].2, used, "the other is there for tasks");
}

/// POOL-2: many at once are started a few at a time.
#[test]
fn starts_are_bounded() {
    let mut bench = Bench::new(cpus(2));
    bench.starts = false;
    bench.tell(Event::RequestLease(LeaseRequest { shape: ResourceSet::new(), ..ask(owner(1), 1, u32::MAX) }));
    let mut seen = 0;
    for _ in 0..50 {
        let started = starts(&mut bench);
        seen += started.len();
        assert!(started.len() <= 4);
        for worker in started {
            bench.tell(Event::WorkerStarted { worker });
        }
    }
    assert!(seen > 50, "and yet go on");
}

/// POOL-2: over all jobs together.
#[test]
fn starts_are_bounded_over_all_jobs() {
    let mut bench = Bench::new(cpus(2));
    bench.starts = false;
    for number in 1..4 {
        let shape = set(&[("CPU", 0.01)]);
        bench.tell(Event::RequestLease(LeaseRequest { job: job(number), shape, ..ask(owner(number), 1, 50) }));
    }
    assert_eq!(starts(&mut bench).len(), 4);
}

#[test]
fn an_ended_jobs_host_is_stopped_when_its_last_actor_is_gone() {
    let mut bench = Bench::new(cpus(2));
    let purpose = actor(1, ResourceSet::new(), Host::Shared);
    let lease = bench.ask(LeaseRequest { purpose, outlives_job: true, ..ask(owner(1), 1, 1) })[0];
    bench.tell(Event::JobEnded { job: job(1) });
    assert_eq!(bench.core.snapshot().workers.len(), 1);
    bench.give_back(lease);
    assert!(bench.core.snapshot().workers.is_empty());
}

/// POOL-5: what a detached actor's task has put is there when the job is over, as long as somebody may ask for it.
#[test]
fn what_ran_a_detached_actors_tasks_is_asked_before_it_is_stopped() {
    for ended_first in [true, false] {
        let mut bench = Bench::new(cpus(4));
        let task = LeaseRequest { outlives_job: true, ..ask(owner(1), 1, 1) };
        let end = Event::JobEnded { job: job(1) };
        let ended = |bench: &mut Bench| bench.tell(end.clone());
        if ended_first {
            ended(&mut bench);
        }
        bench.tell(Event::RequestLease(task));
        let (lease, _, worker) = bench.grants()[0];
        bench.needed.insert(worker);
        bench.give_back(lease);
        if !ended_first {
            ended(&mut bench);
        }
        let stops = |bench: &Bench| bench.count(|action| *action == Action::StopWorker { worker });
        bench.pass(ms(7_000));
        assert_eq!(stops(&bench), 0, "somebody may ask for what it has");
        bench.needed.clear();
        bench.pass(ms(6_000));
        assert_eq!(stops(&bench), 1, "though there are few");
    }
    let mut bench = Bench::new(cpus(4));
    bench.tell(Event::RequestLease(ask(owner(1), 1, 1)));
    let (lease, _, worker) = bench.grants()[0];
    bench.give_back(lease);
    bench.tell(Event::JobEnded { job: job(1) });
    assert!(bench.out.contains(&Action::StopWorker { worker }), "nothing of the job's own outlives it");
}

#[test]
fn workers_are_not_shared_between_jobs() {
    let mut bench = Bench::new(cpus(1));
    bench.tell(Event::RequestLease(ask(owner(1), 1, 1)));
    let (lease, _, worker) = bench.grants()[0];
    bench.give_back(lease);
    bench.tell(Event::RequestLease(LeaseRequest { job: job(2), ..ask(owner(2), 1, 1) }));
    assert_ne!(bench.grants()[0].2, worker);
}

/// POOL-3.
#[test]
fn idle_workers_above_the_cpus_are_stopped_after_a_second() {
    let mut bench = Bench::new(cpus(2));
    let leases = bench.ask(LeaseRequest { shape: set(&[("CPU", 0.25)]), ..ask(owner(1), 1, 8) });
    for lease in leases {
        bench.give_back(lease);
    }
    let stopped = |bench: &Bench| bench.count(|action| matches!(action, Action::StopWorker { .. }));
    bench.pass(ms(900));
    assert_eq!(stopped(&bench), 0);
    bench.pass(ms(200));
    assert_eq!(stopped(&bench), 6);
}

/// POOL-3: what a burst left is asked in one go, whoever has been idle longest first, and stopped at one answer: none of
/// the many costs a look at all the others.
#[test]
fn twenty_thousand_idle_workers_are_asked_and_stopped_in_a_few_steps() {
    const MANY: u32 = 20_000;
    let mut core = RayletCore::new(node(1), cpus(MANY));
    let mut out = Vec::new();
    core.handle(ms(0), Event::Prestart { job: job(1), count: MANY }, &mut out);
    let start = |action: &Action| if let Action::StartWorker { worker, .. } = action { Some(*worker) } else { None };
    let started: Vec<WorkerId> = out.iter().filter_map(start).collect();
    assert_eq!(started.len(), MANY as usize);
    for (at, worker) in started.iter().rev().enumerate() {
        core.handle(ms(at as u64 / 100), Event::WorkerStarted { worker: *worker }, &mut out);
    }
    out.clear();
    core.handle(ms(300), Event::TotalChanged { total: cpus(4) }, &mut out);
    let (mut steps, mut asked) = (0, Vec::new());
    while let Some(due) = core.wish {
        out.clear();
        core.handle(due, Event::Tick, &mut out);
        let ask = |action: &Action| if let Action::AskWorker { worker } = action { Some(*worker) } else { None };
        let answers: Vec<(WorkerId, bool)> = out.iter().filter_map(ask).map(|worker| (worker, false)).collect();
        asked.extend(answers.iter().map(|(worker, _)| *worker));
        let many = answers.len();
        out.clear();
        core.handle(due, Event::WorkersAnswered { answers }, &mut out);
        let stopped = out.iter().filter(|action| matches!(action, Action::StopWorker { .. })).count();
        assert_eq!(stopped, many);
        steps += 1;
    }
    assert!(steps <= 201, "one for each moment at which some were due, and not {steps}");
    assert_eq!(core.pool.workers.len(), 4);
    let rank = |worker: &WorkerId| started.iter().rev().position(|other| other == worker).map(|at| at / 100);
    let order: Vec<_> = asked.iter().step_by(99).map(rank).collect();
    assert!(order.is_sorted(), "longest first");
}

/// POOL-3, POOL-5: a job that ended so long ago that it is forgotten counts as any other.
#[test]
fn what_outlives_a_forgotten_job_is_kept_as_others_are() {
    let mut bench = Bench::new(cpus(4));
    bench.tell(Event::RequestLease(LeaseRequest { outlives_job: true, ..ask(owner(1), 1, 1) }));
    let (lease, _, worker) = bench.grants()[0];
    bench.give_back(lease);
    let asked = |bench: &Bench| bench.count(|action| *action == Action::AskWorker { worker });
    for number in 1..=ENDED_JOBS_MAX as u128 + 1 {
        bench.tell(Event::JobEnded { job: job(number) });
    }
    bench.pass(ms(2_000));
    assert_eq!(asked(&bench), 0, "there are few");
    bench.tell(Event::JobEnded { job: job(1) });
    bench.pass(ms(2_000));
    assert_eq!(asked(&bench), 1);
}

/// POOL-3, BAS-16: one that owns what somebody may ask for stays, and is asked again.
#[test]
fn an_idle_worker_that_owns_something_stays() {
    let mut bench = Bench::new(cpus(1));
    let leases = bench.ask(LeaseRequest { shape: set(&[("CPU", 0.25)]), ..ask(owner(1), 1, 4) });
    bench.needed = bench.core.pool.workers.keys().copied().collect();
    leases.into_iter().for_each(|lease| bench.give_back(lease));
    let count = |bench: &Bench, which: fn(&Action) -> bool| bench.count(which);
    bench.pass(ms(1_500));
    assert_eq!(count(&bench, |action| matches!(action, Action::StopWorker { .. })), 0);
    assert_eq!(
        count(&bench, |action| matches!(action, Action::AskWorker { .. })),
        4,
        "any of them may be the one that goes"
    );
    bench.needed.clear();
    bench.pass(ms(6_000));
    assert_eq!(count(&bench, |action| matches!(action, Action::StopWorker { .. })), 3);
}

/// RES-22: a dedicated actor's worker is nobody else's, then or later.
#[test]
fn an_actors_worker_is_never_reused() {
    let mut bench = Bench::new(cpus(4));
    let purpose = actor(1, ResourceSet::new(), Host::Dedicated);
    bench.tell(Event::RequestLease(LeaseRequest { purpose, ..ask(owner(1), 1, 1) }));
    let (lease, _, worker) = bench.grants()[0];
    bench.tell(Event::RequestLease(ask(owner(1), 2, 4)));
    assert!(bench.grants().iter().all(|(_, _, other)| *other != worker));
    bench.give_back(lease);
    assert!(bench.out.contains(&Action::StopWorker { worker }), "even if it is called reusable");
}

#[test]
fn light_actors_of_a_job_share_a_host() {
    let mut bench = Bench::new(cpus(2));
    let mut workers = BTreeSet::new();
    let mut leases = Vec::new();
    for number in 0..50 {
        let purpose = actor(number, ResourceSet::new(), Host::Shared);
        bench.tell(Event::RequestLease(LeaseRequest { purpose, ..ask(owner(1), number as u64, 1) }));
        let (lease, _, worker) = bench.grants()[0];
        workers.insert(worker);
        leases.push(lease);
    }
    assert_eq!(workers.len(), 1);
    for lease in leases.drain(1..) {
        bench.tell(Event::ReturnLease { lease, reusable: false });
    }
    assert_eq!(bench.count(|action| matches!(action, Action::StopWorker { .. })), 0, "one still lives there");
    bench.out.clear();
    bench.tell(Event::WorkerDied { worker: workers.pop_first().expect("one") });
    assert_eq!(bench.count(|action| matches!(action, Action::LeaseLost { .. })), 1);
}

#[test]
fn a_few_can_be_started_ahead_of_need() {
    let mut bench = Bench::new(cpus(2));
    bench.tell(Event::Prestart { job: job(1), count: 2 });
    assert_eq!(starts(&mut bench).len(), 2);
    assert_eq!(bench.ask(ask(owner(1), 1, 2)).len(), 2);
    assert!(starts(&mut bench).is_empty());
}

/// LEA-04: starts that fail for good fail every request that waits for them, once, with the cause.
#[test]
fn a_permanent_failure_to_start_fails_those_who_wait() {
    let mut bench = Bench::new(cpus(4));
    bench.starts = false;
    for id in 0..3 {
        bench.tell(Event::RequestLease(ask(owner(1), id, 1)));
    }
    let started = starts(&mut bench);
    for worker in &started {
        let reason = "no such program".to_owned();
        bench.tell(Event::WorkerFailedToStart { worker: *worker, reason, permanent: true });
    }
    assert_eq!(bench.refused().len(), 3);
    assert_eq!(bench.refused()[0].to_string(), "no worker could be started: no such program");
    assert_eq!(bench.available(), cpus(4));
}

#[test]
fn a_failed_start_is_tried_again_with_pauses_then_given_up() {
    let mut bench = Bench::new(cpus(1));
    bench.starts = false;
    bench.tell(Event::RequestLease(ask(owner(1), 1, 1)));
    for pause in [100, 200, 400, 800] {
        let worker = starts(&mut bench)[0];
        bench.tell(Event::WorkerDied { worker });
        assert!(starts(&mut bench).is_empty());
        bench.pass(ms(pause));
    }
    let worker = starts(&mut bench)[0];
    bench.tell(Event::WorkerFailedToStart { worker, reason: "again".into(), permanent: false });
    assert_eq!(bench.refused().len(), 1);
}

/// Starts that fail together are one round: a moment without memory fails nobody.
#[test]
fn starts_that_fail_together_count_once() {
    let mut bench = Bench::new(cpus(4));
    bench.starts = false;
    bench.tell(Event::RequestLease(ask(owner(1), 1, 4)));
    for pause in [100, 200, 400, 800] {
        let started = starts(&mut bench);
        assert_eq!(started.len(), 4);
        for worker in started {
            bench.tell(Event::WorkerDied { worker });
        }
        bench.pass(ms(pause));
    }
    assert!(bench.refused().is_empty());
    let worker = starts(&mut bench)[0];
    bench.tell(Event::WorkerStarted { worker });
    assert_eq!(bench.granted().len(), 1);
}

/// Whoever has workers that run is not refused more of them for good: they show that it can be done.
#[test]
fn starts_that_fail_beside_running_workers_are_tried_on() {
    let mut bench = Bench::new(cpus(4));
    bench.starts = false;
    bench.tell(Event::RequestLease(ask(owner(1), 1, 4)));
    let worker = starts(&mut bench)[0];
    bench.tell(Event::WorkerStarted { worker });
    let lease = bench.granted()[0];
    for _ in 0..20 {
        let starting = |row: &WorkerRow| row.state == WorkerState::Starting;
        for row in bench.core.snapshot().workers.into_iter().filter(starting) {
            bench.tell(Event::WorkerDied { worker: row.worker });
        }
        bench.pass(ms(2_000));
    }
    assert!(bench.refused().is_empty());
    assert!(!starts(&mut bench).is_empty(), "and tried again");
    bench.give_back(lease);
    assert_eq!(bench.granted().len(), 1, "the one that runs serves what waits");
}

#[test]
fn a_cancelled_request_takes_back_what_starts() {
    let mut bench = Bench::new(cpus(4));
    bench.starts = false;
    bench.tell(Event::RequestLease(ask(owner(1), 1, 3)));
    bench.tell(Event::UpdateBacklog { from: owner(1), id: RequestId(1), backlog: 1, heard: u32::MAX });
    assert_eq!(bench.available(), cpus(3));
    bench.tell(Event::UpdateBacklog { from: owner(1), id: RequestId(1), backlog: 0, heard: u32::MAX });
    assert_eq!(bench.available(), cpus(4));
    for worker in starts(&mut bench) {
        bench.tell(Event::WorkerStarted { worker });
    }
    assert!(bench.granted().is_empty());
    assert_eq!(bench.ask(ask(owner(1), 2, 3)).len(), 3, "they serve whoever is next");
    assert!(starts(&mut bench).is_empty());
}

#[test]
fn a_worker_that_was_stopped_while_it_started_is_stopped_when_it_comes() {
    let mut bench = Bench::new(cpus(1));
    bench.starts = false;
    bench.tell(Event::RequestLease(ask(owner(1), 1, 1)));
    let worker = starts(&mut bench)[0];
    bench.tell(Event::JobEnded { job: job(1) });
    bench.out.clear();
    bench.tell(Event::WorkerStarted { worker });
    assert_eq!(bench.count(|action| *action == Action::StopWorker { worker }), 1);
    assert!(bench.core.snapshot().workers.is_empty());
}
