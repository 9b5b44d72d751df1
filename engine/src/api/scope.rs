//! Which cluster, and which submitter, a call belongs to.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use crate::api::error::{Error, Result};
use crate::owner::Owner;
use crate::worker::host;

thread_local! {
    static ENTERED: RefCell<Vec<Arc<Owner>>> = const { RefCell::new(Vec::new()) };
}

/// The clusters that this process is connected to.
static ALL: Mutex<Vec<Known>> = Mutex::new(Vec::new());

struct Known {
    owner: Arc<Owner>,
    /// It belongs to a test: others beside it do not see it.
    test: bool,
}

fn all() -> std::sync::MutexGuard<'static, Vec<Known>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The submitter for calls made here: of the call that runs, of the scope, or of the only cluster.
pub(crate) fn owner() -> Result<Arc<Owner>> {
    if let Some(owner) = host::with_current(|current| current.map(|current| Arc::clone(current.host.owner()))) {
        return Ok(owner);
    }
    if let Some(owner) = ENTERED.with(|entered| entered.borrow().last().cloned()) {
        return Ok(owner);
    }
    let all = all();
    let mut programs = all.iter().filter(|known| !known.test);
    match (programs.next(), programs.next(), &all[..]) {
        (Some(only), None, _) | (None, _, [only]) => Ok(Arc::clone(&only.owner)),
        (None, _, []) => Err(Error::connection("no cluster is connected").remedy("call `actinic::init()` first")),
        _ => Err(Error::connection(format!("{} clusters are connected, and this is in the scope of none", all.len()))
            .remedy("use `cluster.enter()` in sync code, or `cluster.scope(future).await`")),
    }
}

/// Whether a second `init()` here would be in the scope of a cluster.
pub(crate) fn current() -> Option<Arc<Owner>> {
    if let Some(owner) = ENTERED.with(|entered| entered.borrow().last().cloned()) {
        return Some(owner);
    }
    all().iter().find(|known| !known.test).map(|known| Arc::clone(&known.owner))
}

/// One `init()` of this process starts at a time: of two at the same moment the second finds what the first started,
/// or that it failed. It waits no longer than the first may take, and runs nothing that could begin a third.
pub(crate) fn turn() -> std::sync::MutexGuard<'static, ()> {
    static STARTING: Mutex<()> = Mutex::new(());
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn add(owner: Arc<Owner>) {
    all().push(Known { owner, test: false });
}

pub(crate) fn add_test(owner: Arc<Owner>) {
    all().push(Known { owner, test: true });
}

pub(crate) fn remove(owner: &Arc<Owner>) {
    all().retain(|known| !Arc::ptr_eq(&known.owner, owner));
}

/// While it lives, this thread is in a cluster's scope.
#[derive(Debug)]
#[must_use = "the scope ends when this is dropped"]
pub struct Enter {
    /// Scopes are of a thread.
    marker: std::marker::PhantomData<*const ()>,
}

pub(crate) fn enter(owner: &Arc<Owner>) -> Enter {
    ENTERED.with(|entered| entered.borrow_mut().push(Arc::clone(owner)));
    Enter { marker: std::marker::PhantomData }
}

impl Drop for Enter {
    fn drop(&mut self) {
        let gone = ENTERED.with(|entered| entered.borrow_mut().pop());
        drop(gone);
    }
}

/// A future whose every poll is in a cluster's scope.
pub(crate) struct Scoped<F> {
    pub(crate) owner: Arc<Owner>,
    pub(crate) future: std::pin::Pin<Box<F>>,
}

impl<F: std::future::Future> std::future::Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<F::Output> {
        let _entered = enter(&self.owner.clone());
        self.future.as_mut().poll(cx)
    }
}
