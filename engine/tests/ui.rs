//! The messages of the macros: each file of `tests/ui` fails to compile, and says what its `.stderr` says.
//!
//! `TRYBUILD=overwrite cargo test -p actinic --test ui` writes them anew. Most of that is the compiler's own words, which
//! change from release to release: they are those of [`RECORDED`], and another compiler's are compared with nothing.

#![allow(clippy::disallowed_methods)] // it asks the compiler for its version

use std::process::Command;

/// What wrote the messages.
const RECORDED: &str = "rustc 1.95.0 ";

/// What `cargo` compiles with here says of itself.
fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).arg("--version").output().expect("rustc runs");
    String::from_utf8_lossy(&said.stdout).into_owned()
}

#[test]
fn misuse_is_explained() {
    let compiler = compiler();
    if !compiler.starts_with(RECORDED) {
        println!("skipped: the messages were recorded with {RECORDED}and this is {compiler}");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
