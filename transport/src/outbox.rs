//! One lane of one session: what waits to be sent, what waits to be acknowledged, and what has been received.
//!
//! Plain data under one lock, without clock or network. Invariants:
//!
//! - LANE-1: frames are numbered 1, 2, 3, … and leave in that order; a frame is kept until it is acknowledged.
//! - LANE-2: after a new connection, sending goes on from the first frame that the other side has not received.
//! - LANE-3: a frame is delivered if its number is the next one; lower ones are dropped, a gap is an error.
//! - LANE-4: `bytes` (kept and gathering) never passes the bound by more than the message that ends the session.
//! - LANE-5: a writer is woken only if it sleeps, and sleeps only if there is nothing to write.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::DownReason;
use crate::parts::{self, Parts};
use crate::wire::{self, FRAME_HEADER, Header};

/// A frame that has gathered so much is closed, and the next begun.
const GATHER: usize = 64 << 10;
/// So much goes to the connection in one write.
const WRITE: usize = 512 << 10;
/// So much received is acknowledged at once, without waiting for a frame to go the other way.
pub(crate) const ACK_BYTES: usize = 512 << 10;
/// Buffers kept for reuse.
const SPARE: usize = 16;
/// Of which so many when nothing is under way.
const SPARE_AT_REST: usize = 2;

/// What a lane refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refuse {
    TooLarge { size: usize, limit: usize },
    Overflow,
    Ended(DownReason),
    Encode(String),
}

/// What became of an arriving frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    Deliver,
    Drop,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    max_frame: usize,
    max_message: usize,
    max_bytes: usize,
    /// The frame being gathered, its header left blank; empty if none is.
    open: Vec<u8>,
    /// Where the last whole message in `open` ends (an encoder may have panicked after it).
    whole: usize,
    /// Closed frames that are not acknowledged, in order; the last has number `last`.
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
    last: u64,
    /// How many of `kept` this connection's writer has taken.
    taken: usize,
    /// Highest number that was ever handed to a connection.
    sent: u64,
    received: u64,
    /// Of a message larger than a frame: what has come.
    pub(crate) parts: Parts,
    acknowledged: u64,
    unacknowledged_bytes: usize,
    ack_due: bool,
    connection: u64,
    writer: Option<Waker>,
    finish: bool,
    ended: Option<DownReason>,
    spare: Vec<Vec<u8>>,
}

impl Outbox {
    pub(crate) fn new(max_frame: usize, max_message: usize, max_bytes: usize) -> Outbox {
        Outbox {
            max_frame,
            max_message,
            max_bytes,
            open: Vec::new(),
            whole: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            last: 0,
            taken: 0,
            sent: 0,
            received: 0,
            parts: Parts::default(),
            acknowledged: 0,
            unacknowledged_bytes: 0,
            ack_due: false,
            connection: 0,
            writer: None,
            finish: false,
            ended: None,
            spare: Vec::new(),
        }
    }

    /// Bytes that wait to be sent or acknowledged.
    pub(crate) fn bytes(&self) -> usize {
        self.kept_bytes + self.open.len()
    }

    /// Appends a message. The waker, if any, is to be woken once the lock is released.
    pub(crate) fn push(
        &mut self,
        kind: u8,
        id: u64,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
    ) -> Result<Option<Waker>, Refuse> {
        if let Some(reason) = &self.ended {
            return Err(Refuse::Ended(reason.clone()));
        }
        self.open.truncate(self.whole);
        if self.open.len() >= GATHER {
            self.close_frame();
        }
        if self.open.is_empty() {
            self.begin_frame();
        }
        let start = self.whole;
        let size = match wire::append(&mut self.open, kind, id, encode) {
            Ok(size) => size,
            Err(text) => {
                self.open.truncate(start);
                return Err(Refuse::Encode(text));
            }
        };
        if size > self.max_message {
            self.open.truncate(start);
            self.open.shrink_to(GATHER);
            return Err(Refuse::TooLarge { size, limit: self.max_message });
        }
        if size > self.max_part() {
            self.in_parts(start, kind, id);
        } else if self.open.len() > self.max_frame + FRAME_HEADER {
            self.split_frame(start);
        }
        self.whole = self.open.len();
        if self.bytes() > self.max_bytes {
            return Err(Refuse::Overflow);
        }
        Ok(self.writer.take())
    }

    fn begin_frame(&mut self) {
        self.open = self.spare.pop().unwrap_or_default();
        self.open.clear();
        self.open.resize(FRAME_HEADER, 0);
        self.whole = FRAME_HEADER;
    }

    /// The message from `start` on does not fit any more: it begins the next frame.
    fn split_frame(&mut self, start: usize) {
        let message = self.open.split_off(start);
        self.whole = start;
        self.close_frame();
        self.begin_frame();
        self.open.extend_from_slice(&message);
    }

    /// So much of a body fits into a frame.
    fn max_part(&self) -> usize {
        self.max_frame.saturating_sub(64)
    }

    /// The message from `start` on fits into no frame: it goes in several, with nothing beside it but behind its rest.
    fn in_parts(&mut self, start: usize, kind: u8, id: u64) {
        let message = self.open.split_off(start);
        let (parts, rest) = parts::cut(&message, self.max_part());
        let pieces = parts.map(|part| (wire::PART, 0, part)).chain([(kind, id, rest)]);
        for (kind, id, piece) in pieces {
            self.whole = self.open.len();
            self.close_frame();
            self.begin_frame();
            let copied = wire::append(&mut self.open, kind, id, |out| {
                out.extend_from_slice(piece);
                Ok::<(), std::convert::Infallible>(())
            });
            let Ok(_) = copied;
        }
    }

    fn close_frame(&mut self) {
        self.open.truncate(self.whole);
        if self.open.len() <= FRAME_HEADER {
            return;
        }
        self.last += 1;
        let mut frame = std::mem::take(&mut self.open);
        self.whole = 0;
        let length = (frame.len() - FRAME_HEADER) as u32;
        Header { length, number: self.last, acknowledges: self.received }.write(&mut frame);
        self.note_acknowledged();
        self.kept_bytes += frame.len();
        self.kept.push_back(Bytes::from(frame));
    }

    fn note_acknowledged(&mut self) {
        self.acknowledged = self.received;
        self.unacknowledged_bytes = 0;
        self.ack_due = false;
    }

    /// What the writer of that connection is to write next; an error if it is to stop.
    pub(crate) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        connection: u64,
        into: &mut Vec<Bytes>,
    ) -> Poll<Result<(), ()>> {
        if self.connection != connection || self.ended.is_some() {
            return Poll::Ready(Err(()));
        }
        if self.taken == self.kept.len() {
            self.close_frame();
        }
        let mut bytes = 0;
        while bytes < WRITE && self.taken < self.kept.len() {
            let frame = &self.kept[self.taken];
            bytes += frame.len();
            into.push(frame.clone());
            self.taken += 1;
        }
        self.sent = self.sent.max(self.last - (self.kept.len() - self.taken) as u64);
        if bytes == 0 && self.ack_due {
            let mut ack = [0; FRAME_HEADER];
            Header { length: 0, number: 0, acknowledges: self.received }.write(&mut ack);
            self.note_acknowledged();
            into.push(Bytes::copy_from_slice(&ack));
        }
        if into.is_empty() && self.finish {
            return Poll::Ready(Err(()));
        }
        if into.is_empty() {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// What is gathered, for a session with the own process: no connection, nothing kept.
    pub(crate) fn poll_local(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<Bytes>, ()>> {
        if self.ended.is_some() {
            return Poll::Ready(Err(()));
        }
        self.close_frame();
        if self.kept.is_empty() {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.kept_bytes = 0;
        Poll::Ready(Ok(self.kept.drain(..).collect()))
    }

    /// A connection carries the lane now; the other side has received up to `received`.
    pub(crate) fn attach(&mut self, connection: u64, received: u64) -> Result<Option<Waker>, &'static str> {
        self.connection = connection;
        self.taken = 0;
        self.acknowledge(received)?;
        Ok(self.writer.take())
    }

    /// No connection carries the lane any more.
    pub(crate) fn detach(&mut self) -> Option<Waker> {
        self.connection = 0;
        self.writer.take()
    }

    /// The writer is to stop once all has been taken.
    pub(crate) fn finish(&mut self) -> Option<Waker> {
        self.finish = true;
        self.writer.take()
    }

    /// The highest number received, for the greeting.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The other side has everything up to `number`.
    fn acknowledge(&mut self, number: u64) -> Result<(), &'static str> {
        if number > self.sent {
            return Err("an acknowledgement of a frame that was never sent");
        }
        let mut first = self.last - self.kept.len() as u64 + 1;
        while first <= number {
            let Some(frame) = self.kept.pop_front() else {
                break;
            };
            self.kept_bytes -= frame.len();
            self.taken = self.taken.saturating_sub(1);
            first += 1;
            self.recycle(frame);
        }
        if self.kept.is_empty() {
            self.spare.truncate(SPARE_AT_REST);
        }
        Ok(())
    }

    /// Warm memory is cheaper than fresh.
    fn recycle(&mut self, frame: Bytes) {
        let usual = frame.len() >= GATHER / 2 && frame.len() <= 2 * GATHER;
        if usual
            && self.spare.len() < SPARE
            && let Ok(frame) = frame.try_into_mut()
        {
            self.spare.push(frame.into());
        }
    }

    /// A frame came on that connection.
    pub(crate) fn arrived(&mut self, connection: u64, header: Header) -> Result<Arrived, &'static str> {
        if self.connection != connection || self.ended.is_some() {
            return Ok(Arrived::Drop);
        }
        self.acknowledge(header.acknowledges)?;
        if header.length == 0 {
            return Ok(Arrived::Drop);
        }
        if header.number <= self.received {
            // It was sent again because the acknowledgement was lost with its connection.
            self.acknowledged = self.acknowledged.min(header.number.saturating_sub(1));
            return Ok(Arrived::Drop);
        }
        if header.number != self.received + 1 {
            return Err("a gap in the numbers of frames");
        }
        self.received = header.number;
        self.unacknowledged_bytes += header.length as usize;
        Ok(Arrived::Deliver)
    }

    /// Whether enough has come to acknowledge it now.
    pub(crate) fn wants_ack(&self) -> bool {
        self.unacknowledged_bytes >= ACK_BYTES
    }

    /// Whether something is received and not acknowledged.
    pub(crate) fn owes_ack(&self) -> bool {
        self.received > self.acknowledged
    }

    /// Acknowledges with the next write, even if there is nothing else to write.
    pub(crate) fn request_ack(&mut self) -> Option<Waker> {
        if self.owes_ack() {
            self.ack_due = true;
            return self.writer.take();
        }
        None
    }

    /// The session is over: everything is let go.
    pub(crate) fn end(&mut self, reason: DownReason) -> Option<Waker> {
        self.ended.get_or_insert(reason);
        self.open = Vec::new();
        self.whole = 0;
        self.kept = VecDeque::new();
        self.kept_bytes = 0;
        self.taken = 0;
        self.spare = Vec::new();
        self.writer.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what the writer would write.
    fn take(outbox: &mut Outbox, connection: u64) -> Vec<Bytes> {
        let mut frames = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Ok(())) = outbox.poll_take(&mut cx, connection, &mut frames) {
            if frames.last().is_some_and(|frame| frame.len() == FRAME_HEADER) || outbox.taken == outbox.kept.len() {
                break;
            }
        }
        frames
    }

    fn push(outbox: &mut Outbox, text: &[u8]) -> Result<(), Refuse> {
        let pushed = outbox.push(wire::TELL, 1, |out| {
            out.extend_from_slice(text);
            Ok(())
        });
        pushed.map(drop)
    }

    /// LANE-1, LANE-2, LANE-3.
    #[test]
    fn frames_survive_a_connection_and_arrive_once() {
        let (mut a, mut b) = (Outbox::new(1 << 20, 1 << 20, 1 << 20), Outbox::new(1 << 20, 1 << 20, 1 << 20));
        a.attach(1, 0).unwrap();
        b.attach(1, 0).unwrap();
        push(&mut a, b"one").unwrap();
        let first = take(&mut a, 1);
        push(&mut a, b"two").unwrap();
        let second = take(&mut a, 1);
        assert_eq!(b.arrived(1, Header::read(&first[0]).unwrap()), Ok(Arrived::Deliver));
        // The second is lost with the connection: LANE-2.
        a.attach(2, b.received()).unwrap();
        b.attach(2, 0).unwrap();
        let again = take(&mut a, 2);
        assert_eq!(again, second);
        assert_eq!(b.arrived(2, Header::read(&again[0]).unwrap()), Ok(Arrived::Deliver));
        // LANE-3, and an acknowledgement that frees all.
        assert_eq!(b.arrived(2, Header::read(&again[0]).unwrap()), Ok(Arrived::Drop));
        assert!(b.owes_ack());
        b.request_ack();
        let lost = take(&mut b, 2);
        assert!(lost.len() == 1 && !b.owes_ack());
        // An acknowledgement that was lost is given again for the frame that comes again.
        assert_eq!(b.arrived(2, Header::read(&again[0]).unwrap()), Ok(Arrived::Drop));
        assert!(b.owes_ack());
        b.request_ack();
        let ack = take(&mut b, 2);
        assert_eq!(a.arrived(2, Header::read(&ack[0]).unwrap()), Ok(Arrived::Drop));
        assert_eq!(a.bytes(), 0);
        assert!(take(&mut a, 1).is_empty(), "an old connection's writer takes nothing");
    }

    /// LANE-3: a gap; and acknowledgements of what was never sent.
    #[test]
    fn bad_numbers_are_errors() {
        let mut outbox = Outbox::new(1 << 20, 1 << 20, 1 << 20);
        outbox.attach(1, 0).unwrap();
        assert!(outbox.arrived(1, Header { length: 5, number: 2, acknowledges: 0 }).is_err());
        assert!(outbox.arrived(1, Header { length: 5, number: 1, acknowledges: 1 }).is_err());
        assert!(outbox.attach(2, 9).is_err());
    }

    /// LANE-5
    #[test]
    fn only_a_writer_that_sleeps_is_woken() {
        let mut outbox = Outbox::new(1 << 20, 1 << 20, 1 << 20);
        let push = |outbox: &mut Outbox| outbox.push(wire::TELL, 1, |_| Ok(())).unwrap().is_some();
        outbox.attach(1, 0).unwrap();
        assert!(!push(&mut outbox), "it has not begun");
        let mut cx = Context::from_waker(Waker::noop());
        let mut polls = |outbox: &mut Outbox| outbox.poll_take(&mut cx, 1, &mut Vec::new());
        assert_eq!(polls(&mut outbox), Poll::Ready(Ok(())), "there is something to write");
        assert!(!push(&mut outbox), "it writes");
        assert_eq!(polls(&mut outbox), Poll::Ready(Ok(())));
        assert_eq!(polls(&mut outbox), Poll::Pending);
        assert!(push(&mut outbox), "it sleeps");
        assert!(!push(&mut outbox), "it was woken");
    }

    /// LANE-4: a little more at most, by the message that ends it.
    #[test]
    fn a_message_is_bounded_and_so_is_the_whole() {
        let (largest, limit) = (50_000, 99_936);
        let mut outbox = Outbox::new(largest, limit, 290_000);
        push(&mut outbox, &vec![1; limit]).unwrap();
        assert_eq!(push(&mut outbox, &vec![1; limit + 1]), Err(Refuse::TooLarge { size: limit + 1, limit }));
        push(&mut outbox, b"small").unwrap();
        push(&mut outbox, &vec![2; limit]).unwrap();
        assert_eq!(push(&mut outbox, &vec![3; limit]), Err(Refuse::Overflow));
        outbox.attach(1, 0).unwrap();
        for frame in take(&mut outbox, 1) {
            let header = Header::read(&frame).unwrap();
            assert!(header.length as usize <= largest && header.length as usize + FRAME_HEADER == frame.len());
        }
    }

    #[test]
    fn an_encoder_that_panics_leaves_nothing_behind() {
        let mut outbox = Outbox::new(1 << 20, 1 << 20, 1 << 20);
        push(&mut outbox, b"before").unwrap();
        let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            outbox.push(wire::TELL, 1, |out| {
                out.extend_from_slice(b"half");
                panic!("in the encoder");
            })
        }));
        assert!(broken.is_err());
        push(&mut outbox, b"after").unwrap();
        outbox.attach(1, 0).unwrap();
        let frames = take(&mut outbox, 1);
        let (first, rest) = wire::split(&frames[0][FRAME_HEADER..]).unwrap();
        let (second, rest) = wire::split(rest).unwrap();
        assert_eq!((first.body, second.body, rest.len()), (&b"before"[..], &b"after"[..], 0));
    }
}
