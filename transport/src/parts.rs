//! Messages larger than a frame: they go in parts, one in a frame of its own, and are put together in order.
//!
//! A lane delivers in order, so the parts of a message are followed by its rest, which looks like any message.

use crate::wire::{self, MESSAGE_HEADER};

/// What has come of a message in parts. It belongs to the lane and not to a connection: parts that were acknowledged
/// do not come again.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    bytes: Vec<u8>,
}

impl Parts {
    /// Takes a frame that is a part: `true` if it was one.
    pub(crate) fn take(&mut self, frame: &[u8], max_message: usize) -> Result<bool, &'static str> {
        let Ok((raw, rest)) = wire::split(frame) else { return Ok(false) };
        if raw.kind != wire::PART {
            return Ok(false);
        }
        if !rest.is_empty() {
            return Err("a part that shares its frame");
        }
        if self.bytes.len() + raw.body.len() > max_message {
            return Err("a message in parts, over the limit (Limits::max_message)");
        }
        self.bytes.extend_from_slice(raw.body);
        Ok(true)
    }

    /// Bytes of a message whose rest has not come.
    pub(crate) fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Puts what has come before the first message of a frame; none if nothing has.
    pub(crate) fn complete(&mut self, frame: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let before = std::mem::take(&mut self.bytes);
        let (last, rest) = wire::split_any(frame)?;
        let mut whole = Vec::with_capacity(before.len() + frame.len());
        let joined = wire::append(&mut whole, last.kind, last.id, |out| {
            out.extend_from_slice(&before);
            out.extend_from_slice(last.body);
            Ok::<(), &'static str>(())
        });
        joined?;
        whole.extend_from_slice(rest);
        Ok(Some(whole))
    }
}

/// Cuts a message, header included, into the bodies of its parts and of its rest.
pub(crate) fn cut(message: &[u8], limit: usize) -> (impl Iterator<Item = &[u8]>, &[u8]) {
    let body = &message[MESSAGE_HEADER..];
    let parts = body.len().saturating_sub(1) / limit;
    let (before, rest) = body.split_at(parts * limit);
    (before.chunks(limit), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let appended = wire::append(&mut out, kind, 7, |out| {
            out.extend_from_slice(body);
            Ok::<(), ()>(())
        });
        appended.unwrap();
        out
    }

    #[test]
    fn a_message_in_parts_is_whole_again() {
        let body: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
        for limit in [1, 7, 100, 999, 1000, 1001] {
            let whole = message(wire::TELL, &body);
            let (parts, rest) = cut(&whole, limit);
            let mut lane = Parts::default();
            for part in parts {
                assert!(part.len() <= limit);
                assert_eq!(lane.take(&message(wire::PART, part), 1000), Ok(true));
            }
            let mut last = message(wire::TELL, rest);
            assert_eq!(lane.take(&last, 1000), Ok(false));
            last.extend_from_slice(&message(wire::ASK, &[0; 8]));
            let joined = lane.complete(&last).unwrap().unwrap_or(last.clone());
            let (first, after) = wire::split(&joined).unwrap();
            assert_eq!((first.kind, first.id, first.body), (wire::TELL, 7, &body[..]));
            assert_eq!(wire::split(after).unwrap().0.kind, wire::ASK);
            assert_eq!(lane.complete(&last), Ok(None), "it is delivered once");
        }
    }

    #[test]
    fn parts_are_bounded_and_alone() {
        let mut lane = Parts::default();
        let part = message(wire::PART, &[1; 60]);
        assert_eq!(lane.take(&part, 100), Ok(true));
        assert!(lane.take(&part, 100).is_err());
        let two = [part.clone(), part].concat();
        assert!(Parts::default().take(&two, 1000).is_err());
    }
}
