//! What the options of a remote function cannot be.

#[actinic::remote(num_cpu = 1)]
fn unknown() {}

#[actinic::remote(max_restarts = 1)]
fn of_actors() {}

#[actinic::remote(concurrency_group = "io")]
fn of_methods() {}

#[actinic::remote(num_cpus = 1, num_cpus = 2)]
fn twice() {}

#[actinic::remote(num_cpus)]
fn no_value() {}

#[actinic::remote(num_cpus = -1)]
fn negative() {}

#[actinic::remote(num_cpus = 0.00001)]
fn too_fine() {}

#[actinic::remote(num_gpus = 1.5)]
fn gpus() {}

#[actinic::remote(resources = { "CPU": 1 })]
fn reserved() {}

#[actinic::remote(resources = 3)]
fn no_map() {}

#[actinic::remote(max_retries = -2, isolation = "thread", memory = "1 GB")]
fn several() {}

#[actinic::remote(num_returns = -1)]
fn negative_returns() {}

#[actinic::remote(num_returns = 3)]
fn too_few() -> (i64, i64) {
    (1, 2)
}

#[actinic::remote(num_returns = 2)]
fn no_tuple() {}

#[actinic::remote(num_returns = _)]
fn no_vec() -> (i64, i64) {
    (1, 2)
}

#[actinic::remote(retry_if = retry)]
fn no_result() -> i64 {
    1
}

#[actinic::remote(retry_errors, retry_if = retry)]
fn both_retries() -> Result<i64, String> {
    Ok(1)
}

fn main() {}
