//! Making actors.

use std::sync::{Arc, PoisonError};

use crate::actor::client::{ActorName, Client, ClientLimits};
use crate::api::error::{Error, Result};
use crate::api::options::{ActorOptions, Lifetime, OnInfeasible, Scheduling};
use crate::api::scope;
use crate::call::Args;
use crate::gcs::core as gcs;
use crate::ids::ActorId;
use crate::object::Resolved;
use crate::owner::Owner;
use crate::program::{ActorEntry, program};
use crate::protocol::calls::{WireCreation, WirePart, WireValue};
use crate::protocol::{ActorSpec, ToGcs};
use crate::resources::ResourceSet;
use crate::rt::RawHandle;
use crate::task::{Input, What};
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
    let max_concurrency = options.max_concurrency.unwrap_or(if entry.is_local() { 1000 } else { 1 });
    let limits = ClientLimits {
        max_concurrency,
        max_pending: options.max_pending_calls.unwrap_or(-1),
        max_task_retries: options.max_task_retries.unwrap_or(0),
    };
    let client = new_client(&owner, entry, &options, id, limits, &args);
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
    args: &Args,
) -> Arc<Client> {
    let process = &owner.process;
    let Some(name) = options.name.clone() else { return Client::new(id, entry, Arc::clone(process), limits, None) };
    let namespace = options.namespace.clone().unwrap_or_else(|| owner.namespace.to_string());
    let name = Arc::new(ActorName { namespace, name });
    let known = process.named_client(&name);
    let first = known.is_none();
    let client = if options.get_if_exists == Some(true) {
        // One that is asked for much later, when its arguments are ready, holds up no calls of another.
        let probably = known.filter(|known| known.entry.id() == entry.id() && args.dependencies.is_empty());
        let probably = probably.map(|known| known.root());
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
    // What `get_if_exists` finds may not be detached, whatever is asked for.
    if !spec.detached || spec.get_if_exists {
        let lifeline = owner.open_ref(What::Lifeline(client.id));
        spec.lifeline = Some(lifeline.id());
        client.set_lifeline(lifeline);
    }
    let input = match owner.input(args) {
        Ok(input) => input,
        Err(error) => return client.die(not_made(client, error)),
    };
    if input.dependencies.is_empty() {
        return ask_for(owner, client, entry, spec, &input);
    }
    client.waits_for_arguments();
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
            ask_for(&owner, handle.client(), entry, spec, &input);
        }
    };
    for dependency in &dependencies {
        crate::actor::client::when_ready(dependency, ask.clone());
    }
    ask();
}

fn ask_for(owner: &Arc<Owner>, client: &Arc<Client>, entry: &'static ActorEntry, mut spec: ActorSpec, input: &Input) {
    if !client.may_be_asked_for() {
        return;
    }
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
    process.tell_gcs(ToGcs::CreateActor { spec: Arc::new(spec), from: process.address() });
    client.was_asked_for();
}
