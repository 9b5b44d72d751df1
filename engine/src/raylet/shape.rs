//! What a task needs and where it may go: what leases are shared by.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::raylet::core::Scheduling;
use crate::resources::ResourceSet;

/// What a task needs and where it may go: what leases are shared by.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    inner: Arc<ShapeInner>,
    hash: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct ShapeInner {
    resources: ResourceSet,
    scheduling: Scheduling,
    /// Whether what can run nowhere fails, instead of waiting for a node that can run it.
    fails: bool,
}

impl Shape {
    pub(crate) fn new(resources: ResourceSet, scheduling: Scheduling, fails: bool) -> Shape {
        let text = format!("{resources}{scheduling:?}{fails}");
        let hash = crate::program::stable_hash(&[text.as_bytes()]);
        Shape { inner: Arc::new(ShapeInner { resources, scheduling, fails }), hash }
    }

    /// For what never runs.
    pub(crate) fn none() -> Shape {
        Shape::new(ResourceSet::new(), Scheduling::Default, false)
    }

    pub(crate) fn resources(&self) -> &ResourceSet {
        &self.inner.resources
    }

    pub(crate) fn scheduling(&self) -> Scheduling {
        self.inner.scheduling
    }

    pub(crate) fn fails(&self) -> bool {
        self.inner.fails
    }

    /// Whether every task wants a lease of its own, so that the next can go elsewhere.
    pub(crate) fn one_by_one(&self) -> bool {
        self.inner.scheduling == Scheduling::Spread
    }

    /// Whether a lease that another node was asked for comes as soon as one here would: what is dealt out has its turn
    /// there, and what takes nothing never waits for what others hold. Asking here again would only get one too many.
    pub(crate) fn sure_elsewhere(&self) -> bool {
        self.one_by_one() || self.inner.resources.is_empty()
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner) || self.inner == other.inner
    }
}

impl Eq for Shape {}

impl Hash for Shape {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}
