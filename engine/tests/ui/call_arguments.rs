//! Calls that do not fit the parameters: BAS-01 of tasks, ACT-11 of actors.

use actinic::prelude::*;

#[actinic::remote]
fn add(x: i64, y: i64) -> i64 {
    x + y
}

#[actinic::remote]
fn count(words: Vec<String>) -> usize {
    words.len()
}

pub struct Counter(i64);

#[actinic::remote]
impl Counter {
    pub fn new(start: i64) -> Self {
        Counter(start)
    }

    pub fn add(&mut self, by: i64) -> i64 {
        self.0 += by;
        self.0
    }

    fn started(&self) -> std::time::Instant {
        std::time::Instant::now()
    }

    fn plus(&self, by: i64) -> i64 {
        self.0 + by
    }
}

fn main() {}

pub fn calls(text: ObjectRef<String>) {
    add::remote(1);
    add::remote(1, 2, 3);
    add::remote(1, "2");
    add::remote(1, text);
    count::remote(3);
    add::options().num_returns(2).remote(1, 2);
    add::options().num_cpu(2).remote(1, 2);

    Counter::remote();
    let counter = Counter::remote(0);
    counter.add("a");
    counter.add();
    counter.subtract(1);
    counter.started();
    counter.plus("a");
}
