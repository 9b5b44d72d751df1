//! Named actors, and questions to the GCS.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actinic_transport::Lane;

use crate::api::error::{Error, Result};
use crate::api::handle::{Actor, Handle, handle_for, limits_of, name_of};
use crate::api::op::Op;
use crate::api::scope;
use crate::gcs::core::ActorRow;
use crate::process::Process;
use crate::program::ActorEntry;
use crate::protocol::{ActorSpec, AskGcs, GcsAnswer};

const GCS_DEADLINE: Duration = Duration::from_secs(10);

/// Asks the GCS, from whatever runtime the caller has.
pub(crate) async fn ask_gcs(process: &Arc<Process>, question: AskGcs) -> Result<GcsAnswer> {
    ask_gcs_on(Lane::Ordered, process, question).await
}

/// As [`ask_gcs`], on a lane.
pub(crate) async fn ask_gcs_on(lane: Lane, process: &Arc<Process>, question: AskGcs) -> Result<GcsAnswer> {
    let Some(link) = process.gcs.get().cloned() else {
        return Err(Error::connection("this process does not know its GCS"));
    };
    link.ask_on(lane, question, GCS_DEADLINE).await
}

/// The rows of all actors, dead ones included, in order of creation.
pub(crate) async fn all_actors(process: &Arc<Process>) -> Result<Vec<ActorRow>> {
    let mut all: Vec<ActorRow> = Vec::new();
    loop {
        let after = all.last().map(|row| row.number);
        let GcsAnswer::Actors(rows) = ask_gcs(process, AskGcs::Actors { after }).await? else {
            return Err(Error::connection("the GCS answered something else"));
        };
        if rows.is_empty() {
            return Ok(all);
        }
        all.extend(rows);
    }
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
            let mut before = None;
            loop {
                let question = AskGcs::GetActor { name: self.name.clone(), namespace: namespace.clone() };
                let GcsAnswer::Actor(found) = ask_gcs(&owner.process, question).await? else {
                    return Err(Error::connection("the GCS answered something else"));
                };
                let Some((news, spec)) = found else {
                    return Err(not_found(&self.name, &namespace));
                };
                if let Some((found, asked)) = other_class(&spec, A::entry()) {
                    return Err(Error::invalid_argument(format!(
                        "the actor named {:?} is a {found}, not a {asked}",
                        self.name
                    ))
                    .remedy(format!("get it as what it is: `get_actor::<{found}>`")));
                }
                let process = &owner.process;
                let lifeline = match spec.lifeline() {
                    None => None,
                    Some(id) => match process.lifeline_of(id).await {
                        Some(lifeline) => Some(lifeline),
                        // Its handles may hold something else by now, if others claim it.
                        None if before.replace(id) != Some(id) => continue,
                        None => return Err(not_found(&self.name, &namespace)),
                    },
                };
                let (id, name) = (news.info.id, name_of(&spec));
                let handle =
                    handle_for(process, id, A::entry(), limits_of(&spec), name.clone(), lifeline, Some(spec.owner));
                handle.client().news_by_answer(&news);
                if let Some(name) = name {
                    process.set_named(&name, handle.client());
                }
                return Ok(Handle::new(handle));
            }
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

/// What an actor is and what it was taken for, if that is another class. One of another program is taken for the class that
/// is called as its own is there, wherever it is written; one of this program's for nothing but what it is.
fn other_class(spec: &ActorSpec, asked: &'static ActorEntry) -> Option<(String, &'static str)> {
    if spec.class != asked.name() {
        return Some((spec.class.clone(), asked.name()));
    }
    let other = spec.path != asked.path() && crate::program::program().has_class(&spec.path);
    other.then(|| (spec.path.clone(), asked.path()))
}

fn not_found(name: &str, namespace: &str) -> Error {
    Error::invalid_argument(format!("no actor is named {name:?} in namespace {namespace:?}"))
        .remedy("check the name and the namespace; an actor that is not detached ends with its last handle")
}

impl<A: Actor> IntoFuture for GetActor<A> {
    type Output = Result<Handle<A>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Handle<A>>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        self.op().into_future()
    }
}

/// The names of the actors that have one, each with its namespace: (namespace, name). Of the job's namespace, unless
/// another is asked for, or all are.
///
/// ```
/// # use actinic::prelude::*;
/// pub struct Counter;
///
/// #[actinic::remote]
/// impl Counter {
///     pub fn new() -> Self {
///         Counter
///     }
/// }
///
/// # fn main() -> actinic::Result<()> {
/// let cluster = actinic::init().namespace("prod").blocking()?;
/// let counter = Counter::options().name("c").namespace("test").remote();
/// Handle::ready(&counter).blocking()?;
/// assert!(actinic::list_named_actors().blocking()?.is_empty());
/// assert_eq!(actinic::list_named_actors().all_namespaces(true).blocking()?, [("test".to_owned(), "c".to_owned())]);
/// # cluster.shutdown().blocking()
/// # }
/// ```
///
/// # Errors
///
/// `Connection` without a cluster, or if its GCS does not answer.
pub fn list_named_actors() -> ListNamedActors {
    ListNamedActors { which: Which::OfJob }
}

/// A `list_named_actors` that was described and not begun.
#[derive(Debug)]
#[must_use = "nothing is looked up until this is awaited, or `.blocking()` is called"]
pub struct ListNamedActors {
    which: Which,
}

/// The namespaces that are looked at.
#[derive(Debug)]
enum Which {
    OfJob,
    One(String),
    All,
}

impl ListNamedActors {
    /// Looks in this namespace instead of the job's.
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        ListNamedActors { which: Which::One(namespace.into()) }
    }

    /// Whether to look in all namespaces; default false.
    pub fn all_namespaces(self, all: bool) -> Self {
        match (all, self.which) {
            (true, _) => ListNamedActors { which: Which::All },
            (false, Which::All) => ListNamedActors { which: Which::OfJob },
            (false, which) => ListNamedActors { which },
        }
    }

    fn op(self) -> Op<Vec<(String, String)>> {
        let owner = match scope::owner() {
            Ok(owner) => owner,
            Err(error) => return Op::ready(Err(error)),
        };
        Op::new(async move {
            let namespace = match self.which {
                Which::OfJob => Some(owner.namespace.to_string()),
                Which::One(namespace) => Some(namespace),
                Which::All => None,
            };
            match ask_gcs(&owner.process, AskGcs::ListNamed { namespace }).await? {
                GcsAnswer::Names(names) => Ok(names.into_iter().map(|(space, name, _)| (space, name)).collect()),
                _ => Err(Error::connection("the GCS answered something else")),
            }
        })
    }

    /// Looks up on the calling thread.
    ///
    /// # Errors
    ///
    /// Those of `list_named_actors`, and `InvalidArgument` on a thread of an async runtime.
    pub fn blocking(self) -> Result<Vec<(String, String)>> {
        self.op().blocking()
    }
}

impl IntoFuture for ListNamedActors {
    type Output = Result<Vec<(String, String)>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        self.op().into_future()
    }
}
