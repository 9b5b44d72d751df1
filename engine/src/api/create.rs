//! Making actors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::actor::client::{ActorName, Client, ClientLimits};
use crate::api::error::{Error, Result};
use crate::api::options::{ActorOptions, Lifetime, OnInfeasible, Scheduling};
use crate::api::scope;
use crate::call::{Args, INLINE_LIMIT, INLINE_TOTAL};
use crate::gcs::core as gcs;
use crate::gcs::core::Lifeline;
use crate::ids::ActorId;
use crate::object::Resolved;
use crate::owner::Owner;
use crate::program::{ActorEntry, program};
use crate::protocol::calls::{WireCreation, WirePart, WireValue};
use crate::protocol::{ActorSpec, ActorTraits, ToGcs};
use crate::resources::ResourceSet;
use crate::rt::RawHandle;
use crate::task::Input;
use crate::worker::host;

/// Creates an actor; what goes wrong is the error of its calls.
pub(crate) fn create(entry: &'static ActorEntry, options: Option<ActorOptions>, args: Args) -> RawHandle {
    let options = options.unwrap_or_else(entry.defaults);
    let owner = match scope::owner() {
        Ok(owner) => owner,
        Err(error) => return RawHandle::orphan(entry, error),
    };
    let process = &owner.process;
    let id = ActorId(process.env.uuid());
    let max_concurrency = options.max_concurrency.unwrap_or(if entry.overlaps() { 1000 } else { 1 });
    let limits = ClientLimits {
        max_concurrency,
        max_pending: options.max_pending_calls.unwrap_or(-1),
        max_task_retries: options.max_task_retries.unwrap_or(0),
        task_events: options.task_events.unwrap_or(true),
    };
    let client = new_client(&owner, entry, &options, id, limits);
    client.is_asked_for();
    let handle = RawHandle::new(Arc::clone(&client), None);
    process.add_client(&client);
    let prepared = options
        .check()
        .and_then(|()| program().has_actor(entry))
        .and_then(|()| prepare(&owner, entry, &options, id, max_concurrency));
    match (prepared, args.error.clone()) {
        (Ok(spec), None) => begin(&owner, &client, entry, spec, args),
        (Err(error), _) | (_, Some(error)) => client.die(not_made(&client, error)),
    }
    handle
}

/// The client of an actor that is about to be made, or found.
fn new_client(
    owner: &Arc<Owner>,
    entry: &'static ActorEntry,
    options: &ActorOptions,
    id: ActorId,
    limits: ClientLimits,
) -> Arc<Client> {
    let process = &owner.process;
    let Some(name) = options.name.clone() else { return Client::new(id, entry, Arc::clone(process), limits, None) };
    let namespace = options.namespace.clone().unwrap_or_else(|| owner.namespace.to_string());
    let name = Arc::new(ActorName { namespace, name });
    let known = process.named_client(&name);
    let first = known.is_none();
    let client = if options.get_if_exists == Some(true) {
        let probably = known.filter(|known| known.entry.id() == entry.id()).map(|known| known.root());
        Client::asking(id, entry, Arc::clone(process), limits, Some(Arc::clone(&name)), probably)
    } else {
        Client::new(id, entry, Arc::clone(process), limits, Some(Arc::clone(&name)))
    };
    if first {
        process.set_named(&name, &client);
    }
    client
}

/// The error of an actor that is never asked for: what is wrong with the call of its constructor.
fn not_made(client: &Client, error: Error) -> Error {
    match error.detail().subject {
        None => error.subject(format!("the constructor of {}", client.describe())),
        Some(_) => error,
    }
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
    let traits = owner.traits(ActorTraits {
        job: owner.job,
        owner: owner.id,
        outlives_job: host::with_current(|current| current.is_some_and(host::Current::outlives_job)),
        class: entry.name().to_owned(),
        path: options.name.as_ref().map(|_| entry.path().to_owned()).unwrap_or_default(),
        name: options.name.clone(),
        namespace: options.namespace.clone().unwrap_or_else(|| owner.namespace.to_string()),
        job_namespace: Arc::clone(&owner.namespace),
        detached: options.lifetime == Some(Lifetime::Detached),
        get_if_exists: options.get_if_exists.unwrap_or(false),
        max_restarts: options.max_restarts.unwrap_or(0),
        max_task_retries: options.max_task_retries.unwrap_or(0),
        max_pending_calls: options.max_pending_calls.unwrap_or(-1),
        task_events: options.task_events.unwrap_or(true),
        max_concurrency,
        shape,
        hold,
        scheduling,
        fails: options.on_infeasible == Some(OnInfeasible::Fail),
        isolation,
    });
    Ok(ActorSpec { id, lifeline: Lifeline::None, creation: Bytes::new(), traits })
}

/// Asks the GCS for the actor, and gives it the constructor's arguments when they are ready.
fn begin(owner: &Arc<Owner>, client: &Arc<Client>, entry: &'static ActorEntry, mut spec: ActorSpec, args: Args) {
    // What `get_if_exists` finds may not be detached, whatever is asked for.
    if !spec.detached || spec.get_if_exists {
        let lifeline = owner.reserve_lifeline(client.id);
        spec.lifeline = Lifeline::OfOwner(lifeline.task.seq);
        client.set_reserved(lifeline);
        if spec.name.is_some() {
            // Others may ask for it by the name.
            client.lifeline();
        }
    }
    let restarts = spec.max_restarts != 0;
    let input = owner.input(args).map_err(|error| not_made(client, error));
    let is_ready = |input: &Input| input.dependencies.iter().all(|dependency| dependency.slot().get_unseen().is_some());
    let (input, made) = match input {
        Ok(input) if is_ready(&input) => (None, Some(creation(owner, client, entry, &input, restarts))),
        Ok(input) => (Some(input), None),
        Err(error) => (None, Some(Err(error))),
    };
    if let Some(Ok(creation)) = &made {
        spec.creation = creation.clone();
    }
    owner.process.tell_gcs(ToGcs::CreateActor { spec: Arc::new(spec), from: owner.process.address() });
    if let Some(input) = input {
        give_arguments(owner, client, entry, input, restarts);
    } else if let Some(Err(error)) = made {
        will_not_be(owner, client, error);
    }
}

/// Arguments of the constructor failed. Others hear of it from the GCS; this process need not wait for that, unless another
/// actor may be meant.
fn will_not_be(owner: &Arc<Owner>, client: &Arc<Client>, error: Error) {
    // In this order: which actor is meant is known before it is not open any more; and what this process knows at first
    // hand, it does not hear from the GCS.
    if !client.is_open() && client.is_wanted() {
        let upstream = error.is_of_an_argument();
        client.die(if upstream { client.died_unmade(error.clone()) } else { error.clone() });
    }
    let (actor, text) = (client.id, error.to_string());
    owner.process.tell_gcs(ToGcs::ActorNotMade { actor, text, error });
}

/// Waits for the constructor's arguments.
fn give_arguments(owner: &Arc<Owner>, client: &Arc<Client>, entry: &'static ActorEntry, input: Input, restarts: bool) {
    let dependencies = input.dependencies.clone();
    let waiting = Arc::new(AtomicUsize::new(dependencies.len() + 1));
    let input = Arc::new(Mutex::new(Some(input)));
    let (owner, client) = (Arc::clone(owner), Arc::clone(client));
    let ready = move || {
        let last = waiting.fetch_sub(1, Ordering::AcqRel) == 1;
        // One that failed ends it, whatever else is missing.
        let input = input.lock().unwrap_or_else(PoisonError::into_inner).take_if(|input| last || has_failed(input));
        let Some(input) = input.filter(|_| client.is_wanted()) else { return };
        let actor = client.id;
        match creation(&owner, &client, entry, &input, restarts) {
            Ok(creation) => owner.process.tell_gcs(ToGcs::ActorArguments { actor, creation }),
            Err(error) => will_not_be(&owner, &client, error),
        }
        if !client.is_wanted() {
            // It ended meanwhile, and the news of that came before there was something to let go of.
            owner.process.drop_creation(actor);
        }
    };
    for dependency in &dependencies {
        crate::actor::client::when_ready(dependency, ready.clone());
    }
    ready();
}

/// Whether an argument failed.
fn has_failed(input: &Input) -> bool {
    input.dependencies.iter().any(|dependency| matches!(dependency.slot().get_unseen(), Some(Resolved::Error(_))))
}

/// The encoded constructor call, of arguments that are ready, or of which one failed. What its host will ask owners for is kept.
fn creation(
    owner: &Arc<Owner>,
    client: &Arc<Client>,
    entry: &'static ActorEntry,
    input: &Input,
    restarts: bool,
) -> Result<Bytes> {
    // What the host asks owners for when it begins, so that they know of it; kept as long as it may be needed.
    let mut kept = Vec::new();
    let mut resolved = Vec::with_capacity(input.dependencies.len());
    let arguments: Vec<Option<Resolved>> =
        input.dependencies.iter().map(|dependency| dependency.slot().get()).collect();
    if let Some(error) = arguments.iter().flatten().find_map(Resolved::error) {
        return Err(error.through_dependent(&format!("the constructor of {}", client.describe())));
    }
    for (argument, dependency) in arguments.into_iter().zip(&input.dependencies) {
        let missing = || Error::object_lost(format!("argument {} is not ready", dependency.id()));
        resolved.push(argument.ok_or_else(missing)?);
    }
    let part = if input.inline.refs().is_empty() {
        WirePart::Value(WireValue::of(&input.inline))
    } else {
        let object = owner.put(input.inline.clone())?;
        let id = object.id();
        kept.push(object);
        WirePart::Object(id)
    };
    let mut room = INLINE_TOTAL;
    let parts = input.dependencies.iter().zip(&resolved).map(|(dependency, resolved)| match resolved {
        Resolved::Value(value) if value.size() <= INLINE_LIMIT.min(room) && value.refs().is_empty() => {
            room -= value.size();
            WirePart::Value(WireValue::of(value))
        }
        _ => {
            kept.push(dependency.clone());
            WirePart::Object(dependency.id())
        }
    });
    let creation = WireCreation { class: entry.id(), dependencies: parts.collect(), input: part };
    let creation = postcard::to_stdvec(&creation)
        .map_err(|error| Error::serialization(format!("the actor's arguments: {error}")))?;
    if !kept.is_empty() {
        owner.process.keep_creation(client.id, kept, restarts);
    }
    Ok(owner.creation(creation))
}
