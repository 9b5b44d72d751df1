//! The ways to the GCS, and from it to raylets.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actinic_transport::{ActorNo, Authority, ClusterId, Lane, Messages, NodeId, Peer, PeerAddr, Receiver};

use crate::env::sim;
use crate::gcs::GcsLink;
use crate::ids::ActorId;
use crate::net::tests::endpoint;
use crate::protocol::{ActorRun, AskGcs, GCS, GcsAnswer, Gone, RAYLET, ToGcs, ToRaylet};
use crate::raylet::RayletLink;
use crate::room::Room;
use crate::testing::eventually;

/// Remembers of what arrives whether it is large, and answers what is asked.
#[derive(Default)]
struct Heard(Mutex<Vec<bool>>);

impl Receiver for Heard {
    fn receive(&self, _from: &Peer, messages: &mut Messages<'_>) {
        for message in messages {
            self.0.lock().unwrap().push(message.body.len() > LARGE_BYTES);
            if let Some(reply) = message.reply {
                reply.answer(&GcsAnswer::Killed { owner: None }).unwrap();
            }
        }
    }
}

const LARGE: usize = 16;
const LARGE_BYTES: usize = 1 << 20;

/// Two processes: a link from the one to the other is made by `link`, and used by `tell`, behind much that waits in the
/// ordered lane. What `tell` sends comes before half of that.
fn passes<L: 'static>(
    at: ActorNo,
    link: fn(Peer, Arc<Room>) -> L,
    large: fn(&L, ActorRun, String),
    tell: impl AsyncFnOnce(&L, ActorRun) + 'static,
) {
    sim::run(1, move |env| async move {
        let authority = Authority::generate(ClusterId(env.uuid())).unwrap();
        let (from, to) = (endpoint(&env, &authority), endpoint(&env, &authority));
        let heard = Arc::new(Heard::default());
        to.register(at, heard.clone());
        let peer = from.peer(&PeerAddr::new(to.id(), to.local_addr()));
        let link = link(peer, Room::new(tokio::runtime::Handle::current()));
        let run = ActorRun { actor: ActorId(env.uuid()), incarnation: 0, attempt: 1 };
        for _ in 0..LARGE {
            large(&link, run, "x".repeat(LARGE_BYTES));
        }
        tell(&link, run).await;
        assert!(eventually(Duration::from_secs(60), || heard.0.lock().unwrap().len() == LARGE + 1).await);
        let place = heard.0.lock().unwrap().iter().position(|large| !*large);
        assert!(place < Some(LARGE / 2), "it came as number {place:?}");
    });
}

fn much_to_gcs(link: &GcsLink, run: ActorRun, text: String) {
    link.tell(ToGcs::ActorDied { run, node: NodeId(run.actor.0), how: Gone::Exited, text, owner: None });
}

/// A node that has much to say is alive all the same.
#[test]
fn a_heartbeat_passes_what_waits() {
    passes(GCS, GcsLink::Remote, much_to_gcs, async |link, run| {
        link.tell(ToGcs::Heartbeat { node: NodeId(run.actor.0) });
    });
}

#[test]
fn a_kill_passes_what_its_killer_told_the_gcs_before() {
    passes(GCS, GcsLink::Remote, much_to_gcs, async |link, run| {
        let kill = AskGcs::Kill { actor: run.actor, no_restart: true };
        link.ask_on(Lane::Urgent, kill, Duration::from_secs(60)).await.unwrap();
    });
}

#[test]
fn a_kill_passes_what_the_gcs_told_the_raylet_before() {
    fn much(link: &RayletLink, run: ActorRun, text: String) {
        let owner = None;
        link.tell(ToRaylet::ActorGone { run, how: Gone::Exited, text, owner });
    }
    passes(RAYLET, RayletLink::Remote, much, async |link, run| link.tell(ToRaylet::EndActor { run, kill: true }));
}
