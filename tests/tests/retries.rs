//! Errors that are tried again, and whose errors those are.

use actinic::prelude::*;

use crate::support::*;

#[actinic::remote(retry_errors, max_retries = 1)]
fn tried_twice(runs: &str) -> Result<i64, Refused> {
    count_up(runs);
    Err(Refused(1))
}

#[actinic::remote]
fn tried_once(own: &str, inner: &str) -> actinic::Result<i64> {
    count_up(own);
    tried_twice::remote(inner).blocking()
}

#[actinic::remote]
async fn awaited_once(own: String, inner: String) -> Result<i64, Box<dyn std::error::Error + Send + Sync>> {
    count_up(&own);
    Ok(tried_twice::remote(&inner).await?)
}

pub struct Asks;

#[actinic::remote]
impl Asks {
    pub fn new() -> Self {
        Asks
    }
    #[actinic::method(max_task_retries = 3)]
    pub fn once(&self, own: &str, inner: &str) -> actinic::Result<i64> {
        count_up(own);
        tried_twice::remote(inner).blocking()
    }
}

modes! {
    /// FAI-03: what asks for another attempt is the code that failed, and not what called it and returned its error.
    2 CPUs, async fn an_inner_tasks_wish_to_be_tried_again_is_its_own(cluster) {
        let scratch = Scratch::new();
        let asks = Asks::remote();
        for (name, by) in [("sync", 0), ("async", 1), ("actor", 2)] {
            let (own, inner) = (scratch.file(name), scratch.file(&format!("{name}-inner")));
            let failed = match by {
                0 => tried_once::remote(&own, &inner),
                1 => awaited_once::remote(&own, &inner),
                _ => asks.once(&own, &inner),
            };
            let error = failed.await.unwrap_err();
            assert_eq!(error.downcast_ref::<Refused>(), Some(&Refused(1)), "{error:?}");
            assert_eq!((counted(&own), counted(&inner)), (1, 2), "{name}");
        }
    }
}
