//! An actor's state is `Send`; and `Sync` where its sync methods overlap.

use std::cell::Cell;
use std::rc::Rc;

pub struct NotSend(Rc<i64>);

#[actinic::remote]
impl NotSend {
    pub fn new(x: i64) -> Self {
        NotSend(Rc::new(x))
    }

    pub fn get(&self) -> i64 {
        *self.0
    }
}

pub struct NotSync(Cell<i64>);

#[actinic::remote(max_concurrency = 8)]
impl NotSync {
    pub fn new(x: i64) -> Self {
        NotSync(Cell::new(x))
    }

    pub fn get(&self) -> i64 {
        self.0.get()
    }
}

/// With async methods beside its sync ones.
pub struct MixedNotSync(Cell<i64>);

#[actinic::remote(max_concurrency = 8)]
impl MixedNotSync {
    pub fn new(x: i64) -> Self {
        MixedNotSync(Cell::new(x))
    }

    pub fn get(&self) -> i64 {
        self.0.get()
    }

    pub async fn get_later(&self) -> i64 {
        self.0.get()
    }
}

fn main() {}
