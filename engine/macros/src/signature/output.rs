//! Results: the refs that a call returns, and what the worker makes of the value.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Result, ReturnType, Signature, Type};

use crate::at;
use crate::attr::{NumReturns, Retry};
use crate::signature::Strict;
use crate::signature::types::{Unsendable, ends_in, first_argument, plain, unsendable};

/// The result of a remote function or method.
pub(crate) struct Output {
    /// The type of the value: of `Ok`, if it is a `Result`.
    value: TokenStream,
    /// The same as it is written, where it is.
    written: Option<Type>,
    /// The type as it is written, if it is a `Result`.
    result: Option<TokenStream>,
    returns: Returns,
    retry: Retry,
    /// `-> !`: the call itself is the outcome, and its ref is one of `()`.
    never: bool,
    span: Span,
}

enum Returns {
    One,
    None,
    /// A tuple, one ref each.
    Split(u32),
    /// A vector of a fixed length.
    Vec(u32),
    /// A vector of the call's length.
    PerCall,
}

impl Output {
    /// What a signature returns, split as the attribute says.
    pub(crate) fn new(
        rt: &TokenStream,
        signature: &Signature,
        num_returns: &NumReturns,
        retry: &Retry,
        what: &str,
    ) -> Result<Output> {
        let (ty, span) = match &signature.output {
            ReturnType::Default => (
                Type::Tuple(syn::TypeTuple { paren_token: Default::default(), elems: Default::default() }),
                signature.ident.span(),
            ),
            ReturnType::Type(_, ty) => (plain(ty).clone(), ty.span()),
        };
        returnable(&ty, what)?;
        let never = matches!(ty, Type::Never(_));
        let (value, written, result) = if never {
            (quote!(()), None, None)
        } else if ends_in(&ty, "Result") {
            let span = at(span);
            (quote_spanned!(span=> <#ty as #rt::IsResult>::Ok), first_argument(&ty), Some(ty.to_token_stream()))
        } else {
            (ty.to_token_stream(), Some(ty), None)
        };
        let written = written.map(|ty| plain(&ty).clone());
        // What returns no `Result` may panic, which `retry_errors` retries too.
        if let (Retry::If(path), None) = (retry, &result) {
            return Err(Error::new(
                path.span(),
                format!("this asks to retry errors, but the {what} does not return a `Result`"),
            ));
        }
        let returns = Returns::new(num_returns, written.as_ref())?;
        Ok(Output { value, written, result, returns, retry: retry.clone(), never, span })
    }

    /// The type of what a call returns at once, and the expression that makes it of `submitted`.
    pub(crate) fn refs(&self, rt: &TokenStream, submitted: TokenStream) -> (TokenStream, TokenStream) {
        let value = &self.value;
        match &self.returns {
            Returns::One => (quote!(#rt::ObjectRef<#value>), quote!(#submitted.one())),
            Returns::None => (quote!(()), quote!(#submitted.none())),
            Returns::Split(_) => {
                let refs = match &self.written {
                    Some(Type::Tuple(tuple)) => {
                        let each = tuple.elems.iter();
                        quote!((#(#rt::ObjectRef<#each>,)*))
                    }
                    _ => quote!(<#value as #rt::Split>::Refs),
                };
                (refs, quote!(<#value as #rt::Split>::refs(#submitted)))
            }
            Returns::Vec(_) | Returns::PerCall => {
                let item = self.item();
                (quote!(::std::vec::Vec<#rt::ObjectRef<#item>>), quote!(#submitted.many()))
            }
        }
    }

    /// How a private method says it: its ref has a type only where that can be sent. The type is named as the result of a
    /// function, where a lifetime of it may be left out. The type of the ref, what is asked of it, and the expression.
    pub(crate) fn lenient_refs(
        &self,
        rt: &TokenStream,
        actor: &Type,
        submitted: TokenStream,
    ) -> (TokenStream, TokenStream, TokenStream) {
        let value = &self.value;
        let asked = quote!(fn(&#actor) -> #value: #rt::Returning<__R>, __R: #rt::Returned);
        (quote!(#rt::ObjectRef<__R>), asked, quote!(#submitted.one()))
    }

    /// The elements of a vector that is split.
    fn item(&self) -> TokenStream {
        match self.written.as_ref().and_then(first_argument) {
            Some(item) => item.to_token_stream(),
            None => {
                let value = &self.value;
                quote!(<#value as ::core::iter::IntoIterator>::Item)
            }
        }
    }

    /// The number of refs, as the runtime is told.
    pub(crate) fn num_returns(&self, rt: &TokenStream) -> TokenStream {
        let number = match self.returns {
            Returns::One => 1,
            Returns::None => 0,
            Returns::Split(number) | Returns::Vec(number) => number,
            Returns::PerCall => return quote!(#rt::NumReturns::PerCall),
        };
        let number = proc_macro2::Literal::u32_unsuffixed(number);
        quote!(#rt::NumReturns::Fixed(#number))
    }

    /// Whether every call says how many.
    pub(crate) fn per_call(&self) -> bool {
        matches!(self.returns, Returns::PerCall)
    }

    /// A check, at compile time, of what only the compiler can count.
    pub(crate) fn assertion(&self, rt: &TokenStream) -> Option<TokenStream> {
        let Returns::Split(number) = self.returns else { return None };
        if let Some(Type::Tuple(_)) = &self.written {
            return None;
        }
        let value = &self.value;
        let message = format!("`num_returns` is {number}, but the returned tuple has another length");
        let number = number as usize;
        Some(
            quote_spanned!(at(self.span)=> const _: () = ::core::assert!(<#value as #rt::Split>::COUNT == #number, #message);),
        )
    }

    /// The outcome of a call, as an expression of `Outcome`.
    pub(crate) fn outcome(&self, rt: &TokenStream, call: &TokenStream, strict: Strict) -> TokenStream {
        if self.never {
            return call.clone();
        }
        let value = &self.value;
        let span = at(self.span);
        let finish = match &self.returns {
            Returns::One if strict == Strict::No => quote! {{
                use #rt::private_method::{OtherReturn as _, SendableReturn as _};
                (&&#rt::private_method::ReturnOf::new(__value)).outcome()
            }},
            Returns::One => quote_spanned!(span=> #rt::return_one::<#value>(__value)),
            Returns::None => quote! {{
                ::core::mem::drop(__value);
                #rt::return_split::<()>(())
            }},
            Returns::Split(_) => quote_spanned!(span=> #rt::return_split::<#value>(__value)),
            Returns::Vec(_) | Returns::PerCall => {
                let item = self.item();
                quote_spanned!(span=> #rt::return_vec::<#item>(__value))
            }
        };
        if self.result.is_none() {
            return quote! {{
                let __value: #value = #call;
                #finish
            }};
        }
        let error = self.error(rt);
        quote! {
            match #rt::IsResult::into_result(#call) {
                ::core::result::Result::Ok(__value) => #finish,
                ::core::result::Result::Err(__error) => ::core::result::Result::Err(#error),
            }
        }
    }

    /// The error of the user's in `__error`, as Actinic's.
    fn error(&self, rt: &TokenStream) -> TokenStream {
        let error = into_error(rt, self.result.as_ref());
        match &self.retry {
            Retry::No => error,
            Retry::All => quote!(#rt::retryable(#error, true)),
            Retry::If(path) => {
                let asked = quote_spanned!(at(path.span())=> (#path)(&__error));
                quote! {{
                    let __retry: bool = #asked;
                    #rt::retryable(#error, __retry)
                }}
            }
        }
    }

    /// The type of the value, of `Ok` if it is a `Result`.
    pub(crate) fn value(&self) -> &TokenStream {
        &self.value
    }

    /// The `Result`, if it is one.
    pub(crate) fn result(&self) -> Option<&TokenStream> {
        self.result.as_ref()
    }

    /// Whether the output is a `Result`.
    pub(crate) fn fallible(&self) -> bool {
        self.result.is_some()
    }
}

impl Returns {
    fn new(num_returns: &NumReturns, written: Option<&Type>) -> Result<Returns> {
        Ok(match (num_returns, written) {
            (NumReturns::One, _) => Returns::One,
            (NumReturns::Fixed(0, _), _) => Returns::None,
            (NumReturns::Fixed(number, span), Some(Type::Tuple(tuple))) if tuple.elems.len() != *number as usize => {
                let message = format!(
                    "`num_returns` is {number}, but the function returns {}",
                    match tuple.elems.len() {
                        0 => "nothing".to_owned(),
                        length => format!("a tuple of {length}"),
                    }
                );
                return Err(Error::new(*span, message));
            }
            (NumReturns::Fixed(number, span), Some(Type::Tuple(_))) if *number > 16 => {
                return Err(Error::new(*span, "a tuple is split up to 16 refs: return a `Vec` for more"));
            }
            (NumReturns::Fixed(number, _), Some(ty)) if ends_in(ty, "Vec") => Returns::Vec(*number),
            (NumReturns::Fixed(number, _), _) => Returns::Split(*number),
            (NumReturns::PerCall(span), Some(ty)) if !matches!(ty, Type::Path(_)) => {
                return Err(Error::new(
                    *span,
                    "`num_returns = _` needs a function that returns a `Vec`, one ref for each element",
                ));
            }
            (NumReturns::PerCall(_), _) => Returns::PerCall,
        })
    }
}

/// The expression that makes Actinic's error of the user's in `__error`, which is that of this `Result`. Where the program
/// has it, it also knows how to read one that arrives.
pub(crate) fn into_error(rt: &TokenStream, result: Option<&TokenStream>) -> TokenStream {
    let known = result.map(|result| {
        quote! {
            #[#rt::linkme::distributed_slice(#rt::error_kind::ERRORS)]
            #[linkme(crate = #rt::linkme)]
            static __ERROR: #rt::error_kind::ErrorEntry = #rt::error_kind::ErrorEntry::new(|| {
                use #rt::error_kind::{KnownType as _, OtherType as _};
                (&&#rt::error_kind::TypeOf::<<#result as #rt::IsResult>::Err>::new()).known()
            });
        }
    });
    quote! {{
        #known
        use #rt::error_kind::{
            BoxedKind as _, DebugKind as _, DisplayKind as _, OwnKind as _, SilentKind as _, TypedKind as _,
        };
        (&&&&&&#rt::error_kind::ErrorOf::new(__error)).convert()
    }}
}

/// Refuses results that cannot travel, as far as they show it.
fn returnable(ty: &Type, what: &str) -> Result<()> {
    let generator = |ty: &Type| match plain(ty) {
        Type::ImplTrait(ty) => Some(ty.bounds.iter().any(|bound| {
            matches!(bound, syn::TypeParamBound::Trait(bound)
                if bound.path.segments.last().is_some_and(|last| last.ident == "Iterator" || last.ident == "Stream"))
        })),
        _ => None,
    };
    let inner = if ends_in(ty, "Result") { first_argument(ty) } else { None };
    let found = generator(ty).or_else(|| inner.as_ref().and_then(generator));
    match found {
        Some(true) => {
            return Err(Error::new_spanned(
                ty,
                "generators (remote functions that return `impl Iterator` or `impl Stream`) are not yet available: return a \
                 `Vec`, with `num_returns = _` for one ref for each element",
            ));
        }
        Some(false) => {
            return Err(Error::new_spanned(ty, format!("a remote {what} cannot return `impl Trait`: name the type")));
        }
        None => {}
    }
    match unsendable(ty) {
        // The error of a `Result` arrives as its text.
        Some((_, Unsendable::Dyn)) if ends_in(ty, "Result") => Ok(()),
        Some((_, Unsendable::Reference))
            if ends_in(ty, "Result") && inner.as_ref().is_none_or(|ty| unsendable(ty).is_none()) =>
        {
            Ok(())
        }
        Some((span, Unsendable::Reference)) => Err(Error::new(
            span,
            format!("a remote {what} cannot return a reference: return an owned value, such as a `String` for `&str`"),
        )),
        Some((span, Unsendable::Impl)) => {
            Err(Error::new(span, format!("a remote {what} cannot return `impl Trait`: name the type")))
        }
        Some((span, Unsendable::Dyn)) => Err(Error::new(
            span,
            format!("a remote {what} cannot return `dyn Trait`: return a concrete type, such as an enum"),
        )),
        None => Ok(()),
    }
}
