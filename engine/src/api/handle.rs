//! Handles of actors.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::actor::client::{ActorCall, Caller, Client, ClientLimits};
use crate::api::error::{Error, Result};
use crate::api::object_ref::{ObjectRef, deserialize_ref, serialize_ref};
use crate::api::op::Op;
use crate::api::options::{ActorOptions, CallOptions, Lifetime, OnInfeasible, Scheduling};
use crate::api::scope;
use crate::call::Args;
use crate::gcs::core as gcs;
use crate::ids::{ActorId, OwnerId};
use crate::object::{RawRef, Resolved};
use crate::owner::Owner;
use crate::process::Process;
use crate::program::{ActorEntry, KnownMethod, MethodEntry, NumReturns};
use crate::protocol::calls::{WireCreation, WirePart, WireValue};
use crate::protocol::{ActorSpec, AskGcs, GcsAnswer, ToGcs};
use crate::raylet::Shape;
use crate::resources::ResourceSet;
use crate::rt::{RawHandle, Submitted};
use crate::task::{Input, Meta, What};
use crate::worker::host;

/// An actor class: what `#[actinic::remote]` on an `impl` makes of a type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an actor of Actinic's",
    note = "put `#[actinic::remote]` on an `impl {Self}` block with its constructor `new`"
)]
pub trait Actor: Sized + 'static {
    /// The type with the remote methods, which [`Handle`] derefs to.
    type Methods: From<RawHandle> + Clone + fmt::Debug + Send + Sync;

    /// The class as it is registered.
    #[doc(hidden)]
    fn entry() -> &'static ActorEntry;
}

/// A handle of an actor, which may be cloned and passed anywhere in the cluster.
///
/// It derefs to the actor's remote methods; its own operations are associated functions, as `Arc`'s are. When the last
/// handle anywhere is dropped, an actor that is not detached ends after the calls already made.
pub struct Handle<A: Actor> {
    raw: RawHandle,
    methods: A::Methods,
}

impl<A: Actor> Handle<A> {
    pub(crate) fn new(raw: RawHandle) -> Self {
        Handle { methods: A::Methods::from(raw.clone()), raw }
    }

    /// The actor's id.
    pub fn id(this: &Self) -> ActorId {
        this.raw.client.id
    }

    /// A ref that is ready when the actor was made, and fails with the reason if it cannot be.
    pub fn ready(this: &Self) -> ObjectRef<()> {
        ObjectRef::new(this.raw.client.ready_ref())
    }

    /// Finishes when the actor is dead for good, with the cause.
    pub fn closed(this: &Self) -> Op<DeathCause> {
        let client = Arc::clone(&this.raw.client);
        Op::new(async move {
            let (tell, hear) = tokio::sync::oneshot::channel();
            client.on_closed(Box::new(move |error| drop(tell.send(error))));
            let error = hear.await.map_err(|_| Error::connection("the cluster was shut down"))?;
            Ok(DeathCause { error })
        })
    }

    /// Ends the actor after the calls already made.
    pub fn stop(this: &Self) -> Op<()> {
        this.raw.client.stop();
        Op::ready(Ok(()))
    }

    /// Where the actor is in its life, as this process knows.
    pub fn state(this: &Self) -> ActorState {
        this.raw.client.state().into()
    }

    /// The actor's methods, to be called with options of their own.
    pub fn with(this: &Self, options: CallOptions) -> With<A> {
        let raw = RawHandle::new(Arc::clone(&this.raw.client), Some(Arc::new(options)));
        With { methods: A::Methods::from(raw.clone()), raw }
    }

    pub(crate) fn raw(&self) -> &RawHandle {
        &self.raw
    }
}

impl<A: Actor> Deref for Handle<A> {
    type Target = A::Methods;

    fn deref(&self) -> &A::Methods {
        &self.methods
    }
}

impl<A: Actor> Clone for Handle<A> {
    fn clone(&self) -> Self {
        Handle::new(self.raw.clone())
    }
}

impl<A: Actor> PartialEq for Handle<A> {
    fn eq(&self, other: &Self) -> bool {
        self.raw.client.id == other.raw.client.id
    }
}

impl<A: Actor> Eq for Handle<A> {}

impl<A: Actor> Hash for Handle<A> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.raw.client.id.hash(state);
    }
}

impl<A: Actor> fmt::Debug for Handle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({} {})", self.raw.client.class, self.raw.client.id)
    }
}

/// An actor's methods with options for the calls made through it.
pub struct With<A: Actor> {
    methods: A::Methods,
    raw: RawHandle,
}

impl<A: Actor> With<A> {
    pub(crate) fn raw(&self) -> &RawHandle {
        &self.raw
    }
}

impl<A: Actor> fmt::Debug for With<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.methods.fmt(f)
    }
}

impl<A: Actor> Deref for With<A> {
    type Target = A::Methods;

    fn deref(&self) -> &A::Methods {
        &self.methods
    }
}

/// Why an actor is dead.
#[derive(Clone, Debug)]
pub struct DeathCause {
    error: Error,
}

impl DeathCause {
    /// The cause as the error that calls get.
    pub fn error(&self) -> &Error {
        &self.error
    }
}

impl fmt::Display for DeathCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

/// Where an actor is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ActorState {
    /// Its constructor's arguments are not ready.
    DependenciesUnready,
    /// It waits for a node, or its constructor runs.
    PendingCreation,
    /// It takes calls.
    Alive,
    /// Its last incarnation was lost, and the next is on its way.
    Restarting,
    /// It is dead for good.
    Dead,
}

impl From<gcs::ActorState> for ActorState {
    fn from(state: gcs::ActorState) -> Self {
        match state {
            gcs::ActorState::DependenciesUnready => ActorState::DependenciesUnready,
            gcs::ActorState::PendingCreation => ActorState::PendingCreation,
            gcs::ActorState::Alive => ActorState::Alive,
            gcs::ActorState::Restarting => ActorState::Restarting,
            gcs::ActorState::Dead => ActorState::Dead,
        }
    }
}

/// What a handle is when it travels.
#[derive(Serialize, Deserialize)]
struct WireHandle {
    actor: ActorId,
    owner: Option<OwnerId>,
    class: u64,
    max_concurrency: u32,
    max_pending: i64,
    max_task_retries: i64,
    lifeline: Option<Lifeline>,
}

/// The ref that keeps an actor alive.
struct Lifeline(RawRef);

impl Serialize for Lifeline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_ref(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Lifeline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_ref(deserializer).map(Lifeline)
    }
}

impl<A: Actor> Serialize for Handle<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !crate::value::encoding() {
            return Err(serde::ser::Error::custom("a Handle can only be serialized by Actinic"));
        }
        let client = &self.raw.client;
        let lifeline = client.lifeline();
        let wire = WireHandle {
            actor: client.id,
            owner: lifeline.as_ref().map(|lifeline| lifeline.id().task.owner),
            class: A::entry().id().0,
            max_concurrency: client.limits.max_concurrency,
            max_pending: client.limits.max_pending,
            max_task_retries: client.limits.max_task_retries,
            lifeline: lifeline.map(Lifeline),
        };
        wire.serialize(serializer)
    }
}

impl<'de, A: Actor> Deserialize<'de> for Handle<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let wire = WireHandle::deserialize(deserializer)?;
        if wire.class != A::entry().id().0 {
            return Err(D::Error::custom(format!("the handle is not one of a {}", A::entry().name())));
        }
        let process = match &wire.lifeline {
            Some(lifeline) => Arc::clone(lifeline.0.process()),
            None => Arc::clone(&scope::owner().map_err(D::Error::custom)?.process),
        };
        let limits = ClientLimits {
            max_concurrency: wire.max_concurrency,
            max_pending: wire.max_pending,
            max_task_retries: wire.max_task_retries,
        };
        let lifeline = wire.lifeline.map(|lifeline| lifeline.0);
        Ok(Handle::new(handle_for(&process, wire.actor, A::entry(), limits, lifeline, wire.owner)))
    }
}

/// A handle of an actor whose client in this process is new or known.
fn handle_for(
    process: &Arc<Process>,
    actor: ActorId,
    entry: &'static ActorEntry,
    limits: ClientLimits,
    lifeline: Option<RawRef>,
    owner: Option<OwnerId>,
) -> RawHandle {
    let (client, new) = match process.client(actor) {
        Some(known) => (known, false),
        None => (Client::new(actor, entry, Arc::clone(process), limits), true),
    };
    let handle = RawHandle::new(Arc::clone(&client), None);
    if let Some(lifeline) = lifeline {
        client.set_lifeline(lifeline);
    }
    if new {
        process.add_client(&client);
        process.tell_gcs(ToGcs::Subscribe { actor, owner, to: process.address() });
    }
    handle
}

// ---- creating

/// Creates an actor; what goes wrong is the error of its calls.
pub(crate) fn create(entry: &'static ActorEntry, options: Option<ActorOptions>, args: Args) -> RawHandle {
    let options = options.unwrap_or_else(entry.defaults);
    let owner = match scope::owner() {
        Ok(owner) => owner,
        Err(error) => return RawHandle::orphan(entry, error),
    };
    let process = &owner.process;
    let id = ActorId(process.env.uuid());
    let max_concurrency = options.max_concurrency.unwrap_or(if entry.is_local() { 1000 } else { 1 });
    let limits = ClientLimits {
        max_concurrency,
        max_pending: options.max_pending_calls.unwrap_or(-1),
        max_task_retries: options.max_task_retries.unwrap_or(0),
    };
    let client = Client::new(id, entry, Arc::clone(process), limits);
    let handle = RawHandle::new(Arc::clone(&client), None);
    process.add_client(&client);
    let prepared = options.check().and_then(|()| prepare(&owner, entry, &options, id, max_concurrency));
    match (prepared, args.error.clone()) {
        (Ok(spec), None) => begin(&owner, &client, entry, spec, args),
        (Err(error), _) | (_, Some(error)) => client.die(error),
    }
    handle
}

fn prepare(
    owner: &Arc<Owner>,
    entry: &'static ActorEntry,
    options: &ActorOptions,
    id: ActorId,
    max_concurrency: u32,
) -> Result<ActorSpec> {
    let explicit = options.num_cpus.is_some() || options.num_gpus.is_some() || !options.resources.is_empty();
    let custom = || options.resources.iter().map(|(name, amount)| (name.as_str(), *amount));
    let set = |cpus: f64| {
        ResourceSet::from_options(cpus, options.num_gpus.unwrap_or(0.0), options.memory.unwrap_or(0.0), custom())
            .map_err(|error| Error::invalid_argument(error.to_string()))
    };
    // By default an actor needs a CPU to be placed and holds none while it lives.
    let shape = set(options.num_cpus.unwrap_or(1.0))?;
    let hold = set(options.num_cpus.unwrap_or(if explicit { 1.0 } else { 0.0 }))?;
    let scheduling = match &options.scheduling {
        None | Some(Scheduling::Default) => gcs::Scheduling::Default,
        Some(Scheduling::Spread) => gcs::Scheduling::Spread,
        Some(Scheduling::NodeAffinity { node, soft }) => gcs::Scheduling::NodeAffinity { node: *node, soft: *soft },
    };
    let isolation = match options.isolation.unwrap_or_default() {
        crate::api::options::Isolation::Process => gcs::Isolation::Process,
        crate::api::options::Isolation::Shared => gcs::Isolation::Shared,
    };
    Ok(ActorSpec {
        id,
        job: owner.job,
        owner: owner.id,
        outlives_job: host::with_current(|current| current.is_some_and(host::Current::outlives_job)),
        lifeline: None,
        class: entry.name().to_owned(),
        program: String::new(),
        name: options.name.clone(),
        namespace: options.namespace.clone().unwrap_or_else(|| owner.namespace.to_string()),
        detached: options.lifetime == Some(Lifetime::Detached),
        get_if_exists: options.get_if_exists.unwrap_or(false),
        max_restarts: options.max_restarts.unwrap_or(0),
        max_task_retries: options.max_task_retries.unwrap_or(0),
        max_pending_calls: options.max_pending_calls.unwrap_or(-1),
        max_concurrency,
        shape,
        hold,
        scheduling,
        fails: options.on_infeasible == Some(OnInfeasible::Fail),
        isolation,
        creation: bytes::Bytes::new(),
    })
}

/// Waits for the constructor's arguments, then asks the GCS for the actor.
fn begin(owner: &Arc<Owner>, client: &Arc<Client>, entry: &'static ActorEntry, mut spec: ActorSpec, args: Args) {
    if !spec.detached {
        let lifeline = owner.open_ref(What::Lifeline(client.id));
        spec.lifeline = Some(lifeline.id());
        client.set_lifeline(lifeline);
    }
    let input = match owner.input(args) {
        Ok(input) => input,
        Err(error) => return client.die(error),
    };
    if input.dependencies.is_empty() {
        return ask_for(owner, client, entry, spec, &input);
    }
    let dependencies = input.dependencies.clone();
    let waiting = Arc::new(std::sync::atomic::AtomicUsize::new(dependencies.len() + 1));
    let owner = Arc::clone(owner);
    // A handle until then: the GCS must not hear that there is none before it has heard of the actor.
    let handle = RawHandle::new(Arc::clone(client), None);
    let asked = Arc::new(std::sync::Mutex::new(Some((handle, spec, input))));
    let ask = move || {
        if waiting.fetch_sub(1, std::sync::atomic::Ordering::AcqRel) != 1 {
            return;
        }
        let taken = asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((handle, spec, input)) = taken {
            ask_for(&owner, &handle.client, entry, spec, &input);
        }
    };
    for dependency in &dependencies {
        crate::actor::client::when_ready(dependency, ask.clone());
    }
    ask();
}

fn ask_for(owner: &Arc<Owner>, client: &Arc<Client>, entry: &'static ActorEntry, mut spec: ActorSpec, input: &Input) {
    let process = &owner.process;
    // What the host asks owners for when it begins, so that they know of it; kept as long as it may be needed.
    let mut kept = Vec::new();
    let mut resolved = Vec::with_capacity(input.dependencies.len());
    for dependency in &input.dependencies {
        match dependency.slot().get() {
            Some(Resolved::Error(error)) => {
                client.die(error.through_dependent(&format!("the constructor of {}", client.describe())));
                return;
            }
            Some(other) => resolved.push(other),
            None => return,
        }
    }
    let part = if input.inline.refs().is_empty() {
        WirePart::Value(WireValue::of(&input.inline))
    } else {
        match owner.put(input.inline.clone()) {
            Ok(object) => {
                let id = object.id();
                kept.push(object);
                WirePart::Object(id)
            }
            Err(error) => return client.die(error),
        }
    };
    let parts = input.dependencies.iter().zip(&resolved).map(|(dependency, resolved)| match resolved {
        Resolved::Value(value) if value.size() <= crate::call::INLINE_LIMIT && value.refs().is_empty() => {
            WirePart::Value(WireValue::of(value))
        }
        _ => {
            kept.push(dependency.clone());
            WirePart::Object(dependency.id())
        }
    });
    let creation = WireCreation { class: entry.id(), dependencies: parts.collect(), input: part };
    spec.creation = match postcard::to_stdvec(&creation) {
        Ok(bytes) => bytes.into(),
        Err(error) => return client.die(Error::serialization(format!("the actor's arguments: {error}"))),
    };
    if !kept.is_empty() {
        process.keep_creation(client.id, kept, spec.max_restarts != 0);
    }
    process.tell_gcs(ToGcs::CreateActor { spec: Box::new(spec), from: process.address() });
}

// ---- calling

impl RawHandle {
    /// Calls a method; what goes wrong is the error of the refs.
    pub fn call(&self, method: &'static MethodEntry, index: u32, args: Args) -> Submitted {
        self.call_known(method, self.client.entry.method(index), args)
    }

    /// Calls what is at its place in the actor's table.
    pub(crate) fn call_known(&self, method: &'static MethodEntry, known: &KnownMethod, args: Args) -> Submitted {
        let owner = match scope::owner() {
            Ok(owner) if Arc::ptr_eq(&owner.process, &self.client.process) => owner,
            // A handle carries its cluster, in another's scope too.
            _ => match self.client.process.owner_numbered(0) {
                Some(owner) => owner,
                None => return Submitted::failed(Error::connection("the cluster was shut down"), method.returns),
            },
        };
        let plain = &known.plain;
        let options = self.options.as_deref();
        let returns = match (method.returns, options.and_then(|options| options.num_returns).or(plain.num_returns)) {
            (NumReturns::Fixed(count), _) => count,
            (NumReturns::PerCall, Some(count)) => count,
            (NumReturns::PerCall, None) => {
                return Submitted::failed(crate::rt::returns_not_said(method.name), NumReturns::Fixed(1));
            }
        };
        let mut args = args;
        if args.error.is_none() {
            args.error = plain.check().err().or_else(|| options.and_then(|options| options.check().err()));
        }
        let admitted = args.error.is_none() && self.client.admit().map_err(|error| args.error = Some(error)).is_ok();
        let (depth, caller) = host::with_current(|current| match current {
            Some(current) if current.host.actor.is_none() => (current.job.depth() + 1, Caller::Task(current.task_id())),
            Some(current) => (current.job.depth() + 1, Caller::Owner(owner.id)),
            None => (0, Caller::Owner(owner.id)),
        });
        let retries = options
            .and_then(|options| options.max_task_retries)
            .or(plain.max_task_retries)
            .unwrap_or(self.client.limits.max_task_retries);
        // The attribute's word on errors travels with them; only a call's own is the caller's to know.
        let retry_errors = options.and_then(|options| options.retry_errors);
        let name = options.and_then(|options| options.name.clone());
        let meta = self.client.meta(retries, returns, name.clone(), retry_errors);
        let call = ActorCall {
            client: Arc::clone(&self.client),
            method,
            method_id: known.id,
            caller,
            given_name: name,
            ready: AtomicBool::new(false),
            queued: AtomicBool::new(false),
            admitted: AtomicBool::new(admitted),
        };
        let task = owner.submit(What::Method(Box::new(call)), meta, args, returns.max(1), depth);
        Submitted::new(task, returns)
    }

    fn orphan(entry: &'static ActorEntry, error: Error) -> RawHandle {
        RawHandle::new(crate::rt::orphan_client(entry, error), None)
    }
}

impl fmt::Debug for RawHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawHandle({})", self.client.id)
    }
}

// ---- finding and ending

const GCS_DEADLINE: Duration = Duration::from_secs(10);

/// Asks the GCS, from whatever runtime the caller has.
pub(crate) async fn ask_gcs(process: &Arc<Process>, question: AskGcs) -> Result<GcsAnswer> {
    let Some(link) = process.gcs.get().cloned() else {
        return Err(Error::connection("this process does not know its GCS"));
    };
    link.ask(question, GCS_DEADLINE).await
}

/// Finds a named actor.
///
/// # Errors
///
/// `InvalidArgument` if there is none of that name (and class) in the namespace.
pub fn get_actor<A: Actor>(name: impl Into<String>) -> GetActor<A> {
    GetActor { name: name.into(), namespace: None, class: PhantomData }
}

/// A `get_actor` that was described and not begun.
#[derive(Debug)]
#[must_use = "nothing is looked up until this is awaited, or `.blocking()` is called"]
pub struct GetActor<A> {
    name: String,
    namespace: Option<String>,
    class: PhantomData<fn() -> A>,
}

impl<A: Actor> GetActor<A> {
    /// Looks in this namespace instead of the job's.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    fn op(self) -> Op<Handle<A>> {
        let owner = match scope::owner() {
            Ok(owner) => owner,
            Err(error) => return Op::ready(Err(error)),
        };
        Op::new(async move {
            let namespace = self.namespace.unwrap_or_else(|| owner.namespace.to_string());
            let question = AskGcs::GetActor { name: self.name.clone(), namespace: namespace.clone() };
            let GcsAnswer::Actor(found) = ask_gcs(&owner.process, question).await? else {
                return Err(Error::connection("the GCS answered something else"));
            };
            let Some((news, spec)) = found else {
                return Err(not_found(&self.name, &namespace));
            };
            if spec.class != A::entry().name() {
                return Err(Error::invalid_argument(format!(
                    "the actor named {:?} is a {}, not a {}",
                    self.name,
                    spec.class,
                    A::entry().name()
                )));
            }
            let process = &owner.process;
            let limits = limits_of(&spec);
            let lifeline = match spec.lifeline {
                None => None,
                Some(id) => match process.lifeline_of(id).await {
                    Some(lifeline) => Some(lifeline),
                    None => return Err(not_found(&self.name, &namespace)),
                },
            };
            let id = news.info.id;
            let handle = handle_for(process, id, A::entry(), limits, lifeline, Some(spec.owner));
            handle.client.news(&news);
            Ok(Handle::new(handle))
        })
    }

    /// Looks up on the calling thread.
    ///
    /// # Errors
    ///
    /// Those of `get_actor`, and `InvalidArgument` on a thread of an async runtime.
    pub fn blocking(self) -> Result<Handle<A>> {
        self.op().blocking()
    }
}

fn not_found(name: &str, namespace: &str) -> Error {
    Error::invalid_argument(format!("no actor is named {name:?} in namespace {namespace:?}"))
        .remedy("check the name and the namespace; an actor that is not detached ends with its last handle")
}

fn limits_of(spec: &ActorSpec) -> ClientLimits {
    ClientLimits {
        max_concurrency: spec.max_concurrency,
        max_pending: spec.max_pending_calls,
        max_task_retries: spec.max_task_retries,
    }
}

impl<A: Actor> IntoFuture for GetActor<A> {
    type Output = Result<Handle<A>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Handle<A>>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        self.op().into_future()
    }
}

/// The names of the actors that have one: in the job's namespace, as (namespace, name).
pub fn list_named_actors() -> Op<Vec<(String, String)>> {
    let owner = match scope::owner() {
        Ok(owner) => owner,
        Err(error) => return Op::ready(Err(error)),
    };
    Op::new(async move {
        let question = AskGcs::ListNamed { namespace: Some(owner.namespace.to_string()) };
        match ask_gcs(&owner.process, question).await? {
            GcsAnswer::Names(names) => Ok(names.into_iter().map(|(space, name, _)| (space, name)).collect()),
            _ => Err(Error::connection("the GCS answered something else")),
        }
    })
}

/// Ends an actor now, whatever it runs; its unfinished calls fail with `ActorDied`.
pub fn kill<A: Actor>(handle: &Handle<A>) -> Kill {
    Kill { client: Arc::clone(&handle.raw().client), no_restart: true }
}

/// A `kill` that was described and not begun.
#[must_use = "nothing is killed until this is awaited, or `.blocking()` is called"]
pub struct Kill {
    client: Arc<Client>,
    no_restart: bool,
}

impl fmt::Debug for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kill({})", self.client.id)
    }
}

impl Kill {
    /// Whether the actor stays dead; default true. With false it restarts if its `max_restarts` allow.
    pub fn no_restart(mut self, stay_dead: bool) -> Self {
        self.no_restart = stay_dead;
        self
    }

    fn op(self) -> Op<()> {
        Op::new(async move {
            let question = AskGcs::Kill { actor: self.client.id, no_restart: self.no_restart };
            // What is called from now on must not reach the incarnation that ends.
            self.client.expect_end();
            let done = ask_gcs(&self.client.process, question).await.map(drop);
            if done.is_err() {
                let (actor, to) = (self.client.id, self.client.process.address());
                self.client.process.tell_gcs(ToGcs::Subscribe { actor, owner: None, to });
            }
            done
        })
    }

    /// Kills on the calling thread.
    ///
    /// # Errors
    ///
    /// `Connection` if the GCS does not answer, and `InvalidArgument` on a thread of an async runtime.
    pub fn blocking(self) -> Result<()> {
        self.op().blocking()
    }
}

impl IntoFuture for Kill {
    type Output = Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        self.op().into_future()
    }
}

/// Ends the actor that runs this, on purpose: it is never restarted, and its unfinished calls fail with `ActorDied`.
///
/// # Panics
///
/// Always, inside an actor, in a way that only Actinic catches; outside of one, the task that calls it fails.
pub fn exit_actor() -> ! {
    crate::worker::job::exit_thread()
}

impl Client {
    /// What calls of the actor share.
    pub(crate) fn meta(
        &self,
        retries: i64,
        returns: u32,
        name: Option<String>,
        retry_errors: Option<bool>,
    ) -> Arc<Meta> {
        if retries == self.limits.max_task_retries && returns == 1 && name.is_none() && retry_errors.is_none() {
            return Arc::clone(&self.plain_meta);
        }
        Arc::new(call_meta(retries, returns, name, retry_errors))
    }
}

/// The options of calls that say nothing, of actors with so many retries: shared by most actors of a program.
pub(crate) fn plain_meta(retries: i64) -> Arc<Meta> {
    static NO_RETRIES: std::sync::OnceLock<Arc<Meta>> = std::sync::OnceLock::new();
    if retries == 0 {
        return Arc::clone(NO_RETRIES.get_or_init(|| Arc::new(call_meta(0, 1, None, None))));
    }
    Arc::new(call_meta(retries, 1, None, None))
}

/// The options of a call, as a task has them.
fn call_meta(retries: i64, returns: u32, name: Option<String>, retry_errors: Option<bool>) -> Meta {
    Meta {
        name,
        shape: Shape::none(),
        max_retries: retries,
        returns: Some(returns),
        isolation: crate::api::options::Isolation::default(),
        task_events: true,
        retry_errors,
    }
}

/// A handle of an actor that lives in this process.
pub(crate) fn handle_here<A: Actor>(process: &Arc<Process>, id: ActorId) -> Option<Handle<A>> {
    let actor = process.actor(crate::actor::host::number(id))?;
    if actor.entry.id() != A::entry().id() {
        return None;
    }
    let spec = &actor.spec;
    // The caller of what runs now holds the actor until it is answered, and its owner hears of this handle before.
    let lifeline = spec.lifeline.and_then(|id| process.ask_lifeline(id));
    Some(Handle::new(handle_for(process, id, A::entry(), limits_of(spec), lifeline, Some(spec.owner))))
}
