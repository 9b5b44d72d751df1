//! Why an actor or a node is dead, in words for whoever waits for it.

use std::fmt;
use std::time::Duration;

use actinic_transport::NodeId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{ActorId, JobId, OwnerId};

/// Why an actor is dead for good: which actor, where, what happened; `Display` adds what can be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeathCause {
    /// The actor.
    pub(crate) actor: ActorId,
    /// Its class; empty if it is not known.
    pub(crate) class: String,
    /// Its name.
    pub(crate) name: Option<String>,
    /// The node that its last incarnation was on, or was on its way to.
    pub(crate) node: Option<NodeId>,
    /// How many restarts it had had.
    pub(crate) restarts: u32,
    /// How many it was allowed; -1 is without limit.
    pub(crate) max_restarts: i64,
    /// What happened.
    pub(crate) reason: DeathReason,
}

/// What ended an actor, or one incarnation of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum DeathReason {
    /// Its constructor returned an error or panicked; never restarted.
    ConstructorError {
        /// What the error printed.
        text: String,
        /// The encoded error.
        #[serde(with = "super::rows::bytes_field")]
        error: Bytes,
    },
    /// Its process ended by itself, in a call, in the constructor or between.
    WorkerDied {
        /// How, such as "signal 9" or "exit status 1".
        detail: String,
    },
    /// Its process was ended because the machine ran out of memory.
    OutOfMemory {
        /// Its use, and the limit.
        detail: String,
    },
    /// Its node died or left.
    NodeDied {
        /// The node.
        node: NodeId,
        /// Why.
        detail: String,
    },
    /// Whoever made it ended; only a detached actor survives that.
    OwnerDied {
        /// Who made it.
        owner: OwnerId,
    },
    /// Its job ended; only a detached actor survives that.
    JobEnded {
        /// The job.
        job: JobId,
    },
    /// It was killed.
    Killed,
    /// It asked to exit.
    Exited {
        /// How.
        detail: String,
    },
    /// What it runs in panicked, outside of any call.
    Broken {
        /// Where and why.
        detail: String,
    },
    /// It was asked to stop after the calls already made.
    Stopped,
    /// Its last handle was dropped.
    OutOfScope,
    /// No node may ever run it.
    Unschedulable {
        /// What it needs, and what there is.
        detail: String,
    },
    /// It was never made: the request was refused.
    Refused {
        /// Why.
        why: Refusal,
    },
    /// Nothing is known of it: it never was, or has been dead for long.
    Unknown,
}

/// Why a request for an actor was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// Another actor has the name.
    NameTaken {
        /// The name.
        name: String,
        /// Where it lives.
        namespace: String,
        /// Who has it.
        holder: ActorId,
    },
    /// `get_if_exists` found an actor of another class.
    ClassMismatch {
        /// The name.
        name: String,
        /// Who has it.
        holder: ActorId,
        /// The class of that one.
        found: String,
        /// The class asked for.
        asked: String,
    },
    /// The name is empty.
    EmptyName,
    /// `get_if_exists` was asked without a name.
    NoName,
    /// No node may ever run it.
    Infeasible {
        /// What it needs, and what there is.
        detail: String,
    },
    /// Its job has ended, or never was.
    NoSuchJob {
        /// The job.
        job: JobId,
    },
    /// Whoever asked for it is dead.
    OwnerDead {
        /// Who asked.
        owner: OwnerId,
    },
}

impl DeathReason {
    /// Whether it is the fault of the system, so that a restart may help.
    pub(crate) fn may_restart(&self) -> bool {
        matches!(
            self,
            DeathReason::WorkerDied { .. }
                | DeathReason::Broken { .. }
                | DeathReason::OutOfMemory { .. }
                | DeathReason::NodeDied { .. }
                | DeathReason::Killed
        )
    }

    /// Whether there is no node that could run it.
    pub(crate) fn is_infeasible(&self) -> bool {
        matches!(self, DeathReason::Unschedulable { .. } | DeathReason::Refused { why: Refusal::Infeasible { .. } })
    }

    /// Whether the request for the actor was wrong.
    pub(crate) fn is_invalid(&self) -> bool {
        matches!(self, DeathReason::Refused { why } if why.is_invalid())
    }

    /// Whether somebody meant it, so that nobody has to be warned.
    pub(crate) fn is_intended(&self) -> bool {
        !matches!(
            self,
            DeathReason::ConstructorError { .. }
                | DeathReason::WorkerDied { .. }
                | DeathReason::Broken { .. }
                | DeathReason::OutOfMemory { .. }
                | DeathReason::NodeDied { .. }
                | DeathReason::Unschedulable { .. }
        )
    }
}

impl DeathCause {
    /// What can be done; empty if nothing can be advised.
    pub(crate) fn remedy(&self) -> &'static str {
        self.reason.remedy()
    }

    /// What happened to whom, and where.
    pub(crate) fn text(&self) -> String {
        struct Text<'a>(&'a DeathCause);
        impl fmt::Display for Text<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.tell(f)
            }
        }
        Text(self).to_string()
    }

    fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "actor ")?;
        if !self.class.is_empty() {
            write!(f, "{} ", self.class)?;
        }
        if let Some(name) = &self.name {
            write!(f, "{name:?} ")?;
        }
        write!(f, "({}) {}", self.actor, self.reason)?;
        if let Some(node) = self.node
            && !matches!(self.reason, DeathReason::NodeDied { .. })
        {
            write!(f, " on node {node}")?;
        }
        if self.reason.may_restart() && self.reason != DeathReason::Killed {
            match self.max_restarts {
                0 => write!(f, "; it may not be restarted: set max_restarts to let it be")?,
                n => write!(f, "; it had been restarted {} of {n} times: raise max_restarts for more", self.restarts)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for DeathCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tell(f)?;
        match self.remedy() {
            "" => Ok(()),
            remedy => write!(f, "; {remedy}"),
        }
    }
}

impl DeathReason {
    fn remedy(&self) -> &'static str {
        match self {
            DeathReason::OwnerDied { .. } | DeathReason::JobEnded { .. } => {
                "make it detached if it is to outlive its maker"
            }
            DeathReason::OutOfMemory { .. } => "give it fewer neighbours or a `memory` requirement",
            DeathReason::OutOfScope => "keep a handle, or make it detached",
            DeathReason::Refused { why } => why.remedy(),
            DeathReason::Unschedulable { .. } => "use soft affinity, or name a node that can run it",
            DeathReason::ConstructorError { .. } => "mend the constructor or what it is given; it is not run again",
            DeathReason::WorkerDied { .. } => "its node's log may say why its process ended; make another one to go on",
            DeathReason::NodeDied { .. } => "make another one to go on, which is placed on a node that lives",
            DeathReason::Killed => "make another one to go on, or kill it when nobody calls it any more",
            DeathReason::Exited { .. } => "make another one to go on, or let it exit when nobody calls it any more",
            DeathReason::Broken { .. } => "mend the code that panicked",
            DeathReason::Stopped => "make another one to go on, or stop it after the last call",
            DeathReason::Unknown => "make another one to go on, or get one that lives by its name",
        }
    }
}

impl Refusal {
    /// Whether what was asked for is wrong, rather than what there is.
    pub(crate) fn is_invalid(&self) -> bool {
        matches!(self, Refusal::NameTaken { .. } | Refusal::ClassMismatch { .. } | Refusal::EmptyName | Refusal::NoName)
    }

    fn remedy(&self) -> &'static str {
        match self {
            Refusal::NameTaken { .. } => {
                "get that actor with `get_actor` or `get_if_exists`, kill it, or choose another name"
            }
            Refusal::ClassMismatch { .. } => "choose another name",
            Refusal::EmptyName | Refusal::NoName => "set `name`",
            Refusal::OwnerDead { .. } => "make it in a task or an actor that lives, or in the driver",
            // They say it themselves.
            Refusal::Infeasible { .. } | Refusal::NoSuchJob { .. } => "",
        }
    }
}

impl fmt::Display for DeathReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeathReason::ConstructorError { text, .. } => write!(f, "failed in its constructor: {text}"),
            DeathReason::WorkerDied { detail } => write!(f, "lost its process ({detail})"),
            DeathReason::OutOfMemory { detail } => write!(f, "was ended to save memory ({detail})"),
            DeathReason::NodeDied { node, detail } => write!(f, "was lost with its node {node} ({detail})"),
            DeathReason::OwnerDied { owner } => write!(f, "ended because its owner {owner} died"),
            DeathReason::JobEnded { job } => write!(f, "ended with its job {job}"),
            DeathReason::Killed => write!(f, "was killed"),
            DeathReason::Exited { detail } => write!(f, "exited on purpose: {detail} (intended exit)"),
            DeathReason::Broken { detail } => write!(f, "broke: {detail}"),
            DeathReason::Stopped => write!(f, "was stopped (intended exit)"),
            DeathReason::OutOfScope => write!(f, "ended because all its handles were dropped"),
            DeathReason::Unschedulable { detail } => write!(f, "cannot be placed: {detail}"),
            DeathReason::Refused { why } => write!(f, "was never made: {why}"),
            DeathReason::Unknown => write!(f, "is unknown, or has been dead for long"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NameTaken { name, namespace, holder } => {
                write!(f, "an actor named {name:?} exists already in namespace {namespace:?} ({holder})")
            }
            Refusal::ClassMismatch { name, holder, found, asked } => {
                write!(f, "the actor named {name:?} ({holder}) is a {found}, and not a {asked}")
            }
            Refusal::EmptyName => write!(f, "an actor's name must not be empty"),
            Refusal::NoName => write!(f, "get_if_exists needs a name"),
            Refusal::Infeasible { detail } => write!(f, "{detail}; use soft affinity, or name a node that can run it"),
            Refusal::NoSuchJob { job } => {
                write!(f, "job {job} has ended or is unknown; make the actor from a running job")
            }
            Refusal::OwnerDead { owner } => write!(f, "its owner {owner} is dead"),
        }
    }
}

/// Why a node is dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NodeDeath {
    /// Its machine answers, and says that nobody listens there any more.
    Unreachable {
        /// What was seen, such as "port unreachable".
        detail: String,
    },
    /// Nothing was heard of it for too long.
    Silent {
        /// How long.
        silence: Duration,
    },
}

impl fmt::Display for NodeDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeDeath::Unreachable { detail } => write!(f, "its processes are gone: {detail}"),
            NodeDeath::Silent { silence } => write!(f, "nothing was heard of it for {:.1} s", silence.as_secs_f64()),
        }
    }
}
