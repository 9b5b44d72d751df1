//! The names that certificates carry.

use uuid::Uuid;

use crate::{ClusterId, NodeId, ProcessId};

const TOP: &str = "actinic";

pub(super) fn cluster(cluster: ClusterId) -> String {
    format!("{cluster}.{TOP}")
}

pub(super) fn node(cluster: ClusterId, node: NodeId) -> String {
    format!("{node}.{cluster}.{TOP}")
}

pub(super) fn process(id: ProcessId) -> String {
    format!("{}.{}.{}.{TOP}", id.incarnation.simple(), id.node, id.cluster)
}

/// The inverse of [`process`]; nothing else is a process's name.
pub(super) fn parse(name: &str) -> Option<ProcessId> {
    fn id(label: &str) -> Option<Uuid> {
        let plain = label.len() == 32 && label.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        plain.then(|| Uuid::try_parse(label).ok()).flatten()
    }
    let mut labels = name.split('.');
    let incarnation = id(labels.next()?)?;
    let node = NodeId(id(labels.next()?)?);
    let cluster = ClusterId(id(labels.next()?)?);
    (labels.next() == Some(TOP) && labels.next().is_none()).then_some(ProcessId { cluster, node, incarnation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back() {
        let id = ProcessId {
            cluster: ClusterId(Uuid::from_u128(1)),
            node: NodeId(Uuid::from_u128(2)),
            incarnation: Uuid::from_u128(u128::MAX),
        };
        assert_eq!(parse(&process(id)), Some(id));
        for wrong in ["", "actinic", "a.b.c.actinic", &process(id).to_uppercase(), &(process(id) + ".x")] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
