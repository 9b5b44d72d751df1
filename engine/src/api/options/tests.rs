//! What is refused, and what is not.

#![allow(clippy::unwrap_used)]

use super::*;

fn refused(options: TaskOptions) -> String {
    options.check().map_or_else(|error| error.to_string(), |()| "accepted".to_owned())
}

#[test]
fn amounts_that_nobody_can_have_are_refused_with_a_remedy() {
    let new = TaskOptions::new;
    for (options, what) in [
        (new().num_cpus(-1), "num_cpus: -1 is not an amount"),
        (new().num_cpus(f64::NAN), "num_cpus: NaN is not an amount"),
        (new().num_cpus(f64::INFINITY), "largest amount"),
        (new().num_cpus(0.00001), "finer than 0.0001"),
        (new().num_gpus(1.5), "num_gpus: 1.5 is more than one and not whole"),
        (new().resource("CPU", 1), "use the option `num_cpus`"),
        (new().resource("GPU", 1), "use the option `num_gpus`"),
        (new().resource("memory", 1), "use the option `memory`"),
        (new().resource("", 1), "1 to 256 bytes"),
        (new().resource("A", -2), "A: -2 is not an amount"),
        (new().resources([("A", 1.0), ("B", 0.123_45)]), "B: 0.12345 is finer"),
        (new().max_retries(-2), "max_retries: -2 is too small"),
        (new().max_retries(0.5), "not a whole number"),
        (new().num_returns(-1), "num_returns: -1 is too small"),
        (new().num_returns(u64::MAX), "not a whole number"),
        (new().on_infeasible("panic"), "use \"wait\" or \"fail\""),
    ] {
        let error = refused(options);
        assert!(error.contains(what), "{error}");
        assert!(error.contains("; "), "no remedy: {error}");
    }
}

#[test]
fn the_first_refusal_stays_whatever_is_set_later() {
    let error = refused(TaskOptions::new().num_cpus(-1).num_cpus(1).max_retries(-7));
    assert!(error.contains("num_cpus"), "{error}");
}

#[test]
fn amounts_in_steps_of_a_ten_thousandth_are_fine() {
    for i in 0..30_000u32 {
        let options = TaskOptions::new().num_cpus(f64::from(i) / 10_000.0);
        assert!(options.check().is_ok(), "{i}");
    }
    let options = TaskOptions::new()
        .num_gpus(0.5)
        .num_gpus(2)
        .memory(1e12)
        .resource("A", 1)
        .resource("A", 2u8)
        .resource("B", 0.0001)
        .max_retries(-1)
        .num_returns(100usize)
        .on_infeasible(OnInfeasible::Fail);
    assert!(options.check().is_ok());
    assert_eq!(options.resources, [("A".to_owned(), 2.0), ("B".to_owned(), 0.0001)]);
    assert_eq!(options.num_returns, Some(100));
    assert_eq!(options.on_infeasible, Some(OnInfeasible::Fail));
}

#[test]
fn an_actor_needs_a_name_to_be_found_by() {
    let refused = |options: ActorOptions| options.check().unwrap_err().to_string();
    assert!(refused(ActorOptions::new().get_if_exists(true)).contains("needs a name"));
    assert!(refused(ActorOptions::new().name("")).contains("cannot be empty"));
    assert!(refused(ActorOptions::new().name("x".repeat(1025))).contains("at most 1024 bytes, and this has 1025"));
    assert!(refused(ActorOptions::new().max_concurrency(0)).contains("max_concurrency: 0 is too small"));
    assert!(refused(ActorOptions::new().max_pending_calls(0)).contains("never be called"));
    assert!(refused(ActorOptions::new().concurrency_group("io", 0)).contains("\"io\""));
    let options = ActorOptions::new().name("c").get_if_exists(true).max_pending_calls(-1).max_restarts(3);
    assert!(options.check().is_ok());
}
