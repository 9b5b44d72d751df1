//! What a remote function cannot be.

#[actinic::remote]
fn generic<T: Into<i64>>(x: T) -> i64 {
    x.into()
}

#[actinic::remote]
fn lifetime<'a>(x: &'a str) -> usize {
    x.len()
}

#[actinic::remote]
const fn constant(x: i64) -> i64 {
    x
}

#[actinic::remote]
unsafe fn contract(x: i64) -> i64 {
    x
}

#[actinic::remote]
extern "C" fn foreign(x: i64) -> i64 {
    x
}

#[actinic::remote]
fn conditional(x: i64, #[cfg(any())] y: i64) -> i64 {
    x
}

#[actinic::remote]
fn some_trait(x: impl Into<i64>) -> i64 {
    x.into()
}

#[actinic::remote]
fn boxed(f: Box<dyn Fn() -> i64>) -> i64 {
    f()
}

#[actinic::remote]
fn in_place(x: &mut i64) {
    *x += 1;
}

#[actinic::remote]
fn inside(xs: Vec<&str>) -> usize {
    xs.len()
}

#[actinic::remote]
fn path(p: &std::path::Path) -> bool {
    p.exists()
}

#[actinic::remote]
fn borrowed() -> &'static str {
    "a"
}

#[actinic::remote]
fn generator(n: u32) -> impl Iterator<Item = u32> {
    0..n
}

#[actinic::remote]
fn fallible_generator(n: u32) -> Result<impl Iterator<Item = u32>, String> {
    Ok(0..n)
}

#[actinic::remote]
fn opaque() -> impl std::fmt::Debug {
    1
}

#[actinic::remote]
fn u8(x: i64) -> i64 {
    x
}

#[actinic::remote]
struct NotAFunction;

struct Plain;

impl Plain {
    #[actinic::remote]
    fn method(&self) {}
}

fn main() {}
