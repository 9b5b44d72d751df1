//! Samples for the tests of what arrives.

use actinic_transport::{ClusterId, NodeId, ProcessId};
use uuid::Uuid;

use crate::events::{Event, Kind, Place, Step, TaskEvents, TaskKey, TaskRow, Took};
use crate::ids::{ActorId, JobId, OwnerId, WorkerId};
use crate::state::TaskState;

pub(crate) fn row() -> TaskRow {
    let id = Uuid::from_u128(7);
    let process = ProcessId { cluster: ClusterId(id), node: NodeId(id), incarnation: id };
    TaskRow {
        key: TaskKey { owner: OwnerId { process, number: 300 }, seq: 70_000, attempt: 1 },
        job: JobId(id),
        kind: Kind { name: "name".into(), actor: Some(ActorId(id)) },
        state: TaskState::Running,
        place: Some(Place { node: NodeId(id), worker: Some(WorkerId(id)) }),
        since: 1 << 60,
        started: Some(1 << 59),
        text: Some("text".to_owned()),
    }
}

pub(crate) fn told() -> TaskEvents {
    let row = row();
    let took = Some(Took { place: 0, ns: 70_000 });
    let steps = [
        Step::Depends,
        Step::Waits { text: 0 },
        Step::Sent { place: 0 },
        Step::Runs { place: 0 },
        Step::Finished { took },
        Step::Failed { took, text: 0 },
    ];
    let event = |step| Event { seq: row.key.seq, at: 1 << 60, attempt: 1, kind: 0, step };
    TaskEvents {
        owner: row.key.owner,
        job: row.job,
        kinds: vec![row.kind.clone()],
        places: row.place.into_iter().collect(),
        texts: row.text.iter().cloned().collect(),
        events: steps.map(event).to_vec(),
        dropped: 300,
    }
}
