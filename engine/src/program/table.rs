//! The table of what the program can run: made at the first use, of what the linker found and what was registered by hand.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::{ActorEntry, FunctionEntry, FunctionId, Origin, stable_hash};
use crate::api::error::{Error, Result};

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

/// What was registered by hand.
struct Explicit {
    functions: Vec<&'static FunctionEntry>,
    actors: Vec<&'static ActorEntry>,
    /// The table was made of it: what comes now is too late.
    closed: bool,
}

static EXPLICIT: Mutex<Explicit> = Mutex::new(Explicit { functions: Vec::new(), actors: Vec::new(), closed: false });

fn explicit() -> MutexGuard<'static, Explicit> {
    EXPLICIT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers a remote function or actor by hand, before the first `init()`: for crates that the linker would drop.
///
/// What the linker found is registered already, and may be registered again at any time: usually that is all of a crate to
/// which the program refers at all, as it does by this. What it did not find and is registered after the first `init()`
/// comes too late: that is logged as an error, and so is every call's result.
///
/// Worker processes run the program until they begin to work: in `init()`, or before the body of a `main` under
/// [`#[actinic::main]`](crate::main), whose registrations they therefore do not see. What no linker finds is registered in a
/// `main` without the attribute, before `init()`.
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
    let mut explicit = explicit();
    if !explicit.closed {
        return explicit.functions.push(entry);
    }
    drop(explicit);
    report(program().has_function(entry));
}

/// Adds an actor class by hand.
pub fn register_actor(entry: &'static ActorEntry) {
    let mut explicit = explicit();
    if !explicit.closed {
        return explicit.actors.push(entry);
    }
    drop(explicit);
    report(program().has_actor(entry));
}

/// Whoever registers gets no answer.
fn report(registered: Result<()>) {
    if let Err(error) = registered {
        tracing::error!(target: "actinic", "{error}");
    }
}

/// Everything that this program can run, by id.
pub(crate) struct Program {
    pub(crate) functions: BTreeMap<FunctionId, &'static FunctionEntry>,
    actors: BTreeMap<FunctionId, &'static ActorEntry>,
    /// Two entries with one id: nothing may start.
    duplicates: Vec<String>,
}

/// The program's table, made at the first use.
pub(crate) fn program() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut explicit = explicit();
        explicit.closed = true;
        let functions = FUNCTIONS.iter().chain(explicit.functions.iter().copied());
        Program::new(functions, ACTORS.iter().chain(explicit.actors.iter().copied()))
    })
}

/// Before a cluster is begun or joined: the table must be sound. Says what is in it.
pub(crate) fn begin() -> Result<()> {
    program().check()?;
    if tracing::enabled!(target: "actinic", tracing::Level::DEBUG) {
        tracing::debug!(target: "actinic", "this program can run: {}", inventory().join(", "));
    }
    Ok(())
}

fn describe(a: &Origin, b: &Origin) -> String {
    format!("{} ({}:{}) and {} ({}:{})", (a.type_name)(), a.file, a.line, (b.type_name)(), b.file, b.line)
}

fn missing(origin: &Origin) -> Error {
    let what = format!("{} ({}:{})", (origin.type_name)(), origin.file, origin.line);
    Error::invalid_argument(format!(
        "{what} is not in the program's table, which was made at the first `init()`: the linker did not find it, and nobody \
         had registered it"
    ))
    .remedy("call `actinic::register` before the first `init()`")
}

impl Program {
    fn new(
        functions: impl Iterator<Item = &'static FunctionEntry>,
        actors: impl Iterator<Item = &'static ActorEntry>,
    ) -> Program {
        let mut program = Program { functions: BTreeMap::new(), actors: BTreeMap::new(), duplicates: Vec::new() };
        for entry in functions {
            if let Some(other) = program.functions.insert(entry.id(), entry)
                && !std::ptr::eq(other, entry)
            {
                program.duplicates.push(describe(&entry.origin, &other.origin));
            }
        }
        for entry in actors {
            if let Some(other) = program.actors.insert(entry.id(), entry)
                && !std::ptr::eq(other, entry)
            {
                program.duplicates.push(describe(&entry.origin, &other.origin));
            }
        }
        program
    }

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

    /// An error if a function is not in the table: it was never registered, or too late.
    fn has_function(&self, entry: &FunctionEntry) -> Result<()> {
        if self.functions.contains_key(&entry.id()) { Ok(()) } else { Err(missing(&entry.origin)) }
    }

    /// The same of an actor class.
    pub(crate) fn has_actor(&self, entry: &ActorEntry) -> Result<()> {
        if self.actors.contains_key(&entry.id()) { Ok(()) } else { Err(missing(&entry.origin)) }
    }

    pub(crate) fn function(&self, id: FunctionId) -> Result<&'static FunctionEntry> {
        self.functions.get(&id).copied().ok_or_else(|| unknown("function", id))
    }

    /// Whether there is an actor class of this full name.
    pub(crate) fn has_class(&self, path: &str) -> bool {
        self.actors.values().any(|entry| entry.path() == path)
    }

    pub(crate) fn actor(&self, id: FunctionId) -> Result<&'static ActorEntry> {
        self.actors.get(&id).copied().ok_or_else(|| unknown("actor class", id))
    }
}

impl FunctionEntry {
    /// Its place in the program's table.
    pub(crate) fn index(&'static self) -> usize {
        *self.index.get_or_init(|| {
            let program = program();
            program.functions.keys().position(|id| *id == self.id()).unwrap_or(program.functions.len())
        })
    }

    /// An error if it is not in the program's table.
    pub(crate) fn registered(&'static self) -> Result<()> {
        if self.index() < program().functions.len() { Ok(()) } else { Err(missing(&self.origin)) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::options::{ActorOptions, TaskOptions};
    use crate::program::{Call, Constructor, NumReturns};

    fn origin(name: &'static str, line: u32) -> Origin {
        let type_name = || "tests::thing";
        Origin { name, type_name, module: "tests", file: "thing.rs", line, column: 1, signature: "fn thing()" }
    }

    fn function(line: u32) -> &'static FunctionEntry {
        let call = Call::Sync(|_| unreachable!("nobody calls it"));
        Box::leak(Box::new(FunctionEntry::new(origin("thing", line), call, NumReturns::Fixed(1), TaskOptions::new)))
    }

    fn actor(line: u32) -> &'static ActorEntry {
        let constructor = Constructor::Sync(|_| unreachable!("nobody makes it"));
        let entry = ActorEntry::new(origin("Thing", line), constructor, &[], ActorOptions::new, false, false);
        Box::leak(Box::new(entry))
    }

    fn table(functions: &[&'static FunctionEntry], actors: &[&'static ActorEntry]) -> Program {
        Program::new(functions.iter().copied(), actors.iter().copied())
    }

    #[test]
    fn what_is_linked_and_registered_by_hand_is_there_once() {
        let (one, other, class) = (function(1), function(2), actor(1));
        let table = table(&[one, other, one], &[class, class]);
        table.check().unwrap();
        assert_eq!((table.functions.len(), table.actors.len()), (2, 1));
    }

    #[test]
    fn two_of_one_id_are_an_error_that_names_both() {
        for table in [table(&[function(1), function(1)], &[]), table(&[], &[actor(1), actor(1)])] {
            let error = table.check().unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
            let said = error.to_string();
            assert!(said.contains("tests::thing (thing.rs:1) and tests::thing (thing.rs:1)"), "{said}");
            assert!(said.contains("rename one"), "{said}");
        }
    }

    #[test]
    fn what_is_registered_too_late_is_named() {
        let (one, class) = (function(1), actor(1));
        let table = table(&[one], &[class]);
        table.has_function(one).unwrap();
        table.has_actor(class).unwrap();
        for error in [table.has_function(function(2)).unwrap_err(), table.has_actor(actor(2)).unwrap_err()] {
            let said = error.to_string();
            assert!(said.contains("tests::thing (thing.rs:2)") && said.contains("before the first `init()`"), "{said}");
        }
        // Of the program itself too, whose table other tests have made, or this.
        program();
        register_function(function(3));
        assert!(function(3).registered().is_err());
    }
}
