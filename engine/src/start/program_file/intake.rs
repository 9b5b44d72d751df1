//! Bytes that arrive on the network's thread, for another that may wait for a disk.
//!
//! They go over in pieces of about [`PIECE`], in order. Of those that the disk has not taken yet a few wait, and then
//! whoever brings more does, without a thread: so a slow disk slows its own transfer, and delays nothing else.

use std::vec;

use bytes::Bytes;
use tokio::sync::mpsc;

/// What goes over at a time; chunks as they come from the network are far smaller.
const PIECE: usize = 1 << 20;
/// How many pieces wait.
const WAITING: usize = 4;

/// The network's end; dropped before [`Intake::finish`], it ends the bytes short.
pub(super) struct Intake {
    pieces: mpsc::Sender<Vec<Bytes>>,
    gathered: Vec<Bytes>,
    size: usize,
}

/// The disk's end: its iteration waits on the calling thread.
pub(super) struct Arriving {
    pieces: mpsc::Receiver<Vec<Bytes>>,
    piece: vec::IntoIter<Bytes>,
}

pub(super) fn intake() -> (Intake, Arriving) {
    let (tell, hear) = mpsc::channel(WAITING);
    let arriving = Arriving { pieces: hear, piece: Vec::new().into_iter() };
    (Intake { pieces: tell, gathered: Vec::new(), size: 0 }, arriving)
}

impl Intake {
    /// Takes some more; waits while the disk is far behind. `false` if the other end has given up.
    pub(super) async fn put(&mut self, chunk: Bytes) -> bool {
        self.size += chunk.len();
        self.gathered.push(chunk);
        self.size < PIECE || self.send().await
    }

    /// All have come.
    pub(super) async fn finish(mut self) {
        // One that has given up says why.
        self.send().await;
    }

    async fn send(&mut self) -> bool {
        self.size = 0;
        self.pieces.send(std::mem::take(&mut self.gathered)).await.is_ok()
    }
}

impl Iterator for Arriving {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(chunk) = self.piece.next() {
                return Some(chunk);
            }
            self.piece = self.pieces.blocking_recv()?.into_iter();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::env::Env;

    #[allow(clippy::disallowed_methods)] // a test's own
    fn on_a_network_thread<F: Future>(body: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(body)
    }

    fn chunk(number: u8) -> Bytes {
        Bytes::from(vec![number; PIECE / 2])
    }

    #[test]
    fn a_disk_that_stands_still_stops_nothing_on_the_networks_thread() {
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let taken = Arc::new(AtomicUsize::new(0));
        on_a_network_thread(async {
            let (mut intake, arriving) = intake();
            let disk = Env::real().aside("disk", move || {
                gone.recv().unwrap();
                arriving.collect::<Vec<Bytes>>()
            });
            let count = Arc::clone(&taken);
            let network = tokio::spawn(async move {
                for number in 0..40 {
                    assert!(intake.put(chunk(number)).await);
                    count.fetch_add(1, Ordering::Relaxed);
                }
                // Less than a piece, at last.
                assert!(intake.put(Bytes::from_static(b"end")).await);
                intake.finish().await;
            });
            for _ in 0..50 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let waiting = taken.load(Ordering::Relaxed);
            assert!((2 * WAITING..2 * WAITING + 2).contains(&waiting), "{waiting} chunks were taken");
            go.send(()).unwrap();
            network.await.unwrap();
            let written = disk.await.unwrap();
            let all = (0..40).map(chunk).chain([Bytes::from_static(b"end")]);
            assert!(written.into_iter().eq(all), "all of them, in order");
        });
    }

    #[test]
    fn a_disk_that_gives_up_is_brought_no_more() {
        on_a_network_thread(async {
            let (mut intake, arriving) = intake();
            let disk = Env::real().aside("disk", move || arriving.take(1).count());
            let mut brought = 0;
            while intake.put(chunk(0)).await {
                brought += 1;
            }
            assert!(brought <= 2 * (WAITING + 2), "{brought}");
            intake.finish().await;
            assert_eq!(disk.await.unwrap(), 1);
        });
    }
}
