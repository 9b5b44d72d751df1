//! Signatures: what may be remote, how arguments are read ([`mod@params`]), and what becomes of the result ([`output`]).

mod output;
mod params;
mod types;

use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::visit_mut::VisitMut;
use syn::{Error, FnArg, GenericParam, Result, ReturnType, Signature, Type};

pub(crate) use output::{Output, into_error};
pub(crate) use params::{Param, encode, lenient, owned_reads, params};
pub(crate) use types::{ends_in, plain};

use crate::errors::Errors;

/// Whether the method is public, and so must be remote, or may stay a plain helper.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Strict {
    Yes,
    No,
}

/// Why the function itself, apart from its parameters, cannot be remote.
pub(crate) fn check(signature: &Signature, what: &str) -> Result<()> {
    let mut errors = Errors::default();
    if let Some(token) = &signature.constness {
        errors.add(Error::new(
            token.span(),
            format!("a remote {what} cannot be `const`: remove it, or wrap it in one that is not"),
        ));
    }
    if let Some(token) = &signature.unsafety {
        errors.add(Error::new(
            token.span(),
            format!("a remote {what} cannot be `unsafe`: callers far away cannot uphold a contract; check it in a safe wrapper"),
        ));
    }
    if let Some(abi) = &signature.abi {
        errors.add(Error::new(abi.span(), format!("a remote {what} cannot be `extern`: call it from a plain one")));
    }
    if let Some(variadic) = &signature.variadic {
        errors.add(Error::new(variadic.span(), format!("a remote {what} cannot be variadic: take a `Vec`")));
    }
    if !signature.generics.params.is_empty() {
        let only_lifetimes = signature.generics.params.iter().all(|param| matches!(param, GenericParam::Lifetime(_)));
        let message = if only_lifetimes {
            format!("a remote {what} cannot name lifetimes: take owned types, `&str` or `&[T]`")
        } else {
            let name = &signature.ident;
            let wrapper = match what {
                "method" => format!(
                    "`pub fn {name}_i64(&self, x: i64) -> i64 {{ self.{name}(x) }}`, with `{name}` in another `impl` block"
                ),
                _ => format!("`#[actinic::remote] fn {name}_i64(x: i64) -> i64 {{ {name}(x) }}`"),
            };
            format!(
                "a remote {what} cannot be generic, because workers find it by its name: write a non-generic wrapper for each type, such as {wrapper}"
            )
        };
        errors.add(Error::new_spanned(&signature.generics, message));
    }
    errors.finish(())
}

/// Puts the type itself where a signature says `Self`.
pub(crate) fn without_self(signature: &Signature, self_ty: &Type) -> Signature {
    struct Replace<'a>(&'a Type);
    impl VisitMut for Replace<'_> {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            if let Type::Path(path) = ty
                && path.qself.is_none()
                && path.path.segments.first().is_some_and(|first| first.ident == "Self")
            {
                let self_ty = self.0;
                let rest: Vec<_> = path.path.segments.iter().skip(1).cloned().collect();
                let replaced = if rest.is_empty() { quote!(#self_ty) } else { quote!(<#self_ty>::#(#rest)::*) };
                if let Ok(replaced) = syn::parse2(replaced) {
                    *ty = replaced;
                }
                return;
            }
            syn::visit_mut::visit_type_mut(self, ty);
        }

        /// `[T; Self::LEN]`
        fn visit_expr_path_mut(&mut self, path: &mut syn::ExprPath) {
            if path.qself.is_none() && path.path.segments.len() > 1 && path.path.segments[0].ident == "Self" {
                let self_ty = self.0;
                let rest = path.path.segments.iter().skip(1);
                if let Ok(replaced) = syn::parse2(quote!(<#self_ty>::#(#rest)::*)) {
                    *path = replaced;
                }
            }
        }
    }
    let mut signature = signature.clone();
    for input in &mut signature.inputs {
        if let FnArg::Typed(input) = input {
            Replace(self_ty).visit_type_mut(&mut input.ty);
        }
    }
    if let ReturnType::Type(_, ty) = &mut signature.output {
        Replace(self_ty).visit_type_mut(ty);
    }
    signature
}

/// The attributes of the user's item that generated ones need too: which builds have it, and what it may do.
pub(crate) fn inherited(attributes: &[syn::Attribute]) -> (Vec<&syn::Attribute>, Vec<TokenStream>) {
    let cfg = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect();
    let deprecated = attributes.iter().any(|attribute| attribute.path().is_ident("deprecated"));
    let allow = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("allow") || attribute.path().is_ident("expect"))
        .filter_map(|attribute| match &attribute.meta {
            syn::Meta::List(list) => {
                let lints = &list.tokens;
                Some(quote!(#[allow(#lints)]))
            }
            _ => None,
        })
        // The expansion uses the item; only other uses are to be warned of.
        .chain(deprecated.then(|| quote!(#[allow(deprecated)])))
        .collect();
    (cfg, allow)
}
