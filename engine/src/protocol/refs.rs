//! Ids of refs as they travel: the owner of several in a row is named once, so a value with ten thousand refs takes
//! some tens of kilobytes beside itself, and not half a megabyte.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::{ObjectId, OwnerId, TaskId};
use crate::object::RawRef;

/// Ids, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WireRefs(pub(crate) Vec<ObjectId>);

impl WireRefs {
    pub(crate) fn of(refs: &[RawRef]) -> WireRefs {
        WireRefs(refs.iter().map(RawRef::id).collect())
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, ObjectId> {
        self.0.iter()
    }
}

/// About so many bytes a ref takes.
pub(crate) const REF_BYTES: usize = 8;

/// Those of one owner in a row: numbers of tasks, and indices of returns.
type Run = (OwnerId, Vec<(u64, u32)>);

impl Serialize for WireRefs {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let run =
            |ids: &[ObjectId]| -> Run { (ids[0].task.owner, ids.iter().map(|id| (id.task.seq, id.index)).collect()) };
        let runs: Vec<Run> = self.0.chunk_by(|a, b| a.task.owner == b.task.owner).map(run).collect();
        runs.serialize(to)
    }
}

impl<'de> Deserialize<'de> for WireRefs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let runs: Vec<Run> = Vec::deserialize(from)?;
        let id = |owner, (seq, index)| ObjectId { task: TaskId { owner, seq }, index };
        let ids = runs.into_iter().flat_map(|(owner, ids)| ids.into_iter().map(move |at| id(owner, at)));
        Ok(WireRefs(ids.collect()))
    }
}

#[cfg(test)]
mod tests {
    use actinic_transport::{ClusterId, NodeId, ProcessId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn refs_read_back_and_name_their_owner_once() {
        let process = |n| ProcessId {
            cluster: ClusterId(Uuid::from_u128(1)),
            node: NodeId(Uuid::from_u128(n)),
            incarnation: Uuid::from_u128(n),
        };
        let id = |n: u64, index| ObjectId {
            task: TaskId { owner: OwnerId { process: process(u128::from(n / 1000)), number: 0 }, seq: n },
            index,
        };
        for count in [0, 1, 10_000] {
            let refs = WireRefs((0..count).map(|n| id(n, (n % 3) as u32)).collect());
            let bytes = postcard::to_stdvec(&refs).unwrap();
            assert_eq!(postcard::from_bytes::<WireRefs>(&bytes).unwrap(), refs);
            assert!(bytes.len() <= 64 + refs.0.len() * REF_BYTES + refs.0.len() / 1000 * 64);
        }
    }
}
