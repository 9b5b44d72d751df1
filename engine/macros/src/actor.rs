//! `#[remote]` on an `impl` block.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, Meta, Result, Signature, Type, Visibility};

use crate::actix;
use crate::at;
use crate::attr::{Errors, Kind, Options};
use crate::function::origin;
use crate::signature::{self, Output, Param, Strict, ends_in};

/// What an actor's expansion is made of.
struct Actor {
    ty: Type,
    name: String,
    options: Options,
    constructor: Constructor,
    methods: Vec<Method>,
    /// The tokens of all remote signatures.
    signature: TokenStream,
}

struct Constructor {
    vis: Visibility,
    ident: Ident,
    is_async: bool,
    params: Vec<Param>,
    output: Output,
}

struct Method {
    vis: Visibility,
    ident: Ident,
    attributes: Vec<Attribute>,
    signature: Signature,
    is_async: bool,
    is_mut: bool,
    strict: Strict,
    options: Options,
    params: Vec<Param>,
    output: Output,
}

pub(crate) fn expand(attr: TokenStream, mut block: ItemImpl) -> Result<TokenStream> {
    match block.trait_.as_ref().and_then(|(_, path, _)| path.segments.last()).map(|last| last.ident.to_string()) {
        Some(last) if last == "Actor" => return actix::actor(attr, &block),
        Some(last) if last == "Handler" => return actix::handler(attr, &block),
        _ => check_block(&block)?,
    }
    let method_attributes = take_method_attributes(&mut block);
    let mut errors = Errors::default();
    let ty = (*block.self_ty).clone();
    let name = match signature::plain(&ty) {
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.unraw().to_string()),
        _ => None,
    };
    let name = name.ok_or_else(|| Error::new_spanned(&ty, "an actor is a struct or an enum"))?;
    let options = errors.keep(Options::parse(Kind::Actor, attr));
    let rt = options.as_ref().map_or_else(|| quote!(::actinic::__private), |options| options.rt.clone());

    let mut constructor = None;
    let mut methods = Vec::new();
    for (item, attribute) in block.items.iter().zip(method_attributes) {
        let ImplItem::Fn(item) = item else { continue };
        let has_self = item.sig.receiver().is_some();
        if item.sig.ident == "remote" || item.sig.ident == "options" {
            let message = format!("`{0}` is what the macro adds to `{name}`: call this otherwise", item.sig.ident);
            errors.add(Error::new(item.sig.ident.span(), message));
        } else if has_self {
            if let Some(Some(method)) = errors.keep(Method::new(&rt, item, attribute, &ty, options.as_ref())) {
                methods.push(method);
            }
        } else if let Some(attribute) = attribute {
            errors.add(Error::new_spanned(&attribute, "`method` is for functions that take `&self` or `&mut self`"));
        } else if item.sig.ident == "new" {
            constructor = Some(errors.keep(Constructor::new(&rt, item, &ty, &name)));
        }
    }
    if constructor.is_none() {
        errors.add(Error::new_spanned(
 &ty,
            format!("an actor needs a constructor in this `impl` block: `pub fn new(..) -> Self`, or `-> Result<Self, E>`, or async; `{name}::remote(..)` takes its arguments"),
        ));
    }
    let parts = errors.finish((options, constructor.flatten()))?;
    let (Some(options), Some(constructor)) = parts else { unreachable!("without errors there is everything") };
    let signature = methods.iter().map(|method| method.signature.to_token_stream()).collect();
    let expanded = Actor { ty, name, options, constructor, methods, signature }.tokens();
    let (cfg, allow) = signature::inherited(&block.attrs);
    Ok(quote! {
        #block

        #(#cfg)*
        #(#allow)*
        #[allow(unreachable_pub, clippy::impl_trait_in_params, clippy::too_many_arguments)]
        const _: () = {
            #expanded
        };
    })
}

fn check_block(block: &ItemImpl) -> Result<()> {
    if let Some((_, path, _)) = &block.trait_ {
        let last = path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
        let message = format!(
            "`#[actinic::remote]` goes on an inherent `impl`, not on one of the trait `{last}`: call the trait's methods from inherent ones"
        );
        return Err(Error::new_spanned(path, message));
    }
    if !block.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &block.generics,
            "an actor cannot be generic, because workers find it by its name: write the `impl` for each type, such as \
             `impl Counter<i64>`",
        ));
    }
    if let Some(token) = &block.unsafety {
        return Err(Error::new(token.span(), "an actor's `impl` cannot be `unsafe`"));
    }
    Ok(())
}

/// Takes the `#[actinic::method(..)]` of each item out of the block.
pub(crate) fn take_method_attributes(block: &mut ItemImpl) -> Vec<Option<Attribute>> {
    let take = |item: &mut ImplItem| {
        let ImplItem::Fn(item) = item else { return None };
        let at = item.attrs.iter().position(|attribute| {
            attribute.path().segments.last().is_some_and(|last| last.ident == "method")
                && attribute.path().segments.len() <= 2
        })?;
        Some(item.attrs.remove(at))
    };
    block.items.iter_mut().map(take).collect()
}

impl Constructor {
    fn new(rt: &TokenStream, item: &ImplItemFn, ty: &Type, name: &str) -> Result<Constructor> {
        let mut errors = Errors::default();
        errors.keep(signature::check(&item.sig, "constructor"));
        let signature = signature::without_self(&item.sig, ty);
        let params = errors.keep(signature::params(&signature, "constructor"));
        let none = crate::attr::NumReturns::One;
        let output = errors.keep(Output::new(rt, &signature, &none, &crate::attr::Retry::No, "constructor"));
        if let (syn::ReturnType::Default, span) = (&item.sig.output, item.sig.ident.span()) {
            errors.add(Error::new(span, format!("a constructor returns `Self` (`{name}`) or `Result<Self, E>`")));
        }
        let parts = errors.finish((params, output))?;
        let (Some(params), Some(output)) = parts else { unreachable!("without errors there is everything") };
        Ok(Constructor {
            vis: item.vis.clone(),
            ident: item.sig.ident.clone(),
            is_async: item.sig.asyncness.is_some(),
            params,
            output,
        })
    }
}

impl Method {
    /// The method, or nothing if it is a helper that cannot be remote.
    fn new(
        rt: &TokenStream,
        item: &ImplItemFn,
        attribute: Option<Attribute>,
        ty: &Type,
        actor: Option<&Options>,
    ) -> Result<Option<Method>> {
        let strict = match (&item.vis, &attribute) {
            (Visibility::Inherited, None) => Strict::No,
            _ => Strict::Yes,
        };
        match Method::remote(rt, item, attribute, ty, actor, strict) {
            Ok(method) => Ok(Some(method)),
            Err(_) if strict == Strict::No => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remote(
        rt: &TokenStream,
        item: &ImplItemFn,
        attribute: Option<Attribute>,
        ty: &Type,
        actor: Option<&Options>,
        strict: Strict,
    ) -> Result<Method> {
        let mut errors = Errors::default();
        let is_mut = errors.keep(receiver(&item.sig));
        errors.keep(signature::check(&item.sig, "method"));
        let signature = signature::without_self(&item.sig, ty);
        let params = errors.keep(signature::params(&signature, "method"));
        let tokens = match attribute.as_ref().map(|attribute| &attribute.meta) {
            None | Some(Meta::Path(_)) => TokenStream::new(),
            Some(Meta::List(list)) => list.tokens.clone(),
            Some(Meta::NameValue(meta)) => {
                errors.add(Error::new(meta.span(), "write `#[actinic::method(num_returns = 2)]`"));
                TokenStream::new()
            }
        };
        let options = errors.keep(Options::parse(Kind::Method, tokens));
        let mut output = None;
        if let Some(options) = &options {
            output = errors.keep(Output::new(rt, &signature, &options.num_returns, &options.retry, "method"));
            if let (Some(group), Some(groups)) = (&options.group, actor.and_then(|actor| actor.groups.as_ref()))
                && !groups.contains(&group.value())
            {
                let known = if groups.is_empty() {
                    "it has none: `#[actinic::remote(concurrency_groups = { \"io\": 2 })]`".to_owned()
                } else {
                    format!("it has {}", groups.iter().map(|group| format!("{group:?}")).collect::<Vec<_>>().join(", "))
                };
                errors.add(Error::new(
                    group.span(),
                    format!("the actor has no concurrency group {:?}; {known}", group.value()),
                ));
            }
        }
        let parts = errors.finish((is_mut, params, options, output))?;
        let (Some(is_mut), Some(params), Some(options), Some(output)) = parts else {
            unreachable!("without errors there is everything")
        };
        Ok(Method {
            vis: item.vis.clone(),
            ident: item.sig.ident.clone(),
            attributes: item.attrs.clone(),
            signature,
            is_async: item.sig.asyncness.is_some(),
            is_mut,
            strict,
            options,
            params,
            output,
        })
    }

    /// The name of the function that calls it on the worker.
    fn call_name(&self) -> Ident {
        format_ident!("__call_{}", self.ident.unraw(), span = at(self.ident.span()))
    }

    fn defaults_name(&self) -> Ident {
        format_ident!("__defaults_{}", self.ident.unraw(), span = at(self.ident.span()))
    }

    fn cfg(&self) -> Vec<&Attribute> {
        signature::inherited(&self.attributes).0
    }
}

/// Whether the receiver is `&mut self`, if it is one of the two that there are.
fn receiver(signature: &Signature) -> Result<bool> {
    let Some(FnArg::Receiver(receiver)) = signature.inputs.first() else {
        return Err(Error::new(signature.span(), "a remote method takes `&self` or `&mut self`"));
    };
    if let Some((_, lifetime)) = &receiver.reference {
        if let Some(lifetime) = lifetime {
            return Err(Error::new(
                lifetime.span(),
                "a remote method cannot name lifetimes: take `&self` or `&mut self`",
            ));
        }
        return Ok(receiver.mutability.is_some());
    }
    if let (Some(_), Type::Reference(reference)) = (&receiver.colon_token, &*receiver.ty)
        && ends_in(&reference.elem, "Self")
    {
        return Ok(reference.mutability.is_some());
    }
    Err(Error::new_spanned(
        receiver,
        "a remote method takes `&self` or `&mut self`: the actor keeps its state; put others into another `impl` block",
    ))
}

/// Brings in how actors are hosted that are no `actix::Actor`s; for others it is not used.
fn host_import(rt: &TokenStream) -> TokenStream {
    quote!(#[allow(unused_imports)] use #rt::PlainHost as _;)
}

impl Actor {
    fn tokens(&self) -> TokenStream {
        let calls: TokenStream = self.methods.iter().map(|method| self.method_call(method)).collect();
        let constructor = self.constructor();
        let entry = self.entry();
        let methods = self.handle_methods();
        let remote = self.remote();
        quote! {
            #entry
            #constructor
            #calls
            #methods
            #remote
        }
    }

    fn has_async(&self) -> bool {
        self.methods.iter().any(|method| method.is_async)
    }

    /// Whether sync `&self` methods overlap on several threads, which needs a state that is `Sync`.
    fn overlaps(&self) -> bool {
        let asked = matches!(self.options.max_concurrency, Some(number) if number != Some(1));
        asked && !self.has_async() && self.methods.iter().any(|method| !method.is_mut)
    }

    /// What the program's table knows of the actor.
    fn entry(&self) -> TokenStream {
        let (rt, ty) = (&self.options.rt, &self.ty);
        let origin = origin(rt, &self.name, &ty.to_token_stream(), &self.signature);
        let constructor = if self.constructor.is_async {
            quote!(Async(|__args| ::std::boxed::Box::pin(__construct(__args))))
        } else {
            quote!(Sync(__construct))
        };
        let has_async = self.has_async();
        let setters = &self.options.setters;
        let import = host_import(rt);
        let is_actix = quote_spanned!(at(ty.span())=> { #import __Host::ACTIX });
        // The state of an `actix::Actor` is its context's, which no future of a method can hold.
        let no_async = self.methods.iter().find(|method| method.is_async).map(|method| {
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
                #rt::Constructor::#constructor,
                __METHODS,
                __defaults,
                #has_async,
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
    fn constructor(&self) -> TokenStream {
        let (rt, ty, constructor) = (&self.options.rt, &self.ty, &self.constructor);
        let ident = &constructor.ident;
        let is_async = constructor.is_async;
        let reads: Vec<_> = constructor.params.iter().map(|param| param.read(rt, !is_async, Strict::Yes)).collect();
        let passes = constructor.params.iter().map(Param::pass);
        let wait = is_async.then(|| quote!(.await));
        // A state that cannot be sent, or shared, is reported at the type's name.
        let span = at(ty.span());
        let call = quote!(<#ty>::#ident(#(#passes),*)#wait);
        let wrap = Ident::new(if self.overlaps() { "shared_state" } else { "new_state" }, span);
        let state = quote_spanned!(span=> __Host::#wrap());
        let made = if constructor.output.fallible() {
            let error = signature::into_error(rt);
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
                fn __construct(__args: &mut #rt::TaskArgs<'_>) -> #made_type {
                    #import
                    #(#reads)*
                    #made
                }
            };
        }
        let reads = signature::owned_reads(&reads);
        quote! {
            async fn __construct(__args: #rt::OwnedTaskArgs) -> #made_type {
                #import
                #reads
                #made
            }
        }
    }

    /// The typed call of a method on the worker.
    fn method_call(&self, method: &Method) -> TokenStream {
        let (rt, ty) = (&self.options.rt, &self.ty);
        let (cfg, allow) = signature::inherited(&method.attributes);
        let (name, defaults, ident) = (method.call_name(), method.defaults_name(), &method.ident);
        let reads: Vec<_> = method.params.iter().map(|param| param.read(rt, !method.is_async, method.strict)).collect();
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
            let reads = signature::owned_reads(&reads);
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

    fn methods_type(&self) -> Ident {
        format_ident!("__{}Methods", self.name, span = at(self.ty.span()))
    }

    /// The type that a handle derefs to.
    fn handle_methods(&self) -> TokenStream {
        let (rt, name) = (&self.options.rt, self.methods_type());
        let doc = format!("The methods of a handle to a `{}`.", self.name);
        let debug = format!("Methods of {}", self.name);
        let methods = self.methods.iter().enumerate().map(|(index, method)| self.handle_method(index, method));
        quote! {
            #[doc = #doc]
            #[derive(Clone)]
            pub struct #name {
                __handle: #rt::RawHandle,
            }

            impl ::core::convert::From<#rt::RawHandle> for #name {
                fn from(handle: #rt::RawHandle) -> Self {
                    #name { __handle: handle }
                }
            }

            impl ::core::fmt::Debug for #name {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    f.write_str(#debug)
                }
            }

            impl #name {
                #(#methods)*
            }
        }
    }

    fn handle_method(&self, index: usize, method: &Method) -> TokenStream {
        let rt = &self.options.rt;
        let (vis, ident) = (&method.vis, &method.ident);
        let declare = method.params.iter().map(|param| param.declare(rt));
        let args = signature::encode(rt, &method.params);
        let index = self.index(index);
        let submitted = quote! {{
            const __INDEX: u32 = #index;
            self.__handle.call(&__METHODS[__INDEX as usize], __INDEX, #args)
        }};
        let (generics, refs, expr) = match method.strict {
            Strict::Yes => {
                let (refs, expr) = method.output.refs(rt, submitted);
                (quote!(), refs, expr)
            }
            Strict::No => method.output.lenient_refs(rt, submitted),
        };
        let shown = ["doc", "cfg", "deprecated", "allow"];
        let attributes: Vec<_> = method
            .attributes
            .iter()
            .filter(|attribute| shown.iter().any(|name| attribute.path().is_ident(name)))
            .collect();
        let doc = (!attributes.iter().any(|attribute| attribute.path().is_ident("doc"))).then(|| {
            let doc = format!("Calls `{}` on the actor.", ident.unraw());
            quote!(#[doc = #doc])
        });
        quote! {
            #(#attributes)*
            #doc
            #vis fn #ident #generics (&self, #(#declare),*) -> #refs {
                #expr
            }
        }
    }

    /// The place of a method in the table: a number, unless the build may leave out one before it.
    fn index(&self, index: usize) -> TokenStream {
        let before = &self.methods[..index];
        if before.iter().all(|method| method.cfg().is_empty()) {
            let index = proc_macro2::Literal::u32_unsuffixed(index as u32);
            return quote!(#index);
        }
        let each = before.iter().map(Method::cfg);
        quote! {{
            let mut __index = 0u32;
            #({ #(#each)* { __index += 1; } })*
            __index
        }}
    }

    /// `remote` and `options`.
    fn remote(&self) -> TokenStream {
        let (rt, ty, vis) = (&self.options.rt, &self.ty, &self.constructor.vis);
        let builder = format_ident!("__{}Options", self.name, span = at(ty.span()));
        let declare: Vec<_> = self.constructor.params.iter().map(|param| param.declare(rt)).collect();
        let args = signature::encode(rt, &self.constructor.params);
        quote! {
            impl #ty {
                /// Makes an actor with the arguments of `new` and returns its handle at once.
                #vis fn remote(#(#declare),*) -> #rt::Handle<#ty> {
                    #rt::create_actor::<#ty>(::core::option::Option::None, #args)
                }

                /// Makes actors with other options.
                #vis fn options() -> #builder {
                    #builder { __options: __defaults() }
                }
            }

            /// The options of an actor.
            #[derive(Clone, Debug)]
            #[must_use]
            pub struct #builder {
                __options: #rt::ActorOptions,
            }

            impl #builder {
                #rt::actor_setters!(self, self.__options);

                /// Makes an actor with these options and returns its handle at once.
                pub fn remote(&self, #(#declare),*) -> #rt::Handle<#ty> {
                    let __options = ::core::clone::Clone::clone(&self.__options);
                    #rt::create_actor::<#ty>(::core::option::Option::Some(__options), #args)
                }
            }
        }
    }
}
