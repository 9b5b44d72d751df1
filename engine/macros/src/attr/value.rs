//! Values, as far as they can be seen: what is wrong with them, and the tokens that they become.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{BinOp, Error, Expr, ExprLit, Lit, Result, UnOp};

use crate::attr::NumReturns;

pub(super) fn num_returns(expr: &Expr) -> Result<NumReturns> {
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
pub(super) fn amount(name: &str, gpus: bool, expr: &Expr) -> Result<TokenStream> {
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
    } else if (steps - steps.round()).abs() > 1e-6 + steps * 1e-12 || (steps > 0.0 && steps.round() == 0.0) {
        format!("`{name}` is {value}, which is finer than 0.0001, the smallest step")
    } else if gpus && value > 1.0 && value.fract() != 0.0 {
        format!("`{name}` is {value}; more than one GPU is given whole only")
    } else {
        return Ok(quote_spanned!(crate::at(expr.span())=> #value));
    };
    Err(Error::new_spanned(expr, message))
}

/// A count as the tokens of an `i64` if its value can be seen, else as it is written.
pub(super) fn count(name: &str, least: i64, expr: &Expr) -> Result<TokenStream> {
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

pub(super) fn check_resource(name: &str) -> std::result::Result<(), String> {
    let option = match name {
        "CPU" => "num_cpus",
        "GPU" => "num_gpus",
        "memory" | "object_store_memory" => name,
        _ if name.len() > 256 => return Err("a resource's name has at most 256 bytes".to_owned()),
        _ => return not_empty(name),
    };
    Err(format!("{name:?} is not a custom resource; use the option `{option}`"))
}

pub(super) fn not_empty(name: &str) -> std::result::Result<(), String> {
    if name.is_empty() { Err("a name has at least one character".to_owned()) } else { Ok(()) }
}

/// The value of an expression of number literals.
pub(super) fn constant(expr: &Expr) -> Option<f64> {
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
