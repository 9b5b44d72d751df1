//! The constructor and the methods of an actor, as its `impl` block has them.

use proc_macro2::{Ident, TokenStream};
use quote::format_ident;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, ImplItemFn, Meta, Result, Signature, Type, Visibility};

use crate::at;
use crate::attr::{Kind, NumReturns, Options, Retry};
use crate::errors::Errors;
use crate::signature::{self, Output, Param, Strict, ends_in};

pub(super) struct Constructor {
    pub(super) vis: Visibility,
    pub(super) ident: Ident,
    attributes: Vec<Attribute>,
    pub(super) is_async: bool,
    pub(super) params: Vec<Param>,
    pub(super) output: Output,
}

pub(super) struct Method {
    pub(super) vis: Visibility,
    pub(super) ident: Ident,
    pub(super) attributes: Vec<Attribute>,
    pub(super) signature: Signature,
    pub(super) is_async: bool,
    pub(super) is_mut: bool,
    pub(super) strict: Strict,
    pub(super) options: Options,
    pub(super) params: Vec<Param>,
    pub(super) output: Output,
}

impl Constructor {
    pub(super) fn new(rt: &TokenStream, item: &ImplItemFn, ty: &Type, name: &str) -> Result<Constructor> {
        let mut errors = Errors::default();
        errors.keep(signature::check(&item.sig, "constructor"));
        let signature = signature::without_self(&item.sig, ty);
        let params = errors.keep(signature::params(&signature, "constructor"));
        let none = NumReturns::One;
        let output = errors.keep(Output::new(rt, &signature, &none, &Retry::No, "constructor"));
        if let (syn::ReturnType::Default, span) = (&item.sig.output, item.sig.ident.span()) {
            errors.add(Error::new(span, format!("a constructor returns `Self` (`{name}`) or `Result<Self, E>`")));
        }
        let parts = errors.finish((params, output))?;
        let (Some(params), Some(output)) = parts else { unreachable!("without errors there is everything") };
        Ok(Constructor {
            vis: item.vis.clone(),
            ident: item.sig.ident.clone(),
            attributes: item.attrs.clone(),
            is_async: item.sig.asyncness.is_some(),
            params,
            output,
        })
    }

    pub(super) fn cfg(&self) -> Vec<&Attribute> {
        signature::inherited(&self.attributes).0
    }
}

impl Method {
    /// The method, or nothing if it is a helper that cannot be remote.
    pub(super) fn new(
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
    pub(super) fn call_name(&self) -> Ident {
        format_ident!("__call_{}", self.ident.unraw(), span = at(self.ident.span()))
    }

    pub(super) fn defaults_name(&self) -> Ident {
        format_ident!("__defaults_{}", self.ident.unraw(), span = at(self.ident.span()))
    }

    pub(super) fn cfg(&self) -> Vec<&Attribute> {
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
