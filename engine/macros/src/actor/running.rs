//! The running side of an actor: its place in the program's table, and typed calls of its constructor and methods.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::actor::Actor;
use crate::actor::parts::{Constructor, Method};
use crate::at;
use crate::function::origin;
use crate::signature::{self, Param, Strict};

/// Brings in how actors are hosted that are no `actix::Actor`s; for others it is not used.
fn host_import(rt: &TokenStream) -> TokenStream {
    quote!(#[allow(unused_imports)] use #rt::PlainHost as _;)
}

impl Actor {
    fn has_async(&self) -> bool {
        self.methods.iter().any(|method| method.is_async)
    }

    /// What wraps the state: if sync `&self` methods overlap on several threads, something that needs a state that is
    /// `Sync`. Private ones, which may be helpers, overlap if it is, and ask for nothing.
    fn wrapper(&self) -> TokenStream {
        let (rt, ty) = (&self.options.rt, &self.ty);
        // A state that cannot be sent, or shared, is reported at the type's name.
        let span = at(ty.span());
        let asked = matches!(self.options.max_concurrency, Some(number) if number != Some(1));
        let overlaps = |method: &&Method| asked && !method.is_async && !method.is_mut;
        let strict = self.methods.iter().filter(overlaps).any(|method| method.strict == Strict::Yes);
        let has_async = self.has_async();
        match (strict, self.methods.iter().any(|method| overlaps(&method)), has_async) {
            (true, _, false) => quote_spanned!(span=> __Host::shared_state()),
            (true, _, true) => quote_spanned!(span=> __Host::beside_state()),
            (false, false, _) => quote_spanned!(span=> __Host::new_state()),
            (false, true, _) => {
                let alone = quote_spanned!(span=> __Host::new_state());
                quote! {{
                    use #rt::private_method::{AloneState as _, SyncState as _};
                    if __Host::ACTIX {
                        #alone
                    } else {
                        (&&#rt::private_method::StateOf::<#ty>::new()).wrap(#has_async, #alone)
                    }
                }}
            }
        }
    }

    /// What the program's table knows of the actor.
    pub(super) fn entry(&self) -> TokenStream {
        let (rt, ty) = (&self.options.rt, &self.ty);
        let origin = origin(rt, &self.name, &ty.to_token_stream(), &self.signature);
        let has_async = self.has_async();
        let setters = &self.options.setters;
        let import = host_import(rt);
        let is_actix = quote_spanned!(at(ty.span())=> { #import __Host::ACTIX });
        // The state of an `actix::Actor` is its context's, which no future of a method can hold. A private one may be a
        // helper, which nobody calls remotely.
        let no_async = self.methods.iter().find(|method| method.is_async && method.strict == Strict::Yes).map(|method| {
            let message = format!(
                "`{}` is an `actix::Actor`, which has no remote async methods: write an `actix::Handler` that answers with a future",
                self.name
            );
            quote_spanned!(at(method.ident.span())=> const _: () = ::core::assert!(!#is_actix, #message);)
        });
        let entries = self.methods.iter().map(|method| self.method_entry(method));
        let methods_type = self.methods_type();
        quote! {
            type __Host = #rt::HostOf<#ty>;

            #[#rt::linkme::distributed_slice(#rt::ACTORS)]
            #[linkme(crate = #rt::linkme)]
            static __ENTRY: #rt::ActorEntry = #rt::ActorEntry::new(
                #origin,
                __CONSTRUCTOR,
                __METHODS,
                __defaults,
                #has_async && !#is_actix,
                #is_actix,
            );

            #no_async

            static __METHODS: &[#rt::MethodEntry] = &[#(#entries),*];

            fn __defaults() -> #rt::ActorOptions {
                #rt::ActorOptions::new()#setters
            }

            impl #rt::Registered for #ty {
                fn register() {
                    #rt::register_actor(&__ENTRY);
                }
            }

            impl #rt::Actor for #ty {
                type Methods = #methods_type;

                fn entry() -> &'static #rt::ActorEntry {
                    &__ENTRY
                }
            }
        }
    }

    fn method_entry(&self, method: &Method) -> TokenStream {
        let rt = &self.options.rt;
        let cfg = method.cfg();
        let name = method.ident.unraw().to_string();
        let signature = method.signature.to_token_stream().to_string();
        let kind = match (method.is_async, method.is_mut) {
            (false, true) => quote!(SyncMut),
            (false, false) => quote!(SyncRef),
            (true, true) => quote!(AsyncMut),
            (true, false) => quote!(AsyncRef),
        };
        let returns = method.output.num_returns(rt);
        let (call, defaults) = (method.call_name(), method.defaults_name());
        quote! {
            #(#cfg)*
            #rt::MethodEntry::new(#name, #signature, #rt::MethodCall::#kind(#call), #returns, #defaults)
        }
    }

    /// The typed constructor on the worker.
    pub(super) fn constructor(&self, constructor: &Constructor) -> TokenStream {
        let (rt, ty) = (&self.options.rt, &self.ty);
        let (cfg, ident) = (constructor.cfg(), &constructor.ident);
        let is_async = constructor.is_async;
        let reads: Vec<_> = constructor.params.iter().map(|param| param.read(rt, Strict::Yes)).collect();
        let passes = constructor.params.iter().map(Param::pass);
        let wait = is_async.then(|| quote!(.await));
        let call = quote!(<#ty>::#ident(#(#passes),*)#wait);
        let state = self.wrapper();
        let made = if constructor.output.fallible() {
            let error = signature::into_error(rt, constructor.output.result());
            quote! {
                match #rt::IsResult::into_result(#call) {
                    ::core::result::Result::Ok(__value) => ::core::result::Result::Ok(#state(__value)),
                    ::core::result::Result::Err(__error) => ::core::result::Result::Err(#error),
                }
            }
        } else {
            quote!(::core::result::Result::Ok(#state(#call)))
        };
        let import = host_import(rt);
        let made_type = quote!(::core::result::Result<#rt::ActorState, #rt::Error>);
        if !is_async {
            return quote! {
                #(#cfg)*
                const __CONSTRUCTOR: #rt::Constructor = #rt::Constructor::Sync(__construct);

                #(#cfg)*
                fn __construct(__args: &mut #rt::TaskArgs<'_>) -> #made_type {
                    #import
                    #(#reads)*
                    #made
                }
            };
        }
        let reads = signature::owned_reads(&constructor.params, &reads);
        quote! {
            #(#cfg)*
            const __CONSTRUCTOR: #rt::Constructor =
                #rt::Constructor::Async(|__args| ::std::boxed::Box::pin(__construct(__args)));

            #(#cfg)*
            async fn __construct(__args: #rt::OwnedTaskArgs) -> #made_type {
                #import
                #reads
                #made
            }
        }
    }

    /// The typed call of a method on the worker.
    pub(super) fn method_call(&self, method: &Method) -> TokenStream {
        let (rt, ty) = (&self.options.rt, &self.ty);
        let (cfg, allow) = signature::inherited(&method.attributes);
        let (name, defaults, ident) = (method.call_name(), method.defaults_name(), &method.ident);
        let reads: Vec<_> = method.params.iter().map(|param| param.read(rt, method.strict)).collect();
        let passes = method.params.iter().map(Param::pass);
        let wait = method.is_async.then(|| quote!(.await));
        let this = match (method.is_async, method.is_mut) {
            (false, _) => quote!(__this),
            (true, true) => quote!(&mut *__this),
            (true, false) => quote!(&*__this),
        };
        let call = quote!(<#ty>::#ident(#this, #(#passes),*)#wait);
        let outcome = method.output.outcome(rt, &call, method.strict);
        let assertion = method.output.assertion(rt).map(|assertion| quote!(#(#cfg)* #assertion));
        let setters = &method.options.setters;
        let body = if method.is_async {
            let reads = signature::owned_reads(&method.params, &reads);
            let this = if method.is_mut {
                quote!(let mut __this = __cell.write::<#ty>().await;)
            } else {
                quote!(let __this = __cell.read::<#ty>().await;)
            };
            quote! {
                fn #name(__cell: #rt::ActorCell, __args: #rt::OwnedTaskArgs) -> #rt::LocalBoxFuture<#rt::Outcome> {
                    ::std::boxed::Box::pin(async move {
                        #reads
                        #this
                        #outcome
                    })
                }
            }
        } else {
            let (any, this) = if method.is_mut {
                (quote!(&mut dyn ::core::any::Any), quote!(#rt::state_mut::<#ty>(__any)))
            } else {
                (quote!(&dyn ::core::any::Any), quote!(#rt::state::<#ty>(__any)))
            };
            quote! {
                fn #name(__any: #any, __args: &mut #rt::TaskArgs<'_>) -> #rt::Outcome {
                    #(#reads)*
                    let __this = #this;
                    #outcome
                }
            }
        };
        quote! {
            #(#cfg)*
            #(#allow)*
            #body

            #(#cfg)*
            fn #defaults() -> #rt::MethodOptions {
                #rt::MethodOptions::new()#setters
            }

            #assertion
        }
    }
}
