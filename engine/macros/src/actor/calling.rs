//! The calling side of an actor: the type that its handle derefs to, and how it is made.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::actor::Actor;
use crate::actor::parts::{Constructor, Method};
use crate::at;
use crate::signature::{self, Strict};

impl Actor {
    pub(super) fn methods_type(&self) -> Ident {
        format_ident!("__{}Methods", self.name, span = at(self.ty.span()))
    }

    /// The type that a handle derefs to.
    pub(super) fn handle_methods(&self) -> TokenStream {
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
        let index = self.index(index);
        let submitted = |args: TokenStream| {
            quote! {{
                const __INDEX: u32 = #index;
                self.__handle.call(&__METHODS[__INDEX as usize], __INDEX, #args)
            }}
        };
        let (generics, params, refs, expr) = match method.strict {
            Strict::Yes => {
                let declare = method.params.iter().map(|param| param.declare(rt));
                let (refs, expr) = method.output.refs(rt, submitted(signature::encode(rt, &method.params)));
                (quote!(), quote!(#(#declare),*), refs, expr)
            }
            Strict::No => {
                let (generics, params, takes, args) = signature::lenient(rt, &method.params);
                let (refs, gives, expr) = method.output.lenient_refs(rt, &self.ty, submitted(args));
                (quote!(<__R, #generics>), params, quote!(#refs where #takes #gives), expr)
            }
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
            #vis fn #ident #generics (&self, #params) -> #refs {
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
    pub(super) fn remote(&self) -> TokenStream {
        let (rt, ty) = (&self.options.rt, &self.ty);
        let builder = format_ident!("__{}Options", self.name, span = at(ty.span()));
        let each = self.constructors.iter().map(|constructor| self.remote_with(constructor, &builder));
        quote! {
            #(#each)*

            /// The options of an actor.
            #[derive(Clone, Debug)]
            #[must_use]
            pub struct #builder {
                __options: #rt::ActorOptions,
            }
        }
    }

    /// The same, of one of the constructors that builds may have.
    fn remote_with(&self, constructor: &Constructor, builder: &Ident) -> TokenStream {
        let (rt, ty, vis, cfg) = (&self.options.rt, &self.ty, &constructor.vis, constructor.cfg());
        let declare: Vec<_> = constructor.params.iter().map(|param| param.declare(rt)).collect();
        let args = signature::encode(rt, &constructor.params);
        quote! {
            #(#cfg)*
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

            #(#cfg)*
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
