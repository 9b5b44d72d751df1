//! spike
#![allow(missing_docs)]
use actinic::prelude::*;
use std::time::Instant;
#[actinic::remote]
fn noop(x: i64) -> i64 {
    x
}
pub struct A;
#[actinic::remote]
impl A {
    pub fn new() -> Self {
        A
    }
    pub fn noop(&mut self, x: i64) -> i64 {
        x
    }
}
fn main() -> actinic::Result<()> {
    let t = Instant::now();
    let procs = std::env::args().any(|a| a == "proc");
    let mut i = actinic::init().num_cpus(2);
    if procs {
        i = i.workers(Workers::Processes);
    }
    let cluster = i.blocking()?;
    println!("init {:?}", t.elapsed());
    noop::remote(1).blocking()?;
    println!("first {:?}", t.elapsed());
    for n in [10_000i64, 100_000, 1_000_000] {
        for _ in 0..3 {
            let t = Instant::now();
            let refs: Vec<_> = (0..n).map(noop::remote).collect();
            let s = t.elapsed();
            let v = actinic::get(&refs).blocking()?;
            let g = t.elapsed();
            assert_eq!(v, (0..n).collect::<Vec<_>>());
            drop(refs);
            println!("{n}: submit {s:?} got {g:?} dropped {:?}: {:.0}/s", t.elapsed(), n as f64 / g.as_secs_f64());
        }
    }
    let mut l: Vec<u128> = (0..2000)
        .map(|i| {
            let t = Instant::now();
            noop::remote(i).blocking().unwrap();
            t.elapsed().as_nanos()
        })
        .collect();
    l.sort();
    println!("sync p50 {} us p99 {} us", l[1000] / 1000, l[1980] / 1000);
    let a = A::remote();
    a.noop(1).blocking()?;
    for n in [10_000i64, 100_000] {
        for _ in 0..3 {
            let t = Instant::now();
            let refs: Vec<_> = (0..n).map(|x| a.noop(x)).collect();
            let v = actinic::get(&refs).blocking()?;
            let g = t.elapsed();
            assert_eq!(v, (0..n).collect::<Vec<_>>());
            println!("actor {n}: {:.0}/s", n as f64 / g.as_secs_f64());
        }
    }
    let mut l: Vec<u128> = (0..2000)
        .map(|i| {
            let t = Instant::now();
            a.noop(i).blocking().unwrap();
            t.elapsed().as_nanos()
        })
        .collect();
    l.sort();
    println!("actor sync p50 {} us p99 {} us", l[1000] / 1000, l[1980] / 1000);
    let t = Instant::now();
    cluster.shutdown_blocking()?;
    println!("shutdown {:?}", t.elapsed());
    Ok(())
}
