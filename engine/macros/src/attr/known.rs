//! Which options there are: of what, and how their values are written.

/// How the value of an option is written.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Shape {
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
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
}

const fn known(name: &'static str, shape: Shape) -> Known {
    Known { name, shape }
}

const ISOLATION: Shape = Shape::Words(&["process", "shared"]);
const LIFETIME: Shape = Shape::Words(&["detached", "non_detached"]);
const SCHEDULING: Shape = Shape::Words(&["default", "spread"]);
const ON_INFEASIBLE: Shape = Shape::Words(&["wait", "fail"]);
const WORKERS: Shape = Shape::Words(&["processes", "threads"]);

pub(super) const FUNCTION: &[Known] = &[
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

pub(super) const ACTOR: &[Known] = &[
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

pub(super) const TEST: &[Known] = &[
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
    pub(super) fn known(self) -> &'static [Known] {
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

    pub(super) fn what(self) -> &'static str {
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
