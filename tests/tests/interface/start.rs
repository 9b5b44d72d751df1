//! "Start": the builders and the methods of a cluster. What they do is tested by programs of their own.

use std::collections::BTreeMap;

use actinic::prelude::*;
use actinic::testing::{TestOptions, run_test_sync};

use super::*;

fn all_setters() -> actinic::Init {
    actinic::init()
        .num_cpus(8)
        .num_cpus(8.0)
        .num_cpus(8u32)
        .num_cpus(0.5f32)
        .num_gpus(0)
        .num_gpus(1.0)
        .resource("CPUResource1", 1)
        .resource(String::from("b"), 0.5)
        .label("zone", "a")
        .label(String::from("rack"), String::from("7"))
        .object_store_memory(1 << 30)
        .object_store_memory(1e9)
        .memory(1e9)
        .namespace("prod")
        .namespace(String::from("prod"))
        .workers(Workers::Processes)
        .workers(Workers::Threads)
        .log_level("error")
        .dashboard("127.0.0.1:8265")
        .address("auto")
        .address("10.0.0.7:6379")
        .token("..")
        .token(String::from(".."))
        .ignore_reinit()
}

fn generic_setters(amount: impl Into<f64>) -> actinic::Init {
    actinic::init().num_cpus(amount)
}

#[allow(dead_code, reason = "it is to compile")]
async fn a_program() -> actinic::Result<()> {
    let cluster: Cluster = actinic::init().await?;
    let resources: BTreeMap<String, f64> = cluster.resources();
    let free: BTreeMap<String, f64> = cluster.available_resources();
    drop((resources, free));
    let nodes: Vec<actinic::NodeInfo> = cluster.nodes().await?;
    let _: (actinic::NodeId, bool, Duration) = (nodes[0].id, nodes[0].alive, nodes[0].heard);
    let _ = (cluster.address(), cluster.token(), cluster.dashboard_url());
    let guard = cluster.enter();
    drop(guard);
    let three: i32 = cluster.scope(async { 3 }).await;
    let text: String = cluster.scope(async { three.to_string() }).await;
    drop(text);
    is_op::<(), _>(cluster.shutdown()).await
}

#[allow(dead_code, reason = "it is to compile")]
fn a_sync_program() -> actinic::Result<()> {
    let cluster: Cluster = actinic::init().blocking()?;
    let _scope = cluster.enter();
    is_shared(&cluster);
    let _nodes = cluster.nodes().blocking()?;
    cluster.shutdown().blocking()
}

/// A binary's main, async and sync, with the attribute.
#[allow(dead_code, reason = "it is to compile")]
mod mains {
    mod asynchronous {
        #[actinic::main]
        async fn main() -> actinic::Result<()> {
            actinic::init().await?.shutdown().await
        }
    }

    mod synchronous {
        #[actinic::main]
        fn main() -> actinic::Result<()> {
            actinic::init().blocking()?.shutdown().blocking()
        }
    }

    mod without_result {
        #[actinic::main]
        fn main() {}
    }

    mod boxed {
        #[actinic::main]
        async fn main() -> Result<(), Box<dyn std::error::Error>> {
            actinic::init().await?.shutdown().await?;
            Ok(())
        }
    }

    mod exit_code {
        #[actinic::main]
        async fn main() -> std::process::ExitCode {
            std::process::ExitCode::SUCCESS
        }
    }
}

#[test]
fn init_is_an_operation() {
    let init = is_op::<Cluster, _>(all_setters());
    is_shared(&init);
    let _ = is_op::<Cluster, _>(generic_setters(2));
    let _ = is_op::<Cluster, _>(generic_setters(2.5));
}

/// A second `init` in the scope of a cluster is an error, unless it is allowed.
#[actinic::test(num_cpus = 1)]
async fn a_second_init_is_an_error(cluster: TestCluster) -> actinic::Result<()> {
    let error = actinic::init().await.unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    let again = actinic::init().ignore_reinit().await?;
    assert_eq!(again.resources(), cluster.resources());
    drop(again);
    assert_eq!(cluster.nodes().await?.len(), 1);
    Ok(())
}

/// Without a cluster nothing starts by itself: what is asked for fails, and nothing panics.
#[test]
fn outside_of_a_scope_everything_is_a_connection_error() {
    #[actinic::remote]
    fn square(x: i64) -> i64 {
        x * x
    }

    let failed = |error: Error| assert!(matches!(error, Error::Connection { .. }), "{error:?}");
    // Other tests may have clusters: this thread is in the scope of none.
    let fails = || {
        let _ = square::remote(2).id();
        failed(actinic::try_context().unwrap_err());
        failed(square::remote(2).blocking().unwrap_err());
        failed(actinic::put(&1).blocking().unwrap_err());
    };
    fails();
    let (cluster, is_there) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || {
        run_test_sync(TestOptions::new(file!(), line!()).num_cpus(1), |_cluster| {
            cluster.send(()).unwrap();
            wait.recv().unwrap();
        });
    });
    is_there.recv().unwrap();
    fails();
    go.send(()).unwrap();
    other.join().unwrap();
}

#[actinic::test]
async fn resources_have_their_names(cluster: TestCluster) -> actinic::Result<()> {
    for name in ["CPU", "memory", "object_store_memory"] {
        assert!(cluster.resources().contains_key(name), "{name}: {:?}", cluster.resources());
    }
    assert!(cluster.resources().keys().any(|name| name.starts_with("node:")), "{:?}", cluster.resources());
    Ok(())
}

/// Blocking on a runtime's own thread is an error, never a deadlock.
#[actinic::test(num_cpus = 1)]
async fn blocking_on_a_runtime_is_an_error(cluster: TestCluster) -> actinic::Result<()> {
    let object = actinic::put(&1).await?;
    let errors = [
        object.blocking().map(drop).unwrap_err(),
        actinic::get(&object).blocking().map(drop).unwrap_err(),
        actinic::wait(&[object.clone()]).blocking().map(drop).unwrap_err(),
        actinic::put(&1).blocking().map(drop).unwrap_err(),
        object.done().blocking().unwrap_err(),
        cluster.nodes().blocking().map(drop).unwrap_err(),
        actinic::sleep(Duration::from_millis(1)).blocking().unwrap_err(),
        cluster.idle().blocking().unwrap_err(),
        cluster.driver().blocking().map(drop).unwrap_err(),
        cluster.add_node().blocking().map(drop).unwrap_err(),
        actinic::cancel(&object).blocking().unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    }
    let refs = [object];
    let waits = std::panic::AssertUnwindSafe(|| actinic::as_completed(&refs).blocking().count());
    let panics = std::panic::catch_unwind(waits).unwrap_err();
    let text = panics.downcast_ref::<String>().unwrap();
    assert!(text.contains("async runtime") && text.contains(".await"), "{text}");
    Ok(())
}
