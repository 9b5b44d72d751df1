//! What a command prints, and the commands that it tells people to type.
//!
//! Whoever reads it may be gone, and the disk that it goes to full: that is no panic, for a node that runs goes on.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use actinic::node::local;

use crate::Result;

/// Prints all of a text, and ends its last line.
pub(crate) fn print(text: &str) -> Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    let written = out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| format!("done, but the standard output cannot be written: {error}"))
}

/// A line on standard error, if anybody reads it.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "actinic: {line}");
}

/// One word of a shell's, whatever is in it.
pub(crate) fn word(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./:@%+=-".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

/// The state directory, if it must be said: a command does not find it by itself.
fn said(base: &Path) -> Option<String> {
    (base != local::base(None)).then(|| word(&base.display().to_string()).into_owned())
}

/// A command of this program that is about the same state directory, to be typed as it is.
pub(crate) fn command(base: &Path, rest: &str) -> String {
    let flag = said(base).map(|dir| format!(" --state-dir {dir}")).unwrap_or_default();
    format!("actinic{flag} {rest}")
}

/// What stands before a program that is to find the nodes of this directory, if anything must.
pub(crate) fn variable(base: &Path) -> String {
    said(base).map(|dir| format!("ACTINIC_STATE_DIR={dir} ")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{command, variable, word};

    #[test]
    fn what_is_to_be_typed_is_one_word_of_a_shells() {
        for plain in ["/tmp/actinic-0", "10.0.0.7:6379", "a@b%c+d=e"] {
            assert_eq!(word(plain), plain);
        }
        for (text, quoted) in [("", "''"), ("/my nodes", "'/my nodes'"), ("[::1]:1", "'[::1]:1'"), ("a'b", r"'a'\''b'")]
        {
            assert_eq!(word(text), quoted);
        }
    }

    #[test]
    fn a_directory_is_said_where_commands_would_not_find_it() {
        let base = Path::new("/somewhere/my nodes");
        assert_eq!(command(base, "stop"), "actinic --state-dir '/somewhere/my nodes' stop");
        assert_eq!(variable(base), "ACTINIC_STATE_DIR='/somewhere/my nodes' ");
        let base = actinic::node::local::base(None);
        assert_eq!((command(&base, "stop").as_str(), variable(&base).as_str()), ("actinic stop", ""));
    }
}
