//! The same work by Ray, in the same run: `ray_work.py` in a Python environment that is made for it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Result;
use crate::groups::end;

const VERSION: &str = "2.60.0";
const WORK: &str = include_str!("../ray_work.py");
/// All of it takes about ten minutes here.
const DEADLINE: Duration = Duration::from_secs(1800);

/// The figures of the works named, by name.
pub(crate) fn run(names: &[&str], quick: bool) -> Result<BTreeMap<String, f64>> {
    let python = environment()?;
    let dir = std::env::temp_dir().join(format!("acr{}", std::process::id()));
    std::fs::create_dir_all(dir.join("home"))?;
    let figures = work(&python, &dir, names, quick);
    let _ = std::fs::remove_dir_all(&dir);
    figures
}

/// The interpreter of an environment with that Ray; made once, beside the compiled program.
fn environment() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.parent().and_then(Path::parent).ok_or("this program lies nowhere")?;
    let dir = target.join(format!("ray-{VERSION}"));
    let (python, done) = (dir.join("bin/python"), dir.join("complete"));
    if done.exists() {
        return Ok(python);
    }
    eprintln!("making {} (once; from PyPI)", dir.display());
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
    let package = format!("ray[default]=={VERSION}");
    succeed(Command::new(&python).args(["-m", "pip", "install", "--quiet", &package]))?;
    std::fs::write(done, "")?;
    Ok(python)
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

fn work(python: &Path, dir: &Path, names: &[&str], quick: bool) -> Result<BTreeMap<String, f64>> {
    let script = dir.join("ray_work.py");
    std::fs::write(&script, WORK)?;
    let mut command = Command::new(python);
    command.arg(&script).args(names).env("WORK_DIR", dir).env("WORK_QUICK", if quick { "1" } else { "" });
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null()).spawn()?;
    let (lines, read) = mpsc::channel();
    let stdout = child.stdout.take();
    std::thread::spawn(move || {
        for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()).map_while(|line| line.ok()) {
            let _ = lines.send(line);
        }
    });
    let until = Instant::now() + DEADLINE;
    let mut figures = BTreeMap::new();
    // Ray prints on its standard output too: a row is a mark and two fields.
    while let Ok(line) = read.recv_timeout(until.saturating_duration_since(Instant::now())) {
        if let Some((name, value)) = line.strip_prefix("ROW\t").and_then(|row| row.split_once('\t')) {
            eprintln!("Ray: {name} {value}");
            figures.insert(name.to_string(), value.trim().parse()?);
        }
    }
    if Instant::now() >= until {
        end(&mut child);
        return Err(format!("did not end within {} s", DEADLINE.as_secs()).into());
    }
    let status = child.wait()?;
    if figures.is_empty() {
        return Err(format!("no figures; {status}; run {} by hand to see why", script.display()).into());
    }
    Ok(figures)
}
