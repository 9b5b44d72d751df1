//! The program that the tests of daemons run: one part of it at a time, named on its command line.

use std::collections::BTreeSet;
use std::io::Write;

use actinic::prelude::*;

#[path = "../tests/promise/asked.rs"]
#[allow(unreachable_pub)] // `pub` makes an actor's method a remote one
mod asked;

#[actinic::remote]
fn where_am_i(millis: u64) -> String {
    std::thread::sleep(Duration::from_millis(millis));
    actinic::context().node_id().to_string()
}

#[actinic::remote]
fn make(length: usize) -> Vec<u8> {
    vec![7; length]
}

#[actinic::remote]
fn sum(bytes: Vec<u8>) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

/// Takes its time the first time, and is quick when it is run again.
#[actinic::remote(max_retries = 3)]
fn nap(millis: u64) -> String {
    if actinic::context().attempt() == 0 {
        std::thread::sleep(Duration::from_millis(millis));
    }
    actinic::context().node_id().to_string()
}

#[actinic::remote]
fn pid() -> u32 {
    std::process::id()
}

/// Counts calls, and says where it is.
#[derive(Debug, Default)]
pub struct Place {
    calls: u32,
}

#[actinic::remote]
impl Place {
    /// Nobody has called it.
    pub fn new() -> Self {
        Place::default()
    }

    /// How many calls came, where to, and how many bytes with this one.
    pub fn call(&mut self, bytes: Vec<u8>) -> (u32, String, usize) {
        self.calls += 1;
        (self.calls, actinic::context().node_id().to_string(), bytes.len())
    }

    /// How many calls came, at least as many as are said.
    pub fn count(&mut self, from: u32) -> u32 {
        self.calls = self.calls.max(from);
        self.calls
    }
}

/// An `actix::Actor` that says where it is.
#[derive(Debug, Default)]
pub struct Compass;

#[actinic::remote]
impl Compass {
    /// One that has not started yet.
    pub fn new() -> Self {
        Compass
    }
}

#[actinic::remote]
impl actix::Actor for Compass {
    type Context = actix::Context<Self>;
}

#[derive(actix::Message, serde::Serialize, serde::Deserialize)]
#[rtype(result = "String")]
struct Where;

#[actinic::remote]
impl actix::Handler<Where> for Compass {
    type Result = actix::ResponseFuture<String>;

    fn handle(&mut self, _: Where, _: &mut Self::Context) -> Self::Result {
        Box::pin(async { actinic::context().node_id().to_string() })
    }
}

/// Outlives the driver that made it, and works on.
#[derive(Debug, Default)]
pub struct Agent;

#[actinic::remote(num_cpus = 0)]
impl Agent {
    /// Without a state.
    pub fn new() -> Self {
        Agent
    }

    /// The node that it is on.
    pub fn place(&self) -> String {
        actinic::context().node_id().to_string()
    }

    /// Where a task of its own ran that needs a resource.
    pub async fn works(&self, resource: Option<String>) -> actinic::Result<String> {
        match resource {
            Some(resource) => where_am_i::options().resource(resource, 1).remote(0).await,
            None => where_am_i::remote(0).await,
        }
    }
}

fn say(text: &str) {
    println!("{text}");
    // The test reads it by a pipe; if that is gone, so is the test.
    let _ = std::io::stdout().flush();
}

/// Tasks, actors and objects on two nodes, one of which has the resource `remote`.
async fn two_nodes(cluster: &Cluster) -> actinic::Result<()> {
    let nodes = cluster.nodes().await?;
    assert_eq!(nodes.iter().filter(|node| node.alive).count(), 2, "{nodes:?}");
    assert_eq!(cluster.resources()["CPU"], 4.0);
    assert_eq!(cluster.resources()["remote"], 4.0);

    // The second node fetches this program first, and that may take longer than all these tasks on one node.
    where_am_i::options().resource("remote", 1).remote(0).await?;
    let refs: Vec<ObjectRef<String>> = (0..8).map(|_| where_am_i::remote(1000)).collect();
    let places: BTreeSet<String> = actinic::get(&refs).await?.into_iter().collect();
    assert_eq!(places.len(), 2, "eight tasks on four CPUs use both nodes");

    let here = make::options().remote(1 << 20);
    let there = make::options().resource("remote", 1).remote(3 << 20);
    assert_eq!(sum::options().resource("remote", 1).remote(&here).await?, 7 << 20);
    assert_eq!(sum::remote(&there).await?, 21 << 20);
    assert_eq!(there.await?.len(), 3 << 20);

    let put = actinic::put(&vec![1u8; 2 << 20]).await?;
    let near = Place::remote();
    let far = Place::options().resource("remote", 1).remote();
    let (one, near_node, length) = near.call(&put).await?;
    let (_, far_node, _) = far.call(&put).await?;
    assert_eq!((one, length), (1, 2 << 20));
    assert_eq!(far.call(vec![]).await?.0, 2);
    let far_id = nodes.iter().find(|node| node.resources.contains_key("remote")).map(|node| node.id.to_string());
    assert_eq!(Some(&far_node), far_id.as_ref());
    let compass = Compass::options().resource("remote", 1).remote();
    assert_eq!(Some(Handle::send(&compass, Where).await?), far_id);
    say(&format!("near {near_node}"));
    say("ok");
    Ok(())
}

/// A node is killed while a task runs there: the task runs again elsewhere, and an actor there is dead.
async fn survive(cluster: &Cluster) -> actinic::Result<()> {
    let far = cluster.nodes().await?.into_iter().find(|node| !node.head && node.alive).map(|node| node.id);
    let Some(far) = far else { panic!("there is no second node") };
    let scheduling = Scheduling::NodeAffinity { node: far, soft: true };
    let actor = Place::options().resource("remote", 1).remote();
    assert_eq!(actor.call(vec![]).await?.1, far.to_string());
    let task = nap::options().scheduling(scheduling).remote(600_000);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    say("running");
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    let killed = std::time::Instant::now();
    // Its worker ends when it sees that its raylet is gone: it may answer once more.
    let error = loop {
        match actor.call(vec![]).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => break error,
        }
    };
    say(&format!("actor {:?} after {} ms", error.kind(), killed.elapsed().as_millis()));
    while cluster.nodes().await?.iter().filter(|node| node.alive).count() > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    say(&format!("dead after {}", killed.elapsed().as_millis()));
    let place = task.await?;
    assert_ne!(place, far.to_string());
    // What the nodes have is told a driver by its raylet, which may hear it a moment later.
    while cluster.resources().contains_key("remote") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    say("ok");
    Ok(())
}

/// Leaves work behind: the test kills this process.
async fn linger() -> actinic::Result<()> {
    let actor = Place::remote();
    actor.call(vec![]).await?;
    let _kept = actinic::put(&Buffer::from(vec![1u8; 8 << 20])).await?;
    let result = large::remote(16 << 20);
    result.done().await?;
    let refs: Vec<ObjectRef<String>> = (0..4).map(|_| nap::remote(600_000)).collect();
    actinic::wait(&refs).timeout(Duration::from_millis(300)).await?;
    say("running");
    tokio::time::sleep(Duration::from_secs(600)).await;
    Ok(())
}

#[actinic::remote]
fn large(bytes: usize) -> Buffer {
    Buffer::from(vec![1u8; bytes])
}

/// Leaves a process behind that nobody waits for.
#[actinic::remote]
#[allow(clippy::zombie_processes)] // which is the point
fn leave() -> u32 {
    std::process::Command::new("sleep").arg("600").spawn().expect("sleep runs").id()
}

/// Says which process a task of it has left behind.
async fn leaves() -> actinic::Result<()> {
    say(&leave::remote().await?.to_string());
    Ok(())
}

/// Waits for a task while the test kills the node, and says which errors it gets.
async fn is_told() -> actinic::Result<()> {
    pid::remote().await?;
    let place = Place::remote();
    place.call(vec![]).await?;
    let pending = nap::remote(600_000);
    actinic::wait(std::slice::from_ref(&pending)).timeout(Duration::from_millis(300)).await?;
    say("running");
    let kind = |said: Result<String, Error>| said.map_or_else(|error| error.kind(), |_| "nothing");
    say(&format!("pending {}", kind(pending.await)));
    say(&format!("later {}", kind(nap::remote(0).await)));
    let cause = Handle::closed(&place).await?;
    say(&format!("closed {}", cause.error().kind()));
    Ok(())
}

/// Says its workers' pids, and then wants another worker when it is told that the file has been replaced.
async fn rebuilt() -> actinic::Result<()> {
    pid::remote().await?;
    say("running");
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    let actors: Vec<Handle<Place>> = (0..3).map(|_| Place::remote()).collect();
    for actor in &actors {
        actor.call(vec![]).await?;
    }
    let far = Place::options().resource("remote", 1).remote();
    far.call(vec![]).await?;
    say("ok");
    Ok(())
}

/// Hosts an actor that another program calls, and calls it itself when that has.
async fn hosts() -> actinic::Result<()> {
    let place = Place::options().name("place").remote();
    place.call(vec![]).await?;
    say("running");
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    say(&format!("calls {}", place.count(0).await?));
    pid::remote().await?;
    say("ok");
    Ok(())
}

/// Wants a worker of the second node, and says what comes of it.
async fn far() -> actinic::Result<()> {
    let told = |what: &str, came: Result<(), Error>| match came {
        Ok(()) => say(&format!("{what}: ok")),
        Err(error) => say(&format!("{what}: {} {error}", error.kind())),
    };
    let task = pid::options().resource("remote", 1).remote();
    told("task", actinic::get(&task).timeout(Duration::from_secs(30)).await.map(drop));
    let actor = Place::options().resource("remote", 1).remote();
    told("actor", actinic::get(&actor.call(vec![])).timeout(Duration::from_secs(30)).await.map(drop));
    told("near", pid::options().resource("near", 1).remote().await.map(drop));
    Ok(())
}

/// Wants what no node has until it is told to go on.
async fn wants() -> actinic::Result<()> {
    let wanted: Vec<ObjectRef<u64>> =
        (0..3).map(|_| sum::options().num_cpus(0.5).resource("telescope", 2).remote(vec![1])).collect();
    let agent = Agent::options().resource("mirror", 3).remote();
    let missing = async || match actinic::get(&agent.place()).timeout(Duration::from_millis(50)).await {
        Err(error) => error.to_string().contains("mirror: 3"),
        Ok(_) => false,
    };
    assert!(actinic::testing::eventually(Duration::from_secs(20), missing).await);
    actinic::wait(&wanted).timeout(Duration::from_millis(300)).await?;
    say("running");
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    Ok(())
}

/// Leaves a detached actor on the second node, which may be started again anywhere.
async fn makes_agent(cluster: &Cluster) -> actinic::Result<()> {
    let far = cluster.nodes().await?.into_iter().find(|node| !node.head && node.alive).map(|node| node.id);
    let Some(far) = far else { panic!("there is no second node") };
    let agent = Agent::options()
        .name("agent")
        .lifetime(Lifetime::Detached)
        .max_restarts(1)
        .scheduling(Scheduling::NodeAffinity { node: far, soft: true })
        .remote();
    assert_eq!(agent.place().await?, far.to_string());
    Ok(())
}

/// Asks the actor that another driver left: where it is, and where it can work.
async fn asks_agent(cluster: &Cluster) -> actinic::Result<()> {
    let agent: Handle<Agent> = actinic::get_actor("agent").await?;
    say("asks");
    say(&agent.place().await?);
    let third = cluster.resources().contains_key("third").then(|| "third".to_owned());
    say(&agent.works(third).await?);
    Ok(())
}

/// Spins on the second node, in each way that there is, and asks meanwhile; see `asked::all_is_answered`.
async fn spins(cluster: &Cluster) -> actinic::Result<()> {
    let lies = |by: asked::Place, reader: asked::Place| by.0 != reader.0 && by.1 != reader.1;
    let all = asked::spin_time(2);
    say("a sync function");
    asked::all_is_answered(cluster, all, lies, asked::moody::remote).await?;
    say("an async function");
    asked::all_is_answered(cluster, all, lies, asked::moody_async::remote).await?;
    say("an async method");
    let moody = asked::Moody::remote();
    asked::all_is_answered(cluster, all, lies, |mood, spins| moody.turn(mood, spins)).await?;
    say("ok");
    Ok(())
}

#[actinic::remote]
fn turn(dir: &str, driver: &str) {
    actinic_tests::files::take_turn(dir, driver);
}

/// Wants all CPUs for tasks that hold them until each is given its turn.
async fn greedy() -> actinic::Result<()> {
    let told = |name| std::env::var(name).expect("the test says so");
    let (dir, name) = (told("ACTINIC_TEST_DIR"), told("ACTINIC_TEST_NAME"));
    let tasks: Vec<ObjectRef<()>> = (0..80).map(|_| turn::remote(&dir, &name)).collect();
    say("running");
    actinic::get(&tasks).await?;
    say("ok");
    Ok(())
}

#[actinic::remote]
fn ends_its_process(file: &str) {
    actinic_tests::files::count_up(file);
    std::process::exit(1);
}

#[actinic::remote]
async fn submits_what_ends_its_process(file: String) -> actinic::Result<()> {
    ends_its_process::remote(&file).await
}

/// Says how often a task is tried whose process ends, and one that a task submits.
async fn tries() -> actinic::Result<()> {
    let dir = std::env::var("ACTINIC_TEST_DIR").expect("the test says so");
    let files = ["plain", "nested"].map(|name| format!("{dir}/{name}"));
    assert!(ends_its_process::remote(&files[0]).await.is_err());
    assert!(submits_what_ends_its_process::remote(&files[1]).await.is_err());
    say(&format!("tried {:?}", files.map(|file| actinic_tests::files::counted(&file))));
    Ok(())
}

/// Works until it is told that it is enough.
async fn works() -> actinic::Result<()> {
    let place = Place::remote();
    place.call(vec![]).await?;
    say("running");
    let enough = std::thread::spawn(|| {
        let mut line = String::new();
        let _ = std::io::stdin().read_line(&mut line);
    });
    let mut done = 0;
    while !enough.is_finished() {
        let sums: Vec<ObjectRef<u64>> = (0..50).map(|size| sum::remote(vec![1; size])).collect();
        let calls: Vec<ObjectRef<(u32, String, usize)>> = (0..10).map(|_| place.call(vec![])).collect();
        let sums = actinic::get(&sums).timeout(Duration::from_secs(30)).await?;
        assert_eq!(sums, (0..50).collect::<Vec<u64>>());
        let calls = actinic::get(&calls).timeout(Duration::from_secs(30)).await?;
        assert!(calls.iter().zip(done + 2..).all(|(call, number)| call.0 == number), "{calls:?}");
        done += 10;
    }
    say("ok");
    Ok(())
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let part = std::env::args().nth(1).unwrap_or_default();
    let cluster = match part.as_str() {
        "hosts" | "makes_agent" | "asks_agent" | "ends_agent" => actinic::init().namespace("shared").await?,
        "embedded" => actinic::init().num_cpus(2).workers(Workers::Processes).await?,
        _ => actinic::init().await?,
    };
    say("connected");
    match part.as_str() {
        "two_nodes" => two_nodes(&cluster).await?,
        "survive" => survive(&cluster).await?,
        "linger" | "embedded" => linger().await?,
        "leaves" => {
            leaves().await?;
            return is_told().await;
        }
        "leaves_and_ends" => leaves().await?,
        "is_told" => return is_told().await,
        "rebuilt" => rebuilt().await?,
        "hosts" => hosts().await?,
        "far" => far().await?,
        "makes_agent" => makes_agent(&cluster).await?,
        "asks_agent" => asks_agent(&cluster).await?,
        "ends_agent" => actinic::kill(&actinic::get_actor::<Agent>("agent").await?).await?,
        "spins" => spins(&cluster).await?,
        "works" => works().await?,
        "greedy" => greedy().await?,
        "tries" => tries().await?,
        "wants" => wants().await?,
        _ => {
            pid::remote().await?;
            say("ok");
        }
    }
    cluster.shutdown().await
}
