//! "Start", in a program without `#[actinic::main]`: on every runtime and on none, with threads and with processes.

use actinic::prelude::*;

#[actinic::remote]
fn pid() -> u32 {
    std::process::id()
}

#[actinic::remote]
async fn nested() -> actinic::Result<u32> {
    pid::remote().await
}

async fn works(cluster: &Cluster) -> actinic::Result<()> {
    assert_eq!(cluster.resources()["CPU"], 2.0);
    assert_eq!(cluster.nodes().await?.len(), 1);
    assert_eq!(cluster.scope(async { nested::remote().await }).await?, std::process::id());
    // The process's only cluster is the one that is meant, on any thread.
    let there = std::thread::spawn(|| pid::remote().blocking());
    assert_eq!(nested::remote().await?, there.join().expect("it does not panic")?);
    let error = actinic::init().await.expect_err("it is the second");
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    let error = pid::remote().blocking().expect_err("this thread runs a runtime");
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    let error = actinic::init().ignore_reinit().blocking().expect_err("this thread runs a runtime");
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    let guest = actinic::init().ignore_reinit().await?;
    guest.shutdown().await?;
    assert_eq!(pid::remote().await?, std::process::id(), "a guest ends nothing");
    assert!(cluster.address().starts_with("127.0.0.1:"), "it listens on loopback: {}", cluster.address());
    Ok(())
}

#[tokio::main]
async fn on_tokio() -> actinic::Result<()> {
    let cluster = actinic::init().num_cpus(2).await?;
    works(&cluster).await?;
    cluster.shutdown().await
}

#[tokio::main(flavor = "current_thread")]
async fn on_one_thread_of_tokio() -> actinic::Result<()> {
    let cluster = actinic::init().num_cpus(2).await?;
    works(&cluster).await?;
    // Dropped, it ends without waiting; the next `init` is not the second one.
    drop(cluster);
    Ok(())
}

#[actix::main]
async fn on_actix() -> actinic::Result<()> {
    let cluster = actinic::init().num_cpus(2).await?;
    works(&cluster).await?;
    cluster.shutdown().await
}

mod ours {
    #[actinic::main]
    pub(super) async fn main() -> actinic::Result<()> {
        let cluster = actinic::init().num_cpus(2).await?;
        super::works(&cluster).await?;
        cluster.shutdown().await
    }
}

fn on_none() -> actinic::Result<()> {
    let cluster = actinic::init().num_cpus(2).blocking()?;
    assert_eq!(pid::remote().blocking()?, std::process::id());
    assert_eq!(actinic::get(&[pid::remote(), nested::remote()]).blocking()?.len(), 2);
    cluster.shutdown().blocking()
}

/// Their entry is inside `init`, which never returns there.
fn on_processes() -> actinic::Result<()> {
    let cluster = actinic::init().num_cpus(2).workers(Workers::Processes).blocking()?;
    assert_ne!(pid::remote().blocking()?, std::process::id());
    assert_ne!(nested::remote().blocking()?, std::process::id());
    cluster.shutdown().blocking()
}

/// Two clusters of one process: each call belongs to the one whose scope it is in.
fn with_two() -> actinic::Result<()> {
    let first = actinic::init().num_cpus(1).blocking()?;
    let error = actinic::init().blocking().expect_err("it is the second");
    assert!(error.to_string().contains("ignore_reinit"), "{error}");
    first.shutdown().blocking()?;
    let error = pid::remote().blocking().expect_err("there is none any more");
    assert!(matches!(error, Error::Connection { .. }), "{error:?}");
    let error = actinic::init().address("auto").num_cpus(1).blocking().expect_err("it shapes what exists");
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    let error = actinic::init().address("127.0.0.1:1").token("x").blocking().expect_err("nobody is there");
    assert!(matches!(error, Error::Connection { .. } | Error::InvalidArgument { .. } | Error::Unauthorized { .. }));
    Ok(())
}

fn main() -> actinic::Result<()> {
    // First, because each of its workers begins here again.
    for (name, part) in [
        ("processes", on_processes as fn() -> actinic::Result<()>),
        ("no runtime", on_none),
        ("tokio", on_tokio),
        ("one thread of tokio", on_one_thread_of_tokio),
        ("actix", on_actix),
        ("actinic", ours::main),
        ("two clusters", with_two),
    ] {
        part()?;
        println!("{name}: ok");
    }
    Ok(())
}
