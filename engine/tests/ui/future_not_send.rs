//! The future of a remote function moves between threads.

#[actinic::remote]
async fn holds_an_rc(x: i64) -> i64 {
    let rc = std::rc::Rc::new(x);
    std::future::ready(()).await;
    *rc
}

fn main() {}
