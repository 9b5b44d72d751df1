//! The options of the attributes: which there are, what is wrong with them, and the setter calls they become.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{BinOp, Error, Expr, ExprLit, Ident, Lit, Path, Result, Token, UnOp, braced};

/// How the value of an option is written.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// An amount of a resource: zero or more, in steps of 0.0001.
    Amount,
    /// An amount that is whole beyond one.
    Gpus,
    /// A whole number, at least this.
    Count(i64),
    /// Passed on as it is written.
    Any,
    /// `option` or `option = true`.
    Switch,
    /// One of these words, or an expression.
    Words(&'static [&'static str]),
    /// `{ "name": amount }`: one call of the named setter for each.
    Map(&'static str),
    /// Read by the macro itself.
    Own,
}

/// An option that an attribute has.
struct Known {
    name: &'static str,
    shape: Shape,
}

const fn known(name: &'static str, shape: Shape) -> Known {
    Known { name, shape }
}

const ISOLATION: Shape = Shape::Words(&["process", "shared"]);
const LIFETIME: Shape = Shape::Words(&["detached", "non_detached"]);
const SCHEDULING: Shape = Shape::Words(&["default", "spread"]);
const ON_INFEASIBLE: Shape = Shape::Words(&["wait", "fail"]);
const WORKERS: Shape = Shape::Words(&["processes", "threads"]);

const FUNCTION: &[Known] = &[
    known("num_cpus", Shape::Amount),
    known("num_gpus", Shape::Gpus),
    known("memory", Shape::Amount),
    known("resources", Shape::Map("resource")),
    known("max_retries", Shape::Count(-1)),
    known("retry_errors", Shape::Own),
    known("retry_if", Shape::Own),
    known("num_returns", Shape::Own),
    known("name", Shape::Any),
    known("isolation", ISOLATION),
    known("scheduling", SCHEDULING),
    known("on_infeasible", ON_INFEASIBLE),
    known("task_events", Shape::Switch),
    known("crate", Shape::Own),
];

const ACTOR: &[Known] = &[
    known("num_cpus", Shape::Amount),
    known("num_gpus", Shape::Gpus),
    known("memory", Shape::Amount),
    known("resources", Shape::Map("resource")),
    known("name", Shape::Any),
    known("namespace", Shape::Any),
    known("lifetime", LIFETIME),
    known("get_if_exists", Shape::Switch),
    known("isolation", ISOLATION),
    known("max_concurrency", Shape::Count(1)),
    known("concurrency_groups", Shape::Map("concurrency_group")),
    known("max_restarts", Shape::Count(-1)),
    known("max_task_retries", Shape::Count(-1)),
    known("max_pending_calls", Shape::Count(-1)),
    known("scheduling", SCHEDULING),
    known("on_infeasible", ON_INFEASIBLE),
    known("task_events", Shape::Switch),
    known("crate", Shape::Own),
];

const METHOD: &[Known] = &[
    known("num_returns", Shape::Own),
    known("max_task_retries", Shape::Count(-1)),
    known("retry_errors", Shape::Own),
    known("retry_if", Shape::Own),
    known("concurrency_group", Shape::Any),
    known("name", Shape::Any),
    known("task_events", Shape::Switch),
];

const HANDLER: &[Known] = &[
    known("max_task_retries", Shape::Count(-1)),
    known("retry_errors", Shape::Own),
    known("retry_if", Shape::Own),
    known("name", Shape::Any),
    known("task_events", Shape::Switch),
    known("crate", Shape::Own),
];

const TEST: &[Known] = &[
    known("num_cpus", Shape::Amount),
    known("num_gpus", Shape::Gpus),
    known("memory", Shape::Amount),
    known("resources", Shape::Map("resource")),
    known("labels", Shape::Map("label")),
    known("object_store_memory", Shape::Amount),
    known("namespace", Shape::Any),
    known("workers", WORKERS),
    known("log_level", Shape::Any),
    known("dashboard", Shape::Any),
    known("timeout", Shape::Amount),
    known("sim", Shape::Switch),
    known("seed", Shape::Any),
    known("crate", Shape::Own),
];

const MAIN: &[Known] = &[known("crate", Shape::Own)];

/// What an attribute stands on.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Function,
    Actor,
    Method,
    /// An `impl actix::Handler<M>`.
    Handler,
    /// An `impl actix::Actor`.
    ActixActor,
    Test,
    Main,
}

impl Kind {
    fn known(self) -> &'static [Known] {
        match self {
            Kind::Function => FUNCTION,
            Kind::Actor => ACTOR,
            Kind::Method => METHOD,
            Kind::Handler => HANDLER,
            Kind::ActixActor => MAIN,
            Kind::Test => TEST,
            Kind::Main => MAIN,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Kind::Function => "a remote function",
            Kind::Actor => "an actor",
            Kind::Method => "a remote method",
            Kind::Handler => "a remote handler",
            Kind::ActixActor => "an `impl actix::Actor`",
            Kind::Test => "`#[actinic::test]`",
            Kind::Main => "`#[actinic::main]`",
        }
    }
}

enum Value {
    /// The option by itself.
    Bare,
    Expr(Expr),
    Path(Path),
    Map(Vec<(Key, Expr)>),
}

struct Written {
    name: Ident,
    value: Value,
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
enum Key {
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
    All(Span),
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
        let mut seen: Vec<String> = Vec::new();
        let mut errors = Errors::default();
        // First where the library is: the setters of other options may name it.
        for option in &written {
            if let Value::Path(path) = &option.value {
                options.rt = quote!(#path::__private);
            }
        }
        for option in written {
            let name = option.name.unraw().to_string();
            let fine = if seen.contains(&name) {
                Err(Error::new(option.name.span(), format!("`{name}` is given twice")))
            } else {
                options.take(kind, &name, option)
            };
            seen.push(name);
            errors.keep(fine);
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
        self.retry = Retry::All(at);
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

impl Value {
    fn span(&self, bare: Span) -> Span {
        match self {
            Value::Bare => bare,
            Value::Expr(expr) => expr.span(),
            Value::Path(path) => path.span(),
            Value::Map(_) => bare,
        }
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

fn num_returns(expr: &Expr) -> Result<NumReturns> {
    let advice = "`num_returns` is a number, or `_` if every call says how many by `.num_returns(n)`";
    if let Expr::Infer(_) = expr {
        return Ok(NumReturns::PerCall(expr.span()));
    }
    match constant(expr) {
        Some(1.0) => Ok(NumReturns::One),
        Some(n) if n.fract() == 0.0 && (0.0..=16_777_216.0).contains(&n) => {
            Ok(NumReturns::Fixed(n as u32, expr.span()))
        }
        _ => Err(Error::new_spanned(expr, advice)),
    }
}

/// An amount as the tokens of a float if its value can be seen, else as it is written.
fn amount(name: &str, gpus: bool, expr: &Expr) -> Result<TokenStream> {
    let Some(value) = constant(expr) else {
        return match expr {
            Expr::Lit(_) => Err(Error::new_spanned(expr, format!("`{name}` is a number"))),
            _ => Ok(expr.into_token_stream()),
        };
    };
    let steps = value * 10_000.0;
    let message = if value < 0.0 {
        format!("`{name}` is {value}; it must be zero or more")
    } else if value > 1e14 {
        format!("`{name}` is more than 1e14, the largest amount")
    } else if (steps - steps.round()).abs() > 1e-6 + steps * 1e-12 {
        format!("`{name}` is {value}, which is finer than 0.0001, the smallest step")
    } else if gpus && value > 1.0 && value.fract() != 0.0 {
        format!("`{name}` is {value}; more than one GPU is given whole only")
    } else {
        return Ok(quote_spanned!(crate::at(expr.span())=> #value));
    };
    Err(Error::new_spanned(expr, message))
}

/// A count as the tokens of an `i64` if its value can be seen, else as it is written.
fn count(name: &str, least: i64, expr: &Expr) -> Result<TokenStream> {
    let Some(value) = constant(expr) else {
        return match expr {
            Expr::Lit(_) => Err(Error::new_spanned(expr, format!("`{name}` is a whole number"))),
            _ => Ok(expr.into_token_stream()),
        };
    };
    if value.fract() != 0.0 || value < least as f64 || value > 9e15 || (name == "max_pending_calls" && value == 0.0) {
        let rule = match (name, least) {
            ("max_pending_calls", _) => "a positive whole number, or -1 for no limit".to_owned(),
            (_, -1) => "a whole number from 0, or -1 for no limit".to_owned(),
            _ => format!("a whole number from {least}"),
        };
        return Err(Error::new_spanned(expr, format!("`{name}` is {rule}")));
    }
    let size = proc_macro2::Literal::i64_suffixed((value as i64).abs());
    let sign = (value < 0.0).then(|| quote!(-));
    Ok(quote!(#sign #size))
}

fn check_resource(name: &str) -> std::result::Result<(), String> {
    let option = match name {
        "CPU" => "num_cpus",
        "GPU" => "num_gpus",
        "memory" | "object_store_memory" => name,
        _ if name.len() > 256 => return Err("a resource's name has at most 256 bytes".to_owned()),
        _ => return not_empty(name),
    };
    Err(format!("{name:?} is not a custom resource; use the option `{option}`"))
}

fn not_empty(name: &str) -> std::result::Result<(), String> {
    if name.is_empty() { Err("a name has at least one character".to_owned()) } else { Ok(()) }
}

/// The value of an expression of number literals.
fn constant(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Int(int), .. }) => int.base10_parse::<u64>().ok().map(|int| int as f64),
        Expr::Lit(ExprLit { lit: Lit::Float(float), .. }) => float.base10_parse().ok(),
        Expr::Paren(paren) => constant(&paren.expr),
        Expr::Group(group) => constant(&group.expr),
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => constant(&unary.expr).map(|value| -value),
        Expr::Binary(binary) => {
            let (left, right) = (constant(&binary.left)?, constant(&binary.right)?);
            match binary.op {
                BinOp::Add(_) => Some(left + right),
                BinOp::Sub(_) => Some(left - right),
                BinOp::Mul(_) => Some(left * right),
                BinOp::Shl(_) => Some(left * right.exp2()),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Several errors, reported together.
#[derive(Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    /// Adds an error.
    pub(crate) fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// Adds the error of a result and returns its value.
    pub(crate) fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    /// The value if there were none.
    pub(crate) fn finish<T>(self, value: T) -> Result<T> {
        self.0.map_or(Ok(value), Err)
    }
}
