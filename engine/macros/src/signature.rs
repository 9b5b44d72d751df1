//! Signatures: what may be remote, how arguments are read, and what becomes of the result.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit_mut::VisitMut;
use syn::{
    Error, FnArg, GenericArgument, GenericParam, Ident, Pat, PathArguments, Result, ReturnType, Signature, Type,
};

use crate::at;
use crate::attr::{Errors, NumReturns, Retry};

/// How a parameter is read on the worker.
enum Read {
    /// `T`
    Owned,
    /// `&str`, in place where the arguments stay.
    Str,
    /// `&[T]` or `&T`, from an owned value.
    Borrowed,
}

/// A parameter of a remote function or method.
pub(crate) struct Param {
    /// Its name in the generated functions.
    pub(crate) name: Ident,
    /// Its name as text.
    pub(crate) text: String,
    /// The type that is sent.
    pub(crate) ty: TokenStream,
    read: Read,
    span: Span,
}

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

/// The parameters after the receiver.
pub(crate) fn params(signature: &Signature, what: &str) -> Result<Vec<Param>> {
    let mut errors = Errors::default();
    let mut params = Vec::new();
    for (index, input) in signature.inputs.iter().filter(|input| matches!(input, FnArg::Typed(_))).enumerate() {
        if let FnArg::Typed(input) = input
            && let Some(param) = errors.keep(param(index, &input.pat, &input.ty, what))
        {
            params.push(param);
        }
    }
    errors.finish(params)
}

fn param(index: usize, pat: &Pat, ty: &Type, what: &str) -> Result<Param> {
    let name = match pat {
        Pat::Ident(pat) if pat.subpat.is_none() => pat.ident.clone(),
        _ => format_ident!("arg{}", index, span = at(pat.span())),
    };
    let span = at(ty.span());
    let (ty, read) = match plain(ty) {
        Type::Reference(reference) => {
            if reference.mutability.is_some() {
                return Err(Error::new_spanned(
                    ty,
                    format!("a remote {what} cannot take `&mut`: it works on a copy; take the value and return it"),
                ));
            }
            if let Some(lifetime) = &reference.lifetime
                && lifetime.ident != "_"
            {
                return Err(Error::new(
                    lifetime.span(),
                    "arguments live as long as the call: leave the lifetime out, or take an owned type",
                ));
            }
            match plain(&reference.elem) {
                elem if ends_in(elem, "str") => (quote_spanned!(span=> ::std::string::String), Read::Str),
                elem if ends_in(elem, "Path") => {
                    return Err(Error::new_spanned(ty, "take a `PathBuf`; it can be passed as `&str` or `&Path`"));
                }
                Type::Slice(slice) => {
                    let elem = &*slice.elem;
                    sendable(elem, what)?;
                    (quote_spanned!(span=> ::std::vec::Vec<#elem>), Read::Borrowed)
                }
                elem => {
                    sendable(elem, what)?;
                    (elem.to_token_stream(), Read::Borrowed)
                }
            }
        }
        ty => {
            sendable(ty, what)?;
            (ty.to_token_stream(), Read::Owned)
        }
    };
    let text = name.unraw().to_string();
    Ok(Param { name, text, ty, read, span })
}

/// Refuses types that cannot travel, as far as they show it.
fn sendable(ty: &Type, what: &str) -> Result<()> {
    match unsendable(ty) {
        Some((span, Unsendable::Impl)) => Err(Error::new(
            span,
            format!(
                "a remote {what} cannot take `impl Trait`, which is generic: name the type, or write a wrapper for each type"
            ),
        )),
        Some((span, Unsendable::Dyn)) => Err(Error::new(
            span,
            format!(
                "a remote {what} cannot take `dyn Trait`: arguments are sent as data; take a concrete type, such as an enum"
            ),
        )),
        Some((span, Unsendable::Reference)) => Err(Error::new(
            span,
            format!(
                "a remote {what} takes references only as `&str`, `&[T]` or `&T`, not inside other types: take an owned type"
            ),
        )),
        None => Ok(()),
    }
}

enum Unsendable {
    Reference,
    Impl,
    Dyn,
}

fn unsendable(ty: &Type) -> Option<(Span, Unsendable)> {
    struct Find(Option<(Span, Unsendable)>);
    impl VisitMut for Find {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            let kind = match ty {
                Type::Reference(_) | Type::Ptr(_) => Unsendable::Reference,
                Type::ImplTrait(_) => Unsendable::Impl,
                Type::TraitObject(_) => Unsendable::Dyn,
                // `fn(&T)` is refused by its missing serde, not by its reference.
                Type::BareFn(_) => return,
                _ => return syn::visit_mut::visit_type_mut(self, ty),
            };
            self.0.get_or_insert((ty.span(), kind));
        }

        fn visit_lifetime_mut(&mut self, lifetime: &mut syn::Lifetime) {
            if lifetime.ident != "static" {
                self.0.get_or_insert((lifetime.span(), Unsendable::Reference));
            }
        }
    }
    let mut find = Find(None);
    find.visit_type_mut(&mut ty.clone());
    find.0
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
        let retry_at = match retry {
            Retry::No => None,
            Retry::All(span) => Some(*span),
            Retry::If(path) => Some(path.span()),
        };
        if let (Some(at), None) = (retry_at, &result) {
            return Err(Error::new(
                at,
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

    /// How a private method says it: its ref has a type only where that can be sent.
    pub(crate) fn lenient_refs(
        &self,
        rt: &TokenStream,
        submitted: TokenStream,
    ) -> (TokenStream, TokenStream, TokenStream) {
        let value = &self.value;
        (quote!(<__R>), quote!(#rt::ObjectRef<__R> where #value: #rt::Returned<__R>), quote!(#submitted.one()))
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
        let error = into_error(rt);
        match &self.retry {
            Retry::No => error,
            Retry::All(_) => quote!(#rt::retryable(#error, true)),
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

/// The expression that makes Actinic's error of the user's in `__error`.
pub(crate) fn into_error(rt: &TokenStream) -> TokenStream {
    quote! {{
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

impl Param {
    /// The statement that reads it into a local of its own.
    pub(crate) fn read(&self, rt: &TokenStream, in_place: bool, strict: Strict) -> TokenStream {
        let (local, ty, text, span) = (self.local(), &self.ty, &self.text, self.span);
        match self.read {
            Read::Str if in_place => quote_spanned!(span=> let #local = __args.next_str(#text)?;),
            _ if strict == Strict::No => {
                let args = if in_place { quote!(&mut *__args) } else { quote!(&mut __args) };
                quote! {
                    let #local: #ty = {
                        use #rt::private_method::{OtherArg as _, ReadableArg as _};
                        (&&#rt::private_method::ArgOf::<#ty>::new()).read(#args, #text)?
                    };
                }
            }
            _ => quote_spanned!(span=> let #local = __args.next::<#ty>(#text)?;),
        }
    }

    /// The expression that passes it on.
    pub(crate) fn pass(&self) -> TokenStream {
        let local = self.local();
        match self.read {
            Read::Owned => quote!(#local),
            Read::Str | Read::Borrowed => quote!(&#local),
        }
    }

    fn local(&self) -> Ident {
        format_ident!("__arg_{}", self.text, span = self.span)
    }

    /// The parameter as calls take it.
    pub(crate) fn declare(&self, rt: &TokenStream) -> TokenStream {
        let (name, ty) = (&self.name, &self.ty);
        quote!(#name: impl #rt::IntoArg<#ty>)
    }

    /// The statement that encodes it.
    pub(crate) fn push(&self) -> TokenStream {
        let (name, ty, text) = (&self.name, &self.ty, &self.text);
        quote!(__args.push::<#ty>(#text, #name);)
    }
}

/// The expression of the encoded arguments.
pub(crate) fn encode(rt: &TokenStream, params: &[Param]) -> TokenStream {
    if params.is_empty() {
        return quote!(#rt::Args::new());
    }
    let pushes = params.iter().map(Param::push);
    quote! {{
        let mut __args = #rt::Args::new();
        #(#pushes)*
        __args
    }}
}

/// The statements that read the arguments of an async call, and let go of them before the first wait.
pub(crate) fn owned_reads(reads: &[TokenStream]) -> TokenStream {
    if reads.is_empty() {
        return quote!(::core::mem::drop(__args););
    }
    quote! {
        let mut __args = __args;
        #(#reads)*
        ::core::mem::drop(__args);
    }
}

/// A type without the parentheses and invisible groups around it.
pub(crate) fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Paren(ty) => plain(&ty.elem),
        Type::Group(ty) => plain(&ty.elem),
        ty => ty,
    }
}

/// Whether the last segment of a path is this; what a trait calls so (`<M as Message>::Result`) is something else.
pub(crate) fn ends_in(ty: &Type, name: &str) -> bool {
    matches!(plain(ty), Type::Path(path)
        if path.qself.is_none() && path.path.segments.last().is_some_and(|last| last.ident == name))
}

/// The first type between the angle brackets of the last segment.
pub(crate) fn first_argument(ty: &Type) -> Option<Type> {
    let Type::Path(path) = plain(ty) else { return None };
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(plain(ty).clone()),
        _ => None,
    })
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
