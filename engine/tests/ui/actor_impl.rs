//! What the `impl` of an actor cannot be.

pub struct NoConstructor;

#[actinic::remote]
impl NoConstructor {
    pub fn get(&self) -> i64 {
        1
    }
}

pub struct Generic<T>(T);

#[actinic::remote]
impl<T> Generic<T> {
    pub fn new(value: T) -> Self {
        Generic(value)
    }
}

trait Shape {
    fn area(&self) -> f64;
}

pub struct Circle;

#[actinic::remote]
impl Shape for Circle {
    fn area(&self) -> f64 {
        1.0
    }
}

#[actinic::remote(num_cpus = 1)]
impl actix::Actor for Circle {
    type Context = actix::Context<Self>;
}

#[actinic::remote]
impl<T: actix::Message> actix::Handler<Box<T>> for Circle {
    type Result = actix::MessageResult<Box<T>>;

    fn handle(&mut self, _: Box<T>, _: &mut Self::Context) -> Self::Result {
        unimplemented!()
    }
}

#[derive(actix::Message)]
#[rtype(result = "i64")]
pub struct Ping;

#[actinic::remote(max_concurrency = 2)]
impl actix::Handler<Ping> for Circle {
    type Result = i64;

    fn handle(&mut self, _: Ping, _: &mut Self::Context) -> i64 {
        1
    }
}

pub struct Methods(String);

#[actinic::remote(max_retries = 3, concurrency_groups = { "io": 2 })]
impl Methods {
    pub fn new() {}

    pub fn by_value(self) -> i64 {
        1
    }

    pub fn borrows(&self) -> &str {
        &self.0
    }

    pub fn generic<T: Into<i64>>(&self, x: T) -> i64 {
        x.into()
    }

    pub fn options(&self) -> i64 {
        1
    }

    #[actinic::method(num_cpus = 1)]
    pub fn with_cpus(&self) {}

    #[actinic::method(concurrency_group = "compute")]
    pub fn in_group(&self) {}

    #[actinic::method(num_returns = 2)]
    pub fn associated() -> (i64, i64) {
        (1, 2)
    }

    #[actinic::method]
    fn private_but_marked(&self, x: &mut i64) {
        *x = 1;
    }
}

pub struct Outside;

impl Outside {
    #[actinic::method(num_returns = 2)]
    pub fn two(&self) -> (i64, i64) {
        (1, 2)
    }
}

fn main() {}
