//! What the program can run remotely: its functions and actors, found by linked or explicit registration.
//!
//! Linked registration (a distributed slice) loses every entry of a crate that the binary never references: `use
//! that_crate as _;` brings them back, and [`register`] is the explicit alternative. A function's id is the hash of
//! its type name, its signature and, as a tie-break, its position: `module_path!` alone is equal for two functions
//! inside two test functions.

mod messages;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::api::error::{Error, Result};
use crate::api::options::{ActorOptions, MethodOptions, TaskOptions};
use crate::call::{OwnedTaskArgs, Returns, TaskArgs};
use crate::task::Meta;
pub use messages::*;

/// What a remote function came to: its encoded results, or why there are none.
pub type Outcome = Result<Returns, Error>;
/// The future of an async remote function.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// The future of an async actor method: it stays on its actor's thread.
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

    /// Its place in the program's table.
    pub(crate) fn index(&'static self) -> usize {
        *self.index.get_or_init(|| {
            let program = program();
            program.functions.keys().position(|id| *id == self.origin.id()).unwrap_or(program.functions.len())
        })
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
    /// An async one.
    Async(fn(OwnedTaskArgs) -> BoxFuture<Result<ActorState, Error>>),
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
    /// Sync methods that overlap on several threads.
    Shared(Arc<dyn SharedState>),
    /// An `actix::Actor`, which stays on the arbiter where it was constructed.
    Actix(ActixState),
}

impl ActorState {
    /// The state of an actor whose sync methods do not overlap.
    pub fn new<A: Send + 'static>(state: A) -> Self {
        ActorState::Single {
            state: Box::new(state),
            into_cell: |state| match state.downcast::<A>() {
                Ok(state) => ActorCell(Rc::new(Cell(tokio::sync::RwLock::new(*state)))),
                Err(_) => unreachable!("the state was boxed as `A` by the function that names this closure"),
            },
        }
    }

    /// The state of an actor with `max_concurrency` and sync `&self` methods, which overlap.
    pub fn shared<A: Send + Sync + 'static>(state: A) -> Self {
        ActorState::Shared(Arc::new(RwLock::new(state)))
    }
}

impl fmt::Debug for ActorState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActorState")
    }
}

/// A state that several threads call at once.
pub trait SharedState: Send + Sync {
    /// Runs a `&self` method, beside others of its kind.
    fn read(&self, run: &mut dyn FnMut(&dyn Any));
    /// Runs a `&mut self` method, alone.
    fn write(&self, run: &mut dyn FnMut(&mut dyn Any));
}

impl<A: Send + Sync + 'static> SharedState for RwLock<A> {
    fn read(&self, run: &mut dyn FnMut(&dyn Any)) {
        // A method that panicked leaves the state as it is, as it does in an actor of one thread.
        run(&*RwLock::read(self).unwrap_or_else(PoisonError::into_inner));
    }

    fn write(&self, run: &mut dyn FnMut(&mut dyn Any)) {
        run(&mut *RwLock::write(self).unwrap_or_else(PoisonError::into_inner));
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

    pub(crate) fn id(&self) -> FunctionId {
        self.origin.id()
    }

    /// Whether it lives on one thread, where its calls are futures.
    pub(crate) fn is_local(&self) -> bool {
        self.has_async || self.actix
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

/// The functions that the linker found.
#[linkme::distributed_slice]
pub static FUNCTIONS: [FunctionEntry];

/// The actor classes that the linker found.
#[linkme::distributed_slice]
pub static ACTORS: [ActorEntry];

/// Something that can be registered explicitly: the type that stands for a remote function, or an actor.
pub trait Registered {
    /// Adds it to the program.
    fn register();
}

static EXPLICIT: Mutex<(Vec<&'static FunctionEntry>, Vec<&'static ActorEntry>)> = Mutex::new((Vec::new(), Vec::new()));

/// Registers a remote function or actor by hand, before the first `init()`: for crates that the linker would drop.
///
/// ```
/// use actinic::prelude::*;
/// #[actinic::remote]
/// fn square(x: i64) -> i64 { x * x }
/// actinic::register::<square>();
/// ```
pub fn register<R: Registered>() {
    R::register();
}

/// Adds a function by hand.
pub fn register_function(entry: &'static FunctionEntry) {
    EXPLICIT.lock().unwrap_or_else(PoisonError::into_inner).0.push(entry);
}

/// Adds an actor class by hand.
pub fn register_actor(entry: &'static ActorEntry) {
    EXPLICIT.lock().unwrap_or_else(PoisonError::into_inner).1.push(entry);
}

/// Everything that this program can run, by id.
pub(crate) struct Program {
    pub(crate) functions: BTreeMap<FunctionId, &'static FunctionEntry>,
    pub(crate) actors: BTreeMap<FunctionId, &'static ActorEntry>,
    /// Two entries with one id: nothing may start.
    pub(crate) duplicates: Vec<String>,
}

/// The program's table, made at the first use.
pub(crate) fn program() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let explicit = EXPLICIT.lock().unwrap_or_else(PoisonError::into_inner);
        let mut program = Program { functions: BTreeMap::new(), actors: BTreeMap::new(), duplicates: Vec::new() };
        for entry in FUNCTIONS.iter().chain(explicit.0.iter().copied()) {
            if let Some(other) = program.functions.insert(entry.id(), entry)
                && !std::ptr::eq(other, entry)
            {
                program.duplicates.push(describe(&entry.origin, &other.origin));
            }
        }
        for entry in ACTORS.iter().chain(explicit.1.iter().copied()) {
            if let Some(other) = program.actors.insert(entry.id(), entry)
                && !std::ptr::eq(other, entry)
            {
                program.duplicates.push(describe(&entry.origin, &other.origin));
            }
        }
        program
    })
}

fn describe(a: &Origin, b: &Origin) -> String {
    format!("{} ({}:{}) and {} ({}:{})", (a.type_name)(), a.file, a.line, (b.type_name)(), b.file, b.line)
}

impl Program {
    pub(crate) fn check(&self) -> Result<()> {
        if self.duplicates.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!(
            "two remote functions or actors have the same id: {}",
            self.duplicates.join("; ")
        ))
        .remedy("define each of them once, or rename one"))
    }

    pub(crate) fn function(&self, id: FunctionId) -> Result<&'static FunctionEntry> {
        self.functions.get(&id).copied().ok_or_else(|| unknown("function", id))
    }

    pub(crate) fn actor(&self, id: FunctionId) -> Result<&'static ActorEntry> {
        self.actors.get(&id).copied().ok_or_else(|| unknown("actor class", id))
    }
}

/// What tells this program from every other: its build, and what it registers. Equal in a driver and its workers.
pub(crate) fn identity() -> &'static str {
    static IDENTITY: OnceLock<String> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let build = build_id();
        let lines = inventory();
        let parts: Vec<&[u8]> = std::iter::once(&build[..]).chain(lines.iter().map(String::as_bytes)).collect();
        format!("{:016x}", stable_hash(&parts))
    })
}

/// The linker's note on the build of this program; empty if it left none.
fn build_id() -> Vec<u8> {
    unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _size: usize, out: *mut libc::c_void) -> libc::c_int {
        const NT_GNU_BUILD_ID: u32 = 3;
        // SAFETY: the loader passes a valid description of a loaded object, and `out` is the caller's vector.
        let (info, out) = unsafe { (&*info, &mut *out.cast::<Vec<u8>>()) };
        for at in 0..usize::from(info.dlpi_phnum) {
            // SAFETY: the table has `dlpi_phnum` entries.
            let header = unsafe { &*info.dlpi_phdr.add(at) };
            if header.p_type != libc::PT_NOTE {
                continue;
            }
            let start = (info.dlpi_addr + header.p_vaddr) as *const u8;
            // SAFETY: a note segment is mapped, readable and never written.
            let mut notes = unsafe { std::slice::from_raw_parts(start, header.p_memsz as usize) };
            let word = |bytes: &[u8], at: usize| {
                bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_ne_bytes)
            };
            while notes.len() >= 12 {
                let (name, length, kind) = (word(notes, 0) as usize, word(notes, 4) as usize, word(notes, 8));
                let body = 12 + name.next_multiple_of(4);
                if kind == NT_GNU_BUILD_ID && notes.get(12..16) == Some(b"GNU\0") {
                    out.extend_from_slice(notes.get(body..body + length).unwrap_or_default());
                    return 1;
                }
                notes = notes.get(body + length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
        // The first object is the program itself; its libraries do not matter.
        1
    }
    let mut id = Vec::new();
    // SAFETY: the callback matches the signature, and the vector outlives the call.
    unsafe {
        libc::dl_iterate_phdr(Some(look), (&raw mut id).cast());
    }
    id
}

fn unknown(what: &str, id: FunctionId) -> Error {
    Error::version_mismatch(format!("this worker's program has no {what} with id {:016x}", id.0))
        .remedy("driver and workers must run the same program; a crate that nothing references is not linked: `use that_crate as _;`")
}

/// The lines of the start-up list: every remote function and actor of the program.
pub fn inventory() -> Vec<String> {
    let program = program();
    let functions =
        program.functions.iter().map(|(id, entry)| format!("fn {} {:016x}", (entry.origin.type_name)(), id.0));
    let actors = program.actors.iter().map(|(id, entry)| format!("actor {} {:016x}", (entry.origin.type_name)(), id.0));
    functions.chain(actors).collect()
}

/// An actor's state behind its fair lock, as async methods get it.
#[derive(Clone)]
pub struct ActorCell(Rc<dyn AnyCell>);

/// The lock without its type, for sync methods of actors that have async ones.
trait AnyCell {
    fn any(&self) -> &dyn Any;
    fn read(&self, run: &mut dyn FnMut(&dyn Any));
    fn write(&self, run: &mut dyn FnMut(&mut dyn Any));
}

struct Cell<A>(tokio::sync::RwLock<A>);

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
    fn lock<A: 'static>(&self) -> &tokio::sync::RwLock<A> {
        match self.0.any().downcast_ref::<Cell<A>>() {
            Some(cell) => &cell.0,
            None => unreachable!("a method is called on the class that it is registered with"),
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
        self.0.read(run);
    }

    /// Runs a sync `&mut self` method; nothing runs while another method holds the lock.
    pub(crate) fn write_now(&self, run: &mut dyn FnMut(&mut dyn Any)) {
        self.0.write(run);
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
