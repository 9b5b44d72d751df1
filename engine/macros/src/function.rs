//! `#[remote]` on a function.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, ItemFn, Result};

use crate::at;
use crate::attr::{Kind, Options};
use crate::errors::Errors;
use crate::signature::{self, Output, Param, Strict};

const PRIMITIVES: &[&str] = &[
    "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "str", "u8", "u16", "u32", "u64", "u128",
    "usize",
];

/// What a function's expansion is made of.
struct Function<'a> {
    item: &'a ItemFn,
    name: Ident,
    options: Options,
    params: Vec<Param>,
    output: Output,
}

pub(crate) fn expand(attr: TokenStream, item: ItemFn) -> Result<TokenStream> {
    if let Some(FnArg::Receiver(receiver)) = item.sig.inputs.first() {
        return Err(Error::new(
            receiver.span(),
            "a remote function takes no `self`: to make methods remote, put `#[actinic::remote]` on their `impl` block",
        ));
    }
    let mut errors = Errors::default();
    errors.keep(signature::check(&item.sig, "function"));
    let called = item.sig.ident.to_string();
    if PRIMITIVES.contains(&called.as_str()) {
        let message =
            format!("a remote function cannot be called `{called}`: the type beside it would hide the primitive one");
        errors.add(Error::new(item.sig.ident.span(), message));
    }
    let params = errors.keep(signature::params(&item.sig, "function"));
    let options = errors.keep(Options::parse(Kind::Function, attr));
    let output = match &options {
        Some(options) => {
            errors.keep(Output::new(&options.rt, &item.sig, &options.num_returns, &options.retry, "function"))
        }
        None => None,
    };
    let parts = errors.finish((params, options, output))?;
    let (Some(params), Some(options), Some(output)) = parts else { unreachable!("without errors there is everything") };
    // The name with the macro's own span: the lints on names and unused types do not see it.
    let name = Ident::new(&item.sig.ident.unraw().to_string(), at(item.sig.ident.span()));
    let name = if item.sig.ident.to_string().starts_with("r#") {
        Ident::new_raw(&name.to_string(), name.span())
    } else {
        name
    };
    Ok(Function { item: &item, name, options, params, output }.tokens())
}

impl Function<'_> {
    fn tokens(&self) -> TokenStream {
        let (item, name, vis) = (self.item, &self.name, &self.item.vis);
        let (cfg, allow) = signature::inherited(&item.attrs);
        let entry = self.entry();
        let call = self.call();
        let remote = self.remote();
        let assertion = self.output.assertion(&self.options.rt);
        quote! {
            #item

            #(#cfg)*
            #[doc(hidden)]
            #vis struct #name {}

            #(#cfg)*
            #(#allow)*
            #[allow(unreachable_pub, clippy::impl_trait_in_params, clippy::too_many_arguments)]
            const _: () = {
                #entry
                #call
                #remote
                #assertion
            };
        }
    }

    /// What the program's table knows of the function.
    fn entry(&self) -> TokenStream {
        let (rt, name) = (&self.options.rt, &self.name);
        let origin = origin(rt, &name.unraw().to_string(), &name.to_token_stream(), &self.item.sig.to_token_stream());
        let returns = self.output.num_returns(rt);
        let setters = &self.options.setters;
        let kind = if self.item.sig.asyncness.is_some() { quote!(Async) } else { quote!(Sync) };
        quote! {
            #[#rt::linkme::distributed_slice(#rt::FUNCTIONS)]
            #[linkme(crate = #rt::linkme)]
            static __ENTRY: #rt::FunctionEntry =
                #rt::FunctionEntry::new(#origin, #rt::Call::#kind(__call), #returns, __defaults);

            fn __defaults() -> #rt::TaskOptions {
                #rt::TaskOptions::new()#setters
            }

            impl #rt::Registered for #name {
                fn register() {
                    #rt::register_function(&__ENTRY);
                }
            }
        }
    }

    /// The typed call on the worker.
    fn call(&self) -> TokenStream {
        let rt = &self.options.rt;
        let ident = &self.item.sig.ident;
        let is_async = self.item.sig.asyncness.is_some();
        let reads = self.params.iter().map(|param| param.read(rt, Strict::Yes));
        let passes = self.params.iter().map(Param::pass);
        let call = quote!(#ident(#(#passes),*));
        if !is_async {
            let outcome = self.output.outcome(rt, &call, Strict::Yes);
            return quote! {
                fn __call(__args: &mut #rt::TaskArgs<'_>) -> #rt::Outcome {
                    #(#reads)*
                    #outcome
                }
            };
        }
        let outcome = self.output.outcome(rt, &quote!(#call.await), Strict::Yes);
        let reads = signature::owned_reads(&self.params, &reads.collect::<Vec<_>>());
        let body = quote!({ async move { #reads #outcome } });
        // What is not `Send` is reported at the function's name.
        let boxed = quote_spanned!(at(ident.span())=> ::std::boxed::Box::pin(#body));
        quote! {
            fn __call(__args: #rt::OwnedTaskArgs) -> #rt::BoxFuture<#rt::Outcome> {
                #boxed
            }
        }
    }

    /// `remote` and `options`.
    fn remote(&self) -> TokenStream {
        let (rt, name) = (&self.options.rt, &self.name);
        let builder = format_ident!("__{}_options", name.unraw(), span = at(name.span()));
        let declare: Vec<_> = self.params.iter().map(|param| param.declare(rt)).collect();
        let args = signature::encode(rt, &self.params);
        let (refs, plain) = self.output.refs(rt, quote!(#rt::submit(&__ENTRY, ::core::option::Option::None, #args)));
        let (_, with_options) = self.output.refs(
            rt,
            quote!(#rt::submit(&__ENTRY, ::core::option::Option::Some(::core::clone::Clone::clone(&self.__options)), #args)),
        );
        let num_returns = self.output.per_call().then(|| {
            quote! {
                /// How many values the call returns.
                #[must_use]
                pub fn num_returns(mut self, returns: impl #rt::IntoCount) -> Self {
                    self.__options.set_num_returns(returns.into_count());
                    self
                }
            }
        });
        quote! {
            #[automatically_derived]
            impl #name {
                /// Submits the task and returns at once.
                pub fn remote(#(#declare),*) -> #refs {
                    #plain
                }

                /// Submits tasks with other options.
                pub fn options() -> #builder {
                    #builder { __options: __defaults() }
                }
            }

            /// The options of a call.
            #[derive(Clone, Debug)]
            #[must_use]
            pub struct #builder {
                __options: #rt::TaskOptions,
            }

            impl #builder {
                #rt::task_setters!(self, self.__options);

                #num_returns

                /// Submits the task with these options and returns at once.
                pub fn remote(&self, #(#declare),*) -> #refs {
                    #with_options
                }
            }
        }
    }
}

/// Where and as what something was defined; `ty` is the type that stands for it.
pub(crate) fn origin(rt: &TokenStream, name: &str, ty: &TokenStream, signature: &TokenStream) -> TokenStream {
    let signature = signature.to_string();
    quote! {
        #rt::Origin {
            name: #name,
            type_name: ::core::any::type_name::<#ty>,
            module: ::core::module_path!(),
            file: ::core::file!(),
            line: ::core::line!(),
            column: ::core::column!(),
            signature: #signature,
        }
    }
}
