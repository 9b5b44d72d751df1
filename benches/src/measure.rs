//! Medians, rates and round trips; and how a group's process hands its rows over.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::args::Options;

/// Written before each row on the standard output of a group's process.
pub(crate) const MARK: char = '\u{1}';

/// One measured row, as it travels from a group's process to the one that prints the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) metric: String,
    pub(crate) value: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) raw: Option<f64>,
}

/// Figures of the same thing, measured again and again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) const fn new() -> Samples {
        Samples(Vec::new())
    }

    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
        }
    }

    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

impl From<f64> for Samples {
    fn from(value: f64) -> Samples {
        Samples(vec![value])
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Samples {
        Samples(values.into_iter().collect())
    }
}

/// What a group's process writes its rows with.
pub(crate) struct Bench<'a> {
    pub(crate) group: &'a str,
    pub(crate) options: &'a Options,
}

impl Bench<'_> {
    pub(crate) fn wants(&self, metric: &str) -> bool {
        self.options.wants(self.group, metric)
    }

    pub(crate) fn size<T>(&self, full: T, quick: T) -> T {
        self.options.size(full, quick)
    }

    /// How often a figure is measured again.
    pub(crate) fn rounds(&self) -> usize {
        self.size(5, 1)
    }

    /// For how long a rate is measured, at least, in each round.
    pub(crate) fn span(&self) -> Duration {
        self.size(Duration::from_millis(400), Duration::from_millis(5))
    }

    /// Hands a row over, if it was asked for.
    pub(crate) fn row(&self, metric: &str, value: impl Into<Samples>, raw: Option<f64>) {
        if !self.wants(metric) {
            return;
        }
        let value = value.into();
        let row =
            Measured { metric: metric.to_string(), value: value.median(), min: value.min(), max: value.max(), raw };
        match serde_json::to_string(&row) {
            Ok(text) => println!("{MARK}{text}"),
            Err(error) => eprintln!("row {metric}: {error}"),
        }
    }
}

/// Operations a second: repeats the work, of `count` operations, for at least `span`.
pub(crate) async fn rate(span: Duration, count: usize, mut work: impl AsyncFnMut() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    let mut done = 0;
    loop {
        work().await?;
        done += count;
        let took = begun.elapsed();
        if took >= span {
            return Ok(done as f64 / took.as_secs_f64());
        }
    }
}

/// Round trips, one at a time: their median and their 99th percentile, in microseconds.
pub(crate) async fn trips(count: usize, mut work: impl AsyncFnMut(i64) -> Result<()>) -> Result<Trips> {
    let mut took = Vec::with_capacity(count);
    for n in 0..count as i64 {
        let begun = Instant::now();
        work(n).await?;
        took.push(begun.elapsed());
    }
    Ok(Trips::of(took))
}

/// How long round trips took, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trips {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Trips {
    pub(crate) fn of(mut took: Vec<Duration>) -> Trips {
        took.sort();
        let at =
            |share: usize| took.get(took.len() * share / 100).map_or(f64::NAN, |time| time.as_nanos() as f64 / 1e3);
        Trips { p50: at(50), p99: at(99) }
    }
}

/// Times some work, in seconds.
pub(crate) async fn seconds(work: impl Future<Output = Result<()>>) -> Result<f64> {
    let begun = Instant::now();
    work.await?;
    Ok(begun.elapsed().as_secs_f64())
}

/// An error unless it holds.
pub(crate) fn check(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(format!("wrong result: {what}").into()) }
}
