//! Where warnings go if the program has not said so: to its error stream.
//!
//! Actinic logs by `tracing`. A program that installs a subscriber before `init()` decides everything itself. One
//! that does not would hear nothing of work that waits for ever, or of failures that nobody reads: so `init()`
//! installs a plain one for Actinic's own events.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::api::error::{Error, Result};
use crate::env::Env;

/// Hands the level on to worker processes.
pub(crate) const LEVEL: &str = "ACTINIC_LOG_LEVEL";

/// Reads a level: `off`, `error`, `warn`, `info`, `debug` or `trace`.
pub(crate) fn level(text: &str) -> Result<LevelFilter> {
    text.parse().map_err(|_| {
        Error::invalid_argument(format!("log_level: {text:?} is no level"))
            .remedy("use \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"")
    })
}

/// The level that was asked for in the environment, or warnings.
pub(crate) fn default_level(env: &Env) -> LevelFilter {
    env.var(LEVEL).and_then(|text| text.parse().ok()).unwrap_or(LevelFilter::WARN)
}

/// Writes Actinic's events to the error stream, unless the program has a subscriber.
pub(crate) fn install(level: LevelFilter) {
    if level == LevelFilter::OFF || tracing::dispatcher::has_been_set() {
        return;
    }
    let ours =
        Targets::new().with_target("actinic", level).with_target("actinic_transport", level.min(LevelFilter::WARN));
    // Who has closed the stream, or filled its disk, is not ended by a warning: to complain there would panic.
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).log_internal_errors(false);
    // Another thread may have installed one meanwhile, which is as good.
    let _ = tracing_subscriber::registry().with(ours).with(lines).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_and_others_refused() {
        assert_eq!(level("error").unwrap(), LevelFilter::ERROR);
        assert_eq!(level("off").unwrap(), LevelFilter::OFF);
        assert!(level("loud").unwrap_err().to_string().contains("\"warn\""));
    }
}
