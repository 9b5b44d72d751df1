//! Who is served, looked at one by one: it must come to the same as by groups.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Pass, Rank, WANTING_MAX};
use crate::raylet::core::RayletCore;
use crate::raylet::core::messages::{Action, RequestKey};
use crate::raylet::core::queue::Waits;

impl RayletCore {
    pub(super) fn serve_plainly(&mut self, mut pass: Pass, out: &mut Vec<Action>) -> Vec<RequestKey> {
        let requests = self.queue.iter().filter(|(_, request)| request.waiting > 0);
        let mut heap: BinaryHeap<Reverse<(Rank, RequestKey)>> =
            requests.map(|(key, request)| Reverse((self.rank(request), *key))).collect();
        while let Some(Reverse((rank, key))) = heap.pop() {
            let Some(request) = self.queue.get(&key).filter(|request| request.waiting > 0) else { continue };
            let now = self.rank(request);
            if now > rank {
                heap.push(Reverse((now, key)));
                continue;
            }
            // It speaks for no other here.
            self.try_one(&key, &mut pass, out);
            if self.queue.get(&key).is_some_and(|request| !self.queue.was_judged(request)) {
                heap.push(Reverse((now, key)));
            }
        }
        self.tell_spills(std::mem::take(&mut pass.spills), out);
        let waits =
            |(_, request): &(_, &super::Request)| request.waiting > 0 && self.queue.waits(request) == Waits::Resources;
        let mut waiting: Vec<(Rank, RequestKey)> =
            self.queue.iter().filter(waits).map(|(key, request)| (self.rank(request), *key)).collect();
        waiting.sort();
        waiting.into_iter().take(WANTING_MAX).map(|(_, key)| key).collect()
    }
}
