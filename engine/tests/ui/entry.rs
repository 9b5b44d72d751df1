//! What `main` and tests cannot be.

#[actinic::main]
fn start() {}

#[actinic::main(worker_threads = 4)]
fn main(x: i64) {}

#[actinic::test(cpus = 1, timeout = "1 s")]
#[test]
async fn bad_options(cluster: actinic::TestCluster, x: i64) {}

#[actinic::test(seed = 7)]
async fn a_seed_of_nothing() {}

#[actinic::test]
struct NotAFunction;
