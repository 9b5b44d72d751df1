//! Consequences of consequences, without recursion: dropping the last ref to an object that holds a ref to another that
//! holds a ref ..., or failing a task whose dependents have dependents ..., must not depend on how long the chain is.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// So deep consequences follow at once; what lies deeper waits until those before it are done.
const DEPTH_MAX: u32 = 32;

type Step = Box<dyn FnOnce()>;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static WAITING: RefCell<VecDeque<Step>> = const { RefCell::new(VecDeque::new()) };
}

/// Runs `now` if this thread is not deep inside of other consequences; else `later` makes of it what can wait, which
/// the outermost of them runs.
pub(crate) fn step<T>(what: T, now: impl FnOnce(T), later: impl FnOnce(T) -> Step) {
    let depth = DEPTH.get();
    // At the end of a thread what waits on it is gone before the refs that its user keeps there are dropped.
    if depth >= DEPTH_MAX && WAITING.try_with(|_| ()).is_ok() {
        WAITING.with_borrow_mut(|waiting| waiting.push_back(later(what)));
        return;
    }
    struct Back(u32);
    impl Drop for Back {
        fn drop(&mut self) {
            // However this ends: else nothing would ever be outermost again.
            DEPTH.set(self.0);
        }
    }
    let _back = Back(depth);
    DEPTH.set(depth + 1);
    now(what);
    if depth == 0 {
        while let Ok(Some(step)) = WAITING.try_with(|waiting| waiting.borrow_mut().pop_front()) {
            step();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(left: u32, count: std::rc::Rc<Cell<u32>>) {
        count.set(count.get() + 1);
        if left > 0 {
            step(
                (left - 1, count),
                |(left, count)| chain(left, count),
                |(left, count)| Box::new(move || chain(left, count)),
            );
        }
    }

    #[test]
    fn a_long_chain_needs_no_long_stack() {
        let count = std::rc::Rc::new(Cell::new(0));
        chain(1_000_000, std::rc::Rc::clone(&count));
        assert_eq!(count.get(), 1_000_001);
        assert_eq!(DEPTH.get(), 0);
    }
}
