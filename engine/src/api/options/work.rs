//! The options of tasks and of actors, which share what is asked of a node.

use crate::api::error::{Error, Result};
use crate::api::options::check::{
    check_amount, check_concurrency, check_count, check_gpus, check_resource_name, check_returns, not_empty,
};
use crate::api::options::{IntoCount, Isolation, Lifetime, OnInfeasible, Scheduling};

/// What tasks and actors both ask for. `None` is the default of whichever it is.
macro_rules! shared_options {
    ($name:ident { $($(#[$doc:meta])* $field:ident: $ty:ty,)* }, $what:literal) => {
        #[doc = concat!("What ", $what, " asks for; what is not set has its default.")]
        #[derive(Clone, Debug, Default)]
        pub struct $name {
            pub(crate) num_cpus: Option<f64>,
            pub(crate) num_gpus: Option<f64>,
            /// Bytes.
            pub(crate) memory: Option<f64>,
            /// Custom resources, each name once.
            pub(crate) resources: Vec<(String, f64)>,
            pub(crate) isolation: Option<Isolation>,
            pub(crate) scheduling: Option<Scheduling>,
            pub(crate) on_infeasible: Option<OnInfeasible>,
            pub(crate) task_events: Option<bool>,
            pub(crate) name: Option<String>,
            $($(#[$doc])* pub(crate) $field: $ty,)*
            /// The first thing that a setter refused.
            pub(crate) error: Option<Error>,
        }

        #[doc(hidden)]
        impl $name {
            pub fn set_num_cpus(&mut self, amount: f64) {
                self.num_cpus = self.checked(check_amount("num_cpus", amount), amount);
            }

            pub fn set_num_gpus(&mut self, amount: f64) {
                self.num_gpus = self.checked(check_gpus(amount), amount);
            }

            pub fn set_memory(&mut self, bytes: f64) {
                self.memory = self.checked(check_amount("memory", bytes), bytes);
            }

            pub fn set_resource(&mut self, name: String, amount: f64) {
                let fine = check_resource_name(&name).and_then(|()| check_amount(&name, amount));
                if self.checked(fine, ()).is_some() {
                    self.resources.retain(|(other, _)| *other != name);
                    self.resources.push((name, amount));
                }
            }

            pub fn clear_resources(&mut self) {
                self.resources.clear();
            }

            pub fn set_isolation(&mut self, isolation: Isolation) {
                self.isolation = Some(isolation);
            }

            pub fn set_scheduling(&mut self, scheduling: Scheduling) {
                self.scheduling = Some(scheduling);
            }

            pub fn set_on_infeasible(&mut self, what: &str) {
                let read = match what {
                    "wait" => Ok(OnInfeasible::Wait),
                    "fail" => Ok(OnInfeasible::Fail),
                    _ => Err(Error::invalid_argument(format!("on_infeasible: {what:?} is not an answer"))
                        .remedy("use \"wait\" or \"fail\"")),
                };
                self.on_infeasible = self.kept(read);
            }

            pub fn set_task_events(&mut self, report: bool) {
                self.task_events = Some(report);
            }

            fn checked<T>(&mut self, fine: Result<()>, value: T) -> Option<T> {
                self.kept(fine.map(|()| value))
            }

            fn kept<T>(&mut self, value: Result<T>) -> Option<T> {
                value.map_err(|error| self.error.get_or_insert(error)).ok()
            }

            fn count(&mut self, option: &str, value: Option<i64>, least: i64) -> Option<i64> {
                self.kept(check_count(option, value, least, i64::MAX))
            }
        }
    };
}

shared_options!(TaskOptions {
    max_retries: Option<i64>,
    /// Overrides what the worker says of an error: all are retried, or none.
    retry_errors: Option<bool>,
    /// Only for a function with `num_returns = _`.
    num_returns: Option<u32>,
}, "a task");

shared_options!(ActorOptions {
    namespace: Option<String>,
    lifetime: Option<Lifetime>,
    get_if_exists: Option<bool>,
    max_restarts: Option<i64>,
    max_task_retries: Option<i64>,
    max_concurrency: Option<u32>,
    /// -1 is without end.
    max_pending_calls: Option<i64>,
    /// The named groups and how many calls of each may overlap.
    concurrency_groups: Vec<(String, u32)>,
}, "an actor");

impl TaskOptions {
    /// The defaults.
    pub fn new() -> TaskOptions {
        TaskOptions::default()
    }

    crate::__actinic_task_setters!(self, self);

    /// How many values the call returns, for a function with `num_returns = _`.
    #[must_use]
    pub fn num_returns(mut self, returns: impl IntoCount) -> Self {
        self.set_num_returns(returns.into_count());
        self
    }

    /// What is wrong with the options, if something is.
    pub(crate) fn check(&self) -> Result<()> {
        self.error.clone().map_or(Ok(()), Err)
    }
}

#[doc(hidden)]
impl TaskOptions {
    pub fn set_name(&mut self, name: String) {
        self.name = Some(name);
    }

    pub fn set_max_retries(&mut self, retries: Option<i64>) {
        self.max_retries = self.count("max_retries", retries, -1);
    }

    pub fn set_retry_errors(&mut self, retry: bool) {
        self.retry_errors = Some(retry);
    }

    pub fn set_num_returns(&mut self, returns: Option<i64>) {
        self.num_returns = self.kept(check_returns(returns));
    }
}

impl ActorOptions {
    /// The defaults.
    pub fn new() -> ActorOptions {
        ActorOptions::default()
    }

    crate::__actinic_actor_setters!(self, self);

    /// What is wrong with the options, if something is: by itself, or together.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        if self.name.is_none() && self.get_if_exists == Some(true) {
            return Err(Error::invalid_argument("get_if_exists needs a name").remedy("set `name` as well"));
        }
        Ok(())
    }
}

#[doc(hidden)]
impl ActorOptions {
    pub fn set_name(&mut self, name: String) {
        self.name = self.kept(not_empty("name", "an actor's name", name));
    }

    pub fn set_namespace(&mut self, namespace: String) {
        self.namespace = self.kept(not_empty("namespace", "a namespace", namespace));
    }

    pub fn set_lifetime(&mut self, lifetime: Lifetime) {
        self.lifetime = Some(lifetime);
    }

    pub fn set_get_if_exists(&mut self, get: bool) {
        self.get_if_exists = Some(get);
    }

    pub fn set_max_restarts(&mut self, restarts: Option<i64>) {
        self.max_restarts = self.count("max_restarts", restarts, -1);
    }

    pub fn set_max_task_retries(&mut self, retries: Option<i64>) {
        self.max_task_retries = self.count("max_task_retries", retries, -1);
    }

    pub fn set_max_concurrency(&mut self, calls: Option<i64>) {
        self.max_concurrency = self.kept(check_concurrency("max_concurrency", calls));
    }

    pub fn set_max_pending_calls(&mut self, calls: Option<i64>) {
        let checked = check_count("max_pending_calls", calls, -1, i64::MAX).and_then(|calls| match calls {
            0 => Err(Error::invalid_argument("max_pending_calls: an actor with 0 could never be called")
                .remedy("use a positive number, or -1 for no limit")),
            calls => Ok(calls),
        });
        self.max_pending_calls = self.kept(checked);
    }

    /// One more group; the attribute's `concurrency_groups`.
    #[must_use]
    pub fn concurrency_group(mut self, name: impl Into<String>, calls: impl IntoCount) -> Self {
        let name = name.into();
        let calls = check_concurrency(&format!("concurrency group {name:?}"), calls.into_count());
        if let Some(calls) = self.kept(calls) {
            self.concurrency_groups.push((name, calls));
        }
        self
    }
}
