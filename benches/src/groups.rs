//! Runs each group in a process of its own, and gathers the rows.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Result;
use crate::args::Options;
use crate::catalog::{METRICS, Metric, groups};
use crate::measure::{MARK, Measured};
use crate::{machine, ray, report};

/// A group that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// A row as it is printed.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) metric: &'static Metric,
    pub(crate) value: Option<f64>,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) raw: Option<f64>,
    pub(crate) ray: Option<f64>,
}

/// Measures what was asked for; whether every row was measured.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let counting = crate::alloc::allocated().is_some();
    let asked = |metric: &&Metric| {
        options.wants(metric.group, metric.name) && (counting || !metric.group.starts_with("allocs"))
    };
    let wanted: Vec<&'static Metric> = METRICS.iter().filter(asked).collect();
    if options.list {
        wanted.iter().for_each(|metric| println!("{:<16} {}", metric.group, metric.name));
        return Ok(true);
    }
    if wanted.is_empty() {
        return Err("no row fits the filter; `--list` names them all".into());
    }
    let mut failed = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    for group in groups() {
        let metrics: Vec<_> = wanted.iter().filter(|metric| metric.group == group).collect();
        if metrics.is_empty() {
            continue;
        }
        eprint!("{group} ..");
        let begun = Instant::now();
        let (measured, error) = group_process(group, options);
        eprintln!(" {:.1} s{}", begun.elapsed().as_secs_f64(), error.as_ref().map_or("", |_| ", FAILED"));
        failed.extend(error.map(|error| format!("{group}: {error}")));
        rows.extend(metrics.into_iter().map(|metric| {
            let found = measured.iter().find(|row| row.metric == metric.name);
            Row {
                metric,
                value: found.map(|row| row.value),
                min: found.map_or(f64::NAN, |row| row.min),
                max: found.map_or(f64::NAN, |row| row.max),
                raw: found.and_then(|row| row.raw),
                ray: None,
            }
        }));
    }
    if options.ray {
        let names: Vec<&str> = rows.iter().filter_map(|row| row.metric.ray).collect();
        match ray::run(&names, options.quick) {
            Ok(figures) => {
                for row in &mut rows {
                    row.ray = row.metric.ray.and_then(|name| figures.get(name).copied());
                }
            }
            Err(error) => failed.push(format!("Ray: {error}")),
        }
    }
    report::print(&rows, options);
    if let Some(path) = &options.json {
        report::write_json(&rows, path)?;
    }
    for failure in &failed {
        eprintln!("FAILED {failure}");
    }
    Ok(failed.is_empty())
}

/// Groups that measure memory by proportional set size: run from a copy of the program, so that they share no page
/// with the process that waits for them.
const APART: &[&str] = &["idle", "process-actors"];

/// The rows of one group, and what went wrong if anything did.
fn group_process(group: &str, options: &Options) -> (Vec<Measured>, Option<String>) {
    // Outside of the group's process, so that its deadline is for what it measures.
    if group == "daemons"
        && let Err(error) = crate::rows::daemons::build_command()
    {
        return (Vec::new(), Some(error.to_string()));
    }
    if !APART.contains(&group) {
        return match this_program() {
            Ok(command) => run_group(command, group, options),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
    }
    let copy = std::env::temp_dir().join(format!("bench-copy-{}", std::process::id()));
    let program = std::env::current_exe().and_then(|program| std::fs::copy(program, &copy));
    let done = match program {
        Ok(_) => run_group(clean(Command::new(&copy)), group, options),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let _ = std::fs::remove_file(&copy);
    done
}

fn run_group(mut command: Command, group: &str, options: &Options) -> (Vec<Measured>, Option<String>) {
    command.args(["--internal-group", group]).stdout(Stdio::piped()).stdin(Stdio::null());
    for text in &options.filter {
        command.args(["--filter", text]);
    }
    if options.quick {
        command.arg("--quick");
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return (Vec::new(), Some(error.to_string())),
    };
    let (lines, read) = mpsc::channel();
    let stdout = child.stdout.take();
    std::thread::spawn(move || {
        for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()).map_while(|line| line.ok()) {
            let _ = lines.send(line);
        }
    });
    let until = Instant::now() + DEADLINE;
    let mut rows = Vec::new();
    loop {
        match read.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => match line.strip_prefix(MARK).map(serde_json::from_str::<Measured>) {
                Some(Ok(row)) => rows.push(row),
                Some(Err(error)) => return (rows, Some(error.to_string())),
                None => eprintln!("{line}"),
            },
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                end(&mut child);
                return (rows, Some(format!("hung: killed after {} s", DEADLINE.as_secs())));
            }
        }
    }
    match child.wait() {
        Ok(status) if status.success() => (rows, None),
        Ok(status) => (rows, Some(status.to_string())),
        Err(error) => (rows, Some(error.to_string())),
    }
}

/// Kills a process and those below it.
pub(crate) fn end(child: &mut Child) {
    for pid in machine::descendants(child.id()) {
        // SAFETY: signals a process by its id, and takes no pointer.
        unsafe {
            libc::kill(pid as libc::pid_t, libc::SIGKILL);
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// This program again, in the environment of a fresh user.
pub(crate) fn this_program() -> Result<Command> {
    Ok(clean(Command::new(std::env::current_exe()?)))
}

fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ACTINIC_") {
            command.env_remove(name);
        }
    }
    command
}
