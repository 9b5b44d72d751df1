//! What may be said faster than it is read: results, actors that are made, refs that are let go. Of what nobody reads in
//! time a session ends (`Limits::max_backlog`), and its end is the death of a process that lives. So what has no room waits
//! here, in order, in one queue and with one task for each component of a process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actinic_transport::{ActorNo, Lane, Peer, ProcessId};
use serde::Serialize;
use tokio::sync::oneshot;

/// So many bytes may wait for a process before what is said to it waits for room: far below the end of its session. What has
/// waited is sent up to half of what ends it ([`Peer::drained`]).
const ROOM_BYTES: usize = 16 << 20;

/// A process, and which component of it.
type To = (ProcessId, ActorNo);
type Send = Box<dyn FnOnce(&Peer) + std::marker::Send>;

/// So many are sent in one turn of the thread.
const TURN: usize = 256;

/// See the module.
#[derive(Debug)]
pub(crate) struct Room {
    system: tokio::runtime::Handle,
    waiting: Mutex<Waiting>,
    /// How many queues there are: mostly none.
    queues: AtomicUsize,
}

/// What waits for a component, and by which session the first of it came. It is empty while the last of it is being sent.
type Queue = (Peer, VecDeque<(Peer, Send)>);

/// A component without a queue has no task that sends it.
#[derive(Default)]
struct Waiting(BTreeMap<To, Queue>);

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Room {
    pub(crate) fn new(system: tokio::runtime::Handle) -> Arc<Room> {
        Arc::new(Room { system, waiting: Mutex::default(), queues: AtomicUsize::new(0) })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Plain data under the lock; nothing is sent or dropped under it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends now, if there is room and nothing waits for that component; else as soon as it may.
    pub(crate) fn send(
        self: &Arc<Self>,
        peer: &Peer,
        to: ActorNo,
        send: impl FnOnce(&Peer) + std::marker::Send + 'static,
    ) {
        // Whoever has left something in a queue sees that queue, for as long as it is there.
        if self.queues.load(Ordering::Acquire) == 0 && peer.backlog() <= ROOM_BYTES {
            return send(peer);
        }
        let to = (peer.id(), to);
        {
            let mut waiting = self.lock();
            if let Some((_, queue)) = waiting.0.get_mut(&to) {
                return queue.push_back((peer.clone(), Box::new(send)));
            }
            if peer.backlog() > ROOM_BYTES {
                let queue = VecDeque::from([(peer.clone(), Box::new(send) as Send)]);
                waiting.0.insert(to, (peer.clone(), queue));
                self.queues.fetch_add(1, Ordering::Release);
                drop(waiting);
                let room = Arc::clone(self);
                self.system.spawn(async move { room.drain(to).await });
                return;
            }
        }
        send(peer);
    }

    /// Tells a component of a process something, in order.
    pub(crate) fn tell<M: Serialize + std::marker::Send + 'static>(
        self: &Arc<Self>,
        peer: &Peer,
        to: ActorNo,
        message: M,
    ) {
        self.send(peer, to, move |peer| {
            if let Err(error) = peer.tell(Lane::Ordered, to, &message) {
                // The news of the session's end says what becomes of what the message was about.
                tracing::debug!(process = %peer.id(), %error, "a message was not sent");
            }
        });
    }

    /// Waits until all that waits for that component now was sent, but no longer than `within`; on any executor.
    pub(crate) async fn turn(self: &Arc<Self>, peer: &Peer, to: ActorNo, within: Duration) {
        let (tell, mut hear) = oneshot::channel();
        self.send(peer, to, move |_| {
            // Whoever waits may have given up.
            let _ = tell.send(());
        });
        if hear.try_recv().is_err() {
            // Late, or dropped untold with the process's end, it is as if its turn had come.
            let _ = self.system.spawn(async move { tokio::time::timeout(within, hear).await }).await;
        }
    }

    /// Does something when all that waits now for such a component of any process was sent; at once if nothing does.
    pub(crate) fn after(&self, component: ActorNo, then: impl FnOnce() + std::marker::Send + 'static) {
        // As in `send`.
        if self.queues.load(Ordering::Acquire) == 0 {
            return then();
        }
        let mut waiting = self.lock();
        let queues = waiting.0.iter_mut().filter(|((_, to), _)| *to == component);
        let ends: Vec<_> = queues.map(|(_, queue)| queue).collect();
        if ends.is_empty() {
            drop(waiting);
            return then();
        }
        let left = Arc::new((AtomicUsize::new(ends.len()), Mutex::new(Some(then))));
        for (peer, queue) in ends {
            let peer = peer.clone();
            let left = Arc::clone(&left);
            let sent = move |_: &Peer| {
                if left.0.fetch_sub(1, Ordering::AcqRel) == 1
                    && let Some(then) = left.1.lock().unwrap_or_else(PoisonError::into_inner).take()
                {
                    then();
                }
            };
            queue.push_back((peer, Box::new(sent)));
        }
    }

    async fn drain(&self, to: To) {
        let mut sent = 0_usize;
        while let Some(peer) = self.waits(to) {
            if peer.backlog() > ROOM_BYTES {
                peer.drained().await;
            }
            let next = self.lock().0.get_mut(&to).and_then(|(_, queue)| queue.pop_front());
            if let Some((peer, send)) = next {
                send(&peer);
            }
            sent += 1;
            if sent.is_multiple_of(TURN) {
                // Small ones are many: others of this thread have their turn between them.
                tokio::task::yield_now().await;
            }
        }
    }

    /// By which session the next for a component goes; without one, its queue is gone.
    fn waits(&self, to: To) -> Option<Peer> {
        let mut waiting = self.lock();
        let next = waiting.0.get(&to).and_then(|(_, queue)| queue.front()).map(|(peer, _)| peer.clone());
        if next.is_none() && waiting.0.remove(&to).is_some() {
            self.queues.fetch_sub(1, Ordering::Release);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use actinic_transport::{Authority, ClusterId, Messages, PeerAddr, Receiver};

    use super::*;
    use crate::env::sim;
    use crate::net::tests::endpoint;
    use crate::testing::eventually;

    const SINK: ActorNo = ActorNo(77);
    const MESSAGES: u64 = 80;

    #[derive(Default)]
    struct Sink(Mutex<Vec<u64>>);

    impl Receiver for Sink {
        fn receive(&self, _from: &Peer, messages: &mut Messages<'_>) {
            let number = |body: &[u8]| postcard::from_bytes::<(u64, Vec<u8>)>(body).unwrap().0;
            self.0.lock().unwrap().extend(messages.map(|message| number(message.body)));
        }
    }

    /// More than a session may hold comes at once: all of it arrives, in order, and a turn comes behind it.
    #[test]
    fn what_has_no_room_waits_in_order() {
        sim::run(1, move |env| async move {
            let authority = Authority::generate(ClusterId(env.uuid())).unwrap();
            let (from, to) = (endpoint(&env, &authority), endpoint(&env, &authority));
            let sink = Arc::new(Sink::default());
            to.register(SINK, sink.clone());
            let peer = from.peer(&PeerAddr::new(to.id(), to.local_addr()));
            let room = Room::new(tokio::runtime::Handle::current());
            for number in 0..MESSAGES {
                room.tell(&peer, SINK, (number, vec![0u8; 1 << 20]));
            }
            assert!(peer.backlog() < 2 * ROOM_BYTES, "{}", peer.backlog());
            let (tell, hear) = oneshot::channel();
            room.after(SINK, move || tell.send(()).unwrap());
            room.turn(&peer, SINK, Duration::from_secs(60)).await;
            hear.await.unwrap();
            room.after(SINK, || ());
            room.tell(&peer, SINK, (MESSAGES, Vec::<u8>::new()));
            let all = || sink.0.lock().unwrap().len() as u64 > MESSAGES;
            assert!(eventually(Duration::from_secs(60), all).await);
            assert!(sink.0.lock().unwrap().iter().copied().eq(0..=MESSAGES));
            assert!(peer.ended().is_none());
            assert!(eventually(Duration::from_secs(1), || room.queues.load(Ordering::Acquire) == 0).await);
        });
    }
}
