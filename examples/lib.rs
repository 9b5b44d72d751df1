//! Programs of Ray's tutorials in Rust, one file each; see the files beside this one.
