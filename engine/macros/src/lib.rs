//! The attribute macros of `actinic`; use them as `#[actinic::remote]`, `#[actinic::main]`, `#[actinic::test]`.
//!
//! All they expand to goes through `actinic::__private`, into an unnamed constant beside the user's item, so that
//! nothing but what is documented enters the user's namespace. Generated tokens have the macro's own spans, located
//! at the user's tokens: errors point to what the user wrote, and no lint of the user's crate sees them.

mod actix;
mod actor;
mod attr;
mod entry;
mod errors;
mod function;
mod signature;

use proc_macro::TokenStream;
use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{Error, Item};

/// Makes a function a remote function, or a type an actor.
///
/// On a function, which stays an ordinary one: `f::remote(..)` submits a task and returns a ref at once, and
/// `f::options()` does so with other options than the attribute's.
///
/// ```ignore
/// #[actinic::remote(num_cpus = 2, max_retries = 5)]
/// fn square(x: i64) -> i64 { x * x }
///
/// let r: ObjectRef<i64> = square::remote(4);
/// let s = square::options().num_cpus(1).remote(&r);
/// ```
///
/// Options of functions: `num_cpus`, `num_gpus`, `memory` (bytes), `resources = { "A": 1 }`, `max_retries`,
/// `retry_errors`, `retry_if = path` (a `fn(&E) -> bool`, run on the worker), `num_returns = 3` (a tuple, one ref
/// each) or `num_returns = _` (a `Vec`; every call says how many), `name`, `isolation` (see `Isolation`),
/// `scheduling = "default" | "spread"`, `on_infeasible = "wait" | "fail"`, `task_events`, `crate = path::to::actinic`.
///
/// On an `impl` block with a constructor `new`: `A::remote(..)` makes an actor with the arguments of `new` and returns
/// its handle, which has the methods of the block.
///
/// ```ignore
/// #[actinic::remote(num_cpus = 1, max_restarts = 3)]
/// impl Counter {
///     pub fn new(start: i64) -> Self { Counter { value: start } }
///     pub fn increment(&mut self, by: i64) -> i64 { self.value += by; self.value }
/// }
///
/// let counter: Handle<Counter> = Counter::remote(0);
/// let r: ObjectRef<i64> = counter.increment(1);
/// ```
///
/// `&mut self` methods, async ones too, have the actor to themselves from start to end; async `&self` methods overlap. Sync
/// `&self` methods overlap where this attribute has a `max_concurrency` above 1, on threads for which the type is `Sync`, with
/// each other and with async ones. Where it has none, they run one at a time; beside async ones that wait, on the same
/// thread, which is the actor's own: a sync method may block it, with `.blocking()` too, and the async methods of this
/// actor stand still meanwhile, as they do for `&mut self` methods anyway.
///
/// Options of actors: `num_cpus`, `num_gpus`, `memory`, `resources`, `name`, `namespace`,
/// `lifetime = "detached" | "non_detached"`, `get_if_exists`, `isolation`, `max_concurrency`,
/// `concurrency_groups = { "io": 2 }`, `max_restarts`, `max_task_retries`, `max_pending_calls`, `scheduling`,
/// `on_infeasible`, `task_events`, `crate`.
///
/// On `impl actix::Handler<M>` of an actor that is an `actix::Actor`: `Handle::send(&actor, m)` sends it the message,
/// whose type is serde. The constructor is in an `impl` block as above; the attribute on the `impl actix::Actor` is
/// optional, and checks that. Options of handlers: `max_task_retries`, `retry_errors`, `retry_if = path`, `name`,
/// `task_events`, `crate`.
///
/// A method without `pub` can be called through a handle where the method itself can be called; one that takes or
/// returns what cannot be sent stays a plain helper.
#[proc_macro_attribute]
pub fn remote(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand(item, |item| remote_item(attr.into(), item))
}

/// Options of one method inside a `#[actinic::remote] impl`.
///
/// `num_returns = 2` or `num_returns = _`, `max_task_retries`, `retry_errors`, `retry_if = path`,
/// `concurrency_group = "io"`, `name`, `task_events`.
#[proc_macro_attribute]
pub fn method(_attr: TokenStream, item: TokenStream) -> TokenStream {
    expand(item, |_| {
        Err(Error::new(Span::call_site(), "`method` is for methods inside an `impl` with `#[actinic::remote]`"))
    })
}

/// Makes `fn main`, sync or async, the entry of a program whose workers may be processes.
///
/// A process that was started as a worker never runs the body. Async code runs on tokio with time and I/O.
///
/// ```ignore
/// #[actinic::main]
/// async fn main() -> actinic::Result<()> {
///     let cluster = actinic::init().await?;
///     cluster.shutdown().await
/// }
/// ```
#[proc_macro_attribute]
pub fn main(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand(item, |item| entry::main(attr.into(), item))
}

/// A test, sync or async, with a cluster of its own.
///
/// ```ignore
/// #[actinic::test(num_cpus = 0, resources = { "a": 1 }, timeout = 60)]
/// async fn name(cluster: TestCluster) -> actinic::Result<()> { Ok(()) }
/// ```
///
/// The parameter is optional. Options: the setters of `init()` (`num_cpus`, `num_gpus`, `memory`,
/// `resources = { "a": 1 }`, `labels = { "zone": "a" }`, `object_store_memory`, `namespace`, `log_level`, `dashboard`,
/// `workers = "processes" | "threads"`), `timeout` in seconds, `sim` (virtual time and faults), `seed`, `crate`.
#[proc_macro_attribute]
pub fn test(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand(item, |item| entry::test(attr.into(), item))
}

/// Expands, or reports what is wrong beside the item as it was, so that the rest of the program still resolves.
fn expand(
    item: TokenStream,
    expand: impl FnOnce(proc_macro2::TokenStream) -> syn::Result<proc_macro2::TokenStream>,
) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    match expand(item.clone()) {
        Ok(expanded) => expanded.into(),
        Err(error) => {
            let mut expanded = error.into_compile_error();
            expanded.extend(without_method_attributes(item));
            expanded.into()
        }
    }
}

/// An impl without the `#[actinic::method]`s that this macro consumes: they would each complain again.
fn without_method_attributes(item: proc_macro2::TokenStream) -> proc_macro2::TokenStream {
    match syn::parse2::<syn::ItemImpl>(item.clone()) {
        Ok(mut block) => {
            actor::take_method_attributes(&mut block);
            quote::quote!(#block)
        }
        Err(_) => item,
    }
}

fn remote_item(
    attr: proc_macro2::TokenStream,
    item: proc_macro2::TokenStream,
) -> syn::Result<proc_macro2::TokenStream> {
    match syn::parse2::<Item>(item)? {
        Item::Fn(item) => function::expand(attr, item),
        Item::Impl(item) => actor::expand(attr, item),
        other => Err(Error::new(
            other.span(),
            "`#[actinic::remote]` goes on a function, or on the `impl` block with an actor's `new` and methods",
        )),
    }
}

/// A span of the macro's own, at the place of one of the user's.
pub(crate) fn at(span: Span) -> Span {
    Span::call_site().located_at(span)
}
