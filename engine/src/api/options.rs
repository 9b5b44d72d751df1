//! What a call, an actor or a method may ask for: resources, names, retries, placement.
//!
//! A setter never fails and never panics: what is wrong with a value is kept, and becomes the error of the refs of
//! the calls that are made with it. Amounts stay the numbers that the user wrote; the scheduler makes whole
//! ten-thousandths of them.

use actinic_transport::NodeId;

use crate::api::error::{Error, Result};

/// The largest amount of a resource: a hundred terabytes, if bytes.
const AMOUNT_MAX: f64 = 1e14;
/// The longest name of a custom resource, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// The most values that one call returns by one ref each.
const RETURNS_MAX: i64 = 1 << 24;

/// Whether a task or an actor has a process to itself.
///
/// It matters on a started node. An embedded cluster uses threads of the driver's process, unless it was started
/// with `.workers(Workers::Processes)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// A process that runs nothing else meanwhile: it can be killed without harming anyone.
    #[default]
    Process,
    /// One host process for the light actors of a job: they cost little and share its fate.
    Shared,
}

/// When an actor ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// With its last handle, or with its job.
    #[default]
    NonDetached,
    /// Only when it is killed or exits by itself; find it again by its name.
    Detached,
}

/// Which node runs the work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scheduling {
    /// Where its arguments are, then nodes that are at least half used, then the others.
    #[default]
    Default,
    /// Evenly over all nodes that can run it.
    Spread,
    /// One node.
    NodeAffinity {
        /// The node.
        node: NodeId,
        /// Whether another node may do it when this one is dead or too small. If not, the work then fails with
        /// `Infeasible`.
        soft: bool,
    },
}

impl Scheduling {
    /// That node and no other: hard affinity.
    pub fn on(node: impl Into<NodeId>) -> Scheduling {
        Scheduling::NodeAffinity { node: node.into(), soft: false }
    }
}

/// What happens to work that no node of the cluster could ever run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnInfeasible {
    /// It stays pending, is warned about, and runs when a node joins that can run it. Written `"wait"`.
    #[default]
    Wait,
    /// It fails at once with `Infeasible`. Written `"fail"`.
    Fail,
}

impl AsRef<str> for OnInfeasible {
    fn as_ref(&self) -> &str {
        match self {
            OnInfeasible::Wait => "wait",
            OnInfeasible::Fail => "fail",
        }
    }
}

/// A whole number, as setters that count take it: any integer, or a float without a fraction.
///
/// ```
/// # use actinic::prelude::*;
/// CallOptions::new().max_task_retries(-1).num_returns(3usize);
/// ```
pub trait IntoCount: sealed::Sealed {
    /// The number, or nothing if it is not whole or does not fit.
    #[doc(hidden)]
    fn into_count(self) -> Option<i64>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! counts {
    ($($int:ty)*; $($float:ty)*) => {
        $(
            impl sealed::Sealed for $int {}
            impl IntoCount for $int {
                fn into_count(self) -> Option<i64> {
                    i64::try_from(self).ok()
                }
            }
        )*
        $(
            impl sealed::Sealed for $float {}
            impl IntoCount for $float {
                fn into_count(self) -> Option<i64> {
                    // Beyond 2^53 not every whole number is a float; nobody counts that far.
                    let value = f64::from(self);
                    (value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0).then_some(value as i64)
                }
            }
        )*
    };
}
counts!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize; f32 f64);

/// The setters that tasks and actors have in common, for a type whose options are at `$at`.
#[doc(hidden)]
#[macro_export]
macro_rules! __actinic_shared_setters {
    ($this:ident, $at:expr) => {
        /// Logical CPUs; default 1 for a task, 0 for an actor that runs. A multiple of 0.0001.
        #[must_use]
        #[inline]
        pub fn num_cpus(mut $this, amount: impl ::core::convert::Into<f64>) -> Self {
            $at.set_num_cpus(amount.into());
            $this
        }

        /// Logical GPUs; default 0. A multiple of 0.0001 up to 1, beyond that whole.
        #[must_use]
        #[inline]
        pub fn num_gpus(mut $this, amount: impl ::core::convert::Into<f64>) -> Self {
            $at.set_num_gpus(amount.into());
            $this
        }

        /// Memory in bytes, to be scheduled by; it is not enforced. Default 0.
        #[must_use]
        #[inline]
        pub fn memory(mut $this, bytes: impl ::core::convert::Into<f64>) -> Self {
            $at.set_memory(bytes.into());
            $this
        }

        /// Some of a custom resource; replaces what was said of it before. A multiple of 0.0001.
        #[must_use]
        #[inline]
        pub fn resource(
            mut $this,
            name: impl ::core::convert::Into<::std::string::String>,
            amount: impl ::core::convert::Into<f64>,
        ) -> Self {
            $at.set_resource(name.into(), amount.into());
            $this
        }

        /// All custom resources; replaces those that were said before.
        #[must_use]
        #[inline]
        pub fn resources<N, A>(mut $this, resources: impl ::core::iter::IntoIterator<Item = (N, A)>) -> Self
        where
            N: ::core::convert::Into<::std::string::String>,
            A: ::core::convert::Into<f64>,
        {
            $at.clear_resources();
            for (name, amount) in resources {
                $at.set_resource(name.into(), amount.into());
            }
            $this
        }

        /// Whether it has a process to itself; default `Isolation::Process`.
        #[must_use]
        #[inline]
        pub fn isolation(mut $this, isolation: $crate::__private::Isolation) -> Self {
            $at.set_isolation(isolation);
            $this
        }

        /// Which node runs it; default `Scheduling::Default`.
        #[must_use]
        #[inline]
        pub fn scheduling(mut $this, scheduling: $crate::__private::Scheduling) -> Self {
            $at.set_scheduling(scheduling);
            $this
        }

        /// What happens if no node could ever run it: `"wait"` (the default) for one that can, or `"fail"` at once
        /// with `Infeasible`.
        #[must_use]
        #[inline]
        pub fn on_infeasible(mut $this, what: impl ::core::convert::AsRef<str>) -> Self {
            $at.set_on_infeasible(what.as_ref());
            $this
        }

        /// Whether what happens to it is reported to `state` and the timeline; default true.
        #[must_use]
        #[inline]
        pub fn task_events(mut $this, report: bool) -> Self {
            $at.set_task_events(report);
            $this
        }
    };
}

/// The setters of tasks, for a type whose [`TaskOptions`] are at `$at`.
#[doc(hidden)]
#[macro_export]
macro_rules! __actinic_task_setters {
    ($this:ident, $at:expr) => {
        $crate::__actinic_shared_setters!($this, $at);

        /// What the task is called in `state`, logs and errors; default the function's name.
        #[must_use]
        #[inline]
        pub fn name(mut $this, name: impl ::core::convert::Into<::std::string::String>) -> Self {
            $at.set_name(name.into());
            $this
        }

        /// Attempts beyond the first after a fault of the system; default 3, and -1 is without end.
        #[must_use]
        #[inline]
        pub fn max_retries(mut $this, retries: impl $crate::__private::IntoCount) -> Self {
            $at.set_max_retries(retries.into_count());
            $this
        }

        /// Whether an error that the function returns, or a panic, is retried too, within `max_retries`; the
        /// default is what the attribute says.
        #[must_use]
        #[inline]
        pub fn retry_errors(mut $this, retry: bool) -> Self {
            $at.set_retry_errors(retry);
            $this
        }
    };
}

/// The setters of actors, for a type whose [`ActorOptions`] are at `$at`.
#[doc(hidden)]
#[macro_export]
macro_rules! __actinic_actor_setters {
    ($this:ident, $at:expr) => {
        $crate::__actinic_shared_setters!($this, $at);

        /// The name that `get_actor` finds it by, unique in its namespace while it lives; not empty.
        #[must_use]
        #[inline]
        pub fn name(mut $this, name: impl ::core::convert::Into<::std::string::String>) -> Self {
            $at.set_name(name.into());
            $this
        }

        /// The namespace of its name; default the job's.
        #[must_use]
        #[inline]
        pub fn namespace(mut $this, namespace: impl ::core::convert::Into<::std::string::String>) -> Self {
            $at.set_namespace(namespace.into());
            $this
        }

        /// When it ends; default with its last handle.
        #[must_use]
        #[inline]
        pub fn lifetime(mut $this, lifetime: $crate::__private::Lifetime) -> Self {
            $at.set_lifetime(lifetime);
            $this
        }

        /// Whether an actor that already has the name is taken instead of a new one; needs a name. Default false:
        /// a second actor of one name is an error.
        #[must_use]
        #[inline]
        pub fn get_if_exists(mut $this, get: bool) -> Self {
            $at.set_get_if_exists(get);
            $this
        }

        /// How often it is made anew after its process or node died; default 0, and -1 is without end.
        #[must_use]
        #[inline]
        pub fn max_restarts(mut $this, restarts: impl $crate::__private::IntoCount) -> Self {
            $at.set_max_restarts(restarts.into_count());
            $this
        }

        /// How often a call that a restart interrupted is sent again; default 0, and -1 is without end.
        #[must_use]
        #[inline]
        pub fn max_task_retries(mut $this, retries: impl $crate::__private::IntoCount) -> Self {
            $at.set_max_task_retries(retries.into_count());
            $this
        }

        /// How many of its calls may overlap, at least 1; default 1000 if it has async methods, else 1.
        #[must_use]
        #[inline]
        pub fn max_concurrency(mut $this, calls: impl $crate::__private::IntoCount) -> Self {
            $at.set_max_concurrency(calls.into_count());
            $this
        }

        /// How many unfinished calls one caller may have: one more fails with `ActorPendingCallsLimit`. Default -1,
        /// without end.
        #[must_use]
        #[inline]
        pub fn max_pending_calls(mut $this, calls: impl $crate::__private::IntoCount) -> Self {
            $at.set_max_pending_calls(calls.into_count());
            $this
        }
    };
}

/// The setters of calls of methods, for a type whose [`CallOptions`] are at `$at`.
#[doc(hidden)]
#[macro_export]
macro_rules! __actinic_call_setters {
    ($this:ident, $at:expr) => {
        /// What the call is called in `state`, logs and errors; default the actor's and the method's name.
        #[must_use]
        #[inline]
        pub fn name(mut $this, name: impl ::core::convert::Into<::std::string::String>) -> Self {
            $at.set_name(name.into());
            $this
        }

        /// How often the call is sent again when a restart of the actor interrupts it; default what the method or
        /// the actor says, and -1 is without end.
        #[must_use]
        #[inline]
        pub fn max_task_retries(mut $this, retries: impl $crate::__private::IntoCount) -> Self {
            $at.set_max_task_retries(retries.into_count());
            $this
        }

        /// Whether an error that the method returns, or a panic, is retried too, within `max_task_retries`; the
        /// default is what the method's attribute says.
        #[must_use]
        #[inline]
        pub fn retry_errors(mut $this, retry: bool) -> Self {
            $at.set_retry_errors(retry);
            $this
        }

        /// How many values the call returns, for a method with `num_returns = _`.
        #[must_use]
        #[inline]
        pub fn num_returns(mut $this, returns: impl $crate::__private::IntoCount) -> Self {
            $at.set_num_returns(returns.into_count());
            $this
        }

        /// The concurrency group that runs the call, one of the actor's; default the method's.
        #[must_use]
        #[inline]
        pub fn concurrency_group(mut $this, group: impl ::core::convert::Into<::std::string::String>) -> Self {
            $at.set_concurrency_group(group.into());
            $this
        }

        /// Whether what happens to the call is reported to `state` and the timeline; default true.
        #[must_use]
        #[inline]
        pub fn task_events(mut $this, report: bool) -> Self {
            $at.set_task_events(report);
            $this
        }
    };
}

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

    __actinic_task_setters!(self, self);

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

    __actinic_actor_setters!(self, self);

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

    __actinic_call_setters!(self, self);

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

fn check_amount(resource: &str, amount: f64) -> Result<()> {
    let refused =
        |what: &str, remedy: &str| Err(Error::invalid_argument(format!("{resource}: {amount} {what}")).remedy(remedy));
    if amount.is_nan() || amount < 0.0 {
        return refused("is not an amount", "use zero or a positive number");
    }
    if amount > AMOUNT_MAX {
        return refused("is more than 1e14, the largest amount", "memory is given in bytes");
    }
    let steps = amount * 10_000.0;
    // A decimal fraction is rarely a float: what is off by less than a float's precision is meant to be whole.
    if (steps - steps.round()).abs() > 1e-6 + steps * 1e-12 {
        return refused("is finer than 0.0001, the smallest step", "round it to four decimal places");
    }
    Ok(())
}

fn check_gpus(amount: f64) -> Result<()> {
    check_amount("num_gpus", amount)?;
    if amount > 1.0 && amount.fract() != 0.0 {
        return Err(Error::invalid_argument(format!("num_gpus: {amount} is more than one and not whole"))
            .remedy("use a fraction of one GPU, or a whole number of them"));
    }
    Ok(())
}

fn check_resource_name(name: &str) -> Result<()> {
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

fn check_count(option: &str, value: Option<i64>, least: i64, most: i64) -> Result<i64> {
    let value = value.ok_or_else(|| {
        Error::invalid_argument(format!("{option}: not a whole number")).remedy("use a whole number of 64 bits")
    })?;
    if value < least {
        let remedy = match least {
            -1 => "use zero or more, or -1 for no limit".to_owned(),
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

fn check_returns(value: Option<i64>) -> Result<u32> {
    // It fits because the largest allowed does.
    check_count("num_returns", value, 0, RETURNS_MAX).map(|value| value as u32)
}

fn check_concurrency(option: &str, value: Option<i64>) -> Result<u32> {
    // It fits because the largest allowed does.
    check_count(option, value, 1, i64::from(u32::MAX)).map(|value| value as u32)
}

fn not_empty(option: &str, what: &str, value: String) -> Result<String> {
    if value.is_empty() {
        return Err(Error::invalid_argument(format!("{option}: {what} cannot be empty"))
            .remedy("give it at least one character, or leave it out"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: TaskOptions) -> String {
        options.check().map_or_else(|error| error.to_string(), |()| "accepted".to_owned())
    }

    #[test]
    fn amounts_that_nobody_can_have_are_refused_with_a_remedy() {
        let new = TaskOptions::new;
        for (options, what) in [
            (new().num_cpus(-1), "num_cpus: -1 is not an amount"),
            (new().num_cpus(f64::NAN), "num_cpus: NaN is not an amount"),
            (new().num_cpus(f64::INFINITY), "largest amount"),
            (new().num_cpus(0.00001), "finer than 0.0001"),
            (new().num_gpus(1.5), "num_gpus: 1.5 is more than one and not whole"),
            (new().resource("CPU", 1), "use the option `num_cpus`"),
            (new().resource("GPU", 1), "use the option `num_gpus`"),
            (new().resource("memory", 1), "use the option `memory`"),
            (new().resource("", 1), "1 to 256 bytes"),
            (new().resource("A", -2), "A: -2 is not an amount"),
            (new().resources([("A", 1.0), ("B", 0.123_45)]), "B: 0.12345 is finer"),
            (new().max_retries(-2), "max_retries: -2 is too small"),
            (new().max_retries(0.5), "not a whole number"),
            (new().num_returns(-1), "num_returns: -1 is too small"),
            (new().num_returns(u64::MAX), "not a whole number"),
            (new().on_infeasible("panic"), "use \"wait\" or \"fail\""),
        ] {
            let error = refused(options);
            assert!(error.contains(what), "{error}");
            assert!(error.contains("; "), "no remedy: {error}");
        }
    }

    #[test]
    fn the_first_refusal_stays_whatever_is_set_later() {
        let error = refused(TaskOptions::new().num_cpus(-1).num_cpus(1).max_retries(-7));
        assert!(error.contains("num_cpus"), "{error}");
    }

    #[test]
    fn amounts_in_steps_of_a_ten_thousandth_are_fine() {
        for i in 0..30_000u32 {
            let options = TaskOptions::new().num_cpus(f64::from(i) / 10_000.0);
            assert!(options.check().is_ok(), "{i}");
        }
        let options = TaskOptions::new()
            .num_gpus(0.5)
            .num_gpus(2)
            .memory(1e12)
            .resource("A", 1)
            .resource("A", 2u8)
            .resource("B", 0.0001)
            .max_retries(-1)
            .num_returns(100usize)
            .on_infeasible(OnInfeasible::Fail);
        assert!(options.check().is_ok());
        assert_eq!(options.resources, [("A".to_owned(), 2.0), ("B".to_owned(), 0.0001)]);
        assert_eq!(options.num_returns, Some(100));
        assert_eq!(options.on_infeasible, Some(OnInfeasible::Fail));
    }

    #[test]
    fn an_actor_needs_a_name_to_be_found_by() {
        let refused = |options: ActorOptions| options.check().unwrap_err().to_string();
        assert!(refused(ActorOptions::new().get_if_exists(true)).contains("needs a name"));
        assert!(refused(ActorOptions::new().name("")).contains("cannot be empty"));
        assert!(refused(ActorOptions::new().max_concurrency(0)).contains("max_concurrency: 0 is too small"));
        assert!(refused(ActorOptions::new().max_pending_calls(0)).contains("never be called"));
        assert!(refused(ActorOptions::new().concurrency_group("io", 0)).contains("\"io\""));
        let options = ActorOptions::new().name("c").get_if_exists(true).max_pending_calls(-1).max_restarts(3);
        assert!(options.check().is_ok());
    }
}
