//! The processes that call an actor from elsewhere: each is granted what it may have in flight ([`super::credit`]).

use std::sync::{MutexGuard, PoisonError};

use actinic_transport::{Lane, ProcessId};

use crate::actor::credit::{Credit, Grant};
use crate::actor::host::ActorHost;
use crate::protocol::{OWNER, ToOwner};
use crate::rarely::Rarely;

impl ActorHost {
    fn credit(&self) -> MutexGuard<'_, Rarely<Credit>> {
        // Plain data under the lock.
        self.credit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls of another process have come, in one burst: so many, of so many bytes.
    pub(crate) fn called_by(&self, process: ProcessId, calls: u32, bytes: usize) {
        let grant = self.credit().make().called(process, calls, bytes.try_into().unwrap_or(u32::MAX));
        self.grant(grant);
    }

    /// Another process calls no more, or is gone.
    pub(crate) fn caller_left(&self, process: ProcessId) {
        let grant = self.credit().get_mut().and_then(|credit| credit.left(process));
        self.grant(grant);
    }

    /// All that comes here comes on the endpoint's thread: grants go out in the order of what they are for.
    fn grant(&self, grant: Option<Grant>) {
        let (Some(Grant { to, window }), Ok(endpoint)) = (grant, self.host.process.endpoint()) else { return };
        let message = ToOwner::Credit { actor: self.spec.id, incarnation: self.run().incarnation, window };
        for peer in to.into_iter().filter_map(|id| endpoint.known(id)) {
            // It passes the answers that wait. If the session is over, the caller is gone.
            let _ = peer.tell(Lane::Urgent, OWNER, &message);
        }
    }
}
