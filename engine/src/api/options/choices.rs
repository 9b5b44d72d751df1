//! What is chosen among a few: isolation, lifetime, placement.

use actinic_transport::NodeId;

/// Whether an actor has a process to itself. A task has one while it runs, where workers are processes.
///
/// It matters on a started node. An embedded cluster uses threads of the driver's process, unless it was started
/// with `.workers(Workers::Processes)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// A process that runs nothing else meanwhile: it can be killed without harming anyone.
    #[default]
    Process,
    /// One host process for the light actors of a job: they cost little and share its fate.
    Shared,
}

/// When an actor ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// With its last handle, or with its job.
    #[default]
    NonDetached,
    /// Only when it is killed or exits by itself; find it again by its name.
    Detached,
}

/// Which node runs the work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scheduling {
    /// Where most bytes of its large arguments are; without any, this node while it is less than half used, then another
    /// that is, then the least used of those that have room.
    #[default]
    Default,
    /// Evenly over all nodes that can run it.
    Spread,
    /// One node.
    NodeAffinity {
        /// The node.
        node: NodeId,
        /// Whether another node may do it when this one is dead or too small. If not, the work then fails with
        /// `Infeasible`.
        soft: bool,
    },
}

impl Scheduling {
    /// That node and no other: hard affinity.
    pub fn on(node: impl Into<NodeId>) -> Scheduling {
        Scheduling::NodeAffinity { node: node.into(), soft: false }
    }
}

/// What happens to work that no node of the cluster could ever run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnInfeasible {
    /// It stays pending, is warned about, and runs when a node joins that can run it. Written `"wait"`.
    #[default]
    Wait,
    /// It fails at once with `Infeasible`. Written `"fail"`.
    Fail,
}

impl AsRef<str> for OnInfeasible {
    fn as_ref(&self) -> &str {
        match self {
            OnInfeasible::Wait => "wait",
            OnInfeasible::Fail => "fail",
        }
    }
}
