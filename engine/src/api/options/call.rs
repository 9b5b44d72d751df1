//! The options of calls of methods.

use crate::api::error::{Error, Result};
use crate::api::options::check::{check_count, check_returns, not_empty};

/// What one call of a method asks for, or all calls of it; what is not set has its default.
///
/// ```
/// # use actinic::prelude::*;
/// let options = CallOptions::new().name("x").max_task_retries(2);
/// ```
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    pub(crate) name: Option<String>,
    pub(crate) max_task_retries: Option<i64>,
    /// Overrides what the worker says of an error: all are retried, or none.
    pub(crate) retry_errors: Option<bool>,
    /// Only for a method with `num_returns = _`.
    pub(crate) num_returns: Option<u32>,
    pub(crate) concurrency_group: Option<String>,
    pub(crate) task_events: Option<bool>,
    /// The first thing that a setter refused.
    pub(crate) error: Option<Error>,
}

/// What `#[actinic::method(..)]` says of all calls of a method.
pub type MethodOptions = CallOptions;

impl CallOptions {
    /// The defaults.
    pub fn new() -> CallOptions {
        CallOptions::default()
    }

    crate::__actinic_call_setters!(self, self);

    /// What is wrong with the options, if something is.
    pub(crate) fn check(&self) -> Result<()> {
        self.error.clone().map_or(Ok(()), Err)
    }

    fn kept<T>(&mut self, value: Result<T>) -> Option<T> {
        value.map_err(|error| self.error.get_or_insert(error)).ok()
    }
}

#[doc(hidden)]
impl CallOptions {
    pub fn set_name(&mut self, name: String) {
        self.name = Some(name);
    }

    pub fn set_max_task_retries(&mut self, retries: Option<i64>) {
        self.max_task_retries = self.kept(check_count("max_task_retries", retries, -1, i64::MAX));
    }

    pub fn set_retry_errors(&mut self, retry: bool) {
        self.retry_errors = Some(retry);
    }

    pub fn set_num_returns(&mut self, returns: Option<i64>) {
        self.num_returns = self.kept(check_returns(returns));
    }

    pub fn set_concurrency_group(&mut self, group: String) {
        self.concurrency_group = self.kept(not_empty("concurrency_group", "a concurrency group", group));
    }

    pub fn set_task_events(&mut self, report: bool) {
        self.task_events = Some(report);
    }
}
