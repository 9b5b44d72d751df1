//! The setters, for the options themselves and for the builders that `#[remote]` makes.

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

        /// Whether an actor has a process to itself; default `Isolation::Process`. A task has its worker to itself while it
        /// runs, whatever is said here.
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

        /// Whether what happens to it (to an actor's calls) is told to [`state`](crate::state); default true.
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
        /// a second actor of one name is an error. The handle holds the actor at once, and knows its id when it is ready.
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

        /// How many of its calls may overlap, at least 1; default 1000 if it has async methods, else 1. Sync `&self` methods
        /// overlap only if the attribute's `max_concurrency` is above 1 too, which needs a type that is `Sync`.
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
        /// What the call is called in `state`, logs and errors; default what the method's attribute says, or else the class's and
        /// the method's name.
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

        /// Whether what happens to the call is told to [`state`](crate::state); default the method's, or else the actor's.
        #[must_use]
        #[inline]
        pub fn task_events(mut $this, report: bool) -> Self {
            $at.set_task_events(report);
            $this
        }
    };
}
