//! The command line.

use std::path::PathBuf;

use crate::Result;

pub(crate) const HELP: &str = "\
The measured work of Actinic, beside raw programs and Ray.

usage: actinic-benches [--filter TEXT] [--ray] [--json FILE] [--quick] [--list]
       actinic-benches count|copies [--filter TEXT]

  --filter TEXT   only the rows whose name or group contains TEXT (may be given more than once)
  --ray           run the same work with Ray too (makes a Python environment of its own; needs PyPI once)
  --json FILE     write the rows to FILE as JSON ('-': to standard output)
  --quick         a smoke run of a few seconds; its figures mean nothing
  --list          print the rows, and measure nothing
  count           syscalls, packets and context switches per task of each hot path (needs perf or strace)
  copies          how often the bytes of an argument or object are copied (needs valgrind)";

/// What to measure, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) filter: Vec<String>,
    pub(crate) ray: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) quick: bool,
    pub(crate) list: bool,
}

impl Options {
    /// Whether a row of that name, in that group, was asked for.
    pub(crate) fn wants(&self, group: &str, metric: &str) -> bool {
        let fits = |text: &String| {
            let text = text.to_lowercase();
            metric.to_lowercase().contains(&text) || group.contains(&text)
        };
        self.filter.is_empty() || self.filter.iter().any(fits)
    }

    /// How many, of a full run and of a smoke run.
    pub(crate) fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// What this process is for.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Run(Options),
    Count(Options),
    Copies(Options),
    /// One group of rows, in a process of its own.
    Group(String, Options),
    /// A helper process of a group: one cold start, a raw peer, one hot path.
    Part(String, Vec<String>),
}

pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Command> {
    let mut args = args.peekable();
    let mut options = Options::default();
    let mut group = None;
    let mut what: Option<fn(Options) -> Command> = None;
    while let Some(arg) = args.next() {
        let mut value = |what: &str| args.next().ok_or_else(|| format!("{arg} needs {what} after it"));
        match arg.as_str() {
            "--filter" => options.filter.push(value("a text")?),
            "--ray" => options.ray = true,
            "--json" => options.json = Some(PathBuf::from(value("a file")?)),
            "--quick" => options.quick = true,
            "--list" => options.list = true,
            "-h" | "--help" => return Ok(Command::Help),
            "count" => what = Some(Command::Count),
            "copies" => what = Some(Command::Copies),
            "--internal-group" => group = Some(value("a group")?),
            "--internal-part" => return Ok(Command::Part(value("a part")?, args.collect())),
            other => return Err(format!("{other} is not understood\n\n{HELP}").into()),
        }
    }
    Ok(match group {
        Some(name) => Command::Group(name, options),
        None => what.unwrap_or(Command::Run)(options),
    })
}
