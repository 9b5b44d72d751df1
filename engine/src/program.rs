//! What the program can run remotely: its functions and actors, found by linked or explicit registration.
//!
//! Linked registration (a distributed slice) loses every entry of a crate that the binary never references: `use
//! that_crate as _;` brings them back, and [`register`] ([`table`]) is the explicit alternative. A function's id is the hash of
//! its type name, its signature and, as a tie-break, its position: `module_path!` alone is equal for two functions
//! inside two test functions.

mod messages;
mod table;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::api::error::{Error, Result};
use crate::api::options::{ActorOptions, MethodOptions, TaskOptions};
use crate::call::{OwnedTaskArgs, Returns, TaskArgs};
use crate::task::Meta;
use crate::worker::job::discard;
pub use messages::*;
pub use table::*;
pub(crate) use table::{begin, identity, program};

/// What a remote function came to: its encoded results, or why there are none.
pub type Outcome = Result<Returns, Error>;
/// The future of an async remote function.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// The future of an async constructor or method of an actor: it stays on its actor's thread.
pub type LocalBoxFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// How a remote function is called on a worker.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// A plain function, run on an executor thread.
    Sync(fn(&mut TaskArgs<'_>) -> Outcome),
    /// An async function, run on the workers' tokio runtime.
    Async(fn(OwnedTaskArgs) -> BoxFuture<Outcome>),
}

/// How many values a function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumReturns {
    /// The number in the attribute (1 if there is none).
    Fixed(u32),
    /// As many as the call says.
    PerCall,
}

/// Where and as what something remote was defined: what its id is made of.
#[derive(Clone, Copy)]
pub struct Origin {
    /// The name of the function or type.
    pub name: &'static str,
    /// `std::any::type_name` of the type that stands for it.
    pub type_name: fn() -> &'static str,
    /// `module_path!()`.
    pub module: &'static str,
    /// `file!()`.
    pub file: &'static str,
    /// `line!()`.
    pub line: u32,
    /// `column!()`.
    pub column: u32,
    /// The tokens of the signature (for an actor: of the impl's methods).
    pub signature: &'static str,
}

/// The id of a function or an actor class: equal in every process of a program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FunctionId(pub u64);

impl fmt::Debug for FunctionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FunctionId({:016x})", self.0)
    }
}

/// FNV-1a: stable across builds, and quick enough for start-up.
pub(crate) fn stable_hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for &byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

impl Origin {
    fn id(&self) -> FunctionId {
        let position = format!("{}:{}", self.line, self.column);
        let parts: [&[u8]; 4] =
            [(self.type_name)().as_bytes(), self.signature.as_bytes(), self.file.as_bytes(), position.as_bytes()];
        FunctionId(stable_hash(&parts))
    }
}

/// A remote function, as the macro registers it.
pub struct FunctionEntry {
    pub(crate) origin: Origin,
    pub(crate) call: Call,
    pub(crate) returns: NumReturns,
    pub(crate) defaults: fn() -> TaskOptions,
    pub(crate) meta: OnceLock<Result<Arc<Meta>>>,
    pub(crate) index: OnceLock<usize>,
    id: OnceLock<FunctionId>,
}

impl FunctionEntry {
    /// Describes a function; the macro's expansion is the only caller.
    pub const fn new(origin: Origin, call: Call, returns: NumReturns, defaults: fn() -> TaskOptions) -> Self {
        FunctionEntry {
            origin,
            call,
            returns,
            defaults,
            meta: OnceLock::new(),
            index: OnceLock::new(),
            id: OnceLock::new(),
        }
    }

    /// The name of the function.
    pub fn name(&self) -> &'static str {
        self.origin.name
    }

    pub(crate) fn id(&self) -> FunctionId {
        *self.id.get_or_init(|| self.origin.id())
    }
}

/// How an actor is constructed on its worker.
#[derive(Clone, Copy, Debug)]
pub enum Constructor {
    /// A plain constructor.
    Sync(fn(&mut TaskArgs<'_>) -> Result<ActorState, Error>),
    /// An async one, run on the thread of the actor's async methods if it has any.
    Async(fn(OwnedTaskArgs) -> LocalBoxFuture<Result<ActorState, Error>>),
}

/// An actor's state, without its type.
pub enum ActorState {
    /// One method at a time, on whichever thread: `State` need only be `Send`.
    Single {
        /// The state.
        state: Box<dyn Any + Send>,
        /// Puts it behind a lock of its actor's own thread, where async methods overlap.
        into_cell: fn(Box<dyn Any + Send>) -> ActorCell,
    },
    /// Sync methods alone, which overlap on several threads.
    Shared(Arc<dyn SharedState>),
    /// An `actix::Actor`, which stays on the arbiter where it was constructed.
    Actix(ActixState),
}

impl ActorState {
    /// The state of an actor whose sync methods do not overlap.
    pub fn new<A: Send + 'static>(state: A) -> Self {
        ActorState::Single {
            state: Box::new(state),
            into_cell: |state| ActorCell(Held::Here(Rc::new(Cell::<A>::of(state)))),
        }
    }

    /// The state of an actor with async methods and `max_concurrency`, whose sync `&self` methods overlap beside them.
    pub fn beside<A: Send + Sync + 'static>(state: A) -> Self {
        ActorState::Single {
            state: Box::new(state),
            into_cell: |state| ActorCell(Held::Everywhere(SharedCell(Arc::new(Cell::<A>::of(state))))),
        }
    }

    /// The state of an actor with `max_concurrency` and sync `&self` methods, which overlap.
    pub fn shared<A: Send + Sync + 'static>(state: A) -> Self {
        ActorState::Shared(Arc::new(Kept::new(RwLock::new(state))))
    }
}

impl fmt::Debug for ActorState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActorState")
    }
}

/// A state, or what holds one. Whoever drops it last, no destructor of the user's unwinds there.
pub(crate) struct Kept<T>(Option<T>);

impl<T> Kept<T> {
    pub(crate) fn new(value: T) -> Kept<T> {
        Kept(Some(value))
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => unreachable!("it is taken only when it is dropped"),
        }
    }
}

impl<T> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.0 {
            Some(value) => value,
            None => unreachable!("it is taken only when it is dropped"),
        }
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        discard("an actor's state", self.0.take());
    }
}

/// A state that several threads call at once.
pub trait SharedState: Send + Sync {
    /// Runs a `&self` method, beside others of its kind.
    fn read(&self, run: &mut dyn FnMut(&dyn Any));
    /// Runs a `&mut self` method, alone.
    fn write(&self, run: &mut dyn FnMut(&mut dyn Any));
}

impl<A: Send + Sync + 'static> SharedState for Kept<RwLock<A>> {
    fn read(&self, run: &mut dyn FnMut(&dyn Any)) {
        // A method that panicked leaves the state as it is, as it does in an actor of one thread.
        run(&*RwLock::read(&**self).unwrap_or_else(PoisonError::into_inner));
    }

    fn write(&self, run: &mut dyn FnMut(&mut dyn Any)) {
        run(&mut *RwLock::write(&**self).unwrap_or_else(PoisonError::into_inner));
    }
}

/// How a method is called on its actor.
#[derive(Clone, Copy, Debug)]
pub enum MethodCall {
    /// `fn(&mut self)`: alone from start to end.
    SyncMut(fn(&mut dyn Any, &mut TaskArgs<'_>) -> Outcome),
    /// `fn(&self)`.
    SyncRef(fn(&dyn Any, &mut TaskArgs<'_>) -> Outcome),
    /// `async fn(&mut self)`: alone from start to end.
    AsyncMut(fn(ActorCell, OwnedTaskArgs) -> LocalBoxFuture<Outcome>),
    /// `async fn(&self)`: overlaps with others of its kind.
    AsyncRef(fn(ActorCell, OwnedTaskArgs) -> LocalBoxFuture<Outcome>),
    /// The `actix::Handler` of a message, with the actor and its context.
    Actix(fn(&mut dyn Any, &mut dyn Any, &mut TaskArgs<'_>) -> Result<Begun, Error>),
}

/// A remote method, as the macro registers it.
pub struct MethodEntry {
    pub(crate) name: &'static str,
    pub(crate) signature: &'static str,
    pub(crate) call: MethodCall,
    pub(crate) returns: NumReturns,
    pub(crate) defaults: fn() -> MethodOptions,
}

impl MethodEntry {
    /// Describes a method; the macro's expansion is the only caller.
    pub const fn new(
        name: &'static str,
        signature: &'static str,
        call: MethodCall,
        returns: NumReturns,
        defaults: fn() -> MethodOptions,
    ) -> Self {
        MethodEntry { name, signature, call, returns, defaults }
    }

    /// Equal in two programs if the method's name and argument shape are.
    pub(crate) fn id(&self) -> u64 {
        stable_hash(&[self.name.as_bytes(), self.signature.as_bytes()])
    }
}

/// A remote actor class, as the macro registers it.
pub struct ActorEntry {
    pub(crate) origin: Origin,
    pub(crate) constructor: Constructor,
    pub(crate) methods: &'static [MethodEntry],
    pub(crate) defaults: fn() -> ActorOptions,
    pub(crate) has_async: bool,
    /// Whether it is an `actix::Actor`.
    pub(crate) actix: bool,
    methods_known: OnceLock<Box<[KnownMethod]>>,
}

/// What is computed of a method once.
pub(crate) struct KnownMethod {
    pub(crate) entry: &'static MethodEntry,
    pub(crate) id: u64,
    /// The options of calls that say nothing of their own.
    pub(crate) plain: MethodOptions,
}

impl ActorEntry {
    /// Describes an actor class; the macro's expansion is the only caller.
    pub const fn new(
        origin: Origin,
        constructor: Constructor,
        methods: &'static [MethodEntry],
        defaults: fn() -> ActorOptions,
        has_async: bool,
        actix: bool,
    ) -> Self {
        ActorEntry { origin, constructor, methods, defaults, has_async, actix, methods_known: OnceLock::new() }
    }

    /// The name of the type.
    pub fn name(&self) -> &'static str {
        self.origin.name
    }

    /// The name of the type, with where it is in the program.
    pub(crate) fn path(&self) -> &'static str {
        (self.origin.type_name)()
    }

    pub(crate) fn id(&self) -> FunctionId {
        self.origin.id()
    }

    /// Whether it lives on one thread, where its calls are futures.
    pub(crate) fn is_local(&self) -> bool {
        self.has_async || self.actix
    }

    /// Whether it has sync methods beside async ones.
    pub(crate) fn is_mixed(&self) -> bool {
        let is_sync = |method: &MethodEntry| matches!(method.call, MethodCall::SyncMut(_) | MethodCall::SyncRef(_));
        self.has_async && self.methods.iter().any(is_sync)
    }

    /// Whether calls of it overlap unless it says otherwise: async ones of `&self` do, and messages of an `actix::Actor`.
    pub(crate) fn overlaps(&self) -> bool {
        self.actix || self.methods.iter().any(|method| matches!(method.call, MethodCall::AsyncRef(_)))
    }

    /// The methods in their order, then the messages.
    fn known(&self) -> &[KnownMethod] {
        self.methods_known.get_or_init(|| {
            let method = |entry: &'static MethodEntry| (entry, entry.id());
            let all = self.methods.iter().map(method).chain(messages::messages_of(self));
            all.map(|(entry, id)| KnownMethod { entry, id, plain: (entry.defaults)() }).collect()
        })
    }

    /// What is known of the method at a place in the table.
    pub(crate) fn method(&self, index: u32) -> &KnownMethod {
        // The macro counts as the table does.
        &self.known()[index as usize]
    }

    /// The method with an id.
    pub(crate) fn find_method(&self, id: u64) -> Option<&'static MethodEntry> {
        self.known().iter().find(|known| known.id == id).map(|known| known.entry)
    }
}

/// A method was called on an actor of another class: its handle came from elsewhere, as of a class that has its name.
pub(crate) fn other_class<A>() -> ! {
    panic!("the actor is of another class than {}, of which a method was called", std::any::type_name::<A>())
}

/// An actor's state behind its fair lock, as async methods get it.
#[derive(Clone)]
pub struct ActorCell(Held);

#[derive(Clone)]
enum Held {
    /// By its actor's thread alone.
    Here(Rc<dyn AnyCell>),
    /// By the threads of its sync `&self` methods too.
    Everywhere(SharedCell),
}

/// A state that sync `&self` methods read on other threads than its actor's.
#[derive(Clone)]
pub(crate) struct SharedCell(Arc<dyn AnyCell + Send + Sync>);

impl SharedCell {
    /// Runs a sync `&self` method; nothing runs while an exclusive method holds the lock.
    pub(crate) fn read_now(&self, run: &mut dyn FnMut(&dyn Any)) {
        self.0.read(run);
    }
}

/// The lock without its type, for sync methods of actors that have async ones.
trait AnyCell {
    fn any(&self) -> &dyn Any;
    fn read(&self, run: &mut dyn FnMut(&dyn Any));
    fn write(&self, run: &mut dyn FnMut(&mut dyn Any));
}

struct Cell<A>(Kept<tokio::sync::RwLock<A>>);

impl<A: 'static> Cell<A> {
    /// Whose state was boxed as `A`.
    fn of(state: Box<dyn Any + Send>) -> Cell<A> {
        match state.downcast::<A>() {
            Ok(state) => Cell(Kept::new(tokio::sync::RwLock::new(*state))),
            Err(_) => unreachable!("the state was boxed as `A` by the function that names it here"),
        }
    }
}

impl<A: 'static> AnyCell for Cell<A> {
    fn any(&self) -> &dyn Any {
        self
    }

    fn read(&self, run: &mut dyn FnMut(&dyn Any)) {
        if let Ok(state) = self.0.try_read() {
            run(&*state);
        }
    }

    fn write(&self, run: &mut dyn FnMut(&mut dyn Any)) {
        if let Ok(mut state) = self.0.try_write() {
            run(&mut *state);
        }
    }
}

impl ActorCell {
    fn cell(&self) -> &dyn AnyCell {
        match &self.0 {
            Held::Here(cell) => &**cell,
            Held::Everywhere(cell) => &*cell.0,
        }
    }

    /// The state for other threads, if it may be read there.
    pub(crate) fn shared(&self) -> Option<SharedCell> {
        match &self.0 {
            Held::Here(_) => None,
            Held::Everywhere(cell) => Some(cell.clone()),
        }
    }

    fn lock<A: 'static>(&self) -> &tokio::sync::RwLock<A> {
        match self.cell().any().downcast_ref::<Cell<A>>() {
            Some(cell) => &cell.0,
            None => other_class::<A>(),
        }
    }

    /// The state for an `async fn(&self)`.
    pub async fn read<A: 'static>(&self) -> tokio::sync::RwLockReadGuard<'_, A> {
        self.lock().read().await
    }

    /// The state for an `async fn(&mut self)`.
    pub async fn write<A: 'static>(&self) -> tokio::sync::RwLockWriteGuard<'_, A> {
        self.lock().write().await
    }

    /// Runs a sync `&self` method; nothing runs while an exclusive method holds the lock.
    pub(crate) fn read_now(&self, run: &mut dyn FnMut(&dyn Any)) {
        self.cell().read(run);
    }

    /// Runs a sync `&mut self` method; nothing runs while another method holds the lock.
    pub(crate) fn write_now(&self, run: &mut dyn FnMut(&mut dyn Any)) {
        self.cell().write(run);
    }
}

impl fmt::Debug for ActorCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActorCell")
    }
}

macro_rules! opaque_debug {
    ($($name:ident: $field:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.$field)
            }
        }
    )*};
}
opaque_debug!(FunctionEntry: origin, ActorEntry: origin, MethodEntry: name);

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}:{}", (self.type_name)(), self.file, self.line)
    }
}
