//! Calling methods of actors.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::actor::client::{ActorCall, Caller, Client};
use crate::api::error::Error;
use crate::api::scope;
use crate::call::Args;
use crate::program::{ActorEntry, KnownMethod, MethodEntry, NumReturns};
use crate::raylet::Shape;
use crate::rt::{RawHandle, Submitted};
use crate::task::{Meta, What};
use crate::worker::host;

impl RawHandle {
    /// Calls a method; what goes wrong is the error of the refs.
    pub fn call(&self, method: &'static MethodEntry, index: u32, args: Args) -> Submitted {
        self.call_known(method, self.client().entry.method(index), args)
    }

    /// Calls what is at its place in the actor's table.
    pub(crate) fn call_known(&self, method: &'static MethodEntry, known: &KnownMethod, args: Args) -> Submitted {
        let client = self.client();
        let owner = match scope::owner() {
            Ok(owner) if Arc::ptr_eq(&owner.process, &client.process) => owner,
            // A handle carries its cluster, in another's scope too.
            _ => match client.process.owner_numbered(0) {
                Some(owner) => owner,
                None => return Submitted::failed(Error::connection("the cluster was shut down"), method.returns),
            },
        };
        let plain = &known.plain;
        let options = self.options.as_deref();
        let returns = match (method.returns, options.and_then(|options| options.num_returns).or(plain.num_returns)) {
            (NumReturns::Fixed(count), Some(asked)) if asked != count => {
                return Submitted::failed(crate::rt::returns_fixed(method.name, count, asked), method.returns);
            }
            (NumReturns::Fixed(count), _) => count,
            (NumReturns::PerCall, Some(count)) => count,
            (NumReturns::PerCall, None) => {
                // A count that was refused was said.
                let refused = options.and_then(|options| options.check().err()).or_else(|| plain.check().err());
                let error = refused.unwrap_or_else(|| crate::rt::returns_not_said(method.name));
                return Submitted::failed(error, NumReturns::Fixed(1));
            }
        };
        let mut args = args;
        if args.error.is_none() {
            args.error = plain.check().err().or_else(|| options.and_then(|options| options.check().err()));
        }
        let (depth, task) = host::with_current(|current| match current {
            Some(current) if current.host.actor().is_none() => (current.job.depth() + 1, current.task_id().mark()),
            Some(current) => (current.job.depth() + 1, 0),
            None => (0, 0),
        });
        let caller = Caller { owner: owner.id.number, task };
        let admitted = args.error.is_none() && client.admit(caller).map_err(|error| args.error = Some(error)).is_ok();
        let retries = options
            .and_then(|options| options.max_task_retries)
            .or(plain.max_task_retries)
            .unwrap_or(client.limits.max_task_retries);
        // What the attribute says of errors that are returned travels with them; panics are the caller's to know.
        let retry_errors = options.and_then(|options| options.retry_errors).or(plain.retry_errors);
        let name = options.and_then(|options| options.name.clone()).or_else(|| plain.name.clone());
        let events = options.and_then(|options| options.task_events).or(plain.task_events);
        let meta = client.meta(retries, returns, name, retry_errors, events.unwrap_or(client.limits.task_events));
        let call = ActorCall {
            client: Arc::clone(client),
            method,
            method_id: known.id,
            caller,
            ready: AtomicBool::new(false),
            queued: AtomicBool::new(false),
            admitted: AtomicBool::new(admitted),
            counted: AtomicBool::new(admitted && client.limits.max_pending >= 0),
        };
        let task = owner.submit(What::Method(call), meta, args, returns.max(1), depth);
        Submitted::new(task, returns)
    }

    pub(super) fn orphan(entry: &'static ActorEntry, error: Error) -> RawHandle {
        RawHandle::new(crate::rt::orphan_client(entry, error), None)
    }
}

impl fmt::Debug for RawHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawHandle({})", self.client().id)
    }
}

impl Client {
    /// What calls of the actor share.
    pub(crate) fn meta(
        &self,
        retries: i64,
        returns: u32,
        name: Option<String>,
        retry_errors: Option<bool>,
        task_events: bool,
    ) -> Arc<Meta> {
        let plain = retries == self.limits.max_task_retries && returns == 1 && task_events == self.limits.task_events;
        if plain && name.is_none() && retry_errors.is_none() {
            return Arc::clone(&self.plain_meta);
        }
        Arc::new(Meta { name, retry_errors, ..call_meta(retries, returns, task_events) })
    }
}

/// The options of calls that say nothing, of actors with so many retries: shared by most actors of a program.
pub(crate) fn plain_meta(retries: i64, task_events: bool) -> Arc<Meta> {
    static NO_RETRIES: std::sync::OnceLock<Arc<Meta>> = std::sync::OnceLock::new();
    if retries == 0 && task_events {
        return Arc::clone(NO_RETRIES.get_or_init(|| Arc::new(call_meta(0, 1, true))));
    }
    Arc::new(call_meta(retries, 1, task_events))
}

/// The options of a call, as a task has them.
fn call_meta(retries: i64, returns: u32, task_events: bool) -> Meta {
    Meta {
        name: None,
        shape: Shape::none(),
        max_retries: retries,
        returns: Some(returns),
        task_events,
        retry_errors: None,
    }
}
