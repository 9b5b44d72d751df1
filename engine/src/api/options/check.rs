//! What is wrong with a value, with its remedy.

use crate::api::error::{Error, Result};
use crate::resources::Quantity;

/// The largest amount of a resource: a hundred terabytes, if bytes.
const AMOUNT_MAX: f64 = 1e14;
/// The longest name of a custom resource, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// The most values that one call returns by one ref each.
const RETURNS_MAX: i64 = 1 << 24;

pub(super) fn check_amount(resource: &str, amount: f64) -> Result<()> {
    let refused =
        |what: &str, remedy: &str| Err(Error::invalid_argument(format!("{resource}: {amount} {what}")).remedy(remedy));
    if amount.is_nan() || amount < 0.0 {
        return refused("is not an amount", "use zero or a positive number");
    }
    if amount > AMOUNT_MAX {
        return refused("is more than 1e14, the largest amount", "memory is given in bytes");
    }
    if Quantity::of_steps(amount).is_none() {
        return refused("is finer than 0.0001, the smallest step", "round it to four decimal places");
    }
    Ok(())
}

pub(super) fn check_gpus(amount: f64) -> Result<()> {
    check_amount("num_gpus", amount)?;
    if amount > 1.0 && amount.fract() != 0.0 {
        return Err(Error::invalid_argument(format!("num_gpus: {amount} is more than one and not whole"))
            .remedy("use a fraction of one GPU, or a whole number of them"));
    }
    Ok(())
}

pub(super) fn check_resource_name(name: &str) -> Result<()> {
    let option = match name {
        "CPU" => "num_cpus",
        "GPU" => "num_gpus",
        "memory" => "memory",
        "object_store_memory" => {
            return Err(Error::invalid_argument("resource object_store_memory cannot be asked for by work")
                .remedy("set `object_store_memory` where the node is started"));
        }
        _ if name.is_empty() || name.len() > NAME_BYTES_MAX => {
            return Err(Error::invalid_argument(format!("a resource's name has {} bytes", name.len()))
                .remedy("use a name of 1 to 256 bytes"));
        }
        _ => return Ok(()),
    };
    Err(Error::invalid_argument(format!("resource {name}: not allowed among custom resources"))
        .remedy(format!("use the option `{option}`")))
}

pub(super) fn check_count(option: &str, value: Option<i64>, least: i64, most: i64) -> Result<i64> {
    let value = value.ok_or_else(|| {
        Error::invalid_argument(format!("{option}: not a whole number")).remedy("use a whole number of 64 bits")
    })?;
    if value < least {
        let remedy = match least {
            -1 => "use zero or more, or -1 for no limit".to_owned(),
            0 if value < 0 => "a count is not negative: use 0 or more".to_owned(),
            _ => format!("use {least} or more"),
        };
        return Err(Error::invalid_argument(format!("{option}: {value} is too small")).remedy(remedy));
    }
    if value > most {
        return Err(
            Error::invalid_argument(format!("{option}: {value} is too large")).remedy(format!("use at most {most}"))
        );
    }
    Ok(value)
}

pub(super) fn check_returns(value: Option<i64>) -> Result<u32> {
    // It fits because the largest allowed does.
    check_count("num_returns", value, 0, RETURNS_MAX).map(|value| value as u32)
}

pub(super) fn check_concurrency(option: &str, value: Option<i64>) -> Result<u32> {
    // It fits because the largest allowed does.
    check_count(option, value, 1, i64::from(u32::MAX)).map(|value| value as u32)
}

/// Names go with what they name to whoever lists, starts or calls it.
const NAMED_BYTES_MAX: usize = 1024;

pub(crate) fn not_empty(option: &str, what: &str, value: String) -> Result<String> {
    if value.is_empty() {
        return Err(Error::invalid_argument(format!("{option}: {what} cannot be empty"))
            .remedy("give it at least one character, or leave it out"));
    }
    if value.len() > NAMED_BYTES_MAX {
        let text = format!("{option}: {what} has at most {NAMED_BYTES_MAX} bytes, and this has {}", value.len());
        return Err(Error::invalid_argument(text).remedy("shorten it"));
    }
    Ok(value)
}
