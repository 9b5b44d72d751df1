//! What is promised while user code holds its thread: the cluster answers all the same.
//!
//! A sync function spins here for longer than a node may be silent before it is declared dead, so that a node that lives at
//! the end has sent heartbeats meanwhile; async ones, and whatever spins beside daemons, for 2 s.
//! `ACTINIC_TEST_SPIN_SECS=30` lets all spin longer, for one test at a time
//! (`... --test all -- answered_while_a_short_function_spins::on_threads`): they take turns, and each has two minutes.

pub(crate) mod asked;

use std::time::Instant;

use actinic::prelude::*;

use crate::support::*;
use asked::{LATE, Moody, Place, all_is_answered, moody, moody_async, spin, spin_time, still_spins};

/// Each of these keeps a core busy for seconds.
pub(crate) static SPINNING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The same in every mode, for so many seconds; the call that spins is made by what the last expression comes to.
macro_rules! answered {
    ($($(#[$doc:meta])* $seconds:literal s, $name:ident: $call:expr;)*) => {$(
        $(#[$doc])*
        mod $name {
            use super::*;

            /// One process: the question for an object is a look into its slot, and heartbeats are messages to an actor
            /// beside the raylet. What they share with what spins is the process.
            #[actinic::test(num_cpus = 2, timeout = 240)]
            async fn on_threads(cluster: TestCluster) -> actinic::Result<()> {
                let _alone = SPINNING.lock().await;
                all_is_answered(&cluster, spin_time($seconds), |by, reader| by == reader, $call).await?;
                cluster.idle().await
            }

            /// The question for an object goes over UDP to the process that spins; so does the cancellation of an actor's
            /// call, which waits there, where a function waits at its owner for a worker. Heartbeats are as on threads.
            #[actinic::test(num_cpus = 2, workers = "processes", timeout = 240)]
            async fn on_processes(cluster: TestCluster) -> actinic::Result<()> {
                let _alone = SPINNING.lock().await;
                let lies = |by: Place, reader: Place| by.0 == reader.0 && by.1 != reader.1;
                all_is_answered(&cluster, spin_time($seconds), lies, $call).await?;
                cluster.idle().await
            }

            /// What goes to a process that spins, on processes, goes over a connection here too, and so do the heartbeats of
            /// the node that spins, both by datagrams in memory. The other end is an endpoint with a system thread of its own.
            #[actinic::test(num_cpus = 0, timeout = 240)]
            async fn on_another_node(cluster: TestCluster) -> actinic::Result<()> {
                let _alone = SPINNING.lock().await;
                let _node = cluster.add_node().num_cpus(2).await?;
                let lies = |by: Place, reader: Place| by.0 != reader.0 && by.1 == reader.1;
                all_is_answered(&cluster, spin_time($seconds), lies, $call).await?;
                cluster.idle().await
            }
        }
    )*};
}

answered! {
    6 s, all_is_answered_while_a_short_function_spins: moody::remote;

    /// It holds a thread of the runtime that async tasks share.
    2 s, all_is_answered_while_an_async_function_spins: moody_async::remote;

    /// It holds the thread that its actor shares with others.
    2 s, all_is_answered_while_an_async_method_spins: {
        let moody = Moody::remote();
        move |mood, spins| moody.turn(mood, spins)
    };
}

modes! {
    /// An actor's call that spins holds up neither its owner's other work nor the actor's end.
    2 CPUs, async fn an_actor_is_killed_while_its_call_spins(cluster) {
        let scratch = Scratch::new();
        let (began, gate) = (scratch.file("began"), scratch.file("gate"));
        let spinner = Spinner::remote();
        let before: Vec<_> = (0..1000).map(|_| spinner.turn(&began, &gate, false)).collect();
        assert!(actinic::get(&before).await?.iter().all(|spun| !spun));
        let (spins, behind) = (spinner.turn(&began, &gate, true), spinner.turn(&began, &gate, false));
        until_counted(&began, 1).await;
        let asked = Instant::now();
        actinic::cancel(&behind).await?;
        let error = actinic::get(&behind).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
        assert_eq!(echo::remote(1).await?, 1);
        assert!(asked.elapsed() < LATE, "{:?}", asked.elapsed());
        still_spins(&spins).await;
        let asked = Instant::now();
        actinic::kill(&spinner).await?;
        let error = actinic::get(&spins).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
        assert!(asked.elapsed() < LATE, "{:?}", asked.elapsed());
        assert!(!std::path::Path::new(&gate).exists());
        open_gate(&gate);
    }
}

pub struct Spinner;

#[actinic::remote]
impl Spinner {
    pub fn new() -> Self {
        Spinner
    }

    pub fn turn(&mut self, began: String, gate: String, spins: bool) -> bool {
        if spins {
            count_up(&began);
            spin(&gate);
        }
        spins
    }
}
