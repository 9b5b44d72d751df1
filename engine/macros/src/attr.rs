//! The options of the attributes: which there are ([`known`]), how they are written ([`written`]), what is wrong with
//! their values ([`value`]), and the setter calls that they become.

mod known;
mod value;
mod written;

use std::collections::HashMap;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Ident, Lit, Result, Token};

use crate::attr::known::Shape;
use crate::attr::value::{amount, check_resource, constant, count, not_empty, num_returns};
use crate::attr::written::{Key, Value, Written};
use crate::errors::Errors;

pub(crate) use known::Kind;

/// How many refs a call makes, as far as the attribute says it.
#[derive(Clone)]
pub(crate) enum NumReturns {
    One,
    Fixed(u32, Span),
    PerCall(Span),
}

/// Which errors of the user's are retried.
#[derive(Clone)]
pub(crate) enum Retry {
    No,
    All,
    If(Box<Expr>),
}

/// What an attribute says.
pub(crate) struct Options {
    /// The path of the library's hidden module.
    pub(crate) rt: TokenStream,
    /// The setter calls, each with its leading dot.
    pub(crate) setters: TokenStream,
    pub(crate) num_returns: NumReturns,
    pub(crate) retry: Retry,
    /// The value of `max_concurrency`, if it is given: a number if it can be seen.
    pub(crate) max_concurrency: Option<Option<i64>>,
    /// The names of `concurrency_groups`; nothing if one cannot be seen.
    pub(crate) groups: Option<Vec<String>>,
    /// The method's group, if it can be seen.
    pub(crate) group: Option<syn::LitStr>,
}

impl Options {
    /// Reads the tokens of an attribute.
    pub(crate) fn parse(kind: Kind, tokens: TokenStream) -> Result<Options> {
        let written = syn::parse::Parser::parse2(Punctuated::<Written, Token![,]>::parse_terminated, tokens)?;
        let mut options = Options {
            rt: quote!(::actinic::__private),
            setters: TokenStream::new(),
            num_returns: NumReturns::One,
            retry: Retry::No,
            max_concurrency: None,
            groups: Some(Vec::new()),
            group: None,
        };
        let mut seen: HashMap<String, Span> = HashMap::new();
        let mut errors = Errors::default();
        // First where the library is: the setters of other options may name it.
        for option in &written {
            if let Value::Path(path) = &option.value {
                options.rt = quote!(#path::__private);
            }
        }
        for option in written {
            let name = option.name.unraw().to_string();
            let fine = if seen.insert(name.clone(), option.name.span()).is_some() {
                Err(Error::new(option.name.span(), format!("`{name}` is given twice")))
            } else {
                options.take(kind, &name, option)
            };
            errors.keep(fine);
        }
        if let (Kind::Test, Some(seed), false) = (kind, seen.get("seed"), seen.contains_key("sim")) {
            errors.add(Error::new(*seed, "a `seed` is a simulation's: write `sim, seed = ..`, or leave it out"));
        }
        errors.finish(options)
    }

    fn take(&mut self, kind: Kind, name: &str, option: Written) -> Result<()> {
        let Some(known) = kind.known().iter().find(|known| known.name == name) else {
            return Err(Error::new(option.name.span(), unknown(kind, name)));
        };
        let at = option.name.span();
        let setter = Ident::new(name, crate::at(at));
        match (known.shape, option.value) {
            (Shape::Own, value) => self.take_own(name, at, value)?,
            (Shape::Switch, Value::Bare) => self.setters.extend(quote!(.#setter(true))),
            (_, Value::Bare) => {
                return Err(Error::new(at, format!("`{name}` needs a value: `{name} = ..`")));
            }
            (Shape::Map(each), Value::Map(entries)) => self.take_map(name, each, entries)?,
            (Shape::Map(_), value) => {
                return Err(Error::new(
                    at.join(value.span(at)).unwrap_or(at),
                    format!("write `{name} = {{ \"A\": 1 }}`"),
                ));
            }
            (Shape::Words(words), Value::Expr(expr)) => {
                let value = self.word(name, words, expr)?;
                self.setters.extend(quote!(.#setter(#value)));
            }
            (Shape::Amount | Shape::Gpus, Value::Expr(expr)) => {
                let value = amount(name, known.shape == Shape::Gpus, &expr)?;
                self.setters.extend(quote!(.#setter(#value)));
            }
            (Shape::Count(least), Value::Expr(expr)) => {
                let value = count(name, least, &expr)?;
                if name == "max_concurrency" {
                    self.max_concurrency = Some(constant(&expr).map(|value| value as i64));
                }
                self.setters.extend(quote!(.#setter(#value)));
            }
            (Shape::Any | Shape::Switch, Value::Expr(expr)) => {
                if let ("concurrency_group", Expr::Lit(ExprLit { lit: Lit::Str(group), .. })) = (name, &expr) {
                    self.group = Some(group.clone());
                }
                self.setters.extend(quote!(.#setter(#expr)));
            }
            (_, Value::Path(_) | Value::Map(_)) => return Err(Error::new(at, format!("`{name}` takes a value"))),
        }
        Ok(())
    }

    fn take_map(&mut self, option: &str, each: &str, entries: Vec<(Key, Expr)>) -> Result<()> {
        let setter = Ident::new(each, Span::call_site());
        let mut names = Vec::new();
        for (key, value) in entries {
            let name = match &key {
                Key::Text(text) => Some(text.value()),
                Key::Path(_) => None,
            };
            if let Some(name) = &name {
                let fine = if option == "resources" { check_resource(name) } else { not_empty(name) };
                fine.map_err(|message| Error::new(key.span(), message))?;
                if names.contains(&Some(name.clone())) {
                    return Err(Error::new(key.span(), format!("{name:?} is given twice")));
                }
            }
            let value = match option {
                "resources" => amount(name.as_deref().unwrap_or("resource"), false, &value)?,
                "concurrency_groups" => count(name.as_deref().unwrap_or("group"), 1, &value)?,
                _ => value.into_token_stream(),
            };
            self.setters.extend(quote!(.#setter(#key, #value)));
            names.push(name);
        }
        if option == "concurrency_groups" {
            self.groups = names.into_iter().collect();
        }
        Ok(())
    }

    fn take_own(&mut self, name: &str, at: Span, value: Value) -> Result<()> {
        match (name, value) {
            ("crate", Value::Path(_)) => {}
            ("crate", _) => return Err(Error::new(at, "write `crate = path::to::actinic`")),
            ("num_returns", Value::Expr(expr)) => self.num_returns = num_returns(&expr)?,
            ("num_returns", _) => return Err(Error::new(at, "write `num_returns = 3`, or `num_returns = _`")),
            ("retry_errors", Value::Bare) => self.retry_all(at)?,
            ("retry_errors", Value::Expr(Expr::Lit(ExprLit { lit: Lit::Bool(yes), .. }))) => {
                if yes.value {
                    self.retry_all(at)?;
                }
            }
            ("retry_if", Value::Expr(expr)) => {
                if !matches!(self.retry, Retry::No) {
                    return Err(Error::new(at, "`retry_errors` and `retry_if` exclude each other"));
                }
                self.retry = Retry::If(Box::new(expr));
            }
            ("retry_if", _) => {
                return Err(Error::new(at, "write `retry_if = path`, the path of a `fn(&E) -> bool`"));
            }
            _ => return Err(Error::new(at, format!("write `{name}`, or `{name} = true`"))),
        }
        Ok(())
    }

    fn retry_all(&mut self, at: Span) -> Result<()> {
        if !matches!(self.retry, Retry::No) {
            return Err(Error::new(at, "`retry_errors` and `retry_if` exclude each other"));
        }
        self.retry = Retry::All;
        // The call marks the errors it returns; the option speaks of panics too.
        self.setters.extend(quote!(.retry_errors(true)));
        Ok(())
    }

    /// One of a few words becomes what the setter takes; an expression stays one.
    fn word(&self, name: &str, words: &[&str], expr: Expr) -> Result<TokenStream> {
        let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &expr else {
            return Ok(expr.into_token_stream());
        };
        let word = text.value();
        if !words.contains(&word.as_str()) {
            let words: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
            return Err(Error::new(text.span(), format!("`{name}` is {}", words.join(" or "))));
        }
        let rt = &self.rt;
        Ok(match word.as_str() {
            "process" => quote!(#rt::Isolation::Process),
            "shared" => quote!(#rt::Isolation::Shared),
            "detached" => quote!(#rt::Lifetime::Detached),
            "non_detached" => quote!(#rt::Lifetime::NonDetached),
            "default" => quote!(#rt::Scheduling::Default),
            "spread" => quote!(#rt::Scheduling::Spread),
            "threads" => quote!(#rt::Workers::Threads),
            "processes" => quote!(#rt::Workers::Processes),
            _ => text.into_token_stream(),
        })
    }
}

fn unknown(kind: Kind, name: &str) -> String {
    let names: Vec<_> = kind.known().iter().map(|known| format!("`{}`", known.name)).collect();
    let has = |other: Kind| other != kind && other.known().iter().any(|known| known.name == name);
    let hint = if name == "resource" {
        "; write `resources = { \"A\": 1 }`"
    } else if has(Kind::Function) && kind == Kind::Actor {
        "; it is an option of remote functions"
    } else if has(Kind::Actor) && kind == Kind::ActixActor {
        "; it goes on the `impl` block with the actor's `new`"
    } else if has(Kind::Actor) {
        "; it is an option of actors"
    } else if has(Kind::Method) && kind != Kind::Handler {
        "; it is an option of methods: `#[actinic::method(..)]`"
    } else {
        ""
    };
    format!("`{name}` is not an option of {}{hint}; the options are {}", kind.what(), names.join(", "))
}
