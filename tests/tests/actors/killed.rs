//! Actors that are killed.

use super::*;

/// Keeps another, and waits with itself in use.
pub struct Waiter {
    _kept: Handle<Counter>,
}

#[actinic::remote]
impl Waiter {
    pub fn new(kept: Handle<Counter>) -> Self {
        Waiter { _kept: kept }
    }

    pub async fn wait(&mut self) -> actinic::Result<()> {
        actinic::sleep(Duration::from_secs(3600)).await
    }
}

#[actinic::remote]
fn asks(counter: Handle<Counter>) -> actinic::Result<i64> {
    counter.get().blocking()
}

/// Whether nobody is called that any more, soon.
async fn forgotten(name: &str) -> bool {
    eventually(SOON, || async { actinic::get_actor::<Counter>(name).await.is_err() }).await
}

both! {
    /// ACT-29: kill ends a call that hangs.
    async fn kill_ends_a_call_that_hangs(cluster) {
        let (counter, gate) = (Counter::remote(0), Gate::new());
        let (hangs, behind) = (counter.wait_for(gate.path()), counter.get());
        counter.get();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let start = Instant::now();
        actinic::kill(&counter).await?;
        for call in [hangs, behind, counter.get()] {
            let error = call.await.unwrap_err();
            assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
            assert!(error.to_string().contains("killed"), "{error}");
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        gate.open();
    }

    /// ACT-30: one that is killed before it started leaks nothing.
    async fn kill_before_it_started_leaks_nothing(cluster) {
        for _ in 0..8 {
            let first = Counter::options().num_cpus(4).remote(0);
            actinic::kill(&first).await?;
            assert!(matches!(first.get().await.unwrap_err(), Error::ActorDied { .. }));
        }
        let second = Counter::options().num_cpus(4).remote(1);
        assert_eq!(actinic::get(&second.get()).timeout(Duration::from_secs(20)).await?, 1);
    }

    /// One whose constructor waits for an argument is killed, or stopped, like any other.
    async fn what_waits_for_its_argument_can_be_ended(cluster) {
        let gate = Gate::new();
        let late = Counter::remote(0).wait_for(gate.path());
        let (killed, stopped) = (Counter::remote(&late), Counter::remote(&late));
        let (call, elsewhere) = (killed.get(), asks::remote(&killed));
        actinic::kill(&killed).await?;
        for call in [call, killed.get(), elsewhere] {
            let error = actinic::get(&call).timeout(SOON).await.unwrap_err();
            assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
            assert!(error.to_string().contains("killed"), "{error}");
        }
        Handle::stop(&stopped).await?;
        let cause = Handle::closed(&stopped).await?;
        assert!(cause.to_string().contains("stopped"), "{cause}");
        assert_eq!(Handle::state(&stopped), ActorState::Dead);
        let error = actinic::get(&asks::remote(&stopped)).timeout(SOON).await.unwrap_err();
        assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
        gate.open();
        late.await?;
    }

    /// A call of an actor that is dead fails whatever its argument comes to.
    async fn a_call_of_a_dead_actor_does_not_wait_for_its_argument(cluster) {
        let gate = Gate::new();
        let (late, counter) = (Counter::remote(7).wait_for(gate.path()), Counter::remote(0));
        counter.get().await?;
        actinic::kill(&counter).await?;
        assert!(matches!(counter.get().await.unwrap_err(), Error::ActorDied { .. }));
        // The gate opens by itself after twice the time.
        let error = actinic::get(&counter.add(&late)).timeout(SOON / 2).await.unwrap_err();
        assert!(matches!(error, Error::ActorDied { .. }), "{error:?}");
        gate.open();
        late.await?;
    }

    /// RES-14: one that waits for what no node has, or has free, ends with its last handle.
    async fn what_waits_for_a_place_ends_with_its_last_handle(cluster) {
        let busy = Counter::options().num_cpus(4).remote(0);
        busy.get().await?;
        let (never, next) = (Counter::options().resource("absent", 1), Counter::options().num_cpus(4));
        for pending in [never.name("never").remote(1), next.name("next").remote(2)] {
            assert_eq!(Handle::state(&pending), ActorState::PendingCreation);
            let stopped = pending.clone();
            drop(pending);
            Handle::stop(&stopped).await?;
        }
        assert!(forgotten("never").await && forgotten("next").await);
        assert_eq!(cluster.usage().await?.waiting, 0);
        drop(busy);
        assert_eq!(actinic::get(&Counter::options().num_cpus(4).remote(3).get()).timeout(SOON).await?, 3);
    }

    /// What a killed actor keeps is let go although a call has it to itself, and waits.
    async fn kill_drops_what_a_waiting_call_keeps(cluster) {
        let kept = Counter::options().name("kept").remote(1);
        let waiter = Waiter::remote(&kept);
        Handle::ready(&waiter).await?;
        let waits = waiter.wait();
        drop(kept);
        tokio::time::sleep(Duration::from_millis(50)).await;
        actinic::kill(&waiter).await?;
        assert!(matches!(waits.await.unwrap_err(), Error::ActorDied { .. }));
        drop(waiter);
        assert!(forgotten("kept").await);
    }
}

/// An actor's process that hears nothing is ended all the same when the actor is killed.
#[actinic::test(num_cpus = 1, workers = "processes")]
async fn kill_ends_a_process_that_hears_nothing(cluster: TestCluster) -> actinic::Result<()> {
    let counter = Counter::options().num_cpus(1).remote(0);
    let pid = counter.pid().await?.to_string();
    assert!(std::process::Command::new("kill").args(["-STOP", &pid]).status()?.success());
    actinic::kill(&counter).await?;
    let proc = std::path::Path::new("/proc").join(&pid);
    assert!(eventually(SOON, || !proc.exists()).await, "process {pid} is still there");
    assert_eq!(actinic::get(&Counter::options().num_cpus(1).remote(1).get()).timeout(SOON).await?, 1);
    drop(counter);
    cluster.idle().await
}
