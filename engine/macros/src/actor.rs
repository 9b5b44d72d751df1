//! `#[remote]` on an `impl` block.

mod calling;
mod parts;
mod running;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Error, ImplItem, ItemImpl, Result, Type};

use crate::actix;
use crate::actor::parts::{Constructor, Method};
use crate::attr::{Kind, Options};
use crate::errors::Errors;
use crate::signature;

/// What an actor's expansion is made of.
struct Actor {
    ty: Type,
    name: String,
    options: Options,
    /// One, or those that builds choose from by `cfg`.
    constructors: Vec<Constructor>,
    methods: Vec<Method>,
    /// The tokens of all remote signatures.
    signature: TokenStream,
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

    let (mut constructors, mut has_constructor) = (Vec::new(), false);
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
            has_constructor = true;
            constructors.extend(errors.keep(Constructor::new(&rt, item, &ty, &name)));
        }
    }
    if !has_constructor {
        errors.add(Error::new_spanned(
 &ty,
            format!("an actor needs a constructor in this `impl` block: `pub fn new(..) -> Self`, or `-> Result<Self, E>`, or async; `{name}::remote(..)` takes its arguments"),
        ));
    }
    let Some(options) = errors.finish(options)? else { unreachable!("without errors there is everything") };
    let signature = methods.iter().map(|method| method.signature.to_token_stream()).collect();
    let expanded = Actor { ty, name, options, constructors, methods, signature }.tokens();
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

impl Actor {
    fn tokens(&self) -> TokenStream {
        let calls: TokenStream = self.methods.iter().map(|method| self.method_call(method)).collect();
        let constructors: TokenStream =
            self.constructors.iter().map(|constructor| self.constructor(constructor)).collect();
        let entry = self.entry();
        let methods = self.handle_methods();
        let remote = self.remote();
        quote! {
            #entry
            #constructors
            #calls
            #methods
            #remote
        }
    }
}
