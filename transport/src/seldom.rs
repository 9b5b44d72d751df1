//! What anybody can make happen as often as he likes is said seldom, and in our words: whoever has proved nothing must
//! neither fill a log nor write in it.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So long is nothing more said.
pub(crate) const QUIET: Duration = Duration::from_secs(60);
/// So many bytes of a stranger's text are shown.
const SHOWN: usize = 200;

/// Counts what is not said.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    unsaid: u64,
    said: Option<Instant>,
}

impl Seldom {
    /// Notes one. If it is to be said now: how many came since that was last so, this one included.
    pub(crate) fn note(&self, now: Instant) -> Option<u64> {
        // Plain numbers under the lock.
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.unsaid += 1;
        if seen.said.is_some_and(|said| now < said + QUIET) {
            return None;
        }
        seen.said = Some(now);
        Some(std::mem::take(&mut seen.unsaid))
    }
}

/// What is said of connections before a certificate or a token was shown, each kind for itself: many of one hide none of
/// another. Their lines say `times`: how many there were since the last such line, that one included.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    pub(crate) ignored: Seldom,
    pub(crate) failed: Seldom,
    pub(crate) nameless: Seldom,
    pub(crate) stalled: Seldom,
    pub(crate) joins: Seldom,
}

/// A text that a stranger may have had a hand in: one line, of characters that do nothing.
pub(crate) fn shown(text: &dyn fmt::Display) -> String {
    let plain = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    text.to_string().chars().take(SHOWN).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_once_a_minute_and_all_are_counted() {
        let (seldom, now) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.note(now), Some(1), "the first at once");
        for second in 1..60 {
            assert_eq!(seldom.note(now + Duration::from_secs(second)), None);
        }
        assert_eq!(seldom.note(now + QUIET), Some(60));
        assert_eq!(seldom.note(now + QUIET), None);
    }

    #[test]
    fn what_is_shown_is_one_short_line() {
        assert_eq!(shown(&"error 120: peer doesn't"), "error 120: peer doesn't");
        assert_eq!(shown(&"a\r\nb\u{1b}[2J\u{2028}\u{202e}\u{7f}\0"), "a??b?[2J????");
        assert_eq!(shown(&"\u{10ffff}".repeat(1000)), "?".repeat(SHOWN));
    }
}
