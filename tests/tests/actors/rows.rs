//! Calls of actors with async methods, in a row.

use super::beside::Both;
use super::*;
use crate::support::{Scratch, open_gate, until_counted};

/// Notes its calls as they begin.
#[derive(Default)]
pub struct Notes {
    seen: std::sync::Mutex<Vec<i64>>,
    goes: tokio::sync::Notify,
}

#[actinic::remote(num_cpus = 0, max_concurrency = 2000)]
impl Notes {
    pub fn new() -> Self {
        Notes::default()
    }

    pub async fn note(&self, number: i64) {
        self.seen.lock().unwrap().push(number);
        self.goes.notified().await;
    }

    pub async fn seen(&self) -> Vec<i64> {
        let seen = self.seen.lock().unwrap().clone();
        self.goes.notify_waiters();
        seen
    }
}

both! {
    /// However many async calls come at once, each begins before those behind it.
    async fn a_thousand_async_calls_begin_in_their_order(cluster) {
        for _ in 0..3 {
            let notes = Notes::remote();
            let noted: Vec<_> = (0..1000).map(|number| notes.note(number)).collect();
            let seen = actinic::get(&notes.seen()).timeout(SOON).await?;
            assert_eq!(seen, (0..1000).collect::<Vec<_>>());
            actinic::get(&noted).timeout(SOON).await?;
        }
    }

    /// A call that waits until it has the actor to itself is cancelled, and holds up nothing then.
    async fn what_waits_for_the_others_can_be_cancelled(cluster) {
        let (both, scratch) = (Both::remote(), Scratch::new());
        let (started, gate) = (scratch.file("started"), scratch.file("gate"));
        let hangs = both.hold(&started, &gate);
        until_counted(&started, 1).await;
        let alone = [both.set_now(1), both.set(2)];
        let behind = (both.get(), both.get_now());
        let early = actinic::get(&behind).timeout(Duration::from_millis(100)).await;
        assert!(matches!(early, Err(Error::GetTimeout { .. })), "they wait for what is before them: {early:?}");
        for alone in alone {
            actinic::cancel(&alone).await?;
            let error = actinic::get(&alone).timeout(SOON).await.unwrap_err();
            assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
        }
        assert_eq!(actinic::get(&behind).timeout(SOON).await?, (0, 0));
        open_gate(&gate);
        assert_eq!(hangs.await?, 0);
    }
}
