//! The one error type of the public interface.

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::api::error_kind::{self, Decoded, ErrorType};

/// What every fallible operation of Actinic returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error says beyond its kind: what happened, to whom, where, why, and what to do.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Detail {
    /// What happened, in one sentence without a full stop.
    pub message: String,
    /// The task or actor that it happened to, as its name and id.
    pub subject: Option<String>,
    /// The node where it happened, as hex.
    pub node: Option<String>,
    /// What to do about it; empty if nothing can be advised.
    pub remedy: String,
    /// The error that caused it.
    #[serde(deserialize_with = "read_cause")]
    pub cause: Option<Error>,
    /// What the user's own error printed, outermost first, if the error is the user's.
    pub chain: Vec<String>,
    /// The user's own error, if it is serde.
    typed: Option<Typed>,
    /// Whether it is of a task that did not run because an argument failed.
    dependent: bool,
    /// Whether `retry_errors` or `retry_if` asks for another attempt.
    retry: bool,
    /// Whether the code of a task or method ended with it, by returning it or by a panic.
    of_code: bool,
    /// What [`Error::other`] was given, which stays in its process.
    #[serde(skip)]
    given: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// So long a chain of causes is told whole.
const CHAIN_MAX: usize = 16;
/// So long a chain is read: more than is ever told, and little enough for any stack.
const READ_MAX: u32 = 64;
/// An error larger than this is cut.
const SIZE_MAX: usize = 1 << 20;
/// To so much of its text.
const TEXT_MAX: usize = 64 << 10;

/// Reads a cause, which may have a cause itself: the bytes of a peer do not decide how deep this goes.
fn read_cause<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Error>, D::Error> {
    thread_local! {
        static DEPTH: Cell<u32> = const { Cell::new(0) };
    }
    struct Up;
    impl Drop for Up {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }
    DEPTH.set(DEPTH.get() + 1);
    let _up = Up;
    if DEPTH.get() > READ_MAX {
        return Err(serde::de::Error::custom("an error with too many causes"));
    }
    Option::deserialize(from)
}

/// A user's error, encoded, and decoded once when somebody asks for it.
#[derive(Clone, Serialize, Deserialize)]
struct Typed {
    type_name: String,
    bytes: Vec<u8>,
    #[serde(skip)]
    value: OnceLock<Option<Decoded>>,
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident / $new:ident: $title:literal,)*) => {
        /// Why an operation failed.
        ///
        /// Every variant carries a [`Detail`]; match with `Error::GetTimeout { .. }`. `Display` prints the kind, the
        /// message, the remedy; `Debug` prints the chain of causes, one a line.
        ///
        /// ```
        /// use actinic::Error;
        /// let error = Error::other(std::io::Error::other("disk on fire"));
        /// assert!(matches!(error, Error::Task { .. }));
        /// assert!(error.to_string().contains("disk on fire"));
        /// ```
        #[non_exhaustive]
        #[derive(Clone, Serialize, Deserialize)]
        pub enum Error {
            $($(#[$doc])* $name {
                /// What happened, to whom, and what to do.
                detail: Arc<Detail>,
            },)*
        }

        impl Error {
            $(#[allow(dead_code, reason = "some kinds are for what is to come")]
            pub(crate) fn $new(message: impl Into<String>) -> Error {
                let remedy = usual_remedy(stringify!($name)).to_owned();
                Error::$name { detail: Arc::new(Detail { message: message.into(), remedy, ..Detail::default() }) }
            })*

            /// What happened, to whom, where, and what to do.
            pub fn detail(&self) -> &Detail {
                match self { $(Error::$name { detail } => detail,)* }
            }

            fn detail_mut(&mut self) -> &mut Detail {
                match self { $(Error::$name { detail } => Arc::make_mut(detail),)* }
            }

            /// The kind of the error as its variant is called, such as `"GetTimeout"`.
            pub fn kind(&self) -> &'static str {
                match self { $(Error::$name { .. } => stringify!($name),)* }
            }

            fn title(&self) -> &'static str {
                match self { $(Error::$name { .. } => $title,)* }
            }
        }
    };
}

/// What to do about an error that says nothing more special.
fn usual_remedy(kind: &str) -> &'static str {
    match kind {
        "TaskCancelled" => "it was asked for with `actinic::cancel`: submit it again if its result is needed",
        _ => "",
    }
}

errors! {
    /// The function returned an error or panicked.
    Task / task: "task failed",
    /// The task was cancelled.
    TaskCancelled / task_cancelled: "task cancelled",
    /// The process that ran the task ended before it answered, as often as retries allowed.
    WorkerCrashed / worker_crashed: "worker crashed",
    /// The actor is dead for good.
    ActorDied / actor_died: "actor died",
    /// The actor cannot be reached now; the call may or may not have run.
    ActorUnavailable / actor_unavailable: "actor unavailable",
    /// The actor has as many unfinished calls as `max_pending_calls` allows.
    ActorPendingCallsLimit / actor_pending_calls_limit: "too many pending calls",
    /// All copies of the object are lost.
    ObjectLost / object_lost: "object lost",
    /// The process that owned the object ended.
    OwnerDied / owner_died: "owner died",
    /// The object was freed.
    ObjectFreed / object_freed: "object freed",
    /// The object was lost and could not be made again.
    ReconstructionFailed / reconstruction_failed: "reconstruction failed",
    /// The object store has no room.
    ObjectStoreFull / object_store_full: "object store full",
    /// The disk has no room.
    OutOfDisk / out_of_disk: "out of disk",
    /// The worker was ended because the machine ran out of memory.
    OutOfMemory / out_of_memory: "out of memory",
    /// The value was not there in time.
    GetTimeout / get_timeout: "timed out",
    /// The node died.
    NodeDied / node_died: "node died",
    /// The runtime environment could not be set up.
    RuntimeEnvSetup / runtime_env_setup: "runtime environment failed",
    /// The placement group was removed.
    PlacementGroupRemoved / placement_group_removed: "placement group removed",
    /// No node can ever fulfil the request.
    Infeasible / infeasible: "infeasible",
    /// The cluster cannot be reached.
    Connection / connection: "connection failed",
    /// The token or certificate was refused.
    Unauthorized / unauthorized: "unauthorized",
    /// Two sides speak different revisions, or run different programs.
    VersionMismatch / version_mismatch: "version mismatch",
    /// A value could not be encoded or decoded.
    Serialization / serialization: "serialization failed",
    /// An argument or option is not valid.
    InvalidArgument / invalid_argument: "invalid argument",
}

impl Error {
    /// An application error made of any error, or of a text, as `std::io::Error::other` makes one.
    ///
    /// The text of its chain is kept, and [`downcast_ref`](Error::downcast_ref) finds it where it was made; an error
    /// that shall arrive typed elsewhere is made by [`Error::typed`]. One of Actinic's own stays as it is.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        let error = error.into();
        let mut made = Error::from_std(&*error);
        if own(&*error).is_none() {
            made.detail_mut().given = Some(Arc::from(error));
        }
        made
    }

    pub(crate) fn from_display(error: &(impl fmt::Display + ?Sized)) -> Error {
        let text = error.to_string();
        let mut made = Error::task(text.clone());
        made.detail_mut().chain = vec![text];
        made
    }

    /// The application error made of a user's error, with the text of its chain of sources.
    pub(crate) fn from_std(error: &(dyn std::error::Error + 'static)) -> Error {
        if let Some(own) = own(error) {
            return own.clone();
        }
        let mut chain = vec![error.to_string()];
        let mut cause = None;
        let mut source = error.source();
        // A chain may have no end: an error can be its own source.
        while let Some(inner) = source.filter(|_| chain.len() < READ_MAX as usize) {
            if let Some(own) = own(inner) {
                // It says all of what is below it, types included.
                cause = Some(own.clone());
                break;
            }
            chain.push(inner.to_string());
            source = inner.source();
        }
        let mut made = Error::task(chain[0].clone());
        made.detail_mut().chain = chain;
        match cause {
            Some(cause) => made.caused_by(cause),
            None => made,
        }
    }

    /// An application error made of an error that is serde: [`downcast_ref`](Error::downcast_ref) finds it in this process,
    /// and wherever it arrives in a program of which some remote function or method returns such an error.
    ///
    /// A remote function that returns a `Result` with such an error does the same.
    pub fn typed<E>(error: E) -> Error
    where
        E: std::error::Error + Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        error_kind::remember(ErrorType::of::<E>());
        let mut made = Error::from_std(&error);
        // An error that cannot be encoded still arrives as its text.
        if let Ok(bytes) = postcard::to_stdvec(&error) {
            made.detail_mut().typed =
                Some(Typed { type_name: std::any::type_name::<E>().to_owned(), bytes, value: OnceLock::new() });
        }
        made
    }

    /// As a function returns it: without what only its process has, and without the wish of what it called to be tried again.
    pub(crate) fn sent(self) -> Error {
        let sent = self.without_given();
        if sent.detail().retry { sent.wants_retry(false) } else { sent }
    }

    fn without_given(mut self) -> Error {
        let mut at = Some(&self);
        while let Some(error) = at {
            if error.detail().given.is_some() {
                let detail = self.detail_mut();
                detail.given = None;
                detail.cause = detail.cause.take().map(Error::without_given);
                return self;
            }
            at = error.detail().cause.as_ref();
        }
        self
    }

    /// The first error of type `E` in the chain.
    ///
    /// Of errors that have arrived from elsewhere those are found that are serde, and of a type that a remote function or
    /// method of this program returns (or that this process has [made](Error::typed) one of itself). Any other is found
    /// where it was made; elsewhere it is the text of its `Display` chain, in [`Detail::chain`].
    pub fn downcast_ref<E>(&self) -> Option<&E>
    where
        E: std::error::Error + 'static,
    {
        let mut at = Some(self);
        while let Some(error) = at {
            let detail = error.detail();
            if let Some(found) = detail.typed.as_ref().and_then(Typed::get::<E>) {
                return Some(found);
            }
            let mut given = detail.given.as_deref().map(|error| error as &(dyn std::error::Error + 'static));
            for _ in 0..READ_MAX {
                let Some(error) = given else { break };
                if let Some(found) = error.downcast_ref::<E>() {
                    return Some(found);
                }
                given = error.source();
            }
            at = detail.cause.as_ref();
        }
        None
    }

    /// The innermost error of the chain: what began it.
    pub fn root_cause(&self) -> &Error {
        let mut at = self;
        while let Some(cause) = &at.detail().cause {
            at = cause;
        }
        at
    }

    pub(crate) fn subject(mut self, subject: impl Into<String>) -> Error {
        self.detail_mut().subject = Some(subject.into());
        self
    }

    pub(crate) fn at_node(mut self, node: impl fmt::Display) -> Error {
        self.detail_mut().node = Some(node.to_string());
        self
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Error {
        self.detail_mut().remedy = remedy.into();
        self
    }

    /// What happened, and to whom.
    pub(crate) fn told(&self) -> String {
        let detail = self.detail();
        match &detail.subject {
            Some(subject) if !detail.message.contains(subject.as_str()) => format!("{} ({subject})", detail.message),
            _ => detail.message.clone(),
        }
    }

    /// With a remedy, if it has none.
    pub(crate) fn or_remedy(mut self, remedy: &str) -> Error {
        if self.detail().remedy.is_empty() {
            self.detail_mut().remedy = remedy.to_owned();
        }
        self
    }

    pub(crate) fn with_message(mut self, message: String) -> Error {
        self.detail_mut().message = message;
        self
    }

    /// With its cause. Of a long chain only the end stays: an error must be told, and read, in bounded space.
    pub(crate) fn caused_by(mut self, cause: Error) -> Error {
        let long = cause.causes().nth(CHAIN_MAX).is_some();
        self.detail_mut().cause = Some(if long { cause.root_cause().clone() } else { cause });
        self
    }

    /// The error, its cause, the cause of that, and so on.
    fn causes(&self) -> impl Iterator<Item = &Error> {
        std::iter::successors(Some(self), |error| error.detail().cause.as_ref())
    }

    /// About so many bytes it takes to tell.
    pub(crate) fn size(&self) -> usize {
        let of = |error: &Error| {
            let detail = error.detail();
            let chain: usize = detail.chain.iter().map(String::len).sum();
            let typed = detail.typed.as_ref().map_or(0, |typed| typed.bytes.len());
            128 + detail.message.len() + detail.remedy.len() + chain + typed
        };
        self.causes().map(of).sum()
    }

    /// As it is told: one whose texts or value are too large for a message keeps the beginning of what it says.
    pub(crate) fn bounded(self) -> Error {
        if self.size() <= SIZE_MAX {
            return self;
        }
        let mut cut = self.clone();
        let detail = cut.detail_mut();
        let end = (0..=TEXT_MAX.min(detail.message.len())).rev().find(|at| detail.message.is_char_boundary(*at));
        detail.message.truncate(end.unwrap_or(0));
        detail.message.push_str(" .. (cut: the error was too large to be told whole)");
        detail.chain = vec![detail.message.clone()];
        detail.typed = None;
        detail.given = None;
        detail.cause = None;
        cut
    }

    pub(crate) fn wants_retry(mut self, yes: bool) -> Error {
        self.detail_mut().retry = yes;
        self
    }

    /// The code of a task or method ended with it.
    pub(crate) fn of_code(mut self) -> Error {
        // What cannot be decoded never could be: its code did not run.
        self.detail_mut().of_code = !matches!(self, Error::Serialization { .. });
        self
    }

    /// Whether another attempt is wanted, if all errors of the code are to be tried again, or none, or those that it asks
    /// it for.
    pub(crate) fn retry_wanted(&self, all: Option<bool>) -> bool {
        let Detail { retry, of_code, .. } = self.detail();
        all.map_or(*retry, |all| all && (*retry || *of_code))
    }

    /// Whether it is one of [`Error::through_dependent`].
    pub(crate) fn is_of_an_argument(&self) -> bool {
        self.detail().dependent
    }

    /// The error of a task that depended on one which failed: the kind stays, and it says who it happened to.
    pub(crate) fn through_dependent(&self, dependent: &str) -> Error {
        // What failed first is the cause, however many tasks in between did not run.
        let first = self.detail().cause.as_ref().filter(|_| self.detail().dependent).unwrap_or(self);
        let mut outer = self.clone();
        let detail = outer.detail_mut();
        detail.message = format!("{dependent} did not run because an argument failed: {}", first.told());
        detail.dependent = true;
        detail.subject = Some(dependent.to_owned());
        detail.remedy = match first.detail().remedy.as_str() {
            "" => format!("mend what failed first, or catch its error before it is passed to {dependent}"),
            remedy => remedy.to_owned(),
        };
        detail.typed = None;
        detail.given = None;
        detail.chain = Vec::new();
        detail.retry = false;
        detail.cause = Some(first.clone());
        outer
    }
}

/// One of Actinic's own: itself, or as I/O errors carry others, which is no source of theirs.
fn own<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Error> {
    let carried = || error.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref::<Error>();
    error.downcast_ref::<Error>().or_else(carried)
}

impl Typed {
    fn get<E: 'static>(&self) -> Option<&E> {
        if self.type_name != std::any::type_name::<E>() {
            return None;
        }
        let value = self.value.get_or_init(|| error_kind::decode::<E>(&self.bytes));
        value.as_ref()?.downcast_ref::<E>()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = self.detail();
        write!(f, "{}: {}", self.title(), detail.message)?;
        if let Some(subject) = &detail.subject
            && !detail.message.contains(subject.as_str())
        {
            write!(f, " ({subject})")?;
        }
        if let Some(node) = &detail.node
            && !detail.message.contains(node.as_str())
        {
            write!(f, " on node {node}")?;
        }
        if !detail.remedy.is_empty() {
            write!(f, "; {}", detail.remedy)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.kind())?;
        for text in self.detail().chain.iter().skip(1) {
            write!(f, "\n  source: {text}")?;
        }
        if let Some(cause) = &self.detail().cause {
            write!(f, "\n  caused by {cause:?}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detail")
            .field("message", &self.message)
            .field("subject", &self.subject)
            .field("node", &self.node)
            .field("remedy", &self.remedy)
            .field("cause", &self.cause)
            .field("chain", &self.chain)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.detail().cause.as_ref().map(|cause| cause as _)
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::GetTimeout { .. } => std::io::ErrorKind::TimedOut,
            Error::Connection { .. } => std::io::ErrorKind::NotConnected,
            Error::Unauthorized { .. } => std::io::ErrorKind::PermissionDenied,
            Error::InvalidArgument { .. } => std::io::ErrorKind::InvalidInput,
            Error::OutOfMemory { .. } => std::io::ErrorKind::OutOfMemory,
            _ => std::io::ErrorKind::Other,
        };
        std::io::Error::new(kind, error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(own) => own,
            Err(error) => Error::from_std(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize, PartialEq, thiserror::Error)]
    #[error("no such row {0}")]
    struct NoRow(u32);

    #[test]
    fn a_typed_error_is_found_through_the_chain_after_travelling() {
        let inner = Error::typed(NoRow(7)).subject("task f");
        let outer = inner.through_dependent("task g");
        let bytes = postcard::to_stdvec(&outer).unwrap();
        let back: Error = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(back.downcast_ref::<NoRow>(), Some(&NoRow(7)));
        assert!(matches!(back, Error::Task { .. }));
        assert_eq!(back.root_cause().detail().subject.as_deref(), Some("task f"));
        assert!(format!("{back:?}").contains("no such row 7"));
    }

    #[derive(Debug, thiserror::Error)]
    #[error("over it")]
    struct Over(#[source] Loop);

    /// It is its own source.
    #[derive(Debug)]
    struct Loop;

    impl fmt::Display for Loop {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("round and round")
        }
    }

    impl std::error::Error for Loop {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(self)
        }
    }

    #[test]
    fn sources_without_an_end_are_told_as_far_as_any_are_read() {
        let error = Error::other(Over(Loop));
        assert_eq!(error.detail().chain[..2], ["over it", "round and round"]);
        assert_eq!(error.detail().chain.len(), READ_MAX as usize);
        assert!(error.downcast_ref::<Loop>().is_some());
        assert!(error.downcast_ref::<NoRow>().is_none());
    }

    /// A peer's bytes do not decide how deep the stack of this process grows.
    #[test]
    fn an_error_with_a_million_causes_is_refused() {
        // `Task` without message, subject, node and remedy, and with a cause.
        let deep = [0u8, 0, 0, 0, 0, 1].repeat(1_000_000);
        assert!(postcard::from_bytes::<Error>(&deep).is_err());
        let mut chain = Error::task("the first");
        for _ in 0..100 {
            chain = Error::task("a later one").caused_by(chain);
        }
        let bytes = postcard::to_stdvec(&chain).unwrap();
        let back: Error = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(back.root_cause().detail().message, "the first", "what is made here can be read");
        let error = postcard::from_bytes::<Error>(&deep);
        assert!(error.is_err(), "and so it is after one that was read");
    }

    #[test]
    fn a_timeout_is_a_timeout_of_std_too() {
        let io: std::io::Error = Error::get_timeout("late").into();
        assert_eq!(io.kind(), std::io::ErrorKind::TimedOut);
        assert!(matches!(Error::from(io), Error::GetTimeout { .. }));
    }
}
