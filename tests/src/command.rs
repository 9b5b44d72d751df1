//! The `actinic` command, for what runs real daemons.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the command with a profile, of which this is the folder, as cargo does not for a package that only runs it.
///
/// # Errors
///
/// Why it could not be built, and what to do.
pub fn build(profile: &Path) -> Result<PathBuf, String> {
    let target = profile.parent().ok_or("a profile's folder lies in the target folder")?;
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "--package", "actinic-node", "--bin", "actinic"]);
    // What cargo says of the package that it runs would make it build all of ring's dependents anew, now and the next time.
    let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_package)) {
        build.env_remove(name);
    }
    if profile.ends_with("release") {
        build.arg("--release");
    }
    build.env("CARGO_TARGET_DIR", target).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if build.status().is_ok_and(|status| status.success()) {
        return Ok(profile.join("actinic"));
    }
    Err("the command could not be built: run `cargo build --package actinic-node`".to_owned())
}

/// The command, or a program, on a machine that is no more than a state directory: it knows of no other cluster.
pub fn at(dir: &Path, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("ACTINIC_STATE_DIR", dir);
    for name in ["ACTINIC_ADDRESS", "ACTINIC_TOKEN"] {
        command.env_remove(name);
    }
    command
}
