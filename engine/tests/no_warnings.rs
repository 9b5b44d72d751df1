//! What the macros write into a program causes no warning there, however strict its lints.

#![deny(warnings, missing_docs, missing_debug_implementations, unreachable_pub, rust_2018_idioms)]
#![deny(unused_qualifications, single_use_lifetimes, unused_results, let_underscore_drop)]
#![deny(trivial_casts, trivial_numeric_casts, unused_lifetimes, unused_import_braces, unsafe_code, non_ascii_idents)]
#![deny(elided_lifetimes_in_paths, explicit_outlives_requirements, variant_size_differences, unnameable_types)]

use actinic::prelude::*;

#[actinic::remote]
fn private(x: i64) -> i64 {
    x
}

/// Documented.
#[actinic::remote(num_returns = 2, num_cpus = 0.5)]
pub fn public(text: &str, rows: &[i64], later: ObjectRef<i64>) -> (usize, usize) {
    drop(later);
    (text.len(), rows.len())
}

#[actinic::remote(num_returns = _)]
pub(crate) fn many(parts: usize) -> Vec<usize> {
    (0..parts).collect()
}

#[actinic::remote(retry_errors)]
async fn fails() -> Result<(), std::num::ParseIntError> {
    "x".parse::<i64>().map(drop)
}

/// Documented.
#[derive(Debug, Default)]
pub struct Shown {
    value: i64,
}

#[actinic::remote]
impl Shown {
    /// Documented.
    pub fn new() -> Self {
        Shown::default()
    }

    /// Documented.
    pub fn add(&mut self, by: i64) -> i64 {
        self.value += by;
        self.value
    }

    /// Documented.
    pub async fn look(&self) -> i64 {
        self.value
    }
}

/// Documented.
#[derive(Debug)]
pub struct Acting;

#[actinic::remote(max_concurrency = 2)]
impl Acting {
    /// Documented.
    pub const fn create() -> i64 {
        1
    }

    /// Documented.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Acting
    }

    /// Documented.
    pub fn get(&self) -> i64 {
        1
    }
}

#[actinic::remote]
impl actix::Actor for Acting {
    type Context = actix::Context<Self>;
}

/// Documented.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Ping;

impl actix::Message for Ping {
    type Result = Result<i64, std::fmt::Error>;
}

#[actinic::remote(max_task_retries = 1, retry_errors)]
impl actix::Handler<Ping> for Acting {
    type Result = Result<i64, std::fmt::Error>;

    fn handle(&mut self, _: Ping, _: &mut Self::Context) -> Self::Result {
        Ok(Acting::create())
    }
}

struct Hidden;

#[actinic::remote(max_concurrency = 2)]
impl Hidden {
    fn new() -> Self {
        Hidden
    }

    fn one(&self) -> i64 {
        1
    }

    fn lent(&self) -> std::borrow::Cow<'_, str> {
        "lent".into()
    }
}

#[test]
fn strict_lints_find_nothing_in_what_the_macros_write() -> actinic::Result<()> {
    let cluster = actinic::init().num_cpus(1).blocking()?;
    let three = private::remote(3);
    let (two, none) = public::options().num_cpus(1).remote("ab", [], &three);
    assert_eq!(actinic::get((two, none)).blocking()?, (2, 0));
    assert_eq!(actinic::get(many::options().num_returns(2).remote(2)).blocking()?, [0, 1]);
    assert!(fails::remote().blocking().is_err());
    let shown: Handle<Shown> = Shown::remote();
    assert_eq!(actinic::get((shown.add(1), shown.look())).blocking()?, (1, 1));
    assert_eq!(Hidden::remote().one().blocking()?, 1);
    assert_eq!(Hidden.lent(), "lent");
    cluster.shutdown().blocking()
}
