//! Parameters: what is sent for them, and how the worker reads it.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, Ident, Pat, Result, Signature, Type};

use crate::at;
use crate::errors::Errors;
use crate::signature::Strict;
use crate::signature::types::{Unsendable, ends_in, plain, unsendable};

/// How a parameter is read on the worker.
enum Read {
    /// `T`
    Owned,
    /// `&str` or `&[u8]`, in place.
    InPlace,
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

/// The parameters after the receiver.
pub(crate) fn params(signature: &Signature, what: &str) -> Result<Vec<Param>> {
    let mut errors = Errors::default();
    let mut params = Vec::new();
    let names: Vec<&Ident> = signature.inputs.iter().filter_map(named).collect();
    for (index, input) in signature.inputs.iter().filter(|input| matches!(input, FnArg::Typed(_))).enumerate() {
        if let FnArg::Typed(input) = input
            && errors.keep(not_conditional(&input.attrs, what)).is_some()
            && let Some(param) = errors.keep(param(index, &input.pat, &input.ty, &names, what))
        {
            params.push(param);
        }
    }
    errors.finish(params)
}

/// The macro does not know whether a parameter is there: what it writes names all of them.
fn not_conditional(attributes: &[Attribute], what: &str) -> Result<()> {
    match attributes.iter().find(|attribute| attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr"))
    {
        None => Ok(()),
        Some(attribute) => Err(Error::new_spanned(
            attribute,
            format!(
                "a remote {what}'s parameter cannot be conditional: put `cfg` on the whole {what}, once for each list of parameters"
            ),
        )),
    }
}

/// The name of a parameter that is no pattern.
fn named(input: &FnArg) -> Option<&Ident> {
    match input {
        FnArg::Typed(input) => match &*input.pat {
            Pat::Ident(pat) if pat.subpat.is_none() => Some(&pat.ident),
            _ => None,
        },
        FnArg::Receiver(_) => None,
    }
}

/// A name for a pattern, which none of the others has.
fn free_name(index: usize, names: &[&Ident], span: Span) -> Ident {
    let mut name = format!("arg{index}");
    while names.iter().any(|taken| **taken == name) {
        name.push('_');
    }
    Ident::new(&name, span)
}

fn param(index: usize, pat: &Pat, ty: &Type, names: &[&Ident], what: &str) -> Result<Param> {
    let name = match pat {
        Pat::Ident(pat) if pat.subpat.is_none() => pat.ident.clone(),
        _ => free_name(index, names, at(pat.span())),
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
                elem if ends_in(elem, "str") => (quote_spanned!(span=> ::std::string::String), Read::InPlace),
                elem if ends_in(elem, "Path") => {
                    return Err(Error::new_spanned(ty, "take a `PathBuf`; it can be passed as `&str` or `&Path`"));
                }
                Type::Slice(slice) => {
                    let elem = &*slice.elem;
                    sendable(elem, what)?;
                    let read = if ends_in(elem, "u8") { Read::InPlace } else { Read::Borrowed };
                    (quote_spanned!(span=> ::std::vec::Vec<#elem>), read)
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

impl Param {
    /// The statement that reads it into a local of its own.
    pub(crate) fn read(&self, rt: &TokenStream, strict: Strict) -> TokenStream {
        let (local, ty, text, span) = (self.local(), &self.ty, &self.text, self.span);
        match self.read {
            Read::InPlace => quote_spanned!(span=> let #local = __args.next_in_place(#text)?;),
            _ if strict == Strict::No => quote! {
                let #local: #ty = {
                    use #rt::private_method::{OtherArg as _, ReadableArg as _};
                    (&&#rt::private_method::ArgOf::<#ty>::new()).read(&mut *__args, #text)?
                };
            },
            _ => quote_spanned!(span=> let #local = __args.next::<#ty>(#text)?;),
        }
    }

    /// The expression that passes it on.
    pub(crate) fn pass(&self) -> TokenStream {
        let local = self.local();
        match self.read {
            Read::Owned => quote!(#local),
            Read::InPlace => quote!(#local),
            Read::Borrowed => quote!(&#local),
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
    encoded(rt, params.iter().map(Param::push).collect())
}

/// How a private method takes its arguments: generic parameters of the call, its parameters, what is asked of them, and the
/// expression of the encoded arguments. Types are named as a function's parameters, where a lifetime may be left out.
pub(crate) fn lenient(rt: &TokenStream, params: &[Param]) -> (TokenStream, TokenStream, TokenStream, TokenStream) {
    let types: Vec<&TokenStream> = params.iter().map(|param| &param.ty).collect();
    let names: Vec<&Ident> = params.iter().map(|param| &param.name).collect();
    let texts: Vec<&String> = params.iter().map(|param| &param.text).collect();
    let given: Vec<Ident> = (0..params.len()).map(|index| format_ident!("__P{index}")).collect();
    let push = quote!(#(<fn(#types) as #rt::Taking<#given>>::push(&mut __args, #texts, #names);)*);
    (quote!(#(#given),*), quote!(#(#names: #given),*), quote!(#(fn(#types): #rt::Taking<#given>,)*), encoded(rt, push))
}

fn encoded(rt: &TokenStream, pushes: TokenStream) -> TokenStream {
    if pushes.is_empty() {
        return quote!(#rt::Args::new());
    }
    quote! {{
        let mut __args = #rt::Args::new();
        #pushes
        __args
    }}
}

/// The statements that read the arguments of an async call, and let go of them before the first wait, unless one is read
/// in place.
pub(crate) fn owned_reads(params: &[Param], reads: &[TokenStream]) -> TokenStream {
    if reads.is_empty() {
        return quote!(::core::mem::drop(__args););
    }
    let stay = params.iter().any(|param| matches!(param.read, Read::InPlace));
    let let_go = (!stay).then(|| quote!(::core::mem::drop(__owned);));
    quote! {
        let __owned = __args;
        let __args = &mut __owned.reader();
        #(#reads)*
        #let_go
    }
}
