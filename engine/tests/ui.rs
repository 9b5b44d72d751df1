//! The messages of the macros: each file of `tests/ui` fails to compile, and says what its `.stderr` says.
//!
//! `TRYBUILD=overwrite cargo test -p actinic --test ui` writes them anew.

#[test]
fn misuse_is_explained() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
