//! A sample of every kind of message that is read from another process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actinic_transport::{ActorNo, Address, Authority, ClusterId, NodeId, PeerAddr, ProcessId, Token};
use bytes::Bytes;
use uuid::Uuid;

use super::Kind;
use crate::actor::credit::Window;
use crate::api::error::Error;
use crate::events::samples as events;
use crate::gcs::core::{self as gcs, ActorRow, ActorState, DeathCause, DeathReason, NodeDeath, NodeState, Refusal};
use crate::ids::{ActorId, JobId, ObjectId, OwnerId, TaskId, WorkerId};
use crate::object_manager::{budget, read_pulled};
use crate::owner::Ran;
use crate::owner::refs::{HandOutId, Slot};
use crate::program::FunctionId;
use crate::protocol::calls::*;
use crate::protocol::refs::WireRefs;
use crate::protocol::workers::{Keep, ToWorker};
use crate::protocol::*;
use crate::raylet::core::{Host, Purpose, Scheduling};
use crate::resources::{Quantity, ResourceSet};

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n << 64 | n)
}

fn process() -> ProcessId {
    ProcessId { cluster: ClusterId(uuid(1)), node: node(), incarnation: uuid(3) }
}

fn node() -> NodeId {
    NodeId(uuid(2))
}

fn budget() -> budget::Place {
    budget::Place::of(crate::env::shared::At::of(7, 8), 5, (3, 2))
}

fn owner() -> OwnerId {
    OwnerId { process: process(), number: 300 }
}

fn task() -> TaskId {
    TaskId { owner: owner(), seq: 70_000 }
}

fn object() -> ObjectId {
    ObjectId { task: task(), index: 2 }
}

fn job() -> JobId {
    JobId(uuid(4))
}

fn actor() -> ActorId {
    ActorId(uuid(5))
}

fn worker() -> WorkerId {
    WorkerId(uuid(6))
}

fn run() -> ActorRun {
    ActorRun { actor: actor(), incarnation: 3, attempt: 1 }
}

fn lease() -> LeaseId {
    LeaseId { node: node(), number: 129 }
}

fn peer() -> PeerAddr {
    let addrs = vec!["10.0.0.1:7000".parse().unwrap(), "[fe80::1]:7001".parse().unwrap()];
    PeerAddr { id: process(), addrs, relay: Some((process(), "10.0.0.2:7000".parse().unwrap())) }
}

fn text() -> String {
    "words that say why".to_owned()
}

fn resources() -> ResourceSet {
    let custom = [("accelerator", 0.5)];
    ResourceSet::from_options(4.0, 1.0, 1e9, custom).unwrap()
}

fn error() -> Error {
    let inner = Error::typed(crate::api::error::Error::task("inner")).subject("task f");
    inner.through_dependent("task g").at_node(node()).remedy(text())
}

fn refs() -> WireRefs {
    let other = OwnerId { number: 301, ..owner() };
    let of = |owner, seq| ObjectId { task: TaskId { owner, seq }, index: 0 };
    WireRefs(vec![object(), of(owner(), 1), of(other, 2), of(other, 70_001)])
}

fn value() -> WireValue<'static> {
    WireValue { body: b"a body of some bytes", buffers: vec![&[7; 40], &[], &[9; 17]], refs: refs() }
}

fn dependencies() -> Vec<WireDependency<'static>> {
    let stored = WireDependency::Stored { object: object(), size: 1 << 40, at: vec![peer()], refs: refs() };
    vec![WireDependency::Value(value()), stored]
}

fn outcomes() -> Vec<WireOutcome<'static>> {
    let stored = WireOutcome::Stored { size: 1 << 40, at: vec![peer()], refs: refs() };
    vec![WireOutcome::Value(value()), stored, WireOutcome::Error(error())]
}

/// The same, with each kind of lifeline.
fn specs() -> [Arc<ActorSpec>; 3] {
    let all = [gcs::Lifeline::None, gcs::Lifeline::OfOwner(300), spec().lifeline.clone()];
    all.map(|lifeline| Arc::new(ActorSpec { lifeline, ..(*spec()).clone() }))
}

pub(crate) fn spec() -> Arc<ActorSpec> {
    Arc::new(ActorSpec {
        id: actor(),
        lifeline: gcs::Lifeline::Claimed(Box::new(object())),
        creation: Bytes::from(postcard::to_stdvec(&creation()).unwrap()),
        traits: Arc::new(ActorTraits {
            job: job(),
            owner: owner(),
            outlives_job: true,
            class: "Counter".to_owned(),
            path: "program::Counter".to_owned(),
            name: Some("a name".to_owned()),
            namespace: "ns".to_owned(),
            job_namespace: "of the job".into(),
            detached: false,
            get_if_exists: true,
            max_restarts: -1,
            max_task_retries: 3,
            max_pending_calls: -1,
            task_events: true,
            max_concurrency: 1000,
            shape: resources(),
            hold: ResourceSet::cpus(Quantity::whole(1)),
            scheduling: gcs::Scheduling::NodeAffinity { node: node(), soft: true },
            fails: true,
            isolation: gcs::Isolation::Shared,
        }),
    })
}

fn creation() -> WireCreation<'static> {
    let plain = WireValue { refs: WireRefs::default(), ..value() };
    let dependencies = vec![WirePart::Object(object()), WirePart::Value(plain.clone())];
    WireCreation { class: FunctionId(77), input: WirePart::Value(plain), dependencies }
}

pub(crate) fn request() -> LeaseRequest {
    LeaseRequest {
        id: RequestId(9),
        from: owner(),
        job: job(),
        key: 7,
        shape: resources(),
        backlog: 1000,
        depth: 2,
        outlives_job: false,
        scheduling: Scheduling::NodeAffinity { node: node(), soft: false },
        fails: true,
        locality: vec![(node(), 1 << 30)],
        avoids: vec![node()],
        spilled: 3,
        purpose: Purpose::Actor { actor: actor(), hold: resources(), host: Host::Shared },
    }
}

fn node_row() -> NodeRow {
    NodeRow {
        id: node(),
        process: process(),
        addrs: peer().addrs,
        bulk_addrs: peer().addrs,
        total: resources(),
        labels: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
        hostname: "host".to_owned(),
        pid: 12_345,
        head: true,
        programs: BTreeSet::from(["c0ffee".to_owned()]),
        state: NodeState::Dead,
        death: Some(NodeDeath::Silent { silence: Duration::from_secs(30) }),
        started: Duration::from_secs(1),
        ended: Some(Duration::from_millis(1500)),
    }
}

fn view() -> NodeView {
    NodeView { node: node(), version: 8, available: resources(), queued: 4 }
}

fn job_row() -> JobRow {
    JobRow {
        id: job(),
        driver: owner(),
        namespace: "ns".to_owned(),
        entry: "prog --flag".to_owned(),
        program: "c0ffee".to_owned(),
        task_max_retries: 3,
        started: Duration::ZERO,
        ended: Some(Duration::from_secs(7)),
    }
}

fn death(reason: DeathReason) -> Box<DeathCause> {
    let (class, name) = ("Counter".to_owned(), Some("a name".to_owned()));
    Box::new(DeathCause { actor: actor(), class, name, node: Some(node()), restarts: 1, max_restarts: -1, reason })
}

fn info() -> ActorInfo {
    let found = gcs::Found {
        id: actor(),
        lifeline: Some(object()),
        max_concurrency: 4,
        max_pending_calls: -1,
        task_events: true,
        max_task_retries: 0,
    };
    ActorInfo {
        id: actor(),
        state: ActorState::Alive,
        incarnation: 3,
        restarts: 2,
        node: Some(node()),
        address: Some(Address { process: process(), actor: ActorNo(99) }),
        waits: Some("no node can ever hold it".into()),
        death: Some(death(DeathReason::Killed)),
        found: Some(Box::new(found)),
    }
}

fn actor_row() -> ActorRow {
    ActorRow {
        number: 1,
        spec: spec(),
        state: ActorState::Dead,
        incarnation: 3,
        attempt: 1,
        restarts: 2,
        node: Some(node()),
        seat: Some(Arc::new(gcs::Seat { process: process(), worker: worker(), pid: 7 })),
        waits: info().waits,
        death: info().death,
        started: Duration::ZERO,
        ended: Some(Duration::from_secs(1)),
    }
}

fn reasons() -> Vec<DeathReason> {
    let detail = text;
    let name = text;
    let mut all = vec![
        DeathReason::ConstructorError { text: text(), error: Bytes::from(postcard::to_stdvec(&error()).unwrap()) },
        DeathReason::WorkerDied { detail: detail() },
        DeathReason::OutOfMemory { detail: detail() },
        DeathReason::NodeDied { node: node(), detail: detail() },
        DeathReason::OwnerDied { owner: owner() },
        DeathReason::JobEnded { job: job() },
        DeathReason::Killed,
        DeathReason::Exited { detail: detail() },
        DeathReason::Broken { detail: detail() },
        DeathReason::Stopped,
        DeathReason::OutOfScope,
        DeathReason::Unschedulable { detail: detail() },
        DeathReason::Unknown,
    ];
    let refusals = [
        Refusal::NameTaken { name: name(), namespace: text(), holder: actor() },
        Refusal::ClassMismatch { name: name(), holder: actor(), found: text(), asked: text() },
        Refusal::EmptyName,
        Refusal::NoName,
        Refusal::Infeasible { detail: detail() },
        Refusal::NoSuchJob { job: job() },
        Refusal::OwnerDead { owner: owner() },
    ];
    all.extend(refusals.map(|why| DeathReason::Refused { why }));
    all
}

fn ref_messages() -> Vec<RefMessage> {
    let slots = vec![Slot { seq: 1, index: 0 }, Slot { seq: 70_000, index: 9 }];
    let token = HandOutId(5);
    vec![
        RefMessage::Register { slots: slots.clone(), borrower: owner(), token },
        RefMessage::Registered { token },
        RefMessage::Granted { slots: slots.clone(), by: owner() },
        RefMessage::Release { slot: slots[1], count: 3 },
        RefMessage::Undone { objects: vec![object(), object()] },
    ]
}

fn owner_messages() -> Vec<OwnerMessage> {
    let (request, lease) = (RequestId(9), lease());
    let mut all = vec![
        OwnerMessage::Grant { request, lease, worker: WorkerAddr { worker: worker(), peer: peer() }, open: 2 },
        OwnerMessage::Spill { request, node: node(), raylet: peer(), count: 2, spilled: 1, open: 1 },
        OwnerMessage::Refuse { request, error: error(), of: Refused::Node },
        OwnerMessage::Recall { lease, yield_now: true },
        OwnerMessage::LeaseLost { lease, worker: worker(), process: Some(process()), ran: Ran::First },
        OwnerMessage::LeaseLost { lease, worker: worker(), process: None, ran: Ran::Task(Some(4)) },
        OwnerMessage::Infeasible { request, text: text(), first: true },
        OwnerMessage::Copied { seq: 4, index: 1, at: peer() },
        OwnerMessage::Parked { lease, seq: 4 },
        OwnerMessage::Cancel { seq: 4, force: true, recursive: false },
    ];
    all.extend(ref_messages().into_iter().map(|message| OwnerMessage::Count { from: owner(), message }));
    all
}

fn to_owner() -> Vec<ToOwner> {
    let mut all = vec![
        ToOwner::Actors(vec![ActorNews { info: info(), peer: Some(peer()) }]),
        ToOwner::NodeDead { node: node(), text: text() },
        ToOwner::Warning { text: text() },
        ToOwner::ProcessDead { process: process() },
        ToOwner::OwnerGone { owner: owner() },
        ToOwner::StoreFull { lineage: true },
        ToOwner::Resources { nodes: vec![(node(), resources(), resources())] },
        ToOwner::GivenBack { lease: lease(), tasks: vec![(1, 2), (3, 70_000)] },
        ToOwner::GetObject { object: object(), lost: vec![process()] },
        ToOwner::Credit { actor: actor(), incarnation: 3, window: Window { calls: 4, bytes: 1 << 20 } },
    ];
    all.extend(owner_messages().into_iter().map(|message| ToOwner::To { owner: 300, message }));
    all
}

fn to_raylet() -> Vec<ToRaylet> {
    let (run, lease) = (run(), lease());
    vec![
        ToRaylet::Request(request()),
        ToRaylet::Backlog { from: owner(), id: RequestId(9), backlog: 7, heard: 3 },
        ToRaylet::Return { lease, reusable: true },
        ToRaylet::Blocked { lease },
        ToRaylet::Unblocked { lease },
        ToRaylet::Hello { peer: peer(), worker: Some(worker()), pid: 7, program: text() },
        ToRaylet::JobStarted { row: Box::new(job_row()) },
        ToRaylet::JobEnded { job: job() },
        ToRaylet::KeepProgram { job: job() },
        ToRaylet::ForgetProgram { job: job() },
        ToRaylet::OwnerDied { owner: owner() },
        ToRaylet::PlaceActor { run, spec: spec() },
        ToRaylet::EndActor { run, kill: true },
        ToRaylet::RecallActor { run },
        ToRaylet::Nodes(vec![node_row(), node_row()]),
        ToRaylet::Views(vec![view(), view()]),
        ToRaylet::Dead { process: process() },
        ToRaylet::OwnerGone { owner: owner() },
        ToRaylet::StoreFull { lineage: false },
        ToRaylet::Tokens(vec![token()]),
        ToRaylet::ActorUp { run },
        ToRaylet::ActorFailed { run, text: text(), error: error() },
        ToRaylet::ActorGone { run, how: Gone::Lost, text: text(), owner: Some(owner()) },
    ]
}

fn to_gcs() -> Vec<ToGcs> {
    let (run, node) = (run(), node());
    let [spec, of_owner, claimed] = specs();
    vec![
        ToGcs::RegisterNode { row: Box::new(node_row()), peer: peer() },
        ToGcs::Heartbeat { node },
        ToGcs::View(view()),
        ToGcs::NodeLeft { node },
        ToGcs::JobStarted { row: Box::new(job_row()), driver: peer() },
        ToGcs::JobEnded { job: job() },
        ToGcs::ProcessDied { process: process() },
        ToGcs::OwnerDied { owner: owner() },
        ToGcs::CreateActor { spec, from: peer() },
        ToGcs::CreateActor { spec: of_owner, from: peer() },
        ToGcs::CreateActor { spec: claimed, from: peer() },
        ToGcs::ActorPlaced { run, node },
        ToGcs::ActorReady { run, node, process: peer(), worker: worker(), pid: 7 },
        ToGcs::ActorNotStarted { run, node, text: text(), error: Some(error()), no_room: true },
        ToGcs::ActorDied { run, node, how: Gone::Broken, text: text(), owner: Some(owner()) },
        ToGcs::StopActor { actor: actor() },
        ToGcs::HandlesGone { actor: actor() },
        ToGcs::ActorArguments { actor: actor(), creation: Bytes::from_static(b"creation") },
        ToGcs::ActorNotMade { actor: actor(), text: text(), error: error() },
        ToGcs::Subscribe { actor: actor(), owner: Some(owner()), to: peer() },
        ToGcs::TaskEvents(Box::new(events::told())),
    ]
}

fn to_worker() -> Vec<ToWorker> {
    let (run, lease, actor) = (run(), lease(), 99);
    vec![
        ToWorker::TakeBack { lease },
        ToWorker::Cancel { owner: 1, seq: 2, force: true },
        ToWorker::CancelCall { owner: 1, seq: 2, actor },
        ToWorker::ForceEnds { owner: 1, seq: 2 },
        ToWorker::CancelChildren { owner: 1, seq: 2 },
        ToWorker::CallerLeft { actor, incarnation: 3 },
        ToWorker::EndActor { run, kill: true },
        ToWorker::StartActor { run, spec: spec(), lease },
        ToWorker::IsNeeded,
    ]
}

fn authority() -> Authority {
    Authority::generate(process().cluster).unwrap()
}

fn token() -> Token {
    Token::generate(&authority()).unwrap()
}

/// The fields of an `Offer`, which only `program_file` knows.
fn offer() -> crate::start::program_file::Offer {
    let fields = postcard::to_stdvec(&("a boot", 7u32, 8u64, 9u64, 10u64)).unwrap();
    postcard::from_bytes(&fields).unwrap()
}

fn to_ask_raylet() -> Vec<AskRaylet> {
    vec![
        AskRaylet::Attach { peer: peer(), offer: Some(offer()) },
        AskRaylet::Program { job: job() },
        AskRaylet::Gcs,
        AskRaylet::Where { process: process() },
        AskRaylet::Renew { public_key: [7; 32] },
        AskRaylet::State,
    ]
}

fn raylet_answers() -> Vec<RayletAnswer> {
    let info = crate::start::program_file::ProgramInfo { size: 1 << 30, content: [7; 32], triple: text() };
    let state = crate::raylet::RayletState {
        total: resources(),
        available: resources(),
        leases: 3,
        queued: 4,
        demands: vec![(resources(), 5)],
        stored: 1 << 30,
        workers: vec![(worker(), 7, true)],
    };
    let grant = authority().node(node()).unwrap().grant(process(), &[7; 32]).unwrap();
    vec![
        RayletAnswer::Attached { gcs: peer(), nodes: vec![(node(), resources(), resources())], budget: Some(budget()) },
        RayletAnswer::Program(info),
        RayletAnswer::Gcs(peer()),
        RayletAnswer::Where(Some(peer())),
        RayletAnswer::Renewed(grant),
        RayletAnswer::State(state),
    ]
}

fn to_ask_gcs() -> Vec<AskGcs> {
    vec![
        AskGcs::GetActor { name: text(), namespace: text() },
        AskGcs::ListNamed { namespace: Some(text()) },
        AskGcs::Kill { actor: actor(), no_restart: true },
        AskGcs::Nodes,
        AskGcs::Actors { after: Some(300) },
        AskGcs::Demands,
        AskGcs::Jobs,
        AskGcs::Job { job: job() },
        AskGcs::Tokens(TokenWish::Show),
        AskGcs::Tokens(TokenWish::Create),
        AskGcs::Tokens(TokenWish::Revoke(token())),
        AskGcs::Tasks { after: Some(events::row().key) },
    ]
}

fn gcs_answers() -> Vec<GcsAnswer> {
    vec![
        GcsAnswer::Actor(Some((ActorNews { info: info(), peer: Some(peer()) }, spec()))),
        GcsAnswer::Names(vec![(text(), text(), actor())]),
        GcsAnswer::Killed { owner: Some(owner()) },
        GcsAnswer::Nodes(vec![node_row()], vec![view()], vec![Duration::new(1, 70_000)]),
        GcsAnswer::Actors(vec![actor_row()]),
        GcsAnswer::Demands(vec![(resources(), 3)]),
        GcsAnswer::Jobs(vec![job_row()]),
        GcsAnswer::Job(Some((job_row(), vec![peer()]))),
        GcsAnswer::Tokens(Ok(vec![token()])),
        GcsAnswer::Tokens(Err(error())),
        GcsAnswer::Tasks { rows: vec![events::row()], dropped: 300 },
    ]
}

fn tasks() -> WireTasks<'static> {
    let task = WireTask {
        seq: 70_000,
        attempt: 1,
        function: FunctionId(77),
        name: Some("a name"),
        depth: 2,
        outlives_job: true,
        resources: vec![("CPU", 0.5), ("GPU", 1.0)],
        input: value(),
        dependencies: dependencies(),
    };
    WireTasks { owner: 300, lease: lease(), worker: worker(), tasks: vec![task.clone(), task] }
}

fn calls() -> WireCalls<'static> {
    let call = WireCall {
        seq: 70_000,
        attempt: 1,
        method: 77,
        name: "Counter.add",
        depth: 2,
        input: value(),
        dependencies: dependencies(),
    };
    WireCalls { owner: 300, caller: 40_000, actor: 99, incarnation: 3, calls: vec![call.clone(), call] }
}

fn replies() -> WireReplies<'static> {
    let reply = WireReply { owner: 300, seq: 70_000, attempt: 1, ns: 5_000, failed: false, outcomes: outcomes() };
    WireReplies { lease: Some(lease()), replies: vec![reply.clone(), reply] }
}

/// Reads a value as a message's receiver does; who owns the refs is not asked.
fn open(value: &WireValue<'_>) {
    let nobody = crate::rt::failed_ref(Error::task("nobody's"));
    drop(value.read(|_| nobody.clone()));
}

fn open_dependencies(dependencies: &[WireDependency<'_>]) {
    for dependency in dependencies {
        if let WireDependency::Value(value) = dependency {
            open(value);
        }
    }
}

fn open_outcomes<'a>(outcomes: impl IntoIterator<Item = &'a WireOutcome<'a>>) {
    for outcome in outcomes {
        match outcome {
            WireOutcome::Value(value) => open(value),
            WireOutcome::Stored { .. } => {}
            WireOutcome::Error(error) => drop((error.to_string(), error.clone().bounded())),
        }
    }
}

/// An object as it comes by a bulk stream: its header, then the bytes of its parts.
fn pulled() -> Vec<u8> {
    let header = FetchHeader { body: 20, buffers: vec![40, 0, 17], counted_in: 5 };
    [postcard::to_stdvec(&header).unwrap(), vec![7; 77]].concat()
}

fn errors() -> Vec<Error> {
    let message = text;
    vec![
        error(),
        Error::task_cancelled(message()),
        Error::worker_crashed(message()),
        Error::actor_died(message()),
        Error::actor_unavailable(message()),
        Error::actor_pending_calls_limit(message()),
        Error::object_lost(message()),
        Error::owner_died(message()),
        Error::object_freed(message()),
        Error::reconstruction_failed(message()),
        Error::object_store_full(message()),
        Error::out_of_disk(message()),
        Error::out_of_memory(message()),
        Error::get_timeout(message()),
        Error::node_died(message()),
        Error::runtime_env_setup(message()),
        Error::placement_group_removed(message()),
        Error::infeasible(message()),
        Error::connection(message()),
        Error::unauthorized(message()),
        Error::version_mismatch(message()),
        Error::serialization(message()),
        Error::invalid_argument(message()),
    ]
}

/// Every kind of message, by who reads it in `net.rs`, `answers.rs` and the object manager.
pub(super) fn all() -> Vec<Kind> {
    vec![
        Kind::whole::<Error>("Error", &errors()),
        Kind::whole::<DeathReason>("DeathReason", &reasons()),
        Kind::whole::<RefMessage>("RefMessage", &ref_messages()),
        Kind::whole::<OwnerMessage>("OwnerMessage", &owner_messages()),
        Kind::whole::<ToOwner>("ToOwner", &to_owner()),
        Kind::whole::<ToRaylet>("ToRaylet", &to_raylet()),
        Kind::whole::<AskRaylet>("AskRaylet", &to_ask_raylet()),
        Kind::whole::<RayletAnswer>("RayletAnswer", &raylet_answers()),
        Kind::whole::<ToGcs>("ToGcs", &to_gcs()),
        Kind::whole::<AskGcs>("AskGcs", &to_ask_gcs()),
        Kind::whole::<GcsAnswer>("GcsAnswer", &gcs_answers()),
        Kind::whole::<ToWorker>("ToWorker", &to_worker()),
        Kind::whole::<Fetch>("Fetch", &[Fetch::Object { object: object() }, Fetch::Program { job: job() }]),
        Kind::owned::<Keep>("Keep", &[Keep { object: object(), size: 1 << 40 }]),
        Kind::owned::<Result<PeerAddr, Error>>("the answer to Keep", &[Ok(peer()), Err(error())]),
        Kind::owned::<WireRefs>("WireRefs", &[refs(), WireRefs::default()]),
        Kind::new("WireTasks", &[tasks()], |bytes| {
            let read = postcard::from_bytes::<WireTasks<'_>>(bytes);
            for task in read.iter().flat_map(|tasks| &tasks.tasks) {
                open(&task.input);
                open_dependencies(&task.dependencies);
            }
            read.is_ok()
        }),
        Kind::new("WireCalls", &[calls()], |bytes| {
            let read = postcard::from_bytes::<WireCalls<'_>>(bytes);
            for call in read.iter().flat_map(|calls| &calls.calls) {
                open(&call.input);
                open_dependencies(&call.dependencies);
            }
            read.is_ok()
        }),
        Kind::new("WireReplies", &[replies()], |bytes| {
            let read = postcard::from_bytes::<WireReplies<'_>>(bytes);
            open_outcomes(read.iter().flat_map(|replies| &replies.replies).flat_map(|reply| &reply.outcomes));
            read.is_ok()
        }),
        Kind::new("WireCreation", &[creation()], |bytes| postcard::from_bytes::<WireCreation<'_>>(bytes).is_ok()),
        Kind::new(
            "ObjectAnswer",
            &outcomes().into_iter().map(|outcome| ObjectAnswer { object: object(), outcome }).collect::<Vec<_>>(),
            |bytes| {
                let read = postcard::from_bytes::<ObjectAnswer<'_>>(bytes);
                open_outcomes(read.iter().map(|answer| &answer.outcome));
                read.is_ok()
            },
        ),
        Kind { name: "an object in transfer", samples: vec![pulled()], read: |bytes| read_pulled(bytes).is_ok() },
    ]
}
