//! The daemon: a node in a session of its own, told what to be by a pipe and ended by a signal.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use actinic::node::{Node, Settings, local};

use crate::left::end_processes;
use crate::start::{Report, begin};
use crate::{Result, told};

/// What a wait that a signal ended begins with.
pub(crate) const SIGNAL: &str = "signal ";

/// The signals that end a node, taken by a thread that waits for them. To be made before any other thread.
#[derive(Debug)]
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    pub(crate) fn block() -> Signals {
        // SAFETY: the set is initialised by sigemptyset before it is read, and the signal numbers are valid.
        let set = unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::sigaddset(&mut set, signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            set
        };
        Signals(set)
    }

    fn wait(&self) -> i32 {
        let mut signal = 0;
        // SAFETY: the set is initialised, and the number is written to a variable of this frame.
        unsafe {
            libc::sigwait(&self.0, &mut signal);
        }
        signal
    }
}

/// Waits until a node is to end: by a signal, or because its cluster is gone.
pub(crate) fn watch(node: &Node, signals: Signals) -> String {
    let end = node.ender();
    std::thread::spawn(move || end(&format!("{SIGNAL}{}", signals.wait())));
    node.wait()
}

/// Ends a node in good order, and what its tasks have started: nobody else would know whose it is.
pub(crate) fn end(node: Node, base: &Path) {
    let (dir, entry) = (node.dir().to_path_buf(), node.entry().clone());
    node.stop();
    let left = end_processes(base, &[local::Found { dir, alive: false, entry: Some(entry) }], false);
    if left > 0 {
        tracing::warn!(target: "actinic", "{left} process(es) that tasks of the node had left were killed");
    }
    local::tidy(base);
}

/// What a node says goes to the standard error, which is a daemon's log.
pub(crate) fn log() {
    let filter = std::env::var("ACTINIC_LOG").unwrap_or_else(|_| "actinic=info,warn".to_owned());
    let lines = tracing_subscriber::fmt().with_ansi(std::io::stderr().is_terminal()).with_env_filter(filter);
    // A log that cannot be written is no reason to end: to say so on the same stream would panic, and so end the node.
    let subscriber = lines.with_writer(std::io::stderr).log_internal_errors(false);
    // This process has no other.
    let _ = subscriber.try_init();
}

/// Lets this process, and those that it starts, have as many files open as it may: each worker is a few.
pub(crate) fn raise_open_files() {
    // SAFETY: the limits are initialised by the first call before the second reads them.
    unsafe {
        let mut limits: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limits) == 0 && limits.rlim_cur < limits.rlim_max {
            limits.rlim_cur = limits.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limits);
        }
    }
}

/// The hidden command that `start` runs.
pub(crate) fn run() -> Result<()> {
    let signals = Signals::block();
    let mut text = Vec::new();
    std::io::stdin().take(1 << 20).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let settings: Settings = serde_json::from_slice(&text).map_err(|_| "`actinic start` runs this".to_owned())?;
    let mut report = keep_stdout()?;
    match serve(&settings) {
        Ok((node, log)) => {
            let entry = node.entry().clone();
            tell(&mut report, &Report::Started { entry, token: node.token(), log: log.clone() });
            // `start` has heard all that it waits for.
            drop(report);
            let why = watch(&node, signals);
            tracing::info!(target: "actinic", why, "the node ends");
            if !why.starts_with(SIGNAL) {
                // Who looks for the reason finds it there.
                local::keep_log(&settings.base, Path::new(&log).parent().unwrap_or(Path::new("")));
            }
            end(node, &settings.base);
        }
        Err(text) => tell(&mut report, &Report::Failed(text)),
    }
    Ok(())
}

fn tell(report: &mut std::fs::File, what: &Report) {
    if let Ok(mut line) = serde_json::to_vec(what) {
        line.push(b'\n');
        // `start` may have been killed; the node is as good without it.
        let _ = report.write_all(&line);
    }
}

/// The pipe to `start`, which workers do not inherit.
fn keep_stdout() -> Result<std::fs::File> {
    // SAFETY: the descriptor is this process's standard output; the copy is new, and owned by what is made of it.
    let copy = unsafe { libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(std::io::Error::last_os_error().to_string());
    }
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) }.into())
}

fn serve(settings: &Settings) -> Result<(Node, String)> {
    let claim = local::claim(&settings.base).map_err(told)?;
    let log = claim.dir.join("log");
    redirect(&log)?;
    self::log();
    let node = begin(settings, claim)?;
    Ok((node, log.display().to_string()))
}

/// Everything that this process and its workers print goes to the log; they read nothing.
fn redirect(log: &Path) -> Result<()> {
    let failed = |error: std::io::Error| format!("{}: {error}", log.display());
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(log).map_err(failed)?;
    let null = OpenOptions::new().read(true).open("/dev/null").map_err(failed)?;
    // SAFETY: all descriptors are open; the standard ones are replaced while nothing else uses them.
    let done = unsafe {
        libc::dup2(null.as_raw_fd(), 0) >= 0
            && libc::dup2(file.as_raw_fd(), 1) >= 0
            && libc::dup2(file.as_raw_fd(), 2) >= 0
    };
    if done { Ok(()) } else { Err(failed(std::io::Error::last_os_error())) }
}
