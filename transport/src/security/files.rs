//! The only files of this crate: keys, kept where the caller says.
//!
//! The crate has no environment that it is given, as the engine's components have, so this is its door: nothing else in
//! it touches a file, and nothing calls this but what was asked to save or load an authority by its path.

#![allow(clippy::disallowed_methods)] // this is the door

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path)
}

/// Writes a file that is this user's alone, in a directory that is made if need be. Who reads it meanwhile gets what was
/// there before, or all of it: it lies on the disk before it has its name.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    // What somebody left who was killed in the middle; its mode may be another.
    let _ = std::fs::remove_file(&fresh);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}
