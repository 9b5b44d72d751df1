//! Options as they are written: `name`, `name = value`, `name = { "A": 1 }`.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, Path, Result, Token, braced};

use crate::attr::known::{ACTOR, FUNCTION, Shape, TEST};

pub(super) enum Value {
    /// The option by itself.
    Bare,
    Expr(Expr),
    Path(Path),
    Map(Vec<(Key, Expr)>),
}

impl Value {
    pub(super) fn span(&self, bare: Span) -> Span {
        match self {
            Value::Bare => bare,
            Value::Expr(expr) => expr.span(),
            Value::Path(path) => path.span(),
            Value::Map(_) => bare,
        }
    }
}

pub(super) struct Written {
    pub(super) name: Ident,
    pub(super) value: Value,
}

impl Parse for Written {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = input.call(Ident::parse_any)?;
        if !input.peek(Token![=]) {
            if input.peek(syn::token::Paren) {
                return Err(input.error(format!("write `{name} = ..`")));
            }
            return Ok(Written { name, value: Value::Bare });
        }
        input.parse::<Token![=]>()?;
        let value = if name == "crate" {
            Value::Path(input.parse()?)
        } else if input.peek(syn::token::Brace) && is_map(&name) {
            let entries;
            braced!(entries in input);
            let entries = Punctuated::<Entry, Token![,]>::parse_terminated(&entries)?;
            Value::Map(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
        } else {
            Value::Expr(input.parse()?)
        };
        Ok(Written { name, value })
    }
}

fn is_map(name: &Ident) -> bool {
    [FUNCTION, ACTOR, TEST]
        .iter()
        .copied()
        .flatten()
        .any(|known| name == known.name && matches!(known.shape, Shape::Map(_)))
}

struct Entry {
    key: Key,
    value: Expr,
}

/// A name in a map: a string, or the path of a constant.
pub(super) enum Key {
    Text(syn::LitStr),
    Path(Path),
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let key = if input.peek(syn::LitStr) {
            Key::Text(input.parse()?)
        } else {
            Key::Path(input.parse().map_err(|error| Error::new(error.span(), "expected a name, as in `{ \"A\": 1 }`"))?)
        };
        input.parse::<Token![:]>()?;
        Ok(Entry { key, value: input.parse()? })
    }
}

impl ToTokens for Key {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Key::Text(text) => text.to_tokens(tokens),
            Key::Path(path) => path.to_tokens(tokens),
        }
    }
}
