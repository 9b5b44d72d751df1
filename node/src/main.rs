//! The `actinic` command: nodes that run as daemons, and looking at a cluster.
//!
//! | module | idea |
//! | --- | --- |
//! | `flags` | the command line |
//! | `start` | starting a node: in this process, or as a daemon of its own |
//! | `daemon` | the daemon's side of that |
//! | `stop` | ending the nodes of this machine |
//! | `left` | whatever they left |
//! | `show` | status, lists, tokens |
//! | `say` | what is printed, and the commands that it names |
//!
//! Exit codes: 0 done; 1 it failed, and one line on standard error says what and how to mend it; 2 a wrong command line.

// A command looks at the clock, sleeps and reads files; nothing of it is simulated.
#![allow(clippy::disallowed_methods)]

mod daemon;
mod flags;
mod left;
mod say;
mod show;
mod start;
mod stop;

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use clap::Parser;

use flags::{Command, Flags};

/// What went wrong, in one line.
type Result<T> = std::result::Result<T, String>;

/// An engine's error, in one line.
fn told(error: actinic::Error) -> String {
    error.to_string()
}

/// From here on a reader of the output that has gone ends this command, as it does others; not for a node, which writes
/// to pipes of its workers.
fn end_with_reader() {
    // SAFETY: the default action is restored, before which nothing depends on another.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// A task may run this, whose node's processes end with it. A node that it starts is none of them, and neither is who
/// looks for them: the mark goes, from what others see of this process too, which only another beginning changes.
fn begin_unmarked() {
    if std::env::var_os(actinic::node::WORKER_NODE).is_none() {
        return;
    }
    let mut args = std::env::args_os();
    if let (Ok(this), Some(name)) = (std::env::current_exe(), args.next()) {
        let error =
            std::process::Command::new(this).arg0(name).args(args).env_remove(actinic::node::WORKER_NODE).exec();
        say::complain(&format!("it goes on as a process of the node whose task runs it: {error}"));
    }
}

fn main() -> ExitCode {
    begin_unmarked();
    let flags = Flags::parse();
    if !matches!(flags.command, Command::Start(_) | Command::Daemon) {
        end_with_reader();
    }
    let base = actinic::node::local::base(flags.state_dir.as_deref());
    let done = match flags.command {
        Command::Start(start) => start::run(&base, start),
        Command::Stop(stop) => stop::run(&base, stop.force),
        Command::Status(status) => show::status(&base, &status),
        Command::List(list) => show::list(&base, &list),
        Command::Token(token) => show::token(&base, &token),
        Command::Daemon => daemon::run().map(|()| String::new()),
    };
    match done.and_then(|text| say::print(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            say::complain(&text);
            ExitCode::FAILURE
        }
    }
}
