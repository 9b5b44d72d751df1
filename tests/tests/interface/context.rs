//! "Context": what a call knows of itself.

use std::collections::BTreeMap;

use actinic::prelude::*;

use super::*;
use crate::support::*;

#[actinic::remote(num_cpus = 0.5, resources = { "A": 1 })]
fn look() -> (BTreeMap<String, f64>, Vec<u32>, bool, u32, String, bool, bool) {
    let context: actinic::Context = actinic::context();
    let _: actinic::JobId = context.job_id();
    let _: actinic::NodeId = context.node_id();
    let _: Option<actinic::WorkerId> = context.worker_id();
    let _: Option<actinic::TaskId> = context.task_id();
    let _: Option<actinic::ActorId> = context.actor_id();
    (
        context.assigned_resources(),
        context.gpu_ids(),
        context.was_reconstructed(),
        context.attempt(),
        context.namespace().to_owned(),
        context.is_cancelled(),
        context.task_id().is_some(),
    )
}

#[actinic::remote]
async fn until_cancelled(file: String) -> bool {
    count_up(&file);
    actinic::context().cancelled().await;
    count_up(&file);
    actinic::context().is_cancelled()
}

#[actinic::remote]
fn gets_forever(file: String, never: ObjectRef<i64>) -> actinic::Result<()> {
    count_up(&file);
    let error = never.blocking().map(drop);
    count_up(&file);
    error
}

#[actinic::test(num_cpus = 2, resources = { "A": 1 }, namespace = "here")]
async fn a_task_knows_where_it_is(cluster: TestCluster) -> actinic::Result<()> {
    let (resources, gpus, reconstructed, attempt, namespace, cancelled, is_task) = look::remote().await?;
    assert_eq!(resources, BTreeMap::from([("A".to_owned(), 1.0), ("CPU".to_owned(), 0.5)]));
    assert_eq!((gpus.len(), reconstructed, attempt), (0, false, 0));
    assert_eq!((namespace.as_str(), cancelled, is_task), ("here", false, true));
    let context = actinic::context();
    is_shared(&context);
    assert!(context.assigned_resources().is_empty() && context.task_id().is_none() && context.worker_id().is_none());
    assert_eq!(context.node_id(), cluster.head().id());
    assert_eq!(context.namespace(), "here");
    Ok(())
}

#[actinic::test(num_cpus = 2)]
async fn a_task_hears_that_it_is_cancelled() -> actinic::Result<()> {
    let scratch = Scratch::new();
    let task = until_cancelled::remote(scratch.file("async"));
    let gate = held::remote(scratch.file("held"), scratch.file("gate"), 1);
    until_counted(&scratch.file("held"), 1).await;
    let blocked = gets_forever::remote(scratch.file("sync"), vec![gate.clone()].remove(0));
    for (task, file) in [(AnyRef::from(&task), "async"), (AnyRef::from(&blocked), "sync")] {
        until_counted(&scratch.file(file), 1).await;
        actinic::cancel(&task).await?;
        task.done().await?;
    }
    assert!(matches!(task.await.unwrap_err(), Error::TaskCancelled { .. }));
    assert!(matches!(blocked.await.unwrap_err(), Error::TaskCancelled { .. }));
    open_gate(&scratch.file("gate"));
    gate.await?;
    Ok(())
}

#[actinic::test(sim, timeout = 7200)]
async fn sleep_obeys_virtual_time() -> actinic::Result<()> {
    is_op::<(), _>(actinic::sleep(Duration::from_secs(3600))).await
}
