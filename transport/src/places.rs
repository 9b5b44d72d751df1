//! Places for connections that are on their way to a greeting: who may take one.
//!
//! Whoever answers at his address proves that he receives what is sent there and nothing else, so one host may not take
//! what all others need. It has a share, and what is on this machine, where a process's workers dial it, has places that
//! no other host takes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many connections may be on their way to a greeting; of further ones nothing is heard here, and they try again.
const PLACES: usize = 512;
/// The rest only this machine takes.
const FOREIGN: usize = 384;
/// So many one other host may take when others need them: when half of what other hosts may take is taken. Until then it
/// may take more, as the workers of a large machine do that begin at once: one that is ignored comes again a second later.
const SHARE: usize = 64;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    ThisMachine,
    Host(IpAddr),
}

impl Source {
    /// Of another machine. One host may have all addresses of a network of 64 bits.
    pub(crate) fn host(addr: SocketAddr) -> Source {
        Source::Host(match addr.ip().to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
            v4 => v4,
        })
    }
}

/// What a connection that begins is given.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A place, until this is dropped.
    Place(Place),
    /// It is told to come again, with the proof that it receives what is sent to its address: half of the places are
    /// taken, or of its host's share, and anybody may write another's address on what he sends.
    Prove,
    /// There is none for it.
    Full,
}

#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    source: Source,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.leave(self.source);
    }
}

/// Who has taken how many.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    own: usize,
    foreign: usize,
    /// Sums up to `foreign`; who has none is not in it.
    hosts: BTreeMap<IpAddr, usize>,
}

impl Taken {
    fn all(&self) -> usize {
        self.own + self.foreign
    }
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Plain numbers under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all who prove nothing are told to come again, from wherever they are.
    pub(crate) fn are_crowded(&self) -> bool {
        self.taken().all() >= PLACES / 2
    }

    /// `proved` says whether it receives what is sent to its address.
    pub(crate) fn enter(self: &Arc<Self>, source: Source, proved: bool) -> Entry {
        let mut taken = self.taken();
        let share = match source {
            Source::ThisMachine => 0,
            Source::Host(ip) => taken.hosts.get(&ip).copied().unwrap_or(0),
        };
        if !proved && (taken.all() >= PLACES / 2 || share >= SHARE / 2) {
            return Entry::Prove;
        }
        let reserved = source != Source::ThisMachine && taken.foreign >= FOREIGN;
        let scarce = taken.foreign >= FOREIGN / 2;
        if taken.all() >= PLACES || reserved || (scarce && share >= SHARE) {
            return Entry::Full;
        }
        match source {
            Source::ThisMachine => taken.own += 1,
            Source::Host(ip) => {
                taken.foreign += 1;
                taken.hosts.insert(ip, share + 1);
            }
        }
        Entry::Place(Place { places: self.clone(), source })
    }

    fn leave(&self, source: Source) {
        let mut taken = self.taken();
        match source {
            Source::ThisMachine => taken.own -= 1,
            Source::Host(ip) => {
                taken.foreign -= 1;
                match taken.hosts.get_mut(&ip) {
                    Some(share) if *share > 1 => *share -= 1,
                    _ => drop(taken.hosts.remove(&ip)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(addr: &str) -> Source {
        Source::host(addr.parse().unwrap())
    }

    /// As many as it is given of those that it asks for.
    fn take(places: &Arc<Places>, source: Source, proved: bool) -> Vec<Place> {
        let entries = (0..2 * PLACES).map(|_| places.enter(source, proved));
        entries.filter_map(|entry| if let Entry::Place(place) = entry { Some(place) } else { None }).collect()
    }

    #[test]
    fn a_host_has_a_share_and_this_machine_the_last_places() {
        let places = Arc::new(Places::default());
        let floods: Vec<_> = (1..=9).map(|n| take(&places, host(&format!("192.0.2.{n}:7")), true)).collect();
        assert_eq!(floods.iter().map(Vec::len).collect::<Vec<_>>(), [192, 64, 64, 64, 0, 0, 0, 0, 0]);
        let own = take(&places, Source::ThisMachine, true);
        assert_eq!(own.len(), PLACES - FOREIGN);
        drop(own);
        drop(floods);
        assert_eq!(take(&places, Source::ThisMachine, true).len(), PLACES);
        assert_eq!(take(&places, host("192.0.2.9:1"), true).len(), 192);
        let taken = places.taken();
        assert_eq!((taken.own, taken.foreign, taken.hosts.len()), (0, 0, 0), "who leaves is forgotten");
    }

    /// Nobody takes another's share, or all places, by his address alone.
    #[test]
    fn who_proves_nothing_takes_half() {
        let places = Arc::new(Places::default());
        let spoofed = take(&places, host("192.0.2.1:7"), false);
        assert_eq!(spoofed.len(), SHARE / 2);
        assert!(matches!(places.enter(host("192.0.2.1:7"), false), Entry::Prove));
        assert!(matches!(places.enter(host("192.0.2.1:7"), true), Entry::Place(_)));
        let many: Vec<_> = (2..40).map(|n| take(&places, host(&format!("192.0.2.{n}:7")), false)).collect();
        assert_eq!(many.iter().map(Vec::len).sum::<usize>(), PLACES / 2 - SHARE / 2);
        assert!(matches!(places.enter(Source::ThisMachine, false), Entry::Prove));
        assert!(matches!(places.enter(Source::ThisMachine, true), Entry::Place(_)));
        assert!(matches!(places.enter(host("192.0.2.50:7"), true), Entry::Place(_)));
    }

    #[test]
    fn a_host_is_its_address_or_its_network_of_64_bits() {
        assert_eq!(host("[::ffff:192.0.2.1]:1"), host("192.0.2.1:2"));
        assert_ne!(host("192.0.2.1:1"), host("192.0.2.2:1"));
        assert_eq!(host("[2001:db8:0:1::1]:1"), host("[2001:db8:0:1:ffff::2]:2"));
        assert_ne!(host("[2001:db8:0:1::1]:1"), host("[2001:db8:0:2::1]:1"));
    }
}
