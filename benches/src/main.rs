//! The measured work of Actinic, and the same work done by raw programs and by Ray, in one run.
//!
//! `cargo run --release -p actinic-benches -- [--filter TEXT] [--ray] [--json FILE] [--quick]`
//!
//! Every group of rows runs in a fresh process of this program, under a deadline, so that a group that hangs or dies
//! costs its own rows only. What each row measures, and the figures recorded so far, are in `README.md`.

mod alloc;
mod args;
mod catalog;
mod copies;
mod count;
mod groups;
mod machine;
mod measure;
mod raw;
mod ray;
mod report;
mod rows;

use std::process::ExitCode;

use args::Command;

/// Whatever can go wrong here is reported and ends the group.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[actinic::main]
async fn main() -> ExitCode {
    let done = match args::parse(std::env::args().skip(1)) {
        Ok(Command::Help) => {
            println!("{}", args::HELP);
            Ok(true)
        }
        Ok(Command::Run(options)) => groups::run(&options),
        Ok(Command::Count(options)) => count::run_all(&options),
        Ok(Command::Copies(options)) => copies::run_all(&options),
        Ok(Command::Group(name, options)) => rows::run(&name, &options).await.map(|()| true),
        Ok(Command::Part(name, rest)) => rows::part(&name, &rest).await.map(|()| true),
        Err(error) => Err(error),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("actinic-benches: {error}");
            ExitCode::FAILURE
        }
    }
}
