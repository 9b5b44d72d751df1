//! "Start", in a program without `#[actinic::main]`: on every runtime and on none, with threads and with processes.

use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use actinic::prelude::*;
use actinic_tests::timed;

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

#[actinic::remote]
fn echo(value: i64) -> i64 {
    value
}

/// What is wrong with a setting is said by the setting's name.
fn bad_settings() {
    let said = |init: actinic::Init, what: &str| {
        let error = init.blocking().expect_err("it is refused");
        let kind = matches!(error, Error::InvalidArgument { .. } | Error::Connection { .. });
        assert!(kind && error.to_string().contains(what), "{error:?}");
    };
    for address in ["nonsense", "host:port", ":6379", "10.0.0.7"] {
        said(actinic::init().address(address), &format!("{address:?} is no address"));
        said(actinic::init().address(address), "10.0.0.7:6379");
    }
    said(actinic::init().dashboard("nonsense"), "dashboard: \"nonsense\"");
    said(actinic::init().namespace(""), "namespace: ");
    said(actinic::init().label("", "x"), "label: ");
    said(actinic::init().label("zone", "a").label("zone", "b"), "label: the key \"zone\" is given twice");
}

/// Two clusters of one process: each call belongs to the one whose scope it is in.
fn with_two() -> actinic::Result<()> {
    let first = actinic::init().num_cpus(1).blocking()?;
    let second = || actinic::init().blocking().expect_err("it is the second");
    let error = timed("a second init", Duration::from_secs(5), second);
    assert!(error.to_string().contains("ignore_reinit") && error.to_string().contains(".separate()"), "{error}");
    // What the error advises.
    let second = actinic::init().num_cpus(1).resource("second", 1).separate().blocking()?;
    assert_ne!(format!("{first:?}"), format!("{second:?}"));
    let there = || echo::options().resource("second", 1).remote(2);
    let refused = pid::remote().blocking().expect_err("it is in the scope of none of the two");
    assert!(refused.to_string().contains("cluster.enter()"), "{refused}");
    let two = {
        let _scope = second.enter();
        let error = actinic::init().blocking().expect_err("it is in the scope of the second");
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        assert_eq!(actinic::init().ignore_reinit().blocking()?.address(), second.address());
        there()
    };
    assert_eq!(two.blocking()?, 2);
    assert_eq!(std::thread::scope(|threads| threads.spawn(|| two.clone().blocking()).join().expect("no panic"))?, 2);
    {
        let _scope = first.enter();
        let error = echo::remote(&two).blocking().expect_err("it is a ref of the other");
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        let own = echo::remote(1);
        assert_eq!(own.blocking()?, 1);
        // The innermost scope is meant.
        let _inner = second.enter();
        let error = echo::remote(&own).blocking().expect_err("it is a ref of the other");
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    }
    // Guards end their own scopes, whichever is dropped first.
    let (one, two) = (first.enter(), second.enter());
    drop(one);
    assert_eq!(there().blocking()?, 2, "the second is still entered");
    drop(two);
    assert!(pid::remote().blocking().is_err(), "none of the two is");
    let runtime = tokio::runtime::Runtime::new()?;
    let both = runtime.block_on(async {
        let one = first.scope(async { echo::remote(1).await });
        (one.await, second.scope(async move { there().await }).await)
    });
    assert_eq!((both.0?, both.1?), (1, 2));
    second.shutdown().blocking()?;
    assert_eq!(echo::remote(3).blocking()?, 3, "the first is the only one again");
    let guest = actinic::init().ignore_reinit().blocking()?;
    assert_eq!((guest.address(), guest.token()), (first.address(), first.token()));
    assert!(guest.token().is_some() && !guest.address().is_empty());
    drop(guest);
    first.shutdown().blocking()?;
    bad_settings();
    let error = pid::remote().blocking().expect_err("there is none any more");
    assert!(matches!(error, Error::Connection { .. }), "{error:?}");
    let error = actinic::init().address("auto").num_cpus(1).blocking().expect_err("it shapes what exists");
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
    let error = actinic::init().address("127.0.0.1:1").token("x").blocking().expect_err("nobody is there");
    assert!(matches!(error, Error::Connection { .. } | Error::InvalidArgument { .. } | Error::Unauthorized { .. }));
    Ok(())
}

/// What `init`s came to that began at the very same moment: the one cluster, and what the others were told.
fn one_of(all: Vec<actinic::Result<Cluster>>) -> (Cluster, Vec<Error>) {
    let (won, lost): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    let mut won: Vec<Cluster> = won.into_iter().flatten().collect();
    assert_eq!(won.len(), 1, "each of {won:?} has started a cluster");
    (won.remove(0), lost.into_iter().filter_map(Result::err).collect())
}

/// Runs it on eight threads at the same moment.
fn on_eight<R: Send>(run: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let together = Barrier::new(8);
    let one = |number| {
        together.wait();
        run(number)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || one(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    })
}

/// Of several `init`s at the same moment one starts the cluster, and the others are the second.
fn at_the_same_moment() -> actinic::Result<()> {
    let begun = Instant::now();
    for _ in 0..5 {
        let (cluster, errors) = one_of(on_eight(|_| actinic::init().num_cpus(1).blocking()));
        for error in errors {
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("init() was called twice") && text.contains("ignore_reinit"), "{text}");
        }
        assert_eq!(pid::remote().blocking()?, std::process::id());
        assert_eq!(cluster.nodes().blocking()?.len(), 1);
        cluster.shutdown().blocking()?;
    }
    // With leave they all get the one.
    let all: actinic::Result<Vec<Cluster>> =
        on_eight(|_| actinic::init().num_cpus(1).ignore_reinit().blocking()).into_iter().collect();
    let all = all?;
    assert!(all.iter().all(|cluster| format!("{cluster:?}") == format!("{:?}", all[0])), "{all:?}");
    assert_eq!(pid::remote().blocking()?, std::process::id());
    for cluster in all {
        cluster.shutdown().blocking()?;
    }
    // One that fails leaves its place to the next.
    let nobody = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let (cluster, errors) = one_of(on_eight(|number| match number % 2 {
        0 => actinic::init().address(&nobody).token("not a token").blocking(),
        _ => actinic::init().num_cpus(1).blocking(),
    }));
    assert!(errors.iter().all(|error| matches!(error, Error::InvalidArgument { .. } | Error::Unauthorized { .. })));
    assert_eq!(pid::remote().blocking()?, std::process::id());
    cluster.shutdown().blocking()?;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    Ok(())
}

#[tokio::main(worker_threads = 4)]
async fn in_tasks_at_the_same_moment() -> actinic::Result<()> {
    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(async { actinic::init().num_cpus(1).await })).collect();
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.expect("it does not panic"));
    }
    let (cluster, errors) = one_of(all);
    assert!(errors.iter().all(|error| matches!(error, Error::InvalidArgument { .. })), "{errors:?}");
    assert_eq!(pid::remote().await?, std::process::id());
    cluster.shutdown().await
}

/// Adds up what it is told.
#[derive(Debug, Default)]
pub struct Counter {
    value: u64,
}

#[actinic::remote]
impl Counter {
    /// From nothing.
    pub fn new() -> Self {
        Counter::default()
    }

    /// The sum after this.
    pub fn add(&mut self, more: u64) -> u64 {
        self.value += more;
        self.value
    }
}

#[actinic::remote]
fn square(x: u64) -> u64 {
    x * x
}

/// While garbage arrives at the cluster's port all work is done, and done right.
fn under_garbage() -> actinic::Result<()> {
    let cluster = actinic::init().num_cpus(2).workers(Workers::Processes).blocking()?;
    let (address, over, sent) = (cluster.address(), AtomicBool::new(false), AtomicUsize::new(0));
    let throw = || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        while !over.load(Ordering::Relaxed) {
            let count = sent.fetch_add(1, Ordering::Relaxed);
            let random = |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            };
            let mut datagram: Vec<u8> = (0..count * 7 % 1500).map(random).collect();
            // Some look like QUIC's at first: a handshake of version 1, a packet of a connection.
            let head: &[u8] = [&[][..], &[0xc3, 0, 0, 0, 1], &[0x43]][count % 3];
            let length = head.len().min(datagram.len());
            datagram[..length].copy_from_slice(&head[..length]);
            let _ = socket.send_to(&datagram, &address);
            // The other core is not to be kept from its work.
            std::thread::sleep(Duration::from_micros(200));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(throw);
        let work = || -> actinic::Result<()> {
            let counter = Counter::remote();
            for round in 0..20 {
                let squares: Vec<ObjectRef<u64>> = (0..100u64).map(square::remote).collect();
                let calls: Vec<ObjectRef<u64>> = (0..20).map(|_| counter.add(1)).collect();
                let squares = actinic::get(&squares).timeout(Duration::from_secs(30)).blocking()?;
                assert!(squares.iter().zip(0u64..).all(|(square, x)| *square == x * x), "{squares:?}");
                let calls = actinic::get(&calls).timeout(Duration::from_secs(30)).blocking()?;
                assert_eq!(calls, (round * 20 + 1..=round * 20 + 20).collect::<Vec<_>>());
            }
            // However quick the work was.
            while sent.load(Ordering::Relaxed) < 2000 {
                assert_eq!(square::remote(3).blocking()?, 9);
            }
            Ok(())
        };
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    })?;
    assert!(cluster.nodes().blocking()?.iter().all(|node| node.alive));
    cluster.shutdown().blocking()
}

/// What an `init` in a task comes to: the address of the cluster that it finds, and the error of one that wants another.
#[actinic::remote]
fn inits() -> actinic::Result<(String, String)> {
    let found = actinic::init().ignore_reinit().blocking()?;
    let error = actinic::init().blocking().expect_err("it is the second");
    Ok((found.address(), error.to_string()))
}

#[actinic::remote]
async fn inits_later() -> actinic::Result<(String, String)> {
    let found = actinic::init().ignore_reinit().await?;
    let error = actinic::init().await.expect_err("it is the second");
    Ok((found.address(), error.to_string()))
}

/// What this program says when a task starts it, with the task's standard input or with none.
#[actinic::remote]
fn starts_itself(inherits: bool) -> actinic::Result<String> {
    let input = if inherits { Stdio::inherit() } else { Stdio::null() };
    let done = Command::new(std::env::current_exe()?).arg("helper").stdin(input).output()?;
    Ok(format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr)))
}

/// In a task `init` is the second one, and what it starts is a program as any other, on threads and in worker processes.
fn in_tasks() -> actinic::Result<()> {
    let within = Duration::from_secs(60);
    for workers in [Workers::Threads, Workers::Processes] {
        let cluster = actinic::init().num_cpus(2).workers(workers).blocking()?;
        for found in [inits::remote(), inits_later::remote()] {
            let (address, error) = actinic::get(&found).timeout(within).blocking()?;
            assert_eq!(address, cluster.address(), "{workers:?}");
            assert!(error.contains("init() was called twice"), "{workers:?}: {error}");
        }
        for inherits in [false, true] {
            let said = actinic::get(&starts_itself::remote(inherits)).timeout(within).blocking()?;
            assert_eq!(said, "helped\n", "{workers:?}");
        }
        cluster.shutdown().blocking()?;
    }
    Ok(())
}

/// For its macros this is `actinic`, with lists of its own: what is in those is missing in the program's, as what a linker
/// has dropped would be.
#[allow(unreachable_pub)] // `pub` makes an actor's method a remote one, in a program too that nobody imports
mod dropped {
    pub mod __private {
        pub use super::lists::{DROPPED_ACTORS as ACTORS, DROPPED_FUNCTIONS as FUNCTIONS};
        pub use actinic::__private::*;
    }

    mod lists {
        use actinic::__private::{ActorEntry, FunctionEntry, linkme};

        #[linkme::distributed_slice]
        #[linkme(crate = linkme)]
        pub static DROPPED_FUNCTIONS: [FunctionEntry];

        #[linkme::distributed_slice]
        #[linkme(crate = linkme)]
        pub static DROPPED_ACTORS: [ActorEntry];
    }

    #[actinic::remote(crate = crate::dropped)]
    pub fn found() -> u32 {
        std::process::id()
    }

    #[actinic::remote(crate = crate::dropped)]
    pub fn lost() -> u32 {
        0
    }

    /// Says where it is.
    #[derive(Debug)]
    pub struct Found;

    #[actinic::remote(crate = crate::dropped)]
    impl Found {
        /// Without a state.
        pub fn new() -> Self {
            Found
        }

        /// Its process.
        pub fn pid(&self) -> u32 {
            std::process::id()
        }
    }

    /// Nobody can make one.
    #[derive(Debug)]
    pub struct Lost;

    #[actinic::remote(crate = crate::dropped)]
    impl Lost {
        /// Without a state.
        pub fn new() -> Self {
            Lost
        }

        /// Never called.
        pub fn pid(&self) -> u32 {
            0
        }
    }
}

/// What the linker did not find is there if it was registered by hand, in worker processes too, and else an error. What is
/// there is listed, and nothing of a crate that this program could refer to, as others do, and does not.
fn registered_by_hand() -> actinic::Result<()> {
    for workers in [Workers::Threads, Workers::Processes] {
        let cluster = actinic::init().num_cpus(2).workers(workers).blocking()?;
        let here = workers == Workers::Threads;
        assert_eq!(dropped::found::remote().blocking()? == std::process::id(), here);
        assert_eq!(dropped::Found::remote().pid().blocking()? == std::process::id(), here);
        // It comes too late, which is logged, and harms nothing.
        actinic::register::<dropped::lost>();
        let function = dropped::lost::remote().blocking().expect_err("nobody registered it in time");
        let actor = dropped::Lost::remote().pid().blocking().expect_err("nobody registered it");
        for (error, name) in [(function, "start::dropped::lost"), (actor, "start::dropped::Lost")] {
            let text = error.to_string();
            for part in [name, "start.rs", "call `actinic::register` before the first `init()`"] {
                assert!(text.contains(part), "{part:?} is not in: {text}");
            }
        }
        assert_eq!(pid::remote().blocking()? == std::process::id(), here, "the others are as they were");
        cluster.shutdown().blocking()?;
    }
    let listed: Vec<String> = actinic::inventory();
    let mut names: Vec<&str> = listed.iter().filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect();
    names.sort_unstable();
    let actors = ["actor start::Counter", "actor start::dropped::Found"];
    let functions = [
        "fn start::dropped::found",
        "fn start::echo",
        "fn start::inits",
        "fn start::inits_later",
        "fn start::nested",
        "fn start::pid",
        "fn start::square",
        "fn start::starts_itself",
    ];
    assert_eq!(names, [&actors[..], &functions].concat(), "`actinic_tests_apart` is a dependency, and not linked");
    Ok(())
}

fn main() -> actinic::Result<()> {
    // Before the first `init`, and so in each worker process too, which becomes one inside that.
    actinic::register::<dropped::found>();
    actinic::register::<dropped::Found>();
    if std::env::args().nth(1).as_deref() == Some("helper") {
        on_processes()?;
        println!("helped");
        return Ok(());
    }
    // First, because each of its workers begins here again.
    for (name, part) in [
        ("processes", on_processes as fn() -> actinic::Result<()>),
        ("registered by hand", registered_by_hand),
        ("in tasks", in_tasks),
        ("no runtime", on_none),
        ("tokio", on_tokio),
        ("one thread of tokio", on_one_thread_of_tokio),
        ("actix", on_actix),
        ("actinic", ours::main),
        ("two clusters", with_two),
        ("at the same moment", at_the_same_moment),
        ("in tasks at the same moment", in_tasks_at_the_same_moment),
        ("under garbage", under_garbage),
    ] {
        part()?;
        println!("{name}: ok");
    }
    Ok(())
}
