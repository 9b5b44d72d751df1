//! What an `actix::Actor` needs to be made remote.

use actinic::Handle;
use serde::{Deserialize, Serialize};

/// It has no constructor that Actinic knows.
pub struct Unmade;

#[actinic::remote]
impl actix::Actor for Unmade {
    type Context = actix::Context<Self>;
}

pub struct Greeter;

#[actinic::remote]
impl Greeter {
    pub fn new() -> Self {
        Greeter
    }

    pub async fn later(&self) -> i64 {
        1
    }
}

#[actinic::remote]
impl actix::Actor for Greeter {
    type Context = actix::Context<Self>;
}

/// Its handler is not remote.
#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "i64")]
pub struct Local;

impl actix::Handler<Local> for Greeter {
    type Result = i64;

    fn handle(&mut self, _: Local, _: &mut Self::Context) -> i64 {
        1
    }
}

/// It cannot travel.
#[derive(actix::Message)]
#[rtype(result = "i64")]
pub struct Stuck;

#[actinic::remote]
impl actix::Handler<Stuck> for Greeter {
    type Result = i64;

    fn handle(&mut self, _: Stuck, _: &mut Self::Context) -> i64 {
        1
    }
}

/// Its result cannot.
#[derive(actix::Message, Serialize, Deserialize)]
#[rtype(result = "std::time::Instant")]
pub struct Fetch;

#[actinic::remote]
impl actix::Handler<Fetch> for Greeter {
    type Result = actix::MessageResult<Fetch>;

    fn handle(&mut self, _: Fetch, _: &mut Self::Context) -> Self::Result {
        actix::MessageResult(std::time::Instant::now())
    }
}

/// It runs on threads of its own.
pub struct Pooled;

#[actinic::remote]
impl Pooled {
    pub fn new() -> Self {
        Pooled
    }
}

#[actinic::remote]
impl actix::Actor for Pooled {
    type Context = actix::SyncContext<Self>;
}

fn main() {
    let greeter: Handle<Greeter> = Greeter::remote();
    Handle::send(&greeter, Local);
}
