//! `#[remote]` on `impl actix::Actor` and `impl actix::Handler<M>`.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, GenericArgument, ImplItem, ItemImpl, Path, PathArguments, Result, Type, parse_quote};

use crate::at;
use crate::attr::{Kind, NumReturns, Options};
use crate::errors::Errors;
use crate::signature::{self, Output, Strict, ends_in, plain};

/// Answers of handlers whose last type is what they come to.
const ANSWERS: &[&str] = &[
    "ActorResponse",
    "AtomicResponse",
    "LocalBoxActorFuture",
    "LocalBoxFuture",
    "Response",
    "ResponseActFuture",
    "ResponseFuture",
];

/// An `impl actix::Actor`: stays as it is, and is checked.
pub(crate) fn actor(attr: TokenStream, block: &ItemImpl) -> Result<TokenStream> {
    not_generic(block, "an actor")?;
    let options = Options::parse(Kind::ActixActor, attr)?;
    let (rt, ty) = (&options.rt, &block.self_ty);
    let (cfg, _) = signature::inherited(&block.attrs);
    let check = quote_spanned!(at(ty.span())=> #rt::is_actix_actor::<#ty>());
    Ok(quote! {
        #block

        #(#cfg)*
        const _: () = #check;
    })
}

/// An `impl actix::Handler<M>`, which becomes one of the actor's messages.
pub(crate) fn handler(attr: TokenStream, block: &ItemImpl) -> Result<TokenStream> {
    not_generic(block, "a remote handler")?;
    let mut errors = Errors::default();
    let path = block.trait_.as_ref().map(|(_, path, _)| path);
    let message = errors.keep(message(path, block));
    let options = errors.keep(Options::parse(Kind::Handler, attr));
    let parts = errors.finish((message, options))?;
    let (Some(message), Some(options)) = parts else { unreachable!("without errors there is everything") };
    let (rt, ty) = (&options.rt, &*block.self_ty);
    let result = result(rt, block, &message);
    let output = Output::new(
        rt,
        &signature::without_self(&parse_quote!(fn handle() -> #result), ty),
        &NumReturns::One,
        &options.retry,
        "handler",
    )?;
    let expanded = tokens(ty, &message, &result, &options, &output);
    let (cfg, allow) = signature::inherited(&block.attrs);
    Ok(quote! {
        #block

        #(#cfg)*
        #(#allow)*
        #[allow(unreachable_pub)]
        const _: () = {
            #expanded
        };
    })
}

fn tokens(ty: &Type, message: &Type, result: &Type, options: &Options, output: &Output) -> TokenStream {
    let rt = &options.rt;
    let name = match message {
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.unraw().to_string()),
        _ => None,
    };
    let name = name.unwrap_or_else(|| message.to_token_stream().to_string());
    let signature = format!("{} -> {}", message.to_token_stream(), result.to_token_stream());
    let outcome = output.outcome(rt, &quote!(__result), Strict::Yes);
    let value = output.value();
    let setters = &options.setters;
    // A message that cannot travel, or is no message of the actor's, is reported at its name.
    let span = at(message.span());
    let read = quote_spanned!(span=> __args.next::<#message>("message")?);
    let handle = quote_spanned!(span=> #rt::handle::<#ty, #message>);
    let is_message = quote_spanned!(span=> #rt::is_message::<#message>());
    quote! {
        #[#rt::linkme::distributed_slice(#rt::MESSAGES)]
        #[linkme(crate = #rt::linkme)]
        static __ENTRY: #rt::MessageEntry = #rt::MessageEntry::new(
            <#ty as #rt::Actor>::entry,
            ::core::any::type_name::<#message>,
            #rt::MethodEntry::new(
                #name,
                #signature,
                #rt::MethodCall::Actix(__call),
                #rt::NumReturns::Fixed(1),
                __defaults,
            ),
        );

        fn __call(
            __actor: &mut dyn ::core::any::Any,
            __context: &mut dyn ::core::any::Any,
            __args: &mut #rt::TaskArgs<'_>,
        ) -> ::core::result::Result<#rt::Begun, #rt::Error> {
            let __message = #read;
            ::core::result::Result::Ok(#handle(__actor, __context, __message, |__result| #outcome))
        }

        fn __defaults() -> #rt::MethodOptions {
            #rt::MethodOptions::new()#setters
        }

        const _: () = #is_message;

        impl #rt::RemoteHandler<#message> for #ty {
            type Output = #value;

            fn entry() -> &'static #rt::MessageEntry {
                &__ENTRY
            }
        }
    }
}

fn not_generic(block: &ItemImpl, what: &str) -> Result<()> {
    if block.generics.params.is_empty() {
        return Ok(());
    }
    let message =
        format!("{what} cannot be generic, because workers find it by its name: write the `impl` for each type");
    Err(Error::new_spanned(&block.generics, message))
}

/// The `M` of `Handler<M>`.
fn message(path: Option<&Path>, block: &ItemImpl) -> Result<Type> {
    let last = path.and_then(|path| path.segments.last());
    let arguments = match last.map(|last| &last.arguments) {
        Some(PathArguments::AngleBracketed(arguments)) => Some(&arguments.args),
        _ => None,
    };
    match arguments.and_then(|arguments| arguments.first()) {
        Some(GenericArgument::Type(message)) => Ok(plain(message).clone()),
        _ => Err(Error::new_spanned(
            path.map_or_else(|| block.self_ty.to_token_stream(), ToTokens::to_token_stream),
            "a remote handler is an `impl actix::Handler<M>` of a message `M`",
        )),
    }
}

/// What the message comes to: as the handler writes it if that is a `Result`, whose value the ref is of.
fn result(rt: &TokenStream, block: &ItemImpl, message: &Type) -> Type {
    let written = block.items.iter().find_map(|item| match item {
        ImplItem::Type(item) if item.ident == "Result" => Some(come_to(&item.ty)),
        _ => None,
    });
    match written {
        Some(result) if ends_in(&result, "Result") => result,
        _ => {
            let result = quote_spanned!(at(message.span())=> <#message as #rt::actix::Message>::Result);
            Type::Verbatim(result)
        }
    }
}

/// What is left of an answer when it is there.
fn come_to(answer: &Type) -> Type {
    let answer = plain(answer);
    if ANSWERS.iter().any(|name| ends_in(answer, name)) {
        return arguments(answer).last().cloned().unwrap_or_else(|| answer.clone());
    }
    if ends_in(answer, "Pin") {
        // Pin<Box<dyn Future<Output = T>>>
        let boxed = arguments(answer).first().cloned();
        let future = boxed.and_then(|boxed| arguments(&boxed).first().cloned());
        if let Some(output) = future.as_ref().and_then(output_of) {
            return output;
        }
    }
    answer.clone()
}

/// The types between the angle brackets of the last segment.
fn arguments(ty: &Type) -> Vec<Type> {
    let Type::Path(path) = plain(ty) else { return Vec::new() };
    let Some(PathArguments::AngleBracketed(arguments)) = path.path.segments.last().map(|last| &last.arguments) else {
        return Vec::new();
    };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(plain(ty).clone()),
        _ => None,
    });
    types.collect()
}

/// The `T` of `dyn Future<Output = T>`.
fn output_of(future: &Type) -> Option<Type> {
    let Type::TraitObject(future) = plain(future) else { return None };
    future.bounds.iter().find_map(|bound| {
        let syn::TypeParamBound::Trait(bound) = bound else { return None };
        let PathArguments::AngleBracketed(arguments) = &bound.path.segments.last()?.arguments else { return None };
        arguments.args.iter().find_map(|argument| match argument {
            GenericArgument::AssocType(output) if output.ident == "Output" => Some(plain(&output.ty).clone()),
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(answer: Type) -> String {
        come_to(&answer).to_token_stream().to_string().replace(' ', "")
    }

    #[test]
    fn answers_come_to_what_is_in_them() {
        assert_eq!(left(parse_quote!(i64)), "i64");
        assert_eq!(left(parse_quote!(Result<i64, String>)), "Result<i64,String>");
        assert_eq!(left(parse_quote!(actix::ResponseFuture<Result<i64, E>>)), "Result<i64,E>");
        assert_eq!(left(parse_quote!(ResponseActFuture<Self, io::Result<i64>>)), "io::Result<i64>");
        assert_eq!(left(parse_quote!(AtomicResponse<Self, Vec<u8>>)), "Vec<u8>");
        assert_eq!(left(parse_quote!(Pin<Box<dyn Future<Output = Result<(), E>>>>)), "Result<(),E>");
        assert_eq!(left(parse_quote!(Pin<Box<Other>>)), "Pin<Box<Other>>");
        assert_eq!(left(parse_quote!(MessageResult<Get>)), "MessageResult<Get>");
    }
}
