//! Handles of actors.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::actor::client::{ActorName, Client, ClientLimits};
use crate::api::error::{Error, Result};
use crate::api::object_ref::{ObjectRef, deserialize_ref, serialize_ref};
use crate::api::op::Op;
use crate::api::options::CallOptions;
use crate::api::scope;
use crate::gcs::core as gcs;
use crate::ids::{ActorId, OwnerId};
use crate::object::RawRef;
use crate::process::Process;
use crate::program::ActorEntry;
use crate::protocol::{ActorSpec, ToGcs};
use crate::rt::RawHandle;

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
///
/// One that `get_if_exists` made does not know yet which actor it is of, and holds that one all the same. Until it is
/// [ready](Handle::ready) its id is that of the actor which this process knows by the name, or one of its own, so it may be
/// unequal to a handle of the same actor that came from elsewhere; from then on handles of one actor have one id and are
/// equal. The hash is of the name, for an actor that has one, and never changes.
pub struct Handle<A: Actor> {
    raw: RawHandle,
    methods: A::Methods,
}

impl<A: Actor> Handle<A> {
    pub(crate) fn new(raw: RawHandle) -> Self {
        Handle { methods: A::Methods::from(raw.clone()), raw }
    }

    /// The actor's id: for sure once the handle is [ready](Handle::ready), if `get_if_exists` made it.
    pub fn id(this: &Self) -> ActorId {
        this.raw.client().likely_id()
    }

    /// A ref that is ready when the actor was made, and fails with the reason if it cannot be.
    pub fn ready(this: &Self) -> ObjectRef<()> {
        ObjectRef::new(this.raw.client().ready_ref())
    }

    /// Finishes when the actor is dead for good, with the cause.
    ///
    /// # Errors
    ///
    /// `Connection` if the cluster is shut down first; with [`Op::blocking`] also `TaskCancelled` in a call that is cancelled.
    pub fn closed(this: &Self) -> Op<DeathCause> {
        let client = Arc::clone(this.raw.client());
        Op::of_event(async move {
            let (tell, hear) = tokio::sync::oneshot::channel();
            client.on_closed(Box::new(move |error| drop(tell.send(error))));
            let error = hear.await.map_err(|_| Error::connection("the cluster was shut down"))?;
            Ok(DeathCause { error })
        })
    }

    /// Ends the actor after the calls already made.
    ///
    /// That is asked at the call, whether this is awaited or not. It finishes at once, and the actor ends later:
    /// [`Handle::closed`] says when.
    ///
    /// # Errors
    ///
    /// None today: an actor that is dead already has ended.
    pub fn stop(this: &Self) -> Op<()> {
        this.raw.client().stop();
        Op::ready(Ok(()))
    }

    /// Where the actor is in its life, as this process knows.
    pub fn state(this: &Self) -> ActorState {
        this.raw.client().state().into()
    }

    /// The actor's methods, to be called with options of their own.
    pub fn with(this: &Self, options: CallOptions) -> With<A> {
        let raw = RawHandle::new(Arc::clone(this.raw.client()), Some(Arc::new(options)));
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
        Handle::id(self) == Handle::id(other)
    }
}

impl<A: Actor> Eq for Handle<A> {}

impl<A: Actor> Hash for Handle<A> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let client = self.raw.client();
        // The id may turn out to be another's; a name stays.
        match &client.name {
            Some(name) => name.hash(state),
            None => client.id.hash(state),
        }
    }
}

impl<A: Actor> fmt::Debug for Handle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({} {})", self.raw.client().class(), self.raw.client().id)
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
    task_events: bool,
    name: Option<ActorName>,
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
        let client = self.raw.client();
        let lifeline = client.lifeline();
        if lifeline.is_none() {
            crate::value::collect_detached(client.id, client.process.id.cluster);
        }
        let wire = WireHandle {
            actor: client.id,
            owner: lifeline.as_ref().map(|lifeline| lifeline.id().task.owner),
            class: A::entry().id().0,
            max_concurrency: client.limits.max_concurrency,
            max_pending: client.limits.max_pending,
            max_task_retries: client.limits.max_task_retries,
            task_events: client.limits.task_events,
            name: client.name.as_deref().cloned(),
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
            task_events: wire.task_events,
        };
        let lifeline = wire.lifeline.map(|lifeline| lifeline.0);
        let name = wire.name.map(Arc::new);
        Ok(Handle::new(handle_for(&process, wire.actor, A::entry(), limits, name, lifeline, wire.owner)))
    }
}

/// A handle of an actor whose client in this process is new or known.
pub(super) fn handle_for(
    process: &Arc<Process>,
    actor: ActorId,
    entry: &'static ActorEntry,
    limits: ClientLimits,
    name: Option<Arc<ActorName>>,
    lifeline: Option<RawRef>,
    owner: Option<OwnerId>,
) -> RawHandle {
    let (client, new) =
        process.client_or_new(actor, || Client::new(actor, entry, Arc::clone(process), limits, name.clone()));
    let handle = RawHandle::new(Arc::clone(&client), None);
    if let Some(lifeline) = lifeline {
        client.set_lifeline(lifeline);
    }
    if new {
        process.tell_gcs(ToGcs::Subscribe { actor, owner, to: process.address() });
    }
    handle
}

pub(super) fn name_of(spec: &ActorSpec) -> Option<Arc<ActorName>> {
    spec.name.clone().map(|name| Arc::new(ActorName { namespace: spec.namespace.clone(), name }))
}

pub(super) fn limits_of(spec: &ActorSpec) -> ClientLimits {
    ClientLimits {
        max_concurrency: spec.max_concurrency,
        max_pending: spec.max_pending_calls,
        max_task_retries: spec.max_task_retries,
        task_events: spec.task_events,
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
    let handle = handle_for(process, id, A::entry(), limits_of(spec), name_of(spec), None, Some(spec.owner));
    let client = handle.client();
    if !client.holds_actor()
        && let Some(lifeline) = spec.lifeline().and_then(|id| process.ask_lifeline(id))
    {
        client.set_lifeline(lifeline);
    }
    Some(Handle::new(handle))
}
