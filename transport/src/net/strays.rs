//! Datagrams that cannot be QUIC's: what sends them, said seldom.

use std::fmt;
use std::net::SocketAddr;

use tokio::time::Instant;

use crate::seldom::Seldom;

/// The bit that every packet of QUIC version 1 has set (RFC 9000, 17.2 and 17.3); ours are sent without greasing it.
const FIXED_BIT: u8 = 0x40;

/// Those that came.
#[derive(Debug, Default)]
pub(super) struct Strays(Seldom);

/// Whether a datagram cannot be of any connection. Not all garbage shows: some looks like a packet that came too late.
pub(super) fn is_stray(datagram: &[u8]) -> bool {
    datagram.first().is_none_or(|first| first & FIXED_BIT == 0)
}

/// What is said of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    count: u64,
    last: SocketAddr,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "what is not of this cluster's protocol comes from {} and is dropped (datagrams since this was last said: {}): \
             something there sends to this port by mistake, or probes it. Nothing else is affected; end it there, keep \
             it out by a firewall, or use another port",
            self.last, self.count
        )
    }
}

impl Strays {
    /// Notes one; what is to be said now, if anything.
    pub(super) fn note(&self, from: SocketAddr, now: Instant) -> Option<Report> {
        self.0.note(now).map(|count| Report { count, last: from })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::seldom::QUIET;

    #[test]
    fn strays_are_told_by_their_first_byte() {
        for (datagram, stray) in [(&[][..], true), (&[0x00], true), (b"GET / HTTP/1.1\r\n", false), (&[0x80, 1], true)]
        {
            assert_eq!(is_stray(datagram), stray, "{datagram:?}");
        }
        assert!(!is_stray(&[0x40, 7]) && !is_stray(&[0xc3, 0, 0, 0, 1]));
    }

    #[tokio::test(start_paused = true)]
    async fn strays_are_named_once_a_minute_and_all_are_counted() {
        let (strays, from) = (Strays::default(), SocketAddr::from(([10, 0, 0, 9], 53)));
        let now = Instant::now();
        let said = strays.note(from, now).expect("the first is said at once").to_string();
        for part in ["said: 1)", "10.0.0.9:53", "another port"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        for second in 1..60 {
            assert_eq!(strays.note(from, now + Duration::from_secs(second)), None);
        }
        assert_eq!(strays.note(from, now + QUIET), Some(Report { count: 60, last: from }));
    }
}
