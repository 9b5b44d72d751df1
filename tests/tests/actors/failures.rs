//! Deaths, restarts, retries, cancellation.

use super::*;

/// Fails until it was called often enough.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[error("only {0} so far")]
pub struct Few(i64);

pub struct Unsteady {
    log: Handle<Log>,
    runs: i64,
}

#[actinic::remote]
impl Unsteady {
    pub fn new(log: Handle<Log>) -> actinic::Result<Self> {
        log.say("new").blocking()?;
        Ok(Unsteady { log, runs: 0 })
    }

    #[actinic::method(retry_errors, max_task_retries = 5)]
    pub fn until(&mut self, least: i64) -> Result<i64, Few> {
        self.runs += 1;
        if self.runs <= least { Err(Few(self.runs)) } else { Ok(self.runs - 1) }
    }

    #[actinic::method(max_task_retries = 3)]
    pub fn fails(&mut self) -> Result<i64, Few> {
        self.runs += 1;
        Err(Few(self.runs))
    }

    pub fn runs(&self) -> i64 {
        self.runs
    }

    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    pub fn say(&mut self, line: String) -> actinic::Result<usize> {
        self.log.say(&line).blocking()?;
        self.runs += 1;
        Ok(self.runs as usize)
    }

    /// Crashes as long as the log has fewer lines than this.
    pub fn crash_until(&mut self, lines: usize) -> actinic::Result<usize> {
        self.log.say("try").blocking()?;
        let said = self.log.len().blocking()?;
        if said < lines { actinic::testing::crash() } else { Ok(said) }
    }

    pub fn crash(&mut self) {
        actinic::testing::crash()
    }

    pub fn reconstructed(&self) -> bool {
        actinic::context().was_reconstructed()
    }
}

pub struct Fragile;

#[actinic::remote]
impl Fragile {
    pub fn new(log: Handle<Log>, crashes: usize) -> actinic::Result<Self> {
        log.say("constructor").blocking()?;
        if log.len().blocking()? <= crashes {
            actinic::testing::crash()
        }
        Ok(Fragile)
    }

    pub fn fine(&self) -> bool {
        true
    }
}

pub struct Endless;

#[actinic::remote]
impl Endless {
    pub fn new() -> Self {
        Endless
    }

    pub async fn forever(&self, log: Handle<Log>) {
        struct Told(Handle<Log>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.say("dropped");
            }
        }
        let told = Told(log);
        told.0.say("began");
        std::future::pending::<()>().await;
        drop(told);
    }

    pub async fn ping(&self) -> bool {
        true
    }

    pub async fn exit(&self) {
        actinic::exit_actor()
    }

    pub async fn mark(&self, log: Handle<Log>) {
        log.say("ran");
    }
}

async fn said(log: &Handle<Log>, line: &str) -> bool {
    for _ in 0..1000 {
        if log.lines().await.is_ok_and(|lines| lines.iter().any(|other| other == line)) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

both! {
    /// ALF-14: without restarts every call of a crashed actor fails, before and after.
    async fn calls_of_a_crashed_actor_fail(cluster) {
        let counter = Counter::remote(0);
        assert_eq!(counter.add(1).await?, 1);
        let gate = Gate::new();
        counter.wait_for(gate.path());
        let mut refs = vec![counter.crash()];
        refs.extend((0..10).map(|_| counter.add(1)));
        gate.open();
        refs.extend((0..10).map(|_| counter.add(1)));
        for call in refs {
            let error = call.await.unwrap_err();
            assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
        }
        assert!(dies(&counter).await);
        assert!(matches!(counter.get().await.unwrap_err(), Error::ActorDied { .. }));
    }

    /// ALF-01: with a restart the state is fresh; what was on its way fails; the second death is final.
    async fn a_restarted_actor_is_fresh(cluster) {
        let counter = Counter::options().max_restarts(1).remote(0);
        let before: Vec<_> = (0..50).map(|_| counter.add(1)).collect();
        assert_eq!(actinic::get(&before).await?, (1..=50).collect::<Vec<_>>());
        let crashed = counter.crash().await.unwrap_err();
        assert!(matches!(crashed, Error::ActorUnavailable { .. }), "{crashed:?}");
        let mut next = None;
        for _ in 0..1000 {
            match counter.add(1).await {
                Ok(value) => {
                    next = Some(value);
                    break;
                }
                Err(Error::ActorUnavailable { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(next, Some(1));
        let again: Vec<_> = (2..50).map(|_| counter.add(1)).collect();
        assert_eq!(actinic::get(&again).await?, (2..50).collect::<Vec<_>>());
        assert!(matches!(counter.crash().await.unwrap_err(), Error::ActorDied { .. }));
        assert!(matches!(counter.add(1).await.unwrap_err(), Error::ActorDied { .. }));
    }

    /// ALF-08: the call that dies and those behind it are unavailable; a later one works.
    async fn calls_behind_a_crash_are_unavailable(cluster) {
        let counter = Counter::options().max_restarts(1).remote(0);
        counter.get().await?;
        let gate = Gate::new();
        counter.wait_for(gate.path());
        let mut refs = vec![counter.crash()];
        refs.extend((0..3).map(|_| counter.add(1)));
        gate.open();
        for call in refs {
            let error = call.await.unwrap_err();
            assert!(matches!(error, Error::ActorUnavailable { .. }), "{error:?}");
        }
        Handle::ready(&counter).await?;
        let mut value = counter.add(1).await;
        for _ in 0..400 {
            if value.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            value = counter.add(1).await;
        }
        assert_eq!(value?, 1);
    }

    /// ALF-17: kill with restart allowed, then again.
    async fn kill_may_restart(cluster) {
        let log = Log::remote();
        let actor = Unsteady::options().max_restarts(1).remote(&log);
        assert!(!actor.reconstructed().await?);
        let pid = actor.pid().await?;
        actinic::kill(&actor).no_restart(false).await?;
        let mut known = actor.pid().await;
        for _ in 0..400 {
            if known.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            known = actor.pid().await;
        }
        let fresh = known?;
        if pid != std::process::id() {
            assert_ne!(pid, fresh);
        }
        assert!(actor.reconstructed().await?);
        assert_eq!(log.lines().await?, ["new", "new"]);
        actinic::kill(&actor).no_restart(false).await?;
        assert!(matches!(actor.pid().await.unwrap_err(), Error::ActorDied { .. }));
    }

    /// The worker of an actor ends: it restarts as often as it may.
    async fn a_crashed_actor_restarts_if_it_may(cluster) {
        let log = Log::remote();
        let actor = Unsteady::options().max_restarts(1).max_task_retries(-1).remote(&log);
        assert!(!actor.reconstructed().await?);
        cluster.crash_actor(&actor).await?;
        assert!(actor.reconstructed().await?);
        assert_eq!(log.lines().await?, ["new", "new"]);
        cluster.crash_actor(&actor).await?;
        assert!(matches!(actor.runs().await.unwrap_err(), Error::ActorDied { .. }));
        assert!(dies(&actor).await);
    }

    /// LEA-11: retried calls run again in their order after a restart.
    async fn retried_calls_keep_their_order(cluster) {
        let log = Log::remote();
        let actor = Unsteady::options().max_restarts(-1).max_task_retries(-1).remote(&log);
        actor.runs().await?;
        let mut refs = Vec::new();
        let first = actor.crash_until(4);
        for i in 0..20 {
            refs.push(actor.say(format!("{i}")));
        }
        assert!(first.await? >= 4);
        actinic::get(&refs).await?;
        let lines: Vec<String> = log.lines().await?.into_iter().filter(|line| line.parse::<i32>().is_ok()).collect();
        assert_eq!(lines, (0..20).map(|i| i.to_string()).collect::<Vec<_>>());
    }

    /// ARE-01, ARE-02, ARE-03, ARE-10: application errors are retried where asked, and no further.
    async fn errors_are_retried_where_asked(cluster) {
        let log = Log::remote();
        let actor = Unsteady::remote(&log);
        assert_eq!(actor.until(5).await?, 5);
        assert_eq!(actor.runs().await?, 6);
        let other = Unsteady::remote(&log);
        let error = other.until(6).await.unwrap_err();
        assert_eq!(error.downcast_ref::<Few>(), Some(&Few(6)));
        assert_eq!(other.runs().await?, 6);
        let once = Unsteady::remote(&log);
        let off = Handle::with(&once, CallOptions::new().retry_errors(false)).until(5).await.unwrap_err();
        assert_eq!(off.downcast_ref::<Few>(), Some(&Few(1)));
        assert_eq!(once.runs().await?, 1);
        let plain = Unsteady::remote(&log);
        assert!(plain.fails().await.is_err());
        assert_eq!(plain.runs().await?, 1);
    }

    /// ALF-12: a constructor that crashes is tried again as restarts allow.
    async fn a_crashing_constructor_is_tried_again(cluster) {
        let log = Log::remote();
        let dead = Fragile::remote(&log, 1);
        assert!(matches!(dead.fine().await.unwrap_err(), Error::ActorDied { .. }));
        let log = Log::remote();
        let works = Fragile::options().max_restarts(3).remote(&log, 2);
        assert!(works.fine().await?);
        assert_eq!(log.len().await?, 3);
    }

    /// CAN-14: an actor's call cannot be ended by force.
    async fn force_is_refused_for_actor_calls(cluster) {
        let (counter, gate) = (Counter::remote(0), Gate::new());
        let call = counter.wait_for(gate.path());
        let error = actinic::cancel(&call).force(true).await.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        gate.open();
        assert_eq!(call.await?, 0);
    }

    /// CAN-15: a running async call is dropped inside, and the actor lives on.
    async fn a_running_async_call_is_dropped(cluster) {
        let (log, endless) = (Log::remote(), Endless::remote());
        let call = endless.forever(&log);
        assert!(said(&log, "began").await);
        actinic::cancel(&call).await?;
        let start = Instant::now();
        assert!(matches!(call.await.unwrap_err(), Error::TaskCancelled { .. }));
        assert!(start.elapsed() < Duration::from_secs(1));
        assert!(said(&log, "dropped").await);
        assert!(endless.ping().await?);
    }

    /// CAN-16: a call that waits for its argument, or for its actor, never runs once it is cancelled.
    async fn a_waiting_call_never_runs_once_cancelled(cluster) {
        let (log, gate) = (Log::remote(), Gate::new());
        let blocker = Counter::options().num_cpus(4).remote(0);
        blocker.get().await?;
        let endless = Endless::options().num_cpus(1).remote();
        let call = endless.mark(&log);
        actinic::cancel(&call).await?;
        assert!(matches!(call.await.unwrap_err(), Error::TaskCancelled { .. }));
        actinic::kill(&blocker).await?;
        assert!(endless.ping().await?);
        let counter = Counter::remote(0);
        let slow = Counter::remote(7).wait_for(gate.path());
        let late = counter.add(&slow);
        let behind = counter.add(1);
        actinic::cancel(&late).await?;
        assert!(matches!(late.await.unwrap_err(), Error::TaskCancelled { .. }));
        assert_eq!(behind.await?, 1);
        gate.open();
        slow.await?;
        assert_eq!(counter.get().await?, 1);
        assert!(log.lines().await?.is_empty());
    }

    /// The same where the actor is known to live: what the cancelled call held up goes on at once.
    async fn a_cancelled_call_holds_nothing_up(cluster) {
        let gate = Gate::new();
        let (slow, counter) = (Counter::remote(7).wait_for(gate.path()), Counter::remote(0));
        assert_eq!(counter.get().await?, 0);
        let late = counter.add(&slow);
        let behind = counter.add(1);
        actinic::cancel(&late).await?;
        assert!(matches!(late.await.unwrap_err(), Error::TaskCancelled { .. }));
        // The gate opens by itself after twice the time.
        assert_eq!(actinic::get(&behind).timeout(SOON / 2).await?, 1);
        assert_eq!(actinic::get(&counter.add(1)).timeout(SOON / 2).await?, 2);
        gate.open();
        slow.await?;
        assert_eq!(counter.get().await?, 2);
    }

    /// CAN-17, CAN-19: a call that is queued behind a running one never runs; that one is unaffected.
    async fn a_queued_call_never_runs_once_cancelled(cluster) {
        let (counter, gate) = (Counter::remote(0), Gate::new());
        let running = counter.wait_for(gate.path());
        let queued = counter.add(5);
        let behind = counter.add(1);
        tokio::time::sleep(Duration::from_millis(100)).await;
        actinic::cancel(&queued).await?;
        let error = queued.await.unwrap_err();
        assert!(matches!(error, Error::TaskCancelled { .. }), "{error:?}");
        gate.open();
        assert_eq!((running.await?, behind.await?), (0, 1));
    }

    /// ASY-09: exit does not wait for a call that never ends.
    async fn exit_does_not_wait_for_an_endless_call(cluster) {
        let (log, endless) = (Log::remote(), Endless::remote());
        let call = endless.forever(&log);
        assert!(said(&log, "began").await);
        assert!(matches!(endless.exit().await.unwrap_err(), Error::ActorDied { .. }));
        assert!(matches!(endless.ping().await.unwrap_err(), Error::ActorDied { .. }));
        assert!(matches!(call.await.unwrap_err(), Error::ActorDied { .. }));
    }

    /// ALF-06: a task that is retried is another caller than before.
    async fn a_retried_task_calls_again(cluster) {
        let counter = Counter::remote(0);
        assert_eq!(crash_until_three::options().max_retries(5).remote(&counter).await?, 3);
    }
}

#[actinic::remote]
fn crash_until_three(counter: Handle<Counter>) -> actinic::Result<i64> {
    let value = counter.add(1).blocking()?;
    if value > 2 { Ok(value) } else { actinic::testing::crash() }
}

/// FAI: the process of an actor is killed from outside.
#[actinic::test(num_cpus = 4, workers = "processes")]
async fn a_killed_process_is_a_death() -> actinic::Result<()> {
    let (once, twice) = (Counter::remote(0), Counter::options().max_restarts(1).max_task_retries(-1).remote(5));
    let kill = |pid: u32| std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    let pid = once.pid().await?;
    let hangs = once.sleep(30_000);
    tokio::time::sleep(Duration::from_millis(50)).await;
    kill(pid);
    assert!(matches!(hangs.await.unwrap_err(), Error::ActorDied { .. }));
    assert!(matches!(once.get().await.unwrap_err(), Error::ActorDied { .. }));
    let pid = twice.pid().await?;
    twice.add(1).await?;
    let calls: Vec<_> = (0..100).map(|_| twice.add(1)).collect();
    kill(pid);
    actinic::get(&calls).await?;
    let fresh = twice.pid().await?;
    assert_ne!(pid, fresh);
    kill(fresh);
    assert!(matches!(twice.get().await.unwrap_err(), Error::ActorDied { .. }));
    Ok(())
}

/// Shared actors share the fate of their process, and restart as each may.
#[actinic::test(num_cpus = 4, workers = "processes")]
async fn shared_actors_share_their_fate() -> actinic::Result<()> {
    let shared = || Counter::options().isolation(Isolation::Shared);
    let (a, b, c) = (shared().remote(1), shared().remote(2), shared().max_restarts(1).max_task_retries(-1).remote(3));
    let pid = a.pid().await?;
    assert_eq!((b.pid().await?, c.pid().await?), (pid, pid));
    assert!(matches!(a.crash().await.unwrap_err(), Error::ActorDied { .. }));
    assert!(matches!(b.get().await.unwrap_err(), Error::ActorDied { .. }));
    assert_eq!(c.get().await?, 3);
    assert_ne!(c.pid().await?, pid);
    Ok(())
}
